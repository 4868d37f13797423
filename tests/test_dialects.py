"""What holds for pings and no transcript says: handles, addresses, and what is on a socket as the
vendors' real clients send it, where webtest would make it tidy."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from conftest import Site
from live_server import Live, serving

from cronwatch import Refused

RESERVED = (
    "api badge cronwatch-exec fail favicon.ico finish healthz manifest.json metrics p ping "
    "robots.txt start static status v2 b"
)


def test_our_codes_have_the_form_that_the_sdks_of_cronbeats_insist_on(site: Site) -> None:
    codes = [site.monitor().code for _ in range(10)]

    assert [code for code in codes if not re.fullmatch("[a-zA-Z0-9]{8}", code)] == []


@pytest.mark.parametrize("word", RESERVED.split())
def test_a_first_segment_of_ours_is_never_adopted_as_a_handle(site: Site, word: str) -> None:
    with pytest.raises(Refused) as refused:
        site.monitor(handles={word: "cronitor"})

    assert refused.value.status == 400


@pytest.mark.parametrize("form", ["/ping/{code}/start", "/{token}/start", "/{code}/run/"])
def test_without_a_request_uri_the_decoded_path_serves(site: Site, form: str) -> None:
    job = site.monitor()

    reply = site.app.get(job.at(form))

    assert (reply.status_int, site.kinds) == (200, ["start"])


# -- on a socket


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("wire")) as server:
        server.add("jobs/nightly")
        yield server


def say(live: Live, line: bytes, rest: bytes = b"\r\n") -> tuple[int, str]:
    """Status and body of the answer to a request, byte for byte."""
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nHost: cron.test\r\nConnection: close\r\n" + rest)
        head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "line, rest, body, kept",
    [
        (b"POST /ping/{code}/start", b"\r\n", '{"status": "success".*', "start None"),
        (b"HEAD /{code}/complete", b"\r\n", "", "success None"),
        (b"GET http://cronitor.link/{code}", b"\r\n", "OK", "start None"),
        (
            b"POST /ping/jobs%2Fnightly/{key}/start",
            b"\r\n",
            '{"status": "started".*',
            "start None",
        ),
        (
            b"POST /ping/{code}/progress",
            CHUNKED + b'e\r\n{"msg":"bits"}\r\n0\r\n\r\n',
            '{"status": "success".*',
            "progress bits",
        ),
        ("GET /{code}/ok?msg=Größe".encode(), b"\r\n", "OK", "ok Größe"),
        (b"GET /{code}/ok?msg=gr\xf6", b"\r\n", "OK", "ok gr\ufffd"),
        (b"GET /{code}/ok?msg=a%2Fb+c", b"\r\n", "OK", "ok a/b c"),
        (b"GET /{code}/ok?msg=100%", b"\r\n", "OK", "ok 100%"),
        (b'GET /{code}/ok?msg="{}|\\^`<>', b"\r\n", "OK", 'ok "{}|\\^`<>'),
    ],
)
def test_a_ping_is_heard_as_a_client_sends_it(
    live: Live, line: bytes, rest: bytes, body: str, kept: str
) -> None:
    code = live.monitor("jobs/nightly")["code"]
    named = line.replace(b"{code}", code.encode()).replace(b"{key}", live.key.encode())

    reply = say(live, named, rest)

    last = live.pings("jobs/nightly")[-1]
    assert reply[0] == 200
    assert re.fullmatch(body, reply[1])
    assert f"{last['kind']} {last['message']}" == kept


def test_a_chunked_envelope_is_read(live: Live) -> None:
    chunks = b'10\r\n{"event_id":"1"}\r\n0\r\n\r\n'

    assert say(live, b"POST /api/1/envelope/", CHUNKED + chunks) == (200, '{"id": "1"}')


def test_a_raw_path_that_is_not_ascii_is_not_found(live: Live) -> None:
    assert say(live, "GET /größe/complete".encode())[0] == 404

"""What the vendors' real clients send, on a socket: what webtest would make tidy."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Made, Site

import cronwatch


class Real(NamedTuple):
    """A server in a process of its own, and a monitor on it."""

    port: int
    site: Site
    job: Made

    def say(self, line: str | bytes, rest: str = "") -> tuple[int, str]:
        """Status and body of the answer to a request, byte for byte."""
        raw = line.encode("latin-1") if isinstance(line, str) else line
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(
                raw
                + b" HTTP/1.1\r\nHost: cron.test\r\nConnection: close\r\n"
                + rest.encode()
                + (b"" if "\r\n\r\n" in rest else b"\r\n")
            )
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


@pytest.fixture(scope="module")
def real(folder: Path) -> Iterator[Real]:
    site = Site(folder / "real.db")
    job = site.monitor(interval_seconds=None)
    site.server.close()
    process = subprocess.Popen(
        [
            sys.executable,
            cronwatch.__file__,
            "serve",
            "--database",
            str(site.database),
            "--listen",
            "127.0.0.1:0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found
        yield Real(int(found[1]), site, job)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_post_without_a_content_length_is_answered_at_once(real: Real) -> None:
    path = f"/ping/{real.job.code}/start"

    status, body = real.say(f"POST {path}")

    assert (status, '"action": "start"' in body or '"action":"start"' in body) == (200, True)


def test_a_chunked_body_is_read(real: Real) -> None:
    path = f"/ping/{real.job.code}/progress"

    status, _ = real.say(
        f"POST {path}", 'Transfer-Encoding: chunked\r\n\r\ne\r\n{"msg":"bits"}\r\n0\r\n\r\n'
    )

    assert (status, real.site.pings[-1]["message"]) == (200, "bits")


def test_a_chunked_envelope_is_read(real: Real) -> None:
    chunks = '10\r\n{"event_id":"1"}\r\n0\r\n\r\n'

    answer = real.say("POST /api/1/envelope/", f"Transfer-Encoding: chunked\r\n\r\n{chunks}")

    assert answer == (200, '{"id": "1"}')


def test_a_head_has_no_body_on_the_wire(real: Real) -> None:
    path = f"/{real.job.code}/complete"

    status, body = real.say(f"HEAD {path}")

    assert (status, body) == (200, "")


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("Größe".encode(), "Größe"),
        (b"gr\xf6", "gr\ufffd"),
        (b"a%2Fb+c", "a/b c"),
        (b"100%", "100%"),
        (b'"{}|\\^`<>', '"{}|\\^`<>'),
    ],
)
def test_a_raw_query_is_accepted_and_read_as_utf_8(real: Real, sent: bytes, kept: str) -> None:
    line = b"GET /" + real.job.code.encode() + b"/complete?msg=" + sent

    status, body = real.say(line)

    assert (status, body, real.site.pings[-1]["message"]) == (200, "OK", kept)


def test_a_slash_inside_a_key_survives_the_socket(real: Real) -> None:
    real.site.server = cronwatch.Server(real.site.server.settings, real.site.clock)
    key = real.site.api_key()
    job = real.site.monitor(key="jobs/nightly", interval_seconds=None)
    real.site.server.close()

    status, _ = real.say(f"POST /ping/jobs%2Fnightly/{key}/start")

    assert (status, real.site.pings[-1]["monitor"]) == (200, job.num)


def test_a_raw_path_that_is_not_ascii_is_accepted(real: Real) -> None:
    line = "GET /größe/complete".encode()

    status, _ = real.say(line)

    assert status == 404


def test_a_request_to_a_whole_url_is_accepted(real: Real) -> None:
    path = f"/ping/{real.job.code}"

    status, _ = real.say(f"GET http://cronitor.link{path}")

    assert status == 200


def test_start_progress_and_end_within_milliseconds_are_all_heard(site: Site) -> None:
    job = site.monitor()
    words = ["start", *(f"progress/{percent}" for percent in range(0, 101, 5)), "end/success"]

    statuses = []
    for word in words:
        statuses.append(site.post(f"/ping/{job.code}/{word}").status_int)
        site.clock.move(0.001)

    assert (set(statuses), len(site.pings), len(site.runs)) == ({200}, 23, 1)

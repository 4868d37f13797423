"""What the vendors' real clients send: the ten traps in it, and on a socket what
webtest would make tidy."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from conftest import Made, Site, basic

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


# -- 1: the content type says nothing about the body


@pytest.mark.parametrize(
    "path, body, kind",
    [
        ("/ping/{code}", "", "application/json"),
        ("/ping/{code}/start", "", "application/json"),
        ("/ping/{token}", "plain text", "application/json"),
        ("/ping/{token}/fail", "plain text", "application/json"),
        ("/ping/{token}", "result=None", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_not_what_its_type_says_is_normal(
    site: Site, path: str, body: str, kind: str
) -> None:
    job = site.monitor()

    reply = site.post(job.at(path), body, Content_Type=kind)

    assert (reply.status_int, len(site.pings)) == (200, 1)


def test_a_get_may_say_that_it_is_json(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    reply = site.get(f"/ping/{api_key}/backup?state=run", Content_Type="application/json")

    assert reply.status_int == 200


# -- 2: POST without Content-Length


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


def test_a_head_has_no_body_on_the_wire(real: Real) -> None:
    path = f"/{real.job.code}/complete"

    status, body = real.say(f"HEAD {path}")

    assert (status, body) == (200, "")


# -- raw bytes in the request line, and what is escaped in it


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


# -- 3: never redirect; with and without a trailing slash


@pytest.mark.parametrize(
    "path",
    [
        "/ping/{token}/",
        "/ping/{token}/fail/",
        "/{token}/",
        "/{code}/run/",
        "/ping/{code}/start/",
        "/api/push/{token}/",
        "/start/{token}/",
        "//ping//{code}",
        "/ping/{code}/end//success/",
    ],
)
def test_nothing_redirects(real: Real, path: str) -> None:
    target = real.job.at(path)

    status, _ = real.say(f"POST {target}", "Content-Length: 0\r\n")

    assert status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/heartbeats",
        "/api/v1/heartbeats/",
        "/api/v1/heartbeats/{id}",
        "/api/v1/heartbeats/{id}/",
        "/api/v1/integrations/",
    ],
)
def test_nor_does_the_management(site: Site, api_key: str, path: str) -> None:
    job = site.monitor()

    reply = site.get(job.at(path), X_Api_Key=api_key)

    assert reply.status_int == 200


# -- 4: success is exactly 200, and 201 where it is created


@pytest.mark.parametrize(
    "path, status",
    [
        ("/ping/{token}", 200),
        ("/ping/{token}/start", 200),
        ("/ping/{token}/log", 200),
        ("/ping/{api}/{key}", 200),
        ("/ping/{api}/new?create=1", 201),
        ("/p/{api}/new", 200),
        ("/ping/new/{api}?schedule=@daily", 200),
        ("/{token}", 200),
        ("/{code}", 200),
        ("/ping/{code}", 200),
        ("/api/push/{token}", 200),
    ],
)
def test_the_status_of_a_success(site: Site, api_key: str, path: str, status: int) -> None:
    job = site.monitor()

    reply = site.post(job.at(path, api_key))

    assert reply.status_int == status


# -- 5 and 6: no Retry-After, and no answer of failure to what is stored: test_dialects_who.py


def test_a_ping_that_is_sent_again_after_a_503_is_recorded_once(site: Site) -> None:
    job = site.monitor()
    site.rows("ALTER TABLE ping RENAME TO gone")
    first = site.post(f"/ping/{job.code}/end/success")
    site.rows("ALTER TABLE gone RENAME TO ping")

    second = site.post(f"/ping/{job.code}/end/success")

    assert (first.status_int, second.status_int, len(site.runs)) == (503, 200, 1)


# -- 7: what a success may not say


@pytest.mark.parametrize("name", ["not found", "rate limited"])
def test_no_success_says_not_found_or_rate_limited(site: Site, api_key: str, name: str) -> None:
    job = site.monitor(key=name, name=name)

    replies = [
        site.post(job.at(path, api_key), name)
        for path in ("/ping/{token}", "/ping/{token}/start", f"/ping/{{api}}/{quote(name)}")
    ]

    assert [reply.text for reply in replies] == ["OK", "OK", "OK"]


# -- 8: authentication that comes along


def test_the_basic_header_of_npm_beside_the_key_in_its_path_is_no_cronradar(
    site: Site, api_key: str
) -> None:
    site.monitor(key="backup")

    reply = site.get(f"/ping/{api_key}/backup?state=run&stamp=1", Authorization=basic(api_key))

    assert (reply.text, site.pings[0]["dialect"]) == ("OK", "cronitor")


def test_the_api_key_header_of_healthchecks_clients_is_no_crontify(site: Site) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.token}", "", X_Api_Key="hcw_something")

    assert (reply.status_int, reply.text) == (200, "OK")


# -- 9: cron strings as they come

DAYS, MONTHS = ",".join(map(str, range(1, 32))), ",".join(map(str, range(1, 13)))


@pytest.mark.parametrize(
    "schedule, due",
    [
        (f"0 3 {DAYS} {MONTHS} 0,1,2,3,4,5,6", "2026-03-03T03:00:00.000Z"),
        (f"0 3 {DAYS} {MONTHS} 1", "2026-03-09T03:00:00.000Z"),
        (f"0 3 15 {MONTHS} 0,1,2,3,4,5,6", "2026-03-15T03:00:00.000Z"),
        ("0 0 2 * * *", "2026-03-03T02:00:00.000Z"),
        ("@hourly", "2026-03-02T13:00:00.000Z"),
    ],
)
def test_a_list_of_all_values_is_a_star(site: Site, api_key: str, schedule: str, due: str) -> None:
    site.get(f"/ping/job/{api_key}?schedule={quote(schedule)}")

    shown = site.get("/api/v1/heartbeats/job", X_Api_Key=api_key).json

    assert (shown["cronExpression"], shown["expectedAt"]) == (schedule, due)


# -- 10: clients ping fast


def test_start_progress_and_end_within_milliseconds_are_all_heard(site: Site) -> None:
    job = site.monitor()
    words = ["start", *(f"progress/{percent}" for percent in range(0, 101, 5)), "end/success"]

    statuses = []
    for word in words:
        statuses.append(site.post(f"/ping/{job.code}/{word}").status_int)
        site.clock.move(0.001)

    assert (set(statuses), len(site.pings), len(site.runs)) == ({200}, 23, 1)


def test_several_monitors_at_the_same_instant_are_all_heard(site: Site) -> None:
    jobs = [site.monitor() for _ in range(20)]

    statuses = {site.post(f"/ping/{job.code}").status_int for job in jobs}

    assert (statuses, len(site.pings)) == ({200}, 20)

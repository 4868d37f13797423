"""Waitress as cronwatch sets it up, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from conftest import Made, Site

import cronwatch

Address = tuple[str, int]


@pytest.fixture
def listening(site: Site) -> Iterator[Callable[..., tuple[Any, Address]]]:
    """Serves the site's application, and ends the servers that it started."""
    started = []

    def start(
        app: Any = None, judge_absence: Callable[[], None] = lambda: None, **settings: Any
    ) -> tuple[Any, Address]:
        server = cronwatch.make_web_server(
            app or site.server.app,
            cronwatch.Settings(listen="127.0.0.1:0", **settings),
            site.server.store,
            site.server.is_ping,
            judge_absence,
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        return server, ("127.0.0.1", server.effective_port)

    yield start
    for server, thread in started:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
        for channel in list(server._map.values()):
            channel.close()


def ask(address: Address, raw: bytes) -> bytes:
    with closing(socket.create_connection(address, 10)) as connection:
        connection.sendall(raw)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


def test_bare_spaces_in_the_request_line_are_taken(
    site: Site, listening: Callable[..., tuple[Any, Address]]
) -> None:
    job, (_, address) = site.monitor(), listening()

    answer = ask(
        address,
        b"GET /api/push/%s?status=up&msg=backup done OK&ping= HTTP/1.1\r\nHost: x\r\n"
        b"Connection: close\r\n\r\n" % job.token.encode(),
    )

    assert (answer[:15], site.pings[0]["message"]) == (b"HTTP/1.1 200 OK", "backup done OK")


def test_a_forwarded_header_that_cannot_be_read_loses_no_ping(
    make_site: Callable[..., Site], listening: Callable[..., tuple[Any, Address]]
) -> None:
    site = make_site(trusted_proxy="127.0.0.1")
    _, address = listening(app=site.server.app)
    token = site.monitor().token.encode()

    answer = ask(
        address,
        b'GET /ping/%s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: "unterminated\r\n'
        b"Connection: close\r\n\r\n" % token,
    )

    assert (answer[:15], site.pings[0]["address"]) == (b"HTTP/1.1 200 OK", "127.0.0.1")


PAGE = b"GET /static/app.js HTTP/1.1\r\nHost: x\r\n"


def test_a_stranger_gets_one_page_a_connection(
    listening: Callable[..., tuple[Any, Address]],
) -> None:
    _, address = listening()

    answer = ask(address, PAGE + b"\r\n" + PAGE + b"\r\n")

    assert (answer.count(b"HTTP/1.1 200 OK"), b"\r\nConnection: close\r\n" in answer) == (1, True)


@pytest.mark.parametrize("header", [b"Cookie: a=b", b"Authorization: Bearer x", b"X-API-Key: x"])
def test_a_connection_with_credentials_is_kept(
    listening: Callable[..., tuple[Any, Address]], header: bytes
) -> None:
    _, address = listening()

    answer = ask(
        address, PAGE + header + b"\r\n\r\n" + PAGE + header + b"\r\nConnection: close\r\n\r\n"
    )

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_what_strangers_can_ask_for_is_in_memory_and_small() -> None:
    files = cronwatch.read_static_files()

    large = {name for name, file in files.items() if len(file.content) > 65_536}

    assert large == set()


def test_many_kept_connections_are_all_answered(
    site: Site, listening: Callable[..., tuple[Any, Address]]
) -> None:
    job, (_, address) = site.monitor(), listening()
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % job.token.encode()
    connections = [socket.create_connection(address, 10) for _ in range(120)]

    for _ in range(2):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")

    assert len(site.pings) == 240
    for connection in connections:
        connection.close()


def test_a_request_that_is_not_complete_in_30_seconds_is_cut_off(
    listening: Callable[..., tuple[Any, Address]],
) -> None:
    server, address = listening()
    with closing(socket.create_connection(address, 10)) as slow:
        slow.sendall(b"GET /slow")
        until = time.monotonic() + 10
        while not any(channel.request for channel in list(server.active_channels.values())):
            assert time.monotonic() < until, "the first bytes never came"

        server.maintenance(time.time() + 31)

        assert slow.recv(1) == b""


def test_a_request_that_may_still_become_complete_is_waited_for(
    site: Site, listening: Callable[..., tuple[Any, Address]]
) -> None:
    job, (server, address) = site.monitor(), listening()
    with closing(socket.create_connection(address, 10)) as slow:
        slow.sendall(b"GET /%s" % job.token.encode())
        until = time.monotonic() + 10
        while not any(channel.request for channel in list(server.active_channels.values())):
            assert time.monotonic() < until, "the first bytes never came"

        server.maintenance(time.time() + 29)
        slow.sendall(b" HTTP/1.1\r\nHost: x\r\n\r\n")

        assert slow.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_a_gap_that_cannot_be_judged_does_not_end_the_server(
    site: Site, listening: Callable[..., tuple[Any, Address]]
) -> None:
    def judge() -> None:
        raise ZeroDivisionError

    job = site.monitor()
    _, address = listening(judge_absence=judge)
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % job.token.encode()

    answers = [ask(address, request)[9:12] for _ in range(2)]

    assert answers == [b"200"] * 2


def test_one_ping_that_breaks_takes_no_other_with_it(
    site: Site, listening: Callable[..., tuple[Any, Address]]
) -> None:
    bad, *good = [site.monitor(name=f"Job {n}") for n in range(20)]
    site.rows("UPDATE monitor SET digests = '{' WHERE num = ?", bad.num)
    _, address = listening()

    def status(job: Made) -> bytes:
        request = b"GET /%s/fail HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return ask(address, request % job.token.encode())[9:12]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(status, [bad, *good]))

    assert answers == [b"500"] + [b"200"] * 19


@pytest.mark.parametrize(
    "trusted, seen", [("127.0.0.1", "203.0.113.9"), ("", "127.0.0.1"), ("192.0.2.1", "127.0.0.1")]
)
def test_only_a_trusted_proxy_says_who_pings(
    make_site: Callable[..., Site], trusted: str, seen: str
) -> None:
    site = make_site(trusted_proxy=trusted)

    site.send(
        "GET",
        f"/{site.monitor().token}",
        headers={"X-Forwarded-For": "203.0.113.9"},
        address="127.0.0.1",
    )

    assert site.pings[0]["address"] == seen


@pytest.mark.parametrize(
    "header, address",
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, unknown", "203.0.113.9"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("_hidden", None),
        ('"unterminated', None),
        ("", None),
    ],
)
def test_the_last_address_that_can_be_read_is_the_one_of_who_pings(
    header: str, address: str | None
) -> None:
    assert cronwatch.forwarded_address(header) == address


def test_what_a_proxy_says_of_who_pings_arrives(
    make_site: Callable[..., Site], listening: Callable[..., tuple[Any, Address]]
) -> None:
    behind = make_site(trusted_proxy="127.0.0.1")
    job = behind.monitor()
    _, address = listening(behind.server.app)

    ask(
        address,
        f"GET /{job.token} HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n".encode(),
    )

    assert behind.rows("SELECT address FROM ping") == [{"address": "203.0.113.9"}]


@pytest.mark.parametrize(
    "headers, seen", [({"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"), ({}, "127.0.0.1")]
)
def test_an_address_of_ipv4_is_one_also_where_both_families_are_listened_to(
    make_site: Callable[..., Site], headers: dict[str, str], seen: str
) -> None:
    site = make_site(trusted_proxy="127.0.0.1")

    site.send("GET", f"/{site.monitor().token}", headers=headers, address="::ffff:127.0.0.1")

    assert site.pings[0]["address"] == seen


@pytest.mark.parametrize("path", ["", "heartbeat/"])
def test_what_strangers_are_shown_of_long_names_is_small(
    make_site: Callable[..., Site], path: str
) -> None:
    site = make_site(status_tag="wall")
    for n in range(200):
        site.monitor(name="\N{ALARM CLOCK}" * 199 + str(n % 10), tags="wall")

    page = site.get(f"/api/status-page/{path}wall")

    assert page.status_int == 200
    assert 0 < len(page.body) <= 65_536

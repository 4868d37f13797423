"""Waitress as cronwatch sets it up, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest
from conftest import Made, Site
from live_server import wait_for

import cronwatch

Address = tuple[str, int]
Listening = Callable[..., tuple[Any, Address]]


@pytest.fixture
def listening(site: Site) -> Iterator[Listening]:
    """Serves an application, the site's own if no other is given; ends all that it started."""
    started = []

    def start(
        app: Any = None, judge_absence: Callable[[], None] = lambda: None
    ) -> tuple[Any, Address]:
        server = cronwatch.make_web_server(
            app or site.server.app,
            cronwatch.Settings(listen="127.0.0.1:0"),
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


def ask(address: Address, *lines: str) -> bytes:
    """All that is answered to a request that is the last of its connection."""
    with closing(socket.create_connection(address, 10)) as connection:
        raw = "\r\n".join([*lines, "Host: x", "Connection: close", "", ""])
        connection.sendall(raw.encode())
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


def test_bare_spaces_in_the_request_line_are_taken(site: Site, listening: Listening) -> None:
    job, (_, address) = site.monitor(), listening()

    answer = ask(address, f"GET /api/push/{job.token}?status=up&msg=backup done OK&ping= HTTP/1.1")

    assert (answer[:15], site.pings[0]["message"]) == (b"HTTP/1.1 200 OK", "backup done OK")


PAGE = "GET /static/app.js HTTP/1.1\r\nHost: x\r\n"


def test_a_stranger_gets_one_page_a_connection(listening: Listening) -> None:
    _, address = listening()

    answer = ask(address, f"{PAGE}\r\n{PAGE.strip()}")

    assert (answer.count(b"HTTP/1.1 200 OK"), b"\r\nConnection: close\r\n" in answer) == (1, True)


@pytest.mark.parametrize("header", ["Cookie: a=b", "Authorization: Bearer x", "X-API-Key: x"])
def test_a_connection_with_credentials_is_kept(listening: Listening, header: str) -> None:
    _, address = listening()

    answer = ask(address, f"{PAGE}{header}\r\n\r\n{PAGE}{header}")

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_what_strangers_can_ask_for_is_in_memory_and_small() -> None:
    files = cronwatch.read_static_files()

    large = {name for name, file in files.items() if len(file.content) > 65_536}

    assert large == set()


def test_many_kept_connections_are_all_answered(site: Site, listening: Listening) -> None:
    job, (_, address) = site.monitor(), listening()
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % job.token.encode()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(address, 10)) for _ in range(120)
        ]

        for _ in range(2):
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")

    assert len(site.pings) == 240


@pytest.mark.parametrize(
    "seconds, rest, answer",
    [(31, b"", b""), (29, b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK")],
)
def test_a_request_that_is_not_complete_in_30_seconds_is_cut_off(
    site: Site, listening: Listening, seconds: int, rest: bytes, answer: bytes
) -> None:
    job, (server, address) = site.monitor(), listening()
    with closing(socket.create_connection(address, 10)) as slow:
        slow.sendall(b"GET /%s" % job.token.encode())
        wait_for(
            lambda: any(channel.request for channel in list(server.active_channels.values())),
            "the first bytes",
        )

        server.maintenance(time.time() + seconds)
        slow.sendall(rest)

        assert slow.recv(65_536)[:15] == answer


def test_a_gap_that_cannot_be_judged_does_not_end_the_server(
    site: Site, listening: Listening
) -> None:
    def judge() -> None:
        raise ZeroDivisionError

    job, (_, address) = site.monitor(), listening(judge_absence=judge)

    answers = [ask(address, f"GET /{job.token} HTTP/1.1")[9:12] for _ in range(2)]

    assert answers == [b"200"] * 2


def test_one_ping_that_breaks_takes_no_other_with_it(site: Site, listening: Listening) -> None:
    bad, *good = [site.monitor(name=f"Job {n}") for n in range(20)]
    site.rows("UPDATE monitor SET digests = '{' WHERE num = ?", bad.num)
    _, address = listening()

    def status(job: Made) -> bytes:
        return ask(address, f"GET /{job.token}/fail HTTP/1.1")[9:12]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(status, [bad, *good]))

    assert answers == [b"500"] + [b"200"] * 19


# what a proxy says


SAID = "203.0.113.9"


@pytest.mark.parametrize(
    "trusted, headers, seen",
    [
        ("127.0.0.1", {"X-Forwarded-For": SAID}, SAID),
        ("127.0.0.1", {}, "127.0.0.1"),
        ("", {"X-Forwarded-For": SAID}, "127.0.0.1"),
    ],
)
def test_an_address_of_ipv4_is_one_also_where_both_families_are_listened_to(
    make_site: Callable[..., Site], trusted: str, headers: dict[str, str], seen: str
) -> None:
    site = make_site(trusted_proxy=trusted)

    site.send("GET", f"/{site.monitor().token}", headers=headers, address="::ffff:127.0.0.1")

    assert site.pings[0]["address"] == seen


@pytest.mark.parametrize("said, seen", [(SAID, SAID), ('"unterminated', "127.0.0.1")])
def test_what_a_proxy_says_of_who_pings_arrives(
    make_site: Callable[..., Site], listening: Listening, said: str, seen: str
) -> None:
    behind = make_site(trusted_proxy="127.0.0.1")
    _, address = listening(behind.server.app)

    ask(address, f"GET /{behind.monitor().token} HTTP/1.0", f"X-Forwarded-For: {said}")

    assert behind.rows("SELECT address FROM ping") == [{"address": seen}]


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

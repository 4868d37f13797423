"""Pings that arrive together share a commit, and nobody is told of one before it.

The thread that reads sockets answers them; it waits for nobody, and no stranger stops it.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_server import LIMIT_SECONDS, Live, serving, wait_for
from trouble import no_room, status_of

import cronwatch

pytestmark = pytest.mark.slow


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path) as server:
        yield server


def connect(live: Live) -> socket.socket:
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), LIMIT_SECONDS)


def say(live: Live, *parts: bytes) -> bytes:
    """All that is answered to some bytes until the server ends the connection."""
    with closing(connect(live)) as peer:
        for part in parts:
            peer.sendall(part)
        answer = b""
        while piece := peer.recv(65_536):
            answer += piece
    return answer


@contextmanager
def held(live: Live) -> Iterator[None]:
    """Another program writes to the file, and takes its time."""
    with closing(sqlite3.connect(live.database, isolation_level=None, timeout=20)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


FIRST = b"GET /{token} HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"Host: x\r\nConnection: close\r\n\r\n"
PINGS = {
    "bare": [b"GET /{token} HTTP/1.1\r\n" + LAST],
    "HEAD": [b"HEAD /{token} HTTP/1.1\r\n" + LAST],
    "pipelined": [FIRST + b"GET /{token}/fail HTTP/1.1\r\n" + LAST],
    "before a page": [FIRST + b"GET /nothing-here HTTP/1.1\r\n" + LAST],
    "100-continue": [
        b"POST /{token} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + LAST,
        b"ok",
    ],
    "chunked": [
        b"POST /{token} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + LAST,
        b"2\r\nok\r\n0\r\n\r\n",
    ],
}


def parts_for(shape: str, shown: dict[str, Any]) -> list[bytes]:
    return [part.replace(b"{token}", shown["token"].encode()) for part in PINGS[shape]]


@pytest.mark.parametrize("shape", PINGS)
def test_no_ping_is_answered_2xx_whose_commit_fails(live: Live, shape: str) -> None:
    shown = live.add("job")

    with no_room(live):
        answer = say(live, *parts_for(shape, shown))

    assert b"HTTP/1.1 503 " in answer
    assert b"HTTP/1.1 2" not in answer
    assert live.pings("job") == []


@pytest.mark.parametrize("shape", PINGS)
def test_every_shape_of_a_ping_is_recorded_and_answered(live: Live, shape: str) -> None:
    shown = live.add("job")

    answer = say(live, *parts_for(shape, shown))

    assert answer.count(b"HTTP/1.1 200 ") == len(live.pings("job")) > 0


@contextmanager
def connected() -> Iterator[tuple[Any, socket.socket]]:
    """A connection of a server that does not run, held, and its other end."""
    server = cronwatch.make_web_server(lambda *_: [], cronwatch.Settings(listen="127.0.0.1:0"))
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with closing(theirs):
        peer = cronwatch.Connection(server, ours, ("127.0.0.1", 1), server.adj, {})
        peer.is_held = True
        yield peer, theirs
        peer.close()
    server.task_dispatcher.shutdown()
    server.close()


def test_a_connection_sends_nothing_while_it_is_held() -> None:
    with connected() as (peer, theirs):
        peer.write_soon(b"x" * 50_000)  # more than Waitress waits for
        with pytest.raises(BlockingIOError):
            theirs.recv(1)

        peer.let_go()

        assert theirs.recv(1) == b"x"


@pytest.mark.parametrize("waiting, arrived", [(b"", 1), (b"the last answer", 0)])
def test_who_has_not_taken_the_last_answer_is_left_to_a_worker(
    tmp_path: Path, waiting: bytes, arrived: int
) -> None:
    with (
        closing(cronwatch.Store(str(tmp_path / "cronwatch.db"))) as store,
        connected() as (peer, _),
    ):
        request = cronwatch.RequestParser(peer.adj)
        request.received(b"GET /job HTTP/1.1\r\nHost: x\r\n\r\n")
        lane = cronwatch.PingLane(store, lambda *_: True, lambda: None)
        peer.write_soon(waiting)
        peer.requests.append(request)

        lane.add_task(peer)

        assert (len(lane.arrived), len(lane.queue)) == (arrived, 1 - arrived)


def test_a_file_that_another_program_holds_for_a_moment_costs_no_ping(live: Live) -> None:
    shown = live.add("job")
    with ThreadPoolExecutor(8) as pool, held(live):
        answers = [pool.submit(status_of, live, shown) for _ in range(8)]
        wait_for(lambda: live.ask("GET", "/health").status == 200, "a page meanwhile")

    assert [answer.result() for answer in answers] == [200] * 8


def test_a_file_that_is_held_for_long_gives_503_while_pages_go_on(live: Live) -> None:
    shown = live.add("job")
    with held(live):
        refused = status_of(live, shown)
        page = live.ask("GET", "/summary").status

    assert (refused, page, status_of(live, shown)) == (503, 200, 200)


def pipelined_pages(count: int) -> bytes:
    return b"GET /static/app.js HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n" * count


def test_a_line_break_in_a_path_is_answered_and_not_logged(live: Live) -> None:
    answer = say(live, b"GET /a%0Ab HTTP/1.1\r\n" + LAST)

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'{"error"' in answer
    assert "exception" not in live.log


STRANGERS = {
    "half a request": [b"GET / HTTP/1.1\r\nHost"],
    "half a body": [b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"],
    "pages that nobody reads": [pipelined_pages(500)],
    "pings that nobody reads": [b"GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n" * 2000],
    "a ping and a page, again and again": [
        (b"GET /x HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n" + pipelined_pages(1)) * 200
    ],
}


@pytest.mark.parametrize("parts", STRANGERS.values(), ids=STRANGERS)
def test_no_stranger_stops_pings_or_pages(live: Live, parts: list[bytes]) -> None:
    shown = live.add("job")
    with ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(closing(connect(live)))
            peer.setblocking(False)
            for part in parts:
                try:
                    peer.send(part)
                except BlockingIOError:
                    break

        answers = [status_of(live, shown) for _ in range(10)]
        page = live.ask("GET", "/health").status

    assert (answers, page) == ([200] * 10, 200)
    assert live.log.count("\n") < 20


def test_a_server_that_stops_answers_what_a_worker_is_at() -> None:
    is_begun = threading.Event()
    may_end = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        is_begun.set()
        may_end.wait(LIMIT_SECONDS)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    server = cronwatch.make_web_server(app, cronwatch.Settings(listen="127.0.0.1:0"))
    thread = threading.Thread(target=server.run)
    thread.start()
    with closing(socket.create_connection(server.socket.getsockname(), LIMIT_SECONDS)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert is_begun.wait(LIMIT_SECONDS)

        server.stop()
        may_end.set()
        thread.join(LIMIT_SECONDS)
        for channel in list(server.active_channels.values()):
            channel.close()
        server.close()

        assert peer.recv(65_536).endswith(b"done")


def test_a_server_that_stops_answers_what_it_has_recorded(live: Live) -> None:
    shown = live.add("job")
    answers: list[bytes] = []

    def ping_on() -> None:
        try:
            while True:
                answers.append(say(live, *parts_for("bare", shown)))
        except OSError:  # it is gone
            pass

    clients = [threading.Thread(target=ping_on) for _ in range(8)]
    for client in clients:
        client.start()
    wait_for(lambda: len(answers) > 50, "pings that are heard")
    code, _ = live.stop()
    for client in clients:
        client.join(LIMIT_SECONDS)

    acknowledged = sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert (code, len(live.pings("job"))) == (0, acknowledged)

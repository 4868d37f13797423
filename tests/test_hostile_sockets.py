"""Strangers at the socket of a real server: garbage, slowness and numbers."""

from __future__ import annotations

import errno
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Event

import hostile
import pytest
from conftest import Site
from hostile import Shot, check_answer, check_database, read_answer
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from live_server import LIMIT_SECONDS, Live, in_thread, serving, wait_for

import cronwatch

# Only where something has failed, and then it is what there is to see.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

LINE = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) \S.*")


def connect(live: Live) -> socket.socket:
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), LIMIT_SECONDS)


def say(live: Live, *parts: bytes) -> bytes:
    """All that the server answers to bytes that arrive in parts, and then nothing more."""
    with closing(connect(live)) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                answer += piece
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise  # those mean that it has refused before it had read everything
        return answer


@contextmanager
def furnished(folder: Path) -> Iterator[tuple[Live, dict[str, str]]]:
    """A server with something of everything; afterwards it is as well as ever."""
    site = Site(folder / "cronwatch.db")
    names = hostile.furnish(site)
    site.rows("UPDATE integration SET is_default = 0")
    site.server.close()
    with serving(folder) as live:
        yield live, names
        job = live.add("still-there")
        assert say(live, f"GET /{job['token']} HTTP/1.0\r\n\r\n".encode()).split()[1] == b"200"
        assert len(live.pings("still-there")) == 1
    assert [line for line in live.log.splitlines() if not LINE.fullmatch(line)] == []
    assert "Traceback" not in live.log
    secrets = ("code", "token", "writer", "pinger", "reader", "d3x")
    assert [name for name in secrets if names[name] in live.log] == []
    check_database(live.database)


def check_said(live: Live, raw: bytes, *parts: bytes) -> None:
    """What the server says to some bytes is answers, each as it must be."""
    said = say(live, *(parts or (raw,)))
    method = "HEAD" if raw.lstrip().startswith(b"HEAD ") else "GET"
    while said:
        if said.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            said = said[25:]
            continue
        head = said.partition(b"\r\n\r\n")[0]
        refused = head[9:10] > b"3" and b"\r\nCache-Control:" not in head  # by Waitress itself
        answer, said = read_answer(said, "GET" if refused else method, refused)
        check_answer(answer)


cuts = st.lists(st.integers(0, 400), max_size=3)
stories = st.lists(
    st.tuples(
        st.one_of(hostile.shots, hostile.broken_requests(), hostile.broken_requests()), cuts
    ),
    min_size=8,
    max_size=30,
)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(bounded(hostile.FAST, max_examples=15), marks=pytest.mark.slow),
        pytest.param(bounded(hostile.FRESH, max_examples=40), marks=pytest.mark.proof),
    ],
    ids=["the same", "new"],
)
def test_nothing_at_the_socket_harms_the_server(tmp_path: Path, settings: bounded) -> None:
    with furnished(tmp_path) as (live, names):

        @settings
        @given(requests=stories)
        def attack(requests: list[tuple[Shot | bytes, list[int]]]) -> None:
            for request, places in requests:
                raw = request.raw(names) if isinstance(request, Shot) else request
                bounds = [0, *sorted(min(place, len(raw)) for place in places), len(raw)]
                check_said(live, raw, *(raw[a:b] for a, b in pairwise(bounds)))

        attack()


# -- many who are slow


IDLE, SLOW, PINGS = 1000, 200, 30
HEADERS = b"GET /%s HTTP/1.1\r\nHost: cron.test\r\nX-Slow: " + b"a" * 1000
BODY = b"POST /%s HTTP/1.1\r\nHost: cron.test\r\nContent-Length: 1000\r\n\r\n"


@contextmanager
def files_at_most(count: int) -> Iterator[None]:
    """So many descriptors, where the system allows it, for what is opened in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Slow:
    """Connections that send a byte a second, half of them in headers and half in bodies."""

    def __init__(self, live: Live, token: bytes) -> None:
        self.began = time.monotonic()
        self.cut: list[float] = []  # after how many seconds
        self.answered: list[bytes] = []
        self.stop = Event()
        self.connections = [connect(live) for _ in range(SLOW)]
        for number, connection in enumerate(self.connections):
            connection.sendall((BODY if number % 2 else HEADERS) % token)
            connection.setblocking(False)

    def run(self) -> None:
        """Send and listen until stopped, or until the server has cut all off."""
        while self.connections and not self.stop.wait(1):
            self.connections = [one for one in self.connections if self._goes_on(one)]
        for connection in self.connections:
            connection.close()

    def _goes_on(self, connection: socket.socket) -> bool:
        try:
            connection.send(b"a")
            with suppress(BlockingIOError):
                self.answered.append(connection.recv(65_536))
                raise ConnectionError  # an answer, or its end
        except OSError:
            self.cut.append(time.monotonic() - self.began)
            connection.close()
            return False
        return True


def time_pings(live: Live, token: str) -> list[float]:
    """How long each of some pings waits for its answer, in seconds."""
    waits = []
    for _ in range(PINGS):
        began = time.monotonic()
        assert say(live, f"GET /{token} HTTP/1.0\r\n\r\n".encode()).split()[1] == b"200"
        waits.append(time.monotonic() - began)
    return waits


def descriptors(live: Live) -> int:
    return len(list(Path(f"/proc/{live.process.pid}/fd").iterdir()))


def resident_mb(live: Live) -> float:
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.proof
def test_a_thousand_idle_and_two_hundred_slow_connections_keep_no_ping_waiting(
    tmp_path: Path,
) -> None:
    with files_at_most(8192), serving(tmp_path) as live, ExitStack() as held:
        token = str(live.add("job")["token"])
        alone, files, megabytes = time_pings(live, token), descriptors(live), resident_mb(live)
        for _ in range(IDLE):
            held.enter_context(closing(connect(live)))
        slow = Slow(live, token.encode())
        with in_thread(slow.run):
            try:
                wait_for(lambda: descriptors(live) >= files + IDLE + SLOW, "all are connected")
                beside, grown = time_pings(live, token), resident_mb(live) - megabytes
                wait_for(
                    lambda: not slow.connections,
                    "all slow ones are cut off",
                    cronwatch.SLOWEST_SECONDS + 30,
                )
            finally:
                slow.stop.set()
        held.close()
        wait_for(lambda: descriptors(live) <= files + 5, "the descriptors are released")
        print(
            f"a ping alone {max(alone):.3f} s, beside them {max(beside):.3f} s; "
            f"memory + {grown:.1f} MB; cut off after {min(slow.cut):.0f}-{max(slow.cut):.0f} s"
        )

        assert max(beside) < 1
        assert grown < 100
        assert (len(slow.cut), b"".join(slow.answered)) == (SLOW, b"")
        assert min(slow.cut) >= cronwatch.SLOWEST_SECONDS
        assert len(live.pings("job")) == 2 * PINGS


@pytest.mark.proof
def test_more_connections_than_there_are_descriptors_flood_no_log(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with files_at_most(256):
            live = stack.enter_context(serving(tmp_path))
        token = str(live.add("job")["token"])
        with ExitStack() as held:
            for _ in range(400):
                held.enter_context(closing(connect(live)))
            wait_for(lambda: descriptors(live) >= 250, "it has taken what it can")

        answer = say(live, f"GET /{token} HTTP/1.0\r\n\r\n".encode())

        assert answer.split()[1] == b"200"
        assert len(live.log.splitlines()) < 20

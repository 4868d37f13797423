"""The load generator, a program of its own: it reads one job and prints what came of it, as JSON.

One thread and epoll, requests made beforehand and a reply read no further than it must be, so that
it costs a fraction of what any server in Python does; the share of a processor that it took is
part of what it prints. It runs by itself, without the rest of the benchmarks: `python load.py`.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import time
from collections import Counter
from typing import Any

OK = b"HTTP/1.1 200 "
LENGTH = b"\r\nContent-Length: "
PATIENCE_SECONDS = 30  # for replies that are still to come when the time is over


def is_complete(reply: bytes) -> bool:
    """Whether a reply has all of its head and as many bytes behind it as the head says."""
    head = reply.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = reply.find(LENGTH, 0, head + 2)
    if at < 0:
        raise ValueError(f"a reply without a length: {reply[:200]!r}")
    at += len(LENGTH)
    return len(reply) >= head + 4 + int(reply[at : reply.index(b"\r", at)])


class Load:
    """So many connections to one address, each with one request under way, until it is over."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.address = ("127.0.0.1", job["port"])
        self.connections: int = job["connections"]
        self.keep_alive: bool = job["keep_alive"]
        self.requests = [request.encode() for request in job["requests"]]
        self.next = job["first"] % len(self.requests)
        self.left = job.get("count", sys.maxsize)
        self.statuses: Counter[str] = Counter()
        self.replies: list[tuple[float, float]] = []  # when it was complete, seconds that it took
        self.epoll = select.epoll()
        self.open: dict[int, tuple[socket.socket, float]] = {}  # with the time of its request
        self.parts: dict[int, bytes] = {}  # of replies that came in pieces
        self.end = time.perf_counter() + job.get("warm_seconds", 0) + job["seconds"]

    def stop(self, *_: object) -> None:
        """Send no more; what is under way is still answered."""
        self.end = time.perf_counter()

    def run(self) -> None:
        """Send until the time is over or all is sent, and take every reply."""
        for _ in range(self.connections):
            if self.left > 0:
                self.connect()
        while self.open:
            ready = self.epoll.poll(1.0)
            if not ready and time.perf_counter() > self.end + PATIENCE_SECONDS:
                raise TimeoutError(f"{len(self.open)} requests were never answered")
            for descriptor, _ in ready:
                self.receive(descriptor)

    def connect(self) -> None:
        """A new connection with a request; its time counts from here, as it does for curl."""
        began = time.perf_counter()
        connection = socket.create_connection(self.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        self.send(connection, began)

    def send(self, connection: socket.socket, began: float) -> None:
        """The next request; it is short enough for any buffer."""
        self.open[connection.fileno()] = (connection, began)
        connection.send(self.requests[self.next])
        self.left -= 1
        self.next += 1
        if self.next == len(self.requests):
            self.next = 0

    def receive(self, descriptor: int) -> None:
        """What has come on a connection; with the whole reply there, its next request."""
        connection, began = self.open[descriptor]
        piece = connection.recv(65_536)
        reply = self.parts.pop(descriptor, b"") + piece
        if not piece:
            raise ConnectionError(f"the server hung up after {reply[:200]!r}")
        if not is_complete(reply):
            self.parts[descriptor] = reply
            return
        now = time.perf_counter()
        self.replies.append((now, now - began))
        if not reply.startswith(OK):
            self.statuses[reply[:120].decode("latin-1")] += 1
        goes_on = now < self.end and self.left > 0
        if goes_on and self.keep_alive:
            self.send(connection, now)
            return
        del self.open[descriptor]
        connection.close()
        if goes_on:
            self.connect()


def percentile(ordered: list[float], part: float) -> float:
    """The value below which this part of them lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def main() -> None:
    """Run the job on standard input. `warm_seconds` at its start and what comes after its end are
    not measured, but every reply is counted."""
    job = json.load(sys.stdin)
    load = Load(job)
    signal.signal(signal.SIGTERM, load.stop)
    began, processor = time.perf_counter(), time.process_time()
    load.run()
    took = time.perf_counter() - began
    processor = time.process_time() - processor
    last = max(at for at, _ in load.replies)
    until = load.end if began < load.end < last else last
    since = began + job.get("warm_seconds", 0)
    lasted = sorted(took for at, took in load.replies if since <= at <= until)
    if not lasted:  # a moment so short that nothing came back within it
        since, lasted = began, sorted(took for _, took in load.replies)
    json.dump(
        {
            "replies": len(load.replies),
            "refused": load.statuses,
            "rate": len(lasted) / (until - since),
            "p50_ms": 1000 * percentile(lasted, 0.50),
            "p99_ms": 1000 * percentile(lasted, 0.99),
            "longest_ms": 1000 * max(took for _, took in load.replies),
            "share": processor / took,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()

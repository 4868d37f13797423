"""Servers as processes of their own, what /proc says of them, and the load they are put under."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from live_server import LIMIT_SECONDS, Live, environment

HERE = Path(__file__).resolve().parent
SCHED = 2  # CPUCLOCK_SCHED of Linux: what the scheduler counted, in nanoseconds


class Broken(Exception):
    """A measurement that cannot be believed, and why."""


class Target(NamedTuple):
    """A server that listens, and the paths to ask it for in turn."""

    pid: int
    port: int
    paths: Sequence[str]


class Shot(NamedTuple):
    """What one run of the load generator saw, and what it cost the server."""

    replies: int  # all of them, each a 200
    rate: float  # replies a second of the time that counts
    p50_ms: float
    p99_ms: float
    longest_ms: float
    cost_us: float  # processor time of the server for each reply
    share: float  # of a processor, that the load generator took


def target(live: Live, paths: Sequence[str]) -> Target:
    """A `cronwatch serve` with the paths to ask it for."""
    return Target(live.process.pid, int(live.url.rpartition(":")[2]), paths)


@contextmanager
def bare(kind: str) -> Iterator[Target]:
    """The application `kind` of bare.py while the block runs."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "bare.py"), kind],
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    with process.stdout:
        try:
            ready, _, _ = select.select([process.stdout], [], [], LIMIT_SECONDS)
            line = process.stdout.readline() if ready else ""
            if not line:
                raise Broken(f"the bare {kind} does not start")
            yield Target(process.pid, int(line.rpartition(":")[2]), ["/hello"])
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)


def processor_us(pid: int) -> float:
    """Processor time that a process has taken so far, in microseconds; /proc/PID/stat counts only
    hundredths of a second. A process has a clock, its id is made as by clock_getcpuclockid(3)."""
    return time.clock_gettime_ns(~pid << 3 | SCHED) / 1000


def memory_mb(pid: int, field: str) -> float:
    """A line of /proc/PID/status, `VmRSS` (now) or `VmHWM` (the highest so far), in MB."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(status[field].split()[0]) * 1024 / 1e6


def request(path: str, keep_alive: bool, key: str = "") -> str:
    """What curl sends, with or without a word on the connection, and an API key."""
    close = "" if keep_alive else "Connection: close\r\n"
    credentials = f"X-Api-Key: {key}\r\n" if key else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n"
        f"Accept: */*\r\n{credentials}{close}\r\n"
    )


class Loading:
    """A load generator that runs; `result` waits for its end."""

    def __init__(
        self,
        at: Target,
        connections: int,
        keep_alive: bool = True,
        seconds: float = 60,
        warm_seconds: float = 0,
        count: int = 10**9,
        first: int = 0,
        key: str = "",
    ) -> None:
        self.pid, self.before = at.pid, processor_us(at.pid)
        self.process = subprocess.Popen(
            [sys.executable, "-IS", str(HERE / "load.py")],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin
        json.dump(
            {
                "host": "127.0.0.1",
                "port": at.port,
                "connections": connections,
                "keep_alive": keep_alive,
                "seconds": warm_seconds + seconds,
                "count": count,
                "warm_seconds": warm_seconds,
                "first": first,
                "requests": [request(path, keep_alive, key) for path in at.paths],
            },
            self.process.stdin,
        )
        self.process.stdin.close()
        self.process.stdin = None

    def stop(self) -> None:
        """Send no more."""
        self.process.terminate()

    def result(self) -> Shot:
        """What came of it; raises `Broken` where a reply was no 200 or something went wrong."""
        out, err = self.process.communicate(timeout=1000)
        if self.process.returncode:
            raise Broken(f"the load generator ended: {err.strip().splitlines()[-1:]}")
        seen: dict[str, Any] = json.loads(out)
        if seen["refused"]:
            raise Broken(f"not every reply was a 200: {seen['refused']}")
        spent = processor_us(self.pid) - self.before
        return Shot(
            seen["replies"],
            seen["measured"] / seen["seconds"],
            seen["p50_ms"],
            seen["p99_ms"],
            seen["longest_ms"],
            spent / seen["replies"],
            seen["processor"],
        )


def median(shots: Sequence[Shot]) -> Shot:
    """The median of each number but two: the replies are summed, the longest is the longest."""
    found = Shot(*map(statistics.median, zip(*shots, strict=True)))
    return found._replace(
        replies=sum(shot.replies for shot in shots),
        longest_ms=max(shot.longest_ms for shot in shots),
    )


def in_turn(rounds: int, shots: Mapping[str, Callable[[], Shot]]) -> dict[str, Shot]:
    """A B C A B C …: whatever else the machine does meets all of them alike."""
    taken: dict[str, list[Shot]] = {name: [] for name in shots}
    for name in [*shots] * rounds:
        taken[name].append(shots[name]())
    return {name: median(found) for name, found in taken.items()}

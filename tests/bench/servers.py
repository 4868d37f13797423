"""Servers as processes of their own, what /proc says of them, and the load they are put under."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from live_server import LIMIT_SECONDS, Live, environment, first_line

from .plan import Plan
from .table import medians

HERE = Path(__file__).resolve().parent
SCHED = 2  # CPUCLOCK_SCHED of Linux: what the scheduler counted, in nanoseconds


class Broken(Exception):
    """A measurement that cannot be believed, and why."""


@dataclass
class Target:
    """A server that listens, the paths to ask it for in turn, and how often it has answered."""

    pid: int
    port: int
    paths: Sequence[str]
    replies: int = 0


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
    with subprocess.Popen(
        [sys.executable, str(HERE / "bare.py"), kind],
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Target(process.pid, int(first_line(process).rpartition(":")[2]), ["/hello"])
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)


def processor_us(pid: int) -> float:
    """Processor time that a process has taken so far, in microseconds; /proc/PID/stat counts only
    hundredths of a second. A process has a clock, its id is made as by clock_getcpuclockid(3)."""
    return time.clock_gettime_ns(~pid << 3 | SCHED) / 1000


def memory_mb(pid: int, field: str) -> float:
    """A line of /proc/PID/status, `VmRSS` (now) or `VmHWM` (the highest so far), in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
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
    """A load generator that runs; `result` waits for its end. The rest of its job is `seconds`,
    `warm_seconds` before them, and `count`."""

    def __init__(
        self, at: Target, connections: int, keep_alive: bool = True, key: str = "", **rest: float
    ) -> None:
        self.at, self.before = at, processor_us(at.pid)
        self.process = subprocess.Popen(
            [sys.executable, "-IS", str(HERE / "load.py")],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        job = {"port": at.port, "connections": connections, "keep_alive": keep_alive, **rest}
        requests = [request(path, keep_alive, key) for path in at.paths]
        assert self.process.stdin
        json.dump({**job, "first": at.replies, "requests": requests}, self.process.stdin)
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
        job: dict[str, Any] = json.loads(out)
        if refused := job.pop("refused"):
            raise Broken(f"not every reply was a 200: {refused}")
        cost_us = (processor_us(self.at.pid) - self.before) / job["replies"]
        self.at.replies += job["replies"]
        return Shot(**job, cost_us=cost_us)


def shoot(at: Target, plan: Plan, connections: int, keep_alive: bool = True) -> Shot:
    """Load for as long as the plan says."""
    seconds, warm = plan.seconds, plan.warm_seconds
    return Loading(at, connections, keep_alive, seconds=seconds, warm_seconds=warm).result()


def median(shots: Sequence[Shot]) -> Shot:
    """The median of each number but two: the replies are summed, the longest is the longest."""
    _, *rest = medians(shots)
    longest_ms = max(shot.longest_ms for shot in shots)
    return Shot(sum(shot.replies for shot in shots), *rest)._replace(longest_ms=longest_ms)


def in_turn(rounds: int, shots: Mapping[str, Callable[[], Shot]]) -> dict[str, Shot]:
    """A B C A B C …: whatever else the machine does meets all of them alike."""
    turns = [[shoot() for shoot in shots.values()] for _ in range(rounds)]
    return {name: median(of_one) for name, *of_one in zip(shots, *turns, strict=True)}

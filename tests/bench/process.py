"""What the process itself takes: memory, and time until it answers."""

from __future__ import annotations

import http.client
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from live_server import CRONWATCH, LIMIT_SECONDS, URL, environment, serving

from . import files, servers
from .pings import paths
from .plan import Plan
from .servers import Broken, Loading
from .table import Bar, Row

CONNECTIONS = 64


def measure_memory(plan: Plan) -> Iterator[Row]:
    """Memory at the start, and the most that there was by the end of 100,000 pings."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("memory"))
        files.make(room / "cronwatch.db")
        files.fill(room / "cronwatch.db", 1, plan.monitors)
        live = stack.enter_context(serving(room))
        ours = servers.target(live, paths(range(1, plan.monitors + 1)))
        bottle = stack.enter_context(servers.bare("bottle"))
        both = (ours, bottle)
        for at in both:
            Loading(at, 1, count=1).result()
        yield memory_row("memory at the start", "VmRSS", ours.pid, bottle.pid)
        for load in [Loading(at, CONNECTIONS, seconds=600, count=plan.pings) for at in both]:
            load.result()
        yield memory_row(
            f"memory, the most in {plan.pings:,} pings",
            "VmHWM",
            ours.pid,
            bottle.pid,
            f"{servers.memory_mb(ours.pid, 'VmRSS'):.1f} MB at their end",
        )


def memory_row(what: str, field: str, ours: int, bottle: int, also: str = "") -> Row:
    """Memory of a process beside that of bare Bottle with the same modules imported."""
    return Row(
        "memory",
        what,
        servers.memory_mb(ours, field),
        "MB",
        servers.memory_mb(bottle, field),
        "Bottle",
        Bar("<", 50, "MB"),
        also,
    )


def measure_start(plan: Plan) -> Iterator[Row]:
    """The time from the start of the process to its first answer, empty and with a million."""
    with plan.room("start") as room:
        seen = [
            (start_seconds(room / f"{turn}.db", "/"), crowd_seconds(plan), import_seconds())
            for turn in range(plan.starts)
        ]
        empty, many, rival = (median(took) for took in zip(*seen, strict=True))
        yield start_row("empty", empty, rival, plan.starts)
        yield start_row(f"{plan.many:,} monitors", many, rival, plan.starts)
        files.let_come_round(
            plan.crowd / "cronwatch.db", plan.many - plan.awaited + 1, plan.awaited
        )
        awaited = crowd_seconds(plan)  # an absence is judged whole: a second for 10,000
        yield start_row(f"{plan.awaited:,} of them awaited", awaited, rival, 1, limit=1.5)


def start_row(what: str, took: float, rival: float, times: int, limit: float = 0.5) -> Row:
    """The time to a first answer beside that of Python and the modules alone."""
    return Row(
        "start",
        f"start to first answer, {what}",
        took,
        "s",
        rival,
        "for the imports alone",
        Bar("<=", limit, "s"),
        f"median of {times}" * (times > 1),
    )


def crowd_seconds(plan: Plan) -> float:
    """The time to the answer to a ping among a million monitors."""
    return start_seconds(plan.crowd / "cronwatch.db", f"/ping/{files.token(plan.many)}")


def import_seconds() -> float:
    """What Python and the modules alone take."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import cronwatch"], env=environment(), check=True)
    return time.perf_counter() - began


def start_seconds(database: Path, path: str) -> float:
    """From the start of a server to its answer, which is a 200."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*CRONWATCH, "serve", "--database", str(database), "--listen", "127.0.0.1:0"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    with process.stdout:
        try:
            ready, _, _ = select.select([process.stdout], [], [], LIMIT_SECONDS)
            found = URL.search(process.stdout.readline() if ready else "")
            if not found:
                raise Broken("the server does not start")
            connection = http.client.HTTPConnection(found[0].partition("//")[2])
            connection.request("GET", path)
            status = connection.getresponse().status
            took = time.perf_counter() - began
            connection.close()
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)
    if status != 200:
        raise Broken(f"the first answer is {status}")
    return took

"""What the process itself takes: memory, and time until it answers; and what the wrapper adds to a
job, beside two bare calls of curl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from live_server import DIRECT, environment, launch, serving

import cronwatch

from . import files
from .pings import paths
from .plan import Plan
from .servers import Broken, Loading, bare, memory_mb, target
from .table import Bar, Row, medians

CONNECTIONS = 64
WRAPPER = cronwatch.DATA / "static" / "cronwatch-exec"
SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"]}
# What the fork of a shell and its tools may cost on top of the two requests.
AS_TWO_CALLS = Bar("<=", 5)


def measure_memory(plan: Plan) -> Iterator[Row]:
    """Memory at the start, and the most that there was by the end of 100,000 pings."""
    with (
        plan.room("memory", plan.monitors) as room,
        serving(room) as live,
        bare("bottle") as rival,
    ):
        ours = target(live, paths(range(1, plan.monitors + 1)))
        both = (ours, rival)

        def row(what: str, field: str, also: str = "") -> Row:
            """Beside bare Bottle with the same modules imported."""
            mb, against = (memory_mb(at.pid, field) for at in both)
            return Row(what, mb, "MB", against, "Bottle", Bar("<", 50, "MB"), also)

        for at in both:
            Loading(at, 1, seconds=60, count=1).result()
        yield row("memory at the start", "VmRSS")
        for load in [Loading(at, CONNECTIONS, seconds=600, count=plan.pings) for at in both]:
            load.result()
        also = f"{memory_mb(ours.pid, 'VmRSS'):.1f} MB at their end"
        yield row(f"memory, the most in {plan.pings:,} pings", "VmHWM", also)


def measure_start(plan: Plan) -> Iterator[Row]:
    """The time from the start of the process to its first answer, empty and with a million."""
    empty, many, imports = medians(
        [empty_seconds(plan), crowd_seconds(plan), import_seconds()] for _ in range(plan.starts)
    )
    each = f"median of {plan.starts}"
    yield start_row("empty", empty, imports, 0.5, each)
    yield start_row(f"{plan.many:,} monitors", many, imports, 0.5, each)
    files.let_come_round(plan.crowd / "cronwatch.db", plan.many - plan.awaited + 1, plan.awaited)
    awaited = crowd_seconds(plan)  # an absence is judged whole: a second for 10,000
    yield start_row(f"{plan.awaited:,} of them awaited", awaited, imports, 1.5, "")


def start_row(what: str, took: float, imports: float, limit: float, also: str) -> Row:
    """The time to a first answer beside that of Python and the modules alone."""
    bar, what = Bar("<=", limit, "s"), f"start to first answer, {what}"
    return Row(what, took, "s", imports, "for the imports alone", bar, also)


def empty_seconds(plan: Plan) -> float:
    """The time to the first page of a server that has to make its file."""
    with plan.room("start") as room:
        return start_seconds(room, "/")


def crowd_seconds(plan: Plan) -> float:
    """The time to the answer to a ping among a million monitors."""
    return start_seconds(plan.crowd, f"/ping/{files.token(plan.many)}")


def import_seconds() -> float:
    """What Python and the modules alone take."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import cronwatch"], env=environment(), check=True)
    return time.perf_counter() - began


def start_seconds(room: Path, path: str) -> float:
    """From the start of a server to its answer, which is a 200."""
    began = time.perf_counter()
    live = launch(room)
    try:
        live.await_url()
        with DIRECT.open(f"{live.url}{path}"):
            took = time.perf_counter() - began
        live.stop()
    finally:
        live.end()
    return took


def measure_exec(plan: Plan) -> Iterator[Row]:
    """What cronwatch-exec adds to a job that does nothing, beside two bare curl calls."""
    if shutil.which("curl") is None:
        yield Row("cronwatch-exec", also="there is no curl")
        return
    with plan.room("exec") as room, serving(room) as live:
        url = live.add("job")["pingUrl"]
        took = partial(ms, environment(HOME=str(room)))
        curl = ["curl", "-fsS", "-o", "/dev/null", "-m", "10"]
        wrapped = {
            f"{name}{', ' if flag else ''}{flag}": [*run, str(WRAPPER), *flag.split(), url]
            for flag in ("", "--quiet")
            for name, run in SHELLS.items()
            if shutil.which(name)
        }
        bare_ms, curl_ms, *wrapped_ms = medians(
            [
                took(["true"]),
                took([*curl, f"{url}/start"]) + took([*curl, url]),
                *(took([*command, "--", "true"]) for command in wrapped.values()),
            ]
            for _ in range(plan.calls)
        )
    for name, total_ms in zip(wrapped, wrapped_ms, strict=True):
        what, also = f"cronwatch-exec adds to a job, {name}", f"median of {plan.calls}"
        added = total_ms - bare_ms
        yield Row(what, added, "ms", curl_ms, "two curl calls", AS_TWO_CALLS, also)


def ms(environ: dict[str, str], command: Sequence[str]) -> float:
    """How long a command takes that must work, in milliseconds."""
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env=environ,
        cwd=os.sep,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode or done.stderr:
        raise Broken(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[:200]}")
    return 1000 * (time.perf_counter() - began)

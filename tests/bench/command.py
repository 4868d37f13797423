"""The command line of the benchmarks: which to run, how long, and the table at the end."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bottle

import cronwatch

from . import crowd, lists, pings, process, retention
from .plan import Plan, quick
from .servers import Broken
from .table import Row, table

MEASUREMENTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "pings": pings.measure_pings,
    "polls": pings.measure_polls,
    "disk": pings.measure_disk,
    "scan": crowd.measure_scan,
    "million": crowd.measure_million,
    "deadlines": crowd.measure_deadlines,
    "lists": lists.measure_lists,
    "retention": retention.measure_retention,
    "memory": process.measure_memory,
    "start": process.measure_start,
    "webhook": crowd.measure_webhook,
    "exec": process.measure_exec,
    "page": lists.measure_page,
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    listed = "\n".join(f"  {name:10} {call.__doc__}" for name, call in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python tests/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure cronwatch: each claim against something else, in the same run.",
        epilog=f"measurements:\n{listed}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default all)")
    what_for = "a few seconds in all, to see that everything works"
    parser.add_argument("--quick", action="store_true", help=what_for)
    parser.add_argument("--seconds", type=float, help="of each measurement under load")
    parser.add_argument("--rounds", type=int, help="how often each is repeated, in turn")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the databases are: on the disk that is to be measured (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    return parser


def sync_ms(folder: Path) -> float:
    """What it takes to put 4 KB on the disk, in milliseconds: the floor below every commit."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def filesystem(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    kinds = dict(line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    holding = [point for point in kinds if folder.resolve().is_relative_to(point)]
    return kinds[max(holding, key=len)]


def machine(plan: Plan) -> dict[str, Any]:
    """What the numbers depend on, besides the code."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "bottle": bottle.__version__,
        "waitress": version("waitress"),
        "cronwatch": cronwatch.__version__,
        "folder": str(plan.folder),
        "filesystem": filesystem(plan.folder),
        "sync_ms": sync_ms(plan.folder),
        "seconds": plan.seconds,
        "rounds": plan.rounds,
    }


HEADING = """\
cronwatch {cronwatch}, Python {python}, SQLite {sqlite}, Bottle {bottle}; {cpus} processors, load \
{load:.1f} before
{folder} is on {filesystem}, fdatasync {sync_ms:.3f} ms; {rounds} rounds of {seconds} s, medians; \
in brackets the same of what is measured against
"""


def take(names: Sequence[str], plan: Plan, rows: list[tuple[str, Row]]) -> str:
    """Add the rows of these measurements; what went wrong, where one cannot be believed."""
    began = time.monotonic()
    for name in names:
        try:
            for row in MEASUREMENTS[name](plan):
                rows.append((name, row))
                print(f"{time.monotonic() - began:4.0f} s  {row.what}", file=sys.stderr)
        except (Broken, AssertionError) as problem:
            return f"{name}: {problem}"
    print(f"{time.monotonic() - began:4.0f} s  in all\n", file=sys.stderr)
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Take the measurements and print the table; 1 only where one of them is broken."""
    parser = make_parser()
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no {name!r}: there are {', '.join(MEASUREMENTS)}")
    plan = (quick if options.quick else Plan)(options.folder)
    plan.seconds = options.seconds or plan.seconds
    plan.rounds = options.rounds or plan.rounds
    seen = machine(plan)
    rows: list[tuple[str, Row]] = []
    with plan.open:
        problem = take(options.names or [*MEASUREMENTS], plan, rows)
    print(f"{HEADING.format(**seen)}\n{table(row for _, row in rows)}")
    if options.json:
        written = [row.json(name) for name, row in rows]
        options.json.write_text(json.dumps({"machine": seen, "rows": written}, indent=1))
    if problem:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problem else 0

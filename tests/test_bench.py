"""The benchmarks themselves: that every row is there and means something. No speed is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from bench.command import MEASUREMENTS
from bench.servers import Shot, median
from bench.table import Bar, Row, table
from live_server import environment

BENCH = Path(__file__).parent / "bench"
ROWS = {
    "pings": 8,
    "polls": 1,
    "disk": 4,
    "scan": 3,
    "million": 1,
    "deadlines": 1,
    "lists": 7,
    "retention": 5,
    "memory": 2,
    "start": 3,
    "webhook": 2,
    "page": 1,
    "exec": 2 * sum(map(bool, map(which, ("dash", "bash", "busybox")))),
}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process of its own."""
    return subprocess.run(
        [sys.executable, str(BENCH), *words],
        env=environment(),
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def taken(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a quick run, and what it printed."""
    written = folder / "bench.json"
    where = ("--folder", str(folder), "--json", str(written))
    done = bench("--quick", "--seconds", "0.03", *where)
    assert done.returncode == 0, done.stderr
    return json.loads(written.read_text())["rows"], done.stdout


@pytest.mark.proof
def test_every_measurement_gives_its_rows(taken: tuple[list[dict[str, Any]], str]) -> None:
    rows, printed = taken
    names = [row["name"] for row in rows]

    assert {name: names.count(name) for name in MEASUREMENTS} == ROWS
    assert [row["what"] for row in rows if f"\n{row['what']} " not in printed] == []


@pytest.mark.proof
def test_every_number_is_sane(taken: tuple[list[dict[str, Any]], str]) -> None:
    rows, _ = taken
    numbers = [row[name] for row in rows for name in ("value", "against", "ratio")]

    assert [number for number in numbers if number is not None and not 0 < number < 1e7] == []


@pytest.mark.proof
def test_nothing_is_lost_while_it_is_measured(taken: tuple[list[dict[str, Any]], str]) -> None:
    rows, _ = taken
    counts = [row for row in rows if row["what"] == "pings in the database"]

    assert [row["value"] == row["against"] > 0 for row in counts] == [True, True]


def test_a_missed_bar_is_marked() -> None:
    rows = [
        Row("slow", 40.0, "/s", 100.0, "Bottle", Bar(">=", 0.5, aim=0.8)),
        Row("quick", 9.0, "ms", bar=Bar("<", 10, "ms")),
    ]

    shown = table(rows).splitlines()[2:]

    assert shown == [
        "slow   40/s   100/s Bottle  0.40   >= 0.50, aim 0.8  MISSED",
        "quick  9 ms                        < 10 ms           holds",
    ]


def test_what_was_not_measured_says_so() -> None:
    row = Row("slow disk", bar=Bar(">=", 0.5), also="there is no C compiler (cc)")

    shown = table([row]).splitlines()[2]

    assert " ".join(shown.split()) == (
        "slow disk not measured >= 0.50 there is no C compiler (cc)"
    )


def test_of_several_shots_the_median_counts_and_the_longest_ping() -> None:
    shots = [
        Shot(10, rate, 1.0, 2.0, longest, 50.0, 0.3)
        for rate, longest in ((100.0, 3.0), (300.0, 9.0), (900.0, 4.0))
    ]

    found = median(shots)

    assert (found.rate, found.longest_ms, found.replies) == (300.0, 9.0, 30)


def test_an_unknown_measurement_is_refused() -> None:
    done = bench("pigns")

    assert done.returncode == 2
    assert "there is no 'pigns': there are pings, polls, disk, scan" in done.stderr

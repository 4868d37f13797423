"""The demo: examples with a past, and a present that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import cronwatch


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[cronwatch.Server, dict[str, str]]:
    clock, database = cronwatch.DemoClock(), tmp_path_factory.mktemp("demo") / "demo.db"
    server = cronwatch.Server(cronwatch.Settings(database=str(database)), clock)
    tokens = cronwatch.fill_demo(server, clock)
    server.close()
    return server, tokens


def shown(server: cronwatch.Server) -> dict[str, dict[str, object]]:
    found = server.read(cronwatch.show_summary, cronwatch.Ask())["monitors"]
    return {monitor["name"]: monitor for monitor in found}


def test_the_examples_show_every_status(demo: tuple[cronwatch.Server, dict[str, str]]) -> None:
    statuses = Counter(str(monitor["status"]) for monitor in shown(demo[0]).values())

    assert set(statuses) == {"new", "up", "down", "paused"}


def test_one_is_late_one_missed_and_one_failed(
    demo: tuple[cronwatch.Server, dict[str, str]],
) -> None:
    found = shown(demo[0])

    assert [
        found["Mail fetch"]["late"],
        found["Disk cleanup"]["downReason"],
        found["Certificate renewal"]["downReason"],
    ] == [True, "missed", "failed"]


def test_each_job_that_runs_has_a_strip_of_runs(
    demo: tuple[cronwatch.Server, dict[str, str]],
) -> None:
    found = shown(demo[0])

    assert {
        name: len(monitor["runs"])  # type: ignore[arg-type]
        for name, monitor in found.items()
        if name != "Tape rotation"
    } == dict.fromkeys((example.name for example in cronwatch.EXAMPLES), 30)


@pytest.mark.slow
def test_the_demo_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cronwatch", "demo", "--listen", "127.0.0.1:0"],
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        kept = list(tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)

    assert [line.split(" ")[0] for line in lines] == ["Sign", "cronwatch"]
    assert (len(kept), list(tmp_path.iterdir()), code) == (1, [], 0)


@pytest.mark.slow
def test_one_job_goes_on_running_and_begins_again(
    demo: tuple[cronwatch.Server, dict[str, str]], tmp_path: Path
) -> None:
    server = cronwatch.Server(cronwatch.Settings(database=str(tmp_path / "live.db")))
    cronwatch.fill_demo(server, clock := cronwatch.DemoClock())
    server.clock = clock
    tokens = {"Photo sync": str(shown_token(server))}
    turn = cronwatch.live_demo(server, tokens)

    for _ in range(102):
        turn()

    runs = server.read(cronwatch.list_runs, cronwatch.Ask("photo-sync"))["runs"]
    server.close()
    assert [run["state"] for run in runs[:2]] == ["running", "success"]


def shown_token(server: cronwatch.Server) -> object:
    handles = server.read(cronwatch.list_handles, cronwatch.Ask("photo-sync"))["handles"]
    return next(one["handle"] for one in handles if one["dialect"] == "token")

"""The demo: examples with a past, and a present that goes on."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo import DAY, MINUTE, Demo

import cronwatch


@pytest.fixture(scope="module")
def demo(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The examples, which have lived until now; what is to come is in `coming`."""
    place = folder / "demo"
    place.mkdir()
    made = Demo(str(place))
    made.coming = list(itertools.islice(made.live_until_now(), 3000))
    yield made
    made.server.close()


def shown(demo: Demo) -> dict[str, dict[str, Any]]:
    found = demo.server.read(cronwatch.show_summary, cronwatch.ApiRequest())["monitors"]
    return {monitor["name"]: monitor for monitor in found}


def test_the_examples_are_in_every_state(demo: Demo) -> None:
    states = {
        name: monitor["downReason"] or monitor["state"] for name, monitor in shown(demo).items()
    }

    assert set(states.values()) == {"new", "up", "missed", "failed", "late", "running", "paused"}
    assert (states["Disk cleanup"], states["Certificate renewal"]) == ("missed", "failed")
    assert [name for name, state in states.items() if state == "late"] == ["Mail fetch"]


def test_two_jobs_are_running(demo: Demo) -> None:
    running = [name for name, monitor in shown(demo).items() if monitor["run"]]

    assert sorted(running) == ["Nightly backup", "Photo sync"]


def test_the_server_was_away_for_a_while(demo: Demo) -> None:
    health = demo.server.read(cronwatch.show_health, cronwatch.ApiRequest())

    assert len(health["absences"]) == 1


def test_what_is_to_come_is_in_order_and_begins_now(demo: Demo) -> None:
    instants = [ping.at for ping in demo.coming]

    assert instants == sorted(instants)
    assert demo.now < instants[0] < demo.now + MINUTE


def test_the_jobs_live_on_for_days(demo: Demo) -> None:
    later = {ping.job for ping in demo.coming if ping.at > demo.now + DAY // 4}

    assert later >= {"Photo sync", "ddns", "Database dump", "Mail fetch"}


@pytest.mark.slow
def test_the_demo_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "demo.py"), "--listen", "127.0.0.1:0"],
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

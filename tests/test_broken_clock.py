"""A clock that jumps by hours, forwards and backwards.

Nothing is told falsely, nothing true is left out, and nothing waits for an instant that only a
wrong clock saw. Most of it is in site/clock.txt."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import live_server
import pytest
from conftest import Site
from live_server import Live, serving
from trouble import Watch, add, failed, ping

import cronwatch

HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def watch(site: Site) -> Watch:
    return Watch(site)


def test_an_alert_that_waits_is_not_hurried_by_a_step_back(watch: Watch) -> None:
    add(watch.site, "webhook", "http://127.0.0.1:9/")
    failed(watch.site)
    for seconds in (0, 10, 30):
        watch.quiet(seconds)
        watch.site.server.deliver()

    watch.look(-2)

    (due,) = watch.site.rows("SELECT due_at FROM alert")
    assert due["due_at"] - watch.site.clock.now in (120_000, 122_000)


def test_a_minimum_interval_does_not_last_until_a_clock_that_was_ahead(watch: Watch) -> None:
    job, key = watch.site.monitor(min_ping_interval_seconds=60), watch.site.api_key()
    watch.look(DAY / 1000)
    watch.site.post(f"/api/v1/ping/{job.id}/success", X_API_Key=key)
    watch.look(-DAY / 1000)
    watch.look(60)

    assert watch.site.post(f"/api/v1/ping/{job.id}/success", X_API_Key=key).status_int == 200


CLOCKED = """\
import os, pathlib, time
import cronwatch
def clock():
    return time.time_ns() // 1_000_000 + int(pathlib.Path("ahead").read_text())
settings = cronwatch.Settings.load(vars(cronwatch.make_parser().parse_args()), os.environ)
server = cronwatch.Server(settings, clock)
server.run()
server.close()
"""


def set_clock(folder: Path, seconds: int) -> None:
    """Let the clock of a server in this folder be so far ahead from now on."""
    (folder / "next").write_text(str(seconds * 1000))
    (folder / "next").rename(folder / "ahead")


@pytest.fixture
def clocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A server in a process of its own with a clock to set, that looks every 20 s."""
    (tmp_path / "clocked.py").write_text(CLOCKED)
    set_clock(tmp_path, 0)
    monkeypatch.setattr(live_server, "CRONWATCH", [sys.executable, str(tmp_path / "clocked.py")])
    with serving(tmp_path, "--scan-seconds", "20") as live:
        yield live


@pytest.mark.slow
@pytest.mark.parametrize("hours", [5, -5])
def test_a_ping_before_the_first_look_at_a_clock_that_jumped_tells_nothing_false(
    clocked: Live, hours: int
) -> None:
    shown = clocked.add("job")
    ping(clocked, shown)
    set_clock(clocked.folder, hours * 3600)

    ping(clocked, shown)

    assert [event["kind"] for event in clocked.events("job")] == []


@pytest.mark.slow
def test_a_start_with_a_clock_behind_the_last_stop_tells_a_silence_in_time(tmp_path: Path) -> None:
    site = Site(tmp_path / "cronwatch.db")
    site.clock.now = time.time_ns() // 1_000_000 + 30 * DAY
    site.get(f"/{site.monitor(key='job').token}")
    site.server.act(cronwatch.stamp_alive)
    site.server.close()
    began = time.time_ns() // 1_000_000

    with serving(tmp_path):
        pass

    assert began + HOUR <= site.monitors[0]["expected_at"] <= began + HOUR + 60_000

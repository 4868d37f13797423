"""A clock that jumps by hours, forwards and backwards.

Nothing is told falsely, nothing true is left out, and nothing waits for an instant that only a
wrong clock saw."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


JUMPS = [[5], [-5], [5, -5], [-5, 5], [48, -48], [-48, 1, -1, 47]]  # hours


@pytest.mark.parametrize("jumps", JUMPS)
def test_a_clock_that_jumps_makes_no_alert(watch: Watch, jumps: list[int]) -> None:
    job = watch.site.monitor()
    watch.site.get(f"/{job.token}")
    watch.look()

    for hours in jumps:
        watch.look(hours * 3600)
        watch.site.get(f"/{job.token}")
        watch.look()

    assert set(watch.site.events) <= {"outage"}


@pytest.mark.parametrize("jumps", JUMPS)
def test_a_silence_after_a_clock_that_jumped_is_told_in_time(
    watch: Watch, jumps: list[int]
) -> None:
    watch.site.get(f"/{watch.site.monitor().token}")
    watch.look()
    for hours in jumps:
        watch.look(hours * 3600)

    watch.quiet(3600 + 300 + 1)
    watch.look()

    assert watch.site.events[-1] == "missed"


class Receiver:
    """A receiver that is not there at first; the kinds that it was sent then."""

    def __init__(self, site: Site) -> None:
        self.kinds: list[str] = []
        self.is_there = False
        add(site, "webhook", "http://127.0.0.1:9/", "Hook")
        site.server.outbox.senders = {"webhook": self.send}

    def send(self, *given: Any) -> cronwatch.Attempt:
        if not self.is_there:
            return cronwatch.Attempt("silent", "Connection refused")
        self.kinds.append(given[3]["kind"])
        return cronwatch.Attempt("sent", "HTTP 200")


@pytest.fixture
def receiver(site: Site) -> Receiver:
    return Receiver(site)


def test_an_alert_of_a_clock_that_was_ahead_is_not_held_back_until_then(
    watch: Watch, receiver: Receiver
) -> None:
    watch.look(DAY / 1000)
    failed(watch.site)
    watch.look(-DAY / 1000)
    receiver.is_there = True

    watch.site.server.deliver()

    assert receiver.kinds == ["failed"]


@pytest.mark.parametrize("steps", [[-DAY / 1000], [-DAY / 2000, -DAY / 2000]])
def test_a_retry_of_a_clock_that_was_ahead_comes_when_it_would_by_the_right_one(
    watch: Watch, receiver: Receiver, steps: list[float]
) -> None:
    watch.look(DAY / 1000)
    failed(watch.site)
    watch.site.server.deliver()
    receiver.is_there = True
    for seconds in steps:
        watch.look(seconds)
    watch.site.server.deliver()
    at_once = list(receiver.kinds)
    watch.look(10)

    watch.site.server.deliver()

    assert (at_once, receiver.kinds) == ([], ["failed"])


def test_an_alert_that_waits_is_not_hurried_by_a_step_back(
    watch: Watch, receiver: Receiver
) -> None:
    failed(watch.site)
    for seconds in (0, 10, 30):
        watch.quiet(seconds)
        watch.site.server.deliver()

    watch.look(-2)

    (due,) = watch.site.rows("SELECT due_at FROM alert")
    assert due["due_at"] - watch.site.clock.now in (120_000, 122_000)


def test_an_alert_behind_another_one_does_not_overtake_it_when_the_clock_goes_back(
    watch: Watch, receiver: Receiver
) -> None:
    job = failed(watch.site)
    watch.site.get(f"/{job.token}")
    watch.site.server.deliver()
    receiver.is_there = True

    watch.look(-2)
    watch.site.server.deliver()
    early = list(receiver.kinds)
    watch.look(15)
    watch.site.server.deliver()

    assert (early, receiver.kinds) == ([], ["failed", "recovered"])


def test_when_we_last_lived_is_never_later_than_now(watch: Watch) -> None:
    watch.site.server.act(cronwatch.stamp_alive)

    watch.look(-DAY / 1000)

    (alive,) = watch.site.rows("SELECT value FROM meta WHERE name = 'alive_at'")
    assert alive["value"] == watch.site.clock.now


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

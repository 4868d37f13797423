"""What the first screen shows of the past: strips, the night, the page on the wall."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import NOW, Made, Site

import cronwatch

MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.fixture
def job(site: Site) -> Made:
    """A monitor that is expected each hour, with five minutes of grace, and told of nothing."""
    return site.monitor(cron="0 * * * *", grace_seconds=300)


def summary(site: Site) -> dict[str, Any]:
    """The only monitor of the first screen."""
    request = cronwatch.ApiRequest()
    (shown,) = site.server.read(cronwatch.show_summary, request)["monitors"]
    return dict(shown)


def strip(site: Site, state: str = "") -> list[tuple[float, str]]:
    """The strip of the monitor: the minute of each slot, or of those in a state, and its state."""
    slots = summary(site)["strip"]
    return [((slot[0] - NOW) / 60_000, slot[2]) for slot in slots if state in ("", slot[2])]


def night(site: Site) -> dict[str, Any]:
    return dict(site.server.read(cronwatch.show_night, cronwatch.ApiRequest()))


def row(site: Site) -> dict[str, Any]:
    """The only monitor of the night."""
    (shown,) = night(site)["monitors"]
    return dict(shown)


def hours(site: Site, job: Made, count: int, path: str = "") -> None:
    """The job runs at so many full hours."""
    for _ in range(count):
        site.get(f"/{job.token}{path}")
        site.clock.move(HOUR)
        site.server.scan()


# -- Strips


@pytest.mark.parametrize(
    "count, path, minutes, states",
    [
        (2, "", 10, "success success missed"),
        (1, "", 3 * 60 + 4, "success missed missed missed"),
        (1, "", 2 * 60 + 5, "success missed missed"),  # the grace of the next is not over
        (3, "/1", 0, "failed failed failed"),  # who fails each hour misses nothing
        (1, "/1", 2 * 60, "failed missed missed"),
    ],
)
def test_an_hour_that_was_missed_is_a_slot_of_the_strip(
    site: Site, job: Made, count: int, path: str, minutes: int, states: str
) -> None:
    hours(site, job, count, path)
    site.clock.move(minutes * MINUTE)

    site.server.scan()

    assert strip(site) == [(60 * hour, state) for hour, state in enumerate(states.split())]


def test_an_interval_counts_from_the_last_ping(site: Site) -> None:
    job = site.monitor(interval_seconds=HOUR, grace_seconds=300)
    site.clock.move(20 * MINUTE)
    site.get(f"/{job.token}")

    site.clock.move(2 * HOUR + 10 * MINUTE)
    site.server.scan()

    assert strip(site) == [(20, "success"), (80, "missed"), (140, "missed")]


def test_what_was_missed_while_we_were_away_is_no_slot(site: Site, job: Made) -> None:
    hours(site, job, 1)
    site.clock.move(10 * MINUTE)
    site.server.scan()
    site.clock.move(2 * HOUR)
    site.server.away(site.clock.now - 90 * 60_000, site.clock.now - 30 * 60_000)

    assert strip(site, "missed") == [(60, "missed"), (180, "missed")]


def test_a_run_does_not_count_for_the_minute_after_its_own(site: Site) -> None:
    job = site.monitor(cron="* * * * *", grace_seconds=60)
    site.get(f"/{job.token}/fail")
    site.clock.move(90)
    site.get(f"/{job.token}/fail")
    site.clock.move(120)

    assert strip(site, "missed") == [(2, "missed")]


def test_a_strip_has_thirty_slots_however_long_a_job_is_down(site: Site, job: Made) -> None:
    hours(site, job, 3)

    site.clock.move(20 * DAY)
    site.server.scan()

    last = 20 * 24 + 3
    assert strip(site) == [(60 * hour, "missed") for hour in range(last - 30, last)]


@pytest.mark.parametrize("cron", ["* * * * *", "*/5 9-17 * * 1-5", "0 3 * * 0", "0 0 1 1 *"])
def test_the_last_occurrences_are_those_of_the_schedule(site: Site, cron: str) -> None:
    site.monitor(cron=cron)
    m = site.server.read(cronwatch.load_monitor, 1)
    first, until = NOW, NOW + 200 * DAY * 1000

    found = cronwatch.last_occurrences(m, first, until, 30)

    times = [cronwatch.next_run(cron, "UTC", found[0] - 1 if found else first - 1)]
    while times[-1] <= until:
        times.append(cronwatch.next_run(cron, "UTC", times[-1]))
    assert found == times[:-1][-30:]
    assert len(found) == 30 or times[0] >= first


def test_a_run_that_a_rule_matched_is_marked_until_a_good_one(site: Site) -> None:
    rule = {"field": "rows", "operator": "lt", "value": 1}
    job = site.monitor(rules=json.dumps([rule]))

    site.get(f"/{job.code}/complete?metric=rows:0")
    before = summary(site)
    site.clock.move(HOUR)
    site.get(f"/{job.code}/complete?metric=rows:5")
    after = summary(site)

    marks = [[slot[2] for slot in shown["strip"]] for shown in (before, after)]
    assert marks == [["matched"], ["matched", "success"]]
    assert (before["matched"], after["matched"]) == ([{**rule, "actual": 0}], [])


# -- The night


def test_a_run_of_the_night_has_its_place_and_its_length(site: Site, job: Made) -> None:
    site.get(f"/{job.token}/start")
    site.clock.move(10 * MINUTE)
    before = row(site)["runs"]
    site.get(f"/{job.token}")
    site.clock.move(20 * MINUTE)

    assert before == {"running": [[DAY - 10 * MINUTE, 10 * MINUTE, 1, 1]]}  # until now
    assert row(site)["runs"] == {"success": [[DAY - 30 * MINUTE, 10 * MINUTE, 1, 1]]}


def test_a_job_that_runs_each_minute_is_one_band(site: Site) -> None:
    job = site.monitor(cron="* * * * *")
    for _ in range(100):
        site.get(f"/{job.token}")
        site.clock.move(MINUTE)

    assert row(site)["runs"] == {"success": [[DAY - 100 * MINUTE, 99 * MINUTE, 100, 100]]}


def test_the_night_shows_what_was_missed_and_what_is_expected(site: Site, job: Made) -> None:
    hours(site, job, 1)
    site.clock.move(10 * MINUTE)
    site.server.scan()

    shown = row(site)

    assert shown["missed"] == [DAY - 10 * MINUTE]
    assert shown["expected"] == [DAY + n * HOUR - 10 * MINUTE for n in (1, 2, 3)]


def test_the_night_shows_when_we_were_away(site: Site, job: Made) -> None:
    hours(site, job, 1)
    now = site.clock.now
    site.server.away(now - 50 * 60_000, now - 20 * 60_000)

    assert night(site)["absences"] == [[DAY - 50 * MINUTE, DAY - 20 * MINUTE]]


def test_a_job_without_anything_to_see_has_no_row(site: Site, job: Made) -> None:
    site.monitor(name="Weekly", cron="0 6 * * 1")

    assert (night(site)["total"], night(site)["monitors"]) == (2, [])


def test_two_runs_of_one_instant_are_shown_beside_a_missed_one(site: Site, job: Made) -> None:
    site.get(f"/{job.token}/start?rid=00000000-0000-4000-8000-000000000001")
    site.get(f"/{job.token}/start?rid=00000000-0000-4000-8000-000000000002")
    site.get(f"/{job.token}?rid=00000000-0000-4000-8000-000000000002")
    site.clock.move(3 * HOUR)
    site.server.scan()

    states = [state for _, state in strip(site)]

    assert sorted(states[:2]) == ["success", "unknown"]
    assert states[2:] == ["missed"] * (len(states) - 2) != []


def test_no_time_is_shown_of_before_a_clock_went_back_behind_its_making(
    site: Site, job: Made
) -> None:
    site.clock.move(-HOUR)
    request = cronwatch.ApiRequest(job.id)

    (window,) = site.server.read(cronwatch.show_uptime, request)["windows"]

    assert (window["unknownSeconds"], window["since"]) == (0, window["until"])

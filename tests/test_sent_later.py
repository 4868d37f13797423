"""Pings that a client could not send in time: it sends them later, with their time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import NOW, Site

HOUR = 3_600_000


def ping(site: Site, path: str, hours_ago: float = 0, more: str = "") -> None:
    at = f"at={(site.clock.now - hours_ago * HOUR) / 1000:.3f}" if hours_ago else ""
    assert site.get(f"{path}?{at}{more}").status_int == 200


def test_a_run_has_the_times_that_the_client_says(site: Site) -> None:
    job = site.monitor(interval_seconds=86_400)

    ping(site, f"/{job.token}/start", 3)
    ping(site, f"/{job.token}", 2)

    (run,) = site.runs
    assert (run["started_at"], run["ended_at"], run["duration_ms"]) == (
        NOW - 3 * HOUR,
        NOW - 2 * HOUR,
        HOUR,
    )


def test_a_run_that_is_reported_as_a_whole_ended_when_the_client_says(site: Site) -> None:
    job = site.monitor()

    ping(site, f"/{job.token}", 2, "&duration=600")

    (run,) = site.runs
    assert (run["started_at"], run["ended_at"], run["duration_ms"]) == (
        NOW - 2 * HOUR - 600_000,
        NOW - 2 * HOUR,
        600_000,
    )


def test_the_ping_itself_is_recorded_when_it_came(site: Site) -> None:
    job = site.monitor()

    ping(site, f"/{job.token}", 2)

    assert site.pings[0]["at"] == NOW


def test_a_late_success_counts_from_its_own_time(site: Site) -> None:
    job = site.monitor(cron="0 11 * * *", timezone="UTC", grace_seconds=60)

    ping(site, f"/{job.token}", 24)  # at noon of yesterday

    assert site.monitors[0]["expected_at"] == NOW + 23 * HOUR  # 11:00 of today has passed


def test_a_start_that_comes_late_is_never_stuck(site: Site) -> None:
    job = site.monitor(max_run_seconds=600, interval_seconds=7 * 86_400)

    ping(site, f"/{job.token}/start", 3)
    site.clock.move(3600)
    site.server.scan()

    assert site.events == []


def test_a_start_that_is_sent_twice_is_one_run(site: Site) -> None:
    job = site.monitor(interval_seconds=86_400)

    for _ in range(2):
        ping(site, f"/{job.token}/start", 3, "&series=a")

    assert len(site.runs) == 1


def test_an_end_before_its_start_took_no_time(site: Site) -> None:
    job = site.monitor()

    ping(site, f"/{job.token}/start")
    ping(site, f"/{job.token}", 1)

    assert site.runs[0]["duration_ms"] == 0


@pytest.mark.parametrize(
    "at",
    [
        lambda: (NOW - 7 * 24 * HOUR - 1000) / 1000,
        lambda: NOW / 1000 + 1,
        lambda: "soon",
        lambda: "nan",
        lambda: -5,
    ],
)
def test_a_time_that_cannot_be_is_ignored(site: Site, at: Callable[[], object]) -> None:
    job = site.monitor()

    assert site.get(f"/{job.token}?at={at()}").status_int == 200
    assert site.runs[0]["ended_at"] == NOW


def test_a_retry_whose_first_answer_was_lost_is_the_same_run(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}/0?series=a")

    site.clock.move(5)
    site.get(f"/{job.token}/0?series=a&at={(NOW - 100) / 1000}")

    assert [run["state"] for run in site.runs] == ["success"]


def test_an_old_failure_puts_no_job_down_that_went_well_since(site: Site) -> None:
    job = site.monitor()
    ping(site, f"/{job.token}/start", 0, "series=b")
    ping(site, f"/{job.token}", 0, "series=b")

    ping(site, f"/{job.token}/start", 1, "&series=a")
    ping(site, f"/{job.token}/fail", 0.9, "&series=a")

    assert (site.monitors[0]["status"], site.events, site.runs[-1]["state"]) == (
        "up",
        [],
        "failed",
    )


def test_a_failure_that_comes_late_is_told_where_nothing_went_well_since(site: Site) -> None:
    job = site.monitor(interval_seconds=86_400)
    ping(site, f"/{job.token}", 5)

    ping(site, f"/{job.token}/fail", 1)

    assert site.events == ["failed"]


def test_a_start_that_comes_after_its_own_end_opens_nothing(site: Site) -> None:
    job = site.monitor()
    ping(site, f"/{job.token}", 1, "&series=a")

    ping(site, f"/{job.token}/start", 2, "&series=a")

    assert [run["state"] for run in site.runs] == ["success"]

"""When a monitor is in trouble: schedules, deadlines, runs, failures, pauses, absences."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from cronwatch import (
    Event,
    Flip,
    Invalid,
    Monitor,
    MonitorState,
    Ping,
    arm,
    check_rules,
    edit,
    is_too_soon,
    judge_gap,
    next_change,
    occurrence_from,
    pause,
    receive,
    resume,
    retry_ms,
    settle,
    turn_back,
)

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NOW = 1_762_344_000_000  # 2025-11-05 12:00 UTC, a Wednesday
DEADLINE = NOW + 65 * MINUTE  # of an hourly monitor with the usual grace that was heard at NOW
HOURLY = "0 * * * *"
NUMS = itertools.count(1)


def clock(text: str, zone: str = "UTC") -> int:
    """An instant of NOW's day as a clock shows it, such as 11:59 or 11:59:59.999."""
    wall = datetime.fromisoformat(f"2025-11-05T{text}").replace(tzinfo=ZoneInfo(zone))
    return round(wall.timestamp() * 1000)


def a_monitor(**fields: Any) -> Monitor:
    """A new monitor that expects an hourly run, with five minutes of grace."""
    empty = dict.fromkeys(column.name for column in dataclasses.fields(Monitor))
    usual = {
        "num": 1,
        "timezone": "UTC",
        "grace_seconds": 300,
        "expects": "run",
        "armed": 0,
        "interval_seconds": None if "cron" in fields else 3600,
        "status": "new",
        "failure_tolerance": 0,
        "failures": 0,
        "failed_count": 0,
        "missed_count": 0,
        "unverified": 0,
    }
    return Monitor(**{**empty, **usual, **fields})


def armed(at: int, **fields: Any) -> MonitorState:
    """A monitor that was created at an instant with `armed`."""
    state = MonitorState(a_monitor(armed=1, **fields), [])
    arm(state, at)
    return state


def ping(kind: str, at: int = NOW, **more: Any) -> Ping:
    return Ping(kind, at, next(NUMS), **more)


def hear(state: MonitorState, *pings: Ping) -> MonitorState:
    for one in pings:
        receive(state, one)
    return state


def a_life(*pings: Ping, alert: int = 60, **fields: Any) -> MonitorState:
    """A monitor that heard these pings; what they told and flipped is forgotten."""
    state = hear(MonitorState(a_monitor(**fields), [], alert), *pings)
    state.flips, state.events = [], []
    return state


def an_up(**fields: Any) -> MonitorState:
    return a_life(ping("ok"), **fields)


def a_failed(**fields: Any) -> MonitorState:
    return a_life(ping("fail"), **fields)


def a_missed(**fields: Any) -> MonitorState:
    """An hourly monitor that was heard at NOW and missed at DEADLINE."""
    state = an_up(**fields)
    settle(state, DEADLINE + 1)
    state.flips, state.events = [], []
    return state


def a_stuck(at: int = NOW, **more: Any) -> MonitorState:
    """A monitor whose run began then and got stuck ten minutes later."""
    state = a_life(ping("start", at, **more), max_run_seconds=600)
    settle(state, at + 10 * MINUTE + 1)
    state.flips, state.events = [], []
    return state


def rest(state: MonitorState, at: int, to_new: bool = False) -> None:
    """Pause the monitor and resume it at once."""
    pause(state, at, None)
    resume(state, at, to_new=to_new)


def seen_to_end(at: int = NOW - DAY) -> tuple[Ping, Ping]:
    """A run that a start opened and that was ended: those that follow are awaited."""
    return ping("start", at), ping("success", at + SECOND)


def rules(*texts: str) -> str:
    """Rules as they are stored, from such as `rows lt 10`."""
    parts = [text.split() for text in texts]
    return json.dumps(
        check_rules(
            [
                {"field": name, "operator": sign, "value": float(value)}
                for name, sign, value in parts
            ]
        )
    )


def too_few(at: int, **more: Any) -> Ping:
    """A success that a monitor with the rule `rows lt 10` does not believe."""
    return ping("success", at, metrics='{"rows": 1}', **more)


def told(state: MonitorState) -> list[tuple[str, int]]:
    return [(event.kind, event.at) for event in state.events]


def flips(state: MonitorState) -> list[tuple[str, int]]:
    return [(flip.status, flip.at) for flip in state.flips]


def states(state: MonitorState) -> list[str]:
    return [run.state for run in state.runs]


def due_at(state: MonitorState, now: int) -> int | None:
    change = next_change(state, now)
    return change.at if change else None


@pytest.fixture(autouse=True)
def _no_endless_circle() -> Iterator[None]:
    """A rule that turns in a circle for ever fails its test instead of holding up the suite."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


# -- Deadlines


def test_a_deadline_is_met_at_the_instant_itself() -> None:
    state = an_up()

    settle(state, DEADLINE)

    assert state.monitor.status == "up"


def test_a_deadline_is_broken_one_millisecond_later() -> None:
    state = an_up()

    settle(state, DEADLINE + 1)

    assert state.monitor.status == "down"


def test_due_at_is_the_millisecond_after_the_deadline() -> None:
    state = an_up()

    assert due_at(state, NOW) == DEADLINE + 1


@pytest.mark.parametrize("look", [DEADLINE + 1, DEADLINE + MINUTE, DEADLINE + 400 * DAY])
def test_the_event_is_dated_at_the_deadline_whenever_we_looked(look: int) -> None:
    state = an_up()

    settle(state, look)

    assert told(state) == [("missed", DEADLINE)]
    assert flips(state) == [("down", DEADLINE)]


@pytest.mark.parametrize("status", ["new", "up"])
def test_without_a_schedule_nothing_is_ever_missed(status: str) -> None:
    state = a_life(*[ping("success")] * (status == "up"), interval_seconds=None)

    settle(state, NOW + 400 * DAY)

    assert state.monitor.status == status
    assert due_at(state, NOW) is None


def test_without_a_schedule_a_monitor_fails() -> None:
    state = hear(an_up(interval_seconds=None), ping("fail", NOW + DAY))

    assert told(state) == [("failed", NOW + DAY)]


def test_without_a_schedule_a_run_gets_stuck() -> None:
    state = a_life(ping("start"), interval_seconds=None, max_run_seconds=60)

    settle(state, NOW + DAY)

    assert told(state) == [("stuck", NOW + MINUTE)]


# -- The expected time


@pytest.mark.parametrize(
    "expects, tolerance, kind",
    [
        ("run", 0, "start"),
        ("run", 0, "success"),
        ("run", 0, "fail"),
        ("run", 0, "ok"),
        ("run", 1, "fail"),
        ("complete", 0, "success"),
        ("complete", 0, "ok"),
        ("complete", 1, "fail"),
    ],
)
def test_a_sign_of_life_moves_expected_at_to_the_next_occurrence(
    expects: str, tolerance: int, kind: str
) -> None:
    state = an_up(expects=expects, failure_tolerance=tolerance)

    hear(state, ping(kind, NOW + 30 * MINUTE))

    assert state.monitor.expected_at == NOW + 90 * MINUTE


@pytest.mark.parametrize(
    "expects, kind",
    [
        ("run", "progress"),
        ("run", "log"),
        ("complete", "start"),
        ("complete", "fail"),
        ("complete", "progress"),
        ("complete", "log"),
    ],
)
def test_what_is_no_sign_of_life_moves_nothing(expects: str, kind: str) -> None:
    state = an_up(expects=expects)

    hear(state, ping(kind, NOW + 30 * MINUTE))

    assert state.monitor.expected_at == NOW + HOUR


@pytest.mark.parametrize("expects", ["run", "complete"])
@pytest.mark.parametrize("reported", [None, SECOND, 5 * MINUTE, HOUR])
def test_its_own_time_is_the_arrival_of_the_runs_start(expects: str, reported: int | None) -> None:
    state = hear(an_up(expects=expects), ping("start", NOW + 30 * MINUTE))

    hear(state, ping("success", NOW + 50 * MINUTE, duration_ms=reported))

    assert state.monitor.expected_at == NOW + 90 * MINUTE


@pytest.mark.parametrize("kind", ["success", "fail"])
def test_without_a_start_its_own_time_is_its_arrival_minus_the_reported_duration(
    kind: str,
) -> None:
    state = an_up()

    hear(state, ping(kind, NOW + 30 * MINUTE, duration_ms=10 * MINUTE))

    assert state.monitor.expected_at == NOW + 80 * MINUTE


def test_a_run_that_progress_opened_began_the_reported_duration_before_its_end() -> None:
    state = hear(an_up(), ping("progress", NOW + 25 * MINUTE))

    hear(state, ping("success", NOW + 30 * MINUTE, duration_ms=10 * MINUTE))

    assert state.monitor.expected_at == NOW + 80 * MINUTE


@pytest.mark.parametrize(
    "reported, began", [(None, NOW), (SECOND, NOW), (10 * MINUTE, NOW - 5 * MINUTE)]
)
def test_a_run_that_progress_opened_began_with_it_or_before(
    reported: int | None, began: int
) -> None:
    state = a_life(ping("progress"))

    hear(state, ping("success", NOW + 5 * MINUTE, duration_ms=reported))

    assert state.runs[0].started_at == began


def test_the_duration_that_the_first_ping_of_all_reports_is_believed() -> None:
    state = a_life(ping("success", NOW, duration_ms=10 * MINUTE))

    assert state.monitor.expected_at == NOW + 50 * MINUTE


@pytest.mark.parametrize(
    "reported, expected_at",
    [
        (30 * MINUTE - 1, NOW + HOUR + 1),
        (30 * MINUTE, NOW + 90 * MINUTE),
        (30 * MINUTE + 1, NOW + 90 * MINUTE),
        (10 * DAY, NOW + 90 * MINUTE),
    ],
)
def test_a_duration_that_reaches_back_to_the_previous_sign_of_life_is_not_believed(
    reported: int, expected_at: int
) -> None:
    state = an_up()

    hear(state, ping("success", NOW + 30 * MINUTE, duration_ms=reported))

    assert state.monitor.expected_at == expected_at


@pytest.mark.parametrize("kind", ["success", "fail", "ok"])
def test_without_a_start_and_a_duration_its_own_time_is_its_arrival(kind: str) -> None:
    state = hear(an_up(), ping(kind, NOW + 30 * MINUTE))

    assert state.monitor.expected_at == NOW + 90 * MINUTE


@pytest.mark.parametrize("seconds", [1, 60, 3600, 86_400 * 366])
def test_an_interval_expects_that_time_plus_the_interval(seconds: int) -> None:
    state = an_up(interval_seconds=seconds)

    assert state.monitor.expected_at == NOW + seconds * SECOND


@pytest.mark.parametrize(
    "cron, zone, came, expected_at",
    [
        (HOURLY, "UTC", "12:00", "13:00"),
        (HOURLY, "UTC", "11:00:00.001", "12:00"),
        ("30 14 * * *", "UTC", "11:00", "14:30"),
        ("30 14 * * *", "Europe/Berlin", "11:00", "13:30"),
        ("30 14 * * *", "Asia/Kolkata", "08:00", "09:00"),
    ],
)
def test_cron_expects_the_first_occurrence_after_it(
    cron: str, zone: str, came: str, expected_at: str
) -> None:
    state = a_life(ping("success", clock(came)), cron=cron, timezone=zone)

    assert state.monitor.expected_at == clock(expected_at)


@pytest.mark.parametrize(
    "cron, grace, before, came, expected_at",
    [
        # five minutes at the most
        (HOURLY, 300, "11:00:30", "11:55", "13:00"),
        (HOURLY, 300, "11:00:30", "11:54:59.999", "12:00"),
        (HOURLY, 3000, "11:00:30", "11:55", "13:00"),
        (HOURLY, 3000, "11:00:30", "11:54:59.999", "12:00"),
        # the grace
        (HOURLY, 60, "11:00:30", "11:59", "13:00"),
        (HOURLY, 60, "11:00:30", "11:58:59.999", "12:00"),
        (HOURLY, 0, "11:00:00", "11:59:59.999", "12:00"),
        # a quarter of the distance from the occurrence before
        ("*/10 * * * *", 300, "11:50:30", "11:57:30", "12:10"),
        ("*/10 * * * *", 300, "11:50:30", "11:57:29.999", "12:00"),
        ("0,50 * * * *", 300, "11:50:30", "11:57:30", "12:50"),
        ("0,50 * * * *", 300, "11:50:30", "11:57:29.999", "12:00"),
        ("0,50 * * * *", 300, "11:00:30", "11:45", "12:00"),
        ("0,50 * * * *", 300, "11:00:30", "11:44:59.999", "11:50"),
        ("*/30 * * * * *", 300, "11:59:01", "11:59:22.500", "12:00"),
        ("*/30 * * * * *", 300, "11:59:01", "11:59:22.499", "11:59:30"),
    ],
)
def test_a_sign_of_life_a_little_before_an_occurrence_counts_for_that_one(
    cron: str, grace: int, before: str, came: str, expected_at: str
) -> None:
    state = a_life(ping("success", clock(before)), cron=cron, grace_seconds=grace)

    hear(state, ping("success", clock(came)))

    assert state.monitor.expected_at == clock(expected_at)


def test_a_little_before_is_judged_in_the_monitors_zone() -> None:
    state = a_life(ping("success", clock("10:58")), cron="0 12 * * *", timezone="Europe/Berlin")

    assert state.monitor.expected_at == clock("12:00", "Europe/Berlin") + DAY


def test_early_counts_where_the_occurrence_before_was_missed() -> None:
    state = a_life(ping("success", clock("10:00:30")), cron=HOURLY)

    hear(state, ping("success", clock("11:57")))

    assert state.monitor.expected_at == clock("13:00")


def test_early_counts_where_the_occurrence_before_was_unverified() -> None:
    state = a_life(ping("success", clock("10:00:30")), cron=HOURLY)
    judge_gap(state, clock("10:50"), clock("11:10"))

    hear(state, ping("success", clock("11:57")))

    assert state.monitor.expected_at == clock("13:00")


def test_early_counts_where_nothing_was_expected_yet() -> None:
    state = a_life(ping("success", clock("11:57")), cron=HOURLY)

    assert state.monitor.expected_at == clock("13:00")


def test_early_does_not_count_while_the_occurrence_before_is_still_awaited() -> None:
    state = a_life(ping("success", clock("10:00:30")), cron=HOURLY, grace_seconds=3600)

    hear(state, ping("success", clock("11:57")))

    assert state.monitor.expected_at == clock("12:00")


def test_early_does_not_count_while_one_after_the_missed_occurrence_is_still_awaited() -> None:
    state = a_life(ping("success", clock("09:00:30")), cron=HOURLY, grace_seconds=3590)
    settle(state, clock("11:57"))

    hear(state, ping("success", clock("11:57")))

    assert state.events[0] == Event(
        "missed", clock("10:59:50"), reason="missed", down_since=clock("10:59:50")
    )
    assert state.monitor.expected_at == clock("12:00")


def test_a_job_whose_clock_runs_a_minute_ahead_is_not_missed() -> None:
    state = a_life(cron="0 12 * * *")

    hear(state, *(ping("success", NOW - MINUTE + day * DAY) for day in range(5)))
    settle(state, NOW + 5 * DAY - MINUTE)

    assert told(state) == []


def test_expected_at_does_not_move_back_for_an_older_run_of_an_interval() -> None:
    state = hear(
        an_up(expects="complete"),
        ping("start", NOW + 10 * MINUTE, series="a"),
        ping("success", NOW + 20 * MINUTE, series="b"),
    )

    hear(state, ping("success", NOW + 30 * MINUTE, series="a"))

    assert state.monitor.expected_at == NOW + 80 * MINUTE


@pytest.mark.parametrize("again", ["11:58", "11:59:59.999", "12:00", "12:30"])
def test_expected_at_does_not_move_back_after_an_early_sign_of_life(again: str) -> None:
    state = a_life(ping("success", clock("11:57")), cron=HOURLY)

    hear(state, ping("success", clock(again)))

    assert state.monitor.expected_at == clock("13:00")


def test_expected_at_does_not_move_back_for_a_run_that_began_before_an_edit() -> None:
    state = hear(an_up(expects="complete"), ping("start", NOW + 10 * MINUTE))
    edit(state, NOW + 20 * MINUTE, {"interval_seconds": 7200})

    hear(state, ping("success", NOW + 30 * MINUTE))

    assert state.monitor.expected_at == NOW + 140 * MINUTE


@pytest.mark.parametrize(
    "ended, expected_at",
    [
        (70 * SECOND, 60 * SECOND),
        (70 * SECOND + 1, 120 * SECOND),
        (610 * SECOND, 600 * SECOND),
        (610 * SECOND + 1, 660 * SECOND),
    ],
)
def test_an_occurrence_whose_deadline_has_passed_at_arrival_is_skipped_in_whole_steps(
    ended: int, expected_at: int
) -> None:
    state = a_life(ping("start"), interval_seconds=60, grace_seconds=10, expects="complete")

    hear(state, ping("success", NOW + ended))

    assert state.monitor.expected_at == NOW + expected_at


@pytest.mark.parametrize(
    "ended, expected_at",
    [
        ("12:01:10", "12:01"),
        ("12:01:10.001", "12:02"),
        ("12:30:10", "12:30"),
        ("12:30:10.001", "12:31"),
    ],
)
def test_a_cron_occurrence_whose_deadline_has_passed_at_arrival_is_skipped(
    ended: str, expected_at: str
) -> None:
    state = a_life(ping("start"), cron="* * * * *", grace_seconds=10, expects="complete")

    hear(state, ping("success", clock(ended)))

    assert state.monitor.expected_at == clock(expected_at)


@pytest.mark.parametrize(
    "kind, reported",
    [("success", 400 * DAY), ("fail", 400 * DAY), ("success", 65 * MINUTE + 1), ("success", HOUR)],
)
@pytest.mark.parametrize("schedule", [{}, {"cron": "*/7 * * * *"}, {"cron": "0 0 1 1 *"}])
def test_a_ping_never_makes_its_own_monitor_late(
    kind: str, reported: int, schedule: dict[str, Any]
) -> None:
    state = a_life(ping(kind, duration_ms=reported), failure_tolerance=1, **schedule)

    settle(state, NOW + 1)

    assert told(state) == []
    assert (due_at(state, NOW) or 0) > NOW


@pytest.mark.parametrize("expects", ["run", "complete"])
@pytest.mark.parametrize(
    "began, ended, expected_at",
    [
        ("11:58", "12:01", "13:00"),  # both count for 12:00, the start early
        ("12:00:10", "12:58", "13:00"),  # by itself the end would be early for 13:00
        ("12:00:10", "13:02", "13:00"),  # by itself the end would count for 13:00
        ("12:00:10", "13:05", "13:00"),
        ("11:50", "12:02", "12:00"),
    ],
)
def test_the_end_of_a_run_counts_for_the_occurrence_that_its_start_counted_for(
    expects: str, began: str, ended: str, expected_at: str
) -> None:
    state = a_life(ping("success", clock("11:00:30")), cron=HOURLY, expects=expects)

    hear(state, ping("start", clock(began)), ping("success", clock(ended)))

    assert state.monitor.expected_at == clock(expected_at)


@pytest.mark.parametrize("expects", ["run", "complete"])
@pytest.mark.parametrize("kind", ["success", "fail"])
def test_a_ping_from_before_the_last_sign_of_life_does_not_move_the_schedule(
    expects: str, kind: str
) -> None:
    state = hear(
        an_up(expects=expects),
        ping("start", NOW + 10 * MINUTE, series="old"),
        ping("success", NOW + 20 * MINUTE, series="new"),
    )

    hear(state, ping(kind, NOW + 30 * MINUTE, series="old"))

    assert state.monitor.expected_at == NOW + 80 * MINUTE


def test_the_failure_of_a_run_from_before_the_last_sign_of_life_counts() -> None:
    state = hear(
        an_up(),
        ping("start", NOW + 10 * MINUTE, series="old"),
        ping("success", NOW + 20 * MINUTE, series="new"),
    )

    hear(state, ping("fail", NOW + 30 * MINUTE, series="old"))

    assert told(state) == [("failed", NOW + 30 * MINUTE)]


def test_the_success_of_a_run_from_before_the_last_sign_of_life_counts() -> None:
    state = a_life(ping("start", NOW, series="old"), ping("fail", NOW + MINUTE, series="new"))

    hear(state, ping("success", NOW + 2 * MINUTE, series="old"))

    assert told(state) == [("recovered", NOW + 2 * MINUTE)]


DAILY = "30 14 * * *"
HALF_PAST_TWO = NOW + 150 * MINUTE


def test_the_end_of_a_run_counts_for_what_its_start_counted_for_across_the_end_of_a_pause() -> (
    None
):
    state = a_paused(an_up(cron=DAILY, grace_seconds=3600), HALF_PAST_TWO - MINUTE)
    hear(state, ping("start", HALF_PAST_TWO - 90 * SECOND))

    hear(state, ping("success", HALF_PAST_TWO + 10 * MINUTE))

    assert state.monitor.expected_at == HALF_PAST_TWO + DAY


@pytest.mark.parametrize("expects", ["run", "complete"])
def test_an_end_across_the_end_of_a_pause_that_comes_after_the_deadline_recovers(
    expects: str,
) -> None:
    # Deadlines rest in a pause and count from its end, and the run is not awaited any more: its
    # start moved nothing, its end is the first ping that could have met the occurrence.
    state = a_paused(an_up(cron=DAILY, expects=expects), HALF_PAST_TWO - MINUTE)
    hear(state, ping("start", HALF_PAST_TWO - 90 * SECOND))

    hear(state, ping("success", HALF_PAST_TWO + 10 * MINUTE))

    assert told(state) == [
        ("missed", HALF_PAST_TWO + 5 * MINUTE),
        ("recovered", HALF_PAST_TWO + 10 * MINUTE),
    ]
    assert state.monitor.expected_at == HALF_PAST_TWO + DAY


def test_after_an_edit_the_end_of_a_run_counts_for_that_of_the_new_schedule() -> None:
    state = hear(an_up(cron=DAILY), ping("start", HALF_PAST_TWO - 90 * SECOND))
    edit(state, HALF_PAST_TWO - MINUTE, {"cron": "30 14,20 * * *"})

    hear(state, ping("success", HALF_PAST_TWO + MINUTE))

    assert state.monitor.expected_at == HALF_PAST_TWO + 6 * HOUR


def test_after_an_edit_the_end_of_a_stuck_run_counts_for_that_of_the_new_schedule() -> None:
    state = hear(an_up(cron=DAILY, max_run_seconds=60), ping("start", HALF_PAST_TWO, series="a"))
    settle(state, HALF_PAST_TWO + 2 * MINUTE)
    edit(state, HALF_PAST_TWO + 3 * MINUTE, {"cron": "30 14,20 * * *"})

    hear(state, ping("success", HALF_PAST_TWO + 4 * MINUTE, series="a"))

    assert state.monitor.expected_at == HALF_PAST_TWO + 6 * HOUR


def test_an_end_in_a_pause_by_hand_counts_for_the_occurrence_ahead() -> None:
    state = a_paused(an_up(cron=DAILY), None)

    resume(state, HALF_PAST_TWO + DAY - MINUTE)

    assert state.monitor.expected_at == HALF_PAST_TWO + 2 * DAY


def test_a_start_in_a_pause_counts_for_the_occurrence_ahead() -> None:
    state = a_paused(an_up(cron=DAILY), None)

    hear(state, ping("start", HALF_PAST_TWO + DAY - MINUTE))

    assert state.runs[0].next_at == HALF_PAST_TWO + 2 * DAY


# -- Settling


@pytest.mark.parametrize(
    "act",
    [
        lambda state, now: receive(state, ping("log", now)),
        lambda state, now: receive(state, ping("success", now)),
        lambda state, now: edit(state, now, {"name": "other"}),
        lambda state, now: edit(state, now, {"grace_seconds": 86_400}),
        lambda state, now: edit(state, now, {"interval_seconds": None}),
        lambda state, now: pause(state, now, None),
        resume,
    ],
    ids=["log", "success", "name", "grace", "schedule", "pause", "resume"],
)
def test_a_ping_an_edit_or_a_pause_first_settles_what_fell_due(
    act: Callable[[MonitorState, int], object],
) -> None:
    state = an_up()

    act(state, NOW + DAY)

    assert told(state)[0] == ("missed", DEADLINE)
    assert flips(state)[0] == ("down", DEADLINE)


def test_what_fell_due_happens_in_the_order_of_the_true_times() -> None:
    state = hear(a_failed(reminder_interval_seconds=90), ping("fail", NOW + SECOND))

    settle(state, NOW + 100 * SECOND)

    assert told(state) == [("failed", NOW + MINUTE), ("reminder", NOW + 90 * SECOND)]


def test_an_earlier_stuck_comes_before_a_later_missed() -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    settle(state, NOW + DAY)

    assert flips(state) == [("down", NOW + 10 * MINUTE)]
    assert told(state) == [("stuck", NOW + 10 * MINUTE)]


def test_an_earlier_missed_comes_before_a_later_stuck() -> None:
    state = a_life(ping("start"), max_run_seconds=86_400)

    settle(state, NOW + 3 * DAY)

    assert told(state) == [("missed", DEADLINE)]
    assert states(state) == ["stuck"]


def test_the_end_of_a_pause_comes_before_a_ping_at_the_same_instant() -> None:
    state = a_life()
    pause(state, NOW, NOW + HOUR)

    hear(state, ping("start", NOW + HOUR))

    assert flips(state) == [("paused", NOW), ("new", NOW + HOUR), ("up", NOW + HOUR)]


def test_stuck_comes_before_missed_at_the_same_instant() -> None:
    state = a_life(*seen_to_end(), ping("start"))

    settle(state, DEADLINE + 1)

    assert told(state) == [("stuck", DEADLINE)]


def test_missed_comes_before_a_digest_at_the_same_instant() -> None:
    state = a_life(
        too_few(NOW),
        too_few(NOW + 999),
        interval_seconds=50,
        grace_seconds=9,
        rules=rules("rows lt 10"),
    )

    settle(state, NOW + DAY)

    assert told(state) == [("missed", NOW + MINUTE - 1), ("silent_failure", NOW + MINUTE)]


def test_stuck_comes_before_a_digest_at_the_same_instant() -> None:
    state = a_life(
        too_few(NOW),
        too_few(NOW + SECOND),
        ping("start", NOW + 30 * SECOND - 1),
        max_run_seconds=30,
        rules=rules("rows lt 10"),
    )

    settle(state, NOW + DAY)

    assert told(state) == [("stuck", NOW + MINUTE - 1), ("silent_failure", NOW + MINUTE)]


def test_a_digest_of_failures_comes_before_one_of_silent_failures_at_the_same_instant() -> None:
    state = a_life(too_few(NOW), too_few(NOW), rules=rules("rows lt 10"))

    hear(state, ping("fail", NOW), ping("fail", NOW + 1))
    settle(state, NOW + MINUTE)

    assert told(state)[1:] == [("failed", NOW + MINUTE), ("silent_failure", NOW + MINUTE)]


def test_a_digest_comes_before_a_reminder_at_the_same_instant() -> None:
    state = hear(a_failed(reminder_interval_seconds=60), ping("fail", NOW + SECOND))

    settle(state, NOW + MINUTE)

    assert told(state) == [("failed", NOW + MINUTE), ("reminder", NOW + MINUTE)]


@pytest.mark.parametrize("kind, after", [("success", ["recovered"]), ("ok", []), ("fail", [])])
def test_a_digest_and_a_reminder_come_before_a_ping_at_the_same_instant(
    kind: str, after: list[str]
) -> None:
    state = hear(a_failed(reminder_interval_seconds=60), ping("fail", NOW + SECOND))

    hear(state, ping(kind, NOW + MINUTE))

    assert [event.kind for event in state.events] == ["failed", "reminder", *after]
    assert state.events[0].count == 1


# -- Missed


@pytest.mark.parametrize(
    "cron, grace, met_until",
    [
        (None, 300, "13:05"),
        (None, 0, "13:00"),
        (HOURLY, 300, "13:05"),
        (HOURLY, 0, "13:00"),
        ("0 15 * * *", 3600, "16:00"),
        ("30 12 * * *", 60, "12:31"),
    ],
)
@pytest.mark.parametrize("expects", ["run", "complete"])
def test_down_as_missed_when_grace_has_passed_without_a_sign_of_life(
    cron: str | None, grace: int, met_until: str, expects: str
) -> None:
    schedule: dict[str, Any] = {"cron": cron, "interval_seconds": None if cron else 3600}
    state = an_up(grace_seconds=grace, expects=expects, **schedule)

    settle(state, clock(met_until))
    before = list(state.flips)
    settle(state, clock(met_until) + 1)

    assert before == []
    assert state.flips == [Flip(clock(met_until), "down", "missed")]
    assert state.events == [
        Event("missed", clock(met_until), reason="missed", down_since=clock(met_until))
    ]


def test_missed_in_a_zone_where_the_clock_goes_back_waits_for_the_longer_night() -> None:
    before = clock("03:30") - 11 * DAY  # 25 October, 05:30 in Berlin; back by an hour on the 26th
    state = a_life(ping("ok", before), cron="30 5 * * *", timezone="Europe/Berlin")

    settle(state, before + 2 * DAY)

    assert told(state) == [("missed", before + DAY + HOUR + 5 * MINUTE)]


def test_a_sign_of_life_at_the_deadline_itself_is_in_time() -> None:
    state = hear(an_up(), ping("success", DEADLINE))

    assert flips(state) == []


def test_a_down_monitor_is_not_missed_again() -> None:
    state = a_missed()

    settle(state, NOW + 400 * DAY)

    assert told(state) == []


@pytest.mark.parametrize("look, status", [(170 * MINUTE, "up"), (170 * MINUTE + 1, "down")])
def test_an_awaited_open_run_holds_missed_back_until_its_own_deadline(
    look: int, status: str
) -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    settle(state, NOW + look)

    assert state.monitor.status == status


def test_due_at_of_a_held_monitor_is_the_millisecond_after_the_runs_deadline() -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    assert due_at(state, NOW + 50 * MINUTE) == NOW + 170 * MINUTE + 1


def test_a_held_run_that_ends_in_time_was_never_missed() -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    hear(state, ping("success", NOW + 100 * MINUTE))

    assert told(state) == []
    assert state.monitor.expected_at == NOW + 110 * MINUTE


def test_with_several_awaited_runs_the_last_deadline_holds() -> None:
    state = hear(
        an_up(expects="complete", max_run_seconds=7200),
        ping("start", NOW + 10 * MINUTE, series="a"),
    )

    hear(state, ping("start", NOW + 50 * MINUTE, series="b"))
    settle(state, NOW + 130 * MINUTE + 1)

    assert told(state) == [("stuck", NOW + 130 * MINUTE)]


def test_a_run_holds_back_a_first_occurrence_too() -> None:
    state = hear(
        armed(NOW, expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE)
    )

    settle(state, NOW + 170 * MINUTE)

    assert told(state) == []


@pytest.mark.parametrize("expects, deadline", [("run", 115), ("complete", 65)])
def test_a_run_that_is_not_awaited_holds_nothing_back(expects: str, deadline: int) -> None:
    state = hear(an_up(expects=expects), ping("start", NOW + 50 * MINUTE))

    settle(state, NOW + DAY)

    assert told(state) == [("missed", NOW + deadline * MINUTE)]


def test_with_expects_run_an_open_run_holds_nothing_back() -> None:
    state = hear(an_up(max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    settle(state, NOW + 115 * MINUTE + 1)

    assert told(state) == [("missed", NOW + 115 * MINUTE)]


def test_a_run_that_began_before_the_last_sign_of_life_holds_nothing_back() -> None:
    state = hear(
        an_up(expects="complete", max_run_seconds=7200),
        ping("start", NOW + 10 * MINUTE, series="a"),
        ping("success", NOW + 20 * MINUTE, series="b"),
    )

    settle(state, NOW + 85 * MINUTE + 1)

    assert told(state) == [("missed", NOW + 85 * MINUTE)]


def test_where_the_hold_ends_without_a_sign_of_life_missed_is_dated_at_its_deadline() -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))
    edit(state, NOW + 60 * MINUTE, {"max_run_seconds": None})

    hear(state, ping("start", NOW + 80 * MINUTE))  # not awaited: gives the older one up
    settle(state, NOW + 80 * MINUTE)

    assert told(state) == [("missed", DEADLINE)]
    assert flips(state) == [("down", DEADLINE)]


# -- Failed


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
def test_down_as_failed_when_the_tolerated_failures_have_gone_before(tolerance: int) -> None:
    state = hear(an_up(failure_tolerance=tolerance), *(ping("fail") for _ in range(tolerance)))
    before = list(state.flips)

    hear(state, ping("fail", NOW + SECOND))

    assert before == []
    assert state.flips == [Flip(NOW + SECOND, "down", "failed")]
    assert told(state) == [("failed", NOW + SECOND)]


def test_by_default_the_first_failure_is_not_tolerated() -> None:
    state = hear(an_up(), ping("fail", NOW + MINUTE))

    assert state.events == [
        Event(
            "failed",
            NOW + MINUTE,
            run=state.runs[-1].num,
            reason="failed",
            down_since=NOW + MINUTE,
        )
    ]


@pytest.mark.parametrize(
    "kind, code, outcome, status", [("success", 1, "success", "up"), ("fail", 0, "failed", "down")]
)
def test_the_verb_decides_and_not_a_code_beside_it(
    kind: str, code: int, outcome: str, status: str
) -> None:
    state = hear(an_up(), ping(kind, NOW + MINUTE, exit_code=code))

    assert (state.runs[-1].state, state.runs[-1].exit_code) == (outcome, code)
    assert state.monitor.status == status


def test_where_it_was_down_for_another_reason_the_failure_is_told_and_the_flip_stays() -> None:
    state = hear(a_missed(), ping("fail", NOW + 2 * HOUR))

    assert told(state) == [("failed", NOW + 2 * HOUR)]
    assert flips(state) == []
    assert (state.monitor.down_reason, state.monitor.down_since) == ("missed", DEADLINE)


def test_a_tolerated_failure_of_a_down_monitor_is_not_told() -> None:
    state = hear(a_missed(failure_tolerance=1), ping("fail", NOW + 2 * HOUR))

    assert told(state) == []


@pytest.mark.parametrize("expects", ["run", "complete"])
def test_a_tolerated_failure_is_a_sign_of_life(expects: str) -> None:
    state = a_life(ping("fail"), expects=expects, failure_tolerance=1)

    assert state.monitor.status == "up"
    assert state.monitor.expected_at == NOW + HOUR


@pytest.mark.parametrize(
    "between",
    [
        lambda state, now: receive(state, ping("success", now)),
        lambda state, now: receive(state, ping("ok", now)),
        rest,
        lambda state, now: rest(state, now, to_new=True),
    ],
    ids=["success", "ok", "resume", "resume to new"],
)
def test_the_count_starts_again_at(between: Callable[[MonitorState, int], object]) -> None:
    state = hear(an_up(failure_tolerance=1), ping("fail", NOW + 1))

    between(state, NOW + 2)
    hear(state, ping("fail", NOW + 3))

    assert state.monitor.status == "up"


@pytest.mark.parametrize("kind", ["start", "progress", "log"])
def test_the_count_does_not_start_again_at(kind: str) -> None:
    state = hear(an_up(failure_tolerance=1), ping("fail", NOW + 1))

    hear(state, ping(kind, NOW + 2), ping("fail", NOW + 3))

    assert state.monitor.status == "down"


@pytest.mark.parametrize("later", [1, 10 * SECOND + 1, 10 * MINUTE])
def test_a_fail_that_repeats_the_series_of_a_failed_run_counts_once(later: int) -> None:
    state = hear(an_up(failure_tolerance=1), ping("fail", NOW, series="a"))

    hear(state, ping("fail", NOW + later, series="a"))

    assert state.monitor.status == "up"
    assert state.monitor.failures == 1


def test_further_failures_are_collected_and_told_in_one_event_with_their_count() -> None:
    state = hear(an_up(), *(ping("fail", NOW + at * SECOND) for at in (0, 10, 20, 59)))

    settle(state, NOW + MINUTE - 1)
    before = [(event.at, event.count) for event in state.events]
    settle(state, NOW + MINUTE)

    assert before == [(NOW, None)]
    assert [(e.at, e.count) for e in state.events] == [(NOW, None), (NOW + MINUTE, 3)]


def test_a_digest_is_dated_at_the_end_of_its_time_whenever_we_looked() -> None:
    state = hear(a_failed(), ping("fail", NOW + SECOND))

    settle(state, NOW + 50 * DAY)

    assert told(state) == [("failed", NOW + MINUTE)]


def test_the_time_begins_anew_after_a_digest_and_is_doubled() -> None:
    state = hear(a_failed(), ping("fail", NOW + SECOND))

    hear(state, ping("fail", NOW + MINUTE))
    settle(state, NOW + 3 * MINUTE)

    assert [(event.at, event.count) for event in state.events] == [
        (NOW + MINUTE, 1),
        (NOW + 3 * MINUTE, 1),
    ]


@pytest.mark.parametrize("at, count", [(MINUTE - 1, 1), (MINUTE, None), (HOUR, None)])
def test_after_that_time_the_next_failure_is_told_at_once(at: int, count: int | None) -> None:
    state = hear(a_failed(), ping("fail", NOW + at))

    settle(state, NOW + max(at, MINUTE))

    assert [(e.at, e.count) for e in state.events] == [(NOW + max(at, MINUTE), count)]


def test_an_event_told_at_once_doubles_the_time_too() -> None:
    state = hear(a_failed(), ping("fail", NOW + 90 * SECOND))

    hear(state, ping("fail", NOW + 100 * SECOND))
    settle(state, NOW + DAY)

    assert told(state)[1:] == [("failed", NOW + 210 * SECOND)]


@pytest.mark.parametrize(
    "alert, minutes",
    [
        (60, [1, 2, 4, 8, 16, 32, 60, 60]),
        (600, [10, 20, 40, 60, 60]),
        (1, [1 / 60, 2 / 60, 4 / 60, 8 / 60]),
    ],
)
def test_the_time_doubles_with_each_event_up_to_an_hour(alert: int, minutes: list[float]) -> None:
    state = a_life(alert=alert)

    hear(
        state,
        *(
            ping("fail", NOW + step * alert * 500)
            for step in range(int(sum(minutes) * 120 / alert) + 1)
        ),
    )

    times = [event.at for event in state.events][: len(minutes) + 1]
    assert [later - at for at, later in itertools.pairwise(times)] == [
        round(each * MINUTE) for each in minutes
    ]


def test_with_no_time_every_failure_is_told_at_once() -> None:
    state = a_life(alert=0)

    hear(state, *(ping("fail", NOW + at) for at in range(3)))

    assert [(event.at, event.count) for event in state.events] == [
        (NOW, None),
        (NOW + 1, None),
        (NOW + 2, None),
    ]


@pytest.mark.parametrize("kind", ["success", "ok"])
def test_recovery_and_ok_drop_what_was_collected(kind: str) -> None:
    state = hear(a_failed(), ping("fail", NOW + SECOND), ping(kind, NOW + 2 * SECOND))

    settle(state, NOW + HOUR)

    assert "failed" not in dict(told(state))


def test_recovery_by_a_start_drops_what_was_collected() -> None:
    state = a_life(
        too_few(NOW),
        too_few(NOW + SECOND),
        interval_seconds=40,
        grace_seconds=0,
        rules=rules("rows lt 10"),
    )

    hear(state, ping("start", NOW + 50 * SECOND))
    settle(state, NOW + MINUTE)

    assert [kind for kind, _ in told(state)] == ["missed", "recovered"]


@pytest.mark.parametrize("kind", ["success", "ok"])
def test_after_recovery_and_ok_the_spacing_begins_anew(kind: str) -> None:
    state = hear(a_failed(), ping("fail", NOW + MINUTE), ping(kind, NOW + 61 * SECOND))
    state.events = []

    hear(state, ping("fail", NOW + 62 * SECOND), ping("fail", NOW + 63 * SECOND))
    settle(state, NOW + HOUR)

    assert told(state) == [("failed", NOW + 62 * SECOND), ("failed", NOW + 122 * SECOND)]


def test_a_pause_drops_what_was_collected_and_the_spacing_begins_anew() -> None:
    state = hear(a_failed(), ping("fail", NOW + SECOND))
    pause(state, NOW + 2 * SECOND, NOW + 3 * SECOND)

    hear(state, ping("fail", NOW + 4 * SECOND))
    settle(state, NOW + HOUR)

    assert [(event.at, event.count) for event in state.events] == [
        (NOW + 3 * SECOND, None),
        (NOW + 63 * SECOND, 1),
    ]


def test_a_fail_that_repeats_a_series_after_ten_minutes_counts_anew() -> None:
    state = hear(an_up(failure_tolerance=1), ping("fail", NOW, series="a"))

    hear(state, ping("fail", NOW + 10 * MINUTE + 1, series="a"))

    assert told(state) == [("failed", NOW + 10 * MINUTE + 1)]


@pytest.mark.parametrize(
    "later, expected_at",
    [(10 * SECOND, NOW + HOUR), (10 * SECOND + 1, NOW + HOUR + 10 * SECOND + 1)],
)
def test_the_same_failure_is_a_sign_of_life_later_than_a_retry(
    later: int, expected_at: int
) -> None:
    state = a_life(ping("fail", NOW, series="a"))

    hear(state, ping("fail", NOW + later, series="a"))

    assert state.monitor.expected_at == expected_at


def test_the_same_failure_counts_by_the_start_of_its_run() -> None:
    state = a_life(ping("start", NOW, series="a"), ping("fail", NOW + MINUTE, series="a"))

    hear(state, ping("fail", NOW + 5 * MINUTE, series="a"))

    assert state.monitor.expected_at == NOW + HOUR


@pytest.mark.parametrize("tolerance, moves", [(0, False), (1, True)])
def test_the_same_failure_is_a_sign_of_life_where_it_was_one(tolerance: int, moves: bool) -> None:
    state = an_up(expects="complete", failure_tolerance=tolerance)
    hear(state, ping("fail", NOW + MINUTE, series="a"))

    hear(state, ping("fail", NOW + 5 * MINUTE, series="a"))

    assert (state.monitor.expected_at == NOW + 65 * MINUTE) == moves


# -- Stuck


def test_a_run_is_awaited_where_its_monitor_has_max_run_seconds() -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    assert state.runs[0].awaited


@pytest.mark.parametrize("unended, awaited", [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_a_run_is_awaited_where_one_of_the_last_three_started_runs_was_ended(
    unended: int, awaited: int
) -> None:
    state = a_life(*seen_to_end(), interval_seconds=None)
    hear(state, *(ping("start", NOW + at * HOUR) for at in range(unended)))

    hear(state, ping("start", NOW + DAY))

    assert state.runs[-1].awaited == awaited


@pytest.mark.parametrize("kind", ["success", "fail"])
def test_success_and_fail_both_end_a_run(kind: str) -> None:
    state = a_life(ping("start"), ping(kind, NOW + MINUTE))

    hear(state, ping("start", NOW + HOUR))

    assert state.runs[-1].awaited


def test_runs_that_no_start_opened_do_not_make_a_run_awaited() -> None:
    state = a_life(ping("success"), ping("progress", NOW + 1), ping("fail", NOW + 2))

    hear(state, ping("start", NOW + MINUTE))

    assert not state.runs[-1].awaited


def test_runs_that_no_start_opened_are_not_among_the_last_three() -> None:
    state = a_life(*seen_to_end(NOW - MINUTE), *(ping("success", NOW + at) for at in range(5)))

    hear(state, ping("start", NOW + MINUTE))

    assert state.runs[-1].awaited


@pytest.mark.parametrize("first, then, awaited", [(600, None, 1), (None, 600, 0)])
def test_whether_a_run_is_awaited_is_decided_when_it_starts(
    first: int | None, then: int | None, awaited: int
) -> None:
    state = a_life(ping("start"), max_run_seconds=first)

    edit(state, NOW + 1, {"max_run_seconds": then})
    settle(state, NOW + 11 * MINUTE)

    assert states(state) == ["stuck" if awaited else "running"]


@pytest.mark.parametrize("schedule", [{}, {"cron": HOURLY}, {"interval_seconds": None}])
def test_an_awaited_run_is_stuck_when_max_run_seconds_have_passed(
    schedule: dict[str, Any],
) -> None:
    state = a_life(ping("start"), max_run_seconds=600, **schedule)

    settle(state, NOW + 10 * MINUTE)
    before = list(state.flips)
    settle(state, NOW + 10 * MINUTE + 1)

    assert before == []
    assert state.flips == [Flip(NOW + 10 * MINUTE, "down", "stuck")]


@pytest.mark.parametrize(
    "cron, began, deadline",
    [
        (None, "11:40", "12:45"),  # an interval: the start plus it plus grace
        (HOURLY, "11:00:30", "12:05"),  # counts for 11:00
        (HOURLY, "11:54:59", "12:05"),  # too early for 12:00
        (HOURLY, "11:58", "13:05"),  # counts for 12:00
        (HOURLY, "12:00", "13:05"),
    ],
)
def test_else_its_deadline_is_that_of_the_occurrence_after_its_own(
    cron: str | None, began: str, deadline: str
) -> None:
    schedule: dict[str, Any] = {"cron": cron, "interval_seconds": None if cron else 3600}
    state = a_life(*seen_to_end(clock("10:59")), **schedule)
    hear(state, ping("start", clock(began)), ping("ok", clock(deadline)))

    settle(state, clock(deadline))
    before = states(state)[-1]
    settle(state, clock(deadline) + 1)

    assert (before, states(state)[-1]) == ("running", "stuck")


def test_a_run_without_a_schedule_and_a_maximum_never_gets_stuck() -> None:
    state = a_life(*seen_to_end(), ping("start"), interval_seconds=None)

    settle(state, NOW + 400 * DAY)

    assert states(state)[-1] == "running"


def test_a_stuck_run_puts_its_monitor_down_and_the_event_names_it() -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    settle(state, NOW + DAY)

    assert states(state) == ["stuck"]
    assert state.events == [
        Event(
            "stuck",
            NOW + 10 * MINUTE,
            run=state.runs[0].num,
            reason="stuck",
            down_since=NOW + 10 * MINUTE,
        )
    ]


def test_a_run_of_a_down_monitor_gets_stuck_silently() -> None:
    state = a_life(ping("start", series="a"), ping("fail", NOW + 1), max_run_seconds=600)

    settle(state, NOW + DAY)

    assert states(state) == ["stuck", "failed"]
    assert (state.flips, state.events) == ([], [])
    assert state.monitor.down_reason == "failed"


@pytest.mark.parametrize("schedule", [{}, {"cron": HOURLY}])
def test_where_stuck_and_missed_fall_on_the_same_instant_it_is_stuck_once(
    schedule: dict[str, Any],
) -> None:
    state = a_life(*seen_to_end(), ping("start"), **schedule)

    settle(state, NOW + DAY)

    assert state.flips == [Flip(DEADLINE, "down", "stuck")]
    assert told(state) == [("stuck", DEADLINE)]


def test_where_a_hold_ends_at_the_runs_deadline_it_is_stuck_once() -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    settle(state, NOW + DAY)

    assert told(state) == [("stuck", NOW + 170 * MINUTE)]


def test_overlapping_runs_are_followed_one_by_one() -> None:
    state = a_life(
        ping("start", series="a"),
        ping("start", NOW + 5 * MINUTE, series="b"),
        ping("start", NOW + 6 * MINUTE, series="c"),
        max_run_seconds=600,
    )

    hear(state, ping("success", NOW + 12 * MINUTE, series="b"))
    settle(state, NOW + DAY)

    assert states(state) == ["stuck", "success", "stuck"]
    assert told(state) == [
        ("stuck", NOW + 10 * MINUTE),
        ("recovered", NOW + 12 * MINUTE),
        ("stuck", NOW + 16 * MINUTE),
    ]


def test_two_runs_that_get_stuck_at_one_instant_are_told_once() -> None:
    state = a_life(ping("start", series="a"), ping("start", series="b"), max_run_seconds=600)

    settle(state, NOW + DAY)

    assert states(state) == ["stuck", "stuck"]
    assert told(state) == [("stuck", NOW + 10 * MINUTE)]


@pytest.mark.parametrize("host", [None, "web"])
@pytest.mark.parametrize("series", [None, "a"])
def test_a_success_makes_older_open_runs_of_its_host_unknown(
    host: str | None, series: str | None
) -> None:
    state = a_life(
        *seen_to_end(),
        ping("start", series=series, host=host),
        ping("start", NOW + MINUTE, host=host),
    )

    hear(state, ping("success", NOW + 2 * MINUTE, host=host))

    assert states(state)[1:] == ["unknown", "success"]


def test_a_success_without_a_start_makes_older_open_runs_unknown() -> None:
    state = a_life(ping("start", series="a"))

    hear(state, ping("success", NOW + MINUTE, series="b"))

    assert states(state) == ["unknown", "success"]


def test_a_success_leaves_younger_open_runs_alone() -> None:
    state = a_life(*seen_to_end(), ping("start", series="a"), ping("start", NOW + 1, series="b"))

    hear(state, ping("success", NOW + 2, series="a"))

    assert states(state)[1:] == ["success", "running"]


def test_a_run_that_began_later_in_the_same_millisecond_is_not_older() -> None:
    state = a_life(*seen_to_end(), ping("start", series="a"), ping("start", series="b"))

    hear(state, ping("success", NOW + 2, series="a"))

    assert states(state)[1:] == ["success", "running"]


@pytest.mark.parametrize("host, other", [(None, "web"), ("web", None), ("web", "db")])
def test_a_success_leaves_the_runs_of_other_hosts_alone(
    host: str | None, other: str | None
) -> None:
    state = a_life(*seen_to_end(), ping("start", host=host))

    hear(state, ping("success", NOW + 1, host=other))

    assert states(state)[1:] == ["running", "success"]


def test_with_max_run_seconds_a_success_leaves_older_runs_open() -> None:
    state = a_life(
        ping("start", series="a"), ping("start", NOW + 1, series="b"), max_run_seconds=600
    )

    hear(state, ping("success", NOW + 2, series="b"))

    assert states(state) == ["running", "success"]


def test_a_failure_leaves_older_runs_open() -> None:
    state = a_life(*seen_to_end(), ping("start", series="a"), ping("start", NOW + 1, series="b"))

    hear(state, ping("fail", NOW + 2, series="b"))

    assert states(state)[1:] == ["running", "failed"]


def test_a_job_that_was_killed_and_started_again_is_well() -> None:
    state = a_life(
        *seen_to_end(),
        ping("start"),
        ping("start", NOW + MINUTE),
        ping("success", NOW + 2 * MINUTE),
    )

    settle(state, NOW + 62 * MINUTE)

    assert told(state) == []


def test_a_start_on_a_monitor_whose_runs_are_not_awaited_makes_older_runs_unknown() -> None:
    state = a_life(ping("start"), ping("start", NOW + MINUTE, host="web"))

    hear(state, ping("start", NOW + HOUR))

    assert states(state) == ["unknown", "running", "running"]


def test_a_start_on_a_monitor_whose_runs_are_awaited_leaves_older_runs_open() -> None:
    state = a_life(*seen_to_end(), ping("start"))

    hear(state, ping("start", NOW + MINUTE))

    assert states(state)[1:] == ["running", "running"]


# -- Pairing


@pytest.mark.parametrize("kind", ["success", "fail", "progress", "log"])
def test_a_ping_with_a_series_belongs_to_the_run_of_that_series(kind: str) -> None:
    state = a_life(
        ping("start", series="a"),
        ping("start", NOW + 1, series="b"),
        ping("start", NOW + 2),
        max_run_seconds=600,
    )

    run = receive(state, ping(kind, NOW + 3, series="a"))

    assert run is state.runs[0]


@pytest.mark.parametrize("kind", ["success", "fail", "progress"])
def test_a_ping_with_a_series_belongs_to_no_other_run(kind: str) -> None:
    state = a_life(ping("start"), ping("start", NOW + 1, series="b"), max_run_seconds=600)

    run = receive(state, ping(kind, NOW + 2, series="a"))

    assert run is state.runs[2]
    assert states(state)[:2] == ["running", "running"]


def test_a_series_is_the_same_run_on_whatever_host() -> None:
    state = a_life(ping("start", series="a", host="web"))

    run = receive(state, ping("success", NOW + 1, series="a", host="db"))

    assert run is state.runs[0]


def test_a_log_with_the_series_of_an_ended_run_belongs_to_that_run() -> None:
    state = a_life(ping("start", series="a"), ping("success", NOW + MINUTE, series="a"))

    run = receive(state, ping("log", NOW + 2 * MINUTE, series="a"))

    assert run is state.runs[0]


@pytest.mark.parametrize("kind", ["success", "fail", "progress", "log"])
@pytest.mark.parametrize("host", [None, "web"])
def test_a_ping_without_a_series_belongs_to_the_newest_open_run_of_its_host(
    kind: str, host: str | None
) -> None:
    other = "db" if host is None else None
    state = a_life(
        ping("start", host=host),
        ping("start", NOW + MINUTE, host=host),
        ping("start", NOW + 2 * MINUTE, host=other),
        ping("start", NOW + 3 * MINUTE, host=host, series="a"),
        max_run_seconds=600,
    )

    run = receive(state, ping(kind, NOW + 4 * MINUTE, host=host))

    assert run is state.runs[1]


@pytest.mark.parametrize("of_run, of_ping", [(None, "web"), ("web", None), ("web", "db")])
def test_a_ping_without_a_series_belongs_to_no_run_of_another_host(
    of_run: str | None, of_ping: str | None
) -> None:
    state = a_life(ping("start", host=of_run))

    run = receive(state, ping("success", NOW + 1, host=of_ping))

    assert run is not state.runs[0]


def test_a_ping_without_a_series_does_not_end_a_run_with_one() -> None:
    state = a_life(ping("start", series="a"), max_run_seconds=600)

    hear(state, ping("success", NOW + 1))

    assert states(state) == ["running", "success"]


def test_an_end_that_finds_no_run_is_a_run_that_is_already_over() -> None:
    state = a_life(ping("success", NOW, duration_ms=MINUTE, host="web", exit_code=0))

    run = state.runs[0]

    assert (run.state, run.started_at, run.ended_at) == ("success", NOW - MINUTE, NOW)
    assert (run.opened, run.duration_ms, run.host, run.exit_code) == (0, MINUTE, "web", 0)


@pytest.mark.parametrize("kind, outcome", [("success", "success"), ("fail", "failed")])
@pytest.mark.parametrize("series", [None, "a"])
def test_a_stuck_run_still_takes_an_end(kind: str, outcome: str, series: str | None) -> None:
    state = a_stuck(series=series)

    run = receive(state, ping(kind, NOW + 20 * MINUTE, series=series))

    assert run is state.runs[0]
    assert (run.state, run.ended_at, run.duration_ms) == (outcome, NOW + 20 * MINUTE, 20 * MINUTE)


@pytest.mark.parametrize("kind, outcome", [("success", "success"), ("fail", "failed")])
@pytest.mark.parametrize("series", [None, "a"])
def test_an_unknown_run_still_takes_an_end(kind: str, outcome: str, series: str | None) -> None:
    state = a_life(ping("start", series=series))
    judge_gap(state, NOW + 1, NOW + 2 * MINUTE)

    hear(state, ping(kind, NOW + 3 * MINUTE, series=series))

    assert states(state) == [outcome]


@pytest.mark.parametrize("series", [None, "a"])
def test_a_stuck_run_takes_no_end_without_a_series_once_a_later_one_has_ended(
    series: str | None,
) -> None:
    state = hear(
        a_stuck(),
        ping("start", NOW + 20 * MINUTE, series=series),
        ping("success", NOW + 21 * MINUTE, series=series),
    )

    hear(state, ping("success", NOW + 22 * MINUTE))

    assert states(state) == ["stuck", "success", "success"]


def test_a_stuck_run_takes_an_end_though_a_later_one_of_another_host_has_ended() -> None:
    state = hear(a_stuck(), ping("success", NOW + 21 * MINUTE, host="web"))

    hear(state, ping("success", NOW + 22 * MINUTE))

    assert states(state) == ["success", "success"]


def test_a_stuck_run_takes_an_end_though_a_later_one_is_stuck_too() -> None:
    state = hear(a_stuck(), ping("start", NOW + 20 * MINUTE, series="a"))
    settle(state, NOW + 40 * MINUTE)

    hear(state, ping("success", NOW + 41 * MINUTE))

    assert states(state) == ["success", "stuck"]


def test_an_open_run_takes_an_end_before_a_stuck_one() -> None:
    state = hear(a_stuck(), ping("start", NOW + 20 * MINUTE))

    hear(state, ping("success", NOW + 21 * MINUTE))

    assert states(state) == ["stuck", "success"]


@pytest.mark.parametrize(
    "later, host, address, runs",
    [
        (10 * SECOND, "web", "::1", 1),
        (10 * SECOND + 1, "web", "::1", 2),
        (SECOND, "db", "::1", 2),
        (SECOND, None, "::1", 2),
        (SECOND, "web", "::2", 2),
        (SECOND, "web", None, 2),
    ],
)
def test_a_start_within_ten_seconds_of_a_running_one_of_its_host_and_address_is_the_same(
    later: int, host: str | None, address: str | None, runs: int
) -> None:
    state = a_life(ping("start", host="web", address="::1"))

    hear(state, ping("start", NOW + later, host=host, address=address))

    assert len(state.runs) == runs


def test_the_same_start_is_found_behind_one_of_another_address() -> None:
    state = a_life(
        ping("start", address="::1"), ping("start", NOW + 1, address="::2"), max_run_seconds=600
    )

    run = receive(state, ping("start", NOW + 2, address="::1"))

    assert run is state.runs[0]
    assert len(state.runs) == 2


@pytest.mark.parametrize("first, second", [("a", None), (None, "a"), ("a", "b")])
def test_a_start_of_another_series_is_never_the_same(
    first: str | None, second: str | None
) -> None:
    state = hear(a_life(ping("start", series=first)), ping("start", NOW + 1, series=second))

    assert len(state.runs) == 2


def test_a_start_right_after_the_end_is_another_one() -> None:
    state = a_life(ping("start"), ping("success", NOW + SECOND))

    hear(state, ping("start", NOW + 2 * SECOND))

    assert states(state) == ["success", "running"]


@pytest.mark.parametrize("later", [1, 10 * SECOND + 1, 3 * HOUR])
def test_a_start_with_the_series_of_a_running_run_is_that_same_start(later: int) -> None:
    state = a_life(ping("start", series="a", address="::1"), interval_seconds=86_400)
    before = copy.deepcopy(state)

    run = receive(state, ping("start", NOW + later, series="a", host="db", address="::2"))

    assert run is state.runs[0]
    assert state == before


@pytest.mark.parametrize("kind", ["start", "success", "fail"])
def test_a_ping_that_repeats_what_is_known_of_a_run_of_its_series_changes_nothing(
    kind: str,
) -> None:
    end = kind if kind != "start" else "success"
    state = hear(
        an_up(rules=rules("duration_seconds ge 0")),
        ping("start", NOW, series="a"),
        ping(end, NOW, series="a"),
    )
    before = copy.deepcopy(state)

    run = receive(state, ping(kind, NOW + 10 * SECOND, series="a", exit_code=7, message="other"))

    assert run is state.runs[-1]
    assert state == before


def test_a_success_again_after_ten_seconds_is_no_retry() -> None:
    state = a_life(ping("success", series="a"))

    hear(state, ping("success", NOW + 10 * SECOND + 1, series="a"))

    assert state.monitor.expected_at == NOW + HOUR + 10 * SECOND + 1


@pytest.mark.parametrize(
    "first, second, status", [("success", "fail", "down"), ("fail", "success", "up")]
)
def test_another_outcome_of_the_same_series_is_no_retry(
    first: str, second: str, status: str
) -> None:
    state = a_life(ping(first, series="a"))

    hear(state, ping(second, NOW + 1, series="a"))

    assert state.monitor.status == status


def test_without_a_series_a_success_again_is_no_retry() -> None:
    state = a_life(ping("success"))

    hear(state, ping("success", NOW + 1))

    assert len(state.runs) == 2


@pytest.mark.parametrize("kind", ["start", "success"])
def test_a_ping_from_before_its_run_where_the_clock_went_back_is_no_retry(kind: str) -> None:
    state = a_life(ping("start", series="a"), ping("success", NOW + 1, series="a"))
    turn_back(state, NOW, NOW - DAY)

    hear(state, ping(kind, NOW - DAY + HOUR, series="a"))

    assert state.monitor.expected_at == NOW - DAY + 2 * HOUR


def test_a_start_with_the_series_of_a_stuck_run_opens_a_new_one() -> None:
    state = hear(a_stuck(series="a"), ping("start", NOW + 20 * MINUTE, series="a"))

    assert states(state) == ["stuck", "running"]


def test_a_start_with_the_series_of_an_unknown_run_opens_a_new_one() -> None:
    state = a_life(ping("start", series="a"))
    judge_gap(state, NOW + 1, NOW + MINUTE + 2)

    hear(state, ping("start", NOW + 2 * MINUTE, series="a"))

    assert states(state) == ["unknown", "running"]


@pytest.mark.parametrize("kind, outcome", [("success", "success"), ("fail", "failed")])
def test_a_start_with_the_series_of_an_ended_run_opens_a_new_one(kind: str, outcome: str) -> None:
    state = a_life(ping("start", series="a"), ping(kind, NOW + 1, series="a"))

    hear(state, ping("start", NOW + 10 * SECOND + 1, series="a"))

    assert states(state) == [outcome, "running"]


def test_the_end_belongs_to_the_newest_run_of_its_series() -> None:
    state = hear(a_stuck(series="a"), ping("start", NOW + 20 * MINUTE, series="a"))

    hear(state, ping("success", NOW + 21 * MINUTE, series="a"))

    assert states(state) == ["stuck", "success"]


@pytest.mark.parametrize("series", [None, "a"])
@pytest.mark.parametrize("before", [(), seen_to_end()])
@pytest.mark.parametrize("max_run", [None, 60])
def test_progress_without_an_open_run_opens_one_that_is_never_awaited(
    series: str | None, before: tuple[Ping, ...], max_run: int | None
) -> None:
    state = a_life(*before, interval_seconds=None, max_run_seconds=max_run)

    run = receive(state, ping("progress", NOW, series=series, message="half"))
    settle(state, NOW + 9 * DAY)

    assert run is not None
    assert (run.state, run.awaited, run.message) == ("running", 0, "half")


def test_progress_of_an_open_run_opens_none() -> None:
    state = a_life(ping("start", message="begun"))

    hear(state, ping("progress", NOW + 1), ping("progress", NOW + 2, message="half"))

    assert [run.message for run in state.runs] == ["half"]


def test_progress_after_a_stuck_run_opens_a_new_one() -> None:
    state = hear(a_stuck(), ping("progress", NOW + 20 * MINUTE))

    assert states(state) == ["stuck", "running"]


def test_progress_after_an_ended_run_opens_a_new_one() -> None:
    state = a_life(ping("start"), ping("success", NOW + 1))

    hear(state, ping("progress", NOW + 2))

    assert states(state) == ["success", "running"]


def test_a_log_without_an_open_run_opens_none() -> None:
    state = a_life()

    run = receive(state, ping("log"))

    assert run is None
    assert state.runs == []


def test_the_newest_run_of_a_series_is_the_one_that_arrived_last() -> None:
    state = a_life(ping("fail", NOW, series="job"), expects="complete", interval_seconds=None)
    hear(state, ping("success", NOW + MINUTE, series="job", duration_ms=HOUR))
    state.events = []

    hear(state, ping("fail", NOW + 2 * MINUTE, series="job"))

    assert told(state) == [("failed", NOW + 2 * MINUTE)]


@pytest.mark.parametrize("kind", ["success", "fail"])
@pytest.mark.parametrize("later, runs", [(5, 1), (10 * SECOND, 1), (10 * SECOND + 1, 2)])
def test_a_start_that_its_own_end_has_overtaken_opens_no_second_run(
    kind: str, later: int, runs: int
) -> None:
    state = a_life(ping(kind, NOW, series="a"), max_run_seconds=60)

    run = receive(state, ping("start", NOW + later, series="a"))

    assert len(state.runs) == runs
    assert run is state.runs[-1]


def test_a_start_after_the_end_of_a_run_that_a_start_had_opened_is_another_one() -> None:
    state = a_life(ping("start", NOW, series="a"), ping("success", NOW + MINUTE, series="a"))

    hear(state, ping("start", NOW + MINUTE + SECOND, series="a"))

    assert states(state) == ["success", "running"]


# -- Silent failure


@pytest.mark.parametrize(
    "sign, name, holds",
    [
        ("lt", "lt", (True, False, False)),
        ("<", "lt", (True, False, False)),
        ("le", "le", (True, True, False)),
        ("<=", "le", (True, True, False)),
        ("gt", "gt", (False, False, True)),
        (">", "gt", (False, False, True)),
        ("ge", "ge", (False, True, True)),
        (">=", "ge", (False, True, True)),
        ("eq", "eq", (False, True, False)),
        ("==", "eq", (False, True, False)),
        ("ne", "ne", (True, False, True)),
        ("!=", "ne", (True, False, True)),
    ],
)
def test_a_rule_compares_a_field_with_a_value(
    sign: str, name: str, holds: tuple[bool, ...]
) -> None:
    stored = rules(f"rows {sign} 10")
    lives = [
        hear(an_up(rules=stored), ping("success", NOW + 1, metrics=f'{{"rows": {rows}}}'))
        for rows in (9, 10, 11)
    ]

    assert json.loads(stored)[0]["operator"] == name
    assert tuple(bool(state.events) for state in lives) == holds


def test_twenty_rules_are_accepted() -> None:
    rule = {"field": "rows", "operator": "lt", "value": 1}

    assert check_rules([rule] * 20) == [rule] * 20


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ([{"field": "rows", "operator": "lt", "value": 1}] * 21, "at most 20"),
        ({"field": "rows", "operator": "lt", "value": 1}, "list"),
        ("rows lt 1", "list"),
        (None, "list"),
        (["rows lt 1"], "field"),
        ([{"field": "rows", "operator": "lt"}], "field"),
        ([{"field": "rows", "operator": "lt", "value": 1, "more": 1}], "field"),
        ([{"field": "", "operator": "lt", "value": 1}], "field"),
        ([{"field": "r" * 51, "operator": "lt", "value": 1}], "field"),
        ([{"field": "a b", "operator": "lt", "value": 1}], "field"),
        ([{"field": 7, "operator": "lt", "value": 1}], "field"),
        ([{"field": "rows", "operator": "about", "value": 1}], "operator"),
        ([{"field": "rows", "operator": None, "value": 1}], "operator"),
        ([{"field": "rows", "operator": [], "value": 1}], "operator"),
        ([{"field": "rows", "operator": {}, "value": 1}], "operator"),
        ([{"field": "rows", "operator": "lt", "value": "1"}], "value"),
        ([{"field": "rows", "operator": "lt", "value": True}], "value"),
        ([{"field": "rows", "operator": "lt", "value": None}], "value"),
        ([{"field": "rows", "operator": "lt", "value": float("nan")}], "value"),
        ([{"field": "rows", "operator": "lt", "value": float("inf")}], "value"),
        ([{"field": "rows", "operator": "lt", "value": 2**53}], "value"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(wrong: Any, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence):
        check_rules(wrong)


def test_no_rules_are_accepted() -> None:
    assert check_rules([]) == []


@pytest.mark.parametrize("reported, matches", [(None, True), (SECOND, False)])
def test_a_rule_sees_the_reported_duration_else_the_one_from_start_to_end(
    reported: int | None, matches: bool
) -> None:
    state = a_life(ping("start"), rules=rules("duration_seconds ge 60"))

    hear(state, ping("success", NOW + MINUTE, duration_ms=reported))

    assert bool(state.events) == matches


@pytest.mark.parametrize("kind", ["success", "fail"])
def test_the_reported_duration_is_that_of_the_run_also_after_a_start(kind: str) -> None:
    state = hear(a_life(ping("start")), ping(kind, NOW + MINUTE, duration_ms=SECOND))

    assert state.runs[0].duration_ms == SECOND


@pytest.mark.parametrize("reported, matches", [(60_000, True), (59_999, False), (None, False)])
def test_a_rule_looks_at_a_reported_duration(reported: int | None, matches: bool) -> None:
    state = an_up(rules=rules("duration_seconds ge 60"))

    hear(state, ping("success", NOW + HOUR, duration_ms=reported))

    assert bool(state.events) == matches


@pytest.mark.parametrize("code, matches", [(1, True), (0, False), (None, False)])
def test_a_rule_looks_at_the_exit_code_where_it_is_known(code: int | None, matches: bool) -> None:
    state = hear(an_up(rules=rules("exit_code ne 0")), ping("success", NOW + 1, exit_code=code))

    assert bool(state.events) == matches


@pytest.mark.parametrize("metrics", [None, "{}", '{"other": 1}'])
@pytest.mark.parametrize("sign", ["lt", "ne", "eq"])
def test_a_missing_field_skips_the_rule(metrics: str | None, sign: str) -> None:
    state = an_up(rules=rules(f"rows {sign} 10"))

    hear(state, ping("success", NOW + 1, metrics=metrics))

    assert told(state) == []


def test_the_rules_do_not_look_at_a_failed_run() -> None:
    state = hear(an_up(rules=rules("rows lt 10")), ping("fail", NOW + 1, metrics='{"rows": 1}'))

    assert told(state) == [("failed", NOW + 1)]


def test_one_event_for_a_run_lists_all_rules_that_matched() -> None:
    state = an_up(rules=rules("rows lt 10", "rows gt 10", "exit_code ne 0", "other eq 1"))

    hear(state, too_few(NOW + 1, exit_code=3))

    assert state.events == [
        Event(
            "silent_failure",
            NOW + 1,
            run=state.runs[-1].num,
            rules=[
                {"field": "rows", "operator": "lt", "value": 10},
                {"field": "exit_code", "operator": "ne", "value": 0},
            ],
        )
    ]


def test_a_silent_failure_comes_after_recovered() -> None:
    state = hear(a_failed(rules=rules("rows lt 10")), too_few(NOW + 1))

    assert told(state) == [("recovered", NOW + 1), ("silent_failure", NOW + 1)]


def test_silent_failures_are_spaced_like_failures() -> None:
    state = an_up(rules=rules("rows lt 10"))

    hear(state, *(too_few(NOW + at * SECOND) for at in range(0, 200, 10)))
    settle(state, NOW + 420 * SECOND)

    assert [(event.at, event.count) for event in state.events] == [
        (NOW, None),
        (NOW + 60 * SECOND, 5),
        (NOW + 180 * SECOND, 12),
        (NOW + 420 * SECOND, 2),
    ]


def test_a_silent_failure_after_the_time_is_told_at_once() -> None:
    state = hear(an_up(rules=rules("rows lt 10")), too_few(NOW + 1))

    hear(state, too_few(NOW + MINUTE + 1))

    assert [(e.at, e.count) for e in state.events] == [(NOW + 1, None), (NOW + MINUTE + 1, None)]


def test_silent_failures_have_a_time_of_their_own() -> None:
    state = hear(an_up(rules=rules("rows lt 10")), too_few(NOW))

    hear(state, ping("fail", NOW + 1))

    assert told(state) == [("silent_failure", NOW), ("failed", NOW + 1)]


@pytest.mark.parametrize(
    "end",
    [
        lambda state, now: receive(state, ping("success", now, metrics='{"rows": 10}')),
        lambda state, now: receive(state, ping("ok", now)),
        rest,
        lambda state, now: hear(state, ping("fail", now), ping("success", now)),
    ],
    ids=["a run without a match", "ok", "pause", "recovery"],
)
def test_the_time_of_silent_failures_is_ended_by(
    end: Callable[[MonitorState, int], object],
) -> None:
    state = a_life(too_few(NOW), too_few(NOW + 1), rules=rules("rows lt 10"))

    end(state, NOW + 2)
    hear(state, too_few(NOW + 3), too_few(NOW + 4))
    settle(state, NOW + HOUR)

    silent = [event.at for event in state.events if event.kind == "silent_failure"]
    assert silent == [NOW + 3, NOW + 3 + MINUTE]


def test_digests_of_both_kinds_are_told_at_their_own_times() -> None:
    state = a_life(too_few(NOW), too_few(NOW + SECOND), rules=rules("rows lt 10"))

    hear(state, ping("fail", NOW + 10 * SECOND), ping("fail", NOW + 20 * SECOND))
    settle(state, NOW + HOUR)

    assert told(state)[1:] == [("silent_failure", NOW + MINUTE), ("failed", NOW + 70 * SECOND)]


def test_a_failed_run_does_not_end_the_time_of_silent_failures() -> None:
    state = a_life(too_few(NOW), too_few(NOW + 1), rules=rules("rows lt 10"))

    hear(state, ping("fail", NOW + 2))
    settle(state, NOW + MINUTE)

    assert told(state) == [("failed", NOW + 2), ("silent_failure", NOW + MINUTE)]


def test_a_silent_failure_is_still_a_success_and_the_status_does_not_change() -> None:
    state = hear(an_up(rules=rules("rows lt 10")), too_few(NOW + 1))

    assert states(state) == ["success"]
    assert (state.monitor.status, state.monitor.failures, state.flips) == ("up", 0, [])


# -- Recovered


@pytest.mark.parametrize("trouble", [a_failed, a_missed, a_stuck])
@pytest.mark.parametrize("kind, events", [("success", ["recovered"]), ("ok", [])])
@pytest.mark.parametrize("series", [None, "other"])
def test_down_ends_with_success_or_ok_of_whatever_run(
    trouble: Callable[[], MonitorState], kind: str, events: list[str], series: str | None
) -> None:
    state = hear(trouble(), ping(kind, NOW + 2 * HOUR, series=series, host="web"))

    assert state.flips == [Flip(NOW + 2 * HOUR, "up", None)]
    assert [event.kind for event in state.events] == events


@pytest.mark.parametrize("kind", ["start", "fail", "progress", "log"])
@pytest.mark.parametrize("trouble", [a_failed, a_stuck])
def test_down_does_not_end_with(kind: str, trouble: Callable[[], MonitorState]) -> None:
    state = hear(trouble(), ping(kind, NOW + 2 * HOUR, series="other"))

    assert flips(state) == []


def test_down_as_missed_ends_with_a_start() -> None:
    state = hear(a_missed(), ping("start", NOW + 2 * HOUR))

    assert told(state) == [("recovered", NOW + 2 * HOUR)]
    assert flips(state) == [("up", NOW + 2 * HOUR)]


def test_down_as_missed_does_not_end_with_a_start_where_completion_is_expected() -> None:
    state = hear(a_missed(expects="complete"), ping("start", NOW + 2 * HOUR))

    assert flips(state) == []


@pytest.mark.parametrize("tolerance", [0, 1])
def test_down_as_missed_does_not_end_with_a_start_after_a_failure(tolerance: int) -> None:
    state = hear(a_missed(failure_tolerance=tolerance), ping("fail", NOW + 2 * HOUR))

    hear(state, ping("start", NOW + 3 * HOUR))

    assert flips(state) == []


def test_a_failure_before_the_flip_does_not_keep_a_start_from_ending_it() -> None:
    state = a_life(ping("fail"), failure_tolerance=1)

    hear(state, ping("start", NOW + 2 * HOUR))

    assert told(state) == [("missed", DEADLINE), ("recovered", NOW + 2 * HOUR)]


@pytest.mark.parametrize(
    "trouble, since, at",
    [
        (a_failed, NOW, NOW + MINUTE),
        (a_missed, DEADLINE, NOW + 9 * HOUR),
        (a_stuck, NOW + 10 * MINUTE, NOW + 9 * HOUR),
    ],
)
def test_recovered_carries_the_downtime_from_the_flips_true_time(
    trouble: Callable[[], MonitorState], since: int, at: int
) -> None:
    state = hear(trouble(), ping("success", at))

    event = state.events[-1]

    assert (event.kind, event.down_since, event.downtime_ms) == ("recovered", since, at - since)


def test_recovered_names_the_run_that_ended_it() -> None:
    state = hear(a_failed(), ping("success", NOW + 1))

    assert state.events[-1].run == state.runs[-1].num


@pytest.mark.parametrize(
    "trouble, further, failed",
    [(a_failed, 0, 1), (a_failed, 3, 4), (a_missed, 0, 0), (a_missed, 2, 2), (a_stuck, 1, 1)],
)
def test_failed_count_is_of_the_failures_since_the_flip(
    trouble: Callable[[], MonitorState], further: int, failed: int
) -> None:
    state = hear(trouble(), *(ping("fail", NOW + 2 * HOUR) for _ in range(further)))

    hear(state, ping("success", NOW + 2 * HOUR))

    assert state.events[-1].failed_count == failed


def test_failed_count_leaves_out_tolerated_failures_before_the_flip() -> None:
    state = a_life(*(ping("fail") for _ in range(4)), failure_tolerance=2)

    hear(state, ping("success", NOW + 1))

    assert state.events[-1].failed_count == 2


def test_failed_count_leaves_out_a_retry() -> None:
    state = a_life(ping("fail", series="a"), ping("fail", NOW + MINUTE, series="a"))

    hear(state, ping("success", NOW + 2 * MINUTE))

    assert state.events[-1].failed_count == 1


@pytest.mark.parametrize("schedule", [{}, {"cron": HOURLY}])
@pytest.mark.parametrize(
    "minutes, missed", [(66, 1), (125, 1), (125 + 1 / MINUTE, 2), (185, 2), (24 * 60, 23)]
)
@pytest.mark.parametrize("kind", ["success", "start"])
def test_missed_count_is_of_the_occurrences_without_a_sign_of_life(
    schedule: dict[str, Any], minutes: float, missed: int, kind: str
) -> None:
    state = hear(a_missed(**schedule), ping(kind, NOW + round(minutes * MINUTE)))

    assert state.events[-1].missed_count == missed


def test_missed_count_leaves_out_occurrences_with_a_sign_of_life() -> None:
    state = hear(a_missed(), ping("fail", NOW + 90 * MINUTE), ping("fail", NOW + 140 * MINUTE))

    hear(state, ping("success", NOW + 190 * MINUTE))

    assert state.events[-1].missed_count == 1


def test_missed_count_counts_while_down_for_another_reason() -> None:
    state = hear(a_failed(), ping("success", NOW + 130 * MINUTE))

    assert state.events[-1].missed_count == 2


def test_missed_count_of_a_failure_that_recovers_in_time_is_zero() -> None:
    state = hear(a_failed(), ping("success", NOW + 64 * MINUTE))

    assert state.events[-1].missed_count == 0


def test_missed_count_goes_on_through_an_edit_of_the_schedule() -> None:
    state = a_missed()  # the occurrence of 13:00
    edit(state, NOW + 130 * MINUTE, {"interval_seconds": 1800})  # and that of 14:00

    hear(state, ping("success", NOW + 170 * MINUTE))  # and that of 14:40

    assert state.events[-1].missed_count == 3


def test_missed_count_leaves_out_absences_of_ours() -> None:
    state = a_missed()
    judge_gap(state, NOW + 115 * MINUTE, NOW + 250 * MINUTE)

    hear(state, ping("success", NOW + 260 * MINUTE))

    assert state.events[-1].missed_count == 1


def test_missed_count_goes_on_after_an_absence_of_ours() -> None:
    state = a_missed()
    judge_gap(state, NOW + 130 * MINUTE, NOW + 250 * MINUTE)  # 13:00 and 14:00 were missed before

    hear(state, ping("success", NOW + 320 * MINUTE))  # the one of 17:10

    assert state.events[-1].missed_count == 3


@pytest.mark.parametrize(
    "schedule", [{"interval_seconds": 60}, {"cron": "* * * * *"}, {"interval_seconds": 1}]
)
def test_missed_count_is_counted_up_to_a_thousand(schedule: dict[str, Any]) -> None:
    state = hear(a_missed(**schedule), ping("success", NOW + DAY))

    assert state.events[-1].missed_count == 1000


def test_missed_count_in_parts_is_counted_up_to_a_thousand() -> None:
    state = an_up(interval_seconds=1)

    hear(
        state,
        *(ping("fail", NOW + DAY * day) for day in (1, 2, 3)),
        ping("success", NOW + 4 * DAY),
    )

    assert state.events[-1].missed_count == 1000


def test_ok_is_a_sign_of_life_at_its_arrival() -> None:
    state = hear(a_missed(), ping("ok", NOW + 150 * MINUTE))

    assert state.monitor.expected_at == NOW + 210 * MINUTE


def test_ok_drops_a_digest_and_reminders() -> None:
    state = hear(
        a_failed(reminder_interval_seconds=60, interval_seconds=None),
        ping("fail", NOW + 1),
        ping("ok", NOW + 2),
    )

    settle(state, NOW + DAY)

    assert told(state) == []


def test_ok_drops_a_digest_of_silent_failures() -> None:
    state = a_life(too_few(NOW), too_few(NOW + 1), rules=rules("rows lt 10"))

    hear(state, ping("ok", NOW + 2))
    settle(state, NOW + MINUTE)

    assert told(state) == []


@pytest.mark.parametrize("series", [None, "a"])
def test_ok_leaves_runs_open(series: str | None) -> None:
    state = a_life(ping("start", series=series), max_run_seconds=600)

    hear(state, ping("ok", NOW + 1, series=series))

    assert states(state) == ["running"]


# -- Reminders


@pytest.mark.parametrize(
    "trouble, since", [(a_failed, NOW), (a_missed, DEADLINE), (a_stuck, NOW + 10 * MINUTE)]
)
@pytest.mark.parametrize("turn", [1, 2, 7])
def test_a_reminder_comes_each_interval_after_the_flips_true_time(
    trouble: Callable[[], MonitorState], since: int, turn: int
) -> None:
    state = trouble()
    edit(state, DEADLINE + 1, {"reminder_interval_seconds": 86_400})

    for day in range(1, turn + 1):
        settle(state, since + day * DAY - 1)
        settle(state, since + day * DAY)

    assert told(state) == [("reminder", since + day * DAY) for day in range(1, turn + 1)]


def test_a_reminder_is_dated_so_whenever_we_looked() -> None:
    state = a_failed(reminder_interval_seconds=60)

    settle(state, NOW + MINUTE + 7)

    assert state.events == [Event("reminder", NOW + MINUTE, reason="failed", down_since=NOW)]


@pytest.mark.parametrize("seconds", [None, 0])
def test_without_an_interval_there_are_no_reminders(seconds: int | None) -> None:
    state = a_failed(reminder_interval_seconds=seconds)

    settle(state, NOW + 400 * DAY)

    assert told(state) == []
    assert due_at(state, NOW) is None


def test_an_up_monitor_is_never_reminded_of() -> None:
    state = an_up(reminder_interval_seconds=60)

    settle(state, NOW + HOUR)

    assert told(state) == []


def test_further_failures_do_not_shift_reminders() -> None:
    state = hear(a_failed(reminder_interval_seconds=3600), ping("fail", NOW + 20 * MINUTE))

    hear(state, ping("fail", NOW + 50 * MINUTE))
    settle(state, NOW + HOUR)

    assert told(state)[-1] == ("reminder", NOW + HOUR)


def test_of_more_reminders_due_at_one_look_the_last_is_told() -> None:
    state = a_failed(reminder_interval_seconds=60)

    settle(state, NOW + 10 * MINUTE + 1)
    settle(state, NOW + 11 * MINUTE)

    assert told(state) == [("reminder", NOW + 10 * MINUTE), ("reminder", NOW + 11 * MINUTE)]


def test_reminders_end_with_the_recovery() -> None:
    state = hear(
        a_failed(reminder_interval_seconds=60, interval_seconds=None),
        ping("success", NOW + MINUTE - 1),
    )

    settle(state, NOW + DAY)

    assert told(state) == [("recovered", NOW + MINUTE - 1)]


# -- Pause


def a_paused(state: MonitorState, until: int | None = NOW + DAY, at: int = NOW) -> MonitorState:
    """The state, paused; what that flipped is forgotten."""
    pause(state, at, until)
    state.flips, state.events = [], []
    return state


def test_a_pause_is_a_flip_and_no_event() -> None:
    state = an_up()

    pause(state, NOW + 1, None)

    assert state.flips == [Flip(NOW + 1, "paused", None)]
    assert state.events == []


def test_a_pause_lasts_until_resumed() -> None:
    state = a_paused(an_up(), None)

    settle(state, NOW + 400 * DAY)

    assert state.monitor.status == "paused"
    assert due_at(state, NOW) is None


@pytest.mark.parametrize("look, status", [(NOW + DAY - 1, "paused"), (NOW + DAY, "up")])
def test_a_pause_lasts_until_its_end(look: int, status: str) -> None:
    state = a_paused(an_up())

    settle(state, look)

    assert state.monitor.status == status


@pytest.mark.parametrize("kind, outcome", [("success", "success"), ("fail", "failed")])
def test_pings_still_open_pair_and_end_runs(kind: str, outcome: str) -> None:
    state = a_paused(an_up())

    hear(state, ping("start", NOW + 1), ping("progress", NOW + 2, message="half"))
    run = receive(state, ping(kind, NOW + 3))

    assert run is state.runs[0]
    assert (states(state), run.message) == ([outcome], "half")


def test_a_run_open_at_the_pause_is_ended_in_it() -> None:
    state = a_paused(a_life(ping("start"), max_run_seconds=600), at=NOW + 1)

    hear(state, ping("success", NOW + HOUR))

    assert states(state) == ["success"]


def test_pings_still_count_failures() -> None:
    state = a_paused(an_up(failure_tolerance=5))

    hear(state, ping("fail", NOW + 1), ping("fail", NOW + 2))

    assert state.monitor.failures == 2


@pytest.mark.parametrize("trouble", [a_life, an_up, a_failed, a_missed])
@pytest.mark.parametrize("kind", ["start", "success", "fail", "ok", "progress", "log"])
def test_status_and_events_rest(trouble: Callable[..., MonitorState], kind: str) -> None:
    state = a_paused(trouble(rules=rules("rows lt 10")), None, DEADLINE + 1)

    hear(state, ping(kind, NOW + 2 * HOUR, metrics='{"rows": 1}'))
    settle(state, NOW + 400 * DAY)

    assert state.monitor.status == "paused"
    assert (state.flips, state.events) == ([], [])


def test_deadlines_rest() -> None:
    state = a_paused(a_life(ping("start"), max_run_seconds=600), None, NOW + 1)

    settle(state, NOW + 400 * DAY)

    assert (states(state), told(state)) == (["running"], [])


def test_reminders_rest() -> None:
    state = a_paused(a_failed(reminder_interval_seconds=60), None, NOW + 1)

    settle(state, NOW + HOUR)

    assert told(state) == []


@pytest.mark.parametrize("began", [NOW, NOW + HOUR])
@pytest.mark.parametrize(
    "end",
    [lambda state: settle(state, NOW + DAY), lambda state: resume(state, NOW + DAY - 1)],
    ids=["by time", "by hand"],
)
def test_a_run_open_when_the_pause_ends_is_not_awaited_any_more(
    began: int, end: Callable[[MonitorState], None]
) -> None:
    state = a_life(interval_seconds=None, max_run_seconds=7200)
    hear(state, *[ping("start", began)] * (began == NOW))
    hear(a_paused(state), *[ping("start", began)] * (began != NOW))

    end(state)
    settle(state, NOW + 400 * DAY)

    assert (states(state), told(state)) == (["running"], [])


def test_a_run_that_starts_after_the_pause_is_awaited() -> None:
    state = a_paused(an_up(max_run_seconds=600))

    hear(state, ping("start", NOW + DAY + 1))

    assert state.runs[-1].awaited


@pytest.mark.parametrize("until", [NOW + HOUR, NOW + 9 * DAY, None])
def test_a_pause_of_a_paused_monitor_replaces_its_end(until: int | None) -> None:
    state = a_paused(an_up())

    pause(state, NOW + MINUTE, until)

    assert due_at(state, NOW + MINUTE) == until
    assert flips(state) == []


def test_a_pause_of_a_paused_monitor_remembers_how_it_was_at_the_first() -> None:
    state = a_paused(a_failed())

    pause(state, NOW + MINUTE, NOW + HOUR)
    settle(state, NOW + HOUR)

    assert told(state) == [("failed", NOW + HOUR)]


@pytest.mark.parametrize("trouble", [a_life, an_up, a_failed, a_missed])
@pytest.mark.parametrize("to_new", [False, True])
def test_a_resume_of_one_that_is_not_paused_does_nothing(
    trouble: Callable[[], MonitorState], to_new: bool
) -> None:
    state = trouble()
    settle(state, DEADLINE + 2)
    before = copy.deepcopy(state)

    resume(state, DEADLINE + 2, to_new=to_new)

    assert state == before


@pytest.mark.parametrize(
    "trouble, reason", [(a_failed, "failed"), (a_missed, "missed"), (a_stuck, "stuck")]
)
@pytest.mark.parametrize("came", [[], ["start"], ["fail"], ["progress"]])
def test_a_pause_of_a_down_monitor_ends_down_for_the_reason_that_it_had(
    trouble: Callable[[], MonitorState], reason: str, came: list[str]
) -> None:
    state = a_paused(trouble(), at=DEADLINE + 1)

    hear(state, *(ping(kind, NOW + 2 * HOUR, series="other") for kind in came))
    settle(state, NOW + 2 * DAY)

    assert state.flips == [Flip(NOW + DAY, "down", reason)]
    assert state.events == [Event(reason, NOW + DAY, reason=reason, down_since=NOW + DAY)]


@pytest.mark.parametrize("trouble", [a_failed, a_missed, a_stuck])
@pytest.mark.parametrize("kind", ["success", "ok"])
def test_a_pause_of_a_down_monitor_ends_up_where_it_got_well(
    trouble: Callable[[], MonitorState], kind: str
) -> None:
    state = a_paused(trouble(), at=DEADLINE + 1)

    hear(state, ping(kind, NOW + 2 * HOUR))
    settle(state, NOW + DAY)

    assert state.flips == [Flip(NOW + DAY, "up", None)]
    assert state.events == []


@pytest.mark.parametrize(
    "tolerance, before, within, status",
    [
        (0, 0, 1, "down"),
        (1, 0, 1, "up"),
        (1, 1, 1, "down"),
        (2, 0, 2, "up"),
        (2, 0, 3, "down"),
    ],
)
@pytest.mark.parametrize("expects", ["run", "complete"])
def test_a_pause_ends_down_where_the_failures_in_a_row_exceed_the_tolerance(
    tolerance: int, before: int, within: int, status: str, expects: str
) -> None:
    state = hear(an_up(failure_tolerance=tolerance, expects=expects), *[ping("fail")] * before)

    hear(a_paused(state), *(ping("fail", NOW + 1) for _ in range(within)))
    settle(state, NOW + DAY)

    assert flips(state) == [(status, NOW + DAY)]
    assert told(state) == [("failed", NOW + DAY)] * (status == "down")


def test_a_pause_in_which_it_got_well_and_failed_again_ends_down_as_failed() -> None:
    state = a_paused(a_missed(), at=DEADLINE + 1)

    hear(state, ping("success", NOW + 2 * HOUR), ping("fail", NOW + 3 * HOUR))
    settle(state, NOW + DAY)

    assert state.flips == [Flip(NOW + DAY, "down", "failed")]


def test_a_pause_in_which_it_failed_and_got_well_ends_up() -> None:
    state = hear(a_paused(an_up()), ping("fail", NOW + 1), ping("success", NOW + 2))

    settle(state, NOW + DAY)

    assert flips(state) == [("up", NOW + DAY)]


@pytest.mark.parametrize(
    "expects, came",
    [("run", []), ("run", ["progress", "log"]), ("complete", []), ("complete", ["start"])],
)
def test_a_pause_of_a_new_monitor_ends_new_where_no_sign_of_life_came(
    expects: str, came: list[str]
) -> None:
    state = hear(a_paused(a_life(expects=expects)), *(ping(kind, NOW + 1) for kind in came))

    settle(state, NOW + DAY)

    assert state.flips == [Flip(NOW + DAY, "new", None)]
    assert state.monitor.expected_at is None


@pytest.mark.parametrize(
    "expects, tolerance, kind",
    [
        ("run", 0, "start"),
        ("run", 0, "success"),
        ("run", 0, "ok"),
        ("run", 1, "fail"),
        ("complete", 0, "success"),
        ("complete", 0, "ok"),
        ("complete", 1, "fail"),
    ],
)
def test_a_pause_of_a_new_monitor_ends_up_where_a_sign_of_life_came(
    expects: str, tolerance: int, kind: str
) -> None:
    state = a_paused(a_life(expects=expects, failure_tolerance=tolerance))

    hear(state, ping(kind, NOW + 1))
    settle(state, NOW + DAY)

    assert flips(state) == [("up", NOW + DAY)]


@pytest.mark.parametrize("expects", ["run", "complete"])
def test_a_pause_of_a_new_monitor_ends_down_where_it_failed(expects: str) -> None:
    state = hear(a_paused(a_life(expects=expects)), ping("fail", NOW + 1))

    settle(state, NOW + DAY)

    assert told(state) == [("failed", NOW + DAY)]


@pytest.mark.parametrize(
    "schedule, expected_at", [({}, NOW + DAY + 58 * MINUTE), ({"cron": HOURLY}, NOW + DAY)]
)
def test_a_pause_of_an_armed_monitor_ends_new_and_armed_anew(
    schedule: dict[str, Any], expected_at: int
) -> None:
    state = a_paused(armed(NOW, **schedule), NOW + DAY - 2 * MINUTE)

    settle(state, NOW + DAY - 2 * MINUTE)

    assert flips(state) == [("new", NOW + DAY - 2 * MINUTE)]
    assert state.monitor.expected_at == expected_at


@pytest.mark.parametrize("trouble", [an_up, a_failed, a_missed])
@pytest.mark.parametrize(
    "schedule, expected_at", [({}, NOW + DAY + 58 * MINUTE), ({"cron": HOURLY}, NOW + DAY)]
)
def test_the_deadline_is_as_if_a_sign_of_life_had_come_when_the_pause_ended(
    trouble: Callable[..., MonitorState], schedule: dict[str, Any], expected_at: int
) -> None:
    state = a_paused(trouble(**schedule), NOW + DAY - 2 * MINUTE, DEADLINE - HOUR)

    hear(state, ping("start", NOW + 10 * HOUR))
    settle(state, NOW + DAY - 2 * MINUTE)

    assert state.monitor.expected_at == expected_at


@pytest.mark.parametrize("trouble, failed", [(a_failed, 1), (a_missed, 0), (a_stuck, 0)])
def test_the_counts_begin_anew_when_a_pause_ends(
    trouble: Callable[[], MonitorState], failed: int
) -> None:
    state = hear(trouble(), *(ping("fail", NOW + 5 * HOUR) for _ in range(3)))
    a_paused(state, NOW + DAY, NOW + 6 * HOUR)

    hear(state, ping("fail", NOW + 7 * HOUR), ping("success", NOW + DAY + 1))

    assert (state.events[-1].failed_count, state.events[-1].missed_count) == (failed, 0)


def test_tolerated_failures_of_a_pause_still_count_after_its_end() -> None:
    state = hear(a_paused(an_up(failure_tolerance=1)), ping("fail", NOW + 1))

    hear(state, ping("fail", NOW + DAY + 1))

    assert told(state) == [("failed", NOW + DAY + 1)]


@pytest.mark.parametrize("trouble", [a_life, an_up, a_failed, a_missed, a_stuck])
def test_the_resume_of_cronping_makes_it_new(trouble: Callable[[], MonitorState]) -> None:
    state = a_paused(trouble(), at=DEADLINE + 1)

    resume(state, NOW + 2 * HOUR, to_new=True)

    assert flips(state) == [("new", NOW + 2 * HOUR)]
    assert (told(state), state.monitor.expected_at) == ([], None)
    assert due_at(state, NOW + 2 * HOUR) is None


def test_the_resume_of_cronping_arms_a_new_armed_monitor_anew() -> None:
    state = a_paused(armed(NOW))

    resume(state, NOW + 30 * MINUTE, to_new=True)

    assert state.monitor.expected_at == NOW + 90 * MINUTE


@pytest.mark.parametrize("trouble", [a_life, an_up, a_failed, a_missed, a_stuck])
def test_every_other_resume_is_an_ok_without_an_event(trouble: Callable[[], MonitorState]) -> None:
    state = a_paused(trouble(), at=DEADLINE + 1)

    resume(state, NOW + 2 * HOUR)

    assert flips(state) == [("up", NOW + 2 * HOUR)]
    assert told(state) == []
    assert state.monitor.expected_at == NOW + 3 * HOUR


def test_a_resume_leaves_no_end_of_the_pause_behind() -> None:
    state = a_paused(an_up(interval_seconds=None))

    resume(state, NOW + HOUR)

    assert due_at(state, NOW + HOUR) is None


# -- New


@pytest.mark.parametrize("schedule", [{}, {"cron": HOURLY}, {"expects": "complete"}])
def test_a_new_monitor_has_no_deadline_until_the_first_sign_of_life(
    schedule: dict[str, Any],
) -> None:
    state = a_life(**schedule)

    settle(state, NOW + 400 * DAY)

    assert (state.monitor.status, state.monitor.expected_at) == ("new", None)
    assert due_at(state, NOW) is None


@pytest.mark.parametrize(
    "expects, tolerance, kind, status",
    [
        ("run", 0, "start", "up"),
        ("run", 0, "success", "up"),
        ("run", 0, "ok", "up"),
        ("run", 0, "fail", "down"),
        ("run", 1, "fail", "up"),
        ("complete", 0, "success", "up"),
        ("complete", 0, "ok", "up"),
        ("complete", 0, "fail", "down"),
        ("complete", 1, "fail", "up"),
    ],
)
def test_a_new_monitor_ends_with_the_first_sign_of_life_or_failure(
    expects: str, tolerance: int, kind: str, status: str
) -> None:
    state = MonitorState(a_monitor(expects=expects, failure_tolerance=tolerance), [])

    hear(state, ping(kind))

    assert flips(state) == [(status, NOW)]


@pytest.mark.parametrize(
    "expects, kind",
    [
        ("run", "log"),
        ("run", "progress"),
        ("complete", "log"),
        ("complete", "progress"),
        ("complete", "start"),
    ],
)
def test_what_does_not_end_new(expects: str, kind: str) -> None:
    state = a_life(ping(kind), expects=expects)

    assert (state.monitor.status, state.monitor.expected_at) == ("new", None)


def test_a_first_failure_that_is_no_sign_of_life_sets_no_deadline() -> None:
    state = a_failed(expects="complete")

    assert (state.monitor.status, state.monitor.expected_at) == ("down", None)


def test_an_armed_monitor_is_missed_at_the_first_occurrence_after_creation() -> None:
    state = armed(NOW)

    settle(state, DEADLINE)
    before = list(state.flips)
    settle(state, DEADLINE + 1)

    assert before == []
    assert state.flips == [Flip(DEADLINE, "down", "missed")]


def test_an_armed_monitor_has_no_early_window_at_creation() -> None:
    state = armed(clock("11:58"), cron=HOURLY)

    settle(state, clock("12:06"))

    assert told(state) == [("missed", clock("12:05"))]


def test_an_armed_monitor_is_up_at_the_first_sign_of_life() -> None:
    state = hear(armed(clock("11:50"), cron=HOURLY), ping("start", clock("11:58")))

    assert flips(state) == [("up", clock("11:58"))]
    assert state.monitor.expected_at == clock("13:00")


# -- Edits


@pytest.mark.parametrize(
    "fields, changes, expected_at",
    [
        ({"cron": HOURLY}, {"cron": "30 * * * *"}, "13:30"),
        ({"cron": HOURLY}, {"cron": "*/5 * * * *"}, "13:00"),
        ({"cron": "30 20 * * *"}, {"timezone": "Asia/Kolkata"}, "15:00"),
        ({}, {"interval_seconds": 60}, "12:59"),
        ({}, {"interval_seconds": 7200}, "14:58"),
        ({}, {"timezone": "Asia/Kolkata"}, "13:58"),
        ({}, {"expects": "complete"}, "13:58"),
        ({}, {"cron": HOURLY, "interval_seconds": None}, "13:00"),
        ({"cron": HOURLY}, {"cron": None, "interval_seconds": 3600}, "13:58"),
        ({"cron": HOURLY}, {"expects": "complete"}, "13:00"),
    ],
)
@pytest.mark.parametrize("trouble", [an_up, a_failed])
def test_a_changed_schedule_counts_the_deadline_anew_from_the_edit(
    fields: dict[str, Any],
    changes: dict[str, Any],
    expected_at: str,
    trouble: Callable[..., MonitorState],
) -> None:
    state = trouble(**fields)

    edit(state, clock("12:58"), changes)

    assert state.monitor.expected_at == clock(expected_at)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval_seconds": 60},
        {"expects": "complete"},
        {"timezone": "Asia/Kolkata"},
        {"cron": HOURLY, "interval_seconds": None},
    ],
)
def test_an_edit_of_a_new_monitor_sets_no_deadline(changes: dict[str, Any]) -> None:
    state = a_life()

    edit(state, NOW, changes)

    assert state.monitor.expected_at is None


def test_an_edit_of_an_armed_monitor_counts_anew_from_the_edit() -> None:
    state = armed(NOW)

    edit(state, NOW + MINUTE, {"interval_seconds": 60})

    assert state.monitor.expected_at == NOW + 2 * MINUTE


def test_a_removed_schedule_expects_nothing() -> None:
    state = an_up()

    edit(state, NOW + 1, {"interval_seconds": None})

    assert due_at(state, NOW + 1) is None


@pytest.mark.parametrize("expects", ["run", "complete"])
@pytest.mark.parametrize("kind", ["success", "fail", "ok"])
@pytest.mark.parametrize("end", [2 * MINUTE, DAY])
def test_after_its_schedule_was_removed_no_ping_expects_anything(
    expects: str, kind: str, end: int
) -> None:
    state = a_life(ping("start"), expects=expects)
    edit(state, NOW + MINUTE, {"interval_seconds": None})

    hear(state, ping(kind, NOW + end))

    assert state.monitor.expected_at is None


@pytest.mark.parametrize("seconds", [1800, 7200])
def test_the_first_run_counts_by_the_schedule_as_it_was_edited_meanwhile(seconds: int) -> None:
    state = a_life(ping("start"), expects="complete")
    edit(state, NOW + MINUTE, {"interval_seconds": seconds})

    hear(state, ping("success", NOW + 2 * MINUTE))

    assert state.monitor.expected_at == NOW + seconds * SECOND


@pytest.mark.parametrize(
    "changes",
    [{"interval_seconds": 3600}, {"timezone": "UTC"}, {"expects": "run"}, {"cron": None}],
)
def test_the_same_value_again_is_no_change(changes: dict[str, Any]) -> None:
    state = an_up()

    edit(state, NOW + 30 * MINUTE, changes)

    assert state.monitor.expected_at == NOW + HOUR


@pytest.mark.parametrize(
    "grace, at, met_until",
    [
        (60, NOW, NOW + 61 * MINUTE),  # shorter, still ahead
        (60, NOW + 61 * MINUTE, NOW + 61 * MINUTE),
        (60, NOW + 62 * MINUTE, NOW + 62 * MINUTE),  # its new deadline has passed
        (0, DEADLINE, DEADLINE),
        (3600, NOW + 62 * MINUTE, NOW + 2 * HOUR),  # longer
    ],
)
def test_a_changed_grace_holds_from_the_edit_on_and_makes_nobody_late_before_it(
    grace: int, at: int, met_until: int
) -> None:
    state = an_up()

    edit(state, at, {"grace_seconds": grace})
    settle(state, met_until)
    before = told(state)
    settle(state, met_until + 1)

    assert before == []
    assert told(state) == [("missed", met_until)]


def test_after_the_next_sign_of_life_only_the_changed_grace_holds() -> None:
    state = an_up()
    edit(state, NOW + 62 * MINUTE, {"grace_seconds": 60})

    hear(state, ping("ok", NOW + 62 * MINUTE))
    settle(state, NOW + DAY)

    assert told(state) == [("missed", NOW + 123 * MINUTE)]


def test_a_changed_grace_makes_no_run_stuck_before_the_edit() -> None:
    state = a_life(*seen_to_end(), ping("start"))

    edit(state, NOW + 62 * MINUTE, {"grace_seconds": 0})
    settle(state, NOW + DAY)

    assert told(state) == [("stuck", NOW + 62 * MINUTE)]


def test_a_start_after_a_shortened_grace_is_early_by_the_new_one() -> None:
    state = hear(an_up(cron=HOURLY), ping("success", NOW + 58 * MINUTE))

    edit(state, NOW + 58 * MINUTE + 1, {"grace_seconds": 60})
    hear(state, ping("start", NOW + 58 * MINUTE + 30 * SECOND))

    assert state.runs[-1].next_at == NOW + HOUR


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"key": "other"},
        {"tags": "a b"},
        {"notes": "x"},
        {"rules": None},
        {"failure_tolerance": 3},
        {"reminder_interval_seconds": 60},
        {"armed": 1},
        {"max_run_seconds": 60},
        {"min_ping_interval_seconds": 60},
        {"email_alerts": 0},
    ],
)
def test_nothing_else_moves_a_deadline(changes: dict[str, Any]) -> None:
    state = a_life(*seen_to_end(), ping("start"))

    edit(state, NOW + 30 * MINUTE, changes)

    assert due_at(state, NOW + 30 * MINUTE) == DEADLINE + 1


@pytest.mark.parametrize("seconds", [None, 60, 6000])
def test_an_edit_of_max_run_seconds_does_not_move_the_deadline_of_an_open_run(
    seconds: int | None,
) -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    edit(state, NOW + 5 * MINUTE, {"max_run_seconds": seconds})
    settle(state, NOW + DAY)

    assert told(state)[0] == ("stuck", NOW + 10 * MINUTE)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval_seconds": 86_400},
        {"grace_seconds": 86_400},
        {"expects": "complete"},
        {"failure_tolerance": 9},
        {"interval_seconds": None},
        {"max_run_seconds": 86_400},
    ],
)
@pytest.mark.parametrize("trouble", [a_failed, a_missed, a_stuck])
def test_an_edit_recovers_nobody(
    changes: dict[str, Any], trouble: Callable[[], MonitorState]
) -> None:
    state = trouble()

    edit(state, DEADLINE + 2, changes)
    settle(state, DEADLINE + 3)

    assert (state.monitor.status, flips(state)) == ("down", [])


@pytest.mark.parametrize(
    "changes",
    [{"reminder_interval_seconds": 60}, {"failure_tolerance": 9}, {"max_run_seconds": 86_400}],
)
def test_an_edit_of_no_deadline_leaves_what_a_monitor_that_is_down_awaits(
    changes: dict[str, int],
) -> None:
    state = a_missed()
    before = state.monitor.expected_at, state.monitor.missed_count

    edit(state, DEADLINE + 90 * MINUTE, changes)

    assert (state.monitor.expected_at, state.monitor.missed_count) == before


def test_what_was_missed_counts_with_the_grace_that_it_was_missed_with() -> None:
    state = a_missed()

    edit(state, DEADLINE + MINUTE, {"grace_seconds": 3600})
    receive(state, ping("success", DEADLINE + 2 * MINUTE))

    assert state.events[-1].missed_count == 1


@pytest.mark.parametrize("trouble, status", [(a_life, "new"), (an_up, "up"), (a_failed, "down")])
def test_an_edit_in_a_pause_leaves_what_it_ends_with(
    trouble: Callable[[], MonitorState], status: str
) -> None:
    state = a_paused(trouble())

    edit(state, NOW + 1, {"interval_seconds": 60, "grace_seconds": 60})
    settle(state, NOW + DAY)

    assert flips(state) == [(status, NOW + DAY)]


# -- We were away


def test_a_gap_first_settles_everything_due_up_to_its_begin() -> None:
    state = an_up()

    judge_gap(state, DEADLINE + 1, DEADLINE + HOUR)

    assert told(state) == [("missed", DEADLINE)]


def test_then_the_end_of_a_pause_in_the_gap_at_its_true_time() -> None:
    state = a_paused(a_failed(), NOW + 2 * HOUR)

    judge_gap(state, NOW + HOUR, NOW + 5 * HOUR)

    assert state.flips == [Flip(NOW + 2 * HOUR, "down", "failed")]
    assert told(state) == [("failed", NOW + 2 * HOUR)]


@pytest.mark.parametrize(
    "until, events",
    [(MINUTE, [("failed", NOW + MINUTE)]), (MINUTE - 1, []), (DAY, [("failed", NOW + MINUTE)])],
)
def test_then_the_digests_in_the_gap_at_their_true_times(
    until: int, events: list[tuple[str, int]]
) -> None:
    state = hear(a_failed(), ping("fail", NOW + SECOND))

    judge_gap(state, NOW + 2 * SECOND, NOW + until)

    assert told(state) == events


def test_an_occurrence_whose_deadline_lies_in_the_gap_is_not_missed() -> None:
    state = an_up()

    judge_gap(state, NOW + 50 * MINUTE, NOW + 90 * MINUTE)

    assert (state.monitor.status, told(state)) == ("up", [])


@pytest.mark.parametrize("since, missed", [(DEADLINE, False), (DEADLINE + 1, True)])
def test_a_deadline_that_was_not_broken_when_the_gap_began_is_not_missed(
    since: int, missed: bool
) -> None:
    state = an_up()

    judge_gap(state, since, since + HOUR)
    settle(state, since + HOUR)

    assert bool(told(state)) == missed


@pytest.mark.parametrize(
    "fields, opens",
    [
        ({}, "12:55"),
        ({"grace_seconds": 60}, "12:59"),
        ({"grace_seconds": 3600}, "12:55"),
        ({"interval_seconds": 600, "grace_seconds": 3600}, "12:07:30"),
        ({"cron": HOURLY}, "12:55"),
        ({"cron": "*/10 * * * *"}, "12:07:30"),
    ],
)
def test_the_window_of_an_occurrence_opens_a_little_before_it(
    fields: dict[str, Any], opens: str
) -> None:
    lives = [an_up(**fields), an_up(**fields)]
    before = lives[0].monitor.expected_at

    for state, until in zip(lives, [clock(opens) - 1, clock(opens)], strict=True):
        judge_gap(state, NOW + MINUTE, until)

    assert lives[0].monitor.expected_at == before
    assert lives[1].monitor.expected_at != before


def test_an_interval_is_counted_from_the_end_of_the_gap() -> None:
    state = an_up()

    judge_gap(state, NOW + 50 * MINUTE, NOW + 500 * MINUTE)

    assert state.monitor.expected_at == NOW + 560 * MINUTE


@pytest.mark.parametrize(
    "until, expected_at",
    [("13:10", "14:00"), ("13:54:59.999", "14:00"), ("13:55", "15:00"), ("12:55", "14:00")],
)
def test_cron_is_counted_as_if_a_sign_of_life_had_come_at_the_end_of_the_gap(
    until: str, expected_at: str
) -> None:
    state = an_up(cron=HOURLY)

    judge_gap(state, clock("12:50"), clock(until))

    assert state.monitor.expected_at == clock(expected_at)


def test_after_the_gap_the_new_deadline_is_missed_like_any() -> None:
    state = an_up()
    judge_gap(state, NOW + 50 * MINUTE, NOW + 90 * MINUTE)

    settle(state, NOW + DAY)

    assert told(state) == [("missed", NOW + 155 * MINUTE)]


def test_a_deadline_that_was_held_back_when_the_gap_began_is_not_missed() -> None:
    state = hear(an_up(expects="complete", max_run_seconds=7200), ping("start", NOW + 50 * MINUTE))

    judge_gap(state, NOW + 100 * MINUTE, NOW + 110 * MINUTE)
    settle(state, NOW + 175 * MINUTE)

    assert told(state) == []
    assert state.monitor.expected_at == NOW + 170 * MINUTE


def test_an_occurrence_with_a_sign_of_life_before_the_gap_stays() -> None:
    state = a_life(ping("success", clock("12:58")), cron=HOURLY)

    judge_gap(state, clock("12:59"), clock("13:03"))

    assert state.monitor.expected_at == clock("14:00")


def test_the_first_occurrence_of_an_armed_monitor_can_be_unverified() -> None:
    state = armed(NOW)

    named = judge_gap(state, NOW + HOUR, NOW + 3 * HOUR)

    assert (state.monitor.status, state.monitor.expected_at) == ("new", NOW + 4 * HOUR)
    assert not named


@pytest.mark.parametrize("trouble", [a_life, an_up, a_failed])
@pytest.mark.parametrize("series", [None, "a"])
def test_runs_open_in_a_gap_of_more_than_a_minute_become_unknown_and_are_never_stuck(
    trouble: Callable[..., MonitorState], series: str | None
) -> None:
    state = hear(
        trouble(max_run_seconds=600, interval_seconds=None), ping("start", NOW, series=series)
    )

    judge_gap(state, NOW + MINUTE, NOW + 2 * MINUTE + 1)
    settle(state, NOW + DAY)

    assert states(state)[-1] == "unknown"
    assert "stuck" not in dict(told(state))


def test_a_run_whose_deadline_passed_before_the_gap_is_stuck() -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    judge_gap(state, NOW + 10 * MINUTE + 1, NOW + HOUR)

    assert told(state) == [("stuck", NOW + 10 * MINUTE)]


@pytest.mark.parametrize("kind, outcome", [("success", "success"), ("fail", "failed")])
def test_a_later_end_of_a_run_open_in_the_gap_still_pairs(kind: str, outcome: str) -> None:
    state = a_life(ping("start"))
    judge_gap(state, NOW + MINUTE, NOW + 2 * MINUTE + 1)

    run = receive(state, ping(kind, NOW + 3 * MINUTE))

    assert run is state.runs[0]
    assert (run.state, run.duration_ms) == (outcome, 3 * MINUTE)


@pytest.mark.parametrize("trouble", [a_failed, a_missed])
def test_the_expected_at_of_a_down_monitor_moves_silently(
    trouble: Callable[[], MonitorState],
) -> None:
    state = trouble()

    named = judge_gap(state, NOW + 115 * MINUTE, NOW + 250 * MINUTE)

    assert state.monitor.expected_at == NOW + 310 * MINUTE
    assert (named, state.flips, state.events) == (False, [], [])


@pytest.mark.parametrize(
    "since, until, next_at",
    [(90, 150, 180), (90, 180, 240), (60, 100, 120), (59, 60, 120), (59, 59, 60)],
)
def test_reminders_in_the_gap_are_skipped(since: int, until: int, next_at: int) -> None:
    state = a_failed(reminder_interval_seconds=3600)

    judge_gap(state, NOW + since * MINUTE, NOW + until * MINUTE)
    settle(state, NOW + until * MINUTE)

    assert due_at(state, NOW + until * MINUTE) == NOW + next_at * MINUTE
    assert told(state) == [("reminder", NOW + HOUR)] * (since >= 60)


def test_the_outage_names_a_monitor_with_an_unverified_occurrence() -> None:
    state = an_up(interval_seconds=86_400)

    assert judge_gap(state, NOW + DAY, NOW + DAY + 1) is True


def test_the_outage_names_a_monitor_with_a_run_that_became_unknown() -> None:
    state = a_life(ping("start"), interval_seconds=86_400)

    assert judge_gap(state, NOW + 1, NOW + 2 * MINUTE) is True


def test_the_outage_names_one_without_a_schedule_whose_run_became_unknown() -> None:
    state = a_life(ping("start"), interval_seconds=None)

    assert judge_gap(state, NOW + 1, NOW + 2 * MINUTE) is True


def test_the_outage_does_not_name_a_monitor_that_it_did_not_touch() -> None:
    state = an_up(interval_seconds=86_400)

    assert judge_gap(state, NOW + 1, NOW + 2) is False


@pytest.mark.parametrize("status", ["down", "paused"])
def test_the_outage_does_not_name_a_monitor_that_is(status: str) -> None:
    state = a_life(
        ping("fail" if status == "down" else "ok"),
        ping("start", series="a"),
        interval_seconds=86_400,
    )
    if status == "paused":
        pause(state, NOW, None)

    assert judge_gap(state, NOW + 1, NOW + 9 * DAY) is False


def test_a_paused_monitor_expects_nothing_after_a_gap() -> None:
    state = a_paused(an_up(), None)

    judge_gap(state, NOW + 50 * MINUTE, NOW + 90 * MINUTE)

    assert (state.monitor.status, state.monitor.expected_at) == ("paused", None)


@pytest.mark.parametrize("seconds, named", [(3600, False), (3601, True)])
def test_the_outage_names_no_monitor_that_is_expected_within_an_hour(
    seconds: int, named: bool
) -> None:
    state = an_up(interval_seconds=seconds)

    assert judge_gap(state, NOW + HOUR, NOW + 2 * HOUR) is named


@pytest.mark.parametrize("left, named", [(HOUR, False), (HOUR + 1, True)])
def test_the_outage_names_no_run_whose_monitor_is_expected_within_an_hour(
    left: int, named: bool
) -> None:
    state = a_life(ping("start"), interval_seconds=86_400)

    assert judge_gap(state, NOW + 1, NOW + DAY - left) is named


def away_at(state: MonitorState, at: int, length: int = 20 * SECOND) -> bool:
    """A restart, or a longer absence, and the look after the minute that it spares."""
    named = judge_gap(state, at, at + length)
    settle(state, at + length + MINUTE + 1)
    return named


def test_two_gaps_in_a_row_without_a_sign_of_life_are_no_excuse() -> None:
    state = an_up(interval_seconds=86_400, grace_seconds=3600)

    away_at(state, NOW + DAY + 5 * MINUTE)
    excused = told(state)
    away_at(state, NOW + 2 * DAY + 10 * MINUTE)
    settle(state, NOW + 3 * DAY)

    assert excused == []
    assert told(state) == [("missed", NOW + 2 * DAY + 65 * MINUTE + 20 * SECOND)]


@pytest.mark.parametrize("kind, expects", [("start", "run"), ("ok", "complete")])
def test_a_sign_of_life_between_two_gaps_excuses_the_second(kind: str, expects: str) -> None:
    state = an_up(cron=HOURLY, expects=expects)

    away_at(state, NOW + HOUR)
    hear(state, ping(kind, NOW + 100 * MINUTE))
    away_at(state, NOW + 2 * HOUR)

    assert told(state) == []
    assert state.monitor.expected_at == NOW + 3 * HOUR


def test_an_occurrence_whose_whole_window_lies_in_a_gap_is_never_missed() -> None:
    state = an_up(cron="0 3 * * *")
    midnight = NOW + 12 * HOUR

    for day in range(7):
        judge_gap(state, midnight + day * DAY, midnight + day * DAY + 6 * HOUR)
        settle(state, midnight + day * DAY + 20 * HOUR)

    assert told(state) == []


@pytest.mark.parametrize("length", [20 * SECOND, 10 * MINUTE])
def test_no_deadline_falls_into_a_gap_or_the_minute_after_it(length: int) -> None:
    state = an_up(cron=HOURLY)
    away_at(state, NOW + HOUR)

    away_at(state, NOW + 125 * MINUTE - 10 * SECOND, length)

    assert told(state) == [("missed", NOW + 126 * MINUTE - 10 * SECOND + length)]


def test_a_deadline_that_comes_to_be_after_a_gap_does_not_fall_into_its_minute() -> None:
    state = an_up(interval_seconds=None, max_run_seconds=10)
    judge_gap(state, NOW + MINUTE, NOW + 2 * MINUTE)

    hear(state, ping("start", NOW + 2 * MINUTE + 5 * SECOND))
    settle(state, NOW + HOUR)

    assert told(state) == [("stuck", NOW + 3 * MINUTE)]


@pytest.mark.parametrize(
    "pause_ms, stuck_at",
    [
        (30 * SECOND, 170 * SECOND),  # the minute after the first gap was not over
        (60 * SECOND, 200 * SECOND),
        (60 * SECOND + 1, 120 * SECOND),
    ],
)
def test_a_deadline_that_a_gap_put_off_is_put_off_by_the_next_one_too(
    pause_ms: int, stuck_at: int
) -> None:
    state = a_life(ping("start"), interval_seconds=None, max_run_seconds=45)
    judge_gap(state, NOW + 40 * SECOND, NOW + 60 * SECOND)

    judge_gap(state, NOW + 60 * SECOND + pause_ms, NOW + 80 * SECOND + pause_ms)
    settle(state, NOW + HOUR)

    assert told(state) == [("stuck", NOW + stuck_at)]


@pytest.mark.parametrize("length, states_then", [(MINUTE, "running"), (MINUTE + 1, "unknown")])
def test_a_run_open_in_a_gap_of_at_most_a_minute_stays_as_it_is(
    length: int, states_then: str
) -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    judge_gap(state, NOW + MINUTE, NOW + MINUTE + length)

    assert states(state) == [states_then]


def test_after_a_restart_a_run_is_stuck_at_its_deadline() -> None:
    state = a_life(ping("start"), max_run_seconds=600)

    judge_gap(state, NOW + MINUTE, NOW + 2 * MINUTE)
    settle(state, NOW + HOUR)

    assert told(state) == [("stuck", NOW + 10 * MINUTE)]


@pytest.mark.parametrize("length, moves", [(MINUTE, False), (MINUTE + 1, True)])
def test_a_run_that_holds_missed_back_does_so_through_a_restart(length: int, moves: bool) -> None:
    state = an_up(expects="complete", max_run_seconds=7200)
    hear(state, ping("start", NOW + 50 * MINUTE))

    judge_gap(state, NOW + 100 * MINUTE, NOW + 100 * MINUTE + length)

    assert (state.monitor.expected_at != NOW + HOUR) == moves


def test_what_lay_wholly_in_a_gap_is_not_counted_as_missed() -> None:
    state = an_up(interval_seconds=600, grace_seconds=60)
    away_at(state, NOW + 10 * MINUTE)
    expected_at = state.monitor.expected_at or 0

    judge_gap(state, expected_at + SECOND, expected_at + 35 * MINUTE)  # three more lie in it
    hear(state, ping("success", expected_at + 42 * MINUTE))

    assert [event.missed_count for event in state.events] == [None, 2]


def test_what_lay_wholly_in_a_gap_is_not_counted_after_the_next_gap_either() -> None:
    state = a_life(ping("start", NOW + SECOND), cron=HOURLY, expects="complete")
    judge_gap(state, NOW + 30 * MINUTE, NOW + 330 * MINUTE)  # 13:00 to 17:00 lie in it
    hear(state, ping("success", NOW + 330 * MINUTE))

    judge_gap(state, NOW + 340 * MINUTE, NOW + 341 * MINUTE)
    hear(state, ping("success", NOW + 370 * MINUTE))  # 18:00 was missed

    assert [event.missed_count for event in state.events] == [None, 1]


def test_what_was_seen_to_be_missed_as_a_gap_began_is_not_excused_by_it() -> None:
    state = an_up(grace_seconds=0)
    settle(state, NOW + HOUR + 1)

    judge_gap(state, NOW + HOUR, NOW + HOUR + 30 * SECOND)

    assert (state.monitor.missed_count, state.monitor.expected_at) == (1, NOW + 2 * HOUR)


def test_what_lay_wholly_in_a_gap_is_not_counted_where_a_failure_came_as_the_gap_began() -> None:
    state = an_up(cron=HOURLY, grace_seconds=0, expects="complete")
    hear(state, ping("fail", NOW + HOUR))
    judge_gap(state, NOW + HOUR, NOW + HOUR + 2 * MINUTE)

    hear(state, ping("success", NOW + 64 * MINUTE))

    assert state.events[-1].missed_count == 0


def test_two_gaps_with_no_minute_between_them_are_one_to_what_is_counted() -> None:
    state = a_missed(cron=HOURLY)  # the occurrence of 13:00
    judge_gap(state, NOW + 116 * MINUTE, NOW + 117 * MINUTE)  # excuses 14:00, and no other then
    judge_gap(state, NOW + 150 * MINUTE, NOW + 185 * MINUTE - 10 * SECOND)
    judge_gap(state, NOW + 185 * MINUTE + 10 * SECOND, NOW + 210 * MINUTE)  # 15:00 lies in both

    hear(state, ping("success", NOW + 250 * MINUTE))  # 16:00 was missed

    assert state.events[-1].missed_count == 2


def test_a_ping_in_the_minute_after_a_gap_may_be_for_what_fell_into_it() -> None:
    state = an_up(interval_seconds=30, grace_seconds=0, expects="complete", max_run_seconds=3600)
    hear(state, ping("start", NOW + 1))
    judge_gap(state, NOW + 100 * SECOND, NOW + 130 * SECOND)

    hear(state, ping("success", NOW + 140 * SECOND))

    assert state.monitor.expected_at == NOW + 120 * SECOND + 1


@pytest.mark.parametrize(
    "back, expected_at",
    [
        (3 * HOUR - 1, NOW + 150 * MINUTE),
        (3 * HOUR, NOW + 150 * MINUTE),
        (DAY, NOW + 150 * MINUTE - DAY),
        (21 * HOUR + 28 * MINUTE, NOW + 150 * MINUTE),  # a minute before it: early for that one
    ],
)
def test_a_clock_that_goes_back_leaves_cron_at_most_what_a_sign_of_life_now_would_make_it(
    back: int, expected_at: int
) -> None:
    state = an_up(cron=DAILY)

    turn_back(state, NOW, NOW - back)

    assert state.monitor.expected_at == expected_at


@pytest.mark.parametrize("back, expected_at", [(3 * HOUR - 1, NOW), (3 * HOUR, NOW - 3 * HOUR)])
def test_a_clock_that_goes_back_a_little_leaves_a_cron_schedule_where_it_is(
    back: int, expected_at: int
) -> None:
    state = a_life(ping("ok", NOW - MINUTE), cron=HOURLY, grace_seconds=0)

    turn_back(state, NOW - MINUTE, NOW - MINUTE - back)

    assert state.monitor.expected_at == expected_at


def test_a_clock_that_goes_back_settles_nothing() -> None:
    state = an_up()

    turn_back(state, DEADLINE + DAY, NOW + 10 * MINUTE)

    assert told(state) == []


def test_what_was_missed_before_a_clock_went_back_stays_counted() -> None:
    state = a_missed()

    turn_back(state, NOW + 250 * MINUTE, NOW - DAY)
    hear(state, ping("success", NOW - DAY + MINUTE))

    assert [event.missed_count for event in state.events] == [4]


def test_a_clock_that_goes_back_leaves_no_instant_of_a_monitor_and_its_runs_behind_now() -> None:
    state = a_life(ping("start", series="a"), ping("fail", NOW + 1, series="a"), ping("start"))
    state.monitor.created_at = NOW

    turn_back(state, NOW + MINUTE, NOW - DAY)

    m = state.monitor
    instants = [m.created_at, m.life_at, m.down_since, m.reminded_at]
    instants += [at for run in state.runs for at in (run.started_at, run.ended_at) if at]
    assert set(instants) == {NOW - DAY}


@pytest.mark.parametrize(
    "fields, deadline_at",
    [
        ({"max_run_seconds": 600}, 10 * MINUTE),
        ({"interval_seconds": None}, None),
        ({}, 65 * MINUTE),
    ],
)
def test_a_clock_that_goes_back_puts_no_run_off(
    fields: dict[str, Any], deadline_at: int | None
) -> None:
    state = a_life(*seen_to_end(), ping("start"), **fields)

    turn_back(state, NOW, NOW - DAY)

    assert due_at(state, NOW - DAY) == (deadline_at and NOW - DAY + deadline_at + 1)


def test_a_clock_that_goes_back_puts_no_deadline_off_that_an_edit_left_behind() -> None:
    state = a_life(*seen_to_end(), ping("start"))
    edit(state, NOW + 1, {"interval_seconds": 86_400})

    turn_back(state, NOW + 1, NOW - 30 * DAY)
    settle(state, NOW - 28 * DAY)

    assert [kind for kind, _ in told(state)] == ["stuck"]


def test_a_pause_keeps_its_end_where_a_clock_goes_back() -> None:
    state = a_paused(an_up(), NOW + DAY)

    turn_back(state, NOW + 1, NOW - DAY)

    assert due_at(state, NOW - DAY) == NOW + DAY


def test_a_gap_that_a_clock_had_leapt_over_ends_now_where_it_goes_back() -> None:
    state = an_up(interval_seconds=None, max_run_seconds=10)
    judge_gap(state, NOW, NOW + 400 * DAY)
    turn_back(state, NOW + 400 * DAY, NOW + MINUTE)

    hear(state, ping("start", NOW + 3 * MINUTE))
    settle(state, NOW + HOUR)

    assert told(state) == [("stuck", NOW + 3 * MINUTE + 10 * SECOND)]


@pytest.mark.parametrize(
    "schedule, expected_at", [({}, NOW - 9 * HOUR), ({"cron": HOURLY}, NOW - 9 * HOUR)]
)
def test_after_a_clock_that_went_backwards_deadlines_are_counted_from_now(
    schedule: dict[str, Any], expected_at: int
) -> None:
    state = an_up(**schedule)

    turn_back(state, NOW, NOW - 10 * HOUR)

    assert state.monitor.expected_at == expected_at


def test_a_deadline_that_is_nearer_stays_where_it_is() -> None:
    state = an_up()

    turn_back(state, NOW, NOW - 1)

    assert due_at(state, NOW - 1) == DEADLINE


def test_after_a_clock_that_went_backwards_a_ping_moves_the_schedule() -> None:
    state = an_up()
    turn_back(state, NOW, NOW - DAY)

    hear(state, ping("success", NOW - DAY + 30 * MINUTE))

    assert state.monitor.expected_at == NOW - DAY + 90 * MINUTE


def test_after_a_clock_that_went_backwards_a_run_is_stuck_by_the_occurrence_after_its_own() -> (
    None
):
    state = a_life(*seen_to_end(), ping("start"), cron=HOURLY)
    turn_back(state, NOW + MINUTE, NOW - 2 * HOUR)  # which leaves the schedule at 13:00
    hear(state, ping("success", NOW - 119 * MINUTE), ping("start", NOW - 110 * MINUTE))

    settle(state, NOW)

    assert told(state) == [("stuck", NOW - 55 * MINUTE)]  # the grace of 11:00


def test_after_a_clock_that_went_backwards_a_run_from_after_an_edit_counts_as_before() -> None:
    state = an_up(cron=HOURLY)
    edit(state, NOW + 50 * MINUTE, {"expects": "complete"})
    hear(state, ping("start", NOW + 58 * MINUTE))  # early, for 13:00
    turn_back(state, NOW + 59 * MINUTE, NOW + 30 * MINUTE)

    hear(state, ping("success", NOW + 31 * MINUTE))

    assert state.monitor.expected_at == NOW + 2 * HOUR


def test_after_a_clock_that_went_backwards_an_edited_grace_holds_nothing_back() -> None:
    state = an_up()
    edit(state, NOW + 62 * MINUTE, {"grace_seconds": 60})

    turn_back(state, NOW, NOW - DAY)

    assert due_at(state, NOW - DAY) == NOW - DAY + 61 * MINUTE + 1


def test_after_a_clock_that_went_backwards_reminders_and_digests_are_counted_from_now() -> None:
    state = hear(a_failed(reminder_interval_seconds=90), ping("fail", NOW + SECOND))
    turn_back(state, NOW, NOW - DAY)

    settle(state, NOW - DAY + 90 * SECOND)

    assert told(state) == [("failed", NOW - DAY + MINUTE), ("reminder", NOW - DAY + 90 * SECOND)]


def test_a_clock_that_went_backwards_leaves_a_monitor_that_expects_nothing() -> None:
    state = a_life()

    turn_back(state, NOW, NOW - DAY)

    assert due_at(state, NOW - DAY) is None


# -- One column


@pytest.mark.parametrize(
    "state, due",
    [
        (an_up(), DEADLINE + 1),
        (a_life(ping("start"), max_run_seconds=600), NOW + 10 * MINUTE + 1),
        (a_failed(reminder_interval_seconds=86_400), NOW + DAY),
        (hear(a_failed(), ping("fail", NOW)), NOW + MINUTE),
        (a_paused(an_up()), NOW + DAY),
    ],
    ids=["missed", "stuck", "reminder", "digest", "end of pause"],
)
def test_due_at_is_the_next_instant_at_which_anything_changes_by_itself(
    state: MonitorState, due: int
) -> None:
    before = copy.deepcopy(state)

    settle(state, due - 1)
    unchanged = state == before
    settle(state, due)

    assert due_at(before, NOW) == due
    assert unchanged
    assert state.events or state.flips


@pytest.mark.parametrize(
    "state",
    [
        a_life(),
        an_up(interval_seconds=None),
        a_failed(),
        a_paused(a_failed(reminder_interval_seconds=60), None),
        a_life(ping("start"), interval_seconds=None),
        a_life(ping("progress"), max_run_seconds=60),
    ],
    ids=["new", "no schedule", "down", "paused", "not awaited", "progress"],
)
def test_due_at_is_null_where_nothing_can_change(state: MonitorState) -> None:
    assert due_at(state, NOW) is None


def test_due_at_is_the_earliest_of_several() -> None:
    state = hear(
        a_failed(reminder_interval_seconds=90, max_run_seconds=75),
        ping("start", NOW, series="a"),
        ping("fail", NOW),
    )

    dues = [due_at(state, NOW)]
    for _ in range(2):
        settle(state, dues[-1] or 0)
        dues.append(due_at(state, dues[-1] or 0))

    assert dues == [NOW + 60 * SECOND, NOW + 75 * SECOND + 1, NOW + 90 * SECOND]


# -- Whenever the scanner happens to look

STEPS: dict[str, Callable[[MonitorState, int, Any], object]] = {
    "ping": lambda state, now, one: receive(state, one._replace(at=now)),
    "pause": lambda state, now, wait: pause(state, now, wait and now + wait),
    "resume": lambda state, now, to_new: resume(state, now, to_new=to_new),
    "edit": edit,
    "away": lambda state, now, wait: judge_gap(state, now - wait, now),
}
WAITS = st.sampled_from([0, 1, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 65 * MINUTE, DAY])
SERIES = st.sampled_from([None, None, "a", "b"])
PINGS = st.builds(
    Ping,
    kind=st.sampled_from(["start", "success", "fail", "ok", "progress", "log"]),
    at=st.just(0),
    num=st.integers(1, 10**6),
    series=SERIES,
    host=SERIES,
    duration_ms=st.none() | WAITS,
    metrics=st.sampled_from([None, '{"rows": 1}']),
)
SCHEDULES = st.one_of(
    st.sampled_from([60, 1800, 3600, 86_400, None]).map(
        lambda seconds: {"interval_seconds": seconds, "cron": None}
    ),
    st.sampled_from([HOURLY, "30 */6 * * *", "0 12 * * *"]).map(
        lambda cron: {"interval_seconds": None, "cron": cron}
    ),
)
FIELDS = {
    "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "grace_seconds": st.sampled_from([0, 60, 300, 7200]),
    "expects": st.sampled_from(["run", "complete"]),
    "max_run_seconds": st.sampled_from([None, 30, 600, 7200]),
    "failure_tolerance": st.integers(0, 2),
    "reminder_interval_seconds": st.sampled_from([None, 60, 3600]),
    "rules": st.sampled_from([None, rules("rows lt 10")]),
}
EDITS = SCHEDULES | st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: FIELDS[name].map(lambda value: {name: value})
)
STORIES = st.lists(
    st.tuples(
        WAITS | st.integers(0, 3 * HOUR),
        st.one_of(
            PINGS.map(lambda one: ("ping", one)),
            PINGS.map(lambda one: ("ping", one)),
            PINGS.map(lambda one: ("ping", one)),
            (st.none() | WAITS).map(lambda wait: ("pause", wait)),
            st.booleans().map(lambda to_new: ("resume", to_new)),
            EDITS.map(lambda changes: ("edit", changes)),
            WAITS.map(lambda wait: ("away", wait)),
        ),
    ),
    max_size=25,
)
MONITORS = st.builds(
    lambda schedule, fields: {**schedule, **fields}, SCHEDULES, st.fixed_dictionaries(FIELDS)
)
searched = bounded(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def live_through(state: MonitorState, story: list[Any], looks: list[int]) -> int:
    """Let a story happen, with extra looks that many ms after each step; when it ends."""
    now = NOW
    for wait, (what, value) in [*story, (3 * DAY, ("ping", Ping("log", 0)))]:
        for look in sorted(looks):
            settle(state, now + min(look, wait))
        now += wait + (value if what == "away" else 0)
        STEPS[what](state, now, value)
    return now


@searched
@given(MONITORS, STORIES, st.lists(WAITS | st.integers(0, 2 * DAY), max_size=5))
def test_what_is_told_never_depends_on_when_the_scanner_happened_to_look(
    fields: dict[str, Any], story: list[Any], looks: list[int]
) -> None:
    seldom, often = (MonitorState(a_monitor(**fields), []) for _ in range(2))

    live_through(seldom, story, [])
    live_through(often, story, looks)

    for state in (seldom, often):  # of several reminders due at one look, the last is told
        state.events = [event for event in state.events if event.kind != "reminder"]
        state.monitor.reminded_at = None
    assert often == seldom


@searched
@given(MONITORS, STORIES)
def test_after_settling_nothing_is_due(fields: dict[str, Any], story: list[Any]) -> None:
    state, now = MonitorState(a_monitor(**fields), []), NOW

    for wait, step in story:
        now = live_through_step(state, now, wait, step)
        settle(state, now)
        due = due_at(state, now)

        assert due is None or due > now


@searched
@given(MONITORS, STORIES)
def test_expected_at_moves_back_only_by_an_edit_and_the_end_of_a_pause(
    fields: dict[str, Any], story: list[Any]
) -> None:
    state, now = MonitorState(a_monitor(**fields), []), NOW

    for wait, step in story:
        before, was_paused = state.monitor.expected_at, state.monitor.status == "paused"
        now = live_through_step(state, now, wait, step)
        after = state.monitor.expected_at

        is_paused = state.monitor.status == "paused"
        if before is not None and not was_paused and not is_paused and step[0] != "edit":
            assert after is not None
            assert after >= before


def live_through_step(state: MonitorState, now: int, wait: int, step: Any) -> int:
    now += wait + (step[1] if step[0] == "away" else 0)
    STEPS[step[0]](state, now, step[1])
    return now


# -- Limits and retries (parts 4 and 6)


def limited(*pings: Ping) -> MonitorState:
    """A monitor with a minimum interval of a minute, whose first ping was let through at NOW."""
    state = a_life(interval_seconds=None, min_ping_interval_seconds=60)
    for one in (ping("success", series="first"), *pings):
        assert is_too_soon(state, one) is None
        receive(state, one)
    return state


@pytest.mark.parametrize("kind", ["start", "success", "fail"])
@pytest.mark.parametrize(
    "after, wait", [(0, 60), (1, 60), (SECOND, 59), (MINUTE - 1, 1), (MINUTE, None), (HOUR, None)]
)
def test_a_ping_within_the_minimum_interval_has_to_wait_for_the_rest_of_it(
    kind: str, after: int, wait: int | None
) -> None:
    state = limited()

    assert is_too_soon(state, ping(kind, NOW + after)) == wait


def test_a_refused_ping_does_not_make_the_next_one_wait_longer() -> None:
    state = limited()

    waits = [is_too_soon(state, ping("start", NOW + at * SECOND)) for at in (50, 60, 61)]

    assert waits == [10, None, 59]


def test_without_a_minimum_interval_no_ping_has_to_wait() -> None:
    state = an_up()

    assert is_too_soon(state, ping("success", NOW)) is None


@pytest.mark.parametrize("kind", ["ok", "progress", "log"])
def test_other_pings_never_have_to_wait(kind: str) -> None:
    assert is_too_soon(limited(), ping(kind, NOW + 1)) is None


@pytest.mark.parametrize("kind", ["success", "fail"])
@pytest.mark.parametrize("series", [None, "a"])
def test_the_ping_that_ends_a_run_never_has_to_wait(kind: str, series: str | None) -> None:
    state = limited(ping("start", NOW + MINUTE, series=series))

    assert is_too_soon(state, ping(kind, NOW + MINUTE + 1, series=series)) is None


def test_a_start_has_to_wait_while_another_run_is_open() -> None:
    state = limited(ping("start", NOW + MINUTE))

    assert is_too_soon(state, ping("start", NOW + MINUTE + 20 * SECOND)) == 40


def test_a_retry_never_has_to_wait() -> None:
    state = limited()

    assert is_too_soon(state, ping("success", NOW + SECOND, series="first")) is None


def test_tries_are_spaced_ever_wider_then_hourly_for_a_day_then_the_alert_is_dead() -> None:
    waits = [retry_ms(tries) for tries in range(1, 31)]

    assert waits[:5] == [10 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR]
    assert waits[5:] == [HOUR] * 24 + [None]


# the first occurrence from an instant on


@pytest.mark.parametrize(
    "fields, minutes, first",
    [
        ({"interval_seconds": 3600}, 0, 0),
        ({"interval_seconds": 3600}, -30, 0),
        ({"interval_seconds": 3600}, 1, 60),
        ({"interval_seconds": 3600}, 60, 60),
        ({"cron": "0 * * * *", "interval_seconds": None}, 60, 60),
        ({"cron": "0 * * * *", "interval_seconds": None}, 61, 120),
    ],
)
def test_the_first_occurrence_from_an_instant_on_may_be_the_one_that_is_expected(
    fields: dict[str, Any], minutes: int, first: int
) -> None:
    monitor = a_monitor(**fields)

    occurrence = occurrence_from(monitor, NOW, NOW + minutes * 60_000)

    assert occurrence == NOW + first * 60_000

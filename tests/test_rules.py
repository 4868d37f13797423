"""When a monitor is in trouble: schedules, deadlines, runs, failures, pauses, absences.

Most of it is in stories/, whose README.md says how they are written; here is what plays them, and
what has no story."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cronwatch import (
    Invalid,
    Monitor,
    MonitorState,
    Ping,
    Run,
    alert_wait_ms,
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
    settle,
    turn_back,
)

FOLDER = Path(__file__).parent / "stories"
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NOW = 1_762_344_000_000  # 2025-11-05 12:00 UTC, a Wednesday
HOURLY = "0 * * * *"
NUMS = itertools.count(1)


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


@pytest.fixture(autouse=True)
def _no_endless_circle() -> Iterator[None]:
    """A rule that turns in a circle for ever fails its test instead of holding up the suite."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


# -- Stories

CLOCK = re.compile(r"(?:(-?\d+)d)?(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{3}))?)?")
SPAN = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
UNITS = (DAY, HOUR, MINUTE, SECOND, 1)
SECONDS = {
    "every": "interval_seconds",
    "grace": "grace_seconds",
    "max": "max_run_seconds",
    "remind": "reminder_interval_seconds",
    "min": "min_ping_interval_seconds",
}
CRONS = {"hourly": HOURLY, "daily": "30 14 * * *"}


def instant(text: str) -> int:
    """Milliseconds since noon, from such as 13:05, 1d13:05, -1h30m or 65m+."""
    more = {"+": 1, "-": -1}.get(text[-1], 0)
    plain = text[:-1] if more else text
    if clock := CLOCK.fullmatch(plain):
        days, hours, minutes, seconds, ms = (int(part or 0) for part in clock.groups())
        counts = [days, hours - 12, minutes, seconds, ms]
    else:
        span = SPAN.fullmatch("0s" if plain == "0" else plain)
        assert span, text
        counts = [int(f"{span[1]}{part or 0}") for part in span.groups()[1:]]
    return sum(count * unit for count, unit in zip(counts, UNITS, strict=True)) + more


def rules(*texts: str) -> str:
    """Rules as they are stored, from such as rows<10."""
    parts = [re.fullmatch(r"(\w+)([<>=!]+)(.*)", text) for text in texts]
    return json.dumps(
        check_rules([{"field": m[1], "operator": m[2], "value": float(m[3])} for m in parts if m])
    )


def column(word: str) -> tuple[str, Any]:
    """The name and the value of a column, from such as grace=5m."""
    name, _, text = word.partition("=")
    if name in SECONDS:
        return SECONDS[name], None if text == "none" else instant(text) // 1000
    if name == "cron":
        return name, None if text == "none" else CRONS.get(text, text.replace("_", " "))
    if name == "rules":
        return name, None if text == "none" else rules(text)
    name = {"zone": "timezone", "tolerance": "failure_tolerance"}.get(name, name)
    return name, int(text) if text.isdecimal() else text


def ping_field(word: str) -> tuple[str, Any]:
    """The name and the value of a field of a ping, from such as took=5m."""
    name, _, text = word.partition("=")
    if text == "none":
        return {"took": "duration_ms", "from": "address"}.get(name, name), None
    if name == "took":
        return "duration_ms", instant(text)
    if name in ("rows", "files"):
        return "metrics", json.dumps({name: int(text)})
    if name == "code":
        return "exit_code", int(text)
    return {"from": "address", "says": "message"}.get(name, name), text


class Story:
    """What happened to a monitor, step by step."""

    def __init__(self, words: list[str]) -> None:
        fields = dict(column(word) for word in words)
        alert = fields.pop("alert", 60)
        self.state = MonitorState(a_monitor(**fields), [], alert)
        self.run: Run | None = None
        self.marked: MonitorState | None = None
        self.is_named = False
        self.wait: int | None = None
        self.now = NOW

    def play(self, step: str) -> None:
        """Let something happen, from such as `fail 1m series=a`."""
        word, *words = step.split()
        at = words.pop(0) if words and "=" not in words[0] else "0"
        begin, _, end = at.partition("..")
        since, self.now = NOW + instant(begin), NOW + instant(end or begin)
        if word in PING_KINDS:
            fields = dict(ping_field(one) for one in words)
            self.run = receive(self.state, Ping(word, self.now, next(NUMS), **fields))
        elif word in STEPS:
            STEPS[word](self, since, words)
        for one in BEFORE.get(word, ()):
            self.play(f"{one} {' '.join(words)}" if one == "start" else one)
        if word in FORGOTTEN:
            self.state.flips, self.state.events = [], []


def pause_until(story: Story, since: int, words: list[str]) -> None:
    until = words[0].partition("=")[2] if words else "none"
    pause(story.state, since, None if until == "none" else NOW + instant(until))


def rest(story: Story, since: int, words: list[str]) -> None:
    pause(story.state, since, None)
    resume(story.state, since, to_new="new" in words)


def try_to_ping(story: Story, since: int, words: list[str]) -> None:
    kind, *fields = words
    ping = Ping(kind.partition("=")[2], since, next(NUMS), **dict(map(ping_field, fields)))
    story.wait = is_too_soon(story.state, ping)
    if story.wait is None:
        receive(story.state, ping)


def be_armed(story: Story, since: int, words: list[str]) -> None:
    story.state.monitor.armed = 1
    arm(story.state, since)


def be_seen_to_end(story: Story, since: int, words: list[str]) -> None:
    began = since - DAY if since == NOW else since
    receive(story.state, Ping("start", began, next(NUMS)))
    receive(story.state, Ping("success", began + SECOND, next(NUMS)))


def be_away(story: Story, since: int, words: list[str]) -> None:
    story.is_named = judge_gap(story.state, since, story.now)


def mark(story: Story, since: int, words: list[str]) -> None:
    story.marked = copy.deepcopy(story.state)


PING_KINDS = ("start", "success", "fail", "ok", "progress", "log")
STEPS: dict[str, Callable[[Story, int, list[str]], object]] = {
    "look": lambda story, at, words: settle(story.state, at),
    "pause": pause_until,
    "paused": lambda story, at, words: pause_until(story, at, words or ["until=1d"]),
    "resume": lambda story, at, words: resume(story.state, at, to_new="new" in words),
    "rest": rest,
    "edit": lambda story, at, words: edit(story.state, at, dict(map(column, words))),
    "away": be_away,
    "back": lambda story, at, words: turn_back(story.state, at, story.now),
    "armed": be_armed,
    "seen": be_seen_to_end,
    "mark": mark,
    "try": try_to_ping,
}
BEFORE = {
    "up": ["ok"],
    "failed": ["fail"],
    "missed": ["ok", "look 65m+"],
    "stuck": ["start", "look 10m+"],
}
FORGOTTEN = {"forget", "new", "up", "failed", "missed", "stuck", "paused"}


def ago(at: int | None) -> int | None:
    return None if at is None else at - NOW


def a_time(text: str) -> int | None:
    return None if text == "none" else instant(text)


def several(text: str) -> list[tuple[str, int, int | None]]:
    """Events or flips, from such as `missed 65m, failed 2h x3`."""
    if text == "nothing":
        return []
    parts = [part.split() for part in text.split(", ")]
    return [
        (part[0], instant(part[1]), int(part[2][1:]) if len(part) > 2 else None) for part in parts
    ]


def trouble(text: str) -> tuple[str, int]:
    reason, since = text.split()
    return reason, instant(since)


def last_event(story: Story) -> tuple[object, ...]:
    event = story.state.events[-1]
    places = {run.num: place for place, run in enumerate(story.state.runs, 1)}
    return event.reason, ago(event.down_since), places.get(event.run or 0), event.downtime_ms


def an_event(text: str) -> tuple[object, ...]:
    reason, since, run, downtime = text.split()
    return reason, instant(since), None if run == "none" else int(run), a_time(downtime)


def due_at(state: MonitorState, now: int) -> int | None:
    change = next_change(state, now)
    return change.at if change else None


CHECKS: dict[str, tuple[Callable[[Story], object], Callable[[str], object]]] = {
    "told": (lambda s: [(e.kind, e.at - NOW, e.count) for e in s.state.events], several),
    "flips": (lambda s: [(f.status, f.at - NOW, None) for f in s.state.flips], several),
    "status": (lambda s: s.state.monitor.status, str),
    "expected": (lambda s: ago(s.state.monitor.expected_at), a_time),
    "due": (lambda s: ago(due_at(s.state, s.now)), a_time),
    "ahead": (lambda s: (due_at(s.state, s.now) or 0) > s.now, lambda _: True),
    "failures": (lambda s: s.state.monitor.failures, int),
    "down": (lambda s: (s.state.monitor.down_reason, ago(s.state.monitor.down_since)), trouble),
    "runs": (lambda s: [run.state for run in s.state.runs], str.split),
    "run": (
        lambda s: None if s.run is None else 1 + s.state.runs.index(s.run),
        lambda text: None if text == "none" else int(text),
    ),
    "began": (lambda s: ago(s.state.runs[-1].started_at), a_time),
    "ended": (lambda s: ago(s.state.runs[-1].ended_at), a_time),
    "next": (lambda s: ago(s.state.runs[-1].next_at), a_time),
    "took": (lambda s: s.state.runs[-1].duration_ms, instant),
    "code": (lambda s: s.state.runs[-1].exit_code, int),
    "awaited": (lambda s: bool(s.state.runs[-1].awaited), lambda text: text == "yes"),
    "message": (lambda s: s.state.runs[-1].message, str),
    "last": (lambda s: s.state.runs[-1].state, str),
    "missed": (lambda s: s.state.events[-1].missed_count, int),
    "failed": (lambda s: s.state.events[-1].failed_count, int),
    "event": (last_event, an_event),
    "waits": (lambda s: s.wait, lambda text: None if text == "none" else int(text)),
    "named": (lambda s: s.is_named, lambda _: True),
    "unnamed": (lambda s: s.is_named, lambda _: False),
    "same": (lambda s: s.state == s.marked, lambda _: True),
}


def variants(line: str) -> list[str]:
    """The lines that a line with {a|b} in it stands for."""
    choice = re.search(r"\{([^{}]*)\}", line)
    if not choice:
        return [line]
    before, after = line[: choice.start()], line[choice.end() :]
    return [one for text in choice[1].split("|") for one in variants(before + text + after)]


def read_stories() -> Iterator[Any]:
    """The lines under each heading of the files in stories/."""
    for file in sorted(FOLDER.glob("*.txt")):
        for part in file.read_text("utf-8").split("\n## ")[1:]:
            title, *lines = [line.split("  # ")[0].strip() for line in part.splitlines()]
            cases = [one for line in lines if line for one in variants(line)]
            yield pytest.param(cases, id=f"{file.stem}: {title}")


STORIES = list(read_stories())


def differences(line: str) -> Iterator[str]:
    """What is not as a line says."""
    story, _, checks = line.partition(" => ")
    fields, _, steps = story.rpartition(": ")
    lived = Story(fields.split())
    for step in steps.split(", "):
        lived.play(step)
    for check in checks.split("; "):
        name, _, text = check.partition(" ")
        actual, read = CHECKS[name]
        if actual(lived) != read(text):
            yield f"{line}\n    {name}: {actual(lived)}, not {read(text)}"


@pytest.mark.parametrize("lines", STORIES)
def test_a_story_ends_as_it_says(lines: list[str]) -> None:
    wrong = [difference for line in lines for difference in differences(line)]

    assert wrong == [], "\n".join(wrong)


# -- What has no story


def ping(kind: str, at: int = NOW, **more: Any) -> Ping:
    return Ping(kind, at, next(NUMS), **more)


def lived(text: str, alert: int = 60) -> MonitorState:
    """The state after some steps of a story."""
    fields, _, steps = text.rpartition(": ")
    story = Story([f"alert={alert}", *fields.split()])
    for step in steps.split(", "):
        story.play(step)
    return story.state


@pytest.mark.parametrize(
    "alert, minutes",
    [
        (60, [1, 2, 4, 8, 16, 32, 60, 60]),
        (600, [10, 20, 40, 60, 60]),
        (1, [1 / 60, 2 / 60, 4 / 60, 8 / 60]),
    ],
)
def test_the_time_doubles_with_each_event_up_to_an_hour(alert: int, minutes: list[float]) -> None:
    state = lived("new", alert)

    for step in range(int(sum(minutes) * 120 / alert) + 1):
        receive(state, ping("fail", NOW + step * alert * 500))

    times = [event.at for event in state.events][: len(minutes) + 1]
    assert [later - at for at, later in itertools.pairwise(times)] == [
        round(each * MINUTE) for each in minutes
    ]


@pytest.mark.parametrize(
    "sign, name, holds",
    [
        ("<", "lt", (True, False, False)),
        ("<=", "le", (True, True, False)),
        (">", "gt", (False, False, True)),
        (">=", "ge", (False, True, True)),
        ("==", "eq", (False, True, False)),
        ("!=", "ne", (True, False, True)),
    ],
)
def test_a_rule_compares_a_field_with_a_value(
    sign: str, name: str, holds: tuple[bool, ...]
) -> None:
    states = [lived(f"rules=rows{sign}10: up, success 1ms rows={rows}") for rows in (9, 10, 11)]

    stored = json.loads(rules(f"rows{sign}10"))[0]["operator"]
    assert (stored, tuple(bool(state.events) for state in states)) == (name, holds)


RULE = {"field": "rows", "operator": "lt", "value": 1}
WRONG: dict[str, list[Any]] = {
    "at most 20": [[RULE] * 21],
    "list": [RULE, "rows lt 1", None],
    "field": [["rows lt 1"], [{"field": "rows", "operator": "lt"}], [{**RULE, "more": 1}]],
}
WRONG["field"] += [[{**RULE, "field": field}] for field in ("", "r" * 51, "a b", 7)]
NO_SIGNS: list[Any] = ["about", None, [], {}]
NO_NUMBERS: list[Any] = ["1", True, None, float("nan"), float("inf"), 2**53]
WRONG["operator"] = [[{**RULE, "operator": sign}] for sign in NO_SIGNS]
WRONG["value"] = [[{**RULE, "value": value}] for value in NO_NUMBERS]


@pytest.mark.parametrize(
    "sentence, wrong", [(sentence, one) for sentence, several in WRONG.items() for one in several]
)
def test_a_wrong_rule_is_refused_with_the_reason(sentence: str, wrong: Any) -> None:
    with pytest.raises(Invalid, match=sentence):
        check_rules(wrong)


def test_a_rule_may_be_stored_by_the_name_of_its_operator() -> None:
    assert check_rules([RULE] * 20) == [RULE] * 20
    assert check_rules([]) == []


def test_one_event_for_a_run_lists_all_rules_that_matched() -> None:
    state = lived("up")
    state.monitor.rules = rules("rows<10", "rows>10", "exit_code!=0", "other==1")

    receive(state, ping("success", NOW + 1, metrics='{"rows": 1}', exit_code=3))

    assert [event.rules for event in state.events] == [
        [
            {"field": "rows", "operator": "lt", "value": 10},
            {"field": "exit_code", "operator": "ne", "value": 0},
        ]
    ]


def test_a_clock_that_goes_back_leaves_no_instant_of_a_monitor_and_its_runs_behind_now() -> None:
    state = lived("start series=a, fail 1ms series=a, start")
    state.monitor.created_at = NOW

    turn_back(state, NOW + MINUTE, NOW - DAY)

    m = state.monitor
    instants = [m.created_at, m.life_at, m.down_since, m.reminded_at]
    instants += [at for run in state.runs for at in (run.started_at, run.ended_at) if at]
    assert set(instants) == {NOW - DAY}


@pytest.mark.parametrize(
    "fields, minutes, first",
    [
        *(({}, minutes, first) for minutes, first in ((0, 0), (-30, 0), (1, 60), (60, 60))),
        ({"cron": HOURLY}, 60, 60),
        ({"cron": HOURLY}, 61, 120),
    ],
)
def test_the_first_occurrence_from_an_instant_on_may_be_the_one_that_is_expected(
    fields: dict[str, Any], minutes: int, first: int
) -> None:
    monitor = a_monitor(**fields)

    occurrence = occurrence_from(monitor, NOW, NOW + minutes * 60_000)

    assert occurrence == NOW + first * 60_000


def test_tries_are_spaced_ever_wider_then_hourly_for_a_day_then_the_alert_is_dead() -> None:
    waits = [alert_wait_ms(tries) for tries in range(1, 31)]

    assert waits[:5] == [10 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR]
    assert waits[5:] == [HOUR] * 24 + [None]

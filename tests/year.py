"""A year of many monitors, made up from a seed, lived through by a server, and compared.

An author writes the story of each monitor beside its oracle, and so knows the instants at which
something hangs in the balance: what happens to it is put there on purpose.
"""

from __future__ import annotations

import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from oracle import (
    BEGIN,
    DAY,
    HOUR,
    KEEP,
    MINUTE,
    SECOND,
    Action,
    Life,
    Rule,
    Terms,
    Told,
    calendar,
    iso,
)

WEEK = 7 * DAY
UNITS = {"": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}

RULES: tuple[tuple[Rule, ...], ...] = (
    (("rows", "lt", 10),),
    (("duration_seconds", "gt", 600), ("rows", "eq", 0)),
    (("exit_code", "ne", 0), ("rows", "ge", 100), ("duration_seconds", "le", 2)),
)
CLOCK_CHANGES = tuple(
    int(datetime(2026, *when, tzinfo=UTC).timestamp()) * 1000
    for when in ((3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1))
)


@cache
def spans(text: str) -> tuple[int, ...]:
    """Durations in ms, from such as `0 10s 1h+`: a sign is a millisecond more, or less."""
    parts = (re.fullmatch(r"(-?[0-9]+)([smhd]?)([+-]?)", word) for word in text.split())
    more = {"": 0, "+": 1, "-": -1}
    return tuple(int(part[1]) * UNITS[part[2]] + more[part[3]] for part in parts if part)


def read_schedule(line: str) -> dict[str, Any]:
    """A line of year.txt as fields of `Terms`."""
    if " | " in line:
        return dict(zip(("cron", "timezone"), line.split(" | "), strict=True))
    return {} if line == "none" else {"interval_seconds": int(line)}


def read_lines(heading: str) -> list[str]:
    """The lines under a heading of year.txt."""
    _, part = Path(__file__).with_suffix(".txt").read_text("utf-8").split(f"## {heading}\n")
    return part.partition("\n\n")[0].splitlines()


SCHEDULES = [read_schedule(line) for line in read_lines("Schedules")]
EPISODES = dict(line.split() for line in read_lines("Episodes"))
CHANGES_OF_MIND = read_lines("Changes of mind")


@cache
def _cron_period(cron: str, zone: str) -> int:
    first = at = calendar(cron, zone).after(BEGIN)
    for _ in range(8):
        at = calendar(cron, zone).after(at)
    return (at - first) // 8


def period_of(schedule: Mapping[str, Any]) -> int:
    """About how often a job comes round."""
    if schedule.get("cron"):
        return _cron_period(schedule["cron"], schedule["timezone"])
    return SECOND * int(schedule.get("interval_seconds", 86_400))


class Absence(NamedTuple):
    """No ping arrived between these instants, or so it is judged: a server that dies may have
    answered for some time since its last stamp."""

    since: int
    until: int
    answered: int


NEVER = Absence(2**62, 2**62, 0)


class Story(NamedTuple):
    """A monitor's life as it was written, with the oracle that was told it."""

    name: str
    terms: Terms
    created: int
    steps: list[Absence | Action]  # as it lived through them: a clock may go back
    life: Life
    named: set[int]  # the ends of absences whose outage names it
    gaps_before: list[tuple[int, int]]  # it was made

    @property
    def actions(self) -> list[Action]:
        return [step for step in self.steps if isinstance(step, Action)]


class Plan(NamedTuple):
    """All that happens to a server."""

    seed: int
    end: int
    absences: list[Absence]
    looks: list[int]
    stories: list[Story]

    @property
    def outages(self) -> dict[int, set[str]]:
        """Whom the outage at the end of each absence names."""
        outages: dict[int, set[str]] = {}
        for story in self.stories:
            for until in story.named:
                outages.setdefault(until, set()).add(story.name)
        return outages


# == Planning =================================================================


def make_plan(
    seed: int, begin: int, end: int, monitors: int, actions: int, turns: bool = True
) -> Plan:
    """A plan with so many monitors, and so many actions of each at the most; with `turns` each has
    a clock of its own that goes back now and then."""
    rng = random.Random(seed)
    absences = plan_absences(rng, begin, end)
    looks = plan_looks(rng, begin, end, absences)
    plan = Plan(seed, end, absences, looks, [])
    for number in range(monitors):
        author = Author(random.Random(rng.random()), number, begin, plan, actions, turns)
        plan.stories.append(author.story())
    return plan


def plan_absences(rng: random.Random, begin: int, end: int) -> list[Absence]:
    """Restarts, minutes, hours and days, over clock changes too, often from or to a round instant;
    some of them night after night, or one right after the other."""
    short, long = spans("5s 20s 1m 90s"), spans("5m 12m 40m 1h 3h 11h 1d 55h 5d")
    starts = [
        rng.randrange(begin + DAY, end - 7 * DAY) for _ in range(3 + (end - begin) // (9 * DAY))
    ]
    starts += [
        at + rng.randrange(-3, 6) * HOUR
        for at in CLOCK_CHANGES
        if begin < at < end - DAY and rng.random() < 0.5
    ]
    planned: list[tuple[int, int]] = []
    for at in starts:
        since = at - at % rng.choice(spans("1 1s 1m 5m 1h"))
        length = rng.choice(short + long) + rng.choice((0, 0, 1, -1, rng.randrange(MINUTE)))
        planned.append((since, since + length))
        if rng.random() < 0.2:
            again = since + length + rng.choice(spans("1 10s 1m 1m+ 5m"))
            planned.append((again, again + rng.choice(short)))
        if length < HOUR and rng.random() < 0.4:
            nights = range(1, rng.randrange(2, 9))
            planned += [(since + n * DAY, since + n * DAY + length) for n in nights]
    absences: list[Absence] = []
    for since, until in sorted(planned):
        if (not absences or since > absences[-1].until) and until < end:
            answered = min(rng.choice(spans("0 25s")), until - since)
            absences.append(Absence(since, until, answered))
    return absences


def plan_looks(rng: random.Random, begin: int, end: int, absences: list[Absence]) -> list[int]:
    """Seconds apart, or hours; none while we are away."""
    looks, at = [], begin
    away = iter([*absences, NEVER])
    gap = next(away)
    while at < end:
        shorts = (rng.randrange(1, 10 * SECOND), 5 * SECOND, HOUR - at % HOUR)
        longs = (rng.randrange(MINUTE, 30 * MINUTE), rng.randrange(HOUR, 4 * HOUR))
        at += rng.choice(shorts + longs)
        while at >= gap.until:
            gap = next(away)
        if at <= min(gap.since + gap.answered // 2, end):
            looks.append(at)
    return looks


class Over(Exception):
    """The story is told."""


class Author:
    """Writes the story of one monitor."""

    def __init__(
        self, rng: random.Random, number: int, begin: int, plan: Plan, most: int, turns: bool
    ) -> None:
        self.rng, self.number, self.most, self.turns = rng, number, most, turns
        self.end = plan.end
        schedule = SCHEDULES[number % len(SCHEDULES)]
        self.period = period_of(schedule)
        self.created = self.now = self.begin_at(begin, plan.absences)
        self.absences = [gap for gap in plan.absences if gap.since > self.now]
        self.before = [(gap.since, gap.until) for gap in plan.absences if gap.until <= self.now]
        self.life = Life(self.make_terms(schedule), self.now, plan.looks, gaps=[*self.before])
        self.style = rng.choice(("bare", "start", "start", "series", "constant", "mixed", "mixed"))
        self.steps: list[Absence | Action] = []
        self.named: set[int] = set()
        self.done = self.serial = 0

    def begin_at(self, begin: int, absences: Sequence[Absence]) -> int:
        """When it is made: a short life often before a clock change; never while we are away."""
        span = min(self.end - begin, self.most * self.period // 2)
        at = begin + self.rng.randrange(1 + (self.end - begin - span) // HOUR) * HOUR
        near = [change for change in CLOCK_CHANGES if begin + 2 * DAY < change < self.end - DAY]
        if span < 20 * DAY and near and self.may(0.6):
            at = max(begin, self.rng.choice(near) - self.rng.randrange(span + 1))
        return max([at, *(gap.until + 1 for gap in absences if gap.since <= at < gap.until)])

    def make_terms(self, schedule: Mapping[str, Any]) -> Terms:
        rng = self.rng
        graces = [grace for grace in spans("0 1m 5m 10m 1h 2h 1d") if grace <= 2 * self.period]
        return Terms(
            **schedule,
            grace_seconds=rng.choice(graces) // SECOND,
            expects=rng.choice(("run", "complete")),
            max_run_seconds=rng.choice((None, None, None, 60, 1800, 7200)),
            tolerance=rng.choice((0, 0, 0, 1, 2, 3)),
            reminder_seconds=rng.choice((None, None, 3600, 7200, 21_600, 86_400, 90_061)),
            armed=self.may(0.3),
            rules=rng.choice((*RULES, (), (), ())),
        )

    # -- what is written down

    def pass_to(self, at: int) -> None:
        """Time goes by."""
        while self.absences and self.absences[0].until <= at:
            gap = self.absences.pop(0)
            self.steps.append(gap)
            if self.life.away(gap.since, gap.until):
                self.named.add(gap.until)
        self.now = max(self.now, at)

    def do(self, word: str, at: int | None = None, **more: Any) -> None:
        """Something is done, not before now; it is lost while we are away."""
        at = max(self.now, self.now if at is None else at)
        if at > self.end or self.done >= self.most:
            raise Over
        self.pass_to(at)
        gap = self.absences[0] if self.absences else NEVER
        change = self.life.first_change()
        is_quiet = self.life.down is None and (change is None or change.order > gap.since)
        answered = gap.answered if is_quiet else 0  # or what it missed could be either
        if gap.since + answered < at:
            return
        act = Action(at, word, **more)
        self.life.do(act)
        self.steps.append(act)
        self.done += 1
        if act.back_to is not None:
            self.now = act.back_to

    def report(self, word: str, at: int | None = None, **mine: Any) -> None:
        """A ping by whom it is; a success says how it went."""
        self.do(word, at, **mine, **(self.result() if word == "success" else {}))

    def story(self) -> Story:
        """The whole life; a job that is over long before the year is laid to rest."""
        terms = self.life.terms
        weights = [*map(int, EPISODES.values())]
        with suppress(Over):
            while True:
                (episode,) = self.rng.choices([*EPISODES], weights)
                getattr(self, episode)()
        if self.now + 50 * self.period < self.end:
            self.most += 1
            with suppress(Over):
                self.do("pause")
        self.pass_to(self.end)
        self.life.settle(self.end)
        name = f"monitor {self.number}"
        return Story(name, terms, self.created, self.steps, self.life, self.named, self.before)

    # -- chance, and the parts of a ping

    def may(self, share: float) -> bool:
        return self.rng.random() < share

    def soon(self, text: str) -> int:
        """An instant after one of these durations from now."""
        return self.now + self.rng.choice(spans(text))

    def one_of(self, text: str) -> str:
        return self.rng.choice(text.split())

    def within(self, length: int) -> int:
        """An instant within such a time from now."""
        return self.now + self.rng.randrange(max(1, length))

    def series(self) -> str:
        self.serial += 1
        return f"s{self.serial}"

    def identity(self) -> dict[str, Any]:
        """By what a run is known: often by nothing."""
        if self.style == "constant":
            return {"series": "job", "host": None}
        with_series = self.style == "series" or (self.style == "mixed" and self.may(0.4))
        host = self.rng.choice((None, None, None, "a", "b")) if self.style == "mixed" else None
        return {"series": self.series() if with_series else None, "host": host}

    def result(self) -> dict[str, Any]:
        """What a success says of itself."""
        rng, said = self.rng, dict[str, Any]()
        if self.may(0.6):
            said["metrics"] = (("rows", rng.choice((0, 5, 10, 50, 99, 100, 500))),)
        if self.may(0.3):
            said["exit_code"] = rng.choice((0, 0, 0, 3))
        if self.may(0.3):
            long = (rng.randrange(1, 3 * self.period), 1000 * rng.randrange(1, 4000))
            said["duration"] = rng.choice(spans("0 1500 2s 10m 10m+") + long)
        return said

    def job_at(self) -> int:
        """When the job comes round next."""
        terms, rng = self.life.terms, self.rng
        if terms.cron:
            return calendar(terms.cron, terms.timezone).after(self.now)
        if terms.interval_seconds:
            every = terms.interval_seconds * SECOND
            expected = self.life.expected
            if expected is not None and expected > self.now:
                return expected - rng.choice((0, 0, 1000, min(every // 10, 120_000)))
            return self.now + every - rng.randrange(every // 10)
        return self.now + rng.randrange(HOUR, 3 * DAY)

    def run_ends(self) -> int:
        """When a run that starts now ends."""
        parts = (1 + self.rng.randrange(1 + self.period // part) for part in (10, 3))
        return self.now + self.rng.choice((*spans("0 1 1500 30s 10m"), *parts))

    # -- episodes

    def run(self, at: int | None = None) -> None:
        """The job runs, in its own style."""
        mine = self.identity()
        if self.style == "bare" or (self.style == "mixed" and self.may(0.4)):
            self.report("success", at, **mine)
            return
        self.do("start", at, **mine)
        if self.may(0.1):
            self.do("progress", self.now + 500, **mine)
        self.report("fail" if self.may(0.04) else "success", self.run_ends(), **mine)

    def ordinary(self) -> None:
        for _ in range(self.rng.randrange(1, 5)):
            self.run(self.job_at() + self.rng.choice(spans("0 1 300 2500 20s")))

    def late(self) -> None:
        grace, rng = self.life.terms.grace, self.rng
        odd = (rng.randrange(grace + 1), grace + rng.randrange(1, 1 + self.period))
        self.run(self.job_at() + rng.choice((grace, grace, grace + 1, grace - 1, *odd)))

    def early(self) -> None:
        job, terms = self.job_at(), self.life.terms
        if terms.cron or terms.interval_seconds:
            self.run(job - self.life.early(job) + self.rng.choice(spans("0 0 -1 1 1s 30s")))

    def absent(self) -> None:
        """Nothing is heard for some periods."""
        silent = self.rng.choice((1, 1, 2, 3, 7))
        if self.period <= HOUR and self.may(0.2):
            silent = self.rng.choice((30, 300))
        if self.period <= 5 * MINUTE and self.may(0.3):
            silent = 1100
        at = self.within(self.period) + silent * self.period
        if at > self.end:
            raise Over
        self.pass_to(at)
        seen = bisect_right(self.life.looks, at)
        if seen:
            self.life.settle(self.life.looks[seen - 1])

    def burst(self) -> None:
        gaps = "0 1 1s 9s 10s 10s+ 30s 1m 1m+ 2m 5m 20m 1h 2h"
        mine = self.identity()
        for _ in range(self.rng.randrange(1, 12)):
            if self.may(0.3):
                mine = self.identity()
            space = self.life.failures.until
            on_time = space is not None and space >= self.now and self.may(0.2)
            self.do("fail", space if on_time else self.soon(gaps), **mine)
        if self.may(0.6):
            self.report("success", self.soon(gaps), **self.identity())

    def hung(self) -> None:
        mine = self.identity()
        self.do("start", self.job_at(), **mine)
        if self.may(0.5):
            self.run(self.job_at())
        if self.may(0.4):
            self.do(self.one_of("success success fail"), self.within(3 * self.period), **mine)

    def overlapping(self) -> None:
        rng, all_mine = self.rng, []
        at = self.job_at()
        for _ in range(rng.randrange(2, 4)):
            mine = {
                "series": rng.choice((None, self.series())),
                "host": rng.choice((None, "a", "b")),
            }
            mine["address"] = self.one_of("192.0.2.1 192.0.2.2")
            self.do("start", at, **mine)
            all_mine.append(mine)
            at = self.now + rng.choice((*spans("0 9s 10s 10s+ 1m"), self.period // 8))
        rng.shuffle(all_mine)
        for mine in all_mine:
            if self.may(0.85):
                self.report(self.one_of("success success success fail"), self.run_ends(), **mine)

    def repeated(self) -> None:
        """A client that hears no answer says it again."""
        mine, how = {**self.identity(), "series": self.series()}, self.result()
        at = self.job_at()
        words = ("start", self.one_of("success fail"))
        for word in words if self.may(0.7) else words[1:]:
            self.do(word, at, **mine, **(how if word != "start" else {}))
            for _ in range(self.rng.randrange(3)):
                again = self.soon("0 1 5s 10s- 10s 10s+ 11s 5m")
                self.do(word, again, **mine, **(how if word != "start" else {}))
            at = self.run_ends()

    def paused(self) -> None:
        rng = self.rng
        hours = rng.choice((1, 1, 2, 5, 12, 24, 24, 100, None))
        self.do("pause", self.within(self.period), hours=hours)
        ends = self.now + (hours or rng.choice((1, 30))) * HOUR
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            word = self.one_of("start success fail fail ok progress edit pause")
            self.anything(word, min(self.within(HOUR), ends - 1))
        if self.life.pause is None:
            return
        ends = self.life.pause.until or self.now + rng.randrange(HOUR, 5 * DAY)
        if self.life.pause.until is None or self.may(0.3):
            at = rng.choice((self.within(ends - self.now), ends - 1, ends))
            self.do(self.one_of("resume renew"), at)
            for _ in range(rng.choice((0, 1, 2))):
                self.anything(self.one_of("fail fail start success"), self.soon("0 1 1m"))
            if self.may(0.3):
                self.absent()
        elif self.may(0.6):
            word = self.one_of("success fail start pause renew edit")
            self.anything(word, ends + rng.choice((-1, 0, 0, 1)))
        if self.may(0.1):
            self.do(self.one_of("resume renew"))  # of one that may not be paused

    def anything(self, word: str, at: int) -> None:
        if word == "edit":
            self.edited(at)
        elif word == "pause":
            self.do(word, at, hours=self.rng.choice((1, 3, 24)))
        elif word in ("ok", "log", "resume", "renew"):
            self.do(word, at)
        else:
            mine = self.identity()
            if word != "start" and self.life.open_runs and self.may(0.5):
                run = self.life.open_runs[-1]
                mine = {"series": run.series, "host": run.host}
            self.report(word, at, **mine)

    def edited(self, at: int | None = None) -> None:
        """A person changes what was agreed."""
        rng, terms = self.rng, self.life.terms
        like = [
            schedule
            for schedule in SCHEDULES
            if self.period // 4 <= period_of(schedule) <= self.period * 4
        ]
        nothing = {"cron": None, "interval_seconds": None, "timezone": "UTC"}
        zone = self.one_of("Europe/Berlin America/New_York Asia/Kathmandu UTC")
        has_hours = terms.cron and "*/" not in terms.cron
        grace = {"grace_seconds": rng.choice((0, 60, 300, 1200, 3600))}
        changes: list[dict[str, Any]] = [
            grace,
            grace,
            {"expects": rng.choice(("run", "complete"))},
            {**nothing, **rng.choice([*like, {}, SCHEDULES[self.number % len(SCHEDULES)]])},
            {"timezone": zone} if has_hours else grace,
            {"reminder_seconds": rng.choice((None, 7200, 86_400))},
            {"rules": rng.choice((*RULES, ()))},
            {"tolerance": rng.choice((0, 1, 2))},
            {"max_run_seconds": rng.choice((None, 600, 5400))},
        ]
        at = self.within(self.period) if at is None else at
        self.do("edit", at, terms=terms._replace(**rng.choice(changes)))

    def cut_short(self) -> None:
        """An edit of the grace lets the deadline fall into an absence, or just after it."""
        gap, expected = (self.absences or [NEVER])[0], self.life.expected or self.now
        deadline = self.rng.choice((gap.since, gap.until, gap.until + MINUTE))
        seconds = (deadline + self.rng.choice(spans("-1s 0 1s")) - expected) // SECOND
        if 0 <= seconds <= 86_400:
            self.do("edit", terms=self.life.terms._replace(grace_seconds=seconds))

    def stuck_over(self) -> None:
        """An edit of the longest time lets a run get stuck in a restart, or just after it."""
        restarts = (gap for gap in self.absences if gap.until - gap.since <= MINUTE)
        longest = self.rng.choice(spans("1m 10m 1h 3h 10h"))
        deadline = next(restarts, NEVER).until + self.rng.choice(spans("-1s 0 1s 30s 59s"))
        begin = deadline - longest
        if self.now <= begin <= self.now + 2 * self.period:
            terms = self.life.terms._replace(max_run_seconds=longest // SECOND)
            self.do("edit", terms=terms)
            self.do("start", begin, **self.identity())

    def word(self) -> None:
        self.anything(self.one_of("ok log progress"), self.within(self.period))

    def storm(self) -> None:
        """It fails for hours, until the time between two events is the longest there is."""
        for _ in range(self.rng.randrange(20, 60)):
            self.do("fail", self.soon("30s 5m 10m"))

    def changed_mind(self) -> None:
        """A run is told of by progress alone, or ends twice, and not the same way."""
        mine = {**self.identity(), "series": self.series()}
        for word in self.rng.choice(CHANGES_OF_MIND).split():
            self.report(word, self.soon("0 1s 10s 10s+ 5m 1h"), **mine)

    def without_series(self) -> None:
        """Progress alone opens a run that has no series."""
        mine = {"host": self.rng.choice((None, "a"))}
        self.do("progress", self.within(self.period), **mine)
        self.do(self.one_of("start success fail progress"), self.run_ends(), **mine)

    def renewed(self) -> None:
        """It fails before a pause and in it, and again when that was ended by hand."""
        for word in ("fail", "pause", "fail", self.one_of("resume renew"), "fail", "success"):
            is_ping = word in ("fail", "success")
            if not (is_ping and self.may(0.25)):
                self.do(word, self.soon("0 1 1m 1h"), **(self.identity() if is_ping else {}))

    def on_the_dot(self) -> None:
        """Where something is about to happen by itself: just before it, with it, just after."""
        change = self.life.first_change()
        if change is None or change.order > self.now + 4 * self.period:
            return
        words = "success success start fail ok edit edit pause progress"
        for _ in range(self.rng.choice((1, 1, 2))):
            self.anything(
                self.one_of(words), change.order + self.rng.choice((-2, -1, -1, 0, 0, 1))
            )
            if self.may(0.5):
                self.anything(self.one_of(words), self.now)

    def after_absence(self) -> None:
        """As soon as we are there again; or it runs while we are away."""
        if not self.absences or self.absences[0].since > self.now + 6 * self.period:
            return
        gap, mine = self.absences[0], self.identity()
        at = gap.since + self.rng.choice(spans("0 -1 -1m 10s 20s"))
        if self.may(0.6):
            self.do("start", at, **mine)
        if self.may(0.7):
            word = self.one_of("success success fail")
            self.report(word, gap.until + self.rng.choice(spans("0 0 1 1s 1m")), **mine)

    def loud(self) -> None:
        """Successes one after the other, whose figures are not as they should be."""
        if self.life.terms.rules:
            for _ in range(self.rng.randrange(2, 10)):
                rows = (("rows", self.rng.choice((0, 0, 0, 5, 500))),)
                how = {"metrics": rows, **self.result()}
                self.do("success", self.soon("0 1 20s 1m 2m 30m"), **how)

    def overtaken(self) -> None:
        """An end that overtakes its own start; a duration that reaches behind an older failure."""
        series = self.series()
        if self.may(0.5):
            self.do(self.one_of("success fail"), self.job_at(), series=series)
            self.do("start", self.soon("0 5 80 10s- 10s 10s+ 1m"), series=series)
            return
        self.do("fail", self.within(self.period), series=series)
        at = self.now + self.rng.choice((MINUTE, HOUR, self.period // 2))
        duration = at - self.now + self.rng.choice((1, HOUR))
        self.do("success", at, series=series, duration=duration)
        self.do("fail", self.soon("1 1m 1h"), series=series)

    def turned(self) -> None:
        """The clock goes back, often while something runs."""
        if not self.turns:
            return
        mine = self.identity()
        if self.may(0.5):
            self.do("start", self.job_at(), **mine)
        back = self.rng.choice(spans("1 1s 1m 10m 1h 3h- 3h 5h 1d 3d"))
        at = self.within(self.period)
        self.do("turn", at, back_to=max(at - back, self.created))
        if self.may(0.6):
            word = self.one_of("start success success fail ok")
            self.do(word, self.run_ends(), **(mine if word != "ok" else {}))


# == Living ===================================================================


class World(NamedTuple):
    """What became of the monitors of a plan, by their names."""

    told: dict[str, list[Told]]
    states: dict[str, tuple[str, int | None]]
    outages: dict[int, set[str]]


def age(run: Any) -> tuple[int, int]:
    """Which of two runs is the newer one."""
    return run.started_at, run.num


class Driver:
    """Leads one monitor through its story by the rules of a module, which may be a faulty one."""

    def __init__(self, rules: ModuleType, story: Story, looks: Sequence[int]) -> None:
        self.rules, self.story, self.looks, self.pings = rules, story, looks, 0
        columns = dict.fromkeys(column.name for column in fields(rules.Monitor))
        columns.update(NEW_MONITOR, created_at=story.created, **terms_columns(story.terms))
        absence = None
        for since, until in story.gaps_before:
            absence = rules.join_absences(absence, rules.Absence(since, until))
        self.state = rules.MonitorState(rules.Monitor(**columns), [], absence=absence)
        self.named: list[int] = []  # the ends of the absences whose outage names it
        self.now = story.created
        rules.arm(self.state, story.created)

    def live(self, end: int) -> None:
        """Everything up to the end."""
        for step in self.story.steps:
            if isinstance(step, Absence):
                self.look_until(step.until)
                self.prune(step.until)
                self.now = step.until
                if self.rules.judge_gap(self.state, step.since, step.until):
                    self.named.append(step.until)
            else:
                self.look_until(step.at)
                self.prune(step.at)
                self.now = step.at
                self.do(step)
        self.look_until(end)
        self.rules.settle(self.state, end)

    def look_until(self, at: int) -> None:
        """The looks of the scanner before an instant, at which something is due."""
        while (change := self.rules.next_change(self.state, self.now)) is not None:
            place = bisect_left(self.looks, max(change.at, self.now))
            if place == len(self.looks) or self.looks[place] >= at:
                return
            self.now = self.looks[place]
            self.rules.settle(self.state, self.now)

    def do(self, act: Action) -> None:
        rules, state, at = self.rules, self.state, act.at
        if act.back_to is not None:
            rules.settle(state, at)  # by the last look, which the clock lies behind
            self.turn_back(at, act.back_to)
        elif act.terms is not None:
            rules.edit(state, at, terms_columns(act.terms))
        elif act.word == "pause":
            rules.pause(state, at, None if act.hours is None else at + act.hours * HOUR)
        elif act.word in ("resume", "renew"):
            rules.resume(state, at, to_new=act.word == "renew")
        else:
            rules.receive(state, self.ping(act))

    def turn_back(self, before: int, now: int) -> None:
        """The rules see the open runs; the storage turns back those that no rule looks at."""
        runs = self.state.runs
        self.state.runs = [run for run in runs if run.state == "running"]
        self.rules.turn_back(self.state, before, now)
        for run in runs:
            if run.state != "running":
                run.next_at = None if run.started_at > now else run.next_at
                run.started_at = min(run.started_at, now)
                run.ended_at = run.ended_at and min(run.ended_at, now)
        self.state.runs = runs
        self.now = now

    def prune(self, now: int) -> None:
        """Forget the runs that the storage would delete by their age."""
        runs, before = self.state.runs, now - KEEP
        if all(run.started_at >= before for run in runs):
            return
        for run in runs:
            is_behind = any(
                newer.host == run.host and age(run) < age(newer) and newer.started_at < before
                for newer in runs
            )
            if run.state == "running" and is_behind and not run.awaited:
                run.state = "unknown"
        starts = sorted((run for run in runs if run.opened), key=age)[-3:]
        self.state.runs = [
            run
            for run in runs
            if run.started_at >= before or run.state == "running" or run in starts
        ]

    def ping(self, act: Action) -> Any:
        self.pings += 1
        return self.rules.Ping(
            act.word,
            act.at,
            num=self.pings,
            series=act.series,
            host=act.host,
            address=act.address,
            duration_ms=act.duration,
            exit_code=act.exit_code,
            metrics=json.dumps(dict(act.metrics)) if act.metrics else None,
        )

    def told(self) -> Iterator[Told]:
        for event in self.state.events:
            downtime = None if event.downtime_ms is None else event.downtime_ms // 1000
            counts = (event.count, event.failed_count, event.missed_count, downtime)
            yield Told(event.kind, event.at, event.reason, *counts, read_rules(event.rules))


def read_rules(rules: Sequence[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    """Rules as the oracle has them."""
    return tuple((rule["field"], rule["operator"], rule["value"]) for rule in rules or ())


NEW_MONITOR: dict[str, Any] = {"num": 1, "status": "new"}
NEW_MONITOR |= dict.fromkeys(("failures", "failed_count", "missed_count", "unverified"), 0)


def terms_columns(terms: Terms) -> dict[str, Any]:
    """What was agreed, as columns of a monitor."""
    columns = terms._asdict()
    columns["failure_tolerance"] = columns.pop("tolerance")
    columns["reminder_interval_seconds"] = columns.pop("reminder_seconds")
    rules = [dict(zip(("field", "operator", "value"), rule, strict=True)) for rule in terms.rules]
    return {**columns, "armed": int(terms.armed), "rules": json.dumps(rules) if rules else None}


def live(rules: ModuleType, plan: Plan) -> World:
    """Let all monitors of a plan live by the rules of a module."""
    world = World({}, {}, {})
    for story in plan.stories:
        driver = Driver(rules, story, plan.looks)
        driver.live(plan.end)
        monitor = driver.state.monitor
        world.told[story.name] = [*driver.told()]
        world.states[story.name] = monitor.status, monitor.expected_at
        for until in driver.named:
            world.outages.setdefault(until, set()).add(story.name)
    return world


# == Comparing ================================================================


def differences(plan: Plan, world: World) -> Iterator[str]:
    """One text for each monitor that was not as the oracle has it, and one for each outage."""
    for story in plan.stories:
        life, state = story.life, world.states[story.name]
        pairs = zip_longest(life.told, world.told.get(story.name, []))
        wrong = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if wrong:
            yield describe(plan, story, min(told.at for told in wrong if told), *wrong)
        elif state[0] != life.status or (state[0] in ("new", "up") and state[1] != life.expected):
            yield describe(plan, story, plan.end, (life.status, life.expected), state)
    for until in sorted({*plan.outages, *world.outages}):
        wanted, named = (outages.get(until, set()) for outages in (plan.outages, world.outages))
        if wanted != named:
            yield f"seed {plan.seed}, outage until {iso(until)}: {wanted ^ named} is named wrongly"


def describe(plan: Plan, story: Story, around: int, wanted: object, actual: object) -> str:
    """What differs, and what went on before it."""
    happened = [
        f"    {iso(step.until if isinstance(step, Absence) else step.at)}  {step}"
        for step in story.steps
        if (step.until if isinstance(step, Absence) else step.at) <= around + HOUR
    ]
    head = f"seed {plan.seed}, {story.name} at {iso(around)}: {actual} instead of {wanted}"
    return "\n".join([head, f"  made {iso(story.created)} with {story.terms}", *happened[-20:]])

"""A year of many monitors, made up from a seed, lived through by a server, and compared.

An author writes the story of each monitor beside its oracle, and so knows the instants at which
something hangs in the balance: what happens to it is put there on purpose.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
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

RULES: tuple[tuple[Rule, ...], ...] = (
    (("rows", "lt", 10),),
    (("duration_seconds", "gt", 600), ("rows", "eq", 0)),
    (("exit_code", "ne", 0), ("rows", "ge", 100), ("duration_seconds", "le", 2)),
)

# Jobs in Lord Howe have a fixed hour and minute: for others cronsim itself is wrong there.
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
    {"cron": "15 2,14 * * *", "timezone": "Europe/Berlin"},
    {"cron": "0 */2 * * *", "timezone": "Europe/Berlin"},
    {"cron": "*/20 1-3 * * *", "timezone": "Europe/Berlin"},
    {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
    {"cron": "30 1 * * *", "timezone": "America/New_York"},
    {"cron": "30 2 * * *", "timezone": "America/New_York"},
    {"cron": "0 * * * *", "timezone": "America/New_York"},
    {"cron": "0 12 L * *", "timezone": "America/New_York"},
    {"cron": "15 2 * * *", "timezone": "Australia/Lord_Howe"},
    {"cron": "45 1 * * *", "timezone": "Australia/Lord_Howe"},
    {"cron": "10 2 * * 0", "timezone": "Australia/Lord_Howe"},
    {"cron": "0 9 * * MON-FRI", "timezone": "Asia/Kathmandu"},
    {"cron": "*/15 * * * *", "timezone": "Asia/Kathmandu"},
    {"cron": "30 0 1 * *", "timezone": "America/St_Johns"},
    {"cron": "1 0 * * *", "timezone": "America/St_Johns"},
    {"cron": "0 */6 * * *", "timezone": "America/St_Johns"},
    {"cron": "0 0 1 * *"},
    {"cron": "@daily"},
    {"cron": "0 0 13 * 5"},
    {"cron": "0 0 */2 * 1"},
    {"cron": "0 6 * * 1#2"},
    {"cron": "30 0 */6 * * *"},
    {"cron": "*/30 0 * * * *"},
    {"cron": "30 4 * * 0"},
    {"cron": "0 4 1 */3 *"},
    {"interval_seconds": 60},
    {"interval_seconds": 300},
    {"interval_seconds": 3600},
    {"interval_seconds": 6 * 3600},
    {"interval_seconds": 86_400},
    {"interval_seconds": 7 * 86_400},
    {"interval_seconds": 86_400},
    {},
    {},
)

CLOCK_CHANGES = tuple(
    int(datetime(2026, *when, tzinfo=UTC).timestamp()) * 1000
    for when in ((3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1))
)


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
    begin: int
    end: int
    absences: list[Absence]
    looks: list[int]
    stories: list[Story]

    @property
    def outages(self) -> dict[int, set[str]]:
        """Whom the outage at the end of each absence names."""
        named = {
            absence.until: {story.name for story in self.stories if absence.until in story.named}
            for absence in self.absences
        }
        return {until: names for until, names in named.items() if names}


# == Planning =================================================================


def make_plan(
    seed: int, begin: int, end: int, monitors: int, actions: int, turns: bool = True
) -> Plan:
    """A plan with so many monitors, and so many actions of each at the most; with `turns` each has
    a clock of its own that goes back now and then."""
    rng = random.Random(seed)
    absences = plan_absences(rng, begin, end)
    looks = plan_looks(rng, begin, end, absences)
    stories = [
        Author(
            random.Random(rng.random()), number, begin, end, absences, looks, actions, turns
        ).story()
        for number in range(monitors)
    ]
    return Plan(seed, begin, end, absences, looks, stories)


def plan_absences(rng: random.Random, begin: int, end: int) -> list[Absence]:
    """Restarts, minutes, hours and days, over clock changes too, often from or to a round instant;
    some of them night after night, or one right after the other."""
    lengths = (
        5 * SECOND,
        20 * SECOND,
        MINUTE,
        90 * SECOND,
        5 * MINUTE,
        12 * MINUTE,
        40 * MINUTE,
        HOUR,
        3 * HOUR,
        11 * HOUR,
        DAY,
        2 * DAY + 7 * HOUR,
        5 * DAY,
    )
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
        unit = rng.choice((1, SECOND, MINUTE, 5 * MINUTE, HOUR))
        since = at - at % unit
        length = rng.choice(lengths) + rng.choice((0, 0, 1, -1, rng.randrange(MINUTE)))
        planned.append((since, since + length))
        if rng.random() < 0.2:
            again = since + length + rng.choice((1, 10 * SECOND, MINUTE, MINUTE + 1, 5 * MINUTE))
            planned.append((again, again + rng.choice(lengths[:4])))
        if length < HOUR and rng.random() < 0.4:
            nights = range(1, rng.randrange(2, 9))
            planned += [(since + n * DAY, since + n * DAY + length) for n in nights]
    absences: list[Absence] = []
    for since, until in sorted(planned):
        if (not absences or since > absences[-1].until) and until < end:
            absences.append(Absence(since, until, rng.choice((0, 25 * SECOND))))
    return [gap._replace(answered=min(gap.answered, gap.until - gap.since)) for gap in absences]


def plan_looks(rng: random.Random, begin: int, end: int, absences: list[Absence]) -> list[int]:
    """Seconds apart, or hours; none while we are away."""
    looks, at = [], begin
    while at < end:
        at += rng.choice(
            (
                rng.randrange(1, 10 * SECOND),
                rng.randrange(MINUTE, 30 * MINUTE),
                rng.randrange(HOUR, 4 * HOUR),
                5 * SECOND,
                HOUR - at % HOUR,
            )
        )
        looks.append(at)
    away = iter([*absences, NEVER])
    gap, kept = next(away), []
    for at in looks:
        while at >= gap.until:
            gap = next(away)
        if at <= gap.since + gap.answered // 2 and at <= end:
            kept.append(at)
    return kept


class Over(Exception):
    """The story is told."""


class Author:
    """Writes the story of one monitor."""

    def __init__(
        self,
        rng: random.Random,
        number: int,
        begin: int,
        end: int,
        absences: Sequence[Absence],
        looks: Sequence[int],
        most: int,
        turns: bool,
    ) -> None:
        self.rng, self.number, self.end, self.most = rng, number, end, most
        schedule = SCHEDULES[number % len(SCHEDULES)]
        self.terms = self.make_terms(schedule)
        self.period = period_of(schedule)
        span = min(end - begin, most * self.period // 2)
        self.now = begin + rng.randrange(1 + (end - begin - span) // HOUR) * HOUR
        near = [at for at in CLOCK_CHANGES if begin + 2 * DAY < at < end - DAY]
        if span < 20 * DAY and near and rng.random() < 0.6:
            self.now = max(begin, rng.choice(near) - rng.randrange(span + 1))
        self.absences = [gap for gap in absences if gap.since > self.now]
        self.now = max(
            [self.now, *(gap.until + 1 for gap in absences if gap.since <= self.now < gap.until)]
        )
        self.life = Life(self.terms, self.now, looks)
        self.before = [(gap.since, gap.until) for gap in absences if gap.until <= self.now]
        self.life.gaps = [*self.before]
        self.style = rng.choice(("bare", "start", "start", "series", "constant", "mixed", "mixed"))
        self.steps: list[Absence | Action] = []
        self.done, self.turns = 0, turns
        self.named: set[int] = set()
        self.serial = 0
        self.created = self.now

    def make_terms(self, schedule: Mapping[str, Any]) -> Terms:
        rng = self.rng
        period = period_of(schedule)
        graces = [
            grace
            for grace in (0, 60, 300, 600, 3600, 7200, 86_400)
            if grace * SECOND <= 2 * period
        ]
        return Terms(
            **schedule,
            grace_seconds=rng.choice(graces),
            expects=rng.choice(("run", "complete")),
            max_run_seconds=rng.choice((None, None, None, 60, 1800, 7200)),
            tolerance=rng.choice((0, 0, 0, 1, 2, 3)),
            reminder_seconds=rng.choice((None, None, 3600, 7200, 21_600, 86_400, 90_061)),
            armed=rng.random() < 0.3,
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

    def story(self) -> Story:
        """The whole life; a job that is over long before the year is laid to rest."""
        episodes, weights = zip(*EPISODES, strict=True)
        with suppress(Over):
            while True:
                self.rng.choices(episodes, weights)[0](self)
        if self.now + 50 * self.period < self.end:
            self.most += 1
            with suppress(Over):
                self.do("pause")
        self.pass_to(self.end)
        self.life.settle(self.end)
        return Story(
            f"monitor {self.number}",
            self.terms,
            self.created,
            self.steps,
            self.life,
            self.named,
            self.before,
        )

    # -- the parts of a ping

    def series(self) -> str:
        self.serial += 1
        return f"s{self.serial}"

    def identity(self) -> dict[str, Any]:
        """By what a run is known: often by nothing."""
        if self.style == "constant":
            return {"series": "job", "host": None}
        with_series = self.style == "series" or (self.style == "mixed" and self.rng.random() < 0.4)
        host = self.rng.choice((None, None, None, "a", "b")) if self.style == "mixed" else None
        return {"series": self.series() if with_series else None, "host": host}

    def result(self) -> dict[str, Any]:
        """What a success says of itself."""
        rng = self.rng
        said: dict[str, Any] = {}
        if rng.random() < 0.6:
            said["metrics"] = (("rows", rng.choice((0, 5, 10, 50, 99, 100, 500))),)
        if rng.random() < 0.3:
            said["exit_code"] = rng.choice((0, 0, 0, 3))
        if rng.random() < 0.3:
            said["duration"] = rng.choice(
                (
                    0,
                    1500,
                    2000,
                    600_000,
                    600_001,
                    rng.randrange(1, 3 * self.period),
                    1000 * rng.randrange(1, 4000),
                )
            )
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

    def a_while(self) -> int:
        """How long a run takes."""
        rng = self.rng
        return rng.choice(
            (
                0,
                1,
                1500,
                rng.randrange(1, 1 + self.period // 10),
                rng.randrange(1, 1 + self.period // 3),
                30 * SECOND,
                600 * SECOND,
            )
        )

    # -- episodes

    def run(self, at: int | None = None) -> None:
        """The job runs, in its own style."""
        mine = self.identity()
        if self.style == "bare" or (self.style == "mixed" and self.rng.random() < 0.4):
            self.do("success", at, **mine, **self.result())
            return
        self.do("start", at, **mine)
        if self.rng.random() < 0.1:
            self.do("progress", self.now + 500, **mine)
        word = "fail" if self.rng.random() < 0.04 else "success"
        self.do(
            word, self.now + self.a_while(), **mine, **(self.result() if word == "success" else {})
        )

    def ordinary(self) -> None:
        for _ in range(self.rng.randrange(1, 5)):
            self.run(self.job_at() + self.rng.choice((0, 1, 300, 2500, 20_000)))

    def late(self) -> None:
        grace = self.life.terms.grace
        self.run(
            self.job_at()
            + self.rng.choice(
                (
                    grace,
                    grace,
                    grace + 1,
                    grace - 1,
                    self.rng.randrange(grace + 1),
                    grace + self.rng.randrange(1, 1 + self.period),
                )
            )
        )

    def early(self) -> None:
        job = self.job_at()
        terms = self.life.terms
        if terms.cron or terms.interval_seconds:
            self.run(job - self.life.early(job) + self.rng.choice((0, 0, -1, 1, 1000, 30_000)))

    def absent(self) -> None:
        silent = self.rng.choice((1, 1, 2, 3, 7))
        if self.period <= HOUR and self.rng.random() < 0.2:
            silent = self.rng.choice((30, 300))
        if self.period <= 5 * MINUTE and self.rng.random() < 0.3:
            silent = 1100
        self.now_at(self.now + silent * self.period + self.rng.randrange(self.period))

    def now_at(self, at: int) -> None:
        """Nothing is heard until then."""
        if at > self.end:
            raise Over
        self.pass_to(at)
        seen = bisect_right(self.life.looks, at)
        if seen:
            self.life.settle(self.life.looks[seen - 1])

    def burst(self) -> None:
        gaps = (
            0,
            1,
            1000,
            9_000,
            10_000,
            10_001,
            30 * SECOND,
            60 * SECOND,
            60 * SECOND + 1,
            120 * SECOND,
            300 * SECOND,
            20 * MINUTE,
            HOUR,
            2 * HOUR,
        )
        mine = self.identity()
        for _ in range(self.rng.randrange(1, 12)):
            if self.rng.random() < 0.3:
                mine = self.identity()
            space = self.life.failures.until
            on_time = space is not None and space >= self.now and self.rng.random() < 0.2
            self.do("fail", space if on_time else self.now + self.rng.choice(gaps), **mine)
        if self.rng.random() < 0.6:
            self.do(
                "success", self.now + self.rng.choice(gaps), **self.identity(), **self.result()
            )

    def hung(self) -> None:
        mine = self.identity()
        self.do("start", self.job_at(), **mine)
        if self.rng.random() < 0.5:
            self.run(self.job_at())
        if self.rng.random() < 0.4:
            self.do(
                self.rng.choice(("success", "success", "fail")),
                self.now + self.rng.randrange(1, 3 * self.period),
                **mine,
            )

    def overlapping(self) -> None:
        rng = self.rng
        all_mine = [
            {
                "series": rng.choice((None, self.series())),
                "host": rng.choice((None, "a", "b")),
                "address": rng.choice(("192.0.2.1", "192.0.2.2")),
            }
            for _ in range(rng.randrange(2, 4))
        ]
        at = self.job_at()
        for mine in all_mine:
            self.do("start", at, **mine)
            at = self.now + rng.choice((0, 9_000, 10_000, 10_001, 60_000, self.period // 8))
        rng.shuffle(all_mine)
        for mine in all_mine:
            if rng.random() < 0.85:
                self.do(
                    rng.choice(("success", "success", "success", "fail")),
                    self.now + self.a_while(),
                    **mine,
                    **self.result(),
                )

    def repeated(self) -> None:
        """A client that hears no answer says it again."""
        rng, mine = self.rng, {**self.identity(), "series": self.series()}
        again = (0, 1, 5_000, 9_999, 10_000, 10_001, 11_000, 5 * MINUTE)
        at, with_start = self.job_at(), rng.random() < 0.7
        for word, how in (("start", {}), (rng.choice(("success", "fail")), self.result())):
            if word != "start" or with_start:
                self.do(word, at, **mine, **how)
                for _ in range(rng.randrange(3)):
                    self.do(word, self.now + rng.choice(again), **mine, **how)
            at = self.now + self.a_while()

    def paused(self) -> None:
        rng = self.rng
        hours = rng.choice((1, 1, 2, 5, 12, 24, 24, 100, None))
        self.do("pause", self.now + rng.randrange(self.period), hours=hours)
        ends = self.now + (hours or rng.choice((1, 30))) * HOUR
        words = ("start", "success", "fail", "fail", "ok", "progress", "edit", "pause")
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            at = min(self.now + rng.randrange(1, HOUR), ends - 1)
            self.anything(rng.choice(words), at)
        if self.life.pause is None:
            return
        ends = self.life.pause.until or self.now + rng.randrange(HOUR, 5 * DAY)
        if self.life.pause.until is None or rng.random() < 0.3:
            at = rng.choice((rng.randrange(self.now, max(self.now, ends) + 1), ends - 1, ends))
            self.do(rng.choice(("resume", "renew")), at)
            for _ in range(rng.choice((0, 1, 2))):
                self.anything(
                    rng.choice(("fail", "fail", "start", "success")),
                    self.now + rng.choice((0, 1, MINUTE)),
                )
        elif rng.random() < 0.6:
            self.anything(
                rng.choice(("success", "fail", "start", "pause", "renew", "edit")),
                ends + rng.choice((-1, 0, 0, 1)),
            )
        if rng.random() < 0.1:
            self.do(rng.choice(("resume", "renew")))  # of one that may not be paused

    def renewed(self) -> None:
        """It fails before a pause and in it, and again when that was ended by hand."""
        rng = self.rng
        for word in ("fail", "pause", "fail", rng.choice(("resume", "renew")), "fail", "success"):
            if word in ("fail", "success") and rng.random() < 0.25:
                continue
            self.do(
                word,
                self.now + rng.choice((0, 1, MINUTE, HOUR)),
                **(self.identity() if word in ("fail", "success") else {}),
            )

    def anything(self, word: str, at: int) -> None:
        more: dict[str, Any] = {}
        if word == "edit":
            self.edited(at)
            return
        if word == "pause":
            more = {"hours": self.rng.choice((1, 3, 24))}
        elif word in ("start", "success", "fail", "progress"):
            more = self.identity()
            mine = [run for run in self.life.open_runs if word != "start"]
            if mine and self.rng.random() < 0.5:
                more = {"series": mine[-1].series, "host": mine[-1].host}
        self.do(word, at, **more, **(self.result() if word == "success" else {}))

    def edited(self, at: int | None = None) -> None:
        """A person changes what was agreed."""
        rng, terms = self.rng, self.life.terms
        change: dict[str, Any]
        kind = rng.choice(
            (
                "grace",
                "grace",
                "expects",
                "schedule",
                "zone",
                "reminder",
                "tolerance",
                "max_run",
                "rules",
            )
        )
        if kind == "grace":
            change = {"grace_seconds": rng.choice((0, 60, 300, 1200, 3600))}
        elif kind == "expects":
            change = {"expects": rng.choice(("run", "complete"))}
        elif kind == "schedule":
            like = [
                schedule
                for schedule in SCHEDULES
                if self.period // 4 <= period_of(schedule) <= self.period * 4
            ]
            like += [{}, SCHEDULES[self.number % len(SCHEDULES)]]
            change = {
                "cron": None,
                "interval_seconds": None,
                "timezone": "UTC",
                **rng.choice(like),
            }
        elif kind == "zone":
            zones = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC")
            if not terms.cron or "*/" in terms.cron:
                return
            change = {"timezone": rng.choice(zones)}
        elif kind == "reminder":
            change = {"reminder_seconds": rng.choice((None, 7200, 86_400))}
        elif kind == "rules":
            change = {"rules": rng.choice((*RULES, ()))}
        elif kind == "tolerance":
            change = {"tolerance": rng.choice((0, 1, 2))}
        else:
            change = {"max_run_seconds": rng.choice((None, 600, 5400))}
        self.do(
            "edit",
            at if at is not None else self.now + rng.randrange(self.period),
            terms=terms._replace(**change),
        )

    def word(self) -> None:
        self.anything(
            self.rng.choice(("ok", "log", "progress")), self.now + self.rng.randrange(self.period)
        )

    def storm(self) -> None:
        """It fails for hours, until the time between two events is the longest there is."""
        for _ in range(self.rng.randrange(20, 60)):
            self.do("fail", self.now + self.rng.choice((30_000, 5 * MINUTE, 10 * MINUTE)))

    def changed_mind(self) -> None:
        """A run is told of by progress alone, or ends twice, and not the same way."""
        rng, mine = self.rng, {**self.identity(), "series": self.series()}
        for word in rng.choice(
            (
                ("progress", "success"),
                ("progress", "fail"),
                ("progress",),
                ("progress", "start"),
                ("progress", "start", "success"),
                ("start", "fail", "success"),
                ("start", "success", "fail"),
                ("success", "fail", "success"),
                ("start", "success", "success"),
                ("start", "progress", "start", "fail"),
                ("start", "fail", "start", "success"),
            )
        ):
            self.do(
                word,
                self.now + rng.choice((0, 1000, 10_000, 10_001, 5 * MINUTE, HOUR)),
                **mine,
                **(self.result() if word in ("success", "fail") else {}),
            )

    def without_series(self) -> None:
        """Progress alone opens a run that has no series."""
        mine = {"host": self.rng.choice((None, "a"))}
        self.do("progress", self.now + self.rng.randrange(self.period), **mine)
        self.do(
            self.rng.choice(("start", "success", "fail", "progress")),
            self.now + self.a_while(),
            **mine,
        )

    def on_the_dot(self) -> None:
        """Where something is about to happen by itself: just before it, with it, just after."""
        change = self.life.first_change()
        if change is None or change.order > self.now + 4 * self.period:
            return
        words = ("success", "success", "start", "fail", "ok", "edit", "pause", "progress")
        for _ in range(self.rng.choice((1, 1, 2))):
            self.anything(
                self.rng.choice(words), change.order + self.rng.choice((-2, -1, -1, 0, 0, 1))
            )
            if self.rng.random() < 0.5:
                self.anything(self.rng.choice(words), self.now)

    def after_absence(self) -> None:
        """As soon as we are there again; or it runs while we are away."""
        if not self.absences or self.absences[0].since > self.now + 6 * self.period:
            return
        gap, mine = self.absences[0], self.identity()
        at = gap.since + self.rng.choice((0, -1, -MINUTE, 10 * SECOND, 20 * SECOND))
        if self.rng.random() < 0.6:
            self.do("start", at, **mine)
        if self.rng.random() < 0.7:
            self.do(
                self.rng.choice(("success", "success", "fail")),
                gap.until + self.rng.choice((0, 0, 1, 1000, MINUTE)),
                **mine,
                **self.result(),
            )

    def loud(self) -> None:
        """Successes one after the other, whose figures are not as they should be."""
        if not self.life.terms.rules:
            return
        for _ in range(self.rng.randrange(2, 10)):
            self.do(
                "success",
                self.now + self.rng.choice((0, 1, 20_000, 60_000, 120_000, 30 * MINUTE)),
                **{"metrics": (("rows", self.rng.choice((0, 0, 0, 5, 500))),), **self.result()},
            )

    def overtaken(self) -> None:
        """An end that overtakes its own start; a duration that reaches behind an older failure."""
        rng, series = self.rng, self.series()
        if rng.random() < 0.5:
            self.do(rng.choice(("success", "fail")), self.job_at(), series=series)
            later = rng.choice((0, 5, 80, 9_999, 10_000, 10_001, MINUTE))
            self.do("start", self.now + later, series=series)
            return
        self.do("fail", self.now + rng.randrange(self.period), series=series)
        at = self.now + rng.choice((MINUTE, HOUR, self.period // 2))
        self.do("success", at, series=series, duration=at - self.now + rng.choice((1, HOUR)))
        self.do("fail", self.now + rng.choice((1, MINUTE, HOUR)), series=series)

    def turned(self) -> None:
        """The clock goes back, often while something runs."""
        if not self.turns:
            return
        rng, mine = self.rng, self.identity()
        if rng.random() < 0.5:
            self.do("start", self.job_at(), **mine)
        back = rng.choice(
            (1, SECOND, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR - 1, 3 * HOUR, 5 * HOUR, DAY, 3 * DAY)
        )
        at = self.now + rng.randrange(self.period)
        self.do("turn", at, back_to=max(at - back, self.created))
        if rng.random() < 0.6:
            word = rng.choice(("start", "success", "success", "fail", "ok"))
            self.do(word, self.now + self.a_while(), **(mine if word != "ok" else {}))


EPISODES: tuple[tuple[Callable[[Author], None], int], ...] = (
    (Author.ordinary, 30),
    (Author.late, 9),
    (Author.early, 8),
    (Author.absent, 5),
    (Author.burst, 4),
    (Author.hung, 5),
    (Author.overlapping, 5),
    (Author.repeated, 4),
    (Author.paused, 5),
    (Author.edited, 4),
    (Author.word, 4),
    (Author.on_the_dot, 10),
    (Author.after_absence, 12),
    (Author.loud, 4),
    (Author.storm, 1),
    (Author.changed_mind, 4),
    (Author.without_series, 2),
    (Author.renewed, 2),
    (Author.turned, 2),
    (Author.overtaken, 4),
)


def period_of(schedule: Mapping[str, Any]) -> int:
    """About how often a job comes round."""
    if schedule.get("interval_seconds"):
        return int(schedule["interval_seconds"]) * SECOND
    if not schedule.get("cron"):
        return DAY
    times = calendar(schedule["cron"], schedule.get("timezone", "UTC"))
    first = times.after(BEGIN)
    at = first
    for _ in range(8):
        at = times.after(at)
    return (at - first) // 8


# == Living ===================================================================


class World(NamedTuple):
    """What became of the monitors of a plan, by their names."""

    told: dict[str, list[Told]]
    states: dict[str, tuple[str, int | None]]
    outages: dict[int, set[str]]


class Driver:
    """Leads one monitor through its story by the rules of a module, which may be a faulty one.

    It takes the place of the storage: to a rule it hands the runs that load_state would find."""

    def __init__(self, rules: ModuleType, story: Story, looks: Sequence[int]) -> None:
        self.rules, self.story, self.looks = rules, story, looks
        empty = dict.fromkeys(column.name for column in fields(rules.Monitor))
        self.monitor = rules.Monitor(
            **{**empty, **NEW_MONITOR, **terms_columns(story.terms), "created_at": story.created}
        )
        self.runs: list[Any] = []
        self.told: list[Told] = []
        self.named: list[int] = []  # the ends of the absences whose outage names it
        self.pings = 0
        self.absence: Any = None
        self.now = story.created
        for since, until in story.gaps_before:
            self.absence = rules.join_absences(self.absence, rules.Absence(since, until))
        self.due_at: int | None = None
        self.change(story.created, partial(rules.arm, at=story.created))

    def live(self, end: int) -> None:
        """Everything up to the end."""
        for step in self.story.steps:
            if isinstance(step, Absence):
                self.look_until(step.until)
                self.prune(step.until)
                self.be_away(step)
            else:
                self.look_until(step.at)
                self.prune(step.at)
                self.do(step)
        self.look_until(end)
        self.change(end, partial(self.rules.settle, now=end))

    def look_until(self, at: int) -> None:
        """The looks of the scanner before an instant, at which something is due."""
        while self.due_at is not None:
            place = bisect_left(self.looks, max(self.due_at, self.now))
            if place == len(self.looks) or self.looks[place] >= at:
                return
            look = self.looks[place]
            self.change(look, partial(self.rules.settle, now=look))

    def be_away(self, gap: Absence) -> None:
        if self.change(gap.until, lambda state: self.rules.judge_gap(state, gap.since, gap.until)):
            self.named.append(gap.until)

    def do(self, act: Action) -> None:
        rules, at = self.rules, act.at
        if act.back_to is not None:
            self.change(act.back_to, partial(rules.turn_back, before=at, now=act.back_to))
            for run in self.runs:  # as the storage does with those that no rule looks at
                if run.started_at > act.back_to:
                    run.next_at = None
                run.started_at = min(run.started_at, act.back_to)
                run.ended_at = run.ended_at and min(run.ended_at, act.back_to)
        elif act.word == "edit":
            assert act.terms
            columns = terms_columns(act.terms)
            self.change(at, lambda state: rules.edit(state, at, columns))
        elif act.word == "pause":
            until = None if act.hours is None else at + act.hours * HOUR
            self.change(at, lambda state: rules.pause(state, at, until))
        elif act.word in ("resume", "renew"):
            self.change(at, lambda state: rules.resume(state, at, to_new=act.word == "renew"))
        else:
            ping = self.ping(act)
            self.change(at, lambda state: rules.receive(state, ping), ping)

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

    def change(self, now: int, change: Callable[[Any], Any], ping: Any = None) -> Any:
        """Load, let a rule change, save."""
        self.now = now
        loaded = self.load(ping)
        state = self.rules.MonitorState(self.monitor, [*loaded], absence=self.absence)
        result = change(state)
        self.runs += state.runs[len(loaded) :]
        self.told += [self.read(event) for event in state.events]
        following = self.rules.next_change(state, now)
        self.due_at = following.at if following else None
        self.absence = state.absence
        return result

    def prune(self, now: int) -> None:
        """Forget the runs that the storage would delete by their age."""
        before = now - KEEP
        if all(run.started_at >= before for run in self.runs):
            return
        for run in self.runs:
            if run.state == "running" and any(
                newer.host == run.host and age(run) < age(newer) and newer.started_at < before
                for newer in self.runs
            ):
                run.state = "running" if run.awaited else "unknown"
        starts = sorted((run for run in self.runs if run.opened), key=age)[-3:]
        self.runs = [
            run
            for run in self.runs
            if run.started_at >= before or run.state == "running" or run in starts
        ]

    def load(self, ping: Any) -> list[Any]:
        """The runs that load_state would find."""
        runs = [run for run in self.runs if run.state == "running"]
        if ping is None:
            return runs
        if ping.kind == "start":
            runs += sorted((run for run in self.runs if run.opened), key=age)[-3:]
        if ping.series is not None:
            runs += [run for run in self.runs if run.series == ping.series][-1:]
        elif ping.kind in ("success", "fail"):
            over = (
                run
                for run in self.runs
                if run.host == ping.host
                and run.state != "running"
                and (run.series is None or run.state in ("success", "failed"))
            )
            runs += sorted(over, key=age)[-1:]
        return list({run.num: run for run in runs}.values())

    def read(self, event: Any) -> Told:
        return Told(
            event.kind,
            event.at,
            event.reason,
            event.count,
            event.failed_count,
            event.missed_count,
            None if event.downtime_ms is None else event.downtime_ms // 1000,
            tuple((rule["field"], rule["operator"], rule["value"]) for rule in event.rules or ()),
        )


def age(run: Any) -> tuple[int, int]:
    return run.started_at, run.num


NEW_MONITOR = {
    "num": 1,
    "status": "new",
    "failures": 0,
    "failed_count": 0,
    "missed_count": 0,
    "unverified": 0,
}


def terms_columns(terms: Terms) -> dict[str, Any]:
    """What was agreed, as columns of a monitor."""
    rules = [
        {"field": name, "operator": sign, "value": value} for name, sign, value in terms.rules
    ]
    return {
        "cron": terms.cron,
        "interval_seconds": terms.interval_seconds,
        "timezone": terms.timezone,
        "grace_seconds": terms.grace_seconds,
        "expects": terms.expects,
        "max_run_seconds": terms.max_run_seconds,
        "failure_tolerance": terms.tolerance,
        "reminder_interval_seconds": terms.reminder_seconds,
        "armed": int(terms.armed),
        "rules": json.dumps(rules) if rules else None,
    }


def live(rules: ModuleType, plan: Plan) -> World:
    """Let all monitors of a plan live by the rules of a module."""
    world = World({}, {}, {})
    for story in plan.stories:
        driver = Driver(rules, story, plan.looks)
        driver.live(plan.end)
        world.told[story.name] = driver.told
        world.states[story.name] = driver.monitor.status, driver.monitor.expected_at
        for until in driver.named:
            world.outages.setdefault(until, set()).add(story.name)
    return world


# == Comparing ================================================================


def differences(plan: Plan, world: World) -> Iterator[str]:
    """One text for each monitor that was not as the oracle has it, and one for each outage."""
    told, states = world.told, world.states
    for story in plan.stories:
        found, wanted = told.get(story.name, []), story.life.told
        if found != wanted:
            yield describe(plan, story, found, wanted)
        life = story.life
        state = (life.status, life.expected)
        if life.status in ("new", "up") and states[story.name] != state:
            yield (
                f"seed {plan.seed}, {story.name} at the end: {show_state(states[story.name])} "
                f"instead of {show_state(state)}\n" + excerpt(plan, story, plan.end)
            )
        elif states[story.name][0] != life.status:
            yield f"seed {plan.seed}, {story.name}: {states[story.name]} instead of {state}"
    outages, wanted_outages = world.outages, plan.outages
    for at in sorted({*outages, *wanted_outages}):
        if outages.get(at) != wanted_outages.get(at):
            more = outages.get(at, set()) - wanted_outages.get(at, set())
            less = wanted_outages.get(at, set()) - outages.get(at, set())
            odd = {*more, *less}
            yield (
                f"seed {plan.seed}, outage until {iso(at)}: names {sorted(more)} too, and not "
                f"{sorted(less)}\n"
                + "\n".join(
                    excerpt(plan, story, at) for story in plan.stories if story.name in odd
                )
            )


def describe(plan: Plan, story: Story, found: list[Told], wanted: list[Told]) -> str:
    """The first event that differs, and what went on around it."""
    place = next(
        (
            place
            for place, pair in enumerate(zip(found, wanted, strict=False))
            if pair[0] != pair[1]
        ),
        min(len(found), len(wanted)),
    )
    differing = [events[place] for events in (found, wanted) if place < len(events)]
    around = min(event.at for event in differing)
    lines = [f"seed {plan.seed}, {story.name}, event {place}:"]
    for title, events in (("expected", wanted), ("found", found)):
        lines += [f"  {title}: {show_told(event)}" for event in events[place : place + 3]] or [
            f"  {title}: nothing"
        ]
    before = [f"  both: {show_told(event)}" for event in wanted[max(0, place - 3) : place]]
    return "\n".join([*lines[:1], *before, *lines[1:], excerpt(plan, story, around)])


def excerpt(plan: Plan, story: Story, around: int) -> str:
    """What was agreed, and what happened about an instant."""
    terms, lines = story.terms, []
    for act in story.actions:
        if act.at <= around + DAY and act.terms:
            terms = act.terms
    happened: list[tuple[int, str]] = [(act.at, show_action(act)) for act in story.actions]
    happened += [
        (gap.until, f"away since {iso(gap.since)}")
        for gap in plan.absences
        if gap.until > story.created
    ]
    happened.sort(key=lambda pair: pair[0])
    place = sum(at <= around for at, _ in happened)
    for at, text in happened[max(0, place - 14) : place + 6]:
        lines.append(f"    {iso(at)}  {text}")
    made = f"  made {iso(story.created)} with {story.terms}"
    return "\n".join([made, f"  then {terms}", *lines])


def show_told(event: Told) -> str:
    more = {
        name: value
        for name, value in event._asdict().items()
        if name not in ("kind", "at") and value not in (None, ())
    }
    return f"{iso(event.at)} {event.kind} {more}"


def show_action(act: Action) -> str:
    more = {
        name: value
        for name, value in act._asdict().items()
        if name not in ("at", "word")
        and value not in (None, ())
        and (name, value) != ("address", "192.0.2.1")
    }
    return f"{act.word} {more}"


def show_state(state: tuple[str, int | None]) -> str:
    return f"{state[0]}, expected {'never' if state[1] is None else iso(state[1])}"

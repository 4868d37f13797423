"""What must be told of one monitor, worked out from its story alone.

The rules are those of "When is a monitor in trouble?" in the design, one method a paragraph, each
with the paragraph's words in short. Nothing is shared with cronwatch.py, neither code nor form:
here the whole past is kept, and what is asked of it is looked up there. Instants and durations are
milliseconds, except where a name says seconds.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
BEGIN = 1_767_225_600_000  # 2026-01-01 00:00 UTC: no story begins earlier
PART = 8 * DAY  # of a calendar, worked out at once
RETRY = 10 * SECOND
SAME_FAILURE = 10 * MINUTE
RESTART = MINUTE  # no longer an absence is a restart; a client tries again for as long
SMALL_TURN = 3 * HOUR  # of a clock that goes back
EARLIEST = 300 * SECOND
FIRST_SPACE, LONGEST_SPACE = 60 * SECOND, HOUR
KEEP = 90 * DAY  # what is older is pruned
MISSED_MOST = 1000

Rule = tuple[str, str, float]


class Terms(NamedTuple):
    """What was agreed for a monitor; an edit puts others in their place."""

    cron: str | None = None
    interval_seconds: int | None = None
    timezone: str = "UTC"
    grace_seconds: int = 300
    expects: str = "run"
    max_run_seconds: int | None = None
    tolerance: int = 0
    reminder_seconds: int | None = None
    armed: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def grace(self) -> int:
        return self.grace_seconds * SECOND

    @property
    def schedule(self) -> tuple[object, ...]:
        """What counts the deadline anew where it changes."""
        return self.cron, self.interval_seconds, self.timezone, self.expects


class Action(NamedTuple):
    """Something that is done to a monitor at an instant."""

    at: int
    word: str  # start success fail ok progress log, edit, pause, resume, renew, turn
    series: str | None = None
    host: str | None = None
    address: str = "192.0.2.1"
    duration: int | None = None  # as the client reports it
    exit_code: int | None = None
    metrics: tuple[tuple[str, float], ...] = ()
    hours: int | None = None  # of a pause
    terms: Terms | None = None  # of an edit
    back_to: int | None = None  # of a clock that is turned back


class Told(NamedTuple):
    """An event, as far as it follows from the rules."""

    kind: str
    at: int
    reason: str | None = None
    collected: int | None = None
    failed: int | None = None
    missed: int | None = None
    downtime_seconds: int | None = None
    rules: tuple[Rule, ...] = ()


class Calendar:
    """The occurrences of a cron expression as the package cronsim has them, none of them twice."""

    def __init__(self, cron: str, zone: str) -> None:
        self.cron, self.zone = "0 0 * * *" if cron == "@daily" else cron, ZoneInfo(zone)
        self._parts: dict[int, list[int]] = {}

    def _part(self, number: int) -> list[int]:
        """Those of so many days; cronsim is started a day before, for what it repeats."""
        if number not in self._parts:
            begin, end = number * PART, (number + 1) * PART
            start = datetime.fromtimestamp((begin - DAY) // 1000, UTC)
            found: set[int] = set()
            for when in CronSim(self.cron, start.astimezone(self.zone)):
                at = round(when.timestamp()) * 1000
                if at >= end:
                    break
                found.add(at)
            self._parts[number] = sorted(at for at in found if at >= begin)
        return self._parts[number]

    def after(self, at: int) -> int:
        number = at // PART
        while not (known := self._part(number)) or known[-1] <= at:
            number += 1
        return known[bisect_right(known, at)]

    def before(self, at: int) -> int:
        number = at // PART
        while not (known := self._part(number)) or known[0] >= at:
            number -= 1
        return known[bisect_left(known, at) - 1]


@cache
def calendar(cron: str, zone: str) -> Calendar:
    return Calendar(cron, zone)


@dataclass
class Run:
    """One execution, from whichever ping first told of it."""

    began: int
    series: str | None
    host: str | None
    address: str
    by_start: bool
    number: int = 0  # in the order in which they were told of
    state: str = "running"
    awaited: bool = False
    next_at: int | None = None  # the occurrence after the one that its start counted for
    limit_at: int | None = None  # its start and max_run_seconds
    ended: int | None = None
    was_sign: bool = False  # its failure was a sign of life

    def age(self) -> tuple[int, int]:
        """Of two that began at one instant the first that came is the older one."""
        return self.began, self.number

    @property
    def was_ended(self) -> bool:
        return self.state in ("success", "failed")


@dataclass
class Spacing:
    """Events of one sort that would come too fast: what is held back, and until when."""

    told: int = 0
    until: int | None = None
    held: int = 0
    rules: tuple[Rule, ...] = ()

    def tell(self, at: int) -> None:
        """The time after an event is a minute, and doubles with each after the first."""
        self.told += 1
        self.until = at + min(FIRST_SPACE * 2 ** (self.told - 1), LONGEST_SPACE)
        self.held = 0

    def lets_pass(self, at: int) -> bool:
        """Whether it is told at once; else it is counted for the event at the end."""
        if self.until is not None and at < self.until:
            self.held += 1
            return False
        self.tell(at)
        return True


@dataclass
class Pause:
    """What a paused monitor comes back to."""

    until: int | None
    status: str
    was_well: bool = False  # success or ok came in it
    was_alive: bool = False  # a sign of life came in it


@dataclass
class Down:
    """The trouble that a monitor is in."""

    reason: str
    since: int
    failed: int = 0
    # deadlines that passed, and of what
    missed: list[tuple[int, int]] = field(default_factory=list)
    reminded: int = 0  # reminders up to here were told or passed over


class Change(NamedTuple):
    """Something that happens by itself: when, and its place among what happens at that instant."""

    order: int
    rank: int
    happen: Callable[[int], None]  # takes the instant of the look that finds it


@dataclass
class Life:
    """A monitor, told its story in order; `told` is then what everybody should have heard.

    `looks` are the instants of the scanner: only reminders know of them."""

    terms: Terms
    created: int
    looks: Sequence[int] = ()
    status: str = "new"
    told: list[Told] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)  # when we were away
    unverified: bool = False  # one could not be verified since the last sign of life
    expected: int | None = None
    promised: int | None = None  # the same, but not moved by what was missed since
    settled: int = 0
    grace_edited: int = 0
    runs: list[Run] = field(default_factory=list)
    numbers: int = 0
    open_runs: list[Run] = field(default_factory=list)
    of_series: dict[str, Run] = field(default_factory=dict)  # the newest of each
    began: int | None = None  # the own time of the last sign of life
    in_a_row: int = 0
    down: Down | None = None
    pause: Pause | None = None
    failures: Spacing = field(default_factory=Spacing)
    silent: Spacing = field(default_factory=Spacing)

    def __post_init__(self) -> None:
        """With `armed`, the first occurrence after creation counts, without the early window."""
        if self.terms.armed:
            self.expect(self.occurrence_after(self.created))

    # -- schedules

    def occurrence_after(self, at: int) -> int | None:
        """An interval from then, or the first occurrence of cron after it."""
        if self.terms.interval_seconds:
            return at + self.terms.interval_seconds * SECOND
        if self.terms.cron:
            return calendar(self.terms.cron, self.terms.timezone).after(at)
        return None

    def early(self, occurrence: int) -> int:
        """min(grace, 300 s, a quarter of the distance from the occurrence before)."""
        if self.terms.interval_seconds:
            distance = self.terms.interval_seconds * SECOND
        else:
            assert self.terms.cron
            distance = occurrence - calendar(self.terms.cron, self.terms.timezone).before(
                occurrence
            )
        return min(self.terms.grace, EARLIEST, distance // 4)

    def deadline(self, occurrence: int) -> int:
        """A changed grace makes nobody late before the edit."""
        return self.spare(max(occurrence + self.terms.grace, self.grace_edited))

    def spare(self, deadline: int) -> int:
        """None falls into a gap or the minute after it: it is the end of that minute."""
        for since, until in self.gaps:
            if since <= deadline < until + RESTART:
                deadline = until + RESTART
        return deadline

    def absences(self) -> list[tuple[int, int]]:
        """The gaps; two with no minute between them are one: who tried again found us away."""
        joined: list[tuple[int, int]] = []
        for since, until in self.gaps:
            if joined and since <= joined[-1][1] + RESTART:
                earlier = joined.pop()
                since, until = earlier[0], max(earlier[1], until)
            joined.append((since, until))
        return joined

    def is_within(self, occurrence: int, since: int, until: int) -> bool:
        """Whether its whole window lies in a gap."""
        opens = occurrence - self.early(occurrence)
        return since <= opens and occurrence + self.terms.grace <= until

    # -- the expected time

    def expect(self, occurrence: int | None) -> None:
        """What is expected from here on."""
        self.expected = self.promised = occurrence

    def next_expected(self, own: int, unverified: bool = False) -> int | None:
        """An early sign counts for the occurrence ahead, unless the one before is awaited."""
        ahead = self.occurrence_after(own)
        if ahead is None or self.terms.cron is None:
            return ahead
        before = calendar(self.terms.cron, self.terms.timezone).before(ahead)
        is_early = own >= ahead - self.early(ahead)
        is_over = (
            unverified
            or self.pause is not None
            or self.expected is None
            or self.promised is None
            or (self.promised > before or (self.expected > before and self.deadline(before) < own))
        )
        if is_early and is_over:
            return self.occurrence_after(ahead)
        return ahead

    def own_time(self, act: Action, run: Run | None) -> int:
        """When the run began: its start, else what was reported where that is believed."""
        if run is not None and run.by_start:
            return run.began
        if act.duration is not None and (self.began is None or act.at - act.duration > self.began):
            return act.at - act.duration
        return act.at

    def sign_of_life(self, at: int, own: int, run: Run | None = None) -> None:
        """Moves the schedule, never back, and past what is over; not by a time before the last."""
        following = run.next_at if run and run.next_at else self.next_expected(own)
        is_latest = self.began is None or own >= self.began
        self.began = max(own, self.began or own)
        self.unverified = False
        if self.pause:
            self.pause.was_alive = True
            return
        wanted = self.promised
        if wanted is None and not is_latest:  # nothing is expected, as after Cronping's resume
            wanted = self.next_expected(at)
        elif following is not None and is_latest:
            wanted = max(following, wanted or 0)
        while wanted is not None and self.deadline(wanted) < at:
            wanted = self.occurrence_after(wanted)
        self.expect(wanted)

    # -- settling

    def changes(self) -> Iterator[Change]:
        """At one instant: end of pause, stuck, missed, digest, reminder."""
        if self.pause:
            if self.pause.until is not None:
                yield Change(self.pause.until, 0, self.pause_ends)
            return
        yield from self.stuck_changes()
        yield from self.missed_changes()
        yield from self.digest_changes()
        yield from self.reminder_changes()

    def first_change(self, *ranks: int) -> Change | None:
        """The next one, of any rank or of these."""
        changes = (change for change in self.changes() if change.rank in ranks or not ranks)
        return min(changes, key=lambda change: change[:2], default=None)

    def settle(self, until: int) -> None:
        """Everything that fell due, in the order of the true times."""
        if until < self.settled:
            return
        while (change := self.first_change()) and change.order <= until:
            order = max(change.order, self.settled)
            nearest = bisect_left(self.looks, order)
            look = self.looks[nearest] if nearest < len(self.looks) else until
            change.happen(min(look, until))
            self.settled = order
        self.settled = max(self.settled, until)

    # -- missed

    def held_until(self) -> int:
        """With "complete", an awaited open run since the last sign of life holds missed back.

        While it is down nothing is held back: what passed without a sign of life is counted."""
        if self.terms.expects != "complete" or self.down:
            return 0
        return max(
            (
                self.run_deadline(run) or 0
                for run in self.open_runs
                if run.awaited and (self.began is None or run.began > self.began)
            ),
            default=0,
        )

    def missed_changes(self) -> Iterator[Change]:
        """expected_at + grace has passed; dated there, also where it was held back."""
        if self.expected is not None:
            passed = max(self.deadline(self.expected), self.held_until())
            yield Change(passed + 1, 2, self.miss)

    def miss(self, look: int) -> None:
        assert self.expected is not None
        occurrence, deadline = self.expected, self.deadline(self.expected)
        self.expected = self.occurrence_after(self.expected)
        if self.down is None:
            self.go_down("missed", deadline)
            self.tell("missed", deadline)
        assert self.down
        if not any(self.is_within(occurrence, *gap) for gap in self.absences()):
            self.down.missed.append((deadline, occurrence))

    def go_down(self, reason: str, at: int) -> None:
        self.status, self.down = "down", Down(reason, at, reminded=at)

    def tell(
        self, kind: str, at: int, collected: int | None = None, rules: tuple[Rule, ...] = ()
    ) -> None:
        """Its reason is why the monitor is down, also where it was so before a failure."""
        reason = self.down.reason if self.down and kind != "silent_failure" else None
        self.told.append(Told(kind, at, reason, collected, rules=rules))

    # -- stuck

    def run_deadline(self, run: Run) -> int | None:
        """Start + max_run_seconds, else the deadline of the occurrence after its own."""
        if run.limit_at is not None:
            return self.spare(run.limit_at)
        return None if run.next_at is None else self.deadline(run.next_at)

    def stuck_changes(self) -> Iterator[Change]:
        for run in self.open_runs:
            deadline = self.run_deadline(run) if run.awaited else None
            if deadline is not None:
                yield Change(deadline + 1, 1, partial(self.stick, run, deadline))

    def stick(self, run: Run, deadline: int, look: int) -> None:
        """Silently while it is down already."""
        self.close(run, "stuck")
        if self.down is None:
            self.go_down("stuck", deadline)
            self.tell("stuck", deadline)

    def is_awaited(self) -> bool:
        """It has max_run_seconds, or one of the last three runs with a start was ended."""
        if self.terms.max_run_seconds:
            return True
        started = sorted((run for run in self.runs[-200:] if run.by_start), key=Run.age)
        return any(run.was_ended for run in started[-3:])

    def close(self, run: Run, state: str, at: int | None = None) -> None:
        run.state, run.ended = state, at
        self.open_runs = [other for other in self.open_runs if other is not run]

    def forget_older(self, newer: Run, but_awaited: bool = False) -> None:
        """Older open runs of the same host become unknown: killed and started again is well."""
        for run in list(self.open_runs):
            if but_awaited and run.awaited:
                continue
            if run.host == newer.host and run.age() < newer.age():
                self.close(run, "unknown")

    # -- pairing

    def run_of(self, act: Action) -> Run | None:
        """The run that takes this end; a stuck or unknown one while no later one has ended."""
        if act.series is not None:
            run = self.of_series.get(act.series)
            return run if run and not run.was_ended else None
        mine = [run for run in self.open_runs if run.host == act.host and run.series is None]
        if mine:
            return max(mine, key=Run.age)
        last = max(
            (
                run
                for run in self.runs[-300:]
                if run.host == act.host and (run.series is None or run.was_ended)
            ),
            key=Run.age,
            default=None,
        )
        return last if last and not last.was_ended else None

    def is_same_start(self, act: Action) -> bool:
        """Within 10 s without a series, or with that of a running run, or a retry of a start.

        One that its own end has overtaken is none either."""
        if act.series is not None:
            run = self.of_series.get(act.series)
            if run is None:
                return False
            if run.by_start:
                return run.state == "running" or act.at - run.began <= RETRY
            return run.ended is not None and act.at - run.ended <= RETRY
        return any(
            run.by_start
            and run.series is None
            and run.host == act.host
            and run.address == act.address
            and act.at - run.began <= RETRY
            for run in self.open_runs
        )

    def is_retry(self, act: Action, state: str) -> bool:
        """Within 10 s, the same outcome of a run of its series."""
        run = self.of_series.get(act.series) if act.series is not None else None
        return (
            run is not None
            and run.state == state
            and run.ended is not None
            and act.at - run.ended <= RETRY
        )

    def open(self, run: Run) -> Run:
        self.numbers += 1
        run.number = self.numbers
        self.runs.append(run)
        if run.series is not None:
            self.of_series[run.series] = run
        if run.state == "running":
            self.open_runs.append(run)
        return run

    # -- retention

    def forget(self, at: int) -> None:
        """What is too old goes, but the newest open run of a host, and the last three starts."""
        before = at - KEEP
        if not any(run.began < before for run in self.runs):
            return
        for run in list(self.open_runs):
            newer = (other for other in self.runs if other.host == run.host)
            is_behind = any(run.age() < other.age() and other.began < before for other in newer)
            if is_behind and not run.awaited:
                self.close(run, "unknown")
        starts = sorted((run for run in self.runs if run.by_start), key=Run.age)[-3:]
        self.runs = [
            run
            for run in self.runs
            if run.began >= before or run.state == "running" or run in starts
        ]
        self.of_series = {run.series: run for run in self.runs if run.series is not None}

    # -- pings

    def do(self, act: Action) -> None:
        """Whatever it is, what fell due before it comes first."""
        self.forget(act.at)
        if act.back_to is not None:
            self.turn_back(act.at, act.back_to)
            return
        self.settle(act.at)
        doing: dict[str, Callable[[Action], None]] = {
            "start": self.start,
            "success": self.success,
            "fail": self.fail,
            "ok": self.ok,
            "progress": self.progress,
            "log": lambda act: None,
            "edit": self.edit,
            "pause": self.begin_pause,
            "resume": self.resume,
            "renew": self.renew,
        }
        doing[act.word](act)

    def start(self, act: Action) -> None:
        if self.is_same_start(act):
            return
        awaited, longest = self.is_awaited(), self.terms.max_run_seconds
        run = self.run_ahead(act)
        if run is None:
            run = self.open(Run(act.at, act.series, act.host, act.address, True))
        run.began, run.by_start, run.awaited = act.at, True, awaited
        run.next_at = self.next_expected(act.at)
        run.limit_at = act.at + longest * SECOND if longest else None
        if not awaited:
            self.forget_older(run)
        if self.terms.expects == "run":
            self.sign_of_life(act.at, act.at, run)
            self.recover_by_start(act.at)
            self.leave_new()

    def run_ahead(self, act: Action) -> Run | None:
        """The open run of its series that progress has opened; without a series, a moment ago."""
        if act.series is not None:
            run = self.of_series.get(act.series)
        else:
            mine = [run for run in self.open_runs if run.host == act.host and run.series is None]
            run = max(mine, key=Run.age, default=None)
        if run is None or run.state != "running" or run.by_start:
            return None
        return run if act.series is not None or act.at - run.began <= RETRY else None

    def success(self, act: Action) -> None:
        if self.is_retry(act, "success"):
            return
        run, own = self.end_run(act, "success")
        self.forget_older(run, but_awaited=bool(self.terms.max_run_seconds))
        self.in_a_row = 0
        self.sign_of_life(act.at, own, run)
        self.be_well(act.at)
        self.look_at_rules(act, run)

    def end_run(self, act: Action, state: str) -> tuple[Run, int]:
        """A success or fail that finds no run is a run that is already over."""
        found = self.run_of(act)
        own = self.own_time(act, found)
        run = found or self.open(Run(own, act.series, act.host, act.address, False, state=state))
        run.began = min(run.began, own)
        self.close(run, state, act.at)
        return run, own

    def fail(self, act: Action) -> None:
        """Told where as many as are tolerated went before; a tolerated one is a sign of life."""
        newest = self.of_series.get(act.series) if act.series is not None else None
        if newest is not None and newest.state == "failed" and newest.ended is not None:
            since = act.at - newest.ended
            if since <= SAME_FAILURE:
                if since > RETRY and newest.was_sign:
                    self.fail_on(act, newest)
                return  # counts once
        run, own = self.end_run(act, "failed")
        is_tolerated = self.in_a_row < self.terms.tolerance
        self.in_a_row += 1
        if self.terms.expects == "run" or is_tolerated:
            run.was_sign = True
            self.sign_of_life(act.at, own, run)
        if self.pause:
            return
        if self.down is None and not is_tolerated:
            self.go_down("failed", act.at)
        if self.down:
            self.down.failed += 1
        if not is_tolerated and self.failures.lets_pass(act.at):
            self.tell("failed", act.at)
        self.leave_new()

    def fail_on(self, act: Action, run: Run) -> None:
        """The same failure, later than a retry: by its run's start, else by its arrival."""
        if run.by_start:
            self.sign_of_life(act.at, run.began, run)
        else:
            self.sign_of_life(act.at, act.at)
        self.leave_new()

    def ok(self, act: Action) -> None:
        """Success without an event, at its arrival; drops digest and reminders."""
        self.in_a_row = 0
        self.sign_of_life(act.at, act.at)
        self.be_well(act.at, silently=True)
        self.silent = Spacing()

    def progress(self, act: Action) -> None:
        """Without an open run opens one that is never awaited."""
        if act.series is not None:
            run = self.of_series.get(act.series)
            is_open = run is not None and not run.was_ended
        else:
            is_open = any(run.host == act.host and run.series is None for run in self.open_runs)
        if not is_open:
            self.open(Run(act.at, act.series, act.host, act.address, False))

    def leave_new(self) -> None:
        """Up with the first sign of life."""
        if self.status == "new":
            self.status = "up"

    # -- digests

    def digest_changes(self) -> Iterator[Change]:
        for kind, spacing in (("failed", self.failures), ("silent_failure", self.silent)):
            if spacing.held and spacing.until is not None:
                digest = partial(self.tell_digest, kind, spacing, spacing.until)
                yield Change(spacing.until, 3, digest)

    def tell_digest(self, kind: str, spacing: Spacing, at: int, look: int) -> None:
        self.tell(kind, at, spacing.held, spacing.rules)
        spacing.tell(at)

    # -- silent failure

    def look_at_rules(self, act: Action, run: Run) -> None:
        """A missing field skips the rule; a success without a match ends the spacing."""
        known = dict(act.metrics)
        if act.duration is not None:
            known["duration_seconds"] = act.duration / SECOND
        elif run.by_start:
            known["duration_seconds"] = (act.at - run.began) / SECOND
        if act.exit_code is not None:
            known["exit_code"] = act.exit_code
        matched = tuple(
            rule
            for rule in self.terms.rules
            if rule[0] in known and getattr(operator, rule[1])(known[rule[0]], rule[2])
        )
        if not matched:
            self.silent = Spacing()
        elif not self.pause:
            self.silent.rules = matched
            if self.silent.lets_pass(act.at):
                self.tell("silent_failure", act.at, rules=matched)

    # -- recovered

    def be_well(self, at: int, silently: bool = False) -> None:
        """Down ends with success or ok; the event says for how long, and how often what."""
        if self.pause:
            self.pause.was_well = True
            return
        if self.down:
            down, missed = self.down, min(len(self.down.missed), MISSED_MOST)
            seconds = (at - down.since) // SECOND
            if not silently:
                self.told.append(
                    Told("recovered", at, down.reason, None, down.failed, missed, seconds)
                )
            self.down = None
            self.silent = Spacing()
        self.failures = Spacing()
        self.status = "up"

    def recover_by_start(self, at: int) -> None:
        """Down as missed also ends with a start, where no failure has come since."""
        if not self.pause and self.down and self.down.reason == "missed" and not self.down.failed:
            self.be_well(at)

    # -- reminders

    def reminder_changes(self) -> Iterator[Change]:
        """At down since + k times the interval."""
        if self.down and self.terms.reminder_seconds:
            every = self.terms.reminder_seconds * SECOND
            passed = (self.down.reminded - self.down.since) // every
            at = self.down.since + (passed + 1) * every
            yield Change(at, 4, partial(self.remind, self.down, at, every))

    def remind(self, down: Down, at: int, every: int, look: int) -> None:
        """Of more than one due at one look the last is told."""
        down.reminded = at
        if at + every > look:
            self.tell("reminder", at)

    # -- pause

    def begin_pause(self, act: Action) -> None:
        """Status, deadlines and events rest; a second one replaces the end."""
        until = None if act.hours is None else act.at + act.hours * HOUR
        if self.pause:
            self.pause.until = until
            return
        self.pause, self.status = Pause(until, self.status), "paused"
        self.expect(None)
        self.failures, self.silent = Spacing(), Spacing()

    def await_no_run(self) -> None:
        """A run open when the pause ends is not awaited any more."""
        for run in self.open_runs:
            run.awaited = False

    def pause_ends(self, look: int) -> None:
        """By time: down again, or failed, or new, or up; counted from then, without early."""
        assert self.pause
        assert self.pause.until is not None
        before, at = self.pause, self.pause.until
        self.pause = None
        self.await_no_run()
        self.expect(self.occurrence_after(at))
        if before.status == "down" and not before.was_well:
            assert self.down
            self.come_back_down(self.down.reason, at)
        elif self.in_a_row > self.terms.tolerance:
            self.come_back_down("failed", at)
        elif before.status == "new" and not before.was_alive:
            self.status, self.down = "new", None
            self.expect(self.expected if self.terms.armed else None)
        else:
            self.status, self.down = "up", None

    def come_back_down(self, reason: str, at: int) -> None:
        """A new flip at that instant with its event; the counts begin anew, 1 for failed."""
        self.go_down(reason, at)
        assert self.down
        self.down.failed = int(reason == "failed")
        if reason == "failed":
            self.failures.tell(at)
        self.tell(reason, at)

    def resume(self, act: Action) -> None:
        """By hand: an ok without an event; nothing where it is not paused."""
        if self.pause:
            self.pause, self.status = None, "up"
            self.down = None
            self.await_no_run()
            self.ok(act)

    def renew(self, act: Action) -> None:
        """Cronping's resume makes it new, and armed again where it was new and armed."""
        if self.pause:
            was_new = self.pause.status == "new" and not self.pause.was_alive
            is_armed = was_new and self.terms.armed
            self.pause, self.status, self.down = None, "new", None
            self.await_no_run()
            self.in_a_row = 0
            self.expect(self.occurrence_after(act.at) if is_armed else None)

    # -- edits

    def edit(self, act: Action) -> None:
        """A changed schedule counts anew from here, a changed grace holds from here on."""
        assert act.terms
        old, self.terms = self.terms, act.terms
        if old.grace_seconds != self.terms.grace_seconds:
            self.grace_edited = act.at
            self.promised = self.expected  # what passed, passed with the grace that it had
        if old.schedule != self.terms.schedule:
            self.freeze_runs(old)
            if not self.pause and (self.status != "new" or self.terms.armed):
                self.expect(self.occurrence_after(act.at))

    def freeze_runs(self, old: Terms) -> None:
        """What an open run counts for is gone with the schedule; its own deadline stays."""
        new, self.terms = self.terms, old
        for run in self.runs:
            if run.next_at is not None:
                run.limit_at, run.next_at = self.run_deadline(run), None
        self.terms = new

    # -- we were away

    def away(self, since: int, until: int) -> bool:
        """A time in which no ping could arrive; whether the outage names this monitor.

        A look of after its begin was one of the server that died; what it saw pass is no absence
        of the job's."""
        self.forget(until)
        seen = bisect_left(self.looks, until)
        self.settle(max(since, self.looks[seen - 1]) if seen else since)
        self.settle_gap(until)
        self.await_again(since)
        is_held = self.held_until() > 0
        lost = [] if until - since <= RESTART else list(self.open_runs)
        for run in lost:
            self.close(run, "unknown")
        unverified = not self.pause and self.could_not_verify(since, until, is_held)
        if self.down:
            self.down.reminded = max(self.down.reminded, until)
        self.gaps.append((since, until))
        self.settled = until
        is_soon = self.expected is not None and self.expected <= until + HOUR
        return self.status in ("new", "up") and bool(lost or unverified) and not is_soon

    def await_again(self, since: int) -> None:
        """What a monitor that is down already seemed to miss in the gap was not judged yet."""
        if self.down is None:
            return
        late = [pair for pair in self.down.missed if since <= pair[0] != self.down.since]
        if late:
            self.expected = min(occurrence for _, occurrence in late)
            self.down.missed = [pair for pair in self.down.missed if pair not in late]

    def settle_gap(self, until: int) -> None:
        """The ends of pauses and the digests, at their true times."""
        while (change := self.first_change(0, 3)) and change.order <= until:
            change.happen(until)

    def could_not_verify(self, since: int, until: int, is_held: bool) -> bool:
        """An occurrence whose window meets the gap; as if a sign of life had come at its end.

        Where a run holds it back only a gap of more than a minute; never twice in a row, unless
        the whole window lies in the gap."""
        if self.expected is None:
            return False
        is_met = self.expected - self.early(self.expected) <= until
        if self.down and (is_met or self.unverified):
            self.promised = self.expected
        if not is_met:
            return False
        if is_held and until - since <= RESTART:
            return False
        if not is_held and self.deadline(self.expected) < since:
            return False
        if self.unverified and not self.is_within(self.expected, since, until):
            return False
        wanted = self.next_expected(until, unverified=True)
        assert wanted is not None
        self.expect(max(self.expected, wanted))
        self.unverified = True
        return True

    # -- a clock that goes back

    def turn_back(self, before: int, now: int) -> None:
        """A gap of no length: no instant or deadline lies too late."""
        self.settle(before)  # by the last look, which the clock lies behind
        while self.down and self.expected is not None and self.deadline(self.expected) < before:
            self.miss(before)
        self.began = None if self.began is None else min(self.began, now)
        self.grace_edited = min(self.grace_edited, now)
        if self.down:
            self.down.since = min(self.down.since, now)
            self.down.reminded = min(self.down.reminded, now)
        for spacing in (self.failures, self.silent):
            if spacing.until is not None:
                longest = FIRST_SPACE * 2 ** (spacing.told - 1)
                spacing.until = min(spacing.until, now + min(longest, LONGEST_SPACE))
        self.gaps = [(min(since, now), min(until, now)) for since, until in self.gaps]
        self.gaps.append((now, now))
        moves = self.terms.cron is None or before - now >= SMALL_TURN
        following = self.next_expected(now, unverified=True) if moves else None
        if following is not None:
            self.expect(None if self.expected is None else min(self.expected, following))
        else:
            self.promised = self.expected
        for run in self.runs:
            self.turn_run_back(run, now, following)
        self.settled = now

    def turn_run_back(self, run: Run, now: int, following: int | None) -> None:
        if run.state != "running" and run.began > now:
            run.next_at = None  # it is worked out anew if the run takes an end
        run.began = min(run.began, now)
        run.ended = None if run.ended is None else min(run.ended, now)
        if following is not None and run.next_at is not None:
            run.next_at = min(run.next_at, following)
        if run.limit_at is None:
            return
        if self.terms.max_run_seconds:
            run.limit_at = min(run.limit_at, now + self.terms.max_run_seconds * SECOND)
        elif following is not None:
            run.limit_at = min(run.limit_at, self.deadline(following))


def iso(at: int) -> str:
    """An instant as people read it."""
    return str(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at))

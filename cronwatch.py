#!/usr/bin/env python3
"""cronwatch: a self-hosted monitor for cron jobs and heartbeats.

Jobs send small HTTP pings; cronwatch notices failure, lateness and silence, and tells people. One
process, one SQLite file, this module. Read it from the top: a section uses only those above.

    Settings        what can be set, and the one exception for a caller's mistakes
    Schedules       when a cron expression comes round                              (pure)
    Records         a monitor, a run, a ping, an event                              (pure)
    Rules           when a monitor is in trouble, and what a ping does about it     (pure)
    Dialects        how each service words a ping, a reply and an error             (pure)
    Storage         the database: opening, migrating, one writer, many readers
    Actions         one transaction each: create, pause, scan, judge an absence, prune
    Pings           who is meant by a ping, and what becomes of it
    Alerts          what an event says, how it is sent, the outbox
    Management      monitors and integrations as the API and the command line word them
    Reports         what has happened: pings, runs, events, uptime, the summary, health
    People          users, sessions and API keys, and what each may do
    Background      the threads that scan, deliver and keep house
    Metrics         what Prometheus asks for
    HTTP plumbing   refusals, authentication, limits, headers
    HTTP routes     pings, the management API, the page; the server as a whole
    Configuration   a crontab to begin with, or a file that is kept under version control
    Command line    serve, monitor, integration, key, user, import, export, apply, backup
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import difflib
import errno
import fcntl
import gc
import getpass
import hashlib
import hmac
import html
import http.client
import importlib
import itertools
import json
import logging
import math
import operator
import os
import queue
import re
import resource
import secrets
import shlex
import shutil
import signal
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import uuid
from bisect import bisect_left
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from email.message import EmailMessage
from email.utils import formatdate
from functools import cache, lru_cache, partial
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, ClassVar, NamedTuple, NoReturn, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import bottle
import peewee
import prometheus_client as prometheus
import waitress.server
from croniter import croniter
from peewee import SqliteDatabase, Table
from prometheus_client.core import GaugeMetricFamily

__version__ = "0.1.0"

HERE = Path(__file__).resolve().parent
DATA = HERE / "cronwatch_data" if (HERE / "cronwatch_data").is_dir() else HERE

log = logging.getLogger("cronwatch")


# == Settings =================================================================
# What can be set. Nothing here opens, reads or starts anything.
class Refused(Exception):
    """What a caller cannot have: an HTTP status, a code for programs, a sentence for people."""

    def __init__(
        self,
        sentence: str,
        code: str = "INVALID_REQUEST",
        status: int = 400,
        wait: int | None = None,
    ) -> None:
        super().__init__(sentence)
        self.sentence, self.code, self.status, self.wait = sentence, code, status, wait


class Invalid(Refused):
    """A caller's mistake; the sentence names the field and the rule."""


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


def _parse_setting(name: str, kind: type, text: Any) -> Any:
    try:
        if kind is bool and text is not True:
            return {
                "1": True,
                "true": True,
                "yes": True,
                "on": True,
                "0": False,
                "false": False,
                "no": False,
                "off": False,
            }[text.lower()]
        value = kind(text)
    except (KeyError, ValueError):
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise Invalid(f"{name} must be {wanted}, not {text!r}") from None
    if kind is not str and not 0 <= value < 2**31:
        raise Invalid(f"{name} must be 0 to 2147483647, not {text!r}")
    return value


@dataclass(frozen=True)
class Settings:
    """Each field is a flag of `serve`, an environment variable and a row of the README's table."""

    database: str = _setting("cronwatch.db", "the file that holds everything")
    listen: str = _setting("127.0.0.1:8080", "address and port; port 0 picks a free one")
    base_url: str = _setting("", "how others reach this, for links; else --listen")
    timezone: str = _setting("", "zone of schedules without one; else the host's")
    scan_seconds: float = _setting(5.0, "how often to look for what fell due")
    failure_alert_seconds: int = _setting(60, "how long further failures are collected at first")
    url_prefix: str = _setting("", "path at which a proxy has it, such as /cronwatch")
    keep_days: int = _setting(90, "days to keep pings, runs and events; 0: for ever")
    keep_pings: int = _setting(2000, "pings, runs and events kept of a monitor; 0: all")
    keep_logs: int = _setting(100, "logs kept of a monitor; 0: all")
    log_format: str = _setting("text", "how the log is written: text or json")
    log_level: str = _setting("info", "debug (each request), info, warning or error")
    heartbeat_url: str = _setting("", "pinged while all is well: let another box watch")
    api_rate_limit: int = _setting(100, "management requests a minute and key; 0: no limit")
    session_days: int = _setting(30, "days until who signed in has to do so again")
    authenticate_pings: bool = _setting(False, "drop Cronitor pings without a valid auth_key")
    trusted_proxy: str = _setting("", "address of a proxy whose X-Forwarded-For is true")
    smtp_host: str = _setting("", "mail server; without one no mail can be sent")
    smtp_port: int = _setting(587, "its port")
    smtp_security: str = _setting("starttls", "starttls, tls or none")
    smtp_user: str = _setting("", "name to sign in with; empty to send without")
    smtp_password: str = _setting("", "password to sign in with (better in the environment)")
    smtp_from: str = _setting("", "sender of mails; default cronwatch@ the host's name")

    @classmethod
    def load(cls, given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """The settings from flags, else variables, else defaults; `Invalid` for a wrong one."""
        values = {}
        for setting in dataclasses.fields(cls):
            text = given.get(setting.name)
            if text is None:
                text = environ.get(f"CRONWATCH_{setting.name.upper()}")
            if text is not None:
                values[setting.name] = _parse_setting(setting.name, type(setting.default), text)
        return cls(**values)


# == Schedules ================================================================
# Pure: when a cron expression comes round. No clock, database, HTTP or log.
CRON_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CRON_FIELDS = (  # what `*` stands for, and the rule; in croniter's order, seconds last
    (range(60), "minute must be 0-59"),
    (range(24), "hour must be 0-23"),
    (range(1, 32), "day of month must be 1-31 or L"),
    (range(1, 13), "month must be 1-12 or JAN-DEC"),
    (range(35), "day of week must be 0-7 or SUN-SAT, or as in 5#2 and L5"),
    (range(60), "second must be 0-59"),
)
DAY, WEEKDAY = 2, 4  # places in CRON_FIELDS


class Cron(NamedTuple):
    """A cron expression: the values of each field, and what Debian's cron makes of them."""

    minutes: list[int]
    hours: list[int]
    days: list[int]  # -1: the last of the month
    months: list[int]
    weekdays: list[int]  # Sunday is 0; plus 7 for each week of the month before, -7: the last
    seconds: list[int]
    both_days: bool  # must day of month and day of week both match, or is one enough?
    fixed: bool  # neither minute nor hour is a `*`: a clock change neither skips nor repeats it


def _cron_fields(schedule: str) -> list[str]:
    if len(schedule) > 500:
        raise Invalid("schedule must be at most 500 characters")
    text = " ".join(schedule.lower().split())
    if text == "@reboot":
        raise Invalid("@reboot never comes round")
    fields = CRON_WORDS.get(text, text).split()
    if len(fields) not in (5, 6):
        raise Invalid(f"schedule must have 5 fields, or 6 with seconds first, not {len(fields)}")
    if any(field[0] in "hr" for field in fields):
        raise Invalid("random (R) and hashed (H) times cannot be expected")
    return [*fields, "0"] if len(fields) == 5 else fields[1:] + fields[:1]


def _field_values(place: int, field: str) -> list[int]:
    every, rule = CRON_FIELDS[place]
    if field == "*":
        return list(every)
    # croniter reads 5-5, which is 5 to cron, as `*`, and 15W (nearest working day) as 15.
    field = re.sub(r"(?<![^,])0*(\w+)-0*\1(/\d+)?(?![^,#])", r"\1", field)
    alone = ["*"] * place + [field] + ["*"] * (5 - place)
    try:
        fields, nth = croniter.expand(" ".join(alone))
    except ValueError:
        raise Invalid(rule) from None
    if place == DAY and "w" in field:
        raise Invalid(rule)
    if nth:
        weeks = [(int(day), n) for day in nth for n in nth[day]]
        return [day + (7 * n - 7 if isinstance(n, int) else -7) for day, n in weeks]
    if "*" in fields[place]:
        return list(every)
    steps = range(0, 35, 7) if place == WEEKDAY else [0]
    return sorted(-1 if n == "l" else int(n) + step for n in fields[place] for step in steps)


def _is_day(cron: Cron, day: int, length: int, weekday: int) -> bool:
    left = day - length - 1
    in_month = day in cron.days or left in cron.days
    week, last = weekday + (day - 1) // 7 * 7, weekday + left // 7 * 7
    in_week = week in cron.weekdays or last in cron.weekdays
    return (in_month and in_week) if cron.both_days else (in_month or in_week)


def _day_from(cron: Cron, start: date) -> date:
    years = range(start.year, start.year + 41)  # from 2072 to 2112 no Monday is a 29 February
    for year, month in ((year, month) for year in years for month in cron.months):
        if (year, month) >= (start.year, start.month):
            before, length = monthrange(year, month)  # the weekday before the first
            begin = max(1, (start - date(year, month, 1)).days + 1)
            for day in range(begin, length + 1):
                if _is_day(cron, day, length, (before + day) % 7):
                    return date(year, month, day)
    raise Invalid("has no next run")


@lru_cache(1024)
def parse_cron(schedule: str) -> Cron:
    """Expand a schedule in croniter's syntax; raises Invalid, with the rule, if it never runs.
    A field that lists all its values is a `*`: that is how cronradar-celery writes one.
    """
    fields = _cron_fields(schedule)
    values = [_field_values(place, field) for place, field in enumerate(fields)]
    minute, hour, day, _, weekday, _ = (
        field.startswith("*") or set(every) <= set(found)
        for field, found, (every, _) in zip(fields, values, CRON_FIELDS, strict=True)
    )
    cron = Cron._make([*values, day or weekday, not minute and not hour])
    _day_from(cron, date(2000, 1, 1))
    return cron


@lru_cache(1024)
def check_timezone(timezone: str) -> ZoneInfo:
    """Return the zone of an IANA name; raises Invalid where there is none."""
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # unknown; a bad path or file; a folder, or too long
        raise Invalid("timezone must be an IANA name such as Europe/Berlin") from None


def _wall_from(cron: Cron, start: datetime) -> datetime:
    """Return the first match from `start` on, both as a clock on the wall shows them."""
    day = _day_from(cron, start.date())
    now = start.time() if day == start.date() else time()
    times = (
        datetime.combine(day, time(hour, minute, second))
        for hour in cron.hours[bisect_left(cron.hours, now.hour) :]
        for minute in cron.minutes
        if (hour, minute) >= (now.hour, now.minute)
        for second in cron.seconds
        if (hour, minute, second) >= (now.hour, now.minute, now.second)
    )
    return next(times, None) or _wall_from(cron, datetime.combine(day, time()) + timedelta(1))


def _instants(zone: ZoneInfo, wall: datetime) -> list[int]:
    return [int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1)]


def _clock_changes(zone: ZoneInfo, wall: datetime) -> list[int]:
    """Return the instant of the change that skips or repeats a time; empty for most times."""

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at, zone).utcoffset()

    early, late = sorted(_instants(zone, wall))
    kept = bisect_left(range(early, late), True, key=lambda at: offset(at) != offset(early))
    return [early + kept] if early < late else []


def _next_fixed(cron: Cron, zone: ZoneInfo, after: int) -> int:
    shown = datetime.fromtimestamp(after, zone)
    if shown.fold:  # all that is repeated has run before the change
        shown = datetime.fromtimestamp(_clock_changes(zone, shown)[0] - 1, zone)
    wall = _wall_from(cron, shown.replace(tzinfo=None, fold=0) + timedelta(seconds=1))
    return min(_instants(zone, wall)[:1] + _clock_changes(zone, wall))


def _next_wildcard(cron: Cron, zone: ZoneInfo, after: int) -> int:
    start = after + 1
    for _ in range(100):  # `*/9 2 * 3 0#2` is skipped each year in New York
        shown = datetime.fromtimestamp(start, zone).replace(tzinfo=None, fold=0)
        wall = _wall_from(cron, shown)
        found = next(at for at in _instants(zone, wall) if at >= start)
        changes = _clock_changes(zone, shown) + _clock_changes(zone, wall)
        ahead = [at for at in changes if start < at <= found]
        if not ahead:
            return found
        start = ahead[0]
    raise Invalid("has no next run")


def next_run(schedule: str, timezone: str, after: int) -> int:
    """Return the next occurrence after an instant, both in ms since 1970 UTC; raises Invalid.
    Debian cron, DST: with a fixed minute and hour a job runs once, right after the change where
    its time is skipped; any other runs whenever the clock shows a match.
    """
    cron, zone = parse_cron(schedule), check_timezone(timezone)
    search = _next_fixed if cron.fixed else _next_wildcard
    return 1000 * search(cron, zone, after // 1000)


def run_before(schedule: str, timezone: str, at: int, floor: int) -> int | None:
    """Return the last occurrence from `floor` until before `at`, all in ms, or None."""
    if next_run(schedule, timezone, floor - 1) >= at:
        return None  # as for most: nothing to search for
    instants = range(floor - 1, at)
    count = bisect_left(instants, at, key=lambda after: next_run(schedule, timezone, after))
    return next_run(schedule, timezone, instants[count - 1]) if count else None


EACH = [list(every) for every, _ in CRON_FIELDS]
DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTH_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _listed(words: Sequence[Any]) -> str:
    """Words in a row: a, b and c."""
    said = [str(word) for word in words]
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]


def _describe_time(cron: Cron) -> str:
    """At what time of a day, where that can be said briefly."""
    minutes, hours, seconds = cron.minutes, cron.hours, cron.seconds
    step = minutes[1] - minutes[0] if len(minutes) > 1 else 0
    if seconds != [0]:
        return ""
    if len(minutes) * len(hours) <= 6:
        return "at " + _listed([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
    if hours == EACH[1] and len(minutes) == 1:
        return f"every hour at minute {minutes[0]}"
    if hours == EACH[1] and step and minutes == list(range(0, 60, step)):
        return f"every {step} minutes" if step > 1 else "every minute"
    return ""


def describe_cron(schedule: str) -> str:
    """A schedule in words, or as it is where words would be longer."""
    cron = parse_cron(schedule)
    when, week = _describe_time(cron), [day for day in cron.weekdays if day < 7]
    all_days, all_week = cron.days == EACH[DAY], set(week) >= set(range(7))
    if (
        not when
        or not (all_days or all_week)
        or (not all_week and len(cron.weekdays) != 5 * len(week))
    ):
        return f"when {schedule} matches"
    named = [DAY_NAMES[day] for day in sorted(week, key=lambda day: day or 7)]
    dated = ["the last day" if day == -1 else f"day {day}" for day in cron.days]
    days = (
        f"on {_listed(dated)} of the month"
        if not all_days
        else "from Monday to Friday"
        if week == [1, 2, 3, 4, 5]
        else f"on {_listed(named)}"
        if not all_week
        else "every day"
        if when.startswith("at ")
        else ""
    )
    months = (
        ""
        if cron.months == EACH[3]
        else "in " + _listed([MONTH_NAMES[month - 1] for month in cron.months])
    )
    return " ".join(filter(None, (days, when, months)))


# == Records ==================================================================
# Pure: what the rules speak about, as rows of schema.sql. No clock, database, HTTP or log.
@dataclass(slots=True)
class Monitor:
    """A row of the table monitor, in its order; schema.sql says what each column means."""

    num: int
    id: str
    key: str
    name: str
    tags: str
    notes: str
    created_at: int
    updated_at: int
    cron: str | None
    interval_seconds: int | None
    timezone: str
    grace_seconds: int
    expects: str
    max_run_seconds: int | None
    failure_tolerance: int
    reminder_interval_seconds: int | None
    min_ping_interval_seconds: int | None
    email_alerts: int
    armed: int
    default_integrations: int
    rules: str | None
    declared: str | None
    status: str
    down_reason: str | None
    down_since: int | None
    expected_at: int | None
    counted_at: int | None
    life_at: int | None
    grace_at: int | None
    failures: int
    failed_count: int
    missed_count: int
    reminded_at: int | None
    pause_until: int | None
    resume_status: str | None
    digests: str | None
    limited_at: int | None
    last_ping_at: int | None
    dropped_pings: int
    due_at: int | None
    ping_count: int


@dataclass(slots=True)
class Run:
    """A row of the table run, in its order."""

    num: int
    monitor: int
    state: str
    started_at: int
    ended_at: int | None = None
    series: str | None = None
    host: str | None = None
    address: str | None = None
    opened: int = 0
    awaited: int = 0
    next_at: int | None = None
    deadline_at: int | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    message: str | None = None
    metrics: str | None = None
    matched: str | None = None


class Ping(NamedTuple):
    """One signal as it arrived; `num` is the row that it will be."""

    kind: str
    at: int
    num: int = 0
    series: str | None = None
    host: str | None = None
    env: str | None = None
    address: str | None = None
    user_agent: str | None = None
    message: str | None = None
    percent: int | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    metrics: str | None = None
    log: str | None = None
    sent_at: int | None = None  # the client's time, of a ping that it could only send later

    @property
    def own_at(self) -> int:
        """When what it reports was."""
        return self.at if self.sent_at is None else self.sent_at


class Rule(TypedDict):
    """A condition that a good run should not meet."""

    field: str
    operator: str
    value: float


class Flip(NamedTuple):
    """A change of status at its true time."""

    at: int
    status: str
    reason: str | None


@dataclass(frozen=True)
class Event:
    """Something worth telling, at its true time; what makes no sense for its kind is null."""

    kind: str
    at: int
    run: int | None = None
    reason: str | None = None
    down_since: int | None = None
    downtime_ms: int | None = None
    failed_count: int | None = None
    missed_count: int | None = None
    count: int | None = None
    rules: list[Rule] | None = None
    status: str | None = field(default=None, compare=False)  # the monitor's, as it was then


class Digest(NamedTuple):
    """What is collected of one kind until an instant, after so many were told."""

    told: int
    until: int
    collected: int = 0
    run: int | None = None
    rules: list[Rule] | None = None


@dataclass(slots=True)
class Life:
    """A monitor with the runs that matter, and the flips and events that the rules add."""

    monitor: Monitor
    runs: list[Run]
    failure_alert_seconds: int = 60
    flips: list[Flip] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def digests(m: Monitor) -> dict[str, Digest]:
    """What is being collected, by kind of event."""
    return {k: Digest(*v) for k, v in json.loads(m.digests).items()} if m.digests else {}


OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
SIGNS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "=": "eq", "!=": "ne"}


def check_rules(given: object) -> list[Rule]:
    """Rules in their stored form, at most 20, or `Invalid` with what is wrong with them."""
    if not isinstance(given, list) or len(given) > 20:
        raise Invalid("rules must be a list of at most 20")
    return [_check_rule(rule) for rule in given]


def _check_rule(given: object) -> Rule:
    fields = given if isinstance(given, dict) else {}
    name, sign, value = (fields.get(word) for word in ("field", "operator", "value"))
    sign = SIGNS.get(str(sign), str(sign))
    if (
        len(fields) != 3
        or not isinstance(name, str)
        or not re.fullmatch(r"[\w.-]{1,50}", name)
        or sign not in OPERATORS
        or isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not abs(value) < 2**53
    ):
        raise Invalid(
            "a rule must have a field (1 to 50 letters, digits and _ . -), an operator "
            f"({' '.join([*OPERATORS, *SIGNS])}) and a value (a number under 2^53)"
        )
    return {"field": name, "operator": sign, "value": value}


def matching_rules(m: Monitor, run: Run) -> list[Rule]:
    """The monitor's rules that a run's metrics, duration and exit code match."""
    if m.rules is None:
        return []
    values = json.loads(run.metrics or "{}")
    if run.duration_ms is not None:
        values["duration_seconds"] = run.duration_ms / 1000
    if run.exit_code is not None:
        values["exit_code"] = run.exit_code
    return [
        rule
        for rule in json.loads(m.rules)
        if rule["field"] in values
        and OPERATORS[rule["operator"]](values[rule["field"]], rule["value"])
    ]


# == Rules ====================================================================
# Pure: no clock, database, HTTP or log; `now` is always an argument, instants are milliseconds.
ENDED, OUTCOMES = ("success", "failed"), {"success": "success", "fail": "failed"}
EARLY_SECONDS, REPEAT_SECONDS, SPACING_SECONDS, MISSED_MAX = 300, 10, 3600, 1000
SCHEDULE_FIELDS = ("cron", "interval_seconds", "timezone", "expects")


def next_occurrence(m: Monitor, after: int) -> int | None:
    """The first occurrence after an instant, for an interval the instant plus it."""
    if m.interval_seconds:
        return after + m.interval_seconds * 1000
    return next_run(m.cron, m.timezone, after) if m.cron else None


def _with_grace(m: Monitor, occurrence: int | None) -> int | None:
    """An edit of the grace makes nobody late before it."""
    return occurrence and max(occurrence + m.grace_seconds * 1000, m.grace_at or 0)


def deadline(m: Monitor) -> int | None:
    """The last instant at which the awaited occurrence is still met."""
    return _with_grace(m, m.expected_at)


def run_deadline(m: Monitor, run: Run) -> int | None:
    """The last instant at which an awaited run is not stuck yet."""
    return run.deadline_at or _with_grace(m, run.next_at)


def first_unbroken(m: Monitor, occurrence: int, at: int) -> int:
    """The occurrence, or the first one after it whose deadline has not passed."""
    if (_with_grace(m, occurrence) or 0) >= at:
        return occurrence
    late = at - m.grace_seconds * 1000 - occurrence
    if m.interval_seconds:
        step = m.interval_seconds * 1000
        return occurrence - -late // step * step
    return next_run(m.cron or "", m.timezone, occurrence + late - 1)


def early_ms(m: Monitor, occurrence: int) -> int:
    """How long before an occurrence a sign of life counts for it, in milliseconds."""
    limit = min(m.grace_seconds, EARLY_SECONDS) * 1000
    if m.interval_seconds:
        return min(limit, m.interval_seconds * 250)
    before = run_before(m.cron or "", m.timezone, occurrence, occurrence - 4 * limit)
    return limit if before is None else min(limit, (occurrence - before) // 4)


def next_after_life(m: Monitor, began: int) -> int | None:
    """The occurrence after the one that a sign of life which began then counts for."""
    if not m.cron:
        return next_occurrence(m, began)
    soon = began + min(m.grace_seconds, EARLY_SECONDS) * 1000
    if m.expected_at and (m.counted_at or 0) <= began and soon < m.expected_at:
        return m.expected_at  # nothing to compute: no occurrence lies between
    coming = next_run(m.cron, m.timezone, began)
    if coming > soon or coming - began > early_ms(m, coming) or _awaits_before(m, coming, began):
        return coming
    return next_run(m.cron, m.timezone, coming)


def _awaits_before(m: Monitor, coming: int, at: int) -> bool:
    """Whether an occurrence before this one still waits for a sign of life."""
    if m.expected_at is None or m.expected_at >= coming:
        return False
    return m.status != "down" or first_unbroken(m, m.expected_at, at) < coming


def missed_by(m: Monitor, at: int) -> int:
    """How many occurrences, from the awaited one on, had their deadline before an instant."""
    count, occurrence = 0, m.expected_at
    while (
        occurrence is not None
        and (_with_grace(m, occurrence) or 0) < at
        and m.missed_count + count < MISSED_MAX
    ):
        count, occurrence = count + 1, next_occurrence(m, occurrence)
    return count


def _count_missed(m: Monitor, at: int) -> None:
    """What a monitor that is down has missed is counted, and not awaited any more."""
    if m.status == "down" and m.expected_at:
        m.missed_count += missed_by(m, at)
        m.expected_at = first_unbroken(m, m.expected_at, at)


def _awaited(life: Life) -> list[tuple[int, Run]]:
    """The open runs that have a deadline, with it."""
    return [
        (met_until, run)
        for run in life.runs
        if run.state == "running"
        and run.awaited
        and (met_until := run_deadline(life.monitor, run)) is not None
    ]


# -- what changes by itself: when the next such change is, and what it does
def _end_pause(life: Life, at: int) -> None:
    m = life.monitor
    status, reason = m.resume_status or "up", m.down_reason
    if status != "down" and m.failures > m.failure_tolerance:
        status, reason = "down", "failed"
    _stop_pause(life, status, at, reason if status == "down" else None)
    awaits = status != "new" or m.armed
    m.expected_at, m.counted_at = next_occurrence(m, at) if awaits else None, at
    m.failed_count = int(status == "down" and reason == "failed")
    if m.failed_count:
        tell_or_collect(life, "failed", at)
    elif status == "down":
        tell(life, reason or "", at)


def _get_stuck(life: Life, at: int) -> None:
    run = next(run for end, run in _awaited(life) if end == at - 1)
    run.state = "stuck"
    if life.monitor.status != "down":
        flip(life, "down", at - 1, "stuck")
        tell(life, "stuck", at - 1, run=run.num)


def _missed_at(life: Life, now: int) -> int | None:
    m = life.monitor
    met_until = deadline(m)
    if met_until is None or m.status == "down":
        return None
    holds = (
        end
        for end, run in _awaited(life)
        if m.expects == "complete" and (m.life_at is None or run.started_at > m.life_at)
    )
    return max([met_until, *holds]) + 1


def _miss(life: Life, at: int) -> None:
    met_until = deadline(life.monitor) or at
    flip(life, "down", met_until, "missed")
    tell(life, "missed", met_until)


def _digest_at(life: Life, now: int) -> int | None:
    return min((d.until for d in digests(life.monitor).values() if d.collected), default=None)


def _tell_digest(life: Life, at: int) -> None:
    found = digests(life.monitor).items()
    kind, digest = next((kind, d) for kind, d in found if d.collected and d.until == at)
    tell(life, kind, at, run=digest.run, count=digest.collected, rules=digest.rules)
    _keep_digest(life, kind, Digest(digest.told + 1, at + spacing_ms(life, digest.told + 1)))


def _reminder_at(life: Life, now: int) -> int | None:
    m = life.monitor
    if m.status != "down" or not m.reminder_interval_seconds or m.down_since is None:
        return None
    step = m.reminder_interval_seconds * 1000
    last = max(now - step, m.reminded_at or 0, m.down_since)  # of several due now, the last
    return m.down_since + ((last - m.down_since) // step + 1) * step


def _remind(life: Life, at: int) -> None:
    life.monitor.reminded_at = at
    tell(life, "reminder", at)


Change = tuple[Callable[[Life, int], "int | None"], Callable[[Life, int], None]]
PAUSE_END: Change = (lambda life, now: life.monitor.pause_until, _end_pause)
DIGEST: Change = (_digest_at, _tell_digest)
STUCK: Change = (
    lambda life, now: min((end + 1 for end, _ in _awaited(life)), default=None),
    _get_stuck,
)
AGENDA = (PAUSE_END, STUCK, (_missed_at, _miss), DIGEST, (_reminder_at, _remind))  # in this order


def next_change(life: Life, now: int, agenda: Sequence[Change] = AGENDA) -> tuple[int, int] | None:
    """When something next changes by itself, and which line of the agenda that is."""
    lines = agenda[:1] if life.monitor.status == "paused" else agenda
    times = [
        (at, line) for line, (when, _) in enumerate(lines) if (at := when(life, now)) is not None
    ]
    return min(times) if times else None


def settle(life: Life, now: int, agenda: Sequence[Change] = AGENDA) -> None:
    """Let everything happen that fell due up to an instant, in the order of the true times."""
    while (change := next_change(life, now, agenda)) is not None and change[0] <= now:
        agenda[change[1]][1](life, change[0])


def flip(life: Life, status: str, at: int, reason: str | None = None) -> None:
    """Change the status; a pause remembers the one before and why the monitor was down."""
    m = life.monitor
    life.flips.append(Flip(at, status, reason))
    m.resume_status = m.status if status == "paused" else None
    m.status = status
    if status == "down":
        m.down_reason, m.down_since, m.reminded_at = reason, at, at
        m.failed_count = m.missed_count = 0
    elif status != "paused":
        m.down_reason = m.down_since = m.reminded_at = None


def tell(life: Life, kind: str, at: int, **more: Any) -> None:
    """Add an event; all but a silent failure say why the monitor is down, and since when."""
    m = life.monitor
    if kind != "silent_failure":
        more |= {"reason": m.down_reason, "down_since": m.down_since}
    life.events.append(Event(kind, at, **{"status": m.status, **more}))


def _keep_digest(life: Life, kind: str, digest: Digest | None) -> None:
    kept = {k: d for k, d in {**digests(life.monitor), kind: digest}.items() if d}
    life.monitor.digests = json.dumps(kept) if kept else None


def spacing_ms(life: Life, told: int) -> int:
    """How long events are collected after so many were told: doubled by each, up to an hour."""
    longest = max(SPACING_SECONDS, life.failure_alert_seconds)
    return min(life.failure_alert_seconds << min(told - 1, 20), longest) * 1000


def tell_or_collect(
    life: Life, kind: str, at: int, run: int | None = None, rules: list[Rule] | None = None
) -> None:
    """Tell at once what was quiet for long enough, else collect it for the next digest."""
    digest = digests(life.monitor).get(kind, Digest(0, at))
    if at < digest.until:
        digest = digest._replace(collected=digest.collected + 1, run=run, rules=rules)
    else:
        tell(life, kind, at, run=run, rules=rules)
        digest = Digest(digest.told + 1, at + spacing_ms(life, digest.told + 1))
    _keep_digest(life, kind, digest)


# -- what a ping does
def receive(life: Life, ping: Ping) -> Run | None:
    """Settle, then let a ping do what its kind does; the run that it belongs to."""
    settle(life, ping.at)
    repeated, run = find_repeated(life, ping), find_run(life, ping)
    if repeated is not None or ping.kind == "log":
        return repeated or run
    return RECEIVE[ping.kind](life, ping, None if run and run.state in ENDED else run)


def is_too_soon(life: Life, ping: Ping) -> int | None:
    """Seconds to wait where the owner's minimum interval is broken; ends of runs never do."""
    m = life.monitor
    if not m.min_ping_interval_seconds or ping.kind not in ("start", *OUTCOMES):
        return None
    run = find_run(life, ping)
    ends_run = ping.kind != "start" and run is not None and run.state not in ENDED
    if ends_run or find_repeated(life, ping):
        return None
    wait = (m.limited_at or 0) + m.min_ping_interval_seconds * 1000 - ping.at
    m.limited_at = m.limited_at if wait > 0 else ping.at
    return -(-wait // 1000) if wait > 0 else None


def _newest(runs: Iterable[Run]) -> Run | None:
    return max(runs, key=lambda run: (run.started_at, run.num), default=None)


def find_run(life: Life, ping: Ping) -> Run | None:
    """The run of the ping's series; without one the newest of its host that can take it."""
    if ping.series is not None:
        return _newest(run for run in life.runs if run.series == ping.series)
    mine = [run for run in life.runs if run.host == ping.host]
    running = _newest(run for run in mine if run.series is None and run.state == "running")
    if running is not None or ping.kind not in OUTCOMES:
        return running
    last = _newest(run for run in mine if run.series is None or run.state in ENDED)
    return last if last is not None and last.state not in ENDED else None


def find_repeated(life: Life, ping: Ping) -> Run | None:
    """The run of which a client sends again what is known of it."""
    if ping.series is not None:
        run = find_run(life, ping)
        return run if run is not None and _repeats(run, ping) else None
    return _newest(
        run
        for run in life.runs
        if run.series is None
        and run.state == "running"
        and (run.host, run.address) == (ping.host, ping.address)
        and _repeats(run, ping)
    )


def _repeats(run: Run, ping: Ping) -> bool:
    known_at = run.started_at if ping.kind == "start" else run.ended_at or 0
    soon = abs(ping.own_at - known_at) <= REPEAT_SECONDS * 1000
    if ping.sent_at is not None and ping.kind == "start" and ping.own_at <= (run.ended_at or 0):
        return True  # it comes after its own end
    if ping.kind == "start":
        return bool(run.opened) and (soon or (run.series is not None and run.state == "running"))
    return run.state == OUTCOMES.get(ping.kind) and (soon or ping.kind == "fail")


def _open(life: Life, ping: Ping, began: int, **more: Any) -> Run:
    run = Run(
        ping.num,
        life.monitor.num,
        "running",
        began,
        None,
        ping.series,
        ping.host,
        ping.address,
        message=ping.message,
        **more,
    )
    life.runs.append(run)
    return run


def _begin(life: Life, ping: Ping, _: Run | None) -> Run:
    m = life.monitor
    before = sorted((run for run in life.runs if run.opened), key=lambda run: run.started_at)[-3:]
    ends = m.max_run_seconds and ping.at + m.max_run_seconds * 1000
    awaited = ping.sent_at is None and (ends or any(run.ended_at is not None for run in before))
    run = _open(
        life,
        ping,
        ping.own_at,
        opened=1,
        awaited=int(bool(awaited)),
        deadline_at=ends,
        next_at=next_after_life(m, ping.own_at),
    )
    if not awaited:
        _abandon_before(life, run)
    if m.expects == "run":
        _live(life, run.started_at, run.next_at, ping.at)
        if m.down_reason == "missed" and m.status == "down" and not m.failed_count:
            _recover(life, ping.at, run)
    return run


def _abandon_before(life: Life, newer: Run) -> None:
    """Open runs of the same host that began before are over, nobody knows how."""
    for run in life.runs:
        if (
            run.state == "running"
            and run.host == newer.host
            and (run.started_at, run.num) < (newer.started_at, newer.num)
        ):
            run.state = "unknown"


def _live(life: Life, began: int, following: int | None, at: int) -> None:
    """A sign of life, of a run that began at its own time, moves what is expected."""
    m = life.monitor
    m.life_at = max(began, m.life_at or began)
    if m.status == "paused":
        m.resume_status = "up" if m.resume_status == "new" else m.resume_status
        return
    if m.status == "down":
        m.missed_count += missed_by(m, at)
    if following is not None and (m.expected_at is None or began >= (m.counted_at or 0)):
        m.expected_at, m.counted_at = max(following, m.expected_at or 0), began
    if m.expected_at is not None:
        m.expected_at = first_unbroken(m, m.expected_at, at)
    if m.status == "new":
        flip(life, "up", at)


def _recover(life: Life, at: int, run: Run) -> None:
    m = life.monitor
    tell(
        life,
        "recovered",
        at,
        run=run.num,
        status="up",
        failed_count=m.failed_count,
        missed_count=m.missed_count,
        downtime_ms=max(0, at - (m.down_since or at)),
    )
    m.digests = None
    flip(life, "up", at)


def _end(life: Life, ping: Ping, run: Run | None) -> tuple[Run, int, int | None]:
    """Close the run, or make one that is already over: it, when it began, and what follows it."""
    m = life.monitor
    if run is not None and run.opened:
        began = run.started_at
    else:
        reported = ping.own_at - (ping.duration_ms or 0)
        began = reported if m.life_at is None or reported > m.life_at else ping.own_at
    known = run and run.next_at if began >= (m.counted_at or 0) else None  # by this schedule
    run = run or _open(life, ping, began)
    run.started_at = min(run.started_at, began)
    run.state, run.exit_code = OUTCOMES[ping.kind], ping.exit_code
    run.ended_at = max(ping.own_at, run.started_at)
    run.duration_ms = run.ended_at - run.started_at if run.opened else ping.duration_ms
    run.message, run.metrics = ping.message or run.message, ping.metrics or run.metrics
    return run, began, known or next_after_life(m, began)


def _succeed(life: Life, ping: Ping, run: Run | None) -> Run:
    m = life.monitor
    run, began, following = _end(life, ping, run)
    m.failures = 0
    if m.max_run_seconds is None:
        _abandon_before(life, run)
    _live(life, began, following, ping.at)
    if m.status == "paused":
        m.resume_status = "up"
        return run
    if m.status == "down":
        _recover(life, ping.at, run)
    if matched := matching_rules(m, run):
        run.matched = json.dumps(matched)
        tell_or_collect(life, "silent_failure", ping.at, run.num, matched)
    else:
        _keep_digest(life, "silent_failure", None)
    return run


def _fail(life: Life, ping: Ping, run: Run | None) -> Run:
    m = life.monitor
    run, began, following = _end(life, ping, run)
    if ping.sent_at is not None and not m.failures and ping.own_at < (m.life_at or 0):
        return run  # it went well since then
    m.failures += 1
    beyond = m.failures > m.failure_tolerance
    if beyond and m.status not in ("down", "paused"):
        flip(life, "down", ping.at, "failed")
    m.failed_count += 1
    if m.expects == "run" or not beyond:
        _live(life, began, following, ping.at)
    if beyond and m.status == "down":
        tell_or_collect(life, "failed", ping.at, run.num)
    return run


def _ok(life: Life, ping: Ping, _: Run | None) -> None:
    m = life.monitor
    m.failures, m.digests = 0, None
    _live(life, ping.at, next_after_life(m, ping.at), ping.at)
    if m.status == "paused":
        m.resume_status = "up"
    elif m.status == "down":
        flip(life, "up", ping.at)


def _progress(life: Life, ping: Ping, run: Run | None) -> Run:
    run = run or _open(life, ping, ping.at)
    run.message = ping.message or run.message
    return run


RECEIVE: dict[str, Callable[[Life, Ping, Run | None], Run | None]] = {
    "start": _begin,
    "success": _succeed,
    "fail": _fail,
    "ok": _ok,
    "progress": _progress,
}


# -- what a person does, and what happens to the server
def pause(life: Life, now: int, until: int | None) -> None:
    """No deadline and no event until an instant, or until resumed."""
    settle(life, now)
    _count_missed(life.monitor, now)
    if life.monitor.status != "paused":
        life.monitor.digests = None
        flip(life, "paused", now)
    life.monitor.pause_until = until


def _stop_pause(life: Life, status: str, at: int, reason: str | None = None) -> None:
    life.monitor.pause_until = None
    for run in life.runs:
        run.awaited = 0 if run.state == "running" else run.awaited
    flip(life, status, at, reason)


def resume(life: Life, now: int, to_new: bool = False) -> None:
    """End a pause by hand, as an ok without an event or, as Cronping does, as new."""
    settle(life, now)
    m = life.monitor
    if m.status != "paused":
        return
    rearms, m.failures = m.resume_status == "new" and m.armed, 0
    _stop_pause(life, "new" if to_new else "up", now)
    if to_new:
        m.expected_at, m.counted_at = next_occurrence(m, now) if rearms else None, now
    else:
        _ok(life, Ping("ok", now), None)


def edit(life: Life, now: int, changes: Mapping[str, Any]) -> None:
    """Change columns; a changed schedule counts anew, a changed grace makes nobody late before."""
    settle(life, now)
    m = life.monitor
    changed = {name for name, value in changes.items() if getattr(m, name) != value}
    moves = not changed.isdisjoint(SCHEDULE_FIELDS)
    if moves or "grace_seconds" in changed:
        _count_missed(m, now)  # by the terms that they were missed under
    m.grace_at = now if "grace_seconds" in changed else m.grace_at
    for run in life.runs if moves else ():  # what it counts for is gone, its deadline stays
        run.deadline_at, run.next_at = run_deadline(m, run), None
    for name in changed:
        setattr(m, name, changes[name])
    if moves:
        awaits = m.status != "new" or m.armed
        m.expected_at, m.counted_at = next_occurrence(m, now) if awaits else m.expected_at, now


def judge_gap(life: Life, since: int, until: int) -> bool:
    """What cannot be verified since we were away is not missed; whether the outage names it."""
    settle(life, since)
    settle(life, until, (PAUSE_END, DIGEST))
    m = life.monitor
    lost = [run for run in life.runs if run.state == "running"]
    for run in lost:
        run.state = "unknown"
    unverified = m.status != "paused" and _skip_unverified(m, since, until)
    m.reminded_at = m.reminded_at and max(m.reminded_at, until)
    if m.status in ("down", "paused") or not (lost or unverified):
        return False
    return m.expected_at is None or m.expected_at > until + 3_600_000


def _skip_unverified(m: Monitor, since: int, until: int) -> bool:
    """Skip an occurrence whose window meets the gap, as if a sign of life had come at its end."""
    if m.expected_at is None:
        return False
    down = m.status == "down"
    awaited = first_unbroken(m, m.expected_at, since) if down else m.expected_at
    if awaited - early_ms(m, awaited) > until:
        return False
    m.missed_count += missed_by(m, max(since, (m.down_since or 0) + 1)) if down else 0
    m.expected_at = None
    m.expected_at, m.counted_at = max(awaited, next_after_life(m, until) or 0), until
    return True


def turn_back(life: Life, now: int) -> None:
    """After a clock that went backwards nothing lies later than it would be counted from now."""
    m = life.monitor
    for name in ("counted_at", "life_at", "grace_at", "down_since", "reminded_at", "limited_at"):
        setattr(m, name, getattr(m, name) and min(getattr(m, name), now))
    m.expected_at = m.expected_at and min(m.expected_at, next_occurrence(m, now) or m.expected_at)
    for kind, digest in digests(m).items():
        until = min(digest.until, now + spacing_ms(life, digest.told))
        _keep_digest(life, kind, digest._replace(until=until))


# == Dialects =================================================================
# Pure: how each service words a ping, a reply and an error. No database, clock, HTTP or log.
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LONGEST_MS = 10 * 366 * 86_400_000  # no job reports a longer run
JSON_MAX, METRICS_MAX = 65_536, 50


def clean(text: Any, limit: int, lines: bool = False) -> str | None:
    """Text that is safe to store and tell: valid UTF-8, no controls, bounded; None when empty."""
    if text is None or isinstance(text, (dict, list)):
        return None
    kept = str(text)[: 4 * limit].encode("utf-8", "replace").decode()
    kept = CONTROLS.sub("", kept) if lines else LINE_BREAKS.sub(" ", kept)
    return kept[:limit].strip() or None


def number(value: Any) -> float | None:
    """A finite number under 2^53, else None."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) < 2**53 else None


def whole(value: Any) -> int | None:
    """A number that `number` accepts, without its fraction."""
    found = number(value)
    return None if found is None else int(found)


def milliseconds(value: Any, unit: int = 1000) -> int | None:
    """A believable duration in milliseconds, from seconds; None where it is none."""
    found = number(value)
    return round(found * unit) if found is not None and 0 <= found * unit < LONGEST_MS else None


def parse_json(body: bytes) -> Any:
    """The JSON of a body; raises `Invalid` where it is none, too large or too deep."""
    try:
        return json.loads(body.decode("utf-8", "replace")) if len(body) <= JSON_MAX else None
    except (ValueError, RecursionError):
        raise Invalid("body must be JSON") from None


def numbers(value: Any, path: str = "", depth: int = 4) -> dict[str, float]:
    """The numbers in a JSON object by their dotted path; all else is dropped."""
    found: dict[str, float] = {}
    for name, item in value.items() if isinstance(value, dict) and depth else ():
        where = clean(f"{path}{name}", 50) or "_"
        if isinstance(item, dict):
            found.update(numbers(item, f"{where}.", depth - 1))
        elif (figure := number(item)) is not None:
            found[where] = int(figure) if figure.is_integer() else figure
    return dict(list(found.items())[:METRICS_MAX])


def iso(at: int | None, unit: str = "milliseconds") -> str | None:
    """An instant as ISO 8601 in UTC with `Z`."""
    if at is None:
        return None
    when = datetime.fromtimestamp(at // 1000, UTC) + timedelta(milliseconds=at % 1000)
    return when.isoformat(timespec=unit).replace("+00:00", "Z")


RESERVED = frozenset(
    (
        "api",
        "badge",
        "cronwatch-exec",
        "fail",
        "favicon.ico",
        "finish",
        "healthz",
        "metrics",
        "p",
        "ping",
        "robots.txt",
        "start",
        "static",
    )
)
TOKEN = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
CODE = re.compile(r"[0-9A-Za-z]{8}")


class Route(NamedTuple):
    """What a path says by itself: `family` settles the dialect, alone or with the handle."""

    family: str
    names: list[str]  # the first is a handle, a key or an API key; so may be the second
    bare: str | None = None  # what the form without a word means, where the path decides


def recoded(raw: str) -> str:
    """Text of a request line, whose bytes WSGI hands over as if they were Latin-1."""
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode("utf-8", "replace")


def split_path(raw: str) -> list[str]:
    """The parts of a raw request path, decoded one by one: a %2F stays inside its part."""
    if raw[:1] != "/":
        raw = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", raw)
    parts = recoded(raw).partition("?")[0].partition("#")[0].split("/")
    return [urllib.parse.unquote_plus(part, errors="replace") for part in parts if part]


def read_route(parts: list[str]) -> Route | None:
    """The route of a ping; None where the path belongs to something else."""
    for prefix, family, bare in ROUTES:
        rest = parts[len(prefix) :]
        if tuple(parts[: len(prefix)]) == prefix and rest:
            return Route(family, rest, bare)
    if not parts or parts[0] in RESERVED:
        return None
    return Route("root", parts)


ROUTES = (
    (("api", "v1", "ping"), "crontify", None),
    (("api", "push"), "kuma", "success"),
    (("p",), "cronitor", "success"),
    (("ping",), "ping", None),
    (("start",), "healthchecks", "start"),  # Cronhub's, in the words of borgmatic 1.9
    (("finish",), "healthchecks", "success"),
    (("fail",), "healthchecks", "fail"),
)
BY_HANDLE = {
    ("ping", "token"): "healthchecks",
    ("ping", "code"): "cronbeats",
    ("root", "token"): "cronping",
    ("root", "code"): "cronitor",
}


def dialect_for(route: Route, kind: str) -> Dialect:
    """The dialect of a route for a handle: ours by its shape, an adopted one by its own."""
    name = BY_HANDLE.get((route.family, kind), kind)
    return DIALECTS[route.family if route.family in DIALECTS else name]


def default_dialect(handle: str) -> str:
    """The dialect of an adopted handle that comes without one."""
    return "cronping" if TOKEN.fullmatch(handle) else "cronitor"


def unknown_dialect(route: Route) -> Dialect:
    """The dialect that words the refusal of something that nobody knows."""
    name, words = route.names[0], "/".join(route.names[1:])
    if route.family in DIALECTS:
        return DIALECTS[route.family]
    if TOKEN.fullmatch(name):
        return DIALECTS[BY_HANDLE[route.family, "token"]]
    if CODE.fullmatch(name) or (route.family == "ping" and words.startswith(("end/", "progress"))):
        return DIALECTS[BY_HANDLE[route.family, "code"]]
    return DIALECTS["cronping" if route.family == "root" else "cronradar"]


# -- words: the same ones on every path; they do not contradict each other

NO_WORD = "'{}' is not a known signal"
VERBS = {
    "start": "start",
    "run": "start",
    "r": "start",
    "b": "start",
    "begin": "start",
    "complete": "success",
    "c": "success",
    "e": "success",
    "success": "success",
    "end/success": "success",
    "finish": "success",
    "tick": "success",
    "up": "success",
    "fail": "fail",
    "f": "fail",
    "end/fail": "fail",
    "down": "fail",
    "ok": "ok",
    "log": "log",
    "progress": "progress",
}
NUMBERED = (
    (re.compile(r"(\d{1,3})"), "exit", 255),
    (re.compile(r"progress/(\d{1,3})"), "progress", 100),
    (re.compile(r"(?:pause|p)/(\d{1,100})"), "pause", 10**100),
)


def read_verb(words: Sequence[str], refusal: str = NO_WORD) -> tuple[str, int | None]:
    """The kind of a ping, or `pause`, and the number behind it: exit code, percent or hours."""
    word = "/".join(words).lower()
    if word in VERBS:
        return VERBS[word], None
    for pattern, kind, largest in NUMBERED:
        found = pattern.fullmatch(word)
        if found and found[1].isascii() and int(found[1]) <= largest:
            value = int(found[1])
            return (kind, value) if kind != "exit" else ("fail" if value else "success", value)
    raise Invalid(refusal.format(clean(word, 60)), "INVALID_URL")


def read_word(
    dialect: Dialect, bare: str, words: Sequence[str], query: Mapping[str, str]
) -> tuple[str, int | None]:
    """The kind of a ping, or `pause`, and its number: from the path, else the dialect's parameter.
    Raises `Invalid` for a word that is none."""
    if words:
        return read_verb(words, dialect.no_word)
    said = query.get(dialect.state, "") if dialect.state else ""
    return (dialect.states(said) if said else bare), None


def read_ping(
    dialect: Dialect,
    said: tuple[str, int | None],
    worded: bool,
    query: Mapping[str, str],
    metrics: Iterable[str],
    body: bytes,
) -> Ping:
    """The ping that a request stands for, with nothing in it that is not safe to store.
    Raises `Invalid` for the body of a progress that is not JSON."""
    kind, figure = said
    if not (query or metrics or body):  # as of most
        return Ping(
            kind,
            0,
            percent=figure if kind == "progress" else None,
            exit_code=figure if kind in OUTCOMES else None,
        )
    content = dialect.read_body(body, kind)
    parts = (re.sub(r"=(?=[^=:]*$)", ":", text).rpartition(":") for text in metrics)
    measured = {name: value for name, _, value in parts}
    percent = whole(content.get("progress")) if figure is None else figure
    # npm's Event reports, without a state, how long it collected: no run took that long.
    lasted = measured.get("duration") if worded else None
    figures = {**numbers(measured), **numbers(content.get("meta"))}
    given = query.get("status_code", figures.get("exit_code")) if kind in OUTCOMES else None
    series = query.get("series") or query.get("rid") or query.get("runId")
    if "rid" in query and not TOKEN.fullmatch(series or ""):
        series = None
    texts = (
        query.get("message"),
        query.get("msg"),
        content.get("message"),
        content.get("msg"),
        content.get("errorMessage"),
    )
    duration = milliseconds(query.get("duration", lasted))
    return Ping(
        kind,
        0,
        series=clean(series, 200),
        host=clean(query.get("host"), 200),
        env=clean(query.get("env"), 100),
        message=clean(next(filter(None, texts), None), dialect.message_max),
        percent=percent if kind == "progress" and percent in range(101) else None,
        duration_ms=milliseconds(query.get("ping"), 1) if duration is None else duration,
        exit_code=figure if kind in OUTCOMES and figure is not None else whole(given),
        metrics=json.dumps(figures) if figures else None,
        log=clean(content.get("logOutput") or content.get("log"), dialect.log_max, lines=True),
        sent_at=_whole_ms(query.get("at")),
    )


def _whole_ms(text: str | None) -> int | None:
    found = number(text)
    return None if found is None else round(found * 1000)


def _json_body(body: bytes, kind: str) -> Mapping[str, Any]:
    """A JSON object; what is none is ignored, except in a progress, whose text it is."""
    try:
        content = parse_json(body) if body.strip() else {}
    except Invalid:
        if kind == "progress":
            raise
        content = {}
    return content if isinstance(content, dict) else {}


def _log_body(body: bytes, kind: str) -> Mapping[str, Any]:
    """The run's output; where it is a JSON object, its numbers are metrics, as in Cronping."""
    content = _json_body(body, "") if body[:1] == b"{" else {}
    return {"logOutput": body.decode("utf-8", "replace"), "meta": content}


class Receipt(NamedTuple):
    """What became of a ping, for the wording of its reply."""

    kind: str
    at: int
    word: str  # how the path said it; empty in the bare form
    name: str  # the handle or key in the path
    key: str
    status: str
    run: int | None = None
    state: str | None = None
    duration_ms: int | None = None
    next_at: int | None = None
    deadline_at: int | None = None
    message: str | None = None
    created: bool = False
    took_ms: float = 0.0
    id: str = ""


class Dialect(NamedTuple):
    """One service: what differs from the others."""

    name: str
    reply: Callable[[Receipt], dict[str, Any] | str]
    error: Callable[[Refused], dict[str, Any] | str]
    unknown: str  # what it says of a monitor that is not there
    no_word: str = NO_WORD
    bare: str = "success"  # what the form without a word means
    read_body: Callable[[bytes, str], Mapping[str, Any]] = lambda body, kind: {}
    message_max: int = 1000
    log_max: int = 10_000
    needs_key: bool = False  # an API key in a header, even with a known handle
    wants_key: str = "API key authentication is required"
    auth: str = ""  # the query parameter with an API key, where pings must be authenticated
    declares: bool = False  # a ping may declare a schedule, a grace and a name
    says_created: bool = False  # by status 201
    retry_after: bool = False  # whether a client may be told to wait inside the user's job
    creates: Callable[[Mapping[str, str]], dict[str, Any] | None] = lambda query: None
    state: str = ""  # the query parameter that carries the word
    states: Callable[[str], str] = lambda said: VERBS.get(said.lower(), "log")
    headers: Mapping[str, str] = {}


def _reply_cronbeats(r: Receipt) -> dict[str, Any]:
    action = r.kind if r.kind in ("start", "progress") else "end" if r.word else "ping"
    return {
        "status": "success",
        "message": "OK",
        "action": action,
        "job_key": r.name,
        "timestamp": _plain_time(r.at),
        "processing_time_ms": round(r.took_ms, 2),
        "next_expected": _plain_time(r.next_at),
    }


def _plain_time(at: int | None) -> str | None:
    return None if at is None else (iso(at, "seconds") or "").replace("T", " ")[:19]


def _reply_cronradar(r: Receipt) -> dict[str, Any]:
    at = iso(r.at, "seconds")
    if r.kind == "start":
        return {"status": "started", "monitor": r.key, "startedAt": at}
    if r.kind == "fail":
        return {"status": "failed", "monitor": r.key, "failedAt": at, "message": r.message}
    if r.word:
        seconds = None if r.duration_ms is None else r.duration_ms // 1000
        return {"status": "completed", "monitor": r.key, "completedAt": at, "duration": seconds}
    return {"status": "ok", "monitor": r.key, "pingedAt": at}


def _reply_crontify(r: Receipt) -> dict[str, Any]:
    return {
        "success": True,
        "data": {
            "received": True,
            "monitorId": r.name,
            "runId": str(r.run or ""),
            "status": r.state,
            "timestamp": iso(r.at),
        },
    }


def _reply_cronping(r: Receipt) -> dict[str, Any]:
    if r.kind in ("start", "log"):
        return {"ok": True, "status": "started" if r.kind == "start" else "logged"}
    reply = {"ok": True, "status": r.status, "nextExpectedAt": iso(r.deadline_at)}
    return reply if r.duration_ms is None else {**reply, "durationMs": r.duration_ms}


def _reply_cronitor(r: Receipt) -> str:
    if r.kind != "pause":
        return "OK"
    said = "paused" if r.status == "paused" else "monitored again"
    return (
        f'<!doctype html><html lang="en"><title>cronwatch</title>'
        f"<p>{html.escape(r.key)} is {said}.</p></html>"
    )


def read_schedule(text: str) -> dict[str, Any]:
    """The columns of a declared cron expression; `Invalid` in CronRadar's words."""
    schedule = clean(text, 501) or ""
    try:
        parse_cron(schedule)
    except Invalid as error:
        raise Invalid(
            f"Invalid cron expression: '{schedule}' ({error.sentence})", "INVALID_SCHEDULE"
        ) from None
    return {"cron": schedule, "interval_seconds": None}


def read_declared(query: Mapping[str, Any]) -> dict[str, Any]:
    """What a CronRadar ping or sync declares of a monitor beside its schedule."""
    grace, name = whole(query.get("gracePeriod")), clean(query.get("name"), 200)
    declared: dict[str, Any] = {} if name is None else {"name": name}
    return declared if grace is None else {**declared, "grace_seconds": max(0, min(grace, 86_400))}


def _create_cronradar(query: Mapping[str, str]) -> dict[str, Any] | None:
    if not query.get("schedule"):
        return None
    return {"grace_seconds": 60, **read_schedule(query["schedule"]), **read_declared(query)}


def _create_healthchecks(query: Mapping[str, str]) -> dict[str, Any] | None:
    """Healthchecks' own defaults: a day, and an hour of grace."""
    wanted = query.get("create") == "1"
    return {"interval_seconds": 86_400, "grace_seconds": 3600} if wanted else None


NO_MONITOR = "Monitor '{}' not found. Provide schedule parameter for auto-registration."
DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "cronbeats",
            _reply_cronbeats,
            lambda refused: {"status": "error", "message": refused.sentence},
            "Job not found or disabled",
            "Invalid request",
            read_body=_json_body,
            message_max=255,
        ),
        Dialect(
            "cronradar",
            _reply_cronradar,
            lambda refused: {"error": refused.code, "message": refused.sentence},
            NO_MONITOR,
            declares=True,
            creates=_create_cronradar,
        ),
        Dialect(
            "cronitor",
            _reply_cronitor,
            str,
            "Monitor not found",
            bare="start",
            state="state",
            auth="auth_key",
            creates=lambda query: {"grace_seconds": 60},
        ),
        Dialect(
            "crontify",
            _reply_crontify,
            lambda refused: {
                "success": False,
                "statusCode": refused.status,
                "message": refused.sentence,
                "error": http.HTTPStatus(refused.status).phrase,
            },
            "Monitor not found",
            read_body=_json_body,
            message_max=500,
            needs_key=True,
            wants_key="Invalid API key",
            retry_after=True,
        ),
        Dialect(
            "cronping",
            _reply_cronping,
            lambda refused: {"error": refused.sentence},
            "Heartbeat not found",
            read_body=_log_body,
        ),
        Dialect(
            "healthchecks",
            lambda r: "Created" if r.created else "OK",
            str,
            "not found",
            "invalid url format",
            read_body=_log_body,
            log_max=100_000,
            creates=_create_healthchecks,
            says_created=True,
            headers={"Ping-Body-Limit": "100000", "Access-Control-Allow-Origin": "*"},
        ),
        Dialect(
            "kuma",
            lambda r: {"ok": True},
            lambda refused: {"ok": False, "msg": refused.sentence},
            "Monitor not found or not active.",
            state="status",
            states=lambda said: "success" if said == "up" else "fail",
        ),
    )
}

# == Storage ==================================================================
# The database: opening, migrating, one writer, many readers. It knows no rule and no request.
INTEGRATION = Table("integration")
MONITOR_FIELDS = [column.name for column in dataclasses.fields(Monitor)]
RUN_FIELDS = [column.name for column in dataclasses.fields(Run)]
PING_FIELDS = [*Ping._fields[:-3], "monitor", "run", "dialect"]  # the last three: not kept there
BUSY_SECONDS, CACHE_MAX, ANY_TABLE = 10, 5000, "SELECT 1 FROM sqlite_schema LIMIT 1"
T = TypeVar("T")


def execute(db: SqliteDatabase, sql: str, params: Any = ()) -> sqlite3.Cursor:
    """Run one statement on this thread's connection; Peewee's own way costs as much again."""
    return db.connection().execute(sql, params)  # type: ignore[no-any-return]


def rows(db: SqliteDatabase, sql: str, *params: Any) -> list[Any]:
    """All rows of a query: an unfinished SELECT would hold the write-ahead log."""
    return execute(db, sql, params).fetchall()


def select(db: SqliteDatabase, query: peewee.Query) -> sqlite3.Cursor:
    """Run a query that Peewee has built."""
    return execute(db, *db.get_sql_context().sql(query).query())


def dicts(db: SqliteDatabase, query: Any) -> list[dict[str, Any]]:
    """All rows of a Peewee query, by column."""
    cursor = select(db, query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def insert(db: SqliteDatabase, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row; its num."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    cursor = execute(db, f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))
    return int(cursor.lastrowid or 0)


def update(db: SqliteDatabase, table: str, num: int, values: Mapping[str, Any]) -> None:
    """Write the columns of a row that changed; none is fine."""
    if values:
        marks = ", ".join(f"{name} = ?" for name in values)
        execute(db, f"UPDATE {table} SET {marks} WHERE num = ?", (*values.values(), num))


def schema_parts() -> list[list[str]]:
    """The statements of each numbered part of schema.sql."""
    parts: list[list[str]] = []
    text = ""
    for line in (DATA / "schema.sql").read_text("utf-8").splitlines(keepends=True):
        if line.startswith("-- part "):
            parts.append([])
            text = ""
        text += line
        if parts and sqlite3.complete_statement(text):
            parts[-1].append(text)
            text = ""
    return parts


def make_private(path: str) -> None:
    """A file that only its owner reads, if there is none, for a database: secrets are in it."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def copy_file(path: str, name: str) -> None:
    """Copy a database that nobody may write meanwhile; what has the name is whole."""
    for part in (f"{name}.part", f"{name}.part-journal"):  # of a copy that was cut off
        Path(part).unlink(missing_ok=True)
    make_private(f"{name}.part")
    with (
        contextlib.closing(sqlite3.connect(path)) as file,
        contextlib.closing(sqlite3.connect(f"{name}.part")) as copy,
    ):
        file.backup(copy)
    os.replace(f"{name}.part", name)


def back_up(path: str, name: str) -> None:
    """A copy of a database that is in use, checked, under a name that nothing has yet. What has
    the name is whole: a copy that was cut off has another one, which the next try takes over."""
    part = Path(f"{name}.part")
    try:
        if Path(name).exists():
            raise Refused(f"{name} is there already: choose another name")
        part.unlink(missing_ok=True)
        make_private(str(part))
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as file:
            file.execute("VACUUM INTO ?", (str(part),))
        with contextlib.closing(sqlite3.connect(part)) as copy:
            found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise Refused(f"the copy is damaged, and so is {path}: {found}")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, name)
    except (sqlite3.Error, OSError) as error:
        raise Refused(f"cannot back up {path} as {name}: {error}") from None


def migrate(db: SqliteDatabase, path: str) -> None:
    """Bring the schema up to date, each part in one transaction, after a copy of an older file."""
    parts, (version,) = schema_parts(), rows(db, "PRAGMA user_version")[0]
    if version > len(parts):
        raise Refused(
            f"{path} was written by a newer cronwatch: install that version, or restore "
            f"the copy that it made beside the file before it changed it"
        )
    for number_, statements in enumerate(parts, 1):
        execute(db, "BEGIN IMMEDIATE")
        with _undo(db):
            (found,) = rows(db, "PRAGMA user_version")[0]
            if found == version > 0 and found < number_:  # nobody has changed it yet, nor have we
                copy_file(path, f"{path}.before-{number_}")
            if found < number_:
                for statement in statements:
                    execute(db, statement)
                execute(db, f"PRAGMA user_version = {number_}")
            execute(db, "COMMIT")


@contextlib.contextmanager
def _undo(db: SqliteDatabase) -> Iterator[None]:
    """Roll back what an error left open; a full disk has done so by itself."""
    try:
        yield
    except BaseException:
        if db.connection().in_transaction:
            execute(db, "ROLLBACK")
        raise


def is_broken(error: Exception) -> bool:
    """Whether an error says that the database cannot go on, not that a caller made a mistake."""
    return isinstance(error, (sqlite3.DatabaseError, peewee.DatabaseError)) and not isinstance(
        error, (sqlite3.IntegrityError, peewee.IntegrityError)
    )


@contextlib.contextmanager
def undone_alone(db: SqliteDatabase) -> Iterator[list[Exception]]:
    """What goes wrong is undone by itself, and listed; what the database cannot do is raised."""
    problems: list[Exception] = []
    execute(db, "SAVEPOINT alone")
    try:
        yield problems
    except Exception as error:
        if is_broken(error):
            raise
        execute(db, "ROLLBACK TO alone")
        problems.append(error)
    execute(db, "RELEASE alone")


Outcome = tuple[Any, "Exception | None"]  # what an action returned, else what it raised
Done = Callable[[Any, "Exception | None"], None]
Job = tuple[Callable[[SqliteDatabase], Any], Done]


def run_jobs(
    db: SqliteDatabase,
    batch: list[Job],
    failed: dict[int, Exception],
    begun: Callable[[SqliteDatabase], None],
) -> list[Outcome] | None:
    """Run all but the failed jobs of a batch in one transaction. None, and nothing is done, where
    one fails halfway: then it has failed, and the others are to run again. Most refusals have
    changed nothing by then, and a savepoint would cost each ping a fifth of its time."""
    outcomes: list[Outcome] = []
    execute(db, "BEGIN IMMEDIATE")
    with _undo(db):
        begun(db)
        for place, (work, _) in enumerate(batch):
            changes = db.connection().total_changes
            try:
                outcomes.append((None, failed[place]) if place in failed else (work(db), None))
            except Exception as error:
                if is_broken(error):
                    raise
                outcomes.append((None, error))
                if db.connection().total_changes != changes:
                    failed[place] = error
                    execute(db, "ROLLBACK")
                    return None
        execute(db, "COMMIT")
    return outcomes


def is_damaged(error: Exception) -> bool:
    """Whether an error says that a page of the file cannot be read: the others still can."""
    return type(error) in (sqlite3.DatabaseError, peewee.DatabaseError)


def unavailable(done: str, error: Exception) -> Refused:
    """Log why nothing could be written or read; what a caller is told instead."""
    log.error(
        "nothing could be %s: %s%s",
        done,
        error,
        " (the file is damaged: stop cronwatch "
        "and put a backup in its place, or what `sqlite3 FILE .recover` saves of it)"
        if is_damaged(error)
        else "",
    )
    return Refused(f"the database cannot be {done} at the moment", "UNAVAILABLE", 503)


def file_at(path: str) -> tuple[int, int]:
    """Which file is at a path; raises OSError where there is none."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def hold(path: str) -> None:
    """Be the only server of a file while this process lives; raises `Refused` where one is."""
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # or the file system knows no such locks
        if isinstance(error, BlockingIOError):
            raise Refused(f"another cronwatch serves {path} already") from None


class Replaced(OSError):
    """The file is another one now; nothing of what was asked is done."""

    def __init__(self, file: tuple[int, int]) -> None:
        super().__init__("another file was put in its place, and is the database from now on")
        self.file = file


def glance(path: str, sql: str) -> Any:
    """The first row that a query finds in a file, which is left as it is, with all beside it."""
    with contextlib.closing(
        sqlite3.connect(f"file:{urllib.parse.quote(path)}?mode=ro&immutable=1", uri=True)
    ) as file:
        return file.execute(sql).fetchone()


def follow_file(db: SqliteDatabase, path: str, known: tuple[int, int]) -> None:
    """Let go of our file where another one was put in its place. Ours first gets what is only in
    its log, or SQLite would take that log for the new one's. Raises OSError where there is none,
    or none of ours."""
    if file_at(path) == known:
        return
    if not glance(path, "PRAGMA user_version")[0]:
        raise OSError("another file is in its place that is no database of cronwatch")
    if rows(db, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
        raise OSError("another file is in its place, while ours is still being read")
    db.close()
    migrate(db, path)
    raise Replaced(file_at(path))


class Cache(dict[Any, Any]):
    """What the file said of handles and keys, for the writer, until another process writes."""

    version = -1

    def check(self, db: SqliteDatabase) -> None:
        """Forget it all where the file has changed."""
        (version,) = rows(db, "PRAGMA data_version")[0]
        if version != self.version:
            self.clear()
            self.version = version

    def remember(self, name: Any, load: Callable[[], T]) -> T:
        """What `load` found, at once or before."""
        found: T = self.get(name) or load()
        if len(self) >= CACHE_MAX:
            self.clear()
        if found:  # strangers may not fill it
            self[name] = found
        return found


class Writer:
    """Takes all jobs that wait to one commit at a time, in its own thread or one it is lent."""

    def __init__(self, commit: Callable[[list[Job]], None], end: Callable[[], Any]) -> None:
        self.commit, self.end = commit, end
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed, self._gate = False, threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = self._start

    def submit(self, work: Callable[[SqliteDatabase], Any], done: Done) -> None:
        """Let `work` run in a transaction, and call `done` in the writer's thread: with what
        `work` returned, once that is on disk, or with what it raised, undone; with `Refused` 503
        where nothing could be committed."""
        with self._gate:
            if self._closed:
                raise Refused("the server is stopping", "UNAVAILABLE", 503)
            self._jobs.put((work, done))
            self._wake()

    @contextlib.contextmanager
    def lent(self, wake: Callable[[], None]) -> Iterator[None]:
        """Meanwhile this thread is the writer: it takes a `turn` after each `wake`. Two that hand
        pings to and fro spend more time on the interpreter's lock than on the pings."""
        with self._gate:
            self._stop()
            self._wake = wake
        try:
            yield
        finally:
            self.turn()
            self.end()
            with self._gate:
                self._wake = self._start
                self._start()

    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    def turn(self) -> None:
        """Commit what waits, and let it be answered."""
        if not self._jobs.empty():
            self._take(self._jobs.get())

    def _take(self, first: Job | None) -> bool:
        """Commit a batch; whether it was the last."""
        batch = [first]
        while not self._jobs.empty():
            batch.append(self._jobs.get())
        if jobs := [job for job in batch if job is not None]:
            self.commit(jobs)
        return None in batch

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._take(self._jobs.get()):
            pass
        self.end()

    def _stop(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Finish what waits; nothing is taken any more."""
        with self._gate:
            self._closed = True
        self._stop()


class Store:
    """One database file: a writer with the only writing connection, and readers of their own.

    A 2xx means that it is on disk, yet a disk can sync only so often: the writer takes all that
    waits, runs it in one transaction and answers when that is committed."""

    def __init__(self, path: str) -> None:
        pragmas = {"foreign_keys": 1, "synchronous": "full"}
        self.path = path
        self.db = SqliteDatabase(
            path,
            {  # the first holds for a new file only
                "auto_vacuum": "incremental",
                **pragmas,
                "journal_mode": "wal",
            },
            timeout=BUSY_SECONDS,
        )
        self.reader = SqliteDatabase(path, {**pragmas, "query_only": 1}, timeout=BUSY_SECONDS)
        self.commits = 0  # batches
        self.measure: Callable[[int], None] = lambda size: None  # of each batch
        self.news: list[tuple[str, str | None]] = []  # events of the batch, to be logged
        self.refusals = self.judged = 0  # batches not written, and so many of them are told of
        self.reader.register_function(str.casefold, "casefold", 1)  # SQLite's own is for ASCII
        self.damaged: set[int] = set()  # monitors whose pages cannot be read
        self.cache = Cache()
        self.writer = Writer(self._commit, self.db.close)
        try:
            if not os.path.exists(path):  # its log gets the same mode
                make_private(path)
            with contextlib.suppress(sqlite3.DatabaseError):  # its log may make it whole
                if not glance(path, "PRAGMA user_version")[0] and glance(path, ANY_TABLE):
                    raise Refused(f"{path} is another program's database: choose another file")
            migrate(self.db, path)
            self.file = file_at(path)
        except (sqlite3.Error, peewee.DatabaseError, OSError) as error:
            hint = (
                "choose another file, or put a backup in its place"
                if is_damaged(error)
                else "another program is writing to it: try again"
                if "locked" in str(error)
                else "its folder must exist and be writable"
            )
            raise Refused(f"cannot open the database {path}: {error} ({hint})") from None
        finally:
            self.db.close()

    def write(self, work: Callable[[SqliteDatabase], T]) -> T:
        """Let the writer run `work`, and wait for it; returns or raises its outcome."""
        future: Future[T] = Future()
        self.writer.submit(
            work,
            lambda result, problem: (
                future.set_result(result) if problem is None else future.set_exception(problem)
            ),
        )
        return future.result()

    def read(self, query: Callable[[SqliteDatabase], T]) -> T:
        """What a query finds, on a connection that no thread leaves open; `Refused` 503 where the
        file cannot be read, or is not ours: SQLite would take our log for that one's."""
        try:
            if file_at(self.path) != self.file:
                raise OSError("another file was put in its place")
            with self.reader.connection_context():
                return query(self.reader)
        except (sqlite3.Error, peewee.DatabaseError, OSError) as error:
            raise unavailable("read", error) from None

    @property
    def refused(self) -> bool:
        """Whether something was not written, and nobody has said yet what that means."""
        return self.refusals != self.judged

    def version(self) -> tuple[Any, ...]:
        """What changes with each commit, of another process too: it, or the file or its log."""
        stats = [os.stat(path) for path in (self.path, f"{self.path}-wal") if os.path.exists(path)]
        return self.commits, self.refused, [(found.st_mtime_ns, found.st_size) for found in stats]

    def close(self) -> None:
        """Finish what waits, then let go of the file."""
        self.writer.close()
        self.reader.close()

    def _begin(self, db: SqliteDatabase) -> None:
        self.news.clear()  # of a try that was undone
        self.cache.check(db)

    def _commit(self, batch: list[Job]) -> None:
        failed: dict[int, Exception] = {}
        try:
            follow_file(self.db, self.path, self.file)
            while (outcomes := run_jobs(self.db, batch, failed, self._begin)) is None:
                self.cache.clear()
            self.commits += 1
            self.measure(len(batch))
            for kind, monitor in self.news:
                log.info("event %s of %s", kind, f"monitor {monitor}" if monitor else "the server")
            if file_at(self.path) != self.file:
                raise OSError("another file was put in its place")
        except Exception as error:  # noqa: BLE001 - a full or broken disk: no 2xx, but go on
            self.cache.clear()
            if is_damaged(error) and len(batch) > 1:  # who does not meet the damaged page goes on
                for job in batch:
                    self._commit([job])
                return
            if isinstance(error, Replaced):
                self.file, self.damaged, self.cache.version = error.file, set(), -1
            self.refusals += not is_damaged(error)
            outcomes = [(None, unavailable("written", error))] * len(batch)
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            try:
                done(*outcome)
            except Exception:  # a reply that cannot be given must not end the writer
                log.exception("a request could not be answered")


# == Actions ==================================================================
# One transaction each, on plain values. No request, no thread, no network.
MONITOR_SQL = f"SELECT {', '.join(MONITOR_FIELDS)} FROM monitor WHERE num = ?"
RUN_SQL = f"SELECT {', '.join(RUN_FIELDS)} FROM run WHERE monitor = :monitor AND "
# The runs that a ping may belong to, each kind on an index of its own.
OPEN_RUNS = RUN_SQL + "state = 'running'"
LAST_STARTS = f" UNION ALL SELECT * FROM ({RUN_SQL} opened = 1 ORDER BY started_at DESC LIMIT 3)"
OF_SERIES = (
    f" UNION ALL SELECT * FROM ({RUN_SQL} series = :series "
    "ORDER BY started_at DESC, num DESC LIMIT 1)"
)
LAST_ENDED = (
    f" UNION ALL SELECT * FROM ({RUN_SQL} host IS :host AND state != 'running' AND "
    "(series IS NULL OR state IN ('success', 'failed')) "
    "ORDER BY started_at DESC, num DESC LIMIT 1)"
)
INSERT_RUN, INSERT_PING = (
    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for table, names in (("run", RUN_FIELDS), ("ping", PING_FIELDS))
)
MONITOR_VALUES = operator.attrgetter(*MONITOR_FIELDS)
RUN_VALUES = operator.attrgetter(*RUN_FIELDS)
BLOCKED_AT = 2**53  # an alert behind another one: see part 2 of the schema
SCAN_LIMIT, PRUNE_LIMIT, TAIL_MAX = 25, 500, 1000  # pings wait for a transaction with so many
SPOOLED_MS = 7 * 86_400_000  # how old a ping may be that a client kept while we were away
CRONITOR_WORDS = {"state", "metric", "stamp", "series", "env"}
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
OUR_HANDLES: dict[str, Callable[[], str]] = {
    "token": lambda: str(uuid.uuid4()),
    "code": lambda: "".join(secrets.choice(BASE62) for _ in range(8)),
}


class Tx(NamedTuple):
    """What an action works with: the writer's transaction, and the instant it stands for."""

    db: SqliteDatabase
    store: Store
    settings: Settings
    now: int


Before = tuple[Any, dict[int, Any]]  # the rows that a life came from: only changes are written


def load_life(tx: Tx, num: int, ping: Ping | None = None) -> tuple[Life, Before]:
    """A monitor with its open runs, and the other ones that a ping may belong to."""
    (monitor,), sql = rows(tx.db, MONITOR_SQL, num), OPEN_RUNS
    series, host = (ping.series, ping.host) if ping else (None, None)
    if ping:
        sql += LAST_STARTS if ping.kind == "start" else ""
        sql += OF_SERIES if series else LAST_ENDED if ping.kind in OUTCOMES else ""
    runs = execute(tx.db, sql, {"monitor": num, "series": series, "host": host}).fetchall()
    by_num = {run[0]: run for run in runs}
    life = Life(
        Monitor(*monitor),
        [Run(*run) for run in by_num.values()],
        tx.settings.failure_alert_seconds,
    )
    return life, (monitor, by_num)


def save_life(tx: Tx, life: Life, before: Before, run_log: tuple[int, str] | None = None) -> None:
    """Write what changed, a run's log, and each event with an alert for all who hear of it."""
    m, (monitor, runs) = life.monitor, before
    change = next_change(life, tx.now)
    m.due_at = change[0] if change else None
    for run in life.runs:
        values = RUN_VALUES(run)
        if run.num in runs:
            update(tx.db, "run", run.num, _changed(RUN_FIELDS, runs[run.num], values))
        else:
            execute(tx.db, INSERT_RUN, values)
    if run_log is not None:
        execute(tx.db, "INSERT OR REPLACE INTO run_log VALUES (?, ?)", run_log)
    update(tx.db, "monitor", m.num, _changed(MONITOR_FIELDS, monitor, MONITOR_VALUES(m)))
    for flip_ in life.flips:
        insert(tx.db, "flip", {"monitor": m.num, **flip_._asdict()})
    for event in life.events:
        add_event(tx, event, m)


def _changed(names: Sequence[str], before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any]:
    return {name: new for name, old, new in zip(names, before, after, strict=True) if old != new}


def change_monitor(tx: Tx, num: int, change: Callable[[Life], Any]) -> Monitor:
    """Let a rule change a monitor by hand; the monitor as it is then."""
    life, before = load_life(tx, num)
    change(life)
    life.monitor.updated_at = tx.now
    save_life(tx, life, before)
    tx.store.cache.clear()  # it may have been renamed
    return life.monitor


HEARERS = """SELECT m.num, i.num FROM monitor m CROSS JOIN integration i
    LEFT JOIN monitor_integration l ON l.monitor = m.num AND l.integration = i.num
    WHERE i.enabled AND CASE i.channel
        WHEN 'email' THEN m.email_alerts AND (l.monitor IS NOT NULL OR i.is_default)
        ELSE l.monitor IS NOT NULL OR m.default_integrations AND i.is_default END AND m.num IN """


def hearers(db: SqliteDatabase, m: Monitor | None) -> list[int]:
    """The integrations that hear of a monitor, or of the server itself: all default ones."""
    if m is None:
        return [i for (i,) in rows(db, "SELECT num FROM integration WHERE enabled AND is_default")]
    return [integration for _, integration in rows(db, HEARERS + "(?)", m.num)]


def add_event(
    tx: Tx, event: Event, m: Monitor | None, to: Sequence[int] | None = None, **more: Any
) -> None:
    """Keep an event as it is now, and an alert for each integration that hears of it."""
    body = {
        "monitor": m
        and {
            "id": m.id,
            "key": m.key,
            "name": m.name,
            "tags": m.tags.split(),
            "status": event.status or m.status,
        },
        "run": None if event.run is None else run_json(tx.db, event.run),
        "reason": event.reason,
        "downSince": iso(event.down_since),
        "downtimeSeconds": event.downtime_ms and event.downtime_ms // 1000,
        "failedCount": event.failed_count,
        "missedCount": event.missed_count,
        "count": event.count,
        "rules": event.rules,
        "gap": None,
        "monitors": None,
        "about": None,
        **more,
    }
    num = insert(
        tx.db,
        "event",
        {
            "id": str(uuid.uuid4()),
            "kind": event.kind,
            "at": event.at,
            "told_at": tx.now,
            "monitor": m and m.num,
            "body": json.dumps(body),
        },
    )
    tx.store.news.append((event.kind, m.id if m else None))
    for integration in hearers(tx.db, m) if to is None else to:
        insert(
            tx.db,
            "alert",
            {"event": num, "integration": integration, "monitor": m and m.num, "due_at": tx.now},
        )


def run_json(db: SqliteDatabase, num: int) -> dict[str, Any] | None:
    """A run as events show it, with the end of its log."""
    found = rows(db, f"SELECT {', '.join(RUN_FIELDS)} FROM run WHERE num = ?", num)
    if not found:
        return None
    run = Run(*found[0])
    logged = rows(db, f"SELECT substr(content, -{TAIL_MAX}) FROM run_log WHERE run = ?", num)
    return {
        "id": str(run.num),
        "series": run.series,
        "state": run.state,
        "startedAt": iso(run.started_at),
        "endedAt": iso(run.ended_at),
        "durationMs": run.duration_ms,
        "exitCode": run.exit_code,
        "message": run.message,
        "host": run.host,
        "logTail": logged[0][0] if logged else None,
    }


def create_monitor(
    tx: Tx,
    fields: Mapping[str, Any],
    handles: Mapping[str, str] | None = None,
    integrations: Sequence[str] | None = None,
) -> int:
    """A new monitor with a token, a code and adopted handles (text to dialect); its num.
    Raises `Refused` 409 where its key or a handle is taken."""
    if fields.get("cron"):
        next_run(fields["cron"], fields.get("timezone", "UTC"), tx.now)  # a zone may skip it
    key = fields.get("key") or free_key(tx.db, fields["name"])
    refuse_taken(tx, "monitor", "key", key)
    num = insert(
        tx.db,
        "monitor",
        {
            **fields,
            "key": key,
            "id": str(uuid.uuid4()),
            "created_at": tx.now,
            "updated_at": tx.now,
            "default_integrations": int(integrations is None),
        },
    )
    for text, kind in (handles or {}).items():
        adopt(tx, num, text, kind)
    for kind, make in OUR_HANDLES.items():
        adopt(tx, num, make(), kind)
    link_integrations(tx, num, integrations or ())
    life, before = load_life(tx, num)
    m = life.monitor
    if m.armed:
        m.expected_at, m.counted_at = next_occurrence(m, tx.now), tx.now
    save_life(tx, life, before)
    return num


def refuse_taken(tx: Tx, table: str, column: str, value: str) -> None:
    """Refuse, with 409, what another row has."""
    if rows(tx.db, f"SELECT 1 FROM {table} WHERE {column} = ?", value):
        what = {"api_key": "an API key", "integration": "an integration"}.get(table, f"a {table}")
        which = "this secret" if column == "hash" else f"the {column} '{value}'"
        raise Refused(f"there is {what} with {which} already: choose another one", "CONFLICT", 409)


def free_key(db: SqliteDatabase, name: str) -> str:
    """A key made from a name, with a number where it is taken."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:180] or "monitor"
    taken = {
        key
        for (key,) in rows(
            db, "SELECT key FROM monitor WHERE key = ? OR key GLOB ?", base, f"{base}-[0-9]*"
        )
    }
    numbered = (f"{base}-{n}" for n in range(2, len(taken) + 3))
    return base if base not in taken else next(key for key in numbered if key not in taken)


def adopt(tx: Tx, num: int, text: str, kind: str) -> None:
    """Let a handle ping a monitor; refuses one that another monitor has."""
    text = text.lower() if TOKEN.fullmatch(text) else text
    if clean(text, 200) != text or "://" in text or text in RESERVED:
        raise Invalid(
            "a handle must be 1 to 200 characters without controls, and no URL nor any "
            "of the words " + ", ".join(sorted(RESERVED))
        )
    refuse_taken(tx, "handle", "text", text)
    execute(tx.db, "INSERT INTO handle VALUES (?, ?, ?)", (text, num, kind))
    tx.store.cache.clear()


def link_integrations(tx: Tx, num: int, ids: Sequence[str]) -> None:
    """Let exactly these integrations hear of a monitor."""
    execute(tx.db, "DELETE FROM monitor_integration WHERE monitor = ?", (num,))
    for id_ in dict.fromkeys(ids):
        found = rows(tx.db, "SELECT num FROM integration WHERE id = ?", id_)
        if not found:
            raise Invalid(f"integrationIds names '{clean(id_, 60)}', which does not exist")
        execute(tx.db, "INSERT INTO monitor_integration VALUES (?, ?)", (num, found[0][0]))


def pause_monitor(tx: Tx, num: int, hours: int | None) -> Monitor:
    """Pause for so many hours, None until resumed; 0 resumes."""
    if hours == 0:
        return change_monitor(tx, num, lambda life: resume(life, tx.now))
    until = None if hours is None else tx.now + min(hours, 876_000) * 3_600_000
    return change_monitor(tx, num, lambda life: pause(life, tx.now, until))


def hash_secret(secret: str) -> str:
    """How a secret is stored and found: SHA-256 in hex, of what is random enough by itself."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def create_integration(
    tx: Tx, channel: str, name: str, config: Mapping[str, Any], is_default: bool = True
) -> str:
    """A new integration; its id. Raises `Refused` 409 where the name is taken."""
    refuse_taken(tx, "integration", "name", name)
    id_ = str(uuid.uuid4())
    insert(
        tx.db,
        "integration",
        {
            "id": id_,
            "channel": channel,
            "name": name,
            "config": json.dumps(config),
            "is_default": int(is_default),
            "created_at": tx.now,
            "updated_at": tx.now,
        },
    )
    return id_


def create_key(tx: Tx, name: str, permission: str, secret: str | None = None) -> str:
    """A new API key, or an old service's that is adopted; the secret, for the only time."""
    secret = secret or "cw_" + secrets.token_urlsafe(24)
    refuse_taken(tx, "api_key", "name", name)
    refuse_taken(tx, "api_key", "hash", hash_secret(secret))
    insert(
        tx.db,
        "api_key",
        {
            "id": str(uuid.uuid4()),
            "name": name,
            "hash": hash_secret(secret),
            "prefix": secret[:12],
            "permission": permission,
            "created_at": tx.now,
        },
    )
    tx.store.cache.clear()
    return secret


def scan_due(tx: Tx) -> int:
    """Let everything that fell due happen, for 25 monitors at the most; how many there were."""
    due = rows(
        tx.db,
        "SELECT num FROM monitor WHERE due_at <= ? ORDER BY due_at LIMIT ?",
        tx.now,
        SCAN_LIMIT,
    )
    for (num,) in due:
        change_alone(tx, num, lambda life: settle(life, tx.now))
    return len(due)


def change_alone(tx: Tx, num: int, change: Callable[[Life], T]) -> T | None:
    """One bad monitor cannot stop the others: it is undone, logged and looked at later again."""
    result = None
    if num in tx.store.damaged:
        return None
    try:
        with undone_alone(tx.db) as problems:
            life, before = load_life(tx, num)
            result = change(life)
            save_life(tx, life, before)
    except sqlite3.DatabaseError as error:
        if is_damaged(error):  # nothing more can be written in this transaction
            log.error("monitor %d cannot be watched any more: its page is damaged", num)
            tx.store.damaged.add(num)
        raise
    for problem in problems:
        log.error("monitor %d could not be looked at", num, exc_info=problem)
        update(tx.db, "monitor", num, {"due_at": tx.now + 60_000})
    return result


def record_absence(tx: Tx, since: int, until: int) -> None:
    """We were away: judge every monitor that it touches, and tell once whom it may have hidden."""
    back = until < since
    since = min(since, until)
    touched = rows(  # subqueries: one on the index of deadlines, one on that of open runs
        tx.db,
        "SELECT num FROM monitor WHERE num IN (SELECT num FROM monitor WHERE due_at <= ? "
        "OR expected_at <= ? UNION ALL SELECT monitor FROM run WHERE state = 'running')"
        + (
            " OR max(coalesce(counted_at, 0), coalesce(life_at, 0), coalesce(expected_at, 0)) > ?"
            if back
            else ""
        )
        + " ORDER BY num",
        until,
        until + EARLY_SECONDS * 1000,
        *[until] * back,
    )

    def judge(life: Life) -> dict[str, str] | None:
        m, is_named = life.monitor, judge_gap(life, since, until)
        if back:
            turn_back(life, until)
        return {"id": m.id, "key": m.key, "name": m.name} if is_named else None

    if back:  # an alert waits no longer for its next try than it would have
        execute(
            tx.db,
            "UPDATE alert SET due_at = min(due_at, ? + due_at - coalesce(tried_at, "
            "due_at)), tried_at = min(tried_at, ?) WHERE state = 'pending' AND due_at < ?",
            (until, until, BLOCKED_AT),
        )
    if since < until:
        insert(tx.db, "absence", {"since": since, "until": until})
    named = [named for (num,) in touched if (named := change_alone(tx, num, judge))]
    if named:
        add_event(
            tx,
            Event("outage", until),
            None,
            gap={"since": iso(since), "until": iso(until)},
            monitors=named,
        )
    remember(tx, "alive_at", until)


def remember(tx: Tx, name: str, value: Any) -> None:
    """Keep what the server knows of itself for the next start, and for the command line."""
    execute(tx.db, "INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def remembered(store: Store, name: str, default: Any) -> Any:
    """What was kept so."""
    found = store.read(lambda db: rows(db, "SELECT value FROM meta WHERE name = ?", name))
    return found[0][0] if found else default


def stamp_alive(tx: Tx) -> None:
    """Write down that we live, for the next start to know how long we were away."""
    remember(tx, "alive_at", tx.now)


def prune_pings(tx: Tx, monitor: int, keep: int) -> int:
    """Delete up to 500 of the oldest pings of a monitor that has more than it may, and runs,
    events and flips, of which it may have as many; how many pings."""
    found = rows(tx.db, "SELECT ping_count FROM monitor WHERE num = ?", monitor)
    beyond = min(PRUNE_LIMIT, found[0][0] - keep) if found else 0
    if beyond <= 0:
        return 0
    execute(
        tx.db,
        "DELETE FROM ping WHERE num IN (SELECT num FROM ping WHERE monitor = ? "
        "ORDER BY at, num LIMIT ?)",
        (monitor, beyond),
    )
    for table, age, newest, ended in (  # the oldest first, for a kill to leave no hole
        ("run", "started_at, num", "started_at DESC, num DESC", "state != 'running'"),
        ("event", "num", "num DESC", "1"),
        ("flip", "num", "num DESC", "1"),
    ):
        execute(
            tx.db,
            f"DELETE FROM {table} WHERE num IN (SELECT num FROM {table} WHERE monitor "
            f"= ?1 AND {ended} AND ({age}) < (SELECT {age} FROM {table} WHERE monitor = ?1 "
            f"ORDER BY {newest} LIMIT 1 OFFSET ?3) ORDER BY {age} LIMIT ?2)",
            (monitor, PRUNE_LIMIT, keep - 1),
        )
    return int(beyond)


def prune_logs(tx: Tx, monitor: int, keep: int) -> int:
    """Delete up to 50 logs, of 100 KB at most, but the newest ones of a monitor; how many."""
    return execute(
        tx.db,
        "DELETE FROM run_log WHERE run IN (SELECT num FROM run JOIN run_log ON "
        "run = num WHERE monitor = ? ORDER BY started_at DESC, num DESC LIMIT ? OFFSET ?)",
        (monitor, PRUNE_LIMIT // 10, keep),
    ).rowcount


def monitors_beyond(tx: Tx, keep_pings: int, keep_logs: int) -> tuple[list[int], list[int]]:
    """The monitors with too many pings, and those with too many logs."""
    return (
        [
            num
            for (num,) in rows(
                tx.db, "SELECT num FROM monitor WHERE ? AND ping_count > ?", keep_pings, keep_pings
            )
        ],
        [
            num
            for (num,) in rows(
                tx.db,
                "SELECT monitor FROM run JOIN run_log ON run = num "
                "WHERE ? GROUP BY monitor HAVING count(*) > ?",
                keep_logs,
                keep_logs,
            )
        ],
    )


def give_back(tx: Tx) -> bool:
    """Let the file shrink by some of the pages that are free; whether enough are left for more."""
    (free,) = rows(tx.db, "PRAGMA freelist_count")[0]
    vacuums = rows(tx.db, "PRAGMA auto_vacuum")[0][0]
    for _ in range(min(PRUNE_LIMIT, free - FREE_PAGES) if vacuums else 0):
        execute(tx.db, "PRAGMA incremental_vacuum(1)")  # sqlite3 ends one of more after a page
    return bool(vacuums and free > FREE_PAGES + PRUNE_LIMIT)


FREE_PAGES = 2000  # 8 MB: what is soon used again stays
PRUNED = ("ping", "run", "flip", "event", "absence")


def prune(tx: Tx, table: str, before: int, after: int = 0) -> int | None:
    """Delete what is old among the next 500 rows; the last of them, None where none was old.
    Open runs stay, and of each monitor the flip that tells its status at that instant."""
    old = {"run": "started_at < ?", "absence": "until < ?"}.get(table, "at < ?")
    chunk = rows(
        tx.db,
        f"SELECT num, {old} FROM {table} WHERE num > ? ORDER BY num LIMIT ?",
        before,
        after,
        PRUNE_LIMIT,
    )
    if not any(is_old for _, is_old in chunk):
        return None
    kept = {
        "run": "AND state != 'running'",
        "flip": "AND EXISTS (SELECT 1 FROM flip later WHERE "
        f"later.monitor = flip.monitor AND later.at > flip.at AND later.{old})",
    }.get(table, "")
    execute(
        tx.db,
        f"DELETE FROM {table} WHERE num BETWEEN ? AND ? AND {old} {kept}",
        (after + 1, chunk[-1][0], before, *[before] * (table == "flip")),
    )
    return int(chunk[-1][0])


# == Pings ====================================================================
# What a request to a ping route comes to. It knows dialects and rules, and no HTTP.
class Knock(NamedTuple):
    """A request to a ping route."""

    route: Route
    query: Mapping[str, str]
    metrics: Sequence[str]
    body: bytes
    secret: str | None  # an API key from a header
    address: str | None
    user_agent: str | None
    allowed: bool  # whether its method may ping
    seen: list[Dialect]  # takes the dialect that was found, to word what goes wrong after that
    received: float = 0.0  # seconds of a monotonic clock


class Who(NamedTuple):
    """The dialect to answer in, the monitor that is meant, and by what name."""

    dialect: Dialect
    words: Sequence[str]
    monitor: int | None
    name: str
    keyed: bool = False  # an API key was shown


def _look_up(tx: Tx, sql: str, text: str) -> tuple[int, str] | None:
    if tx.db is not tx.store.db:  # a reader may not fill what the writer believes
        found = rows(tx.db, sql, text)
    else:
        found = tx.store.cache.remember((sql, text), lambda: rows(tx.db, sql, text))
    return found[0] if found else None


def find_handle(tx: Tx, text: str) -> tuple[int, str] | None:
    """The monitor of a handle, and the handle's kind."""
    text = text.lower() if TOKEN.fullmatch(text) else text
    return _look_up(tx, "SELECT monitor, kind FROM handle WHERE text = ?", text)


def find_key(tx: Tx, secret: str | None) -> tuple[int, str] | None:
    """The number of an API key, and its permission."""
    return (
        _look_up(tx, "SELECT num, permission FROM api_key WHERE hash = ?", hash_secret(secret))
        if secret
        else None
    )


def find_monitor(tx: Tx, name: str) -> int | None:
    """The monitor with this key, handle or id."""
    name = clean(name, 200) or ""
    found = (
        _look_up(tx, "SELECT num, 1 FROM monitor WHERE key = ?", name)
        or find_handle(tx, name)
        or _look_up(tx, "SELECT num, 3 FROM monitor WHERE id = ?", name.lower())
    )
    return found[0] if found else None


def _may_ping(key: tuple[int, str] | None) -> bool:
    return key is not None and key[1] != "read-only"


def find_who(tx: Tx, knock: Knock) -> Who:
    """Who is meant: a handle, else an API key in the path, else one in a header; or refuses."""
    route, names = knock.route, knock.route.names
    handle = find_handle(tx, names[0])
    beside = names[1] if len(names) > 1 and names[1] not in VERBS else None
    if handle is not None and not _may_ping(find_key(tx, beside)):
        dialect = dialect_for(route, handle[1])
        if dialect.needs_key:
            _check_key(tx, knock.secret, dialect)
        return Who(dialect, names[1:], handle[0], names[0])
    if len(names) > 1 and route.family in ("ping", "cronitor"):
        for key, name in ((0, 1), (1, 0)):
            if _may_ping(find_key(tx, names[key])):
                words = "cronradar" if key else "healthchecks"
                if route.family == "cronitor" or (
                    not key and CRONITOR_WORDS.intersection(knock.query)
                ):
                    words = "cronitor"
                return Who(
                    DIALECTS[words],
                    names[2:],
                    find_monitor(tx, names[name]),
                    names[name],
                    keyed=True,
                )
    return _find_by_header(tx, knock)


def _find_by_header(tx: Tx, knock: Knock) -> Who:
    names, dialect = knock.route.names, unknown_dialect(knock.route)
    if dialect.needs_key:
        _check_key(tx, knock.secret, dialect)
        return Who(dialect, names[1:], find_monitor(tx, names[0]), names[0])
    if knock.route.family == "ping" and _may_ping(find_key(tx, knock.secret)):
        monitor = find_monitor(tx, names[0])
        if monitor is not None or knock.query.get("schedule"):
            dialect = DIALECTS["cronradar"]
        return Who(dialect, names[1:], monitor, names[0], keyed=True)
    if dialect is DIALECTS["cronradar"]:
        _check_key(tx, knock.secret, dialect)
    if dialect is DIALECTS["cronbeats"] and not CODE.fullmatch(names[0]):
        raise Invalid("Invalid job key format")
    return Who(dialect, names[1:], None, names[0])


def _check_key(tx: Tx, secret: str | None, dialect: Dialect) -> None:
    key = find_key(tx, secret)
    if key is None:
        raise Refused(dialect.wants_key, "AUTHENTICATION_REQUIRED", 401)
    if not _may_ping(key):
        raise Refused("API key does not have access to this resource", "ACCESS_DENIED", 403)


Answer = tuple[Dialect, Receipt, "Refused | None"]  # the last: of something that is recorded


def record_ping(tx: Tx, knock: Knock) -> Answer:
    """Find the monitor that is meant, create it where the dialect does so, and record the ping."""
    who = find_who(tx, knock)
    knock.seen.append(who.dialect)
    if not knock.allowed:
        raise Refused("Method not allowed: use GET, POST or HEAD", "METHOD_NOT_ALLOWED", 405)
    return _record(tx, knock, who)


def _record(tx: Tx, knock: Knock, who: Who) -> Answer:
    created = who.monitor is None
    num = _register(tx, knock, who) if who.monitor is None else who.monitor
    bare = knock.route.bare or ("success" if who.keyed else who.dialect.bare)
    said = read_word(who.dialect, bare, who.words, knock.query)
    if (
        tx.settings.authenticate_pings
        and who.dialect.auth
        and not who.keyed
        and not _may_ping(find_key(tx, knock.query.get(who.dialect.auth)))
    ):
        execute(
            tx.db, "UPDATE monitor SET dropped_pings = dropped_pings + 1 WHERE num = ?", (num,)
        )
        return who.dialect, Receipt("log", tx.now, "", who.name, "", "dropped"), None
    if said[0] == "pause":
        m = pause_monitor(tx, num, said[1])
        return who.dialect, Receipt("pause", tx.now, "pause", who.name, m.key, m.status), None
    worded = bool(who.words or knock.query.get(who.dialect.state))
    ping = read_ping(who.dialect, said, worded, knock.query, knock.metrics, knock.body)
    ping = ping._replace(
        num=_next_num(tx),
        at=tx.now,
        address=clean(knock.address, 60),
        user_agent=clean(knock.user_agent, 200),
        sent_at=(ping.sent_at if 0 <= tx.now - (ping.sent_at or 0) <= SPOOLED_MS else None),
    )
    life, before = load_life(tx, num, ping)
    wait = is_too_soon(life, ping)
    if wait is not None:
        raise Refused(
            f"Rate limit exceeded: wait {wait} seconds", "RATE_LIMIT_EXCEEDED", 429, wait
        )
    problem = None if created or not who.dialect.declares else _declare(tx, life, knock.query)
    run = receive(life, ping)
    m = life.monitor
    m.last_ping_at, m.ping_count = tx.now, m.ping_count + 1
    save_life(tx, life, before, (run.num, ping.log) if run and ping.log else None)
    lasted = run.duration_ms if run and ping.kind in OUTCOMES else ping.duration_ms
    execute(
        tx.db,
        INSERT_PING,
        (*ping._replace(duration_ms=lasted)[:-3], num, run and run.num, who.dialect.name),
    )
    due_by = deadline(m) if m.status == "up" else None
    return (
        who.dialect,
        Receipt(
            ping.kind,
            tx.now,
            "/".join(who.words),
            who.name,
            m.key,
            m.status,
            run.num if run else None,
            run.state if run else None,
            lasted,
            m.expected_at if due_by else None,
            due_by,
            ping.message,
            created,
            1000 * (monotonic() - knock.received),
            m.id,
        ),
        problem,
    )


def _next_num(tx: Tx) -> int:
    """The number that the next ping will have: a run has that of the ping that opened it."""
    last: int = tx.store.cache.remember(
        "last ping",
        lambda: sum(
            seq for (seq,) in rows(tx.db, "SELECT seq FROM sqlite_sequence WHERE name = 'ping'")
        ),
    )
    tx.store.cache["last ping"] = last + 1
    return last + 1


def _register(tx: Tx, knock: Knock, who: Who) -> int:
    """Create the monitor that a ping with an API key names, where its dialect does so."""
    fields = who.dialect.creates(knock.query) if who.keyed else None
    key = clean(who.name, 200)
    if fields is None or key is None:
        raise Refused(who.dialect.unknown.format(key or ""), "MONITOR_NOT_FOUND", 404)
    declared = json.dumps(fields) if who.dialect.declares else None
    return create_monitor(
        tx,
        {
            "key": key,
            "timezone": tx.settings.timezone or "UTC",
            "name": title(key),
            **fields,
            "declared": declared,
        },
    )


def _declare(tx: Tx, life: Life, said: Mapping[str, Any]) -> Refused | None:
    """Apply what a ping or a sync declares where it differs from what was declared before."""
    m, declared, problem = life.monitor, read_declared(said), None
    try:
        if said.get("schedule"):
            schedule = read_schedule(said["schedule"])
            next_run(schedule["cron"], m.timezone, tx.now)  # a zone may skip it
            declared |= schedule
    except Invalid as error:
        problem = error
    before = json.loads(m.declared or "{}")
    unscheduled = m.cron is None and m.interval_seconds is None
    changed = {
        name: value
        for name, value in declared.items()
        if (
            value != before[name]
            if name in before
            else unscheduled and name in ("cron", "interval_seconds")
        )
    }
    edit(life, tx.now, {**changed, "interval_seconds": None} if "cron" in changed else changed)
    m.declared = json.dumps({**before, **declared}) if declared else m.declared
    return problem


def title(key: str) -> str:
    """A name made from a key, in Title Case."""
    words = re.split(r"[-_.\s]+", key)
    return " ".join(word[:1].upper() + word[1:] for word in words if word)[:200] or key


def sync_monitors(tx: Tx, secret: str | None, given: Any) -> dict[str, Any]:
    """CronRadar's POST /api/sync: create and update, never delete; errors by item."""
    _check_key(tx, secret, DIALECTS["cronradar"])
    items = given.get("monitors") if isinstance(given, dict) else None
    if not isinstance(items, list) or len(items) > 100:
        raise Invalid("monitors must be a list of at most 100")
    counts, errors = {"created": 0, "updated": 0}, []
    for item in items:
        key = clean(item.get("key"), 200) if isinstance(item, dict) else None
        try:
            counts[_sync(tx, key, item)] += 1
        except Refused as refused:
            errors.append({"key": key, "error": refused.code, "message": refused.sentence})
    return {"status": "success", "synced": sum(counts.values()), **counts, "errors": errors}


def _sync(tx: Tx, key: str | None, item: Any) -> str:
    if key is None:
        raise Invalid("key must be 1 to 200 characters")
    schedule = read_schedule(item.get("schedule"))
    num = find_monitor(tx, key)
    if num is not None:
        change_monitor(tx, num, lambda life: _declare(tx, life, item))
        return "updated"
    fields = {"grace_seconds": 60, **schedule, **read_declared(item)}
    create_monitor(
        tx,
        {
            "key": key,
            "timezone": tx.settings.timezone or "UTC",
            "name": title(key),
            **fields,
            "declared": json.dumps(fields),
        },
    )
    return "created"


# == Alerts ===================================================================
# What an event says, how it is sent, and the outbox. No rule is decided here.
RETRY_SECONDS = (10, 30, 120, 600, 3600, *[3600] * 24)


def retry_ms(tries: int) -> int | None:
    """How long to wait after so many failed tries; None: the alert is dead."""
    return RETRY_SECONDS[tries - 1] * 1000 if tries <= len(RETRY_SECONDS) else None


EVENTS_SQL = """SELECT e.num, e.id, e.kind, e.at, e.told_at, e.body FROM event e """
SUMMARIES: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "missed": lambda name, e: f"{name} did not run: nothing was heard of it by {_when(e['at'])}",
    "failed": lambda name, e: (
        f"{name} failed" + (f" {e['count']} more times" * bool(e["count"])) + _run_words(e)
    ),
    "stuck": lambda name, e: f"{name} is stuck: it started and did not end by {_when(e['at'])}",
    "silent_failure": lambda name, e: (
        f"{name} succeeded, but "
        + " and ".join(f"{r['field']} {r['operator']} {r['value']}" for r in e["rules"] or ())
        + (f" ({e['count']} more times)" * bool(e["count"]))
    ),
    "recovered": lambda name, e: (
        f"{name} is up again after {_span(e['downtimeSeconds'])}"
        + (_counted(failed=e["failedCount"], missed=e["missedCount"]))
    ),
    "reminder": lambda name, e: (
        f"{name} is still down ({e['reason']}) since {_when(e['downSince'])}"
    ),
    "outage": lambda name, e: (
        f"cronwatch was away from {_when(e['gap']['since'])} to {_when(e['gap']['until'])}: "
        f"{len(e['monitors'])} monitor{'s' * (len(e['monitors']) > 1)} may have run unseen"
    ),
    "delivery_failed": lambda name, e: f"{e['about'][0]} cannot be reached: {e['about'][1]}",
    "test": lambda name, e: f"This is a test of {e['about']} by cronwatch",
}


def _when(text: str) -> str:
    return text[:16].replace("T", " ") + " UTC"


def _span(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{round(seconds / unit, 1):g} {name}"
    return f"{seconds} s"


def _counted(**counts: int | None) -> str:
    said = [f"{count} {word}" for word, count in counts.items() if count]
    return f" ({', '.join(said)})" * bool(said)


def _run_words(event: Mapping[str, Any]) -> str:
    run = event["run"] or {}
    code = "" if run.get("exitCode") is None else f" with exit code {run['exitCode']}"
    return code + (f": {run['message']}" if run.get("message") else "")


def event_json(row: Sequence[Any], base_url: str) -> dict[str, Any]:
    """An event as webhooks, commands and the API show it, from a row of `EVENTS_SQL`."""
    _, id_, kind, at, told_at, body = row
    event = {
        "id": id_,
        "kind": kind,
        "at": iso(at),
        "toldAt": iso(told_at),
        "summary": "",
        **json.loads(body),
    }
    monitor = event["monitor"]
    if monitor:
        monitor["url"] = f"{base_url}/#/monitors/{monitor['id']}"
    event["summary"] = SUMMARIES[kind](monitor["name"] if monitor else "", event)
    del event["about"]
    return event


def event_text(event: Mapping[str, Any], most: int) -> str:
    """What a person reads on a phone: what, since when, the end of the log, a link."""
    monitor, run = event["monitor"], event["run"] or {}
    since = event["downSince"] if event["kind"] not in ("recovered", "reminder") else None
    told = str(event["summary"]) + (f"\nDown since {_when(since)}" if since else "")
    link = f"\n{monitor['url']}" if monitor else ""
    log_tail = "\n".join((run.get("logTail") or "").strip().splitlines()[-TEXT_LINES:])
    room = most - len(told) - len(link) - 1
    return (
        told[:most]
        + (f"\n{log_tail[-room:]}" if log_tail and room > 0 else "")
        + (link if len(told) + len(link) <= most else "")
    )


SEND_SECONDS, COMMAND_SECONDS, VARIABLE_MAX, TEXT_LINES = 10, 30, 4096, 10
BODIES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "webhook": lambda event: event,
    "slack": lambda event: {"text": html.escape(event_text(event, 3000), quote=False)},
    "discord": lambda event: {
        "content": event_text(event, 2000),
        "allowed_mentions": {"parse": []},
    },
    "ntfy": lambda event: event_text(event, 1000),
}


@contextlib.contextmanager
def cut_off(peer: Any) -> Iterator[None]:
    """Shut a connection that goes on for too long: a byte now and then breaks no timeout."""

    def shut() -> None:
        with contextlib.suppress(OSError, AttributeError):  # it is closed already
            peer.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(3 * SEND_SECONDS, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def request_once(method: str, address: str, body: bytes, headers: Mapping[str, str]) -> int:
    """The status that a URL answers, within 30 s. No redirect, which could send an event anywhere,
    and no proxy from the environment, which would see it."""
    url = urllib.parse.urlsplit(address)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    peer = kind(url.netloc, timeout=SEND_SECONDS)
    with contextlib.closing(peer), cut_off(peer):
        peer.request(method, (url.path or "/") + f"?{url.query}" * bool(url.query), body, headers)
        return peer.getresponse().status


def send_webhook(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> str:
    """POST an event, signed as Standard Webhooks has it; its id is the same for each retry."""
    worded = BODIES[channel](event)
    body = (worded if isinstance(worded, str) else json.dumps(worded)).encode()
    stamp = str(now // 1000)
    signed = hmac.new(
        base64.b64decode(config["secret"].removeprefix("whsec_")),
        f"{event['id']}.{stamp}.".encode() + body,
        "sha256",
    ).digest()
    headers = {
        "Content-Type": "application/json" if isinstance(worded, dict) else "text/plain",
        "User-Agent": f"cronwatch/{__version__}",
        "webhook-id": event["id"],
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        **config.get("headers", {}),
    }
    status = request_once("POST", config["url"], body, headers)
    if not 200 <= status < 300:
        raise OSError(f"HTTP {status}")
    return f"HTTP {status}"


def _kill_session(leader: int) -> None:
    """Kill the processes of a session, also those in a group of their own where /proc tells."""
    os.killpg(leader, signal.SIGKILL)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(stat.parent.name), signal.SIGKILL)


def send_command(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> str:
    """Run a shell command with the event on standard input and in the environment.
    Nothing from a ping is in the command line. Its session is killed whole after 30 s."""
    variables = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ
    }
    nested = {
        f"{outer}_{name}": value
        for outer in ("monitor", "run")
        for name, value in (event[outer] or {}).items()
    }
    for name, value in {**event, **nested}.items():
        if isinstance(value, (str, int, float)):
            text = str(value).replace("\0", "").encode()[:VARIABLE_MAX].decode("utf-8", "ignore")
            variables["CRONWATCH_EVENT_" + re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()] = text
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(json.dumps(event).encode())
        given.seek(0)
        shell = subprocess.Popen(
            ["/bin/sh", "-c", config["command"]],
            env=variables,
            stdin=given,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code: int | str = shell.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            _kill_session(shell.pid)
            code = f"none: killed after {COMMAND_SECONDS} s, was {shell.wait()}"
        said.seek(max(0, said.seek(0, 2) - TAIL_MAX))
        result = f"exit code {code} {said.read(TAIL_MAX).decode('utf-8', 'replace')}".strip()
    if code != 0:
        raise OSError(result)
    return result


def send_email(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> str:
    """Send a mail by SMTP; its links only open the dashboard, for previews call every link."""
    if not settings.smtp_host:
        raise OSError("no mail can be sent: the setting smtp_host is empty")
    message, monitor = EmailMessage(), event["monitor"]
    # An encoded word would be decoded here, and its line breaks would be headers of their own.
    message["Subject"] = (clean(event["summary"], 200) or "").replace("=?", "= ?")
    message["From"] = settings.smtp_from or f"cronwatch@{socket.getfqdn()}"
    message["To"] = config["address"]
    message["Date"] = formatdate(now / 1000)
    message["Message-ID"] = f"<{event['id']}@cronwatch>"
    lines = [event_text(event, 20_000)]
    if monitor:
        lines += [
            "",
            f"Pause for an hour: {monitor['url']}/pause/1",
            f"Pause for a day: {monitor['url']}/pause/24",
        ]
    message.set_content("\n".join(lines))
    connect = smtplib.SMTP_SSL if settings.smtp_security == "tls" else smtplib.SMTP
    server = connect(timeout=SEND_SECONDS)
    with contextlib.closing(server), cut_off(server):
        # What its certificate must name; Python sets it only where it connects at once.
        server._host = settings.smtp_host  # type: ignore[attr-defined]
        server.connect(settings.smtp_host, settings.smtp_port)
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password)
        server.send_message(message)
        with contextlib.suppress(OSError):  # it is accepted, whatever comes now
            server.quit()
    return f"accepted by {settings.smtp_host}"


def send_apprise(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> str:
    """Send by Apprise, which knows some hundred services; what it logs may have secrets in it."""
    robot = load_apprise().Apprise()
    if not robot.add(config["url"]) or not robot.notify(event_text(event, 1000), event["summary"]):
        raise OSError("Apprise could not send it")
    return "sent by Apprise"


def load_apprise() -> Any:
    """The module of the extra, with its log silenced; raises `Invalid` without the extra."""
    try:
        found = importlib.import_module("apprise")
    except ImportError:
        raise Invalid("apprise is not installed: pip install 'cronwatch[apprise]'") from None
    found.logger.disabled = True
    return found


def with_apprise(given: T) -> T:
    """What is given, of one integration or more, with Apprise loaded where it may be needed: that
    takes up to a second, and pings would wait for a transaction that did so."""
    found = given.get("integrations", [given]) if isinstance(given, dict) else None
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and "url" in one and one.get("channel", "apprise") == "apprise":
            with contextlib.suppress(Invalid):  # the check says so
                load_apprise().Apprise.instantiate(str(one["url"])[:2000])
    return given


ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
MAIL_ADDRESS = re.compile(rf"(?!.*=\?){ATOM}(\.{ATOM})*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
FRAMING = {
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}  # headers that are for the sender to set
SENDERS = {
    "command": send_command,
    "email": send_email,
    "apprise": send_apprise,
    **dict.fromkeys(BODIES, send_webhook),
}
NEEDS = {"command": "command", "email": "address", **dict.fromkeys(["apprise", *BODIES], "url")}


def is_signing_secret(secret: Any) -> bool:
    """Whether it signs webhooks: `whsec_` and some bytes as base64 (Standard Webhooks)."""
    with contextlib.suppress(AttributeError, ValueError):
        prefix, _, coded = secret.partition("_")
        return prefix == "whsec" and len(base64.b64decode(coded, validate=True)) >= 16
    return False


def is_web_address(url: str) -> bool:
    """Whether we can send to it: http or https, plain characters, without a name and password."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and not re.search(r"[^!-~]", url)
            and not set("@%") & set(parts.netloc)
        )
    except ValueError:  # of a port or an address that is none
        return False


def check_integration(
    channel: str, given: Mapping[str, Any], headers: Any, secret: str | None = None
) -> dict[str, Any]:
    """The stored form of what an integration needs, with a new signing secret where it has none;
    or `Invalid` with what is wrong with it."""
    if channel not in SENDERS:
        raise Invalid(f"channel must be one of {', '.join(SENDERS)}")
    need = NEEDS[channel]
    target = given.get(need)
    if not isinstance(target, str) or not 1 <= len(target) <= 2000 or "\0" in target:
        raise Invalid(f"{need} must be 1 to 2000 characters")
    if need == "address" and not MAIL_ADDRESS.fullmatch(target):
        raise Invalid("address must be one mail address")
    if channel == "apprise" and not load_apprise().Apprise.instantiate(target):
        raise Invalid("url must be one that Apprise knows")
    if need != "url" or channel == "apprise":
        return {need: target}
    if not is_web_address(target):
        raise Invalid("url must be an http or https address; credentials go into headers")
    headers = {} if headers is None else headers
    if (
        not isinstance(headers, dict)
        or len(headers) > 20
        or not all(
            re.fullmatch(r"[A-Za-z0-9-]{1,100}", name)
            and not name.lower().startswith("webhook-")
            and name.lower() not in FRAMING
            and isinstance(value, str)
            and re.fullmatch(r"[\x20-\x7e]{0,2000}", value)
            for name, value in headers.items()
        )
    ):
        raise Invalid("headers must be an object of at most 20 plain header lines")
    secret = secret or "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    return {"url": target, "headers": headers, "secret": secret}


Claim = tuple[int, str, dict[str, Any], Sequence[Any]]  # alert, channel, what it needs, event


def waiting_integrations(tx: Tx) -> list[int]:
    """The integrations with something to send."""
    return [
        num
        for (num,) in rows(
            tx.db,
            "SELECT DISTINCT a.integration FROM alert a JOIN integration i ON i.num = "
            "a.integration WHERE a.state = 'pending' AND a.due_at <= ? AND i.enabled",
            tx.now,
        )
    ]


def claim_alert(tx: Tx, integration: int) -> Claim | None:
    """Take the next due alert of an integration; what waits behind another one is not due.
    Its next try is on disk then, should we die over this one."""
    found = rows(
        tx.db,
        "SELECT a.num FROM alert a JOIN integration i ON i.num = a.integration WHERE "
        "a.integration = ? AND a.state = 'pending' AND a.due_at <= ? AND i.enabled "
        "ORDER BY a.due_at, a.num LIMIT 1",
        integration,
        tx.now,
    )
    return _claim(tx, found[0][0]) if found else None


def _claim(tx: Tx, num: int) -> Claim:
    tries, event, channel, config = rows(
        tx.db,
        "SELECT a.tries, a.event, i.channel, i.config FROM alert a JOIN integration i "
        "ON i.num = a.integration WHERE a.num = ?",
        num,
    )[0]
    update(
        tx.db,
        "alert",
        num,
        {
            "tries": tries + 1,
            "tried_at": tx.now,
            "due_at": tx.now + (retry_ms(tries + 1) or 3_600_000),
        },
    )
    return num, channel, json.loads(config), rows(tx.db, EVENTS_SQL + "WHERE e.num = ?", event)[0]


def settle_alert(tx: Tx, num: int, problem: str | None, result: str) -> None:
    """Keep what came of a try; after the fourth failed one the other integrations are told."""
    found = rows(
        tx.db,
        "SELECT a.tries, i.num, i.name, i.failing, a.monitor, e.kind FROM alert a JOIN "
        "integration i ON i.num = a.integration JOIN event e ON e.num = a.event WHERE a.num = ?",
        num,
    )
    if not found:  # it was removed meanwhile
        return
    tries, integration, name, failing, monitor, kind = found[0]
    dead = retry_ms(tries) is None or kind == "test"
    state = "sent" if problem is None else "dead" if dead else "pending"
    update(tx.db, "alert", num, {"state": state, "result": problem or result})
    if problem is None:
        update(tx.db, "integration", integration, {"failing": 0} if failing else {})
    elif tries >= 4 and not failing and monitor is not None:
        update(tx.db, "integration", integration, {"failing": 1})
        others = [hearer for hearer in hearers(tx.db, None) if hearer != integration]
        add_event(tx, Event("delivery_failed", tx.now), None, others, about=(name, problem))


def add_test(tx: Tx, integration: int, name: str, m: Monitor | None = None) -> Claim:
    """A test event for one integration, claimed at once by who asked for it."""
    add_event(tx, Event("test", tx.now), m, [integration], about=name)
    return _claim(tx, rows(tx.db, "SELECT max(num) FROM alert")[0][0])


def find_integration(tx: Tx, name: str) -> dict[str, Any]:
    """The integration with this id or name; refuses with 404."""
    c = INTEGRATION.c
    found = dicts(tx.db, INTEGRATION.select().where((c.id == name) | (c.name == name)))
    if not found:
        raise Refused(f"there is no integration '{clean(name, 200)}'", "NOT_FOUND", 404)
    return found[0]


class Outbox:
    """Sends what is due, each integration in a thread of its own: a dead one delays no other."""

    def __init__(
        self,
        act: Callable[..., Any],
        read: Callable[..., Any],
        settings: Settings,
        clock: Callable[[], int],
    ) -> None:
        self.act, self.read, self.settings, self.clock = act, read, settings, clock
        self.count: Callable[[str], None] = lambda result: None  # each try: sent or failed
        self._threads: dict[int, threading.Thread] = {}
        self._stops = False

    def turn(self) -> list[threading.Thread]:
        """Start sending what is due, and return the threads that do."""
        self._threads = {i: t for i, t in self._threads.items() if t.is_alive()}
        for integration in self.read(waiting_integrations):
            if integration not in self._threads:
                thread = threading.Thread(target=self._send_all, args=(integration,), daemon=True)
                self._threads[integration] = thread
                thread.start()
        return list(self._threads.values())

    def _send_all(self, integration: int) -> None:
        with contextlib.suppress(Refused):  # nothing can be written: what is claimed is due again
            while not self._stops and (claim := self.act(claim_alert, integration)) is not None:
                self.act(settle_alert, claim[0], *self.send(claim))

    def stop(self) -> None:
        """Let what is being sent end, which has a limit; the rest goes out at the next start."""
        self._stops, end = True, monotonic() + COMMAND_SECONDS + 5
        for thread in self._threads.values():
            thread.join(max(0, end - monotonic()))

    def test(
        self, integration: int, name: str, m: Monitor | None = None
    ) -> tuple[str | None, str]:
        """Send a test now; what went wrong, if anything, and what came of it."""
        claim = self.act(add_test, integration, name, m)
        outcome = self.send(claim)
        self.act(settle_alert, claim[0], *outcome)
        return outcome

    def send(self, claim: Claim) -> tuple[str | None, str]:
        """Send one claimed alert; what went wrong, if anything, and what came of it."""
        _, channel, config, row = claim
        try:
            event = event_json(row, self.settings.base_url)
            result = SENDERS[channel](self.settings, channel, config, event, self.clock())
        except Exception as error:  # noqa: BLE001 - all that a network or a command does wrong
            self.count("failed")
            return clean(f"{type(error).__name__}: {error}", 2 * TAIL_MAX, lines=True), ""
        self.count("sent")
        return None, clean(result, 2 * TAIL_MAX, lines=True) or ""


# == Management ===============================================================
# Monitors and the rest as the API and the command line word them. No request is read here.
class Field(NamedTuple):
    """A field of a monitor in the API and on the command line: its column, and its rule."""

    name: str
    column: str
    rule: tuple[Any, ...]  # a check that takes the name, a value and these limits
    shown: Callable[[Any], Any] = lambda value: value


def _text(name: str, value: Any, least: int, most: int, lines: bool = False) -> str:
    kept = clean(value, most, lines) if isinstance(value, str) else None
    if not isinstance(value, str) or len(value.strip()) > most or len(kept or "") < least:
        raise Invalid(f"{name} must be {least} to {most} characters")
    return kept or ""


def _whole(name: str, value: Any, least: int, most: int, none: bool = False) -> int | None:
    if none and (value is None or (value == 0 and value is not False)):
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value % 1
        or not (least <= value <= most)
    ):
        raise Invalid(f"{name} must be a whole number, {least} to {most}")
    return int(value)


def _yes_no(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false")
    return int(value)


def _one_of(name: str, value: Any, *words: str) -> str:
    if value not in words:
        raise Invalid(f"{name} must be {' or '.join(words)}")
    return str(value)


def _parsed(name: str, value: Any, parse: Callable[[str], Any]) -> str:
    text = _text(name, value, 1, 500)
    try:
        parse(value)
    except Invalid as error:
        raise Invalid(f"{name}: {error.sentence}") from None
    return text


def _tags(name: str, value: Any) -> str:
    words = (value or "").split() if value is None or isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Invalid(f"{name} must be tags separated by spaces, or a list of them")
    return " ".join(dict.fromkeys(" ".join(clean(word, 100) or "" for word in words).split()))


FIELDS = (
    Field("name", "name", (_text, 1, 200)),
    Field("key", "key", (_text, 1, 200)),
    Field(
        "intervalSeconds", "interval_seconds", (_whole, 60, 2_592_000), lambda found: found or 0
    ),
    Field("cronExpression", "cron", (_parsed, parse_cron)),
    Field("timezone", "timezone", (_parsed, check_timezone)),
    Field("graceSeconds", "grace_seconds", (_whole, 0, 86_400)),
    Field("tags", "tags", (_tags,)),
    Field("emailAlertsEnabled", "email_alerts", (_yes_no,), bool),
    Field(
        "reminderIntervalSeconds",
        "reminder_interval_seconds",
        (_whole, 60, 31_536_000, True),
        lambda found: found or 0,
    ),
    Field("expects", "expects", (_one_of, "run", "complete")),
    Field("maxRunSeconds", "max_run_seconds", (_whole, 1, 31_536_000, True)),
    Field("failureTolerance", "failure_tolerance", (_whole, 0, 1000)),
    Field("minPingIntervalSeconds", "min_ping_interval_seconds", (_whole, 1, 86_400, True)),
    Field("armed", "armed", (_yes_no,), bool),
    Field(
        "rules",
        "rules",
        (lambda _, value: json.dumps(check_rules([] if value is None else value)),),
        lambda found: json.loads(found or "[]"),
    ),
    Field("notes", "notes", (_text, 0, 10_000, True)),
)
SCHEDULES = {"interval": "intervalSeconds", "cron": "cronExpression", "none": None}


def schedule_type(m: Monitor) -> str:
    """Which of `SCHEDULES` a monitor has."""
    return "cron" if m.cron else "interval" if m.interval_seconds else "none"


WHOLE_UNITS = {60: "every minute", 3600: "every hour", 86_400: "every day", 604_800: "every week"}


def interval_words(seconds: int) -> str:
    """An interval in words."""
    return WHOLE_UNITS.get(seconds, f"every {_span(seconds)}")


def schedule_words(m: Monitor) -> str:
    """When a monitor is expected, in words."""
    if m.cron:
        return _cron_words(m.cron)
    return interval_words(m.interval_seconds) if m.interval_seconds else "no schedule"


@lru_cache(10_000)
def _cron_words(cron: str) -> str:
    return describe_cron(cron)


def read_object(given: Any, *known: str) -> dict[str, Any]:
    """A JSON object with no field but these; raises `Invalid` with the name of another one."""
    if not isinstance(given, dict):
        raise Invalid("the body must be a JSON object")
    if strange := set(given) - set(known):
        near = difflib.get_close_matches(min(strange)[:60], known, 1)
        raise Invalid(
            f"'{clean(min(strange), 60)}' is not a known field"
            + "".join(f" (did you mean {name}?)" for name in near)
        )
    return given


def read_monitor(given: Any, m: Monitor | None = None) -> dict[str, Any]:
    """The columns of a new monitor, or those that change, from its JSON; raises `Invalid`."""
    rules = {field_.name: field_ for field_ in FIELDS}
    given = read_object(given, *rules, "scheduleType", "integrationIds", "unique")
    present = [kind for kind, need in SCHEDULES.items() if given.get(need or "")]
    kept = schedule_type(m) if m else "interval"
    kind = given.get("scheduleType", present[0] if m and present else kept)
    _one_of("scheduleType", kind, *SCHEDULES)
    wanted = {"name", SCHEDULES[kind]} if m is None else {SCHEDULES[kind]} - {SCHEDULES[kept]}
    if missing := wanted - set(given) - {None}:
        raise Invalid(f"{max(missing, key=str)} is required")
    unused = {need for other, need in SCHEDULES.items() if need and other != kind}
    for name in unused & set(given):  # Cronping's own pages send 0 and null there
        _whole(name, given[name], 0, 2_592_000, True) if name == "intervalSeconds" else (
            given[name] is None or _text(name, given[name], 0, 500)
        )
    columns = {
        rules[name].column: rules[name].rule[0](name, value, *rules[name].rule[1:])
        for name, value in given.items()
        if name in rules and name not in unused
    }
    return (
        columns if kind == kept else {**columns, **{rules[name].column: None for name in unused}}
    )


def read_ids(given: Mapping[str, Any]) -> list[str] | None:
    """The integrations that are named; None for all default ones."""
    ids = given.get("integrationIds")
    if ids is not None and not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
        raise Invalid("integrationIds must be a list of ids")
    return ids


Shown = dict[str, Any]
RUNS_SQL = """SELECT monitor, num, series, state, started_at, ended_at, duration_ms, exit_code,
    message, host, metrics, matched, EXISTS (SELECT 1 FROM run_log WHERE run = num) FROM run """
NEWEST_RUNS = (
    RUNS_SQL
    + """WHERE num IN (SELECT (SELECT num FROM run WHERE monitor = m.num
    ORDER BY started_at DESC, num DESC LIMIT 1) FROM monitor m WHERE m.num IN """
)
OPEN_RUNS_OF = """SELECT r.monitor, r.num, max(r.started_at), r.message,
    (SELECT percent FROM ping WHERE run = r.num AND kind = 'progress' AND percent IS NOT NULL
     ORDER BY num DESC LIMIT 1),
    (SELECT at FROM ping WHERE run = r.num AND kind = 'progress' ORDER BY num DESC LIMIT 1)
    FROM run r WHERE r.state = 'running' AND r.monitor IN """


def run_shown(row: Sequence[Any]) -> Shown:
    """A row of `RUNS_SQL` in the API's form."""
    (
        _,
        num,
        series,
        state,
        started,
        ended,
        lasted,
        code,
        message,
        host,
        metrics,
        matched,
        has_log,
    ) = row
    return {
        "id": str(num),
        "series": series,
        "state": state,
        "startedAt": iso(started),
        "endedAt": iso(ended),
        "durationMs": lasted,
        "exitCode": code,
        "message": message,
        "host": host,
        "metrics": json.loads(metrics or "null"),
        "matched": json.loads(matched or "[]"),
        "hasLog": bool(has_log),
    }


def marks(nums: Sequence[Any]) -> str:
    """So many question marks, in brackets."""
    return f"({', '.join('?' * len(nums))})"


RECIPIENTS_SQL = HEARERS.replace("SELECT m.num, i.num", "SELECT m.num, i.name")


def recipients_of(tx: Tx, nums: Sequence[int]) -> dict[int, list[str]]:
    """The names of the integrations that are told of these monitors."""
    names: dict[int, list[str]] = {num: [] for num in nums}
    for num, name in rows(tx.db, f"{RECIPIENTS_SQL}{marks(nums)} ORDER BY i.name", *nums):
        names[num].append(name)
    return names


def open_runs_of(tx: Tx, nums: Sequence[int]) -> dict[int, Any]:
    """The newest open run of these monitors, as columns of `OPEN_RUNS_OF`."""
    return {
        num: run
        for num, *run in rows(tx.db, f"{OPEN_RUNS_OF}{marks(nums)} GROUP BY r.monitor", *nums)
    }


def _progress_of(run: Sequence[Any] | None) -> Shown | None:
    if run is None or run[4] is None:
        return None
    return {"percent": run[3], "message": run[2], "at": iso(run[4])}


def is_late(m: Monitor, now: int) -> bool:
    """Whether it is past its time, and still in grace."""
    return m.status == "up" and m.expected_at is not None and m.expected_at < now


def monitors_json(tx: Tx, monitors: Sequence[Monitor], secret: bool = True) -> list[Shown]:
    """Monitors in the form of Cronping's page, with our fields; `secret` shows their handles."""
    nums = [m.num for m in monitors]
    recipients, running = recipients_of(tx, nums), open_runs_of(tx, nums)
    last = {row[0]: run_shown(row) for row in rows(tx.db, f"{NEWEST_RUNS}{marks(nums)})", *nums)}
    handles: dict[int, list[tuple[str, str]]] = {num: [] for num in nums}
    for num, kind, text in rows(
        tx.db, "SELECT monitor, kind, text FROM handle WHERE monitor IN " + marks(nums), *nums
    ):
        handles[num].append((kind, text))
    return [
        {
            "id": m.id,
            "status": m.status,
            "paused": m.status == "paused",
            "scheduleType": schedule_type(m),
            **{field_.name: field_.shown(getattr(m, field_.column)) for field_ in FIELDS},
            "lastPingAt": iso(m.last_ping_at),
            "expectedAt": iso(m.expected_at),
            "nextExpectedAt": iso(deadline(m)) if m.status in ("new", "up") else None,
            "downReason": m.down_reason,
            "downSince": iso(m.down_since),
            "pausedUntil": iso(m.pause_until),
            "droppedPings": m.dropped_pings,
            "late": is_late(m, tx.now),
            "running": m.num in running,
            "progress": _progress_of(running.get(m.num)),
            "lastRun": last.get(m.num),
            "schedule": schedule_words(m),
            "recipients": recipients[m.num],
            "heard": bool(recipients[m.num]),
            "createdAt": iso(m.created_at),
            "updatedAt": iso(m.updated_at),
            **(_handles_json(tx, handles[m.num]) if secret else {}),
        }
        for m in monitors
    ]


def _handles_json(tx: Tx, handles: Sequence[tuple[str, str]]) -> dict[str, Any]:
    ours = {kind: text for kind, text in handles if kind in OUR_HANDLES}
    return {
        **ours,
        "pingUrl": f"{tx.settings.base_url}/{ours['token']}",
        "handles": [
            {"dialect": kind, "handle": text} for kind, text in handles if kind not in ours
        ],
    }


class Ask(NamedTuple):
    """A management request."""

    id: str = ""
    query: Mapping[str, Sequence[str]] = {}
    body: Any = None
    secret: bool = True  # whether secrets may be shown
    run: str = ""
    user: int | None = None  # who is signed in
    session: str = ""  # and the hash of that session's secret
    address: str | None = None
    etag: str = ""  # of the answer that the caller has


Reply = tuple[dict[str, Any], int]  # with a status that is not the route's own


def get_monitor(tx: Tx, name: str) -> Monitor:
    """The monitor with this id or key; refuses with 404."""
    found = rows(
        tx.db,
        f"SELECT {', '.join(MONITOR_FIELDS)} FROM monitor WHERE id = ? OR "
        "key = ? ORDER BY id = ? DESC LIMIT 1",
        name,
        name,
        name,
    )
    if not found:
        raise Refused(
            f"Heartbeat not found: there is no monitor '{clean(name, 200)}'", "NOT_FOUND", 404
        )
    return Monitor(*found[0])


def read_count(name: str, text: str, least: int, most: int) -> int:
    """A whole number of a query."""
    if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
        raise Invalid(f"{name} must be a whole number, {least} to {most}")
    return int(text)


def read_page(ask: Ask, most: int, limit: str = "50") -> tuple[int, int]:
    """`limit` and `offset` of a query."""
    return (
        read_count("limit", ask.query.get("limit", [limit])[0], 1, most),
        read_count("offset", ask.query.get("offset", ["0"])[0], 0, 2**53),
    )


STATUSES = ("new", "up", "down", "paused")


def read_filter(ask: Ask) -> tuple[str, list[Any]]:
    """The condition that `query`, `status` and `tag` stand for, with its values."""
    statuses = [_one_of("status", status, *STATUSES) for status in ask.query.get("status", ())]
    parts = [
        ("instr(casefold(name), ?) > 0", text.casefold()) for text in ask.query.get("query", ())
    ]
    parts += [("instr(' ' || tags || ' ', ?) > 0", f" {tag} ") for tag in ask.query.get("tag", ())]
    words = [part for part, _ in parts] + [f"status IN {marks(statuses)}"] * bool(statuses)
    return " AND ".join(words) or "1", [value for _, value in parts] + statuses


def list_monitors(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A page of monitors by name, filtered as Cronping's page has it."""
    (limit, offset), (wanted, values) = read_page(ask, 100), read_filter(ask)
    total = rows(tx.db, f"SELECT count(*) FROM monitor WHERE {wanted}", *values)[0][0]
    found = rows(
        tx.db,
        f"SELECT {', '.join(MONITOR_FIELDS)} FROM monitor WHERE {wanted} "
        "ORDER BY name, num LIMIT ? OFFSET ?",
        *values,
        limit,
        offset,
    )
    return {
        "heartbeats": monitors_json(tx, [Monitor(*row) for row in found], ask.secret),
        "total": total,
        "limit": limit,
        "offset": offset,
    }


def show_monitor(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A monitor, with the integrations that are linked to it, and when it is expected next."""
    m = get_monitor(tx, ask.id)
    linked = rows(
        tx.db,
        "SELECT id FROM integration WHERE is_default AND ? OR num IN (SELECT "
        "integration FROM monitor_integration WHERE monitor = ?) ORDER BY num",
        m.default_integrations,
        m.num,
    )
    coming = [m.expected_at] if m.expected_at is not None and m.expected_at > tx.now else []
    return {
        **monitors_json(tx, [m], ask.secret)[0],
        "integrationIds": [id_ for (id_,) in linked],
        "upcoming": [iso(at) for at in next_times(m, tx.now, coming)],
    }


def next_times(m: Monitor, now: int, known: Sequence[int] = (), count: int = 5) -> list[int]:
    """The next occurrences, the known ones first; none where there is nothing to begin from."""
    times = list(known)
    if m.interval_seconds and not times:
        return []
    while len(times) < count:
        following = next_occurrence(m, times[-1] if times else now)
        if following is None:
            break
        times.append(following)
    return times


def add_monitor(tx: Tx, ask: Ask, handles: Mapping[str, str] | None = None) -> Reply:
    """Create a monitor from its JSON; with `unique`, change the one of that name if there is."""
    columns, unique = {"timezone": "UTC", **read_monitor(ask.body)}, ask.body.get("unique")
    if unique is not None:
        named = rows(
            tx.db,
            "SELECT id FROM monitor WHERE name = ? ORDER BY num LIMIT 1",
            _text("unique", unique, 1, 200),
        )
        if named:
            body = {name: value for name, value in ask.body.items() if name != "unique"}
            return edit_monitor(tx, ask._replace(id=named[0][0], body=body)), 200
    num = create_monitor(tx, columns, handles, read_ids(ask.body))
    return monitors_json(tx, [load_life(tx, num)[0].monitor])[0], 201


def edit_monitor(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Change what the body names."""
    m = get_monitor(tx, ask.id)
    if isinstance(ask.body, dict) and "unique" in ask.body:
        raise Invalid("'unique' can only be given when a monitor is created")
    columns, ids = read_monitor(ask.body, m), read_ids(ask.body)
    if "integrationIds" in ask.body:
        link_integrations(tx, m.num, ids or ())
        columns["default_integrations"] = int(ids is None)
    if columns.get("key", m.key) != m.key:
        refuse_taken(tx, "monitor", "key", columns["key"])
    if cron := columns.get("cron", m.cron):
        next_run(cron, columns.get("timezone", m.timezone), tx.now)
    changed = change_monitor(tx, m.num, lambda life: edit(life, tx.now, columns))
    return monitors_json(tx, [changed])[0]


def pause_asked(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Pause a monitor, for `hours` where the body says so."""
    hours = read_object({} if ask.body is None else ask.body, "hours").get("hours")
    hours = None if hours is None else _whole("hours", hours, 0, 876_000)
    return monitors_json(tx, [pause_monitor(tx, get_monitor(tx, ask.id).num, hours)])[0]


def resume_asked(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Resume a monitor: in Cronping it is new then."""
    num = get_monitor(tx, ask.id).num
    return monitors_json(tx, [change_monitor(tx, num, lambda life: resume(life, tx.now, True))])[0]


def mark_ok(tx: Tx, ask: Ask) -> dict[str, Any]:
    """All is well, says a person: up without an event, as by Cronitor's /ok."""
    ok, num = Ping("ok", tx.now), get_monitor(tx, ask.id).num
    return monitors_json(tx, [change_monitor(tx, num, lambda life: receive(life, ok))])[0]


def list_handles(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Every secret that pings a monitor."""
    found = rows(
        tx.db,
        "SELECT kind, text FROM handle WHERE monitor = ? ORDER BY kind, text",
        get_monitor(tx, ask.id).num,
    )
    return {"handles": [{"dialect": kind, "handle": text} for kind, text in found]}


def _handle_text(value: Any) -> str:
    _text("handle", value, 1, 200)
    return str(value).strip()  # as it was given: pings have to match it


def adopt_asked(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Let a handle of an old service ping a monitor too."""
    given, m = read_object(ask.body, "handle", "dialect"), get_monitor(tx, ask.id)
    text = _handle_text(given.get("handle"))
    kind = given.get("dialect", default_dialect(text))
    adopt(tx, m.num, text, _one_of("dialect", kind, *DIALECTS))
    return list_handles(tx, ask)


def remove_handle(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Let an adopted handle ping no more."""
    m, (text, *_) = get_monitor(tx, ask.id), ask.query.get("handle", [""])
    found = find_handle(tx, text)
    if found is None or found[0] != m.num:
        raise Refused("this monitor has no such handle", "NOT_FOUND", 404)
    if found[1] in OUR_HANDLES:
        raise Refused(f"a monitor always has a {found[1]}: rotate it instead", "CONFLICT", 409)
    execute(
        tx.db,
        "DELETE FROM handle WHERE text = ?",
        (text.lower() if TOKEN.fullmatch(text) else text,),
    )
    tx.store.cache.clear()
    return list_handles(tx, ask)


def rotate_handle(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A new token or code in place of one that is known to too many."""
    kind = _one_of("kind", read_object(ask.body, "kind").get("kind"), *OUR_HANDLES)
    m = get_monitor(tx, ask.id)
    execute(tx.db, "DELETE FROM handle WHERE monitor = ? AND kind = ?", (m.num, kind))
    adopt(tx, m.num, OUR_HANDLES[kind](), kind)
    return monitors_json(tx, [m])[0]


def remove_monitor(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Delete a monitor with all that hangs on it."""
    m = get_monitor(tx, ask.id)
    execute(tx.db, "DELETE FROM monitor WHERE num = ?", (m.num,))
    tx.store.cache.clear()
    return {"id": m.id, "deleted": True}


INTEGRATIONS_SQL = """SELECT i.*, a.state, a.result, a.tried_at, e.kind,
    (SELECT count(*) FROM alert p WHERE p.integration = i.num AND p.state = 'pending') pending,
    (SELECT count(*) FROM alert d JOIN event de ON de.num = d.event WHERE d.integration = i.num
     AND d.state = 'dead' AND d.tried_at > ? AND de.kind != 'test') dead
    FROM integration i LEFT JOIN alert a ON a.num = (SELECT num FROM alert WHERE
    integration = i.num AND tried_at IS NOT NULL ORDER BY tried_at DESC, num DESC LIMIT 1)
    LEFT JOIN event e ON e.num = a.event """
DEAD_MS = 7 * 86_400_000  # for so long one is told of alerts that were given up


def integrations_json(tx: Tx, secret: bool, id_: str | None = None) -> list[Shown]:
    """All integrations or one in Cronping's form, with how they do; what they need is secret."""
    cursor = execute(
        tx.db,
        INTEGRATIONS_SQL + "WHERE ? IN (i.id, '') ORDER BY i.num",
        (tx.now - DEAD_MS, id_ or ""),
    )
    names = [column[0] for column in cursor.description]
    return [
        {
            "id": row["id"],
            "channel": row["channel"],
            "name": row["name"],
            "enabled": bool(row["enabled"]),
            "default": bool(row["is_default"]),
            "failing": bool(row["failing"]),
            "createdAt": iso(row["created_at"]),
            "updatedAt": iso(row["updated_at"]),
            "pending": row["pending"],
            "dead": row["dead"],
            "lastDelivery": None
            if row["tried_at"] is None
            else {
                "at": iso(row["tried_at"]),
                "state": row["state"],
                "kind": row["kind"],
                "result": row["result"],
            },
            **(json.loads(row["config"]) if secret else {}),
        }
        for row in (dict(zip(names, values, strict=True)) for values in cursor.fetchall())
    ]


def list_integrations(tx: Tx, ask: Ask) -> dict[str, Any]:
    """All integrations."""
    return {"integrations": integrations_json(tx, ask.secret)}


def show_integration(tx: Tx, ask: Ask) -> dict[str, Any]:
    """One integration, by id or name."""
    return integrations_json(tx, ask.secret, find_integration(tx, ask.id)["id"])[0]


def add_integration(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Create an integration from its JSON, with what signs its webhooks."""
    given = read_object(ask.body, "channel", "name", "headers", "default", *NEEDS.values())
    channel, name = str(given.get("channel")), _text("name", given.get("name"), 1, 200)
    config = check_integration(channel, given, given.get("headers"))
    default = bool(_yes_no("default", given.get("default", True)))
    return integrations_json(tx, True, create_integration(tx, channel, name, config, default))[0]


def _refuse_command(channel: Any) -> None:
    """Only who is on the server may say what runs there."""
    if channel == "command":
        raise Refused(
            "a command can only be made, changed and removed with `cronwatch "
            "integration` on the server",
            "FORBIDDEN",
            403,
        )


def add_integration_asked(tx: Tx, ask: Ask) -> dict[str, Any]:
    """As `add_integration`, but never a command."""
    _refuse_command(ask.body.get("channel") if isinstance(ask.body, dict) else None)
    return add_integration(tx, ask)


def edit_integration(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Change what the body names; a command can only be switched off and on."""
    row = find_integration(tx, ask.id)
    if not isinstance(ask.body, dict) or set(ask.body) - {"enabled"}:
        _refuse_command(row["channel"])
    return change_integration(tx, row, ask.body)


def change_integration(
    tx: Tx, row: Mapping[str, Any], body: Any, secret: str | None = None
) -> dict[str, Any]:
    """Change an integration by its JSON, and what signs its webhooks where that is given."""
    need = NEEDS[row["channel"]]
    given = read_object(body, "name", "enabled", "default", need, *["headers"] * (need == "url"))
    columns: dict[str, Any] = {
        column: _yes_no(name, given[name])
        for name, column in (("enabled", "enabled"), ("default", "is_default"))
        if name in given
    }
    if "name" in given:
        columns["name"] = _text("name", given["name"], 1, 200)
        if columns["name"] != row["name"]:
            refuse_taken(tx, "integration", "name", columns["name"])
    if {need, "headers"} & set(given) or secret:
        config = {**json.loads(row["config"]), **given}
        columns["config"] = json.dumps(
            check_integration(
                row["channel"], config, config.get("headers"), secret or config.get("secret")
            )
        )
    update(tx.db, "integration", row["num"], {**columns, "updated_at": tx.now})
    return integrations_json(tx, True, row["id"])[0]


def remove_integration(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Delete an integration, with the alerts that were for it."""
    row = find_integration(tx, ask.id)
    execute(tx.db, "DELETE FROM integration WHERE num = ?", (row["num"],))
    return {"id": row["id"], "deleted": True}


def remove_integration_asked(tx: Tx, ask: Ask) -> dict[str, Any]:
    """As `remove_integration`, but never a command."""
    _refuse_command(find_integration(tx, ask.id)["channel"])
    return remove_integration(tx, ask)


def test_integration(outbox: Outbox, ask: Ask) -> dict[str, Any]:
    """Send a test to an integration now, and tell what came of it."""
    row = outbox.read(find_integration, ask.id)
    return tested(outbox.test(row["num"], row["name"]))


def tested(outcome: tuple[str | None, str]) -> dict[str, Any]:
    """What came of a test."""
    return {"ok": outcome[0] is None, "result": outcome[0] or outcome[1]}


def test_monitor(outbox: Outbox, ask: Ask) -> dict[str, Any]:
    """Send a test to everybody who hears of a monitor, one after another."""
    m, results = outbox.read(get_monitor, ask.id), []
    for num in outbox.read(lambda tx: hearers(tx.db, m)):
        ((id_, name),) = outbox.read(
            lambda tx, num=num: rows(tx.db, "SELECT id, name FROM integration WHERE num = ?", num)
        )
        results.append({"integrationId": id_, "name": name, **tested(outbox.test(num, m.name, m))})
    return {"results": results}


# == Reports ==================================================================
# What has happened, as the API and the page show it. Nothing is changed here.
def paged(
    tx: Tx,
    name: str,
    ask: Ask,
    sql: str,
    values: Sequence[Any],
    order: str,
    shown: Callable[[Any], Any],
) -> dict[str, Any]:
    """A page of a list: its rows, and how many there are in all."""
    limit, offset = read_page(ask, 200)
    total = rows(tx.db, f"SELECT count(*) FROM ({sql})", *values)[0][0]
    found = rows(tx.db, f"{sql} ORDER BY {order} LIMIT ? OFFSET ?", *values, limit, offset)
    return {name: list(map(shown, found)), "total": total, "limit": limit, "offset": offset}


PING_SQL = """SELECT p.num, m.id, kind, at, address, user_agent, duration_ms, series, exit_code,
    run, host, env, message, percent, dialect FROM ping p JOIN monitor m ON m.num = p.monitor """
PING_NAMES = (
    "id",
    "heartbeatId",
    "type",
    "receivedAt",
    "ipAddress",
    "userAgent",
    "durationMs",
    "runId",
    "exitCode",
    "run",
    "host",
    "env",
    "message",
    "percent",
    "dialect",
)


def ping_shown(row: Sequence[Any]) -> Shown:
    """A row of `PING_SQL` in Cronping's form."""
    ping = dict(zip(PING_NAMES, row, strict=True))
    return {
        **ping,
        "id": str(ping["id"]),
        "receivedAt": iso(ping["receivedAt"]),
        "run": ping["run"] and str(ping["run"]),
    }


def list_pings(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A monitor's pings, newest first. What is skipped is counted in the index, from whichever
    end is nearer: the last page of a million takes no longer than the first."""
    m, (limit, offset) = get_monitor(tx, ask.id), read_page(ask, 200)
    from_old, count = offset > m.ping_count // 2, max(0, min(limit, m.ping_count - offset))
    way, skipped = ("ASC", m.ping_count - offset - count) if from_old else ("DESC", offset)
    found = rows(
        tx.db,
        PING_SQL + "WHERE p.num IN (SELECT num FROM ping WHERE monitor = ? ORDER "
        f"BY at {way}, num {way} LIMIT ? OFFSET ?)",
        m.num,
        count,
        max(0, skipped),
    )
    found.sort(key=lambda row: (row[3], row[0]), reverse=True)
    return {
        "pings": list(map(ping_shown, found)),
        "total": m.ping_count,
        "limit": limit,
        "offset": offset,
    }


def list_runs(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A monitor's runs, newest first."""
    states = [_one_of("state", state, *RUN_STATES) for state in ask.query.get("state", ())]
    wanted = f"WHERE monitor = ? AND (state IN {marks(states)} OR ?)"
    return paged(
        tx,
        "runs",
        ask,
        RUNS_SQL + wanted,
        [get_monitor(tx, ask.id).num, *states, not states],
        "started_at DESC, num DESC",
        run_shown,
    )


RUN_STATES = ("running", "success", "failed", "stuck", "unknown")
PROGRESS_MAX = 1000


def _find_run(tx: Tx, ask: Ask) -> Sequence[Any]:
    num = int(ask.run) if re.fullmatch("[0-9]{1,15}", ask.run) else None
    found = rows(
        tx.db, RUNS_SQL + "WHERE num = ? AND monitor = ?", num, get_monitor(tx, ask.id).num
    )
    if not found:
        raise Refused("Monitor not found: it has no such run", "NOT_FOUND", 404)
    return found[0]  # type: ignore[no-any-return]


def show_run(tx: Tx, ask: Ask) -> dict[str, Any]:
    """A run with its progress, oldest first."""
    row = _find_run(tx, ask)
    told = rows(
        tx.db,
        "SELECT at, percent, message FROM ping WHERE run = ? AND kind = 'progress' "
        "ORDER BY num DESC LIMIT ?",
        row[1],
        PROGRESS_MAX,
    )
    return {
        **run_shown(row),
        "progress": [
            {"at": iso(at), "percent": percent, "message": message}
            for at, percent, message in reversed(told)
        ],
    }


def show_log(tx: Tx, ask: Ask) -> dict[str, Any]:
    """The output of a run, as Crontify's page has it."""
    found = rows(tx.db, "SELECT content FROM run_log WHERE run = ?", _find_run(tx, ask)[1])
    return {"hasLog": bool(found), "content": found[0][0] if found else None}


def flip_shown(row: Sequence[Any]) -> Shown:
    """A change of status: its time, the status, the reason."""
    return {"at": iso(row[0]), "status": row[1], "reason": row[2]}


def with_deliveries(tx: Tx, found: Sequence[Any]) -> list[Shown]:
    """Rows of `EVENTS_SQL` in the API's form, with what was delivered to whom."""
    sent: dict[int, list[Shown]] = {row[0]: [] for row in found}
    for event, id_, name, state, tries, tried_at, result in rows(
        tx.db,
        "SELECT a.event, i.id, i.name, a.state, a.tries, a.tried_at, a.result FROM "
        "alert a JOIN integration i ON i.num = a.integration WHERE a.event IN "
        f"{marks(found)} ORDER BY a.event, a.num",
        *sent,
    ):
        sent[event].append(
            {
                "integrationId": id_,
                "name": name,
                "state": state,
                "tries": tries,
                "triedAt": iso(tried_at),
                "result": result,
            }
        )
    return [{**event_json(row, tx.settings.base_url), "deliveries": sent[row[0]]} for row in found]


def list_events(tx: Tx, ask: Ask) -> dict[str, Any]:
    """The log of events, newest first, of one monitor or of all."""
    name = ask.id or ask.query.get("monitor", [""])[0]
    kinds = [_one_of("kind", kind, *SUMMARIES) for kind in ask.query.get("kind", ())]
    parts: list[tuple[str, list[Any]]] = []
    if name:
        parts.append(("e.monitor = ?", [get_monitor(tx, name).num]))
    parts += [(f"e.kind IN {marks(kinds)}", kinds)] if kinds else []
    parts += [
        (f"e.at {sign} ?", [read_instant(bound, ask)])
        for bound, sign in (("since", ">="), ("until", "<"))
        if bound in ask.query
    ]
    page = paged(
        tx,
        "events",
        ask,
        EVENTS_SQL + "WHERE " + (" AND ".join(part for part, _ in parts) or "1"),
        [value for _, values in parts for value in values],
        "e.num DESC",
        lambda row: row,
    )
    return {**page, "events": with_deliveries(tx, page["events"])}


def parse_iso(text: str) -> int:
    """An instant in ISO 8601, with `Z` or an offset, as ms since 1970 UTC; raises ValueError."""
    when = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    if when.tzinfo is None:
        raise ValueError("it has no zone")
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def read_instant(name: str, ask: Ask) -> int:
    """A parameter with an instant; a `+` that was not quoted arrives as a space."""
    try:
        return parse_iso(ask.query[name][0].replace(" ", "+"))
    except (ValueError, OverflowError):
        raise Invalid(f"{name} must be an instant such as 2026-03-01T00:00:00Z") from None


def show_history(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Pings, flips, events and our own absences of a monitor, newest first. A page goes
    on to the end of its last instant: `before` that one begins the next."""
    m, (limit, _) = get_monitor(tx, ask.id), read_page(ask, 200)
    until, most = read_instant("before", ask) if "before" in ask.query else 2**62, limit + 50
    order = "ORDER BY {0} DESC, num DESC LIMIT ?"
    found = [
        (row[3], "ping", ping_shown(row))
        for row in rows(
            tx.db,
            PING_SQL + "WHERE p.monitor = ? AND at < ? ORDER BY at DESC, p.num DESC LIMIT ?",
            m.num,
            until,
            most,
        )
    ]
    found += [
        (row[0], "flip", flip_shown(row))
        for row in rows(
            tx.db,
            "SELECT at, status, reason FROM flip WHERE monitor = ? AND at < ? "
            + order.format("at"),
            m.num,
            until,
            most,
        )
    ]
    events = rows(
        tx.db,
        EVENTS_SQL + "WHERE e.monitor = ? AND e.at < ? " + order.format("e.at"),
        m.num,
        until,
        most,
    )
    found += [
        (row[3], "event", event)
        for row, event in zip(events, with_deliveries(tx, events), strict=True)
    ]
    found += [
        (at, "absence", {"since": iso(since), "until": iso(at)})
        for since, at in rows(
            tx.db,
            "SELECT since, until FROM absence WHERE until < ? AND until > ? "
            + order.format("until"),
            until,
            m.created_at,
            most,
        )
    ]
    found.sort(key=lambda entry: -entry[0])
    while limit < len(found) and found[limit][0] == found[limit - 1][0]:
        limit += 1
    return {
        "more": len(found) > limit,
        "entries": [
            {"at": iso(at), "type": kind, kind: entry} for at, kind, entry in found[:limit]
        ],
    }


def uptime(
    flips: Sequence[tuple[int, str]], absences: Sequence[tuple[int, int]], since: int, until: int
) -> Shown:
    """How long a monitor had which status in a window, in seconds; `flips` begin with the status
    at its start. What we did not watch ourselves is unknown, like all before a first ping."""
    spent: Counter[str] = Counter()
    bounds = [max(since, min(at, until)) for at, _ in flips] + [until]
    for (_, status), begin, end in zip(flips, bounds, bounds[1:], strict=False):
        away = sum(max(0, min(end, back) - max(begin, gone)) for gone, back in absences)
        spent[status] += end - begin - away
        spent["new"] += away
    watched = spent["up"] + spent["down"]
    return {
        "since": iso(since),
        "until": iso(until),
        "upSeconds": spent["up"] // 1000,
        "downSeconds": spent["down"] // 1000,
        "pausedSeconds": spent["paused"] // 1000,
        "unknownSeconds": spent["new"] // 1000,
        "uptime": round(spent["up"] / watched, 6) if watched else None,
        "downtimes": sum(status == "down" for _, status in flips),
    }


def show_uptime(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Uptime over any windows, computed from the flips."""
    m = get_monitor(tx, ask.id)
    if {"since", "until"} & set(ask.query):
        given = {name: read_instant(name, ask) for name in ("since", "until") if name in ask.query}
        windows: list[tuple[int | None, int, int]] = [
            (None, given.get("since", m.created_at), given.get("until", tx.now))
        ]
    else:
        asked = ask.query.get("days", ["30"])
        if len(asked) > 20:
            raise Invalid("days can be repeated at most 20 times")
        windows = [
            (days, tx.now - days * 86_400_000, tx.now)
            for days in (read_count("days", text, 1, 3660) for text in asked)
        ]
    return {
        "windows": [
            {"days": days, **_uptime_in(tx, m, max(since, m.created_at), min(until, tx.now))}
            for days, since, until in windows
        ],
        "note": "pauses, the time before the first ping and the times when cronwatch itself "
        "was away count neither as up nor as down",
    }


def _uptime_in(tx: Tx, m: Monitor, since: int, until: int) -> Shown:
    if since > until:
        raise Invalid("since must be before until, and until after the monitor was created")
    before = rows(
        tx.db,
        "SELECT at, status FROM flip WHERE monitor = ? AND at <= ? "
        "ORDER BY at DESC, num DESC LIMIT 1",
        m.num,
        since,
    )
    flips = rows(
        tx.db,
        "SELECT at, status FROM flip WHERE monitor = ? AND at > ? AND at <= ? ORDER BY at, num",
        m.num,
        since,
        until,
    )
    absences = rows(
        tx.db, "SELECT since, until FROM absence WHERE until > ? AND since < ?", since, until
    )
    return uptime([*(before or [(since, "new")]), *flips], absences, since, until)


# What a monitor does, in one word: each monitor is counted once. The words stand in the order in
# which a list has them.
STATES = ("down", "late", "running", "up", "new", "paused")
DISPLAY_STATE_SQL = """CASE WHEN status = 'up' AND expected_at < ? THEN 'late'
    WHEN status = 'up' AND num IN (SELECT monitor FROM run WHERE state = 'running') THEN 'running'
    ELSE status END"""
# Who is expected has an instant at which it is due: the index has both, and is quickly read.
OF_SCHEDULE = "monitor INDEXED BY monitor_due WHERE due_at IS NOT NULL AND"
DAY_MS, HOUR_MS, STRIP_MAX, UPTIME_DAYS = 86_400_000, 3_600_000, 30, 30
STRIP_SQL = """SELECT m.num, r.started_at, r.duration_ms, r.state, r.exit_code, r.num, r.matched,
    CASE WHEN r.matched IS NOT NULL THEN r.metrics END FROM monitor m
    JOIN run r ON r.num IN (SELECT num FROM run WHERE monitor = m.num
    ORDER BY started_at DESC, num DESC LIMIT 30) WHERE m.num IN """
FLIPS_SQL = """SELECT monitor, at, status, reason, num FROM flip WHERE monitor IN {0} AND at > ?
    UNION ALL SELECT monitor, at, status, reason, num FROM flip WHERE num IN (SELECT (
    SELECT num FROM flip WHERE monitor = m.num AND at <= ? ORDER BY at DESC, num DESC LIMIT 1)
    FROM monitor m WHERE m.num IN {0}) ORDER BY at, num"""


# An occurrence in a strip: when the job ran or should have, how long it took in ms, the state of
# the run (`matched` where a rule matched it, `missed` where there was none), exit code, number.
Slot = tuple[int, int | None, str, int | None, int | None]


class Past(NamedTuple):
    """What lists show of a monitor's last weeks: the strip, oldest first, the changes of status,
    the share of time that it was up, and what the rules found in its newest run."""

    strip: list[Slot]
    flips: list[tuple[int, str, str | None]]
    uptime: float | None
    matched: list[Shown]


@lru_cache(20_000)
def next_cron_run(cron: str, timezone: str, after: int) -> int:
    """`next_run`, for what asks for the same occurrences again and again."""
    return next_run(cron, timezone, after)


def last_occurrences(m: Monitor, first: int, until: int, most: int) -> list[int]:
    """The newest occurrences from one instant to another, both included, oldest first. Those of an
    interval count from `first`."""
    if m.interval_seconds:
        step = m.interval_seconds * 1000
        count = (until - first) // step + 1
        return [first + n * step for n in range(max(0, count - most), count)]
    if m.cron is None:
        return []
    reach = 120_000  # steps of a fixed grid: the next look asks for what is remembered
    while True:
        begin = max(first, until // reach * reach - reach)
        times = [next_cron_run(m.cron, m.timezone, begin - 1)]
        while times[-1] <= until:
            times.append(next_cron_run(m.cron, m.timezone, times[-1]))
        if len(times) > most or begin == first:
            return times[:-1][-most:]
        reach *= 4


def missed_occurrences(
    m: Monitor,
    flips: Sequence[tuple[int, str, str | None]],
    starts: Sequence[int],
    absences: Sequence[tuple[int, int]],
    now: int,
    most: int = STRIP_MAX,
) -> list[int]:
    """When a monitor should have run while it was down and did not, oldest first. `starts` are the
    starts of its runs, in order. What fell into an absence of ours is not known to be missed."""
    grace = m.grace_seconds * 1000
    missed: list[int] = []
    ends = [at for at, _, _ in flips[1:]] + [now]
    for (at, status, reason), end in zip(flips, ends, strict=False):
        if status != "down":
            continue
        # The first one lies its grace before, or a minute more where we had just been away.
        first = at - grace if reason == "missed" else at + 1
        begin = first - 61_000 if m.cron and reason == "missed" else first
        times = last_occurrences(m, begin, end - grace - 1, most)
        missed += [
            occurrence
            for occurrence in times
            if not _ran_for(m, occurrence, starts)
            and not any(since <= occurrence and occurrence + grace <= to for since, to in absences)
        ]
    return missed[-most:]


def _ran_for(m: Monitor, occurrence: int, starts: Sequence[int]) -> bool:
    """Whether a run began in the window of an occurrence."""
    early = min(m.grace_seconds, EARLY_SECONDS) * 1000
    if m.interval_seconds:
        early = min(early, m.interval_seconds * 250)
    after = bisect_left(starts, occurrence - early)
    return after < len(starts) and starts[after] <= occurrence + m.grace_seconds * 1000


def load_flips(
    tx: Tx, nums: Sequence[int], since: int
) -> dict[int, list[tuple[int, str, str | None]]]:
    """The changes of status of monitors since an instant, and the one before: time, status and
    reason, oldest first."""
    flips: dict[int, list[Any]] = {num: [] for num in nums}
    for num, at, status, reason, _ in rows(
        tx.db, FLIPS_SQL.format(marks(nums)), *nums, since, since, *nums
    ):
        flips[num].append((at, status, reason))
    return flips


def load_absences(tx: Tx, since: int) -> list[tuple[int, int]]:
    """When we were away since an instant."""
    return rows(tx.db, "SELECT since, until FROM absence WHERE until > ?", since)


def load_pasts(tx: Tx, monitors: Sequence[Monitor]) -> dict[int, Past]:
    """The last weeks of monitors, in as many queries for one as for a hundred."""
    nums, since = [m.num for m in monitors], tx.now - UPTIME_DAYS * DAY_MS
    runs: dict[int, list[Any]] = {num: [] for num in nums}
    for num, *run in rows(tx.db, STRIP_SQL + marks(nums), *nums):
        runs[num].append(run)
    flips, absences = load_flips(tx, nums, since), load_absences(tx, since)
    return {m.num: _past(m, runs[m.num], flips[m.num], absences, since, tx.now) for m in monitors}


def _past(
    m: Monitor,
    runs: list[Any],
    flips: list[tuple[int, str, str | None]],
    absences: Sequence[tuple[int, int]],
    since: int,
    now: int,
) -> Past:
    runs.sort(key=operator.itemgetter(0, 4))
    strip: list[Slot] = [
        (at, lasted, "matched" if matched and state == "success" else state, code, num)
        for at, lasted, state, code, num, matched, _ in runs
    ]
    missed = missed_occurrences(m, flips, [run[0] for run in runs], absences, now)
    if len(strip) == STRIP_MAX:  # what lies before its first run is out of sight
        missed = [at for at in missed if at > strip[0][0]]
    if missed:
        strip = sorted([*strip, *((at, None, "missed", None, None) for at in missed)])[-STRIP_MAX:]
    begin = max(since, m.created_at)
    share = uptime([(at, status) for at, status, _ in flips], absences, begin, now)["uptime"]
    if share is not None:  # coarse, and never rounded up: the ETag lasts for some minutes
        share = math.floor(share * 10_000) / 10_000
    ends = [run for run in runs if run[2] != "running"]
    return Past(strip, flips, share, _matched_json(ends[-1]) if ends else [])


def _matched_json(run: Sequence[Any]) -> list[Shown]:
    """The rules that matched a run, each with the value that it met."""
    _, lasted, _, code, _, matched, metrics = run
    if matched is None:
        return []
    own = {"duration_seconds": lasted and lasted / 1000, "exit_code": code}
    values = {**json.loads(metrics or "{}"), **own}
    return [{**rule, "actual": values.get(rule["field"])} for rule in json.loads(matched)]


def page_of_monitors(tx: Tx, ask: Ask, most: int) -> tuple[list[tuple[Monitor, str]], int]:
    """A page of the monitors that a query asks for, those in trouble first, each with its state;
    and how many there are in all."""
    limit, offset = read_page(ask, most, "100")
    query = {name: texts for name, texts in ask.query.items() if name != "status"}
    wanted, values = read_filter(ask._replace(query=query))
    states = [_one_of("status", state, *STATES) for state in ask.query.get("status", ())]
    source = (
        f"FROM (SELECT *, {DISPLAY_STATE_SQL} AS state FROM monitor WHERE {wanted}) WHERE "
        + (f"state IN {marks(states)}" if states else "1")
    )
    values = [tx.now, *values, *states]
    page = rows(
        tx.db,
        f"SELECT state, {', '.join(MONITOR_FIELDS)} {source} "
        f"ORDER BY instr('{' '.join(STATES)}', state), name, num LIMIT ? OFFSET ?",
        *values,
        limit,
        offset,
    )
    total = rows(tx.db, f"SELECT count(*) {source}", *values)[0][0]
    return [(Monitor(*row), state) for state, *row in page], total


def show_summary(tx: Tx, ask: Ask) -> dict[str, Any]:
    """What the first screen needs: a page of monitors, those in trouble first, with their last
    occurrences, and how many there are in which state; in as many queries for one as for many."""
    limit, offset = read_page(ask, 1000, "100")
    monitors, total = page_of_monitors(tx, ask, 1000)
    nums = [m.num for m, _ in monitors]
    recipients = recipients_of(tx, nums)
    running = open_runs_of(tx, nums)
    pasts = load_pasts(tx, [m for m, _ in monitors])
    return {
        "version": __version__,
        "timezone": tx.settings.timezone,
        "baseUrl": tx.settings.base_url,
        "counts": count_states(tx),
        "tags": count_tags(tx),
        "next": _next_expected(tx),
        "health": _short_health(tx),
        "total": total,
        "limit": limit,
        "offset": offset,
        "monitors": [
            _summed_up(m, state, recipients[m.num], running.get(m.num), pasts[m.num])
            for m, state in monitors
        ],
    }


def _summed_up(
    m: Monitor, state: str, recipients: list[str], running: Sequence[Any] | None, past: Past
) -> Shown:
    good = sorted(
        lasted
        for _, lasted, outcome, _, _ in past.strip
        if lasted is not None and outcome in ("success", "matched")
    )
    durations = [slot[1] for slot in past.strip if slot[1] is not None]
    return {
        "id": m.id,
        "key": m.key,
        "name": m.name,
        "tags": m.tags.split(),
        "status": m.status,
        "state": state,
        "recipients": recipients,
        "schedule": schedule_words(m),
        "timezone": m.timezone,
        "graceSeconds": m.grace_seconds,
        "lastPingAt": iso(m.last_ping_at),
        "expectedAt": iso(m.expected_at),
        "alertAt": iso(deadline(m)) if m.status in ("new", "up") else None,
        "downReason": m.down_reason,
        "downSince": iso(m.down_since),
        "pausedUntil": iso(m.pause_until),
        "run": running
        and {
            "id": str(running[0]),
            "startedAt": iso(running[1]),
            "percent": running[3],
            "message": running[2],
        },
        "matched": past.matched,
        "lastDurationMs": durations[-1] if durations else None,
        "usualDurationMs": good[len(good) // 2] if good else None,
        "uptime": past.uptime,
        "strip": past.strip,
    }


def count_states(tx: Tx) -> dict[str, int]:
    """How many monitors are in which of `STATES`; they add up to all of them."""
    counts = dict.fromkeys(STATES, 0)
    counts.update(rows(tx.db, "SELECT status, count(*) FROM monitor GROUP BY status"))
    late = f"SELECT num FROM {OF_SCHEDULE} expected_at < ? AND status = 'up'"
    counts["late"], counts["running"] = rows(
        tx.db,
        f"SELECT (SELECT count(*) FROM ({late})), (SELECT count(*) FROM monitor WHERE "
        "num IN (SELECT monitor FROM run WHERE state = 'running') AND status = 'up' AND "
        "(expected_at >= ? OR expected_at IS NULL))",
        tx.now,
        tx.now,
    )[0]
    counts["up"] -= counts["late"] + counts["running"]
    return counts


def count_tags(tx: Tx) -> dict[str, int]:
    """How many monitors have which tag."""
    tags = Counter[str]()
    for words, count in rows(
        tx.db, "SELECT tags, count(*) FROM monitor WHERE tags != '' GROUP BY tags"
    ):
        tags.update(dict.fromkeys(words.split(), count))
    return dict(sorted(tags.items()))


def _next_expected(tx: Tx) -> Shown | None:
    """The monitor that is expected next: its id, its name, and when."""
    for id_, name, at in rows(
        tx.db,
        "SELECT id, name, expected_at FROM monitor WHERE num = (SELECT num FROM "
        f"{OF_SCHEDULE} expected_at >= ? ORDER BY expected_at LIMIT 1)",
        tx.now,
    ):
        return {"id": id_, "name": name, "at": iso(at)}
    return None


NIGHT_BACK_MS, NIGHT_AHEAD_MS, NIGHT_MERGE_MS = DAY_MS, 3 * HOUR_MS, 90_000
NIGHT_RUNS_MAX, NIGHT_MONITORS_MAX = 50_000, 200
NIGHT_SQL = """SELECT monitor, num, started_at, coalesce(ended_at, started_at + duration_ms),
    CASE WHEN matched IS NOT NULL AND state = 'success' THEN 'matched' ELSE state END
    FROM run WHERE monitor IN {0} AND started_at > ? ORDER BY monitor, started_at, num LIMIT ?"""


def show_night(tx: Tx, ask: Ask) -> dict[str, Any]:
    """The last 24 hours of monitors as a timeline, in the order of the summary, and what is
    expected in the next three. Instants are seconds after `since`."""
    since, until = tx.now - NIGHT_BACK_MS, tx.now + NIGHT_AHEAD_MS
    monitors, total = page_of_monitors(tx, ask, NIGHT_MONITORS_MAX)
    nums = [m.num for m, _ in monitors]
    runs: dict[int, list[Any]] = {num: [] for num in nums}
    for num, *run in rows(
        tx.db, NIGHT_SQL.format(marks(nums)), *nums, since - DAY_MS // 2, NIGHT_RUNS_MAX
    ):
        runs[num].append(run)
    flips, absences = load_flips(tx, nums, since), load_absences(tx, since)
    timelines = []
    for m, state in monitors:
        starts = [run[1] for run in runs[m.num]]
        missed = missed_occurrences(m, flips[m.num], starts, absences, tx.now, 300)
        bars = _bars(runs[m.num], since, tx.now)
        missed = [(at - since) // 1000 for at in missed if at >= since]
        expected = [(at - since) // 1000 for at in _expected(m, tx.now, until)]
        if bars or missed or expected:
            timelines.append(
                {
                    "id": m.id,
                    "name": m.name,
                    "timezone": m.timezone,
                    "state": state,
                    "runs": bars,
                    "missed": missed,
                    "expected": expected,
                }
            )
    return {
        "since": iso(since),
        "now": iso(tx.now),
        "until": iso(until),
        "total": total,
        "absences": [
            [max(0, gone - since) // 1000, (back - since) // 1000] for gone, back in absences
        ],
        "monitors": timelines,
    }


def _bars(runs: Sequence[Sequence[Any]], since: int, now: int) -> dict[str, list[list[int]]]:
    """The runs by their state: begin and length in seconds, the newest run's number, and how many
    runs it stands for. Good ones that nearly touch are one: a job that runs each minute is a
    band, not a thousand bars."""
    bars: dict[str, list[list[int]]] = {}
    for num, begin, end, state in runs:
        until = now if state == "running" else end or begin
        if until < since:
            continue
        at, length = (begin - since) // 1000, (until - begin) // 1000
        of_state = bars.setdefault(state, [])
        last = of_state[-1] if of_state and state == "success" else None
        if last and at - last[0] - last[1] < NIGHT_MERGE_MS // 1000:
            last[1:] = [at + length - last[0], num, last[3] + 1]
        else:
            of_state.append([at, length, num, 1])
    return bars


def _expected(m: Monitor, now: int, until: int, most: int = 60) -> list[int]:
    """The occurrences that are still to come, where there are not too many to be told apart."""
    if m.expected_at is None or m.status == "paused":
        return []
    times = [m.expected_at]
    while len(times) < most and (following := _following(m, times[-1])) is not None:
        if following > until:
            break
        times.append(following)
    return [at for at in times if now - m.grace_seconds * 1000 <= at <= until]


def _following(m: Monitor, after: int) -> int | None:
    return next_cron_run(m.cron, m.timezone, after) if m.cron else next_occurrence(m, after)


def status_page(tx: Tx, tag: str) -> dict[str, Any]:
    """What strangers may see of the monitors with a tag: names, states, strips and uptime."""
    monitors, _ = page_of_monitors(tx, Ask(query={"tag": [tag], "limit": ["200"]}), 200)
    pasts = load_pasts(tx, [m for m, _ in monitors])
    return {
        "tag": tag,
        "at": iso(tx.now),
        "monitors": [
            {
                "name": m.name,
                "state": state,
                "since": iso(pasts[m.num].flips[-1][0]) if pasts[m.num].flips else None,
                "uptime": pasts[m.num].uptime,
                "strip": [slot[:3] for slot in pasts[m.num].strip],
            }
            for m, state in monitors
        ],
    }


def turns_late_at(tx: Tx) -> int | None:
    """When the next monitor turns late, if nothing is heard; at the earliest."""
    found = rows(
        tx.db,
        f"SELECT min(expected_at) + 1 FROM {OF_SCHEDULE} expected_at >= ?",
        tx.now,
    )
    return found[0][0]  # type: ignore[no-any-return]


def count_monitors(tx: Tx) -> dict[str, int]:
    """How many monitors have which status, and how many are late or running."""
    counts = dict.fromkeys((*STATUSES, "late", "running"), 0)
    counts.update(rows(tx.db, "SELECT status, count(*) FROM monitor GROUP BY status"))
    late, running = rows(
        tx.db,
        "SELECT (SELECT count(*) FROM monitor WHERE expected_at < ? AND status = 'up'), "
        "(SELECT count(DISTINCT monitor) FROM run WHERE state = 'running')",
        tx.now,
    )[0]
    return {**counts, "late": late, "running": running}


OUTBOX_SQL = """SELECT (SELECT count(*) FROM alert WHERE state = 'pending'),
    (SELECT count(*) FROM alert a JOIN integration i ON i.num = a.integration
     WHERE a.state = 'pending' AND i.enabled AND a.due_at < ?),
    (SELECT count(*) FROM alert a JOIN event e ON e.num = a.event
     WHERE a.state = 'dead' AND a.tried_at > ? AND e.kind != 'test')"""
SIZE_SQL = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def outbox_counts(tx: Tx) -> dict[str, int]:
    """How many alerts wait, how many for a minute beyond their time, how many were given up."""
    found = rows(tx.db, OUTBOX_SQL, tx.now - 60_000, tx.now - DEAD_MS)[0]
    return dict(zip(("pending", "overdue", "dead"), found, strict=True))


def _short_health(tx: Tx) -> Shown:
    failing = rows(tx.db, "SELECT name FROM integration WHERE failing ORDER BY name")
    return {
        **outbox_counts(tx),
        "failing": [name for (name,) in failing],
        "refused": tx.store.refused,
        "databaseBytes": rows(tx.db, SIZE_SQL)[0][0],
    }


def show_health(tx: Tx, ask: Ask) -> dict[str, Any]:
    """How cronwatch itself does."""
    # Pings are numbered as they come: the last thousands tell those of the last minute.
    recent = rows(
        tx.db,
        "SELECT count(*) FROM (SELECT at FROM ping ORDER BY num DESC LIMIT 10000) WHERE at > ?",
        tx.now - 60_000,
    )[0][0]
    return {
        "version": __version__,
        "scanSeconds": tx.settings.scan_seconds,
        "outbox": outbox_counts(tx),
        "databaseBytes": rows(tx.db, SIZE_SQL)[0][0],
        "pingsPerMinute": recent,
        "refused": tx.store.refused,
        "monitors": rows(tx.db, "SELECT count(*) FROM monitor")[0][0],
        "absences": [
            {"since": iso(since), "until": iso(until)}
            for since, until in rows(
                tx.db, "SELECT since, until FROM absence ORDER BY num DESC LIMIT 10"
            )
        ],
        "failing": [
            {
                "id": one["id"],
                "name": one["name"],
                "result": (one["lastDelivery"] or {}).get("result"),
            }
            for one in integrations_json(tx, False)
            if one["failing"]
        ],
    }


def preview(tx: Tx, ask: Ask) -> dict[str, Any]:
    """When a schedule would expect a job next, and when its silence would be told. An interval of
    `monitor` that stays as it is counts on from its last ping."""
    given = {name: texts[0] for name, texts in ask.query.items() if texts[0]}
    m = get_monitor(tx, given.pop("monitor")) if "monitor" in given else None
    figures = {
        name: read_count(name, given[name], 0, 2**31)
        for name in ("intervalSeconds", "graceSeconds")
        if name in given
    }
    _one_of("scheduleType", given.get("scheduleType", "interval"), "interval", "cron")
    columns = read_monitor({"name": "preview", "timezone": "UTC", **given, **figures})
    cron, seconds = columns.get("cron"), columns.get("interval_seconds")
    zone, grace = check_timezone(columns["timezone"]), columns.get("grace_seconds", 300)
    times = [tx.now]
    if m and m.expected_at and seconds == m.interval_seconds and not cron:
        times = [m.expected_at - (seconds or 0) * 1000]
    for _ in range(5):
        times.append(
            next_run(cron, columns["timezone"], times[-1])
            if cron
            else times[-1] + (seconds or 0) * 1000
        )
    words = describe_cron(cron) if cron else interval_words(seconds or 0)
    said = [_local(at, zone) for at in times[1:]]
    alert = _local(times[1] + grace * 1000, zone)
    return {
        "schedule": words,
        "timezone": columns["timezone"],
        "times": [
            {"expectedAt": iso(at), "alertAt": iso(at + grace * 1000), "words": local}
            for at, local in zip(times[1:], said, strict=True)
        ],
        "sentence": f"Expected {words}, next on {said[0]} ({columns['timezone']}); you are "
        f"told if nothing is heard by {alert}.",
    }


def _local(at: int, zone: ZoneInfo) -> str:
    return (
        datetime.fromtimestamp(at // 1000, zone)
        .strftime("%a %d %b %Y %H:%M:%S")
        .removesuffix(":00")
    )


# == People ===================================================================
# Who may sign in, and with which credential one may do what. No request is read here.
ALLOWED = {
    "ping": {"ping"},
    "read-only": {"read-only"},
    "read-write": {"read-only", "read-write"},
    "user": {"read-only", "read-write", "user"},
}  # what a credential may do on routes
LINK_MS, FREE_TRIES, SLOWEST_TRY = 3_600_000, 5, 300
KEY_PREFIX_SQL = "SELECT id, name, prefix, permission, created_at FROM api_key "
USERS_SQL = "SELECT id, name, password IS NOT NULL, created_at, seen_at FROM user "
scrypts = ThreadPoolExecutor(1, "scrypt")  # each takes 16 MB, which its thread then keeps


def hash_password(password: str, salt: str | None = None) -> str:
    """scrypt of a password (RFC 7914, with 16 MB), its salt before it; both in hex."""
    salt = salt or secrets.token_hex(16)
    key = scrypts.submit(
        hashlib.scrypt,
        password.encode("utf-8", "surrogatepass"),
        salt=bytes.fromhex(salt),
        n=2**14,
        r=8,
        p=1,
    ).result()
    return f"{salt}:{key.hex()}"


NOBODYS = f"{'00' * 16}:"  # takes as long as that of somebody


def is_password(password: str, stored: str | None) -> bool:
    """Whether it is the password; takes as long where there is none."""
    salt = (stored or NOBODYS).partition(":")[0]
    return hmac.compare_digest(hash_password(password, salt), stored or NOBODYS)


def check_password(given: Any) -> str | None:
    """The stored form of a new password; None for none. Raises `Invalid`."""
    if given is not None and not (isinstance(given, str) and 8 <= len(given) <= 200):
        raise Invalid("password must be 8 to 200 characters")
    return given and hash_password(given)


def user_shown(row: Sequence[Any]) -> Shown:
    """A row of `USERS_SQL`."""
    id_, name, has_password, created_at, seen_at = row
    return {
        "id": id_,
        "name": name,
        "hasPassword": bool(has_password),
        "createdAt": iso(created_at),
        "lastSeenAt": iso(seen_at),
    }


def list_users(tx: Tx, ask: Ask) -> dict[str, Any]:
    """All who may sign in."""
    return {"users": list(map(user_shown, rows(tx.db, USERS_SQL + "ORDER BY num")))}


def find_user(tx: Tx, name: str) -> tuple[int, str]:
    """The num and id of a user, by name or id; refuses with 404."""
    found = rows(tx.db, "SELECT num, id FROM user WHERE ? IN (id, name)", name)
    if not found:
        raise Refused(f"there is no user '{clean(name, 200)}'", "NOT_FOUND", 404)
    return found[0]  # type: ignore[no-any-return]


def add_user(tx: Tx, name: str, stored: str | None) -> dict[str, Any]:
    """A new user, with a password in its stored form or with none."""
    refuse_taken(tx, "user", "name", name)
    id_ = str(uuid.uuid4())
    insert(tx.db, "user", {"id": id_, "name": name, "password": stored, "created_at": tx.now})
    return user_shown(rows(tx.db, USERS_SQL + "WHERE id = ?", id_)[0])


def edit_user(tx: Tx, name: str, columns: Mapping[str, Any], session: str = "") -> dict[str, Any]:
    """Rename a user; or change the password, which ends all other sessions and links."""
    num, id_ = find_user(tx, name)
    if rows(tx.db, "SELECT 1 FROM user WHERE name = ? AND num != ?", columns.get("name"), num):
        refuse_taken(tx, "user", "name", columns["name"])
    update(tx.db, "user", num, columns)
    if "password" in columns:
        execute(tx.db, "DELETE FROM session WHERE user = ? AND hash != ?", (num, session))
    return user_shown(rows(tx.db, USERS_SQL + "WHERE id = ?", id_)[0])


def remove_user(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Delete a user and end its sessions; the last one stays."""
    num, id_ = find_user(tx, ask.id)
    if rows(tx.db, "SELECT count(*) FROM user")[0][0] == 1:
        raise Refused("this is the last user: make another one first", "CONFLICT", 409)
    execute(tx.db, "DELETE FROM user WHERE num = ?", (num,))
    return {"id": id_, "deleted": True}


def _add_secret(tx: Tx, user: int, is_link: bool, lasts_ms: int) -> tuple[str, int]:
    secret, expires_at = secrets.token_urlsafe(32), tx.now + lasts_ms
    insert(
        tx.db,
        "session",
        {
            "hash": hash_secret(secret),
            "user": user,
            "is_link": int(is_link),
            "expires_at": expires_at,
        },
    )
    return secret, expires_at


def make_link(tx: Tx, name: str, makes_user: bool = False) -> dict[str, Any]:
    """A link that signs a user in once, within an hour: its secret is in the fragment, which no
    server and no log sees. Where there is nobody yet, it may make the user."""
    if makes_user and not rows(tx.db, "SELECT 1 FROM user LIMIT 1"):
        add_user(tx, name, None)
    secret, expires_at = _add_secret(tx, find_user(tx, name)[0], True, LINK_MS)
    return {"url": f"{tx.settings.base_url}/#/link/{secret}", "expiresAt": iso(expires_at)}


def open_session(tx: Tx, user: int) -> dict[str, Any]:
    """Sign a user in."""
    days = min(tx.settings.session_days, 36_500)
    token, expires_at = _add_secret(tx, user, False, days * 86_400_000)
    update(tx.db, "user", user, {"seen_at": tx.now})
    return {
        "token": token,
        "user": user_shown(rows(tx.db, USERS_SQL + "WHERE num = ?", user)[0]),
        "expiresAt": iso(expires_at),
    }


def use_link(tx: Tx, secret: str) -> dict[str, Any]:
    """Sign in by a link, which ends with this."""
    found = rows(
        tx.db,
        "DELETE FROM session WHERE hash = ? AND is_link RETURNING user, expires_at",
        hash_secret(secret),
    )
    if not found or found[0][1] <= tx.now:
        raise Refused("This link has been used or has expired", "UNAUTHORIZED", 401)
    return open_session(tx, found[0][0])


def show_session(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Who is signed in."""
    row = rows(tx.db, USERS_SQL + "WHERE num = ?", ask.user)[0]
    expires_at = rows(tx.db, "SELECT expires_at FROM session WHERE hash = ?", ask.session)[0][0]
    return {"user": user_shown(row), "expiresAt": iso(expires_at)}


def end_session(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Sign out."""
    execute(tx.db, "DELETE FROM session WHERE hash = ?", (ask.session,))
    return {"deleted": True}


def prune_sessions(tx: Tx) -> None:
    """Forget sessions and links that have expired."""
    execute(tx.db, "DELETE FROM session WHERE expires_at <= ?", (tx.now,))


class Slowdown:
    """Makes who fails to sign in wait, longer each time."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._failed: dict[Any, tuple[int, int]] = {}  # how often, and until when to wait
        self._lock = threading.Lock()

    def check(self, who: Any) -> None:
        """Refuse, with 429, who has to wait."""
        wait = self._failed.get(who, (0, 0))[1] - self._clock()
        if wait > 0:
            raise Refused(
                "Too many failed sign-ins: wait a little",
                "RATE_LIMIT_EXCEEDED",
                429,
                -(-wait // 1000),
            )

    def fail(self, who: Any) -> None:
        """Count a failure: from the fifth on there is a wait, doubled by each up to 5 minutes."""
        with self._lock:
            count = self._failed.get(who, (0, 0))[0] + 1
            wait = min(2 ** (count - FREE_TRIES), SLOWEST_TRY) if count >= FREE_TRIES else 0
            if len(self._failed) >= CACHE_MAX:
                self._failed.clear()
            self._failed[who] = count, self._clock() + wait * 1000

    def forget(self, who: Any) -> None:
        """It went well."""
        with self._lock:
            self._failed.pop(who, None)


def find_by_password(
    read: Callable[..., Any], slowdown: Slowdown, name: str, password: str, address: str | None
) -> int:
    """The user with this name and password; slower after each failure, by name and address."""
    tries = ("name", name), ("address", address)
    for who in tries:
        slowdown.check(who)
    found = read(lambda tx: rows(tx.db, "SELECT num, password FROM user WHERE name = ?", name))
    num, stored = found[0] if found else (0, None)
    if not is_password(password, stored):
        for who in tries:
            slowdown.fail(who)
        raise Refused("Wrong name or password", "UNAUTHORIZED", 401)
    slowdown.forget(tries[0])
    return int(num)


def add_user_asked(act: Callable[..., Shown], ask: Ask) -> Shown:
    """Create a user; the password is hashed outside of the transaction, for it takes its time."""
    given = read_object(ask.body, "name", "password")
    name = _text("name", given.get("name"), 1, 200)
    return act(add_user, name, check_password(given.get("password")))


def edit_user_asked(act: Callable[..., Shown], ask: Ask) -> Shown:
    """Change a user's name or password."""
    given = read_object(ask.body, "name", "password")
    columns: dict[str, str | None] = {}
    if "name" in given:
        columns["name"] = _text("name", given["name"], 1, 200)
    if "password" in given:
        columns["password"] = check_password(given["password"])
    return act(edit_user, ask.id, columns, ask.session)


class Caller(NamedTuple):
    """Who asks: `may` is the permission of an API key, or `user`."""

    may: str
    key: int | None = None
    user: int | None = None
    session: str = ""


def find_caller(tx: Tx, secret: str | None, session: str | None) -> Caller | None:
    """Whose secret this is: an API key's or that of a session which has not expired, from a
    header; without one, that of a session from a cookie."""
    key = find_key(tx, secret)
    if key is not None:
        return Caller(key[1], key=key[0])
    hashed = hash_secret(secret or session or "")
    found = rows(
        tx.db,
        "SELECT user FROM session WHERE hash = ? AND NOT is_link AND expires_at > ?",
        hashed,
        tx.now,
    )
    return Caller("user", user=found[0][0], session=hashed) if found else None


def list_keys(tx: Tx, ask: Ask) -> dict[str, Any]:
    """All API keys, without their secrets."""
    return {"keys": [key_shown(row) for row in rows(tx.db, KEY_PREFIX_SQL + "ORDER BY num")]}


def key_shown(row: Sequence[Any]) -> Shown:
    """A row of `KEY_PREFIX_SQL`."""
    return {
        **dict(zip(("id", "name", "prefix", "permission"), row, strict=False)),
        "createdAt": iso(row[4]),
    }


def add_key(tx: Tx, ask: Ask) -> dict[str, Any]:
    """Create an API key from its JSON; its secret is shown this once."""
    given = read_object(ask.body, *KEY_FIELDS)
    name, secret = _text("name", given.get("name"), 1, 200), given.get("secret")
    if secret is not None and not (
        isinstance(secret, str) and re.fullmatch(r"[!-~]{8,200}", secret)
    ):
        raise Invalid("secret must be 8 to 200 plain characters")
    permission = _one_of("permission", given.get("permission", "read-write"), *KEY_PERMISSIONS)
    secret = create_key(tx, name, permission, secret)
    row = rows(tx.db, KEY_PREFIX_SQL + "WHERE name = ?", name)[0]
    return {**key_shown(row), "secret": secret}


KEY_FIELDS = ("name", "permission", "secret")
KEY_PERMISSIONS = ("ping", "read-only", "read-write")


def remove_key(tx: Tx, ask: Ask) -> dict[str, Any]:
    """End an API key, by its name or id."""
    found = rows(tx.db, "DELETE FROM api_key WHERE ? IN (name, id) RETURNING id", ask.id)
    if not found:
        raise Refused(f"there is no API key with the name '{ask.id}'", "NOT_FOUND", 404)
    tx.store.cache.clear()
    return {"id": found[0][0], "deleted": True}


# == Background ===============================================================
# What runs by itself. A turn is an action or the outbox; here it is only repeated.
AWAY_MS, STAMP_SECONDS, DELIVER_SECONDS, BEAT_SECONDS = 60_000, 30, 0.5, 20


def repeat(
    stop: threading.Event,
    seconds: float,
    turn: Callable[[], Any],
    name: str,
    first: float | None = None,
) -> threading.Thread:
    """Start a thread that takes a turn, and the next so long after its end, until stopped."""

    def loop() -> None:
        wait = seconds if first is None else first
        while not stop.wait(wait):
            wait = seconds
            try:
                turn()
            except Exception as error:  # one bad turn must not end the watch
                log.error(
                    "a turn of %s failed: %s",
                    thread.name,
                    error,
                    exc_info=not isinstance(error, Refused),
                )

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    return thread


class Lookout:
    """Looks for what fell due, and judges whether we were away since the last look."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], int],
        scan_seconds: float,
        scan: Callable[[], None],
        away: Callable[[int, int], None],
    ) -> None:
        self.store, self.clock, self.scan, self.away = store, clock, scan, away
        self.longest_ms = round(scan_seconds * 1000) + AWAY_MS
        self.last_at, self.file, self._judging = clock(), store.file, threading.Lock()
        self.measure: Callable[[float], None] = lambda seconds: None  # of each look

    def was_away(self) -> bool:
        """Whether there is a gap to judge, before anything that comes after it is done."""
        return self.store.refused or not 0 <= self.clock() - self.last_at <= self.longest_ms

    def judge(self) -> None:
        """Judge a gap. Where nothing can be written, it lasts until something can."""
        with self._judging:
            if not self.was_away():
                return
            now, refusals = self.clock(), self.store.refusals
            self.away(
                self.last_at
                if self.store.file == self.file
                else remembered(self.store, "alive_at", now),
                now,
            )
            self.last_at, self.file, self.store.judged = now, self.store.file, refusals

    def is_looking(self) -> bool:
        """Whether the last look was not too long ago."""
        return self.clock() - self.last_at <= self.longest_ms

    def look(self) -> None:
        """One look."""
        try:
            self.judge()
            now, began = self.clock(), monotonic()
            self.scan()
            self.last_at = now
            self.measure(monotonic() - began)
        finally:  # a disk that is full is no reason to be killed, only to hang is
            notify("WATCHDOG=1")


def keep_house(
    act: Callable[..., Any], read: Callable[..., Any], settings: Settings, now: int
) -> None:
    """Delete what is too old, then what is too much, then give back what is free."""
    act(prune_sessions)
    for table in PRUNED if settings.keep_days else ():
        after: int | None = 0
        while after is not None:
            after = act(prune, table, now - settings.keep_days * 86_400_000, after)
    many_pings, many_logs = read(monitors_beyond, settings.keep_pings, settings.keep_logs)
    for num in many_pings:
        while act(prune_pings, num, settings.keep_pings) == PRUNE_LIMIT:
            pass
    for num in many_logs:
        while act(prune_logs, num, settings.keep_logs):
            pass
    while act(give_back):
        pass


def notify(state: str) -> None:
    """Tell systemd, if that started us (sd_notify(3)): READY=1, WATCHDOG=1 or STOPPING=1."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        peer.send(state.encode())


def system_clock() -> int:
    """Milliseconds since 1970 UTC."""
    return time_ns() // 1_000_000


def host_timezone() -> str:
    """The host's zone, in which a crontab speaks; UTC where it cannot be told."""
    with contextlib.suppress(OSError, Invalid):
        name = (
            os.environ.get("TZ", "").lstrip(":")
            or "/".join(Path("/etc/localtime").resolve(strict=True).parts).partition("zoneinfo/")[
                2
            ]
        )
        check_timezone(name)
        return name
    return "UTC"


def check_settings(settings: Settings) -> str:
    """Raise `Invalid` for what cannot be; the zone of schedules that name none."""
    check_timezone(zone := settings.timezone or host_timezone())
    _one_of("smtp_security", settings.smtp_security, "starttls", "tls", "none")
    for name in ("base_url", "heartbeat_url"):
        if (url := getattr(settings, name)) and not is_web_address(url):
            raise Invalid(f"{name} must be an http or https address")
    if not re.fullmatch(r"([0-9.]+|[0-9A-Fa-f:.]+:[0-9A-Fa-f:.]*|\*)?", settings.trusted_proxy):
        raise Invalid("trusted_proxy must be an address such as 127.0.0.1")
    if not settings.scan_seconds:
        raise Invalid("scan_seconds must be more than 0")
    return zone


# == Metrics ==================================================================
# What Prometheus asks for: counters of this process, and what the database knows. It only counts.
MONITORS_MAX = 1000  # that have series of their own


class Metrics:
    """A registry of our own, which is also one of its collectors."""

    def __init__(self, read: Callable[..., Any], clock: Callable[[], int]) -> None:
        self.read, self.clock = read, clock
        self.lookout: Lookout | None = None
        self.registry = prometheus.CollectorRegistry()
        kinds: dict[str, Any] = {"registry": self.registry}
        self.pings = prometheus.Counter("cronwatch_pings", "Pings recorded.", ["dialect"], **kinds)
        self.runs = prometheus.Counter("cronwatch_runs", "Runs a ping ended.", ["state"], **kinds)
        self.alerts = prometheus.Counter(
            "cronwatch_alert_tries", "Tries to send an alert.", ["result"], **kinds
        )
        self.batches = prometheus.Histogram(
            "cronwatch_batch_size",
            "Changes that shared a commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            **kinds,
        )
        self.scans = prometheus.Histogram(
            "cronwatch_scan_seconds",
            "How long a look for what fell due took.",
            buckets=(0.001, 0.01, 0.1, 1, 10),
            **kinds,
        )
        self.registry.register(self)
        self._pings = {name: self.pings.labels(name) for name in DIALECTS}
        self._runs = {state: self.runs.labels(state) for state in ENDED}
        self._tries = [self.alerts.labels(result) for result in ("sent", "failed")]  # from 0 on

    def count_ping(self, dialect: Dialect, receipt: Receipt) -> None:
        """Count a ping that is on disk, and the run that it ended."""
        if receipt.kind == "pause" or receipt.status == "dropped":
            return
        self._pings[dialect.name].inc()
        if receipt.kind in OUTCOMES and receipt.state in self._runs:
            self._runs[receipt.state].inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the database knows now; each monitor by its key, up to 1,000 of them."""
        counts, outbox, size, monitors = self.read(measured)
        statuses = GaugeMetricFamily("cronwatch_monitors", "Monitors by status.", None, ["status"])
        for status, count in counts.items():
            statuses.add_metric([status], count)
        yield statuses
        waiting = GaugeMetricFamily(
            "cronwatch_alerts",
            "Alerts that wait, are a minute beyond their time, or were given up.",
            None,
            ["state"],
        )
        for state, count in outbox.items():
            waiting.add_metric([state], count)
        yield waiting
        yield GaugeMetricFamily("cronwatch_database_bytes", "Size of the database.", size)
        if self.lookout is not None:
            age = (self.clock() - self.lookout.last_at) / 1000
            yield GaugeMetricFamily("cronwatch_scan_age_seconds", "Since the last look.", age)
        yield from _monitor_metrics(monitors)


def _monitor_metrics(
    monitors: Sequence[tuple[str, str, int | None, int | None]],
) -> Iterator[GaugeMetricFamily]:
    status = GaugeMetricFamily(
        "cronwatch_monitor_status",
        "1 for the status that a monitor has.",
        None,
        ["monitor", "status"],
    )
    heard = GaugeMetricFamily(
        "cronwatch_monitor_last_ping_timestamp_seconds",
        "When something was last heard of it.",
        None,
        ["monitor"],
    )
    lasted = GaugeMetricFamily(
        "cronwatch_monitor_last_duration_seconds", "How long its last run took.", None, ["monitor"]
    )
    for key, now, last_ping_at, duration_ms in monitors:
        for one in STATUSES:
            status.add_metric([key, one], float(one == now))
        if last_ping_at is not None:
            heard.add_metric([key], last_ping_at / 1000)
        if duration_ms is not None:
            lasted.add_metric([key], duration_ms / 1000)
    yield from (status, heard, lasted)


def measured(tx: Tx) -> tuple[Any, ...]:
    """The figures of the database, in as many queries for one monitor as for many."""
    size = rows(tx.db, "PRAGMA page_count")[0][0] * rows(tx.db, "PRAGMA page_size")[0][0]
    monitors = rows(
        tx.db,
        "SELECT m.key, m.status, m.last_ping_at, (SELECT duration_ms FROM run WHERE "
        "monitor = m.num AND duration_ms IS NOT NULL ORDER BY started_at DESC LIMIT 1) "
        "FROM monitor m ORDER BY m.num LIMIT ?",
        MONITORS_MAX,
    )
    return count_monitors(tx), outbox_counts(tx), size, monitors


# == HTTP plumbing ============================================================
# What cuts across routes: the server, credentials, limits, refusals, headers. No route is here.
BATCH_MAX, HEADS_MAX, COOKIE = 64, 1000, "cronwatch_session"
THREADS, SLOWEST_SECONDS, WRONG_KEYS_MAX, BODY_MAX = 16, 30, 30, 1_048_576
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in http.HTTPStatus}
HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]

Environ = dict[str, Any]
Answering = Callable[[], "Worded"]
Begin = Callable[[Environ, Callable[[Answering], None]], bool]


class Parser(waitress.parser.HTTPRequestParser):
    """Takes raw non-ASCII bytes in the request line, as Cronitor's PHP SDK sends them."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = time_ns() / 1e9
        self.task: PingTask | None = None  # where it was begun already

    def parse_header(self, header_plus: bytes) -> None:
        """Quote such bytes, then parse as Waitress does."""
        line, end, rest = header_plus.partition(b"\r\n")
        if not line.isascii():
            line = re.sub(rb"[\x80-\xff]", lambda found: b"%%%02X" % ord(found[0]), line)
        try:
            super().parse_header(line + end + rest)
        except ValueError:  # of a host or a length that is none
            raise waitress.parser.ParsingError("Invalid request") from None


class ErrorTask(waitress.task.ErrorTask):
    """What the parser refuses, with the security headers."""

    def execute(self) -> None:
        """Answer as Waitress does."""
        self.response_headers.extend(HEADERS)
        super().execute()


class PingTask(waitress.task.WSGITask):
    """Answers what the writer has done, past WSGI; most answers in a second have the same head."""

    heads: ClassVar[dict[Any, tuple[bytes, bool]]] = {}  # with whether the connection ends there
    close_on_finish: bool

    def go_on(self, answer: Answering) -> None:
        """Answer, and send it at once where this is the thread that serves."""
        self.answer, self.request.task = answer, self
        self.channel.service()
        if self.channel.connected and threading.get_ident() == self.channel.server.thread:
            self.channel.handle_write()

    def execute(self) -> None:
        """Answer as Waitress does."""
        worded = self.answer()
        connection = self.request.headers.get("CONNECTION", "").lower()
        same = (
            worded.status,
            *worded.headers,
            len(worded.body),
            self.version,
            connection if connection in ("close", "keep-alive") else "",
            int(self.start_time),
        )
        known = self.heads.get(same)
        if known is None:
            if len(self.heads) >= HEADS_MAX:
                self.heads.clear()
            self.status = STATUS_LINES[worded.status]
            self.response_headers = [
                *worded.headers,
                ("Content-Length", str(len(worded.body))),
                *HEADERS,
            ]
            known = self.heads[same] = self.build_response_header(), self.close_on_finish
        head, self.close_on_finish = known
        self.wrote_header = True
        self.channel.write_soon(head if self.request.command == "HEAD" else head + worded.body)


class Channel(waitress.channel.HTTPChannel):
    """A connection that parses so, and goes on with what was begun for its request."""

    parser_class, error_task_class = Parser, ErrorTask

    def task_class(self, channel: Channel, request: Parser) -> waitress.task.WSGITask:
        """What serves a request."""
        return request.task or waitress.task.WSGITask(channel, request)

    def readable(self) -> bool:
        """Whether more may be read: not by a server that stops."""
        return not self.server.is_stopping and super().readable()


class Dispatcher(waitress.task.ThreadedTaskDispatcher):
    """Lets the writer answer a ping as soon as it is on disk, and worker threads all else.

    A worker would only wait for the writer, and both for the interpreter's lock."""

    def __init__(self, begin: Begin) -> None:
        super().__init__()
        self.begin = begin

    def add_task(self, channel: Channel) -> None:
        """Take a request that has arrived; Waitress holds the lock of its connection meanwhile,
        which answering needs: so a ping is never answered from in here."""
        request = channel.requests[0]
        task = PingTask(channel, request)
        if request.error or not self.begin(task.get_environment(), task.go_on):
            super().add_task(channel)


class HttpServer(waitress.server.TcpWSGIServer):
    """Waitress, which by itself lets a client send a byte a second for ever."""

    channel_class = Channel
    is_stopping, thread = False, 0

    def handle_accept(self) -> None:
        """Accept all that knock, not one a round: those that close each time would queue."""
        known = -1
        while known < len(self._map) < self.adj.connection_limit:
            known = len(self._map)
            super().handle_accept()

    def pull_trigger(self) -> None:
        """Wake the thread that serves, if another one has something for it."""
        if threading.get_ident() != self.thread:
            super().pull_trigger()

    def stop(self) -> None:
        """Let `run` end, for a signal's handler. One that raised could do so between the sending
        of an answer and the note that it is sent: sent again, it would answer the next ping."""
        self.is_stopping = True
        self.trigger.pull_trigger()

    def run(self, writer: Writer | None = None) -> None:
        """Serve until stopped, and be the writer; then send the answers of what was heard, 5 s at
        the most: who was recorded should not send it again."""
        self.thread = threading.get_ident()
        gc.freeze()  # what is here stays: looking through it again held up pings by 10 ms
        with writer.lent(self.pull_trigger) if writer else contextlib.nullcontext():
            while not self.is_stopping:
                self._round(writer, 1)
            self.accepting, end = False, monotonic() + 5
            while monotonic() < end and any(
                channel.requests or channel.total_outbufs_len
                for channel in self.active_channels.values()
            ):
                self._round(writer, 0.05)
            self.task_dispatcher.shutdown()

    def _round(self, writer: Writer | None, seconds: float) -> None:
        """Read and send what is ready. What is to be written waits for what else has arrived
        by then, up to a batch: a commit costs the same for one ping and for many."""
        known = writer.waiting() if writer else 0, len(self._map)
        self.asyncore.loop(0 if known[0] else seconds, True, self._map, 1)
        if (
            writer
            and known[0]
            and (known[0] >= BATCH_MAX or known == (writer.waiting(), len(self._map)))
        ):
            writer.turn()

    def maintenance(self, now: float) -> None:
        """Close what is idle, and a request that is not complete 30 s after its first byte."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.request and channel.request.began < now - SLOWEST_SECONDS:
                channel.will_close = True


def allow_files(most: int = 8192) -> int:
    """Raise the limit of open files, 1,024 on most systems, and return it: without a file for the
    next connection the server would only log that, again and again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < most:
        soft = most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else soft


def make_http_server(
    app: Callable[..., Any], settings: Settings, begin: Begin = lambda environ, go_on: False
) -> HttpServer:
    """Bind the address; raises `Refused` where it is none, or taken. A request that `begin` takes
    on needs no worker: it calls `go_on` later, with what words the answer."""
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise Refused(f"listen must be HOST:PORT, not {settings.listen!r}")
    proxy = (
        {
            "trusted_proxy": settings.trusted_proxy,
            "trusted_proxy_headers": "x-forwarded-for",
            "clear_untrusted_proxy_headers": True,
        }
        if settings.trusted_proxy
        else {}
    )
    files = allow_files()
    try:
        server = HttpServer(
            app,
            dispatcher=Dispatcher(begin),
            adj=waitress.server.Adjustments(
                host=host.strip("[]"),
                port=int(port),
                ident=None,
                connection_limit=min(5000, files // 2),
                asyncore_use_poll=True,
                cleanup_interval=5,
                max_request_body_size=10_485_760,
                **proxy,
            ),
        )
    except (OSError, ValueError) as error:
        taken = getattr(error, "errno", 0) == errno.EADDRINUSE
        reason = "another program listens there: choose another port" if taken else error
        raise Refused(f"cannot listen on {settings.listen}: {reason}") from None
    server.task_dispatcher.set_thread_count(THREADS)
    # With the default of one byte the thread that reads sockets spins in poll() for as long as a
    # worker is sending, and keeps it from running: a sixteenth of the speed at 8 connections.
    server.adj.send_bytes = 18_000
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request
    logging.getLogger("waitress").setLevel(logging.WARNING)  # it names the paths of who hangs up
    return server


class Limits:
    """Counts per name and minute."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock, self._minute = clock, 0
        self._counts: Counter[Any] = Counter()
        self._lock = threading.Lock()

    def wait(self, name: Any, most: int) -> int | None:
        """Count one more; seconds to wait where that is too many, 0 for no limit."""
        minute, rest = divmod(self._clock(), 60_000)
        with self._lock:
            if minute != self._minute:
                self._counts, self._minute = Counter(), minute
            self._counts[name] += 1
            return 60 - rest // 1000 if 0 < most < self._counts[name] else None


BARE = "cronwatch.bare"


def mount(prefix: str, environ: Environ) -> None:
    """Take the prefix from the path of a request, where it has it: some proxies leave it there."""
    if "REQUEST_URI" not in environ:
        environ["REQUEST_URI"] = urllib.parse.quote(
            environ.get("PATH_INFO", "/").encode("latin-1")
        )
    uri = environ["REQUEST_URI"]
    path = uri.partition("?")[0]
    if prefix and not environ.get("SCRIPT_NAME") and f"{path}/".startswith(f"{prefix}/"):
        environ[BARE] = path == prefix  # the page's own links are relative to its slash
        environ["SCRIPT_NAME"], environ["REQUEST_URI"] = prefix, uri[len(prefix) :] or "/"
        environ["PATH_INFO"] = environ.get("PATH_INFO", "/")[len(prefix) :] or "/"


def check_origin(environ: Environ) -> None:
    """Refuse a write that a foreign page could have made a browser send along with our cookie."""
    is_json = environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/json"
    if "HTTP_X_CRONWATCH" not in environ or not (
        is_json or environ.get("CONTENT_LENGTH") in ("", "0", None)
    ):
        raise Refused(
            "With a cookie a change needs the header X-Cronwatch, and a body needs "
            "Content-Type: application/json",
            status=403,
        )


def _page(worded: Worded) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(worded.body, worded.status, dict(worded.headers))


def shown_secret(environ: Mapping[str, str]) -> str | None:
    """The API key in a header: X-API-Key, Basic (as its user), Bearer or ApiKey."""
    kind, _, secret = environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if environ.get("HTTP_X_API_KEY"):
        return environ["HTTP_X_API_KEY"]
    if kind.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(secret).decode("utf-8", "replace").partition(":")[0] or None
    return secret.strip() or None if kind.lower() in ("bearer", "apikey") else None


def cookie(token: str, seconds: int, settings: Settings) -> str:
    """The cookie of a session, out of a script's reach; or, with 0 seconds, the end of one."""
    return (
        f"{COOKIE}={token}; Path={settings.url_prefix}/; Max-Age={seconds}; HttpOnly; "
        "SameSite=Strict" + "; Secure" * settings.base_url.startswith("https:")
    )


def content_tag(name: str) -> str | None:
    """The ETag of a file of the page; None where there is none."""
    path = Path(os.path.normpath(DATA / "static" / name))
    with contextlib.suppress(OSError, ValueError):
        if DATA / "static" in path.parents:
            return _hash_file(path, path.stat().st_mtime_ns)
    return None


@lru_cache(64)
def _hash_file(path: Path, changed_at: int) -> str:
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}"'


class Worded(NamedTuple):
    """An answer in words: status, headers, body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def reply(
    content: dict[str, Any] | str,
    status: int = 200,
    kind: str = "text/plain",
    headers: Mapping[str, str] = {},
) -> Worded:
    """JSON for an object, else text."""
    if isinstance(content, dict):
        content, kind = json.dumps(content), "application/json"
    return Worded(
        status,
        [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Cache-Control", "no-store"),
            *headers.items(),
        ],
        content.encode(),
    )


SUMMARY_MS, SUMMARIES_MAX = 60_000, 20


class Summaries:
    """Answers with the summary; 304 where what the caller has is still true, without making it
    anew: with a thousand monitors that takes longer than hundreds of pings."""

    def __init__(self, store: Store, read: Callable[..., Any], clock: Callable[[], int]) -> None:
        self.store, self.read, self.clock = store, read, clock
        self._known: dict[Any, tuple[Any, int, int, str, str]] = {}

    def answer(self, ask: Ask, scanning: bool) -> Worded:
        """The summary that is asked for; `scanning` is what only the running server knows."""
        name = (tuple((name, *texts) for name, texts in sorted(ask.query.items())), ask.secret)
        version, now = (self.store.version(), scanning), self.clock()
        known = self._known.get(name)
        if known is None or known[0] != version or not known[1] <= now < known[2]:
            shown = self.read(show_summary, ask)
            shown["health"]["scanning"] = scanning
            content, until = json.dumps(shown), self.read(turns_late_at)
            tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
            known = version, now, until or now + SUMMARY_MS, tag, content
            if len(self._known) >= SUMMARIES_MAX:
                self._known.clear()
            self._known[name] = known
        headers = {"ETag": known[3], "Cache-Control": "no-cache"}
        if known[3] in ask.etag:
            return Worded(304, list(headers.items()), b"")
        return reply(known[4], 200, "application/json", headers)


# == HTTP routes ==============================================================
# Each route translates and calls one action. The server as a whole comes last.
Action = Callable[["Server", Ask], "dict[str, Any] | Reply | Worded"]


def reads(query: Callable[[Tx, Ask], Any]) -> Action:
    """The action of a route that only reads."""
    return lambda server, ask: server.read(query, ask)


def acts(action: Callable[[Tx, Ask], Any]) -> Action:
    """The action of a route that changes something, in one transaction."""
    return lambda server, ask: server.act(action, ask._replace(body=with_apprise(ask.body)))


def slow(action: Callable[[Callable[..., Any], Ask], Any]) -> Action:
    """The action of a route that takes its time before its transaction."""
    return lambda server, ask: action(server.act, ask)


def sends(test: Callable[[Outbox, Ask], Any]) -> Action:
    """The action of a route that sends something."""
    return lambda server, ask: test(server.outbox, ask)


def sign_in(server: Server, ask: Ask) -> Worded:
    """Open a session by name and password, or by a link."""
    given = read_object(ask.body, "name", "password", "link")
    if "link" in given:
        opened = server.act(use_link, _text("link", given["link"], 1, 200))
    else:
        name, password = given.get("name"), given.get("password")
        if not isinstance(name, str) or not isinstance(password, str) or len(password) > 200:
            raise Invalid("name and password are required, or a link")
        user = find_by_password(server.read, server.slowdown, name, password, ask.address)
        opened = server.act(open_session, user)
    return reply(
        opened,
        201,
        headers={
            "Set-Cookie": cookie(
                opened["token"], server.settings.session_days * 86_400, server.settings
            )
        },
    )


def sign_out(server: Server, ask: Ask) -> Worded:
    """End the session that asks."""
    return reply(
        server.act(end_session, ask), 200, headers={"Set-Cookie": cookie("", 0, server.settings)}
    )


def health(server: Server, ask: Ask) -> dict[str, Any]:
    """How cronwatch does, with what only the running server knows."""
    return {
        **server.read(show_health, ask),
        "startedAt": iso(server.started_at),
        "scannedAt": iso(server.lookout.last_at if server.lookout else None),
    }


def metrics(server: Server, ask: Ask) -> Worded:
    """Prometheus' text format."""
    content = prometheus.generate_latest(server.metrics.registry)
    return Worded(200, [("Content-Type", prometheus.CONTENT_TYPE_LATEST)], content)


def summary(server: Server, ask: Ask) -> Worded:
    """The first screen. When the last scan was is a header: it makes no other answer of it."""
    looks = server.lookout
    found = server.summaries.answer(ask, looks is None or looks.is_looking())
    scanned = [("X-Scanned-At", str(iso(looks.last_at)))] if looks else []
    return found._replace(headers=found.headers + scanned)


API = "/api/v1"
ROUTES_API: tuple[tuple[str, str, str, int, Action], ...] = (
    ("read-only", "GET", f"{API}/heartbeats", 200, reads(list_monitors)),
    ("read-write", "POST", f"{API}/heartbeats", 201, acts(add_monitor)),
    ("read-only", "GET", f"{API}/heartbeats/<id>", 200, reads(show_monitor)),
    ("read-write", "PATCH", f"{API}/heartbeats/<id>", 200, acts(edit_monitor)),
    ("read-write", "DELETE", f"{API}/heartbeats/<id>", 200, acts(remove_monitor)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/pause", 200, acts(pause_asked)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/resume", 200, acts(resume_asked)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/ok", 200, acts(mark_ok)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/test", 200, sends(test_monitor)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/pings", 200, reads(list_pings)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/runs", 200, reads(list_runs)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/runs/<run>", 200, reads(show_run)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/events", 200, reads(list_events)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/log", 200, reads(show_history)),
    ("read-only", "GET", f"{API}/heartbeats/<id>/uptime", 200, reads(show_uptime)),
    ("read-write", "GET", f"{API}/heartbeats/<id>/handles", 200, reads(list_handles)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/handles", 201, acts(adopt_asked)),
    ("read-write", "DELETE", f"{API}/heartbeats/<id>/handles", 200, acts(remove_handle)),
    ("read-write", "POST", f"{API}/heartbeats/<id>/handles/rotate", 200, acts(rotate_handle)),
    ("user", "GET", f"{API}/monitors/<id>/runs/<run>/log", 200, reads(show_log)),
    ("read-only", "GET", f"{API}/integrations", 200, reads(list_integrations)),
    ("read-write", "POST", f"{API}/integrations", 201, acts(add_integration_asked)),
    ("read-only", "GET", f"{API}/integrations/<id>", 200, reads(show_integration)),
    ("read-write", "PATCH", f"{API}/integrations/<id>", 200, acts(edit_integration)),
    ("read-write", "DELETE", f"{API}/integrations/<id>", 200, acts(remove_integration_asked)),
    ("read-write", "POST", f"{API}/integrations/<id>/test", 200, sends(test_integration)),
    ("read-only", "GET", f"{API}/events", 200, reads(list_events)),
    ("read-only", "GET", f"{API}/summary", 200, summary),
    ("read-only", "GET", f"{API}/night", 200, reads(show_night)),
    ("read-only", "GET", f"{API}/health", 200, health),
    ("read-only", "GET", f"{API}/preview", 200, reads(preview)),
    ("read-only", "GET", "/metrics", 200, metrics),
    ("public", "POST", f"{API}/session", 201, sign_in),
    ("user", "GET", f"{API}/session", 200, reads(show_session)),
    ("user", "DELETE", f"{API}/session", 200, sign_out),
    ("user", "GET", f"{API}/keys", 200, reads(list_keys)),
    ("user", "POST", f"{API}/keys", 201, acts(add_key)),
    ("user", "DELETE", f"{API}/keys/<id>", 200, acts(remove_key)),
    ("user", "GET", f"{API}/users", 200, reads(list_users)),
    ("user", "POST", f"{API}/users", 201, slow(add_user_asked)),
    ("user", "PATCH", f"{API}/users/<id>", 200, slow(edit_user_asked)),
    ("user", "DELETE", f"{API}/users/<id>", 200, acts(remove_user)),
    ("user", "POST", f"{API}/users/<id>/link", 201, acts(lambda tx, ask: make_link(tx, ask.id))),
)


def check_permission(server: Server, limits: Limits, permission: str) -> Caller:
    """Who asks; refuses what they may not do."""
    environ = bottle.request.environ
    secret, session = shown_secret(environ), bottle.request.get_cookie(COOKIE)
    caller = server.read(find_caller, secret, session)
    if caller is None:
        raise Refused("Missing or invalid API key", status=401)
    most = server.settings.api_rate_limit
    if caller.key and (wait := limits.wait(caller.key, most)) is not None:
        raise Refused(
            f"Rate limit exceeded. Max {most} requests per minute.", status=429, wait=wait
        )
    if permission not in ALLOWED[caller.may]:
        who = (
            "a signed-in user"
            if permission == "user"
            else (f"an API key with the permission {permission}")
        )
        raise Refused(f"This needs {who}", status=403)
    if not secret and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        check_origin(environ)
    return caller


def _asked(caller: Caller | None = None, id_: str = "", run: str = "") -> Ask:
    environ = bottle.request.environ
    body = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), BODY_MAX))
    query = urllib.parse.parse_qs(bottle.request.query_string, keep_blank_values=True)
    if any(len(texts) > 100 for texts in query.values()):
        raise Invalid("a parameter can be repeated at most 100 times")
    caller = caller or Caller("")
    return Ask(
        recoded(id_),
        query,
        parse_json(body) if body.strip() else None,
        caller.may in ("read-write", "user"),
        run,
        caller.user,
        caller.session,
        _address(),
        environ.get("HTTP_IF_NONE_MATCH", ""),
    )


def _answer(
    limits: Limits,
    address: str | None,
    dialect: Dialect,
    call: Callable[[], Worded],
    seen: Sequence[Dialect] = (),
) -> Worded:
    """What a call answers, or its refusal; too many wrong keys from an address are another one."""
    try:
        return call()
    except bottle.HTTPResponse:
        raise
    except Refused as error:
        refused = error
    except UnicodeEncodeError:
        refused = Invalid("a text has half of a surrogate pair in it")
    except Exception:
        log.exception("a request could not be answered")
        refused = Refused("Internal Server Error", "ERROR", 500)
    log.debug("refused, in the words of %s: %d", dialect.name, refused.status)
    wait = limits.wait(("wrong key", address), WRONG_KEYS_MAX) if refused.status == 401 else None
    if wait is not None:
        refused = Refused("Too many wrong API keys", "RATE_LIMIT_EXCEEDED", 429, wait)
    return refuse(seen[-1] if seen else dialect, refused)


def _guarded(
    server: Server, limits: Limits, permission: str, status: int, dialect: Dialect, call: Action
) -> Callable[..., Any]:
    """A route behind its permission; it answers in the words of Cronping, or of Crontify."""

    def answer(id_: str, run: str) -> Worded:
        caller = None if permission == "public" else check_permission(server, limits, permission)
        done = call(server, _asked(caller, id_, run))
        if isinstance(done, Worded):
            return done
        return reply(*done) if isinstance(done, tuple) else reply(done, status)

    def page(id: str = "", run: str = "") -> bottle.HTTPResponse:
        began, request = monotonic(), bottle.request
        worded = _answer(limits, _address(), dialect, lambda: answer(id, run))
        log.debug(
            "%s %s: %d in %.1f ms",
            request.method,
            request.route.rule,
            worded.status,
            1000 * (monotonic() - began),
        )
        return _page(worded)

    return page


def _address() -> str | None:
    return bottle.request.environ.get("REMOTE_ADDR")  # type: ignore[no-any-return]


def read_knock(environ: Environ) -> Knock | None:
    """The ping that a request is; None where its path is none's."""
    route = read_route(split_path(environ["REQUEST_URI"]))
    if route is None:
        return None
    said = recoded(environ.get("QUERY_STRING", ""))
    query = urllib.parse.parse_qs(said, keep_blank_values=True) if said else {}
    return Knock(
        route,
        {name: values[0] for name, values in query.items()},
        query.get("metric", ()),
        environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), BODY_MAX)),
        shown_secret(environ),
        environ.get("REMOTE_ADDR"),
        environ.get("HTTP_USER_AGENT"),
        route.family == "kuma" or environ["REQUEST_METHOD"] in ("GET", "HEAD", "POST"),
        [],
        monotonic(),
    )


def begin_ping(server: Server, environ: Environ, go_on: Callable[[Answering], None]) -> bool:
    """Let the writer record a ping and then go on to its answer; False for all else."""
    # Behind a proxy the address is only known further in; after an absence that is judged first.
    mount(server.settings.url_prefix, environ)
    is_later = server.settings.trusted_proxy or (server.lookout and server.lookout.was_away())
    knock = None if is_later else read_knock(environ)
    if knock is None:
        return False

    def recorded(result: Answer, failed: Exception | None) -> Answer:
        if failed is not None:
            raise failed
        return result

    now = server.clock()
    server.store.writer.submit(
        lambda db: record_ping(Tx(db, server.store, server.settings, now), knock),
        lambda *done: go_on(lambda: _answer_ping(server, knock, lambda: recorded(*done))),
    )
    return True


def _answer_ping(server: Server, knock: Knock, record: Callable[[], Answer]) -> Worded:
    """Every ping of every dialect, in the shape of its own."""

    def answer() -> Worded:
        dialect, receipt, problem = record()
        server.metrics.count_ping(dialect, receipt)
        if problem is not None:
            raise problem
        status = 201 if receipt.created and dialect.says_created else 200
        log.debug(
            "%s of %s, monitor %s: %d in %.1f ms",
            receipt.kind,
            dialect.name,
            receipt.id,
            status,
            receipt.took_ms,
        )
        kind = "text/html" if receipt.kind == "pause" else "text/plain"
        return reply(dialect.reply(receipt), status, kind, dialect.headers)

    return _answer(server.limits, knock.address, unknown_dialect(knock.route), answer, knock.seen)


def refuse(dialect: Dialect, refused: Refused) -> Worded:
    """A refusal in a dialect's shape; most clients would sleep for a Retry-After in the job."""
    says = refused.wait is not None and dialect.retry_after
    wait = {"Retry-After": str(refused.wait)} if says else {}
    return reply(dialect.error(refused), refused.status, headers={**dialect.headers, **wait})


def _word_error(error: bottle.HTTPError) -> bytes:
    """What Bottle itself refuses, and what broke."""
    parts = split_path(bottle.request.environ["REQUEST_URI"])
    native = "cronradar" if parts[:2] == ["api", "sync"] else "cronping"
    worded = refuse(DIALECTS[native], Refused(str(error.body), "ERROR", error.status_code))
    for name, value in worded.headers:
        bottle.response.set_header(name, value)
    return worded.body


def _static(name: str = "index.html") -> bottle.HTTPResponse:
    if bottle.request.environ.get(BARE):
        return bottle.HTTPResponse(status=308, Location=bottle.request.script_name)
    bottle.request.environ.pop("HTTP_RANGE", None)  # Bottle leaves the file of a wrong one open
    return bottle.static_file(
        name, str(DATA / "static"), etag=content_tag(name), headers={"Cache-Control": "no-cache"}
    )  # an update shows at once


def _healthz(server: Server) -> bottle.HTTPResponse:
    bad = troubles(server)
    return _page(reply({"ok": not bad, "troubles": bad}, 503 if bad else 200))


def _nothing(path: str) -> NoReturn:
    raise bottle.HTTPError(404, "There is nothing here")


def _not_allowed(known: str, **_: str) -> NoReturn:
    raise bottle.HTTPError(405, f"Method not allowed: use {known}", Allow=known)


def make_pages(server: Server) -> bottle.Bottle:
    """All that is no ping; made when it is first asked for, which no command does."""
    pages, limits = bottle.Bottle(), server.limits
    pages.default_error_handler = _word_error
    cronping = DIALECTS["cronping"]._replace(retry_after=True)
    routes = [
        (
            method,
            rule,
            _guarded(
                server,
                limits,
                permission,
                status,
                DIALECTS["crontify"] if rule.startswith(f"{API}/monitors") else cronping,
                action,
            ),
        )
        for permission, method, rule, status, action in ROUTES_API
    ]
    routes += [
        ("GET", "/api/openapi.json", partial(_static, "openapi.json")),
        ("GET", "/cronwatch-exec", partial(_static, "cronwatch-exec")),
        ("GET", "/healthz", partial(_healthz, server)),
        (
            "POST",
            "/api/sync",
            lambda: _page(
                _answer(
                    limits,
                    _address(),
                    DIALECTS["cronradar"],
                    lambda: reply(
                        server.act(
                            sync_monitors, shown_secret(bottle.request.environ), _asked().body
                        )
                    ),
                )
            ),
        ),
    ]
    for method, rule, call in routes:
        pages.route(rule, method, call)
    for rule in {rule for _, rule, _ in routes}:
        known = ", ".join(method for method, other, _ in routes if other == rule)
        pages.route(rule, "ANY", partial(_not_allowed, known))
    pages.route("/", "GET", _static)
    pages.route("/static/<name:path>", "GET", _static)
    pages.route("/<path:path>", "ANY", _nothing)
    return pages


def make_app(server: Server) -> Callable[..., Any]:
    """The WSGI application: pings are on every path that is no other route's."""
    pages = cache(partial(make_pages, server))

    def app(environ: Environ, start_response: Callable[..., Any]) -> Any:
        mount(server.settings.url_prefix, environ)
        if (knock := read_knock(environ)) is not None:
            worded = _answer_ping(server, knock, lambda: server.act(record_ping, knock))
            start_response(
                STATUS_LINES[worded.status],
                [*worded.headers, ("Content-Length", str(len(worded.body))), *HEADERS],
            )
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [worded.body]
        environ["PATH_INFO"] = environ.get("PATH_INFO", "").rstrip("/") or "/"
        return pages()(
            environ,
            lambda status, headers, *rest: start_response(status, headers + HEADERS, *rest),
        )

    return app


def troubles(server: Server) -> list[str]:
    """What keeps us from watching: nobody should rely on us meanwhile."""
    scans = server.lookout is None or server.lookout.is_looking()
    return ["the scanner is stuck"] * (not scans) + (
        ["nothing can be written"] * server.store.refused
    )


def beat(server: Server) -> None:
    """Ping who watches us, if all is well: we look, can write, and no alert is overdue. Raises
    `Refused` where that cannot be said, without the URL: it is a secret."""
    if troubles(server) or server.read(outbox_counts)["overdue"]:
        return
    try:
        status = request_once(
            "GET", server.settings.heartbeat_url, b"", {"User-Agent": f"cronwatch/{__version__}"}
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"who watches us cannot be reached: {error}") from None
    if not 200 <= status < 300:
        raise Refused(f"who watches us answers HTTP {status}")


def start_loops(server: Server, stop: threading.Event) -> list[threading.Thread]:
    """Start the threads that scan, deliver, stamp that we live, and keep house."""
    scan_seconds, beats = server.settings.scan_seconds, bool(server.settings.heartbeat_url)
    server.lookout = Lookout(server.store, server.clock, scan_seconds, server.scan, server.away)
    server.lookout.measure = server.metrics.scans.observe
    server.metrics.lookout = server.lookout
    return [
        repeat(stop, scan_seconds, server.lookout.look, "scan"),
        repeat(stop, DELIVER_SECONDS, server.outbox.turn, "deliver"),
        repeat(stop, STAMP_SECONDS, lambda: server.act(stamp_alive), "stamp"),
        repeat(stop, 3600, server.housekeeping, "housekeeping", 60),
        *([repeat(stop, BEAT_SECONDS, lambda: beat(server), "beat")] if beats else []),
    ]


def welcome(server: Server) -> None:
    """Where nobody can sign in yet, say how; only a terminal is shown a secret."""
    if server.read(list_users, Ask())["users"]:
        return
    if sys.stdout.isatty():
        link = server.act(make_link, "admin", True)["url"]
        print(f"Sign in once, within an hour: {link}", flush=True)
    else:
        log.info("nobody can sign in yet: `cronwatch user link` prints a link that does")


class Server:
    """The parts, wired. Nothing starts by itself but what a request or a turn needs."""

    def __init__(self, settings: Settings, clock: Callable[[], int] = system_clock) -> None:
        zone = check_settings(settings)
        self.clock, self.limits = clock, Limits(clock)
        self.store = Store(settings.database)
        self.lookout: Lookout | None = None
        self.started_at, self.slowdown = clock(), Slowdown(clock)
        self.summaries = Summaries(self.store, self.read, clock)
        self.follows_address = not settings.base_url
        prefix = f"/{settings.url_prefix.strip('/')}".rstrip("/")
        url = settings.base_url.rstrip("/") or remembered(
            self.store, "base_url", f"http://{settings.listen}{prefix}"
        )
        self.settings = dataclasses.replace(
            settings, timezone=zone, base_url=url, url_prefix=prefix
        )
        self.outbox = Outbox(self.act, self.read, self.settings, clock)
        self.metrics = Metrics(self.read, clock)
        self.store.measure = self.metrics.batches.observe
        self.outbox.count = lambda result: self.metrics.alerts.labels(result).inc()
        self.app = make_app(self)

    def act(self, action: Callable[..., T], *given: Any) -> T:
        """Do an action in the writer, and wait for it; a gap before it is judged first."""
        if self.lookout:
            self.lookout.judge()
        return self._act(action, *given)

    def _act(self, action: Callable[..., T], *given: Any) -> T:
        now = self.clock()
        return self.store.write(lambda db: action(Tx(db, self.store, self.settings, now), *given))

    def read(self, query: Callable[..., T], *given: Any) -> T:
        """Ask the database without the writer."""
        now = self.clock()
        return self.store.read(lambda db: query(Tx(db, self.store, self.settings, now), *given))

    def scan(self) -> None:
        """Let everything that fell due happen."""
        while self._act_past_damage(scan_due) == SCAN_LIMIT:
            pass

    def deliver(self) -> None:
        """Send what is due; it is sent, or has failed, when this returns."""
        for thread in self.outbox.turn():
            thread.join()

    def housekeeping(self) -> None:
        """Delete what is kept no longer, in steps that hold up no ping."""
        keep_house(self.act, self.read, self.settings, self.clock())

    def away(self, since: int, until: int) -> None:
        """We could not hear pings between two instants."""
        self._act_past_damage(record_absence, since, until)

    def _act_past_damage(self, action: Callable[..., T], *given: Any) -> T:
        """Again without each monitor that turns out to be damaged."""
        while True:
            known = len(self.store.damaged)
            try:
                return self._act(action, *given)
            except Refused:
                if len(self.store.damaged) == known:
                    raise

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; prints one line with the URL when requests are taken."""
        if sys.platform == "linux":  # elsewhere SQLite would wait for that lock
            hold(self.settings.database)
        http_server = make_http_server(self.app, self.settings, partial(begin_ping, self))
        now, alive_at = self.clock(), remembered(self.store, "alive_at", None)
        if alive_at is None:  # the first start ever knows no gap
            self.read(count_monitors)  # refused where it could not watch them
            self.act(stamp_alive)
        else:
            self.away(alive_at, now)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: http_server.stop())
        url = (
            f"http://{self.settings.listen.rpartition(':')[0]}:{http_server.effective_port}"
            + self.settings.url_prefix
        )
        if self.follows_address:
            self.settings = self.outbox.settings = dataclasses.replace(self.settings, base_url=url)
        self.act(remember, "base_url", self.settings.base_url)  # for the command line's links
        print(f"cronwatch serves {url}", flush=True)
        notify("READY=1")
        welcome(self)
        stop = threading.Event()
        loops = start_loops(self, stop)
        http_server.run(self.store.writer)
        notify("STOPPING=1")
        stop.set()
        for loop in loops:
            loop.join()
        http_server.close()
        self.outbox.stop()
        with contextlib.suppress(Refused):  # the next start counts from the stamp before
            self.act(stamp_alive)

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


# == Configuration ============================================================
# Monitors as text: a crontab to begin with, or a file that is kept under version control.
class CronLine(NamedTuple):
    """A job of a crontab: the parts of its line as they were, and what we make of them."""

    number: int  # of its line, from 0
    when: str
    user: str  # in a system crontab, with the space behind it
    command: str
    given: str  # from the first bare %, which is standard input
    timezone: str
    shell: str
    path: str  # where cron looks for programs
    key: str


RUNNERS = {
    "sh",
    "bash",
    "dash",
    "zsh",
    "python",
    "python3",
    "perl",
    "ruby",
    "php",
    "node",
    "nice",
    "ionice",
    "flock",
    "timeout",
    "chronic",
    "sudo",
    "env",
    "cd",
    "test",
    "[",
    "exec",
}
CRON_LINE = re.compile(r"\s*(@\w+|\S+(?:\s+\S+){4})\s+(.*)")
WRAPPER = "/usr/local/bin/cronwatch-exec"  # where the README puts it
SETTING_LINE = re.compile(r"\s*[\"']?(\w+)[\"']?\s*=\s*[\"']?(.*?)[\"']?\s*")


def job_name(command: str, number: int) -> str:
    """A key for a command: its first word that is no runner, option or setting, without ending."""
    aside = (
        r"^\s*cd\s+\S+\s*(&&|;)|\b(?:sudo|runuser)(\s+-[ugh]\s+\S+)+"
        r"|\S*\bflock(\s+-w\s+\S+|\s+-\S+)*\s+\S+"
    )
    for word in re.split(r"[\s;&|()<>\"']+", re.sub(aside, " ", command)):
        name = re.sub(r"\.\w{1,4}$", "", word.rstrip("/").rpartition("/")[2])
        key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if (
            key
            and not word.startswith(("-", "$", "!"))
            and "=" not in word
            and re.sub(r"[\d.]+$", "", name) not in RUNNERS
            and not re.fullmatch(r"\d+[smhd]?", name)
        ):
            return key[:180]
    return f"job-{number + 1}"


def read_crontab(text: str, is_system: bool, timezone: str) -> tuple[list[CronLine], list[str]]:
    """The jobs of a crontab, each with a key of its own, and a sentence for each line that cannot
    be watched. Only CRON_TZ moves a schedule: TZ is for the commands (crontab(5))."""
    jobs: list[CronLine] = []
    problems: list[str] = []
    known = {"CRON_TZ": timezone, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for number_, line in enumerate(text.split("\n")):
        setting = SETTING_LINE.fullmatch(line)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if setting:
            known[setting[1]] = setting[2]
            continue
        try:
            when, user, command, given = _cron_parts(line, is_system)
            next_run(when, known["CRON_TZ"], 0)
        except Invalid as error:
            problems.append(f"line {number_ + 1}: {error.sentence}")
            continue
        name, taken = job_name(command, number_), {job.key for job in jobs}
        key = next(
            one
            for n in itertools.count(1)
            if (one := f"{name}-{n}" if n > 1 else name) not in taken
        )
        jobs.append(
            CronLine(
                number_,
                when,
                user,
                command,
                given,
                known["CRON_TZ"],
                known["SHELL"],
                known["PATH"],
                key,
            )
        )
    return jobs, problems


def _cron_parts(line: str, is_system: bool) -> tuple[str, str, str, str]:
    found = CRON_LINE.fullmatch(line)
    if found is None:
        raise Invalid("this is no line of a crontab")
    user = re.match(r"\S+\s+", found[2]) if is_system else None
    command = found[2][user.end() :] if user else found[2]
    if re.search(r"cronwatch-exec'?\s(.*\s)?--\s", command):
        raise Invalid("it runs cronwatch-exec already")
    bare = re.search(r"(?<!\\)(\\\\)*%", command)  # a backslash before it takes its meaning
    end = bare.end() - 1 if bare else len(command)
    return found[1], user[0] if user else "", command[:end].strip(), command[end:]


def watch_jobs(tx: Tx, jobs: Sequence[CronLine]) -> list[Shown]:
    """A monitor for each job of a crontab whose key has none yet, all in one transaction."""
    for job in jobs:
        if not rows(tx.db, "SELECT 1 FROM monitor WHERE key = ?", job.key):
            create_monitor(
                tx,
                {
                    "key": job.key,
                    "name": title(job.key),
                    "cron": job.when,
                    "timezone": job.timezone,
                    "notes": clean(job.command, 10_000) or "",
                },
            )
    return [monitors_json(tx, [get_monitor(tx, job.key)])[0] for job in jobs]


def wrapped_line(job: CronLine, url: str, wrapper: str) -> str:
    """The line of a job as it reads with the wrapper, which tells how it went: by its name where
    cron finds it so. Only a path with plain words needs no shell."""
    is_plain = re.fullmatch(r"/[\w./+-]+( [\w./:@,+= -]*)?", job.command)
    command = job.command if is_plain else f"{job.shell} -c {shlex.quote(job.command)}"
    folder, _, name = wrapper.rpartition("/")
    found = name if folder in job.path.split(":") else shlex.quote(wrapper).replace("%", r"\%")
    return f"{job.when} {job.user}{found} {url} -- {command}{job.given}"


def export_all(tx: Tx, secret: bool = False) -> Shown:
    """All integrations and monitors in the API's words; what pings and signs only if asked for."""
    integrations = [
        {
            name: value
            for name, value in one.items()
            if name
            in (
                "channel",
                "name",
                "enabled",
                "default",
                "headers",
                *NEEDS.values(),
                *["secret"] * secret,
            )
        }
        for one in integrations_json(tx, True)
    ]
    linked: dict[int, list[str]] = {}
    for num, name in rows(
        tx.db,
        "SELECT l.monitor, i.name FROM monitor_integration l JOIN "
        "integration i ON i.num = l.integration ORDER BY i.name",
    ):
        linked.setdefault(num, []).append(name)
    monitors = [
        Monitor(*row)
        for row in rows(tx.db, f"SELECT {', '.join(MONITOR_FIELDS)} FROM monitor ORDER BY key")
    ]
    return {
        "integrations": integrations,
        "monitors": [
            {
                **_exported(shown, secret),
                "integrations": None if m.default_integrations else linked.get(m.num, []),
            }
            for start in range(0, len(monitors), 1000)
            for m, shown in zip(
                monitors[start : start + 1000],
                monitors_json(tx, monitors[start : start + 1000]),
                strict=True,
            )
        ],
    }


def _exported(shown: Shown, secret: bool) -> Shown:
    unused = {need for kind, need in SCHEDULES.items() if kind != shown["scheduleType"]}
    names = (
        "key",
        "scheduleType",
        *(field_.name for field_ in FIELDS if field_.name != "key"),
        *["token", "code", "handles"] * secret,
    )
    return {name: shown[name] for name in names if name not in unused}


def apply_all(tx: Tx, given: Any) -> None:
    """Bring integrations (by name) and monitors (by key) to what a file says; others, and fields
    that are not there, stay. Raises `Refused` with the item that is wrong: nothing is changed."""
    for kind, name, apply in (
        ("integrations", "name", _apply_integration),
        ("monitors", "key", _apply_monitor),
    ):
        for item in _objects(kind, read_object(given, "integrations", "monitors").get(kind)):
            try:
                _text(name, item.get(name), 1, 200)
                apply(tx, dict(item))
            except Refused as refused:
                raise Refused(
                    f"{kind}, {clean(item.get(name), 200)}: {refused.sentence}",
                    refused.code,
                    refused.status,
                ) from None


def _objects(name: str, value: Any) -> list[dict[str, Any]]:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(one, dict) for one in value)
    ):
        raise Invalid(f"{name} must be a list of objects")
    return value or []


def _apply_integration(tx: Tx, item: dict[str, Any]) -> None:
    secret, enabled, name = item.pop("secret", None), item.pop("enabled", None), item["name"]
    if secret is not None and not is_signing_secret(secret):
        raise Invalid("secret must be whsec_ and at least 16 bytes as base64")
    known = rows(tx.db, "SELECT channel FROM integration WHERE name = ?", name)
    if not known:
        add_integration(tx, Ask(body=item))
    elif known[0][0] != item.pop("channel", known[0][0]):
        raise Invalid("its channel cannot be changed: give the new one another name")
    change_integration(
        tx,
        find_integration(tx, name),
        {**(item if known else {}), **({} if enabled is None else {"enabled": enabled})},
        secret,
    )


def _apply_monitor(tx: Tx, item: dict[str, Any]) -> None:
    handles = [
        (
            read_object(one, "handle", "dialect").get("handle"),
            _one_of("dialect", one.get("dialect"), *DIALECTS),
        )
        for one in _objects("handles", item.pop("handles", None))
    ]
    handles += [(item.pop(kind), kind) for kind in OUR_HANDLES if kind in item]
    if "integrations" in item:
        names = item.pop("integrations")
        if names is not None and not isinstance(names, list):
            raise Invalid("integrations must be a list of names, or null for all default ones")
        item["integrationIds"] = (
            names
            if names is None
            else [
                find_integration(tx, _text("integrations", name, 1, 200))["id"] for name in names
            ]
        )
    key = item["key"]
    if rows(tx.db, "SELECT 1 FROM monitor WHERE key = ?", key):
        edit_monitor(tx, Ask(key, body=item))
    else:
        add_monitor(tx, Ask(body={"name": title(key), **item}))
    for text, kind in handles:
        _apply_handle(tx, get_monitor(tx, key).num, _handle_text(text), kind)


def _apply_handle(tx: Tx, num: int, text: str, kind: str) -> None:
    shape = {"token": TOKEN, "code": CODE}.get(kind)
    if shape and not shape.fullmatch(text):
        raise Invalid(f"{kind} must be of the form that cronwatch gives it")
    if find_handle(tx, text) != (num, kind):
        if kind in OUR_HANDLES:
            execute(tx.db, "DELETE FROM handle WHERE monitor = ? AND kind = ?", (num, kind))
        adopt(tx, num, text, kind)


class DryRun(Exception):
    """Undoes what was only tried; says what would change."""


def masked(value: Any) -> Any:
    """What was exported, with something in place of each secret that tells whether it changed."""
    if isinstance(value, list):
        return [masked(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: f"…{hash_secret(one)[:8]}"
        if name in ("token", "code", "handle", "secret")
        else masked(one)
        for name, one in value.items()
    }


def apply_file(tx: Tx, given: Any, dry: bool) -> str:
    """Apply a file, and return what changes as a diff; `DryRun` with it where nothing may."""
    before = export_all(tx, True)
    apply_all(tx, given)
    old, new = (
        json.dumps(masked(state), indent=1, ensure_ascii=False).splitlines()
        for state in (before, export_all(tx, True))
    )
    changes = "\n".join(difflib.unified_diff(old, new, "now", "then", lineterm="", n=4))
    if dry:
        raise DryRun(changes)
    return changes


# == Command line =============================================================
# Each command translates its arguments and calls one action. Nothing is decided here.
MONITOR_FLAGS = (
    ("--name", "name", str, "a name for people; default: made from KEY"),
    ("--cron", "cronExpression", str, "'0 3 * * *', @daily, or 6 fields, seconds first"),
    ("--every", "intervalSeconds", int, "seconds between two runs, instead of --cron"),
    ("--timezone", "timezone", str, "zone of --cron; default the host's"),
    ("--grace", "graceSeconds", int, "seconds that it may be late (default 300)"),
    ("--expects", "expects", str, "run (default): it runs; complete: it ends well"),
    ("--max-run", "maxRunSeconds", int, "seconds after which a started run is stuck"),
    ("--tolerance", "failureTolerance", int, "failures in a row that are no alert (default 0)"),
    ("--remind", "reminderIntervalSeconds", int, "seconds between reminders while it is down"),
    ("--min-interval", "minPingIntervalSeconds", int, "refuse pings that come faster (seconds)"),
    ("--tags", "tags", str, "tags, separated by spaces"),
    ("--notes", "notes", str, "what the next person should know"),
)


def _print_table(options: argparse.Namespace, found: list[dict[str, Any]], *columns: str) -> None:
    """A table for people, or JSON for programs."""
    table = [
        columns,
        *([str(row[name] if row[name] is not None else "-") for name in columns] for row in found),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    print(json.dumps(found, indent=2) if options.json else "\n".join(lines))


def _read_handle(text: str) -> tuple[str, str]:
    """An adopted handle and its dialect: the one before a colon, else by the handle's shape."""
    dialect, colon, rest = text.partition(":")
    if colon:
        return rest, _one_of("the service of a handle", dialect, *DIALECTS)
    return text, default_dialect(text)


def _add_monitor(server: Server, options: argparse.Namespace) -> None:
    given = {
        name: value
        for _, name, _, _ in MONITOR_FLAGS
        if (value := getattr(options, name)) is not None
    }
    if {"cronExpression", "intervalSeconds"} <= set(given):
        raise Invalid("give --cron or --every, not both")
    kind = next((kind for kind, need in SCHEDULES.items() if need in given), "none")
    rules = [
        {"field": name, "operator": sign, "value": number(value)}
        for name, sign, value in options.rule or ()
    ]
    shown, _ = server.act(
        add_monitor,
        Ask(
            body={
                "name": title(options.key),
                "timezone": server.settings.timezone,
                "key": options.key,
                "scheduleType": kind,
                "armed": options.armed,
                "rules": rules,
                **given,
            }
        ),
        dict(map(_read_handle, options.handle or ())),
    )
    print(
        json.dumps(shown, indent=2)
        if options.json
        else (
            f"{shown['key']} is monitored. Let the job ping it:\n\n  curl -fsS -m 10 --retry 3 "
            f"{shown['pingUrl']}\n\nIts token is {shown['token']}, its code {shown['code']}."
        )
    )
    if not shown["heard"] and not options.json:
        print("Nobody hears of it yet: see `cronwatch integration add --help`.")


def _list_monitors(server: Server, options: argparse.Namespace) -> None:
    shown: list[dict[str, Any]] = []
    while page := server.read(
        list_monitors, Ask(query={"limit": ["100"], "offset": [str(len(shown))]})
    )["heartbeats"]:
        shown += page
    _print_table(options, shown, "key", "name", "status", "lastPingAt", "expectedAt", "heard")


def _show_monitor(server: Server, options: argparse.Namespace) -> None:
    shown = server.read(show_monitor, Ask(options.name))
    lines = (f"{name:24} {'-' if value is None else value}" for name, value in shown.items())
    print(json.dumps(shown, indent=2) if options.json else "\n".join(lines))


def _pause_monitor(server: Server, options: argparse.Namespace) -> None:
    shown = server.act(pause_asked, Ask(options.name, body={"hours": options.hours}))
    until = f" until {shown['pausedUntil']}" if shown["pausedUntil"] else ""
    print(f"{shown['key']} is {shown['status']}{until}")


def _add_integration(server: Server, options: argparse.Namespace) -> None:
    lines = [line.partition(":") for line in options.header or ()]
    if not all(colon for _, colon, _ in lines):
        raise Invalid("--header must be a header line, as in 'NAME: VALUE'")
    made = server.act(
        add_integration,
        Ask(
            body=with_apprise(
                {
                    "channel": options.channel,
                    "name": options.name,
                    "default": not options.not_default,
                    NEEDS[options.channel]: options.target,
                    "headers": {name.strip(): value.strip() for name, _, value in lines},
                }
            )
        ),
    )
    print(
        f"{options.name} is told of everything from now on: try "
        f"`cronwatch integration test {options.name}`"
    )
    if "secret" in made:
        print(f"Its signatures are made with {made['secret']}")


def _test_integration(server: Server, options: argparse.Namespace) -> None:
    outcome = test_integration(server.outbox, Ask(options.name))
    if not outcome["ok"]:
        raise Refused(f"{options.name} does not work: {outcome['result']}")
    print(f"{options.name} works: {outcome['result']}")


def _ends(action: Callable[[Tx, Ask], Any], said: str) -> Callable[..., None]:
    def call(server: Server, options: argparse.Namespace) -> None:
        server.act(action, Ask(options.name))
        print(f"{options.name} is {said}")

    return call


def _back_up(server: Server, options: argparse.Namespace) -> None:
    back_up(server.store.path, options.file)
    print(f"{options.file} is a whole copy: to restore it, stop cronwatch and move it in place")


def _read_file(name: str) -> str:
    """A text file, with what is no UTF-8 in it; `-` is standard input."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {name}: {error}") from None
    return raw.decode("utf-8", "surrogateescape")


def _own_crontab() -> str:
    """What `crontab -l` prints."""
    try:
        found = subprocess.run(["crontab", "-l"], capture_output=True, check=False)  # noqa: S607
    except OSError:
        raise Refused("there is no program crontab here: name a file") from None
    said = found.stderr.decode("utf-8", "replace").strip()
    if found.returncode and "no crontab for" not in said:
        raise Refused(f"crontab -l: {said}")
    return found.stdout.decode("utf-8", "surrogateescape")


def _import_crontab(server: Server, options: argparse.Namespace) -> None:
    text = _own_crontab() if options.file is None else _read_file(options.file)
    is_system = options.system or str(options.file).startswith("/etc/cron")
    jobs, problems = read_crontab(text, is_system, server.settings.timezone)
    monitors = server.act(watch_jobs, jobs) if options.yes else []
    urls = [shown["pingUrl"] for shown in monitors] or [
        f"URL_OF_{re.sub('[^A-Z0-9]', '_', job.key.upper())}" for job in jobs
    ]
    lines, said, near = text.split("\n"), [], os.path.dirname(sys.executable)
    wrapper = shutil.which("cronwatch-exec") or shutil.which("cronwatch-exec", path=near)
    for job, url in zip(jobs, urls, strict=True):
        said.append(f"# {job.key}: {describe_cron(job.when)} ({job.timezone})")
        lines[job.number] = wrapped_line(job, url, os.path.abspath(wrapper or WRAPPER))
    said += [f"# {problem}" for problem in problems]
    said += ["# Nobody hears of them yet: see `cronwatch integration add --help`"] * (
        not all(shown["heard"] for shown in monitors)
    )
    said += [
        f"# cronwatch-exec is not here yet: curl -fsSo {WRAPPER} {server.settings.base_url}"
        f"/cronwatch-exec && chmod +x {WRAPPER}"
    ] * (wrapper is None)
    said.append(
        "# The crontab as it reads with cronwatch-exec, for you to put in place:"
        if options.yes
        else "# Nothing is created yet. With --yes it is, and the lines get their URLs:"
    )
    sys.stdout.flush()
    sys.stdout.buffer.write(
        "\n".join([*said, *lines]).rstrip("\n").encode("utf-8", "surrogateescape") + b"\n"
    )


def _apply(server: Server, options: argparse.Namespace) -> None:
    try:
        given = json.loads(_read_file(options.file))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{options.file} must be JSON: {error}") from None
    try:
        changes = server.act(apply_file, with_apprise(given), options.dry_run)
    except DryRun as dry:
        changes = str(dry)
    print(changes or "nothing changes")


def _read_password() -> str:
    """Asked for on the terminal, else one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise Invalid("the two are not the same: try again")
    return password


def _add_user(server: Server, options: argparse.Namespace) -> None:
    name = _text("name", options.name, 1, 200)
    server.act(add_user, name, check_password(_read_password()))
    print(f"{name} may sign in at {server.settings.base_url}/")


def _change_password(server: Server, options: argparse.Namespace) -> None:
    server.read(find_user, options.name)
    server.act(edit_user, options.name, {"password": check_password(_read_password())})
    print(f"{options.name} has a new password; all sessions with the old one are over")


def _argument(*names: str, **more: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, more


KEY = _argument("name", metavar="key", help="its key or id")
NAME = _argument("name", help="its name")
JSON = _argument("--json", action="store_true", help="print JSON")
HELP = {
    "database": "the file that holds it all (CRONWATCH_DATABASE)",
    "smtp_host": (
        "mail server; also --smtp-port, --smtp-security, --smtp-user, --smtp-password, --smtp-from"
    ),
}
SETTING_FLAGS = [
    _argument(
        f"--{one.name.replace('_', '-')}",
        default=None,
        help=HELP.get(one.name, argparse.SUPPRESS if "smtp" in one.name else one.metadata["help"]),
        **(
            {"action": "store_true"}
            if one.default is False
            else {"metavar": one.default or "TEXT"}
        ),
    )
    for one in dataclasses.fields(Settings)
]
COMMANDS: tuple[tuple[str, str, Callable[..., None], list[Any]], ...] = (
    ("serve", "run the server", lambda server, options: server.run(), SETTING_FLAGS),
    (
        "monitor add",
        "expect a job from now on",
        _add_monitor,
        [
            _argument("key", help="short name of the job, such as daily-backup"),
            *(
                _argument(
                    flag, dest=name, type=kind, help=text, metavar="N" if kind is int else "TEXT"
                )
                for flag, name, kind, text in MONITOR_FLAGS
            ),
            _argument("--armed", action="store_true", help="alert even if it never pings"),
            _argument(
                "--rule",
                nargs=3,
                action="append",
                metavar=("FIELD", "OP", "N"),
                help="tell when a good run reports it: rows lt 1",
            ),
            _argument(
                "--handle",
                action="append",
                metavar="[SERVICE:]TEXT",
                help=("keep one of an old service: " + " ".join(DIALECTS)),
            ),
            JSON,
        ],
    ),
    ("monitor list", "list all monitors", _list_monitors, [JSON]),
    ("monitor show", "show one with its handles", _show_monitor, [KEY, JSON]),
    (
        "monitor pause",
        "no alerts until resumed",
        _pause_monitor,
        [KEY, _argument("--hours", type=int, help="resume by itself after so many hours")],
    ),
    (
        "monitor resume",
        "end a pause",
        lambda server, options: _pause_monitor(
            server, argparse.Namespace(**vars(options), hours=0)
        ),
        [KEY],
    ),
    (
        "monitor remove",
        "delete one with all that was recorded",
        _ends(remove_monitor, "removed, with its pings, runs and events"),
        [KEY],
    ),
    (
        "integration add",
        "tell somebody of alerts",
        _add_integration,
        [
            _argument(
                "channel",
                choices=list(SENDERS),
                metavar="channel",
                help="how: one of " + ", ".join(SENDERS),
            ),
            _argument("name", help="a name for it"),
            _argument("target", help="URL, shell command or mail address"),
            _argument(
                "--header", action="append", metavar="'NAME: VALUE'", help="send with webhooks"
            ),
            _argument("--not-default", action="store_true", help="only for monitors that name it"),
        ],
    ),
    (
        "integration list",
        "list who is told",
        lambda server, options: _print_table(
            options,
            server.read(list_integrations, Ask())["integrations"],
            "name",
            "channel",
            "enabled",
            "default",
            "failing",
        ),
        [JSON],
    ),
    ("integration test", "send a test now", _test_integration, [NAME]),
    ("integration remove", "delete one", _ends(remove_integration, "removed"), [NAME]),
    (
        "key create",
        "print a new API key",
        lambda server, options: print(
            server.act(add_key, Ask(body={name: getattr(options, name) for name in KEY_FIELDS}))[
                "secret"
            ]
        ),
        [
            _argument("name", help="a name for it"),
            _argument(
                "--permission",
                choices=KEY_PERMISSIONS,
                default="read-write",
                metavar="TEXT",
                help="ping, read-only or read-write (default)",
            ),
            _argument("--secret", help="adopt a key of an old service"),
        ],
    ),
    (
        "key list",
        "list the API keys",
        lambda server, options: _print_table(
            options,
            server.read(list_keys, Ask())["keys"],
            "name",
            "prefix",
            "permission",
            "createdAt",
        ),
        [JSON],
    ),
    ("key revoke", "end an API key", _ends(remove_key, "revoked"), [NAME]),
    (
        "import crontab",
        "show or create a monitor for each job of a crontab",
        _import_crontab,
        [
            _argument(
                "file",
                nargs="?",
                metavar="[file]",
                help="else what `crontab -l` prints; - is standard input",
            ),
            _argument("--system", action="store_true", help="it has users, as /etc/crontab"),
            _argument("--yes", action="store_true", help="create the monitors"),
        ],
    ),
    (
        "export",
        "print monitors and integrations as JSON",
        lambda server, options: print(
            json.dumps(server.read(export_all, options.secrets), indent=2, ensure_ascii=False)
        ),
        [_argument("--secrets", action="store_true", help="also what pings and signs")],
    ),
    (
        "apply",
        "make monitors and integrations as a file says",
        _apply,
        [
            _argument("file", help="as `cronwatch export` prints it; - is standard input"),
            _argument("--dry-run", action="store_true", help="only show what would change"),
        ],
    ),
    (
        "backup",
        "copy the database while it is in use",
        _back_up,
        [_argument("file", help="name of the copy; nothing may have it yet")],
    ),
    ("user add", "let somebody sign in; asks for a password", _add_user, [NAME]),
    ("user passwd", "change a password; asks for it", _change_password, [NAME]),
    (
        "user list",
        "list who may sign in",
        lambda server, options: _print_table(
            options,
            server.read(list_users, Ask())["users"],
            "name",
            "hasPassword",
            "createdAt",
            "lastSeenAt",
        ),
        [JSON],
    ),
    ("user remove", "end an account", _ends(remove_user, "removed, and signed out"), [NAME]),
    (
        "user link",
        "print a link that signs in once, within an hour",
        lambda server, options: print(
            server.act(make_link, _text("name", options.name, 1, 200), True)["url"]
        ),
        [
            _argument(
                "name",
                nargs="?",
                default="admin",
                metavar="[name]",
                help=("whom; where there is nobody yet, who is made (default admin)"),
            )
        ],
    ),
)


class JsonLines(logging.Formatter):
    """A log line as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The time, the level and the message; with what went wrong."""
        line = {
            "at": iso(round(record.created * 1000)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start_log(settings: Settings, serves: bool) -> None:
    """Write the log to standard error, of a command what is wrong; the journal adds the time."""
    _one_of("log_format", settings.log_format, "text", "json")
    _one_of("log_level", settings.log_level, "debug", "info", "warning", "error")
    handler = logging.StreamHandler()
    text = logging.Formatter("%(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(settings.log_level.upper() if serves else logging.WARNING)


MAKERS = ("serve", "add", "create", "link", "crontab", "apply")  # may begin with an empty one
VARIABLES = "; shown are the defaults, and CRONWATCH_LISTEN is --listen"


def make_parser() -> argparse.ArgumentParser:
    """The command line, from the tables of commands and settings."""
    parser = argparse.ArgumentParser(prog="cronwatch", description="A monitor for cron jobs.")
    parser.add_argument("--version", action="version", version=f"cronwatch {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for words, text, call, arguments in COMMANDS:
        group, _, word = words.rpartition(" ")
        if group not in groups:
            parent = groups[""].add_parser(
                group,
                help=("begin with what you have" if group == "import" else f"manage the {group}s"),
            )
            groups[group] = parent.add_subparsers(metavar="COMMAND", required=True)
        serves = SETTING_FLAGS[0] in arguments
        named = "".join(
            f" {more.get('metavar', names[0])}" for names, more in arguments if names[0][0] != "-"
        )
        command = groups[group].add_parser(
            word,
            help=text,
            description=text + VARIABLES * serves,
            add_help=False,
            usage=f"cronwatch {words} [OPTIONS]{named}",
            formatter_class=partial(argparse.HelpFormatter, max_help_position=30, width=80),
        )
        command.set_defaults(call=call, group=group, word=word)
        listed = command.add_argument_group()  # without headings it fits a screen
        listed.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
        for names, more in (*arguments, *SETTING_FLAGS[: not serves]):
            listed.add_argument(*names, **more)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 where it went well, 1 where it was refused, 2 for a wrong flag."""
    options = make_parser().parse_args(argv)
    try:
        settings = Settings.load(vars(options), os.environ)
        start_log(settings, hasattr(options, "log_level"))
        if (
            options.word not in MAKERS
            and not os.path.exists(settings.database)
            and os.access(os.path.dirname(settings.database) or ".", os.X_OK)
        ):  # else opening it says why
            raise Refused(
                f"there is no database {settings.database}: --database or "
                f"CRONWATCH_DATABASE names it"
            )
        with contextlib.closing(Server(settings)) as server:
            options.call(server, options)
    except (Refused, UnicodeEncodeError) as error:
        see = f" (see `cronwatch {options.group} list`)" if options.group else ""
        print(
            "cronwatch: "
            + getattr(error, "sentence", "only text in UTF-8 can be taken")
            + see * (getattr(error, "code", "") == "NOT_FOUND"),
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

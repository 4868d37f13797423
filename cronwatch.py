#!/usr/bin/env python3
"""cronwatch: a self-hosted monitor for cron jobs and heartbeats.

Jobs send small HTTP pings; cronwatch notices failure, lateness and silence, and tells people. One
process, one SQLite file, this module. Read it from the top: a section uses only those above.

    Settings           what can be set, and the one exception for a caller's mistakes
    Schedules          when a cron expression comes round                             (pure)
    Records            a monitor, a run, a ping, an event                             (pure)
    Rules              when a monitor is in trouble, and what a ping does about it    (pure)
    Dialects           how each service words a ping, a reply and an error            (pure)
    Fields             what may be said and is shown of each thing                    (pure)
    Storage            the database: opening, migrating, one write at a time, many readers
    Monitors           load and save, create, edit, pause, handles, scan, absence, retention
    Pings              who is meant by a ping, and what becomes of it
    Alerts             integrations: what an event says, how it is sent, the outbox
    Reports            what has happened: pings, runs, events, uptime, the summary, metrics
    People             users, sessions and API keys, what each may do, the limiter
    HTTP               the plugins, the table of routes, pings, the page, OpenAPI
    Server             the loops, Waitress with a lane for pings, the parts wired
    Import and export  a crontab to begin with, or a file that is kept under version control
    Command line       serve, status, doctor, monitor, integration, key, user, and the rest
"""

from __future__ import annotations

import argparse
import base64
import configparser
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
import io
import ipaddress
import itertools
import json
import logging
import math
import mimetypes
import operator
import os
import pwd
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
import zlib
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import formatdate, parsedate_to_datetime
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any, NamedTuple, Protocol, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import bottle
import peewee
import prometheus_client as prometheus
import tzdata  # type: ignore[import-untyped]
import waitress.server
from cron_descriptor import Options as CronDescriptorOptions
from cron_descriptor import get_description
from croniter import CroniterBadDateError, CroniterError, croniter
from peewee import SqliteDatabase
from playhouse.pool import PooledSqliteDatabase  # type: ignore[import-untyped]
from prometheus_client.core import GaugeMetricFamily
from waitress.buffers import OverflowableBuffer

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
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.status = status
        self.wait = wait  # seconds
        self.allow = allow  # methods, of a 405


class Invalid(Refused):
    """A caller's mistake; the sentence names the field and the rule."""


class Unknown(Refused):
    """A secret, or a handle, that is nobody's: these are counted by address."""


def _setting(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def _parse_setting(name: str, kind: type, text: Any) -> Any:
    try:
        if kind is bool and text is not True:
            return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
        value = kind(text)
    except (KeyError, ValueError):
        rule = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise Invalid(f"{name} must be {rule}, not {text!r}") from None
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
    status_tag: str = _setting("", "tag whose monitors anybody may see at /status/TAG")
    smtp_host: str = _setting("", "mail server; without one no mail can be sent")
    smtp_port: int = _setting(587, "its port")
    smtp_security: str = _setting("starttls", "starttls, tls or none")
    smtp_user: str = _setting("", "name to sign in with; empty to send without")
    smtp_password: str = _setting("", "password to sign in with (better in the environment)")
    smtp_from: str = _setting("", "sender of mails; default cronwatch@ the host's name")

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """The settings from flags, else variables, else defaults; `Invalid` for a wrong one.

        An empty variable counts as unset: Docker Compose makes one of an unset `${X}`.
        """
        values = {}
        for setting in dataclasses.fields(cls):
            text = flags.get(setting.name)
            if text is None:
                text = environ.get(f"CRONWATCH_{setting.name.upper()}") or None
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
CRON_NAMES: dict[str, int] = {**croniter.ALPHACONV[4], **croniter.ALPHACONV[3], "l": 31}
CRON_RANGE = re.compile(r"(?<![^,])(\w+)-(\w+)(/\d+)?(#\d)?(?![^,])")


class CronField(NamedTuple):
    """A place in a cron expression: its least and its greatest value, and the rule in words."""

    least: int
    most: int
    rule: str


CRON_FIELDS = (
    CronField(0, 59, "second must be 0-59"),
    CronField(0, 59, "minute must be 0-59"),
    CronField(0, 23, "hour must be 0-23"),
    CronField(1, 31, "day of month must be 1-31 or L"),
    CronField(1, 12, "month must be 1-12 or JAN-DEC"),
    CronField(0, 6, "day of week must be 0-7 or SUN-SAT, or as in 5#2 and L5"),
)


class Cron(NamedTuple):
    """A cron expression, and what Debian's cron makes of it."""

    fields: tuple[str, ...]  # six, seconds first; one that means all its values starts with `*`
    calendars: tuple[croniter, ...]  # a day of any of them is one: two where `or` joins the days
    is_fixed: bool  # neither minute nor hour is a `*`: a clock change neither skips nor repeats it

    def wall_from(self, start: datetime) -> datetime:
        """The first match from `start` on, both as a clock on the wall shows them."""
        before = start - timedelta(seconds=1)
        # A croniter remembers where it is, and threads share ours: each search has its copy.
        return min(copy(calendar).get_next(datetime, before) for calendar in self.calendars)


def _split_schedule(schedule: str) -> list[str]:
    """The six fields of a schedule, seconds first, in lower case."""
    if len(schedule) > 500:
        raise Invalid("schedule must be at most 500 characters")
    text = " ".join(schedule.lower().split())
    if text.startswith(("tz=", "cron_tz=")):
        raise Invalid("a zone belongs in timezone (--timezone), not in the schedule")
    if text == "@reboot":
        raise Invalid("@reboot never comes round")
    if text.startswith("@") and text not in CRON_WORDS:
        raise Invalid(f"schedule must be 5 or 6 fields, or one of {', '.join(CRON_WORDS)}")
    fields = CRON_WORDS.get(text, text).split()
    if len(fields) not in (5, 6):
        raise Invalid(f"schedule must have 5 fields, or 6 with seconds first, not {len(fields)}")
    return ["0", *fields] if len(fields) == 5 else fields


def _range_end(word: str) -> int:
    """The value of a number or a name; -1 for neither."""
    return int(word) if word.isdecimal() else CRON_NAMES.get(word, -1)


def _without_equal_ends(match: re.Match[str]) -> str:
    """5-5 is 5 to cron, and `*` to croniter: here it is 5."""
    low, high, _, nth = match.groups("")
    return low + nth if _range_end(low) == _range_end(high) else match[0]


def _read_field(place: int, field: str) -> str:
    """A field as croniter reads it rightly; raises Invalid with its rule.

    One that lists all its values is a `*`: cronradar-celery writes it so. A range is not (Debian).
    """
    rule = CRON_FIELDS[place].rule
    if re.fullmatch(r"[hr](\([\d-]*\))?(/\d+)?", field) or "~" in field:
        raise Invalid("random times (R, H, ~) cannot be expected")
    if "w" in field.replace("wed", ""):  # to croniter 15W is the working day nearest to the 15th
        raise Invalid(rule)
    field = re.sub(r"\b0+(?=\d)", "", field)  # cron-descriptor knows no day 07
    field = CRON_RANGE.sub(_without_equal_ends, field)
    alone = ["*"] * place + [field] + ["*"] * (5 - place)
    try:
        values, _ = croniter.expand(" ".join(alone), second_at_beginning=True)
    except CroniterError:
        raise Invalid(rule) from None
    is_all = values[place - 1] == ["*"]  # croniter puts seconds last
    return "*" if is_all and not re.search("[-/#]|l[0-7]", field) else field


def _comes_round(calendar: croniter) -> bool:
    try:
        copy(calendar).get_next()
    except CroniterBadDateError:
        return False
    return True


@lru_cache(1024)
def parse_cron(schedule: str) -> Cron:
    """Read a schedule; raises Invalid, with the rule, if it is none or never comes round.

    Ranges that wrap (22-6) are read, since some are stored: `check_schedule` refuses new ones.
    """
    fields = [_read_field(place, text) for place, text in enumerate(_split_schedule(schedule))]
    second, minute, hour, day, month, weekday = fields
    expressions = [fields]
    if not day.startswith("*") and not weekday.startswith("*"):  # either is enough (Debian cron)
        expressions = [
            [second, minute, hour, day, month, "*"],
            [second, minute, hour, "*", month, weekday],
        ]
    calendars = [
        croniter(" ".join(one), 0, day_or=False, second_at_beginning=True) for one in expressions
    ]
    possible = tuple(calendar for calendar in calendars if _comes_round(calendar))
    if not possible:
        raise Invalid("has no next run")
    is_fixed = not minute.startswith("*") and not hour.startswith("*")
    return Cron(tuple(fields), possible, is_fixed)


def check_schedule(schedule: str) -> None:
    """Raise Invalid where a schedule cannot be entered: also for a range that wraps.

    Debian's cron takes 22-6 and FRI-SUN without a word, and never starts the job.
    """
    for text, (least, most, _) in zip(parse_cron(schedule).fields, CRON_FIELDS, strict=True):
        for wrapped in CRON_RANGE.finditer(text):
            low, high, step, nth = wrapped.groups("")
            first, last = _range_end(low), _range_end(high)
            if first > last:
                values = [*range(first, most + 1), *range(least, last + 1)]
                values_listed = ",".join(f"{n}{nth}" for n in values[:: int(step[1:] or 1)])
                raise Invalid(
                    f"cron never runs {wrapped[0]}, which wraps round: write {values_listed}"
                )


@lru_cache(1024)
def check_timezone(timezone: str) -> ZoneInfo:
    """Return the zone of an IANA name; raises Invalid where there is none."""
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # unknown; a bad path or file; a folder, or too long
        raise Invalid("timezone must be an IANA name such as Europe/Berlin") from None


def _instants(zone: ZoneInfo, wall: datetime) -> list[int]:
    """When a clock shows a time: first and second, which mostly are the same."""
    return [int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1)]


def _clock_changes(zone: ZoneInfo, wall: datetime) -> list[int]:
    """The instant of the change that skips or repeats a time; empty for most times."""

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at, zone).utcoffset()

    early, late = sorted(_instants(zone, wall))
    if early == late:
        return []
    before = offset(early)
    return [early + bisect_left(range(early, late), True, key=lambda at: offset(at) != before)]


def _next_fixed(cron: Cron, zone: ZoneInfo, after: int) -> int:
    """With a fixed minute and hour: once, right after the change where its time is skipped."""
    clock = datetime.fromtimestamp(after, zone)
    if clock.fold:  # all that is repeated has run before the change
        clock = datetime.fromtimestamp(_clock_changes(zone, clock)[0] - 1, zone)
    wall = cron.wall_from(clock.replace(tzinfo=None, fold=0) + timedelta(seconds=1))
    return min(_instants(zone, wall)[:1] + _clock_changes(zone, wall))


def _next_wildcard(cron: Cron, zone: ZoneInfo, after: int) -> int:
    """Any other job: whenever the clock shows a match."""
    start = after + 1
    for _ in range(100):  # `*/9 2 * 3 0#2` is skipped each year in New York
        clock = datetime.fromtimestamp(start, zone).replace(tzinfo=None, fold=0)
        wall = cron.wall_from(clock)
        match = next(at for at in _instants(zone, wall) if at >= start)
        changes = _clock_changes(zone, clock) + _clock_changes(zone, wall)
        ahead = [at for at in changes if start < at <= match]
        if not ahead:
            return match
        start = ahead[0]
    raise Invalid("has no next run")


@lru_cache(20_000)
def _next_second(schedule: str, timezone: str, after: int) -> int:
    """The same in seconds: who looks back asks for the same occurrences again and again."""
    cron, zone = parse_cron(schedule), check_timezone(timezone)
    search = _next_fixed if cron.is_fixed else _next_wildcard
    return search(cron, zone, after)


@lru_cache(20_000)
def _latest(schedule: str, timezone: str) -> list[tuple[int, int]]:
    """A place for an instant and the occurrence after it, which is that of all between: so a ping
    costs no search, and monitors share it."""
    return [(0, 0)]


def next_run(schedule: str, timezone: str, after: int) -> int:
    """Return the next occurrence after an instant, both in ms since 1970 UTC; raises Invalid.

    Debian cron, DST: croniter would run a fixed job twice where the clock goes back.
    """
    second = after // 1000
    latest = _latest(schedule, timezone)
    since, following = latest[0]
    if not since <= second < following:
        following = _next_second(schedule, timezone, second)
        latest[0] = second, following
    return 1000 * following


def run_before(schedule: str, timezone: str, at: int, floor: int) -> int | None:
    """Return the last occurrence from `floor` until before `at`, all in ms, or None."""
    if next_run(schedule, timezone, floor - 1) >= at:
        return None  # as for most: nothing to search for
    instants = range(floor - 1, at)
    count = bisect_left(instants, at, key=lambda after: next_run(schedule, timezone, after))
    return next_run(schedule, timezone, instants[count - 1])


# Where the words of cron-descriptor are short and right: a step that divides its hour or day, one
# list at a time, and no day that must match two fields.
_LIST = r"[\w,-]+"


_EVERY = r"\*(/(1|2|3|4|5|6|10|12|15|20|30))?"
DESCRIBED = re.compile(
    rf"({_EVERY} \* \*"  # second, minute, hour
    rf"|\d+ {_EVERY} (\*|\d+|\d+-\d+)"
    rf"|\d+ {_LIST} (\*(/(1|2|3|4|6|8|12))?|{_LIST}))"
    rf" ((\*|l|[\d,-]+) (\*|{_LIST}) (\*|[^l#*/]+)"  # day, month, day of week
    rf"|\* (\*|{_LIST}) (l\d|\w+#\d))"
)
DESCRIBED_LENGTH = 70
CLOCK_24 = CronDescriptorOptions(use_24hour_time_format=True, locale_code="en_US")


@lru_cache(10_000)
def describe_cron(schedule: str) -> str:
    """A schedule in words, or as it is where they would be long or wrong; raises Invalid."""
    fields = parse_cron(schedule).fields
    text = " ".join(fields)
    if not DESCRIBED.fullmatch(text):
        return schedule
    text = re.sub(r"l(\d)$", r"\1L", text)  # the last Friday is L5 to croniter, 5L to the others
    description: str = get_description(text.upper(), CLOCK_24)
    words = description[0].lower() + description[1:].replace("only ", "")
    is_daily = fields[3:] == ("*", "*", "*") and "*" not in fields[1] + fields[2]
    if is_daily and words.startswith("at "):
        words = f"every day {words}"
    return words if len(words) <= DESCRIBED_LENGTH else schedule


WHOLE_UNITS = {60: "every minute", 3600: "every hour", 86_400: "every day", 604_800: "every week"}


def _span(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{round(seconds / unit, 1):g} {name}"
    return f"{seconds} s"


def interval_words(seconds: int) -> str:
    """An interval in words."""
    return WHOLE_UNITS.get(seconds, f"every {_span(seconds)}")


# == Records ==================================================================
# Pure: what the rules speak about, as rows of schema.sql. No clock, database, HTTP or log.
STATUSES = ("new", "up", "down", "paused")
# What a monitor does, in one word: each monitor is counted once. In the order of lists.
STATES = ("down", "late", "running", "up", "new", "paused")
REASONS = ("missed", "failed", "stuck")
RUN_STATES = ("running", "success", "failed", "stuck", "unknown")
PING_KINDS = ("start", "success", "fail", "ok", "progress", "log")
EVENT_KINDS = (
    "missed",
    "failed",
    "stuck",
    "reminder",
    "silent_failure",
    "outage",
    "delivery_failed",
    "recovered",
    "test",
)
CHANNELS = ("command", "email", "apprise", "webhook", "slack", "discord", "ntfy")


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
    unverified: int
    schedule_edited_at: int | None
    registered_by: int | None  # the API key of a program that has named it


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
    sign_of_life: int = 0
    matched: str | None = None


class Absence(NamedTuple):
    """When we were away, and no ping could arrive."""

    since: int
    until: int


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
    status: str | None = dataclasses.field(
        default=None, compare=False
    )  # the monitor's, as it was then
    due_at: int | None = dataclasses.field(
        default=None, compare=False
    )  # the occurrence that was missed


class Digest(NamedTuple):
    """What is collected of one kind until an instant, after so many events."""

    events: int
    until: int
    collected: int = 0
    run: int | None = None
    rules: list[Rule] | None = None


@dataclass(slots=True)
class MonitorState:
    """A monitor with the runs that matter, and the flips and events that the rules add."""

    monitor: Monitor
    runs: list[Run]
    failure_alert_seconds: int = 60
    absence: Absence | None = None  # our last one
    quiet_until: int = 0  # nothing changes by itself before that
    is_repeated: bool = dataclasses.field(default=False, compare=False)  # what the ping said
    flips: list[Flip] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)


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


def check_rules(rules: object) -> list[Rule]:
    """Rules in their stored form, at most 20, or `Invalid` with what is wrong with them."""
    if not isinstance(rules, list) or len(rules) > 20:
        raise Invalid("rules must be a list of at most 20")
    return [_check_rule(rule) for rule in rules]


def _check_rule(rule: object) -> Rule:
    fields = rule if isinstance(rule, dict) else {}
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


def rule_values(run: Run) -> dict[str, float]:
    """What the rules see of a run: its metrics, and its duration and exit code where known."""
    values: dict[str, float] = json.loads(run.metrics or "{}")
    if run.duration_ms is not None:
        values["duration_seconds"] = run.duration_ms / 1000
    if run.exit_code is not None:
        values["exit_code"] = run.exit_code
    return values


def matching_rules(m: Monitor, run: Run) -> list[Rule]:
    """The monitor's rules that a run's metrics, duration and exit code match."""
    if m.rules is None:
        return []
    values = rule_values(run)
    return [
        rule
        for rule in json.loads(m.rules)
        if rule["field"] in values
        and OPERATORS[rule["operator"]](values[rule["field"]], rule["value"])
    ]


# == Rules ====================================================================
# Pure: no clock, database, HTTP or log; `now` is always an argument, instants are milliseconds.
OUTCOMES = {"success": "success", "fail": "failed"}  # the kinds of ping that end a run
ENDED = ("success", "failed")
SCHEDULE_FIELDS = ("cron", "interval_seconds", "timezone", "expects")
EARLY_SECONDS = 300  # the most that a sign of life may come early: see early_ms
REPEAT_MS = 10_000  # a client that heard no answer says it again
SAME_FAILURE_MS = 600_000  # a script that fails in a loop fails once
RESTART_MS = 60_000  # no longer an absence is a restart; clients try again for as long
SOON_MS = 3_600_000  # an outage does not name who is expected within an hour of it
SMALL_STEP_MS = 3 * 3_600_000  # of a clock that goes back
SPACING_SECONDS = 3600  # between two failure events, at the most
GRACE_MAX_SECONDS = 86_400
YEAR_SECONDS = 31_536_000
MISSED_MAX = 1000


# -- deadlines
def next_occurrence(m: Monitor, after: int) -> int | None:
    """The first occurrence after an instant, for an interval the instant plus it."""
    if m.interval_seconds:
        return after + m.interval_seconds * 1000
    return next_run(m.cron, m.timezone, after) if m.cron else None


def occurrence_from(m: Monitor, occurrence: int, at: int) -> int:
    """The occurrence, or the first one after it that is not before an instant."""
    if occurrence >= at:
        return occurrence
    if m.interval_seconds:
        step = m.interval_seconds * 1000
        return occurrence + math.ceil((at - occurrence) / step) * step
    return next_run(m.cron or "", m.timezone, at - 1)


def early_ms(m: Monitor, occurrence: int) -> int:
    """How long before an occurrence a sign of life counts for it, in milliseconds.

    For an interval only where an absence is judged: a ping moves what is expected by itself.
    """
    limit = min(m.grace_seconds, EARLY_SECONDS) * 1000
    if m.interval_seconds:
        return min(limit, m.interval_seconds * 250)
    before = run_before(m.cron or "", m.timezone, occurrence, occurrence - 4 * limit)
    return limit if before is None else min(limit, (occurrence - before) // 4)


def deadline(m: Monitor) -> int | None:
    """When the awaited occurrence should have been met; an absence of ours may give more time."""
    return None if m.expected_at is None else _with_grace(m, m.expected_at)


def _with_grace(m: Monitor, occurrence: int) -> int:
    """An edit of the grace makes nobody late before it."""
    return max(occurrence + m.grace_seconds * 1000, m.grace_at or 0)


def _spared(state: MonitorState, at: int) -> int:
    """No deadline falls into an absence or the minute after it: it is the end of that minute."""
    absence = state.absence
    if absence is not None and absence.since <= at < absence.until + RESTART_MS:
        return absence.until + RESTART_MS
    return at


def met_until(state: MonitorState, occurrence: int) -> int:
    """The last instant at which an occurrence is still met."""
    return _spared(state, _with_grace(state.monitor, occurrence))


def run_deadline(state: MonitorState, run: Run) -> int | None:
    """The last instant at which an awaited run is not stuck yet."""
    if run.deadline_at is not None:
        return _spared(state, run.deadline_at)
    return None if run.next_at is None else met_until(state, run.next_at)


def first_unbroken(state: MonitorState, occurrence: int, at: int) -> int:
    """The occurrence, or the first one after it whose deadline has not passed."""
    if met_until(state, occurrence) >= at:
        return occurrence
    absence = state.absence
    if absence is not None and absence.since < at <= absence.until + RESTART_MS:
        at = absence.since  # all deadlines since then have been put off
    return occurrence_from(state.monitor, occurrence, at - state.monitor.grace_seconds * 1000)


def missed_by(state: MonitorState, at: int) -> int:
    """How many occurrences, from the awaited one on, had their deadline before an instant.

    One whose whole window lay in an absence of ours is not counted."""
    m, count = state.monitor, 0
    occurrence = m.expected_at
    while occurrence is not None and m.missed_count + count < MISSED_MAX:
        if met_until(state, occurrence) >= at:
            break
        if state.absence is not None and _lies_within(m, occurrence, state.absence):
            after = state.absence.until - m.grace_seconds * 1000 + 1
            occurrence = occurrence_from(m, occurrence, after)
            continue
        count += 1
        occurrence = next_occurrence(m, occurrence)
    return count


def _lies_within(m: Monitor, occurrence: int, absence: Absence) -> bool:
    """Whether the whole window of an occurrence lies in an absence."""
    closes = occurrence + m.grace_seconds * 1000
    return closes <= absence.until and absence.since <= occurrence - early_ms(m, occurrence)


def _count_missed(state: MonitorState, at: int) -> None:
    """What a monitor that is down has missed is counted, and not awaited any more."""
    m = state.monitor
    if m.status == "down" and m.expected_at is not None:
        m.missed_count += missed_by(state, at)
        m.expected_at = first_unbroken(state, m.expected_at, at)


def next_after_life(state: MonitorState, began: int) -> int | None:
    """The occurrence after the one that a sign of life which began then counts for."""
    m = state.monitor
    if not m.cron:
        return next_occurrence(m, began)
    soon = began + min(m.grace_seconds, EARLY_SECONDS) * 1000
    coming = next_run(m.cron, m.timezone, began)
    is_early = coming <= soon and coming - began <= early_ms(m, coming)
    if is_early and not _is_awaited_before(state, coming, began):
        return next_run(m.cron, m.timezone, coming)
    return coming


def _is_awaited_before(state: MonitorState, coming: int, at: int) -> bool:
    """Whether an occurrence before this one still waits for a sign of life."""
    m = state.monitor
    if m.expected_at is None or m.expected_at >= coming:
        return False
    return m.status != "down" or first_unbroken(state, m.expected_at, at) < coming


def _count_from(state: MonitorState, at: int, is_new: bool) -> None:
    """The first occurrence after an instant is expected; of a new monitor only if it is armed."""
    m = state.monitor
    is_counted = m.status != "paused" and (m.armed or not is_new)
    m.expected_at = next_occurrence(m, at) if is_counted else None


def arm(state: MonitorState, at: int) -> None:
    """A monitor that is made with `armed` expects the first occurrence after that."""
    _count_from(state, at, is_new=True)


# -- what changes by itself: when the next such change is, and what it does
class Change(NamedTuple):
    """A change that comes by itself: when, and what it does to the monitor."""

    at: int
    happen: Callable[[MonitorState, int], None]


class ChangeKind(NamedTuple):
    """A kind of change: when the next one is, if any, asked at `now`, and what it does."""

    when: Callable[[MonitorState, int], int | None]
    happen: Callable[[MonitorState, int], None]


def _pause_ends_at(state: MonitorState, now: int) -> int | None:
    return state.monitor.pause_until


def _end_pause(state: MonitorState, at: int) -> None:
    m = state.monitor
    status, reason = m.resume_status or "up", m.down_reason
    if status != "down" and m.failures > m.failure_tolerance:
        status, reason = "down", "failed"
    _stop_pause(state, status, at, reason if status == "down" else None)
    _count_from(state, at, is_new=status == "new")
    if status == "down" and reason == "failed":
        m.failed_count = 1
        emit_or_collect(state, "failed", at)
    elif status == "down":
        emit(state, reason or "", at)


def _awaited(state: MonitorState) -> list[tuple[int, Run]]:
    """The open runs that have a deadline, with it."""
    return [
        (ends_at, run)
        for run in state.runs
        if run.state == "running"
        and run.awaited
        and (ends_at := run_deadline(state, run)) is not None
    ]


def _stuck_at(state: MonitorState, now: int) -> int | None:
    return min((ends_at + 1 for ends_at, _ in _awaited(state)), default=None)


def _get_stuck(state: MonitorState, at: int) -> None:
    run = next(run for ends_at, run in _awaited(state) if ends_at == at - 1)
    run.state = "stuck"
    if state.monitor.status != "down":
        flip(state, "down", at - 1, "stuck")
        emit(state, "stuck", at - 1, run=run.num)


def _holds(state: MonitorState) -> list[int]:
    """Until when awaited runs that began after the last sign of life hold `missed` back."""
    m = state.monitor
    if m.expects != "complete":
        return []
    return [
        ends_at
        for ends_at, run in _awaited(state)
        if m.life_at is None or run.started_at > m.life_at
    ]


def _missed_at(state: MonitorState, now: int) -> int | None:
    m = state.monitor
    if m.expected_at is None or m.status == "down":
        return None
    return max([met_until(state, m.expected_at), *_holds(state)]) + 1


def _miss(state: MonitorState, at: int) -> None:
    """Dated at the schedule's deadline, also where a run held it back."""
    missed_at = met_until(state, state.monitor.expected_at or at)
    flip(state, "down", missed_at, "missed")
    emit(state, "missed", missed_at, due_at=state.monitor.expected_at)


def _digest_at(state: MonitorState, now: int) -> int | None:
    collecting = digests(state.monitor).values()
    return min((digest.until for digest in collecting if digest.collected), default=None)


def _emit_digest(state: MonitorState, at: int) -> None:
    kind, digest = next(
        (kind, digest)
        for kind, digest in sorted(digests(state.monitor).items())  # failures first
        if digest.collected and digest.until == at
    )
    emit(state, kind, at, run=digest.run, count=digest.collected, rules=digest.rules)
    _space(state, kind, at, digest.events + 1)


def _reminder_at(state: MonitorState, now: int) -> int | None:
    """Of several that are due now, the last."""
    m = state.monitor
    if m.status != "down" or not m.reminder_interval_seconds or m.down_since is None:
        return None
    step = m.reminder_interval_seconds * 1000
    last = max(now - step, m.reminded_at or 0, m.down_since)
    return m.down_since + ((last - m.down_since) // step + 1) * step


def _remind(state: MonitorState, at: int) -> None:
    state.monitor.reminded_at = at
    emit(state, "reminder", at)


PAUSE_END = ChangeKind(_pause_ends_at, _end_pause)
STUCK = ChangeKind(_stuck_at, _get_stuck)
MISSED = ChangeKind(_missed_at, _miss)
DIGEST = ChangeKind(_digest_at, _emit_digest)
REMINDER = ChangeKind(_reminder_at, _remind)
CHANGE_KINDS = (PAUSE_END, STUCK, MISSED, DIGEST, REMINDER)  # at one instant in this order


def next_change(
    state: MonitorState, now: int, kinds: Sequence[ChangeKind] = CHANGE_KINDS
) -> Change | None:
    """What next changes by itself; in a pause nothing does but its end."""
    if state.monitor.status == "paused":
        kinds = (PAUSE_END,)
    changes = [
        Change(at, kind.happen) for kind in kinds if (at := kind.when(state, now)) is not None
    ]
    return min(changes, key=lambda change: change.at, default=None)


def settle(state: MonitorState, now: int, kinds: Sequence[ChangeKind] = CHANGE_KINDS) -> None:
    """Let everything happen that fell due up to an instant, in the order of the true times."""
    if now < state.quiet_until:
        return
    while (change := next_change(state, now, kinds)) is not None and change.at <= now:
        change.happen(state, change.at)


def flip(state: MonitorState, status: str, at: int, reason: str | None = None) -> None:
    """Change the status; a pause remembers the one before and why the monitor was down."""
    m = state.monitor
    state.flips.append(Flip(at, status, reason))
    m.resume_status = m.status if status == "paused" else None
    m.status = status
    if status == "down":
        m.down_reason, m.down_since, m.reminded_at = reason, at, at
        m.failed_count = m.missed_count = 0
    elif status != "paused":
        m.down_reason = m.down_since = m.reminded_at = None


def emit(state: MonitorState, kind: str, at: int, **more: Any) -> None:
    """Add an event; all but a silent failure say why the monitor is down, and since when."""
    m = state.monitor
    if kind != "silent_failure":
        more |= {"reason": m.down_reason, "down_since": m.down_since}
    state.events.append(Event(kind, at, **{"status": m.status, **more}))


def spacing_ms(state: MonitorState, count: int) -> int:
    """How long events are collected after so many were told: doubled by each, up to an hour."""
    longest = max(SPACING_SECONDS, state.failure_alert_seconds)
    doublings = min(count - 1, 20)
    return min(state.failure_alert_seconds * (1 << doublings), longest) * 1000


def emit_or_collect(
    state: MonitorState,
    kind: str,
    at: int,
    run: int | None = None,
    rules: list[Rule] | None = None,
) -> None:
    """Tell at once what was quiet for long enough, else collect it for the next digest."""
    digest = digests(state.monitor).get(kind, Digest(0, at))
    if at < digest.until:
        collected = digest.collected + 1
        _set_digest(state, kind, digest._replace(collected=collected, run=run, rules=rules))
    else:
        emit(state, kind, at, run=run, rules=rules)
        _space(state, kind, at, digest.events + 1)


def _space(state: MonitorState, kind: str, at: int, count: int) -> None:
    """After the event that was told at an instant, further ones are collected."""
    _set_digest(state, kind, Digest(count, at + spacing_ms(state, count)))


def _set_digest(state: MonitorState, kind: str, digest: Digest | None) -> None:
    collecting = {**digests(state.monitor), kind: digest}
    collecting = {kind: digest for kind, digest in collecting.items() if digest is not None}
    state.monitor.digests = json.dumps(collecting) if collecting else None


# -- which run a ping belongs to
def newest(runs: Iterable[Run]) -> Run | None:
    """The one that began last; of several the one that was told of last."""
    return max(runs, key=lambda run: (run.started_at, run.num), default=None)


def find_run(state: MonitorState, ping: Ping) -> Run | None:
    """The run of the ping's series, be it over or not; without one the newest of its host that can
    take it.

    Of a monitor's runs the state has those that can matter: see OPEN_RUNS and what follows it.
    """
    if ping.series is not None:
        of_series = (run for run in state.runs if run.series == ping.series)
        return max(of_series, key=lambda run: run.num, default=None)  # the last that arrived
    of_host = [run for run in state.runs if run.host == ping.host]
    running = newest(run for run in of_host if run.series is None and run.state == "running")
    if running is not None or ping.kind not in OUTCOMES:
        return running
    last = newest(run for run in of_host if run.series is None or run.state in ENDED)
    return last if last is not None and last.state not in ENDED else None


def find_repeated(state: MonitorState, ping: Ping) -> Run | None:
    """The run of which a client says again what is known of it."""
    if ping.kind == "start":
        return _find_same_start(state, ping)
    run = find_run(state, ping) if ping.series is not None else None
    if run is None or run.ended_at is None or run.state != OUTCOMES.get(ping.kind):
        return None
    limit = SAME_FAILURE_MS if ping.kind == "fail" else REPEAT_MS
    return run if ping.at - run.ended_at <= limit else None


def _find_same_start(state: MonitorState, ping: Ping) -> Run | None:
    if ping.series is None:
        return newest(
            run
            for run in state.runs
            if run.state == "running"
            and run.opened
            and (run.series, run.host, run.address) == (None, ping.host, ping.address)
            and ping.at - run.started_at <= REPEAT_MS
        )
    run = find_run(state, ping)
    if run is None:
        return None
    if run.opened:
        is_same = run.state == "running" or ping.at - run.started_at <= REPEAT_MS
    else:  # Cronitor's command line does not wait for its first request: the end overtakes it
        is_same = run.ended_at is not None and ping.at - run.ended_at <= REPEAT_MS
    return run if is_same else None


def is_too_soon(state: MonitorState, ping: Ping) -> int | None:
    """Seconds to wait where the owner's minimum interval is broken; the end of a run never does,
    nor what fails."""
    m = state.monitor
    if not m.min_ping_interval_seconds or ping.kind not in ("start", "success"):
        return None
    run = find_run(state, ping)
    ends_run = ping.kind != "start" and run is not None and run.state not in ENDED
    if ends_run or find_repeated(state, ping) is not None:
        return None
    wait_ms = (m.limited_at or 0) + m.min_ping_interval_seconds * 1000 - ping.at
    if wait_ms > 0:
        return math.ceil(wait_ms / 1000)
    m.limited_at = ping.at
    return None


# -- what a ping does
def receive(state: MonitorState, ping: Ping) -> Run | None:
    """Settle, then let a ping do what its kind does; the run that it belongs to."""
    settle(state, ping.at)
    repeated = find_repeated(state, ping)
    if repeated is not None:
        state.is_repeated = True
        _repeat(state, ping, repeated)
        return repeated
    run = find_run(state, ping)
    if ping.kind == "log":
        return run
    if run is not None and run.state in ENDED:
        run = None  # that one is over, this is another
    return RECEIVE[ping.kind](state, ping, run)


def _repeat(state: MonitorState, ping: Ping, run: Run) -> None:
    """A retry changes nothing; but a job that goes on failing is alive."""
    if run.sign_of_life and ping.kind == "fail" and ping.at - (run.ended_at or 0) > REPEAT_MS:
        began = run.started_at if run.opened else ping.at
        _take_sign_of_life(state, began, ping.at, run if run.opened else None)


def _open_run(state: MonitorState, ping: Ping, began: int) -> Run:
    run = Run(
        num=ping.num,
        monitor=state.monitor.num,
        state="running",
        started_at=began,
        series=ping.series,
        host=ping.host,
        address=ping.address,
        message=ping.message,
    )
    state.runs.append(run)
    return run


def _start(state: MonitorState, ping: Ping, run: Run | None) -> Run:
    m = state.monitor
    is_awaited = m.max_run_seconds is not None or _was_ended_lately(state)
    if run is None or not _is_ahead_of_start(run, ping):
        run = _open_run(state, ping, ping.at)
    run.started_at = ping.at
    run.opened = 1
    run.awaited = int(is_awaited)
    run.next_at = next_after_life(state, ping.at)
    if m.max_run_seconds is not None:
        run.deadline_at = ping.at + m.max_run_seconds * 1000
    if not is_awaited:
        _abandon_before(state, run)
    if m.expects == "run":
        _take_sign_of_life(state, ping.at, ping.at, run)
        if m.status == "down" and m.down_reason == "missed" and not m.failed_count:
            _recover(state, ping.at, run)
    return run


def _is_ahead_of_start(run: Run, ping: Ping) -> bool:
    """Whether progress has opened the run that this starts: what is sent at once may arrive so."""
    if run.state != "running" or run.opened:
        return False
    return ping.series is not None or ping.at - run.started_at <= REPEAT_MS


def _was_ended_lately(state: MonitorState) -> bool:
    """Whether one of the last three runs that a start had opened was ended."""
    opened = sorted(
        (run for run in state.runs if run.opened), key=lambda run: (run.started_at, run.num)
    )
    return any(run.ended_at is not None for run in opened[-3:])


def _abandon_before(state: MonitorState, newer: Run, has_deadline: bool = False) -> None:
    """Open runs of the same host that began before are over, nobody knows how; those that are
    awaited only where they have no deadline of their own."""
    for run in state.runs:
        is_older = (run.started_at, run.num) < (newer.started_at, newer.num)
        is_waited_for = has_deadline and run.awaited
        if run.state == "running" and run.host == newer.host and is_older and not is_waited_for:
            run.state = "unknown"


def _take_sign_of_life(state: MonitorState, began: int, at: int, run: Run | None = None) -> None:
    """A sign of life at an instant, of what began at its own time, moves what is expected."""
    m = state.monitor
    following = _after_run(state, began, run)
    is_latest = m.life_at is None or began >= m.life_at
    if is_latest:
        m.life_at = began
    m.unverified = 0
    if m.status == "paused":
        if m.resume_status == "new":
            m.resume_status = "up"
        return
    if m.status == "down":
        m.missed_count += missed_by(state, at)
    if not is_latest and m.expected_at is None:  # as after Cronping's resume: from its arrival
        began = at
        following = next_after_life(state, at)
        is_latest = True
    if is_latest and following is not None and following >= (m.expected_at or 0):
        m.expected_at = following
    if m.expected_at is not None:
        m.expected_at = first_unbroken(state, m.expected_at, at)
    if m.status == "new":
        flip(state, "up", at)


def _after_run(state: MonitorState, began: int, run: Run | None) -> int | None:
    """What its start counted for, unless the schedule was another one then."""
    edited_at = state.monitor.schedule_edited_at or 0
    if run is not None and run.next_at is not None and run.started_at >= edited_at:
        return run.next_at
    return next_after_life(state, began)


def _recover(state: MonitorState, at: int, run: Run) -> None:
    m = state.monitor
    emit(
        state,
        "recovered",
        at,
        run=run.num,
        status="up",
        failed_count=m.failed_count,
        missed_count=m.missed_count,
        downtime_ms=max(0, at - (m.down_since or at)),
    )
    m.digests = None
    flip(state, "up", at)


def _own_time(state: MonitorState, ping: Ping, run: Run | None) -> int:
    """When a run that ends began: its start, else what was reported where that is believed."""
    if run is not None and run.opened:
        return run.started_at
    life_at, reported = state.monitor.life_at, ping.at - (ping.duration_ms or 0)
    return reported if life_at is None or reported > life_at else ping.at


def _end(state: MonitorState, ping: Ping, run: Run | None) -> tuple[Run, int]:
    """Close the run, or make one that is already over; it, and its own time."""
    began = _own_time(state, ping, run)
    if run is None:
        run = _open_run(state, ping, began)
    run.started_at = min(run.started_at, began)
    run.state, run.ended_at, run.exit_code = OUTCOMES[ping.kind], ping.at, ping.exit_code
    run.duration_ms = ping.duration_ms
    if run.opened and run.duration_ms is None:
        run.duration_ms = run.ended_at - run.started_at
    run.message = ping.message or run.message
    run.metrics = ping.metrics or run.metrics
    return run, began


def _succeed(state: MonitorState, ping: Ping, run: Run | None) -> Run:
    m = state.monitor
    run, began = _end(state, ping, run)
    m.failures = 0
    _abandon_before(state, run, has_deadline=m.max_run_seconds is not None)
    _take_sign_of_life(state, began, ping.at, run)
    if m.status == "paused":
        m.resume_status = "up"
        return run
    if m.status == "down":
        _recover(state, ping.at, run)
    if matched := matching_rules(m, run):
        run.matched = json.dumps(matched)
        emit_or_collect(state, "silent_failure", ping.at, run.num, matched)
    else:
        _set_digest(state, "silent_failure", None)
    return run


def _fail(state: MonitorState, ping: Ping, run: Run | None) -> Run:
    m = state.monitor
    run, began = _end(state, ping, run)
    m.failures += 1
    is_tolerated = m.failures <= m.failure_tolerance
    if not is_tolerated and m.status not in ("down", "paused"):
        flip(state, "down", ping.at, "failed")
    m.failed_count += 1
    if m.expects == "run" or is_tolerated:
        run.sign_of_life = 1
        _take_sign_of_life(state, began, ping.at, run)
    if not is_tolerated and m.status == "down":
        emit_or_collect(state, "failed", ping.at, run.num)
    return run


def _ok(state: MonitorState, ping: Ping, _: Run | None) -> None:
    m = state.monitor
    m.failures, m.digests = 0, None
    _take_sign_of_life(state, ping.at, ping.at)
    if m.status == "paused":
        m.resume_status = "up"
    elif m.status == "down":
        flip(state, "up", ping.at)


def _progress(state: MonitorState, ping: Ping, run: Run | None) -> Run:
    if run is None:
        run = _open_run(state, ping, ping.at)
    run.message = ping.message or run.message
    return run


RECEIVE: dict[str, Callable[[MonitorState, Ping, Run | None], Run | None]] = {
    "start": _start,
    "success": _succeed,
    "fail": _fail,
    "ok": _ok,
    "progress": _progress,
}


# -- what a person does
def pause(state: MonitorState, now: int, until: int | None) -> None:
    """No deadline and no event until an instant, or until resumed."""
    settle(state, now)
    m = state.monitor
    if m.status != "paused":
        flip(state, "paused", now)
        m.digests = m.expected_at = None
    m.pause_until = until


def _stop_pause(state: MonitorState, status: str, at: int, reason: str | None = None) -> None:
    """A run that is open when a pause ends is not awaited any more."""
    state.monitor.pause_until = None
    for run in state.runs:
        if run.state == "running":
            run.awaited = 0
    flip(state, status, at, reason)


def resume(state: MonitorState, now: int, to_new: bool = False) -> None:
    """End a pause by hand, as an ok without an event or, as Cronping does, as new."""
    settle(state, now)
    m = state.monitor
    if m.status != "paused":
        return
    was_new, m.failures = m.resume_status == "new", 0
    _stop_pause(state, "new" if to_new else "up", now)
    m.expected_at = None
    if not to_new:
        _ok(state, Ping("ok", now), None)
    elif was_new:
        _count_from(state, now, is_new=True)


def edit(state: MonitorState, now: int, changes: Mapping[str, Any]) -> None:
    """Change columns; a changed schedule counts anew, a changed grace makes nobody late before."""
    settle(state, now)
    m = state.monitor
    changed = {name for name, value in changes.items() if getattr(m, name) != value}
    moves = not changed.isdisjoint(SCHEDULE_FIELDS)
    if moves or "grace_seconds" in changed:
        _count_missed(state, now)  # by the terms that they were missed under
    if moves:
        for run in state.runs:  # what it counts for is gone, its deadline stays
            run.deadline_at = run_deadline(state, run)
            run.next_at = None
    for name in changed:
        setattr(m, name, changes[name])
    if "grace_seconds" in changed:
        m.grace_at = now
    if moves:
        m.schedule_edited_at = now
        if m.status != "new" or m.armed:
            _count_from(state, now, is_new=m.status == "new")


# -- what happens to the server
def judge_gap(state: MonitorState, since: int, until: int) -> bool:
    """What cannot be verified since we were away is not missed; whether the outage names it."""
    settle(state, since)
    settle(state, until, (PAUSE_END, DIGEST))
    m = state.monitor
    unverified = _skip_unverified(state, Absence(since, until))
    lost = []
    if until - since > RESTART_MS:
        lost = [run for run in state.runs if run.state == "running"]
    for run in lost:
        run.state = "unknown"
    if m.reminded_at is not None:
        m.reminded_at = max(m.reminded_at, until)
    state.absence = join_absences(state.absence, Absence(since, until))
    if m.status in ("down", "paused") or not (lost or unverified):
        return False
    return m.expected_at is None or m.expected_at > until + SOON_MS


def join_absences(earlier: Absence | None, later: Absence) -> Absence:
    """One absence of two where there was no minute between them: what that spares stays spared."""
    if earlier is not None and later.since <= earlier.until + RESTART_MS:
        return Absence(earlier.since, max(earlier.until, later.until))
    return later


def _skip_unverified(state: MonitorState, absence: Absence) -> bool:
    """Skip an occurrence whose window meets an absence, as if a sign of life had come at its end.

    Never twice in a row, unless the whole window lies in it: a job that is dead must not be
    excused by each restart. In a short one a run that holds `missed` back goes on doing so."""
    m = state.monitor
    if m.expected_at is None:
        return False
    is_down = m.status == "down"
    awaited = first_unbroken(state, m.expected_at, absence.since) if is_down else m.expected_at
    is_touched = awaited - early_ms(m, awaited) <= absence.until
    last = state.absence  # this one takes its place: what lay in it must be counted before
    is_in_last = last is not None and _lies_within(m, m.expected_at, last)
    if is_down and (is_touched or is_in_last or m.unverified):
        at = absence.since
        if m.down_reason != "failed":  # the deadline that it broke counts, if later than our stamp
            at = max(at, (m.down_since or 0) + 1)
        _count_missed(state, at)
        awaited = m.expected_at
    if awaited - early_ms(m, awaited) > absence.until:
        return False  # its window opens after the absence
    if not is_down and absence.until - absence.since <= RESTART_MS and _holds(state):
        return False  # what holds it back may still end
    if m.unverified and not _lies_within(m, awaited, absence):
        return False  # one was skipped already since the last sign of life: this one has to be met
    m.expected_at = None  # or it would be taken for awaited before what follows
    m.expected_at = max(awaited, next_after_life(state, absence.until) or 0)
    m.unverified = 1
    return True


INSTANTS = (
    "created_at",
    "updated_at",
    "life_at",
    "grace_at",
    "schedule_edited_at",
    "down_since",
    "reminded_at",
    "limited_at",
    "last_ping_at",
)


def turn_back(state: MonitorState, before: int, now: int) -> None:
    """A clock went back from an instant: nothing lies later than it would be counted from now."""
    m = state.monitor
    _count_missed(state, before)
    for name in INSTANTS:
        at = getattr(m, name)
        if at is not None:
            setattr(m, name, min(at, now))
    for run in state.runs:
        run.started_at = min(run.started_at, now)
        if run.ended_at is not None:
            run.ended_at = min(run.ended_at, now)
        if run.deadline_at is not None and m.max_run_seconds is not None:
            run.deadline_at = min(run.deadline_at, now + m.max_run_seconds * 1000)
    if m.cron is None or before - now >= SMALL_STEP_MS:
        _turn_schedule_back(state, now)
    if state.absence is not None:
        state.absence = Absence(min(state.absence.since, now), min(state.absence.until, now))
    state.absence = join_absences(state.absence, Absence(now, now))
    for kind, digest in digests(m).items():
        until = min(digest.until, now + spacing_ms(state, digest.events))
        _set_digest(state, kind, digest._replace(until=until))


def _turn_schedule_back(state: MonitorState, now: int) -> None:
    """What is expected, and what a run counts for: at most as after a sign of life now."""
    m = state.monitor
    expected_at, m.expected_at = m.expected_at, None
    following = next_after_life(state, now)
    if following is None:
        return
    if expected_at is not None:
        m.expected_at = min(expected_at, following)
    for run in state.runs:
        if run.next_at is not None:
            run.next_at = min(run.next_at, following)
        if run.deadline_at is not None and m.max_run_seconds is None:
            run.deadline_at = min(run.deadline_at, met_until(state, following))


# == Dialects =================================================================
# Pure: how each service words a ping, a reply and an error. No database, clock, HTTP or log.
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LONGEST_MS = 10 * 366 * 86_400_000  # no job reports a longer run
JSON_MAX = 1_048_576  # bytes
METRICS_MAX = 50


def clean(text: Any, limit: int, lines: bool = False) -> str | None:
    """Text that is safe to store and tell: valid UTF-8, no controls, bounded; None when empty."""
    if text is None or isinstance(text, (dict, list)):
        return None
    safe = str(text)[: 4 * limit].encode("utf-8", "replace").decode()
    safe = CONTROLS.sub("", safe) if lines else LINE_BREAKS.sub(" ", safe)
    return safe[:limit].strip() or None


def number(value: Any) -> float | None:
    """A finite number under 2^53, else None."""
    try:
        figure = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return figure if abs(figure) < 2**53 else None


def whole(value: Any) -> int | None:
    """A number that `number` accepts, without its fraction."""
    figure = number(value)
    return None if figure is None else int(figure)


def milliseconds(value: Any, unit: int = 1000) -> int | None:
    """A believable duration in milliseconds, from seconds; None where it is none."""
    figure = number(value)
    return round(figure * unit) if figure is not None and 0 <= figure * unit < LONGEST_MS else None


def parse_json(body: bytes) -> Any:
    """The JSON of a body; raises `Invalid` where it is none, too large or too deep."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace")) if len(body) <= JSON_MAX else None
    except (ValueError, RecursionError):
        raise Invalid("body must be JSON") from None


def numbers(value: Any, path: str = "", depth: int = 4) -> dict[str, float]:
    """The numbers in a JSON object by their dotted path; all else is dropped."""
    figures: dict[str, float] = {}
    for name, item in value.items() if isinstance(value, dict) and depth else ():
        where = clean(f"{path}{name}", 50) or "_"
        if isinstance(item, dict):
            figures.update(numbers(item, f"{where}.", depth - 1))
        elif (figure := number(item)) is not None:
            figures[where] = int(figure) if figure.is_integer() else figure
    return dict(list(figures.items())[:METRICS_MAX])


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at: int | None, unit: str = "milliseconds") -> str | None:
    """An instant as ISO 8601 in UTC with `Z`."""
    if at is None:
        return None
    when = EPOCH + timedelta(milliseconds=at)
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
        "manifest.json",
        "metrics",
        "p",
        "ping",
        "robots.txt",
        "start",
        "static",
        "status",
        "v2",
        "b",
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
    if not parts or parts[0] not in RESERVED:
        return Route("root", parts) if parts else None
    for prefix, family, bare in ROUTES:
        rest = parts[len(prefix) :]
        if tuple(parts[: len(prefix)]) == prefix and rest:
            return Route(family, rest, bare)
    if len(parts) >= 5 and CHECK_IN_PATH.fullmatch("/".join(parts[:3])):
        return Route("sentry", parts[3:])
    return None


ROUTES = (
    (("api", "v1", "ping"), "crontify", None),
    (("api", "push"), "kuma", "success"),
    (("api", "v1", "heartbeat"), "betterstack", None),
    (("p",), "cronitor", "success"),
    (("ping",), "ping", None),
    (("start",), "healthchecks", "start"),  # Cronhub's, in the words of borgmatic 1.9
    (("finish",), "healthchecks", "success"),
    (("fail",), "healthchecks", "fail"),
)
CHECK_IN_PATH = re.compile(r"api/[0-9]+/cron")  # then the slug, the key, and perhaps a word
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


class Word(NamedTuple):
    """What a path says: the kind of a ping, or `pause`, and the number behind it, which is an exit
    code, a percentage or hours."""

    kind: str
    figure: int | None = None


def read_verb(words: Sequence[str], refusal: str = NO_WORD) -> Word:
    """What the words of a path say; raises `Invalid` for others."""
    word = "/".join(words).lower()
    if word in VERBS:
        return Word(VERBS[word])
    for pattern, kind, largest in NUMBERED:
        match = pattern.fullmatch(word)
        if match and match[1].isascii() and int(match[1]) <= largest:
            value = int(match[1])
            return Word(kind if kind != "exit" else "fail" if value else "success", value)
    raise Invalid(refusal.format(clean(word, 60)), "INVALID_URL")


def read_word(dialect: Dialect, bare: str, words: Sequence[str], query: Mapping[str, str]) -> Word:
    """What a ping says: by its path, else by the dialect's parameter. Raises `Invalid` for a word
    that is none."""
    if words:
        return read_verb(words, dialect.no_word)
    word = query.get(dialect.state, "") if dialect.state else ""
    return Word(dialect.states(word) if word else bare)


def read_ping(
    dialect: Dialect,
    word: Word,
    is_worded: bool,
    query: Mapping[str, str],
    metrics: Iterable[str],
    body: bytes,
) -> Ping:
    """The ping that a request stands for, with nothing in it that is not safe to store.
    Raises `Invalid` for the body of a progress that is not JSON."""
    kind, figure = word
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
    lasted = measured.get("duration") if is_worded else None
    figures = {**numbers(measured), **numbers(content.get("meta"))}
    exit_code = (
        query.get(dialect.exit_code, figures.get("exit_code")) if kind in OUTCOMES else None
    )
    series = query.get("series") or query.get("rid") or query.get("runId")
    if "rid" in query and not TOKEN.fullmatch(series or ""):
        series = None
    texts = (
        query.get("message"),
        query.get("msg"),
        query.get("m"),
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
        exit_code=figure if kind in OUTCOMES and figure is not None else whole(exit_code),
        metrics=json.dumps(figures) if figures else None,
        log=clean(content.get("logOutput") or content.get("log"), dialect.log_max, lines=True),
    )


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
    output = body.decode("utf-8-sig", "replace")
    content = _json_body(body, "") if output.startswith("{") else {}
    return {"logOutput": output, "meta": content}


class PingResult(NamedTuple):
    """What became of a ping, for the wording of its reply."""

    ping: Ping
    monitor: Monitor
    run: Run | None
    name: str  # the handle or key in the path
    word: str  # how the path said it; empty in the bare form
    created: bool = False
    took_ms: float = 0.0
    is_dropped: bool = False

    @property
    def deadline_at(self) -> int | None:
        """When the next ping is missed."""
        return deadline(self.monitor) if self.monitor.status == "up" else None


class Dialect(NamedTuple):
    """One service: what differs from the others."""

    name: str
    reply: Callable[[PingResult], dict[str, Any] | str]
    error: Callable[[Refused], dict[str, Any] | str]
    unknown: str  # what it says of a monitor that is not there
    no_word: str = NO_WORD
    bare: str = "success"  # what the form without a word means
    read_body: Callable[[bytes, str], Mapping[str, Any]] = lambda body, kind: {}
    message_max: int = 1000
    log_max: int = 10_000
    needs_key: bool = False  # an API key in a header, even with a known handle
    wants_key: str = "API key authentication is required"
    exit_code: str = "status_code"  # the query parameter with it
    wants_key_status: int = 401
    auth: str = ""  # the query parameter with an API key, where pings must be authenticated
    # The columns that a ping declares, given what was declared last; or `Invalid`.
    declares: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None
    status: int = 200
    says_created: bool = False  # by status 201
    ends_newest: bool = False  # an end without a series is of the newest run, whatever its series
    retry_after: bool = False  # whether a client may be told to wait inside the user's job
    forbidden: int = 403  # the status for a key that may too little
    creates: Callable[[Mapping[str, str]], dict[str, Any] | None] = lambda query: None
    state: str = ""  # the query parameter that carries the word
    states: Callable[[str], str] = lambda word: VERBS.get(word.lower(), "log")
    headers: Mapping[str, str] = {}


def _reply_cronbeats(r: PingResult) -> dict[str, Any]:
    kind = r.ping.kind
    action = kind if kind in ("start", "progress") else "end" if r.word else "ping"
    return {
        "status": "success",
        "message": "OK",
        "action": action,
        "job_key": r.name,
        "timestamp": _plain_time(r.ping.at),
        "processing_time_ms": round(r.took_ms, 2),
        "next_expected": _plain_time(r.deadline_at and r.monitor.expected_at),
    }


def _plain_time(at: int | None) -> str | None:
    return None if at is None else (iso(at, "seconds") or "").replace("T", " ")[:19]


def _reply_cronradar(r: PingResult) -> dict[str, Any]:
    at, key, ping = iso(r.ping.at, "seconds"), r.monitor.key, r.ping
    if ping.kind == "start":
        return {"status": "started", "monitor": key, "startedAt": at}
    if ping.kind == "fail":
        return {"status": "failed", "monitor": key, "failedAt": at, "message": ping.message}
    if r.word:
        seconds = None if ping.duration_ms is None else ping.duration_ms // 1000
        return {"status": "completed", "monitor": key, "completedAt": at, "duration": seconds}
    return {"status": "ok", "monitor": key, "pingedAt": at}


def _reply_crontify(r: PingResult) -> dict[str, Any]:
    return {
        "success": True,
        "data": {
            "received": True,
            "monitorId": r.name,
            "runId": str(r.run.num) if r.run else "",
            "status": r.run and r.run.state,
            "timestamp": iso(r.ping.at),
        },
    }


def _reply_cronping(r: PingResult) -> dict[str, Any]:
    if r.ping.kind in ("start", "log"):
        return {"ok": True, "status": "started" if r.ping.kind == "start" else "logged"}
    reply: dict[str, Any] = {
        "ok": True,
        "status": r.monitor.status,
        "nextExpectedAt": iso(r.deadline_at),
    }
    if r.ping.duration_ms is not None:
        reply["durationMs"] = r.ping.duration_ms
    return reply


def _reply_cronitor(r: PingResult) -> str:
    if r.ping.kind != "pause":
        return "OK"
    state = "paused" if r.monitor.status == "paused" else "monitored again"
    return (
        f'<!doctype html><html lang="en"><title>cronwatch</title>'
        f"<p>{html.escape(r.monitor.key)} is {state}.</p></html>"
    )


def read_schedule(text: Any, before: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The columns of a declared cron expression; `Invalid` in CronRadar's words.

    What was declared before goes on unread: an older version took ranges that wrap.
    """
    schedule = clean(text, 501) or ""
    try:
        if schedule != before.get("cron"):
            check_schedule(schedule)
    except Invalid as error:
        raise Invalid(
            f"Invalid cron expression: '{schedule}' ({error.sentence})", "INVALID_SCHEDULE"
        ) from None
    return {"cron": schedule, "interval_seconds": None}


def read_declared(query: Mapping[str, Any]) -> dict[str, Any]:
    """What a CronRadar ping or sync declares of a monitor beside its schedule."""
    grace, name = whole(query.get("gracePeriod")), clean(query.get("name"), 200)
    declared: dict[str, Any] = {} if name is None else {"name": name}
    if grace is not None:
        declared["grace_seconds"] = max(0, min(grace, GRACE_MAX_SECONDS))
    return declared


def _declare_cronradar(query: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    schedule = query.get("schedule")
    return {**(read_schedule(schedule, before) if schedule else {}), **read_declared(query)}


def _create_cronradar(query: Mapping[str, str]) -> dict[str, Any] | None:
    if not query.get("schedule"):
        return None
    return {"grace_seconds": 60, **_declare_cronradar(query, {})}


def _create_healthchecks(query: Mapping[str, str]) -> dict[str, Any] | None:
    """Healthchecks' own defaults: a day, and an hour of grace."""
    is_asked = query.get("create") == "1"
    return {"interval_seconds": 86_400, "grace_seconds": 3600} if is_asked else None


# -- Sentry: check-ins, by themselves or in envelopes

NOT_PACKED = "the body is not what its Content-Encoding says"
CHECK_INS_MAX = 100  # of an envelope
CHECK_IN_STATUSES = {"in_progress": "start", "ok": "success", "error": "fail"}
INTERVAL_UNITS = {  # in seconds, the longest that there are: nobody is told too early
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 604_800,
    "month": 31 * 86_400,
    "year": 366 * 86_400,
}


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before it was packed; no more than the limit of it is ever unpacked.

    Raises `Refused` 413 from the limit on, and `Invalid` for what is broken.
    """
    if encoding and len(body) < limit:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # with the header of gzip or zlib
        try:
            body = unpacker.decompress(body, limit)
        except zlib.error:
            raise Invalid(NOT_PACKED) from None
        if len(body) < limit and (unpacker.unused_data or not unpacker.eof):
            raise Invalid(NOT_PACKED)
    if len(body) >= limit:
        raise Refused(f"an envelope must be smaller than {limit} bytes", status=413)
    return body


def read_envelope(body: bytes) -> tuple[str | None, list[dict[str, Any]]]:
    """The id of a Sentry envelope, and the check-ins in it; all other items are dropped.

    A header, then items, each with a header of its own; all is JSON, a line each, but an item with
    a length. Raises `Invalid`.
    """
    line, at = _line_at(body, 0)
    header = _json_object(line)
    check_ins = []
    while at < len(body):
        line, at = _line_at(body, at)
        if not line.strip():
            continue
        item = _json_object(line)
        content, at = _content_at(body, at, item.get("length"))
        if item.get("type") == "check_in":
            check_ins.append(_json_object(content))
    if len(check_ins) > CHECK_INS_MAX:
        raise Invalid(f"an envelope must have at most {CHECK_INS_MAX} check-ins")
    return clean(header.get("event_id"), 36), check_ins


def _line_at(body: bytes, at: int) -> tuple[bytes, int]:
    """The line that begins there, and where the next one does."""
    end = body.find(b"\n", at)
    end = len(body) if end < 0 else end
    return body[at:end], end + 1


def _content_at(body: bytes, at: int, length: Any) -> tuple[bytes, int]:
    if length is None:
        return _line_at(body, at)
    if not isinstance(length, int) or not 0 <= length <= len(body) - at:
        raise Invalid("the length of an item is not that of what follows it")
    return body[at : at + length], at + length


def _json_object(text: bytes) -> dict[str, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise Invalid("an envelope must be lines of JSON objects")
    return value


def read_check_in(slug: Any, content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The key of the monitor that a Sentry check-in is of, and what it says, in the words of
    pings. A monitor has a key for each environment."""
    environment = clean(content.get("environment"), 100)
    key = clean(slug, 200) or ""
    if environment not in (None, "production"):
        key += f"@{environment}"
    check_in_id = (clean(content.get("check_in_id"), 200) or "").replace("-", "").lower()
    return key, {
        "status": clean(content.get("status"), 20) or "none",  # which is refused, too
        "series": check_in_id if check_in_id.strip("0") else None,
        "env": environment,
        "duration": content.get("duration"),
        "monitor_config": content.get("monitor_config"),
    }


def _check_in_kind(status: str) -> str:
    if status not in CHECK_IN_STATUSES:
        raise Invalid("status must be in_progress, ok or error")
    return CHECK_IN_STATUSES[status]


def _declare_sentry(query: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a whole monitor_config: what it leaves out is as Sentry has it."""
    config = query.get("monitor_config")
    if not isinstance(config, dict):
        return {}
    timezone = clean(config.get("timezone"), 100) or "UTC"
    check_timezone(timezone)
    margin = _minutes(config.get("checkin_margin"), GRACE_MAX_SECONDS)
    threshold = whole(config.get("failure_issue_threshold")) or 1
    return {
        **_read_sentry_schedule(config.get("schedule"), before),
        "timezone": timezone,
        "grace_seconds": 60 if margin is None else margin,
        "max_run_seconds": _minutes(config.get("max_runtime"), YEAR_SECONDS) or None,
        "failure_tolerance": max(0, min(threshold - 1, 1000)),
    }


def _minutes(value: Any, most: int) -> int | None:
    """Minutes in seconds."""
    minutes = whole(value)
    return None if minutes is None else max(0, min(60 * minutes, most))


def _read_sentry_schedule(schedule: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    schedule = schedule if isinstance(schedule, dict) else {}
    value = schedule.get("value")
    if schedule.get("type") != "interval":
        if len(str(value).split()) > 5:
            raise Invalid(f"Invalid cron expression: '{clean(value, 501)}' (5 fields at most)")
        return read_schedule(value, before)
    count, unit = whole(value), INTERVAL_UNITS.get(str(schedule.get("unit")))
    if count is None or unit is None or not 0 < count * unit <= 315_360_000:
        units = ", ".join(INTERVAL_UNITS)
        raise Invalid(f"an interval must be a number of {units}: 10 years at most")
    return {"cron": None, "interval_seconds": count * unit}


NO_MONITOR = "Monitor '{}' not found. Provide schedule parameter for auto-registration."
DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "cronbeats",
            _reply_cronbeats,
            lambda refused: {"status": "error", "message": refused.sentence},
            unknown="Job not found or disabled",
            no_word="Invalid request",
            read_body=_json_body,
            message_max=255,
        ),
        Dialect(
            "cronradar",
            _reply_cronradar,
            lambda refused: {"error": refused.code, "message": refused.sentence},
            unknown=NO_MONITOR,
            declares=_declare_cronradar,
            creates=_create_cronradar,
        ),
        Dialect(
            "cronitor",
            _reply_cronitor,
            str,
            unknown="Monitor not found",
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
            unknown="Monitor not found",
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
            unknown="Heartbeat not found",
            read_body=_log_body,
        ),
        Dialect(
            "healthchecks",
            lambda r: "Created" if r.created else "OK",
            str,
            unknown="not found",
            no_word="invalid url format",
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
            unknown="Monitor not found or not active.",
            state="status",
            states=lambda word: "success" if word == "up" else "fail",
        ),
        Dialect(
            "deadmanssnitch",
            lambda r: "Got it, thanks!",
            str,
            unknown="Snitch not found",
            message_max=256,
            exit_code="s",
            state="s",
            states=lambda word: "success" if word == "0" else "fail",
        ),
        Dialect(
            "betterstack",
            lambda r: "OK",
            str,
            unknown="Heartbeat not found",
            read_body=_log_body,
        ),
        Dialect(
            "sentry",
            lambda r: {"id": r.ping.series or "0" * 32},  # the next check-in may name the run so
            lambda refused: {"detail": refused.sentence},
            unknown="Monitor '{}' not found. Send a monitor_config to create it.",
            read_body=_json_body,
            needs_key=True,
            wants_key="The key in the DSN is no valid API key",
            wants_key_status=403,
            declares=_declare_sentry,
            creates=lambda query: _declare_sentry(query, {}) or None,
            status=202,
            ends_newest=True,
            state="status",
            states=_check_in_kind,
            headers={
                "X-Sentry-Rate-Limits": "3600:error;transaction;session;log_item;span;profile"
                ":organization"
            },
        ),
    )
}


# == Fields ===================================================================
# Pure: what may be said of each thing, and is shown of it. Checks, flags, OpenAPI follow from it.
JsonObject = dict[str, Any]
NEEDS = {**dict.fromkeys(CHANNELS, "url"), "command": "command", "email": "address"}


# -- what a value looks like, in JSON Schema
def maybe(schema: JsonObject) -> JsonObject:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def words(*allowed: str) -> JsonObject:
    """One of some words."""
    return {"type": "string", "enum": [*allowed]}


def list_of(schema: JsonObject, **limits: int) -> JsonObject:
    """A list of such values."""
    return {"type": "array", "items": schema, **limits}


def row_of(*schemas: JsonObject) -> JsonObject:
    """A list with one value of each kind."""
    size = len(schemas)
    return {
        "type": "array",
        "prefixItems": [*schemas],
        "items": False,
        "minItems": size,
        "maxItems": size,
    }


def closed(properties: JsonObject, optional: Mapping[str, Any] = {}) -> JsonObject:
    """An object with these properties, perhaps with some more, and with no other."""
    return {
        "type": "object",
        "properties": {**properties, **optional},
        "required": [*properties],
        "additionalProperties": False,
    }


def named(name: str, schema: JsonObject) -> JsonObject:
    """Keep a schema under a name in the document, and refer to it."""
    SCHEMAS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: JsonObject = {}
TEXT: JsonObject = {"type": "string"}
UUID: JsonObject = {"type": "string", "format": "uuid"}
URL: JsonObject = {"type": "string", "format": "uri"}
INTEGER: JsonObject = {"type": "integer"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
NUMBER: JsonObject = {"type": "number"}
YES_NO: JsonObject = {"type": "boolean"}
TRUE: JsonObject = {"const": True}
INSTANT = named(
    "Instant",
    {
        "type": "string",
        "format": "date-time",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        "description": "In UTC.",
    },
)


# -- how a value is read
class Shape(NamedTuple):
    """Reads a value, given the name of its field, or raises `Invalid`; and what it looks like."""

    read: Callable[[str, Any], Any]
    schema: JsonObject


def text_of(least: int, most: int, lines: bool = False) -> Shape:
    """A text of so many characters, without those that control a terminal."""

    def read(name: str, value: Any) -> str:
        stored = clean(value, most, lines) if isinstance(value, str) else None
        if not isinstance(value, str) or len(value.strip()) > most or len(stored or "") < least:
            raise Invalid(f"{name} must be {least} to {most} characters")
        return stored or ""

    schema = {**TEXT, "minLength": least, "maxLength": most}
    return Shape(read, {**schema, "pattern": r"[^\s\x00-\x1f\x7f-\x9f]"} if least else schema)


def matching(pattern: str, rule: str) -> Shape:
    """A text of a form, kept as it is."""

    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise Invalid(f"{name} must be {rule}")
        return value

    return Shape(read, {**TEXT, "pattern": f"^{pattern}$"})


def whole_of(least: int, most: int) -> Shape:
    """A whole number in a range."""

    def read(name: str, value: Any) -> int:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or value % 1 or not least <= value <= most:
            raise Invalid(f"{name} must be a whole number, {least} to {most}")
        return int(value)

    return Shape(read, {**INTEGER, "minimum": least, "maximum": most})


def or_none(shape: Shape, *empty: Any) -> Shape:
    """The same, or none, which null stands for, and what else is named."""

    def read(name: str, value: Any) -> Any:
        is_empty = value is None or (value is not False and value in empty)
        return None if is_empty else shape.read(name, value)

    return Shape(read, {"anyOf": [shape.schema, {"enum": [None, *empty]}]})


def _read_yes_no(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false")
    return int(value)


def one_of(*allowed: str) -> Shape:
    """One of some words."""

    def read(name: str, value: Any) -> str:
        if value not in allowed:
            raise Invalid(f"{name} must be {' or '.join(allowed)}")
        return str(value)

    return Shape(read, words(*allowed))


def parsed_by(parse: Callable[[str], Any], form: str) -> Shape:
    """A text that a function does not refuse."""
    text = text_of(1, 500)

    def read(name: str, value: Any) -> str:
        stored: str = text.read(name, value)
        try:
            parse(value)
        except Invalid as error:
            raise Invalid(f"{name}: {error.sentence}") from None
        return stored

    return Shape(read, {**TEXT, "minLength": 1, "maxLength": 500, "format": form})


def _read_tags(name: str, value: Any) -> str:
    tags = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Invalid(f"{name} must be tags separated by spaces, or a list of them")
    return " ".join(dict.fromkeys(" ".join(clean(tag, 100) or "" for tag in tags).split()))


def _read_rules(name: str, value: Any) -> str:
    return json.dumps(check_rules([] if value is None else value))


def _read_ids(name: str, value: Any) -> list[str] | None:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(id_, str) for id_ in value)
    ):
        raise Invalid(f"{name} must be a list of ids")
    return value


def _read_handle(name: str, value: Any) -> str:
    NAME.read(name, value)
    return str(value).strip()  # as it is: pings have to match it


def count_of(least: int, most: int) -> Shape:
    """A whole number of a query, which is text."""

    def read(name: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
            raise Invalid(f"{name} must be a whole number, {least} to {most}")
        return int(text)

    return Shape(read, {**INTEGER, "minimum": least, "maximum": most})


def parse_iso(text: str) -> int:
    """An instant in ISO 8601, with `Z` or an offset, as ms since 1970 UTC; raises ValueError."""
    when = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    if when.tzinfo is None:
        raise ValueError("it has no zone")
    return (when - EPOCH) // timedelta(milliseconds=1)


def _read_instant(name: str, text: str) -> int:
    try:
        return parse_iso(text.replace(" ", "+"))  # a + that was not quoted arrives as a space
    except (ValueError, OverflowError):
        raise Invalid(f"{name} must be an instant such as 2026-03-01T00:00:00Z") from None


RULE = {
    "field": {**TEXT, "pattern": r"^[A-Za-z0-9_.\-]{1,50}$"},
    "operator": words(*OPERATORS),
    "value": {**NUMBER, "exclusiveMinimum": -(2**53), "exclusiveMaximum": 2**53},
}
RULE_SHOWN = named("Rule", closed(RULE))
RULE_TAKEN = closed({**RULE, "operator": words(*OPERATORS, *SIGNS)})
NAME = text_of(1, 200)
YES_OR_NO = Shape(_read_yes_no, YES_NO)
ANY_TEXT = Shape(lambda name, text: text, TEXT)
SCHEDULE = parsed_by(check_schedule, "cron")
ZONE = parsed_by(check_timezone, "timezone")
TAGS = Shape(_read_tags, {"anyOf": [TEXT, list_of(TEXT), {"type": "null"}]})
RULES = Shape(_read_rules, maybe(list_of(RULE_TAKEN, maxItems=20)))
IDS = Shape(_read_ids, maybe(list_of(TEXT)))
A_HANDLE = Shape(_read_handle, NAME.schema)
AN_INSTANT = Shape(_read_instant, {**TEXT, "format": "date-time"})
DIALECT = one_of(*DIALECTS)
HEADERS_TAKEN = {"type": ["object", "null"], "additionalProperties": TEXT}
PASSWORD = matching(r"(?s:.{8,200})", "8 to 200 characters")


# -- what may be said
class Field(NamedTuple):
    """What may be said under a name: in a JSON object, in a query, by a flag."""

    name: str
    shape: Shape
    help: str = ""
    default: Any = None  # of a monitor's columns schema.sql has it: this one is shown
    is_required: bool = False
    repeats: bool = False  # in a query
    column: str = ""
    flag: str = ""
    to_json: Callable[[Any], Any] = lambda value: value  # from the column
    schema: JsonObject = TEXT  # of that


MONITOR = (
    Field("name", NAME, "a name for people", is_required=True, column="name", flag="--name"),
    Field("key", NAME, "how programs name it; made from the name", column="key"),
    Field(
        "intervalSeconds",
        whole_of(60, 2_592_000),
        "from run to run, instead of --cron: 90, 5m, 1h, 2d",
        column="interval_seconds",
        flag="--every",
        to_json=lambda seconds: seconds or 0,
        schema=COUNT,
    ),
    Field(
        "cronExpression",
        SCHEDULE,
        "'0 3 * * *', @daily, or 6 fields, seconds first",
        column="cron",
        flag="--cron",
        schema=maybe(TEXT),
    ),
    Field(
        "timezone",
        ZONE,
        "zone of --cron; default the host's",
        "UTC",
        column="timezone",
        flag="--timezone",
    ),
    Field(
        "graceSeconds",
        whole_of(0, GRACE_MAX_SECONDS),
        "how late it may be (default 5m)",
        300,
        column="grace_seconds",
        flag="--grace",
        schema=COUNT,
    ),
    Field("tags", TAGS, "tags, separated by spaces", "", column="tags", flag="--tags"),
    Field(
        "emailAlertsEnabled",
        YES_OR_NO,
        "the default mail integrations hear of it, too",
        True,
        column="email_alerts",
        to_json=bool,
        schema=YES_NO,
    ),
    Field(
        "reminderIntervalSeconds",
        or_none(whole_of(60, YEAR_SECONDS), 0),
        "time between reminders while down",
        column="reminder_interval_seconds",
        flag="--remind",
        to_json=lambda seconds: seconds or 0,
        schema=COUNT,
    ),
    Field(
        "expects",
        one_of("run", "complete"),
        "run (default): it runs; complete: it ends well",
        "run",
        column="expects",
        flag="--expects",
        schema=words("run", "complete"),
    ),
    Field(
        "maxRunSeconds",
        or_none(whole_of(1, YEAR_SECONDS), 0),
        "time after which a started run is stuck",
        column="max_run_seconds",
        flag="--max-run",
        schema=maybe(COUNT),
    ),
    Field(
        "failureTolerance",
        whole_of(0, 1000),
        "failures in a row that are no alert (default 0)",
        0,
        column="failure_tolerance",
        flag="--tolerance",
        schema=COUNT,
    ),
    Field(
        "minPingIntervalSeconds",
        or_none(whole_of(1, 86_400), 0),
        "refuse pings that come faster",
        column="min_ping_interval_seconds",
        flag="--min-interval",
        schema=maybe(COUNT),
    ),
    Field(
        "armed",
        YES_OR_NO,
        "alert even if it never pings",
        False,
        column="armed",
        to_json=bool,
        schema=YES_NO,
    ),
    Field(
        "rules",
        RULES,
        "a good run that matches one is told as a silent failure",
        column="rules",
        to_json=lambda rules: json.loads(rules or "[]"),
        schema=list_of(RULE_SHOWN),
    ),
    Field(
        "notes",
        text_of(0, 10_000, lines=True),
        "what the next person should know",
        "",
        column="notes",
        flag="--notes",
    ),
)
SCHEDULE_NEEDS = {"interval": "intervalSeconds", "cron": "cronExpression", "none": None}
SCHEDULE_TYPE = Field(
    "scheduleType", one_of(*SCHEDULE_NEEDS), "none is never missed, only failed or stuck"
)
INTEGRATION_IDS = Field("integrationIds", IDS, "who is told; null for all that are default")
UNIQUE = Field("unique", NAME, "change the monitor of this name instead, if there is one")
MONITOR_CHANGES = (*MONITOR, SCHEDULE_TYPE, INTEGRATION_IDS)
NEW_MONITOR = (*MONITOR_CHANGES, UNIQUE)
PAUSE = (Field("hours", or_none(whole_of(0, 876_000)), "0 ends a pause; null: until resumed"),)
NEW_HANDLE = (
    Field("handle", A_HANDLE, "a token, code or key of an old service", is_required=True),
    Field("dialect", DIALECT, "that service; else by the form of the handle"),
)
ROTATION = (Field("kind", one_of("token", "code"), "which to make anew", is_required=True),)
NEW_KEY = (
    Field("name", NAME, "a name for it", is_required=True),
    Field("permission", one_of("ping", "read-only", "read-write"), "what it may", "read-write"),
    Field(
        "secret",
        or_none(matching("[!-~]{8,200}", "8 to 200 plain characters")),
        "adopt a key of an old service",
    ),
)
SIGN_IN = (
    Field("name", or_none(matching(r"(?s:.{1,200})", "1 to 200 characters")), "with a password"),
    Field("password", ANY_TEXT, "of the user with that name"),
    Field("link", NAME, "instead of both: the secret of a one-time link"),
)
NEW_PASSWORD = (Field("password", PASSWORD, "ends all other sessions", is_required=True),)


def an_object(body: Any) -> JsonObject:
    """A JSON object; raises `Invalid` for anything else."""
    if not isinstance(body, dict):
        raise Invalid("the body must be a JSON object")
    return body


def read_object(body: Any, *allowed: str) -> JsonObject:
    """A JSON object with no field but these; raises `Invalid` with the name of another one."""
    if strange := set(an_object(body)) - set(allowed):
        near = difflib.get_close_matches(min(strange)[:60], allowed, 1)
        advice = f" (did you mean {near[0]}?)" if near else ""
        raise Invalid(f"'{clean(min(strange), 60)}' is not a known field{advice}")
    return an_object(body)


def read_changes(fields: Sequence[Field], body: Any) -> JsonObject:
    """The values of a JSON object, checked."""
    body = read_object(body, *(field.name for field in fields))
    return {
        field.name: field.shape.read(field.name, body[field.name])
        for field in fields
        if field.name in body
    }


def read_fields(fields: Sequence[Field], body: Any) -> JsonObject:
    """The same, with the defaults of what is not there."""
    values = read_changes(fields, body)
    for field in fields:
        if field.is_required and field.name not in values:
            raise Invalid(f"{field.name} is required")
    return {**{field.name: field.default for field in fields}, **values}


# -- what an integration needs
ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
MAIL_ADDRESS = re.compile(rf"(?!.*=\?){ATOM}(\.{ATOM})*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
# Without those that are for the sender to set.
HEADER_NAME = re.compile(
    "(?!webhook-|(connection|content-length|expect|keep-alive|te|trailer|transfer-encoding|upgrade)$)"
    "[a-z0-9-]{1,100}",
    re.IGNORECASE | re.ASCII,
)
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,2000}")
HEADERS_MAX = 20
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


def is_host(name: str) -> bool:
    """Whether it can be the name of a host, with _ as containers have it, or an address."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    labels = name.removesuffix(".").split(".")
    return (
        len(name) <= 253
        and all(re.fullmatch(LABEL, label) for label in labels)
        and not labels[-1].isdigit()  # it would be an address, and is none
    )


def is_web_address(url: str) -> bool:
    """Whether we can send to it: http or https, plain characters, without a name and password."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(
            parts.scheme in ("http", "https")
            and re.fullmatch(r"([^:@%[\]]+|\[[^[\]]+\])(:\d*)?", parts.netloc)
            and is_host(parts.hostname or "")
            and parts.port != 0
            and not re.search(r"[^!-~]", url)
        )
    except ValueError:  # of a port or an address that is none
        return False


def target_field(name: str, is_right: Callable[[str], Any], rule: str) -> Field:
    """Where an integration sends to: a text, kept as it is, of which something is true."""

    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 2000 or "\0" in value:
            raise Invalid(f"{name} must be 1 to 2000 characters")
        if not is_right(value):
            raise Invalid(f"{name} must be {rule}")
        return value

    return Field(name, Shape(read, text_of(1, 2000).schema), rule)


def _read_headers(name: str, value: Any) -> dict[str, str]:
    headers = {} if value is None else value
    if (
        not isinstance(headers, dict)
        or len(headers) > HEADERS_MAX
        or not all(HEADER_NAME.fullmatch(header) for header in headers)
        or not all(
            isinstance(text, str) and HEADER_VALUE.fullmatch(text) for text in headers.values()
        )
    ):
        raise Invalid(f"{name} must be an object of at most {HEADERS_MAX} plain header lines")
    return headers


def _read_signing_secret(name: str, value: Any) -> str:
    """`whsec_` and some bytes as base64 (Standard Webhooks)."""
    with contextlib.suppress(AttributeError, ValueError):
        prefix, _, coded = value.partition("_")
        if prefix == "whsec" and len(base64.b64decode(coded, validate=True)) >= 16:
            return str(value)
    raise Invalid(f"{name} must be whsec_ and at least 16 bytes as base64")


CHANNEL = Field("channel", one_of(*CHANNELS), "how it is told", is_required=True, column="channel")
INTEGRATION = (
    Field("name", NAME, "a name for it", is_required=True, column="name"),
    Field("enabled", YES_OR_NO, "whether anything is sent", True, column="enabled"),
    Field(
        "default",
        YES_OR_NO,
        "it hears of every monitor that names no integrations",
        True,
        column="is_default",
    ),
)
WEB_TARGET = target_field(
    "url", is_web_address, "an http or https address; credentials go into headers"
)
MAIL_TARGET = target_field("address", MAIL_ADDRESS.fullmatch, "one mail address")
OWN_HEADERS = Field("headers", Shape(_read_headers, HEADERS_TAKEN), "sent with each webhook")
SIGNING_SECRET = Field("secret", Shape(_read_signing_secret, TEXT), "signs its webhooks")
TARGETS = {
    "command": target_field("command", bool, ""),
    "email": MAIL_TARGET,
    **dict.fromkeys(("webhook", "slack", "discord", "ntfy"), WEB_TARGET),
}
INTEGRATION_CHANGES = (*INTEGRATION, WEB_TARGET, MAIL_TARGET, OWN_HEADERS)
NEW_INTEGRATION = (CHANNEL, *INTEGRATION_CHANGES)


def body_schema(fields: Sequence[Field], is_change: bool = False) -> JsonObject:
    """What a body may have, as JSON Schema."""
    properties = {}
    for field in fields:
        properties[field.name] = {**field.shape.schema, "description": field.help}
        if field.default is not None and not is_change:
            properties[field.name]["default"] = field.default
    required = [field.name for field in fields if field.is_required and not is_change]
    return {**closed({}, properties), "required": required}


# -- what a query may ask for
def limit_field(most: int, default: int) -> Field:
    """How many items of a list."""
    return Field("limit", count_of(1, most), default=default)


OFFSET = Field("offset", count_of(0, 2**53), default=0)
NAME_PART = Field("query", ANY_TEXT, "part of the name, in any case", (), repeats=True)
TAG = Field("tag", ANY_TEXT, "all of them", (), repeats=True)
STATUS = Field("status", one_of(*STATUSES), "any of them", (), repeats=True)
STATE = Field("status", one_of(*STATES), "any of them", (), repeats=True)
RUN_STATE = Field("state", one_of(*RUN_STATES), "any of them", (), repeats=True)
KIND = Field("kind", one_of(*EVENT_KINDS), "any of them", (), repeats=True)
OF_MONITOR = Field("monitor", ANY_TEXT, "id or key of a monitor", "")
SINCE = Field("since", AN_INSTANT, "from this instant on")
UNTIL = Field("until", AN_INSTANT, "before this instant")
BEFORE = Field("before", AN_INSTANT, "before this instant")
DAYS = Field("days", count_of(1, 3660), "up to now, of each of them", (30,), repeats=True)
THE_HANDLE = Field("handle", ANY_TEXT, "which", "")
MONITOR_LIMIT = limit_field(100, 50)
LIST_LIMIT = limit_field(200, 50)
SUMMARY_LIMIT = limit_field(1000, 100)
NIGHT_LIMIT = limit_field(200, 100)
PREVIEW = (
    Field("cronExpression", ANY_TEXT, "else an interval", ""),
    Field("timezone", ANY_TEXT, "of the expression", "UTC"),
    Field("intervalSeconds", count_of(0, YEAR_SECONDS), default=0),
    Field("graceSeconds", count_of(0, GRACE_MAX_SECONDS), default=300),
    OF_MONITOR,
)


def read_query(fields: Iterable[Field], query: Mapping[str, Sequence[str]]) -> JsonObject:
    """The values of a query; what is not known is ignored."""
    if any(len(texts) > 100 for texts in query.values()):
        raise Invalid("a parameter can be repeated at most 100 times")
    values: JsonObject = {}
    for field in fields:
        texts = query.get(field.name)
        if texts and field.repeats:
            values[field.name] = [field.shape.read(field.name, text) for text in texts]
        elif texts:
            values[field.name] = field.shape.read(field.name, texts[0])
    return values


class ApiRequest(NamedTuple):
    """A management request."""

    id: str = ""
    query: Mapping[str, Any] = {}  # as `read_query` has it
    body: Any = None
    shows_secrets: bool = True  # as to who may write
    run: str = ""
    user: int | None = None  # who is signed in
    session: str = ""  # and the hash of that session's secret
    address: str | None = None
    is_local: bool = False  # from the command line
    version: str = ""  # of an API that has several

    def get(self, field: Field) -> Any:
        """What the query says under a name, or its default."""
        value = self.query.get(field.name)
        return field.default if value is None else value


# -- what is shown
class Column(NamedTuple):
    """What is shown of a row under a name: where SQL has it, how it looks, how it is made."""

    name: str
    sql: str
    schema: JsonObject = maybe(TEXT)
    show: Callable[[Any], Any] = lambda value: value


def sql_list(columns: Iterable[Column]) -> str:
    """What a SELECT has to ask for."""
    return ", ".join(column.sql for column in columns)


def show(columns: Iterable[Column], row: Sequence[Any]) -> JsonObject:
    """A row of those as JSON."""
    return {column.name: column.show(value) for column, value in zip(columns, row, strict=True)}


def table_json(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> list[JsonObject]:
    """All rows of those."""
    return [show(columns, row) for row in rows]


def row_schema(
    columns: Iterable[Column], more: Mapping[str, Any] = {}, optional: Mapping[str, Any] = {}
) -> JsonObject:
    """What `show` makes, as JSON Schema, with what is added to it."""
    return closed({**{column.name: column.schema for column in columns}, **more}, optional)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _json_of(text: str | None) -> Any:
    return json.loads(text or "null")


DURATION_MS = maybe(COUNT)
REASON = {"enum": [*REASONS, None]}
PERCENT = {**INTEGER, "minimum": 0, "maximum": 100}
PINGS = (
    Column("id", "p.num", TEXT, str),
    Column("heartbeatId", "m.id", UUID),
    Column("type", "kind", words(*PING_KINDS)),
    Column("receivedAt", "at", INSTANT, iso),
    Column("ipAddress", "address"),
    Column("userAgent", "user_agent"),
    Column("durationMs", "duration_ms", DURATION_MS),
    Column("runId", "series"),
    Column("exitCode", "exit_code", maybe(INTEGER)),
    Column("run", "run", maybe(TEXT), _text_or_none),
    Column("host", "host"),
    Column("env", "env"),
    Column("message", "message"),
    Column("percent", "percent", maybe(PERCENT)),
    Column("dialect", "dialect", DIALECT.schema),
)
RUNS = (
    Column("id", "num", TEXT, str),
    Column("series", "series"),
    Column("state", "state", words(*RUN_STATES)),
    Column("startedAt", "started_at", INSTANT, iso),
    Column("endedAt", "ended_at", maybe(INSTANT), iso),
    Column("durationMs", "duration_ms", DURATION_MS),
    Column("exitCode", "exit_code", maybe(INTEGER)),
    Column("message", "message"),
    Column("host", "host"),
)
RUNS_IN_LISTS = (
    *RUNS,
    Column(
        "metrics", "metrics", maybe({"type": "object", "additionalProperties": NUMBER}), _json_of
    ),
    Column("matched", "coalesce(matched, '[]')", list_of(RULE_SHOWN), _json_of),
    Column("hasLog", "EXISTS (SELECT 1 FROM run_log WHERE run = num)", YES_NO, bool),
)
FLIPS = (
    Column("at", "at", INSTANT, iso),
    Column("status", "status", words(*STATUSES)),
    Column("reason", "reason", REASON),
)
GAPS = (Column("since", "since", INSTANT, iso), Column("until", "until", INSTANT, iso))
PROGRESS = (
    Column("at", "at", INSTANT, iso),
    Column("percent", "percent", maybe(PERCENT)),
    Column("message", "message"),
)
HANDLES = (
    Column("dialect", "kind", words("token", "code", *DIALECTS)),
    Column("handle", "text", TEXT),
)
KEYS = (
    Column("id", "id", UUID),
    Column("name", "name", TEXT),
    Column("prefix", "prefix", TEXT),
    Column("permission", "permission", words("ping", "read-only", "read-write")),
    Column("createdAt", "created_at", INSTANT, iso),
)
USERS = (
    Column("id", "id", UUID),
    Column("name", "name", TEXT),
    Column("hasPassword", "password IS NOT NULL", YES_NO, bool),
    Column("createdAt", "created_at", INSTANT, iso),
    Column("lastSeenAt", "seen_at", maybe(INSTANT), iso),
)
INTEGRATIONS = (
    Column("id", "i.id", UUID),
    Column("channel", "i.channel", words(*CHANNELS)),
    Column("name", "i.name", TEXT),
    Column("enabled", "i.enabled", YES_NO, bool),
    Column("default", "i.is_default", YES_NO, bool),
    Column("failing", "i.failing", YES_NO, bool),
    Column("createdAt", "i.created_at", INSTANT, iso),
    Column("updatedAt", "i.updated_at", INSTANT, iso),
)
# -- what each answer looks like
ERROR = named("Error", closed({"error": {**TEXT, "description": "A sentence for a person."}}))
DELETED = named("Deleted", closed({"id": TEXT, "deleted": TRUE}))
GAP_SHOWN = named("Gap", row_schema(GAPS))
RUN_SHOWN = named("Run", row_schema(RUNS_IN_LISTS))
STEP_SHOWN = named("Progress", row_schema(PROGRESS))
RUN_DETAIL = named(
    "RunDetail", row_schema(RUNS_IN_LISTS, {"progress": list_of(STEP_SHOWN, maxItems=1000)})
)
HANDLE_SHOWN = named("Handle", row_schema(HANDLES))
HANDLES_SHOWN = named("Handles", closed({"handles": list_of(HANDLE_SHOWN)}))
MONITOR_SECRETS = {
    "token": UUID,
    "code": {**TEXT, "pattern": f"^{CODE.pattern}$"},
    "pingUrl": URL,
    "handles": list_of(HANDLE_SHOWN),
}
MONITOR_SHOWN = {
    "id": UUID,
    "status": words(*STATUSES),
    "paused": YES_NO,
    "scheduleType": words(*SCHEDULE_NEEDS),
    **{field.name: field.schema for field in MONITOR},
    "lastPingAt": maybe(INSTANT),
    "expectedAt": maybe(INSTANT),
    "nextExpectedAt": {**maybe(INSTANT), "description": "The same and the grace."},
    "downReason": REASON,
    "downSince": maybe(INSTANT),
    "pausedUntil": maybe(INSTANT),
    "droppedPings": {**COUNT, "description": "Refused for want of an auth_key."},
    "late": {**YES_NO, "description": "Past its time, still in its grace."},
    "running": YES_NO,
    "progress": maybe(STEP_SHOWN),
    "lastRun": maybe(RUN_SHOWN),
    "schedule": {**TEXT, "description": "In words."},
    "recipients": {**list_of(TEXT), "description": "The integrations that are told, by name."},
    "heard": {**YES_NO, "description": "Whether any is."},
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
}
A_MONITOR = named("Monitor", closed(MONITOR_SHOWN, MONITOR_SECRETS))
MONITOR_DETAIL = named(
    "MonitorDetail",
    closed(
        {**MONITOR_SHOWN, "integrationIds": list_of(UUID), "upcoming": list_of(INSTANT)},
        MONITOR_SECRETS,
    ),
)
DELIVERY_SHOWN = {
    "integrationId": UUID,
    "name": TEXT,
    "state": words("pending", "sent", "dead"),
    "tries": COUNT,
    "triedAt": maybe(INSTANT),
    "result": maybe(TEXT),
}
EVENT_SHOWN = {
    "id": UUID,
    "kind": words(*EVENT_KINDS),
    "at": {**INSTANT, "description": "When it happened."},
    "toldAt": {**INSTANT, "description": "When it was noticed."},
    "summary": {**TEXT, "description": "One sentence for a person."},
    "monitor": maybe(
        closed(
            {
                "id": UUID,
                "key": TEXT,
                "name": TEXT,
                "tags": list_of(TEXT),
                "status": words(*STATUSES),
                "timezone": TEXT,
                "notes": TEXT,
                "url": URL,
            }
        )
    ),
    "run": maybe(row_schema(RUNS, {"logTail": maybe(TEXT)})),
    "reason": REASON,
    "downSince": maybe(INSTANT),
    "downtimeSeconds": maybe(COUNT),
    "failedCount": maybe(COUNT),
    "missedCount": maybe(COUNT),
    "count": {**maybe(COUNT), "description": "Failures that were collected."},
    "rules": maybe(list_of(RULE_SHOWN)),
    "lastSuccess": maybe(closed({"at": maybe(INSTANT), "durationMs": DURATION_MS})),
    "gap": maybe(GAP_SHOWN),
    "monitors": maybe(list_of(closed({"id": UUID, "key": TEXT, "name": TEXT}))),
}
EVENT_NAMES = tuple(EVENT_SHOWN)[5:]  # those that are kept with an event as they were then
AN_EVENT = named("Event", closed(EVENT_SHOWN))
LOGGED_EVENT = named(
    "LoggedEvent", closed({**EVENT_SHOWN, "deliveries": list_of(closed(DELIVERY_SHOWN))})
)
AN_INTEGRATION = named(
    "Integration",
    row_schema(
        INTEGRATIONS,
        {
            "pending": COUNT,
            "dead": COUNT,
            "lastDelivery": maybe(
                closed(
                    {
                        "at": INSTANT,
                        "state": words("pending", "sent", "dead"),
                        "kind": words(*EVENT_KINDS),
                        "result": maybe(TEXT),
                    }
                )
            ),
            "problem": maybe(TEXT),
        },
        {
            "url": TEXT,
            "address": TEXT,
            "command": TEXT,
            "headers": {"type": "object", "additionalProperties": TEXT},
            "secret": {**TEXT, "description": "Signs its webhooks (Standard Webhooks)."},
        },
    ),
)
TEST_RESULT = {"ok": YES_NO, "result": TEXT}
KEY_SHOWN = named("Key", row_schema(KEYS))
USER_SHOWN = named("User", row_schema(USERS))
SESSION_SHOWN = {"user": USER_SHOWN, "expiresAt": INSTANT}
OUTBOX_SHOWN = {"pending": COUNT, "overdue": COUNT, "dead": COUNT}
UPTIME_SHOWN = {
    "since": INSTANT,
    "until": INSTANT,
    "upSeconds": COUNT,
    "downSeconds": COUNT,
    "pausedSeconds": COUNT,
    "unknownSeconds": COUNT,
    "uptime": maybe(NUMBER),
    "downtimes": COUNT,
}
# When, how long in ms, the state of the run or `missed`, its exit code, its number.
SLOT_STATES = words(*RUN_STATES, "matched", "missed")
SLOT = row_of(INTEGER, DURATION_MS, SLOT_STATES, maybe(INTEGER), maybe(INTEGER))
SUMMARY_MONITOR = named(
    "SummaryMonitor",
    closed(
        {
            "id": UUID,
            "key": TEXT,
            "name": TEXT,
            "tags": list_of(TEXT),
            "status": words(*STATUSES),
            "state": words(*STATES),
            "recipients": list_of(TEXT),
            "schedule": TEXT,
            "timezone": TEXT,
            "graceSeconds": COUNT,
            "lastPingAt": maybe(INSTANT),
            "expectedAt": maybe(INSTANT),
            "alertAt": maybe(INSTANT),
            "downReason": REASON,
            "downSince": maybe(INSTANT),
            "pausedUntil": maybe(INSTANT),
            "run": maybe(
                closed(
                    {
                        "id": TEXT,
                        "startedAt": INSTANT,
                        "percent": maybe(PERCENT),
                        "message": maybe(TEXT),
                    }
                )
            ),
            "matched": list_of(closed({**RULE, "actual": maybe(NUMBER)})),
            "lastDurationMs": DURATION_MS,
            "usualDurationMs": maybe(NUMBER),
            "uptime": maybe(NUMBER),
            "strip": list_of(SLOT, maxItems=30),
        }
    ),
)
SUMMARY_HEALTH = {
    **OUTBOX_SHOWN,
    "scanning": YES_NO,
    "failing": list_of(TEXT),
    "refused": YES_NO,
    "databaseBytes": COUNT,
}
SUMMARY = named(
    "Summary",
    closed(
        {
            "version": TEXT,
            "timezone": TEXT,
            "baseUrl": URL,
            "counts": closed(dict.fromkeys(STATES, COUNT)),
            "tags": {"type": "object", "additionalProperties": COUNT},
            "next": maybe(closed({"id": UUID, "name": TEXT, "at": INSTANT})),
            "health": closed(SUMMARY_HEALTH),
            "total": COUNT,
            "limit": COUNT,
            "offset": COUNT,
            "monitors": list_of(SUMMARY_MONITOR),
        }
    ),
)
SECONDS = {**list_of(INTEGER), "description": "Seconds after `since`."}
# Its begin and its length in seconds, the newest of its runs, how many it stands for.
BARS = list_of(row_of(INTEGER, COUNT, INTEGER, COUNT))
NIGHT = named(
    "Night",
    closed(
        {
            "since": INSTANT,
            "now": INSTANT,
            "until": INSTANT,
            "total": COUNT,
            "absences": list_of(row_of(INTEGER, INTEGER)),
            "monitors": list_of(
                closed(
                    {
                        "id": UUID,
                        "name": TEXT,
                        "timezone": TEXT,
                        "state": words(*STATES),
                        "runs": {"type": "object", "additionalProperties": BARS},
                        "missed": SECONDS,
                        "expected": SECONDS,
                    }
                )
            ),
        }
    ),
)
HEALTH = named(
    "Health",
    closed(
        {
            "version": TEXT,
            "startedAt": INSTANT,
            "scannedAt": maybe(INSTANT),
            "scanSeconds": NUMBER,
            "outbox": closed(OUTBOX_SHOWN),
            "databaseBytes": COUNT,
            "pingsPerMinute": COUNT,
            "refused": YES_NO,
            "monitors": COUNT,
            "absences": list_of(GAP_SHOWN),
            "failing": list_of(closed({"id": UUID, "name": TEXT, "result": maybe(TEXT)})),
        }
    ),
)
PREVIEW_SHOWN = named(
    "Preview",
    closed(
        {
            "schedule": TEXT,
            "timezone": TEXT,
            "times": list_of(closed({"expectedAt": INSTANT, "alertAt": INSTANT})),
        }
    ),
)
STATUS_PAGE = named(
    "StatusPage",
    closed(
        {
            "tag": TEXT,
            "at": INSTANT,
            "monitors": list_of(
                closed(
                    {
                        "name": TEXT,
                        "state": words(*STATES),
                        "since": maybe(INSTANT),
                        "uptime": maybe(NUMBER),
                        "strip": list_of(row_of(INTEGER, DURATION_MS, SLOT_STATES)),
                    }
                )
            ),
        }
    ),
)
HISTORY_KINDS = {
    "ping": named("Ping", row_schema(PINGS)),
    "flip": named("Flip", row_schema(FLIPS)),
    "event": LOGGED_EVENT,
    "absence": GAP_SHOWN,
}
HISTORY_SHOWN = closed(
    {
        "more": YES_NO,
        "entries": list_of(
            {
                "oneOf": [
                    closed({"at": INSTANT, "type": {"const": kind}, kind: schema})
                    for kind, schema in HISTORY_KINDS.items()
                ]
            }
        ),
    }
)


def page_of(name: str, schema: JsonObject) -> JsonObject:
    """A page of a list."""
    return closed({name: list_of(schema), "total": COUNT, "limit": COUNT, "offset": COUNT})


# == Storage ==================================================================
# The database: opening, migrating, one write at a time, many readers. No rule, no request.
GLANCE_SECONDS = 0.05  # how long a write waits for its turn at once
PATIENCE_SECONDS = 2  # how long it tries again before it is refused
READERS_MAX = 64  # more than there are threads
OPEN_SECONDS = 10  # how long a start or a copy waits for another program
DATABASE_ERRORS = (peewee.DatabaseError, sqlite3.DatabaseError)
CONSTRAINT_ERRORS = (peewee.IntegrityError, sqlite3.IntegrityError)
T = TypeVar("T")


# -- opening a file


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
    """Copy a database that nobody may write meanwhile, page by page, for one may be damaged; what
    has the name is whole."""
    for part in (f"{name}.part", f"{name}.part-journal"):  # of a copy that was cut off
        Path(part).unlink(missing_ok=True)
    make_private(f"{name}.part")
    with (
        contextlib.closing(sqlite3.connect(path)) as file,
        contextlib.closing(sqlite3.connect(f"{name}.part")) as copy,
    ):
        file.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # see `set_log_aside`
    os.replace(f"{name}.part", name)


def back_up(path: str, name: str) -> None:
    """A copy of a database that is in use, checked, under a name that nothing has yet.

    What has the name is whole: a copy that was cut off has another one, which the next try takes
    over. Raises `Refused` with the reason.
    """
    part = Path(f"{name}.part")
    try:
        if Path(name).exists():
            raise Refused(f"{name} is there already: choose another name")
        part.unlink(missing_ok=True)
        make_private(str(part))
        with contextlib.closing(sqlite3.connect(path, timeout=OPEN_SECONDS)) as file:
            file.execute("VACUUM INTO ?", (str(part),))
        with contextlib.closing(sqlite3.connect(part)) as copy:
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise Refused(f"the copy is damaged, and so is {path}: {verdict}")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, name)
    except (sqlite3.Error, OSError) as error:
        raise Refused(f"cannot back up {path} as {name}: {error}") from None


def migrate(db: SqliteDatabase, path: str) -> None:
    """Bring the schema up to date, each part in one transaction, after a copy of an older file."""
    parts = schema_parts()
    version = db.user_version
    if version > len(parts):
        raise Refused(
            f"{path} was written by a newer cronwatch: install that version, or restore "
            f"the copy that it made beside the file before it changed it"
        )
    for number, statements in enumerate(parts, 1):
        with db.atomic("IMMEDIATE"):
            current = db.user_version  # another program may have changed it meanwhile
            if current >= number:
                continue
            if current == version > 0:  # nobody has changed it yet
                copy_file(path, f"{path}.before-{number}")
            for statement in statements:
                db.connection().execute(statement)
            db.user_version = number


def is_foreign(path: str) -> bool:
    """Whether a file is another program's database; it is left as it is, with all beside it."""
    has_log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
    how = "mode=ro" if has_log else "mode=ro&immutable=1"  # its tables may be in its log alone
    uri = f"file:{urllib.parse.quote(path)}?{how}"
    with (
        contextlib.suppress(sqlite3.DatabaseError),  # its log may make it whole
        contextlib.closing(sqlite3.connect(uri, uri=True)) as file,
    ):
        (version,) = file.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_schema").fetchall()}
        ours = set(re.findall(r"CREATE TABLE (\w+)", "".join(schema_parts()[0])))
        return bool(tables) and (version == 0 or not ours <= tables)
    return False


def set_log_aside(path: str) -> None:
    """Keep SQLite from reading the log of another file into this one.

    Who puts a copy in the place of a database after a crash may leave that one's log there. A copy
    has no log of its own, as the header says: 1 where there is none, 2 where there is one.
    """
    if not os.path.exists(f"{path}-wal"):
        return
    with open(path, "rb") as file:
        header = file.read(20)
    if header[18:] == b"\x01\x01":
        os.replace(f"{path}-wal", f"{path}-wal.old")
        Path(f"{path}-shm").unlink(missing_ok=True)
        log.warning(
            "%s-wal is of the file that was there before: it is %s-wal.old now", path, path
        )


def file_at(path: str) -> tuple[int, int] | None:
    """Which file is at a path: its device and inode; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def hold(path: str) -> None:
    """Be the only server of a file while this process lives; raises `Refused` where one is."""
    file = os.open(path, os.O_RDONLY)
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:  # or a command looks just now whether one does: see `is_served`
            if monotonic() > deadline:
                raise Refused(f"another cronwatch serves {path} already") from None
            sleep(GLANCE_SECONDS)
        except OSError:  # the file system knows no such locks
            return


NOT_SERVED = "no server runs on this database"


def is_served(path: str) -> bool:
    """Whether a server runs on a database: it holds the lock that `hold` takes.

    The file stays open: to close it would drop the locks that SQLite has on it in this process.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:  # the file system knows no such locks
        return False
    return False


# -- reading and writing


class Unavailable(Refused):
    """The database cannot be written or read at the moment."""

    def __init__(self, done: str = "written") -> None:
        super().__init__(f"the database cannot be {done} at the moment", "UNAVAILABLE", 503)


class Busy(Unavailable):
    """Somebody else is writing: another thread, or another program."""


def is_damaged(error: BaseException) -> bool:
    """Whether an error says that a page of the file cannot be read: the others still can.

    Only that has no class of its own: a full disk, for one, is an OperationalError.
    """
    return type(error) in DATABASE_ERRORS


def log_unavailable(done: str, error: BaseException) -> None:
    """Say why nothing could be written or read, and what to do about it."""
    advice = ""
    if is_damaged(error):
        advice = (
            " (the file is damaged: stop cronwatch and put a backup in its place,"
            " or what `sqlite3 FILE .recover` saves of it)"
        )
    log.error("nothing could be %s: %s%s", done, error, advice)


class DamagedMonitor(Unavailable):
    """A page of this monitor cannot be read; in that transaction nothing more can be written."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.num = num


class Store:
    """One database file: a connection that writes, behind a lock, and readers of their own.

    Nobody waits while holding the lock: SQLite gives up after 50 ms on a file that another program
    holds, and who waits for longer lets go of the lock before the next try.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        pragmas = {"foreign_keys": 1, "synchronous": "full"}
        self.db = SqliteDatabase(
            path,
            {"auto_vacuum": "incremental", **pragmas, "journal_mode": "wal"},  # the first: if new
            timeout=OPEN_SECONDS,
            thread_safe=False,  # one connection for all threads, behind our lock
            check_same_thread=False,
            autoconnect=False,
        )
        # Opening one reads the whole schema, which takes as long as a short query ten times over.
        self.reader = PooledSqliteDatabase(
            path,
            max_connections=READERS_MAX,
            check_same_thread=False,  # one after the other
            pragmas={"query_only": 1, "cache_size": -500, "busy_timeout": OPEN_SECONDS * 1000},
            autoconnect=False,
        )
        self.reader.register_function(str.casefold, "casefold", 1)  # SQLite's own is for ASCII
        self.is_failing = False  # from a write that could not be done to the next commit
        self.refusals = 0  # writes that could not be done: for who judges what we did not hear
        self.is_replaced = False  # another file, or none, is at our path
        self.count_commit: Callable[[int], None] = lambda size: None  # of so many changes
        self._lock = threading.Lock()
        self._owner: int | None = None  # the thread that has a transaction open
        self.lost: BaseException | None = None  # what ended its transaction, until the next one
        self._changes = 0  # in it
        self._open()

    def _open(self) -> None:
        try:
            if not os.path.exists(self.path):  # its log gets the same mode
                make_private(self.path)
            if is_foreign(self.path):
                raise Refused(f"{self.path} is another program's database: choose another file")
            set_log_aside(self.path)
            self.db.connect()
            migrate(self.db, self.path)
            self.db.pragma("busy_timeout", round(GLANCE_SECONDS * 1000))
            self.connection: sqlite3.Connection = self.db.connection()
        except (*DATABASE_ERRORS, sqlite3.Error, OSError) as error:
            self.db.close()
            hint = "its folder must exist and be writable"
            if is_damaged(error):
                hint = "choose another file, or put a backup in its place"
            elif "locked" in str(error):
                hint = "another program is writing to it: try again"
            raise Refused(f"cannot open the database {self.path}: {error} ({hint})") from None
        except Refused:
            self.db.close()
            raise
        self.file = file_at(self.path)

    @property
    def is_writing(self) -> bool:
        """Whether this thread has a transaction open."""
        return self._owner == threading.get_ident()

    def write(self, work: Callable[[], T]) -> T:
        """Do `work` in a transaction of its own, or as a part of the one that is open.

        What it returned is on disk once the transaction has ended, what it raised is undone.
        Raises `Unavailable` where nothing can be written; `Busy` after two seconds of tries.
        """
        if self.is_writing:
            return self._write_part(work)
        patience = GLANCE_SECONDS if self.is_failing else PATIENCE_SECONDS
        deadline = monotonic() + patience
        while True:
            try:
                with self.together():
                    return self._write_part(work)
            except Busy as busy:
                if monotonic() > deadline:
                    self._note_failure(busy)
                    raise
                sleep(GLANCE_SECONDS / 10)

    def _write_part(self, work: Callable[[], T]) -> T:
        if self.lost:
            raise Unavailable
        try:
            result = self._do_or_undo(work)
        except CONSTRAINT_ERRORS:
            raise
        except DATABASE_ERRORS as error:
            is_open = self.connection.in_transaction  # a full disk rolls back all of it
            if is_damaged(error) or not is_open:
                self.lost = error
            self._note_failure(error)
            raise Unavailable from error
        self._changes += 1
        return result

    def _do_or_undo(self, work: Callable[[], T]) -> T:
        """Do `work` in a savepoint. Peewee's have a new name each, which SQLite compiles anew."""
        self.connection.execute("SAVEPOINT part")
        try:
            result = work()
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO part")
                self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")
        return result

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all that is written inside by this thread.

        Raises `Busy` where it cannot begin within 50 ms, `Unavailable` where it is lost.
        """
        if not self._lock.acquire(timeout=GLANCE_SECONDS):
            raise Busy
        self._owner = threading.get_ident()
        self.lost = None
        self._changes = 0
        has_begun = False
        has_ended = False
        try:
            if self.db.is_closed() or self.is_replaced:
                raise Unavailable
            with self.db.atomic("IMMEDIATE"):
                has_begun = True
                yield
                if self.lost:
                    raise Unavailable
                has_ended = True
            self._end()
        except DATABASE_ERRORS as error:
            if isinstance(error, CONSTRAINT_ERRORS) and not has_ended:
                raise
            if not has_begun and "locked" in str(error):
                raise Busy from error
            self._note_failure(error)
            raise Unavailable from error
        finally:
            self._owner = None
            self._lock.release()

    def _end(self) -> None:
        """After a commit: was it to our file?"""
        if file_at(self.path) != self.file:
            self.is_replaced = True
            self.refusals += 1
            with contextlib.suppress(*DATABASE_ERRORS):  # or our log is taken for that one's
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.db.close()
            raise Unavailable
        self.is_failing = False
        self.count_commit(self._changes)

    def _note_failure(self, error: BaseException) -> None:
        """Nothing can be written: say so once, and let the next ones not wait for long.

        A damaged page is another matter: all that does not meet it goes on.
        """
        if is_damaged(error) or not self.is_failing:
            log_unavailable("written", error)
        if not is_damaged(error):
            self.is_failing = True
            self.refusals += 1

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What a query finds, on a connection that nobody else has meanwhile.

        Raises `Unavailable` where the file cannot be read, or is not ours: SQLite would take our
        log for that one's.
        """
        if file_at(self.path) != self.file:
            self.is_replaced = True
            raise Unavailable("read")
        try:
            with self.reader.connection_context(), self.reader.atomic():  # of one instant
                return query(self.reader.connection())
        except (*DATABASE_ERRORS, sqlite3.Error) as error:
            log_unavailable("read", error)
            raise Unavailable("read") from None

    def close(self) -> None:
        """Let go of the file; nothing can be written any more."""
        with self._lock:
            self.db.close()
        self.reader.close_all()


LISTED = "IN (SELECT value FROM json_each(:listed))"  # one of a list, which comes as JSON


class Transaction(NamedTuple):
    """What an action or a query works with: a connection, and the instant it stands for."""

    db: sqlite3.Connection
    store: Store
    settings: Settings
    now: int

    def execute(self, sql: str, *values: Any, **named: Any) -> sqlite3.Cursor:
        """Run one statement, with values for its `?` or its `:names`."""
        return self.db.execute(sql, named or values)

    def rows(self, sql: str, *values: Any, **named: Any) -> list[Any]:
        """All rows of a query: an unfinished SELECT would hold the write-ahead log."""
        return self.db.execute(sql, named or values).fetchall()

    def first(self, sql: str, *values: Any, **named: Any) -> Any:
        """The first row of a query; None where there is none."""
        rows = self.db.execute(sql, named or values).fetchall()
        return rows[0] if rows else None

    def value(self, sql: str, *values: Any, **named: Any) -> Any:
        """The first column of that row; None where there is none."""
        row = self.first(sql, *values, **named)
        return row and row[0]

    def grouped(self, sql: str, nums: Iterable[int], **named: Any) -> dict[int, list[Any]]:
        """The rows of a query by their first column, which is `LISTED` of these numbers."""
        groups: dict[int, list[Any]] = {num: [] for num in nums}
        for num, *row in self.rows(sql, listed=json.dumps([*groups]), **named):
            groups[num].append(row)
        return groups

    def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """Insert a row; its num."""
        placeholders = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({placeholders})"
        return int(self.execute(sql, *values.values()).lastrowid or 0)

    def update(self, table: str, num: int, values: Mapping[str, Any]) -> None:
        """Write the columns of a row that changed; none is fine."""
        if values:
            changes = ", ".join(f"{name} = ?" for name in values)
            self.execute(f"UPDATE {table} SET {changes} WHERE num = ?", *values.values(), num)


def hash_secret(secret: str) -> str:
    """How a secret is stored and found: SHA-256 in hex, of what is random enough by itself."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def find_row(tx: Transaction, table: str, columns: str, name: str) -> Any:
    """Columns of the row with this id or name; refuses with 404."""
    row = tx.first(f"SELECT {columns} FROM {table} WHERE ? IN (id, name)", name)
    if row is None:
        noun = table.replace("api_key", "API key")
        raise Refused(f"there is no {noun} '{clean(name, 200)}'", "NOT_FOUND", 404)
    return row


def refuse_taken(tx: Transaction, table: str, column: str, value: str) -> None:
    """Refuse, with 409, what another row has."""
    if tx.rows(f"SELECT 1 FROM {table} WHERE {column} = ?", value):
        what = {"api_key": "an API key", "integration": "an integration"}.get(table, f"a {table}")
        which = "this secret" if column == "hash" else f"the {column} '{value}'"
        raise Refused(f"there is {what} with {which} already: choose another one", "CONFLICT", 409)


def remember(tx: Transaction, name: str, value: Any) -> None:
    """Keep what the server knows of itself for the next start, and for the command line."""
    tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)


def remembered(store: Store, name: str, default: Any) -> Any:
    """What was kept so."""
    values = store.read(
        lambda db: db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchall()
    )
    return values[0][0] if values else default


def stamp_alive(tx: Transaction) -> None:
    """Write down that we live, for the next start to know how long we were away."""
    remember(tx, "alive_at", tx.now)


# == Monitors =================================================================
# All that is done to a monitor, each in one transaction. No request and no network.
MONITOR_FIELDS = [column.name for column in dataclasses.fields(Monitor)]
RUN_FIELDS = [column.name for column in dataclasses.fields(Run)]
LAST_ABSENCE = "SELECT coalesce(spared_since, since), until FROM absence ORDER BY num DESC LIMIT 1"
STATE_SQL = f"""SELECT {", ".join(f"m.{name}" for name in MONITOR_FIELDS)},
    coalesce(a.spared_since, a.since), a.until,
    (SELECT seq FROM sqlite_sequence WHERE name = 'ping')
    FROM monitor m LEFT JOIN absence a ON a.num = (SELECT max(num) FROM absence) WHERE m.num = ?"""
RUN_SQL = f"SELECT {', '.join(RUN_FIELDS)} FROM run WHERE monitor = :monitor AND "


# The runs that a ping may belong to, each kind on an index of its own.
# Each kind has a limit: however many runs never end, a ping costs the same.
OPEN_RUNS = " UNION ALL ".join(
    f"SELECT * FROM ({RUN_SQL} state = 'running' AND awaited = {awaited} "
    f"ORDER BY num {way} LIMIT 100)"
    for awaited, way in ((1, "ASC"), (1, "DESC"), (0, "DESC"))
)


LAST_STARTS = (
    f" UNION ALL SELECT * FROM ({RUN_SQL} opened = 1 ORDER BY started_at DESC, num DESC LIMIT 3)"
)
OF_SERIES = f" UNION ALL SELECT * FROM ({RUN_SQL} series = :series ORDER BY num DESC LIMIT 1)"
LAST_ENDED = (
    f" UNION ALL SELECT * FROM (SELECT * FROM ({RUN_SQL} 1 ORDER BY started_at DESC, num DESC "
    "LIMIT 200) WHERE host IS :host AND state != 'running' AND "
    "(series IS NULL OR state IN ('success', 'failed')) LIMIT 1)"
)
PING_FIELDS = [*Ping._fields[:-2], "monitor", "run", "dialect"]  # the last two: not kept there
INSERT_RUN, INSERT_PING = (
    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for table, names in (("run", RUN_FIELDS), ("ping", PING_FIELDS))
)
# A run has the outputs of all its pings, the end of them where they are too long.
APPEND_LOG = """INSERT INTO run_log (run, content, monitor) VALUES (?1, ?2, ?3) ON CONFLICT (run)
    DO UPDATE SET content = substr(content || char(10) || excluded.content, -?4)"""
LOG_MAX = 100_000  # characters
MONITOR_VALUES = operator.attrgetter(*MONITOR_FIELDS)
RUN_VALUES = operator.attrgetter(*RUN_FIELDS)


class Before(NamedTuple):
    """The rows that a state came from: only what changes is written."""

    monitor: Sequence[Any]
    runs: Mapping[int, Sequence[Any]]
    next_ping: int  # the number of the next ping, which is that of the run that it opens


def load_state(tx: Transaction, num: int, ping: Ping | None = None) -> tuple[MonitorState, Before]:
    """A monitor with its open runs, and the other ones that a ping may belong to."""
    *monitor, spared_since, until, last_ping = tx.first(STATE_SQL, num)
    sql = OPEN_RUNS
    series, host = (ping.series, ping.host) if ping else (None, None)
    if ping:
        sql += LAST_STARTS if ping.kind == "start" else ""
        sql += OF_SERIES if series else LAST_ENDED if ping.kind in OUTCOMES else ""
    runs = tx.rows(sql, monitor=num, series=series, host=host)
    by_num = {run[0]: run for run in runs}
    state = MonitorState(
        Monitor(*monitor),
        [Run(*run) for run in by_num.values()],
        tx.settings.failure_alert_seconds,
        None if until is None else Absence(spared_since, until),
    )
    if state.monitor.due_at is not None:
        state.quiet_until = state.monitor.due_at
    return state, Before(monitor, by_num, (last_ping or 0) + 1)


def save_state(
    tx: Transaction, state: MonitorState, before: Before, run_log: tuple[int, str] | None = None
) -> None:
    """Write what changed, a run's log, and each event with an alert for all who hear of it."""
    m = state.monitor
    change = next_change(state, tx.now)
    m.due_at = change.at if change else None
    for run in state.runs:
        values = RUN_VALUES(run)
        if run.num in before.runs:
            tx.update("run", run.num, _changed(RUN_FIELDS, before.runs[run.num], values))
        else:
            tx.execute(INSERT_RUN, *values)
    if run_log is not None:
        tx.execute(APPEND_LOG, *run_log, m.num, LOG_MAX)
    tx.update("monitor", m.num, _changed(MONITOR_FIELDS, before.monitor, MONITOR_VALUES(m)))
    for flip_ in state.flips:
        tx.insert("flip", {"monitor": m.num, **flip_._asdict()})
    for event in state.events:
        add_event(tx, event, m)


def _changed(names: Sequence[str], before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any]:
    """The columns that differ, without a look at each of forty in Python."""
    are_changed = map(operator.ne, before, after)
    return dict(itertools.compress(zip(names, after, strict=True), are_changed))


def change_monitor(tx: Transaction, num: int, change: Callable[[MonitorState], Any]) -> Monitor:
    """Let a rule change a monitor by hand; the monitor as it is then."""
    state, before = load_state(tx, num)
    change(state)
    state.monitor.updated_at = tx.now
    save_state(tx, state, before)
    return state.monitor


# -- what is told, and to whom

TAIL_MAX = 1000  # characters of the end of a log
# When an alert is due that waits behind another one of its monitor. Triggers of schema.sql set it,
# and free the next one once that one is sent, given up, refused too often (`is_aside`) or removed.
BLOCKED_AT = 2**53
# A command may not have the settings of the server, which keeps whether it can send mail.
HAS_MAIL = """(:smtp_host != ''
    OR EXISTS (SELECT 1 FROM meta WHERE name = 'smtp_host' AND value != ''))"""
RECIPIENTS_SQL = f"""SELECT m.num, i.num, i.id, i.name FROM monitor m CROSS JOIN integration i
    LEFT JOIN monitor_integration l ON l.monitor = m.num AND l.integration = i.num
    WHERE i.enabled AND CASE i.channel
        WHEN 'email' THEN {HAS_MAIL} AND m.email_alerts
            AND (l.monitor IS NOT NULL OR i.is_default)
        ELSE l.monitor IS NOT NULL OR m.default_integrations AND i.is_default END
    AND m.num {LISTED} ORDER BY i.name"""
DEFAULT_SQL = f"""SELECT num FROM integration i
    WHERE enabled AND is_default AND (channel != 'email' OR {HAS_MAIL})"""
LINKS_SQL = f"""SELECT m.num, i.id FROM monitor m JOIN integration i
    ON m.default_integrations AND i.is_default OR EXISTS (SELECT 1 FROM monitor_integration l
    WHERE l.monitor = m.num AND l.integration = i.num) WHERE m.num {LISTED} ORDER BY i.num"""


class Recipient(NamedTuple):
    """An integration that is told of a monitor."""

    num: int
    id: str
    name: str


def recipients_of(tx: Transaction, nums: Sequence[int]) -> dict[int, list[Recipient]]:
    """Who is told of these monitors, by name; without an SMTP server no mail is one."""
    groups = tx.grouped(RECIPIENTS_SQL, nums, smtp_host=tx.settings.smtp_host)
    return {num: [Recipient(*row) for row in rows] for num, rows in groups.items()}


def find_recipients(tx: Transaction, m: Monitor | None) -> list[int]:
    """The integrations that hear of a monitor, or of the server itself: all default ones."""
    if m is None:
        return [num for (num,) in tx.rows(DEFAULT_SQL, smtp_host=tx.settings.smtp_host)]
    return sorted(recipient.num for recipient in recipients_of(tx, [m.num])[m.num])


def links_of(tx: Transaction, nums: Sequence[int]) -> dict[int, list[str]]:
    """The ids of the integrations that these monitors name, or that are default for them."""
    return {num: [id_ for (id_,) in rows] for num, rows in tx.grouped(LINKS_SQL, nums).items()}


def add_event(
    tx: Transaction, event: Event, m: Monitor | None, to: Sequence[int] | None = None, **more: Any
) -> None:
    """Keep an event as it is now, and an alert for each integration that hears of it. Of what is
    kept with it, `about` and `timezone` are for its words only."""
    run = None if event.run is None else find_run_row(tx, event.run)
    body = {
        "monitor": m
        and {
            "id": m.id,
            "key": m.key,
            "name": m.name,
            "tags": m.tags.split(),
            "status": event.status or m.status,
            "timezone": m.timezone,
            "notes": m.notes,
        },
        "run": run and run_json(tx, run.num),
        "reason": event.reason,
        "downSince": iso(event.down_since),
        "downtimeSeconds": event.downtime_ms and event.downtime_ms // 1000,
        "failedCount": event.failed_count,
        "missedCount": event.missed_count,
        "count": event.count,
        "rules": event.rules,
        "lastSuccess": m and last_success_json(tx, m.num, event.run),
        "gap": _restart_during(tx, event) if event.kind == "stuck" else None,
        "monitors": None,
        "about": _about(event, m, run),
        "timezone": tx.settings.timezone,
        **more,
    }
    num = tx.insert(
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
    about = f"monitor {m.id}" if m else "the server"
    tx.store.db.after_commit(lambda: log.info("event %s of %s", event.kind, about))
    for integration in find_recipients(tx, m) if to is None else to:
        tx.insert(
            "alert",
            {"event": num, "integration": integration, "monitor": m and m.num, "due_at": tx.now},
        )


def _restart_during(tx: Transaction, event: Event) -> dict[str, Any] | None:
    """The last short absence of ours that a run was open in: its end may have been lost then."""
    gap = tx.first(
        "SELECT since, until FROM absence WHERE until > since AND until - since <= ? "
        "AND until > (SELECT started_at FROM run WHERE num = ?) AND until <= ? "
        "ORDER BY num DESC LIMIT 1",
        RESTART_MS,
        event.run,
        event.at,
    )
    return gap and show(GAPS, gap)


def _about(event: Event, m: Monitor | None, run: Run | None) -> dict[str, Any] | None:
    if m is not None and event.kind == "missed":
        return {
            "dueAt": iso(event.due_at),
            "graceSeconds": m.grace_seconds,
            "expects": m.expects,
        }
    if run is not None and event.kind == "silent_failure":
        return {"values": rule_values(run)}
    return None


def find_run_row(tx: Transaction, num: int) -> Run | None:
    """A run by its number."""
    row = tx.first(f"SELECT {', '.join(RUN_FIELDS)} FROM run WHERE num = ?", num)
    return row and Run(*row)


def last_success_json(tx: Transaction, monitor: int, but: int | None) -> JsonObject | None:
    """The last good run of a monitor but that one, as events show it."""
    run = tx.first(
        "SELECT ended_at, duration_ms FROM (SELECT * FROM run WHERE monitor = ? "
        "ORDER BY started_at DESC, num DESC LIMIT 2000) "
        "WHERE state = 'success' AND num IS NOT ? LIMIT 1",
        monitor,
        but,
    )
    return run and {"at": iso(run[0]), "durationMs": run[1]}


def run_json(tx: Transaction, num: int) -> JsonObject:
    """A run as events show it, with the end of its log."""
    run = tx.first(f"SELECT {sql_list(RUNS)} FROM run WHERE num = ?", num)
    log_tail = tx.value(f"SELECT substr(content, -{TAIL_MAX}) FROM run_log WHERE run = ?", num)
    return {**show(RUNS, run), "logTail": log_tail}


# -- what pings one: its handles

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
OUR_HANDLES: dict[str, Callable[[], str]] = {
    "token": lambda: str(uuid.uuid4()),
    "code": lambda: "".join(secrets.choice(BASE62) for _ in range(8)),
}


def find_handle(tx: Transaction, text: str) -> tuple[int, str] | None:
    """The monitor of a handle, and the handle's kind."""
    text = text.lower() if TOKEN.fullmatch(text) else text
    return tx.first("SELECT monitor, kind FROM handle WHERE text = ?", text)  # type: ignore[no-any-return]


def find_monitor(tx: Transaction, name: str) -> int | None:
    """The monitor with this key, handle or id."""
    name = clean(name, 200) or ""
    match = (
        tx.first("SELECT num FROM monitor WHERE key = ?", name)
        or find_handle(tx, name)
        or tx.first("SELECT num FROM monitor WHERE id = ?", name.lower())
    )
    return match and match[0]


MONITORS_SQL = f"SELECT {', '.join(MONITOR_FIELDS)} FROM monitor"
BY_ID_OR_KEY = "id = ?1 OR key = ?1 ORDER BY id = ?1 DESC LIMIT 1"  # each by its index


def select_monitors(tx: Transaction, condition: str, *values: Any, **named: Any) -> list[Monitor]:
    """The monitors for which an SQL condition holds, perhaps with an order and a limit."""
    sql = f"{MONITORS_SQL} WHERE {condition}"
    return [Monitor(*row) for row in tx.rows(sql, *values, **named)]


def load_monitor(tx: Transaction, num: int) -> Monitor:
    """A monitor by its number."""
    return select_monitors(tx, "num = ?", num)[0]


def get_monitor(tx: Transaction, name: str) -> Monitor:
    """The monitor with this id or key; refuses with 404."""
    for m in select_monitors(tx, BY_ID_OR_KEY, name):
        return m
    sentence = f"Heartbeat not found: there is no monitor '{clean(name, 200)}'"
    raise Refused(sentence, "NOT_FOUND", 404)


def adopt(tx: Transaction, num: int, text: str, kind: str) -> None:
    """Let a handle ping a monitor; refuses one that another monitor has."""
    text = text.lower() if TOKEN.fullmatch(text) else text
    if clean(text, 200) != text or "://" in text or text in RESERVED:
        raise Invalid(
            "a handle must be 1 to 200 characters without controls, and no URL nor any "
            "of the words " + ", ".join(sorted(RESERVED))
        )
    refuse_taken(tx, "handle", "text", text)
    tx.execute("INSERT INTO handle VALUES (?, ?, ?)", text, num, kind)


def list_handles(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Every secret that pings a monitor."""
    m = get_monitor(tx, request.id)
    sql = f"SELECT {sql_list(HANDLES)} FROM handle WHERE monitor = ? ORDER BY kind, text"
    return {"handles": table_json(HANDLES, tx.rows(sql, m.num))}


def add_handle(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Let a handle of an old service ping a monitor too."""
    body = read_fields(NEW_HANDLE, request.body)
    m = get_monitor(tx, request.id)
    adopt(tx, m.num, body["handle"], body["dialect"] or default_dialect(body["handle"]))
    return list_handles(tx, request)


def remove_handle(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Let an adopted handle ping no more."""
    m = get_monitor(tx, request.id)
    text = request.get(THE_HANDLE)
    handle = find_handle(tx, text)
    if handle is None or handle[0] != m.num:
        raise Refused("this monitor has no such handle", "NOT_FOUND", 404)
    if handle[1] in OUR_HANDLES:
        raise Refused(f"a monitor always has a {handle[1]}: rotate it instead", "CONFLICT", 409)
    stored = text.lower() if TOKEN.fullmatch(text) else text
    tx.execute("DELETE FROM handle WHERE text = ?", stored)
    return list_handles(tx, request)


def rotate_handle(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """A new token or code in place of one that is known to too many."""
    kind = read_fields(ROTATION, request.body)["kind"]
    m = get_monitor(tx, request.id)
    tx.execute("DELETE FROM handle WHERE monitor = ? AND kind = ?", m.num, kind)
    adopt(tx, m.num, OUR_HANDLES[kind](), kind)
    return monitor_json(tx, m)


# -- how one is shown


def schedule_type(m: Monitor) -> str:
    """Which of `SCHEDULE_NEEDS` a monitor has."""
    return "cron" if m.cron else "interval" if m.interval_seconds else "none"


def schedule_words(m: Monitor) -> str:
    """When a monitor is expected, in words."""
    if m.cron:
        return describe_cron(m.cron)
    return interval_words(m.interval_seconds) if m.interval_seconds else "no schedule"


RUNS_SQL = f"SELECT monitor, {sql_list(RUNS_IN_LISTS)} FROM run "
NEWEST_RUNS = f"""{RUNS_SQL} WHERE num IN (SELECT (SELECT num FROM run WHERE monitor = m.num
    ORDER BY started_at DESC, num DESC LIMIT 1) FROM monitor m WHERE m.num {LISTED})"""
HANDLES_SQL = f"SELECT monitor, {sql_list(HANDLES)} FROM handle WHERE monitor {LISTED}"
OPEN_RUNS_OF = f"""SELECT r.monitor, r.num, max(r.started_at), r.message,
    (SELECT percent FROM ping WHERE run = r.num AND kind = 'progress' AND percent IS NOT NULL
     ORDER BY num DESC LIMIT 1),
    (SELECT at FROM ping WHERE run = r.num AND kind = 'progress' ORDER BY num DESC LIMIT 1)
    FROM run r WHERE r.state = 'running' AND r.monitor {LISTED} GROUP BY r.monitor"""


def open_runs_of(tx: Transaction, nums: Sequence[int]) -> dict[int, Any]:
    """The newest open run of these monitors, as columns of `OPEN_RUNS_OF`."""
    return {num: runs[0] for num, runs in tx.grouped(OPEN_RUNS_OF, nums).items() if runs}


def _progress_of(run: Sequence[Any] | None) -> JsonObject | None:
    if run is None or run[4] is None:
        return None
    return {"percent": run[3], "message": run[2], "at": iso(run[4])}


def is_late(m: Monitor, now: int) -> bool:
    """Whether it is past its time, and still in grace."""
    return m.status == "up" and m.expected_at is not None and m.expected_at < now


def monitors_json(
    tx: Transaction, monitors: Sequence[Monitor], shows_secrets: bool = True
) -> list[JsonObject]:
    """Monitors in the form of Cronping's page, with our fields, perhaps with their handles."""
    nums = [m.num for m in monitors]
    recipients, running = recipients_of(tx, nums), open_runs_of(tx, nums)
    last, handles = tx.grouped(NEWEST_RUNS, nums), tx.grouped(HANDLES_SQL, nums)
    return [
        {
            "id": m.id,
            "status": m.status,
            "paused": m.status == "paused",
            "scheduleType": schedule_type(m),
            **{field.name: field.to_json(getattr(m, field.column)) for field in MONITOR},
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
            "lastRun": next(iter(table_json(RUNS_IN_LISTS, last[m.num])), None),
            "schedule": schedule_words(m),
            "recipients": [recipient.name for recipient in recipients[m.num]],
            "heard": bool(recipients[m.num]),
            "createdAt": iso(m.created_at),
            "updatedAt": iso(m.updated_at),
            **(_handles_json(tx, handles[m.num]) if shows_secrets else {}),
        }
        for m in monitors
    ]


def monitor_json(tx: Transaction, m: Monitor, shows_secrets: bool = True) -> JsonObject:
    """One of them."""
    return monitors_json(tx, [m], shows_secrets)[0]


def _handles_json(tx: Transaction, handles: Sequence[Sequence[str]]) -> JsonObject:
    ours = {kind: text for kind, text in handles if kind in OUR_HANDLES}
    return {
        **ours,
        "pingUrl": f"{tx.settings.base_url}/{ours['token']}",
        "handles": table_json(HANDLES, (one for one in handles if one[0] not in ours)),
    }


def has_all(of: str, where: str) -> str:
    """The condition that a text has all of a list in it, which comes as JSON."""
    return f"NOT EXISTS (SELECT 1 FROM json_each(:{of}) WHERE instr({where}, value) = 0)"


def read_filter(request: ApiRequest) -> tuple[str, JsonObject]:
    """The condition that `query` and `tag` stand for, with its values."""
    parts = [part.casefold() for part in request.get(NAME_PART)]
    tags = [f" {tag} " for tag in request.get(TAG)]
    conditions = ["1"]
    if parts:
        conditions.append(has_all("parts", "casefold(name)"))
    if tags:
        conditions.append(has_all("tags", "' ' || tags || ' '"))
    values = {"parts": json.dumps(parts), "tags": json.dumps(tags)}
    # SQLite takes a text to end at a NUL, and would find the rest everywhere.
    return " AND ".join(conditions), {
        name: text.replace(r"\u0000", r"\ufffd") for name, text in values.items()
    }


def paged(
    tx: Transaction,
    request: ApiRequest,
    sql: str,
    values: Mapping[str, Any],
    order: str,
    limit: Field = LIST_LIMIT,
) -> tuple[list[Any], JsonObject]:
    """A page of a list, and what says which page it is."""
    place = {"limit": request.get(limit), "offset": request.get(OFFSET)}
    total = tx.value(f"SELECT count(*) FROM ({sql})", **values)
    page = tx.rows(f"{sql} ORDER BY {order} LIMIT :limit OFFSET :offset", **values, **place)
    return page, {"total": total, **place}


def list_monitors(tx: Transaction, request: ApiRequest) -> JsonObject:
    """A page of monitors by name, filtered as Cronping's page has it."""
    condition, values = read_filter(request)
    if request.get(STATUS):
        condition += f" AND status {LISTED}"
    values["listed"] = json.dumps(request.get(STATUS))
    sql = f"{MONITORS_SQL} WHERE {condition}"
    page, place = paged(tx, request, sql, values, "name, num", MONITOR_LIMIT)
    monitors = [Monitor(*row) for row in page]
    return {"heartbeats": monitors_json(tx, monitors, request.shows_secrets), **place}


def monitor_keys(tx: Transaction) -> list[str]:
    """The keys of all monitors, for a shell to complete."""
    return [key for (key,) in tx.rows("SELECT key FROM monitor ORDER BY key")]


def show_monitor(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """A monitor, with the integrations that are linked to it, and when it is expected next."""
    m = get_monitor(tx, request.id)
    coming = m.expected_at
    if coming is None or coming <= tx.now:
        coming = next_occurrence(m, tx.now) if m.cron else None
    return {
        **monitor_json(tx, m, request.shows_secrets),
        "integrationIds": links_of(tx, [m.num])[m.num],
        "upcoming": [iso(at) for at in itertools.islice(occurrences_from(m, coming), 5)],
    }


def occurrences_from(m: Monitor, occurrence: int | None) -> Iterator[int]:
    """An occurrence and all that follow it; nothing for none."""
    while occurrence is not None:
        yield occurrence
        occurrence = next_occurrence(m, occurrence)


# -- what is done to one


def read_monitor(body: Any, m: Monitor | None = None) -> JsonObject:
    """The columns of a new monitor, or those that change, from its JSON; raises `Invalid`."""
    body = read_object(body, *(field.name for field in NEW_MONITOR))
    before = schedule_type(m) if m else "interval"
    kind = _read_schedule_type(body, before, is_new=m is None)
    needed = {"name", SCHEDULE_NEEDS[kind]}
    if m:
        needed = {SCHEDULE_NEEDS[kind]} - {SCHEDULE_NEEDS[before]}
    if missing := needed - set(body) - {None}:
        raise Invalid(f"{max(missing, key=str)} is required")
    unused = set(SCHEDULE_NEEDS.values()) - {SCHEDULE_NEEDS[kind]}  # Cronping sends 0 and null
    unread = m.cron if m else None  # an older version took ranges that wrap: one goes on
    columns: JsonObject = {}
    for field in MONITOR:
        if field.name in unused:
            columns[field.column] = None
        elif field.name in body:
            value = body[field.name]
            goes_on = field.column == "cron" and unread is not None and value == unread
            columns[field.column] = value if goes_on else field.shape.read(field.name, value)
    return columns


def _read_schedule_type(body: JsonObject, before: str, is_new: bool) -> str:
    """What the body says; of an edit also what it gives by itself."""
    implied_by = [kind for kind, need in SCHEDULE_NEEDS.items() if body.get(need or "")]
    implied = implied_by[0] if implied_by and not is_new else before
    kind: str = SCHEDULE_TYPE.shape.read(SCHEDULE_TYPE.name, body.get(SCHEDULE_TYPE.name, implied))
    return kind


def read_ids(body: JsonObject) -> list[str] | None:
    """The integrations that are named; None for all default ones."""
    ids: list[str] | None = IDS.read("integrationIds", body.get("integrationIds"))
    return ids


def free_key(tx: Transaction, name: str) -> str:
    """A key made from a name, with a number where it is taken."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:180] or "monitor"
    keys = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return next(key for key in keys if not tx.rows("SELECT 1 FROM monitor WHERE key = ?", key))


def title(key: str) -> str:
    """A name made from a key, in Title Case."""
    words = re.split(r"[-_.\s]+", key)
    return " ".join(word[:1].upper() + word[1:] for word in words if word)[:200] or key


def create_monitor(
    tx: Transaction,
    fields: Mapping[str, Any],
    handles: Mapping[str, str] | None = None,
    integrations: Sequence[str] | None = None,
) -> int:
    """A new monitor with a token, a code and adopted handles (text to dialect); its num.
    Raises `Refused` 409 where its key or a handle is taken."""
    if fields.get("cron"):
        next_run(fields["cron"], fields.get("timezone", "UTC"), tx.now)  # a zone may skip it
    key = fields.get("key") or free_key(tx, fields["name"])
    refuse_taken(tx, "monitor", "key", key)
    num = tx.insert(
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
    state, before = load_state(tx, num)
    arm(state, tx.now)
    save_state(tx, state, before)
    return num


def link_integrations(tx: Transaction, num: int, ids: Sequence[str]) -> None:
    """Let exactly these integrations hear of a monitor."""
    tx.execute("DELETE FROM monitor_integration WHERE monitor = ?", num)
    for id_ in dict.fromkeys(ids):
        integration = tx.value("SELECT num FROM integration WHERE id = ?", id_)
        if integration is None:
            raise Invalid(f"integrationIds names '{clean(id_, 60)}', which does not exist")
        tx.execute("INSERT INTO monitor_integration VALUES (?, ?)", num, integration)


PAUSE_MAX = 876_000 * 3600  # seconds
Reply = tuple[dict[str, Any], int]  # with a status that is not the route's own


def add_monitor(
    tx: Transaction, request: ApiRequest, handles: Mapping[str, str] | None = None
) -> Reply:
    """Create a monitor from its JSON; with `unique`, change the one of that name if there is."""
    columns, unique = {"timezone": "UTC", **read_monitor(request.body)}, request.body.get("unique")
    if unique is not None:
        name = UNIQUE.shape.read(UNIQUE.name, unique)
        id_ = tx.value("SELECT id FROM monitor WHERE name = ? ORDER BY num LIMIT 1", name)
        if id_ is not None:
            body = {field: value for field, value in request.body.items() if field != "unique"}
            return edit_monitor(tx, request._replace(id=id_, body=body)), 200
    num = create_monitor(tx, columns, handles, read_ids(request.body))
    return monitor_json(tx, load_monitor(tx, num)), 201


def edit_monitor(
    tx: Transaction, request: ApiRequest, handles: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Change what the body names, and adopt more handles."""
    m = get_monitor(tx, request.id)
    for text, kind in (handles or {}).items():
        adopt(tx, m.num, text, kind)
    if isinstance(request.body, dict) and "unique" in request.body:
        raise Invalid("'unique' can only be given when a monitor is created")
    columns, ids = read_monitor(request.body, m), read_ids(request.body)
    if "integrationIds" in request.body:
        link_integrations(tx, m.num, ids or ())
        columns["default_integrations"] = int(ids is None)
    if columns.get("key", m.key) != m.key:
        refuse_taken(tx, "monitor", "key", columns["key"])
    if cron := columns.get("cron", m.cron):
        next_run(cron, columns.get("timezone", m.timezone), tx.now)
    changed = change_monitor(tx, m.num, lambda state: edit(state, tx.now, columns))
    if "integrationIds" in request.body:
        others = f"monitor = :monitor AND integration NOT {LISTED}"
        recipients = json.dumps(find_recipients(tx, changed))
        withdraw_alerts(tx, others, monitor=m.num, listed=recipients)
    return monitor_json(tx, changed)


def withdraw_alerts(tx: Transaction, condition: str, **values: Any) -> None:
    """Give up alerts that wait for who is told no more: nobody would be told of the recovery."""
    sql = (
        "UPDATE alert SET state = 'dead', tried_at = coalesce(tried_at, :now), "
        "result = 'given up: no longer told of it' WHERE state = 'pending' AND "
    )
    tx.execute(sql + condition, now=tx.now, **values)


def change_by_hand(
    tx: Transaction, name: str, change: Callable[[MonitorState], Any]
) -> JsonObject:
    """Let a rule change the monitor with this key or id; as it is then."""
    return monitor_json(tx, change_monitor(tx, get_monitor(tx, name).num, change))


def pause_monitor(tx: Transaction, num: int, seconds: float | None) -> Monitor:
    """Pause for so many seconds, a hundred years at most; None until resumed, 0 resumes."""
    if seconds == 0:
        return change_monitor(tx, num, lambda state: resume(state, tx.now))
    until = None if seconds is None else tx.now + round(min(seconds, PAUSE_MAX) * 1000)
    return change_monitor(tx, num, lambda state: pause(state, tx.now, until))


def pause_for(tx: Transaction, name: str, seconds: float | None) -> JsonObject:
    """The same, by its key or id."""
    return monitor_json(tx, pause_monitor(tx, get_monitor(tx, name).num, seconds))


def pause_heartbeat(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Pause a monitor, for `hours` where the body says so."""
    hours = read_fields(PAUSE, {} if request.body is None else request.body)["hours"]
    return pause_for(tx, request.id, None if hours is None else hours * 3600)


def resume_heartbeat(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """Resume a monitor: in Cronping it is new then."""
    return change_by_hand(tx, request.id, lambda state: resume(state, tx.now, to_new=True))


def mark_ok(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """All is well, says a person: up without an event, as by Cronitor's /ok."""
    return change_by_hand(tx, request.id, lambda state: receive(state, Ping("ok", tx.now)))


def empty_monitor(tx: Transaction, request: ApiRequest) -> bool:
    """Delete some of what a monitor has that is to be removed; whether there may be more. At once
    that would hold up pings."""
    num = find_monitor(tx, request.id)
    return num is not None and prune_beyond(tx, num, 1)


def remove_monitor(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """Delete a monitor with all that hangs on it."""
    m = get_monitor(tx, request.id)
    tx.execute("DELETE FROM monitor WHERE num = ?", m.num)
    return {"id": m.id, "deleted": True}


# -- what happens by itself: deadlines, and absences of ours

SCAN_LIMIT = 25  # monitors in one transaction: pings wait for it


def scan_due(
    tx: Transaction, after: tuple[int, int], damaged: Container[int]
) -> tuple[int, int] | None:
    """Let what fell due happen, for the next 25 monitors; the place of the last, or None.

    A place is a deadline and a monitor: so one scan meets each monitor once, whatever it does.
    """
    due = tx.rows(
        "SELECT due_at, num FROM monitor WHERE due_at <= ? AND (due_at, num) > (?, ?) "
        "ORDER BY due_at, num LIMIT ?",
        tx.now,
        *after,
        SCAN_LIMIT,
    )
    for _, num in due:
        if num not in damaged:
            change_alone(tx, num, lambda state: settle(state, tx.now))
    return due[-1] if len(due) == SCAN_LIMIT else None


def change_alone(tx: Transaction, num: int, change: Callable[[MonitorState], T]) -> T | None:
    """Change a monitor; one that is bad cannot stop the others: it is undone, and logged."""

    def work() -> T:
        state, before = load_state(tx, num)
        result = change(state)
        save_state(tx, state, before)
        return result

    try:
        return tx.store.write(work)
    except Exception as error:
        if tx.store.lost and is_damaged(tx.store.lost):
            raise DamagedMonitor(num) from error
        if tx.store.lost:
            raise
        log.exception("monitor %d could not be looked at", num)
        tx.update("monitor", num, {"due_at": tx.now + 60_000})
    return None


def record_absence(tx: Transaction, since: int, until: int, damaged: Container[int] = ()) -> None:
    """We were away: judge every monitor that it touches, and tell once whom it may have hidden.

    An end before the begin is a clock that went back; it is a gap of no length, at the end."""
    if until < since:
        _turn_clock_back(tx, since, until, damaged)
        since = until
    else:
        _judge_monitors(tx, since, until, damaged)
    earlier = next((Absence(*row) for row in tx.rows(LAST_ABSENCE)), None)
    spared = join_absences(earlier, Absence(since, until))
    tx.insert("absence", {"since": since, "until": until, "spared_since": spared.since})
    remember(tx, "alive_at", until)


def _judge_monitors(tx: Transaction, since: int, until: int, damaged: Container[int]) -> None:
    # subqueries: one on the index of deadlines, one on that of open runs
    touched = tx.rows(
        "SELECT num FROM monitor WHERE num IN (SELECT num FROM monitor WHERE due_at <= ? "
        "OR expected_at <= ? UNION ALL SELECT monitor FROM run WHERE state = 'running') "
        "ORDER BY num",
        until,
        until + EARLY_SECONDS * 1000,
    )

    def judge(state: MonitorState) -> dict[str, str] | None:
        m = state.monitor
        is_named = judge_gap(state, since, until)
        return {"id": m.id, "key": m.key, "name": m.name} if is_named else None

    judged = [change_alone(tx, num, judge) for (num,) in touched if num not in damaged]
    named = [monitor for monitor in judged if monitor is not None]
    if named:
        gap = {"since": iso(since), "until": iso(until)}
        add_event(tx, Event("outage", until), None, gap=gap, monitors=named)


def _turn_clock_back(tx: Transaction, before: int, now: int, damaged: Container[int]) -> None:
    """Nothing lies later than it would be counted from now; no monitor is left out."""
    for sql in (
        "UPDATE run SET next_at = NULL WHERE started_at > :now AND state != 'running'",
        "UPDATE run SET started_at = min(started_at, :now), ended_at = min(ended_at, :now) "
        "WHERE state != 'running' AND (started_at > :now OR ended_at > :now)",
        "UPDATE flip SET at = :now WHERE at > :now",
        "UPDATE integration SET rests_until = NULL WHERE rests_until > :now",
        "UPDATE absence SET since = min(since, :now), until = :now, "
        "spared_since = min(spared_since, :now) WHERE until > :now",
        # an alert waits no longer for its next try than it would have
        "UPDATE alert SET due_at = min(due_at, :now + due_at - coalesce(tried_at, due_at)), "
        "tried_at = min(tried_at, :now) WHERE state = 'pending' AND due_at < :blocked",
    ):
        tx.execute(sql, now=now, blocked=BLOCKED_AT)
    for (num,) in tx.rows("SELECT num FROM monitor ORDER BY num"):
        if num not in damaged:
            change_alone(tx, num, lambda state: turn_back(state, before, now))


AWAY_MS = 60_000  # beyond its interval, between two looks


class Scanner:
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
        self.last_at = clock()
        self.refusals = store.refusals  # that were judged
        self._judging = threading.Lock()
        self.measure: Callable[[float], None] = lambda seconds: None  # of each look

    def was_away(self) -> bool:
        """Whether there is a gap to judge, before anything that comes after it is done."""
        was_refused = self.store.refusals != self.refusals
        return was_refused or not 0 <= self.clock() - self.last_at <= self.longest_ms

    def judge_absence(self) -> None:
        """Judge a gap. Where nothing can be written, it lasts until something can."""
        with self._judging:
            if not self.was_away():
                return
            refusals = self.store.refusals
            now = self.clock()
            self.away(self.last_at, now)
            self.last_at = now
            self.refusals = refusals

    def is_looking(self) -> bool:
        """Whether the last look was not too long ago."""
        return self.clock() - self.last_at <= self.longest_ms

    def look(self) -> None:
        """One look."""
        self.judge_absence()
        now = self.clock()
        began = monotonic()
        self.scan()
        self.last_at = now
        self.measure(monotonic() - began)


# -- what is kept, and for how long

DAY_MS = 86_400_000
PRUNE_LIMIT = 500  # rows in one transaction
RUNS_LIMIT = 50  # runs, each perhaps with a log of 100 KB
PRUNE_STEP = 100  # so many pings beyond its bound are worth a look at all that a monitor has
OLD = {"run": "started_at < :before", "absence": "until < :before"}


# The last three runs that a start opened say whether the next one is awaited. The flip stays that
# tells the status at that instant.
PRUNABLE = {
    "run": (
        "state != 'running' AND num NOT IN (SELECT num FROM run last WHERE "
        "last.monitor = run.monitor AND last.opened = 1 "
        "ORDER BY started_at DESC, num DESC LIMIT 3)"
    ),
    "event": "num NOT IN (SELECT event FROM alert WHERE event = event.num AND state = 'pending')",
    "flip": (
        "EXISTS (SELECT 1 FROM flip later WHERE later.monitor = flip.monitor "
        "AND later.at > flip.at AND later.at < :before)"
    ),
}


# Of an open run that a newer one of its host has left behind so long ago nobody waits for the end.
FORGET_LEFT_BEHIND = """UPDATE run SET state = 'unknown'
    WHERE num > :after AND num <= :last AND started_at < :before AND state = 'running'
    AND EXISTS (SELECT 1 FROM run newer WHERE newer.monitor = run.monitor
        AND newer.host IS run.host AND newer.started_at < :before
        AND (newer.started_at, newer.num) > (run.started_at, run.num))
    AND (awaited = 0 OR :now > coalesce(deadline_at, next_at + 1000 * (
        SELECT grace_seconds FROM monitor WHERE monitor.num = run.monitor), 0))"""


# What a monitor has as many of as it may keep: its order, and how many go in one transaction.
BOUNDED = (
    ("ping", "at, num", "at DESC, num DESC", PRUNE_LIMIT),
    ("run", "started_at, num", "started_at DESC, num DESC", RUNS_LIMIT),
    ("event", "num", "num DESC", PRUNE_LIMIT),
    ("flip", "num", "num DESC", PRUNE_LIMIT),
)


def prune_beyond(tx: Transaction, monitor: int, keep: int) -> bool:
    """Delete some of the oldest pings, runs, events and flips of a monitor beyond so many of each;
    whether there may be more."""
    has_more = False
    for table, order, newest_first, most in BOUNDED:  # oldest first: a kill leaves no hole
        prunable = PRUNABLE[table] if table in ("run", "event") else "1"
        edge = (
            f"SELECT {order} FROM {table} WHERE monitor = ?1 "
            f"ORDER BY {newest_first} LIMIT 1 OFFSET ?2"
        )
        beyond = (
            f"SELECT num FROM {table} WHERE monitor = ?1 AND {prunable} "
            f"AND ({order}) < ({edge}) ORDER BY {order} LIMIT ?3"
        )
        sql = f"DELETE FROM {table} WHERE num IN ({beyond})"
        has_more |= tx.execute(sql, monitor, keep - 1, most).rowcount == most
    return has_more


def prune_logs(tx: Transaction, monitor: int, keep: int) -> int:
    """Delete logs, of 100 KB at most each, but the newest ones of a monitor; how many."""
    oldest_last = f"SELECT run FROM run_log WHERE monitor = ? ORDER BY run DESC LIMIT {RUNS_LIMIT}"
    sql = f"DELETE FROM run_log WHERE run IN ({oldest_last} OFFSET ?)"
    return tx.execute(sql, monitor, keep).rowcount


def monitors_beyond(tx: Transaction, keep: int) -> list[int]:
    """The monitors with more pings, events or flips than are kept; of runs none has more."""
    sql = """SELECT num FROM monitor WHERE ping_count > ?1
        UNION SELECT monitor FROM event WHERE monitor IS NOT NULL GROUP BY monitor
            HAVING count(*) > ?1
        UNION SELECT monitor FROM flip GROUP BY monitor HAVING count(*) > ?1"""
    return [num for (num,) in tx.rows(sql, keep)]


def monitors_beyond_logs(tx: Transaction, keep: int) -> list[int]:
    """The monitors with more logs than are kept."""
    sql = "SELECT monitor FROM run_log GROUP BY monitor HAVING count(*) > ?"
    return [num for (num,) in tx.rows(sql, keep)]


FREE_PAGES = 2000  # 8 MB: what is soon used again stays


def give_back(tx: Transaction) -> bool:
    """Let the file shrink by some of the pages that are free; whether enough are left for more."""
    free = tx.value("PRAGMA freelist_count")
    vacuums = tx.value("PRAGMA auto_vacuum")
    for _ in range(min(PRUNE_LIMIT, free - FREE_PAGES) if vacuums else 0):
        tx.execute("PRAGMA incremental_vacuum(1)")  # sqlite3 ends one of more after a page
    return bool(vacuums and free > FREE_PAGES + PRUNE_LIMIT)


PRUNED = ("ping", "run", "flip", "event", "absence")


def has_leapt(tx: Transaction) -> bool:
    """Whether nothing counts as old: for a day after an absence of more than one, since the clock
    may have leapt."""
    sql = "SELECT 1 FROM absence WHERE until - since > ?1 AND until > ?2 - ?1 LIMIT 1"
    return bool(tx.rows(sql, DAY_MS, tx.now))


def prune(tx: Transaction, table: str, before: int, after: int = 0) -> int | None:
    """Delete what is old among the next rows; the last of them, None where none was old."""
    if has_leapt(tx):
        return None
    old = OLD.get(table, "at < :before")
    chunk = tx.rows(
        f"SELECT num, {old} FROM {table} WHERE num > :after ORDER BY num LIMIT :limit",
        before=before,
        after=after,
        limit=RUNS_LIMIT if table == "run" else PRUNE_LIMIT,
    )
    if not any(is_old for _, is_old in chunk):
        return None
    last = int(chunk[-1][0])
    rows_of_chunk = {"before": before, "after": after, "last": last, "now": tx.now}
    if table == "run":
        tx.execute(FORGET_LEFT_BEHIND, **rows_of_chunk)
    tx.execute(
        f"DELETE FROM {table} WHERE num > :after AND num <= :last AND {old} "
        f"AND {PRUNABLE.get(table, '1')}",
        **rows_of_chunk,
    )
    return last


# == Pings ====================================================================
# What a request to a ping route comes to. It knows dialects and rules, and no HTTP.
REGISTERED_MAX = 1000  # monitors, by a key that may only ping
CRONITOR_WORDS = {"state", "metric", "stamp", "series", "env"}
SCHEDULE_COLUMNS = ("cron", "interval_seconds")


class PingRequest(NamedTuple):
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


class Target(NamedTuple):
    """The dialect to answer in, the monitor that is meant, and by what name."""

    dialect: Dialect
    words: Sequence[str]
    monitor: int | None
    name: str
    key: tuple[int, str] | None = None  # the API key that was shown, and its permission


def find_key(tx: Transaction, secret: str | None) -> tuple[int, str] | None:
    """The number of an API key, and its permission."""
    sql = "SELECT num, permission FROM api_key WHERE hash = ?"
    return tx.first(sql, hash_secret(secret)) if secret else None


def _may_ping(key: tuple[int, str] | None) -> bool:
    return key is not None and key[1] != "read-only"


def find_target(tx: Transaction, request: PingRequest) -> Target:
    """Who is meant: a handle, else an API key in the path, else one in a header; or refuses.

    A key that may only read is none in a path (401 or 404, like any text), is refused with 403 in
    a header, and does not hinder a handle, which pings by itself.
    """
    route, names = request.route, request.route.names
    handle = find_handle(tx, names[0])
    beside = names[1] if len(names) > 1 and names[1] not in VERBS else None
    if handle is not None and not _may_ping(find_key(tx, beside)):
        dialect = dialect_for(route, handle[1])
        if dialect.needs_key:
            request.seen.append(dialect)
            _check_key(tx, request.secret, dialect)
        return Target(dialect, names[1:], handle[0], names[0])
    if len(names) > 1 and route.family in ("ping", "cronitor"):
        for first, name in ((0, 1), (1, 0)):
            key = find_key(tx, names[first])
            if _may_ping(key):
                words = "cronradar" if first else "healthchecks"
                has_exit_code = "".join(names[2:]).isdigit()  # which Cronitor does not say so
                if route.family == "cronitor" or (
                    not first and not has_exit_code and CRONITOR_WORDS.intersection(request.query)
                ):
                    words = "cronitor"
                return Target(
                    DIALECTS[words],
                    names[2:],
                    find_monitor(tx, names[name]),
                    names[name],
                    key,
                )
    return _find_by_header(tx, request)


def _find_by_header(tx: Transaction, request: PingRequest) -> Target:
    names, dialect = request.route.names, unknown_dialect(request.route)
    if dialect.needs_key:
        api_key = _check_key(tx, request.secret, dialect)
        return Target(dialect, names[1:], find_monitor(tx, names[0]), names[0], api_key)
    monitor = None
    key = find_key(tx, request.secret)
    if request.route.family == "ping" and _may_ping(key):
        monitor = find_monitor(tx, names[0])
        if monitor is not None or request.query.get("schedule"):
            dialect = DIALECTS["cronradar"]
    if dialect is DIALECTS["cronradar"]:
        key = _check_key(tx, request.secret, dialect)
        return Target(dialect, names[1:], monitor, names[0], key)
    if dialect is DIALECTS["cronbeats"] and not CODE.fullmatch(names[0]):
        raise Unknown("Invalid job key format")
    return Target(dialect, names[1:], None, names[0])


def _check_key(tx: Transaction, secret: str | None, dialect: Dialect) -> tuple[int, str]:
    key = find_key(tx, secret)
    if key is None:
        raise Unknown(dialect.wants_key, "AUTHENTICATION_REQUIRED", dialect.wants_key_status)
    if not _may_ping(key):
        raise Refused("API key does not have access to this resource", "ACCESS_DENIED", 403)
    return key


def as_check_in(
    request: PingRequest, slug: Any, content: Mapping[str, Any], words: Sequence[str] = ()
) -> PingRequest:
    """The ping that a check-in of Sentry is."""
    key, query = read_check_in(slug, content)
    route = Route("sentry", [key, *words])
    return request._replace(route=route, query={**request.query, **query}, body=b"")


class Answer(NamedTuple):
    """What a ping is answered: in whose words, what became of it, and what was wrong with it."""

    dialect: Dialect
    result: PingResult
    problem: Refused | None = None


def record_ping(tx: Transaction, request: PingRequest) -> Answer:
    """Find the monitor that is meant, create it where the dialect does so, and record the ping."""
    target = find_target(tx, request)
    dialect = target.dialect
    request.seen.append(dialect)
    if not request.allowed:
        raise Refused(
            "Method not allowed: use GET, POST or HEAD",
            "METHOD_NOT_ALLOWED",
            405,
            allow=("GET", "HEAD", "POST"),
        )
    num = _register(tx, request, target) if target.monitor is None else target.monitor
    bare = request.route.bare or ("success" if target.key else dialect.bare)
    word = read_word(dialect, bare, target.words, request.query)
    if _lacks_auth(tx, request, target):
        sql = "UPDATE monitor SET dropped_pings = dropped_pings + 1 WHERE num = ?"
        tx.execute(sql, num)
        m = load_monitor(tx, num)
        dropped = PingResult(Ping("log", tx.now), m, None, target.name, "", is_dropped=True)
        return Answer(dialect, dropped)
    if word.kind == "pause":
        m = pause_monitor(tx, num, None if word.figure is None else word.figure * 3600)
        return Answer(dialect, PingResult(Ping("pause", tx.now), m, None, target.name, "pause"))
    is_worded = bool(target.words or request.query.get(dialect.state))
    ping = read_ping(dialect, word, is_worded, request.query, request.metrics, request.body)
    return _record(tx, request, target, num, ping)


def _lacks_auth(tx: Transaction, request: PingRequest, target: Target) -> bool:
    """Whether pings must be authenticated, as Cronitor's can, and this one is not."""
    name = target.dialect.auth
    if not tx.settings.authenticate_pings or not name or target.key:
        return False
    return not _may_ping(find_key(tx, request.query.get(name)))


def _record(tx: Transaction, request: PingRequest, target: Target, num: int, ping: Ping) -> Answer:
    """Let the rules do what a ping does to its monitor, and keep all of it."""
    if target.dialect.ends_newest and ping.series is None and ping.kind in OUTCOMES:
        ping = ping._replace(series=_newest_series(tx, num))
    state, before = load_state(tx, num, ping)
    ping = ping._replace(
        num=before.next_ping,
        at=tx.now,
        address=clean(request.address, 60),
        user_agent=clean(request.user_agent, 200),
    )
    wait = is_too_soon(state, ping)
    if wait is not None:
        sentence = f"Rate limit exceeded: wait {wait} seconds"
        raise Refused(sentence, "RATE_LIMIT_EXCEEDED", 429, wait)
    is_new = target.monitor is None
    problem = None if is_new else _declare(tx, state, target.dialect, request.query)
    run = receive(state, ping)
    m = state.monitor
    m.last_ping_at = tx.now
    m.ping_count += 1
    has_log = run is not None and ping.log is not None and not state.is_repeated
    save_state(tx, state, before, (run.num, ping.log) if run and ping.log and has_log else None)
    if run and ping.kind in OUTCOMES:
        ping = ping._replace(duration_ms=run.duration_ms)
    if run is None and ping.kind == "log" and ping.message is None:  # else it were lost
        ping = ping._replace(message=clean(ping.log, target.dialect.message_max))
    tx.execute(INSERT_PING, *ping[:-2], num, run and run.num, target.dialect.name)
    _keep_bounds(tx, m, has_log)
    took_ms = 1000 * (monotonic() - request.received)
    result = PingResult(ping, m, run, target.name, "/".join(target.words), is_new, took_ms)
    return Answer(target.dialect, result, problem)


def _newest_series(tx: Transaction, num: int) -> str | None:
    """The series of the newest run that is open, if it has one."""
    open_runs = "SELECT series FROM run WHERE monitor = ? AND state = 'running'"
    series: str | None = tx.value(f"{open_runs} ORDER BY started_at DESC, num DESC LIMIT 1", num)
    return series


def record_check_ins(
    tx: Transaction, requests: Iterable[PingRequest]
) -> tuple[list[Answer], Refused | None]:
    """Record the check-ins of an envelope, and return the first refusal, which undoes no other."""
    answers, problems = [], []
    for request in requests:
        try:
            answers.append(tx.store.write(partial(record_ping, tx, request)))
            problems.append(answers[-1].problem)
        except Refused as refused:
            problems.append(refused)
    return answers, next(filter(None, problems), None)


def _keep_bounds(tx: Transaction, m: Monitor, has_log: bool) -> None:
    """What a monitor has too much of goes as its pings come, not an hour later."""
    if has_log and tx.settings.keep_logs:
        prune_logs(tx, m.num, tx.settings.keep_logs)
    if tx.settings.keep_pings and m.ping_count >= tx.settings.keep_pings + PRUNE_STEP:
        prune_beyond(tx, m.num, tx.settings.keep_pings)


def _register(tx: Transaction, request: PingRequest, target: Target) -> int:
    """Create the monitor that a ping with an API key names, where its dialect does so."""
    fields = target.dialect.creates(request.query) if target.key else None
    key = clean(target.name, 200)
    if target.key is None or fields is None or key is None:
        refusal = Refused if target.key else Unknown
        raise refusal(target.dialect.unknown.format(key or ""), "MONITOR_NOT_FOUND", 404)
    fields = {"name": title(key), **fields}
    declared = json.dumps(fields) if target.dialect.declares else None
    return register_monitor(tx, target.key, key, {**fields, "declared": declared})


def register_monitor(
    tx: Transaction, api_key: tuple[int, str], key: str, fields: Mapping[str, Any]
) -> int:
    """A new monitor that a program has named; its num.

    A key that may only ping has 1,000 such monitors at the most: refused with 403 beyond.
    """
    num, permission = api_key
    count = tx.value("SELECT count(*) FROM monitor WHERE registered_by = ?", num)
    if permission == "ping" and count >= REGISTERED_MAX:
        sentence = f"This API key has registered {REGISTERED_MAX} monitors: it may make no more"
        raise Refused(sentence, "ACCESS_DENIED", 403)
    own = {"key": key, "timezone": tx.settings.timezone or "UTC"}
    return create_monitor(tx, {**own, **fields, "registered_by": num})


def _declare(
    tx: Transaction, state: MonitorState, dialect: Dialect, declaration: Mapping[str, Any]
) -> Refused | None:
    """Apply what a ping or a sync declares where it differs from what was declared before, and
    nobody has set something else since."""
    if dialect.declares is None:
        return None
    m = state.monitor
    before = json.loads(m.declared or "{}")
    try:
        declared = dialect.declares(declaration, before)
        updates = {name: value for name, value in declared.items() if value != before.get(name)}
        if declared.get("cron") and not updates.keys().isdisjoint(("cron", "timezone")):
            zone = declared.get("timezone", m.timezone)
            next_run(declared["cron"], zone, tx.now)  # a zone may skip it
    except Invalid as error:
        return error
    may_change = [name for name in updates if _is_as_declared(m, name, before)]
    edit(state, tx.now, {name: updates[name] for name in may_change})
    m.declared = json.dumps({**before, **declared}) if declared else m.declared
    return None


def _is_as_declared(m: Monitor, name: str, before: Mapping[str, Any]) -> bool:
    """Whether a field is as it was declared last; a monitor without a schedule takes any."""
    if name in SCHEDULE_COLUMNS:  # they are one thing
        schedule = (m.cron, m.interval_seconds)
        return schedule in ((None, None), (before.get("cron"), before.get("interval_seconds")))
    return name in before and getattr(m, name) == before[name]


def sync_monitors(tx: Transaction, secret: str | None, body: Any) -> dict[str, Any]:
    """CronRadar's POST /api/sync: create and update, never delete; errors by item."""
    api_key = _check_key(tx, secret, DIALECTS["cronradar"])
    items = body.get("monitors") if isinstance(body, dict) else None
    if not isinstance(items, list) or len(items) > 100:
        raise Invalid("monitors must be a list of at most 100")
    counts, errors = {"created": 0, "updated": 0}, []
    for item in items:
        key = clean(item.get("key"), 200) if isinstance(item, dict) else None
        try:
            counts[_sync(tx, api_key, key, item)] += 1
        except Refused as refused:
            errors.append({"key": key, "error": refused.code, "message": refused.sentence})
    return {"status": "success", "synced": sum(counts.values()), **counts, "errors": errors}


def _sync(tx: Transaction, api_key: tuple[int, str], key: str | None, item: Any) -> str:
    if key is None:
        raise Invalid("key must be 1 to 200 characters")
    num = find_monitor(tx, key)
    if num is None:
        columns = {**read_schedule(item.get("schedule")), **read_declared(item)}
        fields = {"name": title(key), "grace_seconds": 60, **columns}
        register_monitor(tx, api_key, key, {**fields, "declared": json.dumps(fields)})
        return "created"

    def declare(state: MonitorState) -> None:
        read_schedule(item.get("schedule"), json.loads(state.monitor.declared or "{}"))
        problem = _declare(tx, state, DIALECTS["cronradar"], item)
        if problem is not None:
            raise problem

    change_monitor(tx, num, declare)
    return "updated"


# == Alerts ===================================================================
# Integrations: what an event says, how it is sent, the outbox. No rule is decided here.
ALERT_WAITS = (10, 30, 120, 600, 3600, *[3600] * 24)


def alert_wait_ms(tries: int) -> int | None:
    """How long to wait after so many failed tries; None: the alert is dead."""
    return ALERT_WAITS[tries - 1] * 1000 if tries <= len(ALERT_WAITS) else None


# -- words: for a phone, read at night
class Severity(NamedTuple):
    """How a kind of event looks: its sign, its colour as 0xRRGGBB, ntfy's priority."""

    sign: str
    colour: int
    priority: str


DOWN = Severity("✖", 0xD13B3B, "high")
WARNING = Severity("▲", 0xD9902F, "default")
WELL = Severity("✔", 0x2E9E5B, "default")
TEXT_LINES, NOTES_MAX, MESSAGE_MAX, NAMES_MAX = 10, 500, 200, 20


def clock_time(when: datetime, today: datetime) -> str:
    """A time as a wall clock shows it, with the day where that is another one."""
    if when.date() == today.date():
        return f"{when:%H:%M}"
    year = f" {when.year}" if when.year != today.year else ""
    return f"{when:%a} {when.day} {when:%b}{year} {when:%H:%M}"


def duration_words(milliseconds_: int) -> str:
    """A duration in words: 40 ms; 5 min."""
    return f"{milliseconds_} ms" if milliseconds_ < 1000 else _span(milliseconds_ // 1000)


class Wording(NamedTuple):
    """An event whose words are wanted, with what is kept for them only, and their time zone."""

    event: Mapping[str, Any]
    about: Any
    zone: ZoneInfo

    def _local(self, instant: str) -> datetime:
        return datetime.fromisoformat(instant).astimezone(self.zone)

    def clock_time(self, instant: str) -> str:
        """As a wall clock shows it, with the day where that is not the day of the alert."""
        return clock_time(self._local(instant), self._local(self.event["toldAt"]))

    def zone_time(self, instant: str) -> str:
        """The same with the name of the zone: 03:05 CET."""
        name = f"{self._local(instant):%Z}"
        if name.startswith(("+", "-")):  # many zones have no other name
            name = f"UTC{name}"
        return f"{self.clock_time(instant)} {name}"

    def times(self, since: str, until: str) -> str:
        """From one to another."""
        return f"{self.clock_time(since)} to {self.zone_time(until)}"


def _count_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _with_duration(line: str, duration_ms: int | None) -> str:
    return line if duration_ms is None else f"{line}, took {duration_words(duration_ms)}"


def _missed_summary(wording: Wording) -> str:
    about = wording.about or {}
    verb = "complete" if about.get("expects") == "complete" else "report"
    if not about.get("dueAt"):  # as at the end of a pause
        return f"did not {verb} by {wording.zone_time(wording.event['at'])}"
    summary = f"did not {verb}: due {wording.clock_time(about['dueAt'])}"
    grace = about["graceSeconds"]
    # As in "did not report: due 03:00, grace 5 min"; that it is told is decided in `_missed_at`.
    return f"{summary}, grace {_span(grace)}" if grace else summary


def _failed_summary(wording: Wording) -> str:
    run = wording.event["run"] or {}
    summary = "failed"
    if count := wording.event["count"]:
        summary += f" {_count_of(count, 'more time')}"
    if run.get("exitCode") is not None:
        summary += f" with exit code {run['exitCode']}"
    if run.get("message"):
        summary += f": {run['message'][:MESSAGE_MAX]}"
    return summary


def _stuck_summary(wording: Wording) -> str:
    run = wording.event["run"]
    if not run:
        return "is stuck: its run has not ended"
    return f"is stuck: it started at {wording.clock_time(run['startedAt'])} and has not ended"


def _silent_summary(wording: Wording) -> str:
    values = (wording.about or {}).get("values", {})
    matches = []
    for rule in wording.event["rules"] or ():
        value = values.get(rule["field"])
        fact = "breaks its rule" if value is None else f"is {value:.15g}"
        matches.append(f"{rule['field']} {fact} (rule: {rule['operator']} {rule['value']:.15g})")
    summary = f"succeeded, but {' and '.join(matches)}"
    if count := wording.event["count"]:
        summary += f", {_count_of(count, 'more time')}"
    return summary


def _recovered_summary(wording: Wording) -> str:
    return f"is up again after {_span(wording.event['downtimeSeconds'])}"


WHY_DOWN = {"missed": "it did not report", "failed": "it failed", "stuck": "it is stuck"}


def _reminder_summary(wording: Wording) -> str:
    since, until = (datetime.fromisoformat(wording.event[name]) for name in ("downSince", "at"))
    length = _span(round((until - since).total_seconds()))
    return f"is still down after {length}: {WHY_DOWN[wording.event['reason']]}"


def _outage_summary(wording: Wording) -> str:
    monitors = _count_of(len(wording.event["monitors"]), "monitor")
    times = wording.times(**wording.event["gap"])
    return f"cronwatch was away from {times}: {monitors} may have run unseen"


def _undelivered_summary(wording: Wording) -> str:
    integration, problem = wording.about
    return f"{integration} takes no alerts: {problem}"


def _test_summary(wording: Wording) -> str:
    return f"This is a test of {wording.about} by cronwatch"


def _down_lines(wording: Wording) -> list[str]:
    lines = []
    if since := wording.event["downSince"]:
        lines.append(f"Down since {wording.zone_time(since)}")
    if gap := wording.event["gap"]:
        lines.append(f"cronwatch was away from {wording.times(**gap)}: its end may have come then")
    if last := wording.event["lastSuccess"]:
        line = f"Last good run: {wording.zone_time(last['at'])}"
        lines.append(_with_duration(line, last["durationMs"]))
    return lines


def _silent_lines(wording: Wording) -> list[str]:
    run = wording.event["run"]
    if not run:
        return []
    return [_with_duration(f"Run of {wording.zone_time(run['startedAt'])}", run["durationMs"])]


def _recovered_lines(wording: Wording) -> list[str]:
    event = wording.event
    failed, missed = event["failedCount"] or 0, event["missedCount"] or 0
    line = f"Down from {wording.times(event['downSince'], event['at'])}"
    counts = []
    if failed + missed > 1:  # else it is the one that was told already
        counts = [(failed, "failure"), (missed, "missed run")]
    words = [_count_of(count, noun) for count, noun in counts if count]
    return [f"{line}: {', '.join(words)}" if words else line]


def _outage_lines(wording: Wording) -> list[str]:
    names = [monitor["name"] for monitor in wording.event["monitors"]]
    if len(names) > NAMES_MAX:
        names[NAMES_MAX:] = [f"and {len(names) - NAMES_MAX} more"]
    return names


def _undelivered_lines(wording: Wording) -> list[str]:
    return ["What waits for it is tried again for a day"]


def _test_lines(wording: Wording) -> list[str]:
    return ["Alerts arrive here"]


class EventForm(NamedTuple):
    """How a kind of event looks, its sentence without the monitor's name, the lines below it."""

    severity: Severity
    summary: Callable[[Wording], str]
    lines: Callable[[Wording], list[str]]


EVENT_FORMS = {
    "missed": EventForm(DOWN, _missed_summary, _down_lines),
    "failed": EventForm(DOWN, _failed_summary, _down_lines),
    "stuck": EventForm(DOWN, _stuck_summary, _down_lines),
    "reminder": EventForm(DOWN, _reminder_summary, _down_lines),
    "silent_failure": EventForm(WARNING, _silent_summary, _silent_lines),
    "outage": EventForm(WARNING, _outage_summary, _outage_lines),
    "delivery_failed": EventForm(WARNING, _undelivered_summary, _undelivered_lines),
    "recovered": EventForm(WELL, _recovered_summary, _recovered_lines),
    "test": EventForm(WELL, _test_summary, _test_lines),
}
EVENTS_SQL = """SELECT e.num, e.id, e.kind, e.at, e.told_at, e.body FROM event e """


def event_json(row: Sequence[Any], base_url: str) -> dict[str, Any]:
    """An event as webhooks, commands and the API show it, from a row of `EVENTS_SQL`."""
    _, id_, kind, at, told_at, body = row
    stored = json.loads(body)
    event = {"id": id_, "kind": kind, "at": iso(at), "toldAt": iso(told_at), "summary": ""}
    event |= {name: stored.get(name) for name in EVENT_NAMES}
    monitor = event["monitor"] or {}
    if monitor:  # what was kept before it had a zone and notes
        monitor.setdefault("timezone", "UTC")
        monitor.setdefault("notes", "")
        monitor["url"] = f"{base_url}/#/monitors/{monitor['id']}"
    zone = monitor.get("timezone") or stored.get("timezone") or "UTC"
    summary = EVENT_FORMS[kind].summary(Wording(event, stored["about"], ZoneInfo(zone)))
    event["summary"] = f"{monitor.get('name', '')} {summary}".strip()
    return event


class Message(NamedTuple):
    """An event in words, for each channel to set as it does. No part says what another said."""

    headline: str  # a sign, and what it is
    lines: list[str]  # since when, the last good run, the monitor's notes
    log: str  # its end
    link: str


def severity(event: Mapping[str, Any]) -> Severity:
    """How an event looks."""
    return EVENT_FORMS[event["kind"]].severity


def word_event(event: Mapping[str, Any]) -> Message:
    """An event's JSON in words."""
    monitor = event["monitor"] or {"timezone": "UTC", "notes": "", "url": ""}
    run = event["run"] or {}
    log_tail = (run.get("logTail") or "").strip()
    lines = EVENT_FORMS[event["kind"]].lines(Wording(event, None, ZoneInfo(monitor["timezone"])))
    if severity(event) is WELL or log_tail == run.get("message"):
        log_tail = ""
    if severity(event) is not WELL:
        lines += monitor["notes"][:NOTES_MAX].strip().splitlines()
    return Message(
        f"{severity(event).sign} {event['summary']}",
        lines,
        "\n".join(log_tail.splitlines()[-TEXT_LINES:]),
        monitor["url"],
    )


def _fitted(words: str, log_end: str, link: str, most: int, fence: str = "") -> str:
    """Words, log and link in so many characters: of a long log the end is told."""
    end = f"\n{link}" if link else ""
    room = most - len(words) - len(end) - 2 * len(fence) - 4
    block = f"\n{fence}\n{log_end[-room:]}\n{fence}" if log_end and room > 0 else ""
    return words[:most] + block + (end if len(words) + len(end) <= most else "")


def event_text(event: Mapping[str, Any], most: int) -> str:
    """The whole message as plain text."""
    message = word_event(event)
    words = "\n".join([message.headline, *message.lines])
    return _fitted(words, message.log, message.link, most)


# -- what the senders make of it
class Post(NamedTuple):
    """The body of a request, and the headers that belong to it."""

    content: bytes
    headers: dict[str, str | bytes]


def _post_json(content: Any) -> Post:
    return Post(json.dumps(content).encode(), {"Content-Type": "application/json"})


FENCE = "```"  # a code block, for Slack as for Discord


def _marked_text(message: Message, most: int) -> str:
    log_end = message.log.replace(FENCE, "'''")  # or it would end the block
    return _fitted("\n".join(message.lines), log_end, message.link, most, FENCE)


def _post_slack(event: Mapping[str, Any]) -> Post:
    message = word_event(event)
    return _post_json(
        {
            # <!channel> would call everybody
            "text": html.escape(message.headline[:3000], quote=False),
            "unfurl_links": False,
            "attachments": [
                {
                    "color": f"#{severity(event).colour:06x}",
                    "text": html.escape(_marked_text(message, 3000), quote=False),
                    "mrkdwn_in": ["text"],
                }
            ],
        }
    )


def _post_discord(event: Mapping[str, Any]) -> Post:
    message = word_event(event)
    return _post_json(
        {
            "content": message.headline[:2000],
            "embeds": [
                {
                    "color": severity(event).colour,
                    "description": _marked_text(message, 4000),
                }
            ],
            "allowed_mentions": {"parse": []},
        }
    )


def _post_ntfy(event: Mapping[str, Any]) -> Post:
    message, monitor = word_event(event), event["monitor"] or {"tags": []}
    tags = [event["kind"], *(tag.replace(",", "") for tag in monitor["tags"])]
    headers: dict[str, str | bytes] = {
        "Content-Type": "text/plain",
        "Title": message.headline[:250].encode(),  # ntfy reads headers as UTF-8
        "Priority": severity(event).priority,
        "Tags": ",".join(tags).encode(),
    }
    if message.link:
        headers["Click"] = message.link.encode()
    return Post(_fitted("\n".join(message.lines), message.log, "", 1000).encode(), headers)


BODIES: dict[str, Callable[[Mapping[str, Any]], Post]] = {
    "webhook": _post_json,
    "slack": _post_slack,
    "discord": _post_discord,
    "ntfy": _post_ntfy,
}
# -- the senders: what came of a try
SEND_SECONDS, COMMAND_SECONDS, ANSWER_MAX, VARIABLE_MAX = 10, 30, 300, 4096
REST_SECONDS, REST_MAX_SECONDS = 30, 3600
REFUSALS = {400, 403, 404, 410, 413, 422}  # what it answers to an event that it will not take


class Attempt(NamedTuple):
    """What came of a try, and what that means for the next one.

    The verdict is sent; failed; refused (it will not take this event); silent (nobody answered);
    or busy (it asks to be left alone for `wait_ms`)."""

    verdict: str
    result: str
    answer: str | None = None  # what the receiver said
    wait_ms: int = 0


def outcome_text(result: str | None, answer: str | None) -> str | None:
    """What came of a try, for who may read what a receiver says."""
    return f"{result}: {answer}" if result and answer else result


class HttpReply(NamedTuple):
    """What a web server answers: its status, the beginning of its body, its Retry-After."""

    status: int
    text: str | None
    retry_after: str | None


class FinalResponse(http.client.HTTPResponse):
    """A status below 200 is not the last one (RFC 9110, 15.2); http.client knows that of 100."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 < status < 200 or status == 101:
                return version, status, reason
            http.client.parse_headers(self.fp)


@contextlib.contextmanager
def cut_off(peer: Any) -> Iterator[None]:
    """Shut a connection that goes on for too long: a byte now and then breaks no timeout."""
    over = threading.Event()

    def shut() -> None:
        wait: float = 3 * SEND_SECONDS
        while not over.wait(wait):  # again: it may only be connecting
            wait = 1
            with contextlib.suppress(OSError, AttributeError):  # it is closed already
                peer.sock.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=shut, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def open_peer(url: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    """A connection to who has a URL, not yet made; of https the certificate is checked."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.netloc, timeout=SEND_SECONDS)


def request_once(
    method: str, address: str, body: bytes, headers: Mapping[str, str | bytes]
) -> HttpReply:
    """What a URL answers, within 30 s; of a success only the status. No redirect, which could send
    an event anywhere, and no proxy from the environment, which would see it."""
    url = urllib.parse.urlsplit(address)
    peer = open_peer(url)
    peer.response_class = FinalResponse
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    with contextlib.closing(peer), cut_off(peer):
        peer.request(method, path, body, headers)
        response = peer.getresponse()
        text = None
        if not 200 <= response.status < 300:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                content = response.read(4 * ANSWER_MAX)
                text = clean(content.decode("utf-8", "replace"), ANSWER_MAX)
        return HttpReply(response.status, text, response.getheader("Retry-After"))


def rest_ms(retry_after: str | None, now: int) -> int:
    """How long a receiver wants to be left alone: seconds or a date (RFC 9110, 10.2.3), 30 s where
    it names none; a second at least, an hour at most."""
    seconds = whole(retry_after)
    if seconds is None and retry_after and retry_after.strip().isdecimal():
        seconds = REST_MAX_SECONDS  # it has too many digits to be a number here
    elif seconds is None and retry_after:
        with contextlib.suppress(ValueError, OverflowError):
            seconds = round(parsedate_to_datetime(retry_after).timestamp()) - now // 1000
    return min(max(REST_SECONDS if seconds is None else seconds, 1), REST_MAX_SECONDS) * 1000


def judge_reply(reply: HttpReply, now: int) -> Attempt:
    """What a web server's answer to an event means."""
    result = f"HTTP {reply.status}"
    if 200 <= reply.status < 300:
        return Attempt("sent", result)
    if reply.status == 429 or (reply.status == 503 and reply.retry_after):
        return Attempt("busy", result, reply.text, rest_ms(reply.retry_after, now))
    return Attempt("refused" if reply.status in REFUSALS else "failed", result, reply.text)


def webhook_signature(secret: str, id_: str, stamp: str, content: bytes) -> str:
    """What proves that a webhook is ours (Standard Webhooks, symmetric signatures)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id_}.{stamp}.".encode() + content, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def send_webhook(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> Attempt:
    """POST an event, signed as Standard Webhooks has it; its id is the same for each retry."""
    post = BODIES[channel](event)
    stamp = str(now // 1000)
    signature = webhook_signature(config["secret"], event["id"], stamp, post.content)
    headers = {
        "user-agent": f"cronwatch/{__version__}",
        "webhook-id": event["id"],
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
        **post.headers,
        **config.get("headers", {}),
    }
    headers = {name.lower(): value for name, value in headers.items()}  # its own are the last
    return judge_reply(request_once("POST", config["url"], post.content, headers), now)


def _kill_session(leader: int) -> None:
    """Kill the processes of a session, also those in a group of their own where /proc tells."""
    os.killpg(leader, signal.SIGKILL)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(stat.parent.name), signal.SIGKILL)


def _variable(value: str | float, lines: bool) -> str:
    text = str(value).replace("\0", "")
    if not lines:
        text = " ".join(text.splitlines())
    return text.encode()[:VARIABLE_MAX].decode("utf-8", "ignore")


def event_variables(event: Mapping[str, Any]) -> dict[str, str]:
    """An event as variables of an environment, of 4 KB and one line each but the log."""
    nested = {
        f"{outer}_{name}": value
        for outer in ("monitor", "run", "lastSuccess")
        for name, value in (event[outer] or {}).items()
    }
    return {
        "CRONWATCH_EVENT_" + re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper(): _variable(
            value, lines=name == "run_logTail"
        )
        for name, value in {**event, **nested}.items()
        if isinstance(value, (str, int, float))
    }


def send_command(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> Attempt:
    """Run a shell command with the event on standard input and in the environment.
    Nothing from a ping is in the command line. Its session is killed whole after 30 s."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ
    }
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(json.dumps(event).encode())
        stdin.seek(0)
        shell = subprocess.Popen(
            ["/bin/sh", "-c", config["command"]],
            env={**inherited, **event_variables(event)},
            stdin=stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(COMMAND_SECONDS)
            verdict, result = "failed" if code else "sent", f"exit code {code}"
        except subprocess.TimeoutExpired:
            _kill_session(shell.pid)
            shell.wait()
            verdict, result = "silent", f"killed after {COMMAND_SECONDS} s"
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_MAX))
        text = output.read(TAIL_MAX).decode("utf-8", "replace")
    return Attempt(verdict, result, clean(text, TAIL_MAX, lines=True))


class Utf8Text(str):
    """Text that smtplib, which would encode it as ASCII, sends as UTF-8 (RFC 4616)."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """As UTF-8, whatever is asked."""
        return super().encode("utf-8", errors)


def sign_in_to_smtp(server: smtplib.SMTP, user: str, password: str) -> None:
    """Sign in to a mail server; raises `SMTPAuthenticationError` where it is refused."""
    if f"{user}{password}".isascii():
        server.login(user, password)
        return
    server.ehlo_or_helo_if_needed()
    if "PLAIN" in server.esmtp_features.get("auth", "").upper().split():
        answers = iter([f"\0{user}\0{password}"])
        mechanism = "PLAIN"
    else:
        answers = iter([user, password])
        mechanism = "LOGIN"
    server.auth(
        mechanism, lambda _=None: Utf8Text(next(answers)), initial_response_ok=mechanism == "PLAIN"
    )


@contextlib.contextmanager
def open_smtp(settings: Settings) -> Iterator[smtplib.SMTP]:
    """A connection to the mail server, its certificate checked, signed in where there is a name
    to do so."""
    context = ssl.create_default_context()
    if settings.smtp_security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(timeout=SEND_SECONDS, context=context)
    else:
        server = smtplib.SMTP(timeout=SEND_SECONDS)
    with contextlib.closing(server), cut_off(server):
        # What its certificate must name; Python sets it only where it connects at once.
        server._host = settings.smtp_host  # type: ignore[attr-defined]
        code, greeting = server.connect(settings.smtp_host, settings.smtp_port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, greeting)
        if settings.smtp_security == "starttls":
            server.starttls(context=context)
        if settings.smtp_user:
            sign_in_to_smtp(server, settings.smtp_user, settings.smtp_password)
        yield server


def try_web_address(address: str) -> None:
    """Connect to who has a URL, and check the certificate of https; nothing is sent, as any
    request may do something there. Raises `OSError`."""
    with contextlib.closing(open_peer(urllib.parse.urlsplit(address))) as peer:
        peer.connect()


def try_smtp(settings: Settings) -> None:
    """Connect to the mail server and sign in; no mail is sent. Raises `OSError`."""
    with open_smtp(settings) as server, contextlib.suppress(OSError):
        server.quit()


def try_command(command: str) -> None:
    """Let the shell read a command without running it. Raises `OSError`."""
    shell = subprocess.run(
        ["/bin/sh", "-n", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SEND_SECONDS,
        check=False,
    )
    if shell.returncode:
        raise OSError(shell.stderr.decode("utf-8", "replace").strip())


def word_mail(
    settings: Settings, address: str, event: Mapping[str, Any], now: int
) -> EmailMessage:
    """An event as a mail; its links only open the dashboard, for previews call every link."""
    message, monitor = EmailMessage(), event["monitor"]
    # An encoded word would be decoded here, and its line breaks would be headers of their own.
    message["Subject"] = (clean(event["summary"], 200) or "").replace("=?", "= ?")
    message["From"] = settings.smtp_from or f"cronwatch@{socket.getfqdn()}"
    message["To"] = address
    message["Date"] = formatdate(now / 1000)
    message["Message-ID"] = f"<{event['id']}@cronwatch>"
    lines = [event_text(event, 20_000)]
    if monitor and severity(event) is not WELL:
        lines += [
            "",
            f"Pause for an hour: {monitor['url']}/pause/1",
            f"Pause for a day: {monitor['url']}/pause/24",
        ]
    message.set_content("\n".join(lines))
    return message


NO_MAIL = "no mail can be sent: the setting smtp_host is empty"


def send_email(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> Attempt:
    """Send a mail by SMTP."""
    if not settings.smtp_host:
        return Attempt("failed", NO_MAIL)
    code: int
    text: bytes | str
    try:
        with open_smtp(settings) as server:
            server.send_message(word_mail(settings, config["address"], event, now))
            with contextlib.suppress(OSError):  # it is accepted, whatever comes now
                server.quit()
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
    except smtplib.SMTPResponseException as error:
        code, text = error.smtp_code, error.smtp_error
    else:
        return Attempt("sent", f"accepted by {settings.smtp_host}")
    answer = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return Attempt("failed", f"SMTP {code}", clean(answer, ANSWER_MAX))


def send_apprise(
    settings: Settings, channel: str, config: Mapping[str, Any], event: Mapping[str, Any], now: int
) -> Attempt:
    """Send by Apprise, which knows some hundred services; what it logs may have secrets in it."""
    robot, message = load_apprise().Apprise(), word_event(event)
    text = _fitted("\n".join(message.lines), message.log, message.link, 1000)
    if not robot.add(config["url"]) or not robot.notify(text, message.headline):
        return Attempt("failed", "Apprise could not send it")
    return Attempt("sent", "sent by Apprise")


# -- integrations: what each needs
def load_apprise() -> Any:
    """The module of the extra, with its log silenced; raises `Invalid` without the extra."""
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        raise Invalid("apprise is not installed: pip install 'cronwatch[apprise]'") from None
    apprise.logger.disabled = True
    return apprise


def with_apprise(body: T) -> T:
    """What is given, of one integration or more, with Apprise loaded where it may be needed: that
    takes up to a second, and pings would wait for a transaction that did so."""
    bodies = body.get("integrations", [body]) if isinstance(body, dict) else None
    for one in bodies if isinstance(bodies, list) else ():
        if isinstance(one, dict) and "url" in one and one.get("channel", "apprise") == "apprise":
            with contextlib.suppress(Invalid):  # the check says so
                load_apprise().Apprise.instantiate(str(one["url"])[:2000])
    return body


Sender = Callable[[Settings, str, Mapping[str, Any], Mapping[str, Any], int], Attempt]
SENDERS: dict[str, Sender] = {
    "command": send_command,
    "email": send_email,
    "apprise": send_apprise,
    **dict.fromkeys(BODIES, send_webhook),
}


def is_apprise_url(url: str) -> bool:
    """Whether Apprise knows the service of a URL; raises `Invalid` without the extra."""
    return bool(load_apprise().Apprise.instantiate(url))


TARGETS["apprise"] = target_field("url", is_apprise_url, "one that Apprise knows")


# -- the outbox: what is due goes out, and what came of it is kept
class Claim(NamedTuple):
    """An alert that nobody else sends meanwhile: its number, the channel, what that needs, a row
    of `EVENTS_SQL`."""

    alert: int
    channel: str
    config: dict[str, Any]
    event: Sequence[Any]


CLAIM_MS = 60_000  # longer than a try can last
ASIDE_TRIES = 3  # of one alert that is refused, until the next one of its monitor goes
TRIES_UNTIL_FAILING = 4  # of an integration in a row, until the others are told
SILENCE_MAX_MS = 600_000  # until one that does not answer is asked again
TESTS_MAX = 2  # at a time
TEST_SECONDS = 40  # for which a command waits
REQUEST_SECONDS = 30  # for which a route waits for a receiver
TEST_DUE_AT = -1  # a test is due before all else, also while its integration rests or is off
IS_AWAKE = "i.enabled AND coalesce(i.rests_until, 0) <= :now"
# The index has them by age: to sort all that is due for each alert of thousands takes too long.
OLDEST_DUE = f"""SELECT a.num FROM integration i CROSS JOIN alert a INDEXED BY alert_oldest
    ON a.integration = i.num WHERE i.num = :integration AND {IS_AWAKE} AND a.state = 'pending'
    AND a.due_at < {BLOCKED_AT} AND a.due_at <= :now ORDER BY a.num LIMIT 1"""


def waiting_integrations(tx: Transaction) -> list[int]:
    """The integrations with something to send."""
    is_due = "EXISTS (SELECT 1 FROM alert WHERE state = 'pending' AND integration = i.num AND {})"
    nums = tx.rows(
        f"SELECT num FROM integration i WHERE {is_due.format('due_at < 0')} "
        f"OR {IS_AWAKE} AND {is_due.format('due_at <= :now')}",
        now=tx.now,
    )
    return [num for (num,) in nums]


def claim_test(tx: Transaction, integration: int) -> Claim | None:
    """Take a test that waits for an integration, also for one that rests or is off."""
    is_test = "state = 'pending' AND due_at < 0"
    num = tx.value(f"SELECT num FROM alert WHERE {is_test} AND integration = ?", integration)
    return num and _claim(tx, num)


def claim_alert(tx: Transaction, integration: int) -> Claim | None:
    """Take a test, else the oldest alert that is due of an integration that does not rest.

    So alerts go out in the order in which they were made. Of one monitor each waits for the one
    before it, whatever becomes of that (see `BLOCKED_AT`); but one that was refused three times
    is not waited for.
    """
    claim = claim_test(tx, integration)
    if claim is None:
        num = tx.value(OLDEST_DUE, integration=integration, now=tx.now)
        claim = num and _claim(tx, num)
    return claim


def _claim(tx: Transaction, num: int) -> Claim:
    """Write down that it is being tried: should we die over this one, it is due again once the try
    must be over. A test is sent once, whatever becomes of it."""
    tries, channel, config, *event = tx.first(
        "SELECT a.tries, i.channel, i.config, e.num, e.id, e.kind, e.at, e.told_at, e.body FROM "
        "alert a JOIN integration i ON i.num = a.integration JOIN event e ON e.num = a.event "
        "WHERE a.num = ?",
        num,
    )
    columns = {"tries": tries + 1, "tried_at": tx.now, "due_at": tx.now + CLAIM_MS}
    if event[2] == "test":
        columns["state"] = "dead"
    tx.update("alert", num, columns)
    return Claim(num, channel, json.loads(config), event)


def after_try(attempt: Attempt, tries: int, now: int) -> dict[str, Any]:
    """What becomes of an alert after so many tries, as columns: sent, dead, or due again.

    One that is refused for the third time steps aside: that lets the next one of its monitor go
    (see `BLOCKED_AT`)."""
    if attempt.verdict == "sent":
        return {"state": "sent"}
    if attempt.verdict == "busy":  # that was no try
        return {"tries": tries - 1, "due_at": now}
    wait = alert_wait_ms(tries)
    if wait is None:
        return {"state": "dead"}
    steps_aside = attempt.verdict == "refused" and tries >= ASIDE_TRIES
    return {"due_at": now + wait, **({"is_aside": 1} if steps_aside else {})}


def record_attempt(tx: Transaction, num: int, attempt: Attempt) -> bool:
    """Keep what came of a try, for the alert and for its integration. True when that was the last
    try of the alert, in vain."""
    alert = tx.first(
        "SELECT a.tries, e.kind, a.monitor, a.integration FROM alert a "
        "JOIN event e ON e.num = a.event WHERE a.num = ?",
        num,
    )
    if alert is None:  # it was removed meanwhile
        return False
    tries, kind, monitor, integration = alert
    columns: dict[str, Any] = {}
    if attempt.verdict == "sent" or kind != "test":  # a test was given up when it was claimed
        columns = after_try(attempt, tries, tx.now)
    tx.update("alert", num, {**columns, "result": attempt.result, "answer": attempt.answer})
    if attempt.verdict == "sent":
        _note_success(tx, integration)
    elif attempt.verdict == "busy":
        tx.update("integration", integration, {"rests_until": tx.now + attempt.wait_ms})
    elif kind != "test":
        _note_failed_try(tx, integration, attempt, is_of_server=monitor is None)
    return columns.get("state") == "dead"


def _note_success(tx: Transaction, integration: int) -> None:
    """An integration works. Where it was left alone, what waits for its next try goes, oldest
    first."""
    if tx.value("SELECT rests_until FROM integration WHERE num = ?", integration) is not None:
        sql = (
            "UPDATE alert SET due_at = :now WHERE integration = :integration "
            "AND state = 'pending' AND NOT is_aside "
            f"AND due_at >= :now AND due_at < {BLOCKED_AT}"
        )
        tx.execute(sql, now=tx.now, integration=integration)
    health = {"failing": 0, "failed_tries": 0, "rests_until": None}
    tx.update("integration", integration, health)


def _note_failed_try(
    tx: Transaction, integration: int, attempt: Attempt, is_of_server: bool
) -> None:
    """One more try of an integration was in vain: it is left alone where nobody answered, and
    after the fourth in a row the others are told."""
    sql = "SELECT name, failed_tries + 1, failing FROM integration WHERE num = ?"
    name, failed_tries, failing = tx.first(sql, integration)
    health = {"failed_tries": failed_tries}
    if attempt.verdict == "silent":
        wait = min(alert_wait_ms(failed_tries) or SILENCE_MAX_MS, SILENCE_MAX_MS)
        health["rests_until"] = tx.now + wait
    # Not of a failing server event: that would make one more of them.
    if failed_tries >= TRIES_UNTIL_FAILING and not failing and not is_of_server:
        health["failing"] = 1
        others = [other for other in find_recipients(tx, None) if other != integration]
        about = (name, attempt.result)
        add_event(tx, Event("delivery_failed", tx.now), None, others, about=about)
    tx.update("integration", integration, health)


def give_up_old(tx: Transaction, integration: int) -> int:
    """Give up alerts, 500 at the most, that have waited for as long as tries last, for an
    integration that took nothing meanwhile; how many."""
    return tx.execute(
        "UPDATE alert SET state = 'dead', tried_at = coalesce(tried_at, :now), result = "
        "coalesce(result, 'given up: those before it could not be sent') WHERE num IN "
        "(SELECT a.num FROM alert a JOIN integration i ON i.num = a.integration "
        "JOIN event e ON e.num = a.event WHERE a.integration = :integration AND "
        "a.state = 'pending' AND i.failed_tries > :tries AND e.told_at < :before LIMIT :most)",
        now=tx.now,
        integration=integration,
        tries=len(ALERT_WAITS),
        before=tx.now - sum(ALERT_WAITS) * 1000,
        most=PRUNE_LIMIT,
    ).rowcount


def add_test(tx: Transaction, integration: int, name: str, m: Monitor | None = None) -> int:
    """A test event for one integration, to be sent next; the number of its alert."""
    add_event(tx, Event("test", tx.now), m, [integration], about=name)
    num: int = tx.value("SELECT max(num) FROM alert")
    tx.update("alert", num, {"due_at": TEST_DUE_AT})
    return num


def result_of_test(tx: Transaction, num: int) -> Attempt | None:
    """What came of a test; None while nothing has."""
    alert = tx.first("SELECT state, result, answer FROM alert WHERE num = ?", num)
    if alert is None:
        return Attempt("failed", "it was removed meanwhile")
    state, result, answer = alert
    return result and Attempt("sent" if state == "sent" else "failed", result, answer)


class Integration(NamedTuple):
    """What is known of an integration: its row, without how it does."""

    num: int
    id: str
    channel: str
    name: str
    config: str  # JSON


def find_integration(tx: Transaction, name: str) -> Integration:
    """The integration with this id or name; refuses with 404."""
    return Integration(*find_row(tx, "integration", ", ".join(Integration._fields), name))


def _problem(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return clean(f"{type(error).__name__}: {error}", TAIL_MAX) or ""


class Outbox:
    """Sends what is due, each integration in a thread of its own: a dead one delays no other."""

    def __init__(
        self,
        act: Callable[..., Any],
        read: Callable[..., Any],
        settings: Settings,
        clock: Callable[[], int],
        senders: Mapping[str, Sender] = SENDERS,
    ) -> None:
        self.act, self.read, self.settings, self.clock = act, read, settings, clock
        self.senders = senders
        self.count: Callable[[str], None] = lambda result: None  # each try: sent or failed
        self._threads: dict[int, threading.Thread] = {}
        self._tests = threading.BoundedSemaphore(TESTS_MAX)
        self._stops = False

    def start_sending(self) -> list[threading.Thread]:
        """Start sending what is due, and return the threads that do."""
        self._threads = {i: t for i, t in self._threads.items() if t.is_alive()}
        for integration in self.read(waiting_integrations):
            if integration not in self._threads:
                thread = threading.Thread(target=self._send_all, args=(integration,), daemon=True)
                self._threads[integration] = thread
                thread.start()
        return list(self._threads.values())

    def _send_all(self, integration: int, take: Callable[..., Claim | None] = claim_alert) -> None:
        with contextlib.suppress(Refused):  # nothing can be written: what is claimed is due again
            while not self._stops and (claim := self.act(take, integration)) is not None:
                if self.act(record_attempt, claim.alert, self.send(claim)):
                    while self.act(give_up_old, integration) == PRUNE_LIMIT:
                        pass

    def stop(self) -> None:
        """Let what is being sent end, which has a limit; the rest goes out at the next start."""
        self._stops = True
        end = monotonic() + COMMAND_SECONDS + 5
        for thread in self._threads.values():
            thread.join(max(0, end - monotonic()))

    def test(
        self,
        integrations: Sequence[int],
        name: str,
        m: Monitor | None = None,
        seconds: float = REQUEST_SECONDS,
        by_server: bool = False,
    ) -> list[Attempt]:
        """What comes of a test of each of these in so many seconds, sent here or by the server
        that runs. What takes longer here goes on, and is told with the events. Refuses a third
        request at a time with 429."""
        if not self._tests.acquire(blocking=False):
            raise Refused("two tests are being sent already: wait for them", "BUSY", 429, 10)
        end = monotonic() + seconds
        late = Attempt("failed", f"nothing came of it in {seconds:g} s")
        try:
            tests = {i: self.act(add_test, i, name, m) for i in integrations}
            for integration in () if by_server else tests:
                args = (integration, claim_test)
                threading.Thread(target=self._send_all, args=args, daemon=True).start()
            attempts = [self._await_result(num, end) or late for num in tests.values()]
        finally:
            self._tests.release()
        if by_server and late in attempts:  # it hangs
            sql = f"UPDATE alert SET state = 'dead' WHERE state = 'pending' AND num {LISTED}"
            self.act(lambda tx: tx.execute(sql, listed=json.dumps([*tests.values()])))
        return attempts

    def _await_result(self, num: int, end: float) -> Attempt | None:
        attempt: Attempt | None = self.read(result_of_test, num)
        while attempt is None and monotonic() < end:
            sleep(0.05)
            attempt = self.read(result_of_test, num)
        return attempt

    def send(self, claim: Claim) -> Attempt:
        """Send one claimed alert; what came of it."""
        try:
            event = event_json(claim.event, self.settings.base_url)
            sender = self.senders[claim.channel]
            attempt = sender(self.settings, claim.channel, claim.config, event, self.clock())
        except OSError as error:
            attempt = Attempt("silent", _problem(error))
        except http.client.HTTPException as error:  # it quotes the receiver
            attempt = Attempt(
                "silent", "what it answers is no HTTP", clean(str(error), ANSWER_MAX)
            )
        except Exception as error:  # noqa: BLE001 - one send that goes wrong ends no other
            attempt = Attempt("failed", _problem(error))
        if attempt.verdict != "busy":
            self.count("sent" if attempt.verdict == "sent" else "failed")
        return attempt


# -- integrations as the API has them


def create_integration(
    tx: Transaction,
    channel: str,
    name: str,
    config: Mapping[str, Any],
    is_default: bool = True,
    enabled: bool = True,
) -> str:
    """A new integration; its id. Raises `Refused` 409 where the name is taken."""
    refuse_taken(tx, "integration", "name", name)
    id_ = str(uuid.uuid4())
    tx.insert(
        "integration",
        {
            "id": id_,
            "channel": channel,
            "name": name,
            "config": json.dumps(config),
            "is_default": int(is_default),
            "enabled": int(enabled),
            "created_at": tx.now,
            "updated_at": tx.now,
        },
    )
    return id_


DEAD_MS = 7 * 86_400_000  # for so long one is told of alerts that were given up
INTEGRATIONS_SQL = f"""SELECT {sql_list(INTEGRATIONS)}, i.config,
    i.channel != 'email' OR {HAS_MAIL},
    (SELECT count(*) FROM alert p WHERE p.integration = i.num AND p.state = 'pending'),
    (SELECT count(*) FROM alert d JOIN event de ON de.num = d.event WHERE d.integration = i.num
     AND d.state = 'dead' AND d.tried_at > :dead_since AND de.kind != 'test'),
    a.tried_at, a.state, e.kind, a.result, a.answer
    FROM integration i LEFT JOIN alert a ON a.num = (SELECT num FROM alert WHERE
    integration = i.num AND tried_at IS NOT NULL ORDER BY tried_at DESC, num DESC LIMIT 1)
    LEFT JOIN event e ON e.num = a.event WHERE :id IN (i.id, '') ORDER BY i.num"""


def integrations_json(tx: Transaction, shows_secrets: bool, id_: str = "") -> list[JsonObject]:
    """All integrations or one in Cronping's form, with how they do; what they need is secret."""
    values = {"smtp_host": tx.settings.smtp_host, "dead_since": tx.now - DEAD_MS, "id": id_}
    return [_integration_json(row, shows_secrets) for row in tx.rows(INTEGRATIONS_SQL, **values)]


def _integration_json(row: Sequence[Any], shows_secrets: bool) -> JsonObject:
    integration = show(INTEGRATIONS, row[: len(INTEGRATIONS)])
    config, is_usable, pending, dead, tried_at, state, kind, result, answer = row[
        len(INTEGRATIONS) :
    ]
    delivery = {
        "at": iso(tried_at),
        "state": state,
        "kind": kind,
        "result": outcome_text(result, answer) if shows_secrets else None,
    }
    integration |= {
        "pending": pending,
        "dead": dead,
        "lastDelivery": None if tried_at is None else delivery,
        "problem": None if is_usable else NO_MAIL,
    }
    if shows_secrets:
        integration |= integration_config(integration["channel"], json.loads(config))
    return integration


def integration_config(channel: str, config: dict[str, Any]) -> dict[str, Any]:
    """What an integration needs, for who may change it. Only who reads `webhook` checks what signs
    it: the services for which we word the body do not."""
    return {
        name: value for name, value in config.items() if name != "secret" or channel == "webhook"
    }


def list_integrations(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """All integrations."""
    return {"integrations": integrations_json(tx, request.shows_secrets)}


def show_integration(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """One integration, by id or name."""
    return integrations_json(tx, request.shows_secrets, find_integration(tx, request.id).id)[0]


LOCAL_CHANNELS = {"command": "a command", "apprise": "an integration of Apprise"}


def _check_local(request: ApiRequest, channel: str) -> None:
    """Only who is on the server may say what runs there, as Apprise does for some of its URLs."""
    if channel in LOCAL_CHANNELS and not request.is_local:
        raise Refused(
            f"{LOCAL_CHANNELS[channel]} can only be made, changed and removed with `cronwatch "
            "integration` on the server",
            "FORBIDDEN",
            403,
        )


def integration_fields(channel: str, is_local: bool) -> list[Field]:
    """What may be said of an integration; what signs its webhooks only on the server."""
    fields = [*INTEGRATION, TARGETS[channel]._replace(is_required=True)]
    if channel in BODIES:
        fields += [OWN_HEADERS, SIGNING_SECRET] if is_local else [OWN_HEADERS]
    return fields


def make_signing_secret() -> str:
    """A secret that signs webhooks (Standard Webhooks)."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def add_integration(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Create an integration from its JSON, with what signs its webhooks."""
    _check_local(request, str(an_object(request.body).get("channel")))
    channel: str = CHANNEL.shape.read(CHANNEL.name, request.body.get(CHANNEL.name))
    fields = integration_fields(channel, request.is_local)
    values = read_fields([CHANNEL, *fields], request.body)
    config = {field.name: values[field.name] for field in fields if not field.column}
    if channel in BODIES:
        config |= {
            "headers": config["headers"] or {},
            "secret": config.get("secret") or make_signing_secret(),
        }
    is_default, enabled = values["default"], values["enabled"]
    id_ = create_integration(tx, channel, values["name"], config, is_default, enabled)
    return integrations_json(tx, True, id_)[0]


def edit_integration(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Change what the body names; a command can only be switched off and on."""
    integration = find_integration(tx, request.id)
    if set(an_object(request.body)) - {"enabled"}:
        _check_local(request, integration.channel)
    fields = integration_fields(integration.channel, request.is_local)
    values = read_changes(fields, request.body)
    config = json.loads(integration.config)
    columns: JsonObject = {"updated_at": tx.now, "rests_until": None}  # it may be another receiver
    for field in fields:
        if field.name in values:
            place = columns if field.column else config
            place[field.column or field.name] = values[field.name]
    if columns.get("name", integration.name) != integration.name:
        refuse_taken(tx, "integration", "name", columns["name"])
    tx.update("integration", integration.num, {**columns, "config": json.dumps(config)})
    if columns.get("enabled") == 0:
        withdraw_alerts(tx, "integration = :num", num=integration.num)
    return integrations_json(tx, True, integration.id)[0]


def remove_integration(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Delete an integration, with the alerts that were for it."""
    integration = find_integration(tx, request.id)
    _check_local(request, integration.channel)
    tx.execute("DELETE FROM integration WHERE num = ?", integration.num)
    return {"id": integration.id, "deleted": True}


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """What came of a test."""
    return {
        "ok": attempt.verdict == "sent",
        "result": outcome_text(attempt.result, attempt.answer),
    }


def send_integration_test(outbox: Outbox, request: ApiRequest) -> dict[str, Any]:
    """Send a test to an integration now, and tell what came of it."""
    integration = outbox.read(find_integration, request.id)
    return attempt_json(*outbox.test([integration.num], integration.name))


def send_tests(
    outbox: Outbox, request: ApiRequest, seconds: float = REQUEST_SECONDS
) -> dict[str, Any]:
    """Send a test to everybody who hears of a monitor, and tell what came of it in so many
    seconds; the rest goes on, and is told with the events."""
    m = outbox.read(get_monitor, request.id)
    recipients = sorted(outbox.read(recipients_of, [m.num])[m.num])  # as they were made
    attempts = outbox.test([recipient.num for recipient in recipients], m.name, m, seconds)
    return {
        "results": [
            {"integrationId": recipient.id, "name": recipient.name, **attempt_json(attempt)}
            for recipient, attempt in zip(recipients, attempts, strict=True)
        ]
    }


# == Reports ==================================================================
# What has happened, as the API and the page show it. Nothing is changed here.


PING_SQL = f"SELECT {sql_list(PINGS)} FROM ping p JOIN monitor m ON m.num = p.monitor "


def ping_json(row: Sequence[Any], shows_secrets: bool) -> JsonObject:
    """A ping. The message of a log may be its body, which a key that only reads is not shown."""
    ping = show(PINGS, row)
    if ping["type"] == "log" and not shows_secrets:
        ping["message"] = None
    return ping


def list_pings(tx: Transaction, request: ApiRequest) -> JsonObject:
    """A monitor's pings, newest first. What is skipped is counted in the index."""
    m = get_monitor(tx, request.id)
    limit, offset = request.get(LIST_LIMIT), request.get(OFFSET)
    page = tx.rows(
        f"{PING_SQL} WHERE p.num IN (SELECT num FROM ping WHERE monitor = ? ORDER BY at DESC, "
        "num DESC LIMIT ? OFFSET ?)",
        m.num,
        limit,
        offset,
    )
    page.sort(key=lambda row: (row[3], row[0]), reverse=True)
    pings = [ping_json(row, request.shows_secrets) for row in page]
    return {"pings": pings, "total": m.ping_count, "limit": limit, "offset": offset}


def list_runs(tx: Transaction, request: ApiRequest) -> JsonObject:
    """A monitor's runs, newest first."""
    states = request.get(RUN_STATE) or RUN_STATES
    page, place = paged(
        tx,
        request,
        f"{RUNS_SQL} WHERE monitor = :monitor AND state {LISTED}",
        {"monitor": get_monitor(tx, request.id).num, "listed": json.dumps(states)},
        "started_at DESC, num DESC",
    )
    return {"runs": table_json(RUNS_IN_LISTS, (row[1:] for row in page)), **place}


PROGRESS_MAX = 1000


def _get_run(tx: Transaction, request: ApiRequest) -> Sequence[Any]:
    num = int(request.run) if re.fullmatch("[0-9]{1,15}", request.run) else None
    monitor = find_monitor(tx, request.id)
    run: Sequence[Any] | None = tx.first(RUNS_SQL + "WHERE num = ? AND monitor = ?", num, monitor)
    if run is None:
        raise Refused("Monitor not found: it has no such run", "NOT_FOUND", 404)
    return run[1:]


def show_run(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """A run with its progress, oldest first."""
    row = _get_run(tx, request)
    progress = tx.rows(
        f"SELECT {sql_list(PROGRESS)} FROM ping WHERE run = ? AND kind = 'progress' "
        "ORDER BY num DESC LIMIT ?",
        row[0],
        PROGRESS_MAX,
    )
    return {
        **show(RUNS_IN_LISTS, row),
        "progress": table_json(PROGRESS, reversed(progress)),
    }


def show_log(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """The output of a run, as Crontify's page has it."""
    content = tx.value("SELECT content FROM run_log WHERE run = ?", _get_run(tx, request)[0])
    return {"hasLog": content is not None, "content": content}


def _without_secrets(row: Sequence[Any]) -> Sequence[Any]:
    """A row of `EVENTS_SQL` without the end of a log, and without a receiver's answer."""
    *columns, text = row
    body = json.loads(text)
    if body.get("run"):
        body["run"]["logTail"] = None
    if columns[2] == "delivery_failed":
        body["about"] = [body["about"][0], "who may write is shown why"]
    return [*columns, json.dumps(body)]


DELIVERIES_SQL = f"""SELECT a.event, i.id, i.name, a.state, a.tries, a.tried_at, a.result, a.answer
    FROM alert a JOIN integration i ON i.num = a.integration WHERE a.event {LISTED}
    ORDER BY a.event, a.num"""


def with_deliveries(
    tx: Transaction, events: Sequence[Any], shows_secrets: bool
) -> list[JsonObject]:
    """Rows of `EVENTS_SQL` in the API's form, with what was delivered to whom; logs and what
    receivers answered are secret."""
    deliveries = tx.grouped(DELIVERIES_SQL, [row[0] for row in events])
    return [
        {
            **event_json(row if shows_secrets else _without_secrets(row), tx.settings.base_url),
            "deliveries": [
                {
                    "integrationId": id_,
                    "name": name,
                    "state": state,
                    "tries": tries,
                    "triedAt": iso(tried_at),
                    "result": outcome_text(result, answer) if shows_secrets else None,
                }
                for id_, name, state, tries, tried_at, result, answer in deliveries[row[0]]
            ],
        }
        for row in events
    ]


EVENT_FILTERS = {
    "monitor": "e.monitor = :monitor",
    "listed": f"e.kind {LISTED}",
    "since": "e.at >= :since",
    "until": "e.at < :until",
}


def list_events(tx: Transaction, request: ApiRequest) -> JsonObject:
    """The log of events, newest first, of one monitor or of all."""
    name, kinds = request.id or request.get(OF_MONITOR), request.get(KIND)
    values = {
        "monitor": get_monitor(tx, name).num if name else None,
        "listed": json.dumps(kinds) if kinds else None,
        "since": request.get(SINCE),
        "until": request.get(UNTIL),
    }
    conditions = [EVENT_FILTERS[bound] for bound in values if values[bound] is not None]
    sql = " AND ".join([f"{EVENTS_SQL} WHERE 1", *conditions])
    page, place = paged(tx, request, sql, values, "e.num DESC")
    return {"events": with_deliveries(tx, page, request.shows_secrets), **place}


HISTORY = {  # where each kind of entry comes from, newest first, and how it is shown
    "ping": (
        "SELECT at, {columns} FROM ping p JOIN monitor m ON m.num = p.monitor "
        "WHERE p.monitor = :monitor AND at < :before ORDER BY at DESC, p.num DESC LIMIT :most",
        PINGS,
    ),
    "flip": (
        "SELECT at, {columns} FROM flip WHERE monitor = :monitor AND at < :before "
        "ORDER BY at DESC, num DESC LIMIT :most",
        FLIPS,
    ),
    "absence": (
        "SELECT until, {columns} FROM absence WHERE since < until AND until < :before "
        "AND until > :created_at ORDER BY until DESC, num DESC LIMIT :most",
        GAPS,
    ),
}
EVENTS_OF_MONITOR = "WHERE e.monitor = :monitor AND e.at < :before ORDER BY e.at DESC, num DESC"


def show_history(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Pings, flips, events and our own absences of a monitor, newest first. A page goes
    on to the end of its last instant: `before` that one begins the next."""
    m = get_monitor(tx, request.id)
    limit, before = request.get(LIST_LIMIT), request.get(BEFORE)
    bounds = {
        "monitor": m.num,
        "before": 2**62 if before is None else before,
        "created_at": m.created_at,
        "most": limit + 50,
    }
    entries: list[tuple[int, str, JsonObject]] = []
    for kind, (sql, columns) in HISTORY.items():
        for at, *row in tx.rows(sql.format(columns=sql_list(columns)), **bounds):
            entry = ping_json(row, request.shows_secrets) if kind == "ping" else show(columns, row)
            entries.append((at, kind, entry))
    events = tx.rows(f"{EVENTS_SQL} {EVENTS_OF_MONITOR} LIMIT :most", **bounds)
    for row, event in zip(events, with_deliveries(tx, events, request.shows_secrets), strict=True):
        entries.append((row[3], "event", event))
    entries.sort(key=operator.itemgetter(0), reverse=True)  # at one instant as they come here
    while limit < len(entries) and entries[limit][0] == entries[limit - 1][0]:
        limit += 1
    return {
        "more": len(entries) > limit,
        "entries": [
            {"at": iso(at), "type": kind, kind: entry} for at, kind, entry in entries[:limit]
        ],
    }


StatusChange = tuple[int, str, str | None]  # when, to which status, why
Flips = Sequence[StatusChange]
Absences = Sequence[tuple[int, int]]  # since when, until when


def uptime(flips: Flips, absences: Absences, since: int, until: int) -> JsonObject:
    """How long a monitor had which status in a window, in seconds; of `flips` the last one before
    it tells the status at its start. What we did not watch ourselves is unknown, like all before
    a first ping."""
    totals: Counter[str] = Counter()
    changes = [("new", since), *((status, at) for at, status, _ in flips if at <= until)]
    bounds = [max(since, at) for _, at in changes] + [until]
    for (status, _), begin, end in zip(changes, bounds, bounds[1:], strict=False):
        away = sum(max(0, min(end, back) - max(begin, gone)) for gone, back in absences)
        totals[status] += end - begin - away
        totals["new"] += away
    watched = totals["up"] + totals["down"]
    return {
        "since": iso(since),
        "until": iso(until),
        "upSeconds": totals["up"] // 1000,
        "downSeconds": totals["down"] // 1000,
        "pausedSeconds": totals["paused"] // 1000,
        "unknownSeconds": totals["new"] // 1000,
        "uptime": round(totals["up"] / watched, 6) if watched else None,
        "downtimes": sum(status == "down" for status, _ in changes),
    }


def show_uptime(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Uptime over any windows, computed from the flips."""
    m = get_monitor(tx, request.id)
    since, until = request.get(SINCE), request.get(UNTIL)
    days = request.get(DAYS)
    if len(days) > 20:
        raise Invalid("days can be repeated at most 20 times")
    windows = [(tx.now - count * DAY_MS, tx.now) for count in days]
    if since is not None or until is not None:
        days = [None]
        windows = [(since or m.created_at, tx.now if until is None else until)]
        if max(windows[0][0], m.created_at) > min(windows[0][1], tx.now):
            raise Invalid("since must be before until, and until after the monitor was created")
    uptimes = load_uptimes(tx, [m], windows)[m.num]
    return {
        "windows": [
            {"days": count, **window} for count, window in zip(days, uptimes, strict=True)
        ],
        "note": "pauses, the time before the first ping and the times when cronwatch itself "
        "was away count neither as up nor as down",
    }


def load_uptimes(
    tx: Transaction, monitors: Sequence[Monitor], windows: Sequence[tuple[int, int]]
) -> dict[int, list[JsonObject]]:
    """The uptime of monitors in these windows, as far as they were there, by their num."""
    windows = [(begin, min(end, tx.now)) for begin, end in windows]
    since = min(begin for begin, _ in windows)
    flips = load_flips(tx, [m.num for m in monitors], since)
    absences = load_absences(tx, since)
    return {
        m.num: [
            uptime(flips[m.num], absences, min(max(begin, m.created_at), end), end)
            for begin, end in windows
        ]
        for m in monitors
    }


SHOWN_STATUS_SQL = """CASE WHEN status = 'up' AND expected_at < :now THEN 'late'
    WHEN status = 'up' AND num IN (SELECT monitor FROM run WHERE state = 'running') THEN 'running'
    ELSE status END"""
# Who is expected has an instant at which it is due: the index has both, and is quickly read.
OF_SCHEDULE = "monitor INDEXED BY monitor_due WHERE due_at IS NOT NULL AND"
HOUR_MS = 3_600_000
STRIP_MAX, UPTIME_DAYS = 30, 30
STRIP_SQL = f"""SELECT m.num, r.started_at, r.duration_ms, r.state, r.exit_code, r.num, r.matched,
    CASE WHEN r.matched IS NOT NULL THEN r.metrics END FROM monitor m
    JOIN run r ON r.num IN (SELECT num FROM run WHERE monitor = m.num
    ORDER BY started_at DESC, num DESC LIMIT 30) WHERE m.num {LISTED}
    ORDER BY r.started_at, r.num"""
FLIPS_SQL = f"""SELECT monitor, at, status, reason FROM (
    SELECT * FROM flip WHERE monitor {LISTED} AND at > :since
    UNION ALL SELECT * FROM flip WHERE num IN (SELECT (SELECT num FROM flip
        WHERE monitor = m.num AND at <= :since ORDER BY at DESC, num DESC LIMIT 1)
        FROM monitor m WHERE m.num {LISTED})) ORDER BY at, num"""


# An occurrence in a strip: when the job ran or should have, how long it took in ms, the state of
# the run (`matched` where a rule matched it, `missed` where there was none), exit code, number.
Slot = tuple[int, int | None, str, int | None, int | None]


class Past(NamedTuple):
    """What lists show of a monitor's last weeks: the strip, oldest first, the changes of status,
    the share of time that it was up, and what the rules found in its newest run."""

    strip: list[Slot]
    flips: Flips
    uptime: float | None
    matched: list[JsonObject]


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
        times = [next_run(m.cron, m.timezone, begin - 1)]
        while times[-1] <= until:
            times.append(next_run(m.cron, m.timezone, times[-1]))
        if len(times) > most or begin == first:
            return times[:-1][-most:]
        reach *= 4


def missed_occurrences(
    m: Monitor,
    flips: Flips,
    starts: Sequence[int],
    absences: Absences,
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
    after = bisect_left(starts, occurrence - early_ms(m, occurrence))
    return after < len(starts) and starts[after] <= occurrence + m.grace_seconds * 1000


def load_flips(tx: Transaction, nums: Sequence[int], since: int) -> dict[int, list[StatusChange]]:
    """The changes of status of monitors since an instant, and the one before: time, status and
    reason, oldest first."""
    return tx.grouped(FLIPS_SQL, nums, since=since)


def load_absences(tx: Transaction, since: int) -> list[tuple[int, int]]:
    """When we were away since an instant."""
    return tx.rows("SELECT since, until FROM absence WHERE until > ?", since)


def load_pasts(tx: Transaction, monitors: Sequence[Monitor]) -> dict[int, Past]:
    """The last weeks of monitors, in as many queries for one as for a hundred."""
    nums = [m.num for m in monitors]
    since = tx.now - UPTIME_DAYS * DAY_MS
    runs = tx.grouped(STRIP_SQL, nums)
    flips, absences = load_flips(tx, nums, since), load_absences(tx, since)
    return {m.num: _past(m, runs[m.num], flips[m.num], absences, since, tx.now) for m in monitors}


def _past(
    m: Monitor,
    runs: list[Any],
    flips: Flips,
    absences: Absences,
    since: int,
    now: int,
) -> Past:
    strip: list[Slot] = [
        (at, duration_ms, "matched" if matched and state == "success" else state, code, num)
        for at, duration_ms, state, code, num, matched, _ in runs
    ]
    missed = missed_occurrences(m, flips, [run[0] for run in runs], absences, now)
    if len(strip) == STRIP_MAX:  # what lies before its first run is out of sight
        missed = [at for at in missed if at > strip[0][0]]
    if missed:
        strip += [(at, None, "missed", None, None) for at in missed]
        strip = sorted(strip, key=operator.itemgetter(0))[-STRIP_MAX:]
    begin = max(since, m.created_at)
    share = uptime(flips, absences, begin, now)["uptime"]
    if share is not None:  # coarse, and never rounded up: the ETag lasts for some minutes
        share = math.floor(share * 10_000) / 10_000
    ends = [run for run in runs if run[2] != "running"]
    return Past(strip, flips, share, _matched_json(ends[-1]) if ends else [])


def _matched_json(run: Sequence[Any]) -> list[JsonObject]:
    """The rules that matched a run, each with the value that it met."""
    _, duration_ms, _, code, _, matched, metrics = run
    if matched is None:
        return []
    own = {"duration_seconds": duration_ms and duration_ms / 1000, "exit_code": code}
    values = {**json.loads(metrics or "{}"), **own}
    return [{**rule, "actual": values.get(rule["field"])} for rule in json.loads(matched)]


def page_of_monitors(
    tx: Transaction, request: ApiRequest, limit: Field
) -> tuple[list[tuple[Monitor, str]], JsonObject]:
    """A page of the monitors that a query asks for, those in trouble first, each with its state;
    and what says which page it is."""
    condition, values = read_filter(request)
    states = request.get(STATE)
    sql = (
        f"SELECT state, {', '.join(MONITOR_FIELDS)} FROM "
        f"(SELECT *, {SHOWN_STATUS_SQL} AS state FROM monitor WHERE {condition})"
    )
    if states:
        sql += f" WHERE state {LISTED}"
    values |= {"now": tx.now, "listed": json.dumps(states)}
    order = f"instr('{' '.join(STATES)}', state), name, num"
    page, place = paged(tx, request, sql, values, order, limit)
    return [(Monitor(*row), state) for state, *row in page], place


def show_summary(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """What the first screen needs: a page of monitors, those in trouble first, with their last
    occurrences, and how many there are in which state; in as many queries for one as for many."""
    monitors, place = page_of_monitors(tx, request, SUMMARY_LIMIT)
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
        **place,
        "monitors": [
            _summed_up(m, state, recipients[m.num], running.get(m.num), pasts[m.num])
            for m, state in monitors
        ],
    }


def _summed_up(
    m: Monitor,
    state: str,
    recipients: Sequence[Recipient],
    running: Sequence[Any] | None,
    past: Past,
) -> JsonObject:
    good = sorted(
        duration_ms
        for _, duration_ms, outcome, _, _ in past.strip
        if duration_ms is not None and outcome in ("success", "matched")
    )
    durations = [slot[1] for slot in past.strip if slot[1] is not None]
    return {
        "id": m.id,
        "key": m.key,
        "name": m.name,
        "tags": m.tags.split(),
        "status": m.status,
        "state": state,
        "recipients": [recipient.name for recipient in recipients],
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


def count_states(tx: Transaction) -> dict[str, int]:
    """How many monitors are in which of `STATES`; they add up to all of them."""
    counts = dict.fromkeys(STATES, 0)
    counts.update(tx.rows("SELECT status, count(*) FROM monitor GROUP BY status"))
    late = f"SELECT num FROM {OF_SCHEDULE} expected_at < ? AND status = 'up'"
    counts["late"], counts["running"] = tx.first(
        f"SELECT (SELECT count(*) FROM ({late})), (SELECT count(*) FROM monitor WHERE "
        "num IN (SELECT monitor FROM run WHERE state = 'running') AND status = 'up' AND "
        "(expected_at >= ? OR expected_at IS NULL))",
        tx.now,
        tx.now,
    )
    counts["up"] -= counts["late"] + counts["running"]
    return counts


def count_tags(tx: Transaction) -> dict[str, int]:
    """How many monitors have which tag."""
    tags = Counter[str]()
    for words, count in tx.rows(
        "SELECT tags, count(*) FROM monitor WHERE tags != '' GROUP BY tags"
    ):
        tags.update(dict.fromkeys(words.split(), count))
    return dict(sorted(tags.items()))


def _next_expected(tx: Transaction) -> JsonObject | None:
    """The monitor that is expected next: its id, its name, and when."""
    for id_, name, at in tx.rows(
        "SELECT id, name, expected_at FROM monitor WHERE num = (SELECT num FROM "
        f"{OF_SCHEDULE} expected_at >= ? ORDER BY expected_at LIMIT 1)",
        tx.now,
    ):
        return {"id": id_, "name": name, "at": iso(at)}
    return None


NIGHT_BACK_MS, NIGHT_AHEAD_MS, NIGHT_MERGE_MS = DAY_MS, 3 * HOUR_MS, 90_000
NIGHT_RUNS_MAX = 50_000
NIGHT_SQL = f"""SELECT monitor, num, started_at, coalesce(ended_at, started_at + duration_ms),
    CASE WHEN matched IS NOT NULL AND state = 'success' THEN 'matched' ELSE state END
    FROM run WHERE monitor {LISTED} AND started_at > :since ORDER BY monitor, started_at, num
    LIMIT {NIGHT_RUNS_MAX}"""


def show_night(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """The last 24 hours of monitors as a timeline, in the order of the summary, and what is
    expected in the next three. Instants are seconds after `since`."""
    since, until = tx.now - NIGHT_BACK_MS, tx.now + NIGHT_AHEAD_MS
    monitors, place = page_of_monitors(tx, request, NIGHT_LIMIT)
    nums = [m.num for m, _ in monitors]
    runs = tx.grouped(NIGHT_SQL, nums, since=since - DAY_MS // 2)
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
        "total": place["total"],
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
    times = itertools.islice(occurrences_from(m, m.expected_at), most)
    grace_ms = m.grace_seconds * 1000
    return [at for at in itertools.takewhile(until.__ge__, times) if now - grace_ms <= at]


def _tagged_monitors(tx: Transaction, tag: str, most: int) -> list[tuple[Monitor, str]]:
    request = ApiRequest(query={"tag": [tag], "limit": most})
    return page_of_monitors(tx, request, SUMMARY_LIMIT)[0]


def status_page(tx: Transaction, tag: str, most: int) -> JsonObject:
    """What strangers may see of the monitors with a tag: names, states, strips and uptime."""
    monitors = _tagged_monitors(tx, tag, most)
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


# -- what readers of Uptime Kuma ask for: Home Assistant, Homarr, Homepage
STATUS_MAX = 200  # monitors
BEATS_MAX = 600  # of all of them
KUMA_BEATS = {"success": 1, "matched": 1, "failed": 0, "stuck": 0, "missed": 0}
KUMA_WINDOWS = {"1d": DAY_MS, "30d": 30 * DAY_MS, "365d": 365 * DAY_MS}


def kuma_page(tx: Transaction, tag: str, most: int) -> JsonObject:
    """A status page of Uptime Kuma: its monitors (server/routers/status-page-router.js)."""
    monitors = _tagged_monitors(tx, tag, most)
    group = {
        "id": 1,
        "name": tag,
        "weight": 1,
        "monitorList": [{"id": m.num, "name": m.name, "type": "push"} for m, _ in monitors],
    }
    return {
        "config": {
            "slug": tag,
            "title": tag,
            "description": None,
            "icon": "",
            "theme": "auto",
            "published": True,
            "showTags": False,
            "autoRefreshInterval": 300,
        },
        "incident": None,
        "incidents": [],
        "publicGroupList": [group],
        "maintenanceList": [],
    }


def kuma_heartbeats(tx: Transaction, tag: str, most: int) -> JsonObject:
    """The last beats of a status page of Uptime Kuma, oldest first, and uptime of a day."""
    monitors = [m for m, _ in _tagged_monitors(tx, tag, most)]
    pasts = load_pasts(tx, monitors)
    beats = BEATS_MAX // max(1, len(monitors))
    uptimes = load_uptimes(tx, monitors, [(tx.now - DAY_MS, tx.now)])
    return {
        "heartbeatList": {
            str(m.num): [
                {
                    "status": KUMA_BEATS[state],
                    "time": _kuma_time(at),
                    "msg": "",
                    "ping": duration_ms,
                }
                for at, duration_ms, state, *_ in pasts[m.num].strip[-beats:]
                if state in KUMA_BEATS
            ]
            for m in monitors
        },
        "uptimeList": {
            f"{num}_24": window["uptime"]
            for num, (window,) in uptimes.items()
            if window["uptime"] is not None
        },
    }


def _kuma_time(at: int) -> str:
    return (iso(at) or "").replace("T", " ").removesuffix("Z")


def count_monitors(tx: Transaction) -> dict[str, int]:
    """How many monitors have which status, and how many are late or running; these are up."""
    counts = count_states(tx)
    return {**counts, "up": counts["up"] + counts["late"] + counts["running"]}


OUTBOX_SQL = """SELECT (SELECT count(*) FROM alert WHERE state = 'pending'),
    (SELECT count(*) FROM alert a JOIN integration i ON i.num = a.integration
     WHERE a.state = 'pending' AND i.enabled AND coalesce(i.rests_until, 0) < ?1
     AND a.due_at < ?1),
    (SELECT count(*) FROM alert a JOIN event e ON e.num = a.event
     WHERE a.state = 'dead' AND a.tried_at > ?2 AND e.kind != 'test')"""
SIZE_SQL = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def outbox_counts(tx: Transaction) -> dict[str, int]:
    """How many alerts wait, how many for a minute beyond their time, how many were given up."""
    counts = tx.first(OUTBOX_SQL, tx.now - 60_000, tx.now - DEAD_MS)
    return dict(zip(("pending", "overdue", "dead"), counts, strict=True))


def _short_health(tx: Transaction) -> JsonObject:
    failing = tx.rows("SELECT name FROM integration WHERE failing ORDER BY name")
    return {
        **outbox_counts(tx),
        "failing": [name for (name,) in failing],
        "refused": tx.store.is_failing,
        "databaseBytes": tx.value(SIZE_SQL),
    }


LAST_GAPS = "SELECT since, until FROM absence WHERE since < until ORDER BY num DESC LIMIT 10"


def show_health(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """How cronwatch itself does."""
    # Pings are numbered as they come: the last thousands tell those of the last minute.
    recent = "SELECT at FROM ping ORDER BY num DESC LIMIT 10000"
    return {
        "version": __version__,
        "scanSeconds": tx.settings.scan_seconds,
        "outbox": outbox_counts(tx),
        "databaseBytes": tx.value(SIZE_SQL),
        "pingsPerMinute": tx.value(
            f"SELECT count(*) FROM ({recent}) WHERE at > ?", tx.now - 60_000
        ),
        "refused": tx.store.is_failing,
        "monitors": tx.value("SELECT count(*) FROM monitor"),
        "absences": table_json(GAPS, tx.rows(LAST_GAPS)),
        "failing": [
            {
                "id": one["id"],
                "name": one["name"],
                "result": (one["lastDelivery"] or {}).get("result"),
            }
            for one in integrations_json(tx, request.shows_secrets)
            if one["failing"]
        ],
    }


def preview(tx: Transaction, request: ApiRequest) -> JsonObject:
    """When a schedule would expect a job next, and when its silence would be told. An interval of
    `monitor` that stays as it is counts on from its last ping."""
    cron, timezone, seconds, grace_seconds, name = (request.get(field) for field in PREVIEW)
    timezone = timezone or "UTC"
    fields = {"cronExpression": cron} if cron else {"intervalSeconds": seconds}
    read_changes(MONITOR, {"timezone": timezone, **fields})
    m = get_monitor(tx, name) if name else None
    next_at = next_run(cron, timezone, tx.now) if cron else tx.now + seconds * 1000
    if m and m.expected_at and not cron and seconds == m.interval_seconds:
        next_at = m.expected_at
    times = [next_at]
    while len(times) < 5:
        following = next_run(cron, timezone, times[-1]) if cron else times[-1] + seconds * 1000
        times.append(following)
    return {
        "schedule": describe_cron(cron) if cron else interval_words(seconds),
        "timezone": timezone,
        "times": [
            {"expectedAt": iso(at), "alertAt": iso(at + grace_seconds * 1000)} for at in times
        ],
    }


# -- for Prometheus

FIRST_MONITORS = "(SELECT * FROM monitor ORDER BY num LIMIT 1000)"  # that have series of their own
LAST_DURATION = """(SELECT duration_ms FROM run WHERE monitor = m.num AND duration_ms IS NOT NULL
    ORDER BY started_at DESC LIMIT 1)"""
# What reads Uptime Kuma wants all of its labels.
KUMA_LABELS = """num AS monitor_id, name AS monitor_name, 'push' AS monitor_type,
    'null' AS monitor_url, 'null' AS monitor_hostname, 'null' AS monitor_port"""


class Gauge(NamedTuple):
    """A gauge: the last column of its query is the value, the others are the labels."""

    name: str
    help: str
    sql: str


GAUGES = (
    Gauge("cronwatch_database_bytes", "Size of the database.", SIZE_SQL),
    Gauge(
        "cronwatch_monitor_status",
        "1 for the status that a monitor has.",
        "SELECT m.key AS monitor, value AS status, value = m.status "
        f"FROM {FIRST_MONITORS} m, json_each('{json.dumps(STATUSES)}')",
    ),
    Gauge(
        "cronwatch_monitor_last_ping_timestamp_seconds",
        "When something was last heard of it.",
        f"SELECT key AS monitor, last_ping_at / 1000.0 FROM {FIRST_MONITORS}",
    ),
    Gauge(
        "cronwatch_monitor_last_duration_seconds",
        "How long its last run took.",
        f"SELECT key AS monitor, {LAST_DURATION} / 1000.0 FROM {FIRST_MONITORS} m",
    ),
    Gauge(
        "monitor_status",
        "As Uptime Kuma: 0 down, 1 up, 2 pending, 3 maintenance.",
        f"SELECT {KUMA_LABELS}, CASE {SHOWN_STATUS_SQL} WHEN 'down' THEN 0 "
        "WHEN 'new' THEN 2 WHEN 'late' THEN 2 WHEN 'paused' THEN 3 ELSE 1 END "
        f"FROM {FIRST_MONITORS}",
    ),
    Gauge(
        "monitor_response_time",
        "As Uptime Kuma: the last duration in ms.",
        f"SELECT {KUMA_LABELS}, {LAST_DURATION} FROM {FIRST_MONITORS} m",
    ),
    # Home Assistant compares it with the newest release of Uptime Kuma, and nags below it.
    Gauge(
        "app_version",
        "As Uptime Kuma.",
        "SELECT '2.5.3' AS version, '2' AS major, '5' AS minor, '3' AS patch, 1",
    ),
)


class Metrics:
    """A registry of our own, which is also one of its collectors."""

    def __init__(self, read: Callable[..., Any], clock: Callable[[], int]) -> None:
        self.read, self.clock = read, clock
        self.scanner: Scanner | None = None
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

    def count_ping(self, dialect: Dialect, result: PingResult) -> None:
        """Count a ping that is on disk, and the run that it ended."""
        if result.ping.kind == "pause" or result.is_dropped:
            return
        self._pings[dialect.name].inc()
        if result.ping.kind in OUTCOMES and result.run and result.run.state in self._runs:
            self._runs[result.run.state].inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the database knows now; each monitor by its key, up to 1,000 of them."""
        yield from self.read(measure)
        if self.scanner is not None:
            age = (self.clock() - self.scanner.last_at) / 1000
            yield GaugeMetricFamily("cronwatch_scan_age_seconds", "Since the last look.", age)


def _gauge(
    name: str, help_: str, labels: Sequence[str], samples: Iterable[Sequence[Any]]
) -> GaugeMetricFamily:
    """A gauge of the values that there are, each behind those of its labels."""
    gauge = GaugeMetricFamily(name, help_, None, labels)
    for *values, figure in samples:
        if figure is not None:
            gauge.add_metric([str(value) for value in values], figure)
    return gauge


def measure(tx: Transaction) -> list[GaugeMetricFamily]:
    """The figures of the database, in as many queries for one monitor as for many."""
    counts, outbox = count_monitors(tx).items(), outbox_counts(tx).items()
    what_outbox = "Alerts that wait, are a minute beyond their time, or were given up."
    gauges = [
        _gauge("cronwatch_monitors", "Monitors by status.", ["status"], counts),
        _gauge("cronwatch_alerts", what_outbox, ["state"], outbox),
    ]
    for name, help_, sql in GAUGES:
        cursor = tx.execute(sql, now=tx.now)
        labels = [column for column, *_ in cursor.description[:-1]]
        gauges.append(_gauge(name, help_, labels, cursor.fetchall()))
    return [*gauges, _uptime_gauge(tx)]


def _uptime_gauge(tx: Transaction) -> GaugeMetricFamily:
    """The uptime of Uptime Kuma in its windows."""
    cursor = tx.execute(f"SELECT {KUMA_LABELS} FROM {FIRST_MONITORS}")
    labels = [column for column, *_ in cursor.description]
    monitors = select_monitors(tx, f"num IN (SELECT num FROM {FIRST_MONITORS}) ORDER BY num")
    windows = [(tx.now - length, tx.now) for length in KUMA_WINDOWS.values()]
    uptimes = load_uptimes(tx, monitors, windows)
    samples = [
        (*values, name, window["uptime"])
        for values in cursor.fetchall()
        for name, window in zip(KUMA_WINDOWS, uptimes[values[0]], strict=True)
    ]
    return _gauge("monitor_uptime_ratio", "As Uptime Kuma.", [*labels, "window"], samples)


# == People ===================================================================
# Who may sign in, and with which credential one may do what. No request is read here.
ALLOWED = {
    "ping": {"ping"},
    "read-only": {"read-only"},
    "read-write": {"read-only", "read-write"},
    "user": {"read-only", "read-write", "user"},
}  # what a credential may do on routes
LINK_MS = 3_600_000
UNKNOWN_MAX = 30  # keys and handles, a minute and address
SIGN_INS_MAX = 5  # that failed, of a name and address
SIGN_IN_SECONDS = 300  # and in what time
SCRYPTS_MAX = 4  # that run or wait
BUSY_SIGN_INS = "Too many sign-ins at once: try again in a moment"
KEYS_SQL = f"SELECT {sql_list(KEYS)} FROM api_key "
USERS_SQL = f"SELECT {sql_list(USERS)} FROM user "
scrypts = ThreadPoolExecutor(1, "scrypt")  # each takes 16 MB, which its thread then keeps
scrypt_places = threading.BoundedSemaphore(SCRYPTS_MAX)  # or all that answer would wait


def hash_password(password: str, salt: str | None = None) -> str:
    """scrypt of a password (RFC 7914, with 16 MB), its salt before it; both in hex.

    Raises `Refused` 429 where others wait for theirs already.
    """
    salt = salt or secrets.token_hex(16)
    if not scrypt_places.acquire(blocking=False):
        raise Refused(BUSY_SIGN_INS, "RATE_LIMIT_EXCEEDED", 429, 1)
    try:
        key = scrypts.submit(
            hashlib.scrypt,
            password.encode("utf-8", "surrogatepass"),
            salt=bytes.fromhex(salt),
            n=2**14,
            r=8,
            p=1,
        ).result()
    finally:
        scrypt_places.release()
    return f"{salt}:{key.hex()}"


NOBODYS = f"{'00' * 16}:"  # takes as long as that of somebody


def is_password(password: str, stored: str | None) -> bool:
    """Whether it is the password; takes as long where there is none."""
    salt = (stored or NOBODYS).partition(":")[0]
    return hmac.compare_digest(hash_password(password, salt), stored or NOBODYS)


def list_users(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """All who may sign in."""
    return {"users": table_json(USERS, tx.rows(USERS_SQL + "ORDER BY num"))}


def find_user(tx: Transaction, name: str) -> tuple[int, str]:
    """The num and id of a user, by name or id; refuses with 404."""
    user: tuple[int, str] = find_row(tx, "user", "num, id", name)
    return user


def user_json(tx: Transaction, num: int | None) -> JsonObject:
    """A user as the API shows one."""
    return show(USERS, tx.first(USERS_SQL + "WHERE num = ?", num))


def add_user(tx: Transaction, name: str, stored: str | None) -> dict[str, Any]:
    """A new user, with a password in its stored form or with none."""
    refuse_taken(tx, "user", "name", name)
    columns = {"id": str(uuid.uuid4()), "name": name, "password": stored, "created_at": tx.now}
    return user_json(tx, tx.insert("user", columns))


def change_password(tx: Transaction, user: int, stored: str | None, session: str = "") -> None:
    """Change a password to one in its stored form; all sessions and links end but this session."""
    tx.update("user", user, {"password": stored})
    tx.execute("DELETE FROM session WHERE user = ? AND hash != ?", user, session)


def remove_user(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """Delete a user and end its sessions; the last one stays."""
    num, id_ = find_user(tx, request.id)
    if tx.value("SELECT count(*) FROM user") == 1:
        raise Refused("this is the last user: make another one first", "CONFLICT", 409)
    tx.execute("DELETE FROM user WHERE num = ?", num)
    return {"id": id_, "deleted": True}


def _add_secret(tx: Transaction, user: int, is_link: bool, lasts_ms: int) -> tuple[str, int]:
    secret, expires_at = secrets.token_urlsafe(32), tx.now + lasts_ms
    tx.insert(
        "session",
        {
            "hash": hash_secret(secret),
            "user": user,
            "is_link": int(is_link),
            "expires_at": expires_at,
        },
    )
    return secret, expires_at


def make_link(tx: Transaction, name: str, makes_user: bool = False) -> dict[str, Any]:
    """A link that signs a user in once, within an hour: its secret is in the fragment, which no
    server and no log sees. Where there is nobody yet, it may make the user."""
    if makes_user and not tx.rows("SELECT 1 FROM user LIMIT 1"):
        add_user(tx, name, None)
    secret, expires_at = _add_secret(tx, find_user(tx, name)[0], True, LINK_MS)
    return {"url": f"{tx.settings.base_url}/#/link/{secret}", "expiresAt": iso(expires_at)}


def open_session(tx: Transaction, user: int, stored: str | None) -> dict[str, Any]:
    """Sign a user in, if the password in its stored form is theirs still."""
    if tx.rows("SELECT password FROM user WHERE num = ?", user) != [(stored,)]:
        raise Refused("Wrong name or password", "UNAUTHORIZED", 401)
    days = min(tx.settings.session_days, 36_500)
    token, expires_at = _add_secret(tx, user, False, days * 86_400_000)
    tx.update("user", user, {"seen_at": tx.now})
    return {
        "token": token,
        "user": user_json(tx, user),
        "expiresAt": iso(expires_at),
    }


def use_link(tx: Transaction, secret: str) -> dict[str, Any]:
    """Sign in by a link, which ends with this."""
    link = tx.first(
        "DELETE FROM session WHERE hash = ? AND is_link RETURNING expires_at, user, "
        "(SELECT password FROM user WHERE num = user)",
        hash_secret(secret),
    )
    if link is None or link[0] <= tx.now:
        raise Unknown("This link has been used or has expired", "UNAUTHORIZED", 401)
    return open_session(tx, *link[1:])


def show_session(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """Who is signed in."""
    expires_at = tx.value("SELECT expires_at FROM session WHERE hash = ?", request.session)
    return {"user": user_json(tx, request.user), "expiresAt": iso(expires_at)}


def end_session(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """Sign out."""
    tx.execute("DELETE FROM session WHERE hash = ?", request.session)
    return {"deleted": True}


def prune_sessions(tx: Transaction) -> None:
    """Forget sessions and links that have expired."""
    if not has_leapt(tx):
        tx.execute("DELETE FROM session WHERE expires_at <= ?", tx.now)


class Limiter:
    """Counts by name, each name for some time from its first; pure but for its clock.

    That is a monotonic one, in seconds: no change of the clock ends a wait, or begins one.
    Memory is bounded: the name that began first is forgotten for a new one.
    """

    SIZE_MAX = 10_000

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._counts: dict[Any, tuple[int, float]] = {}  # how many, and when that is over
        self._lock = threading.Lock()

    def count(self, name: Any, seconds: float = 60) -> int:
        """Count one more; how many it were since the first, which is at most so long ago."""
        now = self.monotonic()
        with self._lock:
            count, end = self._counts.get(name, (0, 0.0))
            if end <= now:
                self._counts.pop(name, None)
                count = 0
                end = now + seconds
            if name not in self._counts and len(self._counts) >= self.SIZE_MAX:
                del self._counts[next(iter(self._counts))]
            self._counts[name] = count + 1, end
        return count + 1

    def wait(self, name: Any, most: int) -> int | None:
        """Seconds until one more may come; None where it may now. A most of 0 is no limit."""
        count, end = self._counts.get(name, (0, 0.0))
        rest = end - self.monotonic()
        return math.ceil(rest) if rest > 0 and 0 < most <= count else None

    def forget(self, name: Any) -> None:
        """It went well."""
        with self._lock:
            self._counts.pop(name, None)


@lru_cache(1024)
def network(address: str | None) -> str:
    """What an address counts as: of IPv6 the /64, of which one person has all addresses."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64)
    return str(ip)


addresses_trying: set[str] = set()


@contextlib.contextmanager
def _one_try_of(address: str) -> Iterator[None]:
    """Refuse, with 429, a second sign-in of an address at a time: it would take others' places."""
    if address in addresses_trying:
        raise Refused(BUSY_SIGN_INS, "RATE_LIMIT_EXCEEDED", 429, 1)
    addresses_trying.add(address)
    try:
        yield
    finally:
        addresses_trying.discard(address)


def find_by_password(
    read: Callable[..., Any], limiter: Limiter, name: str, password: str, address: str | None
) -> tuple[int, str | None]:
    """The user with this name and password, and its stored form. Who fails has to wait, of the
    same name *and* address, and an address has one try at a time: nobody can lock out somebody
    else."""
    who = ("sign-in", name, network(address))
    wait = limiter.wait(who, SIGN_INS_MAX)
    if wait is not None:
        sentence = "Too many failed sign-ins: wait a little"
        raise Refused(sentence, "RATE_LIMIT_EXCEEDED", 429, wait)
    sql = "SELECT num, password FROM user WHERE name = ?"
    num, stored = read(lambda tx: tx.first(sql, name)) or (0, None)
    with _one_try_of(network(address)):
        is_right = is_password(password, stored)
    if not is_right:
        limiter.count(who, SIGN_IN_SECONDS)
        raise Refused("Wrong name or password", "UNAUTHORIZED", 401)
    limiter.forget(who)
    return num, stored


class Caller(NamedTuple):
    """Who asks: `may` is the permission of an API key, or `user`."""

    may: str
    key: int | None = None
    user: int | None = None
    session: str = ""
    by_cookie: bool = False


def find_caller(tx: Transaction, secret: str | None, cookie: str | None) -> Caller | None:
    """Whose secret this is: an API key's or a session's from a header, else a session's from a
    cookie, which counts whatever login a proxy sends along; None where it is nobody's."""
    key = find_key(tx, secret)
    if key is not None:
        return Caller(key[1], key=key[0])
    for session, by_cookie in ((secret, False), (cookie, True)):
        if session:
            hashed = hash_secret(session)
            sql = "SELECT user FROM session WHERE hash = ? AND NOT is_link AND expires_at > ?"
            user = tx.value(sql, hashed, tx.now)
            if user is not None:
                return Caller("user", user=user, session=hashed, by_cookie=by_cookie)
    return None


def list_keys(tx: Transaction, request: ApiRequest) -> JsonObject:
    """All API keys, without their secrets."""
    return {"keys": table_json(KEYS, tx.rows(KEYS_SQL + "ORDER BY num"))}


def create_key(tx: Transaction, name: str, permission: str, secret: str | None = None) -> str:
    """A new API key, or an old service's that is adopted; the secret, for the only time."""
    # Some of Sentry's SDKs take letters and digits only, clients of Healthchecks 32 of them.
    secret = secret or "cw" + "".join(secrets.choice(BASE62) for _ in range(30))
    refuse_taken(tx, "api_key", "name", name)
    refuse_taken(tx, "api_key", "hash", hash_secret(secret))
    tx.insert(
        "api_key",
        {
            "id": str(uuid.uuid4()),
            "name": name,
            "hash": hash_secret(secret),
            "prefix": secret[: min(12, len(secret) - 4)],  # an adopted one may be short
            "permission": permission,
            "created_at": tx.now,
        },
    )
    return secret


def add_key(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Create an API key from its JSON; its secret is shown this once."""
    body = read_fields(NEW_KEY, request.body)
    secret = create_key(tx, body["name"], body["permission"], body["secret"])
    row = tx.first(KEYS_SQL + "WHERE name = ?", body["name"])
    return {**show(KEYS, row), "secret": secret}


def remove_key(tx: Transaction, request: ApiRequest) -> dict[str, Any]:
    """End an API key, by its name or id."""
    num, id_ = find_row(tx, "api_key", "num, id", request.id)
    tx.execute("DELETE FROM api_key WHERE num = ?", num)
    return {"id": id_, "deleted": True}


# == HTTP =====================================================================
# Each route translates and calls one action; what cuts across routes is a plugin.
API = "/api/v1"
COOKIE = "cronwatch_session"
BODY_MAX = 1_048_576  # bytes of a body that are looked at
PING_METHODS = ("GET", "HEAD", "POST")
METHODS = (*PING_METHODS, "PATCH", "DELETE", "PUT", "OPTIONS")  # that the log names
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
MANAGEMENT = DIALECTS["cronping"]._replace(retry_after=True)
FRESH = ("Cache-Control", "no-cache")  # of what has a tag: an update shows at once
Environ = dict[str, Any]


class Service(Protocol):
    """What routes use of the server, which wires the parts."""

    settings: Settings
    store: Store
    outbox: Outbox
    limiter: Limiter
    recent: Recent
    metrics: Metrics
    scanner: Scanner | None
    started_at: int

    @property
    def app(self) -> bottle.Bottle:
        """The application itself, which knows all routes."""

    def act(self, action: Callable[..., T], *args: Any) -> T:
        """Do an action in one transaction."""

    def read(self, query: Callable[..., T], *args: Any) -> T:
        """What a query finds now."""


def respond(
    content: JsonObject | str | bytes,
    status: int = 200,
    content_type: str = "text/plain",
    headers: Mapping[str, str] = {},
) -> bytes:
    """Answer with JSON for an object, with text in UTF-8, or with bytes as they are."""
    if isinstance(content, dict):
        content = json.dumps(content)
        content_type = "application/json"
    if isinstance(content, str):
        content = content.encode()
        content_type = f"{content_type}; charset=utf-8"
    response = bottle.response
    response.status = status
    response.set_header("Content-Type", content_type)
    for name, value in headers.items():
        response.set_header(name, value)
    return content


def respond_with_tag(
    content: str | bytes, content_type: str, tag: str, headers: Mapping[str, str] = {}
) -> bytes:
    """An answer that may be kept, 304 where the caller has it already."""
    headers = {**headers, "ETag": tag, **dict([FRESH])}
    if tag in bottle.request.environ.get("HTTP_IF_NONE_MATCH", ""):
        return respond(b"", 304, headers=headers)
    return respond(content, 200, content_type, headers)


def refuse(dialect: Dialect, refused: Refused) -> bytes:
    """A refusal in a dialect's shape; most clients would sleep for a Retry-After in the job."""
    headers = dict(dialect.headers)
    if refused.wait is not None and dialect.retry_after:
        headers["Retry-After"] = str(refused.wait)
    if refused.allow:
        headers["Allow"] = ", ".join(refused.allow)
    status = dialect.forbidden if refused.status == 403 else refused.status
    return respond(dialect.error(refused), status, headers=headers)


# -- what is done before and after every request


def strip_prefix(prefix: str, path: str) -> str | None:
    """A path below the prefix; None where it is not: some proxies take it away, some leave it."""
    if not prefix or not f"{path}/".startswith(f"{prefix}/"):
        return None
    return path[len(prefix) :] or "/"


def local_path(prefix: str, path: str) -> str:
    """The path that routes are matched with: one slash before it, none behind, no prefix."""
    below = strip_prefix(prefix, path)
    return "/" + (path if below is None else below).strip("/")


def forwarded_address(header: str) -> str | None:
    """The last address in an `X-Forwarded-For` that can be read: the one that the proxy saw."""
    for text in reversed(header.split(",")):
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(text.strip().strip('"[]')))
    return None


def prepare_request(settings: Settings) -> None:
    """Bring what a proxy and some clients do to a request into one form, before it is routed."""
    environ = bottle.request.environ
    path = recoded(environ["bottle.raw_path"]) or "/"  # Bottle drops what is no UTF-8
    uri = environ.get("REQUEST_URI") or urllib.parse.quote(path)
    address, _, query = uri.partition("?")
    below = strip_prefix(settings.url_prefix, address)
    if below is not None:
        environ["SCRIPT_NAME"] = settings.url_prefix
        uri = f"{below}?{query}"
    environ["cronwatch.is_bare"] = address == settings.url_prefix
    environ["REQUEST_URI"] = uri
    environ["PATH_INFO"] = local_path(settings.url_prefix, path)
    address = environ.get("REMOTE_ADDR", "").removeprefix(
        "::ffff:"
    )  # of IPv4 where we listen on *
    if settings.trusted_proxy in ("*", address):
        address = forwarded_address(environ.get("HTTP_X_FORWARDED_FOR", "")) or address
    environ["REMOTE_ADDR"] = address


class Application(bottle.Bottle):
    """Bottle, with what every answer has."""

    def wsgi(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request: no browser keeps it, but what may be kept (`FRESH`) after a look."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            headers.extend(HEADERS.items())
            if FRESH not in headers:
                headers.append(("Cache-Control", "no-store"))
            start_response(status, headers, exc_info)

        return super().wsgi(environ, start)  # type: ignore[no-any-return]


class Refusals:
    """A plugin: what a route refuses, and what breaks, is worded in the route's dialect."""

    name = "refusals"
    api = 2

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    def apply(self, call: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap a route; the last one, of pings, says in the request which dialect it has met."""
        dialect = route.config.get("dialect", MANAGEMENT)

        def wrapper(**names: str) -> bytes:
            environ = bottle.request.environ
            began = monotonic()
            content: bytes
            try:
                content = call(**names)
            except Exception as error:  # noqa: BLE001 - what breaks is a 500, and logged
                refused = self._refusal_of(error, route.rule)
                content = refuse(environ.get("cronwatch.dialect", dialect), refused)
            if log.isEnabledFor(logging.DEBUG):
                took_ms = 1000 * (monotonic() - began)
                method = environ["REQUEST_METHOD"]
                method = method if method in METHODS else "another method"  # any text may be one
                status = bottle.response.status_code
                log.debug("%s %s: %d in %.1f ms", method, route.rule, status, took_ms)
            return content

        return wrapper

    def _refusal_of(self, error: Exception, rule: str) -> Refused:
        """What to answer for what a route has raised."""
        if isinstance(error, Refused):
            return self._limit(error) if isinstance(error, Unknown) else error
        if isinstance(error, UnicodeEncodeError):
            return Invalid("a text has half of a surrogate pair in it")
        log.error("%s could not be answered", rule, exc_info=error)
        return Refused("Internal Server Error", "ERROR", 500)

    def _limit(self, unknown: Unknown) -> Refused:
        """Count what is nobody's by address; beyond the limit it is another refusal.

        It is said once a minute, without what was shown. Who shows what is somebody's is never
        limited: a stranger behind the same proxy must not cost a ping.
        """
        address = network(bottle.request.environ.get("REMOTE_ADDR"))
        wait = self.limiter.wait(("unknown", address), UNKNOWN_MAX)
        if wait is not None:
            sentence = "Too many wrong API keys or unknown handles"
            return Refused(sentence, "RATE_LIMIT_EXCEEDED", 429, wait)
        self.limiter.count(("unknown", address))
        if self.limiter.count("unknown") == 1:
            log.info("a wrong API key or an unknown handle from %s", address)
        return unknown


# -- credentials


def header_text(raw: str | None) -> str | None:
    """The text of a header, in UTF-8 where it is that: WSGI hands it over as Latin-1."""
    if raw is None or raw.isascii():
        return raw
    with contextlib.suppress(UnicodeError):
        return raw.encode("latin-1").decode()
    return raw


def header_secret(environ: Mapping[str, str]) -> str | None:
    """The API key in a header: X-API-Key, Basic (its user, else its password), Bearer, ApiKey."""
    key = header_text(environ.get("HTTP_X_API_KEY"))
    if key:
        return key
    credentials = header_text(environ.get("HTTP_AUTHORIZATION")) or ""
    kind, _, secret = credentials.strip().partition(" ")
    if kind.lower() == "basic":
        with contextlib.suppress(ValueError):
            user, _, password = base64.b64decode(secret).decode("utf-8", "replace").partition(":")
            return user or password or None
    return secret.strip() or None if kind.lower() in ("bearer", "apikey") else None


def cookie_secret(environ: Mapping[str, str]) -> str | None:
    """The session in our cookie, whatever others stand beside it."""
    match = re.search(rf"(?:^|[;\s]){COOKIE}=\"?([\w-]+)", environ.get("HTTP_COOKIE", ""))
    return match[1] if match else None


def make_cookie(token: str, seconds: int, settings: Settings) -> dict[str, str]:
    """The header with a session's cookie, out of a script's reach; 0 seconds end it."""
    cookie = (
        f"{COOKIE}={token}; Path={settings.url_prefix}/; Max-Age={seconds}; HttpOnly; "
        "SameSite=Strict"
    )
    if settings.base_url.startswith("https:"):
        cookie += "; Secure"
    return {"Set-Cookie": cookie}


def is_json(environ: Environ) -> bool:
    """Whether a body says that it is JSON, which no form of a foreign page can."""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0]
    return bool(kind.strip().lower() == "application/json")


def check_origin(environ: Environ) -> None:
    """Refuse a write that a foreign page could have made a browser send along with our cookie."""
    is_empty = environ.get("CONTENT_LENGTH") in ("", "0", None)
    if "HTTP_X_CRONWATCH" not in environ or not (is_json(environ) or is_empty):
        raise Refused(
            "With a cookie a change needs the header X-Cronwatch, and a body needs "
            "Content-Type: application/json",
            status=403,
        )


class Permissions:
    """A plugin: a route with a `permission` can be called by who has it, all others by anybody."""

    name = "permissions"
    api = 2

    def __init__(self, server: Service) -> None:
        self.server = server

    def apply(self, call: Callable[..., Any], route: bottle.Route) -> Callable[..., Any]:
        """Wrap a route that names a permission, and perhaps how its callers show a secret."""
        permission = route.config.get("permission")
        read_secret = route.config.get("read_secret", header_secret)
        if permission is None:
            return call

        def wrapper(**names: str) -> Any:
            secret = read_secret(bottle.request.environ)
            bottle.request.environ["cronwatch.caller"] = self.check(permission, secret)
            return call(**names)

        return wrapper

    def check(self, permission: str, secret: str | None) -> Caller:
        """Who asks; refuses what they may not do."""
        environ = bottle.request.environ
        caller: Caller | None = self.server.read(find_caller, secret, cookie_secret(environ))
        if caller is None:
            refusal = Unknown if secret else Refused
            raise refusal("Missing or invalid API key", status=401)
        if caller.key:
            self.limit(caller.key)
        if permission not in ALLOWED[caller.may]:
            needed = f"an API key with the permission {permission}"
            if permission == "user":
                needed = "a signed-in user"
            raise Refused(f"This needs {needed}", status=403)
        if caller.by_cookie and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            check_origin(environ)
        return caller

    def limit(self, key: int) -> None:
        """Count a request of an API key; refuses, with 429, one too many in a minute."""
        limiter = self.server.limiter
        most = self.server.settings.api_rate_limit
        wait = limiter.wait(("key", key), most)
        if wait is not None:
            sentence = f"Rate limit exceeded. Max {most} requests per minute."
            raise Refused(sentence, status=429, wait=wait)
        limiter.count(("key", key))


# -- the management API


def read_body(environ: Environ) -> bytes:
    """The body of a request, or its first megabyte."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return environ["wsgi.input"].read(min(length, BODY_MAX))  # type: ignore[no-any-return]


def read_api_request(
    fields: Sequence[Field] = (), id_: str = "", run: str = "", version: str = ""
) -> ApiRequest:
    """The management request that is being answered."""
    environ = bottle.request.environ
    body = read_body(environ)
    query = urllib.parse.parse_qs(bottle.request.query_string, keep_blank_values=True)
    caller = environ.get("cronwatch.caller", Caller(""))
    return ApiRequest(
        id_,
        read_query(fields, query),
        parse_json(body) if body.strip() else None,
        shows_secrets=caller.may in ("read-write", "user"),
        run=run,
        user=caller.user,
        session=caller.session,
        address=environ.get("REMOTE_ADDR"),
        version=version,
    )


# -- how a route does what it names: by a reader, in a transaction, by the outbox or by the server


def reads(server: Service, query: Callable[..., Any], request: ApiRequest) -> Any:
    """What a query finds."""
    return server.read(query, request)


def acts(server: Service, action: Callable[..., Any], request: ApiRequest) -> Any:
    """What comes of an action, in one transaction; a person sees it at once."""
    result = server.act(action, request)
    server.recent.forget()
    return result


def removes(server: Service, remove: Callable[..., Any], request: ApiRequest) -> Any:
    """Remove a monitor, in as many transactions as it needs."""
    while server.act(empty_monitor, request):
        pass
    return acts(server, remove, request)


def sends(server: Service, test: Callable[..., Any], request: ApiRequest) -> Any:
    """What comes of a test that is sent."""
    return test(server.outbox, request)


def asks(server: Service, answer: Callable[..., Any], request: ApiRequest) -> Any:
    """What only the running server does or knows."""
    return answer(server, request)


def sign_in(server: Service, request: ApiRequest) -> bytes:
    """Open a session by name and password, or by a link."""
    environ = bottle.request.environ
    if not is_json(environ):  # a foreign page could sign somebody in as somebody else
        raise Refused("Content-Type must be application/json", status=415)
    body = read_fields(SIGN_IN, request.body)
    if body["link"] is not None:
        session = server.act(use_link, body["link"])
    else:
        name = body["name"]
        password = body["password"]
        if not isinstance(name, str) or not isinstance(password, str) or len(password) > 200:
            raise Invalid("name and password are required, or a link")
        user = find_by_password(server.read, server.limiter, name, password, request.address)
        session = server.act(open_session, *user)
    seconds = server.settings.session_days * 86_400
    return respond(session, 201, headers=make_cookie(session["token"], seconds, server.settings))


def change_own_password(server: Service, request: ApiRequest) -> dict[str, Any]:
    """Give who is signed in another password; their other sessions and links end."""
    stored = hash_password(read_fields(NEW_PASSWORD, request.body)["password"])
    server.act(change_password, request.user, stored, request.session)
    return server.read(show_session, request)


def sign_out(server: Service, request: ApiRequest) -> bytes:
    """End the session that asks."""
    result = server.act(end_session, request)
    return respond(result, headers=make_cookie("", 0, server.settings))


def health(server: Service, request: ApiRequest) -> dict[str, Any]:
    """How cronwatch does, with what only the running server knows."""
    return {
        **server.read(show_health, request),
        "startedAt": iso(server.started_at),
        "scannedAt": iso(server.scanner.last_at if server.scanner else None),
    }


def metrics(server: Service, request: ApiRequest) -> bytes:
    """Prometheus' text format."""
    content = prometheus.generate_latest(server.metrics.registry)
    return respond(content, content_type=prometheus.CONTENT_TYPE_LATEST)


class Recent:
    """What takes longer to make than hundreds of pings: each is made once a second at the most."""

    LASTS_SECONDS = 1
    SIZE_MAX = 20

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._made: dict[Any, tuple[float, Any]] = {}  # until when each lasts

    def forget(self) -> None:
        """A person has changed something."""
        with self._lock:
            self._made.clear()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """What was made a moment ago, or is made now."""
        with self._lock:
            now = self.monotonic()
            ends_at, value = self._made.get(key, (now, None))
            if now >= ends_at:
                value = make()
                if len(self._made) >= self.SIZE_MAX:
                    self._made.clear()
                self._made[key] = now + self.LASTS_SECONDS, value
            return value  # type: ignore[no-any-return]


def summary(server: Service, request: ApiRequest) -> bytes:
    """The first screen, 304 where the caller has it already.

    When the last scan was is a header: it makes no other answer of it.
    """
    scanner = server.scanner
    is_scanning = scanner is None or scanner.is_looking()

    def make() -> tuple[str, str]:
        first_screen = server.read(show_summary, request)
        first_screen["health"]["scanning"] = is_scanning
        content = json.dumps(first_screen)
        return make_tag(content.encode()), content

    key = (json.dumps(request.query), request.shows_secrets, is_scanning)
    tag, content = server.recent.get(key, make)
    scanned_at = {"X-Scanned-At": str(iso(scanner.last_at))} if scanner else {}
    return respond_with_tag(content, "application/json", tag, scanned_at)


def make_tag(content: bytes) -> str:
    """The ETag of a content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def troubles(server: Service) -> list[str]:
    """What keeps us from watching: nobody should rely on us meanwhile."""
    sentences = []
    if server.scanner is not None and not server.scanner.is_looking():
        sentences.append("the scanner is stuck")
    if server.store.is_failing:
        sentences.append("nothing can be written")
    return sentences


def healthz(server: Service, request: ApiRequest) -> bytes:
    """200 while we watch, else 503, with what keeps us from it."""
    sentences = troubles(server)
    return respond({"ok": not sentences, "troubles": sentences}, 503 if sentences else 200)


STATUS_BYTES_MAX = 65_536


def check_status_tag(server: Service, tag: str) -> None:
    """Refuse every tag but that of the setting like a path that is none."""
    if not tag or tag != server.settings.status_tag:
        raise Refused("There is nothing here", "ERROR", 404)


def shows_status(
    server: Service, query: Callable[[Transaction, str, int], JsonObject], request: ApiRequest
) -> bytes:
    """What strangers may see of what has the tag of the setting, in 64 KB."""
    check_status_tag(server, request.id)

    def make() -> str:
        most = STATUS_MAX
        content = json.dumps(server.read(query, request.id, most))
        while len(content) > STATUS_BYTES_MAX and most:
            most = most * STATUS_BYTES_MAX // len(content)
            content = json.dumps(server.read(query, request.id, most))
        return content

    return respond(server.recent.get(query, make), content_type="application/json")


def describe(server: Service, request: ApiRequest) -> bytes:
    """This document."""
    return respond(openapi(), content_type="application/json")


# -- the management API of Healthchecks (its page "Management API"): a check is a monitor, and what
# is said of one becomes our JSON, which our own functions take.
CHECKS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "X-Api-Key",
    "Access-Control-Allow-Methods": "DELETE, GET, POST, OPTIONS",
    "Access-Control-Max-Age": "600",
}


def _error_of_checks(refused: Refused) -> dict[str, Any] | str:
    """Healthchecks finds a key that may too little as wrong as one that is nobody's."""
    if refused.status == 409:
        return refused.sentence
    if refused.status == 401 and not isinstance(refused, Unknown):
        return {"error": "missing api key"}
    return {"error": "wrong api key" if refused.status in (401, 403) else refused.sentence}


CHECKS_API = DIALECTS["healthchecks"]._replace(
    error=_error_of_checks, headers=CHECKS_HEADERS, retry_after=True, forbidden=401
)


def checks_credential(environ: Environ) -> str | None:
    """The API key in a header or, of a POST, in its JSON as `api_key`; raises `Invalid` for a body
    that is no JSON object."""
    secret = header_secret(environ)
    body = read_body(environ) if environ["REQUEST_METHOD"] == "POST" else b""
    if not body.strip():
        return secret
    environ["wsgi.input"] = io.BytesIO(body)  # the route reads it again
    try:
        content = parse_json(body)
    except Invalid:
        raise Invalid("could not parse request body") from None
    if not isinstance(content, dict):
        raise Invalid("json validation error: value is not an object")
    key = content.get("api_key")
    return secret or (key if isinstance(key, str) else None)


class CheckField(NamedTuple):
    """What Healthchecks takes of a check under a name, and as which of our fields."""

    name: str
    kind: type
    ours: str = ""
    refusal: str = "is too long"
    shape: Shape | None = None  # else that of our field
    constant: Any = None  # what we answer, having no such thing


KINDS_OF_JSON = {str: "a string", int: "a number", bool: "a boolean", list: "an array"}
OUR_FIELDS = {field.name: field for field in MONITOR}
ANY_VALUE = Shape(lambda name, value: value, {})
KEYWORD = text_of(0, 200)
SLUG = matching("[a-z0-9_-]{0,100}", "a slug")
NO_CRON = "is not a valid cron or OnCalendar expression"
UNIQUE_NAMES = ("name", "slug", "tags", "timeout", "grace")
# fmt: off
CHECK_FIELDS = (
    CheckField("name", str, "name", shape=text_of(0, 200)),
    CheckField("slug", str, "key", "does not match pattern", SLUG),
    CheckField("tags", str, "tags"),
    CheckField("desc", str, "notes"),
    CheckField("timeout", int, "intervalSeconds", "is too large"),
    CheckField("grace", int, "graceSeconds", "is too large"),
    CheckField("schedule", str, "cronExpression", NO_CRON),
    CheckField("tz", str, "timezone", "is not a valid timezone"),
    CheckField("channels", str, shape=ANY_VALUE),
    CheckField("unique", list, shape=ANY_VALUE),
    CheckField("methods", str, "", "has unexpected value", one_of("", "POST"), constant=""),
    # A ping does not end a pause of ours.
    CheckField("manual_resume", bool, shape=ANY_VALUE, constant=True),
    *(CheckField(name, str, shape=KEYWORD, constant="")
      for name in ("subject", "subject_fail", "start_kw", "success_kw", "failure_kw")),
    *(CheckField(name, bool, shape=ANY_VALUE, constant=False)
      for name in ("filter_subject", "filter_body", "filter_http_body", "filter_default_fail")),
)
# fmt: on
KEPT_FIELDS = {field.name: OUR_FIELDS[field.ours] for field in CHECK_FIELDS if field.ours}


def _read_check_field(field: CheckField, value: Any) -> Any:
    refusal = field.refusal
    is_kind = type(value) is field.kind  # true is no number here
    if not is_kind:
        refusal = f"is not {KINDS_OF_JSON[field.kind]}"
    elif field.kind is int and value < 60:
        refusal = "is too small"
    elif field.kind is list and not all(item in UNIQUE_NAMES for item in value):
        raise Invalid(f"json validation error: an item in '{field.name}' has unexpected value")
    else:
        shape = field.shape or OUR_FIELDS[field.ours].shape
        with contextlib.suppress(Invalid):
            return shape.read(field.name, value)
    raise Invalid(f"json validation error: {field.name} {refusal}")


def read_check(content: JsonObject) -> JsonObject:
    """What is said of a check, under Healthchecks' names; raises `Invalid` in its words. What it
    does not know it ignores, and an empty name or slug is none."""
    names = {name for name in content if content[name] != "" or name not in ("name", "slug")}
    return {
        field.name: _read_check_field(field, content[field.name])
        for field in CHECK_FIELDS
        if field.name in names
    }


def our_json(tx: Transaction, values: JsonObject) -> JsonObject:
    """The same as our API takes it; a schedule counts before a timeout."""
    body = {field.name: values[name] for name, field in KEPT_FIELDS.items() if name in values}
    if "schedule" in values:
        body["scheduleType"] = "cron"
    if "channels" in values:
        body["integrationIds"] = _find_channels(tx, values["channels"])
    return body


def _find_channels(tx: Transaction, text: str) -> list[str]:
    """The integrations that a text with ids and names, or `*`, stands for."""
    every = tx.rows("SELECT id, name FROM integration ORDER BY num")
    if text == "*":
        return [id_ for id_, _ in every]
    ids = {name: id_ for id_, *names in every for name in (id_, *names)}
    names = text.split(",") if text else []
    for name in names:
        if name not in ids:
            raise Invalid(f"invalid channel identifier: {clean(name, 200) or ''}")
    return [ids[name] for name in names]


def unique_key(token: str) -> str:
    """How a read-only key names a check: it cannot be pinged by this."""
    half = token.replace("-", "")[:16]
    return hashlib.sha1(half.encode(), usedforsecurity=False).hexdigest()


def find_check(tx: Transaction, name: str) -> Monitor:
    """The monitor with this token, id, key or unique key; refuses with 404."""
    num = find_monitor(tx, name)
    if num is None and re.fullmatch("[0-9a-f]{40}", name):
        tokens = tx.rows("SELECT monitor, text FROM handle WHERE kind = 'token'")
        num = next((num for num, token in tokens if unique_key(token) == name), None)
    if num is None:
        raise Refused("not found", "NOT_FOUND", 404)
    return load_monitor(tx, num)


def _find_unique(tx: Transaction, values: JsonObject) -> str:
    """The id of the monitor that has what `unique` names, where all of that is there."""
    names = values.get("unique", ())
    if not names or not all(name in values for name in names):
        return ""
    condition = " AND ".join(f"{KEPT_FIELDS[name].column} = ?" for name in names)
    sql = f"SELECT id FROM monitor WHERE {condition} ORDER BY num LIMIT 1"
    return tx.value(sql, *(values[name] for name in names)) or ""


def checks_json(
    tx: Transaction, request: ApiRequest, monitors: Sequence[Monitor]
) -> list[JsonObject]:
    """Monitors as Healthchecks shows checks; what pings one only to who may write."""
    channels = links_of(tx, [m.num for m in monitors])
    base = tx.settings.base_url
    checks = []
    for m, monitor in zip(monitors, monitors_json(tx, monitors), strict=True):
        token = monitor["token"]
        url = f"{base}/api/v{request.version}/checks/{token}"
        for_writers = {
            "uuid": token,
            "ping_url": f"{base}/ping/{token}",
            "update_url": url,
            "pause_url": f"{url}/pause",
            "resume_url": f"{url}/resume",
            "channels": ",".join(channels[m.num]),
        }
        name = for_writers if request.shows_secrets else {"unique_key": unique_key(token)}
        checks.append({**_check_json(m, monitor, base, request.version), **name})
    return checks


def _check_json(m: Monitor, monitor: JsonObject, base: str, version: str) -> JsonObject:
    is_started = monitor["running"] and m.status != "paused"
    check = {
        "name": m.name,
        "slug": m.key,
        "tags": m.tags,
        "desc": m.notes,
        "grace": m.grace_seconds,
        "n_pings": m.ping_count,
        "status": "grace" if monitor["late"] else m.status,
        "started": is_started,
        "last_ping": _in_seconds(m.last_ping_at),
        "next_ping": _in_seconds(m.expected_at),
        **{field.name: field.constant for field in CHECK_FIELDS if field.constant is not None},
        "badge_url": f"{base}/b/2/{m.id}.svg",
    }
    if version == "1" and is_started:
        check["status"] = "started"
    if monitor["lastRun"] and monitor["lastRun"]["durationMs"] is not None:
        check["last_duration"] = monitor["lastRun"]["durationMs"] // 1000
    if m.cron:
        return {**check, "schedule": m.cron, "tz": m.timezone}
    return {**check, "timeout": m.interval_seconds} if m.interval_seconds else check


def _in_seconds(at: int | None) -> str | None:
    return None if at is None else (iso(at, "seconds") or "").replace("Z", "+00:00")


SLUG_ASKED = Field("slug", ANY_TEXT)
CHECKS_MAX = 10_000


def list_checks(tx: Transaction, request: ApiRequest) -> JsonObject:
    """All checks, or those with all of these tags, or with this slug; 10,000 at the most."""
    condition, values = read_filter(request)
    slug = request.get(SLUG_ASKED)
    if slug:
        condition += " AND key = :slug"
    condition += f" ORDER BY num LIMIT {CHECKS_MAX}"
    monitors = select_monitors(tx, condition, **values, slug=slug)
    return {"checks": checks_json(tx, request, monitors)}


def show_check(tx: Transaction, request: ApiRequest) -> JsonObject:
    """A check."""
    return checks_json(tx, request, [find_check(tx, request.id)])[0]


def create_check(tx: Transaction, request: ApiRequest) -> Reply:
    """A new check, once a day with an hour of grace; or the one that `unique` finds, changed."""
    values = read_check(request.body or {})
    id_ = _find_unique(tx, values)
    if id_:
        return update_check(tx, request._replace(id=id_)), 200
    body = {
        "name": values.get("slug", "Unnamed"),
        "intervalSeconds": 86_400,
        "graceSeconds": 3600,
        **our_json(tx, values),
    }
    monitor, status = add_monitor(tx, request._replace(body=body))
    return show_check(tx, request._replace(id=monitor["id"])), status


def update_check(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Change what the body names. A new name leaves the slug as it is: jobs ping by it."""
    id_ = find_check(tx, request.id).id
    body = our_json(tx, read_check(request.body or {}))
    edit_monitor(tx, request._replace(id=id_, body=body))
    return show_check(tx, request._replace(id=id_))


def pause_check(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Pause a check until it is resumed."""
    pause_monitor(tx, find_check(tx, request.id).num, None)
    return show_check(tx, request)


def resume_check(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Resume a check, which is new then."""
    m = find_check(tx, request.id)
    if m.status != "paused":
        raise Refused("check is not paused", "CONFLICT", 409)
    resume_heartbeat(tx, request._replace(id=m.id))
    return show_check(tx, request)


def delete_check(tx: Transaction, request: ApiRequest) -> JsonObject:
    """Delete a check; it is shown for the last time."""
    check = show_check(tx, request)
    remove_monitor(tx, request._replace(id=find_check(tx, request.id).id))
    return check


HISTORY_MAX = 1000
CHECK_PING_TYPES = {"ok": "success", "progress": "log"}


def list_check_pings(tx: Transaction, request: ApiRequest) -> JsonObject:
    """A check's pings, newest first. `n` is their number among the pings of all; by which method
    one came is not kept, and its body is the output of its run."""
    id_ = find_check(tx, request.id).id
    query = {LIST_LIMIT.name: HISTORY_MAX}
    page = list_pings(tx, request._replace(id=id_, query=query))["pings"]
    runs = [int(ping["run"]) for ping in page if ping["run"]]
    sql = f"SELECT run FROM run_log WHERE run {LISTED}"
    with_log = {str(run) for (run,) in tx.rows(sql, listed=json.dumps(runs))}
    url = f"{tx.settings.base_url}/api/v{request.version}/checks/{id_}/pings"
    pings = []
    for ping in page:
        check_ping = {
            "type": CHECK_PING_TYPES.get(ping["type"], ping["type"]),
            "date": ping["receivedAt"].replace("Z", "+00:00"),
            "n": int(ping["id"]),
            "scheme": "http",
            "remote_addr": ping["ipAddress"] or "",
            "method": "",
            "ua": ping["userAgent"] or "",
            "rid": ping["runId"],
            "body_url": f"{url}/{ping['id']}/body" if ping["run"] in with_log else None,
        }
        if ping["durationMs"] is not None:
            check_ping["duration"] = round(ping["durationMs"] / 1000, 2)
        pings.append(check_ping)
    return {"pings": pings}


def show_body(tx: Transaction, request: ApiRequest) -> str:
    """The output of the run that a ping belongs to; refuses with 404 where there is none."""
    sql = "SELECT content FROM run_log WHERE run = (SELECT run FROM ping WHERE num = ? "
    num = find_check(tx, request.id).num
    content: str | None = tx.value(sql + "AND monitor = ?)", int(request.run), num)
    if content is None:
        raise Refused("not found", "NOT_FOUND", 404)
    return content


EPOCH_SECONDS = count_of(0, 2**33)
LAST_SECONDS = Field("seconds", count_of(0, YEAR_SECONDS))
FLIPS_FROM = Field("start", EPOCH_SECONDS, default=0)
FLIPS_UNTIL = Field("end", EPOCH_SECONDS, default=2**33)


def list_check_flips(tx: Transaction, request: ApiRequest) -> JsonObject:
    """When a check went down and up, newest first."""
    seconds = request.get(LAST_SECONDS)
    since = 1000 * request.get(FLIPS_FROM)
    if seconds:
        since = max(since, tx.now - 1000 * seconds)
    flips = tx.rows(
        "SELECT at, status FROM flip WHERE monitor = ? AND status IN ('up', 'down') "
        "AND at >= ? AND at < ? ORDER BY at DESC, num DESC LIMIT ?",
        find_check(tx, request.id).num,
        since,
        1000 * request.get(FLIPS_UNTIL),
        HISTORY_MAX,
    )
    return {"flips": [{"timestamp": _in_seconds(at), "up": int(to == "up")} for at, to in flips]}


def list_channels(tx: Transaction, request: ApiRequest) -> JsonObject:
    """The integrations, under Healthchecks' names."""
    every = tx.rows("SELECT id, name, channel FROM integration ORDER BY num")
    kinds = {"command": "shell"}
    return {
        "channels": [
            {"id": id_, "name": name, "kind": kinds.get(channel, channel)}
            for id_, name, channel in every
        ]
    }


BADGE_FORMS = ("svg", "json", "shields")
BADGE_COLORS = {
    "up": ("success", "#3a3"),
    "late": ("important", "#e80"),
    "down": ("critical", "#d33"),
}


def _badges_of_tags(tx: Transaction) -> dict[str, str]:
    """The name of the badge of each tag, and of all checks as `*`. Nobody can guess one: it says
    without a key what is down."""
    secret = tx.value("SELECT value FROM meta WHERE name = 'badge_secret'")
    tags = ("*", *count_tags(tx)) if secret else ()
    return {tag: hmac.digest(secret.encode(), tag.encode(), "sha256").hex()[:32] for tag in tags}


def _tags_of_badges(tx: Transaction) -> dict[str, str]:
    return {name: tag for tag, name in _badges_of_tags(tx).items()}


def list_badges(tx: Transaction, request: ApiRequest) -> JsonObject:
    """The addresses of the badges of all tags; the first time makes the secret behind them."""
    if not _badges_of_tags(tx):
        remember(tx, "badge_secret", secrets.token_hex(16))
    base = tx.settings.base_url
    return {
        "badges": {
            tag: {
                f"{form}{late}": f"{base}/b/{late or 2}/{name}.{form}"
                for form in BADGE_FORMS
                for late in ("", "3")
            }
            for tag, name in _badges_of_tags(tx).items()
        }
    }


def find_badge(tx: Transaction, name: str, tag: str | None) -> tuple[str, list[Any]]:
    """What a badge is called, and the status and expected instant of its monitors: of all with a
    tag, or of the one that has the name as its id."""
    if tag is None:
        sql = "SELECT name, status, expected_at FROM monitor WHERE id = ?"
        for label, *monitor in tx.rows(sql, name):
            return label, [monitor]
        raise Unknown("not found", "NOT_FOUND", 404)
    condition, values = read_filter(ApiRequest(query={TAG.name: [] if tag == "*" else [tag]}))
    sql = f"SELECT status, expected_at FROM monitor WHERE {condition}"
    return "cronwatch" if tag == "*" else tag, tx.rows(sql, **values)


def show_badge(tx: Transaction, request: ApiRequest, tag: str | None) -> JsonObject:
    """How its checks do, as JSON of Healthchecks or of shields.io. `version` is 3 where late is
    told from up, `run` the form."""
    label, monitors = find_badge(tx, request.id, tag)
    down = sum(status == "down" for status, _ in monitors)
    late = sum(status == "up" and at is not None and at < tx.now for status, at in monitors)
    status = "down" if down else "late" if late and request.version == "3" else "up"
    if request.run == "json":
        return {"status": status, "total": len(monitors), "grace": late, "down": down}
    color = BADGE_COLORS[status][0]
    return {"schemaVersion": 1, "label": label, "message": status, "color": color}


def badge_svg(label: str, status: str) -> str:
    """A badge to look at, in two fields side by side; some 7 pixels a character."""
    left = 7 * len(label) + 10
    right = 7 * len(status) + 10
    words = html.escape(label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img">'
        f"<title>{words}: {status}</title>"
        f'<rect width="{left}" height="20" fill="#555"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{BADGE_COLORS[status][1]}"/>'
        '<g fill="#fff" font-family="Verdana, sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2}" y="14">{words}</text>'
        f'<text x="{left + right / 2}" y="14">{status}</text></g></svg>'
    )


def badge(server: Service, request: ApiRequest) -> Any:
    """A badge, for whoever has its address."""
    tag = server.recent.get("badges", lambda: server.read(_tags_of_badges)).get(request.id)
    address = (request.id, request.version, request.run)
    made = server.recent.get(address, lambda: json.dumps(server.read(show_badge, request, tag)))
    content = json.loads(made)
    if request.run != "svg":
        return content
    svg = badge_svg(content["label"], content["message"])
    return respond(svg, content_type="image/svg+xml", headers=CHECKS_HEADERS)


def service_status(server: Service, request: ApiRequest) -> str:
    """OK, as long as we watch."""
    for sentence in troubles(server):
        raise Refused(sentence, "ERROR", 503)
    return "OK"


class ApiRoute(NamedTuple):
    """A route of the management API: who may call it, what it does, what it takes and gives."""

    permission: str | None
    method: str
    rule: str
    how: Callable[[Service, Callable[..., Any], ApiRequest], Any]
    action: Callable[..., Any]
    gives: JsonObject
    query: tuple[Field, ...] = ()
    takes: tuple[Field, ...] = ()  # in its body
    status: int = 200
    dialect: Dialect = MANAGEMENT
    read_secret: Callable[[Environ], str | None] = header_secret


A_PAGE = (LIST_LIMIT, OFFSET)
EVERY_KEY = closed({"keys": list_of(KEY_SHOWN)})
A_SESSION = named("Session", closed(SESSION_SHOWN))
NEW_SESSION = closed({"token": TEXT, **SESSION_SHOWN})
A_NEW_KEY = row_schema(KEYS, {"secret": TEXT})
A_LOG = closed({"hasLog": YES_NO, "content": maybe(TEXT)})
A_TEST = closed(TEST_RESULT)
TESTS = closed({"results": list_of(closed({"integrationId": UUID, "name": TEXT, **TEST_RESULT}))})
EVERY_INTEGRATION = closed({"integrations": list_of(AN_INTEGRATION)})
ANY_OBJECT: JsonObject = {"type": "object"}
A_TROUBLE = closed({"ok": YES_NO, "troubles": list_of(TEXT)})
UPTIMES = closed(
    {"windows": list_of(closed({"days": maybe(COUNT), **UPTIME_SHOWN})), "note": TEXT}
)
# fmt: off
API_ROUTES = (
    ApiRoute("read-only", "GET", "/api/v1/heartbeats", reads, list_monitors,
             page_of("heartbeats", A_MONITOR), (MONITOR_LIMIT, OFFSET, NAME_PART, STATUS, TAG)),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats", acts, add_monitor, A_MONITOR,
             takes=NEW_MONITOR, status=201),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>", reads, show_monitor, MONITOR_DETAIL),
    ApiRoute("read-write", "PATCH", "/api/v1/heartbeats/<id>", acts, edit_monitor, A_MONITOR,
             takes=MONITOR_CHANGES),
    ApiRoute("read-write", "DELETE", "/api/v1/heartbeats/<id>", removes, remove_monitor, DELETED),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/pause", acts, pause_heartbeat,
             A_MONITOR, takes=PAUSE),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/resume", acts, resume_heartbeat,
             A_MONITOR),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/ok", acts, mark_ok, A_MONITOR),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/test", sends, send_tests, TESTS),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/pings", reads, list_pings,
             page_of("pings", HISTORY_KINDS["ping"]), A_PAGE),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/runs", reads, list_runs,
             page_of("runs", RUN_SHOWN), (*A_PAGE, RUN_STATE)),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/runs/<run>", reads, show_run,
             RUN_DETAIL),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/events", reads, list_events,
             page_of("events", LOGGED_EVENT), (*A_PAGE, KIND, SINCE, UNTIL)),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/log", reads, show_history, HISTORY_SHOWN,
             (LIST_LIMIT, BEFORE)),
    ApiRoute("read-only", "GET", "/api/v1/heartbeats/<id>/uptime", reads, show_uptime, UPTIMES,
             (DAYS, SINCE, UNTIL)),
    ApiRoute("read-write", "GET", "/api/v1/heartbeats/<id>/handles", reads, list_handles,
             HANDLES_SHOWN),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/handles", acts, add_handle,
             HANDLES_SHOWN, takes=NEW_HANDLE, status=201),
    ApiRoute("read-write", "DELETE", "/api/v1/heartbeats/<id>/handles", acts, remove_handle,
             HANDLES_SHOWN, (THE_HANDLE,)),
    ApiRoute("read-write", "POST", "/api/v1/heartbeats/<id>/handles/rotate", acts, rotate_handle,
             A_MONITOR, takes=ROTATION),
    ApiRoute("user", "GET", "/api/v1/monitors/<id>/runs/<run>/log", reads, show_log, A_LOG,
             dialect=DIALECTS["crontify"]),
    ApiRoute("read-only", "GET", "/api/v1/integrations", reads, list_integrations,
             EVERY_INTEGRATION),
    ApiRoute("read-write", "POST", "/api/v1/integrations", acts, add_integration,
             AN_INTEGRATION, takes=NEW_INTEGRATION, status=201),
    ApiRoute("read-only", "GET", "/api/v1/integrations/<id>", reads, show_integration,
             AN_INTEGRATION),
    ApiRoute("read-write", "PATCH", "/api/v1/integrations/<id>", acts, edit_integration,
             AN_INTEGRATION, takes=INTEGRATION_CHANGES),
    ApiRoute("read-write", "DELETE", "/api/v1/integrations/<id>", acts, remove_integration,
             DELETED),
    ApiRoute("read-write", "POST", "/api/v1/integrations/<id>/test", sends, send_integration_test,
             A_TEST),
    ApiRoute("read-only", "GET", "/api/v1/events", reads, list_events,
             page_of("events", LOGGED_EVENT), (*A_PAGE, KIND, OF_MONITOR, SINCE, UNTIL)),
    ApiRoute("read-only", "GET", "/api/v1/summary", asks, summary, SUMMARY,
             (SUMMARY_LIMIT, OFFSET, NAME_PART, STATE, TAG)),
    ApiRoute("read-only", "GET", "/api/v1/night", reads, show_night, NIGHT,
             (NIGHT_LIMIT, OFFSET, NAME_PART, STATE, TAG)),
    ApiRoute("read-only", "GET", "/api/v1/health", asks, health, HEALTH),
    ApiRoute("read-only", "GET", "/api/v1/preview", reads, preview, PREVIEW_SHOWN, PREVIEW),
    ApiRoute("read-only", "GET", "/metrics", asks, metrics, TEXT),
    ApiRoute("read-only", "GET", "/api/openapi.json", asks, describe, ANY_OBJECT),
    ApiRoute(None, "GET", "/healthz", asks, healthz, A_TROUBLE),
    ApiRoute(None, "GET", "/api/v1/status/<id>", shows_status, status_page, STATUS_PAGE),
    ApiRoute(None, "GET", "/api/status-page/<id>", shows_status, kuma_page, ANY_OBJECT),
    ApiRoute(None, "GET", "/api/status-page/heartbeat/<id>", shows_status, kuma_heartbeats,
             ANY_OBJECT),
    ApiRoute(None, "POST", "/api/v1/session", asks, sign_in, NEW_SESSION, takes=SIGN_IN,
             status=201),
    ApiRoute("user", "GET", "/api/v1/session", reads, show_session, A_SESSION),
    ApiRoute("user", "PATCH", "/api/v1/session", asks, change_own_password, A_SESSION,
             takes=NEW_PASSWORD),
    ApiRoute("user", "DELETE", "/api/v1/session", asks, sign_out, closed({"deleted": TRUE})),
    ApiRoute("user", "GET", "/api/v1/keys", reads, list_keys, EVERY_KEY),
    ApiRoute("user", "POST", "/api/v1/keys", acts, add_key, A_NEW_KEY, takes=NEW_KEY, status=201),
    ApiRoute("user", "DELETE", "/api/v1/keys/<id>", acts, remove_key, DELETED),
)
# fmt: on
VERSIONS = "/api/v<version:re:[123]>"
CHECKS = f"{VERSIONS}/checks"
CheckRoute = partial(ApiRoute, gives={}, dialect=CHECKS_API, read_secret=checks_credential)
# fmt: off
CHECK_ROUTES = (
    CheckRoute("read-only", "GET", CHECKS, reads, list_checks, query=(TAG, SLUG_ASKED)),
    CheckRoute("read-write", "POST", CHECKS, acts, create_check, status=201),
    CheckRoute("read-only", "GET", f"{CHECKS}/<id>", reads, show_check),
    CheckRoute("read-write", "POST", f"{CHECKS}/<id>", acts, update_check),
    CheckRoute("read-write", "DELETE", f"{CHECKS}/<id>", removes, delete_check),
    CheckRoute("read-write", "POST", f"{CHECKS}/<id>/pause", acts, pause_check),
    CheckRoute("read-write", "POST", f"{CHECKS}/<id>/resume", acts, resume_check),
    CheckRoute("read-write", "GET", f"{CHECKS}/<id>/pings", reads, list_check_pings),
    CheckRoute("read-write", "GET", f"{CHECKS}/<id>/pings/<run:re:[0-9]{{1,15}}>/body",
               reads, show_body),
    CheckRoute("read-only", "GET", f"{CHECKS}/<id>/flips", reads, list_check_flips,
               query=(LAST_SECONDS, FLIPS_FROM, FLIPS_UNTIL)),
    CheckRoute("read-write", "GET", f"{VERSIONS}/channels", reads, list_channels),
    CheckRoute("read-only", "GET", f"{VERSIONS}/badges", acts, list_badges),
    CheckRoute(None, "GET", f"{VERSIONS}/status", asks, service_status),
    CheckRoute(None, "GET", f"/b/<version:re:[23]>/<id>.<run:re:{'|'.join(BADGE_FORMS)}>", asks,
               badge),
)
# fmt: on
# -- OpenAPI 3.1: the document is made from the table of routes and their fields
PING_PATHS = (  # of all dialects; a few stand for the words that may follow
    "/ping/{name}",
    "/ping/{name}/{word}",
    "/ping/{name}/end/{outcome}",
    "/ping/{name}/progress/{percent}",
    "/p/{apiKey}/{name}",
    "/api/push/{name}",
    "/api/v1/ping/{name}/{word}",
    "/api/v1/heartbeat/{name}",
    "/start/{name}",
    "/finish/{name}",
    "/fail/{name}",
    "/{name}",
    "/{name}/{word}",
    "/{name}/pause/{hours}",
)
REFUSAL_TEXTS = {
    "400": "What is asked for is wrong, as the sentence says.",
    "401": "No valid API key or session.",
    "403": "It may not do that.",
    "404": "There is no such thing.",
    "409": "Something is in the way, as a name that is taken.",
    "413": "The body is larger than 10 MB.",
    "415": "The body is no JSON.",
    "429": "Too many requests: Retry-After says for how long.",
    "500": "Something is broken here.",
    "503": "The database cannot be read or written at the moment.",
}
ABOUT_API = (
    "Instants are ISO 8601 in UTC with milliseconds and Z, null where unknown; durations say "
    "their unit. A monitor is called a heartbeat, as in Cronping's API, whose routes these are; "
    "{id} of a monitor is its id or key, of an integration its id or name. A field that is not "
    "known is refused by name, a query parameter is ignored. `x-permission` says who may: "
    "`read-only` any API key but one that may only ping, and users; `read-write` keys with that "
    "permission, and users; `user` who is signed in. What a read-only key gets has no secret in "
    "it: no handle of a monitor, nothing that an integration needs, no log and no answer of a "
    "receiver. Healthchecks' management API (/api/v1/checks and its like) is there, too: its own "
    "page describes it, this document does not."
)


def _json_content(schema: JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


def _responses(route: ApiRoute) -> JsonObject:
    """The answers of a route, and the refusals of its kind."""
    answer = _json_content(route.gives) if route.gives is not TEXT else {}
    responses = {str(route.status): {"description": "As it is now.", **answer}}
    if route.takes is NEW_MONITOR:
        responses["200"] = {"description": "There was one of that name.", **answer}
    if route.action is summary:
        responses["304"] = {"description": "As the caller has it (If-None-Match)."}
    statuses = {"500", "503"}
    if route.permission or route.takes:
        statuses |= {"401", "403", "429"}
    if "<" in route.rule or route.query:
        statuses |= {"400", "404", "409"}
    if route.takes:
        statuses |= {"400", "404", "409", "413", "415"}
    for status in sorted(statuses):
        responses[status] = {"$ref": f"#/components/responses/{status}"}
        if route.dialect is not MANAGEMENT:  # it has words of its own
            responses[status] = {"description": REFUSAL_TEXTS[status]}
    return responses


def _operation(route: ApiRoute) -> JsonObject:
    """What the document says of a route."""
    operation: JsonObject = {
        "summary": (route.action.__doc__ or "").partition("\n")[0],
        "operationId": f"{route.method.lower()}{_camel_case(route.rule)}",
        "x-permission": route.permission or "public",
        "parameters": [*_path_parameters(route.rule), *map(_query_parameter, route.query)],
        "responses": _responses(route),
    }
    if route.permission is None:
        operation["security"] = []
    if route.takes:
        is_change = route.method == "PATCH" and "<id>" in route.rule
        content = _json_content(body_schema(route.takes, is_change))
        operation["requestBody"] = {"required": route.takes is not PAUSE, **content}
    return operation


def _camel_case(rule: str) -> str:
    return "".join(word.title() for word in re.findall("[a-z]+", rule.removeprefix(API)))


def _path_parameters(path: str) -> list[JsonObject]:
    schema = {**TEXT, "minLength": 1}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in re.findall(r"[<{](\w+)[>}]", path)
    ]


def _query_parameter(field: Field) -> JsonObject:
    schema = field.shape.schema
    if field.repeats:
        schema = list_of(schema, maxItems=100)
    if field.default is not None:
        schema = {**schema, "default": field.default}
    return {"name": field.name, "in": "query", "description": field.help, "schema": schema}


def _ping_operations(path: str) -> JsonObject:
    """Every dialect answers in its own words."""
    return {
        method: {
            "summary": "A ping, in the words of a service",
            "operationId": f"{method}Ping{path.count('/')}{_camel_case(path)}",
            "x-permission": "ping",
            "security": [],
            "parameters": _path_parameters(path),
            "responses": {"200": {"description": "Recorded."}, "default": {"description": "Not."}},
        }
        for method in ("get", "post")
    }


@cache
def openapi() -> str:
    """The document, as JSON."""
    paths: dict[str, JsonObject] = {path: _ping_operations(path) for path in PING_PATHS}
    for route in API_ROUTES:
        path = route.rule.replace("<", "{").replace(">", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "cronwatch", "version": __version__, "description": ABOUT_API},
        "security": [{"apiKey": []}, {"bearer": []}, {"basic": []}, {"session": []}],
        "paths": paths,
        "webhooks": {"event": {"post": {"requestBody": _json_content(AN_EVENT)}}},
        "components": {
            "schemas": SCHEMAS,
            "responses": {
                status: {"description": text, **_json_content(ERROR)}
                for status, text in REFUSAL_TEXTS.items()
            },
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }
    return json.dumps(document)


def manage(
    server: Service, route: ApiRoute, id: str = "", run: str = "", version: str = ""
) -> bytes:
    """Answer a route of a table by its action."""
    result = route.how(server, route.action, read_api_request(route.query, id, run, version))
    if isinstance(result, bytes):
        return result
    content, status = result if isinstance(result, tuple) else (result, route.status)
    return respond(content, status, headers=route.dialect.headers)


def allow_origin(**names: str) -> bytes:
    """What a browser asks before it lets the page of another host call."""
    return respond("", 204, headers=CHECKS_HEADERS)


# -- pings


def read_ping_request(environ: Environ, route: Route) -> PingRequest:
    """The ping that a request is."""
    raw_query = recoded(environ.get("QUERY_STRING", ""))
    query = urllib.parse.parse_qs(raw_query, keep_blank_values=True) if raw_query else {}
    return PingRequest(
        route,
        {name: values[0] for name, values in query.items()},
        query.get("metric", ()),
        read_body(environ),
        header_secret(environ),
        environ.get("REMOTE_ADDR"),
        header_text(environ.get("HTTP_USER_AGENT")),
        route.family == "kuma" or environ["REQUEST_METHOD"] in PING_METHODS,
        [],
        monotonic(),
    )


def ping(server: Service, path: str) -> bytes:
    """Every ping of every dialect, in the shape of its own; it takes what is no other route's."""
    environ = bottle.request.environ
    route = read_route(split_path(environ["REQUEST_URI"]))
    if route is None:
        return refuse_path(server.app, environ)
    request = read_ping_request(environ, route)
    if route.family == "sentry":
        slug, secret, *words = route.names
        content = {**DIALECTS["sentry"].read_body(request.body, ""), **request.query}
        request = as_check_in(request._replace(secret=secret), slug, content, words)
    try:
        dialect, result, problem = server.act(record_ping, request)
    finally:  # what goes wrong is worded by the dialect that was met
        dialect_met = request.seen[-1] if request.seen else unknown_dialect(request.route)
        environ["cronwatch.dialect"] = dialect_met
    server.metrics.count_ping(dialect, result)
    log.debug("%s of %s, monitor %s", result.ping.kind, dialect.name, result.monitor.id)
    if problem is not None:
        raise problem
    status = 201 if result.created and dialect.says_created else dialect.status
    reply = dialect.reply(result)
    content_type = "text/html" if str(reply).startswith("<") else "text/plain"
    return respond(reply, status, content_type, dialect.headers)


SENTRY_KEY = re.compile(r"\bsentry_key=([^\s,&]+)")
NO_ENCODING = (
    "Content-Encoding must be gzip or deflate: an SDK of Sentry that has brotli needs "
    '_experiments={"transport_compression_algo": "gzip"}'
)


def receive_envelope(server: Service, project: str) -> bytes:
    """Sentry's POST /api/PROJECT/envelope: check-ins are pings, all else is dropped."""
    environ = bottle.request.environ
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").lower()
    if encoding not in ("", "gzip", "deflate"):
        if server.limiter.count("encoding") == 1:
            log.warning("a check-in of Sentry was refused: %s", NO_ENCODING)
        raise Refused(NO_ENCODING, status=415)
    key = SENTRY_KEY.search(environ.get("HTTP_X_SENTRY_AUTH") or environ.get("QUERY_STRING", ""))
    request = read_ping_request(environ, Route("sentry", []))
    id_, check_ins = read_envelope(unpack(request.body, encoding, BODY_MAX))
    if check_ins:
        request = request._replace(secret=key[1] if key else None)
        requests = [as_check_in(request, each.get("monitor_slug"), each) for each in check_ins]
        answers, problem = server.act(record_check_ins, requests)
        for dialect, result, _ in answers:
            server.metrics.count_ping(dialect, result)
        if problem:
            raise problem
    return respond({"id": id_}, headers=DIALECTS["sentry"].headers)


def refuse_path(app: bottle.Bottle, environ: Environ) -> bytes:
    """405 for a path that has other methods, in the words of its route; 404 for one without."""
    allowed = {}
    for method in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
        request = {"PATH_INFO": environ["PATH_INFO"], "REQUEST_METHOD": method}
        route, _ = app.router.match(request)
        if route.rule != LAST_RULE:
            allowed[method] = route
    if not allowed:
        return refuse(MANAGEMENT, Refused("There is nothing here", "ERROR", 404))
    dialect = next(iter(allowed.values())).config.get("dialect", MANAGEMENT)
    sentence = f"Method not allowed: use {', '.join(allowed)}"
    return refuse(dialect, Refused(sentence, "ERROR", 405, allow=tuple(allowed)))


def sync(server: Service) -> bytes:
    """CronRadar's POST /api/sync."""
    environ = bottle.request.environ
    secret = header_secret(environ)
    return respond(server.act(sync_monitors, secret, read_api_request().body))


# -- the page


class StaticFile(NamedTuple):
    """A file of the page, as it was at the start: nobody waits for a disk."""

    content: bytes
    content_type: str
    tag: str


def read_static_files() -> dict[str, StaticFile]:
    """All files that are served, by their name below static/."""
    folder = DATA / "static"
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            content_type = mimetypes.guess_type(path.name)[0] or "text/plain"
            if content_type.startswith("text/"):
                content_type += "; charset=utf-8"
            file = StaticFile(content, content_type, make_tag(content))
            files[path.relative_to(folder).as_posix()] = file
    return files


def static(files: Mapping[str, StaticFile], name: str) -> bytes:
    """A file of the page, 304 where the browser has it."""
    file = files.get(name)
    if file is None:
        raise Refused("There is nothing here", "ERROR", 404)
    return respond_with_tag(file.content, file.content_type, file.tag)


def front_page(files: Mapping[str, StaticFile]) -> bytes:
    """The page; its own links are relative to the slash behind the prefix."""
    if bottle.request.environ["cronwatch.is_bare"]:
        return respond(b"", 308, headers={"Location": bottle.request.script_name})
    return static(files, "index.html")


def status_file(server: Service, files: Mapping[str, StaticFile], tag: str) -> bytes:
    """The page to hang on the wall, without signing in."""
    check_status_tag(server, tag)
    return static(files, "status.html")


LAST_RULE = r"/<path:re:[\s\S]*>"  # a line break, too


def make_app(server: Service) -> bottle.Bottle:
    """The WSGI application; pings are on every path that is no other route's."""
    app = Application()
    app.uninstall(bottle.JSONPlugin)
    app.add_hook("before_request", lambda: prepare_request(server.settings))
    app.install(Refusals(server.limiter))
    app.install(Permissions(server))
    for row in (*API_ROUTES, *CHECK_ROUTES):
        app.route(
            row.rule,
            row.method,
            partial(manage, server, row),
            permission=row.permission,
            dialect=row.dialect,
            read_secret=row.read_secret,
        )
    for rule in {row.rule for row in CHECK_ROUTES}:
        app.route(rule, "OPTIONS", allow_origin)
    app.route("/api/sync", "POST", partial(sync, server), dialect=DIALECTS["cronradar"])
    envelope = partial(receive_envelope, server)
    app.route(
        "/api/<project:re:[0-9]{1,20}>/envelope", "POST", envelope, dialect=DIALECTS["sentry"]
    )
    files = read_static_files()
    app.route("/", "GET", partial(front_page, files))
    app.route("/static/<name:path>", "GET", partial(static, files))
    app.route("/manifest.json", "GET", partial(static, files, "manifest.json"))
    app.route("/status/<tag>", "GET", partial(status_file, server, files))
    app.route("/cronwatch-exec", "GET", partial(static, files, "cronwatch-exec"))
    app.route(LAST_RULE, "ANY", partial(ping, server))
    return app


# == Server ===================================================================
# The loops, Waitress with a lane for pings, and the parts wired. What is done stands above.


# -- what is there: the zone of the host, the database, the address


def system_clock() -> int:
    """Milliseconds since 1970 UTC."""
    return time_ns() // 1_000_000


# Zones that differ since 1970 differ at some of these instants, Berlin and Vienna on 6 April 1980.
ZONE_SAMPLES = [datetime(1970, 1, 9, tzinfo=UTC) + timedelta(days=10 * n) for n in range(2040)]
RECENT = slice(-400, None)  # since 2015
TZDATA = Path(tzdata.__file__).parent  # the system's own may have a file mounted over one


def _times_in(content: bytes) -> list[Any]:
    """What a zone's file says of the samples, and how it calls the time: UTC is not GMT."""
    zone = ZoneInfo.from_file(io.BytesIO(content))
    local = [at.astimezone(zone) for at in ZONE_SAMPLES]
    return [local[-1].tzname(), *(at.utcoffset() for at in local)]


def _times_named(name: str) -> list[Any]:
    return _times_in(TZDATA.joinpath("zoneinfo", name).read_bytes())


def _name_zone(times: list[Any], hints: Sequence[str]) -> str | None:
    """The name of the zone with these times; rather a hint that has had most of the late ones, for
    the file may be of another release."""
    names = TZDATA.joinpath("zones").read_text().split()
    for name in hints:
        if name in names:
            agreements = map(operator.eq, times[RECENT], _times_named(name)[RECENT])
            if sum(agreements) > 200:
                return name
    table = TZDATA.joinpath("zoneinfo", "zone1970.tab").read_text()
    usual = re.findall(r"^[A-Z,]+\t\S+\t(\S+)", table, re.MULTILINE)
    return next((name for name in ("UTC", *usual) if _times_named(name) == times), None)


def host_timezone(rule: str | None = None, etc: Path = Path("/etc")) -> str | None:
    """The name of the host's zone, in which a crontab speaks; None where it cannot be told.

    `rule` stands for the variable TZ. Without it and /etc/localtime the C library takes UTC. The
    name is that of a link, or stands in /etc/timezone, or is one that has the same times: the file
    may be a copy, or a mount over what the link leads to.
    """
    rule = (os.environ.get("TZ", "") if rule is None else rule).removeprefix(":")
    if rule and not rule.startswith("/"):
        with contextlib.suppress(Invalid):
            check_timezone(rule)
            return rule
        return None  # a rule such as CET-1CEST,M3.5.0,M10.5.0/3
    localtime = Path(rule or etc / "localtime")
    timezone = etc / "timezone"
    if not os.path.lexists(localtime):
        return "UTC"
    hints = [os.path.realpath(localtime).rpartition("zoneinfo/")[2]]
    try:
        if timezone.is_file():
            hints += timezone.read_text().split()
        return _name_zone(_times_in(localtime.read_bytes()), hints)
    except (OSError, ValueError):  # it leads nowhere, or is no zone
        return None


UNKNOWN_ZONE = (
    "neither TZ nor /etc/localtime names the host's time zone: times without a zone are taken "
    "for UTC until CRONWATCH_TIMEZONE=Europe/Berlin (or yours) says better"
)


def check_database(path: str) -> None:
    """Raise `Invalid` for what cannot be opened as a database, with the reason."""
    if not path:
        raise Invalid("database must be the name of a file")
    if os.path.isdir(path):
        raise Invalid(
            f"the database {path} is a folder: name a file in it, or remove it if Docker made it "
            "because the file of a mount was not there"
        )
    if not os.path.exists(path):
        return
    owner = os.stat(path).st_uid
    me = os.geteuid()
    effective = os.access in os.supports_effective_ids
    if owner != me and not os.access(path, os.R_OK | os.W_OK, effective_ids=effective):
        raise Invalid(
            f"the database {path} belongs to {_user_name(owner)}, and {_user_name(me)} may not "
            "write to it: run this as its owner, or as root"
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # of a container, or of a user that is gone
        return f"user {uid}"


def is_any_address(host: str) -> bool:
    """Whether to listen on it means on all addresses: one that nobody can connect to."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host in ("*", "0")


def listen_url(listen: str, port: int | str, prefix: str) -> str:
    """How this host reaches itself; by its own name where it listens on all addresses."""
    host = listen.rpartition(":")[0].strip("[]")
    if is_any_address(host):
        host = socket.gethostname()
    return f"http://[{host}]:{port}{prefix}" if ":" in host else f"http://{host}:{port}{prefix}"


def check_settings(settings: Settings) -> str:
    """Raise `Invalid` for what cannot be; the zone of schedules that name none."""
    check_database(settings.database)
    check_timezone(zone := settings.timezone or host_timezone() or "UTC")
    one_of("starttls", "tls", "none").read("smtp_security", settings.smtp_security)
    for name in ("base_url", "heartbeat_url"):
        if (url := getattr(settings, name)) and not is_web_address(url):
            raise Invalid(f"{name} must be an http or https address")
    if not re.fullmatch(r"([0-9.]+|[0-9A-Fa-f:.]+:[0-9A-Fa-f:.]*|\*)?", settings.trusted_proxy):
        raise Invalid("trusted_proxy must be an address such as 127.0.0.1")
    if re.search(r"[^\w./~-]", settings.url_prefix):
        raise Invalid("url_prefix must be a path such as /cronwatch")
    if re.search(r"[\s/]", settings.status_tag):
        raise Invalid("status_tag must be one tag, without a space or a slash")
    if not settings.scan_seconds:
        raise Invalid("scan_seconds must be more than 0")
    return zone


# -- Waitress, with a lane for pings
# The way of a ping: `PingLane.add_task` keeps it as it arrives. `commit_round` opens a transaction
# (`Store.together`), in which Bottle lets `ping` read it, `record_ping` find its monitor and the
# rules' `receive` do the rest. Its answer is held until the commit. Where its own part fails, it
# is a 503 in its dialect's words; where the transaction is lost, `Connection.replace` makes it a
# bare one.
THREADS = 16  # that answer all but pings
SLOWEST_SECONDS = 30  # until a request has to be whole
STOP_SECONDS = 5  # for the answers of what has arrived
BATCH_MAX = 64  # pings that share a commit
ROUNDS_MAX = 8  # of reading sockets before those that have arrived are answered
LANE_BODY_MAX = 65_536  # bytes


class RequestParser(waitress.parser.HTTPRequestParser):
    """Takes the raw bytes (Cronitor's PHP SDK) and bare spaces (busybox) of some addresses."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = time_ns() / 1e9

    def parse_header(self, header_plus: bytes) -> None:
        """Quote such bytes, then parse as Waitress does."""
        line, end, rest = header_plus.partition(b"\r\n")
        method, _, remainder = line.partition(b" ")
        target, _, version = remainder.rpartition(b" ")
        if re.search(rb"[\x80-\xff ]", target):
            quoted = re.sub(rb"[\x80-\xff ]", lambda byte: b"%%%02X" % ord(byte[0]), target)
            line = b" ".join((method, quoted, version))
        try:
            super().parse_header(line + end + rest)
        except ValueError:  # of a host or a length that is none
            raise waitress.parser.ParsingError("Invalid request") from None


class ErrorTask(waitress.task.ErrorTask):
    """What the parser refuses, with the security headers."""

    def execute(self) -> None:
        """Answer as Waitress does."""
        self.response_headers.extend(HEADERS.items())
        super().execute()


class Connection(waitress.channel.HTTPChannel):
    """A connection that sends nothing while it is held: no 2xx before the commit.

    Waitress would send early in three ways: a large answer, a `100 Continue`, and a pipelined
    page that a worker answers.
    """

    parser_class = RequestParser
    error_task_class = ErrorTask
    is_held = False
    LOST = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    def readable(self) -> bool:
        """Whether more may be read: not by a server that stops."""
        return not self.server.is_stopping and super().readable()

    def _flush_some(self, do_close: bool = True) -> Any:
        return not self.is_held and super()._flush_some(do_close)

    def replace(self) -> None:
        """Answer 503 instead of what was to be sent, and end."""
        with self.outbuf_lock:
            self.outbufs = [OverflowableBuffer(self.adj.outbuf_overflow)]
            self.outbufs[0].append(self.LOST)
            self.total_outbufs_len = len(self.LOST)
            self.close_when_flushed = True

    def let_go(self) -> None:
        """Send what waits."""
        self.is_held = False
        if self.connected:
            self.handle_write()


class PingLane(waitress.task.ThreadedTaskDispatcher):
    """Keeps pings for the thread that serves; all else is for the worker threads.

    A commit costs a sync of the disk, and handing a ping to a worker and its answer back costs
    more than the ping. Without the lane all works the same, only slower.
    """

    def __init__(
        self, store: Any, is_ping: Callable[[str, str], bool], judge_absence: Callable[[], None]
    ) -> None:
        super().__init__()
        self.store = store
        self.is_ping = is_ping
        self.judge_absence = judge_absence
        self.arrived: deque[Connection] = deque()

    def add_task(self, channel: Connection) -> None:
        """Take a request that has arrived. Waitress holds its connection's lock meanwhile.

        A connection that has not taken its last answer is left to a worker: it may wait, we may
        not. While nothing can be written the workers have pings, too.
        """
        request = channel.requests[0]
        if request.error:
            super().add_task(channel)
            return
        is_ping = self.is_ping(request.command, request.path)
        is_small = len(request.body_rcv or b"") <= LANE_BODY_MAX
        if not is_ping and not {"AUTHORIZATION", "X_API_KEY", "COOKIE"} & set(request.headers):
            request.headers["CONNECTION"] = "close"  # a stranger gets one page a connection
        if is_ping and is_small and not channel.total_outbufs_len and not self.store.is_failing:
            self.arrived.append(channel)
        else:
            super().add_task(channel)

    def commit_round(self) -> None:
        """Record what has arrived in one transaction, then send the answers.

        Where it was lost, all that were begun get one bare 503: what Bottle answered them before
        the commit may say that all is well. The workers have those that were not begun.
        """
        batch = [self.arrived.popleft() for _ in range(min(BATCH_MAX, len(self.arrived)))]
        held: list[Connection] = []
        try:
            self.judge_absence()
        except Exception:  # noqa: BLE001 - whatever it is, each worker meets it, and says so
            for channel in batch:
                super().add_task(channel)
            return
        try:
            with self.store.together():
                for channel in batch:
                    if self.store.lost:
                        break
                    channel.is_held = True
                    held.append(channel)
                    channel.service()
        except Unavailable:
            for channel in held:
                channel.replace()
        for channel in held:
            channel.let_go()
        for channel in batch[len(held) :]:
            super().add_task(channel)


class WebServer(waitress.server.TcpWSGIServer):
    """Waitress, whose thread that reads sockets answers pings, and waits for nobody."""

    channel_class = Connection
    is_stopping = False
    thread = 0

    def handle_accept(self) -> None:
        """Accept all that knock, not one a round: those that close each time would queue."""
        count = -1
        while count < len(self._map) < self.adj.connection_limit:
            count = len(self._map)
            super().handle_accept()

    def pull_trigger(self) -> None:
        """Wake the thread that serves, if another one has something for it."""
        if threading.get_ident() != self.thread:
            super().pull_trigger()

    def stop(self) -> None:
        """Let `run` end, for a signal's handler.

        One that raised could do so between the sending of an answer and the note that it is sent:
        sent again, it would answer the next ping.
        """
        self.is_stopping = True
        self.trigger.pull_trigger()

    def run(self) -> None:
        """Serve until stopped; then answer what has arrived, 5 s at the most.

        Who was recorded should not send it again.
        """
        self.thread = threading.get_ident()
        gc.freeze()  # what is here stays: looking through it again held up pings by 10 ms
        while not self.is_stopping:
            self._turn(1)
        self.accepting = False
        end = monotonic() + STOP_SECONDS
        while monotonic() < end and any(
            channel.requests or channel.total_outbufs_len
            for channel in self.active_channels.values()
        ):
            self._turn(0.05)
        self.task_dispatcher.shutdown()

    def _turn(self, seconds: float) -> None:
        """Read and send what is ready; then answer pings, once no more of them arrive at once."""
        lane = self.task_dispatcher
        self.asyncore.loop(0 if lane.arrived else seconds, True, self._map, 1)
        for _ in range(ROUNDS_MAX):
            before = len(lane.arrived), len(self._map)
            if not lane.arrived or len(lane.arrived) >= BATCH_MAX:
                break
            self.asyncore.loop(0, True, self._map, 1)
            if before == (len(lane.arrived), len(self._map)):
                break
        if lane.arrived:
            lane.commit_round()

    def maintenance(self, now: float) -> None:
        """Close what is idle, and a request that is not complete 30 s after its first byte."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.request and channel.request.began < now - SLOWEST_SECONDS:
                channel.will_close = True


def allow_files(most: int = 8192) -> int:
    """Raise the limit of open files, 1,024 on most systems, and return it.

    Without a file for the next connection the server would only log that, again and again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < most:
        soft = most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else soft


def open_socket(listen: str) -> socket.socket:
    """Bind an address, `*` for all of both families; raises `Refused` where that cannot be."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise Refused(f"listen must be HOST:PORT, not {listen!r}")
    try:
        if host == "*" and socket.has_dualstack_ipv6():
            every = ("", int(port))
            return socket.create_server(every, family=socket.AF_INET6, dualstack_ipv6=True)
        name = "" if host == "*" else host.strip("[]")
        family, *_, address = socket.getaddrinfo(
            name or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, ValueError) as error:
        is_taken = getattr(error, "errno", 0) == errno.EADDRINUSE
        reason = "another program listens there: choose another port" if is_taken else error
        raise Refused(f"cannot listen on {listen}: {reason}") from None


def make_web_server(
    app: Callable[..., Any],
    settings: Settings,
    store: Store | None = None,
    is_ping: Callable[[str, str], bool] = lambda method, path: False,
    judge_absence: Callable[[], None] = lambda: None,
) -> WebServer:
    """Bind the address; raises `Refused` where it is none, or taken."""
    files = allow_files()
    listener = open_socket(settings.listen)
    lane = PingLane(store, is_ping, judge_absence)
    server = WebServer(
        app,
        _sock=listener,
        bind_socket=False,
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        dispatcher=lane,
        adj=waitress.server.Adjustments(
            ident=None,
            connection_limit=min(5000, files // 2),
            asyncore_use_poll=True,
            cleanup_interval=5,
            max_request_body_size=10_485_760,
            clear_untrusted_proxy_headers=False,  # we read them ourselves
        ),
    )
    lane.set_thread_count(THREADS)
    # With the default of one byte the thread that reads sockets spins in poll() for as long as a
    # worker is sending, and keeps it from running: a sixteenth of the speed at 8 connections.
    server.adj.send_bytes = 18_000
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request
    logging.getLogger("waitress").setLevel(logging.WARNING)  # it names the paths of who hangs up
    return server


# -- the loops

STAMP_SECONDS, DELIVER_SECONDS, BEAT_SECONDS = 30, 0.5, 20


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


def keep_house(
    act: Callable[..., Any], read: Callable[..., Any], settings: Settings, now: int
) -> None:
    """Delete what is too old, then what is too much, then give back what is free."""
    act(prune_sessions)
    for table in PRUNED if settings.keep_days else ():
        after: int | None = 0
        while after is not None:
            after = act(prune, table, now - settings.keep_days * 86_400_000, after)
    for num in read(monitors_beyond, settings.keep_pings) if settings.keep_pings else ():
        while act(prune_beyond, num, settings.keep_pings):
            pass
    for num in read(monitors_beyond_logs, settings.keep_logs) if settings.keep_logs else ():
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


def beat(server: Server) -> None:
    """Ping who watches us, if all is well: we look, can write, and no alert is overdue. Raises
    `Refused` where that cannot be said, without the URL: it is a secret."""
    if troubles(server) or server.read(outbox_counts)["overdue"]:
        return
    try:
        status = request_once(
            "GET", server.settings.heartbeat_url, b"", {"User-Agent": f"cronwatch/{__version__}"}
        ).status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"who watches us cannot be reached: {error}") from None
    if not 200 <= status < 300:
        raise Refused(f"who watches us answers HTTP {status}")


def look(scanner: Scanner) -> None:
    """Look once, and tell systemd that we live."""
    try:
        scanner.look()
    finally:  # a disk that is full is no reason to be killed, only to hang is
        notify("WATCHDOG=1")


def start_loops(
    server: Server, stop: threading.Event, end: Callable[[], None]
) -> list[threading.Thread]:
    """Start the threads that scan, deliver, stamp that we live, and keep house.

    `end` is called where our file is not the database any more.
    """
    scan_seconds, beats = server.settings.scan_seconds, bool(server.settings.heartbeat_url)

    def turn() -> None:
        try:
            look(scanner)
        finally:
            if server.store.is_replaced:
                end()

    server.scanner = scanner = Scanner(
        server.store, server.clock, scan_seconds, server.scan, server.away
    )
    server.scanner.measure = server.metrics.scans.observe
    server.metrics.scanner = server.scanner
    return [
        repeat(stop, scan_seconds, turn, "scan"),
        repeat(stop, DELIVER_SECONDS, server.outbox.start_sending, "deliver"),
        repeat(stop, STAMP_SECONDS, lambda: server.act(stamp_alive), "stamp"),
        repeat(stop, 3600, server.housekeeping, "housekeeping", 60),
        *([repeat(stop, BEAT_SECONDS, lambda: beat(server), "beat")] if beats else []),
    ]


# -- the parts, wired


def welcome(server: Server) -> None:
    """Where nobody can sign in yet, say how; only a terminal is shown a secret."""
    if server.read(list_users, ApiRequest())["users"]:
        return
    if sys.stdout.isatty():
        link = server.act(make_link, "admin", True)["url"]
        print(f"Sign in once, within an hour: {link}", flush=True)
    else:
        log.info("nobody can sign in yet: `cronwatch user link` prints a link that does")


class Server:
    """The parts, wired. Nothing starts by itself but what a request or a turn needs."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], int] = system_clock,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        zone = check_settings(settings)
        self.clock = clock
        self.limiter = Limiter(monotonic)
        self.store = Store(settings.database)
        self.damaged: set[int] = set()  # monitors that cannot be watched any more
        self.scanner: Scanner | None = None
        self.is_of_command = False  # what a command changes comes after the time without a server
        self.started_at = clock()
        self.ended_at = 0
        self.recent = Recent(monotonic)
        self.follows_address = not settings.base_url
        self.follows_host_zone = not settings.timezone
        prefix = f"/{settings.url_prefix.strip('/')}".rstrip("/")
        url = settings.base_url.rstrip("/") or remembered(
            self.store,
            "base_url",
            listen_url(settings.listen, settings.listen.rpartition(":")[2], prefix),
        )
        self.settings = dataclasses.replace(
            settings, timezone=zone, base_url=url, url_prefix=prefix
        )
        self.outbox = Outbox(self.act, self.read, self.settings, clock)
        self.metrics = Metrics(self.read, clock)
        self.store.count_commit = self.metrics.batches.observe
        self.outbox.count = lambda result: self.metrics.alerts.labels(result).inc()

    @cached_property
    def app(self) -> bottle.Bottle:
        """The WSGI application; no command needs it."""
        return make_app(self)

    def act(self, action: Callable[..., T], *args: Any) -> T:
        """Do an action in one transaction, at an instant read in it, once a gap is judged."""
        if not self.store.is_writing:
            self.judge_absence()
        return self._act(action, *args)

    def is_ping(self, method: str, path: str) -> bool:
        """Whether a request is for the last route; `path` is as it arrived, but unquoted."""
        path = local_path(self.settings.url_prefix, path)
        routed = {"PATH_INFO": path, "REQUEST_METHOD": method}
        return bool(self.app.router.match(routed)[0].rule == LAST_RULE)

    def judge_absence(self) -> None:
        """Judge a gap, if there is one, before anything that comes after it."""
        if self.scanner:
            self.scanner.judge_absence()
        elif self.is_of_command:
            self.is_of_command = False
            alive_at = remembered(self.store, "alive_at", None)
            if alive_at is not None and not is_served(self.store.path):
                self.away(alive_at, self.clock())

    def _act(self, action: Callable[..., T], *args: Any) -> T:
        def work() -> T:
            return action(
                Transaction(self.store.connection, self.store, self.settings, self.clock()), *args
            )

        return self.store.write(work)

    def read(self, query: Callable[..., T], *args: Any) -> T:
        """What a query finds now, beside whatever is being written."""
        now = self.clock()
        return self.store.read(
            lambda db: query(Transaction(db, self.store, self.settings, now), *args)
        )

    def scan(self) -> None:
        """Let everything that fell due happen."""
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            place = self._act_past_damage(scan_due, place)

    def deliver(self) -> None:
        """Send what is due; it is sent, or has failed, when this returns."""
        for thread in self.outbox.start_sending():
            thread.join()

    def housekeeping(self) -> None:
        """Delete what is kept no longer, in steps that hold up no ping."""
        keep_house(self.act, self.read, self.settings, self.clock())

    def away(self, since: int, until: int) -> None:
        """We could not hear pings between two instants."""
        self._act_past_damage(record_absence, since, until)

    def _act_past_damage(self, action: Callable[..., T], *args: Any) -> T:
        """Do an action again without each monitor of which a page turns out to be damaged."""
        while True:
            try:
                return self._act(action, *args, self.damaged)
            except DamagedMonitor as error:
                log.error("monitor %d cannot be watched any more", error.num)
                self.damaged.add(error.num)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; prints one line with the URL when requests are taken."""
        if sys.platform == "linux":  # elsewhere SQLite would wait for that lock
            hold(self.settings.database)
        web_server = make_web_server(
            self.app, self.settings, self.store, self.is_ping, self.judge_absence
        )
        now, alive_at = self.clock(), remembered(self.store, "alive_at", None)
        if alive_at is None:  # the first start ever knows no gap
            self.read(count_monitors)  # refused where it could not watch them
            self.act(stamp_alive)
        else:
            self.away(alive_at, now)
        stop = threading.Event()

        def end(*_: Any) -> None:
            """Take no more pings: from now on we are away, however long it takes to end."""
            self.ended_at = self.clock()
            stop.set()
            web_server.stop()

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, end)
        listen, prefix = self.settings.listen, self.settings.url_prefix
        url = listen_url(listen, web_server.effective_port, prefix)
        if self.follows_address:
            if is_any_address(listen.rpartition(":")[0]):
                log.warning("links begin with %s: --base-url says how others reach this", url)
            self.settings = self.outbox.settings = dataclasses.replace(self.settings, base_url=url)
        self.act(remember, "base_url", self.settings.base_url)  # for the command line's links
        self.act(remember, "smtp_host", self.settings.smtp_host)  # for what it makes known
        print(f"cronwatch serves {url}", flush=True)
        notify("READY=1")
        welcome(self)
        loops = start_loops(self, stop, end)
        web_server.run()
        notify("STOPPING=1")
        for loop in loops:
            loop.join()
        web_server.close()
        self.outbox.stop()
        with contextlib.suppress(Refused):  # the next start counts from the stamp before
            self._act(remember, "alive_at", self.ended_at)
        if self.store.is_replaced:
            raise Refused(
                f"another file, or none, is in the place of {self.store.path}: start cronwatch "
                f"again, and it is the database from then on"
            )

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()


# == Import and export ========================================================
# Monitors as text: a crontab to begin with, or a file that is kept under version control.


class CronLine(NamedTuple):
    """A job of a crontab: the parts of its line as they were, and what we make of them."""

    number: int  # of its line, from 1
    when: str
    user: str  # in a system crontab, with the space behind it
    command: str
    stdin: str  # from the first bare %, which is standard input
    cron: str  # the schedule that it has
    timezone: str
    shell: str
    path: str  # where cron looks for programs
    name: str
    handle: str  # that it pings already by the wrapper; empty where it does not


# A time as crons read it: no L, # or ? of croniter's, which none of them knows.
TIME = rf"(?:[\d*/,~-]|{'|'.join(CRON_NAMES.keys() - {'l'})})+"
# A leading - keeps a job out of the log (cronie, SUSE). A bare % ends the command.
WHEN = rf"\s*(-?(?:@[\w-]+|{TIME}(?:\s+{TIME}){{4}}))\s+"
COMMAND = r"((?:[^\\%]|\\.?)*)(%.*|)"
CRON_LINE = re.compile(rf"{WHEN}(){COMMAND}", re.IGNORECASE)
SYSTEM_LINE = re.compile(rf"{WHEN}(\S+\s+){COMMAND}", re.IGNORECASE)
STRAY_TIME = re.compile(
    r"([*?]|\d[\d*/,?-]*|(MON|TUE|WED|THU|FRI|SAT|SUN)([,-][A-Z]{3})*)[\d*/,?-]*\s"
)
CRONTAB_WORDS = {  # of systemd-cron and FreeBSD
    "@minutely": "* * * * *",
    "@every_minute": "* * * * *",
    "@quarterly": "0 0 1 1,4,7,10 *",
    "@semi-annually": "0 0 1 1,7 *",
    "@semiannually": "0 0 1 1,7 *",
}
LINE_MAX = 998  # characters of a line that Debian's cron reads (crontab(5))
WRAPPED_MORE = 200  # of them for the wrapper, the shell and a URL
WRAPPER = "/usr/local/bin/cronwatch-exec"  # where the README puts it
WRAPPED_COMMAND = re.compile(r"cronwatch-exec'?\s+(?:-\S+\s+)*([^\s?]+)\S*\s(.*\s)?--\s")
SETTING_LINE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=]+))\s*=\s*["']?(.*?)["']?\s*""")
# What stands in a command beside the program that it is about.
ASIDE = re.compile(
    r"\bcd\s+\S+\s*(?:&&|;)"
    r"|\bif\s[^;]*;\s*then\b"
    r"|^\s*(?:test|\[\[?)\s[^&|;]*(?:&&|\|\|)"
    r"|\s-e\s+'[^']*'"
    r"|\b(?:sudo|runuser)(?:\s+-[ugh]\s+\S+)+"
    r"|\S*\bflock(?:\s+-w\s+\S+|\s+-\S+)*\s+\S+"
)
NO_PROGRAM = re.compile(
    r"[-!].*|.*=.*|\$[^/]*|\d+[smhd]?|[^a-zA-Z0-9]*"
    r"|(?:.*/)?(?:(?:ba|da|z)?sh|python|perl|ruby|php|node|(?:io)?nice|flock|timeout|chronic|sudo"
    r"|env|cd|test|exec|command|run-parts|sleep)[\d.]*"
)
TEST_FIRST = re.compile(r"(?:test|\[\[?)\s(?!.*(?:;|\|\|)).*&&")


def job_name(command: str) -> str:
    """A name for a command: its program without path and ending, and its subcommand."""
    for part in re.split(r"[;&|()<>{}]+", ASIDE.sub(" ", command)):
        words = re.findall(r"[^\s\"']+", part)
        for word, argument in itertools.pairwise([*words, ""]):
            if not NO_PROGRAM.fullmatch(word):
                name = re.sub(r"\.\w{1,4}$", "", word.rstrip("/").rpartition("/")[2])
                is_subcommand = re.fullmatch(r"[a-z][a-z0-9:_-]+", argument)
                return clean(f"{name} {argument}" if is_subcommand else name, 180) or "job"
    return "job"


def read_crontab(text: str, is_system: bool, timezone: str) -> tuple[list[CronLine], list[str]]:
    """The jobs of a crontab, and a remark on each line that cannot be watched, or that crons read
    in different ways. Only CRON_TZ moves a schedule: TZ is for the commands (crontab(5)).
    """
    jobs: list[CronLine] = []
    remarks: list[str] = []
    settings = {"CRON_TZ": timezone, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if setting := SETTING_LINE.fullmatch(line):
            *names, value = setting.groups("")
            settings["".join(names)] = value
            if "CRON_TZ" in names and value != timezone:
                remarks.append(
                    f"line {number}: Debian's cron ignores CRON_TZ and starts what follows by "
                    f"{timezone}; cronie (Fedora, Arch, SUSE) starts it by {value}"
                )
            continue
        try:
            job = _read_line(number, line, is_system, settings)
        except Invalid as error:
            remarks.append(f"line {number}: {error.sentence}")
            continue
        jobs.append(job)
        if TEST_FIRST.match(re.sub(r"'[^']*'|\"[^\"]*\"", "", job.command)):
            remarks.append(
                f"line {number}: where its test is false it ends with 1, which is told as a "
                "failure: write `if TEST; then JOB; fi`"
            )
    return jobs, remarks


def _read_line(number: int, line: str, is_system: bool, settings: Mapping[str, str]) -> CronLine:
    """A line that cron starts; raises `Invalid` where crons would read it in another way."""
    match = (SYSTEM_LINE if is_system else CRON_LINE).fullmatch(line)
    if match is None:
        raise Invalid("this is no line of a crontab")
    when, user, command, stdin = match.groups()
    if STRAY_TIME.match(user + command):
        raise Invalid(
            "this is no line of a crontab: it has five fields, none of them seconds, and cron "
            f"would run `{clean(user + command, 60)}`"
        )
    if len(os.fsencode(shlex.quote(line))) > LINE_MAX - WRAPPED_MORE:
        raise Invalid("it is too long for cron with cronwatch-exec: put its command into a script")
    word = " ".join(when.removeprefix("-").lower().split())
    cron = CRONTAB_WORDS.get(word, word)
    if cron.startswith("@") and cron not in (*CRON_WORDS, "@reboot"):
        raise Invalid(f"{cron} names no time of day: `cronwatch monitor add KEY --every TIME`")
    check_schedule(cron)
    next_run(cron, settings["CRON_TZ"], 0)
    wrapper = WRAPPED_COMMAND.search(command)
    return CronLine(
        number,
        when,
        user,
        command.strip(),
        stdin,
        cron,
        settings["CRON_TZ"],
        settings["SHELL"],
        settings["PATH"],
        job_name(command),
        wrapper[1].rstrip("/").rpartition("/")[2] if wrapper else "",
    )


def wrapped_line(job: CronLine, url: str, wrapper: str) -> str:
    """The line of a job as it reads with the wrapper, which tells how it went: by its name where
    cron finds it so. Only a path with plain words needs no shell."""
    is_plain = re.fullmatch(r"/[\w./+-]+( [\w./:@,+= -]*)?", job.command)
    command = job.command if is_plain else f"{job.shell} -c {shlex.quote(job.command)}"
    folder, _, name = wrapper.rpartition("/")
    program = name if folder in job.path.split(":") else shlex.quote(wrapper).replace("%", r"\%")
    return f"{job.when} {job.user}{program} {url} -- {command}{job.stdin}"


ANOTHER_HOST = (
    "A job is known again by its command: --host NAME tells those of other machines apart"
)


def import_crontab(
    tx: Transaction, text: str, is_system: bool, host: str, wrapper: str, has_urls: bool = True
) -> tuple[list[str], list[str]]:
    """A monitor for each job of a crontab: its lines as they read with the wrapper, and what there
    is to say. A job is known again by the handle that it pings, or by its host, user and command.
    An edited time is applied, but for what a person has changed since.
    """
    text_shown = CONTROLS.sub("", text)
    lines = text_shown.split("\n")
    jobs, remarks = read_crontab(text_shown, is_system, tx.settings.timezone)
    if text_shown != text:
        remarks.append("control characters, as at the ends of Windows' lines, are left out here")
    comments = []
    monitors: dict[int, JsonObject] = {}
    for job in sorted(jobs, key=lambda job: not job.handle):  # or another one might take its
        num = _find_job(tx, job, host, monitors)
        if num is None and job.handle:
            comments.append(f"line {job.number}: it runs cronwatch-exec already")
            continue
        m, sentence = _watch_job(tx, job, num, host)
        comments.append(sentence)
        monitors[m.num] = monitor_json(tx, m)
        if not job.handle:
            placeholder = f"URL_OF_{re.sub('[^A-Z0-9]', '_', m.key.upper())}"
            url = monitors[m.num]["pingUrl"] if has_urls else placeholder
            lines[job.number - 1] = wrapped_line(job, url, wrapper)
            if num is not None and ANOTHER_HOST not in remarks:
                remarks.append(ANOTHER_HOST)
    if not all(m["heard"] for m in monitors.values()):
        remarks.append("No notifications yet: see `cronwatch integration add --help`")
    return lines, comments + remarks


def _identity(job: CronLine, host: str) -> str:
    return json.dumps([host, job.user.strip(), clean(job.command, 10_000)])


def _find_job(tx: Transaction, job: CronLine, host: str, taken: Container[int]) -> int | None:
    """The monitor that a job has; of several with its command rather the one with its schedule."""
    if job.handle:
        handle = find_handle(tx, job.handle)
        return handle[0] if handle else None
    nums = tx.rows(
        "SELECT num FROM monitor WHERE json_extract(declared, '$.crontab') = ? "
        "ORDER BY (cron, timezone) = (?, ?) DESC, num",
        _identity(job, host),
        job.cron,
        job.timezone,
    )
    return next((num for (num,) in nums if num not in taken), None)


def _watch_job(tx: Transaction, job: CronLine, num: int | None, host: str) -> tuple[Monitor, str]:
    """Create or change the monitor of a job; with a sentence about it."""
    schedule = {"cron": job.cron, "timezone": job.timezone}

    def follow(state: MonitorState) -> None:
        m = state.monitor
        declared = json.loads(m.declared or "{}")
        if (m.cron, m.timezone) == (declared.get("cron"), declared.get("timezone")):
            edit(state, tx.now, schedule)
        m.declared = json.dumps({"crontab": _identity(job, host), **declared, **schedule})

    remark = ", is watched already"
    if num is None:
        key = free_key(tx, job.name)
        columns = {"key": key, "name": job.name, "notes": clean(job.command, 10_000) or ""}
        num = create_monitor(tx, {**columns, **schedule, "declared": json.dumps(schedule)})
        remark = ""
    before = load_monitor(tx, num)
    m = change_monitor(tx, num, follow)
    if m.cron != before.cron:
        remark = f", until now {schedule_words(before)}"
    if (m.cron, m.timezone) != (job.cron, job.timezone):
        remark = f", as it was edited: the crontab has {job.cron} ({job.timezone})"
    return m, f"{m.key}: {schedule_words(m)} ({m.timezone}){remark}"


def all_monitors(tx: Transaction) -> list[JsonObject]:
    """All monitors in the API's form, by name."""
    monitors: list[JsonObject] = []
    query = {"limit": 1000, "offset": 0}
    while page := list_monitors(tx, ApiRequest(query=query))["heartbeats"]:
        monitors += page
        query["offset"] += len(page)
    return monitors


LINKED_SQL = """SELECT id, CASE WHEN NOT default_integrations THEN (SELECT json_group_array(name)
    FROM (SELECT i.name FROM monitor_integration l JOIN integration i ON i.num = l.integration
    WHERE l.monitor = m.num ORDER BY i.name)) END FROM monitor m"""


def export_all(tx: Transaction, shows_secrets: bool = False) -> JsonObject:
    """All integrations and monitors in the API's words; what pings and signs only if asked for."""
    of_writers = {"token", "code", "handles", "secret", "headers"} if shows_secrets else set()
    of_integration = {"channel", "name", "enabled", "default", *NEEDS.values()}
    of_monitor = {"scheduleType", *(field.name for field in MONITOR)}
    linked = dict(tx.rows(LINKED_SQL))

    def pick(item: JsonObject, names: set[str]) -> JsonObject:
        unused = set(SCHEDULE_NEEDS.values()) - {SCHEDULE_NEEDS.get(item.get("scheduleType", ""))}
        picked = (names - unused) | of_writers
        return {name: value for name, value in item.items() if name in picked}

    return {
        "integrations": [pick(one, of_integration) for one in integrations_json(tx, True)],
        "monitors": [
            {"key": m["key"], **pick(m, of_monitor), "integrations": _json_of(linked[m["id"]])}
            for m in sorted(all_monitors(tx), key=operator.itemgetter("key"))
        ],
    }


def apply_all(tx: Transaction, file: Any) -> None:
    """Bring integrations (by name) and monitors (by key) to what a file says; others, and fields
    that are not there, stay. Raises `Refused` with the item that is wrong: nothing is changed."""
    read_object(file, "integrations", "monitors")
    for kind, name, apply in (
        ("integrations", "name", _apply_integration),
        ("monitors", "key", _apply_monitor),
    ):
        for item in _objects(kind, file.get(kind)):
            try:
                NAME.read(name, item.get(name))
                apply(tx, dict(item))
            except Refused as refused:
                sentence = f"{kind}, {clean(item.get(name), 200)}: {refused.sentence}"
                raise Refused(sentence, refused.code, refused.status) from None


def _objects(name: str, value: Any) -> list[dict[str, Any]]:
    items = [] if value is None else value
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise Invalid(f"{name} must be a list of objects")
    return items


def _apply_integration(tx: Transaction, item: dict[str, Any]) -> None:
    channel = tx.value("SELECT channel FROM integration WHERE name = ?", item["name"])
    if channel is None:
        add_integration(tx, ApiRequest(body=item, is_local=True))
    elif item.pop("channel", channel) != channel:
        raise Invalid("its channel cannot be changed: give the new one another name")
    else:
        edit_integration(tx, ApiRequest(item["name"], body=item, is_local=True))


def _apply_monitor(tx: Transaction, item: dict[str, Any]) -> None:
    key = item["key"]
    handles = [
        read_fields(NEW_HANDLE, one) for one in _objects("handles", item.pop("handles", None))
    ]
    for kind, shape in (("token", TOKEN), ("code", CODE)):
        if kind in item:
            if not shape.fullmatch(str(item[kind])):
                raise Invalid(f"{kind} must be of the form that cronwatch gives it")
            handles.append({"handle": item.pop(kind), "dialect": kind})
    if "integrations" in item:
        names = IDS.read("integrations", item.pop("integrations"))
        item["integrationIds"] = names and [find_integration(tx, name).id for name in names]
    if tx.rows("SELECT 1 FROM monitor WHERE key = ?", key):
        edit_monitor(tx, ApiRequest(key, body=item))
    else:
        add_monitor(tx, ApiRequest(body={"name": title(key), **item}))
    num = get_monitor(tx, key).num
    for handle in handles:
        text, kind = handle["handle"], handle["dialect"] or default_dialect(handle["handle"])
        if find_handle(tx, text) != (num, kind):
            if kind in OUR_HANDLES:
                tx.execute("DELETE FROM handle WHERE monitor = ? AND kind = ?", num, kind)
            adopt(tx, num, text, kind)


SECRETS = re.compile(r'("(?:token|code|handle|secret)": ")((?:[^"\\]|\\.)*)')


def apply_file(tx: Transaction, file: Any) -> str:
    """Apply a file; what changes as a diff, which of a secret says only that it does."""

    def masked() -> list[str]:
        text = json.dumps(export_all(tx, True), indent=1, ensure_ascii=False)
        return SECRETS.sub(lambda match: f"{match[1]}…{hash_secret(match[2])[:8]}", text).split(
            "\n"
        )

    before = masked()
    apply_all(tx, file)
    return "\n".join(difflib.unified_diff(before, masked(), "now", "then", lineterm="", n=4))


# == Command line =============================================================
# Each command translates its arguments and calls one action. Nothing is decided here.


# -- in words, for who reads a terminal
STATE_SIGNS = dict(zip(STATES, "✖▲●✔○‖", strict=True))
NO_SCHEDULE = "none: its silence is never told"
NO_MONITORS = "There is no monitor yet: see `cronwatch monitor add --help`."
NOBODY = "nobody: see `cronwatch integration add --help`"
PING_LINE = "curl -fsS -m 10 --retry 3 {}"
STATUS_MOST = 20  # lines
DAY_NAMES = {-1: "Yesterday", 0: "Today", 1: "Tomorrow"}


class LocalTime(NamedTuple):
    """Who reads instants in ISO 8601: in a zone, now."""

    zone: str
    now: int

    def at(self, text: str | None) -> str:
        """An instant: Today 03:00; Thu 26 Nov 03:00. Nothing for none."""
        if not text:
            return ""
        when, today = (
            (EPOCH + timedelta(milliseconds=at)).astimezone(ZoneInfo(self.zone))
            for at in (parse_iso(text), self.now)
        )
        days = (when.date() - today.date()).days
        if days in DAY_NAMES:
            return f"{DAY_NAMES[days]} {when:%H:%M}"
        return clock_time(when, today)

    def near(self, text: str | None) -> str:
        """The same, and within an hour how far away it is: in 9 min; 40 s ago."""
        away_ms = parse_iso(text) - self.now if text else HOUR_MS
        if abs(away_ms) >= HOUR_MS:
            return self.at(text)
        seconds = abs(away_ms) // 1000
        distance = _span(seconds // 60 * 60 or seconds)
        return f"in {distance}" if away_ms > 0 else f"{distance} ago"


def state_of(m: JsonObject) -> str:
    """The one of `STATES` that a monitor in the API's form is in."""
    if m["late"]:
        return "late"
    if m["status"] == "up" and m["running"]:
        return "running"
    return str(m["status"])


def state_words(m: JsonObject, clock: LocalTime) -> str:
    """How a monitor in the API's form does: failed since Today 03:05; due in 9 min."""
    state = state_of(m)
    if state == "down":
        reason = "no ping" if m["downReason"] == "missed" else m["downReason"]
        return f"{reason} since {clock.at(m['downSince'])}"
    if state == "paused":
        return f"until {clock.at(m['pausedUntil'])}" if m["pausedUntil"] else "until resumed"
    if state == "running":
        return f"started {clock.near(m['lastRun']['startedAt'])}"
    if m["expectedAt"]:
        return f"due {clock.near(m['expectedAt'])}"
    return f"last ping {clock.near(m['lastPingAt'])}" if m["lastPingAt"] else "no ping yet"


def sign_and_state(m: JsonObject) -> str:
    """As in ✖ down."""
    return f"{STATE_SIGNS[state_of(m)]} {state_of(m)}"


def schedule_in_zone(m: JsonObject, zone: str) -> str:
    """When a monitor in the API's form is expected: every day at 03:00; with its zone where that
    is another than the reader's."""
    if m["scheduleType"] == "none":
        return NO_SCHEDULE
    is_elsewhere = m["scheduleType"] == "cron" and m["timezone"] != zone
    return f"{m['schedule']} ({m['timezone']})" if is_elsewhere else str(m["schedule"])


def troubled_first(monitors: Iterable[JsonObject]) -> list[JsonObject]:
    """In the order of the page."""
    return sorted(monitors, key=lambda m: STATES.index(state_of(m)))


def run_words(run: JsonObject, clock: LocalTime) -> str:
    """A run in the API's form: failed, Today 03:00, took 5 min, exit code 3, disk full."""
    parts = [
        run["state"],
        clock.near(run["startedAt"]),
        run["durationMs"] and f"took {duration_words(run['durationMs'])}",
        run["exitCode"] and f"exit code {run['exitCode']}",
        run["message"],
    ]
    return ", ".join(filter(None, parts))


def event_words(event: JsonObject, clock: LocalTime) -> str:
    """An event in the API's form: when and what; below it, to whom it was told."""
    lines = [f"{clock.at(event['at'])}  {event['summary']}"]
    for delivery in event["deliveries"]:
        result = clean(delivery["result"], 200) or "not tried yet"
        lines.append(f"{delivery['state']}: {delivery['name']} ({result})")
    return "\n    ".join(lines if event["deliveries"] else [*lines, "no notifications"])


def flag_words(field: Field, value: Any) -> str:
    """What was said by a flag, as it may be said again."""
    return _span(value) if field.name.endswith("Seconds") and value else str(value or "")


def monitor_details(m: JsonObject, clock: LocalTime) -> dict[str, str]:
    """What a monitor is, what it did last and what pings it; what was said by a flag under its
    name."""
    rules = [f"{rule['field']} {rule['operator']} {rule['value']:g}" for rule in m["rules"]]
    return {
        "schedule": schedule_in_zone(m, clock.zone),
        **{field.flag[2:]: flag_words(field, m[field.name]) for field in MONITOR_FLAGS[1:]},
        "rule": "; ".join(rules),
        "next": ", ".join(map(clock.at, m["upcoming"][:3])),
        "last ping": clock.near(m["lastPingAt"]),
        "last run": run_words(m["lastRun"], clock) if m["lastRun"] else "",
        "tells": ", ".join(m["recipients"]) or NOBODY,
        "token": m["token"],
        "code": m["code"],
        "handles": ", ".join(f"{one['dialect']}:{one['handle']}" for one in m["handles"]),
    }


# -- what is wrong before it hurts: each check is a sentence that says what to do, behind a sign
FREE_LEAST = 100 * 2**20  # bytes on the disk of the database
STAMP_LATE_MS = 4 * STAMP_SECONDS * 1000


def check_disk(free: int, size: int) -> str:
    """Whether there is room beside a database of this size; all in bytes."""
    room = f"{free // 2**20:,} MB are free where the database is ({size // 2**20:,} MB)"
    if free < FREE_LEAST:
        return f"✖ only {room}: make room, or pings are refused"
    if free < 2 * size:
        return f"▲ {room}: a backup or an update needs as much again"
    return f"✔ {room}"


def check_clock(clock: LocalTime, alive_at: int | None, synchronized: str) -> str:
    """Whether the clock is right, as far as one can tell: it does not show a time before what is
    written down already, and `timedatectl` does not say that nobody sets it."""
    shows = f"the clock shows {clock.at(iso(clock.now))} ({clock.zone})"
    if (alive_at or 0) > clock.now:
        return f"✖ {shows}, but a server has run at {clock.at(iso(alive_at))}: set the clock"
    if synchronized == "no":
        return f"▲ {shows}, and no time server sets it: `timedatectl`"
    return f"✔ {shows}"


def check_server(is_running: bool, alive_at: int | None, now: int) -> str:
    """Whether a server runs on the database, and lives."""
    if not is_running:
        return f"✖ {NOT_SERVED}: `systemctl start cronwatch` or `cronwatch serve`"
    if now - (alive_at or 0) > STAMP_LATE_MS:
        return "✖ a server runs, but has not written for two minutes that it lives: see its log"
    return "✔ a server runs"


def check_address(base_url: str) -> str:
    """Whether others can follow the links of alerts."""
    host = urllib.parse.urlsplit(base_url).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        advice = "which leads nowhere on other machines: set CRONWATCH_BASE_URL to how they reach"
        return f"▲ links begin with {base_url}, {advice} this one"
    return f"✔ links begin with {base_url}"


def _attempt(what: str, attempt: Callable[..., None], *args: Any) -> str:
    try:
        attempt(*args)
    except (OSError, smtplib.SMTPException, subprocess.TimeoutExpired, ValueError) as error:
        return f"✖ {what}: {clean(f'{type(error).__name__}: {error}', 300)}"
    return f"✔ {what}"


def check_smtp(settings: Settings, is_needed: bool, host_of_server: str) -> str:
    """Whether the mail server takes us, by connecting and signing in, without a mail; where only
    the server that runs has the settings, which one it uses."""
    if settings.smtp_host:
        what = f"the mail server {settings.smtp_host}:{settings.smtp_port}"
        return _attempt(what, try_smtp, settings)
    if host_of_server:
        return f"✔ the server that runs sends mail by {host_of_server}"
    if is_needed:
        return "✖ no mail can be sent: set CRONWATCH_SMTP_HOST and the others"
    return "✔ no mail server is set, and nobody wants mail"


def check_receiver(integration: JsonObject) -> str:
    """Whether the receiver of an integration is there, as far as one can tell without an event: of
    a URL by connecting to its host, of a command by letting the shell read it; mail is the mail
    server's affair, and what Apprise does is not known."""
    name, channel = integration["name"], integration["channel"]
    what = f"{name}, by {channel}"
    if not integration["enabled"]:
        return f"▲ {name} is off: nothing is sent to it"
    if integration["failing"]:
        result = clean((integration["lastDelivery"] or {}).get("result"), 200)
        return f"✖ {name} has failed: {result}"
    if channel == "command":
        return _attempt(what, try_command, integration["command"])
    if NEEDS[channel] == "url" and channel != "apprise":
        host = urllib.parse.urlsplit(integration["url"]).netloc
        return _attempt(f"{what} to {host}", try_web_address, integration["url"])
    return f"✔ {what}: only `cronwatch integration test {shlex.quote(name)}` tells"


def check_notifications(monitors: Sequence[JsonObject], integrations: Sequence[JsonObject]) -> str:
    """Whether anybody is told of each monitor."""
    silent = [m["key"] for m in monitors if not m["heard"]]
    if not integrations:
        return f"✖ who is told of anything: {NOBODY}"
    if silent:
        names = ", ".join(silent[:5])
        advice = "link an integration, or have a default one"
        return f"✖ no notifications of {len(silent)} monitors, such as {names}: {advice}"
    return "✔ somebody is told of every monitor"


def check_outbox(counts: Mapping[str, int]) -> str:
    """Whether alerts go out."""
    for kind, sign in (("overdue", "✖"), ("dead", "▲")):
        if counts[kind]:
            return f"{sign} {counts[kind]} alerts are {kind}: see `cronwatch events`"
    return "✔ no alert is overdue"


def check_watcher(heartbeat_url: str) -> str:
    """Whether another box would notice that this one is gone, and can be reached."""
    if not heartbeat_url:
        advice = "set CRONWATCH_HEARTBEAT_URL to a monitor of another box or service"
        return f"▲ nobody watches cronwatch itself: {advice}"
    host = urllib.parse.urlsplit(heartbeat_url).netloc  # the rest is a secret
    what = f"who watches cronwatch itself, at {host}"
    return _attempt(what, try_web_address, heartbeat_url)


def examine(server: Server) -> Iterator[str]:
    """Each check in turn, with the settings of this process: those of another server are its own.
    No event, no mail and no ping is sent."""
    settings = server.settings
    clock = LocalTime(settings.timezone, server.clock())
    alive_at = remembered(server.store, "alive_at", None)
    folder = os.path.dirname(os.path.abspath(settings.database))
    integrations = server.read(list_integrations, ApiRequest())["integrations"]
    wants_mail = any(one["enabled"] and one["channel"] == "email" for one in integrations)
    zone = f"✔ times without a zone are of {settings.timezone}"
    if server.follows_host_zone and host_timezone() is None:
        zone = f"▲ {UNKNOWN_ZONE}"
    synchronized = subprocess.getoutput("timedatectl show --property=NTPSynchronized --value")  # noqa: S605, S607
    yield check_server(is_served(settings.database), alive_at, clock.now)
    yield check_disk(shutil.disk_usage(folder).free, os.path.getsize(settings.database))
    yield check_clock(clock, alive_at, synchronized)
    yield zone
    yield check_address(settings.base_url)
    yield check_notifications(server.read(all_monitors), integrations)
    yield check_smtp(settings, wants_mail, remembered(server.store, "smtp_host", ""))
    for integration in integrations:
        yield check_receiver(integration)
    yield check_outbox(server.read(outbox_counts))
    yield check_watcher(settings.heartbeat_url)


# -- commands

DURATION = re.compile("([0-9]{1,9}) ?([smhdw]?)")
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration(text: str) -> int:
    """Seconds, from seconds or a number with a unit; argparse says what is wrong with another."""
    match = DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: take seconds, or a number with a unit, as in 90, 5m, 1h, 2d"
        )
    number_, unit = match.groups()
    return int(number_) * UNIT_SECONDS[unit]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_rows(*table: Sequence[str]) -> None:
    """Rows in columns, the heads first."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _local_time(server: Server) -> LocalTime:
    return LocalTime(server.settings.timezone, server.clock())


def _monitor_fields(options: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of a monitor, in the words of the API."""
    flags = vars(options)
    values = {field.name: flags[field.flag[2:].replace("-", "_")] for field in MONITOR_FLAGS}
    fields = {name: value for name, value in values.items() if value is not None}
    kinds = [kind for kind, need in SCHEDULE_NEEDS.items() if need in fields]
    if options.no_schedule:
        kinds.append("none")
    if len(kinds) > 1:
        raise Invalid("give one schedule: --cron, --every or --no-schedule")
    if kinds:
        fields["scheduleType"] = kinds[0]
    if options.armed is not None:
        fields["armed"] = options.armed
    if options.rule:
        fields["rules"] = [
            {"field": name, "operator": sign, "value": number(value)}
            for name, sign, value in options.rule
        ]
    return fields


def _split_handle(text: str) -> tuple[str, str]:
    """An adopted handle and its dialect: the one before a colon, else by the handle's shape."""
    dialect, colon, rest = text.partition(":")
    if colon:
        return rest, DIALECT.read("the service of a handle", dialect)
    return text, default_dialect(text)


def _add_monitor(server: Server, options: argparse.Namespace) -> None:
    body = {
        "key": options.key,
        "name": title(options.key),
        "timezone": server.settings.timezone,
        "scheduleType": "none",
        **_monitor_fields(options),
    }
    handles = dict(map(_split_handle, options.handle or ()))
    m, _ = server.act(add_monitor, ApiRequest(body=body), handles)
    if options.json:
        _print_json(m)
        return
    print(f"{m['key']} is monitored. Let the job ping it:\n\n  {PING_LINE.format(m['pingUrl'])}\n")
    print(f"Its token is {m['token']}, its code {m['code']}.")
    if m["scheduleType"] == "none":
        words = f"{NO_SCHEDULE}, only that it failed or is stuck"
        print(f"Its schedule is {words} (see --cron and --every).")
    if not m["heard"]:
        print("No notifications yet: see `cronwatch integration add --help`.")


def _edit_monitor(server: Server, options: argparse.Namespace) -> None:
    fields = _monitor_fields(options)
    handles = dict(map(_split_handle, options.handle or ()))
    if not fields and not handles:
        raise Invalid("say what to change: see `cronwatch monitor edit --help`")
    m = server.act(edit_monitor, ApiRequest(options.key, body=fields), handles)
    if options.json:
        _print_json(m)
        return
    words = schedule_in_zone(m, server.settings.timezone)
    print(f"{m['key']} is changed; its schedule is {words}, grace {_span(m['graceSeconds'])}")


def _show_monitor(server: Server, options: argparse.Namespace) -> None:
    m = server.read(show_monitor, ApiRequest(options.key))
    if options.json:
        _print_json(m)
        return
    clock = _local_time(server)
    print(f"{m['name']} ({m['key']})\n{sign_and_state(m)}  {state_words(m, clock)}\n")
    for label, words in monitor_details(m, clock).items():
        if words:
            print(f"{label:12} {words}")
    print(f"\n{PING_LINE.format(m['pingUrl'])}")


def _list_monitors(server: Server, options: argparse.Namespace) -> None:
    if options.keys:
        print("\n".join(server.read(monitor_keys)))
        return
    monitors = server.read(all_monitors)
    if options.json:
        _print_json(monitors)
    elif monitors:
        clock = _local_time(server)
        table = [("key", "status", "details", "schedule")]
        for m in troubled_first(monitors):
            words = state_words(m, clock)
            if not m["heard"]:
                words += ", no notifications"
            table.append((m["key"], sign_and_state(m), words, schedule_in_zone(m, clock.zone)))
        _print_rows(*table)
    else:
        print(NO_MONITORS)


def _show_status(server: Server, options: argparse.Namespace) -> None:
    clock = _local_time(server)
    counts = server.read(count_states)
    words = [f"{count} {state}" for state, count in counts.items() if count]
    upcoming = server.read(_next_expected)
    if upcoming:
        words.append(f"next: {upcoming['name']} {clock.near(upcoming['at'])}")
    print(" · ".join(words) or NO_MONITORS)
    if not is_served(server.store.path):
        print(f"✖ {NOT_SERVED}: nobody is told of anything")
    for m in troubled_first(server.read(all_monitors))[:STATUS_MOST]:
        if state_of(m) in ("down", "late", "running"):
            print(f"{sign_and_state(m):10} {m['key']}: {state_words(m, clock)}")


def _pause_monitor(server: Server, options: argparse.Namespace) -> None:
    """Pause or resume one."""
    seconds = 0
    if options.word == "pause":
        seconds = options.seconds if options.hours is None else options.hours * 3600
    m = server.act(pause_for, options.key, seconds)
    until = f" until {m['pausedUntil']}" if m["pausedUntil"] else ""
    print(f"{m['key']} is {m['status']}{until}")


def _list_events(server: Server, options: argparse.Namespace) -> None:
    query = {"limit": LIST_LIMIT.shape.read("limit", str(options.limit))}
    events = server.read(list_events, ApiRequest(options.key or "", query=query))["events"]
    if options.json:
        _print_json(events)
        return
    clock = _local_time(server)
    for event in events:
        print(event_words(event, clock))
    if not events:
        print("Nothing has happened yet that was worth telling.")


def _run_doctor(server: Server, options: argparse.Namespace) -> int:
    """What is wrong; 1 where something is."""
    code = 0
    for sentence in examine(server):
        print(sentence, flush=True)
        if sentence.startswith("✖"):
            code = 1
    return code


def _add_integration(server: Server, options: argparse.Namespace) -> None:
    headers = {}
    for line in options.header or ():
        name, colon, value = line.partition(":")
        if not colon:
            raise Invalid("--header must be a header line, as in 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    body = {
        "channel": options.channel,
        "name": options.name,
        "default": not options.not_default,
        NEEDS[options.channel]: options.target,
        **({"headers": headers} if headers else {}),
    }
    integration = server.act(add_integration, ApiRequest(body=with_apprise(body), is_local=True))
    if integration["problem"]:
        log.warning("%s", integration["problem"])
    of_what = "monitors that name it" if options.not_default else "everything"
    print(
        f"{options.name} is told of {of_what} from now on: try "
        f"`cronwatch integration test {options.name}`"
    )
    if "secret" in integration:
        print(f"Its signatures are made with {integration['secret']}")


def _test_integration(server: Server, options: argparse.Namespace) -> None:
    integration = server.read(find_integration, options.name)
    by_server = is_served(server.settings.database)
    test = server.outbox.test
    (attempt,) = test([integration.num], integration.name, None, TEST_SECONDS, by_server)
    outcome = attempt_json(attempt)
    if not outcome["ok"]:
        raise Refused(f"{options.name} does not work: {outcome['result']}")
    print(f"{options.name} works: {outcome['result']}")


def _create_key(server: Server, options: argparse.Namespace) -> None:
    body = {field.name: vars(options)[field.name] for field in NEW_KEY}
    print(server.act(add_key, ApiRequest(body=body))["secret"])


LISTS: dict[str, tuple[Callable[[Transaction, ApiRequest], JsonObject], str]] = {
    "integration": (list_integrations, "name channel enabled default failing"),
    "key": (list_keys, "name prefix permission createdAt"),
    "user": (list_users, "name hasPassword createdAt lastSeenAt"),
}
REMOVALS: dict[str, tuple[Callable[[Transaction, ApiRequest], Any], str]] = {
    "monitor": (remove_monitor, "with its pings, runs and events"),
    "integration": (remove_integration, "with the alerts that wait for it"),
    "key": (remove_key, "so that what uses it is refused"),
    "user": (remove_user, "and end all its sessions"),
}


def _list(server: Server, options: argparse.Namespace) -> None:
    """The integrations, keys or users."""
    query, names = LISTS[options.group]
    items = server.read(query, ApiRequest())[f"{options.group}s"]
    if options.json:
        _print_json(items)
    else:
        columns = names.split()
        table = [
            ["-" if item[name] is None else str(item[name]) for name in columns] for item in items
        ]
        _print_rows(columns, *table)


def _remove(server: Server, options: argparse.Namespace) -> None:
    """End what cannot be brought back; asked first on a terminal, for a script is not asked."""
    action, consequence = REMOVALS[options.group]
    name = vars(options).get("key") or options.name
    if not options.yes and sys.stdin.isatty():
        question = f"{options.word.title()} {name}, {consequence}? [y/N] "
        print(question, end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("nothing is changed")
    request = ApiRequest(name, is_local=True)
    while action is remove_monitor and server.act(empty_monitor, request):
        pass
    server.act(action, request)
    what_went = f", {consequence}" if action is remove_monitor else ""
    print(f"{name} is {options.word}d{what_went}")


def _back_up(server: Server, options: argparse.Namespace) -> None:
    back_up(server.store.path, options.copy)
    print(f"{options.copy} is a whole copy: to restore it, stop cronwatch and move it in place")


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
        listing = subprocess.run(
            ["crontab", "-l"],  # noqa: S607
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except OSError:
        raise Refused("there is no program crontab here: name a file") from None
    if listing.returncode and "no crontab for" not in listing.stderr:
        raise Refused(f"crontab -l: {clean(listing.stderr, 300)}")
    return listing.stdout


class DryRun(Exception):
    """Undoes what was only tried; says what came of it."""


def try_out(server: Server, is_dry: bool, action: Callable[..., T], *args: Any) -> T:
    """What an action comes to; nothing of it stays where it is only tried."""

    def attempt(tx: Transaction) -> T:
        result = action(tx, *args)
        if is_dry:
            raise DryRun(result)
        return result

    try:
        return server.act(attempt)
    except DryRun as dry:
        result: T = dry.args[0]
        return result


def _import_crontab(server: Server, options: argparse.Namespace) -> None:
    text = _own_crontab() if options.file is None else _read_file(options.file)
    is_system = options.system or str(options.file).startswith("/etc/cron")
    folders = [*os.get_exec_path(), os.path.dirname(sys.executable)]
    program = shutil.which("cronwatch-exec", path=os.pathsep.join(folders))
    wrapper = os.path.abspath(program or WRAPPER)
    args = (text, is_system, options.host or "", wrapper, options.yes)
    lines, comments = try_out(server, not options.yes, import_crontab, *args)
    if program is None:
        url = f"{server.settings.base_url}/cronwatch-exec"
        comments.append(
            f"cronwatch-exec is not here yet: curl -fsSo {WRAPPER} {url} && chmod +x {WRAPPER}"
        )
    if options.yes:
        comments.append("The crontab as it reads with cronwatch-exec, for you to put in place:")
    else:
        comments.append("Nothing is created yet. With --yes it is, and the lines get their URLs:")
    sys.stdout.flush()
    printed = "\n".join([*(f"# {comment}" for comment in comments), *lines])
    sys.stdout.buffer.write(printed.rstrip("\n").encode("utf-8", "surrogateescape") + b"\n")


def _export(server: Server, options: argparse.Namespace) -> None:
    _print_json(server.read(export_all, options.secrets))


def _apply(server: Server, options: argparse.Namespace) -> None:
    try:
        file = json.loads(_read_file(options.file))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{options.file} must be JSON: {error}") from None
    changes = try_out(server, options.dry_run, apply_file, with_apprise(file))
    print(changes or "nothing changes")


def _read_password() -> str:
    """The stored form of what is asked for on the terminal, else of a line of standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise Invalid("the two are not the same: try again")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    return hash_password(PASSWORD.read("password", password))


def _add_user(server: Server, options: argparse.Namespace) -> None:
    name = NAME.read("name", options.name)
    server.act(add_user, name, _read_password())
    print(f"{name} may sign in at {server.settings.base_url}/")


def _change_password(server: Server, options: argparse.Namespace) -> None:
    user, _ = server.read(find_user, options.name)
    server.act(change_password, user, _read_password())
    print(f"{options.name} has a new password; all sessions with the old one are over")


def _make_link(server: Server, options: argparse.Namespace) -> None:
    print(server.act(make_link, NAME.read("name", options.user), True)["url"])


def _print_unit(options: argparse.Namespace) -> None:
    """A file of systemd/, or the names of all."""
    folder = DATA / "systemd"
    names = sorted(path.name for path in folder.iterdir())
    if options.unit is None:
        print("\n".join(names))
    else:
        one_of(*names).read("the name of a unit", options.unit)
        print((folder / options.unit).read_text("utf-8"), end="")


# What the shells have in common: `offers` are those that may come next, and a monitor's key may
# behind some. A key is any text, so it must not be read as a part of the script.
BASH = """\
# Completion of cronwatch for bash. In ~/.bashrc: eval "$(cronwatch completion bash)"
_cronwatch() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words=${{COMP_WORDS[*]:1:COMP_CWORD-1}} offers= key
    case "$words" in
{arms}
    esac
    COMPREPLY=($(compgen -W "$offers" -- "$current"))
    if [[ $current != -* && ($words == events || $words == "monitor "*) ]]; then
        while IFS= read -r key; do
            [[ $key == "$current"* ]] && COMPREPLY+=("$(printf %q "$key")")
        done < <(cronwatch monitor list --keys 2>/dev/null)
    fi
}}
complete -o default -F _cronwatch cronwatch
"""


ZSH = """\
#compdef cronwatch
# Completion of cronwatch for zsh. In ~/.zshrc, behind compinit: eval "$(cronwatch completion zsh)"
_cronwatch() {{
    local typed="${{words[2,CURRENT-1]}}" offers=
    case "$typed" in
{arms}
    esac
    compadd -- ${{=offers}}
    if [[ $typed == events || $typed == "monitor "* ]]; then
        compadd -- "${{(@f)$(cronwatch monitor list --keys 2>/dev/null)}}"
    fi
    _files
}}
if [[ $funcstack[1] == _cronwatch ]]; then
    _cronwatch "$@"
else
    compdef _cronwatch cronwatch
fi
"""


def _print_completion(options: argparse.Namespace) -> None:
    """What may come behind which words, as the arms of a shell's `case`, the longest first."""
    offers = {"": ["--help", "--version"]}
    for command in COMMANDS:
        words = command.words.split()
        for count, word in enumerate(words):
            offers.setdefault(" ".join(words[:count]), []).append(word)
        flags = [spec.split()[0] for spec in command.arguments if spec.startswith("--")]
        offers[command.words] = [*flags, "--database"]
    arms = (
        f'"{words}"|"{words} "*) offers="{" ".join(dict.fromkeys(more))}" ;;'
        for words, more in sorted(offers.items(), reverse=True)
    )
    script = {"bash": BASH, "zsh": ZSH}[options.shell]
    print(script.format(arms="\n".join(arms)), end="")


# -- their arguments, as the help shows them, and what argparse wants to know beside that
def _metavar(field: Field) -> str:
    if field.name.endswith("Seconds"):
        return "TIME"
    return "N" if field.shape.schema.get("type") == "integer" else "TEXT"


TYPES: dict[str, Callable[[str], Any]] = {"N": int, "TIME": duration}
MONITOR_FLAGS = [field for field in MONITOR if field.flag]
FIELDS = {f"{field.flag} {_metavar(field)}": field.help for field in MONITOR_FLAGS}


def _setting_flags() -> dict[str, str]:
    """The flags of all settings, with their help; a screen has 24 lines."""
    flags = {}
    for setting in dataclasses.fields(Settings):
        flag = f"--{setting.name.replace('_', '-')}"
        is_hidden = "smtp" in flag or flag == "--keep-logs"
        if setting.default is not False:
            flag += f" {setting.default or 'VALUE'}"
        flags[flag] = argparse.SUPPRESS if is_hidden else setting.metadata["help"]
    return flags


SETTINGS = _setting_flags()
ARGUMENTS = {
    **FIELDS,
    **SETTINGS,
    "key": "its key or id; a new one is such as daily-backup",
    "[key]": "of one monitor: its key or id",
    "name": "its name",
    "[user]": "whom; where there is nobody yet, who is made (default admin)",
    "channel": "how: one of " + ", ".join(SENDERS),
    "target": "URL, shell command or mail address",
    "file": "as `cronwatch export` prints it; - is standard input",
    "[file]": "else what `crontab -l` prints; - is standard input",
    "copy": "name of the copy; nothing may have it yet",
    "[unit]": "such as cronwatch.service",
    "shell": "bash or zsh",
    "--armed": "alert even if it never pings",
    "--dry-run": "only show what would change",
    "--for TIME": "resume by itself after 30m, 2h or 1d",
    "--handle [SERVICE:]TEXT": "keep one of an old service, as in cronitor:d3x0f1",
    "--header 'NAME: VALUE'": "send with webhooks",
    "--hours N": argparse.SUPPRESS,
    "--host NAME": "another machine's: its jobs are others",
    "--json": "print JSON",
    "--keys": argparse.SUPPRESS,
    "--limit N": "how many (default 20)",
    "--no-schedule": "expect no run at any time",
    "--not-default": "only for monitors that name it",
    "--permission TEXT": "ping, read-only or read-write (default)",
    "--rule": "tell when a good run reports it: rows lt 1",
    "--secret TEXT": "adopt a key of an old service",
    "--secrets": "also what pings and signs",
    "--system": "it has users, as /etc/crontab",
    "--yes": "do it, and do not ask first",
}
MORE: dict[str, dict[str, Any]] = {
    "--armed": {"action": argparse.BooleanOptionalAction},
    "--database": {"help": "the file that holds it all (CRONWATCH_DATABASE)"},
    "--for": {"dest": "seconds"},
    "--handle": {"action": "append"},
    "--header": {"action": "append"},
    "--keep-pings": {"help": "kept of each monitor; of logs: --keep-logs 100"},
    "--limit": {"default": 20},
    "--permission": {"choices": NEW_KEY[1].shape.schema["enum"], "default": "read-write"},
    "--rule": {"nargs": 3, "action": "append", "metavar": ("FIELD", "OP", "N")},
    "--smtp-host": {
        "help": "mail server; also --smtp-port, --smtp-security, --smtp-user, "
        "--smtp-password, --smtp-from"
    },
    "[user]": {"default": "admin"},
    "channel": {"choices": list(SENDERS)},
    "shell": {"choices": ("bash", "zsh")},
}
THE_DATABASE, *SERVED = SETTINGS


class Command(NamedTuple):
    """What is typed, what it does, its arguments, and whether a database has to be there."""

    words: str
    help: str
    call: Callable[..., int | None]
    arguments: Sequence[str] = ()
    database: str = "old"  # or it may be new; or none


def _serve(server: Server, options: argparse.Namespace) -> None:
    server.run()


SAVED = ("key", *FIELDS, "--no-schedule", "--armed", "--rule", "--handle [SERVICE:]TEXT", "--json")
ADDED = ("channel", "name", "target", "--header 'NAME: VALUE'", "--not-default")
COMMANDS = [
    Command("serve", "run the server; CRONWATCH_LISTEN is --listen", _serve, SERVED, "new"),
    Command("status", "what is down, late or running, and what is due next", _show_status),
    Command("doctor", "say what is wrong before it hurts; 1 where something is", _run_doctor),
    Command(
        "events",
        "what happened last, and who was told of it",
        _list_events,
        ("[key]", "--limit N", "--json"),
    ),
    Command("monitor add", "expect a job from now on", _add_monitor, SAVED, "new"),
    Command("monitor edit", "change what is named; 0 or '' takes it away", _edit_monitor, SAVED),
    Command(
        "monitor list",
        "list all monitors, those in trouble first",
        _list_monitors,
        ("--json", "--keys"),
    ),
    Command("monitor show", "how one does, and what pings it", _show_monitor, ("key", "--json")),
    Command(
        "monitor pause",
        "no alerts until resumed",
        _pause_monitor,
        ("key", "--for TIME", "--hours N"),
    ),
    Command("monitor resume", "end a pause", _pause_monitor, ("key",)),
    Command("monitor remove", "delete one with all that was recorded", _remove, ("key", "--yes")),
    Command("integration add", "tell somebody of alerts", _add_integration, ADDED, "new"),
    Command("integration list", "list who is told", _list, ("--json",)),
    Command("integration test", "send a test now", _test_integration, ("name",)),
    Command("integration remove", "delete one", _remove, ("name", "--yes")),
    Command(
        "key create",
        "print a new API key",
        _create_key,
        ("name", "--permission TEXT", "--secret TEXT"),
        "new",
    ),
    Command("key list", "list the API keys", _list, ("--json",)),
    Command("key revoke", "end an API key", _remove, ("name", "--yes")),
    Command(
        "import crontab",
        "show a monitor for each job of a crontab, or create it with --yes",
        _import_crontab,
        ("[file]", "--system", "--host NAME", "--yes"),
        "new",
    ),
    Command("export", "print monitors and integrations as JSON", _export, ("--secrets",)),
    Command(
        "apply",
        "make monitors and integrations as a file says",
        _apply,
        ("file", "--dry-run"),
        "new",
    ),
    Command("backup", "copy the database while it is in use", _back_up, ("copy",)),
    Command(
        "unit",
        "print a file for systemd; without a name, which there are",
        _print_unit,
        ("[unit]",),
        "none",
    ),
    Command(
        "completion",
        "print what lets a shell complete commands, flags and keys",
        _print_completion,
        ("shell",),
        "none",
    ),
    Command("user add", "let somebody sign in; asks for a password", _add_user, ("name",), "new"),
    Command("user passwd", "change a password; asks for it", _change_password, ("name",)),
    Command("user list", "list who may sign in", _list, ("--json",)),
    Command("user remove", "end an account", _remove, ("name", "--yes")),
    Command(
        "user link",
        "print a link that signs in once, within an hour",
        _make_link,
        ("[user]",),
        "new",
    ),
]


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
    one_of("text", "json").read("log_format", settings.log_format)
    one_of("debug", "info", "warning", "error").read("log_level", settings.log_level)
    handler = logging.StreamHandler()
    text = logging.Formatter("%(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(settings.log_level.upper() if serves else logging.WARNING)


def _add_argument(group: Any, spec: str) -> None:
    """Make an argument known to argparse: a flag alone is yes or no, [what] may be left out."""
    name, _, metavar = spec.partition(" ")
    more = {"help": ARGUMENTS[spec], **MORE.get(name, {})}
    if not name.startswith("-"):
        name, more["metavar"] = spec.strip("[]"), spec
        if spec != name:
            more["nargs"] = "?"
    elif metavar:
        more |= {"metavar": metavar, "type": TYPES.get(metavar, str)}
    elif "action" not in more:
        more |= {"action": "store_true", "default": None}
    group.add_argument(name, **more)


def _add_parser(add: Callable[..., argparse.ArgumentParser], name: str, **more: Any) -> Any:
    """A parser for what is below a name; without headings and -h its help fits a screen."""
    layout = partial(argparse.HelpFormatter, max_help_position=30, width=80)
    parser = add(name, add_help=False, formatter_class=layout, **more)
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    return parser


def make_parser() -> argparse.ArgumentParser:
    """The command line, from the tables of commands and arguments."""
    version = f"cronwatch {__version__}"
    usage = "cronwatch [--help] [--version] COMMAND ..."
    parser: argparse.ArgumentParser = _add_parser(
        argparse.ArgumentParser, "cronwatch", usage=usage, description="A monitor for cron jobs."
    )
    parser.add_argument(
        "-V", "--version", action="version", version=version, help=argparse.SUPPRESS
    )
    groups = {"": parser.add_subparsers(prog="cronwatch", metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, word = command.words.rpartition(" ")
        if group not in groups:
            text = "begin with what you have" if group == "import" else f"manage the {group}s"
            parent = _add_parser(groups[""].add_parser, group, help=text)
            groups[group] = parent.add_subparsers(metavar="COMMAND", required=True)
        names = [spec for spec in command.arguments if not spec.startswith("-")]
        named = _add_parser(
            groups[group].add_parser,
            word,
            help=command.help,
            description=command.help,
            usage=" ".join(["cronwatch", command.words, "[OPTIONS]", *names]),
        )
        named.set_defaults(command=command, group=group, word=word)
        options = named.add_argument_group()
        for spec in command.arguments:
            _add_argument(options, spec)
        if command.database != "none":
            _add_argument(options, THE_DATABASE)
    return parser


def default_database(
    places: Sequence[str] = ("cronwatch.db", "/var/lib/cronwatch/cronwatch.db"),
) -> str:
    """The database that is meant where none is named: the first that is there, else a new one."""
    return next(filter(os.path.exists, places), places[0])


def run_command(options: argparse.Namespace, clock: Callable[[], int]) -> int | None:
    """Do what a command line says; raises `Refused`."""
    command: Command = options.command
    if command.database == "none":
        return command.call(options)
    database = os.environ.get("CRONWATCH_DATABASE") or default_database()
    serves = options.word == "serve"
    settings = Settings.load(vars(options), {**os.environ, "CRONWATCH_DATABASE": database})
    start_log(settings, serves)
    is_new = not os.path.exists(settings.database)
    has_folder = os.access(os.path.dirname(settings.database) or ".", os.X_OK)
    if is_new and has_folder and command.database == "old":  # without one opening it says why
        raise Refused(
            f"there is no database {settings.database}: --database or CRONWATCH_DATABASE names it"
        )
    if command.database == "new" and not settings.timezone and host_timezone() is None:
        log.warning(UNKNOWN_ZONE)
    with contextlib.closing(Server(settings, clock)) as server:
        server.is_of_command = not serves
        if is_new:
            path = os.path.abspath(settings.database)
            if serves:
                log.info("%s is a new database", path)
            else:
                print(f"cronwatch: {path} is a new database", file=sys.stderr)
        return command.call(server, options)


def main(argv: Sequence[str] | None = None, clock: Callable[[], int] = system_clock) -> int:
    """Run a command; 0 where it went well, 1 where it was refused, 2 for a wrong flag. Where a
    signal would have ended another program quietly, what its shell would say: 128 and the signal.
    """
    try:
        try:
            options = make_parser().parse_args(argv)
            return run_command(options, clock) or 0
        finally:
            sys.stdout.flush()
    except (Refused, UnicodeEncodeError) as error:
        sentence = getattr(error, "sentence", "only text in UTF-8 can be taken")
        if getattr(error, "code", "") == "NOT_FOUND" and options.group:
            sentence += f" (see `cronwatch {options.group} list`)"
        print(f"cronwatch: {sentence}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody reads on, as behind `| head -1`; Python would try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

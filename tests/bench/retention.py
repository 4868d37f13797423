"""A year of monitors that are pinged every minute: how large the file becomes, and until when.

What is kept is kept by number of each monitor, or by age, so the rows of a year need not all be
written: the first pings are, until as many are there as are kept; then some hours of them now and
then, that as many are never too old, after which house is kept; and the failures of each week.
Each row is a copy of one that the server itself has left.
"""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import cronwatch

from . import files
from .plan import Plan
from .servers import Broken
from .table import Bar, Row

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
LOG = "The last lines of what a job has to say, as most of them say little. " * 15  # 1 KB
MONITORS, LARGEST_MB = 500, 500
SEEN: dict[str, str] = {  # what of each table is copied
    "ping": "kind = 'success'",
    "run": "state = 'success'",
    "run_log": "run IN (SELECT num FROM run WHERE state = 'success')",
    "event": "true",
    "alert": "true",
    "flip": "at > :begun",
}
LATER = ":shift + n.i * 60000"
OF_LAST_PINGS = "(SELECT max(num) FROM ping) - 60 * :count + n.i * :count + s.rowid"
OF_LAST_EVENTS = "(SELECT max(num) FROM event) - 2 * :count + s.rowid"
PINGED = ":last + n.i * :count + s.rowid"
HOUR = {  # of good runs: what changes from the row that is copied
    "ping": {"num": PINGED, "run": PINGED, "at": f"s.at + {LATER}"},
    "run": {
        "num": OF_LAST_PINGS,
        "started_at": f"s.started_at + {LATER}",
        "ended_at": f"s.ended_at + {LATER}",
    },
}
HOUR_OF_LOGS = {"run_log": {"run": OF_LAST_PINGS}}
FAILURES = {  # every monitor has failed, and recovered: two events that were told
    table: {"num": ":last + s.rowid"} | {name: f"s.{name} + :shift" for name in names}
    for table, *names in (
        ["event", "at", "told_at"],
        ["alert", "tried_at", "due_at"],
        ["flip", "at"],
    )
}
FAILURES["event"]["id"] = "s.id || ' ' || :shift"
FAILURES["alert"]["event"] = OF_LAST_EVENTS


class Year:
    """A server in this process whose clock goes by days, and a connection that writes for it."""

    def __init__(self, stack: ExitStack, database: Path, monitors: int) -> None:
        files.fill(database, 1, monitors)
        self.database, self.monitors = database, monitors
        self.begun = self.now = files.now_ms() + MINUTE_MS  # after what `fill` wrote
        self.server = stack.enter_context(
            closing(cronwatch.Server(cronwatch.Settings(database=str(database)), lambda: self.now))
        )
        self.db = stack.enter_context(closing(sqlite3.connect(database, isolation_level=None)))
        self.db.execute("PRAGMA synchronous = off")
        self.took: list[float] = []  # seconds for each housekeeping

    def ping(self, num: int, verb: str = "") -> None:
        """A real ping, with a log."""
        knock = cronwatch.read_ping_request(
            {
                "REQUEST_METHOD": "POST",
                "wsgi.input": io.BytesIO(LOG.encode()),
                "CONTENT_LENGTH": str(len(LOG)),
                "REMOTE_ADDR": "192.0.2.1",
                "HTTP_USER_AGENT": "cronwatch-exec",
            },
            cronwatch.Route("ping", [files.token(num), *verb.split("/")[1:]]),
        )
        self.server.act(cronwatch.record_ping, knock)

    def live_once(self) -> None:
        """Let every monitor fail and recover, which is told, and keep what that left to copy."""
        hook = {"url": "http://127.0.0.1:9/", "headers": {}, "secret": ""}
        self.server.act(cronwatch.create_integration, "ntfy", "me", hook, True)
        for verb in ("/fail", ""):
            self.now += MINUTE_MS
            for num in range(1, self.monitors + 1):
                self.ping(num, verb)
        self.db.execute(
            "UPDATE alert SET state = 'sent', tries = 1, result = 'HTTP 200', tried_at = due_at"
        )
        for table, which in SEEN.items():
            order = "run" if table == "run_log" else "num"
            self.db.execute(
                f"CREATE TEMP TABLE seen_{table} AS SELECT * FROM {table} "
                f"WHERE {which} ORDER BY {order}",
                {"begun": self.begun},
            )

    def copy(self, tables: Mapping[str, Mapping[str, str]], turns: int = 1) -> None:
        """Insert the rows that were kept again, so many times, with these columns changed."""
        self.db.execute("BEGIN IMMEDIATE")
        shift = {"turns": turns, "shift": self.now - self.begun, "count": self.monitors}
        for table, changed in tables.items():
            names = [row[1] for row in self.db.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(changed.get(name, f"s.{name}") for name in names)
            key = "run" if table == "run_log" else "num"
            last = files.ask(self.database, f"SELECT max({key}) FROM {table}")
            self.db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n "
                f"WHERE i + 1 < :turns) INSERT INTO {table} ({', '.join(names)}) "
                f"SELECT {values} FROM n, seen_{table} s",
                {**shift, "last": last},
            )
        self.db.execute("COMMIT")

    def write_hours(self, hours: int) -> None:
        """Hours of good runs, one a minute. Logs are only in the last ones: as many as are kept,
        and somewhat more."""
        for left in range(hours, 0, -1):
            has_log = left <= self.server.settings.keep_logs // 60 + 1
            self.copy(HOUR | HOUR_OF_LOGS if has_log else HOUR, 60)
            self.db.execute("UPDATE monitor SET ping_count = ping_count + 60")
            self.now += HOUR_MS

    def keep_house(self) -> None:
        began = time.perf_counter()
        self.server.housekeeping()
        self.took.append(time.perf_counter() - began)

    def size_mb(self) -> float:
        """What the file takes on the disk once its log is in it."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self.database.stat().st_size / 1e6

    def live(self, days: int, step: int) -> dict[int, float]:
        """As many pings as are kept, the last of them with as many logs, then so many days; the
        size at each step."""
        sizes: dict[int, float] = {}
        kept = self.server.settings
        self.write_hours(kept.keep_pings // 60 + 1)
        for day in range(step, days + 1, step):
            for before in range(day - step, day, 7):
                self.now = self.begun + before * DAY_MS
                self.copy(FAILURES)
            self.now = self.begun + day * DAY_MS
            self.write_hours(kept.keep_pings // (kept.keep_days // step) // 60 + 1)
            self.keep_house()
            sizes[day] = self.size_mb()
        return sizes


def check(year: Year) -> None:
    """That what is kept is what the settings say."""
    kept = year.server.settings
    pings, logs = (
        year.db.execute(sql).fetchall()
        for sql in (
            "SELECT count(*), max(ping_count) FROM ping JOIN monitor ON monitor.num = monitor "
            "GROUP BY monitor",
            "SELECT count(*) FROM run_log GROUP BY monitor",
        )
    )
    if set(pings) != {(kept.keep_pings, kept.keep_pings)}:
        raise Broken(f"of a monitor {min(pings)} to {max(pings)} pings are kept")
    if set(logs) != {(kept.keep_logs,)}:
        raise Broken(f"of a monitor {min(logs)} to {max(logs)} logs are kept")


def measure_retention(plan: Plan) -> Iterator[Row]:
    """The file over a year of monitors that are pinged every minute and fail each week."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("retention"))
        year = Year(stack, room / "cronwatch.db", plan.kept_monitors)
        year.live_once()
        sizes = year.live(plan.kept_days, plan.kept_step_days)
        check(year)
        first, last = min(sizes), plan.kept_days
        full = min(day for day in sizes if day >= year.server.settings.keep_days)
        what = f"file after {first} days, {plan.kept_monitors} monitors a minute"
        yield Row(what, sizes[first], "MB")
        yield Row(f"file after {full} days", sizes[full], "MB", sizes[first], f"after {first}")
        bar = Bar("<=", 1.05)
        yield Row(f"file after {last} days", sizes[last], "MB", sizes[full], f"after {full}", bar)
        largest = max(sizes.values())
        yield Row(
            f"file, the largest in that time, for {MONITORS} monitors",
            largest * MONITORS / plan.kept_monitors,
            "MB",
            bar=Bar("<", LARGEST_MB, "MB"),
            also=f"{plan.kept_monitors} have {largest:.0f} MB; what is kept is of each",
        )
        also = f"the longest {max(year.took):.1f} s"
        yield Row("housekeeping, once", median(year.took), "s", also=also)

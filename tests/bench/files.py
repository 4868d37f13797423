"""Databases with many monitors, filled by SQL: through the server a million would take an hour.

Each row is as the server itself would have left it. Monitors are told apart by their num alone:
all that is written here follows from it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import cronwatch

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
GRACE_SECONDS = 4_000_000  # longer than any interval: nothing falls due by itself meanwhile
ZONE = "Europe/Berlin"
CRONS = ["17 3 * * *", "30 2 * * *", "0 4 * * 1-5", "0 */6 * * *", "0 0 1 * *", "45 23 * * 0"]
CRONS += ["10 1,13 * * *", "@daily"]

FILL = """
WITH RECURSIVE counted (num) AS (
    SELECT :first UNION ALL SELECT num + 1 FROM counted WHERE num < :last)
INSERT INTO monitor (num, id, key, name, created_at, updated_at, cron, interval_seconds, timezone,
                     grace_seconds, status, life_at, counted_at, expected_at, due_at)
SELECT num, printf('00000000-0000-4000-9000-%012d', num), printf('job-%07d', num),
       printf('Job %d', num), life_at, life_at, cron, interval_seconds, :zone, :grace, 'up',
       life_at + spread, life_at + spread, expected_at + spread,
       expected_at + spread + 1000 * :grace + 1
FROM (SELECT *, CASE WHEN cron IS NULL THEN num * 7919 % 72000000 ELSE 0 END AS spread
      FROM counted JOIN plan ON plan.place = num % :plans)
"""
# Handles are random in life: here a multiplication scatters them, and both sides can do it.
HANDLES = """
INSERT INTO handle (text, monitor, kind)
SELECT printf('%08x-0000-4000-8000-%012x', num * 2654435761 % 4294967296, num), num, 'token'
FROM monitor WHERE num BETWEEN :first AND :last
UNION ALL
SELECT printf('%08x', num * 2246822519 % 4294967296), num, 'code'
FROM monitor WHERE num BETWEEN :first AND :last ORDER BY 1
"""

# cron, interval_seconds, life_at, expected_at
SchedulePlan = tuple["str | None", "int | None", int, int]


def token(num: int) -> str:
    """The token of a monitor that `fill` made."""
    return f"{num * 2654435761 % 2**32:08x}-0000-4000-8000-{num:012x}"


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def quiet_crons() -> list[str]:
    """Those that do not come round within an hour: a start has to look at one that does soon."""
    now = now_ms()
    return [cron for cron in CRONS if cronwatch.next_run(cron, ZONE, now) > now + HOUR_MS]


def ask(database: Path, sql: str, *given: object) -> int:
    """A number that is on disk."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return int(db.execute(sql, given).fetchone()[0])


def fill(database: Path, first: int, count: int, crons: Sequence[str] = ()) -> None:
    """Add `count` monitors from num `first` on, all up: daily intervals that expect nothing for
    the next hour, or these cron expressions in turn, each pinged at its last occurrence."""
    cronwatch.Server(cronwatch.Settings(database=str(database))).close()
    now = now_ms()
    plans = [_cron_plan(cron, now) for cron in crons]
    # `FILL` spreads the last signs of life of daily intervals over the 20 hours from then on.
    plans = plans or [(None, 86_400, now - 23 * HOUR_MS, now + HOUR_MS)]
    span = {"first": first, "last": first + count - 1, "zone": ZONE, "grace": GRACE_SECONDS}
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        for pragma in ("journal_mode = delete", "journal_mode = off", "synchronous = off"):
            db.execute(f"PRAGMA {pragma}")
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql "
            "NOT NULL AND tbl_name IN ('monitor', 'handle')"
        ).fetchall()
        db.execute("CREATE TEMP TABLE plan (place, cron, interval_seconds, life_at, expected_at)")
        for place, plan in enumerate(plans):
            db.execute("INSERT INTO plan VALUES (?, ?, ?, ?, ?)", (place, *plan))
        db.execute("BEGIN")
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        db.execute(FILL, {**span, "plans": len(plans)})
        db.execute(HANDLES, span)
        for _, sql in indexes:  # far quicker afterwards
            db.execute(sql)
        db.execute("COMMIT")


def _cron_plan(cron: str, now: int) -> SchedulePlan:
    """A cron monitor that had its sign of life at the last occurrence."""
    last = cronwatch.run_before(cron, ZONE, now, now - 40 * DAY_MS) or now - 40 * DAY_MS
    return cron, None, last, cronwatch.next_run(cron, ZONE, last)


def change(database: Path, sql: str, **values: int) -> None:
    """Change something in one immediate transaction, beside a server that may run."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level="IMMEDIATE")) as db, db:
        db.execute(sql, values)


def let_come_round(database: Path, first: int, count: int) -> None:
    """Let monitors still wait for the occurrence that was last, as at the moment of their ping.
    A server that starts skips that again: it was not there to hear of it."""
    change(
        database,
        "UPDATE monitor SET status = 'up', down_reason = NULL, down_since = NULL, "
        "expected_at = life_at, counted_at = life_at - 3600000, "
        "life_at = life_at - 3600000, due_at = life_at + 1000 * grace_seconds + 1 "
        "WHERE num BETWEEN :first AND :last",
        first=first,
        last=first + count - 1,
    )


def let_fall_due(database: Path, first: int, count: int, at: int, step_ms: int = 0) -> None:
    """Let the deadlines of monitors pass at an instant (ms), each `step_ms` after the one before:
    `at` is when it is broken, so the deadline itself lies a millisecond before."""
    change(
        database,
        "UPDATE monitor SET status = 'up', down_reason = NULL, down_since = NULL, "
        "due_at = :at + (num - :first) * :step, "
        "expected_at = :at + (num - :first) * :step - 1 - 1000 * grace_seconds, "
        "counted_at = :at - 2 * 86400000 - 1000 * grace_seconds, "
        "life_at = :at - 2 * 86400000 - 1000 * grace_seconds "
        "WHERE num BETWEEN :first AND :last",
        first=first,
        last=first + count - 1,
        at=at,
        step=step_ms,
    )

"""What the management API takes for a page, however long the list is that it is taken from."""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import cronwatch

from . import files
from .plan import Plan
from .servers import Broken
from .table import Bar, Row

REQUESTS = 15  # of each page, in turn with the same queries without us
PAGE = 50
RUNS_EACH = 40  # of the monitors in a summary, which shows 30

PINGS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO ping (monitor, kind, at, run, dialect, address, user_agent, duration_ms)
SELECT 1, 'success', :first + 1000 * n, n, 'cronping', '192.0.2.1', 'curl/8.0', n % 9000
FROM counted
"""
RUNS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :count)
INSERT INTO run (num, monitor, state, started_at, ended_at, opened, awaited, duration_ms)
SELECT n, 1 + n % :monitors, CASE n % 10 WHEN 0 THEN 'failed' ELSE 'success' END,
       :first + 1000 * n, :first + 1000 * n + 500, 1, 0, n % 9000 FROM counted
"""


def write_history(database: Path, pings: int, runs: int, monitors: int) -> None:
    """Give the first monitor so many pings, a second apart, and the first ones runs in turn."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = off")
        db.execute("BEGIN")
        first = files.now_ms() - 1000 * max(pings, runs)
        db.execute(PINGS, {"count": pings, "first": first})
        db.execute("UPDATE monitor SET ping_count = ? WHERE num = 1", (pings,))
        db.execute(RUNS, {"count": runs, "first": first, "monitors": monitors})
        db.execute("COMMIT")


class Asked:
    """A server in this process, asked without a network between: its share alone is timed."""

    def __init__(self, database: Path) -> None:
        self.server = cronwatch.Server(
            cronwatch.Settings(database=str(database), api_rate_limit=0)
        )
        self.key = self.server.act(cronwatch.create_key, "bench", "read-only")
        self.raw = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self.etag = ""  # of the last answer

    def close(self) -> None:
        """Let go of the database."""
        self.raw.close()
        self.server.close()

    def ask(self, target: str, **headers: str) -> float:
        """How long a request takes, in milliseconds, its answer made and read to the end."""
        path, _, query = target.partition("?")
        seen: list[tuple[str, list[tuple[str, str]]]] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "REQUEST_URI": target,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "HTTP_X_API_KEY": self.key,
            **headers,
        }
        began = time.perf_counter()
        parts = self.server.app(environ, lambda *said: seen.append(said[:2]))
        body = b"".join(parts)
        took = 1000 * (time.perf_counter() - began)
        ((status, found),) = seen
        if not status.startswith(("200", "304")):
            raise Broken(f"{target} is answered {status}: {body[:200]!r}")
        self.etag = dict(found).get("ETag", "")
        return took

    def queries(self, target: str) -> list[str]:
        """What a request reads, as SQL with its values."""
        said: list[str] = []
        reader: Any = self.server.store.reader
        connect = reader._connect

        def traced() -> Any:
            connection = connect()
            connection.set_trace_callback(said.append)
            return connection

        reader._connect = traced
        try:
            self.ask(target)
        finally:
            del reader._connect
        return [sql for sql in said if sql.startswith("SELECT")]

    def raw_ms(self, queries: list[str]) -> float:
        """How long the same takes in sqlite3 alone."""
        began = time.perf_counter()
        for sql in queries:
            self.raw.execute(sql).fetchall()
        return 1000 * (time.perf_counter() - began)


fresh = count(1)  # a query that was not asked yet has no answer that is kept


def page_row(asked: Asked, what: str, target: str, varies: str = "") -> Row:
    """A page beside its own queries, in turns."""
    queries = asked.queries(f"{target}{varies and f'{varies}{next(fresh)}'}")
    seen = [
        (asked.ask(f"{target}{varies and f'{varies}{next(fresh)}'}"), asked.raw_ms(queries))
        for _ in range(REQUESTS)
    ]
    took, raw = (median(column) for column in zip(*seen, strict=True))
    return Row(
        "lists",
        what,
        took,
        "ms",
        raw,
        f"{len(queries)} queries in sqlite3",
        Bar("<", 20, "ms"),
        f"of {REQUESTS} requests, the longest {max(one for one, _ in seen):.1f} ms",
    )


def unchanged_row(asked: Asked, what: str, target: str) -> Row:
    """The answer to who has the summary already."""
    asked.ask(target)
    took = median(asked.ask(target, HTTP_IF_NONE_MATCH=asked.etag) for _ in range(REQUESTS))
    return Row("lists", what, took, "ms", bar=Bar("<", 20, "ms"), also=f"of {REQUESTS} requests")


def measure_lists(plan: Plan) -> Iterator[Row]:
    """Pages of long lists, the first and deep ones, and the summary; at the server."""
    with plan.room("lists") as room:
        database = room / "cronwatch.db"
        files.make(database)
        files.fill(database, 1, plan.listed)
        write_history(database, plan.history, RUNS_EACH * plan.monitors, plan.monitors)
        monitors, pings = "/api/v1/heartbeats", f"/api/v1/heartbeats/{name_of_first()}/pings"
        with closing(Asked(database)) as asked:
            for offset in (0, plan.listed - PAGE):
                yield page_row(
                    asked,
                    f"{plan.listed:,} monitors, page at {offset:,}",
                    f"{monitors}?offset={offset}",
                )
            for offset in (0, plan.history // 2, plan.history - PAGE):
                yield page_row(
                    asked,
                    f"{plan.history:,} pings of one, page at {offset:,}",
                    f"{pings}?offset={offset}",
                )
            summary = f"/api/v1/summary?limit={plan.monitors}"
            yield page_row(asked, f"summary of {plan.monitors:,} monitors", summary, "&fresh=")
            yield unchanged_row(asked, "the same where nothing has changed", summary)


def name_of_first() -> str:
    """The key of the first monitor that is filled in."""
    return f"job-{1:07d}"

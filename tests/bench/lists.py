"""What the management API takes for a page, however long the list is that it is taken from, and a
browser for the list of monitors, in script of its own."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from live_server import serving
from webtest import TestRequest

import cronwatch

from . import files
from .plan import Plan
from .servers import Broken
from .table import Bar, Row, medians

REQUESTS = 15  # of each page, in turn with the same queries without us
PAGE = 50
RUNS_EACH = 40  # of the monitors in a summary, which shows 30
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COOKIE, EMPTY = "cronwatch_session", "/healthz"

PINGS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :pings)
INSERT INTO ping (monitor, kind, at, run, dialect, address, user_agent, duration_ms)
SELECT 1, 'success', :first + 1000 * n, n, 'cronping', '192.0.2.1', 'curl/8.0', n % 9000
FROM counted
"""
RUNS = """
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :runs)
INSERT INTO run (num, monitor, state, started_at, ended_at, opened, awaited, duration_ms)
SELECT n, 1 + n % :monitors, CASE n % 10 WHEN 0 THEN 'failed' ELSE 'success' END,
       :first + 1000 * n, :first + 1000 * n + 500, 1, 0, n % 9000 FROM counted
"""


def write_history(database: Path, pings: int, monitors: int) -> None:
    """Give the first monitor so many pings, a second apart, and the first ones runs in turn."""
    runs = RUNS_EACH * monitors
    values = {"pings": pings, "runs": runs, "monitors": monitors}
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("PRAGMA synchronous = off")
        values["first"] = files.now_ms() - 1000 * max(pings, runs)
        db.execute(PINGS, values)
        db.execute("UPDATE monitor SET ping_count = ? WHERE num = 1", (pings,))
        db.execute(RUNS, values)


class Asked:
    """A server in this process, asked without a network between: its share alone is timed."""

    def __init__(self, database: Path) -> None:
        settings = cronwatch.Settings(database=str(database), api_rate_limit=0)
        self.server = cronwatch.Server(settings)
        self.key = self.server.act(cronwatch.create_key, "bench", "read-only")
        self.raw = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self.etag = ""  # of the last answer

    def close(self) -> None:
        """Let go of the database."""
        self.raw.close()
        self.server.close()

    def ask(self, target: str, **headers: str) -> float:
        """How long a request takes, in milliseconds, its answer made and read to the end."""
        request = TestRequest.blank(target, headers={"X-Api-Key": self.key, **headers})
        request.environ["REQUEST_URI"] = target
        began = time.perf_counter()
        status, found, parts = request.call_application(self.server.app)
        body = b"".join(parts)
        took = 1000 * (time.perf_counter() - began)
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


def page_row(asked: Asked, what: str, target: str) -> Row:
    """A page beside its own queries, in turns."""
    targets = (target.format(number) for number in fresh)
    queries = asked.queries(next(targets))
    seen = [(asked.ask(next(targets)), asked.raw_ms(queries)) for _ in range(REQUESTS)]
    took, raw = medians(seen)
    also = f"of {REQUESTS} requests, the longest {max(one for one, _ in seen):.1f} ms"
    rival = f"{len(queries)} queries in sqlite3"
    return Row(what, took, "ms", raw, rival, Bar("<", 20, "ms"), also)


def measure_lists(plan: Plan) -> Iterator[Row]:
    """Pages of long lists, the first and deep ones, and the summary; at the server."""
    with plan.room("lists", plan.listed) as room:
        database = room / "cronwatch.db"
        write_history(database, plan.history, plan.monitors)
        monitors, summary = "/api/v1/heartbeats", f"/api/v1/summary?limit={plan.monitors}"
        with closing(Asked(database)) as asked:
            for offset in (0, plan.listed - PAGE):
                what = f"{plan.listed:,} monitors, page at {offset:,}"
                yield page_row(asked, what, f"{monitors}?offset={offset}")
            for offset in (0, plan.history // 2, plan.history - PAGE):
                what = f"{plan.history:,} pings of one, page at {offset:,}"
                yield page_row(asked, what, f"{monitors}/job-0000001/pings?offset={offset}")
            what = f"summary of {plan.monitors:,} monitors"
            yield page_row(asked, what, f"{summary}&fresh={{}}")
            asked.ask(summary)
            tags = {"If-None-Match": asked.etag}
            took = median(asked.ask(summary, **tags) for _ in range(REQUESTS))
            what, also = "the same where nothing has changed", f"of {REQUESTS} requests"
            yield Row(what, took, "ms", bar=Bar("<", 20, "ms"), also=also)


def script_ms(browser: Any, url: str, token: str, path: str, rows: int) -> float:
    """How long a page runs script, collects garbage included, until it shows so many rows."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": COOKIE, "value": token, "url": url}])
    page = context.new_page()
    page.goto(f"{url}{EMPTY}")  # in the process that the profile is taken in
    session = context.new_cdp_session(page)
    session.send("Profiler.enable")
    session.send("Profiler.setSamplingInterval", {"interval": 500})
    session.send("Profiler.start")
    page.goto(f"{url}{path}")
    page.wait_for_function(
        "count => document.querySelectorAll('.row').length >= count", arg=rows, polling=100
    )
    page.wait_for_load_state("networkidle")
    profile = session.send("Profiler.stop")["profile"]
    context.close()
    aside = {
        node["id"]
        for node in profile["nodes"]
        if node["callFrame"]["functionName"] in ("(idle)", "(program)", "(root)")
    }
    samples = zip(profile["samples"], profile["timeDeltas"], strict=True)
    return float(sum(took for node, took in samples if node not in aside)) / 1000


def sign_in(database: Path) -> str:
    """The token of somebody's session."""
    with closing(cronwatch.Server(cronwatch.Settings(database=str(database)))) as server:
        server.act(cronwatch.add_user, "bench", None)
        token: str = server.act(lambda tx: cronwatch.open_session(tx, 1, None))["token"]
    return token


def measure_page(plan: Plan) -> Iterator[Row]:
    """The dashboard with many monitors in Chromium, beside an empty page."""
    what = f"script of the page, {plan.monitors:,} monitors with their runs"
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None or find_spec("playwright") is None:
        yield Row(what, also="there is no Chromium, or no playwright")
        return
    from playwright.sync_api import sync_playwright

    with plan.room("page", plan.monitors) as room:
        write_history(room / "cronwatch.db", 1, plan.monitors)
        token = sign_in(room / "cronwatch.db")
        with serving(room) as live, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            pages = (("/", plan.monitors), (EMPTY, 0))
            seen = [
                [script_ms(browser, live.url, token, path, rows) for path, rows in pages]
                for _ in range(plan.starts)
            ]
            browser.close()
    took, rival = medians(seen)
    also = f"median of {plan.starts}, the longest {max(one for one, _ in seen):.0f} ms"
    yield Row(what, took, "ms", rival, "for an empty page", Bar("<", 300, "ms"), also)

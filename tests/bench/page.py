"""What a browser takes for the list of monitors, in script of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

from live_server import serving

import cronwatch

from . import files, lists
from .plan import Plan
from .table import Bar, Row

NAMES = ("chromium", "chromium-browser", "google-chrome")
COOKIE, EMPTY = "cronwatch_session", "/healthz"


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


def sign_in(database: str) -> str:
    """The token of somebody's session."""
    server = cronwatch.Server(cronwatch.Settings(database=database))
    server.act(cronwatch.add_user, "bench", None)
    token: str = server.act(lambda tx: cronwatch.open_session(tx, 1, None))["token"]
    server.close()
    return token


def measure_page(plan: Plan) -> Iterator[Row]:
    """The dashboard with many monitors in Chromium, beside an empty page."""
    what = f"script of the page, {plan.monitors:,} monitors with their runs"
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or find_spec("playwright") is None:
        yield Row("page", what, also="there is no Chromium, or no playwright")
        return
    from playwright.sync_api import sync_playwright

    with plan.room("page") as room:
        files.make(room / "cronwatch.db")
        files.fill(room / "cronwatch.db", 1, plan.monitors)
        lists.write_history(
            room / "cronwatch.db", 1, lists.RUNS_EACH * plan.monitors, plan.monitors
        )
        token = sign_in(str(room / "cronwatch.db"))
        with serving(room) as live, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            seen = [
                (
                    script_ms(browser, live.url, token, "/", plan.monitors),
                    script_ms(browser, live.url, token, EMPTY, 0),
                )
                for _ in range(plan.starts)
            ]
            browser.close()
    took, rival = (median(column) for column in zip(*seen, strict=True))
    yield Row(
        "page",
        what,
        took,
        "ms",
        rival,
        "for an empty page",
        Bar("<", 300, "ms"),
        f"median of {plan.starts}, the longest {max(one for one, _ in seen):.0f} ms",
    )

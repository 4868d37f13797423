"""What the server does by itself: its queries, its scans, its starts and its end."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import NOW, Made, Site
from live_server import Live, run, serving, wait_for
from trouble import ping

import cronwatch

HOUR, DAY = 3_600_000, 86_400_000
DAILY: dict[str, Any] = {"interval_seconds": 86_400}
LATE = 3600 + 300 + 90  # seconds after which an hourly monitor is missed


def up(site: Site, **columns: Any) -> Made:
    """A monitor that is heard now."""
    job = site.monitor(**columns)
    assert site.get(f"/{job.token}").status_int == 200
    return job


def many(site: Site, count: int, **columns: Any) -> None:
    """So many monitors that are heard now: one, and copies of its row without handles."""
    up(site, key="copied", **columns)
    names = [name for name in site.monitors[0] if name not in ("num", "id", "key", "name")]
    site.rows(
        f"WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT ?) "
        f"INSERT INTO monitor (id, key, name, {', '.join(names)}) SELECT 'id-' || i, "
        f"'job-' || i, 'Job ' || i, {', '.join(names)} FROM monitor, n WHERE key = 'copied'",
        count,
    )
    site.rows("DELETE FROM monitor WHERE key = 'copied'")


def statements(site: Site, call: Callable[[], Any]) -> list[str]:
    """What the writer and this thread's reader said to SQLite meanwhile."""
    said: list[str] = []
    with site.server.store.reader.connection_context():  # else each read has one of its own
        for go in (site.server.act, site.server.read):
            go(lambda tx: tx.db.set_trace_callback(said.append))
        said.clear()
        call()
        found = [" ".join(text.split()) for text in said]
        for go in (site.server.act, site.server.read):
            go(lambda tx: tx.db.set_trace_callback(None))
    return found


def queries(said: list[str]) -> list[str]:
    """The statements without those that only bracket them."""
    brackets = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "PRAGMA", "--")
    return [text for text in said if not text.startswith(brackets)]


def plan_of(site: Site, sql: str) -> list[str]:
    """The steps in which SQLite would run a statement, asked of a reader of the server."""
    explain = f"EXPLAIN QUERY PLAN {sql}"
    return [row[-1] for row in site.server.read(lambda tx: list(tx.db.execute(explain)))]


def heavy_steps(site: Site, said: list[str]) -> list[str]:
    """The steps of their plans that cost more, the more pings, runs, events or monitors there are.

    A page and a count may walk along an index, or along the rows in their order."""
    found = []
    for text in queries(said):
        walks = re.search(r"LIMIT \d+|SELECT count\(|integration", text, re.IGNORECASE)
        grows = re.search(r'FROM "?(ping|run|event|alert)\b', text)
        for step in plan_of(site, text):
            scans = re.match(r"SCAN (?!i$|integration|sqlite_sequence)(?!.*INDEX)", step)
            if (grows and "TEMP B-TREE" in step) or (scans and not walks):
                found.append(f"{step}: {text}")
    return found


# the scan


def test_a_scan_takes_all_that_is_due_25_monitors_a_transaction(site: Site) -> None:
    many(site, 1203)
    site.clock.move(LATE)

    said = statements(site, site.server.scan)

    assert site.rows("SELECT status, count(*) AS n FROM monitor GROUP BY status") == [
        {"status": "down", "n": 1203}
    ]
    batches = "".join(
        "C" if text == "COMMIT" else "m"
        for text in said
        if text == "COMMIT" or re.match("UPDATE monitor ", text, re.IGNORECASE)
    )
    assert [size for size in map(len, batches.split("C")) if size] == [25] * 48 + [3]


def test_an_absence_asks_the_index_of_deadlines_whom_it_touches(site: Site) -> None:
    many(site, 50, interval_seconds=86_400)
    up(site, interval_seconds=7200)

    said = queries(statements(site, lambda: site.server.away(NOW + HOUR, NOW + 3 * HOUR)))

    assert [step for step in plan_of(site, said[0]) if re.match("SCAN monitor", step)] == [
        "SCAN monitor USING COVERING INDEX monitor_due"
    ]  # a million of its entries take 30 ms
    assert len(said) < 10


def test_the_scan_reads_the_index_of_deadlines_and_nothing_else(site: Site) -> None:
    many(site, 50)
    (asked,) = queries(statements(site, site.server.scan))

    plan = plan_of(site, asked)

    assert re.fullmatch(
        r"SEARCH monitor USING (COVERING )?INDEX monitor_due \(due_at>\? AND due_at<\?\)", plan[0]
    )
    assert plan[1:] == ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"]  # of those at one instant


def test_a_whole_scan_of_bad_monitors_cannot_stop_the_others(site: Site) -> None:
    many(site, cronwatch.SCAN_LIMIT)
    up(site, key="good", interval_seconds=3660)
    site.rows("UPDATE monitor SET digests = '{' WHERE key != 'good'")
    site.clock.move(LATE)

    site.server.scan()

    assert site.monitors[-1]["status"] == "down"


# how many queries it takes


def test_a_ping_takes_this_many_queries(site: Site) -> None:
    job = up(site)
    site.clock.move(60)

    said = queries(statements(site, lambda: site.get(f"/{job.token}")))

    # The handle, the monitor with the next number, its open and its last run; then three rows.
    verbs = sorted(text.split()[0].upper() for text in said)
    assert verbs == ["INSERT"] * 2 + ["SELECT"] * 3 + ["UPDATE"]


VERBS = ("", "/start", "/fail", "/log", "/complete", "/ok", "/7")


@pytest.mark.parametrize("verb", [*VERBS, "?rid=0b2d0a3c-0000-4000-8000-000000000001"])
def test_a_ping_costs_no_more_the_more_is_stored(site: Site, verb: str) -> None:
    job = up(site)

    said = statements(site, lambda: site.get(f"/{job.token}{verb}"))

    assert heavy_steps(site, said) == []


def fill(site: Site, count: int) -> Made:
    """So many monitors, and as many integrations, pings and events; the monitor that has them."""
    many(site, count)
    job = up(site, key=f"busy {count}")
    for n in range(count):
        site.server.act(cronwatch.create_integration, "slack", f"Slack {count} {n}", {})
        site.get(f"/{job.token}/fail")
        site.get(f"/{job.token}/ok")
    return job


PAGES = [
    "heartbeats?limit=100",
    "heartbeats/{id}/pings",
    "integrations",
    "events",
    "heartbeats?query=Job&status=up&limit=100",
    "heartbeats/{id}",
]
LISTS = [
    *PAGES,
    "heartbeats/{id}/runs",
    "heartbeats/{id}/events",
    "heartbeats/{id}/log",
    "heartbeats/{id}/uptime?days=1",
    "summary",
]


def list_queries(site: Site, path: str, count: int) -> list[str]:
    """What a list takes that has so many rows."""
    key, url = site.api_key(), f"/api/v1/{path.format(id=fill(site, count).id)}"
    return queries(statements(site, lambda: site.get(url, X_API_Key=key)))


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_as_many_queries_however_long_it_is(
    make_site: Callable[..., Site], path: str
) -> None:
    few, more = (list_queries(make_site(), path, count) for count in (2, 20))

    assert 0 < len(few) == len(more) < 20


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_a_list_costs_what_is_on_it(site: Site, path: str) -> None:
    assert heavy_steps(site, list_queries(site, path, 3)) == []


def test_an_idle_delivery_asks_an_index_once(site: Site) -> None:
    site.server.act(cronwatch.create_integration, "slack", "Slack", {})

    (asked,) = queries(statements(site, site.server.deliver))

    plan = plan_of(site, asked)
    assert any(re.search("INDEX alert_due", step) for step in plan)


# we were away: the outage


def test_a_large_outage_names_every_monitor_and_is_told_once(site: Site) -> None:
    many(site, 1001, interval_seconds=86_400)

    for _ in range(2):
        site.server.away(NOW + 23 * HOUR, NOW + 25 * HOUR)

    (event,) = site.rows("SELECT body FROM event")
    assert len(json.loads(event["body"])["monitors"]) == 1001


# we were away: a clock that goes backwards


def test_a_clock_that_went_backwards_leaves_nothing_behind_now(site: Site) -> None:
    site.clock.now = NOW + 30 * DAY
    job = site.monitor(interval_seconds=None, expects="complete", reminder_interval_seconds=3600)
    for verb in ("fail", "start"):
        site.get(f"/{job.token}/{verb}")
    site.clock.now = NOW

    site.server.away(NOW + 30 * DAY, NOW)

    (found,) = site.monitors
    assert (found["down_since"], found["due_at"]) == (NOW, NOW + HOUR)
    assert {run["started_at"] for run in site.runs} == {NOW}
    assert {row["at"] for row in site.rows("SELECT at FROM flip")} == {NOW}


# a server in a process of its own


def ms() -> int:
    return time.time_ns() // 1_000_000


def outages(live: Live) -> list[dict[str, Any]]:
    found = live.ask("GET", "/events").json["events"]
    return [event for event in found if event["kind"] == "outage"]


def test_a_run_that_was_open_when_the_server_was_killed_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        ping(live, live.add("nightly", intervalSeconds=86_400), "/start")
        assert live.stop(signal.SIGKILL)[0] == -signal.SIGKILL

    with serving(tmp_path) as live:
        states = [run["state"] for run in live.runs("nightly")]
        stopped_after = ms()

    with serving(tmp_path) as live:  # after a clean stop the gap begins with it
        (*_, absence) = live.rows("SELECT since FROM absence ORDER BY since")

    assert (states, absence["since"] >= stopped_after) == (["running"], True)


def earlier(folder: Path, hours_ago: float, **columns: Any) -> Site:
    """A site that nobody serves, with a monitor that was heard then."""
    site = Site(folder / "cronwatch.db")
    site.clock.now = ms() - round(hours_ago * HOUR)
    up(site, key="job", **columns)
    return site


def test_a_first_start_knows_no_gap(tmp_path: Path) -> None:
    earlier(tmp_path, 26, **DAILY).server.close()

    with serving(tmp_path, "--scan-seconds", "0.05") as live:
        missed = wait_for(lambda: live.events("job"), "what was missed")
        told_of = outages(live)

    assert ([event["kind"] for event in missed], told_of) == (["missed"], [])


def test_a_first_start_moves_no_time_that_has_just_passed(tmp_path: Path) -> None:
    site = earlier(tmp_path, 62 / 60)  # two minutes late, with five of grace
    expected = site.monitors[0]["expected_at"]
    site.server.close()

    with serving(tmp_path):
        pass

    assert site.monitors[0]["expected_at"] == expected


def test_a_long_absence_is_judged_before_requests_are_taken(tmp_path: Path) -> None:
    site = earlier(tmp_path, 26, **DAILY)
    site.clock.move(23 * 3600)
    site.server.act(cronwatch.stamp_alive)
    site.server.close()

    with serving(tmp_path, "--scan-seconds", "0.05") as live:
        told_of, status = outages(live), live.monitor("job")["status"]

    assert ([m["key"] for m in told_of[0]["monitors"]], status) == (["job"], "up")


# a second one


def serve(folder: Path, database: Path, port: str) -> tuple[int | None, str]:
    """How a start ends that must not be, which says nothing on standard output."""
    words = ("--database", str(database), "--listen", f"127.0.0.1:{port}")
    done = run(folder, "serve", *words)
    assert done.out == ""
    return done.code, done.err


@pytest.mark.parametrize("other_port", [False, True])
def test_a_second_server_of_a_database_is_refused_and_judges_nothing(
    tmp_path: Path, other_port: bool
) -> None:
    with serving(tmp_path) as live:
        ping(live, live.add("job"), "/start")
        before = live.ask("GET", "/heartbeats").json
        port = "0" if other_port else live.url.rpartition(":")[2]

        code, err = serve(tmp_path, live.database, port)

        assert code == 1
        assert re.search(r"another cronwatch serves .*cronwatch\.db already", err)
        assert live.ask("GET", "/heartbeats").json == before
        assert live.ask("GET", "/health").json["absences"] == []


def test_a_port_in_use_is_found_out_before_anything_is_judged(tmp_path: Path) -> None:
    site = Site(tmp_path / "other.db")
    site.monitor()
    site.server.act(cronwatch.remember, "alive_at", 1)
    with serving(tmp_path) as live, closing(site.server):
        code, err = serve(tmp_path, site.database, live.url.rpartition(":")[2])

        assert (code, "choose another port" in err) == (1, True)
        assert site.rows("SELECT * FROM absence") == []


# the end


@pytest.mark.slow
def test_a_server_is_away_from_the_signal_on_however_long_its_alerts_take(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        command = f"sleep 3; date +%s%3N >{tmp_path}/ended"
        live.quick("integration", "add", "command", "slow", command)
        ping(live, json.loads(live.quick("monitor", "add", "job", "--json")), "/fail")
        wait_for(lambda: live.rows("SELECT 1 FROM alert WHERE tried_at > 0"), "a try")
        live.stop()

        stamped = live.rows("SELECT value FROM meta WHERE name = 'alive_at'")[0]["value"]
    assert stamped < int((tmp_path / "ended").read_text())


def test_a_monitor_is_found_by_its_indexes(site: Site) -> None:
    """A million of them would hold up pings."""
    sql = f"EXPLAIN QUERY PLAN {cronwatch.MONITORS_SQL} WHERE {cronwatch.BY_ID_OR_KEY}"

    plan = site.server.read(lambda tx: tx.rows(sql, "job"))

    assert not any("SCAN" in step[-1] for step in plan), plan


def test_a_reader_sees_one_instant(site: Site) -> None:
    def look(tx: cronwatch.Transaction) -> list[int]:
        count = "SELECT count(*) FROM monitor"
        before = tx.value(count)
        site.monitor()
        return [before, tx.value(count)]

    counts = site.server.read(look)

    assert counts == [0, 0]

"""What is kept: so many days, so many pings and logs of a monitor, in steps that hold up no ping;
and a file that becomes smaller again."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import NOW, Made, Site

import cronwatch

LOG, PAGES = "x" * 100_000, "PRAGMA page_count"
STEP = cronwatch.PRUNE_LIMIT


def fill(site: Site, job: Made, count: int, log: str | None = None) -> None:
    """So many good runs with a ping each, a second apart, as pings would have left them."""
    site.rows(
        "INSERT INTO ping (monitor, kind, at, dialect) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL "
        "SELECT i + 1 FROM n WHERE i + 1 < ?) SELECT ?, 'success', ? + i * 1000, 'cronping' "
        "FROM n",
        count,
        job.num,
        NOW,
    )
    for sql in (
        "UPDATE ping SET run = num WHERE monitor = :job",
        "INSERT INTO run (num, monitor, state, started_at, ended_at, opened, awaited) "
        "SELECT num, monitor, 'success', at, at, 0, 0 FROM ping WHERE monitor = :job",
        f"UPDATE monitor SET ping_count = {count} WHERE num = :job",
        f"INSERT INTO run_log SELECT num, '{log}', monitor FROM run WHERE monitor = :job",
    ):
        if log or "run_log" not in sql:
            site.rows(sql.replace(":job", str(job.num)))


def nums(site: Site, table: str, job: Made) -> list[int]:
    """The pings, runs or logs of a monitor."""
    name = "run" if table == "run_log" else "num"
    sql = f"SELECT {name} AS num FROM {table} WHERE monitor = ? ORDER BY 1"
    return [row["num"] for row in site.rows(sql, job.num)]


def count(site: Site, sql: str) -> int:
    """A single number."""
    (found,) = site.rows(sql)
    return int(*found.values())


def after_each_commit(site: Site, sql: str) -> list[int]:
    """A list that grows by a number with each commit of the server."""
    seen = [count(site, sql)]
    site.server.store.count_commit = lambda size: seen.append(count(site, sql))
    return seen


def largest_step(seen: list[int]) -> int:
    return max(before - after for before, after in itertools.pairwise(seen))


# how much


def test_of_far_too_many_pings_and_runs_the_newest_are_kept(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(keep_pings=100)
    job, made = site.monitor(), 3 * STEP + 7
    fill(site, job, made)

    site.server.housekeeping()

    newest = list(range(made - 99, made + 1))
    assert (nums(site, "ping", job), nums(site, "run", job)) == (newest, newest)


# in small steps


@pytest.mark.parametrize("table", ["ping", "run", "run_log"])
@pytest.mark.parametrize("keep, days, kept", [(10, 0, 10), (0, 100, 0)])
def test_too_many_and_old_ones_go_in_small_steps(
    make_site: Callable[..., Site], table: str, keep: int, days: int, kept: int
) -> None:
    site = make_site(keep_pings=keep, keep_logs=keep)
    fill(site, site.monitor(), 3 * STEP, "log")
    site.clock.move(days * 86_400)
    seen = after_each_commit(site, f"SELECT count(*) FROM {table}")

    site.server.housekeeping()

    assert (seen[-1], largest_step(seen) <= STEP) == (kept, True)


# the file


def test_space_is_given_back_to_the_disk_in_small_steps(make_site: Callable[..., Site]) -> None:
    site = make_site(keep_logs=5)
    fill(site, site.monitor(), 200, LOG)
    seen = after_each_commit(site, "PRAGMA page_count")

    site.server.housekeeping()
    site.server.close()

    assert STEP / 2 < largest_step(seen) <= STEP + 10  # pages of the list of pages go along
    assert site.database.stat().st_size < 4096 * (cronwatch.FREE_PAGES + STEP + 300)


def test_space_that_is_soon_used_again_is_kept(make_site: Callable[..., Site]) -> None:
    site = make_site(keep_logs=5)
    fill(site, site.monitor(), 60, LOG)
    before = count(site, PAGES)

    site.server.housekeeping()

    assert count(site, "PRAGMA freelist_count") > 50 * 24
    assert count(site, PAGES) == before


def test_a_file_that_cannot_become_smaller_uses_its_space_again(site: Site) -> None:
    """As earlier versions made them."""
    site.server.close()
    with closing(sqlite3.connect(site.database)) as db:
        for sql in ("PRAGMA journal_mode = delete", "PRAGMA auto_vacuum = none", "VACUUM"):
            db.execute(sql)
    old = Site(site.database, keep_logs=5)
    with closing(old.server):
        first = old.monitor(key="first")
        fill(old, first, 200, LOG)
        before = count(old, PAGES)
        old.server.housekeeping()

        fill(old, old.monitor(key="second"), 150, LOG)

        assert (count(old, "PRAGMA auto_vacuum"), len(nums(old, "run_log", first))) == (0, 5)
        assert count(old, PAGES) == before


@pytest.mark.parametrize("name", ["cronwatch.db", "cronwatch.db-wal"])
def test_a_new_file_is_for_its_owner_alone(tmp_path: Path, name: str) -> None:
    with closing(Site(tmp_path / "cronwatch.db").server) as server:
        server.act(cronwatch.stamp_alive)

        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_mode_of_a_file_that_is_there_is_left_alone(site: Site) -> None:
    site.database.chmod(0o640)
    site.server.close()

    Site(site.database).server.close()

    assert site.database.stat().st_mode & 0o777 == 0o640


# as pings come


def open_runs(site: Site, job: Made, count: int, awaited: int) -> None:
    """So many runs that never end, each of a host of its own."""
    site.rows(
        "INSERT INTO run (num, monitor, state, started_at, host, opened, awaited) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "SELECT ? * 100000 + i, ?, 'running', ? - 1000000 + i, 'host' || i, 1, ? FROM n",
        count,
        job.num,
        job.num,
        NOW,
        awaited,
    )
    site.rows("UPDATE sqlite_sequence SET seq = 1000000 WHERE name = 'ping'")


def steps_of(site: Site, path: str) -> int:
    """How many steps of SQLite's machine a ping takes, each of which reads a row at most."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = site.server.store.db.connection()
    connection.set_progress_handler(step, 1)
    reply = site.get(path)
    connection.set_progress_handler(None, 1)
    assert reply.status_int == 200
    return steps


@pytest.mark.parametrize("awaited", [0, 1])
@pytest.mark.parametrize("word", ["start", "success", "fail", "log", "success?rid=x"])
def test_a_ping_costs_the_same_however_many_runs_never_end(
    site: Site, word: str, awaited: int
) -> None:
    few, many = site.monitor(), site.monitor()
    open_runs(site, few, 2500, awaited)
    open_runs(site, many, 5000, awaited)

    steps = [steps_of(site, f"/ping/{job.token}/{word}") for job in (few, many)]

    assert steps[1] < 1.1 * steps[0]


def test_the_oldest_and_the_newest_awaited_runs_are_watched(site: Site) -> None:
    job = site.monitor()
    open_runs(site, job, 5000, 1)
    life, _ = site.server.read(cronwatch.load_state, job.num)

    watched = {run.num - job.num * 100_000 for run in life.runs}

    assert watched == {*range(1, 101), *range(4901, 5001)}


def test_a_monitor_is_removed_in_steps(site: Site) -> None:
    job = site.monitor()
    fill(site, job, 3 * STEP)
    changes: list[int] = []
    site.server.store.count_commit = changes.append

    site.send("DELETE", f"/api/v1/heartbeats/{job.id}", headers={"X-API-Key": site.api_key()})

    assert len(changes) > 3
    assert (site.monitors, site.pings, site.runs) == ([], [], [])

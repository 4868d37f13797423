"""A database file that is gone, that is another one than before, or that is damaged.

No ping is acknowledged that goes where nobody will look for it, what is put in place is used
without a restart, and one damaged page does not silence the others (site/damage.txt)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Made, Site
from live_server import run, serving, wait_for
from trouble import ping, status_of

import cronwatch

HOUR = 3_600_000
PAGE = 4096  # bytes of a page of the file, SQLite's default


# a file that is gone, or another one


def gone(site: Site) -> None:
    """Delete the database with all that SQLite keeps beside it."""
    for path in site.database.parent.glob("cronwatch.db*"):
        path.unlink()


def alone(site: Site) -> None:
    """Delete the database, and leave its log."""
    site.database.unlink()


def emptied(site: Site) -> None:
    """Put an empty file in its place."""
    gone(site)
    site.database.touch()


def replaced(site: Site) -> None:
    """Put a backup without its pings in its place, as `mv` does it."""
    copy = site.database.with_name("backup.db")
    with closing(sqlite3.connect(site.database)) as db, closing(sqlite3.connect(copy)) as target:
        db.backup(target)
        target.execute("DELETE FROM ping")
        target.commit()
    copy.rename(site.database)


def statuses(site: Site, job: Made) -> list[int]:
    """How three pings are answered, one after the other."""
    return [site.get(f"/{job.token}/log").status_int for _ in range(3)]


@pytest.mark.parametrize("harm", [gone, alone, emptied, replaced])
def test_no_ping_is_acknowledged_whose_file_is_not_ours(
    site: Site, api_key: str, harm: Callable[[Site], None]
) -> None:
    job = site.monitor()
    before = statuses(site, job)
    harm(site)
    content = site.database.read_bytes() if site.database.exists() else None

    after = statuses(site, job)
    listed = site.get("/api/v1/heartbeats", X_API_Key=api_key).status_int

    assert (before, after, listed == 503 or harm is replaced) == ([200] * 3, [503] * 3, True)
    assert (site.database.read_bytes() if site.database.exists() else None) == content


def test_a_file_that_was_moved_away_has_all_that_was_acknowledged(site: Site) -> None:
    job = site.monitor()
    statuses(site, job)
    aside = site.database.with_name("aside.db")
    site.database.rename(aside)
    statuses(site, job)
    site.server.close()

    with closing(sqlite3.connect(aside)) as db:
        assert db.execute("SELECT count(*) >= 3 FROM ping").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_server_whose_file_is_replaced_says_so_and_ends(tmp_path: Path) -> None:
    with serving(tmp_path, "--scan-seconds", "0.1") as live:
        live.add("job")
        with closing(sqlite3.connect(live.database)) as db:
            db.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
        (tmp_path / "backup.db").rename(live.database)

        wait_for(lambda: live.process.poll() is not None, "its end")

        code, _ = live.stop()
        err = (tmp_path / "serve.err").read_text()
        assert (code, "another file" in err, "Traceback" in err) == (1, True, False)


@pytest.mark.slow
def test_the_next_start_on_an_older_file_tells_nothing_as_missed(tmp_path: Path) -> None:
    hour_ago = cronwatch.system_clock() - HOUR
    with serving(tmp_path) as live:
        ping(live, live.add("job"))
    with closing(sqlite3.connect(tmp_path / "cronwatch.db")) as db, db:  # a backup of an hour ago
        db.execute("UPDATE meta SET value = ? WHERE name = 'alive_at'", (hour_ago,))
        db.execute("UPDATE monitor SET expected_at = ?, due_at = ?", (hour_ago + 1, hour_ago + 2))

    with serving(tmp_path, "--scan-seconds", "0.1") as live:
        now = str(cronwatch.iso(cronwatch.system_clock()))
        wait_for(lambda: live.monitor("job")["expectedAt"] > now, "a judgement")

        assert live.monitor("job")["status"] == "up"


# a damaged page


def leaf_with(database: Path, table: str, text: str) -> int:
    """The number of a leaf page of a table that has a text in it."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'"
        leaves: list[int] = [number for (number,) in db.execute(sql, (table,))]
    content = database.read_bytes()
    pages = {number: content[(number - 1) * PAGE : number * PAGE] for number in leaves}
    return next(number for number, page in pages.items() if text.encode() in page)


def overwrite(database: Path, page: int) -> None:
    """Damage a page, and let who has the file open read it anew."""
    with open(database, "r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('touched', 1)")


class Damaged(NamedTuple):
    """A monitor whose open run is on a page of its own that was overwritten, and another one."""

    hurt: Made
    well: Made


def damaged(site: Site) -> Damaged:
    hurt, well = site.monitor(key="hurt"), site.monitor(key="well")
    site.get(f"/{hurt.code}/run?series=the-hurt-one&msg={'x' * 100}")
    for n in range(40):  # more than a page has room for
        site.get(f"/{well.code}/complete?series={n}&msg={'x' * 100}")
    overwrite(site.database, leaf_with(site.database, "run", "the-hurt-one"))
    return Damaged(hurt, well)


def test_a_damaged_page_is_logged_with_what_to_do_about_it_and_no_traceback(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.get(f"/{damaged(site).hurt.token}")
    by_ping = caplog.text
    site.clock.move(2 * 3600)
    with suppress(cronwatch.Refused):
        site.server.scan()

    assert ("damaged" in by_ping, "backup" in by_ping) == (True, True)
    assert [record for record in caplog.records if record.exc_info] == []


def root_of(site: Site, table: str) -> int:
    (found,) = site.rows("SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
    site.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(found["rootpage"])


@pytest.mark.parametrize("table", ["monitor", "api_key"])
def test_a_list_that_meets_a_damaged_page_is_answered_503(
    site: Site, api_key: str, table: str
) -> None:
    site.monitor()
    overwrite(site.database, root_of(site, table))

    answer = site.get("/api/v1/heartbeats", X_API_Key=api_key)

    assert (answer.status_int, "error" in answer.json) == (503, True)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["meta", "monitor"])
def test_a_start_that_a_damaged_page_keeps_from_working_says_what_to_do(
    tmp_path: Path, table: str
) -> None:
    site = Site(tmp_path / "cronwatch.db")
    site.get(f"/{site.monitor().token}")
    site.server.close()
    with open(site.database, "r+b") as file:
        file.seek((root_of(site, table) - 1) * PAGE)
        file.write(b"\xa5" * PAGE)

    done = run(tmp_path, "serve", "--database", str(site.database), "--listen", "127.0.0.1:0")

    words = {word: word in done.err for word in ("damaged", "backup", "Traceback")}
    assert (done.code, words) == (1, {"damaged": True, "backup": True, "Traceback": False})


@pytest.mark.slow
def test_a_server_starts_though_a_page_of_one_monitor_is_damaged(tmp_path: Path) -> None:
    site = Site(tmp_path / "cronwatch.db")
    jobs = damaged(site)
    site.server.close()

    with serving(tmp_path) as live:
        answers = [status_of(live, {"token": job.token}, "") for job in jobs]

    assert answers == [503, 200]

"""A database file that is gone, that is another one than before, or that is damaged.

No ping is acknowledged that goes where nobody will look for it, what is put in place is used
without a restart, and one damaged page does not silence the others."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import NOW, Made, Site
from live_server import run, serving, wait_for
from trouble import Watch, status_of

import cronwatch

HOUR = 3_600_000
PAGE = 4096  # bytes of a page of the file, SQLite's default


# a file that is gone, or another one


def back_up(site: Site) -> Path:
    """A copy of the database as it is now, as `sqlite3 FILE .backup` makes it."""
    copy = site.database.with_name("backup.db")
    with closing(sqlite3.connect(site.database)) as db, closing(sqlite3.connect(copy)) as target:
        db.backup(target)
    return copy


def files(site: Site) -> set[str]:
    """What is in the database's folder."""
    return {path.name for path in site.database.parent.iterdir()}


def gone(site: Site) -> None:
    """Delete the database with all that SQLite keeps beside it."""
    for path in site.database.parent.glob("cronwatch.db*"):
        path.unlink()


def statuses(site: Site, job: Made, count: int = 3) -> list[int]:
    """How pings are answered, one after the other."""
    return [site.get(f"/{job.token}/log").status_int for _ in range(count)]


@pytest.mark.parametrize("alone", [True, False], ids=["the file", "all that belongs to it"])
def test_no_ping_is_acknowledged_whose_file_is_gone(site: Site, alone: bool) -> None:
    job = site.monitor()
    statuses(site, job)
    if alone:
        site.database.unlink()
    else:
        gone(site)

    assert statuses(site, job) == [503] * 3


def test_no_empty_file_is_made_where_the_database_is_gone(site: Site, api_key: str) -> None:
    job = site.monitor()
    statuses(site, job)
    gone(site)

    statuses(site, job)
    site.get("/api/v1/heartbeats", X_API_Key=api_key)

    assert "cronwatch.db" not in files(site)


def test_a_list_from_a_file_that_is_gone_is_answered_503(site: Site, api_key: str) -> None:
    gone(site)

    assert site.get("/api/v1/heartbeats", X_API_Key=api_key).status_int == 503


def test_a_file_that_comes_back_is_written_again_without_a_restart(site: Site) -> None:
    job = site.monitor()
    copy = back_up(site)
    gone(site)
    refused = statuses(site, job)
    shutil.copy(copy, site.database)

    statuses(site, job, 1)  # may be refused
    before = len(site.pings)

    assert (refused, statuses(site, job), len(site.pings) - before) == ([503] * 3, [200] * 3, 3)


def test_a_file_that_was_moved_away_and_back_has_lost_nothing(site: Site) -> None:
    job = site.monitor()
    statuses(site, job)
    site.database.rename(site.database.with_name("aside.db"))
    refused = statuses(site, job)
    site.database.with_name("aside.db").rename(site.database)

    assert (refused, statuses(site, job), len(site.pings)) == ([503] * 3, [200] * 3, 6)


def test_a_file_that_was_moved_away_for_another_has_all_that_was_acknowledged(site: Site) -> None:
    job, copy = site.monitor(), back_up(site)
    statuses(site, job)
    site.database.rename(site.database.with_name("aside.db"))
    copy.rename(site.database)
    statuses(site, job)

    with closing(sqlite3.connect(site.database.with_name("aside.db"))) as aside:
        assert aside.execute("SELECT count(*) FROM ping").fetchone() == (3,)


def replaced(site: Site, copy: Path) -> None:
    """Put a backup in the database's place, as `mv` does it."""
    copy.rename(site.database)


def test_pings_go_on_in_a_file_that_was_put_in_place(site: Site) -> None:
    job = site.monitor()
    copy = back_up(site)
    statuses(site, job)
    replaced(site, copy)
    statuses(site, job, 1)  # may be refused

    assert (statuses(site, job), site.kinds[-3:]) == ([200] * 3, ["log"] * 3)


def test_every_ping_acknowledged_after_a_file_was_put_in_place_is_in_it(site: Site) -> None:
    job = site.monitor()
    copy = back_up(site)
    statuses(site, job, 5)
    replaced(site, copy)

    acknowledged = statuses(site, job, 10).count(200)
    site.server.close()

    assert len(site.pings) == acknowledged > 0


def test_a_file_that_was_put_in_place_is_whole(site: Site, api_key: str) -> None:
    job = site.monitor()
    copy = back_up(site)
    for _ in range(20):
        site.monitor()
    replaced(site, copy)
    site.get("/api/v1/heartbeats", X_API_Key=api_key)
    statuses(site, job)
    site.server.close()

    assert site.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert len(site.monitors) == 1


def test_reading_does_not_change_a_file_that_was_put_in_place(site: Site, api_key: str) -> None:
    site.monitor()
    copy = back_up(site)
    statuses(site, site.monitor())
    before = copy.read_bytes()
    replaced(site, copy)

    site.get("/api/v1/heartbeats", X_API_Key=api_key)

    assert site.database.read_bytes() == before


def test_who_is_known_is_what_the_file_that_was_put_in_place_knows(site: Site) -> None:
    old = site.monitor()
    copy = back_up(site)
    new = site.monitor()
    site.rows("DELETE FROM monitor WHERE num = ?", old.num)
    found = statuses(site, old, 1) + statuses(site, new, 1)
    replaced(site, copy)
    statuses(site, old, 1)  # may be refused

    assert (found, statuses(site, old, 1) + statuses(site, new, 1)) == ([404, 200], [200, 404])


def test_an_old_backup_that_is_put_in_place_tells_no_false_alert(site: Site) -> None:
    watch, job = Watch(site), site.monitor()
    site.get(f"/{job.token}")
    site.server.act(cronwatch.stamp_alive)
    copy = back_up(site)
    for _ in range(24):
        watch.quiet(3600)
        site.get(f"/{job.token}")
    replaced(site, copy)

    for _ in range(3):
        watch.look()

    assert "missed" not in site.events


def test_a_silence_after_a_backup_was_put_in_place_is_told(site: Site) -> None:
    watch, job = Watch(site), site.monitor()
    site.get(f"/{job.token}")
    replaced(site, back_up(site))

    for _ in range(80):
        watch.look(60)

    assert site.events == ["missed"]


def test_an_empty_file_in_place_of_the_database_is_answered_503(site: Site) -> None:
    job = site.monitor()
    gone(site)
    site.database.touch()

    assert statuses(site, job) == [503] * 3


@pytest.mark.slow
def test_a_server_whose_file_is_deleted_goes_on_with_its_backup(tmp_path: Path) -> None:
    with serving(tmp_path, "--scan-seconds", "0.1") as live:
        shown = live.add("job")
        with (
            closing(sqlite3.connect(live.database)) as db,
            closing(sqlite3.connect(tmp_path / "backup.db")) as copy,
        ):
            db.backup(copy)
        for path in tmp_path.glob("cronwatch.db*"):
            path.unlink()
        refused = [status_of(live, shown) for _ in range(5)]
        (tmp_path / "backup.db").rename(live.database)

        wait_for(lambda: status_of(live, shown) == 200, "a ping that is heard")

        assert (refused, len(live.pings("job"))) == ([503] * 5, 1)


# a damaged page


def leaf_with(database: Path, table: str, text: str) -> int:
    """The number of a leaf page of a table that has a text in it."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
        ).fetchone()
    content = database.read_bytes()

    def leaves(number: int) -> Iterator[int]:
        page = content[(number - 1) * PAGE : number * PAGE]
        if page[0] == 13:  # a leaf of a table; 5 has pages below it
            yield number
            return
        assert page[0] == 5
        for cell in range(int.from_bytes(page[3:5], "big")):
            at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell], "big")
            yield from leaves(int.from_bytes(page[at : at + 4], "big"))
        yield from leaves(int.from_bytes(page[8:12], "big"))

    return next(
        number
        for number in leaves(root)
        if text.encode() in content[(number - 1) * PAGE : number * PAGE]
    )


def overwrite(database: Path, page: int) -> None:
    """Damage a page, and let who has the file open read it anew."""
    with open(database, "r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('touched', 1)")


class Damaged(NamedTuple):
    """A site with a monitor whose open run is on a page of its own that was overwritten."""

    site: Site
    hurt: Made
    well: Made


@pytest.fixture
def make_damaged(make_site: Callable[..., Site]) -> Callable[..., Damaged]:
    def make(site: Site | None = None) -> Damaged:
        site = site or make_site()
        hurt, well = site.monitor(key="hurt"), site.monitor(key="well")
        site.get(f"/{hurt.code}/run?series=the-hurt-one&msg={'x' * 100}")
        for n in range(40):  # more than a page has room for
            site.get(f"/{well.code}/complete?series={n}&msg={'x' * 100}")
        overwrite(site.database, leaf_with(site.database, "run", "the-hurt-one"))
        return Damaged(site, hurt, well)

    return make


@pytest.fixture
def damaged(make_damaged: Callable[..., Damaged]) -> Damaged:
    return make_damaged()


def test_a_ping_that_meets_a_damaged_page_is_answered_503(damaged: Damaged) -> None:
    assert damaged.site.get(f"/{damaged.hurt.token}").status_int == 503


def test_pings_that_meet_no_damaged_page_go_on(damaged: Damaged) -> None:
    damaged.site.get(f"/{damaged.hurt.token}")
    before = len(damaged.site.pings)

    answers = statuses(damaged.site, damaged.well)

    assert (answers, len(damaged.site.pings) - before) == ([200] * 3, 3)


def test_a_damaged_page_is_logged_with_what_to_do_about_it(
    damaged: Damaged, caplog: pytest.LogCaptureFixture
) -> None:
    damaged.site.get(f"/{damaged.hurt.token}")

    assert "damaged" in caplog.text
    assert "backup" in caplog.text


def test_a_damaged_page_is_logged_without_a_traceback(
    damaged: Damaged, caplog: pytest.LogCaptureFixture
) -> None:
    damaged.site.get(f"/{damaged.hurt.token}")
    damaged.site.clock.move(2 * 3600)
    with suppress(cronwatch.Refused):
        damaged.site.server.scan()

    assert caplog.records
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_ping_that_meets_a_damaged_page_makes_no_absence_of_the_others(damaged: Damaged) -> None:
    watch = Watch(damaged.site)
    damaged.site.get(f"/{damaged.well.code}/run?series=long")
    damaged.site.get(f"/{damaged.hurt.token}")

    watch.look()

    (found,) = damaged.site.rows("SELECT state FROM run WHERE series = 'long'")
    assert (found["state"], damaged.site.events) == ("running", [])


def test_a_damaged_page_of_one_monitor_stops_no_alert_of_another(damaged: Damaged) -> None:
    watch = Watch(damaged.site)

    for _ in range(70):
        watch.look(60)

    told = damaged.site.rows(
        "SELECT e.kind FROM event e JOIN monitor m ON m.num = e.monitor WHERE m.key = 'well'"
    )
    assert told == [{"kind": "missed"}]


def test_a_damaged_page_of_one_monitor_keeps_no_other_from_being_judged_after_an_absence(
    damaged: Damaged,
) -> None:
    damaged.site.clock.move(5 * 3600)

    damaged.site.server.away(NOW, damaged.site.clock.now)
    damaged.site.server.scan()

    (kept,) = damaged.site.rows("SELECT expected_at FROM monitor WHERE key = 'well'")
    assert (kept["expected_at"], "missed" in damaged.site.events) == (NOW + 6 * HOUR, False)


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

    assert (done.code, "damaged" in done.err, "backup" in done.err, "Traceback" in done.err) == (
        1,
        True,
        True,
        False,
    )


@pytest.mark.slow
def test_a_server_starts_though_a_page_of_one_monitor_is_damaged(
    tmp_path: Path, make_damaged: Callable[..., Damaged]
) -> None:
    damaged = make_damaged(Site(tmp_path / "cronwatch.db"))
    damaged.site.server.close()

    with serving(tmp_path) as live:
        answers = {
            key: status_of(live, {"token": job.token}, verb)
            for key, job, verb in (("hurt", damaged.hurt, ""), ("well", damaged.well, ""))
        }

    assert answers == {"hurt": 503, "well": 200}

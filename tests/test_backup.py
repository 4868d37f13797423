"""`cronwatch backup`: a whole copy of a database in use, or none; and how it comes back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from killing import unsound
from live_server import DIRECT, LIMIT_SECONDS, Done, call, in_thread, serving, wait_for
from trouble import add, status_of

import cronwatch


def back_up(site: Site, copy: Path) -> Done:
    return call("backup", str(copy), "--database", str(site.database))


def ask(copy: Path, sql: str) -> list[Any]:
    """What a copy holds, opened by itself."""
    with closing(sqlite3.connect(copy)) as db:
        return db.execute(sql).fetchall()


def content(database: Path) -> dict[str, list[Any]]:
    """All rows of all tables."""
    tables = ask(database, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name: sorted(ask(database, f"SELECT * FROM {name}"), key=repr) for (name,) in tables}


@pytest.fixture
def busy(site: Site) -> Site:
    """A site with something in each table that a person would miss."""
    job = site.monitor(key="nightly", handles={"old-handle": "cronitor"})
    site.post(f"/ping/{job.token}/fail", "the end of the log")
    site.get(f"/{job.token}")
    site.api_key("read-only")
    add(site, "webhook", "http://127.0.0.1:9/")
    assert call("user", "link", "ann", "--database", str(site.database)).code == 0
    return site


def test_the_copy_is_whole_sound_and_for_its_owner_alone(busy: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    done = back_up(busy, copy)

    advice = "to restore it, stop cronwatch and move it in place"
    assert done == (0, f"{copy} is a whole copy: {advice}\n", "")
    assert content(copy) == content(busy.database)
    assert ask(copy, "PRAGMA auto_vacuum") == [(2,)]  # it can become smaller, too
    assert ([path.name for path in tmp_path.iterdir()], copy.stat().st_mode & 0o777) == (
        ["copy.db"],
        0o600,
    )
    with closing(sqlite3.connect(copy)) as db:
        assert unsound(db) == []


# refused


def test_a_name_that_something_has_is_refused(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("of yesterday")

    done = back_up(site, copy)

    assert done == (1, "", f"cronwatch: {copy} is there already: choose another name\n")
    assert copy.read_text() == "of yesterday"


@pytest.mark.parametrize("copy", ["nowhere/copy.db", "file/copy.db"])
def test_a_folder_that_is_none_is_refused(site: Site, tmp_path: Path, copy: str) -> None:
    (tmp_path / "file").touch()

    done = back_up(site, tmp_path / copy)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"cronwatch: cannot back up {site.database} as {tmp_path}/{copy}: ")


def test_a_damaged_database_gives_no_copy(busy: Site, tmp_path: Path) -> None:
    (page,) = busy.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'ping'")
    busy.server.close()
    with busy.database.open("r+b") as file:
        file.seek((page["rootpage"] - 1) * 4096)
        file.write(b"\xff" * 4096)

    done = back_up(busy, tmp_path / "copy.db")

    assert (done.code, done.out, "malformed" in done.err) == (1, "", True)
    assert not (tmp_path / "copy.db").exists()


# in use


@pytest.mark.slow
def test_copies_made_while_pings_come_are_each_whole(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    is_over = threading.Event()
    with serving(tmp_path) as live:
        shown = live.add("busy")

        def ping_on() -> None:
            while not is_over.is_set():
                acknowledged.append(status_of(live, shown))

        def more_than(count: int) -> Callable[[], bool]:
            return lambda: len(acknowledged) > count

        with in_thread(ping_on):
            try:
                for turn in range(4):
                    wait_for(more_than(50 * turn), "pings")
                    before, copy = len(acknowledged), tmp_path / f"{turn}.db"
                    live.quick("backup", str(copy))
                    ((pings, count),) = ask(
                        copy, "SELECT (SELECT count(*) FROM ping), ping_count FROM monitor"
                    )
                    assert before <= pings == count
                    with closing(sqlite3.connect(copy)) as db:
                        assert unsound(db) == []
            finally:
                is_over.set()

    assert set(acknowledged) == {200}


@pytest.mark.slow
def test_a_copy_in_place_of_the_database_brings_all_back(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        made = live.add("nightly")
        live.quick("monitor", "edit", "nightly", "--handle", "cronitor:old")
        DIRECT.open(f"{live.url}/{made['token']}/fail", b"the end of the log").close()
        live.cli("backup", str(tmp_path / "copy.db"))
        live.quick("monitor", "remove", "nightly")
    subprocess.run(["mv", "copy.db", "cronwatch.db"], cwd=tmp_path, check=True)
    with serving(tmp_path) as live:
        restored, log = live.monitor("nightly"), live.rows("SELECT content FROM run_log")
        handles = (made["token"], f"ping/{made['code']}", "old")
        replies = [DIRECT.open(f"{live.url}/{one}", timeout=LIMIT_SECONDS) for one in handles]

        assert (restored["id"], restored["status"]) == (made["id"], "down")
        assert log == [{"content": "the end of the log"}]
        assert [reply.status for reply in replies] == [200, 200, 200]
        for reply in replies:
            reply.close()


def test_a_copy_that_an_upgrade_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cronwatch.db")) as db:
        db.executescript((Path(__file__).parent / "fixtures" / "parts-2.sql").read_text())

    call("monitor", "list", "--database", str(tmp_path / "cronwatch.db"))

    (copy,) = tmp_path.glob("*.before-*")
    assert copy.stat().st_mode & 0o777 == 0o600


# a copy put in place after a kill


def pings_of(copy: Path, log: Path, folder: Path) -> int:
    """What a start finds of a copy where a database was, beside whose log it was killed."""
    database = folder / "cronwatch.db"
    shutil.copy(copy, database)
    shutil.copy(log, f"{database}-wal")
    with closing(cronwatch.Store(str(database))):
        return int(ask(database, "SELECT count(*) FROM ping")[0][0])


def test_the_log_of_the_file_before_is_not_read_into_a_copy(site: Site, tmp_path: Path) -> None:
    job = site.monitor()
    site.get(f"/{job.token}")
    assert back_up(site, tmp_path / "copy.db").code == 0
    site.get(f"/{job.token}")  # in the log

    assert pings_of(tmp_path / "copy.db", Path(f"{site.database}-wal"), tmp_path) == 1
    assert (tmp_path / "cronwatch.db-wal.old").read_bytes()


def test_a_file_keeps_its_own_log(site: Site, tmp_path: Path) -> None:
    site.get(f"/{site.monitor().token}")

    assert pings_of(site.database, Path(f"{site.database}-wal"), tmp_path) == 1

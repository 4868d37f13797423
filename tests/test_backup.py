"""`cronwatch backup`: a whole copy of a database in use, or none; and how it comes back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from killing import unsound
from live_server import (
    DIRECT,
    LIMIT_SECONDS,
    Done,
    Live,
    call,
    in_thread,
    serving,
    wait_for,
)

import cronwatch


def back_up(site: Site, copy: Path) -> Done:
    return call("backup", str(copy), "--database", str(site.database))


def ask(copy: Path, sql: str) -> list[Any]:
    """What a copy holds, opened by itself."""
    with closing(sqlite3.connect(copy)) as db:
        return db.execute(sql).fetchall()


def content(database: Path) -> dict[str, list[Any]]:
    """All rows of all tables."""
    tables = [
        name
        for (name,) in ask(
            database,
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            " AND name != 'sqlite_sequence' ORDER BY name",
        )
    ]
    return {name: sorted(ask(database, f"SELECT * FROM {name}"), key=repr) for name in tables}


def busy(site: Site) -> Site:
    """A site with something in each table that a person would miss."""
    job = site.monitor(key="nightly", handles={"old-handle": "cronitor"})
    site.post(f"/ping/{job.token}/fail", "the end of the log")
    site.get(f"/{job.token}")
    site.api_key("read-only")
    for words in (
        ("integration", "add", "webhook", "Hook", "http://127.0.0.1:9/"),
        ("user", "link", "ann"),
    ):
        assert call(*words, "--database", str(site.database)).code == 0
    return site


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_copy_is_whole_sound_and_for_its_owner_alone(site: Site, tmp_path: Path) -> None:
    busy(site)
    copy = tmp_path / "copy.db"

    done = back_up(site, copy)

    advice = "to restore it, stop cronwatch and move it in place"
    assert done == (0, f"{copy} is a whole copy: {advice}\n", "")
    assert content(copy) == content(site.database)
    assert ask(copy, "PRAGMA auto_vacuum") == [(2,)]  # it can become smaller, too
    assert (names(tmp_path), copy.stat().st_mode & 0o777) == (["copy.db"], 0o600)
    with closing(sqlite3.connect(copy)) as db:
        assert unsound(db) == []


# refused


def test_a_name_that_something_has_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("of yesterday")

    done = back_up(site, tmp_path / "copy.db")

    assert (done.code, done.out, done.err) == (
        1,
        "",
        f"cronwatch: {tmp_path}/copy.db is there already: choose another name\n",
    )
    assert (tmp_path / "copy.db").read_text() == "of yesterday"


@pytest.mark.parametrize("copy", ["nowhere/copy.db", "file/copy.db"])
def test_a_folder_that_is_none_is_refused(site: Site, tmp_path: Path, copy: str) -> None:
    (tmp_path / "file").touch()

    done = back_up(site, tmp_path / copy)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"cronwatch: cannot back up {site.database} as {tmp_path}/{copy}: ")


def test_a_damaged_database_gives_no_copy(site: Site, tmp_path: Path) -> None:
    busy(site)
    (page,) = site.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'ping'")
    site.server.close()
    with site.database.open("r+b") as file:
        file.seek((page["rootpage"] - 1) * 4096)
        file.write(b"\xff" * 4096)

    done = back_up(site, tmp_path / "copy.db")

    assert (done.code, done.out, "malformed" in done.err) == (1, "", True)
    assert not (tmp_path / "copy.db").exists()


# in use


def ping_until(live: Live, token: str, acknowledged: list[int], end: threading.Event) -> None:
    """Ping, one after the other, and count what was answered."""
    while not end.is_set():
        with DIRECT.open(f"{live.url}/{token}", timeout=LIMIT_SECONDS) as reply:
            assert reply.status == 200
        acknowledged.append(1)


@pytest.mark.slow
def test_copies_made_while_pings_come_are_each_whole(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        token, end = live.add("busy")["token"], threading.Event()
        acknowledged: list[int] = []
        counted: list[tuple[int, int, int, list[Any]]] = []
        with in_thread(lambda: ping_until(live, token, acknowledged, end)):
            try:
                for turn in range(4):
                    wait_for(partial(has_more, acknowledged, 50 * turn), "pings")
                    before = len(acknowledged)
                    live.quick("backup", str(tmp_path / f"{turn}.db"))
                    counted.append((before, *counts(tmp_path / f"{turn}.db")))
            finally:
                end.set()

    assert [faults for *_, faults in counted] == [[]] * 4
    assert all(before <= pings == kept for before, pings, kept, _ in counted)


def has_more(acknowledged: list[int], than: int) -> bool:
    return len(acknowledged) > than


def counts(copy: Path) -> tuple[int, int, list[Any]]:
    """The pings of a copy, how many its monitor says it has, and what SQLite finds wrong."""
    ((pings,),) = ask(copy, "SELECT count(*) FROM ping")
    ((kept,),) = ask(copy, "SELECT ping_count FROM monitor")
    with closing(sqlite3.connect(copy)) as db:
        return pings, kept, unsound(db)


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


def put_in_place(copy: Path, log: Path, folder: Path) -> Path:
    """A copy where a database was, beside whose log the server was killed."""
    database = folder / "cronwatch.db"
    shutil.copy(copy, database)
    shutil.copy(log, f"{database}-wal")
    return database


def test_the_log_of_the_file_before_is_not_read_into_a_copy(site: Site, tmp_path: Path) -> None:
    job = site.monitor()
    site.get(f"/{job.token}")
    assert back_up(site, tmp_path / "copy.db").code == 0
    site.get(f"/{job.token}")  # in the log
    database = put_in_place(tmp_path / "copy.db", Path(f"{site.database}-wal"), tmp_path)

    with closing(cronwatch.Store(str(database))):
        found = ask(database, "SELECT count(*) FROM ping")

    assert found == [(1,)]
    assert Path(f"{database}-wal.old").read_bytes()


def test_a_file_keeps_its_own_log(site: Site, tmp_path: Path) -> None:
    site.get(f"/{site.monitor().token}")
    database = put_in_place(site.database, Path(f"{site.database}-wal"), tmp_path)

    with closing(cronwatch.Store(str(database))):
        found = ask(database, "SELECT count(*) FROM ping")

    assert found == [(1,)]

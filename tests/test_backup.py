"""`cronwatch backup`: a whole copy of a database in use, or none; and how it comes back."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
    environment,
    in_thread,
    serving,
    wait_for,
)


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


def test_the_copy_has_every_row(site: Site, tmp_path: Path) -> None:
    busy(site)

    done = back_up(site, tmp_path / "copy.db")

    assert done.code == 0
    assert content(tmp_path / "copy.db") == content(site.database)


def test_the_copy_is_sound(site: Site, tmp_path: Path) -> None:
    back_up(busy(site), tmp_path / "copy.db")

    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert unsound(db) == []


def test_the_copy_can_become_smaller_too(site: Site, tmp_path: Path) -> None:
    back_up(site, tmp_path / "copy.db")

    assert ask(tmp_path / "copy.db", "PRAGMA auto_vacuum") == [(2,)]


def test_the_copy_is_for_its_owner_alone(site: Site, tmp_path: Path) -> None:
    back_up(site, tmp_path / "copy.db")

    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_beside_the_copy(site: Site, tmp_path: Path) -> None:
    back_up(site, tmp_path / "copy.db")

    assert names(tmp_path) == ["copy.db"]


def test_who_makes_a_copy_is_told_how_to_bring_it_back(site: Site, tmp_path: Path) -> None:
    done = back_up(site, tmp_path / "copy.db")

    assert (done.out, done.err) == (
        f"{tmp_path}/copy.db is a whole copy: to restore it, stop cronwatch and move it in "
        "place\n",
        "",
    )


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


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = call("backup", str(tmp_path / "copy.db"), "--database", str(tmp_path / "typo.db"))

    assert (done.code, done.out, names(tmp_path)) == (1, "", [])
    assert "typo.db" in done.err


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


# killed


COPYING = """
import signal, sys, cronwatch

def pause_at_the_copy(event, given):
    if event == "sqlite3.connect" and ".part" in str(given[0]):  # bytes, in Python 3.10
        print("copied, not checked", flush=True)
        signal.pause()

sys.addaudithook(pause_at_the_copy)
cronwatch.main(["backup", sys.argv[1], "--database", sys.argv[2]])
"""


@contextmanager
def half_done(site: Site, copy: Path) -> Iterator[None]:
    """A backup that has come halfway during the block, and is killed at its end."""
    with subprocess.Popen(
        [sys.executable, "-c", COPYING, str(copy), str(site.database)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "copied, not checked\n"
            yield
        finally:
            process.kill()
            assert process.wait(LIMIT_SECONDS) == -9


def test_one_that_is_killed_leaves_nothing_of_that_name(site: Site, tmp_path: Path) -> None:
    with half_done(busy(site), tmp_path / "copy.db"):
        pass

    assert "copy.db" not in names(tmp_path)


def test_the_next_one_works_where_one_was_killed(site: Site, tmp_path: Path) -> None:
    with half_done(busy(site), tmp_path / "copy.db"):
        pass

    done = back_up(site, tmp_path / "copy.db")

    assert (done.code, names(tmp_path)) == (0, ["copy.db"])
    assert content(tmp_path / "copy.db") == content(site.database)


def test_nobody_else_may_read_what_is_being_copied(site: Site, tmp_path: Path) -> None:
    with half_done(busy(site), tmp_path / "copy.db"):
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert modes == {"copy.db.part": 0o600}


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
def test_no_ping_fails_while_a_copy_is_made(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        token, end = live.add("busy")["token"], threading.Event()
        acknowledged: list[int] = []
        with in_thread(lambda: ping_until(live, token, acknowledged, end)):
            try:
                wait_for(lambda: len(acknowledged) > 20, "pings")
                live.quick("backup", str(tmp_path / "copy.db"))
                wait_for(lambda: len(acknowledged) > 40, "pings")
            finally:
                end.set()

        assert len(live.pings("busy")) == len(acknowledged)


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, dict[str, Any]]]:
    """A server on a copy that was put in place as the README says, and what it was a copy of:
    after the copy its monitor was removed."""
    folder = tmp_path_factory.mktemp("restored")
    with serving(folder) as live:
        shown = live.add("nightly")
        live.ask("POST", "/heartbeats/nightly/handles", {"handle": "old", "dialect": "cronitor"})
        DIRECT.open(f"{live.url}/{shown['token']}/fail", b"the end of the log").close()
        live.ask(
            "POST",
            "/integrations",
            {"channel": "ntfy", "name": "me", "url": "http://127.0.0.1:9/"},
        )
        live.cli("backup", str(folder / "copy.db"))
        live.quick("monitor", "remove", "nightly")
        key, port = live.key, live.url.rpartition(":")[2]
    subprocess.run(["mv", "copy.db", "cronwatch.db"], cwd=folder, check=True)
    with serving(folder, listen=f"127.0.0.1:{port}") as live:
        live.key = key
        yield live, shown


@pytest.mark.slow
def test_a_copy_in_place_of_the_database_brings_the_monitor_back(
    restored: tuple[Live, dict[str, Any]],
) -> None:
    live, shown = restored

    found = live.monitor("nightly")

    assert (found["id"], found["status"]) == (shown["id"], "down")


@pytest.mark.slow
@pytest.mark.parametrize("handle", ["{token}", "ping/{code}", "old"])
def test_a_copy_in_place_of_the_database_brings_its_handles_back(
    restored: tuple[Live, dict[str, Any]], handle: str
) -> None:
    live, shown = restored

    with DIRECT.open(f"{live.url}/{handle.format(**shown)}", timeout=LIMIT_SECONDS) as reply:
        assert reply.status == 200


@pytest.mark.slow
def test_a_copy_in_place_of_the_database_brings_the_log_back(
    restored: tuple[Live, dict[str, Any]],
) -> None:
    live, _ = restored

    assert live.rows("SELECT content FROM run_log") == [{"content": "the end of the log"}]


@pytest.mark.slow
def test_a_copy_in_place_of_the_database_brings_who_is_told_back(
    restored: tuple[Live, dict[str, Any]],
) -> None:
    live, _ = restored

    shown = live.ask("GET", "/integrations").json["integrations"]

    assert [one["name"] for one in shown] == ["me"]


def test_a_copy_that_an_upgrade_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cronwatch.db")) as db:
        db.executescript((Path(__file__).parent / "fixtures" / "parts-2.sql").read_text())

    call("monitor", "list", "--database", str(tmp_path / "cronwatch.db"))

    (copy,) = tmp_path.glob("*.before-*")
    assert copy.stat().st_mode & 0o777 == 0o600

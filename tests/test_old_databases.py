"""Databases that earlier versions made: newer code opens them, and everything is kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Site

import cronwatch

FIXTURES = Path(__file__).parent / "fixtures"
OLD = sorted(path.name for path in FIXTURES.glob("parts-*.sql"))
LATER = 1_772_458_015_000  # the last instant of the databases
KEY = "ck_app_12345_abcdef"
SESSION = "session of an old landing"


def ask(database: Path, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


def names(database: Path) -> list[str]:
    """The tables, but not SQLite's own."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [row["name"] for row in ask(database, sql)]


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of an old database."""
    database = tmp_path / "old.db"
    with closing(sqlite3.connect(database)) as db:
        db.executescript((FIXTURES / request.param).read_text())
    return database


@pytest.fixture
def before(old: Path) -> Path:
    """The same file as it was."""
    return Path(shutil.copy(old, old.with_name("before.db")))


@pytest.fixture
def site(old: Path, before: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The old database, opened."""
    monkeypatch.setattr("conftest.NOW", LATER)
    opened = Site(old)
    yield opened
    opened.server.close()


def test_there_is_one_of_each_landing() -> None:
    assert OLD == ["parts-2.sql", "parts-3.sql"]


def test_it_has_something_of_everything(old: Path) -> None:
    assert [name for name in names(old) if not ask(old, f"SELECT * FROM {name}")] == []


def test_it_is_of_today_once_it_was_opened(site: Site, old: Path) -> None:
    found = site.rows("PRAGMA user_version")

    assert found == [{"user_version": len(cronwatch.schema_parts())}]


def test_every_row_is_kept_as_it_was(site: Site, old: Path, before: Path) -> None:
    for name in names(before):
        rows = ask(before, f"SELECT * FROM {name} ORDER BY 1, 2")

        assert ask(old, f"SELECT {', '.join(rows[0])} FROM {name} ORDER BY 1, 2") == rows


def test_its_shape_is_that_of_a_new_one(site: Site, old: Path, folder: Path) -> None:
    def shape(database: Path) -> list[Any]:
        others = "SELECT type, name, sql FROM sqlite_master WHERE type != 'table'"
        tables = [ask(database, f"PRAGMA table_info({name})") for name in sorted(names(database))]
        return [ask(database, f"{others} ORDER BY type, name"), *tables]

    assert shape(old) == shape(folder / "empty.db")


def test_nothing_in_it_contradicts_itself(site: Site) -> None:
    assert site.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert site.rows("PRAGMA foreign_key_check") == []


def test_the_pings_of_each_monitor_are_counted(site: Site) -> None:
    counts = "SELECT count(*) FROM ping p WHERE p.monitor = m.num"

    assert site.rows(f"SELECT num FROM monitor m WHERE ping_count != ({counts})") == []


def test_its_keys_are_taken(site: Site) -> None:
    assert site.get("/api/v1/heartbeats", X_Api_Key=KEY).json["total"] == 6


@pytest.mark.parametrize("old", ["parts-3.sql"], indirect=True)
def test_who_was_signed_in_still_is(site: Site) -> None:
    shown = site.get("/api/v1/session", Authorization=f"Bearer {SESSION}").json

    assert shown["user"]["name"] == "anna"


def test_its_handles_ping(site: Site) -> None:
    handles = [row["text"] for row in site.rows("SELECT text FROM handle ORDER BY text")]

    assert {site.get(f"/ping/{handle}").status_int for handle in handles} == {200}


def test_its_monitors_have_no_uptime_before_they_were_made(site: Site) -> None:
    (window,) = site.get("/api/v1/heartbeats/mail/uptime", X_Api_Key=KEY).json["windows"]

    # Up at 12:02, missed at 13:03, up at 13:21:20 and failed at once; asked at 13:26:55.
    assert (window["upSeconds"], window["downSeconds"], window["unknownSeconds"]) == (
        3660,
        1100 + 335,
        120,
    )


def test_its_alerts_are_sent_on(site: Site) -> None:
    def send(*_: Any) -> cronwatch.Attempt:
        return cronwatch.Attempt("sent", "HTTP 200")

    states = "SELECT state, count(*) AS n FROM alert GROUP BY state ORDER BY state"
    before = site.rows(states)
    site.server.outbox.senders = {"webhook": send, "email": send}
    site.clock.move(3600)

    site.server.deliver()

    assert before == [{"state": "pending", "n": 16}, {"state": "sent", "n": 8}]
    assert site.rows(states) == [{"state": "sent", "n": 24}]


@pytest.mark.parametrize("old", ["parts-2.sql"], indirect=True)
def test_nobody_is_signed_in(site: Site) -> None:
    assert site.rows("SELECT count(*) AS n FROM user") == [{"n": 0}]
    assert site.rows("SELECT count(*) AS n FROM session") == [{"n": 0}]

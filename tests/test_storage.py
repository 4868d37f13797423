"""One file, one writer, many readers."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from trouble import limit_pages, make_room, write_much

import cronwatch

Job = Callable[[cronwatch.Transaction], Any]


def ask(tx: cronwatch.Transaction, sql: str, *given: Any) -> list[Any]:
    return list(tx.db.execute(sql, given).fetchall())


def note(name: str, value: int = 1) -> Job:
    """A job that writes a row by which it is known."""
    return lambda tx: ask(tx, "INSERT INTO meta VALUES (?, ?)", name, value)


def note_then(error: Exception) -> Job:
    """A job that writes a row and then goes wrong."""

    def job(tx: cronwatch.Transaction) -> None:
        ask(tx, "INSERT INTO meta VALUES ('half', 1)")
        raise error

    return job


def note_twice(tx: cronwatch.Transaction) -> None:
    """A job that a constraint stops half-way."""
    ask(tx, "INSERT INTO meta VALUES ('half', 1)")
    ask(tx, "INSERT INTO meta VALUES ('half', 2)")


def notes(site: Site) -> list[str]:
    """The rows that jobs have left, in the file itself."""
    return [
        row["name"][:20]
        for row in site.rows("SELECT name FROM meta WHERE name != 'alive_at' ORDER BY name")
    ]


# schema.sql and the models


UNREAD = {"counted_at"}  # of a version before


def columns_of(site: Site, table: str) -> list[tuple[str, str]]:
    """The columns of a table in schema.sql, each as a model would annotate it."""
    words = {"INTEGER": "int", "TEXT": "str"}
    return [
        (row["name"], words[row["type"]] + ("" if row["notnull"] or row["pk"] else " | None"))
        for row in site.rows(f"PRAGMA table_info({table})")
        if row["name"] not in UNREAD
    ]


@pytest.mark.parametrize("table, model", [("monitor", cronwatch.Monitor), ("run", cronwatch.Run)])
def test_a_model_has_the_columns_of_its_table_in_their_order(
    site: Site, table: str, model: Any
) -> None:
    fields = [(field.name, field.type) for field in dataclasses.fields(model)]

    assert fields == columns_of(site, table)


@pytest.mark.parametrize(
    "table, fields",
    [
        ("flip", cronwatch.Flip._fields),
        ("ping", set(cronwatch.Ping._fields) - {"metrics", "log"}),  # which its run keeps
    ],
)
def test_a_record_has_columns_of_its_table(site: Site, table: str, fields: Iterable[str]) -> None:
    assert set(fields) < {name for name, _ in columns_of(site, table)}


def test_every_table_is_strict(site: Site) -> None:
    lax = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict"

    assert site.rows(f"{lax} AND name NOT LIKE 'sqlite_%'") == []


# opening and migrating


class Jobs:
    """A folder with a schema.sql of one's own, and a database file made with it."""

    FIRST = (
        "CREATE TABLE job (num INTEGER PRIMARY KEY, name TEXT);",
        "INSERT INTO job (name) VALUES ('backup');",
    )
    SECOND = (
        "ALTER TABLE job ADD COLUMN tags TEXT;",
        "CREATE TABLE tag (name TEXT);",
        "UPDATE job SET tags = 'db; prod -- not a comment';",
    )

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, str(path / "jobs.db")

    def has(self, *parts: tuple[str, ...]) -> None:
        """Let schema.sql consist of these parts."""
        blocks = [f"-- part {n}\n\n" + "\n".join(part) for n, part in enumerate(parts, 1)]
        text = "\n\n".join(["-- Some words first.", *blocks])
        (self.path / "schema.sql").write_text(text, "utf-8")

    def open(self) -> None:
        """What a start does to the file."""
        cronwatch.Store(self.file).close()

    def ask(self, sql: str, file: str | Path | None = None) -> list[Any]:
        with closing(sqlite3.connect(file or self.file)) as db, db:
            return db.execute(sql).fetchall()

    @property
    def version(self) -> int:
        return int(self.ask("PRAGMA user_version")[0][0])

    @property
    def copies(self) -> list[Path]:
        ours = ("jobs.db", "jobs.db-wal", "jobs.db-shm", "schema.sql")
        return [path for path in self.path.iterdir() if path.name not in ours]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """A folder with a file that the first part alone has made."""
    monkeypatch.setattr(cronwatch, "DATA", tmp_path)
    found = Jobs(tmp_path)
    found.has(Jobs.FIRST)
    found.open()
    return found


def test_the_schema_that_is_shipped_numbers_its_parts_in_order(site: Site) -> None:
    text = (cronwatch.DATA / "schema.sql").read_text("utf-8")

    numbers = [int(number) for number in re.findall(r"^-- part (\d+)$", text, re.MULTILINE)]

    assert numbers == list(range(1, len(numbers) + 1))
    assert site.rows("PRAGMA user_version") == [{"user_version": len(numbers)}]


def test_a_file_is_brought_up_to_date_once(jobs: Jobs) -> None:
    before = jobs.copies
    jobs.has(Jobs.FIRST, Jobs.SECOND)

    jobs.open()
    jobs.open()

    assert jobs.ask("SELECT * FROM job") == [(1, "backup", "db; prod -- not a comment")]
    assert (jobs.version, before, len(jobs.copies)) == (2, [], 1)


def test_an_older_file_is_copied_before_it_is_changed(jobs: Jobs) -> None:
    jobs.has(Jobs.FIRST, Jobs.SECOND)
    with closing(sqlite3.connect(jobs.file)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("INSERT INTO job (name) VALUES ('only in the write-ahead log')")
        db.commit()

        jobs.open()

    (copy,) = jobs.copies
    assert jobs.ask("PRAGMA user_version", copy) == [(1,)]
    logged = (2, "only in the write-ahead log")
    assert jobs.ask("SELECT * FROM job", copy) == [(1, "backup"), logged]


def test_a_part_that_fails_leaves_the_file_as_it_was(jobs: Jobs) -> None:
    jobs.has(Jobs.FIRST, (*Jobs.SECOND, "INSERT INTO absent VALUES (1);"))

    with pytest.raises(cronwatch.Refused, match=re.escape(jobs.file)) as refused:
        jobs.open()

    assert "no such table: absent" in refused.value.sentence
    assert jobs.version == 1
    assert jobs.ask("SELECT * FROM job") == [(1, "backup")]
    assert jobs.ask("SELECT name FROM sqlite_schema WHERE type = 'table'") == [("job",)]
    jobs.has(Jobs.FIRST, Jobs.SECOND)
    jobs.open()
    assert jobs.version == 2


def test_a_file_from_a_newer_version_is_refused_with_a_sentence(jobs: Jobs) -> None:
    jobs.ask("PRAGMA user_version = 7")

    with pytest.raises(cronwatch.Refused, match="newer"):
        jobs.open()

    assert (jobs.version, jobs.copies) == (7, [])


def test_two_programs_that_start_at_once_migrate_once(jobs: Jobs) -> None:
    jobs.has(Jobs.FIRST, (*Jobs.SECOND, "INSERT INTO job (name) VALUES ('once');"))

    with ThreadPoolExecutor(4) as pool:
        for started in [pool.submit(jobs.open) for _ in range(4)]:
            started.result(20)

    assert jobs.ask("SELECT name FROM job") == [("backup",), ("once",)]


@pytest.mark.parametrize(
    "name, content",
    [
        ("letter.db", b"not a database, by any means" * 100),
        ("torn.db", b"SQLite format 3\0"),
        ("missing/cronwatch.db", None),
    ],
)
def test_a_file_that_is_no_database_is_refused_with_a_sentence(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content:
        path.write_bytes(content)

    with pytest.raises(cronwatch.Refused, match=re.escape(str(path))):
        cronwatch.Store(str(path))


# how the connections are set


WRITER = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "query_only": 0,
    "busy_timeout": 50,
}
READER = {"journal_mode": "wal", "synchronous": 2, "query_only": 1, "busy_timeout": 10_000}


def test_the_writer_has_these_pragmas(site: Site) -> None:
    for go, pragmas in ((site.server.act, WRITER), (site.server.read, READER)):
        found = {name: go(ask, f"PRAGMA {name}")[0][0] for name in pragmas}

        assert found == pragmas


def test_a_reader_cannot_write(site: Site) -> None:
    with pytest.raises(cronwatch.Refused, match="cannot be read"):
        site.server.read(note("sneaky"))

    assert notes(site) == []


def test_a_reader_holds_no_write_ahead_log_after_its_answer(site: Site, api_key: str) -> None:
    made = [site.monitor(name=f"Job {n}") for n in range(3)]
    for path in ("heartbeats", "integrations", "events", f"heartbeats/{made[0].id}/pings"):
        assert site.get(f"/api/v1/{path}?limit=1", X_API_Key=api_key).status_int in (200, 400)

    (outcome,) = site.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    assert (outcome["busy"], outcome["log"]) == (0, 0)


# one writer


def said_to_sqlite(site: Site) -> list[str]:
    """What is said from now on; it begins with the end of the transaction that asks for it."""
    said: list[str] = []
    site.server.act(lambda tx: tx.db.set_trace_callback(said.append))
    return said


def test_changes_that_are_made_together_share_a_commit(site: Site) -> None:
    said = said_to_sqlite(site)

    with site.server.store.together():
        for n in range(20):
            site.server.act(note(f"{n:02}"))

    assert (said.count("COMMIT"), len(notes(site))) == (2, 20)  # the trace's own, and ours


def test_a_transaction_begins_immediately(site: Site) -> None:
    said = said_to_sqlite(site)

    site.server.act(note("it"))

    assert [text for text in said if text.startswith("BEGIN")] == ["BEGIN IMMEDIATE"]


def test_a_write_is_on_disk_when_it_returns_and_not_before(site: Site) -> None:
    def write(tx: cronwatch.Transaction) -> list[str]:
        note("it")(tx)
        return notes(site)

    before = site.server.act(write)

    assert (before, notes(site)) == ([], ["it"])


OWN_FAULTS = [
    (note_then(cronwatch.Refused("no", "NO", 404)), cronwatch.Refused),
    (note_then(cronwatch.Invalid("no")), cronwatch.Invalid),
    (note_twice, sqlite3.IntegrityError),
    (note_then(ZeroDivisionError()), ZeroDivisionError),
]
BY_NAME = [error.__name__ for _, error in OWN_FAULTS]


@pytest.mark.parametrize("job, error", OWN_FAULTS, ids=BY_NAME)
def test_a_job_that_goes_wrong_is_undone_and_takes_no_other_with_it(
    site: Site, job: Job, error: type[Exception]
) -> None:
    with pytest.raises(error):
        site.server.act(job)
    alone = notes(site)

    with site.server.store.together():
        site.server.act(note("before"))
        with pytest.raises(error):
            site.server.act(job)
        site.server.act(note("later"))

    assert (alone, notes(site)) == ([], ["before", "later"])


# a disk without room


def test_a_disk_that_fills_up_loses_all_that_was_made_together(site: Site) -> None:
    limit_pages(site, 1)

    with pytest.raises(cronwatch.Unavailable), site.server.store.together():  # noqa: PT012
        site.server.act(note("before"))
        with pytest.raises(cronwatch.Unavailable):
            site.server.act(write_much)
        with pytest.raises(cronwatch.Unavailable):
            site.server.act(note("later"))

    assert notes(site) == []


def test_what_fits_is_written_again_at_once_and_all_with_room_again(site: Site) -> None:
    limit_pages(site, 1)
    with pytest.raises(cronwatch.Unavailable, match="cannot be written") as refused:
        site.server.act(write_much)

    site.server.act(note("small"))

    assert (refused.value.status, notes(site)) == (503, ["small"])
    make_room(site)
    site.server.act(write_much)
    assert len(notes(site)) == 2


def test_a_file_that_another_program_holds_for_too_long_is_answered_503(
    site: Site, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cronwatch, "PATIENCE_SECONDS", 0.1)
    job = site.monitor()
    with closing(sqlite3.connect(site.database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")

        refused = site.get(f"/{job.token}").status_int
        read = site.get("/api/v1/heartbeats", X_API_Key=api_key).status_int

    assert (refused, read, site.get(f"/{job.token}").status_int) == (503, 200, 200)


# what a kill left


def test_a_file_over_whose_checkpoint_the_server_was_killed_is_opened(tmp_path: Path) -> None:
    """The first page of a file says how long it will be before the last one is written."""
    path, torn = tmp_path / "cronwatch.db", tmp_path / "torn.db"
    cronwatch.Server(cronwatch.Settings(database=str(path))).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("INSERT INTO meta VALUES ('grown', ?)", ("x" * 1_000_000,))
        shutil.copy(path, torn)
        shutil.copy(f"{path}-wal", f"{torn}-wal")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb") as whole, torn.open("r+b") as begun:
        begun.write(whole.read(4096))
    with closing(cronwatch.Server(cronwatch.Settings(database=str(torn)))) as server:
        (grown,) = server.act(ask, "SELECT length(value) FROM meta WHERE name = 'grown'")
        assert grown == (1_000_000,)
        assert server.act(ask, "PRAGMA integrity_check") == [("ok",)]


# the end


def test_a_write_after_the_end_is_refused(site: Site) -> None:
    site.server.act(note("first"))
    for _ in range(2):
        site.server.close()

    with pytest.raises(cronwatch.Refused) as refused:
        site.server.act(note("late"))

    assert (refused.value.status, notes(site)) == (503, ["first"])


@pytest.mark.parametrize("version", [0, 3])
def test_another_programs_file_whose_tables_are_in_its_log_is_left_alone(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("PRAGMA journal_mode = wal")
        theirs.execute(f"PRAGMA user_version = {version}")
        theirs.execute("CREATE TABLE recipe (title TEXT)")

        with pytest.raises(cronwatch.Refused, match="another program's database"):
            cronwatch.Store(str(path))

        assert theirs.execute("SELECT name FROM sqlite_schema").fetchall() == [("recipe",)]
    assert [one.name for one in tmp_path.iterdir()] == ["theirs.db"]

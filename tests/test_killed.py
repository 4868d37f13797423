"""Killed: what a server holds to that was ended by `kill -9` at any moment.

By hand, and for as long as wanted:
CRONWATCH_KILLS=500 python -m pytest -s -m proof -k load tests/test_killed.py
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Site
from killing import (
    Listener,
    Play,
    Stage,
    Victim,
    disorder,
    ids_heard,
    listening,
    living_site,
    look,
    peek,
    seed,
    told_twice,
    unheard,
    unsound,
    victim,
    wrong_alerts,
    wrong_events,
    wrong_stories,
)
from live_server import DIRECT, LIMIT_SECONDS, wait_for

import cronwatch

ROUNDS = int(os.environ.get("CRONWATCH_KILLS", "10"))
VERSION = len(cronwatch.schema_parts())


# under load


WRONG: dict[str, Callable[[Play, sqlite3.Connection], object]] = {
    "a ping that was answered is lost": lambda play, db: play.lost,
    "a ping is there twice": lambda play, db: list(
        db.execute("SELECT message FROM ping GROUP BY message HAVING count(*) > 1")
    ),
    "a ping is refused": lambda play, db: play.refused,
    "the file does not follow from its pings": lambda play, db: wrong_stories(db),
    "a flip is not told once": lambda play, db: wrong_events(db),
    "an event has no alert for one that hears of it": lambda play, db: wrong_alerts(db),
    "a start does not judge the time before it": lambda play, db: play.misjudged,
    "one that hears of an event is not told": lambda play, db: unheard(db, play),
    "something is told under two ids": lambda play, db: told_twice(play),
    "alerts of a monitor come out of order": lambda play, db: disorder(db, play),
    "the file is unsound": lambda play, db: play.unsound,
    "something is in the log": lambda play, db: [
        line
        for line in play.log.splitlines()
        if "Canceling" not in line and not line.startswith("INFO ")
    ],
}


@pytest.mark.parametrize(
    "rounds",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(ROUNDS, marks=pytest.mark.proof)],
)
def test_under_load_a_kill_does_no_harm(folder: Path, rounds: int) -> None:
    with listening(2) as listeners, victim(folder, *Stage.FLAGS) as server:
        stage = Stage(server, listeners, random.Random(seed("load")))
        for _ in range(rounds):
            stage.round()
        play = stage.end()
        heard = {name: len(ids) for name, ids in ids_heard(play).items()}
        answered, unknown = len(play.acknowledged), len(play.unknown)
        print(f"{dict(play.kills)}, {answered} pings answered, {unknown} unknown, {heard} heard")
        with look(server.database) as db:
            harm = {name: cases for name, is_so in WRONG.items() if (cases := is_so(play, db))}

    assert harm == {}
    assert answered >= rounds // 2  # a kill while it starts comes before any


@pytest.mark.proof
def test_stopping_under_load_every_ping_that_was_answered_is_there(folder: Path) -> None:
    with listening(2) as listeners, victim(folder, *Stage.FLAGS) as server:
        stage = Stage(server, listeners, random.Random(seed("stops")), clients=12)
        for _ in range(16):
            stage.round("once it has stopped")

    assert stage.play.lost == []


# over an alert


def hooked_site(database: Path, url: str) -> Site:
    """A site whose events go to a listener."""
    site = living_site(database)
    hook = {"url": url, "secret": cronwatch.make_signing_secret()}
    site.server.act(cronwatch.create_integration, "webhook", "hook", hook)
    return site


def kill_over_alerts(server: Victim, listener: Listener, lock: sqlite3.Connection) -> None:
    """Let it be killed in turn before it has an answer to an alert, and when it has one that it
    cannot yet write down: a lock on the file keeps it from that."""
    seen: set[str] = set()

    def before() -> None:
        is_first = listener.heard[-1].id not in seen
        seen.add(listener.heard[-1].id)
        if is_first and len(seen) % 2:
            server.kill()
        elif is_first:
            lock.execute("BEGIN IMMEDIATE")

    def after() -> None:
        if lock.in_transaction:
            server.kill()
            server.outlive()
            lock.execute("ROLLBACK")

    listener.before, listener.after = before, after


@pytest.mark.proof
def test_an_alert_that_a_kill_cut_off_comes_again_as_it_was_and_in_its_order(folder: Path) -> None:
    with listening() as (listener,), victim(folder) as server:
        site = hooked_site(server.database, listener.url)
        job = site.monitor()
        for verb in ("fail", "complete") * 3:
            site.get(f"/{job.token}/{verb}")
        site.server.close()
        lock = sqlite3.connect(
            server.database, LIMIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        kill_over_alerts(server, listener, lock)
        left = []
        server.start()
        with closing(lock):
            for num in range(1, 7):
                server.outlive()
                server.bury()
                wait_for(lambda: not lock.in_transaction, "the lock is gone")
                one = "SELECT state, due_at - tried_at FROM alert WHERE num = ?"
                left += lock.execute(one, (num,)).fetchall()
                server.start()
                server.hurry()
            pending = "SELECT 1 FROM alert WHERE state = 'pending'"
            wait_for(lambda: not lock.execute(pending).fetchall(), "all alerts")
            settled = lock.execute("SELECT state, tries FROM alert ORDER BY num").fetchall()
        server.live.stop()

    firsts, seconds = listener.heard[::2], listener.heard[1::2]
    for _, event in listener.heard:
        del event["monitor"]["url"]  # it has the port of then
    assert [each.event["kind"] for each in firsts] == ["failed", "recovered"] * 3
    assert firsts == seconds
    assert (left, settled) == ([("pending", 60_000)] * 6, [("sent", 2)] * 6)


@pytest.mark.slow
def test_a_command_that_kills_the_server_hears_the_same_event_again(folder: Path) -> None:
    with victim(folder) as server:
        heard = server.database.with_name("heard")
        site = living_site(server.database)
        command = f'echo "$CRONWATCH_EVENT_ID" >> {heard}; [ -e {heard}.2 ] || kill -9 $PPID'
        site.server.act(cronwatch.create_integration, "command", "kill", {"command": command})
        site.get(f"/{site.monitor().token}/fail")
        (event,) = site.rows("SELECT id FROM event")
        site.server.close()
        server.start()
        server.outlive()
        server.bury()
        Path(f"{heard}.2").touch()
        server.start()
        server.hurry()

        ids = wait_for(lambda: (found := heard.read_text().split())[1:] and found, "both times")

    assert ids == [event["id"]] * 2


# what fell due


@pytest.mark.slow
def test_what_was_missed_before_a_kill_counts_at_the_recovery(folder: Path) -> None:
    with victim(folder, "--scan-seconds", "0.05") as server:
        site = living_site(server.database)
        job = site.monitor(interval_seconds=3600, grace_seconds=0)
        site.clock.move(1.5 - 3600)
        site.get(f"/{job.token}")
        server.start()
        wait_for(lambda: site.events == ["missed"], "what was missed")
        server.kill()
        server.bury()
        server.start()
        with DIRECT.open(f"{server.live.url}/{job.token}", timeout=LIMIT_SECONDS):
            (recovered,) = site.rows("SELECT body FROM event WHERE kind = 'recovered'")
        site.server.close()

    assert json.loads(recovered["body"])["missedCount"] == 1


# a start and a stop


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_as_soon_as_it_serves_stops_cleanly(folder: Path) -> None:
    with victim(folder) as server:
        for _ in range(2):
            server.start()

            assert server.live.stop() == (0, "")


@pytest.mark.proof
def test_a_file_over_whose_making_the_server_was_killed_is_made_by_the_next_start(
    folder: Path,
) -> None:
    chance, found = random.Random(seed("first start")), []

    for _ in range(3):
        with victim(folder) as server:
            server.launch()
            wait_for(server.database.exists, "the file")
            server.outlive(chance.uniform(0, 0.03))
            server.kill()
            server.bury()
            server.start()
            with peek(server.database) as db:
                found.append((*db.execute("PRAGMA user_version").fetchone(), unsound(db)))

    assert found == [(VERSION, [])] * 3


# a migration, and the copy before it

PINGS, HEAP = 200, 200_000  # rows that were there, and that each part adds
GROW = """
    CREATE TABLE {table} (num INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    INSERT INTO {table} WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n
        WHERE i < {rows}) SELECT i, hex(randomblob(60)) FROM n;
    """
CHANGE = "ALTER TABLE ping ADD COLUMN weight INTEGER;\nUPDATE ping SET weight = num;"
COPY = re.compile(r"cronwatch\.db\.before-[0-9]+")
State = tuple[int, dict[str, int], list[Any]]  # of a file: version, rows of tables, what is broken


def later_product(folder: Path) -> Path:
    """A copy of the product, as a version to come has it: with two more parts of the schema."""
    folder.mkdir()
    shutil.copy(cronwatch.__file__, folder)
    shutil.copytree(cronwatch.DATA / "static", folder / "static")
    text = (cronwatch.DATA / "schema.sql").read_text("utf-8")
    heap, pile = (GROW.format(table=table, rows=HEAP) for table in ("heap", "pile"))
    (folder / "schema.sql").write_text(
        f"{text}\n-- part {VERSION + 1}\n{CHANGE}\n{heap}\n-- part {VERSION + 2}\n{pile}"
    )
    return folder


def old_file(database: Path, megabytes: int) -> Path:
    """A file of this version with pings, and logs that make it as large."""
    site = living_site(database)
    job = site.monitor()
    for _ in range(PINGS):
        site.get(f"/{job.token}")
    site.rows(
        "INSERT INTO run_log SELECT num, printf('%.*c', 1000000, 'x'), monitor FROM run "
        f"LIMIT {megabytes}"
    )
    site.server.close()
    return database


def whole(version: int) -> State:
    """The state of a file that is at a version, and at nothing else."""
    added = dict.fromkeys(("heap", "pile")[: version - VERSION], HEAP)
    return version, {"ping": PINGS, **added}, []


def state(database: Path) -> State:
    """The state of a file; one that cannot be read is unsound."""
    with look(database) as db:
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
            counts = {
                table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("ping", "heap", "pile")
                if table in tables
            }
            return version, counts, unsound(db)
        except sqlite3.DatabaseError as error:
            return -1, {}, [str(error)]


class Attempt(NamedTuple):
    """A migration that was killed, and what the next start made of it."""

    killed: State
    copies: list[State]  # beside the file, after the kill
    done: State
    copies_done: list[State]
    others: list[str]  # names of further files that are left in the end


def beside(database: Path) -> list[Path]:
    """The files that have its name and more."""
    return sorted(database.parent.glob("cronwatch.db.*"))


def copies(database: Path) -> list[State]:
    return [state(path) for path in beside(database) if COPY.fullmatch(path.name)]


def attempt(old: Path, product: Path, wait: Callable[[Victim], object]) -> Attempt:
    """Bring a copy of a file up to date; kill at the end of a wait, and start again."""
    with victim(old.parent, product=product) as server:
        shutil.copy(old, server.database)
        server.launch()
        wait(server)
        server.kill()
        server.bury()
        killed = state(server.database), copies(server.database)
        server.start()
        server.live.stop()
        names = [path.name for path in beside(server.database)]
        others = [name for name in names if not COPY.fullmatch(name)]
        return Attempt(*killed, state(server.database), copies(server.database), others)


def in_the_first_part(share: float, server: Victim) -> None:
    """Wait until so much of its 27 MB is in the write-ahead log."""
    wal = server.database.with_name("cronwatch.db-wal")
    wait_for(lambda: wal.exists() and wal.stat().st_size > share * 27_000_000, "the log")


def in_the_second_part(seconds: float, server: Victim) -> None:
    """Wait until the first one is being moved into the file, and so long."""
    size = server.database.stat().st_size
    wait_for(lambda: server.database.stat().st_size > size + 1_000_000, "the first part")
    server.outlive(seconds)


def in_the_copy(megabytes: float, server: Victim) -> None:
    """Wait until so much is beside the file, by whatever name."""

    def size() -> int:
        return sum(path.stat().st_size for path in beside(server.database) if path.exists())

    wait_for(lambda: size() > megabytes * 1_000_000, "the copy")


@pytest.mark.proof
@pytest.mark.parametrize(
    "wait",
    [
        *(partial(in_the_copy, megabytes) for megabytes in (0, 10, 30)),
        *(partial(in_the_first_part, share) for share in (0.1, 0.7)),
        *(partial(in_the_second_part, seconds) for seconds in (0, 0.05)),
    ],
    ids=lambda wait: f"{wait.func.__name__} {wait.args[0]}",
)
def test_a_migration_that_was_killed_is_finished_by_the_next_start(
    folder: Path, wait: Callable[[Victim], None]
) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        old = old_file(Path(name) / "old.db", 40)  # MB
        product = later_product(Path(name) / "product")

        one = attempt(old, product, wait)

    print(f"killed at version {one.killed[0]} with {len(one.copies)} copies")
    assert one.killed == whole(one.killed[0])  # each part of it whole or undone
    assert [copy for copy in one.copies if copy != whole(VERSION)] == []
    assert whole(VERSION) in one.copies_done
    assert (one.done, one.others) == (whole(VERSION + 2), [])

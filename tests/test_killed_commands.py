"""Killed: what a backup, an import, an apply and a prune leave that `kill -9` ended.

Each is run to its end once, to count its moments: statements, files that it opens, renames and
removes. Then it is run once for each of some moments, on a copy of the same database, in a process
of its own that is killed there. Nothing may be half done, and the next try has to work.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import NOW, Site
from killing import living_site, look, unsound
from live_server import LIMIT_SECONDS, Done, call, unmeasured

pytestmark = pytest.mark.slow

ALL = -9  # how each of them ends
MOMENTS = 24  # at which each is killed, from its first to its last
KEEP = 700  # pings of a monitor that house is kept for; it has more than 2,000

# Forked, so that the modules are loaded once; a moment of 0 never comes. Where a process was not
# killed it says how many moments there were.
LAUNCHER = """
import itertools, json, os, signal, sys, cronwatch
cronwatch.main(["monitor", "list", "--database", sys.argv[2]])  # all that is loaded when asked for

def begin(when, database):
    turns = itertools.count(1)
    seen = {"open", "os.rename", "os.remove", "sqlite3.connect"}

    def turn():
        global last
        last = next(turns)
        if last == when:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(method):
        def call(*given, **named):
            turn()
            return method(*given, **named)

        return call

    for name in ("execute", "rows", "first"):
        method = getattr(cronwatch.Transaction, name)
        setattr(cronwatch.Transaction, name, counted(method))
    sys.addaudithook(lambda event, given: turn() if event in seen else None)
    words = [word.replace("{database}", database) for word in json.loads(sys.argv[1])]
    if words == ["prune"]:
        settings = cronwatch.Settings(database=database, keep_pings=KEEP, keep_days=0)
        cronwatch.Server(settings).housekeeping()
    else:
        code = cronwatch.main([*words, "--database", database])
        assert code == 0, code
    return last

def run(when, database):
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.devnull, "w")
        os.write(here, b"%d" % begin(when, database))
        os._exit(0)
    os.close(here)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, os.read(there, 20).decode()

(code, moments), databases = run(0, sys.argv[2]), sys.argv[3:]
assert code == 0, code
print(json.dumps([run(max(1, int(moments) * place // len(databases)), database)[0]
                  for place, database in enumerate(databases, 1)]))
"""


class Killed(NamedTuple):
    """A command that was killed at each of its moments."""

    words: tuple[str, ...]
    done: Path  # the database where it was not
    left: list[Path]  # the databases where it was
    ends: list[int]


def kill(base: Path, *words: str) -> Killed:
    """Kill a command, at each moment on a copy of a database in a folder of its own."""
    copies = [base.with_name(f"{place:02}") / "cronwatch.db" for place in range(MOMENTS + 1)]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(base, copy)
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            LAUNCHER.replace("KEEP", str(KEEP)),
            json.dumps(words),
            *map(str, copies),
        ],
        env=unmeasured(),
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        capture_output=True,
        timeout=4 * LIMIT_SECONDS,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return Killed(words, copies[0], copies[1:], json.loads(ran.stdout.splitlines()[-1]))


def ask(database: Path, sql: str) -> list[Any]:
    """What a query finds in a file that nobody has opened since the kill."""
    with look(database) as db:
        return [tuple(row) for row in db.execute(sql)]


def faults(killed: Killed) -> list[Any]:
    """What SQLite finds wrong with what is left."""
    found = []
    for database in killed.left:
        with look(database) as db:
            found += unsound(db)
    return found


def site_of(folder: Path, *keys: str) -> Path:
    """A database with some monitors, which no process has open."""
    site = living_site(folder / "base.db")
    for key in keys:
        site.monitor(key=key)
    site.server.close()
    return folder / "base.db"


def again(database: Path, *words: str) -> Done:
    return call(
        *(word.replace("{database}", str(database)) for word in words), "--database", str(database)
    )


@pytest.mark.parametrize("name", ["import", "apply", "prune", "backup"])
def test_each_is_killed_and_leaves_a_sound_database(every: dict[str, Killed], name: str) -> None:
    assert every[name].ends == [ALL] * MOMENTS  # else what follows shows nothing
    assert faults(every[name]) == []


@pytest.fixture(scope="module")
def every(imported: Killed, applied: Killed, pruned: Killed, backed: Killed) -> dict[str, Killed]:
    return {"import": imported, "apply": applied, "prune": pruned, "backup": backed}


# an import

JOBS = 12


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("import")
    tab = folder / "crontab"
    tab.write_text("".join(f"{n} 3 * * * /usr/bin/job{n}\n" for n in range(JOBS)))
    return kill(site_of(folder, "before"), "import", "crontab", str(tab), "--yes")


# an apply

BOX = {
    "integrations": [
        {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/"},
        {"channel": "command", "name": "Lamp", "command": "lamp red", "default": False},
    ],
    "monitors": [
        {"key": "before", "intervalSeconds": 900, "name": "Changed"},
        *(
            {
                "key": f"new{n}",
                "intervalSeconds": 3600,
                "integrations": ["Lamp"],
                "handles": [{"dialect": "cronitor", "handle": f"old{n}"}],
            }
            for n in range(6)
        ),
    ],
}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("apply")
    (folder / "box.json").write_text(json.dumps(BOX))
    return kill(site_of(folder, "before", "other"), "apply", str(folder / "box.json"))


def exported(database: Path) -> Any:
    done = again(database, "export")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def content(database: Path) -> Any:
    """What `export` prints, and how much is in every table that it or a file reaches."""
    tables = ("monitor", "handle", "integration", "monitor_integration")
    sums = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return exported(database), ask(database, f"SELECT {sums}")


@pytest.mark.parametrize("name", ["import", "apply"])
def test_it_has_done_all_or_nothing(every: dict[str, Killed], name: str) -> None:
    killed = every[name]
    whole = [content(database) for database in (killed.done.parents[1] / "base.db", killed.done)]

    found = [content(database) for database in killed.left]

    assert whole[0] != whole[1]
    assert [one for one in found if one not in whole] == []
    assert whole[0] in found


@pytest.mark.parametrize("name", ["import", "apply"])
def test_the_next_one_does_it_all(every: dict[str, Killed], name: str) -> None:
    killed = every[name]
    for database in killed.left:
        assert again(database, *killed.words).code == 0

    assert [content(database) for database in killed.left] == [content(killed.done)] * MOMENTS


# a prune

PINGS = 2300
RUNS = "SELECT num FROM run WHERE monitor = 1 ORDER BY num"
LOGS = f"SELECT count(*) FROM run_log WHERE run BETWEEN {PINGS - 99} AND {PINGS}"  # the newest


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    base = site_of(tmp_path_factory.mktemp("prune"), "busy", "quiet")
    with closing(sqlite3.connect(base)) as db, db:
        for monitor, pings in ((1, PINGS), (2, 50)):
            db.execute(
                "INSERT INTO ping (monitor, kind, at, dialect) WITH RECURSIVE n(i) AS (SELECT 0 "
                "UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) SELECT ?, 'success', ? + i * 1000,"
                " 'cronping' FROM n",
                (pings, monitor, NOW),
            )
            db.execute("UPDATE monitor SET ping_count = ? WHERE num = ?", (pings, monitor))
        db.execute("UPDATE ping SET run = num")
        db.execute(
            "INSERT INTO run (num, monitor, state, started_at, ended_at, opened, awaited) "
            "SELECT num, monitor, 'success', at, at, 0, 0 FROM ping"
        )
        db.execute("INSERT INTO run_log (run, content) SELECT num, 'log' FROM run")
    return kill(base, "prune")


def pings(database: Path) -> list[int]:
    return [num for (num,) in ask(database, "SELECT num FROM ping WHERE monitor = 1 ORDER BY num")]


def test_a_prune_has_deleted_the_oldest_and_none_that_is_kept(pruned: Killed) -> None:
    counts = set()
    for database in pruned.left:
        (count,), quiet = ask(database, "SELECT ping_count FROM monitor ORDER BY num")
        newest = list(range(PINGS - count + 1, PINGS + 1))
        counts.add(count)

        assert (count >= KEEP, quiet) == (True, (50,))
        assert pings(database) == newest
        runs = [num for (num,) in ask(database, RUNS)]  # which go in smaller steps
        assert runs[-count:] == newest
        assert runs == list(range(runs[0], PINGS + 1))
        assert ask(database, LOGS) == [(100,)]
        assert ask(database, "SELECT count(*) FROM ping WHERE monitor = 2") == [(50,)]
    assert len(counts) > 3  # some were killed between two steps


def test_the_next_prune_goes_on(pruned: Killed) -> None:
    for database in pruned.left:
        site = Site(database, keep_pings=KEEP, keep_days=0)
        with closing(site.server):
            site.server.housekeeping()

    assert [pings(database) for database in pruned.left] == [
        list(range(PINGS - KEEP + 1, PINGS + 1))
    ] * MOMENTS


# a backup

BACKUP = ("backup", "{database}.copy")


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return kill(site_of(tmp_path_factory.mktemp("backup"), "a", "b", "c"), *BACKUP)


def rows(database: Path) -> dict[str, list[Any]]:
    """All that a person would miss."""
    return {
        table: sorted(map(repr, ask(database, f"SELECT * FROM {table}")))
        for table in ("monitor", "handle", "meta")
    }


def copy_of(database: Path) -> Path:
    return database.with_name("cronwatch.db.copy")


def test_a_copy_is_whole_or_has_no_name(backed: Killed) -> None:
    there = [copy_of(database) for database in backed.left if copy_of(database).exists()]

    assert [rows(copy) for copy in there] == [rows(backed.done)] * len(there)
    assert len(there) < MOMENTS


def test_the_next_backup_works_and_leaves_nothing_else(backed: Killed) -> None:
    for database in backed.left:
        copy_of(database).unlink(missing_ok=True)  # whose name would be taken
        assert again(database, *BACKUP).code == 0

    assert [rows(copy_of(database)) for database in backed.left] == [rows(backed.done)] * MOMENTS
    assert [
        [path.name for path in database.parent.glob("*.part*")] for database in backed.left
    ] == [[]] * MOMENTS

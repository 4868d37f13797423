"""What is set and what the host says: empty variables, the zone, the database, the address."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest
from live_server import call, run, serving

import cronwatch

# -- settings


@pytest.mark.parametrize("name", [one.name for one in dataclasses.fields(cronwatch.Settings)])
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    loaded = cronwatch.Settings.load({}, {f"CRONWATCH_{name.upper()}": ""})

    assert loaded == cronwatch.Settings()


def test_an_empty_name_of_a_database_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "key", "create", "x", "--database", "")

    assert (done.code, done.err) == (1, "cronwatch: database must be the name of a file\n")


# -- the database


def test_a_folder_in_place_of_the_database_is_called_a_folder(tmp_path: Path) -> None:
    done = call("serve", "--database", str(tmp_path), "--listen", "127.0.0.1:0")

    assert done.code == 1
    assert f"{tmp_path} is a folder" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_database_of_another_owner_is_said_to_be_his() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = f"{folder}/c.db"
        call("key", "create", "x", "--database", database)
        os.chmod(folder, 0o755)
        os.seteuid(65534)
        try:
            done = call("monitor", "list", "--database", database)
        finally:
            os.seteuid(0)

    assert done.code == 1
    assert f"{database} belongs to root, and nobody may not write to it" in done.err


def test_without_a_name_the_first_database_that_is_there_is_meant(tmp_path: Path) -> None:
    here, there = str(tmp_path / "here.db"), str(tmp_path / "there.db")

    neither = cronwatch.default_database((here, there))
    Path(there).touch()
    only_there = cronwatch.default_database((here, there))
    Path(here).touch()
    both = cronwatch.default_database((here, there))

    assert (neither, only_there, both) == (here, there, here)


@pytest.mark.parametrize("environ", [{}, {"CRONWATCH_DATABASE": ""}])
def test_a_command_that_makes_a_database_says_which(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    first = run(tmp_path, "key", "create", "a", **environ)
    second = run(tmp_path, "key", "create", "b", **environ)

    assert first.err == f"cronwatch: {tmp_path}/cronwatch.db is a new database\n"
    assert (first.out.count("\n"), second.err) == (1, "")


def test_a_server_that_makes_a_database_says_which(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        live.stop()

        assert f"INFO {live.database} is a new database\n" in live.log

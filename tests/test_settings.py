"""What is set and what the host says: empty variables, the zone, the database, the address."""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import read_table
from live_server import CRONWATCH, LIMIT_SECONDS, call, environment, run

import cronwatch

# -- settings


@pytest.mark.parametrize("name", [one.name for one in dataclasses.fields(cronwatch.Settings)])
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    loaded = cronwatch.Settings.load({}, {f"CRONWATCH_{name.upper()}": ""})

    assert loaded == cronwatch.Settings()


# -- the zone of the host


def zone_file(name: str) -> bytes:
    """The times of a zone, as a system has them in a file."""
    return importlib.resources.files("tzdata").joinpath("zoneinfo", name).read_bytes()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A folder to be /etc, beside a zone database."""
    for name in ("Europe/Berlin", "Etc/UTC"):
        file = tmp_path / "zoneinfo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(zone_file(name))
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.mark.parametrize("name", ["Europe/Berlin", "Etc/UTC"])
def test_a_link_names_the_zone(etc: Path, name: str) -> None:
    (etc / "localtime").symlink_to(f"../zoneinfo/{name}")

    assert cronwatch.host_timezone("", etc) == name


COPIES = read_table(
    "settings", "A copy in /etc/localtime, with that in /etc/timezone, is the zone"
)


@pytest.mark.parametrize("file, timezone, name", COPIES)
def test_a_copy_is_known_by_its_times(etc: Path, file: str, timezone: str, name: str) -> None:
    """/etc/timezone is believed where they are those of its zone."""
    (etc / "localtime").write_bytes(zone_file(file))
    (etc / "timezone").write_text(timezone)

    assert cronwatch.host_timezone("", etc) == name


def test_a_link_is_not_believed_where_another_zone_is_mounted_over_its_target(etc: Path) -> None:
    (etc / "localtime").symlink_to("../zoneinfo/Etc/UTC")
    (etc.parent / "zoneinfo" / "Etc" / "UTC").write_bytes(zone_file("Europe/Berlin"))

    assert cronwatch.host_timezone("", etc) == "Europe/Berlin"


def test_a_host_without_a_zone_has_utc(etc: Path) -> None:
    assert cronwatch.host_timezone("", etc) == "UTC"


@pytest.mark.parametrize("target", ["../zoneinfo/Europe/Nowhere", "../zoneinfo", "timezone"])
def test_a_link_that_leads_to_no_zone_tells_none(etc: Path, target: str) -> None:
    (etc / "localtime").symlink_to(target)
    (etc / "timezone").write_text("Europe/Berlin\n")

    assert cronwatch.host_timezone("", etc) is None


@pytest.mark.parametrize("text, name", read_table("settings", "TZ names the zone, or none"))
def test_tz_names_the_zone_or_its_file_and_as_a_rule_none(etc: Path, text: str, name: str) -> None:
    (etc / "localtime").symlink_to("../zoneinfo/Etc/UTC")

    assert (cronwatch.host_timezone(text.format(etc=etc), etc) or "") == name


RULE = "CET-1CEST,M3.5.0,M10.5.0/3"
ADD = ("monitor", "add", "x", "--cron", "0 3 * * *", "--database", "x.db")


@pytest.mark.parametrize("words", [ADD, ("import", "crontab", "-", "--database", "x.db")])
def test_who_reads_schedules_says_that_the_zone_is_not_known(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = run(tmp_path, *words, TZ=RULE)

    assert done.code == 0
    assert "neither TZ nor /etc/localtime names the host's time zone" in done.err


# -- the database


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


# -- the address in links


@pytest.mark.parametrize(
    "listen, url", read_table("settings", "Links begin with an address that one can connect to")
)
def test_links_begin_with_an_address_that_one_can_connect_to(
    tmp_path: Path, listen: str, url: str
) -> None:
    settings = cronwatch.Settings(database=str(tmp_path / "c.db"), listen=listen)
    server = cronwatch.Server(settings)
    server.close()

    assert server.settings.base_url == url.format(name=socket.gethostname())


@pytest.mark.slow
def test_a_server_that_listens_on_all_addresses_says_what_links_begin_with(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*CRONWATCH, "serve", "--database", "c.db", "--listen", "0.0.0.0:0"],
        cwd=tmp_path,
        env=environment(TZ="UTC"),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=LIMIT_SECONDS)

    assert line.startswith(f"cronwatch serves http://{socket.gethostname()}:")
    assert "--base-url says how others reach this" in log

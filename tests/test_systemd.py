"""The units and the settings file in systemd/, by systemd's own judgement and by trying them."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from live_server import environment, program

import cronwatch

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.iterdir() if path.suffix != ".env")
SERVICES = [name for name in UNITS if name.endswith(".service")]

needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze (apt install systemd)")


def analyze(*words: str) -> str:
    """What systemd-analyze says, which must be that all is well."""
    done = subprocess.run(["systemd-analyze", "--no-pager", *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


# -- systemd's judgement

@needs_analyze
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    for name in UNITS:  # together, as they name each other; with a program that is here
        text = (SYSTEMD / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/cronwatch", "/bin/true"))

    said = analyze("verify", *(str(tmp_path / name) for name in UNITS))

    assert said == ""


@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_little_is_left_open(name: str) -> None:
    said = analyze("security", "--offline=yes", str(SYSTEMD / name))

    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert exposure
    assert float(exposure[1]) <= 1.5


# -- Settings

def test_the_settings_file_lists_every_setting_at_its_default() -> None:
    listed = (SYSTEMD / "cronwatch.env").read_text().partition("\n\n")[2]

    assert listed == "".join(
        f"# {setting.metadata['help']}\n#CRONWATCH_{setting.name.upper()}="
        f"{'no' if setting.default is False else setting.default}\n"
        for setting in dataclasses.fields(cronwatch.Settings))


# -- The backup's shell

def back_up(folder: Path, command: str) -> int:
    """Do what cronwatch-backup.service does, in a folder, with a `cronwatch` of the test's own;
    the exit code of what failed first."""
    program(folder, "cronwatch", command)
    environ = environment(PATH=f"{folder}/bin:/usr/bin:/bin")
    lines = re.findall(r"^ExecStart(?:Post)?=(/bin/sh -c '.*')$",
                       (SYSTEMD / "cronwatch-backup.service").read_text(), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        meant = line.replace("%%", "%").replace("$$", "$")
        if code := subprocess.run(meant, shell=True, cwd=folder, env=environ, timeout=60,
                                  stdin=subprocess.DEVNULL, check=False).returncode:
            return code
    return 0


def copies(folder: Path, count: int) -> list[str]:
    """Copies of so many nights, oldest first."""
    names = [f"cronwatch-20260{month}{day:02}T031700Z.db"
             for month in (1, 2) for day in range(1, 11)][:count]
    for name in names:
        (folder / name).touch()
    return names


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_backup_is_named_by_its_time(tmp_path: Path) -> None:
    code = back_up(tmp_path, 'test "$1" = backup && touch "$2"')

    assert code == 0
    name, = kept(tmp_path)
    assert re.fullmatch(r"cronwatch-\d{8}T\d{6}Z\.db", name)


def test_the_last_14_backups_are_kept(tmp_path: Path) -> None:
    before = copies(tmp_path, 20)

    back_up(tmp_path, 'touch "$2"')

    assert kept(tmp_path)[:-1] == before[7:]


def test_a_backup_that_fails_costs_no_older_one(tmp_path: Path) -> None:
    before = copies(tmp_path, 20)

    code = back_up(tmp_path, "exit 3")

    assert code == 3
    assert kept(tmp_path) == before


def test_other_files_beside_the_backups_are_left_alone(tmp_path: Path) -> None:
    before = copies(tmp_path, 20)
    (tmp_path / "by-hand.db").touch()

    back_up(tmp_path, 'touch "$2"')

    assert "by-hand.db" in kept(tmp_path)
    assert before[0] not in kept(tmp_path)

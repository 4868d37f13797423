"""The units and the settings file in systemd/, by systemd's own judgement and by trying them.

At the end a machine is booted with them, in a container, with the executable of `make dist`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import finish
from live_server import environment, program
from test_packages import build

import cronwatch

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.iterdir() if path.suffix != ".env")
SERVICES = [name for name in UNITS if name.endswith(".service")]

needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze (apt install systemd)"
)


def analyze(*words: str) -> str:
    """What systemd-analyze says, which must be that all is well."""
    done = finish(["systemd-analyze", "--no-pager", *words], SYSTEMD, dict(os.environ))
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
        for setting in dataclasses.fields(cronwatch.Settings)
    )


# -- The backup's shell


def back_up(folder: Path, command: str) -> int:
    """Do what cronwatch-backup.service does, in a folder, with a `cronwatch` of the test's own;
    the exit code of what failed first."""
    program(folder, "cronwatch", command)
    environ = environment(PATH=f"{folder}/bin:/usr/bin:/bin")
    unit = (SYSTEMD / "cronwatch-backup.service").read_text()
    lines = re.findall(r"^ExecStart(?:Post)?=(/bin/sh -c '.*')$", unit, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        meant = line.replace("%%", "%").replace("$$", "$")
        code = finish(["/bin/sh", "-c", meant], folder, environ).returncode
        if code:
            return code
    return 0


def copies(folder: Path, count: int) -> list[str]:
    """Copies of so many nights, oldest first."""
    names = [
        f"cronwatch-20260{month}{day:02}T031700Z.db" for month in (1, 2) for day in range(1, 11)
    ][:count]
    for name in names:
        (folder / name).touch()
    return names


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_backup_is_named_by_its_time(tmp_path: Path) -> None:
    code = back_up(tmp_path, 'test "$1" = backup && touch "$2"')

    assert code == 0
    (name,) = kept(tmp_path)
    assert re.fullmatch(r"cronwatch-\d{8}T\d{6}Z\.db", name)


def test_the_last_14_backups_and_all_other_files_are_kept(tmp_path: Path) -> None:
    before = copies(tmp_path, 20)
    (tmp_path / "by-hand.db").touch()

    back_up(tmp_path, 'touch "$2"')

    assert kept(tmp_path)[:-1] == ["by-hand.db", *before[7:]]


def test_a_backup_that_fails_costs_no_older_one(tmp_path: Path) -> None:
    before = copies(tmp_path, 20)

    code = back_up(tmp_path, "exit 3")

    assert code == 3
    assert kept(tmp_path) == before


# -- A machine that boots

COMMANDS = {  # as alert commands: each leaves a file where the service may write
    "sh": 'echo "$CRONWATCH_EVENT_SUMMARY" >sh.txt',
    "curl": "curl -fsS -o curl.txt http://127.0.0.1:8080/static/style.css",
    "python3": 'python3 -c \'open("python3.txt", "w").write("x")\'',
    "node": 'node -e \'require("fs").writeFileSync("node.txt", "x")\'',
}
COMMANDS_HERE = {
    name: line for name, line in COMMANDS.items() if (Path("/usr/bin") / name).exists()
}
BOOT_SECONDS = 180
SCRIPT = (Path(__file__).parent / "fixtures" / "boot.sh").read_text()
UNIT = "[Service]\nType=exec\nExecStart=/bin/sh /root/script\n"
# Scans are every second, and a server that is silent for 15 s is hung: else this takes minutes.
QUICK = "[Service]\nWatchdogSec=15\nRestartSec=1\n"


def make_root(root: Path, executable: Path) -> None:
    """A machine's root folder: /etc is what we put there, /usr will be this machine's."""
    root.chmod(0o755)  # everybody's, as a root folder is; pytest makes it ours alone
    units, quick = root / "etc/systemd/system", "etc/systemd/system/cronwatch.service.d"
    for name in (quick, *shlex.split("etc/ssl root usr/local/bin proc sys dev run tmp var")):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(Path(f"/{name}").readlink())
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache"):
        shutil.copy(Path("/etc") / name, root / "etc")
    for name in UNITS:
        shutil.copy(SYSTEMD / name, units)
    shutil.copy(executable, root / "usr/local/bin")
    settings = (SYSTEMD / "cronwatch.env").read_text()
    (root / "etc/cronwatch.env").write_text(
        settings.replace("#CRONWATCH_SCAN_SECONDS=5.0", "CRONWATCH_SCAN_SECONDS=1")
    )
    (root / quick / "quick.conf").write_text(QUICK)
    (units / "script.service").write_text(UNIT)
    (units / "systemd-firstboot.service").symlink_to("/dev/null")  # it would ask who we are
    added = [
        f"cronwatch integration add command {name} {shlex.quote(line)}"
        for name, line in COMMANDS_HERE.items()
    ]
    (root / "root/script").write_text(
        SCRIPT.replace("$COMMANDS", "\n".join(added)).replace("$COUNT", str(len(added)))
    )


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each step of the script said, on a machine that booted for it."""
    nspawn = shutil.which("systemd-nspawn")
    if not nspawn or os.geteuid() != 0 or not Path("/bin").is_symlink():
        pytest.skip("needs root on a Debian with systemd-container")
    root = tmp_path_factory.mktemp("machine")
    make_root(root, build(tmp_path_factory.mktemp("build")) / "cronwatch")
    shared = [
        f"--bind-ro={path}"
        for path in Path("/usr").iterdir()
        if path.is_dir() and path.name != "local"
    ]
    # In a namespace that ends with it: nspawn alone would leave it running.
    words = shlex.split("unshare --pid --fork --kill-child --mount-proc")
    words += [nspawn, "--quiet", f"--directory={root}", *shared]
    words += shlex.split("--register=no --keep-unit --private-network")
    words += ["/lib/systemd/systemd", "--unit=script.service"]
    done = finish(words, root, dict(os.environ), BOOT_SECONDS)
    if not (root / "root/start").exists():
        pytest.skip(f"nothing boots here: {(done.stdout + done.stderr)[-500:]}")
    assert (root / "root/done").exists(), done.stdout[-2000:]
    yield {path.name: path.read_text() for path in (root / "root").iterdir() if path.is_file()}
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.proof
def test_pings_are_taken_once_systemd_calls_it_started(said: dict[str, str]) -> None:
    assert said["start"] == "exit code 0\n"
    assert "<!doctype html>" in said["page"]
    assert said["ping"] == "OK"


@pytest.mark.proof
@pytest.mark.parametrize("name", COMMANDS_HERE)
def test_an_alert_command_does_what_it_is_for(said: dict[str, str], name: str) -> None:
    assert f"{name}.txt" in said["wrote"].split()


@pytest.mark.proof
def test_the_database_is_copied_while_it_is_in_use(said: dict[str, str]) -> None:
    assert said["backup"] == "exit code 0\n"
    assert re.fullmatch(r"cronwatch-\d{8}T\d{6}Z\.db\nexit code 0\n", said["copies"])


@pytest.mark.proof
def test_a_server_that_hangs_is_started_again(said: dict[str, str]) -> None:
    assert "exit code 0" in said["again"]


@pytest.mark.proof
def test_it_stops_cleanly(said: dict[str, str]) -> None:
    assert said["stop"] == "exit code 0\n"
    assert said["result"] == "success\nexit code 0\n"

"""What `make dist` builds, installed and started as the README says, and used by its users' means.

The program under test is never the checkout's: it runs without PYTHONPATH, in a home of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import tzdata  # type: ignore[import-untyped]
from conftest import finish
from live_server import DIRECT, LIMIT_SECONDS, URL, Live, environment, serving, wait_for
from test_alerts import Listener

import cronwatch

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "venv" / "bin"  # uv and pipx are there
BUILD_SECONDS = 600
WAYS = {  # how the README's line begins, and which program of the home it leads to
    "venv": ("python3 -m venv", "cronwatch/bin/cronwatch"),
    "pipx": ("pipx", ".local/bin/cronwatch"),
    "uv": ("uv", ".local/bin/cronwatch"),
    "pyz": ("python3 dist/cronwatch.pyz", ""),
    "executable": ("dist/cronwatch", ""),
}


def home(folder: Path) -> dict[str, str]:
    """The environment of somebody who has just come to this machine."""
    return environment(
        HOME=str(folder), PYTHONPATH="", SHIV_ROOT="", PATH=f"{TOOLS}:{os.environ['PATH']}"
    )


def blocks_of_the_readme(title: str) -> list[str]:
    """The lines for a shell below a title."""
    section = (ROOT / "README.md").read_text().partition(f"\n{title}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def line_of_the_readme(beginning: str) -> str:
    (block,) = blocks_of_the_readme("## Installing")
    (line,) = (line for line in block.splitlines() if line.startswith(beginning))
    return re.sub(r"\s+#.*", "", line)


def shell(folder: Path, line: str, seconds: int = BUILD_SECONDS) -> str:
    """Run a line in the checkout, which must work."""
    done = finish(["bash", "-c", line], ROOT, home(folder), seconds)
    assert done.returncode == 0, done
    return done.stdout


def build(folder: Path) -> Path:
    """The folder with all four, built where anything that goes into them is newer."""
    if not shutil.which("make") or not (ROOT / "Makefile").exists():
        pytest.skip("needs make, and the checkout")
    shell(folder, f"make dist PYTHON={sys.executable}")
    return ROOT / "dist"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


def words_of(way: str, folder: Path) -> list[str]:
    """Install in a way of the README; the words that start the program then."""
    beginning, leads_to = WAYS[way]
    line = line_of_the_readme(beginning)
    if leads_to:
        shell(folder, line)
        return [str(folder / leads_to)]
    *words, serve = line.split()
    assert serve == "serve"
    return [str(ROOT / word) if word.startswith("dist/") else word for word in words]


@pytest.fixture(
    scope="module",
    params=["beside", *(pytest.param(way, marks=pytest.mark.proof) for way in ("sdist", *WAYS))],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that start cronwatch: for the program beside the Python of the tests, which is
    tried on every Python, and for what is in dist/."""
    if request.param == "beside":
        return [str(Path(sys.executable).with_name("cronwatch"))]
    dist = request.getfixturevalue("dist")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sdist":
        shell(folder, f"python3 -m venv ~/it && ~/it/bin/pip install {dist}/cronwatch-*.tar.gz")
        return [str(folder / "it" / "bin" / "cronwatch")]
    return words_of(request.param, folder)


@pytest.fixture(scope="module")
def live(program: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with serving(folder, program=program, **home(folder)) as server:
        yield server


def read(live: Live, path: str) -> bytes:
    with DIRECT.open(live.url + path, timeout=LIMIT_SECONDS) as reply:
        content: bytes = reply.read()
        return content


ADD = ("monitor", "add", "backup", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")


def add(live: Live, *words: str, **environ: str) -> str:
    """What a command prints that must work."""
    all_words = [*words, "--database", str(live.database)]
    done = finish(all_words, live.folder, {**home(live.folder), **environ})
    assert done.returncode == 0, done
    return done.stdout


def test_a_monitor_made_by_its_command_line_is_up_after_a_ping(
    live: Live, program: list[str]
) -> None:
    said = add(live, *program, *ADD)
    url = re.search(rf"{live.url}(/\S+)", said)
    assert url

    read(live, url[1])

    assert live.monitor("backup")["status"] == "up"


def test_the_zone_of_the_host_is_told_by_its_file(
    live: Live, program: list[str], tmp_path: Path
) -> None:
    copy = tmp_path / "localtime"
    shutil.copy(Path(tzdata.__file__).with_name("zoneinfo") / "Europe/Berlin", copy)

    add(live, *program, "monitor", "add", "by-file", "--cron", "0 3 * * *", TZ=f":{copy}")

    assert live.monitor("by-file")["timezone"] == "Europe/Berlin"


def test_the_page_and_all_that_belongs_to_it_are_found(live: Live) -> None:
    static = ROOT / "static"
    paths = [path for path in static.rglob("*") if path.is_file()]
    files = {f"/static/{path.relative_to(static)}": path for path in paths}
    files["/"] = static / "index.html"

    assert [path for path, file in files.items() if read(live, path) != file.read_bytes()] == []


@pytest.mark.proof
@pytest.mark.parametrize("program", ["sdist", "venv", "pipx", "uv"], indirect=True)
def test_the_wrapper_for_jobs_is_beside_what_is_installed(program: list[str]) -> None:
    wrapper = Path(program[0]).with_name("cronwatch-exec")

    assert wrapper.read_bytes() == (ROOT / "static" / "cronwatch-exec").read_bytes()
    assert os.access(wrapper, os.X_OK)


@pytest.mark.proof
def test_the_executable_needs_neither_python_nor_zones(dist: Path, tmp_path: Path) -> None:
    """In a root folder with nothing but the C library beside it."""
    chroot = shutil.which("chroot")
    if os.geteuid() != 0 or not chroot:
        pytest.skip("only root can start something in another root folder")
    listed = finish(["ldd", str(dist / "cronwatch")], dist, dict(os.environ)).stdout
    linked = [Path(path) for path in re.findall(r"/\S+", listed)]
    near = {path.parent for path in linked if path.name.startswith("libc.so")}
    for path in (*linked, *(folder / "libm.so.6" for folder in near)):
        (tmp_path / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to("/"))
    (tmp_path / "tmp").mkdir()
    shutil.copy(dist / "cronwatch", tmp_path)

    words = [chroot, str(tmp_path), "/cronwatch", *ADD, "--database", "/tmp/cronwatch.db"]
    done = finish(words, tmp_path, {}, LIMIT_SECONDS)

    said = "cronwatch: /tmp/cronwatch.db is a new database\n"
    assert (done.returncode, done.stderr) == (0, said)


# how it is kept up to date, and what else the README has one do


UPDATES = {
    "venv": ("pip install", "pip install --force-reinstall"),
    "pipx": ("pipx install", "pipx install --force"),
    "uv": ("uv tool install", "uv tool install --force"),
}


def earlier(wheel: Path, folder: Path, version: str) -> Path:
    """A wheel of another version, with another module in it."""
    _, ours, rest = wheel.name.split("-", 2)
    made = folder / f"cronwatch-{version}-{rest}"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "cronwatch.py":
                content = b"def main():\n    print('as it was')\n"
            elif entry.filename.endswith("/METADATA"):
                content = content.replace(
                    b"\nVersion: %b\n" % ours.encode(), b"\nVersion: %b\n" % version.encode()
                )
            elif entry.filename.endswith("/RECORD"):  # without sums
                content = re.sub(rb",.*", b",,", content).replace(ours.encode(), version.encode())
            entry.filename = entry.filename.replace(f"-{ours}.", f"-{version}.")
            new.writestr(entry, content)
    return made


@pytest.mark.proof
@pytest.mark.parametrize("version", ["0.0.1", cronwatch.__version__])
@pytest.mark.parametrize("way", UPDATES)
def test_an_update_is_the_same_line_again(
    dist: Path, tmp_path: Path, way: str, version: str
) -> None:
    """From an older version, and from another state of the same one."""
    (beginning, leads_to), (installs, updates) = WAYS[way], UPDATES[way]
    assert f"`{updates}`" in (ROOT / "README.md").read_text()
    line, wheel = line_of_the_readme(beginning), next(dist.glob("*.whl"))
    shell(tmp_path, line.replace("dist/cronwatch-*.whl", str(earlier(wheel, tmp_path, version))))
    before = shell(tmp_path, f"~/{leads_to}")

    shell(tmp_path, line.replace(installs, updates))

    after = shell(tmp_path, f"~/{leads_to} --version")
    assert (before, after) == ("as it was\n", f"cronwatch {cronwatch.__version__}\n")


@pytest.mark.proof
def test_the_extra_for_apprise_sends(dist: Path, tmp_path: Path) -> None:
    """By the real Apprise, which no other test has."""
    extra = '"$(echo dist/cronwatch-*.whl)[apprise]"'
    assert f"`{extra}`" in (ROOT / "README.md").read_text()
    shell(tmp_path, line_of_the_readme(WAYS["venv"][0]).replace("dist/cronwatch-*.whl", extra))
    program = f"{tmp_path}/cronwatch/bin/cronwatch"
    with closing(Listener()) as listener:
        url = listener.url.replace("http:", "json:")

        shell(
            tmp_path,
            f"cd ~ && {program} integration add apprise phone {url}/x && "
            f"{program} integration test phone",
        )

    (sent,) = listener.received
    assert (sent.path, sent.event["title"]) == ("/x", "✔ This is a test of phone by cronwatch")


@contextmanager
def first_terminal(folder: Path, line: str) -> Iterator[str]:
    """The README's first line at work in a checkout without anything else; the server's URL."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}"],
        cwd=folder,
        env=home(folder),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        try:
            found = next(filter(None, map(URL.search, process.stdout)))
            yield found[0]
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(LIMIT_SECONDS)


@pytest.mark.proof
def test_a_first_alert_comes_in_a_minute(tmp_path: Path) -> None:
    """In a checkout that nothing was built in, by the lines of the README."""
    for pattern in ("*.py", "*.sql", "*.toml", "*.md", "LICENSE", "Makefile"):
        for path in ROOT.glob(pattern):
            shutil.copy(path, tmp_path)
    for name in ("static", "systemd"):
        shutil.copytree(ROOT / name, tmp_path / name)
    first, second = blocks_of_the_readme("## First alert in a minute")
    serves = re.sub(r"\s+#.*", "", first.strip())
    *adds, tail = second.strip().splitlines()
    assert (serves, tail.partition("#")[0].strip()) == ("make run", "tail -F alerts.txt")
    with first_terminal(tmp_path, f"{serves} LISTEN=127.0.0.1:0 PYTHON={sys.executable}"):
        lines = "\n".join([f"cd {tmp_path}", "set -e", *adds])
        said = shell(tmp_path, lines)
        (ping,) = re.findall(r"^  (curl .*)$", said, re.MULTILINE)
        shell(tmp_path, ping)
        alerts = tmp_path / "alerts.txt"

        told = wait_for(lambda: alerts.read_text() if alerts.exists() else "", "an alert", 100)

    assert re.fullmatch(r"Backup did not report: due \d\d:\d\d, grace \S+ \S+\n", told)

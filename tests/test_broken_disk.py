"""A disk that is full, and a file that nobody may write.

A 2xx is on disk, all else is refused honestly, and with room again all works without a restart.
What could not be written meanwhile is no false alert, and the true ones come."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Site
from live_server import Done, Live, run, serving, wait_for
from trouble import limit_pages, make_room, no_room, ping, status_of

import cronwatch

PAGE = 4096  # bytes of a page of the file, SQLite's default


# a disk that fills up


def test_a_scan_that_found_no_room_tells_all_and_each_once_when_there_is(site: Site) -> None:
    jobs = [site.monitor(key=f"job-{n}") for n in range(40)]
    for job in jobs:
        site.get(f"/{job.token}")
    site.clock.move(3600 + 301)
    limit_pages(site, 1)
    with pytest.raises(cronwatch.Refused):
        site.server.scan()
    found = site.events
    make_room(site)

    site.server.scan()
    site.server.scan()

    assert (found, site.events) == ([], ["missed"] * 40)


# a small disk, under a server in a process of its own


class Disk(NamedTuple):
    """A file system of 3 MB with nothing on it."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "cronwatch.db"

    def fill(self, but: int = 0) -> None:
        """Take all the room that is left, but for so many bytes."""
        with open(self.folder / "big", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * PAGE)
            except OSError:
                file.truncate(file.tell() - but)

    def empty(self) -> None:
        (self.folder / "big").unlink()

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The folder for a server: a small disk, its log on another one."""
    found = Disk(tmp_path / "disk")
    found.folder.mkdir()
    try:
        found.mount("-t", "tmpfs", "-o", "size=3m", "tmpfs")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets us mount no file system")
    try:
        (found.folder / "serve.err").symlink_to(tmp_path / "serve.err")
        yield found
    finally:
        subprocess.run(["umount", "--lazy", str(found.folder)], check=True)


@pytest.fixture
def small(disk: Disk) -> Iterator[Live]:
    """A server with a monitor on a small disk."""
    with serving(disk.folder) as live:
        yield live


@pytest.mark.slow
def test_every_ping_that_was_acknowledged_while_a_disk_filled_is_on_it(
    disk: Disk, small: Live
) -> None:
    jobs = [small.add(f"job-{n}") for n in range(4)]
    filled = threading.Event()
    answers: list[int] = []

    def ping_on(shown: dict[str, Any]) -> None:
        rest = 10  # pings after the disk was found full
        while rest:
            rest -= filled.is_set()
            answers.append(status_of(small, shown))

    with ThreadPoolExecutor(len(jobs)) as pool:
        clients = [pool.submit(ping_on, shown) for shown in jobs]
        wait_for(lambda: answers.count(200) > 20, "pings that are heard")
        disk.fill()
        filled.set()
        for client in clients:
            client.result(30)

    assert set(answers) == {200, 503}
    assert small.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    disk.empty()
    assert small.rows("SELECT count(*) AS n FROM ping") == [{"n": answers.count(200)}]


@pytest.mark.slow
def test_a_full_disk_costs_no_more_than_the_pings_that_were_refused(
    disk: Disk, small: Live
) -> None:
    shown = small.add("job")
    for _ in range(3):
        disk.fill()
        refused = [status_of(small, shown) for _ in range(20)]
        page = small.monitor("job")["status"]
        disk.empty()

        assert (refused, page, status_of(small, shown)) == ([503] * 20, "new", 200)

    assert len(small.pings("job")) == 3
    assert small.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.slow
def test_a_log_that_filled_the_disk_is_taken_into_the_file_once_there_is_room(
    disk: Disk, small: Live
) -> None:
    shown = small.add("job")
    disk.fill(but=200_000)
    with closing(sqlite3.connect(small.database)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM ping").fetchone()  # nothing leaves the log
        acknowledged = 0
        while status_of(small, shown) == 200:
            acknowledged += 1
    disk.empty()
    assert status_of(small, shown) == 200
    with closing(sqlite3.connect(small.database)) as other:
        is_busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert (is_busy, len(small.pings("job"))) == (0, acknowledged + 1)


@pytest.mark.slow
def test_a_server_whose_disk_is_full_stops_cleanly(disk: Disk, small: Live) -> None:
    shown = small.add("job")
    disk.fill()
    assert status_of(small, shown) == 503

    assert small.stop() == (0, "")


def refused_start(disk: Disk, *words: str) -> str:
    """The one sentence with which a command ends that cannot work."""
    done = run(disk.folder, *words, "--database", str(disk.database))
    assert isinstance(done, Done)
    assert (done.code, done.out) == (1, "")
    lines = [line for line in done.err.splitlines() if line.startswith("cronwatch: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["serve --listen 127.0.0.1:0", "key create script"])
def test_a_first_start_on_a_full_disk_is_refused_with_its_reason(disk: Disk, words: str) -> None:
    disk.fill()

    assert "full" in refused_start(disk, *words.split())


@pytest.fixture
def new_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the next start that of a version with one more part in its schema."""

    def install() -> None:
        text = (cronwatch.DATA / "schema.sql").read_text()
        number = text.count("\n-- part ") + 1
        (tmp_path / "schema.sql").write_text(f"{text}\n-- part {number}\nCREATE TABLE more (x);\n")
        monkeypatch.setattr(cronwatch, "DATA", tmp_path)

    return install


@pytest.mark.parametrize("room", [0, 100_000], ids=["none", "too little for the copy"])
def test_a_new_version_that_finds_no_room_changes_the_file_once_there_is(
    disk: Disk, new_version: Callable[[], None], room: int
) -> None:
    site = Site(disk.database)
    site.monitor(key="kept")
    site.server.close()
    new_version()
    disk.fill(but=room)

    with pytest.raises(cronwatch.Refused, match=str(disk.database)):
        Site(disk.database)
    disk.empty()
    again = Site(disk.database)
    again.server.close()

    assert [m["key"] for m in again.monitors] == ["kept"]
    assert again.rows("SELECT * FROM more") == []


# a file that is read-only


@pytest.mark.slow
def test_a_start_on_a_read_only_disk_is_refused_with_its_reason(disk: Disk) -> None:
    Site(disk.database).server.close()
    disk.mount("-o", "remount,ro")

    sentence = refused_start(disk, "serve", "--listen", "127.0.0.1:0")

    assert str(disk.database) in sentence


@contextmanager
def immutable(*files: Path) -> Iterator[None]:
    """Files that nobody may write, not even who has them open; skips where there are none such."""
    chattr = shutil.which("chattr") or "true"
    subprocess.run([chattr, "+i", *map(str, files)], capture_output=True, check=False)
    try:
        try:
            files[0].open("r+b").close()
            pytest.skip("this file system does not know files that nobody may write")
        except PermissionError:
            yield
    finally:
        subprocess.run([chattr, "-i", *map(str, files)], capture_output=True, check=False)


@pytest.mark.slow
def test_a_server_whose_file_becomes_read_only_takes_pings_again_after_it(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        shown = live.add("job")
        with immutable(live.database, tmp_path / "cronwatch.db-wal"):
            refused = status_of(live, shown)

        assert (refused, status_of(live, shown), len(live.pings("job"))) == (503, 200, 1)


# what is judged when it works again


@pytest.mark.slow
def test_a_ping_that_is_taken_before_the_next_look_makes_no_missed_of_what_was_refused(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--scan-seconds", "20") as live:
        shown = live.add("job")
        with closing(sqlite3.connect(live.database)) as db, db:
            db.execute("UPDATE monitor SET interval_seconds = 1, grace_seconds = 0")
        ping(live, shown)
        with no_room(live):
            refused = status_of(live, shown)
            due = live.monitor("job")["expectedAt"]
            wait_for(lambda: cronwatch.iso(cronwatch.system_clock() - 100) > due, "the deadline")

        ping(live, shown)

        assert (refused, live.events("job")) == (503, [])

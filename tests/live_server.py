"""A real `cronwatch serve`, its command line and a shell with curl, for the end-to-end tests.

Everything is on the loopback, has a folder of its own, and is ended by who started it.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

import cronwatch

T = TypeVar("T")
CRONWATCH = [sys.executable, "-m", "cronwatch"]
LIMIT_SECONDS = 30  # for whatever takes a second at the most where nothing else runs
URL = re.compile(r"http://127\.0\.0\.1:[0-9]+")
REPLY = re.compile(r"(.*?)\n([0-9]{3})\n", re.DOTALL)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(ask: Callable[[], T], what: str, limit: float = LIMIT_SECONDS) -> T:
    """What `ask` answers once it is true; fails where it never is within the limit, in seconds."""
    end = time.monotonic() + limit
    while not (answer := ask()):
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(0.01)
    return answer


def environment(**more: str) -> dict[str, str]:
    """The environment of a process: nothing of cronwatch's or a proxy's but what is given. Its
    modules are compiled once, as an installation has them: that takes longer than a start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CRONWATCH_")
        and not name.lower().endswith("_proxy")
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "PYTHONPATH": str(Path(cronwatch.__file__).parent), **more}


def unmeasured(**more: str) -> dict[str, str]:
    """The same for one that will be killed, which would tear the file of measurements."""
    environ = environment(**more)
    return {name: value for name, value in environ.items() if not name.startswith("COVERAGE")}


class Done(NamedTuple):
    """A process that has ended; `code` is None where it had to be killed."""

    code: int | None
    out: str
    err: str


def run(folder: Path, *words: str, **environ: str) -> Done:
    """Run a command of the command line to its end."""
    try:
        done = subprocess.run(
            [*CRONWATCH, *words],
            cwd=folder,
            env=environment(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return Done(
            None,
            *(
                part.decode() if isinstance(part, bytes) else part or ""
                for part in (late.stdout, late.stderr)
            ),
        )
    return Done(done.returncode, done.stdout, done.stderr)


def call(*words: str, clock: Callable[[], int] = cronwatch.system_clock, **environ: str) -> Done:
    """Run a command in this process, which is not the server's either: no start to wait for."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in os.environ:
            if name.startswith("CRONWATCH_"):
                patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        try:
            code: Any = cronwatch.main(words, clock)
        except SystemExit as end:
            code = end.code
    return Done(code or 0, _written(out), _written(err))


def _written(file: io.TextIOWrapper) -> str:
    file.seek(0)
    return file.read()


class Reply(NamedTuple):
    """What one curl printed, and the status that it saw."""

    status: int
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def bash(folder: Path, script: str, **environ: str) -> list[Reply]:
    """Run a script; a reply for each curl in it that prints one.

    The lines of the script stay as they are: that curl is quiet and ends with the status of the
    reply is in its configuration file."""
    (folder / ".curlrc").write_text(
        'silent\nshow-error\nmax-time = 20\nwrite-out = "\\n%{http_code}\\n"\n'
    )
    path = f"{folder}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_SECONDS,
        check=False,
        env=environment(HOME=str(folder), PATH=path, **environ),
    )
    assert done.stderr == ""
    found = REPLY.findall(done.stdout)
    assert "".join(f"{body}\n{status}\n" for body, status in found) == done.stdout
    return [Reply(int(status), body) for body, status in found]


def program(folder: Path, name: str, script: str = "exit 0") -> Path:
    """A program in the folder's `bin`, where `bash` finds it; `../name` is beside it."""
    (folder / "bin").mkdir(exist_ok=True)
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@dataclass
class Live:
    """A server that runs in a process of its own."""

    folder: Path
    process: subprocess.Popen[str]
    first_line: str = ""
    url: str = ""
    key: str = ""  # a read-write API key, made when the server is started

    def await_url(self) -> None:
        """Wait until it says where it serves."""
        self.first_line = first_line(self.process)
        url = URL.search(self.first_line)
        assert url, f"serve printed {self.first_line!r} and {self.log!r}"
        self.url = url[0]

    @property
    def database(self) -> Path:
        return self.folder / "cronwatch.db"

    @property
    def log(self) -> str:
        return (self.folder / "serve.err").read_text()

    def cli(self, *words: str) -> str:
        """What a command prints that must work, run as a process."""
        return self._worked(run(self.folder, *words, "--database", str(self.database)))

    def quick(self, *words: str) -> str:
        """The same without starting one."""
        return self._worked(call(*words, "--database", str(self.database)))

    @staticmethod
    def _worked(done: Done) -> str:
        assert (done.code, done.err) == (0, ""), done
        return done.out

    def ask(self, method: str, path: str, given: Any = None, key: str | None = None) -> Reply:
        """A request to the management API, with the server's key if no other is given."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            None if given is None else json.dumps(given).encode(),
            {"X-Api-Key": key or self.key, "Content-Type": "application/json"},
            method=method,
        )
        try:
            with DIRECT.open(request, timeout=LIMIT_SECONDS) as reply:
                return Reply(reply.status, reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read().decode())

    def add(self, key: str, **fields: Any) -> dict[str, Any]:
        """A new monitor that expects an hourly run, as the API shows it."""
        reply = self.ask(
            "POST", "/heartbeats", {"name": key, "key": key, "intervalSeconds": 3600, **fields}
        )
        assert reply.status == 201, reply
        shown: dict[str, Any] = reply.json
        return shown

    def monitor(self, key: str) -> dict[str, Any]:
        """A monitor as the API shows it; empty where there is none."""
        found: list[dict[str, Any]] = self.ask("GET", "/heartbeats?limit=100").json["heartbeats"]
        return next((monitor for monitor in found if monitor["key"] == key), {})

    def events(self, key: str) -> list[dict[str, Any]]:
        """The events of a monitor, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", "/events?limit=200").json["events"]
        return [e for e in reversed(found) if e["monitor"] and e["monitor"]["key"] == key]

    def rows(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        """What is on disk."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, given)]

    def pings(self, key: str) -> list[dict[str, Any]]:
        """The pings of a monitor as they are stored, oldest first."""
        return self.rows(
            "SELECT p.* FROM ping p JOIN monitor m ON m.num = p.monitor "
            "WHERE m.key = ? ORDER BY p.num",
            key,
        )

    def runs(self, key: str) -> list[dict[str, Any]]:
        """The runs of a monitor as they are stored, oldest first."""
        return self.rows(
            "SELECT r.* FROM run r JOIN monitor m ON m.num = r.monitor "
            "WHERE m.key = ? ORDER BY r.num",
            key,
        )

    def end(self) -> None:
        """Leave no process, whatever has happened."""
        self.process.kill()
        self.process.communicate()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Stop the server; its exit code and what it printed after its first line."""
        self.process.send_signal(by)
        rest, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        return self.process.returncode, rest


def first_line(process: subprocess.Popen[str]) -> str:
    """What a process prints first; empty where it prints nothing."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], LIMIT_SECONDS)
    return process.stdout.readline() if ready else ""


def launch(
    folder: Path,
    *flags: str,
    listen: str = "127.0.0.1:0",
    program: Sequence[str] = (),
    measured: bool = True,
    **environ: str,
) -> Live:
    """A server that was started and may not serve yet: it has no URL.

    Its file and its address are flags, except with an empty `listen`."""
    placed = ["--database", str(folder / "cronwatch.db"), "--listen", listen] if listen else []
    command = [*(program or CRONWATCH), "serve", *placed, "--api-rate-limit", "0", *flags]
    with open(folder / "serve.err", "a") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**environ) if measured else unmeasured(**environ),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    return Live(folder, process)


@contextmanager
def serving(folder: Path, *flags: str, **how: Any) -> Iterator[Live]:
    """A server of `launch` while the block runs, which has a key. It must stop cleanly, with
    nothing untoward in its log."""
    live = launch(folder, *flags, **how)
    process = live.process
    try:
        live.await_url()
        live.key = live.quick("key", "create", f"tests {time.time_ns()}").strip()
        yield live
        if process.poll() is None:
            assert live.stop() == (0, "")
        assert "Traceback" not in live.log
    finally:
        live.end()


@contextmanager
def in_thread(target: Callable[[], object]) -> Iterator[None]:
    """A thread that must have ended by the end of the block."""
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()

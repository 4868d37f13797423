"""What the tests share: a site, which is a server on a file of its own with a clock to move."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import webtest

import cronwatch

NOW = 1_772_452_800_000  # 2026-03-02 12:00 UTC, a Monday
ADDRESS = "192.0.2.1"
NOBODY = "http://127.0.0.1:9/"  # nobody listens there


def pytest_configure() -> None:
    """What a shell starts in the background ignores these signals; what we start would, too."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """A command that a test runs sets the level of the log for its process: not for the next."""
    level = cronwatch.log.level
    yield
    cronwatch.log.setLevel(level)


class Clock:
    """Stands still until it is moved; to set `now` alone is to change the clock of the wall."""

    def __init__(self) -> None:
        self.now = NOW
        self.uptime = 0.0  # seconds

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        self.uptime += seconds


class Made(NamedTuple):
    """A monitor as a test names it."""

    num: int
    id: str
    key: str
    token: str
    code: str

    def at(self, path: str, api: str = "") -> str:
        """A path that names it by {code}, {token}, {key} or {id}, and an API key by {api}."""
        return path.format(**self._asdict(), api=api)


class Site:
    """A server that nobody runs: its turns are cranked, its requests come through webtest."""

    def __init__(self, database: Path, **settings: Any) -> None:
        self.database, self.clock = database, Clock()
        self.server = cronwatch.Server(
            cronwatch.Settings(
                **{
                    "database": str(database),
                    "base_url": "http://cron.test",
                    "timezone": "UTC",
                    "api_rate_limit": 0,
                    **settings,
                }
            ),
            self.clock,
            lambda: self.clock.uptime,
        )
        self.app = webtest.TestApp(self.server.app, extra_environ={"REMOTE_ADDR": ADDRESS})

    def monitor(self, handles: dict[str, str] | None = None, **columns: Any) -> Made:
        """A new monitor that expects an hourly run, or what the columns of the table say."""
        hourly = {} if "cron" in columns else {"interval_seconds": 3600}
        num = self.server.act(
            cronwatch.create_monitor, {"name": "Job", **hourly, **columns}, handles or {}
        )
        (found,) = self.rows("SELECT id, key FROM monitor WHERE num = ?", num)
        ours = {
            row["kind"]: row["text"]
            for row in self.rows("SELECT kind, text FROM handle WHERE monitor = ?", num)
        }
        return Made(num, found["id"], found["key"], ours["token"], ours["code"])

    def api_key(self, permission: str = "read-write", secret: str | None = None) -> str:
        """A new API key, or one that is adopted."""
        name = f"key {len(self.rows('SELECT num FROM api_key'))}"
        return self.server.act(cronwatch.create_key, name, permission, secret)

    def rows(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        """What a connection of its own finds, or changes, in the database file."""
        db = sqlite3.connect(self.database)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = on")
        try:
            with db:
                return [dict(row) for row in db.execute(sql, given)]
        finally:
            db.close()

    def send(
        self,
        method: str,
        uri: str,
        body: str | bytes = b"",
        headers: dict[str, str] | None = None,
        address: str = ADDRESS,
    ) -> webtest.TestResponse:
        """A request whose target arrives byte for byte, as Waitress hands it on; any status."""
        path, _, query = uri.partition("?")
        raw = body.encode() if isinstance(body, str) else body
        return self.app.request(
            path,
            method=method,
            body=raw,
            headers=headers or {},
            expect_errors=True,
            environ={
                "REQUEST_URI": uri,
                "QUERY_STRING": query,
                "REMOTE_ADDR": address,
                "CONTENT_LENGTH": str(len(raw)),
            },
        )

    def get(self, uri: str, **headers: str) -> webtest.TestResponse:
        return self.send("GET", uri, headers=_named(headers))

    def post(self, uri: str, body: str | bytes = b"", **headers: str) -> webtest.TestResponse:
        return self.send("POST", uri, body, _named(headers))

    @property
    def pings(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM ping ORDER BY num")

    @property
    def kinds(self) -> list[str]:
        return [ping["kind"] for ping in self.pings]

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM run ORDER BY num")

    @property
    def monitors(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM monitor ORDER BY num")

    @property
    def events(self) -> list[str]:
        return [row["kind"] for row in self.rows("SELECT kind FROM event ORDER BY num")]


def basic(secret: str) -> str:
    """The header of `curl -u SECRET:`."""
    return "Basic " + base64.b64encode(f"{secret}:".encode()).decode()


def at(seconds: float) -> str:
    """An instant after the first one, as the API writes it."""
    return cronwatch.iso(NOW + round(seconds * 1000)) or ""


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """For databases: in memory where the system has such a folder, or every test waits for fsync.

    It holds empty.db, an empty one, to be copied."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        Site(Path(name) / "empty.db").server.close()
        yield Path(name)


@pytest.fixture
def make_site(folder: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites with settings of their own, and closes them at the end."""
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        database = Path(tempfile.mkdtemp(dir=folder)) / "cronwatch.db"
        shutil.copy(folder / "empty.db", database)
        made.append(Site(database, **settings))
        return made[-1]

    yield make
    for site in made:
        site.server.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def api_key(site: Site) -> str:
    return site.api_key()


def read_headings(name: str) -> dict[str, str]:
    """The headings of tables/NAME.txt, each with the text below it."""
    text = (Path(__file__).parent / "tables" / f"{name}.txt").read_text("utf-8")
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {heading: below for heading, _, below in parts}


def read_table(name: str, heading: str) -> list[Any]:
    """The rows below a heading of tables/NAME.txt as parameters: what stands between arrows, with
    blanks around left off. <tab> is one; a line that begins with "# " is a comment."""
    rows: list[Any] = []
    for line in read_headings(name)[heading].splitlines():
        first, *rest = re.split(r" =>(?= |$)", line.replace("<tab>", "\t"))
        if rest:
            rows.append([first, *map(str.strip, rest)])
        elif first and not first.startswith("# "):
            rows.append(first)
    return rows


def finish(
    words: list[str], folder: Path, environ: dict[str, str], seconds: int = 60, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """A program that has run to its end in a folder, with this on its standard input."""
    return subprocess.run(
        words,
        cwd=folder,
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )

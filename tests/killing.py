"""A server that is killed while it works: the crowd that pings it, the listeners that hear of it,
and what has to be true of its file and of what was heard.

A look at the file of a killed server is a look at a copy: whoever opens the file itself mends it,
and that is the business of the server's next start.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any, NamedTuple
from urllib.parse import urlencode

from conftest import Site
from live_server import LIMIT_SECONDS, Live, in_thread, launch, wait_for
from oracle import Action, Life, Terms

import cronwatch

FAIL_SHARE = 0.08  # of the ends of runs: enough to tell of, few enough to be told in time


def seed(name: str) -> int:
    """A fresh seed, or the one in CRONWATCH_SEED; it is printed, and pytest shows it on red."""
    found = int(os.environ.get("CRONWATCH_SEED") or random.randrange(2**32))
    print(f"{name}: CRONWATCH_SEED={found}")
    return found


def fuse(count: int, act: Callable[[], object]) -> Callable[[], None]:
    """Something to call from any thread that acts at one call, the one with this number."""
    left = itertools.count(count - 1, -1)

    def burn() -> None:
        if next(left) == 0:
            act()

    return burn


def _nothing() -> None:
    """What is called where nothing has to happen."""


# -- the server


class Victim:
    """`cronwatch serve` on one file, to be killed and started again."""

    def __init__(self, folder: Path, *flags: str, product: Path | None = None) -> None:
        self.database, self._folder, self._flags = folder / "cronwatch.db", folder, flags
        self._environ = {"PYTHONPATH": str(product)} if product else {}
        self._live: Live | None = None

    @property
    def live(self) -> Live:
        assert self._live is not None, "it was never started"
        return self._live

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        self._live = launch(self._folder, *self._flags, measured=False, **self._environ)

    def start(self) -> None:
        """Start it, and wait until it takes requests."""
        self.launch()
        self.live.await_url()

    def kill(self) -> None:
        """End it at this instant; any thread may do so, and again."""
        self.live.process.kill()

    def bury(self, stopping: bool = False) -> None:
        """Wait until it is gone: by a kill, unless it was told to stop before."""
        self.live.process.communicate(timeout=LIMIT_SECONDS)
        code = self.live.process.returncode
        assert code == -9 or (stopping and code == 0), f"it ended with {code}: {self.live.log!r}"

    def outlive(self, seconds: float = LIMIT_SECONDS) -> None:
        """Give it so long, or until it is gone."""
        with suppress(subprocess.TimeoutExpired):
            self.live.process.wait(seconds)

    def end(self) -> None:
        """Leave no process, whatever has happened."""
        if self._live is not None:
            self._live.end()

    def hurry(self) -> None:
        """Let what waits for its next try be due now: after one that a kill cut off it is 60 s."""
        with closing(sqlite3.connect(self.database, timeout=LIMIT_SECONDS)) as db, db:
            db.execute("UPDATE integration SET rests_until = NULL")
            db.execute("UPDATE alert SET due_at = 0 WHERE state = 'pending' AND tries > 0")


@contextmanager
def victim(folder: Path, *flags: str, product: Path | None = None) -> Iterator[Victim]:
    """A server that is not started yet, in a new folder; gone at the end of the block."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        server = Victim(Path(name), *flags, product=product)
        try:
            yield server
        finally:
            server.end()


@contextmanager
def look(database: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the file, with its write-ahead log, of a server that is dead."""
    with tempfile.TemporaryDirectory(dir=database.parent) as name:
        for part in (database, database.with_name(f"{database.name}-wal")):
            if part.exists():
                shutil.copy(part, name)
        with closing(sqlite3.connect(Path(name) / database.name)) as db:
            db.row_factory = sqlite3.Row
            yield db


@contextmanager
def peek(database: Path) -> Iterator[sqlite3.Connection]:
    """The file itself, which a server has open: one state of it, however long the look."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")
        yield db


def unsound(db: sqlite3.Connection) -> list[Any]:
    """What SQLite finds wrong with a file."""
    found = [
        tuple(row)
        for pragma in ("integrity_check", "foreign_key_check")
        for row in db.execute(f"PRAGMA {pragma}")
    ]
    return [row for row in found if row != ("ok",)]


def living_site(database: Path) -> Site:
    """A site on a new file, at the time of now, to arrange what a server finds there."""
    site = Site(database)
    site.clock.now = time.time_ns() // 1_000_000
    return site


# -- who hears of it


class Heard(NamedTuple):
    """A request that came: the id in its header, and its event."""

    id: str
    event: dict[str, Any]


class Listener(TCPServer):
    """Hears the webhooks of one integration, one after the other, as they came."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hearing)
        self.heard: list[Heard] = []
        self.status: Callable[[], int] = lambda: 200
        self.before: Callable[[], object] = _nothing  # called before an answer
        self.after: Callable[[], object] = _nothing
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only a connection that broke is nothing to tell of: who asked was killed."""
        raise  # noqa: PLE0704 - called by socketserver where an exception is handled


class _Hearing(BaseHTTPRequestHandler):
    server: Listener
    timeout = 5

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or -1)
        body = self.rfile.read(length)
        if len(body) != length:  # who sent it is dead
            return
        self.server.heard.append(Heard(self.headers["webhook-id"], json.loads(body)))
        self.server.before()
        with suppress(OSError):  # whom it answers may be dead
            self.send_response(self.server.status())
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
        self.server.after()

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def listening(count: int = 1) -> Iterator[list[Listener]]:
    """Listeners that run, each in a thread of its own, until the end of the block."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(Listener()) for _ in range(count)]
        for each in listeners:
            stack.enter_context(in_thread(partial(each.serve_forever, 0.02)))
            stack.callback(each.shutdown)
        yield listeners


# -- who pings it

SORTS = {"ends": 40, "runs": 45, "pulse": 12, "new": 3}  # of what is pinged, and how often


class Job(NamedTuple):
    """A monitor that is pinged; `sort` says whether with ends alone, with runs, or as a pulse."""

    num: int
    token: str
    sort: str


class Sent(NamedTuple):
    """A ping that was sent, with a message to find it by; for a new monitor without a job."""

    mark: str
    kind: str
    job: Job | None
    series: str | None = None


PATHS = {
    "start": "/{token}/start?rid={series}",
    "success": "/ping/{token}/0?rid={series}",
    "fail": "/{token}/fail?rid={series}",
    "progress": "/ping/{token}/progress/50?series={series}",
    "log": "/{token}/log?rid={series}",
}


class Client:
    """One of the crowd. It remembers, over the kills, which of its runs are open."""

    def __init__(self, jobs: Sequence[Job], key: str, chance: random.Random, keeps: bool) -> None:
        self._jobs = {sort: [job for job in jobs if job.sort == sort] for sort in SORTS}
        self._key, self._chance, self._keeps = key, chance, keeps
        self._open: list[Sent] = []

    def ping_on(self, address: str, play: Play, acknowledged: Callable[[], object]) -> None:
        """Ping, one after the other, until the server does not answer any more."""
        with closing(http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)) as connection:
            while True:
                ping = self._next()
                status = None
                with suppress(OSError, http.client.HTTPException):
                    status = self._send(connection, ping)
                if status is None:
                    play.unknown.append(ping)
                    return
                if not 200 <= status < 300:
                    play.refused.append(status)
                    return
                play.acknowledged.append(ping)
                acknowledged()
                if ping.kind in ("start", "progress"):
                    self._open.append(ping)

    def _send(self, connection: http.client.HTTPConnection, ping: Sent) -> int | None:
        """The status of the answer; None where it is not the server's, whose port is free once it
        is dead: then another program may have got it."""
        headers = {"Authorization": f"Bearer {self._key}"} if ping.job is None else {}
        if not self._keeps:
            headers["Connection"] = "close"
        body = b"a line of a log\n" * self._chance.randrange(20)
        posts = ping.kind != "progress" and self._chance.random() < 0.5
        connection.request(
            "POST" if posts else "GET", self._uri(ping), body if posts else None, headers
        )
        reply = connection.getresponse()
        with suppress(OSError, http.client.HTTPException):  # the status was the answer
            reply.read()
        return reply.status if "Content-Security-Policy" in reply.headers else None

    def _next(self) -> Sent:
        (sort,) = self._chance.choices(list(SORTS), list(SORTS.values()))
        end = "fail" if self._chance.random() < FAIL_SHARE else "success"
        mark = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        if sort == "new":
            return Sent(mark, "success", None)
        if sort == "runs" and self._open and self._chance.random() < 0.6:
            begun = self._open.pop(self._chance.randrange(len(self._open)))
            kind = "progress" if self._chance.random() < 0.1 else end
            return Sent(mark, kind, begun.job, begun.series)
        job = self._chance.choice(self._jobs[sort])
        if sort == "runs":
            return Sent(mark, "start", job, mark)
        if sort == "pulse":
            return Sent(mark, "success", job)
        return Sent(mark, "log" if self._chance.random() < 0.05 else end, job)

    def _uri(self, ping: Sent) -> str:
        if ping.job is None:  # expected half a day away: not missed while the crowd is at it
            hour = (time.gmtime().tm_hour + 12) % 24
            path = f"/ping/{ping.mark}?" + urlencode({"schedule": f"0 {hour} * * *"})
        else:
            path = PATHS[ping.kind].format(token=ping.job.token, series=ping.series or "")
        return f"{path}&msg={ping.mark}"


@contextmanager
def crowd(
    clients: Sequence[Client], url: str, play: Play, acknowledged: Callable[[], object]
) -> Iterator[None]:
    """The clients at work; the block has to end the server, or they never go."""
    address = url.removeprefix("http://")
    with ExitStack() as stack:
        for client in clients:
            stack.enter_context(in_thread(partial(client.ping_on, address, play, acknowledged)))
        yield


# -- what a start makes of the time in which nobody was there


class Snapshot(NamedTuple):
    """What a start judges."""

    alive_at: int | None
    monitors: list[tuple[Any, ...]]
    last_event: int


def snapshot(db: sqlite3.Connection) -> Snapshot:
    """The state of a file."""
    (alive_at,) = db.execute("SELECT max(value) FROM meta WHERE name = 'alive_at'").fetchone()
    (last_event,) = db.execute("SELECT coalesce(max(num), 0) FROM event").fetchone()
    monitors = db.execute("SELECT status, expected_at, due_at FROM monitor")
    return Snapshot(alive_at, [tuple(m) for m in monitors], last_event)


def misjudged(db: sqlite3.Connection, before: Snapshot) -> list[Any]:
    """Where a start did not judge an absence whole, or told of what fell into it."""
    after = snapshot(db)
    since, end = before.alive_at, after.alive_at
    if since is None or since == end:  # killed before it judged: nothing, or all
        return [] if since is None or before == after else ["judged by halves"]
    events = db.execute(
        "SELECT kind, at FROM event WHERE num > ? AND kind IN ('missed', 'stuck') "
        "AND at BETWEEN ? AND ?",
        (before.last_event, since, end),
    )
    return [tuple(event) for event in events]


# -- rounds of load and kill


@dataclass
class Play:
    """What was seen in all rounds; the lists of what went wrong stay empty."""

    heard: dict[str, list[Heard]]  # by the name of the integration
    acknowledged: list[Sent] = field(default_factory=list)
    unknown: list[Sent] = field(default_factory=list)  # the connection broke without a status
    commanded: list[str] = field(default_factory=list)  # ids of events, as the command heard them
    kills: Counter[str] = field(default_factory=Counter)  # by their moment
    lost: list[Any] = field(default_factory=list)
    unsound: list[Any] = field(default_factory=list)
    misjudged: list[Any] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    log: str = ""


def missing(db: sqlite3.Connection, sent: Sequence[Sent]) -> list[Sent]:
    """The pings that are not in the file, under their monitor, as what they were."""
    stored = {
        mark: (kind, series, key if key == mark else num)
        for mark, kind, series, num, key in db.execute(
            "SELECT p.message, p.kind, p.series, p.monitor, m.key FROM "
            "ping p JOIN monitor m ON m.num = p.monitor"
        )
    }
    return [
        ping
        for ping in sent
        if stored.get(ping.mark)
        != (ping.kind, ping.series, ping.mark if ping.job is None else ping.job.num)
    ]


class Stage:
    """A file with monitors and integrations, the server on it, and who pings and hears."""

    MONITORS: tuple[tuple[str, int, dict[str, Any]], ...] = (
        ("ends", 6, {"interval_seconds": 10_800}),
        ("runs", 6, {"interval_seconds": 10_800, "max_run_seconds": 86_400}),
        ("pulse", 3, {"cron": "* * * * * *", "grace_seconds": 0}),
        ("pulse", 2, {"interval_seconds": 1, "grace_seconds": 1}),
    )
    FLAGS = ("--scan-seconds", "0.1", "--failure-alert-seconds", "86400", "--keep-pings", "0")

    def __init__(
        self,
        server: Victim,
        listeners: Sequence[Listener],
        chance: random.Random,
        clients: int = 4,
    ) -> None:
        self.server, self.listeners, self.chance = server, listeners, chance
        names = ("steady", "flaky")
        self.play = Play({name: each.heard for name, each in zip(names, listeners, strict=True)})
        self._commanded = server.database.with_name("commanded")
        self._commanded.touch()
        site = living_site(server.database)
        self._integrate(site)
        jobs = []
        for sort, count, columns in self.MONITORS:
            for made in (site.monitor(name=sort, **columns) for _ in range(count)):
                jobs.append(Job(made.num, made.token, sort))
        key = site.api_key()
        site.server.close()
        self.clients = [
            Client(jobs, key, random.Random(chance.random()), keeps=number % 2 == 0)
            for number in range(clients)
        ]
        listeners[1].status = lambda: 500 if chance.random() < 0.2 else 200

    def _integrate(self, site: Site) -> None:
        for name, listener in zip(self.play.heard, self.listeners, strict=True):
            config = {"url": listener.url, "secret": cronwatch.make_signing_secret()}
            site.server.act(cronwatch.create_integration, "webhook", name, config)
        command = f'echo "$CRONWATCH_EVENT_ID" >> "{self._commanded}"'
        site.server.act(cronwatch.create_integration, "command", "command", {"command": command})

    def round(self, how: str = "") -> None:
        """Start, ping, and kill at this moment, else at one that chance picks."""
        with look(self.server.database) as db:
            before = snapshot(db)
        self.server.launch()
        if not how and self.chance.random() < 0.15:
            self.server.outlive(self.chance.uniform(0.1, 0.45))
            self._kill("while it starts", before, 0)
            return
        self.server.live.await_url()
        with peek(self.server.database) as db:
            self.play.misjudged += misjudged(db, before)
        if self.chance.random() < 0.5:
            self.server.hurry()
        first = len(self.play.acknowledged)
        how = how or self.chance.choice(tuple(MOMENTS))
        wait, acknowledged = MOMENTS[how](self)
        with crowd(self.clients, self.server.live.url, self.play, acknowledged):
            try:
                wait()
            finally:
                self.server.kill()
        self._kill(how, None, first)

    def _kill(self, how: str, before: Snapshot | None, first: int) -> None:
        """Kill, if nobody has yet, and look at what is left."""
        self.server.kill()
        self.server.bury(stopping=how in STOPS)
        self.play.kills[how] += 1
        for listener in self.listeners:
            listener.before = listener.after = _nothing
        with look(self.server.database) as db:
            self.play.unsound += unsound(db)
            self.play.lost += missing(db, self.play.acknowledged[first:])
            if before:
                self.play.misjudged += misjudged(db, before)
        if how in STOPS:
            self.play.refused = [status for status in self.play.refused if status != 503]

    def end(self) -> Play:
        """Start once more, until all is told; then stop."""
        self.listeners[1].status = lambda: 200
        self.server.start()
        self.server.hurry()
        wait_for(self._is_told, "all alerts", 10 * LIMIT_SECONDS)
        assert self.server.live.stop() == (0, "")
        self.play.commanded = self._commanded.read_text().split()
        self.play.log = self.server.live.log
        return self.play

    def _is_told(self) -> bool:
        with peek(self.server.database) as db:
            return not list(db.execute("SELECT 1 FROM alert WHERE state = 'pending' LIMIT 1"))


Moment = tuple[Callable[[], object], Callable[[], object]]  # to wait for, to do at each answer


def _at_a_time(stage: Stage) -> Moment:
    return partial(stage.server.outlive, stage.chance.uniform(0.05, 0.5)), _nothing


def _after_an_answer(stage: Stage) -> Moment:
    burn = fuse(stage.chance.randrange(1, 150), stage.server.kill)
    return partial(stage.server.outlive, 2), burn


def _at_a_listener(moment: str, stage: Stage) -> Moment:
    listener = stage.chance.choice(stage.listeners)
    setattr(listener, moment, fuse(stage.chance.randrange(1, 8), stage.server.kill))
    return partial(stage.server.outlive, 1), _nothing


def _stop(graces: tuple[float, float], stage: Stage) -> Moment:
    load, grace = stage.chance.uniform(0.03, 0.3), stage.chance.uniform(*graces)

    def wait() -> None:
        stage.server.outlive(load)
        stage.server.live.process.terminate()
        stage.server.outlive(grace)

    return wait, _nothing


MOMENTS: dict[str, Callable[[Stage], Moment]] = {
    "at a time": _at_a_time,
    "after an answer": _after_an_answer,
    "before a listener answers": partial(_at_a_listener, "before"),
    "after a listener has answered": partial(_at_a_listener, "after"),
    "while it stops": partial(_stop, (0, 0.1)),
    "once it has stopped": partial(_stop, (LIMIT_SECONDS, LIMIT_SECONDS)),
}
STOPS = ("while it stops", "once it has stopped")


# -- what is in the file at the end, and what was heard


def _by_monitor(db: sqlite3.Connection, table: str) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in db.execute(f"SELECT * FROM {table} ORDER BY num"):
        found[row["monitor"]].append(dict(row))
    return found


def wrong_stories(db: sqlite3.Connection) -> list[str]:
    """The monitors whose events, ended runs and status are not what the oracle makes of their
    pings; none of them has a deadline in sight."""
    pings, events, runs = (_by_monitor(db, table) for table in ("ping", "event", "run"))
    wrong = []
    for m in db.execute("SELECT * FROM monitor WHERE name IN ('ends', 'runs')"):
        num, life = m["num"], Life(Terms(interval_seconds=10_800), m["created_at"])
        for ping in pings[num]:
            life.do(Action(ping["at"], ping["kind"], ping["series"]))
        wanted = (
            [(told.kind, told.at, told.failed) for told in life.told],
            Counter((run.series, run.state, run.ended) for run in life.runs if run.was_ended),
            (life.status, max((ping["at"] for ping in pings[num]), default=None)),
        )
        found = (
            [(event["kind"], event["at"], _failed_count(event)) for event in events[num]],
            Counter((run["series"], run["state"], run["ended_at"]) for run in _ended(runs[num])),
            (m["status"], m["last_ping_at"]),
        )
        if found != wanted:
            wrong.append(f"monitor {num} has {found}, not {wanted}")
    return wrong


def _failed_count(event: dict[str, Any]) -> int | None:
    count: int | None = json.loads(event["body"])["failedCount"]
    return count if event["kind"] == "recovered" else None


def _ended(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["state"] in ("success", "failed")]


def wrong_events(db: sqlite3.Connection) -> list[str]:
    """The monitors that were told of something but their flips, or not of one of these."""
    flips, events = _by_monitor(db, "flip"), _by_monitor(db, "event")
    wrong = []
    for num in {*flips, *events} - {None}:
        statuses = ["new", *(flip["status"] for flip in flips[num])]
        told = [
            (flip["reason"] or "recovered", flip["at"])
            for flip, before in zip(flips[num], statuses, strict=False)
            if flip["status"] == "down" or before == "down"
        ]
        found = [(event["kind"], event["at"]) for event in events[num]]
        if found != told:
            wrong.append(f"monitor {num} was told of {found}, not of {told}")
    return wrong


def wrong_alerts(db: sqlite3.Connection) -> list[str]:
    """The events that have not one alert for each integration that hears of them."""
    names = dict(db.execute("SELECT num, name FROM integration"))
    alerts: dict[int, list[str]] = defaultdict(list)
    for event, integration in db.execute("SELECT event, integration FROM alert"):
        alerts[event].append(names[integration])
    wrong = []
    for num, kind, body in db.execute("SELECT num, kind, body FROM event"):
        about = json.loads(body)["about"][:1] if kind == "delivery_failed" else []
        if sorted(alerts[num]) != sorted(set(names.values()).difference(about)):
            wrong.append(f"{kind} {num} is told to {alerts[num]}")
    return wrong


def ids_heard(play: Play) -> dict[str, list[str]]:
    """The ids of the events that each integration heard of, in their order. Of a command that a
    kill cut off the shell may still run: only the first time counts."""
    heard = {name: [each.id for each in came] for name, came in play.heard.items()}
    return {**heard, "command": list(dict.fromkeys(play.commanded))}


def unheard(db: sqlite3.Connection, play: Play) -> list[str]:
    """The events that an integration has an alert of and did not hear, or heard without one."""
    meant = defaultdict(set)
    for name, id_ in db.execute(
        "SELECT i.name, e.id FROM event e JOIN alert a ON a.event = e.num JOIN integration i "
        "ON i.num = a.integration"
    ):
        meant[name].add(id_)
    return [
        f"{name}: {id_}"
        for name, ids in ids_heard(play).items()
        for id_ in meant[name].symmetric_difference(ids)
    ]


def told_twice(play: Play) -> list[str]:
    """The transitions that came under two ids, and the ids under which two came."""
    pairs = set()
    for id_, event in itertools.chain(*play.heard.values()):
        monitor, run = event["monitor"], event["run"]
        ids = [monitor and monitor["id"], run and run["id"]]
        pairs.add((id_, json.dumps([event["kind"], event["at"], *ids, event["gap"]])))
    counts = Counter(itertools.chain(*pairs))
    return [text for text, count in counts.items() if count > 1]


def disorder(db: sqlite3.Connection, play: Play) -> list[str]:
    """Where an integration heard of a monitor what came before what it had heard already."""
    places = {
        id_: (monitor, num)
        for id_, monitor, num in db.execute("SELECT id, monitor, num FROM event")
    }
    wrong = []
    for name, ids in ids_heard(play).items():
        last: dict[int | None, int] = defaultdict(int)
        for monitor, num in (places.get(id_, (None, 0)) for id_ in ids):
            if monitor is not None and num < last[monitor]:
                wrong.append(f"{name}: event {num} after {last[monitor]}")
            last[monitor] = num
    return wrong

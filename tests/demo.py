"""Examples for who wants to look first: `make demo`, or `python tests/demo.py`.

Each job has a story: its pings, from long ago into the time to come. What lies in the past is told
at once, with a clock that is moved; the rest at its own pace, for as long as the demo runs. The
database is gone at the end.
"""

from __future__ import annotations

import argparse
import heapq
import io
import itertools
import json
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import webtest

import cronwatch

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NAME, PASSWORD = "demo", "cronwatch"
OUTAGE = (11 * HOUR + 20 * MINUTE, 10 * HOUR + 45 * MINUTE)  # so long ago the server was away
CERTIFICATE_LOG = """renewing example.org
connecting to the directory server
error: the challenge could not be verified (timed out after 10 s)
nothing was changed"""
RULE = {"field": "rows", "operator": "lt", "value": 1}


class DemoClock:
    """Shows the time that it is set to, and the true one from when it is let go."""

    at: int | None = None

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 if self.at is None else self.at


class StoryPing(NamedTuple):
    """What a job sends, and when; `path` follows its token."""

    at: int
    job: str
    path: str
    body: str = ""


@dataclass(frozen=True)
class Job:
    """A job of the demo: how often it runs, how long it takes, and what becomes of it."""

    name: str
    tags: str
    every: int
    lasts: int
    last: int  # so long ago its newest run began
    history: int  # how many runs it has behind it
    fields: dict[str, Any] = field(default_factory=dict)
    silent: int = 0  # so long ago it fell silent
    fails: int = 0  # so long ago it began to fail
    starts: bool = True  # whether it says when it begins
    progress: str = ""  # what it says on its way, with the percentage
    metric: str = ""
    zero: int = -1  # the run, counted back from the newest, that reports 0 of it
    failed: tuple[int, ...] = ()  # runs that failed, counted back


def cron(form: str, at: int) -> str:
    """The cron expression of a job that was due at an instant."""
    return time.strftime(form, time.gmtime(at // 1000))


def jobs(now: int) -> tuple[Job, ...]:
    """The examples, as they stand at an instant: the same picture at any hour."""
    return (
        Job(
            "Certificate renewal",
            "prod web",
            DAY,
            21 * SECOND,
            4 * HOUR,
            31,
            {
                "cronExpression": cron("%M %H * * *", now - 4 * HOUR),
                "graceSeconds": 1800,
                "notes": "Runs on the proxy. Renew by hand: certctl renew --force",
            },
            fails=5 * HOUR,
            failed=(19,),
        ),
        Job(
            "Disk cleanup",
            "home",
            HOUR,
            90 * SECOND,
            55 * MINUTE,
            60,
            {"cronExpression": cron("%M * * * *", now - 55 * MINUTE)},
            silent=5 * HOUR,
            failed=(13,),
        ),
        Job(
            "Mail fetch",
            "home",
            5 * MINUTE,
            8 * SECOND,
            9 * MINUTE,
            310,
            {"intervalSeconds": 300, "graceSeconds": 600},
            starts=False,
        ),
        Job(
            "Photo sync",
            "home",
            30 * MINUTE,
            11 * MINUTE,
            80 * SECOND,
            60,
            {"intervalSeconds": 1800},
            progress="album {} of 100",
        ),
        Job(
            "Nightly backup",
            "prod",
            DAY,
            42 * MINUTE,
            26 * MINUTE,
            31,
            {"cronExpression": cron("%M %H * * *", now - 26 * MINUTE), "graceSeconds": 7200},
            progress="archive {} of 100",
            metric="bytes_added",
        ),
        Job(
            "restic photos",
            "home",
            DAY,
            18 * MINUTE,
            7 * HOUR,
            31,
            {"cronExpression": cron("%M %H * * *", now - 7 * HOUR), "graceSeconds": 3600},
            metric="bytes_added",
        ),
        Job(
            "pg_dump",
            "prod db",
            6 * HOUR,
            26 * SECOND,
            2 * HOUR,
            60,
            {"intervalSeconds": 21_600, "graceSeconds": 900, "rules": [RULE]},
            metric="rows",
            zero=0,
        ),
        Job(
            "Database dump",
            "prod db",
            HOUR,
            4 * MINUTE,
            51 * MINUTE,
            60,
            {"intervalSeconds": 3600},
            failed=(41,),
        ),
        Job(
            "certbot",
            "prod web",
            12 * HOUR,
            17 * SECOND,
            7 * HOUR,
            40,
            {"intervalSeconds": 43_200, "graceSeconds": 3600},
        ),
        Job(
            "zpool scrub",
            "nas",
            7 * DAY,
            5 * HOUR,
            6 * DAY,
            6,
            {"intervalSeconds": 604_800, "graceSeconds": 43_200},
        ),
        Job(
            "ddns",
            "home",
            5 * MINUTE,
            SECOND,
            MINUTE,
            310,
            {"intervalSeconds": 300, "graceSeconds": 900},
            starts=False,
        ),
        Job(
            "Weekly report",
            "office",
            7 * DAY,
            3 * MINUTE,
            5 * DAY,
            6,
            {"cronExpression": cron("%M %H * * %w", now - 5 * DAY)},
        ),
    )


def story(job: Job, now: int) -> Iterator[StoryPing]:
    """All pings of a job in order, from its first run on; most go on without an end."""
    chance = random.Random(job.name)
    begin = now - job.last
    for back in itertools.count(job.history - 1, -1):
        at = begin - back * job.every + chance.randrange(1 + min(job.lasts, 20 * SECOND))
        if job.name == "Mail fetch" and back < 0:
            at = begin - back * 14 * MINUTE  # it stays as late as it is
        took = round(job.lasts * chance.uniform(0.85, 1.15))
        amount = round(1.1e9 * chance.uniform(0.9, 1.1)) if "bytes" in job.metric else 5120 - back
        if job.silent and at > now - job.silent:
            return
        fails = back in job.failed or bool(job.fails and at > now - job.fails)
        yield from one_run(job, at, took, fails, 0 if back == job.zero else amount, now)


def one_run(
    job: Job, at: int, took: int, fails: bool, amount: int, now: int
) -> Iterator[StoryPing]:
    """The pings of one run."""
    if job.starts:
        yield StoryPing(at, job.name, "/run")
    if job.progress and at + took > now - HOUR:
        for percent in range(1, 100):
            said = job.progress.format(percent).replace("%", "%25").replace(" ", "+")
            path = f"/progress/{percent}?msg={said}"
            yield StoryPing(at + took * percent // 100, job.name, path)
    if fails:
        yield StoryPing(at + took, job.name, "/1", CERTIFICATE_LOG)
        return
    metric = f"&metric={job.metric}:{amount}" if job.metric else ""
    duration = "" if job.starts else f"&duration={took / 1000}"
    yield StoryPing(at + took, job.name, f"/complete?{metric}{duration}".replace("?&", "?"))


class Demo:
    """A server with the examples, which have lived until now and go on."""

    def __init__(self, folder: str, listen: str = "127.0.0.1:8080") -> None:
        self.clock = DemoClock()
        self.now = self.clock()
        self.database = f"{folder}/demo.db"
        settings = cronwatch.Settings(database=self.database, listen=listen, timezone="UTC")
        self.clock.at = self.now - 45 * DAY
        self.server = cronwatch.Server(settings, self.clock)
        self.app = webtest.TestApp(self.server.app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        self.tokens: dict[str, str] = {}
        self.key = ""
        self.coming: list[StoryPing] = []  # for who looks ahead

    def command(self, *words: str, stdin: str = "") -> str:
        """What a command of the command line prints."""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
            patch.setattr("sys.stdin", io.StringIO(stdin))
            assert cronwatch.main([*words, "--database", self.database]) == 0
        return printed.getvalue().strip()

    def ask(self, path: str, given: dict[str, Any]) -> Any:
        """Ask the API for a change."""
        headers = {"X-Api-Key": self.key, "Content-Type": "application/json"}
        return self.app.post(f"/api/v1{path}", json.dumps(given), headers).json

    def ping(self, one: StoryPing) -> None:
        """A ping as if it came by HTTP."""
        self.app.post(f"/{self.tokens[one.job]}{one.path}", one.body.encode())

    def prepare(self) -> None:
        """Somebody who may sign in, who is told, and the monitors."""
        self.command("user", "add", NAME, stdin=f"{PASSWORD}\n")
        self.command("integration", "add", "command", "Phone", "true")
        self.command("integration", "add", "command", "Team chat", "true")
        self.key = self.command("key", "create", "demo")
        for job in jobs(self.now):
            kind = "cron" if "cronExpression" in job.fields else "interval"
            given = {"name": job.name, "tags": job.tags, "scheduleType": kind, **job.fields}
            made = self.ask("/heartbeats", given)
            self.tokens[job.name] = made["token"]

    def live_until_now(self) -> Iterator[StoryPing]:
        """Tell the past; what is still to come is left."""
        self.prepare()
        gone, back = (self.now - ago for ago in OUTAGE)
        coming = heapq.merge(*(story(job, self.now) for job in jobs(self.now)))
        was_away = False
        for ping in coming:
            if ping.at > self.now:
                break
            if gone <= ping.at < back:
                continue
            if ping.at >= back and not was_away:
                was_away = True
                self.clock.at = back
                self.server.away(gone, back)
            self.clock.at = ping.at
            self.ping(ping)
            self.server.scan()
        self.clock.at = self.now
        self.ask("/heartbeats/weekly-report/pause", {"hours": 72})
        new = {"name": "Tape rotation", "cronExpression": "0 5 1 * *", "scheduleType": "cron"}
        self.ask("/heartbeats", {**new, "tags": "nas"})
        with closing(sqlite3.connect(self.database)) as db, db:
            db.execute("DELETE FROM meta WHERE name = 'alive_at'")  # a first start knows no gap
        self.clock.at = None
        self.server.scan()
        return itertools.chain([ping], coming)

    def go_on(self, coming: Iterator[StoryPing], stop: threading.Event) -> None:
        """Tell what is to come, each ping at its time, until it is to stop."""
        for ping in coming:
            if stop.wait(max(0, ping.at - self.clock()) / 1000):
                return
            self.ping(ping)


def main() -> None:
    """Serve the examples from a file that is gone at the end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cronwatch-demo-") as folder:
        demo = Demo(folder, options.listen)
        with closing(demo.server):
            stop, coming = threading.Event(), demo.live_until_now()
            print(f"Sign in as {NAME}, with the password {PASSWORD}.", flush=True)
            loop = threading.Thread(target=demo.go_on, args=(coming, stop))
            loop.start()
            demo.server.run()
            stop.set()
            loop.join()


if __name__ == "__main__":
    main()

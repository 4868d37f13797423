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
import math
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
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
    fields: dict[str, Any]
    words: dict[str, str]  # what else is so of it

    def ago(self, word: str) -> float:
        """How many milliseconds ago something began; minus infinity where it never did."""
        return cronwatch.duration(self.words[word]) * SECOND if word in self.words else -math.inf


# name, tags, every, lasts, last, history: as in Job; grace; what else is so of it. It falls silent
# and begins to fail so long ago; `failed` and `zero` are runs, counted back from the newest, that
# failed, that reported 0 of its metric.
JOBS = """
Certificate renewal | prod web | 1d | 21s | 4h | 31 | 30m | cron=%M_%H_*_*_* fails=5h failed=19
Disk cleanup | home | 1h | 90s | 55m | 60 | 5m | cron=%M_*_*_*_* silent=5h failed=13
Mail fetch | home | 5m | 8s | 9m | 310 | 10m | starts=no
Photo sync | home | 30m | 11m | 80s | 60 | 5m | progress=album
Nightly backup | prod | 1d | 42m | 26m | 31 | 2h | cron=%M_%H_*_*_* progress=archive \
metric=bytes_added
restic photos | home | 1d | 18m | 7h | 31 | 1h | cron=%M_%H_*_*_* metric=bytes_added
pg_dump | prod db | 6h | 26s | 2h | 60 | 15m | metric=rows zero=0
Database dump | prod db | 1h | 4m | 51m | 60 | 5m | failed=41
certbot | prod web | 12h | 17s | 7h | 40 | 1h |
zpool scrub | nas | 7d | 5h | 6d | 6 | 12h |
ddns | home | 5m | 1s | 1m | 310 | 15m | starts=no
Weekly report | office | 7d | 3m | 5d | 6 | 5m | cron=%M_%H_*_*_%w
"""
NOTES = "Runs on the proxy. Renew by hand: certctl renew --force"


def jobs(now: int) -> list[Job]:
    """The examples, as they stand at an instant: the same picture at any hour."""
    return [job_of(line, now) for line in JOBS.strip().splitlines()]


def job_of(line: str, now: int) -> Job:
    name, tags, *times, history, grace, rest = (part.strip() for part in line.split("|"))
    every, lasts, last = (cronwatch.duration(text) * SECOND for text in times)
    words = dict(word.split("=") for word in rest.split())
    fields: dict[str, Any] = {"graceSeconds": cronwatch.duration(grace)}
    if form := words.get("cron"):
        # It is due when its newest run began.
        due = time.strftime(form.replace("_", " "), time.gmtime((now - last) // SECOND))
        fields.update(scheduleType="cron", cronExpression=due)
    else:
        fields.update(intervalSeconds=every // SECOND)
    if "zero" in words:
        fields["rules"] = [RULE]
    if "fails" in words:
        fields["notes"] = NOTES
    return Job(name, tags, every, lasts, last, int(history), fields, words)


def story(job: Job, now: int) -> Iterator[StoryPing]:
    """All pings of a job in order, from its first run on; most go on without an end."""
    chance = random.Random(job.name)
    begin = now - job.last
    for back in itertools.count(job.history - 1, -1):
        at = begin - back * job.every + chance.randrange(1 + min(job.lasts, 20 * SECOND))
        if job.name == "Mail fetch" and back < 0:
            at = begin - back * 14 * MINUTE  # it stays as late as it is
        took = round(job.lasts * chance.uniform(0.85, 1.15))
        is_size = "bytes" in job.words.get("metric", "")
        amount = round(1.1e9 * chance.uniform(0.9, 1.1)) if is_size else 5120 - back
        if job.words.get("zero") == str(back):
            amount = 0
        if at > now - job.ago("silent"):
            return
        fails = job.words.get("failed") == str(back) or at > now - job.ago("fails")
        yield from one_run(job, at, took, fails, amount, now)


def one_run(
    job: Job, at: int, took: int, fails: bool, amount: int, now: int
) -> Iterator[StoryPing]:
    """The pings of one run."""
    starts = "starts" not in job.words
    progress = job.words.get("progress")
    if starts:
        yield StoryPing(at, job.name, "/run")
    if progress and at + took > now - HOUR:
        for percent in range(1, 100):
            path = f"/progress/{percent}?msg={progress}+{percent}+of+100"
            yield StoryPing(at + took * percent // 100, job.name, path)
    if fails:
        yield StoryPing(at + took, job.name, "/1", CERTIFICATE_LOG)
        return
    metric = f"&metric={job.words['metric']}:{amount}" if "metric" in job.words else ""
    duration = "" if starts else f"&duration={took / 1000}"
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
            made = self.ask("/heartbeats", {"name": job.name, "tags": job.tags, **job.fields})
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

"""What a server makes of what happens: the stories in site/, whose README.md says how they are
written, are played here."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import NOW, Made, Site
from test_alerts import ask
from test_broken_file import damaged
from trouble import Watch, add, limit_pages, make_room, write_much

import cronwatch

HEADINGS = {
    heading: lines.strip().splitlines()
    for path in sorted((Path(__file__).parent / "site").glob("*.txt"))
    for heading, lines in re.findall(r"^## (.*)\n((?:.+\n)+)", path.read_text(), re.MULTILINE)
}
SPAN = re.compile(r"(-?\d+)(ms|s|m|h|d)")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
LOG = "rsync: 12 files\nrsync: write failed on /backup: No space left on device (28)\n"
NIGHTLY = {  # a job that runs at three in Berlin
    "name": "Nightly backup",
    "key": "nightly",
    "tags": "prod nas",
    "notes": "Disk full? Run `prune-backups` on nas, then start the job by hand.",
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "grace_seconds": 300,
}
PINGS = {
    "success": "/{code}/complete",
    "logged": "/ping/{token}",
    "start": "/{code}/run",
    "fail": "/{code}/fail",
    "ok": "/{code}/ok",
    "log": "/{token}/log",
    "3": "/ping/{token}/3",
    "11": "/ping/{token}/11",
}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "off": ("integrations", {"enabled": False}),
    "move": ("integrations", {"url": "http://hook/moved"}),
    "unlink": ("heartbeats", {"integrationIds": []}),
}
TARGETS = {
    "slack": "https://hooks.slack.example/T0",
    "email": "me@home.example",
    "ntfy": "https://ntfy.example/me",
}
FACTS = {
    "told": "SELECT name FROM integration i JOIN alert a ON a.integration = i.num "
    "WHERE event = (SELECT max(num) FROM event) ORDER BY a.num",
    "states": "SELECT state FROM alert ORDER BY num",
    "tries": "SELECT tries FROM alert ORDER BY num",
    "events": "SELECT kind FROM event ORDER BY num",
    "statuses": "SELECT json_extract(body, '$.monitor.status') FROM event ORDER BY num",
    "named": "SELECT json_extract(m.value, '$.key') FROM event, "
    "json_each(body, '$.monitors') AS m ORDER BY 1",
    "good": "SELECT status FROM monitor WHERE key = 'good'",
    "outage-of-good": "SELECT count(*) FROM event, json_each(body, '$.monitors') AS m "
    "WHERE json_extract(m.value, '$.key') = 'good'",
    "alive": "SELECT date(value / 1000, 'unixepoch') FROM meta WHERE name = 'alive_at'",
    "absences": "SELECT count(*) FROM absence",
    "flips": "SELECT status FROM flip ORDER BY num",
    "pings": "SELECT num FROM ping ORDER BY num",
    "runs": "SELECT num FROM run ORDER BY num",
    "run-states": "SELECT state FROM run ORDER BY num",
    "opened": "SELECT opened FROM run ORDER BY num",
    "awaited": "SELECT awaited FROM run ORDER BY num",
    "logs": "SELECT run FROM run_log ORDER BY run",
    "counts": "SELECT ping_count FROM monitor ORDER BY num",
}


def seconds(text: str) -> float:
    span = SPAN.fullmatch(text)
    assert span, text
    return int(span[1]) * SECONDS[span[2]]


def each(words: list[str]) -> list[str]:
    """The words, those that end with *3 thrice."""
    parts = [re.fullmatch(r"(.*?)(?:\*(\d+))?", word) for word in words]
    return [part[1] for part in parts if part for _ in range(int(part[2] or 1))]


def column(word: str) -> tuple[str, Any]:
    """The name and the value of a column, or none."""
    name, _, value = word.partition("=")
    if name == "rules":
        words = {"<": "lt", ">": "gt"}
        rules = [
            {"field": field, "operator": words[operator], "value": int(number)}
            for field, operator, number in re.findall(r"(\w+)([<>])(\d+)", value)
        ]
        return name, json.dumps(rules)
    return name, value.replace("_", " ") or None


def choices(line: str) -> list[str]:
    """The lines for which one with {a|b} stands."""
    choice = re.search(r"\{([^|]*\|.*?)\}(?= |\))", line)
    if not choice:
        return [line]
    return [line.replace(choice[0], word, 1) for word in choice[1].split("|")]


def steps(text: str) -> list[str]:
    """The steps, those in brackets as often as they say."""
    return re.sub(
        r"\((.*?)\)\*(\d+)", lambda match: ", ".join([match[1]] * int(match[2])), text
    ).split(", ")


class Story:
    """A site, receivers with the answers that they will give, and what they were sent."""

    def __init__(self, make_site: Callable[..., Site], words: list[str]) -> None:
        given = dict(word.split("=") for word in words)
        settings: dict[str, Any] = {
            name: int(value) if value.isdecimal() else value
            for name, value in given.items()
            if hasattr(cronwatch.Settings, name)
        }
        self.site = make_site(**settings)
        self.watch = Watch(self.site, settings.get("scan_seconds", 5))
        self.jobs: dict[str, Made] = {}
        self.answers: dict[str, list[str]] = {}
        self.received: dict[str, list[str]] = {}
        self.tried_at: dict[str, list[str]] = {}
        for name in (name for name in given if name not in settings):
            add(self.site, "webhook", f"http://{name.lower()}/", name)
            self.answers[name.lower()] = each(given[name].split(","))
            self.received[name.lower()], self.tried_at[name.lower()] = [], []
        self.site.server.outbox.senders = {"webhook": self.send}

    def send(self, _: Any, __: str, config: Any, event: Any, now: int) -> cronwatch.Attempt:
        """What a receiver answers next."""
        name = str(urlsplit(config["url"]).hostname)
        monitor = event["monitor"]
        self.received[name].append(event["kind"] + (f":{monitor['key']}" if monitor else ""))
        self.tried_at[name].append(str((now - NOW) // 1000))
        answers = self.answers[name]
        verdict, _, wait = (answers.pop(0) if answers[1:] else answers[0]).partition(":")
        if verdict == "silent":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return cronwatch.Attempt(verdict, verdict, None, int(wait or 0) * 1000)

    def take(self, step: str) -> None:
        """Let one thing happen."""
        verb, *words = step.split()
        if verb in PINGS:
            query = "&".join(word for word in words if "=" in word)
            for key in (word for word in words if "=" not in word):
                self.ping(key, f"{PINGS[verb]}?{query}", LOG if verb in ("logged", "11") else "")
        elif verb in CHANGES:
            path, body = CHANGES[verb]
            ask(self.site, "PATCH", f"{path}/{words[0]}", **body)
        elif SPAN.fullmatch(verb):
            self.site.clock.move(seconds(verb))
            self.deliver()
        else:
            getattr(self, verb)(*words)

    def ping(self, key: str, path: str, body: str) -> None:
        if key not in self.jobs:
            self.monitor(key, "interval_seconds=")
        assert self.site.post(self.jobs[key].at(path), body).status_int in (200, 201)

    def monitor(self, key: str, *columns: str) -> None:
        self.jobs[key] = self.site.monitor(**{"key": key, **dict(map(column, columns))})

    def expect(self, key: str, *words: str) -> None:
        """A monitor that is made by the API."""
        given = dict(word.split("=") for word in words)
        body: dict[str, Any] = {"name": key, "scheduleType": "none"}
        if "to" in given:
            read = self.site.server.read
            names = filter(None, given["to"].split(","))
            ids = [read(cronwatch.find_integration, name).id for name in names]
            body["integrationIds"] = ids
        if "mail" in given:
            body["emailAlertsEnabled"] = False
        made = ask(self.site, "POST", "heartbeats", **body)
        self.jobs[key] = Made(0, made["id"], made["key"], made["token"], made["code"])

    def add(self, channel: str, default: str = "") -> None:
        add(self.site, channel, TARGETS[channel], default=not default)

    def nightly(self, key: str, *columns: str) -> None:
        """The job has run well the night before."""
        self.jobs[key] = self.site.monitor(**{**NIGHTLY, **dict(map(column, columns))})
        for step in ("at 3 03:00", f"start {key}", "at 3 03:12", f"success {key}"):
            self.take(step)

    def at(self, day: str, time: str) -> None:
        date = day if "-" in day else f"2026-03-{int(day):02}"
        local = datetime.fromisoformat(f"{date}T{time}+01:00")
        self.site.clock.now = round(local.timestamp() * 1000)
        self.scan()

    def scan(self) -> None:
        self.site.server.scan()

    def away(self, span: str) -> None:
        since = self.site.clock.now
        self.site.clock.move(seconds(span))
        self.site.server.away(since, self.site.clock.now)

    def pause(self, key: str, span: str) -> None:
        until = round(seconds(span))
        self.site.server.act(cronwatch.pause_monitor, self.jobs[key].num, until)

    def deliver(self) -> None:
        self.site.server.deliver()

    def keep(self) -> None:
        self.site.server.housekeeping()

    def look(self, after: str) -> None:
        self.watch.look(seconds(after))

    def quiet(self, span: str) -> None:
        self.watch.quiet(seconds(span))

    def runs(self, count: str, state: str) -> None:
        """So many that a start opened, one a second."""
        self.site.rows(
            "WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT ?) "
            "INSERT INTO run (monitor, state, opened, awaited, started_at) "
            "SELECT 1, ?, 1, 0, ? + 1000 * value FROM n",
            int(count),
            state,
            NOW,
        )

    def damaged(self) -> None:
        self.jobs["hurt"], self.jobs["well"] = damaged(self.site)

    def refused(self, key: str) -> None:
        assert self.site.get(f"/{self.jobs[key].token}").status_int == 503

    def refuse(self) -> None:
        """A write for which there is no room."""
        limit_pages(self.site, 0)
        with suppress(cronwatch.Refused):
            self.site.server.act(write_much)
        make_room(self.site)

    def stop(self) -> None:
        self.site.server.act(cronwatch.stamp_alive)

    def serve(self) -> None:
        cronwatch.hold(str(self.site.database))

    def command(self, *words: str) -> None:
        line = [*words, "--database", str(self.site.database)]
        assert cronwatch.main(line, self.site.clock) == 0

    def outage(self) -> None:
        for step in ("monitor backup interval_seconds=86400", "success backup", "23h", "away 2h"):
            self.take(step)

    def claim(self) -> None:
        self.site.server.act(cronwatch.claim_alert, 1)

    def test(self, name: str) -> None:
        hook = self.site.server.read(cronwatch.find_integration, name)
        self.site.server.act(cronwatch.add_test, hook.num, name)

    def sql(self, *words: str) -> None:
        self.site.rows(" ".join(words))

    @property
    def event(self) -> dict[str, Any]:
        """The newest event, as senders get it."""
        sql = cronwatch.EVENTS_SQL + "ORDER BY e.num DESC LIMIT 1"
        (row,) = self.site.server.read(lambda tx: tx.rows(sql))
        return cronwatch.event_json(row, "http://cron.test")

    def shown(self, value: Any) -> list[str]:
        """A part of an event in words."""
        if isinstance(value, list):
            return [word for one in value for word in (one if isinstance(one, dict) else [one])]
        return str(value).replace(self.site.monitors[-1]["id"], "ID").split()

    def fact(self, what: str) -> list[str]:
        """What a check is about."""
        name, _, of = what.partition("-")
        if name in self.received:
            tries = self.tried_at[name]
            return {"": self.received[name], "at": tries, "count": [str(len(tries))]}[of]
        if what == "said":
            return self.shown(cronwatch.event_text(self.event, 1000).replace("\n", " / "))
        if what == "filled":
            return [field for field, value in self.event.items() if value is not None]
        if what.startswith("."):
            return self.shown(functools.reduce(dict.__getitem__, what[1:].split("."), self.event))
        if what == "overdue":
            return [str(self.site.server.read(cronwatch.outbox_counts)["overdue"])]
        if what == "gaps":
            return ["..".join(str((at - NOW) // 1000) for at in gap) for gap in self.watch.gaps]
        if what == "due":
            return [str((m["due_at"] - self.site.clock.now) // 1000) for m in self.site.monitors]
        return [str(*row.values()) for row in self.site.rows(FACTS[what])]


def play(make_site: Callable[..., Site], line: str) -> Story:
    """What came of the steps of a line, with or without what stands in front of them."""
    *start, events = line.split(": ", 1)
    story = Story(make_site, start[0].split() if start else [])
    for step in each(steps(events)):
        story.take(step)
    return story


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_story(make_site: Callable[..., Site], heading: str) -> None:
    for line in itertools.chain.from_iterable(map(choices, HEADINGS[heading])):
        events, checks = line.split(" => ")

        story = play(make_site, events)

        for what, *words in (check.split() for check in checks.split("; ")):
            fact = story.fact(what)
            if what == "said":  # how it begins
                fact = fact[: len(words)]
            assert fact == each(words), line

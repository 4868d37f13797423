"""What a server makes of what happens: the stories in site/, whose README.md says how they are
written, are played here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import NOW, Made, Site
from test_alerts import ask, make_outage
from trouble import Watch, add

import cronwatch

HEADINGS = {
    heading: lines.strip().splitlines()
    for path in sorted((Path(__file__).parent / "site").glob("*.txt"))
    for heading, lines in re.findall(r"^## (.*)\n((?:.+\n)+)", path.read_text(), re.MULTILINE)
}
SPAN = re.compile(r"(-?\d+)(ms|s|m|h|d)")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
PINGS = {
    "success": "/{code}/complete",
    "logged": "/ping/{token}",
    "start": "/{code}/run",
    "fail": "/{code}/fail",
    "ok": "/{code}/ok",
    "log": "/{token}/log",
}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "off": ("integrations", {"enabled": False}),
    "move": ("integrations", {"url": "http://hook/moved"}),
    "unlink": ("heartbeats", {"integrationIds": []}),
}
FACTS = {
    "states": "SELECT state FROM alert ORDER BY num",
    "tries": "SELECT tries FROM alert ORDER BY num",
    "events": "SELECT kind FROM event ORDER BY num",
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


def pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value.replace("_", " ")


def steps(text: str) -> list[str]:
    """The steps, those in brackets as often as they say."""
    return re.sub(
        r"\((.*?)\)\*(\d+)", lambda match: ", ".join([match[1]] * int(match[2])), text
    ).split(", ")


class Story:
    """A site, receivers with the answers that they will give, and what they were sent."""

    def __init__(self, make_site: Callable[..., Site], words: list[str]) -> None:
        given = dict(word.split("=") for word in words)
        settings = {n: int(v) for n, v in given.items() if hasattr(cronwatch.Settings, n)}
        self.site = make_site(**settings)
        self.watch = Watch(self.site)
        self.jobs: dict[str, Made] = {}
        self.answers: dict[str, list[str]] = {}
        self.received: dict[str, list[str]] = {}
        self.tried_at: dict[str, list[str]] = {}
        for name in given.keys() - settings.keys():
            self.answers[name] = each(given[name].split(","))
            self.received[name], self.tried_at[name] = [], []
        for name in (word.partition("=")[0] for word in words):
            if name in self.answers:
                add(self.site, "webhook", f"http://{name}/", name)
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
            raise ConnectionRefusedError
        return cronwatch.Attempt(verdict, verdict, None, int(wait or 0) * 1000)

    def take(self, step: str) -> None:
        """Let one thing happen."""
        verb, *words = step.split()
        if verb in PINGS:
            query = "&".join(word for word in words if "=" in word)
            for key in (word for word in words if "=" not in word):
                self.ping(key, f"{PINGS[verb]}?{query}", "all well" if verb == "logged" else "")
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
        values: dict[str, Any] = {name: value or None for name, value in map(pair, columns)}
        self.jobs[key] = self.site.monitor(key=key, **values)

    def deliver(self) -> None:
        self.site.server.deliver()

    def keep(self) -> None:
        self.site.server.housekeeping()

    def look(self, after: str) -> None:
        self.watch.look(seconds(after))

    def quiet(self, span: str) -> None:
        self.watch.quiet(seconds(span))

    def outage(self) -> None:
        make_outage(self.site)

    def claim(self) -> None:
        self.site.server.act(cronwatch.claim_alert, 1)

    def test(self, name: str) -> None:
        hook = self.site.server.read(cronwatch.find_integration, name)
        self.site.server.act(cronwatch.add_test, hook.num, name)

    def sql(self, *words: str) -> None:
        self.site.rows(" ".join(words))

    def fact(self, what: str) -> list[str]:
        """What a check is about."""
        name, _, of = what.partition("-")
        if name in self.received:
            tries = self.tried_at[name]
            return {"": self.received[name], "at": tries, "count": [str(len(tries))]}[of]
        if what == "overdue":
            return [str(self.site.server.read(cronwatch.outbox_counts)["overdue"])]
        if what == "due":
            return [str((m["due_at"] - self.site.clock.now) // 1000) for m in self.site.monitors]
        return [str(*row.values()) for row in self.site.rows(FACTS[what])]


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_story(make_site: Callable[..., Site], heading: str) -> None:
    for line in HEADINGS[heading]:
        start, rest = line.split(": ", 1)
        events, checks = rest.split(" => ")
        story = Story(make_site, start.split())

        for step in each(steps(events)):
            story.take(step)

        for what, *words in (check.split() for check in checks.split("; ")):
            assert story.fact(what) == each(words), line

"""A plan of year.py lived through by a whole server, by HTTP: the wiring around the rules."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import closing
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from conftest import Site
from oracle import Action, Terms, Told
from year import Absence, Plan, Story, World, read_rules, terms_columns

HEARTBEATS = "/api/v1/heartbeats"
VERBS = {"pause": "pause/{hours}", "resume": "pause/0", "progress": "progress/50"}


class Moment(NamedTuple):
    """Something that the server lives through; at one instant an absence ends first."""

    at: int
    rank: int
    number: int  # of the story
    act: Action | Absence | None  # a look, or the monitor is made


def moments(plan: Plan) -> Iterator[Moment]:
    """All that happens, in order; a look comes before or after what else is then."""
    rng = random.Random(plan.seed)
    streams: list[list[Moment]] = [
        [Moment(gap.until, 0, 0, gap) for gap in plan.absences],
        [Moment(at, rng.choice((1, 4)), -1, None) for at in plan.looks],
    ]
    for number, story in enumerate(plan.stories):
        acts = [Moment(act.at, 3, number, act) for act in story.actions]
        streams.append([Moment(story.created, 2, number, None), *acts])
    return merge(*streams, key=lambda moment: moment[:3])


class LivingServer:
    """A server that lives through a plan."""

    def __init__(self, database: Path) -> None:
        self.site = Site(database, keep_days=0)
        self.secret = self.site.api_key()
        self.made: list[dict[str, Any]] = []

    def live(self, plan: Plan) -> None:
        for moment in moments(plan):
            self.site.clock.now = moment.at
            if isinstance(moment.act, Absence):
                self.site.server.away(moment.act.since, moment.act.until)
            elif isinstance(moment.act, Action):
                self.do(self.made[moment.number], moment.act)
            elif moment.number < 0:
                self.site.server.scan()
            else:
                self.create(moment.number, plan.stories[moment.number])
        self.site.clock.now = plan.end
        self.site.server.scan()

    def create(self, number: int, story: Story) -> None:
        body = {"name": story.name, "integrationIds": [], **terms_json(story.terms)}
        self.made += [{}] * (number + 1 - len(self.made))
        self.made[number] = self.request("POST", HEARTBEATS, body).json

    def do(self, made: dict[str, Any], act: Action) -> None:
        path = f"{HEARTBEATS}/{made['id']}"
        if act.terms is not None:
            self.request("PATCH", path, terms_json(act.terms))
        elif act.word == "renew":
            self.request("POST", f"{path}/resume")
        elif act.word == "pause" and act.hours is None:
            self.request("POST", f"{path}/pause")
        else:
            verb = VERBS.get(act.word, act.word).format(hours=act.hours)
            uri = f"/{made['token']}/{verb}?{query_of(act)}"
            self.request("GET", uri, address=act.address)

    def request(self, method: str, uri: str, body: Any = None, address: str = "192.0.2.1") -> Any:
        raw = "" if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
        reply = self.site.send(method, uri, raw, headers, address)
        assert reply.status.startswith("2"), f"{method} {uri} {body}: {reply}"
        return reply

    def world(self) -> World:
        """What became of the monitors; events in the order in which they were told."""
        world = World({}, {}, {})
        names = {}
        for m in self.site.monitors:
            names[m["num"]] = m["name"]
            world.states[m["name"]] = m["status"], m["expected_at"]
        for event in self.site.rows("SELECT * FROM event ORDER BY num"):
            body = json.loads(event["body"])
            if event["kind"] == "outage":
                world.outages[event["at"]] = {m["name"] for m in body["monitors"]}
            if event["monitor"] is not None:
                told = world.told.setdefault(names[event["monitor"]], [])
                counts = (body["count"], body["failedCount"], body["missedCount"])
                seconds, rules = body["downtimeSeconds"], read_rules(body["rules"])
                told.append(
                    Told(event["kind"], event["at"], body["reason"], *counts, seconds, rules)
                )
        return world


def camel(name: str) -> str:
    """The name of a column in the management API."""
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def terms_json(terms: Terms) -> dict[str, Any]:
    """What was agreed, as the management API has it."""
    columns = terms_columns(terms)
    cron, seconds = columns.pop("cron"), columns.pop("interval_seconds")
    columns["schedule_type"] = "cron" if cron else "interval" if seconds else "none"
    if cron:
        columns["cron_expression"] = cron
    elif seconds:
        columns["interval_seconds"] = seconds
    columns["armed"] = terms.armed
    columns["rules"] = json.loads(columns["rules"] or "[]")
    columns["reminder_interval_seconds"] = terms.reminder_seconds or 0
    return {camel(name): value for name, value in columns.items()}


def query_of(act: Action) -> str:
    """What a ping says, as a query."""
    parts: list[tuple[str, Any]] = [("series", act.series), ("host", act.host)]
    parts.append(("duration", None if act.duration is None else act.duration / 1000))
    parts.append(("status_code", act.exit_code))
    parts += [("metric", f"{name}:{value}") for name, value in act.metrics]
    return urlencode([(name, value) for name, value in parts if value is not None])


def live_by_http(database: Path, plan: Plan) -> World:
    """Let all monitors of a plan live on a server of this database."""
    living = LivingServer(database)
    with closing(living.site.server):
        living.live(plan)
        return living.world()

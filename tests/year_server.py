"""A plan of year.py lived through by a whole server, by HTTP: the wiring around the rules."""

from __future__ import annotations

import io
import json
import random
import sqlite3
from collections.abc import Iterator, Mapping
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from oracle import BEGIN, Action, Terms, Told
from year import Absence, Plan, Story, World

import cronwatch


class Moment(NamedTuple):
    """Something that the server lives through; at one instant an absence ends first."""

    at: int
    rank: int
    number: int  # of the story
    act: Action | Absence | None  # a look, or the monitor is made


class Clock:
    now = BEGIN

    def __call__(self) -> int:
        return self.now


def moments(plan: Plan) -> Iterator[Moment]:
    """All that happens, in order; a look comes before or after what else is then."""
    rng = random.Random(plan.seed)
    streams: list[list[Moment]] = [
        [Moment(gap.until, 0, 0, gap) for gap in plan.absences],
        [Moment(at, rng.choice((1, 4)), -1, None) for at in plan.looks],
    ]
    for number, story in enumerate(plan.stories):
        streams.append(
            [
                Moment(story.created, 2, number, None),
                *(Moment(act.at, 3, number, act) for act in story.actions),
            ]
        )
    return merge(*streams, key=lambda moment: moment[:3])


class LivingServer:
    """A server that lives through a plan."""

    def __init__(self, database: Path) -> None:
        self.database, self.clock = database, Clock()
        self.server = cronwatch.Server(
            cronwatch.Settings(
                database=str(database),
                base_url="http://cron.test",
                timezone="UTC",
                api_rate_limit=0,
                keep_days=0,
            ),
            self.clock,
        )
        self.secret = self.server.act(cronwatch.create_key, "year", "read-write")
        self.ids: dict[int, str] = {}
        self.tokens: dict[int, str] = {}

    def live(self, plan: Plan) -> None:
        for moment in moments(plan):
            self.clock.now = moment.at
            if isinstance(moment.act, Absence):
                self.server.away(moment.act.since, moment.act.until)
            elif isinstance(moment.act, Action):
                self.do(moment.number, moment.act)
            elif moment.number < 0:
                self.server.scan()
            else:
                self.create(moment.number, plan.stories[moment.number])
        self.clock.now = plan.end
        self.server.scan()

    def create(self, number: int, story: Story) -> None:
        body = {"name": story.name, "integrationIds": [], **terms_json(story.terms)}
        if not story.terms.armed:
            body.pop("armed")
        made = self.request("POST", "/api/v1/heartbeats", body=body)
        self.ids[number], self.tokens[number] = made["id"], made["token"]

    def do(self, number: int, act: Action) -> None:
        path = f"/api/v1/heartbeats/{self.ids[number]}"
        if act.word == "edit":
            assert act.terms
            self.request("PATCH", path, body=terms_json(act.terms))
        elif act.word == "renew":
            self.request("POST", f"{path}/resume")
        elif act.word == "pause" and act.hours is None:
            self.request("POST", f"{path}/pause")
        else:
            self.request(
                "GET", f"/{self.tokens[number]}/{words(act)}", query_of(act), address=act.address
            )

    def request(
        self, method: str, path: str, query: str = "", body: Any = None, address: str = "192.0.2.1"
    ) -> Any:
        """The WSGI application is called without a server in between: a year has many pings."""
        raw = b"" if body is None else json.dumps(body).encode()
        target = f"{path}?{query}" if query else path
        said: list[str] = []
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_URI": target,
            "REMOTE_ADDR": address,
            "SERVER_NAME": "cron.test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(raw)),
            "CONTENT_TYPE": "application/json",
            "HTTP_AUTHORIZATION": f"Bearer {self.secret}",
            "wsgi.input": io.BytesIO(raw),
            "wsgi.errors": io.StringIO(),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        answer = b"".join(self.server.app(environ, lambda status, *_: said.append(status)))
        assert said[0].startswith("2"), f"{method} {target} {body}: {said[0]} {answer!r}"
        return json.loads(answer) if answer.startswith(b"{") else answer

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.database)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def told(self) -> dict[str, list[Told]]:
        """The events of each monitor, in the order in which they were told."""
        found: dict[str, list[Told]] = {}
        for name, kind, at, body in self.rows(
            "SELECT m.name, e.kind, e.at, e.body FROM event e JOIN monitor m "
            "ON m.num = e.monitor ORDER BY e.num"
        ):
            found.setdefault(name, []).append(read_told(kind, at, json.loads(body)))
        return found

    def outages(self) -> dict[int, set[str]]:
        return {
            at: {monitor["name"] for monitor in json.loads(body)["monitors"]}
            for at, body in self.rows(
                "SELECT at, body FROM event WHERE kind = 'outage' ORDER BY num"
            )
        }

    def states(self) -> dict[str, tuple[str, int | None]]:
        return {
            name: (status, expected)
            for name, status, expected in self.rows(
                "SELECT name, status, expected_at FROM monitor"
            )
        }


def terms_json(terms: Terms) -> dict[str, Any]:
    """What was agreed, as the management API has it."""
    kind = "cron" if terms.cron else "interval" if terms.interval_seconds else "none"
    schedule = (
        {"cronExpression": terms.cron}
        if terms.cron
        else {"intervalSeconds": terms.interval_seconds}
        if terms.interval_seconds
        else {}
    )
    return {
        "scheduleType": kind,
        **schedule,
        "timezone": terms.timezone,
        "graceSeconds": terms.grace_seconds,
        "expects": terms.expects,
        "maxRunSeconds": terms.max_run_seconds,
        "failureTolerance": terms.tolerance,
        "reminderIntervalSeconds": terms.reminder_seconds or 0,
        "armed": terms.armed,
        "rules": [
            {"field": name, "operator": sign, "value": value} for name, sign, value in terms.rules
        ],
    }


def words(act: Action) -> str:
    """The end of a ping's path."""
    return {
        "pause": f"pause/{act.hours}",
        "resume": "pause/0",
        "progress": "progress/50",
        "success": "complete",
    }.get(act.word, act.word)


def query_of(act: Action) -> str:
    said: list[tuple[str, Any]] = [("series", act.series), ("host", act.host)]
    if act.duration is not None:
        said.append(("duration", act.duration / 1000))
    said.append(("status_code", act.exit_code))
    said += [("metric", f"{name}:{value}") for name, value in act.metrics]
    return urlencode([(name, value) for name, value in said if value is not None])


def read_told(kind: str, at: int, body: Mapping[str, Any]) -> Told:
    rules = tuple((rule["field"], rule["operator"], rule["value"]) for rule in body["rules"] or ())
    return Told(
        kind,
        at,
        body["reason"],
        body["count"],
        body["failedCount"],
        body["missedCount"],
        body["downtimeSeconds"],
        rules,
    )


def live_by_http(database: Path, plan: Plan) -> World:
    """Let all monitors of a plan live on a server of this database."""
    living = LivingServer(database)
    try:
        living.live(plan)
        return World(living.told(), living.states(), living.outages())
    finally:
        living.server.close()

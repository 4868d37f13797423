"""Wrong credentials of every kind, on every route: each is refused, and nothing else happens."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import hostile
import pytest
import webtest
from conftest import Made, Site, basic
from hostile import Shot, Wire

import cronwatch

pytestmark = pytest.mark.proof


def is_shaped(dialect: str, reply: webtest.TestResponse) -> bool:
    """Whether an error is worded as the service words its errors."""
    if dialect in ("cronitor", "healthchecks"):
        return bool(
            reply.content_type == "text/plain"
            and reply.text
            and not reply.text.startswith(("<", "{"))
        )
    shape = hostile.SHAPES[dialect]
    return bool(reply.content_type == "application/json" and shape(reply.json, reply.status_int))


ROUTES = [
    (route.method, route.rule, route.permission)
    for route in cronwatch.API_ROUTES
    if route.permission in ("read-only", "read-write")
]
BODIES: dict[str, dict[str, Any]] = {  # what would be taken from somebody who may
    f"{cronwatch.API}/heartbeats": {"name": "New", "intervalSeconds": 60},
    f"{cronwatch.API}/heartbeats/<id>": {"name": "Changed"},
    f"{cronwatch.API}/integrations": {"channel": "ntfy", "name": "x", "url": "http://127.0.0.1:9"},
}
HEARTBEATS = f"{cronwatch.API}/heartbeats"
SYNC = {
    "monitors": [
        {"key": "daily-backup", "schedule": "@daily"},
        {"key": "new", "schedule": "@daily"},
    ]
}
addresses = (f"2001:db8:{number:x}::1" for number in count(1))  # wrong keys are counted for each


class Grounds(NamedTuple):
    """A site with a monitor, an integration and a key of each kind."""

    site: Site
    job: Made
    integration: str
    keys: dict[str, str]

    def dump(self) -> str:
        with closing(sqlite3.connect(self.site.database)) as db:
            return "\n".join(db.iterdump())

    def send(
        self, method: str, target: str, body: Any = "", headers: dict[str, str] | None = None
    ) -> webtest.TestResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return self.site.send(method, target, text, headers, next(addresses))

    def shows_secret(self, target: str, reply: webtest.TestResponse) -> list[str]:
        """The secrets in a reply that its request did not name."""
        said = reply.text + str(reply.headers)
        return [
            secret
            for secret in (*self.keys.values(), self.job.token, self.job.code)
            if secret in said and secret not in target
        ]


@pytest.fixture(scope="module")
def grounds(folder: Path) -> Iterator[Grounds]:
    site = Site(folder / "credentials.db")
    job = site.monitor(key="daily-backup")
    integration = site.server.act(
        cronwatch.create_integration,
        "webhook",
        "Hook",
        {"url": "http://127.0.0.1:9/", "headers": {}, "secret": "whsec_AAAA"},
    )
    keys = {name: site.api_key(name) for name in ("ping", "read-only", "read-write")}
    keys["revoked"] = site.server.act(cronwatch.create_key, "old", "read-write")
    site.get("/api/v1/integrations", X_Api_Key=keys["revoked"])  # known once, and remembered
    site.server.act(cronwatch.remove_key, cronwatch.ApiRequest("old"))
    yield Grounds(site, job, integration, keys)
    site.server.close()


@pytest.fixture(scope="module")
def adjustments() -> Any:
    return hostile.adjustments()


Shown = Callable[[Grounds], str]
WRONG: dict[str, Shown] = {  # texts that are no key, however near
    "garbage": lambda g: "garbage",
    "one that was revoked": lambda g: g.keys["revoked"],
    "a prefix": lambda g: g.keys["read-write"][:-1],
    "what is kept of it": lambda g: g.keys["read-write"][:12],
    "one with more": lambda g: g.keys["read-write"] + "x",
    "upper case": lambda g: g.keys["read-write"].upper(),
    "lower case": lambda g: g.keys["read-write"].lower(),
    "swapped case": lambda g: g.keys["read-write"].swapcase(),
    "a blank in it": lambda g: g.keys["read-write"][:9] + " " + g.keys["read-write"][9:],
    "two of them": lambda g: f"{g.keys['read-write']}, {g.keys['read-write']}",
    "quotes around it": lambda g: f'"{g.keys["read-write"]}"',
    "its hash": lambda g: cronwatch.hash_secret(g.keys["read-write"]),
    "its form without one": lambda g: "cw_",
    "the id of a monitor": lambda g: g.job.id,
    "the key of a monitor": lambda g: g.job.key,
    "the token of a monitor": lambda g: g.job.token,
    "the code of a monitor": lambda g: g.job.code,
    "the id of an integration": lambda g: g.integration,
    "a very long one": lambda g: "x" * 100_000,
    "a long one that begins well": lambda g: g.keys["read-write"] * 2000,
    "bytes": lambda g: "\xff\x80",
    "a pattern": lambda g: "cw_%",
    "SQL": lambda g: "' OR 1=1 --",
}
HEADERS: dict[str, Callable[[Grounds], dict[str, str]]] = {  # headers without a right key
    "nothing": lambda g: {},
    "an empty key": lambda g: {"X-Api-Key": ""},
    "an empty header": lambda g: {"Authorization": ""},
    "an empty Bearer": lambda g: {"Authorization": "Bearer "},
    "a Bearer alone": lambda g: {"Authorization": "Bearer"},
    "an empty Basic": lambda g: {"Authorization": basic("")},
    "a Basic that is none": lambda g: {"Authorization": "Basic !!"},
    "the key beside another user": lambda g: {
        "Authorization": "Basic "
        + base64.b64encode(f"me:{g.keys['read-write']}".encode()).decode()
    },
    "the key as Basic, not encoded": lambda g: {"Authorization": f"Basic {g.keys['read-write']}"},
    "the key encoded as Bearer": lambda g: {
        "Authorization": "Bearer " + basic(g.keys["read-write"])[6:]
    },
    "the key without a word": lambda g: {"Authorization": g.keys["read-write"]},
    "the key as Digest": lambda g: {"Authorization": f"Digest {g.keys['read-write']}"},
    "the key in another header": lambda g: {"Api-Key": g.keys["read-write"]},
    "the key in a cookie": lambda g: {"Cookie": f"session={g.keys['read-write']}"},
    "a wrong key before the right one": lambda g: {
        "X-Api-Key": "wrong",
        "Authorization": f"Bearer {g.keys['read-write']}",
    },
}


def _as(name: str, form: Callable[[str], str], text: Shown) -> Callable[[Grounds], dict[str, str]]:
    return lambda g: {name: form(text(g))}


for _name, _text in WRONG.items():
    HEADERS[f"{_name} as X-Api-Key"] = _as("X-Api-Key", str, _text)
    HEADERS[f"{_name} as Bearer"] = _as("Authorization", "Bearer {}".format, _text)
    HEADERS[f"{_name} as Basic"] = _as("Authorization", basic, _text)


def place(grounds: Grounds, rule: str) -> str:
    """The path of a route, with something that exists."""
    name = grounds.integration if "integrations" in rule else grounds.job.id
    return rule.replace("<id>", name)


# -- the management


@pytest.mark.parametrize("rule", sorted({rule for _, rule, _ in ROUTES} | {"/api/sync"}))
@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PROXY",
        "ANY",
        "INVENTED",
        "get",
    ],
)
def test_no_method_of_a_route_does_anything_without_a_key(
    grounds: Grounds, adjustments: Any, method: str, rule: str
) -> None:
    wire, before = Wire(grounds.site.server, adjustments), grounds.dump()
    wire.addr = (next(addresses), 50_000)
    body = json.dumps(BODIES.get(rule, SYNC)).encode()

    (answer,) = wire.send(Shot(method, place(grounds, rule), [], body).raw({}))

    assert (answer.status in (400, 401, 405), grounds.dump() == before) == (True, True)


# -- pings and syncs that need a key


@pytest.mark.parametrize(
    "method, path, body, dialect",
    [
        ("POST", HEARTBEATS, {"name": "New", "intervalSeconds": 60}, "cronping"),
        ("POST", "/api/sync", SYNC, "cronradar"),
        ("GET", "/ping/daily-backup", "", "cronradar"),
        ("POST", "/ping/daily-backup/start", "", "cronradar"),
        ("GET", "/ping/new-job?schedule=@daily", "", "cronradar"),
        ("POST", "/api/v1/ping/daily-backup/success", "", "crontify"),
        ("POST", "/api/v1/ping/{id}/start", "", "crontify"),
        ("POST", "/api/v1/ping/{token}/fail", "", "crontify"),
    ],
)
def test_what_needs_a_key_in_a_header_refuses_every_other_header(
    grounds: Grounds, method: str, path: str, body: Any, dialect: str
) -> None:
    target, before = grounds.job.at(path), grounds.dump()
    shown = dict(HEADERS)
    shown["one that may only read"] = lambda g: {"X-Api-Key": g.keys["read-only"]}

    replies = {
        name: grounds.send(method, target, body, headers(grounds))
        for name, headers in shown.items()
    }

    assert {
        name: (reply.status_int, is_shaped(dialect, reply)) for name, reply in replies.items()
    } == {name: (403 if "read" in name else 401, True) for name in shown}
    assert [name for name, reply in replies.items() if grounds.shows_secret(target, reply)] == []
    assert grounds.dump() == before


@pytest.mark.parametrize(
    "path",
    [
        "/ping/daily-backup?api_key={k}&key={k}&auth_key={k}",
        "/ping/new?schedule=@daily&api_key={k}",
        "/api/v1/ping/{id}/start?api_key={k}&X-API-Key={k}",
        "/api/sync?api_key={k}",
        "/api/v1/heartbeats?api_key={k}&key={k}&x-api-key={k}",
        "/api/v1/heartbeats?Authorization=Bearer%20{k}",
    ],
)
def test_what_needs_a_key_in_a_header_takes_none_from_query_or_body(
    grounds: Grounds, path: str
) -> None:
    key, before = grounds.keys["read-write"], grounds.dump()

    reply = grounds.send(
        "POST", path.format(k=key, id=grounds.job.id), {**SYNC, "api_key": key, "apiKey": key}
    )

    assert (reply.status_int, grounds.dump() == before) == (401, True)


PATHS = {  # forms with a key in the path; what a stranger hears there, by the shape of the parts
    "/ping/daily-backup/{k}": (401, "cronradar"),
    "/ping/daily-backup/{k}/start": (401, "cronradar"),
    "/ping/new-job/{k}?schedule=@daily": (401, "cronradar"),
    "/ping/{k}/daily-backup": (401, "cronradar"),
    "/ping/{k}/new-job?create=1": (401, "cronradar"),
    "/ping/{k}/new-job?state=run": (401, "cronradar"),
    "/p/{k}/daily-backup?state=run": (404, "cronitor"),
    "/p/{k}/new-job?state=run": (404, "cronitor"),
    "/p/daily-backup/{k}?state=run": (404, "cronitor"),
}
SHAPED = {  # these are no key, but the shape of something else where they come first
    "the id of a monitor": {404},
    "the id of an integration": {404},
    "the token of a monitor": {400},
    "the code of a monitor": {400},
}


@pytest.mark.parametrize("form", PATHS)
def test_what_needs_a_key_in_its_path_refuses_every_other_one(grounds: Grounds, form: str) -> None:
    before, (status, dialect) = grounds.dump(), PATHS[form]
    shown: dict[str, Shown] = {**WRONG, "one that may only read": lambda g: g.keys["read-only"]}
    paths = {
        name: form.replace("{k}", quote(text(grounds), safe="")) for name, text in shown.items()
    }

    replies = {name: grounds.send("POST", path) for name, path in paths.items()}

    first = form.split("/")[2] == "{k}"
    assert {
        name: reply.status_int for name, reply in replies.items() if not (first and name in SHAPED)
    } == {name: status for name in shown if not (first and name in SHAPED)}
    assert {name: {replies[name].status_int} for name in SHAPED if first} == (
        SHAPED if first else {}
    )
    assert [
        name
        for name, reply in replies.items()
        if name not in SHAPED and not is_shaped(dialect, reply)
    ] == []
    assert [
        name for name, reply in replies.items() if grounds.shows_secret(paths[name], reply)
    ] == []
    assert grounds.dump() == before


@pytest.mark.parametrize("name", [*WRONG, "one that may only read", "none", "an empty one"])
def test_a_ping_that_must_be_authenticated_is_dropped_with_any_other_auth_key(
    make_site: Callable[..., Site], grounds: Grounds, name: str
) -> None:
    site = make_site(authenticate_pings=True)
    job, own = (
        site.monitor(),
        Grounds(
            site,
            grounds.job,
            grounds.integration,
            {
                "read-write": site.api_key(),
                "read-only": site.api_key("read-only"),
                "revoked": "cw_old",
            },
        ),
    )
    given: dict[str, Shown] = {
        **WRONG,
        "one that may only read": lambda g: g.keys["read-only"],
        "an empty one": lambda g: "",
        "none": lambda g: "",
    }
    query = "" if name == "none" else f"?auth_key={quote(given[name](own), safe='')}"

    reply = site.get(f"/{job.code}/complete{query}")

    assert (reply.status_int, reply.text, site.pings) == (200, "OK", [])
    assert site.monitors[0]["dropped_pings"] == 1


# -- how often


def test_the_management_and_the_pings_count_wrong_keys_together(grounds: Grounds) -> None:
    grounds.site.clock.move(60)
    asked = [
        ("GET", "/api/v1/events"),
        ("POST", "/api/sync"),
        ("GET", "/ping/daily-backup"),
        ("GET", "/ping/daily-backup/wrong"),
        ("POST", "/api/v1/ping/daily-backup/start"),
    ]

    statuses = [
        grounds.site.send(
            method, path, headers={"X-Api-Key": "wrong"}, address="198.51.100.2"
        ).status_int
        for _ in range(7)
        for method, path in asked
    ]

    assert statuses == [401] * 30 + [429] * 5

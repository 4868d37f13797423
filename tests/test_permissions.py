"""Every route, and every ping that needs a key, with every kind of credential: each is refused
what it may not have, and nothing else happens."""

from __future__ import annotations

import base64
import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import hostile
import pytest
import webtest
from conftest import NOBODY, Made, Site, basic

import cronwatch

pytestmark = pytest.mark.proof

API = cronwatch.API


class Route(NamedTuple):
    """A route of the table, by the words of Healthchecks' version 2 where that has versions."""

    permission: str
    method: str
    rule: str


def in_version_2(rule: str) -> str:
    """A rule of Healthchecks' API without what its placeholders may be."""
    return re.sub(
        r"<(\w+):re:[^>]*>", lambda name: "2" if name[1] == "version" else f"<{name[1]}>", rule
    )


def each(routes: Sequence[tuple[str, ...]]) -> pytest.MarkDecorator:
    """A test for each of these routes."""
    return pytest.mark.parametrize("route", routes, ids=" ".join)


ROUTES = [
    Route(route.permission or "public", route.method, in_version_2(route.rule))
    for route in (*cronwatch.API_ROUTES, *cronwatch.CHECK_ROUTES)
]
GUARDED = [route for route in ROUTES if route.permission != "public"]
OF_KEYS = [route for route in GUARDED if route.permission != "user"]
READS = [route for route in GUARDED if route.method == "GET"]
WRITES = [route for route in GUARDED if route.method != "GET"]
MAY = {  # what each credential may, in the words of the routes
    "ping": set(),
    "read-only": {"read-only"},
    "read-write": {"read-only", "read-write"},
    "session": {"read-only", "read-write", "user"},
}
BODIES: dict[str, Any] = {  # what would be taken from somebody who may
    "POST heartbeats": {"name": "New", "intervalSeconds": 60},
    "PATCH heartbeats/<id>": {"name": "Changed"},
    "POST heartbeats/<id>/handles": {"handle": "old-handle-9"},
    "POST heartbeats/<id>/handles/rotate": {"kind": "token"},
    "POST integrations": {"channel": "ntfy", "name": "x", "url": NOBODY},
    "PATCH integrations/<id>": {"enabled": False},
    "POST keys": {"name": "more"},
    "PATCH session": {"password": "another password"},
    "POST /api/v2/checks": {"name": "New", "unique": ["slug"]},
    "POST /api/v2/checks/<id>": {"name": "Changed"},
}
QUERIES = {"handles": "?handle=d3x0c1", "preview": "?intervalSeconds=60"}
PASSWORD = "correct horse battery"
STORED = cronwatch.hash_password(PASSWORD)
SIGNING_SECRET = "whsec_c2VjcmV0LW9mLWhvb2s="
SYNC = {
    "monitors": [
        {"key": "daily-backup", "schedule": "@daily"},
        {"key": "new", "schedule": "@daily"},
    ]
}
Headers = dict[str, str]
addresses = (f"2001:db8:{number:x}::1" for number in count(1))  # wrong keys are counted for each


class Grounds(NamedTuple):
    """A site with something of everything in it, and every kind of credential."""

    site: Site
    job: Made
    ids: dict[str, str]
    live: dict[str, str]  # credentials that may something
    void: dict[str, str]  # those that may nothing any more
    secrets: dict[str, str]  # what nobody but who may write is shown

    def path(self, rule: str) -> str:
        """The path of a route, with something that exists."""
        kind = rule.removeprefix(f"{API}/").removeprefix("/api/v2/").partition("/")[0]
        named = rule.replace("<id>", self.ids.get(kind, "")).replace("<run>", "1")
        return named + QUERIES.get(rule.rpartition("/")[2], "")

    def body(self, method: str, rule: str) -> Any:
        return BODIES.get(f"{method} {rule.removeprefix(f'{API}/')}", "")

    def send(
        self, method: str, target: str, body: Any = "", headers: Headers | None = None
    ) -> webtest.TestResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        reply = self.site.send(method, target, text, headers, next(addresses))
        self.site.app.reset()  # it would keep the cookie
        return reply

    def ask(self, route: Route, headers: Headers) -> webtest.TestResponse:
        """A request that is fine but perhaps for its credential."""
        body = self.body(route.method, route.rule)
        return self.send(route.method, self.path(route.rule), body, headers)

    def dump(self) -> str:
        with closing(sqlite3.connect(self.site.database)) as db:
            return "\n".join(db.iterdump())

    def shown(self, reply: webtest.TestResponse, target: str = "") -> list[str]:
        """The names of the secrets in a reply, but for those that its request named."""
        text = reply.text + str(reply.headers)
        every = {**self.secrets, **self.live, **self.void}
        return [name for name, secret in every.items() if secret in text and secret not in target]


def sign_in(site: Site, given: dict[str, str]) -> str:
    """The token of a new session."""
    reply = site.post(f"{API}/session", json.dumps(given), Content_Type="application/json")
    assert reply.status_int == 201, reply.text
    site.app.reset()
    return str(reply.json["token"])


def void_credentials(site: Site) -> dict[str, str]:
    """Credentials that were good once, and what resembles one."""
    act, made = site.server.act, dict[str, str]()

    def link() -> str:
        return str(act(cronwatch.make_link, "Changed")["url"].rpartition("/")[2])

    made["a revoked key"] = act(cronwatch.create_key, "revoked", "read-write")
    site.get(f"{API}/events", X_Api_Key=made["a revoked key"])  # known once, and remembered
    act(cronwatch.remove_key, cronwatch.ApiRequest("revoked"))
    users = {"Ended": "ended", "Gone": "of a removed user", "Changed": "with an old password"}
    for name, end in users.items():
        act(cronwatch.add_user, name, STORED)
        made[f"a session {end}"] = sign_in(site, {"name": name, "password": PASSWORD})
    site.send("DELETE", f"{API}/session", headers=bearer(made["a session ended"]))
    act(cronwatch.remove_user, cronwatch.ApiRequest("Gone"))
    (changed,) = site.rows("SELECT num FROM user WHERE name = 'Changed'")
    act(cronwatch.change_password, changed["num"], STORED)
    made["a session that has expired"] = sign_in(site, {"name": "Changed", "password": PASSWORD})
    made["a link"] = link()
    site.clock.move(site.server.settings.session_days * 86_400)
    made["a link of today"] = link()
    made["a used link"] = link()
    sign_in(site, {"link": made["a used link"]})
    return made


@pytest.fixture(scope="module")
def grounds(folder: Path) -> Iterator[Grounds]:
    made = make_grounds(folder)
    yield made
    made.site.server.close()


def make_grounds(folder: Path) -> Grounds:
    """Grounds whose integrations have all failed."""
    nobody: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": 9, "smtp_security": "none"}
    site = Site(folder / "permissions.db", **nobody)
    act, create = site.server.act, cronwatch.create_integration
    act(cronwatch.add_user, "Ann", STORED)
    (ann,) = site.rows("SELECT id FROM user")
    void = void_credentials(site)
    job = site.monitor(handles={"d3x0c1": "cronitor"}, key="daily-backup")
    hook = {
        "url": f"{NOBODY}hook-path-secret",
        "secret": SIGNING_SECRET,
        "headers": {"X-Team": "header-value-secret"},
    }
    hook_id = act(create, "webhook", "Hook", hook)
    act(create, "email", "Me", {"address": "me-secret@example.org"})
    act(create, "command", "Run", {"command": "echo answer-secret; exit 3 # command-secret"})
    site.post(f"/ping/{job.token}/3", "log-secret")
    for _ in range(5):  # the webhook is failing then, and the others are told
        site.server.deliver()
        site.clock.move(3600)
    site.rows(
        "UPDATE alert SET result = '550 answer-secret: no me-secret', answer = 'answer-secret' "
        "WHERE integration = (SELECT num FROM integration WHERE channel = 'email')"
    )
    live = {name: site.api_key(name) for name in ("ping", "read-only", "read-write")}
    (key,) = site.rows("SELECT id FROM api_key WHERE permission = 'ping'")
    live["session"] = sign_in(site, {"name": "Ann", "password": PASSWORD})
    secrets = {
        "token": job.token,
        "code": job.code,
        "adopted": "d3x0c1",
        "url": "hook-path-secret",
        "signing secret": SIGNING_SECRET,
        "header": "header-value-secret",
        "address": "me-secret",
        "answer": "answer-secret",
        "failure": "Connection refused",
        "log": "log-secret",
        "command": "command-secret",
        "password": PASSWORD,
        "hash": STORED.partition(":")[2],
        "key's hash": cronwatch.hash_secret(live["read-write"]),
    }
    ids = dict.fromkeys(("heartbeats", "monitors", "checks"), job.id)
    ids |= {"integrations": hook_id, "users": ann["id"], "keys": key["id"]}
    return Grounds(site, job, ids, live, void, secrets)


@pytest.fixture
def spare(grounds: Grounds, tmp_path: Path) -> Iterator[Grounds]:
    """The same in a file of its own, for what changes something."""
    with (
        closing(sqlite3.connect(grounds.site.database)) as db,
        closing(sqlite3.connect(tmp_path / "spare.db")) as copy,
    ):
        db.backup(copy)
    site = Site(tmp_path / "spare.db")
    site.clock.now = grounds.site.clock.now
    yield grounds._replace(site=site)
    site.server.close()


# credentials


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def cookie(secret: str) -> Headers:
    return {"Cookie": f"{cronwatch.COOKIE}={secret}"}


FORMS: dict[str, Callable[[str], Headers]] = {
    "as Bearer": bearer,
    "as a cookie": cookie,
    "as X-Api-Key": lambda secret: {"X-Api-Key": secret},
    "as Basic": lambda secret: {"Authorization": basic(secret)},
}


def near(grounds: Grounds) -> dict[str, str]:
    """Texts that are no key and no session, however near."""
    key, session = grounds.live["read-write"], grounds.live["session"]
    return {
        **grounds.void,
        "garbage": "garbage",
        "a prefix": key[:-1],
        "what is kept of it": key[:12],
        "one with more": key + "x",
        "upper case": key.upper(),
        "lower case": key.lower(),
        "swapped case": key.swapcase(),
        "a blank in it": f"{key[:9]} {key[9:]}",
        "two of them": f"{key}, {key}",
        "quotes around it": f'"{key}"',
        "its hash": cronwatch.hash_secret(key),
        "its form without one": "cw_",
        "a part of a session": session[:-1],
        "a longer session": session + "x",
        "the hash of a session": cronwatch.hash_secret(session),
        "the id of a user": grounds.ids["users"],
        "the id of a key": grounds.ids["keys"],
        "the id of an integration": grounds.ids["integrations"],
        "the id of a monitor": grounds.job.id,
        "the key of a monitor": grounds.job.key,
        "the token of a monitor": grounds.job.token,
        "the code of a monitor": grounds.job.code,
        "the password": PASSWORD,
        "a very long one": "x" * 100_000,
        "a long one that begins well": key * 2000,
        "bytes": "\xff\x80",
        "a pattern": "cw_%",
        "SQL": "' OR 1=1 --",
    }


def unknown(grounds: Grounds) -> dict[str, Headers]:
    """Headers that show nobody."""
    key, session = grounds.live["read-write"], grounds.live["session"]
    with_a_user = base64.b64encode(f"me:{key}".encode()).decode()
    headers = {
        f"{name} {form}": make(text)
        for name, text in near(grounds).items()
        for form, make in FORMS.items()
    }
    return {
        **headers,
        "nothing": {},
        "an empty key": {"X-Api-Key": ""},
        "an empty header": {"Authorization": ""},
        "an empty Bearer": bearer(""),
        "a Bearer alone": {"Authorization": "Bearer"},
        "an empty Basic": {"Authorization": basic("")},
        "a Basic that is none": {"Authorization": "Basic !!"},
        "an empty cookie": cookie(""),
        "a session in a cookie of another name": {"Cookie": f"session={session}"},
        "the key as a cookie": cookie(key),
        "a name and a password": {"Authorization": f"Basic {basic('Ann')[6:-1]}"},
        "the key beside another user": {"Authorization": f"Basic {with_a_user}"},
        "the key as Basic, not encoded": {"Authorization": f"Basic {key}"},
        "the key encoded as Bearer": bearer(basic(key)[6:]),
        "the key without a word": {"Authorization": key},
        "the key as Digest": {"Authorization": f"Digest {key}"},
        "the key in another header": {"Api-Key": key},
        "a wrong key before the right one": {"X-Api-Key": "wrong", **bearer(key)},
    }


def refusal(rule: str, status: int, sentence: str) -> tuple[int, dict[str, Any]]:
    """The status and body of a refusal, in the words of Cronping, Crontify or Healthchecks."""
    if rule.startswith("/api/v2/"):
        return 401, {"error": "wrong api key"}
    if rule.startswith(f"{API}/monitors/"):
        word = {401: "Unauthorized", 403: "Forbidden"}[status]
        crontifys = {"success": False, "statusCode": status, "message": sentence}
        return status, {**crontifys, "error": word}
    return status, {"error": sentence}


def is_shaped(dialect: str, reply: webtest.TestResponse) -> bool:
    """Whether an error is worded as the service words its errors."""
    if dialect == "cronitor":
        return bool(reply.content_type == "text/plain" and reply.text[:1] not in ("", "<", "{"))
    shape = hostile.SHAPES[dialect]
    return bool(reply.content_type == "application/json" and shape(reply.json, reply.status_int))


# who is nobody


@each(GUARDED)
def test_a_route_refuses_who_is_nobody(grounds: Grounds, route: Route) -> None:
    before = grounds.dump()

    replies = {name: grounds.ask(route, headers) for name, headers in unknown(grounds).items()}

    expected = [refusal(route.rule, 401, "Missing or invalid API key")]
    if route.rule.startswith("/api/v2/"):
        expected.append((401, {"error": "missing api key"}))
    assert {
        name: (reply.status_int, reply.json)
        for name, reply in replies.items()
        if (reply.status_int, reply.json) not in expected
    } == {}
    assert [name for name, reply in replies.items() if grounds.shown(reply)] == []
    assert grounds.dump() == before


METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROXY ANY INVENTED get"


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("rule", sorted({route.rule for route in OF_KEYS} | {"/api/sync"}))
def test_no_method_of_a_route_does_anything_without_a_key(grounds: Grounds, rule: str) -> None:
    before, path = grounds.dump(), grounds.path(rule)

    statuses = {
        (method, str(body)): grounds.send(method, path, body).status_int
        for method in METHODS.split()
        for body in (SYNC, grounds.body("PATCH", rule), grounds.body("POST", rule))
    }

    assert set(statuses.values()) <= {204, 401, 405}, statuses  # 204: Healthchecks' OPTIONS
    assert grounds.dump() == before


# who may too little


@each([(kind, *r) for kind in MAY for r in GUARDED if r.permission not in MAY[kind]])
def test_a_route_refuses_a_key_that_may_too_little(
    grounds: Grounds, route: tuple[str, str, str, str]
) -> None:
    kind, asked, before = route[0], Route(*route[1:]), grounds.dump()

    reply = grounds.ask(asked, {"X-Api-Key": grounds.live[kind]})

    needs = f"an API key with the permission {asked.permission}"
    if asked.permission == "user":
        needs = "a signed-in user"
    assert (reply.status_int, reply.json) == refusal(asked.rule, 403, f"This needs {needs}")
    assert (grounds.shown(reply), grounds.dump() == before) == ([], True)


# who may


def forms_for(permission: str, live: dict[str, str]) -> dict[str, Headers]:
    """Headers of all who may."""
    keys = [kind for kind in ("read-only", "read-write") if permission in MAY[kind]]
    return {
        **{kind: {"X-Api-Key": live[kind]} for kind in keys},
        "Bearer": bearer(live["session"]),
        "cookie": {**cookie(live["session"]), "X-Cronwatch": "1"},
    }


NOBODYS = dict.fromkeys(MAY, "")


@each([(form, *route) for route in GUARDED for form in forms_for(route.permission, NOBODYS)])
def test_a_route_is_open_to_who_may(spare: Grounds, route: tuple[str, str, str, str]) -> None:
    form, asked = route[0], Route(*route[1:])

    reply = spare.ask(asked, forms_for(asked.permission, spare.live)[form])

    not_paused = 409 if asked.rule == "/api/v2/checks/<id>/resume" else 200
    assert reply.status_int in (not_paused, 201), reply.text


@pytest.mark.parametrize(
    "kind, status",
    [("nobody", 401), ("ping", 403), ("read-only", 200), ("read-write", 200), ("session", 200)],
)
def test_the_document_of_the_api_needs_a_key_that_reads(
    grounds: Grounds, kind: str, status: int
) -> None:
    headers = bearer(grounds.live[kind]) if kind in grounds.live else {}

    assert grounds.send("GET", "/api/openapi.json", headers=headers).status_int == status


def test_nothing_else_is_public() -> None:
    public = {route[1:] for route in ROUTES if route.permission == "public"}

    assert public == {
        ("POST", f"{API}/session"),
        ("GET", "/healthz"),
        ("GET", f"{API}/status/<id>"),
        ("GET", "/api/status-page/<id>"),
        ("GET", "/api/status-page/heartbeat/<id>"),
        ("GET", "/api/v2/status"),
        ("GET", "/b/2/<id>.<run>"),
    }


def test_keys_and_sessions_are_for_users_and_no_write_is_for_who_may_only_read() -> None:
    of_users = [route for route in GUARDED if "/keys" in route.rule or "/session" in route.rule]

    assert {route.permission for route in of_users} == {"user"}
    assert [route for route in WRITES if route.permission == "read-only"] == []


# writes with a cookie


FOREIGN: list[Headers] = [  # headers of a form or a script of another page
    {},
    {"X-Requested-With": "XMLHttpRequest"},
    {"Origin": "http://cron.test"},
    {"Content-Type": "text/plain"},
    *(
        {"X-Cronwatch": "1", "Content-Type": kind}
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "text/plain; application/json",
        )
    ),
]


@each(WRITES)
def test_a_write_with_a_cookie_needs_the_header(grounds: Grounds, route: Route) -> None:
    path, before, session = grounds.path(route.rule), grounds.dump(), grounds.live["session"]
    body = grounds.body(route.method, route.rule) or {}

    statuses = {
        (str(more), str(given)): grounds.send(
            route.method, path, given, {**cookie(session), **more}
        ).status_int
        for more in FOREIGN
        for given in (body, {})
    }

    assert set(statuses.values()) == {refusal(route.rule, 403, "")[0]}, statuses
    assert grounds.dump() == before


@each(READS)
def test_a_read_with_a_cookie_needs_no_header(grounds: Grounds, route: Route) -> None:
    headers, path = cookie(grounds.live["session"]), grounds.path(route.rule)

    statuses = [
        grounds.site.send(word, path, headers=headers).status_int for word in ("GET", "HEAD")
    ]

    assert statuses == [200, 200]


# what is shown to whom


@each([route for route in READS if route.permission == "read-only"])
def test_no_secret_is_shown_to_a_read_only_key(grounds: Grounds, route: Route) -> None:
    reply = grounds.ask(route, {"X-Api-Key": grounds.live["read-only"]})

    assert (reply.status_int, grounds.shown(reply)) == (200, [])


OF_EVENTS = {"failure", "answer", "address", "log"}
OF_INTEGRATION = {"url", "signing secret", "header", "failure"}
SHOWN = {
    "heartbeats": {"token", "code", "adopted"},
    "heartbeats/<id>": {"token", "code", "adopted"},
    "integrations/<id>": OF_INTEGRATION,
    "integrations": {*OF_INTEGRATION, "address", "command", "answer"},
    "events": OF_EVENTS,
    "heartbeats/<id>/events": OF_EVENTS,
    "heartbeats/<id>/log": OF_EVENTS,
    "health": {"failure", "answer", "address"},
}


def test_the_same_is_shown_to_who_may_write(grounds: Grounds) -> None:
    key = {"X-Api-Key": grounds.live["read-write"]}

    replies = {rule: grounds.ask(Route("", "GET", f"{API}/{rule}"), key) for rule in SHOWN}

    assert {rule: set(grounds.shown(reply)) for rule, reply in replies.items()} == SHOWN


@each(READS)
def test_no_credential_and_no_hash_is_shown_to_anybody(grounds: Grounds, route: Route) -> None:
    reply = grounds.ask(route, bearer(grounds.live["session"]))

    never = {*grounds.live, *grounds.void, "password", "hash", "key's hash"}
    assert never & set(grounds.shown(reply)) == set()


SIGN_OUT = ("DELETE", f"{API}/session")


@each([route for route in GUARDED if route[1:] != SIGN_OUT])
def test_no_secret_is_in_an_error(grounds: Grounds, route: Route) -> None:
    path = grounds.path(route.rule.replace("<id>", "no-such-thing")).partition("?")[0]
    target = f"{path}?handle=x&limit=0&days=0"

    reply = grounds.send(route.method, target, "[]", bearer(grounds.live["session"]))

    assert reply.status_int in (200, 201, 400, 404), reply.text
    assert reply.status_int < 400 or grounds.shown(reply) == []


def test_no_secret_is_in_the_log(spare: Grounds, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user, key = bearer(spare.live["session"]), {"X-Api-Key": spare.live["read-write"]}
    made: dict[str, str] = {}

    for route in GUARDED:
        known = [key] if route[1:] == SIGN_OUT else [key, user]
        for headers in (*unknown(spare).values(), *known):
            reply = spare.ask(route, headers)
            shown = reply.json if reply.content_type == "application/json" else {}
            words = {"secret", "token", "code", "url"} & set(shown)
            made |= {f"{word} {route.rule}": str(shown[word]) for word in words}
    made["session"] = sign_in(spare.site, {"name": "Changed", "password": PASSWORD})
    spare.site.server.deliver()

    secrets = {**spare.secrets, **spare.live, **spare.void, **made}
    assert [name for name, secret in secrets.items() if secret in caplog.text] == []


# pings and syncs


def test_the_id_of_a_monitor_alone_never_pings(grounds: Grounds) -> None:
    before = grounds.dump()
    forms = (
        "/{} /{}/start /{}/0 /ping/{} /ping/{}/fail /api/push/{} /api/v1/ping/{}/start "
        "/p/{}/daily-backup /ping/{}/daily-backup /{}/pause/1 /start/{} /finish/{} /fail/{} "
        "/p/daily-backup/{} /ping/daily-backup/{}"
    )

    statuses = {
        path: grounds.send("POST", path).status_int
        for path in forms.replace("{}", grounds.job.id).split()
    }

    assert set(statuses.values()) <= {401, 404}, statuses
    assert grounds.dump() == before


@pytest.mark.parametrize(
    "method, path, body, dialect",
    [
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
    headers = {**unknown(grounds), "reads": {"X-Api-Key": grounds.live["read-only"]}}

    replies = {name: grounds.send(method, target, body, one) for name, one in headers.items()}

    assert {
        name: (reply.status_int, is_shaped(dialect, reply)) for name, reply in replies.items()
    } == {name: (403 if name == "reads" else 401, True) for name in headers}
    assert [name for name, reply in replies.items() if grounds.shown(reply, target)] == []
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
    key, before = grounds.live["read-write"], grounds.dump()
    target = path.format(k=key, id=grounds.job.id)

    reply = grounds.send("POST", target, {**SYNC, "api_key": key, "apiKey": key})

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
    "the id of a user": 404,
    "the id of a key": 404,
    "the id of a monitor": 404,
    "the id of an integration": 404,
    "the token of a monitor": 400,
    "the code of a monitor": 400,
}


@pytest.mark.parametrize("form", PATHS)
def test_what_needs_a_key_in_its_path_refuses_every_other_one(grounds: Grounds, form: str) -> None:
    before, (status, dialect) = grounds.dump(), PATHS[form]
    texts = {**near(grounds), "reads": grounds.live["read-only"]}
    paths = {name: form.replace("{k}", quote(text, safe="")) for name, text in texts.items()}
    shaped = SHAPED if form.split("/")[2] == "{k}" else {}

    replies = {name: grounds.send("POST", path) for name, path in paths.items()}

    assert {name: reply.status_int for name, reply in replies.items()} == {
        **dict.fromkeys(texts, status),
        **shaped,
    }
    others = {name: reply for name, reply in replies.items() if name not in shaped}
    assert [name for name, reply in others.items() if not is_shaped(dialect, reply)] == []
    assert [name for name, reply in replies.items() if grounds.shown(reply, paths[name])] == []
    assert grounds.dump() == before


def test_a_ping_that_must_be_authenticated_is_dropped_with_any_other_auth_key(
    make_site: Callable[..., Site], grounds: Grounds
) -> None:
    site = make_site(authenticate_pings=True)
    job, keys = site.monitor(), {name: site.api_key(name) for name in ("read-only", "read-write")}
    live = {**grounds.live, **keys}
    texts = [*near(grounds._replace(live=live, job=job)).values(), keys["read-only"], ""]

    for query in ("", *(f"?auth_key={quote(text, safe='')}" for text in texts)):
        reply = site.get(f"/{job.code}/complete{query}")
        assert (reply.status_int, reply.text) == (200, "OK")

    assert (site.pings, site.monitors[0]["dropped_pings"]) == ([], len(texts) + 1)


def test_the_management_and_the_pings_count_wrong_keys_together(grounds: Grounds) -> None:
    headers, address = {"X-Api-Key": "wrong"}, "198.51.100.2"
    asked = [
        ("GET", "/api/v1/events"),
        ("POST", "/api/sync"),
        ("GET", "/ping/daily-backup"),
        ("GET", "/ping/daily-backup/wrong"),
        ("POST", "/api/v1/ping/daily-backup/start"),
    ]

    statuses = [
        grounds.site.send(method, path, headers=headers, address=address).status_int
        for _ in range(7)
        for method, path in asked
    ]

    assert statuses == [401] * 30 + [429] * 5

"""Every route of the table, with every kind of credential: it refuses what it says it refuses."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import webtest
from conftest import Made, Site, basic

import cronwatch

pytestmark = pytest.mark.proof

API = cronwatch.API
Route = tuple[str, str, str]  # permission, method, rule


def in_version_2(rule: str) -> str:
    """A rule of Healthchecks' API without what its placeholders may be."""
    return re.sub(
        r"<(\w+):re:[^>]*>", lambda name: "2" if name[1] == "version" else f"<{name[1]}>", rule
    )


ROUTES: list[Route] = [
    (route.permission or "public", route.method, in_version_2(route.rule))
    for route in (*cronwatch.API_ROUTES, *cronwatch.CHECK_ROUTES)
]
GUARDED = [route for route in ROUTES if route[0] != "public"]
READS = [route for route in GUARDED if route[1] == "GET"]
WRITES = [route for route in GUARDED if route[1] != "GET"]
guarded = pytest.mark.parametrize("permission, method, rule", GUARDED)
reads = pytest.mark.parametrize("permission, method, rule", READS)
writes = pytest.mark.parametrize("permission, method, rule", WRITES)
addresses = (f"2001:db8:{number:x}::1" for number in count(1))  # wrong keys are counted for each
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
    "POST integrations": {"channel": "ntfy", "name": "x", "url": "http://127.0.0.1:9/"},
    "PATCH integrations/<id>": {"enabled": False},
    "POST keys": {"name": "more"},
    "PATCH session": {"password": "another password"},
    "POST /api/v2/checks": {"name": "New", "unique": ["slug"]},
    "POST /api/v2/checks/<id>": {"name": "Changed"},
}
QUERIES = {"handles": "?handle=d3x0c1", "preview": "?intervalSeconds=60"}
PASSWORD = "correct horse battery"
SIGNING_SECRET = "whsec_c2VjcmV0LW9mLWhvb2s="


class Grounds(NamedTuple):
    """A site with something of everything in it, and every kind of credential."""

    site: Site
    job: Made
    run: str
    ids: dict[str, str]
    live: dict[str, str]  # credentials that may something
    void: dict[str, str]  # those that may nothing any more
    secrets: dict[str, str]  # what nobody but who may write is shown

    def path(self, rule: str) -> str:
        """The path of a route, with something that exists."""
        kind = rule.removeprefix(f"{API}/").removeprefix("/api/v2/").partition("/")[0]
        named = rule.replace("<id>", self.ids.get(kind, "")).replace("<run>", self.run)
        return named + QUERIES.get(rule.rpartition("/")[2], "")

    def ask(self, method: str, rule: str, headers: dict[str, str]) -> webtest.TestResponse:
        """A request that is fine but perhaps for its credential."""
        given = BODIES.get(f"{method} {rule.removeprefix(f'{API}/')}")
        body = "" if given is None else json.dumps(given)
        return self.site.send(
            method,
            self.path(rule),
            body,
            {"Content-Type": "application/json", **headers},
            next(addresses),
        )

    def dump(self) -> str:
        with closing(sqlite3.connect(self.site.database)) as db:
            return "\n".join(db.iterdump())

    def shown(self, reply: webtest.TestResponse) -> list[str]:
        """The names of the secrets in a reply."""
        said = reply.text + str(reply.headers)
        every = {**self.secrets, **self.live, **self.void}
        return [name for name, secret in every.items() if secret in said]


def secret_of(link: dict[str, Any]) -> str:
    return str(link["url"].rpartition("/")[2])


def sign_in(site: Site, name: str, password: str = PASSWORD) -> str:
    reply = site.send(
        "POST",
        f"{API}/session",
        json.dumps({"name": name, "password": password}),
        {"Content-Type": "application/json"},
        next(addresses),
    )
    assert reply.status_int == 201, reply.text
    site.app.reset()  # forgets the cookie
    return str(reply.json["token"])


def void_credentials(site: Site, stored: str) -> dict[str, str]:
    """Credentials that were good once, and what resembles one."""
    act = site.server.act
    made: dict[str, str] = {"garbage": "garbage", "nothing": ""}
    made["a revoked key"] = act(cronwatch.create_key, "revoked", "read-write")
    site.get(f"{API}/events", X_Api_Key=made["a revoked key"])  # known once, and remembered
    act(cronwatch.remove_key, cronwatch.ApiRequest("revoked"))
    made["a session that was ended"] = sign_in(site, "Ann")
    site.send(
        "DELETE",
        f"{API}/session",
        headers={"Authorization": f"Bearer {made['a session that was ended']}"},
    )
    for name in ("Gone", "Changed"):
        act(cronwatch.add_user, name, stored)
    made["a session of a removed user"] = sign_in(site, "Gone")
    act(cronwatch.remove_user, cronwatch.ApiRequest("Gone"))
    made["a session with an old password"] = sign_in(site, "Changed")
    (changed,) = site.rows("SELECT num FROM user WHERE name = 'Changed'")
    act(cronwatch.change_password, changed["num"], stored)
    made["a session that has expired"] = sign_in(site, "Changed")
    made["a link"] = secret_of(act(cronwatch.make_link, "Changed"))
    site.clock.move(site.server.settings.session_days * 86_400)
    made["a link of today"] = secret_of(act(cronwatch.make_link, "Changed"))
    used = secret_of(act(cronwatch.make_link, "Changed"))
    site.post(f"{API}/session", json.dumps({"link": used}), Content_Type="application/json")
    site.app.reset()
    return {**made, "a used link": used}


@pytest.fixture(scope="module")
def grounds(folder: Path) -> Iterator[Grounds]:
    made = make_grounds(folder)
    yield made
    made.site.server.close()


def make_grounds(folder: Path) -> Grounds:
    """Grounds whose integrations have all failed."""
    nobody: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": 9, "smtp_security": "none"}
    site = Site(folder / "permissions.db", **nobody)
    act, stored = site.server.act, cronwatch.hash_password(PASSWORD)
    act(cronwatch.add_user, "Ann", stored)
    (ann,) = site.rows("SELECT id FROM user")
    void = void_credentials(site, stored)
    job = site.monitor(handles={"d3x0c1": "cronitor"}, key="daily-backup")
    hook = act(
        cronwatch.create_integration,
        "webhook",
        "Hook",
        {
            "url": "http://127.0.0.1:9/hook-path-secret",
            "secret": SIGNING_SECRET,
            "headers": {"X-Team": "header-value-secret"},
        },
    )
    act(cronwatch.create_integration, "email", "Me", {"address": "me-secret@example.org"})
    act(
        cronwatch.create_integration,
        "command",
        "Run",
        {"command": "echo answer-secret; exit 3 # command-secret"},
    )
    site.post(f"/ping/{job.token}/3", "log-secret")
    for _ in range(5):  # the webhook is failing then, and the others are told
        site.server.deliver()
        site.clock.move(3600)
    site.rows(
        "UPDATE alert SET result = '550 answer-secret: no me-secret', answer = 'answer-secret' "
        "WHERE "
        "integration = (SELECT num FROM integration WHERE channel = 'email')"
    )
    live = {name: site.api_key(name) for name in ("ping", "read-only", "read-write")}
    (key,) = site.rows("SELECT id FROM api_key WHERE permission = 'ping'")
    live["session"] = sign_in(site, "Ann")
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
        "hash": stored.partition(":")[2],
        "key's hash": cronwatch.hash_secret(live["read-write"]),
    }
    void = {name: text for name, text in void.items() if name not in ("garbage", "nothing")}
    return Grounds(
        site,
        job,
        str(site.runs[0]["num"]),
        {
            "heartbeats": job.id,
            "monitors": job.id,
            "checks": job.id,
            "integrations": hook,
            "users": ann["id"],
            "keys": key["id"],
        },
        live,
        void,
        secrets,
    )


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
    yield grounds._replace(site=site, ids=dict(grounds.ids))
    site.server.close()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def cookie(secret: str) -> dict[str, str]:
    return {"Cookie": f"{cronwatch.COOKIE}={secret}"}


def unknown(grounds: Grounds) -> dict[str, dict[str, str]]:
    """Headers that show nobody."""
    session, key = grounds.live["session"], grounds.live["read-write"]
    near = {
        "garbage": "garbage",
        "a part of a session": session[:-1],
        "a longer one": session + "x",
        "the hash of a session": cronwatch.hash_secret(session),
        "the id of a user": grounds.ids["users"],
        "the id of a key": grounds.ids["keys"],
        **grounds.void,
        "a token of a monitor": grounds.job.token,
        "the password": PASSWORD,
    }
    forms: dict[str, Callable[[str], dict[str, str]]] = {
        "as Bearer": bearer,
        "as a cookie": cookie,
        "as X-Api-Key": lambda s: {"X-Api-Key": s},
        "as Basic": lambda s: {"Authorization": basic(s)},
    }
    headers = {
        f"{name} {form}": make(secret)
        for name, secret in near.items()
        for form, make in forms.items()
    }
    return {
        **headers,
        "nothing": {},
        "an empty cookie": cookie(""),
        "a cookie of another name": {"Cookie": f"session={session}"},
        "a key as a cookie": cookie(key),
        "a name and a password": {"Authorization": "Basic " + basic("Ann")[6:-1]},
    }


def refusal(rule: str, status: int, sentence: str) -> tuple[int, dict[str, Any]]:
    """The status and body of a refusal, in the words of Cronping, Crontify or Healthchecks."""
    if rule.startswith("/api/v2/"):
        return 401, {"error": "wrong api key"}
    if rule.startswith(f"{API}/monitors/"):
        word = {401: "Unauthorized", 403: "Forbidden"}[status]
        return status, {
            "success": False,
            "statusCode": status,
            "message": sentence,
            "error": word,
        }
    return status, {"error": sentence}


# who is nobody


@guarded
def test_a_route_refuses_who_is_nobody(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    before, headers = grounds.dump(), unknown(grounds)

    replies = {name: grounds.ask(method, rule, shown) for name, shown in headers.items()}

    expected = [refusal(rule, 401, "Missing or invalid API key")]
    if rule.startswith("/api/v2/"):
        expected.append((401, {"error": "missing api key"}))
    assert {
        name: (reply.status_int, reply.json)
        for name, reply in replies.items()
        if (reply.status_int, reply.json) not in expected
    } == {}
    assert {
        name: grounds.shown(reply) for name, reply in replies.items() if grounds.shown(reply)
    } == {}
    assert grounds.dump() == before


# who may too little


@pytest.mark.parametrize(
    "kind, permission, method, rule",
    [
        (kind, *route)
        for kind in ("ping", "read-only", "read-write")
        for route in GUARDED
        if route[0] not in MAY[kind]
    ],
)
def test_a_route_refuses_a_key_that_may_too_little(
    grounds: Grounds, kind: str, permission: str, method: str, rule: str
) -> None:
    before = grounds.dump()

    reply = grounds.ask(method, rule, {"X-Api-Key": grounds.live[kind]})

    needs = (
        "a signed-in user"
        if permission == "user"
        else (f"an API key with the permission {permission}")
    )
    assert (reply.status_int, reply.json) == refusal(rule, 403, f"This needs {needs}")
    assert (grounds.shown(reply), grounds.dump() == before) == ([], True)


# who may


def is_taken(rule: str, reply: webtest.TestResponse) -> bool:
    """Whether it was answered; what is not paused is not resumed."""
    status = 409 if rule == "/api/v2/checks/<id>/resume" else 200
    return reply.status_int in (status, 201)


def forms_for(permission: str, live: dict[str, str]) -> dict[str, dict[str, str]]:
    """Headers of all who may."""
    keys = [kind for kind in ("read-only", "read-write") if permission in MAY[kind]]
    return {
        **{kind: {"X-Api-Key": live[kind]} for kind in keys},
        "Bearer": bearer(live["session"]),
        "cookie": {**cookie(live["session"]), "X-Cronwatch": "1"},
    }


FORMS = {
    permission: list(forms_for(permission, dict.fromkeys(MAY, "")))
    for permission in ("read-only", "read-write", "user")
}


@pytest.mark.parametrize(
    "permission, method, rule, form",
    [(*route, form) for route in GUARDED for form in FORMS[route[0]]],
)
def test_a_route_is_open_to_who_may(
    spare: Grounds, permission: str, method: str, rule: str, form: str
) -> None:
    reply = spare.ask(method, rule, forms_for(permission, spare.live)[form])

    assert is_taken(rule, reply), reply.text


@pytest.mark.parametrize(
    "kind, status",
    [("nobody", 401), ("ping", 403), ("read-only", 200), ("read-write", 200), ("session", 200)],
)
def test_the_document_of_the_api_needs_a_key_that_reads(
    grounds: Grounds, kind: str, status: int
) -> None:
    headers = bearer(grounds.live[kind]) if kind in grounds.live else {}

    assert grounds.site.send("GET", "/api/openapi.json", headers=headers).status_int == status


def test_nothing_else_is_public() -> None:
    public = {(method, rule) for permission, method, rule in ROUTES if permission == "public"}

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
    assert {
        permission for permission, _, rule in GUARDED if "/keys" in rule or "/session" in rule
    } == {"user"}
    assert [route for route in WRITES if route[0] == "read-only"] == []


# writes with a cookie


FOREIGN: list[dict[str, str]] = [  # headers of a form or a script of another page
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


@writes
def test_a_write_with_a_cookie_needs_the_header(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    path, before, session = grounds.path(rule), grounds.dump(), cookie(grounds.live["session"])
    bodies = (json.dumps(BODIES.get(f"{method} {rule.removeprefix(f'{API}/')}", {})), "{}")

    statuses = {
        (str(more), body): grounds.site.send(
            method, path, body, {"Content-Type": "application/json", **session, **more}
        ).status_int
        for more in FOREIGN
        for body in bodies
    }

    assert set(statuses.values()) == {refusal(rule, 403, "")[0]}, statuses
    assert grounds.dump() == before


@reads
def test_a_read_with_a_cookie_needs_no_header(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    headers, path = cookie(grounds.live["session"]), grounds.path(rule)

    statuses = [
        grounds.site.send(word, path, headers=headers).status_int for word in ("GET", "HEAD")
    ]

    assert statuses == [200, 200]


# what is shown to whom


@pytest.mark.parametrize(
    "permission, method, rule", [route for route in READS if route[0] == "read-only"]
)
def test_no_secret_is_shown_to_a_read_only_key(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    reply = grounds.ask(method, rule, {"X-Api-Key": grounds.live["read-only"]})

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

    shown = {rule: set(grounds.shown(grounds.ask("GET", f"{API}/{rule}", key))) for rule in SHOWN}

    assert shown == SHOWN


@reads
def test_no_credential_and_no_hash_is_shown_to_anybody(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    reply = grounds.ask(method, rule, bearer(grounds.live["session"]))

    never = {*grounds.live, *grounds.void, "password", "hash", "key's hash"}
    assert never & set(grounds.shown(reply)) == set()


@pytest.mark.parametrize(
    "permission, method, rule",
    [route for route in GUARDED if route[1:] != ("DELETE", f"{API}/session")],
)
def test_no_secret_is_in_an_error(
    grounds: Grounds, permission: str, method: str, rule: str
) -> None:
    path = grounds.path(rule.replace("<id>", "no-such-thing")).partition("?")[0]

    reply = grounds.site.send(
        method,
        f"{path}?handle=x&limit=0&days=0",
        "[]",
        {**bearer(grounds.live["session"]), "Content-Type": "application/json"},
    )

    assert reply.status_int in (200, 201, 400, 404), reply.text
    assert reply.status_int < 400 or grounds.shown(reply) == []


def test_no_secret_is_in_the_log(spare: Grounds, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made: dict[str, str] = {}

    for _, method, rule in GUARDED:
        for name, headers in {
            **unknown(spare),
            "a user": bearer(spare.live["session"]),
            "a key": {"X-Api-Key": spare.live["read-write"]},
        }.items():
            if (method, rule, name) != ("DELETE", f"{API}/session", "a user"):
                reply = spare.ask(method, rule, headers)
                made |= {
                    f"{word} {rule}": str(reply.json[word])
                    for word in ("secret", "token", "code", "url")
                    if reply.content_type == "application/json" and word in reply.json
                }
    made["token of a session"] = sign_in(spare.site, "Changed")
    spare.site.server.deliver()

    said = caplog.text
    secrets = {**spare.secrets, **spare.live, **spare.void, **made}
    assert [name for name, secret in secrets.items() if secret in said] == []


def test_the_id_of_a_monitor_alone_never_pings(grounds: Grounds) -> None:
    before, site = grounds.dump(), grounds.site
    forms = (
        "/{} /{}/start /{}/0 /ping/{} /ping/{}/fail /api/push/{} /api/v1/ping/{}/start "
        "/p/{}/daily-backup /ping/{}/daily-backup /{}/pause/1 /start/{} /finish/{} /fail/{} "
        "/p/daily-backup/{} /ping/daily-backup/{}"
    )

    statuses = {
        path: site.send("POST", path).status_int
        for path in forms.replace("{}", grounds.job.id).split()
    }

    assert set(statuses.values()) <= {401, 404}, statuses
    assert grounds.dump() == before

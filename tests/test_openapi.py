"""The OpenAPI document: it describes every route and no other, and a real server keeps to it."""

from __future__ import annotations

import itertools
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
from conftest import NOBODY, Site
from hypothesis import HealthCheck
from hypothesis import settings as bounded
from hypothesis import strategies as st
from live_server import DIRECT, Live, serving
from schemathesis.checks import CHECKS

import cronwatch

DESCRIBED: dict[str, Any] = json.loads(cronwatch.openapi())
# What was kept by hand until the document was made from the routes and their fields.
BEFORE: dict[str, Any] = json.loads(Path(__file__).with_name("openapi_before.json").read_text())
METHODS = ("get", "post", "patch", "delete")
OPERATIONS = [
    (method.upper(), path, item[method])
    for path, item in DESCRIBED["paths"].items()
    for method in METHODS
    if method in item
]
PINGS = [(method, path) for method, path, op in OPERATIONS if op["x-permission"] == "ping"]
MANAGED = [(method, path, op) for method, path, op in OPERATIONS if op["x-permission"] != "ping"]


def resolve(part: Any, document: dict[str, Any] = DESCRIBED) -> Any:
    """What a `$ref` in a document stands for."""
    while isinstance(part, dict) and "$ref" in part:
        place: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        part = place
    return part


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part of the document."""
    if isinstance(part, dict):
        yield part
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for item in inner:
        yield from objects(item)


REFERENCES = {part["$ref"] for part in objects(DESCRIBED) if "$ref" in part}


# the document


def test_it_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DESCRIBED).validate()

    assert DESCRIBED["openapi"].startswith("3.1.")


def test_every_reference_leads_somewhere() -> None:
    assert [name for name in REFERENCES if resolve({"$ref": name}) is None] == []


def test_every_component_is_used() -> None:
    components = DESCRIBED["components"]

    names = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in components[kind]
    }

    assert names - REFERENCES == set()


def test_every_operation_has_a_summary_and_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert sorted(set(ids)) == sorted(ids)
    assert [path for _, path, operation in OPERATIONS if not operation["summary"]] == []


def parameters(document: dict[str, Any], item: dict[str, Any], operation: Any) -> list[Any]:
    parts = [*item.get("parameters", ()), *operation.get("parameters", ())]
    return [resolve(part, document) for part in parts]


def test_the_parameters_of_a_path_are_described() -> None:
    named = {
        path: sorted(
            one["name"]
            for one in parameters(DESCRIBED, DESCRIBED["paths"][path], operation)
            if one["in"] == "path"
        )
        for _, path, operation in OPERATIONS
    }

    assert named == {path: sorted(re.findall(r"{(\w+)}", path)) for path in named}


def test_every_object_is_closed() -> None:
    parts = [DESCRIBED["components"]["schemas"], DESCRIBED["paths"]]

    assert [
        part
        for part in objects(parts)
        if part.get("type") == "object"
        and "properties" in part
        and part.get("additionalProperties") is not False
    ] == []


@pytest.mark.parametrize("method, path, operation", MANAGED, ids=str)
def test_an_operation_names_its_refusals(method: str, path: str, operation: Any) -> None:
    refusals = set()
    if operation["x-permission"] != "public":
        refusals |= {"401", "403", "429"}
    if "requestBody" in operation:
        refusals |= {"400", "413"}
    if "{id}" in path:
        refusals |= {"404"}

    assert refusals - set(operation["responses"]) == set()


# the document and the routes


def test_the_routes_are_described_with_their_permissions_and_statuses_and_no_other() -> None:
    described = {
        (method, path): (operation["x-permission"], set(operation["responses"]))
        for method, path, operation in MANAGED
    }
    served = {
        (route.method, route.rule.replace("<", "{").replace(">", "}")): route
        for route in cronwatch.API_ROUTES
    }

    assert set(described) == set(served)
    assert [
        where
        for where, route in served.items()
        if (route.permission or "public") != described[where][0]
        or str(route.status) not in described[where][1]
    ] == []


def test_the_routes_of_healthchecks_are_left_to_its_own_page() -> None:
    paths = [path for path in DESCRIBED["paths"] if re.match("/api/v./(checks|badges)", path)]

    assert paths == []
    assert "Healthchecks' management API" in DESCRIBED["info"]["description"]


@pytest.mark.parametrize("method, path", PINGS)
def test_a_ping_that_is_described_is_one(site: Site, method: str, path: str) -> None:
    job, key = site.monitor(), site.api_key("ping")
    names = {"name": job.key if "{apiKey}" in path else job.token, "apiKey": key}
    target = path.format(**names, word="start", outcome="success", percent="50", hours="2")
    body = '{"monitors": [{"key": "x", "schedule": "0 3 * * *"}]}' if path == "/api/sync" else ""

    answer = site.send(method, target, body, {"X-Api-Key": key})

    assert answer.status_int == 200, answer.text
    assert site.pings or "pause" in path or path == "/api/sync"


# what is different from the document that was kept by hand: all of it is meant


def names_in(document: dict[str, Any], schema: Any, depth: int = 0) -> set[str]:
    """The names of all that an answer or a body may have, with those of objects in it."""
    schema = resolve(schema, document)
    names: set[str] = set()
    if not isinstance(schema, dict) or depth > 8:
        return names
    for name, inner in schema.get("properties", {}).items():
        names |= {name} | {f"{name}.{one}" for one in names_in(document, inner, depth + 1)}
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(word, ()):
            names |= names_in(document, inner, depth + 1)
    for word in ("items", "additionalProperties"):
        names |= names_in(document, schema.get(word), depth + 1)
    return names


def json_names(document: dict[str, Any], part: Any) -> set[str]:
    """The names in the JSON of an answer or a body."""
    content = resolve(part, document).get("content", {}).get("application/json", {})
    return names_in(document, content.get("schema"))


def facts(document: dict[str, Any]) -> set[str]:
    """What a document says of the management API, a line each."""
    lines = set()
    for path, item in document["paths"].items():
        for method in METHODS:
            operation = item.get(method, {"x-permission": "ping"})
            if operation["x-permission"] == "ping":
                continue
            where = f"{method.upper()} {path.replace('{runId}', '{run}')}"
            lines.add(f"{where} is for {operation['x-permission']}")
            names = {one["name"] for one in parameters(document, item, operation)}
            lines |= {f"{where} takes {one}" for one in names - {"runId", "run", "If-None-Match"}}
            for status, response in operation["responses"].items():
                lines.add(f"{where} may answer {status}")
                if status < "3":
                    lines |= {f"{where} gives {one}" for one in json_names(document, response)}
            body = operation.get("requestBody", {})
            lines |= {f"{where} takes a body with {one}" for one in json_names(document, body)}
    return lines


def test_what_the_document_by_hand_said_is_said_still_and_no_more_than_is_meant() -> None:
    more = facts(DESCRIBED) - facts(BEFORE)
    # Statuses follow from the kind of a route: one is named that this one never gives. The status
    # pages were not described.
    others = re.compile(" may answer | /api/(status-page|v1/status)/")

    assert facts(BEFORE) - facts(DESCRIBED) == {
        "GET /api/v1/preview gives sentence",  # the page words the times itself
        "GET /api/v1/preview gives times.words",
        "GET /api/v1/preview takes scheduleType",
    }
    assert sorted(line for line in more if not others.search(line)) == [
        "GET /api/v1/heartbeats/{id}/events takes kind",  # as the events of all
        "GET /api/v1/heartbeats/{id}/events takes since",
        "GET /api/v1/heartbeats/{id}/events takes until",
        "POST /api/v1/integrations takes a body with enabled",  # as a change of one
    ]


def test_the_description_is_served_to_a_key_that_reads(site: Site, api_key: str) -> None:
    answer = site.get("/api/openapi.json", X_Api_Key=api_key)

    assert (answer.status_int, answer.content_type) == (200, "application/json")
    assert answer.json == DESCRIBED


# a real server, asked whatever the document allows and forbids


class Place(NamedTuple):
    """A server, and who asks it."""

    live: Live
    token: str  # of a session that nobody ends
    run: str  # the id of a run of the monitor `history`


FORMATS = {
    "timezone": ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata"],
    "cron": ["0 3 * * *", "*/5 8-18 * * MON-FRI", "30 0 3 * * *", "@daily", "0 0 L * *"],
    "mail-address": ["me@example.org", "a.b+c@localhost"],
    "http-url": [NOBODY, "https://127.0.0.1:9/hook?x=1"],
}
for _name, _texts in FORMATS.items():
    schemathesis.openapi.format(_name, st.sampled_from(_texts))

# What a body or a query asks for may be impossible although each field is fine: a schedule whose
# other half is missing, a field of another channel, an integration that does not exist.
MAY_BE_IMPOSSIBLE = {
    "postHeartbeats",
    "patchHeartbeatsId",
    "postHeartbeatsIdHandles",
    "postIntegrations",
    "patchIntegrationsId",
    "getPreview",
    "getHeartbeatsIdUptime",
    "getEvents",
    "postSession",
}
ADDRESSES = itertools.count(1)  # wrong keys are limited per address
# Any word may follow a handle, and a handle is asked for before its method.
PING_EXCLUDED = ("unsupported_method", "negative_data_rejection", "positive_data_acceptance")


def configured() -> Any:
    """The document, always with the same examples, or with so many new ones where asked. More by
    hand, and then with the border cases of every parameter, which take minutes."""
    examples = os.environ.get("SCHEMATHESIS_EXAMPLES", "")
    schema = schemathesis.openapi.from_dict(DESCRIBED)
    schema.config.generation.update(
        max_examples=int(examples or 50),
        deterministic=not os.environ.get("SCHEMATHESIS_FRESH"),
    )
    schema.config.phases.coverage.enabled = examples != ""
    return schema


many = configured()
PEACE = bounded(deadline=None, database=None, suppress_health_check=list(HealthCheck))
INTEGRATION = {"channel": "ntfy", "name": "probe", "url": NOBODY, "default": False}
PROBES = {  # what is made again before it is asked for, whatever the last request did to it
    "/heartbeats": {"name": "x", "key": "probe", "intervalSeconds": 60},
    "/integrations": INTEGRATION,
    "/keys": {"name": "probe"},
}


def session(live: Live) -> str:
    """The token of a new session."""
    link = live.quick("user", "link", "somebody").strip().rpartition("/")[2]
    return str(live.ask("POST", "/session", {"link": link}).json["token"])


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    """A server with something of everything in it."""
    home = folder / "openapi"
    home.mkdir()
    with serving(home, "--trusted-proxy", "127.0.0.1") as live:
        code = live.add("history", rules=[{"field": "rows", "operator": "lt", "value": 1}])["code"]
        live.ask("POST", "/integrations", {"channel": "webhook", "name": "hook", "url": NOBODY})
        for word in ("start", "progress/50", "1", "start", "log", "ok", "start"):
            with DIRECT.open(f"{live.url}/ping/{code}/{word}") as reply:
                assert reply.status == 200
        run = live.ask("GET", "/heartbeats/history/runs").json["runs"][0]["id"]
        yield Place(live, session(live), run)


def names_for(place: Place, path: str) -> dict[str, str]:
    """Names of what is there for a path."""
    if "{run}" in path:
        return {"id": "history", "run": place.run}
    for kind, given in PROBES.items():
        if path.startswith(f"/api/v1{kind}/"):
            place.live.ask("POST", kind, given, key=place.token)
    return {"id": "probe"}


@pytest.mark.proof
@many.parametrize()
@PEACE
def test_a_server_keeps_to_the_description_whatever_is_asked(
    place: Place, case: schemathesis.Case[Any]
) -> None:
    """Asks, mostly for something that is there, and holds the answer against the document."""
    operation = case.operation.definition.raw
    given = case.path_parameters or {}
    if "id" in given and zlib.crc32(repr(given).encode()) % 4:
        names = names_for(place, case.path)
        case.path_parameters = {name: names.get(name, text) for name, text in given.items()}
    permission, number = operation["x-permission"], next(ADDRESSES)
    headers = {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
    if permission in ("read-only", "read-write"):
        headers["X-Api-Key"] = place.live.key
    elif permission == "user":
        ends_it = operation["operationId"] == "deleteSession"
        token = session(place.live) if ends_it else place.token
        headers["Authorization"] = f"Bearer {token}"
    excluded = {"ignored_auth"}  # we say who asks: test_permissions.py asks without
    if permission == "ping":
        excluded |= set(PING_EXCLUDED)
    if operation["operationId"] in MAY_BE_IMPOSSIBLE:
        excluded.add("positive_data_acceptance")

    checks: list[Any] = [one for one in CHECKS.get_all() if one.__name__ in excluded]
    case.call_and_validate(
        base_url=place.live.url, headers=headers, timeout=30, excluded_checks=checks
    )

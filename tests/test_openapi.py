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
from conftest import Site
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
Route = tuple[str, str, str]  # permission, method, path


def template(rule: str) -> str:
    """A rule of a route as the document writes it."""
    return rule.replace("<", "{").replace(">", "}")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DESCRIBED["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


OPERATIONS = list(operations())
IDS = [f"{method} {path}" for method, path, _ in OPERATIONS]
PINGS = [(method, path) for method, path, op in OPERATIONS if op["x-permission"] == "ping"]
MANAGED = [(method, path, op) for method, path, op in OPERATIONS if op["x-permission"] != "ping"]
each_operation = pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=IDS)
each_managed = pytest.mark.parametrize("method, path, operation", MANAGED, ids=str)


def resolve(found: Any) -> Any:
    """What a `$ref` stands for."""
    while isinstance(found, dict) and "$ref" in found:
        place: Any = DESCRIBED
        for part in found["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        found = place
    return found


def every(found: Any) -> Iterator[Any]:
    """Everything in the document."""
    yield found
    for item in (
        found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    ):
        yield from every(item)


# the document


def test_it_is_valid_openapi() -> None:
    schema = schemathesis.openapi.from_dict(DESCRIBED)

    schema.validate()


def test_it_says_which_openapi_it_is() -> None:
    assert DESCRIBED["openapi"].startswith("3.1.")


def test_every_reference_leads_somewhere() -> None:
    references = [part for part in every(DESCRIBED) if isinstance(part, dict) and "$ref" in part]

    assert [part for part in references if resolve(part) is None] == []


def test_every_component_is_used() -> None:
    used = {part["$ref"] for part in every(DESCRIBED) if isinstance(part, dict) and "$ref" in part}

    components = DESCRIBED["components"]
    assert [
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in components[kind]
        if f"#/components/{kind}/{name}" not in used
    ] == []


def test_no_two_operations_have_the_same_id() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert sorted(set(ids)) == sorted(ids)


@each_operation
def test_an_operation_has_a_summary(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]


@each_operation
def test_the_parameters_of_a_path_are_described(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    given = [*DESCRIBED["paths"][path].get("parameters", ()), *operation.get("parameters", ())]

    named = sorted(resolve(one)["name"] for one in given if resolve(one)["in"] == "path")

    assert named == sorted(re.findall(r"{(\w+)}", path))


def test_a_body_takes_no_field_that_is_not_described() -> None:
    bodies = [
        resolve(operation["requestBody"]["content"]["application/json"]["schema"])
        for _, _, operation in MANAGED
        if "requestBody" in operation
    ]

    assert [
        body
        for body in bodies
        for one in body.get("oneOf", [body])
        if one.get("additionalProperties") is not False
    ] == []


def test_every_object_is_closed() -> None:
    objects = [
        part
        for part in every([DESCRIBED["components"]["schemas"], DESCRIBED["paths"]])
        if isinstance(part, dict) and part.get("type") == "object" and "properties" in part
    ]

    assert [part for part in objects if part.get("additionalProperties") is not False] == []


@each_managed
def test_an_operation_names_the_refusals_of_its_permission(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    refusals = {"public": set()}.get(operation["x-permission"], {"401", "403", "429"})

    assert refusals <= set(operation["responses"])


@each_managed
def test_an_operation_with_a_body_may_refuse_it(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert "requestBody" not in operation or {"400", "413"} <= set(operation["responses"])


@each_managed
def test_an_operation_with_an_id_may_not_find_it(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert "{id}" not in path or "404" in operation["responses"]


# the document and the routes


def described() -> set[Route]:
    return {(operation["x-permission"], method, path) for method, path, operation in MANAGED}


def served() -> set[Route]:
    return {
        (route.permission or "public", route.method, template(route.rule))
        for route in cronwatch.API_ROUTES
    }


def test_every_route_is_described_with_its_permission() -> None:
    assert served() - described() == set()


def test_everything_that_is_described_is_a_route() -> None:
    assert described() - served() == set()


def test_the_routes_of_healthchecks_are_left_to_its_own_page() -> None:
    paths = [path for path in DESCRIBED["paths"] if re.match("/api/v./(checks|badges)", path)]

    assert paths == []
    assert "Healthchecks' management API" in DESCRIBED["info"]["description"]


@pytest.mark.parametrize(
    "route", cronwatch.API_ROUTES, ids=lambda route: f"{route.method} {route.rule}"
)
def test_a_route_answers_with_the_status_that_is_described(route: cronwatch.ApiRoute) -> None:
    operation = DESCRIBED["paths"][template(route.rule)][route.method.lower()]

    assert str(route.status) in operation["responses"]


@pytest.mark.parametrize("method, path", PINGS)
def test_a_ping_that_is_described_is_one(site: Site, method: str, path: str) -> None:
    job, key = site.monitor(), site.api_key("ping")
    made = {
        "name": job.token,
        "apiKey": key,
        "word": "start",
        "outcome": "success",
        "percent": "50",
        "hours": "2",
    }
    if "{apiKey}" in path:
        made["name"] = job.key

    body = '{"monitors": [{"key": "x", "schedule": "0 3 * * *"}]}' if path == "/api/sync" else ""
    answer = site.send(method, path.format(**made), body, {"X-Api-Key": key})

    assert answer.status_int == 200, answer.text
    assert site.pings or "pause" in path or path == "/api/sync"


# what is different from the document that was kept by hand: all of it is meant


def resolved(document: dict[str, Any], part: Any) -> Any:
    """What a `$ref` in a document stands for."""
    while isinstance(part, dict) and "$ref" in part:
        place: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        part = place
    return part


def names_in(document: dict[str, Any], schema: Any, depth: int = 0) -> set[str]:
    """The names of all that an answer or a body may have, with those of objects in it."""
    schema = resolved(document, schema)
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
            for one in (*item.get("parameters", ()), *operation.get("parameters", ())):
                name = resolved(document, one)["name"]
                if name not in ("runId", "run", "If-None-Match"):
                    lines.add(f"{where} takes {name}")
            for status, response in operation["responses"].items():
                lines.add(f"{where} may answer {status}")
                content = resolved(document, response).get("content", {})
                schema = content.get("application/json", {}).get("schema")
                if status < "3":
                    lines |= {f"{where} gives {name}" for name in names_in(document, schema)}
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            takes = names_in(document, body.get("schema"))
            lines |= {f"{where} takes a body with {name}" for name in takes}
    return lines


# The page words the times itself, and a schedule is what is given.
GONE = ["gives sentence", "gives times.words", "takes scheduleType"]


def test_what_the_document_by_hand_said_is_said_still() -> None:
    missing = sorted(facts(BEFORE) - facts(DESCRIBED))

    assert missing == [f"GET /api/v1/preview {fact}" for fact in GONE]


MEANT = [
    "GET /api/v1/heartbeats/{id}/events takes kind",  # as the events of all
    "GET /api/v1/heartbeats/{id}/events takes since",
    "GET /api/v1/heartbeats/{id}/events takes until",
    "POST /api/v1/integrations takes a body with enabled",  # as a change of one
]


def test_what_the_document_says_beside_that_is_meant() -> None:
    more = sorted(facts(DESCRIBED) - facts(BEFORE))
    # Statuses follow from the kind of a route: one is named that this one never gives. The status
    # pages were not described.
    more = [
        line for line in more if " may answer " not in line and " /api/status-page/" not in line
    ]
    more = [line for line in more if " /api/v1/status/" not in line]

    assert more == MEANT


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


ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe"]
CRONS = ["0 3 * * *", "*/5 8-18 * * MON-FRI", "30 0 3 * * *", "@daily", "0 0 L * *", "0 9 * * 1#2"]
schemathesis.openapi.format("timezone", st.sampled_from(ZONES))
schemathesis.openapi.format("cron", st.sampled_from(CRONS))
schemathesis.openapi.format("mail-address", st.sampled_from(["me@example.org", "a.b+c@localhost"]))
schemathesis.openapi.format(
    "http-url",
    st.sampled_from(
        [  # nobody listens there
            "http://127.0.0.1:9/",
            "https://127.0.0.1:9/hook?x=1",
        ]
    ),
)

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


def configured(examples: int, everything: bool) -> Any:
    """The document with a configuration: always the same examples, or new ones where asked.
    Everything: also each keyword of each schema once in every way that is allowed and not."""
    found = schemathesis.openapi.from_dict(DESCRIBED)
    fresh = os.environ.get("SCHEMATHESIS_FRESH", "") != ""
    found.config.generation.update(
        max_examples=int(os.environ.get("SCHEMATHESIS_EXAMPLES", examples)),
        deterministic=not fresh,
    )
    found.config.phases.coverage.enabled = everything
    return found


# More by hand, and then with the border cases of every parameter, which take minutes.
many = configured(50, everything="SCHEMATHESIS_EXAMPLES" in os.environ)
PEACE = bounded(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    """A server with something of everything in it."""
    home = folder / "openapi"
    home.mkdir()
    with serving(home, "--trusted-proxy", "127.0.0.1") as live:
        code = live.add("history", rules=[{"field": "rows", "operator": "lt", "value": 1}])["code"]
        live.ask(
            "POST",
            "/integrations",
            {"channel": "webhook", "name": "hook", "url": "http://127.0.0.1:9/"},
        )
        for word in ("start", "progress/50", "1", "start", "log", "ok", "start"):
            with DIRECT.open(f"{live.url}/ping/{code}/{word}") as reply:
                assert reply.status == 200
        link = live.quick("user", "link", "somebody").strip().rpartition("/")[2]
        token = live.ask("POST", "/session", {"link": link}).json["token"]
        run = live.ask("GET", "/heartbeats/history/runs").json["runs"][0]["id"]
        yield Place(live, token, run)


def ask_as_user(place: Place, method: str, path: str, given: Any = None) -> Any:
    return place.live.ask(method, path, given, key=place.token)


def made_again(place: Place, path: str) -> dict[str, str]:
    """Names of what is there for a path, whatever the last request did to it."""
    live, names = place.live, {"run": place.run}
    if "{run}" in path:
        return {**names, "id": "history"}
    if path.startswith("/api/v1/heartbeats/"):
        live.ask("POST", "/heartbeats", {"name": "x", "key": "probe", "intervalSeconds": 60})
    if path.startswith("/api/v1/integrations/"):
        live.ask(
            "POST",
            "/integrations",
            {"channel": "ntfy", "name": "probe", "url": "http://127.0.0.1:9/", "default": False},
        )
    if path.startswith("/api/v1/keys/"):
        ask_as_user(place, "POST", "/keys", {"name": "probe"})
    return {**names, "id": "probe"}


def check(place: Place, case: schemathesis.Case[Any]) -> None:
    """Ask, mostly for something that is there, and hold the answer against the document."""
    operation = case.operation.definition.raw
    given = case.path_parameters or {}
    if "id" in given and zlib.crc32(repr(given).encode()) % 4:
        case.path_parameters = {
            **given,
            **{name: text for name, text in made_again(place, case.path).items() if name in given},
        }
    permission, number = operation["x-permission"], next(ADDRESSES)
    headers = {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
    if permission in ("read-only", "read-write"):
        headers["X-Api-Key"] = place.live.key
    elif permission == "user":
        token = place.token
        if operation["operationId"] == "deleteSession":  # which ends the session
            link = place.live.quick("user", "link", "somebody").strip()
            opened = place.live.ask("POST", "/session", {"link": link.rpartition("/")[2]})
            token = opened.json["token"]
        headers["Authorization"] = f"Bearer {token}"
    excluded = ["ignored_auth"]  # we say who asks: test_permissions.py asks without
    if permission == "ping":
        excluded += PING_EXCLUDED
    if operation["operationId"] in MAY_BE_IMPOSSIBLE:
        excluded.append("positive_data_acceptance")
    left_out: list[Any] = [one for one in CHECKS.get_all() if one.__name__ in excluded]
    case.call_and_validate(
        base_url=place.live.url, headers=headers, timeout=30, excluded_checks=left_out
    )


@pytest.mark.proof
@many.parametrize()
@PEACE
def test_a_server_keeps_to_the_description_whatever_is_asked(
    place: Place, case: schemathesis.Case[Any]
) -> None:
    check(place, case)

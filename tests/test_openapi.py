"""static/openapi.json: it describes every route and no other, and a real server keeps to it."""

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

DOCUMENT = cronwatch.DATA / "static" / "openapi.json"
DESCRIBED: dict[str, Any] = json.loads(DOCUMENT.read_text())
METHODS = ("get", "post", "patch", "delete")
Route = tuple[str, str, str]  # permission, method, path


def template(rule: str) -> str:
    """A rule of a route as the document writes it."""
    return rule.replace("<run>", "{runId}").replace("<", "{").replace(">", "}")


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
        for kind in ("schemas", "responses", "parameters")
        for name in components[kind]
        if f"#/components/{kind}/{name}" not in used
    ] == []


def test_no_two_operations_have_the_same_id() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert sorted(set(ids)) == sorted(ids)


@each_operation
def test_an_operation_has_a_summary_and_a_tag(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    tags = {tag["name"] for tag in DESCRIBED["tags"]}

    assert operation["summary"]
    assert set(operation["tags"]) <= tags


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


def test_every_object_that_is_shown_is_closed() -> None:
    shown = [
        name
        for name, schema in DESCRIBED["components"]["schemas"].items()
        if not name.endswith("Fields")
        and schema.get("type") == "object"
        and schema.get("additionalProperties") is not False
    ]

    assert shown == ["SyncRequest"]  # the one body whose unknown fields are ignored


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
    assert described() - served() == {
        ("read-only", "GET", "/api/openapi.json"),
        ("public", "GET", "/healthz"),
    }


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


def test_every_field_of_a_monitor_is_described() -> None:
    known = {field.name for field in cronwatch.FIELDS} | {"scheduleType", "integrationIds"}

    schemas = DESCRIBED["components"]["schemas"]
    assert set(schemas["NewHeartbeat"]["properties"]) == known | {"unique"}
    assert set(schemas["HeartbeatChange"]["properties"]) == known


WORDS = {  # the words of a schema, and those of the code
    "Kind": lambda: set(cronwatch.EVENT_KINDS),
}


@pytest.mark.parametrize("name", WORDS)
def test_the_words_that_are_described_are_those_of_the_code(name: str) -> None:
    assert set(DESCRIBED["components"]["schemas"][name]["enum"]) == WORDS[name]()


def test_the_channels_that_are_described_are_those_of_the_code() -> None:
    channel = DESCRIBED["components"]["schemas"]["Integration"]["properties"]["channel"]

    assert set(channel["enum"]) == set(cronwatch.SENDERS)


def test_the_dialects_that_are_described_are_those_of_the_code() -> None:
    ping = DESCRIBED["components"]["schemas"]["Ping"]["properties"]["dialect"]

    assert set(ping["enum"]) == set(cronwatch.DIALECTS)


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
    "createHeartbeat",
    "changeHeartbeat",
    "createIntegration",
    "changeIntegration",
    "preview",
    "getUptime",
    "sync",
    "listEvents",
    "adoptHandle",
}
ADDRESSES = itertools.count(1)  # wrong keys are limited per address
# Any word may follow a handle, and a handle is asked for before its method.
PING_EXCLUDED = ("unsupported_method", "negative_data_rejection", "positive_data_acceptance")


def configured(examples: int, everything: bool) -> Any:
    """The document with a configuration: always the same examples, or new ones where asked.
    Everything: also each keyword of each schema once in every way that is allowed and not."""
    found = schemathesis.openapi.from_path(DOCUMENT)
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
    live, names = place.live, {"runId": place.run}
    if "{runId}" in path:
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
        if operation["operationId"] == "signOut":  # which ends the session
            link = place.live.quick("user", "link", "somebody").strip()
            opened = place.live.ask("POST", "/session", {"link": link.rpartition("/")[2]})
            token = opened.json["token"]
        headers["Authorization"] = f"Bearer {token}"
    excluded = PING_EXCLUDED if permission == "ping" else ()
    if operation["operationId"] in MAY_BE_IMPOSSIBLE:
        excluded = (*excluded, "positive_data_acceptance")
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

"""The management API: Cronping's page, sentence by sentence, and what is ours beside it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import Made, Site

import cronwatch

HEARTBEATS, INTEGRATIONS, EVENTS = "/api/v1/heartbeats", "/api/v1/integrations", "/api/v1/events"
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
NOON = "2026-03-02T12:00:00.000Z"


class Api:
    """Requests with one key."""

    def __init__(self, site: Site, key: str) -> None:
        self.site, self.key = site, key

    def get(self, path: str) -> webtest.TestResponse:
        return self.site.get(path, X_Api_Key=self.key)

    def post(self, path: str, given: Any = None) -> webtest.TestResponse:
        body = given if isinstance(given, (str, bytes)) else json.dumps(given)
        return self.site.post(
            path,
            b"" if given is None else body,
            X_Api_Key=self.key,
            Content_Type="application/json",
        )

    def create(self, **fields: Any) -> dict[str, Any]:
        """A new heartbeat, as the API shows it."""
        answer = self.post(HEARTBEATS, {"name": "Backup", "intervalSeconds": 3600, **fields})
        assert answer.status_int == 201, answer.text
        shown: dict[str, Any] = answer.json
        return shown

    def refused(self, given: Any, path: str = HEARTBEATS) -> str:
        """The sentence with which something is refused as invalid."""
        answer = self.post(path, given)
        assert answer.status_int == 400, answer.text
        assert list(answer.json) == ["error"]
        return str(answer.json["error"])


@pytest.fixture
def api(site: Site, api_key: str) -> Api:
    return Api(site, api_key)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Api]:
    """One site for all requests that change nothing."""
    site = Site(folder / "shared-api.db")
    yield Api(site, site.api_key())
    site.server.close()


@pytest.fixture
def reader(site: Site) -> Api:
    return Api(site, site.api_key("read-only"))


def names(answer: webtest.TestResponse) -> list[str]:
    return [shown["name"] for shown in answer.json["heartbeats"]]


# list heartbeats


EXAMPLE: dict[str, Any] = {  # of the page
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "name": "Daily DB Backup",
    "status": "up",
    "paused": False,
    "scheduleType": "cron",
    "intervalSeconds": 0,
    "cronExpression": "0 3 * * *",
    "timezone": "America/Sao_Paulo",
    "graceSeconds": 300,
    "tags": "prod db",
    "emailAlertsEnabled": True,
    "reminderIntervalSeconds": 0,
    "lastPingAt": "2026-03-13T03:00:12.000Z",
    "nextExpectedAt": "2026-03-14T03:05:00.000Z",
    "token": "abc123def456...",
    "pingUrl": "https://ping.cronping.com/abc123def456...",
    "createdAt": "2026-01-10T12:00:00.000Z",
    "updatedAt": "2026-03-13T03:00:12.000Z",
}
LIKE_EXAMPLE = {
    "name": "Daily DB Backup",
    "scheduleType": "cron",
    "cronExpression": "0 3 * * *",
    "timezone": "America/Sao_Paulo",
    "tags": "prod db",
}


def test_a_list_has_the_documented_frame(api: Api) -> None:
    assert api.get(HEARTBEATS).json == {"heartbeats": [], "total": 0, "limit": 50, "offset": 0}


def test_a_heartbeat_is_shown_as_documented(api: Api) -> None:
    api.site.get(f"/{api.post(HEARTBEATS, LIKE_EXAMPLE).json['token']}")

    (shown,) = api.get(HEARTBEATS).json["heartbeats"]

    assert {name: type(shown.get(name)) for name in EXAMPLE} == {
        name: type(value) for name, value in EXAMPLE.items()
    }
    own = {name for name in EXAMPLE if name.endswith("At")} | {"id", "token", "pingUrl"}
    assert {name: shown[name] for name in EXAMPLE if name not in own} == {
        name: value for name, value in EXAMPLE.items() if name not in own
    }


def test_the_next_expected_time_includes_the_grace(api: Api) -> None:
    api.site.get(f"/{api.post(HEARTBEATS, LIKE_EXAMPLE).json['token']}")

    (shown,) = api.get(HEARTBEATS).json["heartbeats"]

    assert (shown["lastPingAt"], shown["nextExpectedAt"], shown["expectedAt"]) == (
        NOON,
        "2026-03-03T06:05:00.000Z",
        "2026-03-03T06:00:00.000Z",
    )


def test_a_heartbeat_that_never_pinged_has_no_times(api: Api) -> None:
    shown = api.create()

    assert (shown["status"], shown["lastPingAt"], shown["nextExpectedAt"]) == ("new", None, None)


def test_the_ping_url_pings(api: Api) -> None:
    shown = api.create()

    api.site.get(shown["pingUrl"].removeprefix("http://cron.test"))

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json["status"] == "up"


def numbered(site: Site, count: int) -> None:
    for n in range(count):
        site.monitor(name=f"Job {n:03}")


def test_pages_of_a_list_follow_each_other(api: Api) -> None:
    numbered(api.site, 5)

    pages = [api.get(f"{HEARTBEATS}?limit=2&offset={offset}") for offset in (0, 2, 4, 6)]

    assert [names(page) for page in pages] == [
        ["Job 000", "Job 001"],
        ["Job 002", "Job 003"],
        ["Job 004"],
        [],
    ]


MOST = {HEARTBEATS: 100, f"{HEARTBEATS}/{{id}}/pings": 200, EVENTS: 200}


@pytest.mark.parametrize("path, most", MOST.items())
def test_the_largest_limit_is_taken(api: Api, path: str, most: int) -> None:
    shown = api.create()

    answer = api.get(f"{path.format(id=shown['id'])}?limit={most}")

    assert (answer.status_int, answer.json["limit"]) == (200, most)


@pytest.mark.parametrize("path, most", MOST.items())
@pytest.mark.parametrize("text", ["0", "-1", "{more}", "many", "1.5", "", "9" * 400, "٣", "1e1"])
def test_a_limit_that_cannot_be_is_refused(shared: Api, path: str, most: int, text: str) -> None:
    shown = shared.create()
    given = text.format(more=most + 1)

    answer = shared.get(f"{path.format(id=shown['id'])}?limit={given}")

    assert (
        answer.status_int,
        "limit" in answer.json["error"],
        str(most) in answer.json["error"],
    ) == (400, True, True)


@pytest.mark.parametrize("path", MOST)
@pytest.mark.parametrize("text", ["-1", "many", "1.5", "9" * 400])
def test_an_offset_that_cannot_be_is_refused(shared: Api, path: str, text: str) -> None:
    shown = shared.create()

    answer = shared.get(f"{path.format(id=shown['id'])}?offset={text}")

    assert (answer.status_int, "offset" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize(
    "query, found",
    [
        ("backup", ["DB Backup", "backup of mail"]),
        ("BACK", ["DB Backup", "backup of mail"]),
        ("db+b", ["DB Backup"]),
        ("100%25", ["100% sure"]),
        ("%25", ["100% sure"]),
        ("_", []),
        ("", ["100% sure", "Büro", "DB Backup", "backup of mail"]),
        ("b%C3%BCro", ["Büro"]),
        ("B%C3%9CRO", ["Büro"]),
        ("nothing", []),
    ],
)
def test_the_query_is_a_substring_of_the_name_in_any_case(
    api: Api, query: str, found: list[str]
) -> None:
    for name in ("DB Backup", "backup of mail", "100% sure", "Büro"):
        api.create(name=name)

    answer = api.get(f"{HEARTBEATS}?query={query}")

    assert (sorted(names(answer)), answer.json["total"]) == (found, len(found))


@pytest.mark.parametrize(
    "query, found",
    [
        ("status=up", ["up"]),
        ("status=down", ["down"]),
        ("status=up&status=down", ["down", "up"]),
        ("status=new", ["new"]),
        ("status=paused", ["paused"]),
        ("status=", []),
    ],
)
def test_the_status_filters_and_is_repeatable(api: Api, query: str, found: list[str]) -> None:
    shown = {name: api.create(name=name) for name in ("new", "up", "down", "paused")}
    api.site.get(f"/{shown['up']['token']}")
    api.site.get(f"/{shown['down']['token']}/fail")
    api.post(f"{HEARTBEATS}/{shown['paused']['id']}/pause")

    answer = api.get(f"{HEARTBEATS}?{query}")

    assert query == "status=" or sorted(names(answer)) == found


@pytest.mark.parametrize(
    "query, found",
    [
        ("tag=prod", ["both", "one"]),
        ("tag=prod&tag=db", ["both"]),
        ("tag=pro", []),
        ("tag=gr%C3%BCn", ["green"]),
        ("tag=PROD", []),
        ("tag=%25", []),
    ],
)
def test_the_tag_filters_and_is_repeatable(api: Api, query: str, found: list[str]) -> None:
    for name, tags in {"both": "db prod", "one": "prod", "none": "", "green": "grün"}.items():
        api.create(name=name, tags=tags)

    answer = api.get(f"{HEARTBEATS}?{query}")

    assert sorted(names(answer)) == found


def test_filters_hold_together(api: Api) -> None:
    api.create(name="Backup A", tags="prod")
    api.create(name="Backup B", tags="test")
    api.create(name="Mail", tags="prod")

    answer = api.get(f"{HEARTBEATS}?query=backup&tag=prod&status=new")

    assert names(answer) == ["Backup A"]


# get a heartbeat


def test_one_heartbeat_is_shown_as_in_the_list(api: Api) -> None:
    shown = api.create()

    one = api.get(f"{HEARTBEATS}/{shown['id']}").json

    (listed,) = api.get(HEARTBEATS).json["heartbeats"]
    assert {
        name: value for name, value in one.items() if name not in ("integrationIds", "upcoming")
    } == listed


def test_one_heartbeat_is_found_by_its_key(api: Api) -> None:
    shown = api.create(key="daily-backup")

    assert api.get(f"{HEARTBEATS}/daily-backup").json["id"] == shown["id"]


def add_slack(api: Api, name: str = "Slack", **more: Any) -> str:
    answer = api.post(
        INTEGRATIONS,
        {"channel": "slack", "name": name, "url": "https://hooks.slack.example/T0", **more},
    )
    assert answer.status_int == 201, answer.text
    return str(answer.json["id"])


def test_one_heartbeat_names_the_integrations_that_it_was_given(api: Api) -> None:
    ids = [add_slack(api, f"Slack {n}", default=False) for n in range(2)]
    shown = api.create(integrationIds=ids)

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json["integrationIds"] == ids


def test_one_heartbeat_names_the_default_integrations_that_it_got(api: Api) -> None:
    slack = add_slack(api)
    shown = api.create()

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json["integrationIds"] == [slack]


# create a heartbeat


@pytest.mark.parametrize(
    "name, value",
    [
        ("scheduleType", "interval"),
        ("timezone", "UTC"),
        ("graceSeconds", 300),
        ("tags", ""),
        ("emailAlertsEnabled", True),
        ("reminderIntervalSeconds", 0),
    ],
)
def test_a_field_that_is_not_given_has_its_default(
    make_site: Callable[..., Site], name: str, value: Any
) -> None:
    site = make_site(timezone="Europe/Berlin")

    assert Api(site, site.api_key()).create()[name] == value


KEPT = [
    ("name", "x"),
    ("name", "x" * 200),
    ("name", "Бэкап 🔥"),
    ("intervalSeconds", 60),
    ("intervalSeconds", 2_592_000),
    ("graceSeconds", 0),
    ("graceSeconds", 86_400),
    ("tags", "prod db"),
    ("tags", ""),
    ("emailAlertsEnabled", False),
    ("emailAlertsEnabled", True),
    ("reminderIntervalSeconds", 3600),
    ("reminderIntervalSeconds", 0),
    ("timezone", "America/Sao_Paulo"),
    ("key", "daily-backup"),
    ("key", "Ä b/c"),
    ("expects", "complete"),
    ("maxRunSeconds", 600),
    ("failureTolerance", 2),
    ("armed", True),
    ("notes", "Call me.\nOr not."),
    ("rules", [{"field": "rows", "operator": "lt", "value": 1}]),
]


@pytest.mark.parametrize("name, value", KEPT)
def test_a_field_is_kept_as_it_was_given(api: Api, name: str, value: Any) -> None:
    shown = api.create(**{name: value})

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json[name] == value


def test_a_cron_schedule_is_kept(api: Api) -> None:
    shown = api.post(
        HEARTBEATS, {"name": "x", "scheduleType": "cron", "cronExpression": "*/5 8-18 * * MON-FRI"}
    ).json

    assert (shown["scheduleType"], shown["cronExpression"], shown["intervalSeconds"]) == (
        "cron",
        "*/5 8-18 * * MON-FRI",
        0,
    )


def test_a_schedule_is_none_where_that_is_asked_for(api: Api) -> None:
    shown = api.post(HEARTBEATS, {"name": "x", "scheduleType": "none"}).json

    assert (shown["scheduleType"], shown["cronExpression"], shown["intervalSeconds"]) == (
        "none",
        None,
        0,
    )


NAN = float("nan")
REFUSED = [
    ("name", ""),
    ("name", "   "),
    ("name", "x" * 201),
    ("name", 5),
    ("name", None),
    ("name", ["x"]),
    ("name", "\0"),
    ("name", "\x01\x02"),
    ("scheduleType", "daily"),
    ("scheduleType", ""),
    ("scheduleType", 5),
    ("scheduleType", None),
    ("scheduleType", ["cron"]),
    ("intervalSeconds", 59),
    ("intervalSeconds", 2_592_001),
    ("intervalSeconds", "3600"),
    ("intervalSeconds", 3600.5),
    ("intervalSeconds", True),
    ("intervalSeconds", None),
    ("intervalSeconds", NAN),
    ("intervalSeconds", 10**400),
    ("intervalSeconds", [60]),
    ("timezone", "Mars/Olympus"),
    ("timezone", ""),
    ("timezone", 5),
    ("timezone", None),
    ("timezone", "../../etc/passwd"),
    ("timezone", "/etc/passwd"),
    ("timezone", "UTC\0"),
    ("graceSeconds", -1),
    ("graceSeconds", 86_401),
    ("graceSeconds", "300"),
    ("graceSeconds", True),
    ("graceSeconds", None),
    ("graceSeconds", 0.5),
    ("tags", 5),
    ("tags", {"prod": 1}),
    ("tags", True),
    ("tags", [5]),
    ("tags", [None]),
    ("emailAlertsEnabled", "yes"),
    ("emailAlertsEnabled", 1),
    ("emailAlertsEnabled", None),
    ("reminderIntervalSeconds", -1),
    ("reminderIntervalSeconds", "60"),
    ("reminderIntervalSeconds", 60.5),
    ("reminderIntervalSeconds", 10**400),
    ("reminderIntervalSeconds", False),
    ("integrationIds", "x"),
    ("integrationIds", [5]),
    ("integrationIds", {}),
    ("integrationIds", [UNKNOWN]),
    ("integrationIds", [None]),
    ("key", ""),
    ("key", "x" * 201),
    ("key", 5),
    ("key", None),
    ("key", "\0"),
    ("expects", "nothing"),
    ("expects", None),
    ("expects", ["run"]),
    ("maxRunSeconds", -1),
    ("maxRunSeconds", "60"),
    ("failureTolerance", -1),
    ("failureTolerance", None),
    ("minPingIntervalSeconds", -1),
    ("armed", "yes"),
    ("armed", 1),
    ("notes", 5),
    ("notes", "x" * 10_001),
    ("rules", "rows < 1"),
    ("rules", [5]),
    ("rules", {}),
    ("rules", [{}]),
    ("rules", [{"field": "rows", "operator": "lt", "value": 1}] * 21),
    ("rules", [{"field": "rows", "operator": "like", "value": 1}]),
    ("rules", [{"field": "rows", "operator": ["lt"], "value": 1}]),
    ("rules", [{"field": "rows", "operator": "lt", "value": "1"}]),
    ("rules", [{"field": "rows", "operator": "lt", "value": NAN}]),
    ("rules", [{"field": "", "operator": "lt", "value": 1}]),
    ("rules", [{"field": "rows", "operator": "lt", "value": 1, "more": 1}]),
]


@pytest.mark.parametrize("name, value", REFUSED, ids=lambda value: ascii(value)[:24])
def test_a_field_that_cannot_be_is_refused_by_name(shared: Api, name: str, value: Any) -> None:
    sentence = shared.refused({"name": "x", "intervalSeconds": 60, name: value})

    assert ("rule" if name == "rules" else name) in sentence


@pytest.mark.parametrize(
    "value",
    [
        "",
        "at teatime",
        "61 * * * *",
        "* * * *",
        "0 0 30 2 *",
        "@reboot",
        "* * * * * * *",
        5,
        None,
        ["0 3 * * *"],
        "R * * * *",
        "0 3 * * *\0",
        "x" * 10_000,
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_cron_expression_that_cannot_be_is_refused_by_name(shared: Api, value: Any) -> None:
    sentence = shared.refused({"name": "x", "scheduleType": "cron", "cronExpression": value})

    assert "cronExpression" in sentence


@pytest.mark.parametrize(
    "given, missing",
    [
        ({"intervalSeconds": 60}, "name"),
        ({"name": "x"}, "intervalSeconds"),
        ({"name": "x", "scheduleType": "interval"}, "intervalSeconds"),
        ({"name": "x", "scheduleType": "cron"}, "cronExpression"),
        ({}, "name"),
    ],
)
def test_a_required_field_that_is_missing_is_named(
    shared: Api, given: dict[str, Any], missing: str
) -> None:
    assert missing in shared.refused(given)


@pytest.mark.parametrize(
    "name, least, most", [("intervalSeconds", "60", "2592000"), ("graceSeconds", "0", "86400")]
)
def test_a_refusal_names_the_limits(shared: Api, name: str, least: str, most: str) -> None:
    sentence = shared.refused({"name": "x", "intervalSeconds": 60, name: -5})

    assert re.search(rf"\b{least}\b.*\b{most}\b", sentence)


def test_what_is_refused_leaves_nothing(api: Api) -> None:
    api.refused({"name": "x", "intervalSeconds": 60, "integrationIds": [UNKNOWN]})

    assert (api.site.monitors, api.site.rows("SELECT * FROM handle")) == ([], [])


def test_a_key_that_is_taken_is_refused(api: Api) -> None:
    api.create(key="backup")

    answer = api.post(HEARTBEATS, {"name": "x", "intervalSeconds": 60, "key": "backup"})

    assert (answer.status_int, "key" in answer.json["error"]) == (409, True)


def test_two_of_the_same_name_have_keys_of_their_own(api: Api) -> None:
    keys = [api.create(name="Daily backup")["key"] for _ in range(3)]

    assert (keys[0], len(set(keys))) == ("daily-backup", 3)


def test_an_armed_one_is_expected_at_once(api: Api) -> None:
    shown = api.create(armed=True)

    assert (shown["status"], shown["expectedAt"]) == ("new", "2026-03-02T13:00:00.000Z")


UPSERT = {
    "name": "worker-node-1",
    "unique": "worker-node-1",
    "intervalSeconds": 300,
    "graceSeconds": 60,
}  # of the page


def test_a_unique_one_that_exists_is_updated(api: Api) -> None:
    first = api.post(HEARTBEATS, UPSERT)

    answer = api.post(HEARTBEATS, {**UPSERT, "graceSeconds": 90})

    assert (answer.status_int, answer.json.get("id"), answer.json.get("graceSeconds")) == (
        200,
        first.json.get("id"),
        90,
    )


# pause and resume


def paused(api: Api, given: Any = None) -> dict[str, Any]:
    """A heartbeat that is up, after its pause."""
    shown = api.create()
    api.site.get(f"/{shown['token']}")
    answer = api.post(f"{HEARTBEATS}/{shown['id']}/pause", given)
    assert answer.status_int == 200, answer.text
    return {**answer.json, **api.get(f"{HEARTBEATS}/{shown['id']}").json}


@pytest.mark.parametrize("given", [None, {}, {"hours": None}])
def test_a_pause_lasts_until_it_is_resumed(api: Api, given: Any) -> None:
    shown = paused(api, given)

    assert (shown["status"], shown["paused"], shown["pausedUntil"]) == ("paused", True, None)


def test_a_pause_lasts_for_hours(api: Api) -> None:
    assert paused(api, {"hours": 2})["pausedUntil"] == "2026-03-02T14:00:00.000Z"


def test_a_pause_of_no_hours_ends_it(api: Api) -> None:
    shown = paused(api, {"hours": 2})

    answer = api.post(f"{HEARTBEATS}/{shown['id']}/pause", {"hours": 0})

    assert (answer.status_int, answer.json["paused"]) == (200, False)


def test_a_pause_lasts_100_years_at_most(api: Api) -> None:
    assert paused(api, {"hours": 876_000})["pausedUntil"].startswith("2126-02-")


@pytest.mark.parametrize(
    "hours", [-1, 876_001, "2", 1.5, True, [2], NAN, 10**400], ids=lambda value: ascii(value)[:24]
)
def test_hours_that_cannot_be_are_refused(shared: Api, hours: Any) -> None:
    shown = shared.create()

    assert "hours" in shared.refused({"hours": hours}, f"{HEARTBEATS}/{shown['id']}/pause")


@pytest.mark.parametrize("body", ["{", "[]", "2", '"2"', b"\xff"], ids=ascii)
def test_a_pause_whose_body_is_no_object_is_refused(api: Api, body: str | bytes) -> None:
    shown = api.create()

    answer = api.post(f"{HEARTBEATS}/{shown['id']}/pause", body)

    assert (answer.status_int, api.site.monitors[0]["status"]) == (400, "new")


def test_a_resume_resets_the_status_to_new(api: Api) -> None:
    shown = paused(api)

    answer = api.post(f"{HEARTBEATS}/{shown['id']}/resume")

    assert (answer.status_int, answer.json["status"], answer.json["paused"]) == (200, "new", False)


# pings


PING_EXAMPLE: dict[str, Any] = {  # of the page
    "id": "...",
    "heartbeatId": "...",
    "type": "success",
    "receivedAt": "2026-03-13T03:00:12.000Z",
    "ipAddress": "203.0.113.1",
    "userAgent": "curl/8.0",
    "durationMs": 4523,
    "runId": None,
    "exitCode": None,
}


def pings(api: Api, job: Made, query: str = "") -> Any:
    return api.get(f"{HEARTBEATS}/{job.id}/pings{query}").json


def test_a_list_of_pings_has_the_documented_frame(api: Api) -> None:
    assert pings(api, api.site.monitor()) == {"pings": [], "total": 0, "limit": 50, "offset": 0}


def test_a_ping_like_the_example_is_shown_like_it(api: Api) -> None:
    job = api.site.monitor()
    api.site.get(f"/{job.token}/start", User_Agent="curl/8.0")
    api.site.clock.move(4.523)
    api.site.send(
        "GET", f"/{job.token}", headers={"User-Agent": "curl/8.0"}, address="203.0.113.1"
    )

    shown = pings(api, job)["pings"][0]

    assert {name: shown.get(name, "missing") for name in PING_EXAMPLE} == {
        **PING_EXAMPLE,
        "id": shown["id"],
        "heartbeatId": job.id,
        "receivedAt": "2026-03-02T12:00:04.523Z",
    }


def test_the_ids_of_pings_are_texts_of_their_own(api: Api) -> None:
    job = api.site.monitor()
    for _ in range(2):
        api.site.get(f"/{job.token}")

    first, second = (ping["id"] for ping in pings(api, job)["pings"])

    assert (isinstance(first, str), first == second) == (True, False)


def test_the_run_of_a_ping_is_the_clients_own_id(api: Api) -> None:
    job = api.site.monitor()
    api.site.get(f"/{job.token}/start?rid={UNKNOWN}")

    (shown,) = pings(api, job)["pings"]

    assert shown["runId"] == UNKNOWN


def test_pings_come_newest_first(api: Api) -> None:
    job = api.site.monitor()
    for verb in ("start", "log", "fail"):
        api.site.get(f"/{job.token}/{verb}")
        api.site.clock.move(60)

    assert [ping["type"] for ping in pings(api, job)["pings"]] == ["fail", "log", "start"]


def test_pages_of_pings_follow_each_other(api: Api) -> None:
    job = api.site.monitor()
    for code in range(1, 6):
        api.site.get(f"/{job.token}/{code}")

    pages = [pings(api, job, f"?limit=2&offset={offset}") for offset in (0, 2, 4)]

    assert [[ping["exitCode"] for ping in page["pings"]] for page in pages] == [
        [5, 4],
        [3, 2],
        [1],
    ]


def test_a_list_of_pings_has_those_of_one_heartbeat(api: Api) -> None:
    job, other = api.site.monitor(), api.site.monitor()
    api.site.get(f"/{other.token}")

    assert pings(api, job)["total"] == 0


# integrations


def test_a_list_of_integrations_shows_no_address_to_who_may_only_read(
    api: Api, reader: Api
) -> None:
    add_slack(api)
    api.post(
        INTEGRATIONS,
        {
            "channel": "webhook",
            "name": "Hook",
            "url": "http://me:pw@nas/hook",
            "headers": {"Authorization": "Bearer hunter2"},
        },
    )

    text = reader.get(INTEGRATIONS).text

    assert [
        secret for secret in ("hooks.slack", "nas", "hunter2", "whsec_") if secret in text
    ] == []


CHANNELS = [
    ("webhook", "url", "https://nas.example/hook"),
    ("slack", "url", "https://s.example"),
    ("discord", "url", "https://d.example/x"),
    ("ntfy", "url", "https://ntfy.sh/me"),
    ("email", "address", "me@home.example"),
]


@pytest.mark.parametrize("channel, where, target", CHANNELS)
def test_an_integration_is_created(api: Api, channel: str, where: str, target: str) -> None:
    answer = api.post(INTEGRATIONS, {"channel": channel, "name": "Me", where: target})

    assert (answer.status_int, answer.json["channel"], answer.json["name"]) == (201, channel, "Me")


def test_an_integration_is_default_unless_told_otherwise(api: Api) -> None:
    add_slack(api, "A")
    add_slack(api, "B", default=False)

    assert [one["default"] for one in api.get(INTEGRATIONS).json["integrations"]] == [True, False]


@pytest.mark.parametrize(
    "name, value",
    [
        ("channel", "pigeon"),
        ("channel", None),
        ("channel", 5),
        ("channel", ["slack"]),
        ("channel", {}),
        ("name", ""),
        ("name", " "),
        ("name", "x" * 201),
        ("name", 5),
        ("name", None),
        ("name", "\0"),
        ("url", None),
        ("url", ""),
        ("url", "ftp://x/"),
        ("url", 5),
        ("url", "x" * 3000),
        ("default", "yes"),
        ("default", None),
        ("default", 1),
        ("headers", "x"),
        ("headers", [5]),
        ("colour", "red"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_an_integration_that_cannot_be_is_refused_by_name(
    shared: Api, name: str, value: Any
) -> None:
    given = {"channel": "webhook", "name": "Me", "url": "http://nas/", name: value}

    sentence = shared.refused(given, INTEGRATIONS)

    assert name in sentence


@pytest.mark.parametrize("missing", ["channel", "name", "url"])
def test_an_integration_without_a_required_field_is_refused_by_name(
    shared: Api, missing: str
) -> None:
    given = {"channel": "webhook", "name": "Me", "url": "http://nas/"}
    del given[missing]

    assert missing in shared.refused(given, INTEGRATIONS)


def test_a_name_that_is_taken_is_refused(api: Api) -> None:
    add_slack(api)

    answer = api.post(INTEGRATIONS, {"channel": "ntfy", "name": "Slack", "url": "http://nas/"})

    assert (answer.status_int, "name" in answer.json["error"]) == (409, True)


# events


def test_a_list_of_events_has_the_documented_frame(api: Api) -> None:
    assert api.get(EVENTS).json == {"events": [], "total": 0, "limit": 50, "offset": 0}


def test_events_come_newest_first(api: Api) -> None:
    job = api.site.monitor()
    api.site.get(f"/{job.token}/fail")
    api.site.get(f"/{job.token}")

    assert [event["kind"] for event in api.get(EVENTS).json["events"]] == ["recovered", "failed"]


def test_pages_of_events_follow_each_other(api: Api) -> None:
    job = api.site.monitor()
    for _ in range(2):
        api.site.get(f"/{job.token}/fail")
        api.site.get(f"/{job.token}")

    pages = [api.get(f"{EVENTS}?limit=3&offset={offset}").json for offset in (0, 3)]

    assert [([event["kind"] for event in page["events"]], page["total"]) for page in pages] == [
        (["recovered", "failed", "recovered"], 4),
        (["failed"], 4),
    ]


# keys


SECRET_FIELDS = {"token", "pingUrl", "code", "handles"}


@pytest.mark.parametrize("suffix", ["", "/{id}"])
def test_a_read_only_key_sees_no_handle(site: Site, api: Api, reader: Api, suffix: str) -> None:
    job = site.monitor(handles={"my-old-handle": "cronitor"})

    answer = reader.get(HEARTBEATS + suffix.format(id=job.id))

    shown = answer.json if suffix else answer.json["heartbeats"][0]
    assert SECRET_FIELDS & set(shown) == set()
    assert [text for text in (job.token, job.code, "my-old-handle") if text in answer.text] == []


def test_a_read_only_key_sees_all_else(site: Site, api: Api, reader: Api) -> None:
    job = site.monitor()

    seen = [set(one.get(f"{HEARTBEATS}/{job.id}").json) for one in (api, reader)]

    assert seen[0] - seen[1] == SECRET_FIELDS


def test_a_handle_is_no_name_of_a_heartbeat(api: Api) -> None:
    shown = api.create()

    assert api.get(f"{HEARTBEATS}/{shown['token']}").status_int == 404


# limits


@pytest.fixture
def limited(make_site: Callable[..., Site]) -> Api:
    """A site with the limit of the page, and a key that has just used it up."""
    site = make_site(api_rate_limit=100)
    site.clock.move(12.5)
    found = Api(site, site.api_key())
    for _ in range(100):
        assert found.get(INTEGRATIONS).status_int == 200
    return found


def test_request_101_in_a_minute_is_refused_in_the_words_of_the_page(limited: Api) -> None:
    answer = limited.get(INTEGRATIONS)

    assert (answer.status_int, answer.json) == (
        429,
        {"error": "Rate limit exceeded. Max 100 requests per minute."},
    )


def test_a_limit_of_0_is_none(api: Api) -> None:
    assert {api.get(EVENTS).status_int for _ in range(150)} == {200}


# what does not exist


@pytest.mark.parametrize("form", [("X-Api-Key", "{}"), ("Authorization", "Bearer {}")])
def test_a_key_in_a_header_is_utf_8(site: Site, form: tuple[str, str]) -> None:
    site.api_key(secret="schlüssel-für-alte-skripte")
    raw = form[1].format("schlüssel-für-alte-skripte").encode().decode("latin-1")

    assert site.send("GET", EVENTS, headers={form[0]: raw}).status_int == 200


MARK = "s3cr3t-mark"
MARKED = [
    ("GET", f"/{MARK}/run?msg={MARK}"),
    ("GET", f"/ping/{MARK}?x={MARK}"),
    ("POST", f"/ping/{MARK}/{MARK}?schedule=@daily"),
    ("POST", f"/api/v1/ping/{MARK}/start"),
    ("GET", f"{HEARTBEATS}/{MARK}?query={MARK}"),
    ("POST", f"{HEARTBEATS}?{MARK}"),
    ("POST", "/api/v1/session"),
    ("POST", "/api/sync"),
    ("GET", f"/static/{MARK}"),
    ("GET", f"/{MARK}/%ff%00?{MARK}=%ff"),
    ("GET", f"{EVENTS}/{MARK}/{MARK}"),
    (MARK, f"/{MARK}"),
    ("PUT", f"/{{token}}/{MARK}"),
    ("POST", f"/{{token}}/fail?msg={MARK}&rid={MARK}&host={MARK}"),
    ("POST", f"/{{code}}/run?msg={MARK}&series={MARK}"),
    ("POST", f"/api/push/{{token}}?status=down&msg={MARK}"),
]


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("key", [MARK, None])
@pytest.mark.parametrize("method, path", MARKED)
def test_the_log_names_no_path_no_query_no_body_and_no_secret(
    site: Site,
    api_key: str,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    key: str | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    job = site.monitor()
    headers = {"X-Api-Key": key or api_key, "User-Agent": MARK, "Cookie": f"a={MARK}"}

    site.send(method, job.at(path), json.dumps({"name": MARK, "message": MARK}), headers)

    never = (MARK, job.token, job.code, api_key)
    assert caplog.text
    assert [text for text in never if text in caplog.text] == []


# security


def test_a_key_is_stored_as_its_hash(site: Site, api_key: str) -> None:
    stored = json.dumps(site.rows("SELECT * FROM api_key"))

    assert api_key not in stored


def test_the_host_of_a_request_is_in_no_link(site: Site, api_key: str) -> None:
    job = site.monitor()

    answer = site.get(f"{HEARTBEATS}/{job.id}", X_Api_Key=api_key, Host="evil.example")

    assert "evil" not in answer.text


def test_no_secret_is_ever_logged(
    site: Site, api_key: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    job = site.monitor()
    api = Api(site, api_key)
    answers = [
        site.get(f"/{job.token}?msg=s3cret-message"),
        site.get(f"/{job.token}/nonsense"),
        site.get("/ping/s3cret-guess"),
        site.get(HEARTBEATS, X_Api_Key="s3cret-guess"),
        api.post(INTEGRATIONS, {"channel": "webhook", "name": "Me", "url": "http://s3cret@["}),
        api.post(HEARTBEATS, '{"name": "s3cret-body"'),
        api.post(INTEGRATIONS, {"channel": "webhook", "name": "Me", "url": "http://s3cret:9/"}),
    ]
    site.rows("CREATE TRIGGER broken BEFORE INSERT ON ping BEGIN SELECT RAISE(ABORT, 'x'); END")
    answers.append(site.get(f"/{job.token}?msg=s3cret-message"))
    site.server.deliver()

    said = (
        caplog.text
        + "".join(capsys.readouterr())
        + "".join(str(answer.errors) for answer in answers)
    )

    assert [secret for secret in (job.token, job.code, api_key, "s3cret") if secret in said] == []


def test_a_range_that_the_page_does_not_have_gets_the_page(site: Site) -> None:
    answer = site.get("/", Range="bytes=9999999-")

    assert (answer.status_int, b"cronwatch" in answer.body) == (200, True)


def test_a_file_of_the_page_is_sent_once_while_its_content_stays(site: Site) -> None:
    first = site.get("/static/style.css")

    again = site.get("/static/style.css", If_None_Match=first.headers["ETag"])

    assert (first.headers["Cache-Control"], again.status_int, again.body) == ("no-cache", 304, b"")


def test_another_content_has_another_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cronwatch, "DATA", tmp_path)
    file = tmp_path / "static" / "app.js"
    file.parent.mkdir()
    file.write_text("old")
    before = cronwatch.read_static_files()["app.js"].tag

    file.write_text("new one")

    assert cronwatch.read_static_files()["app.js"].tag != before


@pytest.mark.parametrize("path", ["/cw", "/cw?from=mail"])
def test_the_page_below_a_path_is_asked_for_with_its_slash(
    make_site: Callable[..., Site], path: str
) -> None:
    answer = make_site(url_prefix="cw").get(path)

    assert (answer.status_int, answer.headers["Location"]) == (308, "/cw/")

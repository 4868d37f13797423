"""The management API beyond lists and creation: what changes, and what was recorded.

Cronping's page goes on here (update, delete, CI/CD), Crontify's has its run log; the rest is ours.
"""

from __future__ import annotations

import json
import re
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import webtest
from conftest import NOW, Site
from live_server import DIRECT, bash, in_thread, serving, wait_for
from test_api import EVENTS, HEARTBEATS, INTEGRATIONS, KEPT, RULE, UNKNOWN, Api

import cronwatch

API = cronwatch.API
NOBODY = "http://127.0.0.1:9/"  # nobody listens there


class Manager(Api):
    """Requests with one key, of every method."""

    def job(self, path: str = "", name: str = "job") -> Any:
        """What the API shows of a monitor."""
        answer = self.get(f"{HEARTBEATS}/{quote(name, safe='')}{path}")
        assert answer.status_int == 200, answer.text
        return answer.json

    def change(self, **fields: Any) -> Any:
        """Change the monitor `job`; as the API shows it."""
        answer = self.ask("PATCH", f"{HEARTBEATS}/job", fields)
        assert answer.status_int == 200, answer.text
        return answer.json

    def unchanged(self, **fields: Any) -> str:
        """The sentence with which such a change is refused."""
        answer = self.ask("PATCH", f"{HEARTBEATS}/job", fields)
        assert answer.status_int == 400, answer.text
        return str(answer.json["error"])

    def do(self, word: str, given: Any = None) -> Any:
        answer = self.ask("POST", f"{HEARTBEATS}/job/{word}", given)
        assert answer.status_int in (200, 201), answer.text
        return answer.json


@pytest.fixture
def api(site: Site, api_key: str) -> Manager:
    manager = Manager(site, api_key)
    manager.create(key="job", name="Job")
    return manager


@pytest.fixture
def reader(site: Site) -> Manager:
    return Manager(site, site.api_key("read-only"))


@pytest.fixture
def token(site: Site, api: Manager) -> str:
    return str(api.job()["token"])


@pytest.fixture
def code(api: Manager) -> str:
    return str(api.job()["code"])


def at(seconds: float) -> str:
    """An instant after the first one, as the API writes it."""
    return cronwatch.iso(NOW + round(seconds * 1000)) or ""


# update heartbeat: "only include the fields you want to change"


@pytest.mark.parametrize("name, value", KEPT)
def test_a_field_is_changed_and_no_other(api: Manager, name: str, value: Any) -> None:
    before = api.job()
    api.site.clock.move(5)

    api.change(**{name: value})

    after = api.job(name=before["id"])
    moving = {"integrationIds", "upcoming", "schedule"} - {name}
    assert {key: shown for key, shown in after.items() if key not in moving} == {
        **{key: shown for key, shown in before.items() if key not in moving},
        "updatedAt": at(5),
        name: value,
    }


@pytest.mark.parametrize(
    "name, given, cleared",
    [
        ("tags", None, ""),
        ("tags", [], ""),
        ("reminderIntervalSeconds", None, 0),
        ("reminderIntervalSeconds", 0, 0),
        ("maxRunSeconds", None, None),
        ("maxRunSeconds", 0, None),
        ("minPingIntervalSeconds", None, None),
        ("rules", None, []),
        ("rules", [], []),
        ("notes", "", ""),
    ],
)
def test_a_field_is_cleared(api: Manager, name: str, given: Any, cleared: Any) -> None:
    api.change(
        tags="prod",
        reminderIntervalSeconds=60,
        maxRunSeconds=60,
        notes="Call me.",
        minPingIntervalSeconds=60,
        rules=[RULE],
    )

    assert api.change(**{name: given})[name] == cleared


def test_a_field_that_cannot_be_cleared_is_named(api: Manager) -> None:
    names = "name key intervalSeconds timezone graceSeconds emailAlertsEnabled expects armed"

    sentences = {name: api.unchanged(**{name: None}) for name in names.split()}

    assert [name for name, sentence in sentences.items() if name not in sentence] == []


@pytest.mark.parametrize(
    "given, words",
    [
        ({"unique": "Job"}, "'unique'"),
        ({"scheduleType": None}, "scheduleType"),
        ({"failureTolerance": None}, "failureTolerance"),
        ({"scheduleType": "cron"}, "cronExpression is required"),
        ({"integrationIds": [UNKNOWN]}, UNKNOWN),
    ],
)
def test_an_update_that_cannot_be_says_why(api: Manager, given: Any, words: str) -> None:
    assert words in api.unchanged(**given)


def test_a_refused_update_changes_nothing(api: Manager) -> None:
    before = api.job()

    api.unchanged(name="Renamed", graceSeconds=-1)

    assert api.job() == before


@pytest.mark.parametrize(
    "given, near",
    [
        ("intervalSecond", "intervalSeconds"),
        ("schedule", "scheduleType"),
        ("Name", "name"),
        ("grace", None),
        ("x" * 1000, None),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    api: Manager, given: str, near: str | None
) -> None:
    sentence = api.unchanged(**{given: 1})

    assert f"'{given[:60]}' is not a known field" in sentence
    assert near is None or f"(did you mean {near}?)" in sentence


@pytest.mark.parametrize(
    "given, shown",
    [
        ({"cronExpression": "0 3 * * *"}, ("cron", 0, "0 3 * * *")),
        ({"scheduleType": "cron", "cronExpression": "@daily"}, ("cron", 0, "@daily")),
        ({"scheduleType": "none"}, ("none", 0, None)),
        ({"scheduleType": "interval", "intervalSeconds": 60}, ("interval", 60, None)),
        ({"scheduleType": "interval"}, ("interval", 3600, None)),
    ],
)
def test_one_schedule_takes_the_place_of_the_other(
    api: Manager, given: Any, shown: tuple[str, int, str | None]
) -> None:
    after = api.change(**given)

    assert (after["scheduleType"], after["intervalSeconds"], after["cronExpression"]) == shown


def test_what_a_cron_heartbeat_shows_can_be_sent_back(api: Manager) -> None:
    shown = api.change(cronExpression="0 3 * * *")
    fields = {field.name for field in cronwatch.MONITOR} | {"scheduleType"}

    again = api.change(**{name: shown[name] for name in fields})

    assert {**again, "updatedAt": None} == {**shown, "updatedAt": None}


def test_a_stored_range_that_wraps_can_be_sent_back(api: Manager) -> None:
    api.change(cronExpression="0 3 * * *")
    api.site.rows("UPDATE monitor SET cron = '0 22-6 * * *'")

    after = api.change(scheduleType="cron", cronExpression="0 22-6 * * *", graceSeconds=600)

    assert (after["cronExpression"], after["graceSeconds"]) == ("0 22-6 * * *", 600)


def test_integrations_are_linked_by_an_update_and_by_null_the_default_ones(api: Manager) -> None:
    ids = [
        api.post(INTEGRATIONS, {"channel": "ntfy", "name": name, "url": NOBODY}).json["id"]
        for name in ("one", "two")
    ]

    linked = []
    for given in ([ids[1]], [], None):
        api.change(integrationIds=given)
        linked.append(api.job()["integrationIds"])

    assert linked == [[ids[1]], [], ids]


def test_two_who_change_different_fields_at_once_lose_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        live.add("job")
        refused: list[Any] = []

        def write(name: str, values: list[Any]) -> None:
            refused.extend(
                reply
                for value in values
                if (reply := live.ask("PATCH", "/heartbeats/job", {name: value})).status != 200
            )

        with (
            in_thread(lambda: write("graceSeconds", list(range(40)))),
            in_thread(lambda: write("notes", [f"note {n}" for n in range(40)])),
            in_thread(lambda: write("tags", [f"tag{n}" for n in range(40)])),
        ):
            write("maxRunSeconds", list(range(1, 41)))
        shown = live.monitor("job")

    assert refused == []
    assert [shown[name] for name in ("graceSeconds", "notes", "tags", "maxRunSeconds")] == [
        39,
        "note 39",
        "tag39",
        40,
    ]


# delete heartbeat: "with all its associated pings, alerts, and flips"


def test_a_deleted_heartbeat_is_gone_with_all_that_hung_on_it(api: Manager, token: str) -> None:
    id_, hooks = api.job()["id"], [hook(api)["id"]]
    api.change(integrationIds=hooks)
    other = api.create(key="other", integrationIds=hooks)
    for one in (token, other["token"]):
        api.site.get(f"/{one}/start")
        api.site.post(f"/ping/{one}/fail", "the output")
    tables = ("ping", "run", "run_log", "flip", "handle", "event", "alert", "monitor_integration")
    before = {name: len(api.site.rows(f"SELECT * FROM {name}")) for name in tables}

    answer = api.ask("DELETE", f"{HEARTBEATS}/job")

    assert (answer.status_int, answer.json) == (200, {"id": id_, "deleted": True})
    assert [monitor["key"] for monitor in api.site.monitors] == ["other"]
    left = {name: len(api.site.rows(f"SELECT * FROM {name}")) for name in tables}
    assert left == {name: count // 2 for name, count in before.items()}
    assert min(left.values()) > 0


def test_the_handles_of_a_deleted_heartbeat_ping_nothing(api: Manager, token: str) -> None:
    api.ask("DELETE", f"{HEARTBEATS}/job")

    assert api.site.get(f"/{token}").status_int == 404


# the heartbeat as it is now


def test_the_next_five_times_are_shown_where_there_is_a_schedule(api: Manager, token: str) -> None:
    api.site.get(f"/{token}")

    assert api.job()["upcoming"] == [at(3600 * hours) for hours in range(1, 6)]
    api.change(scheduleType="none")
    assert api.job()["upcoming"] == []


@pytest.mark.parametrize(
    "seconds, late", [(0, False), (3600, False), (3600.001, True), (3900, True), (3900.001, False)]
)
def test_it_is_late_in_its_grace_only(
    api: Manager, token: str, seconds: float, late: bool
) -> None:
    api.site.get(f"/{token}")
    api.site.clock.move(seconds)
    api.site.server.scan()

    assert api.job()["late"] is late


def test_why_it_is_down_and_since_when_is_shown(api: Manager, token: str) -> None:
    api.site.get(f"/{token}")
    api.site.clock.move(5000)
    api.site.server.scan()

    shown = api.job()

    assert (shown["status"], shown["downReason"], shown["downSince"]) == (
        "down",
        "missed",
        at(3900),
    )


def test_it_is_running_between_start_and_end_with_its_progress(
    api: Manager, token: str, code: str
) -> None:
    api.site.get(f"/ping/{code}/start")
    api.site.clock.move(5)
    api.site.post(f"/ping/{code}/progress/40", '{"message": "half of it"}')
    running = api.job()
    api.site.get(f"/{token}/7")

    ended = api.job()

    assert (running["running"], running["progress"]) == (
        True,
        {"percent": 40, "message": "half of it", "at": at(5)},
    )
    assert (ended["running"], ended["progress"]) == (False, None)
    assert ended["lastRun"] == api.job("/runs")["runs"][0]


def test_marking_it_as_ok_makes_it_up_without_an_event(api: Manager, token: str) -> None:
    hook(api)
    api.site.get(f"/{token}/fail")

    assert (api.do("ok")["status"], api.site.events) == ("up", ["failed"])


def test_a_test_tells_everybody_who_hears_of_it(api: Manager) -> None:
    nobody = api.do("test")
    for name, enabled in {"one": True, "two": True, "off": False}.items():
        api.post(INTEGRATIONS, {"channel": "ntfy", "name": name, "url": NOBODY})
        api.ask("PATCH", f"{INTEGRATIONS}/{name}", {"enabled": enabled})

    results = api.do("test")["results"]

    assert nobody == {"results": []}
    assert [(one["name"], one["ok"], bool(one["result"])) for one in results] == [
        ("one", False, True),
        ("two", False, True),
    ]
    assert [
        (event["kind"], event["monitor"]["key"], event["deliveries"][0]["name"])
        for event in api.job("/events")["events"]
    ] == [("test", "job", "two"), ("test", "job", "one")]


# handles


def test_its_handles_are_listed_with_their_dialects(api: Manager, token: str) -> None:
    api.do("handles", {"handle": "d3x0c1"})

    assert api.job("/handles")["handles"] == [
        {"dialect": "code", "handle": api.job()["code"]},
        {"dialect": "cronitor", "handle": "d3x0c1"},
        {"dialect": "token", "handle": token},
    ]


@pytest.mark.parametrize(
    "given, dialect",
    [
        ({"handle": "d3x0c1"}, "cronitor"),
        ({"handle": UNKNOWN}, "cronping"),
        ({"handle": UNKNOWN, "dialect": "healthchecks"}, "healthchecks"),
        ({"handle": "abc", "dialect": "kuma"}, "kuma"),
    ],
)
def test_a_handle_is_adopted(api: Manager, given: dict[str, str], dialect: str) -> None:
    answer = api.post(f"{HEARTBEATS}/job/handles", given)

    assert answer.status_int == 201
    assert api.job()["handles"] == [{"dialect": dialect, "handle": given["handle"]}]


NO_HANDLES: list[Any] = [
    *({"handle": text} for text in ("", " ", 5, None, "x" * 201, "ping", "api")),
    *({"handle": text} for text in ("a\x10b", "a\nb", "https://old.example/x", "\ud800")),
    *({"handle": "x", "dialect": name} for name in ("token", "code", "invented", "", None)),
    {"handle": "x", "more": 1},
    {},
    [],
    "x",
]


@pytest.mark.parametrize("given", NO_HANDLES, ids=ascii)
def test_a_handle_that_cannot_be_is_refused(api: Manager, given: Any) -> None:
    answer = api.post(f"{HEARTBEATS}/job/handles", given)

    assert (answer.status_int, len(api.job("/handles")["handles"])) == (400, 2)


@pytest.mark.parametrize(
    "method, path, given",
    [
        ("POST", HEARTBEATS, {"name": "x", "key": "other", "intervalSeconds": 60}),
        ("PATCH", f"{HEARTBEATS}/job", {"key": "other"}),
        ("POST", f"{HEARTBEATS}/job/handles", {"handle": "d3x0c1"}),
        ("POST", INTEGRATIONS, {"channel": "ntfy", "name": "other", "url": NOBODY}),
        ("PATCH", f"{INTEGRATIONS}/hook", {"name": "other"}),
    ],
)
def test_what_another_one_has_is_refused(
    api: Manager, method: str, path: str, given: dict[str, Any]
) -> None:
    api.create(key="other")
    api.post(f"{HEARTBEATS}/other/handles", {"handle": "d3x0c1"})
    for name in ("hook", "other"):
        hook(api, name=name)

    answer = api.ask(method, path, given)

    assert (answer.status_int, list(answer.json)) == (409, ["error"])


def test_a_removed_handle_pings_no_more(api: Manager) -> None:
    api.do("handles", {"handle": "d3x/c 1"})
    api.site.get("/d3x%2Fc%201/run")

    answer = api.ask("DELETE", f"{HEARTBEATS}/job/handles?handle=d3x%2Fc%201")

    assert (answer.status_int, api.job()["handles"]) == (200, [])
    assert api.site.get("/d3x%2Fc%201/run").status_int == 404


@pytest.mark.parametrize("kind", ["token", "code"])
def test_our_own_handles_cannot_be_removed(api: Manager, kind: str) -> None:
    handle = api.job()[kind]

    answer = api.ask("DELETE", f"{HEARTBEATS}/job/handles?handle={handle}")

    assert (answer.status_int, api.site.get(f"/ping/{handle}").status_int) == (409, 200)


@pytest.mark.parametrize("kind", ["token", "code"])
def test_a_rotated_handle_pings_no_more(api: Manager, kind: str) -> None:
    api.do("handles", {"handle": "d3x0c1"})
    before = api.job()
    api.site.get(f"/ping/{before[kind]}")  # known once, and remembered

    after = api.do("handles/rotate", {"kind": kind})

    assert api.site.get(f"/ping/{before[kind]}").status_int == 404
    assert api.site.get(f"/ping/{after[kind]}").status_int == 200
    assert {name for name in ("token", "code", "handles") if before[name] != after[name]} == {kind}


NO_KINDS: list[Any] = [
    {},
    {"kind": None},
    {"kind": ["token"]},
    {"kind": "token", "more": 1},
    [],
    None,
]


@pytest.mark.parametrize("given", [*NO_KINDS, {"kind": "cronitor"}], ids=ascii)
def test_a_rotation_that_cannot_be_is_refused(api: Manager, token: str, given: Any) -> None:
    answer = api.post(f"{HEARTBEATS}/job/handles/rotate", given)

    assert (answer.status_int, api.job()["token"]) == (400, token)


# runs


def run_it(site: Site, token: str, seconds: float, end: str = "", body: str = "") -> None:
    """A run that takes so long, and a minute after it."""
    site.get(f"/{token}/start")
    site.clock.move(seconds)
    site.post(f"/{token}{end}", body)
    site.clock.move(60 - seconds)


def test_a_run_is_shown_with_all_that_is_known(api: Manager, token: str) -> None:
    api.site.get(f"/{token}/run?series=abc&host=nas")
    api.site.clock.move(4.523)
    api.site.get(f"/{token}/fail?series=abc&host=nas&msg=disk+full&status_code=3&metric=rows:5")

    (run,) = api.job("/runs")["runs"]

    assert run == {
        "id": str(api.site.runs[0]["num"]),
        "series": "abc",
        "state": "failed",
        "startedAt": at(0),
        "endedAt": at(4.523),
        "durationMs": 4523,
        "exitCode": 3,
        "message": "disk full",
        "metrics": {"rows": 5},
        "host": "nas",
        "matched": [],
        "hasLog": False,
    }


@pytest.mark.parametrize(
    "query, found",
    [
        ("state=success", [1000]),
        ("state=failed", [2000]),
        ("state=stuck", []),
        ("state=success&state=failed", [2000, 1000]),
        ("state=running", [None]),
    ],
)
def test_runs_are_filtered_by_state(
    api: Manager, token: str, query: str, found: list[int | None]
) -> None:
    run_it(api.site, token, 1)
    run_it(api.site, token, 2, "/fail")
    api.site.get(f"/{token}/start")

    page = api.job(f"/runs?{query}")

    assert ([run["durationMs"] for run in page["runs"]], page["total"]) == (found, len(found))


def test_the_log_of_a_run_is_in_no_list(api: Manager, token: str) -> None:
    api.site.post(f"/ping/{token}", "the output")

    answer = api.get(f"{HEARTBEATS}/job/runs")

    assert (answer.json["runs"][0]["hasLog"], "the output" in answer.text) == (True, False)


def test_a_run_is_shown_with_its_progress(api: Manager, code: str) -> None:
    api.site.get(f"/ping/{code}/start")
    for percent in (10, 90):
        api.site.clock.move(1)
        api.site.post(f"/ping/{code}/progress/{percent}", f'{{"message": "at {percent}"}}')

    (listed,) = api.job("/runs")["runs"]

    assert api.job(f"/runs/{listed['id']}") == {
        **listed,
        "progress": [
            {"at": at(1), "percent": 10, "message": "at 10"},
            {"at": at(2), "percent": 90, "message": "at 90"},
        ],
    }


def test_the_last_thousand_updates_of_progress_are_shown(api: Manager, token: str) -> None:
    api.site.get(f"/{token}/start")
    run = api.site.runs[0]["num"]
    api.site.rows(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 1100) INSERT INTO ping (monitor, kind, at, run, dialect, message) "
        "SELECT 1, 'progress', ? + i, ?, 'cronbeats', i FROM n",
        NOW,
        run,
    )

    messages = [update["message"] for update in api.job(f"/runs/{run}")["progress"]]

    assert messages == [str(n) for n in range(101, 1101)]


def test_a_run_of_another_heartbeat_is_not_found(api: Manager, token: str) -> None:
    api.site.get(f"/{token}/start")
    api.create(key="other")

    assert api.get(f"{HEARTBEATS}/other/runs/1").status_int == 404


# the log of a run: Crontify's page


@pytest.fixture
def user(site: Site) -> Manager:
    """Requests of a signed-in user."""
    site.server.act(cronwatch.add_user, "Ann", None)
    return Manager(site, site.server.act(cronwatch.open_session, 1, None)["token"])


def run_log(user: Manager, monitor: str, run: Any) -> webtest.TestResponse:
    return user.site.get(
        f"{API}/monitors/{monitor}/runs/{run}/log", Authorization=f"Bearer {user.key}"
    )


def test_a_log_that_is_not_there_is_null(api: Manager, user: Manager, token: str) -> None:
    api.site.get(f"/{token}")

    answer = run_log(user, "job", 1)

    assert (answer.status_int, answer.json) == (200, {"hasLog": False, "content": None})


def test_a_log_needs_a_users_token_not_an_api_key(api: Manager, token: str) -> None:
    api.site.get(f"/{token}")

    answer = run_log(api, "job", 1)

    assert (answer.status_int, answer.json["success"], answer.json["statusCode"]) == (
        403,
        False,
        403,
    )


@pytest.mark.parametrize("monitor, run", [("job", 99), ("nothing", 1), ("job", "x")])
def test_a_log_that_cannot_be_is_not_found_in_crontifys_words(
    api: Manager, user: Manager, token: str, monitor: str, run: Any
) -> None:
    api.site.get(f"/{token}")

    answer = run_log(user, monitor, run)

    assert answer.status_int == 404
    assert {**answer.json, "message": ""} == {
        "success": False,
        "statusCode": 404,
        "message": "",
        "error": "Not Found",
    }


@pytest.mark.parametrize("name", ["id", "key", "token"])
def test_a_log_is_named_by_the_id_that_its_ping_was_answered(
    api: Manager, user: Manager, token: str, name: str
) -> None:
    run = api.site.send(
        "POST",
        f"/api/v1/ping/{token}/fail",
        json.dumps({"logOutput": "Error: Connection refused\n at ..."}),
        {"X-API-Key": api.key},
    ).json["data"]["runId"]

    answer = run_log(user, api.job()[name], run)

    assert (answer.status_int, answer.json) == (
        200,
        {"hasLog": True, "content": "Error: Connection refused\n at ..."},
    )


# events


def test_the_events_of_a_heartbeat_are_those_of_the_whole_log(api: Manager, token: str) -> None:
    other = api.create(key="other")
    api.post(INTEGRATIONS, {"channel": "ntfy", "name": "x", "url": NOBODY})
    api.site.get(f"/{other['token']}/fail")
    api.site.get(f"/{token}/fail")

    shown = api.job("/events")

    assert (shown["total"], shown["events"]) == (1, [api.get(EVENTS).json["events"][0]])


@pytest.fixture
def busy(api: Manager, token: str) -> Manager:
    """A failure at 0 s, a recovery at 100 s, another one's failure at 200 s."""
    api.site.get(f"/{token}/fail")
    api.site.clock.move(100)
    api.site.get(f"/{token}")
    api.site.clock.move(100)
    api.site.get(f"/{api.create(key='other')['token']}/fail")
    return api


@pytest.mark.parametrize(
    "query, found",
    [
        ("", ["failed", "recovered", "failed"]),
        ("kind=failed", ["failed", "failed"]),
        ("kind=failed&kind=recovered", ["failed", "recovered", "failed"]),
        ("kind=outage", []),
        ("monitor=job", ["recovered", "failed"]),
        ("monitor=other", ["failed"]),
        ("monitor={id}", ["recovered", "failed"]),
        ("monitor=job&kind=failed", ["failed"]),
        (f"since={at(100)}", ["failed", "recovered"]),
        (f"until={at(100)}", ["failed"]),
        (f"since={at(50)}&until={at(150)}", ["recovered"]),
        ("since=2026-03-02T13:01:40%2B01:00", ["failed", "recovered"]),
    ],
)
def test_events_are_filtered(busy: Manager, query: str, found: list[str]) -> None:
    shown = busy.get(f"{EVENTS}?{query.format(id=busy.job()['id'])}").json

    assert ([event["kind"] for event in shown["events"]], shown["total"]) == (found, len(found))


# uptime


@pytest.fixture
def lived(api: Manager, token: str) -> Manager:
    """New until 600 s; missed at 4500 s; up at 5100 s; paused from 6000 s to 7000 s, and new until
    7500 s; we were away from 8000 s to 8600 s. It is 9000 s."""
    site = api.site
    for until, do in (
        (600, lambda: site.get(f"/{token}")),
        (4600, site.server.scan),
        (5100, lambda: site.get(f"/{token}")),
        (6000, lambda: api.do("pause")),
        (7000, lambda: api.do("resume")),
        (7500, lambda: site.get(f"/{token}")),
        (8600, lambda: site.server.away(NOW + 8_000_000, NOW + 8_600_000)),
        (9000, str),
    ):
        site.clock.now = NOW + until * 1000
        do()
    return api


def window(api: Manager, query: str = "") -> dict[str, Any]:
    (shown,) = api.job(f"/uptime{query}")["windows"]
    return dict(shown)


def test_uptime_leaves_out_pauses_absences_and_the_time_before_the_first_ping(
    lived: Manager,
) -> None:
    assert window(lived) == {
        "days": 30,
        "since": at(0),
        "until": at(9000),
        "upSeconds": 5700,
        "downSeconds": 600,
        "pausedSeconds": 1000,
        "unknownSeconds": 1700,
        "uptime": round(5700 / 6300, 6),
        "downtimes": 1,
    }


@pytest.mark.parametrize(
    "since, until, counts",  # seconds up, down, paused and unknown, and downtimes
    [
        (4000, 5000, [500, 500, 0, 0, 1]),  # into a downtime
        (4600, 5000, [0, 400, 0, 0, 1]),  # within a downtime
        (5000, 5200, [100, 100, 0, 0, 1]),  # out of it
        (5100, 5200, [100, 0, 0, 0, 0]),  # from its end on
        (0, 600, [0, 0, 0, 600, 0]),  # all new
        (6000, 7000, [0, 0, 1000, 0, 0]),  # all paused
        (6500, 7500, [0, 0, 500, 500, 0]),
        (7900, 8700, [200, 0, 0, 600, 0]),  # around our absence
        (8100, 8200, [0, 0, 0, 100, 0]),  # within it
        (8900, 99_999, [100, 0, 0, 0, 0]),  # beyond now
        (8700, None, [300, 0, 0, 0, 0]),
        (None, 700, [100, 0, 0, 600, 0]),
    ],
)
def test_uptime_of_a_window(
    lived: Manager, since: int | None, until: int | None, counts: list[int]
) -> None:
    bounds = {"since": since, "until": until}
    query = "&".join(f"{name}={at(to)}" for name, to in bounds.items() if to is not None)

    found = window(lived, f"?{query}")

    names = ("upSeconds", "downSeconds", "pausedSeconds", "unknownSeconds", "downtimes")
    assert [found[name] for name in names] == counts
    up, down, *_ = counts
    assert found["uptime"] == (round(up / (up + down), 6) if up + down else None)


def test_uptime_over_several_windows_at_once(lived: Manager) -> None:
    lived.site.clock.move(86_400)

    shown = lived.job("/uptime?days=1&days=7&days=3660")["windows"]

    assert [(one["days"], one["since"], one["until"]) for one in shown] == [
        (1, at(9000), at(95_400)),
        (7, at(0), at(95_400)),
        (3660, at(0), at(95_400)),
    ]


def test_further_failures_are_no_further_downtimes(api: Manager, token: str) -> None:
    api.site.get(f"/{token}")
    api.site.clock.move(4000)
    api.site.server.scan()
    for _ in range(3):
        api.site.get(f"/{token}/fail")
        api.site.clock.move(10)

    assert (window(api)["downtimes"], window(api)["downSeconds"]) == (1, 130)


def test_uptime_outlives_the_flips_that_are_not_kept(make_site: Callable[..., Site]) -> None:
    site = make_site(keep_days=2)
    api = Manager(site, site.api_key())
    api.create(key="job", intervalSeconds=2_592_000)
    site.get(f"/{api.job()['token']}")
    site.clock.move(10 * 86_400)
    site.server.housekeeping()

    assert window(api, "?days=1")["upSeconds"] == 86_400


# the log of all that happened


def test_the_log_merges_all_that_happened_newest_first(lived: Manager) -> None:
    happened = {
        "ping": (600, 5100, 7500),
        "flip": (600, 4500, 5100, 6000, 7000, 7500),
        "event": (4500, 5100),
        "absence": (8600,),
    }

    entries = lived.job("/log")["entries"]

    assert {
        kind: [entry["at"] for entry in reversed(entries) if entry["type"] == kind]
        for kind in happened
    } == {kind: [at(seconds) for seconds in times] for kind, times in happened.items()}
    times = [entry["at"] for entry in entries]
    assert times == sorted(times, reverse=True)


def test_each_entry_of_the_log_is_that_of_its_own_list(lived: Manager) -> None:
    lists = {kind: lived.job(f"/{kind}s")[f"{kind}s"] for kind in ("ping", "event")}
    lists["absence"] = [{"since": at(8000), "until": at(8600)}]

    entries = lived.job("/log")["entries"]

    assert {
        kind: [entry[kind] for entry in entries if entry["type"] == kind] for kind in lists
    } == lists


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_pages_of_the_log_show_every_entry_once(lived: Manager, limit: int) -> None:
    entries: list[Any] = []
    page, before = {"entries": [], "more": True}, ""

    while page["more"]:
        page = lived.job(f"/log?limit={limit}{before}")
        entries += page["entries"]
        before = f"&before={entries[-1]['at']}"

    assert entries == lived.job("/log")["entries"]


def test_an_absence_before_it_was_created_is_not_in_its_log(lived: Manager) -> None:
    lived.create(key="later")

    assert lived.job("/log", "later")["entries"] == []


# integrations


def hook(api: Manager, **fields: Any) -> dict[str, Any]:
    answer = api.post(
        INTEGRATIONS, {"channel": "webhook", "name": "hook", "url": NOBODY, **fields}
    )
    assert answer.status_int == 201, answer.text
    return dict(answer.json)


def test_a_new_integration_is_shown_with_what_it_needs(api: Manager) -> None:
    made = hook(api, headers={"X-Team": "ops"})

    assert made == {
        "id": made["id"],
        "channel": "webhook",
        "name": "hook",
        "enabled": True,
        "default": True,
        "failing": False,
        "createdAt": at(0),
        "updatedAt": at(0),
        "lastDelivery": None,
        "pending": 0,
        "dead": 0,
        "problem": None,
        "url": NOBODY,
        "headers": {"X-Team": "ops"},
        "secret": made["secret"],
    }
    assert made["secret"].startswith("whsec_")


def test_a_read_only_key_sees_nothing_that_an_integration_needs(
    api: Manager, reader: Manager
) -> None:
    made = hook(api, url="http://me:9/hook", headers={"Authorization": "Bearer hunter2"})
    ways = ("", "/hook", f"/{made['id']}")

    listed, *shown = (reader.get(f"{INTEGRATIONS}{way}") for way in ways)

    for one in (listed.json["integrations"][0], *(answer.json for answer in shown)):
        assert set(made) - set(one) == {"url", "headers", "secret"}
    secrets = ("me:9", "hunter2", made["secret"])
    assert [secret for secret in secrets if secret in listed.text] == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("name", "renamed"),
        ("enabled", False),
        ("default", False),
        ("url", "https://example.org/x"),
        ("headers", {"X-Other": "1"}),
        ("headers", {}),
    ],
)
def test_an_integration_is_changed(api: Manager, name: str, value: Any) -> None:
    made = hook(api, headers={"X-Team": "ops"})
    api.site.clock.move(5)

    answer = api.ask("PATCH", f"{INTEGRATIONS}/hook", {name: value})

    assert (answer.status_int, answer.json) == (200, {**made, name: value, "updatedAt": at(5)})


NO_CHANGES: list[Any] = [
    *({"name": value} for value in ("", None)),
    *({"enabled": value} for value in (1, None)),
    *({"url": value} for value in ("ftp://x", "http://me:pw@example.org/", None, "")),
    *({"headers": value} for value in ({"webhook-id": "1"}, [1], {"A": "x\ny"})),
    {"default": "yes"},
    {"address": "me@example.org"},
    {"command": "true"},
    {"channel": "slack"},
    {"channel": "command", "command": "true"},
    {"secret": "x"},
    {"more": 1},
    [],
    "x",
]


@pytest.mark.parametrize("given", NO_CHANGES, ids=ascii)
def test_a_change_of_an_integration_that_cannot_be_is_refused(api: Manager, given: Any) -> None:
    made = hook(api)

    answer = api.ask("PATCH", f"{INTEGRATIONS}/hook", given)

    assert (answer.status_int, api.get(f"{INTEGRATIONS}/hook").json) == (400, made)


def test_an_integration_is_deleted_with_its_alerts(api: Manager, token: str) -> None:
    made = hook(api)
    api.site.get(f"/{token}/fail")

    answer = api.ask("DELETE", f"{INTEGRATIONS}/hook")

    assert (answer.status_int, answer.json) == (200, {"id": made["id"], "deleted": True})
    assert api.get(INTEGRATIONS).json == {"integrations": []}
    assert api.site.rows("SELECT * FROM alert") == []


def test_nobody_waits_for_a_receiver_longer_than_they_may(site: Site) -> None:
    job = site.monitor()
    for name in ("slow", "behind it"):
        site.server.act(
            cronwatch.create_integration, "webhook", name, {"url": "http://127.0.0.1:9/"}
        )
    go = threading.Event()

    def send(*_: Any) -> cronwatch.Attempt:
        go.wait(10)
        return cronwatch.Attempt("sent", "sent")

    outbox = site.server.outbox
    outbox.senders = {"webhook": send}
    answer = cronwatch.send_tests(outbox, cronwatch.ApiRequest(job.id), 0)
    go.set()

    assert [(one["name"], one["ok"], one["result"]) for one in answer["results"]] == [
        ("slow", False, "nothing came of it in 0 s"),
        ("behind it", False, "nothing came of it in 0 s"),
    ]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"{INTEGRATIONS}/nothing"),
        ("PATCH", f"{INTEGRATIONS}/nothing"),
        ("DELETE", f"{INTEGRATIONS}/nothing"),
        ("POST", f"{INTEGRATIONS}/nothing/test"),
        ("GET", f"{EVENTS}?monitor=nothing"),
        *(("GET", f"{HEARTBEATS}/job/runs/{name}") for name in ("0", "-1", "x", "1.5", "1e400")),
        *(("GET", f"{HEARTBEATS}/job/runs/{name}") for name in ("999", "%00", "9" * 30)),
        ("DELETE", f"{HEARTBEATS}/job/handles"),
        *(("DELETE", f"{HEARTBEATS}/job/handles?handle={name}") for name in ("", "nothing")),
        ("DELETE", f"{HEARTBEATS}/job/handles?handle=d3x0c1"),  # which another one has
    ],
)
def test_what_does_not_exist_is_not_found(api: Manager, method: str, path: str) -> None:
    api.create(key="other")
    api.post(f"{HEARTBEATS}/other/handles", {"handle": "d3x0c1"})

    answer = api.ask(method, path, {} if method == "PATCH" else None)

    assert (answer.status_int, list(answer.json)) == (404, ["error"])
    assert api.site.get("/d3x0c1/run").status_int == 200


def test_it_shows_how_its_alerts_do(api: Manager, token: str) -> None:
    hook(api)
    api.site.get(f"/{token}/fail")
    api.site.clock.move(1)
    api.site.server.deliver()

    shown = api.get(f"{INTEGRATIONS}/hook").json

    assert (shown["pending"], shown["dead"], shown["failing"]) == (1, 0, False)
    assert {**shown["lastDelivery"], "result": None} == {
        "at": at(1),
        "state": "pending",
        "result": None,
        "kind": "failed",
    }


def test_it_is_failing_after_four_tries_and_its_alert_is_given_up_at_last(
    api: Manager, token: str
) -> None:
    made = hook(api)
    api.site.get(f"/{token}/fail")
    seen = []

    for tries in (3, 1, 36):
        for _ in range(tries):
            api.site.server.deliver()
            api.site.clock.move(3600)
        shown = api.get(f"{INTEGRATIONS}/hook").json
        failing = api.get(f"{API}/health").json["failing"]
        seen.append((shown["failing"], shown["dead"], [one["id"] for one in failing]))

    assert seen == [(False, 0, []), (True, 0, [made["id"]]), (True, 1, [made["id"]])]
    assert failing[0]["result"]


# a command: listed, tested, switched off, and nothing else


@pytest.fixture
def command(api: Manager) -> str:
    return str(
        api.site.server.act(
            cronwatch.create_integration, "command", "run", {"command": "echo it works"}
        )
    )


def test_a_command_is_listed_tested_and_switched_off_and_on(api: Manager, command: str) -> None:
    path = f"{INTEGRATIONS}/{command}"

    (shown,) = api.get(INTEGRATIONS).json["integrations"]
    tested = api.post(f"{path}/test").json
    switched = [api.ask("PATCH", path, {"enabled": on}).json for on in (False, True)]

    assert (shown["id"], shown["channel"]) == (command, "command")
    assert shown["command"] == "echo it works"
    assert (tested["ok"], "it works" in tested["result"]) == (True, True)
    assert [one["enabled"] for one in switched] == [False, True]


@pytest.mark.parametrize(
    "method, given",
    [
        ("PATCH", {"command": "true"}),
        ("PATCH", {"name": "x"}),
        ("PATCH", {"default": False}),
        ("PATCH", {"command": "true", "enabled": True}),
        ("DELETE", None),
    ],
)
def test_a_command_is_never_changed(api: Manager, command: str, method: str, given: Any) -> None:
    before = api.site.rows("SELECT * FROM integration")

    answer = api.ask(method, f"{INTEGRATIONS}/{command}", given)

    assert (answer.status_int, api.site.rows("SELECT * FROM integration")) == (403, before)


@pytest.mark.parametrize(
    "given",
    [
        {"channel": "command", "name": "x", "command": "true"},
        {"channel": "command"},
        {"channel": "command", "name": "x", "url": NOBODY},
    ],
)
def test_a_command_is_never_created(api: Manager, given: Any) -> None:
    answer = api.post(INTEGRATIONS, given)

    assert (answer.status_int, api.get(INTEGRATIONS).json) == (403, {"integrations": []})


# summary


def summary(api: Manager, query: str = "") -> Any:
    answer = api.get(f"{API}/summary{query}")
    assert answer.status_int == 200, answer.text
    return answer.json


def test_the_summary_of_nothing(site: Site) -> None:
    shown = summary(Manager(site, site.api_key("read-only")))

    assert {**shown, "health": None} == {
        "version": cronwatch.__version__,
        "total": 0,
        "limit": 100,
        "offset": 0,
        "tags": {},
        "next": None,
        "counts": dict.fromkeys(("down", "late", "running", "up", "new", "paused"), 0),
        "timezone": "UTC",
        "baseUrl": "http://cron.test",
        "health": None,
        "monitors": [],
    }


def test_a_monitor_is_summed_up(api: Manager, token: str, code: str) -> None:
    api.change(tags="prod db")
    for seconds in (1, 3, 2):
        run_it(api.site, token, seconds)
    run_it(api.site, token, 5, "/9")
    api.site.get(f"/{token}/start")
    api.site.post(f"/ping/{code}/progress/40", '{"message": "half of it"}')

    (shown,) = summary(api)["monitors"]

    strip = [
        [NOW + start * 1000, duration, state, code]
        for start, duration, state, code in (
            (0, 1000, "success", None),
            (60, 3000, "success", None),
            (120, 2000, "success", None),
            (180, 5000, "failed", 9),
            (240, None, "running", None),
        )
    ]
    listed = api.job()
    names = (
        "id key name status recipients schedule timezone graceSeconds lastPingAt expectedAt "
        "downReason downSince pausedUntil"
    )
    assert shown == {
        **{name: listed[name] for name in names.split()},
        "tags": ["prod", "db"],
        "state": "down",
        "alertAt": listed["nextExpectedAt"],
        "run": {
            "id": listed["lastRun"]["id"],
            "startedAt": at(240),
            "percent": 40,
            "message": "half of it",
        },
        "matched": [],
        "lastDurationMs": 5000,
        "usualDurationMs": 2000,
        "uptime": 0.7708,
        "strip": [[*slot, run["num"]] for slot, run in zip(strip, api.site.runs, strict=True)],
    }


@pytest.fixture
def mixed(api: Manager) -> Manager:
    """One in each state, their names in another order."""
    site = api.site
    api.change(name="f new", tags="b")
    tokens = {
        name: api.create(name=name, key=key, tags=tags, scheduleType="interval")["token"]
        for name, key, tags in (
            ("a paused", "paused", "a"),
            ("b up", "up", "a b"),
            ("c running", "running", ""),
            ("d late", "late", "c"),
            ("e down", "down", "b"),
        )
    }
    site.get(f"/{tokens['d late']}")
    site.clock.move(1000)
    site.get(f"/{tokens['b up']}")
    site.get(f"/{tokens['c running']}/start")
    api.ask("POST", f"{HEARTBEATS}/paused/pause")
    site.get(f"/{tokens['e down']}/fail")
    site.clock.move(2601)
    return api


def test_those_in_trouble_come_first(mixed: Manager) -> None:
    shown = summary(mixed)

    names = ["e down", "d late", "c running", "b up", "f new", "a paused"]
    assert [monitor["name"] for monitor in shown["monitors"]] == names
    assert shown["counts"] == dict.fromkeys((name[2:] for name in names), 1)


def test_who_is_expected_next_is_named_and_the_tags_of_all_are_counted(mixed: Manager) -> None:
    shown = summary(mixed, "?limit=1")

    assert (shown["next"]["name"], shown["next"]["at"]) == ("b up", at(4600))
    assert shown["tags"] == {"a": 2, "b": 3, "c": 1}


@pytest.mark.parametrize(
    "query, found",
    [
        ("?status=down", ["e down"]),
        ("?status=late&status=running", ["d late", "c running"]),
        ("?status=new&status=paused", ["f new", "a paused"]),
        ("?tag=b", ["e down", "b up", "f new"]),
        ("?tag=a&tag=b", ["b up"]),
        ("?query=UP", ["b up"]),
        ("?query=nothing", []),
        ("?tag=b&status=up", ["b up"]),
    ],
)
def test_the_summary_is_filtered(mixed: Manager, query: str, found: list[str]) -> None:
    shown = summary(mixed, query)

    assert ([monitor["name"] for monitor in shown["monitors"]], shown["total"]) == (
        found,
        len(found),
    )
    assert sum(shown["counts"].values()) == 6


def test_pages_of_the_summary_follow_each_other(mixed: Manager) -> None:
    pages = [summary(mixed, f"?limit=4&offset={offset}") for offset in (0, 4)]

    assert [monitor["name"] for page in pages for monitor in page["monitors"]] == [
        monitor["name"] for monitor in summary(mixed)["monitors"]
    ]
    assert [page["total"] for page in pages] == [6, 6]


# its ETag


def etag(api: Manager, query: str = "") -> str:
    return str(api.get(f"{API}/summary{query}").headers["ETag"])


def asked_again(api: Manager, tag: str, query: str = "") -> webtest.TestResponse:
    return api.site.get(f"{API}/summary{query}", X_Api_Key=api.key, If_None_Match=tag)


def test_a_summary_that_has_not_changed_is_not_sent_again(mixed: Manager) -> None:
    tag = etag(mixed)

    answer = asked_again(mixed, tag)

    assert (answer.status_int, answer.body, answer.headers["ETag"]) == (304, b"", tag)


@pytest.mark.parametrize("form", ["W/{}", '"other", {}', "{}, W/{}"])
def test_an_etag_is_found_in_a_list(mixed: Manager, form: str) -> None:
    tag = etag(mixed)

    assert asked_again(mixed, form.replace("{}", tag)).status_int == 304
    assert asked_again(mixed, '"other"').status_int == 200
    assert asked_again(mixed, form.replace("{}", tag), "?limit=2").status_int == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.site.get(f"/{api.job()['token']}"),
        lambda api: api.change(name="x"),
        lambda api: api.create(key="more"),
        lambda api: api.ask("DELETE", f"{HEARTBEATS}/job"),
        lambda api: api.do("pause"),
        hook,
        lambda api: api.site.rows("UPDATE monitor SET name = 'by another process'"),
    ],
    ids=["ping", "edit", "create", "delete", "pause", "integration", "another process"],
)
def test_a_change_changes_the_etag(mixed: Manager, change: Callable[[Manager], Any]) -> None:
    tag = etag(mixed)

    change(mixed)
    mixed.site.clock.move(1)

    assert asked_again(mixed, tag).status_int == 200


@pytest.mark.parametrize("query", ["", "?limit=1", "?query=nothing", "?status=down"])
def test_time_alone_makes_one_late_and_changes_the_etag(
    api: Manager, token: str, query: str
) -> None:
    api.site.get(f"/{token}")
    api.site.clock.move(10)
    tag = etag(api, query)
    api.site.clock.move(3590)
    still = asked_again(api, tag, query).status_int
    api.site.clock.move(1)

    changed = asked_again(api, tag, query)

    assert (still, changed.status_int, changed.json["counts"]["late"]) == (304, 200, 1)


# health


def test_the_health_is_shown(lived: Manager) -> None:
    health = lived.get(f"{API}/health").json

    assert {**health, "databaseBytes": 0, "scannedAt": None} == {
        "version": cronwatch.__version__,
        "startedAt": at(0),
        "scannedAt": None,
        "scanSeconds": 5.0,
        "outbox": {"pending": 0, "overdue": 0, "dead": 0},
        "databaseBytes": 0,
        "pingsPerMinute": 0,
        "refused": False,
        "monitors": 1,
        "absences": [{"since": at(8000), "until": at(8600)}],
        "failing": [],
    }
    assert health["databaseBytes"] >= 4096


def test_the_last_ten_absences_are_shown(api: Manager) -> None:
    for n in range(12):
        api.site.clock.move(100)
        api.site.server.away(api.site.clock.now - 1000 * (n + 1), api.site.clock.now)

    absences = api.get(f"{API}/health").json["absences"]

    assert sorted(gap["until"] for gap in absences) == [at(100 * n) for n in range(3, 13)]


def test_the_pings_of_the_last_minute_are_counted(api: Manager, token: str) -> None:
    for seconds in (30, 29, 1):
        api.site.get(f"/{token}")
        api.site.clock.move(seconds)
    api.site.get(f"/{token}")

    assert api.get(f"{API}/health").json["pingsPerMinute"] == 3


def test_an_alert_beyond_its_time_is_overdue(api: Manager, token: str) -> None:
    hook(api)
    api.site.get(f"/{token}/fail")
    api.site.clock.move(60)
    now = api.get(f"{API}/health").json["outbox"]
    api.site.clock.move(0.001)

    assert (now, api.get(f"{API}/health").json["outbox"]) == (
        {"pending": 1, "overdue": 0, "dead": 0},
        {"pending": 1, "overdue": 1, "dead": 0},
    )


def test_an_unchanged_summary_tells_of_the_last_look_too(tmp_path: Path) -> None:
    with serving(tmp_path, "--scan-seconds", "0.2") as live:

        def looked(**headers: str) -> tuple[int, Any]:
            request = urllib.request.Request(
                f"{live.url}{API}/summary", headers={"X-Api-Key": live.key, **headers}
            )
            try:
                with DIRECT.open(request) as reply:
                    return reply.status, reply.headers
            except urllib.error.HTTPError as unchanged:
                with unchanged:
                    return unchanged.code, unchanged.headers

        wait_for(lambda: live.ask("GET", "/health").json["scannedAt"], "a look")
        _, first = looked()
        tag = {"If-None-Match": first["ETag"]}

        assert wait_for(lambda: looked(**tag)[1]["X-Scanned-At"] > first["X-Scanned-At"], "a look")
        assert looked(**tag)[0] == 304
        assert live.ask("GET", "/summary").json["health"]["scanning"] is True


# preview


def preview(api: Manager, query: str) -> Any:
    answer = api.get(f"{API}/preview?{query}")
    assert answer.status_int == 200, answer.text
    return answer.json


def test_a_schedule_is_previewed(api: Manager) -> None:
    shown = preview(
        api, "scheduleType=cron&cronExpression=0+3+*+*+*&timezone=Europe/Berlin&graceSeconds=600"
    )

    assert (shown["timezone"], [time["expectedAt"] for time in shown["times"]]) == (
        "Europe/Berlin",
        [f"2026-03-0{day}T02:00:00.000Z" for day in range(3, 8)],
    )
    assert [time["alertAt"] for time in shown["times"]] == [
        f"2026-03-0{day}T02:10:00.000Z" for day in range(3, 8)
    ]
    assert shown["schedule"] == "every day at 03:00"


def test_an_interval_is_previewed_from_now(api: Manager) -> None:
    shown = preview(api, "intervalSeconds=5400")

    assert [(time["expectedAt"], time["alertAt"]) for time in shown["times"]] == [
        (at(5400 * n), at(5400 * n + 300)) for n in range(1, 6)
    ]
    assert shown["schedule"] == "every 1.5 h"


# the example of the page: provision from CI/CD


def test_a_deployment_keeps_what_others_have_changed(api: Manager) -> None:
    given = {"name": "shop", "unique": "shop", "intervalSeconds": 300}
    key = api.post(HEARTBEATS, given).json["key"]
    api.ask("PATCH", f"{HEARTBEATS}/{key}", {"notes": "Call me.", "graceSeconds": 5})

    after = api.post(HEARTBEATS, given).json

    assert (after["notes"], after["graceSeconds"]) == ("Call me.", 5)


def test_the_workflow_of_the_readme_registers_a_heartbeat(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    step = re.search(r"name: Register heartbeat\n  run: \|\n(.*?)```", readme, re.DOTALL)
    assert step
    with serving(tmp_path) as live:
        script = textwrap.dedent(step[1]).replace("https://cron.example.org", live.url)
        script = script.replace("${{ secrets.CRONWATCH_API_KEY }}", live.key)
        script = script.replace("${{ github.event.repository.name }}", "shop")

        replies = bash(tmp_path, script) + bash(tmp_path, script)

    assert [reply.status for reply in replies] == [201, 200]
    assert {
        (reply.json["name"], reply.json["tags"], reply.json["intervalSeconds"])
        for reply in replies
    } == {("deploy-health-shop", "ci deploy", 300)}


# what cannot be asked for


REFUSED = {
    f"{HEARTBEATS}/job/runs": "state=over limit=0 limit=201 offset=-1 state=",
    EVENTS: "kind=invented since=yesterday until=5 since=2026-03-02T12:00:00 since= limit=0 "
    "limit=201 offset=x since=2026-13-01T00:00:00Z",
    f"{HEARTBEATS}/job/uptime": "days=0 days=3661 days=x days= days=1.5 since=yesterday until= "
    f"since={at(500)}&until={at(400)} " + "&".join(["days=1"] * 21),
    f"{HEARTBEATS}/job/log": "limit=0 limit=201 before=now before=",
    f"{API}/summary": "limit=0 limit=1001 offset=-1 status=lost",
    f"{API}/preview": "graceSeconds=60 scheduleType=cron scheduleType=interval scheduleType=none "
    "intervalSeconds=59 intervalSeconds=x intervalSeconds=2592001 intervalSeconds= "
    "intervalSeconds=60&timezone=Mars/Olympus "
    "intervalSeconds=60&graceSeconds=86401 intervalSeconds=60&graceSeconds=-1 "
    + " ".join(
        f"scheduleType=cron&cronExpression={cron}"
        for cron in ("x", "0+0+30+2+*", "@reboot", "R+*+*+*+*", "61+*+*+*+*", "0+22-6+*+*+*")
    ),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_query_that_cannot_be_is_refused(api: Manager, path: str) -> None:
    answers = {query: api.get(f"{path}?{query}") for query in REFUSED[path].split()}

    assert {
        query: answer.text
        for query, answer in answers.items()
        if (answer.status_int, list(answer.json)) != (400, ["error"])
    } == {}

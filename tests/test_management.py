"""The management API over time: what changes, and what was recorded.

What it shows and refuses is in transcripts/management.http.
"""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import NOW, Made, Site, at
from live_server import bash, in_thread, serving
from test_api import API, EVENTS, HEARTBEATS, INTEGRATIONS, KEPT, Api
from trouble import Watch

import cronwatch

JOB = f"{HEARTBEATS}/job"


class Manager(Api):
    """Requests with one key to a site with the monitor `job`."""

    made: Made

    def ping(self, word: str = "") -> None:
        answer = self.site.post(f"/{self.made.token}{word}")
        assert answer.status_int == 200, answer.text


@pytest.fixture
def api(site: Site, api_key: str) -> Manager:
    manager = Manager(site, api_key)
    manager.made = site.monitor(key="job")
    return manager


# update heartbeat: "only include the fields you want to change"


@pytest.mark.parametrize("name, value", KEPT)
def test_a_field_is_changed_and_no_other(api: Manager, name: str, value: Any) -> None:
    before = api.job()
    api.site.clock.move(5)

    api.change(**{name: value})

    after = api.job(name=before["id"])
    moving = {"integrationIds", "upcoming", "schedule"} - {name}
    moved = {word: after[word] for word in moving}
    assert after == {**before, **moved, "updatedAt": at(5), name: value}


def test_what_a_cron_heartbeat_shows_can_be_sent_back(api: Manager) -> None:
    shown = api.change(cronExpression="0 3 * * *")
    fields = {field.name for field in cronwatch.MONITOR} | {"scheduleType"}

    again = api.change(**{name: shown[name] for name in fields})

    assert again == {**shown, "updatedAt": again["updatedAt"]}


def test_integrations_are_linked_by_an_update_and_by_null_the_default_ones(api: Manager) -> None:
    ids = [api.hook(name=name)["id"] for name in ("one", "two")]
    linked = []

    for given in ([ids[1]], [], None):
        api.change(integrationIds=given)
        linked.append(api.job()["integrationIds"])

    assert linked == [[ids[1]], [], ids]


def test_two_who_change_different_fields_at_once_lose_nothing(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        "graceSeconds": list(range(40)),
        "notes": [f"note {n}" for n in range(40)],
        "tags": [f"tag{n}" for n in range(40)],
    }
    statuses = set()

    with serving(tmp_path) as live:
        live.add("job")

        def write(name: str) -> None:
            for value in values[name]:
                statuses.add(live.ask("PATCH", "/heartbeats/job", {name: value}).status)

        with in_thread(lambda: write("graceSeconds")), in_thread(lambda: write("notes")):
            write("tags")
        shown = live.monitor("job")

    assert statuses == {200}
    assert {name: shown[name] for name in values} == {name: values[name][-1] for name in values}


# delete heartbeat: "with all its associated pings, alerts, and flips"


def test_a_deleted_heartbeat_is_gone_with_all_that_hung_on_it(api: Manager) -> None:
    hooks, other = [api.hook()["id"]], api.site.monitor(key="other")
    for one in (api.made, other):
        api.ask("PATCH", f"{HEARTBEATS}/{one.key}", {"integrationIds": hooks})
        api.site.get(f"/{one.token}/start")
        api.site.post(f"/ping/{one.token}/fail", "the output")
    tables = ("ping", "run", "run_log", "flip", "handle", "event", "alert", "monitor_integration")
    before = {name: len(api.site.rows(f"SELECT * FROM {name}")) for name in tables}

    answer = api.ask("DELETE", JOB)

    assert (answer.status_int, answer.json) == (200, {"id": api.made.id, "deleted": True})
    assert [monitor["key"] for monitor in api.site.monitors] == ["other"]
    left = {name: len(api.site.rows(f"SELECT * FROM {name}")) for name in tables}
    assert left == {name: count // 2 for name, count in before.items()}
    assert min(left.values()) > 0


def test_the_handles_of_a_deleted_heartbeat_ping_nothing(api: Manager) -> None:
    api.ask("DELETE", JOB)

    assert api.site.get(f"/{api.made.token}").status_int == 404


# the heartbeat as it is now


def test_a_test_tells_everybody_who_hears_of_it(api: Manager) -> None:
    nobody = api.do("test")
    for name in ("one", "two", "off"):
        api.hook(name=name)
    api.ask("PATCH", f"{INTEGRATIONS}/off", {"enabled": False})

    results = api.do("test")["results"]

    assert nobody == {"results": []}
    assert [(one["name"], one["ok"]) for one in results] == [("one", False), ("two", False)]
    assert all(one["result"] for one in results)
    assert [
        (event["kind"], event["monitor"]["key"], event["deliveries"][0]["name"])
        for event in api.job("/events")["events"]
    ] == [("test", "job", "two"), ("test", "job", "one")]


# runs


def test_the_last_thousand_updates_of_progress_are_shown(api: Manager) -> None:
    api.ping("/start")
    api.site.rows(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100) "
        "INSERT INTO ping (monitor, kind, at, run, dialect, message) "
        "SELECT 1, 'progress', ? + i, 1, 'cronbeats', i FROM n",
        NOW,
    )

    messages = [update["message"] for update in api.job("/runs/1")["progress"]]

    assert messages == [str(n) for n in range(101, 1101)]


# uptime


@pytest.fixture
def lived(api: Manager) -> Manager:
    """New until 600 s; missed at 4500 s; up at 5100 s; paused from 6000 s to 7000 s, and new until
    7500 s; we were away from 8000 s to 8600 s. It is 9000 s."""
    site = api.site
    for until, do in (
        (600, api.ping),
        (4600, site.server.scan),
        (5100, api.ping),
        (6000, lambda: api.do("pause")),
        (7000, lambda: api.do("resume")),
        (7500, api.ping),
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


def test_further_failures_are_no_further_downtimes(api: Manager) -> None:
    api.ping()
    api.site.clock.move(4000)
    api.site.server.scan()
    for _ in range(3):
        api.ping("/fail")
        api.site.clock.move(10)

    assert (window(api)["downtimes"], window(api)["downSeconds"]) == (1, 130)


def test_uptime_outlives_the_flips_that_are_not_kept(make_site: Callable[..., Site]) -> None:
    site = make_site(keep_days=2)
    api = Manager(site, site.api_key())
    site.get(f"/{site.monitor(key='job', interval_seconds=2_592_000).token}")
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
    lived.site.monitor(key="later")

    assert lived.job("/log", "later")["entries"] == []


# integrations


HOOK = f"{INTEGRATIONS}/hook"


def test_nobody_waits_for_a_receiver_longer_than_they_may(api: Manager) -> None:
    for name in ("slow", "behind it"):
        api.hook(name=name)
    go = threading.Event()

    def send(*_: Any) -> cronwatch.Attempt:
        go.wait(10)
        return cronwatch.Attempt("sent", "sent")

    outbox = api.site.server.outbox
    outbox.senders = {"webhook": send}
    answer = cronwatch.send_tests(outbox, cronwatch.ApiRequest(api.made.id), 0)
    go.set()

    assert [(one["name"], one["ok"], one["result"]) for one in answer["results"]] == [
        ("slow", False, "nothing came of it in 0 s"),
        ("behind it", False, "nothing came of it in 0 s"),
    ]


def test_it_shows_how_its_alerts_do(api: Manager) -> None:
    api.hook()
    api.ping("/fail")
    api.site.clock.move(1)
    api.site.server.deliver()

    shown = api.get(HOOK).json

    assert (shown["pending"], shown["dead"], shown["failing"]) == (1, 0, False)
    delivery = {"at": at(1), "state": "pending", "kind": "failed"}
    assert shown["lastDelivery"] == {**delivery, "result": shown["lastDelivery"]["result"]}


def test_it_is_failing_after_four_tries_and_its_alert_is_given_up_at_last(api: Manager) -> None:
    made = api.hook()
    api.ping("/fail")
    seen = []

    for tries in (3, 1, 36):
        for _ in range(tries):
            api.site.server.deliver()
            api.site.clock.move(3600)
        shown, failing = api.get(HOOK).json, api.shows("health")["failing"]
        seen.append((shown["failing"], shown["dead"], [one["id"] for one in failing]))

    assert seen == [(False, 0, []), (True, 0, [made["id"]]), (True, 1, [made["id"]])]
    assert failing[0]["result"]


# its ETag


def etag(api: Manager, query: str = "") -> str:
    return str(api.get(f"{API}/summary{query}").headers["ETag"])


def asked_again(api: Manager, tag: str, query: str = "") -> webtest.TestResponse:
    return api.site.get(f"{API}/summary{query}", X_Api_Key=api.key, If_None_Match=tag)


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.ping(),
        lambda api: api.change(name="x"),
        lambda api: api.create(key="more"),
        lambda api: api.ask("DELETE", JOB),
        lambda api: api.do("pause"),
        lambda api: api.hook(),
        lambda api: api.site.rows("UPDATE monitor SET name = 'by another process'"),
    ],
    ids=["ping", "edit", "create", "delete", "pause", "integration", "another process"],
)
def test_a_change_changes_the_etag(api: Manager, change: Callable[[Manager], Any]) -> None:
    tag = etag(api)

    change(api)
    api.site.clock.move(1)

    assert asked_again(api, tag).status_int == 200


@pytest.mark.parametrize("query", ["", "?limit=1", "?query=nothing", "?status=down"])
def test_time_alone_makes_one_late_and_changes_the_etag(api: Manager, query: str) -> None:
    api.ping()
    api.site.clock.move(10)
    tag = etag(api, query)
    api.site.clock.move(3590)
    still = asked_again(api, tag, query).status_int
    api.site.clock.move(1)

    changed = asked_again(api, tag, query)

    assert (still, changed.status_int, changed.json["counts"]["late"]) == (304, 200, 1)


# health


def test_the_health_is_shown(lived: Manager) -> None:
    health = lived.shows("health")

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

    absences = api.shows("health")["absences"]

    assert sorted(gap["until"] for gap in absences) == [at(100 * n) for n in range(3, 13)]


def test_an_unchanged_summary_tells_of_the_last_look_too(api: Manager) -> None:
    watch = Watch(api.site)
    api.site.server.scanner = watch.scanner
    watch.look()
    tag = etag(api)
    watch.look()

    answer = asked_again(api, tag)

    assert (answer.status_int, answer.headers["X-Scanned-At"]) == (304, at(10))
    assert api.shows("summary")["health"]["scanning"] is True


# the example of the page: provision from CI/CD


def test_the_workflow_of_the_readme_registers_a_heartbeat(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    step = re.search(r"name: Register heartbeat\n  run: \|\n(.*?)```", readme, re.DOTALL)
    assert step
    with serving(tmp_path) as live:
        script = textwrap.dedent(step[1]).replace("https://cron.example.org", live.url)
        script = script.replace("${{ secrets.CRONWATCH_API_KEY }}", live.key)
        script = script.replace("${{ github.event.repository.name }}", "shop")

        replies = bash(tmp_path, f"{script}\n{script}")

    assert [reply.status for reply in replies] == [201, 200]
    names = ("name", "tags", "intervalSeconds")
    registered = ["deploy-health-shop", "ci deploy", 300]
    assert [[reply.json[name] for name in names] for reply in replies] == [registered] * 2


# what cannot be asked for


REFUSED = {
    f"{JOB}/runs": "state=over limit=0 limit=201 offset=-1 state=",
    EVENTS: "kind=invented since=yesterday until=5 since=2026-03-02T12:00:00 since= limit=0 "
    "limit=201 offset=x since=2026-13-01T00:00:00Z",
    f"{JOB}/uptime": "days=0 days=3661 days=x days= days=1.5 since=yesterday until= "
    f"since={at(500)}&until={at(400)} " + "&".join(["days=1"] * 21),
    f"{JOB}/log": "limit=0 limit=201 before=now before=",
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

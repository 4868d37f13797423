"""CronRadar: its page, its SDKs' forms, and POST /api/sync."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import webtest
from conftest import Site, basic


def ping(site: Site, path: str, key: str, method: str = "GET") -> webtest.TestResponse:
    return site.send(method, f"/ping/{path}", headers={"Authorization": basic(key)})


def sync(site: Site, key: str, *monitors: Any, **more: Any) -> webtest.TestResponse:
    return site.post(
        "/api/sync",
        json.dumps({"source": "celery", "monitors": monitors, **more}),
        Authorization=basic(key),
    )


def found(site: Site, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of every monitor."""
    return [tuple(monitor[column] for column in columns) for monitor in site.monitors]


BACKUP = {"key": "backup", "name": "Backup", "schedule": "0 2 * * *", "gracePeriod": 60}


# -- replies


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_basic_ping_is_answered_as_on_its_page(site: Site, api_key: str, method: str) -> None:
    site.monitor(key="daily-backup")

    reply = ping(site, "daily-backup", api_key, method)

    assert (reply.status_int, reply.content_type) == (200, "application/json")
    assert reply.json == {
        "status": "ok",
        "monitor": "daily-backup",
        "pingedAt": "2026-03-02T12:00:00Z",
    }


def test_a_start_is_answered_with_its_time(site: Site, api_key: str) -> None:
    site.monitor(key="backup-job")

    reply = ping(site, "backup-job/start", api_key)

    assert reply.json == {
        "status": "started",
        "monitor": "backup-job",
        "startedAt": "2026-03-02T12:00:00Z",
    }


def test_a_complete_is_answered_with_the_seconds_since_the_start(site: Site, api_key: str) -> None:
    site.monitor(key="backup-job")
    ping(site, "backup-job/start", api_key)
    site.clock.move(930)

    reply = ping(site, "backup-job/complete", api_key)

    assert reply.json == {
        "status": "completed",
        "monitor": "backup-job",
        "completedAt": "2026-03-02T12:15:30Z",
        "duration": 930,
    }


def test_a_complete_without_a_start_has_no_duration(site: Site, api_key: str) -> None:
    site.monitor(key="backup-job")

    reply = ping(site, "backup-job/complete", api_key)

    assert reply.json["duration"] is None


@pytest.mark.parametrize(
    "query, message", [("", None), ("?message=Exit%20code:%201", "Exit code: 1")]
)
def test_a_fail_is_answered_with_its_message(
    site: Site, api_key: str, query: str, message: str | None
) -> None:
    site.monitor(key="backup-job")

    reply = ping(site, f"backup-job/fail{query}", api_key)

    assert reply.status_int == 200
    assert reply.json == {
        "status": "failed",
        "monitor": "backup-job",
        "failedAt": "2026-03-02T12:00:00Z",
        "message": message,
    }


def test_a_time_is_never_told_with_a_fraction(site: Site, api_key: str) -> None:
    site.monitor(key="backup")
    site.clock.move(0.999)

    reply = ping(site, "backup", api_key)

    assert reply.json["pingedAt"] == "2026-03-02T12:00:00Z"


def test_a_fail_is_told_at_once_without_grace(site: Site, api_key: str) -> None:
    site.monitor(key="backup", grace_seconds=3600)

    ping(site, "backup/fail?message=boom", api_key)

    assert site.events == ["failed"]


@pytest.mark.parametrize(
    "word, kind",
    [("", "success"), ("/start", "start"), ("/complete", "success"), ("/fail", "fail")],
)
def test_the_sdks_put_the_key_behind_the_monitor(
    site: Site, api_key: str, word: str, kind: str
) -> None:
    site.monitor(key="backup")

    statuses = [
        site.send(method, f"/ping/backup/{api_key}{word}").status_int
        for method in ("GET", "POST", "HEAD")
    ]

    assert (statuses, site.kinds) == ([200, 200, 200], [kind, kind, kind])


@pytest.mark.parametrize("word", ["/nonsense", "/start/now", "/256"])
def test_an_unknown_word_is_400_with_a_code_and_a_sentence(
    site: Site, api_key: str, word: str
) -> None:
    site.monitor(key="backup")

    reply = ping(site, f"backup{word}", api_key)

    assert (reply.status_int, set(reply.json), site.pings) == (400, {"error", "message"}, [])


# -- errors


def test_a_ping_without_a_key_is_refused_in_the_words_of_its_page(site: Site) -> None:
    site.monitor(key="backup-job")

    reply = site.get("/ping/backup-job")

    assert reply.status_int == 401
    assert reply.json == {
        "error": "AUTHENTICATION_REQUIRED",
        "message": "API key authentication is required",
    }


@pytest.mark.parametrize(
    "path",
    [
        "known",
        "unknown-job",
        "known/start",
        "unknown-job?schedule=0%202%20*%20*%20*",
        "known?schedule=x",
    ],
)
def test_a_wrong_key_is_401_before_anything_else_is_looked_at(site: Site, path: str) -> None:
    site.monitor(key="known")

    reply = ping(site, path, "ck_app_wrong")

    assert (reply.status_int, reply.json["error"]) == (401, "AUTHENTICATION_REQUIRED")


@pytest.mark.parametrize("word", ["", "/start", "/complete", "/fail"])
def test_an_unknown_monitor_without_a_schedule_is_404_in_the_words_of_its_page(
    site: Site, api_key: str, word: str
) -> None:
    path = f"backup-job{word}"

    reply = ping(site, path, api_key)

    assert (reply.status_int, site.monitors) == (404, [])
    assert reply.json == {
        "error": "MONITOR_NOT_FOUND",
        "message": "Monitor 'backup-job' not found. Provide schedule parameter for "
        "auto-registration.",
    }


@pytest.mark.parametrize("word", ["", "/start", "/complete", "/fail"])
def test_the_key_form_of_the_sdks_gives_the_same_404(site: Site, api_key: str, word: str) -> None:
    path = f"/ping/cronradar-celery-reconcile/{api_key}{word}"

    reply = site.get(path)

    assert (reply.status_int, reply.json["error"]) == (404, "MONITOR_NOT_FOUND")


def test_a_bad_schedule_is_refused_in_the_words_of_its_page(site: Site, api_key: str) -> None:
    path = "backup-job?schedule=0%2025%20*%20*%20*"

    reply = ping(site, path, api_key)

    assert (reply.status_int, site.monitors) == (400, [])
    assert reply.json == {
        "error": "INVALID_SCHEDULE",
        "message": "Invalid cron expression: '0 25 * * *' (hour must be 0-23)",
    }


@pytest.mark.parametrize(
    "schedule",
    [
        "nonsense",
        "* * * *",
        "0 0 30 2 *",
        "@reboot",
        "R R * * *",
        "0 0 2 * * * 2030",
        "61 * * * *",
        "0 22-6 * * *",
        "* " * 5000,
    ],
)
def test_no_monitor_is_made_with_a_schedule_that_cannot_be(
    site: Site, api_key: str, schedule: str
) -> None:
    path = f"job?schedule={quote(schedule)}"

    reply = ping(site, path, api_key)

    assert (reply.status_int, reply.json["error"]) == (400, "INVALID_SCHEDULE")
    assert site.monitors == []


def test_a_bad_schedule_from_a_known_monitor_is_answered_400(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    reply = ping(site, "backup?schedule=0%2025%20*%20*%20*", api_key)

    assert (reply.status_int, reply.json["error"]) == (400, "INVALID_SCHEDULE")


def test_a_bad_schedule_from_a_known_monitor_is_recorded_too(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    ping(site, "backup?schedule=0%2025%20*%20*%20*", api_key)

    assert (site.kinds, site.monitors[0]["status"]) == (["success"], "up")


def test_a_read_only_key_is_403_in_the_words_of_its_docs(site: Site) -> None:
    site.monitor(key="backup")
    key = site.api_key("read-only")

    reply = ping(site, "backup", key)

    assert reply.status_int == 403
    assert reply.json == {
        "error": "ACCESS_DENIED",
        "message": "API key does not have access to this resource",
    }


# -- self-registration


def test_a_first_ping_with_a_schedule_makes_the_monitor_and_counts(
    site: Site, api_key: str
) -> None:
    path = "daily-backup?schedule=0%202%20*%20*%20*&gracePeriod=300"

    reply = ping(site, path, api_key)

    assert (reply.status_int, reply.json["status"], site.kinds) == (200, "ok", ["success"])
    assert found(site, "key", "cron", "grace_seconds", "status") == [
        ("daily-backup", "0 2 * * *", 300, "up")
    ]


@pytest.mark.parametrize(
    "word, kind", [("start", "start"), ("complete", "success"), ("fail", "fail")]
)
def test_a_lifecycle_ping_with_a_schedule_makes_it_too(
    site: Site, api_key: str, word: str, kind: str
) -> None:
    path = f"/ping/daily-backup/{api_key}/{word}?schedule=%2A/15%20%2A+%2A%20%2A%20%2A"

    reply = site.post(path)

    assert (reply.status_int, site.kinds) == (200, [kind])
    assert found(site, "key", "cron") == [("daily-backup", "*/15 * * * *")]


def test_a_monitor_that_a_ping_makes_has_a_minute_of_grace(site: Site, api_key: str) -> None:
    path = "sync-data?schedule=*/15%20*%20*%20*%20*"

    ping(site, path, api_key)

    assert found(site, "grace_seconds") == [(60,)]


@pytest.mark.parametrize(
    "query, name",
    [
        ("", "Report Gen"),
        ("&name=Generate%20Reports", "Generate Reports"),
        ("&name=", "Report Gen"),
        ("&name=" + "x" * 500, "x" * 200),
    ],
)
def test_a_monitor_that_a_ping_makes_is_named_by_it_or_by_its_key(
    site: Site, api_key: str, query: str, name: str
) -> None:
    path = f"report-gen?schedule=0%20*%20*%20*%20*{query}"

    ping(site, path, api_key)

    assert found(site, "name") == [(name,)]


@pytest.mark.parametrize(
    "given, kept",
    [
        ("0", 0),
        ("300", 300),
        ("x", 60),
        ("", 60),
        ("nan", 60),
        ("-5", 0),
        ("1e300", 60),
        ("100000", 86_400),
    ],
)
def test_a_grace_that_cannot_be_is_no_reason_to_refuse(
    site: Site, api_key: str, given: str, kept: int
) -> None:
    path = f"job?schedule=@daily&gracePeriod={given}"

    reply = ping(site, path, api_key)

    assert (reply.status_int, found(site, "grace_seconds")) == (200, [(kept,)])


def test_the_schedule_is_in_the_zone_of_the_setting(make_site: Callable[..., Site]) -> None:
    site = make_site(timezone="Europe/Berlin")

    ping(site, "job?schedule=0%202%20*%20*%20*", site.api_key())

    assert found(site, "timezone", "expected_at") == [
        ("Europe/Berlin", site.clock.now + 13 * 3_600_000)
    ]


def test_later_pings_need_no_schedule(site: Site, api_key: str) -> None:
    ping(site, "job?schedule=@hourly", api_key)

    reply = ping(site, "job", api_key)

    assert (reply.status_int, len(site.monitors), len(site.pings)) == (200, 1, 2)


def test_a_deleted_monitor_is_made_again_by_a_ping_with_a_schedule(
    site: Site, api_key: str
) -> None:
    ping(site, "job?schedule=@hourly", api_key)
    site.rows("DELETE FROM monitor")

    replies = [ping(site, "job", api_key), ping(site, "job?schedule=@daily", api_key)]

    assert [reply.status_int for reply in replies] == [404, 200]
    assert found(site, "key", "cron") == [("job", "@daily")]


@pytest.mark.parametrize(
    "schedule",
    [
        "0 2 * * *",
        "0 */6 * * *",
        "*/15 * * * *",
        "0 0 1 * *",
        "0 0 * * 0",
        "0 0 2 * * *",
        "*/30 * * * * *",
        "@hourly",
        "@daily",
        "@weekly",
        "@monthly",
        "@yearly",
        "@annually",
        "@midnight",
    ],
)
def test_every_format_of_its_page_registers(site: Site, api_key: str, schedule: str) -> None:
    path = f"job?schedule={quote(schedule)}"

    reply = ping(site, path, api_key)

    assert (reply.status_int, found(site, "cron")) == (200, [(schedule,)])


@pytest.mark.parametrize(
    "key",
    [
        "backup-production-database",
        "send_emails",
        "my job",
        "Backup-Job",
        "app.tasks.send",
        "a/b",
        "größe",
        "x" * 200,
    ],
)
def test_a_key_may_be_any_text_up_to_200_characters(site: Site, api_key: str, key: str) -> None:
    path = f"{quote(key, safe='')}?schedule=@daily"

    reply = ping(site, path, api_key)

    assert (reply.json.get("monitor"), found(site, "key")) == (key, [(key,)])


def test_keys_match_exactly(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    reply = ping(site, "Backup", api_key)

    assert reply.status_int == 404


# -- what is declared never reverts a person's edit


def test_a_declared_schedule_that_changes_is_applied(site: Site, api_key: str) -> None:
    ping(site, "job?schedule=@daily&gracePeriod=60&name=Job", api_key)

    ping(site, "job?schedule=@hourly&gracePeriod=90&name=New", api_key)

    assert found(site, "cron", "grace_seconds", "name") == [("@hourly", 90, "New")]


WRAPS: dict[str, Any] = {
    "cron": "0 22-6 * * *",
    "declared": '{"cron": "0 22-6 * * *", "grace_seconds": 60}',
    "grace_seconds": 60,
}


def test_a_range_that_wraps_and_was_declared_before_goes_on(site: Site, api_key: str) -> None:
    site.monitor(key="job", **WRAPS)

    reply = ping(site, "job?schedule=0%2022-6%20*%20*%20*&gracePeriod=90", api_key)

    assert reply.status_int == 200
    assert found(site, "cron", "grace_seconds") == [("0 22-6 * * *", 90)]


def test_a_range_that_wraps_and_was_synced_before_goes_on(site: Site, api_key: str) -> None:
    site.monitor(key="job", **WRAPS)

    reply = sync(site, api_key, {"key": "job", "schedule": "0 22-6 * * *", "gracePeriod": 90})

    assert (reply.json["updated"], reply.json["errors"]) == (1, [])
    assert found(site, "cron", "grace_seconds") == [("0 22-6 * * *", 90)]


def test_a_declaration_that_stays_reverts_no_edit(site: Site, api_key: str) -> None:
    ping(site, "job?schedule=@daily&gracePeriod=60&name=Job", api_key)
    site.rows("UPDATE monitor SET cron = '@hourly', grace_seconds = 900, name = 'Mine'")

    ping(site, "job?schedule=@daily&gracePeriod=60&name=Job", api_key)

    assert found(site, "cron", "grace_seconds", "name") == [("@hourly", 900, "Mine")]


def test_a_monitor_that_a_person_made_keeps_what_they_set(site: Site, api_key: str) -> None:
    site.monitor(key="job", name="Mine", cron="@hourly", grace_seconds=900)

    ping(site, "job?schedule=@daily&gracePeriod=60&name=Job", api_key)

    assert found(site, "cron", "grace_seconds", "name") == [("@hourly", 900, "Mine")]


# -- POST /api/sync


def test_a_sync_makes_what_is_new_and_counts_it(site: Site, api_key: str) -> None:
    items = [BACKUP, {"key": "report", "schedule": "@hourly"}]

    reply = sync(site, api_key, *items)

    assert (reply.status_int, reply.content_type) == (200, "application/json")
    assert reply.json == {
        "status": "success",
        "synced": 2,
        "created": 2,
        "updated": 0,
        "errors": [],
    }
    assert found(site, "key", "name", "cron", "grace_seconds", "status") == [
        ("backup", "Backup", "0 2 * * *", 60, "new"),
        ("report", "Report", "@hourly", 60, "new"),
    ]


def test_a_sync_updates_what_is_known(site: Site, api_key: str) -> None:
    sync(site, api_key, BACKUP)

    reply = sync(site, api_key, {**BACKUP, "schedule": "@daily"}, {**BACKUP, "key": "other"})

    assert reply.json == {
        "status": "success",
        "synced": 2,
        "created": 1,
        "updated": 1,
        "errors": [],
    }
    assert found(site, "key", "cron") == [("backup", "@daily"), ("other", "0 2 * * *")]


@pytest.mark.parametrize("mode", [{}, {"mode": "reconcile", "version": "0.1.0"}])
def test_a_sync_reverts_no_edit_with_its_constant_values(
    site: Site, api_key: str, mode: dict[str, str]
) -> None:
    sync(site, api_key, BACKUP, **mode)
    site.rows("UPDATE monitor SET cron = '@hourly', grace_seconds = 900, name = 'Mine'")

    sync(site, api_key, BACKUP, **mode)

    assert found(site, "cron", "grace_seconds", "name") == [("@hourly", 900, "Mine")]


def test_a_sync_and_a_ping_declare_one_and_the_same(site: Site, api_key: str) -> None:
    sync(site, api_key, BACKUP)
    site.rows("UPDATE monitor SET cron = '@hourly'")

    ping(site, "backup?schedule=0%202%20*%20*%20*", api_key)

    assert found(site, "cron") == [("@hourly",)]


OTHER = {"key": "backup", "name": "Other", "schedule": "0 4 * * *", "gracePeriod": 120}


def test_another_sync_changes_no_field_that_a_person_set(site: Site, api_key: str) -> None:
    sync(site, api_key, BACKUP)
    site.rows("UPDATE monitor SET cron = '@hourly', grace_seconds = 900, name = 'Mine'")

    reply = sync(site, api_key, OTHER)

    assert (reply.json["updated"], found(site, "cron", "grace_seconds", "name")) == (
        1,
        [("@hourly", 900, "Mine")],
    )


def test_another_ping_changes_no_field_that_a_person_set(site: Site, api_key: str) -> None:
    ping(site, "backup?schedule=0%202%20*%20*%20*&gracePeriod=60", api_key)
    site.rows("UPDATE monitor SET cron = '@hourly', grace_seconds = 900")

    ping(site, "backup?schedule=0%204%20*%20*%20*&gracePeriod=120", api_key)

    assert found(site, "cron", "grace_seconds") == [("@hourly", 900)]


def test_a_sync_changes_no_monitor_that_a_person_made(site: Site, api_key: str) -> None:
    site.monitor(key="backup", name="Mine", cron="@hourly")

    sync(site, api_key, BACKUP)
    sync(site, api_key, OTHER)

    assert found(site, "cron", "grace_seconds", "name") == [("@hourly", 300, "Mine")]


@pytest.mark.parametrize("mode", [{}, {"mode": "reconcile"}, {"mode": "nonsense"}])
@pytest.mark.parametrize("items", [[], [{"key": "other", "schedule": "@daily"}]])
def test_a_sync_deletes_nothing(
    site: Site, api_key: str, mode: dict[str, str], items: list[Any]
) -> None:
    sync(site, api_key, BACKUP, mode="reconcile")

    reply = sync(site, api_key, *items, **mode)

    assert (reply.status_int, found(site, "key")[0]) == (200, ("backup",))


def test_a_monitor_that_a_reconcile_leaves_out_is_still_missed(site: Site, api_key: str) -> None:
    sync(site, api_key, {**BACKUP, "schedule": "@hourly"})
    ping(site, "backup", api_key)
    sync(site, api_key, mode="reconcile")
    site.clock.move(2 * 3600)

    site.server.scan()

    assert site.events == ["missed"]


def test_a_synced_monitor_that_was_never_pinged_is_not_missed(site: Site, api_key: str) -> None:
    sync(site, api_key, BACKUP)
    site.clock.move(7 * 86_400)

    site.server.scan()

    assert (site.events, found(site, "status")) == ([], [("new",)])


def test_a_synced_monitor_is_pinged_without_a_schedule(site: Site, api_key: str) -> None:
    sync(site, api_key, BACKUP)

    reply = site.get(f"/ping/backup/{api_key}")

    assert (reply.status_int, reply.json["monitor"]) == (200, "backup")


def test_a_fault_of_one_item_leaves_the_others(site: Site, api_key: str) -> None:
    items = [{"key": "bad", "schedule": "0 25 * * *"}, BACKUP]

    reply = sync(site, api_key, *items)

    assert (reply.status_int, found(site, "key")) == (200, [("backup",)])
    assert reply.json == {
        "status": "success",
        "synced": 1,
        "created": 1,
        "updated": 0,
        "errors": [
            {
                "key": "bad",
                "error": "INVALID_SCHEDULE",
                "message": "Invalid cron expression: '0 25 * * *' (hour must be 0-23)",
            }
        ],
    }


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"key": "x"},
        {"key": "", "schedule": "@daily"},
        {"key": None, "schedule": "@daily"},
        {"key": ["x"], "schedule": "@daily"},
        {"key": "x", "schedule": None},
        {"key": "x", "schedule": 5},
        {"key": "x", "schedule": ["@daily"]},
        7,
        None,
        "x",
        [],
    ],
)
def test_an_item_that_is_none_is_an_error_of_its_own(site: Site, api_key: str, item: Any) -> None:
    items = [item, BACKUP]

    reply = sync(site, api_key, *items)

    assert (reply.status_int, reply.json["synced"], len(reply.json["errors"])) == (200, 1, 1)


@pytest.mark.parametrize(
    "field, value",
    [
        ("gracePeriod", "x"),
        ("gracePeriod", None),
        ("gracePeriod", [1]),
        ("name", None),
        ("name", {"a": 1}),
        ("name", ""),
        ("unknown", "x"),
    ],
)
def test_a_soft_field_of_an_item_is_no_reason_to_refuse_it(
    site: Site, api_key: str, field: str, value: Any
) -> None:
    item = {"key": "my-backup", "schedule": "@daily", field: value}

    reply = sync(site, api_key, item)

    assert reply.json["created"] == 1
    assert found(site, "name", "grace_seconds") == [("My Backup", 60)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"monitors": {}}',
        b'{"monitors": null}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_sync_that_is_none_is_400(site: Site, api_key: str, body: bytes) -> None:
    header = basic(api_key)

    reply = site.post("/api/sync", body, Authorization=header)

    assert (reply.status_int, reply.json["error"]) == (400, "INVALID_REQUEST")
    assert reply.json["message"]


def test_a_sync_takes_100_monitors(site: Site, api_key: str) -> None:
    items = [
        {
            "key": f"job-{n}",
            "schedule": "0 3 1,2,3 1,2,3,4,5,6,7,8,9,10,11,12 *",
            "name": "Send Email",
            "gracePeriod": 60,
        }
        for n in range(100)
    ]

    reply = sync(site, api_key, *items)

    assert (reply.status_int, reply.json["created"]) == (200, 100)


def test_a_sync_of_more_is_400(site: Site, api_key: str) -> None:
    items = [{"key": f"job-{n}", "schedule": "@daily"} for n in range(101)]

    reply = sync(site, api_key, *items)

    assert (reply.status_int, reply.json["error"], site.monitors) == (400, "INVALID_REQUEST", [])


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": basic("wrong")}, {"Authorization": "Bearer wrong"}]
)
def test_a_sync_without_a_valid_key_is_401(site: Site, header: dict[str, str]) -> None:
    body = json.dumps({"monitors": [BACKUP]})

    reply = site.send("POST", "/api/sync", body, header)

    assert (reply.status_int, reply.json["error"]) == (401, "AUTHENTICATION_REQUIRED")
    assert site.monitors == []


def test_a_sync_with_a_read_only_key_is_403(site: Site) -> None:
    key = site.api_key("read-only")

    reply = sync(site, key, BACKUP)

    assert (reply.status_int, reply.json["error"], site.monitors) == (403, "ACCESS_DENIED", [])


@pytest.mark.parametrize("kind", ["Bearer", "ApiKey"])
def test_a_sync_takes_the_other_headers_too(site: Site, api_key: str, kind: str) -> None:
    body = json.dumps({"monitors": [BACKUP]})

    reply = site.post("/api/sync", body, Authorization=f"{kind} {api_key}")

    assert reply.status_int == 200


def test_wrong_keys_of_syncs_are_limited_per_address(site: Site) -> None:
    statuses = [sync(site, "wrong", BACKUP).status_int for _ in range(149)]

    reply = sync(site, "wrong", BACKUP)

    assert (statuses[0], reply.status_int) == (401, 429)
    assert reply.json["error"] == "RATE_LIMIT_EXCEEDED"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
@pytest.mark.parametrize("path", ["/api/sync", "/api/sync/"])
def test_a_sync_is_read_by_its_route(site: Site, api_key: str, kind: str, path: str) -> None:
    body = json.dumps({"monitors": [BACKUP]})

    reply = site.post(path, body, Authorization=basic(api_key), Content_Type=kind)

    assert (reply.status_int, found(site, "key")) == (200, [("backup",)])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_sync_by_another_method_is_405_in_its_shape(
    site: Site, api_key: str, method: str
) -> None:
    header = {"Authorization": basic(api_key)}

    reply = site.send(method, "/api/sync", headers=header)

    assert (reply.status_int, set(reply.json)) == (405, {"error", "message"})

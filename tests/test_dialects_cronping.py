"""Cronping's pings: its docs. Its management API is in
test_dialects_management.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Site

RID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
DUE = "2026-03-02T13:05:00.000Z"  # an hour and five minutes of grace after a ping at noon


@pytest.mark.parametrize(
    "word, kind, code",
    [
        ("", "success", None),
        ("/start", "start", None),
        ("/fail", "fail", None),
        ("/log", "log", None),
        ("/0", "success", 0),
        ("/1", "fail", 1),
        ("/42", "fail", 42),
        ("/255", "fail", 255),
    ],
)
def test_each_endpoint_records_its_signal_by_each_method(
    site: Site, word: str, kind: str, code: int | None
) -> None:
    job = site.monitor()

    statuses = [
        site.send(method, f"/{job.token}{word}").status_int for method in ("GET", "POST", "HEAD")
    ]

    assert statuses == [200, 200, 200]
    assert [(ping["kind"], ping["exit_code"]) for ping in site.pings] == 3 * [(kind, code)]


@pytest.mark.parametrize("word", ["", "/0"])
def test_a_success_is_answered_with_the_next_deadline(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}{word}")

    assert reply.content_type == "application/json"
    assert reply.json == {"ok": True, "status": "up", "nextExpectedAt": DUE}


def test_a_success_after_a_start_is_answered_with_its_duration(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}/start")
    site.clock.move(4.523)

    reply = site.get(f"/{job.token}")

    assert (reply.json["ok"], reply.json["status"], reply.json["durationMs"]) == (True, "up", 4523)


def test_a_success_without_a_start_has_no_duration(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}")

    assert "durationMs" not in reply.json


def test_a_start_is_answered_as_started(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}/start")

    assert reply.json == {"ok": True, "status": "started"}


@pytest.mark.parametrize("word", ["/fail", "/1", "/255"])
def test_a_failure_is_answered_as_down(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}{word}")

    assert (reply.status_int, reply.json["ok"], reply.json["status"]) == (200, True, "down")


def test_a_log_is_answered_as_logged(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}/log")

    assert reply.json == {"ok": True, "status": "logged"}


def test_a_log_changes_nothing(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}/fail")

    site.get(f"/{job.token}/log")

    assert (site.monitors[0]["status"], site.events) == ("down", ["failed"])


def test_a_paused_monitor_is_recorded_and_answered_as_paused(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}/pause/5")

    reply = site.get(f"/{job.token}")

    assert (reply.status_int, reply.json["status"], reply.json["nextExpectedAt"]) == (
        200,
        "paused",
        None,
    )
    assert (site.kinds, site.monitors[0]["status"]) == (["success"], "paused")


def test_a_cron_schedule_is_told_with_its_grace_and_in_utc(site: Site) -> None:
    job = site.monitor(cron="0 3 * * *", timezone="America/Sao_Paulo", grace_seconds=600)

    reply = site.get(f"/{job.token}")

    assert reply.json["nextExpectedAt"] == "2026-03-03T06:10:00.000Z"


def test_without_a_schedule_nothing_is_expected(site: Site) -> None:
    job = site.monitor(interval_seconds=None)

    reply = site.get(f"/{job.token}")

    assert reply.json == {"ok": True, "status": "up", "nextExpectedAt": None}


@pytest.mark.parametrize("word", ["", "/start", "/fail", "/log", "/3"])
def test_a_rid_is_the_series_of_a_ping(site: Site, word: str) -> None:
    job = site.monitor()

    site.get(f"/{job.token}{word}?rid={RID}")

    assert site.pings[0]["series"] == RID


@pytest.mark.parametrize("rid", ["", "1", "not-a-uuid", RID + "0", RID[:-1], "%00", "x" * 5000])
def test_a_rid_that_is_no_uuid_is_dropped(site: Site, rid: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}?rid={rid}")

    assert (reply.status_int, site.pings[0]["series"]) == (200, None)


def test_two_runs_at_once_are_told_apart_by_their_rid(site: Site) -> None:
    job = site.monitor()
    other = RID.replace("7", "8")
    site.get(f"/{job.token}/start?rid={RID}")
    site.clock.move(60)
    site.get(f"/{job.token}/start?rid={other}")
    site.clock.move(60)

    reply = site.get(f"/{job.token}?rid={RID}")

    assert reply.json["durationMs"] == 120_000


@pytest.mark.parametrize("word", ["", "/start", "/fail", "/log", "/0"])
def test_an_unknown_token_is_404_in_its_words(site: Site, word: str) -> None:
    site.monitor()

    reply = site.get(f"/{RID}{word}")

    assert (reply.status_int, reply.content_type) == (404, "application/json")
    assert reply.json == {"error": "Heartbeat not found"}


@pytest.mark.parametrize(
    "word", ["256", "999", "1000", "-1", "1.5", "nonsense", "start/now", "%D9%A1", "1%0A"]
)
def test_an_exit_code_over_255_and_an_unknown_word_are_400(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}/{word}")

    assert (reply.status_int, list(reply.json), site.pings) == (400, ["error"], [])


def test_the_body_is_kept_as_the_output_of_the_run(site: Site) -> None:
    job = site.monitor()

    site.post(f"/{job.token}/fail", "line 1\nline 2")

    assert [row["content"] for row in site.rows("SELECT content FROM run_log")] == [
        "line 1\nline 2"
    ]


def test_the_numbers_of_a_json_body_are_seen_by_rules_by_dot_path(site: Site) -> None:
    rules = [{"field": "stats.rows", "operator": "==", "value": 0}]
    made = site.post(
        "/api/v1/heartbeats",
        json.dumps({"name": "Job", "intervalSeconds": 3600, "rules": rules}),
        X_Api_Key=site.api_key(),
    ).json

    site.post(f"/{made['token']}", '{"stats": {"rows": 0}}', Content_Type="application/json")

    assert (site.events, site.runs[0]["state"]) == (["silent_failure"], "success")


def test_a_failure_is_told_at_once(site: Site) -> None:
    job = site.monitor()

    site.get(f"/{job.token}/7")

    assert (site.monitors[0]["status"], site.events) == ("down", ["failed"])


def test_exit_zero_recovers(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}/7")

    site.get(f"/{job.token}/0")

    assert (site.monitors[0]["status"], site.events) == ("up", ["failed", "recovered"])


def test_the_deadline_told_is_the_one_that_is_kept(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.token}")
    site.clock.move(3900)
    site.server.scan()
    before: list[Any] = site.events
    site.clock.move(0.001)

    site.server.scan()

    assert (before, site.events) == ([], ["missed"])

"""Crontify: its page, its docs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import webtest
from conftest import Made, Site


class Client:
    """Pings one monitor as the shell script of the page does."""

    def __init__(self, site: Site, job: Made, key: str) -> None:
        self.site, self.job, self.key = site, job, key

    def __call__(self, word: str, body: Any = None, name: str = "") -> webtest.TestResponse:
        sent = b"" if body is None else json.dumps(body).encode()
        return self.site.post(
            f"/api/v1/ping/{name or self.job.id}/{word}",
            sent,
            X_API_Key=self.key,
            Content_Type="application/json",
        )


@pytest.fixture
def ping(site: Site) -> Client:
    return Client(site, site.monitor(), site.api_key("ping", "ck_live_abc"))


def shown_log(site: Site) -> Any:
    found = site.rows("SELECT content FROM run_log")
    return found[0]["content"] if found else None


# -- replies


@pytest.mark.parametrize(
    "word, kind, status",
    [("start", "start", "running"), ("success", "success", "success"), ("fail", "fail", "failed")],
)
def test_each_endpoint_is_answered_as_on_its_page(
    site: Site, ping: Client, word: str, kind: str, status: str
) -> None:
    reply = ping(word)

    run = site.runs[0]

    assert (reply.status_int, reply.content_type, site.kinds) == (200, "application/json", [kind])
    assert reply.json == {
        "success": True,
        "data": {
            "received": True,
            "monitorId": ping.job.id,
            "runId": str(run["num"]),
            "status": status,
            "timestamp": "2026-03-02T12:00:00.000Z",
        },
    }


@pytest.mark.parametrize("word", ["success", "fail"])
def test_the_run_of_the_start_comes_back_at_the_end(site: Site, ping: Client, word: str) -> None:
    started = ping("start").json["data"]["runId"]
    site.clock.move(90)

    ended = ping(word).json["data"]["runId"]

    assert (ended, len(site.runs)) == (started, 1)


@pytest.mark.parametrize("word", ["success", "fail"])
def test_an_end_without_a_start_is_a_run_that_is_over(site: Site, ping: Client, word: str) -> None:
    reply = ping(word)

    run = site.runs[0]

    assert (reply.json["data"]["runId"], run["duration_ms"], run["ended_at"] is not None) == (
        str(run["num"]),
        None,
        True,
    )


def test_the_monitor_is_named_by_id_key_or_handle(site: Site, ping: Client) -> None:
    names = [ping.job.id, ping.job.key, ping.job.token, ping.job.code, ping.job.id.upper()]

    statuses = [ping("success", name=name).status_int for name in names]

    assert statuses == [200] * 5


def test_an_adopted_id_of_the_old_service_still_pings(site: Site, ping: Client) -> None:
    site.monitor(handles={"clxyz123": "crontify"})

    reply = ping("start", name="clxyz123")

    assert (reply.status_int, reply.json["data"]["monitorId"]) == (200, "clxyz123")


# -- bodies


def test_an_error_message_is_kept_with_the_run(site: Site, ping: Client) -> None:
    ping("fail", {"errorMessage": "Database connection timeout after 30s"})

    run = site.runs[0]

    assert run["message"] == "Database connection timeout after 30s"


def test_an_error_message_is_cut_at_500_characters(site: Site, ping: Client) -> None:
    reply = ping("fail", {"errorMessage": "ä" * 600})

    run = site.runs[0]

    assert (reply.status_int, run["message"]) == (200, "ä" * 500)


def test_a_log_is_kept_apart_with_its_lines(site: Site, ping: Client) -> None:
    ping("fail", {"logOutput": "Traceback (most recent call last):\n\tError"})

    log = shown_log(site)

    assert log == "Traceback (most recent call last):\n\tError"


def test_a_log_is_cut_at_10000_characters(site: Site, ping: Client) -> None:
    reply = ping("fail", {"logOutput": "ä" * 10_100})

    log = shown_log(site)

    assert (reply.status_int, len(log)) == (200, 10_000)


def test_the_names_of_the_sdk_are_accepted_too(site: Site, ping: Client) -> None:
    ping("fail", {"message": "boom", "log": "stack"})

    found = (site.runs[0]["message"], shown_log(site))

    assert found == ("boom", "stack")


@pytest.mark.parametrize("word", ["success", "fail"])
def test_meta_is_stored_on_the_run(site: Site, ping: Client, word: str) -> None:
    ping(word, {"meta": {"rows_processed": 1523, "emails_sent": 48, "ratio": 0.5}})

    metrics = json.loads(site.runs[0]["metrics"])

    assert metrics == {"rows_processed": 1523, "emails_sent": 48, "ratio": 0.5}


@pytest.mark.parametrize(
    "meta, kept",
    [
        ({"a": 1, "b": "x"}, {"a": 1}),
        ({"a": 1, "b": None, "c": [1], "d": True}, {"a": 1}),
        ({"a": 1, "b": 2**53}, {"a": 1}),
        ({"a": 1, "b": 10**400}, {"a": 1}),
        ({"a": -1.5, "b": 2**53 - 1}, {"a": -1.5, "b": 2**53 - 1}),
    ],
)
def test_what_is_no_number_in_meta_is_dropped(
    site: Site, ping: Client, meta: Any, kept: Any
) -> None:
    reply = ping("success", {"meta": meta})

    metrics = json.loads(site.runs[0]["metrics"])

    assert (reply.status_int, metrics) == (200, kept)


@pytest.mark.parametrize("meta", [None, [], "x", 5, {}, {"": {"": {}}}, {"a": "x"}])
def test_a_meta_without_a_number_is_no_reason_to_refuse(
    site: Site, ping: Client, meta: Any
) -> None:
    reply = ping("success", {"meta": meta})

    metrics = site.runs[0]["metrics"]

    assert (reply.status_int, metrics) == (200, None)


@pytest.mark.parametrize("word, code, state", [("success", 1, "success"), ("fail", 0, "failed")])
def test_an_exit_code_in_meta_is_recorded_and_decides_nothing(
    site: Site, ping: Client, word: str, code: int, state: str
) -> None:
    ping(word, {"meta": {"exit_code": code}})

    run = site.runs[0]

    assert (run["state"], run["exit_code"]) == (state, code)


def test_a_json_body_needs_no_content_type(site: Site, ping: Client) -> None:
    site.post(f"/api/v1/ping/{ping.job.id}/fail", b'{"errorMessage": "boom"}', X_API_Key=ping.key)

    run = site.runs[0]

    assert run["message"] == "boom"


def test_a_rule_that_matches_is_a_silent_failure_of_a_good_run(site: Site) -> None:
    rules = json.dumps([{"field": "rows_processed", "operator": "lt", "value": 1}])
    ping = Client(site, site.monitor(rules=rules), site.api_key())

    ping("success", {"meta": {"rows_processed": 0}})

    assert (site.events, site.runs[0]["state"], site.monitors[0]["status"]) == (
        ["silent_failure"],
        "success",
        "up",
    )


def test_a_fail_is_told_at_once(site: Site, ping: Client) -> None:
    ping("fail")

    events = site.events

    assert events == ["failed"]


# -- errors


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": ""}, {"X-Api-Key": "ck_live_wrong"}])
def test_a_ping_without_a_valid_key_is_401(site: Site, headers: dict[str, str]) -> None:
    job = site.monitor()
    refusal = {
        "success": False,
        "statusCode": 401,
        "message": "Invalid API key",
        "error": "Unauthorized",
    }

    replies = [
        site.send("POST", f"/api/v1/ping/{name}/start", headers=headers)
        for name in (job.id, job.key, job.token, job.code, "nobody")
    ]

    assert [(reply.status_int, reply.json) for reply in replies] == 5 * [(401, refusal)]
    assert site.pings == []


def test_an_unknown_monitor_is_404(ping: Client) -> None:
    reply = ping("start", name="clnobody")

    said = reply.json

    assert reply.status_int == 404
    assert (said["success"], said["statusCode"], said["message"]) == (
        False,
        404,
        "Monitor not found",
    )


@pytest.mark.parametrize("word", ["nonsense", "start/now", "256"])
def test_an_unknown_word_is_400_in_its_shape(site: Site, ping: Client, word: str) -> None:
    reply = ping(word)

    said = reply.json

    assert (reply.status_int, said["success"], said["statusCode"]) == (400, False, 400)


# -- the minimum interval


@pytest.fixture
def limited(site: Site) -> Client:
    """May ping once a minute."""
    job = site.monitor(min_ping_interval_seconds=60)
    return Client(site, job, site.api_key())


def test_there_is_no_minimum_interval_by_default(site: Site, ping: Client) -> None:
    statuses = []
    for word in ("start", "success", "start", "fail", "start", "success"):
        statuses.append(ping(word).status_int)
        site.clock.move(0.1)

    found = set(statuses)

    assert found == {200}


def test_a_start_within_the_minimum_interval_hears_how_long_to_wait(
    site: Site, limited: Client
) -> None:
    limited("start")
    limited("success")
    site.clock.move(20)

    reply = limited("start")

    assert (reply.status_int, reply.headers["Retry-After"]) == (429, "40")
    assert "wait 40 seconds" in reply.json["message"]


def test_a_ping_that_has_to_wait_is_not_recorded(site: Site, limited: Client) -> None:
    limited("start")
    site.clock.move(20)

    limited("start")

    assert site.kinds == ["start"]


@pytest.mark.parametrize("word", ["success", "fail"])
def test_the_end_of_a_run_never_has_to_wait(site: Site, limited: Client, word: str) -> None:
    limited("start")
    site.clock.move(5)

    reply = limited(word)

    assert (reply.status_int, len(site.pings)) == (200, 2)


def test_after_the_minimum_interval_it_may_start_again(site: Site, limited: Client) -> None:
    limited("start")
    limited("success")
    site.clock.move(60)

    reply = limited("start")

    assert reply.status_int == 200


def test_the_minimum_interval_is_that_of_one_monitor(site: Site, limited: Client) -> None:
    other = site.monitor()
    limited("start")

    reply = limited("start", name=other.id)

    assert reply.status_int == 200


def test_the_log_of_a_run_is_kept_and_shown_to_no_key(site: Site, ping: Client) -> None:
    run = ping("fail", {"logOutput": "secret output"}).json["data"]["runId"]

    reply = site.send(
        "GET",
        f"/api/v1/monitors/{ping.job.id}/runs/{run}/log",
        headers={"X-Api-Key": "ck_live_abc"},
    )

    assert (reply.status_int, "secret" in reply.text) == (403, False)
    assert site.rows("SELECT content FROM run_log") == [{"content": "secret output"}]


def test_its_answers_carry_no_secret(ping: Client) -> None:
    reply = ping("success")

    said = reply.text

    assert ping.job.token not in said
    assert ping.job.code not in said

"""CronBeats: its page, what its five SDKs send."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Site

SIGNALS = ["", "/start", "/end/success", "/end/fail", "/progress/50", "/progress"]


@pytest.mark.parametrize(
    "signal, kind, percent",
    [
        ("", "success", None),
        ("/start", "start", None),
        ("/end/success", "success", None),
        ("/end/fail", "fail", None),
        ("/progress/0", "progress", 0),
        ("/progress/50", "progress", 50),
        ("/progress/100", "progress", 100),
        ("/progress", "progress", None),
    ],
)
def test_each_endpoint_records_its_signal(
    site: Site, signal: str, kind: str, percent: int | None
) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}")

    assert reply.status_int == 200
    assert [(ping["kind"], ping["percent"]) for ping in site.pings] == [(kind, percent)]


@pytest.mark.parametrize(
    "signal, action",
    [
        ("", "ping"),
        ("/start", "start"),
        ("/end/success", "end"),
        ("/end/fail", "end"),
        ("/progress/50", "progress"),
        ("/progress", "progress"),
    ],
)
def test_the_reply_names_the_action_and_the_job(site: Site, signal: str, action: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}")

    assert (reply.json["action"], reply.json["job_key"]) == (action, job.code)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_reply_has_these_fields_and_no_others(site: Site, signal: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}")

    assert reply.content_type == "application/json"
    assert set(reply.json) == {
        "status",
        "message",
        "action",
        "job_key",
        "timestamp",
        "processing_time_ms",
        "next_expected",
    }


def test_the_reply_to_a_ping_is_that_of_all_five_test_suites(site: Site) -> None:
    job = site.monitor()

    said = site.post(f"/ping/{job.code}").json

    assert isinstance(said.pop("processing_time_ms"), int | float)
    assert said == {
        "status": "success",
        "message": "OK",
        "action": "ping",
        "job_key": job.code,
        "timestamp": "2026-03-02 12:00:00",
        "next_expected": "2026-03-02 13:00:00",
    }


def test_a_monitor_without_a_schedule_expects_nothing_next(site: Site) -> None:
    job = site.monitor(interval_seconds=None)

    reply = site.post(f"/ping/{job.code}")

    assert reply.json["next_expected"] is None


def test_next_expected_is_in_utc_whatever_the_zone(site: Site) -> None:
    job = site.monitor(cron="0 3 * * *", timezone="America/Sao_Paulo")

    reply = site.post(f"/ping/{job.code}")

    assert reply.json["next_expected"] == "2026-03-03 06:00:00"


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Step 2/4"},
        {"msg": "Step 2/4"},
        {"message": "Step 2/4", "msg": "other"},
        {"message": None, "msg": "Step 2/4"},
        {"message": "Step 2/4", "seq": 4, "x": [{}]},
    ],
)
@pytest.mark.parametrize("signal", ["/progress/50", "/progress"])
def test_a_progress_carries_message_or_msg(site: Site, signal: str, body: dict[str, Any]) -> None:
    job = site.monitor()

    site.post(f"/ping/{job.code}{signal}", json.dumps(body), Content_Type="application/json")

    assert site.pings[0]["message"] == "Step 2/4"


@pytest.mark.parametrize("signal", ["/progress/5", "/progress"])
def test_a_message_is_cut_at_255_characters(site: Site, signal: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}", json.dumps({"message": "ä" * 300}))

    assert (reply.status_int, site.pings[0]["message"]) == (200, "ä" * 255)


def test_a_character_that_an_sdk_cut_in_two_is_replaced(site: Site) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}/progress", b'{"message":"gr\xc3"}')

    assert (reply.status_int, site.pings[0]["message"]) == (200, "gr\ufffd")


@pytest.mark.parametrize("signal", ["/progress/50", "/progress"])
def test_a_progress_without_a_message_is_fine(site: Site, signal: str) -> None:
    job = site.monitor()

    statuses = [
        site.post(f"/ping/{job.code}{signal}", body).status_int
        for body in (b"", b" \n", b"[]", b"{}", b'{"message":""}', b"null")
    ]

    assert (set(statuses), [ping["message"] for ping in site.pings]) == ({200}, 6 * [None])


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_a_message_is_read_whatever_the_content_type(site: Site, kind: str) -> None:
    job = site.monitor()

    site.post(f"/ping/{job.code}/progress/5", b'{"message":"half"}', Content_Type=kind)

    assert site.pings[0]["message"] == "half"


@pytest.mark.parametrize("body", [b"not json", b"{", b'{"message":', b"message=hello"])
@pytest.mark.parametrize("signal", ["/progress/50", "/progress"])
def test_a_progress_body_that_is_not_json_is_400(site: Site, signal: str, body: bytes) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}", body, Content_Type="application/json")

    assert (reply.status_int, reply.json["status"], site.pings) == (400, "error", [])


@pytest.mark.parametrize("signal", ["", "/start", "/end/success", "/end/fail"])
def test_the_same_body_is_ignored_elsewhere(site: Site, signal: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}{signal}", b"{not json", Content_Type="application/json")

    assert reply.status_int == 200


@pytest.mark.parametrize(
    "word",
    [
        "nonsense",
        "end",
        "end/",
        "end/nonsense",
        "end/success/now",
        "progress/101",
        "progress/-1",
        "progress/abc",
        "progress/50.5",
        "progress/1000000000000",
        "progress/50/60",
        "progress/%205",
        "progress/%EF%BC%95",
        "256",
        "-1",
        "1000",
    ],
)
def test_an_unknown_word_or_percentage_under_a_known_code_is_400(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}/{word}")

    assert (reply.status_int, site.pings) == (400, [])
    assert (set(reply.json), reply.json["status"]) == ({"status", "message"}, "error")


@pytest.mark.parametrize(
    "key", ["abc", "abc123def", "abc-123d", "YOUR_KEY", "%C3%A4bc123de", "abc%20123", "job-1"]
)
def test_a_malformed_key_before_end_or_progress_is_400(site: Site, key: str) -> None:
    site.monitor()

    replies = [
        site.post(f"/ping/{key}/{word}")
        for word in ("end/success", "end/fail", "progress/50", "progress")
    ]

    assert [(reply.status_int, reply.json["status"]) for reply in replies] == 4 * [(400, "error")]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_code_that_nobody_has_is_404_in_the_words_of_the_sdk_tests(
    site: Site, signal: str
) -> None:
    site.monitor()

    reply = site.post(f"/ping/abc123de{signal}")

    assert reply.status_int == 404
    assert reply.json == {"status": "error", "message": "Job not found or disabled"}


def test_our_codes_have_the_form_that_the_sdks_insist_on(site: Site) -> None:
    codes = [site.monitor().code for _ in range(10)]

    bad = [code for code in codes if not re.fullmatch("[a-zA-Z0-9]{8}", code)]

    assert bad == []


def test_the_case_of_a_code_matters(site: Site) -> None:
    site.monitor(handles={"abc123de": "cronbeats"})

    reply = site.post("/ping/ABC123DE")

    assert reply.status_int == 404


def test_start_and_end_are_one_run_that_took_that_long(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.code}/start")
    site.clock.move(90)

    site.post(f"/ping/{job.code}/end/success")

    assert [(run["state"], run["duration_ms"]) for run in site.runs] == [("success", 90_000)]


def test_a_failed_end_is_told_at_once(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.code}/start")

    site.post(f"/ping/{job.code}/end/fail")

    assert (site.monitors[0]["status"], site.events) == ("down", ["failed"])


@pytest.mark.parametrize("word, state", [("success", "success"), ("fail", "failed")])
def test_an_end_without_a_start_is_a_run_without_a_duration(
    site: Site, word: str, state: str
) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.code}/end/{word}")

    assert reply.status_int == 200
    assert [(run["state"], run["duration_ms"]) for run in site.runs] == [(state, None)]


def test_a_plain_ping_ends_an_open_run_well(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.code}/start")
    site.clock.move(60)

    site.post(f"/ping/{job.code}")

    assert [run["state"] for run in site.runs] == ["success"]


def test_a_start_that_the_sdk_sends_again_is_the_same_run(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.code}/start")
    site.clock.move(1)

    site.post(f"/ping/{job.code}/start")

    assert (len(site.pings), len(site.runs)) == (2, 1)


def test_the_progress_of_a_run_is_its_timeline(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.code}/start")
    for percent in (0, 25, 50, 100):
        site.post(f"/ping/{job.code}/progress/{percent}", f'{{"message":"Step {percent}"}}')

    timeline = [(ping["percent"], ping["message"], ping["run"]) for ping in site.pings[1:]]

    run = site.runs[0]["num"]
    assert timeline == [
        (0, "Step 0", run),
        (25, "Step 25", run),
        (50, "Step 50", run),
        (100, "Step 100", run),
    ]


def test_a_paused_job_is_still_heard(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/pause/1")

    reply = site.post(f"/ping/{job.code}")

    assert (reply.status_int, reply.json["next_expected"]) == (200, None)


def test_the_query_may_carry_the_message_too(site: Site) -> None:
    job = site.monitor()

    site.get(f"/ping/{job.code}/progress/50?msg=half")

    assert site.pings[0]["message"] == "half"

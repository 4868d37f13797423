"""Healthchecks, Uptime Kuma and Cronhub: what their clients send."""

from __future__ import annotations

import pytest
from conftest import Site

RID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def logs(site: Site) -> list[str]:
    return [row["content"] for row in site.rows("SELECT content FROM run_log")]


# -- Healthchecks by handle


@pytest.mark.parametrize(
    "word, kind, code",
    [
        ("", "success", None),
        ("/start", "start", None),
        ("/fail", "fail", None),
        ("/log", "log", None),
        ("/0", "success", 0),
        ("/1", "fail", 1),
        ("/255", "fail", 255),
    ],
)
def test_each_endpoint_records_its_signal_by_each_method(
    site: Site, word: str, kind: str, code: int | None
) -> None:
    job = site.monitor()

    statuses = [
        site.send(method, f"/ping/{job.token}{word}").status_int
        for method in ("GET", "POST", "HEAD")
    ]

    assert statuses == [200, 200, 200]
    assert [(ping["kind"], ping["exit_code"]) for ping in site.pings] == 3 * [(kind, code)]


@pytest.mark.parametrize("word", ["", "/start", "/fail", "/log", "/0", "/1"])
def test_the_answer_is_ok_in_plain_text(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.token}{word}")

    assert (reply.status_int, reply.content_type, reply.text) == (200, "text/plain", "OK")


@pytest.mark.parametrize(
    "word, kind",
    [
        ("", "text/plain"),
        ("/fail", "application/json"),
        ("/log", ""),
        ("/0", "text/plain"),
        ("/3", "application/json"),
    ],
)
def test_the_body_is_kept_as_the_output_of_the_run(site: Site, word: str, kind: str) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.token}/start")
    site.clock.move(60)

    site.post(f"/ping/{job.token}{word}", "line 1\nline 2", Content_Type=kind)

    assert logs(site) == ["line 1\nline 2"]


def test_an_output_of_ten_thousand_bytes_is_kept_whole(site: Site) -> None:
    job = site.monitor()

    site.post(f"/ping/{job.token}", "x" * 10_000)

    assert logs(site) == ["x" * 10_000]


def test_an_output_keeps_no_control_characters(site: Site) -> None:
    job = site.monitor()

    site.post(f"/ping/{job.token}", b"a\x00b\x1b[0m\n\tc\xff")

    assert logs(site) == ["ab[0m\n\tc\ufffd"]


def test_the_limit_of_a_body_is_told_to_runitor(site: Site) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.token}/start")

    assert int(reply.headers["Ping-Body-Limit"]) >= 10_000
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


def test_a_body_as_long_as_told_is_kept_whole(site: Site) -> None:
    job = site.monitor()
    limit = int(site.post(f"/ping/{job.token}/start").headers["Ping-Body-Limit"])

    site.post(f"/ping/{job.token}", "x" * limit)

    assert [len(log) for log in logs(site)] == [limit]


@pytest.mark.parametrize("word", ["", "/start", "/fail", "/3"])
def test_a_rid_is_the_series_of_a_ping(site: Site, word: str) -> None:
    job = site.monitor()

    site.post(f"/ping/{job.token}{word}?rid={RID}")

    assert site.pings[0]["series"] == RID


def test_a_rid_that_is_no_uuid_is_no_reason_to_refuse(site: Site) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.token}?rid=nonsense")

    assert (reply.status_int, site.pings[0]["series"]) == (200, None)


@pytest.mark.parametrize("word", ["256", "1000", "nonsense", "start/x", "-1"])
def test_an_exit_code_over_255_and_an_unknown_word_are_400(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.post(f"/ping/{job.token}/{word}")

    assert (reply.status_int, reply.content_type, site.pings) == (400, "text/plain", [])


def test_an_unknown_uuid_is_404_not_found(site: Site) -> None:
    site.monitor()

    reply = site.post(f"/ping/{RID}")

    assert (reply.status_int, reply.content_type, reply.text) == (404, "text/plain", "not found")


def test_what_borgmatic_sends_is_one_run(site: Site) -> None:
    job = site.monitor()
    site.post(f"/ping/{job.token}/start")
    site.clock.move(60)
    site.post(f"/ping/{job.token}/log")

    site.post(f"/ping/{job.token}", b"log " * 1000)

    assert [(run["state"], run["duration_ms"]) for run in site.runs] == [("success", 60_000)]
    assert site.events == []


# -- Healthchecks by slug


@pytest.mark.parametrize(
    "word, kind",
    [
        ("", "success"),
        ("/start", "start"),
        ("/fail", "fail"),
        ("/log", "log"),
        ("/0", "success"),
        ("/9", "fail"),
    ],
)
def test_a_slug_is_pinged_with_the_key_before_it(
    site: Site, api_key: str, word: str, kind: str
) -> None:
    site.monitor(key="db-backup")

    reply = site.post(f"/ping/{api_key}/db-backup{word}")

    assert (reply.status_int, reply.text, site.kinds) == (200, "OK", [kind])


@pytest.mark.parametrize(
    "word, kind", [("", "success"), ("/start", "start"), ("/fail", "fail"), ("/0", "success")]
)
def test_an_unknown_slug_with_create_is_made_and_pinged(
    site: Site, api_key: str, word: str, kind: str
) -> None:
    path = f"/ping/{api_key}/db-backup{word}?create=1"

    reply = site.post(path)

    assert (reply.status_int, reply.text, site.kinds) == (201, "Created", [kind])
    assert [monitor["key"] for monitor in site.monitors] == ["db-backup"]


def test_a_known_slug_with_create_is_only_pinged(site: Site, api_key: str) -> None:
    site.monitor(key="db-backup")

    reply = site.post(f"/ping/{api_key}/db-backup?create=1")

    assert (reply.status_int, reply.text, len(site.monitors)) == (200, "OK", 1)


def test_an_unknown_slug_without_create_is_404_not_found(site: Site, api_key: str) -> None:
    path = f"/ping/{api_key}/db-backup"

    reply = site.post(path)

    assert (reply.status_int, reply.text, site.monitors) == (404, "not found", [])


def test_a_word_that_is_none_makes_no_monitor(site: Site, api_key: str) -> None:
    path = f"/ping/{api_key}/db-backup/nonsense?create=1"

    reply = site.post(path)

    assert (reply.status_int, site.monitors) == (400, [])


# -- Uptime Kuma


@pytest.mark.parametrize(
    "query, kind",
    [
        ("", "success"),
        ("?status=up", "success"),
        ("?status=", "success"),
        ("?status=down", "fail"),
        ("?status=nonsense", "fail"),
        ("?status=up&msg=OK&ping=", "success"),
    ],
)
def test_a_push_is_up_unless_it_says_otherwise(site: Site, query: str, kind: str) -> None:
    job = site.monitor()

    reply = site.get(f"/api/push/{job.token}{query}")

    assert (reply.status_int, site.kinds) == (200, [kind])


def test_a_push_may_have_any_method(site: Site) -> None:
    job = site.monitor()

    statuses = [
        site.send(method, f"/api/push/{job.token}?status=up").status_int
        for method in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE")
    ]

    assert (set(statuses), site.kinds) == ({200}, 6 * ["success"])


def test_a_push_is_answered_with_ok(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/api/push/{job.token}")

    assert (reply.content_type, reply.json) == ("application/json", {"ok": True})


@pytest.mark.parametrize("name", ["{token}", "{code}", "XJcgAAPK4Q"])
def test_a_push_token_is_any_handle(site: Site, name: str) -> None:
    job = site.monitor(handles={"XJcgAAPK4Q": "kuma"})

    reply = site.get(job.at(f"/api/push/{name}"))

    assert reply.status_int == 200


def test_a_push_is_kept_with_its_message_and_its_milliseconds(site: Site) -> None:
    job = site.monitor()

    site.get(f"/api/push/{job.token}?status=down&msg=no%20disk&ping=250.4")

    assert (site.pings[0]["message"], site.pings[0]["duration_ms"]) == ("no disk", 250)


@pytest.mark.parametrize("value", ["", "x", "nan", "-1", "1e400"])
def test_milliseconds_that_are_none_are_dropped(site: Site, value: str) -> None:
    job = site.monitor()

    reply = site.get(f"/api/push/{job.token}?ping={value}")

    assert (reply.status_int, site.pings[0]["duration_ms"]) == (200, None)


def test_an_unknown_push_token_is_404_in_its_words(site: Site) -> None:
    site.monitor()

    reply = site.get("/api/push/nobody")

    assert reply.status_int == 404
    assert reply.json == {"ok": False, "msg": "Monitor not found or not active."}


# -- Cronhub


@pytest.mark.parametrize(
    "word, kind",
    [("start", "start"), ("finish", "success"), ("fail", "fail"), ("ping", "success")],
)
def test_the_word_of_cronhub_is_before_the_handle(site: Site, word: str, kind: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{word}/{job.token}")

    assert (reply.status_int, site.kinds) == (200, [kind])


@pytest.mark.parametrize("word", ["start", "finish", "fail"])
def test_an_unknown_handle_behind_it_is_404(site: Site, word: str) -> None:
    site.monitor()

    reply = site.get(f"/{word}/{RID}")

    assert reply.status_int == 404

"""Cronitor: its page, the telemetry of its SDKs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import NOW, Site

HOUR = 3_600_000


# -- endpoints


@pytest.mark.parametrize(
    "word, kind",
    [
        ("", "start"),
        ("/run", "start"),
        ("/complete", "success"),
        ("/fail", "fail"),
        ("/ok", "ok"),
        ("/r", "start"),
        ("/c", "success"),
        ("/f", "fail"),
        ("/b", "start"),
        ("/e", "success"),
    ],
)
def test_each_endpoint_and_alias_records_its_signal_by_each_method(
    site: Site, word: str, kind: str
) -> None:
    job = site.monitor()

    statuses = [
        site.send(method, f"/{job.code}{word}").status_int for method in ("GET", "POST", "HEAD")
    ]

    assert (statuses, site.kinds) == ([200, 200, 200], [kind, kind, kind])


@pytest.mark.parametrize("word", ["", "/run", "/complete", "/fail", "/ok"])
def test_the_answer_is_ok_in_plain_text(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}{word}")

    assert (reply.status_int, reply.content_type, reply.text) == (200, "text/plain", "OK")


@pytest.mark.parametrize("body", [b"msg=evil&host=evil", b'{"message": "evil"}', b"\xff\x00"])
def test_the_body_of_a_post_is_discarded(site: Site, body: bytes) -> None:
    job = site.monitor()

    reply = site.post(f"/{job.code}/complete?msg=kept", body, Content_Type="application/json")

    assert (reply.status_int, site.pings[0]["message"], site.pings[0]["host"]) == (
        200,
        "kept",
        None,
    )
    assert site.rows("SELECT * FROM run_log") == []


def test_the_parameters_are_kept_with_the_ping(site: Site) -> None:
    job = site.monitor()

    site.get(
        f"/{job.code}/fail?msg=Disk%20full&host=db1&series=a1&status_code=3&duration=1.25"
        "&env=production"
    )

    ping = site.pings[0]
    assert {
        name: ping[name]
        for name in ("message", "host", "series", "exit_code", "duration_ms", "env")
    } == {
        "message": "Disk full",
        "host": "db1",
        "series": "a1",
        "exit_code": 3,
        "duration_ms": 1250,
        "env": "production",
    }


@pytest.mark.parametrize("name", ["msg", "message"])
def test_a_thousand_characters_of_a_message_are_kept(site: Site, name: str) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/complete?{name}={'x' * 1000}")

    assert site.pings[0]["message"] == "x" * 1000


@pytest.mark.parametrize(
    "word, code, state",
    [("complete", 1, "success"), ("fail", 0, "failed"), ("complete", 255, "success")],
)
def test_the_verb_decides_whatever_the_status_code(
    site: Site, word: str, code: int, state: str
) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/{word}?status_code={code}")

    assert [(run["state"], run["exit_code"]) for run in site.runs] == [(state, code)]


def test_pings_with_one_series_are_one_run(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/run?series=a")
    site.clock.move(20)
    site.get(f"/{job.code}/run?series=b")
    site.clock.move(20)

    site.get(f"/{job.code}/complete?series=a")

    assert [(run["series"], run["state"]) for run in site.runs] == [
        ("a", "success"),
        ("b", "running"),
    ]


def test_a_fail_is_told_immediately(site: Site) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/fail")

    assert (site.monitors[0]["status"], site.events) == ("down", ["failed"])


def test_it_stays_failing_until_the_next_complete(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/fail")
    site.clock.move(30)
    site.get(f"/{job.code}/run")
    failing = site.monitors[0]["status"]

    site.get(f"/{job.code}/complete")

    assert (failing, site.monitors[0]["status"], site.events) == (
        "down",
        "up",
        ["failed", "recovered"],
    )


def test_rapid_failures_are_told_once_a_minute(site: Site) -> None:
    job = site.monitor()
    for _ in range(11):
        site.get(f"/{job.code}/fail")
        site.clock.move(5)

    site.server.scan()

    assert site.events == ["failed"]


def test_an_ok_resets_without_a_recovery_alert(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/fail")

    site.get(f"/{job.code}/ok")

    assert (site.monitors[0]["status"], site.events) == ("up", ["failed"])


@pytest.mark.parametrize("path", ["/abc123de", "/abc123de/run", "/abc123de/pause/1"])
def test_an_unknown_code_is_404_in_plain_text(site: Site, path: str) -> None:
    site.monitor()

    reply = site.get(path)

    assert (reply.status_int, reply.content_type) == (404, "text/plain")


@pytest.mark.parametrize(
    "state, kind",
    [("run", "start"), ("complete", "success"), ("fail", "fail"), ("ok", "ok"), ("", "start")],
)
def test_the_java_client_sends_its_state_behind_the_code(
    site: Site, state: str, kind: str
) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}?state={state}")

    assert (reply.status_int, site.kinds) == (200, [kind])


def test_the_duration_of_a_run_that_begins_moves_no_time(site: Site) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/run?duration=600&status_code=0")

    assert site.monitors[0]["expected_at"] == NOW + HOUR


# -- pause


@pytest.mark.parametrize("word", ["pause", "p"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_pause_lasts_so_many_hours(site: Site, word: str, method: str) -> None:
    job = site.monitor()

    reply = site.send(method, f"/{job.code}/{word}/3")

    assert (reply.status_int, site.monitors[0]["status"]) == (200, "paused")
    assert site.monitors[0]["pause_until"] == NOW + 3 * HOUR


@pytest.mark.parametrize("hours", ["0", "1"])
def test_a_pause_answers_html(site: Site, hours: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/pause/{hours}")

    assert reply.content_type == "text/html"
    assert "</html>" in reply.text or "<p>" in reply.text


def test_the_html_of_a_pause_quotes_what_it_names(site: Site) -> None:
    job = site.monitor(name="<script>x</script>", key="<script>x</script>")

    reply = site.get(f"/{job.code}/pause/1")

    assert "<script" not in reply.text


@pytest.mark.parametrize("zero", ["pause/0", "p/0"])
def test_zero_hours_unpause_instantly(site: Site, zero: str) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/complete")
    site.get(f"/{job.code}/pause/5")

    reply = site.get(f"/{job.code}/{zero}")

    assert (reply.status_int, site.monitors[0]["status"]) == (200, "up")


def test_a_resume_sends_no_alarm_for_what_was_before_the_pause(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/fail")
    site.get(f"/{job.code}/pause/5")
    site.clock.move(60)

    site.get(f"/{job.code}/pause/0")

    assert (site.monitors[0]["status"], site.events) == ("up", ["failed"])


@pytest.mark.parametrize("hours", ["100000", "876000", "999999999999999"])
def test_a_large_number_of_hours_pauses_for_good(site: Site, hours: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/pause/{hours}")

    assert (reply.status_int, site.monitors[0]["status"]) == (200, "paused")
    assert site.monitors[0]["pause_until"] - NOW <= 100 * 366 * 24 * HOUR


@pytest.mark.parametrize("word", ["pause", "pause/", "pause/x", "pause/-1", "pause/1.5", "p"])
def test_a_pause_without_an_integer_of_hours_is_refused(site: Site, word: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/{word}")

    assert (reply.status_int, reply.content_type, site.monitors[0]["status"]) == (
        400,
        "text/plain",
        "new",
    )


def test_a_pause_is_no_ping(site: Site) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/pause/1")

    assert site.pings == []


def test_a_monitor_that_fails_when_the_pause_expires_is_told_again(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/fail")
    site.get(f"/{job.code}/pause/1")
    site.clock.move(3600)

    site.server.scan()

    assert (site.monitors[0]["status"], site.events) == ("down", ["failed", "failed"])


# -- telemetry of the SDKs


@pytest.mark.parametrize(
    "state, kind",
    [
        ("run", "start"),
        ("complete", "success"),
        ("fail", "fail"),
        ("ok", "ok"),
        ("tick", "success"),
    ],
)
def test_each_state_is_a_signal(site: Site, api_key: str, state: str, kind: str) -> None:
    site.monitor(key="backup")

    replies = [site.get(f"/{form}/{api_key}/backup?state={state}").text for form in ("p", "ping")]

    assert (replies, site.kinds) == (["OK", "OK"], [kind, kind])


@pytest.mark.parametrize(
    "path",
    [
        "/p/{}/backup",
        "/p/{}/backup?metric=count:5",
        "/ping/{}/backup?metric=count:5&stamp=1",
        "/p/{}/backup?state=",
    ],
)
def test_without_a_state_it_is_a_heartbeat(site: Site, api_key: str, path: str) -> None:
    site.monitor(key="backup")

    reply = site.get(path.format(api_key))

    assert (reply.status_int, reply.text, site.kinds) == (200, "OK", ["success"])


@pytest.mark.parametrize(
    "word, kind",
    [
        ("run", "start"),
        ("complete", "success"),
        ("fail", "fail"),
        ("ok", "ok"),
        ("tick", "success"),
    ],
)
def test_the_state_may_be_in_the_path(site: Site, api_key: str, word: str, kind: str) -> None:
    site.monitor(key="backup")

    reply = site.get(f"/p/{api_key}/backup/{word}")

    assert (reply.status_int, site.kinds) == (200, [kind])


@pytest.mark.parametrize("form", ["/p/{}/backup?state=nonsense", "/ping/{}/backup?state=nonsense"])
def test_an_unknown_state_is_200_and_changes_nothing(site: Site, api_key: str, form: str) -> None:
    site.monitor(key="backup")

    reply = site.get(form.format(api_key))

    assert (reply.status_int, site.monitors[0]["status"], site.events, site.runs) == (
        200,
        "new",
        [],
        [],
    )


@pytest.mark.parametrize("state", ["run", "complete", "fail", "ok", "tick", ""])
@pytest.mark.parametrize(
    "form", ["/p/{}/jobs.nightly?state={}", "/ping/{}/jobs.nightly?state={}&stamp=1"]
)
def test_an_unknown_key_makes_a_monitor(site: Site, api_key: str, form: str, state: str) -> None:
    path = form.format(api_key, state)

    reply = site.get(path)

    assert (reply.status_int, reply.text, len(site.pings)) == (200, "OK", 1)
    assert [
        (monitor["key"], monitor["cron"], monitor["interval_seconds"]) for monitor in site.monitors
    ] == [("jobs.nightly", None, None)]


def test_it_is_made_once(site: Site, api_key: str) -> None:
    path = f"/p/{api_key}/backup?state="

    replies = [site.get(path + state) for state in ("run", "complete", "run", "fail")]

    assert ({reply.status_int for reply in replies}, len(site.monitors)) == ({200}, 1)


@pytest.mark.parametrize("form", ["/p/wrong/backup?state=run", "/p/wrong/unknown?state=run"])
def test_telemetry_with_an_unknown_key_is_not_acknowledged(site: Site, form: str) -> None:
    site.monitor(key="backup")

    reply = site.get(form)

    assert (reply.status_int in (401, 404), reply.content_type) == (True, "text/plain")
    assert (site.pings, len(site.monitors)) == ([], 1)


def test_what_the_python_client_sends_is_heard(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    site.get(
        f"/p/{api_key}/backup?state=complete&message=None&series=1795308465.218&host=db1"
        "&metric=count:5&metric=duration:12.5&stamp=1795308477.7&env=staging"
    )

    ping, run = site.pings[0], site.runs[0]
    assert (ping["message"], ping["series"], ping["host"], ping["env"], ping["duration_ms"]) == (
        "None",
        "1795308465.218",
        "db1",
        "staging",
        12_500,
    )
    assert json.loads(run["metrics"])["count"] == 5


def test_what_the_command_line_client_sends_is_heard(site: Site, api_key: str) -> None:
    site.monitor(key="backup")
    site.get(
        f"/ping/{api_key}/backup?state=run&try=1&stamp=1795308465.218&msg=sleep+1&host=a"
        "&series=1795308465.218"
    )
    site.clock.move(0.5)

    site.get(
        f"/ping/{api_key}/backup?state=fail&try=1&stamp=1795308465.7&msg=no+%5Bexit+status"
        "+9%5D&duration=0.428&series=1795308465.218&status_code=9&metric=length:6&host=a"
    )

    assert [(run["state"], run["exit_code"], run["message"]) for run in site.runs] == [
        ("failed", 9, "no [exit status 9]")
    ]


@pytest.mark.parametrize("state", ["run", "fail"])
def test_what_it_sends_again_is_counted_once(site: Site, api_key: str, state: str) -> None:
    site.monitor(key="backup", failure_tolerance=1)
    for number in range(1, 7):
        site.get(f"/ping/{api_key}/backup?state={state}&try={number}&stamp=1.5&series=1.5")

    found = (len(site.runs), site.monitors[0]["failures"], site.events)

    assert found == (1, int(state == "fail"), [])


@pytest.mark.parametrize(
    "sent, metrics",
    [
        ("metric=count:5", {"count": 5}),
        ("metric=count=5", {"count": 5}),
        ("metric=count:5&metric=error_count:2", {"count": 5, "error_count": 2}),
        ("metric=length:6.5", {"length": 6.5}),
        ("metric=count:nan&metric=a:1", {"a": 1}),
        ("metric=count:inf&metric=a:1", {"a": 1}),
        ("metric=count:1e400&metric=a:1", {"a": 1}),
        ("metric=count:9007199254740992&metric=a:1", {"a": 1}),
        ("metric=count:x&metric=a:1", {"a": 1}),
        ("metric=&metric=count&metric=a:1", {"a": 1}),
    ],
)
def test_metrics_are_kept_where_they_are_numbers(
    site: Site, api_key: str, sent: str, metrics: dict[str, Any]
) -> None:
    site.monitor(key="backup")

    site.get(f"/p/{api_key}/backup?state=complete&{sent}")

    assert json.loads(site.runs[0]["metrics"]) == metrics


def test_a_metric_with_a_name_in_its_middle_is_no_reason_to_refuse(
    site: Site, api_key: str
) -> None:
    site.monitor(key="backup")

    reply = site.get(f"/ping/{api_key}/backup?state=complete&metric=count:processed:100")

    assert reply.status_int == 200
    assert 100 in json.loads(site.runs[0]["metrics"]).values()


def test_thousands_of_metrics_are_bounded(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    reply = site.get(
        f"/p/{api_key}/backup?state=complete&" + "&".join(f"metric=m{n}:{n}" for n in range(3000))
    )

    assert (reply.status_int, len(site.runs[0]["metrics"]) <= 65_536) == (200, True)


def test_the_collecting_time_of_an_npm_event_is_no_run_time(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    site.get(f"/ping/{api_key}/backup?metric=error_count:0&metric=count:7&metric=duration:60")

    assert [(run["state"], run["duration_ms"]) for run in site.runs] == [("success", None)]


def test_a_stamp_is_not_the_time_of_a_ping(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    site.get(f"/p/{api_key}/backup?state=complete&stamp=1.5")

    assert site.pings[0]["at"] == NOW


# -- authenticate ping requests


@pytest.fixture
def strict(make_site: Callable[..., Site]) -> Site:
    """A site where "Authenticate ping requests" is on, with the key `right`."""
    site = make_site(authenticate_pings=True)
    site.api_key("ping", "right")
    site.api_key("read-only", "reader")
    return site


@pytest.mark.parametrize(
    "query",
    ["", "?auth_key=", "?auth_key=wrong", "?auth_key=reader", "?auth_key=wrong&auth_key=right"],
)
def test_a_ping_without_a_valid_auth_key_is_200_and_dropped(strict: Site, query: str) -> None:
    job = strict.monitor()

    replies = [
        strict.get(f"/{job.code}{word}{query}")
        for word in ("", "/run", "/complete", "/fail", "/ok")
    ]

    assert {(reply.status_int, reply.text) for reply in replies} == {(200, "OK")}
    assert (strict.pings, strict.runs, strict.events) == ([], [], [])


def test_a_pause_without_a_valid_auth_key_is_200_and_dropped(strict: Site) -> None:
    job = strict.monitor()

    reply = strict.get(f"/{job.code}/pause/5?auth_key=wrong")

    assert (reply.status_int, strict.monitors[0]["status"]) == (200, "new")


def test_dropped_pings_are_counted_and_shown(strict: Site) -> None:
    job, reader = strict.monitor(), "reader"
    strict.get(f"/{job.code}/run")
    strict.get(f"/{job.code}/complete?auth_key=wrong")

    shown = strict.get(f"/api/v1/heartbeats/{job.id}", X_Api_Key=reader).json

    assert shown["droppedPings"] == 2


@pytest.mark.parametrize(
    "word, kind", [("run", "start"), ("complete", "success"), ("fail", "fail"), ("ok", "ok")]
)
def test_a_ping_with_the_auth_key_counts(strict: Site, word: str, kind: str) -> None:
    job = strict.monitor()

    reply = strict.get(f"/{job.code}/{word}?auth_key=right")

    assert (reply.status_int, strict.kinds) == (200, [kind])


def test_a_pause_with_the_auth_key_counts(strict: Site) -> None:
    job = strict.monitor()

    strict.get(f"/{job.code}/pause/5?auth_key=right")

    assert strict.monitors[0]["status"] == "paused"


@pytest.mark.parametrize("form", ["/p/right/{key}?state=run", "/ping/right/{key}?state=run"])
def test_a_key_in_the_path_is_authentication(strict: Site, form: str) -> None:
    job = strict.monitor()

    strict.get(job.at(form))

    assert strict.kinds == ["start"]


@pytest.mark.parametrize(
    "form", ["/ping/{code}", "/{token}", "/ping/{token}", "/api/push/{token}"]
)
def test_the_pings_of_others_need_no_auth_key(strict: Site, form: str) -> None:
    job = strict.monitor()

    strict.get(job.at(form))

    assert strict.kinds == ["success"]


def test_an_adopted_code_needs_the_auth_key_as_well(strict: Site) -> None:
    strict.monitor(handles={"d3x0c1": "cronitor"})

    replies = [strict.get("/d3x0c1/run"), strict.get("/d3x0c1/run?auth_key=right")]

    assert ([reply.status_int for reply in replies], strict.kinds) == ([200, 200], ["start"])


@pytest.mark.parametrize("query", ["", "?auth_key=wrong"])
def test_by_default_no_auth_key_is_needed(site: Site, query: str) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/run{query}")

    assert site.kinds == ["start"]

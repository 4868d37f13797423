"""Who a ping is meant for, by which path, and what is forgiven, for all
dialects at once. What one of them does alone is in a file of its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
import webtest
from conftest import Site, basic

from cronwatch import Refused

NOBODY = str(uuid.UUID(int=2**127 + 7))
FORMS = {  # how each dialect says that a job succeeded
    "cronbeats": "/ping/{code}",
    "cronradar": "/ping/{key}/{api}",
    "cronitor": "/{code}/complete",
    "cronitor telemetry": "/p/{api}/{key}?state=complete",
    "cronitor npm": "/ping/{api}/{key}?state=complete",
    "crontify": "/api/v1/ping/{id}/success",
    "cronping": "/{token}",
    "healthchecks": "/ping/{token}",
    "healthchecks slug": "/ping/{api}/{key}",
    "kuma": "/api/push/{token}?status=up&msg=OK&ping=",
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def is_shaped(dialect: str, reply: webtest.TestResponse) -> bool:
    """Whether an error is worded as the service words its errors."""
    if dialect in ("cronitor", "healthchecks"):
        return bool(
            reply.content_type == "text/plain"
            and reply.text
            and not reply.text.startswith(("<", "{"))
        )
    said = reply.json
    shapes: dict[str, Callable[[], object]] = {
        "cronbeats": lambda: set(said) == {"status", "message"} and said["status"] == "error",
        "cronradar": lambda: said["error"].isupper() and said["message"],
        "crontify": lambda: (
            said["success"] is False and said["message"] and said["statusCode"] == reply.status_int
        ),
        "cronping": lambda: set(said) == {"error"} and said["error"],
        "kuma": lambda: said["ok"] is False and said["msg"],
    }
    return bool(reply.content_type == "application/json" and shapes[dialect]())


# -- a known handle comes first


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": basic("wrong")},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "ApiKey wrong"},
        {"Authorization": "Basic !"},
        {"X-Api-Key": "wrong"},
    ],
)
def test_credentials_that_come_along_with_a_known_handle_are_ignored(
    site: Site, header: dict[str, str]
) -> None:
    job = site.monitor()

    statuses = [
        site.send("GET", job.at(path), headers=header).status_int
        for path in ("/ping/{code}", "/ping/{token}", "/{code}", "/{token}", "/api/push/{token}")
    ]

    assert (set(statuses), len(site.pings)) == ({200}, 5)


def test_a_valid_key_in_a_header_does_not_make_a_known_handle_cronradars(
    site: Site, api_key: str
) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{job.code}", Authorization=basic(api_key))

    assert reply.json["job_key"] == job.code


def test_an_adopted_handle_needs_no_key(site: Site) -> None:
    job = site.monitor(handles={"daily-backup": "cronradar"})

    reply = site.get("/ping/daily-backup/start")

    assert (reply.status_int, reply.json["monitor"]) == (200, job.key)


def test_an_adopted_handle_and_an_adopted_key_are_pinged_as_the_sdks_do(site: Site) -> None:
    site.monitor(handles={"daily-backup": "cronradar"})
    site.api_key("ping", "ck_app_1_abc")

    reply = site.post("/ping/daily-backup/ck_app_1_abc/start")

    assert (reply.status_int, site.kinds) == (200, ["start"])


def test_the_id_of_a_monitor_is_no_handle(site: Site) -> None:
    job = site.monitor()

    replies = [site.get(f"/{job.id}"), site.get(f"/ping/{job.id}")]

    assert [reply.status_int for reply in replies] == [404, 404]


def test_the_key_of_a_monitor_is_no_handle(site: Site) -> None:
    job = site.monitor(key="AbCd1234")

    replies = [
        site.get(f"/{job.key}"),
        site.get(f"/ping/{job.key}"),
        site.get(f"/api/push/{job.key}"),
    ]

    assert [reply.status_int for reply in replies] == [404, 404, 404]


# -- an API key in the path


@pytest.mark.parametrize("name", ["{key}", "{token}", "{code}", "{id}"])
@pytest.mark.parametrize(
    "form",
    [
        "/ping/{api}/%s",
        "/ping/%s/{api}",
        "/p/{api}/%s?state=complete",
        "/ping/{api}/%s?state=complete",
    ],
)
def test_the_part_beside_a_key_is_looked_up_as_key_handle_and_id(
    site: Site, api_key: str, form: str, name: str
) -> None:
    job = site.monitor()

    reply = site.get(job.at(form % name, api_key))

    assert (reply.status_int, [ping["monitor"] for ping in site.pings]) == (200, [job.num])


def test_a_key_of_a_monitor_goes_before_a_handle_of_another(site: Site, api_key: str) -> None:
    site.monitor(handles={"backup": "cronping"})
    meant = site.monitor(key="backup")

    site.get(f"/ping/{api_key}/backup")

    assert site.pings[0]["monitor"] == meant.num


def test_a_key_in_the_first_part_is_healthchecks(site: Site, api_key: str) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{api_key}/{job.key}")

    assert reply.text == "OK"


def test_a_key_in_the_second_part_is_cronradars(site: Site, api_key: str) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{job.key}/{api_key}")

    assert reply.json["monitor"] == job.key


def test_of_two_keys_in_the_path_the_first_decides(site: Site, api_key: str) -> None:
    other = site.api_key()

    reply = site.get(f"/ping/{api_key}/{other}?create=1")

    assert (reply.status_int, reply.text) == (201, "Created")


@pytest.mark.parametrize(
    "query", ["state=run", "metric=count:1", "stamp=1795308465.218", "series=1", "env=production"]
)
def test_a_word_of_cronitors_makes_the_key_form_its_own_and_creates(
    site: Site, api_key: str, query: str
) -> None:
    path = f"/ping/{api_key}/new-job?{query}"

    reply = site.get(path)

    assert (reply.status_int, reply.text, site.pings[0]["dialect"]) == (200, "OK", "cronitor")


@pytest.mark.parametrize("query", ["", "?create=0", "?create=", "?rid=" + NOBODY, "?msg=hello"])
def test_without_such_a_word_and_without_create_nothing_is_created(
    site: Site, api_key: str, query: str
) -> None:
    path = f"/ping/{api_key}/new-job{query}"

    reply = site.get(path)

    assert (reply.status_int, reply.text, site.monitors) == (404, "not found", [])


def test_an_exit_code_behind_the_key_form_is_healthchecks_and_keeps_its_log(
    site: Site, api_key: str
) -> None:
    job = site.monitor()

    site.post(f"/ping/{api_key}/{job.key}/0?metric=rows:3&env=prod", "the output")

    assert site.rows("SELECT content FROM run_log") == [{"content": "the output"}]
    assert site.pings[0]["dialect"] == "healthchecks"


def test_a_cronitor_word_on_a_known_monitor_counts_for_it(site: Site, api_key: str) -> None:
    job = site.monitor()

    site.get(f"/ping/{api_key}/{job.key}?state=run")

    assert [(ping["monitor"], ping["kind"]) for ping in site.pings] == [(job.num, "start")]


def test_a_known_key_in_the_path_goes_before_a_wrong_one_in_a_header(
    site: Site, api_key: str
) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{api_key}/{job.key}?state=run", Authorization=basic("wrong"))

    assert (reply.status_int, reply.text) == (200, "OK")


# -- credentials in a header


@pytest.mark.parametrize("kind", ["Basic", "Bearer", "ApiKey", "bearer", "apikey", "BASIC"])
def test_a_key_in_a_header_pings_a_monitor_by_its_key(site: Site, api_key: str, kind: str) -> None:
    job = site.monitor()
    secret = basic(api_key).split()[1] if kind.lower() == "basic" else api_key

    reply = site.get(f"/ping/{job.key}", Authorization=f"{kind} {secret}")

    assert (reply.status_int, reply.json["monitor"]) == (200, job.key)


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !!!",
        "Basic /w==",
        "Bearer",
        "Bearer  ",
        "Digest username=x",
        "nonsense",
        "",
    ],
)
def test_a_header_without_a_key_in_it_is_none(site: Site, value: str) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{job.key}", Authorization=value)

    assert (reply.status_int, reply.json["error"]) == (401, "AUTHENTICATION_REQUIRED")


def test_an_eight_letter_name_with_a_key_in_a_header_is_registered(
    site: Site, api_key: str
) -> None:
    path = "/ping/backups1?schedule=0%202%20*%20*%20*"

    reply = site.get(path, Authorization=basic(api_key))

    assert (reply.status_int, reply.json["monitor"]) == (200, "backups1")


# -- a key that is no tidy text registers, and is found again


REGISTERED = ["/ping/%s/{}?schedule=@daily", "/ping/{}/%s?create=1", "/p/{}/%s?state=run"]


@pytest.mark.parametrize("form", REGISTERED)
@pytest.mark.parametrize("sent", ["x" * 300, "a%00b", "%20padded%20"])
def test_what_registered_once_is_found_by_the_same_text(
    site: Site, api_key: str, form: str, sent: str
) -> None:
    path = (form % sent).format(api_key)
    site.get(path)

    reply = site.get(path)

    assert (reply.status_int, len(site.monitors), len(site.pings)) == (200, 1, 2)


@pytest.mark.parametrize("sent", ["x" * 300, "a%00b", "%20padded%20"])
def test_what_a_sync_made_is_pinged_by_the_same_text(site: Site, api_key: str, sent: str) -> None:
    item = {"key": unquote(sent), "schedule": "@daily"}
    site.post("/api/sync", json.dumps({"monitors": [item]}), Authorization=basic(api_key))

    reply = site.get(f"/ping/{sent}/{api_key}")

    assert reply.status_int == 200


def test_a_key_of_nothing_but_blanks_registers_nothing(site: Site, api_key: str) -> None:
    path = "/ping/%20?schedule=@daily"

    reply = site.get(path, Authorization=basic(api_key))

    assert (reply.status_int // 100, site.monitors, "None" in reply.text) == (4, [], False)


# -- what nobody knows: its shape words the error


@pytest.mark.parametrize(
    "path, dialect",
    [
        (f"/ping/{NOBODY}", "healthchecks"),
        (f"/ping/{NOBODY}/start", "healthchecks"),
        (f"/ping/{NOBODY.upper()}", "healthchecks"),
        (f"/{NOBODY}", "cronping"),
        (f"/{NOBODY}/fail", "cronping"),
        ("/ping/AbCd1234", "cronbeats"),
        ("/ping/AbCd1234/start", "cronbeats"),
        ("/ping/AbCd1234/end/success", "cronbeats"),
        ("/ping/AbCd1234/progress/50", "cronbeats"),
        ("/AbCd1234", "cronitor"),
        ("/AbCd1234/complete", "cronitor"),
        ("/api/push/nobody", "kuma"),
    ],
)
def test_an_unknown_handle_is_404_in_the_words_of_its_shape(
    site: Site, path: str, dialect: str
) -> None:
    site.monitor()

    reply = site.post(path)

    assert reply.status_int == 404
    assert is_shaped(dialect, reply)


@pytest.mark.parametrize(
    "path",
    [
        "/ping/backup",
        "/ping/backup/start",
        "/ping/AbCd123",
        "/ping/AbCd12345",
        "/ping/AbCd-123",
        "/ping/backup/wrong-key",
        "/ping/wrong-key/backup?create=1",
        "/ping/" + NOBODY + "0",
    ],
)
def test_all_else_under_ping_is_cronradars_401_without_a_valid_key(site: Site, path: str) -> None:
    site.monitor(key="backup")

    reply = site.get(path)

    assert (reply.status_int, reply.json["error"]) == (401, "AUTHENTICATION_REQUIRED")


@pytest.mark.parametrize(
    "path", ["/ping/backup", "/ping/backup/start", "/ping/AbCd123", "/ping/AbCd12345"]
)
def test_and_404_with_one(site: Site, api_key: str, path: str) -> None:
    site.monitor()

    reply = site.get(path, Authorization=basic(api_key))

    assert (reply.status_int, reply.json["error"]) == (404, "MONITOR_NOT_FOUND")


def test_a_path_that_names_nobody_is_404(site: Site) -> None:
    site.monitor(key="backup")

    statuses = [
        site.get(path).status_int
        for path in (
            "/backup",
            "/AbCd123",
            "/AbCd12345",
            "/backup/start",
            "/ping",
            "/ping/",
            "/p",
            "/p/",
            "/start",
            "/finish/",
            "/fail",
        )
    ]

    assert (set(statuses), site.pings) == ({404}, [])


def test_a_handle_that_was_deleted_is_unknown(site: Site) -> None:
    job = site.monitor()
    site.get(f"/ping/{job.code}")
    site.rows("DELETE FROM monitor")

    replies = [site.get(f"/ping/{job.code}"), site.get(f"/{job.token}")]

    assert [reply.status_int for reply in replies] == [404, 404]


# -- every verb on every handle; bare form and wording follow the handle


@pytest.mark.parametrize(
    "word, kind",
    [
        ("run", "start"),
        ("complete", "success"),
        ("fail", "fail"),
        ("ok", "ok"),
        ("r", "start"),
        ("c", "success"),
        ("f", "fail"),
        ("b", "start"),
        ("e", "success"),
        ("tick", "success"),
        ("start", "start"),
        ("log", "log"),
        ("0", "success"),
        ("1", "fail"),
        ("255", "fail"),
    ],
)
def test_every_word_is_accepted_on_every_handle_at_the_root(
    site: Site, word: str, kind: str
) -> None:
    job = site.monitor()

    statuses = [site.get(f"/{name}/{word}").status_int for name in (job.token, job.code)]

    assert (statuses, site.kinds) == ([200, 200], [kind, kind])


@pytest.mark.parametrize(
    "word, kind",
    [
        ("start", "start"),
        ("end/success", "success"),
        ("end/fail", "fail"),
        ("progress", "progress"),
        ("progress/0", "progress"),
        ("progress/100", "progress"),
        ("complete", "success"),
        ("fail", "fail"),
        ("log", "log"),
        ("0", "success"),
        ("3", "fail"),
        ("255", "fail"),
        ("run", "start"),
        ("ok", "ok"),
    ],
)
def test_every_word_is_accepted_on_every_handle_under_ping(
    site: Site, word: str, kind: str
) -> None:
    job = site.monitor()

    statuses = [site.post(f"/ping/{name}/{word}").status_int for name in (job.token, job.code)]

    assert (statuses, site.kinds) == ([200, 200], [kind, kind])


@pytest.mark.parametrize("handle", ["{token}", "{code}"])
@pytest.mark.parametrize("word", ["pause/1", "p/1"])
def test_every_handle_at_the_root_can_be_paused(site: Site, handle: str, word: str) -> None:
    job = site.monitor()

    reply = site.get(job.at(f"/{handle}/{word}"))

    assert (reply.status_int, site.monitors[0]["status"]) == (200, "paused")


@pytest.mark.parametrize(
    "path, kind, dialect",
    [
        ("/{token}", "success", "cronping"),
        ("/{code}", "start", "cronitor"),
        ("/ping/{token}", "success", "healthchecks"),
        ("/ping/{code}", "success", "cronbeats"),
    ],
)
def test_the_bare_form_follows_the_shape_of_our_handle(
    site: Site, path: str, kind: str, dialect: str
) -> None:
    job = site.monitor()

    site.get(job.at(path))

    assert [(ping["kind"], ping["dialect"]) for ping in site.pings] == [(kind, dialect)]


@pytest.mark.parametrize(
    "path, handle, dialect, kind",
    [
        ("/", "d3x0c1", "cronitor", "start"),
        ("/", NOBODY, "cronitor", "start"),
        ("/", "abc123def456abc123def456", "cronping", "success"),
        ("/", "AbCd1234", "cronping", "success"),
        ("/", NOBODY, "cronping", "success"),
        ("/", NOBODY, "healthchecks", "success"),
        ("/ping/", NOBODY, "healthchecks", "success"),
        ("/ping/", "abc123de", "cronbeats", "success"),
        ("/ping/", "daily-backup", "cronradar", "success"),
        ("/api/push/", "XJcgAAPK4Q", "kuma", "success"),
    ],
)
def test_the_bare_form_of_an_adopted_handle_follows_its_dialect(
    site: Site, path: str, handle: str, dialect: str, kind: str
) -> None:
    site.monitor(handles={handle: dialect})

    reply = site.get(path + handle)

    assert reply.status_int == 200
    assert [(ping["kind"], ping["dialect"]) for ping in site.pings] == [(kind, dialect)]


@pytest.mark.parametrize(
    "path, dialect, said",
    [
        ("/{}/complete", "cronitor", "OK"),
        ("/{}/start", "cronping", '"started"'),
        ("/ping/{}", "healthchecks", "OK"),
        ("/ping/{}", "cronbeats", '"job_key"'),
        ("/ping/{}", "cronradar", '"pingedAt"'),
        ("/{}", "healthchecks", "OK"),
    ],
)
def test_the_reply_to_an_adopted_handle_is_worded_by_its_dialect(
    site: Site, path: str, dialect: str, said: str
) -> None:
    site.monitor(handles={"abcd-1234": dialect})

    reply = site.get(path.format("abcd-1234"))

    assert said in reply.text


@pytest.mark.parametrize(
    "path, dialect",
    [
        ("/{}/nonsense", "cronitor"),
        ("/{}/nonsense", "cronping"),
        ("/ping/{}/256", "healthchecks"),
        ("/ping/{}/nonsense", "cronbeats"),
        ("/ping/{}/nonsense", "cronradar"),
    ],
)
def test_the_refusal_of_an_adopted_handle_is_worded_by_its_dialect(
    site: Site, path: str, dialect: str
) -> None:
    site.monitor(handles={"abcd-1234": dialect})

    reply = site.get(path.format("abcd-1234"))

    assert (reply.status_int, is_shaped(dialect, reply)) == (400, True)


@pytest.mark.parametrize("form", ["/ping/{}", "/{}", "/{}/start", "/ping/{}/start"])
@pytest.mark.parametrize("handle", [NOBODY, NOBODY.upper()])
def test_an_adopted_uuid_is_pinged_as_it_was_adopted(site: Site, form: str, handle: str) -> None:
    site.monitor(handles={handle: "healthchecks"})

    reply = site.get(form.format(handle))

    assert (reply.status_int, reply.text) == (200, "OK")


def test_our_handles_still_ping_a_monitor_with_an_adopted_one(site: Site) -> None:
    job = site.monitor(handles={"d3x0c1": "cronitor"})

    replies = [site.get(f"/{name}/complete") for name in (job.token, job.code, "d3x0c1")]

    assert [reply.status_int for reply in replies] == [200, 200, 200]


def test_an_adopted_key_of_an_old_service_is_a_key(site: Site) -> None:
    job = site.monitor(key="daily-backup")
    site.api_key("ping", "ck_app_12345_abcdef")

    reply = site.get(f"/ping/{job.key}", Authorization=basic("ck_app_12345_abcdef"))

    assert (reply.status_int, reply.json["monitor"]) == (200, "daily-backup")


RESERVED = [
    "api",
    "badge",
    "cronwatch-exec",
    "fail",
    "favicon.ico",
    "finish",
    "healthz",
    "metrics",
    "p",
    "ping",
    "robots.txt",
    "start",
    "static",
]


@pytest.mark.parametrize("word", RESERVED)
def test_a_first_segment_of_ours_is_never_adopted_as_a_handle(site: Site, word: str) -> None:
    handles = {word: "cronitor"}

    with pytest.raises(Refused) as refused:
        site.monitor(handles=handles)

    assert refused.value.status == 400


def test_a_first_segment_of_ours_is_never_a_ping(site: Site) -> None:
    site.monitor()

    kinds = {site.get(f"/{word}/complete").status_int // 100 for word in RESERVED}

    assert (kinds, site.pings) == ({4}, [])


# -- paths and queries


@forms
def test_get_post_and_head_count_alike(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()

    statuses = [
        site.send(method, job.at(form, api_key), headers={"X-Api-Key": api_key}).status_int
        for method in ("GET", "POST", "HEAD")
    ]

    assert (statuses, site.kinds) == ([200, 200, 200], ["success", "success", "success"])


@forms
def test_the_answer_to_head_is_that_to_get_without_its_body(
    site: Site, api_key: str, form: str
) -> None:
    job = site.monitor()
    path, headers = job.at(form, api_key), {"X-Api-Key": api_key}
    said = site.send("GET", path, headers=headers)

    reply = site.send("HEAD", path, headers=headers)

    assert (reply.body, reply.content_type) == (b"", said.content_type)


@forms
def test_a_trailing_slash_is_the_same_path(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()
    path, _, query = job.at(form, api_key).partition("?")

    reply = site.send("POST", f"{path}/?{query}", headers={"X-Api-Key": api_key})

    assert (reply.status_int, site.kinds) == (200, ["success"])


@forms
def test_empty_segments_are_dropped(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()
    path, _, query = job.at(form, api_key).partition("?")

    reply = site.send(
        "GET", f"{path.replace('/', '//')}//?{query}", headers={"X-Api-Key": api_key}
    )

    assert (reply.status_int, site.kinds) == (200, ["success"])


@pytest.mark.parametrize("form", ["/ping/{code}/start", "/{token}/start", "/{code}/run/"])
def test_without_a_request_uri_the_decoded_path_serves(site: Site, form: str) -> None:
    job = site.monitor()

    reply = site.app.get(job.at(form))

    assert (reply.status_int, site.kinds) == (200, ["start"])


def test_the_whole_url_may_be_the_target(site: Site) -> None:
    job = site.monitor()

    site.send("GET", f"http://cron.test/ping/{job.code}/start")

    assert site.kinds == ["start"]


@pytest.mark.parametrize(
    "key, sent",
    [
        ("jobs/nightly", "jobs%2Fnightly"),
        ("jobs/nightly", "jobs%2fnightly"),
        ("my job", "my%20job"),
        ("my job", "my+job"),
        ("a%b", "a%25b"),
        ("50%", "50%"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("jobs.nightly.v2", "jobs.nightly.v2"),
        ("Q?", "Q%3F"),
    ],
)
def test_each_segment_of_a_path_is_decoded_by_itself(
    site: Site, api_key: str, key: str, sent: str
) -> None:
    site.monitor(key=key)

    statuses = [
        site.get(path).status_int
        for path in (
            f"/ping/{sent}/{api_key}",
            f"/ping/{api_key}/{sent}",
            f"/p/{api_key}/{sent}?state=run",
        )
    ]

    assert statuses == [200, 200, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/ping/{code}/start%0A",
        "/ping/{code}/start%20x",
        "/ping/{code}/xstart",
        "/{code}/1%0A",
        "/{code}/run/now",
        "/{code}/%D9%A3",
        "/{token}/start/start",
        "/ping/{code}/end%2Fsuccess%0A",
    ],
)
def test_a_word_is_matched_in_full(site: Site, path: str) -> None:
    job = site.monitor()

    reply = site.get(job.at(path))

    assert (reply.status_int, site.pings) == (400, [])


@pytest.mark.parametrize(
    "query, message",
    [
        ("msg=hello", "hello"),
        ("msg=a%20b+c", "a b c"),
        ("msg=%C3%BC", "ü"),
        ("msg=%FF", "\ufffd"),
        ("msg=\xc3\xbc", "ü"),
        ("msg=\xff", "\ufffd"),
        ("msg=100%", "100%"),
        ("msg=a%zzb", "a%zzb"),
        ("msg=first&msg=second", "first"),
        ("&&msg=x&&", "x"),
        ("msg=a=b", "a=b"),
        ("msg=a;b", "a;b"),
        ("=&msg=x&=y", "x"),
        ("msg", None),
        ("msg=", None),
        ("%ff=%fe&\xfe=1&msg=x", "x"),
        ("unknown=1&msg=x&try=2", "x"),
    ],
)
def test_a_query_is_read_leniently(site: Site, query: str, message: str | None) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/complete?{query}")

    assert (reply.status_int, site.pings[0]["message"]) == (200, message)


def test_a_query_with_thousands_of_parameters_is_no_reason_to_refuse(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/complete?" + "&".join(f"p{n}={n}" for n in range(2000)))

    assert (reply.status_int, site.kinds) == (200, ["success"])


# -- kindness


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"0",
        b'"text"',
        b"{",
        b"not json",
        b"\xff\xfe\x00",
        b'{"message": null, "meta": null}',
        b'{"message": {"a": []}, "meta": [1, {"a": 2}]}',
        b'{"meta": {"a": 1e999, "b": NaN, "c": "x", "d": true, "": 1}}',
        b'{"message": "\\ud800", "errorMessage": 7, "logOutput": ["x"]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b'{"meta":{"a":' + b"9" * 5000 + b"}}",
    ],
)
def test_no_body_is_a_reason_to_refuse_a_success(site: Site, api_key: str, body: bytes) -> None:
    job = site.monitor()
    headers = {"X-Api-Key": api_key, "Content-Type": "application/json"}

    statuses = [
        site.send("POST", job.at(form, api_key), body, headers).status_int
        for form in FORMS.values()
    ]

    assert (set(statuses), set(site.kinds)) == ({200}, {"success"})


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
        "a/b; c=d",
        "multipart/form-data; boundary=x",
        "application/json; charset=klingon",
    ],
)
def test_no_content_type_is_a_reason_to_refuse(site: Site, api_key: str, kind: str) -> None:
    job = site.monitor()
    headers = {"X-Api-Key": api_key, "Content-Type": kind}

    statuses = [
        site.send("POST", job.at(form, api_key), b"a=b&\xff", headers).status_int
        for form in FORMS.values()
    ]

    assert (set(statuses), set(site.kinds)) == ({200}, {"success"})


@forms
def test_a_body_of_ten_megabytes_is_read_and_cut(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()

    reply = site.send("POST", job.at(form, api_key), b"x" * 10_000_000, {"X-Api-Key": api_key})

    assert (reply.status_int, site.kinds) == (200, ["success"])


@pytest.mark.parametrize(
    "form",
    [
        "/ping/{code}?message=",
        "/ping/{key}/{api}/fail?message=",
        "/{code}/complete?msg=",
        "/p/{api}/{key}?state=fail&message=",
        "/api/push/{token}?msg=",
    ],
)
def test_a_message_that_is_too_long_is_cut(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()

    reply = site.get(job.at(form, api_key) + "%C3%A4" * 20_000)

    assert (reply.status_int, set(site.pings[0]["message"])) == (200, {"ä"})
    assert len(site.pings[0]["message"]) <= 2000


@pytest.mark.parametrize("name, column", [("host", "host"), ("env", "env"), ("series", "series")])
def test_other_texts_that_are_too_long_are_cut(site: Site, name: str, column: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/run?{name}=" + "y" * 20_000)

    assert (reply.status_int, len(site.pings[0][column]) <= 2000) == (200, True)


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("a%00b", "a b"),
        ("%1b[31mred", "[31mred"),
        ("a%0d%0ab", "a  b"),
        ("a%07b", "a b"),
        ("%c2%9b", None),
        ("a%e2%80%a8b", "a b"),
    ],
)
def test_no_control_character_is_stored(site: Site, sent: str, kept: str | None) -> None:
    job = site.monitor()

    site.get(f"/{job.code}/fail?msg={sent}")

    assert (site.pings[0]["message"] or "").split() == (kept or "").split()


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "9007199254740992",
        "-5",
        "x",
        "",
        "1_0_x",
        "0x10",
        "9" * 5000,
    ],
)
def test_a_duration_that_is_no_believable_number_is_dropped(site: Site, value: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/complete?duration={value}")

    assert (reply.status_int, site.pings[0]["duration_ms"]) == (200, None)


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "9007199254740992", "x", ""])
def test_an_exit_code_that_is_no_number_is_dropped(site: Site, value: str) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.code}/complete?status_code={value}")

    assert (reply.status_int, site.pings[0]["exit_code"]) == (200, None)


def test_what_a_client_calls_itself_is_cut_and_cleaned(site: Site) -> None:
    job = site.monitor()

    reply = site.get(f"/ping/{job.code}", User_Agent="x\x7f" * 5000)

    assert (reply.status_int, len(site.pings[0]["user_agent"]) <= 500) == (200, True)
    assert "\x7f" not in site.pings[0]["user_agent"]


def test_a_ping_is_kept_with_its_address_and_its_client(site: Site) -> None:
    job = site.monitor()

    site.get(f"/ping/{job.code}", User_Agent="curl/8.0")

    assert (site.pings[0]["address"], site.pings[0]["user_agent"]) == ("192.0.2.1", "curl/8.0")


# -- errors have the dialect's shape


KNOWN = [
    ("cronbeats", "/ping/{code}"),
    ("cronradar", "/ping/{key}/{api}"),
    ("cronitor", "/{code}/run"),
    ("cronitor", "/p/{api}/{key}?state=run"),
    ("crontify", "/api/v1/ping/{id}/start"),
    ("cronping", "/{token}/start"),
    ("healthchecks", "/ping/{token}"),
    ("healthchecks", "/ping/{api}/{key}"),
    ("cronitor", "/ping/{api}/{key}?state=run"),
    ("cronitor", "/d3x-0c1/run"),
    ("cronping", "/abc123def456"),
    ("healthchecks", "/hc-ping"),
    ("cronbeats", "/ping/c-beats/start"),
]
ADOPTED = {
    "d3x-0c1": "cronitor",
    "abc123def456": "cronping",
    "hc-ping": "healthchecks",
    "c-beats": "cronbeats",
}


@pytest.mark.parametrize("dialect, form", KNOWN)
def test_another_method_is_405_in_the_dialects_shape(
    site: Site, api_key: str, dialect: str, form: str
) -> None:
    job = site.monitor(handles=ADOPTED)

    replies = [
        site.send(method, job.at(form, api_key), headers={"X-Api-Key": api_key})
        for method in ("PUT", "DELETE", "PATCH")
    ]

    assert [(reply.status_int, is_shaped(dialect, reply)) for reply in replies] == [
        (405, True),
        (405, True),
        (405, True),
    ]
    assert site.pings == []


@pytest.mark.parametrize("dialect, form", [*KNOWN, ("kuma", "/api/push/{token}")])
def test_what_breaks_is_5xx_in_the_dialects_shape(
    site: Site, api_key: str, dialect: str, form: str
) -> None:
    job = site.monitor(handles=ADOPTED)
    site.rows("UPDATE monitor SET digests = '['")

    reply = site.send("POST", job.at(form, api_key), headers={"X-Api-Key": api_key})

    assert (reply.status_int // 100, is_shaped(dialect, reply)) == (5, True)


@pytest.mark.parametrize("dialect, form", [*KNOWN, ("kuma", "/api/push/{token}")])
def test_a_database_that_does_not_take_it_is_503_in_the_dialects_shape(
    site: Site, api_key: str, dialect: str, form: str
) -> None:
    job = site.monitor(handles=ADOPTED)
    site.rows("ALTER TABLE ping RENAME TO gone")

    reply = site.send("POST", job.at(form, api_key), headers={"X-Api-Key": api_key})

    assert (reply.status_int, is_shaped(dialect, reply)) == (503, True)
    assert "Retry-After" not in reply.headers


def test_what_was_answered_503_left_nothing_behind(site: Site) -> None:
    job = site.monitor()
    site.rows("ALTER TABLE ping RENAME TO gone")
    site.get(f"/ping/{job.code}/start")

    site.rows("ALTER TABLE gone RENAME TO ping")

    assert (site.pings, site.runs, site.monitors[0]["status"]) == ([], [], "new")


def test_and_all_works_again_without_a_restart(site: Site) -> None:
    job = site.monitor()
    site.rows("ALTER TABLE ping RENAME TO gone")
    site.get(f"/ping/{job.code}/start")
    site.rows("ALTER TABLE gone RENAME TO ping")

    reply = site.get(f"/ping/{job.code}/start")

    assert (reply.status_int, site.kinds) == (200, ["start"])


@pytest.mark.parametrize(
    "path",
    [
        "/ping/{code}",
        "/ping/{code}/nonsense",
        "/{token}",
        f"/{NOBODY}",
        "/ping/backup",
        "/api/v1/ping/x/start",
        "/",
        "/favicon.ico",
        "/{code}/pause/1",
        "/api/v1/heartbeats",
        "/api/push/x",
    ],
)
def test_every_answer_has_the_security_headers(site: Site, path: str) -> None:
    job = site.monitor()

    reply = site.get(job.at(path))

    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert "unsafe" not in reply.headers["Content-Security-Policy"]


# -- permissions


KEYED: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("/ping/{key}", lambda key: {"Authorization": basic(key)}),
    ("/ping/{key}", lambda key: {"Authorization": f"Bearer {key}"}),
    ("/ping/{key}/{api}/start", lambda key: {}),
    ("/ping/{api}/{key}", lambda key: {}),
    ("/ping/{api}/{key}?state=run", lambda key: {}),
    ("/p/{api}/{key}?state=run", lambda key: {}),
    ("/api/v1/ping/{key}/start", lambda key: {"X-Api-Key": key}),
]
keyed = pytest.mark.parametrize("form, header", KEYED)


@keyed
@pytest.mark.parametrize("permission", ["ping", "read-write"])
def test_a_key_with_the_permission_may_ping(
    site: Site, form: str, header: Callable[[str], Any], permission: str
) -> None:
    job, key = site.monitor(), site.api_key(permission)

    reply = site.send("GET", job.at(form, key), headers=header(key))

    assert (reply.status_int, len(site.pings)) == (200, 1)


@keyed
def test_a_read_only_key_may_not_ping(site: Site, form: str, header: Callable[[str], Any]) -> None:
    job, key = site.monitor(), site.api_key("read-only")

    reply = site.send("GET", job.at(form, key), headers=header(key))

    assert (reply.status_int in (401, 403, 404), site.pings) == (True, [])


@keyed
def test_a_wrong_key_may_not_ping(site: Site, form: str, header: Callable[[str], Any]) -> None:
    job = site.monitor()

    reply = site.send("GET", job.at(form, "cw_wrong"), headers=header("cw_wrong"))

    assert (reply.status_int in (401, 404), site.pings) == (True, [])


@pytest.mark.parametrize(
    "form",
    [
        "/ping/{api}/new?create=1",
        "/ping/new/{api}?schedule=@daily",
        "/p/{api}/new?state=run",
        "/ping/{api}/new?state=run",
    ],
)
def test_a_read_only_key_registers_nothing(site: Site, form: str) -> None:
    key = site.api_key("read-only")

    site.get(form.format(api=key))

    assert site.monitors == []


@pytest.mark.parametrize(
    "form",
    [
        "/ping/{api}/new?create=1",
        "/ping/new/{api}?schedule=@daily",
        "/p/{api}/new?state=run",
        "/ping/{api}/new?state=run",
    ],
)
def test_a_wrong_key_registers_nothing(site: Site, form: str) -> None:
    site.monitor()

    site.get(form.format(api="cw_wrong"))

    assert len(site.monitors) == 1


@pytest.mark.parametrize(
    "form",
    ["/ping/{api}/new?create=1", "/ping/new/{api}?schedule=@daily", "/p/{api}/new?state=run"],
)
def test_a_key_that_may_only_ping_registers_too(site: Site, form: str) -> None:
    key = site.api_key("ping")

    site.get(form.format(api=key))

    assert [monitor["key"] for monitor in site.monitors] == ["new"]


# -- limits


WRONG = [
    ("/ping/backup", {"Authorization": basic("wrong")}),
    ("/ping/backup", {"Authorization": "Bearer wrong"}),
    ("/ping/backup/wrong", {}),
    ("/ping/wrong/backup", {}),
    ("/api/v1/ping/backup/start", {"X-Api-Key": "wrong"}),
]


@pytest.mark.parametrize("path, headers", WRONG)
def test_wrong_keys_are_limited_per_address(
    site: Site, path: str, headers: dict[str, str]
) -> None:
    site.monitor(key="backup")

    statuses = [site.send("POST", path, headers=headers).status_int for _ in range(150)]

    assert (statuses[0], statuses[-1]) == (401, 429)
    assert site.send("POST", path, headers=headers, address="192.0.2.9").status_int == 401


def test_the_limit_of_wrong_keys_is_worded_by_the_dialect_without_retry_after(site: Site) -> None:
    site.monitor(key="backup")
    replies = [site.get("/ping/backup", Authorization="Bearer wrong") for _ in range(150)]

    said = replies[-1]

    assert is_shaped("cronradar", said)
    assert "Retry-After" not in said.headers


def test_wrong_keys_are_allowed_again_after_a_while(site: Site) -> None:
    site.monitor(key="backup")
    for _ in range(150):
        site.get("/ping/backup", Authorization="Bearer wrong")
    site.clock.move(3600)

    reply = site.get("/ping/backup", Authorization="Bearer wrong")

    assert reply.status_int == 401


@forms
def test_a_known_handle_is_never_limited(site: Site, api_key: str, form: str) -> None:
    job = site.monitor()
    path, headers = job.at(form, api_key), {"X-Api-Key": api_key}

    statuses = {site.send("POST", path, headers=headers).status_int for _ in range(50)}

    assert statuses == {200}


def test_the_limit_of_the_management_does_not_touch_pings(make_site: Callable[..., Site]) -> None:
    site = make_site(api_rate_limit=3)
    job, key = site.monitor(), site.api_key()

    statuses = {
        site.get(f"/ping/{job.key}", Authorization=basic(key)).status_int for _ in range(20)
    }

    assert statuses == {200}


@pytest.mark.parametrize(
    "dialect, form",
    [
        ("cronbeats", "/ping/{code}/start"),
        ("cronradar", "/ping/{key}/{api}/start"),
        ("cronitor", "/{code}/run"),
        ("cronitor", "/p/{api}/{key}?state=run"),
        ("cronping", "/{token}/start"),
        ("healthchecks", "/ping/{token}/start"),
    ],
)
def test_the_minimum_interval_is_429_in_the_dialects_shape_without_retry_after(
    site: Site, api_key: str, dialect: str, form: str
) -> None:
    job = site.monitor(min_ping_interval_seconds=60)
    site.get(job.at(form, api_key))
    site.clock.move(20)

    reply = site.get(job.at(form, api_key))

    assert (reply.status_int, is_shaped(dialect, reply)) == (429, True)
    assert "Retry-After" not in reply.headers

"""What holds for pings and no transcript says: rules over time, addresses and many monitors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Site

from cronwatch import Refused

RESERVED = [
    "api",
    "badge",
    "cronwatch-exec",
    "fail",
    "favicon.ico",
    "finish",
    "healthz",
    "manifest.json",
    "metrics",
    "p",
    "ping",
    "robots.txt",
    "start",
    "static",
    "status",
    "v2",
    "b",
]


def test_our_codes_have_the_form_that_the_sdks_of_cronbeats_insist_on(site: Site) -> None:
    codes = [site.monitor().code for _ in range(10)]

    bad = [code for code in codes if not re.fullmatch("[a-zA-Z0-9]{8}", code)]

    assert bad == []


@pytest.mark.parametrize("word", RESERVED)
def test_a_first_segment_of_ours_is_never_adopted_as_a_handle(site: Site, word: str) -> None:
    handles = {word: "cronitor"}

    with pytest.raises(Refused) as refused:
        site.monitor(handles=handles)

    assert refused.value.status == 400


@pytest.mark.parametrize("form", ["/ping/{code}/start", "/{token}/start", "/{code}/run/"])
def test_without_a_request_uri_the_decoded_path_serves(site: Site, form: str) -> None:
    job = site.monitor()

    reply = site.app.get(job.at(form))

    assert (reply.status_int, site.kinds) == (200, ["start"])


def test_dropped_pings_are_counted_and_shown(make_site: Callable[..., Site]) -> None:
    site = make_site(authenticate_pings=True)
    job = site.monitor()
    site.get(f"/{job.code}/run")
    site.get(f"/{job.code}/complete?auth_key=wrong")

    heartbeat = site.get(f"/api/v1/heartbeats/{job.id}", X_Api_Key=site.api_key("read-only")).json

    assert heartbeat["droppedPings"] == 2


WRAPS: dict[str, Any] = {
    "cron": "0 22-6 * * *",
    "grace_seconds": 60,
    "declared": '{"cron": "0 22-6 * * *", "grace_seconds": 60}',
}


def test_a_range_that_wraps_and_was_declared_before_goes_on(site: Site, api_key: str) -> None:
    site.monitor(key="job", **WRAPS)

    reply = site.get(
        "/ping/job?schedule=0%2022-6%20*%20*%20*&gracePeriod=90", Authorization=f"Bearer {api_key}"
    )

    (job,) = site.monitors
    assert (reply.status_int, job["cron"], job["grace_seconds"]) == (200, "0 22-6 * * *", 90)


def test_a_range_that_wraps_and_was_synced_before_goes_on(site: Site, api_key: str) -> None:
    site.monitor(key="job", **WRAPS)
    body = {"monitors": [{"key": "job", "schedule": "0 22-6 * * *", "gracePeriod": 90}]}

    reply = site.post("/api/sync", json.dumps(body), Authorization=f"Bearer {api_key}")

    (job,) = site.monitors
    assert (reply.json["updated"], reply.json["errors"]) == (1, [])
    assert (job["cron"], job["grace_seconds"]) == ("0 22-6 * * *", 90)


def test_an_exit_code_behind_the_key_form_is_healthchecks_and_keeps_its_log(
    site: Site, api_key: str
) -> None:
    job = site.monitor()

    site.post(f"/ping/{api_key}/{job.key}/0?metric=rows:3&env=prod", "the output")

    assert site.rows("SELECT content FROM run_log") == [{"content": "the output"}]
    assert site.pings[0]["dialect"] == "healthchecks"


def ping_key(site: Site, rest: str, api_key: str) -> None:
    assert site.get(f"/ping/{rest}", Authorization=f"Bearer {api_key}").status_int == 200


def test_a_declared_schedule_that_changes_reverts_no_edit(site: Site, api_key: str) -> None:
    ping_key(site, "job?schedule=@hourly", api_key)
    site.rows("UPDATE monitor SET cron = '@weekly'")

    ping_key(site, "job?schedule=@daily", api_key)

    assert site.monitors[0]["cron"] == "@weekly"


def test_an_edit_to_what_was_declared_last_lets_declarations_in_again(
    site: Site, api_key: str
) -> None:
    ping_key(site, "job?schedule=@hourly", api_key)
    site.rows("UPDATE monitor SET cron = '@weekly'")
    ping_key(site, "job?schedule=@daily", api_key)
    site.rows("UPDATE monitor SET cron = '@daily'")

    ping_key(site, "job?schedule=@monthly", api_key)

    assert site.monitors[0]["cron"] == "@monthly"


def test_a_monitor_without_a_schedule_takes_a_declared_one(site: Site, api_key: str) -> None:
    ping_key(site, "job?schedule=@hourly", api_key)
    site.rows("UPDATE monitor SET cron = NULL")

    ping_key(site, "job?schedule=@hourly", api_key)
    before = site.monitors[0]["cron"]
    ping_key(site, "job?schedule=@daily", api_key)

    assert (before, site.monitors[0]["cron"]) == (None, "@daily")


def sync_key(site: Site, api_key: str, name: str, schedule: str, grace: int) -> None:
    item = {"key": "backup", "name": name, "schedule": schedule, "gracePeriod": grace}
    body = json.dumps({"monitors": [item]})
    assert site.post("/api/sync", body, Authorization=f"Bearer {api_key}").json["errors"] == []


def test_another_sync_changes_no_field_that_a_person_set(site: Site, api_key: str) -> None:
    sync_key(site, api_key, "Backup", "0 2 * * *", 60)
    site.rows("UPDATE monitor SET cron = '@hourly', grace_seconds = 900, name = 'Mine'")

    sync_key(site, api_key, "Other", "0 4 * * *", 120)

    (job,) = site.monitors
    assert (job["cron"], job["grace_seconds"], job["name"]) == ("@hourly", 900, "Mine")


def test_a_sync_changes_no_monitor_that_a_person_made(site: Site, api_key: str) -> None:
    site.monitor(key="backup", name="Mine", cron="@hourly")

    sync_key(site, api_key, "Backup", "0 2 * * *", 60)
    sync_key(site, api_key, "Other", "0 4 * * *", 120)

    (job,) = site.monitors
    assert (job["cron"], job["grace_seconds"], job["name"]) == ("@hourly", 300, "Mine")

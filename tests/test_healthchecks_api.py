"""Healthchecks' management API: what its transcript does not show, and its own Python client."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import Site
from live_server import environment, serving

import cronwatch

TESTS = Path(__file__).parent
CLIENT = TESTS.parent / "build" / "healthchecks"
CLIENT_NEEDS = "healthchecks-io>=0.4.4,<0.5"  # needs croniter<4, and we a later one: kept apart
CLIENT_SECONDS = 300


class Checks:
    """Somebody who asks for checks with a key that may write."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = site.api_key()

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> webtest.TestResponse:
        text = "" if body is None else json.dumps(body)
        return self.site.send(method, f"/api/v3/{path}", text, {"X-Api-Key": key or self.key})

    def make(self, **body: Any) -> dict[str, Any]:
        reply = self.ask("POST", "checks/", body)
        assert reply.status_int == 201, reply.text
        check: dict[str, Any] = reply.json
        return check

    def names(self, query: str) -> list[str]:
        return [check["name"] for check in self.ask("GET", f"checks/?{query}").json["checks"]]


@pytest.fixture
def checks(site: Site) -> Checks:
    return Checks(site)


def integration(site: Site, name: str, is_default: bool = True) -> str:
    config = {"url": "http://127.0.0.1:9/"}
    return str(site.server.act(cronwatch.create_integration, "webhook", name, config, is_default))


# what is made


def test_a_check_of_which_nothing_is_said_is_expected_once_a_day(checks: Checks) -> None:
    check = checks.make()

    shown = [check[name] for name in ("name", "slug", "timeout", "grace")]
    assert shown == ["Unnamed", "unnamed", 86_400, 3600]


def test_a_schedule_counts_before_a_timeout(checks: Checks) -> None:
    check = checks.make(name="x", timeout=60, schedule="5 4 * * *")

    assert (check["schedule"], check["tz"], "timeout" in check) == ("5 4 * * *", "UTC", False)


def test_a_schedule_and_a_timeout_take_the_place_of_each_other(checks: Checks) -> None:
    uuid = checks.make(name="x", timeout=60)["uuid"]
    changes = [{"timeout": 90, "schedule": "5 4 * * *"}, {"timeout": 90}, {"tz": "Europe/Berlin"}]

    made = [checks.ask("POST", f"checks/{uuid}", change).json for change in changes]

    shown = [(check.get("schedule"), check.get("timeout")) for check in made]
    assert shown == [("5 4 * * *", None), (None, 90), (None, 90)]


def test_what_is_not_known_is_ignored(checks: Checks) -> None:
    assert checks.make(name="x", colour="green")["name"] == "x"


def test_an_empty_name_leaves_the_name_as_it_is(checks: Checks) -> None:
    uuid = checks.make(name="Backup")["uuid"]

    changed = checks.ask("POST", f"checks/{uuid}", {"name": "", "slug": "", "desc": "d"}).json

    assert [changed[name] for name in ("name", "slug", "desc")] == ["Backup", "backup", "d"]


def test_a_slug_that_another_check_has_is_refused(checks: Checks) -> None:
    checks.make(name="x", slug="backup")

    assert checks.ask("POST", "checks/", {"name": "y", "slug": "backup"}).status_int == 409


def test_how_long_it_may_run_is_left_as_it_was(checks: Checks) -> None:
    job = checks.site.monitor(max_run_seconds=90)

    checks.ask("POST", f"checks/{job.token}", {"timeout": 600})

    assert checks.site.monitors[0]["max_run_seconds"] == 90


@pytest.mark.parametrize(
    "unique, body, status",
    [
        (["name"], {"name": "Backup"}, 200),
        (["name", "tags"], {"name": "Backup", "tags": "a  b"}, 200),
        (["slug", "timeout", "grace"], {"slug": "backup", "timeout": 600, "grace": 60}, 200),
        (["name"], {"name": "backup"}, 201),
        (["name", "tags"], {"name": "Backup", "tags": "a"}, 201),
        (["name", "tags"], {"name": "Backup"}, 201),
        (["name"], {"slug": "other"}, 201),
        ([], {"name": "Backup"}, 201),
    ],
)
def test_the_check_that_has_all_that_is_unique_is_changed(
    checks: Checks, unique: list[str], body: dict[str, Any], status: int
) -> None:
    checks.make(name="Backup", tags="a b", timeout=600, grace=60)

    reply = checks.ask("POST", "checks/", {**body, "unique": unique})

    assert (reply.status_int, len(checks.site.monitors)) == (status, status - 199)


# who is told


@pytest.mark.parametrize(
    "channels, names",
    [
        ("*", ["a", "b"]),
        ("", []),
        ("b", ["b"]),
        ("{a},b", ["a", "b"]),
    ],
)
def test_the_integrations_are_named_by_id_by_name_or_all(
    checks: Checks, channels: str, names: list[str]
) -> None:
    ids = {name: integration(checks.site, name, is_default=False) for name in ("a", "b")}

    check = checks.make(name="x", channels=channels.format(**ids))

    assert check["channels"] == ",".join(ids[name] for name in names)


def test_without_a_word_on_channels_the_default_integrations_are_told(checks: Checks) -> None:
    ids = [integration(checks.site, name) for name in ("a", "b")]
    integration(checks.site, "c", is_default=False)

    assert checks.make(name="x")["channels"] == ",".join(ids)


def test_the_integrations_are_its_channels(checks: Checks) -> None:
    hook = integration(checks.site, "Hook")
    config = {"command": "true"}
    run = checks.site.server.act(cronwatch.create_integration, "command", "Run", config)

    channels = checks.ask("GET", "channels/").json["channels"]

    assert channels == [
        {"id": hook, "name": "Hook", "kind": "webhook"},
        {"id": run, "name": "Run", "kind": "shell"},
    ]


# what is shown, and to whom


def test_a_list_is_of_those_with_all_tags_or_with_a_slug(checks: Checks) -> None:
    checks.make(name="x", tags="a b")
    checks.make(name="y", tags="b")

    names = {query: checks.names(query) for query in ("", "tag=b&tag=a", "tag=b", "slug=y")}

    assert names == {"": ["x", "y"], "tag=b&tag=a": ["x"], "tag=b": ["x", "y"], "slug=y": ["y"]}


def test_a_read_only_key_names_a_check_by_half_of_its_uuid_hashed(checks: Checks) -> None:
    uuid = checks.make(name="x")["uuid"]
    key = checks.site.api_key("read-only")
    half = uuid.replace("-", "")[:16]
    unique_key = hashlib.sha1(half.encode()).hexdigest()

    shown = checks.ask("GET", f"checks/{unique_key}", key=key)

    assert shown.json["unique_key"] == unique_key
    assert uuid not in shown.text
    assert checks.ask("GET", f"checks/{unique_key}/flips/", key=key).status_int == 200


def test_a_check_has_the_same_name_by_uuid_id_and_key(checks: Checks) -> None:
    job = checks.site.monitor()

    uuids = [
        checks.ask("GET", f"checks/{name}").json["uuid"] for name in (job.token, job.id, job.key)
    ]

    assert uuids == [job.token] * 3


def test_the_last_duration_is_shown_in_seconds(checks: Checks) -> None:
    job = checks.site.monitor()
    checks.site.post(f"/ping/{job.token}/start")
    checks.site.clock.move(7.9)
    checks.site.post(f"/ping/{job.token}")

    assert checks.ask("GET", f"checks/{job.token}").json["last_duration"] == 7


def test_a_run_that_is_open_in_a_pause_is_not_called_started(checks: Checks) -> None:
    job = checks.site.monitor()
    checks.site.post(f"/ping/{job.token}/start")

    check = checks.ask("POST", f"checks/{job.token}/pause").json

    assert (check["status"], check["started"]) == ("paused", False)


def test_a_check_without_a_schedule_has_no_timeout(checks: Checks) -> None:
    job = checks.site.monitor(interval_seconds=None)

    check = checks.ask("GET", f"checks/{job.token}").json

    assert {"timeout", "schedule"} & set(check) == set()


# badges


def badge_of(checks: Checks, tag: str, form: str) -> Any:
    url = checks.ask("GET", "badges/").json["badges"][tag][form]
    return checks.site.get(url.removeprefix("http://cron.test")).json


def test_a_badge_of_a_tag_counts_its_checks(checks: Checks) -> None:
    checks.site.monitor(tags="db")
    down = checks.site.monitor(tags="db web")
    checks.site.post(f"/ping/{down.token}/fail")
    checks.site.monitor()

    counts = {tag: badge_of(checks, tag, "json3")["total"] for tag in ("*", "db", "web")}

    assert counts == {"*": 3, "db": 2, "web": 1}
    assert badge_of(checks, "db", "shields")["message"] == "down"


def test_what_is_down_is_not_late_too(checks: Checks) -> None:
    job = checks.site.monitor()
    checks.site.post(f"/ping/{job.token}/fail")
    checks.site.clock.move(3601)

    assert badge_of(checks, "*", "json3") == {"status": "down", "total": 1, "grace": 0, "down": 1}


def test_the_address_of_a_badge_stays_the_same(checks: Checks) -> None:
    addresses = [checks.ask("GET", "badges/").json for _ in range(2)]

    assert addresses[0] == addresses[1]


@pytest.mark.parametrize("name", ["*", "db", "", "%C3%A9", "0" * 32])
def test_no_badge_is_found_by_a_name_that_anybody_can_guess(checks: Checks, name: str) -> None:
    checks.site.monitor(tags="db")
    checks.ask("GET", "badges/")

    assert checks.site.get(f"/b/2/{name}.svg").status_int == 404


# its own client, which asks a real server


def client_python() -> Path:
    """A Python of its own that has the client; what it needs cannot stand beside cronwatch."""
    stamp = CLIENT / CLIENT_NEEDS.replace("<", "-").replace(">", "-")
    python = CLIENT / "bin" / "python"
    if not stamp.exists():
        shutil.rmtree(CLIENT, ignore_errors=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        for words in ([sys.executable, "-m", "venv", str(CLIENT)], [*pip, CLIENT_NEEDS]):
            subprocess.run(words, check=True, timeout=CLIENT_SECONDS)
        stamp.touch()
    return python


@pytest.mark.slow
def test_its_python_client_does_all_that_it_can(tmp_path: Path) -> None:
    python = client_python()
    with serving(tmp_path) as live:
        read_only = live.quick("key", "create", "reader", "--permission", "read-only").strip()
        live.ask(
            "POST",
            "/integrations",
            {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/"},
        )
        script = str(TESTS / "healthchecks_client.py")
        done = subprocess.run(
            [str(python), script, live.url, live.key, read_only],
            env={**environment(PYTHONPATH=""), "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "made": ["Backup", "backup", 600, 120, "new", "a b"],
        "made again": ["Backup", 900],
        "with a schedule": "Dump",
        "listed": ["Backup", "Dump"],
        "with two tags": ["Backup"],
        "pings": [[True, "OK"], [True, "OK"], [True, "OK"], [True, "OK"]],
        "ping log": ["fail", "fail", "success", "start"],
        "updated": ["Weekly", "down", "by hand"],
        "paused": "paused",
        "read-only": ["Weekly", None, None],
        "refused": ["HCAPIAuthError", "HCAPIAuthError", "CheckNotFoundError"],
        "wrong": ["BadAPIRequestError", "json validation error: grace is too small"],
        "integrations": [["Hook", "webhook"]],
        "badges": ["*", "a", "b"],
        "deleted": ["Weekly", "Dump"],
    }

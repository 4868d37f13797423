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
from conftest import NOBODY, Site
from live_server import environment, serving

TESTS = Path(__file__).parent
CLIENT = TESTS.parent / "build" / "healthchecks"
CLIENT_NEEDS = "healthchecks-io>=0.4.4,<0.5"  # needs croniter<4, and we a later one: kept apart
CLIENT_SECONDS = 300


def ask(site: Site, path: str, permission: str = "read-write") -> Any:
    """What is shown at a path to a key."""
    reply = site.get(f"/api/v3/{path}", X_Api_Key=site.api_key(permission))
    assert reply.status_int == 200, reply.text
    return reply.json


def test_a_read_only_key_names_a_check_by_half_of_its_uuid_hashed(site: Site) -> None:
    job = site.monitor()
    half = job.token.replace("-", "")[:16]
    unique_key = hashlib.sha1(half.encode()).hexdigest()

    shown = ask(site, f"checks/{unique_key}", "read-only")

    assert shown["unique_key"] == unique_key
    assert job.token not in json.dumps(shown)
    assert ask(site, f"checks/{unique_key}/flips/", "read-only") == {"flips": []}


def test_a_check_without_a_schedule_has_no_timeout(site: Site) -> None:
    job = site.monitor(interval_seconds=None)

    assert {"timeout", "schedule"} & set(ask(site, f"checks/{job.token}")) == set()


# badges


def badge_of(site: Site, tag: str, form: str) -> Any:
    url = ask(site, "badges/")["badges"][tag][form]
    return site.get(url.removeprefix("http://cron.test")).json


def test_a_badge_of_a_tag_counts_its_checks(site: Site) -> None:
    site.monitor(tags="db")
    down = site.monitor(tags="db web")
    site.post(f"/ping/{down.token}/fail")
    site.monitor()

    counts = {tag: badge_of(site, tag, "json3")["total"] for tag in ("*", "db", "web")}

    assert counts == {"*": 3, "db": 2, "web": 1}
    assert badge_of(site, "db", "shields")["message"] == "down"


def test_what_is_down_is_not_late_too(site: Site) -> None:
    site.post(f"/ping/{site.monitor().token}/fail")
    site.clock.move(3601)

    assert badge_of(site, "*", "json3") == {"status": "down", "total": 1, "grace": 0, "down": 1}


def test_the_address_of_a_badge_stays_the_same(site: Site) -> None:
    assert ask(site, "badges/") == ask(site, "badges/")


@pytest.mark.parametrize("name", ["*", "db", "", "%C3%A9", "0" * 32])
def test_no_badge_is_found_by_a_name_that_anybody_can_guess(site: Site, name: str) -> None:
    site.monitor(tags="db")
    ask(site, "badges/")

    assert site.get(f"/b/2/{name}.svg").status_int == 404


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
        live.ask("POST", "/integrations", {"channel": "webhook", "name": "Hook", "url": NOBODY})
        done = subprocess.run(
            [python, TESTS / "healthchecks_client.py", live.url, live.key, read_only],
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

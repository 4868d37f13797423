"""The five services' own curl lines, run by curl with nothing but host and key replaced.

They stand in tables/curl_lines.txt as the pages print them. How each reply reads is in the
transcripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import read_headings
from live_server import Live, Reply, bash, program, serving

RADAR_KEY = "ck_app_12345_abcdef"
PAGES = read_headings("curl_lines")
PINGS = [heading.split(": ") for heading in PAGES if ": " in heading]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("curl")) as server:
        server.quick("key", "create", "radar", "--permission", "ping", "--secret", RADAR_KEY)
        for name in ("../backup.sh", "pg_dump", "aws", "job"):
            program(server.folder, name, "echo done")
        yield server


def send(live: Live, page: str, **parts: str) -> list[Reply]:
    """The replies to a page's lines, with the parts of them that are the reader's own replaced."""
    hosts = ("cronbeats.io", "cron.life", "api.crontify.com", "cronping.com", "cronitor.link")
    own = {f"https://{host}": live.url for host in hosts}
    keys = {"YOUR_API_KEY": RADAR_KEY, "ck_live_...": live.key, "cpk_abc123...": live.key}
    for old, new in {**own, **keys, **parts}.items():
        page = page.replace(old, new)
    return bash(live.folder, page)


@pytest.mark.parametrize("key, kinds", PINGS)
def test_the_lines_of_a_page_ping(live: Live, key: str, kinds: str) -> None:
    code = live.add(key)["code"]

    replies = send(live, PAGES[f"{key}: {kinds}"], abc123de=code, YOUR_KEY=code)

    assert {reply.status for reply in replies} == {200}
    assert " ".join(ping["kind"] for ping in live.pings(key)) == kinds


def test_a_job_of_the_crontify_script_that_works_is_a_success(live: Live) -> None:
    own = {"clxxx...": live.add("tify")["id"], "/path/to/job.py": "-c 'print(1)'"}

    replies = send(live, PAGES["crontify"], **own)

    assert {reply.status for reply in replies} == {200}
    assert [ping["kind"] for ping in live.pings("tify")] == ["start", "success"]


def test_a_failed_job_of_the_crontify_script_is_told_with_its_log(live: Live) -> None:
    replies = send(live, PAGES["crontify"], **{"clxxx...": live.add("tify-bad")["id"]})

    (event,) = live.events("tify-bad")
    assert {reply.status for reply in replies} == {200}
    assert [ping["kind"] for ping in live.pings("tify-bad")] == ["start", "fail"]
    assert event["run"]["message"] == "Job exited with code 2"
    assert "can't open file '/path/to/job.py'" in event["run"]["logTail"]


# -- lines that make or change a monitor


@pytest.mark.parametrize(
    "key, cron, grace, name",
    [
        ("daily-backup", "0 2 * * *", 300, "Daily Backup"),
        ("sync-data", "*/15 * * * *", 60, "Sync Data"),
        ("report-gen", "0 * * * *", 60, "Generate Reports"),
    ],
)
def test_a_cronradar_self_healing_line_makes_its_monitor(
    live: Live, key: str, cron: str, grace: int, name: str
) -> None:
    (reply,) = send(live, PAGES[key])

    made = live.monitor(key)
    assert (reply.status, reply.json["monitor"], made["status"]) == (200, key, "up")
    assert (made["cronExpression"], made["graceSeconds"], made["name"]) == (cron, grace, name)


def test_the_cronping_create_line_makes_a_heartbeat_that_is_pinged(live: Live) -> None:
    (created,) = send(live, PAGES["create"])
    (ping,) = bash(live.folder, f"curl {created.json['pingUrl']}")

    made = live.monitor(created.json["key"])
    assert (created.status, ping.status, made["status"]) == (201, 200, "up")
    assert (made["cronExpression"], made["timezone"]) == ("0 3 * * *", "America/Sao_Paulo")
    # 03:00 in São Paulo is 06:00 UTC; on the page it is the occurrence plus grace.
    assert re.fullmatch(r".{10}T06:10:00\.000Z", ping.json["nextExpectedAt"])


def test_the_cronping_upsert_line_makes_once_and_updates_after(live: Live) -> None:
    replies = [*send(live, PAGES["upsert"]), *send(live, PAGES["upsert"])]

    assert [reply.status for reply in replies] == [201, 200]
    assert len({reply.json["id"] for reply in replies}) == 1


def test_the_cronping_update_line_changes_what_it_names(live: Live) -> None:
    (reply,) = send(live, PAGES["update"], **{"550e8400-...": live.add("ping-update")["id"]})

    assert reply.status == 200
    assert (reply.json["graceSeconds"], reply.json["tags"]) == (600, "prod db critical")

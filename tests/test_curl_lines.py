"""The five services' own curl lines, run by curl with nothing but host and key replaced.

They stand here as the pages print them. How each reply reads is in the transcripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from live_server import Live, Reply, bash, program, serving


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


# -- lines that ping

RADAR_KEY = "ck_app_12345_abcdef"
TOR = (
    "curl -m 5 -G --data-urlencode 'msg=100% of 3 + 4 rows & \"more\"' -d host=db1 "
    "-d series=run-7 -d status_code=0 -d duration=12.5 https://cronitor.link/abc123de/complete"
)
TYPE = ' -H "Content-Type: application/json" -d '
BEAT_BACKUP = f"""#!/bin/bash
PING_URL="https://cronbeats.io/ping/YOUR_KEY"
curl -sS -X POST $PING_URL/start
curl -sS -X POST "$PING_URL/progress/10"{TYPE}'{{"message":"Starting backup"}}'
pg_dump -U user mydb > backup.sql
curl -sS -X POST "$PING_URL/progress/40"{TYPE}'{{"message":"Database dump complete"}}'
gzip -f backup.sql
curl -sS -X POST "$PING_URL/progress/70"{TYPE}'{{"message":"Compression complete"}}'
aws s3 cp backup.sql.gz s3://my-bucket/
curl -sS -X POST "$PING_URL/progress/90"{TYPE}'{{"message":"Upload complete"}}'
curl -sS -X POST "$PING_URL/progress/100"{TYPE}'{{"message":"Done"}}'
curl -sS -X POST $PING_URL/end/success
"""


CRONTIFY_SCRIPT = r"""#!/bin/bash

API_KEY="ck_live_..."
MONITOR_ID="clxxx..."
BASE_URL="https://api.crontify.com/api/v1"

# Signal start
curl -s -X POST "$BASE_URL/ping/$MONITOR_ID/start" \
-H "X-API-Key: $API_KEY"

# Run the job and capture output
JOB_OUTPUT=$(python3 /path/to/job.py 2>&1)
EXIT_CODE=$?

if [ $EXIT_CODE -eq 0 ]; then
# Signal success with metadata
curl -s -X POST "$BASE_URL/ping/$MONITOR_ID/success" \
-H "X-API-Key: $API_KEY" \
-H "Content-Type: application/json" \
-d "{\"meta\": {\"exit_code\": 0}}"
else
# Signal failure with log output
ESCAPED_OUTPUT=$(echo "$JOB_OUTPUT" | python3 -c "import json,sys; print(json.dumps(sys.stdin.read()))")
curl -s -X POST "$BASE_URL/ping/$MONITOR_ID/fail" \
-H "X-API-Key: $API_KEY" \
-H "Content-Type: application/json" \
-d "{\"errorMessage\": \"Job exited with code $EXIT_CODE\", \"logOutput\": $ESCAPED_OUTPUT}"
fi
"""  # noqa: E501 - as the page prints it


RUN = ["start", "success"]
PAGES = {
    "beat": ("curl -X POST https://cronbeats.io/ping/abc123de", ["success"]),
    "beat-start": ("curl -X POST https://cronbeats.io/ping/abc123de/start", ["start"]),
    "beat-good": ("curl -X POST https://cronbeats.io/ping/abc123de/end/success", ["success"]),
    "beat-bad": ("curl -X POST https://cronbeats.io/ping/abc123de/end/fail", ["fail"]),
    "beat-one": (
        "curl -sS -X POST https://cronbeats.io/ping/YOUR_KEY/start && ./backup.sh > log"
        " && curl -sS -X POST https://cronbeats.io/ping/YOUR_KEY/end/success",
        RUN,
    ),
    "beat-backup": (BEAT_BACKUP, ["start", *["progress"] * 5, "success"]),
    "radar": ("curl -u ck_app_12345_abcdef: https://cron.life/ping/radar", ["success"]),
    "radar-post": (
        "curl -X POST -u ck_app_12345_abcdef: https://cron.life/ping/radar-post",
        ["success"],
    ),
    "tor": (TOR, ["success"]),
    "tify": (CRONTIFY_SCRIPT.replace("/path/to/job.py", "-c 'print(1)'"), RUN),
    "tify-bad": (CRONTIFY_SCRIPT, ["start", "fail"]),
}


@pytest.mark.parametrize("key", PAGES)
def test_the_lines_of_a_page_ping(live: Live, key: str) -> None:
    made, (page, kinds) = live.add(key), PAGES[key]
    own = {"abc123de": made["code"], "YOUR_KEY": made["code"], "clxxx...": made["id"]}

    replies = send(live, page, **own)

    assert {reply.status for reply in replies} == {200}
    assert [ping["kind"] for ping in live.pings(key)] == kinds


def test_a_failed_job_of_the_crontify_script_is_told_with_its_log(live: Live) -> None:
    send(live, CRONTIFY_SCRIPT, **{"clxxx...": live.add("tify-log")["id"]})

    (event,) = live.events("tify-log")
    assert event["run"]["message"] == "Job exited with code 2"
    assert "can't open file '/path/to/job.py'" in event["run"]["logTail"]


# -- lines that make or change a monitor

RADAR_DAILY = r"""
# Daily at 2 AM with 5-minute grace period
curl -u YOUR_API_KEY: \
'https://cron.life/ping/daily-backup?schedule=0%202%20*%20*%20*&gracePeriod=300'
"""
RADAR_QUARTER = r"""
# Every 15 minutes with default 60s grace period
curl -u YOUR_API_KEY: \
'https://cron.life/ping/sync-data?schedule=*/15%20*%20*%20*%20*'
"""
RADAR_NAMED = r"""
# Hourly with custom name
curl -u YOUR_API_KEY: \
'https://cron.life/ping/report-gen?schedule=0%20*%20*%20*%20*&name=Generate%20Reports'
"""


@pytest.mark.parametrize(
    "line, key, cron, grace, name",
    [
        (RADAR_DAILY, "daily-backup", "0 2 * * *", 300, "Daily Backup"),
        (RADAR_QUARTER, "sync-data", "*/15 * * * *", 60, "Sync Data"),
        (RADAR_NAMED, "report-gen", "0 * * * *", 60, "Generate Reports"),
    ],
)
def test_a_cronradar_self_healing_line_makes_its_monitor(
    live: Live, line: str, key: str, cron: str, grace: int, name: str
) -> None:
    (reply,) = send(live, line)

    made = live.monitor(key)
    assert (reply.status, reply.json["monitor"], made["status"]) == (200, key, "up")
    assert (made["cronExpression"], made["graceSeconds"], made["name"]) == (cron, grace, name)


CRONPING_CREATE = r"""
curl -X POST https://cronping.com/api/v1/heartbeats \
-H "X-Api-Key: cpk_abc123..." \
-H "Content-Type: application/json" \
-d '{
"name": "Daily DB Backup",
"scheduleType": "cron",
"cronExpression": "0 3 * * *",
"timezone": "America/Sao_Paulo",
"graceSeconds": 600
}'
"""
CRONPING_UPSERT = r"""
curl -X POST https://cronping.com/api/v1/heartbeats \
-H "X-Api-Key: cpk_abc123..." \
-H "Content-Type: application/json" \
-d '{
"name": "worker-node-1",
"unique": "worker-node-1",
"intervalSeconds": 300,
"graceSeconds": 60
}'
"""
CRONPING_UPDATE = r"""
curl -X PATCH https://cronping.com/api/v1/heartbeats/550e8400-... \
-H "X-Api-Key: cpk_abc123..." \
-H "Content-Type: application/json" \
-d '{"graceSeconds": 600, "tags": "prod db critical"}'
"""


def test_the_cronping_create_line_makes_a_heartbeat_that_is_pinged(live: Live) -> None:
    (created,) = send(live, CRONPING_CREATE)
    (ping,) = bash(live.folder, f"curl {created.json['pingUrl']}")

    made = live.monitor(created.json["key"])
    assert (created.status, ping.status, made["status"]) == (201, 200, "up")
    assert (made["cronExpression"], made["timezone"]) == ("0 3 * * *", "America/Sao_Paulo")
    # 03:00 in São Paulo is 06:00 UTC; on the page it is the occurrence plus grace.
    assert re.fullmatch(r".{10}T06:10:00\.000Z", ping.json["nextExpectedAt"])


def test_the_cronping_upsert_line_makes_once_and_updates_after(live: Live) -> None:
    replies = [*send(live, CRONPING_UPSERT), *send(live, CRONPING_UPSERT)]

    assert [reply.status for reply in replies] == [201, 200]
    assert len({reply.json["id"] for reply in replies}) == 1


def test_the_cronping_update_line_changes_what_it_names(live: Live) -> None:
    (reply,) = send(live, CRONPING_UPDATE, **{"550e8400-...": live.add("ping-update")["id"]})

    assert reply.status == 200
    assert (reply.json["graceSeconds"], reply.json["tags"]) == (600, "prod db critical")

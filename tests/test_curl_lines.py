"""The five services' own curl lines, run by curl with nothing but host and key replaced.

They stand here as the pages print them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from live_server import Live, Reply, bash, program, serving

PLAIN_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
SECONDS_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
MILLIS_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("curl")) as server:
        yield server


def swap(page: str, **parts: str) -> str:
    """A page's line with parts of it replaced, each of which must be there."""
    for old, new in parts.items():
        assert old in page
        page = page.replace(old, new)
    return page


def kinds(live: Live, key: str) -> list[str]:
    return [ping["kind"] for ping in live.pings(key)]


# -- CronBeats

CRONBEATS = "https://cronbeats.io"
BEAT = "curl -X POST https://cronbeats.io/ping/abc123de"
BEAT_START = "curl -X POST https://cronbeats.io/ping/abc123de/start"
BEAT_END = """\
# On success
curl -X POST https://cronbeats.io/ping/abc123de/end/success

# On failure
curl -X POST https://cronbeats.io/ping/abc123de/end/fail
"""
BEAT_ONE_COMMAND = (
    "curl -sS -X POST https://cronbeats.io/ping/YOUR_KEY/start && ./backup.sh"
    " && curl -sS -X POST https://cronbeats.io/ping/YOUR_KEY/end/success"
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


def cronbeats(live: Live, page: str, code: str) -> list[Reply]:
    old = "abc123de" if "abc123de" in page else "YOUR_KEY"
    return bash(live.folder, swap(page, **{CRONBEATS: live.url, old: code}))


def actions(replies: list[Reply]) -> list[str]:
    assert {(reply.status, reply.json["status"]) for reply in replies} == {(200, "success")}
    return [reply.json["action"] for reply in replies]


def progress(live: Live, key: str) -> list[tuple[int, str]]:
    return [
        (ping["percent"], ping["message"])
        for ping in live.pings(key)
        if ping["kind"] == "progress"
    ]


def test_a_cronbeats_heartbeat_is_answered_as_its_sdks_read_it(live: Live) -> None:
    code = live.add("beat")["code"]

    (reply,) = cronbeats(live, BEAT, code)

    said = reply.json
    assert re.fullmatch(PLAIN_TIME, said.pop("timestamp"))
    assert re.fullmatch(PLAIN_TIME, said.pop("next_expected"))
    assert said.pop("processing_time_ms") >= 0
    assert (reply.status, said) == (
        200,
        {"status": "success", "message": "OK", "action": "ping", "job_key": code},
    )
    assert (live.monitor("beat")["status"], kinds(live, "beat")) == ("up", ["success"])


def test_cronbeats_start_and_end_lines_are_one_run_and_a_failed_end_is_down(live: Live) -> None:
    code = live.add("beat-ends")["code"]

    replies = cronbeats(live, BEAT_START, code) + cronbeats(live, BEAT_END, code)

    first, failed = live.runs("beat-ends")
    assert actions(replies) == ["start", "end", "end"]
    assert (first["state"], first["opened"]) == ("success", 1)
    assert first["duration_ms"] == first["ended_at"] - first["started_at"]
    assert failed["state"] == "failed"
    assert live.monitor("beat-ends")["downReason"] == "failed"


@pytest.mark.parametrize("code, state", [("exit 0", "success"), ("exit 3", "running")])
def test_the_cronbeats_one_command_ends_its_run_only_after_a_good_job(
    live: Live, code: str, state: str
) -> None:
    key = f"beat-one-{state}"
    program(live.folder, "../backup.sh", code)

    cronbeats(live, BEAT_ONE_COMMAND, live.add(key)["code"])

    (only,) = live.runs(key)
    assert only["state"] == state


def test_the_cronbeats_backup_example_runs_as_it_stands(live: Live) -> None:
    program(live.folder, "pg_dump", "echo 'CREATE TABLE t (i int);'")
    program(live.folder, "aws")

    replies = cronbeats(live, BEAT_BACKUP, live.add("beat-backup")["code"])

    assert actions(replies) == ["start", *["progress"] * 5, "end"]
    assert progress(live, "beat-backup") == [
        (10, "Starting backup"),
        (40, "Database dump complete"),
        (70, "Compression complete"),
        (90, "Upload complete"),
        (100, "Done"),
    ]
    assert [run["state"] for run in live.runs("beat-backup")] == ["success"]


# -- CronRadar: its pages' key is adopted, so that only the host differs

CRONRADAR = "https://cron.life"
RADAR_KEY = "ck_app_12345_abcdef"
RADAR_GET = """\
# GET request (simplest)
curl -u ck_app_12345_abcdef: https://cron.life/ping/daily-backup
"""
RADAR_POST = """\
# POST request
curl -X POST -u ck_app_12345_abcdef: https://cron.life/ping/daily-backup
"""
RADAR_CRONTAB = "/path/to/backup.sh && curl -u YOUR_API_KEY: https://cron.life/ping/backup"
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


@pytest.fixture(scope="module")
def radar_key(live: Live) -> str:
    return live.quick("key", "create", "radar", "--permission", "ping", "--secret", RADAR_KEY)


def cronradar(live: Live, page: str, **parts: str) -> Reply:
    old = {"YOUR_API_KEY": RADAR_KEY} if "YOUR_API_KEY" in page else {}
    (reply,) = bash(live.folder, swap(page, **{CRONRADAR: live.url}, **old, **parts))
    return reply


@pytest.mark.usefixtures("radar_key")
@pytest.mark.parametrize("line", [RADAR_GET, RADAR_POST])
def test_the_cronradar_ping_lines_are_answered_as_its_page_says(live: Live, line: str) -> None:
    cronradar(live, RADAR_DAILY)

    reply = cronradar(live, line)

    said = reply.json
    assert re.fullmatch(SECONDS_TIME, said.pop("pingedAt"))
    assert (reply.status, said) == (200, {"status": "ok", "monitor": "daily-backup"})


@pytest.mark.usefixtures("radar_key")
def test_the_cronradar_crontab_line_pings_after_a_good_script(live: Live) -> None:
    live.add("backup")
    job = program(live.folder, "radar-backup")

    reply = cronradar(live, RADAR_CRONTAB, **{"/path/to/backup.sh": str(job)})

    assert (reply.status, kinds(live, "backup")) == (200, ["success"])


@pytest.mark.usefixtures("radar_key")
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
    reply = cronradar(live, line)

    made = live.monitor(key)
    assert (reply.status, reply.json["monitor"]) == (200, key)
    assert (made["cronExpression"], made["graceSeconds"], made["name"]) == (cron, grace, name)
    assert made["status"] == "up"


# -- Cronitor: of its page's curl line only `curl -m 5` is left

CRONITOR = "curl -m 5"


def test_the_cronitor_parameters_are_kept_with_the_ping(live: Live) -> None:
    url = f"{live.url}/{live.add('tor-params')['code']}/complete"

    bash(
        live.folder,
        f"{CRONITOR} -G --data-urlencode 'msg=100% of 3 + 4 rows & \"more\"' "
        f"-d host=db1 -d series=run-7 -d status_code=0 -d duration=12.5 {url}",
    )

    (only,) = live.pings("tor-params")
    assert (only["message"], only["host"], only["series"]) == (
        '100% of 3 + 4 rows & "more"',
        "db1",
        "run-7",
    )
    assert (only["exit_code"], only["duration_ms"]) == (0, 12500)


# -- Crontify

CRONTIFY = "https://api.crontify.com"
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


def crontify(live: Live, id_: str, key: str = "", **parts: str) -> list[Reply]:
    return bash(
        live.folder,
        swap(
            CRONTIFY_SCRIPT,
            **{CRONTIFY: live.url, "ck_live_...": key or live.key, "clxxx...": id_, **parts},
        ),
    )


def received(reply: Reply) -> dict[str, Any]:
    said: dict[str, Any] = reply.json
    assert (reply.status, said["success"], said["data"]["received"]) == (200, True, True)
    assert re.fullmatch(MILLIS_TIME, said["data"]["timestamp"])
    return {name: said["data"][name] for name in ("monitorId", "runId", "status")}


def test_the_crontify_script_reports_a_good_job(live: Live) -> None:
    id_ = live.add("tify-good")["id"]
    job = live.folder / "job.py"
    job.write_text("print('1523 rows')\n")

    start, end = map(received, crontify(live, id_, **{"/path/to/job.py": str(job)}))

    (only,) = live.runs("tify-good")
    assert start == {"monitorId": id_, "runId": end["runId"], "status": "running"}
    assert (end["status"], only["state"], only["exit_code"]) == ("success", "success", 0)


def test_the_crontify_script_reports_a_failed_job_with_its_log(live: Live) -> None:
    id_ = live.add("tify-failed")["id"]

    start, end = map(received, crontify(live, id_))

    (event,) = live.events("tify-failed")
    assert end == {"monitorId": id_, "runId": start["runId"], "status": "failed"}
    assert event["run"]["message"] == "Job exited with code 2"
    assert "can't open file '/path/to/job.py'" in event["run"]["logTail"]


# -- Cronping

CRONPING = "https://cronping.com"
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
PAGE_FIELDS = [
    "id",
    "name",
    "status",
    "paused",
    "scheduleType",
    "intervalSeconds",
    "cronExpression",
    "timezone",
    "graceSeconds",
    "tags",
    "emailAlertsEnabled",
    "reminderIntervalSeconds",
    "lastPingAt",
    "nextExpectedAt",
    "token",
    "pingUrl",
    "createdAt",
    "updatedAt",
]


def cronping(live: Live, page: str, **parts: str) -> Reply:
    (reply,) = bash(
        live.folder, swap(page, **{CRONPING: live.url, "cpk_abc123...": live.key}, **parts)
    )
    return reply


def test_the_cronping_create_line_answers_the_whole_heartbeat(live: Live) -> None:
    reply = cronping(live, CRONPING_CREATE)

    shown = reply.json
    assert (reply.status, set(PAGE_FIELDS) - set(shown)) == (201, set())
    assert {
        name: shown[name]
        for name in (
            "name",
            "scheduleType",
            "cronExpression",
            "timezone",
            "graceSeconds",
            "status",
            "paused",
        )
    } == {
        "name": "Daily DB Backup",
        "scheduleType": "cron",
        "cronExpression": "0 3 * * *",
        "timezone": "America/Sao_Paulo",
        "graceSeconds": 600,
        "status": "new",
        "paused": False,
    }


def test_the_ping_url_of_a_created_heartbeat_is_pinged_as_it_is(live: Live) -> None:
    made = cronping(live, CRONPING_CREATE).json

    (reply,) = bash(live.folder, f"curl {made['pingUrl']}")

    assert made["pingUrl"] == f"{live.url}/{made['token']}"
    assert (reply.status, reply.json["ok"], reply.json["status"]) == (200, True, "up")
    # 03:00 in São Paulo is 06:00 UTC; on the page it is the occurrence plus grace.
    assert re.fullmatch(r".{10}T06:10:00\.000Z", reply.json["nextExpectedAt"])


def test_the_cronping_upsert_line_makes_once_and_updates_after(live: Live) -> None:
    first, second = cronping(live, CRONPING_UPSERT), cronping(live, CRONPING_UPSERT)

    assert (first.status, second.status) == (201, 200)
    assert first.json["id"] == second.json["id"]


def test_the_cronping_update_line_changes_what_it_names(live: Live) -> None:
    id_ = live.add("ping-update")["id"]

    reply = cronping(live, CRONPING_UPDATE, **{"550e8400-...": id_})

    assert reply.status == 200
    assert (reply.json["graceSeconds"], reply.json["tags"]) == (600, "prod db critical")

"""The vendors' own clients, as their users install them, with nothing but the host changed."""

from __future__ import annotations

import re
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cronitor
import cronradar
import pytest
import sentry_sdk
from cronbeats_python import ApiError, PingClient
from cronbeats_python.http import HttpResponse, UrllibHttpClient
from live_server import LIMIT_SECONDS, Live, bash, in_thread, serving, wait_for
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

CRONITOR_HOST = "https://cronitor.link"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("clients"), "--timezone", "Europe/Berlin") as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


def kinds(live: Live, key: str) -> list[str]:
    return [ping["kind"] for ping in live.pings(key)]


# -- CronBeats


class Counting(UrllibHttpClient):
    """The SDK's own HTTP client, which remembers what it was answered (0: nothing)."""

    def __init__(self) -> None:
        self.answers: list[int] = []

    def request(self, *given: Any) -> HttpResponse:
        self.answers.append(0)
        reply = super().request(*given)
        self.answers[-1] = reply.status
        return reply


def cronbeats(url: str, code: str, **options: Any) -> PingClient:
    return PingClient(code, {"base_url": url, "retry_backoff_ms": 20, **options})


def test_the_cronbeats_client_pings(live: Live) -> None:
    code = live.add("beat")["code"]

    said = cronbeats(live.url, code).ping()

    assert (said["ok"], said["action"], said["jobKey"]) == (True, "ping", code)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said["timestamp"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said["nextExpected"])
    assert kinds(live, "beat") == ["success"]


def test_the_cronbeats_client_follows_a_run_with_its_progress(live: Live) -> None:
    client = cronbeats(live.url, live.add("beat-run")["code"])

    said = [
        client.start(),
        client.progress(40, "half way"),
        client.progress(None, "tidying up"),
        client.progress({"seq": 100, "message": "x" * 300}),
        client.success(),
    ]

    (only,) = live.runs("beat-run")
    assert [one["action"] for one in said] == ["start", *["progress"] * 3, "end"]
    assert [(ping["percent"], ping["message"]) for ping in live.pings("beat-run")[1:4]] == [
        (40, "half way"),
        (None, "tidying up"),
        (100, "x" * 255),
    ]
    assert (only["state"], only["duration_ms"]) == (
        "success",
        only["ended_at"] - only["started_at"],
    )


def test_the_cronbeats_client_reports_a_failure(live: Live) -> None:
    client = cronbeats(live.url, live.add("beat-fail")["code"])

    client.start()
    client.fail()

    assert live.monitor("beat-fail")["downReason"] == "failed"
    assert [e["kind"] for e in live.events("beat-fail")] == ["failed"]


def test_the_cronbeats_client_maps_an_unknown_job_to_not_found_and_sends_once(live: Live) -> None:
    http = Counting()

    with pytest.raises(ApiError, match="Job not found or disabled") as error:
        cronbeats(live.url, "zzzzzzzz", http_client=http).ping()

    assert (error.value.code, error.value.retryable, http.answers) == ("NOT_FOUND", False, [404])


def test_the_cronbeats_client_maps_a_percentage_over_100_to_a_validation_error(live: Live) -> None:
    client = cronbeats(live.url, live.add("beat-101")["code"])

    with pytest.raises(ApiError) as error:
        client.progress(101, "too much")

    assert (error.value.code, error.value.http_status) == ("VALIDATION_ERROR", 400)
    assert kinds(live, "beat-101") == []


def test_the_cronbeats_client_sends_again_while_the_disk_is_full_and_is_heard_after(
    tmp_path: Path,
) -> None:
    http = Counting()
    with serving(tmp_path) as live:
        client = cronbeats(live.url, live.add("job")["code"], http_client=http)
        no_limit = resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE)

        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (0, no_limit[1]))
        with pytest.raises(ApiError) as error:
            client.ping()
        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, no_limit)
        client.ping()

        assert (error.value.code, error.value.http_status) == ("SERVER_ERROR", 503)
        assert (http.answers, kinds(live, "job")) == ([503, 503, 503, 200], ["success"])


def test_the_cronbeats_client_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    http, said = Counting(), []
    with serving(tmp_path) as live:
        url, code = live.url, live.add("job")["code"]
    client = cronbeats(url, code, http_client=http, max_retries=100, retry_backoff_ms=0)

    with in_thread(lambda: said.append(client.ping())):
        wait_for(lambda: http.answers, "the first try")
        with serving(tmp_path, listen=url.removeprefix("http://")) as live:
            wait_for(lambda: said, "a ping that is heard")

            assert http.answers[0] == 0
            assert kinds(live, "job") == ["success"]


# -- CronRadar: its key is in the environment, its host a constant


@pytest.fixture
def radar(live: Live, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CRONRADAR_API_KEY", live.key)
    monkeypatch.setattr(cronradar, "BASE_URL", live.url)
    return cronradar


def test_the_cronradar_client_registers_an_unknown_monitor_and_pings_it(
    live: Live, radar: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    radar.monitor("nightly-report", "30 2 * * *")

    made = live.monitor("nightly-report")
    assert "'nightly-report' synced successfully" in capsys.readouterr().err
    assert (made["cronExpression"], made["graceSeconds"], made["name"], made["timezone"]) == (
        "30 2 * * *",
        60,
        "Nightly Report",
        "Europe/Berlin",
    )
    assert (made["status"], kinds(live, "nightly-report")) == ("up", ["success"])


def test_the_cronradar_client_registers_a_monitor_once(
    live: Live, radar: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    radar.monitor("radar-once", "@daily")
    capsys.readouterr()

    radar.monitor("radar-once", "@daily")

    assert capsys.readouterr().err == ""
    assert kinds(live, "radar-once") == ["success", "success"]


def test_the_cronradar_client_makes_no_monitor_without_a_schedule(live: Live, radar: Any) -> None:
    radar.monitor("radar-nobody")
    radar.start_job("radar-nobody")
    radar.complete_job("radar-nobody")

    assert live.monitor("radar-nobody") == {}


def test_the_cronradar_client_makes_no_monitor_with_a_wrong_key(
    live: Live, radar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRONRADAR_API_KEY", "ck_app_wrong")

    radar.monitor("radar-wrong", "@daily")
    radar.start_job("radar-wrong", "@daily")

    assert live.monitor("radar-wrong") == {}


def test_the_cronradar_client_registers_by_a_start_with_a_schedule(live: Live, radar: Any) -> None:
    radar.start_job("radar-start", "*/15 * * * *")

    made, (only,) = live.monitor("radar-start"), live.runs("radar-start")
    assert (made["cronExpression"], made["graceSeconds"]) == ("*/15 * * * *", 60)
    assert (made["status"], only["state"]) == ("up", "running")


def test_the_cronradar_job_is_one_run(live: Live, radar: Any) -> None:
    with radar.job("radar-job", "@hourly"):
        pass

    (only,) = live.runs("radar-job")
    assert kinds(live, "radar-job") == ["start", "success"]
    assert (only["state"], only["opened"]) == ("success", 1)


def test_a_failing_cronradar_job_raises_on_and_is_down_with_its_message(
    live: Live, radar: Any
) -> None:
    with pytest.raises(OSError, match="disk"), radar.job("radar-failing", "@hourly"):
        raise OSError("disk is full: 100% of /var")

    (event,) = live.events("radar-failing")
    assert (event["kind"], event["run"]["message"]) == ("failed", "disk is full: 100% of /var")
    assert live.monitor("radar-failing")["status"] == "down"


@pytest.mark.parametrize("key", ["reports/weekly", "täglich um 3", "a%2Fb", "x" * 200, "My.Job"])
def test_a_cronradar_key_may_be_any_text(live: Live, radar: Any, key: str) -> None:
    radar.monitor(key, "@weekly")

    assert (live.monitor(key)["status"], kinds(live, key)) == ("up", ["success"])


def test_the_cronradar_client_declares_all_its_monitors_at_once(
    live: Live, radar: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    radar.sync_monitors(
        [
            {"key": "sync-a", "schedule": "@daily", "grace_period": 900},
            {"key": "sync-b", "schedule": "0 0 2 * * *"},
        ],
        source="apscheduler",
    )

    first, second = live.monitor("sync-a"), live.monitor("sync-b")
    assert "Reconciled 2 monitor(s)" in capsys.readouterr().err
    assert (first["graceSeconds"], second["graceSeconds"]) == (900, 60)
    assert (first["status"], second["status"]) == ("new", "new")


def test_an_empty_declaration_of_the_cronradar_client_deletes_nothing(
    live: Live, radar: Any
) -> None:
    radar.sync_monitors([{"key": "sync-kept", "schedule": "@daily"}], source="celery")

    radar.sync_monitors([], source="celery")

    assert live.monitor("sync-kept")["status"] == "new"


# -- Cronitor: its host is in its code; a transport adapter sends it here


class Elsewhere(HTTPAdapter):
    """Sends what is meant for cronitor.link to another host, with the client's own retries."""

    def __init__(self, url: str, retries: Any) -> None:
        super().__init__(max_retries=retries)
        self.url = url

    def send(self, request: PreparedRequest, *given: Any, **more: Any) -> Response:
        request.url = f"{self.url}{(request.url or '').removeprefix(CRONITOR_HOST)}"
        return super().send(request, *given, **more)


@pytest.fixture
def tor(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    session = cronitor.Monitor._req
    monkeypatch.setattr(cronitor, "api_key", live.key)
    retries = session.get_adapter(CRONITOR_HOST).max_retries
    session.mount(CRONITOR_HOST, Elsewhere(live.url, retries))
    yield cronitor
    session.adapters.pop(CRONITOR_HOST).close()


@pytest.mark.parametrize(
    "state, kind",
    [("run", "start"), ("complete", "success"), ("fail", "fail"), ("ok", "ok"), (None, "success")],
)
def test_each_state_of_the_cronitor_client_is_heard(
    live: Live, tor: Any, state: str | None, kind: str
) -> None:
    key = f"tor-{state}"

    reply = tor.Monitor(key).ping(state=state, message="all 100% & well", host="db1", env="prod")

    (only,) = live.pings(key)
    assert (reply.status_code, reply.text) == (200, "OK")
    assert (only["kind"], only["message"], only["host"]) == (kind, "all 100% & well", "db1")


def test_the_cronitor_client_makes_an_unknown_monitor_by_pinging_it(live: Live, tor: Any) -> None:
    tor.Monitor("billing.tasks.send_invoices").ping(state="complete")

    assert live.monitor("billing.tasks.send_invoices")["status"] == "up"


def test_the_cronitor_client_makes_no_monitor_with_a_wrong_key(live: Live, tor: Any) -> None:
    tor.Monitor("tor-wrong", api_key="nobody").ping(state="complete")

    assert live.monitor("tor-wrong") == {}


def test_the_cronitor_clients_ok_resets_a_failed_monitor_in_silence(live: Live, tor: Any) -> None:
    monitor = tor.Monitor("tor-reset")

    monitor.ping(state="fail", message="first")
    monitor.ok()

    assert live.monitor("tor-reset")["status"] == "up"
    assert [e["kind"] for e in live.events("tor-reset")] == ["failed"]


def test_a_cronitor_job_is_one_run_with_its_result_and_its_duration(live: Live, tor: Any) -> None:
    @tor.job("tor-job")
    def work() -> str:
        return "42 rows"

    work()

    (start, end), (only,) = live.pings("tor-job"), live.runs("tor-job")
    assert (start["kind"], end["kind"], end["message"]) == ("start", "success", "42 rows")
    assert start["series"] == end["series"]
    assert (only["state"], only["opened"]) == ("success", 1)
    assert only["duration_ms"] is not None


def test_a_failing_cronitor_job_raises_on_and_is_down_with_its_message(
    live: Live, tor: Any
) -> None:
    @tor.job("tor-failing")
    def work() -> None:
        raise LookupError("no such table: t")

    with pytest.raises(LookupError):
        work()

    (event,) = live.events("tor-failing")
    assert (event["kind"], event["run"]["message"]) == ("failed", "no such table: t")


def test_a_cronitor_job_may_return_far_more_than_a_message_holds(live: Live, tor: Any) -> None:
    @tor.job("tor-long")
    def work() -> str:
        return "ä" * 8000

    work()

    _, end = live.pings("tor-long")
    assert end["message"] == "ä" * 1000


def test_cronitor_series_keep_overlapping_runs_apart(live: Live, tor: Any) -> None:
    monitor = tor.Monitor("tor-series")

    monitor.ping(state="run", series="a")
    monitor.ping(state="run", series="b")
    monitor.ping(state="fail", series="a")

    assert [(run["series"], run["state"]) for run in live.runs("tor-series")] == [
        ("a", "failed"),
        ("b", "running"),
    ]


def test_cronitor_metrics_are_kept_and_seen_by_the_rules(live: Live, tor: Any) -> None:
    rule = {"field": "count", "operator": "lt", "value": 10}
    live.add("tor-metrics", rules=[rule])

    tor.Monitor("tor-metrics").ping(
        state="complete", metrics={"count": 5, "error_count": 0, "duration": 12.5}
    )

    (event,) = live.events("tor-metrics")
    assert (event["kind"], event["rules"]) == ("silent_failure", [rule])
    assert event["run"]["durationMs"] == 12500


def test_many_threads_with_cronitor_jobs_are_all_heard(live: Live, tor: Any) -> None:
    @tor.job("tor-threads")
    def work() -> None: ...

    threads = [threading.Thread(target=work) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [run["state"] for run in live.runs("tor-threads")] == ["success"] * 8


# -- scripts that keep the handle and the key of their old service: only the host is another


@pytest.mark.parametrize(
    "service, handle, lines, heard",
    [
        (
            "cronbeats",
            "aB3dE6gH",
            "-X POST {url}/ping/{handle}/start\n-X POST {url}/ping/{handle}/end/success",
            ["start", "success"],
        ),
        (
            "cronitor",
            "d3x0c1",
            "{url}/{handle}/run\n{url}/{handle}/complete",
            ["start", "success"],
        ),
        ("cronitor", "h8Kd2Q", "{url}/{handle}", ["start"]),
        ("cronping", "abc123def456", "{url}/{handle}/start\n{url}/{handle}", ["start", "success"]),
        (
            "crontify",
            "clx4k2p9d0000abcd",
            "-X POST -H 'X-API-Key: {key}' {url}/api/v1/ping/{handle}/start",
            ["start"],
        ),
        (
            "healthchecks",
            "5f0e3c62-6a1b-4a1e-9a55-2c4f1f6f0d11",
            "{url}/ping/{handle}/start\n{url}/ping/{handle}/0",
            ["start", "success"],
        ),
        ("kuma", "pUsHtOkEn1", "'{url}/api/push/{handle}?status=up&msg=OK&ping='", ["success"]),
    ],
)
def test_a_script_keeps_the_handle_of_its_old_service(
    live: Live, service: str, handle: str, lines: str, heard: list[str]
) -> None:
    key = f"adopted-{service}-{len(lines)}"
    live.quick("monitor", "add", key, "--cron", "0 3 * * *", "--handle", f"{service}:{handle}")
    script = lines.format(url=live.url, handle=handle, key=live.key)

    replies = bash(live.folder, "\n".join(f"curl {line}" for line in script.splitlines()))

    assert {reply.status for reply in replies} == {200}
    assert kinds(live, key) == heard


def test_a_cronradar_script_keeps_the_key_of_its_old_service(
    live: Live, radar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.quick("key", "create", "old radar", "--permission", "ping", "--secret", "ck_app_9_old")
    monkeypatch.setenv("CRONRADAR_API_KEY", "ck_app_9_old")

    with radar.job("adopted-radar", "0 4 * * *"):
        pass

    assert kinds(live, "adopted-radar") == ["start", "success"]


def test_a_cronitor_script_keeps_the_key_of_its_old_service(
    live: Live, tor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "0f3a91c2d4e5b6a79808f7e6d5c4b3a2"
    live.quick("key", "create", "old cronitor", "--permission", "ping", "--secret", old)
    monkeypatch.setattr(tor, "api_key", old)

    tor.Monitor("adopted-tor").ping(state="complete")

    assert kinds(live, "adopted-tor") == ["success"]


def test_a_cronbeats_script_keeps_the_code_of_its_old_service(live: Live) -> None:
    live.quick("monitor", "add", "adopted-beat", "--handle", "cronbeats:Zz9Yy8Xx")

    said = cronbeats(live.url, "Zz9Yy8Xx").ping()

    assert (said["jobKey"], kinds(live, "adopted-beat")) == ("Zz9Yy8Xx", ["success"])


# -- Sentry: its host and its key are the DSN


@pytest.fixture
def sentry(live: Live) -> Iterator[sentry_sdk.Client]:
    host = live.url.removeprefix("http://")
    client = sentry_sdk.Client(
        f"http://{live.key}@{host}/1", default_integrations=False, auto_enabling_integrations=False
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        yield client
        client.close()


def flush(client: sentry_sdk.Client) -> None:
    client.flush(LIMIT_SECONDS)


def test_the_sentry_client_monitors_a_job(live: Live, sentry: sentry_sdk.Client) -> None:
    live.add("sentry-job")

    @sentry_sdk.monitor(monitor_slug="sentry-job")
    def job() -> None:
        flush(sentry)
        assert live.runs("sentry-job")[0]["state"] == "running"

    job()
    flush(sentry)

    (only,) = live.runs("sentry-job")
    assert kinds(live, "sentry-job") == ["start", "success"]
    assert (only["state"], only["duration_ms"] is None) == ("success", False)


def test_a_failing_job_of_the_sentry_client_is_down(live: Live, sentry: sentry_sdk.Client) -> None:
    live.add("sentry-failing")

    with pytest.raises(OSError, match="disk"), sentry_sdk.monitor("sentry-failing"):
        raise OSError("disk is full")
    flush(sentry)

    assert kinds(live, "sentry-failing") == ["start", "fail"]
    assert live.monitor("sentry-failing")["downReason"] == "failed"


def test_the_sentry_client_creates_a_monitor_and_changes_it(
    live: Live, sentry: sentry_sdk.Client
) -> None:
    for minutes in (5, 10):
        config: Any = {
            "schedule": {"type": "crontab", "value": "0 2 * * *"},
            "timezone": "Asia/Tokyo",
            "checkin_margin": minutes,
            "max_runtime": 30,
            "failure_issue_threshold": 3,
        }
        with sentry_sdk.monitor("sentry-upsert", config):
            pass
        flush(sentry)

    made = live.monitor("sentry-upsert")
    assert (made["cronExpression"], made["timezone"]) == ("0 2 * * *", "Asia/Tokyo")
    assert (made["graceSeconds"], made["maxRunSeconds"]) == (600, 1800)
    assert (made["failureTolerance"], made["status"]) == (2, "up")


def test_the_sentry_client_sends_one_error_and_no_other_but_check_ins(
    live: Live, sentry: sentry_sdk.Client
) -> None:
    live.add("sentry-errors")
    transport: Any = sentry.transport
    reasons: list[str] = []
    transport.on_dropped_event = reasons.append

    for _ in range(2):
        sentry_sdk.capture_message("an error")
        flush(sentry)
    sentry_sdk.crons.capture_checkin("sentry-errors", status="ok")
    flush(sentry)

    assert reasons == ["self_rate_limits"]
    assert kinds(live, "sentry-errors") == ["success"]

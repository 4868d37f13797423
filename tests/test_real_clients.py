"""The vendors' own clients, as their users install them, with nothing but the host changed."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cronitor
import cronradar
import pytest
import sentry_sdk
from cronbeats_python import ApiError, PingClient
from cronbeats_python.http import HttpResponse, UrllibHttpClient
from live_server import LIMIT_SECONDS, Live, in_thread, serving, wait_for
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

CRONITOR_HOST = "https://cronitor.link"
OLD_KEYS = {"radar": "ck_app_9_old", "cronitor": "0f3a91c2d4e5b6a79808f7e6d5c4b3a2"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("clients"), "--timezone", "Europe/Berlin") as server:
        for name, secret in OLD_KEYS.items():
            server.quick("key", "create", name, "--permission", "ping", "--secret", secret)
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


def test_the_cronbeats_client_pings_with_the_code_of_its_old_service(live: Live) -> None:
    handle = ("--handle", "cronbeats:Zz9Yy8Xx")
    live.quick("monitor", "add", "beat", "--cron", "0 3 * * *", *handle)

    reply = cronbeats(live.url, "Zz9Yy8Xx").ping()

    assert (reply["ok"], reply["action"], reply["jobKey"]) == (True, "ping", "Zz9Yy8Xx")
    for name in ("timestamp", "nextExpected"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", reply[name])
    assert kinds(live, "beat") == ["success"]


def test_the_cronbeats_client_follows_a_run_with_its_progress(live: Live) -> None:
    client = cronbeats(live.url, live.add("beat-run")["code"])

    replies = [
        client.start(),
        client.progress(40, "half way"),
        client.progress(None, "tidying up"),
        client.progress({"seq": 100, "message": "x" * 300}),
        client.fail(),
    ]

    (only,) = live.runs("beat-run")
    assert [reply["action"] for reply in replies] == ["start", *["progress"] * 3, "end"]
    assert [(ping["percent"], ping["message"]) for ping in live.pings("beat-run")[1:4]] == [
        (40, "half way"),
        (None, "tidying up"),
        (100, "x" * 255),
    ]
    assert (only["state"], only["duration_ms"]) == (
        "failed",
        only["ended_at"] - only["started_at"],
    )


def test_the_cronbeats_client_maps_refusals_and_sends_once(live: Live) -> None:
    http = Counting()
    code = live.add("beat-101")["code"]

    with pytest.raises(ApiError, match="Job not found or disabled") as unknown:
        cronbeats(live.url, "zzzzzzzz", http_client=http).ping()
    with pytest.raises(ApiError) as wrong:
        cronbeats(live.url, code, http_client=http).progress(101, "too much")

    errors = [(one.value.code, one.value.retryable) for one in (unknown, wrong)]
    assert errors == [("NOT_FOUND", False), ("VALIDATION_ERROR", False)]
    assert (http.answers, kinds(live, "beat-101")) == ([404, 400], [])


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
    monkeypatch.setenv("CRONRADAR_API_KEY", OLD_KEYS["radar"])
    monkeypatch.setattr(cronradar, "BASE_URL", live.url)
    return cronradar


def test_the_cronradar_client_registers_an_unknown_monitor_once_and_pings_it(
    live: Live, radar: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        radar.monitor("nightly-report", "30 2 * * *")

    made = live.monitor("nightly-report")
    assert capsys.readouterr().err.count("'nightly-report' synced successfully") == 1
    names = ("cronExpression", "graceSeconds", "name", "timezone", "status")
    shown = ["30 2 * * *", 60, "Nightly Report", "Europe/Berlin", "up"]
    assert [made[name] for name in names] == shown
    assert kinds(live, "nightly-report") == ["success", "success"]


@pytest.mark.parametrize(
    "key, schedule", [(OLD_KEYS["radar"], ()), ("ck_app_wrong", ("@daily",))], ids=str
)
def test_the_cronradar_client_makes_no_monitor_without_a_schedule_or_with_a_wrong_key(
    live: Live, radar: Any, monkeypatch: pytest.MonkeyPatch, key: str, schedule: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CRONRADAR_API_KEY", key)

    radar.monitor("radar-nobody", *schedule)
    radar.start_job("radar-nobody", *schedule)
    radar.complete_job("radar-nobody")

    assert live.monitor("radar-nobody") == {}


def test_the_cronradar_job_is_one_run_of_a_monitor_that_its_start_makes(
    live: Live, radar: Any
) -> None:
    with radar.job("radar-job", "*/15 * * * *"):
        pass

    (only,) = live.runs("radar-job")
    assert live.monitor("radar-job")["cronExpression"] == "*/15 * * * *"
    assert kinds(live, "radar-job") == ["start", "success"]
    assert (only["state"], only["opened"]) == ("success", 1)


def test_a_failing_cronradar_job_raises_on_and_is_down_with_its_message(
    live: Live, radar: Any
) -> None:
    with pytest.raises(OSError, match="disk"), radar.job("radar-failing", "@hourly"):
        raise OSError("disk is full: 100% of /var")

    (event,) = live.events("radar-failing")
    assert (event["kind"], event["run"]["message"]) == ("failed", "disk is full: 100% of /var")


@pytest.mark.parametrize("key", ["reports/weekly", "täglich um 3", "a%2Fb", "x" * 200, "My.Job"])
def test_a_cronradar_key_may_be_any_text(live: Live, radar: Any, key: str) -> None:
    radar.monitor(key, "@weekly")

    assert (live.monitor(key)["status"], kinds(live, key)) == ("up", ["success"])


def test_the_cronradar_client_declares_its_monitors_at_once_and_deletes_none(
    live: Live, radar: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"key": "sync-a", "schedule": "@daily", "grace_period": 900}
    second = {"key": "sync-b", "schedule": "0 0 2 * * *"}

    radar.sync_monitors([first, second], source="apscheduler")
    radar.sync_monitors([], source="apscheduler")

    assert "Reconciled 2 monitor(s)" in capsys.readouterr().err
    made = [live.monitor(key) for key in ("sync-a", "sync-b")]
    assert [(one["graceSeconds"], one["status"]) for one in made] == [(900, "new"), (60, "new")]


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
    monkeypatch.setattr(cronitor, "api_key", OLD_KEYS["cronitor"])
    retries = session.get_adapter(CRONITOR_HOST).max_retries
    session.mount(CRONITOR_HOST, Elsewhere(live.url, retries))
    yield cronitor
    session.adapters.pop(CRONITOR_HOST).close()


@pytest.mark.parametrize(
    "state, kind",
    [("run", "start"), ("complete", "success"), ("fail", "fail"), ("ok", "ok"), (None, "success")],
)
def test_each_state_of_the_cronitor_client_is_heard_of_a_monitor_that_it_makes(
    live: Live, tor: Any, state: str | None, kind: str
) -> None:
    key = f"tor.{state}"
    words = {"message": "all 100% & well", "host": "db1", "series": "7"}

    reply = tor.Monitor(key).ping(state=state, env="prod", **words)

    (only,) = live.pings(key)
    assert (reply.status_code, reply.text, only["kind"]) == (200, "OK", kind)
    assert {name: only[name] for name in words} == words


def test_the_cronitor_client_makes_no_monitor_with_a_wrong_key(live: Live, tor: Any) -> None:
    tor.Monitor("tor-wrong", api_key="nobody").ping(state="complete")

    assert live.monitor("tor-wrong") == {}


def test_a_cronitor_job_is_one_run_with_its_result_and_its_duration(live: Live, tor: Any) -> None:
    @tor.job("tor-job")
    def work() -> str:
        return "ä" * 8000  # far more than a message holds

    work()

    (start, end), (only,) = live.pings("tor-job"), live.runs("tor-job")
    assert (start["kind"], end["kind"], end["message"]) == ("start", "success", "ä" * 1000)
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


def test_cronitor_metrics_are_kept_and_seen_by_the_rules(live: Live, tor: Any) -> None:
    rule = {"field": "count", "operator": "lt", "value": 10}
    live.add("tor-metrics", rules=[rule])

    tor.Monitor("tor-metrics").ping(
        state="complete", metrics={"count": 5, "error_count": 0, "duration": 12.5}
    )

    (event,) = live.events("tor-metrics")
    assert (event["kind"], event["rules"]) == ("silent_failure", [rule])
    assert event["run"]["durationMs"] == 12500


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

"""The log: a line for each event, as text or as JSON, by level, and never a secret in it."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Site
from live_server import DIRECT, LIMIT_SECONDS, Live, run, serving

import cronwatch


class Served(NamedTuple):
    """What a server has logged, and the secrets that it was shown meanwhile."""

    log: str
    secrets: list[str]
    id: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]


def use(live: Live) -> Served:
    """Ping a monitor, ask the API, let a webhook fail, send what is none's; then stop it."""
    shown = live.add("nightly")
    hook = {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/a-secret-hook"}
    live.ask("POST", "/integrations", hook)
    for path in (
        f"{shown['token']}/fail?msg=a-secret-message",
        f"ping/{shown['code']}",
        "a-secret-handle/x",
    ):
        with suppress(OSError), DIRECT.open(f"{live.url}/{path}", timeout=LIMIT_SECONDS):
            pass
    live.ask("GET", "/heartbeats?query=a-secret-query")
    live.ask("GET", "/heartbeats", key="a-secret-key")
    assert live.stop() == (0, "")
    return Served(live.log, [shown["token"], shown["code"], live.key, "secret"], shown["id"])


FLAGS = {
    "text": (),
    "debug": ("--log-level", "debug"),
    "json": ("--log-format", "json", "--log-level", "debug"),
    "warning": ("--log-level", "warning"),
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    served = {}
    for name, flags in FLAGS.items():
        with serving(tmp_path_factory.mktemp(name), *flags) as live:
            served[name] = use(live)
    return served


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, line, is_there",
    [
        ("text", "INFO event failed of monitor {id}\n", True),
        ("text", "cronping", False),
        ("text", "GET", False),
        ("debug", "DEBUG fail of cronping, monitor {id}\n", True),
        ("debug", "DEBUG GET /api/v1/heartbeats: 200 in ", True),
        ("debug", "DEBUG GET /api/v1/heartbeats: 401 in ", True),
    ],
)
def test_what_has_a_line(logs: dict[str, Served], name: str, line: str, is_there: bool) -> None:
    assert (line.format(id=logs[name].id) in logs[name].log) is is_there


@pytest.mark.slow
def test_on_warning_all_is_quiet_while_nothing_is_wrong(logs: dict[str, Served]) -> None:
    assert logs["warning"].log == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text", "debug", "json"])
def test_no_secret_is_logged(logs: dict[str, Served], name: str) -> None:
    assert [secret for secret in logs[name].secrets if secret in logs[name].log] == []


@pytest.mark.slow
def test_as_json_every_line_is_an_object_and_an_event_has_the_same_words(
    logs: dict[str, Served],
) -> None:
    records, words = logs["json"].records, f"event failed of monitor {logs['json'].id}"

    assert {tuple(record) for record in records} == {("at", "level", "message")}
    assert [record["level"] for record in records if record["message"] == words] == ["info"]


@pytest.mark.slow
def test_as_json_a_line_has_its_time(logs: dict[str, Served]) -> None:
    times = [cronwatch.parse_iso(record["at"]) for record in logs["json"].records]

    assert times == sorted(times)
    assert abs(times[-1] - cronwatch.system_clock()) < 3_600_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "flag, value, said",
    [
        ("--log-format", "xml", "log_format must be text or json"),
        ("--log-level", "loud", "log_level must be debug or info or warning or error"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, flag: str, value: str, said: str) -> None:
    done = run(tmp_path, "serve", flag, value, "--listen", "127.0.0.1:0")

    assert (done.code, done.out, done.err) == (1, "", f"cronwatch: {said}\n")


@pytest.mark.slow
def test_a_single_command_says_nothing_of_what_it_does(tmp_path: Path) -> None:
    run(tmp_path, "integration", "add", "command", "lamp", "true")

    done = run(tmp_path, "integration", "test", "lamp", CRONWATCH_LOG_LEVEL="debug")

    assert (done.code, done.err) == (0, "")


# the formatter


def formatted(*given: Any, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("cronwatch", logging.ERROR, "", 0, *given, **more)
    text = cronwatch.JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_is_an_object_whatever_is_in_it() -> None:
    said = formatted('%s "quoted"\nand a line', ("Ünïcode \udce9",), None)["message"]

    assert said == 'Ünïcode \udce9 "quoted"\nand a line'


def test_what_went_wrong_is_in_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        found = formatted("a turn failed", (), sys.exc_info())

    assert found["message"] == "a turn failed"
    assert found["error"].splitlines()[-1] == "ValueError: broken"


# events


def test_an_event_that_is_undone_is_not_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cronwatch")

    def add_and_fail(tx: cronwatch.Transaction) -> None:
        gap = {"since": "x", "until": "x"}
        cronwatch.add_event(tx, cronwatch.Event("outage", tx.now), None, gap=gap, monitors=[])
        raise cronwatch.Invalid("changed my mind")

    with pytest.raises(cronwatch.Invalid):
        site.server.act(add_and_fail)

    assert caplog.messages == []


def test_an_event_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cronwatch")
    job = site.monitor()

    site.get(f"/{job.token}/fail")
    site.get(f"/{job.token}/log")

    assert caplog.messages == [f"event failed of monitor {job.id}"]


def test_an_event_of_the_server_itself_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cronwatch")
    site.get(f"/{site.monitor(interval_seconds=86_400).token}")
    site.clock.move(90_000)

    site.server.away(site.clock.now - 10_000_000, site.clock.now)

    assert caplog.messages == ["event outage of the server"]

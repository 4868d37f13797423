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


def use(live: Live) -> Served:
    """Ping a monitor, ask the API, let a webhook fail, send what is none's; then stop it."""
    shown = live.add("nightly")
    live.ask(
        "POST",
        "/integrations",
        {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/a-secret-hook"},
    )
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


def served(folder: Path, *flags: str) -> Served:
    folder.mkdir(exist_ok=True)
    with serving(folder, *flags) as live:
        return use(live)


@pytest.fixture(scope="module")
def as_text(folders: Path) -> Served:
    return served(folders / "text")


@pytest.fixture(scope="module")
def as_debug(folders: Path) -> Served:
    return served(folders / "debug", "--log-level", "debug")


@pytest.fixture(scope="module")
def as_json(folders: Path) -> Served:
    return served(folders / "json", "--log-format", "json", "--log-level", "debug")


@pytest.fixture(scope="module")
def as_warning(folders: Path) -> Served:
    return served(folders / "warning", "--log-level", "warning")


def records(one: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in one.log.splitlines()]


@pytest.mark.slow
def test_an_event_has_a_line_with_its_kind_and_the_id_of_its_monitor(as_text: Served) -> None:
    assert f"INFO event failed of monitor {as_text.id}" in as_text.log.splitlines()


@pytest.mark.slow
def test_a_request_has_no_line_unless_asked_for(as_text: Served) -> None:
    assert [line for line in as_text.log.splitlines() if "cronping" in line or "GET" in line] == []


@pytest.mark.slow
def test_on_debug_a_ping_has_a_line(as_debug: Served) -> None:
    assert f"DEBUG fail of cronping, monitor {as_debug.id}\n" in as_debug.log


@pytest.mark.slow
def test_on_debug_a_request_has_a_line_with_its_route(as_debug: Served) -> None:
    assert "DEBUG GET /api/v1/heartbeats: 200 in " in as_debug.log


@pytest.mark.slow
def test_on_debug_a_refusal_has_a_line_too(as_debug: Served) -> None:
    assert "DEBUG GET /api/v1/heartbeats: 401 in " in as_debug.log


@pytest.mark.slow
def test_on_warning_all_is_quiet_while_nothing_is_wrong(as_warning: Served) -> None:
    assert as_warning.log == ""


@pytest.mark.slow
@pytest.mark.parametrize("one", ["as_text", "as_debug", "as_json"])
def test_no_secret_is_logged(request: pytest.FixtureRequest, one: str) -> None:
    found: Served = request.getfixturevalue(one)

    assert [secret for secret in found.secrets if secret in found.log] == []


@pytest.mark.slow
def test_as_json_every_line_is_an_object(as_json: Served) -> None:
    assert {tuple(record) for record in records(as_json)} == {("at", "level", "message")}


@pytest.mark.slow
def test_as_json_an_event_is_said_in_the_same_words(as_json: Served) -> None:
    assert [
        record["level"]
        for record in records(as_json)
        if record["message"] == f"event failed of monitor {as_json.id}"
    ] == ["info"]


@pytest.mark.slow
def test_as_json_a_line_has_its_time(as_json: Served) -> None:
    times = [cronwatch.parse_iso(record["at"]) for record in records(as_json)]

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
        cronwatch.add_event(
            tx,
            cronwatch.Event("outage", tx.now),
            None,
            gap={"since": "x", "until": "x"},
            monitors=[],
        )
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

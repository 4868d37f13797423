"""What is told, to whom, how and when."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import os
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as SmtpServer
from aiosmtpd.smtp import AuthResult, LoginPassword
from conftest import NOW, Made, Site
from live_server import run, wait_for

import cronwatch

NOON = "2026-03-02T12:00:00.000Z"
HOSTILE = "$(touch pwned) `touch pwned` ; touch pwned # 'x' \"y\" %s \\ <b> 🔥 ünï"


def assert_set(flag: threading.Event) -> None:
    """Wait until something has happened that must."""
    assert flag.wait(10)


# a web server that listens


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)


class Listener:
    """A web server that keeps what it receives; `answers` first, then always `status`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.status, self.answers = 200, list[int]()
        self.headers: dict[str, str] = {}
        self.text = b""
        self.protocol = "HTTP/1.0"
        self.meanwhile: Callable[[], None] = lambda: None
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                names = {name.lower(): value for name, value in self.headers.items()}
                listener.received.append(Received(self.command, self.path, names, body))
                listener.meanwhile()
                self.protocol_version = listener.protocol
                self.send_response(
                    listener.answers.pop(0) if listener.answers else listener.status
                )
                for name, value in listener.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(listener.text)))
                self.end_headers()
                self.wfile.write(listener.text)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def kinds(self) -> list[str]:
        return [one.event["kind"] for one in self.received]

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.received]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def make_listener() -> Iterator[Callable[[], Listener]]:
    made: list[Listener] = []

    def make() -> Listener:
        made.append(Listener())
        return made[-1]

    yield make
    for listener in made:
        listener.close()


@pytest.fixture
def listener(make_listener: Callable[[], Listener]) -> Listener:
    return make_listener()


# who is told


def add(
    site: Site, channel: str, target: str, name: str = "", default: bool = True, **more: Any
) -> str:
    """A new integration; its id. A command can be made on the command line only."""
    name = name or f"{channel} {len(site.rows('SELECT num FROM integration'))}"
    if channel == "command":
        words = ["integration", "add", channel, name, target, "--database", str(site.database)]
        assert cronwatch.main(words) == 0
        return str(site.rows("SELECT id FROM integration WHERE name = ?", name)[0]["id"])
    where = "address" if channel == "email" else "url"
    given = {"channel": channel, "name": name, where: target, "default": default, **more}
    return str(post(site, "integrations", **given)["id"])


def add_hook(site: Site, listener: Listener, name: str = "Hook", **more: Any) -> str:
    return add(site, "webhook", f"{listener.url}/hook", name, **more)


def post(site: Site, path: str, **given: Any) -> dict[str, Any]:
    """What the management API answers to something that it must take."""
    if not site.rows("SELECT num FROM api_key WHERE prefix = 'cw_manage'"):
        site.api_key(secret="cw_management")
    answer = site.post(f"/api/v1/{path}", json.dumps(given), X_API_Key="cw_management")
    assert answer.status_int in (200, 201), answer.text
    shown: dict[str, Any] = answer.json
    return shown


def expect(site: Site, **fields: Any) -> dict[str, Any]:
    """A new monitor that expects an hourly run, as the API shows it."""
    return post(site, "heartbeats", **{"name": "Backup", "intervalSeconds": 3600, **fields})


def events(site: Site) -> list[dict[str, Any]]:
    """The events as the API shows them, newest first."""
    post(site, "heartbeats", name="unused", scheduleType="none")
    found: list[dict[str, Any]] = site.get("/api/v1/events", X_API_Key="cw_management").json[
        "events"
    ]
    return found


def alerts(site: Site) -> list[tuple[str, str]]:
    """Who is told of what."""
    return [
        (row["name"], row["kind"])
        for row in site.rows(
            "SELECT i.name, e.kind FROM alert a JOIN integration i ON i.num = a.integration "
            "JOIN event e ON e.num = a.event ORDER BY a.num"
        )
    ]


def alert(site: Site) -> dict[str, Any]:
    """The one row of the outbox."""
    (found,) = site.rows("SELECT * FROM alert")
    return found


def fail(site: Site, token: str, query: str = "") -> None:
    assert site.get(f"/{token}/fail{query}").status_int == 200


def told_of_a_failure(site: Site, **fields: Any) -> list[str]:
    """The names of the integrations that hear of a new monitor's failure."""
    fail(site, expect(site, **fields)["token"])
    return [name for name, _ in alerts(site)]


SLACK = "https://hooks.slack.example/T0"


@pytest.fixture
def mailing(make_site: Callable[..., Site]) -> Site:
    """A site where a mail server is set."""
    return make_site(smtp_host="127.0.0.1")


MAIL, NTFY = "me@home.example", "https://ntfy.example/me"
HEARERS: dict[str, tuple[dict[str, bool], dict[str, Any], list[str]]] = {
    # who there is, by default or not; what the monitor says; who hears of it
    "every default one": ({"slack": True, "email": True}, {}, ["slack", "email"]),
    "none that is not default": ({"slack": False, "email": False}, {}, []),
    "those that are named": ({"slack": True, "ntfy": False}, {"named": ["ntfy"]}, ["ntfy"]),
    "each once": ({"slack": True}, {"named": ["slack", "slack"]}, ["slack"]),
    "default mail anyhow": ({"slack": True, "email": True}, {"named": []}, ["email"]),
    "no mail where it is off": (
        {"slack": True, "email": True},
        {"emailAlertsEnabled": False},
        ["slack"],
    ),
}


@pytest.mark.parametrize("case", HEARERS)
def test_who_hears_of_a_monitor(mailing: Site, case: str) -> None:
    integrations, fields, hearers = HEARERS[case]
    targets = {"slack": SLACK, "email": MAIL, "ntfy": NTFY}
    ids = {
        name: add(mailing, name, targets[name], name, default)
        for name, default in integrations.items()
    }
    named = fields.get("named")
    rest = {name: value for name, value in fields.items() if name != "named"}
    chosen = {} if named is None else {"integrationIds": [ids[name] for name in named]}

    assert told_of_a_failure(mailing, **rest, **chosen) == hearers


def test_a_default_integration_that_is_made_later_hears_too(site: Site) -> None:
    token = expect(site)["token"]
    add(site, "slack", SLACK, "Slack")

    fail(site, token)

    assert alerts(site) == [("Slack", "failed")]


def test_mail_hears_of_no_monitor_where_no_mail_server_is_set(site: Site) -> None:
    add(site, "email", "me@home.example", "Mail")

    assert told_of_a_failure(site) == []


def test_mail_hears_nothing_of_the_server_where_no_mail_server_is_set(site: Site) -> None:
    add(site, "email", "me@home.example", "Mail")

    make_outage(site)

    assert alerts(site) == []


def test_a_command_without_the_settings_of_the_server_knows_that_it_mails(site: Site) -> None:
    site.server.act(cronwatch.remember, "smtp_host", "mail.example")
    add(site, "email", "me@home.example", "Mail")

    assert told_of_a_failure(site) == ["Mail"]


def test_a_disabled_integration_does_not_hear(site: Site) -> None:
    add(site, "slack", SLACK, "Slack")
    site.rows("UPDATE integration SET enabled = 0")

    assert told_of_a_failure(site) == []


def heard(site: Site, **fields: Any) -> bool:
    """Whether the API shows a new monitor as one that somebody hears of."""
    shown = expect(site, **fields)
    again = site.get(f"/api/v1/heartbeats/{shown['id']}", X_API_Key="cw_management").json
    assert shown["heard"] == again["heard"]
    return bool(again["heard"])


def test_a_monitor_with_mail_that_cannot_be_sent_is_heard_by_nobody(site: Site) -> None:
    add(site, "email", "me@home.example", "Mail")

    assert heard(site) is False


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({}, "no mail can be sent: the setting smtp_host is empty"),
        ({"smtp_host": "127.0.0.1"}, None),
    ],
)
def test_mail_that_cannot_be_sent_is_shown_as_such(
    make_site: Callable[..., Site], settings: dict[str, Any], problem: str | None
) -> None:
    site = make_site(**settings)
    made = post(site, "integrations", channel="email", name="Mail", address="me@home.example")

    assert made["problem"] == problem


def test_events_of_the_server_go_to_all_default_integrations(mailing: Site) -> None:
    add(mailing, "slack", SLACK, "Slack")
    add(mailing, "email", "me@home.example", "Mail")
    add(mailing, "ntfy", "https://ntfy.example/me", "ntfy", default=False)

    make_outage(mailing)

    assert alerts(mailing) == [("Slack", "outage"), ("Mail", "outage")]


def test_an_event_and_its_alerts_come_with_the_change_or_not_at_all(site: Site) -> None:
    add(site, "slack", SLACK, "Slack")
    job = site.monitor()
    site.rows(
        "CREATE TRIGGER no_alerts BEFORE INSERT ON alert BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )

    status = site.get(f"/{job.token}/fail").status_int

    assert (status >= 500, site.pings, site.runs, site.events, site.monitors[0]["status"]) == (
        True,
        [],
        [],
        [],
        "new",
    )


# what an event says


def nightly(site: Site, **columns: Any) -> Made:
    """A monitor with all that an event can say of it."""
    return site.monitor(
        **{
            "name": "Backup",
            "key": "backup",
            "tags": "db prod",
            "interval_seconds": 86_400,
            **columns,
        }
    )


def make_missed(site: Site) -> None:
    job = nightly(site)
    site.get(f"/{job.token}")
    site.clock.move(86_400 + 600)
    site.server.scan()


def make_failed(site: Site) -> None:
    job = nightly(site)
    site.get(f"/{job.code}/run?host=nas&series=n1")
    site.clock.move(90)
    site.get(f"/{job.code}/fail?host=nas&series=n1&status_code=3&msg=disk+full")


def make_outage(site: Site) -> None:
    job = nightly(site)
    site.get(f"/{job.token}")
    site.clock.move(90_000)
    site.server.away(NOW + 80_000_000, NOW + 90_000_000)


def newest_event(site: Site, make: Callable[[Site], None]) -> dict[str, Any]:
    """The newest event after one was made, as the API shows it."""
    make(site)
    return events(site)[0]


def test_a_missed_event_says_all_that_is_known(site: Site) -> None:
    event = newest_event(site, make_missed)

    job = site.monitors[0]
    assert event | {"id": "", "summary": "", "deliveries": []} == {
        "id": "",
        "kind": "missed",
        "at": "2026-03-03T12:05:00.000Z",
        "toldAt": "2026-03-03T12:10:00.000Z",
        "summary": "",
        "monitor": {
            "id": job["id"],
            "key": "backup",
            "name": "Backup",
            "tags": ["db", "prod"],
            "status": "down",
            "timezone": "UTC",
            "notes": "",
            "url": f"http://cron.test/#/monitors/{job['id']}",
        },
        "run": None,
        "reason": "missed",
        "downSince": "2026-03-03T12:05:00.000Z",
        "downtimeSeconds": None,
        "failedCount": None,
        "missedCount": None,
        "count": None,
        "rules": None,
        "lastSuccess": {"at": NOON, "durationMs": None},
        "gap": None,
        "monitors": None,
        "deliveries": [],
    }


def test_a_failed_event_says_how_the_run_went(site: Site) -> None:
    event = newest_event(site, make_failed)

    assert event["run"] | {"id": ""} == {
        "id": "",
        "series": "n1",
        "state": "failed",
        "startedAt": NOON,
        "endedAt": "2026-03-02T12:01:30.000Z",
        "durationMs": 90_000,
        "exitCode": 3,
        "message": "disk full",
        "host": "nas",
        "logTail": None,
    }


def test_a_failed_event_shows_the_tail_of_the_log(site: Site) -> None:
    job = nightly(site)
    site.post(f"/ping/{job.token}/fail", "first line\n" + "x" * 5000 + "\nlast line")

    tail = events(site)[0]["run"]["logTail"]

    assert (tail.endswith("x\nlast line"), "first line" in tail) == (True, False)


def test_an_event_says_how_long_the_last_good_run_took(site: Site) -> None:
    job = nightly(site)
    for verb in ("start", "fail", "start", "success", "start", "fail"):
        site.clock.move(60)
        site.get(f"/ping/{job.token}/{verb.replace('success', '0')}")

    assert events(site)[0]["lastSuccess"] == {
        "at": "2026-03-02T12:04:00.000Z",
        "durationMs": 60_000,
    }


def test_an_outage_says_what_it_may_have_hidden(site: Site) -> None:
    event = newest_event(site, make_outage)

    assert (event["gap"], [list(named) for named in event["monitors"]]) == (
        {"since": "2026-03-03T10:13:20.000Z", "until": "2026-03-03T13:00:00.000Z"},
        [["id", "key", "name"]],
    )


def test_a_missed_event_that_a_ping_settles_says_that_it_was_down(site: Site) -> None:
    job = nightly(site)
    site.get(f"/{job.token}")
    site.clock.move(86_400 + 600)

    site.get(f"/{job.token}")

    assert [(event["kind"], event["monitor"]["status"]) for event in events(site)] == [
        ("recovered", "up"),
        ("missed", "down"),
    ]


# webhooks


def test_a_webhook_gets_the_event_that_the_api_shows(site: Site, listener: Listener) -> None:
    add_hook(site, listener)
    event = newest_event(site, make_failed)
    del event["deliveries"]

    site.server.deliver()

    assert listener.received[-1].event == event


def delivered(site: Site, listener: Listener, channel: str = "webhook", **more: Any) -> Received:
    """The request that tells of a failure."""
    add(site, channel, f"{listener.url}/hook?to=me", **more)
    fail(site, nightly(site).token)
    site.server.deliver()
    (received,) = listener.received
    return received


def test_a_webhook_is_a_post_with_the_headers_of_standard_webhooks(
    site: Site, listener: Listener
) -> None:
    received = delivered(site, listener)

    assert (received.method, received.path) == ("POST", "/hook?to=me")
    assert [
        received.headers[name] for name in ("content-type", "webhook-id", "webhook-timestamp")
    ] == ["application/json", received.event["id"], str(NOW // 1000)]


def test_a_webhook_is_signed_as_standard_webhooks_has_it(site: Site, listener: Listener) -> None:
    made = post(site, "integrations", channel="webhook", name="Hook", url=listener.url)
    fail(site, nightly(site).token)

    site.server.deliver()

    (received,) = listener.received
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode()
    digest = hmac.new(key, signed + received.body, hashlib.sha256).digest()
    assert received.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Site]:
    """One site for all that is refused."""
    found = Site(folder / "shared-alerts.db")
    yield found
    found.server.close()


def refused(site: Site, **given: Any) -> tuple[int, str]:
    """The status and the sentence with which an integration is refused."""
    answer = site.post(
        "/api/v1/integrations", json.dumps({"name": "It", **given}), X_API_Key=site.api_key()
    )
    return answer.status_int, answer.json.get("error", "")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-B: b"},
        {"X-A": "a\nb"},
        {"X A": "a"},
        {"X-A:": "a"},
        {"": "a"},
        {"X-A": "ü"},
        {"X-A": 7},
        {"webhook-id": "mine"},
        {"Webhook-Signature": "mine"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        ["X-A: a"],
        "X-A: a",
        {f"X-{n}": "a" for n in range(21)},
    ],
)
def test_headers_that_cannot_be_sent_are_refused(shared: Site, headers: Any) -> None:
    status, sentence = refused(
        shared, channel="webhook", url="http://127.0.0.1:9/", headers=headers
    )

    assert (status, "headers" in sentence) == (400, True)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "file:///etc/passwd",
        "host/path",
        "",
        "http://",
        "https:///path",
        "javascript:alert(1)",
        "http://host/ with space",
        "http://host/\r\nX: y",
        "http://hö.st/",
        "http://[::1",
        "http://host:99999/",
        "http://host:port/",
        "http://.../",
        "http://a..b/",
        "http://-host/",
        "http://host-/",
        "http://1.2.3/",
        "http://256.1.1.1/",
        "http://[1.2.3.4]/",
        "http://[::1]x/",
        "http://ho{st}/",
        f"http://{'a' * 64}/",
        f"http://{'a.' * 127}a/",
        None,
        7,
        ["http://host/"],
    ],
)
def test_a_url_that_is_neither_http_nor_https_is_refused(shared: Site, url: Any) -> None:
    status, sentence = refused(shared, channel="webhook", url=url)

    assert (status, "url" in sentence) == (400, True)


@pytest.mark.parametrize(
    "url",
    [
        "http://host/",
        "https://host.example:8443/path?to=me",
        "http://my_container/",
        "http://host.example./",
        "http://127.0.0.1:1/",
        "http://[::1]:8080/",
        "http://xn--h-1ga.example/",
    ],
)
def test_a_url_of_a_host_is_taken(url: str) -> None:
    assert cronwatch.is_web_address(url)


def test_a_webhook_follows_no_redirect(site: Site, make_listener: Callable[[], Listener]) -> None:
    first, second = make_listener(), make_listener()
    first.status, first.headers = 307, {"Location": f"{second.url}/elsewhere"}

    delivered(site, first)

    assert (second.received, alert(site)["state"]) == ([], "pending")


def test_a_webhook_takes_no_proxy_from_the_environment(
    tmp_path: Path, make_listener: Callable[[], Listener]
) -> None:
    target, proxy = make_listener(), make_listener()
    words = ("--database", str(tmp_path / "cronwatch.db"))
    run(tmp_path, "integration", "add", "webhook", "Hook", target.url, *words)

    done = run(
        tmp_path,
        "integration",
        "test",
        "Hook",
        *words,
        http_proxy=proxy.url,
        HTTP_PROXY=proxy.url,
        all_proxy=proxy.url,
    )

    assert (done.code, len(target.received), proxy.received) == (0, 1, [])


def test_a_retry_has_the_same_id_and_body(site: Site, listener: Listener) -> None:
    listener.answers = [500]
    delivered(site, listener)
    site.clock.move(10)

    site.server.deliver()

    first, second = (one.headers["webhook-id"] for one in listener.received)
    assert first == second
    assert listener.received[0].body == listener.received[1].body
    assert [one.headers["webhook-timestamp"] for one in listener.received] == [
        str(NOW // 1000),
        str(NOW // 1000 + 10),
    ]


@pytest.mark.parametrize(
    "channel, content_type",
    [("slack", "application/json"), ("discord", "application/json"), ("ntfy", "text/plain")],
)
def test_a_preset_words_the_body(
    site: Site, listener: Listener, channel: str, content_type: str
) -> None:
    received = delivered(site, listener, channel)

    event = events(site)[0]
    del event["deliveries"]
    post = cronwatch.BODIES[channel](event)
    assert (received.headers["content-type"], received.body) == (content_type, post.content)


def test_a_hostile_message_arrives_as_text(site: Site, listener: Listener) -> None:
    add(site, "ntfy", listener.url)
    job = nightly(site)
    site.get(f"/{job.code}/fail?msg={quote(HOSTILE)}")

    site.server.deliver()

    (received,) = listener.received
    assert HOSTILE in received.headers["title"].encode("latin-1").decode()


@pytest.mark.parametrize("channel", ["slack", "discord", "ntfy"])
def test_only_who_reads_webhooks_is_shown_what_signs_them(site: Site, channel: str) -> None:
    made = post(site, "integrations", channel=channel, name="It", url="http://127.0.0.1:9/")

    assert "secret" not in made


# commands


@pytest.fixture
def shell(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Tells a command of a failure, and answers with the folder that the command works in."""
    folder = tmp_path / "shell"
    folder.mkdir()
    monkeypatch.setattr(cronwatch, "COMMAND_SECONDS", 20)

    def tell(command: str, **said: Any) -> Path:
        add(site, "command", f"cd {folder} && {{ {command}\n}}")
        job, key = nightly(site), site.api_key()
        site.post(f"/api/v1/ping/{job.id}/fail", json.dumps(said), X_API_Key=key)
        site.server.deliver()
        return folder

    return tell


def variables(folder: Path) -> dict[str, str]:
    """What `env -0` wrote."""
    found = (folder / "env").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in found if line)


def test_a_command_gets_the_event_in_its_environment(
    site: Site, shell: Callable[..., Path]
) -> None:
    found = variables(shell("env -0 > env", errorMessage="disk full"))

    shown = events(site)[0]
    assert [
        found.get(f"CRONWATCH_EVENT_{name}")
        for name in ("ID", "KIND", "AT", "TOLD_AT", "SUMMARY", "REASON", "DOWN_SINCE")
    ] == [shown[name] for name in ("id", "kind", "at", "toldAt", "summary", "reason", "downSince")]
    assert [
        found.get(f"CRONWATCH_EVENT_{name}")
        for name in ("MONITOR_KEY", "MONITOR_NAME", "MONITOR_URL", "RUN_STATE", "RUN_MESSAGE")
    ] == ["backup", "Backup", shown["monitor"]["url"], "failed", "disk full"]


def test_a_command_has_a_clean_environment_otherwise(
    shell: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRONWATCH_SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    found = variables(shell("env -0 > env"))

    by_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name for name in found if not name.startswith("CRONWATCH_EVENT_")} <= {
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "USER",
        "SHELL",
        "LOGNAME",
        *by_shell,
    }


def test_a_variable_has_one_line_but_the_log(site: Site, tmp_path: Path) -> None:
    add(site, "command", f"env -0 > {tmp_path}/env")
    job = nightly(site, notes="Call Ann.\nThen Bob.")
    site.post(f"/ping/{job.token}/fail", "copying\ndisk full")
    site.server.deliver()

    found = variables(tmp_path)

    assert (
        found["CRONWATCH_EVENT_MONITOR_NOTES"],
        found["CRONWATCH_EVENT_RUN_LOG_TAIL"],
        [name for name, value in found.items() if "\n" in value],
    ) == ("Call Ann. Then Bob.", "copying\ndisk full", ["CRONWATCH_EVENT_RUN_LOG_TAIL"])


def test_a_command_gets_the_last_good_run_in_its_environment(site: Site, tmp_path: Path) -> None:
    add(site, "command", f"env -0 > {tmp_path}/env")
    job = nightly(site)
    site.get(f"/{job.token}/start")
    site.clock.move(60)
    site.get(f"/{job.token}")
    fail(site, job.token)
    site.server.deliver()

    found = variables(tmp_path)

    assert (
        found["CRONWATCH_EVENT_LAST_SUCCESS_AT"],
        found["CRONWATCH_EVENT_LAST_SUCCESS_DURATION_MS"],
    ) == ("2026-03-02T12:01:00.000Z", "60000")


def test_a_variable_has_at_most_4_kilobytes(shell: Callable[..., Path]) -> None:
    found = variables(shell("env -0 > env", errorMessage="🔥" * 3000, logOutput="🔥" * 20_000))

    assert (
        max(
            len(value.encode())
            for name, value in found.items()
            if name.startswith("CRONWATCH_EVENT_")
        )
        <= 4096
    )


def result_of(site: Site) -> str:
    (delivery,) = events(site)[0]["deliveries"]
    return str(delivery["result"])


@pytest.mark.parametrize("code", [0, 5])
def test_the_tail_of_a_commands_output_is_kept(
    site: Site, shell: Callable[..., Path], code: int
) -> None:
    shell(f"echo begin; seq 100000; echo wrong >&2; echo end; exit {code}")

    result = result_of(site)

    assert ("begin" in result, "wrong" in result, result.endswith("end")) == (False, True, True)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    "command",
    [
        "echo $$ >> pids; sleep 60",
        "echo $$ >> pids; sleep 60 & echo $! >> pids; wait",
        "trap '' TERM HUP INT; echo $$ >> pids; sleep 60 & echo $! >> pids; wait",
        "(echo $$ >> pids; sleep 60) | cat",
        "bash -mc 'sleep 60 & echo $! >> pids; wait'",
    ],
    ids=["the shell", "its child", "deaf to signals", "a pipe", "a group of its own"],
)
def test_a_command_that_hangs_is_killed_with_its_children(
    site: Site, shell: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(cronwatch, "COMMAND_SECONDS", 0.5)
    began = time.monotonic()

    folder = shell(command)

    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    try:
        wait_for(lambda: not any(map(is_alive, pids)), "their end")
        assert time.monotonic() - began < 15
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, 9)


def test_a_command_that_was_killed_is_tried_again(
    site: Site, shell: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cronwatch, "COMMAND_SECONDS", 0.2)

    shell("echo said; sleep 60")

    assert (alert(site)["state"], "said" in result_of(site)) == ("pending", True)


def test_a_command_has_a_session_of_its_own(shell: Callable[..., Path]) -> None:
    folder = shell("cut -d ' ' -f 6 /proc/$$/stat > session; echo $$ > pid")

    assert (folder / "session").read_text() == (folder / "pid").read_text()


def test_nothing_of_a_ping_is_in_the_command_line(site: Site, shell: Callable[..., Path]) -> None:
    folder = shell("cat /proc/$$/cmdline > line", errorMessage="disk full")

    (config,) = site.rows("SELECT config FROM integration")
    assert (folder / "line").read_bytes().decode().split("\0") == [
        "/bin/sh",
        "-c",
        json.loads(config["config"])["command"],
        "",
    ]


def test_a_hostile_message_reaches_a_command_as_text(shell: Callable[..., Path]) -> None:
    folder = shell(
        'cat > given; env -0 > env; echo "$CRONWATCH_EVENT_RUN_MESSAGE" > echoed',
        errorMessage=HOSTILE,
    )

    assert json.loads((folder / "given").read_text())["run"]["message"] == HOSTILE
    assert variables(folder)["CRONWATCH_EVENT_RUN_MESSAGE"] == HOSTILE
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    "message",
    ["two\nlines", "a\0b", "\ud800 half", "\udfff\ud800", "\x1b[31m", "x" * 100_000, "=", "-rf"],
    ids=["lines", "NUL", "half a pair", "a pair reversed", "colour", "long", "=", "-rf"],
)
def test_an_odd_message_reaches_a_command(
    site: Site, shell: Callable[..., Path], message: str
) -> None:
    folder = shell("cat > given", errorMessage=message)

    given = json.loads((folder / "given").read_text(encoding="utf-8"))
    assert (alert(site)["state"], given["kind"]) == ("sent", "failed")


# mail


class Mailbox:
    """A mail server that keeps what it receives."""

    def __init__(self, refused_methods: Collection[str] = ()) -> None:
        self.received: list[EmailMessage] = []
        self.lets_in = True
        self.recipients: list[list[str]] = []
        self.signed_in: list[tuple[bytes, bytes]] = []
        self.refuses = False
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.controller = Controller(
            self,
            "127.0.0.1",
            self.port,
            auth_require_tls=False,
            auth_exclude_mechanism=list(refused_methods),
            authenticator=self.authenticate,
        )
        self.controller.start()

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, login: LoginPassword
    ) -> AuthResult:
        self.signed_in.append((login.login, login.password))
        return AuthResult(success=self.lets_in, handled=False)

    async def handle_DATA(self, server: SmtpServer, session: Any, envelope: Any) -> str:
        if self.refuses:
            return "451 come back later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.received.append(message)
        self.recipients.append(envelope.rcpt_tos)
        return "250 fine"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.controller.stop()


@pytest.fixture
def mail_site(make_site: Callable[..., Site], mailbox: Mailbox) -> Site:
    """A site that sends its mail to the mailbox."""
    site = make_site(
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_from="cron@home.example",
    )
    add(site, "email", "me@home.example", "Mail")
    return site


def mailed(site: Site, mailbox: Mailbox) -> EmailMessage:
    """The mail that tells of a failure."""
    make_failed(site)
    site.server.deliver()
    return mailbox.received[-1]


def test_a_mail_says_from_whom_it_is_and_what_happened(mail_site: Site, mailbox: Mailbox) -> None:
    mail = mailed(mail_site, mailbox)

    summary = events(mail_site)[0]["summary"]
    assert (mail["From"], mail["To"], mailbox.recipients) == (
        "cron@home.example",
        "me@home.example",
        [["me@home.example"]],
    )
    assert (mail["Subject"], summary in mail.get_content()) == (summary, True)
    assert mail["Date"]
    assert mail["Message-ID"]


def test_a_hostile_message_adds_no_header_to_a_mail(mail_site: Site, mailbox: Mailbox) -> None:
    job = nightly(mail_site)
    mail_site.get(f"/{job.code}/fail?msg=" + quote("x\r\nBcc: you@evil.example\r\n\r\nHi"))
    mail_site.server.deliver()

    (mail,) = mailbox.received
    assert (mail["Bcc"], mailbox.recipients) == (None, [["me@home.example"]])


def test_an_encoded_word_in_a_message_adds_no_header_to_a_mail(
    mail_site: Site, mailbox: Mailbox
) -> None:
    job = nightly(mail_site)
    mail_site.get(f"/{job.code}/fail?msg=" + quote("=?utf-8?q?x=0D=0ABcc:_you@evil.example?="))
    mail_site.server.deliver()

    (mail,) = mailbox.received
    assert (mail["Bcc"], "evil" in mail["Subject"]) == (None, True)


def test_mail_signs_in_where_a_user_is_set(
    make_site: Callable[..., Site], mailbox: Mailbox
) -> None:
    site = make_site(
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_user="me",
        smtp_password="hunter2",
    )
    add(site, "email", "me@home.example", "Mail")

    mailed(site, mailbox)

    assert mailbox.signed_in == [(b"me", b"hunter2")]


@pytest.mark.parametrize("methods, user", [(["PLAIN", "LOGIN"], "me"), (["LOGIN"], "Jürgen")])
def test_mail_signs_in_with_names_and_passwords_in_utf_8(
    make_site: Callable[..., Site], methods: list[str], user: str
) -> None:
    box = Mailbox({"PLAIN", "LOGIN"} - set(methods))
    site = make_site(
        smtp_host="127.0.0.1",
        smtp_port=box.port,
        smtp_security="none",
        smtp_user=user,
        smtp_password="Größe€",
    )
    add(site, "email", "me@home.example", "Mail")

    mailed(site, box)

    box.controller.stop()
    assert box.signed_in == [(user.encode(), "Größe€".encode())]


def test_a_password_that_a_mail_server_refuses_is_a_failed_try(
    make_site: Callable[..., Site], mailbox: Mailbox
) -> None:
    mailbox.lets_in = False
    site = make_site(
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_user="me",
        smtp_password="Größe€",
    )
    add(site, "email", "me@home.example", "Mail")
    make_failed(site)

    site.server.deliver()

    assert result_of(site).startswith("SMTP 535: ")


def test_no_password_is_shown_to_a_server_whose_certificate_nobody_vouches_for(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=somebody.else "
        f"-keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with quiet_smtp_over(tls) as (port, shown):
        site = make_site(
            smtp_host="127.0.0.1",
            smtp_port=port,
            smtp_security="tls",
            smtp_user="me",
            smtp_password="hunter2",
        )
        add(site, "email", "me@home.example", "Mail")
        make_failed(site)

        site.server.deliver()

    assert shown == []
    assert result_of(site) == "its certificate cannot be trusted: self-signed certificate"


@contextmanager
def quiet_smtp_over(tls: ssl.SSLContext) -> Iterator[tuple[int, list[bytes]]]:
    """A mail server that greets one client, and keeps what that says: a port, and the lines."""
    lines: list[bytes] = []

    def serve() -> None:
        with suppress(OSError), door.accept()[0] as plain, tls.wrap_socket(plain, True) as peer:
            peer.sendall(b"220 mail\r\n")
            for line in peer.makefile("rb"):
                lines.append(line)
                peer.sendall(b"250 AUTH PLAIN\r\n")

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=serve)
        thread.start()
        yield door.getsockname()[1], lines
        thread.join(10)


def test_what_a_mail_server_answers_is_shown(mail_site: Site, mailbox: Mailbox) -> None:
    mailbox.refuses = True
    make_failed(mail_site)

    mail_site.server.deliver()

    assert result_of(mail_site) == "SMTP 451: come back later"


def test_mail_is_not_sent_in_the_clear_where_starttls_is_set(
    make_site: Callable[..., Site], mailbox: Mailbox
) -> None:
    site = make_site(
        smtp_host="127.0.0.1", smtp_port=mailbox.port, smtp_user="me", smtp_password="hunter2"
    )
    add(site, "email", "me@home.example", "Mail")
    make_failed(site)

    site.server.deliver()

    assert (mailbox.received, mailbox.signed_in, alert(site)["state"]) == ([], [], "pending")


def test_a_test_of_mail_without_a_server_says_which_setting_is_empty(site: Site) -> None:
    id_ = add(site, "email", "me@home.example", "Mail")

    assert "smtp_host" in post(site, f"integrations/{id_}/test")["result"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "me",
        "me@",
        "@home.example",
        "a@b, c@d",
        "a@b c@d",
        "me@home.example\r\nBcc: x@y",
        "<me@home.example>",
        None,
        7,
    ],
)
def test_an_address_that_is_not_one_address_is_refused(shared: Site, address: Any) -> None:
    status, sentence = refused(shared, channel="email", address=address)

    assert (status, "address" in sentence) == (400, True)


# when an alert goes out


RETRIES = [10, 30, 120, 600, 3600, *[3600] * 24]


def test_deliver_has_sent_when_it_returns(
    site: Site, make_listener: Callable[[], Listener]
) -> None:
    listeners = [make_listener() for _ in range(3)]
    for n, one in enumerate(listeners):
        add_hook(site, one, f"Hook {n}")
    for n in range(5):
        fail(site, nightly(site, key=f"job-{n}").token)

    site.server.deliver()

    assert [len(one.received) for one in listeners] == [5, 5, 5]


def test_a_retry_comes_when_it_is_due_and_not_before(site: Site, listener: Listener) -> None:
    listener.answers = [500]
    delivered(site, listener)

    early = told_again(site, listener, 9.999)
    then = told_again(site, listener, 0.001)

    assert (early, then) == (1, 2)


def until_dead(site: Site) -> None:
    """Let every try that there is fail."""
    site.server.deliver()
    for seconds in RETRIES:
        site.clock.move(seconds)
        site.server.deliver()


def test_a_dead_alert_is_never_tried_again(site: Site, listener: Listener) -> None:
    listener.status = 500
    add_hook(site, listener)
    fail(site, nightly(site).token)
    until_dead(site)
    site.clock.move(7 * 86_400)

    site.server.deliver()

    assert (len(listener.received), alert(site)["state"]) == (30, "dead")


def test_a_try_is_claimed_on_disk_before_it_is_sent(site: Site, listener: Listener) -> None:
    seen: list[tuple[int, int, str]] = []

    def look() -> None:
        row = alert(site)
        seen.append((row["tries"], row["due_at"] - NOW, row["state"]))

    listener.meanwhile = look
    delivered(site, listener)

    assert seen == [(1, 60_000, "pending")]  # a try has 30 s


def test_a_try_that_a_crash_interrupted_is_made_again(site: Site, listener: Listener) -> None:
    add_hook(site, listener)
    fail(site, nightly(site).token)
    with sqlite3.connect(site.database) as db:
        copies: list[bytes] = []
        listener.meanwhile = lambda: copies.append(
            site.database.read_bytes()
            if not site.rows("PRAGMA wal_checkpoint(FULL)")[0]["busy"]
            else b""
        )
        site.server.deliver()
    db.close()
    crashed = site.database.with_name("crashed.db")
    crashed.write_bytes(copies[0])

    again = Site(crashed)
    again.clock.move(60)
    again.server.deliver()
    again.server.close()

    ids = [one.headers["webhook-id"] for one in listener.received]
    assert len(ids) == 2
    assert ids[0] == ids[1]


def test_nobody_hears_recovered_before_missed(site: Site, listener: Listener) -> None:
    listener.answers = [500]
    add_hook(site, listener)
    make_missed(site)
    site.server.deliver()
    site.get(f"/{token_of(site)}")
    site.server.deliver()
    site.clock.move(10)

    site.server.deliver()

    assert listener.kinds == ["missed", "missed", "recovered"]


def token_of(site: Site) -> str:
    """The token of the only monitor."""
    (found,) = site.rows("SELECT text FROM handle WHERE kind = 'token'")
    return str(found["text"])


def test_what_waits_goes_out_where_the_one_before_it_is_pruned(
    site: Site, listener: Listener
) -> None:
    listener.answers = [500]
    add_hook(site, listener)
    job = nightly(site)
    fail(site, job.token)
    site.get(f"/{job.token}")
    site.server.deliver()
    site.rows("DELETE FROM event WHERE kind = 'failed'")

    site.server.deliver()

    assert listener.kinds == ["failed", "recovered"]


def test_a_pruned_alert_that_waits_makes_no_other_one_due(site: Site, listener: Listener) -> None:
    listener.answers = [500]
    add_hook(site, listener)
    job = nightly(site)
    fail(site, job.token)
    site.get(f"/{job.token}")
    site.server.deliver()
    site.rows("DELETE FROM event WHERE kind = 'recovered'")

    site.server.deliver()

    assert listener.kinds == ["failed"]


def test_nobody_looks_through_what_waits_behind_a_dead_webhook(
    site: Site, listener: Listener
) -> None:
    listener.status = 500
    add_hook(site, listener)
    job = nightly(site)
    for _ in range(3):
        fail(site, job.token)
        site.get(f"/{job.token}")

    site.server.deliver()

    now = site.clock()
    assert len(site.rows("SELECT num FROM alert WHERE due_at <= ? + 86400000", now)) == 1


def test_the_oldest_due_alert_is_found_by_an_index(site: Site) -> None:
    sql = f"EXPLAIN QUERY PLAN {cronwatch.OLDEST_DUE}".replace(":now", "0")

    plan = [row["detail"] for row in site.rows(sql.replace(":integration", "1"))]

    assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step]


def test_alerts_of_an_older_file_wait_in_order_too(site: Site, listener: Listener) -> None:
    """Part 2 of the schema: before it, one behind another was due like any other."""
    parts = cronwatch.schema_parts()
    add_hook(site, listener)
    job = nightly(site)
    fail(site, job.token)
    site.get(f"/{job.token}")
    for name in ("waits", "done", "gone"):
        site.rows(f"DROP TRIGGER alert_{name}")
    site.rows("UPDATE alert SET due_at = num")

    for statement in parts[1]:
        site.rows(statement)

    assert [row["due_at"] for row in site.rows("SELECT due_at FROM alert ORDER BY num")] == [
        1,
        2**53,
    ]


def test_an_alert_that_waits_holds_back_no_other_monitors(site: Site, listener: Listener) -> None:
    listener.answers = [500]
    add_hook(site, listener)
    fail(site, nightly(site, key="first").token)
    fail(site, nightly(site, key="second").token)

    site.server.deliver()

    assert [(one.event["monitor"]["key"]) for one in listener.received] == ["first", "second"]


def test_a_slow_integration_delays_no_other(
    site: Site, make_listener: Callable[[], Listener]
) -> None:
    slow, well = make_listener(), make_listener()
    release = threading.Event()
    slow.meanwhile = lambda: assert_set(release)
    add_hook(site, slow, "Slow")
    add_hook(site, well, "Well")
    fail(site, nightly(site).token)
    turn = threading.Thread(target=site.server.deliver)
    turn.start()

    try:
        wait_for(lambda: well.received and slow.received, "both")
        wait_for(lambda: site.rows("SELECT 1 FROM alert WHERE state = 'sent'"), "a success")
    finally:
        release.set()
        turn.join(10)


def test_a_slow_integration_delays_no_scan(site: Site, listener: Listener) -> None:
    release = threading.Event()
    listener.meanwhile = lambda: assert_set(release)
    add_hook(site, listener)
    make_missed(site)
    turn = threading.Thread(target=site.server.deliver)
    turn.start()
    wait_for(lambda: listener.received, "a try")

    job = site.monitor(key="other")
    site.get(f"/{job.token}")
    site.clock.move(4000)
    site.server.scan()

    found = site.events
    release.set()
    turn.join(10)
    assert found == ["missed", "missed"]


# what a receiver says


def told_again(site: Site, listener: Listener, seconds: float) -> int:
    """How many requests came by so many seconds later."""
    site.clock.move(seconds)
    site.server.deliver()
    return len(listener.received)


def two_failed(site: Site) -> None:
    """Two monitors that fail, of which everybody is told."""
    for key in ("first", "second"):
        fail(site, nightly(site, key=key).token)
    site.server.deliver()


def date_in(seconds: int) -> str:
    return formatdate((NOW // 1000) + seconds, usegmt=True)


JUDGEMENTS: list[tuple[int, str | None, str, int]] = [
    # what is answered, and when to come again; what that means, and for how long it rests
    *((status, None, "sent", 0) for status in (200, 201, 202, 204)),
    *((status, None, "refused", 0) for status in (400, 403, 404, 410, 413, 422)),
    *((status, None, "failed", 0) for status in (301, 302, 303, 307, 308, 401, 500, 503)),
    (503, "120", "busy", 120),
    (429, "120", "busy", 120),
    (429, date_in(120), "busy", 120),
    (429, None, "busy", 30),
    (429, "soon", "busy", 30),
    (429, "0", "busy", 1),
    (429, "-5", "busy", 1),
    (429, date_in(-120), "busy", 1),
    (429, "86400", "busy", 3600),
]


@pytest.mark.parametrize("status, retry_after, verdict, seconds", JUDGEMENTS)
def test_what_a_web_server_answers_is_judged_by_its_status(
    status: int, retry_after: str | None, verdict: str, seconds: int
) -> None:
    reply = cronwatch.HttpReply(status, "", retry_after)

    attempt = cronwatch.judge_reply(reply, NOW)

    assert (attempt.verdict, attempt.wait_ms) == (verdict, seconds * 1000)


def test_a_receiver_that_is_busy_is_left_alone_for_as_long_as_it_asks(
    site: Site, listener: Listener
) -> None:
    listener.answers, listener.headers = [429], {"Retry-After": "120"}
    add_hook(site, listener)

    two_failed(site)

    first = len(listener.received)
    early = told_again(site, listener, 119.999)
    then = told_again(site, listener, 0.001)
    assert (first, early, then) == (1, 1, 3)


def test_that_a_receiver_is_busy_is_no_failed_try(site: Site, listener: Listener) -> None:
    listener.answers, listener.headers = [429] * 50, {"Retry-After": "3600"}
    add_hook(site, listener)
    fail(site, nightly(site).token)
    for _ in range(50):
        site.server.deliver()
        site.clock.move(3600)

    site.server.deliver()

    assert (alert(site)["state"], alert(site)["tries"], site.events) == ("sent", 1, ["failed"])


def test_an_alert_that_waits_for_a_busy_receiver_is_not_overdue(
    site: Site, listener: Listener
) -> None:
    listener.answers, listener.headers = [429], {"Retry-After": "600"}
    delivered(site, listener)
    site.clock.move(599)

    assert site.server.read(cronwatch.outbox_counts)["overdue"] == 0


class Rationed:
    """A receiver that takes so many alerts in each minute of the clock, then asks to wait."""

    def __init__(self, site: Site, most: int) -> None:
        self.site, self.most = site, most
        self.told: list[str] = []
        self.minutes: Counter[int] = Counter()

    def send(self, *what: Any) -> cronwatch.Attempt:
        minute, passed_ms = divmod(self.site.clock.now, 60_000)
        if self.minutes[minute] == self.most:
            return cronwatch.Attempt("busy", "HTTP 429", None, 60_000 - passed_ms)
        self.minutes[minute] += 1
        self.told.append(what[3]["monitor"]["key"])
        return cronwatch.Attempt("sent", "HTTP 200")


def test_1500_alerts_at_once_are_told_within_an_hour_at_30_a_minute(site: Site) -> None:
    add(site, "webhook", "http://127.0.0.1:9/", "Rationed")
    receiver = Rationed(site, 30)
    site.server.outbox.senders = {"webhook": receiver.send}
    first = nightly(site, key="job-0")
    site.get(f"/{first.token}")
    copy_monitor(site, first, 1500)
    site.clock.move(86_400 + 600)
    site.server.scan()
    began = site.clock.now

    while site.rows("SELECT 1 FROM alert WHERE state = 'pending' LIMIT 1"):
        site.server.deliver()
        site.clock.move(5)

    assert (len(receiver.told), len(set(receiver.told))) == (1500, 1500)
    assert site.clock.now - began <= 3_600_000


def copy_monitor(site: Site, job: Made, count: int) -> None:
    """So many monitors in all that do as this one does."""
    columns = [
        name for name in site.monitors[0] if name not in ("num", "id", "key", "status", "due_at")
    ]
    names = ", ".join(columns)
    site.rows(
        f"INSERT INTO monitor (id, key, status, due_at, {names}) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) SELECT 'id-' || i, "
        f"'job-' || i, status, due_at, {names} FROM monitor, n WHERE num = ?",
        count,
        job.num,
    )


NOBODY = "http://127.0.0.1:9/"


def tries(site: Site) -> list[int]:
    return [row["tries"] for row in site.rows("SELECT tries FROM alert ORDER BY num")]


def test_where_nobody_answers_the_rest_of_the_round_is_not_tried(site: Site) -> None:
    add(site, "webhook", NOBODY, "Hook")

    two_failed(site)

    assert tries(site) == [1, 0]


def test_where_nobody_answered_the_oldest_alert_asks_again(site: Site) -> None:
    add(site, "webhook", NOBODY, "Hook")
    two_failed(site)
    found = []

    for seconds in (9.999, 0.001, 30, 120, 600):
        site.clock.move(seconds)
        for _ in range(3):
            site.server.deliver()
        found.append(tries(site))

    assert found == [[1, 0], [2, 0], [3, 0], [4, 0], [5, 0]]


def test_where_somebody_answers_again_all_that_waited_goes_out_in_order(
    site: Site, listener: Listener
) -> None:
    add(site, "webhook", NOBODY, "Hook")
    two_failed(site)
    site.rows("UPDATE integration SET config = replace(config, ?, ?)", NOBODY, listener.url)
    site.clock.move(10)

    site.server.deliver()

    assert [one.event["monitor"]["key"] for one in listener.received] == ["first", "second"]


def test_who_is_not_there_for_a_day_is_asked_each_ten_minutes_at_the_most(site: Site) -> None:
    add(site, "webhook", NOBODY, "Hook")
    for n in range(20):
        fail(site, nightly(site, key=f"job-{n}").token)

    for _ in range(24 * 6):
        site.server.deliver()
        site.clock.move(600)

    assert 24 <= sum(tries(site)) <= 24 * 6


def test_what_nobody_took_for_more_than_a_day_is_given_up_together(site: Site) -> None:
    add(site, "webhook", NOBODY, "Hook")
    for n in range(20):
        fail(site, nightly(site, key=f"job-{n}").token)

    for _ in range(27 * 6):
        site.server.deliver()
        site.clock.move(600)

    assert site.rows("SELECT state, count(*) AS n FROM alert GROUP BY state") == [
        {"state": "dead", "n": 20}
    ]


def test_a_changed_address_is_asked_at_once(site: Site, listener: Listener) -> None:
    add(site, "webhook", NOBODY, "Hook")
    two_failed(site)
    for seconds in (10, 30, 120, 600):
        site.clock.move(seconds)
        site.server.deliver()
    path, key = "/api/v1/integrations/Hook", {"X-API-Key": "cw_management"}
    assert site.send("PATCH", path, json.dumps({"url": listener.url}), key).status_int == 200

    site.server.deliver()

    assert [one.event["monitor"]["key"] for one in listener.received] == ["second"]


def refused_and_well(site: Site, listener: Listener, status: int) -> None:
    """A failure that is refused as often as it comes, and a recovery that is taken."""

    def take_recoveries() -> None:
        kind = listener.received[-1].event["kind"]
        listener.status = 200 if kind == "recovered" else status

    listener.meanwhile = take_recoveries
    add_hook(site, listener)
    job = nightly(site)
    fail(site, job.token)
    site.get(f"/{job.token}")
    site.server.deliver()


def test_an_alert_that_is_refused_three_times_steps_aside(site: Site, listener: Listener) -> None:
    refused_and_well(site, listener, 403)
    for seconds in (10, 30):
        site.clock.move(seconds)
        site.server.deliver()

    assert listener.kinds == ["failed", "failed", "failed", "recovered"]


def test_an_alert_that_fails_otherwise_does_not_step_aside(site: Site, listener: Listener) -> None:
    refused_and_well(site, listener, 500)
    for seconds in (10, 30, 120, 600):
        site.clock.move(seconds)
        site.server.deliver()

    assert listener.kinds == ["failed"] * 5


def test_an_alert_that_stepped_aside_goes_on_being_tried_out_of_its_order(
    site: Site, listener: Listener
) -> None:
    refused_and_well(site, listener, 404)
    for seconds in (10, 30):
        site.clock.move(seconds)
        site.server.deliver()
    listener.meanwhile, listener.status = lambda: None, 200
    site.clock.move(120)

    site.server.deliver()

    assert listener.kinds[3:] == ["recovered", "failed"]
    assert {row["state"] for row in site.rows("SELECT state FROM alert")} == {"sent"}


def test_what_a_receiver_answers_is_shown_to_who_may_write(site: Site, listener: Listener) -> None:
    listener.status, listener.text = 400, b"Summary or Text\nis required.\n" + b"x" * 5000
    delivered(site, listener)

    (delivery,) = events(site)[0]["deliveries"]

    answer = f"Summary or Text is required. {'x' * 5000}"[:300]
    assert delivery["result"] == f"HTTP 400: {answer}"


def test_what_a_receiver_answers_is_not_shown_to_who_only_reads(
    site: Site, listener: Listener
) -> None:
    listener.status, listener.text = 400, b"the key hunter2 has no credit"
    delivered(site, listener)
    key = site.api_key("read-only")

    shown = [
        site.get(f"/api/v1/{path}", X_API_Key=key).text
        for path in (
            "events",
            f"heartbeats/{site.monitors[0]['id']}/events",
            f"heartbeats/{site.monitors[0]['id']}/log",
            "integrations",
            "integrations/webhook 0",
            "health",
            "summary",
        )
    ]

    assert ["hunter2" in text for text in shown] == [False] * 7


@pytest.mark.parametrize(
    "protocol, result", [("HTTP/1.0", "HTTP 400"), ("hunter2", "what it answers is no HTTP")]
)
def test_what_a_receiver_answers_is_not_told_to_others(
    site: Site, make_listener: Callable[[], Listener], protocol: str, result: str
) -> None:
    wrong, well = make_listener(), make_listener()
    wrong.status, wrong.text = 400, b"the key hunter2 has no credit"
    wrong.protocol = protocol
    add_hook(site, wrong, "Wrong")
    add_hook(site, well, "Well")
    fail(site, nightly(site).token)
    for seconds in (0, 10, 30, 120, 0):
        site.clock.move(seconds)
        site.server.deliver()

    assert well.received[-1].event["summary"] == f"Wrong takes no alerts: {result}"


def test_a_status_below_200_is_not_the_last_one(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"http://127.0.0.1:{door.getsockname()[1]}/"
        add(site, "webhook", url, "Hook")
        fail(site, nightly(site).token)
        turn = threading.Thread(target=site.server.deliver)
        turn.start()
        peer, _ = door.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            peer.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n")
            turn.join(10)

    assert (alert(site)["state"], alert(site)["result"]) == ("sent", "HTTP 204")


# tests


def test_a_slow_test_is_sent_once(site: Site, listener: Listener) -> None:
    def wait_and_deliver() -> None:
        site.clock.move(29)
        site.server.deliver()

    listener.meanwhile = wait_and_deliver
    id_ = add_hook(site, listener)

    shown = post(site, f"integrations/{id_}/test")

    assert (shown, listener.kinds) == ({"ok": True, "result": "HTTP 200"}, ["test"])


def test_a_test_that_nobody_finished_is_not_sent_again(site: Site, listener: Listener) -> None:
    add_hook(site, listener)
    site.server.act(cronwatch.add_test, 1, "Hook")
    site.server.act(cronwatch.claim_test, 1)
    site.clock.move(86_400)

    site.server.deliver()

    assert listener.received == []


def test_a_test_goes_out_although_its_integration_rests(site: Site, listener: Listener) -> None:
    listener.answers = [429]
    add_hook(site, listener)
    two_failed(site)
    num = site.server.act(cronwatch.add_test, 1, "Hook")

    site.server.deliver()

    assert listener.kinds == ["failed", "test", "failed", "failed"]
    assert site.rows("SELECT state FROM alert WHERE num = ?", num) == [{"state": "sent"}]


def test_a_test_goes_out_although_its_integration_is_off(site: Site, listener: Listener) -> None:
    add_hook(site, listener)
    site.rows("UPDATE integration SET enabled = 0")
    site.server.act(cronwatch.add_test, 1, "Hook")

    site.server.deliver()

    assert listener.kinds == ["test"]


def test_a_third_test_at_a_time_is_refused(site: Site, listener: Listener) -> None:
    release = threading.Event()
    listener.meanwhile = lambda: assert_set(release)
    id_ = add_hook(site, listener)
    post(site, "heartbeats", name="unused", scheduleType="none")
    threads = [
        threading.Thread(target=post, args=(site, f"integrations/{id_}/test")) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(listener.received) == 2, "both tests")

    answer = site.post(f"/api/v1/integrations/{id_}/test", X_API_Key="cw_management")

    release.set()
    for thread in threads:
        thread.join(10)
    assert (answer.status_int, len(listener.received)) == (429, 2)


# what is kept


@pytest.mark.parametrize("settings", [{"keep_days": 1}, {"keep_days": 0, "keep_pings": 3}])
def test_an_event_with_an_alert_that_waits_is_kept(
    make_site: Callable[..., Site], listener: Listener, settings: dict[str, int]
) -> None:
    site = make_site(**settings)
    job = nightly(site)
    fail(site, job.token)
    add_hook(site, listener)
    listener.status = 500
    site.clock.move(3600)
    fail(site, job.token)
    site.server.deliver()
    site.rows("UPDATE integration SET enabled = 0")
    for _ in range(4):
        site.clock.move(86_400)
        site.get(f"/{job.token}")
        fail(site, job.token)

    site.server.housekeeping()

    assert alert(site)["state"] == "pending"


# when an alert cannot be delivered


class Pair(NamedTuple):
    """An integration that does not work, and one that does."""

    site: Site
    dead: Listener
    well: Listener

    def try_again(self, times: int) -> None:
        """Let the dead one be tried so often, and the other one hear of it."""
        for seconds in [0, *RETRIES][:times]:
            self.site.clock.move(seconds)
            self.site.server.deliver()
        self.site.server.deliver()


@pytest.fixture
def pair(site: Site, make_listener: Callable[[], Listener]) -> Pair:
    found = Pair(site, make_listener(), make_listener())
    found.dead.status = 500
    add_hook(site, found.dead, "Dead hook")
    add_hook(site, found.well, "Well hook")
    return found


def test_after_the_fourth_failed_try_the_others_are_told(pair: Pair) -> None:
    fail(pair.site, nightly(pair.site).token)

    pair.try_again(3)
    before = pair.well.kinds
    pair.site.clock.move(120)
    pair.site.server.deliver()
    pair.site.server.deliver()

    assert (before, pair.well.kinds) == (["failed"], ["failed", "delivery_failed"])


def test_the_one_that_failed_is_not_told_of_it(pair: Pair) -> None:
    fail(pair.site, nightly(pair.site).token)

    pair.try_again(4)

    assert ("Dead hook", "delivery_failed") not in alerts(pair.site)


def test_the_others_are_told_once(pair: Pair) -> None:
    for n in range(3):
        fail(pair.site, nightly(pair.site, key=f"job-{n}").token)

    pair.try_again(9)

    assert pair.well.kinds.count("delivery_failed") == 1


def test_the_others_are_told_again_once_it_has_worked_between(pair: Pair) -> None:
    fail(pair.site, nightly(pair.site).token)
    pair.try_again(4)
    pair.dead.answers = [200]
    pair.site.clock.move(600)
    pair.site.server.deliver()

    fail(pair.site, nightly(pair.site, key="other").token)
    pair.try_again(4)

    assert pair.well.kinds.count("delivery_failed") == 2


def test_four_failed_tries_count_whichever_alerts_they_were_for(pair: Pair) -> None:
    for n in range(4):
        fail(pair.site, nightly(pair.site, key=f"job-{n}").token)

    pair.try_again(1)

    assert sorted(pair.well.kinds) == ["delivery_failed", *["failed"] * 4]


def test_tries_with_one_that_worked_between_are_not_in_a_row(pair: Pair) -> None:
    pair.dead.answers = [500, 500, 500, 200, 500, 500, 500]
    for n in range(7):
        fail(pair.site, nightly(pair.site, key=f"job-{n}").token)

    pair.try_again(1)

    assert "delivery_failed" not in pair.well.kinds


def test_a_failing_server_event_makes_no_further_event(pair: Pair) -> None:
    make_outage(pair.site)

    pair.try_again(9)

    assert pair.well.kinds == ["outage"]


def test_a_failing_test_makes_no_further_event(pair: Pair) -> None:
    (dead,) = pair.site.rows("SELECT id FROM integration WHERE name = 'Dead hook'")
    post(pair.site, f"integrations/{dead['id']}/test")

    pair.try_again(9)

    assert pair.well.kinds == []


def test_where_nothing_works_nothing_is_told_for_ever(pair: Pair) -> None:
    pair.well.status = 500
    fail(pair.site, nightly(pair.site).token)

    pair.try_again(30)

    assert sorted(pair.site.events) == ["delivery_failed", "delivery_failed", "failed"]


# who is told no more, and who is back


def failed_in_vain(site: Site) -> None:
    """Two monitors have failed, and nobody answers."""
    add(site, "webhook", NOBODY, "Hook")
    two_failed(site)


def test_who_is_back_is_told_all_at_once(site: Site, listener: Listener) -> None:
    failed_in_vain(site)
    for seconds in (10, 30, 120, 600):
        site.clock.move(seconds)
        site.server.deliver()
    site.rows("UPDATE integration SET config = replace(config, ?, ?)", NOBODY, listener.url)
    site.clock.move(600)

    site.server.deliver()

    assert {one.event["monitor"]["key"] for one in listener.received} == {"first", "second"}


def given_up(site: Site) -> list[str]:
    return [row["state"] for row in site.rows("SELECT state FROM alert ORDER BY num")]


def test_who_is_switched_off_is_not_told_later(site: Site) -> None:
    failed_in_vain(site)

    site.send("PATCH", "/api/v1/integrations/Hook", '{"enabled": false}', MANAGER)

    assert given_up(site) == ["dead", "dead"]


def test_who_is_told_of_a_monitor_no_more_is_not_told_later(site: Site) -> None:
    failed_in_vain(site)

    site.send("PATCH", "/api/v1/heartbeats/first", '{"integrationIds": []}', MANAGER)

    assert given_up(site) == ["dead", "pending"]


MANAGER = {"X-API-Key": "cw_management"}


def test_a_mail_server_that_wants_nobody_is_quoted(make_site: Callable[..., Site]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"554 on a block list\r\n")
                peer.recv(100)

        threading.Thread(target=greet, daemon=True).start()
        port = server.getsockname()[1]
        settings = cronwatch.Settings(smtp_host="127.0.0.1", smtp_port=port, smtp_security="none")

        with pytest.raises(smtplib.SMTPConnectError) as refused, cronwatch.open_smtp(settings):
            pass

    assert (refused.value.smtp_code, refused.value.smtp_error) == (554, b"on a block list")


def test_the_longest_rest_is_an_hour_however_many_digits_ask_for_it() -> None:
    assert cronwatch.rest_ms("9" * 20, 0) == 3_600_000

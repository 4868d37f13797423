"""What is told, to whom, how and when. The stories in site/outbox.txt say what goes out when."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import itertools
import json
import os
import smtplib
import socket
import ssl
import subprocess
import threading
import time
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
from live_server import wait_for
from trouble import add

import cronwatch

NOBODY = "http://127.0.0.1:9/"
HOSTILE = "$(touch pwned) `touch pwned` ; touch pwned # 'x' \"y\" %s \\ <b> 🔥 ünï"


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


def ask(site: Site, method: str, path: str, **body: Any) -> Any:
    """What the management API answers to something that it must take."""
    answer = site.send(method, f"/api/v1/{path}", json.dumps(body), {"X-API-Key": site.api_key()})
    assert answer.status_int in (200, 201), answer.text
    return answer.json


def events(site: Site) -> list[dict[str, Any]]:
    """The events as the API shows them, newest first."""
    found: list[dict[str, Any]] = ask(site, "GET", "events")["events"]
    return found


def alert(site: Site) -> dict[str, Any]:
    """The one row of the outbox."""
    (found,) = site.rows("SELECT * FROM alert")
    return found


def fail(site: Site, token: str) -> None:
    assert site.get(f"/{token}/fail").status_int == 200


MAIL = "me@home.example"


def test_a_command_without_the_settings_of_the_server_knows_that_it_mails(site: Site) -> None:
    site.server.act(cronwatch.remember, "smtp_host", "mail.example")
    add(site, "email", MAIL)

    make_failed(site)

    assert alert(site)["state"] == "pending"


@pytest.mark.parametrize(
    "host, problem",
    [("", "no mail can be sent: the setting smtp_host is empty"), ("127.0.0.1", None)],
)
def test_mail_that_cannot_be_sent_is_shown_as_such_and_who_has_nothing_else_as_unheard(
    make_site: Callable[..., Site], host: str, problem: str | None
) -> None:
    site = make_site(smtp_host=host)
    add(site, "email", MAIL)

    made = ask(site, "POST", "heartbeats", name="It", scheduleType="none")
    again = ask(site, "GET", f"heartbeats/{made['id']}")
    mail = ask(site, "GET", "integrations/email")

    assert (made["heard"], again["heard"], mail["problem"]) == (bool(host), bool(host), problem)


def test_an_event_and_its_alerts_come_with_the_change_or_not_at_all(site: Site) -> None:
    add(site, "slack", "https://hooks.slack.example/T0")
    job = site.monitor()
    site.rows(
        "CREATE TRIGGER no_alerts BEFORE INSERT ON alert BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )

    status = site.get(f"/{job.token}/fail").status_int

    assert (status >= 500, site.monitors[0]["status"]) == (True, "new")
    assert (site.pings, site.runs, site.events) == ([], [], [])


# what an event says


def nightly(site: Site, **columns: Any) -> Made:
    """A monitor with all that an event can say of it."""
    usual = {"name": "Backup", "key": "backup", "tags": "db prod", "interval_seconds": 86_400}
    return site.monitor(**{**usual, **columns})


def make_failed(site: Site) -> None:
    job = nightly(site)
    site.get(f"/{job.code}/run?host=nas&series=n1")
    site.clock.move(90)
    site.get(f"/{job.code}/fail?host=nas&series=n1&status_code=3&msg=disk+full")


def test_a_failed_event_shows_the_tail_of_the_log(site: Site) -> None:
    site.post(f"/ping/{nightly(site).token}/fail", "first line\n" + "x" * 5000 + "\nlast line")

    tail = events(site)[0]["run"]["logTail"]

    assert (tail.endswith("x\nlast line"), "first line" in tail) == (True, False)


# webhooks


def delivered(site: Site, listener: Listener, channel: str = "webhook") -> Received:
    """The request that tells of a failure."""
    add(site, channel, f"{listener.url}/hook?to=me")
    make_failed(site)
    site.server.deliver()
    (received,) = listener.received
    return received


def test_a_webhook_is_a_post_of_the_event_that_the_api_shows(
    site: Site, listener: Listener
) -> None:
    received = delivered(site, listener)

    event = events(site)[0]
    del event["deliveries"]
    assert (received.method, received.path) == ("POST", "/hook?to=me")
    assert (received.headers["content-type"], received.event) == ("application/json", event)


def test_a_webhook_is_signed_as_standard_webhooks_has_it(site: Site, listener: Listener) -> None:
    received = delivered(site, listener)

    (config,) = site.rows("SELECT config FROM integration")
    key = base64.b64decode(json.loads(config["config"])["secret"].removeprefix("whsec_"))
    signed = f"{received.event['id']}.{NOW // 1000 + 90}.".encode() + received.body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    assert received.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_retry_has_the_same_id_and_body_and_a_time_of_its_own(
    site: Site, listener: Listener
) -> None:
    listener.answers = [500]
    first = delivered(site, listener)
    site.clock.move(10)

    site.server.deliver()

    second = listener.received[1]
    assert listener.ids == [first.event["id"]] * 2
    assert first.body == second.body
    times = [int(one.headers["webhook-timestamp"]) - NOW // 1000 for one in (first, second)]
    assert times == [90, 100]


def test_a_webhook_follows_no_redirect(site: Site, make_listener: Callable[[], Listener]) -> None:
    first, second = make_listener(), make_listener()
    first.status, first.headers = 307, {"Location": f"{second.url}/elsewhere"}

    delivered(site, first)

    assert (second.received, alert(site)["state"]) == ([], "pending")


def test_a_webhook_takes_no_proxy_from_the_environment(
    site: Site, make_listener: Callable[[], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, proxy = make_listener(), make_listener()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)

    delivered(site, target)

    assert proxy.received == []


@pytest.mark.parametrize(
    "channel, content_type",
    [("slack", "application/json"), ("discord", "application/json"), ("ntfy", "text/plain")],
)
def test_a_preset_words_the_body_and_shows_nobody_what_signs_it(
    site: Site, listener: Listener, channel: str, content_type: str
) -> None:
    received = delivered(site, listener, channel)

    event = events(site)[0]
    del event["deliveries"]
    content = cronwatch.BODIES[channel](event).content
    assert (received.headers["content-type"], received.body) == (content_type, content)
    assert "secret" not in ask(site, "GET", f"integrations/{channel}")


def test_a_hostile_message_arrives_as_text(site: Site, listener: Listener) -> None:
    add(site, "ntfy", listener.url)
    site.get(f"/{nightly(site).code}/fail?msg={quote(HOSTILE)}")

    site.server.deliver()

    (received,) = listener.received
    assert HOSTILE in received.headers["title"].encode("latin-1").decode()


def test_a_status_below_200_is_not_the_last_one(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        add(site, "webhook", f"http://127.0.0.1:{door.getsockname()[1]}/")
        make_failed(site)
        turn = threading.Thread(target=site.server.deliver)
        turn.start()
        peer, _ = door.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            peer.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n")
            turn.join(10)

    assert (alert(site)["state"], alert(site)["result"]) == ("sent", "HTTP 204")


def date_in(seconds: int) -> str:
    return formatdate((NOW // 1000) + seconds, usegmt=True)


@pytest.mark.parametrize(
    "status, retry_after, verdict, seconds",
    [
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
        (429, "9" * 20, "busy", 3600),
    ],
)
def test_what_a_web_server_answers_is_judged_by_its_status(
    status: int, retry_after: str | None, verdict: str, seconds: int
) -> None:
    reply = cronwatch.HttpReply(status, "", retry_after)

    attempt = cronwatch.judge_reply(reply, NOW)

    assert (attempt.verdict, attempt.wait_ms) == (verdict, seconds * 1000)


def test_a_receiver_that_asks_to_wait_rests(site: Site, listener: Listener) -> None:
    listener.answers, listener.headers = [429], {"Retry-After": "120"}

    delivered(site, listener)

    (hook,) = site.rows("SELECT rests_until FROM integration")
    assert hook["rests_until"] - site.clock.now == 120_000


def test_what_a_receiver_answers_is_shown_to_who_may_write(site: Site, listener: Listener) -> None:
    listener.status, listener.text = 400, b"Summary or Text\nis required.\n" + b"x" * 5000

    delivered(site, listener)

    answer = f"Summary or Text is required. {'x' * 5000}"[:300]
    assert result_of(site) == f"HTTP 400: {answer}"


@pytest.mark.parametrize(
    "protocol, result", [("HTTP/1.0", "HTTP 400"), ("hunter2", "what it answers is no HTTP")]
)
def test_what_a_receiver_answers_is_not_told_to_others(
    site: Site, make_listener: Callable[[], Listener], protocol: str, result: str
) -> None:
    wrong, well = make_listener(), make_listener()
    wrong.status, wrong.text = 400, b"the key hunter2 has no credit"
    wrong.protocol = protocol
    add(site, "webhook", wrong.url, "Wrong")
    add(site, "webhook", well.url, "Well")
    make_failed(site)
    for seconds in (0, 10, 30, 120, 0):
        site.clock.move(seconds)
        site.server.deliver()

    assert well.received[-1].event["summary"] == f"Wrong takes no alerts: {result}"


# commands


@pytest.fixture
def shell(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Tells a command of a failure, and answers with the folder that the command works in."""
    folder = tmp_path / "shell"
    folder.mkdir()
    monkeypatch.setattr(cronwatch, "COMMAND_SECONDS", 20)

    def tell(command: str, **fields: Any) -> Path:
        add(site, "command", f"cd {folder} && {{ {command}\n}}")
        ask(site, "POST", f"ping/{nightly(site).id}/fail", **fields)
        site.server.deliver()
        return folder

    return tell


def test_a_command_is_told_the_event_and_nothing_else_of_where_it_runs(
    site: Site, shell: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRONWATCH_SMTP_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    folder = shell("cat > given; env -0 > env", errorMessage=HOSTILE)

    event = events(site)[0]
    del event["deliveries"]
    lines = (folder / "env").read_text().rstrip("\0").split("\0")
    variables = dict(line.split("=", 1) for line in lines)
    for name in ("PATH", "HOME", "LANG", "TZ", "PWD", "OLDPWD", "SHLVL", "_"):
        variables.pop(name, None)
    assert (json.loads((folder / "given").read_text()), event["run"]["message"]) == (
        event,
        HOSTILE,
    )
    assert variables == cronwatch.event_variables(event)


def test_an_event_is_told_in_these_variables(site: Site) -> None:
    job = nightly(site, notes="Call Ann.\nThen Bob.")
    site.get(f"/{job.token}/start")
    site.clock.move(60)
    site.get(f"/{job.token}")
    site.post(f"/ping/{job.token}/3", "copying\ndisk full")
    event = events(site)[0]

    variables = cronwatch.event_variables(event)

    expected = {
        "ID": event["id"],
        "KIND": "failed",
        "AT": "2026-03-02T12:01:00.000Z",
        "TOLD_AT": "2026-03-02T12:01:00.000Z",
        "SUMMARY": event["summary"],
        "REASON": "failed",
        "DOWN_SINCE": "2026-03-02T12:01:00.000Z",
        "MONITOR_KEY": "backup",
        "MONITOR_NAME": "Backup",
        "MONITOR_NOTES": "Call Ann. Then Bob.",
        "MONITOR_URL": event["monitor"]["url"],
        "RUN_STATE": "failed",
        "RUN_EXIT_CODE": "3",
        "RUN_LOG_TAIL": "copying\ndisk full",
        "LAST_SUCCESS_AT": "2026-03-02T12:01:00.000Z",
        "LAST_SUCCESS_DURATION_MS": "60000",
    }
    assert {name: variables[f"CRONWATCH_EVENT_{name}"] for name in expected} == expected


def test_a_variable_has_at_most_4_kilobytes(site: Site) -> None:
    make_failed(site)
    event = events(site)[0]
    event["run"] |= {"message": "🔥" * 3000, "logTail": "🔥" * 20_000}

    variables = cronwatch.event_variables(event)

    assert max(len(value.encode()) for value in variables.values()) == 4096


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
        "echo $$ >> pids; setsid sleep 5 & sleep 60",
        "echo $$ >> pids; while true; do (sleep 60 & echo $! >> pids) ; sleep 0.05; done",
        "echo $$ >> pids; trap '' TERM; kill -STOP $$",
    ],
    ids=[
        "the shell",
        "its child",
        "deaf to signals",
        "a pipe",
        "a group of its own",
        "a session of its own",
        "many children",
        "stopped",
    ],
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


def test_nothing_of_a_ping_is_in_the_command_line(site: Site, shell: Callable[..., Path]) -> None:
    folder = shell(
        'cat /proc/$$/cmdline > line; echo "$CRONWATCH_EVENT_RUN_MESSAGE"', errorMessage=HOSTILE
    )

    (config,) = site.rows("SELECT config FROM integration")
    words = (folder / "line").read_bytes().decode().split("\0")
    assert words == ["/bin/sh", "-c", json.loads(config["config"])["command"], ""]
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


Mail = Callable[..., Site]


@pytest.fixture
def mail(make_site: Callable[..., Site]) -> Mail:
    """Makes a site that sends its mail to a port, and tells of a failure."""

    def send(port: int, message: str = "disk full", **settings: str) -> Site:
        usual = {"smtp_security": "none", "smtp_from": "cron@home.example"}
        site = make_site(smtp_host="127.0.0.1", smtp_port=port, **{**usual, **settings})
        add(site, "email", MAIL)
        site.get(f"/{nightly(site).code}/fail?msg={quote(message)}")
        site.server.deliver()
        return site

    return send


def test_a_mail_says_from_whom_it_is_and_what_happened(mail: Mail, mailbox: Mailbox) -> None:
    site = mail(mailbox.port)

    (message,) = mailbox.received
    summary = events(site)[0]["summary"]
    assert (message["From"], message["To"]) == ("cron@home.example", "me@home.example")
    assert mailbox.recipients == [["me@home.example"]]
    assert (message["Subject"], summary in message.get_content()) == (summary, True)
    assert message["Date"]
    assert message["Message-ID"]


@pytest.mark.parametrize(
    "message",
    ["x\r\nBcc: you@evil.example\r\n\r\nHi", "=?utf-8?q?x=0D=0ABcc:_you@evil.example?="],
    ids=["lines", "an encoded word"],
)
def test_a_hostile_message_adds_no_header_to_a_mail(
    mail: Mail, mailbox: Mailbox, message: str
) -> None:
    mail(mailbox.port, message)

    (sent,) = mailbox.received
    assert (sent["Bcc"], "evil" in sent["Subject"]) == (None, True)
    assert mailbox.recipients == [["me@home.example"]]


@pytest.mark.parametrize(
    "methods, user, password",
    [
        (["PLAIN", "LOGIN"], "me", "hunter2"),
        (["PLAIN", "LOGIN"], "me", "Größe€"),
        (["LOGIN"], "Jürgen", "Größe€"),
    ],
)
def test_mail_signs_in_where_a_user_is_set(
    mail: Mail, methods: list[str], user: str, password: str
) -> None:
    box = Mailbox({"PLAIN", "LOGIN"} - set(methods))

    mail(box.port, smtp_user=user, smtp_password=password)

    box.controller.stop()
    assert (box.signed_in, len(box.received)) == ([(user.encode(), password.encode())], 1)


def test_a_password_that_a_mail_server_refuses_is_a_failed_try(
    mail: Mail, mailbox: Mailbox
) -> None:
    mailbox.lets_in = False

    site = mail(mailbox.port, smtp_user="me", smtp_password="Größe€")

    assert result_of(site).startswith("SMTP 535: ")


def test_what_a_mail_server_answers_is_shown(mail: Mail, mailbox: Mailbox) -> None:
    mailbox.refuses = True

    site = mail(mailbox.port)

    assert result_of(site) == "SMTP 451: come back later"


def test_mail_is_not_sent_in_the_clear_where_starttls_is_set(mail: Mail, mailbox: Mailbox) -> None:
    login = {"smtp_user": "me", "smtp_password": "hunter2"}

    site = mail(mailbox.port, smtp_security="starttls", **login)

    assert (mailbox.received, mailbox.signed_in, alert(site)["state"]) == ([], [], "pending")


def test_no_password_is_shown_to_a_server_whose_certificate_nobody_vouches_for(
    mail: Mail, tmp_path: Path
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
        site = mail(port, smtp_security="tls", smtp_user="me", smtp_password="hunter2")

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


def test_a_mail_server_that_wants_nobody_is_quoted() -> None:
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


def test_a_test_of_mail_without_a_server_says_which_setting_is_empty(site: Site) -> None:
    add(site, "email", MAIL)

    assert "smtp_host" in ask(site, "POST", "integrations/email/test")["result"]


# when an alert goes out


def test_a_try_is_claimed_on_disk_before_it_is_sent(site: Site, listener: Listener) -> None:
    seen: list[tuple[int, int, str]] = []

    def look() -> None:
        row = alert(site)
        seen.append((row["tries"], row["due_at"] - site.clock.now, row["state"]))

    listener.meanwhile = look
    delivered(site, listener)

    assert seen == [(1, 60_000, "pending")]  # a try has 30 s


def test_nobody_looks_through_what_waits_behind_a_dead_webhook(site: Site) -> None:
    add(site, "webhook", NOBODY)
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


def test_alerts_of_an_older_file_wait_in_order_too(site: Site) -> None:
    """Part 2 of the schema: before it, one behind another was due like any other."""
    add(site, "webhook", NOBODY)
    job = nightly(site)
    fail(site, job.token)
    site.get(f"/{job.token}")
    for name in ("waits", "done", "gone"):
        site.rows(f"DROP TRIGGER alert_{name}")
    site.rows("UPDATE alert SET due_at = num")

    for statement in cronwatch.schema_parts()[1]:
        site.rows(statement)

    due = [row["due_at"] for row in site.rows("SELECT due_at FROM alert ORDER BY num")]
    assert due == [1, 2**53]


@pytest.fixture
def hold(listener: Listener) -> Iterator[threading.Event]:
    """The listener answers nobody until this is set."""
    release = threading.Event()
    listener.meanwhile = lambda: wait_until(release)
    yield release
    release.set()


def wait_until(flag: threading.Event) -> None:
    assert flag.wait(10)


def test_a_slow_integration_delays_no_other_and_no_scan(
    site: Site, listener: Listener, hold: threading.Event
) -> None:
    add(site, "webhook", listener.url, "Slow")
    add(site, "command", "true", "Well")
    job = nightly(site, key="other")
    site.get(f"/{job.token}")
    make_failed(site)
    turn = threading.Thread(target=site.server.deliver)
    turn.start()

    wait_for(lambda: listener.received, "a try")
    wait_for(lambda: site.rows("SELECT 1 FROM alert WHERE state = 'sent'"), "a success")
    site.clock.move(86_400 + 600)
    site.server.scan()

    assert (site.events[:2], turn.is_alive()) == (["failed", "missed"], True)
    hold.set()
    turn.join(10)


def test_1500_alerts_at_once_are_told_within_an_hour_at_30_a_minute(site: Site) -> None:
    sent = cronwatch.Attempt("sent", "HTTP 200")
    busy = cronwatch.Attempt("busy", "HTTP 429", None, 60_000)
    answers = itertools.cycle([*[sent] * 30, busy])

    def add_events(tx: cronwatch.Transaction) -> None:
        for _ in range(1500):
            event = cronwatch.Event("delivery_failed", NOW)
            cronwatch.add_event(tx, event, None, [1], about=("It", "HTTP 500"))

    add(site, "webhook", NOBODY)
    site.server.outbox.senders = {"webhook": lambda *_: next(answers)}
    site.server.act(add_events)

    for _ in range(60):
        site.server.deliver()
        site.clock.move(60)

    assert site.rows("SELECT DISTINCT state FROM alert") == [{"state": "sent"}]


# tests


def test_a_slow_test_is_sent_once(site: Site, listener: Listener) -> None:
    def wait_and_deliver() -> None:
        site.clock.move(29)
        site.server.deliver()

    listener.meanwhile = wait_and_deliver
    add(site, "webhook", listener.url)

    shown = ask(site, "POST", "integrations/webhook/test")

    assert (shown, listener.kinds) == ({"ok": True, "result": "HTTP 200"}, ["test"])


def test_a_third_test_at_a_time_is_refused(
    site: Site, listener: Listener, hold: threading.Event
) -> None:
    add(site, "webhook", listener.url)
    path, key = "/api/v1/integrations/webhook/test", site.api_key()
    threads = [
        threading.Thread(target=site.post, args=(path,), kwargs={"X_API_Key": key})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(listener.received) == 2, "both tests")

    answer = site.post(path, X_API_Key=key)

    hold.set()
    for thread in threads:
        thread.join(10)
    assert (answer.status_int, len(listener.received)) == (429, 2)

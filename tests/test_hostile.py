"""Whatever a stranger sends, to every route, and what got in through every sender."""

from __future__ import annotations

import base64
import email
import email.policy
import gc
import hmac
import json
import logging
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import hostile
import pytest
from aiosmtpd.controller import Controller
from conftest import Site, basic
from hostile import Shot, Wire, check_answer, check_database, keyed, strict_json
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from live_server import in_thread

import cronwatch

# Only where something has failed, and then it is what there is to see.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

HEARTBEATS = f"{cronwatch.API}/heartbeats"


class Place(NamedTuple):
    """A database with something of everything in it, and what its secrets are called."""

    database: Path
    names: dict[str, str]


@pytest.fixture(scope="module")
def place(folder: Path) -> Place:
    site = Site(folder / "hostile.db")
    names = hostile.furnish(site)
    site.server.close()
    return Place(site.database, names)


@pytest.fixture(scope="module")
def adjustments() -> Any:
    return hostile.adjustments()


@contextmanager
def opened(place: Place, **settings: Any) -> Iterator[Site]:
    """A site of its own on a copy of the database."""
    with tempfile.TemporaryDirectory(dir=place.database.parent) as folder:
        database = Path(folder) / "cronwatch.db"
        shutil.copy(place.database, database)
        site = Site(database, **settings)
        try:
            yield site
        finally:
            site.server.close()


def check_aftermath(site: Site, wire: Wire, names: dict[str, str]) -> None:
    """Time goes on, all that got in can be shown, and nothing in the database is broken."""
    for seconds in (61, 86_400):
        site.clock.move(seconds)
        site.server.scan()
    paths = ["/heartbeats?limit=100", "/events?limit=200", "/integrations"]
    for monitor in site.monitors[:20]:
        paths += [f"/heartbeats/{monitor['id']}", f"/heartbeats/{monitor['id']}/pings?limit=200"]
    for path in paths:
        (answer,) = wire.send(keyed("GET", cronwatch.API + path).raw(names))
        assert (answer.status, answer.kind) == (200, "application/json")
        strict_json(answer.body)
    check_database(site.database)


def live_through(
    requests: list[Shot | bytes], place: Place, adjustments: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Send requests to a site of their own; all that must hold does."""
    caplog.set_level(logging.WARNING)
    caplog.clear()
    with opened(place) as site:
        wire = Wire(site.server, adjustments)
        for request in requests:
            raw = request.raw(place.names) if isinstance(request, Shot) else request
            for answer in wire.send(raw):
                check_answer(answer)
        check_aftermath(site, wire, place.names)
    messages = [record.getMessage() for record in caplog.records]
    # The one thing that a stranger may have said there, once a minute.
    assert [text for text in messages if cronwatch.NO_ENCODING not in text] == []


anything = st.lists(
    st.one_of(hostile.shots, hostile.shots, hostile.shots, hostile.broken_requests()),
    min_size=10,
    max_size=40,
)
test_nothing_that_is_sent_breaks_anything = pytest.mark.slow(
    bounded(hostile.FAST, max_examples=20)(given(requests=anything)(live_through))
)
test_nothing_new_that_is_sent_breaks_anything = pytest.mark.proof(
    bounded(hostile.FRESH, max_examples=60)(given(requests=anything)(live_through))
)


# -- what is refused before a route is looked for, and what is very large


@pytest.mark.parametrize(
    "raw, status",
    [
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET http://[::1 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 10485761\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 300_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_the_parser_refuses_has_the_security_headers(
    site: Site, adjustments: Any, raw: bytes, status: int
) -> None:
    (answer,) = Wire(site.server, adjustments).send(raw)

    assert answer.status == status
    assert {name: answer.headers.get(name) for name in hostile.SECURITY} == hostile.SECURITY


LARGEST = 10_485_759  # Waitress refuses a byte more
LARGE = {
    "x": b"x" * LARGEST,
    "[": b"[" * LARGEST,
    "{": b'{"a":' * (LARGEST // 5),
    "text": b'{"logOutput": "' + b"\\u0000" * (LARGEST // 6 - 9) + b'"}',
    "\xff": b"\xff" * LARGEST,
}


@pytest.mark.parametrize("name", LARGE)
def test_the_largest_body_breaks_no_route(
    place: Place, adjustments: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    pings = ["/ping/{code}/progress", "/{token}", "/api/v1/ping/{id}/fail", "/ping/{hc}"]
    shots: list[Shot | bytes] = [
        keyed("POST", path)._replace(body=LARGE[name])
        for path in (*pings, "/api/sync", HEARTBEATS)
    ]

    live_through(shots, place, adjustments, caplog)
    gc.collect()  # a file that was left open fails this test and no other


# -- what broke once


def test_a_filter_that_is_repeated_thousands_of_times_is_no_error_of_ours(site: Site) -> None:
    key = site.api_key()

    statuses = [
        site.get(f"{HEARTBEATS}?{'&'.join([name] * 2000)}", X_Api_Key=key).status_int
        for name in ("query=a", "tag=a", "status=up")
    ]

    assert [status // 100 for status in statuses if status >= 500] == []


DECLARING = (  # a ping or a sync that names a key and a schedule
    ("GET", "/ping/{key}/{api}?schedule={schedule}"),
    ("GET", "/ping/{api}/{key}?create=1&schedule={schedule}"),
    ("GET", "/p/{api}/{key}?state=run&schedule={schedule}"),
    ("POST", "/api/sync"),
)


def declare(site: Site, method: str, path: str, key: str, schedule: str) -> None:
    writer = site.api_key()
    body = json.dumps({"monitors": [{"key": key, "schedule": schedule}]})
    target = path.format(key=hostile.escaped(key), api=writer, schedule=schedule)

    reply = site.send(method, target, body, {"Authorization": basic(writer)})

    assert (reply.status_int in (200, 201), '"error"' in reply.text) == (True, False)


@pytest.mark.parametrize("method, path", DECLARING)
def test_a_key_whose_title_is_longer_than_itself_is_registered(
    site: Site, method: str, path: str
) -> None:
    key = "-".join("ß" * 100)

    declare(site, method, path, key, "@daily")

    assert [monitor["key"] for monitor in site.monitors] == [key]


@pytest.mark.parametrize("method, path", DECLARING)
def test_a_monitor_with_an_interval_keeps_it_whatever_is_declared(
    site: Site, method: str, path: str
) -> None:
    site.monitor(key="backup", interval_seconds=3600)

    for schedule in ("@daily", "@hourly"):
        declare(site, method, path, "backup", schedule)

    assert (site.monitors[0]["cron"], site.monitors[0]["interval_seconds"]) == (None, 3600)


# -- every text through every sender


class Sent(NamedTuple):
    """A request that a listener got."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def the(self, name: str) -> str:
        """The only header of this name."""
        (value,) = (value for found, value in self.headers if found.lower() == name)
        return value


class Listeners:
    """A web server, a mail server and a shell that keep what they are sent."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.posts: list[Sent] = []
        self.mails: list[bytes] = []
        posts = self.posts

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                lengths = self.headers.get_all("Content-Length") or []
                body = self.rfile.read(int(lengths[0])) if len(lengths) == 1 else b""
                self.connection.settimeout(0.001)
                posts.append(Sent(self.path, self.headers.items(), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        web = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Post))
        stack.enter_context(in_thread(partial(web.serve_forever, 0.01)))
        stack.callback(web.shutdown)
        self.url = f"http://127.0.0.1:{web.server_port}"
        smtp = Controller(self, "127.0.0.1", _free_port(), enable_SMTPUTF8=True)
        smtp.start()
        stack.callback(smtp.stop)
        self.smtp_settings: dict[str, Any] = {
            "smtp_host": "127.0.0.1",
            "smtp_port": smtp.port,
            "smtp_security": "none",
            "smtp_from": "cron@home.example",
        }

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content)
        return "250 fine"

    def clear(self) -> None:
        self.posts.clear()
        self.mails.clear()
        for left in self.folder.iterdir():
            left.unlink()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def listeners(folder: Path) -> Iterator[Listeners]:
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # each line of the mail server's
    commands = folder / "commands"
    commands.mkdir()
    with ExitStack() as stack:
        yield Listeners(commands, stack)


class Job(NamedTuple):
    """What people and programs may say of a job."""

    monitor: dict[str, Any]
    query: dict[str, str]
    body: bytes
    verb: str


jobs = st.builds(
    Job,
    st.fixed_dictionaries(
        {
            "name": hostile.texts,
            "key": hostile.texts,
            "tags": st.lists(hostile.texts, max_size=3),
            "notes": hostile.texts,
            "intervalSeconds": st.just(60),
            "rules": st.just([{"field": "rows", "operator": "ge", "value": 1}]),
        }
    ),
    st.dictionaries(
        st.sampled_from(hostile.words("msg host series env rid duration status_code metric")),
        hostile.texts,
        max_size=5,
    ),
    st.one_of(hostile.texts.map(hostile.utf8), hostile.bodies),
    st.sampled_from(["fail", "fail", "complete", "start"]),
)
COMMAND = (
    'cat > "{0}/$CRONWATCH_EVENT_ID.json"; '
    'cat /proc/self/environ > "{0}/$CRONWATCH_EVENT_ID.env"; printf "\\377\\033[1m\\000"'
)


def listen(site: Site, listeners: Listeners, named: str) -> None:
    """An integration of every channel, and one that never works."""
    targets: list[dict[str, Any]] = [
        {"channel": channel, "url": f"{listeners.url}/{channel}"} for channel in cronwatch.BODIES
    ]
    targets.append({"channel": "email", "address": "me@home.example"})
    targets.append({"channel": "command", "command": COMMAND.format(listeners.folder)})
    targets.append({"channel": "webhook", "name": "dead", "url": "http://127.0.0.1:9/"})
    for target in targets:
        name = cronwatch.clean(f"{target.get('name', target['channel'])} {named}", 200)
        request = cronwatch.ApiRequest(body={**target, "name": name}, is_local=True)
        site.server.act(cronwatch.add_integration, request)


def run_job(site: Site, wire: Wire, job: Job, names: dict[str, str]) -> None:
    """Make its monitor with what can be made of it, and let it ping."""
    wanted = dict(job.monitor)
    while True:
        (answer,) = wire.send(keyed("POST", HEARTBEATS, wanted).raw(names))
        if answer.status == 201:
            break
        named = re.search(r"name|key", strict_json(answer.body)["error"])
        assert named, answer.body
        wanted[named[0]] = f"job {len(site.monitors)}"
    query = "&".join(f"{name}={hostile.escaped(text)}" for name, text in job.query.items())
    token = strict_json(answer.body)["token"]
    for verb in (job.verb, "fail", "complete"):
        shot = Shot("POST", f"/ping/{token}/{verb}?metric=rows:1&{query}", [], job.body)
        check_answer(wire.send(shot.raw({}))[0])


def deliver(site: Site) -> None:
    """All that can be sent is sent; what cannot has failed until the others are told."""
    for seconds in (0, 61, 3600, 3600):
        site.clock.move(seconds)
        site.server.scan()
        site.server.deliver()
    site.server.deliver()


def check_posts(site: Site, listeners: Listeners, events: dict[str, dict[str, Any]]) -> None:
    """Every event came to every preset, well-formed, whole and signed."""
    secrets = {
        row["channel"]: json.loads(row["config"])["secret"]
        for row in site.rows(
            "SELECT channel, config FROM integration WHERE config LIKE ?", f"%{listeners.url}%"
        )
    }
    came = {channel: list[str]() for channel in cronwatch.BODIES}
    for post in listeners.posts:
        channel, id_ = post.path[1:], post.the("webhook-id")
        came[channel].append(id_)
        signed = f"{id_}.{post.the('webhook-timestamp')}.".encode() + post.body
        key = base64.b64decode(secrets[channel].removeprefix("whsec_"))
        made = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
        assert post.the("webhook-signature") == f"v1,{made}"
        text = post.body.decode()
        event = events[id_]
        if channel == "webhook":
            assert {**strict_json(text), "monitor": None} == {**event, "monitor": None}
        elif channel == "ntfy":
            worded = cronwatch.BODIES["ntfy"](event)
            assert (post.body, post.the("content-type")) == (worded.content, "text/plain")
        else:
            said = strict_json(text)["text" if channel == "slack" else "content"]
            assert said, event
            assert channel == "slack" or len(said) <= 2000
    assert {channel: sorted(ids) for channel, ids in came.items()} == dict.fromkeys(
        came, sorted(events)
    )


def plain(text: str) -> str:
    """Text without its white space, of which a header may have more or less."""
    return "".join(text.split())


def check_mails(listeners: Listeners, events: dict[str, dict[str, Any]]) -> None:
    """Every event came by mail, in a message that a strict reader takes, and as it was said."""
    ids = []
    for raw in listeners.mails:
        mail: Any = email.message_from_bytes(raw, EmailMessage, policy=email.policy.strict)
        names = [name.lower() for name in mail]
        assert sorted(names) == sorted(
            hostile.words(
                "subject from to date message-id mime-version content-type",
                "content-transfer-encoding",
            )
        ), names
        assert all(not mail[name].defects for name in names)
        ids.append(mail["Message-ID"].strip("<>").partition("@")[0])
        event = events[ids[-1]]
        head, _, _ = raw.partition(b"\r\n\r\n")
        assert head.isascii()
        assert max(map(len, raw.split(b"\r\n"))) <= 998
        assert plain(str(mail["Subject"])) == plain(cronwatch.clean(event["summary"], 200) or "")
        assert str(mail["To"]) == "me@home.example"
        said = mail.get_content().replace("\r\n", "\n")
        said = said.removeprefix(">") if said.startswith(">From ") else said  # as mboxes have it
        assert said.startswith(cronwatch.word_event(event).headline + "\n"), said
    assert sorted(ids) == sorted(events)


def check_commands(listeners: Listeners, events: dict[str, dict[str, Any]]) -> None:
    """Every event came to the shell, as JSON and in variables that hold what was said."""
    given = {path.stem: path.read_bytes() for path in listeners.folder.glob("*.json")}
    assert sorted(given) == sorted(events)
    assert [
        path for path in listeners.folder.iterdir() if path.suffix not in (".json", ".env")
    ] == []
    for id_, event in events.items():
        assert {**strict_json(given[id_]), "monitor": None} == {**event, "monitor": None}
        environ = dict(
            entry.split("=", 1)
            for entry in (listeners.folder / f"{id_}.env").read_bytes().decode().split("\0")
            if entry
        )
        ours = {name for name in environ if name.startswith("CRONWATCH_EVENT_")}
        assert set(environ) - ours <= {"PATH", "HOME", "LANG", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}
        assert environ["CRONWATCH_EVENT_SUMMARY"] == event["summary"].encode()[:4096].decode(
            "utf-8", "ignore"
        )
        assert max(len(environ[name].encode()) for name in ours) <= 4096


def _test_senders(
    told: list[Job],
    named: str,
    place: Place,
    adjustments: Any,
    listeners: Listeners,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    caplog.clear()
    listeners.clear()
    with opened(place, **listeners.smtp_settings) as site:
        site.rows("DELETE FROM integration")
        wire = Wire(site.server, adjustments)
        listen(site, listeners, named)
        for job in told:
            run_job(site, wire, job, place.names)
        deliver(site)
        (answer,) = wire.send(keyed("GET", f"{cronwatch.API}/events?limit=200").raw(place.names))
        events = {event["id"]: event for event in strict_json(answer.body)["events"]}
        failed = [
            (result["name"], result["result"])
            for event in events.values()
            for result in event.pop("deliveries")
            if result["state"] != "sent" and not result["name"].startswith("dead")
        ]
        assert failed == []
        check_posts(site, listeners, events)
        check_mails(listeners, events)
        check_commands(listeners, events)
        check_database(site.database)
    assert [record.getMessage() for record in caplog.records] == []


told = {"told": st.lists(jobs, min_size=1, max_size=3), "named": hostile.texts}
test_whatever_got_in_comes_out_of_every_sender = pytest.mark.slow(
    bounded(hostile.FAST, max_examples=5)(given(**told)(_test_senders))
)
test_whatever_new_got_in_comes_out_of_every_sender = pytest.mark.proof(
    bounded(hostile.FRESH, max_examples=12)(given(**told)(_test_senders))
)


# -- an integration that was taken can be sent to


own_names = hostile.words(
    "Content-Length content-length Transfer-Encoding Host Connection Expect Content-Type",
    "Accept-Encoding User-Agent Cookie X-A TE Upgrade Keep-Alive Authorization Content-Encoding",
    "Webhook-Id Trailer",
)
own_values = hostile.words("0 5 99999 chunked gzip 100-continue close keep-alive evil.example")
own_headers = st.dictionaries(
    st.one_of(hostile.any_of(own_names), hostile.texts),
    st.one_of(hostile.any_of(["", *own_values]), hostile.texts),
    max_size=3,
)
addresses = st.one_of(
    st.builds("{}@{}".format, hostile.texts, st.one_of(st.just("home.example"), hostile.texts)),
    hostile.texts,
    st.builds(
        "{}@home.example".format,
        st.text("abc.()[]:;\\'`{}|\x01\x7f\xa0é\ud800=?_!#%&*+/-", min_size=1, max_size=8),
    ),
)


def sent_test(wire: Wire, names: dict[str, str], **body: Any) -> str | None:
    """The result of a test of an integration made through the API, which must be well; None where
    it is refused."""
    (made,) = wire.send(keyed("POST", f"{cronwatch.API}/integrations", body).raw(names))
    check_answer(made)
    assert made.status in (201, 400), made
    if made.status == 400:
        return None
    target = f"{cronwatch.API}/integrations/{strict_json(made.body)['id']}/test"
    (answer,) = wire.send(keyed("POST", target).raw(names))
    check_answer(answer)
    outcome = strict_json(answer.body)
    assert outcome["ok"] is True, outcome
    return str(outcome["result"])


@bounded(hostile.FAST, max_examples=50)
@given(
    user=st.sampled_from(["", "", "me@", "me:secret@", ":@", "%0d%0a@"]),
    path=hostile.pieces,
    own=own_headers,
)
def test_a_webhook_that_was_taken_can_be_sent_to(
    user: str, path: str, own: dict[str, str], place: Place, adjustments: Any, listeners: Listeners
) -> None:
    listeners.clear()
    with opened(place) as site:
        wire = Wire(site.server, adjustments)
        url = f"http://{user}{listeners.url.removeprefix('http://')}/{path}"
        hook = {"channel": "webhook", "name": "Mine", "url": url, "headers": own}

        result = sent_test(wire, place.names, **hook)

        if result is None:
            return
        assert result == "HTTP 204"
        (post,) = listeners.posts
        assert strict_json(post.body)["kind"] == "test"
        for name, value in own.items():
            assert post.the(name.lower()) == value.strip() or name.lower() == "connection"


@bounded(hostile.FAST, max_examples=50)
@given(address=addresses)
def test_an_address_that_was_taken_can_be_mailed(
    address: str, place: Place, adjustments: Any, listeners: Listeners
) -> None:
    listeners.clear()
    with opened(place, **listeners.smtp_settings) as site:
        wire = Wire(site.server, adjustments)

        result = sent_test(wire, place.names, channel="email", name="Mail", address=address)

        if result is None:
            return
        assert result == "accepted by 127.0.0.1"
        mail = email.message_from_bytes(listeners.mails[0], policy=email.policy.default)
        assert [sorted(map(str, mail.get_all("To", []))), len(mail.keys())] == [[address], 8]

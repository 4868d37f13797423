"""What a stranger may send, a server without a socket that takes it, and what must hold then.

The strategies make requests as bytes. `Wire` reads them with the parser of cronwatch and answers
with Waitress's own tasks, so that the only thing missing is the socket.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from waitress.task import WSGITask

import cronwatch

FAST = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.reuse, Phase.explain},
)
FRESH = hypothesis.settings(FAST, derandomize=False)


def any_of(items: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of these, as `sampled_from`, whose name would be a page long where they are."""
    return st.integers(0, len(items) - 1).map(lambda place: items[place])


def words(*texts: str) -> list[str]:
    """The words of some texts."""
    return " ".join(texts).split()


# -- text


NASTY = (
    "",
    " ",
    "\0",
    "a\0b",
    "\x01\x1b[31m\x7f",
    "\x85\x9b",
    "\u2028\u2029",
    "\ud800",
    "x\udfffy",
    "\ufeff",
    "\ufffe\uffff",
    "\u202eevil",
    "é" + "\u0301" * 150,
    "😀" * 60,
    "ß-" * 100,
    "\r\nBcc: eve@evil.example\r\n\r\nhello",
    "\n.\n",
    "From eve",
    "=?utf-8?q?=0D=0ABcc=3A_eve=40evil.example?=",
    "=?utf-8?b?DQpCY2M6IGV2ZQ==?=",
    "=?bogus?x?y?=",
    "a =?utf-8?q?b?= =?utf-8?q?c?=",
    "x" * 1500,
    "word " * 300,
    "$(touch pwned)",
    "'; touch pwned; '",
    "</title><script>alert(1)</script>",
    "@everyone <!channel> <@U1>",
    "a@b, c@d",
    "<eve@evil.example>",
    "'; DROP TABLE ping;",
    "INFO forged line",
    "9" * 400,
    "* * * * *",
    "0 0 30 2 *",
    "*/0 * * * *",
    "0 0 * * 5#9",
    "0 0 L * L9",
    "\uff15 * * * *",
    "UTC\0",
    *words(
        '` \\ " % %s%n {0.__class__} {} (comment . .. = CON ../../etc/passwd null NaN -0 1e999'
    ),
    *words("0x10 1_000 ١٢٣ true start daily-backup @daily @reboot Europe/Berlin ../UTC localtime"),
    *words("Europe uuid 7c1f4d9e-1d3e-4f0a-9c57-2f6c1d0b9a11 cw_ x:y"),
)
texts = st.one_of(
    any_of(NASTY),
    st.text(max_size=40),
    st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf", "Nd"]), max_size=12),
    st.lists(any_of(NASTY), max_size=4).map("".join),
)
crons = st.lists(
    st.text("0123456789*/,-#LWHRjanmonsun?@", min_size=1, max_size=8),
    min_size=4,
    max_size=7,
).map(" ".join)


def escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


# What stands between two slashes or beside a `=`: escaped well, twice, badly, or not at all.
pieces = st.one_of(
    texts.map(escaped),
    texts.map(escaped).map(escaped),
    any_of(
        [
            "",
            *words("% %2 %zz %u0041 %00 %0d%0a %2F %2e%2e .. . %ff%fe %c0%af %ed%a0%80"),
            *words("+ a;b a%26b [ {} | ^"),
        ]
    ),
    st.binary(max_size=12).map(
        lambda raw: re.sub(r"[\x00-\x20/?#\x7f]", "_", raw.decode("latin-1"))
    ),
)


# -- JSON


def _scalars() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        texts,
        crons,
        st.integers(),
        st.floats(),
        any_of([0, -1, 1, 59, 60, 61, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400)]),
        any_of([1.5, 1e308, -0.0, float("inf"), float("nan"), 5e-324]),
    )


values = st.recursive(
    _scalars(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
SECONDS: list[Any] = [0, 1, 60, 3600]
YES_OR_NO = [True, False]
TEXTS = ["fine", "two\nlines"]
SCHEDULES = ["@daily", "*/5 * * * *"]
FITTING: dict[str, list[Any]] = {  # what each field of the API takes, to get past the others
    **dict.fromkeys(words("timeout grace gracePeriod intervalSeconds graceSeconds"), SECONDS),
    **dict.fromkeys(words("reminderIntervalSeconds maxRunSeconds hours value"), SECONDS),
    **dict.fromkeys(words("emailAlertsEnabled armed default"), YES_OR_NO),
    **dict.fromkeys(words("message msg errorMessage logOutput notes"), TEXTS),
    **dict.fromkeys(words("cronExpression schedule"), SCHEDULES),
    "name": ["Nightly", "Job"],
    "key": ["daily-backup", "another"],
    "slug": ["another", ""],
    "channels": ["*", ""],
    "timezone": ["UTC", "Europe/Berlin"],
    "tags": ["a b", ["a", "b"]],
    "expects": ["run", "complete"],
    "failureTolerance": [0, 2],
    "minPingIntervalSeconds": [0, None],
    "rules": [[{"field": "rows", "operator": "<", "value": 1}]],
    "scheduleType": ["interval", "cron", "none"],
    "integrationIds": [[]],
    "unique": ["Job", ["name"]],
    "progress": [50],
    "channel": [*cronwatch.BODIES, "email", "command", "carrier pigeon"],
    "url": ["http://127.0.0.1:9/", "http://127.0.0.1:9/a?b#c"],
    "address": ["me@home.example"],
    "headers": [{"X-A": "b"}],
    "meta": [{"exit_code": 3, "rows": 5}],
    "field": ["rows"],
    "operator": ["lt", "<"],
}


@st.composite
def objects(draw: st.DrawFn, *names: str) -> dict[str, Any]:
    """An object with some of these fields, of which few do not fit."""
    made: dict[str, Any] = {}
    for name in draw(st.lists(any_of(names), max_size=6, unique=True)):
        fits = draw(st.integers(0, 3)) and name in FITTING
        made[name] = draw(any_of(FITTING[name]) if fits else values)
    return made


MONITOR = [field.name for field in cronwatch.MONITOR]
monitors = st.builds(
    lambda base, more: {**base, **more},
    any_of(
        [
            {"name": "Job", "intervalSeconds": 60},
            {"name": "Job", "key": "a"},
            {"name": "Job", "cronExpression": "@daily", "scheduleType": "cron"},
            {"name": "Job", "scheduleType": "none"},
            {},
        ]
    ),
    objects(*MONITOR, "scheduleType", "integrationIds", "unique", "strange"),
)
integrations = st.builds(
    lambda base, more: {**base, **more},
    any_of(
        [
            {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/"},
            {"channel": "email", "name": "Mail", "address": "me@home.example"},
            {},
        ]
    ),
    objects("channel", "name", "headers", "default", "address"),
)
syncs = st.one_of(
    st.builds(
        lambda items: {"monitors": items},
        st.lists(
            st.one_of(
                objects("key", "schedule", "gracePeriod", "name"),
                st.fixed_dictionaries({"key": texts, "schedule": any_of(["@daily", "0 3 * * *"])}),
                values,
            ),
            max_size=5,
        ),
    ),
    values,
)
rules = st.builds(
    lambda found: {"name": "Job", "intervalSeconds": 60, "rules": found},
    st.lists(objects("field", "operator", "value"), max_size=3),
)
reports = objects("message", "msg", "progress", "meta", "errorMessage", "logOutput", "log")


def _written(value: Any, ascii_only: bool, doubled: bool) -> bytes:
    text = json.dumps(value, ensure_ascii=ascii_only)
    text = text.replace("{", '{"name": "twice", ', 1) if doubled and text[:2] == '{"' else text
    return text.encode("utf-8", "surrogatepass")


def written(given: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(_written, given, st.booleans(), st.integers(0, 7).map(lambda n: n == 0))


NO_JSON = (
    *(text.encode() for text in words("{ [] null NaN -Infinity 1e999 {} [{}] a=b&c=d")),
    b"",
    b'"\\ud800"',
    b'{"name": NaN, "intervalSeconds": 60}',
    b'{"name": "a", "intervalSeconds": 1e999}',
    b"[" * 60_000,
    b"[" * 30_000 + b"]" * 30_000,
    b'{"a":' * 9000 + b"1" + b"}" * 9000,
    b'{"meta": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    b"9" * 5000,
    b"x" * 70_000,
    b'{"a": ' + b"9" * 5000 + b"}",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"\x1f\x8b\x08",
    b'{"name": "a\\u0000b", "intervalSeconds": 60}',
    b"\0" * 100,
    b"\x80" * 100,
    b'{"monitors": [' + b"{}," * 200 + b"{}]}",
)
bodies = st.one_of(
    any_of(NO_JSON),
    st.binary(max_size=60),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    *map(written, (monitors, rules, integrations, syncs, reports, values)),
)


# -- requests


OLD_HANDLES = {  # what a site calls them, with the service that each is adopted from
    "d3x": "cronitor",
    "ping": "cronping",
    "cronbeats": "cronbeats",
    "radar": "cronradar",
    "hc": "healthchecks",
    "kuma": "kuma",
}
HANDLES = ("{code}", "{token}", "{d3x}", "{ping}", "{cronbeats}", "{radar}", "{hc}", "{kuma}")
NAMES = (*HANDLES, "{key}", "{id}", "{integration}", "{writer}", "{pinger}", "{reader}")
WORDS = (
    *cronwatch.VERBS,
    *words("progress/50 progress/101 pause/1 p/0 pause/999999 0 3 255 256 ٣ nonsense start/start"),
)
FORMS = words(
    "/{a} /{a}/{w} /{a}/{b}/{w} {a} * / /static/{a} /static/index.html /start/{a} /finish/{a}",
    "/ping/{a} /ping/{a}/{w} /ping/{a}/{b} /ping/{a}/{b}/{w} /p/{a}/{b} /p/{a}/{b}/{w} /fail/{a}",
    "/api/push/{a} /api/push/{a}/{w} /api/7/cron/{a}/{b} /api/7/envelope /api/v1/ping/{a}",
    "/api/v1/ping/{a}/{w} /api/sync /api/v1/{a} /api/{a}",
)
MANAGED = [(route.method, route.rule) for route in cronwatch.API_ROUTES] + [
    ("POST", f"{cronwatch.API}/integrations/<id>/test"),
    ("POST", "/api/sync"),
]
MANAGED += [
    (route.method, re.sub("<version:[^>]*>", "2", route.rule).replace("<run:re:[0-9]{1,15}>", "1"))
    for route in cronwatch.CHECK_ROUTES
    if route.rule.startswith(cronwatch.VERSIONS)
]
CHECK = objects(*(field.name for field in cronwatch.CHECK_FIELDS), "api_key")
BODY_OF = {
    "/api/v2/checks": CHECK,
    "/api/v2/checks/<id>": CHECK,
    f"{cronwatch.API}/heartbeats": monitors,
    f"{cronwatch.API}/heartbeats/<id>": monitors,
    f"{cronwatch.API}/integrations": integrations,
    "/api/sync": syncs,
}
ASKED = (
    "",
    *words("msg message host series rid runId auth_key status_code duration metric env stamp"),
    *words("state status ping schedule gracePeriod name create limit offset query tag"),
)
METHODS = (
    *words(
        "GET POST HEAD PUT PATCH DELETE OPTIONS TRACE CONNECT PURGE PROXY ANY get BREW M-SEARCH"
    ),
    "X" * 300,
)
line_text = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
header_values = st.one_of(
    line_text,
    texts.map(
        lambda text: re.sub(
            r"[\x00-\x1f\x7f]", " ", text.encode("utf-8", "replace").decode("latin-1")
        )
    ),
)
credentials = st.one_of(
    st.builds(
        "{} {}".format,
        any_of(["", "Basic Basic", *words("Basic bearer ApiKey Digest Negotiate")]),
        st.one_of(
            any_of(["A" * 5000, *words("{writer} {pinger} {reader} {basic} !!! /w== ==== :")]),
            header_values,
        ),
    ),
    header_values,
)
HEADER_NAMES = words(
    "User-Agent Content-Type Accept Accept-Encoding Cookie X-Forwarded-For Connection Upgrade",
    "Content-Encoding X-HTTP-Method-Override Range If-Modified-Since If-None-Match If-Range",
    "Origin Referer Via Forwarded Host TE Trailer Content_Length X-Cronwatch",
)
headers = st.lists(
    st.one_of(
        st.tuples(st.just("Authorization"), credentials),
        st.tuples(
            st.just("X-API-Key"),
            st.one_of(any_of(["{writer}", "{pinger}", "{reader}", "", "x" * 9000]), header_values),
        ),
        st.tuples(any_of(HEADER_NAMES), header_values),
        any_of(
            [
                ("Range", "bytes=0-1"),
                ("Range", "bytes=5-1"),
                ("Range", "bytes=-" + "9" * 5000),
                ("If-Modified-Since", "Thu, 01 Jan 99999999 00:00:00 GMT"),
                ("Connection", "Upgrade"),
                ("If-None-Match", "*"),
                ("Content-Type", "application/json; charset=utf-16"),
                ("Content-Type", "multipart/form-data"),
                ("Expect", "nonsense"),
                ("Cookie", "a" * 9000),
                ("User-Agent", "x" * 9000),
                ("X-Forwarded-For", 'evil, 203.0.113.9, "'),
            ]
        ),
    ),
    max_size=4,
)


class Shot(NamedTuple):
    """A request; {code} and the like in it stand for what the site has made."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    chunked: bool = False

    def raw(self, names: dict[str, str]) -> bytes:
        """The bytes of a request that is well framed, whatever is in it."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: cron.test"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [
            "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}"
        ]
        head = "\r\n".join(lines)
        for name, value in names.items():
            head = head.replace("{" + name + "}", value)
        body = self.body
        if self.chunked:
            cut = [body[:5], body[5:]]
            body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in cut if p) + b"0\r\n\r\n"
        return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


LONG_QUERIES = (
    *(part * 3000 for part in words("a=b& metric=a:1& & query=a& tag=a& status=up& =")),
    "msg=" + "%" * 30_000,
    "msg=" + "é" * 20_000,
    "metric=" + "a=b:" * 5000,
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query: a few parameters that mean something, now and then thousands."""
    if draw(st.integers(0, 60)) == 0:
        return str(draw(any_of(LONG_QUERIES)))
    found = draw(
        st.lists(
            st.tuples(
                any_of(ASKED),
                st.one_of(
                    pieces,
                    crons.map(escaped),
                    any_of(words("1 up run @daily 50 rows:5 duration:3 {writer} a:1e999")),
                ),
            ),
            max_size=4,
        )
    )
    return str(draw(any_of("&&&;"))).join(f"{name}={value}" for name, value in found)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """The target of a request: mostly a route's, with names that exist or do not."""
    form = draw(any_of(FORMS))
    part = st.one_of(any_of(NAMES), pieces)
    path = (
        form.replace("{a}", draw(part))
        .replace("{b}", draw(part))
        .replace("{w}", draw(st.one_of(any_of(WORDS), pieces)))
    )
    bent = draw(st.integers(0, 30))
    path = {
        0: "/" + path,
        1: path + "/",
        2: path + "//..//",
        3: path * 40,
        4: path + "/.." * 500,
        5: "http://evil.example" + path,
        6: "http://[::1]:80" + path,
        7: "/x" * 3000 + path,
        8: path + "#fragment",
    }.get(bent, path)
    query = draw(queries()) if draw(st.booleans()) else ""
    # A target has no blanks: one that has is broken, which is for `broken_requests`.
    return re.sub(r"[\x00-\x20\x7f]", "_", f"{path}?{query}" if query else path)


def _kept(keyed: bool, given: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [*([("X-API-Key", "{writer}")] if keyed else []), *given]


pings = st.builds(
    Shot,
    any_of(["GET", "GET", "POST", "POST", "HEAD", *METHODS]),
    targets(),
    st.builds(_kept, st.booleans(), headers),
    bodies,
    st.booleans(),
)


@st.composite
def managed(draw: st.DrawFn) -> Shot:
    """A request to the management API that has a key that may do it."""
    method, rule = draw(any_of(MANAGED))
    name = draw(st.one_of(any_of(["{id}", "{key}", "{integration}"]), pieces))
    query = draw(queries()) if draw(st.booleans()) else ""
    target = rule.replace("<id>", name) + (f"?{query}" if query else "")
    likely = written(BODY_OF.get(rule, objects("hours")))
    body = draw(likely if draw(st.integers(0, 4)) else bodies) if method != "GET" else b""
    return Shot(
        method,
        re.sub(r"[\x00-\x20\x7f]", "_", target),
        [("X-API-Key", "{writer}")],
        body,
        draw(st.booleans()),
    )


shots = st.one_of(pings, managed())
HEADS = (
    *(b"Content-Length: " + size.encode() for size in words("-1 +5 0x5 1e3 99999999")),
    b"Content-Length: 5, 5",
    b"Content-Length: " + b"9" * 5000,
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: \xb2",
    b"Content-Length:",
    b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: \x0b",
    b"Transfer-Encoding : chunked",
    b" folded: header",
    b"no colon",
    b": no name",
    b"a b: c",
    b"X: \x00",
    b"X: a\rb",
    b"X: a\nY: b",
    b"X: " + b"y" * 270_000,
    b"\xff: \xff",
    b"Expect: 100-continue",
    b"Connection: keep-alive, close",
    b"X:" * 100,
    b"",
)
TARGETS = words("http://[::1 http://[/ //[ http://a]b/ http://ÿ/ javascript:x /%00 *")
LINES = (
    *(f"GET {target} HTTP/1.1".encode("latin-1") for target in TARGETS),
    *(f"GET / HTTP/{version}".encode() for version in ("9.9", "1.0", "1.1 x", "")),
    b"",
    b"GET",
    b"GET /",
    b"GET  / HTTP/1.1",
    b"/ GET HTTP/1.1",
    b"get / http/1.1",
    b"\x16\x03\x01",
    b"CONNECT a:80 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET /" + b"a" * 270_000 + b" HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"POST /{code} HTTP/1.1",
    b"POST /ping/{token} HTTP/1.0",
    b"HEAD /{token} HTTP/1.1",
    b"POST /api/v1/heartbeats HTTP/1.1",
    b"G\xc3\x89T / HTTP/1.1",
)
CHUNKS = (
    b"",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"zz\r\n",
    b"-1\r\n",
    b"ffffffffffffffffffff\r\nx",
    b"5;" + b"a" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    b"\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"hello",
    b"1" * 9000 + b"\r\n",
    b"0x5\r\n",
)


@st.composite
def broken_requests(draw: st.DrawFn) -> bytes:
    """Bytes that are hardly a request."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200)) + bytes(draw(any_of([b"", b"\r\n\r\n"])))
    heads = draw(st.lists(st.one_of(any_of(HEADS), st.binary(max_size=20)), max_size=3))
    if draw(st.booleans()):
        heads.append(b"Transfer-Encoding: chunked")
    head = b"\r\n".join([draw(any_of(LINES)), *heads])
    return head + b"\r\n\r\n" + bytes(draw(st.one_of(any_of(CHUNKS), st.binary(max_size=20))))


# -- a server without a socket


class Answer(NamedTuple):
    """An answer as a client reads it."""

    method: str
    status: int
    headers: dict[str, str]
    body: bytes
    refused: bool = False  # by the parser, before any route was looked for

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


def read_answer(raw: bytes, method: str, refused: bool = False) -> tuple[Answer, bytes]:
    """The first answer in what a server sent, and what follows it; fails where it is none."""
    stream = io.BytesIO(raw)
    socket: Any = SimpleNamespace(makefile=lambda mode: stream)
    reply = http.client.HTTPResponse(socket, method=method)
    reply.begin()
    found = {name.lower(): value for name, value in reply.getheaders()}
    body = reply.read()
    answer = Answer(method, reply.status, found, body, refused)
    return answer, raw[stream.tell() :] if not stream.closed else raw[_length(raw, answer) :]


def _length(raw: bytes, answer: Answer) -> int:
    return raw.index(b"\r\n\r\n") + 4 + len(answer.body)


class Wire:
    """Waitress as cronwatch sets it up, but for the socket: bytes in, bytes out."""

    def __init__(self, server: cronwatch.Server, adjustments: Any) -> None:
        self.watch, self.adj, self.addr, self.connected = (
            server,
            adjustments,
            ("192.0.2.1", 50_000),
            True,
        )
        self.server = SimpleNamespace(
            application=server.app, adj=adjustments, server_name="cron.test", effective_port=80
        )
        self.written: list[bytes] = []

    def check_client_disconnected(self) -> bool:
        return False

    def write_soon(self, data: Any) -> int:
        """What Waitress's tasks write to, as to its channel."""
        if hasattr(data, "get"):
            with closing(data):
                data = data.get(data.remain)
        self.written.append(bytes(data))
        return len(data)

    def send(self, raw: bytes) -> list[Answer]:
        """The answers to what arrives; none where a request is not complete."""
        answers = []
        while raw:
            request = cronwatch.RequestParser(self.adj)
            while raw and not request.completed:
                raw = raw[request.received(raw) :]
            if not request.completed:
                request.close()
                break
            if request.empty:
                continue
            self.written.clear()
            try:
                task = self._serve(request)
            finally:
                request.close()
            method = "GET" if request.error else request.command
            answer, rest = read_answer(b"".join(self.written), method, bool(request.error))
            assert rest == b"", f"after the answer to {method}: {rest[:200]!r}"
            answers.append(answer)
            if task.close_on_finish:
                break
        return answers

    def _serve(self, request: Any) -> Any:
        """Do with a request what the server does."""
        task = cronwatch.ErrorTask(self, request) if request.error else WSGITask(self, request)
        task.service()
        return task


def adjustments() -> Any:
    """How cronwatch sets up Waitress."""
    settings = cronwatch.Settings(listen="127.0.0.1:0")
    server = cronwatch.make_web_server(lambda environ, start: [], settings)
    server.task_dispatcher.shutdown()
    server.close()
    return server.adj


# -- what must hold of an answer


SECURITY = {
    "content-security-policy": dict(cronwatch.HEADERS)["Content-Security-Policy"],
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
SHAPES: dict[str, Any] = {
    "cronbeats": lambda said, status: (
        set(said) == {"status", "message"} and said["status"] == "error" and said["message"]
    ),
    "cronradar": lambda said, status: (
        set(said) == {"error", "message"} and said["error"].isupper() and said["message"]
    ),
    "crontify": lambda said, status: (
        said["success"] is False
        and said["message"]
        and said["statusCode"] == status
        and said["error"]
    ),
    "cronping": lambda said, status: set(said) == {"error"} and said["error"],
    "kuma": lambda said, status: said["ok"] is False and said["msg"],
    "sentry": lambda said, status: set(said) == {"detail"} and said["detail"],
}


def strict_json(text: str | bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, no name twice."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a name is there twice"
        return dict(pairs)

    text = text.decode() if isinstance(text, bytes) else text
    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


def check_answer(answer: Answer) -> None:
    """Whatever was asked: no failure of ours, no redirect, the headers, JSON, the shape."""
    status = answer.status
    assert status < 500 or (answer.refused and status == 501), (status, answer.body)
    assert not 300 <= status < 400 or status == 304, (status, answer.headers)
    if answer.refused:  # by Waitress, in its own words
        return
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    if answer.method == "HEAD":
        assert answer.body == b""
    elif answer.kind == "application/json":
        said = strict_json(answer.body)
        assert status < 400 or any(_is_so(shape, said, status) for shape in SHAPES.values()), said
    elif status >= 400:
        assert answer.kind == "text/plain", answer.kind
        assert answer.body, "an error says nothing"
        assert not answer.body.startswith((b"<", b"{")), answer.body


def _is_so(shape: Any, said: Any, status: int) -> bool:
    try:
        return bool(shape(said, status))
    except KeyError:
        return False


# -- what must hold of a database


CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LINE_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
OF_LINES = {("monitor", "notes"), ("run_log", "content"), ("alert", "result")}
JSON_TEXT = {
    ("monitor", "rules"),
    ("monitor", "declared"),
    ("monitor", "digests"),
    ("run", "metrics"),
    ("integration", "config"),
    ("event", "body"),
}
LONGEST = {  # in characters; 200 for all others
    ("monitor", "cron"): 500,
    ("monitor", "timezone"): 500,
    ("monitor", "notes"): 10_000,
    ("monitor", "tags"): 65_536,
    ("ping", "message"): 1000,
    ("run", "message"): 1000,
    ("run_log", "content"): 100_000,
    ("alert", "result"): 2000,
}


def check_database(path: Path) -> None:
    """Nothing in it is broken: its pages, its references and constraints, and every text."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        assert db.execute("PRAGMA integrity_check").fetchall() == [(b"ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = [
            name.decode()
            for (name,) in db.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        for table in tables:
            cursor = db.execute(f"SELECT * FROM {table}")
            columns = [name for name, *_ in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes):
                        _check_text((table, column), value.decode())


def _check_text(where: tuple[str, str], text: str) -> None:
    if where in JSON_TEXT:
        check_numbers(strict_json(text))
        assert len(text) < 1_000_000, where
        return
    pattern = LINE_CONTROLS if where in OF_LINES else CONTROLS
    assert not pattern.search(text), (where, text)
    assert len(text) <= LONGEST.get(where, 200), (where, len(text))


def check_numbers(value: Any) -> None:
    """Numbers are finite and exact in every reader of JSON; texts can be written as UTF-8."""
    if isinstance(value, (dict, list)):
        for item in value.items() if isinstance(value, dict) else value:
            check_numbers(list(item) if isinstance(item, tuple) else item)
    elif isinstance(value, str):
        value.encode()
    elif value is not None:
        assert abs(value) < 2**53, value

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
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote

import hypothesis
from conftest import Site, basic
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
TABLES = Path(__file__).with_name("hostile.txt").read_text("utf-8")
REPEATED = re.compile("«(.*?)×([0-9]+)»", re.DOTALL)


def any_of(items: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of these, as `sampled_from`, whose name would be a page long where they are."""
    return st.integers(0, len(items) - 1).map(lambda place: items[place])


def words(*texts: str) -> list[str]:
    """The words of some texts."""
    return " ".join(texts).split()


@cache
def lines(heading: str) -> list[str]:
    """The lines under a heading of hostile.txt."""
    (found,) = re.findall(rf"^## {heading}\n((?:.+\n)+)", TABLES, re.MULTILINE)
    escaped = (line.encode("latin-1", "backslashreplace") for line in found[:-1].split("\n"))
    return [REPEATED.sub(_repeated, line.decode("unicode_escape")) for line in escaped]


def _repeated(match: re.Match[str]) -> str:
    return match[1] * int(match[2])


def raw_lines(heading: str) -> list[bytes]:
    """The same as bytes, one for each character."""
    return [line.encode("latin-1") for line in lines(heading)]


# -- text


NASTY = ["", *lines("Texts")]
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


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def escaped(text: str) -> str:
    return quote(utf8(text), safe="")


# What stands between two slashes or beside a `=`: escaped well, twice, badly, or not at all.
pieces = st.one_of(
    texts.map(escaped),
    texts.map(escaped).map(escaped),
    any_of(["", *lines("Between slashes")]),
    st.binary(max_size=12).map(
        lambda raw: re.sub(r"[\x00-\x20/?#\x7f]", "_", raw.decode("latin-1"))
    ),
)


# -- JSON


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        texts,
        crons,
        st.integers(),
        st.floats(),
        any_of([0, -1, 1, 59, 60, 61, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400)]),
        any_of([1.5, 1e308, -0.0, float("inf"), float("nan"), 5e-324]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
FITTING: dict[str, list[Any]] = {  # what each field of the API takes, to get past the others
    name: json.loads(values)
    for names, values in (line.split(": ", 1) for line in lines("Values that fit"))
    for name in names.split()
}


@st.composite
def objects(draw: st.DrawFn, *names: str, bases: Sequence[dict[str, Any]] = ({},)) -> Any:
    """An object with all of a base and some of these fields, of which few do not fit."""
    made = dict(draw(any_of(bases)))
    for name in draw(st.lists(any_of(names), max_size=6, unique=True)):
        fits = draw(st.integers(0, 3)) and name in FITTING
        made[name] = draw(any_of(FITTING[name]) if fits else values)
    return made


JOB = {"name": "Job", "intervalSeconds": 60}
rule = objects("field", "operator", "value", bases=[{"field": "rows", "operator": "lt"}])
monitors = st.one_of(
    objects(
        *(field.name for field in cronwatch.MONITOR),
        *("scheduleType", "integrationIds", "unique", "strange"),
        bases=[
            JOB,
            {"name": "Job", "key": "a"},
            {"name": "Job", "cronExpression": "@daily", "scheduleType": "cron"},
            {"name": "Job", "scheduleType": "none"},
            {},
        ],
    ),
    st.lists(rule, max_size=3).map(lambda rules: {**JOB, "rules": rules}),
)
integrations = objects(
    *words("channel name headers default address"),
    bases=[
        {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/"},
        {"channel": "email", "name": "Mail", "address": "me@home.example"},
        {},
    ],
)
syncs = st.one_of(
    st.lists(st.one_of(objects(*words("key schedule gracePeriod name")), values), max_size=5).map(
        lambda items: {"monitors": items}
    ),
    values,
)
reports = objects(*words("message msg progress meta errorMessage logOutput log"))


def _written(value: Any, ascii_only: bool, doubled: bool) -> bytes:
    text = json.dumps(value, ensure_ascii=ascii_only)
    text = text.replace("{", '{"name": "twice", ', 1) if doubled and text[:2] == '{"' else text
    return utf8(text)


def written(given: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(_written, given, st.booleans(), st.integers(0, 7).map(lambda n: n == 0))


bodies = st.one_of(
    any_of([b"", *raw_lines("Bodies that are no JSON, or too much of it")]),
    st.binary(max_size=60),
    texts.map(utf8),
    *map(written, (monitors, integrations, syncs, reports, values)),
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
NAMES = [f"{{{name}}}" for name in OLD_HANDLES]
NAMES += words("{code} {token} {key} {id} {integration} {writer} {pinger} {reader}")
MANAGED = [(route.method, route.rule) for route in cronwatch.API_ROUTES]
MANAGED += [("POST", f"{cronwatch.API}/integrations/<id>/test"), ("POST", "/api/sync")]
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
header_values = st.one_of(
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40),
    texts.map(
        lambda text: re.sub(
            r"[\x00-\x1f\x7f]", " ", text.encode("utf-8", "replace").decode("latin-1")
        )
    ),
)
secrets = st.one_of(any_of(lines("Credentials")), header_values)
schemes = any_of(["", "Basic Basic", *words("Basic bearer ApiKey Digest Negotiate")])
headers = st.lists(
    st.one_of(
        st.tuples(st.just("Authorization"), st.builds("{} {}".format, schemes, secrets)),
        st.tuples(any_of(["Authorization", "X-API-Key"]), secrets),
        st.tuples(any_of(lines("Names of headers")), header_values),
        any_of([tuple(line.split(": ", 1)) for line in lines("Headers")]),
    ),
    max_size=4,
)


class Shot(NamedTuple):
    """A request; {code} and the like in it stand for what the site has made."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunked: bool = False

    def raw(self, names: dict[str, str]) -> bytes:
        """The bytes of a request that is well framed, whatever is in it."""
        length = "Transfer-Encoding: chunked"
        body = self.body
        if self.chunked:
            cut = [body[:5], body[5:]]
            body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in cut if p) + b"0\r\n\r\n"
        else:
            length = f"Content-Length: {len(body)}"
        own = [f"{name}: {value}" for name, value in self.headers]
        first = f"{self.method} {self.target} HTTP/1.1"
        head = "\r\n".join([first, "Host: cron.test", *own, length])
        for name, value in names.items():
            head = head.replace("{" + name + "}", value)
        return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def keyed(method: str, path: str, body: Any = None) -> Shot:
    """A request with a key that may do it; the body, where there is one, as JSON."""
    raw = b"" if body is None else json.dumps(body).encode()
    return Shot(method, path, [("X-API-Key", "{writer}")], raw)


query_values = st.one_of(
    pieces,
    crons.map(escaped),
    any_of(words("1 up run @daily 50 rows:5 duration:3 {writer} a:1e999")),
)
parameters = st.tuples(any_of(["", *lines("Words of a query")]), query_values).map("=".join)


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query or none: a few parameters that mean something, now and then thousands."""
    kind = draw(st.integers(0, 120))
    if kind == 0:
        return "?" + str(draw(any_of(lines("Queries that are too long"))))
    several = draw(st.lists(parameters, max_size=4))
    return "?" + str(draw(any_of("&&&;"))).join(several) if kind % 2 else ""


def without_blanks(target: str) -> str:
    """A target that has some is broken, which is for `broken_requests`."""
    return re.sub(r"[\x00-\x20\x7f]", "_", target)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """The target of a request: mostly a route's, with names that exist or do not."""
    path = draw(any_of(lines("Targets")))
    part = st.one_of(any_of(NAMES), pieces)
    verb = st.one_of(any_of([*cronwatch.VERBS, *lines("Words of a path")]), pieces)
    for place, strategy in (("{a}", part), ("{b}", part), ("{w}", verb)):
        path = path.replace(place, draw(strategy))
    bent = {
        0: "/" + path,
        1: path + "/",
        2: path + "//..//",
        3: path * 40,
        4: path + "/.." * 500,
        5: "http://evil.example" + path,
        6: "http://[::1]:80" + path,
        7: "/x" * 3000 + path,
        8: path + "#fragment",
    }
    return without_blanks(bent.get(draw(st.integers(0, 30)), path) + draw(queries()))


def _headed(has_key: bool, own: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [*([("X-API-Key", "{writer}")] if has_key else []), *own]


pings = st.builds(
    Shot,
    any_of(["GET", "GET", "POST", "POST", "HEAD", *lines("Methods")]),
    targets(),
    st.builds(_headed, st.booleans(), headers),
    bodies,
    st.booleans(),
)


@st.composite
def managed(draw: st.DrawFn) -> Shot:
    """A request to the management API that has a key that may do it."""
    method, path = draw(any_of(MANAGED))
    name = draw(st.one_of(any_of(["{id}", "{key}", "{integration}"]), pieces))
    target = without_blanks(path.replace("<id>", name) + draw(queries()))
    likely = written(BODY_OF.get(path, objects("hours")))
    body = draw(likely if draw(st.integers(0, 4)) else bodies) if method != "GET" else b""
    return keyed(method, target)._replace(body=body, chunked=draw(st.booleans()))


shots = st.one_of(pings, managed())


@st.composite
def broken_requests(draw: st.DrawFn) -> bytes:
    """Bytes that are hardly a request."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200)) + bytes(draw(any_of([b"", b"\r\n\r\n"])))
    any_head = any_of([b"", *raw_lines("Lines of a head")])
    heads = draw(st.lists(st.one_of(any_head, st.binary(max_size=20)), max_size=3))
    if draw(st.booleans()):
        heads.append(b"Transfer-Encoding: chunked")
    head = b"\r\n".join([draw(any_of([b"", *raw_lines("First lines")])), *heads])
    chunks = any_of([b"", *raw_lines("Chunks")])
    return head + b"\r\n\r\n" + bytes(draw(st.one_of(chunks, st.binary(max_size=20))))


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
    socket: Any = SimpleNamespace(makefile=lambda mode: io.BytesIO(raw))
    reply = http.client.HTTPResponse(socket, method=method)
    reply.begin()
    found = {name.lower(): value for name, value in reply.getheaders()}
    body = reply.read()
    rest = raw[raw.index(b"\r\n\r\n") + 4 + len(body) :]
    return Answer(method, reply.status, found, body, refused), rest


class Wire:
    """Waitress as cronwatch sets it up, but for the socket: bytes in, bytes out."""

    def __init__(self, server: cronwatch.Server, adjustments: Any) -> None:
        self.adj, self.addr, self.connected = adjustments, ("192.0.2.1", 50_000), True
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
            kind = cronwatch.ErrorTask if request.error else WSGITask
            task = kind(self, request)
            try:
                task.service()
            finally:
                request.close()
            method = "GET" if request.error else request.command
            answer, rest = read_answer(b"".join(self.written), method, bool(request.error))
            assert rest == b"", f"after the answer to {method}: {rest[:200]!r}"
            answers.append(answer)
            if task.close_on_finish:
                break
        return answers


def adjustments() -> Any:
    """How cronwatch sets up Waitress."""
    settings = cronwatch.Settings(listen="127.0.0.1:0")
    server = cronwatch.make_web_server(lambda environ, start: [], settings)
    server.task_dispatcher.shutdown()
    server.close()
    return server.adj


def furnish(site: Site) -> dict[str, str]:
    """Make something of everything; what each is called in a request."""
    handles = {f"old-{name}": kind for name, kind in OLD_HANDLES.items()}
    rules = json.dumps([{"field": "rows", "operator": "ge", "value": 1}])
    job = site.monitor(handles, key="daily-backup", rules=rules)
    site.monitor(key="another", cron="*/5 * * * *", min_ping_interval_seconds=60)
    config = {"url": "http://127.0.0.1:9/", "headers": {}, "secret": "whsec_AAAA"}
    writer = site.api_key()
    return {
        **{name: str(value) for name, value in job._asdict().items()},
        "integration": site.server.act(cronwatch.create_integration, "webhook", "Hook", config),
        "writer": writer,
        "pinger": site.api_key("ping"),
        "reader": site.api_key("read-only"),
        "basic": basic(writer).split()[1],
        **{name: f"old-{name}" for name in OLD_HANDLES},
    }


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
JSON_TEXT = {("monitor", "rules"), ("monitor", "declared"), ("monitor", "digests")}
JSON_TEXT |= {("run", "metrics"), ("integration", "config"), ("event", "body")}
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
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            check_numbers(item)
    elif isinstance(value, str):
        value.encode()
    elif value is not None:
        assert abs(value) < 2**53, value

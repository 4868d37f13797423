"""Each dialect as a transcript: what is sent, what is answered and what is recorded.

This reads and plays the files in transcripts/, whose README.md says how they are written."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import webtest
from conftest import Site

import cronwatch

FOLDER = Path(__file__).parent / "transcripts"
PLACEHOLDER = re.compile(r"\{([a-z_]+|\*)\}")
REPEATED = re.compile(r"\{([^{}]{1,20}?)\*(\d+)\}")
HEADER = re.compile(r"([A-Z][A-Za-z-]*): (.*)")
REQUEST = re.compile(r"(?:(\d+)x )?([A-Z,]+) (.*)")
RECORD = re.compile(r"(?:(\d+)x |(no) )?([a-z_]+) ?(.*)")
EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NONE = "{none}"
JSON = "application/json"


class Step(NamedTuple):
    """Lines with the same mark that follow each other, and the number of the first."""

    number: int
    mark: str
    lines: list[str]


class Case(NamedTuple):
    """What stands under one heading of a transcript, with one row of its table."""

    name: str
    steps: list[Step]
    row: dict[str, str]


# -- reading


def read_transcript(file: Path) -> Iterator[Case]:
    """The cases of a file, one for each row of a table. Raises `ValueError` for an odd line."""
    title, steps, table = "", list[Step](), list[list[str]]()
    for number, line in enumerate([*file.read_text().splitlines(), "## "], 1):
        if line.startswith("## "):
            yield from _cases(title, steps, table)
            title, steps, table = line[3:], [], []
        elif line.startswith("|"):
            table.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif line[:1] in ("*", ">", "<", "="):
            _add(steps, Step(number, line[0], [line[2:]]))
        elif line and (steps or table):
            raise ValueError(f"{file.name}:{number}: no mark before: {line}")


def _add(steps: list[Step], step: Step) -> None:
    if steps and steps[-1].mark == step.mark != "*":
        steps[-1].lines.extend(step.lines)
    else:
        steps.append(step)


def _cases(title: str, steps: list[Step], table: list[list[str]]) -> Iterator[Case]:
    if steps and not table:
        yield Case(title, steps, {})
    for number, cells in enumerate(table[1:], 1):
        yield Case(f"{title} ({number})", steps, dict(zip(table[0], cells, strict=True)))


def pairs(text: str) -> dict[str, str]:
    """The values of `name=value other="with blanks"`."""
    words = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in words}


def typed(text: str) -> Any:
    """A number, true, false or null, as JSON has them, else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def split_head(lines: list[str]) -> tuple[dict[str, str], str]:
    """Headers, and the body behind them; an empty line between is dropped."""
    headers = dict[str, str]()
    for at, line in enumerate(lines):
        header = HEADER.fullmatch(line)
        if not header:
            return headers, "\n".join(lines[at:] if line else lines[at + 1 :])
        headers[header[1]] = header[2]
    return headers, ""


def _type_of(body: str) -> str:
    return JSON if body.startswith('{"') else "text/plain"


def lengthen(text: str) -> str:
    """Text in which `{x*3}` is xxx."""
    return REPEATED.sub(lambda match: match[1] * int(match[2]), text)


def to_bytes(text: str) -> bytes:
    r"""What a text is on the wire: UTF-8, in which \xff is that byte."""
    return re.sub(
        rb"\\x([0-9a-f]{2})",
        lambda match: bytes.fromhex(match[1].decode()),
        lengthen(text).encode(),
    )


# -- playing


class Player:
    """Plays a case on a site of its own, and knows what its placeholders stand for."""

    def __init__(self, case: Case, make_site: Callable[..., Site]) -> None:
        self.names = dict(case.row)
        settings = [
            self._fill(line.removeprefix("setting "))
            for step in case.steps
            for line in step.lines
            if step.mark == "*" and line.startswith("setting ")
        ]
        self.site = make_site(
            **{name: typed(value) for line in settings for name, value in pairs(line).items()}
        )
        self.headers = dict[str, str]()  # that go along with each request
        self.replies: list[webtest.TestResponse] = []

    def play(self, step: Step) -> None:
        """Take a step; raises `AssertionError` where something else came back."""
        actions = {"*": self._prepare, ">": self._send, "<": self._receive, "=": self._look}
        actions[step.mark]([self._fill(line) for line in step.lines])

    def _fill(self, text: str) -> str:
        """A text with what its placeholders stand for, as far as that is known."""
        for _ in range(2):  # what stands in a table may have placeholders of its own
            text = PLACEHOLDER.sub(lambda match: self.names.get(match[1], match[0]), text)
        return text

    # -- lines with *: what is there before, and what happens beside requests

    def _prepare(self, lines: list[str]) -> None:
        word, _, rest = lines[0].partition(" ")
        actions: dict[str, Callable[[str], object]] = {
            "setting": lambda text: None,  # the site was made with it
            "monitor": self._add_monitor,
            "key": self._add_key,
            "user": self._add_user,
            "clock": lambda text: self.site.clock.move(float(text)),
            "scan": lambda text: self.site.server.scan(),
            "sql": self.site.rows,
        }
        actions[word](rest)

    def _add_monitor(self, text: str) -> None:
        columns: dict[str, Any] = pairs(text)
        prefix = columns.pop("as", "")
        dialect = columns.pop("dialect", "")
        handles = {columns.pop("handle"): dialect} if dialect else {}
        job = self.site.monitor(handles, **{name: typed(value) for name, value in columns.items()})
        for part in ("id", "key", "token", "code"):
            self.names[f"{prefix}_{part}" if prefix else part] = getattr(job, part)

    def _add_key(self, text: str) -> None:
        columns = pairs(text)
        secret = self.site.api_key(columns.get("permission", "read-write"), columns.get("secret"))
        self.names["api"] = secret
        self.names["basic"] = base64.b64encode(f"{secret}:".encode()).decode()
        forms = {"X-Api-Key": secret, "Authorization": f"Basic {self.names['basic']}"}
        if header := columns.get("in"):
            self.headers = {header: forms[header]}

    def _add_user(self, text: str) -> None:
        columns, act = pairs(text), self.site.server.act
        prefix = f"{columns['as']}_" if "as" in columns else ""
        password = columns.get("password")
        stored = cronwatch.hash_password(password) if password else None
        act(cronwatch.add_user, columns["name"], stored)
        num = len(self.site.rows("SELECT num FROM user"))
        session = act(cronwatch.open_session, num, stored)["token"]
        self.names[f"{prefix}session"] = session
        link = act(cronwatch.make_link, columns["name"])["url"]
        self.names[f"{prefix}link"] = link.rpartition("/")[2]
        if "in" in columns:
            self.headers = {columns["in"]: f"Bearer {session}"}

    # -- lines with >: a request, by each method, so many times

    def _send(self, lines: list[str]) -> None:
        request = REQUEST.fullmatch(lines[0])
        assert request, "not a request: " + lines[0]
        headers, body = split_head(lines[1:])
        headers = {**self.headers, **headers}
        wire = {name: to_bytes(value).decode("latin-1") for name, value in headers.items()}
        target = to_bytes(request[3]).decode("latin-1")
        for _ in range(int(request[1] or 1)):
            for method in request[2].split(","):
                self.replies.append(self.site.send(method, target, to_bytes(body), wire))
                self.site.app.reset()  # it would keep the cookie

    # -- lines with <: the response to each

    def _receive(self, lines: list[str]) -> None:
        headers, body = split_head(lines[1:])
        replies, self.replies = self.replies, []
        for reply in replies:
            assert str(reply.status_int) == lines[0], reply.text[:300]
            self._check_headers(reply, headers)
            if body and "Content-Type" not in headers:
                assert reply.content_type == _type_of(body)
            if reply.request.method == "HEAD":
                assert reply.body == b""
            elif body:
                actual = reply.json if _type_of(body) == JSON else reply.text
                expected = json.loads(body) if _type_of(body) == JSON else body
                assert actual == self._settle(expected, actual)

    def _check_headers(self, reply: webtest.TestResponse, headers: dict[str, str]) -> None:
        expected = {"Retry-After": NONE, **EVERY_ANSWER, **headers}
        actual = {name: reply.headers.get(name, NONE) for name in expected}
        assert actual == self._settle(expected, actual)
        assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
        assert "unsafe" not in reply.headers["Content-Security-Policy"]

    def _settle(self, expected: Any, actual: Any) -> Any:
        """What was expected, with what came in place of the placeholders that it fits."""
        if isinstance(expected, dict):
            actual = actual if isinstance(actual, dict) else {}
            if "*" in expected:
                expected = {**actual, **expected}
                del expected["*"]
            return {name: self._settle(text, actual.get(name)) for name, text in expected.items()}
        if isinstance(expected, list):
            beside = actual[: len(expected)] if isinstance(actual, list) else []
            return [self._settle(*both) for both in zip_longest(expected, beside)]
        return self._settle_text(expected, actual) if isinstance(expected, str) else expected

    def _settle_text(self, expected: str, actual: Any) -> Any:
        expected = lengthen(self._fill(expected))
        if expected == "{*}":
            return actual
        names = PLACEHOLDER.findall(expected)
        texts = (re.escape(text) for text in PLACEHOLDER.split(expected)[::2])
        match = re.fullmatch("(.*)".join(texts), str(actual), re.DOTALL)
        if expected == NONE or match is None or not names:
            return expected
        self.names |= {
            name: text for name, text in zip(names, match.groups(), strict=True) if name != "*"
        }
        return actual

    # -- lines with =: what was recorded, every row of the tables that are named

    def _look(self, lines: list[str]) -> None:
        expected = dict[str, list[dict[str, str]]]()
        for line in lines:
            record = RECORD.fullmatch(line)
            assert record, "not a record: " + line
            count = 0 if record[2] else int(record[1] or 1)
            expected.setdefault(record[3], []).extend(count * [pairs(record[4])])
        for table, rows in expected.items():
            columns = rows[0] if rows else {}
            actual = [
                {name: _cell(row[name]) for name in columns}
                for row in self.site.rows(f"SELECT * FROM {table} ORDER BY 1")
            ]
            assert actual == self._settle(rows, actual)


def _cell(value: Any) -> str:
    """A value of the database as a transcript writes it."""
    if value is None:
        return "null"
    if str(value).startswith('{"'):
        return json.dumps(json.loads(value))
    return str(value).replace("\n", "\\n").replace("\t", "\\t")


# -- the tests


CASES = [
    pytest.param(file, case, id=f"{file.stem}: {case.name}")
    for file in sorted(FOLDER.glob("*.http"))
    for case in read_transcript(file)
]


@pytest.mark.parametrize("file, case", CASES)
def test_what_is_sent_is_answered_as_in_the_transcript(
    file: Path, case: Case, make_site: Callable[..., Site]
) -> None:
    player = Player(case, make_site)

    for step in case.steps:
        try:
            player.play(step)
        except AssertionError as error:
            error.add_note(f"{file.name}:{step.number}: {case.row}")
            raise
    assert not player.replies, "the last request has no response in the transcript"

"""Reading the envelopes of Sentry; transcripts/sentry.http has the rest."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
import zlib
from typing import Any

import pytest
from conftest import Site

from cronwatch import (
    BODY_MAX,
    CHECK_INS_MAX,
    Invalid,
    Refused,
    read_envelope,
    unpack,
)

ENVELOPE = "/api/1/envelope/"
CHECK_IN = {"check_in_id": "1", "monitor_slug": "backup", "status": "ok"}
HEADER = b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc"}\n'


def item(kind: str, content: bytes) -> bytes:
    """An item of an envelope, and its header."""
    header = {"type": kind, "length": len(content)}
    return json.dumps(header).encode() + b"\n" + content + b"\n"


def envelope(*check_ins: dict[str, Any]) -> bytes:
    items = (item("check_in", json.dumps(each).encode()) for each in check_ins)
    return HEADER + b"".join(items)


# reading


EVENT = b'{"message": "x"}'
A_CHECK_IN = json.dumps(CHECK_IN).encode()
READ = {
    "with lengths": (item("event", EVENT) + item("check_in", A_CHECK_IN) + b"\n", 1),
    "without": (b'{"type":"event"}\n{}\n{"type":"check_in"}\n' + A_CHECK_IN + b"\n", 1),
    "the last one without a line break": (item("check_in", A_CHECK_IN).rstrip(b"\n"), 1),
    "lines within a length": (item("attachment", b'\n{"type":"check_in"}\n{}\n'), 0),
    "a million empty lines": (b"\n" * 1_000_000, 0),
}


@pytest.mark.parametrize("items, count", READ.values(), ids=READ)
def test_an_envelope_is_its_id_and_its_check_ins(items: bytes, count: int) -> None:
    result = read_envelope(HEADER + items)

    assert result == ("9ec79c33ec9942ab8353589fcb2e04dc", [CHECK_IN] * count)


DEEP = b'{"a":' * 100_000
HOSTILE = {
    "nothing": b"",
    "no object": b"[]\n",
    "deep": DEEP,
    "a deep header of an item": HEADER + DEEP,
    "a deep check-in": HEADER + b'{"type":"check_in"}\n' + DEEP[:60_000],
    "a check-in of more than 64 KB": HEADER + b'{"type":"check_in"}\n"' + b"x" * 70_000 + b'"',
    "an item without a header": HEADER + b"nonsense\n",
    "a check-in that is none": HEADER + b'{"type":"check_in"}\n[]',
    "a check-in that is not there": HEADER + b'{"type":"check_in"}\n',
    "a truncated check-in": envelope(CHECK_IN)[:-20],
    "a truncated event": HEADER + b'{"type":"event","length":99}\n{}',
    "a length that is too short": HEADER + b'{"type":"check_in","length":1}\n{}\n',
    "a negative length": HEADER + b'{"type":"check_in","length":-1}\n{}',
    "an endless length": HEADER + b'{"type":"event","length":' + b"9" * 99 + b"}\n{}",
    "a length of text": HEADER + b'{"type":"check_in","length":"2"}\n{}',
    "too many check-ins": envelope(*[CHECK_IN] * (CHECK_INS_MAX + 1)),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_envelope(body)


# unpacking


@pytest.mark.parametrize(
    "packed, encoding",
    [
        (b"text", ""),
        (gzip.compress(b"text", mtime=0), "gzip"),
        (zlib.compress(b"text"), "deflate"),
    ],
)
def test_a_body_is_unpacked(packed: bytes, encoding: str) -> None:
    assert unpack(packed, encoding, 100) == b"text"


@pytest.mark.parametrize(
    "packed, encoding",
    [(b"x" * 100, ""), (b"x" * 100, "gzip"), (gzip.compress(b"x" * 100_000_000, mtime=0), "gzip")],
    ids=["plain", "packed", "bomb"],
)
def test_a_body_of_too_many_bytes_is_refused(packed: bytes, encoding: str) -> None:
    with pytest.raises(Refused) as refused:
        unpack(packed, encoding, 100)

    assert refused.value.status == 413


def test_of_a_bomb_no_more_than_the_limit_is_ever_held() -> None:
    bomb = gzip.compress(b"x" * 50_000_000, mtime=0)
    tracemalloc.start()

    with pytest.raises(Refused):
        unpack(bomb, "gzip", 1_000_000)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000  # a buffer is copied where it ends


@pytest.mark.parametrize(
    "packed",
    [b"", b"text", gzip.compress(b"text", mtime=0)[:-1], gzip.compress(b"text", mtime=0) * 2],
    ids=["nothing", "plain", "truncated", "more behind it"],
)
def test_a_body_that_is_not_as_its_encoding_says_is_refused(packed: bytes) -> None:
    with pytest.raises(Invalid, match="Content-Encoding"):
        unpack(packed, "gzip", 100)


# through the door


def send(site: Site, api_key: str, body: bytes, **headers: str) -> int:
    """The status of an envelope's answer."""
    return int(site.post(f"{ENVELOPE}?sentry_key={api_key}", body, **headers).status_int)


def test_a_packed_envelope_is_read(site: Site, api_key: str) -> None:
    site.monitor(key="backup")

    status = send(site, api_key, gzip.compress(envelope(CHECK_IN)), Content_Encoding="gzip")

    assert (status, site.kinds) == (200, ["success"])


def test_an_envelope_of_a_megabyte_is_refused(site: Site, api_key: str) -> None:
    body = envelope(CHECK_IN) + item("event", b"x" * BODY_MAX)

    assert send(site, api_key, body) == 413


def test_the_check_ins_of_an_envelope_share_a_transaction(site: Site, api_key: str) -> None:
    site.monitor(key="backup")
    commits: list[int] = []
    site.server.store.count_commit = commits.append

    send(site, api_key, envelope(*({**CHECK_IN, "check_in_id": str(n)} for n in range(1, 6))))

    assert (len(commits), len(site.pings)) == (1, 5)


def test_a_check_in_of_the_cron_url_is_for_the_lane(site: Site) -> None:
    paths = ("/api/1/cron/backup/cwKey/", ENVELOPE)

    assert [site.server.is_ping("POST", path) for path in paths] == [True, False]


def test_an_encoding_that_is_not_read_is_said_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    statuses = {site.post(ENVELOPE, b"x", Content_Encoding="br").status_int for _ in range(3)}

    assert statuses == {415}
    assert caplog.text.count("needs _experiments=") == 1

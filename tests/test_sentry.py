"""Sentry's envelopes, and what a monitor_config declares; transcripts/sentry.http has the rest."""

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
    change_monitor,
    edit,
    read_envelope,
    unpack,
)

ENVELOPE = "/api/1/envelope/"
CHECK_IN = {"check_in_id": "1", "monitor_slug": "backup", "status": "ok"}
HEADER = b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc"}\n'
HOURLY = {"type": "crontab", "value": "@hourly"}
DAILY = {"type": "crontab", "value": "@daily"}


def item(kind: str, content: bytes, *, has_length: bool) -> bytes:
    """An item of an envelope, and its header."""
    header = {"type": kind, **({"length": len(content)} if has_length else {})}
    return json.dumps(header).encode() + b"\n" + content + b"\n"


def envelope(*check_ins: dict[str, Any]) -> bytes:
    items = (item("check_in", json.dumps(each).encode(), has_length=True) for each in check_ins)
    return HEADER + b"".join(items)


# reading


@pytest.mark.parametrize("has_length", [True, False])
def test_an_envelope_is_its_id_and_its_check_ins(has_length: bool) -> None:
    event = item("event", b'{"message": "x"}', has_length=has_length)
    check_in = item("check_in", json.dumps(CHECK_IN).encode(), has_length=has_length)

    result = read_envelope(HEADER + event + check_in + event + b"\n")

    assert result == ("9ec79c33ec9942ab8353589fcb2e04dc", [CHECK_IN])


def test_an_item_with_a_length_may_have_lines_in_it() -> None:
    attachment = item("attachment", b'\n{"type":"check_in"}\n{}\n', has_length=True)

    _, check_ins = read_envelope(HEADER + attachment)

    assert check_ins == []


def test_the_last_item_may_end_without_a_line_break() -> None:
    _, check_ins = read_envelope(envelope(CHECK_IN).rstrip(b"\n"))

    assert check_ins == [CHECK_IN]


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


def test_a_million_empty_lines_are_read_at_once() -> None:
    assert read_envelope(HEADER + b"\n" * 1_000_000)[1] == []


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
    body = envelope(CHECK_IN) + item("event", b"x" * BODY_MAX, has_length=True)

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


def test_a_key_that_may_only_ping_registers_so_many_monitors(site: Site) -> None:
    api_key = site.api_key("ping")
    check_ins = [
        {**CHECK_IN, "monitor_slug": f"job-{n}", "monitor_config": {"schedule": DAILY}}
        for n in range(2)
    ]
    send(site, api_key, envelope(check_ins[0]))
    site.rows("""WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 999)
        INSERT INTO monitor (id, key, name, created_at, updated_at, registered_by)
        SELECT i, i, i, 0, 0, 1 FROM n""")

    status = send(site, api_key, envelope(check_ins[1]))

    assert (status, len(site.monitors), len(site.pings)) == (403, 1000, 1)


# what a monitor_config declares


def declare(site: Site, schedule: dict[str, Any], **config: Any) -> dict[str, Any]:
    """The monitor after a check-in with a monitor_config."""
    if not site.rows("SELECT num FROM api_key"):
        site.api_key("ping", "declares")
    check_in = {**CHECK_IN, "monitor_config": {"schedule": schedule, **config}}
    assert send(site, "declares", envelope(check_in)) == 200
    return site.monitors[0]


def edit_by_hand(site: Site, **columns: Any) -> None:
    site.server.act(change_monitor, 1, lambda state: edit(state, site.clock.now, columns))


CHANGES = [
    ("checkin_margin", 5, 10, "grace_seconds", 600),
    ("max_runtime", None, 30, "max_run_seconds", 1800),
    ("max_runtime", 30, None, "max_run_seconds", None),
    ("failure_issue_threshold", 1, 3, "failure_tolerance", 2),
    ("timezone", None, "Asia/Tokyo", "timezone", "Asia/Tokyo"),
]


@pytest.mark.parametrize("name, before, after, column, value", CHANGES)
def test_what_is_declared_anew_is_applied(
    site: Site, name: str, before: Any, after: Any, column: str, value: Any
) -> None:
    declare(site, DAILY, **{name: before})

    m = declare(site, DAILY, **{name: after})

    assert m[column] == value


@pytest.mark.parametrize(
    "column, value",
    [
        ("cron", "@weekly"),
        ("timezone", "Europe/Berlin"),
        ("grace_seconds", 900),
        ("max_run_seconds", 900),
        ("failure_tolerance", 9),
    ],
)
def test_what_is_declared_again_reverts_no_edit(site: Site, column: str, value: Any) -> None:
    declare(site, DAILY)
    edit_by_hand(site, **{column: value})

    m = declare(site, DAILY)

    assert m[column] == value


EVERY_HOUR = {"type": "interval", "value": 1, "unit": "hour"}


@pytest.mark.parametrize(
    "before, after, cron, seconds",
    [(DAILY, EVERY_HOUR, None, 3600), (EVERY_HOUR, DAILY, "@daily", None)],
)
def test_an_interval_and_a_cron_expression_replace_each_other(
    site: Site, before: dict[str, Any], after: dict[str, Any], cron: str, seconds: int
) -> None:
    declare(site, before)

    m = declare(site, after)

    assert (m["cron"], m["interval_seconds"]) == (cron, seconds)


def test_an_interval_that_is_declared_reverts_no_cron_expression_of_an_edit(site: Site) -> None:
    declare(site, DAILY)
    edit_by_hand(site, cron="@weekly")

    m = declare(site, EVERY_HOUR)

    assert (m["cron"], m["interval_seconds"]) == ("@weekly", None)


def test_a_check_in_without_a_monitor_config_moves_nothing(site: Site) -> None:
    before = declare(site, HOURLY, checkin_margin=5)

    send(site, "declares", envelope(CHECK_IN))

    (after,) = site.monitors
    assert [after[name] for name in ("cron", "grace_seconds", "declared")] == [
        before[name] for name in ("cron", "grace_seconds", "declared")
    ]

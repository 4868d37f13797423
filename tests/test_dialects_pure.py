"""The small functions of the section Dialects: words, texts, numbers, paths."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import NOW

from cronwatch import (
    Invalid,
    clean,
    iso,
    milliseconds,
    number,
    numbers,
    parse_json,
    read_route,
    read_verb,
    split_path,
    whole,
)


@pytest.mark.parametrize(
    "words, verb",
    [
        ("0", ("success", 0)),
        ("1", ("fail", 1)),
        ("255", ("fail", 255)),
        ("progress 100", ("progress", 100)),
        ("pause 0", ("pause", 0)),
        ("p 24", ("pause", 24)),
        ("END Success", ("success", None)),
        ("b", ("start", None)),
        ("e", ("success", None)),
        ("tick", ("success", None)),
    ],
)
def test_a_word_means_the_same_everywhere(words: str, verb: tuple[str, int]) -> None:
    assert read_verb(words.split()) == verb


@pytest.mark.parametrize(
    "words",
    ["256", "-1", "progress 101", "pause", "pause x", "²", "٣", "end", "end maybe", "nonsense"],
)
def test_what_is_no_word_is_refused(words: str) -> None:
    with pytest.raises(Invalid, match="not a known signal"):
        read_verb(words.split())


@pytest.mark.parametrize(
    "raw, parts",
    [
        ("/ping/a%2Fb/start", ["ping", "a/b", "start"]),
        ("//ping//x/", ["ping", "x"]),
        ("/a+b", ["a b"]),
        ("/a%2Bb", ["a+b"]),
        ("/%ff", ["\ufffd"]),
        ("/x?y=/z", ["x"]),
        ("http://host:80/x", ["x"]),
        ("/", []),
        ("*", ["*"]),
        ("", []),
        ("/a#b", ["a"]),
        ("/%2F%2f", ["//"]),
        ("/%", ["%"]),
        ("/%zz", ["%zz"]),
        ("/\xc3\xbc", ["ü"]),
        ("/\xff", ["\ufffd"]),
    ],
)
def test_a_path_is_split_before_it_is_decoded(raw: str, parts: list[str]) -> None:
    assert split_path(raw) == parts


@pytest.mark.parametrize(
    "path",
    ["", "api", "api/v1", "api/push", "ping", "p", "start", "static/x", "api/v1/heartbeats"],
)
def test_a_path_of_something_else_is_no_route_of_a_ping(path: str) -> None:
    assert read_route(split_path(path)) is None


@pytest.mark.parametrize(
    "text, kept",
    [
        ("a\0b", "a b"),
        ("a\r\nb", "a  b"),
        ("\ud800", "?"),
        ("  ", None),
        (None, None),
        ({}, None),
        (7, "7"),
        ("x" * 300, "x" * 255),
        ("a\u2028b", "a b"),
    ],
)
def test_text_is_made_safe(text: object, kept: str | None) -> None:
    assert clean(text, 255) == kept


@pytest.mark.parametrize(
    "text, kept",
    [("a\nb\tc", "a\nb\tc"), ("a\x00b\x1bc", "abc"), ("\n \n", None), ("é" * 20, "é" * 10)],
)
def test_text_of_several_lines_keeps_them(text: str, kept: str | None) -> None:
    assert clean(text, 10, lines=True) == kept


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", 2**53, "x", None, [], True, 10**400])
def test_what_is_no_finite_number_is_dropped(value: object) -> None:
    assert number(value) is None


@pytest.mark.parametrize("value", [0, "0", -1.5, " 3 ", 2**53 - 1, "1e15"])
def test_a_finite_number_is_kept(value: Any) -> None:
    assert number(value) == float(value)


@pytest.mark.parametrize(
    "value, kept",
    [("7", 7), (7.9, 7), (-7.9, -7), ("x", None), (None, None), (2**53 - 1, 2**53 - 1)],
)
def test_a_whole_number_loses_its_fraction(value: Any, kept: int | None) -> None:
    assert whole(value) == kept


@pytest.mark.parametrize(
    "value, kept",
    [
        (0, 0),
        ("0", 0),
        ("12.5", 12_500),
        (1e-4, 0),
        ("0.0015", 2),
        *((value, None) for value in (-1, "nan", "inf", None, True, 2**53, 400_000_000, "")),
    ],
)
def test_a_duration_is_milliseconds_where_a_job_can_last_so_long(
    value: Any, kept: int | None
) -> None:
    assert milliseconds(value) == kept


NO_NUMBERS: list[Any] = [None, [], "x", 1, {"a": "x"}, {"a": {}}, {"a": [1]}]
DEEP = {"a": {"b": {"c": {"d": 1}}}}


@pytest.mark.parametrize(
    "given, kept",
    [
        ({"rows": 3, "db": {"size": 1.5, "name": "x"}, "deep": DEEP}, {"rows": 3, "db.size": 1.5}),
        *((given, {}) for given in NO_NUMBERS),
    ],
)
def test_numbers_are_found_by_their_dotted_path(given: Any, kept: dict[str, float]) -> None:
    assert numbers(given) == kept


def test_not_more_numbers_are_kept_than_anybody_looks_at() -> None:
    assert 20 <= len(numbers({f"n{n}": n for n in range(10_000)})) <= 1000


@pytest.mark.parametrize("body", [b"", b"{", b"x", b"[" * 60_000, b'{"a":' * 10_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse_json(body)


@pytest.mark.parametrize(
    "body, value",
    [
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b"[1]", [1]),
        (b" null ", None),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),  # as PowerShell writes a file
        (b"[" + b" " * 1_048_574 + b"]", []),
        (b"[" + b" " * 1_048_575 + b"]", None),
    ],
)
def test_json_is_read_up_to_a_megabyte(body: bytes, value: Any) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize(
    "instant, unit, text",
    [
        (NOW, "milliseconds", "2026-03-02T12:00:00.000Z"),
        (NOW, "seconds", "2026-03-02T12:00:00Z"),
        (NOW + 999, "milliseconds", "2026-03-02T12:00:00.999Z"),
        (NOW + 999, "seconds", "2026-03-02T12:00:00Z"),
        (None, "seconds", None),
    ],
)
def test_an_instant_is_told_in_utc_and_never_rounded_up(
    instant: int | None, unit: str, text: str | None
) -> None:
    assert iso(instant, unit) == text

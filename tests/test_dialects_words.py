"""What each word of a ping comes to, whatever service it is from."""

from __future__ import annotations

import pytest
from conftest import Site

from cronwatch import Invalid, clean, number, numbers, read_verb, split_path

RUN = "0b8f0b1c-5b1f-4c3e-9d6a-2f6d3b8f4a10"


@pytest.mark.parametrize("rid, series", [(RUN, RUN), ("nightly", None), ("", None)])
def test_a_run_id_that_is_no_uuid_is_no_run_id(site: Site, rid: str, series: str | None) -> None:
    job = site.monitor()

    reply = site.get(f"/{job.token}/start?rid={rid}")

    assert (reply.status_int, site.pings[0]["series"]) == (200, series)


@pytest.mark.parametrize(
    "words, said",
    [
        (["0"], ("success", 0)),
        (["1"], ("fail", 1)),
        (["255"], ("fail", 255)),
        (["progress", "100"], ("progress", 100)),
        (["pause", "0"], ("pause", 0)),
        (["p", "24"], ("pause", 24)),
        (["END", "Success"], ("success", None)),
        (["b"], ("start", None)),
        (["e"], ("success", None)),
        (["tick"], ("success", None)),
    ],
)
def test_a_word_means_the_same_everywhere(words: list[str], said: tuple[str, int]) -> None:
    assert read_verb(words) == said


@pytest.mark.parametrize(
    "words",
    [
        ["256"],
        ["-1"],
        ["progress", "101"],
        ["pause"],
        ["pause", "x"],
        ["²"],
        ["٣"],
        ["end"],
        ["end", "maybe"],
        ["nonsense"],
    ],
)
def test_what_is_no_word_is_refused(words: list[str]) -> None:
    with pytest.raises(Invalid, match="not a known signal"):
        read_verb(words)


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
    ],
)
def test_a_path_is_split_before_it_is_decoded(raw: str, parts: list[str]) -> None:
    assert split_path(raw) == parts


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


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", 2**53, "x", None, [], True, 10**400])
def test_what_is_no_finite_number_is_dropped(value: object) -> None:
    assert number(value) is None


def test_numbers_are_found_by_their_dotted_path() -> None:
    given = {"rows": 3, "db": {"size": 1.5, "name": "x"}, "deep": {"a": {"b": {"c": {"d": 1}}}}}

    assert numbers(given) == {"rows": 3, "db.size": 1.5}


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("/ping/{token}/256", "invalid url format"),
        ("/ping/{code}/what", "Invalid request"),
        ("/{token}/300", "'300' is not a known signal"),
    ],
)
def test_a_word_that_is_none_is_refused_in_the_services_words(
    site: Site, path: str, sentence: str
) -> None:
    job = site.monitor()

    reply = site.get(job.at(path))

    assert (reply.status_int, sentence in reply.text, site.pings) == (400, True, [])

"""cronwatch.py keeps its shape; and each check here can fail."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import layout

TOP_LEVEL = {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "cronwatch.py", "pyproject.toml"}
TOP_LEVEL |= {".ci", ".gitignore", "schema.sql", "static", "systemd", "tests"}


@pytest.fixture(scope="module")
def source() -> str:
    return layout.MODULE.read_text(encoding="utf-8")


def banner(name: str) -> str:
    return f"# == {name} ".ljust(79, "=")


def module(**parts: str) -> str:
    """A module with a section for each keyword, `_` in its name a space, `head` above them."""
    text = parts.pop("head", "")
    for name, body in parts.items():
        text += f"\n\n{banner(name.replace('_', ' '))}\n# May not fail.\n\n{body}\n"
    return text


# cronwatch.py itself


def test_the_sections_stand_in_reading_order(source: str) -> None:
    assert layout.banner_faults(source, layout.SECTIONS) == []


def test_a_section_uses_only_its_own_names_and_those_above(source: str) -> None:
    assert layout.order_faults(source) == []


def test_the_rules_and_the_dialects_are_pure(source: str) -> None:
    assert layout.purity_faults(source, layout.PURE) == []


def test_nothing_else_is_at_the_top_level() -> None:
    git = shutil.which("git")
    if git is None or not (layout.ROOT / ".git").exists():
        pytest.skip("only a git checkout knows which files are the project's")

    command = [git, "-C", str(layout.ROOT), "ls-files", "--cached", "--others"]
    listed = subprocess.check_output([*command, "--exclude-standard"], text=True)

    assert {path.partition("/")[0] for path in listed.splitlines()} - TOP_LEVEL == set()


# the checks: sections


def test_sections_run_from_banner_to_banner() -> None:
    text = f"import os\n{banner('One')}\n# c\nx = 1\n{banner('Two')}\n# c\n"

    found = [(part.name, part.first, part.last) for part in layout.sections(text)]

    assert found == [(layout.HEAD, 1, 1), ("One", 2, 4), ("Two", 5, 6)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (module(Two="", One=""), "the sections are ['Two', 'One']"),
        (module(One=""), "the sections are ['One']"),
        (banner("One")[:-1] + "\n# May not.\n\n", "78 wide"),
        ("# == One\n# May not.\n", "a banner reads"),
        ("# ============\n", "a banner reads"),
        (banner("One") + "\n\nx = 1\n", "one comment line"),
        (banner("One") + "\n# May not.\n# Or may it?\n", "one comment line"),
        (banner("One"), "one comment line"),
    ],
)
def test_a_bad_banner_is_found(text: str, fault: str) -> None:
    assert fault in " ".join(layout.banner_faults(text, ["One", "Two"]))


# the checks: order


@pytest.mark.parametrize(
    "early",
    [
        "x = late",
        "def f():\n    return late()",
        "def f(a: late):\n    pass",
        "class A(late):\n    pass",
        "@late\ndef f():\n    pass",
        "x = [late for late in late()]",
        "def f():\n    global late\n    late = late + 1",
    ],
)
def test_a_name_from_below_is_found(early: str) -> None:
    text = module(One=early, Two="class late:\n    pass")

    (fault, *_) = layout.order_faults(text)

    assert "One uses late of Two" in fault


@pytest.mark.parametrize(
    "early",
    [
        "def f(late):\n    return late",
        "def f():\n    late = 1\n    return late",
        "x = [late for late in ()]",
        "class A:\n    late = 1\n    y = late",
        "x = y.late if (y := None) else 'late'",
    ],
)
def test_a_local_name_is_not_taken_for_one_from_below(early: str) -> None:
    text = module(One=early, Two="late = 1")

    assert layout.order_faults(text) == []


@pytest.mark.parametrize(
    "late",
    [
        "late = 1",
        "def late():\n    pass",
        "import late",
        "if True:\n    late = 1",
    ],
)
def test_every_way_to_define_a_name_counts(late: str) -> None:
    text = module(One="def f():\n    return late", Two=late)

    assert len(layout.order_faults(text)) == 1


def test_a_name_belongs_to_the_section_that_defines_it_first() -> None:
    text = module(One="x = None", Two="y = x", Three="x = 1")

    assert layout.order_faults(text) == []


# the checks: purity


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        ("import time", "def f():\n    return time.time()"),
        ("from time import time", "def f():\n    return time()"),
        ("import datetime", "def f():\n    return datetime.datetime.now()"),
        ("from datetime import datetime", "f = datetime.utcnow"),
        ("", "def f(clock):\n    return clock.now()"),
        ("import peewee", "class A(peewee.Model):\n    pass"),
        ("from bottle import request", "def f():\n    return request.query"),
        ("import logging\nlog = logging.getLogger()", "def f():\n    log.info('x')"),
        ("import os", "def f():\n    return os.environ"),
        ("import sqlite3", "def f(e: sqlite3.Error):\n    pass"),
        ("import uuid", "def f(make=uuid.uuid4):\n    pass"),
        ("", "def f():\n    open('x')"),
        ("", "def f():\n    import os\n    return os.sep"),
        ("import os\ndef h():\n    return os.sep\ndef g():\n    return h()", "f = g"),
    ],
)
def test_an_impure_rule_is_found(head: str, rule: str) -> None:
    text = module(head=head, Rules=rule)

    (fault, *_) = layout.purity_faults(text, ["Rules"])

    assert "Rules is pure, but line" in fault


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        ("from datetime import datetime, time", "f = datetime.fromtimestamp, time(1)"),
        ("import datetime as dt", "def f():\n    return dt.datetime(2026, 1, 1)"),
        ("from urllib.parse import quote", "f = quote"),
        ("import uuid", "f = uuid.UUID"),
        ("import time", "def f(time):\n    return time.now"),
        ("import os", "def f(now, open, print):\n    return open, print, now"),
    ],
)
def test_a_pure_rule_is_left_alone(head: str, rule: str) -> None:
    assert layout.purity_faults(module(head=head, Rules=rule), ["Rules"]) == []


def test_other_sections_need_not_be_pure() -> None:
    text = module(head="import os", Rules="x = 1", Storage="y = os.sep")

    assert layout.purity_faults(text, ["Rules"]) == []

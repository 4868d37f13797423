"""The tests must be able to fail: each fault of one line in faults.txt is seen by the test that it
names. Where a fragment is no longer there, the table has to follow what became of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS, Fault
from test_rules import STORIES
from test_transcripts import CASES

import cronwatch

TESTS = Path(__file__).parent
SOURCE = Path(cronwatch.__file__).read_text("utf-8")
EACH_FAULT = [
    pytest.param(fault, id=f"{section}: {fault.harm}")
    for section, faults in FAULTS.items()
    for fault in faults
]
HEADING = re.compile(r"(transcripts|stories)/([\w-]+)\.\w+: (.*)")
PLAYED = {
    "transcripts": (
        "test_transcripts.py::test_what_is_sent_is_answered_as_in_the_transcript",
        CASES,
    ),
    "stories": ("test_rules.py::test_a_story_ends_as_it_says", STORIES),
}


def node_ids(test: str) -> list[str]:
    """The tests that a fault names: a function, or a heading of a transcript or of a story."""
    heading = HEADING.fullmatch(test)
    if not heading:
        return [test]
    function, cases = PLAYED[heading[1]]
    ids = [str(case.id) for case in cases]
    name = f"{heading[2]}: {heading[3]}"
    return [f"{function}[{id_}]" for id_ in ids if re.sub(r" \(\d+\)$", "", id_) == name]


def run_tests(folder: Path, source: str, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests with this source in place of cronwatch.py, until one fails."""
    (folder / "cronwatch.py").write_text(source, "utf-8")
    for name in ("schema.sql", "static", "systemd"):
        (folder / name).symlink_to(cronwatch.DATA / name)
    nodes = [node for test in tests for node in node_ids(test)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-x", *nodes],
        check=False,
        cwd=TESTS,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them takes longer than a test
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_the_fragment_of_a_fault_stands_once_in_the_module(fault: Fault) -> None:
    count = SOURCE.count(fault.fragment)

    assert count == 1, f"{fault.fragment!r} stands {count} times in cronwatch.py"


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_the_test_that_a_fault_names_is_there(fault: Fault) -> None:
    (node, *_) = node_ids(fault.test)
    file, _, name = node.partition("::")

    source = (TESTS / file).read_text("utf-8")

    assert f"\ndef {name.partition('[')[0]}(" in source


@pytest.mark.proof
def test_without_a_fault_the_same_tests_pass(tmp_path: Path) -> None:
    tests = sorted({fault.test for faults in FAULTS.values() for fault in faults})

    result = run_tests(tmp_path, SOURCE, *tests)

    assert result.returncode == 0, result.stdout


@pytest.mark.proof
@pytest.mark.parametrize("fault", EACH_FAULT)
def test_a_fault_is_seen_by_the_test_that_it_names(tmp_path: Path, fault: Fault) -> None:
    source = SOURCE.replace(fault.fragment, fault.instead)

    result = run_tests(tmp_path, source, fault.test)

    assert (result.returncode, "1 failed" in result.stdout) == (1, True), result.stdout

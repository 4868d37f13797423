"""The coverage gate can fail."""

from __future__ import annotations

from typing import Any

import check_coverage

SOURCE = "\n".join(
    [
        "# == Rules ".ljust(79, "="),
        "# May not fail.",
        "x = 1",
        "y = 2",
        "# == Storage ".ljust(79, "="),
        "# May not fail.",
        "z = 3",
    ]
)


def measured(**changes: Any) -> dict[str, Any]:
    """What coverage says of a module of which everything is covered, with changes."""
    return {"missing_lines": [], "missing_branches": [], **changes}


def summary(lines: int = 100, branches: int = 100) -> dict[str, Any]:
    """The same, where of 100 lines and 100 branches so many are covered."""
    counted = {"covered_lines": lines, "num_statements": 100}
    return {"summary": {**counted, "covered_branches": branches, "num_branches": 100}}


def test_95_percent_is_enough() -> None:
    assert check_coverage.share_faults(summary(95, 95)) == []


def test_fewer_lines_or_branches_are_not() -> None:
    assert check_coverage.share_faults(summary(94, 94)) == [
        "94.0 % of the lines are covered, not 95 %",
        "94.0 % of the branches are covered, not 95 %",
    ]


def test_a_pure_section_must_be_covered_whole() -> None:
    gaps = measured(missing_lines=[3, 7], missing_branches=[[4, 3], [4, -3], [7, 3]])

    faults = check_coverage.section_faults(gaps, SOURCE, ["Rules"])

    assert faults == [
        "Rules: line 3 is never run",
        "Rules: line 4 never goes on to line 3",
        "Rules: line 4 never goes on to the function's end",
    ]


def test_a_pure_section_hides_nothing() -> None:
    source = SOURCE.replace("y = 2", "y = 2  # pragma: no branch")

    faults = check_coverage.section_faults(measured(), source, ["Rules"])

    assert faults == ["Rules: line 4 is kept from being counted"]


def test_a_section_that_is_not_there_is_not_covered() -> None:
    faults = check_coverage.section_faults(measured(), SOURCE, ["Rules", "Dialects"])

    assert faults == ["there is no section Dialects"]

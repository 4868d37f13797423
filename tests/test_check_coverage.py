"""The coverage gate can fail."""

from __future__ import annotations

from test_layout import module

import check_coverage

TOTALS = {"num_statements": 100, "num_branches": 100}


def test_95_percent_is_enough() -> None:
    summary = {**TOTALS, "covered_lines": 95, "covered_branches": 95}

    assert check_coverage.share_faults(summary) == []


def test_fewer_lines_or_branches_are_not() -> None:
    summary = {**TOTALS, "covered_lines": 94, "covered_branches": 94}

    assert check_coverage.share_faults(summary) == [
        "94.0 % of the lines are covered, not 95 %",
        "94.0 % of the branches are covered, not 95 %",
    ]


def test_a_pure_section_must_be_covered_whole_and_hides_nothing() -> None:
    source = module(Rules="x = 1\ny = 2  # pragma: no branch", Storage="z = 3")
    measured = {"missing_lines": [6, 12], "missing_branches": [[6, 7], [6, -3], [12, 3]]}

    faults = check_coverage.section_faults(measured, source, ["Rules"])

    assert faults == [
        "Rules: line 6 is never run",
        "Rules: line 6 never goes on to line 7",
        "Rules: line 6 never goes on to the function's end",
        "Rules: line 7 is kept from being counted",
    ]

"""The coverage gate: `check_coverage.py REPORT` reads the JSON of `coverage json`.

Fails where less than 95 % of cronwatch.py is covered, lines and branches each, or where a pure
section has a line or a branch that no test takes, and names them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import layout

LEAST_PERCENT = 95


def percent(covered: int, total: int) -> float:
    """The share in percent; all of nothing is 100."""
    return 100 * covered / total if total else 100.0


def share_faults(measured: dict[str, Any]) -> list[str]:
    """Lines or branches of the whole module below the share asked for."""
    total = measured["summary"]
    shares = {
        "lines": percent(total["covered_lines"], total["num_statements"]),
        "branches": percent(total["covered_branches"], total["num_branches"]),
    }
    return [
        f"{share:.1f} % of the {what} are covered, not {LEAST_PERCENT} %"
        for what, share in shares.items()
        if share < LEAST_PERCENT
    ]


def section_faults(measured: dict[str, Any], source: str, pure: list[str]) -> list[str]:
    """What is not covered, or kept from being counted, in the pure sections."""
    lines = source.splitlines()
    faults = []
    for part in layout.sections(source):
        if part.name not in pure:
            continue
        inside = range(part.first, part.last + 1)
        faults += [
            f"{part.name}: line {line} is never run"
            for line in measured["missing_lines"]
            if line in inside
        ]
        faults += [
            f"{part.name}: line {start} never goes on to {place(end)}"
            for start, end in measured["missing_branches"]
            if start in inside
        ]
        faults += [
            f"{part.name}: line {line} is kept from being counted"
            for line in inside
            if "pragma: no" in lines[line - 1]
        ]
    missing = set(pure) - {part.name for part in layout.sections(source)}
    return faults + [f"there is no section {name}" for name in sorted(missing)]


def place(line: int) -> str:
    """The end of a branch in words: coverage writes leaving a function as a negative line."""
    return f"line {line}" if line > 0 else "the function's end"


def main(report: str) -> int:
    """Prints what is missing; 0 where nothing is."""
    files = json.loads(Path(report).read_text(encoding="utf-8"))["files"]
    measured = files.get(layout.MODULE.name)
    if measured is None:
        print(f"{report} does not measure {layout.MODULE.name}", file=sys.stderr)
        return 1
    source = layout.MODULE.read_text(encoding="utf-8")
    faults = share_faults(measured) + section_faults(measured, source, layout.PURE)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(
            f"coverage: {LEAST_PERCENT} % or more of lines and branches,"
            f" all of {' and '.join(layout.PURE)}"
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

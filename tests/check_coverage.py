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
SHARES = {"lines": "num_statements", "branches": "num_branches"}


def share_faults(summary: dict[str, int]) -> list[str]:
    """Lines or branches of the whole module below the share asked for."""
    shares = {
        name: 100 * summary[f"covered_{name}"] / summary[total] for name, total in SHARES.items()
    }
    return [
        f"{share:.1f} % of the {name} are covered, not {LEAST_PERCENT} %"
        for name, share in shares.items()
        if share < LEAST_PERCENT
    ]


def section_faults(measured: dict[str, Any], source: str, pure: list[str]) -> list[str]:
    """What is not covered, or kept from being counted, in the pure sections."""
    faults = [(line, "is never run") for line in measured["missing_lines"]]
    for line, end in measured["missing_branches"]:
        place = f"line {end}" if end > 0 else "the function's end"
        faults.append((line, f"never goes on to {place}"))
    for number, text in enumerate(source.splitlines(), 1):
        if "pragma: no" in text:
            faults.append((number, "is kept from being counted"))
    return [
        f"{part.name}: line {line} {fault}"
        for part in layout.sections(source)
        for line, fault in faults
        if part.name in pure and part.first <= line <= part.last
    ]


def main(report: str) -> int:
    """Prints what is missing; 0 where nothing is."""
    files = json.loads(Path(report).read_text(encoding="utf-8"))["files"]
    measured = files[layout.MODULE.name]
    source = layout.MODULE.read_text(encoding="utf-8")
    faults = share_faults(measured["summary"]) + section_faults(measured, source, layout.PURE)
    for fault in faults or [f"{LEAST_PERCENT} % or more are covered, the pure sections whole"]:
        print(f"coverage: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

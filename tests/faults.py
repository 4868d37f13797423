"""Reads faults.txt, whose head says how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """A fragment that stands once in cronwatch.py, and what takes its place."""

    harm: str
    fragment: str
    instead: str
    test: str


def read_fault(text: str) -> Fault:
    """A fault from its lines."""
    harm, *lines = text.strip("\n").split("\n")
    of_sign = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+?")
    return Fault(harm, *of_sign)


_, *SECTIONS = Path(__file__).with_suffix(".txt").read_text("utf-8").split("\n## ")
FAULTS = {
    heading: [read_fault(text) for text in texts]
    for heading, *texts in (section.split("\n\n") for section in SECTIONS)
}
OF_A_YEAR = FAULTS.pop("A year")

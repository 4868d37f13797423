"""What a measurement comes to: rows, and the table that shows them."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SIGNS = {">=": operator.ge, "<=": operator.le, "<": operator.lt, "=": operator.eq}
HEADS = ("what", "value", "against", "ratio", "bar", "", "also")


class Bar(NamedTuple):
    """What a value, or its ratio to what it is measured against, should be."""

    sign: str
    limit: float
    unit: str = ""  # none: the ratio is meant
    aim: float | None = None  # what would be better still

    def __str__(self) -> str:
        aim = f", aim {self.aim:g}" if self.aim else ""
        return f"{self.sign} {readable(self.limit, self.unit)}{aim}"


class Row(NamedTuple):
    """One line of the table. The value and what it is measured against have the same unit."""

    what: str
    value: float | None = None
    unit: str = ""
    against: float | None = None
    rival: str = ""  # what it is measured against
    bar: Bar | None = None
    also: str = ""

    @property
    def ratio(self) -> float | None:
        """The value as a part of what it is measured against."""
        return self.value / self.against if self.value is not None and self.against else None

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None where there is none, or nothing to compare."""
        measured = self.value if self.bar and self.bar.unit else self.ratio
        if self.bar is None or measured is None:
            return None
        return bool(SIGNS[self.bar.sign](measured, self.bar.limit))

    def json(self, name: str) -> dict[str, Any]:
        """All of it by name, and the name of its measurement."""
        bar = str(self.bar) if self.bar else None
        more = {"name": name, "ratio": self.ratio, "holds": self.holds, "bar": bar}
        return {**self._asdict(), **more}


def medians(turns: Iterable[Sequence[float]]) -> list[float]:
    """The median of each of the things that were measured in turn."""
    return [statistics.median(column) for column in zip(*turns, strict=True)]


def readable(number: float, unit: str) -> str:
    """A number as a person reads it: `3,141/s`, `0.006 ms`, `42 MB`."""
    digits = 0 if abs(number) >= 100 or number == int(number) else 1 if abs(number) >= 10 else 2
    if 0 < abs(number) < 0.1:
        digits = 4
    return f"{number:,.{digits}f}{' ' if unit[:1].isalpha() else ''}{unit}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        "not measured" if row.value is None else readable(row.value, row.unit),
        "" if row.against is None else f"{readable(row.against, row.unit)} {row.rival}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        str(row.bar) if row.bar else "",
        {True: "holds", False: "MISSED", None: ""}[row.holds],
        row.also,
    )


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text, a line each, under a line of heads."""
    lines = [HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )

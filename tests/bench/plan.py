"""How large a run of the benchmarks is, and where it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Plan:
    """The sizes of a full run; `quick` has those of one that only shows that all is there."""

    folder: Path
    seconds: float = 0.8  # of each measurement under load
    warm_seconds: float = 0.2  # before it
    rounds: int = 3
    connections: tuple[int, ...] = (1, 8, 32, 64)
    monitors: int = 1000

    @contextmanager
    def room(self, name: str) -> Iterator[Path]:
        """A folder for a server and its file, removed at the end."""
        path = Path(tempfile.mkdtemp(prefix=f"cronwatch-bench-{name}-", dir=self.folder))
        try:
            yield path
        finally:
            shutil.rmtree(path)


def quick(folder: Path) -> Plan:
    """A few seconds in all; the numbers mean little."""
    return Plan(folder, seconds=0.1, warm_seconds=0.02, rounds=1, connections=(1, 32),
                monitors=100)

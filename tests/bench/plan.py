"""How large a run of the benchmarks is, and where it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from . import files


@dataclass
class Plan:
    """The sizes of a full run; `quick` has those of one that only shows that all is there."""

    folder: Path
    seconds: float = 0.6  # of each measurement under load
    warm_seconds: float = 0.15  # before it
    rounds: int = 3
    connections: tuple[int, ...] = (1, 8, 32, 64)
    monitors: int = 1000
    many: int = 1_000_000
    due: tuple[int, ...] = (10, 10_000)
    awaited: int = 10_000  # when a server starts
    pings: int = 100_000  # until memory is looked at
    listed: int = 10_000  # monitors in a list
    history: int = 1_000_000  # pings of one of them
    starts: int = 5
    calls: int = 20  # of each, where a command is measured
    alerts: int = 30  # for each setting of scan_seconds
    alert_step_ms: int = 500  # from one deadline to the next
    lead_ms: int = 1000  # to the first one
    scan_seconds: tuple[float, ...] = (5, 1)
    kept_monitors: int = 100  # whose year is lived through
    kept_days: int = 364
    kept_step_days: int = 28  # from one look at the file to the next
    open: ExitStack = field(default_factory=ExitStack)  # what is there until the end of the run

    @contextmanager
    def room(self, name: str, monitors: int = 0) -> Iterator[Path]:
        """A folder for a server, gone at the end; cronwatch.db in it has so many monitors."""
        prefix = f"cronwatch-bench-{name}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.folder) as room:
            if monitors:
                files.fill(Path(room) / "cronwatch.db", 1, monitors)
            yield Path(room)

    @cached_property
    def crowd(self) -> Path:
        """The folder whose cronwatch.db has a million monitors, made by who first asks for it.
        They have intervals, but for `awaited` with cron expressions at the end."""
        many = self.many - self.awaited
        room = self.open.enter_context(self.room("crowd", many))
        files.fill(room / "cronwatch.db", many + 1, self.awaited, files.quiet_crons())
        return room


def quick(folder: Path) -> Plan:
    """A few seconds in all; the numbers mean little."""
    return Plan(
        folder,
        seconds=0.1,
        warm_seconds=0.02,
        rounds=1,
        connections=(32,),
        monitors=100,
        many=5000,
        due=(10, 600),
        awaited=100,
        pings=300,
        listed=200,
        history=2000,
        starts=1,
        calls=1,
        alerts=4,
        alert_step_ms=100,
        lead_ms=200,
        scan_seconds=(0.4, 0.1),
        kept_monitors=5,
        kept_days=140,
    )

"""What a million monitors cost: the scan, the pings among them, and their deadlines at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from live_server import Live, serving, wait_for

import cronwatch

from . import files, servers
from .pings import BARRED_CONNECTIONS, paths, shoot
from .plan import Plan
from .servers import Loading, Shot, Target
from .table import Bar, Row
from .webhook import listening

SCANS = 100  # with nothing due: each takes a moment
PATHS = 30_000  # of so many monitors, more than any cache of ours holds
SCATTER = 7919  # steps from one to the next, for their pages of the file to be far apart
TOLD_LIMIT_SECONDS = 120
EVENTS = "SELECT count(*) FROM event"


class Scanned:
    """A server in this process whose clock is moved from one deadline to the next."""

    def __init__(self, database: Path) -> None:
        self.database, self.now, self.used = database, files.now_ms(), 0
        self.processor_ms = 0.0  # of the last scan
        self.server = cronwatch.Server(
            cronwatch.Settings(database=str(database)), lambda: self.now
        )

    def scan_ms(self, due: int) -> float:
        """How long a scan takes that finds so many due, which have not been due before."""
        self.now += 1
        if due:
            files.let_fall_due(self.database, self.used + 1, due, self.now)
            self.used += due
        began, processor = time.perf_counter(), time.process_time()
        self.server.scan()
        self.processor_ms = 1000 * (time.process_time() - processor)
        return 1000 * (time.perf_counter() - began)


def name_of(count: int) -> str:
    """So many monitors, in words."""
    return "a million" if count == 1_000_000 else f"{count:,}"


def measure_scan(plan: Plan) -> Iterator[Row]:
    """One scan with a million monitors, of which none, some and many are due."""
    with plan.room("scan") as room:
        files.make(room / "cronwatch.db")
        files.fill(room / "cronwatch.db", 1, plan.monitors)
        few, many = Scanned(room / "cronwatch.db"), Scanned(plan.crowd / "cronwatch.db")
        with closing(few.server), closing(many.server):
            for due in (0, *plan.due):
                yield scan_row(plan, few, many, due)


def scan_row(plan: Plan, few: Scanned, many: Scanned, due: int) -> Row:
    """A scan among a million against one among a thousand, where those have enough to be due."""
    rounds = plan.rounds if due else SCANS
    has_rival = due * rounds <= plan.monitors
    seen = [(many.scan_ms(due), few.scan_ms(due) if has_rival else 0.0) for _ in range(rounds)]
    took, rival = (median(column) for column in zip(*seen, strict=True))
    each = f"{1000 * many.processor_ms / due:,.0f} µs CPU each" if due else f"of {rounds} scans"
    return Row(
        "scan",
        f"scan, {f'{due:,}' if due else 'nothing'} due of {name_of(plan.many)}",
        took,
        "ms",
        rival or None,
        f"of {name_of(plan.monitors)}" if has_rival else "",
        None if due else Bar("<", 1, "ms"),
        each,
    )


def scattered(first: int, count: int) -> list[int]:
    """The nums of monitors, each far from the one before, as jobs ping in no order of ours."""
    return [first + num * SCATTER % count for num in range(min(PATHS, count))]


def pingable(plan: Plan) -> list[int]:
    """Monitors of the crowd that no deadline of ours touches."""
    return scattered(plan.many // 2, plan.many // 2 - plan.awaited)


@contextmanager
def crowd_serving(plan: Plan, *flags: str) -> Iterator[tuple[Live, Target]]:
    """The server with a million monitors."""
    with serving(plan.crowd, *flags) as live:
        yield live, servers.target(live, paths(pingable(plan)))


def measure_million(plan: Plan) -> Iterator[Row]:
    """Pings a second among a million monitors against those among a thousand."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("thousand"))
        files.make(room / "cronwatch.db")
        files.fill(room / "cronwatch.db", 1, plan.monitors)
        few = servers.target(
            stack.enter_context(serving(room)), paths(scattered(1, plan.monitors))
        )
        _, many = stack.enter_context(crowd_serving(plan))
        pinged = [0, 0]

        def shot(place: int, at: Target) -> Shot:
            found = shoot(at, plan, BARRED_CONNECTIONS, True, pinged[place])
            pinged[place] += found.replies
            return found

        taken = servers.in_turn(
            2 * plan.rounds,
            {  # the bar is near: look closer
                "many": partial(shot, 0, many),
                "few": partial(shot, 1, few),
            },
        )
        ours, rival = taken["many"], taken["few"]
        yield Row(
            "million",
            f"pings among {name_of(plan.many)} monitors",
            ours.rate,
            "/s",
            rival.rate,
            f"among {name_of(plan.monitors)}",
            Bar(">=", 0.8),
            f"p50 {ours.p50_ms:.1f} p99 {ours.p99_ms:.1f} ms ({rival.p50_ms:.1f} "
            f"{rival.p99_ms:.1f}), {ours.cost_us:.0f} µs CPU ({rival.cost_us:.0f})",
            {"ours": ours._asdict(), "rival": rival._asdict()},
        )


def measure_deadlines(plan: Plan) -> Iterator[Row]:
    """The longest time that a ping is held while 10,000 deadlines pass at once."""
    due = plan.due[-1]
    often = ("--scan-seconds", str(plan.scan_seconds[-1]))
    with listening() as (url, heard), crowd_serving(plan, *often) as (live, many):
        live.quick("integration", "add", "webhook", "bench", url)
        calm = Loading(many, BARRED_CONNECTIONS, seconds=5 * plan.seconds).result()
        told = files.ask(live.database, EVENTS)
        load = Loading(many, BARRED_CONNECTIONS, seconds=TOLD_LIMIT_SECONDS, first=calm.replies)
        at = files.now_ms() + plan.lead_ms
        files.let_fall_due(live.database, 1, due, at)
        wait_for(
            lambda: files.ask(live.database, EVENTS) >= told + due,
            f"{due} events",
            TOLD_LIMIT_SECONDS,
        )
        load.stop()
        held = load.result()
        last = files.ask(live.database, "SELECT max(told_at) FROM event") - at
        yield deadlines_row(due, held, calm, last / 1000, len(heard))
    files.forget_alerts(live.database)


def deadlines_row(due: int, held: Shot, calm: Shot, seconds: float, sent: int) -> Row:
    """The longest ping among deadlines against the longest before them."""
    return Row(
        "deadlines",
        f"longest ping while {due:,} deadlines pass",
        held.longest_ms,
        "ms",
        calm.longest_ms,
        "without",
        Bar("<=", 250, "ms"),
        f"p99 {held.p99_ms:.1f} ms ({calm.p99_ms:.1f}), {held.rate:,.0f}/s "
        f"({calm.rate:,.0f}), all told within {seconds:.1f} s, {sent:,} webhooks by then",
        {"held": held._asdict(), "calm": calm._asdict()},
    )

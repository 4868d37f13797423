"""What a million monitors cost: the scan, the pings among them, and their deadlines at once; and
the time from a deadline to its webhook."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median

from killing import listening
from live_server import Live, serving, wait_for

import cronwatch

from . import files
from .pings import BARRED_CONNECTIONS, paths
from .plan import Plan
from .servers import Loading, Target, in_turn, shoot, target
from .table import Bar, Row, medians

SCANS = 100  # with nothing due: each takes a moment
PATHS = 30_000  # of so many monitors, more than any cache of ours holds
SCATTER = 7919  # steps from one to the next, for their pages of the file to be far apart
TOLD_LIMIT_SECONDS = 120
EVENTS = "SELECT count(*) FROM event"
SLACK_SECONDS = 1  # for the turn of the deliver loop, and for a busy machine


class Scanned:
    """A server in this process whose clock is moved from one deadline to the next."""

    def __init__(self, database: Path) -> None:
        self.database, self.now, self.used = database, files.now_ms(), 0
        self.processor_ms = 0.0  # of the last scan
        settings = cronwatch.Settings(database=str(database))
        self.server = cronwatch.Server(settings, lambda: self.now)

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


def in_words(count: int) -> str:
    """So many monitors."""
    return "a million" if count == 1_000_000 else f"{count:,}"


def measure_scan(plan: Plan) -> Iterator[Row]:
    """One scan with a million monitors, of which none, some and many are due."""
    with plan.room("scan", plan.monitors) as room:
        few, many = Scanned(room / "cronwatch.db"), Scanned(plan.crowd / "cronwatch.db")
        with closing(few.server), closing(many.server):
            for due in (0, *plan.due):
                yield scan_row(plan, few, many, due)


def scan_row(plan: Plan, few: Scanned, many: Scanned, due: int) -> Row:
    """A scan among a million against one among a thousand, where those have enough to be due."""
    rounds = plan.rounds if due else SCANS
    has_rival = due * rounds <= plan.monitors
    took, rival = medians(
        [many.scan_ms(due), few.scan_ms(due) if has_rival else 0.0] for _ in range(rounds)
    )
    what = f"scan, {f'{due:,}' if due else 'nothing'} due of {in_words(plan.many)}"
    each = f"{1000 * many.processor_ms / due:,.0f} µs CPU each" if due else f"of {rounds} scans"
    among = f"of {in_words(plan.monitors)}" if has_rival else ""
    return Row(what, took, "ms", rival or None, among, None if due else Bar("<", 1, "ms"), each)


def scattered(first: int, count: int) -> list[str]:
    """Where to ping monitors, each far from the one before, as jobs ping in no order of ours."""
    return paths(first + num * SCATTER % count for num in range(min(PATHS, count)))


@contextmanager
def crowd_serving(plan: Plan, *flags: str) -> Iterator[tuple[Live, Target]]:
    """The server with a million monitors; those that are pinged no deadline of ours touches."""
    half = plan.many // 2
    with serving(plan.crowd, *flags) as live:
        yield live, target(live, scattered(half, half - plan.awaited))


def measure_million(plan: Plan) -> Iterator[Row]:
    """Pings a second among a million monitors against those among a thousand."""
    with (
        plan.room("thousand", plan.monitors) as room,
        serving(room) as live,
        crowd_serving(plan) as (_, many),
    ):
        targets = {"many": many, "few": target(live, scattered(1, plan.monitors))}
        ours, rival = in_turn(
            2 * plan.rounds,  # the bar is near: look closer
            {name: partial(shoot, at, plan, BARRED_CONNECTIONS) for name, at in targets.items()},
        ).values()
        also = (
            f"p50 {ours.p50_ms:.1f} p99 {ours.p99_ms:.1f} ms ({rival.p50_ms:.1f} "
            f"{rival.p99_ms:.1f}), {ours.cost_us:.0f} µs CPU ({rival.cost_us:.0f})"
        )
        what, among = f"pings among {in_words(plan.many)} monitors", in_words(plan.monitors)
        yield Row(what, ours.rate, "/s", rival.rate, f"among {among}", Bar(">=", 0.8), also)


def measure_deadlines(plan: Plan) -> Iterator[Row]:
    """The longest time that a ping is held while 10,000 deadlines pass at once."""
    due = plan.due[-1]
    often = ("--scan-seconds", str(plan.scan_seconds[-1]))
    with listening() as (listener,), crowd_serving(plan, *often) as (live, many):
        live.quick("integration", "add", "webhook", "bench", listener.url)
        calm = Loading(many, BARRED_CONNECTIONS, seconds=5 * plan.seconds).result()
        told = files.ask(live.database, EVENTS)
        load = Loading(many, BARRED_CONNECTIONS, seconds=TOLD_LIMIT_SECONDS)
        at = files.now_ms() + plan.lead_ms
        files.let_fall_due(live.database, 1, due, at)
        wait_for(
            lambda: files.ask(live.database, EVENTS) >= told + due,
            f"{due} events",
            TOLD_LIMIT_SECONDS,
        )
        load.stop()
        held = load.result()
        seconds = (files.ask(live.database, "SELECT max(told_at) FROM event") - at) / 1000
        sent = len(listener.heard)
        also = (
            f"p99 {held.p99_ms:.1f} ms ({calm.p99_ms:.1f}), {held.rate:,.0f}/s "
            f"({calm.rate:,.0f}), all told within {seconds:.1f} s, {sent:,} webhooks by then"
        )
        what, bar = f"longest ping while {due:,} deadlines pass", Bar("<=", 250, "ms")
        yield Row(what, held.longest_ms, "ms", calm.longest_ms, "without", bar, also)
    files.change(live.database, "DELETE FROM alert")


def measure_webhook(plan: Plan) -> Iterator[Row]:
    """The time from a deadline to the webhook, for two settings of scan_seconds."""
    with ExitStack() as stack:
        lates = {seconds: start_missing(stack, plan, seconds) for seconds in plan.scan_seconds}
        limit = 30 + plan.alerts * plan.alert_step_ms / 1000 + max(plan.scan_seconds)
        for seconds, late in lates.items():
            wait_for(partial(has, late, plan.alerts), "webhooks", limit)
            what = f"deadline to webhook, scan_seconds {seconds:g}, longest"
            also = f"median {median(late):.2f} s of {len(late)}"
            bar = Bar("<=", seconds + SLACK_SECONDS, "s")
            yield Row(what, max(late), "s", seconds, "scan_seconds", bar, also)


def has(late: Sequence[float], count: int) -> bool:
    """Whether so much was heard."""
    return len(late) >= count


def start_missing(stack: ExitStack, plan: Plan, scan_seconds: float) -> list[float]:
    """Start a server whose monitors get missed one after the other; how many seconds after each
    deadline its webhook came, once it has."""
    late: list[float] = []
    room = stack.enter_context(plan.room("webhook", plan.alerts))
    (listener,) = stack.enter_context(listening())

    def note() -> None:
        event = listener.heard[-1].event
        if event["kind"] == "missed":
            at = datetime.fromisoformat(event["at"].replace("Z", "+00:00"))
            late.append(files.now_ms() / 1000 - at.timestamp())

    listener.before = note
    live = stack.enter_context(serving(room, "--scan-seconds", str(scan_seconds)))
    live.quick("integration", "add", "webhook", "bench", listener.url)
    begin = files.now_ms() + plan.lead_ms
    files.let_fall_due(live.database, 1, plan.alerts, begin, plan.alert_step_ms)
    return late

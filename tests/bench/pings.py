"""How many pings a second, against the bare framework and the bare server below it; on a disk that
takes its time; and beside dashboards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from live_server import serving

from . import files
from .plan import Plan
from .servers import Broken, Loading, Shot, Target, bare, in_turn, shoot, target
from .table import Bar, Row

HALF_OF_BOTTLE = Bar(">=", 0.5, aim=0.8)
BARRED_CONNECTIONS = 32
POLLING = 4  # dashboards, each of which asks again as soon as it is answered
DELAY_MS = 2
# Loaded before the C library, whose two functions it stands in front of.
SHIM = f"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
int fsync(int file) {{ usleep({DELAY_MS} * 1000); return syscall(SYS_fsync, file); }}
int fdatasync(int file) {{ usleep({DELAY_MS} * 1000); return syscall(SYS_fdatasync, file); }}
"""


def paths(nums: Iterable[int]) -> list[str]:
    """Where to ping these monitors."""
    return [f"/ping/{files.token(num)}" for num in nums]


def pinged(stack: ExitStack, room: Path, plan: Plan, **environ: str) -> dict[str, Target]:
    """A server with monitors of three kinds. `interval` and `cron` are pinged again and again, the
    next occurrence known already; `cron, once` once each, at their occurrence, as in life: the
    one after it is computed."""
    count, once = plan.monitors, 40 * plan.monitors
    database = room / "cronwatch.db"
    files.fill(database, count + 1, count + once, files.quiet_crons())
    live = stack.enter_context(serving(room, **environ))
    files.let_come_round(database, 2 * count + 1, once)
    return {
        "interval": target(live, paths(range(1, count + 1))),
        "cron": target(live, paths(range(count + 1, 2 * count + 1))),
        "cron, once": target(live, paths(range(2 * count + 1, 2 * count + once + 1))),
    }


def stored_row(room: Path, ours: Mapping[str, Target]) -> Row:
    """A row that says whether every acknowledged ping is in the database, once."""
    stored = files.ask(room / "cronwatch.db", "SELECT count(*) FROM ping")
    acknowledged = sum(at.replies for at in ours.values())
    return Row("pings in the database", stored, "", acknowledged, "acknowledged", Bar("=", 1))


def mode(connections: int, keep_alive: bool) -> str:
    """How the pings come, in words."""
    many = f"{connections} connection{'s' if connections > 1 else ''}"
    return many if keep_alive else f"{many}, close"


def versus_row(what: str, shots: Mapping[str, Shot], kind: str, barred: bool) -> Row:
    """Pings a second against bare Bottle, and what else is known of both."""
    ours, bottle, waitress = shots[kind], shots["bottle"], shots.get("waitress")
    also = (
        f"p50 {ours.p50_ms:.1f} p99 {ours.p99_ms:.1f} ms ({bottle.p50_ms:.1f} "
        f"{bottle.p99_ms:.1f}), {ours.cost_us:.0f} µs CPU "
        f"({bottle.cost_us:.0f}, ratio {bottle.cost_us / ours.cost_us:.2f})"
    )
    if waitress:
        also += f", {ours.rate / waitress.rate:.2f} of Waitress {waitress.rate:,.0f}/s"
    bar = HALF_OF_BOTTLE if barred else None
    return Row(what, ours.rate, "/s", bottle.rate, "Bottle", bar, also)


def measure_pings(plan: Plan) -> Iterator[Row]:
    """Pings a second with few and many connections, kept open and not, of each kind of monitor."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("pings", plan.monitors))
        ours = pinged(stack, room, plan)
        rivals = {kind: stack.enter_context(bare(kind)) for kind in ("bottle", "waitress")}
        shares = []
        for keep_alive in (True, False):
            for connections in plan.connections:
                barred = connections == BARRED_CONNECTIONS
                kinds = [*ours] if barred else ["interval", "cron"]
                targets = {kind: ours[kind] for kind in kinds} | rivals
                shots = in_turn(
                    plan.rounds,
                    {
                        kind: partial(shoot, at, plan, connections, keep_alive)
                        for kind, at in targets.items()
                    },
                )
                shares += [shot.share for shot in shots.values()]
                for kind in kinds:
                    what = f"pings, {kind}, {mode(connections, keep_alive)}"
                    yield versus_row(what, shots, kind, barred)
        yield Row(
            "load generator, of one processor",
            100 * max(shares),
            "%",
            bar=Bar("<", 90, "%"),
            also="the highest of all measurements above",
        )
        yield stored_row(room, ours)


def measure_disk(plan: Plan) -> Iterator[Row]:
    """The same with 2 ms added to each fsync, as on a disk that writes before it says so."""
    what = f"pings, fsync + {DELAY_MS} ms"
    compiler = shutil.which("cc")
    if compiler is None:
        yield Row(what, also="there is no C compiler (cc)")
        return
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("disk", plan.monitors))
        (room / "slow.c").write_text(SHIM)
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", "slow.so", "slow.c"]
        subprocess.run(command, cwd=room, check=True)
        ours = pinged(stack, room, plan, LD_PRELOAD=str(room / "slow.so"))
        targets = {"interval": ours["interval"], "bottle": stack.enter_context(bare("bottle"))}
        for connections, keep_alive in (
            (1, True),
            (BARRED_CONNECTIONS, True),
            (BARRED_CONNECTIONS, False),
        ):
            shots = in_turn(
                plan.rounds,
                {
                    kind: partial(shoot, at, plan, connections, keep_alive)
                    for kind, at in targets.items()
                },
            )
            if shots["interval"].p50_ms < DELAY_MS:
                raise Broken("fsync is as quick as ever: what was preloaded has no effect")
            how = f"{what}, {mode(connections, keep_alive)}"
            yield versus_row(how, shots, "interval", connections == BARRED_CONNECTIONS)
        yield stored_row(room, ours)


def measure_polls(plan: Plan) -> Iterator[Row]:
    """Pings a second while four dashboards ask for the summary without a pause."""
    with plan.room("polls", plan.monitors) as room, serving(room) as live:
        jobs = target(live, paths(range(1, plan.monitors + 1)))
        summary = target(live, ["/api/v1/summary"])

        def beside_dashboards() -> Shot:
            polls = Loading(summary, POLLING, key=live.key, seconds=60)
            try:
                return shoot(jobs, plan, BARRED_CONNECTIONS)
            finally:
                polls.stop()
                polls.process.communicate()

        alone, beside = in_turn(
            plan.rounds,
            {"alone": partial(shoot, jobs, plan, BARRED_CONNECTIONS), "beside": beside_dashboards},
        ).values()
    what = f"pings, {POLLING} dashboards that poll without a pause"
    also = f"p99 {beside.p99_ms:.1f} ms ({alone.p99_ms:.1f})"
    yield Row(what, beside.rate, "/s", alone.rate, "alone", Bar(">=", 0.7), also)

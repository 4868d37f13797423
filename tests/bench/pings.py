"""How many pings a second, against the bare framework and the bare server below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from live_server import Live, serving

from . import files, servers
from .plan import Plan
from .servers import Loading, Shot, Target
from .table import Bar, Row

HALF_OF_BOTTLE = Bar(">=", 0.5, aim=0.8)
BARRED_CONNECTIONS = 32


class Pinged:
    """A live server with monitors of three kinds, and how many pings it has acknowledged.

    `interval` and `cron` are pinged again and again, when the next occurrence is known already;
    `cron, once` once each, at their occurrence, as in life: the one after it is computed."""

    def __init__(self, live: Live, monitors: int, once: int) -> None:
        kinds = {
            "interval": range(1, monitors + 1),
            "cron": range(monitors + 1, 2 * monitors + 1),
            "cron, once": range(2 * monitors + 1, 2 * monitors + once + 1),
        }
        self.database = live.database
        self.targets = {kind: servers.target(live, paths(nums)) for kind, nums in kinds.items()}
        self.acknowledged = 0
        self.once = 0  # how many of those that are pinged once have been

    def shoot(self, kind: str, plan: Plan, connections: int, keep_alive: bool) -> Shot:
        """Pings for a while."""
        first = self.once if kind == "cron, once" else 0
        shot = shoot(self.targets[kind], plan, connections, keep_alive, first)
        self.once += shot.replies if kind == "cron, once" else 0
        self.acknowledged += shot.replies
        return shot

    def kept_row(self, name: str) -> Row:
        """A row that says whether every acknowledged ping is in the database, once."""
        kept = files.ask(self.database, "SELECT count(*) FROM ping")
        return Row(
            name, "pings in the database", kept, "", self.acknowledged, "acknowledged", Bar("=", 1)
        )


def paths(nums: Sequence[int]) -> list[str]:
    """Where to ping these monitors."""
    return [f"/ping/{files.token(num)}" for num in nums]


def shoot(at: Target, plan: Plan, connections: int, keep_alive: bool, first: int = 0) -> Shot:
    """Load for as long as the plan says."""
    return Loading(
        at, connections, keep_alive, plan.seconds, plan.warm_seconds, first=first
    ).result()


def mode(connections: int, keep_alive: bool) -> str:
    """How the pings come, in words."""
    many = f"{connections} connection{'s' * (connections > 1)}"
    return many if keep_alive else f"{many}, close"


def versus_row(
    name: str, what: str, ours: Shot, bottle: Shot, waitress: Shot | None, barred: bool
) -> Row:
    """Pings a second against bare Bottle, and what else is known of both."""
    also = (
        f"p50 {ours.p50_ms:.1f} p99 {ours.p99_ms:.1f} ms ({bottle.p50_ms:.1f} "
        f"{bottle.p99_ms:.1f}), {ours.cost_us:.0f} µs CPU "
        f"({bottle.cost_us:.0f}, ratio {bottle.cost_us / ours.cost_us:.2f})"
    )
    if waitress:
        also += f", {ours.rate / waitress.rate:.2f} of Waitress {waitress.rate:,.0f}/s"
    return Row(
        name,
        what,
        ours.rate,
        "/s",
        bottle.rate,
        "Bottle",
        HALF_OF_BOTTLE if barred else None,
        also,
        {
            "ours": ours._asdict(),
            "bottle": bottle._asdict(),
            "waitress": waitress._asdict() if waitress else None,
        },
    )


def share_row(name: str, shares: Sequence[float]) -> Row:
    """A row that says whether the load generator could keep up."""
    return Row(
        name,
        "load generator, of one processor",
        100 * max(shares),
        "%",
        bar=Bar("<", 90, "%"),
        also="the highest of all measurements above",
    )


def measure_pings(plan: Plan) -> Iterator[Row]:
    """Pings a second with few and many connections, kept open and not, of each kind of monitor."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("pings"))
        pinged = start_pinged(stack, room, plan)
        rivals = {kind: stack.enter_context(servers.bare(kind)) for kind in ("bottle", "waitress")}
        shares = []
        for keep_alive in (True, False):
            for connections in plan.connections:
                barred = connections == BARRED_CONNECTIONS
                kinds = [*pinged.targets] if barred else ["interval", "cron"]
                taken = servers.in_turn(
                    plan.rounds,
                    {
                        **{
                            kind: partial(pinged.shoot, kind, plan, connections, keep_alive)
                            for kind in kinds
                        },
                        **{
                            kind: partial(shoot, rival, plan, connections, keep_alive)
                            for kind, rival in rivals.items()
                        },
                    },
                )
                shares += [shot.share for shot in taken.values()]
                for kind in kinds:
                    yield versus_row(
                        "pings",
                        f"pings, {kind}, {mode(connections, keep_alive)}",
                        taken[kind],
                        taken["bottle"],
                        taken["waitress"],
                        barred,
                    )
        yield share_row("pings", shares)
        yield pinged.kept_row("pings")


def start_pinged(stack: ExitStack, room: Path, plan: Plan, **environ: str) -> Pinged:
    """A server with monitors of each kind."""
    database, count, once = room / "cronwatch.db", plan.monitors, 40 * plan.monitors
    files.make(database)
    files.fill(database, 1, count)
    files.fill(database, count + 1, count + once, files.quiet_crons())
    live = stack.enter_context(serving(room, listen="127.0.0.1:0", **environ))
    files.let_come_round(database, 2 * count + 1, once)
    return Pinged(live, count, once)


POLLING = 4  # dashboards, each of which asks again as soon as it is answered


def measure_polls(plan: Plan) -> Iterator[Row]:
    """Pings a second while four dashboards ask for the summary without a pause."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("polls"))
        database = room / "cronwatch.db"
        files.make(database)
        files.fill(database, 1, plan.monitors)
        live = stack.enter_context(
            serving(room, listen="127.0.0.1:0", CRONWATCH_API_RATE_LIMIT="0")
        )
        pinged = servers.target(live, paths(range(1, plan.monitors + 1)))
        summary = servers.target(live, ["/api/v1/summary"])

        def beside_dashboards() -> Shot:
            polls = Loading(summary, POLLING, key=live.key)
            try:
                return shoot(pinged, plan, BARRED_CONNECTIONS, True)
            finally:
                polls.stop()
                polls.process.communicate()

        taken = servers.in_turn(
            plan.rounds,
            {
                "alone": lambda: shoot(pinged, plan, BARRED_CONNECTIONS, True),
                "beside": beside_dashboards,
            },
        )
        alone = taken["alone"]
        beside = taken["beside"]
        also = f"p99 {beside.p99_ms:.1f} ms ({alone.p99_ms:.1f})"
        what = f"pings, {POLLING} dashboards that poll without a pause"
        yield Row("polls", what, beside.rate, "/s", alone.rate, "alone", Bar(">=", 0.7), also)

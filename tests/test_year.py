"""Many monitors live through a year; an oracle that was written from the design's words alone says
what each of them must have told. Then the rules get small faults, and the comparison sees them."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest
from oracle import BEGIN, DAY
from year import WEEK, Plan, World, differences, live, make_plan
from year_server import live_by_http

import cronwatch
import layout

AUTUMN = BEGIN + 38 * WEEK  # eight weeks from here hold the clock changes of three zones
FRESH = int(os.environ.get("CRONWATCH_YEAR_SEED") or random.SystemRandom().randrange(10**9))
SEEDS = [2026, pytest.param(FRESH, id=f"CRONWATCH_YEAR_SEED={FRESH}")]


@pytest.fixture
def database(folder: Path) -> Iterator[Path]:
    """A file in memory, or every ping would wait for the disk."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name) / "cronwatch.db"


def five_differences(plan: Plan, world: World) -> str:
    """How a world differs from the oracle, the first five times."""
    return "\n\n".join([*differences(plan, world)][:5])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_under_the_rules_tells_what_the_oracle_expects(seed: int) -> None:
    plan = make_plan(seed, BEGIN, BEGIN + 365 * DAY, monitors=55, actions=450)

    world = live(cronwatch, plan)

    found = five_differences(plan, world)
    assert not found, f"CRONWATCH_YEAR_SEED={seed}\n{found}"


@pytest.mark.slow
def test_eight_weeks_of_autumn_by_http_tell_what_the_oracle_expects(database: Path) -> None:
    plan = make_plan(2026, AUTUMN, AUTUMN + 8 * WEEK, monitors=60, actions=40)

    world = live_by_http(database, plan)

    found = five_differences(plan, world)
    assert not found, found


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_by_http_tells_what_the_oracle_expects(database: Path, seed: int) -> None:
    plan = make_plan(seed, BEGIN, BEGIN + 365 * DAY, monitors=55, actions=450)

    world = live_by_http(database, plan)

    found = five_differences(plan, world)
    assert not found, f"CRONWATCH_YEAR_SEED={seed}\n{found}"


# A fragment that stands once in cronwatch.py, and what makes a fault of it.
FAULTS = {
    "missed at the deadline itself": ("*holds]) + 1", "*holds])"),
    "a ping makes its own monitor late": ("-late // step * step", "0"),
    "nobody may be early": ("coming - began > early_ms(m, coming)", "True"),
    "early although the one before is awaited": (
        "m.expected_at is None or m.expected_at >= coming",
        "True",
    ),
    "a retry after nine seconds counts": ("= 300, 10, 3600, 1000", "= 300, 9, 3600, 1000"),
    "a retry just before ten seconds only": (
        "known_at) <= REPEAT_SECONDS * 1000",
        "known_at) < REPEAT_SECONDS * 1000",
    ),
    "the same failed run counts twice": ('(soon or ping.kind == "fail")', "soon"),
    "one failure fewer is tolerated": (
        "beyond = m.failures > m.failure_tolerance",
        "beyond = m.failures >= m.failure_tolerance",
    ),
    "one failure fewer is tolerated in a pause": (
        '!= "down" and m.failures > m.failure',
        '!= "down" and m.failures >= m.failure',
    ),
    "the downtime counts from the last sign of life": (
        "at - (m.down_since or at)",
        "at - (m.life_at or at)",
    ),
    "digests come at the same distance": ("<< min(told - 1, 20)", "<< 0"),
    "digests come at twice an hour at the least": (
        "= 300, 10, 3600, 1000",
        "= 300, 10, 1800, 1000",
    ),
    "silent failures are spaced although all went well": (
        '_keep_digest(life, "silent_failure", None)',
        "pass",
    ),
    "the end of a pause is not told": ('tell(life, reason or "", at)', "pass"),
    "a run is awaited after a pause": (
        'run.awaited = 0 if run.state == "running" else run.awaited',
        "pass",
    ),
    "the failures of before a resume count": (
        'm.resume_status == "new" and m.armed, 0',
        'm.resume_status == "new" and m.armed, m.failures',
    ),
    "nothing is held back by an open run": ('if m.expects == "complete"', "if False"),
    "every start is awaited": ("(ends or any(", "(ends or 1 or any("),
    "only the last start says whether to wait": ("run.started_at)[-3:]", "run.started_at)[-1:]"),
    "the end of a run counts from its arrival": (
        "        began = run.started_at\n",
        "        began = ping.at\n",
    ),
    "stuck is told while it is down": ('if life.monitor.status != "down":', "if True:"),
    "missed before stuck": (
        "PAUSE_END, STUCK, (_missed_at, _miss),",
        "PAUSE_END, (_missed_at, _miss), STUCK,",
    ),
    "a start recovers in spite of failures": (
        'm.status == "down" and not m.failed_count',
        'm.status == "down"',
    ),
    "a success forgets nothing": ("if m.max_run_seconds is None:", "if False:"),
    "an end belongs to a run of any host": (
        "mine = [run for run in life.runs if run.host == ping.host]",
        "mine = list(life.runs)",
    ),
    "an edit of the grace makes late": (
        "max(occurrence + m.grace_seconds * 1000, m.grace_at or 0)",
        "(occurrence + m.grace_seconds * 1000)",
    ),
    "a time of ours is called missed": (
        'm.status != "paused" and _skip_unverified(m, since, until)',
        "False",
    ),
    "not as many as a thousand are counted": ("= 300, 10, 3600, 1000", "= 300, 10, 3600, 900"),
    "the absences count as missed": ("if awaited - early_ms(", "if down or awaited - early_ms("),
    "the outage names whom it does not matter to": (
        "m.expected_at > until + 3_600_000",
        "m.expected_at > until",
    ),
    "reminders of the absence are told": (
        "m.reminded_at and max(m.reminded_at, until)",
        "m.reminded_at",
    ),
    "the first reminder is left out": (
        "(last - m.down_since) // step + 1)",
        "(last - m.down_since) // step + 2)",
    ),
    "cron runs twice in the night of an hour more": ("not minute and not hour])", "False])"),
}


@lru_cache
def pure_source() -> str:
    """What stands above the dialects: the rules and all that they use."""
    source = layout.MODULE.read_text("utf-8")
    (dialects,) = (part for part in layout.sections(source) if part.name == "Dialects")
    return "\n".join(source.splitlines()[: dialects.first - 1])


@pytest.fixture
def faulty_rules(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The rules with a fault, under a name of their own: dataclasses ask for it by name."""
    source, (fragment, instead) = pure_source(), FAULTS[request.param]
    assert source.count(fragment) == 1, (
        f"{fragment!r} stands {source.count(fragment)} times in the rules, not once: "
        f"FAULTS in this file has to follow what became of it"
    )
    module = ModuleType("rules_with_a_fault")
    module.__file__ = str(layout.MODULE)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source.replace(fragment, instead), module.__name__, "exec"), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@lru_cache
def a_short_plan(seed: int) -> Plan:
    return make_plan(seed, AUTUMN, AUTUMN + 8 * WEEK, monitors=70, actions=50)


@pytest.mark.parametrize("faulty_rules", FAULTS, indirect=True)
def test_a_fault_in_the_rules_is_seen(faulty_rules: ModuleType) -> None:
    plans = (a_short_plan(seed) for seed in range(1, 6))

    assert any(next(differences(plan, live(faulty_rules, plan)), None) for plan in plans)


@pytest.mark.parametrize("seed", range(1, 6))
def test_without_a_fault_nothing_is_seen(seed: int) -> None:
    plan = a_short_plan(seed)

    found = five_differences(plan, live(cronwatch, plan))

    assert not found, found

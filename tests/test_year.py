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
# Another one in each run, the same in all of its processes.
RUN = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID"))
FRESH = int(os.environ.get("CRONWATCH_YEAR_SEED") or RUN.randrange(10**9))
# A fresh one looks for what nobody has seen yet: it may be red where nothing was changed.
SEEDS = [
    2026,
    pytest.param(FRESH, id=f"CRONWATCH_YEAR_SEED={FRESH}", marks=pytest.mark.proof),
]


@pytest.fixture
def database(folder: Path) -> Iterator[Path]:
    """A file in memory, or every ping would wait for the disk."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name) / "cronwatch.db"


def five_differences(plan: Plan, world: World) -> str:
    """How a world differs from the oracle, the first five times."""
    return "\n\n".join([*differences(plan, world)][:5])


# In 2022 two absences with no minute between them hold what neither of them holds alone.
@pytest.mark.parametrize("seed", [*SEEDS, pytest.param(2022, marks=pytest.mark.proof)])
def test_a_year_under_the_rules_tells_what_the_oracle_expects(seed: int) -> None:
    plan = make_plan(seed, BEGIN, BEGIN + 365 * DAY, monitors=55, actions=450)

    world = live(cronwatch, plan)

    found = five_differences(plan, world)
    assert not found, f"CRONWATCH_YEAR_SEED={seed}\n{found}"


@pytest.mark.slow
def test_eight_weeks_of_autumn_by_http_tell_what_the_oracle_expects(database: Path) -> None:
    plan = make_plan(2026, AUTUMN, AUTUMN + 8 * WEEK, monitors=60, actions=40, turns=False)

    world = live_by_http(database, plan)

    found = five_differences(plan, world)
    assert not found, found


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_by_http_tells_what_the_oracle_expects(database: Path, seed: int) -> None:
    plan = make_plan(seed, BEGIN, BEGIN + 365 * DAY, monitors=55, actions=450, turns=False)

    world = live_by_http(database, plan)

    found = five_differences(plan, world)
    assert not found, f"CRONWATCH_YEAR_SEED={seed}\n{found}"


# A fragment that stands once in the rules and what they use, and what makes a fault of it.
FAULTS = {
    "missed at the deadline itself": ("*_holds(state)]) + 1", "*_holds(state)])"),
    "a ping makes its own monitor late": (
        'first_unbroken(state, m.expected_at, at)\n    if m.status == "new"',
        'm.expected_at\n    if m.status == "new"',
    ),
    "nobody may be early": ("coming - began <= early_ms(m, coming)", "False"),
    "early although the one before is awaited": (
        "m.expected_at is None or m.expected_at >= coming",
        "True",
    ),
    "a pause awaits what came before it": ("m.digests = m.expected_at = None", "m.digests = None"),
    "a retry after nine seconds counts": ("RETRY_MS = 10_000", "RETRY_MS = 9_000"),
    "the same failed run counts twice": ("SAME_FAILURE_MS = 600_000", "SAME_FAILURE_MS = 10_000"),
    "a failure of before counts no more": ("SAME_FAILURE_MS = 600_000", "SAME_FAILURE_MS = 10**9"),
    "what goes on failing is dead": (
        "if run.sign_of_life and ping.kind",
        "if False and ping.kind",
    ),
    "a start that its end has overtaken opens a run": (
        "is_same = run.ended_at is not None and",
        "is_same = False and",
    ),
    "a measured duration comes first": (
        "    if run.opened and run.duration_ms is None:",
        "    if run.opened:",
    ),
    "one failure fewer is tolerated": (
        "is_tolerated = m.failures <= m.failure_tolerance",
        "is_tolerated = m.failures < m.failure_tolerance",
    ),
    "one failure fewer is tolerated in a pause": (
        '!= "down" and m.failures > m.failure',
        '!= "down" and m.failures >= m.failure',
    ),
    "the downtime counts from the last sign of life": (
        "at - (m.down_since or at)",
        "at - (m.life_at or at)",
    ),
    "digests come at the same distance": ("(1 << doublings)", "1"),
    "digests come at twice an hour at the least": (
        "SPACING_SECONDS = 3600",
        "SPACING_SECONDS = 1800",
    ),
    "silent failures are spaced although all went well": (
        '_set_digest(state, "silent_failure", None)',
        "pass",
    ),
    "the end of a pause is not told": ('emit(state, reason or "", at)', "pass"),
    "a run is awaited after a pause": ("            run.awaited = 0\n", "            pass\n"),
    "the failures of before a resume count": (
        'm.resume_status == "new", 0',
        'm.resume_status == "new", m.failures',
    ),
    "nothing is held back by an open run": (
        'if m.expects != "complete":',
        "if True:",
    ),
    "every start is awaited": ("or _was_ended_lately(state)", "or True"),
    "only the last start says whether to wait": ("in opened[-3:]", "in opened[-1:]"),
    "the end of a run counts for what is ahead then": (
        "        return run.next_at\n",
        "        pass\n",
    ),
    "stuck is told while it is down": (
        'run.state = "stuck"\n    if state.monitor.status != "down":',
        'run.state = "stuck"\n    if True:',
    ),
    "missed before stuck": (
        "PAUSE_END, STUCK, MISSED, DIGEST, REMINDER",
        "PAUSE_END, MISSED, STUCK, DIGEST, REMINDER",
    ),
    "a start recovers in spite of failures": (
        'm.down_reason == "missed" and not m.failed_count',
        'm.down_reason == "missed"',
    ),
    "a success forgets nothing": (
        "    _abandon_before(state, run, has_deadline=m.max_run_seconds is not None)\n",
        "",
    ),
    "an end belongs to a run of any host": (
        "of_host = [run for run in state.runs if run.host == ping.host]",
        "of_host = list(state.runs)",
    ),
    "an edit of the grace makes late": (
        "max(occurrence + m.grace_seconds * 1000, m.grace_at or 0)",
        "(occurrence + m.grace_seconds * 1000)",
    ),
    "a time of ours is called missed": (
        "unverified = _skip_unverified(state, Absence(since, until))",
        "unverified = False",
    ),
    "every restart excuses a dead job": ("    m.unverified = 1\n", "    pass\n"),
    "a night without power is no excuse": (
        "m.unverified and not _lies_within(m, awaited, absence)",
        "m.unverified",
    ),
    "a deadline falls into the minute after a gap": (
        "absence.since <= at < absence.until + RESTART_MS",
        "absence.since <= at < absence.until",
    ),
    "a restart disarms a run": ("until - since > RESTART_MS", "until - since > 0"),
    "a restart excuses what a run holds back": (
        "RESTART_MS and _holds(state)",
        "RESTART_MS and False",
    ),
    "what lay in a gap was missed": (
        "if state.absence is not None and _lies_within(m, occurrence, state.absence):",
        "if False:",
    ),
    "not as many as a thousand are counted": ("MISSED_MAX = 1000", "MISSED_MAX = 900"),
    "the outage names whom it does not matter to": (
        "m.expected_at > until + SOON_MS",
        "m.expected_at > until",
    ),
    "reminders of the absence are told": (
        "m.reminded_at = max(m.reminded_at, until)",
        "pass",
    ),
    "the first reminder is left out": (
        "(last - m.down_since) // step + 1)",
        "(last - m.down_since) // step + 2)",
    ),
    "what is expected lies behind a clock that went back": (
        "m.expected_at = min(expected_at, following)",
        "m.expected_at = expected_at",
    ),
    "a clock that goes back takes back what was missed": (
        "_count_missed(state, before)",
        "pass",
    ),
    "cron runs twice in the night of an hour more": (
        'is_fixed = not minute.startswith("*") and not hour.startswith("*")',
        "is_fixed = False",
    ),
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


@pytest.mark.slow
@pytest.mark.parametrize("faulty_rules", FAULTS, indirect=True)
def test_a_fault_in_the_rules_is_seen(faulty_rules: ModuleType) -> None:
    plans = (a_short_plan(seed) for seed in range(1, 6))

    assert any(next(differences(plan, live(faulty_rules, plan)), None) for plan in plans)


@pytest.mark.parametrize("seed", range(1, 6))
def test_without_a_fault_nothing_is_seen(seed: int) -> None:
    plan = a_short_plan(seed)

    found = five_differences(plan, live(cronwatch, plan))

    assert not found, found

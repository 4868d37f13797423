"""Many monitors live through a year; an oracle that was written from the design's words alone says
what each of them must have told. Then the rules get small faults, and the comparison sees them."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest
from faults import OF_A_YEAR
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
def test_eight_weeks_of_autumn_by_http_tell_what_the_oracle_expects(folder: Path) -> None:
    plan = make_plan(2026, AUTUMN, AUTUMN + 8 * WEEK, monitors=60, actions=40, turns=False)

    world = live_by_http(folder / "autumn.db", plan)

    found = five_differences(plan, world)
    assert not found, found


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_by_http_tells_what_the_oracle_expects(folder: Path, seed: int) -> None:
    plan = make_plan(seed, BEGIN, BEGIN + 365 * DAY, monitors=55, actions=450, turns=False)

    world = live_by_http(folder / f"year {plan.seed}.db", plan)

    found = five_differences(plan, world)
    assert not found, f"CRONWATCH_YEAR_SEED={seed}\n{found}"


@lru_cache
def pure_source() -> str:
    """What stands above the dialects: the rules and all that they use."""
    source = layout.MODULE.read_text("utf-8")
    (dialects,) = (part for part in layout.sections(source) if part.name == "Dialects")
    return "\n".join(source.splitlines()[: dialects.first - 1])


@pytest.fixture
def faulty_rules(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The rules with a fault, under a name of their own: dataclasses ask for it by name."""
    source, fault = pure_source(), request.param
    assert source.count(fault.fragment) == 1, f"{fault.fragment!r} has to stand once in the rules"
    module = ModuleType("rules_with_a_fault")
    module.__file__ = str(layout.MODULE)
    sys.modules[module.__name__] = module
    try:
        source = source.replace(fault.fragment, fault.instead)
        exec(compile(source, module.__name__, "exec"), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


@lru_cache
def a_short_plan(seed: int) -> Plan:
    return make_plan(seed, AUTUMN, AUTUMN + 8 * WEEK, monitors=70, actions=50)


@pytest.mark.slow
@pytest.mark.parametrize(
    "faulty_rules", OF_A_YEAR, indirect=True, ids=[fault.harm for fault in OF_A_YEAR]
)
def test_a_fault_in_the_rules_is_seen(faulty_rules: ModuleType) -> None:
    plans = (a_short_plan(seed) for seed in range(1, 6))

    assert any(next(differences(plan, live(faulty_rules, plan)), None) for plan in plans)


@pytest.mark.parametrize("seed", range(1, 6))
def test_without_a_fault_nothing_is_seen(seed: int) -> None:
    plan = a_short_plan(seed)

    found = five_differences(plan, live(cronwatch, plan))

    assert not found, found

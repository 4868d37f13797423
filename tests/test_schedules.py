"""What a schedule expects, and when. Debian cron decides; cronsim stands in for it."""

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from cronwatch import (
    CRON_NAMES,
    Invalid,
    check_schedule,
    check_timezone,
    describe_cron,
    next_run,
    parse_cron,
    run_before,
)

HOUR = 3600
ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)
FIRST = "2024-01-01T00:00+00:00"
TABLES = Path(__file__).with_name("schedules.txt").read_text("utf-8")
FULL_MONTHS = ",".join(map(str, range(1, 13)))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def walk(schedule: str, zone: str, after: int) -> Iterator[int]:
    """Every occurrence after an instant; some schedules have none where a zone skips them."""
    with suppress(Invalid):
        while True:
            after = next_run(schedule, zone, after)
            yield after


def until(schedule: str, zone: str, start: int, end: int) -> list[int]:
    """The occurrences after one instant and before another, all in seconds."""
    found = takewhile(lambda at: at < end * 1000, walk(schedule, zone, start * 1000))
    return [at // 1000 for at in found]


def runs(schedule: str, zone: str, after: str, count: int) -> list[str]:
    """The next occurrences, as a clock in the zone shows them."""
    tz = ZoneInfo(zone)
    found = islice(walk(schedule, zone, ms(after)), count)
    return [datetime.fromtimestamp(at / 1000, tz).strftime("%d %H:%M:%S%z") for at in found]


def times(schedule: str, after: str, count: int) -> list[str]:
    """The same in UTC without the offset."""
    return [text[:11] for text in runs(schedule, "UTC", after, count)]


def rows(heading: str) -> list[list[str]]:
    """The rows under a heading of schedules.txt."""
    (lines,) = re.findall(rf"^## {heading}\n((?:.+\n)+)", TABLES, re.MULTILINE)
    plain = [line.split("  # ")[0] for line in lines.splitlines() if not line.startswith("# ")]
    return [line.split(" | ") for line in plain]


# == What they mean ==========================================================


@pytest.mark.parametrize("schedule, zone, after, expected", rows("Changes of the clock"))
def test_a_schedule_meets_a_change_of_the_clock(
    schedule: str, zone: str, after: str, expected: str
) -> None:
    wanted = expected.split(", ")

    found = runs(schedule, zone, after, len(wanted))

    assert [at[: len(text)] for at, text in zip(found, wanted, strict=True)] == wanted


def test_a_schedule_that_one_zone_always_skips_has_no_next_run_there() -> None:
    schedule = "*/9 2 * 3 0#2"

    with pytest.raises(Invalid, match="has no next run"):
        next_run(schedule, "America/New_York", ms(FIRST))

    assert times(schedule, FIRST, 1) == ["10 02:00:00"]


@pytest.mark.parametrize(
    "schedule, expected",
    [
        *rows("What it means"),
        ["  0\t5  * *\n* ", "01 05:00, 02 05:00"],
        [" @monthly ", "01 00:00, 01 00:00"],
    ],
)
def test_a_schedule_means(schedule: str, expected: str) -> None:
    wanted = expected.split(", ")

    found = times(schedule, FIRST, len(wanted))

    assert [at[: len(text)] for at, text in zip(found, wanted, strict=True)] == wanted


def test_29_february_comes_round_over_the_missing_one_of_2100() -> None:
    found = next_run("0 0 29 2 *", "Europe/Berlin", ms("2096-03-01T00:00+01:00"))

    assert found == ms("2104-02-29T00:00+01:00")


@pytest.mark.parametrize("schedule", ["0 0 * 2 1#5", "0 0 */28 2 MON#5"])
def test_a_monday_29_february_comes_round_after_40_years(schedule: str) -> None:
    found = next_run(schedule, "UTC", ms("2072-02-29T00:00+00:00"))

    assert found == ms("2112-02-29T00:00+00:00")


@pytest.mark.parametrize(
    "schedule, sentence",
    [
        *rows("Refused"),
        ["", "schedule must have 5 fields, or 6 with seconds first, not 0"],
        [" \n", "schedule must have 5 fields, or 6 with seconds first, not 0"],
        ["0\0 * * * *", "minute must be 0-59"],
        pytest.param("* " * 250 + "*", "schedule must be at most 500 characters", id="long"),
    ],
)
def test_a_schedule_is_refused_in_words(schedule: str, sentence: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_cron(schedule)

    assert str(refusal.value) == sentence


@pytest.mark.parametrize("schedule, wrapped, listed", rows("Ranges that wrap"))
def test_a_range_that_wraps_cannot_be_entered(schedule: str, wrapped: str, listed: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_schedule(schedule)

    assert str(refusal.value) == f"cron never runs {wrapped}, which wraps round: write {listed}"


@pytest.mark.parametrize("schedule, wrapped, listed", rows("Ranges that wrap"))
def test_a_stored_range_that_wraps_runs_as_what_is_proposed_instead(
    schedule: str, wrapped: str, listed: str
) -> None:
    instead = schedule.lower().replace(wrapped, listed)

    check_schedule(instead)
    assert times(schedule, FIRST, 90) == times(instead, FIRST, 90)


@pytest.mark.parametrize(
    "schedule", ["0 3 * * *", "0 0-23 * * 5-7", "@daily", "0 0 1-L * MON-FRI", "0 3 * * 6-6"]
)
def test_a_range_that_does_not_wrap_can_be_entered(schedule: str) -> None:
    check_schedule(schedule)


def test_what_does_not_parse_cannot_be_entered() -> None:
    with pytest.raises(Invalid, match="hour must be 0-23"):
        check_schedule("0 25 * * *")


def test_any_text_is_a_schedule_or_invalid() -> None:
    rng = random.Random(1)
    pieces = [*"*/-,#?LWH50@İ٣\0\ud800\u3000\\ ", "R(", "9" * 99, "mon", "jan", "()", "l-l"]
    pieces += ["1-5", "*/2", "1#1"]

    for _ in range(1_500):
        fields = ("".join(rng.choices(pieces, k=rng.randint(1, 4))) for _ in range(5))
        with suppress(Invalid):
            check_schedule(" ".join(rng.choice(["*", field]) for field in fields))


PATHS = ["..", "../UTC", "/etc/passwd", "Europe", "Mars/Base", "zone.tab"]


@pytest.mark.parametrize(
    "zone", ["", *PATHS, "UTC\0", "UTC ", "\ud800", "x" * 300, "x/" * 3000], ids=ascii
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="timezone must be an IANA name"):
        check_timezone(zone)


def test_a_zone_is_found_by_its_name() -> None:
    assert check_timezone("Asia/Kathmandu").key == "Asia/Kathmandu"


# == Seams ===================================================================


@pytest.mark.parametrize(
    ("after", "expected"),
    [(-1, 0), (0, 60_000), (1, 60_000), (59_999, 60_000), (60_000, 120_000), (60_001, 120_000)],
)
def test_the_next_run_is_strictly_after_a_millisecond(after: int, expected: int) -> None:
    assert next_run("* * * * *", "UTC", after) == expected


@pytest.mark.parametrize(
    ("at", "floor", "expected"),
    [
        ("12:00:00.001", "11:50:00", "12:00:00"),
        ("12:00:00", "11:50:00", None),
        ("12:00:00.001", "12:00:00", "12:00:00"),
        ("12:10:00", "12:00:00.001", None),
        ("12:40:00", "12:20:00", "12:30:00"),
        ("13:10:00", "11:50:00", "13:00:00"),
        ("12:00:00", "12:10:00", None),
    ],
)
def test_the_run_before_lies_from_the_floor_until_before_the_instant(
    at: str, floor: str, expected: str | None
) -> None:
    day = "2024-01-01T{}+00:00".format

    found = run_before("*/30 * * * *", "UTC", ms(day(at)), ms(day(floor)))

    assert found == (expected and ms(day(expected)))


def test_a_search_leaves_alone_what_other_threads_search_too() -> None:
    schedule = "*/7 3 1,5 * 2#1"
    shared = [vars(calendar) for calendar in parse_cron(schedule).calendars]
    before = deepcopy(shared)

    next_run(schedule, "Europe/Berlin", ms("2024-01-01T00:00+00:00"))

    assert shared == before


# == Against cronsim =========================================================

ZONES = [zone for (zone,) in rows("Zones to compare in")]
# Where the clock does not change by whole hours, at a whole hour, within a day, cronsim 2.8 is no
# judge of wildcard jobs: it goes on in steps of 3,600 s, and may take a skipped midnight for real.
# `*/10 */4 * * *` in Lord Howe loses 04:00 on the days of both changes, `*/20 1 8 * *` in Santiago
# 8 September 2024; `*/30 0,12 10 3 *` in Havana runs at a 00:00 that is skipped; `* 3-4 * * *` in
# Chatham never returns in autumn. The rule itself is plain enough to be the judge there: a
# wildcard job runs whenever the clock shows a match.
ODD = ZONES[-5:]
EVERY = (range(60), range(60), range(24), range(1, 32), range(1, 13), range(7))


def fresh_seed() -> int:
    return int(os.environ.get("CRONWATCH_SEED", "0")) or random.randrange(10**6)


@lru_cache(None)
def clock_changes(zone: str, year: int) -> list[int]:
    """The instants in seconds, to the quarter of an hour; any two where no clock changes."""
    tz, first = ZoneInfo(zone), int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    days = [datetime.fromtimestamp(first + HOUR * 24 * day, tz) for day in range(367)]
    changed = [b for a, b in pairwise(days) if a.utcoffset() != b.utcoffset()]
    return [_exact(tz, int(day.timestamp())) for day in changed] or [first, first + HOUR * 4400]


def _exact(tz: ZoneInfo, until: int) -> int:
    new = datetime.fromtimestamp(until, tz).utcoffset()
    quarters = range(until, until - HOUR * 25, -900)
    return [*takewhile(lambda at: datetime.fromtimestamp(at, tz).utcoffset() == new, quarters)][-1]


def any_field(rng: random.Random, values: range, near: range) -> str:
    low, high = sorted(rng.choice(rng.choice([near, near, values])) for _ in range(2))
    high += low == high and high < values[-1]
    return rng.choice(
        [
            "*",
            f"*/{rng.randint(1, len(values) // 2)}",
            f"{low}",
            f"{low}",
            f"{low},{high},{rng.choice(values)}",
            f"{low}-{high}",
            f"{low}-{high}/{rng.randint(1, 4)}" if low < high else f"{low}",
            f"{values[0]}-{values[-1]}",
            ",".join(map(str, values)),
        ]
    )


def any_schedule(rng: random.Random, change: datetime) -> str:
    """Five fields, mostly about the hours and the day of a clock change, that do come round."""
    while True:
        day = any_field(rng, range(1, 32), range(max(1, change.day - 1), min(31, change.day + 2)))
        last = rng.choice([day, day, "L", "1,L", f"{change.day},L"])
        week = any_field(rng, range(7), range(7))
        nth = rng.choice([week, week, "L0", "L6", "0#1", "SUN#2", "0#4", "6#5", "SAT#1", "5#5"])
        days, weekdays = rng.choice([("*", "*"), (last, "*"), ("*", nth), (last, nth)])
        month = rng.choice(["*", "*", "*", f"{change.month}", FULL_MONTHS])
        minute, hour = any_field(rng, range(60), range(60)), any_field(rng, range(24), range(5))
        schedule = f"{minute} {hour} {days} {month} {weekdays}"
        if not never(schedule):
            return schedule


def near_changes(seed: int, year: int) -> Iterator[tuple[random.Random, str, int, str]]:
    """A zone, the instant of a change of its clock, and a schedule about then; again and again."""
    rng = random.Random(seed)
    for zone in ZONES * 8:
        change = rng.choice(clock_changes(zone, year))
        yield rng, zone, change, any_schedule(rng, datetime.fromtimestamp(change, ZoneInfo(zone)))


def refusal_of(schedule: str) -> str | None:
    """The sentence by which it is refused."""
    try:
        check_schedule(schedule)
    except Invalid as refusal:
        return str(refusal)
    return None


def never(schedule: str) -> bool:
    return refusal_of(schedule) == "has no next run"


def for_cronsim(schedule: str) -> str:
    """In cronsim's words: a list of all values is a `*`, as no range is, and L5 is 5L."""
    fields = schedule.split()
    kinds = list(Field)[6 - len(fields) :]
    return " ".join(map(_field_for_cronsim, kinds, fields))


def _field_for_cronsim(kind: Field, field: str) -> str:
    if kind == Field.DOW and field.startswith("L"):
        return field[1:] + "L"
    is_list = "-" not in field and "/" not in field
    return "*" if is_list and set(EVERY[kind]) <= kind.parse(field.upper()) else field


def by_cronsim(schedule: str, zone: str, start: int, end: int) -> list[int]:
    """Inside a repeated hour cronsim can answer before its start: step until after."""
    found = CronSim(for_cronsim(schedule), datetime.fromtimestamp(start, ZoneInfo(zone)))
    instants = takewhile(lambda at: at < end, (int(at.timestamp()) for at in found))
    return sorted({at for at in instants if at > start})


def by_the_clock(schedule: str, zone: str, start: int, end: int) -> list[int]:
    """What a wildcard job does, minute by minute; only the fields are cronsim's."""
    sim, tz = CronSim(for_cronsim(schedule), ANY_TIME), ZoneInfo(zone)
    shown = {at: datetime.fromtimestamp(at, tz) for at in range(start // 60 * 60 + 60, end, 60)}
    return [at for at, wall in shown.items() if _shows(sim, wall)]


def _shows(sim: CronSim, wall: datetime) -> bool:
    in_day = wall.minute in sim.minutes and wall.hour in sim.hours
    return in_day and wall.month in sim.months and sim.match_day(wall.date())


def judge(schedule: str, zone: str) -> Callable[[str, str, int, int], list[int]]:
    wildcard = any(field.startswith("*") for field in for_cronsim(schedule).split()[:2])
    return by_the_clock if wildcard and zone in ODD else by_cronsim


# A fresh one looks for what nobody has seen yet: it may be red where nothing was changed.
@pytest.mark.slow
@pytest.mark.parametrize("is_fresh", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_we_expect_what_cronsim_does_around_clock_changes(is_fresh: bool) -> None:
    seed = fresh_seed() if is_fresh else 1
    print(f"CRONWATCH_SEED={seed}")
    rng, compared = random.Random(seed), 0

    for number in range(1_050):
        zone = ZONES[number % len(ZONES)]
        year = 2024 + rng.randrange(3) * 3
        changes = clock_changes(zone, year)
        schedule = any_schedule(rng, datetime.fromtimestamp(rng.choice(changes), ZoneInfo(zone)))
        compared += sum(_compare(rng, schedule, zone, change) for change in changes)

    assert compared > 10_000


def _compare(rng: random.Random, schedule: str, zone: str, change: int) -> int:
    """How many occurrences were the same in a day, or in some hours; fails if one was not."""
    sim = CronSim(for_cronsim(schedule), ANY_TIME)
    hours = 2 if len(sim.minutes) * len(sim.hours) > 24 else 27
    start, end = change - rng.randrange(hours * HOUR), change + hours * HOUR

    expected = judge(schedule, zone)(schedule, zone, start, end)
    assert until(schedule, zone, start, end) == expected, (schedule, zone, start)
    return len(expected)


def test_six_field_wildcards_are_what_cronsim_does_around_clock_changes() -> None:
    rng = random.Random(6)

    for number in range(100):
        zone = ZONES[number % 9]
        seconds = any_field(rng, range(0, 60, 7), range(60))
        schedule = f"{seconds} {any_field(rng, range(60), range(60))} * * * *"
        for change in clock_changes(zone, 2025):
            start, end = change - rng.randrange(120), change + 120
            expected = by_cronsim(schedule, zone, start, end)
            assert until(schedule, zone, start, end) == expected, schedule


def test_a_schedule_never_comes_round_where_cronsim_finds_nothing_in_50_years() -> None:
    rng = random.Random(4)
    found = {True: 0, False: 0}

    for _ in range(60):
        days = rng.choice(["*/31", "*/30", "*/29", "*"])
        months = rng.choice(["2", "2,4", "4", "*"])
        schedule = f"0 0 {days} {months} {rng.choice(['*', '*/6', '1#5', '1#4', 'L2', '3'])}"
        found[never(schedule)] += 1
        assert never(schedule) != any(CronSim(for_cronsim(schedule), ANY_TIME))

    assert min(found.values()) > 5


def test_a_range_is_refused_where_cronsim_refuses_it() -> None:
    names = [name.upper() for name in CRON_NAMES if name != "l"]
    refused = 0

    for place in (Field.MINUTE, Field.HOUR, Field.DAY, Field.MONTH, Field.DOW):
        numbers = [str(number) for number in Field(place).parse("*")]
        words = numbers + {Field.DOW: names[:7], Field.MONTH: names[7:]}.get(place, [])
        for low in words:
            for high in words[:: len(words) // 7]:
                fields = ["0", *"*****"]
                fields[place] = f"{low}-{high}"
                schedule = " ".join(fields)
                assert bool(refusal_of(schedule)) != is_taken_by_cronsim(schedule), schedule
                refused += bool(refusal_of(schedule))

    assert refused > 100


def is_taken_by_cronsim(schedule: str) -> bool:
    try:
        CronSim(schedule, ANY_TIME)
    except CronSimError:
        return False
    return True


def test_seconds_of_zero_change_nothing() -> None:
    for rng, zone, change, schedule in near_changes(0, 2026):
        after = (change - rng.randrange(30 * HOUR)) * 1000
        assert next_run(f"0 {schedule}", zone, after) == next_run(schedule, zone, after)


def test_the_next_run_is_later_and_never_goes_back() -> None:
    for rng, zone, change, schedule in near_changes(2, 2027):
        instants = sorted(1000 * change + rng.randrange(-(10**8), 10**8) for _ in range(15))
        found = [next_run(schedule, zone, after) for after in instants]
        assert all(at > after for at, after in zip(found, instants, strict=True)), schedule
        assert found == sorted(found), schedule


def test_the_run_before_the_next_run_is_not_skipped() -> None:
    for rng, zone, change, _ in near_changes(3, 2028):
        at = 1000 * change + rng.randrange(-(10**6), 10**6)
        found = next_run("*/7 * * * *", zone, at)
        assert run_before("*/7 * * * *", zone, found + 1, at) == found
        assert run_before("*/7 * * * *", zone, found, at + 1) is None


# == In words ================================================================


@pytest.mark.parametrize("schedule, words", rows("In words"))
def test_a_schedule_is_said_in_words(schedule: str, words: str) -> None:
    assert describe_cron(schedule) == words


@pytest.mark.parametrize("schedule", [row[0] for row in rows("Too long or wrong in words")])
def test_a_schedule_whose_words_would_be_long_or_wrong_stays_as_it_is(schedule: str) -> None:
    assert describe_cron(schedule) == schedule

"""The dashboard as people use it: a real browser, a real server, and nothing untoward in either.

Each flow ends with what the browser had to complain about, which is nothing but what the flow
itself brings about: a refusal that is shown, a server that is away.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sqlite3
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import (
    AWAY,
    DESK,
    ELSEWHERE,
    NAME,
    PASSWORD,
    PHONE,
    Tab,
    add_user,
    axe_script,
    chromium,
    looking,
)
from browser import violations as found_by_axe
from live_server import DIRECT, Live, bash, program, serving, wait_for

import cronwatch

pytestmark = pytest.mark.slow

STATIC = cronwatch.DATA / "static"
MOST_BYTES = 120_000
NOBODY = {"401 GET /api/v1/summary"}  # the first request of somebody who is not signed in
FLAGS = ("--scan-seconds", "0.2")
NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;"\'`${1}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path, *FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server for tests that mind only their own monitors."""
    with serving(tmp_path_factory.mktemp("shared"), *FLAGS) as server:
        yield server


@pytest.fixture
def page(browser: Any, shared: Live) -> Iterator[Tab]:
    """Somebody is signed in there."""
    with looking(browser, shared) as seen:
        yield seen


@pytest.fixture
def tab(browser: Any, live: Live) -> Iterator[Tab]:
    """Somebody is signed in."""
    with looking(browser, live) as seen:
        yield seen


@pytest.fixture
def timed(browser: Any, live: Live) -> Iterator[Tab]:
    """The same with a clock to set, which is the clock of all pages of a context."""
    with looking(browser, live, alone=True) as seen:
        yield seen


@pytest.fixture
def screen(browser: Any, busy: Live) -> Iterator[Tab]:
    """Somebody looks at the first screen of a server with monitors in every state."""
    with looking(browser, busy) as seen:
        yield seen


def ping(live: Live, monitor: dict[str, Any], path: str = "", body: str = "") -> None:
    """Ping a monitor in Healthchecks' words, with an output."""
    url = f"{live.url}/ping/{monitor['token']}{path}"
    with DIRECT.open(url, body.encode() or None) as reply:
        assert reply.status == 200


def show(tab: Tab, monitor: dict[str, Any]) -> None:
    """Open the page of a monitor, and wait for all of it."""
    tab.open(f"#/monitors/{monitor['id']}")
    tab.page.locator(".part-log .card").wait_for()


def beat(live: Live, monitor: dict[str, Any], path: str) -> None:
    """Ping a monitor in CronBeats' words."""
    with DIRECT.open(f"{live.url}/ping/{monitor['code']}/{path}") as reply:
        assert reply.status == 200


# -- The first start


def test_three_steps_lead_through_a_first_start(tab: Tab, live: Live) -> None:
    tab.see("Know when a job stops running")
    assert tab.page.locator(".step h2").all_inner_texts() == [
        "1 A job",
        "2 Its line",
        "3 Who is told",
    ]
    tab.field("Name").fill("Daily backup")
    tab.field("Cron expression").fill("30 4 * * 1-5")
    tab.field("Time zone").fill("Asia/Tokyo")
    tab.see(re.compile("at 04:30"))
    assert tab.page.locator(".preview li").count() == 5
    tab.button("Create monitor").click()
    tab.see("Waiting for the first ping…")
    ping(live, live.monitor("daily-backup"))
    tab.see("The first ping has arrived")
    tab.field("Kind").select_option("webhook")
    tab.field("Name").fill("ops")
    tab.field("Address").fill("http://127.0.0.1:9/hook")
    tab.button("Add integration").click()
    tab.button("Send a test").click()
    tab.see("The test has failed")
    tab.button("Go to the monitors").click()
    tab.row("Daily backup").wait_for()

    assert tab.problems == set()


def test_a_crontab_is_taken_over_in_the_first_step(tab: Tab, live: Live) -> None:
    tab.page.get_by_text("My crontab").click()
    tab.field("Your crontab").fill(
        "# comment\nMAILTO=me\n0 3 * * * /opt/backup.sh --all\n"
        "*/5 * * * * A=1 mail-fetch\n@reboot x"
    )
    tab.see("2 jobs found")

    tab.button("Watch these jobs").click()
    tab.see("2 jobs watched")

    line = tab.page.locator(".copyable code").first.inner_text().split("\n")[0]
    token = live.monitor("backup-sh")["token"]
    assert line == f"0 3 * * * cronwatch-exec {live.url}/{token} -- /opt/backup.sh --all"
    assert live.monitor("mail-fetch")["cronExpression"] == "*/5 * * * *"
    assert tab.problems == set()


# -- How to ping


CURL = "curl -fsS -m 10 --retry 5 -o /dev/null {url}"
LINES = {  # what the lines of a dialect begin with, and the pings that they send
    "cronwatch-exec": ("30 4 * * *  cronwatch-exec {url}/{token} -- /path/to/job", ""),
    "Plain curl": (f"{CURL}/ping/{{token}}", "success start fail"),
    "crontab": (f"30 4 * * *  {CURL}/{{token}}/start;", "start fail"),
    "systemd unit": (f"ExecStartPre=-/usr/bin/{CURL}/", "start fail"),
    "Python": ('urlopen("{url}/{token}/start"', "start success"),
    "Node": ('fetch("{url}/{token}"', "start success"),
    "CronBeats": (
        "curl -X POST {url}/ping/{code}/end/success",
        "start success fail progress",
    ),
    "CronRadar": ("curl -u API_KEY: {url}/ping/{key}/complete", "start success fail"),
    "Cronitor": ("curl {url}/{code}/complete", "start success fail"),
    "Crontify": (
        '-H "X-API-Key: API_KEY" {url}/api/v1/ping/{key}/success',
        "start success fail",
    ),
    "Cronping": ("curl {url}/{token}", "start success fail"),
    "Healthchecks": ("curl -m 10 --retry 5 {url}/ping/{token}", "start success fail"),
    "Uptime Kuma": ('curl "{url}/api/push/{token}?status=up', "success fail"),
}


def test_the_lines_of_all_dialects_are_there_the_wrappers_first(
    lines: tuple[Tab, dict[str, Any]],
) -> None:
    assert lines[0].page.locator(".radio").all_inner_texts() == list(LINES)


@pytest.mark.parametrize("label", LINES)
def test_the_lines_ping_as_they_say(lines: tuple[Tab, dict[str, Any]], label: str) -> None:
    (tab, monitor), (start, kinds) = lines, LINES[label]
    live = tab.live
    tab.open(f"#/monitors/{monitor['id']}")
    tab.page.locator(".radio").last.wait_for(state="attached")
    tab.page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    if label == "Node" and not shutil.which("node"):
        pytest.skip("there is no node here: apt-get install nodejs")
    before = len(live.pings("nightly"))

    tab.page.locator(".radio").get_by_text(label, exact=True).click()
    shown = tab.page.inner_text(".lines-out code")
    if kinds:  # cronwatch-exec is tried in its own tests
        bash(live.folder, as_script(label, shown.replace("API_KEY", live.key)))

    assert start.format(url=live.url, **monitor) in shown
    assert " ".join(ping["kind"] for ping in live.pings("nightly")[before:]) == kinds
    assert tab.problems == set()


def as_script(label: str, shown: str) -> str:
    """Lines of the page as a script of a job that fails, in Python and Node of one that works."""
    if label == "crontab":
        shown = re.sub(r"^(\S+ ){5} ", "", shown)
    if label == "systemd unit":
        parts = re.findall(r"^Exec\w+=-?(.*)$", shown, re.M)
        shown = "SERVICE_RESULT=exit-code; export SERVICE_RESULT\n" + "\n".join(parts).replace(
            "$$", "$"
        )
    if label in ("Python", "Node"):
        job = "job = list" if label == "Python" else "const job = () => {};"
        start = f"{sys.executable} -" if label == "Python" else "node --input-type=module"
        return f"{start} >&2 <<'END'\n{job}\n{shown}\nEND\n"
    return shown.replace("/path/to/job", "false")


@pytest.fixture(scope="module")
def lines(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Tab, dict[str, Any]]]:
    """The page of a monitor that has not been pinged."""
    with (
        serving(tmp_path_factory.mktemp("lines")) as live,
        looking(browser, live, alone=True) as seen,
    ):
        monitor = live.add(
            "nightly", intervalSeconds=None, cronExpression="30 4 * * *", scheduleType="cron"
        )
        seen.open(f"#/monitors/{monitor['id']}")
        seen.see("Waiting for the first ping")
        yield seen, monitor


# -- The first screen


def headline(tab: Tab) -> str:
    text: str = tab.page.locator(".say h1").inner_text()
    return text


def test_one_sentence_says_what_is_down_late_and_next(screen: Tab) -> None:
    screen.see_state("late", "Late")

    sentence = re.compile(r"2 down · 1 late · next: \S+ in \d+ (s|min)")
    wait_for(lambda: sentence.fullmatch(headline(screen)), "the sentence")
    names = [name[:4] for name in screen.page.locator("li.row .name").all_inner_texts()]
    assert names == ["down", "sile", "late", "runn", "empt", "well", "fres", "paus"]
    chips = dict(
        re.sub(r"\s+", " ", text.strip()).rsplit(" ", 1)
        for text in screen.page.locator(".chip:not(.is-tag)").all_inner_texts()
    )
    assert int(chips.pop("All")) == sum(map(int, chips.values()))
    assert set(chips) == {"Down", "Late", "Running", "Up", "New", "Paused"}


def test_the_sentence_the_title_and_the_icon_say_how_all_is(tab: Tab, live: Live) -> None:
    ping(live, live.add("job"))
    tab.see("All is well")
    assert re.fullmatch("All is well · next: job in (59 min|1 h)", headline(tab))

    for name in ("one", "two"):
        ping(live, live.add(name), "/fail")
    tab.see_state("two", "Down")

    assert tab.page.title() == "2 down · Monitors · cronwatch"
    assert tab.page.get_attribute("#icon", "href") == "static/icon-down-2.svg"
    assert tab.problems == set()


def test_a_row_says_why_and_when_and_who_is_told(screen: Tab) -> None:
    row = screen.row("down-xxx")
    row.get_by_text("failed with exit code 2").wait_for()

    assert "every hour · grace 5 min" in row.inner_text()
    assert row.locator(".told").inner_text() == "ops +1"
    assert row.locator(".uptime").inner_text().endswith("%")
    heads = ["", "Monitor", "Last 30 times", "Last · due", "Took · usually", "30 days", "Told"]
    assert screen.page.locator(".heads > div").all_inner_texts() == heads


def test_missed_times_are_hollow_and_what_a_rule_matched_is_amber(screen: Tab) -> None:
    silent, empty = (screen.row(name).locator(".strip") for name in ("silent", "empty"))
    screen.row("empty").get_by_text("rows is 0 (rule: < 1)").wait_for()
    screen.page.locator(".night path.is-matched").wait_for(state="attached")

    assert re.search(r"\d+ missed", silent.get_attribute("aria-label"))
    assert silent.locator("path.is-missed").count() == 1
    assert empty.locator("path.is-matched").count() == 1


def test_the_list_is_narrowed_and_the_address_keeps_it(screen: Tab) -> None:
    screen.row("fresh").wait_for()

    screen.field("Search monitors").fill("WEL")
    screen.row("fresh").wait_for(state="detached")
    screen.page.reload()
    screen.row("well").wait_for()
    assert screen.page.locator("li.row").count() == 1
    assert screen.field("Search monitors").input_value() == "WEL"
    screen.field("Search monitors").fill("")
    screen.page.locator(".chip", has_text="#home").click()
    screen.row("fresh").wait_for(state="detached")

    assert screen.page.locator("li.row .name").all_inner_texts() == ["well"]
    assert screen.page.url.endswith("#/?tag=home")


def test_many_monitors_are_changed_at_once(tab: Tab, live: Live) -> None:
    for name in ("one", "two", "three"):
        live.add(name)
    tab.row("three").wait_for()

    tab.button("Select").click()
    tab.field("Select one").check()
    tab.field("Select two").check()
    tab.button("Pause").click()
    tab.button("Until resumed").click()
    wait_for(lambda: live.monitor("two")["paused"], "the second is paused")
    tab.button("Select").click()
    tab.field("Select all that are shown").check()
    tab.button("Tag").click()
    tab.field("Tags").fill("group")
    tab.button("Apply").click()
    wait_for(lambda: live.monitor("three")["tags"] == "group", "the third is tagged")
    tab.button("Select").click()
    tab.field("Select three").check()
    tab.button("Delete").click()
    tab.button("Delete 1 monitor").click()
    tab.row("three").wait_for(state="detached")

    assert not live.monitor("three")
    assert live.monitor("one")["tags"] == "group"
    assert tab.problems == set()


def test_the_list_is_used_from_the_keyboard(tab: Tab, live: Live) -> None:
    for name in ("alpha", "beta"):
        live.add(name)
    tab.row("beta").wait_for()
    keys = tab.page.keyboard

    keys.press("/")
    keys.type("a")
    keys.press("Escape")
    keys.press("j")
    keys.press("ArrowDown")
    keys.press("x")
    tab.see("1 selected")
    assert tab.field("Select beta").is_checked()
    for key in ("ArrowUp", "j", "k", "Enter"):
        keys.press(key)
    tab.page.get_by_role("heading", name="alpha").wait_for()
    keys.press("g")
    tab.row("beta").wait_for()
    keys.press("?")
    tab.see("previous monitor")
    keys.press("Escape")
    keys.press("n")
    tab.page.get_by_role("heading", name="New monitor").wait_for()

    assert tab.problems == set()


def test_a_row_is_changed_in_place(page: Tab, shared: Live) -> None:
    monitor = shared.add("placed")
    assert page.row("placed").locator(".told").inner_text() == "No notifications"
    page.row("placed").evaluate("node => { node.mark = 1; }")

    ping(shared, monitor)
    page.see_state("placed", "Up")

    assert page.row("placed").evaluate("node => node.mark") == 1
    assert page.problems == set()


def test_times_stay_true_without_the_server(page: Tab, shared: Live) -> None:
    ping(shared, shared.add("counting"))
    page.see_state("counting", "Up")
    page.page.route("**/api/**", lambda route: None)  # no answer ever comes

    for seconds in (3, 4):
        page.row("counting").get_by_text(f"{seconds} s ago", exact=True).wait_for()

    assert page.problems == set()


def test_a_clock_that_is_wrong_shows_the_servers_time(timed: Tab, live: Live) -> None:
    ping(live, live.add("job"))
    timed.page.clock.install(time=time.time() + 86_400)
    timed.open()

    for said in (r"^(now|\d s ago)$", "due in (59 min|1 h)"):
        timed.row("job").get_by_text(re.compile(said)).wait_for()
    assert timed.problems == set()


# What the page asks for and when, by its own clock, and how many answers are not there yet.
COUNTING = """
    const send = window.fetch;
    window.asked = [];
    window.waiting = 0;
    window.fetch = async (...words) => {
        asked.push({ url: words[0], at: Date.now() });
        waiting += 1;
        const reply = await send(...words);
        const body = reply.status === 304 ? null : await reply.arrayBuffer();
        waiting -= 1;
        return new Response(body, reply);
    };
"""


def answered(tab: Tab) -> None:
    """Wait until the page has every answer that it asked for."""
    wait_for(lambda: tab.page.evaluate("waiting === 0"), "the answers")


@pytest.fixture
def counted(timed: Tab, live: Live) -> Tab:
    """The first screen with its own clock and count of what it asks for."""
    live.add("job")
    timed.page.clock.install()
    timed.page.add_init_script(COUNTING)
    timed.open()
    timed.row("job").wait_for()
    answered(timed)
    return timed


@pytest.mark.parametrize("rest_ms, pace", [(0, 2000), (121_000, 10_000)])
def test_a_page_asks_more_rarely_when_nobody_looks(counted: Tab, rest_ms: int, pace: int) -> None:
    page = counted.page
    page.clock.pause_at(time.time() + 60)
    page.clock.fast_forward(rest_ms)
    answered(counted)
    page.evaluate("asked.length = 0")

    for _ in range(3 * pace // 500):
        page.clock.run_for(500)
        answered(counted)
    asked = [one["at"] for one in page.evaluate("asked")]

    assert abs(asked[1] - asked[0] - pace) <= 1000
    assert counted.problems == set()


@pytest.mark.parametrize("hidden, asks", [("false", True), ("true", False)])
def test_a_page_that_is_not_seen_asks_for_nothing(counted: Tab, hidden: str, asks: bool) -> None:
    page = counted.page
    page.evaluate(
        """hidden => {
        Object.defineProperty(document, "hidden", { get: () => hidden === "true" });
        document.dispatchEvent(new Event("visibilitychange"));
    }""",
        hidden,
    )
    answered(counted)
    page.evaluate("asked.length = 0")

    page.clock.fast_forward(60_000)

    urls = {one["url"] for one in page.evaluate("asked")}
    assert urls == ({"api/v1/summary"} if asks else set())
    assert counted.problems == set()


def test_the_first_screen_asks_for_data_once(page: Tab, shared: Live) -> None:
    shared.add("once")
    page.row("once").wait_for()
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))

    with page.page.expect_response(re.compile("/api/v1/night")):
        page.page.reload()
    page.row("once").wait_for()
    paths = [url.partition("/api/v1/")[2] for url in asked if "/api/" in url]

    assert paths[0] == "summary"
    assert sorted(paths[1:3]) == ["night?limit=200", "session"]
    assert page.problems == set()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with 1,000 monitors, 200 of which ran in the night."""
    with serving(tmp_path_factory.mktemp("many"), *FLAGS) as live:
        now = time.time_ns() // 1_000_000
        with closing(sqlite3.connect(live.database, timeout=20)) as db, db:
            for number in range(1000):
                db.execute(
                    "INSERT INTO monitor (num, id, key, name, created_at, updated_at, status, "
                    "interval_seconds, expected_at, due_at) "
                    "VALUES (?, ?, ?, ?, 0, 0, 'up', 3600, ?, ?)",
                    (
                        number + 1,
                        str(uuid.UUID(int=number)),
                        f"job-{number}",
                        f"Job {number:04}",
                        now + 3_600_000,
                        now + 3_900_000,
                    ),
                )
                for back in range(30 * (number < 200)):
                    db.execute(
                        "INSERT INTO run (monitor, state, started_at, ended_at, opened, awaited, "
                        "duration_ms) VALUES (?, 'success', ?, ?, 1, 0, 60000)",
                        (number + 1, now - back * 2_700_000, now - back * 2_700_000 + 60_000),
                    )
        yield live


def test_a_thousand_monitors_take_a_quarter_of_a_second_of_processor_time(
    browser: Any, many: Live
) -> None:
    with looking(browser, many) as tab:
        session = tab.context.new_cdp_session(tab.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # not of the wall
        tab.open()
        tab.see("The first 100 of 1000 are shown.")
        tab.page.locator(".night path.bar").first.wait_for(state="attached")
        metrics = {
            one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]
        }

        assert 0 < metrics["TaskDuration"] < 0.25


# -- The night


def bars(tab: Tab, state: str) -> int:
    """How many bars of a state the night shows."""
    path = tab.page.locator(f".timeline path.bar.is-{state}")
    return len(re.findall("M", path.get_attribute("d"))) if path.count() else 0


def test_the_night_has_a_path_for_each_state_and_is_a_table_too(browser: Any, busy: Live) -> None:
    with looking(browser, busy, timezone_id="Asia/Kolkata") as tab:
        tab.page.locator(".timeline path.is-success").wait_for(state="attached")

        states = ("success", "failed", "matched", "missed", "running", "expected")
        assert [state for state in states if not bars(tab, state)] == []
        now = tab.page.evaluate(
            "new Intl.DateTimeFormat('en-GB', {hour: '2-digit', minute: '2-digit'}).format()"
        )  # hours are those of the viewer
        assert tab.page.locator(".timeline .now text").text_content() == f"now {now}"
        tab.page.get_by_text("As a table").click()
        row = tab.page.locator(".as-table tr", has_text="down-x").locator("th, td")
        assert row.all_inner_texts()[1:6] == ["Down", "–", "1", "–", "–"]


def middle_of_a_failed_run(tab: Tab) -> tuple[float, float]:
    """Where it is on the screen."""
    path = tab.page.locator(".timeline path.is-failed")
    path.wait_for(state="attached")
    path.scroll_into_view_if_needed()
    box = path.bounding_box()
    assert box
    return box["x"] + 1, box["y"] + box["height"] / 2


def test_a_run_of_the_night_is_named_and_opened(screen: Tab) -> None:
    place = middle_of_a_failed_run(screen)

    screen.page.mouse.move(*place)
    tip = screen.page.inner_text("#tip")
    screen.page.mouse.click(*place)
    screen.page.locator("dialog .facts").wait_for()

    assert re.match(r"down-x+\s+Failed · Today \d\d:\d\d", tip), tip


def test_a_tap_names_a_run_and_a_second_one_opens_it(browser: Any, busy: Live) -> None:
    with looking(browser, busy, viewport=PHONE, has_touch=True) as tab:
        place = middle_of_a_failed_run(tab)

        tab.page.touchscreen.tap(*place)
        tab.see(re.compile("Failed · Today"))
        assert "/monitors/" not in tab.page.url
        tab.page.touchscreen.tap(*place)
        tab.page.locator("dialog .facts").wait_for()


def test_the_night_is_walked_through_by_keyboard(screen: Tab) -> None:
    screen.page.locator(".timeline path.is-failed").wait_for(state="attached")
    screen.page.locator(".timeline").focus()
    spoken = screen.page.locator(".night > [role=status]")

    screen.page.keyboard.press("ArrowRight")
    first = spoken.text_content()
    screen.page.keyboard.press("ArrowDown")
    second = spoken.text_content()
    screen.page.keyboard.press("ArrowUp")
    screen.page.keyboard.press("Enter")
    screen.page.get_by_role("heading", name=re.compile("down-x")).wait_for()

    assert re.match("down-x+: Failed · Today", first)
    assert second.startswith("silent: ")


def test_of_many_jobs_some_are_shown_until_one_asks_for_more(browser: Any, many: Live) -> None:
    with looking(browser, many) as tab:
        tab.see("The first 100 of 1000 are shown.")
        assert tab.page.locator("li.row").count() == 100
        tab.page.locator(".timeline .name").first.wait_for()
        folded = tab.page.locator(".timeline .name").all_text_contents()

        tab.button("Show all 200").click()
        tab.button("Show fewer").wait_for()
        unfolded = tab.page.locator(".timeline .name").count()
        success, paths = bars(tab, "success"), tab.page.locator(".timeline path.bar").count()
        tab.button("Show 100 more").click()
        tab.see("The first 200 of 1000 are shown.")
        tab.field("Search monitors").fill("Job 0999")  # which only the server can find
        tab.row("Job 0999").wait_for()

        assert tab.page.locator("li.row").count() == 1
        assert (len(folded), folded[-1], unfolded) == (13, "188 more", 200)
        assert (success > 5000, paths <= 8) == (True, True)  # in few paths, or it stutters


def test_when_cronwatch_was_away_is_hatched_and_said(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    ping(live, monitor)
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(live.database, timeout=20)) as db, db:
        db.execute("UPDATE monitor SET created_at = created_at - 86400000")
        gap = (now - 7_200_000, now - 3_600_000)
        db.execute("INSERT INTO absence (since, until) VALUES (?, ?)", gap)

    tab.open()
    away = tab.page.locator(".timeline rect.away")
    away.wait_for(state="attached")
    fill = away.get_attribute("fill")
    tab.open(f"#/monitors/{monitor['id']}")
    tab.page.locator(".entry", has_text="cronwatch was away for").wait_for()
    tab.open("#/settings")
    tab.page.locator(".absences li").wait_for()

    assert fill == "url(#hatch)"
    assert tab.problems == set()


# -- On a phone


def test_a_row_is_at_most_76_pixels_and_chips_are_one_line_on_a_phone(
    browser: Any, busy: Live
) -> None:
    with looking(browser, busy, viewport=PHONE) as tab:
        tab.row("well").wait_for()
        box = tab.page.get_by_label("Select well")
        assert box.is_hidden()

        height = tab.page.evaluate(
            "Math.max(...[...document.querySelectorAll('li.row')]"
            ".map(row => row.getBoundingClientRect().height))"
        )
        chip_lines = tab.page.evaluate(
            "new Set([...document.querySelectorAll('.chip')].map(chip => chip.offsetTop)).size"
        )
        tab.button("Select").click()
        box.wait_for()

        assert (height <= 76, chip_lines) == (True, 1)


# -- The page of a monitor


def test_the_page_begins_with_why_it_is_down_and_its_last_log_lines(
    page: Tab, shared: Live
) -> None:
    monitor = shared.add("backup", notes="Call Ann.")
    ping(shared, monitor, "/start")
    ping(shared, monitor, "/3", "first line\n" + "more\n" * 50 + "disk full")
    show(page, monitor)

    lead = page.page.locator(".card.lead")
    lead.get_by_text("disk full").wait_for()

    assert re.match(r"Failed with exit code 3: down for \d+ s, since \d\d:\d\d", lead.inner_text())
    assert "first line" not in lead.inner_text()
    assert "Call Ann." in lead.inner_text()
    page.page.get_by_role("link", name="Whole log").click()
    page.field("Search the log").fill("disk")
    page.see("1 of 1")
    with page.page.expect_download() as saved:
        page.button("Download").click()
    assert page.page.locator("mark").all_inner_texts() == ["disk"]
    assert saved.value.path().read_text().endswith("more\ndisk full")
    assert page.problems == set()


def test_what_is_down_is_marked_as_ok_or_paused(page: Tab, shared: Live) -> None:
    monitor = shared.add("mended")
    ping(shared, monitor, "/fail")
    show(page, monitor)

    buttons = page.page.locator(".head .buttons > *").all_inner_texts()
    page.button("Mark as OK").click()
    page.see("All is well.")
    page.button("Pause").click()
    page.button("For 8 hours").click()
    page.see("Paused until")
    until = cronwatch.parse_iso(shared.monitor("mended")["pausedUntil"]) / 1000
    page.button("Resume").click()
    page.button("Pause").wait_for()

    assert [text.split("\n")[0] for text in buttons] == ["Mark as OK", "Pause", "…"]
    assert 0 <= time.time() + 8 * 3600 - until < 60
    assert shared.monitor("mended")["status"] == "new"
    show(page, monitor)
    assert re.search("1× down", page.page.inner_text(".part-uptime"))
    assert page.problems == set()


def test_the_page_says_that_it_is_well_since_when_and_what_comes(page: Tab, shared: Live) -> None:
    monitor = shared.add("well")
    ping(shared, monitor)

    show(page, monitor)

    assert page.page.locator(".sentence").inner_text().startswith("All is well. Last ping ")
    times = page.page.locator(".part-next li").all_inner_texts()
    assert len(times) == 5
    assert re.fullmatch(r"(Today|Tomorrow) \d\d:\d\d in (59 min|1 h)", times[0])
    (tile,) = page.page.locator(".part-uptime dl > div").all_inner_texts()
    assert re.match(r"since \d\d:\d\d\s+100 %\s+never down", tile)


def test_a_missed_job_says_since_when_and_recovers(page: Tab, shared: Live) -> None:
    monitor = shared.add(
        "silent", scheduleType="cron", cronExpression="* * * * * *", graceSeconds=0
    )
    ping(shared, monitor)
    page.see_state("silent", "Down")
    page.page.get_by_role("link", name="silent").first.click()
    page.see(re.compile("No ping since"))

    change = {"scheduleType": "interval", "intervalSeconds": 3600}
    assert shared.ask("PATCH", f"/heartbeats/{monitor['id']}", change).status == 200
    ping(shared, monitor)

    page.see("All is well.")
    assert page.problems == set()


def test_a_start_and_its_end_are_one_row_of_the_activity(page: Tab, shared: Live) -> None:
    monitor = shared.add("copy")
    ping(shared, monitor, "/start")
    for percent in (10, 20):
        beat(shared, monitor, f"progress/{percent}?msg=part")
    ping(shared, monitor)

    show(page, monitor)

    rows = page.page.locator(".activity .entry").all_inner_texts()
    assert len(rows) == 2  # with the change to up
    assert re.search(r"Went well\s+Took \d+ ms · part · 2 steps", rows[0], re.I), rows[0]
    assert page.page.locator(".activity h3").all_inner_texts() == ["Today"]
    assert page.problems == set()


def test_the_activity_has_ten_rows_until_one_asks_for_more(page: Tab, shared: Live) -> None:
    monitor = shared.add("often")
    for number in range(75):
        beat(shared, monitor, f"end/success?msg=ping+{number}")
    show(page, monitor)
    rows, more = page.page.locator(".activity .entry"), page.button("Show more")
    assert rows.count() == 10

    for count in (30, 76):
        more.click()
        page.page.wait_for_function(
            "count => document.querySelectorAll('.activity .entry').length === count", arg=count
        )

    assert more.count() == 0
    assert page.problems == set()


def test_an_event_says_who_was_told_and_opens_where_one_failed(tab: Tab, live: Live) -> None:
    for name, command in (("good", "true"), ("broken", "echo no; exit 3")):
        live.quick("integration", "add", "command", name, command)
    monitor = live.add("job")
    ping(live, monitor, "/3")
    tab.open("#/activity")

    told = tab.page.locator("details.told-whom[open]")
    told.get_by_text("broken: will be tried again").wait_for()

    assert "1 of 2 told" in told.inner_text()
    assert "good: told" in told.inner_text()
    show(tab, monitor)
    (row,) = tab.page.locator(".activity .entry").all_inner_texts()  # with its run
    assert re.search(r"Failed\s+Exit code 3", row, re.I)
    assert tab.problems == set()


def test_a_run_is_seen_as_it_goes_on(page: Tab, shared: Live) -> None:
    monitor = shared.add("mirror")
    ping(shared, monitor)
    ping(shared, monitor, "/start")
    beat(shared, monitor, "progress/30?msg=a+third")
    page.row("mirror").get_by_text("30 %").wait_for()
    page.row("mirror").get_by_text("a third").wait_for()

    show(page, monitor)
    beat(shared, monitor, "progress/80?msg=nearly")
    page.page.locator(".part-live").get_by_text("80 %").wait_for()
    ping(shared, monitor)
    page.page.locator(".part-live .card").wait_for(state="detached")
    page.open(f"#/monitors/{monitor['id']}/runs/{shared.runs('mirror')[-1]['num']}")
    steps = page.page.locator(".steps li")
    steps.first.wait_for()

    shown = [text.split("\n")[-1] for text in steps.all_inner_texts()]
    assert shown == ["30 % · a third", "80 % · nearly"]
    assert page.problems == set()


def test_durations_are_a_chart_with_the_usual_band_and_metrics_sparklines(
    page: Tab, shared: Live
) -> None:
    monitor = shared.add("chart", maxRunSeconds=60)
    for seconds in (20, 40, 22, 21, 23):
        query = f"duration={seconds}&metric=count:{seconds}"
        DIRECT.open(f"{shared.url}/{monitor['code']}/complete?{query}").close()
    show(page, monitor)
    page.see("longest allowed 1 min")

    chart = str(page.page.get_attribute(".chart svg", "aria-label"))

    assert re.match("Durations of the last 5 runs, the longest 40 s, usually 20 s to 40 s", chart)
    assert page.page.locator(".chart rect.usual").count() == 1
    spark = page.page.locator(".metrics .spark")
    assert spark.get_attribute("aria-label") == "5 values from 20 to 40"
    assert page.page.locator(".metrics li").inner_text().split() == ["count", "23"]


def test_times_read_today_yesterday_and_a_date(browser: Any, shared: Live) -> None:
    with looking(browser, shared) as tab:
        words = tab.page.evaluate(
            """async () => {
            const { stamp } = await import("./static/dom.js");
            const day = 86400000, noon = new Date().setHours(12, 0, 0, 0);
            return [0, -1, 1, -9].map(days => stamp(noon + days * day));
        }"""
        )

        assert words[:3] == ["Today 12:00", "Yesterday 12:00", "Tomorrow 12:00"]
        assert re.fullmatch(r"\w{3} \d+ \w{3}( \d{4})? 12:00", words[3])


def test_a_link_of_a_mail_pauses_only_on_a_click(page: Tab, shared: Live) -> None:
    monitor = shared.add("noisy")
    page.open(f"#/monitors/{monitor['id']}/pause/24")
    page.see("Pause for 1 day?")
    assert shared.monitor("noisy")["status"] == "new"

    page.button("Pause for 1 day").click()
    page.see("Paused until")

    assert page.problems == set()


def test_a_handle_is_adopted_and_removed(page: Tab, shared: Live) -> None:
    monitor = shared.add("moved")
    page.open(f"#/monitors/{monitor['id']}")

    page.page.get_by_text("Handles", exact=True).click()
    page.field("Adopt a handle").fill("d3x0c1")
    page.button("Adopt").click()
    page.button("Remove d3x0c1").wait_for()
    DIRECT.open(f"{shared.url}/d3x0c1/complete").close()
    page.see("All is well.")

    assert page.problems == set()


def test_a_deleted_monitor_wants_its_name(tab: Tab, live: Live) -> None:
    monitor = live.add("precious")
    show(tab, monitor)

    tab.menu("Delete")
    dialog = tab.page.locator("dialog")
    dialog.get_by_label("Name").fill("other")
    dialog.get_by_role("button", name="Delete").click()
    tab.see("This is not its name.")
    dialog.get_by_label("Name").fill("precious")
    dialog.get_by_role("button", name="Delete").click()
    tab.see("Know when a job stops running")

    assert tab.problems == set()


def test_a_test_alert_shows_what_came_of_it(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "command", "good", "echo heard")
    live.quick("integration", "add", "command", "broken", "echo no; exit 3")
    show(tab, live.add("job"))

    tab.menu("Send a test alert")
    dialog = tab.page.locator("dialog")
    dialog.locator("li").nth(1).wait_for()

    told = sorted(dialog.locator("li").all_inner_texts())
    assert [one.split("\n")[0].strip() for one in told] == ["Failed broken", "Told good"]
    assert tab.problems == set()


def test_a_change_of_status_is_read_out_and_passing_seconds_are_not(
    page: Tab, shared: Live
) -> None:
    monitor = shared.add("spoken")
    ping(shared, monitor)
    page.open(f"#/monitors/{monitor['id']}")
    spoken = page.page.locator("main .hidden[role=status]")
    spoken.get_by_text("Up").wait_for(state="attached")
    spoken.evaluate("node => { node.mark = 1; }")

    ping(shared, monitor, "/fail")
    spoken.get_by_text("Down").wait_for(state="attached")

    assert spoken.evaluate("node => node.mark") == 1  # only what is changed in place is read out
    assert page.page.locator("[role=status] time, [aria-live] time").count() == 0
    assert page.problems == set()


def test_times_are_shown_in_the_zone_of_the_monitor_on_request(page: Tab, shared: Live) -> None:
    monitor = shared.add(
        "tokyo", scheduleType="cron", cronExpression="0 9 * * *", timezone="Asia/Tokyo"
    )
    ping(shared, monitor)
    page.open(f"#/monitors/{monitor['id']}")
    page.page.locator(".times").get_by_text(re.compile("00:00 ")).first.wait_for()

    page.button("Times: my zone").click()
    page.page.locator(".times").get_by_text(re.compile("09:00 ")).first.wait_for()

    page.page.reload()
    page.button("Times: monitor’s zone").wait_for()
    assert page.problems == set()


def test_lines_are_copied_without_https_too(browser: Any, shared: Live) -> None:
    monitor = shared.add("copied")
    there = replace(shared, url=shared.url.replace("127.0.0.1", ELSEWHERE))
    with looking(browser, there) as tab:
        tab.open(f"#/monitors/{monitor['id']}")
        tab.see("Waiting for the first ping")
        assert not tab.page.evaluate("isSecureContext")

        tab.button("Copy").click()
        tab.see("Copied")
        tab.open(f"#/monitors/{monitor['id']}/edit")
        tab.field("Notes").focus()
        tab.page.keyboard.press("Control+V")

        line = f"cronwatch-exec {there.url}/{monitor['token']} -- /path/to/job"
        assert line in tab.field("Notes").input_value()
        assert tab.problems == set()


def test_what_cannot_be_copied_is_selected(page: Tab, shared: Live) -> None:
    monitor = shared.add("uncopied")
    page.page.add_init_script("""
        delete Navigator.prototype.clipboard;
        document.execCommand = () => false;""")
    page.open(f"#/monitors/{monitor['id']}")

    page.button("Copy").click()
    page.see("It is selected: copy it with Ctrl+C")

    assert page.page.evaluate("String(getSelection())") == page.page.inner_text(".lines-out code")
    assert page.problems == set()


# -- Making and changing


def test_an_interval_is_shown_in_hours_and_counts_from_the_last_ping(
    page: Tab, shared: Live
) -> None:
    monitor = shared.add("spaced", intervalSeconds=43_200)
    ping(shared, monitor)
    with closing(sqlite3.connect(shared.database, timeout=20)) as db, db:
        db.execute(
            "UPDATE monitor SET expected_at = expected_at - 3600000 WHERE id = ?", (monitor["id"],)
        )
    page.open(f"#/monitors/{monitor['id']}/edit")

    first = page.page.locator(".preview li").first
    first.wait_for()
    field = page.page.locator(".joined").filter(has=page.field("Interval"))

    assert page.field("Interval").input_value() == "12"
    assert field.get_by_label("Unit").locator("option:checked").inner_text() == "hours"
    assert re.search("in 10 h", first.inner_text())


def test_a_mistake_in_a_form_is_told_beside_its_field(page: Tab, shared: Live) -> None:
    monitor = shared.add("mistaken")
    page.open(f"#/monitors/{monitor['id']}/edit")

    page.field("Grace").fill("99")
    page.page.locator(".joined").filter(has=page.field("Grace")).get_by_label(
        "Unit"
    ).select_option("days")
    page.page.locator(".preview .error").wait_for()
    page.page.locator("summary", has_text="Failure rules").click()
    page.field("Tolerated failures in a row").fill("many")
    page.button("Save").click()
    wrong = page.page.locator("[aria-invalid]")
    wrong.wait_for()
    sentence = page.page.locator(".field", has=wrong).locator(".error").inner_text()
    assert sentence == "graceSeconds must be a whole number, 0 to 86400"
    assert wrong.evaluate("node => node === document.activeElement")
    page.field("Grace").fill("1")
    page.button("Save").click()
    page.page.get_by_text("failureTolerance must be a whole number").wait_for()
    page.field("Tolerated failures in a row").fill("2")
    page.button("Save").click()
    page.see(re.compile("grace 1 d"))

    assert shared.monitor("mistaken")["failureTolerance"] == 2
    assert page.problems == {"400 GET /api/v1/preview", "400 PATCH /api/v1/heartbeats/ID"}


def test_an_edit_sends_only_what_was_touched(page: Tab, shared: Live) -> None:
    monitor = shared.add("touched", tags="old", graceSeconds=77)
    page.open(f"#/monitors/{monitor['id']}/edit")

    page.field("Tags").fill("old new")
    with page.page.expect_request(lambda request: request.method == "PATCH") as sent:
        page.button("Save").click()
    page.see("Details")

    assert sent.value.post_data_json == {"tags": "old new"}
    assert page.problems == set()


def test_a_rule_for_silent_failures_is_made_and_removed(page: Tab, shared: Live) -> None:
    monitor = shared.add("ruled")
    page.open(f"#/monitors/{monitor['id']}/edit")
    page.page.locator("summary", has_text="Failure rules").click()

    for name, value in (("rows", "10"), ("exit_code", "x")):
        page.button("Add a rule").click()
        page.field("Field").last.fill(name)
        page.field("Comparison").last.select_option("lt")
        page.field("Value").last.fill(value)
    page.button("Save").click()
    page.page.get_by_role("group", name="Failure rules").get_by_text(
        "a rule must have a field"
    ).wait_for()
    page.button("Remove this rule").last.click()
    page.button("Save").click()
    page.see("rows < 10")

    assert shared.monitor("ruled")["rules"] == [{"field": "rows", "operator": "lt", "value": 10}]
    assert page.problems == {"400 PATCH /api/v1/heartbeats/ID"}


# -- Integrations, keys, signing in


def test_an_integration_that_fails_is_told(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    tab.open("#/integrations")
    tab.see("No notifications yet")

    tab.button("New integration").click()
    tab.field("Kind").select_option("webhook")
    tab.field("Name").fill("ops")
    tab.field("Address").fill("ftp://127.0.0.1/hook")
    tab.button("Add integration").click()
    tab.see("url must be an http or https address; credentials go into headers")
    tab.field("Address").fill("http://127.0.0.1:9/hook")
    tab.button("Add integration").click()
    tab.button("Send a test").click()
    tab.see("The test has failed")
    tab.see(re.compile("Connection refused"))
    ping(live, monitor, "/fail")
    tab.open(f"#/monitors/{monitor['id']}")
    tab.see(re.compile("ops: (on its way|will be tried again)"))
    tab.open("#/integrations")
    tab.page.locator(".menu > summary").click()
    tab.button("Switch off").click()
    tab.page.locator(".integration .badge").get_by_text("Off").wait_for()

    assert not live.ask("GET", "/integrations").json["integrations"][0]["enabled"]
    assert tab.problems == {"400 POST /api/v1/integrations"}


def test_a_command_is_shown_but_only_the_command_line_changes_it(tab: Tab, live: Live) -> None:
    command = 'cat >> "it\'s told.txt"'
    live.quick("integration", "add", "command", "the wall", command)

    tab.open("#/integrations")
    tab.page.get_by_text("Change it").click()
    tab.see("Only the command line can change what runs on the server")
    program(live.folder, "cronwatch", 'printf "%s|" "$@" >>words')
    bash(live.folder, tab.page.inner_text(".copyable code"))

    assert (live.folder / "words").read_text() == (
        f"integration|remove|the wall|integration|add|command|the wall|{command}|"
    )
    tab.page.locator(".menu > summary").click()
    assert tab.page.locator(".menu button").all_inner_texts() == ["Switch off"]
    assert tab.problems == set()


def test_what_cannot_be_delivered_is_a_red_banner(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "webhook", "ops", "http://127.0.0.1:9/hook")
    live.add("job")
    tab.row("job").wait_for()
    with closing(sqlite3.connect(live.database)) as db, db:
        db.execute("UPDATE integration SET failing = 1")  # as after the fourth failed try

    tab.see("Alerts do not arrive:")

    assert "ops cannot be reached." in tab.page.inner_text(".banner.bad")
    tab.page.get_by_role("link", name="Look at the integrations").click()
    tab.page.locator(".integration .badge").get_by_text("Failing").wait_for()
    assert tab.problems == set()


def test_a_key_is_shown_once_and_revoked(page: Tab, shared: Live) -> None:
    page.open("#/settings")

    page.page.get_by_text("New key").click()
    page.field("Name").fill("nas")
    page.field("Permission").select_option("read-only")
    page.button("Create key").click()
    page.see("The key nas")
    secret = page.page.locator(".arrived code").inner_text()
    assert shared.ask("GET", "/heartbeats", key=secret).status == 200
    page.page.reload()
    page.button("Delete nas").wait_for()
    assert secret not in page.text()
    page.button("Delete nas").click()
    page.page.locator("dialog").get_by_role("button", name="Delete").click()
    page.page.get_by_role("row", name="nas").wait_for(state="detached")

    assert shared.ask("GET", "/heartbeats", key=secret).status == 401
    assert page.problems == set()


def test_ones_own_password_is_changed_in_the_settings(page: Tab, shared: Live) -> None:
    sent: list[Any] = []

    def answer(route: Any) -> None:
        if route.request.method == "PATCH":
            sent.append(route.request.post_data_json)
            route.fulfill(json={})
        else:
            route.continue_()

    page.page.route("**/api/v1/session", answer)
    page.open("#/settings")
    page.page.get_by_text("Change the password").click()

    page.field("New password").fill("a new secret")
    page.button("Change it").click()
    page.see("The password is changed; your other sessions have ended")

    assert sent == [{"password": "a new secret"}]


def test_signing_in_and_out_with_a_password(browser: Any, live: Live) -> None:
    add_user(live)
    live.add("job")
    tab = Tab(browser, live)
    tab.open()

    tab.field("Name").fill(NAME)
    tab.field("Password").fill("wrong password")
    tab.button("Sign in").click()
    tab.see("Wrong name or password")
    tab.field("Password").fill(PASSWORD)
    tab.button("Sign in").click()
    tab.row("job").wait_for()
    tab.button("Sign out").click()
    tab.see("Sign in to see your monitors.")
    tab.page.reload()
    tab.see("Sign in to see your monitors.")

    tab.close()
    assert tab.problems == NOBODY | {"401 POST /api/v1/session"}


def test_a_session_that_ended_asks_again_and_goes_on(browser: Any, live: Live) -> None:
    add_user(live)
    with looking(browser, live) as tab:
        tab.open("#/new")
        tab.field("Name").fill("half written")
        tab.see("every day at 03:00")
        tab.button("Times: my zone").click()
        tab.button("Times: monitor’s zone").wait_for()

        tab.context.clear_cookies()
        tab.see("Your session has ended.")
        tab.field("Password").fill(PASSWORD)
        tab.button("Sign in").click()
        tab.page.locator("dialog").wait_for(state="detached")
        assert tab.field("Name").input_value() == "half written"
        tab.button("Create monitor").click()
        tab.see("Waiting for the first ping")

        assert tab.problems == NOBODY


def test_nobody_gets_around_signing_in(browser: Any, shared: Live) -> None:
    tab = Tab(browser, shared)
    tab.open()
    tab.see("Sign in to see your monitors.")
    assert found_by_axe(tab.page, axe_script()) == []

    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    tab.field("Name").fill("still here")

    tab.close()
    assert tab.problems == NOBODY


def test_who_came_by_a_link_is_offered_to_set_a_password(browser: Any, live: Live) -> None:
    link = live.quick("user", "link", NAME).strip()
    tab = Tab(browser, live)
    tab.open(link[link.index("#") :])
    tab.button("Sign in").click()

    tab.field("New password").fill(PASSWORD)
    tab.button("Set password").click()
    tab.see("From now on this password signs you in")

    answer = live.ask("POST", "/session", {"name": NAME, "password": PASSWORD})
    tab.close()
    assert (answer.status, tab.problems) == (201, set())


def test_a_link_that_is_pasted_into_the_tab_that_asks_signs_in(browser: Any, shared: Live) -> None:
    shared.add("job")
    link = shared.quick("user", "link", NAME).strip().rpartition("/")[2]
    tab = Tab(browser, shared)
    tab.open("#/activity")
    tab.see("Sign in to see your monitors.")

    tab.page.evaluate("link => { location.hash = `#/link/${link}`; }", link)
    tab.see("This link signs you in once")
    tab.button("Sign in").click()
    tab.page.get_by_role("heading", name="Activity").wait_for()

    assert tab.page.url.endswith("#/activity")
    tab.close()


def test_a_used_link_says_so(page: Tab, shared: Live) -> None:
    page.open("#/link/nonsense")
    page.button("Sign in").click()

    page.see("This link has been used or has expired")

    assert page.page.url == f"{shared.url}/#/"
    assert page.problems == {"401 POST /api/v1/session"}


def test_an_integration_is_one_row_and_edited_in_a_dialog(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "webhook", "ops", "http://127.0.0.1:9/hook")
    tab.open("#/integrations")
    row = tab.page.locator(".integration", has_text="ops")
    row.wait_for()
    shown = row.inner_text()

    tab.button("New integration").click()
    tab.page.locator("dialog form").wait_for()
    first = tab.page.evaluate("document.activeElement.dataset.name")
    example = str(tab.field("Address").get_attribute("placeholder"))
    tab.page.keyboard.press("Escape")
    tab.page.locator("dialog").wait_for(state="detached")
    assert tab.button("New integration").evaluate("node => node === document.activeElement")
    tab.page.locator(".menu > summary").click()
    tab.button("Edit").click()
    tab.field("Name").fill("night shift")
    tab.field("Headers").fill("X-Team: night")
    tab.button("Save").click()
    tab.page.locator(".integration", has_text="night shift").wait_for()

    assert ("Not used yet" in shown, "http://127.0.0.1:9/hook" in shown) == (True, True)
    assert (first, example.startswith("https://ntfy.sh/")) == ("channel", True)
    (after,) = live.ask("GET", "/integrations").json["integrations"]
    assert (after["name"], after["headers"]) == ("night shift", {"X-Team": "night"})
    assert tab.problems == set()


def test_a_server_that_starts_anew_is_noticed_and_found_again(
    browser: Any, tmp_path: Path
) -> None:
    with serving(tmp_path, *FLAGS) as first, looking(browser, first) as tab:
        first.add("job")
        tab.row("job").wait_for()
        first.stop(signal.SIGTERM)
        tab.see("Reconnecting…")
        assert tab.problems == {f"{AWAY} GET /api/v1/summary"}
        tab.row("job").get_by_role("link").click()
        tab.see("This did not work")

        with serving(tmp_path, *FLAGS, listen=first.url.removeprefix("http://")) as second:
            tab.see("Waiting for the first ping")  # what it was away for
            second.add("after")
            tab.open()
            tab.row("after").wait_for()
            tab.see_not("Reconnecting…")

        assert {one.partition(" ")[0] for one in tab.problems} <= {AWAY, "console:"}


# -- On the wall


def test_the_page_on_the_wall_shows_names_states_strips_and_uptime(
    browser: Any, busy: Live
) -> None:
    answer = {
        "tag": "home",
        "at": "2026-03-02T12:00:00.000Z",
        "monitors": [
            {
                "name": NASTY,
                "state": "down",
                "since": "2026-03-02T11:00:00.000Z",
                "uptime": 0.5,
                "strip": [[1_772_452_800_000, None, "failed"]],
            }
        ],
    }
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    html = (STATIC / "status.html").read_text()
    page.route("**/status/home", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.route("**/api/v1/status/home", lambda route: route.fulfill(json=answer))
    page.goto(f"{busy.url}/status/home")

    page.get_by_text("1 down").wait_for()

    shown = page.inner_text("main")
    assert NASTY in shown
    assert "50.0 %" in shown
    assert page.locator("img").count() == 0
    assert found_by_axe(page, axe_script()) == []
    context.close()


# -- Text is text, everybody can use it, it is small


@pytest.fixture
def nasty(live: Live) -> dict[str, Any]:
    """A monitor, and all beside it, with hostile text wherever somebody may write one."""
    said = quote(NASTY)
    broken = f"echo {shlex.quote(NASTY)}; exit 1"
    live.quick("integration", "add", "webhook", NASTY, "http://127.0.0.1:9/<img>")
    live.quick("integration", "add", "command", f"command {NASTY}", broken)
    live.quick("key", "create", NASTY)
    add_user(live, NASTY)
    monitor = live.add(NASTY, tags="<b>tag</b>", notes=f"notes {NASTY}")
    DIRECT.open(
        f"{live.url}/{monitor['code']}/run?host={said}&series={said}&msg={said}&env={said}"
    ).close()
    DIRECT.open(f"{live.url}/{monitor['code']}/progress/10?msg={said}&series={said}").close()
    sent = urllib.request.Request(
        f"{live.url}/api/v1/ping/{monitor['id']}/fail",
        json.dumps(
            {
                "runId": NASTY,
                "meta": {NASTY: 7, "rows": NASTY},
                "errorMessage": NASTY,
                "logOutput": f"log {NASTY}",
            }
        ).encode(),
        {"X-API-Key": live.key, "Content-Type": "application/json", "User-Agent": NASTY},
    )
    DIRECT.open(sent).close()
    wait_for(
        lambda: any(
            NASTY in (sent["result"] or "")
            for event in live.events(NASTY)
            for sent in event["deliveries"]
        ),
        "a try of the command",
    )
    with closing(sqlite3.connect(live.database)) as db, db:
        db.execute("UPDATE integration SET failing = 1")
    return monitor


def test_what_others_wrote_is_shown_as_text(tab: Tab, live: Live, nasty: dict[str, Any]) -> None:
    address = f"#/monitors/{nasty['id']}"
    run = live.runs(NASTY)[-1]["num"]

    for page in (
        "#/",
        address,
        f"{address}/runs/{run}",
        f"{address}/edit",
        "#/integrations",
        "#/settings",
        "#/activity",
        f"{address}/pause/1",
    ):
        visit(tab, page)
        for place in ("main", ".banner"):
            tab.page.locator(place).get_by_text(NASTY).locator("visible=true").first.wait_for()
        assert tab.page.locator("body img, body script, main b b, dialog b b").count() == 0
    tab.open(address)
    tab.page.locator(".delivery", has_text=NASTY).nth(1).wait_for()
    tab.menu("Send a test alert")
    tab.page.locator("dialog").get_by_text(NASTY).nth(1).wait_for()
    assert tab.page.locator("body img, body script").count() == 0

    assert "cronwatch" in tab.page.title()
    assert tab.problems == set()


def test_what_a_run_told_is_shown_as_text(tab: Tab, live: Live, nasty: dict[str, Any]) -> None:
    first, last = (live.runs(NASTY)[place]["num"] for place in (0, -1))
    shown: dict[str, str] = {}
    for run, last_part in ((first, ".steps"), (last, ".log")):
        tab.open(f"#/monitors/{nasty['id']}/runs/{run}")
        dialog = tab.page.locator("dialog")
        shown[last_part] = dialog.locator(last_part).inner_text()
        shown.update(
            zip(
                dialog.locator("dt").all_inner_texts(),
                dialog.locator("dd").all_inner_texts(),
                strict=True,
            )
        )
        assert dialog.locator("img, script").count() == 0

    assert [shown[name] for name in ("Host", "Message", "Its own id", NASTY[:50], ".log")] == [
        NASTY,
        NASTY,
        NASTY,
        "7",
        f"log {NASTY}",
    ]
    assert shown[".steps"].endswith(f"10 % · {NASTY}")
    assert tab.problems == set()


@pytest.fixture(scope="module")
def busy(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with monitors in every state, and an integration that does not work."""
    with serving(tmp_path_factory.mktemp("busy"), *FLAGS) as live:
        live.quick("integration", "add", "webhook", "ops", "http://127.0.0.1:9/hook")
        live.quick("integration", "add", "command", "wall", "cat >> told.txt")
        down = live.add("down-" + "x" * 60, tags="prod nightly")
        ping(live, down, "/start")
        ping(live, down, "/2", "a line of output " * 20)
        each_second = {"scheduleType": "cron", "cronExpression": "* * * * * *"}
        ping(live, live.add("silent", **each_second, graceSeconds=0))
        ping(live, live.add("late", **each_second, graceSeconds=3600))
        rule = {"field": "rows", "operator": "lt", "value": 1}
        empty = live.add("empty", rules=[rule])
        DIRECT.open(f"{live.url}/{empty['code']}/complete?metric=rows:0").close()
        running = live.add("running", maxRunSeconds=3600, notes="What it does: much.")
        ping(live, running, "/start")
        ping(live, running)
        ping(live, running, "/start")
        beat(live, running, "progress/55?msg=more+than+half")
        ping(live, live.add("well", tags="home"))
        live.add("fresh")
        live.ask("POST", f"/heartbeats/{live.add('paused')['id']}/pause", {"hours": 5})
        # What is silent is late for a moment before it is down.
        wait_for(lambda: live.monitor("silent")["status"] == "down", "the silent one is down")
        wait_for(lambda: live.monitor("late")["late"], "the late one is late")
        yield live


PAGES = (
    "#/",
    "#/?q=none",
    "#/new",
    "#/monitors/down",
    "#/monitors/running",
    "#/monitors/running/edit",
    "#/monitors/running/runs/RUN",
    "#/monitors/fresh",
    "#/monitors/well/pause/8",
    "#/integrations",
    "#/settings",
    "#/activity",
    "#/nothing",
)


WHOLE = (  # a page, and what is there once all of it is
    (r"#/monitors/[^/]+/runs/.*", "dialog .facts"),
    (r"#/monitors/[^/]+/edit", ".preview b"),
    (r"#/monitors/[^/]+/pause/.*", "main form"),
    (r"#/monitors/[^/]+", ".part-log .card"),
    (r"#/new", ".preview b"),
    (r"#/integrations", ".integration"),
    (r"#/settings", "#server dl"),
    (r"#/activity", ".activity"),
    (r"#/nothing", "main h1"),
    (r"#/.*", ".timeline path.bar"),
)


def visit(tab: Tab, page: str) -> None:
    """Open a page, and wait for all of it."""
    tab.open(page)
    place = next(place for form, place in WHOLE if re.fullmatch(form, page))
    tab.page.locator(place).first.wait_for(state="attached")


def visit_busy(tab: Tab, page: str) -> None:
    """The same with the server's own monitor and run in the address."""
    down = next(
        m
        for m in tab.live.ask("GET", "/heartbeats").json["heartbeats"]
        if m["key"].startswith("down-")
    )
    run = str(tab.live.runs("running")[-1]["num"])
    visit(tab, page.replace("monitors/down", f"monitors/{down['id']}").replace("RUN", run))


SELECT = ("button:text-is('Select')", ".tools .pick input")
DIALOGS = (  # and other states of a page: what leads there
    ("new integration", "#/integrations", ("button:text-is('New integration')",)),
    (
        "a refusal",
        "#/integrations",
        ("button:text-is('New integration')", "dialog button:text-is('Add integration')"),
    ),
    ("a test that failed", "#/integrations", ("button:text-is('Send a test')",)),
    ("a menu of an integration", "#/integrations", (".menu > summary",)),
    ("the night as a table", "#/", ("text=As a table",)),
    ("selected", "#/", SELECT),
    ("pause many", "#/", (*SELECT, ".bulk button:text-is('Pause')")),
    ("tag many", "#/", (*SELECT, ".bulk button:text-is('Tag')")),
    ("delete many", "#/", (*SELECT, ".bulk button:text-is('Delete')")),
    ("menu", "#/monitors/down", (".head .menu > summary",)),
    ("delete", "#/monitors/down", (".head .menu > summary", ".menu button:text-is('Delete')")),
    ("lines", "#/monitors/well", ("summary:text-is('How to ping')",)),
    ("handles", "#/monitors/well", ("summary:text-is('Handles')",)),
    ("password", "#/settings", ("summary:text-is('Change the password')",)),
    (
        "a key",
        "#/settings",
        ("summary:text-is('New key')", "button:text-is('Create key')"),
    ),
)


# Wherever one can get to: a name, a page, and the clicks from there.
PLACES = [*((page, page, ()) for page in PAGES), *DIALOGS]


@pytest.fixture(scope="module")
def walker(browser: Any, busy: Live) -> Iterator[Tab]:
    """Somebody who goes from place to place in one tab."""
    with looking(browser, busy, alone=True, media={"reduced_motion": "reduce"}) as seen:
        yield seen


@pytest.mark.parametrize(
    "page, clicks", [pytest.param(*place, id=name) for name, *place in PLACES]
)
def test_everybody_can_use_every_place(walker: Tab, page: str, clicks: tuple[str, ...]) -> None:
    walker.resize(DESK)
    walker.page.emulate_media(color_scheme="light")
    visit_busy(walker, page)
    for button in clicks:
        walker.page.locator(button).first.click()
    if "Send a test" in "".join(clicks):
        walker.see("The test has failed")

    light = found_by_axe(walker.page, axe_script())
    walker.page.emulate_media(color_scheme="dark")
    dark = found_by_axe(walker.page, "", "color-contrast")
    walker.resize(PHONE)
    width = walker.page.evaluate("""Math.max(document.documentElement.scrollWidth,
        ...Array.from(document.querySelectorAll("dialog"),
                      box => box.getBoundingClientRect().left + box.scrollWidth))""")

    assert (light, dark) == ([], [])
    assert width <= PHONE["width"], "it scrolls sideways on a phone"
    assert walker.problems <= {"400 POST /api/v1/integrations", "400 POST /api/v1/keys"}


@pytest.mark.parametrize(
    "page", ["#/", "#/monitors/down", "#/monitors/running/edit", "#/settings"]
)
def test_the_focus_is_seen_wherever_the_tabulator_leads(
    browser: Any, busy: Live, page: str
) -> None:
    with looking(browser, busy) as tab:
        visit_busy(tab, page)
        unseen, steps = [], 0
        while tab.page.evaluate("document.activeElement !== document.body") or not steps:
            tab.page.keyboard.press("Tab")
            steps += 1
            unseen += tab.page.evaluate("""() => {
                const node = document.activeElement;
                const ring = node.type === "radio" ? node.nextElementSibling : node;
                return node === document.body || getComputedStyle(ring).outlineStyle !== "none"
                    ? [] : [node.outerHTML];
            }""")

        assert (unseen, steps > 10) == ([], True)


@pytest.mark.parametrize("motion, moves", [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_who_wants_no_motion(
    browser: Any, busy: Live, motion: str, moves: bool
) -> None:
    with looking(browser, busy, media={"reduced_motion": motion}) as tab:
        visit(tab, "#/")
        tab.see_state("running", "Running")

        assert (tab.page.evaluate("document.getAnimations().length") > 0) == moves


def test_no_inline_script_or_style_and_nothing_of_others() -> None:
    page = (STATIC / "index.html").read_text()

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|https?://", page)


def test_no_module_makes_elements_of_text() -> None:
    code = "".join(path.read_text() for path in STATIC.glob("*.js"))

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)


def test_the_first_screen_loads_at_most_120_kilobytes(screen: Tab) -> None:
    session = screen.context.new_cdp_session(screen.page)
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: dict[str, int] = {}
    screen.page.on(
        "response", lambda reply: sizes.update({reply.url: len(reply.body())} if reply.ok else {})
    )

    screen.open()
    screen.page.locator(".timeline path.bar").first.wait_for(state="attached")
    screen.page.wait_for_load_state("networkidle")
    files = {url.rpartition("/")[2] for url in sizes}
    screen.page.get_by_role("link", name="Activity").click()
    screen.page.get_by_role("heading", name="Activity").wait_for()

    assert (len(files) >= 10, "activity.js" in files) == (True, False)
    assert sum(size for url, size in sizes.items() if url.rpartition("/")[2] in files) < MOST_BYTES
    assert any(url.endswith("activity.js") for url in sizes)  # when it is opened


def test_the_page_works_below_a_path(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path, *FLAGS, "--url-prefix", "/cw") as live:
        link = live.quick("user", "link", NAME).strip().rpartition("/")[2]
        tab = Tab(browser, live)
        tab.page.goto(f"{live.url}/cw#/link/{link}")  # without its slash
        tab.button("Sign in").click()
        tab.see("Set a password?")
        tab.page.keyboard.press("Escape")
        tab.see("Know when a job stops running")
        tab.field("Name").fill("Backup")
        tab.button("Create monitor").click()
        tab.see("Waiting for the first ping…")
        (shown,) = live.ask("GET", "/heartbeats").json["heartbeats"]
        tab.close()

    assert (tab.page.url.startswith(f"{live.url}/cw/#/"), tab.problems) == (True, set())
    assert shown["pingUrl"] == f"{live.url}/cw/{shown['token']}"

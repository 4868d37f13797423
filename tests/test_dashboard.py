"""The dashboard as people use it: a real browser, a real server, and nothing untoward in either.

What somebody does step by step is in flows/, whose README.md says how it is written; here is what
plays it, and what takes more than steps. Each ends with what the browser had to complain about,
which is nothing but what the test itself brings about: a refusal that is shown, a server that is
away.
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
from collections.abc import Callable, Iterator
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
    PHONE,
    Tab,
    add_user,
    chromium,
    looking,
    violations,
)
from conftest import read_headings, read_table
from live_server import DIRECT, Live, bash, program, serving, wait_for

import cronwatch

pytestmark = pytest.mark.slow

STATIC = cronwatch.DATA / "static"
MOST_BYTES = 120_000
FLAGS = ("--scan-seconds", "0.2")
NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;"\'`${1}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


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
    with looking(browser, shared) as tab:
        yield tab


@pytest.fixture
def screen(browser: Any, busy: Live) -> Iterator[Tab]:
    """Somebody looks at the first screen of a server with monitors in every state."""
    with looking(browser, busy) as tab:
        yield tab


@pytest.fixture
def tab(browser: Any, live: Live) -> Iterator[Tab]:
    """Somebody is signed in at a server of the test's own."""
    with looking(browser, live) as tab:
        yield tab


@pytest.fixture
def timed(browser: Any, live: Live) -> Iterator[Tab]:
    """Somebody with a clock to set, which is the clock of all pages of a context."""
    with looking(browser, live, alone=True) as tab:
        yield tab


def send(live: Live, path: str, body: str = "") -> None:
    """A ping, with a body or without."""
    with DIRECT.open(live.url + path, body.encode() or None) as reply:
        assert reply.status == 200


def ping(live: Live, monitor: dict[str, Any], word: str = "", body: str = "") -> None:
    """Ping a monitor in Healthchecks' words, with an output."""
    send(live, f"/ping/{monitor['token']}{word}", body)


# -- Flows


PLACEHOLDER = re.compile(r"\{([\w-]+)\.(\w+)\}")
TEXTS = """(nodes, regex) => {
    const texts = nodes.map(node => (node.innerText ?? node.textContent).trim());
    return texts.join(" ¦ ").replace(/\\s+/g, " ").trim();
}"""


class Flow:
    """Plays the steps of a flow: each verb of its language is a method, which gets the rest of the
    line."""

    tab: Tab

    def __init__(self, live: Live) -> None:
        self.live = live
        self.expected_problems = set[str]()

    def play(self, line: str) -> None:
        ((times, verb, rest),) = re.findall(r"^(?:(\d+)x )?(\w+) ?(.*)$", line)
        text = PLACEHOLDER.sub(lambda part: str(self.live.monitor(part[1])[part[2]]), rest)
        if "{link}" in text:
            link = self.live.quick("user", "link", NAME).strip()
            text = text.replace("{link}", link[link.index("#") :])
        for _ in range(int(times or 1)):
            getattr(self, verb)(text.replace("{url}", self.live.url).replace(r"\n", "\n"))

    # what happens at the server

    def monitor(self, rest: str) -> None:
        key, _, fields = rest.partition(" ")
        self.live.add(key, **json.loads(fields or "{}"))

    def ping(self, rest: str) -> None:
        target, _, body = rest.partition(" ")
        key, slash, word = target.partition("/")
        ping(self.live, self.live.monitor(key), slash + word, body)

    def send(self, path: str) -> None:
        send(self.live, path)

    def user(self, _: str) -> None:
        add_user(self.live)

    def cli(self, words: str) -> None:
        self.live.quick(*shlex.split(words))

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.live.database, timeout=20)) as db, db:
            db.execute(statement)

    def api(self, rest: str) -> None:
        method, path, given = rest.split(" ", 2)
        assert self.live.ask(method, path, json.loads(given)).status < 300

    # what somebody does

    def open(self, address: str) -> None:
        self.tab.open(address)

    def show(self, key: str) -> None:
        self.tab.open(f"#/monitors/{self.live.monitor(key)['id']}")
        self.tab.page.locator(".part-log .card").wait_for()

    def reload(self, _: str) -> None:
        self.tab.page.reload()

    def go(self, address: str) -> None:
        self.tab.page.evaluate("address => { location.hash = address; }", address)

    def forget(self, _: str) -> None:
        self.tab.context.clear_cookies()

    def click(self, name: str) -> None:
        quoted = json.dumps(name)
        by_text = self.tab.page.locator(f":is(a, summary, label span):text-is({quoted})")
        by_label = self.tab.page.locator(f"summary[aria-label={quoted}]")
        named = self.tab.button(name).or_(by_text).or_(by_label)
        named.locator("visible=true").last.click()

    def tap(self, selector: str) -> None:
        self.tab.page.locator(selector).click()

    def fill(self, rest: str) -> None:
        label, text = halves(rest)
        self.tab.field(label).last.fill(text)

    def choose(self, rest: str) -> None:
        label, option = halves(rest)
        self.tab.field(label).last.select_option(option)

    def pick(self, rest: str) -> None:
        selector, option = halves(rest)
        self.tab.page.locator(selector).select_option(option)

    def check(self, label: str) -> None:
        self.tab.field(label).check()

    def keys(self, names: str) -> None:
        for name in names.split(" "):
            self.tab.page.keyboard.press(name)

    def focus(self, selector: str) -> None:
        self.tab.page.locator(selector).focus()

    def mark(self, selector: str) -> None:
        self.tab.page.locator(selector).evaluate("node => { node.mark = 1; }")

    # what is to be seen then

    def see(self, text: str) -> None:
        self.tab.see(re.compile(text[1:-1]) if text.startswith("/") else text)

    def unseen(self, text: str) -> None:
        self.tab.see_not(text)

    def row(self, rest: str) -> None:
        name, text = halves(rest)
        row = self.tab.row(name)
        (row.get_by_text(text).first if text else row).wait_for()

    def unlisted(self, name: str) -> None:
        self.tab.row(name).wait_for(state="detached")

    def state(self, rest: str) -> None:
        self.tab.see_state(*halves(rest))

    def has(self, rest: str) -> None:
        selector, text = halves(rest)
        self.until(lambda: self.tab.page.locator(selector).evaluate_all(TEXTS), text)

    def count(self, rest: str) -> None:
        selector, _, number = rest.rpartition(" = ")
        self.until(lambda: str(self.tab.page.locator(selector).count()), number)

    def value(self, rest: str) -> None:
        label, text = halves(rest)
        self.until(self.tab.field(label).last.input_value, text)

    def title(self, text: str) -> None:
        self.until(self.tab.page.title, text)

    def at(self, address: str) -> None:
        self.until(lambda: self.tab.page.url, address)

    def until(self, ask: Callable[[], str], text: str) -> None:
        """Wait for a text, or for one in which a regular expression is found."""
        pattern = text[1:-1] if text.startswith("/") else f"^{re.escape(text)}$"
        wait_for(lambda: re.search(pattern, ask()), text)

    def marked(self, selector: str) -> None:
        assert self.tab.page.locator(selector).evaluate("node => node.mark") == 1

    def stored(self, rest: str) -> None:
        name, _, value = rest.rpartition(" = ")
        key, _, field = name.partition(".")
        wait_for(lambda: self.seen(key, field) == json.loads(value), rest)

    def seen(self, key: str, field: str) -> Any:
        monitor = self.live.monitor(key)
        return monitor[field] if field else monitor

    def finds(self, rest: str) -> None:
        sql, _, value = rest.rpartition(" = ")
        wait_for(
            lambda: [[*row.values()] for row in self.live.rows(sql)] == [[json.loads(value)]], rest
        )

    def axe(self, _: str) -> None:
        assert violations(self.tab.page) == []

    def problems(self, texts: str) -> None:
        self.expected_problems = set(texts.split("; "))


def halves(rest: str) -> tuple[str, str]:
    """What stands before an equals sign and after it, which may be nothing."""
    first, _, second = rest.partition(" =")
    return first, second.removeprefix(" ")


def read_flows() -> Iterator[Any]:
    """Each flow: where it happens, and its steps."""
    for file in sorted((Path(__file__).parent / "flows").glob("[a-z]*.txt")):
        for part in re.split(r"^## ", file.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            heading, *lines = part.splitlines()
            title, _, place = heading.partition(" [")
            steps = [line for line in lines if line and not line.startswith("#")]
            yield pytest.param(place.rstrip("]"), steps, id=f"{file.stem}: {title}")


@pytest.mark.parametrize("place, steps", list(read_flows()))
def test_a_flow_goes_as_it_says(
    request: pytest.FixtureRequest, browser: Any, place: str, steps: list[str]
) -> None:
    server, _, _ = place.partition("stranger")
    live = request.getfixturevalue({"own": "live", "busy": "busy"}.get(server.strip(), "shared"))
    with looking(browser, live, signed_in="stranger" not in place) as tab:
        flow = Flow(live)
        flow.tab = tab

        for step in steps:
            flow.play(step)

        assert tab.problems == flow.expected_problems


# -- How to ping


LINES = {
    label: (start, kinds)
    for label, start, kinds in read_table(
        "dashboard", "The lines of a dialect begin so, and send these pings"
    )
}


@pytest.fixture(scope="module")
def lines(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """The page of a monitor that has not been pinged."""
    with (
        serving(tmp_path_factory.mktemp("lines")) as live,
        looking(browser, live, alone=True) as tab,
    ):
        live.add("nightly", scheduleType="cron", cronExpression="30 4 * * *")
        tab.open("#/monitors/nightly")
        tab.see("Waiting for the first ping")
        yield tab


def test_the_lines_of_all_dialects_are_there_the_wrappers_first(lines: Tab) -> None:
    assert lines.page.locator(".radio").all_inner_texts() == list(LINES)


@pytest.mark.parametrize("label", LINES)
def test_the_lines_ping_as_they_say(lines: Tab, label: str) -> None:
    if label == "Node" and not shutil.which("node"):
        pytest.skip("there is no node here: apt-get install nodejs")
    live, (start, kinds) = lines.live, LINES[label]
    lines.open("#/monitors/nightly")
    lines.page.locator(".radio").last.wait_for(state="attached")
    lines.page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    before = len(live.pings("nightly"))

    lines.page.locator(".radio").get_by_text(label, exact=True).click()
    text = lines.page.inner_text(".lines-out code")
    if kinds:  # cronwatch-exec is tried in its own tests
        bash(live.folder, as_script(label, text.replace("API_KEY", live.key)))

    assert start.format(url=live.url, **live.monitor("nightly")) in text
    assert " ".join(ping["kind"] for ping in live.pings("nightly")[before:]) == kinds
    assert lines.problems == set()


def as_script(label: str, text: str) -> str:
    """Lines of the page as a script of a job that fails, in Python and Node of one that works."""
    if label == "crontab":
        text = re.sub(r"^(\S+ ){5} ", "", text)
    if label == "systemd unit":
        parts = re.findall(r"^Exec\w+=-?(.*)$", text, re.MULTILINE)
        text = "\n".join(["export SERVICE_RESULT=exit-code", *parts]).replace("$$", "$")
    if label == "Python":
        return f"{sys.executable} - >&2 <<'END'\njob = list\n{text}\nEND\n"
    if label == "Node":
        return f"node --input-type=module >&2 <<'END'\nconst job = () => {{}};\n{text}\nEND\n"
    return text.replace("/path/to/job", "false")


def test_lines_are_copied_without_https_too(browser: Any, shared: Live) -> None:
    monitor = shared.add("copied")
    there = replace(shared, url=shared.url.replace("127.0.0.1", ELSEWHERE))
    with looking(browser, there) as tab:
        tab.open("#/monitors/copied")
        tab.see("Waiting for the first ping")
        assert not tab.page.evaluate("isSecureContext")

        tab.button("Copy").click()
        tab.see("Copied")
        tab.open("#/monitors/copied/edit")
        tab.field("Notes").focus()
        tab.page.keyboard.press("Control+V")

        line = f"cronwatch-exec {there.url}/{monitor['token']} -- /path/to/job"
        assert line in tab.field("Notes").input_value()
        assert tab.problems == set()


def test_what_cannot_be_copied_is_selected(page: Tab, shared: Live) -> None:
    shared.add("uncopied")
    page.page.add_init_script("""
        delete Navigator.prototype.clipboard;
        document.execCommand = () => false;""")
    page.open("#/monitors/uncopied")

    page.button("Copy").click()
    page.see("It is selected: copy it with Ctrl+C")

    assert page.page.evaluate("String(getSelection())") == page.page.inner_text(".lines-out code")
    assert page.problems == set()


# -- The first screen


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

    for text in (r"^(now|\d s ago)$", "due in (59 min|1 h)"):
        timed.row("job").get_by_text(re.compile(text)).wait_for()
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
        monitors = [
            (number + 1, str(uuid.UUID(int=number)), f"job-{number}", f"Job {number:04}", now)
            for number in range(1000)
        ]
        starts = [
            (number + 1, now - back * 2_700_000) for number in range(200) for back in range(30)
        ]
        with closing(sqlite3.connect(live.database, timeout=20)) as db, db:
            db.executemany(
                "INSERT INTO monitor (num, id, key, name, created_at, updated_at, status, "
                "interval_seconds, expected_at, due_at) "
                "VALUES (?1, ?2, ?3, ?4, 0, 0, 'up', 3600, ?5 + 3600000, ?5 + 3900000)",
                monitors,
            )
            db.executemany(
                "INSERT INTO run (monitor, state, started_at, ended_at, opened, awaited, "
                "duration_ms) VALUES (?1, 'success', ?2, ?2 + 60000, 1, 0, 60000)",
                starts,
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


# -- A monitor, an integration, a key


def test_a_log_is_saved_as_a_file(page: Tab, shared: Live) -> None:
    ping(shared, shared.add("saved"), "/3", "first\n" * 99 + "disk full")
    page.open("#/monitors/saved")
    page.page.get_by_role("link", name="Whole log").click()

    with page.page.expect_download() as download:
        page.button("Download").click()

    assert download.value.path().read_text() == "first\n" * 99 + "disk full"
    assert page.problems == set()


def test_times_read_today_yesterday_and_a_date(page: Tab) -> None:
    words = page.page.evaluate("""async () => {
        const { stamp } = await import("./static/dom.js");
        const day = 86400000, noon = new Date().setHours(12, 0, 0, 0);
        return [0, -1, 1, -9].map(days => stamp(noon + days * day));
    }""")

    assert words[:3] == ["Today 12:00", "Yesterday 12:00", "Tomorrow 12:00"]
    assert re.fullmatch(r"\w{3} \d+ \w{3}( \d{4})? 12:00", words[3])


def test_an_edit_sends_only_what_was_touched(page: Tab, shared: Live) -> None:
    shared.add("touched", tags="old", graceSeconds=77)
    page.open("#/monitors/touched/edit")

    page.field("Tags").fill("old new")
    with page.page.expect_request(lambda request: request.method == "PATCH") as sent:
        page.button("Save").click()
    page.see("Details")

    assert sent.value.post_data_json == {"tags": "old new"}
    assert page.problems == set()


def test_a_command_is_shown_but_only_the_command_line_changes_it(tab: Tab, live: Live) -> None:
    command = 'cat >> "it\'s told.txt"'
    live.quick("integration", "add", "command", "the wall", command)
    program(live.folder, "cronwatch", 'printf "%s|" "$@" >>words')

    tab.open("#/integrations")
    tab.page.get_by_text("Change it").click()
    tab.see("Only the command line can change what runs on the server")
    bash(live.folder, tab.page.inner_text(".copyable code"))
    tab.page.locator(".menu > summary").click()

    assert tab.page.locator(".menu button").all_inner_texts() == ["Switch off"]
    assert tab.problems == set()
    assert (live.folder / "words").read_text() == (
        f"integration|remove|the wall|integration|add|command|the wall|{command}|"
    )


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
    browser: Any, shared: Live
) -> None:
    at = "2026-03-02T12:00:00.000Z"
    strip = [[1_772_452_800_000, None, "failed"]]
    down = {"name": NASTY, "state": "down", "since": at, "uptime": 0.5, "strip": strip}
    answer = {"tag": "home", "at": at, "monitors": [down]}
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    html = (STATIC / "status.html").read_text()
    page.route("**/status/home", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.route("**/api/v1/status/home", lambda route: route.fulfill(json=answer))
    page.goto(f"{shared.url}/status/home")

    page.get_by_text("1 down").wait_for()

    shown = page.inner_text("main")
    assert NASTY in shown
    assert "50.0 %" in shown
    assert page.locator("img").count() == 0
    assert violations(page) == []
    context.close()


# -- Text is text, everybody can use it, it is small


def results(live: Live) -> str:
    """How the tries of integrations ended."""
    tries = [one for event in live.events(NASTY) for one in event["deliveries"]]
    return " ".join(str(one["result"]) for one in tries)


@pytest.fixture
def nasty(tab: Tab, live: Live) -> Tab:
    """A monitor, and all beside it, with hostile text wherever somebody may write one."""
    live.quick("integration", "add", "webhook", NASTY, "http://127.0.0.1:9/<img>")
    broken = f"echo {shlex.quote(NASTY)}; exit 1"
    live.quick("integration", "add", "command", f"command {NASTY}", broken)
    live.quick("key", "create", NASTY)
    add_user(live, NASTY)
    monitor = live.add(NASTY, tags="<b>tag</b>", notes=f"notes {NASTY}")
    text = quote(NASTY)
    send(live, f"/{monitor['code']}/run?host={text}&series={text}&msg={text}&env={text}")
    send(live, f"/{monitor['code']}/progress/10?msg={text}&series={text}")
    body = {
        "runId": NASTY,
        "meta": {NASTY: 7, "rows": NASTY},
        "errorMessage": NASTY,
        "logOutput": f"log {NASTY}",
    }
    headers = {"X-API-Key": live.key, "Content-Type": "application/json", "User-Agent": NASTY}
    url = f"{live.url}/api/v1/ping/{monitor['id']}/fail"
    DIRECT.open(urllib.request.Request(url, json.dumps(body).encode(), headers)).close()
    wait_for(lambda: NASTY in results(live), "a try of the command")
    with closing(sqlite3.connect(live.database)) as db, db:
        db.execute("UPDATE integration SET failing = 1")
    return tab


def test_what_others_wrote_is_shown_as_text(nasty: Tab, live: Live) -> None:
    address = f"#/monitors/{live.monitor(NASTY)['id']}"
    run = live.runs(NASTY)[-1]["num"]
    below = ("", f"/runs/{run}", "/edit", "/pause/1")
    others = ("#/", "#/integrations", "#/settings", "#/activity")

    for page in (*others, *(address + path for path in below)):
        visit(nasty, page)
        for place in ("main", ".banner"):
            nasty.page.locator(place).get_by_text(NASTY).locator("visible=true").first.wait_for()
        assert nasty.page.locator("body img, body script, main b b, dialog b b").count() == 0
    nasty.open(address)
    nasty.page.locator(".delivery", has_text=NASTY).nth(1).wait_for()
    nasty.menu("Send a test alert")
    nasty.page.locator("dialog").get_by_text(NASTY).nth(1).wait_for()
    assert nasty.page.locator("body img, body script").count() == 0

    assert "cronwatch" in nasty.page.title()
    assert nasty.problems == set()


def test_what_a_run_told_is_shown_as_text(nasty: Tab, live: Live) -> None:
    dialog = nasty.page.locator("dialog")
    texts: dict[str, str] = {}
    for place, last_part in ((0, ".steps"), (-1, ".log")):
        run = live.runs(NASTY)[place]["num"]
        nasty.open(f"#/monitors/{live.monitor(NASTY)['id']}/runs/{run}")
        texts[last_part] = dialog.locator(last_part).inner_text()
        names, values = (dialog.locator(name).all_inner_texts() for name in ("dt", "dd"))
        texts.update(zip(names, values, strict=True))
        assert dialog.locator("img, script").count() == 0

    assert [texts[name] for name in ("Host", "Message", "Its own id")] == [NASTY] * 3
    assert (texts[NASTY[:50]], texts[".log"]) == ("7", f"log {NASTY}")
    assert texts[".steps"].endswith(f"10 % · {NASTY}")
    assert nasty.problems == set()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with monitors in every state, and an integration that does not work."""
    with serving(tmp_path_factory.mktemp("busy"), *FLAGS) as live:
        for step in read_headings("dashboard")[
            "A server with monitors in every state"
        ].splitlines():
            Flow(live).play(step)
        yield live


WHOLE = read_table("dashboard", "Where a page is all there")
PLACES = read_table("dashboard", "Places: a page, and the clicks from there")


def visit(tab: Tab, page: str) -> None:
    """Open a page, and wait for all of it."""
    tab.open(page)
    place = next(place for form, place in WHOLE if re.fullmatch(form, page))
    tab.page.locator(place).first.wait_for(state="attached")


@pytest.fixture(scope="module")
def walker(browser: Any, busy: Live) -> Iterator[Tab]:
    """Somebody who goes from place to place in one tab."""
    with looking(browser, busy, alone=True, media={"reduced_motion": "reduce"}) as tab:
        yield tab


@pytest.mark.parametrize("place", PLACES, ids="".join)
def test_everybody_can_use_every_place(walker: Tab, place: str | list[str]) -> None:
    page, *clicks = [place] if isinstance(place, str) else place
    walker.resize(DESK)
    walker.page.emulate_media(color_scheme="light")
    visit(walker, page)
    for button in clicks:
        walker.page.locator(button).first.click()
    if "Send a test" in "".join(clicks):
        walker.see("The test has failed")

    light = violations(walker.page)
    walker.page.emulate_media(color_scheme="dark")
    dark = violations(walker.page, "color-contrast")
    walker.resize(PHONE)

    def width() -> int:
        found: int = walker.page.evaluate("""Math.max(document.documentElement.scrollWidth,
            ...Array.from(document.querySelectorAll("dialog"),
                          box => box.getBoundingClientRect().left + box.scrollWidth))""")
        return found

    assert (light, dark) == ([], [])
    wait_for(lambda: width() <= PHONE["width"], "no scrolling sideways on a phone")
    assert walker.problems <= {"400 POST /api/v1/integrations", "400 POST /api/v1/keys"}


@pytest.mark.parametrize(
    "page", ["#/", "#/monitors/down", "#/monitors/running/edit", "#/settings"]
)
def test_the_focus_is_seen_wherever_the_tabulator_leads(
    browser: Any, busy: Live, page: str
) -> None:
    with looking(browser, busy) as tab:
        visit(tab, page)
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

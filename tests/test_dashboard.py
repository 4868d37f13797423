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
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import (
    AWAY,
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
MOST_BYTES, LOADED = 120_000, (".html", ".css", ".js", ".svg")
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


@pytest.fixture
def tab(browser: Any, live: Live) -> Iterator[Tab]:
    """Somebody is signed in."""
    with looking(browser, live) as seen:
        yield seen


def ping(live: Live, monitor: dict[str, Any], path: str = "", body: str = "") -> None:
    """Ping a monitor in Healthchecks' words, with an output."""
    url = f"{live.url}/ping/{monitor['token']}{path}"
    with DIRECT.open(url, body.encode() or None) as reply:
        assert reply.status == 200


def beat(live: Live, monitor: dict[str, Any], path: str) -> None:
    """Ping a monitor in CronBeats' words."""
    with DIRECT.open(f"{live.url}/ping/{monitor['code']}/{path}") as reply:
        assert reply.status == 200


# -- Flows


def test_a_first_monitor_is_made_and_its_first_ping_arrives(tab: Tab, live: Live) -> None:
    tab.see("Know when a job stops running")
    tab.field("Name").fill("Daily backup")
    tab.field("Cron expression").fill("30 4 * * 1-5")
    tab.field("Time zone").fill("Asia/Tokyo")
    tab.see("(Asia/Tokyo)")
    tab.see("from Monday to Friday at 04:30")
    times = tab.page.locator(".preview li").all_inner_texts()
    assert [line.endswith(" 04:30") for line in times] == [True] * 5
    tab.button("Create monitor").click()
    tab.see("Waiting for the first ping")
    line = tab.page.locator(".lines-out code").inner_text()
    url = re.search(r"http://\S+/ping/\S+", line)
    assert url
    DIRECT.open(url[0]).close()
    tab.see("The first ping has arrived")

    assert tab.problems == set()


@pytest.mark.parametrize(
    "label, start",
    [
        ("Plain curl", "curl -fsS -m 10 --retry 5 -o /dev/null {url}/ping/{token}"),
        ("crontab", "30 4 * * *  curl -fsS -m 10 --retry 5 -o /dev/null {url}/{token}/start;"),
        ("systemd unit", "ExecStartPre=-/usr/bin/curl -fsS -m 10 --retry 5 -o /dev/null {url}/"),
        ("Python", 'urlopen("{url}/{token}/start"'),
        ("Node", 'fetch("{url}/{token}"'),
        ("CronBeats", "curl -X POST {url}/ping/{code}/end/success"),
        ("CronRadar", "curl -u API_KEY: {url}/ping/{key}/complete"),
        ("Cronitor", "curl {url}/{code}/complete"),
        ("Crontify", '-H "X-API-Key: API_KEY" {url}/api/v1/ping/{key}/success'),
        ("Cronping", "curl {url}/{token}"),
        ("Healthchecks", "curl -m 10 --retry 5 {url}/ping/{token}"),
        ("Uptime Kuma", 'curl "{url}/api/push/{token}?status=up'),
    ],
)
def test_a_line_of_a_dialect_holds_the_monitors_own_handles(
    lines: tuple[Tab, dict[str, Any]], label: str, start: str
) -> None:
    tab, monitor = lines

    tab.page.locator(".radio").get_by_text(label, exact=True).click()

    assert start.format(url=tab.live.url, **monitor) in tab.page.inner_text(".lines-out code")
    assert tab.problems == set()


@pytest.mark.parametrize(
    "label, kinds",
    [
        ("Plain curl", "success start fail"),
        ("crontab", "start fail"),
        ("systemd unit", "start fail"),
        ("Python", "start success"),
        ("Node", "start success"),
        ("CronBeats", "start success fail progress"),
        ("CronRadar", "start success fail"),
        ("Cronitor", "start success fail"),
        ("Crontify", "start success fail"),
        ("Cronping", "start success fail"),
        ("Healthchecks", "start success fail"),
        ("Uptime Kuma", "success fail"),
    ],
)
def test_the_lines_ping_as_they_say(
    lines: tuple[Tab, dict[str, Any]], label: str, kinds: str
) -> None:
    tab, live = lines[0], lines[0].live
    tab.open(f"#/monitors/{lines[1]['id']}")
    tab.page.locator(".radio").last.wait_for(state="attached")
    tab.page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    if label == "Node" and not shutil.which("node"):
        pytest.skip("there is no node here: apt-get install nodejs")
    before = len(live.pings("nightly"))

    tab.page.locator(".radio").get_by_text(label, exact=True).click()
    shown = tab.page.inner_text(".lines-out code")
    bash(live.folder, as_script(label, shown.replace("API_KEY", live.key)))

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
    with serving(tmp_path_factory.mktemp("lines")) as live, looking(browser, live) as seen:
        monitor = live.add(
            "nightly", intervalSeconds=None, cronExpression="30 4 * * *", scheduleType="cron"
        )
        seen.open(f"#/monitors/{monitor['id']}")
        seen.see("Waiting for the first ping")
        yield seen, monitor


def test_a_failing_job_is_told_with_its_log(tab: Tab, live: Live) -> None:
    monitor = live.add("backup")
    ping(live, monitor, "/start")
    ping(live, monitor, "/3", "first line\n" + "more\n" * 50 + "disk full")

    tab.see_state("backup", "Down")
    tab.row("backup").get_by_text("failed with exit code 3, down for").wait_for()
    tab.page.get_by_role("link", name="backup").click()
    tab.see("The job failed with exit code 3")
    assert "first line" not in tab.page.inner_text(".part-tail pre")
    tab.page.get_by_role("link", name="Whole log").click()
    tab.field("Search the log").fill("disk")
    tab.see("1 of 1")
    assert tab.page.locator("mark").all_inner_texts() == ["disk"]
    with tab.page.expect_download() as saved:
        tab.button("Download").click()
    assert saved.value.path().read_text().endswith("more\ndisk full")
    tab.page.keyboard.press("Escape")
    tab.page.locator("dialog").wait_for(state="detached")

    assert re.fullmatch(r"1 down · backup · cronwatch", tab.page.title())
    assert tab.problems == set()


def test_a_run_is_seen_as_it_goes_on(tab: Tab, live: Live) -> None:
    monitor = live.add("copy")
    ping(live, monitor)
    tab.see_state("copy", "Up")

    ping(live, monitor, "/start")
    tab.see_state("copy", "Running")
    beat(live, monitor, "progress/30?msg=a+third")
    tab.row("copy").get_by_text("30 %").wait_for()
    tab.row("copy").get_by_text("a third").wait_for()
    tab.page.get_by_role("link", name="copy").click()
    tab.see("Running now")
    beat(live, monitor, "progress/80?msg=nearly")
    tab.page.locator(".part-live").get_by_text("80 %").wait_for()
    tab.page.locator(".runs-list a").first.click()
    timeline = tab.page.locator(".timeline li")
    timeline.first.wait_for()
    assert [text.split("\n")[-1] for text in timeline.all_inner_texts()] == [
        "30 % · a third",
        "80 % · nearly",
    ]
    tab.page.keyboard.press("Escape")
    ping(live, monitor)
    tab.page.locator(".part-live .card").wait_for(state="detached")

    assert tab.problems == set()


def test_a_missed_job_is_told_and_recovers(tab: Tab, live: Live) -> None:
    monitor = live.add("silent", scheduleType="cron", cronExpression="* * * * * *", graceSeconds=0)
    ping(live, monitor)

    tab.see_state("silent", "Down")
    tab.page.get_by_role("link", name="silent").click()
    tab.see("Nothing was heard when a run was expected")
    assert (
        live.ask(
            "PATCH",
            f"/heartbeats/{monitor['id']}",
            {"scheduleType": "interval", "intervalSeconds": 3600},
        ).status
        == 200
    )
    ping(live, monitor)
    tab.see("All is well.")
    tab.page.locator(".entry").get_by_text("Up").first.wait_for()

    assert tab.problems == set()


def test_a_monitor_is_paused_and_resumed(tab: Tab, live: Live) -> None:
    monitor = live.add("quiet")
    tab.open(f"#/monitors/{monitor['id']}")

    tab.button("Pause").click()
    tab.button("For 8 hours").click()
    tab.see("Paused until")
    tab.page.locator(".entry .badge").get_by_text("Paused").wait_for()
    until = cronwatch.parse_iso(live.monitor("quiet")["pausedUntil"]) / 1000
    tab.button("Resume").click()
    tab.button("Pause").wait_for()

    assert 0 <= time.time() + 8 * 3600 - until < 60

    assert live.monitor("quiet")["status"] == "new"
    assert tab.problems == set()


def test_a_link_of_a_mail_pauses_only_on_a_click(tab: Tab, live: Live) -> None:
    monitor = live.add("noisy")
    tab.open(f"#/monitors/{monitor['id']}/pause/24")
    tab.see("Pause for 1 day?")
    assert live.monitor("noisy")["status"] == "new"

    tab.button("Pause for 1 day").click()
    tab.see("Paused until")

    assert tab.problems == set()


def test_a_mistake_in_a_form_is_told_beside_its_field(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    tab.open(f"#/monitors/{monitor['id']}/edit")

    tab.field("Grace").fill("99")
    tab.page.locator(".joined").filter(has=tab.field("Grace")).get_by_label("Unit").select_option(
        "days"
    )
    tab.page.locator(".preview .error").wait_for()
    tab.page.get_by_text("When it is in trouble").click()
    tab.field("Tolerated failures in a row").fill("many")
    tab.button("Save").click()
    wrong = tab.page.locator("[aria-invalid]")
    wrong.wait_for()
    sentence = tab.page.locator(".field", has=wrong).locator(".error").inner_text()
    assert sentence == "graceSeconds must be a whole number, 0 to 86400"
    assert wrong.evaluate("node => node === document.activeElement")
    tab.field("Grace").fill("1")
    tab.button("Save").click()
    tab.page.get_by_text("failureTolerance must be a whole number").wait_for()
    tab.field("Tolerated failures in a row").fill("2")
    tab.button("Save").click()
    tab.see("1 d of grace")

    assert live.monitor("job")["failureTolerance"] == 2
    assert tab.problems == {"400 GET /api/v1/preview", "400 PATCH /api/v1/heartbeats/ID"}


def test_an_edit_sends_only_what_was_touched(tab: Tab, live: Live) -> None:
    monitor = live.add("job", tags="old", graceSeconds=77)
    tab.open(f"#/monitors/{monitor['id']}/edit")

    tab.field("Tags").fill("old new")
    with tab.page.expect_request(lambda request: request.method == "PATCH") as sent:
        tab.button("Save").click()
    tab.see("About it")

    assert sent.value.post_data_json == {"tags": "old new"}
    assert tab.problems == set()


def test_an_integration_that_fails_is_told(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    tab.open("#/integrations")
    tab.see("Nobody is told yet")

    tab.button("New integration").click()
    tab.field("Name").fill("ops")
    tab.field("Address").fill("ftp://127.0.0.1/hook")
    tab.button("Add integration").click()
    tab.see("url must be an http or https address; credentials go into headers")
    tab.field("Address").fill("http://127.0.0.1:9/hook")
    tab.button("Add integration").click()
    tab.button("Test").click()
    tab.see("The test has failed")
    tab.see(re.compile("Connection refused"))
    ping(live, monitor, "/fail")
    tab.open(f"#/monitors/{monitor['id']}")
    tab.see(re.compile("ops: (on its way|will be tried again)"))
    tab.open("#/integrations")
    tab.button("Switch off").click()
    tab.button("Switch on").wait_for()

    assert not live.ask("GET", "/integrations").json["integrations"][0]["enabled"]
    assert tab.problems == {"400 POST /api/v1/integrations"}


def test_a_command_is_shown_but_only_the_command_line_changes_it(tab: Tab, live: Live) -> None:
    command = 'cat >> "it\'s told.txt"'
    live.quick("integration", "add", "command", "the wall", command)

    tab.open("#/integrations")
    tab.see("Only the command line can change what runs on the server")
    program(live.folder, "cronwatch", 'printf "%s|" "$@" >>words')
    bash(live.folder, tab.page.inner_text(".copyable code"))

    assert (live.folder / "words").read_text() == (
        f"integration|remove|the wall|integration|add|command|the wall|{command}|"
    )
    assert tab.button("Edit").count() == tab.button("Delete").count() == 0
    assert tab.problems == set()


def test_a_key_is_shown_once_and_revoked(tab: Tab, live: Live) -> None:
    tab.open("#/keys")
    tab.see("New key")

    tab.field("Name").fill("nas")
    tab.field("May").select_option("read-only")
    tab.button("Create key").click()
    tab.see("The key nas")
    secret = tab.page.locator(".arrived code").inner_text()
    assert live.ask("GET", "/heartbeats", key=secret).status == 200
    tab.page.reload()
    tab.button("Delete nas").wait_for()
    assert secret not in tab.text()
    tab.button("Delete nas").click()
    tab.page.locator("dialog").get_by_role("button", name="Delete").click()
    tab.page.get_by_role("row", name="nas").wait_for(state="detached")

    assert live.ask("GET", "/heartbeats", key=secret).status == 401
    assert tab.problems == set()


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

        tab.context.clear_cookies()
        tab.see("Your session has ended.")
        tab.field("Password").fill(PASSWORD)
        tab.button("Sign in").click()
        tab.page.locator("dialog").wait_for(state="detached")
        assert tab.field("Name").input_value() == "half written"
        tab.button("Create monitor").click()
        tab.see("Waiting for the first ping")

        assert tab.problems == NOBODY


def test_nobody_gets_around_signing_in(browser: Any, live: Live) -> None:
    tab = Tab(browser, live)
    tab.open()
    tab.see("Sign in to see your monitors.")

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


def test_a_used_link_says_so(tab: Tab, live: Live) -> None:
    tab.open("#/link/nonsense")
    tab.button("Sign in").click()

    tab.see("This link has been used or has expired")

    assert tab.page.url == f"{live.url}/#/"
    assert tab.problems == {"401 POST /api/v1/session"}


def test_a_server_that_starts_anew_is_noticed_and_found_again(
    browser: Any, tmp_path: Path
) -> None:
    with serving(tmp_path, *FLAGS) as first:
        first.add("before")
        with looking(browser, first) as tab:
            tab.row("before").wait_for()
            first.stop(signal.SIGTERM)
            tab.see("Reconnecting…")
            with serving(tmp_path, *FLAGS, listen=first.url.removeprefix("http://")) as second:
                second.add("after")
                tab.row("after").wait_for()
                tab.see_not("Reconnecting…")

            assert tab.problems == {f"{AWAY} GET /api/v1/summary"}


def test_a_page_that_the_server_was_away_for_comes_when_it_is_back(
    browser: Any, tmp_path: Path
) -> None:
    with serving(tmp_path, *FLAGS) as first, looking(browser, first) as tab:
        first.add("job")
        tab.row("job").wait_for()
        first.stop(signal.SIGTERM)
        tab.see("Reconnecting…")
        tab.page.get_by_role("link", name="job").click()
        tab.see("This did not work")

        with serving(tmp_path, *FLAGS, listen=first.url.removeprefix("http://")):
            tab.see("Waiting for the first ping")

        assert {one.partition(" ")[0] for one in tab.problems} <= {AWAY, "console:"}


# -- The list


def test_the_list_is_filtered_and_the_address_keeps_it(tab: Tab, live: Live) -> None:
    live.add("database", tags="prod")
    live.add("photos", tags="home")
    tab.row("photos").wait_for()

    tab.field("Search monitors").fill("DATA")
    tab.row("photos").wait_for(state="detached")
    tab.page.reload()
    tab.row("database").wait_for()
    assert tab.row("photos").count() == 0
    tab.field("Search monitors").fill("")
    tab.field("Tag").select_option("home")
    tab.row("photos").wait_for()
    assert tab.row("database").count() == 0

    assert tab.page.url.endswith("#/?tag=home")
    assert tab.problems == set()


def test_many_monitors_are_changed_at_once(tab: Tab, live: Live) -> None:
    for name in ("one", "two", "three"):
        live.add(name)
    tab.row("three").wait_for()

    tab.field("Select one").check()
    tab.field("Select two").check()
    tab.button("Pause").click()
    tab.button("Until resumed").click()
    wait_for(lambda: live.monitor("two")["paused"], "the second is paused")
    tab.field("Select all that are shown").check()
    tab.button("Tag").click()
    tab.field("Tags").fill("group")
    tab.button("Apply").click()
    wait_for(lambda: live.monitor("three")["tags"] == "group", "the third is tagged")
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
    keys.press("Enter")
    tab.page.get_by_role("heading", name="beta").wait_for()
    keys.press("?")
    tab.see("previous monitor")
    keys.press("Escape")
    keys.press("n")
    tab.page.get_by_role("heading", name="New monitor").wait_for()

    assert tab.problems == set()


def test_a_row_is_changed_in_place(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    tab.row("job").evaluate("node => { node.mark = 1; }")

    ping(live, monitor)
    tab.see_state("job", "Up")

    assert tab.row("job").evaluate("node => node.mark") == 1
    assert tab.problems == set()


def test_a_late_job_says_when_it_is_told(tab: Tab, live: Live) -> None:
    ping(
        live,
        live.add("tardy", scheduleType="cron", cronExpression="* * * * * *", graceSeconds=3600),
    )

    tab.see_state("tardy", "Late")

    assert "alert in 59 min" in tab.row("tardy").inner_text()
    assert tab.page.title() == "1 late · Monitors · cronwatch"
    assert tab.page.get_attribute("#icon", "href") == "static/icon-late.svg"
    assert tab.problems == set()


def test_those_in_trouble_come_first(tab: Tab, live: Live) -> None:
    ping(live, live.add("a is well"))
    ping(
        live,
        live.add(
            "b is late", scheduleType="cron", cronExpression="* * * * * *", graceSeconds=3600
        ),
    )
    ping(live, live.add("c is down"), "/fail")
    tab.see_state("b is late", "Late")
    tab.see_state("c is down", "Down")

    assert tab.page.locator(".row .name").all_inner_texts() == [
        "c is down",
        "b is late",
        "a is well",
    ]
    assert tab.problems == set()


def test_times_stay_true_without_the_server(tab: Tab, live: Live) -> None:
    ping(live, live.add("job"))
    tab.see_state("job", "Up")
    tab.page.route("**/api/**", lambda route: None)  # no answer ever comes

    for seconds in (3, 4):
        tab.row("job").get_by_text(f"last ping {seconds} s ago").wait_for()

    assert tab.problems == set()


def test_a_clock_that_is_wrong_shows_the_servers_time(tab: Tab, live: Live) -> None:
    ping(live, live.add("job"))
    tab.page.clock.install(time=time.time() + 86_400)
    tab.open()

    for said in (r"last ping (now|\d s ago)", "due in (59 min|1 h)"):
        tab.row("job").get_by_text(re.compile(said)).wait_for()
    assert tab.problems == set()


def test_a_time_of_today_says_its_day_after_midnight(browser: Any, live: Live) -> None:
    ping(live, live.add("job"))
    with looking(browser, live) as tab:
        tab.page.get_by_role("link", name="job").click()
        first = tab.page.locator(".runs-list time")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", first.inner_text())
        before = first.inner_text()

        tab.page.route("**/api/**", lambda route: None)
        tab.page.evaluate("""() => {
            const real = Date.now;
            Date.now = () => real() + 86_400_000;
        }""")

        tab.see(re.compile(rf"^\d{{4}}-\d\d-\d\d {before}$"))
        assert tab.problems == set()


def test_the_last_duration_is_beside_the_usual_one(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    for _ in range(2):
        ping(live, monitor, "/start")
        ping(live, monitor)

    took = tab.row("job").locator(".took")
    took.get_by_text("usually").wait_for()

    assert re.fullmatch(r"\d+ ms\s+usually \d+ ms", took.inner_text())
    assert tab.problems == set()


def test_each_run_of_the_strip_has_a_tooltip(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    ping(live, monitor)
    ping(live, monitor, "/start")
    ping(live, monitor, "/3")
    tab.see_state("job", "Down")
    strip = tab.row("job").locator(".strip")
    assert strip.get_attribute("aria-label") == "Last 2 runs: 1 good, 1 failed"
    box = strip.bounding_box()
    assert box

    found = []
    for place in (28.5, 29.5):  # of 30
        tab.page.mouse.move(box["x"] + box["width"] * place / 30, box["y"] + box["height"] / 2)
        found.append(tab.page.inner_text("#tip"))
    tab.page.mouse.move(0, 0)

    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"Good · {stamp}", found[0])
    assert re.fullmatch(rf"Failed, exit code 3 · {stamp} · took \d+ ms", found[1])
    assert tab.page.is_hidden("#tip")
    assert tab.problems == set()


def test_what_is_down_is_marked_as_ok(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    ping(live, monitor, "/fail")
    tab.open(f"#/monitors/{monitor['id']}")
    tab.see("The job failed")

    tab.button("Mark as OK").click()
    tab.see("All is well.")

    assert live.monitor("job")["status"] == "up"
    assert tab.button("Mark as OK").count() == 0
    assert tab.problems == set()


def test_a_test_alert_shows_what_came_of_it(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "command", "good", "echo heard")
    live.quick("integration", "add", "command", "broken", "echo no; exit 3")
    tab.open(f"#/monitors/{live.add('job')['id']}")

    tab.button("Send a test alert").click()
    dialog = tab.page.locator("dialog")
    dialog.locator("li").nth(1).wait_for()

    told = sorted(dialog.locator("li").all_inner_texts())
    assert [one.split("\n")[0].strip() for one in told] == ["Failed broken", "Told good"]
    assert tab.problems == set()


def test_uptime_durations_and_the_next_times_are_shown(tab: Tab, live: Live) -> None:
    monitor = live.add("job", maxRunSeconds=1)
    for path in ("", "", "", "", "", "/2"):
        ping(live, monitor, "/start")
        ping(live, monitor, path)
    tab.open(f"#/monitors/{monitor['id']}")
    tab.see("The job failed")

    tab.see("Uptime")
    assert re.fullmatch(
        r"(24 hours|7 days|30 days|90 days)", tab.page.locator(".tiles dt").nth(3).inner_text()
    )
    assert tab.page.locator(".tiles dd").count() == 4
    bars = [bar.get_attribute("class") for bar in tab.page.locator("g.bar").all()]
    assert bars == ["bar is-success"] * 5 + ["bar is-failed"]
    assert re.search(
        r"the longest \d+ ms, usually \d+ ms to \d+ ms",
        str(tab.page.get_attribute(".chart svg", "aria-label")),
    )
    assert tab.page.locator(".part-next li").count() == 5
    tab.page.locator("g.bar").last.click()
    tab.page.locator("dialog").get_by_text("Exit code").wait_for()
    assert tab.problems == set()


def test_the_longest_run_that_is_allowed_is_in_the_chart(tab: Tab, live: Live) -> None:
    monitor = live.add("job", maxRunSeconds=60)
    for seconds in (20, 40):
        DIRECT.open(f"{live.url}/{monitor['code']}/complete?duration={seconds}").close()

    tab.open(f"#/monitors/{monitor['id']}")
    tab.see("longest allowed 1 min")
    tab.see("longest 40 s")

    assert tab.problems == set()


def test_an_absence_is_in_the_log_and_on_the_page_of_health(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path, *FLAGS) as first:
        monitor = first.add("job")
        ping(first, monitor)
    with serving(tmp_path, *FLAGS) as live, looking(browser, live) as tab:
        tab.open(f"#/monitors/{monitor['id']}")
        tab.page.locator(".entry", has_text="cronwatch was away for").wait_for()
        tab.open("#/health")
        tab.see("When cronwatch was away")

        assert (
            tab.page.locator(".card", has_text="When cronwatch was away").locator("li").count()
            == 1
        )
        assert tab.problems == set()


def test_a_rule_for_silent_failures_is_made_and_removed(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    tab.open(f"#/monitors/{monitor['id']}/edit")
    tab.page.get_by_text("When it is in trouble").click()

    for name, value in (("rows", "10"), ("exit_code", "x")):
        tab.button("Add a rule").click()
        tab.field("Field").last.fill(name)
        tab.field("Comparison").last.select_option("lt")
        tab.field("Value").last.fill(value)
    tab.button("Save").click()
    tab.page.get_by_role("group", name="Rules for silent failures").get_by_text(
        "a rule must have a field"
    ).wait_for()
    tab.button("Remove this rule").last.click()
    tab.button("Save").click()
    tab.see("rows lt 10")

    assert live.monitor("job")["rules"] == [{"field": "rows", "operator": "lt", "value": 10}]
    assert tab.problems == {"400 PATCH /api/v1/heartbeats/ID"}


def test_an_integration_is_edited(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "webhook", "ops", "http://127.0.0.1:9/hook")
    tab.open("#/integrations")

    tab.button("Edit").click()
    tab.field("Name").fill("night shift")
    tab.field("Headers").fill("X-Team: night")
    tab.button("Save").click()
    tab.page.get_by_role("heading", name="night shift").wait_for()

    (shown,) = live.ask("GET", "/integrations").json["integrations"]
    assert (shown["name"], shown["headers"]) == ("night shift", {"X-Team": "night"})
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
    tab.page.locator(".card .badge").get_by_text("Failing").wait_for()
    assert tab.problems == set()


@pytest.mark.parametrize("rest_ms, pace", [(0, 2000), (121_000, 10_000)])
def test_a_page_asks_more_rarely_when_nobody_looks(
    tab: Tab, live: Live, rest_ms: int, pace: int
) -> None:
    live.add("job")
    tab.page.clock.install()
    tab.open()
    tab.row("job").wait_for()
    tab.page.wait_for_load_state("networkidle")
    tab.page.clock.pause_at(time.time() + 60)
    tab.page.clock.fast_forward(rest_ms)
    asked: list[float] = []
    passed = 0.0
    tab.page.on("request", lambda request: asked.append(passed))

    while len(asked) < 3 and passed < 60_000:
        passed += 500
        tab.page.clock.run_for(500)
        tab.page.wait_for_timeout(20)  # in which an answer comes, where one was asked for

    assert abs(asked[2] - asked[1] - pace) <= 1000
    assert tab.problems == set()


def test_many_monitors_are_resumed_at_once(tab: Tab, live: Live) -> None:
    for name in ("one", "two"):
        live.ask("POST", f"/heartbeats/{live.add(name)['id']}/pause", {})
    tab.see_state("two", "Paused")

    tab.field("Select all that are shown").check()
    tab.button("Resume").click()
    tab.see_state("one", "New")
    tab.see_state("two", "New")

    assert tab.page.is_hidden(".bulk")
    assert tab.problems == set()


def test_a_monitor_is_selected_and_left_with_keys(tab: Tab, live: Live) -> None:
    for name in ("alpha", "beta"):
        live.add(name)
    tab.row("beta").wait_for()
    keys = tab.page.keyboard

    keys.press("ArrowUp")
    keys.press("x")
    tab.see("1 selected")
    assert tab.field("Select beta").is_checked()
    keys.press("k")
    keys.press("Enter")
    tab.page.get_by_role("heading", name="alpha").wait_for()
    keys.press("g")
    tab.row("beta").wait_for()

    assert tab.problems == set()


def test_a_deleted_monitor_wants_its_name(tab: Tab, live: Live) -> None:
    monitor = live.add("precious")
    tab.open(f"#/monitors/{monitor['id']}")

    tab.button("Delete").click()
    dialog = tab.page.locator("dialog")
    dialog.get_by_label("Name").fill("other")
    dialog.get_by_role("button", name="Delete").click()
    tab.see("This is not its name.")
    dialog.get_by_label("Name").fill("precious")
    dialog.get_by_role("button", name="Delete").click()
    tab.see("Know when a job stops running")

    assert tab.problems == set()


def test_progress_of_a_run_is_one_line_of_the_log(tab: Tab, live: Live) -> None:
    monitor = live.add("copy")
    ping(live, monitor, "/start")
    for percent in (10, 20, 30):
        beat(live, monitor, f"progress/{percent}?msg=part+{percent}")
    tab.open(f"#/monitors/{monitor['id']}")

    tab.see(re.compile("part 30 · told 3 times"))

    words = tab.page.locator(".part-log .word").all_inner_texts()
    assert words == ["Progress", "Started"]
    assert tab.problems == set()


def test_the_log_is_shown_to_its_beginning(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    for number in range(260):
        beat(live, monitor, f"end/success?msg=ping+{number}")
    tab.open(f"#/monitors/{monitor['id']}")
    lines = tab.page.locator(".part-log .entry")
    more = tab.page.locator(".part-log").get_by_role("button", name="Show more")
    tab.see("ping 259")
    assert lines.count() < 60

    more.click()
    lines.nth(240).wait_for()
    assert more.evaluate("node => node === document.activeElement")
    more.click()
    tab.page.locator(".part-log").get_by_text("ping 0 ·").wait_for()
    ping(live, monitor, "/fail")
    tab.page.locator(".part-log").get_by_text("Down").wait_for()

    assert lines.count() == 264  # with the flips to up and to down, what failed, and its alert
    assert more.count() == 0
    assert tab.problems == set()


def test_the_focus_stays_where_it_is_while_the_page_is_live(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    ping(live, monitor)
    tab.open(f"#/monitors/{monitor['id']}")
    link = tab.page.locator(".part-log a").get_by_text("run 1")
    link.focus()
    link.evaluate("node => { node.mark = 1; }")

    ping(live, monitor, "/fail")
    tab.page.locator(".part-log a").get_by_text("run 2").wait_for()

    assert tab.page.evaluate(
        "[document.activeElement.textContent, document.activeElement.mark]"
    ) == ["run 1", None]
    assert tab.problems == set()


def test_a_change_of_status_is_read_out_and_passing_seconds_are_not(tab: Tab, live: Live) -> None:
    monitor = live.add("job")
    ping(live, monitor)
    tab.open(f"#/monitors/{monitor['id']}")
    spoken = tab.page.locator("main .hidden[role=status]")
    spoken.get_by_text("Up").wait_for(state="attached")
    spoken.evaluate("node => { node.mark = 1; }")

    ping(live, monitor, "/fail")
    spoken.get_by_text("Down").wait_for(state="attached")

    assert spoken.evaluate("node => node.mark") == 1  # only what is changed in place is read out
    assert tab.page.locator("[role=status] time, [aria-live] time").count() == 0
    assert tab.problems == set()


def test_a_form_in_a_dialog_begins_in_its_first_field(tab: Tab, live: Live) -> None:
    live.quick("integration", "add", "webhook", "ops", "http://127.0.0.1:9/hook")
    tab.open("#/integrations")

    found = []
    for button in ("New integration", "Edit"):
        tab.button(button).click()
        tab.page.locator("dialog form").wait_for()
        found.append(tab.page.evaluate("document.activeElement.dataset.name"))
        tab.page.keyboard.press("Escape")
        tab.page.locator("dialog").wait_for(state="detached")
        assert tab.button(button).evaluate("node => node === document.activeElement")

    assert found == ["channel", "name"]
    assert tab.problems == set()


def test_a_change_of_zone_keeps_what_is_half_written(tab: Tab, live: Live) -> None:
    tab.open("#/new")
    tab.field("Name").fill("half written")

    tab.button("Times: my zone").click()
    tab.button("Times: monitor’s zone").wait_for()
    tab.page.wait_for_load_state("networkidle")

    assert tab.field("Name").input_value() == "half written"
    assert tab.problems == set()


def test_lines_are_copied_without_https_too(browser: Any, live: Live) -> None:
    monitor = live.add("nightly")
    there = replace(live, url=live.url.replace("127.0.0.1", ELSEWHERE))
    with looking(browser, there) as tab:
        tab.open(f"#/monitors/{monitor['id']}")
        tab.see("Waiting for the first ping")
        assert not tab.page.evaluate("isSecureContext")

        tab.button("Copy").click()
        tab.see("Copied")
        tab.open(f"#/monitors/{monitor['id']}/edit")
        tab.field("Notes").focus()
        tab.page.keyboard.press("Control+V")

        assert f"{there.url}/ping/{monitor['token']}\n\n" in tab.field("Notes").input_value()
        assert tab.problems == set()


def test_what_cannot_be_copied_is_selected(tab: Tab, live: Live) -> None:
    monitor = live.add("nightly")
    tab.page.add_init_script("""
        delete Navigator.prototype.clipboard;
        document.execCommand = () => false;""")
    tab.open(f"#/monitors/{monitor['id']}")

    tab.button("Copy").click()
    tab.see("It is selected: copy it with Ctrl+C")

    assert tab.page.evaluate("String(getSelection())") == tab.page.inner_text(".lines-out code")
    assert tab.problems == set()


def test_a_handle_is_adopted_and_removed(tab: Tab, live: Live) -> None:
    monitor = live.add("moved")
    tab.open(f"#/monitors/{monitor['id']}")

    tab.page.get_by_text("Handles", exact=True).click()
    tab.field("Adopt a handle").fill("d3x0c1")
    tab.button("Adopt").click()
    tab.button("Remove d3x0c1").wait_for()
    DIRECT.open(f"{live.url}/d3x0c1/complete").close()
    tab.see("All is well.")

    assert tab.problems == set()


def test_times_are_shown_in_the_zone_of_the_monitor_on_request(tab: Tab, live: Live) -> None:
    monitor = live.add(
        "job", scheduleType="cron", cronExpression="0 9 * * *", timezone="Asia/Tokyo"
    )
    ping(live, monitor)
    tab.open(f"#/monitors/{monitor['id']}")
    tab.page.locator(".times").get_by_text("00:00:00").first.wait_for()

    tab.button("Times: my zone").click()
    tab.page.locator(".times").get_by_text("09:00:00").first.wait_for()

    tab.page.reload()
    tab.button("Times: monitor’s zone").wait_for()
    assert tab.problems == set()


def test_the_title_and_the_icon_count_what_is_down(tab: Tab, live: Live) -> None:
    for name in ("one", "two"):
        ping(live, live.add(name), "/fail")

    tab.see_state("two", "Down")

    assert tab.page.title() == "2 down · Monitors · cronwatch"
    assert tab.page.get_attribute("#icon", "href") == "static/icon-down-2.svg"
    assert tab.problems == set()


def test_the_footer_tells_how_cronwatch_does(tab: Tab, live: Live) -> None:
    live.add("job")
    tab.row("job").wait_for()

    shown = tab.page.inner_text("footer")
    last = tab.page.get_attribute("footer time", "datetime")

    assert re.match(
        r"Health: last scan (now|\d s ago) · no alert waiting · none given up · "
        r"\d+ kB\s+cronwatch \d",
        shown,
    ), shown
    tab.page.wait_for_function(  # nothing changes but this
        "last => document.querySelector('footer time').dateTime > last", arg=last
    )
    assert tab.problems == set()


@pytest.mark.parametrize("hidden, asks", [("false", True), ("true", False)])
def test_a_page_that_is_not_seen_asks_for_nothing(
    tab: Tab, live: Live, hidden: str, asks: bool
) -> None:
    live.add("job")
    tab.page.clock.install()
    tab.open()
    tab.row("job").wait_for()
    tab.page.evaluate(
        """hidden => {
        Object.defineProperty(document, "hidden", { get: () => hidden === "true" });
        document.dispatchEvent(new Event("visibilitychange"));
    }""",
        hidden,
    )
    tab.page.wait_for_load_state("networkidle")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))

    tab.page.clock.fast_forward(60_000)
    tab.page.evaluate("fetch('/static/icon-up.svg')")

    assert asked[:-1] == [f"{live.url}/api/v1/summary"] * asks
    assert tab.problems == set()


def test_the_first_screen_asks_for_data_once(tab: Tab, live: Live) -> None:
    live.add("job")
    tab.row("job").wait_for()
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))

    tab.page.reload()
    tab.row("job").wait_for()
    shown = [url for url in asked if "/api/" in url and not url.endswith("/session")]

    assert shown[0].endswith("/api/v1/summary")
    assert shown[1:2] in ([], [shown[0]])  # the next poll, where the machine is slow
    assert tab.problems == set()


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
        "#/keys",
        "#/health",
        f"{address}/pause/1",
    ):
        tab.open(page)
        tab.see(re.compile("Sign out|Search the log"))
        tab.page.wait_for_load_state("networkidle")
        for place in ("main", ".banner"):
            tab.page.locator(place).get_by_text(NASTY).locator("visible=true").first.wait_for()
        assert tab.page.locator("body img, body script, main b b, dialog b b").count() == 0
    tab.open(address)
    tab.page.locator(".delivery", has_text=NASTY).nth(1).wait_for()
    tab.button("Send a test alert").click()
    tab.page.locator("dialog").get_by_text(NASTY).nth(1).wait_for()
    assert tab.page.locator("body img, body script").count() == 0

    assert "cronwatch" in tab.page.title()
    assert tab.problems == set()


def test_what_a_run_told_is_shown_as_text(tab: Tab, live: Live, nasty: dict[str, Any]) -> None:
    first, last = (live.runs(NASTY)[place]["num"] for place in (0, -1))
    shown: dict[str, str] = {}
    for run, last_part in ((first, ".timeline"), (last, ".log")):
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
    assert shown[".timeline"].endswith(f"10 % · {NASTY}")
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
        running = live.add("running", maxRunSeconds=3600, notes="What it does: much.")
        ping(live, running, "/start")
        ping(live, running)
        ping(live, running, "/start")
        beat(live, running, "progress/55?msg=more+than+half")
        ping(live, live.add("well", tags="home"))
        live.add("fresh")
        live.ask("POST", f"/heartbeats/{live.add('paused')['id']}/pause", {"hours": 5})
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
    "#/keys",
    "#/health",
    "#/nothing",
)


def visit(tab: Tab, page: str) -> None:
    """Open a page of the busy server, and wait for all of it."""
    down = next(
        m
        for m in tab.live.ask("GET", "/heartbeats").json["heartbeats"]
        if m["key"].startswith("down-")
    )
    run = str(tab.live.runs("running")[-1]["num"])
    tab.open(page.replace("monitors/down", f"monitors/{down['id']}").replace("RUN", run))
    tab.page.locator("main h1").wait_for()
    if "/runs/" in page:
        tab.page.locator("dialog .facts").wait_for()
    tab.page.wait_for_load_state("networkidle")


DIALOGS = (  # and other states of a page: what leads there
    ("new integration", "#/integrations", ("button:text-is('New integration')",)),
    (
        "a refusal",
        "#/integrations",
        ("button:text-is('New integration')", "dialog button:text-is('Add integration')"),
    ),
    ("a test that failed", "#/integrations", ("button:text-is('Test')",)),
    ("keyboard", "#/", ("#menu", "#help")),
    ("selected", "#/", (".tools .pick input",)),
    ("pause many", "#/", (".tools .pick input", ".bulk button:text-is('Pause')")),
    ("tag many", "#/", (".tools .pick input", ".bulk button:text-is('Tag')")),
    ("delete many", "#/", (".tools .pick input", ".bulk button:text-is('Delete')")),
    ("delete", "#/monitors/down", (".buttons button:text-is('Delete')",)),
    ("test alert", "#/monitors/down", ("button:text-is('Send a test alert')",)),
    ("lines", "#/monitors/well", ("summary:text-is('Lines that ping it')",)),
    ("handles", "#/monitors/well", ("summary:text-is('Handles')",)),
    ("a key", "#/keys", ("button:text-is('Create key')",)),
    ("a menu", "#/", ("#menu",)),
)


def show_dialog(tab: Tab, page: str, clicks: tuple[str, ...]) -> None:
    """Open a page of the busy server, and what clicks on it lead to."""
    visit(tab, page)
    for place in clicks:
        if place != "#menu" or tab.page.is_visible(place):  # it is there on a phone only
            tab.page.locator(place).first.click()
    tab.page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(browser: Any, busy: Live, scheme: str) -> None:
    with looking(browser, busy, color_scheme=scheme, reduced_motion="reduce") as tab:
        found = {}
        for page in PAGES:
            visit(tab, page)
            if wrong := found_by_axe(tab.page, axe_script()):
                found[page] = wrong
        for name, page, clicks in DIALOGS:
            show_dialog(tab, page, clicks)
            if wrong := found_by_axe(tab.page, axe_script()):
                found[name] = wrong

        assert found == {}
        assert tab.problems == {"400 POST /api/v1/integrations", "400 POST /api/v1/keys"}


def test_axe_finds_nothing_on_the_way_in(browser: Any, live: Live) -> None:
    tab = Tab(browser, live)
    tab.open()
    tab.see("Sign in to see your monitors.")

    assert found_by_axe(tab.page, axe_script()) == []
    tab.close()


def test_nothing_scrolls_sideways_on_a_phone(browser: Any, busy: Live) -> None:
    with looking(browser, busy, viewport=PHONE) as tab:
        wide = {}
        for page in PAGES:
            visit(tab, page)
            width = tab.page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[page] = width
        for name, page, clicks in DIALOGS:
            show_dialog(tab, page, clicks)
            width = tab.page.evaluate("""Math.max(document.documentElement.scrollWidth,
                ...Array.from(document.querySelectorAll("dialog"),
                              box => box.getBoundingClientRect().left + box.scrollWidth))""")
            if width > PHONE["width"]:
                wide[name] = width

        assert wide == {}


@pytest.mark.parametrize("page", ["#/", "#/monitors/down", "#/monitors/running/edit"])
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
    with looking(browser, busy, reduced_motion=motion) as tab:
        visit(tab, "#/")
        tab.see_state("running", "Running")

        assert (tab.page.evaluate("document.getAnimations().length") > 0) == moves


def test_no_inline_script_or_style_and_nothing_of_others() -> None:
    page = (STATIC / "index.html").read_text()

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|https?://", page)


def test_no_module_makes_elements_of_text() -> None:
    code = "".join(path.read_text() for path in STATIC.glob("*.js"))

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)


def test_all_that_a_browser_loads_is_small() -> None:
    size = sum(path.stat().st_size for path in STATIC.iterdir() if path.suffix in LOADED)

    assert size < MOST_BYTES


def test_the_page_works_below_a_path(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path, *FLAGS, "--url-prefix", "/cw") as live:
        link = live.quick("user", "link", NAME).strip().rpartition("/")[2]
        tab = Tab(browser, live)
        tab.page.goto(f"{live.url}/cw#/link/{link}")  # without its slash
        tab.button("Sign in").click()
        tab.see("Create your first monitor")
        tab.field("Name").fill("Backup")
        tab.button("Create monitor").click()
        tab.see("Waiting for the first ping")
        (shown,) = live.ask("GET", "/heartbeats").json["heartbeats"]
        tab.close()

    assert (tab.page.url.startswith(f"{live.url}/cw/#/"), tab.problems) == (True, set())
    assert shown["pingUrl"] == f"{live.url}/cw/{shown['token']}"

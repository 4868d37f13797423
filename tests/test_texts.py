"""What a person reads on a phone: what, since when, the end of the log, a link; and Apprise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, Site
from live_server import Done, call
from test_alerts import Listener

import cronwatch

LINK = "http://cron.test/#/monitors/"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with closing(Listener()) as found:
        yield found


def add(site: Site, channel: str, target: str) -> Done:
    return call("integration", "add", channel, "me", target, "--database", str(site.database))


def backup(site: Site, **columns: Any) -> Made:
    return site.monitor(name="Backup", key="backup", **columns)


def failing(site: Site, log: str = "") -> Made:
    """A monitor that has failed, with a log."""
    job = backup(site)
    site.post(f"/ping/{job.token}/3", log)
    return job


def event(site: Site) -> dict[str, Any]:
    """The newest event, as senders get it."""
    row = site.server.read(
        lambda tx: cronwatch.rows(tx.db, cronwatch.EVENTS_SQL + "ORDER BY e.num DESC LIMIT 1")
    )[0]
    return cronwatch.event_json(row, "http://cron.test")


def text(site: Site, most: int = 1000) -> str:
    return cronwatch.event_text(event(site), most)


# the words


def test_a_failure_says_what_since_when_why_and_where(site: Site) -> None:
    job = failing(site, "copying\ndisk full\n")

    assert text(site) == (
        "Backup failed with exit code 3\nDown since 2026-03-02 12:00 UTC\ncopying\ndisk full\n"
        f"{LINK}{job.id}"
    )


def test_a_miss_says_by_when_nothing_was_heard(site: Site) -> None:
    job = backup(site)
    site.get(f"/{job.token}")
    site.clock.move(7200)
    site.server.scan()

    assert text(site) == (
        "Backup did not run: nothing was heard of it by 2026-03-02 13:05 UTC\n"
        f"Down since 2026-03-02 13:05 UTC\n{LINK}{job.id}"
    )


def test_a_recovery_says_how_long_and_how_many(site: Site) -> None:
    job = failing(site)
    site.clock.move(600)
    site.get(f"/{job.token}/fail")
    site.clock.move(4800)
    site.get(f"/{job.token}")

    assert text(site).splitlines() == [
        "Backup is up again after 1.5 h (2 failed, 1 missed)",
        f"{LINK}{job.id}",
    ]


@pytest.mark.parametrize(
    "seconds, span", [(30, "30 s"), (90, "1.5 min"), (3600, "1 h"), (86_400 * 3, "3 d")]
)
def test_a_recovery_says_its_time_in_a_unit_for_people(
    site: Site, seconds: int, span: str
) -> None:
    job = backup(site, interval_seconds=None)
    site.get(f"/{job.token}/fail")
    site.clock.move(seconds)

    site.get(f"/{job.token}")

    assert text(site).splitlines()[0] == f"Backup is up again after {span} (1 failed)"


def test_a_reminder_says_once_since_when(site: Site) -> None:
    job = backup(site, reminder_interval_seconds=3600)
    site.get(f"/{job.token}/fail")
    site.clock.move(3700)
    site.server.scan()

    assert text(site).count("2026-03-02 12:00 UTC") == 1


def test_an_outage_has_no_link_to_a_monitor(site: Site) -> None:
    site.get(f"/{backup(site, interval_seconds=86_400).token}")
    site.clock.move(90_000)
    site.server.away(site.clock.now - 10_000_000, site.clock.now)

    assert text(site) == (
        "cronwatch was away from 2026-03-03 10:13 UTC to 2026-03-03 13:00 UTC: "
        "1 monitor may have run unseen"
    )


def test_of_a_long_log_the_last_ten_lines_are_told(site: Site) -> None:
    failing(site, "\n".join(f"line {number}" for number in range(40)))

    assert text(site).splitlines()[2:-1] == [f"line {number}" for number in range(30, 40)]


def test_of_a_long_line_the_end_is_told(site: Site) -> None:
    failing(site, "x" * 900 + " the end")

    assert text(site, 300).splitlines()[2].endswith("xxx the end")


@pytest.mark.parametrize("most", [2000, 1000, 300, 200, 130, 120])
def test_a_text_is_never_too_long(site: Site, most: int) -> None:
    failing(site, "x" * 5000)

    assert len(text(site, most)) <= most


@pytest.mark.parametrize("most", [1000, 300, 200, 130])
def test_a_text_that_is_cut_still_has_its_link(site: Site, most: int) -> None:
    job = failing(site, "x" * 5000)

    assert text(site, most).splitlines()[-1] == f"{LINK}{job.id}"


def test_where_there_is_no_room_what_happened_is_told(site: Site) -> None:
    failing(site, "x" * 5000)

    assert text(site, 20) == "Backup failed with e"


@pytest.mark.parametrize("log", ["", "\n\n", "   "])
def test_an_empty_log_leaves_no_gap(site: Site, log: str) -> None:
    job = failing(site)
    told = event(site)
    told["run"]["logTail"] = log

    assert cronwatch.event_text(told, 1000).splitlines() == [
        "Backup failed with exit code 3",
        "Down since 2026-03-02 12:00 UTC",
        f"{LINK}{job.id}",
    ]


# who gets them


READ: dict[str, Callable[[bytes], str]] = {
    "slack": lambda body: str(json.loads(body)["text"]),
    "discord": lambda body: str(json.loads(body)["content"]),
    "ntfy": lambda body: body.decode(),
}


@pytest.mark.parametrize("channel", READ)
def test_a_phone_shows_the_text(site: Site, listener: Listener, channel: str) -> None:
    add(site, channel, listener.url)
    failing(site, "copying\ndisk full")

    site.server.deliver()

    assert READ[channel](listener.received[0].body) == text(site, 2000)


@pytest.mark.parametrize("channel, most", [("discord", 2000), ("ntfy", 4096), ("slack", 40_000)])
@pytest.mark.parametrize("said", ["summary", "logTail"])
def test_no_service_refuses_a_text_as_too_long(
    site: Site, channel: str, most: int, said: str
) -> None:
    failing(site)
    told = event(site)
    (told if said == "summary" else told["run"])[said] = "😀&" * 20_000

    worded = cronwatch.BODIES[channel](told)

    found = READ[channel]((worded if channel == "ntfy" else json.dumps(worded)).encode())
    assert len(found.encode() if channel == "ntfy" else found) <= most


def test_slack_takes_no_markup_from_a_log(site: Site, listener: Listener) -> None:
    add(site, "slack", listener.url)
    failing(site, "<!channel> & <http://evil.example|click>")

    site.server.deliver()

    found = READ["slack"](listener.received[0].body)
    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|click&gt;" in found


# Apprise, which is not installed: a module of the test stands in for it

STUB = """
import json, logging, os
logger = logging.getLogger("apprise")

class Apprise:
    def __init__(self):
        self.urls = []

    @staticmethod
    def instantiate(url):
        return url if url.startswith("mailto://") else None

    def add(self, url):
        self.urls.append(url)
        return True

    def notify(self, body, title):
        logger.error("could not reach %s", self.urls)
        with open(os.environ["SAID"], "a") as file:
            file.write(json.dumps({"urls": self.urls, "body": body, "title": title}) + "\\n")
        return "broken" not in self.urls[0]
"""
URL = "mailto://ann:hunter2@mail.example"


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """What the module was asked to send."""
    (tmp_path / "apprise.py").write_text(STUB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    (tmp_path / "said").touch()
    yield lambda: [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    sys.modules.pop("apprise", None)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise cannot be imported, wherever this runs."""
    monkeypatch.setitem(sys.modules, "apprise", None)


HOW = "apprise is not installed: pip install 'cronwatch[apprise]'"


@pytest.mark.usefixtures("without")
def test_without_the_extra_one_is_told_how_to_get_it(site: Site) -> None:
    done = add(site, "apprise", URL)

    assert (done.code, done.out, done.err) == (1, "", f"cronwatch: {HOW}\n")


@pytest.mark.usefixtures("without")
def test_without_the_extra_the_api_says_so_too(site: Site) -> None:
    given = {"channel": "apprise", "name": "me", "url": URL}

    answer = site.post("/api/v1/integrations", json.dumps(given), X_API_Key=site.api_key())

    assert (answer.status_int, answer.json) == (400, {"error": HOW})


def test_where_the_extra_is_gone_an_alert_says_so_and_waits(
    site: Site, said: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(site, "apprise", URL)
    monkeypatch.setitem(sys.modules, "apprise", None)
    failing(site)

    site.server.deliver()

    (found,) = site.rows("SELECT state, result FROM alert")
    assert (found["state"], HOW in found["result"]) == ("pending", True)


def test_apprise_is_given_the_text_and_a_title(site: Site, said: Callable[[], list[Any]]) -> None:
    add(site, "apprise", URL)
    failing(site, "disk full")

    site.server.deliver()

    assert said() == [
        {"urls": [URL], "body": text(site), "title": "Backup failed with exit code 3"}
    ]


def test_what_apprise_has_sent_is_sent(site: Site, said: Callable[[], list[Any]]) -> None:
    add(site, "apprise", URL)
    failing(site)

    site.server.deliver()

    assert [row["state"] for row in site.rows("SELECT state FROM alert")] == ["sent"]


def test_what_apprise_could_not_send_is_tried_again(
    site: Site, said: Callable[[], list[Any]]
) -> None:
    add(site, "apprise", f"{URL}/broken")
    failing(site)
    site.server.deliver()
    site.clock.move(10)

    site.server.deliver()

    (found,) = site.rows("SELECT state, tries, result FROM alert")
    assert (found["state"], found["tries"], len(said())) == ("pending", 2, 2)
    assert "hunter2" not in found["result"]


def test_an_address_that_apprise_does_not_know_is_refused(
    site: Site, said: Callable[[], list[Any]]
) -> None:
    done = add(site, "apprise", "pigeon://ann:hunter2@loft")

    assert (done.code, done.err) == (1, "cronwatch: url must be one that Apprise knows\n")


def test_what_apprise_logs_is_not_logged(
    site: Site, said: Callable[[], list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    add(site, "apprise", f"{URL}/broken")
    failing(site)

    site.server.deliver()

    assert len(said()) == 1
    assert "hunter2" not in caplog.text


SLOW = """
import contextlib, os, sqlite3

def note(what):
    with contextlib.closing(
            sqlite3.connect(os.environ["SITE"], timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            what += " in a transaction"
    with open(os.environ["SAID"], "a") as file:
        file.write('"' + what + '"\\n')

note("imported")
"""


def busy_stub() -> str:
    """A module that notes, when it is loaded and first asked, whether anybody else can write."""
    first = 'is_first, Apprise.is_first = getattr(Apprise, "is_first", True), False'
    asked = f"        {first}\n        if is_first: note('asked')\n"
    return SLOW + STUB.replace("def instantiate(url):\n", f"def instantiate(url):\n{asked}")


def add_by_api(site: Site, key: str) -> Any:
    given = {"channel": "apprise", "name": "me", "url": URL}
    return site.post("/api/v1/integrations", json.dumps(given), X_API_Key=key).status_int


def change_by_api(site: Site, key: str) -> Any:
    add(site, "apprise", URL)
    sys.modules.pop("apprise", None)
    return site.send(
        "PATCH", "/api/v1/integrations/me", json.dumps({"url": f"{URL}/2"}), {"X-API-Key": key}
    ).status_int


def add_by_command(site: Site, key: str) -> Any:
    return add(site, "apprise", URL).code


def add_by_file(site: Site, key: str) -> Any:
    file = site.database.with_name("box.json")
    file.write_text(
        json.dumps({"integrations": [{"channel": "apprise", "name": "me", "url": URL}]})
    )
    return call("apply", str(file), "--database", str(site.database)).code


@pytest.mark.parametrize(
    "way, answers",
    [(add_by_api, 201), (change_by_api, 200), (add_by_command, 0), (add_by_file, 0)],
)
def test_pings_do_not_wait_until_apprise_is_loaded(
    site: Site,
    said: Callable[[], list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Site, str], Any],
    answers: int,
) -> None:
    """That takes a second at first: nobody may hold the database meanwhile."""
    (tmp_path / "apprise.py").write_text(busy_stub())
    monkeypatch.setenv("SITE", str(site.database))

    answered = way(site, site.api_key())

    assert answered == answers
    assert said()[-2:] == ["imported", "asked"]


@pytest.mark.parametrize(
    "given",
    [
        [],
        {},
        {"integrations": {}},
        {"integrations": ["x"]},
        {"url": None},
        "url",
        {"integrations": [{"channel": "apprise", "name": "x", "url": 5}]},
    ],
)
def test_what_is_no_integration_of_apprise_is_left_to_the_check(given: Any) -> None:
    assert cronwatch.with_apprise(given) is given


@pytest.mark.parametrize("permission, shown", [("read-write", True), ("read-only", False)])
def test_the_address_is_shown_to_who_may_change_it(
    site: Site, said: Callable[[], list[Any]], permission: str, shown: bool
) -> None:
    add(site, "apprise", URL)

    answer = site.get("/api/v1/integrations", X_API_Key=site.api_key(permission))

    assert ("hunter2" in answer.text) is shown

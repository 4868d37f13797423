"""What a person reads on a phone, at night: what, since when, the last good run, notes, log, link.

The folder alert_texts has the words of each kind of event for each channel, as they are read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, Site
from live_server import Done, call

import cronwatch

TEXTS = Path(__file__).parent / "alert_texts"
LINK = "http://cron.test/#/monitors/"
FIELDS = [
    "id",
    "kind",
    "at",
    "toldAt",
    "summary",
    "monitor",
    "run",
    "reason",
    "downSince",
    "downtimeSeconds",
    "failedCount",
    "missedCount",
    "count",
    "rules",
    "lastSuccess",
    "gap",
    "monitors",
]
MONITOR_FIELDS = ["id", "key", "name", "tags", "status", "timezone", "notes", "url"]
RUN_FIELDS = [
    "id",
    "series",
    "state",
    "startedAt",
    "endedAt",
    "durationMs",
    "exitCode",
    "message",
    "host",
    "logTail",
]
LOG = "rsync: 12 files\nrsync: write failed on /backup: No space left on device (28)\n"


def add(site: Site, channel: str, target: str, name: str = "me") -> Done:
    return call("integration", "add", channel, name, target, "--database", str(site.database))


def nightly(site: Site, **columns: Any) -> Made:
    """A monitor of a job that runs at three in Berlin, and has run well the night before."""
    job = site.monitor(
        **{
            "name": "Nightly backup",
            "key": "nightly",
            "tags": "prod nas",
            "notes": "Disk full? Run `prune-backups` on nas, then start the job by hand.",
            "cron": "0 3 * * *",
            "timezone": "Europe/Berlin",
            "grace_seconds": 300,
            **columns,
        }
    )
    at(site, "2026-03-03T03:00:00+01:00")
    site.get(f"/{job.token}/start")
    at(site, "2026-03-03T03:12:00+01:00")
    site.get(f"/{job.token}")
    return job


def at(site: Site, instant: str) -> None:
    """Move the clock to an instant, and look for what fell due on the way."""
    site.clock.now = round(datetime.fromisoformat(instant).timestamp() * 1000)
    site.server.scan()


def event(site: Site) -> dict[str, Any]:
    """The newest event, as senders get it."""
    row = site.server.read(
        lambda tx: tx.rows(cronwatch.EVENTS_SQL + "ORDER BY e.num DESC LIMIT 1")
    )[0]
    return cronwatch.event_json(row, "http://cron.test")


def text(site: Site, most: int = 1000) -> str:
    return cronwatch.event_text(event(site), most)


# each kind of event


def make_missed(site: Site) -> None:
    nightly(site)
    at(site, "2026-03-04T03:06:00+01:00")


def make_failed(site: Site) -> None:
    job = nightly(site)
    at(site, "2026-03-04T03:00:00+01:00")
    site.get(f"/{job.token}/start")
    at(site, "2026-03-04T03:04:10+01:00")
    site.post(f"/ping/{job.token}/11", LOG)


def make_stuck(site: Site) -> None:
    job = nightly(site, max_run_seconds=3600)
    at(site, "2026-03-04T03:00:00+01:00")
    site.get(f"/{job.token}/start")
    at(site, "2026-03-04T04:00:05+01:00")


def make_silent_failure(site: Site) -> None:
    rules = [{"field": "rows", "operator": "lt", "value": 1}]
    job = nightly(site, rules=json.dumps(rules))
    at(site, "2026-03-04T03:00:00+01:00")
    site.get(f"/{job.code}/run")
    at(site, "2026-03-04T03:00:04+01:00")
    site.get(f"/{job.code}/complete?metric=rows:0")


def make_recovered(site: Site) -> None:
    make_missed(site)
    (row,) = site.rows("SELECT text FROM handle WHERE kind = 'token'")
    at(site, "2026-03-04T05:05:00+01:00")
    site.get(f"/{row['text']}")


def make_reminder(site: Site) -> None:
    nightly(site, reminder_interval_seconds=86_400)
    at(site, "2026-03-04T03:06:00+01:00")
    at(site, "2026-03-05T03:06:00+01:00")


def make_outage(site: Site) -> None:
    nightly(site)
    nightly(site, name="Mail queue", key="mail")
    at(site, "2026-03-04T02:50:00+01:00")
    since = site.clock.now
    site.clock.move(3600)
    site.server.away(since, site.clock.now)


def make_delivery_failed(site: Site) -> None:
    nightly(site)
    add(site, "webhook", "http://127.0.0.1:9/nobody", "Chat")
    at(site, "2026-03-04T03:06:00+01:00")
    for seconds in (0, 10, 30, 120):
        site.clock.move(seconds)
        site.server.deliver()


def make_test(site: Site) -> None:
    add(site, "webhook", "http://127.0.0.1:9/nobody", "Chat")
    call("integration", "test", "Chat", "--database", str(site.database))


MAKE = {
    "missed": make_missed,
    "failed": make_failed,
    "stuck": make_stuck,
    "silent_failure": make_silent_failure,
    "recovered": make_recovered,
    "reminder": make_reminder,
    "outage": make_outage,
    "delivery_failed": make_delivery_failed,
    "test": make_test,
}


def ntfy_text(told: dict[str, Any]) -> str:
    post = cronwatch.BODIES["ntfy"](told)
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in post.headers.items()
        if name != "Content-Type"
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\n".join([*lines, "", post.content.decode()])


def slack_text(told: dict[str, Any]) -> str:
    body = json.loads(cronwatch.BODIES["slack"](told).content)
    (attachment,) = body["attachments"]
    return f"{body['text']}\n[{attachment['color']}]\n{attachment['text']}"


def discord_text(told: dict[str, Any]) -> str:
    body = json.loads(cronwatch.BODIES["discord"](told).content)
    (embed,) = body["embeds"]
    return f"{body['content']}\n[#{embed['color']:06x}]\n{embed['description']}"


def mail_text(told: dict[str, Any]) -> str:
    mail = cronwatch.word_mail(cronwatch.Settings(), "me@home.example", told, 0)
    return f"Subject: {mail['Subject']}\n\n{mail.get_content()}"


CHANNELS: dict[str, Callable[[dict[str, Any]], str]] = {
    "ntfy": ntfy_text,
    "slack": slack_text,
    "discord": discord_text,
    "email": mail_text,
}


def golden(kind: str) -> dict[str, str]:
    """What a file of the folder says for each channel."""
    parts = re.split(r"^=== (\w+)\n", (TEXTS / f"{kind}.txt").read_text(), flags=re.MULTILINE)
    return {name: words.strip() for name, words in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("kind", MAKE)
def test_each_kind_of_event_has_these_words(site: Site, kind: str, channel: str) -> None:
    MAKE[kind](site)
    told = event(site)
    id_ = told["monitor"]["id"] if told["monitor"] else "-"

    words = CHANNELS[channel](told)

    assert words.replace(id_, "ID").strip() == golden(kind)[channel]


@pytest.mark.parametrize("kind", MAKE)
def test_an_event_has_the_documented_fields(site: Site, kind: str) -> None:
    MAKE[kind](site)

    told = event(site)

    assert (told["kind"], list(told)) == (kind, FIELDS)
    is_of_a_monitor = kind not in ("outage", "delivery_failed", "test")
    assert list(told["monitor"] or ()) == (MONITOR_FIELDS if is_of_a_monitor else [])
    has_run = kind in ("failed", "silent_failure", "recovered", "stuck")
    assert list(told["run"] or ()) == (RUN_FIELDS if has_run else [])


def test_there_are_words_for_each_kind_of_event() -> None:
    assert {path.stem for path in TEXTS.iterdir()} == set(MAKE) == set(cronwatch.EVENT_KINDS)


# the words


def failing(site: Site, log: str = "", **columns: Any) -> Made:
    """A monitor that has failed, with a log."""
    job = site.monitor(name="Backup", key="backup", **columns)
    site.post(f"/ping/{job.token}/3", log)
    return job


def headline(site: Site) -> str:
    return text(site).splitlines()[0]


def test_a_day_is_named_where_it_is_not_that_of_the_alert(site: Site) -> None:
    nightly(site)
    at(site, "2026-03-05T09:00:00+01:00")

    assert text(site).splitlines()[:2] == [
        "✖ Nightly backup did not report: due Wed 4 Mar 03:00, grace 5 min",
        "Down since Wed 4 Mar 03:05 CET",
    ]


def test_a_year_is_named_where_it_is_not_that_of_the_alert(site: Site) -> None:
    nightly(site)
    at(site, "2027-01-05T09:00:00+01:00")

    assert "due Wed 4 Mar 2026 03:00" in headline(site)


def test_a_zone_without_a_name_is_told_by_its_offset(site: Site) -> None:
    failing(site, timezone="America/Sao_Paulo")

    assert text(site).splitlines()[1] == "Down since 09:00 UTC-03"


def test_without_grace_none_is_told(site: Site) -> None:
    nightly(site, grace_seconds=0)
    at(site, "2026-03-04T03:06:00+01:00")

    assert headline(site) == "✖ Nightly backup did not report: due 03:00"


def test_a_job_that_has_to_complete_did_not_complete(site: Site) -> None:
    nightly(site, expects="complete")
    at(site, "2026-03-04T03:06:00+01:00")

    assert headline(site) == "✖ Nightly backup did not complete: due 03:00, grace 5 min"


def test_a_miss_that_a_ping_settles_says_when_it_was_due(site: Site) -> None:
    job = nightly(site)
    site.clock.move(2 * 86_400)

    site.get(f"/{job.token}/fail")

    summaries = [
        row["summary"]
        for row in site.get("/api/v1/events", X_API_Key=site.api_key()).json["events"]
    ]
    assert summaries == [
        "Nightly backup failed",
        "Nightly backup did not report: due Wed 4 Mar 03:00, grace 5 min",
    ]


def test_a_miss_that_is_told_again_after_a_pause_says_by_when(site: Site) -> None:
    job = nightly(site)
    at(site, "2026-03-04T03:06:00+01:00")
    site.server.act(cronwatch.pause_monitor, job.num, 3600)
    at(site, "2026-03-04T04:06:00+01:00")

    assert headline(site) == "✖ Nightly backup did not report by 04:06 CET"


def test_more_than_one_failure_is_counted_when_it_is_up_again(site: Site) -> None:
    job = failing(site)
    site.clock.move(600)
    site.get(f"/{job.token}/fail")
    site.clock.move(4800)
    site.get(f"/{job.token}")

    assert text(site).splitlines() == [
        "✔ Backup is up again after 1.5 h",
        "Down from 12:00 to 13:30 UTC: 2 failures, 1 missed run",
        f"{LINK}{job.id}",
    ]


@pytest.mark.parametrize(
    "seconds, span", [(30, "30 s"), (90, "1.5 min"), (3600, "1 h"), (86_400 * 3, "3 d")]
)
def test_a_recovery_says_its_time_in_a_unit_for_people(
    site: Site, seconds: int, span: str
) -> None:
    job = failing(site, interval_seconds=None)
    site.clock.move(seconds)

    site.get(f"/{job.token}")

    assert headline(site) == f"✔ Backup is up again after {span}"


@pytest.mark.parametrize("failures, words", [(1, "1 more time"), (3, "3 more times")])
def test_failures_that_were_collected_are_counted(site: Site, failures: int, words: str) -> None:
    job = failing(site)
    for _ in range(failures):
        site.clock.move(1)
        site.get(f"/{job.code}/fail?msg=disk+full")
    site.clock.move(60)
    site.server.scan()

    assert headline(site) == f"✖ Backup failed {words}: disk full"


def test_what_the_job_said_is_in_the_headline(site: Site) -> None:
    job = site.monitor(name="Backup")

    site.get(f"/{job.code}/fail?msg=disk+full&status_code=3")

    assert headline(site) == "✖ Backup failed with exit code 3: disk full"


def test_a_log_that_is_the_message_is_told_once(site: Site) -> None:
    job, key = site.monitor(name="Backup"), site.api_key()
    said = {"errorMessage": "disk full", "logOutput": "disk full\n"}

    site.post(f"/api/v1/ping/{job.id}/fail", json.dumps(said), X_API_Key=key)

    assert text(site).count("disk full") == 1


def test_all_rules_that_matched_are_told(site: Site) -> None:
    rules = [
        {"field": "rows", "operator": "lt", "value": 10},
        {"field": "duration_seconds", "operator": "gt", "value": 60},
    ]
    job = site.monitor(name="Backup", rules=json.dumps(rules))

    site.get(f"/{job.code}/complete?metric=rows:7&metric=duration:90")

    assert headline(site) == (
        "▲ Backup succeeded, but rows is 7 (rule: lt 10) and duration_seconds is 90 (rule: gt 60)"
    )


def test_of_many_monitors_in_an_outage_twenty_are_named(site: Site) -> None:
    for n in range(22):
        site.get(f"/{site.monitor(name=f'job {n}', interval_seconds=86_400).token}")
    site.clock.move(86_400)
    site.server.away(site.clock.now, site.clock.now + 3_600_000)

    assert text(site).splitlines()[1:] == [*(f"job {n}" for n in range(20)), "and 2 more"]


def test_a_stuck_run_says_that_cronwatch_was_away_for_a_moment(site: Site) -> None:
    make_stuck(site)
    told = event(site)
    told["gap"] = {"since": "2026-03-04T02:30:00.000Z", "until": "2026-03-04T02:31:00.000Z"}

    assert cronwatch.event_text(told, 1000).splitlines()[2] == (
        "cronwatch was away from 03:30 to 03:31 CET: its end may have come then"
    )


def test_of_an_event_of_an_older_version_what_was_kept_is_told(site: Site) -> None:
    make_missed(site)
    (row,) = site.rows("SELECT body FROM event")
    body = json.loads(row["body"]) | {"about": None}
    del (
        body["lastSuccess"],
        body["timezone"],
        body["monitor"]["timezone"],
        body["monitor"]["notes"],
    )
    site.rows("UPDATE event SET body = ?", json.dumps(body))

    assert text(site).splitlines()[:2] == [
        "✖ Nightly backup did not report by 02:05 UTC",
        "Down since 02:05 UTC",
    ]


# what does not fit, and what would be markup


def block(site: Site, most: int = 1000) -> list[str]:
    """The log in the text: what stands between two empty lines."""
    return text(site, most).split("\n\n")[1].splitlines()


def test_of_a_long_log_the_last_ten_lines_are_told(site: Site) -> None:
    failing(site, "\n".join(f"line {number}" for number in range(40)))

    assert block(site) == [f"line {number}" for number in range(30, 40)]


def test_of_a_long_line_the_end_is_told(site: Site) -> None:
    failing(site, "x" * 900 + " the end")

    assert block(site, 300)[0].endswith("xxx the end")


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

    assert text(site, 20) == "✖ Backup failed with"


def test_of_long_notes_and_a_long_message_the_beginning_is_told(site: Site) -> None:
    job = site.monitor(name="Backup", notes="n" * 2000)
    site.get(f"/{job.code}/fail?msg={'m' * 2000}")

    assert (text(site).count("n" * 100), text(site).count("m" * 100)) == (5, 2)


@pytest.mark.parametrize("log", ["", "\n\n", "   "])
def test_an_empty_log_leaves_no_gap(site: Site, log: str) -> None:
    job = failing(site)
    told = event(site)
    told["run"]["logTail"] = log

    assert cronwatch.event_text(told, 1000).splitlines() == [
        "✖ Backup failed with exit code 3",
        "Down since 12:00 UTC",
        f"{LINK}{job.id}",
    ]


@pytest.mark.parametrize("channel, most", [("discord", 2000), ("ntfy", 4096), ("slack", 40_000)])
@pytest.mark.parametrize("said", ["summary", "logTail"])
def test_no_service_refuses_a_text_as_too_long(
    site: Site, channel: str, most: int, said: str
) -> None:
    failing(site)
    told = event(site)
    (told if said == "summary" else told["run"])[said] = "😀&" * 20_000

    post = cronwatch.BODIES[channel](told)

    if channel == "ntfy":
        assert len(post.content) <= most
    elif channel == "slack":
        body = json.loads(post.content)
        assert max(len(body["text"]), len(body["attachments"][0]["text"])) <= most
    else:
        body = json.loads(post.content)
        assert len(body["content"]) <= most
        assert len(body["embeds"][0]["description"]) <= 4096


def test_slack_takes_no_markup_from_a_log(site: Site) -> None:
    failing(site, "<!channel> & <http://evil.example|click>")

    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|click&gt;" in slack_text(event(site))


def test_slack_takes_no_markup_from_a_message(site: Site) -> None:
    job = site.monitor()
    site.get(f"/{job.code}/fail?msg=%3C!channel%3E")

    assert slack_text(event(site)).startswith("✖ Job failed: &lt;!channel&gt;\n")


@pytest.mark.parametrize("channel", ["slack", "discord"])
def test_no_log_ends_its_code_block(site: Site, channel: str) -> None:
    failing(site, "before\n```\n@everyone")

    words = CHANNELS[channel](event(site))

    assert words.split("```")[1] == "\nbefore\n'''\n@everyone\n"


def test_discord_calls_nobody(site: Site) -> None:
    failing(site, "@everyone")

    body = json.loads(cronwatch.BODIES["discord"](event(site)).content)

    assert body["allowed_mentions"] == {"parse": []}


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


LOCAL = (
    "an integration of Apprise can only be made, changed and removed with `cronwatch integration` "
    "on the server"
)
HOW = "apprise is not installed: pip install 'cronwatch[apprise]'"


@pytest.mark.usefixtures("without")
def test_without_the_extra_one_is_told_how_to_get_it(site: Site) -> None:
    done = add(site, "apprise", URL)

    assert (done.code, done.out, done.err) == (1, "", f"cronwatch: {HOW}\n")


def test_the_api_makes_no_integration_of_apprise(
    site: Site, said: Callable[[], list[Any]]
) -> None:
    given = {"channel": "apprise", "name": "me", "url": URL}

    answer = site.post("/api/v1/integrations", json.dumps(given), X_API_Key=site.api_key())

    assert (answer.status_int, answer.json) == (403, {"error": LOCAL})


@pytest.mark.parametrize(
    "method, given, status",
    [("PATCH", {"url": URL}, 403), ("DELETE", None, 403), ("PATCH", {"enabled": False}, 200)],
)
def test_the_api_only_switches_an_integration_of_apprise(
    site: Site, said: Callable[[], list[Any]], method: str, given: Any, status: int
) -> None:
    add(site, "apprise", URL)
    body = json.dumps(given) if given else ""

    answer = site.send(method, "/api/v1/integrations/me", body, {"X-API-Key": site.api_key()})

    assert answer.status_int == status


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

    title, body = text(site).split("\n", 1)
    assert said() == [{"urls": [URL], "body": body, "title": title}]


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
    [(add_by_command, 0), (add_by_file, 0)],
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

"""What a person reads on a phone, at night: what, since when, the last good run, notes, log, link.

The folder alert_texts has the words of each kind of event, below the story that leads to it (see
site/README.md), and for some what each channel makes of them. More words are in site/words.txt."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, Site
from live_server import call
from test_alerts import events
from test_site import play
from trouble import add

import cronwatch

FILES = {path.stem: path for path in (Path(__file__).parent / "alert_texts").iterdir()}
README = Path(__file__).parents[1] / "README.md"
LINK = "http://cron.test/#/monitors/"


# each kind of event


def ntfy_text(told: dict[str, Any]) -> str:
    post = cronwatch.BODIES["ntfy"](told)
    lines = [
        f"{name}: {value.decode() if isinstance(value, bytes) else value}"
        for name, value in post.headers.items()
        if name != "Content-Type"
    ]
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


@pytest.mark.parametrize("kind", cronwatch.EVENT_KINDS)
def test_each_kind_of_event_has_these_words(make_site: Callable[..., Site], kind: str) -> None:
    line, *parts = re.split(r"^=== (.+)\n", FILES[kind].read_text(), flags=re.MULTILINE)

    told = play(make_site, line.strip()).event

    id_ = told["monitor"]["id"] if told["monitor"] else "-"
    for channels, words in zip(parts[::2], parts[1::2], strict=True):
        for channel in channels.split():
            assert CHANNELS[channel](told).replace(id_, "ID").strip() == words.strip()


@pytest.mark.parametrize("kind", cronwatch.EVENT_KINDS)
def test_an_event_has_the_documented_fields(make_site: Callable[..., Site], kind: str) -> None:
    example = re.search(r'^\{"id".*?\}$', README.read_text(), re.MULTILINE | re.DOTALL)
    assert example
    documented = json.loads(example[0])

    told = play(make_site, FILES[kind].read_text().partition("\n")[0]).event

    assert (told["kind"], list(told)) == (kind, list(documented))
    is_of_the_server = kind in ("outage", "delivery_failed", "test")
    assert list(told["monitor"] or ()) == ([] if is_of_the_server else list(documented["monitor"]))
    has_run = kind in ("failed", "silent_failure", "recovered", "stuck")
    assert list(told["run"] or ()) == (list(documented["run"]) if has_run else [])


# the words


def failing(site: Site, log: str = "") -> Made:
    """A monitor that has failed, with a log."""
    job = site.monitor(name="Backup", key="backup")
    site.post(f"/ping/{job.token}/3", log)
    return job


def event(site: Site) -> dict[str, Any]:
    """The newest event, as the API shows it."""
    newest: dict[str, Any] = events(site)[0]
    return newest


def text(site: Site, most: int = 1000) -> str:
    return cronwatch.event_text(event(site), most)


def test_a_miss_that_a_ping_settles_says_when_it_was_due(make_site: Callable[..., Site]) -> None:
    story = play(make_site, "nightly a, 2d, fail a")

    assert [one["summary"] for one in events(story.site)] == [
        "Nightly backup failed",
        "Nightly backup did not report: due Wed 4 Mar 03:00, grace 5 min",
    ]


def test_a_log_that_is_the_message_is_told_once(site: Site) -> None:
    job, key = site.monitor(name="Backup"), site.api_key()
    said = {"errorMessage": "disk full", "logOutput": "disk full\n"}

    site.post(f"/api/v1/ping/{job.id}/fail", json.dumps(said), X_API_Key=key)

    assert text(site).count("disk full") == 1


def test_of_many_monitors_in_an_outage_twenty_are_named(site: Site) -> None:
    for n in range(22):
        site.get(f"/{site.monitor(name=f'job {n}', interval_seconds=86_400).token}")
    site.clock.move(86_400)
    site.server.away(site.clock.now, site.clock.now + 3_600_000)

    assert text(site).splitlines()[1:] == [*(f"job {n}" for n in range(20)), "and 2 more"]


def test_a_stuck_run_says_that_cronwatch_was_away_for_a_moment(
    make_site: Callable[..., Site],
) -> None:
    told = play(make_site, FILES["stuck"].read_text().partition("\n")[0]).event
    told["gap"] = {"since": "2026-03-04T02:30:00.000Z", "until": "2026-03-04T02:31:00.000Z"}

    assert cronwatch.event_text(told, 1000).splitlines()[2] == (
        "cronwatch was away from 03:30 to 03:31 CET: its end may have come then"
    )


def test_of_an_event_of_an_older_version_what_was_kept_is_told(
    make_site: Callable[..., Site],
) -> None:
    story = play(make_site, "nightly a, at 4 03:06")
    (row,) = story.site.rows("SELECT body FROM event")
    body = json.loads(row["body"]) | {"about": None}
    for outer, name in [(body, "lastSuccess"), (body, "timezone")]:
        del outer[name]
    for name in ("timezone", "notes"):
        del body["monitor"][name]
    story.site.rows("UPDATE event SET body = ?", json.dumps(body))

    assert cronwatch.event_text(story.event, 1000).splitlines()[:2] == [
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


def test_a_text_is_never_too_long_and_keeps_its_link_where_there_is_room(site: Site) -> None:
    job = failing(site, "x" * 5000)

    texts = {most: text(site, most) for most in (2000, 1000, 300, 200, 130, 120, 20)}

    assert [most for most, words in texts.items() if len(words) > most] == []
    with_link = {most for most, words in texts.items() if words.endswith(f"\n{LINK}{job.id}")}
    assert with_link >= {1000, 300, 200, 130}
    assert texts[20] == "✖ Backup failed with"


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


@pytest.mark.parametrize("said", ["summary", "logTail"])
def test_no_service_refuses_a_text_as_too_long(site: Site, said: str) -> None:
    failing(site)
    told = event(site)
    (told if said == "summary" else told["run"])[said] = "😀&" * 20_000

    ntfy, slack, discord = (
        cronwatch.BODIES[channel](told).content for channel in ("ntfy", "slack", "discord")
    )

    assert len(ntfy) <= 4096
    body = json.loads(slack)
    assert max(len(body["text"]), len(body["attachments"][0]["text"])) <= 40_000
    body = json.loads(discord)
    assert (len(body["content"]) <= 2000, len(body["embeds"][0]["description"]) <= 4096) == (
        True,
        True,
    )


def test_slack_takes_no_markup_from_a_log(site: Site) -> None:
    failing(site, "<!channel> & <http://evil.example|click>")

    assert "&lt;!channel&gt; &amp; &lt;http://evil.example|click&gt;" in slack_text(event(site))


def test_slack_takes_no_markup_from_a_message(site: Site) -> None:
    site.get(f"/{site.monitor().code}/fail?msg=%3C!channel%3E")

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


# Apprise, which is not installed: a module of the test stands in for it, and notes when it is
# loaded, asked and sends, and whether somebody holds the database then

STUB = """
import contextlib, json, logging, os, sqlite3

logger = logging.getLogger("apprise")

def note(**what):
    with contextlib.closing(
            sqlite3.connect(os.environ["SITE"], timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            what["in"] = "a transaction"
    with open(os.environ["SAID"], "a") as file:
        file.write(json.dumps(what) + "\\n")

class Apprise:
    is_first = True

    def __init__(self):
        self.urls = []

    @staticmethod
    def instantiate(url):
        if Apprise.is_first:
            note(asked=url)
        Apprise.is_first = False
        return url if url.startswith("mailto://") else None

    def add(self, url):
        self.urls.append(url)
        return True

    def notify(self, body, title):
        logger.error("could not reach %s", self.urls)
        note(urls=self.urls, body=body, title=title)
        return "broken" not in self.urls[0]

note(imported=True)
"""
URL = "mailto://ann:hunter2@mail.example"
HOW = "apprise is not installed: pip install 'cronwatch[apprise]'"


@pytest.fixture
def said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[Any]]]:
    """What the module was asked, once it was loaded and knew an address."""
    (tmp_path / "apprise.py").write_text(STUB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    monkeypatch.setenv("SITE", str(site.database))
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    yield lambda: [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    sys.modules.pop("apprise", None)


def add_by_command(site: Site, url: str = URL) -> tuple[int | None, str]:
    done = call("integration", "add", "apprise", "me", url, "--database", str(site.database))
    return done.code, done.err


def add_by_file(site: Site) -> tuple[int | None, str]:
    file = site.database.with_name("box.json")
    made = {"channel": "apprise", "name": "me", "url": URL}
    file.write_text(json.dumps({"integrations": [made]}))
    done = call("apply", str(file), "--database", str(site.database))
    return done.code, done.err


@pytest.mark.usefixtures("said")
def test_an_address_that_apprise_does_not_know_is_refused(site: Site) -> None:
    refused = add_by_command(site, "pigeon://ann:hunter2@loft")

    assert refused == (1, "cronwatch: url must be one that Apprise knows\n")


def test_without_the_extra_one_is_told_how_to_get_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    assert add_by_command(site) == (1, f"cronwatch: {HOW}\n")


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("POST", "", {"channel": "apprise", "name": "other", "url": URL}, 403),
        ("PATCH", "/me", {"url": URL}, 403),
        ("DELETE", "/me", None, 403),
        ("PATCH", "/me", {"enabled": False}, 200),
    ],
)
def test_the_api_only_switches_an_integration_of_apprise(
    site: Site, method: str, path: str, body: Any, status: int
) -> None:
    add(site, "apprise", URL, "me")
    sent = json.dumps(body) if body else ""

    answer = site.send(method, f"/api/v1/integrations{path}", sent, {"X-API-Key": site.api_key()})

    assert answer.status_int == status
    assert status == 200 or "with `cronwatch integration` on the server" in answer.json["error"]


def test_where_the_extra_is_gone_an_alert_says_so_and_waits(
    site: Site, said: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(site, "apprise", URL)
    monkeypatch.setitem(sys.modules, "apprise", None)
    failing(site)

    site.server.deliver()

    (alert,) = site.rows("SELECT state, result FROM alert")
    assert (alert["state"], HOW in alert["result"]) == ("pending", True)


def test_apprise_is_given_the_text_and_a_title(site: Site, said: Callable[[], list[Any]]) -> None:
    add(site, "apprise", URL)
    failing(site, "disk full")

    site.server.deliver()

    title, body = text(site).split("\n", 1)
    assert said()[-1] == {"urls": [URL], "body": body, "title": title}


def test_what_apprise_could_not_send_is_tried_again_and_its_log_is_not_ours(
    site: Site, said: Callable[[], list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    add(site, "apprise", f"{URL}/broken")
    failing(site)
    site.server.deliver()
    site.clock.move(10)

    site.server.deliver()

    (alert,) = site.rows("SELECT state, tries, result FROM alert")
    assert (alert["state"], alert["tries"]) == ("pending", 2)
    assert len([one for one in said() if "title" in one]) == 2
    assert "hunter2" not in alert["result"] + caplog.text


@pytest.mark.parametrize("way", [add_by_command, add_by_file])
def test_pings_do_not_wait_until_apprise_is_loaded(
    site: Site, said: Callable[[], list[Any]], way: Callable[[Site], tuple[int | None, str]]
) -> None:
    """That takes a second at first: nobody may hold the database meanwhile."""
    code, _ = way(site)

    assert code == 0
    assert said() == [{"imported": True}, {"asked": URL}]


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

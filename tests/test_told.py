"""A job that stops is told, once, to all who listen, and so is its recovery: everything is real.

The story is lived through once; each test looks at one fact of it.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from live_server import LIMIT_SECONDS, Live, call, environment, serving, wait_for
from test_alerts import Listener, Mailbox

import cronwatch

SCAN_SECONDS, EVERY_SECONDS, GRACE_SECONDS = 0.5, 2, 3
JOB = """
# What cron would do: the job runs again and again, and pings where it went well.
while [ -e running ]; do
    [ -e well ] && curl -fsS -m 10 --retry 3 -o /dev/null "$PING_URL"
    sleep 0.3
done
"""


@dataclass
class Story:
    """What came of it: the kinds that each was told, in order, and the event of the miss."""

    told: dict[str, list[str]]
    missed: dict[str, Any]


def live_through(live: Live, listener: Listener, mailbox: Mailbox) -> Story:
    """The job runs, stops, and runs again."""
    well = live.folder / "well"

    def told() -> dict[str, list[str]]:
        lines = (live.folder / "ran").read_text().splitlines()
        subjects = [" ".join(mail["Subject"].split()) for mail in mailbox.received]
        by_summary = {one.event["summary"]: one.event["kind"] for one in listener.received}
        mails = [by_summary.get(subject, subject) for subject in subjects]
        return {"webhook": listener.kinds, "command": lines, "email": mails}

    def all_are_told(kind: str) -> Callable[[], bool]:
        return lambda: all(kind in kinds for kinds in told().values())

    (live.folder / "ran").touch()
    well.touch()
    wait_for(lambda: live.monitor("nightly")["status"] == "up", "the first ping")
    well.unlink()
    wait_for(all_are_told("missed"), "the job is missed by all")
    well.touch()
    wait_for(all_are_told("recovered"), "its recovery is told to all")
    assert live.stop() == (0, "")
    return Story(told(), listener.received[0].event)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("told")
    with ExitStack() as stack:
        listener, mailbox = stack.enter_context(closing(Listener())), Mailbox()
        stack.callback(mailbox.controller.stop)
        live = stack.enter_context(
            serving(
                folder,
                CRONWATCH_SCAN_SECONDS=str(SCAN_SECONDS),
                CRONWATCH_SMTP_HOST="127.0.0.1",
                CRONWATCH_SMTP_PORT=str(mailbox.port),
                CRONWATCH_SMTP_SECURITY="none",
            )
        )
        command = f"echo $CRONWATCH_EVENT_KIND >> {folder}/ran"
        for channel, name, target in (
            ("webhook", "chat", listener.url),
            ("command", "siren", command),
            ("email", "root", "root@example.org"),
        ):
            live.quick("integration", "add", channel, name, target)
        cron, grace = f"*/{EVERY_SECONDS} * * * * *", str(GRACE_SECONDS)
        live.quick("monitor", "add", "nightly", "--cron", cron, "--grace", grace)
        (folder / "running").touch()
        job = subprocess.Popen(
            ["sh", "-c", JOB],
            cwd=folder,
            env=environment(PING_URL=live.monitor("nightly")["pingUrl"]),
            stderr=subprocess.DEVNULL,
        )
        stack.callback(job.wait, LIMIT_SECONDS)
        stack.callback((folder / "running").unlink)
        yield live_through(live, listener, mailbox)


def at(text: str) -> datetime:
    """An instant of the JSON, which must be ISO 8601 with milliseconds and Z."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("channel", ["webhook", "command", "email"])
def test_each_is_told_once_of_the_miss_and_once_of_the_recovery(
    story: Story, channel: str
) -> None:
    assert story.told[channel] == ["missed", "recovered"]


def test_the_miss_is_dated_at_the_deadline_and_told_within_two_scans(story: Story) -> None:
    late = (at(story.missed["toldAt"]) - at(story.missed["at"])).total_seconds()
    deadline = at(story.missed["at"]).timestamp() - GRACE_SECONDS
    assert deadline % EVERY_SECONDS == 0
    assert 0 <= late <= 2 * SCAN_SECONDS + LIMIT_SECONDS / 3  # the second term: a busy machine


def test_a_test_is_sent_by_the_server_that_runs_and_says_what_came_of_it(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        command = f"echo $PPID > {tmp_path}/parent; [ -e {tmp_path}/battery ]"
        live.quick(
            "integration", "add", "command", "siren", f"{command} || {{ echo none; exit 3; }}"
        )

        done = call("integration", "test", "siren", "--database", str(live.database))
        (tmp_path / "battery").touch()
        again = live.quick("integration", "test", "siren")

        assert (tmp_path / "parent").read_text() == f"{live.process.pid}\n"
    assert (done.code, done.err) == (1, "cronwatch: siren does not work: exit code 3: none\n")
    assert again == "siren works: exit code 0\n"


def test_a_test_that_no_server_sends_is_withdrawn(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs holds its lock, and does nothing."""
    words = ("--database", str(site.database))
    call("integration", "add", "command", "siren", "true", *words)
    monkeypatch.setattr(cronwatch, "TEST_SECONDS", 0.3)
    with open(site.database, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        done = call("integration", "test", "siren", *words)

    why = "siren does not work: nothing came of it in 0.3 s"
    assert (done.code, done.err) == (1, f"cronwatch: {why}\n")
    assert site.rows("SELECT state FROM alert") == [{"state": "dead"}]


def test_a_test_that_waits_is_not_withdrawn_with_another(site: Site) -> None:
    for name in ("siren", "bell"):
        site.server.act(cronwatch.create_integration, "command", name, {"command": "true"})
    site.server.act(cronwatch.add_test, 2, "bell")

    site.server.outbox.test([1], "siren", seconds=0, by_server=True)

    states = site.rows("SELECT integration, state FROM alert ORDER BY integration")
    assert [row["state"] for row in states] == ["dead", "pending"]

"""A job that stops is told, once, to all who listen, and so is its recovery: everything is real.

The story is lived through once; each test looks at one fact of it.
"""

from __future__ import annotations

import fcntl
import json
import re
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from live_server import LIMIT_SECONDS, Live, call, environment, serving, wait_for
from test_alerts import Listener, Mailbox, Received

import cronwatch

SCAN_SECONDS, EVERY_SECONDS, GRACE_SECONDS = 0.5, 2, 3
JOB = """#!/bin/sh
# What cron would do: the job runs again and again, and pings where it went well.
while [ -e running ]; do
    [ -e well ] && curl -fsS -m 10 --retry 3 -o /dev/null "$PING_URL"
    sleep 0.3
done
"""
COMMAND = "cat >> ran.jsonl; echo >> ran.jsonl"


@contextmanager
def a_job(folder: Path, ping_url: str) -> Iterator[None]:
    """The script in a process of its own. It pings while the file `well` is there."""
    (folder / "running").touch()
    (folder / "job.sh").write_text(JOB)
    with subprocess.Popen(
        ["sh", "job.sh"], cwd=folder, env=environment(PING_URL=ping_url), stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            (folder / "running").unlink()
            process.wait(LIMIT_SECONDS)


@dataclass
class Story:
    """What came of it."""

    monitor: dict[str, Any] = field(default_factory=dict)
    hooks: list[Received] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    folder: Path = Path()
    dead_was_asked: bytes = b""
    dead_was_left: bool = False
    exit: tuple[int, str] | None = None

    @property
    def commands(self) -> list[dict[str, Any]]:
        path = self.folder / "ran.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line]

    def everybody_was_told(self, kind: str, key: str) -> bool:
        """All three have an event of this kind of this monitor."""
        wanted = (kind, key)
        told = [(e["kind"], e["monitor"]["key"]) for e in (hook.event for hook in self.hooks)]
        ran = [(e["kind"], e["monitor"]["key"]) for e in self.commands]
        return wanted in told and wanted in ran and len(self.mails) >= len(told)

    def told(self, kind: str, key: str = "nightly") -> dict[str, Any]:
        """The event that the webhook had."""
        found: dict[str, Any]
        (found,) = (
            e
            for e in (hook.event for hook in self.hooks)
            if (e["kind"], e["monitor"]["key"]) == (kind, key)
        )
        return found


def listen(live: Live, hook_url: str, dead_url: str) -> None:
    """All channels, the dead one first: what it delays would be all the others."""
    live.quick("integration", "add", "webhook", "dead", dead_url)
    live.quick("integration", "add", "webhook", "chat", hook_url)
    live.quick("integration", "add", "command", "siren", f"cd '{live.folder}'; {COMMAND}")
    live.quick("integration", "add", "email", "root", "root@example.org")


def live_through(live: Live, story: Story, dead: socket.socket) -> None:
    """The job runs, stops, and runs again."""
    folder, key = live.folder, "nightly"
    with a_job(folder, story.monitor["pingUrl"]):
        (folder / "well").touch()
        wait_for(lambda: live.monitor(key)["status"] == "up", "the first ping")
        (folder / "well").unlink()
        wait_for(lambda: story.everybody_was_told("missed", key), "the job is missed by all")
        connection, _ = dead.accept()
        with closing(connection):
            connection.settimeout(LIMIT_SECONDS)
            story.dead_was_asked = connection.recv(65_536)
            connection.setblocking(False)
            story.dead_was_left = _ended(connection)
        (folder / "well").touch()
        wait_for(lambda: story.everybody_was_told("recovered", key), "its recovery is told to all")
        dead.close()  # or the stop would wait for the try that is under way
        story.exit = live.stop()


def _ended(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("told")
    story = Story(folder=folder)
    with ExitStack() as stack:
        listener = stack.enter_context(closing(Listener()))
        mailbox = Mailbox()
        stack.callback(mailbox.controller.stop)
        dead = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        dead.settimeout(LIMIT_SECONDS)
        story.hooks, story.mails = listener.received, mailbox.received
        live = stack.enter_context(
            serving(
                folder,
                "--scan-seconds",
                str(SCAN_SECONDS),
                "--smtp-host",
                "127.0.0.1",
                "--smtp-port",
                str(mailbox.port),
                "--smtp-security",
                "none",
                "--smtp-from",
                "cronwatch@example.org",
                CRONWATCH_SMTP_PASSWORD="not to be seen",
            )
        )
        listen(live, listener.url, f"http://127.0.0.1:{dead.getsockname()[1]}/dead")
        live.quick(
            "monitor",
            "add",
            "nightly",
            "--name",
            "Nightly backup",
            "--tags",
            "prod db",
            "--cron",
            f"*/{EVERY_SECONDS} * * * * *",
            "--grace",
            str(GRACE_SECONDS),
        )
        story.monitor = live.monitor("nightly")
        live_through(live, story, dead)
        yield story


def at(text: str) -> datetime:
    """An instant of the JSON, which must be ISO 8601 with milliseconds and Z."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_the_webhook_is_called_once_for_the_miss_and_once_for_the_recovery(story: Story) -> None:
    told = [
        e["kind"] for e in (hook.event for hook in story.hooks) if e["monitor"]["key"] == "nightly"
    ]

    assert told == ["missed", "recovered"]


def test_the_command_is_run_once_for_the_miss_and_once_for_the_recovery(story: Story) -> None:
    told = [e["kind"] for e in story.commands if e["monitor"]["key"] == "nightly"]

    assert told == ["missed", "recovered"]


def test_one_mail_is_sent_for_the_miss_and_one_for_the_recovery(story: Story) -> None:
    subjects = [
        " ".join(mail["Subject"].split())
        for mail in story.mails
        if "Nightly backup" in mail["Subject"]
    ]

    assert subjects == [story.told("missed")["summary"], story.told("recovered")["summary"]]


def test_the_miss_is_dated_at_the_deadline_and_told_within_two_scans(story: Story) -> None:
    missed = story.told("missed")

    late = (at(missed["toldAt"]) - at(missed["at"])).total_seconds()
    deadline = at(missed["at"]).timestamp() - GRACE_SECONDS
    assert deadline % EVERY_SECONDS == 0
    assert 0 <= late <= 2 * SCAN_SECONDS + LIMIT_SECONDS / 3  # the second term: a busy machine


def test_a_dead_webhook_had_its_event_too_and_was_still_asked_when_the_others_knew(
    story: Story,
) -> None:
    assert story.dead_was_asked.startswith(b"POST /dead HTTP/1.1\r\n")
    assert not story.dead_was_left


def test_the_server_stops_cleanly_while_a_webhook_is_dead(story: Story) -> None:
    assert story.exit == (0, "")


def test_commands_are_given_the_event_that_webhooks_are_sent(story: Story) -> None:
    hooks = {hook.event["id"]: hook.event for hook in story.hooks}

    assert {event["id"]: event for event in story.commands} == hooks


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(tmp_path) as found:
        yield found


def test_a_test_is_sent_by_the_server_that_runs(live: Live) -> None:
    live.quick("integration", "add", "command", "siren", f"echo $PPID >> '{live.folder}/parents'")

    said = live.quick("integration", "test", "siren")

    parents = (live.folder / "parents").read_text().split()
    assert parents == [str(live.process.pid)]
    assert said == "siren works: exit code 0\n"


def test_a_test_by_the_server_says_what_the_receiver_answered(live: Live) -> None:
    live.quick("integration", "add", "command", "siren", "echo no battery; exit 3")

    done = call("integration", "test", "siren", "--database", str(live.database))

    assert (done.code, done.err) == (
        1,
        "cronwatch: siren does not work: exit code 3: no battery\n",
    )


def test_a_test_that_no_server_sends_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs holds its lock, and does nothing."""
    words = ("--database", str(tmp_path / "cronwatch.db"))
    call("integration", "add", "command", "siren", "true", *words)
    monkeypatch.setattr(cronwatch, "TEST_SECONDS", 0.3)
    with open(tmp_path / "cronwatch.db", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        done = call("integration", "test", "siren", *words)

    assert (done.code, done.err) == (
        1,
        "cronwatch: siren does not work: nothing came of it in 0.3 s\n",
    )
    with closing(sqlite3.connect(tmp_path / "cronwatch.db")) as db:
        assert db.execute("SELECT state FROM alert").fetchall() == [("dead",)]

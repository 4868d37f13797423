"""The command line, as a person meets it: every command, beside a server that runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live_server import DIRECT, LIMIT_SECONDS, Done, Live, bash, call, run, serving

import cronwatch

SETTINGS = [setting.name for setting in dataclasses.fields(cronwatch.Settings)]
README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("cli")) as server:
        yield server


def shown(live: Live, *words: str) -> Any:
    """The JSON that a command prints."""
    return json.loads(live.quick(*words, "--json"))


# -- serve


def test_serve_prints_one_line_with_its_url_once_it_takes_requests(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        with DIRECT.open(live.url, timeout=LIMIT_SECONDS) as page:
            status = page.status

        assert (status, live.first_line.count(live.url)) == (200, 1)
        assert live.stop() == (0, "")


def test_serve_stops_cleanly_on_sigint(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        assert live.stop(signal.SIGINT) == (0, "")
        assert "Traceback" not in live.log


def test_the_settings_of_serve_may_stand_in_the_environment(tmp_path: Path) -> None:
    environ = {
        "CRONWATCH_DATABASE": str(tmp_path / "cronwatch.db"),
        "CRONWATCH_LISTEN": "127.0.0.1:0",
        "CRONWATCH_TIMEZONE": "Asia/Tokyo",
    }
    with serving(tmp_path, listen="", **environ) as live:
        url = f"{live.url}/ping/job/{live.key}?schedule=0%203%20*%20*%20*"
        DIRECT.open(url, timeout=LIMIT_SECONDS).close()
        done = run(tmp_path, "monitor", "show", "job", "--json", **environ)

        assert json.loads(done.out)["timezone"] == "Asia/Tokyo"


def test_serve_prints_where_it_listens_whatever_its_base_url_is(tmp_path: Path) -> None:
    with serving(tmp_path, "--base-url", "https://cron.example/") as live:
        made = live.add("job")

        assert made["pingUrl"] == f"https://cron.example/{made['token']}"


def test_a_flag_outranks_the_environment(live: Live) -> None:
    done = run(
        live.folder,
        "monitor",
        "list",
        "--database",
        str(live.database),
        CRONWATCH_DATABASE="/nowhere/at/all.db",
    )

    assert (done.code, done.err) == (0, "")


# -- monitor


def test_an_added_monitor_is_pinged_by_the_very_line_that_the_command_prints(live: Live) -> None:
    said = live.cli("monitor", "add", "add-line", "--cron", "0 3 * * *")

    line = re.search(r"^ *(curl .*)$", said, re.MULTILINE)
    assert line, said
    assert live.url in line[1]
    bash(live.folder, line[1])
    assert live.monitor("add-line")["status"] == "up"


def test_an_added_monitor_takes_all_that_its_flags_say(live: Live) -> None:
    made = shown(
        live,
        "monitor",
        "add",
        "add-flags",
        "--name",
        "All flags",
        "--cron",
        "*/5 * * * *",
        "--timezone",
        "Europe/Lisbon",
        "--grace",
        "90",
        "--expects",
        "complete",
        "--max-run",
        "600",
        "--tolerance",
        "2",
        "--remind",
        "3600",
        "--tags",
        "prod db",
        "--notes",
        "call Ann",
        "--armed",
        "--rule",
        "rows",
        "lt",
        "1",
        "--handle",
        "cronitor:oldCode1",
    )

    assert made == {**live.monitor("add-flags"), "pingUrl": made["pingUrl"]}
    assert {
        name: made[name]
        for name in (
            "name",
            "cronExpression",
            "timezone",
            "graceSeconds",
            "expects",
            "maxRunSeconds",
            "failureTolerance",
            "reminderIntervalSeconds",
            "tags",
            "notes",
            "armed",
            "rules",
        )
    } == {
        "name": "All flags",
        "cronExpression": "*/5 * * * *",
        "timezone": "Europe/Lisbon",
        "graceSeconds": 90,
        "expects": "complete",
        "maxRunSeconds": 600,
        "failureTolerance": 2,
        "reminderIntervalSeconds": 3600,
        "tags": "prod db",
        "notes": "call Ann",
        "armed": True,
        "rules": [{"field": "rows", "operator": "lt", "value": 1}],
    }
    assert "oldCode1" in json.dumps(made["handles"])


def test_an_added_monitor_may_expect_an_interval(live: Live) -> None:
    made = shown(live, "monitor", "add", "add-every", "--every", "900")

    assert (made["scheduleType"], made["intervalSeconds"], made["graceSeconds"]) == (
        "interval",
        900,
        300,
    )


def test_monitors_are_listed_for_people_and_for_programs(live: Live) -> None:
    live.add("listed")

    table, listed = live.cli("monitor", "list"), shown(live, "monitor", "list")

    (line,) = (line for line in table.splitlines() if line.startswith("listed "))
    assert "new" in line.split()
    assert ("listed", "new") in [(monitor["key"], monitor["status"]) for monitor in listed]


@pytest.mark.parametrize("name", ["key", "id"])
def test_a_monitor_is_shown_with_its_handles_by_key_or_id(live: Live, name: str) -> None:
    made = live.add(f"shown-{name}")

    page = live.cli("monitor", "show", made[name])
    found = shown(live, "monitor", "show", made[name])

    assert made["token"] in page
    assert made["code"] in page
    assert (found["token"], found["code"]) == (made["token"], made["code"])


def test_a_pause_lasts_until_it_is_resumed(live: Live) -> None:
    live.add("paused")

    live.cli("monitor", "pause", "paused")
    during = live.monitor("paused")
    live.cli("monitor", "resume", "paused")

    assert (during["status"], during["pausedUntil"]) == ("paused", None)
    assert live.monitor("paused")["status"] != "paused"


def test_a_pause_may_end_by_itself_after_hours(live: Live) -> None:
    live.add("paused-hours")

    said = live.quick("monitor", "pause", "paused-hours", "--hours", "2")

    until = live.monitor("paused-hours")["pausedUntil"]
    assert until
    assert until[:16] in said.replace(" ", "T")


def test_a_removed_monitor_is_gone_and_its_pings_are_refused(live: Live) -> None:
    made = live.add("removed")
    bash(live.folder, f"curl {live.url}/{made['token']}")

    live.cli("monitor", "remove", "removed")

    (reply,) = bash(live.folder, f"curl {live.url}/{made['token']}")
    assert (live.monitor("removed"), reply.status) == ({}, 404)


# -- integration


def test_integrations_are_added_listed_tested_and_removed(live: Live) -> None:
    ran = live.folder / "ran"

    live.cli("integration", "add", "command", "siren", f"cat > '{ran}'", "--not-default")
    live.quick(
        "integration",
        "add",
        "webhook",
        "chat",
        "https://chat.example/hook",
        "--header",
        "Authorization: Bearer x",
        "--not-default",
    )
    live.quick("integration", "add", "email", "root", "root@example.org", "--not-default")
    table, listed = live.cli("integration", "list"), shown(live, "integration", "list")
    live.cli("integration", "test", "siren")
    live.cli("integration", "remove", "siren")
    for name in ("chat", "root"):
        live.quick("integration", "remove", name)

    assert json.loads(ran.read_text())["kind"] == "test"
    assert [(one["name"], one["channel"], one["default"]) for one in listed] == [
        ("siren", "command", False),
        ("chat", "webhook", False),
        ("root", "email", False),
    ]
    assert all(name in table for name in ("siren", "chat", "root"))
    assert shown(live, "integration", "list") == []


def test_a_failed_test_of_an_integration_says_why(live: Live) -> None:
    live.quick(
        "integration", "add", "command", "broken", "echo no siren here; exit 3", "--not-default"
    )

    done = call("integration", "test", "broken", "--database", str(live.database))

    live.quick("integration", "remove", "broken")
    assert (done.code, done.out) == (1, "")
    assert "exit code 3" in done.err
    assert "no siren here" in done.err


# -- key


def test_key_create_prints_the_key_alone_and_it_works_at_once(live: Live) -> None:
    said = live.cli("key", "create", "alone")

    assert re.fullmatch(r"cw_[A-Za-z0-9_-]{20,}\n", said)
    assert live.ask("GET", "/heartbeats", key=said.strip()).status == 200


@pytest.mark.parametrize(
    "permission, read, write",
    [("ping", 403, 403), ("read-only", 200, 403), ("read-write", 200, 400)],
)
def test_a_key_may_do_what_its_permission_says(
    live: Live, permission: str, read: int, write: int
) -> None:
    key = live.quick("key", "create", f"may {permission}", "--permission", permission).strip()

    assert live.ask("GET", "/heartbeats", key=key).status == read
    assert live.ask("POST", "/heartbeats", {}, key=key).status == write


def test_an_adopted_key_is_the_one_of_the_old_service(live: Live) -> None:
    said = live.quick("key", "create", "adopted", "--secret", "cpk_abc123def456ghi789")

    assert said == "cpk_abc123def456ghi789\n"
    assert live.ask("GET", "/heartbeats", key="cpk_abc123def456ghi789").status == 200


def test_keys_are_listed_by_their_first_characters_alone(live: Live) -> None:
    secret = live.quick("key", "create", "listed").strip()

    table, listed = live.cli("key", "list"), shown(live, "key", "list")

    assert secret not in table + json.dumps(listed)
    assert ("listed", secret[:12], "read-write") in [
        (key["name"], key["prefix"], key["permission"]) for key in listed
    ]


def test_a_revoked_key_is_refused_at_once(live: Live) -> None:
    secret = live.quick("key", "create", "revoked").strip()
    before = live.ask("GET", "/heartbeats", key=secret).status

    live.cli("key", "revoke", "revoked")

    assert (before, live.ask("GET", "/heartbeats", key=secret).status) == (200, 401)


# -- what is refused: one sentence that says what is wrong and what would be right


class Case(NamedTuple):
    """A command that is refused, with its exit code and what its sentence must speak of."""

    command: str
    code: int
    words: tuple[str, ...]


CASES = {
    "a wrong flag": Case("monitor add x --evry 5", 2, ("--evry",)),
    "a wrong command": Case("monitr", 2, ("monitr", "monitor")),
    "no command": Case("", 2, ("COMMAND",)),
    "a missing argument": Case("key create", 2, ("name",)),
    "a flag with a wrong value": Case("monitor add x --grace soon", 2, ("--grace", "soon")),
    "a wrong permission": Case("key create x --permission root", 2, ("root", "read-only")),
    "a wrong channel": Case("integration add pager x y", 2, ("pager", "webhook")),
    "a setting with a wrong value": Case(
        "serve --scan-seconds soon", 1, ("scan", "soon", "number")
    ),
    "a port in use": Case("serve --listen {address}", 1, ("{address}", "port")),
    "an address without a port": Case("serve --listen nonsense", 1, ("listen", "nonsense")),
    "a port alone": Case("serve --listen 8080", 1, ("listen", "HOST:PORT")),
    "no host": Case("serve --listen :0", 1, ("listen", "HOST:PORT")),
    "a base for links that is none": Case("serve --base-url cron.lan", 1, ("base_url", "http")),
    "a proxy by its name": Case(
        "serve --trusted-proxy localhost", 1, ("trusted_proxy", "127.0.0.1")
    ),
    "a scan without a pause": Case("serve --scan-seconds 0", 1, ("scan_seconds", "more than 0")),
    "a port that cannot be": Case("serve --listen 127.0.0.1:99999", 1, ("listen", "99999")),
    "a port that is a word": Case("serve --listen 127.0.0.1:http", 1, ("listen", "http")),
    "an address of somebody else": Case("serve --listen 192.0.2.1:0", 1, ("192.0.2.1", "listen")),
    "a zone of the server that does not exist": Case(
        "serve --timezone Mars/Olympus", 1, ("timezone", "IANA")
    ),
    "a database of a newer version": Case(
        "monitor list --database {folder}/newer.db", 1, ("newer.db", "newer cronwatch")
    ),
    "serve on a database of a newer version": Case(
        "serve --database {folder}/newer.db --listen 127.0.0.1:0",
        1,
        ("newer.db", "newer cronwatch"),
    ),
    "a file that is no database": Case(
        "monitor list --database {folder}/notes.txt",
        1,
        ("notes.txt", "not a", "choose another file", "backup"),
    ),
    "the database of another program": Case(
        "monitor list --database {folder}/other.db", 1, ("other.db", "choose another file")
    ),
    "serve on the database of another program": Case(
        "serve --database {folder}/other.db --listen 127.0.0.1:0", 1, ("other.db", "another")
    ),
    "no database to look into": Case(
        "monitor list --database {folder}/typo.db", 1, ("typo.db", "--database")
    ),
    "no database to change": Case(
        "monitor pause x --database {folder}/typo.db", 1, ("typo.db", "--database")
    ),
    "a database with a name that cannot be": Case(
        "monitor list --database {folder}/" + 300 * "x", 1, ("--database",)
    ),
    "a database below a file": Case(
        "monitor list --database {folder}/notes.txt/x.db", 1, ("notes.txt", "folder")
    ),
    "a database that is a folder": Case(
        "monitor list --database {folder}", 1, ("{folder} is a folder",)
    ),
    "a folder that does not exist": Case(
        "serve --database {folder}/no/such/cronwatch.db", 1, ("{folder}/no/such", "folder")
    ),
    "an hour that cannot be": Case("monitor add x --cron '0 25 * * *'", 1, ("hour must be 0-23",)),
    "a day that never comes": Case("monitor add x --cron '0 0 30 2 *'", 1, ("next run",)),
    "a cron expression of three fields": Case("monitor add x --cron '* * *'", 1, ("fields",)),
    "an interval that cannot be": Case("monitor add zero --every 0", 1, ("0",)),
    "two schedules": Case("monitor add both --every 900 --cron @daily", 1, ("every", "cron")),
    "a zone that does not exist": Case(
        "monitor add x --cron @daily --timezone Mars/Olympus", 1, ("timezone", "IANA")
    ),
    "a key that exists": Case("monitor add taken", 1, ("taken", "already")),
    "a handle that exists": Case(
        "monitor add other --handle cronbeats:tAkEn123", 1, ("tAkEn123", "already")
    ),
    "a handle of a service that is none": Case(
        "monitor add other --handle cronbeat:abc", 1, ("service", "cronbeats", "cronitor")
    ),
    "no handle of a service": Case("monitor add other --handle cronbeats:", 1, ("handle", "1 to")),
    "bytes that are no text": Case("monitor show \udcff", 1, ("UTF-8",)),
    "bytes that are the name of no text": Case("key revoke \udcff", 1, ("UTF-8",)),
    "a rule that cannot be": Case("monitor add x --rule rows like 1", 1, ("operator", "lt")),
    "an expectation that cannot be": Case(
        "monitor add x --expects luck", 1, ("expects", "run", "complete")
    ),
    "an unknown monitor to show": Case(
        "monitor show nobody", 1, ("nobody", "`cronwatch monitor list`")
    ),
    "an unknown monitor to pause": Case(
        "monitor pause nobody", 1, ("nobody", "`cronwatch monitor list`")
    ),
    "an unknown monitor to resume": Case(
        "monitor resume nobody", 1, ("nobody", "`cronwatch monitor list`")
    ),
    "an unknown monitor to remove": Case(
        "monitor remove nobody", 1, ("nobody", "`cronwatch monitor list`")
    ),
    "an unknown integration to test": Case(
        "integration test nobody", 1, ("nobody", "`cronwatch integration list`")
    ),
    "an unknown integration to remove": Case(
        "integration remove nobody", 1, ("nobody", "`cronwatch integration list`")
    ),
    "an unknown key": Case("key revoke nobody", 1, ("nobody", "`cronwatch key list`")),
    "an unknown user": Case("user passwd nobody", 1, ("nobody", "`cronwatch user list`")),
    "a key without a name": Case("key create ''", 1, ("name", "1 to 200")),
    "a key with a long name": Case("key create " + 201 * "x", 1, ("name", "1 to 200")),
    "a key that is too short to be adopted": Case(
        "key create x --secret abc", 1, ("secret", "8 to 200")
    ),
    "a link for nobody": Case("user link ''", 1, ("name", "1 to 200")),
    "a key name that exists": Case("key create taken", 1, ("taken", "already")),
    "an integration name that exists": Case(
        "integration add command taken true", 1, ("taken", "already")
    ),
    "a webhook that is no URL": Case("integration add webhook x chat", 1, ("http",)),
    "a webhook of another kind": Case("integration add webhook x ftp://127.0.0.1/", 1, ("http",)),
    "a mail address that is none": Case("integration add email x root", 1, ("mail address",)),
    "a header that is none": Case(
        "integration add webhook x http://127.0.0.1/ --header nonsense", 1, ("header",)
    ),
}


@pytest.fixture(scope="module")
def spoilt(live: Live) -> dict[str, str]:
    """Files that are no database of ours, names that are taken, and how the cases call them."""
    (live.folder / "notes.txt").write_text("Buy milk. " * 500)
    newer = live.folder / "newer.db"
    with closing(sqlite3.connect(live.database)) as ours, closing(sqlite3.connect(newer)) as copy:
        ours.backup(copy)
        copy.execute("PRAGMA user_version = 999")
    with closing(sqlite3.connect(live.folder / "other.db")) as other:
        other.execute("CREATE TABLE bookmark (url TEXT)")
    call("key", "create", "served", "--database", str(live.folder / "served.db"))
    live.quick("monitor", "add", "taken", "--handle", "cronbeats:tAkEn123")
    live.quick("key", "create", "taken")
    live.quick("integration", "add", "command", "taken", "true", "--not-default")
    return {"folder": str(live.folder), "address": live.url.removeprefix("http://")}


def attempt(live: Live, words: list[str]) -> Done:
    """Run a command to its end; one that could serve by mistake in a process and a database of
    its own."""
    if words[:1] == ["serve"]:
        return run(live.folder, *words, CRONWATCH_DATABASE=str(live.folder / "served.db"))
    return call(*words, CRONWATCH_DATABASE=str(live.database))


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_refused_in_one_sentence(
    live: Live, spoilt: dict[str, str], name: str
) -> None:
    case, before = CASES[name], everything(live)

    done = attempt(live, [word.format(**spoilt) for word in shlex.split(case.command)])

    *usage, sentence = done.err.splitlines() or [""]
    wanted = [word.format(**spoilt).lower() for word in case.words]
    assert (done.code, done.out) == (case.code, "")
    assert "Traceback" not in done.err
    assert re.match(r"cronwatch( \w+)*: ", sentence), done.err
    assert not usage or case.code == 2, done.err
    assert not [word for word in wanted if word not in sentence.lower()], sentence
    assert not re.search(r"\ba [aeio]", sentence, re.IGNORECASE), sentence
    assert everything(live) == before


def everything(live: Live) -> list[list[dict[str, Any]]]:
    """What a command could have made or removed."""
    return [
        live.rows(f"SELECT id FROM {table} ORDER BY id")
        for table in ("monitor", "integration", "api_key")
    ]


def test_a_refusal_is_an_exit_code_and_one_line_on_standard_error(live: Live) -> None:
    done = run(live.folder, "monitor", "remove", "nobody", "--database", str(live.database))

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)


def test_a_file_that_is_no_database_is_left_as_it_was(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("Buy milk. " * 500)

    call("monitor", "list", "--database", str(notes))

    assert notes.read_text() == "Buy milk. " * 500
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_database_of_another_program_is_left_as_it_was(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE bookmark (url TEXT)")
    before = (tmp_path / "other.db").read_bytes()

    call("monitor", "add", "x", "--database", str(tmp_path / "other.db"))

    assert (tmp_path / "other.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_a_database_that_another_program_writes_to_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cronwatch, "OPEN_SECONDS", 0.1)
    database = str(tmp_path / "cronwatch.db")
    call("monitor", "add", "x", "--database", database)
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")

        done = call("monitor", "add", "y", "--database", database)

    assert (done.code, done.out) == (1, "")
    assert "another program is writing to it: try again" in done.err


def test_a_typo_in_the_name_of_the_database_makes_no_file(tmp_path: Path) -> None:
    call("monitor", "list", "--database", str(tmp_path / "typo.db"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("proxy", ["", "127.0.0.1", "192.0.2.1", "::1", "2001:db8::17", "*"])
def test_a_proxy_is_trusted_by_its_address(proxy: str) -> None:
    cronwatch.check_settings(cronwatch.Settings(trusted_proxy=proxy))


# -- the wrapper


def test_the_line_of_the_readme_fetches_the_wrapper(live: Live, tmp_path: Path) -> None:
    (line,) = re.findall(r"^curl -fsSo .*$", README.read_text(), re.MULTILINE)
    place = str(tmp_path / "cronwatch-exec")
    assert line.count("http://HOST") == 1

    done = bash(
        tmp_path,
        line.replace("/usr/local/bin/cronwatch-exec", place).replace("http://HOST", live.url),
    )

    assert [reply.status for reply in done] == [200]
    assert Path(place).read_text() == (cronwatch.DATA / "static" / "cronwatch-exec").read_text()
    assert os.access(place, os.X_OK)


# -- help


def walk(*words: str) -> dict[str, str]:
    """The help of a command and of all below it, by their words."""
    done = call(*words, "--help", COLUMNS="80")
    assert (done.code, done.err) == (0, ""), done
    pages = {" ".join(words): done.out}
    for word in re.findall(r"^    ([a-z][a-z-]*)(?= |$)", done.out, re.MULTILINE):
        pages.update(walk(*words, word))
    return pages


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return walk()


NEWCOMERS_WORDS = {
    "": "serve monitor integration key --version",
    "serve": "8080 cronwatch.db CRONWATCH_DATABASE CRONWATCH_LISTEN",
    "monitor": "add list show pause resume remove",
    "monitor add": "daily-backup --cron --every --grace --timezone --handle --rule --json @daily",
    "monitor list": "--json",
    "monitor show": "--json",
    "monitor pause": "--hours",
    "monitor resume": "pause",
    "monitor remove": "delete",
    "integration": "add list test remove",
    "integration add": "webhook command email slack discord ntfy URL mail --header",
    "integration list": "--json",
    "integration test": "name",
    "integration remove": "name",
    "key": "create list revoke",
    "key create": "--permission ping read-only read-write --secret",
    "key list": "--json",
    "key revoke": "name",
}


@pytest.mark.parametrize("command", NEWCOMERS_WORDS)
def test_the_help_of_a_command_has_what_a_newcomer_needs(
    pages: dict[str, str], command: str
) -> None:
    page = pages[command]

    assert page.startswith(f"usage: cronwatch {command}".rstrip())
    assert not [word for word in NEWCOMERS_WORDS[command].split() if word not in page]


def test_every_command_says_what_it_does_and_where_its_database_is(pages: dict[str, str]) -> None:
    final = {words: page for words, page in pages.items() if "COMMAND" not in page}

    assert set(final) >= {words for words in NEWCOMERS_WORDS if " " in words} | {"serve"}
    for words, page in final.items():
        said = page.split("\n\n")
        assert len(said[1].split()) >= 2, words
        assert "--database" in page, words
        assert "CRONWATCH_DATABASE" in page, words


def test_every_setting_is_a_flag_of_serve(pages: dict[str, str]) -> None:
    words = pages["serve"].replace(",", " ").split()

    assert [name for name in SETTINGS if f"--{name.replace('_', '-')}" not in words] == []


def test_every_setting_of_serve_is_shown_with_its_default(pages: dict[str, str]) -> None:
    for setting in dataclasses.fields(cronwatch.Settings):
        if setting.default and not setting.name.startswith("smtp_"):
            flag = f" --{setting.name.replace('_', '-')} {setting.default}"
            assert re.search(rf"{flag}(  |\n)", pages["serve"]), setting.name


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_variable(name: str) -> None:
    text = {bool: "yes", int: "17", float: "17.5"}.get(
        type(getattr(cronwatch.Settings, name)), "17.text"
    )

    loaded = cronwatch.Settings.load({}, {f"CRONWATCH_{name.upper()}": text})

    assert str(getattr(loaded, name)) == {"yes": "True"}.get(text, text)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flag_wins_over_a_variable(name: str) -> None:
    given = {bool: True, int: "17", float: "17.5"}.get(
        type(getattr(cronwatch.Settings, name)), "17.text"
    )

    loaded = cronwatch.Settings.load({name: given}, {f"CRONWATCH_{name.upper()}": "0"})

    assert str(getattr(loaded, name)) == str(given)


SCREEN = 24, 80  # lines and columns of a terminal


def test_every_help_fits_a_screen(pages: dict[str, str]) -> None:
    sizes = {
        words: (page.count("\n") + 1, max(map(len, page.splitlines())))  # with a prompt
        for words, page in pages.items()
    }

    assert len(sizes) >= 29
    assert {
        words: size for words, size in sizes.items() if size[0] > SCREEN[0] or size[1] > SCREEN[1]
    } == {}


def test_every_setting_is_a_row_of_the_readmes_table() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("|")]

    for name in SETTINGS:
        flag, variable = f"--{name.replace('_', '-')}", f"CRONWATCH_{name.upper()}"
        assert [row for row in rows if f"`{flag}`" in row and f"`{variable}`" in row], name


def test_the_version_is_the_packages() -> None:
    done = call("--version")

    assert (done.code, done.out) == (0, f"cronwatch {cronwatch.__version__}\n")

"""The command line, as a person meets it: every command, beside a server that runs."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import NOW, Site, finish, read_headings, read_table
from live_server import (
    CRONWATCH,
    LIMIT_SECONDS,
    Done,
    Live,
    bash,
    call,
    environment,
    in_thread,
    program,
    run,
    serving,
    wait_for,
)
from test_alerts import Mailbox

import cronwatch

SETTINGS = [setting.name for setting in dataclasses.fields(cronwatch.Settings)]
BERLIN = cronwatch.LocalTime("Europe/Berlin", NOW)
README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("cli")) as server:
        yield server


# -- serve


def test_serve_prints_where_it_listens_whatever_its_base_url_is(tmp_path: Path) -> None:
    with serving(tmp_path, "--base-url", "https://cron.example/") as live:
        made = live.add("job")

        assert made["pingUrl"] == f"https://cron.example/{made['token']}"


# -- monitor


def test_an_added_monitor_is_pinged_by_the_very_line_that_the_command_prints(live: Live) -> None:
    said = live.cli("monitor", "add", "add-line", "--cron", "0 3 * * *")

    line = re.search(r"^ *(curl .*)$", said, re.MULTILINE)
    assert line, said
    assert live.url in line[1]
    bash(live.folder, line[1])
    assert live.monitor("add-line")["status"] == "up"


@pytest.mark.parametrize(
    "text, seconds", read_table("commands", "A time is seconds or a number with a unit")
)
def test_a_time_is_seconds_or_a_number_with_a_unit(text: str, seconds: str) -> None:
    assert cronwatch.duration(text) == int(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "-5", "1.5h", "1h30m", "m", "1y"])
def test_a_time_that_is_none_is_refused_with_what_is_taken(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="90, 5m, 1h, 2d"):
        cronwatch.duration(text)


# -- key


ADOPTED = "cpk_abc123def456"


@pytest.mark.parametrize("flags, secret", [((), r"cw\w{30}"), (("--secret", ADOPTED), ADOPTED)])
def test_key_create_prints_the_key_alone_and_it_works_at_once(
    live: Live, flags: tuple[str, ...], secret: str
) -> None:
    printed = live.quick("key", "create", f"key {len(flags)}", *flags)

    status = live.ask("GET", "/heartbeats", key=printed.strip()).status
    table = live.quick("key", "list")
    assert re.fullmatch(secret, printed.removesuffix("\n"))
    assert (status, printed[:12] in table, printed.strip() in table) == (200, True, False)


# -- what is refused: one sentence that says what is wrong and what would be right


REFUSED = "A command that is refused: its exit code, and what its sentence must speak of"
CASES = [*read_table("commands", REFUSED), ("monitor show \udcff", "1", "UTF-8")]


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


@pytest.mark.parametrize("command, code, words", CASES)
def test_what_cannot_be_is_refused_in_one_sentence(
    live: Live, spoilt: dict[str, str], command: str, code: str, words: str
) -> None:
    before = everything(live)

    done = attempt(live, [word.format(**spoilt) for word in shlex.split(command)])

    *usage, sentence = done.err.splitlines() or [""]
    assert (done.code, done.out) == (int(code), "")
    assert re.match(r"cronwatch( \w+)*: ", sentence), done.err
    assert words.format(**spoilt) in sentence
    assert not usage or done.code == 2, done.err
    assert not re.search(r"\ba [aeio]", sentence, re.IGNORECASE), sentence
    assert everything(live) == before


def everything(live: Live) -> list[list[dict[str, Any]]]:
    """What a command could have made or removed."""
    return [
        live.rows(f"SELECT id FROM {table} ORDER BY id")
        for table in ("monitor", "integration", "api_key")
    ]


def test_a_refusal_is_an_exit_code_and_one_line_on_standard_error(tmp_path: Path) -> None:
    """Of the real program; and a typing error makes no file."""
    done = run(tmp_path, "monitor", "remove", "nobody", "--database", "typo.db")

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert list(tmp_path.iterdir()) == []


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


def test_every_command_says_what_it_does_and_where_its_database_is(pages: dict[str, str]) -> None:
    final = {words: page for words, page in pages.items() if "COMMAND" not in page}

    assert len(final) > 20
    for words, page in final.items():
        said = page.split("\n\n")
        assert len(said[1].split()) >= 2, words
        needs_one = words not in ("unit", "completion")
        assert ("--database" in page) is needs_one, words
        assert ("CRONWATCH_DATABASE" in page) is needs_one, words


def test_every_setting_is_a_flag_of_serve_shown_with_its_default(pages: dict[str, str]) -> None:
    for setting in dataclasses.fields(cronwatch.Settings):
        flag = f" --{setting.name.replace('_', '-')}"
        is_hidden = setting.name.startswith("smtp_") or not setting.default
        line = rf"{flag}\b" if is_hidden else rf"{flag} {setting.default}(  |\n)"
        assert re.search(line, pages["serve"]), setting.name


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_variable_that_its_flag_outranks(name: str) -> None:
    kind = type(getattr(cronwatch.Settings, name))
    text, value = {bool: ("yes", True), int: ("17", 17), float: ("17.5", 17.5)}.get(
        kind, ("x", "x")
    )
    variable = f"CRONWATCH_{name.upper()}"

    by_variable = cronwatch.Settings.load({}, {variable: text})
    by_flag = cronwatch.Settings.load({name: text}, {variable: "0"})

    assert getattr(by_variable, name) == getattr(by_flag, name) == value


def test_every_help_fits_a_screen_of_24_lines_with_a_prompt(pages: dict[str, str]) -> None:
    lines = {words: page.splitlines() for words, page in pages.items()}

    assert len(pages) >= 29
    assert [words for words, page in lines.items() if len(page) > 23] == []
    assert [words for words, page in lines.items() if max(map(len, page)) > 80] == []


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_row_of_the_readmes_table(name: str) -> None:
    flag, variable = f"--{name.replace('_', '-')}", f"CRONWATCH_{name.upper()}"

    assert re.search(rf"^\|.*`{flag}`.*`{variable}`", README.read_text(), re.MULTILINE)


def test_every_command_is_in_the_readmes_table(pages: dict[str, str]) -> None:
    table = README.read_text().partition("\n## Commands\n")[2].partition("\n### ")[0]
    final = [words for words, page in pages.items() if "COMMAND" not in page]

    for words in final:
        group, _, word = words.rpartition(" ")
        rows = [row for row in table.splitlines() if row.startswith(f"| `{group}")]
        assert [row for row in rows if f"`{words}`" in row or f"`{word}`" in row], words


def test_every_link_within_the_readme_leads_somewhere() -> None:
    text = README.read_text()
    titles = re.findall("^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]

    inside = {link[1:] for link in links if link.startswith("#")}
    files = {link for link in links if not link.startswith("#")}
    assert inside <= anchors
    assert [name for name in files if not (README.parent / name).exists()] == []


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_the_packages(flag: str) -> None:
    done = call(flag)

    assert (done.code, done.out) == (0, f"cronwatch {cronwatch.__version__}\n")


# -- in words, at a clock that stands still: Monday 2 March 2026, 13:00 in Berlin


def look(site: Site, *words: str) -> Done:
    """What a command prints in Berlin."""
    return call(
        *words,
        clock=site.clock,
        CRONWATCH_DATABASE=str(site.database),
        CRONWATCH_TIMEZONE="Europe/Berlin",
    )


SESSIONS = read_headings("terminal")


@pytest.mark.parametrize("title", SESSIONS)
def test_a_terminal_shows_what_the_table_says(site: Site, title: str) -> None:
    for step in re.split(r"\n(?=[-$>@] |deliver)", f"\n{SESSIONS[title].rstrip()}")[1:]:
        line, _, output = PLACEHOLDER.sub(partial(handle, site), step).partition("\n")
        mark, _, words = line.partition(" ")
        if mark == "@":
            site.clock.now = NOW + int(words) * 1000
            site.server.scan()
        elif mark == ">":
            assert site.get(words).status_int == 200
        elif mark == "deliver":
            site.server.deliver()
        else:
            done = look(site, *shlex.split(words))
            printed = f"! {done.err}" if done.err else done.out
            assert done.code == (1 if done.err else 0)
            assert mark == "-" or printed == f"{output}\n"


PLACEHOLDER = re.compile(r"\{([\w-]+)\.(\w+)\}")


def handle(site: Site, named: re.Match[str]) -> str:
    """The token or the code of the monitor that is named."""
    sql = "SELECT text FROM handle JOIN monitor m ON m.num = monitor WHERE key = ? AND kind = ?"
    return str(site.rows(sql, *named.groups())[0]["text"])


# What a schedule brings along.
FOLLOWS = {"updatedAt", "upcoming", "expectedAt", "nextExpectedAt", "cronExpression", "schedule"}


@pytest.mark.parametrize(
    "flags, changes",
    [
        ("--name New --grace 0 --notes ''", {"name": "New", "graceSeconds": 0, "notes": ""}),
        ("--cron @hourly", {"scheduleType": "cron", "cronExpression": "@hourly"}),
        ("--every 2h", {"scheduleType": "interval", "intervalSeconds": 7200}),
        ("--no-schedule", {"scheduleType": "none", "cronExpression": None}),
        ("--no-armed --max-run 0", {"armed": False, "maxRunSeconds": None}),
        ("--grace 90", {"graceSeconds": 90, "armed": True}),
        ("--handle cronitor:d3x0c1", {"handles": [{"dialect": "cronitor", "handle": "d3x0c1"}]}),
    ],
)
def test_an_edit_changes_what_is_named_and_nothing_else(
    site: Site, flags: str, changes: dict[str, Any]
) -> None:
    words = "monitor add job --cron '0 3 * * *' --max-run 1h --notes x --armed --json"
    before = json.loads(look(site, *shlex.split(words)).out)

    done = look(site, "monitor", "edit", "job", *shlex.split(flags))

    after = json.loads(look(site, "monitor", "show", "job", "--json").out)
    follows = {name: after[name] for name in FOLLOWS - set(changes)}
    assert (done.code, done.err) == (0, "")
    assert after == {**before, "integrationIds": [], **changes, **follows}


NEAR = "What is near reads as a distance, what is not as on the page: seconds from Monday 13:00"


@pytest.mark.parametrize("seconds, words", read_table("commands", NEAR))
def test_what_is_near_reads_as_a_distance_and_what_is_not_as_on_the_page(
    seconds: str, words: str
) -> None:
    at = cronwatch.iso(NOW + int(seconds) * 1000)

    assert BERLIN.near(at) == words


# -- the doctor


MB = 2**20
FINDINGS = [
    (cronwatch.check_disk(5000 * MB, 200 * MB), "✔", "5,000 MB are free"),
    (cronwatch.check_disk(300 * MB, 200 * MB), "▲", "a backup"),
    (cronwatch.check_disk(99 * MB, MB), "✖", "make room"),
    (cronwatch.check_clock(BERLIN, NOW - 1, "yes"), "✔", "Today 13:00 (Europe/Berlin)"),
    (cronwatch.check_clock(BERLIN, NOW + 86_400_000, ""), "✖", "has run at Tomorrow 13:00"),
    (cronwatch.check_clock(BERLIN, None, "no"), "▲", "timedatectl"),
    (cronwatch.check_server(True, NOW - 12_000, NOW), "✔", "runs"),
    (cronwatch.check_server(False, NOW - 7_200_000, NOW), "✖", "`systemctl start cronwatch`"),
    (cronwatch.check_server(True, NOW - 600_000, NOW), "✖", "see its log"),
    (cronwatch.check_address("https://cron.lan"), "✔", "cron.lan"),
    (cronwatch.check_address("http://127.0.0.1:8080"), "▲", "CRONWATCH_BASE_URL"),
    (cronwatch.check_address("http://[::1]:8080"), "▲", "CRONWATCH_BASE_URL"),
    (cronwatch.check_notifications([{"key": "a", "heard": True}], [{}]), "✔", "every monitor"),
    (cronwatch.check_notifications([{"key": "a", "heard": False}], [{}]), "✖", "such as a:"),
    (cronwatch.check_notifications([], []), "✖", "cronwatch integration add"),
    (cronwatch.check_outbox({"overdue": 0, "dead": 0}), "✔", "no alert"),
    (cronwatch.check_outbox({"overdue": 2, "dead": 0}), "✖", "2 alerts are overdue"),
    (cronwatch.check_outbox({"overdue": 0, "dead": 3}), "▲", "3 alerts are dead"),
    (cronwatch.check_watcher(""), "▲", "CRONWATCH_HEARTBEAT_URL"),
    (cronwatch.check_smtp(cronwatch.Settings(), False, ""), "✔", "nobody wants mail"),
    (cronwatch.check_smtp(cronwatch.Settings(), True, ""), "✖", "CRONWATCH_SMTP_HOST"),
    (cronwatch.check_smtp(cronwatch.Settings(), True, "mx.example"), "✔", "by mx.example"),
]


@pytest.mark.parametrize("finding, sign, words", FINDINGS)
def test_the_doctor_says_how_it_is_and_what_to_do(finding: str, sign: str, words: str) -> None:
    assert finding.startswith(f"{sign} ")
    assert words in finding


def receiver(channel: str, **more: Any) -> dict[str, Any]:
    """An integration, as the API has it, that does well."""
    well = {"name": "ops", "enabled": True, "failing": False, "lastDelivery": None}
    return {**well, "channel": channel, **more}


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """A port at which one may connect."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_SECONDS)
        yield listener


def test_a_receiver_is_connected_to_and_sent_nothing(door: socket.socket) -> None:
    url = f"http://127.0.0.1:{door.getsockname()[1]}/secret-path"

    finding = cronwatch.check_receiver(receiver("webhook", url=url))

    peer, _ = door.accept()
    with peer:
        peer.settimeout(LIMIT_SECONDS)
        assert peer.recv(100) == b""
    assert finding[0] == "✔"
    assert "secret-path" not in finding


def test_a_receiver_that_is_not_there_is_wrong(door: socket.socket) -> None:
    port = door.getsockname()[1]
    door.close()

    finding = cronwatch.check_receiver(receiver("slack", url=f"http://127.0.0.1:{port}/secret"))

    assert finding[0] == "✖"
    assert "ConnectionRefusedError" in finding
    assert "secret" not in finding


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_certificate_of_a_receiver_is_checked(
    door: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def answer() -> None:
        peer, _ = door.accept()
        with peer, suppress(OSError):
            context.wrap_socket(peer, server_side=True).close()

    with in_thread(answer):
        url = f"https://127.0.0.1:{door.getsockname()[1]}/"
        finding = cronwatch.check_receiver(receiver("ntfy", url=url))

    assert finding[0] == ("✔" if is_trusted else "✖")
    assert ("CERTIFICATE_VERIFY_FAILED" in finding) is not is_trusted


@pytest.mark.parametrize(
    "integration, sign, words",
    [
        (receiver("command", command="touch ran; exit 3"), "✔", "ops, by command"),
        (receiver("command", command="if then"), "✖", "yntax error"),
        (receiver("email", address="me@home.example"), "✔", "cronwatch integration test ops"),
        (receiver("command", enabled=False), "▲", "ops is off"),
        (receiver("command", failing=True, lastDelivery={"result": "HTTP 500"}), "✖", "HTTP 500"),
    ],
)
def test_a_receiver_is_judged_without_an_event(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    integration: dict[str, Any],
    sign: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    finding = cronwatch.check_receiver(integration)

    assert finding[0] == sign
    assert words in finding
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.controller.stop()


def test_the_mail_server_is_signed_in_to_and_gets_no_mail(mailbox: Mailbox) -> None:
    settings = cronwatch.Settings(
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_user="cron",
        smtp_password="secret",
    )

    finding = cronwatch.check_smtp(settings, True, "")

    assert (finding[0], mailbox.signed_in, mailbox.received) == ("✔", [(b"cron", b"secret")], [])


def test_a_mail_server_without_the_security_that_is_wanted_is_wrong(mailbox: Mailbox) -> None:
    settings = cronwatch.Settings(smtp_host="127.0.0.1", smtp_port=mailbox.port)

    finding = cronwatch.check_smtp(settings, True, "")

    assert finding[0] == "✖"
    assert "STARTTLS" in finding


def test_the_doctor_ends_with_1_where_something_is_wrong(site: Site) -> None:
    done = look(site, "doctor")

    assert (done.code, done.err) == (1, "")
    assert {line[:2] for line in done.out.splitlines()} == {"✔ ", "▲ ", "✖ "}
    assert "✖ no server runs on this database" in done.out
    assert "✔ times without a zone are of Europe/Berlin" in done.out


def test_the_doctor_ends_with_0_where_nothing_is(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        wait_for(lambda: live.rows("SELECT 1 FROM meta WHERE name = 'alive_at'"), "a stamp")
        live.quick("integration", "add", "command", "siren", "touch ran")
        live.quick("monitor", "add", "job", "--every", "1h")

        done = call("doctor", CRONWATCH_DATABASE=str(live.database), CRONWATCH_BASE_URL="http://x")

        assert (done.code, done.err) == (0, ""), done
        assert "✔ a server runs" in done.out
        assert not (tmp_path / "ran").exists()


# -- what needs no database


UNITS = sorted(path.name for path in (README.parent / "systemd").iterdir())


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_printed_as_it_is(name: str) -> None:
    done = call("unit", name)

    assert (done.code, done.err) == (0, "")
    assert done.out == (README.parent / "systemd" / name).read_text()


def complete(folder: Path, shell: str, *words: str) -> list[str]:
    """What a shell offers for the last of these words."""
    script = call("completion", shell).out
    if shell == "bash":
        lines = 'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cronwatch; '
        lines += 'printf "%s\\n" "${COMPREPLY[@]}"'
    else:
        stubs = 'compdef() { :; }; _files() { :; }; compadd() { shift; print -rl -- "$@"; }'
        script = f"{stubs}\n{script}"
        lines = 'words=("$@") CURRENT=$#; _cronwatch'
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell}")
    path, database = f"{folder}/bin:{os.environ['PATH']}", str(folder / "cronwatch.db")
    done = finish(
        [found, "-c", f"{script}\n{lines}", shell, "cronwatch", *words],
        folder,
        environment(PATH=path, CRONWATCH_DATABASE=database),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


NASTY = ["night ly", "$(touch pwned)", "`touch pwned`;touch pwned", "new'*"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database, and the command where a shell finds it."""
    folder = tmp_path_factory.mktemp("shells")
    program(folder, "cronwatch", f'exec {sys.executable} -m cronwatch "$@"')
    for key in ("nightly", *NASTY):
        call("monitor", "add", key, "--database", str(folder / "cronwatch.db"))
    return folder


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    "words, offers",
    read_table("commands", "What a shell offers for the last word (after the bar)"),
)
def test_a_shell_offers_commands_flags_and_keys(
    home: Path, shell: str, words: str, offers: str
) -> None:
    before, _, last = words.partition("|")

    assert set(complete(home, shell, *before.split(), last)) >= set(offers.split())


def test_a_key_is_never_a_part_of_the_script(home: Path) -> None:
    bash_offers = complete(home, "bash", "monitor", "show", "")
    zsh_offers = complete(home, "zsh", "monitor", "show", "")

    unquoted = [shlex.split(offer) for offer in bash_offers if not offer.startswith("-")]
    assert sorted(unquoted) == sorted([key] for key in ("nightly", *NASTY))
    assert set(zsh_offers) >= set(NASTY)
    assert not (home / "pwned").exists()
    assert complete(home, "bash", "monitor", "re") == ["resume", "remove"]


# -- what cannot be undone


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", ["monitor remove", "integration remove", "key revoke"])
@pytest.mark.parametrize(
    "typed, words, is_gone",
    [
        ("n\n", (), False),
        ("", (), False),
        ("Yes\n", (), True),
        ("", ("--yes",), True),
        (None, (), True),  # a script is not asked
    ],
)
def test_what_cannot_be_undone_is_asked_first_on_a_terminal(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    typed: str | None,
    words: tuple[str, ...],
    is_gone: bool,
) -> None:
    site.monitor(key="old")
    site.server.act(cronwatch.create_integration, "command", "old", {"command": "true"})
    site.server.act(cronwatch.create_key, "old", "ping")
    table, _, end = command.partition(" ")
    monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))

    done = look(site, *command.split(), "old", *words)

    rest = site.rows(f"SELECT 1 FROM {'api_key' if table == 'key' else table}")
    asks = 1 if typed is not None and not words else 0
    assert (done.code, len(rest)) == ((0, 0) if is_gone else (1, 1)), done
    what_went = ", with its pings, runs and events" if table == "monitor" else ""
    assert done.out == (f"old is {end}d{what_went}\n" if is_gone else "")
    assert done.err.count("[y/N]") == asks


# -- how a command ends


def test_a_reader_who_has_gone_ends_a_command_quietly(live: Live) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [*CRONWATCH, "monitor", "list"],
        env=environment(CRONWATCH_DATABASE=str(live.database)),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_an_interrupt_ends_a_command_quietly(live: Live) -> None:
    with subprocess.Popen(
        [*CRONWATCH, "apply", "-", "--database", str(live.database)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: is_reading(process.pid), "it reads its input")
        process.send_signal(signal.SIGINT)

        out, err = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, out, err) == (128 + signal.SIGINT, b"", b"")


def is_reading(pid: int) -> bool:
    """Whether a process has opened a database, and waits for its input, which is a pipe."""
    has_database = False
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            has_database = has_database or os.readlink(file).endswith(".db")
    return has_database and "pipe" in Path(f"/proc/{pid}/wchan").read_text()

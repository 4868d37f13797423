"""`cronwatch import crontab`: which monitors a crontab becomes, and how its lines read then."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, finish, read_table
from live_server import Done, call, program, serving

import cronwatch

UTC = "UTC"
NO_JOBS = read_table("crontab", "What is no job makes no monitor and no remark")


def one(line: str, is_system: bool = False) -> cronwatch.CronLine:
    """The only job of a crontab."""
    (job,), _ = cronwatch.read_crontab(line, is_system, UTC)
    return job


def bring(site: Site, text: str, *flags: str) -> Done:
    """`import crontab` of a file with this."""
    file = site.database.with_name("crontab")
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    words = ("import", "crontab", str(file), *flags, "--database", str(site.database))
    return call(*words, TZ="Europe/Berlin")


def lines(done: Done) -> list[str]:
    """What is printed that is no comment."""
    return [line for line in done.out.splitlines() if not line.startswith("#")]


def comments(done: Done) -> list[str]:
    """What is said in comments before the crontab itself."""
    return [line[2:] for line in done.out.splitlines() if line.startswith("# ")]


def shown(site: Site) -> dict[str, tuple[str, str]]:
    """The monitors: key, schedule and zone."""
    return {row["key"]: (row["cron"], row["timezone"]) for row in site.monitors}


# a line


@pytest.mark.parametrize(
    "line, when, command", read_table("crontab", "A line is a time and a command")
)
def test_a_line_is_a_time_and_a_command(line: str, when: str, command: str) -> None:
    job = one(line)

    assert (job.when, job.user, job.command, job.stdin) == (when, "", command, "")


@pytest.mark.parametrize(
    "line, command, given",
    read_table("crontab", "The first bare percent sign begins standard input"),
)
def test_the_first_bare_percent_sign_begins_standard_input(
    line: str, command: str, given: str
) -> None:
    job = one(line)

    assert (job.command, job.stdin) == (command, given)


@pytest.mark.parametrize(
    "line",
    [*NO_JOBS, "", "   ", "# 0 3 * * * /usr/bin/backup", "\t# comment"],
)
def test_what_is_no_job_makes_no_monitor_and_no_remark(line: str) -> None:
    assert cronwatch.read_crontab(line, False, UTC) == ([], [])


def test_a_setting_holds_for_what_comes_after_it() -> None:
    settings = "TZ=Asia/Dili\nCRON_TZ = 'Asia/Tokyo'\nSHELL=/bin/bash\nPATH=/opt/bin\n"

    (before, after), _ = cronwatch.read_crontab(
        f"0 3 * * * /a\n{settings}@quarterly /b", False, UTC
    )

    assert (before.timezone, before.shell, before.path) == (UTC, "/bin/sh", "/usr/bin:/bin")
    assert (after.timezone, after.shell, after.path) == ("Asia/Tokyo", "/bin/bash", "/opt/bin")
    assert (after.when, after.cron) == ("@quarterly", "0 0 1 1,4,7,10 *")


def test_a_schedule_is_in_the_zone_of_the_machine() -> None:
    (job,), _ = cronwatch.read_crontab("0 3 * * * /usr/bin/backup", False, "Asia/Tokyo")

    assert job.timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    "line, problem", read_table("crontab", "A line that cannot be watched is named by its number")
)
def test_a_line_that_cannot_be_watched_is_named_by_its_number(line: str, problem: str) -> None:
    jobs, (found,) = cronwatch.read_crontab(f"# one\n\n{line}\n0 3 * * * /y", False, UTC)

    assert ([job.command for job in jobs], found[:8]) == (["/y"], "line 3: ")
    assert problem in found


@pytest.mark.parametrize("minus", ["-", "  -"])
def test_a_minus_keeps_a_job_out_of_the_log_and_in_the_crontab(minus: str) -> None:
    job = one(f"{minus}*/15 * * * * root /opt/run-crons", is_system=True)

    assert (job.cron, job.user, job.command) == ("*/15 * * * *", "root ", "/opt/run-crons")
    assert cronwatch.wrapped_line(job, "URL", "/usr/bin/cronwatch-exec") == (
        "-*/15 * * * * root cronwatch-exec URL -- /opt/run-crons"
    )


@pytest.mark.parametrize(
    "command, said", read_table("crontab", "A job that ends as its test does is said")
)
def test_a_job_that_ends_as_its_test_does_is_said(command: str, said: str) -> None:
    _, remarks = cronwatch.read_crontab(f"0 9 * * 1 {command}", False, UTC)

    assert ["ends with 1" in remark for remark in remarks] == ([True] if said else [])


# names


@pytest.mark.parametrize(
    "command, name",
    [*read_table("crontab", "A monitor is named after what is run"), ("x" * 300, "x" * 180)],
)
def test_a_monitor_is_named_after_what_is_run(command: str, name: str) -> None:
    assert one(f"0 3 * * * {command}").name == name


TAB = """\
# of root
MAILTO=root
0 3 * * * /usr/bin/backup --all
@daily /usr/bin/backup
CRON_TZ=Asia/Tokyo
*/5 * * * * sync && echo ok
@reboot /usr/bin/hello
"""
KEYS = {
    "backup": ("0 3 * * *", "Europe/Berlin"),
    "backup-2": ("@daily", "Europe/Berlin"),
    "sync": ("*/5 * * * *", "Asia/Tokyo"),
}
NIGHTLY = "0 3 * * * /opt/report.sh\n"
MOVED = "report: every day at 15:00 (Europe/Berlin), until now every day at 03:00"


# a crontab that was edited, and one of another machine


@pytest.mark.parametrize("is_printed", [False, True], ids=["crontab", "what was printed"])
def test_an_edited_time_is_said_and_applied(site: Site, is_printed: bool) -> None:
    printed = bring(site, NIGHTLY, "--yes")
    before = f"{lines(printed)[0]}\n" if is_printed else NIGHTLY

    done = bring(site, before.replace("0 3", "0 15"), "--yes")

    assert shown(site) == {"report": ("0 15 * * *", "Europe/Berlin")}
    assert comments(done)[0] == MOVED


def test_a_time_that_a_person_set_stays_and_is_said(site: Site) -> None:
    bring(site, NIGHTLY, "--yes")
    site.rows("UPDATE monitor SET cron = '0 4 * * *'")

    said = comments(bring(site, "0 15 * * * /opt/report.sh\n", "--yes"))

    assert shown(site) == {"report": ("0 4 * * *", "Europe/Berlin")}
    assert said[0] == (
        "report: every day at 04:00 (Europe/Berlin), as it was edited: "
        "the crontab has 0 15 * * * (Europe/Berlin)"
    )


def test_of_two_jobs_with_one_command_the_one_with_the_same_time_is_meant(site: Site) -> None:
    early, late, other = (NIGHTLY.replace("3", hour) for hour in ("3", "15", "4"))
    bring(site, early + late, "--yes")

    bring(site, late + other, "--yes")

    assert {key: cron for key, (cron, _) in shown(site).items()} == {
        "report": "0 4 * * *",
        "report-2": "0 15 * * *",
    }


# what is printed


@pytest.mark.parametrize("length, is_watched", [(700, True), (960, False)])
def test_a_line_that_would_be_too_long_for_cron_stays_as_it_was(
    site: Site, length: int, is_watched: bool
) -> None:
    line = f"0 3 * * * /opt/a {'x' * length}"

    done = bring(site, f"{line}\n", "--yes")

    assert max(map(len, lines(done))) <= 998
    assert (line in lines(done)) is not is_watched
    assert len(site.monitors) == is_watched
    assert any("too long for cron" in said for said in comments(done)) is not is_watched


def test_what_there_is_to_say_stands_before_the_crontab(site: Site) -> None:
    done = bring(site, TAB)

    assert (done.code, done.err, site.monitors) == (0, "", [])
    *created, zone, reboot = comments(done)[:5]
    assert created == [
        "backup: every day at 03:00 (Europe/Berlin)",
        "backup-2: every day at 00:00 (Europe/Berlin)",
        "sync: every 5 minutes (Asia/Tokyo)",
    ]
    assert (zone[:8], reboot) == ("line 5: ", "line 7: @reboot never comes round")
    assert "No notifications yet: see `cronwatch integration add --help`" in comments(done)


def test_a_second_time_all_is_watched_already_and_the_same_is_printed(site: Site) -> None:
    first, second = bring(site, TAB, "--yes"), bring(site, TAB, "--yes")

    assert shown(site) == KEYS
    assert lines(second) == lines(first)
    assert {line.rpartition(", ")[2] for line in comments(second)[:3]} == {"is watched already"}
    assert any("--host NAME tells" in comment for comment in comments(second))
    assert {row["key"]: (row["name"], row["notes"]) for row in site.monitors} == {
        "backup": ("backup", "/usr/bin/backup --all"),
        "backup-2": ("backup", "/usr/bin/backup"),
        "sync": ("sync", "sync && echo ok"),
    }


SAME = "0 3 * * * root /opt/backup\n"


@pytest.mark.parametrize(
    "line, flags",
    [
        (SAME, ("--host", "nas")),
        (SAME.replace("root", "ann"), ()),
        (SAME.replace("/opt/", "/srv/"), ()),
    ],
    ids=["host", "user", "command"],
)
def test_the_same_command_on_another_host_is_another_job(
    site: Site, line: str, flags: tuple[str, ...]
) -> None:
    bring(site, SAME, "--yes", "--system")
    bring(site, line, "--yes", "--system", *flags)
    bring(site, line, "--yes", "--system", *flags)

    assert list(shown(site)) == ["backup", "backup-2"]


def test_no_control_character_is_printed_and_it_is_said(site: Site) -> None:
    done = bring(site, "# \x1b]0;x\a\r\n0 3 * * *\t/opt/a \x1b[31m \x9b b\r\n")

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out)
    assert [said[:18] for said in comments(done)[1:2]] == ["control characters"]


def test_each_line_pings_the_monitor_of_its_job(site: Site) -> None:
    done = bring(site, TAB, "--yes")

    tokens = site.rows("SELECT text FROM handle WHERE kind = 'token' ORDER BY monitor")
    assert re.findall(r"/cronwatch-exec http\S+/(\S+) -- ", done.out) == [
        row["text"] for row in tokens
    ]


def test_a_system_crontab_keeps_its_users(site: Site) -> None:
    done = bring(site, "0 3 * * *\troot\t/usr/bin/backup --all\n", "--system")

    assert lines(done) == [f"0 3 * * * root\t{WRAPPER} URL_OF_BACKUP -- /usr/bin/backup --all"]


def test_what_is_printed_is_a_crontab_that_can_be_read_again(site: Site) -> None:
    printed = bring(site, TAB, "--yes").out

    again = bring(site, printed, "--yes").out

    assert again.endswith(printed[printed.index("# of root") :])
    assert shown(site) == KEYS


@pytest.mark.parametrize(
    "command",
    [
        "cronwatch-exec http://x/t -- /usr/bin/backup",
        "/opt/bin/cronwatch-exec -q http://x/t -- a",
        "'/opt/my programs/cronwatch-exec' http://x/t -- /bin/sh -c 'a; b'",
    ],
)
def test_a_job_that_has_the_wrapper_is_left_alone(site: Site, command: str) -> None:
    done = bring(site, f"0 3 * * * {command}\n", "--yes")

    assert comments(done)[0] == "line 1: it runs cronwatch-exec already"
    assert (lines(done), site.monitors) == ([f"0 3 * * * {command}"], [])


def test_bytes_that_are_no_utf_8_stay_as_they_are(site: Site) -> None:
    done = bring(site, "# caf\udce9\n0 3 * * * /usr/bin/caf\udce9\n")

    assert [line for line in done.out.splitlines() if "caf\udce9" in line] == [
        "# caf\udce9",
        f"0 3 * * * {WRAPPER} URL_OF_CAF -- /bin/sh -c '/usr/bin/caf\udce9'",
    ]


@pytest.mark.parametrize("odd", ["\f", "\x85", "\u2028", "\v", "\x1c"])
def test_only_a_line_feed_ends_a_line(site: Site, odd: str) -> None:
    done = bring(site, f"# one{odd}0 3 * * * /usr/bin/two\n", "--yes")

    assert (done.code, site.monitors) == (0, [])


# where the wrapper is

WRAPPER = os.path.join(os.path.dirname(sys.executable), "cronwatch-exec")


@pytest.mark.parametrize(
    "wrapper, says", read_table("crontab", "The wrapper has its path where cron would not find it")
)
def test_the_wrapper_has_its_path_where_cron_would_not_find_it(wrapper: str, says: str) -> None:
    line = cronwatch.wrapped_line(one("0 3 * * * /usr/bin/backup"), "URL", wrapper)

    assert line == f"0 3 * * * {says} URL -- /usr/bin/backup"


def as_cron(
    command: str, folder: Path, path: str, given: str = "", shell: str = "/bin/sh"
) -> tuple[int, str, str]:
    """Run a command with what Debian's cron sets, and nothing else: how it ended."""
    environ = {"PATH": path, "SHELL": shell, "HOME": "/home/ann", "LOGNAME": "ann"}
    done = finish([shell, "-c", command], folder, environ, given=given)
    return done.returncode, done.stdout, done.stderr.replace(f"{shell}: ", "")


@pytest.mark.slow
def test_cron_runs_an_imported_line_and_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text(f"0 3 * * * echo all well > {tmp_path}/ran; exit 3\n")
    with serving(tmp_path) as live:
        printed = live.cli("import", "crontab", str(tmp_path / "crontab"), "--yes")
        line = printed.splitlines()[-1].removeprefix("0 3 * * * ")

        code, _, err = as_cron(line, tmp_path, "/usr/bin:/bin")

        (run,) = live.runs("echo-all")

    assert ((tmp_path / "ran").read_text(), code, err) == ("all well\n", 3, "")
    assert (run["state"], run["exit_code"]) == ("failed", 3)


# whose crontab


@pytest.mark.parametrize(
    "script, keys, err",
    [
        ('[ "$*" = -l ] && echo "0 3 * * * /usr/bin/backup"', ["backup"], ""),
        ("echo 'no crontab for root' >&2; exit 1", [], ""),
        ("echo 'You (ann) are not allowed' >&2; exit 1", [], "crontab -l: You (ann) are not"),
        (None, [], "there is no program crontab here: name a file"),
    ],
)
def test_ones_own_crontab_is_what_crontab_prints(
    site: Site, tmp_path: Path, script: str | None, keys: list[str], err: str
) -> None:
    (tmp_path / "bin").mkdir()
    if script is not None:
        program(tmp_path, "crontab", script)

    done = call(
        "import", "crontab", "--yes", PATH=f"{tmp_path}/bin", CRONWATCH_DATABASE=str(site.database)
    )

    assert (done.code, list(shown(site))) == (1 if err else 0, keys)
    assert done.err.startswith(f"cronwatch: {err}" if err else "")


# what cron runs


def cut(command: str, unescapes: str) -> tuple[str, str]:
    """What cron makes of a command: the part for the shell and the one for standard input. All
    crons make `\\%` a percent sign; FreeBSD's makes `\\\\` a backslash, too."""
    kept, escaped = "", False
    for place, char in enumerate(command):
        if escaped and char in unescapes:
            kept = kept[:-1]
        elif not escaped and char == "%":
            return kept, command[place + 1 :].replace("%", "\n") + "\n"
        kept += char
        escaped = char == "\\" and not escaped
    return kept, ""


@pytest.fixture
def cron(tmp_path: Path) -> Callable[..., Any]:
    """Runs a command as cron does, in a folder where cronwatch-exec only runs what it is given."""
    program(tmp_path, "cronwatch-exec", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    program(tmp_path, "../job.sh", 'echo "job $# $*"; cat')
    (tmp_path / "job.env").write_text("echo sourced\n")

    def run_line(command: str, shell: str = "/bin/sh", unescapes: str = "%") -> Any:
        words, given = cut(command, unescapes)
        return as_cron(words, tmp_path, f"{tmp_path}/bin:{os.environ['PATH']}", given, shell)

    return run_line


COMMANDS = read_table("crontab", "A job does with the wrapper what it did")


@pytest.mark.parametrize("unescapes", ["%", "%\\"], ids=["Debian", "FreeBSD"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_job_does_with_the_wrapper_what_it_did(
    tmp_path: Path, cron: Callable[..., Any], command: str, unescapes: str
) -> None:
    command = command.format(here=tmp_path) if "{here}" in command else command
    wrapped = cronwatch.wrapped_line(
        one(f"0 3 * * * {command}"), "http://127.0.0.1:9/x", "cronwatch-exec"
    )

    ran = cron(wrapped.removeprefix("0 3 * * * "), unescapes=unescapes)

    assert " cronwatch-exec http://127.0.0.1:9/x -- " in wrapped
    assert ran == cron(command, unescapes=unescapes)


@pytest.mark.parametrize("command", read_table("crontab", "A job keeps the shell of its crontab"))
def test_a_job_keeps_the_shell_of_its_crontab(cron: Callable[..., Any], command: str) -> None:
    job = one(f"SHELL=/bin/bash\n0 3 * * * {command}")
    wrapped = cronwatch.wrapped_line(job, "http://127.0.0.1:9/x", "cronwatch-exec")

    ran = cron(wrapped.removeprefix("0 3 * * * "), "/bin/bash")

    assert ran == cron(command, "/bin/bash")
    assert ran[0] == 0

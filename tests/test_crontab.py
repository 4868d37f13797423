"""`cronwatch import crontab`: which monitors a crontab becomes, and how its lines read then."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from live_server import LIMIT_SECONDS, Done, call, program, serving

import cronwatch

UTC = "UTC"


def read(text: str, is_system: bool = False) -> list[cronwatch.CronLine]:
    """The jobs of a crontab, each line of which is right."""
    return cronwatch.read_crontab(text, is_system, UTC)[0]


def remarks(text: str) -> list[str]:
    """What is said of the lines of a crontab."""
    return cronwatch.read_crontab(text, False, UTC)[1]


def one(line: str, is_system: bool = False) -> cronwatch.CronLine:
    (job,) = read(line, is_system)
    return job


def bring(site: Site, text: str, *flags: str) -> Done:
    """`import crontab` of a file with this."""
    file = site.database.with_name("crontab")
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return call(
        "import",
        "crontab",
        str(file),
        *flags,
        "--database",
        str(site.database),
        TZ="Europe/Berlin",
    )


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
    "line, when, command",
    [
        ("0 3 * * * /usr/bin/backup --all", "0 3 * * *", "/usr/bin/backup --all"),
        ("  */5\t*  * * 1-5\t /usr/bin/sync\t-a", "*/5\t*  * * 1-5", "/usr/bin/sync\t-a"),
        ("@daily /usr/bin/backup", "@daily", "/usr/bin/backup"),
        ("0 3 * JAN-MAR mon,Wed /usr/bin/backup", "0 3 * JAN-MAR mon,Wed", "/usr/bin/backup"),
        ("0 3 * * * echo # no comment", "0 3 * * *", "echo # no comment"),
    ],
)
def test_a_line_is_a_time_and_a_command(line: str, when: str, command: str) -> None:
    job = one(line)

    assert (job.when, job.user, job.command, job.stdin) == (when, "", command, "")


@pytest.mark.parametrize(
    "line, command, given",
    [
        ("0 3 * * * cat%one%two", "cat", "%one%two"),
        (r"0 3 * * * date +\%F", r"date +\%F", ""),
        (r"0 3 * * * date +\%F %one", r"date +\%F", "%one"),
        (r"0 3 * * * echo a\\%b", r"echo a\\", "%b"),
        (r"0 3 * * * echo a\\\%b", r"echo a\\\%b", ""),
        ("0 3 * * * cat %", "cat", "%"),
    ],
)
def test_the_first_bare_percent_sign_begins_standard_input(
    line: str, command: str, given: str
) -> None:
    job = one(line)

    assert (job.command, job.stdin) == (command, given)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        "# 0 3 * * * /usr/bin/backup",
        "\t# comment",
        "MAILTO=root",
        'MAILTO=""',
        "PATH = /usr/bin:/bin",
        "X='0 3 * * * y'",
        "EMPTY=",
        "FOO-BAR=x",
        "MY.VAR = y",
        '"QUOTED NAME"="z"',
        "'QUOTED NAME' = z",
    ],
)
def test_what_is_no_job_makes_no_monitor_and_no_remark(line: str) -> None:
    assert cronwatch.read_crontab(line, False, UTC) == ([], [])


def test_a_setting_holds_for_what_comes_after_it() -> None:
    settings = "TZ=Asia/Dili\nCRON_TZ = 'Asia/Tokyo'\nSHELL=/bin/bash\nPATH=/opt/bin\n"

    before, after = read(f"0 3 * * * /a\n{settings}@quarterly /b")

    assert (before.timezone, before.shell, before.path) == (UTC, "/bin/sh", "/usr/bin:/bin")
    assert (after.timezone, after.shell, after.path) == ("Asia/Tokyo", "/bin/bash", "/opt/bin")
    assert (after.when, after.cron) == ("@quarterly", "0 0 1 1,4,7,10 *")


def test_a_schedule_is_in_the_zone_of_the_machine() -> None:
    (job,), _ = cronwatch.read_crontab("0 3 * * * /usr/bin/backup", False, "Asia/Tokyo")

    assert job.timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    "line, problem",
    [
        ("@reboot /usr/bin/x", "@reboot never comes round"),
        ("@300 /usr/bin/x", "@300 names no time of day: `cronwatch monitor add KEY --every"),
        ("CRON_TZ=Asia/Tokyo", "Debian's cron ignores CRON_TZ"),
        ("61 * * * * /usr/bin/x", "minute must be 0-59"),
        ("0~59 3 * * * /usr/bin/x", "random times ("),
        ("~ 4 * * * /usr/bin/x", "random times ("),
        ("7 22-6 * * * /usr/bin/x", "never runs 22-6"),
        ("7 9 * * FRI-SUN /usr/bin/x", "never runs fri-sun"),
        ("*/30 * * * * * echo tock", "would run `* echo tock`"),
        ("0 30 3 * * MON-FRI echo tock", "would run `MON-FRI echo tock`"),
        ("1\t5\tcron.daily\tnice run-parts /etc/cron.daily", "this is no line of a crontab"),
        ("@monthly\t45\tcron.monthly\tnice run-parts /x", "this is no line of a crontab"),
        ("0 3 L * * /usr/bin/x", "this is no line of a crontab"),
        ("0 3 * *", "this is no line of a crontab"),
        ("0 3 * * *", "this is no line of a crontab"),
    ],
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
    "command, is_told",
    [
        (r"[ $(date +\%d) -le 7 ] && /opt/monthly.sh", True),
        ('[ -x "$HOME/bin/tune" ] && "$HOME/bin/tune"', True),
        ("[[ -x /opt/a ]] && /opt/a", True),
        ("test -x /opt/a -a ! -d /run/x && perl -e 'sleep int(rand(9))' && /opt/a -q", True),
        ("test -x /usr/sbin/anacron || { cd / && run-parts /etc/cron.daily; }", False),
        ("[ -x /opt/a ] && /opt/a || true", False),
        ("[ -x /opt/a ] && /opt/a; true", False),
        ("if [ -x /opt/a ]; then /opt/a; fi", False),
        ("cd /srv && ./a", False),
        ("test -x /opt/a", False),
    ],
)
def test_a_job_that_ends_as_its_test_does_is_said(command: str, is_told: bool) -> None:
    said = remarks(f"0 9 * * 1 {command}")

    assert ["ends with 1" in remark for remark in said] == ([True] if is_told else [])


# names


@pytest.mark.parametrize(
    "command, name",
    [
        ("/usr/local/bin/backup", "backup"),
        ("/usr/local/bin/backup.sh --full", "backup"),
        ("/sbin/zpool scrub tank", "zpool scrub"),
        ("restic backup /home > /var/log/restic 2>&1", "restic backup"),
        (
            "test -x /usr/bin/certbot && perl -e 'sleep int(rand(9))' && certbot renew",
            "certbot renew",
        ),
        ("cd / && run-parts --report /etc/cron.hourly", "cron.hourly"),
        (
            "test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }",
            "cron.daily",
        ),
        (r"[ $(date +\%d) -le 7 ] && /opt/monthly.sh", "monthly"),
        ("[ -x /opt/a ] && if [ ! -d /run/x ]; then /opt/clean.sh; fi", "clean"),
        ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", "debian-sa1"),
        ('"$HOME/bin/tune"', "tune"),
        ("/usr/bin/python3.11 -u /srv/app/report.py", "report"),
        ("cd /srv/app && ./sync.sh", "sync"),
        ("cd /srv/app; php artisan schedule:run", "artisan schedule:run"),
        ("bash -c 'rsync -a / /mnt'", "rsync"),
        ("FOO=1 BAR=2 /usr/bin/job", "job"),
        ("nice -n 10 /usr/bin/job", "job"),
        ("/usr/bin/flock -n /tmp/lock /usr/bin/job", "job"),
        ("timeout 5m /usr/bin/job", "job"),
        ("sudo -u www-data php /var/www/cron.php", "cron"),
        ("$HOME", "job"),
        ("$(true)", "true"),
        ("日本", "job"),
        ("x" * 300, "x" * 180),
    ],
)
def test_a_monitor_is_named_after_what_is_run(command: str, name: str) -> None:
    assert one(f"0 3 * * * {command}").name == name


# what is shown, and what is created

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


# a crontab that was edited, and one of another machine


def test_an_edited_time_of_a_line_with_the_wrapper_is_applied(site: Site) -> None:
    printed = bring(site, "0 3 * * * /opt/report.sh --all\n", "--yes")
    (line,) = lines(printed)

    said = comments(bring(site, line.replace("0 3", "0 15") + "\n", "--yes"))

    assert shown(site) == {"report": ("0 15 * * *", "Europe/Berlin")}
    assert said[0].startswith("report: every day at 15:00 (Europe/Berlin), until now every day at")


def test_a_time_that_a_person_set_stays_and_is_said(site: Site) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n", "--yes")
    site.rows("UPDATE monitor SET cron = '0 4 * * *'")

    said = comments(bring(site, "0 15 * * * /opt/report.sh\n", "--yes"))

    assert shown(site) == {"report": ("0 4 * * *", "Europe/Berlin")}
    assert said[0] == (
        "report: every day at 04:00 (Europe/Berlin), as it was edited: "
        "the crontab has 0 15 * * * (Europe/Berlin)"
    )


def test_of_two_jobs_with_one_command_the_one_with_the_same_time_is_meant(site: Site) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n0 15 * * * /opt/report.sh\n", "--yes")

    bring(site, "0 15 * * * /opt/report.sh\n0 4 * * * /opt/report.sh\n", "--yes")

    assert shown(site) == {
        "report": ("0 4 * * *", "Europe/Berlin"),
        "report-2": ("0 15 * * *", "Europe/Berlin"),
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


def test_an_edited_time_is_said_and_applied(site: Site) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n", "--yes")

    done = bring(site, "0 15 * * * /opt/report.sh\n", "--yes")

    assert shown(site) == {"report": ("0 15 * * *", "Europe/Berlin")}
    assert comments(done)[0] == (
        "report: every day at 15:00 (Europe/Berlin), until now every day at 03:00"
    )


def test_no_control_character_is_printed_and_it_is_said(site: Site) -> None:
    done = bring(site, "# \x1b]0;x\a\r\n0 3 * * *\t/opt/a \x1b[31m \x9b b\r\n")

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out)
    assert [said[:18] for said in comments(done)[1:2]] == ["control characters"]


def test_each_line_pings_the_monitor_of_its_job(site: Site) -> None:
    done = bring(site, TAB, "--yes")

    urls = [
        line.partition("/cronwatch-exec ")[2].partition(" -- ")[0]
        for line in lines(done)
        if "cronwatch-exec" in line
    ]
    assert [url.rpartition("/")[2] for url in urls] == [
        row["text"]
        for row in site.rows("SELECT text FROM handle WHERE kind = 'token' ORDER BY monitor")
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


def wrapped(line: str, wrapper: str) -> str:
    """What stands in place of the wrapper in a line of a crontab."""
    (job,) = read(line)
    return (
        cronwatch.wrapped_line(job, "URL", wrapper)
        .removeprefix("0 3 * * * ")
        .partition(" URL ")[0]
    )


@pytest.mark.parametrize(
    "wrapper, says",
    [
        ("/usr/bin/cronwatch-exec", "cronwatch-exec"),
        ("/bin/cronwatch-exec", "cronwatch-exec"),
        ("/usr/local/bin/cronwatch-exec", "/usr/local/bin/cronwatch-exec"),
        ("/home/ann/.local/bin/cronwatch-exec", "/home/ann/.local/bin/cronwatch-exec"),
        ("/srv/my programs/cronwatch-exec", "'/srv/my programs/cronwatch-exec'"),
        ("/srv/100%/cronwatch-exec", r"/srv/100\%/cronwatch-exec"),
    ],
)
def test_the_wrapper_has_its_path_where_cron_would_not_find_it(wrapper: str, says: str) -> None:
    assert wrapped("0 3 * * * /usr/bin/backup", wrapper) == says


@pytest.mark.slow
def test_cron_runs_an_imported_line_and_it_is_told(tmp_path: Path) -> None:
    """With what Debian's cron sets, and nothing else."""
    (tmp_path / "crontab").write_text(f"0 3 * * * echo all well > {tmp_path}/ran; exit 3\n")
    with serving(tmp_path) as live:
        printed = live.cli("import", "crontab", str(tmp_path / "crontab"), "--yes")
        line = printed.splitlines()[-1].removeprefix("0 3 * * * ")

        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            env={
                "PATH": "/usr/bin:/bin",
                "SHELL": "/bin/sh",
                "HOME": str(tmp_path),
                "LOGNAME": "ann",
            },
        )

        (run,) = live.runs("echo-all")

    assert ((tmp_path / "ran").read_text(), done.returncode, done.stderr) == ("all well\n", 3, "")
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
        done = subprocess.run(
            [shell, "-c", words],
            input=given,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            env={
                "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                "HOME": "/home/ann",
                "SHELL": shell,
            },
        )
        return done.returncode, done.stdout, done.stderr.replace(f"{shell}: ", "")

    return run_line


COMMANDS = [
    "{here}/job.sh --all  a=b",
    "{here}/job.sh 'two words' \"$HOME\"",
    "echo 'it'\\''s' \"quoted\"",
    'echo it\\\'s \\"so\\"',
    "FOO=bar printenv FOO",
    ". ./job.env",
    "cd / && pwd",
    "exit 7",
    "true || echo no; echo $?",
    "for i in 1 2; do echo $i; done",
    "(echo sub)",
    "echo a | tr a-z A-Z",
    "echo `echo back`",
    "echo *.env",
    "echo '100\\%'",
    "date -u -d @0 +\\%F",
    "cat%one%two",
    "cat -%one",
    "{here}/job.sh x%given",
    'tr a-z A-Z%it\'s "quoted"',
    "echo a\\\\%b",
    "echo a\\\\\\%b",
    "echo 'tab\tinside'",
    "echo 'a\\\\b'",
    "echo ü ✓",
    "echo a # comment",
    "! true",
    "echo -- -x",
    "{here}/job.sh a; {here}/job.sh b",
]


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


@pytest.mark.parametrize(
    "command",
    ["[[ a = a* ]] && echo glob", "echo {1..3}", "a=(1 2); echo ${a[1]}", "source ./job.env"],
)
def test_a_job_keeps_the_shell_of_its_crontab(cron: Callable[..., Any], command: str) -> None:
    job = one(f"SHELL=/bin/bash\n0 3 * * * {command}")
    wrapped = cronwatch.wrapped_line(job, "http://127.0.0.1:9/x", "cronwatch-exec")

    ran = cron(wrapped.removeprefix("0 3 * * * "), "/bin/bash")

    assert ran == cron(command, "/bin/bash")
    assert ran[0] == 0

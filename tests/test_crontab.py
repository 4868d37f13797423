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
from live_server import CRONWATCH, LIMIT_SECONDS, Done, call, environment, program, serving

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
        ("@hourly\t/usr/bin/backup", "@hourly", "/usr/bin/backup"),
        ("0 3 * JAN-MAR mon,Wed /usr/bin/backup", "0 3 * JAN-MAR mon,Wed", "/usr/bin/backup"),
        ("0 3 * * * A=1 /usr/bin/backup", "0 3 * * *", "A=1 /usr/bin/backup"),
        ("0 3 * * * echo # no comment", "0 3 * * *", "echo # no comment"),
    ],
)
def test_a_line_is_a_time_and_a_command(line: str, when: str, command: str) -> None:
    job = one(line)

    assert (job.when, job.user, job.command, job.stdin) == (when, "", command, "")


@pytest.mark.parametrize(
    "line, user, command",
    [
        ("0 3 * * * root /usr/bin/backup --all", "root ", "/usr/bin/backup --all"),
        ("@daily\twww-data\t/usr/bin/backup", "www-data\t", "/usr/bin/backup"),
        ("17 *\t* * *\troot    cd / && run-parts /etc", "root    ", "cd / && run-parts /etc"),
    ],
)
def test_in_a_system_crontab_a_line_names_a_user(line: str, user: str, command: str) -> None:
    job = one(line, is_system=True)

    assert (job.user, job.command) == (user, command)


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


def test_a_schedule_is_in_the_zone_of_the_machine() -> None:
    (job,), _ = cronwatch.read_crontab("0 3 * * * /usr/bin/backup", False, "Asia/Tokyo")

    assert job.timezone == "Asia/Tokyo"


@pytest.mark.parametrize("setting", ["CRON_TZ=Asia/Tokyo", 'CRON_TZ = "Asia/Tokyo"'])
def test_a_zone_for_cron_holds_for_what_comes_after_it(setting: str) -> None:
    before, after = read(f"0 3 * * * /a\n{setting}\n0 3 * * * /b")

    assert (before.timezone, after.timezone) == (UTC, "Asia/Tokyo")


def test_a_zone_for_the_commands_moves_no_schedule() -> None:
    assert one("TZ=Asia/Tokyo\n0 3 * * * /usr/bin/backup").timezone == UTC


@pytest.mark.parametrize(
    "line, problem",
    [
        ("@reboot /usr/bin/x", "@reboot never comes round"),
        ("@300 /usr/bin/x", "300 seconds after its last end"),
        ("@every_second /usr/bin/x", "names no time that can be expected"),
        ("61 * * * * /usr/bin/x", "minute must be 0-59"),
        ("0 3 30 2 * /usr/bin/x", ""),
        ("0~59 3 * * * /usr/bin/x", "random times ("),
        ("~ 4 * * * /usr/bin/x", "random times ("),
        ("7 22-6 * * * /usr/bin/x", "never runs 22-6"),
        ("7 9 * * FRI-SUN /usr/bin/x", "never runs fri-sun"),
        ("7 9 * * 1,sat-sun /usr/bin/x", "never runs sat-sun"),
        ("7 9 * nov-feb * /usr/bin/x", "never runs nov-feb"),
        ("*/10 * * * * * * echo tick", "would run `* * echo tick`"),
        ("*/30 * * * * * echo tock", "would run `* echo tock`"),
        ("0 30 3 * * MON-FRI echo tock", "would run `MON-FRI echo tock`"),
        ("1\t5\tcron.daily\tnice run-parts /etc/cron.daily", "this is no line of a crontab"),
        ("@monthly\t45\tcron.monthly\tnice run-parts /x", "this is no line of a crontab"),
        ("0 3 L * * /usr/bin/x", "this is no line of a crontab"),
        ("0 3 * *", "this is no line of a crontab"),
        ("0 3 * * *", "this is no line of a crontab"),
        ("nonsense", "this is no line of a crontab"),
        ("@sometimes /usr/bin/x", ""),
    ],
)
def test_a_line_that_cannot_be_watched_is_named_by_its_number(line: str, problem: str) -> None:
    jobs, (found,) = cronwatch.read_crontab(f"# one\n\n{line}\n0 3 * * * /y", False, UTC)

    assert ([job.command for job in jobs], found[:8]) == (["/y"], "line 3: ")
    assert problem in found


def test_a_zone_that_is_none_is_a_problem_of_the_lines_after_it() -> None:
    jobs, problems = cronwatch.read_crontab(
        "CRON_TZ=Mars/Olympus\n0 3 * * * /a\n0 4 * * * /b", False, UTC
    )

    assert (jobs, [problem[:8] for problem in problems[1:]]) == ([], ["line 2: ", "line 3: "])


def test_whose_cron_obeys_a_zone_is_said() -> None:
    (remark,) = remarks("CRON_TZ=Asia/Tokyo\n9 9 * * * /a\nCRON_TZ=UTC\n9 9 * * * /b")

    assert remark.startswith("line 1: Debian's cron ignores CRON_TZ")
    assert "cronie" in remark


@pytest.mark.parametrize("minus", ["-", "  -"])
def test_a_minus_keeps_a_job_out_of_the_log_and_in_the_crontab(minus: str) -> None:
    job = one(f"{minus}*/15 * * * * root /opt/run-crons", is_system=True)

    assert (job.cron, job.user, job.command) == ("*/15 * * * *", "root ", "/opt/run-crons")
    assert cronwatch.wrapped_line(job, "URL", "/usr/bin/cronwatch-exec") == (
        "-*/15 * * * * root cronwatch-exec URL -- /opt/run-crons"
    )


@pytest.mark.parametrize(
    "word, cron",
    [
        ("@minutely", "* * * * *"),
        ("@every_minute", "* * * * *"),
        ("@quarterly", "0 0 1 1,4,7,10 *"),
        ("@semi-annually", "0 0 1 1,7 *"),
        ("@daily", "@daily"),
    ],
)
def test_the_words_of_other_crons_are_known(word: str, cron: str) -> None:
    job = one(f"{word}\t/opt/a")

    assert (job.when, job.cron) == (word, cron)


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
        ("backup_DB.py", "backup_DB"),
        ("/sbin/zpool scrub tank", "zpool scrub"),
        ("/usr/local/bin/ZFS-Snapshot --all", "ZFS-Snapshot"),
        ("restic backup /home > /var/log/restic 2>&1", "restic backup"),
        ("certbot -q renew", "certbot"),
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
        ("python3 /srv/app/report.py", "report"),
        ("/usr/bin/python3.11 -u /srv/app/report.py", "report"),
        ("cd /srv/app && ./sync.sh", "sync"),
        ("cd /srv/app; php artisan schedule:run", "artisan schedule:run"),
        ("bash -c 'rsync -a / /mnt'", "rsync"),
        ("FOO=1 BAR=2 /usr/bin/job", "job"),
        ("nice -n 10 /usr/bin/job", "job"),
        ("/usr/bin/flock -n /tmp/lock /usr/bin/job", "job"),
        ("timeout 5m /usr/bin/job", "job"),
        ("timeout 60 /usr/bin/job", "job"),
        ("sudo -u www-data php /var/www/cron.php", "cron"),
        ("[ -x /usr/bin/job ] && /usr/bin/job", "job"),
        ("/usr/bin/job >/dev/null 2>&1", "job"),
        ("(/usr/bin/job)", "job"),
        ("$HOME", "job-1"),
        ("$(true)", "true"),
        ("日本", "job-1"),
    ],
)
def test_a_monitor_is_named_after_what_is_run(command: str, name: str) -> None:
    assert one(f"0 3 * * * {command}").name == name


def test_a_key_is_the_name_in_small_letters(site: Site) -> None:
    bring(site, "0 3 * * * /sbin/zpool scrub tank\n0 4 * * * /opt/ZFS_Snapshot.sh\n", "--yes")

    assert [(row["key"], row["name"]) for row in site.monitors] == [
        ("zpool-scrub", "zpool scrub"),
        ("zfs-snapshot", "ZFS_Snapshot"),
    ]


def test_jobs_of_the_same_script_are_numbered(site: Site) -> None:
    bring(site, "0 3 * * * /x/backup.sh\n0 4 * * * /x/backup.sh -f\n0 5 * * * backup\n", "--yes")

    assert [(row["key"], row["name"]) for row in site.monitors] == [
        ("backup", "backup"),
        ("backup-2", "backup 2"),
        ("backup-3", "backup 3"),
    ]


def test_a_long_name_is_cut() -> None:
    assert len(one(f"0 3 * * * {'x' * 300}").name) <= 200


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


def test_without_yes_nothing_is_created(site: Site) -> None:
    bring(site, TAB)

    assert site.monitors == []


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_what_would_be_created_is_shown(site: Site, flags: tuple[str, ...]) -> None:
    done = bring(site, TAB, *flags)

    assert (done.code, done.err) == (0, "")
    *said, zone, reboot = comments(done)[:5]
    assert said == [
        "backup: every day at 03:00 (Europe/Berlin)",
        "backup-2: every day at 00:00 (Europe/Berlin)",
        "sync: every 5 minutes (Asia/Tokyo)",
    ]
    assert (zone[:8], reboot) == ("line 5: ", "line 7: @reboot never comes round")


def test_with_yes_it_is_created(site: Site) -> None:
    bring(site, TAB, "--yes")

    assert shown(site) == KEYS


def test_the_command_of_a_job_is_in_its_notes(site: Site) -> None:
    bring(site, TAB, "--yes")

    assert [row["notes"] for row in site.monitors] == [
        "/usr/bin/backup --all",
        "/usr/bin/backup",
        "sync && echo ok",
    ]


def test_a_second_time_the_same_crontab_is_printed(site: Site) -> None:
    first = bring(site, TAB, "--yes")

    assert lines(bring(site, TAB, "--yes")) == lines(first)


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_a_job_that_is_watched_already_is_said_to_be(site: Site, flags: tuple[str, ...]) -> None:
    bring(site, "0 3 * * * /usr/bin/backup\n", "--yes")

    said = comments(bring(site, "0 3 * * * /usr/bin/backup\n", *flags))

    assert said[:2] == [
        "backup: every day at 03:00 (Europe/Berlin), is watched already",
        "A job is known again by its command: --host NAME tells those of other machines apart",
    ]


# a crontab that was edited, and one of another machine


def test_the_same_script_of_two_crontabs_is_two_jobs(site: Site) -> None:
    bring(site, "0 3 * * * /root/backup.sh\n", "--yes")
    bring(site, "30 4 * * * /home/ann/backup.sh --home\n", "--yes")

    assert shown(site) == {
        "backup": ("0 3 * * *", "Europe/Berlin"),
        "backup-2": ("30 4 * * *", "Europe/Berlin"),
    }


def test_a_monitor_that_a_person_made_is_taken_over_by_no_job(site: Site) -> None:
    site.monitor(key="backup", cron="0 1 * * *")

    bring(site, "0 3 * * * /root/backup.sh\n", "--yes")

    assert shown(site) == {
        "backup": ("0 1 * * *", "UTC"),
        "backup-2": ("0 3 * * *", "Europe/Berlin"),
    }


def test_the_same_command_on_another_host_is_another_job(site: Site) -> None:
    line = "0 3 * * * /usr/bin/backup\n"
    bring(site, line, "--yes")
    bring(site, line, "--yes", "--host", "nas")
    bring(site, line, "--yes", "--host", "nas")

    assert list(shown(site)) == ["backup", "backup-2"]


def test_the_same_command_of_another_user_is_another_job(site: Site) -> None:
    tab = "0 3 * * * root /usr/bin/backup\n0 3 * * * ann /usr/bin/backup\n"
    bring(site, tab, "--yes", "--system")
    bring(site, tab, "--yes", "--system")

    assert list(shown(site)) == ["backup", "backup-2"]


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_an_edited_time_is_said(site: Site, flags: tuple[str, ...]) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n", "--yes")

    said = comments(bring(site, "0 15 * * * /opt/report.sh\n", *flags))

    assert said[0] == (
        "report: every day at 15:00 (Europe/Berlin), until now every day at 03:00 (Europe/Berlin)"
    )


@pytest.mark.parametrize(
    "flags, cron", [((), "0 3 * * *"), (("--yes",), "0 15 * * *")], ids=["shown", "done"]
)
def test_an_edited_time_is_applied_with_yes(site: Site, flags: tuple[str, ...], cron: str) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n", "--yes")

    bring(site, "0 15 * * * /opt/report.sh\n", *flags)

    assert shown(site) == {"report": (cron, "Europe/Berlin")}


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
        "report: stays every day at 04:00 (Europe/Berlin), as it was edited; "
        "here it is every day at 15:00 (Europe/Berlin)"
    )


def test_of_two_jobs_with_one_command_the_one_with_the_same_time_is_meant(site: Site) -> None:
    bring(site, "0 3 * * * /opt/report.sh\n0 15 * * * /opt/report.sh\n", "--yes")

    bring(site, "0 15 * * * /opt/report.sh\n0 4 * * * /opt/report.sh\n", "--yes")

    assert shown(site) == {
        "report": ("0 4 * * *", "Europe/Berlin"),
        "report-2": ("0 15 * * *", "Europe/Berlin"),
    }


def test_a_job_that_was_imported_before_commands_were_declared_is_known_by_its_notes(
    site: Site,
) -> None:
    site.monitor(key="report", cron="0 3 * * *", timezone="Europe/Berlin", notes="/opt/report.sh")

    bring(site, "0 15 * * * /opt/report.sh\n", "--yes")

    assert shown(site) == {"report": ("0 15 * * *", "Europe/Berlin")}


# what is printed


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_no_control_character_is_printed_and_it_is_said(
    site: Site, flags: tuple[str, ...]
) -> None:
    done = bring(site, "# \x1b]0;x\a\n0 3 * * *\t/opt/a \x1b[31m \x9b b\n", *flags)

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out)
    assert [said for said in comments(done) if "control" in said] == [
        f"line {number}: its control characters are left out here" for number in (1, 2)
    ]


def test_lines_that_end_as_on_windows_are_printed_as_they_should_be(site: Site) -> None:
    done = bring(site, "MAILTO=root\r\n0 3 * * * /opt/a x\r\n")

    assert "\r" not in done.out
    assert [said[:29] for said in comments(done)[1:2]] == ["the lines end as on Windows, "]


@pytest.mark.parametrize("length, is_watched", [(700, True), (960, False)])
def test_a_line_that_would_be_too_long_for_cron_stays_as_it_was(
    site: Site, length: int, is_watched: bool
) -> None:
    line = f"0 3 * * * /opt/a {'x' * length}"

    done = bring(site, f"{line}\n", "--yes")

    assert max(map(len, lines(done))) <= 998
    assert (line in lines(done)) is not is_watched
    assert len(site.monitors) == is_watched
    assert any("and cron reads 998" in said for said in comments(done)) is not is_watched


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


def test_all_other_lines_are_as_they_were(site: Site) -> None:
    done = bring(site, TAB, "--yes")

    kept = [line for line in done.out.splitlines() if "cronwatch-exec" not in line][-4:]
    assert kept == ["# of root", "MAILTO=root", "CRON_TZ=Asia/Tokyo", "@reboot /usr/bin/hello"]


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


def test_bytes_that_are_no_utf_8_are_taken(site: Site) -> None:
    done = bring(site, "0 3 * * * /usr/bin/caf\udce9\n", "--yes")

    assert (done.code, shown(site)) == (0, {"caf": ("0 3 * * *", "Europe/Berlin")})


@pytest.mark.parametrize("odd", ["\f", "\x85", "\u2028", "\v", "\x1c"])
def test_only_a_line_feed_ends_a_line(site: Site, odd: str) -> None:
    done = bring(site, f"# one{odd}0 3 * * * /usr/bin/two\n", "--yes")

    assert (done.code, site.monitors) == (0, [])


def test_an_empty_crontab_is_no_mistake(site: Site) -> None:
    done = bring(site, "", "--yes")

    assert (done.code, site.monitors, done.err) == (0, [], "")


def test_a_file_that_is_not_there_is_refused(site: Site) -> None:
    done = call("import", "crontab", "nowhere", "--database", str(site.database))

    assert (done.code, done.out, done.err.startswith("cronwatch: cannot read nowhere: ")) == (
        1,
        "",
        True,
    )


HEARD = "# No notifications yet: see `cronwatch integration add --help`\n"


def test_who_hears_of_nothing_is_told_so(site: Site) -> None:
    assert HEARD in bring(site, TAB, "--yes").out


def test_who_hears_of_what_is_created_is_not(site: Site) -> None:
    call("integration", "add", "command", "Siren", "true", "--database", str(site.database))

    assert HEARD not in bring(site, TAB, "--yes").out


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


@pytest.mark.parametrize(
    "wrapper, says",
    [
        ("/opt/bin/cronwatch-exec", "cronwatch-exec"),
        ("/usr/bin/cronwatch-exec", "/usr/bin/cronwatch-exec"),
    ],
)
def test_the_path_of_a_crontab_is_where_cron_looks(wrapper: str, says: str) -> None:
    assert wrapped("PATH=/sbin:/opt/bin\n0 3 * * * /usr/bin/backup", wrapper) == says


def test_the_path_of_a_crontab_holds_for_what_comes_after_it() -> None:
    before, after = read("0 3 * * * /a\nPATH=/opt/bin\n0 3 * * * /b")

    assert (before.path, after.path) == ("/usr/bin:/bin", "/opt/bin")


def without_a_wrapper(tmp_path: Path) -> list[str]:
    """The words that start cronwatch on a Python that has no wrapper beside it."""
    (tmp_path / "python").symlink_to(os.path.realpath(sys.executable))
    return [str(tmp_path / "python"), "-m", "cronwatch"]


def test_who_has_no_wrapper_is_told_how_to_get_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text("0 3 * * * /usr/bin/backup\n")
    modules = [environment()["PYTHONPATH"], *site_packages()]

    done = subprocess.run(
        [
            *without_a_wrapper(tmp_path),
            "import",
            "crontab",
            "crontab",
            "--database",
            str(site.database),
        ],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        capture_output=True,
        timeout=LIMIT_SECONDS,
        env=environment(PATH="/nowhere", PYTHONPATH=os.pathsep.join(modules)),
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "# cronwatch-exec is not here yet: curl -fsSo /usr/local/bin/cronwatch-exec "
        "http://127.0.0.1:8080/cronwatch-exec && chmod +x /usr/local/bin/cronwatch-exec\n"
    ) in done.stdout
    assert (
        "\n0 3 * * * /usr/local/bin/cronwatch-exec URL_OF_BACKUP -- /usr/bin/backup\n"
    ) in done.stdout


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


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


@pytest.fixture
def own(site: Site, tmp_path: Path) -> Callable[[str], Done]:
    """Imports what `crontab -l` prints, where `crontab` is this script."""

    def bring_own(script: str | None) -> Done:
        if script is not None:
            program(tmp_path, "crontab", script)
        (tmp_path / "bin").mkdir(exist_ok=True)
        done = subprocess.run(
            [*CRONWATCH, "import", "crontab", "--yes", "--database", str(site.database)],
            env=environment(PATH=str(tmp_path / "bin")),
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return bring_own


def test_ones_own_crontab_is_asked_for(site: Site, own: Callable[[str | None], Done]) -> None:
    own('[ "$*" = -l ] && echo "0 3 * * * /usr/bin/backup"')

    assert list(shown(site)) == ["backup"]


def test_without_a_program_crontab_one_is_told_what_to_do(
    own: Callable[[str | None], Done],
) -> None:
    done = own(None)

    assert (done.code, done.out, "Traceback" in done.err) == (1, "", False)
    assert done.err.startswith("cronwatch: ")
    assert "file" in done.err


def test_who_has_no_crontab_has_no_jobs(own: Callable[[str | None], Done]) -> None:
    done = own("echo 'no crontab for root' >&2; exit 1")

    assert (done.code, done.err) == (0, "")


def test_who_may_not_have_a_crontab_is_told_so(own: Callable[[str | None], Done]) -> None:
    done = own("echo 'You (ann) are not allowed to use this program' >&2; exit 1")

    assert (done.code, done.out) == (1, "")
    assert "You (ann) are not allowed to use this program" in done.err


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
    "{here}/job.sh",
    "{here}/job.sh --all  a=b",
    "{here}/job.sh 'two words' \"$HOME\"",
    "echo plain",
    "echo 'it'\\''s' \"quoted\"",
    'echo it\\\'s \\"so\\"',
    "echo $HOME '$HOME'",
    "FOO=bar printenv FOO",
    "FOO=bar {here}/job.sh",
    ". ./job.env",
    "exec echo replaced",
    "cd / && pwd",
    "cd /",
    "umask 027; umask",
    "echo a > out; cat out",
    "false",
    "exit 7",
    "true || echo no; echo $?",
    "for i in 1 2; do echo $i; done",
    "(echo sub)",
    "{ echo brace; }",
    "echo a | tr a-z A-Z",
    "if true; then echo yes; fi",
    "echo `echo back`",
    "echo *.env",
    "echo 100\\%",
    "echo '100\\%'",
    "date -u -d @0 +\\%F",
    "printf '\\%s-' a b",
    "cat%one%two",
    "cat -%one",
    "{here}/job.sh x%given",
    "{here}/job.sh%given",
    'tr a-z A-Z%it\'s "quoted"',
    "echo a\\\\%b",
    "echo a\\\\\\%b",
    "echo 'tab\tinside'",
    "echo \\\\",
    "echo 'a\\\\b'",
    "echo ü ✓",
    "echo a&& echo b",
    "echo a # comment",
    "~/nothing",
    "! true",
    "test -d /",
    'echo "a  b"   c',
    "sh -c 'echo $0' x",
    ": > out",
    "echo -- -x",
    "command -v cat",
    "{here}/job.sh a; {here}/job.sh b",
    "kill -0 $$ && echo alive",
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

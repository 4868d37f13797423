"""The wrapper for jobs, cronwatch-exec, as dash, bash and busybox run it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from live_server import DIRECT, LIMIT_SECONDS, Live, environment, serving, wait_for

import cronwatch

pytestmark = pytest.mark.slow  # no Python is under test here
WRAPPER = str(cronwatch.DATA / "static" / "cronwatch-exec")
HANDLE = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
LOG_BYTES = 10_000


class Shell(NamedTuple):
    """What runs the script, and where it finds its tools."""

    name: str
    command: list[str]
    path: str


class Done(NamedTuple):
    """How a call ended."""

    code: int
    out: str
    err: str


class Asked(NamedTuple):
    """A request that came."""

    word: str  # what follows the handle
    query: dict[str, str]
    body: str


class Ear:
    """Stands in for cronwatch: keeps what it is asked, and answers what `answers` says.

    None closes the connection without an answer. `behind` is a server that is asked, too."""

    def __init__(self, port: int = 0, behind: str = "") -> None:
        self.asked = list[Asked]()
        self.answers: Callable[[Asked], int | None] = lambda asked: 200
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                path, _, query = self.path.partition("?")
                asked = Asked(
                    path.removeprefix(f"/{HANDLE}").lstrip("/"),
                    dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
                    raw.decode("utf-8", "replace"),
                )
                ear.asked.append(asked)
                if behind:
                    pass_on(behind + self.path, raw)
                status = ear.answers(asked)
                if status is not None:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.base}/{HANDLE}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def words(self) -> list[str]:
        return [asked.word for asked in self.asked]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def pass_on(url: str, raw: bytes) -> None:
    """Ask another server the same."""
    with DIRECT.open(urllib.request.Request(url, raw), timeout=LIMIT_SECONDS) as reply:
        reply.read()


@dataclass
class Wrapper:
    """Calls the script with a home of its own."""

    shell: Shell
    home: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.home / ".local" / "state" / "cronwatch-exec"

    @property
    def kept(self) -> list[str]:
        """What waits to be sent, oldest first."""
        return sorted(path.name for path in self.spool.iterdir()) if self.spool.exists() else []

    def environ(self, **more: str) -> dict[str, str]:
        return environment(
            **{
                "PATH": self.shell.path,
                "HOME": str(self.home),
                "TMPDIR": str(self.home / "tmp"),
                **more,
            }
        )

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """A call that runs, with pipes for its three streams."""
        self.started.append(
            subprocess.Popen(
                [*self.shell.command, WRAPPER, *words],
                env=self.environ(**environ),
                cwd=self.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )
        return self.started[-1]

    def call(self, *words: str, given: bytes = b"", **environ: str) -> Done:
        """A call to its end."""
        process = self.start(*words, **environ)
        out, err = process.communicate(given, timeout=LIMIT_SECONDS)
        return Done(process.returncode, out.decode(), err.decode())

    def job(self, url: str, script: str, given: bytes = b"", **environ: str) -> Done:
        """A call with a job for the shell, to its end."""
        return self.call(url, "--", "sh", "-c", script, given=given, **environ)

    def keep(self, name: str, url: str, body: str = "") -> None:
        """Leave a ping as an earlier call would have."""
        self.spool.mkdir(parents=True, exist_ok=True)
        (self.spool / name).write_text(f"{url}\n{body}")

    def close(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(scope="module", params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Three systems: two with the tools of this one, and one with nothing but busybox and curl."""
    name: str = request.param
    program, curl = shutil.which(name), shutil.which("curl")
    if program is None or curl is None:
        pytest.skip(f"there is no {name if curl else 'curl'} here")
    if name != "busybox":
        return Shell(
            name, [program, "--posix"] if name == "bash" else [program], os.environ["PATH"]
        )
    tools = tmp_path_factory.mktemp("busybox")
    subprocess.run([program, "--install", "-s", str(tools)], check=True)
    (tools / "curl").symlink_to(curl)
    return Shell(name, [str(tools / "sh")], str(tools))


@pytest.fixture
def wrapper(shell: Shell, tmp_path: Path) -> Iterator[Wrapper]:
    (tmp_path / "tmp").mkdir()
    made = Wrapper(shell, tmp_path)
    yield made
    made.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("exec")) as server:
        yield server


@pytest.fixture
def monitor(live: Live, wrapper: Wrapper) -> tuple[str, str]:
    """A monitor of a running server: its key and its ping URL."""
    key = f"{wrapper.shell.name} {time.time_ns()}"
    return key, live.add(key)["pingUrl"]


def free_port() -> int:
    """A port of the loopback where nobody listens."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def line_of(process: subprocess.Popen[bytes]) -> str:
    """The next line that a call prints."""
    assert process.stdout
    return process.stdout.readline().decode()


# == What is reported ==========================================================


def test_a_job_that_goes_well_is_a_run_with_its_host(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    done = wrapper.job(url, "exit 0")

    (run,) = live.runs(key)
    assert done == (0, "", "")
    assert (run["state"], run["exit_code"], run["host"]) == ("success", 0, socket.gethostname())


def test_a_job_that_fails_is_a_failed_run_with_its_exit_code(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    done = wrapper.job(url, "exit 3")

    (run,) = live.runs(key)
    assert (done.code, run["state"], run["exit_code"]) == (3, "failed", 3)


def test_both_streams_are_the_log_of_the_run(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    wrapper.job(url, "echo to out; echo to err >&2")

    (run,) = live.runs(key)
    (log,) = live.rows("SELECT content FROM run_log WHERE run = ?", run["num"])
    assert sorted(log["content"].splitlines()) == ["to err", "to out"]


def test_a_run_has_a_start_and_an_end_of_one_series(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(ear.url, "exit 4")

    start, end = ear.asked
    assert (start.word, end.word) == ("start", "4")
    assert start.query["series"] == end.query["series"]


def test_two_runs_are_two_series(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(ear.url, "exit 0")
    wrapper.job(ear.url, "exit 0")

    assert len({asked.query["series"] for asked in ear.asked}) == 2


def test_the_duration_is_that_of_the_job(wrapper: Wrapper, ear: Ear) -> None:
    began = time.monotonic()

    wrapper.job(ear.url, "sleep 1")

    # Without milliseconds, as in busybox, a second may count as one more or one less.
    assert 0.9 < float(ear.asked[1].query["duration"]) + 0.1 < time.monotonic() - began + 1.2


def test_of_a_long_output_the_end_is_sent(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.job(ear.url, "i=0; while [ $i -lt 9000 ]; do i=$((i + 1)); echo line $i; done")

    assert len(done.out) > 2 * LOG_BYTES
    assert ear.asked[1].body == done.out[-LOG_BYTES:]


def test_an_output_of_many_small_pieces_is_sent_whole(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.job(
        ear.url,
        "i=0; while [ $i -lt 700 ]; do i=$((i + 1)); echo $i; "
        "case $i in *00) sleep 0.05 ;; esac; done",
    )

    assert ear.asked[1].body == done.out


def test_what_a_script_left_running_does_not_hold_the_end_up(wrapper: Wrapper, ear: Ear) -> None:
    left = "while [ ! -e over ]; do sleep 0.1; done; echo later"
    process = wrapper.start(ear.url, "--", "sh", "-c", f"echo begun; ({left}) & exit 5")

    code = process.wait(LIMIT_SECONDS)
    (wrapper.home / "over").touch()

    assert (code, ear.asked[1].word, ear.asked[1].body) == (5, "5", "begun\n")
    assert process.communicate(timeout=LIMIT_SECONDS)[0] == b"begun\nlater\n"


def test_quiet_sends_no_output(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.call("--quiet", ear.url, "--", "sh", "-c", "echo secret; exit 1")

    assert (done.code, done.out) == (1, "secret\n")
    assert [(asked.word, asked.body) for asked in ear.asked] == [("start", ""), ("1", "")]


def test_a_bare_handle_is_pinged_where_the_environment_says(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.call(HANDLE, "--", "true", CRONWATCH_URL=f"{ear.base}/")

    # The whole handle is percent-encoded: any text may be one.
    assert [urllib.parse.unquote(word) for word in ear.words] == [f"{HANDLE}/start", f"{HANDLE}/0"]


# == What the job notices: nothing =============================================


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_is_the_jobs(wrapper: Wrapper, ear: Ear, code: int) -> None:
    assert wrapper.job(ear.url, f"exit {code}").code == code


def test_a_command_that_is_not_there_fails_as_in_a_shell(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.call(ear.url, "--", "no-such-command", "-x")

    assert (done.code, ear.asked[1].word) == (127, "127")
    assert "no-such-command" in done.err
    assert "no-such-command" in ear.asked[1].body


def test_arguments_reach_the_job_as_they_are(wrapper: Wrapper, ear: Ear) -> None:
    words = ["a b", "", "*", "$HOME", "-x", "--", "ü\n"]

    done = wrapper.call(ear.url, "--", "sh", "-c", 'printf "<%s>" "$@"', "sh", *words)

    assert done.out == "".join(f"<{word}>" for word in words)


def test_the_two_streams_stay_apart(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.job(ear.url, "echo to out; echo to err >&2")

    assert done == (0, "to out\n", "to err\n")


def test_output_and_input_pass_while_the_job_runs(wrapper: Wrapper, ear: Ear) -> None:
    process = wrapper.start(ear.url, "--", "sh", "-c", "echo name?; read -r name; echo hi $name")
    assert process.stdin

    asked = line_of(process)
    process.stdin.write(b"you\n")
    process.stdin.flush()

    assert (asked, line_of(process)) == ("name?\n", "hi you\n")


def test_binary_output_passes_byte_for_byte(wrapper: Wrapper, ear: Ear) -> None:
    given = os.urandom(3_000_000) + bytes(3_000_000)

    process = wrapper.start(ear.url, "--", "cat")
    out, err = process.communicate(given, timeout=LIMIT_SECONDS)

    assert (out == given, err) == (True, b"")


def test_without_an_input_the_job_runs_all_the_same(wrapper: Wrapper, ear: Ear) -> None:
    shell = wrapper.shell.command
    done = subprocess.run(
        [*shell, "-c", 'exec "$@" <&-', "sh", *shell, WRAPPER, ear.url, "--", "cat"],
        env=wrapper.environ(),
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT"])
def test_a_signal_reaches_the_job(wrapper: Wrapper, ear: Ear, name: str) -> None:
    # Only the env of GNU can undo that the shell lets its children ignore these two.
    told = "TERM" if wrapper.shell.name == "busybox" and name in ("INT", "QUIT") else name
    process = wrapper.start(
        ear.url,
        "--",
        "sh",
        "-c",
        f'trap "echo got {told}; exit 7" {told}; echo ready; while :; do sleep 0.1; done',
    )
    assert line_of(process) == "ready\n"

    process.send_signal(signal.Signals[f"SIG{name}"])
    out, err = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, out.decode(), err) == (7, f"got {told}\n", b"")


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_job_that_a_signal_killed_gives_128_and_its_number(
    wrapper: Wrapper, ear: Ear, name: str
) -> None:
    done = wrapper.job(ear.url, f"kill -{name} $$")

    code = 128 + signal.Signals[f"SIG{name}"]
    assert (done.code, done.out) == (code, "")
    assert done.err == "" or "Killed" in done.err  # which bash may say, as it does in a crontab
    assert ear.asked[1].word == str(code)


def test_after_sigterm_the_end_is_told_with_its_output(wrapper: Wrapper, ear: Ear) -> None:
    process = wrapper.start(ear.url, "--", "sh", "-c", "echo working; exec sleep 20")
    assert line_of(process) == "working\n"
    wait_for(lambda: ear.asked, "the start")

    process.terminate()
    code = process.wait(LIMIT_SECONDS)

    assert (code, ear.asked[1].word, ear.asked[1].body) == (143, "143", "working\n")


def test_a_signal_to_all_of_its_group_loses_nothing(wrapper: Wrapper, ear: Ear) -> None:
    script = "echo working; exec sleep 20"
    with subprocess.Popen(
        [*wrapper.shell.command, WRAPPER, ear.url, "--", "sh", "-c", script],
        env=wrapper.environ(),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert line_of(process) == "working\n"
        wait_for(lambda: ear.asked, "the start")

        os.killpg(process.pid, signal.SIGTERM)
        code = process.wait(LIMIT_SECONDS)

    assert (code, ear.asked[1].word, ear.asked[1].body) == (143, "143", "working\n")


def test_a_job_that_goes_on_after_signals_ends_as_it_likes(wrapper: Wrapper, ear: Ear) -> None:
    process = wrapper.start(
        ear.url,
        "--",
        "sh",
        "-c",
        "trap 'echo again' USR1; echo ready; while [ ! -e over ]; do sleep 0.1; done; exit 9",
    )
    assert line_of(process) == "ready\n"

    for _ in range(3):
        process.send_signal(signal.SIGUSR1)
        assert line_of(process) == "again\n"
    (wrapper.home / "over").touch()

    assert process.wait(LIMIT_SECONDS) == 9


def test_the_environment_of_the_job_is_the_callers(wrapper: Wrapper, ear: Ear) -> None:
    names = ("url", "host", "log", "at", "name", "file", "status", "code", "LC_ALL")
    shown = {name: f"the caller's {name}" for name in names}
    own = ("_", "PWD", "OLDPWD", "SHLVL")  # what a shell itself sets

    done = wrapper.call(ear.url, "--", "env", "-0", given=b"", **shown)

    seen = {line for line in done.out.split("\0") if line.partition("=")[0] not in ("", *own)}
    given = {
        f"{name}={value}" for name, value in wrapper.environ(**shown).items() if name not in own
    }
    assert seen == given


def test_the_folder_and_the_umask_of_the_job_are_the_callers(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.job(ear.url, "pwd; umask")

    folder, umask = done.out.splitlines()
    assert (folder, int(umask, 8)) == (str(wrapper.home), current_umask())


def test_the_job_is_given_no_descriptor_but_its_streams(wrapper: Wrapper, ear: Ear) -> None:
    done = wrapper.call(ear.url, "--", "ls", "/proc/self/fd")

    assert done.out.split() == ["0", "1", "2", "3"]  # the last is that of the listing


def current_umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def test_nothing_is_left_in_the_temporary_folder(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(ear.url, "echo out; echo err >&2")

    assert list((wrapper.home / "tmp").iterdir()) == []


def test_output_that_cannot_be_written_fails_the_run(wrapper: Wrapper, ear: Ear) -> None:
    if wrapper.shell.name == "busybox":
        pytest.skip("its tee does not say that it could not write")

    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [*wrapper.shell.command, WRAPPER, ear.url, "--", "echo", "dump"],
            stdout=full,
            env=wrapper.environ(),
            stderr=subprocess.PIPE,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    assert (process.returncode, process.stderr, ear.asked[1].word) == (1, b"", "1")


# == Progress ==================================================================


def test_progress_lines_are_progress_of_the_run(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    done = wrapper.job(url, "echo before; echo '::progress 40 half the tables'; echo after")

    found = [ping for ping in live.pings(key) if ping["kind"] == "progress"]
    assert [(ping["percent"], ping["message"]) for ping in found] == [(40, "half the tables")]
    assert done.out == "before\n::progress 40 half the tables\nafter\n"


def test_progress_comes_after_the_start(wrapper: Wrapper, ear: Ear) -> None:
    answered = []

    def answer(asked: Asked) -> int:
        if asked.word == "start":
            threading.Event().wait(0.3)  # long after the line was printed
        answered.append(asked.word)
        return 200

    ear.answers = answer
    wrapper.job(ear.url, "echo ::progress 40")

    assert answered == ["start", "progress/40", "0"]


def test_progress_is_told_while_the_job_runs(wrapper: Wrapper, ear: Ear) -> None:
    process = wrapper.start(ear.url, "--", "sh", "-c", "echo ::progress 7; read -r _; exit 0")

    wait_for(lambda: "progress/7" in ear.words, "the progress")

    assert process.poll() is None


@pytest.mark.parametrize(
    "text",
    ["<b>bold</b> & 'quotes\"", "100% of a+b?c#d", "grün — 進捗 🎉", "two  spaces \\n \t tab"],
)
def test_any_text_arrives_as_it_is(wrapper: Wrapper, ear: Ear, text: str) -> None:
    wrapper.job(ear.url, "cat", f"::progress 5 {text}\n".encode())

    assert ear.asked[1].query["msg"] == text


@pytest.mark.parametrize(
    "line",
    [
        "::progress",
        "::progress soon",
        "::progress 4x",
        " ::progress 4",
        "progress 4",
        "::progress4",
    ],
)
def test_a_line_that_only_looks_like_progress_is_none(
    wrapper: Wrapper, ear: Ear, line: str
) -> None:
    done = wrapper.job(ear.url, "cat", f"{line}\n".encode())

    assert (done.out, ear.words) == (f"{line}\n", ["start", "0"])


def test_a_flood_of_progress_is_not_sent_line_by_line(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(ear.url, "cat", b"::progress 50 again\n" * 400)

    assert 1 <= ear.words.count("progress/50") < 20


def test_progress_on_the_error_stream_is_none(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(ear.url, "echo ::progress 40 >&2")

    assert ear.words == ["start", "0"]


# == Where cronwatch is away ===================================================


def test_what_could_not_be_sent_comes_first_with_the_next_call(wrapper: Wrapper) -> None:
    port, before = free_port(), time.time()
    away = wrapper.job(f"http://127.0.0.1:{port}/{HANDLE}", "echo lost?; exit 6")
    after = time.time()
    ear = Ear(port)

    wrapper.job(ear.url, "exit 0")
    ear.close()

    start, end, *_ = ear.asked
    assert (away, ear.words) == ((6, "lost?\n", ""), ["start", "6", "start", "0"])
    assert (end.body, start.query["series"]) == ("lost?\n", end.query["series"])
    assert int(before) <= float(start.query["at"]) <= float(end.query["at"]) <= after
    assert wrapper.kept == []


def test_a_run_that_is_told_later_is_stored_with_its_time(wrapper: Wrapper) -> None:
    port = free_port()
    with serving(wrapper.home, listen=f"127.0.0.1:{port}") as live:
        url = live.add("late")["pingUrl"]
    before = time.time()
    wrapper.job(url, "exit 6")
    after = time.time()

    with serving(wrapper.home, listen=f"127.0.0.1:{port}") as live:
        wait_for(lambda: time.time() > after + 1, "a second to have passed")
        wrapper.job(url, "exit 0")
        late, _ = live.runs("late")

    assert (late["state"], late["exit_code"]) == ("failed", 6)
    assert int(before) <= late["started_at"] / 1000 <= late["ended_at"] / 1000 <= after


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_the_server_could_not_take_is_kept(wrapper: Wrapper, ear: Ear, status: int) -> None:
    ear.answers = lambda asked: status

    done = wrapper.job(ear.url, "echo out")

    assert (done, len(wrapper.kept)) == ((0, "out\n", ""), 2)


def test_a_connection_that_breaks_is_no_answer(wrapper: Wrapper, ear: Ear) -> None:
    ear.answers = lambda asked: None

    done = wrapper.job(ear.url, "exit 0")

    assert (done, len(wrapper.kept)) == ((0, "", ""), 2)


@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_what_the_server_refuses_is_said_and_not_kept(
    wrapper: Wrapper, ear: Ear, status: int
) -> None:
    ear.answers = lambda asked: status

    done = wrapper.job(ear.url, "exit 3")

    assert (done.code, wrapper.kept) == (3, [])
    assert done.err == f"cronwatch-exec: the server answered {status}: is the handle right?\n"


def test_a_lost_answer_does_not_make_two_runs(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor
    ear = Ear(behind=live.url)
    ear.answers = lambda asked: None if ear.words.count(asked.word) == 1 else 200
    mine = url.replace(live.url, ear.base)

    wrapper.job(mine, "exit 0")
    wrapper.job(mine, "exit 0")
    ear.close()

    assert [run["state"] for run in live.runs(key)] == ["success", "success"]


def test_an_end_waits_behind_its_start(wrapper: Wrapper, ear: Ear) -> None:
    ear.answers = lambda asked: 503 if len(ear.asked) == 1 else 200

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, wrapper.kept) == (["start", "start", "0"], [])


def test_a_second_failure_leaves_the_rest_for_later(wrapper: Wrapper, ear: Ear) -> None:
    ear.answers = lambda asked: 503
    wrapper.keep("1000000000000-1-1", ear.url)  # so old that it is not sent at all
    for name in ("1-1", "1-2", "2-1"):
        wrapper.keep(f"{round(time.time()) - 60}000-{name}", f"{ear.url}/{name}?x=")

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, len(wrapper.kept)) == (["1-1", "1-1"], 5)


def test_progress_is_never_kept(wrapper: Wrapper, ear: Ear) -> None:
    ear.answers = lambda asked: 503 if asked.word.startswith("progress") else 200

    wrapper.job(ear.url, "echo ::progress 40; echo ::progress 50")

    assert (ear.words, wrapper.kept) == (["start", "progress/40", "0"], [])


def test_at_most_a_hundred_are_kept_and_the_oldest_go(wrapper: Wrapper) -> None:
    url = f"http://127.0.0.1:{free_port()}/{HANDLE}"
    old = [f"{round(time.time()) - 500 + count}000-1-1" for count in range(100)]
    for name in old:
        wrapper.keep(name, f"{url}/0?x=")

    wrapper.job(url, "exit 0")

    assert (len(wrapper.kept), wrapper.kept[:98]) == (100, old[2:])


def test_what_is_kept_is_for_its_owner_alone(wrapper: Wrapper) -> None:
    wrapper.job(f"http://127.0.0.1:{free_port()}/{HANDLE}", "echo secret")

    modes = {path.stat().st_mode & 0o777 for path in wrapper.spool.iterdir()}
    assert (wrapper.spool.stat().st_mode & 0o777, modes) == (0o700, {0o600})


def test_the_spool_is_where_the_environment_says(wrapper: Wrapper) -> None:
    url = f"http://127.0.0.1:{free_port()}/{HANDLE}"

    wrapper.job(url, "exit 0", CRONWATCH_SPOOL=str(wrapper.home / "my spool"))
    wrapper.job(url, "exit 0", XDG_STATE_HOME=str(wrapper.home / "xdg"))

    assert len(list((wrapper.home / "my spool").iterdir())) == 2
    assert len(list((wrapper.home / "xdg" / "cronwatch-exec").iterdir())) == 2


def test_what_is_meant_for_another_server_waits_for_it(wrapper: Wrapper, ear: Ear) -> None:
    wrapper.job(f"http://127.0.0.1:{free_port()}/{HANDLE}", "exit 0")

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, len(wrapper.kept)) == (["start", "0"], 2)


@pytest.mark.parametrize("days", [-1, 7, 8000])
def test_a_time_that_the_server_would_not_believe_is_not_sent(
    wrapper: Wrapper, ear: Ear, days: int
) -> None:
    wrapper.keep(f"{round(time.time()) - days * 86_400:010}000-1-1", f"{ear.url}/7?x=")

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, wrapper.kept) == (["start", "0"], [])


def test_what_a_killed_call_was_busy_with_is_sent(wrapper: Wrapper, ear: Ear) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    wrapper.keep(f"{round(time.time()) - 60}000-1-2.{gone.pid}", f"{ear.url}/7?x=", "log")

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, ear.asked[0].body, wrapper.kept) == (["7", "start", "0"], "log", [])


def test_what_another_call_is_busy_with_is_left_to_it(wrapper: Wrapper, ear: Ear) -> None:
    name = f"{round(time.time()) - 60}000-1-2.{os.getpid()}"
    wrapper.keep(name, f"{ear.url}/7?x=")

    wrapper.job(ear.url, "exit 0")

    assert (ear.words, wrapper.kept) == (["start", "0"], [name])


def test_two_calls_at_once_send_each_of_the_kept_once(wrapper: Wrapper, ear: Ear) -> None:
    codes = [str(code) for code in range(20, 40)]
    for code in codes:
        wrapper.keep(f"{round(time.time()) - 60}000-1-{code}", f"{ear.url}/{code}?x=")

    calls = [wrapper.start(ear.url, "--", "true") for _ in range(2)]
    for call in calls:
        call.communicate(timeout=LIMIT_SECONDS)

    assert sorted(set(ear.words) - {"start", "0"}) == codes
    assert (len(ear.words), wrapper.kept) == (24, [])


@pytest.mark.proof
def test_a_server_that_never_answers_is_given_up(wrapper: Wrapper, ear: Ear) -> None:
    over = threading.Event()
    ear.answers = lambda asked: None if over.wait(LIMIT_SECONDS) else 500

    done = wrapper.job(ear.url, "exit 8")
    over.set()

    assert (done.code, len(wrapper.kept)) == (8, 2)


# == Where something is missing ================================================


def test_without_curl_the_job_runs_and_that_is_said(wrapper: Wrapper, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat"):
        (tools / name).symlink_to(str(shutil.which(name, path=wrapper.shell.path)))

    done = wrapper.job(f"http://127.0.0.1:1/{HANDLE}", "cat; exit 5", b"in", PATH=str(tools))

    assert (done.code, done.out) == (5, "in")
    assert "there is no curl" in done.err


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
def test_without_a_temporary_folder_all_but_the_log_works(
    wrapper: Wrapper, ear: Ear, folder: str
) -> None:
    done = wrapper.job(ear.url, "echo out; echo err >&2; exit 4", TMPDIR=folder)

    assert done == (4, "out\n", "err\n")
    assert ear.words == ["start", "4"]


@pytest.mark.parametrize("spool", ["/proc/spool", "/dev/null/spool"])
def test_without_a_spool_the_job_runs(wrapper: Wrapper, spool: str) -> None:
    done = wrapper.job(f"http://127.0.0.1:{free_port()}/{HANDLE}", "exit 4", CRONWATCH_SPOOL=spool)

    assert done == (4, "", "")


@pytest.mark.parametrize(
    "url", ["http://[/x", "http://no-such-host.invalid/x", "https://127.0.0.1:1/x"]
)
def test_with_a_wrong_url_the_job_runs(wrapper: Wrapper, url: str) -> None:
    assert wrapper.job(url, "exit 4") == (4, "", "")


def test_a_handle_without_a_server_runs_the_job_and_says_so(wrapper: Wrapper) -> None:
    done = wrapper.job(HANDLE, "exit 4")

    assert done.code == 4
    assert "CRONWATCH_URL is not set" in done.err


def test_the_settings_of_curl_itself_change_nothing(wrapper: Wrapper, ear: Ear) -> None:
    (wrapper.home / ".curlrc").write_text('verbose\nwrite-out = "hello"\nproxy = "127.0.0.1:1"\n')

    done = wrapper.job(ear.url, "exit 0")

    assert (done, ear.words) == ((0, "", ""), ["start", "0"])


# == Usage =====================================================================


@pytest.mark.parametrize(
    "words, hint",
    [
        ([], "expected URL|HANDLE -- COMMAND"),
        ([HANDLE], "expected URL|HANDLE -- COMMAND"),
        ([HANDLE, "--"], "expected URL|HANDLE -- COMMAND"),
        ([HANDLE, "true", "--"], "expected URL|HANDLE -- COMMAND"),
        (["--verbose", HANDLE, "--", "true"], "there is no option --verbose"),
        (["", "--", "true"], "'' is neither a ping URL nor a handle"),
        (["http://host", "--", "true"], "'http://host' is neither a ping URL nor a handle"),
        (["http:/host/x", "--", "true"], "'http:/host/x' is neither a ping URL nor a handle"),
    ],
)
def test_a_wrong_usage_is_refused_with_a_hint(
    wrapper: Wrapper, words: list[str], hint: str
) -> None:
    done = wrapper.call(*words)

    assert done == (2, "", f"cronwatch-exec: {hint} (try cronwatch-exec --help)\n")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_help_fits_a_screen_and_names_everything(wrapper: Wrapper, word: str) -> None:
    done = wrapper.call(word)

    lines = done.out.splitlines()
    assert (done.code, done.err, lines[0][:22]) == (0, "", "Usage: cronwatch-exec ")
    assert len(lines) <= 24
    for said in ("--quiet", "--help", "CRONWATCH_URL", "CRONWATCH_SPOOL", "::progress", "128 + N"):
        assert said in done.out


def test_the_script_stays_small() -> None:
    lines = Path(WRAPPER).read_text().splitlines()

    assert len(lines) <= 150
    assert max(map(len, lines)) <= 99


def test_the_script_is_executable() -> None:
    assert os.access(WRAPPER, os.X_OK)


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck here")

    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=style", WRAPPER],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")

"""The wrapper for jobs, cronwatch-exec, as dash, bash and busybox run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import finish, read_table
from live_server import DIRECT, LIMIT_SECONDS, Done, Live, environment, program, serving, wait_for

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


class Asked(NamedTuple):
    """A request that came."""

    path: str
    word: str  # what follows the handle
    query: dict[str, str]
    metrics: list[str]
    body: str


class Ear:
    """Stands in for cronwatch: keeps what it is asked, and answers what `answers` says.

    None closes the connection without an answer. `behind` is a server that is asked, too."""

    def __init__(self, behind: str = "") -> None:
        self.asked = list[Asked]()
        self.answers: Callable[[Asked], int | None] = lambda asked: 200
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                path, _, query = self.path.partition("?")
                pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
                asked = Asked(
                    path,
                    path.removeprefix(f"/{HANDLE}").lstrip("/"),
                    dict(reversed(pairs)),  # the first counts
                    sorted(value for name, value in pairs if name == "metric"),
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

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
    ear: Ear
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environ(self, **more: str) -> dict[str, str]:
        own = {"PATH": self.shell.path, "HOME": str(self.home), "TMPDIR": f"{self.home}/tmp"}
        return environment(**{**own, **more})

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

    def begin(self, script: str) -> subprocess.Popen[bytes]:
        """A call with a job for the shell, which runs."""
        return self.start(self.ear.url, "--", "sh", "-c", script)

    def job(self, script: str, url: str = "", given: bytes = b"", **environ: str) -> Done:
        """A call with a job for the shell, to its end; it tells the stand-in or another URL."""
        words = (url or self.ear.url, "--", "sh", "-c", script)
        return self.call(*words, given=given, **environ)

    @property
    def asked(self) -> list[Asked]:
        return self.ear.asked

    @property
    def words(self) -> list[str]:
        return self.ear.words

    def close(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(scope="module", params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Three systems: two with the tools of this one, and one with nothing but busybox and curl."""
    name: str = request.param
    path, curl = shutil.which(name), shutil.which("curl")
    if path is None or curl is None:
        pytest.skip(f"there is no {name if curl else 'curl'} here")
    if name != "busybox":
        return Shell(name, [path, "--posix"] if name == "bash" else [path], os.environ["PATH"])
    tools = tmp_path_factory.mktemp("busybox")
    subprocess.run([path, "--install", "-s", str(tools)], check=True)
    (tools / "curl").symlink_to(curl)
    return Shell(name, [str(tools / "sh")], str(tools))


@pytest.fixture
def wrapper(shell: Shell, tmp_path: Path, ear: Ear) -> Iterator[Wrapper]:
    (tmp_path / "tmp").mkdir()
    made = Wrapper(shell, tmp_path, ear)
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


@pytest.fixture
def seconds(wrapper: Wrapper) -> Callable[[], int]:
    """Makes the seconds between two tries pass at once; answers how many have."""
    sleep = shutil.which("sleep", path=wrapper.shell.path)
    slept = wrapper.home / "slept"
    slept.touch()
    program(wrapper.home, "sleep", f'[ "$1" = 1 ] || exec {sleep} "$@"; echo >>"{slept}"')
    wrapper.shell = wrapper.shell._replace(path=f"{wrapper.home}/bin:{wrapper.shell.path}")
    return lambda: len(slept.read_text())


def line_of(process: subprocess.Popen[bytes]) -> str:
    """The next line that a call prints."""
    assert process.stdout
    return process.stdout.readline().decode()


# == What is reported ==========================================================


def test_a_job_that_goes_well_is_a_run_with_its_host(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    done = wrapper.job("exit 0", url)

    (run,) = live.runs(key)
    assert done == (0, "", "")
    assert (run["state"], run["exit_code"], run["host"]) == ("success", 0, socket.gethostname())


def test_a_job_that_fails_is_a_failed_run_with_its_exit_code_and_both_streams(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor

    done = wrapper.job("echo to out; echo to err >&2; exit 255", url)

    (run,) = live.runs(key)
    (log,) = live.rows("SELECT content FROM run_log WHERE run = ?", run["num"])
    assert (done, run["state"], run["exit_code"]) == ((255, "to out\n", "to err\n"), "failed", 255)
    assert sorted(log["content"].splitlines()) == ["to err", "to out"]


def test_the_start_and_the_end_of_each_run_have_an_id_of_their_own(wrapper: Wrapper) -> None:
    wrapper.job("exit 4")
    wrapper.job("exit 0")

    first, end, second, other_end = [asked.query["runId"] for asked in wrapper.asked]
    assert wrapper.words == ["start", "4", "start", "0"]
    assert (first == end, second == other_end, first == second) == (True, True, False)


def test_the_duration_is_that_of_the_job(wrapper: Wrapper) -> None:
    began = time.monotonic()

    wrapper.job("sleep 1")

    # Without milliseconds, as in busybox, a second may count as one more or one less.
    assert 0.9 < float(wrapper.asked[1].query["duration"]) + 0.1 < time.monotonic() - began + 1.2


def test_of_a_long_output_the_end_is_sent(wrapper: Wrapper) -> None:
    done = wrapper.job("i=0; while [ $i -lt 9000 ]; do i=$((i + 1)); echo line $i; done")

    assert len(done.out) > 2 * LOG_BYTES
    assert wrapper.asked[1].body == done.out[-LOG_BYTES:]


def test_what_a_script_left_running_does_not_hold_the_end_up(wrapper: Wrapper) -> None:
    left = "while [ ! -e over ]; do sleep 0.1; done; echo later"
    process = wrapper.begin(f"echo begun; ({left}) & exit 5")

    code = process.wait(LIMIT_SECONDS)
    (wrapper.home / "over").touch()

    assert (code, wrapper.asked[1].word, wrapper.asked[1].body) == (5, "5", "begun\n")
    assert process.communicate(timeout=LIMIT_SECONDS)[0] == b"begun\nlater\n"


def test_quiet_sends_no_output(wrapper: Wrapper) -> None:
    done = wrapper.call("--quiet", wrapper.ear.url, "--", "sh", "-c", "echo secret; exit 1")

    assert (done.code, done.out) == (1, "secret\n")
    assert [(asked.word, asked.body) for asked in wrapper.asked] == [("start", ""), ("1", "")]


def test_a_bare_handle_is_pinged_where_the_environment_says(wrapper: Wrapper) -> None:
    wrapper.call(HANDLE, "--", "true", CRONWATCH_URL=f"{wrapper.ear.base}/")

    assert wrapper.words == ["start", "0"]


# == Which URL it is ===========================================================


@pytest.mark.parametrize("form, path", read_table("exec", "The word goes behind the monitor"))
def test_the_word_goes_behind_the_monitor(wrapper: Wrapper, form: str, path: str) -> None:
    done = wrapper.job("exit 0", wrapper.ear.base + form.format(u=HANDLE))

    assert done == (0, "", "")
    assert wrapper.asked[-1].path == path.format(u=HANDLE)


URLS = read_table("exec", "Each form of a URL tells a failure")


def test_each_form_of_a_url_tells_a_failure(live: Live, wrapper: Wrapper) -> None:
    host, told = live.url.removeprefix("http://"), {}

    for number, form in enumerate(URLS):
        key = f"{wrapper.shell.name}-{number}"
        shown = live.add(key)
        live.ask("POST", f"/heartbeats/{key}/handles", {"handle": f"K_{key}", "dialect": "kuma"})
        parts = {"token": shown["pingUrl"].rpartition("/")[2], "kuma": f"K_{key}"}
        url = form.format(host=host, key=key, api=live.key, code=shown["code"], **parts)
        done = wrapper.job("echo ::metric rows=3; exit 9", url)
        told[form] = (done.code, done.err, [run["state"] for run in live.runs(key)])

    assert told == dict.fromkeys(URLS, (9, "", ["failed"]))


def test_a_parameter_that_contradicts_is_dropped_and_others_stay(wrapper: Wrapper) -> None:
    contrary = "state=complete&status=up&msg=OK&message=fine&ping=&duration=9&status_code=0&rid=1"

    wrapper.job("exit 1", f"{wrapper.ear.url}?{contrary}&env=a%20b&host=nas&series=2&runId=3#end")

    query = wrapper.asked[1].query
    assert set(query) == {"env", "host", "runId", "duration"}
    assert (query["env"], query["host"]) == ("a b", "nas")


# == What the job notices: nothing =============================================


def test_a_command_that_is_not_there_fails_as_in_a_shell(wrapper: Wrapper) -> None:
    done = wrapper.call(wrapper.ear.url, "--", "no-such-command", "-x")

    assert (done.code, wrapper.asked[1].word) == (127, "127")
    assert "no-such-command" in done.err
    assert "no-such-command" in wrapper.asked[1].body


def test_arguments_reach_the_job_as_they_are(wrapper: Wrapper) -> None:
    words = ["a b", "", "*", "$HOME", "-x", "--", "ü\n"]

    done = wrapper.call(wrapper.ear.url, "--", "sh", "-c", 'printf "<%s>" "$@"', "sh", *words)

    assert done.out == "".join(f"<{word}>" for word in words)


def test_output_and_input_pass_while_the_job_runs(wrapper: Wrapper) -> None:
    process = wrapper.begin("echo name?; read -r name; echo hi $name")
    assert process.stdin

    asked = line_of(process)
    process.stdin.write(b"you\n")
    process.stdin.flush()

    assert (asked, line_of(process)) == ("name?\n", "hi you\n")


def test_binary_output_passes_byte_for_byte(wrapper: Wrapper) -> None:
    given = os.urandom(3_000_000) + bytes(3_000_000)

    process = wrapper.start(wrapper.ear.url, "--", "cat")
    out, err = process.communicate(given, timeout=LIMIT_SECONDS)

    assert (out == given, err) == (True, b"")


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT"])
def test_a_signal_reaches_the_job(wrapper: Wrapper, name: str) -> None:
    # Only the env of GNU can undo that the shell lets its children ignore these two.
    told = "TERM" if wrapper.shell.name == "busybox" and name in ("INT", "QUIT") else name
    script = f'trap "echo got {told}; exit 7" {told}; echo ready; while :; do sleep 0.1; done'
    process = wrapper.begin(script)
    assert line_of(process) == "ready\n"

    process.send_signal(signal.Signals[f"SIG{name}"])
    out, err = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, out.decode(), err) == (7, f"got {told}\n", b"")


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_job_that_a_signal_killed_gives_128_and_its_number(wrapper: Wrapper, name: str) -> None:
    done = wrapper.job(f"kill -{name} $$")

    code = 128 + signal.Signals[f"SIG{name}"]
    assert (done.code, done.out) == (code, "")
    assert done.err == "" or "Killed" in done.err  # which bash may say, as it does in a crontab
    assert wrapper.asked[1].word == str(code)


@pytest.mark.parametrize(
    "kill, status", [(os.kill, 503), (os.killpg, 200)], ids=["it", "all of its group"]
)
def test_after_sigterm_the_end_is_told_once_with_its_output(
    wrapper: Wrapper, kill: Callable[[int, int], None], status: int
) -> None:
    if wrapper.shell.name == "bash" and kill is os.killpg:
        pytest.skip("bash can wait for ever for a job that the signal has ended together with it")
    wrapper.ear.answers = lambda asked: status if asked.word == "143" else 200
    process = wrapper.begin("echo working; exec sleep 20")
    assert line_of(process) == "working\n"
    wait_for(lambda: wrapper.asked, "the start")

    kill(process.pid, signal.SIGTERM)
    code = process.wait(LIMIT_SECONDS)

    assert (code, wrapper.words, wrapper.asked[1].body) == (143, ["start", "143"], "working\n")


def test_the_environment_of_the_job_is_the_callers(wrapper: Wrapper) -> None:
    names = ("url", "host", "log", "at", "name", "file", "status", "code", "LC_ALL")
    shown = {name: f"the caller's {name}" for name in names}
    own = ("_", "PWD", "OLDPWD", "SHLVL")  # what a shell itself sets

    done = wrapper.call(wrapper.ear.url, "--", "env", "-0", given=b"", **shown)

    seen = {line for line in done.out.split("\0") if line.partition("=")[0] not in ("", *own)}
    given = {
        f"{name}={value}" for name, value in wrapper.environ(**shown).items() if name not in own
    }
    assert seen == given


def test_the_job_is_given_no_descriptor_but_its_streams(wrapper: Wrapper) -> None:
    done = wrapper.call(wrapper.ear.url, "--", "ls", "/proc/self/fd")

    assert done.out.split() == ["0", "1", "2", "3"]  # the last is that of the listing


def test_nothing_is_left_in_the_temporary_folder(wrapper: Wrapper) -> None:
    wrapper.job("echo out; echo err >&2")

    assert list((wrapper.home / "tmp").iterdir()) == []


def test_output_that_cannot_be_written_fails_the_run(wrapper: Wrapper) -> None:
    if wrapper.shell.name == "busybox":
        pytest.skip("its tee does not say that it could not write")

    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [*wrapper.shell.command, WRAPPER, wrapper.ear.url, "--", "echo", "dump"],
            stdout=full,
            env=wrapper.environ(),
            stderr=subprocess.PIPE,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    assert (process.returncode, process.stderr, wrapper.asked[1].word) == (1, b"", "1")


# == Progress ==================================================================


def test_lines_of_a_job_are_progress_and_metrics_of_its_run(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str]
) -> None:
    key, url = monitor
    lines = "before\n::progress 40 half the tables\n::metric rows=1523\n::metric free.gb=0.5\n"

    done = wrapper.job("cat", url, lines.encode())

    (run,) = live.runs(key)
    steps = [ping for ping in live.pings(key) if ping["kind"] == "progress"]
    assert done.out == lines
    assert [(ping["percent"], ping["message"]) for ping in steps] == [(40, "half the tables")]
    assert json.loads(run["metrics"]) == {"rows": 1523, "free.gb": 0.5}


def test_any_text_arrives_as_it_is(wrapper: Wrapper) -> None:
    texts = ["<b>bold</b> & 'quotes\"", "100% of a+b?c#d", "grün — 進捗 🎉", "a  b \\n \t c"]
    lines = "".join(f"::progress {number} {text}\n" for number, text in enumerate(texts))

    wrapper.job("cat", given=lines.encode())

    assert [asked.query["msg"] for asked in wrapper.asked[1:-1]] == texts


@pytest.mark.parametrize(
    "line", ["::progress", "::progress x", "::progress 4x", " ::progress 4", "::progress4"]
)
def test_a_line_that_only_looks_like_progress_is_none(wrapper: Wrapper, line: str) -> None:
    done = wrapper.job(f"echo '{line}'; echo ::progress 40 >&2")

    assert (done.out, wrapper.words) == (f"{line}\n", ["start", "0"])


def test_progress_is_told_while_the_job_runs(wrapper: Wrapper) -> None:
    process = wrapper.begin("echo ::progress 7; read -r _; exit 0")

    wait_for(lambda: "progress/7" in wrapper.words, "the progress")

    assert process.poll() is None


def test_a_flood_of_progress_is_not_sent_line_by_line(wrapper: Wrapper) -> None:
    wrapper.job("cat", given=b"::progress 50 again\n" * 400)

    assert 1 <= wrapper.words.count("progress/50") < 20


# == Metrics ===================================================================


@pytest.mark.parametrize(
    "lines, metrics",
    [
        ("::metric a=1\n::metric b=2 files\n", ["a:1", "b:2"]),
        ("::metric a=1\n::metric a=2\n", ["a:2"]),
        ("::metric a_b.c-d=-0.5e+3\n", ["a_b.c-d:-0.5e+3"]),
        ("::metric a\n::metric a=b\n::metric a b=1\n::metric =1\n ::metric a=1\n", []),
        ("".join(f"::metric a{n}=1\n" for n in range(99)), sorted(f"a{n}:1" for n in range(50))),
    ],
    ids=["each", "last", "forms", "none", "fifty"],
)
def test_the_end_carries_the_last_value_of_each_metric(
    wrapper: Wrapper, lines: str, metrics: list[str]
) -> None:
    wrapper.job("cat", given=lines.encode())

    assert [asked.metrics for asked in wrapper.asked] == [[], metrics]


# == Where cronwatch is away ===================================================


@pytest.mark.parametrize("answer", [500, 503, None])
def test_an_end_that_the_server_could_not_take_is_told_again(
    wrapper: Wrapper, seconds: Callable[[], int], answer: int | None
) -> None:
    wrapper.ear.answers = lambda asked: answer if wrapper.words.count("3") in (1, 2) else 200

    done = wrapper.job("echo out; exit 3")

    assert (done, wrapper.words, seconds()) == ((3, "out\n", ""), ["start", "3", "3", "3"], 3)
    assert wrapper.asked[-1].body == "out\n"


@pytest.mark.parametrize(
    "answer, tries, sentence",
    [
        (503, 7, "could not be told: the last answer was 503"),
        (None, 7, "could not be told: the last answer was 000"),
        *((status, 1, f"the server answered {status}") for status in (301, 400, 401, 404)),
        (429, 1, ""),  # the owner wants no more of them
    ],
)
def test_an_end_that_is_not_taken_is_said(
    wrapper: Wrapper, seconds: Callable[[], int], answer: int | None, tries: int, sentence: str
) -> None:
    wrapper.ear.answers = lambda asked: answer if asked.word == "6" else 200

    done = wrapper.job("echo out; exit 6")

    assert (done.code, done.out, wrapper.words.count("6")) == (6, "out\n", tries)
    assert seconds() == 60 * (tries > 1)
    assert sentence in done.err
    assert bool(done.err) is bool(sentence)


@pytest.mark.parametrize(
    "word, script, words",
    [
        ("start", "echo ::progress 9", ["start", "0"]),
        ("progress/40", "echo ::progress 40; echo ::progress 50", ["start", "progress/40", "0"]),
    ],
)
def test_what_comes_too_late_is_not_told_after_the_job(
    wrapper: Wrapper, word: str, script: str, words: list[str]
) -> None:
    wrapper.ear.answers = lambda asked: 503 if asked.word == word else 200

    wrapper.job(script)

    assert wrapper.words == words


def test_a_start_is_tried_again_while_the_job_runs(
    wrapper: Wrapper, seconds: Callable[[], int]
) -> None:
    wrapper.ear.answers = lambda asked: 503 if len(wrapper.asked) < 3 else 200
    process = wrapper.begin("read -r _; echo ::progress 9")

    wait_for(lambda: len(wrapper.asked) == 3, "the third try")
    assert process.communicate(b"\n", LIMIT_SECONDS) == (b"::progress 9\n", b"")

    assert wrapper.words == ["start", "start", "start", "progress/9", "0"]


def test_a_signal_ends_the_tries(wrapper: Wrapper) -> None:
    wrapper.ear.answers = lambda asked: 503 if asked.word == "5" else 200
    process = wrapper.begin("exit 5")
    wait_for(lambda: "5" in wrapper.words, "the first try")

    process.terminate()

    assert process.wait(LIMIT_SECONDS) == 5


def test_a_lost_answer_does_not_make_two_runs(
    live: Live, wrapper: Wrapper, monitor: tuple[str, str], seconds: Callable[[], int]
) -> None:
    key, url = monitor
    ear = Ear(live.url)
    ear.answers = lambda asked: None if ear.words.count(asked.word) == 1 else 200

    wrapper.job("exit 0", url.replace(live.url, ear.base))
    ear.close()

    assert [run["state"] for run in live.runs(key)] == ["success"]


# == Where something is missing ================================================


def test_without_curl_the_job_runs_and_that_is_said(wrapper: Wrapper, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat"):
        (tools / name).symlink_to(str(shutil.which(name, path=wrapper.shell.path)))

    done = wrapper.job("cat; exit 5", given=b"in", PATH=str(tools))

    assert (done.code, done.out) == (5, "in")
    assert "there is no curl" in done.err


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
def test_without_a_temporary_folder_all_but_the_log_works(wrapper: Wrapper, folder: str) -> None:
    done = wrapper.job("echo out; echo err >&2; exit 4", TMPDIR=folder)

    assert done == (4, "out\n", "err\n")
    assert wrapper.words == ["start", "4"]


def test_a_handle_without_a_server_runs_the_job_and_says_so(wrapper: Wrapper) -> None:
    done = wrapper.job("exit 4", HANDLE)

    assert done.code == 4
    assert "CRONWATCH_URL is not set" in done.err


def test_the_settings_of_curl_itself_change_nothing(wrapper: Wrapper) -> None:
    (wrapper.home / ".curlrc").write_text('verbose\nwrite-out = "hello"\nproxy = "127.0.0.1:1"\n')

    done = wrapper.job("exit 0")

    assert (done, wrapper.words) == ((0, "", ""), ["start", "0"])


# == Usage =====================================================================


WRONG = "A wrong URL is refused with a hint"
USAGE = "expected URL|HANDLE -- COMMAND"


@pytest.mark.parametrize(
    "words, hint",
    [
        ([], USAGE),
        ([HANDLE], USAGE),
        ([HANDLE, "--"], USAGE),
        ([HANDLE, "true", "--"], USAGE),
        (["--verbose", HANDLE, "--", "true"], "there is no option --verbose"),
        (["", "--", "true"], "'' is neither a ping URL nor a handle"),
        *(([url, "--", "echo", "ran"], hint) for url, hint in read_table("exec", WRONG)),
    ],
)
def test_a_wrong_usage_is_refused_with_a_hint_before_the_job(
    wrapper: Wrapper, words: list[str], hint: str
) -> None:
    done = wrapper.call(*words)

    assert done == (2, "", f"cronwatch-exec: {hint} (try cronwatch-exec --help)\n")


def test_the_script_is_executable() -> None:
    assert os.access(WRAPPER, os.X_OK)


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck here")

    words = ["shellcheck", "--shell=sh", "--severity=style", WRAPPER]
    done = finish(words, Path(), dict(os.environ))

    assert (done.returncode, done.stdout) == (0, "")

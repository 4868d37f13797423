"""What the wrapper adds to a job, beside two bare calls of curl."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from live_server import environment, serving

import cronwatch

from .plan import Plan
from .servers import Broken
from .table import Bar, Row

WRAPPER = cronwatch.DATA / "static" / "cronwatch-exec"
# What the fork of a shell and its tools may cost on top of the two requests.
AS_TWO_CALLS = Bar("<=", 5)


def measure_exec(plan: Plan) -> Iterator[Row]:
    """What cronwatch-exec adds to a job that does nothing, beside two bare curl calls."""
    if shutil.which("curl") is None:
        yield Row("exec", "cronwatch-exec", also="there is no curl")
        return
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("exec"))
        url = stack.enter_context(serving(room)).add("job")["pingUrl"]
        took = partial(ms, environment(HOME=str(room)))
        shells = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
        turns = [
            {
                "bare": took(["true"]),
                "curl": took(curl(f"{url}/start")) + took(curl(url)),
                **{name: took(wrapped(name, url)) for name in shells},
                **{f"{name}, --quiet": took(wrapped(name, url, "--quiet")) for name in shells},
            }
            for _ in range(plan.calls)
        ]
        found = {name: median(turn[name] for turn in turns) for name in turns[0]}
        for name in [*found][2:]:
            yield Row(
                "exec",
                f"cronwatch-exec adds to a job, {name}",
                found[name] - found["bare"],
                "ms",
                found["curl"],
                "two curl calls",
                AS_TWO_CALLS,
                f"median of {plan.calls}",
            )


def curl(url: str) -> Sequence[str]:
    """A ping as a script would send it."""
    return ["curl", "-fsS", "-o", "/dev/null", "-m", "10", url]


def wrapped(shell: str, url: str, *options: str) -> Sequence[str]:
    """A job that does nothing, in the wrapper as this shell runs it."""
    run = ["busybox", "sh"] if shell == "busybox" else [shell]
    return [*run, str(WRAPPER), *options, url, "--", "true"]


def ms(environ: dict[str, str], command: Sequence[str]) -> float:
    """How long a command takes that must work, in milliseconds."""
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env=environ,
        cwd=os.sep,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode or done.stderr:
        raise Broken(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[:200]}")
    return 1000 * (time.perf_counter() - began)

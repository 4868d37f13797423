"""Pings on a disk that takes its time: each fsync lasts 2 ms longer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from . import servers
from .pings import BARRED_CONNECTIONS, mode, shoot, start_pinged, versus_row
from .plan import Plan
from .servers import Broken
from .table import Row

DELAY_MS = 2
# Loaded before the C library, whose two functions it stands in front of.
SHIM = f"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
int fsync(int file) {{ usleep({DELAY_MS} * 1000); return syscall(SYS_fsync, file); }}
int fdatasync(int file) {{ usleep({DELAY_MS} * 1000); return syscall(SYS_fdatasync, file); }}
"""


def compile_shim(folder: Path) -> Path | None:
    """The library to preload; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    (folder / "slow.c").write_text(SHIM)
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", "slow.so", "slow.c"], cwd=folder, check=True
    )
    return folder / "slow.so"


def measure_disk(plan: Plan) -> Iterator[Row]:
    """The same with 2 ms added to each fsync, as on a disk that writes before it says so."""
    with ExitStack() as stack:
        room = stack.enter_context(plan.room("disk"))
        shim = compile_shim(room)
        if shim is None:
            yield Row("disk", f"pings, fsync + {DELAY_MS} ms", also="there is no C compiler (cc)")
            return
        pinged = start_pinged(stack, room, plan, LD_PRELOAD=str(shim))
        bottle = stack.enter_context(servers.bare("bottle"))
        for connections, keep_alive in (
            (1, True),
            (BARRED_CONNECTIONS, True),
            (BARRED_CONNECTIONS, False),
        ):
            taken = servers.in_turn(
                plan.rounds,
                {
                    "ours": partial(pinged.shoot, "interval", plan, connections, keep_alive),
                    "bottle": partial(shoot, bottle, plan, connections, keep_alive),
                },
            )
            if taken["ours"].p50_ms < DELAY_MS:
                raise Broken("fsync is as quick as ever: what was preloaded has no effect")
            yield versus_row(
                "disk",
                f"pings, fsync + {DELAY_MS} ms, {mode(connections, keep_alive)}",
                taken["ours"],
                taken["bottle"],
                None,
                connections == BARRED_CONNECTIONS,
            )
        yield pinged.kept_row("disk")

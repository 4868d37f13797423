"""What cronwatch is measured against, a program of its own: `python bare.py bottle`.

The smallest application that answers `OK`, by Bottle or as a plain WSGI function, on Waitress as
cronwatch itself sets it up. It prints its URL, and runs until it is ended.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import bottle
from waitress.task import ThreadedTaskDispatcher

import cronwatch


def bottle_app() -> Callable[..., Any]:
    """Bottle's hello: one fixed route, one short text."""
    app = bottle.Bottle()
    app.route("/hello", "GET", lambda: "OK")
    return app  # type: ignore[no-any-return]


def waitress_app() -> Callable[..., Any]:
    """A constant answer, with no framework at all."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", "2")]

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [b"OK"]

    return answer


def main() -> None:
    """Serve the application that is named until SIGTERM."""
    app = {"bottle": bottle_app, "waitress": waitress_app}[sys.argv[1]]()
    settings = cronwatch.Settings(listen="127.0.0.1:0")
    server = cronwatch.make_web_server(app, settings)
    lane = server.task_dispatcher
    lane.add_task = partial(ThreadedTaskDispatcher.add_task, lane)  # no stranger is cut off
    print(f"serves http://127.0.0.1:{server.effective_port}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run()


if __name__ == "__main__":
    main()

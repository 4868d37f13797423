"""From a deadline to the webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

from live_server import serving, wait_for

from . import files
from .plan import Plan
from .table import Bar, Row

Heard = list[tuple[int, str, int]]  # when it came (ms), the kind of the event, its true time (ms)
SLACK_SECONDS = 1  # for the turn of the deliver loop, and for a busy machine


@contextmanager
def listening() -> Iterator[tuple[str, Heard]]:
    """A listener for webhooks on the loopback: its URL, and what it has heard so far."""
    heard: Heard = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came = files.now_ms()
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            at = datetime.fromisoformat(event["at"].replace("Z", "+00:00"))
            heard.append((came, event["kind"], round(1000 * at.timestamp())))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def measure_webhook(plan: Plan) -> Iterator[Row]:
    """The time from a deadline to the webhook, for two settings of scan_seconds."""
    with ExitStack() as stack:
        heard = {seconds: start_missing(stack, plan, seconds) for seconds in plan.scan_seconds}
        limit = 30 + plan.alerts * plan.alert_step_ms / 1000 + max(plan.scan_seconds)
        for seconds, found in heard.items():
            wait_for(partial(has, found, plan.alerts), "webhooks", limit)
            yield late_row(seconds, found)


def has(heard: Heard, count: int) -> bool:
    """Whether so much was heard."""
    return len(heard) >= count


def start_missing(stack: ExitStack, plan: Plan, scan_seconds: float) -> Heard:
    """Start a server whose monitors get missed one after the other; what is heard of that."""
    room = stack.enter_context(plan.room("webhook"))
    database = room / "cronwatch.db"
    files.make(database)
    files.fill(database, 1, plan.alerts)
    url, heard = stack.enter_context(listening())
    live = stack.enter_context(serving(room, "--scan-seconds", str(scan_seconds)))
    live.quick("integration", "add", "webhook", "bench", url)
    files.let_fall_due(database, 1, plan.alerts, files.now_ms() + plan.lead_ms, plan.alert_step_ms)
    return heard


def late_row(scan_seconds: float, heard: Heard) -> Row:
    """How long after the deadlines their webhooks came, in seconds."""
    late = [(came - at) / 1000 for came, kind, at in heard if kind == "missed"]
    return Row(
        "webhook",
        f"deadline to webhook, scan_seconds {scan_seconds:g}, longest",
        max(late),
        "s",
        scan_seconds,
        "scan_seconds",
        Bar("<=", scan_seconds + SLACK_SECONDS, "s"),
        f"median {median(late):.2f} s of {len(late)}",
    )

"""What the tests share that break what cronwatch stands on: disks, files, clocks and peers."""

from __future__ import annotations

import resource
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from conftest import Made, Site
from live_server import DIRECT, Live

import cronwatch


class Watch:
    """The scan loop of a site, cranked by hand, with the gaps that it judged, in ms."""

    def __init__(self, site: Site, scan_seconds: float = 5) -> None:
        self.site = site
        self.gaps: list[tuple[int, int]] = []
        self.scanner = cronwatch.Scanner(
            site.server.store, site.clock, scan_seconds, site.server.scan, self.away
        )

    def away(self, since: int, until: int) -> None:
        self.site.server.away(since, until)
        self.gaps.append((since, until))

    def look(self, after_seconds: float = 5) -> None:
        """One look so many seconds later, which may be in vain, as for the loop."""
        self.site.clock.move(after_seconds)
        with suppress(cronwatch.Refused):
            cronwatch.look(self.scanner)

    def quiet(self, seconds: float) -> None:
        """So many seconds of looks that find nothing."""
        self.site.clock.move(seconds)
        self.scanner.last_at = self.site.clock.now


def limit_pages(site: Site, more: int) -> None:
    """Leave the database so many pages to grow by, as a disk that is nearly full does."""

    def limit(tx: cronwatch.Transaction) -> None:
        (count,) = tx.db.execute("PRAGMA page_count").fetchone()
        tx.db.execute(f"PRAGMA max_page_count = {count + more}")

    site.server.act(limit)


def make_room(site: Site) -> None:
    """Let it grow again."""
    site.server.act(lambda tx: tx.db.execute("PRAGMA max_page_count = 1000000"))


def write_much(tx: cronwatch.Transaction) -> None:
    """A row for which a small disk has no room."""
    tx.db.execute("INSERT INTO meta VALUES (hex(zeroblob(1000000)), 1)")


@contextmanager
def no_room(live: Live) -> Iterator[None]:
    """Let a server write nothing to any file: what a transaction did shows when it is to end."""
    limits = resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, limits)


def status_of(live: Live, shown: dict[str, Any], verb: str = "/log") -> int:
    """The status of a ping to a running server."""
    try:
        with DIRECT.open(f"{live.url}/{shown['token']}{verb}", timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def ping(live: Live, shown: dict[str, Any], verb: str = "") -> None:
    """A ping to a running server, which it must take."""
    assert status_of(live, shown, verb) == 200


def add(site: Site, channel: str, target: str, name: str = "", default: bool = True) -> str:
    """A new integration, named like its channel where no name is given; its id."""
    body = {
        "channel": channel,
        "name": name or channel,
        "default": default,
        cronwatch.NEEDS[channel]: target,
    }
    request = cronwatch.ApiRequest(body=body, is_local=True)
    return str(site.server.act(cronwatch.add_integration, request)["id"])


def failed(site: Site, **columns: Any) -> Made:
    """A monitor that fails now, which is told."""
    job = site.monitor(**columns)
    assert site.get(f"/{job.token}/fail").status_int == 200
    return job


def states(site: Site, name: str) -> list[str]:
    """How the alerts of an integration are doing, in their order."""
    return [
        row["state"]
        for row in site.rows(
            "SELECT a.state FROM alert a JOIN integration i ON i.num = a.integration "
            "WHERE i.name = ? ORDER BY a.num",
            name,
        )
    ]

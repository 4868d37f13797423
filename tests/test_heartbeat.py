"""Who watches the watcher: --heartbeat-url, and two cronwatch that watch each other."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Site
from killing import living_site
from live_server import Live, serving, wait_for
from test_alerts import Listener
from trouble import Watch, add, failed

import cronwatch

PATH, NOBODY = "/a-secret-path", "http://127.0.0.1:9/nobody"


class Beating(NamedTuple):
    """A site whose heartbeat somebody hears; its scan loop is cranked by hand."""

    site: Site
    listener: Listener
    watch: Watch

    def beat(self) -> list[tuple[str, str]]:
        """One turn; what was heard until then."""
        cronwatch.beat(self.site.server)
        return [(one.method, one.path) for one in self.listener.received]


@pytest.fixture
def beating(make_site: Callable[..., Site]) -> Iterator[Beating]:
    with closing(Listener()) as listener:
        site = make_site(heartbeat_url=listener.url + PATH)
        watch = Watch(site)
        site.server.scanner = watch.scanner
        watch.look()
        yield Beating(site, listener, watch)


def test_while_all_is_well_it_pings_who_watches_it(beating: Beating) -> None:
    assert beating.beat() == [("GET", PATH)]


def test_a_scanner_that_is_stuck_is_silent(beating: Beating) -> None:
    beating.site.clock.move(66)

    assert beating.beat() == []


def test_where_nothing_can_be_written_it_is_silent(beating: Beating) -> None:
    beating.site.rows("ALTER TABLE meta RENAME TO elsewhere")
    with suppress(cronwatch.Refused):
        beating.site.server.act(cronwatch.stamp_alive)

    assert beating.beat() == []


def test_an_alert_that_nobody_gets_makes_it_silent(beating: Beating) -> None:
    add(beating.site, "ntfy", NOBODY, "me")
    failed(beating.site)
    beating.watch.quiet(61)

    assert beating.beat() == []


def test_an_alert_that_is_about_to_go_out_is_no_reason_to_be_silent(beating: Beating) -> None:
    add(beating.site, "ntfy", NOBODY, "me")
    failed(beating.site)

    assert beating.beat() == [("GET", PATH)]


def test_an_alert_that_waits_for_its_next_try_makes_it_silent(beating: Beating) -> None:
    add(beating.site, "ntfy", NOBODY, "me")
    failed(beating.site)
    beating.site.server.deliver()
    beating.watch.quiet(10 + 61)

    assert beating.beat() == []


def test_a_monitor_that_is_down_is_no_reason_to_be_silent(beating: Beating) -> None:
    failed(beating.site)

    assert beating.beat() == [("GET", PATH)]


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_who_does_not_take_it_is_complained_of(beating: Beating, status: int) -> None:
    beating.listener.status = status

    with pytest.raises(cronwatch.Refused, match=f"HTTP {status}"):
        beating.beat()


def test_no_redirect_is_followed(beating: Beating) -> None:
    beating.listener.status, beating.listener.headers = 302, {"Location": "/elsewhere"}

    with pytest.raises(cronwatch.Refused):
        beating.beat()

    assert [one.path for one in beating.listener.received] == [PATH]


def test_the_secret_of_who_cannot_be_reached_is_not_told(make_site: Callable[..., Site]) -> None:
    site = make_site(heartbeat_url=f"http://127.0.0.1:9{PATH}")

    with pytest.raises(cronwatch.Refused) as refused:
        cronwatch.beat(site.server)

    assert PATH not in refused.value.sentence
    assert "cannot be reached" in refused.value.sentence


@pytest.mark.parametrize(
    "url",
    [
        "nas.example/x",
        "ftp://nas.example/x",
        "http://",
        "http:///x",
        "http://nas.example/a secret",
        "http://nas.example:x/secret",
        "http://ann:secret@nas.example/x",
        "mailto:ann@example.org",
    ],
)
def test_an_address_that_cannot_be_is_refused_at_the_start(tmp_path: Path, url: str) -> None:
    settings = cronwatch.Settings(database=str(tmp_path / "cronwatch.db"), heartbeat_url=url)

    with pytest.raises(cronwatch.Invalid) as refused, closing(cronwatch.Server(settings)):
        pass

    assert refused.value.sentence.startswith("heartbeat_url must be ")
    assert "secret" not in refused.value.sentence


# two that watch each other

QUICK = [
    sys.executable,
    "-c",
    "import sys, cronwatch; cronwatch.BEAT_SECONDS = 0.3; sys.exit(cronwatch.main())",
]


class Box(NamedTuple):
    """What a cronwatch is started with: where it is, and where its monitor of the other is."""

    folder: Path
    port: int
    token: str

    @property
    def ping_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, all at once so that they are different."""
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [peer.getsockname()[1] for peer in peers]


def make_box(folder: Path, port: int) -> Box:
    """A new file with a monitor of the other one, which has to be heard of every few seconds."""
    folder.mkdir()
    site = living_site(folder / "cronwatch.db")
    with closing(site.server):
        job = site.monitor(key="other", interval_seconds=3, grace_seconds=7)
    return Box(folder, port, job.token)


@pytest.fixture
def boxes(tmp_path: Path) -> list[Box]:
    return [
        make_box(tmp_path / name, port)
        for name, port in zip(("one", "two"), free_ports(2), strict=True)
    ]


def run_box(stack: ExitStack, box: Box, other: Box) -> Live:
    return stack.enter_context(
        serving(
            box.folder,
            "--heartbeat-url",
            other.ping_url,
            "--scan-seconds",
            "0.2",
            listen=f"127.0.0.1:{box.port}",
            program=QUICK,
        )
    )


def told(live: Live) -> list[tuple[str, str]]:
    return [(event["kind"], event["reason"]) for event in live.events("other")]


def hears(live: Live) -> bool:
    return len(live.pings("other")) >= 5


@pytest.mark.proof
def test_of_two_that_watch_each_other_one_tells_when_the_other_is_killed(boxes: list[Box]) -> None:
    one, two = boxes
    with ExitStack() as stack:
        first, second = run_box(stack, one, two), run_box(stack, two, one)
        wait_for(lambda: hears(first) and hears(second), "heartbeats both ways")
        assert (told(first), told(second)) == ([], [])

        first.process.kill()
        first.process.wait()

        wait_for(lambda: told(second), "an alert")
        assert told(second) == [("missed", "missed")]
        again = run_box(stack, one, two)
        wait_for(lambda: len(told(second)) > 1, "a recovery")
        assert [kind for kind, _ in told(second)] == ["missed", "recovered"]
        assert told(again) == []

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


def stuck(beating: Beating) -> None:
    beating.site.clock.move(66)


def unwritable(beating: Beating) -> None:
    beating.site.rows("ALTER TABLE meta RENAME TO elsewhere")
    with suppress(cronwatch.Refused):
        beating.site.server.act(cronwatch.stamp_alive)


def undelivered(beating: Beating) -> None:
    about_to_go_out(beating)
    beating.watch.quiet(61)


def waiting_for_a_retry(beating: Beating) -> None:
    about_to_go_out(beating)
    beating.site.server.deliver()
    beating.watch.quiet(10 + 61)


def well(beating: Beating) -> None:
    pass


def about_to_go_out(beating: Beating) -> None:
    add(beating.site, "ntfy", NOBODY, "me")
    failed(beating.site)


def down(beating: Beating) -> None:
    failed(beating.site)


@pytest.mark.parametrize("state", [stuck, unwritable, undelivered, waiting_for_a_retry])
def test_what_needs_a_person_makes_it_silent(
    beating: Beating, state: Callable[[Beating], None]
) -> None:
    state(beating)

    assert beating.beat() == []


@pytest.mark.parametrize("state", [well, about_to_go_out, down])
def test_else_it_pings_who_watches_it(beating: Beating, state: Callable[[Beating], None]) -> None:
    state(beating)

    assert beating.beat() == [("GET", PATH)]


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_who_does_not_take_it_is_complained_of_and_no_redirect_is_followed(
    beating: Beating, status: int
) -> None:
    beating.listener.status, beating.listener.headers = status, {"Location": "/elsewhere"}

    with pytest.raises(cronwatch.Refused, match=f"HTTP {status}"):
        beating.beat()

    assert [one.path for one in beating.listener.received] == [PATH]


def test_the_secret_of_who_cannot_be_reached_is_not_told(make_site: Callable[..., Site]) -> None:
    site = make_site(heartbeat_url=f"http://127.0.0.1:9{PATH}")

    with pytest.raises(cronwatch.Refused) as refused:
        cronwatch.beat(site.server)

    assert PATH not in refused.value.sentence
    assert "cannot be reached" in refused.value.sentence


NO_URLS = """nas.example/x ftp://nas.example/x http:// http:///x http://nas.example:x/secret
    http://ann:secret@nas.example/x mailto:ann@example.org"""


@pytest.mark.parametrize("url", [*NO_URLS.split(), "http://nas.example/a secret"])
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
    address: str
    token: str


def make_boxes(folder: Path) -> Iterator[Box]:
    """Two with a monitor of the other one, which has to be heard of every few seconds."""
    with ExitStack() as stack:  # of ports that nobody has, both at once or they could be the same
        for name in ("one", "two"):
            (folder / name).mkdir()
            door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            site = living_site(folder / name / "cronwatch.db")
            with closing(site.server):
                job = site.monitor(key="other", interval_seconds=3, grace_seconds=7)
            yield Box(folder / name, f"127.0.0.1:{door.getsockname()[1]}", job.token)


def run_box(stack: ExitStack, box: Box, other: Box) -> Live:
    flags = ("--heartbeat-url", f"http://{other.address}/{other.token}", "--scan-seconds", "0.2")
    return stack.enter_context(serving(box.folder, *flags, listen=box.address, program=QUICK))


def told(live: Live) -> list[str]:
    return [event["kind"] for event in live.events("other")]


def hears(live: Live) -> bool:
    return len(live.pings("other")) >= 5


@pytest.mark.proof
def test_of_two_that_watch_each_other_one_tells_when_the_other_is_killed(tmp_path: Path) -> None:
    one, two = make_boxes(tmp_path)
    with ExitStack() as stack:
        first, second = run_box(stack, one, two), run_box(stack, two, one)
        wait_for(lambda: hears(first) and hears(second), "heartbeats both ways")
        before = told(first) + told(second)

        first.process.kill()
        first.process.wait()

        wait_for(lambda: told(second) == ["missed"], "an alert")
        again = run_box(stack, one, two)
        wait_for(lambda: told(second) == ["missed", "recovered"], "a recovery")
        assert (before, told(again)) == ([], [])

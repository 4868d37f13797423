"""A webhook, a command or a mail server that never ends, and more connections than files.

Whatever they do: pings and scans go on, the others are told at once, and what could not be told
is told later, with the same id."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import live_server
import pytest
from conftest import Site
from live_server import Live, program, serving, wait_for
from test_alerts import is_alive
from trouble import add, failed, ping, states

import cronwatch

pytestmark = pytest.mark.proof  # each waits for a limit to pass


@contextmanager
def delivering(site: Site, *peers: Peer) -> Iterator[None]:
    """One turn of the deliver loop. At the end of the block the peers hang up, and it is over."""
    site.server.outbox.start_sending()
    try:
        yield
    finally:
        for peer in peers:
            peer.over.set()
        for thread in site.server.outbox.start_sending():
            thread.join(30)
            assert not thread.is_alive()


Talk = Callable[["Peer", socket.socket], None]


class Peer:
    """A server whose side of each connection is a function, ended with the test."""

    def __init__(self, talk: Talk) -> None:
        self.heard: list[bytes] = []  # what came first on each connection
        self.over = threading.Event()  # ends what hangs or drips, and what will
        peer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(20)
                with suppress(OSError):
                    talk(peer, self.request)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.socket.listen(64)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join(30)
        self.server.server_close()  # waits for the connections


@pytest.fixture
def make_peer() -> Iterator[Callable[[Talk], Peer]]:
    made: list[Peer] = []

    def make(talk: Talk) -> Peer:
        made.append(Peer(talk))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def saying(first: bytes = b"", more: bytes = b"") -> Talk:
    """Says this, and then more each 50 ms, until the other side or the test has had enough."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        connection.sendall(first)
        while not peer.over.wait(0.05):
            connection.sendall(more)

    return talk


def answering(first: bytes = b"", more: bytes = b"") -> Talk:
    """Takes a request first."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        peer.heard.append(connection.recv(65_536))
        saying(first, more)(peer, connection)

    return talk


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers have less than a second instead of ten."""
    monkeypatch.setattr(cronwatch, "SEND_SECONDS", 0.7)


# webhooks that never end


def test_twenty_webhooks_that_never_answer_keep_few_threads_busy(
    site: Site, make_peer: Callable[[Talk], Peer]
) -> None:
    peer = make_peer(answering())
    for n in range(20):
        add(site, "webhook", peer.url, f"Hangs {n}")
    for n in range(5):
        failed(site, key=f"job-{n}")
    before = threading.active_count()

    with delivering(site, peer):
        wait_for(lambda: len(peer.heard) == 20, "all tries")
        for _ in range(5):
            site.server.outbox.start_sending()
        found = threading.active_count() - before - len(peer.heard)

    assert 20 <= found <= 40


def deliver_in_time(site: Site, peer: Peer) -> None:
    """Deliver; fails where that takes far longer than what peers have."""
    turn = threading.Thread(target=site.server.deliver)
    turn.start()
    turn.join(10)
    is_over = not turn.is_alive()
    peer.over.set()
    turn.join(30)
    assert is_over, "a delivery never ends"


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "talk, outcomes",
    [
        (answering(), {"pending"}),
        (answering(b"HTTP/1.1 ", b"2"), {"pending"}),
        (answering(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), {"pending"}),
        (answering(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"), {"pending", "sent"}),
        (answering(b"HTTP/1.1 200 OK", b"\r\nX-More: and more" * 1000), {"pending", "sent"}),
        (answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536), {"sent"}),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"), {"sent"}),
    ],
    ids=["nothing", "status", "continues", "header", "headers", "body", "slow body"],
)
def test_a_webhook_that_never_ends_holds_nobody_and_is_judged_by_its_status(
    site: Site, make_peer: Callable[[Talk], Peer], talk: Talk, outcomes: set[str]
) -> None:
    peer = make_peer(talk)
    add(site, "webhook", peer.url, "Hook")
    failed(site)

    deliver_in_time(site, peer)

    (state,) = states(site, "Hook")
    assert (len(peer.heard), state in outcomes) == (1, True)


@pytest.mark.parametrize("table", ["integration", "monitor"])
def test_what_is_removed_while_it_is_told_ends_quietly(
    site: Site, make_peer: Callable[[Talk], Peer], table: str
) -> None:
    peer = make_peer(answering())
    add(site, "webhook", peer.url, "Hook")
    failed(site)

    with delivering(site, peer):
        wait_for(lambda: peer.heard, "a try")
        site.rows(f"DELETE FROM {table}")

    assert states(site, "Hook") == []


HASTY = """\
import sys
import cronwatch
cronwatch.COMMAND_SECONDS = cronwatch.SEND_SECONDS = 2
sys.exit(cronwatch.main())
"""


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers in a process of their own give commands and peers two seconds."""
    (tmp_path / "hasty.py").write_text(HASTY)
    monkeypatch.setattr(live_server, "CRONWATCH", [sys.executable, str(tmp_path / "hasty.py")])


@pytest.mark.usefixtures("hasty")
def test_a_server_stops_in_time_while_webhooks_hang(
    tmp_path: Path, make_peer: Callable[[Talk], Peer]
) -> None:
    peer = make_peer(answering())
    with serving(tmp_path) as live:
        for n in range(5):
            live.quick("integration", "add", "webhook", f"Hook {n}", peer.url)
        ping(live, live.add("job"), "/fail")
        wait_for(lambda: len(peer.heard) == 5, "all tries")

        assert live.stop() == (0, "")
        assert live.rows("SELECT DISTINCT state FROM alert") == [{"state": "pending"}]


def test_a_try_of_a_server_that_connects_late_ends_in_time(
    site: Site, make_peer: Callable[[Talk], Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit passes while it connects; what then comes a byte at a time must end too."""
    monkeypatch.setattr(cronwatch, "SEND_SECONDS", 0.1)
    connect = socket.create_connection

    def connect_late(*where: Any, **more: Any) -> socket.socket:
        threading.Event().wait(0.5)
        return connect(*where, **more)

    monkeypatch.setattr(socket, "create_connection", connect_late)
    peer = make_peer(answering(b"HTTP/1.1 ", b"2"))
    add(site, "webhook", peer.url, "Hook")
    failed(site)

    deliver_in_time(site, peer)

    assert len(peer.heard) == 1


# commands that never end


@contextmanager
def pids_in(folder: Path) -> Iterator[Callable[[], list[int]]]:
    """The processes that commands wrote down; all are ended at the end."""

    def read() -> list[int]:
        file = folder / "pids"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    try:
        yield read
    finally:
        for pid in filter(is_alive, read()):
            os.kill(pid, signal.SIGKILL)


def test_a_command_whose_child_keeps_its_output_open_is_over_when_its_shell_is(
    site: Site, tmp_path: Path
) -> None:
    add(site, "command", f"cd {tmp_path}; sleep 60 & echo $! > pids; echo told", "Command")
    failed(site)

    with pids_in(tmp_path) as pids:
        site.server.deliver()

        assert (states(site, "Command"), len(pids())) == (["sent"], 1)


@pytest.mark.usefixtures("hasty")
def test_no_command_outlives_a_server_that_is_stopped(tmp_path: Path) -> None:
    with pids_in(tmp_path) as pids, serving(tmp_path) as live:
        live.quick(
            "integration",
            "add",
            "command",
            "Command",
            f"cd {tmp_path}; echo $$ > pids; sleep 600 & echo $! >> pids; wait",
        )
        ping(live, live.add("job"), "/fail")
        wait_for(lambda: len(pids()) == 2, "the command")

        stopped = live.stop()

        assert (stopped, [pid for pid in pids() if is_alive(pid)]) == ((0, ""), [])


# mail servers that never end


class Mail:
    """Half of a mail server, which goes wrong at a step of the dialogue, until it is mended.

    A step is the client's word that is not answered any more; `.` is the end of the mail."""

    STEPS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT")

    def __init__(self, step: str, wrong: Talk) -> None:
        self.step, self.wrong = step, wrong
        self.ids: list[str] = []  # of the mails that arrived whole

    def __call__(self, peer: Peer, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        word = "CONNECT"
        while True:
            if word == ".":
                self.ids += self.read_mail(lines)
            if word == self.step:
                self.wrong(peer, connection)
                return
            code = {"CONNECT": 220, "DATA": 354, "QUIT": 221}.get(word, 250)
            connection.sendall(f"{code} fine\r\n".encode())
            if word == "QUIT":
                return
            word = "." if word == "DATA" else lines.readline().split()[0].decode().upper()

    @staticmethod
    def read_mail(lines: Any) -> list[str]:
        """The id of a mail, read up to the dot that ends it."""
        mail = b"".join(iter(lines.readline, b".\r\n"))
        return re.findall(r"(?im)^message-id: *(\S+)", mail.decode())


STALL, LINES, LINE = saying(), saying(b"", b"250-and\r\n"), saying(b"250-", b"x")
NO_GOODBYE = saying(b"421 too busy to say goodbye\r\n")


def mail_site(make_site: Callable[..., Site], peer: Peer) -> Site:
    """A site that mails by this server."""
    site = make_site(smtp_host="127.0.0.1", smtp_port=peer.port, smtp_security="none")
    add(site, "email", "me@home.example", "Mail")
    return site


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "step, wrong",
    [
        *((step, STALL) for step in Mail.STEPS[:-1]),
        ("CONNECT", LINE),
        ("EHLO", LINES),
        ("DATA", LINE),
        (".", LINES),
    ],
)
def test_a_mail_server_that_stalls_has_failed_in_time_and_gets_the_same_mail_again(
    make_site: Callable[..., Site], make_peer: Callable[[Talk], Peer], step: str, wrong: Talk
) -> None:
    mail = Mail(step, wrong)
    peer = make_peer(mail)
    site = mail_site(make_site, peer)
    failed(site)
    deliver_in_time(site, peer)
    assert states(site, "Mail") == ["pending"]
    mail.step = ""
    site.clock.move(10)

    site.server.deliver()

    (event,) = site.rows("SELECT id FROM event")
    assert states(site, "Mail") == ["sent"]
    assert mail.ids == [f"<{event['id']}@cronwatch>"] * (2 if step == "." else 1)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("wrong", [STALL, LINE, NO_GOODBYE])
def test_a_mail_that_was_accepted_is_not_sent_again_for_a_wrong_goodbye(
    make_site: Callable[..., Site], make_peer: Callable[[Talk], Peer], wrong: Talk
) -> None:
    peer = make_peer(Mail("QUIT", wrong))
    site = mail_site(make_site, peer)
    failed(site)

    deliver_in_time(site, peer)

    assert states(site, "Mail") == ["sent"]


# connections without end


@pytest.fixture
def cramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A server that may have 100 files open."""
    wrapper = program(tmp_path, "cramped", 'ulimit -n 100; exec "$@"')
    monkeypatch.setattr(live_server, "CRONWATCH", [str(wrapper), *live_server.CRONWATCH])
    with serving(tmp_path) as live:
        yield live


@contextmanager
def crowd(live: Live, size: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    host, _, port = live.url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((host, int(port)), 10))
            for _ in range(size)
        ]


def ask_over(connection: socket.socket, shown: dict[str, Any]) -> bytes:
    """A ping over a connection that is kept open, and the first line of its answer."""
    connection.sendall(f"GET /{shown['token']}/log HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection.recv(65_536).partition(b"\r\n")[0]


def test_a_crowd_of_connections_does_not_fill_the_log_and_pings_are_heard_after_it(
    cramped: Live,
) -> None:
    shown = cramped.add("job")
    with crowd(cramped, 150) as connections:
        answers = {ask_over(connections[0], shown) for _ in range(100)}

    ping(cramped, shown)

    assert (answers, len(cramped.log) < 10_000) == ({b"HTTP/1.1 200 OK"}, True)
    assert len(cramped.pings("job")) == 101

"""A webhook, a command or a mail server that never ends, and more connections than files.

Whatever they do: pings and scans go on, the others are told at once, and what could not be told
is told later, with the same id."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import live_server
import pytest
from conftest import Site
from live_server import Live, program, serving, wait_for
from test_alerts import Listener, is_alive
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
            peer.hang_up()
        for thread in site.server.outbox.start_sending():
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def hook() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


Talk = Callable[["Peer", socket.socket], None]


class Peer:
    """A server whose side of each connection is a function, ended with the test."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.heard: list[bytes] = []  # what came first on each connection
        self.over, self.is_closing = threading.Event(), False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(0.05)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while not self.is_closing:
            with suppress(TimeoutError):
                connection, _ = self.listener.accept()
                connection.settimeout(20)
                self.threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self.threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.talk(self, connection)

    def drip(self, connection: socket.socket, what: bytes) -> None:
        """Send a byte every 50 ms, until the other side or the test has had enough."""
        while not self.over.wait(0.05):
            connection.sendall(what)

    def hang_up(self) -> None:
        """End what hangs or drips, and what will."""
        self.over.set()

    def close(self) -> None:
        self.is_closing = True
        self.hang_up()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        self.listener.close()


@pytest.fixture
def make_peer() -> Iterator[Callable[[Talk], Peer]]:
    made: list[Peer] = []

    def make(talk: Talk) -> Peer:
        made.append(Peer(talk))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def hang(peer: Peer, connection: socket.socket) -> None:
    """Take a request, and never answer."""
    peer.heard.append(connection.recv(65_536))
    peer.over.wait(30)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers have less than a second instead of ten."""
    monkeypatch.setattr(cronwatch, "SEND_SECONDS", 0.7)


# webhooks that never end


def test_twenty_webhooks_that_never_answer_delay_none_that_works(
    site: Site, hook: Listener, make_peer: Callable[[Talk], Peer], tmp_path: Path
) -> None:
    peer = make_peer(hang)
    for n in range(20):
        add(site, "webhook", peer.url, f"Hangs {n}")
    add(site, "webhook", hook.url, "Hook")
    add(site, "command", f"echo told > {tmp_path}/told", "Command")
    job = failed(site)

    with delivering(site, peer):
        wait_for(lambda: hook.kinds and (tmp_path / "told").exists(), "those that work")
        wait_for(lambda: "sent" in states(site, "Hook"), "what came of it")
        still = states(site, "Hangs 0")
        status = site.get(f"/{job.token}").status_int
        site.clock.move(2 * 3600)
        site.server.scan()

    assert (still, status, site.events) == (["pending"], 200, ["failed", "recovered", "missed"])


def test_twenty_webhooks_that_never_answer_keep_few_threads_busy(
    site: Site, make_peer: Callable[[Talk], Peer]
) -> None:
    peer = make_peer(hang)
    for n in range(20):
        add(site, "webhook", peer.url, f"Hangs {n}")
    for n in range(5):
        failed(site, key=f"job-{n}")
    before = threading.active_count() - len(peer.threads)

    with delivering(site, peer):
        wait_for(lambda: len(peer.heard) == 20, "all tries")
        for _ in range(5):
            site.server.outbox.start_sending()
        found = threading.active_count() - len(peer.threads) - before

    assert 20 <= found <= 40


def test_what_never_answered_is_told_later_with_the_same_id_in_order(
    site: Site, hook: Listener, make_peer: Callable[[Talk], Peer]
) -> None:
    peer = make_peer(hang)
    add(site, "webhook", peer.url, "Hook")
    job = failed(site)
    with delivering(site, peer):
        wait_for(lambda: peer.heard, "a try")
        site.get(f"/{job.token}")
    site.rows("UPDATE integration SET config = replace(config, ?, ?)", peer.url, hook.url)
    site.clock.move(10)

    site.server.deliver()

    assert hook.kinds == ["failed", "recovered"]
    assert [f"webhook-id: {hook.ids[0]}".encode() in one.lower() for one in peer.heard] == [True]


def drip_status(peer: Peer, connection: socket.socket) -> None:
    """A status that never ends, a byte at a time."""
    peer.heard.append(connection.recv(65_536))
    connection.sendall(b"HTTP/1.1 ")
    peer.drip(connection, b"2")


def drip_headers(peer: Peer, connection: socket.socket) -> None:
    """A header that never ends, a byte at a time."""
    peer.heard.append(connection.recv(65_536))
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    peer.drip(connection, b"x")


def endless_headers(peer: Peer, connection: socket.socket) -> None:
    """Header after header."""
    peer.heard.append(connection.recv(65_536))
    connection.sendall(b"HTTP/1.1 200 OK")
    while not peer.over.is_set():
        connection.sendall(b"\r\nX-More: and more" * 1000)


def endless_continues(peer: Peer, connection: socket.socket) -> None:
    """`100 Continue` for ever."""
    peer.heard.append(connection.recv(65_536))
    peer.drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_body(peer: Peer, connection: socket.socket) -> None:
    """A success whose body never ends."""
    peer.heard.append(connection.recv(65_536))
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not peer.over.is_set():
        connection.sendall(b"x" * 65_536)


def drip_body(peer: Peer, connection: socket.socket) -> None:
    """A success whose body comes a byte at a time."""
    peer.heard.append(connection.recv(65_536))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    peer.drip(connection, b"x")


@contextmanager
def ends(site: Site, peers: list[Peer]) -> Iterator[None]:
    """Deliver; fails where that takes far longer than what peers or commands have."""
    turn = threading.Thread(target=site.server.deliver)
    turn.start()
    try:
        turn.join(10)
        is_over = not turn.is_alive()
    finally:
        for peer in peers:
            peer.hang_up()
        turn.join(30)
    assert is_over, "a delivery never ends"
    yield


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "talk, outcomes",
    [
        (hang, {"pending"}),
        (drip_status, {"pending"}),
        (endless_continues, {"pending"}),
        (drip_headers, {"pending", "sent"}),
        (endless_headers, {"pending", "sent"}),
        (endless_body, {"sent"}),
        (drip_body, {"sent"}),
    ],
)
def test_a_webhook_that_never_ends_holds_nobody_and_is_judged_by_its_status(
    site: Site, make_peer: Callable[[Talk], Peer], talk: Talk, outcomes: set[str]
) -> None:
    peer = make_peer(talk)
    add(site, "webhook", peer.url, "Hook")
    failed(site)

    with ends(site, [peer]):
        (state,) = states(site, "Hook")
        assert (len(peer.heard), state in outcomes) == (1, True)


@pytest.mark.parametrize("table", ["integration", "monitor"])
def test_what_is_removed_while_it_is_told_ends_quietly(
    site: Site, make_peer: Callable[[Talk], Peer], table: str
) -> None:
    peer = make_peer(hang)
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
def test_a_server_stops_in_time_while_webhooks_hang_and_tells_them_after(
    tmp_path: Path, hook: Listener, make_peer: Callable[[Talk], Peer]
) -> None:
    peer = make_peer(hang)
    with serving(tmp_path) as live:
        for n in range(5):
            live.quick("integration", "add", "webhook", f"Hook {n}", peer.url)
        ping(live, live.add("job"), "/fail")
        wait_for(lambda: len(peer.heard) == 5, "all tries")
        stopped = live.stop()

    site = Site(tmp_path / "cronwatch.db")
    site.rows("UPDATE integration SET config = replace(config, ?, ?)", peer.url, hook.url)
    site.clock.now = time.time_ns() // 1_000_000 + 60_000
    site.server.deliver()
    site.server.close()

    asked = b" ".join(peer.heard).lower()
    assert (stopped, hook.kinds, len(set(hook.ids))) == ((0, ""), ["failed"] * 5, 1)
    assert asked.count(hook.ids[0].encode()) >= 5


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
    peer = make_peer(drip_status)
    add(site, "webhook", peer.url, "Hook")
    failed(site)

    with ends(site, [peer]):
        assert len(peer.heard) == 1


# commands that never end


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands have two seconds instead of thirty."""
    monkeypatch.setattr(cronwatch, "COMMAND_SECONDS", 2)


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


@pytest.mark.usefixtures("brief")
def test_a_command_whose_child_keeps_its_output_open_is_over_when_its_shell_is(
    site: Site, tmp_path: Path
) -> None:
    add(site, "command", f"cd {tmp_path}; sleep 60 & echo $! > pids; echo told", "Command")
    failed(site)

    with pids_in(tmp_path) as pids:
        site.server.deliver()

        assert (states(site, "Command"), len(pids())) == (["sent"], 1)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    "command",
    [
        "setsid sh -c 'echo $$ >> pids; exec sleep 60' & sleep 60",
        "(sleep 60; echo late) | cat",
        "while true; do (sleep 60 &) ; sleep 0.05; done",
        "trap '' TERM; kill -STOP $$",
    ],
    ids=["a session of its own", "a pipe", "many children", "stopped"],
)
def test_a_command_that_hangs_is_over_after_its_limit(
    site: Site, tmp_path: Path, command: str
) -> None:
    add(site, "command", f"cd {tmp_path}; echo $$ > pids; {command}", "Command")
    failed(site)

    with pids_in(tmp_path) as pids, ends(site, []):
        shell = pids()[0]

        assert (states(site, "Command"), is_alive(shell)) == (["pending"], False)


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
        found = []
        for line in iter(lines.readline, b".\r\n"):
            if line.lower().startswith(b"message-id:"):
                found.append(line.split(b":", 1)[1].strip().decode())
        return found


def stall(peer: Peer, connection: socket.socket) -> None:
    """Say no more."""
    peer.heard.append(b"")
    peer.over.wait(30)


def drip_lines(peer: Peer, connection: socket.socket) -> None:
    """An answer that never ends, a line at a time."""
    peer.drip(connection, b"250-and\r\n")


def drip_line(peer: Peer, connection: socket.socket) -> None:
    """An answer that never ends, a byte at a time."""
    connection.sendall(b"250-")
    peer.drip(connection, b"x")


def wrong_goodbye(peer: Peer, connection: socket.socket) -> None:
    """Refuse even that."""
    connection.sendall(b"421 too busy to say goodbye\r\n")


def mail_site(make_site: Callable[..., Site], peer: Peer) -> Site:
    """A site that mails by this server."""
    site = make_site(smtp_host="127.0.0.1", smtp_port=peer.port, smtp_security="none")
    add(site, "email", "me@home.example", "Mail")
    return site


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "step, wrong",
    [
        *((step, stall) for step in Mail.STEPS[:-1]),
        ("CONNECT", drip_line),
        ("EHLO", drip_lines),
        ("DATA", drip_line),
        (".", drip_lines),
    ],
)
def test_a_mail_server_that_stalls_has_failed_in_time(
    make_site: Callable[..., Site], make_peer: Callable[[Talk], Peer], step: str, wrong: Talk
) -> None:
    peer = make_peer(Mail(step, wrong))
    site = mail_site(make_site, peer)
    failed(site)

    with ends(site, [peer]):
        assert states(site, "Mail") == ["pending"]


@pytest.mark.parametrize("step", Mail.STEPS[:-1])
def test_a_mail_that_stalled_is_sent_again_with_the_same_id(
    make_site: Callable[..., Site], make_peer: Callable[[Talk], Peer], step: str
) -> None:
    mail = Mail(step, stall)
    peer = make_peer(mail)
    site = mail_site(make_site, peer)
    failed(site)
    with delivering(site, peer):
        wait_for(lambda: peer.heard, "a try that stalls")
    mail.step = ""
    site.clock.move(10)

    site.server.deliver()

    (event,) = site.rows("SELECT id FROM event")
    assert states(site, "Mail") == ["sent"]
    assert mail.ids == [f"<{event['id']}@cronwatch>"] * (2 if step == "." else 1)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("wrong", [stall, drip_line, wrong_goodbye])
def test_a_mail_that_was_accepted_is_not_sent_again_for_a_wrong_goodbye(
    make_site: Callable[..., Site], make_peer: Callable[[Talk], Peer], wrong: Talk
) -> None:
    peer = make_peer(Mail("QUIT", wrong))
    site = mail_site(make_site, peer)
    failed(site)

    with ends(site, [peer]):
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


def test_a_crowd_of_connections_does_not_fill_the_log(cramped: Live) -> None:
    shown = cramped.add("job")
    with crowd(cramped, 150) as connections:
        answers = {ask_over(connections[0], shown) for _ in range(100)}

    assert (answers, len(cramped.log) < 10_000) == ({b"HTTP/1.1 200 OK"}, True)


def test_after_a_crowd_of_connections_pings_are_heard(cramped: Live) -> None:
    shown = cramped.add("job")
    with crowd(cramped, 150) as connections:
        served = ask_over(connections[0], shown)

    ping(cramped, shown)

    assert (served, len(cramped.pings("job"))) == (b"HTTP/1.1 200 OK", 2)

"""What transcripts/people.http does not show of people, and the commands that let them in."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from pathlib import Path

import pytest
import webtest
from conftest import ADDRESS, Clock, Site
from live_server import LIMIT_SECONDS, Done, call, wait_for

import cronwatch

API = cronwatch.API
SESSION = f"{API}/session"
PASSWORD = "correct horse battery"
STORED = cronwatch.hash_password(PASSWORD, "5a17" * 8)


class People:
    """Requests of people to a site where Ann has a password."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.server.act(cronwatch.add_user, "Ann", STORED)

    def sign_in(self, given: dict[str, str], address: str = ADDRESS) -> webtest.TestResponse:
        headers = {"Content-Type": "application/json"}
        answer = self.site.send("POST", SESSION, json.dumps(given), headers, address)
        self.site.app.reset()  # it would keep the cookie
        return answer

    def enter(
        self, name: str = "Ann", password: str = PASSWORD, address: str = ADDRESS
    ) -> webtest.TestResponse:
        return self.sign_in({"name": name, "password": password}, address)

    def token(self, name: str = "Ann") -> str:
        return str(self.enter(name).json["token"])

    def link(self, name: str = "Ann") -> str:
        """The secret of a new link."""
        made = self.site.server.act(cronwatch.make_link, name)
        return str(made["url"].rpartition("/")[2])

    def session(self, token: str) -> int:
        """The status of asking who is signed in."""
        return int(self.site.get(SESSION, Authorization=f"Bearer {token}").status_int)


@pytest.fixture
def people(site: Site) -> People:
    return People(site)


def test_the_password_is_stored_as_scrypt_makes_it() -> None:
    stored = cronwatch.hash_password(PASSWORD)

    assert re.fullmatch(r"[0-9a-f]{32}:[0-9a-f]{128}", stored)
    assert stored != STORED


def test_secrets_are_long_and_stored_as_their_hashes(people: People) -> None:
    tokens, links = ({make() for _ in range(5)} for make in (people.token, people.link))
    key = people.site.api_key()

    assert [len(texts) for texts in (tokens, links)] == [5, 5]
    assert min(map(len, tokens | links)) >= 43  # 32 random bytes
    for is_link, texts in enumerate((tokens, links)):
        rows = people.site.rows("SELECT hash FROM session WHERE is_link = ?", is_link)
        assert {row["hash"] for row in rows} == {cronwatch.hash_secret(text) for text in texts}
    folder = people.site.database.parent
    stored = b"".join(path.read_bytes() for path in folder.glob("cronwatch.db*"))
    assert [text for text in (*tokens, *links, key) if text.encode() in stored] == []


def test_what_has_expired_is_forgotten(people: People) -> None:
    people.token()
    people.link()
    people.site.clock.move(30 * 86_400)
    kept = people.token()

    people.site.server.housekeeping()

    assert people.site.rows("SELECT hash FROM session") == [{"hash": cronwatch.hash_secret(kept)}]


# slower after failures


def fail(people: People, address: str = ADDRESS) -> None:
    """Six wrong passwords: one too many."""
    statuses = [people.enter("Ann", "wrong password", address).status_int for _ in range(6)]
    assert statuses == [401] * 5 + [429]


def test_nobody_can_lock_out_the_owner_from_elsewhere_nor_another_one(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", STORED)
    for n in range(20):
        fail(people, f"198.51.100.{n}")

    assert people.enter(address="203.0.113.9").status_int == 201
    assert people.enter("Bob", address="198.51.100.1").status_int == 201


def test_passwords_beyond_those_that_wait_are_refused() -> None:
    go = threading.Event()
    cronwatch.scrypts.submit(go.wait, LIMIT_SECONDS)
    threads = [
        threading.Thread(target=cronwatch.hash_password, args=(PASSWORD,))
        for _ in range(cronwatch.SCRYPTS_MAX)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: cronwatch.scrypt_places._value == 0, "all places are taken")

    with pytest.raises(cronwatch.Refused) as refused:
        cronwatch.hash_password(PASSWORD)
    go.set()
    for thread in threads:
        thread.join()

    assert (refused.value.status, refused.value.wait) == (429, 1)


# the cookie


@pytest.mark.parametrize(
    "text",
    [f'{cronwatch.COOKIE}="abc"', f'a{cronwatch.COOKIE}="' * 10_000 + f"; {cronwatch.COOKIE}=abc"],
    ids=["quoted", "very long"],
)
def test_the_cookie_is_looked_for_once(text: str) -> None:
    assert cronwatch.cookie_secret({"HTTP_COOKIE": text}) == "abc"


# the limiter


def test_a_name_waits_once_it_was_counted_as_often_as_it_may() -> None:
    limiter = cronwatch.Limiter(lambda: 1000.0)
    limiter.count("a")
    before = limiter.wait("a", 2)

    limiter.count("a")

    assert (before, limiter.wait("a", 2), limiter.wait("b", 2)) == (None, 60, None)
    assert limiter.wait("a", 0) is None  # no limit


def test_a_wait_ends_with_the_time_of_the_first_one() -> None:
    clock = Clock()
    limiter = cronwatch.Limiter(lambda: clock.uptime)
    limiter.count("a")
    clock.move(59.5)
    limiter.count("a")
    before = limiter.wait("a", 2)
    clock.move(0.5)

    assert (before, limiter.wait("a", 2), limiter.count("a")) == (1, None, 1)


def test_the_names_of_a_limiter_are_bounded() -> None:
    limiter = cronwatch.Limiter(lambda: 1000.0)
    for name in range(limiter.SIZE_MAX + 1):
        limiter.count(name)

    assert len(limiter._counts) == limiter.SIZE_MAX
    assert (limiter.wait(0, 1), limiter.wait(1, 1)) == (None, 60)


@pytest.mark.parametrize(
    "address, counts_as",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unix", "unix"),
        (None, ""),
    ],
)
def test_an_address_counts_with_its_network(address: str | None, counts_as: str) -> None:
    assert cronwatch.network(address) == counts_as


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000])
def test_no_change_of_the_clock_ends_a_wait(people: People, step_ms: int) -> None:
    fail(people)
    people.site.clock.now += step_ms

    assert people.enter().headers["Retry-After"] == "300"


def test_unknown_handles_are_limited_by_address(site: Site) -> None:
    statuses = [site.get(f"/{n:08}/run").status_int for n in range(31)]

    assert statuses == [404] * 30 + [429]
    assert site.send("GET", "/12345678/run", address="192.0.2.2").status_int == 404


def test_who_is_unknown_is_logged_once_a_minute(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cronwatch")
    for n in range(40):
        site.get(f"/handle-{n}/run", X_Api_Key="wrong-secret")
    site.clock.move(60)
    site.get(f"{API}/events", X_Api_Key="wrong-secret")

    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if "unknown handle" in text] == [
        f"a wrong API key or an unknown handle from {ADDRESS}"
    ] * 2


# users


def test_a_user_who_is_removed_is_signed_out(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", STORED)
    bobs, link = people.token("Bob"), people.link("Bob")

    people.site.server.act(cronwatch.remove_user, cronwatch.ApiRequest("Bob"))

    assert people.session(bobs) == 401
    assert {people.sign_in({"link": link}).status_int, people.enter("Bob").status_int} == {401}


# the command line


def command(folder: Path, *words: str, given: str = "") -> Done:
    """Run a command that reads from standard input, which is no terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(given))
        database = str(folder / "cronwatch.db")
        return call(*words, "--database", database, CRONWATCH_BASE_URL="http://cron.test")


@pytest.fixture
def home(people: People) -> Path:
    """The folder of a site whose database is in use."""
    return people.site.database.parent


@pytest.mark.parametrize("given", ["bobs password\nmore\n", "bobs password\r\n", "bobs password"])
def test_the_end_of_the_line_is_no_part_of_the_password(
    people: People, home: Path, given: str
) -> None:
    command(home, "user", "add", "Bob", given=given)

    assert people.enter("Bob", "bobs password").status_int == 201


@pytest.mark.parametrize("given", ["", "\n", "1234567\n", "x" * 201])
def test_a_password_that_cannot_be_is_refused(people: People, home: Path, given: str) -> None:
    done = command(home, "user", "add", "Bob", given=given)

    assert (done.code, done.out) == (1, "")
    assert done.err == "cronwatch: password must be 8 to 200 characters\n"
    assert len(people.site.rows("SELECT 1 FROM user")) == 1


def test_a_password_is_changed_and_ends_the_sessions(people: People, home: Path) -> None:
    token = people.token()

    done = command(home, "user", "passwd", "Ann", given="another password\n")

    assert (done.code, done.err, people.session(token)) == (0, "", 401)
    statuses = [people.enter("Ann", word).status_int for word in (PASSWORD, "another password")]
    assert statuses == [401, 201]


@pytest.mark.parametrize(
    "words",
    [
        ("add", "Ann"),  # whose name somebody has
        ("remove", "Ann"),  # the last one
        ("passwd", "Nobody"),
        ("remove", "Nobody"),
        ("link", "Nobody"),
    ],
)
def test_what_cannot_be_done_to_a_user_is_refused(
    people: People, home: Path, words: tuple[str, str]
) -> None:
    done = command(home, "user", *words, given="another password\n")

    assert (done.code, done.err.count("\n")) == (1, 1)
    assert people.enter().status_int == 201


def test_a_printed_link_lets_the_first_one_in(tmp_path: Path) -> None:
    done = command(tmp_path, "user", "link")
    link = re.fullmatch(r"http://cron\.test/#/link/([\w-]{43})\n", done.out)
    assert link

    site = Site(tmp_path / "cronwatch.db")
    site.clock.now = cronwatch.system_clock()
    people = People(site)
    answer = people.sign_in({"link": link[1]})
    site.server.close()

    assert (answer.status_int, answer.json["user"]["hasPassword"]) == (201, False)


def test_a_password_is_on_no_command_line(people: People, home: Path) -> None:
    for word in ("add", "passwd"):
        done = command(home, "user", word, "Bob", "the password")
        assert done.code == 2


def test_users_are_added_listed_and_removed_without_a_word_of_their_password(
    people: People, home: Path
) -> None:
    lines = "add Bob", "passwd Bob", "list", "list --json", "remove Bob"

    done = [command(home, "user", *line.split(), given="bobs password\n") for line in lines]

    assert [(one.code, one.err) for one in done] == [(0, "")] * 5
    assert [user["name"] for user in json.loads(done[3].out)] == ["Ann", "Bob"]
    assert "Bob" in done[2].out
    said = "".join(one.out for one in done)
    assert [text for text in (STORED, "bobs password") if text in said] == []
    assert people.enter("Bob", "bobs password").status_int == 401


# the first start


@pytest.mark.parametrize("is_new", [True, False])
def test_only_a_first_start_on_a_terminal_prints_a_link(
    site: Site, capsys: pytest.CaptureFixture[str], is_new: bool
) -> None:
    if not is_new:
        People(site)

    cronwatch.welcome(site.server)

    assert "#/link/" not in capsys.readouterr().out
    assert site.rows("SELECT 1 FROM session") == []


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


def test_a_first_start_on_a_terminal_prints_a_link_that_signs_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", screen := Terminal())

    cronwatch.welcome(site.server)

    link = re.search(r"http://cron\.test/#/link/([\w-]{43})", screen.getvalue())
    assert link
    assert People(site).sign_in({"link": link[1]}).status_int == 201


# what a stranger cannot take from the owner


def test_an_address_has_one_sign_in_at_a_time(people: People) -> None:
    with cronwatch._one_try_of(ADDRESS):
        here = people.enter("nobody").status_int
        elsewhere = people.enter(address="192.0.2.8").status_int

    assert (here, elsewhere) == (429, 201)


def test_a_password_that_has_changed_meanwhile_opens_no_session(people: People) -> None:
    with pytest.raises(cronwatch.Refused, match="Wrong name or password"):
        people.site.server.act(cronwatch.open_session, 1, "the one of before")

    assert people.site.rows("SELECT * FROM session") == []


def test_a_clock_that_leaps_ahead_ends_no_session(people: People) -> None:
    token = people.token()
    begun = people.site.clock.now
    people.site.clock.now += 400 * 86_400_000
    people.site.server.away(begun, people.site.clock.now)

    people.site.server.housekeeping()

    people.site.clock.now = begun
    assert people.session(token) == 200

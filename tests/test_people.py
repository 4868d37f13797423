"""People: sessions, users and keys over HTTP, and the command line that lets the first one in."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import ADDRESS, NOW, Clock, Site
from live_server import LIMIT_SECONDS, Done, call, wait_for

import cronwatch

API = cronwatch.API
SESSION, KEYS = f"{API}/session", f"{API}/keys"
PASSWORD = "correct horse battery"
STORED = cronwatch.hash_password(PASSWORD, "5a17" * 8)
MONTH = 30 * 86_400


def at(seconds: float) -> str:
    return cronwatch.iso(NOW + round(seconds * 1000)) or ""


class People:
    """Requests of people to a site where Ann has a password."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.server.act(cronwatch.add_user, "Ann", STORED)

    def ask(
        self, method: str, path: str, given: Any = None, address: str = ADDRESS, **headers: str
    ) -> webtest.TestResponse:
        body = "" if given is None else given if isinstance(given, str) else json.dumps(given)
        answer = self.site.send(
            method,
            path,
            body,
            {
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            address,
        )
        self.site.app.reset()  # it would keep the cookie
        return answer

    def enter(
        self, name: str = "Ann", password: str = PASSWORD, address: str = ADDRESS
    ) -> webtest.TestResponse:
        return self.ask("POST", SESSION, {"name": name, "password": password}, address)

    def token(self, name: str = "Ann", password: str = PASSWORD) -> str:
        return str(self.enter(name, password).json["token"])

    def link(self, name: str = "Ann") -> str:
        """The secret of a new link."""
        made = self.site.server.act(cronwatch.make_link, name)
        return str(made["url"].rpartition("/")[2])

    def use(self, link: str) -> webtest.TestResponse:
        return self.ask("POST", SESSION, {"link": link})

    def session(self, token: str) -> int:
        """The status of asking who is signed in."""
        return int(self.ask("GET", SESSION, Authorization=f"Bearer {token}").status_int)

    def as_ann(self, method: str, path: str, given: Any = None) -> webtest.TestResponse:
        if not hasattr(self, "_token"):
            self._token = self.token()
        return self.ask(method, path, given, Authorization=f"Bearer {self._token}")


@pytest.fixture
def people(site: Site) -> People:
    return People(site)


# sign in


def test_a_name_and_a_password_open_a_session(people: People) -> None:
    answer = people.enter()

    (ann,) = people.site.rows("SELECT id FROM user")
    assert (answer.status_int, {**answer.json, "token": ""}) == (
        201,
        {
            "token": "",
            "expiresAt": at(MONTH),
            "user": {
                "id": ann["id"],
                "name": "Ann",
                "hasPassword": True,
                "createdAt": at(0),
                "lastSeenAt": at(0),
            },
        },
    )


def test_the_password_is_stored_as_scrypt_makes_it(people: People) -> None:
    (stored,) = people.site.rows("SELECT password FROM user")

    assert re.fullmatch(r"[0-9a-f]{32}:[0-9a-f]{128}", stored["password"])
    assert cronwatch.hash_password(PASSWORD) != STORED


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


def cookie_of(answer: webtest.TestResponse) -> tuple[str, set[str]]:
    """The pair of the cookie, and its attributes."""
    pair, *attributes = answer.headers["Set-Cookie"].split("; ")
    return pair, set(attributes)


def test_the_token_is_also_a_cookie_that_no_script_and_no_foreign_page_uses(
    people: People,
) -> None:
    answer = people.enter()

    assert cookie_of(answer) == (
        f"cronwatch_session={answer.json['token']}",
        {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={MONTH}"},
    )


@pytest.mark.parametrize(
    "url, secure", [("https://cron.example", True), ("http://cron.example", False)]
)
def test_the_cookie_is_secure_where_people_come_by_https(
    make_site: Callable[..., Site], url: str, secure: bool
) -> None:
    people = People(make_site(base_url=url))

    assert ("Secure" in cookie_of(people.enter())[1]) is secure


def test_a_write_with_the_cookie_and_the_header_goes_through(people: People) -> None:
    people.site.monitor(key="job")
    headers = {"Cookie": f"cronwatch_session={people.token()}", "X-Cronwatch": "1"}

    made = people.ask("POST", KEYS, {"name": "ci"}, **headers)
    paused = people.site.send("POST", f"{API}/heartbeats/job/pause", headers=headers)

    assert (made.status_int, paused.status_int) == (201, 200)  # no body needs no content type


@pytest.mark.parametrize(
    "name, password",
    [
        ("Ann", "wrong password"),
        ("Ann", PASSWORD.upper()),
        ("Bob", PASSWORD),
        ("ann", PASSWORD),
        ("Ann", STORED),
        ("Ann\0", PASSWORD),
        ("Linked", "None"),
        ("Linked", "x"),
    ],
    ids=ascii,
)
def test_a_wrong_name_is_refused_like_a_wrong_password(
    people: People, name: str, password: str
) -> None:
    people.site.server.act(cronwatch.add_user, "Linked", None)

    answer = people.enter(name, password)

    assert (answer.status_int, answer.json) == (401, {"error": "Wrong name or password"})
    assert "Set-Cookie" not in answer.headers


NO_SIGN_INS: list[Any] = [
    *({"name": name, "password": PASSWORD} for name in (5, ["Ann"], "\ud800")),
    *({"name": "Ann", "password": password} for password in (5, None, "x" * 201)),
    *({"link": link} for link in (5, "", None)),
    {"name": "Ann"},
    {"password": PASSWORD},
    {"token": "x"},
    {},
    [],
    "x",
    None,
]


@pytest.mark.parametrize("given", NO_SIGN_INS, ids=ascii)
def test_a_sign_in_that_cannot_be_is_refused(people: People, given: Any) -> None:
    answer = people.ask("POST", SESSION, given)

    assert (answer.status_int, list(answer.json)) == (400, ["error"])


@pytest.mark.parametrize("password", [" begins with one", 'ends ,.\\" ', "tab\tin it", "🔥é" * 8])
def test_any_password_that_is_taken_signs_in(people: People, password: str) -> None:
    changed = people.as_ann("PATCH", SESSION, {"password": password})

    assert (changed.status_int, people.enter("Ann", password).status_int) == (200, 201)


# sessions end


def test_signing_out_ends_the_session(people: People) -> None:
    token, other = people.token(), people.token()

    answer = people.ask("DELETE", SESSION, Authorization=f"Bearer {token}")

    assert (answer.status_int, answer.json) == (200, {"deleted": True})
    assert (people.session(token), people.session(other)) == (401, 200)


def test_signing_out_clears_the_cookie(people: People) -> None:
    answer = people.ask(
        "DELETE", SESSION, X_Cronwatch="1", Cookie=f"cronwatch_session={people.token()}"
    )

    pair, attributes = cookie_of(answer)
    assert pair == "cronwatch_session="
    assert attributes == {"Max-Age=0", "Path=/", "HttpOnly", "SameSite=Strict"}


def test_a_session_expires(people: People) -> None:
    token = people.token()
    people.site.clock.move(MONTH - 0.001)
    before = people.session(token)
    people.site.clock.move(0.001)

    assert (before, people.session(token)) == (200, 401)


def test_a_session_lasts_as_long_as_the_setting_says(make_site: Callable[..., Site]) -> None:
    people = People(make_site(session_days=2))

    answer = people.enter()

    assert answer.json["expiresAt"] == at(2 * 86_400)
    assert "Max-Age=172800" in cookie_of(answer)[1]


def test_what_has_expired_is_forgotten(people: People) -> None:
    people.token()
    people.link()
    people.site.clock.move(MONTH)
    kept = people.token()

    people.site.server.housekeeping()

    assert people.site.rows("SELECT hash FROM session") == [{"hash": cronwatch.hash_secret(kept)}]


def test_a_new_password_ends_the_other_sessions_and_links(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", STORED)
    this, other, bobs, link = (
        *(people.token(name) for name in ("Ann", "Ann", "Bob")),
        people.link(),
    )

    answer = people.ask(
        "PATCH", SESSION, {"password": "another password"}, Authorization=f"Bearer {this}"
    )

    assert (answer.status_int, answer.json["user"]["name"]) == (200, "Ann")
    assert [people.session(token) for token in (this, other, bobs)] == [200, 401, 200]
    assert people.use(link).status_int == 401
    passwords = (PASSWORD, "another password")
    assert [people.enter("Ann", word).status_int for word in passwords] == [401, 201]


def test_an_own_password_that_cannot_be_is_refused(people: People) -> None:
    passwords: list[Any] = [None, "", "1234567", "x" * 201, 12345678, ["x" * 8]]
    bodies: list[Any] = [{}, [], None, *({"password": word} for word in passwords)]

    statuses = [people.as_ann("PATCH", SESSION, given).status_int for given in bodies]

    assert (set(statuses), people.enter().status_int) == ({400}, 201)


def test_who_came_by_a_link_sets_a_password(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", None)
    session = people.use(people.link("Bob")).json

    answer = people.ask(
        "PATCH", SESSION, {"password": PASSWORD}, Authorization=f"Bearer {session['token']}"
    )

    assert [session["user"]["hasPassword"], answer.json["user"]["hasPassword"]] == [False, True]
    assert people.enter("Bob").status_int == 201


# links


def test_a_link_signs_in_once(people: People) -> None:
    link = people.link()

    answer, again = people.use(link), people.use(link)

    assert (answer.status_int, answer.json["user"]["name"]) == (201, "Ann")
    assert people.session(answer.json["token"]) == 200
    assert again.json == {"error": "This link has been used or has expired"}


def test_a_link_works_for_an_hour(people: People) -> None:
    links = [people.link(), people.link()]
    people.site.clock.move(3599.999)
    before = people.use(links[0]).status_int
    people.site.clock.move(0.001)

    assert (before, people.use(links[1]).status_int) == (201, 401)


def test_a_wrong_link_is_refused_like_a_used_one(people: People) -> None:
    link = people.link()

    answers = [
        people.use(text)
        for text in ("x", link[:-1], link + "x", cronwatch.hash_secret(link), people.token())
    ]

    assert {(answer.status_int, answer.json["error"]) for answer in answers} == {
        (401, "This link has been used or has expired")
    }
    assert people.use(link).status_int == 201


def test_a_link_is_no_session(people: People) -> None:
    assert people.session(people.link()) == 401


# slower after failures


def failures(people: People, count: int, **more: Any) -> list[int]:
    return [
        people.enter(**{"password": "wrong password", **more}).status_int for _ in range(count)
    ]


def test_after_five_failures_one_has_to_wait(people: People) -> None:
    statuses = failures(people, 6)

    answer = people.enter()

    assert (statuses, answer.status_int) == ([401] * 5 + [429], 429)
    assert answer.headers["Retry-After"] == "300"
    assert people.use(people.link()).status_int == 201
    people.site.clock.move(300)
    assert people.enter().status_int == 201


def test_nobody_can_lock_out_the_owner_from_elsewhere_nor_another_one(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", STORED)
    for n in range(20):
        failures(people, 6, address=f"198.51.100.{n}")

    assert people.enter(address="203.0.113.9").status_int == 201
    assert people.enter("Bob", address="198.51.100.1").status_int == 201


def test_a_success_is_a_new_beginning(people: People) -> None:
    failures(people, 4)
    people.enter()

    assert failures(people, 5) == [401] * 5


def test_wrong_links_are_limited_and_a_right_one_still_signs_in(people: People) -> None:
    statuses = [people.use("wrong").status_int for _ in range(31)]

    assert (statuses[:30], statuses[30]) == ([401] * 30, 429)
    assert people.use(people.link()).status_int == 201


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


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_sign_in_that_a_foreign_page_could_send_is_refused(people: People, kind: str) -> None:
    answer = people.ask("POST", SESSION, {"name": "Ann", "password": PASSWORD}, Content_Type=kind)

    assert (answer.status_int, "Set-Cookie" in answer.headers) == (415, False)


# the cookie


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "a=b; {}",
        "{}; a=b",
        '"; {}',
        'a="x; y"; {}; b=(),/:;<=>?@[]{{}}',
        "\xff\xe9=\x80; {}; ü=ü",
        "other_cronwatch_session=x; {}",
        "__Secure-a=b; $Version=1; {}",
    ],
    ids=ascii,
)
def test_a_session_survives_the_cookies_beside_it(people: People, text: str) -> None:
    cookie = f"{cronwatch.COOKIE}={people.token()}"

    answer = people.ask("GET", SESSION, Cookie=text.format(cookie))

    assert answer.status_int == 200


@pytest.mark.parametrize(
    "text",
    [f'{cronwatch.COOKIE}="abc"', f'a{cronwatch.COOKIE}="' * 10_000 + f"; {cronwatch.COOKIE}=abc"],
    ids=["quoted", "very long"],
)
def test_the_cookie_is_looked_for_once(text: str) -> None:
    assert cronwatch.cookie_secret({"HTTP_COOKIE": text}) == "abc"


@pytest.mark.parametrize("secret", ["Basic YTpi", "Bearer x", "ApiKey x"])
def test_a_cookie_counts_whatever_login_a_proxy_sends_along(people: People, secret: str) -> None:
    cookie = f"{cronwatch.COOKIE}={people.token()}"

    statuses = {
        people.ask("GET", SESSION, Cookie=cookie, Authorization=secret).status_int
        for _ in range(40)
    }

    assert statuses == {200}


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
    failures(people, 6)
    people.site.clock.now += step_ms

    assert people.enter().headers["Retry-After"] == "300"


def test_unknown_handles_are_limited_by_address(site: Site) -> None:
    statuses = [site.get(f"/{n:08}/run").status_int for n in range(31)]

    assert (statuses, site.send("GET", "/12345678/run", address="192.0.2.2").status_int) == (
        [404] * 30 + [429],
        404,
    )


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


# what a ping key registers


REGISTER = """
    WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 1000)
    INSERT INTO monitor (id, key, name, created_at, updated_at, registered_by)
    SELECT 'id' || n, 'key' || n, 'Name', 0, 0, (SELECT num FROM api_key) FROM count"""
SENTENCE = "This API key has registered 1000 monitors: it may make no more"


@pytest.mark.parametrize(
    "path, shape",
    [
        ("/ping/new/{key}?schedule=@daily", {"error": "ACCESS_DENIED", "message": SENTENCE}),
        ("/ping/{key}/new?create=1", SENTENCE),
        ("/p/{key}/new?state=run", SENTENCE),
    ],
)
def test_a_ping_key_registers_a_thousand_monitors(site: Site, path: str, shape: Any) -> None:
    key = site.api_key("ping")
    site.rows(REGISTER)

    answer = site.get(path.format(key=key))

    assert answer.status_int == 403
    assert (answer.json if isinstance(shape, dict) else answer.text) == shape
    assert len(site.monitors) == 1000


def test_a_sync_of_a_ping_key_registers_no_more_either(site: Site) -> None:
    key = site.api_key("ping")
    site.rows(REGISTER)
    site.rows("DELETE FROM monitor WHERE key = 'key1'")
    items = [{"key": name, "schedule": "@daily"} for name in ("a", "b")]

    answer = site.post("/api/sync", json.dumps({"monitors": items}), X_Api_Key=key)

    assert answer.json["created"] == 1
    assert answer.json["errors"] == [{"key": "b", "error": "ACCESS_DENIED", "message": SENTENCE}]


def test_a_key_that_may_write_registers_as_many_as_it_likes(site: Site, api_key: str) -> None:
    site.rows(REGISTER)

    answer = site.get(f"/ping/new/{api_key}?schedule=@daily")

    assert (answer.status_int, len(site.monitors)) == (200, 1001)


def test_what_a_ping_key_has_registered_it_goes_on_pinging_and_leaves_behind(site: Site) -> None:
    key = site.api_key("ping")
    site.rows(REGISTER)

    answer = site.get(f"/ping/key7/{key}")
    site.server.act(cronwatch.remove_key, cronwatch.ApiRequest("key 0"))

    assert (answer.status_int, len(site.monitors)) == (200, 1000)


# users


def test_a_user_who_is_removed_is_signed_out(people: People) -> None:
    people.site.server.act(cronwatch.add_user, "Bob", STORED)
    bobs, link = people.token("Bob"), people.link("Bob")

    people.site.server.act(cronwatch.remove_user, cronwatch.ApiRequest("Bob"))

    assert (people.session(bobs), people.use(link).status_int, people.enter("Bob").status_int) == (
        401,
        401,
        401,
    )


def test_a_user_is_not_limited_in_requests(make_site: Callable[..., Site]) -> None:
    people = People(make_site(api_rate_limit=3))

    statuses = {people.as_ann("GET", SESSION).status_int for _ in range(10)}

    assert statuses == {200}


# keys


def test_a_key_is_created_and_shown_once(people: People) -> None:
    made = people.as_ann("POST", KEYS, {"name": "ci", "permission": "read-only"})

    assert made.status_int == 201
    assert made.json["secret"].startswith("cw")
    assert {**made.json, "id": "", "secret": ""} == {
        "id": "",
        "name": "ci",
        "prefix": made.json["secret"][:12],
        "permission": "read-only",
        "createdAt": at(0),
        "secret": "",
    }


def test_keys_are_listed_by_their_first_12_characters(people: People) -> None:
    made = people.as_ann("POST", KEYS, {"name": "ci"}).json

    answer = people.as_ann("GET", KEYS)

    assert answer.json == {
        "keys": [{name: value for name, value in made.items() if name != "secret"}]
    }
    assert made["secret"] not in answer.text


NO_KEYS: dict[str, list[Any]] = {
    "name": ["", None, 5, "x" * 201],
    "permission": ["admin", None, ["ping"]],
    "secret": ["short", 12345678, "x" * 201, "with a blank", "ümlaute-drin"],
    "more": [1],
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_a_key_that_cannot_be_is_refused_by_field(people: People, name: str) -> None:
    answers = [people.as_ann("POST", KEYS, {"name": "ci", name: value}) for value in NO_KEYS[name]]

    assert {(answer.status_int, name in answer.json["error"]) for answer in answers} == {
        (400, True)
    }
    assert people.as_ann("GET", KEYS).json == {"keys": []}


@pytest.mark.parametrize(
    "given", [{"name": "ci"}, {"name": "other", "secret": "ck_app_12345_abcdef"}]
)
def test_an_old_key_is_adopted_once(people: People, given: Any) -> None:
    made = people.as_ann("POST", KEYS, {"name": "ci", "secret": "ck_app_12345_abcdef"})

    again = people.as_ann("POST", KEYS, given)

    assert (made.status_int, made.json["secret"]) == (201, "ck_app_12345_abcdef")
    assert again.status_int == 409
    answer = people.ask("GET", f"{API}/heartbeats", X_Api_Key="ck_app_12345_abcdef")
    assert answer.status_int == 200


def test_a_revoked_key_is_void_at_once(people: People) -> None:
    made = people.as_ann("POST", KEYS, {"name": "ci"}).json
    people.ask("GET", f"{API}/heartbeats", X_Api_Key=made["secret"])

    answer = people.as_ann("DELETE", f"{KEYS}/{made['id']}")

    assert (answer.status_int, answer.json) == (200, {"id": made["id"], "deleted": True})
    assert people.ask("GET", f"{API}/heartbeats", X_Api_Key=made["secret"]).status_int == 401
    assert people.as_ann("DELETE", f"{KEYS}/{made['id']}").status_int == 404


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
    assert [people.enter("Ann", word).status_int for word in (PASSWORD, "another password")] == [
        401,
        201,
    ]


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
    answer = site.post(SESSION, json.dumps({"link": link[1]}), Content_Type="application/json")
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
    given = json.dumps({"link": link[1]})
    assert site.post(SESSION, given, Content_Type="application/json").status_int == 201


# what a stranger cannot take from the owner


def test_a_name_that_nobody_can_have_is_refused(people: People) -> None:
    assert people.enter("x" * 201).status_int == 400


def test_an_address_has_one_sign_in_at_a_time(people: People) -> None:
    with cronwatch._one_try_of(ADDRESS):
        statuses = [
            people.enter("nobody").status_int,
            people.enter(address="192.0.2.8").status_int,
        ]

    assert statuses == [429, 201]


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
    assert people.ask("GET", SESSION, Authorization=f"Bearer {token}").status_int == 200


def test_of_a_short_key_that_is_adopted_some_stays_hidden(site: Site) -> None:
    site.api_key(secret="abcdefgh")

    assert site.rows("SELECT prefix FROM api_key") == [{"prefix": "abcd"}]

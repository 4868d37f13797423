"""The management API: Cronping's page, sentence by sentence, and what is ours beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import Made, Site

import cronwatch

HEARTBEATS, INTEGRATIONS, EVENTS = "/api/v1/heartbeats", "/api/v1/integrations", "/api/v1/events"
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
NOON = "2026-03-02T12:00:00.000Z"


class Api:
    """Requests with one key."""

    def __init__(self, site: Site, key: str) -> None:
        self.site, self.key = site, key

    def get(self, path: str) -> webtest.TestResponse:
        return self.site.get(path, X_Api_Key=self.key)

    def ask(self, method: str, path: str, given: Any = None) -> webtest.TestResponse:
        body = given if isinstance(given, (str, bytes)) else json.dumps(given)
        headers = {"X-Api-Key": self.key, "Content-Type": "application/json"}
        return self.site.send(method, path, b"" if given is None else body, headers)

    def post(self, path: str, given: Any = None) -> webtest.TestResponse:
        return self.ask("POST", path, given)

    def create(self, **fields: Any) -> dict[str, Any]:
        """A new heartbeat, as the API shows it."""
        answer = self.post(HEARTBEATS, {"name": "Backup", "intervalSeconds": 3600, **fields})
        assert answer.status_int == 201, answer.text
        shown: dict[str, Any] = answer.json
        return shown

    def refused(self, given: Any, path: str = HEARTBEATS) -> str:
        """The sentence with which something is refused as invalid."""
        answer = self.post(path, given)
        assert answer.status_int == 400, answer.text
        assert list(answer.json) == ["error"]
        return str(answer.json["error"])


@pytest.fixture
def api(site: Site, api_key: str) -> Api:
    return Api(site, api_key)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Api]:
    """One site for all requests that change nothing."""
    site = Site(folder / "shared-api.db")
    yield Api(site, site.api_key())
    site.server.close()


@pytest.fixture
def reader(site: Site) -> Api:
    return Api(site, site.api_key("read-only"))


def names(answer: webtest.TestResponse) -> list[str]:
    return [shown["name"] for shown in answer.json["heartbeats"]]


# list heartbeats


EXAMPLE: dict[str, Any] = {  # of the page
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "name": "Daily DB Backup",
    "status": "up",
    "paused": False,
    "scheduleType": "cron",
    "intervalSeconds": 0,
    "cronExpression": "0 3 * * *",
    "timezone": "America/Sao_Paulo",
    "graceSeconds": 300,
    "tags": "prod db",
    "emailAlertsEnabled": True,
    "reminderIntervalSeconds": 0,
    "lastPingAt": "2026-03-13T03:00:12.000Z",
    "nextExpectedAt": "2026-03-14T03:05:00.000Z",
    "token": "abc123def456...",
    "pingUrl": "https://ping.cronping.com/abc123def456...",
    "createdAt": "2026-01-10T12:00:00.000Z",
    "updatedAt": "2026-03-13T03:00:12.000Z",
}
LIKE_EXAMPLE = {
    "name": "Daily DB Backup",
    "scheduleType": "cron",
    "cronExpression": "0 3 * * *",
    "timezone": "America/Sao_Paulo",
    "tags": "prod db",
}


LISTS = {
    HEARTBEATS: ("heartbeats", 100),
    f"{HEARTBEATS}/{{id}}/pings": ("pings", 200),
    f"{HEARTBEATS}/{{id}}/runs": ("runs", 200),
    EVENTS: ("events", 200),
}
each_list = pytest.mark.parametrize("path", LISTS)


@each_list
def test_a_list_has_the_documented_frame(api: Api, path: str) -> None:
    name, most = LISTS[path]

    shown = api.get(f"{path.format(id=api.create()['id'])}?query=nothing&kind=test&limit={most}")

    assert shown.json == {name: [], "total": 0, "limit": most, "offset": 0}


@each_list
def test_pages_of_a_list_follow_each_other(api: Api, path: str) -> None:
    job, *_ = [api.site.monitor(name=f"Job {n}") for n in range(5)]
    for word in ("1", "", "2", "", "3"):
        api.site.get(f"/{job.token}/{word}")
    (name, _), path = LISTS[path], path.format(id=job.id)

    pages = [api.get(f"{path}?limit=2&offset={offset}").json for offset in (0, 2, 4, 6)]

    assert [len(page[name]) for page in pages] == [2, 2, 1, 0]
    assert [item for page in pages for item in page[name]] == api.get(path).json[name]


def test_a_heartbeat_is_shown_as_documented(api: Api) -> None:
    api.site.get(f"/{api.post(HEARTBEATS, LIKE_EXAMPLE).json['token']}")

    (shown,) = api.get(HEARTBEATS).json["heartbeats"]

    assert {name: type(shown.get(name)) for name in EXAMPLE} == {
        name: type(value) for name, value in EXAMPLE.items()
    }
    own = {name for name in EXAMPLE if name.endswith("At")} | {"id", "token", "pingUrl"}
    assert {name: shown[name] for name in EXAMPLE if name not in own} == {
        name: value for name, value in EXAMPLE.items() if name not in own
    }


def test_the_next_expected_time_includes_the_grace(api: Api) -> None:
    api.site.get(f"/{api.post(HEARTBEATS, LIKE_EXAMPLE).json['token']}")

    (shown,) = api.get(HEARTBEATS).json["heartbeats"]

    assert (shown["lastPingAt"], shown["nextExpectedAt"], shown["expectedAt"]) == (
        NOON,
        "2026-03-03T06:05:00.000Z",
        "2026-03-03T06:00:00.000Z",
    )


def test_the_ping_url_pings(api: Api) -> None:
    shown = api.create()

    api.site.get(shown["pingUrl"].removeprefix("http://cron.test"))

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json["status"] == "up"


@each_list
@pytest.mark.parametrize(
    "name, text",
    [
        *(("limit", text) for text in ("0", "{more}", "many", "1.5", "", "9" * 400, "٣", "1e1")),
        *(("offset", text) for text in ("-1", "many", "1.5", "9" * 400)),
    ],
)
def test_a_limit_that_cannot_be_is_refused(shared: Api, path: str, name: str, text: str) -> None:
    most = LISTS[path][1]
    where = path.format(id=shared.create()["id"])

    answer = shared.get(f"{where}?{name}={text.format(more=most + 1)}")

    assert (answer.status_int, name in answer.json["error"]) == (400, True)
    assert name == "offset" or str(most) in answer.json["error"]


@pytest.mark.parametrize(
    "query, found",
    [
        ("query=MAIL", ["Mail backup"]),
        ("query=l+b", ["Mail backup"]),
        ("query=100%25", ["100% sure"]),
        ("query=_", []),
        ("query=", ["100% sure", "Büro", "Mail backup", "paused"]),
        ("query=B%C3%9CRO", ["Büro"]),
        ("status=up", ["Mail backup"]),
        ("status=up&status=down", ["Büro", "Mail backup"]),
        ("status=new", ["100% sure"]),
        ("status=paused", ["paused"]),
        ("tag=prod", ["Büro", "Mail backup"]),
        ("tag=prod&tag=gr%C3%BCn", ["Büro"]),
        ("tag=pro", []),
        ("tag=PROD", []),
        ("tag=%25", []),
        ("query=b&status=up&tag=prod", ["Mail backup"]),
    ],
)
def test_a_list_is_filtered(api: Api, query: str, found: list[str]) -> None:
    tags = {"Mail backup": "db prod", "100% sure": "", "Büro": "prod grün", "paused": ""}
    shown = {name: api.create(name=name, tags=given) for name, given in tags.items()}
    api.site.get(f"/{shown['Mail backup']['token']}")
    api.site.get(f"/{shown['Büro']['token']}/fail")
    api.post(f"{HEARTBEATS}/{shown['paused']['id']}/pause")

    answer = api.get(f"{HEARTBEATS}?{query}")

    assert (sorted(names(answer)), answer.json["total"]) == (found, len(found))


# get a heartbeat


def test_one_heartbeat_is_shown_as_in_the_list(api: Api) -> None:
    shown = api.create()

    one = api.get(f"{HEARTBEATS}/{shown['id']}").json

    (listed,) = api.get(HEARTBEATS).json["heartbeats"]
    assert {
        name: value for name, value in one.items() if name not in ("integrationIds", "upcoming")
    } == listed


# create a heartbeat


DEFAULTS = {
    "scheduleType": "interval",
    "timezone": "UTC",
    "graceSeconds": 300,
    "tags": "",
    "emailAlertsEnabled": True,
    "reminderIntervalSeconds": 0,
}


def test_a_field_that_is_not_given_has_its_default(make_site: Callable[..., Site]) -> None:
    site = make_site(timezone="Europe/Berlin")

    shown = Api(site, site.api_key()).create()

    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS


RULE = {"field": "rows", "operator": "lt", "value": 1}
KEPT = [
    ("name", "x" * 200),
    ("name", "Бэкап 🔥"),
    ("intervalSeconds", 60),
    ("intervalSeconds", 2_592_000),
    ("graceSeconds", 0),
    ("graceSeconds", 86_400),
    ("tags", "prod db"),
    ("emailAlertsEnabled", False),
    ("reminderIntervalSeconds", 3600),
    ("timezone", "America/Sao_Paulo"),
    ("key", "daily-backup"),
    ("key", "Ä b/c"),
    ("expects", "complete"),
    ("maxRunSeconds", 600),
    ("failureTolerance", 2),
    ("minPingIntervalSeconds", 60),
    ("armed", True),
    ("notes", "Call me.\nOr not."),
    ("rules", [RULE]),
]


@pytest.mark.parametrize("name, value", KEPT)
def test_a_field_is_kept_as_it_was_given(api: Api, name: str, value: Any) -> None:
    shown = api.create(**{name: value})

    assert api.get(f"{HEARTBEATS}/{shown['id']}").json[name] == value


NAN = float("nan")
REFUSED: dict[str, list[Any]] = {
    "name": ["", "   ", "x" * 201, 5, None, ["x"], "\0", "\x01\x02"],
    "scheduleType": ["daily", "", 5, None, ["cron"]],
    "intervalSeconds": [59, 2_592_001, "3600", 3600.5, True, None, NAN, 10**400, [60]],
    "timezone": ["Mars/Olympus", "", 5, None, "../../etc/passwd", "/etc/passwd", "UTC\0"],
    "graceSeconds": [-1, 86_401, "300", True, None, 0.5],
    "tags": [5, {"prod": 1}, True, [5], [None]],
    "emailAlertsEnabled": ["yes", 1, None],
    "reminderIntervalSeconds": [-1, "60", 60.5, 10**400, False],
    "integrationIds": ["x", [5], {}, [UNKNOWN], [None]],
    "key": ["", "x" * 201, 5, None, "\0"],
    "expects": ["nothing", None, ["run"]],
    "maxRunSeconds": [-1, "60"],
    "failureTolerance": [-1, None],
    "minPingIntervalSeconds": [-1],
    "armed": ["yes", 1],
    "notes": [5, "x" * 10_001],
    "rules": [
        "rows < 1",
        [5],
        {},
        [{}],
        [RULE] * 21,
        *(
            [{**RULE, **wrong}]
            for wrong in (
                {"operator": "like"},
                {"operator": ["lt"]},
                {"value": "1"},
                {"value": NAN},
                {"field": ""},
                {"more": 1},
            )
        ),
    ],
    "cronExpression": [
        "",
        "at teatime",
        "61 * * * *",
        "* * * *",
        "0 0 30 2 *",
        "@reboot",
        "* * * * * * *",
        5,
        None,
        ["0 3 * * *"],
        "R * * * *",
        "0 3 * * *\0",
        "x" * 10_000,
    ],
}


@pytest.mark.parametrize(
    "name, value",
    [(name, value) for name, values in REFUSED.items() for value in values],
    ids=lambda value: ascii(value)[:24],
)
def test_a_field_that_cannot_be_is_refused_by_name(shared: Api, name: str, value: Any) -> None:
    given: dict[str, Any] = {"name": "x", "intervalSeconds": 60}
    if name == "cronExpression":
        given = {"name": "x", "scheduleType": "cron"}

    sentence = shared.refused({**given, name: value})

    assert ("rule" if name == "rules" else name) in sentence


@pytest.mark.parametrize(
    "path, given, missing",
    [
        (HEARTBEATS, {"intervalSeconds": 60}, "name"),
        (HEARTBEATS, {"name": "x"}, "intervalSeconds"),
        (HEARTBEATS, {"name": "x", "scheduleType": "interval"}, "intervalSeconds"),
        (HEARTBEATS, {"name": "x", "scheduleType": "cron"}, "cronExpression"),
        (INTEGRATIONS, {"name": "x", "url": "http://nas/"}, "channel"),
        (INTEGRATIONS, {"channel": "webhook", "url": "http://nas/"}, "name"),
        (INTEGRATIONS, {"channel": "webhook", "name": "x"}, "url"),
    ],
)
def test_a_required_field_that_is_missing_is_named(
    shared: Api, path: str, given: dict[str, Any], missing: str
) -> None:
    assert missing in shared.refused(given, path)


def test_what_is_refused_leaves_nothing(api: Api) -> None:
    api.refused({"name": "x", "intervalSeconds": 60, "integrationIds": [UNKNOWN]})

    assert (api.site.monitors, api.site.rows("SELECT * FROM handle")) == ([], [])


def test_two_of_the_same_name_have_keys_of_their_own(api: Api) -> None:
    keys = [api.create(name="Daily backup")["key"] for _ in range(3)]

    assert (keys[0], len(set(keys))) == ("daily-backup", 3)


# pause and resume


def paused(api: Api, given: Any = None) -> dict[str, Any]:
    """A heartbeat that is up, after its pause."""
    shown = api.create()
    api.site.get(f"/{shown['token']}")
    answer = api.post(f"{HEARTBEATS}/{shown['id']}/pause", given)
    assert answer.status_int == 200, answer.text
    return {**answer.json, **api.get(f"{HEARTBEATS}/{shown['id']}").json}


@pytest.mark.parametrize(
    "given, until",
    [
        (None, None),
        ({}, None),
        ({"hours": None}, None),
        ({"hours": 2}, "2026-03-02T14:00:00.000Z"),
        ({"hours": 876_000}, "2126-02-06T12:00:00.000Z"),
    ],
)
def test_a_pause_lasts_for_hours_or_until_it_is_resumed(
    api: Api, given: Any, until: str | None
) -> None:
    shown = paused(api, given)

    assert (shown["status"], shown["paused"], shown["pausedUntil"]) == ("paused", True, until)


def test_a_pause_of_no_hours_ends_it(api: Api) -> None:
    shown = paused(api, {"hours": 2})

    answer = api.post(f"{HEARTBEATS}/{shown['id']}/pause", {"hours": 0})

    assert (answer.status_int, answer.json["paused"]) == (200, False)


@pytest.mark.parametrize(
    "hours", [-1, 876_001, "2", 1.5, True, [2], NAN, 10**400], ids=lambda value: ascii(value)[:24]
)
def test_hours_that_cannot_be_are_refused(shared: Api, hours: Any) -> None:
    shown = shared.create()

    assert "hours" in shared.refused({"hours": hours}, f"{HEARTBEATS}/{shown['id']}/pause")


def test_a_resume_resets_the_status_to_new(api: Api) -> None:
    shown = paused(api)

    answer = api.post(f"{HEARTBEATS}/{shown['id']}/resume")

    assert (answer.status_int, answer.json["status"], answer.json["paused"]) == (200, "new", False)


# pings


PING_EXAMPLE: dict[str, Any] = {  # of the page
    "id": "...",
    "heartbeatId": "...",
    "type": "success",
    "receivedAt": "2026-03-13T03:00:12.000Z",
    "ipAddress": "203.0.113.1",
    "userAgent": "curl/8.0",
    "durationMs": 4523,
    "runId": None,
    "exitCode": None,
}


def pings(api: Api, job: Made) -> Any:
    return api.get(f"{HEARTBEATS}/{job.id}/pings").json["pings"]


def test_a_ping_like_the_example_is_shown_like_it(api: Api) -> None:
    job = api.site.monitor()
    api.site.get(f"/{job.token}/start", User_Agent="curl/8.0")
    api.site.clock.move(4.523)
    api.site.send(
        "GET", f"/{job.token}", headers={"User-Agent": "curl/8.0"}, address="203.0.113.1"
    )

    shown = pings(api, job)[0]

    assert {name: shown.get(name, "missing") for name in PING_EXAMPLE} == {
        **PING_EXAMPLE,
        "id": str(api.site.pings[-1]["num"]),
        "heartbeatId": job.id,
        "receivedAt": "2026-03-02T12:00:04.523Z",
    }


def test_pings_come_newest_first(api: Api) -> None:
    job, other = api.site.monitor(), api.site.monitor()
    api.site.get(f"/{other.token}")
    for word in (f"start?rid={UNKNOWN}", "log", "fail"):
        api.site.get(f"/{job.token}/{word}")
        api.site.clock.move(60)

    assert [(ping["type"], ping["runId"]) for ping in pings(api, job)] == [
        ("fail", None),
        ("log", None),
        ("start", UNKNOWN),
    ]


# integrations


CHANNELS = [
    ("webhook", "url", "https://nas.example/hook"),
    ("slack", "url", "https://s.example"),
    ("discord", "url", "https://d.example/x"),
    ("ntfy", "url", "https://ntfy.sh/me"),
    ("email", "address", "me@home.example"),
]


@pytest.mark.parametrize("channel, where, target", CHANNELS)
def test_an_integration_is_created(api: Api, channel: str, where: str, target: str) -> None:
    answer = api.post(INTEGRATIONS, {"channel": channel, "name": "Me", where: target})

    assert (answer.status_int, answer.json["channel"], answer.json["name"]) == (201, channel, "Me")


REFUSED_INTEGRATIONS: dict[str, list[Any]] = {
    "channel": ["pigeon", None, 5, ["slack"], {}],
    "name": ["", " ", "x" * 201, 5, None, "\0"],
    "url": [None, "", "ftp://x/", 5, "x" * 3000],
    "default": ["yes", None, 1],
    "headers": ["x", [5]],
    "colour": ["red"],
}


@pytest.mark.parametrize("name", REFUSED_INTEGRATIONS)
def test_an_integration_that_cannot_be_is_refused_by_name(shared: Api, name: str) -> None:
    given = {"channel": "webhook", "name": "Me", "url": "http://nas/"}

    sentences = [
        shared.refused({**given, name: value}, INTEGRATIONS)
        for value in REFUSED_INTEGRATIONS[name]
    ]

    assert [sentence for sentence in sentences if name not in sentence] == []


# events


def test_events_come_newest_first(api: Api) -> None:
    job = api.site.monitor()
    api.site.get(f"/{job.token}/fail")
    api.site.get(f"/{job.token}")

    assert [event["kind"] for event in api.get(EVENTS).json["events"]] == ["recovered", "failed"]


# keys


SECRET_FIELDS = {"token", "pingUrl", "code", "handles"}


@pytest.mark.parametrize("suffix", ["", "/{id}"])
def test_a_read_only_key_sees_no_handle(site: Site, api: Api, reader: Api, suffix: str) -> None:
    job = site.monitor(handles={"my-old-handle": "cronitor"})

    answer = reader.get(HEARTBEATS + suffix.format(id=job.id))

    shown = answer.json if suffix else answer.json["heartbeats"][0]
    assert SECRET_FIELDS & set(shown) == set()
    assert [text for text in (job.token, job.code, "my-old-handle") if text in answer.text] == []


def test_a_read_only_key_sees_all_else(site: Site, api: Api, reader: Api) -> None:
    job = site.monitor()

    seen = [set(one.get(f"{HEARTBEATS}/{job.id}").json) for one in (api, reader)]

    assert seen[0] - seen[1] == SECRET_FIELDS


def test_a_handle_is_no_name_of_a_heartbeat(api: Api) -> None:
    shown = api.create()

    assert api.get(f"{HEARTBEATS}/{shown['token']}").status_int == 404


@pytest.mark.parametrize("form", [("X-Api-Key", "{}"), ("Authorization", "Bearer {}")])
def test_a_key_in_a_header_is_utf_8(site: Site, form: tuple[str, str]) -> None:
    site.api_key(secret="schlüssel-für-alte-skripte")
    raw = form[1].format("schlüssel-für-alte-skripte").encode().decode("latin-1")

    assert site.send("GET", EVENTS, headers={form[0]: raw}).status_int == 200


# what strangers see, and the log


MARK = "s3cr3t-mark"
MARKED = [
    ("GET", f"/{MARK}/run?msg={MARK}"),
    ("GET", f"/ping/{MARK}?x={MARK}"),
    ("POST", f"/ping/{MARK}/{MARK}?schedule=@daily"),
    ("POST", f"/api/v1/ping/{MARK}/start"),
    ("GET", f"{HEARTBEATS}/{MARK}?query={MARK}"),
    ("POST", f"{HEARTBEATS}?{MARK}"),
    ("POST", "/api/v1/session"),
    ("POST", INTEGRATIONS),
    ("POST", "/api/sync"),
    ("GET", f"/static/{MARK}"),
    ("GET", f"/{MARK}/%ff%00?{MARK}=%ff"),
    ("GET", f"{EVENTS}/{MARK}/{MARK}"),
    (MARK, f"/{MARK}"),
    ("PUT", f"/{{token}}/{MARK}"),
    ("POST", f"/{{token}}/fail?msg={MARK}&rid={MARK}&host={MARK}"),
    ("POST", f"/{{code}}/run?msg={MARK}&series={MARK}"),
    ("POST", f"/api/push/{{token}}?status=down&msg={MARK}"),
]


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("key, is_broken", [(MARK, False), (None, False), (None, True)])
@pytest.mark.parametrize("method, path", MARKED)
def test_the_log_names_no_path_no_query_no_body_and_no_secret(
    site: Site,
    api_key: str,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    key: str | None,
    is_broken: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    job = site.monitor()
    if is_broken:
        for table in ("ping", "integration"):
            site.rows(
                f"CREATE TRIGGER broken_{table} BEFORE INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'x'); END"
            )
    headers = {"X-Api-Key": key or api_key, "User-Agent": MARK, "Cookie": f"a={MARK}"}
    hook = {"channel": "webhook", "name": MARK, "url": f"http://{MARK}:9/"}
    body = hook if path == INTEGRATIONS else {"name": MARK, "message": MARK}

    site.send(method, job.at(path), json.dumps(body), headers)
    site.server.deliver()

    never = (MARK, job.token, job.code, api_key)
    assert caplog.text
    assert [text for text in never if text in caplog.text] == []


def test_the_host_of_a_request_is_in_no_link(site: Site, api_key: str) -> None:
    job = site.monitor()

    answer = site.get(f"{HEARTBEATS}/{job.id}", X_Api_Key=api_key, Host="evil.example")

    assert "evil" not in answer.text


def test_a_range_that_the_page_does_not_have_gets_the_page(site: Site) -> None:
    answer = site.get("/", Range="bytes=9999999-")

    assert (answer.status_int, b"cronwatch" in answer.body) == (200, True)


def test_a_file_of_the_page_is_sent_once_while_its_content_stays(site: Site) -> None:
    first = site.get("/static/style.css")

    again = site.get("/static/style.css", If_None_Match=first.headers["ETag"])

    assert (first.headers["Cache-Control"], again.status_int, again.body) == ("no-cache", 304, b"")


def test_another_content_has_another_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cronwatch, "DATA", tmp_path)
    file = tmp_path / "static" / "app.js"
    file.parent.mkdir()
    file.write_text("old")
    before = cronwatch.read_static_files()["app.js"].tag

    file.write_text("new one")

    assert cronwatch.read_static_files()["app.js"].tag != before


@pytest.mark.parametrize("path", ["/cw", "/cw?from=mail"])
def test_the_page_below_a_path_is_asked_for_with_its_slash(
    make_site: Callable[..., Site], path: str
) -> None:
    answer = make_site(url_prefix="cw").get(path)

    assert (answer.status_int, answer.headers["Location"]) == (308, "/cw/")

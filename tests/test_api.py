"""The management API: its lists, the fields that it takes, and what strangers and the log see."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest
from conftest import NOBODY, Site

import cronwatch

API = cronwatch.API
HEARTBEATS, INTEGRATIONS, EVENTS = f"{API}/heartbeats", f"{API}/integrations", f"{API}/events"
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


class Api:
    """Requests with one key."""

    def __init__(self, site: Site, key: str) -> None:
        self.site, self.key = site, key

    def get(self, path: str) -> webtest.TestResponse:
        return self.site.get(path, X_Api_Key=self.key)

    def shows(self, path: str) -> Any:
        """What is shown at a path of the API."""
        answer = self.get(f"{API}/{path}")
        assert answer.status_int == 200, answer.text
        return answer.json

    def job(self, path: str = "", name: str = "job") -> Any:
        """What is shown of a monitor."""
        return self.shows(f"heartbeats/{name}{path}")

    def ask(self, method: str, path: str, given: Any = None) -> webtest.TestResponse:
        headers = {"X-Api-Key": self.key, "Content-Type": "application/json"}
        return self.site.send(method, path, "" if given is None else json.dumps(given), headers)

    def post(self, path: str, given: Any = None) -> webtest.TestResponse:
        return self.ask("POST", path, given)

    def create(self, **fields: Any) -> dict[str, Any]:
        """A new heartbeat, as the API shows it."""
        answer = self.post(HEARTBEATS, {"name": "Backup", "intervalSeconds": 3600, **fields})
        assert answer.status_int == 201, answer.text
        shown: dict[str, Any] = answer.json
        return shown

    def change(self, **fields: Any) -> Any:
        """Change the monitor `job`; as the API shows it."""
        answer = self.ask("PATCH", f"{HEARTBEATS}/job", fields)
        assert answer.status_int == 200, answer.text
        return answer.json

    def do(self, word: str, given: Any = None) -> Any:
        """Do something to the monitor `job`; what is answered."""
        answer = self.post(f"{HEARTBEATS}/job/{word}", given)
        assert answer.status_int in (200, 201), answer.text
        return answer.json

    def hook(self, **fields: Any) -> dict[str, Any]:
        """A new webhook to nobody, as the API shows it."""
        given = {"channel": "webhook", "name": "hook", "url": NOBODY, **fields}
        answer = self.post(INTEGRATIONS, given)
        assert answer.status_int == 201, answer.text
        return dict(answer.json)

    def refused(self, given: Any, path: str = HEARTBEATS) -> str:
        """The sentence with which something is refused as invalid."""
        answer = self.post(path, given)
        assert (answer.status_int, list(answer.json)) == (400, ["error"]), answer.text
        return str(answer.json["error"])


@pytest.fixture
def api(site: Site, api_key: str) -> Api:
    return Api(site, api_key)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Api]:
    """One site for all requests that change nothing."""
    site = Site(folder / "shared-api.db")
    site.monitor(key="job")
    yield Api(site, site.api_key())
    site.server.close()


# list heartbeats


LISTS = {
    HEARTBEATS: ("heartbeats", 100),
    f"{HEARTBEATS}/job/pings": ("pings", 200),
    f"{HEARTBEATS}/job/runs": ("runs", 200),
    EVENTS: ("events", 200),
}
each_list = pytest.mark.parametrize("path", LISTS)


@each_list
def test_a_list_has_the_documented_frame(shared: Api, path: str) -> None:
    name, most = LISTS[path]

    shown = shared.get(f"{path}?query=nothing&kind=test&limit={most}")

    assert shown.json == {name: [], "total": 0, "limit": most, "offset": 0}


@each_list
def test_pages_of_a_list_follow_each_other(api: Api, path: str) -> None:
    name, _ = LISTS[path]
    job, *_ = [api.site.monitor(key=key) for key in ("job", *"abcd")]
    for word in ("1", "", "2", "", "3"):
        api.site.get(f"/{job.token}/{word}")

    pages = [api.get(f"{path}?limit=2&offset={offset}").json[name] for offset in (0, 2, 4, 6)]

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [item for page in pages for item in page] == api.get(path).json[name]


NO_NUMBERS = ("", "many", "1.5", "9" * 400)
NO_LIMITS = [
    *(("limit", text) for text in (*NO_NUMBERS, "0", "{more}", "٣", "1e1")),
    *(("offset", text) for text in (*NO_NUMBERS, "-1")),
]


@each_list
@pytest.mark.parametrize("name, text", NO_LIMITS)
def test_a_limit_that_cannot_be_is_refused(shared: Api, path: str, name: str, text: str) -> None:
    most = LISTS[path][1]

    answer = shared.get(f"{path}?{name}={text.format(more=most + 1)}")

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
    api.post(f"{HEARTBEATS}/paused/pause")

    page = api.shows(f"heartbeats?{query}")

    assert sorted(one["name"] for one in page["heartbeats"]) == found
    assert page["total"] == len(found)


# create a heartbeat


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


def test_fields_are_kept_as_they_were_given(api: Api) -> None:
    given = dict(KEPT)

    made = api.create(**given)

    shown = api.job(name=made["id"])
    assert shown | given == shown


NAN = float("nan")
NO_RULES: list[dict[str, Any]] = [
    {"operator": "like"},
    {"operator": ["lt"]},
    {"value": "1"},
    {"value": NAN},
    {"field": ""},
    {"more": 1},
]
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
    "rule": ["rows < 1", [5], {}, [{}], [RULE] * 21, *([{**RULE, **one}] for one in NO_RULES)],
    "cronExpression": [
        *("", "at teatime", "61 * * * *", "* * * *", "0 0 30 2 *", "@reboot", "* * * * * * *"),
        *(5, None, ["0 3 * * *"], "R * * * *", "0 3 * * *\0", "x" * 10_000),
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

    sentence = shared.refused({**given, "rules" if name == "rule" else name: value})

    assert name in sentence


# integrations


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
    api: Api,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    key: str | None,
    is_broken: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    site, job = api.site, api.site.monitor()
    for table in ("ping", "integration") if is_broken else ():
        site.rows(
            f"CREATE TRIGGER broken_{table} BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    headers = {"X-Api-Key": key or api.key, "User-Agent": MARK, "Cookie": f"a={MARK}"}
    hook = {"channel": "webhook", "name": MARK, "url": f"http://{MARK}:9/"}
    body = hook if path == INTEGRATIONS else {"name": MARK, "message": MARK}

    site.send(method, job.at(path), json.dumps(body), headers)
    site.server.deliver()

    never = (MARK, job.token, job.code, api.key)
    assert caplog.text
    assert [text for text in never if text in caplog.text] == []


def test_the_host_of_a_request_is_in_no_link(api: Api) -> None:
    job = api.site.monitor()

    answer = api.site.get(f"{HEARTBEATS}/{job.id}", X_Api_Key=api.key, Host="evil.example")

    assert "evil" not in answer.text


def test_a_file_of_the_page_is_sent_once_while_its_content_stays(site: Site) -> None:
    first = site.get("/static/style.css")

    again = site.get("/static/style.css", If_None_Match=first.headers["ETag"])

    assert (first.headers["Cache-Control"], again.status_int, again.body) == ("no-cache", 304, b"")


def test_another_content_has_another_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cronwatch, "DATA", tmp_path)
    file = tmp_path / "static" / "app.js"
    file.parent.mkdir()
    tags = set()

    for content in ("old", "new one"):
        file.write_text(content)
        tags.add(cronwatch.read_static_files()["app.js"].tag)

    assert len(tags) == 2

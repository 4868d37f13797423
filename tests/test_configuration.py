"""`cronwatch export` and `cronwatch apply`: a box as a file, all or nothing."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, read_table
from live_server import Done, call

import cronwatch

HOURLY = {"key": "hourly", "intervalSeconds": 3600}
HOOK = {"channel": "webhook", "name": "Hook", "url": "http://127.0.0.1:9/"}
TOKEN = "0da39e21-5c5f-4d5e-9d3b-1f0c2f1b7a01"


def export(site: Site, *flags: str) -> dict[str, Any]:
    """What `cronwatch export` prints."""
    done = call("export", *flags, "--database", str(site.database))
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    return found


def apply(site: Site, given: Any, *flags: str) -> Done:
    """Apply a file with this, which may be text that is no JSON."""
    file = site.database.with_name("box.json")
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    return call("apply", str(file), *flags, "--database", str(site.database))


def monitors(*items: dict[str, Any]) -> dict[str, Any]:
    return {"monitors": [*items]}


def everything(site: Site) -> dict[str, list[Any]]:
    """All rows of all tables."""
    tables = site.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return {
        row["name"]: sorted(map(repr, site.rows(f"SELECT * FROM {row['name']}"))) for row in tables
    }


BOX: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures" / "box.json").read_text("utf-8")
)


@pytest.fixture
def box(make_site: Callable[..., Site]) -> Site:
    """A site with something of everything, and monitors with all that can be said of them."""
    site = make_site()
    assert apply(site, BOX).code == 0
    return site


# there and back


@pytest.mark.parametrize("flags", [(), ("--secrets",)])
def test_what_is_exported_makes_the_same_elsewhere(
    box: Site, site: Site, flags: tuple[str, ...]
) -> None:
    done = apply(site, export(box, *flags))

    assert (done.code, done.err) == (0, "")
    assert export(site, *flags) == export(box, *flags)


@pytest.mark.parametrize("kind", BOX)
def test_what_a_file_says_is_exported_again(box: Site, kind: str) -> None:
    shown = {one["name"]: one for one in export(box, "--secrets")[kind]}

    for said in BOX[kind]:
        one = shown[said["name"]]
        assert {name: one[name] for name in said} == said


def test_every_field_of_a_monitor_is_exported_but_the_schedule_that_it_has_not(box: Site) -> None:
    shown = export(box)["monitors"][0]

    fields = {field.name for field in cronwatch.MONITOR}
    assert fields - set(shown) == {"cronExpression"}


@pytest.mark.parametrize("path", ["/{token}", "/ping/{code}", "/old-handle"])
def test_jobs_ping_another_box_by_the_handles_that_they_have(
    box: Site, site: Site, path: str
) -> None:
    handles = {row["kind"]: row["text"] for row in box.rows(HANDLES)}
    apply(site, export(box, "--secrets"))

    answer = site.get(path.format(**handles))

    assert answer.status_int == 200
    pinged = site.rows("SELECT key FROM ping JOIN monitor ON monitor.num = ping.monitor")
    assert pinged == [{"key": "hourly"}]


HANDLES = "SELECT kind, text FROM handle JOIN monitor m ON m.num = monitor WHERE key = 'hourly'"


def test_no_secret_is_exported_unless_asked_for(box: Site) -> None:
    handles = box.rows("SELECT text FROM handle")
    configs = box.rows("SELECT config ->> 'secret' AS text FROM integration")
    secrets = [row["text"] for row in (*handles, *configs) if row["text"]]

    text = json.dumps(export(box))

    assert len(secrets) == 3 * 2 + 1 + 2
    assert [secret for secret in (*secrets, "cellar") if secret in text] == []  # a header's value


# again


@pytest.mark.parametrize("flags", [(), ("--secrets",)])
def test_nothing_changes_where_all_is_as_it_should_be(box: Site, flags: tuple[str, ...]) -> None:
    done = apply(box, export(box, *flags))

    assert (done.code, done.out, done.err) == (0, "nothing changes\n", "")


def test_what_changes_is_said_without_a_secret(box: Site) -> None:
    new = {**HOURLY, "token": TOKEN, "code": "AbCd1234"}
    secrets = [row["text"] for row in box.rows("SELECT text FROM handle")]

    done = apply(box, monitors(new), "--dry-run")

    assert '"token"' in done.out
    assert [text for text in (*secrets, TOKEN, "AbCd1234") if text in done.out] == []


def test_a_token_in_a_file_takes_the_place_of_the_one_before(site: Site) -> None:
    job = site.monitor(key="hourly")

    apply(site, monitors({**HOURLY, "token": TOKEN}))

    assert (site.get(f"/{TOKEN}").status_int, site.get(f"/{job.token}").status_int) == (200, 404)


def test_what_an_item_does_not_say_is_left_as_it_is(box: Site) -> None:
    before = export(box)["monitors"][0]

    apply(box, monitors({"key": "hourly", "graceSeconds": 61}))

    assert export(box)["monitors"][0] == {**before, "graceSeconds": 61}


def test_an_integration_that_is_off_stays_off_where_the_file_does_not_say(box: Site) -> None:
    apply(box, {"integrations": [{"channel": "email", "name": "Ann", "address": "a@example.org"}]})

    (shown,) = (one for one in export(box)["integrations"] if one["name"] == "Ann")
    assert (shown["address"], shown["enabled"]) == ("a@example.org", False)


@pytest.mark.parametrize(
    "more, line",
    [
        ({"graceSeconds": 61}, '+   "graceSeconds": 61,'),
        ({"integrations": ["Hook"]}, '+    "Hook"'),
        ({"token": TOKEN}, f'+   "token": "…{cronwatch.hash_secret(TOKEN)[:8]}",'),
        ({"handles": [{"handle": "new", "dialect": "cronitor"}]}, '+     "dialect": "cronitor",'),
    ],
)
def test_what_changes_is_said_and_nothing_else_does(
    box: Site, more: dict[str, Any], line: str
) -> None:
    before = export(box)

    tried = apply(box, monitors({"key": "hourly", **more}), "--dry-run")
    done = apply(box, monitors({"key": "hourly", **more}))

    after = export(box)
    assert line in done.out.splitlines()
    assert tried == done
    for one in (before, after):
        one["monitors"][0].update(graceSeconds=None, integrations=None)
    assert after == before


# a dry run


def test_a_dry_run_changes_nothing(box: Site) -> None:
    new = {"channel": "ntfy", "name": "New", "url": "http://127.0.0.1:9/"}
    job = {**HOURLY, "graceSeconds": 61, "token": TOKEN, "integrations": ["New"]}
    other = {"key": "new", "intervalSeconds": 60}
    hook = {**HOOK, "url": "http://127.0.0.1:7/"}
    before = everything(box)

    done = apply(box, {"integrations": [hook, new], "monitors": [job, other]}, "--dry-run")

    assert done.code == 0
    assert everything(box) == before


# who is told


def test_a_monitor_may_name_what_is_made_by_the_same_file(site: Site) -> None:
    done = apply(
        site, {"monitors": [{**HOURLY, "integrations": ["Hook"]}], "integrations": [HOOK]}
    )

    assert (done.code, export(site)["monitors"][0]["integrations"]) == (0, ["Hook"])


def test_a_command_may_come_from_a_file_for_that_is_on_the_server(box: Site) -> None:
    file = {"channel": "command", "name": "Lamp", "command": "lamp blue"}

    done = apply(box, {"integrations": [file, {**file, "name": "Another"}]})

    commands = {one["name"]: one.get("command") for one in export(box)["integrations"]}
    assert (done.code, commands["Lamp"], commands["Another"]) == (0, "lamp blue", "lamp blue")


# refused


MINUTELY = {"intervalSeconds": 60}
UNKNOWN = "'intervalSecond' is not a known field (did you mean intervalSeconds?)"
BAD_HOUR = {"scheduleType": "cron", "cronExpression": "0 25 * * *"}


@pytest.mark.parametrize(
    "item, sentence",
    [
        ({**MINUTELY, "graceSeconds": -1}, "graceSeconds must be a whole number, 0 to 86400"),
        ({"intervalSecond": 60}, UNKNOWN),
        ({}, "intervalSeconds is required"),
        (BAD_HOUR, "cronExpression: hour must be 0-23"),
        ({**MINUTELY, "integrations": ["nobody"]}, "there is no integration 'nobody'"),
    ],
)
def test_the_item_that_is_wrong_is_named(site: Site, item: dict[str, Any], sentence: str) -> None:
    items = [{**HOURLY, "key": key} for key in ("first", "second", "third", "fourth")]
    items[2] = {"key": "third", **item}

    done = apply(site, monitors(*items))

    assert (done.code, done.out) == (1, "")
    assert done.err == f"cronwatch: monitors, third: {sentence}\n"
    assert site.monitors == []


@pytest.mark.parametrize(
    "item, sentence",
    [
        ({**HOOK, "channel": "pigeon"}, "channel must be command or"),
        ({**HOOK, "url": "ftp://127.0.0.1/"}, "url must be an http or https address"),
        ({**HOOK, "heders": {}}, "'heders' is not a known field (did you mean headers?)"),
        ({"channel": "webhook", "url": "http://127.0.0.1:9/"}, "name must be 1 to 200 characters"),
        ({**HOOK, "secret": "whsec_%"}, "secret must be whsec_"),
    ],
)
def test_a_wrong_integration_is_refused(site: Site, item: dict[str, Any], sentence: str) -> None:
    done = apply(site, {"integrations": [item]})

    name = item.get("name")
    assert (done.code, site.rows("SELECT * FROM integration")) == (1, [])
    assert done.err.startswith(f"cronwatch: integrations, {name}: {sentence}")


@pytest.mark.parametrize(
    "handle",
    [
        {"token": "old-handle"},
        {"code": "old-handle"},
        {"handles": [{"handle": "old-handle", "dialect": "cronping"}]},
        {"token": "short"},
        {"code": "much too long"},
        {"handles": [{"handle": "x", "dialect": "pigeon"}]},
    ],
)
def test_a_handle_that_cannot_be_is_refused(box: Site, handle: dict[str, Any]) -> None:
    before = everything(box)

    done = apply(box, monitors({"key": "new", "intervalSeconds": 60, **handle}))

    assert (done.code, done.err.startswith("cronwatch: monitors, new: ")) == (1, True)
    assert everything(box) == before


MONITOR = '"key": "a", "intervalSeconds": 60'
NTFY = '"channel": "ntfy", "name": "x", "url": "http://a/"'


ODD_FILES = [*read_table("odd_files", "What is refused in a sentence"), "[" * 100_000]


@pytest.mark.parametrize("text", ODD_FILES, ids=range(len(ODD_FILES)))
def test_an_odd_file_is_refused_in_a_sentence(site: Site, text: str) -> None:
    before = everything(site)

    done = apply(site, text.replace("MONITOR", MONITOR).replace("NTFY", NTFY))

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("cronwatch: ")
    assert "moment" not in done.err  # "… cannot be written at the moment": it can
    assert everything(site) == before


def test_a_file_may_come_from_standard_input(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(json.dumps(monitors(HOURLY)).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))

    done = call("apply", "-", "--database", str(site.database))

    assert (done.code, [row["key"] for row in site.monitors]) == (0, ["hourly"])

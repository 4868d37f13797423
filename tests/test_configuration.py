"""`cronwatch export` and `cronwatch apply`: a box as a file, all or nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Made, Site
from live_server import DIRECT, LIMIT_SECONDS, Done, Live, call, environment, serving

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


def add_integration(site: Site, *words: str) -> None:
    assert call("integration", "add", *words, "--database", str(site.database)).code == 0


def furnish(site: Site) -> Made:
    """Integrations and monitors with all that can be said of them; one that is pinged."""
    add_integration(site, "webhook", "Hook", "http://127.0.0.1:9/", "--header", "X-Room: cellar")
    add_integration(site, "slack", "Team", "https://hooks.slack.example/T0", "--not-default")
    add_integration(site, "command", "Lamp", "lamp red")
    add_integration(site, "email", "Ann", "ann@example.org", "--not-default")
    site.rows("UPDATE integration SET enabled = 0 WHERE name = 'Ann'")
    job = site.monitor(
        {"old-handle": "cronitor"},
        key="hourly",
        name="Hourly sync",
        armed=1,
        tags="db prod",
        notes="two\nlines",
        expects="complete",
        grace_seconds=60,
        max_run_seconds=600,
        failure_tolerance=2,
        reminder_interval_seconds=3600,
        min_ping_interval_seconds=5,
        email_alerts=0,
        rules='[{"field": "rows", "operator": "lt", "value": 5}]',
    )
    site.monitor(key="nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    site.monitor(key="whenever", interval_seconds=None, name="Ünïcode ✓")
    linked: list[dict[str, Any]] = [
        {**HOURLY, "integrations": ["Team", "Lamp"]},
        {"key": "whenever", "scheduleType": "none", "integrations": []},
    ]
    assert apply(site, monitors(*linked)).code == 0
    return job


@pytest.fixture
def box(make_site: Callable[..., Site]) -> Site:
    """A site with something of everything."""
    site = make_site()
    furnish(site)
    return site


# there and back


@pytest.mark.parametrize("flags", [(), ("--secrets",)])
def test_what_is_exported_makes_the_same_elsewhere(
    box: Site, site: Site, flags: tuple[str, ...]
) -> None:
    done = apply(site, export(box, *flags))

    assert (done.code, done.err) == (0, "")
    assert export(site, *flags) == export(box, *flags)


def test_every_field_of_a_monitor_is_exported(box: Site) -> None:
    shown = export(box)["monitors"][0]

    assert {field.name for field in cronwatch.MONITOR} <= set(shown)


@pytest.mark.parametrize("path", ["/{token}", "/ping/{code}", "/old-handle"])
def test_jobs_ping_another_box_by_the_handles_that_they_have(
    make_site: Callable[..., Site], site: Site, path: str
) -> None:
    box = make_site()
    job = furnish(box)
    apply(site, export(box, "--secrets"))

    answer = site.get(job.at(path))

    assert answer.status_int == 200
    assert [
        row["key"]
        for row in site.rows("SELECT key FROM ping JOIN monitor ON monitor.num = ping.monitor")
    ] == ["hourly"]


def test_no_secret_is_exported_unless_asked_for(make_site: Callable[..., Site]) -> None:
    site = make_site()
    furnish(site)
    secrets = [row["text"] for row in site.rows("SELECT text FROM handle")] + [
        secret
        for row in site.rows("SELECT config FROM integration")
        if (secret := json.loads(row["config"]).get("secret"))
    ]

    text = json.dumps(export(site))

    assert len(secrets) == 3 * 2 + 1 + 2
    assert [secret for secret in secrets if secret in text] == []


# again


@pytest.mark.parametrize("flags", [(), ("--secrets",)])
def test_nothing_changes_where_all_is_as_it_should_be(box: Site, flags: tuple[str, ...]) -> None:
    done = apply(box, export(box, *flags))

    assert (done.code, done.out, done.err) == (0, "nothing changes\n", "")


@pytest.mark.parametrize("flags", [(), ("--secrets",)])
def test_what_is_applied_again_moves_no_deadline(box: Site, flags: tuple[str, ...]) -> None:
    box.clock.now = cronwatch.system_clock()  # which a command goes by
    assert box.get("/old-handle").status_int == 200
    deadlines = "SELECT status, expected_at, counted_at, life_at, grace_at, due_at FROM monitor"
    before = box.rows(deadlines)

    apply(box, export(box, *flags))

    assert before[0]["due_at"] is not None
    assert box.rows(deadlines) == before


def test_a_changed_file_says_what_changes(box: Site) -> None:
    file = export(box)
    file["monitors"][0]["graceSeconds"] = 61

    done = apply(box, file)

    assert {line for line in done.out.splitlines() if line[:1] in "+-"} == {
        "--- now",
        "+++ then",
        '-   "graceSeconds": 60,',
        '+   "graceSeconds": 61,',
    }


def test_what_changes_is_said_without_a_secret(box: Site) -> None:
    new = {**HOURLY, "token": TOKEN, "code": "AbCd1234"}
    secrets = [row["text"] for row in box.rows("SELECT text FROM handle")]

    done = apply(box, monitors(new), "--dry-run")

    assert '"token"' in done.out
    assert [text for text in (*secrets, TOKEN, "AbCd1234") if text in done.out] == []


@pytest.mark.parametrize(
    "more",
    [{"token": TOKEN}, {"handles": [{"handle": "another", "dialect": "cronitor"}]}],
    ids=["token", "handle"],
)
def test_what_pings_anew_is_said_to(box: Site, more: dict[str, Any]) -> None:
    done = apply(box, monitors({**HOURLY, "integrations": ["Team", "Lamp"], **more}))

    assert (done.code, done.out != "nothing changes\n") == (0, True)


def test_a_token_in_a_file_takes_the_place_of_the_one_before(site: Site) -> None:
    job = site.monitor(key="hourly")

    apply(site, monitors({**HOURLY, "token": TOKEN}))

    assert (site.get(f"/{TOKEN}").status_int, site.get(f"/{job.token}").status_int) == (200, 404)


def test_what_is_not_in_the_file_is_left_as_it_is(box: Site) -> None:
    before = {row["key"]: row for row in box.monitors}

    apply(box, monitors({"key": "new", "intervalSeconds": 60}))

    after = {row["key"]: row for row in box.monitors}
    assert {**before, "new": after["new"]} == after


def test_what_an_item_does_not_say_is_left_as_it_is(box: Site) -> None:
    before = export(box)["monitors"][0]

    apply(box, monitors({"key": "hourly", "graceSeconds": 61}))

    assert export(box)["monitors"][0] == {**before, "graceSeconds": 61}


def test_an_integration_that_is_off_stays_off_where_the_file_does_not_say(box: Site) -> None:
    apply(box, {"integrations": [{"channel": "email", "name": "Ann", "address": "a@example.org"}]})

    (shown,) = (one for one in export(box)["integrations"] if one["name"] == "Ann")
    assert (shown["address"], shown["enabled"]) == ("a@example.org", False)


def test_a_monitor_that_is_paused_stays_paused(box: Site) -> None:
    assert call("monitor", "pause", "hourly", "--database", str(box.database)).code == 0

    apply(box, export(box, "--secrets"))

    assert box.monitors[0]["status"] == "paused"


# a dry run


CHANGES = {
    "integrations": [
        {**HOOK, "url": "http://127.0.0.1:7/"},
        {"channel": "ntfy", "name": "New", "url": "http://127.0.0.1:9/"},
    ],
    "monitors": [
        {**HOURLY, "graceSeconds": 61, "token": TOKEN, "integrations": ["New"]},
        {"key": "new", "intervalSeconds": 60},
    ],
}


def test_a_dry_run_changes_nothing(box: Site) -> None:
    before = everything(box)

    done = apply(box, CHANGES, "--dry-run")

    assert done.code == 0
    assert everything(box) == before


def test_a_dry_run_settles_nothing_either(box: Site) -> None:
    box.rows("UPDATE monitor SET due_at = 1, expected_at = 1, status = 'up' WHERE cron IS NULL")
    before = everything(box)

    apply(box, CHANGES, "--dry-run")

    assert everything(box) == before


def test_a_dry_run_says_what_would_change(box: Site) -> None:
    changes = {
        "integrations": [{**HOOK, "url": "http://127.0.0.1:7/"}],
        **monitors({**HOURLY, "graceSeconds": 61, "token": TOKEN, "integrations": ["Hook"]}),
    }

    tried = apply(box, changes, "--dry-run")

    assert '+   "graceSeconds": 61,' in tried.out.splitlines()
    assert tried == apply(box, changes)


def test_a_dry_run_is_refused_as_the_real_one_would_be(box: Site) -> None:
    wrong = monitors({**HOURLY, "graceSeconds": -1})

    tried = apply(box, wrong, "--dry-run")

    assert (tried.code, tried.err) == (1, apply(box, wrong).err)


# who is told


def test_a_monitor_names_who_hears_of_it(site: Site) -> None:
    add_integration(site, "ntfy", "me", "http://127.0.0.1:9/", "--not-default")

    apply(site, monitors({**HOURLY, "integrations": ["me"]}))

    assert site.rows(
        "SELECT i.name FROM monitor_integration JOIN integration i ON i.num = integration"
    ) == [{"name": "me"}]


def test_a_monitor_may_name_what_is_made_by_the_same_file(site: Site) -> None:
    done = apply(
        site, {"monitors": [{**HOURLY, "integrations": ["Hook"]}], "integrations": [HOOK]}
    )

    assert (done.code, export(site)["monitors"][0]["integrations"]) == (0, ["Hook"])


def test_a_monitor_without_names_has_all_the_default_ones(site: Site) -> None:
    apply(site, {"integrations": [HOOK], "monitors": [HOURLY]})

    assert export(site)["monitors"][0]["integrations"] is None


def test_a_name_that_nobody_has_is_refused(site: Site) -> None:
    done = apply(site, monitors({**HOURLY, "integrations": ["nobody"]}))

    assert (done.code, done.err) == (
        1,
        "cronwatch: monitors, hourly: there is no integration 'nobody'\n",
    )


def test_a_command_may_come_from_a_file_for_that_is_on_the_server(site: Site) -> None:
    done = apply(
        site, {"integrations": [{"channel": "command", "name": "Lamp", "command": "lamp red"}]}
    )

    assert (done.code, json.loads(site.rows("SELECT config FROM integration")[0]["config"])) == (
        0,
        {"command": "lamp red"},
    )


def test_a_command_may_be_changed_by_a_file(box: Site) -> None:
    apply(box, {"integrations": [{"channel": "command", "name": "Lamp", "command": "lamp blue"}]})

    (shown,) = (one for one in export(box)["integrations"] if one["name"] == "Lamp")
    assert shown["command"] == "lamp blue"


# refused


WRONG: dict[str, dict[str, Any]] = {
    "monitors, third: graceSeconds must be a whole number, 0 to 86400": {
        "intervalSeconds": 60,
        "graceSeconds": -1,
    },
    "monitors, third: 'intervalSecond' is not a known field (did you mean intervalSeconds?)": {
        "intervalSecond": 60
    },
    "monitors, third: intervalSeconds is required": {},
    "monitors, third: cronExpression: hour must be 0-23": {
        "scheduleType": "cron",
        "cronExpression": "0 25 * * *",
    },
    "monitors, third: there is no integration 'nobody'": {
        "intervalSeconds": 60,
        "integrations": ["nobody"],
    },
}


@pytest.mark.parametrize("sentence", WRONG)
def test_the_item_that_is_wrong_is_named(site: Site, sentence: str) -> None:
    done = apply(
        site,
        monitors(
            {**HOURLY, "key": "first"},
            {**HOURLY, "key": "second"},
            {"key": "third", **WRONG[sentence]},
            {**HOURLY, "key": "fourth"},
        ),
    )

    assert (done.code, done.out, done.err) == (1, "", f"cronwatch: {sentence}\n")


@pytest.mark.parametrize("sentence", WRONG)
def test_nothing_is_changed_where_one_item_is_wrong(box: Site, sentence: str) -> None:
    before = everything(box)

    apply(
        box,
        {
            "integrations": [{**HOOK, "url": "http://127.0.0.1:7/"}],
            "monitors": [
                {"key": "new", "intervalSeconds": 60},
                {"key": "third", **WRONG[sentence]},
            ],
        },
    )

    assert everything(box) == before


@pytest.mark.parametrize(
    "item, sentence",
    [
        ({**HOOK, "channel": "pigeon"}, "channel must be one of"),
        ({**HOOK, "url": "ftp://127.0.0.1/"}, "url must be an http or https address"),
        ({**HOOK, "adress": "x"}, "'adress' is not a known field (did you mean address?)"),
        ({"channel": "webhook", "url": "http://127.0.0.1:9/"}, "name must be 1 to 200 characters"),
    ],
)
def test_a_wrong_integration_is_refused(site: Site, item: dict[str, Any], sentence: str) -> None:
    done = apply(site, {"integrations": [item]})

    name = item.get("name")
    assert (done.code, site.rows("SELECT * FROM integration")) == (1, [])
    assert done.err.startswith(f"cronwatch: integrations, {name}: {sentence}")


def test_the_channel_of_an_integration_stays(box: Site) -> None:
    done = apply(box, {"integrations": [{**HOOK, "channel": "slack"}]})

    assert (done.code, done.err) == (
        1,
        "cronwatch: integrations, Hook: its channel cannot be changed: give the new one "
        "another name\n",
    )


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


ODD = [
    "",
    "nonsense",
    "[]",
    "5",
    "null",
    '"monitors"',
    "[" * 100_000,
    '{"monitors": 5}',
    '{"monitors": "abc"}',
    '{"monitors": {"a": {}}}',
    '{"monitors": [5]}',
    '{"monitors": [null]}',
    '{"monitors": [[]]}',
    '{"integrations": [7]}',
    '{"integrations": 7}',
    '{"monitor": []}',
]
ODD_MONITORS = [
    '"integrations": 5',
    '"integrations": "Hook"',
    '"integrations": [5]',
    '"handles": 5',
    '"handles": [5]',
    '"handles": [{"dialect": "cronping"}]',
    '"handles": [{"handle": 5, "dialect": "cronping"}]',
    '"token": 5',
    '"token": []',
    '"token": null',
    '"code": {}',
    '"graceSeconds": NaN',
    '"graceSeconds": 1e999',
    '"key": ["a"]',
    '"key": 5',
    '"key": ""',
]
ODD_INTEGRATIONS = [
    '"name": ["x"]',
    '"name": 5',
    '"secret": 5',
    '"secret": "whsec_%"',
    f'"secret": "whsec_{"A" * 21}"',
    '"enabled": "yes"',
    '"channel": ["y"]',
    '"headers": 5',
]


@pytest.mark.parametrize(
    "text",
    [
        *ODD,
        *(
            f'{{"monitors": [{{"key": "a", "intervalSeconds": 60, {odd}}}]}}'
            for odd in ODD_MONITORS
        ),
        *(
            f'{{"integrations": [{{"channel": "ntfy", "name": "x", "url": "http://a/", {odd}}}]}}'
            for odd in ODD_INTEGRATIONS
        ),
    ],
    ids=lambda text: text[:90],
)
def test_an_odd_file_is_refused_in_a_sentence(site: Site, text: str) -> None:
    before = everything(site)

    done = apply(site, text)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("cronwatch: ")
    assert "moment" not in done.err  # "… cannot be written at the moment": it can
    assert everything(site) == before


def test_half_a_character_is_replaced(site: Site) -> None:
    done = apply(site, '{"monitors": [{"key": "a", "intervalSeconds": 60, "name": "\\ud800"}]}')

    assert (done.code, site.monitors[0]["name"]) == (0, "?")


def test_a_file_that_is_not_there_is_refused(site: Site) -> None:
    done = call("apply", "nowhere.json", "--database", str(site.database))

    assert (done.code, done.err.startswith("cronwatch: cannot read nowhere.json: ")) == (1, True)


def test_a_file_may_come_from_standard_input(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(json.dumps(monitors(HOURLY)).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))

    done = call("apply", "-", "--database", str(site.database))

    assert (done.code, [row["key"] for row in site.monitors]) == (0, ["hourly"])


# killed, and while the server runs


DYING = """
import itertools, signal, sys, cronwatch
turns, apply = itertools.count(1), cronwatch._apply_monitor

def apply_for_ever(*given):
    apply(*given)
    if next(turns) == 2:
        print("applied, not committed", flush=True)
        signal.pause()

cronwatch._apply_monitor = apply_for_ever
cronwatch.main(["apply", sys.argv[1], "--database", sys.argv[2]])
"""
THREE = {
    "integrations": [{**HOOK, "name": "New"}],
    "monitors": [{**HOURLY, "key": key} for key in ("one", "two", "three")],
}


def die_after_the_second(site: Site, file: Path) -> None:
    """Apply three monitors in a process that is killed after the second."""
    file.write_text(json.dumps(THREE))
    with subprocess.Popen(
        [sys.executable, "-c", DYING, str(file), str(site.database)],
        text=True,
        env=environment(),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "applied, not committed\n"
        finally:
            process.kill()
            assert process.wait(LIMIT_SECONDS) == -9


def test_one_that_is_killed_has_done_nothing(box: Site, tmp_path: Path) -> None:
    before = everything(box)

    die_after_the_second(box, tmp_path / "box.json")

    assert everything(box) == before


def test_the_next_one_works_where_one_was_killed(site: Site, tmp_path: Path) -> None:
    die_after_the_second(site, tmp_path / "box.json")

    done = apply(site, THREE)

    assert (done.code, [row["key"] for row in site.monitors]) == (0, ["one", "two", "three"])


def status(live: Live, token: str) -> int:
    try:
        with closing(DIRECT.open(f"{live.url}/{token}", timeout=LIMIT_SECONDS)) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.slow
def test_a_server_that_runs_takes_the_new_token_and_not_the_old_one(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        old = live.add("hourly")["token"]
        assert status(live, old) == 200
        (tmp_path / "box.json").write_text(json.dumps(monitors({**HOURLY, "token": TOKEN})))

        live.quick("apply", str(tmp_path / "box.json"))

        assert (status(live, TOKEN), status(live, old)) == (200, 404)

"""The page to hang on the wall: who asks for it shows no credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import NOW, Site

import cronwatch

PAGE = f"{cronwatch.API}/status/wall"


@pytest.fixture
def wall(make_site: Callable[..., Site]) -> Site:
    return make_site(status_tag="wall")


def names(site: Site) -> list[str]:
    return [monitor["name"] for monitor in site.get(PAGE).json["monitors"]]


def test_anybody_sees_how_the_monitors_with_the_tag_do(wall: Site) -> None:
    wall.monitor(name="Backup", tags="wall prod")
    broken = wall.monitor(name="Import", tags="wall")
    wall.get(f"/{broken.token}/fail")

    answer = wall.get(PAGE)

    states = {one["name"]: one["state"] for one in answer.json["monitors"]}
    assert (answer.json["tag"], answer.json["at"]) == ("wall", cronwatch.iso(NOW))
    assert states == {"Backup": "new", "Import": "down"}


@pytest.mark.parametrize("settings", [{}, {"status_tag": "other"}])
@pytest.mark.parametrize("path", [PAGE, "/status/wall", "/status/"])
def test_no_other_tag_has_a_page(
    make_site: Callable[..., Site], settings: dict[str, str], path: str
) -> None:
    site = make_site(**settings)
    site.monitor(tags="wall")

    assert site.get(path).status_int == 404


def test_it_is_made_at_most_once_a_second(wall: Site) -> None:
    before = names(wall)
    wall.monitor(name="Backup", tags="wall")
    wall.clock.move(0.999)
    meanwhile = names(wall)
    wall.clock.move(0.001)

    assert (before, meanwhile, names(wall)) == ([], [], ["Backup"])


def test_it_is_at_most_64_kb(wall: Site) -> None:
    for n in range(100):
        wall.monitor(name=f"{n:03}" + "\U0001f525" * 197, tags="wall")

    answer = wall.get(PAGE)

    assert 60_000 < len(answer.body) <= 65_536
    assert answer.json["monitors"][0]["name"].startswith("000")


@pytest.mark.parametrize(
    "path, name", [("/status/wall", "status.html"), ("/manifest.json", "manifest.json")]
)
def test_a_file_is_served_where_it_is(wall: Site, path: str, name: str) -> None:
    assert wall.get(path).body == (cronwatch.DATA / "static" / name).read_bytes()


def test_only_these_routes_ask_nobody_who_they_are(site: Site) -> None:
    public = {
        (route.method, route.rule)
        for route in site.server.app.routes
        if route.config.get("permission") is None and route.method != "OPTIONS"
    }

    assert public == {
        ("GET", "/"),
        ("GET", "/static/<name:path>"),
        ("GET", "/cronwatch-exec"),
        ("GET", "/manifest.json"),
        ("GET", "/healthz"),
        ("GET", "/status/<tag>"),
        ("GET", f"{cronwatch.API}/status/<id>"),
        ("GET", "/api/status-page/<id>"),
        ("GET", "/api/status-page/heartbeat/<id>"),
        ("GET", f"{cronwatch.VERSIONS}/status"),
        ("GET", "/b/<version:re:[23]>/<id>.<run:re:svg|json|shields>"),
        ("POST", f"{cronwatch.API}/session"),
        ("POST", "/api/sync"),
        ("POST", "/api/<project:re:[0-9]{1,20}>/envelope"),
        ("ANY", cronwatch.LAST_RULE),
    }

"""What Prometheus, a load balancer and systemd ask: /metrics, /healthz, sd_notify."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Made, Site
from live_server import LIMIT_SECONDS, Live, serving, wait_for
from prometheus_client.parser import text_string_to_metric_families
from trouble import Watch, add, failed

import cronwatch

KEY = "cw_prometheus"


@pytest.fixture
def watched(site: Site) -> Site:
    """A site that a read-only key may ask."""
    site.api_key("read-only", KEY)
    return site


def scrape(site: Site) -> dict[tuple[str, ...], float]:
    """The samples by their names and the values of their labels."""
    answer = site.get("/metrics", Authorization=f"Bearer {KEY}")
    assert answer.status_int == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def pinged(site: Site) -> Made:
    """A monitor that was pinged once."""
    job = site.monitor(key="job")
    assert site.get(f"/{job.token}").status_int == 200
    return job


# who may ask


def test_metrics_come_as_a_version_of_the_text_format(watched: Site) -> None:
    answer = watched.get("/metrics", Authorization=f"Bearer {KEY}")

    assert answer.headers["Content-Type"].startswith("text/plain; version=")


def test_metrics_name_no_secret(watched: Site) -> None:
    job = pinged(watched)

    text = watched.get("/metrics", Authorization=f"Bearer {KEY}").text

    assert [secret for secret in (job.token, job.code, KEY) if secret in text] == []


# what they say


@pytest.mark.parametrize("status, count", [("new", 1), ("up", 1), ("down", 2), ("paused", 0)])
def test_monitors_are_counted_by_status(watched: Site, status: str, count: int) -> None:
    watched.monitor(key="new")
    watched.get(f"/{watched.monitor(key='up').token}")
    for key in ("one", "two"):
        watched.get(f"/{watched.monitor(key=key).token}/fail")

    assert scrape(watched)["cronwatch_monitors", status] == count


def test_a_monitor_has_the_status_that_it_has_and_no_other(watched: Site) -> None:
    watched.get(f"/{watched.monitor(key='job').token}/fail")

    found = scrape(watched)

    assert {
        status: found["cronwatch_monitor_status", "job", status] for status in cronwatch.STATUSES
    } == {"new": 0, "up": 0, "down": 1, "paused": 0}


def test_a_monitor_tells_when_it_was_last_heard_of(watched: Site) -> None:
    pinged(watched)

    found = scrape(watched)["cronwatch_monitor_last_ping_timestamp_seconds", "job"]

    assert found == watched.clock.now / 1000


def test_a_monitor_that_was_never_heard_of_tells_nothing_of_it(watched: Site) -> None:
    watched.monitor(key="job")

    assert ("cronwatch_monitor_last_ping_timestamp_seconds", "job") not in scrape(watched)


def test_a_monitor_tells_how_long_its_last_run_took(watched: Site) -> None:
    job = watched.monitor(key="job")
    for seconds in (90, 12.5):
        watched.get(f"/{job.token}/start")
        watched.clock.move(seconds)
        watched.get(f"/{job.token}")
    watched.get(f"/{job.token}/start")

    assert scrape(watched)["cronwatch_monitor_last_duration_seconds", "job"] == 12.5


@pytest.mark.parametrize(
    "path, dialect",
    [
        ("/{token}", "cronping"),
        ("/ping/{code}", "cronbeats"),
        ("/{code}/run", "cronitor"),
        ("/ping/{token}", "healthchecks"),
        ("/api/push/{token}", "kuma"),
    ],
)
def test_pings_are_counted_by_dialect(watched: Site, path: str, dialect: str) -> None:
    job = watched.monitor(key="job")
    for _ in range(3):
        watched.get(job.at(path))

    found = scrape(watched)

    counted = {name: found["cronwatch_pings_total", name] for name in cronwatch.DIALECTS}
    assert {name: count for name, count in counted.items() if count} == {dialect: 3}


def test_runs_are_counted_by_how_they_ended(watched: Site) -> None:
    job = watched.monitor(key="job")
    for end in ("?rid=a", "/log?rid=a", "", "/fail", "/start"):
        watched.get(f"/{job.token}{end}")

    found = scrape(watched)

    assert [found["cronwatch_runs_total", state] for state in ("success", "failed")] == [2, 1]


@pytest.mark.parametrize(
    "path", ["/00000000-0000-4000-8000-000000000000", "/ping/unknown", "/{code}/p/2"]
)
def test_what_is_recorded_nowhere_is_no_ping(watched: Site, path: str) -> None:
    job = watched.monitor(key="job")

    watched.get(job.at(path))

    assert (
        sum(
            value
            for (name, *_), value in scrape(watched).items()
            if name == "cronwatch_pings_total"
        )
        == 0
    )


def test_a_ping_that_is_dropped_is_no_ping(make_site: Callable[..., Site]) -> None:
    site = make_site(authenticate_pings=True)
    site.api_key("read-only", KEY)
    job = site.monitor(key="job")

    assert site.get(f"/{job.code}/run").status_int == 200

    assert (scrape(site)["cronwatch_pings_total", "cronitor"], site.pings) == (0, [])


def test_a_ping_that_is_not_on_disk_is_not_counted(watched: Site) -> None:
    job = watched.monitor(key="job")
    watched.rows("ALTER TABLE ping RENAME TO elsewhere")

    assert watched.get(f"/{job.token}").status_int == 503

    assert scrape(watched)["cronwatch_pings_total", "cronping"] == 0


def test_tries_to_send_are_counted(watched: Site) -> None:
    add(watched, "ntfy", "http://127.0.0.1:9/nobody", "me")
    failed(watched, key="job")

    watched.server.deliver()

    assert scrape(watched)["cronwatch_alert_tries_total", "failed"] == 1


@pytest.mark.parametrize("result", ["sent", "failed"])
def test_tries_to_send_are_counted_from_0_on(watched: Site, result: str) -> None:
    assert scrape(watched)["cronwatch_alert_tries_total", result] == 0


@pytest.mark.parametrize(
    "after_seconds, state, count",
    [(0, "pending", 1), (0, "overdue", 0), (100, "overdue", 1), (0, "dead", 0)],
)
def test_what_waits_to_be_sent_is_counted(
    watched: Site, after_seconds: float, state: str, count: int
) -> None:
    add(watched, "ntfy", "http://127.0.0.1:9/nobody", "me")
    failed(watched, key="job")
    watched.clock.move(after_seconds)

    assert scrape(watched)["cronwatch_alerts", state] == count


def test_the_size_of_the_database_is_told(watched: Site) -> None:
    (size,) = watched.rows("PRAGMA page_count")

    assert scrape(watched)["cronwatch_database_bytes",] == 4096 * size["page_count"]


def test_changes_that_share_a_commit_are_counted(watched: Site) -> None:
    before = scrape(watched)["cronwatch_batch_size_count",]
    pinged(watched)  # a monitor, and a ping

    found = scrape(watched)

    assert found["cronwatch_batch_size_count",] == before + 2
    assert found["cronwatch_batch_size_bucket", "1.0"] == found["cronwatch_batch_size_count",]


def test_the_age_of_the_last_look_is_told(watched: Site) -> None:
    watch = Watch(watched)
    watched.server.metrics.scanner = watch.scanner
    watch.look()
    watched.clock.move(7)

    assert scrape(watched)["cronwatch_scan_age_seconds",] == 7


def test_a_thousand_monitors_have_series_of_their_own_and_no_more(watched: Site) -> None:
    watched.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) "
        "INSERT INTO monitor (id, key, name, created_at, updated_at) "
        "SELECT 'id' || i, 'key' || i, 'name', 0, 0 FROM n"
    )

    found = scrape(watched)

    named = {labels[0] for name, *labels in found if name == "cronwatch_monitor_status"}
    assert (len(named), found["cronwatch_monitors", "new"]) == (1000, 1001)


@pytest.mark.parametrize("key", ['a "quoted" one', "back\\slash", "Ünïcode ✓", 'a{b="c"}', "#"])
def test_a_key_of_any_text_can_be_read_back(watched: Site, key: str) -> None:
    watched.monitor(key=key)

    assert ("cronwatch_monitor_status", key, "new") in scrape(watched)


def test_a_thousand_monitors_cost_as_many_queries_as_one(watched: Site) -> None:
    asked: list[str] = []

    def count() -> int:
        asked.clear()
        watched.server.read(trace)
        return len(asked)

    def trace(tx: cronwatch.Transaction) -> None:
        tx.db.set_trace_callback(asked.append)
        cronwatch.measure(tx)

    watched.monitor(key="one")
    once = count()
    for number in range(20):
        watched.monitor(key=f"more {number}")

    assert count() == once


# health


def health(site: Site) -> tuple[int, list[str]]:
    answer = site.get("/healthz")
    assert answer.json["ok"] is (answer.status_int == 200)
    return answer.status_int, answer.json["troubles"]


@pytest.fixture
def watch(site: Site) -> Watch:
    """A site whose scan loop is cranked by hand."""
    watch = Watch(site)
    site.server.scanner = watch.scanner
    return watch


def test_all_is_well_while_it_looks(watch: Watch) -> None:
    watch.look()

    assert health(watch.site) == (200, [])


def test_a_scanner_that_does_not_look_is_no_health(watch: Watch) -> None:
    watch.look()
    watch.site.clock.move(66)

    assert health(watch.site) == (503, ["the scanner is stuck"])


def test_the_status_of_healthchecks_is_not_ok_then(watch: Watch) -> None:
    watch.look()
    before = watch.site.get("/api/v1/status/")
    watch.site.clock.move(66)

    answer = watch.site.get("/api/v1/status/")

    assert (before.text, answer.json) == ("OK", {"error": "the scanner is stuck"})
    assert answer.status_int == 503


def test_a_scan_that_comes_a_little_late_is_no_trouble(watch: Watch) -> None:
    watch.look()
    watch.site.clock.move(64)

    assert health(watch.site) == (200, [])


def block(site: Site) -> None:
    """Let nothing be written from now on: what a scan and a ping change is no table any more."""
    site.rows("ALTER TABLE meta RENAME TO elsewhere")


def unblock(site: Site) -> None:
    site.rows("ALTER TABLE elsewhere RENAME TO meta")


def stamp(site: Site) -> None:
    with suppress(cronwatch.Refused):
        site.server.act(cronwatch.stamp_alive)


def test_a_disk_that_takes_nothing_is_no_health(watch: Watch) -> None:
    watch.look()
    block(watch.site)

    stamp(watch.site)

    assert health(watch.site) == (503, ["nothing can be written"])


def test_a_look_in_vain_does_not_make_it_well(watch: Watch) -> None:
    watch.look()
    block(watch.site)
    stamp(watch.site)

    watch.look()

    assert health(watch.site) == (503, ["nothing can be written"])


def test_while_it_is_tried_again_it_is_not_well(watch: Watch) -> None:
    watch.look()
    block(watch.site)
    stamp(watch.site)
    seen: list[tuple[int, list[str]]] = []
    away = watch.scanner.away

    def look_aside(since: int, until: int) -> None:
        seen.append(health(watch.site))
        away(since, until)

    watch.scanner.away = look_aside

    watch.look()

    assert seen == [(503, ["nothing can be written"])]


def test_once_there_is_room_all_is_well(watch: Watch) -> None:
    watch.look()
    block(watch.site)
    stamp(watch.site)
    unblock(watch.site)

    watch.look()

    assert health(watch.site) == (200, [])


# systemd


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.peer.bind(address.replace("@", "\0", 1))
        self.peer.settimeout(0.01)
        self.said: list[str] = []

    def hear(self) -> list[str]:
        """All that was said until now."""
        with suppress(TimeoutError):
            while True:
                self.said.append(self.peer.recv(4096).decode())
        return self.said


@pytest.fixture(params=["file", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    """A manager that hears what this process says, or one that it starts."""
    address = {"file": str(tmp_path / "notify"), "abstract": f"@cronwatch-{os.getpid()}"}
    monkeypatch.setenv("NOTIFY_SOCKET", address[request.param])
    found = Manager(address[request.param])
    yield found
    found.peer.close()


@pytest.mark.slow
def test_systemd_is_told_that_it_is_ready_lives_and_stops(
    tmp_path: Path, manager: Manager
) -> None:
    with serving(tmp_path, "--scan-seconds", "0.2") as live:
        wait_for(lambda: manager.hear().count("WATCHDOG=1") >= 3, "three looks")
        live.stop()

    said = manager.hear()
    assert (said[0], said[-1], {*said[1:-1]}) == ("READY=1", "STOPPING=1", {"WATCHDOG=1"})


@pytest.mark.slow
def test_once_it_is_ready_it_answers(tmp_path: Path, manager: Manager) -> None:
    with serving(tmp_path) as live:
        assert manager.hear()[:1] == ["READY=1"]
        assert answers(live)


def answers(live: Live) -> bool:
    host, _, port = live.url.partition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), LIMIT_SECONDS):
        return True


def test_each_look_tells_that_it_lives(site: Site, manager: Manager) -> None:
    watch = Watch(site)

    watch.look()
    watch.look()

    assert manager.hear() == ["WATCHDOG=1"] * 2


def test_a_disk_that_takes_nothing_is_no_reason_to_be_killed(site: Site, manager: Manager) -> None:
    watch = Watch(site)
    block(site)
    stamp(site)

    watch.look()

    assert manager.hear() == ["WATCHDOG=1"]


def test_a_manager_that_is_gone_is_no_trouble(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    watch = Watch(site)

    watch.scanner.look()

    assert watch.scanner.last_at == site.clock.now

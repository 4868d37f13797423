"""What Prometheus, a load balancer and systemd ask: /metrics, /healthz, sd_notify."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import NOBODY, Site
from live_server import serving, wait_for
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
    """Our samples by their names without `cronwatch_` and the values of their labels."""
    answer = site.get("/metrics", Authorization=f"Bearer {KEY}")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("cronwatch_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name.startswith("cronwatch_")
    }


# what they say


def test_metrics_name_no_secret(watched: Site) -> None:
    job = failed(watched)

    text = watched.get("/metrics", Authorization=f"Bearer {KEY}").text

    assert [secret for secret in (job.token, job.code, KEY) if secret in text] == []


def test_a_monitor_has_the_status_that_it_has_and_no_other(watched: Site) -> None:
    watched.monitor(key="new")
    watched.get(f"/{watched.monitor(key='up').token}")
    for key in ("one", "two"):
        failed(watched, key=key)

    samples = scrape(watched)

    counts = {"new": 1, "up": 1, "down": 2, "paused": 0}
    assert {name: samples["monitors", name] for name in cronwatch.STATUSES} == counts
    one = {name: samples["monitor_status", "one", name] for name in cronwatch.STATUSES}
    assert one == {"new": 0, "up": 0, "down": 1, "paused": 0}


def test_a_monitor_tells_when_it_was_last_heard_of(watched: Site) -> None:
    watched.monitor(key="never")
    watched.get(f"/{watched.monitor(key='job').token}")

    samples = scrape(watched)

    name = "monitor_last_ping_timestamp_seconds"
    assert samples[name, "job"] == watched.clock.now / 1000
    assert (name, "never") not in samples


def test_a_monitor_tells_how_long_its_last_run_took(watched: Site) -> None:
    job = watched.monitor(key="job")
    for seconds in (90, 12.5):
        watched.get(f"/{job.token}/start")
        watched.clock.move(seconds)
        watched.get(f"/{job.token}")
    watched.get(f"/{job.token}/start")

    assert scrape(watched)["monitor_last_duration_seconds", "job"] == 12.5


@pytest.mark.parametrize(
    "path, dialect",
    [
        ("/{token}", "cronping"),
        ("/ping/{code}", "cronbeats"),
        ("/{code}/run", "cronitor"),
        ("/ping/{token}", "healthchecks"),
        ("/api/push/{token}", "kuma"),
        ("/00000000-0000-4000-8000-000000000000", ""),  # what is recorded nowhere is no ping
        ("/ping/unknown", ""),
        ("/{code}/p/2", ""),
    ],
)
def test_pings_are_counted_by_dialect(watched: Site, path: str, dialect: str) -> None:
    job = watched.monitor(key="job")
    for _ in range(3):
        watched.get(job.at(path))

    samples = scrape(watched)

    for name in cronwatch.DIALECTS:
        assert samples["pings_total", name] == (3 if name == dialect else 0)


def test_runs_are_counted_by_how_they_ended(watched: Site) -> None:
    job = watched.monitor(key="job")
    for end in ("?rid=a", "/log?rid=a", "", "/fail", "/start"):
        watched.get(f"/{job.token}{end}")

    samples = scrape(watched)

    assert [samples["runs_total", state] for state in ("success", "failed")] == [2, 1]


def test_a_ping_that_is_dropped_is_no_ping(make_site: Callable[..., Site]) -> None:
    site = make_site(authenticate_pings=True)
    site.api_key("read-only", KEY)
    job = site.monitor(key="job")

    assert site.get(f"/{job.code}/run").status_int == 200

    assert scrape(site)["pings_total", "cronitor"] == 0


def test_a_ping_that_is_not_on_disk_is_not_counted(watched: Site) -> None:
    job = watched.monitor(key="job")
    watched.rows("ALTER TABLE ping RENAME TO elsewhere")

    assert watched.get(f"/{job.token}").status_int == 503

    assert scrape(watched)["pings_total", "cronping"] == 0


def test_alerts_are_counted_and_tries_to_send_them_from_0_on(watched: Site) -> None:
    def count() -> list[float]:
        samples = scrape(watched)
        states = [("alerts", state) for state in ("pending", "overdue", "dead")]
        tries = [("alert_tries_total", result) for result in ("sent", "failed")]
        return [samples[name] for name in (*states, *tries)]

    add(watched, "ntfy", NOBODY, "me")
    failed(watched)
    counts = [count()]
    watched.clock.move(100)
    counts.append(count())
    watched.server.deliver()
    counts.append(count())

    assert counts == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 1]]


def test_the_size_of_the_database_is_told(watched: Site) -> None:
    (size,) = watched.rows("PRAGMA page_count")

    assert scrape(watched)["database_bytes",] == 4096 * size["page_count"]


def test_changes_that_share_a_commit_are_counted(watched: Site) -> None:
    before = scrape(watched)["batch_size_count",]
    failed(watched)  # a monitor, and a ping

    samples = scrape(watched)

    assert samples["batch_size_count",] == before + 2
    assert samples["batch_size_bucket", "1.0"] == samples["batch_size_count",]


def test_the_age_of_the_last_look_is_told(watched: Site) -> None:
    watch = Watch(watched)
    watched.server.metrics.scanner = watch.scanner
    watch.look()
    watched.clock.move(7)

    assert scrape(watched)["scan_age_seconds",] == 7


def test_a_thousand_monitors_have_series_of_their_own_and_no_more(watched: Site) -> None:
    watched.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) "
        "INSERT INTO monitor (id, key, name, created_at, updated_at) "
        "SELECT 'id' || i, 'key' || i, 'name', 0, 0 FROM n"
    )

    samples = scrape(watched)

    named = {labels[0] for name, *labels in samples if name == "monitor_status"}
    assert (len(named), samples["monitors", "new"]) == (1000, 1001)


@pytest.mark.parametrize("key", ['a "quoted" one', "back\\slash", "Ünïcode ✓", 'a{b="c"}', "#"])
def test_a_key_of_any_text_can_be_read_back(watched: Site, key: str) -> None:
    watched.monitor(key=key)

    assert ("monitor_status", key, "new") in scrape(watched)


def test_a_thousand_monitors_cost_as_many_queries_as_one(watched: Site) -> None:
    asked: list[str] = []

    def trace(tx: cronwatch.Transaction) -> None:
        tx.db.set_trace_callback(asked.append)
        cronwatch.measure(tx)

    def count() -> int:
        asked.clear()
        watched.server.read(trace)
        return sum(sql.lstrip().startswith("SELECT") for sql in asked)

    watched.monitor(key="one")
    once = count()
    for number in range(20):
        watched.monitor(key=f"more {number}")

    assert count() == once


# health


def health(site: Site) -> list[str]:
    """The troubles that are told."""
    answer = site.get("/healthz")
    troubles: list[str] = answer.json["troubles"]
    assert (answer.status_int, answer.json["ok"]) == ((503, False) if troubles else (200, True))
    return troubles


@pytest.fixture
def watch(site: Site) -> Watch:
    """A site whose scan loop is cranked by hand, after its first look."""
    watch = Watch(site)
    site.server.scanner = watch.scanner
    watch.look()
    return watch


@pytest.mark.parametrize(
    "seconds, troubles", [(0, []), (64, []), (66, ["the scanner is stuck"])], ids=str
)
def test_a_scanner_that_does_not_look_is_no_health(
    watch: Watch, seconds: float, troubles: list[str]
) -> None:
    watch.site.clock.move(seconds)

    assert health(watch.site) == troubles


def test_the_status_of_healthchecks_is_not_ok_then(watch: Watch) -> None:
    watch.site.clock.move(66)

    answer = watch.site.get("/api/v1/status/")

    assert (answer.status_int, answer.json) == (503, {"error": "the scanner is stuck"})


FULL = ["nothing can be written"]


def block(site: Site) -> None:
    """Nothing can be written from now on, as is found out: what a scan and a ping change is no
    table any more."""
    site.rows("ALTER TABLE meta RENAME TO elsewhere")
    with suppress(cronwatch.Refused):
        site.server.act(cronwatch.stamp_alive)


def test_a_disk_that_takes_nothing_is_no_health_until_there_is_room(watch: Watch) -> None:
    block(watch.site)
    troubles = [health(watch.site)]
    away = watch.scanner.away

    def look_aside(since: int, until: int) -> None:
        troubles.append(health(watch.site))
        away(since, until)

    watch.scanner.away = look_aside  # while it is tried again
    watch.look()
    troubles.append(health(watch.site))
    watch.scanner.away = away
    watch.site.rows("ALTER TABLE elsewhere RENAME TO meta")
    watch.look()

    assert (troubles, health(watch.site)) == ([FULL] * 3, [])


# systemd


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.peer.bind(address.replace("@", "\0", 1))
        self.peer.settimeout(0.01)
        self.messages: list[str] = []

    def hear(self) -> list[str]:
        """All that came until now."""
        with suppress(TimeoutError):
            while True:
                self.messages.append(self.peer.recv(4096).decode())
        return self.messages


@pytest.fixture(params=["file", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    """A manager that hears what this process says, or one that it starts."""
    address = {"file": str(tmp_path / "notify"), "abstract": f"@cronwatch-{os.getpid()}"}
    monkeypatch.setenv("NOTIFY_SOCKET", address[request.param])
    manager = Manager(address[request.param])
    yield manager
    manager.peer.close()


@pytest.mark.slow
def test_systemd_is_told_that_it_is_ready_lives_and_stops(
    tmp_path: Path, manager: Manager
) -> None:
    with serving(tmp_path, "--scan-seconds", "0.2") as live:
        assert manager.hear()[:1] == ["READY=1"]
        assert live.ask("GET", "/health").status == 200  # once it is ready it answers
        wait_for(lambda: manager.hear().count("WATCHDOG=1") >= 3, "three looks")
        live.stop()

    first, *looks, last = manager.hear()
    assert (first, set(looks), last) == ("READY=1", {"WATCHDOG=1"}, "STOPPING=1")


@pytest.mark.parametrize("is_full", [False, True])
def test_each_look_tells_that_it_lives_even_in_vain(
    site: Site, manager: Manager, is_full: bool
) -> None:
    watch = Watch(site)
    if is_full:
        block(site)

    watch.look()
    watch.look()

    assert manager.hear() == ["WATCHDOG=1"] * 2


def test_a_manager_that_is_gone_is_no_trouble(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    watch = Watch(site)

    watch.scanner.look()

    assert watch.scanner.last_at == site.clock.now

"""What reads Uptime Kuma reads cronwatch; transcripts/kuma.http has its pushes and status page."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Site
from live_server import serving
from prometheus_client.parser import text_string_to_metric_families

import cronwatch


def gauges(site: Site, name: str) -> dict[str, float]:
    """A gauge of Uptime Kuma by the name of the monitor, and by the window where it has one."""
    password = base64.b64encode(f":{site.api_key('read-only')}".encode()).decode()
    text = site.get("/metrics", Authorization=f"Basic {password}").text
    return {
        sample.labels["monitor_name"] + sample.labels.get("window", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_a_gauge_has_all_labels_that_readers_ask_for(site: Site, api_key: str) -> None:
    job = site.monitor(name="Backup")

    text = site.get("/metrics", X_Api_Key=api_key).text

    assert (
        f'monitor_status{{monitor_hostname="null",monitor_id="{job.num}",monitor_name="Backup",'
        'monitor_port="null",monitor_type="push",monitor_url="null"} 2.0' in text
    )
    assert 'app_version{major="2",minor="5",patch="3",version="2.5.3"} 1.0' in text


def test_each_state_is_the_status_that_uptime_kuma_has_for_it(site: Site) -> None:
    names = ("up", "down", "late", "running", "new", "paused")
    jobs = {name: site.monitor(name=name, interval_seconds=60) for name in names}
    for name in ("up", "late", "running", "paused"):
        site.get(f"/{jobs[name].token}")
    site.clock.move(61)
    site.get(f"/{jobs['up'].token}")
    site.get(f"/{jobs['running'].token}/start")
    site.get(f"/{jobs['down'].token}/fail")
    site.server.act(cronwatch.pause_monitor, jobs["paused"].num, None)

    statuses = gauges(site, "monitor_status")

    assert statuses == {"up": 1, "down": 0, "late": 2, "running": 1, "new": 2, "paused": 3}


def test_the_uptime_is_of_a_day_of_a_month_and_of_a_year(site: Site) -> None:
    job = site.monitor(name="Backup", interval_seconds=2_592_000)
    site.get(f"/{job.token}")
    site.clock.move(47 * 3600)
    site.get(f"/{job.token}/fail")
    site.clock.move(3600)

    shares = gauges(site, "monitor_uptime_ratio")

    assert {name: round(share, 3) for name, share in shares.items()} == {
        "Backup1d": round(23 / 24, 3),
        "Backup30d": round(47 / 48, 3),
        "Backup365d": round(47 / 48, 3),
    }


def test_the_response_time_is_the_last_duration_in_milliseconds(site: Site) -> None:
    job = site.monitor(name="Backup")
    site.get(f"/{job.token}/start")
    site.clock.move(1.204)
    site.get(f"/{job.token}")

    assert gauges(site, "monitor_response_time") == {"Backup": 1204}


def test_many_monitors_fit_on_a_page(make_site: Callable[..., Site]) -> None:
    wall = make_site(status_tag="wall")
    for number in range(201):
        job = wall.monitor(name=f"Job {number}", tags="wall")
        for _ in range(8):
            wall.get(f"/{job.token}")

    answer = wall.get("/api/status-page/heartbeat/wall")

    assert len(answer.body) <= 65_536
    assert len(answer.json["heartbeatList"]) == 200


def test_the_library_of_home_assistant_reads_how_monitors_do(tmp_path: Path) -> None:
    pythonkuma = pytest.importorskip("pythonkuma")  # needs Python 3.13
    aiohttp = pytest.importorskip("aiohttp")

    async def read(url: str, key: str) -> Any:
        async with aiohttp.ClientSession() as session:
            return await pythonkuma.UptimeKuma(session, url, key).metrics()

    with serving(tmp_path) as live:
        live.add("backup")
        (monitor,) = asyncio.run(read(live.url, live.key)).values()

    assert (monitor.monitor_name, int(monitor.monitor_status)) == ("backup", 2)

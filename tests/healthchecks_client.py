"""Drives the Python client of Healthchecks' API (PyPI: healthchecks-io) at a server: its address,
a key that may write and one that may read. Prints what it was told, as JSON.

It runs in a Python of its own, where there is no cronwatch: see test_healthchecks_api.py. Flips
are left out: the client wants a bare list, and Healthchecks answers an object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from healthchecks_io import CheckCreate, CheckUpdate, Client


def refusal(call: Callable[..., Any], *given: Any) -> Exception:
    try:
        call(*given)
    except Exception as error:  # noqa: BLE001 - the client's own kinds are what is looked at
        return error
    raise AssertionError(f"{call} was not refused")


def kind(call: Callable[..., Any], *given: Any) -> str:
    return type(refusal(call, *given)).__name__


def main(url: str, key: str, read_only: str) -> dict[str, Any]:
    """What each call gave."""

    def client(api_key: str) -> Client:
        return Client(api_key=api_key, api_url=f"{url}/api/", ping_url=f"{url}/ping/")

    told: dict[str, Any] = {}
    writer, reader, stranger = client(key), client(read_only), client("nobody")
    new = CheckCreate(name="Backup", tags="a b", timeout=600, grace=120, unique=["name"])
    check = writer.create_check(new)
    told["made"] = [check.name, check.slug, check.timeout, check.grace, check.status, check.tags]
    again = writer.create_check(
        CheckCreate(name="Backup", tags="a b", timeout=900, grace=120, unique=["name"])
    )
    assert again.uuid == check.uuid
    told["made again"] = [again.name, again.timeout]
    dump = writer.create_check(CheckCreate(name="Dump", schedule="0 3 * * *", tz="Europe/Berlin"))
    told["with a schedule"] = writer.get_check(dump.uuid).name
    told["listed"] = [one.name for one in writer.get_checks()]
    told["with two tags"] = [one.name for one in writer.get_checks(["a", "b"])]
    told["pings"] = [
        writer.start_ping(uuid=check.uuid),
        writer.success_ping(uuid=check.uuid, data="all of it"),
        writer.fail_ping(uuid=check.uuid),
        writer.exit_code_ping(3, uuid=check.uuid),
    ]
    told["ping log"] = [ping.type for ping in writer.get_check_pings(check.uuid)]
    changed = writer.update_check(check.uuid, CheckUpdate(name="Weekly", desc="by hand"))
    told["updated"] = [changed.name, changed.status, changed.desc]
    told["paused"] = writer.pause_check(check.uuid).status
    shown = reader.get_check(next(c for c in reader.get_checks() if c.name == "Weekly").unique_key)
    told["read-only"] = [shown.name, shown.uuid, shown.ping_url]
    told["refused"] = [
        kind(stranger.get_checks),
        kind(reader.create_check, new),
        kind(writer.get_check, "00000000-0000-0000-0000-000000000000"),
    ]
    wrong = refusal(writer.update_check, check.uuid, CheckUpdate(grace=1))
    told["wrong"] = [type(wrong).__name__, json.loads(str(wrong).split(". ")[-1])["error"]]
    told["integrations"] = [[one.name, one.kind] for one in writer.get_integrations()]
    told["badges"] = sorted(reader.get_badges())
    told["deleted"] = [writer.delete_check(one.uuid).name for one in (check, dump)]
    assert writer.get_checks() == []
    return told


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

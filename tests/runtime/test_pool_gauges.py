"""Pools of advisors as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from engine.runtime.observe.pools import PoolGauges

NOW_MS = 1_772_000_060_000
SINCE = "2026-02-25T06:13:20.000Z"


def values(registry: CollectorRegistry) -> dict[str, float | None]:
    names = ("clients", "load", "capacity", "absent", "waiting", "waits_seconds")
    return {name: registry.get_sample_value(f"engage_pool_{name}", {"pool": "east"}) for name in names}


def test_a_pool_is_shown_until_another_worker_has_it() -> None:
    gauges = PoolGauges(registry := CollectorRegistry())
    assert set(values(registry).values()) == {None}
    east = {"clients": "2", "load": "5", "capacity": "9", "absent": "1", "waiting": "1", "waits_since": SINCE}
    gauges.show({"east": east}, NOW_MS)
    assert values(registry) == {"clients": 2, "load": 5, "capacity": 9, "absent": 1, "waiting": 1, "waits_seconds": 60}
    gauges.show({"east": east | {"waiting": "0", "waits_since": "", "absent": "0"}}, NOW_MS)
    assert values(registry) == {"clients": 2, "load": 5, "capacity": 9, "absent": 0, "waiting": 0, "waits_seconds": 0}
    gauges.show({}, NOW_MS)
    assert set(values(registry).values()) == {None}

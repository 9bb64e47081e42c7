"""Pools of advisors, and budgets, as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from engine.core.decide.path import decide
from engine.runtime.observe.metrics import Metrics
from engine.runtime.observe.pools import Budgets, PoolGauges
from tests.core.making import plan_of
from tests.core.test_assigning import PLAN, answer

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
    gauges.show({"east": east | {"open_tasks": "4", "queued_tasks": "3"}}, NOW_MS)
    tasks = [
        registry.get_sample_value(f"engage_pool_{name}", {"pool": "east"}) for name in ("open_tasks", "queued_tasks")
    ]
    assert tasks == [4, 3]
    gauges.show({}, NOW_MS)
    assert set(values(registry).values()) == {None}


def of_budget(registry: CollectorRegistry, name: str = "sms") -> list[float | None]:
    return [registry.get_sample_value(f"engage_budget_{what}", {"budget": name}) for what in ("planned", "granted")]


def test_a_budget_is_shown_by_its_period() -> None:
    budgets = Budgets(registry := CollectorRegistry())
    assert of_budget(registry) == [None, None]
    march, granted = {"sms": "month:2026-03-01"}, {"period": "month:2026-02-01", "granted": "40"}
    budgets.show({"sms": granted}, {"sms": 100}, {"sms": "month:2026-02-01"})
    assert of_budget(registry) == [100, 40]
    budgets.show({"sms": granted}, {"sms": 100}, march)  # nothing was asked for in the new month
    assert of_budget(registry) == [100, 0]
    budgets.show({}, {"offers": 5}, march | {"offers": "once:"})  # never asked; and the other is another worker's
    assert (of_budget(registry), of_budget(registry, "offers")) == ([None, None], [5, 0])
    budgets.spent.labels("sms").inc(5)
    assert registry.get_sample_value("engage_budget_spent_total", {"budget": "sms"}) == 5


def test_answers_are_counted_from_0_and_gone_with_their_pool() -> None:
    metrics = Metrics(registry := CollectorRegistry())
    decided = decide(PLAN, {}, [answer(1_772_000_000_000, "r-1")])  # nobody could
    (counted,) = [what for what in decided.counts if what[0] == "pool_answers"]
    assert counted == ("pool_answers", "east", "no_capacity")

    def answers() -> list[float | None]:
        labels = ({"pool": "east", "outcome": outcome} for outcome in ("assigned", "no_capacity", "moved", "away"))
        return [registry.get_sample_value("engage_pool_answers_total", one) for one in labels]

    metrics.uses(0, PLAN.rule_set)
    assert answers() == [0, 0, 0, 0]
    metrics.pools.answers.labels(*counted[1:]).inc()
    assert answers() == [0, 1, 0, 0]
    metrics.uses(0, plan_of().rule_set)
    assert answers() == [None] * 4

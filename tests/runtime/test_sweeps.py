"""One partition whose clients are looked at because rules that need no event are new."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.core.client.sections import pack
from engine.core.contract.topics import TOPICS
from engine.core.firm_time import HOUR_MS
from engine.core.plan.compile import Plan
from engine.operations.replay import PartitionReplay, Replayed
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.errors import Unavailable
from engine.runtime.protocol.ledger import Step, decode_unit
from engine.runtime.protocol.partition import Partition
from tests.core.making import Desk, at, login, plan_of, profile, rule
from tests.memory import AFTER, BEFORE
from tests.runtime.driving import Bench, Recorded, Topics, all_batches, next_batch, topics_of

TEAM = {"audience": "team", "kind": "task", "cooldown": "1m"}
QUIET = plan_of(rule("hello", when='login.channel == "web"', **TEAM))
SILENT = plan_of(rule("silent", silence="{of: logins, for: 30d}", **TEAM))
ALSO = plan_of(rule("silent", silence="{of: logins, for: 30d}", **TEAM), rule("hello", **TEAM))
CLIENTS = 25
NOW_MS = at(45)


class Rules:
    """The rules in force, as they change."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self) -> Plan:
        return self.plan


async def known(faults: Iterable[str] = ()) -> tuple[Bench, Rules, Partition]:
    """A partition that knows clients who have logged in long ago, under rules for which that means nothing."""
    rules = Rules(QUIET)
    bench = Bench(rules, publish_faults=faults)
    worker = await bench.started()
    for batch in all_batches(topics_of(login(at(0) + n, client_id=f"c{n}") for n in range(CLIENTS)), 10):
        await worker.take(batch)
    await worker.commit("age")
    return bench, rules, worker


async def sweep_all(worker: Partition, limit: int = 10) -> None:
    for _ in range(CLIENTS):
        await worker.sweep(NOW_MS, limit)


def told(bench: Bench) -> list[str]:
    return sorted((message.key or b"").decode() for message in bench.ledger.acts)


EVERYONE = sorted(f"c{n}" for n in range(CLIENTS))


async def test_all_clients_are_looked_at_a_few_at_a_time_and_once():
    bench, rules, worker = await known()
    assert worker.position.swept == QUIET.timed.digest  # whoever is new is decided by the rules in force
    rules.plan = SILENT
    worker.take_newest_plan()
    await worker.sweep(NOW_MS, 10)
    assert (len(told(bench)), worker.position.swept) == (10, "")
    await sweep_all(worker)
    assert (told(bench), worker.position.swept) == (EVERYONE, SILENT.timed.digest)
    units = [decode_unit(record) for _, record in bench.ledger.units()]
    assert [len(step.swept) for unit in units for step in unit.steps if not step.ranges] == [10, 10, 5]


async def test_the_log_has_a_line_when_it_begins_and_one_when_it_ends():
    _, rules, worker = await known()
    rules.plan = SILENT
    with capture_logs() as lines:
        worker.take_newest_plan()
        await sweep_all(worker)
    said = [line for line in lines if line["log_level"] == "info"]
    assert [line["event"].partition(":")[0] for line in said] == ["sweep begins", "rule set active", "sweep ends"]
    assert said[1]["partitions"] == [7]


async def test_a_restart_within_a_sweep_says_so_once_more_and_not_of_the_rules():
    _, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await worker.sweep(NOW_MS, 10)
    with capture_logs() as lines:
        await worker.recover()
        await sweep_all(worker)
    assert [line["event"] for line in lines if line["log_level"] == "info"] == ["sweep ends"]


async def test_nobody_is_looked_at_when_only_rules_on_events_are_new():
    bench, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await sweep_all(worker)
    records = len(bench.ledger.records)
    rules.plan = ALSO
    worker.take_newest_plan()
    await sweep_all(worker)
    assert len(bench.ledger.records) == records
    assert worker.position.swept == ALSO.timed.digest


async def test_a_successor_looks_at_all_again_and_tells_nobody_twice():
    bench, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await worker.sweep(NOW_MS, 10)
    successor = await bench.started()
    await sweep_all(successor)
    assert (told(bench), successor.position.swept) == (EVERYONE, SILENT.timed.digest)
    third = await bench.started()
    records = len(bench.ledger.records)
    await sweep_all(third)
    assert len(bench.ledger.records) == records


async def test_rules_that_come_back_are_looked_at_again():
    """What others noted in the meantime is not what they would have noted."""
    bench, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await worker.sweep(NOW_MS, 10)
    rules.plan = QUIET
    worker.take_newest_plan()
    assert worker.position.swept != QUIET.timed.digest
    await sweep_all(worker)
    rules.plan = SILENT
    worker.take_newest_plan()
    await sweep_all(worker)
    assert told(bench) == EVERYONE


async def test_a_sweep_that_other_rules_interrupt_begins_again():
    """Though no sweep began under them: whom they decided was evaluated before, and is noted by them now."""
    bench, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await worker.sweep(NOW_MS, 10)
    first = told(bench)
    rules.plan = QUIET
    worker.take_newest_plan()
    known_and_back = [login(t + n, client_id=f"c{n}") for t in (at(0), NOW_MS) for n in range(CLIENTS)]
    while batch := next_batch(topics_of(known_and_back), worker.offsets, 10):
        await worker.take(batch)
    await worker.commit("age")
    rules.plan = SILENT
    worker.take_newest_plan()
    for _ in range(CLIENTS):
        await worker.sweep(at(90), 10)
    assert told(bench) == sorted([*first, *EVERYONE])


@pytest.mark.parametrize("fault", [BEFORE, AFTER])
async def test_a_publish_without_an_answer(fault: str):
    bench, rules, worker = await known(["", fault])
    rules.plan = SILENT
    worker.take_newest_plan()
    with pytest.raises(Unavailable):
        await sweep_all(worker)
    await sweep_all(await bench.started())
    assert told(bench) == EVERYONE


async def test_states_are_those_of_deciding_the_recorded_steps_again():
    bench, rules, worker = await known()
    rules.plan = SILENT
    worker.take_newest_plan()
    await sweep_all(worker)
    desk = Desk(QUIET)
    desk.take(*(login(at(0) + n, client_id=f"c{n}") for n in range(CLIENTS)))
    desk.plan = SILENT
    for _, record in bench.ledger.units():
        for step in decode_unit(record).steps:
            desk.take(*step.woken(ENGAGEMENT))
    states = {c: pack(SILENT.layout, client) for c, client in desk.states.items()}
    assert bench.data.states() == states


async def test_who_is_used_often_stays_in_memory():
    _, rules, worker = await known()
    rules.plan = plan_of(rule("rich", becomes="client.assets_cny > 5", **TEAM))
    worker.take_newest_plan()
    (batch,) = all_batches(topics_of([login(at(1), client_id="c3")]), 10)
    worker.offsets["logins"] = 0
    await worker.take(batch)
    await sweep_all(worker)
    assert worker.cached == 1


async def test_a_backfill_calls_for_a_sweep():
    _, _, worker = await known()
    assert worker.position.swept
    await worker.revise(["c1"], lambda layout, client: True, Step({}, backfilled=("x",)))
    assert worker.position.swept == ""


async def test_a_budgets_part_that_is_closed_without_a_word_is_closed_in_the_replay_too():
    """Nothing was left of it, but an answer is to come: the sweep publishes nothing and changes no client."""
    before, meanwhile = budgeted("1 CNY", "30d"), budgeted("2 CNY", "31d")
    rules = Rules(before)
    bench, topics = Bench(rules), topics_of(
        [*(profile(at(0), client_id=f"c{n}", consents=("sms",)) for n in range(5)), login(at(1), client_id="c4")]
    )  # fmt: skip
    worker = await bench.started()
    for batch in all_batches(topics, 10):
        await worker.take(batch, at(1))
    await worker.commit("age")
    units = len(bench.ledger.units())
    rules.plan = meanwhile
    worker.take_newest_plan()
    await worker.sweep(at(1) + 1, 1, at(1) + 1)
    assert worker.sweeping
    assert len(bench.ledger.units()) == units + 1
    rules.plan = before
    worker.take_newest_plan()
    await worker.sweep(at(1) + 2, 10, at(1) + 2)
    await worker.tick(at(1) + HOUR_MS, decided_ms=at(1) + HOUR_MS)
    assert [m.topic for m in bench.ledger.messages].count("budget_requests") == 2  # asked again by another name
    await assert_replayed(bench, topics, (before, meanwhile), worker)


async def test_a_backfill_under_another_limit_gives_nothing_back_in_the_replay_either():
    """What is left of a block goes back with the next unit that decides; a backfill decides nothing."""
    before, after = budgeted("1 CNY", "30d"), budgeted("2 CNY", "30d")
    history = [*(profile(at(0), client_id=f"c{n}", consents=("sms",)) for n in range(5)), login(at(1), client_id="c4")]
    history.append(granted_to(before, await asked_of(before, topics_of(history))))
    rules, topics = Rules(before), topics_of(history)
    bench = Bench(rules)
    worker = await bench.started()
    for batch in all_batches(topics, 10):
        await worker.take(batch, at(1))
    await worker.commit("age")
    assert worker.position.end.pace
    rules.plan = after
    worker.take_newest_plan()
    said = len(bench.ledger.messages)
    assert await worker.revise(["c1"], lambda layout, client: True, Step({}, backfilled=("x",))) == 1
    assert len(bench.ledger.messages) == said
    await worker.tick(at(1) + HOUR_MS, decided_ms=at(1) + HOUR_MS)
    await worker.sweep(at(1) + HOUR_MS, 10, at(1) + HOUR_MS)
    back = [json.loads(m.value) for m in bench.ledger.messages[said:] if m.topic == "budget_requests"]
    assert [(one["kind"], one["amount"]) for one in back] == [("return", 35)]
    await assert_replayed(bench, topics, (before, after), worker)


async def asked_of(plan: Plan, topics: Topics) -> dict[str, Any]:
    """What a worker asks of the budget."""
    bench = Bench(plan)
    worker = await bench.started()
    for batch in all_batches(topics, 10):
        await worker.take(batch, at(1))
    await worker.commit("age")
    (asked,) = [json.loads(m.value) for m in bench.ledger.messages if m.topic == "budget_requests"]
    return asked


def granted_to(plan: Plan, asked: dict[str, Any]) -> tuple[str, Any]:
    """Forty of it, as the budget answers."""
    answer = {name: asked[name] for name in ("request_id", "period", "least", "limit", "time")}
    answer |= {"event_id": "a", "client_id": asked["client"], "budget": "sms", "outcome": "granted", "amount": 40}
    return "budget_answers", TOPICS["budget_answers"].validate(json.dumps(answer).encode())


async def assert_replayed(bench: Bench, topics: Topics, plans: Iterable[Plan], worker: Partition) -> None:
    by_digest, replayed = {plan.rule_set.digest: plan for plan in plans}, Replayed()
    again = PartitionReplay(ENGAGEMENT, 7, Recorded(topics), by_digest.__getitem__, lambda _: True, replayed)
    for offset, record in bench.ledger.units():
        await again.take(offset, record)
    assert replayed.differences == []
    assert json.loads(json.dumps(again.states.pace.kept)) == worker.position.end.pace


def budgeted(limit: str, silent: str) -> Plan:
    of = f"{{limit: {limit}, per: month, of: {{channel: sms}}, cost: 0.05 CNY}}"
    budget = f"contact: {{daily_cap: 100}}\nbudgets: {{sms: {of}}}\n"
    swept = rule("silent", silence=f"{{of: trades, for: {silent}}}", **TEAM)
    return plan_of(rule("hello", channels="[sms]", cooldown="1m"), swept, others=(("policy.yaml", budget),))

"""Backfill over a Log and a Store in memory: features that came later are as if they had always been there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.corrections import Correction
from engine.core.contract.topics import intake_topics
from engine.core.firm_time import DAY_MS, HOUR_MS
from engine.core.learn.columns import plan_of_features
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import TIER_CHANGE
from engine.operations import backfill
from engine.operations.backfill import Backfill, Filled, Sizes, chosen_features, reach
from engine.processors.columns import Columns
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.protocol import ledger
from engine.runtime.protocol.intake import Merger, merge
from engine.runtime.protocol.records import Inbound, inbound
from engine.runtime.protocol.recovery import Recovery
from engine.runtime.protocol.unit import UnitLimits
from tests.core.making import FEATURES, at, balance, event_of, login, plan_of, profile, rule, trade
from tests.memory import AFTER, BEFORE, Faults, MemoryLog, MemoryStore
from tests.properties.histories import histories, quick
from tests.runtime.driving import Bench, Topics, all_batches, take_all, topics_of

OLD = FEATURES + "  trades_7d: {source: trades, aggregate: count, window: 7d}\n"
NEW = OLD + "".join(
    f"  {line}\n"
    for line in (
        "trades_90d: {source: trades, aggregate: count, window: 90d}",  # of a column that is there
        "sold_cny: {source: trades, aggregate: sum, field: amount_cny, where: trade.side == 'sell', window: month}",
        "trades_before: {source: trades, aggregate: count, window: previous_month}",
        "symbols_before: {source: trades, aggregate: distinct, field: symbol, window: previous_month}",
        "symbols_since: {source: trades, aggregate: distinct, field: symbol, since: {on: logins, when: login.success}}",
        "logins_24h: {source: logins, aggregate: count, window: 24h}",
        "device: {source: logins, aggregate: last, field: device_id, window: 200d}",
        "devices_3h: {source: logins, aggregate: distinct, field: device_id, window: 3h}",
        "cash_mean_cny: {source: balances, aggregate: daily_mean, field: cash_cny, window: 45d}",
        "worst_cny: {source: balances, aggregate: min, field: assets_cny, window: 10d}",
        "in_cny: {source: balances, aggregate: sum, field: amount_cny, since: {on: trades}}",
        "size_cny: {source: trades, aggregate: avg, field: amount_cny, window: 20d}",  # of two columns, one is there
        "cash_avg_cny: {source: balances, aggregate: avg, field: cash_cny, since: {on: logins}}",
        "favourite: {source: trades, aggregate: top, field: symbol, by: amount_cny, window: 20d}",
        "device_5h: {source: logins, aggregate: top, field: device_id, window: 5h}",
        "favourite_since: {source: trades, aggregate: top, field: symbol, since: {on: logins}}",
    )
)
NAMES = tuple(line.split(":")[0].strip() for line in NEW.removeprefix(OLD).splitlines())
READERS = [
    rule(
        f"reader-{first}",
        on="tier_change",
        when='tier_change.new == "A"',
        parameters="{" + ", ".join(f"{name}: {name}" for name in NAMES[first : first + 12]) + "}",
    )  # a rule takes a bounded number of parameters
    for first in range(0, len(NAMES), 12)
]
QUIET = rule("quiet", on=None, silence="{of: logins, for: 1d}")  # timers move time on between events
ASKED = """\
define: {busy: {is: trades_7d > 3}}
tables: {pace: {hit: first, otherwise: 30, rows: [{trades_7d: "> 3", then: 7}]}}
"""  # of a feature that is not new
QUIETER = rule("quieter", on=None, silence="{of: logins, for: 9d}")  # for longer than an event is known again


async def no_types(digest):
    return {}


BEFORE_PLAN = plan_of(QUIET, QUIETER, features=OLD, definitions=ASKED)
AFTER_PLAN = plan_of(QUIET, QUIETER, *READERS, features=NEW, definitions=ASKED)


SIZES = Sizes(clients_at_once=100)
ONE_BY_ONE = Sizes(clients_at_once=100, unit_clients=1)


class MemoryInputs:
    """The history of the inbound topics, as RecordedInputs reads it."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def read(self, ranges: Mapping[str, tuple[int, int]]) -> list[Inbound]:
        found = {
            t: [r for r in self._topics[t] if a <= r.offset < b] for t, (a, b) in ranges.items() if t in self._topics
        }
        return [record for _, record in merge({topic: records for topic, records in found.items() if records})]

    async def read_until(self, offsets: Mapping[str, int]) -> AsyncIterator[list[Inbound]]:
        merger = Merger(dict.fromkeys(intake_topics(), 0))
        for topic, end in offsets.items():
            merger.add(topic, [r for r in self._topics.get(topic, []) if r.offset < end], end, end)
        while batch := merger.cut(7):
            yield list(batch.records)


class Scene:
    """A partition whose worker took some batches under the old rules and some under the new ones."""

    def __init__(self, topics: Topics, limits: UnitLimits | None = None) -> None:
        self.topics = topics
        self.batches = all_batches(topics, 5)
        self.plan = BEFORE_PLAN
        self.bench = Bench(lambda: self.plan, limits=limits)
        self.always = Bench(AFTER_PLAN)
        self.taken = 0

    async def go_on(self, batches: int) -> None:
        """Take batches and ticks with a worker that starts anew; and so where the features always were."""
        pairs = (await self.bench.started(), await self.always.started())
        for batch in self.batches[self.taken : self.taken + batches]:
            for partition in pairs:
                await partition.take(batch)
                await partition.commit("age")
                while await partition.tick(partition.reached_event_ms + HOUR_MS, limit=1):
                    pass
        self.taken += batches

    async def fill(
        self,
        *,
        publish: tuple[str, ...] = (),
        apply: tuple[str, ...] = (),
        sizes: Sizes = SIZES,
        between: Any = None,
        after_first_unit: Any = None,
    ) -> Filled:
        log, store = MemoryLog(self.bench.ledger, Faults(publish)), MemoryStore(self.bench.data, Faults(apply))
        partition = self.bench.worker()
        partition._log, partition._store, partition._recovery = log, store, Recovery(7, log, store)

        @asynccontextmanager
        async def inputs() -> AsyncIterator[MemoryInputs]:
            yield MemoryInputs(self.topics)

        async def head() -> Plan:
            if between is not None:
                await between()
            return self.plan

        if after_first_unit is not None:
            revise = partition.revise

            async def revise_once(*what: Any) -> int:
                partition.revise = revise
                changed = await revise(*what)
                await after_first_unit()
                return changed

            partition.revise = revise_once
        filled = Filled()
        features = chosen_features(AFTER_PLAN, NAMES)
        await Backfill(features, partition, log, store, inputs, lambda _: True, head, no_types, sizes).run(filled)
        return filled

    def values(self, bench: Bench, advance_ms: int = 0) -> dict[str, Any]:
        found = {}
        for client_id, state in bench.data.states().items():
            client = unpack(AFTER_PLAN.layout, state)
            client.advance(AFTER_PLAN.layout, client.now_ms + advance_ms)
            values = [v for r in AFTER_PLAN.compiled[TIER_CHANGE] for v in r.parameters(client, None, None)]
            found[client_id] = (client.now_ms, dict(zip(NAMES, values, strict=True)))
        return found

    def assert_as_always(self) -> None:
        for advance_ms in (0, HOUR_MS, DAY_MS, 20 * DAY_MS, 40 * DAY_MS):
            assert self.values(self.bench, advance_ms) == self.values(self.always, advance_ms)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "PAUSE_S", 0)


def some_history() -> list[Any]:
    history: list[Any] = []
    for day in range(0, 80, 2):
        id_ = f"c{day % 3}"
        history += [
            trade(at(day), 100 + day, id_, side="sell", symbol=f"s{day % 7}"),
            login(at(day, 13), id_, device_id=f"d{day % 5}", success=day % 4 == 0),
            balance(at(day, 14), 100_000 + day, id_, cash_fen=day * 100, kind="deposit", amount_fen=500 + day),
            login(at(day, 9), id_, device_id="late"),
        ]
        if day % 10 == 0:
            history.append(profile(at(day, 15), id_))
    return history


@pytest.fixture
async def scene() -> Scene:
    scene = Scene(topics_of(some_history()))
    await scene.go_on(20)
    scene.plan = AFTER_PLAN
    await scene.go_on(5)
    return scene


async def test_a_backfilled_feature_is_as_if_always_there_and_goes_on_so(scene):
    assert scene.values(scene.bench) != scene.values(scene.always)
    filled = await scene.fill()
    assert (filled.clients, filled.changed) == (3, 3)
    scene.assert_as_always()
    await scene.go_on(100)
    scene.assert_as_always()


async def test_what_a_correction_left_unknown_is_counted_until_it_is_filled():
    largest = FEATURES + "  largest_cny_7d: {source: trades, aggregate: max, field: amount_cny, window: 7d}\n"
    plan, wrong = plan_of(QUIET, features=largest), trade(at(0.1), 900)
    cancel = {"kind": "cancel", "topic": "trades", "corrects": event_of(wrong).event_id}
    about = {"event_id": "k1", "client_id": "c1", "time": at(1)}
    original = event_of(wrong).model_dump(mode="json", exclude_none=True)
    item = "corrections", Correction(**about, **cancel, original=original)
    topics = topics_of([profile(at(-1)), trade(at(0), 500), wrong, item, login(at(1.1), "c2")])
    bench = Bench(plan)
    worker = await bench.started()
    await take_all(worker, topics)
    await worker.commit("age")
    unknown = {"partition": "7", "feature": "largest_cny_7d"}
    assert bench.registry.get_sample_value("engage_unknown_values", unknown) == 1
    log, store = MemoryLog(bench.ledger, Faults(())), MemoryStore(bench.data, Faults(()))

    @asynccontextmanager
    async def inputs() -> AsyncIterator[MemoryInputs]:
        yield MemoryInputs(topics)

    async def head() -> Plan:
        return plan

    filled, features = Filled(), chosen_features(plan, ["largest_cny_7d"])
    fill = Backfill(features, bench.worker(), log, store, inputs, lambda _: True, head, no_types, SIZES)
    await fill.run(filled)
    assert (filled.clients, filled.changed) == (2, 1)
    assert not [label for label in (await bench.started()).position.tallies if label.startswith("unknown:")]
    assert bench.registry.get_sample_value("engage_unknown_values", unknown) is None


async def test_a_second_run_writes_nothing(scene):
    await scene.fill()
    states, units = scene.bench.data.states(), len(scene.bench.ledger.units())
    assert await scene.fill() == Filled(clients=3)
    assert scene.bench.data.states() == states
    assert len(scene.bench.ledger.units()) == units


async def test_a_partition_read_in_several_passes_comes_to_the_same(scene):
    filled = await scene.fill(sizes=Sizes(clients_at_once=1))
    assert filled.clients == 3
    scene.assert_as_always()


@pytest.mark.parametrize("fault", [BEFORE, AFTER])
@pytest.mark.parametrize("where", ["publish", "apply"])
async def test_run_again_after_a_failure_it_comes_to_the_same(scene, where, fault):
    with pytest.raises(Unavailable):
        await scene.fill(**{where: ("", fault)}, sizes=ONE_BY_ONE)
    await scene.fill(sizes=ONE_BY_ONE)
    scene.assert_as_always()
    await scene.go_on(100)
    scene.assert_as_always()


async def test_a_worker_takes_the_partition_back_in_the_middle_and_goes_on(scene):
    """Each time the backfill has taken the partition, a worker takes it and decides; three times."""
    calls = 0

    async def between() -> None:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 4:
            await scene.go_on(3)

    await scene.fill(between=between, sizes=ONE_BY_ONE)
    assert calls == 5
    scene.assert_as_always()
    await scene.go_on(100)
    scene.assert_as_always()


async def test_rules_without_the_features_in_force_for_a_while_are_noticed(scene):
    """They leave columns behind that were just written; they need not be in force when the backfill looks."""
    looks = 0

    async def between() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            scene.plan = BEFORE_PLAN
            await scene.go_on(3)
            scene.plan = AFTER_PLAN

    async def worker_comes_back() -> None:
        await scene.go_on(1)

    with pytest.raises(Refused, match="the features have changed in the active rule set meanwhile"):
        await scene.fill(between=between, after_first_unit=worker_comes_back, sizes=ONE_BY_ONE)
    await scene.fill(sizes=ONE_BY_ONE)
    scene.assert_as_always()


async def test_a_redis_that_was_emptied_is_brought_up_to_date_first(scene):
    """Seeds 1700, 1711 of the simulation: by such a Redis there were no clients, and it said done."""
    scene.bench.data.lose(10_000)
    await scene.fill()
    scene.assert_as_always()


@pytest.mark.parametrize("call", [1, 2])
async def test_features_that_changed_meanwhile_are_refused(scene, call):
    """1: before this partition's turn came (seed 162 of the simulation: nothing was filled, and it said done)."""
    calls = 0

    async def between() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            scene.plan = BEFORE_PLAN

    with pytest.raises(Refused, match="the features have changed in the active rule set meanwhile"):
        await scene.fill(between=between)


async def test_a_trimmed_ledger_leaves_the_order_of_time(scene):
    """What came before its beginning is taken from the topics alone: the same, when no event was late."""
    scene = Scene(topics_of(sorted(some_history(), key=lambda item: event_of(item).time)))
    await scene.go_on(10)
    scene.plan = AFTER_PLAN
    await scene.go_on(10)
    units = scene.bench.ledger.units()
    scene.bench.ledger.first = units[len(units) // 2][0]
    scene.bench.ledger.records[: scene.bench.ledger.first] = [None] * scene.bench.ledger.first
    await scene.fill()
    scene.assert_as_always()


async def test_a_ledger_trimmed_within_a_unit_of_several_records_loses_no_step():
    """What stays of the unit is its last record, which alone holds the steps."""
    history = topics_of(sorted(some_history(), key=lambda item: event_of(item).time))
    scene = Scene(history, UnitLimits(chunk_bytes=100))
    await scene.go_on(10)
    scene.plan = AFTER_PLAN
    await scene.go_on(10)
    units = [(offset, ledger.decode_unit(record)) for offset, record in scene.bench.ledger.units()]
    several = [offset for offset, unit in units if unit.chunk == unit.chunks - 1 > 0]
    scene.bench.ledger.first = first = several[len(several) // 2]
    scene.bench.ledger.records[:first] = [None] * first
    await scene.fill()
    scene.assert_as_always()


@pytest.mark.parametrize(
    ("again", "times"), [(at(2), 1), (at(8), 1), (at(10), 2)], ids=["known", "known still", "forgotten at a timer"]
)
async def test_an_event_that_comes_again_counts_as_the_worker_counted_it(again, times):
    """The client has no event of its own in between: how far its time has come, only the ledger says."""
    first = [login(at(0)), trade(at(0), side="sell")]
    history = [*first, *(trade(at(1), 100, "c2") for _ in range(3)), *(trade(again, 100, "c2") for _ in range(5))]
    scene = Scene(topics_of([*history, *first]))
    await scene.go_on(len(scene.batches))
    scene.plan = AFTER_PLAN
    await scene.go_on(1)
    await scene.fill()
    scene.assert_as_always()
    _, found = scene.values(scene.bench)["c1"]
    assert (found["trades_90d"], found["sold_cny"]) == (times, 100 * times)


async def test_an_empty_partition_has_nothing_to_fill():
    scene = Scene({})
    scene.plan = AFTER_PLAN
    assert await scene.fill() == Filled()


@quick(40)
@given(data=st.data())
async def test_any_history(data):
    history = data.draw(histories(most=40))
    scene = Scene(topics_of(history))
    await scene.go_on(data.draw(st.integers(0, len(scene.batches))))
    scene.plan = AFTER_PLAN
    await scene.go_on(data.draw(st.integers(0, len(scene.batches))))
    await scene.fill()
    scene.assert_as_always()
    await scene.go_on(len(scene.batches))
    scene.assert_as_always()


def test_a_feature_that_is_not_in_force_is_refused_with_a_remedy():
    with pytest.raises(Refused, match=r'declares no feature "trades_9d": did you mean "trades_90d"\? Publish rules'):
        chosen_features(AFTER_PLAN, ["trades_90d", "trades_9d"])


def test_a_window_longer_than_the_history_is_told():
    features = chosen_features(AFTER_PLAN, ["trades_90d", "logins_24h", "in_cny"])
    since = dict.fromkeys(intake_topics()) | {"trades": at(-30), "logins": at(-30)}
    lines = reach(features, since, at(0))
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: trades_90d needs trades from further back than the topic reaches: what came before "
        "2026-01-17T04:00:00Z does not count",
        "warning: in_cny needs trades from further back than the topic reaches: what came before "
        "2026-01-17T04:00:00Z does not count",
    ]
    assert "balances: held from its beginning" in lines


def test_what_was_loaded_is_no_part_of_a_backfill() -> None:
    """The topics hold nothing of it, so the columns are known from its end on, and a total is refused."""
    (feature,) = chosen_features(AFTER_PLAN, ["trades_90d"])
    of_feature = plan_of_features(AFTER_PLAN.rule_set, ["trades_90d"])
    for loaded_ms, known in ((0, 90), (at(0), 10)):
        columns = Columns(of_feature, lambda _: True, lambda _: True, no_types, loaded_ms)
        record = topics_of([trade(at(3))])["trades"][0]
        columns._take([*inbound("trades", [record])], (), None)
        client = columns.clients["c1"]
        loaded = ClientState(AFTER_PLAN.layout, "c1", at(-100))
        loaded.activities["trades"].saw_event(at(-100))
        loaded.advance(AFTER_PLAN.layout, at(10))
        assert columns.put(AFTER_PLAN, loaded)
        kept = unpack(AFTER_PLAN.layout, pack(AFTER_PLAN.layout, loaded))
        assert AFTER_PLAN.reaches[feature.name].known(kept) == (known, 90)
        assert client.now_ms == at(10)
    backfill.refuse_totals([feature], at(0))
    with pytest.raises(Refused, match="counts since an event"):
        backfill.refuse_totals(chosen_features(AFTER_PLAN, ["in_cny"]), at(0))


@pytest.mark.parametrize("given", ["source: actions, window: 7d", "source: trades, since: {on: actions}"])
def test_what_the_engine_did_is_on_no_inbound_topic(given):
    plan = plan_of(features=FEATURES + f"  done: {{aggregate: count, {given}}}\n")
    with pytest.raises(Refused, match="done counts the engine's own actions"):
        chosen_features(plan, ["done", "assets_avg_cny_30d"])

"""Events dated far ahead: by the clock, by the ledger, by the records around them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.contract.events import Event, Login
from engine.core.contract.outbound import OUTBOUND
from engine.core.firm_time import DAY_MS
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, Taken
from engine.operations.replay import PartitionReplay, Replayed, replay_records
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.protocol.records import Inbound, Read, by_clock, by_neighbours
from tests.core.making import at, plan_of, profile, rule, trade
from tests.properties.histories import quick
from tests.runtime.driving import Bench, ConsumerRecord, Recorded, all_batches, topics_of

YEAR = 366


def read(*days: float | tuple[float, float]) -> list[Read]:
    """Logins at these days; of a pair, the second is the record's own."""
    found: list[Read] = []
    for number, day in enumerate(days):
        mine, records = day if isinstance(day, tuple) else (day, day)
        event = Login(event_id=f"e{number}", client_id="c1", time=at(0) + round(mine * DAY_MS), channel="app")
        found.append((Inbound("logins", 0, number, at(0) + round(records * DAY_MS), b"c1", b""), Taken(event)))
    return found


def refused(found: Sequence[Read]) -> list[int]:
    return [number for number, (_, outcome) in enumerate(found) if not isinstance(outcome, Taken)]


@pytest.mark.parametrize(
    ("days", "ahead"),
    [
        ([0, 26_500, 1, 2, 3], [1]),
        ([26_500, 1, 2, 3], [0]),
        ([0, 26_500, 26_500, 26_500, 1, 2, 3, 4], [1, 2, 3]),  # the producer's clock stands
        ([0, 26_500, 1, 26_500, 2, 26_500, 3, 4, 5, 6], [1, 3, 5]),
        ([0, (26_500, 1), 2, 3], [1]),
        ([*range(50), 900, *range(51, 99)], [50]),
        ([0, 26_500], []),  # nothing follows: time may have passed
        ([-4_000, 0, 1, 2], []),  # a profile of years ago
        ([(-4_000, 0), 1, (-4_000, 1), (-4_000, 1), (-4_000, 1), 2], []),  # old profiles, loaded now
        ([0, 500, 501, 502], []),  # a firm that slept
        ([*range(0, 360, 30), *range(0, 360, 30)], []),  # one client after the other
        ([0, YEAR + 3, 1, 2, 3], [1]),
        ([0, YEAR - 1, 1, 2, 3], []),
        ([], []),
    ],
)
def test_without_a_clock_the_records_around_one_are_asked(days, ahead):
    judged = list(by_neighbours(read(*days)))
    assert [record for record, _ in judged] == [record for record, _ in read(*days)]
    assert refused(judged) == ahead


days = st.lists(st.floats(0, 900, width=16) | st.tuples(st.floats(0, 900, width=16), st.floats(0, 900, width=16)))


@quick(300)
@given(days=days)
@example(days=[0, YEAR + 3, 1, 2, 3])
def test_all_records_at_once_are_judged_as_one_by_one(days):
    assert refused(list(by_neighbours(read(*days)))) == refused(list(by_neighbours(iter(read(*days)))))


def test_the_clock_is_asked_where_the_records_time_is_the_producers():
    found = read(0, 1, 2)
    tolerance = FUTURE_TOLERANCE_MS
    assert refused(list(by_clock(found, at(1) - tolerance))) == [2]
    assert refused(list(by_clock(found, at(1) - tolerance - 1))) == [1, 2]
    for record, _ in found:
        record.appended = True  # the broker's: compared with the event's when it was read
    assert refused(list(by_clock(found, at(0)))) == []


NOTES = plan_of(
    rule("large", on="trades", when="trade.amount_cny >= 10_000", kind="task", audience="team", cooldown="1h"),
    rule("silent", silence="{of: trades, for: 30d}", kind="task", audience="team"),
)


def history() -> list[tuple[str, Event]]:
    return [profile(at(0)), *(trade(at(day), 2_000_000) for day in (26_500, 2, 3, 4))]


async def test_a_worker_refuses_what_lies_ahead_of_its_clock_and_a_replay_refuses_the_same():
    bench, topics = Bench(NOTES), topics_of(history())
    worker = await bench.started()
    for batch in all_batches(topics, 2):
        await worker.take(batch, at(5))
    await worker.commit("age")
    letters = [message for message in bench.ledger.messages if message.topic == "dead-letters"]
    assert [dict(letter.headers)["engage_reason"] for letter in letters] == [b"future"]
    assert worker.reached_event_ms == at(4)
    replayed = Replayed()
    replaying = PartitionReplay(ENGAGEMENT, 7, Recorded(topics), lambda _: NOTES, lambda _: True, replayed)
    for offset, record in bench.ledger.units():
        await replaying.take(offset, record)
    assert (replayed.differences, replayed.rejected, replayed.events) == ([], 1, 4)
    assert replaying.states.packed() == bench.data.states()


@pytest.mark.parametrize("decided_ms", [0, at(5)])
async def test_by_its_clock_or_without_one_a_worker_decides_the_honest_ones(decided_ms):
    """One record of 2099 made a client live there: notes month by month until then, none for what came after it."""
    records = [
        ConsumerRecord(n, event.time, b"c1", event.model_dump_json().encode()) for n, (_, event) in enumerate(history())
    ]
    topics = {"profiles": records[:1], "trades": records[1:]}
    bench = Bench(NOTES)
    worker = await bench.started()
    (batch,) = all_batches(topics, 10)
    await worker.take(batch, decided_ms)
    await worker.commit("age")
    found = [json.loads(message.value or b"") for message in bench.ledger.acts if message.topic in OUTBOUND]
    assert {action["time"][:4] for action in found} == {"2026"}
    if decided_ms:
        assert len(bench.data.states()) == 1
        assert [action.get("rule_id") for action in found if "rule_id" in action].count("large") == 3


def test_a_replay_of_a_file_decides_the_honest_ones():
    records = [
        Inbound(topic, 0, n, event.time, b"c1", event.model_dump_json().encode())
        for n, (topic, event) in enumerate(history())
    ]
    replayed = Replayed()
    messages = list(replay_records(NOTES, records, replayed))
    assert [dict(m.headers)["engage_reason"] for m in messages if m.topic == "dead-letters"] == [b"future"]
    assert [json.loads(m.value or b"")["rule_id"] for m in messages if m.topic == "tasks"].count("large") == 3
    assert replayed.rejected == 1

"""The merge of topics: nothing lost, nothing doubled, each topic in order, never stuck, and a batch can be made again
from its ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from engine.core.contract.topics import intake_topics
from engine.runtime.protocol.intake import Batch, Merger, merge
from engine.runtime.protocol.records import Inbound
from tests.properties.histories import quick
from tests.runtime.driving import ConsumerRecord, Topics

Place = tuple[str, int]


@dataclass
class Source:
    """A topic at the broker, its records and markers, and how far a consumer has read it."""

    records: list[ConsumerRecord]
    end: int
    position: int = 0

    def fetch(self, number: int) -> tuple[list[ConsumerRecord], int]:
        """Up to `number` offsets further: the records in there, and the position after them."""
        begin, self.position = self.position, min(self.position + number, self.end)
        return [r for r in self.records if begin <= r.offset < self.position], self.position


@st.composite
def sources(draw: st.DrawFn, ordered: bool = False) -> dict[str, Source]:
    found = {}
    for topic in intake_topics():
        # None is a marker of a transaction
        times = draw(st.lists(st.none() | st.integers(0, 30), max_size=15))
        if ordered:
            known = iter(sorted(t for t in times if t is not None))
            times = [None if t is None else next(known) for t in times]
        found[topic] = Source([ConsumerRecord(o, t) for o, t in enumerate(times) if t is not None], len(times))
    return found


def fresh(ends: dict[str, Source]) -> Merger:
    return Merger(dict.fromkeys(ends, 0))


def places(batch: Batch) -> list[Place]:
    return [(record.topic, record.offset) for record in batch.records]


# which topic to fetch from next, how many offsets of it, how many records to cut then (0: none)
moves = st.lists(st.tuples(st.sampled_from(intake_topics()), st.integers(1, 6), st.integers(0, 8)), max_size=40)


def played(sources: dict[str, Source], moves: Sequence[tuple[str, int, int]]) -> list[Batch]:
    """Batches cut as records arrive, in whatever order topics are read; then all that is left."""
    merger, batches = fresh(sources), []
    for topic, number, limit in moves:
        records, position = sources[topic].fetch(number)
        merger.add(topic, records, position, sources[topic].end)
        if limit and (batch := merger.cut(limit)):
            batches.append(batch)
    for topic, source in sources.items():
        records, position = source.fetch(1_000)
        merger.add(topic, records, position, source.end)
    assert merger.lacking() == []
    while batch := merger.cut(7):
        batches.append(batch)
    assert merger.caught_up
    assert merger.held() == (0, 0)
    return batches


@quick(120)
@given(sources=sources(), moves=moves)
def test_nothing_lost_nothing_doubled_and_each_batch_can_be_made_again(sources, moves):
    reached = dict.fromkeys(intake_topics(), 0)
    for batch in played(sources, moves):
        assert batch.ranges
        held: Topics = {}
        for topic, (begin, end) in batch.ranges.items():
            assert reached[topic] == begin < end  # each range goes on where the one before ended
            reached[topic] = end
            if inside := [r for r in sources[topic].records if begin <= r.offset < end]:
                held[topic] = inside
        assert [(record.topic, record.offset) for _, record in merge(held)] == places(batch)
    for topic, source in sources.items():
        assert all(record.offset < reached[topic] for record in source.records)
        assert reached[topic] == source.end


@quick(120)
@given(sources=sources(ordered=True), moves=moves)
def test_times_in_order_stay_in_order_as_long_as_no_topic_is_passed_by(sources, moves):
    """Cut only while no topic is lacking, as the intake does, the whole is one order by time, ties by topic."""
    merger = fresh(sources)
    order: list[Inbound] = []
    for topic, number, limit in [*moves, *((topic, 100, 0) for topic in intake_topics())]:
        records, _ = sources[topic].fetch(number)
        for other in intake_topics():  # ends of all topics are known from the first fetch on
            merger.add(other, records if other == topic else [], sources[other].position, sources[other].end)
        if limit and not merger.lacking() and (batch := merger.cut(limit)):
            order += batch.records
    while batch := merger.cut(5):
        order += batch.records
    keys = [(record.timestamp_ms, intake_topics().index(record.topic), record.offset) for record in order]
    assert keys == sorted(keys)
    assert len(keys) == sum(len(source.records) for source in sources.values())


@quick(120)
@given(sources=sources(), moves=moves, limit=st.integers(1, 5))
def test_never_stuck(sources, moves, limit):
    """With a record of every topic that has more at hand, however its times fall, there is always something to take."""
    merger = fresh(sources)
    for topic, number, _ in moves:
        records, position = sources[topic].fetch(number)
        merger.add(topic, records, position, sources[topic].end)
        if merger.held()[0] and not merger.lacking():
            batch = merger.cut(limit)
            assert batch is not None
            assert 1 <= len(batch.records) <= limit


@quick(100)
@given(sources=sources(), again=st.integers(1, 5))
def test_what_is_fetched_twice_is_taken_once(sources, again):
    """A consumer that reconnects may hand out again what it had handed out."""
    merger = fresh(sources)
    for topic, source in sources.items():
        merger.add(topic, source.records, source.end, source.end)
        merger.add(topic, source.records[-again:], source.end, source.end)
        merger.add(topic, [], max(source.end - again, 0), max(source.end - again, 0))
    taken = []
    while batch := merger.cut(9):
        taken += places(batch)
    assert len(taken) == len(set(taken)) == sum(len(source.records) for source in sources.values())
    assert merger.caught_up

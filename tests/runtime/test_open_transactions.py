"""What waits behind an open transaction: up to which moment everything can be read, and who is held for long."""

from __future__ import annotations

import pytest

from engine.runtime.kafka.open_transactions import HELD_S, OpenTransactions
from engine.runtime.protocol.intake import Held, Merger
from tests.runtime.driving import ConsumerRecord

NOW_MS = 100_000
Answer = tuple[str, int, int]  # topic, last stable offset, end


@pytest.mark.parametrize(
    ("answers", "readable_ms", "held"),
    [
        ([], NOW_MS, []),
        ([("trades", 5, 5), ("logins", 0, 0)], NOW_MS, []),
        # hung: what came after the first second waits
        ([("trades", 5, 5), *[("trades", 5, end) for end in range(6, 16)]], 0, [("trades", 5, 10)]),
        # the same, but at the start nothing is known of it
        ([("trades", 0, 7)] * 10, 0, [("trades", 0, 7)]),
        # it ended: committed and aborted look alike
        ([("trades", 5, 5), *[("trades", 5, 6)] * 8, ("trades", 7, 7)], NOW_MS, []),
        # one after another: none is open for long, though one is open at any time
        ([("trades", 3 * n + 5, 3 * n + 8) for n in range(10)], 8_000, []),
        # a long one among others: their records wait behind it
        ([("trades", 4, 4), *[("trades", 4, 9 + n) for n in range(8)]], 0, [("trades", 4, 12)]),
        # two topics: the one that has been held for longer decides
        (
            [("trades", 4, 4), ("logins", 1, 1), ("logins", 1, 2), *[("trades", 4, 5)] * 4, *[("logins", 1, 3)] * 4],
            0,
            [("logins", 1, 2), ("trades", 4, 1)],
        ),
        # an unclean election took the transaction away
        ([("trades", 5, 9), ("trades", 5, 5)], NOW_MS, []),
    ],
    ids=["unheard", "whole", "hung", "hung at the start", "ended", "overlapping", "long", "two topics", "lost"],
)  # fmt: skip
def test_what_can_be_read(answers: list[Answer], readable_ms: int, held: list[Answer]) -> None:
    transactions = OpenTransactions(["trades", "logins"])
    for second, (topic, stable, end) in enumerate(answers):
        transactions.note(topic, stable, end, second * 1_000, float(second))
    assert transactions.readable_ms(NOW_MS) == readable_ms
    found = transactions.held(float(len(answers)))
    assert sorted((h.topic, h.offset, h.records) for h in found) == held
    assert all(h.seconds >= HELD_S for h in found)


def test_lag_reaches_to_the_end_of_the_log_and_no_batch_waits_for_it():
    merger = Merger({"trades": 0, "logins": 0}, {"trades": 0, "logins": 1})
    merger.add("trades", [ConsumerRecord(0, 1)], 1, 1, 4)
    merger.add("logins", [ConsumerRecord(0, 2)], 1, 1)
    assert merger.lag() == {"trades": 4, "logins": 1}
    assert merger.lacking() == []
    batch = merger.cut(10)
    assert batch is not None
    assert batch.ranges == {"trades": (0, 1), "logins": (0, 1)}
    assert merger.lag() == {"trades": 3, "logins": 0}


def test_a_held_topic_says_where_it_is_held():
    transactions = OpenTransactions(["trades"])
    transactions.note("trades", 5, 9, 0, 0.0)
    assert transactions.held(75.0) == [Held("trades", 5, 4, 75.0)]

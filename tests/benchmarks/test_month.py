"""The month's job: what peers decide by hand is what Engage decides, without Kafka."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from benchmarks.day.job import Record
from benchmarks.month.job import Month, write_rules
from benchmarks.peers.logic import Client, Decider, Trade, blank, read
from benchmarks.peers.logic import rules as hand_written
from benchmarks.sides import expected, same_actions
from benchmarks.wire import Action, action_of

CLIENTS, TRADES = 60, 12_000


@pytest.fixture(scope="module")
def month() -> tuple[list[Record], list[Record]]:
    job = Month(CLIENTS)
    return list(job.profiles()), list(job.trades(TRADES))


@pytest.fixture(scope="module")
def wanted(month: tuple[list[Record], list[Record]], tmp_path_factory: pytest.TempPathFactory) -> list[list[Action]]:
    return expected(write_rules(tmp_path_factory.mktemp("rules")), *month)


def by_hand(trades: list[Record]) -> Iterator[Action]:
    decider, clients = Decider(), defaultdict[str, Client](blank)
    for record in trades:
        trade = read(record.value)
        yield from map(action_of, decider.decide(clients[trade.client_id], trade))


def test_peers_decide_what_engage_decides(month: tuple[list[Record], list[Record]], wanted: list[list[Action]]) -> None:
    actions = list(by_hand(month[1]))
    assert Counter(actions) == Counter(action for found in wanted for action in found)
    assert len(actions) > TRADES / 50
    tiers = {action.rule_id[0] for action in actions}
    assert tiers == {"a", "b", "c"}


def test_a_side_that_differs_is_seen(wanted: list[list[Action]], capsys: pytest.CaptureFixture[str]) -> None:
    actions = [action for found in wanted for action in found]
    assert same_actions("side", actions, wanted)
    assert not same_actions("side", actions[1:], wanted)
    assert "1 missing, such as" in capsys.readouterr().out
    assert not same_actions("side", [*actions, actions[0]], wanted)
    assert "1 not expected, such as" in capsys.readouterr().out


def test_the_same_trades_every_time_of_some_250_bytes(month: tuple[list[Record], list[Record]]) -> None:
    trades = month[1]
    again = Month(CLIENTS).trades(TRADES)
    assert [record.value for record in again] == [record.value for record in trades]
    assert 235 <= sum(len(record.value) for record in trades) / TRADES <= 265
    times = [record.time_ms for record in trades]
    assert times == sorted(times)
    assert 29 * 86_400_000 < times[-1] - times[0] < 30 * 86_400_000
    busiest = Counter(record.key for record in trades).most_common(1)
    assert busiest[0][1] > 2 * TRADES / CLIENTS


def test_a_client_falls_to_a_lower_tier_as_its_week_passes() -> None:
    decider, client = Decider(), blank()
    least = {rule.tier: rule for rule in reversed(list(hand_written()))}
    day_ms, begin_ms = 86_400_000, 1_750_000_000_000

    def rules_of(day: int, amount: int) -> set[str]:
        trade = Trade(event_id=f"{day}", client_id="C", time=begin_ms + day * day_ms, amount_fen=amount * 100)
        return {json.loads(action)["tier"] for action in decider.decide(client, trade)}

    assert rules_of(0, 4_600_000) == {"A"}
    assert rules_of(6, least["A"].amount) == {"A"}
    assert rules_of(7, 600_000) == {"B"}  # the day of the large one has left the window
    assert rules_of(30, least["C"].amount) == {"C"}


def test_a_rule_acts_once_a_day() -> None:
    decider, client = Decider(), blank()
    begin_ms = 1_750_000_000_000

    def acts(time_ms: int) -> int:
        return len(decider.decide(client, Trade(event_id="T", client_id="C", time=time_ms, amount_fen=30_000_000)))

    assert acts(begin_ms) > 0
    assert acts(begin_ms + 86_400_000 - 1) == 0

"""Sharing partitions out: whoever comes and goes, each partition has one owner, shares are even, and little moves."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.kafka.sharing import Share, Sharing, share_out

Shares = dict[str, Share]
numbers = st.lists(st.integers(0, 40), max_size=25)
# What workers may say: of partitions that are not, of one twice, of those that another says, too
claims = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(lambda own, lent, at: Share(tuple(own), tuple(lent), at), numbers, numbers, st.integers(0, 3)),
    min_size=1,
)


def owners(shares: Shares) -> dict[int, str]:
    return {partition: worker for worker, share in shares.items() for partition in share.all}


def assert_fair(shares: Shares, partitions: int) -> None:
    assert sorted(partition for share in shares.values() for partition in share.all) == list(range(partitions))
    sizes = [len(share.all) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


def fewest_moves(held: Counter[str], partitions: int) -> int:
    """Of partitions that have an owner, when shares are to be even: those with most keep one more."""
    least, over = divmod(partitions, len(held))
    largest = sorted(held.values(), reverse=True)
    return sum(max(size - least - (index < over), 0) for index, size in enumerate(largest))


@given(claims, st.integers(0, 41))
def test_whatever_workers_say(said: Shares, partitions: int) -> None:
    shares = share_out(said, range(partitions))
    assert shares.keys() == said.keys()
    assert_fair(shares, partitions)
    assert share_out(dict(reversed(said.items())), range(partitions)) == shares
    assert owners(share_out(shares, range(partitions))) == owners(shares)  # once more: nothing moves


@given(claims, st.integers(1, 41))
def test_a_later_word_counts_more(said: Shares, partitions: int) -> None:
    """A worker that slept says what it held before; it takes nothing from those that were given it since."""
    shares = share_out(said, range(partitions))
    sleeper = Share(tuple(range(partitions)), (), 0)
    after = share_out({**shares, "sleeper": sleeper}, range(partitions))
    fresh = share_out({**shares, "sleeper": Share()}, range(partitions))
    assert after == fresh


@given(st.integers(1, 80), st.data())
def test_little_moves(partitions: int, data: st.DataObject) -> None:
    """Workers come and go as they like. Uneven shares may cost one move more for each worker: that one goes home."""
    shares: Shares = {"0": share_out({"0": Share()}, range(partitions))["0"]}
    for number in range(1, data.draw(st.integers(1, 12))):
        staying = data.draw(st.sets(st.sampled_from(sorted(shares))))
        coming = data.draw(st.integers(0 if staying else 1, 3))
        said = {worker: shares[worker] for worker in staying}
        said |= {f"{number}-{index}": Share() for index in range(coming)}
        held = Counter({worker: len(share.all) for worker, share in said.items()})
        before, shares = owners({worker: shares[worker] for worker in staying}), share_out(said, range(partitions))
        assert_fair(shares, partitions)
        after = owners(shares)
        moved = sum(after[partition] != worker for partition, worker in before.items())
        fewest = fewest_moves(held, partitions)
        assert moved <= fewest + (len(said) if coming else 0)
        if not coming:
            assert moved == fewest


@pytest.mark.parametrize("how", ["stop, then start", "under its old name", "start, then stop", "at once"])
@given(st.integers(2, 6), st.integers(0, 90), st.integers(1, 3))
def test_a_rolling_restart_moves_nothing_more_than_twice(how: str, workers: int, more: int, rolls: int) -> None:
    partitions = workers + more
    shares: Shares = {}
    for number in range(workers):
        shares = share_out({**shares, f"0-{number}": Share()}, range(partitions))
    for roll in range(1, rolls + 1):
        moves: Counter[int] = Counter()
        for number, leaver in enumerate(list(shares)):
            comer = leaver if how == "under its old name" else f"{roll}-{number}"
            steps = [{leaver}, {comer}] if how in ("stop, then start", "under its old name") else [{comer}, {leaver}]
            for step in steps if how != "at once" else [{leaver, comer}]:
                said = {worker: share for worker, share in shares.items() if worker not in step}
                said |= {worker: Share() for worker in step - shares.keys()}
                before, shares = owners(shares), share_out(said, range(partitions))
                assert_fair(shares, partitions)
                moves.update(p for p, worker in owners(shares).items() if worker != before[p])
        assert max(moves.values()) <= 2


def assignor(shares: list[int]) -> Sharing:
    made = Sharing("ledger")
    made.share = Share(tuple(shares), (), 4)
    return made


CLUSTER = SimpleNamespace(partitions_for_topic={"ledger": {0, 1, 2, 3}}.get)


def through_the_wire(leader: Sharing | type[RoundRobinPartitionAssignor], *members: object) -> list[list[int]]:
    """What each has after a round that one of them leads."""
    said = {
        f"{i}": ConsumerProtocolMemberMetadata.decode(m.metadata({"ledger"}).encode())  # type: ignore[attr-defined]
        for i, m in enumerate(members)
    }
    given_ = leader.assign(CLUSTER, said)
    found = []
    for index, member in enumerate(members):
        assignment = ConsumerProtocolMemberAssignment.decode(given_[f"{index}"].encode())
        member.on_assignment(assignment)  # type: ignore[attr-defined]
        found.append(sorted(tp.partition for tp in assignment.partitions()))
    return found


def test_workers_of_0_1_are_in_the_same_group() -> None:
    assert Sharing("ledger").name == RoundRobinPartitionAssignor.name
    new = assignor([0, 1, 2])
    assert through_the_wire(new, new, RoundRobinPartitionAssignor) == [[0, 1], [2, 3]]
    assert new.share == Share((0, 1), (), 5)
    other = assignor([])
    assert through_the_wire(RoundRobinPartitionAssignor, new, other, RoundRobinPartitionAssignor) == [[0, 3], [1], [2]]
    assert new.share.own == (0, 3)
    assert through_the_wire(new, new, other) == [[0, 3], [1, 2]]


def test_what_a_worker_was_given_it_says_next_time() -> None:
    one, two = Sharing("ledger"), Sharing("ledger")
    assert through_the_wire(one, one) == [[0, 1, 2, 3]]
    assert through_the_wire(one, one, two) == [[0, 1], [2, 3]]
    assert through_the_wire(two, two) == [[0, 1, 2, 3]]
    assert two.share == Share((2, 3), (0, 1), 3)
    assert through_the_wire(two, two, Sharing("ledger")) == [[2, 3], [0, 1]]


@pytest.mark.parametrize("said", [b"", b"not JSON", b"[]", b'{"own": 7}', b'{"own": ["x"], "lent": [], "round": 1}'])
def test_what_is_not_understood_is_nothing(said: bytes) -> None:
    member = ConsumerProtocolMemberMetadata(0, ["ledger"], said)
    given_ = Sharing("ledger").assign(CLUSTER, {"a": member, "b": member})
    assert sorted(tp.partition for a in given_.values() for tp in a.partitions()) == [0, 1, 2, 3]

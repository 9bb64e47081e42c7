"""What the cache of client states keeps, and what it forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.state import ClientState, Layout
from engine.runtime.protocol.state_cache import StateCache
from tests.core.making import shipped_plan

LAYOUT: Layout = shipped_plan().layout


def filled(limit_bytes: int, clients: int, packed_bytes: int) -> StateCache:
    cache = StateCache(limit_bytes)
    for _ in range(50):
        cache.weigh([b"x" * packed_bytes] * 10)
    for number in range(clients):
        cache[f"c{number}"] = ClientState(LAYOUT, f"c{number}", 0)
    return cache


def test_larger_states_are_kept_of_fewer_clients():
    limits = [filled(10_000_000, 0, packed_bytes).limit for packed_bytes in (100, 500, 1_000, 2_000, 20_000)]
    assert limits == sorted(limits, reverse=True)
    assert 2_800 < limits[0] < 3_100
    assert 35 < limits[-1] < 45


def test_nothing_weighed_is_nothing_learned():
    cache = StateCache(1_000_000)
    before = cache.limit
    cache.weigh([])
    assert cache.limit == before > 10


@given(
    clients=st.integers(0, 40),
    more=st.integers(0, 40),
    used=st.lists(st.integers(0, 39), unique=True),
    wanted=st.sets(st.integers(0, 39)),
    uncommitted=st.sets(st.integers(0, 39)),
    limit_bytes=st.integers(0, 200_000),
)
def test_the_bound_and_who_is_forgotten(
    clients: int, more: int, used: list[int], wanted: set[int], uncommitted: set[int], limit_bytes: int
) -> None:
    cache = filled(limit_bytes, clients, 500)
    cache.keep_last([f"c{n}" for n in used if n < clients])
    assert len(cache) == min(clients, cache.limit)
    order = [n for n in range(clients) if n not in used] + [n for n in used if n < clients]
    assert list(cache) == [f"c{n}" for n in order[clients - len(cache) :]]

    before, names = list(cache), {f"c{n}" for n in wanted | uncommitted}
    cache.make_room(more, {f"c{n}" for n in wanted}, {f"c{n}" for n in uncommitted})
    assert names & set(before) <= set(cache)
    room = cache.limit * 5 // 4 if uncommitted else cache.limit
    assert len(cache) + more <= room or set(cache) <= names
    forgotten = [name for name in before if name not in cache]
    assert forgotten == [name for name in before if name not in names][: len(forgotten)]

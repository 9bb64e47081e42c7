"""What every Store keeps, whatever is below it. A test module derives from StoreContract and says how to open one.

`open_store()` gives a new Store, empty at first. `lose_requests()` and `lose_answers()` say what becomes of the next
`apply`; `mend()` ends that. `lose_last_unit()` is a failover: what was written last is gone.
"""

from __future__ import annotations

import pytest

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.firm_time import NEVER_MS
from engine.runtime.errors import Surprised, Unavailable
from engine.runtime.protocol.ledger import Store
from engine.runtime.protocol.writes import Write, encode_writes
from tests.core.making import at


def writes(**clients: tuple[int, bytes]) -> bytes:
    """One chunk, as the ledger holds it: client id -> (due or -1, state)."""
    public = {name: name for name in PUBLIC_FIELDS}
    rows = [Write(id_, NEVER_MS if due < 0 else due, state, public) for id_, (due, state) in clients.items()]
    (chunk,) = encode_writes(rows)
    return chunk


async def around(store: Store) -> tuple[bytes | None, int, set[str]]:
    """Where it stands, how many clients there are, and who of all of them is gone."""
    seen: set[str] = set()
    cursor = -1
    while cursor:
        position, known, gone, cursor = await store.look(max(cursor, 0), 100)
        seen.update(gone)
    return position, known, seen


class StoreContract:
    async def open_store(self) -> Store:
        raise NotImplementedError

    async def lose_requests(self) -> None:
        raise NotImplementedError

    async def lose_answers(self) -> None:
        raise NotImplementedError

    async def mend(self) -> None:
        raise NotImplementedError

    async def lose_last_unit(self) -> None:
        raise NotImplementedError

    async def evict(self, client_id: str, state: bool = True, due: bool = True) -> None:
        raise NotImplementedError

    @pytest.fixture
    async def store(self):
        return await self.open_store()

    async def test_a_new_store_knows_nothing(self, store: Store):
        assert await store.position() is None
        assert await store.load(["a", "b"]) == (None, [None, None], 0, [])
        assert await store.due(1 << 60, 10) == []

    async def test_states_come_back_byte_for_byte_in_the_order_asked_for(self, store: Store):
        every_byte, large = bytes(range(256)), b"\xc3\x28\x00" * 100_000
        assert await store.apply(b"", b"one", [writes(a=(-1, every_byte), b=(-1, b""), c=(-1, large))]) == b"one"
        assert await store.position() == b"one"
        assert (await store.load(["c", "unknown", "a", "b"]))[:2] == (b"one", [large, None, every_byte, b""])

    async def test_an_answer_that_was_lost_is_asked_for_again(self, store: Store):
        one = [writes(a=(5, b"A"))]
        await store.apply(b"", b"one", one)
        assert await store.apply(b"", b"one", one) == b"one"
        assert (await store.load(["a"]))[:2] == (b"one", [b"A"])

    async def test_a_unit_that_does_not_begin_here_writes_nothing(self, store: Store):
        await store.apply(b"", b"one", [writes(a=(5, b"A"))])
        assert await store.apply(b"zero", b"two", [writes(a=(7, b"other"), b=(7, b"B"))]) == b"one"
        assert (await store.load(["a", "b"]))[:2] == (b"one", [b"A", None])
        assert await store.due(10, 10) == ["a"]
        assert await store.apply(b"", b"two", [writes(b=(7, b"B"))]) == b"one"
        assert await store.apply(b"one", b"two", [writes(b=(7, b"B"))]) == b"two"

    async def test_a_unit_of_many_chunks_is_one_step(self, store: Store):
        chunks = [writes(**{f"c{n}-{m}": (n * 100 + m, b"%d" % m) for m in range(100)}) for n in range(30)]
        await store.apply(b"", b"one", chunks)
        states = (await store.load([f"c{n}-{m}" for n in range(30) for m in range(100)])).states
        assert states == [b"%d" % m for _ in range(30) for m in range(100)]
        assert len(await store.due(10_000, 5_000)) == 3_000

    async def test_later_writes_replace_earlier_ones(self, store: Store):
        await store.apply(b"", b"one", [writes(a=(5, b"long ago"), b=(5, b"B"))])
        await store.apply(b"one", b"two", [writes(a=(9, b"now")), writes(a=(8, b"later in the same unit"))])
        assert (await store.load(["a", "b"]))[:2] == (b"two", [b"later in the same unit", b"B"])
        assert await store.due(8, 10) == ["b", "a"]

    async def test_who_is_due_earliest_first_and_no_more_than_asked_for(self, store: Store):
        moment = at(0) + 123  # no digit of a millisecond is lost
        await store.apply(
            b"",
            b"one",
            [writes(z=(moment, b""), a=(moment, b""), first=(0, b""), after=(moment + 1, b""), never=(-1, b""))],
        )
        assert await store.due(moment, 10) == ["first", "a", "z"]
        assert await store.due(moment - 1, 10) == ["first"]
        assert await store.due(moment + 1, 3) == ["first", "a", "z"]
        await store.apply(b"one", b"two", [writes(first=(-1, b""), a=(moment + 2, b""))])
        assert await store.due(moment + 5, 10) == ["z", "after", "a"]

    async def test_any_client_id_that_the_contract_allows(self, store: Store):
        ids = ["{a}", "*", "a:b", '"', "\\", "%s", "KEYS[1]", "a" * 64, "".join(map(chr, range(33, 97)))]
        await store.apply(b"", b"one", [writes(**{id_: (n, b"%d" % n) for n, id_ in enumerate(ids)})])
        assert (await store.load(ids))[:2] == (b"one", [b"%d" % n for n in range(len(ids))])
        assert await store.due(100, 100) == ids

    async def test_all_clients_a_few_at_a_time_those_that_are_never_due_too(self, store: Store):
        await store.apply(b"", b"one", [writes(**{f"c{n}": (n - 1, b"") for n in range(1_000)})])
        named: list[str] = []
        cursor = 0
        while True:
            cursor, client_ids = await store.clients(cursor, 100)
            named += client_ids
            if cursor == 0:
                break
        assert set(named) == {f"c{n}" for n in range(1_000)}
        assert await store.clients(0, 100) != (0, named)  # not all at once

    async def test_a_failover_while_all_clients_are_named_is_noticed(self, store: Store):
        """Found by review: a Redis that had started anew between two commands named 3,850 of 5,000 clients."""
        await store.apply(b"", b"one", [writes(**{f"c{n}": (n, b"") for n in range(1_000)})])
        await store.apply(b"one", b"two", [writes(**{f"c{n}": (n, b"") for n in range(10)})])
        cursor, _ = await store.clients(0, 100)
        await self.lose_last_unit()
        with pytest.raises(Surprised):
            await store.clients(cursor, 100)
        assert (await store.clients(0, 100))[1]  # from the beginning

    @pytest.mark.parametrize(("state", "due"), [(True, False), (False, True), (True, True)])
    async def test_what_was_evicted_is_seen(self, store: Store, state: bool, due: bool):
        await store.apply(b"", b"one", [writes(a=(5, b"A"), b=(-1, b"B"), c=(7, b""))])
        assert await store.load(["b", "new"]) == (b"one", [b"B", None], 3, [])
        assert await around(store) == (b"one", 3, set())
        assert await store.missing(["c", "new", "a"]) == ["new"]
        await self.evict("b", state, due)
        gone = [] if due else ["b"]
        known = 2 if due else 3
        assert await store.load(["b", "a"]) == (b"one", [None if state else b"B", b"A"], known, gone)
        assert await store.load([]) == (b"one", [], known, [])
        assert await around(store) == (b"one", known, set(gone))
        assert await store.missing(["a", "b", "c"]) == ["b"]
        assert await store.apply(b"one", b"one", [writes(b=(9, b"B"))]) == b"one"  # as it is healed
        assert await around(store) == (b"one", 3, set())
        assert await store.missing(["a", "b", "c"]) == []

    async def test_looks_go_round(self, store: Store):
        await store.apply(b"", b"one", [writes(**{f"c{n}": (n, b"") for n in range(1_000)})])
        for n in range(0, 1_000, 100):
            await self.evict(f"c{n}", due=False)
        assert (await store.look(0, 100)).cursor  # not all at once
        assert await around(store) == (b"one", 1_000, {f"c{n}" for n in range(0, 1_000, 100)})

    async def test_a_unit_without_changes_moves_the_position(self, store: Store):
        await store.apply(b"", b"one", encode_writes([]))
        assert await store.position() == b"one"

    # -- what can go wrong -------------------------------------------------------------------------

    async def test_a_request_that_was_lost_did_nothing(self, store: Store):
        await store.apply(b"", b"one", [writes(a=(5, b"A"))])
        await self.lose_requests()
        with pytest.raises(Unavailable):
            await store.apply(b"one", b"two", [writes(a=(7, b"AA"), b=(7, b"B"))])
        await self.mend()
        assert (await store.load(["a", "b"]))[:2] == (b"one", [b"A", None])
        assert await store.due(10, 10) == ["a"]
        assert await store.apply(b"one", b"two", [writes(b=(7, b"B"))]) == b"two"

    async def test_an_answer_that_was_lost_says_nothing_and_all_was_done(self, store: Store):
        two = [writes(a=(7, b"AA"), b=(6, b"B"))]
        await store.apply(b"", b"one", [writes(a=(5, b"A"))])
        await self.lose_answers()
        with pytest.raises(Unavailable):
            await store.apply(b"one", b"two", two)
        await self.mend()
        assert (await store.load(["a", "b"]))[:2] == (b"two", [b"AA", b"B"])
        assert await store.due(10, 10) == ["b", "a"]
        assert await store.apply(b"one", b"two", two) == b"two"  # asked again, as a recovery does

    async def test_what_a_failover_loses_is_whole_units_from_the_end(self, store: Store):
        await store.apply(b"", b"one", [writes(a=(5, b"A"))])
        await store.apply(b"one", b"two", [writes(a=(-1, b"AA"), b=(6, b"B"))])
        await store.apply(b"two", b"three", [writes(a=(8, b"AAA")), writes(c=(9, b"C"))])
        await self.lose_last_unit()
        assert (await store.load(["a", "b", "c"]))[:2] == (b"two", [b"AA", b"B", None])
        assert await store.due(10, 10) == ["b"]
        assert await store.apply(b"three", b"four", [writes(a=(1, b"no"))]) == b"two"
        await self.lose_last_unit()
        assert (await store.load(["a", "b", "c"]))[:2] == (b"one", [b"A", None, None])
        assert await store.due(10, 10) == ["a"]
        await self.lose_last_unit()
        assert await store.position() is None
        assert (await store.load(["a"]))[:2] == (None, [None])
        assert await store.due(10, 10) == []
        assert await store.apply(b"", b"one", [writes(a=(5, b"A"))]) == b"one"

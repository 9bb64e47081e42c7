"""Keys that were written and are gone from the store: noticed with and without events, healed from the ledger, or
refused by name. Never a client made new, never a timer lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.runtime.errors import Refused, Surprised
from engine.runtime.protocol import partition, recovery
from engine.runtime.protocol.partition import Partition
from tests.core.making import at, login
from tests.memory import Data
from tests.runtime.driving import HELLO, Bench, all_batches, topics_of, units

CLIENTS = [f"c{number}" for number in range(5)]


def some_of_each(data: Data) -> None:
    data.evict("c1", due=False)
    data.evict("c2", states=False)
    data.evict("c3")


def everything(data: Data) -> None:
    data.evict()
    data.evict_position()


LOSSES: dict[str, Callable[[Data], None]] = {
    "a state": lambda data: data.evict("c1", due=False),
    "a due time": lambda data: data.evict("c1", states=False),
    "a client": lambda data: data.evict("c1"),
    "some of each": some_of_each,
    "all due times": lambda data: data.evict(states=False),
    "all states": lambda data: data.evict(due=False),
    "all clients": lambda data: data.evict(),
    "the position": Data.evict_position,
    "everything": everything,
}
PAST = [login(at(0) + n, client_id=f"c{n % 5}") for n in range(12)]
NEXT = [login(at(0) + 12, client_id="c2"), login(at(0) + 13, client_id="c3")]
TOPICS = topics_of([*PAST, login(at(3), client_id="c1"), login(at(3), client_id="new")])
FURTHER = topics_of([*PAST, *NEXT])


async def an_event(worker: Partition[Any, Any, Any]) -> None:
    """The next event is of the client that is gone, and of a client who is new."""
    (batch,) = all_batches(TOPICS, 100, {"logins": 12})
    await worker.take(batch)
    await worker.commit("age")


async def a_timer(worker: Partition[Any, Any, Any]) -> None:
    await worker.tick(at(31))


async def no_event(worker: Partition[Any, Any, Any]) -> None:
    """The clock of events stands still: nothing falls due."""
    for _ in range(3):
        await worker.look()


async def a_sweep(worker: Partition[Any, Any, Any]) -> None:
    await worker.sweep(at(2), 100)
    await worker.look()


Doing = Callable[[Partition[Any, Any, Any]], Awaitable[None]]


async def written() -> tuple[Bench, Partition[Any, Any, Any]]:
    """Twelve logins of five clients, in units of three; nobody is in memory."""
    bench = Bench(HELLO, cache_bytes=0)
    worker = await bench.started()
    for batch in all_batches(topics_of(PAST), 3):
        await worker.take(batch)
        await worker.commit("age")
    return bench, worker


async def further(worker: Partition[Any, Any, Any], offset: int) -> None:
    """One more login, in a unit of its own: the first is of c2."""
    await worker.take(all_batches(FURTHER, 1, {"logins": offset})[0])
    await worker.commit("age")


async def patiently(worker: Partition[Any, Any, Any], doing: Doing) -> int:
    """As a runner does it: start again after any surprise."""
    surprises = 0
    while True:
        try:
            await doing(worker)
            return surprises
        except Surprised:
            surprises += 1
            assert surprises < 5
            await worker.recover()


@pytest.mark.parametrize("restarted", [False, True], ids=["the worker runs", "the worker starts"])
@pytest.mark.parametrize("doing", [an_event, a_timer, no_event, a_sweep])
@pytest.mark.parametrize("loss", LOSSES)
async def test_a_loss_changes_nothing(loss: str, doing: Doing, restarted: bool):
    bench, worker = await written()
    other, untouched = await written()
    LOSSES[loss](bench.data)
    if restarted:
        worker = await bench.started()
    await patiently(worker, doing)
    await patiently(untouched, doing)
    await worker.look()  # all of it, without a surprise
    assert bench.ledger.messages == other.ledger.messages
    assert bench.data.states() == other.data.states()
    assert bench.data.due() == other.data.due()
    assert worker.position == untouched.position


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in ("the position", "everything")])
async def test_a_loss_is_counted_and_not_decided_again(loss: str):
    bench, worker = await written()
    before = bench.ledger.units()
    LOSSES[loss](bench.data)
    assert await patiently(worker, no_event) == 1
    assert bench.ledger.units() == before
    clients = {"some of each": 3, "a state": 1, "a due time": 1, "a client": 1}.get(loss, 5)
    assert bench.registry.get_sample_value("engage_healed_clients_total") == clients


async def test_more_than_memory_should_hold_is_applied_again_from_the_beginning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recovery, "HEAL_KEYS", 2)
    bench, worker = await written()
    other, _ = await written()
    bench.data.evict()
    assert await patiently(worker, no_event) == 1
    assert bench.data.rows() == other.data.rows()
    assert bench.registry.get_sample_value("engage_recovered_units_total") == 4


async def test_a_start_that_ends_in_the_middle_of_it_leaves_nothing_old_behind(monkeypatch: pytest.MonkeyPatch):
    """Whoever starts next must not take states of long ago, which are there again, for the last ones."""
    monkeypatch.setattr(recovery, "HEAL_KEYS", 2)
    bench, _ = await written()
    other, _ = await written()
    bench.data.evict()
    plain = recovery.apply
    for allowed in (0, 1, 1, 1):  # of emptying the position and four units
        left = [allowed]

        async def apply(*unit: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Surprised("killed")
            await plain(*unit)

        monkeypatch.setattr(recovery, "apply", apply)
        with pytest.raises(Surprised, match="killed"):
            await bench.started()
    monkeypatch.setattr(recovery, "apply", plain)
    await patiently(await bench.started(), no_event)
    assert bench.data.states() == other.data.states()
    assert bench.data.due() == other.data.due()


# -- what cannot be healed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ("a state", "c1"),
        ("a due time", "1 that nothing names"),
        ("a client", "1 that nothing names"),
        ("some of each", "c1"),
        ("all states", "c0, c1, c3 and 1 more"),
        ("all due times", "4 that nothing names"),
    ],
)
async def test_what_the_ledger_no_longer_holds_is_refused_by_name(loss: str, names: str):
    bench, worker = await written()
    await further(worker, 12)
    bench.ledger.first = len(bench.ledger.records) - 2  # but for the last unit's, of c2
    before = bench.data.states()
    LOSSES[loss](bench.data)
    with pytest.raises(Surprised):
        await no_event(worker)
    with pytest.raises(
        Refused, match=rf"partition 7: Redis has lost clients that were written \({names}\).*engage rebuild"
    ):
        await worker.recover()
    with pytest.raises((Refused, Surprised)):  # nor does another worker start on it
        await (await bench.started()).look()
    assert bench.data.states().keys() <= before.keys()


async def test_a_trimmed_ledger_heals_whom_it_still_holds():
    bench, worker = await written()
    bench.ledger.first = 2  # the first unit, of c0 to c2, who all wrote again later
    other, _ = await written()
    bench.data.evict("c0", "c4")
    await patiently(worker, no_event)
    assert bench.data.rows() == other.data.rows()


async def test_a_position_over_a_trimmed_ledger_is_refused():
    bench, worker = await written()
    bench.ledger.first = 2
    bench.data.evict_position()
    with pytest.raises(Surprised):
        await no_event(worker)
    with pytest.raises(
        Refused, match=r"its beginning was deleted.*empty this Redis and run `engage rebuild` with the new"
    ):
        await worker.recover()


async def test_clients_that_an_engine_had_counted_twice_are_counted_right_from_then_on():
    """One that did not notice an eviction took the client for a new one: too many in the position, for good."""
    bench, worker = await written()
    worker._unit.states_added = 2
    await further(worker, 12)
    assert units(bench)[-1].end.states == 7
    await patiently(worker, no_event)
    await worker.look()  # it is known by now
    await further(worker, 13)
    assert units(bench)[-1].end.states == 5
    assert await patiently(await bench.started(), no_event) == 0


@pytest.mark.parametrize("again", ["c1", "c4"])
async def test_what_is_lost_again_while_it_is_written_is_not_taken_for_a_wrong_count(again: str):
    bench, worker = await written()
    bench.data.evict("c1", states=False)
    apply = worker._store.apply

    async def apply_and_lose(*given: Any) -> bytes:
        found = await apply(*given)
        bench.data.evict(again, states=False)
        return found

    worker._store.apply = apply_and_lose
    with pytest.raises(Surprised, match="lost keys again"):
        await worker.recover()
    worker._store.apply = apply
    await worker.recover()
    await further(worker, 12)
    assert worker.position.states == len(CLIENTS)
    assert set(bench.data.due()) == set(CLIENTS)


# -- the normal path ----------------------------------------------------------------------------------


async def test_it_costs_no_request_of_its_own(monkeypatch: pytest.MonkeyPatch):
    _, worker = await written()
    asked: list[str] = []
    store: Any = worker._store

    def noting(name: str, plain: Any) -> Any:
        async def answer(*args: Any) -> Any:
            asked.append(name)
            return await plain(*args)

        return answer

    for name in ("position", "load", "look", "missing", "apply", "due"):
        monkeypatch.setattr(store, name, noting(name, getattr(store, name)))
    await an_event(worker)
    assert asked == ["load", "apply"]
    asked.clear()
    await worker.tick(at(4))
    assert asked == ["look", "due"]


async def test_a_look_goes_round(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partition, "LOOK_KEYS", 2)
    for client_id in CLIENTS:
        bench, worker = await written()
        bench.data.evict(client_id, due=False)
        assert await patiently(worker, no_event) == 1

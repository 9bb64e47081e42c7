"""What a Redis is pinned to: a number of partitions, and a ledger.

Enters: what a worker starts with. Leaves: both, remembered. Raises Refused where another was remembered.
Holds: nothing is written to a Redis that belongs to another engine, or that knows nothing of a ledger with records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import structlog

from engine.runtime.errors import Refused
from engine.runtime.redis.errors import answer
from engine.runtime.redis.keys import ledger_key, partitions_key

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)


async def is_pinned(redis: AnyRedis, app_id: str) -> bool:
    """Whether this Redis holds anything of the engine."""
    return await answer(redis.get(partitions_key(app_id))) is not None


async def has_pins(redis: AnyRedis, app_id: str) -> bool:
    """Whether it holds both: the number of partitions, and the name of the ledger."""
    return await is_pinned(redis, app_id) and await answer(redis.get(ledger_key(app_id))) is not None


async def pinned_partitions(redis: AnyRedis, app_id: str) -> int:
    """The number of partitions of the state. Raises Refused if there is no state."""
    pinned = await answer(redis.get(partitions_key(app_id)))
    if pinned is None:
        raise Refused(
            f"this Redis holds no state of an engine with --app-id {app_id}: start a worker on it first, or name the "
            f"right one"
        )
    return int(pinned)


async def pin_partitions(redis: AnyRedis, app_id: str, partitions: int, ledger_is_empty: bool) -> None:
    """Remember how many partitions the state is spread over.

    Raises Refused when it was another number, or when this Redis knows nothing of an engine whose ledger has records.
    While it names a ledger, which is written when all partitions are whole, it does: only the number was evicted or
    deleted, and is written again.
    """
    if not ledger_is_empty and not await is_pinned(redis, app_id):
        if await answer(redis.get(ledger_key(app_id))) is None:
            raise Refused(
                "this Redis holds no state but the ledger has records: it is another Redis, or it was emptied. Point "
                "--redis at the one that holds the state, restore its backup, or run `engage rebuild`"
            )
        log.warning("Redis has lost the number of partitions, by eviction or by hand: it is written again")
    pinned = await _pinned(redis, partitions_key(app_id), str(partitions))
    if pinned != str(partitions):
        raise Refused(
            f"the state in Redis was built with {pinned} partitions, the topics have {partitions}: clients would be "
            f"looked for in the wrong place. Recreate the topics with {pinned} partitions, or start under a new "
            f"--app-id on an empty ledger"
        )


async def pin_ledger(redis: AnyRedis, app_id: str, ledger_topic: str) -> None:
    """Pin the ledger that this state belongs to. Raises Refused if it belongs to another."""
    pinned = await _pinned(redis, ledger_key(app_id), ledger_topic)
    if pinned != ledger_topic:
        raise Refused(
            f"this Redis holds the state of another engine with --app-id {app_id}: its ledger is {pinned}, this one's "
            f"{ledger_topic}. Give one of them another --app-id or another Redis"
        )


async def _pinned(redis: AnyRedis, key: str, value: str) -> str:
    """What is remembered under the key; this value from now on when there was nothing. In one step: a Redis that fails
    over between two would have forgotten again.
    """
    found = await answer(redis.set(key, value, nx=True, get=True))
    return value if found is None else cast(str, found.decode())

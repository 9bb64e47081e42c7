"""Faults of a Redis of several servers: failovers, and slots that move.

Enters: an arena with nodes, a seeded random. Leaves: a Harm. Holds: as in faults.py; the nodes are whole again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from redis.crc import key_slot

from engine.runtime.redis.keys import tag
from tests.faults.arena import Arena
from tests.faults.faults import FAULTS, OF_ONE_SERVER, Harm
from tests.services.redis import RedisServer
from tests.services.redis_nodes import Cluster, Nodes


def _nodes(arena: Arena) -> Nodes:
    assert arena.nodes is not None
    return arena.nodes


def _primary(arena: Arena, random: Random) -> RedisServer:
    return random.choice(_nodes(arena).primaries())


def fail_over(arena: Arena, random: Random) -> Harm:
    primary, since = _primary(arena, random), time.monotonic()
    _nodes(arena).fail_over(primary)
    over = time.monotonic()
    return Harm(f"a replica took Redis {primary.port} over as planned, in {over - since:.1f} s", since, over)


def kill_primary(arena: Arena, random: Random) -> Harm:
    primary, since = _primary(arena, random), time.monotonic()
    _nodes(arena).fail(primary)
    over = time.monotonic()
    _nodes(arena).restart(primary)
    return Harm(f"Redis {primary.port} killed, a replica took over after {over - since:.1f} s", since, over)


def pause_primary(arena: Arena, random: Random) -> Harm:
    """It wakes up and takes itself for the primary still."""
    primary, since = _primary(arena, random), time.monotonic()
    primary.pause()
    _nodes(arena).resume(primary)
    over = time.monotonic()
    return Harm(f"Redis {primary.port} paused, a replica took over within {over - since:.1f} s", since, over)


def primary_loses_writes(arena: Arena, random: Random) -> Harm:
    """One primary's replica takes over that had not heard of what was written last; the others lose nothing."""
    nodes, primary = _nodes(arena), _primary(arena, random)
    lost_s = random.uniform(0.5, 5)
    with nodes.deaf_replicas(primary):
        time.sleep(lost_s)
        since = time.monotonic()
        nodes.fail(primary)
    over = time.monotonic()
    nodes.restart(primary)
    text = (
        f"Redis {primary.port} killed, a replica without its last {lost_s:.1f} s took over after {over - since:.1f} s"
    )
    return Harm(text, since, over)


def move_slots(arena: Arena, random: Random) -> Harm:
    """Key by key, under load."""
    nodes, since = _nodes(arena), time.monotonic()
    assert isinstance(nodes, Cluster)
    moved = random.sample(range(arena.partitions), random.randint(1, 3))
    for partition in moved:
        pause_s = random.choice((0.0, random.uniform(0, 0.05)))
        nodes.move_slot(_slot(partition), lambda pause_s=pause_s: time.sleep(pause_s))  # type: ignore[misc]
    over = time.monotonic()
    return Harm(f"slots of partitions {moved} moved key by key in {over - since:.1f} s", since, over)


def move_slots_at_once(arena: Arena, random: Random) -> Harm:
    nodes, since = _nodes(arena), time.monotonic()
    assert isinstance(nodes, Cluster)
    moved = random.sample(range(arena.partitions), random.randint(1, 4))
    for partition in moved:
        nodes.move_slot_at_once(_slot(partition))
    over = time.monotonic()
    return Harm(f"slots of partitions {moved} moved at once in {over - since:.1f} s", since, over)


def _slot(partition: int) -> int:
    return int(key_slot(tag("faults", partition).encode()))


FAILOVERS: dict[str, Callable[[Arena, Random], Harm]] = {
    "fail-over": fail_over,
    "kill-primary": kill_primary,
    "pause-primary": pause_primary,
    "primary-loses-writes": primary_loses_writes,
}
MOVES: dict[str, Callable[[Arena, Random], Harm]] = {"move-slots": move_slots, "move-slots-at-once": move_slots_at_once}
EVERY = FAULTS | OF_ONE_SERVER | FAILOVERS | MOVES
BY_REDIS = {  # what can be done to each kind
    "standalone": FAULTS | OF_ONE_SERVER,
    "sentinel": FAULTS | FAILOVERS,
    "cluster": FAULTS | FAILOVERS | MOVES,
}

"""A Redis in memory, and redis-py's client over it: the commands and the scripts that the engine uses.

Enters: commands. Leaves: answers, connection errors.
Holds: a script runs whole or not at all; every write is kept in order, so that a failover can lose any number of the
last ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.runtime.protocol.writes import LISTED, PASSING, PLACES, STATE_FIELD
from engine.runtime.redis.counters import ADD
from engine.runtime.redis.store import APPLY, LOAD
from engine.runtime.redis.upkeep import LOOK, MISSING, SCAN
from tests.simulation.network import Network


@dataclass(slots=True)
class Data:
    """Everything a server holds."""

    values: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sorted_sets: dict[str, dict[str, float]] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)


Write = Callable[[Data], None]


class SimRedis:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.data = Data()
        self.writes: list[Write] = []
        self.forgot: set[str] = set()  # keys of single values that a failover lost, at any time
        self.losses = 0
        self.evictions = 0
        self.asked_due: Callable[[str, int], None] = lambda key, until_ms: None  # what the auditor listens to

    def write(self, write: Write) -> None:
        write(self.data)
        self.writes.append(write)

    def lose(self, writes: int) -> None:
        """A replica takes over that has not seen the last writes."""
        knew = set(self.data.values)
        self.losses += 1
        del self.writes[max(len(self.writes) - writes, 0) :]
        self.data = Data()
        for write in self.writes:
            write(self.data)
        self.forgot |= knew.difference(self.data.values)

    def evict(self, random: Random, kind: str) -> None:
        """Keys, or members of the due times, are gone from one partition, as by eviction or by hand; the lists go with
        clients.
        """
        self.evictions += 1
        dues = [key for key, known in sorted(self.data.sorted_sets.items()) if known]
        if not dues:
            return
        due = random.choice(dues)
        place = due.removesuffix(":due")
        clients = sorted(self.data.sorted_sets[due])
        some = random.sample(clients, random.randint(1, len(clients)))

        def gone(data: Data) -> None:
            for client_id in some if kind in ("states", "clients") else ():
                data.hashes.pop(f"{place}:client:{client_id}", None)
            for client_id in some if kind in ("due times", "clients") else ():
                data.sorted_sets.get(due, {}).pop(client_id, None)
            if kind in ("all due times", "partition"):
                data.sorted_sets.pop(due, None)
            if kind in ("position", "partition"):
                data.values.pop(f"{place}:position", None)
            for key in [key for key in data.hashes if key.startswith(place)] if kind == "partition" else ():
                del data.hashes[key]
            for key in [key for key in data.sets if key.startswith(place)] if kind in ("partition", "clients") else ():
                del data.sets[key]

        self.write(gone)

    # -- commands ----------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        return self.data.values.get(key)

    def set(self, key: str, value: bytes, nx: bool) -> bytes | None:
        """What was there before."""
        before = self.get(key)
        if not (nx and before is not None):
            self.write(lambda data: data.values.__setitem__(key, value))
        return before

    def due(self, key: str, until_ms: int, limit: int) -> list[bytes]:
        found = sorted((score, member) for member, score in self.data.sorted_sets.get(key, {}).items())
        return [member.encode() for score, member in found if score <= until_ms][:limit]

    def scan(self, key: str, cursor: int, count: int) -> list[Any]:
        """What SCAN does: `cursor` is the member's hash below which all were named, and each server has its own hash;
        what comes and goes may be left out.
        """
        server = b"%d" % self.losses
        found = sorted((zlib.crc32(server + member.encode()), member) for member in self.data.sorted_sets.get(key, {}))
        rest = [(place, member) for place, member in found if place >= cursor]
        following = rest[count][0] if len(rest) > count else 0
        return [server, b"%d" % following, [part for _, member in rest[:count] for part in (member.encode(), b"0")]]

    def apply(self, position: str, due: str, begin: bytes, end: bytes, prefix: str, chunks: list[bytes]) -> bytes:
        """What APPLY does."""
        found = self.get(position) or b""
        if found != begin:
            return found
        self.write(lambda data: write_rows(data, due, prefix, chunks, position, end))
        return end

    def load(self, position: str, due: str, prefix: str, ids: list[str]) -> list[Any]:
        """What LOAD does."""
        known = self.data.sorted_sets.get(due, {})
        states = [self.data.hashes.get(prefix + client_id, {}).get(STATE_FIELD) for client_id in ids]
        pairs = zip(ids, states, strict=True)
        gone = [client_id.encode() for client_id, state in pairs if state is None and client_id in known]
        return [self.get(position), len(known), gone, *states]

    def look(self, position: str, due: str, prefix: str, cursor: int, count: int) -> list[Any]:
        """What LOOK does."""
        _, following, found = self.scan(due, cursor, count)
        gone = [name for name in found[::2] if STATE_FIELD not in self.data.hashes.get(prefix + name.decode(), {})]
        missing, placed = [], dict[tuple[str, str], float]()
        for name in {part.decode() for part in found[::2]} - {part.decode() for part in gone}:
            record = self.data.hashes[prefix + name]
            keys = [list_of(prefix, of, record[of]) for of in LISTED if record.get(of)]
            missing += [(key, name) for key in keys if name not in self.data.sets.get(key, ())]
            lists, places = self.data.sorted_sets, places_in(prefix, name, record.get(PLACES, b""))
            placed |= {where: at for where, at in places.items() if where[1] not in lists.get(where[0], {})}
        if missing:
            self.write(lambda data: [data.sets.setdefault(key, set()).add(name) for key, name in missing])
        if placed:
            self.write(lambda data: put(data, placed))
        found = len(missing) + len(placed)
        return [self.get(position), len(self.data.sorted_sets.get(due, {})), gone, following, found]

    def count(self, keys: list[str], hour: bytes, counts: dict[str, int]) -> None:
        """What ADD does, but that nothing expires."""

        def add(data: Data) -> None:
            for key in keys[:2]:
                known = data.hashes.setdefault(key, {})
                known |= {rule: b"%d" % (int(known.get(rule, 0)) + number) for rule, number in counts.items()}
            since = data.hashes.setdefault(keys[2], {})
            since |= {rule: hour for rule in counts if rule not in since}

        self.write(add)

    def hdel(self, key: str, names: tuple[str, ...]) -> None:
        self.write(lambda data: [data.hashes.get(key, {}).pop(name, None) for name in names])

    def missing(self, due: str, prefix: str, ids: list[str]) -> list[bytes]:
        """What MISSING does."""
        known, hashes = self.data.sorted_sets.get(due, {}), self.data.hashes
        return [id_.encode() for id_ in ids if id_ not in known or STATE_FIELD not in hashes.get(prefix + id_, {})]


def write_rows(data: Data, due: str, prefix: str, chunks: list[bytes], position: str, end: bytes) -> None:
    for chunk in chunks:
        found = msgpack.unpackb(chunk, raw=True)
        fields = [field.decode() for field in found[b"fields"]]
        moved = {number: known for number, *known in found.get(b"moved", ())}
        if b"moved" not in found:
            moved = {number: [] for number in range(1, len(found[b"rows"]) + 1)}
        for number, (client_id, due_ms, *values) in enumerate(found[b"rows"], 1):
            name = client_id.decode()
            if number in moved:
                relist(data, prefix, name, dict(zip(fields, values, strict=True)), moved[number])
            record = data.hashes.setdefault(prefix + name, {})
            record.update(zip(fields, values, strict=True))
            for field_ in PASSING:
                if record.get(field_) == b"":
                    del record[field_]
            data.sorted_sets.setdefault(due, {})[name] = due_ms if due_ms >= 0 else math.inf
    data.values[position] = end


def relist(data: Data, prefix: str, name: str, now: dict[str, bytes], known: list[bytes]) -> None:
    before = {**dict(zip(LISTED, known, strict=False)), **data.hashes.get(prefix + name, {})}
    for of in LISTED:
        old, new = before.get(of, b""), now.get(of)
        if new is not None:
            if old != new:
                data.sets.get(list_of(prefix, of, old), set()).discard(name)
            if new:
                data.sets.setdefault(list_of(prefix, of, new), set()).add(name)
    if PLACES in now:
        old = data.hashes.get(prefix + name, {}).get(PLACES, known[len(LISTED)] if len(known) > len(LISTED) else b"")
        for key, member in places_in(prefix, name, old):
            data.sorted_sets.get(key, {}).pop(member, None)
        put(data, places_in(prefix, name, now[PLACES]))


def places_in(prefix: str, name: str, places: bytes) -> dict[tuple[str, str], float]:
    """Work list and member -> its place there."""
    found = {}
    for line in places.decode().splitlines():
        whose, at, action = line.split()
        found[f"{prefix.removesuffix('client:')}work:{whose}", f"{action} {name}"] = float(at)
    return found


def put(data: Data, places: dict[tuple[str, str], float]) -> None:
    for (key, member), at in places.items():
        data.sorted_sets.setdefault(key, {})[member] = at


def lists_that_differ(data: Data, prefix: str) -> list[str]:
    """The lists of a partition that do not hold the clients that its hashes say."""
    wanted: dict[str, set[str]] = {}
    work: dict[str, dict[str, float]] = {}
    for key, fields in data.hashes.items():
        said = fields.get(PLACES, b"") if key.startswith(prefix) else b""
        for (where, member), at in places_in(prefix, key.removeprefix(prefix), said).items():
            work.setdefault(where, {})[member] = at
        for name in LISTED if key.startswith(prefix) else ():
            if value := fields.get(name):
                wanted.setdefault(list_of(prefix, name, value), set()).add(key.removeprefix(prefix))
    place = prefix.removesuffix("client:")
    held = {key: ids for key, ids in data.sets.items() if ids and key.startswith(place)}
    worked = {key: all_ for key, all_ in data.sorted_sets.items() if all_ and key.startswith(f"{place}work:")}
    return sorted(
        [key for key in {*wanted, *held} if wanted.get(key) != held.get(key)]
        + [key for key in {*work, *worked} if work.get(key) != worked.get(key)]
    )


def list_of(prefix: str, of: str, value: bytes) -> str:
    return f"{prefix.removesuffix('client:')}list:{of}:{value.decode()}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class SimRedisClient:
    """redis.asyncio.Redis."""

    def __init__(self, server: SimRedis) -> None:
        self._server = server
        self._network = server.network

    async def _ask(self, what: str, effect: Callable[[], Any]) -> Any:
        return await self._network.call("redis", what, effect, self._lost)

    def _lost(self) -> Exception:
        kind = self._network.random.choice((RedisConnectionError, RedisTimeoutError))
        error: Exception = kind("the connection broke")
        return error

    async def get(self, key: str) -> bytes | None:
        answer: bytes | None = await self._ask(f"GET {key}", lambda: self._server.get(key))
        return answer

    async def set(self, key: str, value: int | str, nx: bool = False, get: bool = False) -> bytes | None:
        before: bytes | None = await self._ask(f"SET {key}", lambda: self._server.set(key, str(value).encode(), nx))
        return before if get else None

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        found: dict[str, bytes] = await self._ask(f"HGETALL {key}", lambda: {**self._server.data.hashes.get(key, {})})
        return {name.encode(): value for name, value in found.items()}

    async def hmget(self, key: str, names: list[str]) -> list[bytes | None]:
        found: dict[str, bytes] = await self._ask(f"HMGET {key}", lambda: {**self._server.data.hashes.get(key, {})})
        return [found.get(name) for name in names]

    async def hdel(self, key: str, *names: str) -> None:
        await self._ask(f"HDEL {key}", lambda: self._server.hdel(key, names))

    async def zrange(self, key: str, first: str, last: str, byscore: bool, offset: int, num: int) -> list[bytes]:
        assert first == "-inf"
        assert byscore
        assert offset == 0
        self._server.asked_due(key, int(last))
        answer: list[bytes] = await self._ask(f"ZRANGE {key}", lambda: self._server.due(key, int(last), num))
        return answer

    async def info(self, section: str) -> dict[str, str]:
        answer: dict[str, str] = await self._ask(f"INFO {section}", lambda: {"maxmemory_policy": "noeviction"})
        return answer

    @asynccontextmanager
    async def primaries(self) -> AsyncIterator[list[SimRedisClient]]:
        yield [self]

    def register_script(self, script: str) -> Callable[..., Any]:
        return {
            APPLY: self._apply,
            LOAD: self._load,
            LOOK: self._look,
            MISSING: self._missing,
            SCAN: self._scan,
            ADD: self._add,
        }.get(script, self._unknown)

    async def _apply(self, keys: list[str], args: list[Any]) -> bytes:
        begin, end, prefix, *chunks = args
        effect = lambda: self._server.apply(keys[0], keys[1], begin, end, _text(prefix), chunks)  # noqa: E731
        answer: bytes = await self._ask(f"APPLY {keys[0]}", effect)
        return answer

    async def _look(self, keys: list[str], args: list[Any]) -> list[Any]:
        prefix, cursor, _ = args
        count = self._network.random.randint(1, 4)
        effect = lambda: self._server.look(keys[0], keys[1], prefix, cursor, count)  # noqa: E731
        answer: list[Any] = await self._ask(f"LOOK {keys[0]} {cursor}", effect)
        return answer

    async def _missing(self, keys: list[str], args: list[Any]) -> list[bytes]:
        prefix, packed = args
        ids = msgpack.unpackb(packed)
        effect = lambda: self._server.missing(keys[0], prefix, ids)  # noqa: E731
        answer: list[bytes] = await self._ask(f"MISSING {keys[0]} {' '.join(ids)}", effect)
        return answer

    async def _load(self, keys: list[str], args: list[Any]) -> list[Any]:
        prefix, packed = args
        ids = msgpack.unpackb(packed)
        effect = lambda: self._server.load(keys[0], keys[1], _text(prefix), ids)  # noqa: E731
        answer: list[Any] = await self._ask(f"LOAD {keys[0]} {' '.join(ids)}", effect)
        return answer

    async def _add(self, keys: list[str], args: list[Any]) -> None:
        _, _, _, hour, *counts = args
        added = dict(zip(counts[::2], counts[1::2], strict=True))
        await self._ask(f"COUNT {keys[0]}", lambda: self._server.count(keys, b"%d" % hour, added))

    async def _scan(self, keys: list[str], args: list[int]) -> list[Any]:
        count = self._network.random.randint(1, 4)  # Redis promises nothing about how many
        answer: list[Any] = await self._ask(
            f"ZSCAN {keys[0]} {args[0]}", lambda: self._server.scan(keys[0], args[0], count)
        )
        return answer

    async def _unknown(self, keys: list[str], args: list[Any]) -> None:
        raise NotImplementedError("a script that workers do not run")

    async def aclose(self) -> None:
        """Nothing is held open."""

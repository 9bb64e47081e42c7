"""States in Redis: a Store for each partition, and reading by other tools.

Enters: writes as the ledger holds them. Leaves: states, positions, due clients.
Holds: one script reads or writes everything of a partition, so that nothing is ever half there; all keys of partition
p share the hash tag `{<app>:<p>}`; no key expires.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack
import structlog
from redis.exceptions import MovedError, ResponseError

from engine.runtime.errors import Refused, Surprised, Unavailable
from engine.runtime.protocol.ledger import Loaded, Looked
from engine.runtime.protocol.writes import LISTED, STATE_FIELD
from engine.runtime.redis.errors import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.runtime.clients import AnyRedis


log = structlog.get_logger(__name__)

_CLIENT: Final = "client:"  # ends the prefix of clients' keys
_LISTED: Final = ", ".join(f"'{field}'" for field in LISTED)
# The list that holds clients by a value of one of their fields.
_LIST: Final = f"""
local function list(prefix, field, value)
  return string.sub(prefix, 1, -{len(_CLIENT) + 1}) .. 'list:' .. field .. ':' .. value
end
"""
# A chunk as writes.py has it: it names its fields itself. What a client is listed by is compared with what its hash
# says, or with what the worker knows where the hash is gone: so the lists follow the hash, whatever is applied again.
_WRITE: Final = f"""{_LIST}
local function relist(prefix, id, fields, row, known)
  local now = {{}}
  for index, name in ipairs(fields) do now[name] = row[index + 2] end
  local before = redis.call('HMGET', prefix .. id, {_LISTED})
  for index, field in ipairs({{{_LISTED}}}) do
    local old, new = before[index] or known[index + 1] or '', now[field]
    if new and new ~= old and old ~= '' then redis.call('SREM', list(prefix, field, old), id) end
    if new and new ~= '' and (new ~= old or not before[index]) then redis.call('SADD', list(prefix, field, new), id) end
  end
end
local function write(prefix, packed)
  local chunk = cmsgpack.unpack(packed)
  local moved = chunk.moved
  for _, known in ipairs(moved or {{}}) do
    local row = chunk.rows[known[1]]
    relist(prefix, row[1], chunk.fields, row, known)
  end
  for _, row in ipairs(chunk.rows) do
    if not moved then relist(prefix, row[1], chunk.fields, row, {{}}) end
    local hash = {{prefix .. row[1]}}
    for index, name in ipairs(chunk.fields) do
      hash[2 * index] = name
      hash[2 * index + 1] = row[index + 2]
    end
    redis.call('HSET', unpack(hash))
    redis.call('ZADD', KEYS[2], row[2] < 0 and '+inf' or row[2], row[1])
  end
end
"""

# KEYS[1] position, KEYS[2] due times; ARGV: begin, end, prefix of clients' keys, chunks of writes.
# Answers the position found.
APPLY: Final = f"""{_WRITE}
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
for chunk = 4, #ARGV do write(ARGV[3], ARGV[chunk]) end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
"""

# KEYS as above; ARGV: position or '', prefix of clients' keys, chunks of writes.
RESTORE: Final = f"""{_WRITE}
for chunk = 3, #ARGV do write(ARGV[2], ARGV[chunk]) end
if ARGV[1] ~= '' then redis.call('SET', KEYS[1], ARGV[1]) end
"""

# KEYS as above; ARGV: prefix of clients' keys, packed list of client ids. Answers position, number of clients, which of
# these have a due time but no state, and states, in one step.
LOAD: Final = f"""
local gone = {{}}
local answer = {{redis.call('GET', KEYS[1]), redis.call('ZCARD', KEYS[2]), gone}}
for index, id in ipairs(cmsgpack.unpack(ARGV[2])) do
  local state = redis.call('HGET', ARGV[1] .. id, '{STATE_FIELD}')
  if not state and redis.call('ZSCORE', KEYS[2], id) then gone[#gone + 1] = id end
  answer[index + 3] = state
end
return answer
"""

# KEYS as above; ARGV: prefix of clients' keys, cursor, about how many. Answers position, number of clients, which of
# those looked at have no state, the next cursor, and how many were missing in a list: they are listed again.
LOOK: Final = f"""{_LIST}
local listed = 0
local gone = {{}}
local found = redis.call('ZSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
for index = 1, #found[2], 2 do
  local id = found[2][index]
  if redis.call('HEXISTS', ARGV[1] .. id, '{STATE_FIELD}') == 0 then
    gone[#gone + 1] = id
  else
    for index, value in ipairs(redis.call('HMGET', ARGV[1] .. id, {_LISTED})) do
      local field = ({{{_LISTED}}})[index]
      if value and value ~= '' then listed = listed + redis.call('SADD', list(ARGV[1], field, value), id) end
    end
  end
end
return {{redis.call('GET', KEYS[1]), redis.call('ZCARD', KEYS[2]), gone, found[1], listed}}
"""

# KEYS[1] due times; ARGV: prefix of clients' keys, packed list of client ids. Answers those without state or due time.
MISSING: Final = f"""
local missing = {{}}
for _, id in ipairs(cmsgpack.unpack(ARGV[2])) do
  if redis.call('HEXISTS', ARGV[1] .. id, '{STATE_FIELD}') == 0 or not redis.call('ZSCORE', KEYS[1], id) then
    missing[#missing + 1] = id
  end
end
return missing
"""

# KEYS[1] due times; ARGV: cursor, about how many. Answers the server's run id, '' where rights or
# the service do not say it, the next cursor, clients and due times.
SCAN: Final = """
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local found = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {server, found[1], found[2]}
"""

# KEYS[1] position: written as it is.
TOUCH: Final = """
local found = redis.call('GET', KEYS[1])
if found then redis.call('SET', KEYS[1], found) end
"""


def tag(app_id: str, partition: int) -> str:
    return f"{{{app_id}:{partition}}}"


def client_key(app_id: str, partition: int, client_id: str) -> str:
    return f"{tag(app_id, partition)}:{_CLIENT}{client_id}"


def list_key(app_id: str, partition: int, field: str, value: str) -> str:
    """The set of the partition's clients of whom a LISTED field has this value."""
    return f"{tag(app_id, partition)}:list:{field}:{value}"


def position_key(app_id: str, partition: int) -> str:
    return f"{tag(app_id, partition)}:position"


def due_key(app_id: str, partition: int) -> str:
    """The sorted set of all clients of the partition by when they are due; +inf for never."""
    return f"{tag(app_id, partition)}:due"


class RedisStore:
    """Store of one partition."""

    def __init__(self, redis: AnyRedis, app_id: str, partition: int) -> None:
        self._redis = redis
        self._position = position_key(app_id, partition)
        self._due = due_key(app_id, partition)
        self._clients = f"{tag(app_id, partition)}:{_CLIENT}"
        self._apply = redis.register_script(APPLY)
        self._load = redis.register_script(LOAD)
        self._look = redis.register_script(LOOK)
        self._missing = redis.register_script(MISSING)
        self._restore = redis.register_script(RESTORE)
        self._scan = redis.register_script(SCAN)
        self._scanned = b""  # the server that clients are being named by

    async def server(self) -> bytes:
        """The server that has this partition; after a restart, a failover or a move of its slot it is another one."""
        found: list[bytes] = await _answer(self._scan(keys=[self._due], args=[0, 1]))
        return found[0]

    async def position(self) -> bytes | None:
        return cast("bytes | None", await _answer(self._redis.get(self._position)))

    async def load(self, client_ids: Sequence[str]) -> Loaded:
        keys = [self._position, self._due]
        args = [self._clients, msgpack.packb(client_ids)]
        position, known, gone, *states = await _answer(self._load(keys=keys, args=args))
        return Loaded(position, states, known, [client_id.decode() for client_id in gone])

    async def look(self, cursor: int, limit: int) -> Looked:
        args: list[str | int] = [self._clients, cursor, limit]
        answer = await _answer(self._look(keys=[self._position, self._due], args=args))
        position, known, gone, following, listed = answer
        if listed:  # an older engine wrote them, or a list was deleted or evicted
            log.info("clients were missing in lists, and are back", clients=listed, due=self._due)
        return Looked(position, known, [client_id.decode() for client_id in gone], int(following))

    async def missing(self, client_ids: Sequence[str]) -> list[str]:
        if not client_ids:
            return []
        args = [self._clients, msgpack.packb(client_ids)]
        return [client_id.decode() for client_id in await _answer(self._missing(keys=[self._due], args=args))]

    async def apply(self, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
        keys: list[str] = [self._position, self._due]
        args: list[bytes | str] = [begin, end, self._clients, *writes]
        return cast(bytes, await _answer(self._apply(keys=keys, args=args)))

    async def restore(self, writes: Sequence[bytes], position: bytes | None = None) -> None:
        """Write states as they are, then the position: for a rebuild, when no worker runs."""
        args: list[bytes | str] = [position or b"", self._clients, *writes]
        await _answer(self._restore(keys=[self._position, self._due], args=args))

    async def due(self, until_ms: int, limit: int) -> list[str]:
        ids = await _answer(self._redis.zrange(self._due, "-inf", str(until_ms), byscore=True, offset=0, num=limit))
        return [client_id.decode() for client_id in ids]

    async def clients(self, cursor: int, limit: int) -> tuple[int, list[str]]:
        """Names the server and its start: scan order differs between them, so a cursor is valid only there."""
        server, following, found = await _answer(self._scan(keys=[self._due], args=[cursor, limit]))
        if cursor == 0:
            self._scanned = server
        elif server != self._scanned:
            raise Surprised("another Redis answers than the one on which the scan of clients began")
        return int(following), [client_id.decode() for client_id in found[::2]]


async def _answer(command: Awaitable[Any]) -> Any:
    with redis_errors():
        return await command


async def is_pinned(redis: AnyRedis, app_id: str) -> bool:
    """Whether this Redis holds anything of the engine."""
    return await _answer(redis.get(_partitions_key(app_id))) is not None


async def has_pins(redis: AnyRedis, app_id: str) -> bool:
    """Whether it holds both: the number of partitions, and the name of the ledger."""
    return await is_pinned(redis, app_id) and await _answer(redis.get(_ledger_key(app_id))) is not None


async def pinned_partitions(redis: AnyRedis, app_id: str) -> int:
    """The number of partitions of the state. Raises Refused if there is no state."""
    pinned = await _answer(redis.get(_partitions_key(app_id)))
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
        if await _answer(redis.get(_ledger_key(app_id))) is None:
            raise Refused(
                "this Redis holds no state but the ledger has records: it is another Redis, or it was emptied. Point "
                "--redis at the one that holds the state, restore its backup, or run `engage rebuild`"
            )
        log.warning("Redis has lost the number of partitions, by eviction or by hand: it is written again")
    pinned = await _pinned(redis, _partitions_key(app_id), str(partitions))
    if pinned != str(partitions):
        raise Refused(
            f"the state in Redis was built with {pinned} partitions, the topics have {partitions}: clients would be "
            f"looked for in the wrong place. Recreate the topics with {pinned} partitions, or start under a new "
            f"--app-id on an empty ledger"
        )


async def pin_ledger(redis: AnyRedis, app_id: str, ledger_topic: str) -> None:
    """Pin the ledger that this state belongs to. Raises Refused if it belongs to another."""
    pinned = await _pinned(redis, _ledger_key(app_id), ledger_topic)
    if pinned != ledger_topic:
        raise Refused(
            f"this Redis holds the state of another engine with --app-id {app_id}: its ledger is {pinned}, this one's "
            f"{ledger_topic}. Give one of them another --app-id or another Redis"
        )


async def flushed(redis: AnyRedis, app_id: str, wait_ms: int = 10_000) -> None:
    """Wait until everything that Redis has acknowledged is on its disk. Raises Refused without an append-only file."""
    partitions = set(range(await pinned_partitions(redis, app_id)))
    with redis_errors():
        async with redis.primaries() as servers:
            found = [await _flushed(server, app_id, partitions, wait_ms) for server in servers]
    if missed := partitions.difference(*found):
        raise Unavailable("redis", f"it moved the slots of partitions {sorted(missed)} meanwhile: run this again")


async def _flushed(server: Redis, app_id: str, partitions: set[int], wait_ms: int) -> set[int]:
    """The partitions that this server holds."""
    held = set()
    async with server.client() as one:
        for partition in partitions:
            # WAITAOF waits for what its own connection wrote, and so for all before that: for nothing without this
            with suppress(MovedError):
                await one.eval(TOUCH, 1, position_key(app_id, partition))
                held.add(partition)
        try:
            local, _ = await one.execute_command("WAITAOF", 1, 0, wait_ms)
        except ResponseError as error:
            raise Refused(
                f"Redis cannot say that its data is on disk ({error}): it needs appendonly yes, Redis 7.2 or Valkey"
            ) from error
    if local < 1:
        raise Unavailable("redis", "the append-only file was not flushed in time")
    return held


async def _pinned(redis: AnyRedis, key: str, value: str) -> str:
    """What is remembered under the key; this value from now on when there was nothing. In one step: a Redis that fails
    over between two would have forgotten again.
    """
    found = await _answer(redis.set(key, value, nx=True, get=True))
    return value if found is None else cast(str, found.decode())


def _partitions_key(app_id: str) -> str:
    return f"{{{app_id}}}:partitions"


def _ledger_key(app_id: str) -> str:
    return f"{{{app_id}}}:ledger"

"""What a partition's states in Redis are asked when no event is at hand: whether they are whole, who they are, and that
they are on disk.

Enters: a partition's keys. Leaves: where it stands, clients by name, what is missing. Holds: one script asks everything
of a moment; no state is changed, but a client that is missing in a list is listed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import msgpack
import structlog
from redis.exceptions import MovedError, ResponseError

from engine.runtime.errors import Refused, Surprised, Unavailable
from engine.runtime.protocol.ledger import Looked
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.errors import answer, redis_errors
from engine.runtime.redis.keys import CLIENT, LIST, LISTED_FIELDS, PLACES_FIELD, due_key, position_key, tag
from engine.runtime.redis.pins import pinned_partitions

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)

# KEYS[1] position, KEYS[2] due times; ARGV: prefix of clients' keys, cursor, about how many. Answers position, number
# of clients, which of those looked at have no state, the next cursor, and how many were missing in a list: they are
# listed again.
LOOK: Final = f"""{LIST}
local listed = 0
local gone = {{}}
local found = redis.call('ZSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
for index = 1, #found[2], 2 do
  local id = found[2][index]
  if redis.call('HEXISTS', ARGV[1] .. id, '{STATE_FIELD}') == 0 then
    gone[#gone + 1] = id
  else
    for index, value in ipairs(redis.call('HMGET', ARGV[1] .. id, {LISTED_FIELDS})) do
      local field = ({{{LISTED_FIELDS}}})[index]
      if value and value ~= '' then listed = listed + redis.call('SADD', list(ARGV[1], field, value), id) end
    end
    listed = listed + place(ARGV[1], id, redis.call('HGET', ARGV[1] .. id, {PLACES_FIELD}) or '', 'ZADD')
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


class Upkeep:
    """A partition's keys, and what is asked of them beside its events. RedisStore adds these."""

    def __init__(self, redis: AnyRedis, app_id: str, partition: int) -> None:
        self._redis = redis
        self._position = position_key(app_id, partition)
        self._due = due_key(app_id, partition)
        self._clients = f"{tag(app_id, partition)}:{CLIENT}"
        self._look = redis.register_script(LOOK)
        self._missing = redis.register_script(MISSING)
        self._scan = redis.register_script(SCAN)
        self._scanned = b""  # the server that clients are being named by

    async def server(self) -> bytes:
        """The server that has this partition; after a restart, a failover or a move of its slot it is another one."""
        found: list[bytes] = await answer(self._scan(keys=[self._due], args=[0, 1]))
        return found[0]

    async def position(self) -> bytes | None:
        return cast("bytes | None", await answer(self._redis.get(self._position)))

    async def look(self, cursor: int, limit: int) -> Looked:
        args: list[str | int] = [self._clients, cursor, limit]
        found = await answer(self._look(keys=[self._position, self._due], args=args))
        position, known, gone, following, listed = found
        if listed:  # an older engine wrote them, or a list was deleted or evicted
            log.info("clients were missing in lists, and are back", clients=listed, due=self._due)
        return Looked(position, known, [client_id.decode() for client_id in gone], int(following))

    async def missing(self, client_ids: Sequence[str]) -> list[str]:
        if not client_ids:
            return []
        args = [self._clients, msgpack.packb(client_ids)]
        return [client_id.decode() for client_id in await answer(self._missing(keys=[self._due], args=args))]

    async def clients(self, cursor: int, limit: int) -> tuple[int, list[str]]:
        """Names the server and its start: scan order differs between them, so a cursor is valid only there."""
        server, following, found = await answer(self._scan(keys=[self._due], args=[cursor, limit]))
        if cursor == 0:
            self._scanned = server
        elif server != self._scanned:
            raise Surprised("another Redis answers than the one on which the scan of clients began")
        return int(following), [client_id.decode() for client_id in found[::2]]


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

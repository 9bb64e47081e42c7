"""States in Redis: a Store for each partition.

Enters: writes as the ledger holds them. Leaves: states, due clients; upkeep.py has what no event passes through.
Holds: one script reads or writes everything of a partition, so that nothing is ever half there; none of these keys
expires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import msgpack

from engine.runtime.protocol.ledger import Loaded
from engine.runtime.protocol.writes import LISTED, STATE_FIELD
from engine.runtime.redis.errors import answer
from engine.runtime.redis.keys import LIST, LISTED_FIELDS, PASSING_FIELDS, PLACES_FIELD
from engine.runtime.redis.upkeep import Upkeep

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

# A chunk as writes.py has it: it names its fields itself. What a client is listed by is compared with what its hash
# says, or with what the worker knows where the hash is gone: so the lists follow the hash, whatever is applied again.
_WRITE: Final = f"""{LIST}
local function relist(prefix, id, fields, row, known)
  local now = {{}}
  for index, name in ipairs(fields) do now[name] = row[index + 2] end
  local before = redis.call('HMGET', prefix .. id, {LISTED_FIELDS})
  for index, field in ipairs({{{LISTED_FIELDS}}}) do
    local old, new = before[index] or known[index + 1] or '', now[field]
    if new and new ~= old and old ~= '' then redis.call('SREM', list(prefix, field, old), id) end
    if new and new ~= '' and (new ~= old or not before[index]) then redis.call('SADD', list(prefix, field, new), id) end
  end
  if now[{PLACES_FIELD}] then
    place(prefix, id, redis.call('HGET', prefix .. id, {PLACES_FIELD}) or known[{len(LISTED) + 2}] or '', 'ZREM')
    place(prefix, id, now[{PLACES_FIELD}], 'ZADD')
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
    if row[#row] == '' and hash[#hash - 1] == {PLACES_FIELD} then redis.call('HDEL', hash[1], {PASSING_FIELDS}) end
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


class RedisStore(Upkeep):
    """Store of one partition."""

    def __init__(self, redis: AnyRedis, app_id: str, partition: int) -> None:
        super().__init__(redis, app_id, partition)
        self._apply = redis.register_script(APPLY)
        self._load = redis.register_script(LOAD)
        self._restore = redis.register_script(RESTORE)

    async def load(self, client_ids: Sequence[str]) -> Loaded:
        keys = [self._position, self._due]
        args = [self._clients, msgpack.packb(client_ids)]
        position, known, gone, *states = await answer(self._load(keys=keys, args=args))
        return Loaded(position, states, known, [client_id.decode() for client_id in gone])

    async def apply(self, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
        keys: list[str] = [self._position, self._due]
        args: list[bytes | str] = [begin, end, self._clients, *writes]
        return cast(bytes, await answer(self._apply(keys=keys, args=args)))

    async def restore(self, writes: Sequence[bytes], position: bytes | None = None) -> None:
        """Write states as they are, then the position: for a rebuild, when no worker runs."""
        args: list[bytes | str] = [position or b"", self._clients, *writes]
        await answer(self._restore(keys=[self._position, self._due], args=args))

    async def due(self, until_ms: int, limit: int) -> list[str]:
        ids = await answer(self._redis.zrange(self._due, "-inf", str(until_ms), byscore=True, offset=0, num=limit))
        return [client_id.decode() for client_id in ids]

"""The names of the keys in Redis.

Enters: an application id, a partition, a client. Leaves: names. Holds: all keys of partition p share the hash tag
`{<app>:<p>}`, so that a script has one slot of a cluster; the two pins have another.
"""

from __future__ import annotations

from typing import Final

from engine.runtime.protocol.writes import LISTED, PASSING, PLACES

CLIENT: Final = "client:"  # ends the prefix of clients' keys
LISTED_FIELDS: Final = ", ".join(f"'{field}'" for field in LISTED)  # for scripts
# The list that holds clients by a value of one of their fields; and the sorted ones that hold what staff have to do for
# them, as work_key names them.
LIST: Final = f"""
local function list(prefix, field, value)
  return string.sub(prefix, 1, -{len(CLIENT) + 1}) .. 'list:' .. field .. ':' .. value
end
local function place(prefix, id, places, command)
  local done = 0
  for list, at, name in string.gmatch(places, '(%S+) (%d+) (%S+)') do
    local key, member = string.sub(prefix, 1, -{len(CLIENT) + 1}) .. 'work:' .. list, name .. ' ' .. id
    if command == 'ZREM' then
      redis.call('ZREM', key, member)
    else
      done = done + redis.call('ZADD', key, at, member)
    end
  end
  return done
end
"""
PLACES_FIELD: Final = f"'{PLACES}'"  # for scripts
PASSING_FIELDS: Final = ", ".join(f"'{field}'" for field in PASSING)


def tag(app_id: str, partition: int) -> str:
    return f"{{{app_id}:{partition}}}"


def client_key(app_id: str, partition: int, client_id: str) -> str:
    return f"{tag(app_id, partition)}:{CLIENT}{client_id}"


def list_key(app_id: str, partition: int, field: str, value: str) -> str:
    """The set of the partition's clients of whom a LISTED field has this value."""
    return f"{tag(app_id, partition)}:list:{field}:{value}"


def work_key(app_id: str, partition: int, whose: str) -> str:
    """The sorted set of open work for clients of the partition, the first to be done first: members are an action's id,
    a blank and the client's id. `whose` is team:<name> or advisor:<id>.
    """
    return f"{tag(app_id, partition)}:work:{whose}"


def position_key(app_id: str, partition: int) -> str:
    return f"{tag(app_id, partition)}:position"


def due_key(app_id: str, partition: int) -> str:
    """The sorted set of all clients of the partition by when they are due; +inf for never."""
    return f"{tag(app_id, partition)}:due"


def partitions_key(app_id: str) -> str:
    """The pinned number of partitions."""
    return f"{{{app_id}}}:partitions"


def ledger_key(app_id: str) -> str:
    """The ledger that the state belongs to."""
    return f"{{{app_id}}}:ledger"

"""The names of the keys in Redis.

Enters: an application id, a partition, a client. Leaves: names. Holds: all keys of partition p share the hash tag
`{<app>:<p>}`, so that a script has one slot of a cluster; the two pins have another.
"""

from __future__ import annotations

from typing import Final

from engine.runtime.protocol.writes import LISTED

CLIENT: Final = "client:"  # ends the prefix of clients' keys
LISTED_FIELDS: Final = ", ".join(f"'{field}'" for field in LISTED)  # for scripts
# The list that holds clients by a value of one of their fields.
LIST: Final = f"""
local function list(prefix, field, value)
  return string.sub(prefix, 1, -{len(CLIENT) + 1}) .. 'list:' .. field .. ':' .. value
end
"""


def tag(app_id: str, partition: int) -> str:
    return f"{{{app_id}:{partition}}}"


def client_key(app_id: str, partition: int, client_id: str) -> str:
    return f"{tag(app_id, partition)}:{CLIENT}{client_id}"


def list_key(app_id: str, partition: int, field: str, value: str) -> str:
    """The set of the partition's clients of whom a LISTED field has this value."""
    return f"{tag(app_id, partition)}:list:{field}:{value}"


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

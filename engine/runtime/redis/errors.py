"""What Redis and redis-py say went wrong, in the engine's own meanings.

Enters: an error. Leaves: Unavailable, or Refused with a remedy. Holds: what is neither is a fault of ours, such as one
in a script, and is passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from engine.runtime.errors import Refused, Unavailable

# Answers of a Redis that will be well again: failing over, full, unable to write, busy. redis-py has a class for some
# of them, and takes the word off their text; one that is starting (LOADING) is no ResponseError there. A
# script that was just sent is not known when another server answers already.
_PASSING: Final = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError, AskError, NoScriptError)
_PASSING_WORDS: Final = ("MISCONF", "BUSY", "NOREPLICAS")
# In a cluster: what a script hears about a key that has moved already, or is yet to be written, while its slot moves
# key by key; and while no majority of nodes is there.
_MOVING: Final = "non local key in a cluster node"
_DOWN: Final = "while the cluster is down"


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translates Redis's errors: wait for it, or refuse with a remedy."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        found = error.__cause__ if isinstance(error, RedisClusterException) and error.__cause__ else error
        text = str(found)
        if remedy := _remedy(found, text):
            raise Refused(remedy) from error
        if isinstance(found, AskError | TryAgainError) or _MOVING in text:
            raise Unavailable("redis", f"it moves the slot of these keys to another node ({text})") from error
        passing = isinstance(found, _PASSING) or text.startswith(_PASSING_WORDS) or _DOWN in text
        if isinstance(found, ResponseError) and not passing:
            raise  # a fault of ours, such as in a script: waiting would not mend it
        raise Unavailable("redis", f"{type(found).__name__}: {text}") from error


async def answer(command: Awaitable[Any]) -> Any:
    """What Redis answers. Raises Unavailable or Refused."""
    with redis_errors():
        return await command


def _remedy(error: BaseException, text: str) -> str | None:
    """What an operator has to do about it, if somebody has."""
    denied = isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError)
    if denied or text.startswith(("NOAUTH", "NOPERM", "WRONGPASS", "ACL failure in script")):
        remedy = "set them in ENGAGE_REDIS or the settings file, redis://USER:PASSWORD@HOST:PORT/0"
        return f"Redis refuses the credentials ({text}): {remedy}"
    if text.startswith("No master found") and "AuthenticationError" in text:
        return f"the Sentinels refuse the credentials ({text}): set redis_sentinel_username and redis_sentinel_password"
    if text.startswith("DB index is out of range"):
        return f"Redis has no such database ({text}): the number at the end of its URL"
    if isinstance(error, MovedError):
        return f"this Redis is a node of a cluster ({text}): set redis_mode to cluster"
    if "Cluster mode is not enabled" in text:
        return f"this Redis is not a node of a cluster ({text}): set redis_mode to standalone or sentinel"
    if text.startswith("unknown command"):
        return f"what answers there is not what redis_mode says, or lacks a command ({text}): set redis_mode"
    return None

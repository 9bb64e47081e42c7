"""A worker that ends, with nothing tidied up, at the DIE_AT-th unit: before its apply, or right after (DIE_MOMENT).

The fault is put in from outside: the engine's own code has no points for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count

from engine.cli.main import main
from engine.runtime.redis.store import RedisStore

EXIT_STATUS = 99

moment, last = os.environ["DIE_MOMENT"], int(os.environ["DIE_AT"])
calls = count(1)
apply = RedisStore.apply


async def dying_apply(self: RedisStore, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
    number = next(calls)
    if number == last and moment == "before_apply":
        os._exit(EXIT_STATUS)
    found = await apply(self, begin, end, writes)
    if number == last and moment == "after_apply":
        os._exit(EXIT_STATUS)
    return found


RedisStore.apply = dying_apply  # type: ignore[method-assign]

if __name__ == "__main__":
    main()

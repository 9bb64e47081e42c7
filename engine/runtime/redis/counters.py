"""How many actions of each rule were published, over all workers: by minute, and by hour.

Enters: counts. Leaves: counts. Holds: what is here is for the breaker alone, and no decision is read from it. It is
added to once a second and expires by itself; all its keys have one slot of a cluster, `{<app>:breaker}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, cast

from engine.runtime.redis.errors import redis_errors

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
MINUTES_S: Final = 10 * 60  # how long the counts of a minute are kept
SINCE_S: Final = 60 * 86_400  # and since when a rule was counted, from the last count on

# KEYS: a minute's hash, its hour's, since when; ARGV: seconds that each is kept, the hour, then rules and numbers.
ADD: Final = """
for index = 5, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[index], ARGV[index + 1])
  redis.call('HINCRBY', KEYS[2], ARGV[index], ARGV[index + 1])
  redis.call('HSETNX', KEYS[3], ARGV[index], ARGV[4])
end
for index = 1, 3 do redis.call('EXPIRE', KEYS[index], ARGV[index]) end
"""


class Counters:
    def __init__(self, redis: AnyRedis, app_id: str, kept_days: int) -> None:
        self._redis = redis
        self._place = f"{{{app_id}:breaker}}"
        self._hours_s = (kept_days + 1) * 86_400
        self._add = redis.register_script(ADD)

    async def add(self, minute: int, actions: Mapping[str, int]) -> None:
        """`minute` is counted from 1970."""
        keys = [self._minute(minute), self._hour(minute // 60), f"{self._place}:since"]
        args: list[str | int] = [MINUTES_S, self._hours_s, SINCE_S, minute // 60]
        for rule, number in actions.items():
            args += [rule, number]
        with redis_errors():
            await self._add(keys=keys, args=args)

    async def minutes(self, minutes: Iterable[int]) -> list[dict[str, int]]:
        """By rule, for each minute."""
        return await self._read([self._minute(minute) for minute in minutes])

    async def hours(self, hours: Iterable[int]) -> list[dict[str, int]]:
        return await self._read([self._hour(hour) for hour in hours])

    async def since(self) -> dict[str, int]:
        """The hour in which each rule was first counted."""
        return (await self._read([f"{self._place}:since"]))[0]

    async def forget(self, minute: int, rules: Iterable[str]) -> None:
        """What these rules did in the present and the last minute and hour."""
        names, hour = [*rules], minute // 60
        keys = [self._minute(minute - 1), self._minute(minute), self._hour(hour - 1), self._hour(hour)]
        with redis_errors():
            for key in keys:
                await self._redis.hdel(key, *names)  # type: ignore[misc]

    async def _read(self, keys: list[str]) -> list[dict[str, int]]:
        found = []
        with redis_errors():
            for key in keys:  # one after another: each at once takes a connection of its own
                counts = cast("dict[bytes, bytes]", await self._redis.hgetall(key))  # type: ignore[misc]
                found.append({rule.decode(): int(number) for rule, number in counts.items()})
        return found

    def _minute(self, minute: int) -> str:
        return f"{self._place}:minute:{minute}"

    def _hour(self, hour: int) -> str:
        return f"{self._place}:hour:{hour}"

"""Work lists in Redis hold what is open, sorted, exactly as clients' records say, whatever is lost or repeated."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.firm_time import NEVER_MS
from engine.runtime.clients import redis_client
from engine.runtime.protocol.writes import LISTED, PASSING, PLACES, Write, encode_writes
from engine.runtime.redis.keys import client_key, work_key
from engine.runtime.redis.lists import open_work, work_of
from engine.runtime.redis.pins import pin_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

Open = dict[str, tuple[int, list[str]]]  # action -> its place, the lists that it is in


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator:
    async with redis_client(Settings(redis=server.url)) as client:
        await client.flushall()
        await pin_partitions(client, "engage", 2, ledger_is_empty=True)
        yield client


def places_of(work: Open) -> str:
    return "\n".join(f"{list_} {place} {action}" for action, (place, lists) in work.items() for list_ in lists)


def write(key: str, work: Open, before: Open | None) -> Write:
    """`before` is what was written last, None if nobody knows."""
    public = dict.fromkeys(LISTED, "")
    if work or before:
        told = [shown(key, action, place, lists) for action, (place, lists) in work.items()]
        public |= dict(zip(PASSING, (json.dumps(told) if told else "", places_of(work)), strict=True))
    same = before is not None and places_of(before) == places_of(work)
    moved = () if before is None else None if same else ("", "", "", "", places_of(before))
    return Write(key, NEVER_MS, b"s", public, moved)


def shown(key: str, action: str, place: int, lists: list[str]) -> dict:
    of_advisor = [one.removeprefix("advisor:") for one in lists if one.startswith("advisor:")]
    return {
        "action_id": action, "client_id": key, "kind": "task", "rule_id": "call", "priority": 100 - place // 10**13,
        "since": "2026-11-02T01:00:00Z", "team": "wealth", "for": "advisor" if of_advisor else "team",
        "advisor_id": of_advisor[0] if of_advisor else None, "state": "open", "accepted_at": None, "accepted_by": None,
        "reminded": 2, "overdue": True, "escalated": None,
    }  # fmt: skip


async def apply(store: RedisStore, *writes: Write) -> None:
    found = await store.position() or b""
    assert await store.apply(found, found + b"x", encode_writes(writes)) == found + b"x"


async def lists_are_what_records_say(redis, work: dict[str, Open], partition: int = 0) -> None:
    said: dict[str, dict[bytes, float]] = {}
    for key, of in work.items():
        record = client_key("engage", partition, key)
        assert ((await redis.hget(record, PLACES)) or b"").decode() == places_of(of)
        assert await redis.hexists(record, PASSING[0]) == bool(of)  # nothing is kept of what was done
        for action, (place, lists) in of.items():
            for list_ in lists:
                said.setdefault(work_key("engage", partition, list_), {})[f"{action} {key}".encode()] = place
    keys = [key.decode() async for key in redis.scan_iter(f"{{engage:{partition}}}:work:*")]
    assert {key: dict(await redis.zrange(key, 0, -1, withscores=True)) for key in keys} == said


@pytest.mark.parametrize("seed", range(6))
async def test_lists_follow_whatever_is_applied_lost_and_applied_again(redis, seed):
    chance, store = random.Random(seed), RedisStore(redis, "engage", 0)
    now: dict[str, Open] = {}
    units: list[list[Write]] = []
    for _ in range(25):
        unit = []
        for key in chance.sample([f"c{n}" for n in range(6)], 3):
            before = now.get(key)
            lists = [["team:wealth"], ["team:wealth", "advisor:A-1"], ["team:risk"]]
            now[key] = {f"{key}a{n}": (chance.randrange(9), chance.choice(lists)) for n in range(chance.randrange(3))}
            unit.append(write(key, now[key], before))
        units.append(unit)
        await apply(store, *unit)
        if chance.random() < 0.4:  # a record is lost, and the worker who has the state goes on
            key = chance.choice(list(now))
            await redis.delete(client_key("engage", 0, key))
            before, now[key] = now[key], {}
            units.append([write(key, {}, before)])
            await apply(store, *units[-1])
    await lists_are_what_records_say(redis, now)
    for unit in units:  # over what is there already
        await apply(store, *unit)
    await lists_are_what_records_say(redis, now)
    await redis.flushall()
    for unit in units:  # into an empty Redis, as a rebuild does
        await store.restore(encode_writes(unit))
    await lists_are_what_records_say(redis, now)


async def test_what_is_missing_in_a_list_comes_back_when_it_is_looked_at(redis):
    store, work = RedisStore(redis, "engage", 0), {f"c{n}": {f"a{n}": (n, ["team:wealth"])} for n in range(40)}
    await apply(store, *(write(key, of, None) for key, of in work.items()))
    await redis.delete(work_key("engage", 0, "team:wealth"))
    cursor = -1
    while cursor:
        cursor = (await store.look(max(cursor, 0), 10)).cursor
    await lists_are_what_records_say(redis, work)


async def test_the_most_urgent_of_all_partitions_come_first(redis):
    for partition in (0, 1):
        work = {f"c{partition}-{n}": {f"a{partition}-{n}": (2 * n + partition, ["team:wealth"])} for n in range(30)}
        await apply(RedisStore(redis, "engage", partition), *(write(key, of, None) for key, of in work.items()))
    found = [one["action_id"] for one in await open_work(redis, "engage", "team:wealth")]
    assert found == [f"a{n % 2}-{n // 2}" for n in range(60)]
    assert [one["action_id"] for one in await open_work(redis, "engage", "team:wealth", 3)] == found[:3]
    assert (await work_of(redis, "engage", "team:wealth"), await work_of(redis, "engage", "team:risk")) == (60, 0)


ENTRIES = [
    shown("C000186", "91721475a5553a31549398be4ff47a8d", 0, [])
    | {"kind": "alert", "rule_id": "margin-call", "since": "2026-11-02T01:30:00Z", "team": "risk_compliance"}
    | {"for": "head", "overdue": False, "escalated": "head"},
    shown("C000413", "5c1f0d7e2b9a4c6d8e0f1a2b3c4d5e6f", 30 * 10**13, ["advisor:li-na"])
    | {"rule_id": "call-back", "since": "2026-11-02T03:12:00Z", "team": "risk_compliance", "reminded": 0}
    | {"state": "accepted", "accepted_by": "S-017", "overdue": False},
    shown("C000077", "0f1a2b3c4d5e6f5c1f0d7e2b9a4c6d8e", 60 * 10**13, [])
    | {"rule_id": "new-address", "since": "2026-11-02T03:40:00Z", "team": "risk_compliance", "reminded": 0}
    | {"leaves": "2026-11-05T03:40:00Z", "overdue": False},
]


def test_the_command_shows_and_counts(server):
    async def fill() -> None:
        async with redis_client(Settings(redis=server.url)) as client:
            await client.flushall()
            await pin_partitions(client, "engage", 1, ledger_is_empty=True)
            for place, one in enumerate(ENTRIES):
                lists = ["team:risk_compliance", *(["advisor:li-na"] if one["advisor_id"] else [])]
                found = write(one["client_id"], {one["action_id"]: (place, lists)}, None)
                public = {**found.public, PASSING[0]: json.dumps([one])}
                await apply(RedisStore(client, "engage", 0), found._replace(public=public))

    asyncio.run(fill())

    def engage(*arguments: str):
        return CliRunner().invoke(main, ["work", "--redis", server.url, *arguments])

    page = (REPOSITORY / "docs" / "care.md").read_text(encoding="utf-8")
    assert f"```\n$ engage work risk_compliance\n{engage('risk_compliance').output}```" in page
    told = json.loads(engage("--advisor", "li-na", "--json").output)
    assert (told["count"], told["work"]) == (1, ENTRIES[1:2])
    assert engage("risk_compliance", "--limit", "1").output.count("\n") == 1
    assert engage("risk_compliance", "--count").output == "3\n"
    assert engage("trading").output == ""
    assert engage().exit_code == engage("wealth", "--advisor", "li-na").exit_code == 2

"""The breaker of workers, on a Redis and a Kafka of this machine: what they publish is counted together, and paused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from engine.core.plan.compile import Plan
from engine.demo.embedded import EmbeddedKafka, EmbeddedRedis
from engine.runtime.clients import AnyRedis, Clients
from engine.runtime.errors import Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.redis.counters import HOUR_MS, MINUTE_MS, Counters
from engine.runtime.rule_sets import breaker as breaker_
from engine.runtime.rule_sets import publishing
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.rule_sets.breaker import AGAIN_S, WEEK_HOURS, Breaker
from engine.runtime.rule_sets.pausing import resume
from engine.runtime.settings import Settings, load
from tests.core.making import plan_of, rule

NOW_MS = 500_000 * HOUR_MS + 30 * MINUTE_MS
POLICY = (
    "contact: {daily_cap: 2}\nbreaker: {each_rule: {per_minute: 10, per_hour: 100, times_usual: 3, usual_from: 20}}\n"
)


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with EmbeddedRedis() as started:
        yield started.url


@pytest.fixture
def settings(kafka: EmbeddedKafka, redis_url: str, request: pytest.FixtureRequest) -> Settings:
    name = re.sub(r"[^a-z]", "-", request.node.name)[:50]
    found = load(kafka=kafka.address, redis=redis_url, prefix=f"{name}.", app_id=name)
    kafka.create_topics([found.rule_set_topic])
    return found


@dataclass
class Workers:
    """Breakers of workers that use the newest rules, with one clock."""

    settings: Settings
    now_ms: int = NOW_MS
    metrics: list[Metrics] = field(default_factory=list)
    redis: list[AnyRedis] = field(default_factory=list)
    plan: Plan | None = None

    @property
    def paused(self) -> list[tuple[str, str]]:
        assert self.plan is not None
        return [(pause.rule, pause.why) for pause in self.plan.rule_set.paused]

    @property
    def clients(self) -> Clients:
        return Clients(wall_ms=lambda: self.now_ms)

    def one(self) -> Breaker:
        self.metrics.append(Metrics(CollectorRegistry()))
        self.redis.append(Clients().redis(self.settings))
        return Breaker(self.settings, self.clients, self.redis[-1], self.metrics[-1], lambda: self.plan.rule_set)

    async def publish(self, *rules: str, policy: str = POLICY) -> None:
        plan = plan_of(*rules, others=(("policy.yaml", policy),))
        await publishing.publish(self.settings, self.clients, plan.rule_set, "ann", "why")
        await self.follow()

    async def follow(self) -> RuleSetArchive:
        archive = RuleSetArchive(self.settings, self.clients)
        await archive.read()
        assert archive.head is not None
        self.plan = archive.plan(archive.head)
        return archive

    def counted(self, number: int) -> tuple[float | None, float | None]:
        value = self.metrics[number].registry.get_sample_value
        return value("engage_breaker_counted_total"), value("engage_breaker_pauses_total")


@pytest.fixture
async def workers(settings: Settings) -> AsyncIterator[Workers]:
    made = Workers(settings)
    yield made
    for redis in made.redis:
        await redis.aclose()


def unit(sent: int, rule_id: str = "a", freed: int = 0) -> dict[tuple[str, ...], int]:
    return {
        ("decisions", rule_id, "sent"): sent,
        ("decisions", rule_id, "cap"): 1_000,
        ("freed", rule_id): freed,
        ("late", "trades"): 7,
    }


async def test_what_two_workers_publish_is_counted_together_and_one_of_them_pauses(workers: Workers) -> None:
    await workers.publish(rule("a"), rule("b"))
    one, other = workers.one(), workers.one()
    one.committed(unit(6))
    one.committed(unit(9, "b"))
    other.committed(unit(4))
    await asyncio.gather(one.look(), other.look())
    await workers.follow()
    assert workers.paused == []
    other.committed(unit(1))
    await other.look()
    await one.look()  # finds the same, and that it is done
    archive = await workers.follow()
    assert workers.paused == [("a", "11 actions in a minute, 10 are allowed")]
    assert [entry.action for entry in archive.history] == ["publish", "pause"]
    assert archive.history[-1].note == "a: 11 actions in a minute, 10 are allowed"
    assert [workers.counted(number) for number in (0, 1)] == [(15, 0), (5, 1)]


async def test_what_a_rule_did_before_its_pause_is_not_held_against_it(workers: Workers) -> None:
    await workers.publish(rule("a"))
    one = workers.one()
    one.committed(unit(90))
    await one.look()
    await workers.follow()
    one.committed(unit(50))  # of a unit that was on its way
    await one.look()
    workers.now_ms += 1_000
    await resume(workers.settings, workers.clients, "a", "ann", "mended")
    await workers.follow()
    one.committed(unit(150, freed=145))  # what the pause held goes out as a person wanted
    await one.look()
    await workers.follow()
    assert workers.paused == []
    one.committed(unit(10))
    await one.look()
    await workers.follow()
    assert workers.paused == [("a", "15 actions in a minute, 10 are allowed")]


async def test_a_rule_is_compared_with_its_own_past_once_it_is_known_for_a_week(workers: Workers) -> None:
    workers.now_ms = NOW_MS - (WEEK_HOURS + 5) * HOUR_MS
    await workers.publish(rule("a"), rule("b"))
    one = workers.one()
    for _ in range(WEEK_HOURS + 2):
        one.committed(unit(7))
        await one._add(workers.now_ms // MINUTE_MS)
        workers.now_ms += HOUR_MS
    workers.now_ms = NOW_MS
    for _ in range(4):  # 28 in an hour, and no more than 10 in any minute
        for known in ("a", "b"):
            one.committed(unit(7, known))
        workers.now_ms += 2 * MINUTE_MS
        await one.look()
    await workers.follow()
    assert workers.paused == [("a", "28 actions in an hour, more than 3 times its busiest of 8 days, 7")]


async def test_what_redis_could_not_take_is_counted_later_in_its_own_minute(workers: Workers) -> None:
    await workers.publish(rule("a"))
    one = workers.one()
    away = load(redis="redis://127.0.0.1:1/0", app_id=workers.settings.app_id)
    workers.redis.append(Clients().redis(away))
    counters, one._counters = one._counters, Counters(workers.redis[-1], away.app_id, 8)
    for _ in range(5):
        one.committed(unit(8))
        workers.now_ms += MINUTE_MS
    with pytest.raises(Unavailable):
        await one.look()
    one._counters = counters
    await one.look()
    await workers.follow()
    assert workers.paused == []  # 40 in five minutes, not in one
    assert workers.counted(0)[0] == 40
    one.committed(unit(8))
    await one.look()
    assert workers.counted(0)[0] == 48


async def test_a_pause_that_cannot_be_published_is_reported_and_tried_again(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = workers.settings
    await workers.publish(rule("a"))
    one = workers.one()
    one._settings = load(kafka="127.0.0.1:1", app_id=settings.app_id, prefix=settings.prefix)
    monkeypatch.setattr("engine.runtime.rule_sets.publishing.TRIES", 1)
    one.committed(unit(11))
    await one.look()
    assert one.trouble is not None
    assert one.trouble.startswith("rules a are beyond their bounds and could not be paused: kafka is away")
    one._settings = settings
    await one.look()  # not at once
    assert one.trouble is not None
    one._asked["a"] -= AGAIN_S
    await one.look()
    await workers.follow()
    assert [rule_id for rule_id, _ in workers.paused] == ["a"]
    assert one.trouble is None


async def test_a_worker_that_sees_too_much_by_itself_decides_nothing_more_until_the_pause_has_come(
    workers: Workers,
) -> None:
    await workers.publish(rule("a"))
    one, other = workers.one(), workers.one()
    one.committed(unit(10))
    assert not one.holds
    one.committed(unit(1))
    assert one.holds
    other.committed(unit(1))
    assert not other.holds  # what both did is seen once a second
    running = [asyncio.ensure_future(breaker.run()) for breaker in (one, other)]

    async def pauses() -> int:
        await workers.follow()
        return len(workers.paused)

    async with asyncio.timeout(60):
        while not await pauses():
            assert one.holds
        while one.holds or other.holds:
            await asyncio.sleep(0.01)
    one.committed(unit(20, freed=20))
    one.committed(unit(5))  # of what was on its way
    assert not one.holds
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_pause_that_does_not_come_is_waited_for_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot load the newest rules must not stand still for ever."""
    monkeypatch.setattr(breaker_, "HOLD_S", 0.05)
    await workers.publish(rule("a"))
    one = workers.one()
    one.committed(unit(11))
    assert one.holds
    await one._arrival(await one.look())
    assert one.trouble == "rules a are paused, but not here: see `engage rules status`"
    one._asked.clear()
    one.committed(unit(11))
    assert not one.holds
    await workers.follow()
    await one.look()
    assert one.trouble is None


async def test_without_a_breaker_nothing_is_counted(workers: Workers, redis_url: str) -> None:
    await workers.publish(rule("a"), policy="contact: {daily_cap: 2}\n")
    one = workers.one()
    one.committed(unit(10_000))
    assert one.rules == {}
    assert one._published == {}
    async with Redis.from_url(redis_url) as redis:
        assert await redis.keys(f"{{{workers.settings.app_id}*") == []


async def test_all_its_keys_have_one_slot_and_expire(workers: Workers, redis_url: str) -> None:
    await workers.publish(rule("a"))
    one = workers.one()
    one.committed(unit(1))
    await one.look()
    async with Redis.from_url(redis_url) as redis:
        keys = [key.decode() for key in await redis.keys(f"{{{workers.settings.app_id}*")]
        assert sorted(key.split("}:")[1].split(":")[0] for key in keys) == ["hour", "minute", "since"]
        assert all(key.startswith(f"{{{workers.settings.app_id}:breaker}}:") for key in keys)
        assert all([await redis.ttl(key) > 0 for key in keys])

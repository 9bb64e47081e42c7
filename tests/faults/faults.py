"""The faults. Each does its harm, ends it, and says from which moment on the engine could be well again.

Enters: an arena, a seeded random. Leaves: a Harm. Holds: every choice comes from the random; when a fault returns,
all servers run, nothing is cut or paused, and there are as many workers as before.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.faults import budgets
from tests.faults.arena import SESSION_TIMEOUT_S, Arena, Slot
from tests.faults.proxy import Proxy
from tests.kafka.installation import RULES
from tests.kafka.worker_process import eventually

EXTRA_FEATURE = """\
  extra_DAYSd: {source: trades, where: trade.amount_cny >= AMOUNT, aggregate: count, window: DAYSd, description: extra}
"""
EXTRA_RULE = """\
rules:
  - id: extra
    title: For this run
    owner: trading
    on: trades
    when: extra_DAYSd >= 1
    kind: alert
    audience: team
    priority: 1
    cooldown: 1h
    expires: 1d
    template: extra
    description: For this run.
"""


@dataclass(frozen=True)
class Harm:
    """What was done, since when, and when it was over. A worker that fell silent is `silent`: from `since` on its
    partitions commit nothing, and `over` is when the group gives it up.
    """

    text: str
    since: float
    over: float
    silent: bool = False


def kill_worker(arena: Arena, random: Random) -> Harm:
    slot = random.choice(arena.taken)
    since = time.monotonic()
    slot.kill()
    away_s = random.choice((0.0, random.uniform(0, 6)))
    time.sleep(away_s)
    slot.start()
    return Harm(
        f"worker {slot.number} killed, back after {away_s:.1f} s", since, since + SESSION_TIMEOUT_S, silent=True
    )


def zombie(arena: Arena, random: Random) -> Harm:
    slot = random.choice(arena.taken)
    since = time.monotonic()
    slot.signal(signal.SIGSTOP)
    asleep_s = SESSION_TIMEOUT_S + random.uniform(0.2, 5)
    time.sleep(asleep_s)
    slot.signal(signal.SIGCONT)
    return Harm(f"worker {slot.number} paused for {asleep_s:.1f} s", since, since + SESSION_TIMEOUT_S, silent=True)


def nap(arena: Arena, random: Random) -> Harm:
    """Paused, but not for so long that the group would notice; or just about."""
    slot = random.choice(arena.taken)
    since = time.monotonic()
    slot.signal(signal.SIGSTOP)
    asleep_s = random.uniform(0.5, SESSION_TIMEOUT_S)
    time.sleep(asleep_s)
    slot.signal(signal.SIGCONT)
    return Harm(f"worker {slot.number} paused for {asleep_s:.1f} s", since, time.monotonic())


def join_and_leave(arena: Arena, random: Random) -> Harm:
    since = time.monotonic()
    joining = random.choice(arena.free)
    joining.start()
    time.sleep(random.uniform(0, 6))
    leaving = random.choice(arena.taken)
    over = time.monotonic()
    leaving.stop()
    return Harm(f"worker {joining.number} joined, worker {leaving.number} left", since, over)


def kill_kafka(arena: Arena, random: Random) -> Harm:
    since = time.monotonic()
    arena.broker.kill()
    away_s = random.uniform(0, 4)
    time.sleep(away_s)
    arena.broker.start()
    over = time.monotonic()
    return Harm(f"Kafka killed, back after {over - since:.1f} s", since, over)


def kill_redis(arena: Arena, random: Random) -> Harm:
    since = time.monotonic()
    arena.store.kill()
    time.sleep(random.uniform(0, 4))
    arena.store.start()
    over = time.monotonic()
    return Harm(f"Redis killed, back after {over - since:.1f} s", since, over)


def redis_loses_writes(arena: Arena, random: Random) -> Harm:
    """As a failover to a replica that lagged: what was written last is gone."""
    copy = arena.directory / f"redis-copy-{time.monotonic_ns()}"
    arena.store.save_data(copy)
    lost_s = random.uniform(0.5, 5)
    time.sleep(lost_s)
    since = time.monotonic()
    arena.store.kill()
    arena.store.restore_data(copy)
    arena.store.cut_data(random.choice((0, random.randint(1, 500))))
    arena.store.start()
    shutil.rmtree(copy)
    return Harm(f"Redis back to what it was {lost_s:.1f} s ago", since, time.monotonic())


def redis_emptied(arena: Arena, random: Random) -> Harm:
    """All is gone. Workers refuse, those that run and those that start; `engage rebuild` mends it."""
    snapshot = arena.directory / "snapshot" if random.random() < 0.5 else None
    if snapshot is not None:
        arena.engage("snapshot", str(snapshot))
        time.sleep(random.uniform(0, 3))
    since = time.monotonic()
    workers = arena.taken
    running = random.random() < 0.5
    if not running:
        for slot in workers:
            slot.kill()
    arena.store.kill()
    arena.store.clear_data()
    arena.store.start()
    if not running:
        workers[0].start()
    for slot in arena.taken:
        slot.refuses("engage rebuild")
    arena.engage("rebuild", *(("--snapshot", str(snapshot)) if snapshot else ()))
    for slot in workers:
        slot.start()
    eventually(arena.ready, "all workers are ready after the rebuild")
    over = time.monotonic()
    source = "a snapshot and the ledger after it" if snapshot else "the ledger"
    under = "under workers" if running else "between workers"
    return Harm(f"Redis emptied {under}, rebuilt from {source} after {over - since:.1f} s", since, over)


def publish_rules(arena: Arena, random: Random) -> Harm:
    """Rule files edited under load, wrong ones among them: the last good set is in force everywhere at the end."""
    since = time.monotonic()
    times = random.randint(1, 4)
    for _ in range(times):
        days, amount = random.choice(("1", "7", "30", "90")), str(random.randint(1, 10_000))
        feature = EXTRA_FEATURE.replace("DAYS", days).replace("AMOUNT", amount)  # the states' layout changes with it
        rule = EXTRA_RULE.replace("DAYS", days)
        if random.random() < 0.3:
            (arena.rules / "extra.yaml").write_text(rule.replace("extra_", "exrta_"))
            time.sleep(random.uniform(0, 2))
        (arena.rules / "features.yaml").write_text((RULES / "features.yaml").read_text() + feature)
        (arena.rules / "extra.yaml").write_text(rule)
        if arena.installation.further:
            budgets.write(arena.rules, random)
        time.sleep(random.uniform(0, 3))
    over = time.monotonic()
    digest = arena.engage("check", str(arena.rules)).rpartition("digest ")[2].strip()
    for slot in arena.taken:
        eventually(partial(_in_force, arena, slot, digest), f"worker {slot.number} goes by the last rules published")
    return Harm(f"rules changed {times} times", since, over)


def _in_force(arena: Arena, slot: Slot, digest: str) -> bool:
    arena.check_alive()
    assert slot.worker is not None
    return slot.worker.metric("engage_rule_set_info", digest=digest) == 1


def _connection(slot: Slot, random: Random) -> tuple[str, Proxy]:
    proxies = [("Kafka", slot.kafka), *([("Redis", slot.redis)] if slot.redis else ())]
    return random.choice(proxies)


def cut(arena: Arena, random: Random) -> Harm:
    """Connections reset, again and again; new ones refused for a while in between."""
    slot = random.choice(arena.taken)
    name, proxy = _connection(slot, random)
    since = time.monotonic()
    times = random.randint(1, 4)
    for _ in range(times):
        proxy.cut()
        time.sleep(random.choice((0.01, random.uniform(0, 3))))
        proxy.mend()
        time.sleep(random.uniform(0, 1))
    return Harm(f"worker {slot.number} cut off from {name} {times} times", since, time.monotonic())


def stall(arena: Arena, random: Random) -> Harm:
    slot = random.choice(arena.taken)
    name, proxy = _connection(slot, random)
    since = time.monotonic()
    stalled_s = random.uniform(0.5, 14)
    proxy.stall()
    time.sleep(stalled_s)
    proxy.mend()
    return Harm(f"worker {slot.number} hears nothing from {name} for {stalled_s:.1f} s", since, time.monotonic())


def slow(arena: Arena, random: Random) -> Harm:
    slot = random.choice(arena.taken)
    name, proxy = _connection(slot, random)
    since = time.monotonic()
    proxy.delay_s = random.uniform(0.02, 0.6)
    text = f"worker {slot.number} {2000 * proxy.delay_s:.0f} ms away from {name}"
    time.sleep(random.uniform(2, 8))
    proxy.mend()
    return Harm(text, since, time.monotonic())


FAULTS: dict[str, Callable[[Arena, Random], Harm]] = {
    "kill-worker": kill_worker,
    "zombie": zombie,
    "nap": nap,
    "join-and-leave": join_and_leave,
    "kill-kafka": kill_kafka,
    "publish-rules": publish_rules,
    "cut": cut,
    "stall": stall,
    "slow": slow,
}
OF_ONE_SERVER = {"kill-redis": kill_redis, "redis-loses-writes": redis_loses_writes, "redis-emptied": redis_emptied}


def schedule(rounds: int, kinds: Collection[str], random: Random) -> list[str]:
    """Every kind of fault as often as any other, in a random order."""
    names: list[str] = []
    while len(names) < rounds:
        names += random.sample(sorted(kinds), len(kinds))
    return names[:rounds]

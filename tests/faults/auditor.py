"""The judge: what is on Kafka and in Redis, after the workers have ended, against the promise of exactly once.

Enters: an installation at rest, and how many records were acknowledged to their producers. Leaves: findings, none when
all is well, and what was counted.
Holds: it reads as any other system could, read_committed, with other clients than the engine's; it reads the ledger's
format by itself and uses none of the engine's code for commit and recovery. What a record means (`decode`) and what is
to be decided (`replay`) are the engine's, since they are not in question here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import msgpack
from aiokafka.partitioner import murmur2

from engine.core.contract.granting import BUDGET
from engine.core.contract.message import Message
from engine.core.contract.outbound import DECISIONS, OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, REROUTED, inbound_topics
from engine.core.reading.decode import Rejected, decode
from engine.operations import replay
from engine.operations.replay import Replayed, replay_ledger
from engine.runtime.clients import Clients
from engine.runtime.formats import LEDGER_FORMAT
from engine.runtime.protocol.writes import LISTED, PASSING, PLACES, STATE_FIELD
from engine.runtime.redis.keys import list_key, work_key
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import OF_POOLS, Settings
from tests.faults import budgets, pools
from tests.faults.policy import Audited
from tests.fixtures.loading import WHEEL
from tests.kafka.installation import Installation, Record, by_client
from tests.services.process import REPOSITORY

# A ledger record of 0.1.0 had its fields in this order; a row of its writes these, after the client and its due time
FIELDS_0_1 = (
    "chunk",
    "chunks",
    "begin",
    "offsets",
    "states",
    "tallies",
    "swept",
    "writes",
    "rules",
    "published",
    "steps",
)
HASH_0_1 = [
    *(b"state", b"tier", b"tier_since", b"client_type", b"segment", b"value_score", b"advisor"),
    *(b"assets_cny", b"updated_at"),
]
Coordinates = tuple[str, int, int]
SHOWN = 5


@dataclass
class Audit:
    """`lost` and `doubled` count records and actions; every finding is a line of text."""

    findings: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    counted: Counter[str] = field(default_factory=Counter)

    def find(self, text: str, what: Iterable[object] = ()) -> None:
        shown = [str(one)[:300] for _, one in zip(range(SHOWN), what, strict=False)]
        self.findings.append("\n      ".join([text, *shown]))

    def same(self, text: str, found: Counter[Any], wanted: Counter[Any]) -> None:
        """Two multisets must be equal: what is missing is lost, what is too much is doubled."""
        missing, extra = wanted - found, found - wanted
        self.lost += missing.total()
        self.doubled += extra.total()
        if missing:
            self.find(f"{text}: {missing.total()} missing", missing)
        if extra:
            self.find(f"{text}: {extra.total()} too many", extra)


@dataclass
class Chain:
    """One partition's ledger as the auditor reads it."""

    end: bytes = b""  # the position after the last unit
    offsets: dict[str, int] = field(default_factory=dict)  # where the ranges of each topic end
    older: set[tuple[str, int]] = field(default_factory=set)  # topic and offset of what 0.1.0 decided
    rules: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # by topic: up to which offset, by which set
    clients: dict[bytes, tuple[int, dict[bytes, bytes]]] = field(default_factory=dict)  # last write of each client
    units: int = 0


@dataclass(frozen=True)
class Side:
    """A processor: its names, its ledger, its states as they are decided again."""

    settings: Settings
    chains: list[Chain]
    states: dict[str, bytes]


def audit(installation: Installation, acknowledged: int) -> Audit:
    """Read everything and judge it. No worker may be running."""
    found = Audit()
    everything = installation.read(*inbound_topics(), REROUTED, DEAD_LETTERS, *OUTBOUND)
    by_topic: dict[str, list[Record]] = {name: [] for name in (*inbound_topics(), REROUTED, DEAD_LETTERS, *OUTBOUND)}
    for record in everything:
        by_topic[record.topic].append(record)
    inbound = [record for name in (*inbound_topics(), REROUTED) for record in by_topic[name]]
    if (there := sum(len(by_topic[name]) for name in inbound_topics())) != acknowledged:
        found.find(
            f"{acknowledged} records were acknowledged but the topics hold {there}: the load itself is not whole"
        )
    of_clients = _ledger(installation, installation.settings)
    chains = _chains(of_clients, found)
    earlier = _decided_by_release(installation, found) if any(chain.older for chain in chains) else []
    archive = RuleSetArchive(installation.settings, Clients())
    asyncio.run(archive.read())
    _check_inbound(_decided(inbound, chains, found), by_topic, chains, earlier, archive, found)
    replayed, audited = Replayed(), Audited()
    with patch.object(replay, "ENGAGEMENT", audited):
        of = installation.settings, Clients(), installation.partitions, replayed
        messages = asyncio.run(replay_ledger(*of, processor=audited))
    if not replayed.applied:  # else what an older engine decided is not known
        faults = audited.at_rest(replayed.states)
        if faults:
            found.find(f"{len(faults)} faults of the contact policy", faults)
    for difference in replayed.differences:
        found.find(f"a digest in the ledger is not that of the replay: {difference}")
    _check_published(by_topic, [*earlier, *messages], found)
    sides = [Side(installation.settings, chains, replayed.states)]
    if installation.further:
        own = installation.settings.scoped(*OF_POOLS)
        ledger = _ledger(installation, own)
        of_pools = _chains(ledger, found)
        states = pools.check(installation, ledger, (chains, of_pools), replayed.states, messages, found)
        parts = {name: state for name, state in states.items() if name.startswith(BUDGET)}
        budgets.check(installation, of_clients, (chains, of_pools), parts, found)
        sides.append(Side(own, of_pools, states))
    _check_store(installation, sides, found)
    found.counted.update(
        records=there,
        rerouted=len(by_topic[REROUTED]),
        dead_letters=len(by_topic[DEAD_LETTERS]),
        actions=sum(len(by_topic[name]) for name in OUTBOUND if name != DECISIONS),
        decisions=len(by_topic[DECISIONS]),
        units=sum(chain.units for chain in chains),
        clients=len(replayed.states),
    )
    return found


def _ledger(installation: Installation, of: Settings) -> list[list[Record]]:
    """Its records by partition."""
    ledger: list[list[Record]] = [[] for _ in range(installation.partitions)]
    for record in installation.read(of.ledger_topic.removeprefix(of.prefix)):
        ledger[record.partition].append(record)
    return ledger


def _chains(ledger: list[list[Record]], found: Audit) -> list[Chain]:
    return [_chain(partition, records, found) for partition, records in enumerate(ledger)]


def _chain(partition: int, records: list[Record], found: Audit) -> Chain:
    """Follow one partition's ledger from its first record: each unit begins where the one before it ended."""
    chain = Chain()
    chunks: list[dict[str, Any]] = []
    for record in records:
        value = record.value or b""
        version, *rest = msgpack.unpackb(value)
        fields = dict(zip(FIELDS_0_1, rest, strict=True)) if version == 2 else rest[0]
        chunk, total, begin = fields["chunk"], fields["chunks"], fields["begin"]
        where = f"ledger {partition}, offset {record.offset}"
        if version not in (2, LEDGER_FORMAT) or chunk != len(chunks):
            found.find(f"{where}: chunk {chunk} of {total} comes after {len(chunks)} chunks")
        if begin != chain.end:
            found.find(f"{where}: does not begin where the unit before it ended", (begin, chain.end))
        chunks.append(fields)
        writes = msgpack.unpackb(fields["writes"], raw=True)
        if version == 2:
            writes = {b"fields": HASH_0_1, b"rows": writes}
        for client_id, due, *values in writes[b"rows"]:
            pairs = zip(writes[b"fields"], values, strict=True)
            chain.clients[client_id] = due, {name: v for name, v in pairs if v or name.decode() not in PASSING}
        if len(chunks) < total:
            continue
        for step in fields["steps"]:
            ranges: dict[str, Any] = step[0] if version == 2 else step.get("ranges", {})
            for topic, (first, end) in ranges.items():
                if first != chain.offsets.get(topic, 0) or end < first:
                    found.find(f"{where}: {topic} [{first}, {end}) follows {chain.offsets.get(topic, 0)}")
                chain.offsets[topic] = end
                chain.rules.setdefault(topic, []).append((end, fields.get("rule_set", "")))
                if version == 2:
                    chain.older.update((topic, offset) for offset in range(first, end))
        stands = fields if version == 2 else json.loads(fields["end"])
        offsets, clients, tiers = stands["offsets"], stands["states"], stands["tallies"]
        if {t: o for t, o in offsets.items() if o} != {t: o for t, o in chain.offsets.items() if o}:
            found.find(f"{where}: its offsets are not where its ranges end", (offsets, chain.offsets))
        if clients != len(chain.clients) or sum(n for label, n in tiers.items() if ":" not in label) > clients:
            found.find(f"{where}: says {clients} clients, {tiers} in tiers, but {len(chain.clients)} were written")
        digest = hashlib.blake2b(value, digest_size=8).hexdigest()
        if version == 2:
            old = {
                "ledger": record.offset + 1,
                "digest": digest,
                "offsets": offsets,
                "clients": clients,
                "tiers": tiers,
            }
            chain.end = json.dumps(old | {"swept": fields["swept"]}, sort_keys=True, separators=(",", ":")).encode()
        else:
            chain.end = f'{{"ledger":{record.offset + 1},"digest":"{digest}",'.encode() + fields["end"][1:]
        chain.units += 1
        chunks = []
    if chunks:
        found.find(f"ledger {partition}: ends within a unit")
    return chain


def _decided(inbound: list[Record], chains: list[Chain], found: Audit) -> list[Record]:
    """Ranges follow each other without gap or overlap, so a record is decided once when it lies before their end."""
    decided: list[Record] = []
    never: list[Record] = []
    for record in inbound:
        before_end = record.offset < chains[record.partition].offsets.get(record.topic, 0)
        (decided if before_end else never).append(record)
    if never:
        found.lost += len(never)
        found.find(f"{len(never)} inbound records were never decided", [record[:4] for record in never])
    return decided


def _decided_by_release(installation: Installation, found: Audit) -> list[Message]:
    """The messages of the units that 0.1.0 decided, as it decides them again itself."""
    program = ("-m", "tests.fixtures.released_replay")
    path = os.pathsep.join(map(str, (WHEEL, REPOSITORY)))
    with installation.start(program=program, PYTHONPATH=path, PYTHONSAFEPATH=1) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    replayed = json.loads(out.splitlines()[-1])
    for difference in replayed["differences"]:
        found.find(f"a digest in the ledger is not that of 0.1.0's replay: {difference}")
    return [
        Message(topic, *(None if part is None else bytes.fromhex(part) for part in (key, value)), _headers(headers))
        for topic, key, value, headers in replayed["messages"]
    ]


def _headers(pairs: list[tuple[str, str]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes.fromhex(value)) for name, value in pairs)


def _check_inbound(
    inbound: list[Record],
    by_topic: dict[str, list[Record]],
    chains: list[Chain],
    earlier: list[Message],
    archive: RuleSetArchive,
    found: Audit,
) -> None:
    """What cannot be read is a dead letter once; what lies on the wrong partition has one copy; nothing else is. What
    0.1.0 could not read is for 0.1.0 to say.
    """
    letters = Counter(_origin(letter)[0] for letter in by_topic[DEAD_LETTERS])
    partitions = len(chains)
    dead = Counter(_origin_of(dict(letter.headers))[0] for letter in earlier if letter.topic == DEAD_LETTERS)
    rerouted: Counter[Coordinates] = Counter()
    for record in inbound:
        origin, time_ms = _origin(record) if record.topic == REROUTED else (record[:3], record.timestamp_ms)
        key = record.key
        if record.topic != REROUTED and key and len(key) <= 64 and _home(key, partitions) != record.partition:
            rerouted[origin] += 1
            continue
        if (record.topic, record.offset) in chains[record.partition].older:
            continue
        by_sets = chains[record.partition].rules[record.topic]
        rule_set = by_sets[bisect_right(by_sets, record.offset, key=lambda by_set: by_set[0])][1]
        if isinstance(decode(origin[0], key, record.value, time_ms, archive.declared_types(rule_set)), Rejected):
            dead[origin] += 1
    found.same("dead letters", letters, dead)
    found.same("copies for the right partition", Counter(_origin(copy)[0] for copy in by_topic[REROUTED]), rerouted)
    # a copy, too: 0.1.0 knows not the topics that came since, and says of a copy from one that it is none
    originals = {record[:3]: (record.key, record.value) for record in inbound}
    changed = [
        record[:3]
        for record in (*by_topic[DEAD_LETTERS], *by_topic[REROUTED])
        if originals.get(_origin(record)[0]) != (record.key, record.value)
    ]
    if changed:
        found.find(f"{len(changed)} dead letters or copies have not the bytes of their original", changed)


def _origin(record: Record) -> tuple[Coordinates, int]:
    return _origin_of(record.headers)


def _origin_of(headers: dict[str, bytes]) -> tuple[Coordinates, int]:
    partition, offset, time_ms = (int(headers[f"engage_{name}"]) for name in ("partition", "offset", "timestamp"))
    return (headers["engage_topic"].decode(), partition, offset), time_ms


def _home(key: bytes, partitions: int) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _check_published(by_topic: dict[str, list[Record]], messages: list[Message], found: Audit) -> None:
    """Published is what deciding again gives: nothing more, nothing less, and in a client's order."""
    actions = [record for name in OUTBOUND for record in by_topic[name]]
    ids = Counter(record.json["id"] for record in actions)
    repeated = {action_id: times for action_id, times in ids.items() if times > 1}
    if repeated:
        found.find(f"{len(repeated)} action ids were published more than once", repeated)
    published = Counter((record.topic, record.key or b"", record.value or b"") for record in actions)
    wanted = [message for message in messages if message.topic in OUTBOUND]
    before = found.doubled
    again = Counter((m.topic, m.key or b"", m.value or b"") for m in wanted)
    found.same("actions", published, again)
    found.doubled = max(found.doubled, before + sum(repeated.values()) - len(repeated))  # an action counts once
    in_order = by_client((r.topic, (r.key or b"").decode(), (r.value or b"").decode()) for r in actions)
    wanted_order = by_client((m.topic, (m.key or b"").decode(), (m.value or b"").decode()) for m in wanted)
    disorder = [client for client, values in wanted_order.items() if in_order.get(client, values) != values]
    if disorder:
        found.find(f"{len(disorder)} clients' actions are not in their order", disorder)


def _check_store(installation: Installation, sides: list[Side], found: Audit) -> None:
    """Redis holds the ledgers' last writes and their lists, no more and no less; they are the states of the replay."""
    wanted: dict[bytes, Any] = {}
    written: dict[tuple[str, str], bytes] = {}
    for side in sides:
        app = side.settings.scope
        wanted[f"{{{app}}}:partitions".encode()] = str(installation.partitions).encode()
        wanted[f"{{{app}}}:ledger".encode()] = side.settings.ledger_topic.encode()
        for partition, chain in enumerate(side.chains):
            prefix = f"{{{app}:{partition}}}:".encode()
            if chain.units:
                wanted[prefix + b"position"] = chain.end
            due = {id_: float(row[0]) if row[0] >= 0 else math.inf for id_, row in chain.clients.items()}
            if due:
                wanted[prefix + b"due"] = due
            for client_id, (_, values) in chain.clients.items():
                wanted[prefix + b"client:" + client_id] = values
                for name in LISTED:
                    if value := values.get(name.encode()):
                        members = wanted.setdefault(list_key(app, partition, name, value.decode()).encode(), set())
                        members.add(client_id)
                for line in values.get(PLACES.encode(), b"").decode().splitlines():
                    whose, at, action = line.split()
                    work = wanted.setdefault(work_key(app, partition, whose).encode(), {})
                    work[f"{action} {client_id.decode()}".encode()] = float(at)
                written[app, client_id.decode()] = values[STATE_FIELD.encode()]
    states = {(side.settings.scope, key): state for side in sides for key, state in side.states.items()}
    have = _contents(installation)
    for text, keys in (
        ("keys that Redis lacks", wanted.keys() - have.keys()),
        ("keys in Redis that the ledger never wrote", have.keys() - wanted.keys()),
        (
            "keys whose value is not what the ledger wrote last",
            {k for k in wanted if have.get(k, wanted[k]) != wanted[k]},
        ),
        ("states that the replay decides otherwise", {c for c in written | states if written.get(c) != states.get(c)}),
    ):
        if keys:
            found.find(f"{len(keys)} {text}", sorted(keys))


def _contents(installation: Installation) -> dict[bytes, object]:
    """Everything in Redis, by key."""
    contents: dict[bytes, object] = {}
    with installation.redis() as client:
        keys = sorted(client.scan_iter(count=1000))
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            pipe = client.pipeline(transaction=False)
            for key in part:
                if b":client:" in key:
                    pipe.hgetall(key)
                elif key.endswith(b":due") or b":work:" in key:
                    pipe.zrange(key, 0, -1, withscores=True)
                elif b":list:" in key:
                    pipe.smembers(key)
                else:
                    pipe.get(key)
            for key, value in zip(part, pipe.execute(), strict=True):
                contents[key] = dict(value) if isinstance(value, list) else value
    return contents

"""From outside: nothing but the produced file and what the engine published and keeps, for trades alone.

Enters: the file, the installation at rest. Leaves: findings. Holds: each client's trades come on one way, in the file's
order, so that deciding the file alone must give the same actions and states, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.core.contract.outbound import OUTBOUND
from engine.core.plan.compile import compile_rule_set
from engine.operations.replay import Replayed, read_file, replay_records
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.rule_sets.archive import load_directory
from tests.faults.auditor import Audit
from tests.kafka.installation import RULES, Installation, by_client


def compare(installation: Installation, file: Path, until_ms: int, found: Audit) -> None:
    """Add to the findings what the engine did otherwise than the offline replay of the file."""
    replayed = Replayed()
    with file.open("rb") as lines:
        records = read_file(lines, file.name)
        wanted = list(replay_records(compile_rule_set(load_directory(RULES)), records, replayed, until_ms))
    actions = [message for message in wanted if message.topic in OUTBOUND]
    offline = by_client((m.topic, (m.key or b"").decode(), (m.value or b"").decode()) for m in actions)
    live = installation.actions()
    found.same(
        "actions, against the offline replay of the produced file",
        Counter((*client, value) for client, values in live.items() for value in values),
        Counter((*client, value) for client, values in offline.items() for value in values),
    )
    disorder = [client for client, values in offline.items() if live.get(client, values) != values]
    if disorder:
        found.find(f"{len(disorder)} clients' actions are not in the order of the produced file", disorder)
    with installation.redis() as client:
        keys = [key for key in client.scan_iter(count=1000) if b":client:" in key]
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hget(key, STATE_FIELD)
        states = dict(zip((key.partition(b":client:")[2].decode() for key in keys), pipe.execute(), strict=True))
    differing = [c for c in states.keys() | replayed.states.keys() if states.get(c) != replayed.states.get(c)]
    if differing:
        found.find(
            f"{len(differing)} states are not those of the offline replay of the produced file", sorted(differing)
        )
    found.counted["offline_actions"] = len(actions)

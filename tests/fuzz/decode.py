"""`make fuzz RUNS=1000000`: coverage-guided bytes into `decode`, by the package atheris.

Holds: decode never raises and never hangs; what it answers has the fields of the topic's events, or is a Rejected.
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["engine.core"]):
    from engine.core.contract.events import DeclaredEvent
    from engine.core.contract.topics import TOPICS, inbound_topics
    from engine.core.reading.decode import Rejected, decode, fallbacks

NAMES = inbound_topics()
SEEDS = (
    {
        "event_id": "1",
        "client_id": "C1",
        "time": 1795000000000,
        "symbol": "A",
        "side": "buy",
        "quantity": 5,
        "amount_fen": 5,
    },
    {"event_id": "1", "client_id": "C1", "time": "2026-03-02T09:30:00+08:00", "channel": "app", "success": False},
    {
        "event_id": "1",
        "client_id": "C1",
        "time": 1795000000000,
        "kind": "deposit",
        "amount_fen": 5,
        "assets_fen": 7,
        "margin_ratio": 1.5,
    },
    {
        "event_id": "1",
        "client_id": "C1",
        "time": 1795000000000,
        "type": "individual",
        "consents": {"sms": True},
        "age_band": "25_35",
    },
)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """One time in four begin again from a good event, so that mutations stay near what is accepted."""
    if seed % 4 == 0:
        data = bytes([seed % len(NAMES)]) + json.dumps(SEEDS[seed // 4 % len(SEEDS)]).encode()
    return atheris.Mutate(data, max_size)


def one(data: bytes) -> None:
    if not data:
        return
    topic, value = NAMES[data[0] % len(NAMES)], data[1:]
    model = TOPICS[topic].model if topic in TOPICS else DeclaredEvent
    answer = decode(topic, b"C1", value, 1_795_000_000_000)
    if isinstance(answer, Rejected):
        return
    assert all(hasattr(answer.event, name) for name in model.model_fields)
    assert all(name.partition(".")[0] in fallbacks(model) for name in answer.unread)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one, custom_mutator=lambda data, size, seed: mutate(data, size, seed))
    atheris.Fuzz()

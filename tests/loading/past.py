"""What a load leaves of a past, said apart from the load: whoever decides the past otherwise compares by it.

Enters: states that a replay of the past came to. Leaves: the same clients as a load has them. Holds: nothing of the
past was sent, so that nothing of it is retracted, sent or counted later.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.core.client.items import CARE, LEAVES_MS, WORK, noted
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide.occasions import next_due_ms
from engine.core.plan.compile import Plan
from engine.core.policy.outcomes import COUNTED


def as_loaded(plan: Plan, replayed: Mapping[str, bytes]) -> dict[str, ClientState]:
    clients = {client_id: unpack(plan.layout, state) for client_id, state in replayed.items()}
    for client in clients.values():
        client.caused = []
        for outcome in client.recent:
            del outcome[COUNTED:]
        work = [item for item in client.items if WORK in noted(item)]
        client.items = [item for item in client.items if LEAVES_MS not in noted(item)]
        for item in work:
            del item[CARE:]
        if client.waiting or work:
            client.waiting = []
            client.due_ms = next_due_ms(plan, client, 0)
    return clients


def packed(plan: Plan, clients: Mapping[str, ClientState]) -> dict[str, bytes]:
    return {client_id: pack(plan.layout, client) for client_id, client in clients.items()}

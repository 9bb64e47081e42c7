"""Records of each inbound topic that are right, and what `decode` makes of them and of others."""

from __future__ import annotations

import json

from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import TOPICS
from engine.core.reading.decode import Rejected, Taken, decode
from tests.core.making import fields_of

NOW_MS = 1_772_415_000_000  # 2026-03-02T09:30:00+08:00
LOGIN = {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "channel": "app"}
TRADE = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "symbol": "600000", "side": "buy", "quantity": 100,
    "amount_fen": 123_456, "price_cny": "12.34",
}  # fmt: skip
BALANCE = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "kind": "deposit", "amount_fen": 5, "assets_fen": 7,
    "margin_ratio": 1.5,
}  # fmt: skip
PROFILE = {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "type": "individual", "consents": {"sms": True}}
RECEIPT = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "action_id": "91721475a5553a31549398be4ff47a8d",
    "rule_id": "monthly-letter", "kind": "message", "channel": "sms", "status": "opened",
}  # fmt: skip
OUTCOME = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "action_id": "a-1", "status": "done", "code": "agreed",
    "by": "S-7",
}  # fmt: skip
FEEDBACK = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "action_id": "a-1", "nps": 3, "csat": 2, "ces": 6,
    "answers": ["fees", "app_slow"], "comment": "Too dear.",
}  # fmt: skip
COMPLAINT = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "complaint_id": "K-1", "category": "fees",
    "severity": "low", "status": "opened",
}  # fmt: skip
OVERRIDE = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "kind": "snooze", "rule_id": "monthly-letter",
    "by": "S-7", "reason": "On holiday.", "until": NOW_MS + 86_400_000,
}  # fmt: skip
POSITION = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "symbol": "600000", "product": "fund", "risk_class": "R3",
    "quantity": 100, "value_fen": 123_456, "cost_fen": 100_000,
}  # fmt: skip
GOOD = {
    "logins": LOGIN, "trades": TRADE, "balances": BALANCE, "profiles": PROFILE, "receipts": RECEIPT,
    "outcomes": OUTCOME, "feedback": FEEDBACK, "complaints": COMPLAINT,
    "positions": POSITION, "overrides": OVERRIDE,
}  # fmt: skip

MISSING, TYPE, VALUE, RANGE, JSON = (
    Rejection.MISSING_FIELD, Rejection.WRONG_TYPE, Rejection.UNKNOWN_VALUE, Rejection.OUT_OF_RANGE, Rejection.NOT_JSON,
)  # fmt: skip


def take(topic, value, key=b"c-1", timestamp_ms=NOW_MS):
    result = decode(topic, key, value if isinstance(value, bytes) else json.dumps(value).encode(), timestamp_ms)
    if isinstance(result, Taken) and TOPICS[topic].quick:  # an event that is no pydantic model
        return Taken(TOPICS[topic].model.model_construct(**fields_of(result.event)), result.unread)
    return result


def event_of(topic, value, **arguments):
    result = take(topic, value, **arguments)
    assert isinstance(result, Taken), result
    return result.event


def refused(topic, value, **arguments):
    result = take(topic, value, **arguments)
    assert isinstance(result, Rejected), result
    return result

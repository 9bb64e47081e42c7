"""Rule sets from a few lines of YAML, events with everything filled in, and a desk that decides them one by one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from engine.core.client.state import ClientState
from engine.core.contract.events import Balance, Event, Login, Trade
from engine.core.contract.message import Message
from engine.core.contract.outbound import DECISIONS, Outcome
from engine.core.contract.profiles import Consents, Profile
from engine.core.decide.path import Due, Input, Sweep, decide
from engine.core.firm_time import DAY_MS, day_start_ms
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.plan.features import Windows
from engine.core.reading.decode import Rejected, Taken
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.read.occasions import KINDS
from tests.services.process import REPOSITORY

HOUR_MS = 3_600_000
FIRST_DAY = 20_500  # 2026-02-16 in the firm's time zone

FEATURES = "  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n"
TIERS = """\
individual:
  measure: assets_avg_cny_30d
  promote_after: 0d
  demote_after: 30d
  tiers:
    - {tier: A, enter: 1_000_000, exit: 900_000}
    - {tier: B, enter: 300_000, exit: 270_000}
    - {tier: C}
"""
_DEFAULTS = {
    "title": "T",
    "owner": "wealth",
    "kind": "message",
    "audience": "client",
    "channels": "[app_push, sms]",
    "priority": 50,
    "cooldown": "1m",
    "expires": "1d",
    "template": "t",
    "description": "D.",
}
_event_ids = itertools.count()


def rule(id_: str, **fields: Any) -> str:
    """One rule in YAML. It has all fields; None leaves one out. Works on logins unless told otherwise."""
    if fields.get("audience", "client") != "client":
        fields = {"channels": None, **fields}
    if not fields.keys() & set(KINDS):
        fields = {"on": "logins", **fields}
    known = {"id": id_, **_DEFAULTS, "when": None if "becomes" in fields else "client.days_known >= 0", **fields}
    return "  - " + "\n    ".join(f"{name}: {value}" for name, value in known.items() if value is not None) + "\n"


@lru_cache(maxsize=64)
def plan_of(
    *rules: str,
    features: str = FEATURES,
    tiers: str = TIERS,
    daily_cap: int = 2,
    definitions: str = "",
    policy: str = "",
    calendar: str = "",
    score: str = "",
    portrait: str = "",
    others: tuple[tuple[str, str], ...] = (),
) -> Plan:
    """Rule files -> checked rule set -> plan, as a worker does it."""
    texts = {
        "features.yaml": f"features:\n{features}",
        "tiers.yaml": tiers,
        "policy.yaml": f"contact:\n  daily_cap: {daily_cap}\n  {policy}\n",
        "rules.yaml": "rules:\n" + "".join(rules) if rules else "rules: []\n",
    }
    if definitions:
        texts["definitions.yaml"] = definitions
    if calendar:
        texts["calendar.yaml"] = calendar
    if score:
        texts["score.yaml"] = score
    if portrait:
        texts["portrait.yaml"] = portrait
    texts |= dict(others)
    result = load(texts)
    assert isinstance(result, RuleSet), "\n".join(map(str, result))
    return compile_rule_set(result)


@lru_cache(maxsize=1)
def shipped_plan() -> Plan:
    result = load(read_directory(REPOSITORY / "rules"))
    assert isinstance(result, RuleSet)
    return compile_rule_set(result)


def at(day: float, hour: float = 12) -> int:
    """A moment: `day` after FIRST_DAY, at `hour` o'clock in the firm's time zone."""
    return day_start_ms(FIRST_DAY) + round(day * DAY_MS + hour * HOUR_MS)


def _common(client_id: str, time_ms: int) -> dict[str, Any]:
    return {"event_id": f"e{next(_event_ids)}", "client_id": client_id, "time": time_ms}


def profile(time_ms: int, client_id: str = "c1", **fields: Any) -> Input:
    agreed = dict.fromkeys(fields.pop("consents", ("app_push", "sms")), True)
    fields = {"type": "individual", **fields}
    return "profiles", Profile(**_common(client_id, time_ms), consents=Consents(**agreed), **fields)


def balance(time_ms: int, assets_cny: float, client_id: str = "c1", **fields: Any) -> Input:
    fields = {"kind": "snapshot", "amount_fen": 0, **fields}
    return "balances", Balance(**_common(client_id, time_ms), assets_fen=round(assets_cny * 100), **fields)


def login(time_ms: int, client_id: str = "c1", **fields: Any) -> Input:
    return "logins", Login(**_common(client_id, time_ms), **{"channel": "app", **fields})


def trade(time_ms: int, amount_fen: int = 100, client_id: str = "c1", **fields: Any) -> Input:
    fields = {"symbol": "600000", "side": "buy", "quantity": 1, **fields}
    return "trades", Trade(**_common(client_id, time_ms), amount_fen=amount_fen, **fields)


def topic_of(item: Input) -> str:
    assert isinstance(item, tuple)
    return item[0]


def event_of(item: Input) -> Event:
    assert isinstance(item, tuple)
    return item[1]


def published(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """But for decisions."""
    return [{"topic": m.topic, **json.loads(m.value or b"")} for m in messages if m.topic != DECISIONS]


def decisions(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in messages if message.topic == DECISIONS]


def impossible(plan: Plan, outcomes: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """What became of active rules though metrics do not show it from 0."""
    rules = {rule.id: rule for rule in plan.rule_set.rules}
    possible = {rule: plan.rule_set.outcomes_of(rules[rule]) for rule, _ in outcomes if rule in rules}
    return [(rule, outcome) for rule, outcome in outcomes if outcome not in possible.get(rule, Outcome)]


class Desk:
    """Takes inputs one call after another, as a worker would, and keeps all that was published."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.states: dict[str, ClientState] = {}
        self.messages: list[Message] = []
        self.decided: list[Message] = []
        self.outcomes: list[tuple[str, str]] = []

    def take(self, *inputs: Input) -> list[dict[str, Any]]:
        """Decide; what was published by these inputs, but for decisions, which are kept beside."""
        new: list[Message] = []
        for item in inputs:
            decided = decide(self.plan, self.states, [item])
            new += [message for message in decided.messages if message.topic != DECISIONS]
            self.decided += [message for message in decided.messages if message.topic == DECISIONS]
            assert not impossible(self.plan, decided.outcomes)
            self.outcomes += decided.outcomes.elements()
        self.messages += new
        return published(new)

    def tick(self, time_ms: int, client_id: str = "c1") -> list[dict[str, Any]]:
        return self.take(Due(client_id, time_ms))

    def sweep(self, time_ms: int, client_id: str = "c1") -> list[dict[str, Any]]:
        return self.take(Sweep(client_id, time_ms))

    def tick_all(self, until_ms: int, client_id: str = "c1") -> list[dict[str, Any]]:
        """A tick a second late for everything that falls due, one after another."""
        new = []
        while self.states[client_id].due_ms <= until_ms:
            new += self.tick(self.states[client_id].due_ms + 1000, client_id)
        return new

    @property
    def client(self) -> ClientState:
        return self.states["c1"]

    @property
    def tier(self) -> str | None:
        return self.client.tier


def same_event(outcome: Taken | Rejected, event: Event) -> bool:
    """Whether the record was taken as this event, by whichever reader, and nothing of it was left unread."""
    return isinstance(outcome, Taken) and not outcome.unread and fields_of(outcome.event) == fields_of(event)


def fields_of(event: Event) -> dict[str, Any]:
    """By name; an event that was read quickly is no pydantic model."""
    names = type(event).model_fields
    return {name: getattr(event, name) for name in names}


def all_windows(plan: Plan) -> Windows:
    """Those of every feature."""
    return tuple(
        (source, tuple(range(len(kept.windows))), tuple(range(len(kept.hours.windows))) if kept.hours else ())
        for source, kept in plan.layout.sources.items()
    )

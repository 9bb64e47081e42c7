"""Deliberate bugs in the contact policy and in work lists: the auditor decides with them, too, and must see them by
what is published alone. See bugs.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.core.client import items
from engine.core.decide import occasions, path
from engine.core.firm_time import NEVER_MS
from engine.core.learn import items as learn
from engine.core.policy import caps, gates, holding, outcomes
from engine.core.policy.gates import Send
from tests.simulation.bug import Change, Table, registering

BUGS: Table = {}
bug = registering(BUGS)


@bug("a cap lets one more through")
def _() -> list[Change]:
    original = caps.reached

    def reached(policy: Any, of_rule: Any, *rest: Any) -> Any:
        return original(policy, [replace(cap, at_most=cap.at_most + 1) for cap in of_rule], *rest)

    return [(caps, "reached", reached)]


@bug("a slot that is reserved is anybody's")
def _() -> list[Change]:
    original = caps.reached

    def reached(policy: Any, of_rule: Any, *rest: Any) -> Any:
        return original(policy, [replace(cap, reserved=0) for cap in of_rule], *rest)

    return [(caps, "reached", reached)]


@bug("the client's day ends by the firm's clock")
def _() -> list[Change]:
    return [(caps, "zone_named", lambda name: None)]


@bug("it is quiet by the firm's clock alone")
def _() -> list[Change]:
    return [(gates, "zone_named", lambda name: None)]


@bug("nobody asks for consent")
def _() -> list[Change]:
    return [(gates, "granted", lambda *about: True)]


@bug("what was held is sent without a second look")
def _() -> list[Change]:
    original = gates.judge

    def judge(plan: Any, client: Any, match: Any, *moment: Any) -> Any:
        verdict = original(plan, client, match, *moment)
        return verdict if match.held is None else Send(verdict.channel)

    return [(path, "judge", judge)]


@bug("caps concern every class")
def _() -> list[Change]:
    original = gates._capped

    def capped(plan: Any, client: Any, offer: Any, channel: str) -> Any:
        compiled = replace(offer.match.compiled, caps=plan.rule_set.policy.caps)
        return original(plan, client, offer._replace(match=offer.match._replace(compiled=compiled)), channel)

    return [(gates, "_capped", capped)]


@bug("what is held is noted twice")
def _() -> list[Change]:
    original = holding.hold

    def hold(plan: Any, client: Any, *about: Any) -> None:
        original(plan, client, *about)
        client.waiting.append(list(client.waiting[-1]))

    return [(holding, "hold", hold)]


@bug("what was held ends under another name")
def _() -> list[Change]:
    original = path.match_name
    return [(path, "match_name", lambda client, match, ordinal: original(client, match._replace(held=None), ordinal))]


@bug("what was held ends in silence when its event is corrected")
def _() -> list[Change]:
    original = holding.correct

    def correct(*about: Any) -> Any:
        original(*about)
        return []

    return [(holding, "correct", correct)]


@bug("what was held ends in silence when its rule is gone")
def _() -> list[Change]:
    original = holding.take_expired

    def take_expired(*about: Any) -> Any:
        original(*about)
        return []

    return [(holding, "take_expired", take_expired)]


@bug("an action has no decision")
def _() -> list[Change]:
    original = outcomes.record

    def record(plan: Any, client: Any, match: Any, verdict: Any) -> Any:
        folded = original(plan, client, match, verdict)
        return None if isinstance(verdict, Send) else folded

    return [(path, "record", record)]


@bug("refusals are counted and never published")
def _() -> list[Change]:
    original = outcomes.told

    def told(client: Any) -> Any:
        original(client)
        return []

    return [(outcomes, "told", told)]


@bug("work that has expired stays in its list")
def _() -> list[Change]:
    return [(items, "leaves_ms", lambda item: NEVER_MS)]


@bug("nobody is woken when work expires")
def _() -> list[Change]:
    original = learn.next_item_ms

    def next_item_ms(plan: Any, client: Any) -> Any:
        there = client.items
        client.items = [item for item in there if items.LEAVES_MS not in items.noted(item)]
        try:
            return original(plan, client)
        finally:
            client.items = there

    return [(occasions, "next_item_ms", next_item_ms)]

"""A plan with only the rules that can make a difference to one: what its tests are decided by.

Enters: a Plan, a rule. Leaves: the same Plan, in which the other rules never match and never wake a client.
Holds: a rule meets others in the daily cap, and where it waits for an answer to what they send; so rules for clients
keep each other's company, a rule that waits has that of the senders, one that asks what the
engine did that of all, and every other rule is alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace

from engine.core.contract.actions import ACTIONS
from engine.core.plan.compile import Plan
from engine.core.plan.waking import Steps, read_by
from engine.core.rules.occasion import AT, MATURITY, Trigger, kept_items
from engine.core.rules.ruleset import Rule, counting


class Companies:
    """For each rule its plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._places: defaultdict[str, list[tuple[Trigger, int]]] = defaultdict(list)
        for trigger, compiled in plan.compiled.items():
            for index, each in enumerate(compiled):
                self._places[each.rule.id].append((trigger, index))
        timed = plan.timed
        self._silences = {silent.rule_id: silent for silent in timed.silences}
        self._unanswered = {waiting.rule_id: waiting for waiting in timed.unanswered}
        self._maturities = {maturing.index: maturing for maturing in timed.maturities}
        self._steps = {
            topic: (_indexes(steps.first_rules), _indexes(steps.then_rules)) for topic, steps in timed.steps.items()
        }
        self._clients: Plan | None = None
        self._of_actions = counting(plan.rule_set.features, ACTIONS.name)

    def of(self, rule: Rule) -> Plan:
        if any(feature in self._of_actions for feature in self._read_by(rule)):
            return self.plan
        senders: list[str] = []
        if self.plan.timed.kept and (asked := kept_items(replace(self.plan.rule_set, rules=(rule,), journeys=()))):
            senders = [each.id for each in self.plan.rule_set.rules if each.id in asked or each.kind in asked]
        if rule.audience != "client":
            return self._with([*dict.fromkeys((rule.id, *senders))])
        clients = [each.id for each in self.plan.rule_set.rules if each.audience == "client"]
        if senders:
            return self._with([*dict.fromkeys((*clients, *senders))])
        if self._clients is None:
            self._clients = self._with(clients)
        return self._clients

    def of_journey(self, id_: str, version: int | None = None) -> Plan:
        """What is on the way alone: other rules can neither stop it nor take its slots. `version` is what begins."""
        found = self._of_journey(id_)
        route = found.journeys[id_]
        if version is None or version == route.journey.pinned[0]:
            return found
        steps = sorted(route.journey.steps, key=lambda step: route.journey.place_of(step[0])[0] != version)
        begun = replace(route, journey=replace(route.journey, steps=tuple(steps)))
        return replace(found, journeys={**found.journeys, id_: begun})

    def _of_journey(self, id_: str) -> Plan:
        acting = [each for each in self.plan.rule_set.rules if each.id.partition("/")[0] == id_]
        if any(feature in self._of_actions for rule in acting for feature in self._read_by(rule)):
            return self.plan
        return self._with([rule.id for rule in acting])

    def _read_by(self, rule: Rule) -> Iterator[str]:
        asked = [rule.when, *(value for _, value in rule.parameters), rule.cooldown_by, rule.channels_by, rule.offers]
        for trigger in rule.triggers if self._of_actions else ():
            for expression in filter(None, asked):
                yield from (name.name for name in read_by(expression, self.plan.scopes[trigger]))

    def _with(self, ids: Collection[str]) -> Plan:
        plan, timed = self.plan, self.plan.timed
        kept: defaultdict[Trigger, list[int]] = defaultdict(list)
        for id_ in ids:
            for trigger, index in self._places[id_]:
                kept[trigger].append(index)
        steps: dict[str, Steps] = {}
        for topic, found in timed.steps.items():
            first, then = ([where[id_] for id_ in ids if id_ in where] for where in self._steps[topic])
            steps[topic] = replace(found, first=found.first.only(first), then=found.then.only(then))
        return replace(
            plan,
            match={trigger: match.only(kept[trigger]) for trigger, match in plan.match.items()},
            timed=replace(
                timed,
                silences=tuple(self._silences[id_] for id_ in ids if id_ in self._silences),
                unanswered=tuple(self._unanswered[id_] for id_ in ids if id_ in self._unanswered),
                becomes={id_: timed.becomes[id_] for id_ in ids if id_ in timed.becomes},
                maturities=tuple(self._maturities[index] for index in kept[MATURITY]),
                waits={id_: timed.waits[id_] for id_ in ids if id_ in timed.waits},
                steps=steps,
                possible=replace(timed.possible, calendars=timed.possible.calendars.only(kept[AT])),
            ),
        )


def _indexes(rules: tuple[str, ...]) -> dict[str, int]:
    return {rule_id: index for index, rule_id in enumerate(rules)}

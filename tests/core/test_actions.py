"""The engine's own actions as a source of features: counted by the moment at which they are decided."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.contract.outbound import Outcome
from engine.core.firm_time import DAY_MS, HOUR_MS, day_of
from engine.core.learn.actions import forget
from engine.core.plan.compile import Plan
from engine.core.plan.readers import READERS
from engine.rulefile.read.load import load
from tests.core.making import FEATURES, Desk, at, login, plan_of, profile, rule, trade

LETTERS = rule("letter", on="logins", cooldown="1h") + rule("call", on="trades", kind="task", audience="team")
COUNTS = (
    FEATURES
    + """\
  contacts_7d: {source: actions, aggregate: count, where: action.audience == "client", window: 7d}
  letters_3d: {source: actions, aggregate: count, where: action.rule_id == "letter", window: 3d}
  cooled_3h: {source: actions, aggregate: count, where: action.outcome == "cooldown", window: 3h}
  done_7d: {source: actions, aggregate: count, where: 'action.outcome in ("sent", "cooldown")', window: 7d}
  channel_7d: {source: actions, aggregate: top, field: channel, where: action.kind == "message", window: 7d}
  trades_since: {source: trades, aggregate: count, since: {on: actions, when: action.rule_id == "letter"}}
"""
)
CONSENTS = {"app_push": True}


def desk_of(*rules: str, features: str = COUNTS, daily_cap: int = 9) -> Desk:
    desk = Desk(plan_of(*rules, features=features, daily_cap=daily_cap))
    desk.take(profile(at(0), consents=CONSENTS))
    return desk


def values(desk: Desk, *names: str) -> list[Any]:
    scope = desk.plan.scopes[None]
    return [eval(scope[name].code, dict(READERS), {"c": desk.client}) for name in names]  # our own text


def test_what_was_sent_counts_by_rule_kind_and_channel_and_what_was_stopped_by_its_reason():
    desk = desk_of(LETTERS)
    names = ("contacts_7d", "letters_3d", "cooled_3h", "done_7d", "channel_7d", "trades_since")
    assert values(desk, *names) == [0, 0, 0, 0, None, 0]
    desk.take(trade(at(1, 9)), login(at(1)), login(at(1, 12.5)), trade(at(1, 13)))
    assert values(desk, *names) == [1, 1, 1, 4, "app_push", 1]  # a task is no contact; one letter was in its cooldown
    desk.take(login(at(3)))
    assert values(desk, *names) == [2, 2, 0, 5, "app_push", 0]
    desk.tick(at(3) + 6 * DAY_MS)
    desk.take(trade(at(9, 13)))
    assert values(desk, *names) == [1, 0, 0, 2, "app_push", 1]


def test_a_limit_by_contacts_is_exact():
    desk = desk_of(rule("letter", when="contacts_7d < 3", cooldown="1m"))
    for day in range(1, 12):
        desk.take(login(at(day)))
    sent = [
        (day_of(client_ms) - day_of(at(0))) for client_ms, *_, outcome, _ in desk.client.recent if outcome == "sent"
    ]
    assert sent == [1, 2, 3, 8, 9, 10]


@pytest.mark.parametrize("event_first", [False, True])
def test_what_an_action_makes_true_is_seen_with_the_next_event_or_when_the_hour_ends(event_first):
    many = rule("many", becomes="letters_3d >= 2", kind="task", audience="team", cooldown="1h")
    desk = desk_of(LETTERS, many)
    desk.take(login(at(1)))
    desk.take(login(at(1, 14.25)))
    assert [action["rule_id"] for action in desk.tick_all(at(1, 14.99))] == []
    if event_first:
        assert [action["rule_id"] for action in desk.take(trade(at(1, 14.99)))] == ["call", "many"]
    assert [action["rule_id"] for action in desk.tick_all(at(1, 23))] == ([] if event_first else ["many"])


def test_rules_that_feed_each_other_act_at_most_once_an_hour():
    """The way of one rule into the other's condition is as long as an hour, so there is no endless turn."""
    one = rule("one", becomes="ones <= others", cooldown="1m", kind="task", audience="team")
    other = rule("other", becomes="ones > others", cooldown="1m", kind="task", audience="team")
    counts = "".join(
        f'  {name}s: {{source: actions, aggregate: count, where: action.rule_id == "{name}", window: 1d}}\n'
        for name in ("one", "other")
    )
    desk = desk_of(one, other, features=FEATURES + counts)
    actions = desk.tick_all(at(0, 22))
    assert [action["rule_id"] for action in actions] == ["other", "one"] * 5
    assert len(actions) == 10


class TestDeclaredLater:
    rules = (LETTERS, rule("few", on="trades", when="contacts_7d <= 1", kind="task", audience="team"))
    before = plan_of(LETTERS)
    after = plan_of(*rules, features=COUNTS, daily_cap=9)

    def desk(self, *events: Any) -> Desk:
        desk = Desk(self.before)
        desk.take(profile(at(0), consents=CONSENTS), *events)
        later = Desk(self.after)
        later.states["c1"] = unpack(self.after.layout, pack(self.before.layout, desk.client))
        return later

    def test_what_was_done_before_is_not_known_until_the_window_has_passed(self):
        desk = self.desk(login(at(1)))
        assert [desk.plan.reaches[name].is_known(desk.client) for name in ("contacts_7d", "cooled_3h")] == [False] * 2
        assert desk.take(trade(at(2)))[0]["rule_id"] == "call"
        assert ("few", "past_unknown") in desk.outcomes
        desk.tick(at(8))
        desk.take(trade(at(8, 13)))
        assert ("few", "sent") in desk.outcomes

    def test_where_nothing_was_done_all_is_known(self):
        desk = self.desk()
        assert desk.plan.reaches["contacts_7d"].is_known(desk.client)

    def test_what_counts_since_an_action_is_not_known_until_the_next(self):
        desk = self.desk(login(at(1)), trade(at(1, 13)))
        assert not desk.plan.reaches["trades_since"].is_known(desk.client)
        desk.take(login(at(3)), trade(at(3, 13)))
        assert desk.plan.reaches["trades_since"].is_known(desk.client)
        assert values(desk, "trades_since") == [1]

    def test_it_stays_so_when_the_state_is_stored_and_read(self):
        desk = self.desk(login(at(1)))
        again = unpack(self.after.layout, pack(self.after.layout, desk.client))
        again.advance(self.after.layout, at(9))
        assert self.after.reaches["contacts_7d"].is_known(again)
        once_more = unpack(self.after.layout, pack(self.after.layout, again))
        assert self.after.reaches["contacts_7d"].is_known(once_more)

    def test_features_that_go_and_come_back_have_forgotten(self):
        desk = desk_of(*self.rules)
        desk.take(login(at(1)))
        without = unpack(self.before.layout, pack(self.after.layout, desk.client))
        assert b"#actions" not in pack(self.before.layout, without)
        back = unpack(self.after.layout, pack(self.before.layout, without))
        assert not self.after.reaches["contacts_7d"].is_known(back)


def test_who_uses_none_of_it_stores_nothing():
    desk = Desk(plan_of(LETTERS))
    desk.take(profile(at(0), consents=CONSENTS), login(at(1)), trade(at(1, 13)))
    assert b"#actions" not in pack(desk.plan.layout, desk.client)
    quiet = desk_of(LETTERS)
    assert b"#actions" not in pack(quiet.plan.layout, quiet.client)  # nor of whom no rule did anything for


def test_a_past_in_which_nothing_was_sent():
    desk = desk_of(LETTERS)
    desk.take(login(at(1)), trade(at(1, 13)))
    forget(desk.plan, desk.client)
    desk.client.recent = []
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert values(desk, "contacts_7d", "done_7d") == [0, 0]
    assert desk.plan.reaches["contacts_7d"].is_known(desk.client)
    assert not desk.plan.reaches["trades_since"].is_known(desk.client)


def test_a_state_read_anew_after_each_event_comes_to_the_same():
    items = (login(at(1)), trade(at(1, 12.2)), login(at(1, 13.5)), login(at(3)), trade(at(9)))

    def run(anew: bool) -> bytes:
        desk = desk_of(LETTERS, rule("many", becomes="letters_3d >= 2", kind="task", audience="team", cooldown="1h"))
        for item in items:
            desk.take(item)
            desk.tick_all(item[1].time)
            if anew:
                desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
        return pack(desk.plan.layout, desk.client)

    assert run(True) == run(False)


HOURS = st.lists(st.tuples(st.integers(1, 240), st.booleans()), max_size=30)


@settings(max_examples=30, deadline=None)
@given(events=HOURS)
def test_counts_are_those_of_a_list_of_all_that_was_decided(events):
    desk = desk_of(LETTERS, daily_cap=2)
    decided: list[tuple[int, str, str]] = []
    for hour, is_trade in sorted(events):
        time_ms = at(0, 12) + hour * HOUR_MS
        before = len(desk.outcomes)
        desk.take(trade(time_ms) if is_trade else login(time_ms))
        decided += [(time_ms, *found) for found in desk.outcomes[before:]]
        day, now_hour = day_of(time_ms), time_ms // HOUR_MS
        week = Counter(found[1:] for found in decided if day_of(found[0]) > day - 7)
        hours = Counter(outcome for moment, _, outcome in decided if moment // HOUR_MS > now_hour - 3)
        letters = sum(found[1:] == ("letter", "sent") and day_of(found[0]) > day - 3 for found in decided)
        stopped = sum(n for (_, outcome), n in week.items() if outcome == Outcome.COOLDOWN)
        sent = sum(n for (_, outcome), n in week.items() if outcome == Outcome.SENT)
        found = values(desk, "contacts_7d", "letters_3d", "cooled_3h", "done_7d")
        assert found == [week["letter", "sent"], letters, hours["cooldown"], sent + stopped]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"on": "actions"}, "on is one of"),
        ({"silence": "{of: actions, for: 3d}"}, "of is one of"),
        ({"on": "logins", "when": 'action.kind == "task"'}, 'unknown name "action.kind"'),
    ],
)
def test_no_rule_is_evaluated_on_an_action(fields, said):
    files = {"features.yaml": f"features:\n{COUNTS}", "rules.yaml": "rules:\n" + rule("r", **fields)}
    problems = load(files)
    assert isinstance(problems, list | tuple)
    assert any(said in str(problem) or "actions" in str(problem) for problem in problems)


def test_a_filter_that_asks_for_the_outcome_is_taken_as_it_is():
    plan: Plan = plan_of(LETTERS, features=COUNTS)
    keys = {feature.name: feature.where.names for feature in plan.rule_set.features if feature.source == "actions"}
    assert keys["contacts_7d"] == ("action.audience", "action.outcome")
    assert keys["done_7d"] == ("action.outcome",)


def test_what_was_sent_counts_by_its_class_of_the_policy():
    features = FEATURES + "".join(
        f'  {name}_7d: {{source: actions, aggregate: count, where: action.contact_class == "{name}", window: 7d}}\n'
        for name in ("service", "marketing")
    )
    desk = desk_of(LETTERS, features=features)
    desk.take(login(at(1)))
    assert values(desk, "service_7d", "marketing_7d") == [1, 0]

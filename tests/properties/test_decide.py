"""The decision is a function of each client's own events: neither batches, nor other clients, nor ticks, nor where a
state was stored in between change a byte of what is published or kept.

All with the shipped rules, and with a set that acts on nearly every event.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.activity.activity import Activity
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contact import Contact
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import Message
from engine.core.contract.outbound import DECISIONS, is_action
from engine.core.decide.path import Due, Input, decide
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS, day_of
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import BECOMES
from engine.core.rules.policy import Cap
from engine.core.rules.ruleset import Rule
from tests.core.making import FEATURES, event_of, plan_of, rule, shipped_plan
from tests.core_form import attribute_names
from tests.properties.histories import LAST_MS, histories, quick

EAGER = plan_of(
    rule("hello", on="[logins, trades, balances, profiles]", cooldown="1h", priority=80),
    rule("again", on="[logins, trades]", cooldown="1m", priority=80, channels="[wechat, email, sms]"),
    rule("moved", on="tier_change", when="tier_change.new in ('A', 'B', 'C')", cooldown="2d", kind="survey"),
    rule("task", on="balances", when="balance.assets_cny > 0.01", cooldown="1d", kind="task", audience="team"),
    rule("quiet", silence="{of: logins, for: 3d}", cooldown="5d"),
    rule("idle", silence="{of: trades, for: 30d}", cooldown="1m", kind="task", audience="advisor", priority=20),
    rule("frozen", silence="{of: balances, for: 3d}", cooldown="1m", when='client.tier == "A"'),
    features=FEATURES + "  devices_7d: {source: logins, aggregate: distinct, field: device_id, window: 7d}\n",
    daily_cap=2,
)
_SEEN = {"audience": "team", "kind": "task", "cooldown": "1m"}
TIMED = plan_of(
    rule("idle", becomes="client.days_since_trade >= 3", **_SEEN),
    rule(
        "busy", becomes="logins_7d > 1 and not client.days_in_tier == 2", **{"for": "30h"}, repeat_every="3d", **_SEEN
    ),
    rule("rich", becomes="client.assets_cny > 300_000", repeat_every="25h", **_SEEN),
    rule("odd", becomes="client.days_known / 2 > client.days_since_login", **_SEEN),
    rule("active", becomes="logins_7d > 0", repeat_every="12h", cooldown="13h", priority=20),
    rule("review", at='{every: month, day: 31, time: "09:00"}', when='client.tier != "A"', cooldown="1h"),
    rule("birthday", at='{every: birthday, time: "00:00", before: 2d}', cooldown="1h", kind="survey"),
    rule("term", at='{every: maturity, time: "10:00", before: 1d}', when="maturity.amount_cny > 1", **_SEEN),
    rule(
        "unused-deposit",
        sequence='{first: {on: balances, when: balance.kind == "deposit"}, without: {on: trades}, within: 12h}',
        when="logins_7d >= 0",
        **_SEEN,
    ),
    rule(
        "bought", sequence="{first: {on: logins}, then: {on: trades, when: trade.side == 'buy'}, within: 3d}", **_SEEN
    ),
    features=FEATURES + "  logins_7d: {source: logins, aggregate: count, window: 7d}\n",
    daily_cap=1,
)
PLANS = {"shipped": shipped_plan(), "eager": EAGER, "timed": TIMED}
plans = st.sampled_from(list(PLANS))
States = dict[str, ClientState]


def decided_one_by_one(plan: Plan, history: list[Input]) -> tuple[States, list[Message]]:
    states: States = {}
    return states, [m for item in history for m in decide(plan, states, [item]).messages]


def packed(plan: Plan, states: States) -> dict[str, bytes]:
    return {id_: pack(plan.layout, client) for id_, client in states.items()}


def of_each_client(messages: list[Message]) -> dict[bytes | None, list[Message]]:
    found = defaultdict(list)
    for message in messages:
        found[message.key].append(message)
    return dict(found)


def settled(plan: Plan, states: States) -> None:
    """Run all that falls due up to the end, so that what differs only in ticks that came too late is compared too."""
    decide(plan, states, [Due(id_, LAST_MS) for id_ in sorted(states)])


@quick(40)
@given(name=plans, history=histories(known=True), data=st.data())
def test_neither_batches_nor_ticks_nor_storage_change_a_byte(name, history, data):
    plan = PLANS[name]
    expected_states, expected = decided_one_by_one(plan, history)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(history)), max_size=6)) | {0, len(history)})
    states: States = {}
    messages: list[Message] = []
    for begin, end in itertools.pairwise(cuts):
        inputs: list[Input] = []
        for item in history[begin:end]:
            if data.draw(st.integers(0, 3)) == 0:  # a tick, early or late, but not ahead of the client's next event
                client_id, latest = event_of(item).client_id, event_of(item).time
                inputs.append(Due(client_id, latest - data.draw(st.sampled_from([0, 1, DAY_MS, 30 * DAY_MS]))))
            inputs.append(item)
        for id_ in sorted(states):
            if data.draw(st.booleans()):
                states[id_] = unpack(plan.layout, pack(plan.layout, states[id_]))
        messages += decide(plan, states, inputs).messages
    assert messages == expected
    assert packed(plan, states) == packed(plan, expected_states)


@quick(40)
@given(name=plans, history=histories(known=True), data=st.data())
def test_other_clients_do_not_matter(name, history, data):
    """The same events in another order between clients, each client's own kept."""
    plan = PLANS[name]
    states, messages = decided_one_by_one(plan, history)
    waiting = {id_: [i for i in history if event_of(i).client_id == id_] for id_ in states}
    shuffled = []
    for id_ in data.draw(st.permutations([event_of(item).client_id for item in history])):
        shuffled.append(waiting[id_].pop(0))
    other_states, other = decided_one_by_one(plan, shuffled)
    assert of_each_client(other) == of_each_client(messages)
    assert packed(plan, other_states) == packed(plan, states)


@quick(40)
@given(
    name=plans, history=histories(clients=1, known=True), late_ms=st.sampled_from([0, 1, 999, 3_600_000, 9 * DAY_MS])
)
def test_it_does_not_matter_how_late_a_tick_comes(name, history, late_ms):
    """Each timer runs at its own due time: by a tick at once, by one that comes late, by the next event, by none."""
    plan = PLANS[name]
    expected_states, expected = decided_one_by_one(plan, history)
    expected += decide(plan, expected_states, [Due("c1", LAST_MS)]).messages
    states: States = {}
    messages: list[Message] = []
    for item in history:
        while "c1" in states and states["c1"].due_ms + late_ms <= event_of(item).time:
            messages += decide(plan, states, [Due("c1", states["c1"].due_ms + late_ms)]).messages
        messages += decide(plan, states, [item]).messages
    messages += decide(plan, states, [Due("c1", LAST_MS)]).messages
    assert messages == expected
    assert packed(plan, states) == packed(plan, expected_states)


@quick(40)
@given(name=plans, history=histories(known=True, most=60))
def test_caps_cooldowns_and_stays_are_kept(name, history):
    plan = PLANS[name]
    states, messages = decided_one_by_one(plan, history)
    settled(plan, states)
    rules = {r.id: r for r in plan.rule_set.rules}
    contacts: defaultdict[str, list[tuple[int, Contact]]] = defaultdict(list)
    acted: dict[tuple[str, str], int] = {}
    moved: dict[str, tuple[str, int]] = {}
    for message in messages:
        if message.topic == DECISIONS or (message.topic != "tier-changes" and not is_action(message.headers)):
            continue
        value = json.loads(message.value or b"")
        client, now_ms = value["client_id"], parse_time_ms(value["time"])
        if message.topic == "tier-changes":
            check_stay(plan, value, moved.get(client), now_ms)
            moved[client] = (value["to_tier"], now_ms)
            continue
        rule_ = rules[value["rule_id"]]
        last = acted.get((client, rule_.id))
        assert last is None or now_ms >= last + least_cooldown_ms(plan, rule_)
        acted[client, rule_.id] = now_ms
        assert value["channel"] in rule_.channels
        if rule_.audience == "client":
            contact = rule_.contact(value["channel"])
            for cap in plan.rule_set.caps_on(rule_):
                assert not cap.of.meets(contact) or counted(plan, cap, contacts[client], now_ms) < cap.at_most
            contacts[client].append((now_ms, contact))


@quick(75)
@given(history=histories(clients=1, known=True), data=st.data())
def test_a_condition_is_looked_at_whenever_it_can_have_changed(history, data):
    """Between two looks at a client no condition that is waited for turns true or false."""
    states: States = {}
    for item in history:
        client = states.get("c1")
        if client is not None and client.now_ms < event_of(item).time:
            copy = unpack(TIMED.layout, pack(TIMED.layout, client))
            copy.advance(TIMED.layout, data.draw(st.integers(client.now_ms, min(client.due_ms, LAST_MS) - 1)))
            rules = TIMED.compiled[BECOMES]
            assert {rules[i].rule.id for i in TIMED.match[BECOMES](copy, None, None)} == set(client.held)
        decide(TIMED, states, [item])


def counted(plan: Plan, cap: Cap, contacts: list[tuple[int, Contact]], now_ms: int) -> int:
    """Those that lie in the period of a cap by the firm's calendar, and are of those that it counts."""
    counting = {one.name for one in plan.rule_set.policy.classes if one.counts or one.name in cap.of.classes}

    def period(ms: int) -> object:
        day = dt.date(1970, 1, 1) + dt.timedelta(days=day_of(ms))
        return {"day": day, "week": day.isocalendar()[:2], "month": (day.year, day.month)}[cap.per or "day"]

    def within(ms: int) -> bool:
        return period(ms) == period(now_ms) if cap.per else ms > now_ms - cap.within_s * 1000

    return sum(within(ms) and cap.of.meets(c) and c.contact_class in counting for ms, c in contacts)


def least_cooldown_ms(plan: Plan, rule_: Rule) -> int:
    """Of a cooldown by a table, the shortest of its values."""
    if rule_.cooldown_by is None:
        return rule_.cooldown_s * 1000
    (table,) = (table for table in plan.rule_set.tables if table.name == rule_.cooldown_by.text)
    return min(*(row.then for row in table.rows), table.otherwise or NEVER_MS) * DAY_MS


def check_stay(plan: Plan, change: dict, before: tuple[str, int] | None, now_ms: int) -> None:
    assert change["from_tier"] == (before[0] if before else None)
    assert change["to_tier"] != change["from_tier"]
    ladder = plan.ladders.get(change["client_type"])
    if before and ladder and change["reason"] == "demoted":
        assert now_ms >= before[1] + ladder.ladder.demote_after_days * DAY_MS


@quick(40)
@given(name=plans, history=histories(known=True))
def test_a_client_is_never_left_with_something_already_due(name, history):
    plan = PLANS[name]
    states: States = {}
    for item in history:
        decide(plan, states, [item])
        client = states[event_of(item).client_id]
        assert client.due_ms > client.now_ms
    settled(plan, states)
    assert all(client.due_ms > LAST_MS for client in states.values())


@quick(40)
@given(name=plans, history=histories())
def test_unpack_gives_back_every_attribute(name, history):
    plan = PLANS[name]
    states, _ = decided_one_by_one(plan, history)
    for client in states.values():
        again = unpack(plan.layout, pack(plan.layout, client))
        assert attributes(plan, again) == attributes(plan, client)


@quick(40)
@given(name=plans, history=histories(), hours=st.integers(0, 24 * 70))
def test_an_activity_that_is_read_later_is_what_it_would_be_had_it_been_read_at_once(name, history, hours):
    plan = PLANS[name]
    states, _ = decided_one_by_one(plan, history)
    for client in states.values():
        packed = pack(plan.layout, client)
        early, late = unpack(plan.layout, packed), unpack(plan.layout, packed)
        assert all(isinstance(early.activities[source], Activity) for source in plan.layout.sources)  # asked for
        for moment_ms in (client.now_ms + hours * HOUR_MS // 2, client.now_ms + hours * HOUR_MS):
            early.advance(plan.layout, moment_ms)
            late.advance(plan.layout, moment_ms)
        unread = unpack(plan.layout, packed)
        unread.advance(plan.layout, client.now_ms + hours * HOUR_MS)
        assert pack(plan.layout, late) == pack(plan.layout, early) == pack(plan.layout, unread)
        assert attributes(plan, late) == attributes(plan, early) == attributes(plan, unread)


# Have a meaning while an event is decided, or are found again when missing.
PASSING = (
    *("before_ms", "calendar_ms", "calendar_rules", "listed", "packed", "packed_past", "portfolio", "portrayed"),
    *("forgets_ms", "public", "slides"),
)


def attributes(plan: Plan, client: ClientState) -> dict[str, object]:
    found = {name: getattr(client, name) for name in attribute_names(ClientState) if name not in PASSING}
    return found | {"activities": {source: of_activity(client.activities[source]) for source in plan.layout.sources}}


def of_activity(activity: Activity) -> dict[str, object]:
    found = {name: getattr(activity, name) for name in attribute_names(Activity) if name not in PASSING}
    return found | {"hours": activity.hours and of_activity(activity.hours)}


@quick(40)
@given(history=histories(known=True), order=st.randoms(use_true_random=False))
def test_the_order_in_files_does_not_matter(history, order):
    """Rules and features in another order: the same messages, the same states."""
    lines = [
        FEATURES,
        "  devices_7d: {source: logins, aggregate: distinct, field: device_id, window: 7d}\n",
        "  traded_7d: {source: trades, aggregate: count, window: 7d}\n",
        "  in_cny_7d: {source: balances, aggregate: sum, field: amount_cny, window: 7d}\n",
    ]
    rules = [
        rule("hello", on="[logins, trades, balances]", cooldown="1h", when="traded_7d >= 1"),
        rule("again", on="[logins, trades]", cooldown="1m", when="devices_7d >= 1"),
        rule("rich", on="[trades, balances]", cooldown="1m", when="in_cny_7d > 0.01", parameters="{n: in_cny_7d}"),
    ]
    expected_states, expected = decided_one_by_one(plan_of(*rules, features="".join(lines)), history)
    order.shuffle(lines)
    order.shuffle(rules)
    plan = plan_of(*rules, features="".join(lines))
    states, messages = decided_one_by_one(plan, history)
    assert messages == expected
    assert packed(plan, states) == packed(plan, expected_states)


@pytest.mark.parametrize("name", list(PLANS))
def test_the_histories_set_off_what_is_looked_at(name):
    """The properties above mean something only if rules act, are held back, and timers run."""
    plan, timers = PLANS[name], 0
    outcomes: Counter[str] = Counter()
    topics: Counter[str] = Counter()

    @settings(quick(100), derandomize=True)
    @given(history=histories(known=True, most=60))
    def collect(history):
        nonlocal timers
        states: States = {}
        decided = decide(plan, states, history)
        decided_late = decide(plan, states, [Due(id_, LAST_MS) for id_ in states])
        for one in (decided, decided_late):
            outcomes.update(outcome for _, outcome in one.outcomes.elements())
            topics.update(message.topic for message in one.messages)
            timers += sum(b'"type":"timer"' in (message.value or b"") for message in one.messages)

    collect()
    assert min(outcomes[outcome] for outcome in ("sent", "cooldown", "no_consent")) > 0, outcomes
    assert outcomes["cap"] + outcomes["daily_cap"] > 0, outcomes
    assert min(topics[topic] for topic in ("tier-changes", "tasks", "messages", "surveys")) > 0, topics
    assert timers > 5

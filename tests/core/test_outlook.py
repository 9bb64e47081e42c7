"""What a rule set would do at once, against what the sweep after publishing does."""

from collections import Counter

from engine.core.client.sections import pack, unpack
from engine.insight.outlook import Outlook, is_one_in, outlook
from tests.core.making import TIERS, Desk, at, balance, login, plan_of, profile, rule

OLD = (rule("rich", becomes="client.assets_cny >= 1_000_000", audience="team", cooldown="30d"),)
NEW = (
    rule("wealthy", becomes="client.assets_cny >= 1_000_000", audience="team", cooldown="30d", was="[rich]"),
    rule("some", becomes="client.assets_cny >= 200_000", audience="team"),
    rule("letter", becomes="client.assets_cny >= 1", audience="client", channels="[sms]"),
    rule("seen", on="logins", audience="team"),
)
LOWER = TIERS.replace("300_000, exit: 270_000", "200_000, exit: 150_000")


def states(plan):
    """Four clients by their assets; the first agrees to nothing."""
    found = []
    for number, cny in enumerate((100_000, 250_000, 400_000, 2_000_000)):
        desk = Desk(plan)
        consents = {} if number else {"consents": ()}
        id_ = f"c{number}"
        desk.take(profile(at(0), id_, **consents), balance(at(0), cny, id_), login(at(1), id_))
        found.append(pack(plan.layout, desk.states[id_]))
    return found


def swept(plan, packed):
    """What the sweep does: moves, and who acts."""
    moves, acts, affected = Counter(), Counter(), 0
    for state in packed:
        desk = Desk(plan)
        client = unpack(plan.layout, state)
        desk.states[client.client_id] = client
        published = desk.sweep(at(2), client.client_id)
        moves.update((m["from_tier"], m["to_tier"]) for m in published if m["topic"] == "tier-changes")
        acts.update({m["rule_id"] for m in published if m["topic"] != "tier-changes"})
        affected += bool(published)
    return moves, acts, affected


def test_it_is_what_the_sweep_does():
    before, after = plan_of(*OLD), plan_of(*NEW, tiers=LOWER)
    packed = states(before)
    found = outlook(before, after, packed, at(2))
    assert (found.moves, found.acts, found.affected) == swept(after, packed)
    assert found.moves == {("C", "B"): 1}
    assert found.acts == {"some": 3, "letter": 3}  # nobody may write to the first one
    assert (found.clients, found.affected) == (4, 3)
    assert list(found.lines()) == [
        "of 4 clients, 3 would be moved or acted on at once",
        "  tier C -> B: 1 clients",
        "  rule letter acts on 3 clients",
        "  rule some acts on 3 clients",
    ]
    assert 60 < sum(is_one_in(100, f"C{number:06}") for number in range(10_000)) < 140
    several = found.of_all(10)
    assert (several.clients, several.affected, several.moves, several.acts["some"]) == (40, 30, {("C", "B"): 10}, 30)
    assert next(several.lines()) == "of 40 clients, by one in 10, 30 would be moved or acted on at once"
    assert found.as_json()["moves"] == [{"from": "C", "to": "B", "clients": 1}]


def test_the_same_rules_do_nothing():
    plan = plan_of(*NEW)
    assert outlook(plan, plan, states(plan), at(2)) == Outlook(clients=4)


def test_what_the_active_set_does_by_then_does_not_count():
    waits = rule("late", silence="{of: logins, for: 30d}", audience="team")
    before = plan_of(waits)
    packed = states(before)
    assert outlook(before, plan_of(waits, *OLD), packed, at(90)).acts == {"rich": 1}


def test_what_is_held_acts_later():
    quiet = "contact: {daily_cap: 9}\nclasses: {service: {when_quiet: hold}, offers: {collect: 15m}}\n"
    quiet += "quiet_hours: {noon: {hours: '11:00-14:00', of: {class: service}}}\n"
    held = rule("letter", becomes="client.assets_cny >= 1", channels="[sms]")
    offer = rule("offer", becomes="client.assets_cny >= 300_000", channels="[sms]", **{"class": "offers"})
    dropped = rule("call", becomes="client.assets_cny >= 1", channels="[phone]")
    policy = (("policy.yaml", quiet),)
    before, after = plan_of(*OLD, others=policy), plan_of(*OLD, held, offer, dropped, others=policy)
    found = outlook(before, after, states(before), at(2))
    assert (found.acts, found.later) == ({"letter": 3, "offer": 2}, {"letter": 3, "offer": 2})
    assert (found.affected, found.of_all(10).later["offer"]) == (3, 20)
    assert found.as_json()["later"] == {"letter": 3, "offer": 2}
    assert list(found.lines())[1:] == [
        "  rule letter acts on 3 clients, on 3 of them later: it is held",
        "  rule offer acts on 2 clients, on 2 of them later: it is held",
    ]
    at_ten = outlook(before, after, states(before), at(2, 10))
    assert (at_ten.acts, at_ten.later) == ({"letter": 3, "offer": 2}, {"offer": 2})
    assert not outlook(after, after, states(after), at(2)).affected

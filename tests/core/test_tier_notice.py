"""Notice before a demotion: grace, reviews, what ends them; against a slow model that steps through every hour."""

import datetime as dt
import random

import msgspec
import pytest

from engine.core.client.sections import pack, unpack
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule
from tests.core.test_answers import came

HOUR_MS, DAY_MS, EAST_MS = 3_600_000, 86_400_000, 8 * 3_600_000
LADDER = """\
individual:
  measure: {measure}
  demote_after: {down}d
  {more}
  tiers:
    - {{tier: A, enter: 1_000_000, exit: 900_000}}
    - {{tier: B, enter: 300_000, exit: 270_000}}
    - {{tier: C}}
"""
FEATURES = "  assets_avg_cny_5d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 5d}\n"
MONTHLY = 'review: {every: month, day: 1, time: "08:00"}'
NOTICED = rule(
    "noticed",
    on="tier_at_risk",
    audience="team",
    parameters="{to: tier_at_risk.falls_to, at: tier_at_risk.falls_at, days: tier_at_risk.days}",
)


def desk_of(more="grace: 10d", down=0, measure="client.assets_cny", rules=(NOTICED,)):
    return Desk(plan_of(*rules, features=FEATURES, tiers=LADDER.format(measure=measure, down=down, more=more)))


def told(published):
    """Notices and moves, each with its moment."""
    found = []
    for message in published:
        if message["topic"] == "tier-changes":
            found.append((ms_of(message["time"]), message["from_tier"], message["to_tier"], message["reason"]))
        elif message["rule_id"] == "noticed":
            falls_at = ms_of(message["parameters"]["at"])
            found.append((ms_of(message["time"]), "notice", message["parameters"]["to"], falls_at))
    return found


def ms_of(text):
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def rich(desk):
    desk.take(profile(at(0)), balance(at(0), 2_000_000))
    assert desk.tier == "A"


# -- examples ----------------------------------------------------------------------------------------------------------


def test_a_client_has_notice_and_falls_after_the_grace():
    desk = desk_of()
    rich(desk)
    found = told(desk.take(balance(at(1), 400_000)))
    assert found == [(at(1), "notice", "B", at(11))]
    assert b'"days":10' in (desk.messages[-1].value or b"")
    assert told(desk.tick_all(at(30))) == [(at(11), "A", "B", "demoted")]
    assert desk.client.tier_risk is None


def test_who_rises_in_time_stays_and_has_notice_anew():
    desk = desk_of()
    rich(desk)
    desk.take(balance(at(1), 400_000), balance(at(9), 900_000))
    assert desk.client.tier_risk is None
    assert told(desk.tick_all(at(30))) == []
    assert told(desk.take(balance(at(31), 100_000))) == [(at(31), "notice", "C", at(41))]
    assert told(desk.take(balance(at(32), 400_000))) == []  # one notice: where it falls is decided when it falls
    assert told(desk.tick_all(at(60))) == [(at(41), "A", "B", "demoted")]


@pytest.mark.parametrize(
    ("more", "down", "falls"),
    [
        ("grace: 10d", 0, at(11)),
        ("grace: 10d", 30, at(30)),  # the stay counts from the day on which the client came into the tier
        (MONTHLY, 0, ms_of("2026-03-01T08:00:00+08:00")),
        (f"grace: 10d\n  {MONTHLY}", 0, ms_of("2026-03-01T08:00:00+08:00")),
        (f"grace: 13d\n  {MONTHLY}", 0, ms_of("2026-04-01T08:00:00+08:00")),
        (f"grace: 10d\n  {MONTHLY}", 60, ms_of("2026-05-01T08:00:00+08:00")),
    ],
)
def test_when_it_falls(more, down, falls):
    desk = desk_of(more, down)
    rich(desk)
    desk.take(balance(at(1), 400_000))
    assert desk.client.tier_risk == [at(1), falls, "B"]
    desk.tick(falls - 1)
    assert desk.tier == "A"
    desk.tick(falls)
    assert desk.tier == "B"


def test_a_rise_waits_for_no_review():
    desk = desk_of(MONTHLY)
    desk.take(profile(at(0)), balance(at(0), 400_000))
    assert told(desk.take(balance(at(1), 2_000_000))) == [(at(1), "B", "A", "promoted")]


def test_without_grace_and_review_nobody_has_notice():
    desk = desk_of("promote_after: 0d")
    rich(desk)
    assert told(desk.take(balance(at(1), 400_000))) == [(at(1), "A", "B", "demoted")]


@pytest.mark.parametrize(
    "ends",
    [
        came("overrides", at(3), kind="tier", tier="A", until=at(90), by="S-1"),
        profile(at(3), type="insurer"),
    ],
)
def test_what_ends_the_risk_beside_a_rise(ends):
    desk = desk_of()
    rich(desk)
    desk.take(balance(at(1), 400_000), ends)
    assert desk.client.tier_risk is None
    assert told(desk.tick_all(at(60))) == []


def test_the_day_that_was_told_stays_when_the_rules_change_and_other_rules_can_end_it():
    desk = desk_of()
    rich(desk)
    desk.take(balance(at(1), 400_000))
    for more, falls in (("grace: 90d", at(11)), ("promote_after: 0d", at(2))):
        later = Desk(desk_of(more).plan)
        later.states["c1"] = unpack(later.plan.layout, pack(desk.plan.layout, desk.client))
        found = told(later.sweep(at(2))) + told(later.tick_all(at(30)))
        assert found == [(falls, "A", "B", "demoted")]


def test_a_client_whose_tier_was_too_high_already_has_notice_when_the_rules_bring_it():
    desk = desk_of("promote_after: 0d", down=366)
    rich(desk)
    desk.take(balance(at(1), 400_000))
    later = Desk(desk_of().plan)
    later.states["c1"] = unpack(later.plan.layout, pack(desk.plan.layout, desk.client))
    assert told(later.sweep(at(2))) == [(at(2), "notice", "B", at(12))]
    assert told(later.tick_all(at(30))) == [(at(12), "A", "B", "demoted")]


def test_conditions_read_it_and_it_is_stored_only_while_there_is_one():
    cares = rule("cares", becomes="client.tier_at_risk and client.tier_falls_at > client.known_since", audience="team")
    desk = desk_of(rules=(cares,))
    rich(desk)
    assert desk.outcomes == []
    desk.take(balance(at(1), 400_000))
    assert desk.outcomes == [("cares", "sent")]
    assert unpack(desk.plan.layout, pack(desk.plan.layout, desk.client)).tier_risk == [at(1), at(11), "B"]
    desk.take(balance(at(2), 2_000_000), login(at(3)))
    decode = msgspec.msgpack.decode
    assert "k" not in decode(decode(pack(desk.plan.layout, desk.client))[2]["tier"])[1]


# -- the slow model ----------------------------------------------------------------------------------------------------


class Slow:
    """One client's tier by the manual: what it is measured by is worked out anew in every hour."""

    def __init__(self, grace, review_time, stay, mean):
        self.grace, self.review, self.stay, self.mean = grace * DAY_MS, review_time, stay * DAY_MS, mean
        self.closed, self.now_cny = {}, None
        self.tier = self.since = self.risk = None
        self.found = []

    def measure(self, moment):
        if not self.mean:
            return self.now_cny
        today = (moment + EAST_MS) // DAY_MS
        values = [self.now_cny]
        for day in range(today - 4, today):
            known = [d for d in self.closed if d <= day]
            if known:
                values.append(self.closed[max(known)])
        return sum(value * 100 for value in values) // len(values) / 100

    def look(self, moment):
        value = self.measure(moment)
        enters, leaves = {"A": 1_000_000, "B": 300_000, "C": 0}, {"A": 900_000, "B": 270_000, "C": 0}
        best = next(tier for tier in "ABC" if value >= enters[tier])
        if self.tier is None:
            self.move(moment, best, "first")
        elif best < self.tier:
            self.move(moment, best, "promoted")
        elif best == self.tier or value >= leaves[self.tier]:
            self.risk = None
        elif self.risk is None:
            falls = max(self.since + self.stay, moment + self.grace)
            while self.review and not self.is_review(falls):
                falls += HOUR_MS - falls % HOUR_MS
            if falls > moment:
                self.risk = falls
                self.found.append((moment, "notice", best, falls))
            else:
                self.move(moment, best, "demoted")
        elif moment >= self.risk:
            self.move(moment, best, "demoted")

    def is_review(self, moment):
        when = dt.datetime.fromtimestamp(moment / 1000, dt.timezone(dt.timedelta(hours=8)))
        return (when.isoweekday(), when.hour, moment % HOUR_MS) == (1, 8, 0)

    def move(self, moment, tier, reason):
        self.found.append((moment, self.tier, tier, reason))
        self.tier, self.since, self.risk = tier, moment, None

    def run(self, balances, end):
        moment = balances[0][0]
        for at_ms, cny in [*balances, (end, None)]:
            while self.now_cny is not None and moment < at_ms:
                following = [moment + HOUR_MS - moment % HOUR_MS, at_ms]
                following += [self.risk] if self.risk is not None and self.risk > moment else []
                before, moment = moment, min(following)
                if (moment + EAST_MS) // DAY_MS != (before + EAST_MS) // DAY_MS:
                    self.closed[(before + EAST_MS) // DAY_MS] = self.now_cny
                if moment < at_ms or cny is None:
                    self.look(moment)
            if cny is not None:
                if self.now_cny is not None:
                    self.look(moment)  # what falls due at the same moment comes first
                moment, self.now_cny = at_ms, cny
                self.look(moment)
        return self.found


@pytest.mark.parametrize("mean", [False, True])
def test_as_the_slow_model(mean):
    rng = random.Random(3)
    for _ in range(40):
        grace, stay, review = rng.choice((0, 3, 10)), rng.choice((0, 7)), rng.random() < 0.5
        more = f"grace: {grace}d" + ('\n  review: {every: week, day: mon, time: "08:00"}' if review else "")
        if not grace and not review:
            continue
        measure = "assets_avg_cny_5d" if mean else "client.assets_cny"
        times = sorted(rng.sample(range(24 * 60), 9))
        amounts = [rng.choice((100_000, 280_000, 400_000, 950_000, 2_000_000)) for _ in times]
        moments = [at(0) + hour * HOUR_MS + 60_000 * rng.randrange(1, 60) for hour in times]
        balances = [*zip(moments, amounts, strict=True)]
        end = balances[-1][0] + 40 * DAY_MS
        desk = desk_of(more, stay, measure)
        desk.take(profile(balances[0][0]))
        found = told(desk.take(*(balance(*one) for one in balances)))
        found += told(desk.tick_all(end))
        assert found == Slow(grace, review, stay, mean).run(balances, end), (more, stay, balances)

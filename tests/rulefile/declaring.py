"""Rule files that declare an event type, for tests; each test changes one of them."""

from __future__ import annotations

from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load

EVENTS = """\
events:
  ipo_allotment:
    title: Shares of a new issue allotted
    owner: trading
    fields:
      symbol: {kind: id, required: true, description: security allotted}
      shares: {kind: number, unit: shares, required: true, description: how many}
      amount_cny: {kind: money, description: what they cost}
      board: {kind: enum, values: [main, star, other], required: true}
      lots: {kind: number, unit: count, most: 500}
      rate: {kind: number, unit: ratio}
      listed_on: date
      told_at: time
      first_one: bool
      phone: {kind: text, personal: true}
  branch_visit:
    title: A visit to a branch
    owner: wealth
    fields:
      branch: id
"""
FEATURES = """\
features:
  allotments_30d: {source: ipo_allotment, aggregate: count, window: 30d}
  allotted_30d: {source: ipo_allotment, aggregate: sum, field: shares, window: 30d}
  allotted_cny_30d: {source: ipo_allotment, aggregate: sum, field: amount_cny, where: 'ipo_allotment.board != "other"', window: 30d}
  boards_90d: {source: ipo_allotment, aggregate: distinct, field: board, window: 90d}
  last_phone: {source: ipo_allotment, aggregate: last, field: phone, window: 90d}
  best_rate_30d: {source: ipo_allotment, aggregate: max, field: rate, window: 30d}
  logins_since_allotment: {source: logins, aggregate: count, since: {on: ipo_allotment}}
"""  # noqa: E501
RULES = """\
rules:
  - id: congratulate
    title: Shares of a new issue allotted
    owner: trading
    on: ipo_allotment
    when: ipo_allotment.shares >= 100 and ipo_allotment.board in {"main", "star"} and not client.days_since_ipo_allotment < 7
    kind: message
    audience: client
    channels: [app_push]
    priority: 50
    cooldown: 1h
    expires: 1d
    template: congratulations
    serves: service
    parameters:
      symbol: ipo_allotment.symbol
      amount: ipo_allotment.amount_cny
      days_to_listing: (ipo_allotment.listed_on - now) / days(1)
      in_all: allotted_30d
    description: Somebody was lucky.
    tests:
      - name: shares of the main board
        event: {ipo_allotment: {shares: 500, amount_cny: 10_000.5, listed_on: 2026-11-05}}
        expect: {fires: {parameters: {amount: 10_000.50, in_all: 500}}}
      - name: a fraction
        event: {ipo_allotment: {shares: 0.5}}
        expect: {not: condition}
      - name: the second in a week
        given: {history: [{at: -3d, ipo_allotment: {told_at: "2026-10-30 09:00"}}]}
        event: {ipo_allotment: {shares: 500}}
        expect: {not: condition}
  - id: no-more-luck
    title: No allotment for long
    owner: trading
    silence: {of: ipo_allotment, for: 60d}
    when: boards_90d >= 2
    kind: task
    audience: team
    priority: 40
    cooldown: 30d
    expires: 7d
    template: call
    serves: service
    description: They used to be lucky.
    tests:
      - name: two months after the last of two
        given: {history: [{at: -5d, ipo_allotment: {board: star}}]}
        event: {ipo_allotment: {board: main}}
        wait: 61d
        expect: fires
  - id: payment-due
    title: Paid for an allotment
    owner: trading
    sequence: {first: {on: ipo_allotment, when: known(ipo_allotment.amount_cny)}, without: {on: balances, when: 'balance.kind == "deposit"'}, within: 2d}
    when: logins_since_allotment > 0
    kind: task
    audience: team
    priority: 30
    cooldown: 1d
    expires: 1d
    template: remind
    serves: service
    description: Shares must be paid for.
    tests:
      - name: a login and no deposit
        given: {history: [{at: -1d, ipo_allotment: {amount_cny: 5_000}}]}
        event: {logins: {}}
        wait: 2d
        expect: fires
"""  # noqa: E501
FILES = {
    "events.yaml": EVENTS,
    "features.yaml": FEATURES,
    "tiers.yaml": "segments:\n  - {id: lucky, when: allotments_30d > 3}\n",
    "policy.yaml": "contact:\n  daily_cap: 2\n",
    "definitions.yaml": "define:\n  large: {is: ipo_allotment.shares >= 1000, on: ipo_allotment}\n",
    "rules.yaml": RULES,
}


def rule_set_of(**changed: str) -> RuleSet:
    """Of FILES, with other texts for some of them."""
    found = load(FILES | {f"{name}.yaml": text for name, text in changed.items()})
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return found


def plan_with(**changed: str) -> Plan:
    return compile_rule_set(rule_set_of(**changed))

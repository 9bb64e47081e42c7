"""Rule sets for the simulation: small, with something for every kind of trigger.

Enters: nothing. Leaves: texts of rule files. Holds: sets differ in thresholds, versions and features, so that deciding
with the wrong one shows, and a feature goes and comes back; clients have to be looked at when another comes in force.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from engine.rulefile.read.load import digest
from tests.simulation.policy_texts import CONTACTS, POLICY

_TIERS: Final = """\
individual:
  measure: assets_avg_cny_30d
  promote_after: 0d
  grace: 1d
  tiers:
    - {tier: A, enter: 1_000_000, exit: 900_000}
    - {tier: B, enter: 300_000, exit: 270_000}
    - {tier: C}
segments:
  - id: active
    when: trades_7d >= 3
value_score: 20 * trades_7d / max(trades_7d, 20)
"""
_TEAMS: Final = """\
teams:
  wealth: {title: Wealth, head: li-na}
  trading: {title: Trading, head: wu}
  client_service: {title: Client service, head: chen}
"""
_FEATURES: Final = """\
features:
  trades_7d: {source: trades, aggregate: count, window: 7d}
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
"""
_SOLD: Final = """\
  sold_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d}
  logins_12h: {source: logins, aggregate: count, window: 12h}
  traded_since_login_cny: {source: trades, aggregate: sum, field: amount_cny, since: {on: logins}}
  size_cny_7d: {source: trades, aggregate: avg, field: amount_cny, window: 7d}
  favourite_30h: {source: trades, aggregate: top, field: symbol, by: amount_cny, window: 30h}
"""


IDLE: Final = "client.days_since_trade >= 1 and trades_7d >= 1"


def _rules(version: int, threshold: int, extra: str = "", idle: str = IDLE) -> str:
    return f"""\
rules:
  - id: large-trade
    version: {version}
    title: A large trade
    owner: wealth
    on: trades
    when: trade.amount_cny >= {threshold}
    kind: alert
    audience: advisor
    priority: 90
    cooldown: 30m
    expires: 12h
    template: large_trade
    parameters: {{trades: trades_7d}}
    description: Often.
  - id: silent
    version: {version}
    title: No login
    owner: client_service
    silence: {{of: logins, for: 1d}}
    when: client.segment != "active"
    kind: message
    audience: client
    channels: [sms, email]
    priority: 50
    cooldown: 1d
    expires: 7d
    template: silent
    description: Silence.
  - id: welcome
    version: {version}
    title: Promoted
    owner: wealth
    on: tier_change
    when: tier_change.reason == "promoted"
    kind: survey
    audience: client
    channels: app_push
    priority: 70
    cooldown: 1d
    expires: 1d
    template: welcome
    description: Tier.
  - id: at-risk
    version: {version}
    title: About to fall
    owner: wealth
    on: tier_at_risk
    kind: task
    audience: advisor
    priority: 55
    cooldown: 1m
    expires: 1d
    template: at_risk
    parameters: {{falls_to: tier_at_risk.falls_to, days: tier_at_risk.days}}
    description: Notice.
  - id: idle
    version: {version}
    title: No trade for a day
    owner: trading
    becomes: {idle}
    for: 1h
    repeat_every: 12h
    kind: task
    audience: team
    priority: 30
    cooldown: 1h
    expires: 1d
    template: idle
    care: {{remind: {{after: 3h, every: 2h, times: 2}}, overdue: 9h, escalate: [{{after: 7h, to: team}}]}}
    description: A condition that becomes true.
  - id: unused-deposit
    version: {version}
    title: A deposit and no trade
    owner: wealth
    sequence:
      first: {{on: balances, when: balance.kind == "deposit"}}
      without: {{on: trades}}
      within: 6h
    kind: task
    audience: advisor
    priority: 60
    cooldown: 1h
    expires: 1d
    template: unused
    parameters: {{assets_cny: balance.assets_cny}}
    description: A sequence.
  - id: morning
    version: {version}
    title: Every morning
    owner: wealth
    at: {{every: trading_day, time: "09:00"}}
    when: client.tier == "A"
    kind: alert
    audience: team
    priority: 20
    cooldown: 1h
    expires: 1d
    template: morning
    description: The calendar.
{extra}"""


_SELLER: Final = """\
  - id: seller
    title: Sells
    owner: wealth
    on: [trades, logins]
    when: sold_cny_7d >= 100_000
    kind: task
    audience: team
    priority: 40
    cooldown: 1h
    expires: 1d
    template: seller
    parameters: {sold_cny: sold_cny_7d, size_cny: size_cny_7d, favourite: favourite_30h}
    description: Sum.
"""


# Declared by two of the sets, and not alike: the same record says another thing under each, or is a dead letter.
_VISIT: Final = """\
events:
  visit:
    title: A visit to a branch
    owner: wealth
    fields:
      branch: {kind: id, required: true}
      minutes: {kind: number, most: 400}
      reason: {kind: enum, values: [advice, cash, other]}
"""
_COURSE: Final = """\
events:
  course:
    title: A course
    owner: wealth
    fields: {title: text}
"""
_MINUTES: Final = """\
  minutes_7d: {source: visit, aggregate: sum, field: minutes, window: 7d}
  trades_since_visit: {source: trades, aggregate: count, since: {on: visit}}
"""
_VISITOR: Final = """\
  - id: visitor
    title: A long visit
    owner: wealth
    on: [visit, trades]
    when: minutes_7d >= 50 and trades_since_visit < 3
    kind: task
    audience: advisor
    priority: 45
    cooldown: 1h
    expires: 1d
    template: visitor
    parameters: {minutes: minutes_7d}
    description: An event of the firm's own.
  - id: no-visit
    title: No visit since
    owner: wealth
    silence: {of: visit, for: 1d}
    when: minutes_7d > 0
    kind: task
    audience: team
    priority: 35
    cooldown: 1h
    expires: 1d
    template: no_visit
    description: Silence of an event of the firm's own.
"""


_LOW: Final = """\
  low_7d: {source: feedback, aggregate: count, where: feedback.nps <= 6, window: 7d}
  fees_named_7d: {source: feedback, aggregate: count, where: 'has_code(feedback.answers, "fees")', window: 7d}
"""
_ANSWERED: Final = """\
  - id: low-score
    title: A low score
    owner: wealth
    on: [feedback, outcomes]
    when: low_7d >= 1 and fees_named_7d < 3
    kind: message
    audience: client
    channels: [email, sms]
    holdout: {share: 0.3, salt: low}
    offers: {product: '"fund"'}
    same_text: 6h
    then: {channel: [app_push, sms], after: 3h}
    priority: 55
    cooldown: 1h
    expires: 1d
    template: low
    parameters: {low: low_7d}
    description: An answer to a survey.
  - id: letter
    title: A letter
    owner: wealth
    at: {every: day, time: "15:00"}
    when: low_7d < 1
    kind: survey
    audience: client
    channels: [email, app_push]
    priority: 58
    cooldown: 12h
    expires: 1d
    template: letter
    description: The calendar, for clients.
  - id: no-answer
    title: A complaint without an answer
    owner: wealth
    sequence:
      first: {on: complaints, when: complaint.status == "opened"}
      without: {on: complaints, when: complaint.status == "answered"}
      within: 12h
    kind: alert
    audience: team
    priority: 65
    cooldown: 1h
    expires: 1d
    template: no_answer
    description: A complaint.
  - id: open-complaint
    title: A complaint is open
    owner: wealth
    unanswered: {of: complaint, for: 9h}
    when: client.open_complaints < 3 or client.oldest_complaint_days >= 1
    kind: alert
    audience: team
    priority: 66
    cooldown: 1h
    expires: 1d
    template: open_complaint
    care: {until: done, escalate: [{after: 5h, to: team}]}
    parameters: {id: item.id, opened: item.opened_at}
    description: An open item.
  - id: nobody-acts
    title: Nobody acts
    owner: trading
    unanswered: {of: idle, for: 6h}
    when: client.open_tasks >= 2
    kind: alert
    audience: team
    priority: 31
    cooldown: 1h
    expires: 1d
    template: nobody_acts
    care: {hours: business, remind: {after: 4h}, ends_when: client.open_complaints > 1}
    parameters: {tasks: client.open_tasks, of: item.about}
    description: Actions of the engine that nobody answers.
  - id: item-moved
    title: An item moved
    owner: wealth
    on: item
    when: item.kind in ("complaint", "task", "survey") and (item.step != "opened" or client.open_tasks >= 2)
    kind: alert
    audience: team
    priority: 67
    cooldown: 1m
    expires: 1d
    template: item_moved
    parameters: {id: item.id, step: item.step, of: item.about}
    description: What becomes of complaints and of actions.
"""


_CONTACTED: Final = """\
  - id: contacted
    title: Often contacted
    owner: wealth
    becomes: acted_9h >= 3 and known(stopped_7d)
    kind: task
    audience: team
    priority: 32
    cooldown: 1h
    expires: 1d
    template: contacted
    parameters: {acted: acted_9h, stopped: stopped_7d}
    description: What the engine did itself.
"""
_DONE: Final = """\
  acted_9h: {source: actions, aggregate: count, where: action.rule_id != "contacted", window: 9h}
  stopped_7d: {source: actions, aggregate: top, field: outcome, where: action.outcome != "sent", window: 7d}
"""


_HELD: Final = """\
  valued_7d_cny: {source: positions, aggregate: sum, field: value_cny, where: position.quantity > 0, window: 7d}
"""
_HOLDER: Final = """\
  - id: holding-moves
    title: A holding moves
    owner: wealth
    on: positions
    when: position.value_change < 0 or client.concentration > 0.7 or valued_7d_cny >= 100_000
    kind: alert
    audience: advisor
    priority: 64
    cooldown: 1h
    expires: 1d
    template: holding_moves
    parameters: {change: position.value_change, was: position.last_value_cny, held: client.held_symbols}
    description: What a client holds.
  - id: below-cost
    title: Below cost
    owner: wealth
    becomes: client.positions_gain <= -0.1 and client.positions >= 1
    repeat_every: 12h
    kind: task
    audience: team
    priority: 34
    cooldown: 1h
    expires: 1d
    template: below_cost
    parameters: {gain: client.positions_gain, value: client.positions_cny}
    description: What follows from all positions.
"""


# Ends where clocks that jump get to; the second set has other holidays.
_CALENDAR: Final = """\
calendar:
  title: An exchange
  first_day: 2026-01-01
  last_day: 2026-03-20
  holidays: [2026-02-26, 2026-03-03]
  workdays: [2026-02-28]
  business_hours: ["09:00-12:00", "13:00-17:30"]
"""


# Stages that follow from the stage so far, and traits that move by events and by time alone.
_PORTRAIT: Final = """\
stages:
  - {id: gone, when: client.days_since_login >= 5}
  - {id: back, when: client.stage == "gone" or client.stage == "back" and client.days_in_stage < 2}
  - {id: quiet, when: trades_7d < 1}
  - {id: busy, when: trades_7d >= 1}
portrait:
  pace: {is: trades_7d}
  share: {is: client.cash_cny / client.assets_cny}
  assets: {is: assets_avg_cny_30d}
  idle: {is: client.days_since_trade >= 3}
"""
_SCORE: Final = """\
score:
  assets: {weight: 60, is: 100 * client.assets_cny / cny(1_000_000), otherwise: 5}
  behaviour: {weight: 40, is: 20 * trades_7d}
"""


def _files(
    rules: str,
    features: str,
    tiers: str = _TIERS,
    events: str = "",
    calendar: str = _CALENDAR,
    portrait: str = "",
    score: str = "",
    policy: str = POLICY,
) -> dict[str, str]:
    files = {"features.yaml": features, "tiers.yaml": tiers, "policy.yaml": policy, "rules.yaml": rules}
    files |= {"calendar.yaml": calendar, "teams.yaml": _TEAMS}
    others = {"events.yaml": events, "portrait.yaml": portrait, "score.yaml": score}
    if "products.csv" in policy:
        files["products.csv"] = "product,risk_class\nfund,R2\n"
    if score:
        files["tiers.yaml"] = tiers.partition("value_score")[0]
    return (
        files
        | {"calendar.yaml": calendar, "teams.yaml": _TEAMS}
        | {name: text for name, text in others.items() if text}
    )


_WAY: Final = """\
journeys:
  - id: trader
    title: After a trade
    owner: wealth
    description: What a journey does is audited by clocks alone.
    entry: {on: trades, when: trade.amount_cny >= 10000, again: 3h}
    steps:
      hello: {act: ACT}
      rest: {wait: 2h}
      again: {act: ACT}
      look: {wait: {on: logins, when: login.success, timeout: 5h, otherwise: last}, next: end}
      last: {act: ACT}
"""
WAY: Final = _WAY.replace("ACT", "{kind: task, audience: team, priority: 20, expires: 80d, template: t}")


GOOD: Final = (
    _files(
        _rules(1, 50_000, _SELLER + _VISITOR + _ANSWERED + _HOLDER + _CONTACTED + CONTACTS),
        _FEATURES + _SOLD + _MINUTES + _LOW + _HELD + _DONE,
        events=_VISIT,
        portrait=_PORTRAIT,
        score=_SCORE,
    )
    | {"journeys/trader.yaml": WAY},
    _files(
        _rules(2, 20_000, idle="trades_7d >= 2"),
        _FEATURES,
        events=_COURSE,
        calendar=_CALENDAR.replace("[2026-02-26, 2026-03-03]", "[2026-02-27, 2026-03-04]"),
        policy="contact:\n  daily_cap: 2\n",
    ),
    _files(
        _rules(
            3,
            80_000,
            _SELLER.replace("100_000", "60_000")
            + _VISITOR
            + _ANSWERED
            + _HOLDER.replace("0.7", "0.6")
            + _CONTACTED.replace(">= 3", ">= 2")
            + CONTACTS,
        ),
        _FEATURES + _SOLD + _MINUTES + _LOW.replace("<= 6", "<= 8") + _HELD + _DONE,
        _TIERS.replace("300_000, exit: 270_000", "100_000, exit: 90_000"),
        _VISIT.replace("most: 400", "most: 60").replace("{kind: enum, values: [advice, cash, other]}", "text"),
        portrait=_PORTRAIT.replace(">= 5}", ">= 4}").replace("  pace: {is: trades_7d}\n", ""),
        score=_SCORE.replace("60,", "70,").replace("40,", "30,"),
    )
    | {"journeys/trader.yaml": WAY.replace("wait: 2h", "wait: 1h").replace("look:", "seek:")},
)
BAD: Final = _files(_rules(1, 50_000).replace("trades_7d", "trades_77d"), _FEATURES)


_FLOOD: Final = """\
  - id: flood
    title: Each trade
    owner: wealth
    on: trades
    when: trade.amount_cny > 0
    kind: {kind}
    audience: {audience}
    priority: 10
    cooldown: 1m
    expires: {expires}
    breaker: {{per_hour: {most}}}
    template: flood
    description: Runs away.
"""


def _flooding(files: dict[str, str], most: int) -> dict[str, str]:
    """With two rules that run away, one for clients and one for staff, and a breaker."""
    to_clients = _FLOOD.format(kind="message", audience="client\n    channels: [sms, email]", expires="20d", most=most)
    to_staff = _FLOOD.format(kind="task", audience="team", expires="60d", most=most).replace("flood", "flood-of-work")
    return files | {"rules.yaml": files["rules.yaml"] + to_clients + to_staff}


FLOODS: Final = ("flood", "flood-of-work")
FLOODING: Final = (_flooding(GOOD[0], 3), _flooding(GOOD[2], 2))


@lru_cache(maxsize=256)
def _digest(files: tuple[tuple[str, str], ...]) -> bytes:
    return digest(dict(files)).encode()


def record(files: dict[str, str]) -> tuple[bytes, bytes]:
    """Key and value of a rule set on its topic."""
    return _digest(tuple(sorted(files.items()))), json.dumps({"files": files}).encode()

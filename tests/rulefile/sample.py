"""A small good rule set, for tests to spoil in one place."""

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from engine.rulefile.source.problem import Problem

FILES = {
    "features.yaml": """\
features:
  trades_30d: {source: trades, aggregate: count, window: 30d}
  money_out_cny_7d:
    source: balances
    aggregate: sum
    field: amount_cny
    where: balance.kind in ("withdrawal", "transfer_out")
    window: 7d
    description: what left
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
""",
    "tiers.yaml": """\
individual:
  measure: assets_avg_cny_30d
  promote_after: 0d
  demote_after: 30d
  tiers:
    - {tier: A, enter: 1_000_000, exit: 900_000}
    - {tier: B, enter: 300_000, exit: 270_000.5}
    - {tier: C}
segments:
  - id: active
    when: trades_30d >= 20
value_score: 20 * trades_30d / max(trades_30d, 20)
""",
    "policy.yaml": """\
contact:
  daily_cap: 2
""",
    "retention.yaml": """\
rules:
  - id: vip-winback
    version: 2
    title: A tier A client moves money out
    owner: wealth
    on: balances
    when: client.tier == "A" and money_out_cny_7d >= 0.3 * client.assets_peak_cny
    kind: alert
    audience: advisor
    priority: 90
    cooldown: 7d
    expires: 12h
    template: money_leaving
    parameters:
      money_out_cny: money_out_cny_7d
      tone: '"warm"'
    description: Retention.
  - id: silent-client
    title: 久未登录
    owner: client_service
    silence: {of: logins, for: 30d}
    when: >
      client.tier in ("B", "C")
      and client.segment != "active"
    kind: message
    audience: client
    channels: [sms, email]
    priority: 50
    cooldown: 30m
    expires: 7d
    template: we_miss_you
    description: Silence.
  - id: hello
    title: Hello
    owner: client_service
    on: [logins, trades]
    kind: survey
    audience: client
    channels: app_push
    priority: 90
    cooldown: 1d
    expires: 1d
    template: hello
    description: Both.
""",
}


def good(files: dict[str, str] = FILES) -> RuleSet:
    result = load(files)
    assert isinstance(result, RuleSet), "\n".join(map(str, result))
    return result


def problems_of(files: dict[str, str]) -> tuple[Problem, ...]:
    result = load(files)
    assert not isinstance(result, RuleSet)
    return result

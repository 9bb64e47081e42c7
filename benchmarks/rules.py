"""`python -m benchmarks.rules`: what one rule costs when there are 10, 100, 1,000 or 5,000 of them.

Enters: numbers of rules. Leaves: CPU time of decide and of matching alone an event, and of loading a rule set.
Holds: process CPU time, the best of three; everything follows from a fixed seed; rules are such as a firm writes: by
tier, type, region, age, security and kind, with thresholds on amounts and features, some with an `or`.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.day.job import FEATURES_ONLY, POLICY, SEED, SHIPPED, Job
from benchmarks.decide import best_us, decide_all
from benchmarks.month import many_rules
from engine.core.client.state import ClientState
from engine.core.decide.path import Input, decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Rejected, decode
from engine.core.rules.occasion import on
from engine.core.rules.ruleset import RuleSet
from engine.demo.population import SECURITIES, Client
from engine.rulefile.read.load import load

RULES: Final = (10, 100, 1_000, 5_000)
CLIENTS: Final = 2_000
EVENTS: Final = 20_000
MAX_RATIO: Final = 2.5  # of deciding, 1,000 rules against 100
MAX_MONTH_RATIO: Final = 1.3  # the same on the month's trades, with no more actions
MAX_LOAD_RATIO: Final = 7.5  # of loading, 5,000 rules against 1,000
FILE_RULES: Final = 500

SYMBOLS: Final = [security[0] for securities in SECURITIES.values() for security in securities]
AGES: Final = ("under_25", "25_35", "36_45", "46_60", "over_60")
INSTITUTIONS: Final = (
    "mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund", "enterprise_annuity",
)  # fmt: skip
# What a rule asks of the client: how often, and the choices; {} in a text takes a number from the range beside it.
CLIENT: Final[Sequence[tuple[float, Sequence[str]]]] = (
    (0.55, ['client.tier == "A"', 'client.tier == "B"', 'client.tier == "C"', 'client.tier in ("A", "B")']),
    (0.35, [f'client.region == "{region}"' for region in ("east", "central", "west", "northeast")]),
    (0.25, [f'client.age_band in ("{a}", "{b}")' for a, b in itertools.pairwise(AGES)]),
    (0.15, ['client.risk_level in ("R1", "R2")', 'client.risk_level == "R5"', 'client.risk_level != "R1"']),
    (0.10, ["client.has_advisor", "not client.has_advisor"]),
)
EVENT: Final[dict[str, Sequence[tuple[float, Sequence[str]]]]] = {
    "trades": (
        (0.30, [f'trade.symbol == "{symbol}"' for symbol in SYMBOLS]),
        (0.30, ['trade.product == "etf"', 'trade.product in ("option", "future")', 'trade.product == "bond"']),
        (0.35, ['trade.side == "buy"', 'trade.side == "sell"']),
        (0.15, ['trade.channel in ("phone", "branch")', 'trade.channel == "desktop"']),
    ),
    "logins": (
        (0.50, ["login.success", "login.success", "not login.success"]),
        (0.40, ['login.channel == "app"', 'login.channel in ("phone", "branch")', 'login.channel == "web"']),
        (0.15, [f'login.region == "{region}"' for region in ("east", "central", "west", "northeast")]),
    ),
    "balances": (
        (0.85, ['balance.kind in ("withdrawal", "transfer_out")', 'balance.kind == "deposit"', 'balance.kind == "loss"',
                'balance.kind in ("deposit", "transfer_in")', 'balance.kind == "dividend"']),
        (0.20, ["balance.cash_cny >= 0.5 * balance.assets_cny", "balance.margin_ratio < 1.5"]),
    ),
}  # fmt: skip
AMOUNTS: Final[dict[str, Sequence[tuple[str, float, float]]]] = {
    "trades": [
        ("trade.amount_cny >= {}", 60_000, 900_000), ("turnover_cny_7d >= {}", 300_000, 3_000_000),
        ("trades_1d >= {}", 5, 30), ("sold_cny_7d >= {}", 100_000, 2_000_000),
        ("{} <= trade.amount_cny < 50_000", 30_000, 49_000),
    ],
    "logins": [
        ("logins_7d >= {}", 12, 60), ("app_logins_30d >= {}", 20, 90), ("failed_logins_1d >= {}", 3, 9),
        ("devices_7d >= {}", 3, 9), ("client.days_since_trade >= {}", 20, 90),
    ],
    "balances": [
        ("balance.amount_cny >= {}", 40_000, 900_000), ("money_out_cny_30d >= {}", 100_000, 2_000_000),
        ("money_in_cny_90d >= {}", 200_000, 3_000_000), ("losses_cny_7d >= {}", 50_000, 400_000),
    ],
}  # fmt: skip
STATE: Final[Sequence[tuple[str, float, float]]] = (
    ("client.assets_cny >= {}", 50_000, 3_000_000),
    ("assets_avg_cny_30d < {}", 100_000, 2_000_000),
    ("client.days_known >= {}", 5, 300),
    ("trades_30d <= {}", 1, 8),
    ("symbols_30d >= {}", 2, 8),
    ("client.value_score >= {}", 10, 60),
    ("cash_low_cny_30d >= {}", 20_000, 500_000),
)
# Conditions that no index on one value serves.
ALTERNATIVES: Final[dict[str, Sequence[str]]] = {
    "trades": [
        "(trade.amount_cny >= 0.{0} * client.assets_cny or turnover_cny_7d >= {0} * client.cash_cny)",
        '(trade.amount_cny >= {0}0_000 or trade.product == "future" and trades_1d >= 9)',
    ],
    "logins": ["(devices_7d >= 4 or failed_logins_1d >= 3 or client.days_since_login >= {0})"],
    "balances": ["(balance.amount_cny >= 0.{0} * balance.assets_cny or money_out_cny_30d > client.assets_cny)"],
}


def _number(draw: random.Random, text: str, low: float, high: float) -> str:
    value = int(low * (high / low) ** draw.random())
    digits = 10 ** max(len(str(value)) - 2, 0)
    return text.format(f"{value // digits * digits:_}")


def _condition(draw: random.Random, trigger: str) -> str:
    terms = [draw.choice(choices) for share, choices in EVENT[trigger] if draw.random() < share]
    if draw.random() < 0.15:
        terms.append(f'client.type == "{draw.choice(INSTITUTIONS)}"')
    else:
        terms += ['client.type == "individual"'] * (draw.random() < 0.3)
        terms += [draw.choice(choices) for share, choices in CLIENT if draw.random() < share]
    terms += [_number(draw, *numbers) for numbers in draw.sample(AMOUNTS[trigger], 2)]
    terms += [_number(draw, *numbers) for numbers in draw.sample(STATE, draw.choice((0, 1, 1, 2)))]
    if draw.random() < 0.1:
        terms.append(draw.choice(ALTERNATIVES[trigger]).format(draw.randint(20, 90)))
    return " and ".join(terms)


def rule_files(rules: int) -> dict[str, str]:
    """A rule set as files: features and tiers as shipped, and so many rules."""
    draw = random.Random(SEED)
    files = {name: (SHIPPED / name).read_text(encoding="utf-8") for name in FEATURES_ONLY}
    files["policy.yaml"] = POLICY
    texts = []
    for number in range(rules):
        trigger = draw.choice(("trades", "trades", "logins", "balances"))
        texts.append(
            f"  - id: rule-{number}\n    title: Rule {number}\n    owner: wealth\n    on: {trigger}\n"
            f"    when: >\n      {_condition(draw, trigger)}\n"
            f"    kind: task\n    audience: team\n    priority: {draw.randint(1, 99)}\n    cooldown: 30d\n"
            "    expires: 7d\n    template: service_task\n"
            "    parameters: {tier: client.tier, month_cny: turnover_cny_30d, risk_level: client.risk_level}\n"
            "    description: One of the benchmark's rules.\n"
        )
    for begin in range(0, rules, FILE_RULES):
        files[f"part-{begin // FILE_RULES}.yaml"] = "rules:\n" + "".join(texts[begin : begin + FILE_RULES])
    return files


def events_of(job: Job) -> list[Input]:
    """Half trades, a third logins, the rest movements of money, in the order of their times."""
    draw = random.Random(SEED)
    found: list[Input] = []
    for number, record in enumerate(job.trades(EVENTS)):
        client, values = draw.choice(job.clients), json.loads(record.value)
        topic = draw.choices(("trades", "logins", "balances"), (3, 2, 1))[0]
        if topic != "trades":
            values = {"event_id": f"E{number}", "client_id": client.id, "time": values["time"]}
            values |= _login(draw) if topic == "logins" else _balance(draw, client)
        taken = decode(topic, values["client_id"].encode(), json.dumps(values).encode(), record.time_ms)
        assert not isinstance(taken, Rejected)
        found.append((topic, taken.event))
    return found


def _login(draw: random.Random) -> dict[str, Any]:
    channel = draw.choices(("app", "web", "desktop", "phone"), (75, 10, 10, 5))[0]
    return {"channel": channel, "success": draw.random() < 0.97, "device_id": f"d{draw.randrange(3)}"}


def _balance(draw: random.Random, client: Client) -> dict[str, Any]:
    kind = draw.choice(("deposit", "withdrawal", "gain", "loss", "dividend", "snapshot"))
    amount_fen = 0 if kind == "snapshot" else int(client.assets_fen * draw.uniform(0.001, 0.05))
    return {"kind": kind, "amount_fen": amount_fen, "assets_fen": client.assets_fen, "cash_fen": client.cash_fen}


def _load(files: dict[str, str]) -> tuple[Plan, float, float]:
    """The plan, CPU seconds to read and check, CPU seconds to compile."""
    began = time.process_time()
    rule_set = load(files)
    checked = time.process_time()
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set[:5]))
    plan = compile_rule_set(rule_set)
    return plan, checked - began, time.process_time() - checked


def _match_all(plan: Plan, states: dict[str, ClientState], events: Sequence[tuple[str, Any]]) -> int:
    return sum(len(plan.match[on(topic)](states[event.client_id], event, None)) for topic, event in events)


def measure() -> dict[int, dict[str, float]]:
    """By number of rules; the times of an event are microseconds."""
    job = Job(CLIENTS)
    portraits: list[Input] = []
    for record in job.portraits():
        portrait = decode(record.topic, record.key, record.value, record.time_ms)
        assert not isinstance(portrait, Rejected)
        portraits.append((record.topic, portrait.event))
    events: list[Any] = list(events_of(job))
    gc.collect()
    gc.freeze()  # as a worker does
    gc.set_threshold(100_000, 20, 100)
    found: dict[int, dict[str, float]] = {}
    for rules in RULES:
        plan, check_s, compile_s = _load(rule_files(rules))

        def known(plan: Plan = plan) -> dict[str, ClientState]:
            states: dict[str, ClientState] = {}
            decide(plan, states, portraits)
            return states

        def deciding(states: dict[str, ClientState], plan: Plan = plan) -> int:
            return decide_all(plan, states, events)

        def matching(states: dict[str, ClientState], plan: Plan = plan) -> int:
            return _match_all(plan, states, events)

        def decided(known: Callable[[], dict[str, ClientState]] = known, plan: Plan = plan) -> dict[str, ClientState]:
            states = known()
            decide(plan, states, events)
            return states

        outcome = decide(plan, known(), events)
        found[rules] = {
            "decide_us": best_us(known, deciding, EVENTS),
            "match_us": best_us(decided, matching, EVENTS),
            "held": outcome.outcomes.total() / EVENTS,
            "actions": len(outcome.messages) / EVENTS,
            "check_s": check_s,
            "compile_s": compile_s,
        }
    return found


def report() -> tuple[dict[Any, Any], bool]:
    """Print the table; the figures, and whether the bounds hold."""
    found = measure()
    titles = ("decide, us", "match, us", "rules held", "actions", "check, s", "compile, s")
    print(f"\n{'rules':>8}" + "".join(f"{title:>14}" for title in titles))
    for rules, row in found.items():
        shown = (row[key] for key in ("decide_us", "match_us", "held", "actions", "check_s", "compile_s"))
        print(f"{rules:>8,}" + "".join(f"{value:>14.2f}" for value in shown), flush=True)
    ratio = found[1_000]["decide_us"] / found[100]["decide_us"]
    load = {rules: row["check_s"] + row["compile_s"] for rules, row in found.items()}
    load_ratio = load[5_000] / load[1_000]
    month = many_rules.measure()
    few, many = (row["decide_us"] for row in month.values())
    print(
        f"all per event, CPU time; decide with 1,000 rules against 100: {ratio:.2f} times (at most {MAX_RATIO}); "
        f"loading 5,000 against 1,000: {load_ratio:.2f} times (at most {MAX_LOAD_RATIO})\n"
        f"the month's trades: {few:.2f} us with its {min(month)} rules, {many:.2f} us with {max(month):,} of their "
        f"form, {many / few:.2f} times (at most {MAX_MONTH_RATIO})"
    )
    held = ratio < MAX_RATIO and load_ratio < MAX_LOAD_RATIO and many / few < MAX_MONTH_RATIO
    return {**found, "month": month}, held


if __name__ == "__main__":
    sys.exit(not report()[1])

"""A firm's own rules to begin with: few, whole, tested.

Enters: a directory that does not exist yet. Leaves: rule files, and beside them the schemas by which editors complete
and check them, with the names of these very rules.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from engine.publish import schemas
from engine.runtime.errors import Refused
from engine.runtime.rule_sets.archive import load_directory
from engine.runtime.rule_sets.shipped import shipped

FILES: Final = {
    "features.yaml": """\
# What the rules can ask about a client's past. A window of 30d is today and the 29 days before.
features:
  assets_avg_cny_30d:
    source: balances
    aggregate: daily_mean
    field: assets_cny
    window: 30d
    description: assets in the mean of a month
  trades_30d: {source: trades, aggregate: count, window: 30d, description: trades in a month}
""",
    "tiers.yaml": """\
# Which tier a client is in. Best first; a client comes in at `enter` and leaves only below `exit`.
individual:
  measure: assets_avg_cny_30d
  promote_after: 0d  # days in the tier before moving up
  demote_after: 30d  # and before moving down
  tiers:
    - {tier: A, enter: 1_000_000, exit: 900_000}
    - {tier: B}

# The first that holds is the client's segment.
segments:
  - id: active-trader
    when: trades_30d >= 20
""",
    "policy.yaml": """\
# Limits on contacting a client, over all rules. A client is contacted only on channels that the profile consents to.
contact:
  daily_cap: 2  # contacts a client and day, all channels together
""",
    "teams.yaml": """\
# The departments that can own rules, and whom their work is escalated to.
teams:
  trading: {title: Trading, head: head-of-trading}
""",
    "trading.yaml": """\
# Trading: rules on what clients buy and sell. Add a file for each department; copy this one, and add it to teams.yaml.

rules:
  - id: big-spender
    title: A client buys for a hundred thousand or more
    owner: trading
    on: trades
    when: trade.side == "buy" and trade.amount_cny >= 100_000
    kind: task
    audience: team
    priority: 40
    cooldown: 7d
    expires: 2d
    template: big_spender
    parameters: {symbol: trade.symbol, amount_cny: trade.amount_cny, tier: client.tier, segment: client.segment}
    description: Somebody who trades large is asked what else is needed.
    serves: offers
    tests:
      - name: a hundred thousand is enough
        event: {trades: {amount_cny: 100_000}}
        expect: {fires: {parameters: {amount_cny: 100_000}}}
      - name: a fen less is not
        event: {trades: {amount_cny: 99_999.99}}
        expect: {not: condition}
      - name: a sale is no purchase
        event: {trades: {side: sell, amount_cny: 100_000}}
        expect: {not: condition}
""",
}


POOLS: Final = "examples/pools"


def begin(directory: Path, *, everything: bool, advisors: bool = False) -> list[str]:
    """Write them; the names of what was written. `everything`: the rules that come with Engage, in place of a few;
    `advisors`: those, and a small roster with its pools.
    """
    if directory.exists() and any(directory.iterdir()):
        raise Refused(f"{directory} exists and is not empty: name a new directory")
    rules = directory / "rules"
    try:
        if everything or advisors:
            shutil.copytree(shipped("rules"), rules)
            for file in sorted(shipped(POOLS).glob("*.yaml")) if advisors else ():
                shutil.copy(file, rules)
        else:
            rules.mkdir(parents=True)
            for name, text in FILES.items():
                schema = name if name != "trading.yaml" else "rules.yaml"
                line = f"# yaml-language-server: $schema=../schemas/rule-files/{Path(schema).stem}.json\n"
                (rules / name).write_text(line + text, encoding="utf-8")
        schemas.write(directory / "schemas", load_directory(rules))
    except OSError as error:
        raise Refused(f"{error.filename or directory}: {error.strerror}") from error
    return [str(path) for path in sorted(rules.iterdir())] + [str(directory / "schemas")]

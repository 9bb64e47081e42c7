"""Reads `budgets:` of policy.yaml, and what a rule says that its actions cost.

Enters: the section's node; afterwards the rules. Leaves: Budgets.
Holds: what each action under a budget costs is known; an amount is whole fen, or a whole number of actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast, get_args

from engine.core.contract.events import Channel
from engine.core.rules.policy import Budget, Fen, Per, Selection
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar
from engine.rulefile.source.fields import IDENTIFIER, KEBAB, Reader

BUDGET_KEYS: Final = ("per", "of", "cost")
PERS: Final = ("day", "week", "month")
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
CAMPAIGN: Final = "campaign"
MAX_NAME: Final = 50  # characters
MAX_BUDGETS: Final = 100
Selecting = Callable[[Node | None], Selection]


def read_budgets(reader: Reader, node: Node | None, selecting: Selecting) -> tuple[Budget, ...]:
    """`selecting` reads what `of:` says as it does elsewhere; beside it a budget can be of campaigns."""
    entries = reader.entries(node)
    if len(entries) > MAX_BUDGETS:
        reader.problem(entries[MAX_BUDGETS][0], f"{len(entries)} budgets", f"declare at most {MAX_BUDGETS}")
    return tuple(_budget(reader, key, value, selecting) for key, value in entries)


def _budget(reader: Reader, key: Scalar, node: Node, selecting: Selecting) -> Budget:
    name = reader.word(key, IDENTIFIER)
    if len(name) > MAX_NAME:
        reader.problem(key, f"a name of {len(name)} characters", f"stay within {MAX_NAME}")
    fields = reader.mapping(node, ("limit",), BUDGET_KEYS)
    limit = reader.amount(fields.get("limit"), number=True)
    in_actions = "limit" in fields and not isinstance(limit, Fen)
    if in_actions and "cost" in fields:
        reader.problem(fields["cost"], "cost, and the limit is a number of actions", "leave it out: each counts as 1")
    cost, by_channel = _costs(reader, fields["cost"]) if "cost" in fields and not in_actions else (None, ())
    of, campaigns = _without_campaigns(reader, fields.get("of"))
    return Budget(
        name,
        limit,
        cast(Per, reader.choice(fields["per"], PERS) or "month") if "per" in fields else None,
        selecting(of),
        campaigns,
        cost,
        by_channel,
    )


def _costs(reader: Reader, node: Node) -> tuple[int | None, tuple[tuple[str, int], ...]]:
    """Of each action, or by channel."""
    if isinstance(node, Mapping):
        return None, tuple((reader.choice(key, CHANNELS), reader.amount(value)) for key, value in reader.entries(node))
    return reader.amount(node), ()


def _without_campaigns(reader: Reader, node: Node | None) -> tuple[Node | None, tuple[str, ...]]:
    """What is selected by other things, and the campaigns."""
    if not isinstance(node, Mapping) or CAMPAIGN not in node.entries:
        return node, ()
    said = node.entries[CAMPAIGN][1]
    items = reader.items(said) if isinstance(said, Listing) else [said]
    others = {key: entry for key, entry in node.entries.items() if key != CAMPAIGN}
    return Mapping(node.index, others), tuple(reader.word(item, KEBAB) for item in items)


def check_costs(reader: Reader, root: Any, rule_set: RuleSet) -> None:
    """That somebody says what each action costs which a budget pays for."""
    for budget in rule_set.policy.budgets:
        for rule in rule_set.rules:
            unsaid = [
                channel
                for channel in rule.all_channels
                if budget in rule_set.budgets_on(rule)
                and budget.of.meets(rule.contact(channel))
                and budget.cost_of(rule.cost, channel) is None
            ]
            if unsaid:
                key = root.entries["budgets"][1].entries[budget.name][0]
                remedy = "add cost, as one amount or by channel, or give the rule its own cost"
                reader.problem(key, f'nobody says what rule "{rule.id}" costs by {unsaid[0]}', remedy)
                break

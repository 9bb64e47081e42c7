"""Whom an action is for: whether a product that a rule offers suits the client; who is held out, to compare with.

Enters: a Plan, the client, a match; holdouts and a client's id. Leaves: what speaks against an offer, with its numbers,
or what is not known; the client's arm.
Holds: an offer of which anything that has to be known is unknown does not suit. A client's place follows from the
holdout's salt and the client's id alone: the name of a rule has no part in it, a greater share holds out the same
clients and more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

from engine.core.client.positions import classes_above
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Arm, Value
from engine.core.firm_time import DAY_MS, date_of_day
from engine.core.language.helpers import place
from engine.core.plan.compile import Plan
from engine.core.policy.match import Match
from engine.core.rules.policy import Holdout

INDIVIDUAL: Final = "individual"
_AGES: Final = {"under_25": (0, 24), "25_35": (25, 35), "36_45": (36, 45), "46_60": (46, 60), "over_60": (61, 200)}
Told = tuple[tuple[str, Value], ...]


def against(plan: Plan, client: ClientState, match: Match) -> Told | None:
    """What speaks against it; None if nothing does."""
    compiled, suits = match.compiled, plan.rule_set.policy.suitability
    assert compiled.offers is not None
    assert suits is not None  # else the rule was refused
    name = compiled.offers(client, match.event, match.move)
    if name is None:
        return (("unknown", "product"),)
    offered: Told = (("product", name),)
    barred_clients, barred_products = plan.barred
    if client.client_id in barred_clients:
        return *offered, ("blacklist", suits.barred_clients)
    if name in barred_products:
        return *offered, ("blacklist", suits.barred_products)
    product = suits.products.get(name)
    if product is None:
        return *offered, ("unknown", "risk_class")
    above = classes_above(product.risk_class, client.risk_level)
    if above is None:
        return *offered, ("unknown", "risk_level")
    if above > 0:
        return *offered, ("risk_class", product.risk_class), ("risk_level", client.risk_level)
    if plan.assessed is not None and suits.within_s is not None:
        days = plan.assessed(client, None, None)
        if days is None:
            return *offered, ("unknown", "assessment")
        if days * DAY_MS > suits.within_s * 1000:
            return *offered, ("assessed_days", round(days)), ("at_most", suits.within_s * 1000 // DAY_MS)
    if client.type not in (INDIVIDUAL, None) or (product.youngest is None and product.oldest is None):
        return None
    ages = ages_of(client)
    if ages is None:
        return *offered, ("unknown", "age")
    if product.youngest is not None and ages[0] < product.youngest:
        return *offered, ("age", ages[0]), ("youngest", product.youngest)
    if product.oldest is not None and ages[1] > product.oldest:
        return *offered, ("age", ages[1]), ("oldest", product.oldest)
    return None


def ages_of(client: ClientState) -> tuple[int, int] | None:
    """The least and the most years that the client can be old today, by the firm's calendar."""
    if client.birth_date is not None:
        born, today = dt.date.fromisoformat(client.birth_date), date_of_day(client.day)
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return years, years
    return _AGES[client.age_band] if client.age_band is not None else None


# -- holdouts ----------------------------------------------------------------------------------------------------------


def holds_out(holdouts: Iterable[Holdout], client_id: str) -> Holdout | None:
    """The first that holds the client out: its place in the lot of that salt is below the share."""
    return next((one for one in holdouts if place(one.salt, client_id) < one.share), None)


def arm(holdouts: Iterable[Holdout], client_id: str) -> Arm | None:
    """None where no holdout concerns the rule."""
    if not holdouts:
        return None
    return "treated" if holds_out(holdouts, client_id) is None else "holdout"

"""Random histories: what several clients do over some 200 days, out of order at times, often around the edges of days
and of the shipped tiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from engine.core.contract.events import (
    AccessChannel,
    AgeBand,
    BalanceKind,
    Channel,
    ClientType,
    Product,
    Region,
    RiskLevel,
)
from engine.core.decide.path import Input
from engine.core.firm_time import DAY_MS, date_of_day, day_of
from tests.core.making import HOUR_MS, at, balance, login, profile, trade

LAST_MS = at(200)
STEPS_MS = (0, 1, 999, 60_000, HOUR_MS, 12 * HOUR_MS, DAY_MS - 1, DAY_MS, DAY_MS + 1, 3 * DAY_MS, 31 * DAY_MS)
ASSETS_CNY = (
    -1_000.01,
    0,
    5_000,
    60_000,
    269_999.99,
    270_000,
    299_999.99,
    300_000,
    899_999.99,
    900_000,
    1_000_000,
    5_000_000,
)


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


def words(literal: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(literal))


_amounts = st.sampled_from([0, 1, 999, 2_000_000, 60_000_00, 500_000_00, 3_000_000_00]) | st.integers(0, 10**13)
_logins = st.fixed_dictionaries(
    {"channel": words(AccessChannel), "success": st.booleans()},
    optional={"device_id": st.sampled_from("abc"), "region": words(Region)},
)
_trades = st.fixed_dictionaries(
    {
        "amount_fen": _amounts,
        "quantity": st.sampled_from([1, 100, 10**10, 0.1, 0.2, 1234.56, 0.000001, 999_999_999.999999, None]),
        "symbol": st.sampled_from(["600000", "000001", "510300"]),
        "side": st.sampled_from(["buy", "sell"]),
        "product": words(Product),
    },
    optional={"matures_on": st.sampled_from(["2026-02-16", "2026-02-20", "2026-03-31", "2026-12-31"])},
)
_balances = st.fixed_dictionaries(
    {
        "kind": words(BalanceKind),
        "amount_fen": _amounts,
        "assets_cny": st.sampled_from(ASSETS_CNY) | st.integers(-(10**6), 10**9) | st.just(10**13),
    },
    optional={
        "cash_fen": st.none() | _amounts | st.integers(-(10**13), -1),
        "margin_ratio": st.sampled_from([None, 0.0, 1.29, 1.3, 1.49, 1.5, 3.0]),
    },
)
_profiles = st.fixed_dictionaries(
    {
        "type": st.just("individual") | words(ClientType),
        "consents": st.sets(words(Channel)) | st.just(set(get_args(Channel))),
    },
    optional={
        "age_band": st.none() | words(AgeBand),
        "region": st.none() | words(Region),
        "risk_level": st.none() | words(RiskLevel),
        "advisor_id": st.sampled_from([None, "adv-1", "adv-2"]),
        "birth_date": st.sampled_from([None, "1990-02-16", "1990-02-28", "1988-02-29", "1970-06-01"]),
        "language": st.sampled_from([None, "en", "zh-CN"]),
    },
)
_MAKERS: dict[str, Callable[..., Input]] = {"login": login, "trade": trade, "balance": balance, "profile": profile}
_doings = st.one_of(
    *(st.tuples(st.just(name), fields) for name, fields in (
        ("balance", _balances), ("login", _logins), ("trade", _trades), ("profile", _profiles),
    ))
)  # fmt: skip
_late = st.sampled_from([0] * 6 + [1, HOUR_MS, DAY_MS, 40 * DAY_MS])


@st.composite
def histories(draw: st.DrawFn, clients: int = 3, most: int = 40, known: bool = False) -> list[Input]:
    """Events in the order in which they come. `known`: every client begins with a profile that agrees to everything."""
    now_ms = at(0, hour=draw(st.sampled_from([0, 12, 23.9999])))
    names = [f"c{number}" for number in range(1, clients + 1)]
    history = [profile(now_ms, name, consents=get_args(Channel)) for name in names] if known else []
    steps = st.tuples(st.sampled_from(names), st.sampled_from(STEPS_MS), _late, _doings)
    least = draw(st.sampled_from([1, most // 4, most // 2]))  # lists are short unless asked for
    for name, step_ms, late_ms, (doing, fields) in draw(st.lists(steps, min_size=max(least, 1), max_size=most)):
        now_ms = min(now_ms + step_ms, LAST_MS)
        if fields.get("matures_on", "") < date_of_day(day_of(now_ms - late_ms)).isoformat():  # nobody buys what is over
            fields = {field: value for field, value in fields.items() if field != "matures_on"}
        history.append(_MAKERS[doing](now_ms - late_ms, client_id=name, **fields))
    return history

"""The clients of a simulated broker: who they are, what they own, and their habits.

Enters: the simulator's random source. Leaves: one mutable Client each, and the tables of habits and securities.
Holds: shares of tiers, regions, types and consents follow the figures of the field; only random() and the four basic
operations are used: logarithms and powers differ by a bit between C libraries, and a seed must give the same bytes
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")
Uniform = Callable[[], float]  # random.Random(seed).random

CNY: Final = 100  # fen
MAX_ASSETS_FEN: Final = 5 * 10**12


class Habit(NamedTuple):
    """What a client does while in one phase. Shares are probabilities for a day on which the client is active."""

    days_between: float  # mean days from one active day to the next
    sessions: int  # at most so many logins a day
    trade_share: float  # of sessions in which orders are filled
    trades: int  # at most so many in a session
    deposit_share: float
    withdrawal_share: float
    flow_size: tuple[float, float]  # of total assets
    order_size: float = 0.3  # at most this part of cash (or holdings) in one order
    weekends: bool = False


HABITS: Final[dict[str, Habit]] = {
    "regular": Habit(2, 2, 0.5, 3, 0.03, 0.03, (0.02, 0.08)),
    "active": Habit(1, 3, 0.7, 5, 0.02, 0.02, (0.02, 0.08)),
    "holder": Habit(7, 1, 0.3, 2, 0.05, 0.03, (0.02, 0.06)),
    "dormant": Habit(32, 1, 0.05, 1, 0.01, 0.01, (0.02, 0.06)),
    "young": Habit(1.4, 2, 0.35, 2, 0.06, 0.03, (0.02, 0.10), weekends=True),
    "growing": Habit(2, 2, 0.4, 2, 0.35, 0.0, (0.03, 0.12)),
    "shrinking": Habit(2, 2, 0.4, 2, 0.0, 0.35, (0.03, 0.10)),
    "leaving": Habit(4, 1, 0.1, 1, 0.0, 0.85, (0.15, 0.35)),
    "silent": Habit(55, 1, 0.0, 1, 0.0, 0.0, (0.0, 0.0)),
    "returning": Habit(2, 1, 0.2, 1, 1.0, 0.0, (0.3, 0.8)),
    "margin": Habit(1.3, 2, 0.5, 3, 0.02, 0.02, (0.02, 0.06)),
    "institution": Habit(1.2, 2, 0.8, 6, 0.04, 0.04, (0.02, 0.10), order_size=0.1),
}

REGIONS: Final = (("east", 45), ("central", 25), ("west", 20), ("northeast", 10))
TIERS_OF_REGION: Final = {  # weighted by the regions above: A 45%, B 30%, C 25%
    "east": (("A", 55), ("B", 24), ("C", 21)),
    "central": (("A", 36), ("B", 40), ("C", 24)),
    "west": (("A", 37), ("B", 32), ("C", 31)),
    "northeast": (("A", 38), ("B", 31), ("C", 31)),
}
ASSETS_CNY_OF_TIER: Final = {"A": (1_000_000, 15_000_000), "B": (300_000, 1_000_000), "C": (5_000, 300_000)}
BEHAVIOURS_OF_TIER: Final = {
    "A": (
        *(("regular", 34), ("active", 10), ("holder", 24), ("dormant", 8)),
        *(("shrinking", 8), ("churner", 9), ("margin", 7)),
    ),
    "B": (
        *(("regular", 28), ("active", 8), ("holder", 16), ("dormant", 10)),
        *(("growing", 18), ("shrinking", 6), ("churner", 8), ("margin", 6)),
    ),
    "C": (
        *(("regular", 18), ("active", 4), ("holder", 10), ("dormant", 16)),
        *(("young", 30), ("growing", 14), ("churner", 8)),
    ),
}
INSTITUTION_ASSETS_CNY: Final = (50_000_000, 10_000_000_000)
INSTITUTION_SHARE: Final = 0.03
ADVISED_SHARE: Final = {"A": 0.6, "B": 0.0, "C": 0.0, "institution": 0.9}
UNFUNDED_SHARE: Final = 0.25  # of new accounts: opened without money, which comes later, little by little, or never
INSTITUTIONS: Final = (
    *(("mutual_fund", 40), ("private_fund", 35), ("insurer", 9)),
    *(("qfii", 8), ("social_security_fund", 4), ("enterprise_annuity", 4)),
)
AGE_BANDS: Final = (("under_25", 6), ("25_35", 22), ("36_45", 28), ("46_60", 30), ("over_60", 14))
AGES: Final = {"under_25": (18, 24), "25_35": (25, 35), "36_45": (36, 45), "46_60": (46, 60), "over_60": (61, 85)}
RISK_LEVELS: Final = (("R1", 10), ("R2", 25), ("R3", 35), ("R4", 20), ("R5", 10))
MARKET_SHARE_OF_RISK: Final = {
    "R1": 0.3,
    "R2": 0.6,
    "R3": 0.9,
    "R4": 1.1,
    "R5": 1.3,
}  # part of a market move that is felt
CONSENT_SHARES: Final = {"app_push": 0.85, "sms": 0.6, "email": 0.3, "phone": 0.25, "wechat": 0.55}
CHANNELS: Final = (("app", 75), ("web", 8), ("desktop", 13), ("phone", 3), ("branch", 1))
INSTITUTION_CHANNELS: Final = (("api", 60), ("desktop", 40))
CLIENTS_PER_ADVISOR: Final = 80

Security = tuple[str, str, int]  # symbol, product, price in fen at the start
_PRICES_FEN: Final[dict[str, dict[str, int]]] = {
    "stock": {
        **{"600519.SH": 152_000, "601318.SH": 5_260, "600036.SH": 4_310, "601899.SH": 1_870, "600900.SH": 2_790},
        **{"300750.SZ": 26_500, "000858.SZ": 12_400, "002594.SZ": 10_800, "000001.SZ": 1_140, "601398.SH": 720},
    },
    "etf": {"510300.SH": 412, "510500.SH": 623, "159915.SZ": 231, "588000.SH": 108},
    "fund": {"F000198": 100, "F110022": 341, "F161725": 96, "F003095": 187},
    "bond": {
        **{"019733.SH": 10_120, "113052.SH": 11_860, "127045.SZ": 12_340},
        **{"204028.SH": 10_000, "204091.SH": 10_000},  # repurchase agreements
    },
    "robo_portfolio": {"ROBO-STEADY": 100, "ROBO-GROWTH": 100},
    "future": {"IF2612": 46_120, "IC2612": 61_480, "T2612": 10_840},
    "option": {"10007415.SH": 880, "10007416.SH": 1_430},
}
SECURITIES: Final[dict[str, tuple[Security, ...]]] = {
    product: tuple((symbol, product, fen) for symbol, fen in prices.items()) for product, prices in _PRICES_FEN.items()
}
TERM_DAYS: Final = {"204028.SH": 28, "204091.SH": 91}  # from the purchase
TASTES: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "individual": (("stock", 66), ("etf", 14), ("fund", 14), ("bond", 4), ("option", 1), ("robo_portfolio", 1)),
    "young": (("stock", 30), ("etf", 20), ("fund", 25), ("robo_portfolio", 25)),
    "mutual_fund": (("stock", 75), ("bond", 20), ("etf", 5)),
    "private_fund": (("stock", 45), ("future", 30), ("option", 20), ("etf", 5)),
    "insurer": (("bond", 60), ("stock", 20), ("fund", 20)),
    "qfii": (("stock", 70), ("bond", 20), ("etf", 10)),
    "social_security_fund": (("bond", 50), ("stock", 50)),
    "enterprise_annuity": (("bond", 60), ("stock", 40)),
}


@dataclass(slots=True)
class Client:
    """One client as the broker's own systems know it."""

    id: str
    type: str
    behaviour: str  # why phases follow one another; constant
    phase: str  # a key of HABITS
    phase_until_day: int
    region: str
    age_band: str | None
    birth_date: str | None
    risk_level: str
    consents: dict[str, bool]
    language: str
    advisor_id: str | None
    device_id: str
    securities: tuple[Security, ...]
    born_ms: int
    existing: bool  # a client from before the simulation, in contrast to a new account
    funded: bool  # whether a new account's money comes with it
    assets_fen: int
    cash_fen: int
    debt_fen: int  # of a margin account
    index_at_mark: float  # market index when assets were last valued
    last_ms: int
    sequence: int = 0
    apart_fen: int | None = None  # of a margin account's owner: the money in the cash account beside it


def pick(uniform: Uniform, weights: Sequence[tuple[T, int]]) -> T:
    at = uniform() * sum(weight for _, weight in weights)
    for value, weight in weights:
        at -= weight
        if at < 0:
            return value
    return weights[-1][0]


def birth_date(uniform: Uniform, age_band: str, year: int) -> str:
    """Of someone who is of the age band through all of `year`, or nearly so."""
    low, high = AGES[age_band]
    born = year - low - int((high - low) * uniform())
    return f"{born}-{1 + int(12 * uniform()):02d}-{1 + int(28 * uniform()):02d}"


def found_client(
    uniform: Uniform, index: int, clients: int, born_ms: int, born_day: int, year: int, existing: bool
) -> Client:
    region = pick(uniform, REGIONS)
    institution = uniform() < INSTITUTION_SHARE
    tier = pick(uniform, TIERS_OF_REGION[region])
    behaviour = "institution" if institution else pick(uniform, BEHAVIOURS_OF_TIER[tier])
    client_type = pick(uniform, INSTITUTIONS) if institution else "individual"
    low, high = INSTITUTION_ASSETS_CNY if institution else ASSETS_CNY_OF_TIER[tier]
    if behaviour == "growing":  # close below the next tier, so that the step is seen
        low = high * 6 // 10
    skew = uniform()
    assets_fen = int(low + (high - low) * skew * skew * skew) * CNY
    cash_fen = int(assets_fen * (0.1 + 0.4 * uniform()))
    advised = uniform() < ADVISED_SHARE["institution" if institution else tier]
    if behaviour == "young":
        age_band: str | None = pick(uniform, (("under_25", 30), ("25_35", 70)))
    else:
        age_band = None if institution or uniform() < 0.02 else pick(uniform, AGE_BANDS)
    taste = TASTES["young" if behaviour == "young" else client_type]
    securities = tuple(
        SECURITIES[product][int(uniform() * len(SECURITIES[product]))]
        for product in (pick(uniform, taste) for _ in range(5))
    )
    return Client(
        id=f"C{index:06d}",
        type=client_type,
        behaviour=behaviour,
        phase="regular" if behaviour == "churner" else behaviour,
        phase_until_day=born_day + 5 + int(uniform() * 60),
        region=region,
        age_band=age_band,
        birth_date=birth_date(uniform, age_band, year) if age_band else None,
        risk_level=pick(uniform, RISK_LEVELS[3:] if behaviour == "margin" else RISK_LEVELS),
        consents={channel: uniform() < share for channel, share in CONSENT_SHARES.items()},
        language="en" if client_type == "qfii" else "zh-CN",
        advisor_id=f"ADV-{1 + int(uniform() * (1 + clients // CLIENTS_PER_ADVISOR)):03d}" if advised else None,
        device_id=f"D{index:06d}",
        securities=securities,
        born_ms=born_ms,
        existing=existing,
        funded=existing or uniform() >= UNFUNDED_SHARE,
        assets_fen=assets_fen,
        cash_fen=cash_fen,
        debt_fen=int(assets_fen / (1.28 + 0.5 * uniform())) if behaviour == "margin" else 0,
        index_at_mark=1.0,
        last_ms=born_ms - 1,
    )


def next_phase(client: Client, day: int, uniform: Uniform) -> None:
    """Move the client's state machine on. Called on a day on which the client is active."""
    match client.behaviour:
        case "churner" if day >= client.phase_until_day:
            client.phase = {"regular": "leaving", "leaving": "silent", "silent": "returning"}.get(
                client.phase, "regular"
            )
            lasts_days = {"regular": 30 + 60 * uniform(), "leaving": 14.0}.get(client.phase, 0.0)
            client.phase_until_day = day + int(lasts_days)
        case "growing" | "shrinking" if client.phase == "growing" and client.assets_fen > 2_500_000 * CNY:
            client.phase = "shrinking"
        case "growing" | "shrinking" if client.phase == "shrinking" and client.assets_fen < 80_000 * CNY:
            client.phase = "growing"


def margin_account(client: Client) -> str | None:
    """Who buys on credit does so in a margin account, and has a cash account beside it; others have one account."""
    return f"{client.id}-margin" if client.debt_fen else None


def balance_values(client: Client, kind: str, amount_fen: int) -> list[dict[str, Any]]:
    """What is said of a movement of money: the balance of the account that it regards; a snapshot regards each."""
    about, debt_fen, margin = {"kind": kind, "amount_fen": amount_fen}, client.debt_fen, margin_account(client)
    if margin is None:
        return [about | {"assets_fen": client.assets_fen, "cash_fen": client.cash_fen}]
    apart_fen = client.assets_fen // 10 if client.apart_fen is None else client.apart_fen
    comes = kind == "deposit" and apart_fen < client.assets_fen // 5
    goes = kind == "withdrawal" and apart_fen >= amount_fen
    apart_fen += amount_fen if comes else -amount_fen if goes else 0
    client.apart_fen, assets_fen = apart_fen, client.assets_fen - apart_fen
    cash = about | {"account": f"{client.id}-cash", "assets_fen": apart_fen, "cash_fen": apart_fen}
    credit = about | {"account": margin, "assets_fen": assets_fen, "cash_fen": client.cash_fen - apart_fen}
    credit["margin_ratio"] = round(min(assets_fen / debt_fen, 1000.0), 4)
    return [credit, cash] if kind == "snapshot" else [cash if comes or goes else credit]


def profile_value(client: Client) -> dict[str, Any]:
    """One client in eight has told the branch what marketing may use: e-mail alone."""
    number = int(client.id[1:])
    apart = {"marketing_consents": {"email": True}, "consent_source": "branch"} if number % 8 == 5 else {}
    return {
        "type": client.type,
        "age_band": client.age_band,
        "region": client.region,
        "risk_level": client.risk_level,
        "consents": dict(client.consents),
        "language": client.language,
        "time_zone": "Asia/Shanghai",
        "advisor_id": client.advisor_id,
        "birth_date": client.birth_date,
        **apart,
    }

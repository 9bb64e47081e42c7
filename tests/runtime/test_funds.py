"""What is left of budgets, as `engage explain` and `engage preview` show it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.assign import budgets as granting
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.firm_time import NEVER_MS
from engine.core.policy.rates import Funds
from engine.insight.preview import Preview, lines, preview
from engine.operations.explain import Account, account_of
from engine.operations.explain_text import lines as explained
from engine.runtime.clients import redis_client
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.writes import LISTED, Write, encode_writes
from engine.runtime.redis.pins import pin_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import OF_POOLS, Settings
from tests.core.making import FEATURES, TIERS, at, rule
from tests.core.test_budgets import MONTH, Firm, plan
from tests.runtime.driving import written
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

EVENT = '{"logins": {}}'
HELLO = rule("hello", title="Hello by SMS", channels="[sms, email]", cooldown="1m")
LETTER = rule(
    "letter",
    on=None,
    at="{every: day, time: '17:00'}",
    title="Letter of the day",
    channels="[sms]",
    when="client.days_known >= 0",
)


def firm_of(limit: str = "20 CNY", spends: int = 3, rules: tuple[str, ...] = (HELLO,)) -> Firm:
    """Two partitions; each client of the first gets an SMS of 0.05 CNY, then one of the second."""
    firm = Firm(plan(MONTH.replace("1 CNY", limit), *rules))
    for number in range(spends):
        firm.log_in(f"c{number}", at(0, 10) + number)
        firm.answer()
    firm.log_in("far", at(0, 11), number=1)
    firm.answer()
    return firm


def funds_of(firm: Firm) -> Funds:
    return Funds(firm.paces[0], {key.removeprefix("budget:"): one.periods for key, one in firm.budgets.items()})


def asked(firm: Firm, client: str = "c0", event: str | None = EVENT, at_ms: int = at(0, 12)) -> Account:
    packed = pack(firm.plan.layout, firm.states[0][client])
    return account_of(firm.plan, packed, at_ms, event, funds_of(firm))


def foreseen(firm: Firm, days: float) -> Preview:
    client: ClientState = unpack(firm.plan.layout, pack(firm.plan.layout, firm.states[0]["c0"]))
    return preview(firm.plan, client, client.now_ms, at(days, 23), funds_of(firm))


def is_shown(text: list[str]) -> bool:
    return "```\n" + "\n".join(text) + "\n```" in (REPOSITORY / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_manual_shows_both() -> None:
    assert is_shown(explained(asked(firm_of()), "hello", as_json=False))
    assert is_shown(list(lines(foreseen(firm_of("0.30 CNY", 2, (LETTER, HELLO)), 2))))


def test_explain_counts_what_is_granted_spent_and_left() -> None:
    firm = firm_of()
    block = firm.block()
    (told,) = json.loads(explained(asked(firm), "hello", as_json=True)[0])["rules"]
    (said,) = told["budgets"]
    assert (said["budget"], said["period"], said["cost"], said["limit"]) == ("sms", "month:2026-02-01", "0.05", "20.00")
    assert said["spent"] == f"0.{block.spent:02d}" == "0.15"
    assert said["left"] == f"0.{block.left:02d}"
    assert said["granted"] == f"{firm.granted() / 100:.2f}"
    assert block.left + block.spent < firm.granted()  # the other partition has a part, too
    assert told["policy"] is None


def test_explain_names_the_budget_that_has_nothing_left() -> None:
    firm = firm_of("0.20 CNY")
    account = asked(firm)
    (told,) = json.loads(explained(account, "hello", as_json=True)[0])["rules"]
    assert (told["policy"], told["outcome"], told["budgets"][0]["left"]) == ("no_budget", "no_budget", "0.00")
    assert told["until"] == "2026-02-28T16:00:00.000Z"
    stopped = "nothing is left of what pays for it (budget sms, limit 0.20, period month:2026-02-01)"
    in_full = explained(account, "hello", as_json=False)
    assert f"contact policy: would stop it: {stopped} until 2026-03-01 00:00" in in_full
    assert f"{stopped} until" in "\n".join(explained(account, None, as_json=False))
    # it is what the engine then says
    firm.log_in("c0", at(0, 12))
    firm.answer()
    assert firm.outcomes["no_budget"] == 1
    # and with the next month there is something again
    (later,) = asked(firm, at_ms=at(20)).seen
    assert (later.outcome, later.explanation.paid[0].granted) == (Outcome.SENT, 0)


def test_what_something_else_stops_asks_no_budget() -> None:
    firm = firm_of("0.20 CNY")
    (seen,) = asked(firm, at_ms=firm.states[0]["c0"].now_ms).seen  # its cooldown
    assert (seen.explanation.stopped, seen.explanation.paid) == (Outcome.COOLDOWN, ())
    packed = pack(firm.plan.layout, firm.states[0]["c0"])
    (unasked,) = account_of(firm.plan, packed, at(0, 12), EVENT).seen  # nobody said what is left
    assert (unasked.outcome, unasked.explanation.paid) == (Outcome.SENT, ())


def test_a_preview_spends_what_is_left_and_begins_anew_with_the_next_period() -> None:
    found = foreseen(firm_of("0.30 CNY", 2, (LETTER, HELLO)), 20)  # three are paid, and three more can be
    said = [(record["time"][:10], record.get("outcome", "sent")) for _, record in found.steps]
    sent = [day for day, outcome in said if outcome == "sent"]
    assert [day for day in sent if day < "2026-02-28"] == ["2026-02-16", "2026-02-17", "2026-02-18"]
    assert found.outcomes["letter", "no_budget"] == 10 + 2  # until the end of February, and after the sixth of March
    assert [day for day in sent if day > "2026-02-28"] == [f"2026-03-0{day}" for day in range(1, 7)]
    assert found.spent["sms"] == 5 * len(sent)


# -- from Redis --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


async def _store(url: str, firm: Firm) -> None:
    """As workers of both processors would have left it, with all in one partition."""
    state = next(iter(firm.states[0].values()))
    scope = Settings().scoped(*OF_POOLS).scope
    blank = dict.fromkeys(LISTED, "")
    async with redis_client(Settings(redis=url)) as redis:
        for app_id, pace, writes in (
            ("engage", firm.paces[0].kept, [written(state, pack(firm.plan.layout, state))]),
            (scope, {}, [Write(key, NEVER_MS, granting.pack(one), blank) for key, one in firm.budgets.items()]),
        ):
            await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
            end = Position.after(1, "d", End(states=len(writes), pace=pace).encode()).text
            assert await RedisStore(redis, app_id, 0).apply(b"", end, encode_writes(writes)) == end


def test_the_commands_read_what_the_workers_left(server: RedisServer, tmp_path: Path) -> None:
    policy = "budgets: {once: {limit: 0.20 CNY, of: {channel: sms}, cost: 0.05 CNY}}\n"
    firm = Firm(plan(policy, HELLO))
    for number in range(2):
        firm.log_in("c0", at(0, 10 + number))
        firm.answer()
    asyncio.run(_store(server.url, firm))
    texts = {"features.yaml": f"features:\n{FEATURES}", "tiers.yaml": TIERS, "rules.yaml": "rules:\n" + HELLO}
    for name, text in {**texts, "policy.yaml": "contact: {daily_cap: 100}\n" + policy}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    def answered(*command: str) -> Any:
        result = CliRunner().invoke(main, [*command, "--rules", str(tmp_path), "--redis", server.url])
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    (told,) = answered("explain", "c0", "--rule", "hello", "--json")["rules"]
    (said,) = told["budgets"]
    granted = firm.granted("once")
    assert said == {
        "budget": "once", "period": "once:", "cost": "0.05", "limit": "0.20", "granted": f"0.{granted:02d}",
        "spent": "0.10", "left": f"0.{granted - 10:02d}",
    }  # fmt: skip
    assert answered("preview", "c0", "--json")["spent"] == {"once": "0.00"}

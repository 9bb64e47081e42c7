"""What `engage explain` says of a client, from records, a snapshot, a state; at a later time; with an event."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.message import rfc3339
from engine.insight.values import firm_time
from engine.operations import explain as explaining
from engine.operations import replay, snapshot
from engine.operations.explain_text import lines
from engine.operations.record_file import SimulatedRecord, to_line
from engine.operations.reference_table import reference_table, rows_of
from engine.runtime.clients import redis_client
from engine.runtime.errors import Refused
from engine.runtime.formats import SNAPSHOT_FORMAT
from engine.runtime.protocol.writes import encode_writes
from engine.runtime.redis.pins import pin_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings
from tests.core.making import TIERS, Desk, at, balance, login, plan_of, profile, rule, trade
from tests.core.test_answers import came
from tests.runtime.driving import written

PLAN = plan_of(
    rule("large", on="balances", when="balance.amount_cny >= 500 and client.tier == 'C'", cooldown="30d"),
    rule("quiet", silence="{of: logins, for: 30d}", when="client.assets_cny >= 100"),
    rule("gone", silence="{of: logins, for: 60d}", when=None, cooldown="7d"),
    rule("late", on="trades", when="client.tier == 'A'"),
)


@lru_cache(maxsize=1)
def state() -> bytes:
    desk = Desk(PLAN)
    desk.take(profile(at(0)), balance(at(0), 1_000), login(at(1)))
    return pack(PLAN.layout, desk.client)


def said(at_ms: int | None = None, event: str | None = None, rule_id: str | None = None) -> str:
    return "\n".join(lines(explaining.account_of(PLAN, state(), at_ms, event), rule_id, False))


def test_every_rule_has_a_line() -> None:
    text = said()
    assert text.startswith("client c1 at 2026-02-17 12:00 (UTC+8): tier C\n")
    assert "large  on balances: depends on the event (balances): balance.amount_cny" in text
    assert "late   on trades: fails at client.tier == 'A' (client.tier is C)" in text
    assert "quiet  fires at 2026-03-19 12:00 if nothing comes" in text
    assert "gone   fires at 2026-04-18 12:00 if nothing comes" in text


def test_a_rule_without_a_condition_says_so() -> None:
    assert "True" not in said(rule_id="gone")
    plan = plan_of(rule("any", on="logins", when=None))
    text = "\n".join(lines(explaining.account_of(plan, state(), None, None), "any", False))
    assert "\nit has no condition\ncontact policy: would let it pass" in text
    assert "True" not in text


def test_assets_are_explained_by_account() -> None:
    desk = Desk(PLAN)
    desk.take(profile(at(0)), balance(at(0), 900, account="cash-1", cash_fen=5_000), login(at(1)))
    desk.take(balance(at(0.5), 400, account="margin-1", margin_ratio=1.6))
    found = explaining.account_of(PLAN, pack(PLAN.layout, desk.client), None, None)
    text = "\n".join(lines(found, None, False))
    assert (
        "assets and cash are the sum of 2 accounts, the ratio is the lowest\n"
        "  cash-1: assets 900.00 CNY, cash 50.00 CNY, at 2026-02-16 12:00\n"
        "  margin-1: assets 400.00 CNY, ratio 1.6, at 2026-02-17 00:00\n"
    ) in text
    text = "\n".join(lines(found, "quiet", False))
    assert "client.assets_cny is 1,300.00 CNY" in text
    assert "comes from: account cash-1 is 900.00 CNY; account margin-1 is 400.00 CNY" in text
    told = json.loads(lines(found, "quiet", True)[0])
    assert [account["assets_cny"] for account in told["accounts"]] == ["900.00", "400.00"]
    (value,) = told["rules"][0]["term"]["values"]
    assert [part["text"] for part in value["made_of"]] == ["account cash-1", "account margin-1"]
    assert "accounts" not in said()  # of a client who has none


def test_timers_run_up_to_a_later_time() -> None:
    text = said(at_ms=at(40))
    assert "what time alone brings until then\n  2026-03-19 12:00  quiet: sent\n" in text
    assert "client c1 at 2026-03-28 12:00" in text
    assert "seen already; begins anew with the next" in said(at_ms=at(40), rule_id="quiet")
    with pytest.raises(Refused, match=r"the state is of 2026-02-17 12:00.*--records"):
        said(at_ms=at(0))


def test_an_event_that_might_come() -> None:
    assert "with this event: would fire\n  large" in said(event="{balances: {kind: deposit, amount_cny: 600}}")
    would = said(event="{balances: {kind: deposit, amount_cny: 600}}", rule_id="large")
    assert "it would fire" in would
    assert "would be sent: " in would
    assert "last sent" not in would
    in_full = said(event='{"balances": {"kind": "deposit", "amount_cny": 300}}', rule_id="large")
    assert "it would not fire: the condition is false" in in_full
    assert "balance.amount_cny at least 500.00 CNY (now 300.00 CNY)" in in_full
    assert state() == pack(PLAN.layout, explaining.account_of(PLAN, state(), None, None).client)
    with pytest.raises(Refused, match=r'event:1:13: unknown key "colour"'):
        said(event="{balances: {colour: red}}")
    with pytest.raises(Refused, match=r"write an event as tests do"):
        said(event="{}")


ASKED = plan_of(
    rule("month", on="balances", when="client.days_known >= 30"),
    rule("amount", on="trades", when="trade.amount_cny >= 500 and client.days_known >= 30"),
    rule("moved", on="tier_change", when="tier_change.new == 'A' or client.days_known >= 100"),
    rule("both", on="trades", when="not (trade.symbol == '600519' or trade.side == 'buy')"),
    rule("due", on="logins", when="login.channel == 'app' and client.days_known < 60"),
    rule("some", on="trades", when="(trade.amount_cny > 5 if client.days_known >= 30 else False)"),
)


@pytest.mark.parametrize("source", ["state", "records", "both"])
@pytest.mark.parametrize(
    ("rule_id", "days", "said_of"),
    [
        ("month", 10, "fails at client.days_known >= 30 (client.days_known is 10 days)"),
        ("month", 30, "the condition holds"),
        ("month", 400, "the condition holds"),
        ("amount", 10, "fails at client.days_known >= 30 (client.days_known is 10 days)"),
        ("amount", 50, "depends on the event (trades): trade.amount_cny"),
        ("moved", 50, "depends on the tier change: tier_change.new"),
        ("moved", 100, "the condition holds"),
        ("both", 50, "depends on the event (trades): trade.symbol, trade.side"),
        ("due", 59, "depends on the event (logins): login.channel"),
        ("due", 60, "fails at client.days_known < 60 (client.days_known is 60 days)"),
        ("some", 50, "depends on the event (trades): trade.amount_cny"),
    ],
)
def test_the_answer_is_of_the_time_asked_for(
    source: str, rule_id: str, days: int, said_of: str, tmp_path: Path
) -> None:
    """Wherever the client comes from: a rule that was never evaluated was explained at its last record."""
    first = [profile(at(0))]
    if source == "both":  # records and then an event, which goes by way of a state
        desk = Desk(ASKED)
        desk.take(*first)
        packed = pack(ASKED.layout, desk.client)
        found = explaining.account_of(ASKED, packed, at(days), "{profiles: {}}")
    elif source == "state":
        desk = Desk(ASKED)
        desk.take(*first)
        found = explaining.account_of(ASKED, pack(ASKED.layout, desk.client), at(days), None)
    else:
        path = tmp_path / "records.ndjson"
        path.write_text(record("profiles", at(0), type="individual"))
        with path.open("rb") as inbound:
            records = replay.read_file(inbound, "records")
            account = explaining.account_of_records(ASKED, records, "c1", at(days), None)
        assert account is not None
        found = account
    (line,) = (line for line in lines(found, None, False) if line.strip().startswith(rule_id))
    assert said_of in line
    full = lines(found, rule_id, False)
    assert full[1].startswith(f"client c1 at {firm_time(at(days))} (UTC+8), as it is then")
    assert json.loads(lines(found, rule_id, True)[0])["rules"][0]["time"] == rfc3339(at(days))


def test_a_rule_that_was_evaluated_before_the_time_asked_for_has_both_answers(records: str) -> None:
    result = explain("--records", records, "--at", "2026-06-20 09:00", "--rule", "first-large-deposit")
    assert "client c1 at 2026-03-08 12:00 (UTC+8), evaluated on balances" in result.output
    assert "\nat 2026-06-20 09:00, without an event\n" in result.output
    assert "depends on the event (balances): " in result.output
    same = explain("--records", records, "--rule", "first-large-deposit")
    assert "without an event" not in same.output


def test_a_time_before_the_first_record_is_said(records: str) -> None:
    result = explain("--records", records, "--at", "2020-01-01T00:00:00Z")
    assert "no record of a client c1 up to 2020-01-01 08:00 (UTC+8)" in result.output


def test_what_staff_decided_and_what_of_it_the_rules_do_not_know() -> None:
    plan = plan_of(rule("letter", audience="client", channels="[sms]"), rule("call", audience="team"))
    desk = Desk(plan)
    desk.take(
        profile(at(0)),
        came("overrides", at(1), kind="snooze", rule_id="gone", until=at(9), by="S-1", reason="rests"),
        came("overrides", at(1), kind="snooze", rule_id="call", until=at(9), by="S-1", reason="on leave"),
        came("overrides", at(2), kind="tier", tier="Z", until=at(9), by="S-1", reason=None),
        came("overrides", at(3), kind="do_not_contact", by="S-2", reason="by letter"),
    )
    found = explaining.account_of(plan, pack(plan.layout, desk.client), None, "{logins: {}}")
    text = "\n".join(lines(found, None, False))
    assert (
        "what staff decided, the latest first\n"
        "  do not contact for good, by S-2 at 2026-02-19 12:00: by letter\n"
        "  tier Z until 2026-02-25 12:00, by S-1 at 2026-02-18 12:00: no reason is known; there is no such tier: it "
        "moves nobody\n"
        "  snooze of call until 2026-02-25 12:00, by S-1 at 2026-02-17 12:00: on leave\n"
        "  snooze of gone until 2026-02-25 12:00, by S-1 at 2026-02-17 12:00: rests; there is no such rule: it stops "
        "nothing\n"
    ) in text
    assert "not to be contacted for good, by S-2 at 2026-02-19 12:00: by letter" in text
    assert "snoozed until 2026-02-25 12:00, by S-1 at 2026-02-17 12:00: on leave" in text
    told = json.loads(lines(found, "call", True)[0])
    assert len(told["overrides"]) == 4
    assert told["rules"][0]["decided"] == "by S-1 at 2026-02-17 12:00: on leave"
    assert told["rules"][0]["until"] == "2026-02-25T04:00:00.000Z"


def test_a_client_at_risk_of_a_demotion() -> None:
    plan = plan_of(rule("r", on="tier_at_risk"), tiers=TIERS.replace("  tiers:\n", "  grace: 40d\n  tiers:\n", 1))
    desk = Desk(plan)
    desk.take(profile(at(0)), balance(at(0), 2_000_000), balance(at(0.5), 1_000), login(at(3)))
    found = explaining.account_of(plan, pack(plan.layout, desk.client), None, None)
    text = lines(found, None, False)
    assert text[1] == "at risk: falls to B at 2026-03-30 00:00 unless its measure rises"
    assert any("depends on the notice of a demotion" in line or "r  on tier_at_risk" in line for line in text)


def test_a_rule_that_is_not_there() -> None:
    with pytest.raises(Refused, match="no rule nowhere"):
        said(rule_id="nowhere")


def test_a_snapshot_gives_the_client(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    client: ClientState = explaining.account_of(PLAN, state(), None, None).client
    with path.open("wb") as out:
        rows = snapshot.Rows(out)
        for row in (
            {"engage_snapshot": SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1},
            {"partition": 0, "position": None},
            {"states": encode_writes([written(client, state())])},
        ):
            rows.put(row)
        rows.end()
    assert explaining.from_snapshot(path, "c1") == state()
    assert explaining.from_snapshot(path, "c2") is None


async def test_redis_gives_the_client(redis_server: Any) -> None:
    client = explaining.account_of(PLAN, state(), None, None).client
    async with redis_client(Settings(redis=redis_server.url)) as redis:
        await pin_partitions(redis, "explained", 1, ledger_is_empty=True)
        await RedisStore(redis, "explained", 0).restore(encode_writes([written(client, state())]))
        assert await explaining.from_redis(redis, "explained", "c1") == state()
        assert await explaining.from_redis(redis, "explained", "c2") is None
    result = await asyncio.to_thread(explain, "--redis", redis_server.url, "--app-id", "explained")
    assert result.output.startswith("client c1 at 2")  # now, whenever that is
    assert "tier C" in result.output.splitlines()[0]


RULES = str(Path(__file__).parents[2] / "rules")


def record(topic: str, time_ms: int, **fields: Any) -> str:
    value = {"event_id": f"e{time_ms}", "client_id": "c1", "time": time_ms, **fields}
    return to_line(SimulatedRecord(topic, "c1", time_ms, value))


@pytest.fixture
def records(tmp_path: Path) -> str:
    path = tmp_path / "records.ndjson"
    moved = {"kind": "deposit", "amount_fen": 60_000_000, "assets_fen": 60_000_000}
    path.write_text(
        record("profiles", at(0), type="individual", consents={"sms": True})
        + record("balances", at(1), **moved)
        + record("balances", at(20), **moved | {"kind": "withdrawal", "assets_fen": 0})
        + record("logins", at(30), channel="app")
    )
    return str(path)


def explain(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["explain", "c1", "--rules", RULES, *arguments])


def test_records_show_each_rule_as_it_was_last_looked_at(records: str) -> None:
    result = explain("--records", records, "--rule", "first-large-deposit")
    assert result.exit_code == 0, result.output
    assert "client c1 at 2026-03-08 12:00 (UTC+8), evaluated on balances" in result.output
    earlier = explain("--records", records, "--at", "2026-02-20", "--rule", "first-large-deposit")
    assert "client c1 at 2026-02-17 12:00 (UTC+8), evaluated on balances\nit fired" in earlier.output
    found = json.loads(explain("--records", records, "--rule", "first-large-deposit", "--json").output)
    (told,) = found["rules"]
    assert (told["looked_at"], told["holds"], told["outcome"]) == (True, False, None)
    event = ("--event", "{balances: {kind: deposit, amount_cny: 700_000}}")
    assert (
        "balance.amount_cny is 700,000.00 CNY"
        in explain("--records", records, "--rule", "first-large-deposit", *event).output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "RECORDS", "--rule", "nix"], "no rule nix"),
        (["--records", "nowhere.ndjson"], "no such file"),
        (["--records", "RECORDS", "--snapshot", "RECORDS"], "both a snapshot and records"),
        (["--records", "RECORDS", "--at", "soon"], 'not a time: "soon"'),
        (["--records", "RECORDS", "--at", "2020-01-01"], "no record of a client c1"),
    ],
)
def test_what_cannot_be_explained_is_said(records: str, arguments: list[str], message: str) -> None:
    result = explain(*(records if argument == "RECORDS" else argument for argument in arguments))
    assert result.exit_code == (2 if {"nowhere.ndjson", "soon"} & set(arguments) else 1)
    assert message in result.output


def test_a_trade_shows_what_the_one_before_it_was() -> None:
    plan = plan_of(rule("back", on="trades", when="client.days_since_trade >= 30"))
    desk = Desk(plan)
    desk.take(profile(at(0)), trade(at(1)))
    account = explaining.account_of(plan, pack(plan.layout, desk.client), at(41), "{trades: {}}")
    assert "client.days_since_trade is 40 days" in "\n".join(lines(account, "back", False))


def test_the_example_of_the_manual_is_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
    block = re.search(
        r"```console\n\$ engage (simulate .*) > records.ndjson\n\$ engage (explain .*)\n((?s:.*?))\n```", manual
    )
    assert block is not None
    records, asked, printed = block.groups()
    monkeypatch.chdir(tmp_path)
    Path("rules").symlink_to(RULES)
    # in a process of its own: it writes to the real standard output
    engage = [sys.executable, "-m", "engine.cli", *shlex.split(records)]
    Path("records.ndjson").write_bytes(subprocess.run(engage, check=True, capture_output=True).stdout)
    assert CliRunner().invoke(main, shlex.split(asked)).output.rstrip() == printed


# -- a reference table -------------------------------------------------------------------------------------------------


def snapshot_of(path: Path, *states: bytes) -> Path:
    with path.open("wb") as out:
        rows = snapshot.Rows(out)
        rows.put({"engage_snapshot": SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1})
        rows.put({"partition": 0, "position": b""})
        rows.put({"states": encode_writes(written(unpack(PLAN.layout, packed), packed) for packed in states)})
        rows.end()
    return path


def with_assets(*amounts: float) -> list[bytes]:
    desk = Desk(PLAN)
    for number, amount in enumerate(amounts):
        desk.take(profile(at(0), f"p{number}"), balance(at(0), amount, f"p{number}"))
    desk.take(profile(at(0), "unknown"), profile(at(0), "fund", type="mutual_fund"), balance(at(0), 9e9, "fund"))
    return [pack(PLAN.layout, client) for client in desk.states.values()]


def test_percentiles_of_a_snapshot_are_the_rows_of_a_table(tmp_path: Path) -> None:
    path = snapshot_of(tmp_path / "snapshot", *with_assets(*(n * 1000 for n in range(1, 201))))
    found = reference_table(PLAN, path, "client.assets_cny", 'client.type == "individual"', at(0))
    assert (found.clients, found.without) == (200, 1)
    rows = dict(found.rows)
    assert rows["199000"] == 99  # 198 of 200 have less
    assert rows["101000"] == 50
    assert list(rows.values()) == [99, *range(95, 0, -5)]
    text = str(found)
    assert text.startswith("client.assets_cny,then\n>= 199000,99\n")
    table = "tables:\n  place: {hit: first, otherwise: 0, file: place.csv}\n"
    desk = Desk(plan_of(rule("p", when="place >= 50"), definitions=table, others=(("place.csv", text),)))
    desk.take(balance(at(0), 100_999), balance(at(0), 101_000, "c2"))
    desk.take(login(at(1)), login(at(1), "c2"))
    assert desk.outcomes == [("p", "no_consent")]  # of c2 alone


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ([5.0], []),  # nobody has less than the one
        ([0.0] * 80 + [7.5] * 20, [("7.5", 80)]),
        ([1.0, 2.0], [("2", 50)]),
    ],
)
def test_a_value_that_many_have_stands_once(values: list[float], rows: list[tuple[str, int]]) -> None:
    assert list(rows_of(values)) == rows


@pytest.mark.parametrize(
    ("name", "where", "said"),
    [
        ("client.tier", None, "client.tier is no number"),
        ("client.known_since", None, "is no number"),
        ("nothing", None, "nothing is no number"),
        ("client.assets_cny", "client.typ == 1", "client.typ == 1: unknown name"),
        ("client.cash_cny", None, "has client.cash_cny: there is nothing to compare with"),
    ],
)
def test_what_no_table_can_be_of_is_said(name: str, where: str | None, said: str, tmp_path: Path) -> None:
    path = snapshot_of(tmp_path / "snapshot", *with_assets(1, 2))
    with pytest.raises(Refused, match=re.escape(said)):
        reference_table(PLAN, path, name, where, at(0))


def test_the_command_writes_a_table(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, text in PLAN.rule_set.files:
        (rules / name).write_text(text, encoding="utf-8")
    path = snapshot_of(tmp_path / "snapshot", *with_assets(100, 300))
    command = ["reference-table", str(path), "--rules", str(rules), "--of", "assets_avg_cny_30d"]
    found = CliRunner().invoke(main, [*command, "--at", "2026-02-16", "--where", 'client.type == "individual"'])
    assert found.exit_code == 0, found.output
    assert found.stdout == "assets_avg_cny_30d,then\n>= 300,50\n"
    assert found.stderr == "2 clients, and 1 without assets_avg_cny_30d\n"

"""The simulator: deterministic, in order, money that adds up, a population as known, bad records on purpose."""

import hashlib
import io
import itertools
import re
import subprocess
from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import TOPICS, inbound_topics
from engine.core.reading.decode import Rejected, Taken, decode
from engine.demo.own_events import OPTIONAL, STEPS
from engine.demo.simulator import SimulatedRecord, parse_line, simulate, to_line, write
from engine.demo.spoiling import BAD_KINDS, spoil
from engine.operations.record_file import to_json
from tests.core.making import shipped_plan

DAY_MS = 86_400_000
END_MS = 1_790_000_000_000
IN = {"deposit", "transfer_in", "gain", "dividend", "interest"}


TYPES = shipped_plan().declared_types


def records(clients=300, days=120, **options):
    return list(simulate(7, clients, END_MS - days * DAY_MS, END_MS, **options))


@pytest.fixture(scope="module")
def history():
    return records()


def text(**options):
    out = io.BytesIO()
    written = write(out, **({"seed": 7, "clients": 200, "days": 30, "end": "2026-11-01T00:00:00Z"} | options))
    assert written == out.getvalue().count(b"\n")
    return out.getvalue()


def test_same_arguments_same_bytes():
    digest = hashlib.sha256(text(bad_share=0.01, topics=("profiles", "balances", "logins", "trades"))).hexdigest()
    assert text(bad_share=0.01) == text(bad_share=0.01)
    assert digest == "25f7504d57001d00d7fc767036b03074c1f97c576529581656d690c3b1bf9fed"
    assert text(seed=8) != text()


def test_in_time_order_and_within_the_span(history):
    times = [r.time_ms for r in history]
    assert times == sorted(times)
    assert times[0] >= END_MS - 120 * DAY_MS
    assert times[-1] < END_MS
    by_client = defaultdict(list)
    for r in history:
        by_client[r.key].append(r.time_ms)
    assert all(len(set(times)) == len(times) for times in by_client.values())
    assert len({r.value["event_id"] for r in history}) == len(history)


def test_every_record_is_an_event_the_engine_takes(history):
    for r in history:
        assert not isinstance(decode(r.topic, r.key.encode(), to_json(r.value), r.time_ms, TYPES), Rejected)


def test_topics_and_count_only_select(history):
    for topic in ("trades", "events", "receipts", "feedback"):
        assert records(topics=[topic]) == [r for r in history if r.topic == topic]
    assert (
        records(topics=["trades", "logins"], count=500) == [r for r in history if r.topic in ("trades", "logins")][:500]
    )
    with pytest.raises(ValueError, match="unknown topics orders; there are profiles, balances, logins, trades"):
        records(topics=["orders"])


def test_money_adds_up(history):
    assets, cash, fractions = {}, {}, 0
    for r in history:
        v = r.value
        if r.topic == "balances":
            signed = v["amount_fen"] if v["kind"] in IN else -v["amount_fen"]
            of = r.key, v.get("account")
            if of in assets:
                assert v["assets_fen"] == assets[of] + signed
                moved = 0 if v["kind"] in ("gain", "loss", "transfer_in", "transfer_out") else signed
                assert v["cash_fen"] == cash[of] + moved
            assets[of], cash[of] = v["assets_fen"], v["cash_fen"]
            assert cash[of] <= assets[of]
            assert cash[of] >= 0 or "margin_ratio" in v  # only who buys on credit owes
        elif r.topic == "trades":
            price_fen = int(v["price_cny"].replace(".", ""))
            assert v["amount_fen"] == int(Decimal(str(v["quantity"])) * price_fen)
            fractions += v["quantity"] != int(v["quantity"])
            assert v["quantity"] == int(v["quantity"]) or v["product"] == "fund"
            cash[r.key, v.get("account")] += v["amount_fen"] if v["side"] == "sell" else -v["amount_fen"]
    assert fractions > 10
    assert min(cash.values()) < 0


def test_who_buys_on_credit_has_two_accounts_and_all_others_one(history):
    accounts, kinds = defaultdict(set), defaultdict(set)
    for r in history:
        if r.topic == "balances":
            accounts[r.key].add(r.value.get("account"))
            kinds[(r.value.get("account") or "").rpartition("-")[2]].add(r.value["kind"])
            assert ("margin_ratio" in r.value) == (r.value.get("account") == f"{r.key}-margin")
    several = {key for key, names in accounts.items() if len(names) > 1}
    assert all(accounts[key] == {f"{key}-cash", f"{key}-margin"} for key in several)
    assert all(accounts[key] == {None} for key in accounts.keys() - several)
    assert 0.03 < len(several) / len(accounts) < 0.1
    assert {"snapshot", "deposit", "withdrawal"} == kinds["cash"]
    assert {"snapshot", "withdrawal", "gain", "loss"} < kinds["margin"]
    traded = {r.value.get("account") for r in history if r.topic == "trades" and r.key in several}
    assert traded == {f"{key}-margin" for key in several}


def test_trades_only_while_the_exchange_is_open(history):
    for r in history:
        if r.topic == "trades":
            local_ms = (r.time_ms + 8 * 3_600_000) % DAY_MS
            assert 9.5 * 3_600_000 <= local_ms < 15 * 3_600_000
            assert ((r.time_ms + 8 * 3_600_000) // DAY_MS + 3) % 7 < 5


def test_the_population_is_that_of_the_field():
    found = records(clients=4000, days=1, topics=["profiles", "balances"])
    profiles = [r.value for r in found if r.topic == "profiles"]
    first = {r.key: r.value["assets_fen"] // 100 for r in reversed(found) if r.topic == "balances"}
    people = [p for p in profiles if p["type"] == "individual" and p["client_id"] in first]
    assert 0.02 < 1 - sum(p["type"] == "individual" for p in profiles) / len(profiles) < 0.04
    tiers = Counter(
        "A" if first[p["client_id"]] >= 1e6 else "B" if first[p["client_id"]] >= 3e5 else "C" for p in people
    )
    shares = {tier: n / len(people) for tier, n in tiers.items()}
    assert shares == pytest.approx({"A": 0.45, "B": 0.30, "C": 0.25}, abs=0.03)
    assert len({p["type"] for p in profiles}) == 7


def test_clients_leave_grow_shrink_and_lose_together(history):
    by_client = defaultdict(list)
    losses = Counter()
    for r in history:
        if r.topic == "balances":
            by_client[r.key].append(r.value["assets_fen"] / 100)
            if r.value["kind"] == "loss":
                losses[r.time_ms // DAY_MS] += 1
    people = [a for a in by_client.values() if a[0] < 20_000_000]
    assert sum(a[0] < 300_000 <= a[-1] for a in people) >= 3
    assert sum(a[0] < 1_000_000 <= a[-1] for a in people) >= 3
    assert sum(a[0] >= 1_000_000 > a[-1] for a in people) >= 3
    assert sum(count > 150 for count in losses.values()) >= 3  # more than half of all on one day
    logins = defaultdict(list)
    for r in history:
        if r.topic == "logins":
            logins[r.key].append(r.time_ms)
    silent = sum(any(b - a > 30 * DAY_MS for a, b in itertools.pairwise(t)) for t in logins.values())
    assert silent >= 10
    assert min(r.value.get("margin_ratio") or 9 for r in history if r.topic == "balances") < 1.3


def test_birthdays_terms_and_accounts_without_money(history):
    profiles = {r.key: r.value for r in history if r.topic == "profiles"}
    assert all((p["birth_date"] is None) == (p["age_band"] is None) for p in profiles.values())
    assert len({p["birth_date"][5:] for p in profiles.values() if p["birth_date"]}) > 150
    terms = [r for r in history if r.topic == "trades" and "matures_on" in r.value]
    assert {r.value["symbol"] for r in terms} == {"204028.SH", "204091.SH"}
    assert all(r.value["side"] == "buy" for r in terms)
    seen = {topic: {r.key for r in history if r.topic == topic} for topic in ("logins", "balances")}
    assert 1 <= len(seen["logins"] - seen["balances"]) <= 20


def test_bad_records_stand_beside_the_good_ones_and_each_is_rejected(history):
    mixed = records(bad_share=0.05)
    good = [r for r in mixed if isinstance(r.value, dict)]
    assert good == history
    reasons = Counter()
    for r in mixed:
        if isinstance(r.value, bytes):
            outcome = decode(r.topic, r.key and r.key.encode(), r.value, r.time_ms, TYPES)
            assert isinstance(outcome, Rejected), r
            reasons[outcome.reason] += 1
    assert set(reasons) == set(Rejection) - {Rejection.TOO_LARGE, Rejection.NO_VALUE}
    assert sum(reasons.values()) == pytest.approx(0.05 * len(good), rel=0.1)


def test_odd_records_stand_in_place_of_good_ones_and_each_is_taken(history):
    mixed = records(odd_share=0.1)
    assert [(r.topic, r.key, r.time_ms) for r in mixed] == [(r.topic, r.key, r.time_ms) for r in history]
    odd = [(good, r) for good, r in zip(history, mixed, strict=True) if good != r]
    assert len(odd) == pytest.approx(0.1 * len(history), rel=0.1)
    unread = Counter()
    for good, r in odd:
        taken = decode(r.topic, r.key.encode(), to_json(r.value), r.time_ms, TYPES)
        assert isinstance(taken, Taken), r
        unread.update((r.topic, name) for name in taken.unread)
        assert sum(good.value.get(name) != r.value.get(name) for name in good.value) <= 1
    assert {topic for topic, _ in unread} == set(inbound_topics()) - {"corrections"}  # which need all of their fields
    assert {("profiles", "consents"), ("logins", "channel"), ("trades", "quantity")} < set(unread)


def test_lines_go_there_and_back(history):
    for r in [*history[:2000], *(spoil(history[k], k) for k in range(BAD_KINDS))]:
        value = r.value if isinstance(r.value, bytes) else to_json(r.value)
        assert parse_line(to_line(r)) == (r.topic, r.key and r.key.encode(), r.time_ms, value)


@pytest.mark.parametrize(
    "line", ["", "{}", '{"topic":"trades"}', "garbage", '{"topic":"t","key":1,"timestamp":2,"value":{}}']
)
def test_a_line_that_is_no_record_says_what_one_is(line):
    with pytest.raises(ValueError, match="not a record line"):
        parse_line(line)


def test_sed_cuts_key_and_value_out_for_kcat():
    lines = text(topics=["trades"], count=20)
    script = r's/^.*"key":"([^"]+)","timestamp":[0-9]+,"value":(.*)\}$/\1\t\2/'
    cut = subprocess.run(["sed", "-E", script], input=lines, capture_output=True, check=True).stdout.splitlines()
    for line, pair in zip(lines.decode().splitlines(), cut, strict=True):
        _, key, _, value = parse_line(line)
        assert pair == key + b"\t" + value


def test_a_time_without_offset_is_refused():
    with pytest.raises(ValueError, match="no UTC offset"):
        text(end="2026-11-01T00:00:00")
    with pytest.raises(ValueError, match="not an RFC 3339 time such as"):
        text(end="yesterday")


def test_ids_and_topics_need_no_escaping_in_lines(history):
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", r.key) for r in history)
    assert set(inbound_topics()) == {r.topic for r in history}
    assert isinstance(history[0], SimulatedRecord)


def test_every_declared_type_is_played_and_some_applications_stall(history):
    own = [r.value for r in history if r.topic == "events"]
    assert {value["type"] for value in own} == set(TYPES)
    steps = defaultdict(list)
    for value in own:
        if value["type"] == "application_step" and value["outcome"] == "done":
            steps[value["client_id"]].append(value["step"])
    assert all(found == list(STEPS[: len(found)]) for found in steps.values())
    stalled = sum(len(found) < len(STEPS) for found in steps.values())
    assert 0 < stalled < len(steps)
    assert {value["kind"] for value in own if value["type"] == "order_incident"} == {"rejected", "slow", "outage"}
    assert own == [r.value for r in records(topics=["events"])]


def test_optional_fields_are_those_of_the_declarations():
    for name, kind in TYPES.items():
        assert set(OPTIONAL[name]) == set(kind.fields) - kind.model.needed - {"type"}


def test_clients_and_staff_answer_some_of_what_they_get(history):
    of = {topic: [r.value for r in history if r.topic == topic] for topic in inbound_topics()}
    for topic, field in (("receipts", "status"), ("outcomes", "status"), ("complaints", "status")):
        assert {value[field] for value in of[topic]} == set(TOPICS[topic].choices(field))
    surveys = {v["action_id"] for v in of["receipts"] if v["kind"] == "survey"}
    answered = {v["action_id"] for v in of["feedback"]}
    assert answered < surveys
    assert 0.1 < len(answered) / len(surveys) < 0.5
    assert {v["nps"] for v in of["feedback"]} == set(range(11))
    assert any("comment" in v for v in of["feedback"])
    steps = defaultdict(list)
    for value in of["complaints"]:
        steps[value["complaint_id"]].append(value["status"])
    assert all(found[0] == "opened" for found in steps.values())
    assert {tuple(found) for found in steps.values()} >= {
        ("opened", "answered", "resolved"),
        ("opened", "answered", "resolved", "reopened", "resolved"),
    }


def test_a_custody_system_says_what_clients_hold(history):
    positions = [r.value for r in history if r.topic == "positions"]
    assert {v["risk_class"] for v in positions} == {"R2", "R3", "R4", "R5"}
    assert any(v["quantity"] == 0 for v in positions)
    assert all(v["cost_fen"] == 0 for v in positions if v["quantity"] == 0)
    last = {}
    falls = 0
    for v in positions:
        before = last.get((v["client_id"], v["symbol"]))
        falls += before is not None and before["quantity"] == v["quantity"] and before["value_fen"] > v["value_fen"]
        last[v["client_id"], v["symbol"]] = v
    assert falls > 5

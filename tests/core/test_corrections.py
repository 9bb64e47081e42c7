"""Corrections by example: what counts, what waits, what is ignored, what is unknown until a backfill."""

import json

import msgspec
import pytest

from engine.core.activity.totals import VALUE
from engine.core.client.record import tallied_by
from engine.core.client.sections import pack, unpack
from engine.core.contract.corrections import Correction
from engine.core.contract.outbound import Rejection
from engine.core.decide.path import decide
from engine.core.firm_time import NEVER_MS
from engine.core.learn.columns import plan_of_features, put_columns, put_known
from engine.core.reading.decode import Rejected, Taken, decode
from engine.processors.columns import Columns
from tests.core.making import Desk, at, balance, event_of, login, plan_of, profile, rule, topic_of, trade

FEATURES = """\
  trades_7d: {source: trades, aggregate: count, window: 7d}
  turnover_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d}
  largest_cny_7d: {source: trades, aggregate: max, field: amount_cny, window: 7d}
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
"""
PLAN = plan_of(
    rule("large", on="trades", when="largest_cny_7d < 10", cooldown="1m"),
    rule("busted", on="corrections", when='correction.kind == "cancel"', cooldown="1m"),
    rule("quiet", silence="{of: trades, for: 3d}"),
    features=FEATURES,
)
READ = {"count": "trades_7d", "sum": "turnover_cny_7d", "max": "largest_cny_7d", "mean": "assets_avg_cny_30d"}


def changed(event, by):
    return msgspec.structs.replace(event, **by) if isinstance(event, msgspec.Struct) else event.model_copy(update=by)


def correction(time_ms, item, by=None, id_="k1"):
    original = event_of(item)
    new = None if by is None else changed(original, by)
    fields = {"event_id": id_, "client_id": "c1", "time": time_ms, "topic": topic_of(item)}
    fields |= {"kind": "cancel" if by is None else "replace", "corrects": original.event_id}
    return "corrections", Correction.model_construct(**fields, original=original, replacement=new)


def value(desk, name):
    reach = PLAN.reaches[READ[name]]
    activity = desk.client.activities[reach.source]
    index = [key for key, _ in PLAN.layout.sources[reach.source].columns].index(reach.places[0])
    today, past = activity.today[index], activity.past
    window = [w.column for _, w in PLAN.layout.sources[reach.source].windows].index(index)
    if name == "mean":
        total, days = past[window]
        return None if today is None else (total + today) // (days + 1)
    if name == "max":
        return max((v for v in (today, past[window]) if v is not None), default=None)
    return today + past[window]


def known(desk, name):
    return PLAN.reaches[READ[name]].is_known(desk.client)


def test_sums_go_back_at_once_and_the_extreme_one_is_unknown():
    desk = Desk(PLAN)
    small, large = trade(at(0), 500), trade(at(0.1), 900)
    desk.take(profile(at(-1)), small, large)
    desk.take(correction(at(1), large))
    assert (value(desk, "count"), value(desk, "sum"), value(desk, "max")) == (1, 500, None)
    assert known(desk, "count")
    assert not known(desk, "max")
    assert desk.client.unknown_until == {"largest_cny_7d": desk.client.day - 1 + 6}
    assert ("large", "past_unknown") in [*desk.outcomes, *outcomes(desk, trade(at(1.1), 300))]


def outcomes(desk, item):
    before = len(desk.outcomes)
    desk.take(item)
    return desk.outcomes[before:]


def test_what_is_not_extreme_stays_known():
    desk = Desk(PLAN)
    small, large = trade(at(0), 500), trade(at(0.1), 900)
    desk.take(small, large, correction(at(1), small))
    assert (value(desk, "count"), value(desk, "max"), known(desk, "max")) == (1, 900, True)


def test_a_greater_value_in_its_place_is_known():
    desk = Desk(PLAN)
    only = trade(at(0), 500)
    desk.take(only, correction(at(1), only, {"amount_fen": 700}))
    assert (value(desk, "count"), value(desk, "sum"), value(desk, "max"), known(desk, "max")) == (1, 700, 700, True)


def test_a_correction_counts_once_however_often_it_is_sent():
    desk = Desk(PLAN)
    first, second = trade(at(0), 500), trade(at(0.1), 900)
    desk.take(first, second)
    for again in (correction(at(1), first), correction(at(1), first), correction(at(1.1), first, id_="k2")):
        desk.take(again)
    assert (value(desk, "count"), value(desk, "sum")) == (1, 900)


def test_a_replacement_is_corrected_by_its_own_values():
    desk = Desk(PLAN)
    item = trade(at(0), 500)
    desk.take(item, correction(at(1), item, {"amount_fen": 700}))
    desk.take(correction(at(2), item, {"amount_fen": 1}, id_="k2"))  # it says 500, which is no longer so
    assert value(desk, "sum") == 700
    now = ("trades", event_of(item).model_copy(update={"amount_fen": 700}))
    desk.take(correction(at(3), now, id_="k3"))
    assert (value(desk, "count"), value(desk, "sum")) == (0, 0)


@pytest.mark.parametrize(("by", "expected"), [(None, (1, 10)), ({"amount_fen": 40}, (2, 50))])
def test_one_that_comes_first_waits(by, expected):
    desk = Desk(PLAN)
    item = trade(at(0.5), 500)
    desk.take(trade(at(0), 10), correction(at(1), item, by), item)
    assert (value(desk, "count"), value(desk, "sum")) == expected


def test_a_bust_after_a_month_is_of_an_event_that_had_counted():
    ninety = FEATURES + "  n: {source: trades, aggregate: count, window: 90d}\n"
    plan = plan_of(rule("r", on="trades", when="n >= 0"), features=ninety)
    desk = Desk(plan)
    item = trade(at(0), 500)
    desk.take(profile(at(-1)), item, trade(at(1), 10))
    decided = decide(plan, desk.states, [correction(at(30), item)])
    assert decided.counts == {("corrections", "trades", "exact"): 1, ("retracted", "message"): 1}
    reach, layout = plan.reaches["n"], plan.layout.sources["trades"]
    column = [key for key, _ in layout.columns].index(reach.places[0])
    window = next(index for index, (_, w) in enumerate(layout.windows) if (w.column, w.slots) == (column, 90))
    activity = desk.client.activities["trades"]
    assert activity.today[column] + activity.past[window] == 1


def test_what_lies_before_all_windows_and_what_never_counted_change_nothing():
    desk = Desk(PLAN)
    item = trade(at(0), 500)
    desk.take(item, trade(at(20), 10))
    before = (value(desk, "count"), value(desk, "sum"), value(desk, "max"))
    desk.take(correction(at(21), item))
    assert (value(desk, "count"), value(desk, "sum"), value(desk, "max")) == before
    assert known(desk, "max")


def test_a_day_of_one_balance_carries_on_the_one_before():
    desk = Desk(PLAN)
    wrong = balance(at(2), 900)
    desk.take(balance(at(0), 100), wrong, correction(at(3), wrong))
    assert value(desk, "mean") == 10_000
    assert known(desk, "mean")
    assert desk.client.assets_fen is None  # until a balance says what they are
    desk.take(balance(at(3.5), 50))
    assert desk.client.assets_fen == 5_000
    assert desk.client.assets_peak_fen is None
    desk.take(balance(at(3.6), 900))
    assert desk.client.assets_peak_fen == 90_000


def test_the_last_event_is_unknown_and_no_silence_begins():
    desk = Desk(PLAN)
    first, last = trade(at(0), 500), trade(at(1), 900)
    desk.take(profile(at(-1)), first, last, correction(at(1.5), last))
    desk.states["c1"] = unpack(PLAN.layout, pack(PLAN.layout, desk.client))
    assert desk.client.activities["trades"].last_ms is None
    desk.tick_all(at(20))
    assert not [found for found in desk.outcomes if found[0] == "quiet"]


@pytest.mark.parametrize(("by", "told"), [(None, []), ({"amount_fen": 50_000}, ["500.00"])], ids=["cancel", "replace"])
def test_the_first_step_of_a_sequence_is_what_it_is_by_now(by, told):
    sequence = "{first: {on: trades, when: trade.side == 'buy'}, without: {on: logins}, within: 7d}"
    fields = {"sequence": sequence, "parameters": "{amount_cny: trade.amount_cny}", "audience": "team", "kind": "task"}
    desk = Desk(plan_of(rule("no-login", **fields)))
    item = trade(at(0), 70_000, side="buy")
    desk.take(item, correction(at(1), item, by))
    assert [message["parameters"]["amount_cny"] for message in desk.tick(at(8))] == told
    assert not desk.client.first_steps


def test_a_correction_is_a_trigger():
    desk = Desk(PLAN)
    item = login(at(0))
    desk.take(profile(at(-1)), item)
    sent = desk.take(correction(at(1), item))
    assert [(m["rule_id"], m["cause"]["type"], m["cause"]["event_id"]) for m in sent] == [
        ("busted", "corrections", "k1")
    ]


def test_who_has_no_correction_is_stored_in_not_one_byte_more():
    desk = Desk(PLAN)
    desk.take(profile(at(-1)), trade(at(0), 500))
    stored = pack(PLAN.layout, desk.client)
    assert b"corrections" not in stored


async def declared_by(rule_set):
    return {}


def test_a_backfill_knows_what_a_correction_left_unknown():
    desk = Desk(PLAN)
    told = [profile(at(-1)), trade(at(0), 500), trade(at(0.1), 900)]
    told.append(correction(at(1), told[-1]))
    desk.take(*told)
    alone = plan_of_features(PLAN.rule_set, ["largest_cny_7d"])
    columns = Columns(alone, lambda _: True, lambda _: True, declared_by)
    columns.foreseen.add(event_of(told[-1]))
    for item in told:
        columns.apply(topic_of(item), event_of(item), True)
    found = columns.clients["c1"]
    put_columns(PLAN.layout, desk.client, alone.layout, found)
    put_known(desk.client, found, ["largest_cny_7d"])
    assert (value(desk, "max"), known(desk, "max"), desk.client.unknown_until) == (500, True, {})
    assert desk.client.activities["trades"].last_ms == at(0)


def test_a_beginning_that_comes_late_does_not_bring_back_what_a_cancelled_one_ended():
    since = "  since_cny: {source: trades, aggregate: sum, field: amount_cny, since: {on: logins}}\n"
    desk = Desk(plan_of(rule("r", on="trades", when="since_cny >= 0"), features=FEATURES + since))
    reach, wrong = desk.plan.reaches["since_cny"], login(at(1))
    desk.take(login(at(0)), trade(at(0.5), 500), wrong, correction(at(1.1), wrong), login(at(0.2)))
    assert not reach.is_known(desk.client)
    assert desk.client.unknown_until == {"since_cny": NEVER_MS}
    desk.take(login(at(2)), trade(at(2.1), 700))
    assert reach.is_known(desk.client)
    assert (desk.client.activities["trades"].totals[0][VALUE], desk.client.unknown_until) == (700, {})


def test_a_mean_that_carries_what_is_not_known_is_not_known_until_a_value_comes():
    ratio = "  ratio_3d: {source: balances, aggregate: daily_mean, field: margin_ratio, window: 3d}\n"
    desk = Desk(plan_of(rule("r", on="balances", when="ratio_3d >= 0"), features=FEATURES + ratio))
    reach, wrong = desk.plan.reaches["ratio_3d"], balance(at(0.1), 1, margin_ratio=1.5)
    desk.take(balance(at(0), 1, margin_ratio=1.2), wrong, correction(at(0.2), wrong))
    desk.take(balance(at(9), 1), login(at(20)))  # nothing says the ratio
    assert not reach.is_known(desk.client)
    assert desk.client.unknown_until["ratio_3d"] == NEVER_MS
    second = balance(at(20.1), 1, margin_ratio=1.4)
    desk.take(second, correction(at(20.2), second, id_="k2"), login(at(24)))
    assert not reach.is_known(desk.client)
    desk.take(balance(at(24.1), 1, margin_ratio=1.3), login(at(25)))
    assert not reach.is_known(desk.client)  # of two of its days
    assert desk.client.unknown_until["ratio_3d"] == desk.client.day
    desk.tick_all(at(26))
    assert reach.is_known(desk.client)
    assert "ratio_3d" not in desk.client.unknown_until


def test_what_is_unknown_is_known_again_at_the_moment_at_which_its_day_leaves_the_window():
    desk = Desk(PLAN)
    large = trade(at(0), 900)
    desk.take(profile(at(-1)), large, correction(at(1), large))
    assert tallied_by(desk.client) == ("unknown:largest_cny_7d",)
    desk.tick(at(7, hour=0) - 1)
    assert tallied_by(desk.client) == ("unknown:largest_cny_7d",)
    desk.tick(at(7, hour=0))
    assert tallied_by(desk.client) == ()


def test_a_feature_that_is_declared_no_longer_is_not_waited_for():
    desk = Desk(PLAN)
    large = trade(at(0), 900)
    desk.take(large, correction(at(1), large))
    other = plan_of(rule("hello"))
    desk.plan, desk.states = other, {"c1": unpack(other.layout, pack(PLAN.layout, desk.client))}
    desk.take(login(at(2)))
    assert desk.client.unknown_until == {}


ORIGINAL = {"time": at(0), "symbol": "600000", "side": "buy", "amount_fen": 5}
RECORD = {"event_id": "k1", "client_id": "c1", "time": at(1), "kind": "cancel", "topic": "trades", "corrects": "t1"}


def read(**changes):
    record = {**RECORD, "original": ORIGINAL, **changes}
    return decode("corrections", b"c1", json.dumps(record).encode(), at(1))


def test_its_events_are_read_as_their_topic_reads_them():
    found = read(kind="replace", replacement={**ORIGINAL, "amount_fen": 7})
    assert isinstance(found, Taken)
    original, new = found.event.original, found.event.replacement
    assert (original.event_id, original.client_id, original.product, new.event_id, new.amount_fen) == (
        "t1", "c1", "stock", "t1", 7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "replace"}, Rejection.MISSING_FIELD),
        ({"topic": "profiles"}, Rejection.UNKNOWN_VALUE),
        ({"original": {"time": at(0)}}, Rejection.MISSING_FIELD),
        ({"original": 5}, Rejection.WRONG_TYPE),
        ({"original": {**ORIGINAL, "time": at(2)}}, Rejection.OUT_OF_RANGE),
        ({"original": {**ORIGINAL, "event_id": "other"}}, Rejection.UNKNOWN_VALUE),
        ({"original": {**ORIGINAL, "client_id": "c2"}}, Rejection.KEY_MISMATCH),
        ({"topic": "events", "original": {"time": at(0), "type": "nowhere"}}, Rejection.UNKNOWN_TYPE),
    ],
)
def test_one_that_means_nothing_is_refused(changes, reason):
    found = read(**changes)
    assert isinstance(found, Rejected)
    assert found.reason == reason


@pytest.mark.parametrize("field", ["event_id", "client_id", "time", "topic", "corrects", "kind"])
def test_the_original_within_is_no_event_in_an_envelope(field):
    """Sent alone, as the error of an envelope advises, it would count once more."""
    record = {**RECORD, "original": {"event_id": "t1", "client_id": "c1", **ORIGINAL}}
    del record[field]
    found = decode("corrections", b"c1", json.dumps(record).encode(), at(1))
    assert found == Rejected(Rejection.MISSING_FIELD, f"{field}: Field required")
    wrapped = decode("corrections", b"c1", json.dumps({"payload": RECORD | {"original": ORIGINAL}}).encode(), at(1))
    assert isinstance(wrapped, Rejected)
    assert wrapped.reason is Rejection.ENVELOPE

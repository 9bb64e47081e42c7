"""What becomes of what is known of clients when one rule set follows another."""

import pytest

from engine.rulefile.tools.effects import effects, pasts
from tests.rulefile.sample import FILES, good

BOUGHT = 'where: trade.side == "buy"'
# the feature before, and what stands beside it; the same later; what it then lacks
CASES = [
    ("count, window: 7d", "", "count, window: 90d", "7 of 90 days known, all of them 83 days after it becomes active"),
    ("count, window: 7d", "", "count, window: 6d", ""),
    ("count, window: 7d", "count, window: 90d", "count, window: 90d", ""),  # rows of the source reach so far already
    ("count, window: 7d", f"count, {BOUGHT}, window: 30d", "count, window: 90d", "30 of 90 days known"),
    ("count, window: 7d", "", "count, window: month", "7 of 31 days known"),
    ("count, window: month", "", "count, window: 31d", ""),
    ("count, window: month", "", "count, window: previous_month", "31 of 62 days known"),
    ("count, window: 2h", "", "count, window: 24h", "2 of 24 hours known, all of them 22 hours"),
    ("count, window: 2h", "", "count, window: 1d", "loses its past: its window is of another kind"),
    ("count, window: 1d", "", "count, window: 24h", "loses its past: its window is of another kind"),
    ("count, window: 7d", "", "count, since: {on: logins}", "loses its past: its window is of another kind"),
    ("count, since: {on: logins}", "", "count, since: {on: balances}", "loses its past: it counts since another event"),
    ("count, since: {on: logins}", "", "count, since: {on: logins, when: login.success}",
     "loses its past: it counts since another event"),
    ("count, since: {on: logins}", "", "count, since: {on: logins, when: True}", ""),
    ("count, window: 7d", "", f"count, {BOUGHT}, window: 7d", "loses its past: its where changed"),
    (f"count, {BOUGHT}, window: 7d", "", "count, where: '\"buy\"  == trade.side', window: 7d", ""),
    ("sum, field: quantity, window: 7d", "", "max, field: quantity, window: 7d",
     "loses its past: its aggregate changed"),
    ("avg, field: quantity, window: 7d", "", "avg, field: quantity, window: 7d", ""),
    ("sum, field: quantity, window: 7d", "", "avg, field: quantity, window: 7d",
     "loses its past: its aggregate changed"),
    ("top, field: symbol, window: 7d", "", "top, field: symbol, by: quantity, window: 7d",
     "loses its past: its by changed"),
    ("last, field: symbol, window: 7d", "", "last, field: side, window: 7d", "loses its past: its field changed"),
    ("last, field: symbol, window: 7d", "", "last, field: symbol, window: 90d", ""),  # the last one is never dropped
    ("distinct, field: symbol, window: 7d", "", "distinct, field: symbol, window: 8d", "7 of 8 days known"),
    ("distinct, field: symbol, window: 7d", "", "distinct, field: symbol, window: previous_month",
     "loses its past: its window is of another kind"),
    ("distinct, field: symbol, window: previous_month", "", "distinct, field: symbol, window: 7d", ""),
]  # fmt: skip


def features(said: str, beside: str = "", name: str = "n") -> dict[str, str]:
    more = f"  beside: {{source: trades, aggregate: {beside}}}\n" if beside else ""
    text = FILES["features.yaml"].replace("trades_30d: {source: trades", "trades_30d: {source: logins")
    return {**FILES, "features.yaml": f"{text}  {name}: {{source: trades, aggregate: {said}}}\n{more}"}


@pytest.mark.parametrize(("before", "beside", "after", "lacks"), CASES)
def test_what_a_feature_lacks(before, beside, after, lacks):
    found = pasts(good(features(before, beside)), good(features(after, beside)))
    assert [past.feature for past in found] == (["n"] if lacks else [])
    assert not lacks or str(found[0]).startswith(lacks)


def test_a_new_feature_begins_without_a_past_and_a_renamed_one_does_not():
    old = good(features("count, window: 7d"))
    beside = good(features("count, window: 7d", "sum, field: quantity, window: 7d"))
    assert [(past.feature, str(past)) for past in pasts(old, beside)] == [("beside", "begins without a past")]
    for said in ("count, window: 7d", "count, window: 7d, was: n"):
        assert pasts(old, good(features(said, name="m"))) == []
    (lost,) = pasts(old, good(features(f"count, {BOUGHT}, window: 7d, was: n", name="m")))
    assert (lost.feature, str(lost)) == ("m", "loses its past: its where changed")


def test_effects_in_sentences():
    old = good(features("count, window: 7d", "sum, field: quantity, window: 7d"))
    new = features("count, window: 90d", f"sum, field: quantity, {BOUGHT}, window: 7d")
    new["features.yaml"] += "  fresh: {source: balances, aggregate: count, window: 7d}\n"
    new["retention.yaml"] = new["retention.yaml"][: new["retention.yaml"].index("  - id: hello")]
    assert effects(old, good(new)) == (
        "loses its past: 1 feature (beside)",
        "begins without a past: 1 feature (fresh)",
        "knows a part of its past: 1 feature (n)",
        "until the past is known, no rule acts where it could matter; run `engage backfill beside fresh n`",
        "what hello did is kept for 365 days: a rule that is put back goes on from there",
        "every client is evaluated once: tiers, segments, score, portrait, or rules that need no event differ",
    )
    assert effects(old, old) == ()


def test_a_rule_that_says_what_it_was_is_not_gone():
    renamed = {**FILES, "retention.yaml": FILES["retention.yaml"].replace("id: hello", "id: howdy\n    was: hello")}
    assert effects(good(), good(renamed)) == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "swept"),
    [
        ("tiers.yaml", "value_score: 20 *", "value_score: 30 *", True),
        ("tiers.yaml", "trades_30d >= 20", "trades_30d >= 21", True),
        ("tiers.yaml", "enter: 1_000_000", "enter: 1_100_000", True),
        ("tiers.yaml", "demote_after: 30d", "demote_after: 31d", True),
        ("features.yaml", "window: 7d", "window: 8d", True),
        ("features.yaml", "description: what left", "description: what went", False),
        ("features.yaml", '"withdrawal", "transfer_out"', '"transfer_out",  "withdrawal"', False),
        ("policy.yaml", "daily_cap: 2", "daily_cap: 3", False),  # stops what is due, and wakes nobody
        ("policy.yaml", "daily_cap: 2", "daily_cap: 2\n  urgent_from: 80", False),
        ("retention.yaml", "{of: logins, for: 30d}", "{of: logins, for: 31d}", True),
        ("retention.yaml", 'client.tier in ("B", "C")', 'client.tier in ("A", "C")', True),
        ("retention.yaml", "priority: 50", "priority: 51", False),
        ("retention.yaml", "client.assets_peak_cny", "client.assets_cny", False),  # of a rule on events
    ],
)
def test_what_has_every_client_evaluated(file, old, new, swept):
    assert old in FILES[file]
    found = effects(good(), good({**FILES, file: FILES[file].replace(old, new, 1)}))
    assert any("every client is evaluated once" in effect for effect in found) is swept

"""What comes back: receipts that withdraw consents, answers to surveys, complaints, what staff made of their work."""

import itertools
import json

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Feedback, Receipt
from engine.core.contract.outbound import Rejection
from engine.core.contract.profiles import Profile
from engine.core.contract.topics import TOPICS
from engine.core.decide.path import decide
from engine.core.pace import Pace
from engine.core.reading.decode import Taken, decode
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.processors.engagement import ENGAGEMENT
from engine.rulefile.read.load import load
from tests.core.making import Desk, at, login, plan_of, profile, rule
from tests.core.records import COMPLAINT, FEEDBACK, NOW_MS, OUTCOME, RECEIPT, event_of, refused, take
from tests.rulefile.sample import FILES

numbers = itertools.count()
WORDS = "My own words, of nobody's business: 4711"


def came(topic, time_ms, **fields):
    about = {"event_id": f"a{next(numbers)}", "client_id": "c1", "time": time_ms}
    example = {name: value for name, value in TOPICS[topic].example.items() if value is not None}
    taken = decode(topic, b"c1", json.dumps({**example, **about, **fields}).encode(), -1)
    assert isinstance(taken, Taken), taken
    return topic, taken.event


def opt_out(time_ms, channel="sms"):
    return came("receipts", time_ms, channel=channel, status="opted_out")


# -- the contract ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "good", "field"),
    [
        ("receipts", RECEIPT, "action_id"),
        ("receipts", RECEIPT, "channel"),
        ("receipts", RECEIPT, "status"),
        ("outcomes", OUTCOME, "action_id"),
        ("outcomes", OUTCOME, "status"),
        ("feedback", FEEDBACK, "action_id"),
        ("complaints", COMPLAINT, "complaint_id"),
        ("complaints", COMPLAINT, "status"),
    ],
)
def test_without_these_it_means_nothing(topic, good, field):
    assert (
        refused(topic, {name: value for name, value in good.items() if name != field}).reason is Rejection.MISSING_FIELD
    )
    assert refused(topic, good | {field: None}).reason in (Rejection.WRONG_TYPE, Rejection.UNKNOWN_VALUE)
    assert refused(topic, good | {field: ["x"]}).reason in (Rejection.WRONG_TYPE, Rejection.UNKNOWN_VALUE)


@pytest.mark.parametrize(
    ("topic", "good"),
    [("receipts", RECEIPT), ("outcomes", OUTCOME), ("feedback", FEEDBACK), ("complaints", COMPLAINT)],
)
def test_any_other_field_costs_itself_alone(topic, good):
    needed = TOPICS[topic].model.essential
    for name in set(good) - needed:
        taken = take(topic, good | {name: {"of": "another kind"}})
        assert isinstance(taken, Taken), name
        assert taken.unread == (name,)
        assert getattr(taken.event, name) is None
        assert {n: getattr(taken.event, n) for n in needed} == {n: good[n] for n in needed}


def test_an_action_is_all_that_a_producer_has_to_copy():
    """What whoever delivers an action has at hand makes each of the answers."""
    desk = Desk(plan_of(rule("ask", kind="survey")))
    (survey,) = [a for a in desk.take(profile(at(0)), login(at(1))) if a["topic"] == "surveys"]
    copied = {"action_id": survey["id"], "rule_id": survey["rule_id"], "kind": survey["kind"]}
    desk.take(
        came("receipts", at(1, 13), **copied, channel=survey["channel"], status="delivered"),
        came("outcomes", at(1, 14), **copied, status="done"),
        came("feedback", at(1, 15), **copied, nps=9),
    )
    assert desk.client.activities["feedback"].last_ms == at(1, 15)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"nps": None},
        {"nps": 11},
        {"csat": 0, "ces": 8},
        {"nps": True},
        {"nps": "9"},
        {"answers": []},
        {"answers": ["two words"]},
        {"answers": "fees"},
        {"answers": ["x"] * 21},
        {"comment": ""},
        {"comment": 7},
        {"comment": "x" * 10_001},
    ],
)
def test_feedback_that_says_nothing_is_refused_and_repeats_nothing(said):
    common = {name: FEEDBACK[name] for name in ("event_id", "client_id", "time", "action_id")}
    result = refused("feedback", common | said)
    assert result.reason is Rejection.MISSING_FIELD
    assert "nps, csat, ces or answers" in result.error


@pytest.mark.parametrize(
    "said", [{"nps": 0}, {"nps": 10}, {"csat": 1}, {"ces": 7}, {"answers": ["fees"]}, {"comment": WORDS}]
)
def test_one_answer_will_do(said):
    common = {name: FEEDBACK[name] for name in ("event_id", "client_id", "time", "action_id")}
    assert take("feedback", common | said).unread == ()
    again = take("feedback", common | {"nps": 99, "csat": None, "answers": {"q": "a"}} | said)
    assert isinstance(again, Taken)


def test_codes_are_joined_each_once():
    assert event_of("feedback", FEEDBACK | {"answers": ["fees", "slow", "fees"]}).answers == "fees slow"


@pytest.mark.parametrize(
    ("topic", "good", "other"),
    [
        ("receipts", OUTCOME, "outcomes"),
        ("outcomes", {"complaint_id": "K-1", "status": "opened"}, "complaints"),
        ("complaints", FEEDBACK, "feedback"),
    ],
)
def test_an_answer_on_another_topic(topic, good, other):
    common = {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS}
    result = take(topic, common | good)
    assert (result.reason, f"send it to the topic {other}" in result.error) == (Rejection.WRONG_TOPIC, True), result


@pytest.mark.parametrize(
    ("topic", "extra"),
    [
        ("logins", {"channel": "app", "status": "ok", "code": "200", "comment": "x", "kind": "face"}),
        ("trades", {"symbol": "6", "side": "buy", "amount_fen": 1, "status": "filled", "category": "A", "by": "desk"}),
        ("balances", {"kind": "deposit", "amount_fen": 1, "assets_fen": 1, "status": "booked", "answers": 1}),
        ("profiles", {"type": "individual", "status": "active", "category": "VIP", "severity": "low"}),
    ],
)
def test_events_that_say_more_than_the_contract_are_still_what_they_were(topic, extra):
    """Names such as status and comment were free before there were answers."""
    taken = take(topic, {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS} | extra)
    assert isinstance(taken, Taken), taken
    assert taken.unread == ()


# -- consents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "consents"),
    [
        ([profile(at(1)), opt_out(at(2))], {"app_push"}),
        ([profile(at(1)), opt_out(at(2), "app_push"), opt_out(at(3))], set()),
        ([profile(at(3)), opt_out(at(2))], {"app_push", "sms"}),  # the consent is later
        ([profile(at(1)), opt_out(at(2)), profile(at(3))], {"app_push", "sms"}),
        ([profile(at(1)), opt_out(at(4)), profile(at(3), consents=("sms", "email"))], {"email"}),
        ([opt_out(at(2))], set()),
        ([opt_out(at(2)), profile(at(1))], {"app_push"}),
        ([opt_out(at(2)), profile(at(2))], {"app_push"}),  # of the same moment: not brought back
        ([profile(at(1)), came("receipts", at(2), status="bounced")], {"app_push", "sms"}),
        ([profile(at(1)), opt_out(at(2), "work_queue")], {"app_push", "sms"}),
        ([profile(at(1)), opt_out(at(2), "email")], {"app_push", "sms"}),
    ],
)
def test_an_opt_out_withdraws_the_consent_as_of_its_time(steps, consents):
    for order in itertools.permutations(steps):
        desk = Desk(plan_of(rule("hello")))
        desk.take(*order)
        assert set(desk.client.consents) == consents, order
        packed = pack(desk.plan.layout, desk.client)
        again = unpack(desk.plan.layout, packed)
        assert again.opted_out == desk.client.opted_out
        assert pack(desk.plan.layout, again) == packed


def test_a_profile_that_says_nothing_of_consents_brings_none_back():
    desk = Desk(plan_of(rule("hello")))
    later = Profile(event_id="p9", client_id="c1", time=at(5), region="east")
    desk.take(profile(at(1)), opt_out(at(2)), ("profiles", later))
    assert desk.client.consents == ("app_push",)


def test_an_opt_out_stops_the_next_message():
    desk = Desk(plan_of(rule("hello", channels="sms")))
    assert desk.take(profile(at(0)), login(at(1))) != []
    assert desk.take(opt_out(at(2)), login(at(3))) == []
    assert desk.outcomes[-1] == ("hello", "no_consent")
    assert desk.take(profile(at(4)), login(at(5))) != []


@pytest.fixture
def without_answers():
    """The table of topics as it was before; its order matters."""
    known = dict(TOPICS)
    for name in ("receipts", "outcomes", "feedback", "complaints"):
        del TOPICS[name]
    yield
    TOPICS.clear()
    TOPICS.update(known)


def stored(monkeypatch):
    monkeypatch.setattr("tests.core.making._event_ids", itertools.count())
    desk = Desk(plan_of.__wrapped__(rule("hello")))
    desk.take(profile(at(0)), login(at(1)), login(at(2)))
    return pack(desk.plan.layout, desk.client)


def test_who_has_no_answers_is_stored_in_not_one_byte_more(request, monkeypatch):
    now = stored(monkeypatch)
    request.getfixturevalue("without_answers")
    assert stored(monkeypatch) == now


# -- counts ------------------------------------------------------------------------------------------------------------


def test_receipts_are_counted_by_channel_once_each():
    plan = plan_of(rule("hello"))
    bounced = came("receipts", at(2), channel="email", status="bounced")
    inputs = [profile(at(0)), bounced, bounced, opt_out(at(3)), came("complaints", at(4)), login(at(5))]
    counts = ENGAGEMENT.decide(plan, {}, inputs, 0, Pace()).counts
    assert {about: n for about, n in counts.items() if about[0] == "receipts"} == {
        ("receipts", "email", "bounced"): 1,
        ("receipts", "sms", "opted_out"): 1,
    }


# -- rules -------------------------------------------------------------------------------------------------------------

COMMENTED = rule(
    "low", on="feedback", when="feedback.nps <= 6 and known(feedback.comment)",
    parameters="{words: feedback.comment, codes: feedback.answers}",
)  # fmt: skip


def test_a_comment_is_passed_on_and_nowhere_else():
    plan = plan_of(COMMENTED)
    desk = Desk(plan)
    item = came("feedback", at(1), nps=3, comment=WORDS, answers=["fees"])
    (action,) = [a for a in desk.take(profile(at(0)), item) if a["topic"] == "messages"]
    assert action["parameters"] == {"words": WORDS, "codes": "fees"}
    assert WORDS not in json.dumps(action["why"])
    assert WORDS.encode() not in pack(plan.layout, desk.client)
    decided = decide(plan, {}, [item])
    assert WORDS not in repr((decided.outcomes, decided.counts))
    shown = Explainer(plan).explain(plan.rule_set.rules[0], on("feedback"), desk.client, item[1], None)
    assert WORDS not in repr(shown)


@pytest.mark.parametrize("aggregate", ["last", "distinct", "top"])
def test_no_feature_can_keep_a_comment(aggregate):
    feature = f"  words: {{source: feedback, aggregate: {aggregate}, field: comment, window: 30d}}\n"
    problems = load(FILES | {"features.yaml": FILES["features.yaml"] + feature})
    assert any('unknown value "comment"' in problem.message for problem in problems)


def test_scores_and_codes_are_features():
    features = """\
  nps_last: {source: feedback, aggregate: last, field: nps, where: known(feedback.nps), window: 365d}
  nps_avg: {source: feedback, aggregate: avg, field: nps, window: 90d}
  fees_named: {source: feedback, aggregate: count, where: 'has_code(feedback.answers, "fees")', window: 90d}
"""
    desk = Desk(
        plan_of(
            rule(
                "ask", kind="task", audience="team", on="complaints", when="nps_last <= 6 and fees_named >= 1",
                parameters="{last: nps_last, mean: nps_avg, days: client.days_since_feedback}",
            ),
            features=features + "  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, "
            "field: assets_cny, window: 30d}\n",
        )
    )  # fmt: skip
    desk.take(profile(at(0)), came("feedback", at(1), nps=9), came("feedback", at(2), nps=4, answers=["fees_a", "x"]))
    assert desk.take(came("complaints", at(3))) == []
    desk.take(came("feedback", at(4), csat=5, answers=["x", "fees"]))
    (task,) = desk.take(came("complaints", at(6)))
    assert task["parameters"] == {"last": 4, "mean": 6.5, "days": 2}
    assert task["cause"]["type"] == "complaints"


def test_the_models_say_what_rules_are_told():
    assert {asked.field for asked in TOPICS["receipts"].names} == set(TOPICS["receipts"].fields)
    assert {asked.field for asked in TOPICS["feedback"].names} == set(TOPICS["feedback"].fields)
    assert Receipt.essential > {"action_id", "channel", "status"}
    assert Feedback.essential > {"action_id"}

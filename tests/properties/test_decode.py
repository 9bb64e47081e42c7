"""decode never raises, whatever the bytes; what it accepts, decide can take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.contract.events import Balance, Login, Trade, parse_time_ms
from engine.core.contract.fields import EARLIEST_MS, LATEST_MS
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import Rejection
from engine.core.contract.profiles import Profile
from engine.core.contract.topic import Topic
from engine.core.contract.topics import TOPICS, inbound_topics
from engine.core.decide.path import decide
from engine.core.quick import MAX_KEYS, MAX_SHAPES
from engine.core.reading import envelopes, likeness
from engine.core.reading.decode import Rejected, Taken, _validated, decode, fallbacks, kind_of
from tests.core.making import event_of, fields_of, same_event, topic_of
from tests.properties.histories import histories, quick
from tests.rulefile.declaring import plan_with

PLAN = plan_with()
ESSENTIAL = ("event_id", "client_id", "time")
keys = st.none() | st.binary(max_size=8) | st.just(b"c1")
BEGINS = sorted(
    {mark for mark, _ in (*likeness._MARKS, *likeness._COMPRESSED, *likeness._SERIALIZED)}
    | {
        b"\0\0\0\0\x07",
        b"\3\0",
        b"\3\5",
        b"\1" * 17,
        b"\x0a\1",
        b"\x81\xa1",
        b"\xa1\x61",
        b"{",
        b"[",
        b'"',
        b"<",
        b"a=",
        b"a:",
    }
    | {
        b"\0{\0",
        b'{\0"\0',
        b"{\0\0\0",
        b"{'",
        b"%7B",
        b"eyJ",
        b"map[",
        b'{"a":1}',
        b"x({",
        b"MSH|",
        b"a:1:",
        b"\xc0\x7f",
    }
)
moments = st.just(-1) | st.integers(EARLIEST_MS, LATEST_MS)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**20, -(10**400), 2**63, 5.0, 1e308])
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=20)  # surrogates too
)
fields = sorted({name for kind in PLAN.rule_set.kinds.values() for name in kind.model.model_fields})
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(fields) | st.text(max_size=5), inner),
    max_leaves=8,
)


def read_as_by_its_model(topic: Topic, value: bytes) -> bool:
    """Whether it was read quickly; then as the model reads it."""
    event = topic.quick.read(value, envelopes.may_be, len(TOPICS)) if topic.quick else None
    assert event is None or same_event(_validated(topic, value), event)
    return event is not None


def judged(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Any:
    result = decode(topic, key, value, timestamp_ms, PLAN.declared_types)
    known = [TOPICS[topic]] if topic in TOPICS else PLAN.declared_types.values()
    for kind in known if value else ():
        read_as_by_its_model(kind, value)
    if isinstance(result, Rejected):
        assert isinstance(result.reason, Rejection)
        assert 0 < len(result.error.encode()) < 2_000
    else:
        name = kind_of(topic, event := result.event)
        model = PLAN.rule_set.kinds[name].model
        assert event.client_id.encode() == key
        assert fields_of(event).keys() == model.model_fields.keys()
        unread = [field if topic in TOPICS else field.removeprefix(f"{name}.") for field in result.unread]
        assert all(field.partition(".")[0] in fallbacks(model) for field in unread)
        decide(PLAN, {}, [(name, event)])
    return result


@quick(150)
@given(topic=st.sampled_from(inbound_topics()), key=keys, value=st.none() | st.binary(max_size=200), moment=moments)
def test_any_bytes(topic, key, value, moment):
    judged(topic, key, value, moment)


@quick(150)
@given(topic=st.sampled_from(inbound_topics()), begins=st.sampled_from(BEGINS), rest=st.binary(max_size=60))
def test_any_bytes_behind_those_by_which_a_form_is_known(topic, begins, rest):
    judged(topic, b"c1", begins + rest, -1)


@quick(150)
@given(topic=st.sampled_from(inbound_topics()), value=jsons, moment=moments, ascii_only=st.booleans())
@example(topic="logins", value={"time": "\ud800"}, moment=-1, ascii_only=False)
def test_any_json(topic, value, moment, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    judged(topic, b"c1", text.encode("utf-8", "surrogatepass"), moment)


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good event with fields replaced, added, taken away, or bytes of its text changed."""
    topic, event = topic_of(item := draw(histories(most=4))[-1]), event_of(item)
    value: dict[str, Any] = json.loads(event.model_dump_json())
    for name in draw(st.lists(st.sampled_from([*value, "extra"]), max_size=3)):
        value[name] = draw(scalars)
    for name in draw(st.lists(st.sampled_from(list(value)), max_size=1)):
        del value[name]
    text = bytearray(json.dumps(value).encode())
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return topic, bytes(text)


DECLARED = {
    "event_id": "1", "client_id": "c1", "time": 1_795_000_000_000, "type": "ipo_allotment", "symbol": "A",
    "shares": 5.25, "amount_fen": 5, "board": "star", "lots": 2, "rate": 1, "listed_on": "2026-11-05",
    "told_at": "2026-03-02T09:30:00+08:00", "first_one": False, "phone": "1",
}  # fmt: skip
typed = st.sampled_from(["ipo_allotment", "branch_visit", "ipo", 5, None])


@quick(200)
@given(changed=st.dictionaries(st.sampled_from([*DECLARED, "branch", "extra"]), scalars), type_=typed, moment=moments)
@example(changed={"told_at": "x", "listed_on": "2026-02-30", "shares": "0.1"}, type_="ipo_allotment", moment=-1)
def test_declared_events_spoiled(changed, type_, moment):
    judged("events", b"c1", json.dumps(DECLARED | changed | {"type": type_}).encode(), moment)


def test_declared_events_are_read_quickly_in_their_usual_form():
    kind = PLAN.declared_types["ipo_allotment"]
    assert read_as_by_its_model(kind, json.dumps(DECLARED | {"shares": 5}).encode())
    assert not read_as_by_its_model(kind, json.dumps(DECLARED).encode())  # a fraction is read by the model


@quick(200)
@given(record=spoiled(), moment=moments)
def test_good_events_spoiled(record, moment):
    judged(record[0], b"c1", record[1], moment)


@quick(100)
@given(history=histories(most=3))
def test_what_a_model_writes_is_read_again(history):
    for item in history:
        event = event_of(item)
        written = event.model_dump_json(exclude_unset=True).encode()
        taken = decode(topic_of(item), event.client_id.encode(), written, -1)
        assert same_event(taken, event)
        if TOPICS[topic_of(item)].told_facts:
            assert taken.event.model_fields_set == event.model_fields_set


@quick(150)
@given(data=st.data(), history=histories(most=3))
def test_a_key_twice_is_refused_wherever_it_stands(data, history):
    event = event_of(item := history[-1])
    good: dict[str, Any] = json.loads(event.model_dump_json(exclude_unset=True))
    if data.draw(st.booleans()):
        good["extra"] = data.draw(jsons)
    name = data.draw(st.sampled_from(list(good)))
    colon = data.draw(st.sampled_from([":", " :", "\n\t:", " : "]))
    twice = f"{{{json.dumps(name)}{colon}{json.dumps(data.draw(scalars))},{json.dumps(good)[1:]}"
    result = judged(topic_of(item), event.client_id.encode(), twice.encode("utf-8", "surrogatepass"), -1)
    assert isinstance(result, Rejected)
    assert result.reason in (Rejection.DUPLICATE_KEY, Rejection.NOT_JSON)  # what is no JSON: half a surrogate


def agreed(event: Any) -> set[str]:
    return {channel for channel, given in event.consents or () if given}


@quick(200)
@given(data=st.data(), history=histories(most=3))
def test_a_field_that_is_spoilt_is_unknown_and_the_others_stand(data, history):
    topic, event = topic_of(item := history[-1]), event_of(item)
    key = event.client_id.encode()
    good: dict[str, Any] = json.loads(event.model_dump_json(exclude_unset=True))
    name = data.draw(st.sampled_from(sorted(fallbacks(type(event)))))
    spoilt = good | {name: data.draw(jsons)}
    taken = decode(topic, key, json.dumps(spoilt).encode("utf-8", "surrogatepass"), -1)
    if isinstance(taken, Rejected):  # what is no JSON, such as half a surrogate
        assert taken.reason is Rejection.NOT_JSON
        return
    if isinstance(event, Profile) and name == "consents" and "consents" in good:
        assert (
            agreed(taken.event) <= {channel for channel, given in spoilt["consents"].items() if given is True}
            if (isinstance(spoilt["consents"], dict))
            else not agreed(taken.event)
        )
    if name in taken.unread:
        without = {field: value for field, value in good.items() if field != name}
        unknown = without if name in type(event).unsaid else without | {name: getattr(taken.event, name)}
        assert fields_of(taken.event) == fields_of(decode(topic, key, json.dumps(unknown).encode(), -1).event)
    others = (set(good) | {"client_id"}) - {name}
    assert {field: getattr(taken.event, field) for field in others} == {f: getattr(event, f) for f in others}


@quick(150)
@given(data=st.data(), history=histories(most=3))
def test_consents_never_grow_by_what_cannot_be_read(data, history):
    """Whatever is spoilt of a profile, nothing is agreed to that it does not say legibly."""
    for item in history:
        event = event_of(item)
        if not isinstance(event, Profile):
            continue
        value: dict[str, Any] = json.loads(event.model_dump_json(exclude_unset=True))
        for name in data.draw(st.lists(st.sampled_from([n for n in Profile.model_fields if n not in ESSENTIAL]))):
            value[name] = data.draw(scalars)
        if isinstance(value.get("consents"), dict) and value["consents"]:
            for channel in data.draw(st.lists(st.sampled_from(sorted(value["consents"])))):
                value["consents"][channel] = data.draw(scalars)
        taken = decode("profiles", event.client_id.encode(), json.dumps(value).encode("utf-8", "surrogatepass"), -1)
        if isinstance(taken, Taken):
            legible = value.get("consents")
            legible = legible if isinstance(legible, dict) else {}
            assert agreed(taken.event) == {channel for channel, given in legible.items() if given is True}


@quick(200)
@given(st.integers(EARLIEST_MS, LATEST_MS - 1), st.integers(-14 * 60, 14 * 60))
@example(1_500_000_000_007, 480)
def test_a_moment_is_the_same_in_both_notations_and_every_offset(moment_ms, offset_minutes):
    assert parse_time_ms(moment_ms) == moment_ms
    assert parse_time_ms(rfc3339(moment_ms)) == moment_ms
    sign, minutes = ("-", -offset_minutes) if offset_minutes < 0 else ("+", offset_minutes)
    local = rfc3339(moment_ms + offset_minutes * 60_000).replace("Z", f"{sign}{minutes // 60:02d}:{minutes % 60:02d}")
    assert parse_time_ms(local) == moment_ms


@pytest.mark.parametrize("model", [Trade, Login, Balance, Profile])
def test_every_field_is_tried(model):
    """The list of fields above is of all models: a model added to the contract is spoiled too."""
    assert model in [topic.model for topic in TOPICS.values()]
    assert set(model.model_fields) <= set(fields)


@pytest.mark.parametrize(
    ("topic", "changes", "quickly"),
    [
        ("trades", {}, True),
        ("trades", {"time": "2026-03-02T09:30:00.125+08:00", "price_cny": "12.5", "note": "a b"}, True),
        ("trades", {"note": {"a": 1}}, False),
        ("trades", {"note": "\\"}, False),
        ("trades", {"quantity": 2.5}, False),
        ("trades", {"matures_on": "2027-01-01"}, False),
        ("trades", {"matures_on": None}, True),
        ("trades", {"device_id": "D1"}, False),
        ("trades", {"product": None}, False),
        ("trades", {"symbol": "6 0"}, False),
        ("trades", {"symbol": "６０"}, False),
        ("trades", {"event_id": ""}, False),
        ("trades", {"amount_fen": 1e3}, False),
        ("trades", {"price_cny": "1.5\n"}, False),
        ("logins", {"device_id": "D1", "success": False, "x": [1, 2.5]}, True),
        ("logins", {"success": 1}, False),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
def test_what_is_read_quickly(topic, changes, quickly, separators):
    """The usual event: if none were, reading would be slow, and right all the same."""
    usual = {"event_id": "e-1", "client_id": "c-1", "time": EARLIEST_MS}
    own = {"trades": {"symbol": "600000", "side": "buy", "amount_fen": 5}, "logins": {"channel": "app"}}[topic]
    value = json.dumps(usual | own | changes, separators=separators, ensure_ascii=False).encode()
    assert read_as_by_its_model(TOPICS[topic], value) == quickly


@pytest.mark.parametrize("twice", [b'"x":1,"x":2', b'"x" :1,"x" :2', b'"time":1790000000000', b'"y":":","x" :1,"x":2'])
def test_a_key_twice_is_not_read_quickly(twice):
    value = b'{"event_id":"e","client_id":"c","time":1790000000000,"channel":"app",%s}' % twice
    assert not read_as_by_its_model(TOPICS["logins"], value)


@pytest.mark.parametrize("beside", [b"1e999", b"1" * 5_000, b"01", b'"\xff"', b"{}", b"[1,]"])
def test_what_stands_beside_the_fields_is_read_too(beside):
    """Of keys that the contract does not name, after another record with the same keys."""
    for value in (b"1", beside):
        text = b'{"event_id":"e","client_id":"c","time":1790000000000,"channel":"app","x":%s}' % value
        assert read_as_by_its_model(TOPICS["logins"], text) == (value in (b"1", b"{}"))


def test_producers_that_send_other_keys_take_turns():
    """The number of colons, by which a struct is found first, is the same; a key that one lacks is unknown again."""
    one = b'{"event_id":"e","client_id":"c","time":1790000000000,"channel":"app","device_id":"D%d"}'
    other = b'{"event_id":"e","client_id":"c","time":1790000000000,"channel":"web","success":false}'
    for number in range(3):
        first, second = (decode("logins", b"c", value, -1).event for value in (one % number, other))
        assert (first.device_id, first.success) == (f"D{number}", True)
        assert (second.device_id, second.success) == (None, False)


def test_a_producer_whose_keys_never_come_again_leaves_the_others_as_quick():
    topic = Topic("logins", 0, "login", "login", Login)
    value = b'{"event_id":"e","client_id":"c","time":1790000000000,"channel":"app","k%d":%s}'
    for number in range(MAX_SHAPES + 3):
        assert topic.quick.read(value % (number, b"1"), envelopes.may_be, len(TOPICS)).channel == "app"
    assert read_as_by_its_model(topic, value % (MAX_SHAPES + 9, b'"text"'))
    assert not read_as_by_its_model(topic, value % (MAX_SHAPES + 9, b"1e999"))
    assert not read_as_by_its_model(topic, value % (MAX_SHAPES + 9, b'{"a":1}'))
    many = b",".join(b'"m%d":1' % number for number in range(2 * MAX_KEYS))
    assert read_as_by_its_model(topic, value % (0, b"1," + many))
    assert not read_as_by_its_model(topic, value % (0, b"1," + many + b',"m3":1'))

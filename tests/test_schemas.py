"""The published schemas: valid themselves, in step with the models, and they accept and refuse what the engine does."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from pydantic import ValidationError
from ruamel.yaml import YAML

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.contract.outbound import CARE, OUTBOUND, OUTBOUND_MODEL, RETRACTION, TOPIC_OF_KIND, Rejection
from engine.core.contract.topics import TOPICS, inbound_topics, written_topics
from engine.demo.simulator import simulate
from engine.publish.schemas import check, generate, write
from engine.rulefile.read.load import load

ROOT = Path(__file__).parent.parent
FILES = generate()
END_MS = 1_790_000_000_000
SMALLEST = {
    "features.yaml": "features: {}\n",
    "tiers.yaml": "segments: []\n",
    "policy.yaml": "contact:\n  daily_cap: 2\n",
}


ASYNCAPI = YAML(typ="safe").load(FILES["asyncapi.yaml"])


def component(name):
    """The validator of a schema of the AsyncAPI document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": ASYNCAPI["components"]}
    return Draft7Validator(schema, format_checker=FormatChecker())


def validator(name):
    return Draft202012Validator(json.loads(FILES[name]), format_checker=FormatChecker())


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
def test_each_is_a_valid_schema_with_its_own_id(name):
    schema = json.loads(FILES[name])
    validates = Draft7Validator if name.startswith("rule-files/") else Draft202012Validator  # editors know draft 7
    validates.check_schema(schema)
    assert schema["$schema"] == validates.META_SCHEMA["$schema"]
    assert schema["$id"] == f"https://engage.example/schemas/{name}"
    assert schema["title"]
    assert schema["description"]


def test_a_firm_says_where_it_keeps_the_schemas():
    """Each file's own address there is its `$id`, what headers say, and the only thing that differs."""
    url = "https://schemas.firm.example/engage"
    files = generate(url=url)
    assert "".join(files.values()).count(url) > len(files)
    for name, text in files.items():
        assert text.replace(f"{url}/", "https://engage.example/schemas/") == FILES[name]
        if name.endswith(".json"):
            assert json.loads(text)["$id"] == f"{url}/{name}"
    where = re.findall(r"const: (https:\S+/schemas/\S+)", FILES["asyncapi.yaml"])
    assert sorted(where) == sorted(
        f"https://engage.example/schemas/{name}.json" for name in (*OUTBOUND, RETRACTION, CARE)
    )


def test_the_repository_holds_what_is_generated():
    assert check(ROOT / "schemas") == []


def test_drift_is_found_and_mended(tmp_path):
    write(tmp_path)
    assert check(tmp_path) == []
    (tmp_path / "alerts.json").write_text("{}")
    (tmp_path / "tasks.json").unlink()
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "rule-files/old.json").write_text("{}")
    faults = check(tmp_path)
    assert [fault.split(":")[0].rpartition("/")[2] for fault in faults] == [
        "alerts.json",
        "tasks.json",
        "old.json",
        "old.json",
    ]
    assert all("run `engage schemas" in fault for fault in faults)
    assert set(write(tmp_path)) == {"alerts.json", "tasks.json", "old.json", "rule-files/old.json"}
    assert check(tmp_path) == []
    assert len(check(tmp_path / "nowhere")) == len(FILES)


def test_every_simulated_event_is_valid():
    validators = {topic: validator(f"event-{topic}.json") for topic in inbound_topics()}
    seen = set()
    for record in simulate(7, 100, END_MS - 60 * 86_400_000, END_MS):
        validators[record.topic].validate(record.value)
        seen.add(record.topic)
    assert seen == set(inbound_topics())


BASE = {"event_id": "e1", "client_id": "C1", "time": "2026-03-02T09:30:00+08:00"}
GOOD = {
    "trades": BASE
    | {"symbol": "600519.SH", "side": "buy", "quantity": 100, "price_cny": "1520.00", "amount_fen": 15_200_000},
    "logins": BASE | {"channel": "app"},
    "balances": BASE | {"kind": "deposit", "amount_fen": 1, "assets_fen": 2, "margin_ratio": 1.5},
    "profiles": BASE | {"type": "individual", "consents": {"sms": True}},
}
CHANGES = [  # topic, fields to set (None: take out), accepted?
    ("trades", {}, True),
    ("logins", {}, True),
    ("balances", {}, True),
    ("profiles", {}, True),
    ("trades", {"time": 1_790_000_000_000}, True),
    ("trades", {"time": "2026-03-02T09:30:00.123Z"}, True),
    ("trades", {"time": "2026-03-02T09:30:00"}, False),
    ("trades", {"time": "yesterday"}, False),
    ("trades", {"time": 1_790_000_000}, False),
    ("trades", {"time": True}, False),
    ("trades", {"time": 1_790_000_000_000.5}, False),
    ("trades", {"time": None}, False),
    ("trades", {"quantity": 0}, False),
    ("trades", {"quantity": -1}, False),
    ("trades", {"quantity": "5"}, True),
    ("trades", {"quantity": "1234.56"}, True),
    ("trades", {"quantity": "five"}, False),
    ("trades", {"quantity": 100.0}, True),
    ("trades", {"quantity": ...}, True),
    ("trades", {"quantity": True}, False),
    ("trades", {"quantity": 1.5}, True),
    ("trades", {"price_cny": 1520.0}, False),
    ("trades", {"price_cny": "1.2.3"}, False),
    ("trades", {"price_cny": ...}, True),
    ("trades", {"side": "hold"}, False),
    ("trades", {"symbol": ""}, False),
    ("trades", {"symbol": "a b"}, False),
    ("trades", {"amount_fen": 10**17}, True),
    ("trades", {"amount_fen": 10**17 + 1}, False),
    ("trades", {"product": ..., "channel": ...}, True),
    ("trades", {"product": "nft"}, False),
    ("trades", {"new_field": [1]}, True),
    ("logins", {"client_id": "客户"}, False),
    ("logins", {"client_id": "C" * 65}, False),
    ("logins", {"success": 1}, False),
    ("logins", {"region": ...}, True),
    ("logins", {"region": "mars"}, False),
    ("logins", {"channel": None}, False),
    ("logins", {"channel": ..., "success": ...}, True),
    ("logins", {"channel": "fax"}, False),
    ("balances", {"margin_ratio": 2}, True),
    ("balances", {"margin_ratio": -0.1}, False),
    ("balances", {"assets_fen": None}, False),
    ("balances", {"assets_fen": -5, "cash_fen": -10}, True),
    ("balances", {"amount_fen": -5}, False),
    ("balances", {"margin_ratio": ..., "cash_fen": ...}, True),
    ("balances", {"kind": None}, False),
    ("balances", {"kind": "gift"}, False),
    ("profiles", {"type": "martian"}, False),
    ("profiles", {"consents": {"sms": "yes"}}, False),
    ("profiles", {"consents": {"pigeon": True}}, True),
    ("profiles", {"consents": ...}, True),
    ("profiles", {"consents": None, "type": None}, True),
    ("profiles", {"consents": {"sms": ...}}, True),
    ("profiles", {"consents": ["sms"]}, False),
    ("profiles", {"type": ..., "time_zone": ..., "language": ...}, True),
    ("profiles", {"language": "zh_CN"}, True),
    ("profiles", {"language": "zh-Hans-CN"}, True),
    ("profiles", {"language": "Chinese"}, False),
    ("profiles", {"time_zone": "GMT 8"}, False),
    ("profiles", {"time_zone": "Asia/Shanghai"}, True),
]


@pytest.mark.parametrize(("topic", "changes", "accepted"), CHANGES)
def test_schema_and_engine_agree(topic, changes, accepted):
    """In `changes`, None takes a field out and ... stands for null."""
    event = {name: value for name, value in (GOOD[topic] | changes).items() if value is not None}
    event = json.loads(json.dumps(event, default=lambda _: None))
    assert validator(f"event-{topic}.json").is_valid(event) is accepted
    assert component(TOPICS[topic].model.__name__).is_valid(event) is accepted
    if accepted:
        TOPICS[topic].model.model_validate_json(json.dumps(event))
    else:
        with pytest.raises(ValidationError):
            TOPICS[topic].model.model_validate_json(json.dumps(event))


OUT = {
    "id": "0" * 32,
    "client_id": "C1",
    "time": "2026-03-02T01:30:00.000Z",
    "cause": {"type": "balances", "event_id": "e1", "time": "2026-03-02T01:30:00.000Z"},
}
ACTION = OUT | {
    "rule_id": "money-leaving",
    "rule_version": 1,
    "title": "Money is leaving",
    "description": "The advisor calls.",
    "audience": "advisor",
    "channel": "work_queue",
    "owner": "wealth",
    "advisor_id": None,
    "tier": "A",
    "language": "zh-CN",
    "priority": 80,
    "template": "t",
    "parameters": {"amount_cny": "1.00"},
    "why": {"client.tier": "A", "client.has_advisor": False},
    "expires_at": "2026-03-03T01:30:00.000Z",
    "class": "service",
    "purpose": "service",
    "campaign": None,
    "tags": [],
    "team": "wealth",
    "arm": None,
    "not_before": None,
    "follows": None,
}
MOVE = OUT | {"client_type": "individual", "from_tier": None, "to_tier": "A", "reason": "first", "why": {}}


DECISION = OUT | {"match": "1" * 32, "rule_id": "money-leaving", "rule_version": 1, "outcome": "cap"}
APPLIES = {"kind": "task", "channel": "work_queue", "class": "service", "arm": "treated", "until": OUT["time"]} | {
    "numbers": {"cap": "two_a_day", "count": 2, "at_most": 2, "period": "day"},
    "folded": [{"rule_id": "r", "outcome": "cooldown", "times": 3}],
}


@pytest.mark.parametrize("topic", OUTBOUND)
def test_outbound_records_are_valid_for_their_own_topic_alone(topic):
    kind = {t: k for k, t in TOPIC_OF_KIND.items()}.get(topic)
    record = ACTION | {"kind": kind} if kind else {"decisions": DECISION, "tier-changes": MOVE}[topic]
    model = OUTBOUND_MODEL[topic].model_validate(record)
    published = json.loads(model.model_dump_json(by_alias=True, exclude_unset=topic == "decisions"))
    assert [t for t in OUTBOUND if validator(f"{t}.json").is_valid(published)] == [topic]
    for name in published:
        assert not validator(f"{topic}.json").is_valid({k: v for k, v in published.items() if k != name}), name
    assert validator(f"{topic}.json").is_valid(published | {"added_later": 1})
    names = [name for name in ASYNCAPI["components"]["messages"] if name.endswith(("Action", "Change", "Decision"))]
    assert [name for name in names if component(name).is_valid(published)] == [
        json.loads(FILES[f"{topic}.json"])["title"]
    ]


def test_a_decision_leaves_out_what_does_not_apply():
    decisions = validator("decisions.json")
    assert decisions.is_valid(DECISION | APPLIES)
    for name, value in APPLIES.items():
        assert decisions.is_valid(DECISION | {name: value})
        assert not decisions.is_valid(DECISION | {name: None})
    assert not decisions.is_valid(DECISION | {"outcome": "condition"})


def test_the_client_record_is_text_of_known_form():
    texts = [
        "A",
        "2026-03-02T01:30:00Z",
        "individual",
        "young",
        "71.25",
        "ADV-007",
        "1234567.89",
        "2026-03-02T01:30:00Z",
    ]
    record = dict(zip(PUBLIC_FIELDS, texts, strict=True))
    v = validator("client-record.json")
    v.validate(record)
    v.validate(dict.fromkeys(PUBLIC_FIELDS, "") | {"updated_at": "2026-03-02T01:30:00Z"})
    for wrong in (
        {"tier_since": "lately"},
        {"assets_cny": "1,000"},
        {"value_score": "high"},
        {"updated_at": ""},
        {"client_type": "x"},
    ):
        assert not v.is_valid(record | wrong), wrong


def test_dead_letter_headers_name_every_reason():
    schema = json.loads(FILES["dead-letter-headers.json"])
    assert schema["properties"]["engage_reason"]["enum"] == [reason.value for reason in Rejection]


def test_asyncapi_names_every_topic_and_its_references_lead_somewhere():
    document = ASYNCAPI
    assert document["asyncapi"] == "3.0.0"
    assert list(document["channels"]) == [*written_topics(), *OUTBOUND, "dead-letters"]
    assert {o["action"] for o in document["operations"].values()} == {"receive", "send"}
    assert len(document["operations"]) == len(document["channels"])

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key == "$ref" else references(value)
        elif isinstance(node, list):
            for item in node:
                yield from references(item)

    for reference in references(document):
        assert reference.startswith("#/")  # many generators follow no file
        at = document
        for part in reference[2:].split("/"):
            at = at[part]


NAMELESS = ("enum", "properties", "allOf", "oneOf", "$defs")  # what generators make a class of


def nameless(schema, top=True):
    """Places within a schema of which a generator would make a class without a name."""
    if isinstance(schema, list):
        return [place for part in schema for place in nameless(part, top=False)]
    if not isinstance(schema, dict):
        return []
    found = [] if top else [schema for key in NAMELESS if key in schema and "$ref" not in schema]
    if "properties" in schema:
        return found + nameless(list(schema["properties"].values()))
    return found + nameless(list(schema.values()))


def test_asyncapi_names_whatever_a_generator_makes_a_class_of():
    schemas = ASYNCAPI["components"]["schemas"]
    assert {"Receipt", "ReceiptStatus", "Feedback", "Outcome", "Complaint", "TaskAction", "Kind"} <= set(schemas)
    for name, schema in schemas.items():
        assert schema["title"] == name
        assert name.isalpha()
        assert nameless(schema) == [], name
    for name, message in ASYNCAPI["components"]["messages"].items():
        assert message["name"] == name
        assert message.get("payload", {"$ref": ""}).keys() == {"$ref"}
    assert nameless({"properties": {"a": {"anyOf": [{"enum": ["x"]}, {"type": "null"}]}}}) == [{"enum": ["x"]}]


def test_a_firm_may_call_its_own_what_the_contract_calls_its_own():
    text = "events:\n  region: {title: t, owner: o, fields: {kind: {kind: enum, values: [x, y]}}}\n"
    document = YAML(typ="safe").load(generate(load(SMALLEST | {"events.yaml": text}))["asyncapi.yaml"])
    schemas = document["components"]["schemas"]
    assert schemas["Region"]["enum"] == ["east", "central", "west", "northeast"]
    assert schemas["RegionEventKind"]["enum"] == ["x", "y"]
    assert document["channels"]["events"]["messages"].keys() == {"RegionEvent"}


def test_types_in_the_asyncapi_document_are_plain():
    """A list within a list of types is no JSON Schema; generators refuse the whole document."""

    def types(node):
        if isinstance(node, dict):
            if "type" in node and not isinstance(node["type"], dict):
                yield node["type"]
            for part in node.values():
                yield from types(part)
        elif isinstance(node, list):
            for part in node:
                yield from types(part)

    document = YAML(typ="safe").load(generate()["asyncapi.yaml"])
    for found in types(document["components"]):
        assert all(isinstance(one, str) for one in ([found] if isinstance(found, str) else found)), found

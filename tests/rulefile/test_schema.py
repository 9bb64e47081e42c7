"""The schemas of rule files and the readers agree: on keys, on what is accepted, on what is not."""

from __future__ import annotations

import copy
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.schema.schema import rule_file_schemas
from engine.rulefile.source.document import Mapping, Scalar, read_document
from engine.rulefile.source.fields import Reader
from tests.rulefile.sample import FILES, good
from tests.services.process import REPOSITORY

SCHEMAS = rule_file_schemas(None, "https://engage.example/schemas")
COMMON = """\
    title: T
    owner: wealth
    kind: task
    audience: team
    priority: 50
    cooldown: 1d
    expires: 1d
    template: t
    description: D
"""
RULES = f"""\
rules:
  - id: turned
    becomes: client.assets_cny >= 500_000
    for: 3d
    repeat_every: 30d
    serves: tiers
{COMMON}    version: 2
    parameters: {{assets_cny: client.assets_cny}}
    tests:
      - name: comes true
        given:
          client: {{tier: B, age_band: "25_35", consents: [sms, email], known_for: 20d, margin_ratio: 1.5}}
          history:
            - {{at: -3d, trades: {{side: sell, amount_cny: 5_000}}}}
            - {{at: -2d, logins: {{success: false}}, every: 1h, times: 3}}
        at: "2026-11-02 10:00"
        event: {{balances: {{assets_cny: 600_000, cash_cny: 5}}}}
        wait: 4d
        expect: {{fires: {{count: 1, parameters: {{assets_cny: 600_000}}}}}}
      - name: nothing comes
        given: {{client: unknown}}
        wait: 1d
        expect: {{not: condition}}
      - {{name: may stay out, event: {{profiles: {{region: east}}}}, expect: {{not: condition}}}}
  - id: weekly
    at: {{every: week, day: mon, time: "09:00"}}
{COMMON}  - id: monthly
    at: {{every: month, day: 31, time: "09:00"}}
{COMMON}  - id: yearly
    at: {{every: year, month: 2, day: 1, time: "09:00"}}
{COMMON}  - id: birthday
    at: {{every: birthday, before: 3d, time: "09:00"}}
{COMMON}  - id: idle
    sequence:
      first: {{on: balances, when: balance.kind == "deposit"}}
      without: {{on: trades, when: trade.side == "buy"}}
      within: 7d
{COMMON}  - id: soon
    sequence: {{first: {{on: logins}}, then: {{on: trades}}, within: 12h}}
    when: rich
    holdout: {{share: 0.1, salt: soon}}
    offers: {{product: '"fund"'}}
{COMMON}"""
DEFINITIONS = """\
lists:
  watched: {values: ["600000", "000001"], description: under watch}
  blocked: {file: blocked.csv, column: symbol}
tables:
  large_cny:
    hit: first
    unit: cny
    on: trades
    description: what is much
    rows:
      - {client.tier: A, trade.side: sell, then: 1_000_000}
      - {client.assets_cny: ">= 5_000", then: 300_000}
      - {then: 1}
  reach: {hit: unique, otherwise: sms | email, rows: [{client.tier: A, then: [phone, sms]}]}
  other: {hit: first, file: other.csv}
define:
  rich: {is: client.assets_cny >= 500_000, description: much}
  sells: {is: trade.side == "sell", on: trades}
"""
POLICY = """\
publishing: {approval: true}
classes:
  risk: {holdout: true, not_while: {busy: trades_30d > 9}}
  service: {when_quiet: hold, same_text: 12h, by_answers: true}
holdout: {share: 0.05, salt: spring-1}
caps:
  a: {at_most: 3, per: day, reserve: {for: calendar}}
  b: {at_most: 3, within: 9d, reserve: [{for: calendar}]}
rests: {sms: {after: 3, for: 30d}}
answers: {email: trades_30d}
suitability:
  products: products.csv
  assessed: client.days_since_trade
  within: 365d
  blacklist: {products: blocked}
"""
MORE = """\
  trades_24h: {source: trades, aggregate: count, window: 24h}
  sold_cny_month:
    source: trades
    aggregate: sum
    field: amount_cny
    where: trade.side == "sell"
    window: month
    description: sold
  trades_since:
    source: trades
    aggregate: count
    since: {on: balances, when: balance.kind == "deposit"}
"""
WIDE = {
    **FILES,
    "features.yaml": FILES["features.yaml"] + MORE,
    "policy.yaml": FILES["policy.yaml"] + POLICY,
    "definitions.yaml": DEFINITIONS,
    "more.yaml": RULES,
    "blocked.csv": "symbol,why\n600001,x\n",
    "products.csv": "product,risk_class\nfund,R3\n",
    "other.csv": "client.tier,then\nA,1\n,2\n",
}
FORMAL = ("missing key", "unknown key", "not a mapping", "not a list", "unknown value", "not a name", "not a number:",
          "not a duration", "out of range", "a rule has one of", "not a window", "not a time of day",
          "values or file", "rows or file", "a row without then")  # fmt: skip


def kind(file: str) -> str:
    name = file.removesuffix(".yaml") if "/" not in file else file.partition("/")[0]
    return f"{name if f'{name}.json' in SCHEMAS else 'rules'}.json"


def yaml() -> YAML:
    found = YAML(typ="safe", pure=True)
    found.default_flow_style = False
    return found


def written(data: Any) -> str:
    out = io.StringIO()
    yaml().dump(data, out)
    return out.getvalue()


def as_editors_do(node: Any) -> Any:
    """The values of YAML 1.2's core schema: 1_000 is a text there."""
    if isinstance(node, Mapping):
        return {key: as_editors_do(value) for key, (_, value) in node.entries.items()}
    if not isinstance(node, Scalar):
        return [as_editors_do(item) for item in node.items]
    if node.style or not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?|true|True|TRUE|false|False|FALSE|null|~|", node.value):
        return node.value
    return yaml().load(node.value)


def faults(file: str, data: Any) -> list[str]:
    return [error.message for error in Draft7Validator(SCHEMAS[kind(file)]).iter_errors(data)]


@pytest.mark.parametrize("files", [pytest.param(WIDE, id="wide"), pytest.param(None, id="shipped")])
def test_what_is_accepted_is_valid(files):
    files = read_directory(REPOSITORY / "rules") if files is None else files
    rule_set = good(files)
    own = rule_file_schemas(rule_set, "x")
    for file, text in files.items():
        if file.endswith(".yaml"):
            root, _ = read_document(file, text)
            assert faults(file, as_editors_do(root)) == [], file
            assert list(Draft7Validator(own[kind(file)]).iter_errors(as_editors_do(root))) == []


def test_names_of_a_rule_set_are_in_its_schemas():
    own = rule_file_schemas(good(WIDE), "x")
    rule = own["rules.json"]["properties"]["rules"]["items"]["properties"]
    assert "sold_cny_month (sold)" in rule["when"]["description"]
    assert {"enum": ["reach"]} in rule["channels"]["anyOf"]
    rows = own["definitions.json"]["properties"]["tables"]["additionalProperties"]["properties"]["rows"]
    assert {"client.tier", "trade.side", "then"} <= rows["items"]["properties"].keys()


# -- keys --------------------------------------------------------------------------------------------------------------


def _steps(schema: dict[str, Any], key: str | int) -> Iterator[dict[str, Any]]:
    for one in (schema, *schema.get("anyOf", ())):
        if isinstance(key, int) and "items" in one:
            yield one["items"]
        elif key in one.get("properties", {}):
            yield one["properties"][key]
        elif isinstance(one.get("additionalProperties"), dict):
            yield one["additionalProperties"]


def _walk(node: Any, schema: dict[str, Any], found: dict[int, dict[str, Any]]) -> None:
    """The schema of each mapping of a file, by where the mapping begins."""
    if isinstance(node, Mapping):
        found[node.index] = next((s for s in (schema, *schema.get("anyOf", ())) if "properties" in s), schema)
        inner: list[tuple[Any, Any]] = [(key, value) for key, (_, value) in node.entries.items()]
    else:
        inner = list(enumerate(getattr(node, "items", ())))
    for key, value in inner:
        for step in _steps(schema, key):
            _walk(value, step, found)


def test_the_readers_ask_for_the_keys_of_the_schemas(monkeypatch):
    asked: list[tuple[str, int, set[str], set[str]]] = []
    read = Reader.mapping

    def watched(self: Reader, node: Any, required: Any, optional: Any = ()) -> Any:
        required, optional = tuple(required), tuple(optional)
        if isinstance(node, Mapping):
            asked.append((self.file, node.index, {*required}, {*required, *optional}))
        return read(self, node, required, optional)

    monkeypatch.setattr(Reader, "mapping", watched)
    good(WIDE)
    schemas: dict[str, dict[int, dict[str, Any]]] = {}
    for file, text in WIDE.items():
        if file.endswith(".yaml"):
            root, _ = read_document(file, text)
            _walk(root, SCHEMAS[kind(file)], schemas.setdefault(file, {}))
    keys: dict[int, set[str]] = defaultdict(set)
    needed: dict[int, set[str]] = {}
    of: dict[int, dict[str, Any]] = {}
    for file, index, required, allowed in asked:
        schema = schemas[file][index]
        of[id(schema)] = schema
        keys[id(schema)] |= allowed
        needed[id(schema)] = needed.get(id(schema), required) & required
    assert len(of) >= 25
    for number, schema in of.items():
        if "properties" in schema:  # without, its keys are free names
            assert keys[number] == set(schema["properties"]), schema
            assert needed[number] == set(schema.get("required", ()))


# -- faults ------------------------------------------------------------------------------------------------------------


def _mappings(data: Any) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(data, dict):
        yield from ((data, key) for key in list(data))
        for value in data.values():
            yield from _mappings(value)
    elif isinstance(data, list):
        for value in data:
            yield from _mappings(value)


def _spoilt(file: str) -> Iterator[tuple[str, Any]]:
    """The file with one key removed, misspelt, or with another value, each in turn."""
    data = yaml().load(WIDE[file])
    for position in range(len(list(_mappings(data)))):
        others = ("empty list", "empty mapping", "another word", "a number")
        for how in (("removed", "misspelt")[position % 2], others[position // 2 % 4]):
            again = copy.deepcopy(data)
            inside, key = list(_mappings(again))[position]
            value = inside.pop(key)
            if how == "misspelt":
                inside[f"{key}x"] = value
            elif how != "removed":
                inside[key] = {"empty list": [], "empty mapping": {}, "another word": "Zz z", "a number": 7.5}[how]
            yield f"{key} {how}", again


OWN = rule_file_schemas(good(WIDE), "x")


@pytest.mark.parametrize("file", [file for file in WIDE if file.endswith(".yaml") and file != "retention.yaml"])
def test_a_spoilt_file_is_refused_by_both(file):
    for what, data in _spoilt(file):
        result = load({**WIDE, file: written(data)})
        problems = [] if isinstance(result, RuleSet) else [p for p in result if p.file == file]
        invalid = faults(file, data)
        assert not invalid or problems, (what, invalid)
        # of a kind of event that is not built in, only the rule set's own schema knows whether it is declared
        invalid = invalid or [error.message for error in Draft7Validator(OWN[kind(file)]).iter_errors(data)]
        # the keys of expected parameters are those of the rule's own
        formal = [p for p in problems if any(f in p.message for f in FORMAL) and '"assets_cny' not in p.message]
        if what.startswith("then "):  # what it may be depends on the other rows
            continue
        assert invalid or not formal, (what, formal)

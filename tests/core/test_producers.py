"""What producers send that is not the event is named with its remedy."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import struct
import zlib

import cramjam
import msgpack
import pytest

from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import inbound_topics
from engine.core.reading.decode import Rejected, Taken, decode
from engine.core.reading.likeness import of_value
from engine.core.reading.surroundings import of_headers
from tests.core.records import BALANCE, GOOD, LOGIN, NOW_MS, PROFILE, TRADE, event_of, refused, take

SECRET = "hunter2"
EVENT = TRADE | {"note": SECRET}
TEXT = json.dumps(EVENT)
RAW = TEXT.encode()
UUID = bytes(range(16))
NESTED = json.dumps({"a": EVENT}, indent=2)

NOT_JSON = {
    # schema registries and serializers
    "Confluent": (b"\0\0\0\0\x2a" + RAW, "00 and a schema's number: Schema Registry framing (Confluent)"),
    "Confluent, Avro": (b"\0\0\0\x01\x07" + b"\x06t-1\x08c1", "Schema Registry framing (Confluent)"),
    "Confluent, Protobuf": (b"\0\0\0\0\x07\0\x0a\x03t-1\x12\x02c1", "Schema Registry framing (Confluent)"),
    "Confluent, number of a brace": (b"\0\0\0\0\x7b" + RAW, "Schema Registry framing (Confluent)"),
    "Confluent, schema as a UUID": (b"\x01" + UUID + RAW, "Schema Registry framing (Confluent)"),
    "Glue": (b"\x03\0" + UUID + RAW, "Schema Registry framing (AWS Glue)"),
    "Glue, compressed": (b"\x03\x05" + UUID + zlib.compress(RAW), "Schema Registry framing (AWS Glue)"),
    "Apicurio": (b"\0" + (7).to_bytes(8, "big") + RAW, "Schema Registry framing (Apicurio)"),
    "Protobuf": (b"\x0a\x03t-1\x12\x02c1\x18\x80\xe6\xd4\xa5\xcb\x33", "Protobuf"),
    "Avro container": (b"Obj\x01\x04\x16avro.schema", "an Avro file"),
    "Avro, single object": (b"\xc3\x01" + bytes(8) + b"\x06t-1", "Avro with a single-object header"),
    "Avro alone": (b"\x06t-1\x04c1\xc0\x97\xe9\xaf\xa6\x67\x0c600000", "binary data, such as Avro"),
    "MessagePack": (msgpack.packb(EVENT), "MessagePack"),
    "CBOR": (b"\xa2\x68event_id\x63t-1\x69client_id\x62c1", "CBOR"),
    "BSON": ((lambda body: struct.pack("<i", len(body) + 5) + body + b"\0")(b"\x10a\0\x01\0\0\0"), "BSON"),
    "pickle": (pickle.dumps(EVENT), "pickle"),
    "Java": (b"\xac\xed\x00\x05sr", "Java's own serialization"),
    "Smile": (b":)\n\x01\xfa", "Smile"),
    "Parquet": (b"PAR1\x15\x04", "Parquet"),
    # letters
    "UTF-8 mark": (b"\xef\xbb\xbf" + RAW, "byte order mark (UTF-8)"),
    "UTF-16": (TEXT.encode("utf-16"), "byte order mark (UTF-16)"),
    "UTF-16, big end": (b"\xfe\xff" + TEXT.encode("utf-16-be"), "byte order mark (UTF-16)"),
    "UTF-32": (TEXT.encode("utf-32"), "byte order mark (UTF-32)"),
    "UTF-32, big end": (b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"), "byte order mark (UTF-32)"),
    "UTF-16, no mark": (TEXT.encode("utf-16-le"), "text in UTF-16"),
    "UTF-16, big end, no mark": (TEXT.encode("utf-16-be"), "text in UTF-16"),
    "UTF-32, no mark": (TEXT.encode("utf-32-le"), "text in UTF-32"),
    "UTF-32, big end, no mark": (TEXT.encode("utf-32-be"), "text in UTF-32"),
    "mark, twice encoded": ("\ufeff".encode().decode("latin-1").encode() + RAW, "byte order mark"),
    "GBK": ('{"event_id":"t1","note":"中文客户"}'.encode("gbk"), "GBK"),
    "Latin-1": ('{"note":"caf\u00e9"}'.encode("latin-1"), "not UTF-8"),
    "EBCDIC": (TEXT.encode("cp037"), "EBCDIC"),
    "surrogates in UTF-8": (b'{"note":"\xed\xa0\xbd\xed\xb8\x80"}', "surrogate pair"),
    "surrogate escaped": (b'{"note":"\\ud83d"}', "surrogate pair"),
    # compression
    "gzip": (gzip.compress(RAW), "gzip"),
    "zstd": (bytes(cramjam.zstd.compress(RAW)), "zstd"),
    "lz4": (bytes(cramjam.lz4.compress(RAW)), "lz4"),
    "snappy": (bytes(cramjam.snappy.compress(RAW)), "snappy"),
    "snappy alone": (bytes(cramjam.snappy.compress_raw(RAW)), "snappy"),
    "snappy of Java": (b"\x82SNAPPY\0" + bytes(8), "snappy"),
    "zlib": (zlib.compress(RAW), "zlib"),
    "bzip2": (bz2.compress(RAW), "bzip2"),
    "xz": (lzma.compress(RAW), "xz"),
    "zip": (b"PK\x03\x04\x14\0", "zip"),
    # other notations
    "XML": (b"<?xml version='1.0'?><trade/>", "XML"),
    "CSV": (b"t-1,c1,600000,buy\nt-2,c1,600000,sell", "CSV"),
    "CSV by semicolon": (b"t-1;c1;600000;buy", "CSV"),
    "form": (b"event_id=t-1&client_id=c1&side=buy", "web form"),
    "YAML": (b"event_id: t-1\nclient_id: c1\n", "YAML"),
    "logfmt": (b"event_id=t-1 client_id=c1", "name=value"),
    "Python": (repr(EVENT).encode(), "Python"),
    "Java's Map": (b"{event_id=t-1, client_id=c1}", "name=value"),
    "record of Java": (b"Trade[eventId=t-1, clientId=c1]", "name=value"),
    "Go": (b"map[event_id:t-1]", "Go prints"),
    "JavaScript": (b"{event_id: 't-1'}", "JavaScript"),
    "comment": (b'{"event_id": "t-1" /* id */}', "comment"),
    "comma too many": (b'{"event_id": "t-1",}', "comma too many"),
    "JSONP": (b'callback({"event_id":"t-1"})', "JSONP"),
    "guard": (b')]}\'\n{"event_id":"t-1"}', "guard for browsers"),
    "text sequence": (b"\x1e" + RAW, "text sequence"),
    "base64": (base64.b64encode(RAW), "JSON in base64"),
    "base64 for URLs": (base64.urlsafe_b64encode(b'{"a":"\xff\xfe???>>>"}'), "JSON in base64"),
    "base64 of gzip": (base64.b64encode(gzip.compress(RAW)), "base64"),
    "hexadecimal": (RAW.hex().encode(), "JSON in hexadecimal"),
    "URL": (b"%7B%22event_id%22%3A1%7D", "for a URL"),
    "JWT": (b"eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln", "JWT"),
    "FIX": (b"8=FIX.4.4\x019=12\x0135=8\x01", "FIX"),
    "PHP": (b'a:1:{s:8:"event_id";s:3:"t-1";}', "PHP"),
    # JSON but for one thing
    "cut off": (RAW[:-20], "ends in the middle"),
    "two events": (RAW + b"\n" + RAW, "several JSON values"),
    "two events, a blank line": (RAW + b"\r\n\r\n" + RAW + b"\n", "several JSON values"),
    "two events, a comma": (RAW + b"," + RAW, "several JSON values"),
    "zero bytes after": (RAW + bytes(30), "zero bytes after the JSON"),
    "something after": (RAW + b" end", "something after the JSON"),
    "control character": (b'{"event_id": "t\n1"}', "control character"),
    "too deep": (b'{"a":' * 300 + b"1" + b"}" * 300, "nested too deeply"),
    "too many digits": (b'{"amount_fen":' + b"9" * 5_000 + b"}", "thousands of digits"),
    "a leading zero": (b'{"amount_fen": 007}', "number"),
    "zero bytes": (bytes(40), "zero bytes"),
    "blanks": (b" \r\n ", "blanks"),
    "random": (bytes([7, 255, 130, 9, 200, 1, 3]), "binary data"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "named"), NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("topic", inbound_topics())
def test_bytes_that_are_not_json(topic, value, named):
    result = refused(topic, value)
    assert result.reason is Rejection.NOT_JSON
    assert named in result.error
    assert ": " in result.error  # the remedy follows
    assert SECRET not in result.error
    assert len(result.error) < 300


def connect(payload):
    return {"schema": {"type": "struct", "fields": []}, "payload": payload}


ROW = {"id": "7", "client": "c-1", "sym": "600000"}
CHANGE = {"before": None, "after": EVENT, "source": {"db": "x"}, "op": "c", "ts_ms": 1}
MAXWELL = {"database": "d", "table": "t", "type": "insert", "ts": 1, "xid": 3, "commit": True, "data": ROW}
CANAL = {"data": [ROW], "database": "d", "table": "t", "type": "INSERT", "es": 1, "ts": 2, "isDdl": False, "id": 4}
CLOUD = {"specversion": "1.0", "type": "trade", "source": "/x", "id": "1"}
ENVELOPE = Rejection.ENVELOPE
TYPE = Rejection.WRONG_TYPE
MISSING = Rejection.MISSING_FIELD
WRAPPED = {
    "Debezium": (CHANGE, ENVELOPE, "send what is in after"),
    "Debezium, bare": ({"before": None, "after": EVENT, "op": "c"}, ENVELOPE, "Debezium"),
    "Debezium, a deletion": ({"before": EVENT, "after": None, "op": "d"}, ENVELOPE, "before, after"),
    "Debezium in Connect": (connect(CHANGE), ENVELOPE, "within it, Debezium"),
    "Connect": (connect(EVENT), ENVELOPE, "schemas.enable=false"),
    "Connect, no schema": ({"schema": None, "payload": EVENT}, ENVELOPE, "schemas.enable=false"),
    "Maxwell": (MAXWELL, ENVELOPE, "Maxwell"),
    "Canal": (CANAL, ENVELOPE, "Canal"),
    "Canal, a schema's change": (CANAL | {"data": None, "isDdl": True}, ENVELOPE, "Canal"),
    "GoldenGate": ({"table": "T", "op_type": "I", "op_ts": "", "after": ROW}, ENVELOPE, "GoldenGate"),
    "DMS": ({"data": ROW, "metadata": {"operation": "insert"}}, ENVELOPE, "AWS DMS"),
    "MongoDB": ({"operationType": "insert", "fullDocument": ROW, "ns": {}}, ENVELOPE, "fullDocument"),
    "DynamoDB": ({"eventName": "INSERT", "dynamodb": {"NewImage": {}}}, ENVELOPE, "NewImage"),
    "CloudEvents": (CLOUD | {"data": EVENT}, ENVELOPE, "send what is in data"),
    "CloudEvents, base64": (CLOUD | {"data_base64": "eyJhIjoxfQ=="}, ENVELOPE, "CloudEvents"),
    "EventBridge": ({"detail-type": "trade", "source": "x", "detail": EVENT}, ENVELOPE, "detail"),
    "SNS": ({"Type": "Notification", "TopicArn": "x", "MessageId": "1", "Message": TEXT}, ENVELOPE, "Message"),
    "a house's own": ({"header": {"v": 1}, "body": EVENT}, ENVELOPE, "an envelope with the event in an object within"),
    "a house's own, as text": ({"meta": 1, "message": TEXT}, ENVELOPE, "an envelope"),
    "a list of events": ({"events": [EVENT, EVENT]}, ENVELOPE, "an envelope"),
    "array": ([EVENT, EVENT], TYPE, "JSON array"),
    "array of one": ([EVENT], TYPE, "JSON array"),
    "empty array": ([], TYPE, "JSON array"),
    "string": (TEXT, TYPE, "JSON within a JSON string"),
    "string of base64": (base64.b64encode(RAW).decode(), TYPE, "base64 in a JSON string"),
    "null": (None, TYPE, "null"),
    "number": (17, TYPE, "no object"),
    "empty": ({}, MISSING, "an empty object"),
    "another system's": ({"orderNo": SECRET, "qty": 7}, MISSING, "another system's"),
    "other letters": ({"eventId": "1", "clientId": "c-1", "TIME": NOW_MS}, MISSING, "written otherwise"),
    "blanks in names": ({f"{name} ": value for name, value in TRADE.items()}, MISSING, "written otherwise"),
    "Avro's JSON": ({"event_id": {"string": "t-1"}, "client_id": {"string": SECRET}}, TYPE, "as Avro writes it"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "reason", "named"), WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("topic", inbound_topics())
def test_json_that_is_not_the_event(topic, value, reason, named):
    result = refused(topic, json.dumps(value).encode())
    assert (result.reason, named in result.error) == (reason, True), result
    assert SECRET not in result.error
    assert len(result.error) < 300


@pytest.mark.parametrize("sent", list(GOOD))
@pytest.mark.parametrize("topic", list(GOOD))
def test_the_event_of_another_topic(sent, topic):
    """Also where little is needed: a trade is no login though it has all that a login needs."""
    result = take(topic, GOOD[sent])
    if sent == topic:
        assert isinstance(result, Taken)
    else:
        assert (result.reason, f"send it to the topic {sent}" in result.error) == (Rejection.WRONG_TOPIC, True), result


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        ("logins", LOGIN | {"type": "face_id", "symbol": "600000"}),
        ("logins", LOGIN | {"amount_fen": 5, "side": "left"}),
        ("logins", LOGIN | {"success": True, "language": "en"}),
        ("profiles", PROFILE | {"channel": "app"}),
        ("profiles", {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS}),
        ("balances", BALANCE | {"channel": "app", "success": True}),
        ("trades", TRADE | {"kind": "deposit", "assets_fen": 5, "note": {"symbol": "600000"}}),
        ("trades", TRADE | {"before": 1, "after": 2, "schema": 1, "payload": {}, "specversion": "1.0"}),
    ],
)
def test_fields_that_the_contract_does_not_name_do_no_harm(topic, fields):
    assert take(topic, fields) == Taken(event_of(topic, {n: v for n, v in fields.items() if n in named(topic)}))


def named(topic):
    return type(event_of(topic, GOOD[topic])).model_fields


@pytest.mark.parametrize(("topic", "within"), [("profiles", {"risk_level": "R1"}), ("logins", {"channel": "app"})])
@pytest.mark.parametrize("wrap", [lambda x: x, json.dumps, lambda x: [x], lambda x: {"row": x}])
def test_an_event_that_says_nothing_beside_an_object_that_says_it(topic, within, wrap):
    result = refused(topic, {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "data": wrap(within)})
    assert result.reason is Rejection.ENVELOPE


# -- beside the value --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (b'"c-1"', "in quotes"), (b"c-1\n", "blanks"), (b"c-1\0", "zero bytes"), (b"C-1", "capital"),
        (b"\0\0\0\0\x07c-1", "Schema Registry framing"), (b'{"client_id":"c-1"}', "JSON object"),
        ("c-1".encode("utf-16"), "byte order mark"), (b"\xef\xbb\xbfc-1", "byte order mark"), (b"\x06c-1", "Avro"),
        (b"c-2", "key every record by client_id"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_the_client(key, said):
    result = refused("logins", LOGIN, key=key)
    assert (result.reason, said in result.error) == (Rejection.KEY_MISMATCH, True), result


def test_a_key_of_a_number():
    result = refused("logins", LOGIN | {"client_id": "4711"}, key=(4711).to_bytes(8, "big"))
    assert "binary number" in result.error


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("ce_specversion", b"1.0"), ("ce_id", b"hunter2")], "CloudEvents in binary mode"),
        ([("ce-type", b"x")], "CloudEvents in binary mode"),
        ([("content-type", b"application/cloudevents+json; charset=utf-8")], "CloudEvents"),
        ([("Content-Encoding", b"gzip")], "gzip"),
        ([("contentType", b"application/vnd.kafka.avro.v2")], "avro"),
        ([("__value_schema_id", b"\x01hunter2")], "Schema Registry"),
        ([("apicurio.value.globalId", b"\0")], "Apicurio"),
        ([("trace", b"hunter2"), ("content-type", b"application/json")], None),
        ([("content-type", None)], None),
        ([], None),
    ],
)
def test_headers(headers, said):
    found = of_headers(headers)
    assert found is None if said is None else said in found
    assert SECRET not in (found or "")


@pytest.mark.parametrize(
    "value",
    [
        b"a=b," * 16_000 + b"\n=",
        b"a=b&" * 16_000 + b" ",
        b'{"a":' * 13_000,
        b"[" * 65_000,
        b"{'" * 32_000,
        b"/" * 65_000,
        b"a" * 65_001,
        b"\x0a\x00" * 32_000 + b"\xff",
        b"\x81" * 65_000,
        b"eyJ" + b"." * 65_000 + b"!",
        b"a: " * 21_000 + b"\x0b",
        (b'"' + b"[" * 60_000 + b'"'),
    ],
)
def test_diagnosis_takes_no_longer_than_the_value_is(value):
    """A pattern that goes back and forth would take hours."""
    assert isinstance(decode("trades", b"c-1", value, NOW_MS), Rejected)
    assert of_value(value) != ""

"""What cannot be read is put aside whole, harms nothing beside it, and can be sent once more."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import inbound_topics
from engine.core.firm_time import DAY_MS
from engine.operations.dead_letters import resend
from engine.rulefile.read.load import digest, read_directory
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from tests.kafka.installation import Installation, Record, Sent
from tests.kafka.worker_process import HUNG_S, eventually
from tests.rulefile.declaring import FILES
from tests.services.process import REPOSITORY

JULY_2025_MS = 1_751_328_000_000


def trade(client_id: str, number: int, **fields: object) -> bytes:
    value = {"event_id": f"T{number}", "client_id": client_id, "time": JULY_2025_MS + number * 1000, "symbol": "600000"}
    return json.dumps(value | {"side": "buy", "quantity": 100, "amount_fen": 1_000_000} | fields).encode()


def without(name: str, value: bytes) -> bytes:
    return json.dumps({key: field for key, field in json.loads(value).items() if key != name}).encode()


def spoiled(number: int, note: bytes) -> bytes:
    return trade("B1", number, note=0).replace(b'"note": 0', b'"note": ' + note)


BALANCE = {
    "event_id": "B",
    "client_id": "B1",
    "time": JULY_2025_MS,
    "kind": "deposit",
    "amount_fen": 1,
    "assets_fen": 1,
}
PROFILE = {"event_id": "P", "client_id": "B1", "time": JULY_2025_MS, "type": "household"}
BAD: list[tuple[Rejection, Sent]] = [
    (Rejection.TOO_LARGE, Sent("trades", b"B1", trade("B1", 1, note="x" * 65_536))),
    (Rejection.TOO_LARGE, Sent("trades", b"B1", b"\xff\x00" * 524_000)),  # 1 MB, as much as Kafka takes
    (Rejection.NO_KEY, Sent("trades", None, trade("B1", 2))),
    (Rejection.NO_KEY, Sent("trades", b"", trade("B1", 3))),
    (Rejection.NO_VALUE, Sent("trades", b"B1", None)),
    (Rejection.NOT_JSON, Sent("trades", b"B2", trade("B2", 4)[:-7])),
    (Rejection.NOT_JSON, Sent("logins", b"B3", b"\xff\xfe\x00")),
    (Rejection.MISSING_FIELD, Sent("trades", b"B1", without("symbol", trade("B1", 5)))),
    (Rejection.WRONG_TYPE, Sent("trades", b"B1", trade("B1", 6, amount_fen="100"))),
    (Rejection.WRONG_TYPE, Sent("balances", b"B1", b"[1]")),
    (Rejection.MISSING_FIELD, Sent("profiles", b"B1", without("event_id", json.dumps(PROFILE).encode()))),
    (Rejection.UNKNOWN_VALUE, Sent("trades", b"B1", trade("B1", 20, side="hold"))),
    (Rejection.OUT_OF_RANGE, Sent("trades", b"B1", trade("B1", 7, amount_fen=-100))),
    (Rejection.KEY_MISMATCH, Sent("trades", b"B1", trade("B2", 8))),
    (Rejection.UNKNOWN_TYPE, Sent("events", b"B1", json.dumps(BALANCE | {"type": "gala"}).encode())),
    (Rejection.FUTURE, Sent("trades", b"B1", trade("B1", 9, time="2099-01-01T00:00:00+08:00"))),
    # what is made to break a parser
    (Rejection.TOO_LARGE, Sent("trades", b"B1", b"[" * 1_000_000)),
    (Rejection.NOT_JSON, Sent("trades", b"B1", spoiled(10, b"[" * 30_000 + b"]" * 30_000))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", spoiled(11, b"1" * 5_000))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", spoiled(12, b'"\\ud800"'))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", spoiled(13, b'"\xed\xa0\x80"'))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", trade("B1", 14).decode().encode("utf-16"))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", b"\xef\xbb\xbf" + trade("B1", 15))),
    (Rejection.NOT_JSON, Sent("trades", b"B1", spoiled(16, '"客户"'.encode("gb18030")))),
    (Rejection.OUT_OF_RANGE, Sent("trades", b"B1", trade("B1", 17, amount_fen=10**400))),
    (Rejection.WRONG_TYPE, Sent("balances", b"B1", json.dumps(BALANCE | {"assets_fen": float("nan")}).encode())),
    (Rejection.WRONG_TYPE, Sent("trades", b"B1", trade("B1", 18, time=None))),
    (Rejection.WRONG_TYPE, Sent("trades", b"B1", b"null")),
    (Rejection.DUPLICATE_KEY, Sent("trades", b"B1", trade("B1", 19)[:-1] + b', "side": "hold"}')),
    (Rejection.ENVELOPE, Sent("trades", b"B1", b'{"before": null, "after": %b, "op": "c"}' % trade("B1", 23))),
    (Rejection.WRONG_TOPIC, Sent("balances", b"B1", trade("B1", 24))),
]

# an event means something without the field that cannot be read
SPARED: list[Sent] = [
    Sent("profiles", b"S1", json.dumps(PROFILE | {"client_id": "S1"}).encode()),
    Sent("trades", b"S1", trade("S1", 21, quantity=-100)),
    Sent("trades", b"S1", trade("S1", 22, quantity=10**400)),
    Sent("balances", b"S1", json.dumps(BALANCE | {"client_id": "S1", "margin_ratio": float("nan")}).encode()),
]


def place(record: Record) -> tuple[str, str, str, str]:
    return record.topic, str(record.partition), str(record.offset), str(record.timestamp_ms)


def origin(letter: Record) -> tuple[str, ...]:
    return tuple(letter.headers[f"engage_{name}"].decode() for name in ("topic", "partition", "offset", "timestamp"))


@pytest.mark.short
def test_each_kind_of_bad_record(engine: Installation) -> None:
    assert {reason for reason, _ in BAD} == set(Rejection)
    good = [Sent("trades", f"G{n}".encode(), trade(f"G{n}", n)) for n in range(len(BAD) + 1)]
    mixed = [record for n, (_, bad) in enumerate(BAD) for record in (good[n], bad)] + good[-1:] + SPARED
    engine.produce(mixed)
    worker = engine.worker().wait_ready()
    engine.settle()

    came = {(r.topic, r.key, r.value): r for r in engine.read(*inbound_topics())}
    letters = {origin(letter): letter for letter in engine.read("dead-letters")}
    assert len(letters) == len(BAD)
    for reason, sent in BAD:
        original = came[sent.topic, sent.key, sent.value]
        letter = letters[place(original)]
        assert (letter.key, letter.value) == (original.key, original.value), reason  # byte for byte
        assert letter.headers["engage_reason"].decode() == reason
        assert letter.headers["engage_error"]
    assert {letter.headers["engage_reason"].decode() for letter in letters.values()} == set(Rejection)

    assert worker.metric("engage_events_total") == len(good) + len(SPARED)  # the rest of the batch is unharmed
    assert worker.metric("engage_rejected_total") == len(BAD)
    assert worker.metric("engage_rejected_total", topic="logins", reason="not_json") == 1
    assert engine.states().startswith(f"clients {len(good) + 1}\n")
    worker.stop()

    listed = engine.engage("dead-letters", "list").stdout
    counts = {line.split()[0]: line.split()[1] for line in listed.splitlines() if not line.startswith(" ")}
    assert counts.items() >= {"too_large": "3", "future": "1"}.items()
    assert "balances: has the fields of a trade: send it to the topic trades" in listed
    jsons = [json.loads(line) for line in engine.engage("dead-letters", "list", "--json").stdout.splitlines()]
    assert Counter(letter["reason"] for letter in jsons) == Counter(reason.value for reason, _ in BAD)
    assert not any(letter["resent"] for letter in jsons)
    no_personal_data = worker.log.read_text()
    assert not any(name in no_personal_data for name in ('"B1"', '"G1"'))


def test_what_the_limits_of_kafka_let_through(engine: Installation) -> None:
    """A compressed record is far larger than its topic's max.message.bytes; and one has neither key nor value."""
    large = Sent("trades", b"B1", b"x" * 20_000_000)
    producer = engine.producer(**{"compression.type": "gzip", "message.max.bytes": 30_000_000})
    producer.produce(engine.settings.topic("trades"), key=large.key, value=large.value)
    assert producer.flush(120) == 0
    engine.produce([Sent("trades", None, None), Sent("trades", b"G1", trade("G1", 1))])
    worker = engine.worker().wait_ready()
    engine.settle()
    assert worker.metric("engage_events_total") == 1
    found = {letter["reason"]: letter for letter in letters_of(engine)}
    assert set(found) == {"too_large", "no_key"}
    assert b64decode(found["too_large"]["value"]) == large.value
    assert (found["no_key"]["key"], found["no_key"]["value"]) == (None, "")
    assert engine.engage("dead-letters", "resend", *(letter["id"] for letter in found.values())).returncode == 0
    engine.settle()
    assert Counter(letter["reason"] for letter in letters_of(engine)) == {"too_large": 2, "no_key": 2}
    worker.stop()


def letters_of(engine: Installation) -> list[dict[str, Any]]:
    done = engine.engage("dead-letters", "list", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_records_of_other_programs_on_the_topics_are_listed(engine: Installation) -> None:
    engine.produce(
        [
            Sent("dead-letters", b"k", b"v"),
            Sent(engine.settings.resent_topic.removeprefix(f"{engine.name}."), b"\xff", b"1"),
        ]
    )
    producer = engine.producer()
    for headers in (
        [("engage_reason", None)],
        [("engage_reason", b"\xff"), ("engage_topic", b"trades"), ("engage_partition", b"x")],
        [("engage_reason", b"no_value"), ("engage_topic", b"trades"), ("engage_timestamp", b"9" * 5_000)],
        [("engage_reason", b"no_value"), ("engage_topic", b"trades"), ("engage_encoding", b"gzip")],
    ):
        producer.produce(engine.settings.topic("dead-letters"), key=b"k", value=b"v", headers=headers)
    assert producer.flush(60) == 0
    assert len(letters_of(engine)) == 5
    assert engine.engage("dead-letters", "list").returncode == 0
    assert engine.engage("dead-letters", "resend", "--reason", "no_value").stdout.count("has no origin") == 2


def test_a_letter_that_comes_back_while_others_are_re_sent_waits(engine: Installation) -> None:
    """Letters without a key go to any partition, those that come back of a re-sent one, too."""
    worker = engine.worker().wait_ready()
    engine.produce([Sent("trades", None, b"%d" % number) for number in range(300)])
    engine.settle()
    done = engine.engage("dead-letters", "resend", "--reason", "no_key")
    assert len(done.stdout.splitlines()) == 300
    worker.stop()


def test_resend_once_each_even_when_two_do_it_at_once(engine: Installation) -> None:
    bad = [Sent("trades", f"C{n}".encode(), b"not json %d" % n) for n in range(30)]
    engine.produce(bad)
    worker = engine.worker().wait_ready()
    engine.settle()
    worker.stop()
    command = ("dead-letters", "resend", "--reason", "not_json")
    both = [engine.start(*command) for _ in range(2)]
    answers = [(*process.communicate(timeout=HUNG_S), process.returncode) for process in both]
    statuses = {status for *_, status in answers}
    assert 0 in statuses, answers
    assert statuses <= {0, 1}, answers
    assert not any(err.startswith("Traceback") for _, err, _ in answers), answers

    again = engine.engage(*command)  # whatever the two left
    assert "was re-sent before" in again.stdout
    once_more = engine.engage(*command)
    assert once_more.stdout.count("was re-sent before") == len(bad)
    copies = Counter((r.key, r.value) for r in engine.read("trades"))
    assert copies == Counter({(r.key, r.value): 2 for r in bad})  # the first time, and once again

    one = json.loads(engine.engage("dead-letters", "list", "--json").stdout.splitlines()[0])
    assert one["resent"] is True
    picked = engine.engage("dead-letters", "resend", one["id"], "0/999999")
    assert picked.returncode == 1
    assert f"{one['id']}: was re-sent before" in picked.stdout
    assert "0/999999: no such dead letter" in picked.stdout


class Overtaken(AIOKafkaProducer):
    """Another resend begins before its first send. That one is refused, and only then comes the second."""

    sent: asyncio.Future[Any] | None = None

    async def send(self, topic: str, *given: Any, **named: Any) -> asyncio.Future[Any]:
        if self.sent is None:
            rival = AIOKafkaProducer(
                bootstrap_servers=self.client._bootstrap_servers, transactional_id=self._txn_manager.transactional_id
            )
            await rival.start()
            await rival.stop()
        else:
            await asyncio.wait([self.sent])
        self.sent = await super().send(topic, *given, **named)
        return self.sent


async def test_a_resend_that_is_overtaken_between_a_letter_and_its_note_says_so(engine: Installation) -> None:
    engine.produce([Sent("trades", b"C1", b"not json")])
    worker = engine.worker().wait_ready()
    engine.settle()
    worker.stop()
    with pytest.raises(Refused, match="another resend began and took over after 0 letters"):
        await resend(engine.settings, Clients(producer=Overtaken), [], "not_json")
    assert [record.value for record in engine.read("trades")] == [b"not json"]


def test_schema_of_headers_names_every_header(engine: Installation) -> None:
    schema = json.loads((REPOSITORY / "schemas" / "dead-letter-headers.json").read_text())
    engine.produce([Sent("trades", b"C1", b"{")])
    engine.worker().wait_ready()
    engine.settle()
    (letter,) = engine.read("dead-letters")
    assert set(letter.headers) == set(schema["properties"]) - {"engage_encoding"} == set(schema["required"])


def test_what_was_declared_too_late_is_brought_in_at_its_own_time(engine: Installation) -> None:
    """An event of a type that no rule declares waits; declared and sent again, it counts where it belongs, once."""
    before, after = engine.directory / "before", engine.directory / "after"
    bare = {"features.yaml": "features:\n", "tiers.yaml": "{}\n", "rules.yaml": "rules: []\n"}
    for directory, files in ((before, FILES | bare), (after, FILES)):
        directory.mkdir()
        for name, text in files.items():
            if directory == after or name not in ("events.yaml", "definitions.yaml"):
                (directory / name).write_text(text, encoding="utf-8")
    about = {"client_id": "L1", "type": "ipo_allotment", "symbol": "600000", "board": "main"}
    old = about | {"event_id": "a1", "time": JULY_2025_MS, "shares": 300}
    new = about | {"event_id": "a2", "time": JULY_2025_MS + 10 * DAY_MS, "shares": 200}
    profile = PROFILE | {"client_id": "L1", "type": "individual", "consents": {"app_push": True}}
    engine.produce([Sent("profiles", b"L1", json.dumps(profile).encode())])
    engine.produce([Sent("events", b"L1", json.dumps(old).encode())])
    worker = engine.worker(rules=None)
    assert engine.engage("publish", str(before), "--note", "none", "--as", "ann").returncode == 0
    worker.wait_ready()
    engine.settle()
    assert [letter["reason"] for letter in letters_of(engine)] == ["unknown_type"]

    assert engine.engage("publish", str(after), "--note", "declared", "--as", "ann").returncode == 0
    eventually(lambda: "active" in engine.engage("rules", "history").stdout, "the rules are active")
    eventually(lambda: worker.metric("engage_rule_set_partitions", digest=digest(read_directory(after))) > 0, "in use")
    engine.produce([Sent("events", b"L1", json.dumps(new).encode())])
    engine.settle()
    for _ in range(2):
        assert engine.engage("dead-letters", "resend", "--reason", "unknown_type").returncode == 0
    engine.settle()
    last = about | {"event_id": "a3", "time": JULY_2025_MS + 20 * DAY_MS, "shares": 100}
    engine.produce([Sent("events", b"L1", json.dumps(last).encode())])
    engine.settle()
    assert Counter(letter["reason"] for letter in letters_of(engine)) == {"unknown_type": 1}
    sent = [json.loads(r.value or b"") for r in engine.read("messages")]
    assert [(m["cause"]["event_id"], m["parameters"]["in_all"]) for m in sent] == [("a2", 200), ("a3", 600)]
    shown = json.loads(engine.engage("client", "L1", "--json").stdout)
    assert shown["last_event"]["ipo_allotment"] == rfc3339(JULY_2025_MS + 20 * DAY_MS)
    assert [late["topic"] for late in shown["late_events"]] == ["ipo_allotment"]

    # a feature over its past: what was refused at first counts as it counted then, when it was sent again
    longer = FILES["features.yaml"] + (
        "  allotted_60d: {source: ipo_allotment, aggregate: sum, field: shares, window: 60d}\n"
    )
    asking = FILES["rules.yaml"].replace("in_all: allotted_30d", "in_all: allotted_60d")
    for name, changed in (("longer", {}), ("asking", {"rules.yaml": asking})):
        directory = engine.directory / name
        directory.mkdir()
        for file, text in (FILES | {"features.yaml": longer} | changed).items():
            (directory / file).write_text(text, encoding="utf-8")
        assert engine.engage("publish", str(directory), "--note", name, "--as", "ann").returncode == 0
        use = digest(read_directory(directory))
        eventually(lambda use=use: worker.metric("engage_rule_set_partitions", digest=use) > 0, "in use")
        if name == "longer":
            filled = engine.engage("backfill", "allotted_60d")
            assert filled.returncode == 0, filled.stderr
    later = about | {"event_id": "a4", "time": JULY_2025_MS + 30 * DAY_MS, "shares": 100}
    engine.produce([Sent("events", b"L1", json.dumps(later).encode())])
    engine.settle()
    sent = [json.loads(r.value or b"") for r in engine.read("messages")]
    assert [(m["cause"]["event_id"], m["parameters"]["in_all"]) for m in sent][-1] == ("a4", 700)
    worker.stop()

    replayed = engine.engage("replay", "--from-ledger")
    assert replayed.returncode == 0, replayed.stderr
    assert "differences 0" in replayed.stderr

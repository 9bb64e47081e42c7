"""A broker's whole traffic, bad records among it, decided by two workers by the wall clock: what others get of it."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator

import jsonschema
import pytest

from engine.core.client.sections import unpack
from engine.core.contract.outbound import OUTBOUND, Outcome, is_action
from engine.core.contract.topics import OWN, TOPICS
from engine.core.policy.outcomes import COUNTED as COUNTED_SINCE
from engine.core.policy.outcomes import OUTCOME
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.reading import NO_RULES
from tests.core.making import shipped_plan
from tests.kafka.conftest import action_of, as_sent, simulated
from tests.kafka.installation import Installation, Record, by_client
from tests.kafka.worker_process import eventually
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

pytestmark = pytest.mark.short

SCHEMAS = REPOSITORY / "schemas"
COUNTED: Counter[str] = Counter()  # what the run's metrics say of decisions, by outcome


@pytest.fixture(scope="module")
def run(
    kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """60 days of 150 clients, 5% of the records bad, then timers by today's clock; the workers have stopped."""
    directory = tmp_path_factory.mktemp("mixed")
    engine = Installation("mixed", kafka_broker.bootstrap, redis_server.url, directory, clock="wall").create_topics()
    lines = simulated(clients=150, days=60, bad_share=0.05)
    workers = [engine.worker(ENGAGE_BATCH_RECORDS=500).wait_ready() for _ in range(2)]
    eventually(lambda: engine.metric("engage_partitions_assigned") == 4, "the partitions are shared out")
    engine.produce(map(as_sent, lines))
    engine.settle()
    eventually(lambda: engine.metric("engage_ticks_total") > 3, "timers have run")
    eventually(lambda: overdue(engine) == 0, "nothing is due any more")
    assert all(worker.metric("engage_units_total") > 0 for worker in workers)
    COUNTED.update({outcome: int(engine.metric("engage_decisions_total", outcome=outcome)) for outcome in Outcome})
    for worker in workers:
        worker.stop()
    yield engine
    engine.end()


def overdue(engine: Installation) -> int:
    now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    with engine.redis() as client:
        return sum(int(client.zcount(f"{{{engine.name}:{p}}}:due", "-inf", now_ms)) for p in range(4))


@pytest.fixture(scope="module")
def published(run: Installation) -> list[Record]:
    return run.published()


def schema(name: str) -> jsonschema.Draft202012Validator:
    found = json.loads((SCHEMAS / name).read_text())
    return jsonschema.Draft202012Validator(found, format_checker=jsonschema.FormatChecker())


def test_replay_from_the_ledger(run: Installation, published: list[Record]) -> None:
    """Same actions in the same order for each client, same states, no difference."""
    replayed = run.engage("replay", "--from-ledger")
    assert replayed.returncode == 0, replayed.stderr
    summary = dict(line.split(" ", 1) for line in replayed.stderr.splitlines())
    assert summary["differences"] == "0"
    assert int(summary["units"]) > 20
    assert int(summary["rejected"]) == len(run.read("dead-letters")) > 100
    assert by_client(map(action_of, replayed.stdout.splitlines())) == run.actions()
    assert f"clients {summary['clients']}\nstates {summary['states']}\n" == run.states()
    assert {r.topic for r in published} == set(OUTBOUND)


def test_every_id_once(published: list[Record]) -> None:
    ids = Counter(r.json["id"] for r in published)
    assert len(ids) == len(published) > 100
    causes = {(r.json["cause"]["type"]) for r in published}
    # outcomes and receipts are acted on when they are the third or so of their kind, which few clients need not have
    # and there are neither pools nor budgets here; there are types of own events, too
    assert {*TOPICS, "timer"} - {"outcomes", "receipts", *OWN} <= causes


def test_outbound_values_and_headers(published: list[Record]) -> None:
    """CloudEvents 1.0 in Kafka's binary mode; values as schemas/ has them, by a validator that is not pydantic."""
    validators = {topic: schema(f"{topic}.json") for topic in (*OUTBOUND, "care")}
    of_lists = shipped_plan().timed.listed  # rules whose actions nothing else waits for
    for record in published:
        headers = {name: value.decode() for name, value in record.headers.items()}
        by_itself = record.topic in ("tier-changes", "decisions")
        of_care = not by_itself and not is_action(record.headers)  # a word on an action
        kind = record.topic if by_itself else "care" if of_care else record.json["kind"]
        validator = validators["care" if of_care else record.topic]
        validator.validate(record.json)
        assert headers.pop("ce_follows", None) == (record.json["follows"] if of_care else None)
        listed = not by_itself and not of_care and record.json["rule_id"] in of_lists
        assert headers.pop("ce_leaves", None) == (record.json["expires_at"] if listed else None)
        assert headers == {
            "ce_specversion": "1.0",
            "ce_id": record.json["id"],
            "ce_source": "urn:engage",
            "ce_type": f"engage.{kind.removesuffix('s')}.v1",
            "ce_time": record.json["time"],
            "ce_subject": record.json["client_id"],
            "ce_dataschema": validator.schema["$id"],
            "content-type": "application/json",
        }
        assert (record.key or b"").decode() == record.json["client_id"]


def test_outbound_keys_are_partitioned_as_murmur2(run: Installation, published: list[Record]) -> None:
    """librdkafka's murmur2_random put the client's events on the same partition."""
    partition_of = {r.key: r.partition for r in run.read("profiles") if r.key and r.value}
    assert set(partition_of.values()) == set(range(4))
    for record in published:
        assert record.partition == partition_of[record.key]


def test_client_records_in_redis(run: Installation, published: list[Record]) -> None:
    validator = schema("client-record.json")
    public = validator.schema["required"]  # the others are a portrait's, which this run has not
    with run.redis() as client:
        keys = sorted(client.scan_iter(f"{{{run.name}:*}}:client:*", count=1000))
        assert len(keys) > 100
        records = {key.decode(): client.hgetall(key) for key in keys}
    for fields in records.values():
        validator.validate({name: fields[name.encode()].decode() for name in public})

    key = f"{{{run.name}:{published[0].partition}}}:client:{published[0].json['client_id']}"
    shown = run.engage("client", published[0].json["client_id"], "--json")
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert told["redis_key"] == key
    assert {name: told[name] or "" for name in public} == {n: records[key][n.encode()].decode() for n in public}
    assert told["client_type"]
    changes = [r.json for r in published if r.topic == "tier-changes" and r.json["client_id"] == told["client_id"]]
    assert [h["to"] for h in reversed(told["tier_history"])][-1:] == [c["to_tier"] for c in changes][-1:]
    screen = run.engage("client", told["client_id"])
    assert told["client_id"] in screen.stdout
    assert run.engage("client", "NOBODY").returncode == 1


def test_what_became_of_a_client(run: Installation, published: list[Record]) -> None:
    by_key = Counter(record.key for record in published if record.topic == "decisions")
    client_id = (by_key.most_common(1)[0][0] or b"").decode()
    shown = run.engage("decisions", client_id, "--json", "--days", "1")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    told = [r.json for r in published if r.topic == "decisions" and r.json["client_id"] == client_id]
    assert [one["id"] for one in reversed(found["decisions"])] == [one["id"] for one in told]
    assert all(one["title"] for one in found["decisions"])
    screen = run.engage("decisions", client_id)
    assert f"client {client_id} at " in screen.stdout
    assert run.engage("decisions", "NOBODY").returncode == 1


def test_actions_decisions_and_metrics_agree(run: Installation, published: list[Record]) -> None:
    decisions = [record.json for record in published if record.topic == "decisions"]
    begun = [one for one in decisions if one.get("kind") == "journey"]  # what it sends are its acts
    sent = Counter(one["action_id"] for one in decisions if one["outcome"] == "sent" and one not in begun)
    acted = (r for r in published if r.topic not in ("tier-changes", "decisions") and is_action(r.headers))
    assert sent == Counter(record.json["id"] for record in acted)
    told = Counter(one["outcome"] for one in decisions)
    for folded in (folded for one in decisions for folded in one.get("folded", ())):
        told[folded["outcome"]] += folded["times"]
    with run.redis() as redis:
        for key in redis.scan_iter(f"{{{run.name}:*}}:client:*", count=1000):
            client = unpack(NO_RULES.layout, redis.hget(key, STATE_FIELD))
            for one in client.recent:
                told[one[OUTCOME]] += sum(one[COUNTED_SINCE:])
    assert told == +COUNTED
    assert told["cooldown"] > told["held"] > 0


def test_no_client_is_named_in_the_logs(run: Installation) -> None:
    clients = {r.key.decode() for r in run.read("profiles") if r.key}
    text = "".join(worker.log.read_text() for worker in run.workers)
    assert text
    assert not [client_id for client_id in clients if f'"{client_id}"' in text or f" {client_id} " in text]

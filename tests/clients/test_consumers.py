"""The sample consumers in three languages, on Apache Kafka: each action once, none too late, none of an aborted
transaction, and nothing that only follows an action.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services import kafka as services
from tests.services.kafka import KafkaBroker
from tests.services.process import CACHE, REPOSITORY

pytestmark = pytest.mark.clients

SAMPLES = REPOSITORY / "examples/consumers"
ALERT = json.loads((REPOSITORY / "README.md").read_text().split("```json\n")[2].partition("```")[0])


def python() -> list[str]:
    return [sys.executable, str(SAMPLES / "consumer.py")]


def java() -> list[str]:
    return [services.java(), "-cp", f"{services.jars()}/*", str(SAMPLES / "Consumer.java")]


def go() -> list[str]:
    if not shutil.which("go"):
        pytest.skip("needs Go")
    program = CACHE / "clients/consumer-go"
    subprocess.run(["go", "build", "-o", program, "."], cwd=SAMPLES / "go", check=True, capture_output=True)
    return [str(program)]


@pytest.fixture(scope="module")
def alerts(kafka_broker: KafkaBroker) -> str:
    address = kafka_broker.bootstrap
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("sample-alerts", 1)])["sample-alerts"].result()
    producer = Producer({"bootstrap.servers": address, "transactional.id": "samples"})
    producer.init_transactions()
    later = "2100-01-01T00:00:00.000Z"
    for commits, client_id, kind, more in (
        (False, "C0", "alert", {"id": "x", "expires_at": later}),
        (True, "C1", "alert", {"id": "a", "expires_at": later}),
        (True, "C1", "alert", {"id": "a", "expires_at": later}),  # again: the same decision
        (True, "C1", "care", {"id": "a1", "step": "reminded", "follows": "a"}),
        (True, "C2", "alert", {"id": "b", "expires_at": "2020-01-01T00:00:00.000Z"}),  # too late
        (True, "C1", "retraction", {"id": "a2", "action_id": "a"}),
        (True, "C3", "alert", {"id": "c", "expires_at": later}),
    ):
        producer.begin_transaction()
        value = {name: ALERT[name] for name in ("time", "rule_id", "title")} | {"client_id": client_id, **more}
        headers = {"ce_type": f"engage.{kind}.v1"}
        producer.produce("sample-alerts", key=client_id, value=json.dumps(value), headers=headers)
        producer.flush()
        producer.commit_transaction() if commits else producer.abort_transaction()
    return address


@pytest.mark.parametrize("command", [python, java, go], ids=lambda command: command.__name__)
def test_each_action_is_delivered_once_and_none_too_late(
    alerts: str, command: Callable[[], list[str]], tmp_path: Path
) -> None:
    arguments = [*command(), alerts, "sample-alerts"]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout
            said = [process.stdout.readline() for _ in range(2)]
        finally:
            process.kill()
            process.communicate()
    assert said == [f"C1: {ALERT['title']}\n", f"C3: {ALERT['title']}\n"], (tmp_path / "errors").read_text()[-2000:]

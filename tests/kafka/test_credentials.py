"""A worker ends with what to look at when Kafka or Redis refuse its address, its user, its password or its rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import Installation
from tests.services.kafka import KafkaBroker
from tests.services.process import free_port


@pytest.mark.short
def test_wrong_redis_password(engine: Installation) -> None:
    with engine.redis() as client:
        client.acl_setuser("operator", enabled=True, passwords=["+right"], keys=["*"], commands=["+@all"])
    address = engine.settings.redis.get_secret_value().removeprefix("redis://")
    text = engine.refusal(ENGAGE_REDIS=f"redis://operator:wrong@{address}")
    assert "Redis refuses the credentials" in text
    assert "ENGAGE_REDIS" in text
    assert "wrong@" not in text


@pytest.mark.short
def test_missing_redis_rights(engine: Installation) -> None:
    with engine.redis() as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+right"], keys=["*"], commands=["+@read", "+@connection"]
        )
    address = engine.settings.redis.get_secret_value().removeprefix("redis://")
    text = engine.refusal(ENGAGE_REDIS=f"redis://reader:right@{address}")
    assert "Redis refuses the credentials" in text
    assert "right@" not in text


def test_rights_missing_within_a_script(ran: Installation, trades: Offline) -> None:
    with ran.redis() as client:
        client.acl_setuser("scripts", enabled=True, passwords=["+right"], keys=["*"], commands=["+@all", "-hset"])
    address = ran.settings.redis.get_secret_value().removeprefix("redis://")
    ran.produce(trades.records[400:410])
    assert "Redis refuses the credentials" in ran.refusal(ENGAGE_REDIS=f"redis://scripts:right@{address}")


def test_an_address_of_redis_with_an_option_that_its_client_refuses(engine: Installation) -> None:
    text = engine.refusal(ENGAGE_REDIS="redis://:secret@127.0.0.1:1/0?socket_timeout=secret")
    assert text == "the address of Redis is not a URL such as redis://USER:PASSWORD@HOST:6379/0\n"


def test_no_such_database_in_redis(engine: Installation) -> None:
    url = engine.settings.redis.get_secret_value().removesuffix("/0") + "/999"
    assert "Redis has no such database" in engine.refusal(ENGAGE_REDIS=url)


@pytest.fixture(scope="module")
def sasl_broker() -> Iterator[tuple[KafkaBroker, str]]:
    """A broker that also listens where a user and a password are asked for."""
    port, asks, controller = free_port(), free_port(), free_port()
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_engage="right";'
    config = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},ASKS://127.0.0.1:{asks},CONTROLLER://127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,ASKS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.asks.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.asks.plain.sasl.jaas.config": login,
    }
    with KafkaBroker(port=port, controller_port=controller, config=config) as broker:
        yield broker, f"127.0.0.1:{asks}"


def test_kafka_credentials(install: MakeInstallation, sasl_broker: tuple[KafkaBroker, str]) -> None:
    broker, address = sasl_broker
    engine = install(kafka=broker.bootstrap).create_topics(1)
    right = {
        "ENGAGE_KAFKA": address,
        "ENGAGE_KAFKA_SECURITY": "SASL_PLAINTEXT",
        "ENGAGE_KAFKA_USERNAME": "engage",
        "ENGAGE_KAFKA_PASSWORD": "right",
    }
    for wrong in ({"ENGAGE_KAFKA_PASSWORD": "wrong"}, {"ENGAGE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}):
        text = engine.refusal(**(right | wrong))
        assert "Kafka refuses the credentials" in text
        assert "ENGAGE_KAFKA_USERNAME, ENGAGE_KAFKA_PASSWORD" in text
    topics = engine.engage("topics", **(right | {"ENGAGE_KAFKA_PASSWORD": "wrong"}))
    assert topics.returncode == 1
    assert "Kafka refuses the credentials" in topics.stderr
    engine.worker(**right).wait_ready().stop()

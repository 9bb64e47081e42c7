"""Settings: which source wins, that secrets are not shown, and that an error says where a setting can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.odd import unknown_variables
from engine.runtime.settings import Settings, SettingsError, load


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ENGAGE_{name.upper()}", raising=False)
    return tmp_path / "settings.yaml"


def refused(file: Path, **given: object) -> str:
    with pytest.raises(SettingsError) as error:
        load(file, **given)
    return str(error.value)


def test_command_line_over_environment_over_file_over_default(file, monkeypatch):
    file.write_text("kafka: file:1\nprefix: file-\nweb_port: 1\n")
    monkeypatch.setenv("ENGAGE_KAFKA", "environment:1")
    monkeypatch.setenv("ENGAGE_WEB_PORT", "2")
    settings = load(file, web_port="3", app_id=None)
    assert (settings.web_port, settings.kafka, settings.prefix) == (3, "environment:1", "file-")
    assert settings.app_id == "engage"  # None: not given


def test_without_a_file(file):
    assert load() == Settings()
    file.write_text("# nothing yet\n")
    assert load(file) == Settings()


@pytest.mark.parametrize("shown", [repr, str, lambda s: s.model_dump_json(), lambda s: f"{s.redis} {s.kafka_password}"])
def test_secrets_are_not_shown(file, shown):
    file.write_text("redis: redis://:hunter2@example:6379/0\nkafka_password: hunter2\n")
    settings = load(file)
    assert "hunter2" not in shown(settings)
    assert settings.redis.get_secret_value() == "redis://:hunter2@example:6379/0"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("ENGAGE_KAFKA=h:1 engage_redis=redis://h/0 PATH=x ENGAGED=x", []),
        ("ENGAGE_KAKFA=h:1", ["ENGAGE_KAKFA: did you mean ENGAGE_KAFKA?"]),
        ("engage_prefx=y", ["engage_prefx: did you mean ENGAGE_PREFIX?"]),
        ("ENGAGE_APPID=x", ["ENGAGE_APPID: did you mean ENGAGE_APP_ID?"]),
        ("ENGAGE_KAFKA_PASSWD=secret", ["ENGAGE_KAFKA_PASSWD: did you mean ENGAGE_KAFKA_PASSWORD?"]),
        ("ENGAGE_COLOUR=red ENGAGE_=x", ["ENGAGE_", "ENGAGE_COLOUR"]),
        # by Kubernetes, for a Service engage and others
        ("ENGAGE_SERVICE_HOST=10.0.0.1 ENGAGE_SERVICE_PORT=80 ENGAGE_SERVICE_PORT_METRICS=80", []),
        ("ENGAGE_PORT=tcp://10.0.0.1:80 ENGAGE_PORT_80_TCP=tcp://10.0.0.1:80 ENGAGE_PORT_80_TCP_PORT=80", []),
        ("ENGAGE_PORT_80_TCP_ADDR=10.0.0.1 ENGAGE_PORT_53_UDP_PROTO=udp ENGAGE_REDIS_PORT_6379_TCP=tcp://h:1", []),
        ("ENGAGE_WORKER_SERVICE_HOST=10.0.0.1 ENGAGE_WORKER_PORT=tcp://10.0.0.1:80", []),
        ("ENGAGE_WEBPORT=80", ["ENGAGE_WEBPORT: did you mean ENGAGE_WEB_PORT?"]),
        ("ENGAGE_WBE_PORT=80", ["ENGAGE_WBE_PORT: did you mean ENGAGE_WEB_PORT?"]),
        (" ".join(f"ENGAGE_{n:02}=x" for n in range(25)), [*(f"ENGAGE_{n:02}" for n in range(10)), "and 15 more"]),
    ],
)
def test_variables_that_name_no_setting_are_reported(variables: str, said: list[str]):
    assert unknown_variables(dict(variable.split("=") for variable in variables.split())) == said


def test_an_error_names_the_place_that_the_value_came_from(file, monkeypatch):
    assert refused(Path("/nowhere/settings.yaml")) == "/nowhere/settings.yaml: no such settings file"
    file.write_text("batch_records: 0\nunit_age_s: 99\nweb_port: 1\n")
    monkeypatch.setenv("ENGAGE_UNIT_AGE_S", "0")
    assert refused(file, web_port="http").splitlines() == [
        "web_port: Input should be a valid integer, unable to parse string as an integer (option --web-port)",
        f"batch_records: Input should be greater than or equal to 1 ({file})",
        "unit_age_s: Input should be greater than 0 (environment ENGAGE_UNIT_AGE_S)",
    ]


def test_settings_that_need_each_other(file):
    said = "settings: kafka_security SASL_SSL needs kafka_username and kafka_password as well"
    file.write_text("kafka_security: SASL_SSL\nkafka_username: engage\n")
    assert refused(file) == said
    file.write_text("kafka_ca_file: /nowhere/ca.pem\n")
    assert refused(file) == f"kafka_ca_file: Path does not point to a file ({file})"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kafak: x\n", "kafak: Extra inputs are not permitted"),
        ("1: x\n", "1: Extra inputs are not permitted"),
        ("- kafka\n", "settings.yaml: needs lines such as `kafka: 127.0.0.1:9092`"),
        ("just text\n", "settings.yaml: needs lines such as"),
        ("kafka: [x\n", "settings.yaml:2:1: not YAML"),
        ("a: 1\na: 2\n", "settings.yaml:2:1: not YAML"),
        ("prefix: 'with space'\n", "prefix: String should match pattern"),
        ("clock: sundial\n", "clock: Input should be 'wall' or 'event'"),
    ],
)
def test_a_wrong_file(file, text, said):
    file.write_text(text)
    assert said in refused(file)


@pytest.mark.parametrize(
    "text",
    [
        "redis: [hunter2]\nkafka_password: {hunter2: 1}\n",
        "kafka_password: hunter2: x\n",
        "kafka_password: hunter2\nkafka_password: hunter2\n",
        "kafka_password: 'hunter2\n",
        "hunter2\n",
    ],
)
def test_an_error_shows_no_value(file, text):
    file.write_text(text)
    assert "hunter2" not in refused(file)


def test_a_file_that_is_no_text(file):
    file.write_bytes(b"kafka: \xff")
    assert "not a readable file of UTF-8 text" in refused(file)


@pytest.mark.parametrize("servers", ["", "host", "host:", ":9092", "host:0", "host:99999", "host:x", "a:1,", "host:１"])
def test_addresses_of_kafka_that_are_none(servers):
    with pytest.raises(SettingsError, match=r"kafka: .*needs HOST:PORT"):
        load(kafka=servers)


def test_a_file_without_certificates(file):
    with pytest.raises(SettingsError, match=r"kafka_ca_file: .*no file of certificates"):
        load(kafka_ca_file=__file__)


def test_a_deadline_within_which_a_silent_redis_would_pass_for_a_hang():
    load(unit_deadline_s=40.0)
    with pytest.raises(
        SettingsError, match=r"settings: .*unit_deadline_s must be at least transaction_timeout_s \+ 30"
    ):
        load(unit_deadline_s=39.0)
    with pytest.raises(SettingsError):
        load(transaction_timeout_s=31.0)


def test_names_of_topics():
    settings = load(prefix="cn.", app_id="eu")
    assert settings.topic("trades") == "cn.trades"
    internal = (settings.topic("rerouted"), settings.ledger_topic, settings.rule_set_topic, settings.resent_topic)
    assert internal == ("cn.eu-rerouted", "cn.eu-ledger", "cn.eu-rule-sets", "cn.eu-resent")


def test_credentials_reach_the_kafka_client():
    plain = load().kafka_client()
    assert "sasl_plain_password" not in plain
    assert "ssl_context" not in plain
    secured = load(kafka_security="SASL_SSL", kafka_username="engage", kafka_password="hunter2").kafka_client()
    assert (secured["sasl_plain_username"], secured["sasl_plain_password"]) == ("engage", "hunter2")
    assert secured["ssl_context"].check_hostname

"""Clients of the contract as public generators make them from AsyncAPI, in two languages, against a running engine.

The generators are installed by `make test-clients`. Each client sends what came back, the shipped rules act on it, and
the client reads the action by its generated types and answers it.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, inbound_topics
from engine.demo.embedded import PARTITIONS, EmbeddedKafka, EmbeddedRedis
from tests.kafka.installation import Installation
from tests.kafka.worker_process import HUNG_S
from tests.services.process import CACHE, REPOSITORY

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
TOOLS = CACHE / "clients"
ASYNCAPI = REPOSITORY / "schemas/asyncapi.yaml"
PYTHON_OPTIONS = (
    *(
        "--input-file-type",
        "asyncapi",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--target-python-version",
        "3.11",
    ),
    *("--use-annotated", "--formatters", "builtin", "--disable-warnings"),
)
NO_NAME = re.compile(r"anonymous|reserved|\d", re.IGNORECASE)  # what generators call what has no name of its own


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HUNG_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tools() -> Path:
    if not shutil.which("npm"):
        pytest.skip("generating clients needs node and npm: apt-get install nodejs npm")
    if not (TOOLS / ".ready").exists():
        pytest.skip("the generators are not installed: make test-clients")
    return TOOLS


@pytest.fixture(scope="module")
def python_client(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("python")
    generated = directory / "contract.py"
    run(tools / "bin/datamodel-codegen", "--input", ASYNCAPI, "--output", generated, *PYTHON_OPTIONS)
    shutil.copy(HERE / "client.py", directory)
    return directory


@pytest.fixture(scope="module")
def typescript_client(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("typescript")
    (directory / "node_modules").symlink_to(tools / "node_modules")
    for name in ("generate.mjs", "client.ts"):
        shutil.copy(HERE / name, directory)
    run("node", directory / "generate.mjs", ASYNCAPI, directory / "contract")
    run(*compiler(tools), directory / "client.ts")
    return directory


def compiler(tools: Path) -> list[str]:
    options = ["--strict", "--skipLibCheck", "--types", "node", "--typeRoots", str(tools / "node_modules/@types")]
    return [str(tools / "node_modules/.bin/tsc"), *options, "--target", "es2022", "--module", "commonjs"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A worker with the shipped rules, ready, on a broker in this process."""
    with EmbeddedKafka() as kafka, EmbeddedRedis() as redis:
        installation = Installation("clients", kafka.address, redis.url, tmp_path_factory.mktemp("engine"))
        settings = installation.settings
        kafka.create_topics(map(settings.topic, [*inbound_topics(), *OUTBOUND, DEAD_LETTERS]))
        kafka.create_topics([settings.ledger_topic, settings.rule_set_topic])
        installation.partitions = PARTITIONS
        installation.worker().wait_ready()
        yield installation
        installation.end()


def ran(engine: Installation, client_id: str, *command: object, **environment: str) -> list[dict[str, Any]]:
    """The actions that the client printed, each as the engine published it; nothing of the client was refused."""
    arguments = (engine.settings.kafka, engine.settings.topic(""), client_id)
    printed = [json.loads(line) for line in run(*command, *arguments, **environment).splitlines()]
    engine.settle()
    assert engine.read(DEAD_LETTERS) == []
    assert engine.metric("engage_unread_fields_total") == 0
    published = {record.json["id"]: record.json for record in engine.published()}
    for action in printed:
        assert action["client_id"] == client_id
        assert moments(action) == moments(published[action["id"]])
    return printed


def moments(value: Any) -> Any:
    """With times as such: pydantic writes the milliseconds of one in its own way."""
    if isinstance(value, dict):
        return {key: moments(part) for key, part in value.items()}
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        return dt.datetime.fromisoformat(value)
    return value


def test_python(engine: Installation, python_client: Path) -> None:
    call, address, alert = ran(
        engine, "C-python", sys.executable, python_client / "client.py", PYTHONPATH=str(python_client)
    )
    assert call["parameters"] == {
        "survey": "half-year-survey/ask",
        "nps": 3,
        "csat": None,
        "ces": None,
        "answers": "app_slow",
        "comment": "Too dear.",
    }
    assert [call["kind"], address["kind"], alert["kind"]] == ["task", "task", "alert"]
    assert [one["cause"]["event_id"] for one in (call, address, alert)] == ["python-1", "python-3", "python-5"]


def test_typescript(engine: Installation, typescript_client: Path) -> None:
    thanks, address, alert = ran(engine, "C-typescript", "node", typescript_client / "client.js")
    assert thanks["channel"] == "app_push"
    assert thanks["parameters"] == {"nps": 9}
    assert [thanks["kind"], address["kind"], alert["kind"]] == ["message", "task", "alert"]
    assert [one["cause"]["event_id"] for one in (thanks, address, alert)] == [
        "typescript-2",
        "typescript-4",
        "typescript-6",
    ]


def test_what_is_generated_has_the_names_of_the_contract(python_client: Path, typescript_client: Path) -> None:
    classes = re.findall(r"^class (\w+)", (python_client / "contract.py").read_text(), re.MULTILINE)
    files = [path.stem for path in (typescript_client / "contract").iterdir()]
    assert {"Receipt", "ReceiptStatus", "Feedback", "AlertAction", "TierChange"} <= set(classes) & set(files)
    assert [name for name in (*classes, *files) if NO_NAME.search(name)] == []


def test_a_wrong_value_is_an_error_of_types(tools: Path, typescript_client: Path) -> None:
    wrong = typescript_client / "wrong.ts"
    right = (typescript_client / "client.ts").read_text()
    assert right.count('"bounced"') == 2
    wrong.write_text(right.replace('"bounced"', '"lost"'))
    done = subprocess.run([*compiler(tools), wrong], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout.count("Type '\"lost\"' is not assignable to type 'ReceiptStatus'") == 2

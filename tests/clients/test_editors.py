"""What editors make of rule files: every schema passes ajv, and the language server of VS Code and others completes,
explains and checks rule files by them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.publish.schemas import RULE_FILES, generate
from engine.rulefile.read.load import load, read_directory
from tests.clients.test_clients import tools
from tests.services.process import REPOSITORY

pytestmark = pytest.mark.clients
__all__ = ["tools"]

AJV = """
const files = JSON.parse(require("fs").readFileSync(0));
const Ajv = {draft7: require("ajv"), later: require("ajv/dist/2020")};
for (const [name, text] of Object.entries(files)) {
  const schema = JSON.parse(text);
  const draft = schema.$schema.includes("draft-07") ? Ajv.draft7 : Ajv.later;
  new draft.default({strict: false, validateFormats: false}).compile(schema);
}
console.log(Object.keys(files).length);
"""


@pytest.mark.parametrize("own", [False, True], ids=["the engine's", "with a rule set's names"])
def test_every_schema_passes_ajv(tools: Path, own: bool) -> None:
    rule_set: Any = load(read_directory(REPOSITORY / "rules")) if own else None
    files = {name: text for name, text in generate(rule_set).items() if name.endswith(".json")}
    assert len([name for name in files if name.startswith(RULE_FILES)]) >= 9
    done = subprocess.run(
        ["node", "-e", AJV], cwd=tools, input=json.dumps(files), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(len(files)), done.stderr[-2000:]


class LanguageServer:
    """Speaks with yaml-language-server as an editor does."""

    def __init__(self, tools: Path) -> None:
        program = tools / "node_modules/yaml-language-server/bin/yaml-language-server"
        self._process = subprocess.Popen(["node", program, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asked = 0
        able = {"workspace": {"configuration": True}, "textDocument": {"hover": {}, "completion": {}}}
        self.ask("initialize", {"processId": None, "rootUri": REPOSITORY.as_uri(), "capabilities": able})
        self._send({"method": "initialized", "params": {}})

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0"} | message).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert length, "the language server has ended"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        if "method" in message and "id" in message:  # it asks for the settings
            yaml = {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}
            items = message["params"].get("items", []) if message["method"] == "workspace/configuration" else []
            self._send({"id": message["id"], "result": [yaml if i.get("section") == "yaml" else {} for i in items]})
        return message

    def ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": parameters})
        while (message := self._read()).get("id") != self._asked or "method" in message:
            pass
        return message["result"]

    def open(self, path: Path, text: str) -> list[str]:
        """What it reports of the file."""
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            message = self._read()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == path.as_uri():
                return [found["message"] for found in message["params"]["diagnostics"]]

    def at(self, what: str, path: Path, text: str, place: str) -> Any:
        """What it offers (completion) or says (hover) at the end of the place."""
        line, _, column = text[: text.index(place) + len(place)].rpartition("\n")
        position = {"line": line.count("\n") + 1, "character": len(column)}
        return self.ask(f"textDocument/{what}", {"textDocument": {"uri": path.as_uri()}, "position": position})


@pytest.fixture(scope="module")
def server(tools: Path) -> Iterator[LanguageServer]:
    server = LanguageServer(tools)
    yield server
    server.end()


SHIPPED = sorted((REPOSITORY / "rules").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_rules_have_no_mistakes(server: LanguageServer, path: Path) -> None:
    assert server.open(path, path.read_text()) == []


HEAD = "# yaml-language-server: $schema=../schemas/rule-files/"


@pytest.mark.parametrize(
    ("schema", "body", "said"),
    [
        ("rules", "rules:\n  - id: a\n    kind: alarm\n", "Value is not accepted. Valid values:"),
        ("rules", "rules:\n  - id: a\n    tempalte: t\n", "Property tempalte is not allowed."),
        ("features", "features:\n  f: {source: logins, aggregate: sum, field: channel, window: 7d}\n", ""),
        ("policy", "contact: {daily_cap: many}\n", "String does not match the pattern"),
    ],
)
def test_mistakes_are_shown(server: LanguageServer, schema: str, body: str, said: str) -> None:
    path = REPOSITORY / f"rules/wrong-{abs(hash(body))}.yaml"  # never written
    found = server.open(path, f"{HEAD}{schema}.json\n{body}")
    assert found
    assert not any("is not valid: " in message for message in found)
    assert any(said in message for message in found), found


def test_keys_and_values_are_completed_and_explained(server: LanguageServer) -> None:
    path, text = REPOSITORY / "rules/new.yaml", f"{HEAD}rules.json\nrules:\n  - id: a\n    kind: \n    coo\n"
    server.open(path, text)
    kinds = {item["label"] for item in server.at("completion", path, text, "kind: ")["items"]}
    assert {"alert", "assignment", "survey", "message", "task"} <= kinds
    assert "cooldown" in {item["label"] for item in server.at("completion", path, text, "coo")["items"]}
    shipped = next(path for path in SHIPPED if path.name == "risk.yaml")
    server.open(shipped, shipped.read_text())
    explained = server.at("hover", shipped, shipped.read_text(), "    cooldo")["contents"]["value"]
    assert "Write 30m or 12h or 7d." in explained

"""What `engage check` says to a pipeline. sarif-2.1.0.json is the schema as OASIS publishes it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from engine.cli.main import main
from tests.rulefile.sample import FILES

SCHEMA = json.loads(Path(__file__).with_name("sarif-2.1.0.json").read_text(encoding="utf-8"))
BAD = FILES | {"policy.yaml": "contact:\n  daily_cap: 100%, or 5\n"}
BAD["retention.yaml"] = FILES["retention.yaml"].replace('client.tier == "A" and', 'client.tier == "Ä" and')


def check(directory: Path, files: dict[str, str], format_: str) -> Result:
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["check", str(directory), "--format", format_], catch_exceptions=False)


def test_json(tmp_path: Path) -> None:
    result = check(tmp_path / "rules", BAD, "json")
    assert result.exit_code == 1
    policy, retention = json.loads(result.output)
    assert policy == {
        "file": str(tmp_path / "rules/policy.yaml"),
        "line": 2,
        "column": 14,
        "code": "E001",
        "severity": "error",
        "subject": "",
        "message": 'not a number: "100%, or 5"',
        "remedy": "write digits such as 1_000_000 or 0.5",
    }
    assert (retention["line"], retention["subject"]) == (7, 'rule "vip-winback"')


def test_sarif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory, uri in ((Path("my rules"), "my%20rules/"), (tmp_path / "b", "b/")):
        result = check(directory, BAD, "sarif")
        assert result.exit_code == 1
        found = json.loads(result.output)
        jsonschema.validate(found, SCHEMA)
        places = [r["locations"][0]["physicalLocation"] for r in found["runs"][0]["results"]]
        assert [place["artifactLocation"]["uri"] for place in places] == [uri + "policy.yaml", uri + "retention.yaml"]
        assert places[1]["region"] == {"startLine": 7, "startColumn": 26}


def test_annotations(tmp_path: Path) -> None:
    result = check(tmp_path / "rules", BAD, "github")
    assert result.exit_code == 1
    assert result.output.splitlines()[0] == (
        f"::error file={tmp_path}/rules/policy.yaml,line=2,col=14,title=E001::"
        'not a number: "100%25, or 5"; write digits such as 1_000_000 or 0.5'
    )


@pytest.mark.parametrize(("format_", "output"), [("json", "[]\n"), ("github", "")])
def test_nothing_to_say(tmp_path: Path, format_: str, output: str) -> None:
    result = check(tmp_path / "rules", FILES, format_)
    assert (result.exit_code, result.output) == (0, output)


@pytest.mark.parametrize("format_", ["json", "sarif", "github"])
def test_no_directory(format_: str) -> None:
    result = CliRunner().invoke(main, ["check", "nowhere", "--format", format_])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such directory" in result.stderr

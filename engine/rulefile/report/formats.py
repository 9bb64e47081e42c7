"""Problems and findings as people and pipelines read them: text with the source line, JSON, SARIF 2.1.0, GitHub
annotations.

Enters: problems or findings, the files that they stand in, their directory. Leaves: text.
Holds: every format has each finding's place, code, severity and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from engine import __version__
from engine.rulefile.lint.findings import CODES, Finding
from engine.rulefile.report.check import excerpt
from engine.rulefile.source.problem import Problem

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
ERROR_CODE: Final = "E001"
SARIF_RULES: Final = {ERROR_CODE: ("error", "an error in a rule file, which is refused")} | CODES
ANNOTATION: Final = {"error": "error", "warning": "warning", "note": "notice"}


@dataclass(frozen=True, slots=True, order=True)
class Error(Finding):
    """A problem. Files with errors are not linted, so there are no findings beside it."""

    @property
    def severity(self) -> str:
        return "error"


def errors(problems: Iterable[Problem]) -> list[Finding]:
    return [
        Error(p.file, p.line, p.column, ERROR_CODE, f'rule "{p.rule}"' if p.rule else "", p.message, p.remedy)
        for p in problems
    ]


def formatted(format_: str, directory: Path, files: Mapping[str, str], findings: Sequence[Finding]) -> str:
    if format_ == "json":
        return json.dumps([_entry(directory, finding) for finding in findings], indent=2, ensure_ascii=False)
    if format_ == "sarif":
        return json.dumps(_sarif(directory, findings), indent=2, ensure_ascii=False)
    if format_ == "github":
        return "\n".join(_annotation(directory, finding) for finding in findings)
    lines = [f"{directory / f.file}{str(f)[len(f.file) :]}\n{excerpt(f, files[f.file])}" for f in findings]
    return "".join(lines) + _summary(directory, findings)


def _summary(directory: Path, findings: Sequence[Finding]) -> str:
    if not findings:
        return f"{directory}: nothing to remark"
    in_files = len({finding.file for finding in findings})
    return f"{len(findings)} finding{'s'[: len(findings) > 1]} in {in_files} file{'s'[: in_files > 1]}"


def _entry(directory: Path, finding: Finding) -> dict[str, Any]:
    return {
        "file": str(directory / finding.file),
        "line": finding.line,
        "column": finding.column,
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _said(finding: Finding) -> str:
    return f"{finding.subject}{': ' if finding.subject else ''}{finding.message}; {finding.remedy}"


def _sarif(directory: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    rules = [
        {"id": code, "shortDescription": {"text": said}, "defaultConfiguration": {"level": severity}}
        for code, (severity, said) in SARIF_RULES.items()
    ]
    results = [
        {
            "ruleId": finding.code,
            "level": finding.severity,
            "message": {"text": _said(finding)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(directory / finding.file)},
                        "region": {"startLine": finding.line, "startColumn": finding.column},
                    }
                }
            ],
        }
        for finding in findings
    ]
    tool = {"driver": {"name": "engage", "version": __version__, "rules": rules}}
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": tool, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _uri(path: Path) -> str:
    """Relative to where the command runs, as a pipeline wants it, if it lies below."""
    if path.is_absolute() and not path.is_relative_to(Path.cwd()):
        return path.as_uri()
    return quote((path.relative_to(Path.cwd()) if path.is_absolute() else path).as_posix())


def _annotation(directory: Path, finding: Finding) -> str:
    """A workflow command of GitHub; in its values %, line ends, : and , are escaped."""

    def escaped(text: str, also: str = "") -> str:
        return "".join(f"%{ord(c):02X}" if c in f"%\r\n{also}" else c for c in text)

    place = f"file={escaped(str(directory / finding.file), ':,')},line={finding.line},col={finding.column}"
    return f"::{ANNOTATION[finding.severity]} {place},title={finding.code}::{escaped(_said(finding))}"

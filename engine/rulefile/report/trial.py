"""The report of `engage test`: text, JSON, JUnit.

Enters: a directory of rule files. Leaves: what its tests came to, an exit code.
Holds: 0 when all passed, 1 when one failed, 2 when nothing could be run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

from engine.core.rules.ruleset import RuleSet
from engine.insight.rendering import as_json, in_full
from engine.insight.values import ZONE, firm_time
from engine.rulefile.read.load import DirectoryError, load, read_directory
from engine.rulefile.report.check import FAULTY, GOOD, UNUSABLE
from engine.rulefile.source.document import Node
from engine.rulefile.stories.cases import RuleTest
from engine.rulefile.stories.journeys import JourneyTest
from engine.rulefile.trial.run import Report, Result, run_tests


def report_tests(
    directory: Path,
    out: TextIO,
    only: str | None = None,
    as_lines: bool = False,
    junit: Path | None = None,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """Run the tests of a directory's rule files, or of one rule, and print what they came to. `moved` hears of how many
    rules are done.
    """
    documents: dict[str, Node] = {}
    try:
        rule_set = load(read_directory(directory), documents)
    except DirectoryError as error:
        print(error, file=out)
        return UNUSABLE
    if not isinstance(rule_set, RuleSet):
        count = f"{len(rule_set)} problem{'s' if len(rule_set) > 1 else ''}"
        print(f"{directory}: {count} in the rule files; see them with `engage check {directory}`", file=out)
        return UNUSABLE
    if only is not None and all(rule.id != only for rule in rule_set.rules):
        print(f"{directory}: no rule {only}; `engage test {directory}` runs the tests of all", file=out)
        return UNUSABLE
    report = run_tests(rule_set, only, documents, moved)
    if junit is not None:
        _write_junit(report, junit)
    if as_lines:
        print(json.dumps(_json(report), ensure_ascii=False), file=out)
    else:
        _print(report, directory, out)
    return FAULTY if report.failed else GOOD


def _print(report: Report, directory: Path, out: TextIO) -> None:
    for result in report.failed:
        for line in failure_lines(result):
            print(line if line.startswith(" ") else f"{directory}/{line}", file=out)
        print(file=out)
    if report.branches:
        print("branches that no test takes:", file=out)
        for branch in report.branches:
            print(f"  {directory}/{branch}", file=out)
    if report.untested:
        print(f"rules without a test: {', '.join(report.untested)}", file=out)
    share = f", {report.taken} of {report.of} branches taken" if report.of else ""
    passed = len(report.results) - len(report.failed)
    print(f"{passed} of {len(report.results)} tests passed{share}", file=out)


def failure_lines(result: Result) -> list[str]:
    """What was expected, what happened, and why."""
    test, looked = result.test, result.looked
    of = "rule" if isinstance(test, RuleTest) else "journey" if isinstance(test, JourneyTest) else "pool"
    lines = [
        f'{test.file}:{test.line}:{test.column}: {of} "{test.rule}": test "{test.name}" failed',
        f"  expected {test.expected}; {result.failure}",
    ]
    if not isinstance(test, RuleTest):
        return lines
    if looked is None:
        return [*lines, "  the rule was not evaluated: what it waits for did not come"]
    lines.append(f"  as it was evaluated ({looked.trigger}, {firm_time(looked.now_ms)}; {ZONE}):")
    # what would turn the condition is worth a word when it was not as expected
    wanted = test.expected.reason != "condition"
    return lines + [f"  {line}" for line in in_full(looked, with_flips=looked.term.holds is not wanted)]


def _json(report: Report) -> dict[str, Any]:
    return {
        "tests": [
            {
                "rule": result.test.rule,
                "name": result.test.name,
                "file": result.test.file,
                "line": result.test.line,
                "passed": not result.failure,
                "expected": str(result.test.expected),
                "failure": result.failure or None,
                "explanation": as_json(result.looked) if result.looked else None,
            }
            for result in report.results
        ],
        "branches": [
            {"rule": b.rule, "file": b.file, "line": b.line, "column": b.column, "text": b.text, "never": b.never}
            for b in report.branches
        ],
        "taken": report.taken,
        "of": report.of,
        "untested": list(report.untested),
    }


def _write_junit(report: Report, path: Path) -> None:
    suite = ElementTree.Element(
        "testsuite", name="engage test", tests=str(len(report.results)), failures=str(len(report.failed))
    )
    for result in report.results:
        test = result.test
        case = ElementTree.SubElement(
            suite, "testcase", classname=test.rule, name=test.name, file=test.file, line=str(test.line)
        )
        if result.failure:
            failure = ElementTree.SubElement(case, "failure", message=result.failure)
            failure.text = "\n".join(failure_lines(result))
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)

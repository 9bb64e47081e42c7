"""Hostile rule files are refused, whole and with a place, in bounded time and memory.

All of them are read in one process whose address space is limited; it says what it refused and how much CPU
that took. The bounds are generous: what they must catch is growth without bounds.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Final

import pytest

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.rulefile.sample import FILES
from tests.services.process import REPOSITORY

CPU_SECONDS: Final = 120.0  # each; the slowest, a whole MiB of keys, takes a quarter of it on a slow machine
ADDRESS_SPACE: Final = 1 << 30
CONDITION: Final = 'client.tier == "A" and money_out_cny_7d >= 0.3 * client.assets_peak_cny'

# Conditions. What each did elsewhere stands before it.
EXPRESSIONS: Final = {
    # -- Escapes that worked -----------------------------------------------------------------------------------
    # simpleeval #138 (2024): a generator's frame leads to the builtins, from any object with a generator method
    "generator frame": "client.tier.bar().gi_frame.f_globals['__builtins__'].exec('1')",
    # the same by a coroutine's frame
    "coroutine frame": "client.tier.bar().cr_frame.f_builtins['eval']('1')",
    # simpleeval before 0.9.13 / CVE-2026-32640: a module that hangs on an object handed in leads to os
    "module as attribute": "client.os.system('id') == 0",
    # simpleeval: functions as values, called through a name that the rules may write
    "method of a text": "'a'.join(['b']) == 'ab'",
    # asteval #86 (2021): print.__reduce__() gave getattr, and with it everything
    "__reduce__": "max.__reduce__()[0](max, '__self__') == 1",
    # asteval, CVE-2025-24359: an f-string's conversion formatted names that the check of attributes never saw
    "f-string": "f'{client.__class__.__init__.__globals__}' == 'x'",
    "f-string with a nested format": "f'{1:{client.__class__}}' == 'x'",
    # RestrictedPython, CVE-2023-41039: str.format and format_map reach attributes named inside a text
    "str.format": "'{0.__class__.__mro__}'.format(1) == 'x'",
    "str.format_map": "'{a.__globals__}'.format_map({'a': abs}) == 'x'",
    "string.Formatter": "string.Formatter().format('{0.__class__}', 1) == 'x'",
    "percent format": "'%(a)s' % {'a': 1} == 'x'",
    # RestrictedPython, CVE-2023-37271: a generator expression walks its own frame outwards
    "generator expression": "[g.gi_frame.f_back for g in [(x for x in (1,))]] == 1",
    # RestrictedPython, CVE-2024-47532: AttributeError.obj and the like hand out what a guard had held back
    "exception's object": "AttributeError.obj == 1",
    # RestrictedPython, CVE-2025-22153: try/except* confused the types of CPython; a statement, so no expression
    "except star": "try:\n 1\nexcept* TypeError:\n 2",
    # eval with __builtins__ None: the classes of everything hang on any value
    "subclasses": "().__class__.__bases__[0].__subclasses__()[0] == 1",
    "subclasses of a name": "client.__class__.__mro__[-1].__subclasses__() == 1",
    "walrus": "(x := client.tier) == 'A'",
    "lambda": "(lambda: 1)() == 1",
    "lambda's code": "(lambda: 1).__code__ == 1",
    "type called": "type('X', (), {})() == 1",
    "getattr": "getattr(client, 'tier') == 'A'",
    "import": "__import__('os').system('id') == 0",
    "builtins": "__builtins__ == 1",
    "eval": "eval('1') == 1",
    "exec": "exec('1') == 1",
    "open": "open('/etc/passwd') == 1",
    "decorated name": "client.tier.__str__() == 'A'",
    "name of the generated code": "_HELPERS == 1",
    "dunder name": "__name__ == 'x'",
    "single underscore": "_ == 1",
    "star arguments": "max(*[1, 2]) == 2",
    "keyword arguments": "max(1, 2, key=abs) == 2",
    "subscript": "client['tier'] == 'A'",
    "await": "await client.tier",
    "yield": "(yield)",
    "comprehension": "[x for x in (1, 2)] == 1",
    "dict comprehension": "{x: x for x in (1,)} == 1",
    "matrix product": "money_out_cny_7d @ 1 == 1",
    "bytes": "b'A' == client.tier",
    "complex number": "1j == 1",
    "ellipsis": "... == 1",
    "none": "client.tier == None",
    "statement": "1; import os",
    "second line": "1 == 1\nimport os",
    "closing the generated call": "True) or __import__('os').system('id'",
    "comment": "client.tier == 'A' # \n or __import__('os')",
    # -- More work than it looks ---------------------------------------------------------------------------------
    "power": "9 ** 9 ** 9 ** 9 > 1",
    "shift": "1 << 999999999 > 1",
    "text times number": "'A' * 999999999 == 'A'",
    "list times number": "[0] * 999999999 == [0]",
    "digits": "1" * 5000 + " > money_out_cny_7d",
    "exponent": "1e999999999 > money_out_cny_7d",
    "product of digits": " * ".join(["9" * 300] * 6) + " > money_out_cny_7d",
    "parentheses": "(" * 1900 + "1" + ")" * 1900,
    "many parentheses": "(" * 200_000,
    "nots": "not " * 490 + "client.has_advisor",
    "minuses": "-" * 1900 + "1 > money_out_cny_7d",
    "conditional tower": "1 if client.has_advisor else " * 60 + "2 > 1",
    "comparison chain": " < ".join(["1"] * 900),
    "tuple": "client.tier in (" + "'A', " * 100_000 + ")",
    "long text": "client.tier == '" + "A" * 1_000_000 + "'",
    "six million characters": "client.tier == 'A' or " * 300_000 + "client.has_advisor",
    # -- Not what it looks like ----------------------------------------------------------------------------------
    "homoglyph": "client.tiеr == 'A'",  # a Cyrillic e
    "fullwidth": "ｃlient.tier == 'A'",  # Python's own parser reads these as ASCII (NFKC)
    "mathematical letters": "𝘤lient.tier == 'A'",
    "ligature": "ﬁle == 1",
    "fullwidth import": "__ｉmport__('os') == 1",
    "right to left override": "client.tier == 'A' \u202e and 'B'",
    "isolate in a text": "client.tier == 'A\u2066 or 1'",
    "zero width space": "client.ti\u200ber == 'A'",
    "zero width joiner": "client.tier == 'A\u200d'",
    "no-break space": "client.tier\u00a0== 'A'",
    "soft hyphen": "client.ti\u00ader == 'A'",
    "bell": "client.tier == '\x07'",
    "null": "client.tier == 'A\x00'",
    "escape": "client.tier == '\x1b[2J'",
    "surrogate": "client.tier == '\ud800'",
    "line separator": "client.tier == 'A'\u2028or 1",
    "escaped newline": "client.tier == 'A\\\n'",
    "unicode name escape": "client.tier == '\\N{LATIN CAPITAL LETTER D}'",
    # -- Patterns that explode, for whatever would match them ----------------------------------------------------------
    "catastrophic pattern": "client.tier == '(a+)+$" + "a" * 40 + "!'",
    "pattern function": "re.match('(a|a)*$', client.tier) == 1",
    "matches": "client.language matches '(a*)*b'",
}

# Whole files, in place of policy.yaml
DOCUMENTS: Final = {
    # billion laughs: nine times nine of each before
    "billion laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "billion laughs by merging": "a: &a {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*a, *a]}}\n" for n in range(5_000)),
    "itself": "a: &a [*a]\n",
    "python object": "!!python/object/apply:os.system ['id']\n",
    "python name": "contact: !!python/name:os.system\n",
    "tag directive": "%TAG ! tag:yaml.org,2002:python/\n---\ncontact: !object:os.system {}\n",
    "include": "contact: !include /etc/passwd\n",
    "binary": "contact: !!binary |\n  AAAA\n",
    "deep brackets": "contact: " + "[" * 500_000,
    "deep braces": "contact: " + "{a: " * 200_000,
    "deep block": "".join(" " * n + f"a{n}:\n" for n in range(1_000)),
    "deep hyphens": "- " * 400_000 + "x",
    "deep questions": "? " * 400_000 + "x",
    "keys": "".join(f"k{n}: v\n" for n in range(100_000)),
    "one key": "k: v\n" * 200_000,
    "items": "contact:\n" + "- a\n" * 200_000,
    "anchors": "".join(f"k{n}: &a{n} v\n" for n in range(60_000)),
    "long key": "k" * 1_000_000 + ": v\n",
    "long scalar": "contact: " + "x" * 1_040_000,
    "quote": "contact: '" + "''" * 500_000,
    "escapes": 'contact: "' + "\\x41" * 250_000 + '"\n',
    "folded": "contact: >\n" + "  x\n" * 250_000,
    "blank lines": "contact:\n" + "\n" * 1_000_000 + "  daily_cap: 2\n  x: 1\n",
    "comments": "# x\n" * 250_000 + "x: 1\n",
    "tabs": "\t\n" * 500_000,
    "nulls": "\0" * 1_000_000,
    "controls": "\x01\x02\x7f" * 300_000,
    "ten megabytes": "contact: {daily_cap: 2}\n#" + "x" * 10_000_000,
    "documents": "---\na: 1\n" * 100_000,
    "right to left": "contact:\n  daily_cap\u202e: 2\n",
    "homoglyph key": "contact:\n  dаily_cap: 2\n",  # a Cyrillic a
    "surrogate": "contact:\n  daily_cap: 2 # \udc80\n",
    "another encoding": "contact:\n  daily_cap: 2\n".encode("utf-16").decode("latin-1"),
}


def with_condition(condition: str) -> dict[str, str]:
    """The condition as a literal block, so that YAML leaves it as it is."""
    lines = "".join(f"      {line}\n" for line in condition.split("\n"))
    text = FILES["retention.yaml"].replace(f"when: {CONDITION}\n", f"when: |-\n{lines}")
    assert text != FILES["retention.yaml"]
    return FILES | {"retention.yaml": text}


def every_case() -> dict[str, dict[str, str]]:
    found = {f"condition: {name}": with_condition(text) for name, text in EXPRESSIONS.items()}
    found |= {f"file: {name}": FILES | {"policy.yaml": text} for name, text in DOCUMENTS.items()}
    found["file: twenty megabytes of rules"] = FILES | {
        f"r{n}.yaml": "rules:\n" + "  - {id: x}\n" * 80_000 for n in range(20)
    }
    return found


def main() -> None:
    """One JSON line a case: name, problems, seconds of CPU."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for name, files in every_case().items():
        began = time.process_time()
        result = load(files)
        problems = [] if isinstance(result, RuleSet) else [str(problem) for problem in result[:3]]
        print(json.dumps([name, problems, time.process_time() - began]), flush=True)
        del result


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[list[str], float]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.rulefile.test_hostile_files"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-2000:])
    lines = (json.loads(line) for line in done.stdout.splitlines())
    return {name: (problems, seconds) for name, problems, seconds in lines}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
@pytest.mark.parametrize("name", list(every_case()))
def test_refused_in_bounded_time_and_memory(told: dict[str, tuple[list[str], float]], name: str) -> None:
    problems, seconds = told[name]
    assert problems, "it was accepted"
    where = "retention.yaml:" if name.startswith("condition") else ("policy.yaml:", "features.yaml:")
    assert all(problem.startswith(where) and problem.isprintable() for problem in problems), problems
    assert all(len(problem) < 1000 for problem in problems)
    assert seconds < CPU_SECONDS


if __name__ == "__main__":
    main()

"""Reads pauses.yaml, and writes it: which rules are paused, and how their last pauses ended.

Enters: the file's root node, the rules; or the pauses. Leaves: the pauses; or the file's text.
Holds: people do not write this file: `engage rules pause` and `resume` do, and the breaker. A rule that is gone has no
pause, and a renamed one keeps its own.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from engine.core.contract.message import rfc3339
from engine.core.rules.policy import PAUSES_FILE, Pause, Resumption
from engine.core.rules.ruleset import Rule
from engine.rulefile.read.event_types import is_rules_of_old
from engine.rulefile.source.document import Node, read_document
from engine.rulefile.source.fields import RULE, Reader
from engine.rulefile.source.unsure import Unsure

KEYS: Final = ("paused", "resumed")
HEAD: Final = "# Written by Engage. `engage rules resume RULE` ends a pause; publishing other files does not.\n"
LONGEST_WHY: Final = 500
LONGEST_NAME: Final = 100
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Pauses = tuple[tuple[Pause, ...], tuple[Resumption, ...]]


def read_pauses(reader: Reader, root: Node) -> Pauses:
    """As they are written, whatever rules there are."""
    fields = reader.mapping(root, (), KEYS)
    paused, resumed = [], []
    for key, node in reader.entries(fields.get("paused")):
        said = reader.mapping(node, ("since", "by", "why"))
        rule = reader.word(key, RULE)
        paused.append(Pause(rule, _time_ms(reader, said.get("since")), *_who_and_why(reader, said)))
    for key, node in reader.entries(fields.get("resumed")):
        said = reader.mapping(node, ("at", "by", "why"), ("dropped",))
        dropped_ms = _time_ms(reader, said["dropped"]) if "dropped" in said else 0
        rule = reader.word(key, RULE)
        resumed.append(Resumption(rule, _time_ms(reader, said.get("at")), *_who_and_why(reader, said), dropped_ms))
    return tuple(paused), tuple(resumed)


def _who_and_why(reader: Reader, said: dict[str, Node]) -> tuple[str, str]:
    return reader.words(said.get("by"), LONGEST_NAME), reader.words(said.get("why"), LONGEST_WHY)


def _time_ms(reader: Reader, node: Node | None) -> int:
    scalar = reader.scalar(node)
    if scalar is None:
        return 0
    try:
        return round((dt.datetime.fromisoformat(scalar.value) - _EPOCH) / dt.timedelta(milliseconds=1))
    except (ValueError, TypeError):  # no time, or one without a zone
        reader.wrong(scalar, f'not a time: "{scalar.value[:80]}"', 'write it as "2026-11-29T08:00:00.000Z"')
        return 0


def pauses_in(text: str) -> Pauses:
    """Of the file of a published set."""
    root, _ = read_document(PAUSES_FILE, text, published=True)
    if root is None or is_rules_of_old(root, "paused"):
        return (), ()
    return read_pauses(Reader(PAUSES_FILE, text, Unsure(published=True)), root)


def without_pauses(files: Mapping[str, str]) -> dict[str, str]:
    """The files as people wrote them; one of this name that holds rules is theirs."""
    return {name: text for name, text in files.items() if name != PAUSES_FILE or holds_rules(text)}


def holds_rules(text: str) -> bool:
    """Whether it is a file of rules, as one of any name was before this one had a use of its own."""
    return is_rules_of_old(read_document(PAUSES_FILE, text, published=True)[0], "paused")


def of_rules(pauses: Pauses, rules: Sequence[Rule]) -> Pauses:
    """Of these rules, under their present ids."""
    now = {former: rule.id for rule in rules for former in (*rule.was, rule.id)}
    paused = (replace(pause, rule=now[pause.rule]) for pause in pauses[0] if pause.rule in now)
    resumed = (replace(end, rule=now[end.rule]) for end in pauses[1] if end.rule in now)
    by_rule = attrgetter("rule")
    return tuple(sorted(paused, key=by_rule)), tuple(sorted(resumed, key=by_rule))


def pauses_text(pauses: Pauses) -> str:
    """The file; empty when there never was a pause."""
    paused, resumed = pauses
    lines = [
        *_entries("paused", ((p.rule, {"since": rfc3339(p.since_ms), "by": p.by, "why": p.why}) for p in paused)),
        *_entries(
            "resumed",
            (
                (
                    r.rule,
                    {"at": rfc3339(r.at_ms), "by": r.by, "why": r.why}
                    | ({"dropped": rfc3339(r.dropped_ms)} if r.dropped_ms else {}),
                )
                for r in resumed
            ),
        ),
    ]
    return HEAD + "".join(lines) if lines else ""


def _entries(key: str, found: Iterable[tuple[str, dict[str, str]]]) -> list[str]:
    lines = []
    for rule, said in sorted(found):
        values = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in said.items())
        lines.append(f"  {rule}: {{{values}}}\n")
    return [f"{key}:\n", *lines] if lines else []

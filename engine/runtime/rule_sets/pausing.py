"""Pausing rules for everybody, and resuming them: steps of the history, as a new set of rules is one.

Enters: rules, who and why. Leaves: one transaction on the rule-set topic, and the Entry it holds.
Holds: nobody is asked for approval: a pause only stops, and what is resumed was active before. A rule that is paused
already is not paused anew, so of two workers that pause it at once one does.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from engine.core.rules.policy import Pause, Resumption
from engine.rulefile.read.load import digest as digest_of
from engine.rulefile.read.pauses import Pauses, without_pauses
from engine.rulefile.tools.effects import pausing, swept_for_resumed
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.rule_sets.archive import Action, Entry, RuleSetArchive
from engine.runtime.rule_sets.carrying import pauses_of, with_pauses
from engine.runtime.rule_sets.publishing import MAX_NOTE, Decided, append, next_entry
from engine.runtime.settings import Settings

BREAKER: Final = "breaker"  # who pauses, where no person does


async def pause(
    settings: Settings, clients: Clients, whys: Mapping[str, str], by: str, *, on_behalf_of: str = ""
) -> Entry | None:
    """Pause rules, each for its reason. None when all of them are already. A worker acts `on_behalf_of` the breaker,
    and tries again where a person would be told.
    """

    def decide(archive: RuleSetArchive) -> Decided | None:
        paused, resumed = pauses_of(archive, _active(archive))
        if not on_behalf_of:
            _refuse_unknown(archive, whys)
        stand, ends = {one.rule for one in paused}, {one.rule: one.at_ms for one in resumed}
        new = [rule for rule in whys if rule not in stand]
        if not new:
            return None
        now_ms = clients.wall_ms()
        begun = (
            Pause(rule, max(now_ms, ends.get(rule, 0) + 1), on_behalf_of or by, whys[rule][:MAX_NOTE]) for rule in new
        )
        note = "; ".join(f"{rule}: {whys[rule]}" for rule in new)[:MAX_NOTE]
        return _step(archive, now_ms, "pause", ((*paused, *begun), resumed), by, note)

    return await append(settings, clients, by, next(iter(whys.values()))[:MAX_NOTE], decide, bool(on_behalf_of))


async def resume(
    settings: Settings, clients: Clients, rule: str, by: str, note: str, *, drop: bool = False
) -> Entry | None:
    """End a pause. None when the rule is not paused. `drop`: what it held is not sent, else it is decided again."""

    def decide(archive: RuleSetArchive) -> Decided | None:
        paused, resumed = pauses_of(archive, _active(archive))
        stands = next((one for one in paused if one.rule == rule), None)
        if stands is None:
            _refuse_unknown(archive, [rule])
            return None
        now_ms = clients.wall_ms()
        before = next((one.dropped_ms for one in resumed if one.rule == rule), 0)
        at_ms = max(now_ms, stands.since_ms + 1)
        end = Resumption(rule, at_ms, by, note, at_ms if drop else before)
        left = tuple(one for one in paused if one != stands)
        others = tuple(one for one in resumed if one.rule != rule)
        return _step(archive, now_ms, "resume", (left, (*others, end)), by, note)

    return await append(settings, clients, by, note, decide)


def _step(archive: RuleSetArchive, time_ms: int, action: Action, pauses: Pauses, by: str, note: str) -> Decided:
    """The active files with other pauses. They are not loaded: a pause must not wait for that."""
    head = _active(archive)
    files = archive.files(head)
    before = pauses_of(archive, head)
    made = with_pauses(files, pauses)
    entry = replace(
        next_entry(archive, time_ms, action, digest_of(made), digest_of(without_pauses(files)), by, note),
        in_force=True,
        added=0,
        changed=0,
        removed=0,
        parts=("pauses",),
        effects=(*pausing(before[0], *pauses), *swept_for_resumed(before[1], pauses[1])),
    )
    return entry, made


def _active(archive: RuleSetArchive) -> str:
    if archive.head is None:
        raise Refused("no rule set is active; publish one first")
    return archive.head


def _refuse_unknown(archive: RuleSetArchive, rules: Mapping[str, str] | list[str]) -> None:
    try:
        known = [rule.id for rule in archive.plan(_active(archive)).rule_set.rules]
    except Refused:  # of another version: what it does can be stopped all the same
        return
    for rule in rules:
        if rule not in known:
            close = difflib.get_close_matches(rule, known, 1)
            meant = f": did you mean {close[0]}?" if close else "; `engage rules top` lists what there is"
            raise Refused(f"the active set has no rule {rule}{meant}")

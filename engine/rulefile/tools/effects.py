"""What putting one rule set in the place of another does to what is known of clients.

Enters: the active set and the one that follows. Leaves: Pasts of features, and all effects in sentences.
Holds: nothing is said of a feature that keeps its whole past, whatever else of it changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from engine.core.assign.changes import staff_changes
from engine.core.firm_time import LONGEST_MONTH
from engine.core.plan.features import column_key, parts_of
from engine.core.plan.waking import digest_of
from engine.core.rules.meaning import filter_meaning, meaning
from engine.core.rules.occasion import CHANGED, Doing, Journey, Waits
from engine.core.rules.policy import Pause, Resumption
from engine.core.rules.ruleset import Feature, RuleSet, Since
from engine.rulefile.tools.compatibility import broken

RULE_MEMORY: Final = "365 days"
Memory = tuple[str, str]  # the source, and what values are kept by: day, hour, month (closed), or since an event


@dataclass(frozen=True, slots=True)
class Past:
    """What a feature lacks of its past once the new set is active."""

    feature: str
    lacks: Literal["all", "some", "new"]
    why: str = ""  # what of it changed
    known: int = 0  # of its window, when it lacks some
    of: int = 0
    unit: str = ""  # days or hours

    def __str__(self) -> str:
        match self.lacks:
            case "new":
                return "begins without a past"
            case "all":
                return f"loses its past: {self.why}"
        left = f"{self.of - self.known} {self.unit}"
        return f"{self.known} of {self.of} {self.unit} known, all of them {left} after it becomes active"


def pasts(old: RuleSet, new: RuleSet) -> list[Past]:
    """By the features' names. A column is found again by what it holds; rows reach as far as the longest window of
    their source.
    """
    reach: defaultdict[Memory, int] = defaultdict(int)
    kept: defaultdict[Memory, set[str]] = defaultdict(set)
    for feature in old.features:
        for memory in _memories(feature):
            kept[memory].update(column_key(part) for part in parts_of(feature))
            reach[memory] = max(reach[memory], _slots(feature))
    before = {feature.name: feature for feature in old.features}
    before |= {feature.name: before[was] for feature in new.features for was in feature.was if was in before}
    found = []
    for feature in new.features:
        memory = _memories(feature)[0]
        if not kept[memory].issuperset(column_key(part) for part in parts_of(feature)):
            was = before.get(feature.name)
            found.append(
                Past(feature.name, "new")
                if was is None
                else Past(feature.name, "all", ", ".join(_changed(was, feature)))
            )
        elif memory[1] in ("day", "hour") and feature.aggregate != "last" and _slots(feature) > reach[memory]:
            found.append(Past(feature.name, "some", "", reach[memory], _slots(feature), f"{memory[1]}s"))
    return found


def _memories(feature: Feature) -> list[Memory]:
    """Where its values are read from, and where else they are kept on the way."""
    window = feature.window
    if isinstance(window, Since):
        return [(feature.source, "since")]
    if window.unit == "hour":
        return [(feature.source, "hour")]
    by_day = [(feature.source, "day")]
    closed = window.unit == "previous_month" and feature.aggregate in ("distinct", "last")
    return [(feature.source, "month"), *by_day] if closed else by_day


def _slots(feature: Feature) -> int:
    """How many days or hours its window reaches back, at most."""
    window = feature.window
    if isinstance(window, Since):
        return 0
    return {"month": LONGEST_MONTH, "previous_month": 2 * LONGEST_MONTH}.get(window.unit, window.length)


def _changed(before: Feature, after: Feature) -> Iterable[str]:
    if filter_meaning(before.where) != filter_meaning(after.where):
        yield "its where changed"
    yield from (
        f"its {part} changed"
        for part in ("source", "aggregate", "field", "by")
        if getattr(before, part) != getattr(after, part)
    )
    if before.asked and after.asked and before.asked.stored_as != after.asked.stored_as and before.field == after.field:
        yield "its field is of another kind"
    if _memories(before)[0][1] != _memories(after)[0][1]:
        yield "its window is of another kind"
    elif isinstance(before.window, Since) and before.window != after.window:
        yield "it counts since another event"


def effects(old: RuleSet, new: RuleSet) -> tuple[str, ...]:
    """A sentence for each thing that happens to clients, apart from what the new rules do."""
    lacking = pasts(old, new)
    found = (
        broken(old, new),
        _lost(lacking),
        _forgotten(old, new),
        _kept(old, new),
        _drawn(old, new),
        _paused(old, new),
        _led(old, new),
        _staffed(old, new),
        _evaluated(old, new),
    )
    return tuple(effect for effects_of_one in found for effect in effects_of_one)


def _forgotten(old: RuleSet, new: RuleSet) -> Iterable[str]:
    gone = sorted({known.name for known in old.event_types} - {known.name for known in new.event_types})
    if gone:
        put_back = "put back, it begins without a past"
        yield f"what is kept of {', '.join(gone)} goes with each client's next change: {put_back}"


def _lost(lacking: list[Past]) -> Iterable[str]:
    for lacks, said in (
        ("all", "loses its past"),
        ("new", "begins without a past"),
        ("some", "knows a part of its past"),
    ):
        names = [past.feature for past in lacking if past.lacks == lacks]
        if names:
            yield f"{said}: {len(names)} feature{'s' if len(names) > 1 else ''} ({', '.join(names)})"
    if lacking:
        names = [past.feature for past in lacking]
        yield f"until the past is known, no rule acts where it could matter; run `engage backfill {' '.join(names)}`"


def _kept(old: RuleSet, new: RuleSet) -> Iterable[str]:
    gone = sorted({rule.id for rule in old.rules} - {rule.id for rule in new.rules} - new.was_rules.keys())
    if gone:
        yield f"what {', '.join(gone)} did is kept for {RULE_MEMORY}: a rule that is put back goes on from there"


def _drawn(old: RuleSet, new: RuleSet) -> Iterable[str]:
    """What becomes of who is held out."""
    now = {rule.id: rule for rule in new.rules}
    renamed = new.was_rules
    pairs = [("the firm", old.policy.holdout, new.policy.holdout)]
    for rule in old.rules:
        heir = now.get(rule.id) or now.get(renamed.get(rule.id, ""))
        if heir is not None:
            pairs.append((f"rule {heir.id}", rule.holdout, heir.holdout))
    for whose, before, after in pairs:
        if before is not None and after is not None and before.salt != after.salt:
            yield (
                f"holdout of {whose}: its salt changed, so all clients are drawn anew and what was measured so far is "
                f"spoilt; write salt: {before.salt} again unless that is meant"
            )
        elif before is not None and (after is None or after.share < before.share):
            gone = before.share - (after.share if after is not None else 0)
            yield f"holdout of {whose}: {gone:.2%} of all clients are no longer held out"
        elif after is not None and (before is None or after.share > before.share):
            more = after.share - (before.share if before is not None else 0)
            stay = "; those before stay" if before is not None else ""
            yield f"holdout of {whose}: {more:.2%} of all clients are held out from now on{stay}"


def _paused(old: RuleSet, new: RuleSet) -> Iterable[str]:
    now = {former: rule.id for rule in new.rules for former in (*rule.was, rule.id)}
    gone = sorted(pause.rule for pause in old.paused if pause.rule not in now)
    if gone:
        yield f"the pause of {', '.join(gone)} ends with the rule: put back, it is not paused"
    before = tuple(replace(pause, rule=now[pause.rule]) for pause in old.paused if pause.rule in now)
    yield from pausing(before, new.paused, new.resumed)


def _led(old: RuleSet, new: RuleSet) -> Iterable[str]:
    """What becomes of whoever is in a journey."""
    now, renamed = {journey.id: journey for journey in new.journeys}, new.was_rules
    for before in old.journeys:
        after = now.get(before.id) or now.get(renamed.get(before.id, ""))
        if after is None:
            yield f"journey {before.id}: whoever is in it leaves it ({CHANGED})"
            continue
        yield from _pinned(before, after)
        steps = after.doing
        was = {} if before.pinned else after.waits_before
        waits = [
            (was.get(f"{after.id}/{name}", name).rpartition("/")[2], doing)
            for name, doing in before.steps
            if isinstance(doing, Waits)
        ]
        gone = [name for name, _ in waits if not isinstance(steps.get(name), Waits)]
        if gone:
            left = f"leaves it ({CHANGED}), since the step is gone"
            yield f"journey {after.id}: whoever stands at {', '.join(gone)} {left}"
        timed = [name for name, doing in waits if name not in gone and _times(doing) != _times(steps[name])]
        if timed:
            since = "from when a client came there: what is over by that ends at once"
            yield f"journey {after.id}: the new time of {', '.join(timed)} counts {since}"
        if meaning(before.ends) != meaning(after.ends):
            yield f"journey {after.id}: its goal and exits are asked at once of whoever is in it"


def _staffed(old: RuleSet, new: RuleSet) -> Iterable[str]:
    """What becomes of what staff have; `engage diff` and `publish` with a snapshot count it."""
    changes = staff_changes(old, new)
    for team in sorted(changes.teams_gone):
        stays = f"what is open stays in its work list (`engage work {team}`) until it is closed"
        yield f"team {team} is gone: {stays}; reminders and escalations go to the owner that the rule has now"
    for advisor in sorted(changes.advisors_gone):
        stays = "clients and open tasks stay until `engage handover` gives them on"
        yield f"advisor {advisor} is gone: {stays}; what waits for room goes to the team"
    for advisor, (before, now) in sorted(changes.moved.items()):
        given = f"pool {before} gives the clients on, to whoever has room or to nobody"
        yield f"advisor {advisor} is of pool {now} now: {given}; what is open goes with each client"
    for advisor, clients in sorted(changes.barred.items()):
        yield f"advisor {advisor} must not have {len(clients):,} more: whom of them a pool gave, it gives on"


def _pinned(before: Journey, after: Journey) -> Iterable[str]:
    """Who goes on with which version."""
    if before.pinned and not after.pinned:
        yield f"journey {after.id}: is no longer pinned: whoever is in it leaves it ({CHANGED})"
        return
    kept = sorted({*before.pinned[:1]} & {*after.pinned[1:]} if before.pinned else {*after.pinned[1:]})
    if kept:
        they = ", ".join(map(str, kept))
        yield f"journey {after.id}: whoever is in version {they} goes on with it; version {after.pinned[0]} begins"
    for version in sorted({*before.pinned} - {*after.pinned} if after.pinned else ()):
        said = "to keep them, put its steps under `earlier`"
        yield f"journey {after.id}: version {version} is taken out: {said}"


def _times(doing: Doing) -> tuple[object, ...]:
    assert isinstance(doing, Waits)
    return doing.for_s, doing.at, doing.timeout_s


def pausing(before: Iterable[Pause], now: Iterable[Pause], ends: Iterable[Resumption]) -> Iterable[str]:
    """What becomes of the actions of rules that are paused, or are not any more."""
    stand, last = sorted(pause.rule for pause in now), {end.rule: end for end in ends}
    if stand:
        yield f"paused: {', '.join(stand)}: what is due is held until `engage rules resume`, or expires"
    for rule in sorted({pause.rule for pause in before} - {*stand}):
        dropped = rule in last and last[rule].drops
        yield f"resumed: {rule}: what it held is {'not sent' if dropped else 'decided again'}"


def swept_for_resumed(before: tuple[Resumption, ...], now: tuple[Resumption, ...]) -> Iterable[str]:
    if before != now:
        yield "every client is evaluated once: a rule was resumed"


def _evaluated(old: RuleSet, new: RuleSet) -> Iterable[str]:
    yield from swept_for_resumed(old.resumed, new.resumed)
    if digest_of(replace(old, resumed=())) != digest_of(replace(new, resumed=())):
        yield "every client is evaluated once: tiers, segments, score, portrait, or rules that need no event differ"

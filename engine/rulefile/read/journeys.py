"""Reads the files of the folder `journeys`: how clients are led from step to step.

Enters: a file's root node, what rules build on. Leaves: journeys, each with the rules that begin it and act in it.
Holds: every step that is named is there, and a loop of steps has a wait for an event or a time. The rule that begins a
journey has its id, the rule of an act that of journey/step.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple, cast, get_args

from engine.core.contract.topics import in_order
from engine.core.language.expressions import BOOL, Expression
from engine.core.plan.waking import read_by
from engine.core.rules.names import Scopes
from engine.core.rules.occasion import (
    BEGINS,
    CHANGED,
    COMPLETED,
    GOAL,
    Act,
    Branch,
    Calendar,
    Doing,
    Ends,
    Every,
    Journey,
    JourneyStep,
    Split,
    Waits,
    on,
    pinned_to,
)
from engine.core.rules.policy import USUAL, ContactPolicy
from engine.core.rules.ruleset import Rule, Service, Tiers
from engine.rulefile.read.occasions import OCCASION_KEYS, read_calendar, read_occasion
from engine.rulefile.read.policy import read_bounds, read_holdout
from engine.rulefile.read.rules import ACTION_KEYS, SERVICES, read_action
from engine.rulefile.source.document import Mapping, Node, Scalar
from engine.rulefile.source.fields import ALWAYS, DAY_S, IDENTIFIER, KEBAB, MINUTE_S, Reader, nearest
from engine.rulefile.stories.journeys import read_journey_tests

FOLDER: Final = "journeys/"
REQUIRED: Final = ("id", "title", "owner", "description", "entry", "steps")
OPTIONAL: Final = (
    "was", "version", "serves", "priority", "holdout", "breaker", "goal", "exits", "tests", "pinned",
    "earlier",
)  # fmt: skip
ENTRY_KEYS: Final = (*OCCASION_KEYS, "again")
DOES: Final = ("act", "wait", "branch", "split", "exit")
ACT_REQUIRED: Final = ("kind", "audience", "priority", "expires", "template")
ACT_OPTIONAL: Final = tuple(key for key in (*ACTION_KEYS, "when") if key not in ACT_REQUIRED)
WAIT_KEYS: Final = ("for", "at", "on", "of", "when", "until", "timeout", "otherwise")
EVERY: Final[tuple[str, ...]] = get_args(Every)
COMING_BACK: Final = ("feedback", "outcomes", "receipts")
END: Final = "end"  # as a step that follows: the journey is completed
MAX_JOURNEYS: Final = 32  # of a rule set; a client remembers twice as many
MAX_STEPS: Final = 60
MAX_EARLIER: Final = 9  # versions that are kept beside the one that begins
MAX_EXITS: Final = 10
MAX_WAYS: Final = 10
MAX_WEIGHT: Final = 1000
MAX_WAIT_S: Final = 366 * DAY_S
MAX_AGAIN_S: Final = 3660 * DAY_S
BEGINS_WITHIN_S: Final = 7 * DAY_S  # what was to begin longer ago, before an outage, does not begin any more
USUAL_PRIORITY: Final = 50


VERSION: Final = ("[1-9][0-9]{0,6}", "a number, such as 2")
LIKE_A_VERSION: Final = re.compile(".*-v[0-9]+")


class Names(NamedTuple):
    """The steps of one version."""

    steps: tuple[str, ...]
    last: str  # how the names of its steps end in the journey

    def of(self, step: str) -> str:
        return "" if step == END else step + self.last


class Read(NamedTuple):
    """A journey, and its rules with the nodes of their ids; the rule that begins it is the first."""

    journey: Journey
    rules: list[tuple[Scalar | None, Rule]]


def read_journeys(reader: Reader, root: Node, scopes: Scopes, tiers: Tiers, policy: ContactPolicy) -> list[Read]:
    found = []
    for node in reader.items(reader.mapping(root, ("journeys",)).get("journeys")):
        id_ = node.entries["id"][1] if isinstance(node, Mapping) and "id" in node.entries else None
        named = id_ if isinstance(id_, Scalar) else None
        reader.rule = named.value if named is not None and named.value.isprintable() else None
        found.append(_journey(reader, node, named, scopes, tiers, policy))
        reader.rule = None
    return found


def _journey(
    reader: Reader, node: Node, named: Scalar | None, scopes: Scopes, tiers: Tiers, policy: ContactPolicy
) -> Read:
    before = reader.faults
    fields = reader.mapping(node, REQUIRED, OPTIONAL)
    id_ = reader.word(fields.get("id"), KEBAB)
    begins, again_s = _entry(reader, fields, id_, scopes, policy)
    ends = _ends(reader, fields, scopes)
    pinned = "pinned" in fields and reader.choice(fields["pinned"], ("true", "false")) == "true"
    versions = [(begins.version, fields.get("steps")), *_earlier(reader, fields, begins.version, pinned=pinned)]
    oldest = min(version for version, _ in versions)
    steps: list[tuple[str, Doing]] = []
    nodes: dict[str, Scalar] = {}
    rules = [(named, begins)]
    for version, given in versions:
        for key, name, doing, acting in _steps(reader, given, id_, pinned_to(version) if pinned else "", scopes):
            steps.append((name, doing))
            nodes[name] = key
            if not isinstance(doing, Act):
                continue
            rule = _act(reader, acting, replace(begins, version=version), JourneyStep(id_, name), scopes, policy)
            if pinned and version == oldest:  # what was sent before the journey was pinned
                rule = replace(rule, was=(f"{id_}/{key.value}",))
            rules.append((key, rule))
            if len(rule.id) > 64:
                reader.problem(key, f"{rule.id} has more than 64 characters", "choose shorter names")
    journey = Journey(id_, again_s, ends, tuple(steps), tuple(version for version, _ in versions) if pinned else ())
    if reader.faults == before and (loop := _loop(journey)):
        remedy = "put a wait for an event or a time between them"
        reader.problem(nodes[loop[0]], f"a loop without a wait: {', '.join(loop)}", remedy)
    read_journey_tests(reader, fields.get("tests"), journey, tiers)
    return Read(journey, rules)


def _earlier(reader: Reader, fields: dict[str, Node], live: int, *, pinned: bool) -> list[tuple[int, Node | None]]:
    """The versions that are kept for whoever began them, the newest first, each with its steps."""
    kept = reader.entries(fields.get("earlier"))
    if kept and not pinned:
        reader.problem(
            fields["earlier"], "earlier without pinned: true", "add it: else everybody follows the live steps"
        )
    if len(kept) > MAX_EARLIER:
        reader.problem(fields["earlier"], f"{len(kept)} earlier versions", f"keep at most {MAX_EARLIER}")
    found: list[tuple[int, Node | None]] = []
    for key, value in kept:
        version = reader.integer(key, 1, 1_000_000)
        if version >= live:
            reader.problem(key, f"version {version} is not earlier than {live}", "raise the journey's version")
        found.append((version, reader.mapping(value, ("steps",)).get("steps")))
    return sorted(found, key=lambda one: -one[0])


def _steps(
    reader: Reader, node: Node | None, id_: str, last: str, scopes: Scopes
) -> Iterable[tuple[Scalar, str, Doing, Node]]:
    """The steps of one version: where each is named, its name in the journey, what it does, and its node."""
    nodes = reader.entries(node)
    if node is not None and not 1 <= len(nodes) <= MAX_STEPS:
        reader.problem(node, f"{len(nodes)} steps", f"write 1 to {MAX_STEPS}")
    names = Names(tuple(key.value for key, _ in nodes), last)
    for (key, step), then in zip(nodes, [*names.steps[1:], END], strict=False):
        name = reader.word(key, KEBAB)
        if name == END:
            reader.problem(key, f'a step called "{END}"', "choose another name: next: end completes the journey")
        if last and LIKE_A_VERSION.fullmatch(name):
            reader.problem(key, f'"{name}" ends like a version', "choose another name: the journey is pinned")
        yield key, name + last, _step(reader, step, names, then, scopes, f"{id_}/{name}"), step


def _entry(
    reader: Reader, fields: dict[str, Node], id_: str, scopes: Scopes, policy: ContactPolicy
) -> tuple[Rule, int | None]:
    """The rule that begins it, and after how long it can begin again."""
    entry = reader.mapping(fields.get("entry"), (), ENTRY_KEYS)
    occasion, when = read_occasion(reader, fields["entry"], entry, scopes) if "entry" in fields else (None, ALWAYS)
    again_s = reader.duration(entry["again"], "mhd", MINUTE_S, MAX_AGAIN_S) if "again" in entry else None
    classes = tuple(one.name for one in policy.classes)
    rule = Rule(
        id=id_,
        version=reader.integer(fields["version"], 1, 1_000_000) if "version" in fields else 1,
        title=reader.words(fields.get("title"), 120),
        owner=reader.owner(fields.get("owner")),
        occasion=occasion or JourneyStep(id_, ""),
        when=when,
        kind=BEGINS,
        audience="team",
        channels=("work_queue",),
        channels_by=None,
        priority=reader.integer(fields["priority"], 0, 100) if "priority" in fields else USUAL_PRIORITY,
        cooldown_s=0,
        cooldown_by=None,
        expires_s=BEGINS_WITHIN_S,
        template="",
        parameters=(),
        description=reader.words(fields.get("description"), 500, lines=True),
        was=reader.former(fields.get("was"), KEBAB),
        serves=cast(Service, reader.choice(fields["serves"], SERVICES) or None) if "serves" in fields else None,
        contact_class=USUAL if USUAL in classes else classes[-1],
        holdout=read_holdout(reader, fields["holdout"]) if "holdout" in fields else None,
        breaker=read_bounds(reader, fields["breaker"]) if "breaker" in fields else None,
    )
    return rule, again_s


def _ends(reader: Reader, fields: dict[str, Node], scopes: Scopes) -> tuple[tuple[str, Expression], ...]:
    ends = [(GOAL, _lasting(reader, fields["goal"], scopes))] if "goal" in fields else []
    exits = reader.entries(fields.get("exits"))
    if len(exits) > MAX_EXITS:
        reader.problem(fields["exits"], f"{len(exits)} exits", f"write at most {MAX_EXITS}")
    for key, value in exits:
        ends.append((_reason(reader, key), _lasting(reader, value, scopes)))
    return tuple(ends)


def _reason(reader: Reader, node: Node) -> str:
    reason = reader.word(node, IDENTIFIER)
    if reason in (GOAL, COMPLETED, CHANGED):
        reader.problem(node, f'"{reason}" has a meaning of its own', "choose another name")
    return reason


def _lasting(reader: Reader, node: Node, scopes: Scopes) -> Expression:
    """A condition over the client that is asked whenever it can have changed."""
    condition = reader.expression(node, scopes[None], BOOL)
    for name in read_by(condition, scopes[None]):
        if name.changes == "now":
            remedy = "compare days, such as client.days_since_login, or wait for a time"
            reader.problem(node, f'"{name.name}" changes all the time', remedy)
            break
    return condition


def _step(reader: Reader, node: Node, names: Names, then: str, scopes: Scopes, own: str) -> Doing:
    fields = reader.mapping(node, (), (*DOES, "next"))
    given = [key for key in DOES if key in fields]
    if reader.whole(node, fields) and len(given) != 1:
        reader.problem(node, f"{len(given)} of {', '.join(DOES)}", "a step does one of them")
    if "next" in fields and given and given[0] not in ("act", "wait"):
        reader.problem(fields["next"], f"next beside {given[0]}", "remove it: the step says where it leads")
    next_ = _to(reader, fields["next"], names) if "next" in fields else names.of(then)
    match given:
        case ["wait", *_]:
            return _wait(reader, fields["wait"], names, next_, scopes, own.partition("/")[0])
        case ["branch", *_]:
            return _branch(reader, fields["branch"], names, next_, scopes)
        case ["split", *_]:
            return _split(reader, fields["split"], names, own)
        case ["exit", *_]:
            return Ends(_reason(reader, fields["exit"]))
    return Act(next_)


def _to(reader: Reader, node: Node | None, names: Names) -> str:
    scalar = reader.scalar(node)
    if scalar is None:
        return ""
    if scalar.value not in (*names.steps, END):
        reader.wrong(scalar, f'no step "{scalar.value[:80]}"', nearest(scalar.value, (*names.steps, END)))
        return ""
    return names.of(scalar.value)


def _wait(reader: Reader, node: Node, names: Names, next_: str, scopes: Scopes, journey: str) -> Waits:
    if isinstance(node, Scalar):
        return Waits("", None, None, reader.duration(node, "mhd", MINUTE_S, MAX_WAIT_S), None, 0, next_, next_)
    fields = reader.mapping(node, (), WAIT_KEYS)
    given = [key for key in fields if key in ("on", "until", "at")] or [key for key in fields if key == "for"]
    if reader.whole(node, fields) and len(given) != 1:
        reader.problem(
            node, f"{len(given)} of on, until, at and for", "a wait has one of them; at may have for beside it"
        )
    for key, beside in (("when", ("on",)), ("of", ("on",)), ("for", ("at", "for")), ("timeout", ("on", "until", "at"))):
        if key in fields and given and given[0] not in beside:
            reader.problem(fields[key], f"{key} beside {given[0]}", "remove it")
    if "otherwise" in fields and "timeout" not in fields:
        reader.problem(fields["otherwise"], "otherwise without timeout", "say after how long, such as timeout: 14d")
    topic = reader.choice(fields["on"], in_order(reader.kinds)) if "on" in fields else ""
    when = None
    if topic and "when" in fields:
        when = reader.expression(fields["when"], scopes[on(topic)], BOOL)
    if topic and "of" in fields:
        when = _of(reader, fields["of"], topic, names, journey, when)
    at = None
    if "at" in fields:
        found = read_calendar(reader, fields["at"], EVERY)
        at = found if isinstance(found, Calendar) else None
    return Waits(
        topic,
        when,
        _lasting(reader, fields["until"], scopes) if "until" in fields else None,
        reader.duration(fields["for"], "mhd", MINUTE_S, MAX_WAIT_S) if "for" in fields else 0,
        at,
        reader.duration(fields["timeout"], "mhd", MINUTE_S, MAX_WAIT_S) if "timeout" in fields else 0,
        next_,
        _to(reader, fields["otherwise"], names) if "otherwise" in fields else next_,
    )


def _of(
    reader: Reader, node: Node, topic: str, names: Names, journey: str, when: Expression | None
) -> Expression | None:
    """What comes back to the action of a step, for which `when` holds."""
    if topic not in COMING_BACK:
        reader.problem(node, f"of beside on: {topic}", f"remove it: it is for {', '.join(COMING_BACK)}")
        return when
    asked = f"{reader.kinds[topic].singular}.rule_id"
    sent = ast.Constant(f"{journey}/{_to(reader, node, names)}")
    meant = ast.Compare(ast.Name(asked, ast.Load()), [ast.Eq()], [sent])
    if when is None:
        return Expression(f"{asked} == {sent.value!r}", meant, BOOL, False, (asked,))
    return replace(when, tree=ast.BoolOp(ast.And(), [meant, when.tree]), names=(asked, *when.names))


def _branch(reader: Reader, node: Node, names: Names, next_: str, scopes: Scopes) -> Branch:
    ways: list[tuple[Expression, str]] = []
    otherwise = next_
    items = reader.items(node)
    if isinstance(node, Scalar | Mapping) or not 1 <= len(items) <= MAX_WAYS:
        if not isinstance(node, Scalar | Mapping):
            reader.problem(node, f"{len(items)} ways", f"write 1 to {MAX_WAYS}")
        return Branch((), otherwise)
    for at, item in enumerate(items):
        last = at == len(items) - 1
        if last and isinstance(item, Mapping) and "otherwise" in item.entries:
            otherwise = _to(reader, reader.mapping(item, ("otherwise",)).get("otherwise"), names)
            continue
        fields = reader.mapping(item, ("when", "to"))
        when = reader.expression(fields["when"], scopes[None], BOOL) if "when" in fields else ALWAYS
        ways.append((when, _to(reader, fields["to"], names) if "to" in fields else ""))
    return Branch(tuple(ways), otherwise)


def _split(reader: Reader, node: Node, names: Names, own: str) -> Split:
    """`own` is its lot, unless it names one."""
    fields = reader.mapping(node, ("to",), ("lot",))
    ways = []
    for key, weight in reader.entries(fields.get("to")):
        ways.append((_to(reader, key, names), reader.integer(weight, 1, MAX_WEIGHT)))
    if "to" in fields and not 2 <= len(ways) <= MAX_WAYS:
        reader.problem(fields["to"], f"{len(ways)} ways", f"write 2 to {MAX_WAYS}, each a step and its weight")
    return Split(reader.word(fields["lot"], IDENTIFIER) if "lot" in fields else own, tuple(ways))


def _act(reader: Reader, node: Node, begins: Rule, at: JourneyStep, scopes: Scopes, policy: ContactPolicy) -> Rule:
    """The rule of an act: what it does not say is the journey's."""
    act = node.entries["act"][1] if isinstance(node, Mapping) and "act" in node.entries else None
    reader.rule = f"{at.journey}/{at.step}"
    fields = reader.mapping(act, ACT_REQUIRED, ACT_OPTIONAL)
    when = reader.expression(fields["when"], scopes[at.triggers[0]], BOOL) if "when" in fields else ALWAYS
    rule = read_action(reader, act or node, fields, at, when, scopes, policy)
    reader.rule = begins.id
    return replace(
        rule,
        id=f"{at.journey}/{at.step}",
        version=begins.version,
        title=rule.title or begins.title,
        owner=begins.owner,
        description=rule.description or begins.description,
        serves=begins.serves,
        cooldown_s=rule.cooldown_s if "cooldown" in fields else 0,
        campaign=rule.campaign or begins.id,
    )


def _loop(journey: Journey) -> tuple[str, ...]:
    """The steps of the first loop that nothing stops; empty without such a loop."""
    steps, done = journey.doing, set[str]()

    def follow(step: str, passed: tuple[str, ...]) -> tuple[str, ...]:
        if step in passed:
            return passed[passed.index(step) :]
        if not step or step in done:
            return ()
        for then in at_once(steps[step]):
            if loop := follow(then, (*passed, step)):
                return loop
        done.add(step)
        return ()

    return next((loop for step in steps if (loop := follow(step, ()))), ())


def at_once(doing: Doing) -> Iterable[str]:
    """The steps that can follow without an event and without a time between."""
    match doing:
        case Act():
            return (doing.next,)
        case Waits():
            return (doing.next,) if doing.until is not None else ()
        case Branch():
            return (*(to for _, to in doing.ways), doing.otherwise)
        case Split():
            return (to for to, _ in doing.ways)
    return ()

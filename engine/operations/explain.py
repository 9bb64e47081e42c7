"""How each rule stands with a client: as it was evaluated, as it would be, what time alone will change.

Enters: a plan and a client's packed state, or its records; a time, an event. Leaves: how each rule stands.
Holds: the engine's own `decide` is watched, on a copy; nothing is written or published.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import TopicPartition

from engine.core.client.items import STANDS, journey
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import DECISIONS, Outcome
from engine.core.decide.path import Due, Input, decide
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.policy.rates import Funds
from engine.core.reading.decode import Taken, kind_of
from engine.core.rules.occasion import Trigger
from engine.core.rules.ruleset import Rule
from engine.insight.decisions import Decided, decided_of
from engine.insight.explain import Explainer, Explanation, watched
from engine.insight.portrait import Portrait, portrait_of
from engine.insight.preview import MAX_TIMERS, Preview, awaited, preview
from engine.insight.score import Score, score_of
from engine.insight.values import ZONE, firm_time
from engine.operations import replay
from engine.operations import snapshot as snapshots
from engine.rulefile.source.document import Mapping, read_document
from engine.rulefile.source.fields import Reader
from engine.rulefile.source.unsure import Unsure
from engine.rulefile.stories.story import Story, firm_time_ms
from engine.runtime.clients import Clients, Consumer
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.kafka.connection import partition_counts, reader, records_between, telling
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.records import Inbound, by_neighbours
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.funds import funds_for
from engine.runtime.redis.keys import client_key
from engine.runtime.redis.pins import pinned_partitions
from engine.runtime.redis.reading import refuse_gone
from engine.runtime.rule_sets.archive import RuleSetArchive, load_directory
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

AHEAD_MS: Final = 400 * DAY_MS  # how far timers are followed
LAST_RECORDS: Final = 100  # markers of transactions may be among them


@dataclass(slots=True)
class Seen:
    """A rule for one client: as it was evaluated, or would be; its outcome; what time alone will change."""

    rule: Rule
    explanation: Explanation
    looked: bool  # at an event or timer, not just now
    outcome: Outcome | None = None
    coming: tuple[int, Outcome] | None = None  # when it will have an outcome if no event comes, and which
    then: Explanation | None = None  # at the time asked for, if that is later than it was evaluated


@dataclass(slots=True)
class Account:
    client: ClientState
    seen: list[Seen]
    score: Score | None
    portrait: Portrait | None
    tiers: tuple[str, ...]  # that the rules have
    happened: list[str] = field(default_factory=list)  # what timers did on the way to the time asked for
    imagined: bool = False  # an event was imagined: what is seen would happen, and has not
    sent: frozenset[Any] = frozenset()  # of the client's recent outcomes, those that have really been


async def account(
    settings: Settings,
    clients: Clients,
    client_id: str,
    *,
    at: str | None,
    event: str | None,
    snapshot: Path | None,
    records: Path | None,
    personal: bool = False,
) -> Account:
    """Load the client from Redis, a snapshot or a record file; `personal` shows what is declared to be. Raises Refused,
    or ValueError if the time or file is invalid.
    """
    if snapshot is not None and records is not None:
        raise Refused("both a snapshot and records; give one of them")
    plan = await plan_in_use(settings, clients)
    if personal:
        plan = compile_rule_set(plan.rule_set.showing_all())
    at_ms = firm_time_ms(at) if at is not None else None
    if event is not None and not event.lstrip().startswith("{"):
        event = Path(event).read_text(encoding="utf-8")
    if records is not None:
        with records.open("rb") as lines:
            found = account_of_records(plan, replay.read_file(lines, str(records)), client_id, at_ms, event)
        if found is None:
            until = f" up to {firm_time(at_ms)} ({ZONE})" if at_ms is not None else ""
            raise Refused(f"{records}: no record of a client {client_id}{until}")
        return found
    packed = await _stored(settings, clients, client_id, snapshot)
    funds = await _funds(settings, clients, plan, client_id) if snapshot is None else None
    if at_ms is None and snapshot is None:  # a live client is asked about now
        at_ms = max(clients.wall_ms(), unpack(plan.layout, packed).now_ms)
    return account_of(plan, packed, at_ms, event, funds)


async def decided(
    settings: Settings,
    clients: Clients,
    client_id: str,
    days: float,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> Decided:
    """What became of the rules that matched for a client: from Redis, and from the topic as far back as `days`;
    `moved(done, of)` tells how many records of it were read. Raises Refused.
    """
    plan = await plan_in_use(settings, clients)
    packed = await _stored(settings, clients, client_id, None)
    since_ms = clients.wall_ms() - round(days * DAY_MS)
    told = await told_since(settings, clients, client_id.encode(), since_ms, moved)
    return decided_of(plan, unpack(plan.layout, packed), told, days)


async def foreseen(settings: Settings, clients: Clients, client_id: str, days: float, snapshot: Path | None) -> Preview:
    """What would reach a client: of Redis from now on, of a snapshot from the client's last moment on. Raises
    Refused.
    """
    plan = await plan_in_use(settings, clients)
    client = unpack(plan.layout, await _stored(settings, clients, client_id, snapshot))
    from_ms = client.now_ms if snapshot is not None else max(clients.wall_ms(), client.now_ms)
    funds = await _funds(settings, clients, plan, client_id) if snapshot is None else None
    return preview(plan, client, from_ms, from_ms + round(days * DAY_MS), funds)


async def told_since(
    settings: Settings,
    clients: Clients,
    key: bytes,
    since_ms: int,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> list[dict[str, Any]]:
    """The decisions of a client that were published since a moment of the wall clock."""
    name = settings.topic(DECISIONS)
    partitions = (await partition_counts(settings, clients, [name])).get(name)
    if partitions is None:
        raise Refused(f"there is no topic {name}: create it with `{settings.create_topics}`")
    tp = TopicPartition(name, partitioner(partitions)(key))
    async with reader(settings, clients, [name], fetch_max_wait_ms=20) as consumer:
        end = (await consumer.end_offsets([tp]))[tp]
        first = await first_since(consumer, tp, since_ms, end)
        records = telling(records_between(consumer, tp, first, end), lambda at: moved(at - first, end - first))
        return [json.loads(r.value) async for r in records if r.key == key and r.timestamp >= since_ms]


async def first_since(consumer: Consumer, tp: TopicPartition, since_ms: int, end: int) -> int:
    """Where records begin that are not older. A broker for trials cannot search by time: there it is the beginning."""
    found = (await consumer.offsets_for_times({tp: since_ms})).get(tp)
    if found is not None:
        return int(found.offset)
    first = (await consumer.beginning_offsets([tp]))[tp]
    last = records_between(consumer, tp, max(first, end - LAST_RECORDS), end)
    return int(first) if any([record.timestamp >= since_ms async for record in last]) else end


async def plan_in_use(settings: Settings, clients: Clients) -> Plan:
    """Of the given directory, else of the active set."""
    if settings.rules is not None:
        return compile_rule_set(load_directory(settings.rules))
    archive = RuleSetArchive(settings, clients)
    await archive.read()
    if archive.head is None:
        raise Refused("no rule set is active; name a directory with --rules")
    return archive.plan(archive.head)


async def tell_waits(
    settings: Settings, clients: Clients, redis: AnyRedis, client_id: str, journeys: list[dict[str, Any]]
) -> str:
    """Adds to the journeys of a client that go on what each waits for, and until when. Returns why that is not known;
    empty if it is.
    """
    try:
        plan = await plan_in_use(settings, clients)
    except (Refused, Unavailable) as error:
        return str(error)
    packed = await from_redis(redis, settings.app_id, client_id)
    client = unpack(plan.layout, packed) if packed is not None else None
    for one in journeys:
        entry = journey(client.journeys, one["journey"]) if client is not None else None
        if client is not None and entry is not None and entry[STANDS] == one["step"]:
            waits_for, due_ms = awaited(plan, client, entry)
            one |= {"waits_for": waits_for or None, "until": rfc3339(due_ms) if due_ms < NEVER_MS else None}
    return ""


async def _stored(settings: Settings, clients: Clients, client_id: str, snapshot: Path | None) -> bytes:
    """The client's state in Redis, or in a snapshot."""
    if snapshot is not None:
        packed = from_snapshot(snapshot, client_id)
    else:
        async with clients.redis(settings) as redis:
            packed = await from_redis(redis, settings.app_id, client_id)
    if packed is None:
        raise Refused(f"no client {client_id} is known")
    return packed


async def _funds(settings: Settings, clients: Clients, plan: Plan, client_id: str) -> Funds | None:
    """What is left of budgets now; None where the rules have none."""
    if not plan.budgets:
        return None
    async with clients.redis(settings) as redis:
        return await funds_for(redis, settings, plan, client_id)


async def from_redis(redis: AnyRedis, app_id: str, client_id: str) -> bytes | None:
    partition = partitioner(await pinned_partitions(redis, app_id))(client_id.encode())
    key = client_key(app_id, partition, client_id)
    with redis_errors():
        found = cast(bytes | None, await redis.hget(key, STATE_FIELD))  # type: ignore[misc]
    if found is None:
        await refuse_gone(redis, app_id, partition, client_id)
    return found


def from_snapshot(path: Path, client_id: str) -> bytes | None:
    found: bytes | None = None
    for write in snapshots.clients_of(path):
        if write.key == client_id:
            found = write.state
    return found


def account_of(
    plan: Plan, packed: bytes, at_ms: int | None, event_text: str | None, funds: Funds | None = None
) -> Account:
    """A client by its stored state, at a later time if given, and with an event then."""
    client = unpack(plan.layout, packed)
    been = frozenset(map(tuple, client.recent))
    happened = _go_on(plan, client, at_ms) if at_ms is not None else []
    if event_text is None:
        return _account(plan, client, _as_it_is(plan, client, funds), happened, been)
    inputs = [_event(plan, client, event_text)]
    seen = _watch(plan, {client.client_id: client}, inputs, client.client_id, funds=funds)
    return replace(_account(plan, client, seen, happened, been), imagined=True)


def account_of_records(
    plan: Plan, records: Iterable[Inbound], client_id: str, at_ms: int | None, event_text: str | None
) -> Account | None:
    """A client by its records up to a time: each rule as it was last evaluated."""
    inputs: list[Input] = []
    key = client_id.encode()
    outcome_of = replay.read_with(plan.declared_types)
    for record, outcome in by_neighbours((record, outcome_of(record)) for record in records):
        if record.key == key and isinstance(outcome, Taken) and (at_ms is None or outcome.event.time <= at_ms):
            inputs.append((kind_of(record.topic, outcome.event), outcome.event))
    if not inputs:
        return None
    states: dict[str, ClientState] = {}
    if event_text is not None:
        decide(plan, states, inputs)
        return account_of(plan, pack(plan.layout, states[client_id]), at_ms, event_text)
    if at_ms is not None:
        inputs.append(Due(client_id, at_ms))
    seen = _watch(plan, states, inputs, client_id, at_ms)
    client = states[client_id]
    return _account(plan, client, seen, [], frozenset(map(tuple, client.recent)))


def _account(plan: Plan, client: ClientState, seen: list[Seen], happened: list[str], been: frozenset[Any]) -> Account:
    tiers = plan.rule_set.tiers.names
    return Account(client, seen, score_of(plan, client), portrait_of(plan, client), tiers, happened, sent=been)


# -- watching ----------------------------------------------------------------------------------------------------------


def _watch(
    plan: Plan,
    states: dict[str, ClientState],
    inputs: list[Input],
    client_id: str,
    at_ms: int | None = None,
    funds: Funds | None = None,
) -> list[Seen]:
    """Every rule as it was last evaluated while the inputs were decided, and as it is after them, at the time asked
    for.
    """
    before = {id_: pack(plan.layout, client) for id_, client in states.items()}
    looks: Counter[Trigger] = Counter()  # how often each trigger was evaluated: only the last time is explained
    decide(watched(plan, lambda trigger, *_: looks.update((trigger,))), states, inputs)
    explainer, found = Explainer(plan, funds), dict[str, Explanation]()
    passed: Counter[Trigger] = Counter()

    def look(trigger: Trigger, client: ClientState, event: Any, move: Any) -> None:
        passed[trigger] += 1
        if passed[trigger] == looks[trigger]:
            for compiled in plan.compiled[trigger]:
                rule = compiled.rule
                found[rule.id] = explainer.explain(rule, trigger, client, event, move)

    again = {id_: unpack(plan.layout, packed) for id_, packed in before.items()}
    outcomes: dict[tuple[str, int], Outcome] = {}
    for item in inputs:
        decided = decide(watched(plan, look), again, [item])
        for rule_id, outcome in decided.outcomes:
            outcomes[rule_id, again[client_id].now_ms] = Outcome(outcome)
    if at_ms is not None:
        states[client_id].advance(plan.layout, at_ms)
    now = {seen.rule.id: seen for seen in _as_it_is(plan, states[client_id], funds)}
    rows = []
    for rule in plan.rule_set.rules:
        seen = now[rule.id]
        if rule.id in found:
            explanation = found[rule.id]
            became = outcomes.get((rule.id, explanation.now_ms))
            if became is Outcome.SENT and explanation.stopped is Outcome.NO_BUDGET:  # which nobody asked meanwhile
                became = Outcome.NO_BUDGET
            then = seen.explanation if at_ms is not None and at_ms > explanation.now_ms else None
            seen = Seen(rule, explanation, True, became, seen.coming, then)
        rows.append(seen)
    return rows


def _as_it_is(plan: Plan, client: ClientState, funds: Funds | None) -> list[Seen]:
    """Every rule now, without an event, and what time alone will change."""
    explainer, coming = Explainer(plan, funds), _coming(plan, client)
    return [
        Seen(rule, explainer.explain(rule, rule.triggers[0], client, None, None), False, None, coming.get(rule.id))
        for rule in plan.rule_set.rules
    ]


def _coming(plan: Plan, client: ClientState) -> dict[str, tuple[int, Outcome]]:
    """Each rule's first outcome if no event comes."""
    found: dict[str, tuple[int, Outcome]] = {}
    for moment_ms, rule_id, outcome in _timers(plan, unpack(plan.layout, pack(plan.layout, client)), None):
        found.setdefault(rule_id, (moment_ms, outcome))
    return found


def _timers(plan: Plan, client: ClientState, until_ms: int | None) -> Iterator[tuple[int, str, Outcome]]:
    """Run the client's timers, each at its time: (time, rule, outcome)."""
    end_ms = client.now_ms + AHEAD_MS if until_ms is None else until_ms
    timeline = Timeline(plan, {client.client_id: client})
    for decided in islice(timeline.reach(end_ms), MAX_TIMERS):
        for rule_id, outcome in decided.outcomes:
            yield client.now_ms, rule_id, Outcome(outcome)


def _go_on(plan: Plan, client: ClientState, at_ms: int) -> list[str]:
    if at_ms < client.now_ms:
        raise Refused(
            f"the state is of {firm_time(client.now_ms)}, later than {firm_time(at_ms)} ({ZONE}); "
            "give --records to look back"
        )
    happened = [f"{firm_time(ms)}  {rule_id}: {outcome}" for ms, rule_id, outcome in _timers(plan, client, at_ms)]
    if client.due_ms <= at_ms:
        raise Refused(f"more than {MAX_TIMERS:,} timers until {firm_time(at_ms)}: ask about an earlier time")
    client.advance(plan.layout, at_ms)
    return happened


def _event(plan: Plan, client: ClientState, text: str) -> Input:
    """An event as tests write it, at the client's present time."""
    root, problems = read_document("event", text)
    reader = Reader("event", text, Unsure(), problems, kinds=plan.rule_set.kinds)
    story = Story(reader, plan.rule_set.tiers, assets_fen=client.assets_fen, margin_ratio=client.margin_ratio)
    if isinstance(root, Mapping):
        story.one_event(root, client.now_ms)
    if problems or not story.events:
        said = "\n".join(map(str, problems)) or "no event"
        raise Refused(f'{said}\nwrite an event as tests do, such as {{"logins": {{"channel": "app"}}}}')
    topic, event = story.events[0]
    return topic, event.model_copy(update={"client_id": client.client_id})

"""Publishing rule sets: a new one, an old one again, a second person's approval.

Enters: a rule set or a digest, who and why. Leaves: one transaction on the rule-set topic, and the Entry it holds.
Holds: whoever appends has read all that others appended before: a later writer fences an earlier one, which then reads
again. A command that finds another head than at its first look stops: what it would replace is not what its user saw.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from engine.core.rules.meaning import changes
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.tools.compatibility import broken
from engine.rulefile.tools.effects import effects
from engine.rulefile.trial.run import run_tests
from engine.runtime.clients import Clients, Producer
from engine.runtime.errors import Fenced, Newer, Refused, Unavailable
from engine.runtime.kafka.connection import TRANSACTION_BACKOFF_MS, discard, errors, start, unreadable
from engine.runtime.kafka.topics import TOPIC_BYTES, largest_record
from engine.runtime.rule_sets.archive import (
    BY_WORKERS,
    HEAD,
    OF_PAUSES,
    SHOWN_DIGITS,
    Action,
    Entry,
    RuleSetArchive,
    load_files,
)
from engine.runtime.rule_sets.carrying import carried, unpaused_digest
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

MAX_SET_BYTES: Final = 8_000_000
OVERHEAD_BYTES: Final = 1_000  # of a record and its batch
MAX_NAME: Final = 100
MAX_NOTE: Final = 500
TRIES: Final = 8
FIRST_PAUSE_S: Final = 0.2  # at most
BREAKING: Final = "change producers first, or publish with --breaking-events: dead letters can be sent again"

Decided = tuple[Entry, dict[str, str]]
Decision = Callable[[RuleSetArchive], Decided | None]  # None: nothing is to be done


async def publish(
    settings: Settings,
    clients: Clients,
    rule_set: RuleSet,
    by: str,
    note: str,
    action: Action = "publish",
    *,
    breaking: bool = False,
    waits: bool | None = None,
) -> Entry | None:
    """Append a rule set whose tests pass, with the pauses that stand; make it active unless the active set asks for
    approval. None when that is so already.

    A worker (`start`, `watch`) publishes nothing that has to be approved: it cannot say who wants it. At its start it
    does not replace a set that a person made active. A person who changes event types so that records are refused has
    to say so (`breaking`); of a worker's, the history and the log tell. `waits`: for somebody else's approval, whatever
    the active set asks for, since it acts on many clients at once; None when nobody has counted them.
    """
    if action not in BY_WORKERS:
        await _refuse_what_does_not_fit(settings, clients, rule_set)
    await _refuse_failing_tests(clients, rule_set)

    def decide(archive: RuleSetArchive) -> Decided | None:
        given = carried(archive, rule_set)
        if archive.head == given.digest or any(e.digest == given.digest for e in archive.waiting()):
            return None
        by_hand = action == "start" and _replaced_by_hand(archive, unpaused_digest(given))
        uncounted = waits is None and archive.asks_how_many(archive.head)
        if by_hand or (action in BY_WORKERS and (uncounted or archive.needs_approval(archive.head))):
            log.warning(
                "the given rules do not become active: the active ones were published by a person or need approval; "
                "use `engage publish` or `engage rules revert`",
                digest=given.digest,
            )
            return None
        entry, lost = _entry(archive, clients.wall_ms(), action, given, by, note), _lost(archive, given)
        if lost and action in BY_WORKERS:
            log.warning("the given rules change event types so that records are refused", changes=lost)
        elif lost and not breaking:
            raise Refused("\n".join(("not published: records of declared events would be refused:", *lost, BREAKING)))
        return replace(entry, in_force=entry.in_force and not (waits or uncounted)), dict(given.files)

    return await append(settings, clients, by, note, decide, patient=action in BY_WORKERS)


def _lost(archive: RuleSetArchive, rule_set: RuleSet) -> tuple[str, ...]:
    """What the records of declared events lose by this set, against the active one."""
    try:
        return broken(archive.plan(archive.head).rule_set, rule_set) if archive.head is not None else ()
    except Refused:  # of another version than this one
        return ()


async def revert(settings: Settings, clients: Clients, beginning: str, by: str, note: str) -> Entry | None:
    """Publish a set that the topic holds again, but for its pauses: those of the active set stand. That may ask for
    approval of this, too.
    """

    def decide(archive: RuleSetArchive) -> Decided | None:
        digest = archive.find(beginning)
        rule_set = carried(archive, load_files(archive.files(digest), f"the rules of rule set {digest}"))
        if archive.head == rule_set.digest:
            return None
        return _entry(archive, clients.wall_ms(), "revert", rule_set, by, note), dict(rule_set.files)

    return await append(settings, clients, by, note, decide)


async def approve(settings: Settings, clients: Clients, beginning: str, by: str, note: str) -> Entry | None:
    """Make a waiting set active, as somebody other than its publisher."""

    def decide(archive: RuleSetArchive) -> Decided | None:
        digest = archive.find(beginning)
        waiting = [entry for entry in archive.waiting() if entry.digest == digest]
        if archive.head == digest:
            return None
        if not waiting:
            raise Refused(
                f"rule set {digest[:SHOWN_DIGITS]} does not wait for approval; `engage rules history` shows what does. "
                "What waited while another set took effect must be published again, since it was compared with another"
            )
        if all(_same_person(entry.by, by) for entry in waiting):
            raise Refused(f"{by} published rule set {digest[:SHOWN_DIGITS]}: somebody else has to approve it")
        entry = next(entry for entry in waiting if not _same_person(entry.by, by))
        rule_set = carried(archive, load_files(archive.files(digest), f"the rules of rule set {digest}"))
        approved = _entry(archive, clients.wall_ms(), "approve", rule_set, by, note)
        return replace(approved, in_force=True, approves=entry.number), dict(rule_set.files)

    return await append(settings, clients, by, note, decide)


async def _refuse_what_does_not_fit(settings: Settings, clients: Clients, rule_set: RuleSet) -> None:
    """Before anything is tried: a set is one record, which the topic may not take."""
    size = len(_record(dict(rule_set.files))) + OVERHEAD_BYTES
    most = await largest_record(settings, clients, settings.rule_set_topic) or MAX_SET_BYTES
    if size > min(most, MAX_SET_BYTES):
        raise Refused(
            f"the rule set is one record of {size:,} bytes, and {settings.rule_set_topic} takes {most:,}: "
            + (
                "remove unused rules, tables and lists"
                if most >= MAX_SET_BYTES
                else f"set its max.message.bytes to {TOPIC_BYTES}"
            )
        )


def _record(files: dict[str, str]) -> bytes:
    return json.dumps({"format": 1, "files": files}, ensure_ascii=False).encode()


async def _refuse_failing_tests(clients: Clients, rule_set: RuleSet) -> None:
    failed = (await clients.aside(run_tests, rule_set)).failed
    if failed:
        lines = [
            f'{r.test.file}:{r.test.line}:{r.test.column}: rule "{r.test.rule}", test "{r.test.name}": {r.failure}'
            for r in failed
        ]
        raise Refused("\n".join((f"not published, {len(failed)} of the rules' tests fail:", *lines)))


def _replaced_by_hand(archive: RuleSetArchive, digest: str) -> bool:
    """Whether a set was active, whatever was paused then, and a person has replaced it since."""
    effective = [entry for entry in archive.history if entry.in_force and entry.action not in OF_PAUSES]
    return digest in (e.unpaused or e.digest for e in effective) and effective[-1].action not in BY_WORKERS


def _same_person(one: str, other: str) -> bool:
    return " ".join(one.casefold().split()) == " ".join(other.casefold().split())


def _entry(archive: RuleSetArchive, time_ms: int, action: Action, rule_set: RuleSet, by: str, note: str) -> Entry:
    head = archive.head
    entry = next_entry(archive, time_ms, action, rule_set.digest, unpaused_digest(rule_set), by, note)
    if head is None:
        return replace(entry, added=len(rule_set.rules), changed=0, removed=0)
    try:
        before = archive.plan(head).rule_set
    except Refused:  # of another version than this one
        return entry
    difference = changes(before, rule_set)
    return replace(
        entry,
        added=len(difference.added),
        changed=len(difference.changed),
        removed=len(difference.removed),
        parts=difference.parts,
        effects=effects(before, rule_set),
    )


def next_entry(
    archive: RuleSetArchive, time_ms: int, action: Action, digest: str, unpaused: str, by: str, note: str
) -> Entry:
    """What follows the last entry of the history, before it is said what differs."""
    return Entry(
        number=max((entry.number for entry in archive.history), default=0) + 1,
        time_ms=time_ms,
        action=action,
        digest=digest,
        by=by,
        note=note,
        over=archive.head,
        in_force=not archive.needs_approval(archive.head),
        unpaused=unpaused if unpaused != digest else None,
    )


async def append(
    settings: Settings, clients: Clients, by: str, note: str, decide: Decision, patient: bool = False
) -> Entry | None:
    for text, what, most in ((by, "name", MAX_NAME), (note, "note", MAX_NOTE)):
        if not text.isprintable() or len(text) > most or (text is by and not text.strip()):
            raise Refused(f"the {what} must be one line of at most {most} characters")
    heads: list[str | None] = []  # at the first look, and now
    for attempt in range(TRIES):
        archive = RuleSetArchive(settings, clients)
        producer = _producer(settings, clients)
        try:
            await start(producer, settings)  # fences who is about to append, and ends what one left open
            whole = await archive.read_all()
            if archive.newer is not None:  # what the next entry's number is, and what it follows, is not known here
                raise Newer(archive.newer)
            heads = [*heads[:1], archive.head]
            if not patient and heads[0] != heads[-1]:
                raise Refused(
                    f"somebody else made rule set {(archive.head or '')[:SHOWN_DIGITS]} active at this moment: see "
                    "`engage rules history`, then try again if it still applies"
                )
            decided = await clients.aside(decide, archive)  # it loads the active set, to say what differs
            if decided is not None:
                if not whole:  # somebody else's set may wait there
                    fault = unreadable(archive.tp, archive.next)
                    raise Unavailable("kafka", fault) if patient else Refused(f"not published: {fault}")
                await _commit(settings, producer, archive, *decided)
                log.info("rule set published", **_told(decided[0]))
            return decided[0] if decided else None
        except Fenced:
            if attempt < TRIES - 1:
                await asyncio.sleep(_pause_s(attempt, clients.chance()))
        finally:
            await discard(producer)
    raise Unavailable("kafka", "others publish rule sets at the same time; try again")


def _pause_s(attempt: int, chance: float) -> float:
    """A random time up to a bound that doubles: publishers that wait equally long would fence each other again."""
    return FIRST_PAUSE_S * 2**attempt * chance


def _producer(settings: Settings, clients: Clients) -> Producer:
    return clients.producer(
        **settings.kafka_client(TRANSACTION_BACKOFF_MS),
        transactional_id=f"{settings.prefix}{settings.app_id}-rule-sets",
        transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
        max_request_size=MAX_SET_BYTES,
        linger_ms=0,
    )


async def _commit(
    settings: Settings, producer: Producer, archive: RuleSetArchive, entry: Entry, files: dict[str, str]
) -> None:
    records = [(entry.key, entry.encode())]
    if files and not archive.holds(entry.digest):
        value = _record(files)
        if len(value) > MAX_SET_BYTES - OVERHEAD_BYTES:
            raise Refused(f"the rule files are {len(value):,} bytes: the topic takes {MAX_SET_BYTES:,} at most")
        records.insert(0, (entry.digest.encode(), value))
    if entry.in_force:
        records.append((HEAD, entry.digest.encode()))
    with errors():
        async with asyncio.timeout(settings.transaction_timeout_s):
            await producer.begin_transaction()
            sends = [await producer.send(settings.rule_set_topic, v, key=k, partition=0) for k, v in records]
            await asyncio.gather(*sends)  # aiokafka's commit ignores batches that failed
            await producer.commit_transaction()
    if not await archive.read_all():
        raise Unavailable("kafka", f"the rule set is published, but {unreadable(archive.tp, archive.next)}")


def _told(entry: Entry) -> dict[str, object]:
    return {"digest": entry.digest, "by": entry.by, "note": entry.note, "in_force": entry.in_force}

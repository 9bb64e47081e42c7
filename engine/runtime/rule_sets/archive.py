"""What the rule-set topic holds: every published set, who did what when, and which is active.

Enters: records of the topic. Leaves: the head, plans by digest, the history.
Holds: whatever is on the topic can be loaded again from it alone; bytes that cannot be read leave the rest usable; a
head that skipped the approval which the set before it asks for does not count.

Keys: a digest (its value holds the files), history/<number> (an Entry; each key is written once, so that compaction
keeps it), head (a digest, alone: 0.1.0 reads it so). The others' values are JSON objects that name their `format`; one
without it is of 0.1.0. What belongs together is one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import structlog
from aiokafka import TopicPartition

from engine.core.contract.topics import Kinds
from engine.core.plan.compile import Plan, compile_rule_set, paused_otherwise
from engine.core.rules.event_types import declared_by
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.event_types import event_types_of
from engine.rulefile.read.load import DirectoryError, load, read_directory, repaused
from engine.rulefile.read.load import digest as digest_of
from engine.rulefile.read.pauses import without_pauses
from engine.rulefile.source.document import Mapping as MappingNode
from engine.rulefile.source.document import Scalar, read_document
from engine.rulefile.source.problem import Problem
from engine.runtime.clients import Clients
from engine.runtime.errors import Newer, Refused
from engine.runtime.formats import RULE_SET_FORMAT, check_readable
from engine.runtime.kafka.connection import log_bounds, reader, records_between
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

HEAD: Final = b"head"
HISTORY: Final = "history/"
VISIBLE_S: Final = 10.0
MAX_NUMBER: Final = 99_999_999
MAX_TIME_MS: Final = 253_402_300_799_000  # the year 9999
# The embedded broker writes the ends of transactions without a valid checksum. A set's own digest is checked here.
READ_WITH: Final[Mapping[str, Any]] = {"check_crcs": False}
SHOWN_DIGITS: Final = 12  # of a digest, where people read it

Action = Literal["publish", "start", "watch", "revert", "approve", "pause", "resume"]
OF_PAUSES: Final = ("pause", "resume")
BY_WORKERS: Final = ("start", "watch")


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody did. `over` was active then; `approves` is the number of the entry that waited for it."""

    number: int
    time_ms: int
    action: Action
    digest: str
    by: str
    note: str
    over: str | None
    in_force: bool  # it took effect at once; otherwise it waits for approval
    approves: int | None = None
    added: int | None = None  # None: the set before could not be loaded, so nothing was compared
    changed: int | None = None
    removed: int | None = None
    parts: tuple[str, ...] = ()  # what else differs: features, tiers, policy, pauses
    effects: tuple[str, ...] = ()  # what becomes of what is known of clients, a sentence each
    unpaused: str | None = None  # names the set's files without its pauses; None: it has none

    @property
    def key(self) -> bytes:
        return f"{HISTORY}{self.number:08d}".encode()

    def __str__(self) -> str:
        """One printable line: when, which, what, who, what differs, why."""
        when = dt.datetime.fromtimestamp(self.time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        named = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        counts = ", ".join(f"{number} {what}" for what, number in named if number)
        rules = f"rules {counts}" if counts else "rules as before" if self.added is not None else "rules not compared"
        differ = ", ".join((rules, *self.parts))
        note = f': "{self.note}"' if self.note else ""
        said = f"{self.number:>4}  {when}  {self.digest[:SHOWN_DIGITS]}  {self.action} by {self.by}{note} ({differ})"
        return "".join(character if character.isprintable() else "?" for character in said)

    def encode(self) -> bytes:
        format_ = RULE_SET_FORMAT if self.action in OF_PAUSES else 1  # who does not know these would number them again
        return json.dumps({"format": format_, **asdict(self)}, ensure_ascii=False).encode()

    @staticmethod
    def decode(found: Mapping[str, Any]) -> Entry:
        """Raises ValueError, KeyError or TypeError; fields of a later version are left out."""
        texts = {name: tuple(map(str, found.get(name, ()))) for name in ("parts", "effects")}
        entry = Entry(**{name: found[name] for name in Entry.__slots__ if name in found} | texts)
        maybe = (entry.approves, entry.added, entry.changed, entry.removed)
        words = entry.digest, entry.by, entry.note
        if not (
            0 < entry.number <= MAX_NUMBER
            and 0 <= entry.time_ms <= MAX_TIME_MS
            and all(isinstance(number, int | None) for number in maybe)
            and all(isinstance(text, str) for text in words)
            and isinstance(entry.over, str | None)
            and isinstance(entry.unpaused, str | None)
            and isinstance(entry.in_force, bool)
            and entry.action in get_args(Action)
        ):
            raise ValueError("not an entry of the history")
        return entry


def load_directory(directory: Path) -> RuleSet:
    """The rule set of a directory. Raises Refused with every problem of every file."""
    try:
        files = read_directory(directory)
    except DirectoryError as error:
        raise Refused(str(error)) from error
    return _accepted(load(files), f"the rules in {directory}")


def load_files(files: Mapping[str, str], whose: str) -> RuleSet:
    """A set of the topic."""
    return _accepted(load(files, published=True), whose)


def _accepted(rule_set: RuleSet | tuple[Problem, ...], whose: str) -> RuleSet:
    if isinstance(rule_set, RuleSet):
        return rule_set
    raise Refused(f"{whose} are refused, {len(rule_set)} problems:\n" + "\n".join(map(str, rule_set)))


class RuleSetArchive:
    """All rule sets that the topic holds, their history, and the head."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        self.tp = TopicPartition(settings.rule_set_topic, 0)
        self.named_head: str | None = None  # what the key `head` says
        self.next = 0  # the offset to read next
        # by digest, as they came but packed: they are some hundred KB for each set that ever was
        self._texts: dict[str, bytes] = {}
        self._history: dict[int, Entry] = {}
        self._plans: dict[str, Plan] = {}
        self._types: dict[str, Kinds] = {}
        self._newer: dict[str, str] = {}  # by key, what is to be said of records of a newer engine

    async def read(self) -> None:
        """Read the topic to its end."""
        async with reader(self._settings, self._clients, **READ_WITH) as consumer:
            first = (await consumer.beginning_offsets([self.tp]))[self.tp]
            end = (await consumer.end_offsets([self.tp]))[self.tp]
            async for record in records_between(consumer, self.tp, max(first, self.next), end):
                self.take(record)
            self.next = max(self.next, end)

    async def read_all(self) -> bool:
        """Read also what others have committed behind an open transaction: false if that does not end soon. A commit of
        one's own, too, has succeeded a moment before readers see what it holds.
        """
        _, end = await log_bounds(self._settings, self._clients, self.tp)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(VISIBLE_S):
                await self.read()
                while self.next < end:
                    await self.read()
        return self.next >= end

    def take(self, record: Any) -> None:
        """Apply the next record that a consumer read."""
        self.add(record.key, record.value)
        self.next = record.offset + 1

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Apply one record of the topic."""
        if key == HEAD and value:
            self.named_head = value.decode("utf-8", "replace")
        elif key and value:
            try:
                name = key.decode()
                found = dict(json.loads(value))
                check_readable(f"{name} on the rule-set topic", found.get("format", RULE_SET_FORMAT), RULE_SET_FORMAT)
                if name.startswith(HISTORY):
                    entry = Entry.decode(found)
                    self._history[entry.number] = entry
                else:
                    files = dict(found["files"])
                    if not all(isinstance(text, str) for pair in files.items() for text in pair):
                        raise ValueError("not names and texts of files")
                    self._texts[name] = zlib.compress(value)
            except Newer as error:
                self._newer[name] = str(error)
                log.warning("a record of a newer engine", key=name, error=str(error))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                log.error(
                    "a record of the rule-set topic cannot be read",
                    key=key.decode("utf-8", "replace"),
                    error=str(error),
                )

    @property
    def newer(self) -> str | None:
        """Why a record that a newer engine wrote is not read, if there is one."""
        return next(iter(self._newer.values()), None)

    @property
    def history(self) -> list[Entry]:
        """The history, oldest first."""
        return [self._history[number] for number in sorted(self._history)]

    @property
    def head(self) -> str | None:
        """The digest of the set that workers must use."""
        last = next((entry.digest for entry in reversed(self.history) if entry.in_force), None)
        if last is not None and last != self.named_head and self.needs_approval(last):
            return last  # somebody moved the head without a word in the history, so nobody approved it
        return self.named_head

    def needs_approval(self, digest: str | None) -> bool:
        """Whether a set may be replaced only with a second person's consent. It need not be loadable."""
        return self._on_publishing(digest, "approval") == "true"

    def asks_how_many(self, digest: str | None) -> bool:
        """Whether a second person has to consent to what acts on many clients at once. It need not be loadable."""
        return self._on_publishing(digest, "approve_above") is not None

    def _on_publishing(self, digest: str | None, key: str) -> str | None:
        """What the policy of a set says of publishing."""
        root: Any = read_document("", self._files(digest or "").get("policy.yaml", ""), published=True)[0]
        for name in ("publishing", key):
            root = root.entries.get(name, (None, None))[1] if isinstance(root, MappingNode) else None
        return root.value if isinstance(root, Scalar) else None

    def waiting(self) -> list[Entry]:
        """Entries that can be approved, newest first. One that waited while another set took effect has lapsed; a pause
        does not end the wait.
        """
        found: list[Entry] = []
        for entry in reversed(self.history):
            if entry.in_force and entry.action not in OF_PAUSES:
                break
            found += [] if entry.in_force else [entry]
        return [entry for entry in found if self.unpaused(entry.over) == self.unpaused(self.head)]

    def unpaused(self, digest: str | None) -> str | None:
        """Names the files of a set as people wrote them; the digest itself if the topic does not hold it."""
        files = self._files(digest or "")
        return digest_of(without_pauses(files)) if files else digest

    def standing(self, entry: Entry) -> str:
        """What became of an entry: active, waits, approved by whom, lapsed."""
        history = self.history
        if entry == next((e for e in reversed(history) if e.in_force), None) and entry.digest == self.head:
            return "active"
        if entry.in_force:
            return ""
        approval = next((e for e in history if e.approves == entry.number), None)
        if approval is not None:
            return f"approved by {approval.by}"
        return "waits for approval" if entry in self.waiting() else "lapsed"

    def newest_first(self) -> list[str]:
        """Digests of the sets that have been active, the last first."""
        history = self.history
        named = {entry.digest for entry in history}
        before = [digest for digest in self._texts if digest not in named]  # from before there was a history
        return list(dict.fromkeys([e.digest for e in reversed(history) if e.in_force] + before[::-1]))

    def files(self, digest: str) -> dict[str, str]:
        """The texts by file name. Raises Refused when the topic does not hold them, Newer when they cannot be read."""
        if digest in self._newer:
            raise Newer(self._newer[digest])
        files = self._files(digest)
        if not files:
            raise Refused(f"the topic {self.tp.topic} does not hold the rule set {digest}")
        if digest_of(files) != digest:
            raise Refused(f"the topic {self.tp.topic} holds other files than were published as rule set {digest}")
        return files

    def _files(self, digest: str) -> dict[str, str]:
        return dict(json.loads(zlib.decompress(self._texts[digest]))["files"]) if digest in self._texts else {}

    def holds(self, digest: str) -> bool:
        return digest in self._texts

    def find(self, beginning: str) -> str:
        """The one digest with this beginning. Raises Refused if there is none, or several."""
        found = [digest for digest in self._texts if digest.startswith(beginning)] if len(beginning) >= 4 else []
        if len(found) == 1:
            return found[0]
        fault = f"{len(found)} rule sets begin with" if found else "no rule set on the topic begins with"
        raise Refused(f"{fault} {beginning}: give the digest, or at least 4 digits, as `engage rules history` shows it")

    def plan(self, digest: str) -> Plan:
        """The rule set of this digest, compiled. Raises Refused if the topic does not hold it or it has problems."""
        plan = self._plans.get(digest)
        if plan is None:
            files = self.files(digest)
            plan = self._plans[digest] = self._of_known_rules(files) or compile_rule_set(
                load_files(files, f"the rules of rule set {digest}")
            )
        return plan

    def _of_known_rules(self, files: dict[str, str]) -> Plan | None:
        """By a plan that is at hand, if nothing but pauses differs from its rules."""
        sets = ((plan, repaused(plan.rule_set, files)) for plan in self._plans.values())
        return next((paused_otherwise(plan, found) for plan, found in sets if found is not None), None)

    def declared_types(self, digest: str) -> Kinds:
        """The event types that a set declares, without compiling it. Raises Refused, Newer."""
        if digest not in self._types:
            self._types[digest] = declared_by(event_types_of(self.files(digest)))
        return self._types[digest]

    def forget_plans_but(self, digest: str) -> None:
        """Forget compiled plans: each takes a megabyte or more, and a worker would keep one of every set that came."""
        self._plans = {digest: self._plans[digest]}

"""The state of a pool: who has whom, what was answered, what waits.

Enters: what was decided. Leaves: PoolState, and its bytes.
Holds: what an advisor has is the sum of the book's weights; a client is in the book once; a request is answered or
waits, never both.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from engine.core.firm_time import DAY_MS, NEVER_MS

VERSION: Final = 3
WITHOUT_TASKS: Final = 2  # of pools that were asked for no room for tasks: older engines read those
WITHOUT_FACTS: Final = 1  # of pools that have heard nothing of advisors: older engines read those
MAX_ANSWERS: Final = 4_096
ANSWERS_KEPT_MS: Final = 31 * DAY_MS
ROOM, AWAY = "room", "away"  # what is answered to who asks whether an advisor has room for a task
OF_ANSWER: Final = 4  # fields that are stored
_packer: Final = msgpack.Packer(use_bin_type=False)


class NewerPool(ValueError):
    """A newer engine wrote the state."""


Needs = tuple[tuple[str, int], ...]


class Entry(NamedTuple):
    """A client in the book, with what was asked for: pools of the first releases lack that."""

    advisor: str
    weight: int
    request: str
    tier: str | None = None
    region: str | None = None
    language: str | None = None
    needs: Needs = ()
    refused: tuple[str, ...] = ()  # advisors who are not to have the client: they declined, or gave the client up
    accept_by_ms: int = NEVER_MS  # until then the advisor has to accept; NEVER_MS: nothing is open


class Given(NamedTuple):
    """An answer. `advisor` is "" when there was nobody. `why` is of those who have an advisor already, and are given to
    another: declined, not_accepted, handover, other_pool, conflict, stand_in or back. A pool keeps those without.
    `number` tells moves apart.
    """

    time_ms: int
    client: str
    advisor: str
    team: str
    why: str = ""
    number: int = 0


class Waiting(NamedTuple):
    """A request that nobody could take yet."""

    priority: int
    asked_ms: int
    request: str
    client: str
    tier: str | None
    region: str | None
    language: str | None
    needs: Needs
    refused: tuple[str, ...] = ()  # see Entry

    @property
    def turn(self) -> tuple[int, int, str]:
        """Whose turn it is first."""
        return -self.priority, self.asked_ms, self.request


class Task(NamedTuple):
    """A task or alert that is open with an advisor, or waits until there is room."""

    priority: int
    asked_ms: int
    client: str
    advisor: str
    given_ms: int = 0  # when there was room; 0: it waits


class Fact(NamedTuple):
    """What the topic advisors said last of an advisor, and when: see core/assign/staff.py."""

    time_ms: int
    event: str
    value: Any


class PoolState:
    __slots__ = (
        "answers",
        "apart",
        "away",
        "book",
        "capacity",
        "counted",
        "due_ms",
        "ended",
        "loads",
        "moves",
        "name",
        "now_ms",
        "open",
        "packed_answers",
        "packed_book",
        "packed_tasks",
        "queue",
        "queued",
        "said",
        "staff",
        "tasks",
    )

    def __init__(self, name: str, now_ms: int) -> None:
        self.name = name
        self.now_ms = now_ms
        self.due_ms = NEVER_MS  # when the next step of what waits falls due
        self.book: dict[str, Entry] = {}  # by client
        self.answers: dict[str, Given] = {}  # by request, the oldest first
        self.queue: list[Waiting] = []  # by turn
        self.away: dict[str, str] = {}  # who is on leave -> the stand-in that clients heard of
        self.apart: set[str] = set()  # clients of those on leave who must not have the stand-in, and stayed
        self.moves = 0  # so far
        self.capacity = 0  # of all its advisors together, when it was decided last: for those who read it
        self.said: dict[str, dict[str, Fact]] = {}  # by advisor: what the topic advisors says of it
        self.tasks: dict[str, Task] = {}  # by request: what is open with advisors, or waits for room; see tasks.py
        self.ended: dict[str, int] = {}  # requests of those that are over -> when; the oldest first
        self.open: Counter[str] = Counter()  # not stored, as what follows: by advisor, how many are open,
        self.queued: dict[str, list[tuple[int, int, str]]] = {}  # and what waits, by turn
        self.packed_tasks: dict[str, bytes] = {}
        # not stored: what follows from the book; and each client and request as it is stored, in the same order, since
        # a book has thousands of clients and a unit changes a few
        self.loads: Counter[str] = Counter()
        self.packed_book: dict[str, bytes] = {}
        self.packed_answers: dict[str, bytes] = {}
        self.staff: Any = None  # of a roster, with what was said
        self.counted: Any = None  # whose capacity was added up

    def enter(self, client: str, entry: Entry) -> None:
        self.remove(client)
        self.book[client] = entry
        self.packed_book[client] = _packer.pack(client) + _packer.pack(entry)
        self.loads[entry.advisor] += entry.weight

    def remove(self, client: str) -> None:
        if (entry := self.book.pop(client, None)) is not None:
            self.loads[entry.advisor] -= entry.weight
            del self.packed_book[client]

    def put(self, request: str, task: Task) -> None:
        """It waits, or there is room for it."""
        self.take(request)
        self.tasks[request] = task
        self.packed_tasks[request] = _packer.pack(request) + _packer.pack(task)
        if task.given_ms:
            self.open[task.advisor] += 1
        else:
            insort(self.queued.setdefault(task.advisor, []), (-task.priority, task.asked_ms, request))

    def take(self, request: str) -> Task | None:
        """It is neither open any more, nor does it wait."""
        if (task := self.tasks.pop(request, None)) is None:
            return None
        del self.packed_tasks[request]
        if task.given_ms:
            self.open[task.advisor] -= 1
        else:
            waits = self.queued[task.advisor]
            waits.remove((-task.priority, task.asked_ms, request))
            if not waits:
                del self.queued[task.advisor]
        return task

    def end(self, request: str) -> Task | None:
        """It is over: asked for again, it is known as that."""
        task = self.take(request)
        self.ended.pop(request, None)
        self.ended[request] = self.now_ms
        while self.ended:
            oldest = next(iter(self.ended))
            if len(self.ended) <= MAX_ANSWERS and self.ended[oldest] + ANSWERS_KEPT_MS > self.now_ms:
                break
            del self.ended[oldest]
        return task

    @property
    def absent(self) -> int:
        """How many advisors the topic says are absent."""
        return sum(facts["present"].value is False for facts in self.said.values() if "present" in facts)

    def moved(self, client: str, advisor: str, team: str, why: str) -> Given:
        self.moves += 1
        return Given(self.now_ms, client, advisor, team, why, self.moves)

    def answered(self, request: str, given: Given) -> None:
        self.remember(request, given)
        while self.answers:
            oldest = next(iter(self.answers))
            if len(self.answers) <= MAX_ANSWERS and self.answers[oldest].time_ms + ANSWERS_KEPT_MS > self.now_ms:
                break
            del self.answers[oldest], self.packed_answers[oldest]

    def remember(self, request: str, given: Given) -> None:
        """An answer that was given."""
        self.answers[request] = given
        self.packed_answers[request] = _packer.pack(request) + _packer.pack(given[:OF_ANSWER])


def pack(pool: PoolState) -> bytes:
    fields = {
        "n": _packer.pack(pool.now_ms),
        "d": _packer.pack(pool.due_ms),
        "b": _map(pool.packed_book),
        "a": _map(pool.packed_answers),
        "q": _packer.pack(pool.queue),
    }
    if pool.capacity:
        fields["c"] = _packer.pack(pool.capacity)
    if pool.moves:
        fields["m"] = _packer.pack(pool.moves)
    if pool.away:
        fields["w"] = _packer.pack(pool.away)
    if pool.apart:
        fields["x"] = _packer.pack(sorted(pool.apart))
    if pool.said:
        fields["s"] = _packer.pack(pool.said)
    if pool.tasks:
        fields["t"] = _map(pool.packed_tasks)
    if pool.ended:
        fields["e"] = _packer.pack(pool.ended)
    version = VERSION if pool.tasks or pool.ended else WITHOUT_TASKS if pool.said else WITHOUT_FACTS
    parts = [_packer.pack_array_header(3), _packer.pack(version), _packer.pack(pool.name)]
    parts.append(_packer.pack_map_header(len(fields)))
    for name, packed in fields.items():
        parts += [_packer.pack(name), packed]
    return b"".join(parts)


def _map(packed: Mapping[str, bytes]) -> bytes:
    """Names and values that are packed already."""
    return b"".join((_packer.pack_map_header(len(packed)), *packed.values()))


def unpack(packed: bytes) -> PoolState:
    """Raises NewerPool when a newer release wrote it, ValueError and others when nothing of the engine's did."""
    version, name, fields = msgpack.unpackb(packed, raw=False)
    if version > VERSION:
        raise NewerPool(f"the state of a pool has version {version}, this engine reads up to {VERSION}")
    pool = PoolState(name, fields["n"])
    pool.due_ms = fields["d"]
    for client, entry in fields["b"].items():
        pool.enter(client, _entry(entry))
    for request, given in fields["a"].items():
        pool.remember(request, Given(*given))
    pool.queue = [_waiting(one) for one in fields["q"]]
    pool.away, pool.moves = fields.get("w", {}), fields.get("m", 0)
    pool.capacity, pool.apart = fields.get("c", 0), set(fields.get("x", ()))
    pool.ended = fields.get("e", {})
    for request, task in fields.get("t", {}).items():
        pool.put(request, Task(*task))
    for advisor, facts in fields.get("s", {}).items():
        pool.said[advisor] = {name: Fact(*fact) for name, fact in facts.items()}
    return pool


def _entry(stored: list[Any]) -> Entry:
    entry = Entry(*stored)
    return entry._replace(needs=_needs(entry.needs), refused=tuple(entry.refused))


def _waiting(stored: list[Any]) -> Waiting:
    one = Waiting(*stored)
    return one._replace(needs=_needs(one.needs), refused=tuple(one.refused))


def _needs(stored: Iterable[Sequence[Any]]) -> Needs:
    return tuple((skill, level) for skill, level in stored)

"""`engage load`: the past of a firm's clients, from files or from the topics, decided without publishing.

Enters: records up to a moment, the active rules. Leaves: states, and positions from which workers go on.
Holds: states are committed through the ledger, as a worker's are, and the position says how far the load has come; so
whatever ends it, it goes on from there, each client once. No worker decides before it has come to its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from engine.core.plan.compile import Plan
from engine.loading.deciding import Counts, Decided, Past
from engine.loading.pool import decide_one, read_part
from engine.loading.report import Progress
from engine.loading.sources import TOPIC, Part
from engine.loading.spill import Index, Row, Spill, bucket_of, letters_of, write_whole
from engine.runtime.clients import Processes
from engine.runtime.errors import Refused
from engine.runtime.partitioning import partitioner

_T = TypeVar("_T")
BUCKET_BYTES: Final = 16_000_000  # of input: what a process holds at once is several times as much


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be loaded, and how."""

    parts: list[Part]
    past: Past
    work: Path
    letters: Path
    jobs: int
    partitions: int
    bucket_bytes: int = BUCKET_BYTES

    @property
    def each(self) -> int:
        """Buckets of a partition. It follows from the input, so that a load that goes on has as many."""
        size = sum(part.size for part in self.parts)
        return max(-(-size // (self.bucket_bytes * self.partitions)), 1)


class Load:
    """One load, from splitting to the last mark."""

    def __init__(
        self,
        order: Order,
        rules: tuple[str, Mapping[str, str]],
        pool: Processes,
        progress: Progress,
        topic: Callable[[Part], AsyncIterator[Row]] | None = None,
    ) -> None:
        """`rules`: digest and files. `topic` reads a part that is a partition of a topic."""
        self._topic = topic
        self._order = order
        self._rules = rules
        self._pool = pool
        self._progress = progress
        self._counts = Counts()
        self._room = asyncio.Semaphore(2 * pool.jobs)  # buckets being decided, or decided and not committed

    # -- reading -----------------------------------------------------------------------------------

    async def split(self) -> None:
        """Raises Refused. From now on `id` names the load by all that its states follow from."""
        order = self._order
        self._progress.begin("reading", sum(part.size for part in order.parts))

        async def one(number: int, part: Part) -> Index:
            given = number, part, order.work, order.partitions, order.each
            found: Index = await (self._read_topic(*given) if part.kind == TOPIC else self._pool.run(read_part, *given))
            self._progress.done(part.size)
            return found

        self._indexes = await together(one(*numbered) for numbered in enumerate(order.parts))
        past = order.past
        said = [*astuple(past), self._rules[0], order.partitions, order.each]
        text = json.dumps([*said, [index.digest for index in self._indexes]])
        self.id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._decided = order.work / f"decided-{self.id}"
        self._decided.mkdir(exist_ok=True)

    async def _read_topic(self, number: int, part: Part, work: Path, partitions: int, each: int) -> Index:
        if (found := Index.read(work, number)) is not None:
            return found
        assert self._topic is not None
        with Spill(work, number, bucket_of(each, partitioner(partitions))) as spill:
            async for row in self._topic(part):
                spill.add(row)
            return spill.end(0)

    # -- deciding ----------------------------------------------------------------------------------

    def begin(self) -> None:
        sizes: Counter[int] = Counter()
        for index in self._indexes:
            for bucket, pieces in index.pieces.items():
                sizes[bucket] += sum(size for _, size in pieces)
        self._sizes = sizes
        self._progress.begin("deciding", sizes.total())

    async def bucket(self, number: int) -> Decided:
        """Decide a bucket; its letters are on the disk when this returns."""
        pieces = [(part, at) for part, index in enumerate(self._indexes) if (at := index.pieces.get(number))]
        decided: Decided = await self._pool.run(decide_one, self._rules, self._order.past, self._order.work, pieces)
        letters = b"".join(line + b"\n" for line in decided.letters)
        write_whole(self._decided / f"{number:05}.refused", letters)
        write_whole(self._decided / f"{number:05}.counts", _packed(decided.counts))
        return decided

    async def partition(self, number: int, skip: int, take: Callable[[int, Decided], Any]) -> None:
        """Decide the buckets of a partition from the one after `skip` on, several at once, and hand each over in
        order.
        """
        first, each = number * self._order.each, self._order.each
        for bucket in range(first, first + skip):  # committed by a run before this one
            if not (self._decided / f"{bucket:05}.counts").exists():
                await self._within_room(bucket)
            self._progress.done(self._sizes[bucket])
        waiting: list[asyncio.Task[Decided]] = []
        ahead = max(2 * self._pool.jobs // self._order.partitions, 1)
        todo = list(range(first + skip, first + each))
        try:
            for place, bucket in enumerate(todo):
                while len(waiting) < ahead and place + len(waiting) < len(todo):
                    waiting.append(asyncio.create_task(self._within_room(todo[place + len(waiting)])))
                await take(bucket - first, await waiting.pop(0))
                self._progress.done(self._sizes[bucket])
        finally:
            for task in waiting:
                task.cancel()

    async def _within_room(self, bucket: int) -> Decided:
        async with self._room:
            return await self.bucket(bucket)

    # -- what is left ------------------------------------------------------------------------------

    def finish(self) -> Counts | None:
        """Counts of all buckets, of runs before this one too; the file of dead letters. None: a run before this one
        has written that.
        """
        order, counts = self._order, Counts()
        if not all((self._decided / f"{bucket:05}.counts").exists() for bucket in range(order.partitions * order.each)):
            return None
        lines: list[bytes] = []
        began: dict[Path, int] = {}
        places: list[int] = []  # lines of the file before each part
        for part, index in zip(order.parts, self._indexes, strict=True):
            places.append(began.get(part.path, 0))
            began[part.path] = places[-1] + index.lines
        found = [
            {**letter, "part": number}
            for number in range(len(order.parts))
            for letter in letters_of(order.work, number)
        ]
        counts.refused["not_a_record"] += len(found)
        for bucket in range(order.partitions * order.each):
            counts.add(_unpacked((self._decided / f"{bucket:05}.counts").read_bytes()))
            with (self._decided / f"{bucket:05}.refused").open("rb") as letters:
                found += [json.loads(line) for line in letters]
        for letter in sorted(found, key=lambda letter: (letter["part"], letter["place"])):
            number = letter.pop("part")
            place = places[number] + letter.pop("place")
            lines.append(
                json.dumps({"from": f"{order.parts[number].path}:{place}", **letter}, ensure_ascii=False).encode()
            )
        if lines:
            write_whole(order.letters, b"".join(line + b"\n" for line in lines))
        counts.refused = +counts.refused  # without zeros
        return counts


def _packed(counts: Counts) -> bytes:
    return json.dumps({name: getattr(counts, name) for name in Counts.__dataclass_fields__}).encode()


def _unpacked(text: bytes) -> Counts:
    counts = Counts()
    for name, value in json.loads(text).items():
        setattr(counts, name, type(getattr(counts, name))(value))
    return counts


async def together(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All at once; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def dry_run(
    order: Order,
    plan: Plan,
    pool: Processes,
    progress: Progress,
    topic: Callable[[Part], AsyncIterator[Row]] | None = None,
) -> Counts:
    """Decide everything and commit nothing."""
    try:
        prepare(order)
        load = Load(order, rules_of(plan), pool, progress, topic)
        await load.split()
        load.begin()

        async def leave(bucket: int, decided: Decided) -> None: ...

        await together(load.partition(number, 0, leave) for number in range(order.partitions))
        loaded = load.finish()
        assert loaded is not None
    finally:
        pool.stop()
    shutil.rmtree(order.work)
    return loaded


def rules_of(plan: Plan) -> tuple[str, Mapping[str, str]]:
    return plan.rule_set.digest, dict(plan.rule_set.files)


def prepare(order: Order) -> None:
    """The working directory: what another input or another way of dividing it left there is of no use."""
    text = json.dumps([[part.stated for part in order.parts], order.partitions, order.each])
    mark = order.work / "inputs"
    wanted = hashlib.blake2b(text.encode()).hexdigest().encode()
    try:
        if order.work.exists() and not (mark.exists() and mark.read_bytes() == wanted):
            if any(order.work.iterdir()) and not mark.exists():
                raise Refused(f"{order.work}: holds something that no load wrote; name an empty directory by --work")
            shutil.rmtree(order.work)
        order.work.mkdir(parents=True, exist_ok=True)
        write_whole(mark, wanted)
    except OSError as error:
        raise Refused(f"{order.work}: {error.strerror}: name another directory by --work") from error

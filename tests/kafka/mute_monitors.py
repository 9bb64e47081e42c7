"""A worker whose commits for monitors name a topic that is not there: aiokafka asks for it again and again."""

from __future__ import annotations

from aiokafka import TopicPartition

from engine.cli.main import main
from engine.runtime.kafka.progress import Progress

_write = Progress._write


async def write_too_much(progress: Progress, offsets: dict[TopicPartition, int]) -> None:
    await _write(progress, {**offsets, TopicPartition("nowhere", 0): 1})


if __name__ == "__main__":
    Progress._write = write_too_much  # type: ignore[method-assign]
    main()

"""The month's job as a loop over aiokafka: each fetch is one transaction, states are a dict.

Enters: Kafka's address, the topics, the number of trades. Leaves: actions on Kafka, exactly once.
Holds: states are lost with the process; then the week behind is unknown.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.command_line import Given, parse
from benchmarks.peers.logic import Client, Decider, blank, read
from benchmarks.peers.stopwatch import Stopwatch

GROUP = "peer-aiokafka"
POLL_MS = 100
RETRY_MS = 10  # while the transaction before is being ended; its default of 100 is felt in each


async def run(given: Given) -> None:
    stopwatch, decider = Stopwatch(given.trades, given.live), Decider()
    clients: defaultdict[str, Client] = defaultdict(blank)
    consumer = AIOKafkaConsumer(
        given.topic,
        bootstrap_servers=given.kafka,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=given.kafka, transactional_id=GROUP, retry_backoff_ms=RETRY_MS)
    await consumer.start()
    await producer.start()
    over = False
    while not over:
        fetched = await consumer.getmany(timeout_ms=POLL_MS)
        if not fetched:
            continue
        async with producer.transaction():
            for records in fetched.values():
                over = stopwatch.count(len(records)) or over
                for record in records:
                    trade = read(record.value)
                    for action in decider.decide(clients[trade.client_id], trade):
                        await producer.send(given.actions, action, record.key)
            offsets = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
            await producer.send_offsets_to_transaction(offsets, GROUP)
    stopwatch.stop()
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(run(parse()))

"""The month's job as a Bytewax dataflow, with its recovery store on disk, as its users run it.

Enters: Kafka's address, the topics, the number of trades. Leaves: actions on Kafka, at least once.
Holds: states are written to the recovery store every ten seconds, its default; what came after is done again, and
published again, by the process that follows a killed one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.command_line import Given, parse
from benchmarks.peers.logic import Client, Decider, Trade, blank, read
from benchmarks.peers.stopwatch import Stopwatch


def dataflow(given: Given, stopwatch: Stopwatch) -> Dataflow:
    decider = Decider()
    flow = Dataflow("month")

    def keyed(record: KafkaSourceMessage[bytes, bytes]) -> tuple[str, Trade]:
        trade = read(record.value)
        return trade.client_id, trade

    def decide(client: Client | None, trade: Trade) -> tuple[Client, Iterable[bytes]]:
        stopwatch.count()
        client = blank() if client is None else client
        return client, decider.decide(client, trade)

    def message(action: tuple[str, bytes]) -> KafkaSinkMessage[bytes, bytes]:
        return KafkaSinkMessage(action[0].encode(), action[1])

    brokers = [given.kafka]
    records = op.input("trades", flow, KafkaSource(brokers, [given.topic], tail=given.live))
    actions = op.stateful_flat_map("decide", op.map("keyed", records, keyed), decide)
    op.output("actions", op.map("message", actions, message), KafkaSink(brokers, given.actions))
    return flow


def main() -> None:
    given = parse()
    stopwatch, recovery = Stopwatch(given.trades, given.live), Path(given.directory)
    init_db_dir(recovery, 1)
    cli_main(dataflow(given, stopwatch), recovery_config=RecoveryConfig(recovery))
    stopwatch.stop()


if __name__ == "__main__":
    main()

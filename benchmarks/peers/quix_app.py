"""The month's job on Quix Streams: exactly once, with states in RocksDB and a changelog topic.

Enters: Kafka's address, the topics, the number of trades. Leaves: actions on Kafka, exactly once.
Holds: a transaction every 100 ms, as Kafka Streams has it with exactly_once_v2.
"""

from __future__ import annotations

from quixstreams import Application, State

from benchmarks.peers.command_line import Given, parse
from benchmarks.peers.logic import Decider, blank, read
from benchmarks.peers.stopwatch import Stopwatch

COMMIT_S = 0.1


def application(given: Given, stopwatch: Stopwatch) -> Application:
    decider = Decider()
    app = Application(
        given.kafka,
        consumer_group="peer-quix",
        auto_offset_reset="earliest",
        commit_interval=COMMIT_S,
        processing_guarantee="exactly-once",
        state_dir=given.directory,
        loglevel="WARNING",
    )

    def decide(value: bytes, state: State) -> list[bytes]:
        client = state.get("client") or blank()
        actions = decider.decide(client, read(value))
        state.set("client", client)
        if stopwatch.count():
            app.stop()  # after this trade; it commits
        return actions

    trades = app.topic(given.topic, value_deserializer="bytes")
    actions = app.topic(given.actions, value_serializer="bytes")
    app.dataframe(trades).apply(decide, stateful=True, expand=True).to_topic(actions)
    return app


def main() -> None:
    given = parse()
    stopwatch = Stopwatch(given.trades, given.live)
    application(given, stopwatch).run()
    stopwatch.stop()


if __name__ == "__main__":
    main()

"""Faust's App with its own Kafka switched off.

Enters: nothing. Leaves: App. Holds: partitions, offsets and transactions are the engine's own (see ARCHITECTURE.md).
"""

from __future__ import annotations

import faust
from faust.app import BootStrategy


class _Boot(BootStrategy):  # type: ignore[misc]
    """Faust's documented switch: its own consumer and producer are not used."""

    enable_kafka_consumer = False
    enable_kafka_producer = False


class App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot

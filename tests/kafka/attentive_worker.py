"""A worker that looks at its topics every second: nobody wants to wait a minute in a test."""

from __future__ import annotations

from typing import Any

from engine.cli.main import main
from engine.runtime.settings import Settings
from engine.runtime.worker import worker

_arguments = Settings.kafka_client


def kafka_client(settings: Settings, retry_backoff_ms: int = 100) -> dict[str, Any]:
    return {**_arguments(settings, retry_backoff_ms), "metadata_max_age_ms": 1_000}


if __name__ == "__main__":
    worker.TOPICS_S = 1.0  # type: ignore[misc]
    Settings.kafka_client = kafka_client  # type: ignore[method-assign]
    main()

"""Faust's App with its own Kafka switched off.

Enters: settings. Leaves: an App. Holds: partitions, offsets and transactions are the engine's own (see
ARCHITECTURE.md).
"""

from __future__ import annotations

import tempfile
from typing import Any

import faust
from faust.app import BootStrategy

from engine.runtime.settings import Settings


class _Boot(BootStrategy):  # type: ignore[misc]
    """Faust's documented switch: its own consumer and producer are not used."""

    enable_kafka_consumer = False
    enable_kafka_producer = False


async def _unsigned(_request: Any, response: Any) -> None:
    response.headers["Server"] = "engage"  # or aiohttp names itself and its version


class App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot

    def on_webserver_init(self, web: Any) -> None:
        """No answer says by which versions of which programs it was made."""
        super().on_webserver_init(web)
        web.web_app.on_response_prepare.append(_unsigned)

    async def on_shutdown(self) -> None:
        """Close what Faust opens at its start all the same: the event loop of a consumer's thread that never runs."""
        await super().on_shutdown()
        consumer: Any = self.consumer
        consumer._thread.thread_loop.close()


def faust_app(settings: Settings) -> App:
    """An app for one worker: its agent, its channel, its web pages."""
    directory = tempfile.TemporaryDirectory(prefix="engage-")
    app = App(
        settings.app_id,
        broker="kafka://unused",  # Faust's Kafka is off; it wants a URL all the same
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=settings.web_port,
        web_enabled=True,
        web_in_thread=False,
        web_router_enabled=False,  # Faust's own pages say nothing here
        web_tables_enabled=False,
        datadir=directory.name,  # Faust makes a directory even without tables
    )
    app.add_context(directory)  # removed when the app ends
    return app

"""A TCP proxy on loopback that cuts, stalls and slows what goes through it.

Enters: a port to forward to. Leaves: a port to connect to. Holds: bytes are never changed or reordered; a connection
that was cut stays cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from tests.services.process import free_port

CHUNK_BYTES = 65_536
HUNG_S = 60.0


class Proxy:
    """One port. `delay_s` holds back each chunk, in each direction."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self._loop = loop
        self._target = target
        self._refuses = False
        self._cuts = 0
        self.held = 0  # chunks that wait at a stall
        self._requests, self._answers = asyncio.Event(), asyncio.Event()  # set: they pass
        self._requests.set()
        self._answers.set()
        self._writers: set[asyncio.StreamWriter] = set()
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.server = asyncio.run_coroutine_threadsafe(listening, loop).result(HUNG_S)

    # Each of these has happened when it returns.

    def cut(self) -> None:
        """Reset every connection and take no new one until `mend`."""
        self._refuses = True
        self._call(self._abort)

    def stall(self, *, requests: bool = True, answers: bool = True) -> None:
        """Connections stay open and nothing passes in these directions until `mend`."""
        for flow, stalls in ((self._requests, requests), (self._answers, answers)):
            if stalls:
                self._call(flow.clear)

    def mend(self) -> None:
        self._refuses = False
        self.delay_s = 0.0
        self._call(self._requests.set)
        self._call(self._answers.set)

    def _abort(self) -> None:
        self._cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    def _call(self, work: Callable[[], object]) -> None:
        async def now() -> None:
            work()

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(HUNG_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._refuses:
                return
            cuts = self._cuts
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            try:
                if self._cuts != cuts:
                    return
                await asyncio.gather(
                    self._pump(reader, there, self._requests), self._pump(there_reader, writer, self._answers)
                )
            finally:
                self._writers.discard(there)
                there.close()
        except OSError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if not flow.is_set():
                    self.held += 1
                    try:
                        await flow.wait()
                    finally:
                        self.held -= 1
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()  # one end that goes away takes the other along


class Proxies:
    """The thread that all proxies run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxies")
        self._thread.start()
        self._proxies: list[Proxy] = []

    def to(self, target: int) -> Proxy:
        self._proxies.append(Proxy(self._loop, target))
        return self._proxies[-1]

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(HUNG_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HUNG_S)
        self._loop.close()

    async def _end(self) -> None:
        for proxy in self._proxies:
            proxy.server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

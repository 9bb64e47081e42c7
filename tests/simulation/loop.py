"""A virtual clock, an event loop that jumps along it, and processes that can be killed or stopped in it.

Enters: coroutines. Leaves: the same order of everything for the same seed, in no real time.
Holds: callbacks run one at a time, by time and then by the order they were made; every callback belongs to the process
in whose context it was made, so that a stopped process runs nothing (SIGSTOP) and a killed one never runs again.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")
PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
MAX_ASKED: Final = 20_000


class Stalled(Exception):
    """Time ran out, nothing is left to do, or the processes turn without end."""


class Process:
    """A process of a worker or a command. Its tasks and timers are those made in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.clock_offset_ms = 0
        self.slowness = 1.0  # of its own way to Kafka
        self.after_commit: Callable[[Process], float] | None = None  # what happens when its next EndTxn is answered
        self.calls = 0  # requests sent
        self.trap_call = 0  # what `trap` does, it does when the process has sent this request; 0: never
        self.trap_word = ""  # the same, at the first request that begins so
        self.trap: Callable[[Process], None] | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order they were made
        self.deferred: list[Handle] = []
        self.signals: dict[int, Callable[[], Any]] = {}
        self.gone: Callable[[], None] = lambda: None  # what follows when it was killed

    def trapped(self, request: str) -> bool:
        """Whether this is the request at which `trap` is to act."""
        word = self.trap_word
        if word and request.startswith(word):
            self.trap_word = ""
            return True
        return self.calls == self.trap_call


class Handle:
    """A callback to run. What asyncio asks of its handles."""

    __slots__ = ("_when", "args", "callback", "context", "dropped")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, when: float) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.dropped = False
        self._when = when

    def cancel(self) -> None:
        self.dropped = True

    def cancelled(self) -> bool:
        return self.dropped

    def when(self) -> float:
        return self._when


class SimLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's own tasks, futures, timeouts and queues use."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._now = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._made = 0
        self.steps = 0
        self._asked = 0  # for the time, by the callback that runs
        self.error: BaseException | None = None  # what a callback raised: always a fault

    # -- what asyncio calls ------------------------------------------------------------------------

    def time(self) -> float:
        self._asked += 1
        if self._asked > MAX_ASKED:
            self._asked = 0
            raise Stalled(f"the time was asked for {MAX_ASKED} times without an await: something turns without end")
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context, self._now)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + max(delay, 0.0), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        process = (copy_context() if context is None else context).get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None))
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def add_signal_handler(self, number: int, callback: Any, *args: Any) -> None:
        process = PROCESS.get()
        assert process is not None
        process.signals[number] = callback

    def set_exception_handler(self, handler: Any) -> None:
        """See below."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error nobody asked for, such as that of a task whose process was killed: of no interest."""

    # -- running -----------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T], until_s: float, max_steps: int) -> T:
        """Run to the end of `main`. Raises Stalled when time or patience ends first."""
        asyncio._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=lambda generator: None)  # left by an exception: when is for no seed to say
        try:
            task = self.create_task(main, context=Context())
            while not task.done():
                if not self._step(until_s):
                    raise Stalled(f"nothing is left to do at {self._now:.3f} s")
                if self.steps > max_steps:
                    raise Stalled(f"{max_steps} steps by {self._now:.3f} s: something turns without end")
                if self.error is not None:
                    raise self.error
            return task.result()  # type: ignore[no-any-return]
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)

    def _step(self, until_s: float) -> bool:
        """Run the next callback. False when there is none."""
        if self._ready:
            handle = self._ready.popleft()
        elif self._timers:
            when, _, handle = heapq.heappop(self._timers)
            if handle.dropped:
                return True
            if when > until_s:
                raise Stalled(f"not at the end by {until_s:.0f} s")
            self._now = max(self._now, when)
        else:
            return False
        if handle.dropped:
            return True
        process = handle.context.get(PROCESS)
        if process is not None and process.paused:
            process.deferred.append(handle)
            return True
        self.steps += 1
        self._asked = 0
        try:
            handle.context.run(handle.callback, *handle.args)
        except Exception as error:
            self.error = error
        return True

    # -- processes ---------------------------------------------------------------------------------

    def spawn(self, process: Process, make: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """A task of a process; everything it starts is of that process too."""
        context = Context()
        context.run(PROCESS.set, process)
        return context.run(lambda: self.create_task(make(), context=context))  # type: ignore[no-any-return]

    def signal(self, process: Process, number: int) -> None:
        """Have a process's own handler run, when it runs at all."""
        if number in process.signals and process.alive:
            context = Context()
            context.run(PROCESS.set, process)
            self.call_soon(process.signals[number], context=context)

    def pause(self, process: Process) -> None:
        process.paused = True

    def wake(self, process: Process) -> None:
        """What has come meanwhile is seen in any order, some of it a few turns of the loop later."""
        process.paused = False
        deferred, process.deferred = process.deferred, []
        for handle in deferred:
            self._after_turns(self._random.choice((0, 0, 1, 2, 3, 4, 6)), handle)

    def _after_turns(self, turns: int, handle: Handle) -> None:
        if turns:
            self.call_soon(self._after_turns, turns - 1, handle, context=handle.context)
        else:
            self._ready.append(handle)

    def kill(self, process: Process) -> None:
        """Nothing it does from here on reaches anyone (see Network.call); its tasks are cleared away."""
        process.alive = False
        process.paused = False
        self._ready.extend(process.deferred)
        process.deferred.clear()
        for task in list(process.tasks):
            task.cancel()

    def clear(self, processes: list[Process]) -> None:
        """End all that is left, so that nothing is pending when the loop is thrown away."""
        asyncio._set_running_loop(self)
        try:
            for process in processes:
                self.kill(process)
            for _ in range(200_000):
                if not any(process.tasks for process in processes) or not self._step(self._now + 3600):
                    break
                for process in processes:
                    for task in list(process.tasks):
                        if not task.done() and task.cancelling() == 0:
                            task.cancel()
        finally:
            asyncio._set_running_loop(None)

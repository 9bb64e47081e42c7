"""Long computing beside the event loop: in a thread, or in processes, one for each core.

Enters: a function and its arguments. Leaves: what it returns or raises.
Holds: one thing at a time in the thread, which loads, compiles and tests rules while partitions go on. The garbage
collector rests meanwhile: a collection within `ast.parse` may run code that parses again, such as a traceback's, and
Python 3.11 then fails both. A process ends with the one that started it, however that ended.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, TypeVar

from engine.runtime.errors import Refused

_P = ParamSpec("_P")
_T = TypeVar("_T")
_thread = ThreadPoolExecutor(1, "aside")


async def aside(function: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    def run() -> _T:
        collecting = gc.isenabled()
        gc.disable()
        try:
            return function(*args, **options)
        finally:
            if collecting:
                gc.enable()

    return await asyncio.get_running_loop().run_in_executor(_thread, run)


class ProcessPool:
    """Runs functions in processes."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _end_with_parent)

    async def run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Raises Refused when a process was ended from outside."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        except BrokenProcessPool as error:
            raise Refused(
                "a process was ended from outside, as a system short of memory does: give fewer --jobs, and run this "
                "again: it goes on where it stands"
            ) from error

    def stop(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

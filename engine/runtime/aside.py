"""Long computing beside the event loop: loading, compiling and testing rules takes seconds, and partitions go on.

Enters: a function and its arguments. Leaves: what it returns or raises.
Holds: one at a time, in a thread of its own. The garbage collector rests meanwhile: a collection within `ast.parse`
may run code that parses again, such as a traceback's, and Python 3.11 then fails both.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

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

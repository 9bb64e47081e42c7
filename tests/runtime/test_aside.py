"""Computing beside the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from engine.runtime.aside import aside


async def test_the_event_loop_goes_on_and_what_was_computed_comes_back():
    begun, go_on = threading.Event(), threading.Event()

    def compute(number: int) -> tuple[int, bool]:
        begun.set()
        assert go_on.wait(300)
        return number + 1, gc.isenabled()

    task = asyncio.create_task(aside(compute, 41))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    go_on.set()  # the event loop has come to this while it computes
    assert await task == (42, False)
    assert gc.isenabled()


async def test_one_at_a_time():
    running: list[int] = []

    def compute(number: int) -> list[int]:
        running.append(number)
        seen = list(running)
        running.remove(number)
        return seen

    assert await asyncio.gather(*(aside(compute, number) for number in range(20))) == [[n] for n in range(20)]


async def test_what_is_raised_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 / 0)
    assert gc.isenabled()

"""What a test configures of logging does not outlive it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, engine = logging.getLogger(), logging.getLogger("engine")
    handlers, level, engine_level = root.handlers[:], root.level, engine.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    engine.setLevel(engine_level)

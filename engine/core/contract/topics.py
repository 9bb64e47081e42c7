"""The engine's topics by their names in the contract, without the configured prefix."""

from __future__ import annotations

from typing import Final

from engine.core.contract.events import INBOUND

REROUTED: Final = "rerouted"


DEAD_LETTERS: Final = "dead-letters"


INTAKE_TOPICS: Final = (*INBOUND, REROUTED)

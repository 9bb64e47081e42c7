"""Who is held out: the same share of clients always, so that what rules do can be measured against it.

Enters: the holdouts that concern a rule, a client's id. Leaves: the client's arm.
Holds: nothing of it is kept in a state. A client's place follows from the holdout's salt and the client's id alone: the
name of a rule has no part in it, a greater share holds out the same clients and more.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from engine.core.contract.outbound import Arm
from engine.core.rules.policy import Holdout

_BYTES: Final = 6  # what a float holds exactly


def place(salt: str, client_id: str) -> float:
    """At least 0, below 1; a client below the share is held out."""
    digest = blake2b(f"{salt}\0{client_id}".encode(), digest_size=_BYTES).digest()
    return int.from_bytes(digest, "big") / (1 << 8 * _BYTES)


def holds_out(holdouts: Iterable[Holdout], client_id: str) -> Holdout | None:
    """The first that holds the client out."""
    return next((one for one in holdouts if place(one.salt, client_id) < one.share), None)


def arm(holdouts: Iterable[Holdout], client_id: str) -> Arm | None:
    """None where no holdout concerns the rule."""
    if not holdouts:
        return None
    return "treated" if holds_out(holdouts, client_id) is None else "holdout"

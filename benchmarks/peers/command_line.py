"""The command line of every peer.

Enters: the command line. Leaves: Given.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    kafka: str
    topic: str  # of the trades
    actions: str  # the topic of the peer's own
    directory: str  # for what it keeps on disk
    trades: int  # that wait for it; then it ends
    live: bool  # instead, it goes on


def parse() -> Given:
    parser = argparse.ArgumentParser()
    for name in ("kafka", "topic", "actions", "directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--trades", type=int, required=True)
    parser.add_argument("--live", action="store_true")
    return Given(**vars(parser.parse_args()))

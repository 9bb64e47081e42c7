"""The month's job by commit: benchmarks/results.md, a row for each commit that was recorded.

Enters: the figures of a run. Leaves: a row; a warning when the engine lost ground against the last one recorded.
Holds: machines differ and are shared, so that only ratios within one run are compared, and only those of jobs of the
same size. The ratio that is watched is that to the aiokafka loop, which no release of the engine changes.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, Self

from engine.compiled import form
from tests.services.process import REPOSITORY

FILE: Final = REPOSITORY / "benchmarks" / "results.md"
DROP: Final = 0.1
COLUMNS: Final = (
    *("date", "commit", "machine", "trades", "clients", "events per CPU-second", "with Redis' CPU"),
    *("/ aiokafka loop", "/ Bytewax", "/ Quix Streams"),
)
HEAD: Final = f"""\
# The month's job, by commit

Written by `make bench RECORD=1`. Events per CPU-second are Engage's, the mean of before and after its peers; they are
those of the machine, which may have been shared. Ratios are Engage / peer in one run, of the worker's CPU alone.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """As it stands in the file: every field is text."""

    date: str
    commit: str
    machine: str
    trades: str
    clients: str
    alone: str
    with_redis: str
    to_aiokafka: str
    to_bytewax: str
    to_quix: str

    @classmethod
    def of(cls, trades: int, clients: int, alone: float, with_redis: float, ratios: Mapping[str, float]) -> Self:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, core {form.RUNNING}"
        by_peer = [f"{ratios[peer]:.3f}" for peer in ("aiokafka loop", "Bytewax", "Quix Streams")]
        date = dt.datetime.now(dt.UTC).date().isoformat()
        return cls(
            date, _commit(), machine, f"{trades:,}", f"{clients:,}", f"{alone:,.0f}", f"{with_redis:,.0f}", *by_peer
        )

    def __str__(self) -> str:
        return f"| {' | '.join(astuple(self))} |\n"


def _commit() -> str:
    """With a plus where files differ from it."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def recorded(file: Path = FILE) -> Iterator[Row]:
    if file.exists():
        for line in file.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| ") and cells[0][:1].isdigit():
                yield Row(*cells)


def lost_ground(row: Row, file: Path = FILE) -> str | None:
    """What to say when the ratio is a tenth or more below the last one recorded of a job of this size."""
    last = next(
        (old for old in reversed([*recorded(file)]) if (old.trades, old.clients) == (row.trades, row.clients)), None
    )
    if last is None or float(row.to_aiokafka) > (1 - DROP) * float(last.to_aiokafka):
        return None
    drop = 1 - float(row.to_aiokafka) / float(last.to_aiokafka)
    return (
        f"REGRESSION: Engage / aiokafka loop is {row.to_aiokafka}, {drop:.0%} below the {last.to_aiokafka} of commit "
        f"{last.commit} ({last.date}). Run it again on an idle machine; if it stays, find the commit."
    )


def append(row: Row, file: Path = FILE) -> None:
    text = file.read_text() if file.exists() else HEAD
    file.write_text(text + str(row))

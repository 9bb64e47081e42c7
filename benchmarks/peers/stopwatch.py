"""What a peer says of itself: one JSON line at its first trade, one when it has done all that wait for it.

Enters: the number of trades that wait, and whether live ones follow. Leaves: the lines, read by
benchmarks/peers/process.py.
Holds: CPU time is that of the whole process, its threads included; what came before the first trade is the start.
"""

from __future__ import annotations

import json
import time
from pathlib import Path


class Stopwatch:
    def __init__(self, trades: int, live: bool) -> None:
        self._trades = trades
        self._live = live
        self._seen = 0
        self._cpu_s = self._began = 0.0

    def count(self, trades: int = 1) -> bool:
        """So many more are taken; whether they are the last."""
        if not self._seen:
            self._cpu_s, self._began = time.process_time(), time.monotonic()
            _say({"start_cpu_s": self._cpu_s})
        before, self._seen = self._seen, self._seen + trades
        if self._live and before < self._trades <= self._seen:
            _say({"caught_up": self._seen})
        return not self._live and self._seen >= self._trades

    def stop(self) -> None:
        """All is decided, published and committed."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._began
        status = Path("/proc/self/status").read_text().splitlines()
        peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        _say({"events": self._seen, "cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_kb / 1024})


def _say(values: dict[str, float]) -> None:
    print(f"\n{json.dumps(values)}", flush=True)  # on a line of its own, whatever the framework prints

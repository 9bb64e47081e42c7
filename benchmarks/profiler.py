"""Where a worker's time goes: py-spy looks at its stack from outside, a hundred times a second.

Enters: a process id. Leaves: functions by their own share of the CPU time.
Holds: the profiled process runs as it does without, but for a short stop at every look.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.process import BenchmarkError

RATE = 100
SHOWN = 10


class Sampling:
    def __init__(self, pid: int) -> None:
        program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
        if program is None:
            raise BenchmarkError("--profile needs py-spy: .venv/bin/python -m pip install py-spy")
        self._directory = tempfile.TemporaryDirectory(prefix="engage-profile-")
        self._file = Path(self._directory.name) / "stacks"
        command = [program, "record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--function"]
        command += ["--duration", "unlimited", "--output", str(self._file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.2)
        if self._process.poll() is not None:
            assert self._process.stdout is not None
            raise BenchmarkError(f"py-spy cannot look into the worker:\n{self._process.stdout.read()}")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=30)
        if not self._file.exists():
            raise BenchmarkError(f"py-spy wrote nothing:\n{output}")
        own: Counter[str] = Counter()
        under: Counter[str] = Counter()
        for line in self._file.read_text().splitlines():
            stack, _, times = line.rpartition(" ")
            frames = [_short(frame) for frame in stack.split(";")]
            own[frames[-1]] += int(times)
            for frame in set(frames):
                under[frame] += int(times)
        self._directory.cleanup()
        samples = max(own.total(), 1)
        print(f"\nWhere the worker's time goes ({samples} looks): own time, and with what it calls")
        for frame, looks in own.most_common(SHOWN):
            print(f"  {looks / samples:6.1%} {under[frame] / samples:6.1%}  {frame}")
        print("the engine's own functions, with what they call")
        engines = [frame for frame, _ in under.most_common() if "(engine/" in frame]
        for frame in engines[: 2 * SHOWN]:
            print(f"  {under[frame] / samples:6.1%}  {frame}")


def _short(frame: str) -> str:
    for mark in ("/site-packages/", f"{Path(__file__).parents[1]}/"):
        frame = frame.replace(mark, "")
    return frame


def start(pid: int) -> Sampling:
    return Sampling(pid)

"""What a process used, and a worker as a process.

Enters: process ids, the command line of a worker. Leaves: CPU seconds, peak memory, when the worker was ready.
Holds: everything is read from outside (/proc, the worker's log), so that measuring costs the measured nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from engine.compiled import form
from tests.services.process import REPOSITORY, end_with_parent

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchmarkError(RuntimeError):
    """A side did not do its job; the text says which and shows the end of its log."""


def cpu_s(pid: int) -> float:
    """User and system seconds of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def children_s() -> float:
    """CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mb(pid: int) -> float:
    """The most memory it ever held."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Worker:
    """`engage run` as a process. `ready_cpu_s` is what it had used when its first partition began to run."""

    def __init__(self, arguments: list[str], url: str = "", core: str = "") -> None:
        """`core`: the form of it that runs; as the installation has it when left out."""
        self.url = url
        self.began = time.monotonic()
        self.ready_s = self.ready_cpu_s = 0.0
        self.log: deque[str] = deque(maxlen=40)
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "run", *arguments],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            preexec_fn=end_with_parent(),
            env=os.environ | ({form.VARIABLE: core} if core else {}),
        )
        self.pid = self._process.pid
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip())
            if not self._ready.is_set() and '"partition runs"' in line:
                self.ready_cpu_s, self.ready_s = cpu_s(self.pid), time.monotonic() - self.began
                self._ready.set()

    def check(self) -> None:
        if self._process.poll() is not None:
            raise BenchmarkError(f"the worker ended with status {self._process.returncode}:\n" + "\n".join(self.log))

    def wait_ready(self, timeout_s: float = 60) -> None:
        until = time.monotonic() + timeout_s
        while not self._ready.wait(0.1):
            self.check()
            if time.monotonic() > until:
                raise BenchmarkError("the worker does not get ready:\n" + "\n".join(self.log))

    def stop(self) -> None:
        """SIGTERM; it must finish what it has in hand and exit 0."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchmarkError("the worker does not end:\n" + "\n".join(self.log)) from None
        if status:
            raise BenchmarkError(f"the worker ended with status {status}:\n" + "\n".join(self.log))

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

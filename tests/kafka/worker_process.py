"""A worker as a process of its own, with what its web pages and its log say.

Enters: a command line, an environment. Leaves: metrics, health, log entries, an exit status.
Holds: it ends with the process that started it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from engine.demo.embedded import die_with_parent

T = TypeVar("T")

HUNG_S = 300.0  # nothing takes as long on a slow and busy machine: what does, hangs


def eventually(
    condition: Callable[[], T], what: str = "the condition", within_s: float = HUNG_S, every_s: float = 0.05
) -> T:
    """The condition's first true answer; fails the test when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within_s:g} s: {what} still does not hold ({answer!r})")
        time.sleep(every_s)


class WorkerProcess:
    """A worker's process, with what its web pages say."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def ready(self) -> bool:
        """Has partitions, and all of them run. Fails the test when the process has ended."""
        assert self.running, f"the worker has ended, status {self._process.returncode}"
        return self.get("/health/ready")[0] == 200 and self.metric("engage_partitions_assigned") > 0

    def wait_ready(self) -> WorkerProcess:
        eventually(lambda: self.ready, "the worker is ready")
        return self

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the metric's samples that have these labels; 0 while nobody answers."""
        text = self.get("/metrics")[1]
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log entries of this event."""
        return [entry for entry in self.entries() if entry.get("event") == event]

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    @property
    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        return self.metric("process_cpu_seconds_total")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Exit status; negative: ended by that signal."""
        return self._process.wait(HUNG_S)

    def stop(self) -> None:
        """SIGTERM, as an orchestrator ends it. Before it says its first word it does not listen, and just ends."""
        self.signal(signal.SIGTERM)
        status = self.wait()
        assert status == 0 or (status == -signal.SIGTERM and not self.log.read_text()), f"exit status {status}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

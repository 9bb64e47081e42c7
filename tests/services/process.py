"""A server process that a test starts, ends, kills and starts again.

Enters: a command line, a directory. Leaves: a running server, or an error with the end of its log.
Holds: only processes started here are ever signalled, by their id; a server ends with the process that started it (on
Linux), so that a killed test run leaves nothing behind. Start servers from the main thread: the kernel ties the
child's life to the thread that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"
PR_SET_PDEATHSIG = 1


class ServiceError(RuntimeError):
    """A server did not come up, or what it needs is not installed. The text says what to do."""


_given: set[int] = set()  # ports that this process has given to somebody, whose server may not run yet


def free_port() -> int:
    """A loopback port below the ephemeral range, so that no outgoing connection takes it while its server is away."""
    while True:
        port = random.randint(15_000, 31_000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServiceError(f"port {port} is in use by another program; choose another with --port") from error


def log_tail(path: Path, lines: int = 30) -> str:
    if not path.exists():
        return "(no log)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def end_with_parent() -> Callable[[], None] | None:
    """What a child process runs first, so that it ends with the one that started it."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: after it, only async-signal-safe work
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server(ABC):
    """One server with a directory and ports that stay the same over `kill` and `restart`."""

    name = "server"
    start_timeout_s = 300.0
    stop_timeout_s = 120.0

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix=f"engage-{self.name}-")) if directory is None else directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = self.directory / "server.log"
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The command line; also writes what configuration it needs."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server is up."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        if self.running:
            raise ServiceError(f"{self.name} is already running, pid {self.pid}")
        command = self.command()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal goes to the test run, which stops its servers in order
                preexec_fn=None if self._detached else end_with_parent(),
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.answers():
            if not self.running:
                raise ServiceError(f"{self.name} ended at once; the end of {self.log}:\n{log_tail(self.log)}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} gave no answer in {self.start_timeout_s:.0f} s; the end of {self.log}:\n"
                    f"{log_tail(self.log)}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: it gets no chance to write anything."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same data and ports."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary and not self.running:
            shutil.rmtree(self.directory, ignore_errors=True)

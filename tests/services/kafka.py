"""A real Apache Kafka broker on loopback: one node, KRaft, broker and controller in one process.

Enters: nothing, or server properties that differ. Leaves: an address for `bootstrap_servers`.
Holds: the jars come from Maven Central once, into .cache/kafka; directory and ports survive kill and restart.

By hand: `python -m tests.services.kafka start [--port 9092]`, `stop`, `jars`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from tests.services.process import CACHE, Server, ServiceError, free_port, log_tail, require_free

POM = Path(__file__).with_name("kafka-pom.xml")
STARTED = b"Kafka Server started"
JAVA_AT_LEAST = 17
LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


def _needs(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ServiceError(f"Apache Kafka needs {program}, which is not installed: apt-get install {package}")
    return found


def java() -> str:
    program = _needs("java", f"openjdk-{JAVA_AT_LEAST}-jre-headless")
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_AT_LEAST:
        raise ServiceError(
            f"Apache Kafka needs Java {JAVA_AT_LEAST} or newer: apt-get install openjdk-{JAVA_AT_LEAST}-jre-headless\n"
            f"{program} is: {said.strip()}"
        )
    return program


def jars() -> Path:
    """The folder with the broker's jars, fetched once for each version of the pom."""
    digest = uuid.uuid5(uuid.NAMESPACE_OID, POM.read_text()).hex[:12]
    folder = CACHE / "kafka" / f"libs-{digest}"
    if folder.exists():
        return folder
    maven = _needs("mvn", "maven")
    half = folder.with_name(f"{folder.name}.{os.getpid()}")  # renamed when whole, so that a broken fetch is not taken
    fetch = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = subprocess.run(
        [*fetch, f"-DoutputDirectory={half}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"Maven could not fetch Kafka's jars:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    try:
        half.rename(folder)
    except OSError:  # somebody else was first
        shutil.rmtree(half)
    return folder


class KafkaBroker(Server):
    name = "kafka"
    start_timeout_s = 600.0

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        controller_port: int | None = None,
        heap_mb: int = 768,
        config: dict[str, str] | None = None,
        detached: bool = False,
        cluster: bytes | None = None,
    ) -> None:
        """`cluster`: 16 bytes by which several brokers know that they are of one cluster."""
        super().__init__(directory, detached=detached)
        self._cluster = urlsafe_b64encode(cluster or uuid.uuid4().bytes).decode().rstrip("=")  # may begin with a hyphen
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.heap_mb = heap_mb
        self.config = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
            "group.max.session.timeout.ms": "900000",  # less than the engine's settings allow
            "transaction.max.timeout.ms": "600000",  # likewise
            # A killed broker's registration lasts this long: the next start waits for it. One that a busy machine keeps
            # from its heartbeats so long is in nobody's metadata.
            "broker.session.timeout.ms": "9000",
            "broker.heartbeat.interval.ms": "500",
            "log.cleaner.dedupe.buffer.size": str(8 << 20),
            **(config or {}),
        }
        self._log_start = 0

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program, classpath = java(), f"{jars()}/*"
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self.config.items()))
        logging = self.directory / "log4j2.properties"
        logging.write_text(LOGGING)
        quiet = f"-Dlog4j2.configurationFile={logging}"
        if not (self.directory / "data" / "meta.properties").exists():
            self._format([program, "-Xmx256m", "-XX:TieredStopAtLevel=1", quiet, "-cp", classpath], properties)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        heap = [f"-Xms{self.heap_mb // 3}m", f"-Xmx{self.heap_mb}m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
        return [program, *heap, quiet, "-cp", classpath, "kafka.Kafka", str(properties)]

    def _format(self, jvm: list[str], properties: Path) -> None:
        command = [*jvm, "kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster}", "-c", str(properties)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def answers(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            if STARTED not in log.read():
                return False
        # Asks for the API versions: correlation id 1, no client id.
        request = struct.pack(">hhih", 18, 0, 1, -1)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0
        return False


BY_HAND = CACHE / "kafka" / "server"
PID_FILE = BY_HAND / "pid"


def _pid_by_hand() -> int | None:
    """The id of the broker that `start` left running; a recycled id is not mistaken for it."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID_FILE.read_text())
        command = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if str(BY_HAND) in command.stdout:
            return pid
    return None


def _start(port: int) -> None:
    if _pid_by_hand() is not None:
        raise ServiceError(f"already running, pid {_pid_by_hand()}; stop it with: python -m tests.services.kafka stop")
    require_free(port)
    require_free(port + 1)
    broker = KafkaBroker(BY_HAND, port=port, controller_port=port + 1, detached=True)
    broker.start()
    PID_FILE.write_text(str(broker.pid))
    print(f"{broker.bootstrap}  (pid {broker.pid}; data and log in {BY_HAND})")


def _stop() -> None:
    pid = _pid_by_hand()
    if pid is None:
        print("not running")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + KafkaBroker.stop_timeout_s
    while _pid_by_hand() is not None:
        if time.monotonic() > deadline:
            raise ServiceError(f"pid {pid} does not end; the end of its log:\n{log_tail(BY_HAND / 'server.log')}")
        time.sleep(0.1)
    PID_FILE.unlink()
    print("stopped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.services.kafka", description="Apache Kafka on loopback.")
    parser.add_argument("do", choices=["start", "stop", "jars"], help="jars: fetch what start needs")
    parser.add_argument("--port", type=int, default=9092)
    arguments = parser.parse_args()
    try:
        if arguments.do == "jars":
            print(jars())
        elif arguments.do == "start":
            _start(arguments.port)
        else:
            _stop()
    except ServiceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""SIGTERM and SIGINT while a worker starts and waits, once and twice: exit status 0 within the grace period, always.

Kafka is away here, or does not answer; tests/kafka/test_signals.py ends workers that have partitions.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import __main__ as start
from tests.services.process import REPOSITORY, free_port

BOTH = (signal.SIGTERM, signal.SIGINT)
HUNG_S = 120.0  # the grace period has 9 s; a slow machine more


def worker(directory: Path, kafka: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENGAGE_")}
    given = {"ENGAGE_KAFKA": kafka, "ENGAGE_RULES": str(REPOSITORY / "rules"), "ENGAGE_WEB_PORT": str(free_port())}
    return subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "run"],
        cwd=directory,
        env=kept | given | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own; Python gives SIGINT one before it runs anything."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(mask >> (number - 1) & 1)


def ended(process: subprocess.Popen[str], *numbers: signal.Signals) -> str:
    """What it wrote, once these signals, one right after another, have ended it."""
    for number in numbers:
        process.send_signal(number)
    try:
        out, err = process.communicate(timeout=HUNG_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err[-2000:]
    assert "Traceback" not in err
    assert out == ""
    return err


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc when the handlers are there")
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT,), BOTH, (signal.SIGTERM,) * 2])
def test_from_its_first_moment_on(numbers: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    for wait_s in (0.0, 0.1, 0.4, 1.0):
        process = worker(tmp_path, f"127.0.0.1:{free_port()}")
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
        time.sleep(wait_s)
        ended(process, *numbers)
    assert not list(tmp_path.iterdir()), "directories that were made are gone"


def waits(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return next(line for line in process.stderr if '"waiting"' in line)


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT), BOTH])
def test_while_it_waits_for_redis_and_kafka(numbers: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    process = worker(tmp_path, f"127.0.0.1:{free_port()}")
    assert '"redis"' in waits(process)  # it is asked first
    assert "worker stopped" in ended(process, *numbers)
    assert not list(tmp_path.iterdir())


def test_while_kafka_takes_connections_and_does_not_answer(tmp_path: Path, silent: str) -> None:
    process = worker(tmp_path, silent)
    time.sleep(3)  # somewhere within its first request, which takes longer; any other moment is as good
    ended(process, signal.SIGTERM)


def test_a_signal_at_the_very_end_changes_nothing(tmp_path: Path) -> None:
    with worker(tmp_path, f"127.0.0.1:{free_port()}") as process:
        waits(process)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        next(line for line in process.stderr if "worker stopped" in line)
        for number in itertools.islice(itertools.cycle(BOTH), 50):
            process.send_signal(number)  # to nobody, once it has ended
        assert process.wait(HUNG_S) == 0


def test_nothing_is_loaded_before_signals_are_handled() -> None:
    """What Python itself does before is all that is left: some hundredths of a second."""
    count = "import json, sys; before = set(sys.modules); import engine.cli.__main__; "
    count += "print(json.dumps(sorted(set(sys.modules) - before)))"
    said = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert [name for name in json.loads(said.stdout) if not name.startswith("engine")] in ([], ["signal"])
    assert set(json.loads(said.stdout)) <= {"engine", "engine.cli", start.__name__, "signal"}

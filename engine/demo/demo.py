"""The demo: the whole engine on this machine, with a simulated broker's clients, on the screen.

Enters: how long. Leaves: an exit code: 0 all was shown and nothing went wrong, 1 not, 130 ended by Ctrl-C.
Holds: the worker is the real one, in a process of its own; Kafka and Redis are the embedded ones; nothing outlives the
demo, however it ends, but the worker's log when something went wrong.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, cast

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, inbound_topics
from engine.demo.embedded import (
    PARTITIONS,
    REMEDY,
    EmbeddedError,
    EmbeddedKafka,
    EmbeddedRedis,
    die_with_parent,
    free_port,
)
from engine.demo.simulator import DAY_MS, simulate
from engine.operations.record_file import SimulatedRecord, to_json

if TYPE_CHECKING:
    from engine.demo.board import Board, Show

RULES: Final = Path(__file__).parent.parent.parent / "rules"
WORKER: Final = (sys.executable, "-m", "engine.cli.main", "run")
SEED: Final = 7
CLIENTS: Final = 800
BAD_SHARE: Final = 0.001
# The history ends now: its first 120 days pass in half a minute, the three years after them in as many quarters of an
# hour, and then it is the present.
FAST_DAYS: Final = 120
SLOW_DAYS: Final = 1095
FAST_DAYS_PER_S: Final = 4.5
SLOW_DAYS_PER_S: Final = 0.4
MAX_DAYS_PER_S: Final = 15.0  # for a short demo
START_AND_END_S: Final = 6.0  # of a demo's seconds go to its start and its end
MAX_LAG_RECORDS: Final = 20_000  # the embedded broker keeps some 5 MB a partition: never run far ahead of the worker
SETTLE_S: Final = 10.0
STOP_S: Final = 15.0
SCRAPE_S: Final = 0.5


class _Feed:
    """Puts the simulator's records on Kafka at the demo's pace."""

    def __init__(self, kafka: str, now_ms: Callable[[], int], fast_days_per_s: float) -> None:
        from confluent_kafka import Producer

        # it outlives the broker, and would say so at level error
        settings = {"bootstrap.servers": kafka, "partitioner": "murmur2_random", "linger.ms": 20, "log_level": 2}
        self._producer = Producer(settings)
        self._now_ms = now_ms
        self._fast_days_per_s = fast_days_per_s
        start_ms = now_ms() - (FAST_DAYS + SLOW_DAYS) * DAY_MS
        self._slow_from_ms = start_ms + FAST_DAYS * DAY_MS
        self.moment_ms: float = start_ms
        self._records = simulate(SEED, CLIENTS, start_ms, start_ms + 20 * 365 * DAY_MS, bad_share=BAD_SHARE)
        self._next = next(self._records)

    def advance(self, elapsed_s: float) -> Iterator[SimulatedRecord]:
        """Send what falls due in `elapsed_s`, never anything of the future; what was sent."""
        days_per_s = self._fast_days_per_s if self.moment_ms < self._slow_from_ms else SLOW_DAYS_PER_S
        self.moment_ms = min(self.moment_ms + elapsed_s * days_per_s * DAY_MS, self._now_ms())
        while self._next.time_ms <= self.moment_ms:
            record = self._next
            self._send(record)
            yield record
            self._next = next(self._records)
        self._producer.poll(0)

    def _send(self, record: SimulatedRecord) -> None:
        value = record.value if isinstance(record.value, bytes) else to_json(record.value)
        while True:
            try:
                return self._producer.produce(record.topic, value=value, key=record.key)
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        self._producer.flush(SETTLE_S)


class _Watch:
    """Reads what the worker publishes, and its metrics and health."""

    def __init__(self, kafka: str, board: Board, web: str) -> None:
        from confluent_kafka import Consumer, TopicPartition

        settings: dict[str, Any] = {
            "bootstrap.servers": kafka,
            "group.id": "engage-demo",  # needed by the client, never joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "log_level": 3,
        }
        self._consumer = Consumer(settings)
        topics = (*OUTBOUND, "dead-letters")
        self._consumer.assign([TopicPartition(topic, p, 0) for topic in topics for p in range(PARTITIONS)])
        self._board = board
        self._web = web
        self._scraped_at = time.monotonic()

    def published(self, timeout_s: float) -> int:
        """Read what has come; how many records."""
        records = [r for r in self._consumer.consume(1000, timeout_s) if r.error() is None]
        for record in records:
            headers = cast(list[tuple[str, bytes]], record.headers() or [])
            self._board.saw_record(record.topic() or "", record.value() or b"", dict(headers))
        return len(records)

    def ready(self) -> bool:
        return self._get("/health/ready") is not None

    def scrape(self) -> None:
        text = self._get("/metrics")
        if text is None:
            return
        before, at = self._board.taken, time.monotonic()
        self._board.saw_metrics(text)
        self._board.events_per_s = max(0, self._board.taken - before) / max(at - self._scraped_at, 0.001)
        self._scraped_at = at

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._web + path, timeout=1) as response:
                return str(response.read().decode())
        except (OSError, urllib.error.URLError):
            return None

    def close(self) -> None:
        self._consumer.close()


class _Worker:
    """The worker's process. It dies with this one, and Ctrl-C in the terminal does not reach it."""

    def __init__(self, command: Sequence[str], settings: dict[str, str], log: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ENGAGE_")} | settings
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent,
            )

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def stop(self, timeout_s: float) -> int | None:
        """Ask it to end; its exit code, None when it had to be killed."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._process.kill()
            self._process.wait()


def run_demo(seconds: int | None = None, rules: Path = RULES, *, worker: Sequence[str] = WORKER) -> int:
    """Run for `seconds`, or until Ctrl-C. `worker` is the command that starts the worker."""
    try:
        import confluent_kafka  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        print(f"engage demo: {error.name} is not installed; {REMEDY}", file=sys.stderr)
        return 1
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(seconds, rules, worker)
    except KeyboardInterrupt:
        print("Stopped.")
        return 130
    except EmbeddedError as error:
        print(f"engage demo: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(seconds: int | None, rules: Path, command: Sequence[str]) -> int:
    from engine.demo.board import Board, Show, look_yourself, summary

    ends_s = time.monotonic() + seconds if seconds else float("inf")
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(EmbeddedKafka())
        redis = stack.enter_context(EmbeddedRedis())
        kafka.create_topics([*inbound_topics(), *OUTBOUND, DEAD_LETTERS])
        web_port = free_port()
        web = f"http://127.0.0.1:{web_port}"
        descriptor, log_name = tempfile.mkstemp(prefix="engage-demo-", suffix=".log")
        os.close(descriptor)
        log = Path(log_name)
        board = Board(kafka.address, redis.url, f"{web}/metrics", log_name)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="engage-demo-"))
        settings = _settings(kafka.address, redis.url, rules, web_port) | {"TMPDIR": scratch}
        process = _Worker(command, settings, log)
        stack.callback(_end, process)
        feed = _Feed(kafka.address, lambda: int(time.time() * 1000), _fast_days_per_s(seconds))
        watch = _Watch(kafka.address, board, web)
        stack.callback(watch.close)
        show = Show(board)
        show.console.print(*look_yourself(board), sep="\n", highlight=False, soft_wrap=True)
        try:
            with show:
                _play(board, process, feed, watch, show, ends_s)
            faults = _finish(board, process, feed, watch)
        except KeyboardInterrupt:
            log.unlink()
            raise
        show.console.print(summary(board, faults), soft_wrap=True)
        if faults:
            print(f"The worker's log: {log}")
            return 1
        log.unlink()
        return 0


def _settings(kafka: str, redis: str, rules: Path, web_port: int) -> dict[str, str]:
    return {
        "ENGAGE_KAFKA": kafka,
        "ENGAGE_REDIS": redis,
        "ENGAGE_RULES": str(rules.resolve()),
        "ENGAGE_WEB_PORT": str(web_port),
        "ENGAGE_CLOCK": "event",
    }


def _fast_days_per_s(seconds: int | None) -> float:
    """A short demo goes through the same history faster."""
    if seconds is None:
        return FAST_DAYS_PER_S
    return min(MAX_DAYS_PER_S, max(FAST_DAYS_PER_S, FAST_DAYS / max(seconds - START_AND_END_S, 1.0)))


def _end(process: _Worker) -> None:
    """The last of all: nothing may interrupt it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if process.exit_code is None:
            process.stop(1.0)
    finally:
        signal.signal(signal.SIGINT, previous)


def _play(board: Board, process: _Worker, feed: _Feed, watch: _Watch, show: Show, ends_s: float) -> None:
    """Feed, read and show until the time is over or the worker is gone."""
    ready = False
    last_s = scraped_s = time.monotonic()
    while (now_s := time.monotonic()) < ends_s and process.exit_code is None:
        elapsed_s, last_s = now_s - last_s, now_s
        if now_s - scraped_s >= (SCRAPE_S if ready else 0.1):
            scraped_s = now_s
            if not ready:
                ready = watch.ready()
            else:
                watch.scrape()
        if ready:
            board.status = "running" if board.taken else "the worker is joining its group"
            if board.fed - board.taken < MAX_LAG_RECORDS:
                _count(board, feed.advance(elapsed_s))
            else:
                board.status = "waiting for the worker"
        watch.published(0.02)
        show.update()


def _count(board: Board, sent: Iterator[SimulatedRecord]) -> None:
    for record in sent:
        board.fed += 1
        board.fed_bad += isinstance(record.value, bytes)
        board.simulated_ms = record.time_ms


def _finish(board: Board, process: _Worker, feed: _Feed, watch: _Watch) -> list[str]:
    """Let the worker catch up, stop it as an operator would, and say what was wrong."""
    feed.flush()
    deadline_s = time.monotonic() + SETTLE_S
    while process.exit_code is None and time.monotonic() < deadline_s and board.taken < board.fed:
        watch.scrape()
        watch.published(0.1)
    if process.exit_code is not None:
        return [f"the worker ended by itself with exit code {process.exit_code}", *board.missing()]
    faults = [] if watch.ready() else [f"the worker is not ready: {board.metrics} and its log say more"]
    code = process.stop(STOP_S)
    if code is None:
        faults.append(f"the worker did not end within {STOP_S:.0f} s of SIGTERM")
    elif code != 0:
        faults.append(f"the worker ended with exit code {code} on SIGTERM")
    while watch.published(0.5):
        pass
    return faults + board.missing()

"""The demo: the whole engine on this machine, with a simulated broker's clients, on the screen.

Enters: how long. Leaves: an exit code: 0 all was shown and nothing went wrong, 1 not, 130 ended by Ctrl-C.
Holds: the worker is the real one, in a process of its own; Kafka and Redis are the embedded ones; nothing outlives the
demo, however it ends, but the worker's log when something went wrong. The worker sets the pace: a slow machine sees
less history in the same time, and nothing is given up while anything moves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, OWN, TOPICS, in_order, inbound_topics, written_topics
from engine.demo.embedded import (
    REMEDY,
    EmbeddedError,
    EmbeddedKafka,
    EmbeddedRedis,
    die_with_parent,
    free_port,
)
from engine.demo.own_events import OPTIONAL
from engine.runtime.errors import Refused
from engine.runtime.rule_sets.archive import load_directory
from engine.runtime.rule_sets.shipped import shipped

if TYPE_CHECKING:
    from engine.demo.board import Board, Show
    from engine.demo.clients import Feed, Watch

WORKER: Final = (sys.executable, "-m", "engine.cli", "run")
# Fed and not yet decided: what the worker decides in so many seconds, within bounds. The embedded broker keeps some
# 5 MB a partition.
IN_FLIGHT_S: Final = 2.0
LEAST_IN_FLIGHT: Final = 2_000
MOST_IN_FLIGHT: Final = 20_000
PATIENCE_S: Final = 300.0  # in which nothing at all moves
STOP_S: Final = 60.0


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


def run_demo(seconds: int | None = None, rules: Path | None = None, *, worker: Sequence[str] = WORKER) -> int:
    """Run for `seconds` from the first decided event on, or until Ctrl-C. `worker` is the command that starts it."""
    rules = rules or shipped("rules")
    try:
        import confluent_kafka  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        print(f"engage demo: {error.name} is not installed; {REMEDY}", file=sys.stderr)
        return 1
    try:
        rule_set = load_directory(rules)  # the worker would refuse them too, but only once everything runs
    except Refused as error:
        print(f"engage demo: {error}", file=sys.stderr)
        return 1
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(seconds, rules, worker, topics_for(rule_set.declared_types))
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


def topics_for(declared: Collection[str]) -> tuple[str, ...]:
    """What the simulated broker sends: events of its own only to rules that declare them all."""
    return inbound_topics() if OPTIONAL.keys() <= set(declared) else _built_in()


def _built_in() -> tuple[str, ...]:
    return tuple(topic for topic in in_order(TOPICS) if topic not in OWN)


def _run(seconds: int | None, rules: Path, command: Sequence[str], topics: Collection[str]) -> int:
    from engine.demo.board import Board, Show, look_yourself, summary
    from engine.demo.clients import Feed, Watch, fast_days_per_s

    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(EmbeddedKafka())
        redis = stack.enter_context(EmbeddedRedis())
        kafka.create_topics([*written_topics(), *OWN, *OUTBOUND, DEAD_LETTERS])
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
        feed = Feed(kafka.address, lambda: int(time.time() * 1000), fast_days_per_s(seconds), topics)
        watch = Watch(kafka.address, board, web)
        stack.callback(watch.close)
        show = Show(board)
        show.console.print(*look_yourself(board), sep="\n", highlight=False, soft_wrap=True)
        try:
            with show:
                faults = _Performance(board, process, feed, watch, show).play(seconds)
            faults = _finish(board, process, watch, faults)
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
        "ENGAGE_KAFKA_CHECKSUMS": "false",  # the embedded broker leaves them out
        "ENGAGE_REDIS": redis,
        "ENGAGE_RULES": str(rules.resolve()),
        "ENGAGE_WEB_PORT": str(web_port),
        "ENGAGE_CLOCK": "event",
    }


def _end(process: _Worker) -> None:
    """The last of all: nothing may interrupt it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if process.exit_code is None:
            process.stop(1.0)
    finally:
        signal.signal(signal.SIGINT, previous)


class _Stuck(Exception):
    """It is useless to continue; the text says why."""


class _Performance:
    """Feeds, reads and shows, at the pace of the worker."""

    def __init__(self, board: Board, process: _Worker, feed: Feed, watch: Watch, show: Show) -> None:
        self._board = board
        self._process = process
        self._feed = feed
        self._watch = watch
        self._show = show
        self._last_s = time.monotonic()
        self._began: tuple[float, int] | None = None  # when the first decided events were seen, and how many
        self._moved: object = None
        self._still_s = 0.0

    def play(self, seconds: int | None) -> list[str]:
        """To the end of the time, and then until all was seen and decided; what was wrong."""
        try:
            self._wait_until_ready("starting: it compiles the rules and joins its group")
            self._run(seconds or float("inf"))
            self._settle()
            self._wait_until_ready("not ready")
        except _Stuck as stuck:
            return [str(stuck)]
        return []

    def _wait_until_ready(self, status: str) -> None:
        waited_s = 0.0
        while not self._watch.ready:
            self._board.status = f"the worker is {status} ({waited_s:.0f} s)"
            waited_s += self._step(f"the worker is not ready: {self._board.metrics} and its log say more")

    def _run(self, seconds: float) -> None:
        from engine.demo.board import RUNNING

        board, feed = self._board, self._feed
        while self._shown_s < seconds:
            elapsed_s = self._step("" if board.taken == board.fed else "the worker decides nothing")
            board.status = RUNNING if board.taken else "the worker gets its first events"
            until_ms = feed.due_ms(elapsed_s)
            self._send(until_ms)
            if feed.moment_ms < min(until_ms, time.time() * 1000):
                board.held_back = True
                board.status = "simulated time waits for the worker"

    def _settle(self) -> None:
        """What is shown depends on the history and not on the machine, so a slow one takes longer."""
        board, feed = self._board, self._feed
        while board.unseen() and feed.moment_ms < feed.least_ms:
            board.status = "the time is over: playing on until everything was seen"
            self._step("the worker decides nothing")
            self._send(feed.least_ms)
        while board.taken < board.fed:
            board.status = "the worker decides the last records"
            self._step("the worker decides nothing")
        if self._began:
            board.decided_per_s = (board.taken - self._began[1]) / self._shown_s

    @property
    def _shown_s(self) -> float:
        return time.monotonic() - self._began[0] if self._began else 0.0

    def _send(self, until_ms: float) -> None:
        board = self._board
        decided_per_s = board.taken / max(self._shown_s, 1.0)
        most = min(MOST_IN_FLIGHT, max(LEAST_IN_FLIGHT, IN_FLIGHT_S * decided_per_s))
        for record in self._feed.advance(until_ms, int(most) - (board.fed - board.taken)):
            board.fed += 1
            board.fed_bad += isinstance(record.value, bytes)
            board.simulated_ms = record.time_ms

    def _step(self, waiting_for: str) -> float:
        """Read and show what has come; the seconds since the last step, and no more than one after a standstill."""
        board, now_s = self._board, time.monotonic()
        elapsed_s, self._last_s = min(now_s - self._last_s, 1.0), now_s
        if self._process.exit_code is not None:
            raise _Stuck("the worker ended by itself")
        self._watch.scrape()
        self._watch.published(0.02)
        self._show.update()
        if board.taken and not self._began:
            self._began = (time.monotonic(), board.taken)
        moved = (board.taken, board.fed, board.published.total(), board.tier_changes, board.dead_letters.total())
        self._still_s = self._still_s + elapsed_s if waiting_for and moved == self._moved else 0.0
        self._moved = moved
        if self._still_s >= PATIENCE_S:
            raise _Stuck(f"nothing at all has moved for {PATIENCE_S:.0f} s; {waiting_for}")
        return elapsed_s


def _finish(board: Board, process: _Worker, watch: Watch, faults: list[str]) -> list[str]:
    """Stop the worker as an operator would, read the rest, and say what was wrong."""
    if process.exit_code is not None:
        return [f"the worker ended by itself with exit code {process.exit_code}", *board.missing()]
    code = process.stop(STOP_S)
    if code is None:
        faults = [*faults, f"the worker did not end within {STOP_S:.0f} s of SIGTERM"]
    elif code != 0:
        faults = [*faults, f"the worker ended with exit code {code} on SIGTERM"]
    watch.read_to_end(PATIENCE_S)
    return faults + board.missing()

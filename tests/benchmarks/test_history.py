"""Rows of the month's job by commit, and what is said when the engine loses ground."""

import json
from pathlib import Path

import pytest

from benchmarks.month import history
from benchmarks.month.history import Row
from benchmarks.peers.stopwatch import Stopwatch

PEERS = {"aiokafka loop": 0.2, "Bytewax": 0.3, "Quix Streams": 0.7}


def row(to_aiokafka: float, trades: int = 500_000) -> Row:
    return Row.of(trades, 20_000, 6_000.4, 5_000.0, PEERS | {"aiokafka loop": to_aiokafka})


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    rows = [row(0.2), row(0.25)]
    for entry in rows:
        history.append(entry, file)
    assert [*history.recorded(file)] == rows
    assert rows[0].alone == "6,000"
    assert file.read_text().count("# The month's job") == 1


@pytest.mark.parametrize(("ratio", "lost"), [(0.2, False), (0.181, False), (0.18, True), (0.1, True)])
def test_a_tenth_less_than_the_last_row_is_reported(ratio: float, lost: bool, tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    assert history.lost_ground(row(ratio), file) is None
    history.append(row(0.1), file)
    history.append(row(0.2), file)
    history.append(row(0.9, trades=1_000), file)  # another job
    said = history.lost_ground(row(ratio), file)
    assert (said is not None) == lost
    if said:
        assert "REGRESSION" in said
        assert "0.200" in said


def test_a_peer_says_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    stopwatch = Stopwatch(3, live=False)
    assert [stopwatch.count(), stopwatch.count(), stopwatch.count()] == [False, False, True]
    stopwatch.stop()
    first, last = (json.loads(line) for line in capsys.readouterr().out.split("\n") if line)
    assert first["start_cpu_s"] > 0
    assert last["events"] == 3


def test_a_live_peer_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    stopwatch = Stopwatch(3, live=True)
    assert not any(stopwatch.count(2) for _ in range(3))
    assert '{"caught_up": 4}' in capsys.readouterr().out

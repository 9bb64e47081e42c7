"""What is compared with an earlier release: the same records, none that it refuses, and sizes and actions of them."""

import json
from pathlib import Path

from benchmarks.earlier import EARLIER_TOPICS, as_before, one
from engine.demo import simulator
from tests.services.process import REPOSITORY


def test_one_side_reads_decides_and_packs(tmp_path: Path):
    file, read, again = (tmp_path / name for name in ("records.ndjson", "read.ndjson", "again.ndjson"))
    with file.open("wb") as out:
        simulator.write(
            out, seed=3, end="2026-10-01T00:00:00Z", clients=30, days=20, topics=EARLIER_TOPICS, bad_share=0.1
        )
    lines = file.read_text().splitlines()
    file.write_text("".join(map(as_before, lines)))
    first = one(REPOSITORY, REPOSITORY / "rules", file, read)
    taken = read.read_text().splitlines()
    assert 0 < len(taken) < len(lines)
    assert not any("account" in json.loads(line)["value"] for line in taken)
    second = one(REPOSITORY, REPOSITORY / "rules", read, again)
    assert again.read_text() == read.read_text()
    assert (first["bytes"], first["actions"]) == (second["bytes"], second["actions"])
    assert first["bytes"] > 300
    assert first["actions"] > 10

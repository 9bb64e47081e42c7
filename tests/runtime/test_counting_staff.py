"""What teams and advisors have whom new files lack or move: the commands count it from a snapshot."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from engine.cli.main import main
from engine.core.client.sections import pack
from engine.core.plan.compile import Plan
from engine.operations import snapshot as snapshots
from engine.runtime.formats import SNAPSHOT_FORMAT
from engine.runtime.protocol.writes import encode_writes
from tests.core.test_leaving_staff import BEFORE, MOVED, NO_TEAM, firm
from tests.runtime.driving import written as write_of
from tests.services.process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "care.md").read_text(encoding="utf-8")


def directory(path: Path, plan: Plan) -> str:
    path.mkdir()
    for name, text in dict(plan.rule_set.files).items():
        (path / name).write_text(text, encoding="utf-8")
    return str(path)


def snapshot(path: Path) -> str:
    states = firm().states.values()
    with path.open("wb") as out:
        rows = snapshots.Rows(out)
        rows.put({"engage_snapshot": SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1})
        rows.put({"states": encode_writes(write_of(client, pack(BEFORE.layout, client)) for client in states)})
        rows.end()
    return str(path)


def test_a_diff_counts_what_the_manual_shows(tmp_path: Path) -> None:
    file, before = snapshot(tmp_path / "snapshot"), directory(tmp_path / "before", BEFORE)
    shown = []
    for name, plan in (("moved", MOVED), ("no-team", NO_TEAM)):
        after = directory(tmp_path / name, plan)
        said = CliRunner().invoke(main, ["diff", before, after, "--snapshot", file])
        assert said.exit_code == 1, said.output
        shown.append(said.stdout.splitlines()[-1])
        told = json.loads(CliRunner().invoke(main, ["diff", before, after, "--snapshot", file, "--json"]).stdout)
        assert (told[-1]["what"], told[-1]["lines"]) == ("staff", [shown[-1]])
        assert "staff" not in {one["what"] for one in json.loads(
            CliRunner().invoke(main, ["diff", before, after, "--json"]).stdout)}  # fmt: skip
    assert "```\n" + "\n".join(shown) + "\n```" in PAGE

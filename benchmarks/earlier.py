"""`python -m benchmarks.earlier CHECKOUT`: what is decided now beside an earlier release, by that release's own rules.

Enters: a set-up checkout of the release (git worktree add ../old COMMIT; make -C ../old setup). Leaves: CPU time an
event and bytes a client's state, of both, and their ratios.
Holds: both read the same records of topics that the release knows, in turn, each in a process of its own. What is timed
is reading, deciding and packing what changed, without Kafka and Redis. A checkout without .venv borrows this one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.demo import simulator
from tests.services.process import REPOSITORY

EARLIER_TOPICS = ("trades", "logins", "balances", "profiles")

# Runs in either checkout, so it knows the places of both.
ONE = """
import gc, json, sys, time
from importlib import import_module
from pathlib import Path

def of(name, *modules):
    for module in modules:
        try:
            return getattr(import_module("engine." + module), name)
        except (ImportError, AttributeError):
            pass
    raise SystemExit(f"no {name} in {modules}")

pack = of("pack", "core.client.sections", "core.state")
decide = of("decide", "core.decide.path", "core.decide")
compile_rule_set = of("compile_rule_set", "core.plan.compile", "core.plan")
decode = of("decode", "core.reading.decode", "core.contract.decode", "core.decode")
parse_line = of("parse_line", "operations.record_file", "runtime.record_file")
load_directory = of("load_directory", "runtime.rule_sets.archive", "runtime.rule_set_archive")

rules, file, read = map(Path, sys.argv[1:])
plan = compile_rule_set(load_directory(rules))
with file.open() as lines:
    records = [(parse_line(line), line) for line in lines]
# what the older commit cannot read is left out on both sides
records = [of for of in records if type(decode(of[0][0], of[0][1], of[0][3], of[0][2])).__name__ != "Rejected"]
read.write_text("".join(line for _, line in records))
records = [record for record, _ in records]
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 20, 100)
states, actions, began = {}, 0, time.process_time()
for start in range(0, len(records), 1_000):
    inputs = []
    for topic, key, time_ms, value in records[start : start + 1_000]:
        event = decode(topic, key, value, time_ms)
        inputs.append((topic, getattr(event, "event", event)))
    decided = decide(plan, states, inputs)
    actions += sum(message.topic != "decisions" for message in decided.messages)
    for client in decided.changed.values():
        pack(plan.layout, client)
used_s = time.process_time() - began
sizes = [len(pack(plan.layout, client)) for client in states.values()]
print(json.dumps({"us": used_s / len(records) * 1e6, "bytes": sum(sizes) / len(sizes), "actions": actions}))
"""


def as_before(line: str) -> str:
    """Without accounts: assets by account are something of its own."""
    record = json.loads(line)
    if isinstance(record.get("value"), dict):
        record["value"].pop("account", None)
    return json.dumps(record) + "\n"


def one(checkout: Path, rules: Path, file: Path, read: Path) -> dict[str, float]:
    """`read` is written: the records of the file that this engine reads."""
    python = checkout / ".venv/bin/python"
    command = [python if python.exists() else sys.executable, "-c", ONE, rules, file, read]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: it did not run:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.earlier", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("checkout", type=Path, help="of the earlier release, set up")
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    earlier = given.checkout.resolve()
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as directory:
        file = Path(directory, "records.ndjson")
        with file.open("wb") as out:
            simulator.write(
                out, seed=7, end="2026-10-01T00:00:00Z", clients=given.clients, days=given.days, topics=EARLIER_TOPICS
            )
        file.write_text("".join(map(as_before, file.read_text().splitlines())))
        rules, both, again = earlier / "rules", Path(directory, "both.ndjson"), Path(directory, "again.ndjson")
        one(earlier, rules, file, both)
        pairs = [(one(earlier, rules, both, again), one(REPOSITORY, rules, both, again)) for _ in range(given.rounds)]
        records = sum(1 for _ in both.open("rb"))
        if again.stat().st_size != both.stat().st_size:
            raise SystemExit("what the earlier release reads is refused now")
    print(f"{records:,} records; the least of {given.rounds} rounds each, as other work on the machine only adds")
    for name, text in (
        ("us", "CPU microseconds an event"),
        ("bytes", "bytes a client's state"),
        ("actions", "actions"),
    ):
        before, now = (min(pair[side][name] for pair in pairs) for side in (0, 1))
        print(f"{text:<26} earlier {before:10.2f}   now {now:10.2f}   ratio {now / before:.3f}", flush=True)


if __name__ == "__main__":
    main()

"""What the engine stores grows: older formats are read, added fields carried or left out, newer formats waited for."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.client import sections
from engine.core.decide import semantics
from engine.operations import snapshot
from engine.runtime import formats
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Newer, Refused
from engine.runtime.formats import RULE_SET_FORMAT
from engine.runtime.protocol.ledger import Step, decode_unit, encode_unit
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.writes import Write, decode_writes, encode_writes, from_0_1
from engine.runtime.rule_sets.archive import HEAD, RuleSetArchive
from engine.runtime.settings import load
from tests.core.making import at, balance, login, profile, trade
from tests.core_form import replaces_parts
from tests.rulefile.sample import FILES, good
from tests.runtime.driving import HELLO, Bench, Faultless, Topics, all_batches, by_client, take_turns, topics_of
from tests.versions import neighbour, too_new

END = End({"trades": 3, "logins": 1}, 9, {"A": 2, "C": 1}, "d")
NEWER_POSITION = "a partition's position was written by a newer Engage (format 3, this one reads up to 2): upgrade thi"

# -- positions ------------------------------------------------------------------------------------


def test_a_position_is_what_was_read_byte_by_byte():
    text = Position.after(7, "ab", END.encode()).text
    assert Position.read(text).end == END
    spaced = text.replace(b",", b", ")
    assert Position.read(spaced).text == spaced
    assert Position.read(spaced) != Position.read(text)
    assert (Position.read(text).ledger, Position.read(text).digest) == (7, "ab")
    assert Position.read(None) == Position.read(b"") == Position()


def test_fields_of_a_newer_engine_are_carried_along():
    fields = json.loads(END.encode()) | {"budget": {"left": 5}, "a": None}
    end = End.decode(json.dumps(fields).encode())
    assert json.loads(end.encode()) == fields
    text = Position.after(7, "ab", json.dumps(fields).encode()).text
    assert json.loads(text) == fields | {"ledger": 7, "digest": "ab"}


@pytest.mark.parametrize(
    "text", [b"\xc1", b"{}", b"[]", b"7", b'{"format":2}', b'{"ledger":7}', b'{"format":"2","ledger":1,"digest":""}']
)
def test_what_is_not_a_position_is_refused(text):
    with pytest.raises(Refused, match="Redis holds no valid position of a partition: found") as error:
        Position.read(text)
    assert not isinstance(error.value, Newer)


# -- records --------------------------------------------------------------------------------------

topics = st.sampled_from(("trades", "logins", "rerouted"))
names = st.lists(st.text(max_size=5), max_size=3).map(tuple)
steps = st.builds(
    Step, st.dictionaries(topics, st.tuples(st.integers(0, 9), st.integers(0, 9))), st.integers(0, 1 << 45),
    names, names, names,
)  # fmt: skip


@given(st.lists(steps, max_size=3), st.binary(), st.text())
def test_a_record_says_what_was_decided(made, begin, rule_set):
    records = encode_unit(begin, END, [b"one", b"two"], rule_set, "digest", semantics.SEMANTICS, made)
    one, two = map(decode_unit, records)
    assert (one.chunk, one.chunks, one.writes, one.steps) == (0, 2, b"one", ())
    assert (two.chunk, two.begin, two.end, two.writes) == (1, begin, END, b"two")
    assert (two.rule_set, two.published, two.semantics, two.steps) == (
        rule_set,
        "digest",
        semantics.SEMANTICS,
        tuple(made),
    )


def test_writes_come_back_whatever_fields_they_have():
    made = [Write("a", at(0), b"\xff", {"tier": "A"}), Write("b", 1 << 62, b"", {"tier": "", "more": "é"})]
    chunks = encode_writes(made)
    assert len(chunks) == 2  # a chunk names its fields once
    found = [write for chunk in chunks for write in decode_writes(chunk)]
    assert [(w.key, w.state, w.public) for w in found] == [(w.key, w.state, w.public) for w in made]
    assert encode_writes(found) == chunks
    assert list(decode_writes(from_0_1(msgpack.packb([], use_bin_type=False)))) == []


@given(
    sizes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=40),
    bound=st.integers(1, 2_000),
)
def test_no_chunk_is_larger_than_it_may_be_unless_one_row_is(sizes: list[tuple[int, int]], bound: int):
    """Kafka refuses a record that is too large, whatever made it so: states, or what other systems read."""
    made = [
        Write(f"c{n}", n, bytes(state), {"work": "é" * work}, (str(n),) if n % 3 else None)
        for n, (state, work) in enumerate(sizes)
    ]
    chunks = encode_writes(made, bound)
    assert all(len(chunk) <= bound or len(list(decode_writes(chunk))) == 1 for chunk in chunks[: len(made)])
    assert [w for chunk in chunks for w in decode_writes(chunk)] == [w._replace(moved=()) for w in made]
    values = [(row, *rest) for chunk in chunks for row, *rest in moved_of(chunk)]
    assert values == [(w.key.encode(), w.key[1:].encode()) for w in made if w.moved]


def moved_of(chunk: bytes) -> list[tuple[bytes, ...]]:
    """Key, and what it had before, of each row that may have moved."""
    found = msgpack.unpackb(chunk, raw=True)
    return [(found[b"rows"][row - 1][0], *values) for row, *values in found[b"moved"]]


# -- workers of several versions ---------------------------------------------------------------------


def some_topics() -> Topics:
    events = [
        event
        for n in range(40)
        for event in (
            profile(at(0) + n, client_id=f"c{n % 7}"), login(at(n), client_id=f"c{n % 5}", channel="web"),
            balance(at(n) + 5, 10**n % 10**9, client_id=f"c{n % 6}"), trade(at(n) + 9, client_id=f"c{n % 4}"),
        )
    ]  # fmt: skip
    return topics_of(sorted(events, key=lambda item: item[1].time))


async def test_workers_of_neighbouring_versions_take_over_from_each_other():
    bench, topics = Bench(HELLO), some_topics()
    await take_turns(bench, all_batches(topics, 5), [neighbour, nullcontext])
    worker = await bench.started()
    faultless = Faultless(HELLO, topics)
    assert bench.data.states() == faultless.states
    assert by_client(bench.ledger.messages) == by_client(faultless.messages)
    assert worker.position.states == len(faultless.states)
    assert Position.read(bench.data.position).text == bench.data.position
    assert json.loads(bench.data.position)["budget"]["left"] < 95  # carried on by those who do not know it
    assert {write.public.get("household") for write in bench.data.rows().values()} <= {"new", None}


async def test_an_older_worker_leaves_the_position_of_a_newer_one_alone():
    bench, topics = Bench(HELLO), some_topics()
    first, second, *_ = all_batches(topics, 10)
    with too_new():
        newer = await bench.started()
        await newer.take(first)
        await newer.commit("age")
    before = bench.ledger.units(), bench.data.states(), bench.data.position
    for _ in range(3):
        with pytest.raises(Newer, match=NEWER_POSITION.replace("(", r"\(").replace(")", r"\)")):
            await bench.worker().recover()
    assert (bench.ledger.units(), bench.data.states(), bench.data.position) == before
    with too_new():
        await newer.take(second)  # it was not even fenced
        await newer.commit("age")


async def test_an_older_worker_does_not_apply_a_newer_ones_unit():
    bench, topics = Bench(HELLO, apply_faults=["", "before"]), some_topics()
    first, second, *_ = all_batches(topics, 10)
    worker = await bench.started()
    await worker.take(first)
    await worker.commit("age")
    with too_new():
        newer = await bench.started()
        await newer.take(second)
        with pytest.raises(Exception, match="redis is away"):
            await newer.commit("age")
    before = bench.ledger.units(), bench.data.states(), bench.data.position
    with pytest.raises(
        Newer, match=r"a ledger record was written by a newer Engage \(format 4, this one reads up to 3\)"
    ):
        await bench.worker().recover()
    assert (bench.ledger.units(), bench.data.states(), bench.data.position) == before
    with pytest.raises(Fenced):  # and goes on when it has its upgrade
        await newer.commit("age")
    with too_new():
        assert (await bench.started()).offsets != worker.offsets


@replaces_parts
async def test_an_older_worker_waits_at_a_state_of_a_newer_one(monkeypatch):
    bench, topics = Bench(HELLO), some_topics()
    first, second, *_ = all_batches(topics, 10)
    monkeypatch.setattr(sections, "STATE_VERSION", sections.STATE_VERSION + 1)
    worker = await bench.started()
    await worker.take(first)
    await worker.commit("age")
    monkeypatch.undo()
    older = await bench.started()
    with pytest.raises(Newer, match=r"the state of client c\d is of a newer Engage .*: upgrade this worker"):
        await older.take(second)
    await older.recover()
    assert older.offsets == worker.offsets


# -- a replay ------------------------------------------------------------------------------------------


def test_a_replay_of_the_ledger_takes_no_rules(tmp_path):
    from click.testing import CliRunner

    from engine.cli.main import main

    result = CliRunner().invoke(main, ["replay", "--from-ledger", "--rules", str(tmp_path)])
    assert result.exit_code == 2
    assert "so --rules would change nothing: leave it out" in " ".join(result.output.split())


# -- snapshots ---------------------------------------------------------------------------------------


def new_snapshot(path: Path, **more: object) -> Path:
    with path.open("wb") as out:
        rows = snapshot.Rows(out)
        rows.put({"engage_snapshot": formats.SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1} | more)
        rows.put({"partition": 0, "position": None} | more)
        rows.put({"of": "a newer engine"})
        rows.end()
    return path


def test_what_a_newer_engine_adds_to_a_snapshot_is_left_out(tmp_path):
    header, rows = snapshot.read(new_snapshot(tmp_path / "s", more=1))
    assert header == snapshot.Header("engage", 1)
    assert list(rows) == [snapshot.Row(0), snapshot.Row(), snapshot.Row()]


def test_a_snapshot_of_a_newer_format_is_refused(tmp_path):
    with pytest.raises(Newer, match=r"s was written by a newer Engage \(format 9, this one reads up to 3\)"):
        snapshot.read(new_snapshot(tmp_path / "s", engage_snapshot=9))


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"\xc1" * 200, b"\x93", msgpack.packb({"a": 1}) * 40])
def test_a_file_that_is_not_a_snapshot_is_refused(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(Refused, match="not a snapshot that `engage snapshot` wrote"):
        snapshot.read(tmp_path / "s")


def test_a_snapshot_that_lost_its_end_is_refused(tmp_path):
    path = new_snapshot(tmp_path / "s")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Refused, match="the snapshot is not whole"):
        snapshot.read(path)


# -- rule sets -----------------------------------------------------------------------------------------


def test_rule_set_records_of_a_newer_engine_are_not_misread():
    archive, digest = RuleSetArchive(load(), Clients()), good().digest
    newer = RULE_SET_FORMAT + 1
    archive.add(digest.encode(), json.dumps({"format": newer, "files": FILES}).encode())
    archive.add(b"history/00000001", json.dumps({"format": newer, "number": 1}).encode())
    archive.add(HEAD, digest.encode())
    assert archive.history == []
    with pytest.raises(
        Newer, match=rf"on the rule-set topic was written by a newer Engage \(format {newer}, this one reads up to"
    ):
        archive.plan(digest)
    assert archive.newer is not None


def test_rule_set_records_may_have_further_fields():
    archive, digest = RuleSetArchive(load(), Clients()), good().digest
    archive.add(digest.encode(), json.dumps({"format": 1, "files": FILES, "signed": "by somebody"}).encode())
    assert archive.plan(digest).rule_set.digest == digest
    assert archive.newer is None

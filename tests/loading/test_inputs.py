"""Files of a past, right and wrong, as a load reads and decides them."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from engine.core.client.items import KIND
from engine.core.client.sections import unpack
from engine.core.contract.events import parse_time_ms
from engine.core.plan.compile import Plan, compile_rule_set
from engine.demo import simulator
from engine.loading.deciding import Acted, Decided, Past, decide_bucket
from engine.loading.mapping import read_mapping
from engine.loading.sources import parts_of, split
from engine.loading.spill import letters_of, rows_of
from engine.operations.record_file import SimulatedRecord, to_line
from engine.operations.replay import Replayed, read_file, replay_records
from engine.runtime.errors import Refused
from engine.runtime.protocol.writes import decode_writes
from engine.runtime.rule_sets.archive import load_directory
from tests.loading.past import as_loaded, packed
from tests.services.process import REPOSITORY

UNTIL = "2026-11-01T00:00:00Z"
MAPPING = """\
- files: "*.csv*"
  topic: trades
  zone: Asia/Shanghai
  fields: &fields
    event_id: {columns: [account, deal]}
    client_id: customer
    time: {column: dealt, format: "%Y-%m-%d %H:%M:%S"}
    symbol: code
    side: {column: bs, values: {B: buy, S: sell}}
    amount_fen: {column: amount, times: 100}
    quantity: shares
    product: {value: etf}
- files: "*.parquet"
  topic: trades
  fields: *fields
  zone: Asia/Shanghai
"""
HEADER = "account,deal,customer,dealt,code,bs,amount,shares\n"
ROW = "A1,17,C1,2026-10-30 10:00:00,510300,B,1234.50,100\n"


gzip_of = partial(gzip.compress, mtime=0)


@cache
def plan() -> Plan:
    return compile_rule_set(load_directory(REPOSITORY / "rules"))


def loaded(
    directory: Path,
    *paths: Path,
    mapping: str | None = None,
    part_bytes: int = 1 << 20,
    acted: Acted = "all",
    each: int = 1,
) -> tuple[list[Decided], list[dict[str, Any]]]:
    """Each bucket, and what was refused while files were read."""
    given = directory / "mapping.yaml"
    given.write_text(mapping or "[]")
    work = directory / "work"
    work.mkdir(exist_ok=True)
    parts = parts_of(list(paths), read_mapping(given) if mapping else [], part_bytes)
    indexes = [split(number, part, work, 1, each) for number, part in enumerate(parts)]
    letters = [letter for number in range(len(parts)) for letter in letters_of(work, number)]
    past = Past(parse_time_ms(UNTIL), acted)
    decided = []
    for bucket in range(each):
        pieces = [(number, at) for number, index in enumerate(indexes) if (at := index.pieces.get(bucket))]
        decided.append(decide_bucket(plan(), past, rows_of(work, pieces)))
    return decided, letters


def said(directory: Path, name: str, content: bytes, mapping: str | None = MAPPING) -> str:
    """The refusal of a file."""
    file = directory / name
    file.write_bytes(content)
    with pytest.raises(Refused) as refused:
        loaded(directory, file, mapping=mapping)
    return str(refused.value)


def written(decided: list[Decided]) -> dict[str, bytes]:
    """Client -> state."""
    writes = [write for chunk in states(decided) for write in decode_writes(chunk)]
    assert len({write.key for write in writes}) == len(writes)
    return {write.key: write.state for write in writes}


def line(time: str = "2026-10-30T10:00:00+08:00", event_id: str = "t1") -> str:
    said = {"event_id": event_id, "client_id": "c1", "time": time, "symbol": "510300", "side": "buy", "amount_fen": 1}
    return to_line(SimulatedRecord("trades", "c1", parse_time_ms(time), said))


def states(decided: list[Decided]) -> list[bytes]:
    return sorted(chunk for bucket in decided for unit in bucket.units for chunk in unit.writes)


# -- the same states, however the past is written ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("simulated") / "past.ndjson"
    with file.open("wb") as out:
        simulator.write(
            out,
            seed=3,
            end=UNTIL,
            clients=40,
            days=60,
            count=900,
            topics=["profiles", "trades", "balances"],
        )
    return file


def test_states_are_those_of_a_replay(simulated: Path, tmp_path: Path) -> None:
    """Whatever the parts and buckets, and in whatever order the lines come."""
    replayed = Replayed()
    with simulated.open("rb") as lines:
        list(replay_records(plan(), read_file(lines, "past"), replayed, parse_time_ms(UNTIL)))
    whole, _ = loaded(tmp_path, simulated)
    assert whole[0].counts.events == 900
    assert sum(unit.clients for unit in whole[0].units) == len(replayed.states)
    expected = packed(plan(), as_loaded(plan(), replayed.states))
    assert written(whole) == expected
    shuffled = tmp_path / "shuffled.ndjson.gz"
    shuffled.write_bytes(gzip_of(b"".join(sorted(simulated.read_bytes().splitlines(keepends=True), reverse=True))))
    assert states(loaded(tmp_path, shuffled)[0]) == states(whole)
    pieces, _ = loaded(tmp_path, simulated, part_bytes=1_000, each=7)
    assert sum(bucket.counts.events for bucket in pieces) == 900
    assert written(pieces) == expected


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "gbk").mkdir()
    table = tmp_path / "past.csv"
    table.write_text(HEADER + ROW)
    semicolons = tmp_path / "gbk" / "past.csv.gz"
    text = (HEADER + ROW).replace(",", ";").replace("A1;17", '"A1";"17"').replace("\n", "\r\n")
    semicolons.write_bytes(
        gzip_of(("名字;" + text.replace("\nA1", "\n客户;A1").replace('\n"', '\n客户;"')).encode("gb18030"))
    )
    columns = {
        "account": ["A1"],
        "deal": [17],
        "customer": ["C1"],
        "dealt": [dt.datetime(2026, 10, 30, 10)],
        "code": ["510300"],
        "bs": ["B"],
        "amount": [Decimal("1234.50")],
        "shares": [100],
    }
    parquet = tmp_path / "past.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), parquet)
    other = MAPPING.replace(
        "zone: Asia/Shanghai\n  fields: &", 'zone: Asia/Shanghai\n  encoding: gb18030\n  separator: ";"\n  fields: &'
    )
    plain, refused = loaded(tmp_path, table, mapping=MAPPING)
    assert not refused
    assert plain[0].counts.events == 1, plain[0].letters
    assert states(loaded(tmp_path, semicolons, mapping=other)[0]) == states(plain)
    assert states(loaded(tmp_path, parquet, mapping=MAPPING)[0]) == states(plain)


# -- one line that is wrong costs that line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("A1,18,C1,30.10.2026,510300,B,1,1", "time (column dealt): not a time of the format"),
        ("A1,18,C1,2026-10-30 10:00:00,510300,X,1,1", "side (column bs): a value that `values` does not name"),
        ('A1,18,C1,2026-10-30 10:00:00,510300,B,"1,234",1', "separators of thousands"),
        ("A1,18,C1,2026-10-30 10:00:00,510300,B,0.001,1", "not a whole number even 100 times"),
        ("A1,18,C1,2026-10-30 10:00:00,510300,B,nan,1", "NaN"),
        ("A1,18,C1,2026-10-30 10:00:00,510300,B,1", "has 7 values, the header 8"),
    ],
)
def test_a_row_that_is_wrong(row: str, error: str, tmp_path: Path) -> None:
    file = tmp_path / "past.csv"
    file.write_text(HEADER + ROW + row + "\n" + ROW.replace("17", "19"))
    decided, (letter,) = loaded(tmp_path, file, mapping=MAPPING)
    assert error in letter["error"]
    assert letter["place"] == 3
    assert decided[0].counts.events == 2


def test_a_letter_keeps_the_record_as_it_was(tmp_path: Path) -> None:
    twice = json.dumps(json.loads(line())["value"]).encode().replace(b'"side"', b'"symbol": "1", "side"')
    file = tmp_path / "past.ndjson"
    good = line()
    file.write_bytes(
        good.encode() + b'{"topic":"trades","key":"c1","timestamp":1793332800000,"value":' + twice + b"}\n\xff\xfe\n"
        b'{"topic":"orders","key":"c1","value":{}}\n' + line(UNTIL).encode()
    )
    decided, letters = loaded(tmp_path, file)
    assert [letter["place"] for letter in letters] == [3, 4]
    assert letters[0]["line_base64"] == "//4K"
    assert '"orders" is not an inbound topic' in letters[1]["error"]
    first, second = map(json.loads, decided[0].letters)
    assert first["reason"] == "duplicate_key"
    assert base64.b64decode(first["value_base64"]) == twice
    assert second["reason"] == "not_before_until"
    assert decided[0].counts.events == 1


# -- a file that is wrong is refused before anything is decided --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("past.csv", b"", "is empty"),
        ("past.csv", HEADER.replace("code", "Code").encode() + ROW.encode(), 'no column "code" (is it "Code"?)'),
        ("past.csv", HEADER.replace("code", "bs").encode(), "the column bs is there twice"),
        (
            "past.csv",
            (HEADER + ROW.replace("510300", "股")).encode("gb18030"),
            "it is not utf-8 (byte 0xb9): name its encoding",
        ),
        ("past.csv", (HEADER + 'A1,"18').encode(), "a quote is never closed"),
        ("past.csv.gz", gzip_of((HEADER + ROW).encode())[:-9], "cut off or broken"),
        ("past.csv.gz", HEADER.encode(), "is no gzip file"),
        ("past.csv", gzip_of(HEADER.encode()), "is packed by gzip"),
        ("past.parquet", b"PAR1 and nothing", "no whole Parquet file"),
        ("past.xlsx", b"PK", "save it as CSV"),
        ("past.dat", b"", "name it by what it is"),
        ("past.ndjson", HEADER.encode(), "past.ndjson:1: not a record line"),
        ("past.ndjson", "\ufeff{}".encode("utf-16"), "is UTF-16"),
        (
            "past.ndjson.gz",
            gzip_of(b"".join(line(event_id=str(n)).encode() for n in range(999)))[:-99],
            "cut off or broken",
        ),
    ],
)
def test_a_file_that_is_wrong(name: str, content: bytes, error: str, tmp_path: Path) -> None:
    assert error in said(tmp_path, name, content)
    assert str(tmp_path / name) in said(tmp_path, name, content)


@pytest.mark.parametrize(
    ("before", "after", "error"),
    [
        ("topic: trades", "topic: trade", "trade is no inbound topic"),
        ("symbol: code", "symbl: code", "no such field, did you mean symbol?"),
        ("    symbol: code\n", "", "symbol is missing"),
        ("format:", "fromat:", "the key fromat is unknown, did you mean format?"),
        ("zone: Asia/Shanghai", "zone: Shanghai", "no time zone of IANA"),
        ("times: 100", "times: cents", "times: must be a number"),
        ("fields: &fields", "encoding: gbkk\n  fields: &fields", "encoding: gbkk is unknown"),
        ("{value: etf}", "{value: etf, column: x}", "one of column, columns, value"),
        ("- files", "files: [", "not YAML"),
        ("topic: trades", "topic: trades\n  topic: logins", "mapping.yaml:3: not YAML: found duplicate key"),
    ],
)
def test_a_mapping_that_is_wrong(before: str, after: str, error: str, tmp_path: Path) -> None:
    assert error in said(tmp_path, "past.csv", (HEADER + ROW).encode(), MAPPING.replace(before, after, 1))


def test_yes_and_no_are_texts_in_a_mapping(tmp_path: Path) -> None:
    words = MAPPING.replace("columns: [account, deal]", "columns: [account, no]")
    words = words.replace("values: {B: buy, S: sell}", "values: {yes: buy, no: sell}")
    file, plain = tmp_path / "past.csv", tmp_path / "plain.csv"
    file.write_text(HEADER.replace("deal,", "no,") + ROW.replace(",B,", ",yes,"))
    plain.write_text(HEADER + ROW)
    found, refused = loaded(tmp_path, file, mapping=words)
    assert not refused
    assert states(found) == states(loaded(tmp_path, plain, mapping=MAPPING)[0])


def test_a_file_without_a_mapping(tmp_path: Path) -> None:
    assert "no entry of a mapping is for this file" in said(tmp_path, "past.csv", HEADER.encode(), None)
    assert "named twice" in _twice(tmp_path)


def _twice(directory: Path) -> str:
    file = directory / "past.ndjson"
    file.write_text(line())
    with pytest.raises(Refused) as refused:
        loaded(directory, file, file)
    return str(refused.value)


# -- what counts of what the past would have done ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acted", "waits", "cools"), [("all", True, True), ("cooldowns", False, True), ("nothing", False, False)]
)
def test_what_counts_as_acted(acted: Acted, waits: bool, cools: bool, simulated: Path, tmp_path: Path) -> None:
    time = "2026-10-31T10:00:00+08:00"
    said = {
        "event_id": "k1",
        "client_id": "c1",
        "time": time,
        "complaint_id": "k",
        "status": "opened",
        "category": "fees",
    }
    file = tmp_path / "complaint.ndjson"
    file.write_text(to_line(SimulatedRecord("complaints", "c1", parse_time_ms(time), said)))
    decided, _ = loaded(tmp_path, simulated, file, acted=acted)
    found = [unpack(plan().layout, write.state) for chunk in states(decided) for write in decode_writes(chunk)]
    assert decided[0].counts.muted.total() > 30
    kinds = {item[KIND] for client in found for item in client.items}
    assert bool(kinds - {"complaint"}) == waits
    assert "complaint" in kinds  # what clients wait for is not the engine's own doing
    assert (decided[0].counts.waiting.total() > 0) == waits
    assert any(client.acted for client in found) == cools
    assert any(client.contacts for client in found) == cools

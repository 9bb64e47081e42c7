"""The topic advisors: what a record says, what is refused and why, and what pools do with it."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from engine.core.assign.choice import Answers, ask, reconsider
from engine.core.assign.staff import MAX_LEAVES, staff
from engine.core.assign.state import VERSION, WITHOUT_FACTS, WITHOUT_TASKS, NewerPool, PoolState, Waiting, pack, unpack
from engine.core.contract.topics import ADVISORS
from engine.core.decide import pools
from engine.core.decide.timeline import Timeline
from engine.core.reading.decode import Rejected, Taken
from engine.operations.replay import Replayed, read_file, replay_records
from engine.processors.assignment import ASSIGNMENT
from tests.core.making import FEATURES, at, login, plan_of, profile, rule
from tests.services.process import REPOSITORY

FILE = """\
advisors:
  ann: {pool: east, capacity: 2, leave: [{from: 2026-03-02, until: 2026-03-06, stand_in: bob}]}
  bob: {pool: east, capacity: 2}
  cy: {pool: rest, capacity: 1}
"""
POOLS = """\
assignment:
  pools:
    east: {when: client.region == "east", team: wealth, give_up: 1d}
    rest: {when: client.region == "west", team: research}
"""
PLAN = plan_of(
    rule("ask", kind="assignment", audience="team", when="not client.has_advisor", cooldown="1m"),
    features=FEATURES,
    others=(("advisors.yaml", FILE), ("assignment.yaml", POOLS)),
)
assert PLAN.pools is not None
ROSTER = PLAN.pools.roster


def h(hours: float) -> int:
    return at(0) + int(hours * 3_600_000)


def record(time_ms: int = h(0), advisor: str = "ann", pool: str = "east", id_: str = "e1", **says: Any) -> dict:
    return {"event_id": id_, "pool": pool, "time": time_ms, "advisor_id": advisor} | says


def read(fields: dict[str, Any], key: bytes | None = b"east") -> Taken | Rejected:
    return ASSIGNMENT.decoder(PLAN)("advisors", key, json.dumps(fields).encode(), h(0))


LEAVE = {"leave_from": "2026-02-20", "leave_until": "2026-02-21"}


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        (record(), "missing_field", "it says nothing: send present, leave_from, last_day, capacity or open"),
        (record(present="no"), "wrong_type", "present: "),
        (record(capacity=-1), "out_of_range", "capacity: "),
        (record(last_day="soon"), "wrong_type", "last_day: no such day; write 2026-03-02"),
        (record(**LEAVE | {"leave_from": "2026-13-45"}), "wrong_type", "leave_from: no such day; write 2026-03-02"),
        (record(leave_until="2026-02-21"), "missing_field", "leave_from: a leave is known by its first day: send it"),
        (record(leave_from="2026-02-20"), "missing_field", "leave_until: send the leave's last day, or null to take"),
        (record(**LEAVE | {"leave_until": "2026-02-19"}), "out_of_range", "leave_until: the leave ends before it begi"),
        (record(**LEAVE, stand_in="cy"), "unknown_value", "stand_in: of the pool rest by advisors.yaml or .csv: send"),
        (record(**LEAVE, stand_in="ann"), "unknown_value", "stand_in: the advisor's own id: name somebody else"),
        (record(advisor="ana", present=False), "unknown_value", "advisor_id: neither advisors.yaml nor .csv of the "
         "active rules has this id in the pool (is it ann?): add it, publish, resend"),
        (record(advisor="cy", present=False), "unknown_value", "advisor_id: of the pool rest by advisors.yaml or .csv"),
        (record(pool="west", present=False), "key_mismatch", "the record's key is not its pool; key every record by "),
        ({"event_id": "e", "time": h(0), "advisor_id": "ann"}, "missing_field", "pool"),
        ({"client_id": "east", "event_id": "e", "time": h(0), "advisor_id": "ann"}, "missing_field", "pool"),
        (record(time_ms=h(1), present=False), "future", "time lies 3600 s after the record's own time"),
    ],
)  # fmt: skip
def test_what_is_refused(fields: dict[str, Any], reason: str, said: str) -> None:
    found = read(fields)
    assert isinstance(found, Rejected)
    assert (found.reason, found.error[: len(said)]) == (reason, said)
    assert "client" not in found.error


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (None, b"{}", "the record has no key; its key must be the advisor's pool"),
        (b"east", None, "the record has no value (a tombstone): an advisor is taken out of the roster, or has a last_"),
        (b"east", b"null", "the JSON value null, as some producers write a deletion: an advisor is taken out of the "),
        (b"east", b"{}", "an empty object: send the event's fields, with event_id, pool and time in it"),
    ],
)
def test_what_is_no_record(key: bytes | None, value: bytes | None, said: str) -> None:
    found = ASSIGNMENT.decoder(PLAN)("advisors", key, value, h(0))
    assert isinstance(found, Rejected)
    assert found.error.startswith(said)


class Desk:
    """The pool east, as it stands after each record; at each step it is stored and read again."""

    def __init__(self) -> None:
        self.states = {"east": PoolState("east", h(0))}

    @property
    def pool(self) -> PoolState:
        return self.states["east"]

    def hear(self, *records: dict[str, Any]) -> list[tuple[str | None, str | None]]:
        """Whom answers give clients to, and why."""
        answers = []
        for fields in records:
            change = ADVISORS.validate(json.dumps(fields).encode())
            answers += pools.take(ROSTER, self.states, change)  # type: ignore[arg-type]
            self.states["east"] = unpack(pack(self.pool))
        found = [json.loads(answer.value or b"") for answer in answers]
        return [(one.get("advisor_id"), one.get("why")) for one in found]

    def ask(self, time_ms: int, number: int = 1) -> str | None:
        """Who takes a client of its own; None while it waits."""
        name = f"r{number}"
        ask(ROSTER, self.pool, Waiting(50, time_ms, name, f"c{number}", None, None, None, ()))
        given = self.pool.answers.get(name)
        return given.advisor if given is not None else None


def test_who_is_absent_gets_nobody_until_the_file_or_a_record_says_so() -> None:
    for back in ({"present": True}, {"present": None}):
        desk = Desk()
        assert desk.hear(record(h(0), present=False), record(h(0), "bob", id_="e2", present=False)) == []
        assert desk.ask(h(1)) is None
        assert desk.hear(record(h(2), id_="e3", **back)) == [("ann", None)]


def test_a_capacity_holds_until_it_is_null_and_takes_nobody_away() -> None:
    desk = Desk()
    desk.hear(record(h(0), "bob", id_="e0", present=False), record(h(0), capacity=1))
    assert [desk.ask(h(1)), desk.ask(h(1), 2)] == ["ann", None]
    desk.hear(record(h(2), id_="e2", capacity=0))
    assert desk.pool.loads["ann"] == 1
    assert desk.hear(record(h(3), id_="e3", capacity=None)) == [("ann", None)]


def test_a_leave_moves_clients_and_a_later_record_ends_or_takes_it_back() -> None:
    desk = Desk()
    assert desk.ask(h(1)) == "ann"
    leave = {"leave_from": "2026-02-16", "leave_until": "2026-02-20", "stand_in": "bob"}
    assert desk.hear(record(h(2), **leave)) == [("bob", "stand_in")]
    assert desk.hear(record(h(3), id_="e2", leave_from="2026-02-16", leave_until=None)) == [("ann", "back")]
    assert desk.hear(record(h(2.5), id_="e3", **leave)) == []  # an older word


def test_the_file_s_leave_is_taken_back_by_its_first_day_and_other_leaves_stay() -> None:
    desk = Desk()
    desk.hear(record(h(0), leave_from="2026-03-02", leave_until=None))
    assert [one.leave for one in staff(ROSTER, desk.pool)] == [(), ()]
    desk.hear(record(h(0), id_="e2", leave_from="2026-03-02", leave_until="2026-03-03"))
    desk.hear(record(h(0), id_="e3", **LEAVE))
    assert [(one.first, one.last) for one in staff(ROSTER, desk.pool)[0].leave] == [
        ("2026-02-20", "2026-02-21"),
        ("2026-03-02", "2026-03-03"),
    ]


def test_who_leaves_the_firm_gets_nobody_after_the_last_day() -> None:
    desk = Desk()
    desk.hear(record(h(0), last_day="2026-02-16"), record(h(0), "bob", id_="e2", present=False))
    assert [desk.ask(h(1)), desk.ask(h(24), 2)] == ["ann", None]


def test_order_and_repetition_make_no_difference() -> None:
    records = [
        record(h(1), id_="a", present=False),
        record(h(2), id_="b", present=True, capacity=1),
        record(h(2), id_="c", present=False),
        record(h(0), id_="d", capacity=9, **LEAVE),
        record(h(3), id_="e", leave_from="2026-02-20", leave_until=None),
    ]
    ends = set()
    for order in itertools.permutations(records):
        desk = Desk()
        desk.hear(record(h(4), "bob", id_="z", present=True), *order, *order[:2])
        ends.add(staff(ROSTER, desk.pool))
    ((ann, _),) = ends
    assert (ann.absent_ms, ann.capacity, [one.first for one in ann.leave]) == (h(2), 1, ["2026-03-02"])


def test_an_advisor_s_leaves_are_bounded_whatever_their_order() -> None:
    days = [f"2026-{month:02}-{day:02}" for month in range(4, 10) for day in range(1, 20)]
    ends = set()
    for some in (days, days[::-1]):
        desk = Desk()
        desk.hear(*(record(h(0), id_=day, leave_from=day, leave_until=day) for day in some))
        ends.add(tuple(one.first for one in staff(ROSTER, desk.pool)[0].leave))
    assert ends == {("2026-03-02", *days[-MAX_LEAVES:])}


def test_what_was_said_holds_through_a_publish() -> None:
    desk = Desk()
    desk.hear(record(h(0), present=False, capacity=1))
    other = plan_of(
        rule("ask", kind="assignment", audience="team"),
        features=FEATURES,
        others=(("advisors.yaml", FILE.replace("capacity: 2", "capacity: 9")), ("assignment.yaml", POOLS)),
    )
    assert other.pools is not None
    answers: Answers = reconsider(other.pools.roster, desk.pool, h(1))
    ann, bob = staff(other.pools.roster, desk.pool)
    assert (answers, ann.capacity, ann.absent_ms, bob.capacity) == ([], 1, h(0), 9)


def test_an_older_engine_does_not_read_what_it_would_lose() -> None:
    desk = Desk()
    assert pack(desk.pool)[1] == WITHOUT_FACTS
    desk.hear(record(present=False))
    packed = pack(desk.pool)
    assert packed[1] == WITHOUT_TASKS
    with pytest.raises(NewerPool):
        unpack(packed[:1] + bytes([VERSION + 1]) + packed[2:])


def test_a_replay_of_files_hears_it_in_the_order_of_time() -> None:
    lines = [
        line("profiles", "c1", {"event_id": "p", "client_id": "c1", "time": h(0), "region": "east"}),
        line("advisors", "east", record(h(1), present=False)),
        line("advisors", "east", record(h(1), "nobody", id_="e2", present=False)),
        line("logins", "c1", {"event_id": "l", "client_id": "c1", "time": h(2), "channel": "app"}),
    ]
    replayed = Replayed()
    messages = [*replay_records(PLAN, read_file(lines, "f"), replayed)]
    (answer,) = [json.loads(m.value or b"") for m in messages if m.topic == "assignment_answers"]
    assert (answer["advisor_id"], replayed.rejected) == ("bob", 1)
    (kind,) = replayed.refused
    assert kind[:2] == ("advisors", "unknown_value")


def test_a_timeline_without_pools_hears_nothing_of_them() -> None:
    timeline = Timeline(PLAN, {})
    change = ADVISORS.validate(json.dumps(record(present=False)).encode())
    assert [one.messages for one in timeline.take("advisors", change)] == [[]]
    assert [*timeline.take(*profile(h(0), region="east")), *timeline.take(*login(h(1)))]


def line(topic: str, key: str, value: dict[str, Any]) -> bytes:
    return json.dumps({"topic": topic, "key": key, "timestamp": value["time"], "value": value}).encode()


def test_the_manual_shows_a_record() -> None:
    page = (REPOSITORY / "docs" / "care.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(\{[^`]*\"advisor_id\": \"li-na\", \"time\"[^`]*)```", page)
    change = ADVISORS.validate(shown.encode())
    assert (change.client_id, change.model_fields_set) == (
        "wealth_east",
        {"event_id", "client_id", "time", "advisor_id", "present"},
    )

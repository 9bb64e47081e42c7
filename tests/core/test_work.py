"""What staff have to do, as others read it: from when it is sent until it is done, declined, ended or retracted, or has
expired.
"""

from __future__ import annotations

import json

import msgpack
import pytest

from engine.core.client.items import MAX_ITEMS
from engine.core.client.record import WORK_FIELDS, listed_by, open_work, public_fields, work_places
from engine.core.client.sections import pack, unpack
from engine.core.decide.path import Sweep, decide
from engine.core.firm_time import NEVER_MS
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.protocol.writes import encode_writes
from tests.core.making import Desk, at, login, plan_of, profile, rule, trade
from tests.core.test_answers import came
from tests.core.test_care import OTHERS, WARN
from tests.core.test_corrections import correction

CALL = rule("call", kind="task", audience="team", priority=40, care="{overdue: 8h}", on="trades")


def desk(*rules: str, advisor: str | None = "A-1") -> Desk:
    found = Desk(plan_of(*(rules or (WARN, CALL)), others=OTHERS))
    found.take(profile(at(0, 8), advisor_id=advisor))
    return found


def sent(found: Desk, item) -> str:
    (action,) = [one for one in found.take(item) if "step" not in one]
    return action["id"]


def outcome(moment: int, action: str, status: str, **fields):
    return came("outcomes", moment, action_id=action, status=status, **fields)


def places(found: Desk) -> list[str]:
    return [line.split()[0] for line in work_places(found.client).splitlines()]


def test_it_is_there_from_when_it_is_sent():
    found = desk()
    assert (open_work(found.client), work_places(found.client)) == ([], "")
    assert not public_fields(found.client).keys() & {*WORK_FIELDS}  # the record has no field more
    action = sent(found, login(at(1, 9)))
    assert open_work(found.client) == [
        {
            "action_id": action,
            "client_id": "c1",
            "kind": "alert",
            "rule_id": "warn",
            "priority": 90,
            "since": "2026-02-17T01:00:00Z",
            "team": "wealth",
            "for": "advisor",
            "advisor_id": "A-1",
            "state": "open",
            "accepted_at": None,
            "accepted_by": None,
            "reminded": 0,
            "overdue": False,
            "escalated": None,
            "leaves": None,
        }
    ]
    assert places(found) == ["team:wealth", "advisor:A-1"]


@pytest.mark.parametrize("status", ["done", "declined"])
def test_it_leaves_with_its_end(status):
    found = desk()
    action = sent(found, login(at(1, 9)))
    found.take(outcome(at(1, 10), action, "not_reached"))
    assert places(found)
    found.take(outcome(at(1, 11), action, status))
    assert (open_work(found.client), work_places(found.client)) == ([], "")


def test_it_leaves_when_its_reason_is_gone_or_its_event_is_corrected():
    found = desk(rule("rich", kind="alert", audience="team", becomes="client.region == 'west'", care="{overdue: 8h}"))
    found.take(profile(at(1), region="west"))
    assert places(found) == ["team:wealth"]
    found.take(profile(at(2), region="east"))
    assert places(found) == []
    found = desk()
    bought = trade(at(1))
    sent(found, bought)
    assert places(found) == ["team:wealth"]
    found.take(correction(at(2), bought))
    assert places(found) == []


def test_who_took_it_how_it_stands_and_who_is_to_act():
    found = desk()
    action = sent(found, login(at(1, 9)))
    found.tick_all(at(1, 12.5))
    (one,) = open_work(found.client)
    assert (one["reminded"], one["overdue"], one["escalated"], one["for"]) == (2, False, None, "advisor")
    found.tick_all(at(1, 18))
    (one,) = open_work(found.client)
    assert (one["overdue"], one["escalated"], one["for"], one["advisor_id"]) == (True, "team", "team", None)
    assert places(found) == ["team:wealth"]
    taken = outcome(at(1, 19), action, "accepted", by="S-017")
    found.take(taken)
    (one,) = open_work(found.client)
    assert (one["state"], one["accepted_by"]) == ("accepted", "S-017")
    assert one["accepted_at"] == "2026-02-17T11:00:00Z"
    found.take(outcome(at(1, 18.5), action, "accepted", by="S-009"))  # came late
    assert open_work(found.client)[0]["accepted_by"] == "S-017"
    found.take(outcome(at(1, 20), action, "waiting_for_client"))
    assert open_work(found.client)[0]["state"] == "waits_for_client"
    found.take(outcome(at(1, 21), action, "client_answered"))
    assert open_work(found.client)[0]["state"] == "accepted"


def test_an_acceptance_that_was_none():
    found = desk()
    action = sent(found, login(at(1, 9)))
    taken = outcome(at(1, 10), action, "accepted", by="S-017")
    found.take(taken, correction(at(1, 11), taken))
    (one,) = open_work(found.client)
    assert (one["state"], one["accepted_by"], one["accepted_at"]) == ("open", None, None)


def test_the_advisor_of_now_has_it_and_without_one_the_team():
    found = desk()
    sent(found, login(at(1, 9)))
    found.take(profile(at(1, 9.5), advisor_id="A-2"))
    assert places(found) == ["team:wealth", "advisor:A-2"]
    found.take(profile(at(1, 9.6), advisor_id=None))
    assert places(found) == ["team:wealth"]
    assert open_work(found.client)[0]["for"] == "team"


def test_more_urgent_work_comes_first_and_of_equal_priority_the_oldest():
    found = desk()
    found.take(trade(at(1, 9)), login(at(1, 10)), trade(at(1, 11)))
    lines = [line.split() for line in work_places(found.client).splitlines()]
    in_order = sorted((int(place), action) for list_, place, action in lines if list_ == "team:wealth")
    rules = {one["action_id"]: (one["rule_id"], one["since"][11:13]) for one in open_work(found.client)}
    assert [rules[action] for _, action in in_order] == [("warn", "02"), ("call", "01"), ("call", "03")]


def test_a_state_that_is_stored_says_the_same_and_the_last_of_it_is_written_once():
    found = desk()
    action = sent(found, login(at(1, 9)))
    packed = pack(found.plan.layout, found.client)
    again = unpack(found.plan.layout, packed)
    assert (open_work(again), listed_by(again)) == (open_work(found.client), listed_by(found.client))
    stored = ENGAGEMENT.unpack(found.plan, packed)
    assert ENGAGEMENT.write(stored, packed).moved is None
    found.states["c1"] = stored
    found.take(outcome(at(1, 10), action, "done"))
    write = ENGAGEMENT.write(found.client, b"")
    assert [write.public[name] for name in WORK_FIELDS] == ["", ""]
    assert write.moved is not None
    assert write.moved[-1].startswith("team:wealth ")
    assert not ENGAGEMENT.write(found.client, b"").public.keys() & {*WORK_FIELDS}


def test_clients_with_and_without_work_share_two_chunks():
    found = desk()
    sent(found, login(at(1, 9)))
    idle = desk()
    writes = [ENGAGEMENT.write(one.client, b"s")._replace(key=f"c{n}") for n in range(4) for one in (found, idle)]
    chunks = [msgpack.unpackb(chunk) for chunk in encode_writes(writes)]
    assert [len(chunk["rows"]) for chunk in chunks] == [4, 4]
    assert ["work_places" in chunk["fields"] for chunk in chunks] == [False, True]


# -- what no rule waits for --------------------------------------------------------------------------------------------

PLAIN = rule("plain", kind="task", audience="team", on="trades", expires="2d", cooldown="1m")


def test_what_no_rule_waits_for_is_there_until_it_expires():
    found = desk(PLAIN)
    (action,) = found.take(trade(at(1, 9)))
    (one,) = open_work(found.client)
    assert (one["action_id"], one["state"], one["leaves"]) == (action["id"], "open", "2026-02-19T01:00:00Z")
    assert places(found) == ["team:wealth"]
    assert found.client.due_ms == at(3, 9)
    assert found.tick_all(at(3, 9) - 1) == []
    assert places(found) == ["team:wealth"]
    assert found.tick_all(at(3, 9)) == []
    assert places(found) == []


def test_it_leaves_at_its_own_time_though_an_event_comes_first():
    found = desk(PLAIN)
    found.take(trade(at(1, 9)), trade(at(4, 9)))
    assert [one["since"] for one in open_work(found.client)] == ["2026-02-20T01:00:00Z"]


def test_its_record_says_when_it_leaves():
    found = desk(PLAIN, CALL.replace("id: call", "id: cared"))
    decided = decide(found.plan, found.states, [trade(at(1, 9))])
    leaves = {
        json.loads(m.value)["rule_id"]: dict(m.headers).get("ce_leaves") for m in decided.messages if m.topic == "tasks"
    }
    assert leaves == {"plain": b"2026-02-19T01:00:00.000Z", "cared": None}


@pytest.mark.parametrize("status", ["accepted", "waiting_for_client"])
def test_what_somebody_took_up_stays_for_90_days(status):
    found = desk(PLAIN)
    action = sent(found, trade(at(1, 9)))
    taken = outcome(at(2, 9), action, status, by="S-017")
    found.take(taken)
    assert open_work(found.client)[0]["leaves"] is None
    found.tick_all(at(92, 9) - 1)
    assert places(found) == ["team:wealth"]
    found.tick_all(at(92, 9))
    assert places(found) == []


def test_an_acceptance_that_was_none_lets_it_leave():
    found = desk(PLAIN)
    action = sent(found, trade(at(1, 9)))
    taken = outcome(at(2, 9), action, "accepted", by="S-017")
    found.take(taken, correction(at(4, 9), taken))
    assert places(found) == ["team:wealth"]
    found.tick_all(at(4, 10))
    assert places(found) == []


@pytest.mark.parametrize("end", ["done", "declined", "retracted"])
def test_it_leaves_with_its_end_before(end):
    found = desk(PLAIN)
    bought = trade(at(1, 9))
    action = sent(found, bought)
    found.take(correction(at(2), bought) if end == "retracted" else outcome(at(2), action, end))
    assert places(found) == []


def test_work_that_is_seen_through_leaves_after_90_days_at_its_own_time():
    found = desk()
    sent(found, login(at(1, 9)))
    found.tick_all(at(91, 9) - 1)
    assert places(found) == ["team:wealth"]
    found.tick_all(at(91, 9))
    assert places(found) == []


def test_an_advisors_work_is_in_both_lists_and_the_clients_own_in_none():
    found = desk(PLAIN.replace("audience: team", "audience: advisor"), rule("word", on="trades"))
    found.take(trade(at(1, 9)))
    assert places(found) == ["team:wealth", "advisor:A-1"]


def test_who_asks_for_an_advisor_is_in_no_list_unless_it_is_seen_through():
    ask = rule("ask", kind="assignment", audience="team", on="trades")
    found = desk(ask)
    found.take(trade(at(1, 9)))
    assert places(found) == []
    found = desk(rule("ask", kind="assignment", audience="team", on="trades", care="{overdue: 8h}"))
    found.take(trade(at(1, 9)))
    assert places(found) == ["team:wealth"]


def test_without_departments_only_what_rules_wait_for_is_listed():
    found = Desk(plan_of(PLAIN))
    found.take(profile(at(0, 8)), trade(at(1, 9)))
    assert (found.client.items, places(found)) == ([], [])


def test_a_client_with_much_work_keeps_what_rules_wait_for():
    late = rule("late", unanswered="{of: complaint, for: 30d}", kind="task", audience="team")
    found = desk(PLAIN, late)
    found.take(came("complaints", at(1, 8), complaint_id="K1", status="opened"))
    found.take(*(trade(at(1, 9) + n * 120_000) for n in range(40)))
    assert len(found.client.items) == MAX_ITEMS
    assert found.client.items[0][1] == "K1"
    assert len(places(found)) == MAX_ITEMS - 1
    assert open_work(found.client)[-1]["since"] == "2026-02-17T02:18:00Z"  # the oldest went


def test_a_change_of_rules_wakes_whoever_has_old_work():
    """What an older release sent has no timer yet."""
    found = desk(PLAIN)
    found.take(trade(at(1, 9)))
    found.client.due_ms = NEVER_MS
    decide(found.plan, found.states, [Sweep("c1", at(1, 10))])
    assert found.states["c1"].due_ms == at(3, 9)
    assert plan_of(PLAIN).timed.digest != plan_of(rule("plain")).timed.digest

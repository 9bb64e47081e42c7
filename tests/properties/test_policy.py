"""The contact policy decides as a slow model of its manual says, and what the manual promises holds of what is sent."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from engine.core.decide import path
from engine.core.policy import holding
from tests.core_form import replaces_parts
from tests.properties.policy_model import LATE, USUAL, Verdict
from tests.properties.policy_mutants import MUTANTS, mutated
from tests.properties.policy_occasions import Client, Rules
from tests.properties.policy_proof import Engine, by_engine, by_model, differs, in_short
from tests.properties.policy_sets import EXEMPTIONS
from tests.properties.policy_stories import Story, story
from tests.properties.policy_words import (
    FIRM,
    Told,
    class_named,
    clock,
    in_hours,
    length,
    listed,
    meant,
    period,
    works,
    zone_named,
)

pytestmark = replaces_parts  # what the engine decides is heard by replacing functions of the core

HISTORIES = 160
SEEN_AT_ONCE = 100  # histories in which most mutants are seen
SEEN_AT_LAST = 6_000
# the history from which on a mutant is looked for
RARE = {"tags as of now instead of as sent": 6_400, "one more may wait": 9_000}
UNLOST = {"sent", "cooldown", "holdout", "held", "no_longer_true", "expired", "day_unknown"}


def test_the_engine_decides_as_the_model_of_the_manual():
    different = next((seed for seed in range(HISTORIES) if differs(story(seed))), None)
    assert different is None, f"seed {different}\n{in_short(story(different))}"


# -- mutants -----------------------------------------------------------------------------------------------------------


@cache
def model_of(seed: int) -> list[Verdict]:
    return by_model(story(seed))


def is_seen(name: str, histories: range) -> bool:
    for seed in histories:
        expected = model_of(seed)
        try:
            with mutated(name):
                if by_engine(story(seed)) != expected:
                    return True
        except StopIteration:  # a moment that it looks for is not there
            return True
    return False


@pytest.mark.parametrize("name", ["a cap allows one more", "consent of another purpose", "held beyond the expiry",
                                  "quiet hours by the firm's clock", "a cooldown is a moment longer"])  # fmt: skip
def test_the_model_sees_faults_at_once(name):
    assert is_seen(name, range(SEEN_AT_ONCE))


@pytest.mark.simulation
@pytest.mark.parametrize("name", MUTANTS)
def test_the_model_sees_every_fault(name):
    begin = RARE.get(name, 0)
    assert is_seen(name, range(begin, begin + SEEN_AT_LAST))


# -- what is promised --------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """A verdict of the engine, and where it was said."""

    step: int
    time: int
    rule: Told
    outcome: str
    channel: str
    held: bool  # until then
    again: bool  # what was sent before, on another channel
    known: int  # how many steps' records had been read


class Played(NamedTuple):
    active: Rules
    story: Story
    said: list[Said]
    waiting: int  # at the end, or ended without a verdict: the client has seen it


@cache
def played(seed: int) -> Played:
    """A story of one rule set and one zone, and the engine's verdicts; what is held is counted at each step."""
    told = story(seed)
    steps = [step for step in told.steps if step.kind != "rules"]
    for place, step in enumerate(steps[1:], start=1):
        if step.record is not None:
            known = {name: value for name, value in step.record.items() if name != "time_zone"}
            steps[place] = step._replace(record=known)
    active, said = told.sets[0], list[Said]()
    rules = {rule["id"]: rule for rule in active.rules}
    sent: list[str] = []
    engine, record, learn, end, action_id = Engine([active], sent), path.record, path.learn, path._end, path.action_id
    known = without = 0
    waiting, ended = Counter[Any](), Counter[Any]()

    def recorded(plan: Any, client: Any, match: Any, verdict: Any) -> None:
        record(plan, client, match, verdict)
        rule, held, again = rules[match.compiled.rule.id], is_held(match.held), match.follows is not None
        said.append(Said(number, client.now_ms, rule, verdict.reason.value, verdict.channel, held, again, known))
        if held and verdict.reason != "held":
            ended[key(match.held)] += 1

    def learned(*given: Any) -> Any:
        nonlocal known
        known = number + 1
        return learn(*given)

    def over(plan: Any, client: Any, gone: Any, *about: Any) -> None:
        nonlocal without
        ended.update(map(key, gone))
        without += len(gone)
        end(plan, client, gone, *about)

    def named(*given: Any) -> str:
        sent.append(action_id(*given))
        return sent[-1]

    with patch.multiple(path, record=recorded, learn=learned, _end=over, action_id=named):
        for number, step in enumerate(steps):  # noqa: B007 - the functions above say it
            ended.clear()
            begin = len(said)
            engine.play(step)
            opened = sum(one.outcome == "held" and not one.held for one in said[begin:])
            waits = [held for client in engine.states.values() for held in client.waiting if is_held(held)]
            now = Counter(map(key, waits))
            assert (now + ended - waiting).total() == opened, "what is held ends once"
            assert not waiting - now - ended, "nothing that is held is lost"
            waiting = now
    return Played(active, Story([active], steps), said, waiting.total() + without)


def is_held(held: list[Any] | None) -> bool:
    """By the policy; what was sent and may be said again is no match yet."""
    return held is not None and held[holding.WHY] != holding.THEN


def key(held: list[Any]) -> tuple[Any, ...]:
    return held[holding.RULE], held[holding.SINCE_MS], tuple(held[holding.CAUSE])


def contacts(seed: int) -> Iterator[tuple[Story, Said, dict[str, Any], list[Said]]]:
    """What was sent to the client, its class, and what was sent up to then, itself included."""
    active, told, said, _ = played(seed)
    sent = [one for one in said if one.outcome == "sent" and one.rule["audience"] == "client"]
    for place, one in enumerate(sent, start=1):
        yield told, one, classes(active)[class_named(one.rule)] or {}, sent[:place]


def classes(active: Rules) -> Told:
    found: Told = active.policy.get("classes", USUAL)
    return found


def zone_of(told: Story, whose: str) -> dt.tzinfo:
    record = told.steps[0].record or {}
    return (zone_named(record.get("time_zone")) if whose == "client" else None) or FIRM


SEEDS = pytest.mark.parametrize("seeds", [range(begin, begin + 40) for begin in (0, 40, 80)], ids=str)


@SEEDS
def test_no_cap_is_exceeded_in_any_window(seeds):
    tried = 0
    for seed in seeds:
        for told, last, class_, sent in contacts(seed):
            policy = told.sets[0].policy
            caps = list(policy.get("caps", {}).values())
            if daily := policy.get("contact"):
                urgent_from = daily.get("urgent_from", 1_000)
                caps.append({"at_most": daily["daily_cap"], "per": "day", "spare_from": urgent_from})
            for cap in caps:
                of, spared = cap.get("of", {}), last.rule["priority"] >= cap.get("spare_from", 1_000)
                if "caps" in class_.get("exempt", []) or spared or not meant(of, last.rule, last.channel):
                    continue
                counted = [one for one in sent if is_counted(told, cap, one, last)]
                order = list(classes(told.sets[0]))
                assert len(counted) <= cap["at_most"]
                tried += 1
                if reserve := cap.get("reserve"):
                    lower = order[order.index(reserve["for"]) + 1 :]
                    if class_named(last.rule) in lower:
                        rest = [one for one in counted if class_named(one.rule) in lower]
                        assert len(rest) <= cap["at_most"] - reserve["slots"]
    assert tried


def is_counted(told: Story, cap: Told, one: Said, last: Said) -> bool:
    """Whether a cap counts it in the window that ends with the last; the last it counts itself, though its class may
    not count.
    """
    class_, of = classes(told.sets[0])[class_named(one.rule)] or {}, cap.get("of", {})
    if not meant(of, one.rule, one.channel):
        return False
    if one is not last and not class_.get("counts", True) and "class" not in of:
        return False
    if "within" in cap:
        return one.time > last.time - length(cap["within"])
    zone = zone_of(told, cap.get("zone", "firm"))
    return period(cap["per"], clock(one.time, zone)) == period(cap["per"], clock(last.time, zone))


@SEEDS
def test_nothing_is_sent_in_quiet_hours(seeds):
    tried = 0
    for seed in seeds:
        for told, one, class_, _ in contacts(seed):
            for hours in told.sets[0].policy.get("quiet_hours", {}).values():
                if "quiet_hours" in class_.get("exempt", []) or not meant(hours.get("of", {}), one.rule, one.channel):
                    continue
                tried += 1
                if "hours" in hours:
                    assert not in_hours(hours, clock(one.time, zone_of(told, hours.get("zone", "client"))))
                else:
                    assert works(told.sets[0].calendar, clock(one.time, FIRM).date())
    assert tried


@SEEDS
def test_nothing_is_sent_without_the_consent_of_the_moment(seeds):
    """By all that had been read; and what fell due while no worker ran is sent once all up to then has been."""
    tried = 0
    for seed in seeds:
        for told, one, class_, _ in contacts(seed):
            exempt, step = class_.get("exempt", []), told.steps[one.step]
            if "consent" in exempt and one.channel in class_["channels"]:
                continue
            client = Client(told.sets[0], {}, one.time)
            client.records = [(step.topic, step.record) for step in told.steps[: one.known] if step.record]
            name = class_named(one.rule)
            usual = name if name in ("marketing", "service", "risk") else "service"
            assert client.agreed(one.channel, class_.get("purpose", usual))
            tried += 1
            waits_for_records = step.record is not None and one.known <= one.step and step.wall - one.time > LATE
            assert not waits_for_records or {"consent", "do_not_contact", "snooze"} <= set(exempt)
    assert tried


def test_what_nothing_concerns_is_never_lost():
    """A class that is exempt from all, such as regulatory: it is sent as soon as its rule says so, or later."""
    tried = 0
    for seed in range(120):
        active, told, said, _ = played(seed)
        for one in said:
            class_ = classes(active)[class_named(one.rule)] or {}
            on = listed(one.rule["then"]["channel"]) if one.again else one.rule.get("channels", [])
            reached = set(class_.get("channels", [])) & set(on)
            if one.rule["audience"] == "client" and set(class_.get("exempt", [])) >= set(EXEMPTIONS) and reached:
                tried += 1
                late = told.steps[one.step].wall - one.time > LATE
                says_it_once = "same_text" in one.rule or "same_text" in class_
                assert one.outcome in UNLOST or (one.outcome == "repeated" and says_it_once)
                assert one.outcome != "held" or "collect" in class_ or late
    assert tried


def test_every_match_ends_once():
    """What is held is counted at each step, in `played`."""
    for seed in range(120):
        _, _, said, waiting = played(seed)
        assert sum(not one.held for one in said) == sum(one.outcome != "held" for one in said) + waiting

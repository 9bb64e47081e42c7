"""What lint says is never sent, by the contact policy, the engine never sends."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.core.contract.events import parse_time_ms
from engine.core.plan.compile import compile_rule_set
from engine.core.policy.clock import FIRM, local, minute_of, zone_named
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint.findings import Finding
from engine.rulefile.lint.lint import lint
from tests.core.making import Desk, at, login, profile
from tests.rulefile.sample import good
from tests.rulefile.test_lint_policy import CLASSES, RULES, files, of_class


def _some_policy(chance: random.Random) -> str:
    def clock() -> str:
        return f"{chance.choice([0, 3, 7, 8, 12, 18, 21, 22]):02d}:{chance.choice([0, 0, 30]):02d}"

    def selection() -> str:
        some = [
            "{channel: sms}",
            "{channel: app_push}",
            "{class: service}",
            "{class: [offers, news]}",
            "{kind: survey}",
        ]
        return chance.choice(["", "", f", of: {chance.choice(some)}"])

    hours, caps = [], []
    ends: tuple[str, ...] = ()
    for number in range(chance.randint(0, 4)):
        begin, until = clock(), chance.choice([clock(), clock(), "24:00"])
        if (whole := chance.random()) < 0.3:
            begin, until = "00:00", "24:00"
        elif whole < 0.5 and ends:
            begin, until = ends[1].replace("24:00", "00:00"), ends[0]  # what the one before leaves
        ends = (begin, until)
        days = chance.choice(["", "", "", ", days: [sat, sun]", ", days: [mon, tue, wed, thu, fri]"])
        zone = chance.choice(["", "", ", zone: firm"])
        if begin != until:
            hours.append(f'  q{number}: {{hours: "{begin}-{until}"{days}{zone}{selection()}}}\n')
    for number in range(chance.randint(0, 3)):
        most = chance.choice([0, 0, 1, 2])
        kept = chance.randint(1, most) if most else 0
        reserve = f", reserve: {{slots: {kept}, for: {chance.choice(['risk', 'service'])}}}" if kept else ""
        spare = chance.choice(["", "", ", spare_from: 60"])
        caps.append(f"  c{number}: {{at_most: {most}, per: hour{reserve}{spare}{selection()}}}\n")
    share = chance.choice(["", "", "holdout: {share: 1, salt: s}\n"])
    text = CLASSES + (f"quiet_hours:\n{''.join(hours)}" if hours else "") + share
    return text + (f"caps:\n{''.join(caps)}" if caps else "contact: {daily_cap: 100}\n")


def _sent(desk: Desk, zone: str) -> dict[int, bool]:
    """Of each half hour of a week: whether the login brought an action, sooner or later."""
    desk.take(profile(at(-1), consents=("app_push", "sms", "email", "phone"), time_zone=zone))
    moments = [at(day, half / 2) for day in range(7) for half in range(48)]
    causes = {}
    for moment in moments:
        causes[moment] = False
        for message in desk.take(login(moment)):
            if message.get("rule_id") == "x":
                causes[_cause_ms(message)] = True
    for message in desk.tick_all(at(11)):
        if message.get("rule_id") == "x":
            causes[_cause_ms(message)] = True
    return causes


def _cause_ms(message: dict[str, Any]) -> int:
    return parse_time_ms(message["cause"]["time"])


def _random_case(seed: int) -> tuple[str, str, RuleSet]:
    """The class of its one rule, the policy, both as a rule set."""
    chance = random.Random(seed)
    policy, name = _some_policy(chance), chance.choice(RULES)
    fields = {
        "cooldown": "1m",
        "expires": chance.choice(["30m", "2h", "5h", "3d"]),
        "channels": chance.choice(["[sms]", "[app_push, sms]", "[sms, app_push]", "[email]"]),
        "priority": chance.choice([40, 70]),
    }
    return name, policy, good(files(of_class(name, **fields), policy=policy))


def _in_vain(finding: Finding) -> Callable[[int], bool]:
    """Whether a minute of the day lies in the span that a finding names."""
    span = re.search(r"from (\d\d):(\d\d) to (\d\d):(\d\d)", finding.message)
    assert span is not None
    begin, last = (int(span[place]) * 60 + int(span[place + 1]) for place in (1, 3))
    if begin <= last:
        return lambda minute: begin <= minute <= last
    return lambda minute: minute >= begin or minute <= last


def test_what_is_never_sent_is_never_sent() -> None:
    """Random policies: no claim of lint is refuted by a week of logins, in the firm's zone and in another."""
    claims: Counter[str] = Counter()
    for seed in range(40):
        name, policy, rule_set = _random_case(seed)
        said = {one.code: one for one in lint(rule_set) if one.subject in ('rule "x"', "holdout")}
        claims.update([*said])
        held_out = "L508" in said and rule_set.policy.class_named(name).holdout
        in_vain = _in_vain(said["L506"]) if "L506" in said else lambda _: False
        outlasting = next((q for q in rule_set.policy.quiet_hours if f"hours {q.name} outlast" in str(said)), None)
        for zone in ("Asia/Shanghai", "Asia/Kathmandu"):
            causes = _sent(Desk(compile_rule_set(rule_set)), zone)
            claims["sent"] += any(causes.values())
            if said.keys() & {"L205", "L501"} or held_out:
                assert not any(causes.values()), policy
            there = zone_named(zone) if outlasting is not None and outlasting.zone == "client" else FIRM
            assert there is not None
            for moment, was_sent in causes.items():
                here = local(moment, there)
                if was_sent and (outlasting is None or not outlasting.days or here.weekday() in outlasting.days):
                    assert not in_vain(minute_of(here)), (policy, here)
    assert claims.keys() >= {"L205", "L501", "L505", "L506", "L508"}
    assert claims["sent"] > 25

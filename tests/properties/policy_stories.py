"""Random stories for the slow model of the contact policy: what happens to one client under random rules, by seed.

Enters: a seed. Leaves: a Story. Holds: the same seed tells the same story.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from tests.properties.policy_occasions import Record, Rules
from tests.properties.policy_sets import CHANNELS, RULES, a_rule_set, changed, maybe
from tests.properties.policy_words import DAY, FIRM, HOUR, MINUTE, SECOND, clock, zone_named

CLIENT = "c1"
LIVES = 4  # share their rules, since it takes long to load them
ZONES = (
    "Asia/Shanghai", "Asia/Kathmandu", "Pacific/Pago_Pago", "Pacific/Kiritimati", "America/New_York", "Europe/London",
    "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "America/Havana", "Pacific/Chatham", "Atlantic/Azores",
    "Mars/Olympus", None,
)  # fmt: skip
BEGINNINGS = (  # around nights of 23 and 25 hours, ends of months and years, holidays
    "2026-02-16", "2026-02-27", "2026-03-06", "2026-03-27", "2026-04-03", "2026-04-22", "2026-09-04", "2026-09-29",
    "2026-10-02", "2026-10-23", "2026-10-29", "2026-10-30", "2026-12-30", "2028-02-27",
)  # fmt: skip
NIGHTS = (  # of 23, 25 and other hours, and when they begin to matter
    ("America/New_York", "2026-11-01T00:30"), ("Europe/London", "2026-10-25T00:30"),
    ("Africa/Cairo", "2026-10-29T22:30"), ("America/Santiago", "2026-04-04T22:30"),
    ("Australia/Lord_Howe", "2026-04-05T00:30"), ("America/Havana", "2026-10-31T23:30"),
    ("Pacific/Chatham", "2026-04-05T02:00"), ("Atlantic/Azores", "2026-10-24T23:30"),
    ("America/New_York", "2026-03-08T01:00"), ("Australia/Lord_Howe", "2026-10-04T01:30"),
    ("Africa/Cairo", "2026-04-23T23:00"), ("America/Santiago", "2026-09-05T23:00"),
)  # fmt: skip


class Step(NamedTuple):
    """What happens: a record comes; a tick; `ticks`: time passes with a tick for whatever falls due; other `rules`; the
    state is `stored` and read again.
    """

    kind: str
    topic: str = ""
    record: Record | None = None
    at: int = 0  # of all but records: up to when time has passed
    wall: int = 0  # the moment at which it is decided; 0: in time
    number: int = 0  # of rules: which set; of ticks: by how much each is late


@dataclass
class Story:
    sets: list[Rules]
    steps: list[Step]


def story(seed: int) -> Story:
    random, night = Random(seed // LIVES), seed // LIVES % 3 == 0
    sets = [a_rule_set(random, night)]
    if maybe(random, 0.4):
        sets += [changed(random, sets[0]) for _ in range(random.randint(1, 2))]
    return Story(sets, Life(Random(seed), sets, night).steps)


class Life:
    """By its records' own times alone; or by a clock on the wall, with outages of which the records are read later."""

    def __init__(self, random: Random, sets: list[Rules], night: bool) -> None:
        self.random, self.sets, self.night, self.steps = random, sets, night, list[Step]()
        self.may_complain = any("not_while" in one for of in sets for one in of.policy.get("classes", {}).values())
        self.says_again = any("then" in rule for of in sets for rule in of.rules)
        self.apart = Random(random.getstate()[1][0])  # of what only some stories have
        day = dt.datetime.fromisoformat(random.choice(BEGINNINGS)).replace(tzinfo=FIRM)
        self.now = self.wall = int(day.timestamp()) * 1000 + random.choice([0, 9, 12, 20, 23]) * HOUR
        self.zone, self.by_wall, self.resumes = random.choice(ZONES), maybe(random, 0.4), 0
        if night:
            self.zone, date = random.choice(NIGHTS)
            begins = dt.datetime.fromisoformat(date).replace(tzinfo=zone_named(self.zone))
            self.now = self.wall = int(begins.timestamp()) * 1000 - random.choice([0, 0, HOUR])
        if maybe(random, 0.9):
            region = {"region": "west"} if maybe(random, 0.6) else {}
            known = region | {"type": "individual", "time_zone": self.zone} | agreements(random, 0.95)
            known |= whose(random, 0.8)
            self.record("profiles", self.now, known)
        for _ in range(random.choice([3, 8, 15, 25])):
            self.now = self.later()
            self.step()
        end = random.choice([HOUR, DAY, 9 * DAY])
        last = Step("ticks", at=max(self.wall, self.resumes) + end) if self.by_wall else Step("tick", at=self.now + end)
        self.steps.append(last)

    def record(self, topic: str, time: int, fields: dict[str, Any]) -> None:
        known = {"event_id": f"e{len(self.steps)}", "client_id": CLIENT, "time": time} | fields
        self.steps.append(Step("record", topic, known, wall=self.wall if self.by_wall else 0))

    def step(self) -> None:
        random = self.random
        if self.by_wall:
            self.pass_time()
        elif maybe(random, 0.15):
            self.steps.append(Step("tick", at=self.now))
            return
        if maybe(random, 0.05):
            self.steps.append(Step("stored"))
        if len(self.sets) > 1 and maybe(random, 0.15) and not self.resumes:
            wall = self.wall if self.by_wall else 0
            self.steps.append(Step("rules", at=self.now, wall=wall, number=random.randrange(len(self.sets))))
        # late; but not right after a tick, which may or may not have moved the client's present
        late = self.steps and self.steps[-1].kind == "record" and maybe(random, 0.12)
        time = self.now - (random.choice([1, MINUTE, HOUR, 7 * HOUR, DAY]) if late else 0)
        if self.may_complain and maybe(self.apart, 0.3):
            self.record("complaints", self.now - self.apart.choice([0, 0, 0, HOUR, DAY]), a_complaint(self.apart))
        if self.says_again and maybe(self.apart, 0.4):
            self.record(*what_became(self.apart, self.now))
        for _ in range(20 if maybe(random, 0.01) else 1):  # more than can be held of a client
            topic, fields = random.choice(DOINGS)
            self.record(topic, time, fields(random, time))

    def pass_time(self) -> None:
        """Workers are there, or not for a while."""
        random = self.random
        if self.now >= max(self.wall, self.resumes) and (self.resumes or maybe(random, 0.75)):
            self.steps.append(Step("ticks", at=self.now, number=random.choice([0, SECOND])))
            out = not self.resumes and maybe(random, 0.15)
            self.resumes = self.now + random.choice([MINUTE, HOUR, 9 * HOUR, DAY, 3 * DAY]) if out else 0
        self.wall = max(self.wall, self.resumes, self.now + random.choice([0, 0, 300, SECOND]))

    def later(self) -> int:
        """Often around the times at which something begins or ends."""
        random, kind = self.random, self.random.random()
        if self.night and len(self.steps) < 12:
            return self.now + random.choice([5, 10, 15, 20, 30]) * MINUTE
        if kind < 0.25:
            return self.now + random.choice([0, 0, 1, 30 * SECOND, MINUTE, 5 * MINUTE])
        if kind < 0.6:
            gaps = (15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 5 * HOUR, 12 * HOUR, DAY - 1, DAY, 3 * DAY)
            return self.now + random.choice(gaps)
        if kind < 0.63:
            return self.now + random.choice([8, 31, 40]) * DAY
        where = (zone_named(self.zone) if maybe(random, 0.7) else None) or FIRM
        spans = [one.get("hours", "") for one in self.sets[0].policy.get("quiet_hours", {}).values()]
        times = ["00:00", "01:00", "01:30", "02:00", "02:00", "03:00", "08:00", "21:30", "12:00"]
        text = random.choice(times + [time for span in spans if span for time in span.split("-")])
        here = clock(self.now, where).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        wanted = here + dt.timedelta(minutes=int(text[:2]) * 60 + int(text[3:]))
        found = int(wanted.replace(tzinfo=where, fold=random.randint(0, 1)).timestamp()) * 1000
        found += random.choice([0, 0, -1, 1, -MINUTE, MINUTE])
        return found + max(0, -(-(self.now - found) // DAY)) * DAY


# -- records -----------------------------------------------------------------------------------------------------------


def agreements(random: Random, chance: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("consents", "marketing_consents", "service_consents", "risk_consents"):
        if maybe(random, chance if name == "consents" else 0.2):
            found[name] = {channel: True for channel in CHANNELS if maybe(random, 0.85)}
            if maybe(random, 0.05):
                found[name] = None
    return found


def a_profile(random: Random, _time: int) -> dict[str, Any]:
    found = agreements(random, 0.3)
    if maybe(random, 0.7):
        found["region"] = random.choice(["west", "east", None])
    if maybe(random, 0.15):
        found["time_zone"] = random.choice(ZONES)
    return found | whose(random, 0.2)


def whose(random: Random, chance: float) -> dict[str, Any]:
    """What suitability asks."""
    found: dict[str, Any] = {}
    if maybe(random, chance):
        found["risk_level"] = random.choice(["R1", "R2", "R4", "R5", None])
    if maybe(random, chance):
        found["birth_date"] = random.choice(["2008-03-01", "1990-05-17", "1956-10-24", "1956-11-01", None])
    return found


def a_receipt(random: Random, _time: int) -> dict[str, Any]:
    status = random.choice(["failed", "failed", "bounced", "delivered", "opened", "clicked"])
    return {"action_id": "a", "channel": random.choice(CHANNELS), "status": status}


def what_became(random: Random, now: int) -> tuple[str, int, dict[str, Any]]:
    """Of one of the last actions; mostly at once."""
    about = {"action_id": f"latest-{random.choice([1, 1, 1, 2, 3])}"}
    time = now - random.choice([0, 0, 0, MINUTE, HOUR])
    if maybe(random, 0.15):
        return "feedback", time, about | {"nps": 7}
    return "receipts", time, a_receipt(random, time) | about


def a_complaint(random: Random) -> dict[str, Any]:
    steps = ("opened", "acknowledged", "answered", "resolved", "reopened", "withdrawn", "waiting_for_client")
    return {"complaint_id": random.choice(["k1", "k1", "k2"]), "status": random.choice(steps)}


def an_opt_out(random: Random, _time: int) -> dict[str, Any]:
    found = {"action_id": "a", "channel": random.choice(CHANNELS), "status": "opted_out"}
    return found | ({"purpose": random.choice(["marketing", "service", "risk"])} if maybe(random, 0.5) else {})


def an_override(random: Random, time: int) -> dict[str, Any]:
    kind = random.choice(["snooze", "do_not_contact"])
    found: dict[str, Any] = {"kind": kind, "by": "s", "reason": "R."}
    if kind == "snooze" and maybe(random, 0.5):
        found["rule_id"] = random.choice(RULES)
    if maybe(random, 0.2):
        return found | {"ended": True}
    begins = time
    if maybe(random, 0.2):
        begins = found["starts_at"] = time + random.choice([0, HOUR, DAY])
    if kind == "snooze" or maybe(random, 0.8):
        found["until"] = begins + random.choice([MINUTE, HOUR, 12 * HOUR, DAY, 3 * DAY])
    return found


def a_login(random: Random, _time: int) -> dict[str, Any]:
    return {"channel": "app", "success": maybe(random, 0.8)}


def a_trade(random: Random, _time: int) -> dict[str, Any]:
    return {"symbol": "600000", "side": "buy", "amount_fen": random.choice([100, 50_000])}


def a_balance(random: Random, _time: int) -> dict[str, Any]:
    found = {"kind": "snapshot", "amount_fen": 0, "assets_fen": 100}
    return found | ({"cash_fen": random.choice([0, 100_000, None])} if maybe(random, 0.7) else {})


DOINGS: tuple[tuple[str, Callable[[Random, int], dict[str, Any]]], ...] = (
    *[("logins", a_login)] * 5,
    *[("trades", a_trade)] * 3,
    *[("balances", a_balance)] * 2,
    *[("profiles", a_profile)] * 3,
    ("receipts", an_opt_out),
    *[("receipts", a_receipt)] * 3,
    ("overrides", an_override),
)

"""What the words of docs/policy.md mean, one by one: lengths, clocks, spans of the day, selections.

Enters: values as YAML reads them, moments in milliseconds. Leaves: numbers, yes or no.
Holds: nothing of it is the engine's. Time zones are read from the package tzdata.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
PAST, FUTURE = -(10**15), 10**15
FIRM = dt.timezone(dt.timedelta(hours=8))
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CHANNELS = ("app_push", "sms", "email", "phone", "wechat")

Told = Mapping[str, Any]  # a mapping of YAML: a rule, a class, a cap, quiet hours


def length(text: str) -> int:
    """Of 30m, 12h or 7d."""
    return int(text[:-1]) * {"m": MINUTE, "h": HOUR, "d": DAY}[text[-1]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def class_named(rule: Told) -> str:
    name: str = rule.get("class", "service")
    return name


def meant(of: Told, sent: Told, channel: str) -> bool:
    """A list means any of them, several keys mean all. `sent` has the keys of a rule."""
    has = {
        "kind": {sent["kind"]},
        "class": {class_named(sent)},
        "channel": {channel},
        "tag": set(sent.get("tags", [])),
        "team": {sent["owner"]},
        "rule": {sent["id"]},
    }
    return all(has[key] & set(listed(values)) for key, values in of.items())


# -- clocks ------------------------------------------------------------------------------------------------------------


@cache
def zone_named(name: str | None) -> dt.tzinfo | None:
    """None if there is no such zone."""
    try:
        with resources.files("tzdata.zoneinfo").joinpath(name or "").open("rb") as file:
            return ZoneInfo.from_file(file, name)
    except (OSError, ValueError):
        return None


def clock(moment: int, zone: dt.tzinfo) -> dt.datetime:
    """What it shows there."""
    shown = dt.datetime.fromtimestamp(moment // 1000, zone)
    return shown.replace(microsecond=moment % 1000 * 1000)


def period(per: str, shown: dt.datetime) -> tuple[int, ...]:
    """The hour, day, week or month of a clock; when it is set, an hour ends."""
    if per == "week":
        return shown.isocalendar()[:2]
    offset = shown.utcoffset()
    assert offset is not None
    whole = (shown.year, shown.month, shown.day, shown.hour, int(offset.total_seconds()))
    return whole[: {"month": 2, "day": 3, "hour": 5}[per]]


def period_end(per: str, moment: int, zone: dt.tzinfo) -> int:
    """The first minute of the next one."""
    now, minute = period(per, clock(moment, zone)), moment // MINUTE * MINUTE
    for step in (DAY, HOUR, MINUTE):
        while period(per, clock(minute + step, zone)) == now:
            minute += step
    return minute + MINUTE


@cache
def span(text: str) -> tuple[int, int]:
    """From which minute of the day to which; of the next day where it is over midnight."""
    begin, end = (int(time[:2]) * 60 + int(time[3:]) for time in text.split("-"))
    return begin, end + (24 * 60 if end <= begin else 0)


def in_hours(hours: Told, shown: dt.datetime) -> bool:
    """Whether they began on this day or the one before, and are not over."""
    begin, end = span(hours["hours"])
    days = hours.get("days", WEEKDAYS)
    minute, today, yesterday = shown.hour * 60 + shown.minute, shown.weekday(), shown.weekday() - 1
    return (WEEKDAYS[today] in days and begin <= minute < end) or (
        WEEKDAYS[yesterday] in days and begin <= minute + 24 * 60 < end
    )


def next_time(at: Told, moment: int) -> int:
    """The first after `moment`, by the firm's calendar."""
    day = clock(moment, FIRM).date()
    while True:
        begins = dt.datetime.combine(day, dt.time.fromisoformat(at["time"]), FIRM)
        found = int(begins.timestamp()) * 1000
        if found > moment and ("day" not in at or WEEKDAYS[day.weekday()] == at["day"]):
            return found
        day += dt.timedelta(days=1)


def works(calendar: Told | None, day: dt.date) -> bool | None:
    """Whether people work on it, by calendar.yaml; None where it says nothing of the day."""
    text = day.isoformat()
    if calendar is None or not calendar["first_day"] <= text <= calendar["last_day"]:
        return None
    if day.weekday() >= 5:
        return text in calendar.get("workdays", [])
    return text not in calendar.get("holidays", [])

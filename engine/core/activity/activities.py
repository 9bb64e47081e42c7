"""What the engine remembers of a client's events, by source; read from its stored form when it is first asked for.

Enters: layouts, stored activities, the turn of days and hours. Leaves: an Activity for each topic.
Holds: most events regard one source, so the others stay as they were stored. An activity that is read later is what it
would be had it been read at once.
"""

from __future__ import annotations

from typing import Any

from engine.core.activity.activity import BLANK_DICT, Activity
from engine.core.activity.layout import SourceLayout
from engine.core.activity.packing import pack_activity, unpack_activity
from engine.core.activity.totals import START


class UnreadableState(ValueError):
    """Something in a stored state was not written by this engine."""


class Activities:
    """By topic. `moment` is the client's day and hour, `since` those of its first event when this was stored."""

    __slots__ = ("_client_id", "_since", "_sources", "_stored", "_stored_at", "moment", "read")

    def __init__(self, client_id: str, sources: dict[str, SourceLayout], moment: tuple[int, int]) -> None:
        self.read: dict[str, Activity] = {}  # those that were asked for
        self._client_id = client_id
        self._sources = sources
        self._stored: dict[str, bytes] = BLANK_DICT  # under these layouts, as of `_stored_at`
        self._stored_at = self._since = self.moment = moment

    def stored(self, stored: dict[str, bytes], since: tuple[int, int]) -> None:
        """Keep what was stored as of the present moment, under the same layouts, for when it is asked for."""
        self._stored, self._since = stored, since

    def __getitem__(self, topic: str) -> Activity:
        found = self.read.get(topic)
        return found if found is not None else self._read(topic)

    def __setitem__(self, topic: str, activity: Activity) -> None:
        self.read[topic] = activity

    def _read(self, topic: str) -> Activity:
        layout = self._sources[topic]
        packed = self._stored.pop(topic, None)
        if packed is None:
            activity = Activity(layout)
        else:
            try:
                activity = read(layout, packed, self._stored_at, self._since, self.moment)
            except Exception as error:  # whatever msgpack and the columns make of bytes that another program wrote
                raise UnreadableState(
                    f"{topic} of client {self._client_id}: {type(error).__name__}: {error}"
                ) from error
        self.read[topic] = activity
        return activity

    def forget(self, topic: str) -> None:
        """As if no event had come."""
        self.read.pop(topic, None)
        self._stored.pop(topic, None)

    def has(self, topic: str) -> bool:
        """False while nothing was stored and nobody asked."""
        return topic in self.read or topic in self._stored

    def packed(self) -> list[tuple[str, SourceLayout, bytes]]:
        """What there is to store, in the order of the layout."""
        found: list[tuple[str, SourceLayout, bytes]] = []
        for topic, layout in self._sources.items():
            activity = self.read.get(topic)
            if activity is None:
                stored = self._stored.get(topic)
                if stored is None:
                    continue
                if self._still(layout):
                    found.append((topic, layout, stored))
                    continue
                activity = self._read(topic)
            if activity.last_ms is not None or activity.unsure_ms or any(total[START] for total in activity.totals):
                found.append((topic, layout, activity.packed or pack_activity(layout, activity)))
        return found

    def _still(self, layout: SourceLayout) -> bool:
        """Whether what nobody asked for is still right as it was stored: no slot has ended since."""
        if self.moment == self._stored_at:
            return True
        return self.moment[0] == self._stored_at[0] and layout.hours is None


def read(
    layout: SourceLayout, packed: Any, stored_at: tuple[int, int], since: tuple[int, int], moment: tuple[int, int]
) -> Activity:
    """What was stored as of `stored_at`, as it is at `moment`; each a day and an hour."""
    activity = unpack_activity(layout, packed, stored_at, since)
    (day, hour), (new_day, new_hour) = stored_at, moment
    if hour != new_hour:
        activity.turn_hour(layout, hour, new_hour)
    if day != new_day:
        activity.close_day(layout, day, new_day)
    activity.recompute(layout, new_day)
    activity.recompute_hours(layout, new_hour)
    return activity

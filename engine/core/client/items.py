"""Open items: what waits for an answer. A complaint, or a survey, task, alert or assignment that the engine has sent.

Enters: steps, each with its time. Leaves: a client's items, changed; counts and ages.
Holds: the clock of an item begins with its latest opening, its state is that of its latest step, in whatever order
steps come. A closed item is remembered for as long as late steps of it may come. There are at most MAX_ITEMS; closed
ones go first.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final, NamedTuple

from engine.core.firm_time import DAY_MS, day_of

OPENED, ANSWERED, CLOSED, EXPIRED, RETRACTED = "o", "a", "c", "e", "r"
ACKNOWLEDGED, WAITING, RESUMED, NEEDLESS = "k", "w", "b", "n"
REMINDED, OVERDUE, ESCALATED = "m", "d", "u"  # what is heard of an item, and no state of it
OVER: Final = (CLOSED, RETRACTED, NEEDLESS)  # nothing is waited for any more
ITEM_STATES: Final = {
    OPENED: "opened",
    ANSWERED: "answered",
    CLOSED: "closed",
    EXPIRED: "expired",
    RETRACTED: "retracted",
    ACKNOWLEDGED: "acknowledged",
    WAITING: "waiting_for_client",
    RESUMED: "client_answered",
    NEEDLESS: "ended",
    REMINDED: "reminded",
    OVERDUE: "overdue",
    ESCALATED: "escalated",
}
MAX_ITEMS: Final = 32
REMEMBERED_MS: Final = 7 * DAY_MS  # of what is closed
LONGEST_MS: Final = 90 * DAY_MS  # of what nobody ever answers
MAX_STEPS: Final = 16  # of one item
# places in an item; STEPS is there while rules ask for steps or clocks, CARE once there is anything to note there
KIND, KEY, ABOUT, SINCE_MS, STATE, STEP_MS, SEEN, STEPS, CARE = range(9)
# in CARE: of an action that is seen through the steps that it had, and what it waits for [kind, key]; of a complaint
# its severity, and as of when, and that it is remembered for LONGEST_MS, since its clock goes on if it is opened again
TAKEN, OF, SEVERITY, SAID_MS, LONGER = "t", "o", "s", "m", "l"
# and of work for staff whose it is, as it was sent: [owner, priority, audience]; who accepted it, and when: [by, time];
# when it leaves the work lists, of what no rule waits for and nobody has taken up
WORK, BY, LEAVES_MS = "w", "b", "x"

# places in a room that was asked for at an advisor: the name of the match until it is sent, then the action's id
POOL, REQUEST, ADVISOR, MATCH, ACTION, STANDING = range(6)
ASKED, GIVEN, OF_TEAM = range(3)  # how it stands: not answered; there is room; the advisor is away, so the team has it

# places in a journey that a client is in, or was in
JOURNEY, BEGAN_MS, STANDS, ENTERED_MS, ENDED = range(5)  # the step and since when; why it ended, and then since when
MAX_JOURNEYS: Final = 64  # of which at most half can go on: a rule set has no more


class Item(NamedTuple):
    """An item as rules read it."""

    kind: str
    id: str  # of the complaint, or of the action
    about: str | None  # the category, or the rule
    since_ms: int
    days: int
    step: str  # what it came to, a value of ITEM_STATES
    severity: str | None = None  # of a complaint


def as_read(item: list[Any], now_ms: int, state: str) -> Item:
    """Where its opening has not come yet, it counts from the step that did."""
    since_ms = item[SINCE_MS] or item[STEP_MS]
    days, severity = (now_ms - since_ms) // DAY_MS, noted(item).get(SEVERITY)
    return Item(item[KIND], item[KEY], item[ABOUT], since_ms, days, ITEM_STATES[state], severity)


def noted(item: list[Any]) -> dict[str, Any]:
    """What of CARE there is."""
    found: dict[str, Any] = item[CARE] if len(item) > CARE else {}
    return found


def is_cared_for(item: list[Any]) -> bool:
    """Whether its rule has steps for what nobody takes up."""
    return len(item) > CARE and TAKEN in item[CARE]


def opened(items: list[list[Any]], kind: str, key: str, about: str | None, time_ms: int) -> list[list[Any]]:
    """It is open, for the first time or again; its clock begins."""
    item = find(items, kind, key)
    if item is None:
        return _bounded([*items, [kind, key, about, time_ms, OPENED, time_ms, []]])
    if time_ms > item[SINCE_MS]:
        item[SINCE_MS], item[SEEN] = time_ms, []
    if time_ms >= item[STEP_MS]:
        item[STATE], item[STEP_MS] = OPENED, time_ms
    item[ABOUT] = item[ABOUT] or about
    return items


def listed(
    items: list[list[Any]], kind: str, key: str, about: str, time_ms: int, work: list[Any], leaves_ms: int
) -> list[list[Any]]:
    """Work for staff that no rule waits for. Where there is no room, it goes before what rules wait for."""
    noted = {WORK: work, LEAVES_MS: leaves_ms}
    return _bounded([*items, [kind, key, about, time_ms, OPENED, time_ms, [], [[time_ms, OPENED]], noted]])


def leaves_ms(item: list[Any]) -> int:
    """When nobody has closed it for so long that it is forgotten."""
    latest_ms: int = item[STEP_MS] + LONGEST_MS
    return min(latest_ms, noted(item).get(LEAVES_MS, latest_ms)) if item[STATE] == OPENED else latest_ms


def stepped(items: list[list[Any]], kind: str, key: str, state: str, time_ms: int, *, begins: bool) -> list[list[Any]]:
    """It is answered, or closed. `begins`: also when it is not known yet, since its opening may come late."""
    item = find(items, kind, key)
    if item is None:
        return _bounded([*items, [kind, key, None, 0, state, time_ms, []]]) if begins else items
    if time_ms >= item[STEP_MS]:
        item[STATE], item[STEP_MS] = state, time_ms
    return items


def find(items: list[list[Any]], kind: str, key: str) -> list[Any] | None:
    return next((item for item in items if item[KEY] == key and item[KIND] == kind), None)


def becomes(items: list[list[Any]], kind: str, key: str, now: str) -> None:
    """The same item goes on under another key."""
    if (item := find(items, kind, key)) is not None:
        item[KEY] = now


def note_step(item: list[Any], state: str, time_ms: int) -> list[str]:
    """Note a step among those of the item, in the order of time. Returns the states that it came to by that: none if it
    was in that state before or after; two if the step parts what was one stay in another state. So the number of times
    that it came to a state does not depend on the order in which steps come.
    """
    steps = item[STEPS]
    at = bisect_right(steps, time_ms, key=lambda step: step[0])
    if at == 0 and len(steps) == MAX_STEPS:
        return []  # older than all that is known of it
    before = steps[at - 1][1] if at else None
    after = steps[at][1] if at < len(steps) else None
    steps.insert(at, [time_ms, state])
    if len(steps) > MAX_STEPS:
        del steps[1]  # clocks count from the first: a pause is forgotten, and no time
    if state in (before, after):
        return []
    return [state, before] if before is not None and before == after else [state]


def undone(items: list[list[Any]], kind: str, key: str, state: str, time_ms: int) -> list[list[Any]]:
    """A step was none: the item is as its other steps leave it, and gone if there is no other."""
    item = find(items, kind, key)
    steps = steps_of(item) if item is not None else []
    if item is None or [time_ms, state] not in steps:
        return items
    steps = list(steps)
    steps.remove([time_ms, state])
    if not steps:
        return [other for other in items if other is not item]
    if state == OPENED and item[SINCE_MS] == time_ms:
        item[SINCE_MS] = max((at_ms for at_ms, came_to in steps if came_to == OPENED), default=0)
    item[STEP_MS], item[STATE] = steps[-1]
    item[STEPS:] = [steps, *item[CARE:]] if len(item) > CARE or steps != known_steps(item) else []
    return items


def steps_of(item: list[Any]) -> list[list[Any]]:
    found: list[list[Any]] = item[STEPS] if len(item) > STEPS else known_steps(item)
    return found


def known_steps(item: list[Any]) -> list[list[Any]]:
    """What the rest of an item tells of its steps, where they were not kept."""
    steps = [[item[SINCE_MS], OPENED]] if item[SINCE_MS] else []
    return steps if item[STATE] == OPENED else [*steps, [item[STEP_MS], item[STATE]]]


def journey(journeys: list[list[Any]], id_: str) -> list[Any] | None:
    """Where the client stands in it, or how it ended."""
    return next((entry for entry in journeys if entry[JOURNEY] == id_), None)


def room_of(rooms: list[list[Any]], match: bytes) -> list[Any] | None:
    """What was asked for before the match is sent."""
    return next((room for room in rooms if room[MATCH] == match), None) if match else None


def is_away(room: list[Any] | None) -> bool:
    """Whether the team has what was to go to the advisor."""
    return room is not None and bool(room[STANDING] == OF_TEAM)


def is_of_team(item: list[Any], rule: Any) -> bool:
    """Whether the team got what the rule has for the advisor, who was away."""
    return rule.audience == "advisor" and WORK in noted(item) and noted(item)[WORK][2] == "team"


def as_item(entry: list[Any], now_ms: int, step: str) -> Item:
    """A journey as rules read it; `about` is why it ended, or where the client is."""
    about, began_ms = entry[ENDED] or step, entry[BEGAN_MS]
    state = ITEM_STATES[CLOSED if entry[ENDED] else OPENED]
    return Item("journey", entry[JOURNEY], about, began_ms, (now_ms - began_ms) // DAY_MS, state)


def with_journey(journeys: list[list[Any]], entry: list[Any]) -> list[list[Any]]:
    """It is in place of the one before; what ended longest ago is forgotten first."""
    kept = [*(one for one in journeys if one[JOURNEY] != entry[JOURNEY]), entry]
    if len(kept) > MAX_JOURNEYS:
        kept.remove(min(kept, key=lambda one: (not one[ENDED], one[ENTERED_MS])))
    return kept


def _bounded(items: list[list[Any]]) -> list[list[Any]]:
    if len(items) > MAX_ITEMS:
        gone = min(items, key=lambda item: (item[STATE] not in OVER, LEAVES_MS not in noted(item), item[STEP_MS]))
        items.remove(gone)
    return items


def remembered(items: list[list[Any]], day: int) -> list[list[Any]]:
    """Without what was closed, or waited in vain, too long ago. It goes at a midnight, whatever else happens."""
    return [item for item in items if day_of(item[STEP_MS] + _remembered_ms(item)) >= day]


def _remembered_ms(item: list[Any]) -> int:
    return REMEMBERED_MS if item[STATE] in OVER and LONGER not in noted(item) else LONGEST_MS


def count(items: list[list[Any]], kind: str) -> int:
    """How many are open, answered or not."""
    return sum(item[KIND] == kind and item[STATE] not in OVER for item in items)


def oldest_ms(items: list[list[Any]], kind: str) -> int | None:
    """When the clock of the oldest open one began."""
    found = [item[SINCE_MS] or item[STEP_MS] for item in items if item[KIND] == kind and item[STATE] not in OVER]
    return min(found, default=None)

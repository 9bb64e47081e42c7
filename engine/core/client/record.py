"""A client's record as other systems read it: the public fields beside the packed state.

Enters: a ClientState. Leaves: its public fields by name.
Holds: every field is always written, empty when unknown, so that writing a record twice, or over an older one, is
harmless.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import msgspec

from engine.core.client.items import (
    ABOUT,
    ANSWERED,
    BY,
    ENDED,
    JOURNEY,
    KEY,
    KIND,
    LEAVES_MS,
    OPENED,
    OVER,
    SINCE_MS,
    STANDS,
    STATE,
    TAKEN,
    WAITING,
    WORK,
    noted,
    steps_of,
)
from engine.core.client.state import ClientState
from engine.core.contract.message import cny, rfc3339_seconds

PUBLIC_FIELDS: Final = (
    "tier", "tier_since", "client_type", "segment", "value_score", "advisor", "assets_cny", "updated_at",
)  # fmt: skip
PORTRAIT_FIELDS: Final = ("stage", "stage_since", "portrait")  # of clients whom rules have portrayed
WORK_FIELDS: Final = ("work", "work_places")  # of clients with open work for staff: what it is; the lists it is in
PLACES: Final = 10**13  # more than any time in milliseconds: how far a step of priority is from the next
_ESCALATED: Final = ("team", "head")
STAGE: Final = "stage:"  # what begins the label of those who are counted
UNKNOWN: Final = "unknown:"
LED: Final = "journey:"  # and then the journey's id, a colon and the step


_TEXTS: Final = (*PUBLIC_FIELDS[:-1], *PORTRAIT_FIELDS)  # but for the one that each event changes
_json: Final = msgspec.json.Encoder(order="sorted").encode
_of: Final = attrgetter(
    *("tier", "tier_since_ms", "type", "segment", "value_score", "advisor_id", "assets_fen"),
    *("stage", "stage_since_ms", "portrait"),
)


def tallied_by(client: ClientState) -> tuple[str, ...]:
    """The labels under which a partition counts it: its tier, its stage of life, the features that corrections left
    unknown, where it stands in journeys. A tier has no colon.
    """
    labels = [client.tier] if client.tier else []
    if client.stage:
        labels.append(STAGE + client.stage)
    if client.unknown_until:
        labels += [UNKNOWN + name for name in client.unknown_until]
    if client.journeys:
        labels += [f"{LED}{entry[JOURNEY]}:{entry[STANDS]}" for entry in client.journeys if not entry[ENDED]]
    return tuple(labels)


def told_by(label: str) -> tuple[str, ...]:
    """What a label of `tallied_by` is about: tier, stage, unknown or journey; and its name or names."""
    what, *named = label.split(":")
    return (what, *named) if named else ("tier", what)


def of_unknown(label: str) -> str:
    """The feature that it is about, or nothing."""
    return label.removeprefix(UNKNOWN) if label.startswith(UNKNOWN) else ""


def listed_by(client: ClientState) -> tuple[str, ...]:
    """The values by which other systems list clients: tier, segment, advisor, stage; and its places in work lists."""
    work = work_places(client) if client.items else ""
    return client.tier or "", client.segment or "", client.advisor_id or "", client.stage or "", work


# -- work for staff ----------------------------------------------------------------------------------------------------


def work_places(client: ClientState) -> str:
    """A line for each work list that it is in with an open alert, task or assignment: the list, the place in it, the
    action's id. More urgent work has a smaller place, of equal priority older work.
    """
    found = []
    for item in _open_work(client):
        owner, priority, audience = noted(item)[WORK]
        place = (100 - priority) * PLACES + item[SINCE_MS]
        found.append(f"team:{owner} {place} {item[KEY]}")
        if client.advisor_id and _whom(client, item, audience) == "advisor":
            found.append(f"advisor:{client.advisor_id} {place} {item[KEY]}")
    return "\n".join(found)


def open_work(client: ClientState) -> list[dict[str, Any]]:
    """What is open for staff, as other systems read it."""
    found = []
    for item in _open_work(client):
        care, accepted = noted(item), [at_ms for at_ms, state in steps_of(item) if state == ANSWERED]
        owner, priority, audience = care[WORK]
        taken, whom = care.get(TAKEN, ()), _whom(client, item, audience)
        state = "waits_for_client" if item[STATE] == WAITING else "accepted" if accepted else "open"
        found.append({
            "action_id": item[KEY], "client_id": client.client_id, "kind": item[KIND], "rule_id": item[ABOUT],
            "priority": priority, "since": rfc3339_seconds(item[SINCE_MS] // 1000), "team": owner,
            "for": whom, "advisor_id": client.advisor_id if whom == "advisor" else None, "state": state,
            "accepted_at": rfc3339_seconds(accepted[-1] // 1000) if accepted else None,
            "accepted_by": care[BY][0] if BY in care and accepted else None,
            "reminded": sum(name.startswith("reminder") for name in taken), "overdue": "overdue" in taken,
            "escalated": next((name for name in reversed(taken) if name in _ESCALATED), None),
            "leaves": rfc3339_seconds(care[LEAVES_MS] // 1000) if LEAVES_MS in care and item[STATE] == OPENED else None,
        })  # fmt: skip
    return found


def _open_work(client: ClientState) -> list[list[Any]]:
    return [item for item in client.items if item[STATE] not in OVER and WORK in noted(item) and item[SINCE_MS]]


def _whom(client: ClientState, item: list[Any], audience: str) -> str:
    """Who is to act: since the last escalation team or head, else the client's advisor, if it is for one and known."""
    escalated = [name for name in noted(item).get(TAKEN, ()) if name in _ESCALATED]
    return escalated[-1] if escalated else "advisor" if audience == "advisor" and client.advisor_id else "team"


def public_fields(client: ClientState, places: str | None = None) -> dict[str, str]:
    """All PUBLIC_FIELDS; of those whom rules have portrayed PORTRAIT_FIELDS; with `places`, as work_places has them,
    WORK_FIELDS. Times are RFC 3339 in UTC to the second, money is an exact decimal in CNY.
    """
    values, known = _of(client), client.public
    if known is None or known[: len(values)] != values:  # most events change the last field alone
        known = client.public = values + _texts(*values)
    found = dict(zip(_TEXTS, known[len(values) :], strict=False))
    found["updated_at"] = rfc3339_seconds(client.now_ms // 1000)
    if places is not None:
        found |= zip(WORK_FIELDS, (_json(open_work(client)).decode() if places else "", places), strict=True)
    return found


def _texts(
    tier: str | None,
    tier_since_ms: int | None,
    client_type: str | None,
    segment: str | None,
    score: float | None,
    advisor_id: str | None,
    assets_fen: int | None,
    stage: str | None,
    stage_since_ms: int | None,
    portrait: dict[str, Any] | None,
) -> tuple[str, ...]:
    """Those of _TEXTS; of clients whom no rule has portrayed without PORTRAIT_FIELDS."""
    known = (
        tier or "", _since(tier_since_ms), client_type or "", segment or "", "" if score is None else f"{score:.6g}",
        advisor_id or "", "" if assets_fen is None else cny(assets_fen),
    )  # fmt: skip
    return known if portrait is None else (*known, stage or "", _since(stage_since_ms), _json(portrait).decode())


def _since(time_ms: int | None) -> str:
    return "" if time_ms is None else rfc3339_seconds(time_ms // 1000)

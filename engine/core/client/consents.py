"""What a client agreed to, by channel and by purpose: the latest word counts.

Enters: what a profile says of one purpose or of all, opt-outs, each with its time. Leaves: of a channel and purpose
whether consent is granted, withdrawn or unknown, since when, and where it came from.
Holds: the order in which records come makes no difference. Of one moment an opt-out goes before a profile, and what is
said of the purpose before what is said of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

from engine.core.contract.profiles import ALL, CONSENTS, Consents

GRANTED: Final = "granted"
WITHDRAWN: Final = "withdrawn"
UNKNOWN: Final = "unknown"
RECEIPT: Final = "receipt"  # the source of an opt-out
PURPOSES: Final = tuple(purpose for purpose in CONSENTS if purpose != ALL)
CHANNELS: Final = tuple(Consents.model_fields)


class Client(Protocol):
    consents: tuple[str, ...]
    opted_out: dict[str, int]
    consent_sources: dict[str, str]
    said_ms: dict[str, int]


class Consent(NamedTuple):
    status: Literal["granted", "withdrawn", "unknown"]
    time_ms: int | None = None  # since when; None: it is not known
    source: str | None = None


def consent(client: Client, channel: str, purpose: str) -> Consent:
    """Whether the client may be contacted on a channel for a purpose."""
    found: list[tuple[int, int, bool, str | None]] = []  # time, what goes first of one moment, granted, source
    for rank, about in enumerate((ALL, purpose)):
        field = CONSENTS[about]
        told: tuple[str, ...] | None = getattr(client, field)
        if told is not None and (told or field in client.said_ms):  # 0.1.0 kept no time
            found.append((client.said_ms.get(field, 0), rank, channel in told, client.consent_sources.get(about)))
        if (out_ms := client.opted_out.get(_key(channel, about))) is not None:
            found.append((out_ms, 2, False, RECEIPT))
    if not found:
        return Consent(UNKNOWN)
    time_ms, _, granted, source = max(found, key=lambda entry: entry[:2])
    return Consent(GRANTED if granted else WITHDRAWN, time_ms or None, source)


def granted(client: Client, channel: str, purpose: str) -> bool:
    if not client.opted_out and getattr(client, CONSENTS[purpose]) is None:  # most clients
        return channel in client.consents
    return consent(client, channel, purpose).status == GRANTED


def channels(client: Client, purpose: str) -> str | None:
    """The channels that the client agrees to for a purpose, as codes; None while nothing was said."""
    told = [(channel, consent(client, channel, purpose).status) for channel in CHANNELS]
    if all(status == UNKNOWN for _, status in told):
        return None
    return " ".join(channel for channel, status in told if status == GRANTED)


def in_words(found: Consent, time_text: Callable[[int], str]) -> str:
    """`withdrawn at 2026-02-18 12:00, by receipt`."""
    if found.status == UNKNOWN:
        return "nothing was said"
    at = "" if found.time_ms is None else f" at {time_text(found.time_ms)}"
    return f"{found.status}{at}{f', by {found.source}' if found.source else ''}"


def of_purposes(client: Client) -> bool:
    """Whether anything was said of one purpose alone."""
    return any(getattr(client, CONSENTS[purpose]) is not None for purpose in PURPOSES) or any(
        " " in key for key in client.opted_out
    )


# -- learning ----------------------------------------------------------------------------------------------------------


def told(client: Client, purpose: str, consents: Consents | None, time_ms: int, source: str | None) -> tuple[str, ...]:
    """The channels agreed to as of a profile, without those that the client opted out of since."""
    agreed = tuple(channel for channel, said in consents if said) if consents is not None else ()
    if client.opted_out:
        client.opted_out = {
            key: at_ms for key, at_ms in client.opted_out.items() if at_ms >= time_ms or not _is_about(key, purpose)
        }
        agreed = tuple(channel for channel in agreed if _key(channel, purpose) not in client.opted_out)
    if source is not None or client.consent_sources:
        others = {of: said for of, said in client.consent_sources.items() if of != purpose}
        client.consent_sources = others if source is None else {**others, purpose: source}
    return agreed


def opted_out(client: Client, channel: str, purpose: str, time_ms: int) -> None:
    """An opt-out withdraws the consent, unless a later profile has given it."""
    if channel not in CHANNELS or any(time_ms < client.said_ms.get(CONSENTS[of], 0) for of in {ALL, purpose}):
        return
    key = _key(channel, purpose)
    client.opted_out = {**client.opted_out, key: max(time_ms, client.opted_out.get(key, 0))}
    of_purpose: tuple[str, ...] | None = getattr(client, CONSENTS[purpose])
    if of_purpose is not None:
        setattr(client, CONSENTS[purpose], tuple(agreed for agreed in of_purpose if agreed != channel))


def _key(channel: str, purpose: str) -> str:
    return channel if purpose == ALL else f"{channel} {purpose}"


def _is_about(key: str, purpose: str) -> bool:
    """Whether what is said of a purpose is about this opt-out: of all purposes it is about each."""
    return purpose == ALL or key.endswith(f" {purpose}")

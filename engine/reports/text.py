"""What the contact policy makes of records, as tables of text.

Enters: a Report, perhaps one of the same records under other rules. Leaves: lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.core.contract.outbound import Outcome
from engine.insight.values import firm_time
from engine.reports.stopped import Change, Report, Row, changes, shown_outcomes

Cells = Sequence[str]


def lines(report: Report, against: Report | None = None) -> Iterator[str]:
    yield from head(report, against)
    yield ""
    if against is None:
        yield from aligned(_outcomes(report))
        yield ""
        yield from aligned(_rows("class", report.classes))
        yield ""
        yield from aligned(_rows("rule", report.for_clients, of_class=True))
    else:
        yield from _compared(report, against)
    yield ""
    yield from aligned(_contacts(report, against))
    yield ""
    yield from aligned(_hours(report, against))
    if report.busiest:
        yield ""
        busy = ((one.client_id, str(one.most), one.day, f"{one.contacts:,}") for one in report.busiest)
        yield from aligned([("busiest clients", "most a day", "on", "contacts"), *busy])


def head(report: Report, against: Report | None) -> Iterator[str]:
    """What the records are, and what decided them."""
    replayed = report.replayed
    refused = f", {replayed.rejected:,} records rejected" if replayed.rejected else ""
    yield f"events {replayed.events:,} of {len(replayed.states):,} clients{refused}"
    yield from replayed.rejections(of_a_file=True)
    if replayed.to_ms:
        yield f"from {firm_time(replayed.from_ms)} to {firm_time(replayed.to_ms)}"
    yield f"rules {report.rules_from}, digest {report.digest[:12]}"
    if against is not None:
        yield f"before: rules {against.rules_from}, digest {against.digest[:12]}"


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def signed(change: int) -> str:
    return f"{change:+,}" if change else "="


def aligned(cells: Iterable[Cells]) -> Iterator[str]:
    """The first column to the left, the others to the right."""
    rows = list(cells)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join((row[0].ljust(len(first)), *others)).rstrip()


def _outcomes(report: Report) -> Iterator[Cells]:
    row = report.clients
    yield "for clients", "matches", "share"
    for outcome in shown_outcomes([row]):
        yield outcome.value, f"{row.outcomes[outcome]:,}", share(row.outcomes[outcome], row.matched)
    if row.waiting:
        yield "still held", f"{row.waiting:,}", share(row.waiting, row.matched)
    yield "in all", f"{row.matched:,}", ""
    if row.held:
        yield "held on the way", f"{row.held:,}", share(row.held, row.matched)


def _rows(title: str, rows: Sequence[Row], *, of_class: bool = False) -> Iterator[Cells]:
    others = shown_outcomes(rows)
    held, waiting = any(row.held for row in rows), any(row.waiting for row in rows)
    yield (
        title,
        *(("class",) if of_class else ()),
        "matched",
        *(outcome.value for outcome in others),
        *(("still held",) if waiting else ()),
        *(("held",) if held else ()),
    )
    for row in rows:
        yield (
            row.name,
            *((row.contact_class,) if of_class else ()),
            f"{row.matched:,}",
            *(_number(row.outcomes[outcome]) for outcome in others),
            *((_number(row.waiting),) if waiting else ()),
            *((_number(row.held),) if held else ()),
        )


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _compared(report: Report, against: Report) -> Iterator[str]:
    whole = Change("for clients", report.clients, against.clients)
    found: list[Cells] = [("for clients", "before", "now", "change")]
    for outcome in shown_outcomes((report.clients, against.clients)):
        found.append((outcome.value, *_sides(*whole.of(outcome))))
    for name, before, now in (
        ("still held", against.clients.waiting, report.clients.waiting),
        ("in all", against.clients.matched, report.clients.matched),
        ("held on the way", against.clients.held, report.clients.held),
    ):
        if before or now:
            found.append((name, *_sides(before, now)))
    yield from aligned(found)
    for title, rows, old in (
        ("class", report.classes, against.classes),
        ("rule", report.for_clients, against.for_clients),
    ):
        yield ""
        differing = list(changes(rows, old, report.was if title == "rule" else {}))
        if not differing:
            yield f"no {title} differs"
            continue
        others = shown_outcomes(row for change in differing for row in (change.now, change.before) if row is not None)
        yield from aligned(
            [
                (f"{title}, what differs", "matched", *(outcome.value for outcome in others)),
                *(
                    (change.name, _moved(change), *(_moved(change, outcome) for outcome in others))
                    for change in differing
                ),
            ]
        )


def _sides(before: int, now: int) -> Cells:
    return f"{before:,}", f"{now:,}", signed(now - before)


def _moved(change: Change, outcome: Outcome | None = None) -> str:
    before, now = change.of(outcome)
    return f"{before:,} -> {now:,}" if before != now else _number(now)


def _contacts(report: Report, against: Report | None) -> Iterator[Cells]:
    """On how many days a client had so many contacts."""
    sides = [report.days_with] if against is None else [against.days_with, report.days_with]
    yield "contacts of a client on one day", *(("days",) if against is None else ("before", "now"))
    for number in sorted({number for side in sides for number in side}):
        yield str(number), *(f"{side.get(number, 0):,}" for side in sides)


def _hours(report: Report, against: Report | None) -> Iterator[Cells]:
    sides = [side.replayed.by_hour for side in ((report,) if against is None else (against, report))]
    yield "hour, by the client's clock", *(("contacts",) if against is None else ("before", "now"))
    for hour in range(24):
        if any(side[hour] for side in sides):
            yield f"{hour:02d}:00", *(f"{side[hour]:,}" for side in sides)

"""What the contact policy makes of records, as one page of HTML.

Enters: a Report, perhaps one of the same records under other rules; what it was made from, and when. Leaves: the page.
Holds: it stands alone: no script, nothing from elsewhere. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

from engine import __version__
from engine.core.contract.outbound import Outcome
from engine.insight.values import ZONE, firm_time
from engine.publish.reference import OUTCOME_MEANS
from engine.reports.stopped import STAFF, Change, Report, Row, changes, shown_outcomes
from engine.reports.text import share, signed

WIDTH: Final = 720  # of a picture, in its own units
NAMES: Final = 170  # of them for what stands before a bar
NUMBERS: Final = 150  # and behind it
BAR: Final = 16
TITLE: Final = "What the contact policy stops"
STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2430; --faint: #5c6875; --line: #dde2e8;
  --sent: #1f7a54; --stopped: #b3541e; --held: #3566b0; --before: #9aa5b1; }
@media (prefers-color-scheme: dark) { :root { --paper: #14191f; --ink: #e4e9ef; --faint: #9aa7b4; --line: #2e3843;
  --sent: #4cbf8d; --stopped: #e08a4f; --held: #7ba6ea; --before: #66727f; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 64rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
p, caption { color: var(--faint); margin: .2rem 0 .8rem; text-align: left; }
.big { color: var(--ink); font-size: 1.15rem; }
.wide { overflow-x: auto; }
svg { display: block; height: auto; max-width: 100%; min-width: 32rem; }
svg text { fill: var(--ink); font-size: 13px; } svg .small { fill: var(--faint); font-size: 11px; }
.sent { fill: var(--sent); } .stopped { fill: var(--stopped); } .held { fill: var(--held); }
.before { fill: var(--before); } .line { stroke: var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .7rem .2rem 0; text-align: right; white-space: nowrap; }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
td.differs { font-weight: 600; }
dl { display: grid; gap: .2rem 1rem; grid-template-columns: max-content 1fr; margin: 0; }
dt { font-weight: 600; } dd { color: var(--faint); margin: 0; }
.key span { display: inline-block; height: .7rem; margin: 0 .3rem 0 .9rem; width: .7rem; }
"""

Bar = tuple[str, int, str]  # its CSS class, how much, what it stands for


def page(report: Report, against: Report | None, made_from: str, made_ms: int) -> str:
    """`made_from` names the records."""
    body = (*_head(report, against, made_from, made_ms), *_outcomes(report, against), *_classes(report, against))
    body += (
        *_rules(report, against),
        *_hours(report, against),
        *_clients(report, against),
        *_meanings(report, against),
    )
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        )
    )


def _head(report: Report, against: Report | None, made_from: str, made_ms: int) -> Iterator[str]:
    replayed, row = report.replayed, report.clients
    yield f"<h1>{TITLE}</h1>"
    span = f", from {firm_time(replayed.from_ms)} to {firm_time(replayed.to_ms)}" if replayed.to_ms else ""
    events = f"{replayed.events:,} events of {len(replayed.states):,} clients{span} ({ZONE})"
    rejected = f"; {replayed.rejected:,} records were rejected" if replayed.rejected else ""
    by = f"the rules in {report.rules_from} ({report.digest[:12]})"
    if against is not None:
        by += f", and, as what was before, by those in {against.rules_from} ({against.digest[:12]})"
    yield f"<p>{escape(made_from)}: {events}{rejected}.<br>Decided by {escape(by)}.<br>"
    yield f"Made {firm_time(made_ms)} ({ZONE}) by Engage {escape(__version__)}.</p>"
    matched, sent = (f"{count:,}" for count in (row.matched, row.sent))
    then = f" Before, it was {against.clients.sent:,} of {against.clients.matched:,}." if against is not None else ""
    part = f" ({share(row.sent, row.matched)})" if row.matched else ""
    yield f'<p class="big">{sent} of {matched} matches of rules for clients were sent{part}.{then}</p>'


def _outcomes(report: Report, against: Report | None) -> Iterator[str]:
    yield "<h2>By outcome, of rules for clients</h2>"
    whole = Change("", report.clients, None if against is None else against.clients)
    found: list[tuple[str, list[Bar], str]] = []
    rows = [row for row in (whole.now, whole.before) if row is not None]
    for outcome in shown_outcomes(rows):
        before, now = whole.of(outcome)
        found.append(
            _both(outcome.value, "sent" if outcome is Outcome.SENT else "stopped", before, now, report, against)
        )
    waiting = (0 if against is None else against.clients.waiting, report.clients.waiting)
    if any(waiting):
        found.append(_both("still held", "held", *waiting, report, against))
    yield from _bars("Matches by outcome", found)
    if report.clients.held:
        yield f"<p>{report.clients.held:,} times an action was held before it came to its outcome.</p>"
    if against is not None:
        yield from _key(("stopped", "now"), ("before", "before"))


def _both(
    name: str, colour: str, before: int, now: int, report: Report, against: Report | None
) -> tuple[str, list[Bar], str]:
    if against is None:
        return name, [(colour, now, f"{name}: {now:,}")], f"{now:,}  {share(now, report.clients.matched)}"
    bars = [("before", before, f"{name}, before: {before:,}"), (colour, now, f"{name}, now: {now:,}")]
    return name, bars, f"{now:,}  ({signed(now - before)})"


def _classes(report: Report, against: Report | None) -> Iterator[str]:
    yield "<h2>By class</h2>"
    yield from _stacks("Matches by class", [row for row in report.classes if row.name != STAFF])
    yield from _key(("sent", "sent"), ("held", "still held"), ("stopped", "stopped"))
    if staff := next((row for row in report.classes if row.name == STAFF), None):
        said = f"{staff.sent:,} of {staff.matched:,} matches of rules for advisors and teams were sent"
        yield f"<p>Beside them, {said}. Caps and quiet hours do not concern these.</p>"
    if against is not None:
        yield from _differences("class", list(changes(report.classes, against.classes, {})))


def _stacks(label: str, rows: Iterable[Row]) -> Iterator[str]:
    """A bar for each row, of what was sent, is held, was stopped; one upon the other."""
    found = list(rows)
    most = max((row.matched for row in found), default=0) or 1
    room = WIDTH - NAMES - NUMBERS
    yield _picture(label, len(found) * 28)
    for place, row in enumerate(found):
        top, left = place * 28 + 4, float(NAMES)
        yield _name(row.name, top + 13)
        stopped = row.matched - row.sent - row.waiting
        for colour, count in (("sent", row.sent), ("held", row.waiting), ("stopped", stopped)):
            width = room * count / most
            yield _rect(colour, left, top, width, f"{row.name}, {colour}: {count:,}")
            left += width
        said = f"{row.sent:,} of {row.matched:,} sent"
        yield f'<text x="{left + 6:.1f}" y="{top + 13}">{said}</text>'
    yield "</svg></div>"


def _bars(label: str, rows: Sequence[tuple[str, list[Bar], str]]) -> Iterator[str]:
    """Of each row: its name, its bars one below the other, and what stands behind them."""
    most = max((count for _, bars, _ in rows for _, count, _ in bars), default=0) or 1
    room = WIDTH - NAMES - NUMBERS
    height = sum(len(bars) * BAR + 12 for _, bars, _ in rows)
    yield _picture(label, height)
    top = 4
    for name, bars, said in rows:
        middle = top + len(bars) * BAR / 2 + 5
        yield _name(name, middle)
        for place, (colour, count, hint) in enumerate(bars):
            yield _rect(colour, NAMES, top + place * BAR, room * count / most, hint)
        end = NAMES + room * max(count for _, count, _ in bars) / most
        yield f'<text x="{end + 6:.1f}" y="{middle:g}">{escape(said)}</text>'
        top += len(bars) * BAR + 12
    yield "</svg></div>"


def _picture(label: str, height: int) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
    return f'<div class="wide"><svg {size} role="img" aria-label="{escape(label)}">'


def _name(name: str, y: float) -> str:
    return f'<text x="{NAMES - 8}" y="{y:g}" text-anchor="end">{escape(name)}</text>'


def _rect(colour: str, x: float, y: float, width: float, hint: str, height: float = BAR - 2) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{colour}" {size}><title>{escape(hint)}</title></rect>'


def _key(*meanings: tuple[str, str]) -> Iterator[str]:
    said = "".join(f'<span style="background: var(--{colour})"></span>{text}' for colour, text in meanings)
    yield f'<p class="key">{said}</p>'


def _rules(report: Report, against: Report | None) -> Iterator[str]:
    yield "<h2>By rule for clients</h2>"
    if against is not None:
        yield from _differences("rule", list(changes(report.for_clients, against.for_clients, report.was)))
        yield f"<h2>Rules for clients in {escape(report.rules_from)}</h2>"
    outcomes = shown_outcomes(report.for_clients)
    waits, held = report.clients.waiting, report.clients.held
    head = ["rule", "class", "matched", *outcomes, *(["still held"] if waits else []), *(["held"] if held else [])]
    rows = []
    for row in report.for_clients:
        counts = [row.matched, *(row.outcomes[outcome] for outcome in outcomes)]
        counts += ([row.waiting] if waits else []) + ([row.held] if held else [])
        rows.append([(row.name, ""), (row.contact_class, ""), *((_number(count), "") for count in counts)])
    yield from _table(head, rows)


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _differences(title: str, differing: Sequence[Change]) -> Iterator[str]:
    if not differing:
        yield f"<p>No {title} differs.</p>"
        return
    outcomes = shown_outcomes(row for change in differing for row in (change.now, change.before) if row is not None)
    rows = [
        [(change.name, ""), *(_moved(*change.of(outcome)) for outcome in (None, *outcomes))] for change in differing
    ]
    yield from _table([title, "matched", *(outcome.value for outcome in outcomes)], rows, "What differs")


def _moved(before: int, now: int) -> tuple[str, str]:
    return (f"{before:,} → {now:,}", "differs") if before != now else (_number(now), "")


def _table(head: Iterable[str], rows: Iterable[Iterable[tuple[str, str]]], caption: str = "") -> Iterator[str]:
    """Cells are texts with a CSS class."""
    yield '<div class="wide"><table>' + (f"<caption>{caption}</caption>" if caption else "")
    titles = (escape(cell).replace("_", "_<wbr>") for cell in head)
    yield f"<tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>"
    for row in rows:
        cells = ((f'<td class="{colour}">' if colour else "<td>", escape(cell)) for cell, colour in row)
        yield f"<tr>{''.join(f'{opening}{text}</td>' for opening, text in cells)}</tr>"
    yield "</table></div>"


def _hours(report: Report, against: Report | None) -> Iterator[str]:
    yield "<h2>Contacts by hour</h2><p>By the clock on the client's wall; where its zone is not known, the firm's.</p>"
    sides = [("sent", "now" if against else "", report)]
    if against is not None:
        sides.insert(0, ("before", "before", against))
    most = max(max(side.replayed.by_hour.values(), default=0) for _, _, side in sides) or 1
    slot, height = WIDTH / 24, 140
    yield _picture("Contacts by hour", height + 40)
    for hour in range(24):
        wide = (slot - 6) / len(sides)
        for place, (colour, when, side) in enumerate(sides):
            count = side.replayed.by_hour[hour]
            tall, left = height * count / most, hour * slot + 3 + place * wide
            hint = f"{hour:02d}:00{f', {when}' if when else ''}: {count:,}"
            yield _rect(colour, left, 18 + height - tall, wide - 1, hint, tall)
            if count and len(sides) == 1:
                yield _small(left + wide / 2, 14 + height - tall, count)
        yield _small((hour + 0.5) * slot, height + 33, hour)
    yield f'<line class="line" x1="0" x2="{WIDTH}" y1="{height + 18}" y2="{height + 18}"/></svg></div>'
    if against is not None:
        yield from _key(("before", "before"), ("sent", "now"))


def _small(middle: float, y: float, number: int) -> str:
    return f'<text class="small" x="{middle:.1f}" y="{y:.1f}" text-anchor="middle">{number}</text>'


def _clients(report: Report, against: Report | None) -> Iterator[str]:
    yield "<h2>Contacts of a client on one day</h2>"
    sides = [report.days_with] if against is None else [against.days_with, report.days_with]
    numbers = sorted({number for side in sides for number in side})
    head = ["contacts", *(["days"] if against is None else ["days before", "days now"])]
    yield from _table(head, [[(str(n), ""), *((_number(side.get(n, 0)), "") for side in sides)] for n in numbers])
    if report.busiest:
        yield "<h2>Busiest clients</h2>"
        rows = [
            [(one.client_id, ""), (str(one.most), ""), (one.day, ""), (f"{one.contacts:,}", "")]
            for one in report.busiest
        ]
        yield from _table(["client", "most on a day", "day", "contacts in all"], rows)


def _meanings(report: Report, against: Report | None) -> Iterator[str]:
    rows = [*report.for_clients, *(against.for_clients if against is not None else ())]
    yield "<h2>Outcomes</h2><dl>"
    for outcome in (*shown_outcomes(rows), *((Outcome.HELD,) if any(row.held for row in rows) else ())):
        yield f"<dt>{outcome.value}</dt><dd>{escape(OUTCOME_MEANS[outcome].replace('`', ''))}</dd>"
    yield "</dl>"

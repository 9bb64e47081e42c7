"""What the demo shows: figures gathered from the worker's metrics and its published records.

Enters: records and metrics. Leaves: a rich display, or plain lines without control codes.
Holds: nothing here talks to Kafka or the worker, so what is shown is a function of what was put on the board.
"""

from __future__ import annotations

import datetime as dt
import json
import textwrap
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engine.core.contract.outbound import DECISIONS, OUTBOUND, TOPIC_OF_KIND, Outcome, is_action, is_retraction
from engine.core.contract.topics import OWN

CHINA: Final = dt.timezone(dt.timedelta(hours=8))
RECENT_ACTIONS: Final = 12
BAR_WIDTH: Final = 16
FIGURES: Final = 10  # rows of a table, the greatest
RUNNING: Final = "running"  # the status while nothing is waited for
NO_CAPACITY: Final = "no_capacity"
OF_POOLS: Final = {
    f"engage_pool_{name}": name for name in ("load", "capacity", "waiting", "open_tasks", "queued_tasks")
}
COLOUR_OF_KIND: Final = {
    "alert": "red",
    "assignment": "magenta",
    "survey": "cyan",
    "message": "green",
    "task": "yellow",
}


@dataclass(frozen=True, slots=True)
class ShownAction:
    time: str
    client_id: str
    kind: str
    rule_id: str
    why: str
    channel: str


@dataclass(slots=True)
class Board:
    """Everything that is shown, and what the demo's success is judged by."""

    kafka: str
    redis: str
    metrics: str
    log: str
    status: str = "the worker is starting"
    simulated_ms: int = 0
    fed: int = 0
    fed_bad: int = 0
    taken: int = 0  # events and rejected records that the worker has committed
    events_per_s: float = 0.0
    decided_per_s: float = 0.0  # from the first decided event to the last
    held_back: bool = False  # the worker decided more slowly than the demo would have fed it
    tiers: dict[str, int] = field(default_factory=dict)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)  # (to tier, reason)
    pools: dict[str, Counter[str]] = field(default_factory=dict)  # where the rules have advisors: figures by pool
    suppressed: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)  # by kind
    tier_changes: int = 0
    retracted: int = 0
    followed: int = 0  # reminders, escalations and ends
    dead_letters: Counter[str] = field(default_factory=Counter)
    recent: deque[ShownAction] = field(default_factory=lambda: deque(maxlen=RECENT_ACTIONS))
    new_actions: int = 0  # since the last plain line

    def saw_metrics(self, text: str) -> None:
        self.taken = 0
        self.tiers, self.moves, self.suppressed, self.pools = {}, Counter(), Counter(), {}
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                match name:
                    case "engage_events_total" | "engage_rejected_total" if labels["topic"] not in OWN:
                        self.taken += int(value)
                    case "engage_tier_clients":
                        self.tiers[labels["tier"]] = self.tiers.get(labels["tier"], 0) + int(value)
                    case "engage_tier_changes_total":
                        self.moves[labels["to_tier"], labels["reason"]] += int(value)
                    case "engage_pool_answers_total" if labels["outcome"] == NO_CAPACITY:
                        self.pools.setdefault(labels["pool"], Counter())[NO_CAPACITY] += int(value)
                    case _ if name in OF_POOLS:
                        self.pools.setdefault(labels["pool"], Counter())[OF_POOLS[name]] += int(value)
                    case "engage_decisions_total" if labels["outcome"] != Outcome.SENT and value:
                        self.suppressed[labels["outcome"]] += int(value)

    def saw_record(self, topic: str, value: bytes, headers: dict[str, bytes]) -> None:
        if topic == DECISIONS:
            return  # they are counted from the metrics
        if topic == "tier-changes":
            self.tier_changes += 1
        elif is_retraction(headers):
            self.retracted += 1
        elif topic in OUTBOUND and not is_action(headers):
            self.followed += 1
        elif topic in OUTBOUND:
            action = json.loads(value)
            self.published[action["kind"]] += 1
            self.new_actions += 1
            moment = dt.datetime.fromisoformat(action["time"]).astimezone(CHINA)
            shown = (f"{moment:%m-%d %H:%M}", action["client_id"], action["kind"], action["rule_id"])
            self.recent.append(ShownAction(*shown, why_text(action), action["channel"]))
        else:
            self.dead_letters[headers.get("engage_reason", b"?").decode()] += 1

    def unseen(self) -> list[str]:
        """The kinds of what a worker publishes that have not come yet."""
        faults = [f"no {kind} was published" for kind in TOPIC_OF_KIND if not self.published[kind]]
        return faults if self.tier_changes else [*faults, "no tier changed"]

    def missing(self) -> list[str]:
        """What a demo should have shown and has not."""
        faults = self.unseen()
        if self.taken != self.fed:
            faults.append(f"the worker took in {self.taken:,} of {self.fed:,} records")
        if (dead := self.dead_letters.total()) != self.fed_bad:
            faults.append(f"{dead} dead letters, but {self.fed_bad} bad records were fed")
        return faults

    @property
    def simulated(self) -> str:
        return f"{dt.datetime.fromtimestamp(self.simulated_ms / 1000, CHINA):%Y-%m-%d %H:%M}" if self.fed else "-"

    def tiers_in_order(self) -> list[tuple[str, int]]:
        return sorted(((t, n) for t, n in self.tiers.items() if n), key=lambda tier: (len(tier[0]) > 1, tier[0]))


def why_text(action: dict[str, Any]) -> str:
    def value(v: Any) -> str:
        if isinstance(v, bool):
            return "yes" if v else "no"
        return f"{v:.4g}" if isinstance(v, float) else str(v)

    return ", ".join(f"{name} {value(v)}" for name, v in action["why"].items()) or action["title"]


def look_yourself(board: Board) -> list[str]:
    return [
        f"kcat -b {board.kafka} -t messages -C",
        f"redis-cli -u {board.redis} --scan --pattern '*:client:*'",
        f"curl -s {board.metrics}",
        f"tail -f {board.log}",
    ]


def plain_line(board: Board) -> str:
    tiers = "  ".join(f"{tier} {clients}" for tier, clients in board.tiers_in_order())
    kinds = "  ".join(f"{kind} {board.published[kind]}" for kind in TOPIC_OF_KIND)
    waits = f"  |  {board.status}" if tiers and board.status != RUNNING else ""
    pools = "".join(f"  |  {name} {of_pool(figures)}" for name, figures in board.pools.items())
    return (
        f"{board.simulated}  {board.events_per_s:,.0f} events/s  |  {tiers or board.status}  |  {kinds}  |  "
        f"suppressed {board.suppressed.total()}  dead letters {board.dead_letters.total()}{pools}{waits}"
    )


def of_pool(figures: Counter[str]) -> str:
    """How loaded a pool is, who waits for it, and whom nobody had room for."""
    said = [f"load {figures['load']} of {figures['capacity']}"]
    said += [f"{figures['waiting']} wait"] if figures["waiting"] else []
    if figures["open_tasks"] or figures["queued_tasks"]:
        said.append(f"tasks {figures['open_tasks']} open, {figures['queued_tasks']} queued")
    said += [f"no_capacity {figures[NO_CAPACITY]}"] if figures[NO_CAPACITY] else []
    return ", ".join(said)


def plain_actions(board: Board, most: int = 4) -> list[str]:
    """The newest actions since the last call, and how many more there were."""
    new, board.new_actions = board.new_actions, 0
    shown = list(board.recent)[-min(new, most) :] if new else []
    lines = [
        f"  {a.time}  {a.client_id}  {a.kind:<10} {a.rule_id}  via {a.channel}: {textwrap.shorten(a.why, 100)}"
        for a in shown
    ]
    return [*lines, f"  ... and {new - len(shown)} more actions"] if new > len(shown) else lines


def screen(board: Board) -> RenderableType:
    layout, pools = Layout(), Group(*(f"{name}: {of_pool(figures)}" for name, figures in board.pools.items()))
    layout.split_column(
        Layout(Panel(_headline(board), title="Engage"), size=3),
        Layout(name="figures", size=13),
        *([Layout(Panel(pools, title="Pools of advisors"), size=len(board.pools) + 2)] if board.pools else []),
        Layout(Panel(_recent(board), title="Last actions")),
        Layout(Panel(Group(*look_yourself(board)), title="Look yourself"), size=6),
    )
    layout["figures"].split_row(
        Layout(Panel(_tiers(board), title="Clients per tier"), ratio=3),
        Layout(Panel(_counts("Published", _kinds(board))), ratio=2),
        Layout(
            Panel(
                _side_by_side(
                    _counts("Suppressed", dict(board.suppressed.most_common(FIGURES))),
                    _counts("Dead letters", dict(board.dead_letters.most_common(FIGURES))),
                )
            ),
            ratio=3,
        ),
    )
    return layout


def _side_by_side(*tables: Table) -> Table:
    found = Table.grid(padding=(0, 1))
    found.add_row(*tables)
    return found


def _headline(board: Board) -> Text:
    return Text.assemble(
        (f"{board.events_per_s:>8,.0f} events/s", "bold green"),
        f"   {board.taken:,} in all   simulated time {board.simulated}   ",
        (board.status, "yellow" if board.taken == 0 else "dim"),
    )


def _tiers(board: Board) -> Table:
    table = Table.grid(padding=(0, 1))
    tiers = board.tiers_in_order()
    most = max((clients for _, clients in tiers), default=1)
    for tier, clients in tiers:
        up, down = board.moves[tier, "promoted"], board.moves[tier, "demoted"]
        bar = "█" * max(1, round(BAR_WIDTH * clients / most))
        moved = Text.assemble((f"▲{up} " if up else "", "green"), (f"▼{down}" if down else "", "red"))
        table.add_row(tier, Text(f"{clients:>5}", "bold"), Text(bar, "blue"), moved)
    return table


def _kinds(board: Board) -> dict[str, int]:
    return {kind: board.published[kind] for kind in TOPIC_OF_KIND} | {
        "tier change": board.tier_changes,
        "retracted": board.retracted,
    }


def _counts(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, box=None, show_header=False, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right", min_width=max((len(f"{n:,}") for n in counts.values()), default=0))
    for name, count in counts.items():
        table.add_row(Text(name, COLOUR_OF_KIND.get(name, "")), Text(f"{count:,}", "bold", justify="right"))
    return table


def _recent(board: Board) -> Table:
    table = Table(box=None, expand=True, header_style="dim")
    for column in ("time", "client", "action", "rule"):
        table.add_column(column, no_wrap=True)
    table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("channel", no_wrap=True)
    for action in reversed(board.recent):
        kind = Text(action.kind, COLOUR_OF_KIND.get(action.kind, ""))
        table.add_row(action.time, action.client_id, kind, action.rule_id, Text(action.why), action.channel)
    return table


def summary(board: Board, faults: list[str]) -> RenderableType:
    table = Table(title="Summary", title_justify="left", show_header=False)
    table.add_row("events taken in", f"{board.taken:,}")
    table.add_row("simulated up to", board.simulated)
    for tier, clients in board.tiers_in_order():
        table.add_row(f"clients in {tier}", f"{clients:,}")
    for name, figures in board.pools.items():
        table.add_row(f"pool {name}", of_pool(figures))
    for name, count in _kinds(board).items():
        table.add_row("actions retracted" if name == "retracted" else f"{name}s published", f"{count:,}")
    for outcome, count in board.suppressed.most_common():
        table.add_row(f"suppressed: {outcome}", f"{count:,}")
    table.add_row("dead letters", f"{board.dead_letters.total()} of {board.fed_bad} bad records fed on purpose")
    held_back = "simulated time waited for it" if board.held_back else "it was not asked for more"
    speed = f"this machine decided {board.decided_per_s:,.0f} events a second; {held_back}"
    verdict = Text("All went well.", "green") if not faults else Text("\n".join(f"- {f}" for f in faults), "red")
    return Group(table, Text(speed), verdict)


class Show:
    """The screen when there is one, else a plain line a second."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.console = Console()
        self._live: Live | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(console=self.console, screen=True, auto_refresh=False)
        self._last_s = 0.0

    def __enter__(self) -> Show:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < (0.2 if self._live else 1.0):
            return
        self._last_s = now_s
        if self._live:
            self._live.update(screen(self._board), refresh=True)
        else:
            for line in (plain_line(self._board), *plain_actions(self._board)):
                print(line, flush=True)

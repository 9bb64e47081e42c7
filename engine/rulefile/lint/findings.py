"""What lint finds: its codes, and the comments that take a finding away.

Enters: places of rule files, findings. Leaves: those that no comment allows, in order.
Holds: a comment `# lint: allow L301 reason` works on the line of a finding or of its rule, or above it; one without a
reason or a use is a finding itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.rulefile.source.fields import DAY_S, HOUR_S, MINUTE_S
from engine.rulefile.source.places import Allowed, Place, Places

ERROR: Final = "error"  # certainly not what was meant
WARNING: Final = "warning"  # most likely not
NOTE: Final = "note"  # good order

CODES: Final[dict[str, tuple[str, str]]] = {
    "L001": (WARNING, "a comment that allows a finding without a reason, or names no code"),
    "L002": (NOTE, "a comment that allows what is not found"),
    "L101": (ERROR, "a condition that can never hold"),
    "L102": (WARNING, "a condition that always holds"),
    "L103": (WARNING, "a part of a condition that can never hold"),
    "L104": (NOTE, "a part of a condition that always holds"),
    "L105": (WARNING, "a part of a condition that holds, by its `not`, where a value is missing"),
    "L106": (WARNING, "a `!=` or `not in` that fails where the value is missing, while the rest could hold"),
    "L107": (NOTE, "a value score of money"),
    "L108": (ERROR, "a text of a condition or of a list that no event can have"),
    "L109": (
        WARNING,
        "a value of a list or table that a spreadsheet has probably changed, or in another form than the rest",
    ),
    "L110": (WARNING, "a text that no event of the sample had (`--records`)"),
    "L201": (
        WARNING,
        "a rule that only repeats another: whenever its condition holds, so does that one's, with the same template",
    ),
    "L202": (WARNING, "a rule for the client that others use up the daily cap for, whenever it fires"),
    "L203": (NOTE, "two rules for the client that fire on one event with the same priority"),
    "L204": (ERROR, "a segment that no client is in: those above it take them all"),
    "L205": (
        ERROR,
        "a rule for the client that caps leave nothing: 0, or all slots are kept for other classes",
    ),
    "L206": (WARNING, "a rule for the advisor of clients who have none"),
    "L207": (WARNING, "a rule whose own action counts in a feature that its condition asks to be high"),
    "L301": (NOTE, "a rule without tests"),
    "L302": (NOTE, "a rule that does not say which need it serves"),
    "L303": (WARNING, "a cooldown longer than the time between two looks: the rule is passed over"),
    "L304": (WARNING, "a rule for the client with a cooldown under an hour"),
    "L305": (NOTE, "an owner with one rule whose name is nearly that of another, without teams.yaml"),
    "L306": (NOTE, "a feature, definition, list or table that nothing uses"),
    "L307": (WARNING, "a list of days, or the calendar, that ends soon or has ended"),
    "L308": (NOTE, "a list of days without `last_day`: it is taken to cover the year of its last day"),
    "L309": (WARNING, "a feature of actions that names a rule which there is not"),
    "L310": (NOTE, "a team of teams.yaml that owns nothing"),
    "L311": (WARNING, "a rule whose actions go to its team, on a topic that the team's systems do not read"),
    "L312": (WARNING, "a pool without advisors, or that asks for a skill which none of them has at any level"),
    "L313": (WARNING, "a number of open tasks for advisors, and no rule of whose tasks or alerts any are open"),
    "L314": (WARNING, "a rule on answers to requests for an advisor that also hears of room for open tasks"),
    "L401": (WARNING, "a row of a decision table that no case reaches"),
    "L501": (ERROR, "a rule for the client that quiet hours stop at every hour, on each of its channels"),
    "L502": (NOTE, "a class of policy.yaml that no rule has"),
    "L503": (WARNING, "a rule that is exempt from consent, with none of the channels that its class has for that"),
    "L504": (WARNING, "a cap that keeps all its slots for some classes: the others get none"),
    "L505": (WARNING, "a rule that expires while its class still collects"),
    "L506": (WARNING, "a rule that is to be held in quiet hours, and expires before they end"),
    "L507": (ERROR, "quiet hours that cover every hour of the week"),
    "L508": (WARNING, "a holdout of all clients: nothing of it is sent"),
    "L509": (WARNING, "a bound of the breaker that is never reached, since that of all rules together is lower"),
    "L510": (WARNING, "pauses.yaml in a directory: publishing leaves it out"),
    "L511": (NOTE, "a rule for the client that does not say its class"),
    "L512": (WARNING, "a cap, quiet hours, a rate or a budget whose `of` concerns no rule for the client"),
    "L513": (ERROR, "a rule for the client that costs more than a budget's whole limit"),
    "L601": (WARNING, "a step of a journey that nothing leads to"),
    "L602": (WARNING, "a wait of a journey for what may never come, without a timeout"),
    "L603": (WARNING, "a journey in which no step acts"),
    "L701": (WARNING, "a reminder or escalation of an action that has expired by then"),
    "L702": (WARNING, "an escalation to the team of what went to the team"),
    "L703": (WARNING, "a reminder that first comes when its action is overdue or escalated already"),
}


def in_short(seconds: int) -> str:
    """A length of time as rule files have it."""
    for length, unit in ((DAY_S, "d"), (HOUR_S, "h")):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    hours, minutes = divmod(seconds // MINUTE_S, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    file: str
    line: int
    column: int
    code: str
    subject: str  # such as: rule "vip-winback"
    message: str
    remedy: str

    @property
    def severity(self) -> str:
        return CODES[self.code][0]

    def __str__(self) -> str:
        said = f"{self.file}:{self.line}:{self.column}: {self.code} {self.severity}: "
        said += f"{self.subject}{': ' if self.subject else ''}{self.message}; {self.remedy}"
        return "".join(character if character.isprintable() else "?" for character in said)


class Findings:
    """Collects findings; `home` is the place of the rule or declaration that one is about."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.found: list[tuple[Finding, Place]] = []

    def add(
        self, code: str, at: Place, subject: str, message: str, remedy: str, *, home: Place, offset: int | None = None
    ) -> None:
        line, column = (at.line, at.column) if offset is None else at.within(offset)
        self.found.append((Finding(at.file, line, column, code, subject, message, remedy), home))

    def left(self) -> list[Finding]:
        """What no comment allows, and what is wrong with the comments."""
        allowed = self.places.allowed()
        by_line: dict[tuple[str, str, int], list[Allowed]] = {}
        for comment in allowed:
            by_line.setdefault((comment.file, comment.code, comment.line), []).append(comment)
        used: set[Allowed] = set()
        left = []
        for finding, home in self.found:
            lines = {(at.file, at.line - above) for at in (finding, home) for above in (0, 1)}
            by = [a for file, line in lines for a in by_line.get((file, finding.code, line), ())]
            used.update(by)
            if not any(a.reason for a in by):
                left.append(finding)
        for comment in allowed:
            at = (comment.file, comment.line, comment.column)
            if comment.code not in CODES:
                left.append(Finding(*at, "L001", "", f'"{comment.code}" is not a code', "write one, such as L301"))
            elif not comment.reason:
                left.append(Finding(*at, "L001", "", "no reason given", f"write # lint: allow {comment.code} and why"))
            elif comment not in used:
                left.append(Finding(*at, "L002", "", f"there is no {comment.code} here", "remove the comment"))
        return sorted(left)

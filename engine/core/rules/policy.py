"""The contact policy as policy.yaml declares it: classes of rules, caps, quiet hours. And the rules that are paused.

Enters: nothing (the rulefile package builds these from YAML). Leaves: frozen dataclasses.
Holds: it limits what goes to clients; work for staff is not concerned. Each rule has one class.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from engine.core.contact import Contact
from engine.core.contract.outbound import Outcome
from engine.core.firm_time import DAY_MS, HOUR_MS
from engine.core.language.expressions import Expression

POLICY_FILE: Final = "policy.yaml"
PAUSES_FILE: Final = "pauses.yaml"
Exemption = Literal["caps", "quiet_hours", "do_not_contact", "snooze", "consent", "rates", "rests", "budgets"]
Purpose = Literal["marketing", "service", "risk"]
WhenQuiet = Literal["hold", "drop", "other_channel"]
Per = Literal["hour", "day", "week", "month"]
Zone = Literal["firm", "client"]
DAYS_OF: Final[dict[Per, int]] = {"hour": 1, "day": 1, "week": 7, "month": 31}  # at most
LONGEST_CAP_DAYS: Final = 31
USUAL: Final = "service"  # the class of a rule that names none
REGULATORY: Final = "regulatory"  # the one class that can be exempt from consent; no breaker pauses it unless said


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of the clients who get none of it, to compare the others with."""

    salt: str  # with another one all clients are drawn anew
    share: float  # of all clients, 0 to 1


@dataclass(frozen=True, slots=True)
class ContactClass:
    """What a rule is for, and what of the policy does not concern it."""

    name: str
    exempt: tuple[Exemption, ...] = ()
    counts: bool = True  # towards caps that do not name it
    purpose: Purpose = "service"  # what the client must have agreed to
    when_quiet: WhenQuiet = "drop"
    collect_s: int = 0  # for so long its actions wait for others, then the highest priority goes first
    channels: tuple[str, ...] = ()  # without consent no other; of one exempt from consent
    holdout: bool = True  # whether the firm's concerns it
    same_text_s: int = 0  # for so long a client gets no text twice
    by_answers: bool = False  # whether the channels that a client answers to go first
    not_while: tuple[tuple[str, Expression], ...] = ()  # by name, what keeps it from the client as long as it holds


CLASSES: Final = (
    ContactClass(REGULATORY, get_args(Exemption), counts=False, channels=("email", "sms"), holdout=False),
    ContactClass("risk", ("rates",), purpose="risk", holdout=False),
    ContactClass("service"),
    ContactClass("relationship"),
    ContactClass("marketing", purpose="marketing"),
)  # of a policy that declares none; the most important first


@dataclass(frozen=True, slots=True)
class Selection:
    """What is meant: all values must be among those given, where any are."""

    kinds: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # at least one of the rule's
    teams: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def meets(self, contact: Contact) -> bool:
        return (
            _among(contact.kind, self.kinds)
            and _among(contact.contact_class, self.classes)
            and _among(contact.channel, self.channels)
            and _among(contact.team, self.teams)
            and _among(contact.rule, self.rules)
            and (not self.tags or not set(self.tags).isdisjoint(contact.tags))
        )


def _among(value: str, allowed: Collection[str]) -> bool:
    return not allowed or value in allowed


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many contacts of a client in a period."""

    name: str
    at_most: int
    per: Per | None  # a period of the calendar; None: of `within_s` up to now
    within_s: int = 0
    zone: Zone = "firm"  # whose calendar
    of: Selection = field(default_factory=Selection)
    reserved: int = 0  # of these, for classes from `reserved_for` up
    reserved_for: str = ""
    for_calendar: bool = False  # one more of them for each calendar action of higher priority that is known to be due
    spared_from: int | None = None  # rules of this priority or higher are sent all the same, and count
    outcome: Outcome = Outcome.CAP


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many actions in a time, over all clients."""

    name: str
    at_most: int
    per_ms: int
    of: Selection = field(default_factory=Selection)


class Fen(int):
    """An amount of money, where a number might be of something else."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What actions may cost in all, over all clients."""

    name: str
    limit: int  # Fen, or a number of actions
    per: Per | None  # a period of the firm's calendar; None: once, for good
    of: Selection = field(default_factory=Selection)
    campaigns: tuple[str, ...] = ()  # any of them; none: all
    cost: int | None = None  # of an action, unless its channel or its rule says; None: each rule says
    by_channel: tuple[tuple[str, int], ...] = ()

    def cost_of(self, own: int | None, channel: str) -> int | None:
        """What an action costs, whose rule says `own`; None: nobody says."""
        if not isinstance(self.limit, Fen):
            return 1
        return own if own is not None else dict(self.by_channel).get(channel, self.cost)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When nothing of `of` is sent, by the client's clock. `until` at or before `begin` is of the next day."""

    name: str
    begin: int  # minutes of the day
    until: int
    days: tuple[int, ...] = ()  # on which they begin, 0 is Monday; all when there are none
    holidays: bool = False  # instead: the whole of days that are no working days, by calendar.yaml and the firm's clock
    zone: Zone = "client"
    of: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True)
class Rest:
    """When a channel is not used for a client."""

    name: str  # the channel
    failures: int  # after so many in a row
    for_s: int


@dataclass(frozen=True, slots=True)
class Then:
    """What is done when what was sent does not reach the client."""

    channels: tuple[str, ...]  # where it is said again, in order of preference
    wait_s: int | None  # when it has not been opened for so long; None: only when it failed


@dataclass(frozen=True, slots=True)
class Product:
    """What may be offered, and to whom."""

    name: str  # as rules offer it
    risk_class: str  # R1 to R5; a client's risk level is at least that
    youngest: int | None = None  # years of age of those to whom it may be offered; None: any
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class Suitability:
    """What the products that rules offer have to meet. Lists are named."""

    products: Mapping[str, Product]  # no other is offered
    assessed: Expression | None  # days since the client's risk was assessed
    within_s: int | None  # an older assessment does not count
    barred_clients: str | None
    barred_products: str | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many actions, to all clients together, are too many: more than so many. None: no bound."""

    per_minute: int | None = None
    per_hour: int | None = None
    times_usual: int | None = None  # in an hour, so many times what the rule's busiest hour lately had
    usual_from: int = 500  # actions an hour up to which that is not asked


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a rule is paused for everybody."""

    each_rule: Bounds = Bounds()
    all: Bounds = Bounds()  # of all rules together
    exempt: tuple[str, ...] = ()  # classes, and rules


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """Limits that hold for every rule whose audience is the client; and whether a second person approves rule sets."""

    caps: tuple[Cap, ...] = ()
    classes: tuple[ContactClass, ...] = CLASSES  # the most important first
    quiet_hours: tuple[QuietHours, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    release_over_s: int = 0  # what quiet hours held goes out spread over so long
    holdout: Holdout | None = None  # of all that goes to clients
    suitability: Suitability | None = None
    rests: tuple[Rest, ...] = ()
    answers: tuple[tuple[str, Expression], ...] = ()  # channel -> how much a client answers to it
    breaker: Breaker | None = None
    approval: bool = False  # kept so that diff reports a change of it; what asks for it reads the files' texts
    ask_above: int = 0  # clients affected at once by publishing: above it the command asks
    approve_above: int | None = None  # and above this somebody else has to approve
    decisions: bool = True  # whether they are published
    left_out: tuple[Outcome, ...] = ()  # but for refusals of these, unless the action had been held

    @property
    def kept_ms(self) -> int:
        """For how long contacts count; by a clock that is set back a period can be longer by an hour or two."""
        lengths = [DAYS_OF[cap.per] * DAY_MS if cap.per else cap.within_s * 1000 for cap in self.caps]
        return max(lengths) + 2 * HOUR_MS if lengths else 0

    def publishes(self, outcome: Outcome, *, waited: bool) -> bool:
        """Whether the decision on an action is published; the end of what was held is, in any case."""
        return self.decisions and (waited or outcome not in self.left_out)

    def barred(self, lists: Mapping[str, Collection[str]]) -> tuple[frozenset[str], frozenset[str]]:
        """Clients to whom nothing is offered, products that are not."""
        suits = self.suitability
        if suits is None:
            return frozenset(), frozenset()
        clients, products = suits.barred_clients or "", suits.barred_products or ""
        return frozenset(lists.get(clients, ())), frozenset(lists.get(products, ()))

    def class_named(self, name: str) -> ContactClass:
        return next(one for one in self.classes if one.name == name)

    def rank(self, name: str) -> int:
        """0 is the most important class."""
        return next(place for place, one in enumerate(self.classes) if one.name == name)


@dataclass(frozen=True, slots=True)
class Pause:
    """A rule that acts for nobody until a person resumes it: what it would do is held."""

    rule: str
    since_ms: int  # by the wall clock of whoever published it; names the pause among those of the rule
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Resumption:
    """The end of a rule's last pause: what that held is decided again from then on."""

    rule: str
    at_ms: int
    by: str
    why: str
    dropped_ms: int = 0  # what was held by pauses that began before is not sent

    @property
    def drops(self) -> bool:
        """Whether what the last pause held is not sent."""
        return self.dropped_ms == self.at_ms


def daily_cap(at_most: int, urgent_from: int | None = None) -> Cap:
    """What `contact:` says."""
    return Cap("daily_cap", at_most, "day", spared_from=urgent_from, outcome=Outcome.DAILY_CAP)

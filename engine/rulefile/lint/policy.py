"""What the contact policy never lets pass, and what of it has no effect: L205, L501 to L513.

Enters: a RuleSet. Leaves: findings.
Holds: what is said to be never sent is stopped at any time, for any client. Hours that are named are those of a night
of usual length. Work for staff is not concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, get_args

from engine.core.firm_time import WEEKDAYS
from engine.core.policy.clock import DAY_MINUTES
from engine.core.rules.occasion import BeforeMaturity, Calendar
from engine.core.rules.policy import (
    CLASSES,
    PAUSES_FILE,
    POLICY_FILE,
    USUAL,
    Bounds,
    Budget,
    Cap,
    ContactClass,
    ContactPolicy,
    QuietHours,
    Rate,
    Selection,
    Zone,
)
from engine.core.rules.ruleset import Rule, RuleSet
from engine.rulefile.lint.findings import Findings, in_short
from engine.rulefile.source.fields import MINUTE_S
from engine.rulefile.source.places import Place

WEEK_MINUTES: Final = 7 * DAY_MINUTES


def look(rule_set: RuleSet, findings: Findings) -> None:
    quiet = _Quiet()
    for rule, said, channel in _beyond(rule_set):
        home = findings.places.rules.get(rule.id)
        if home is not None:
            remedy = "raise the limit, or make it cheaper"
            message = f"costs more by {channel} than the whole budget {said}: it is never sent there"
            findings.add("L513", home.key("cost") or home, f'rule "{rule.id}"', message, remedy, home=home)
    for rule in rule_set.rules:
        home = findings.places.rules.get(rule.id)
        if home is not None and rule.audience == "client":
            _rule(rule_set, rule, home, quiet, findings)
        if home is not None and rule.holdout is not None and rule.holdout.share >= 1:
            said, remedy = "its holdout is of all clients: it is never sent", "lower the share, or remove the rule"
            findings.add("L508", home.key("holdout") or home, f'rule "{rule.id}"', said, remedy, home=home)
        if home is not None and rule.breaker is not None:
            for said, remedy in _unreached(rule.breaker, rule_set.policy, {rule.id, *rule.was, rule.contact_class}):
                findings.add("L509", home.key("breaker") or home, f'rule "{rule.id}"', said, remedy, home=home)
    root = findings.places.roots.get(POLICY_FILE)
    if root is not None:
        _policy(rule_set, root, quiet, findings)
    pauses = findings.places.roots.get(PAUSES_FILE)
    if pauses is not None:
        said = "publishing leaves it out: what the active set says of pauses counts"
        remedy = "remove it; pause rules with `engage rules pause`"
        findings.add("L510", pauses, PAUSES_FILE, said, remedy, home=pauses)


def _beyond(rule_set: RuleSet) -> Iterator[tuple[Rule, str, str]]:
    """Rules that cost more than all of a budget, with its name and the channel."""
    for rule in rule_set.rules if rule_set.policy.budgets else ():
        for budget in rule_set.budgets_on(rule):
            for channel in rule.all_channels:
                cost = budget.cost_of(rule.cost, channel) if budget.of.meets(rule.contact(channel)) else None
                if cost is not None and cost > budget.limit:
                    yield rule, budget.name, channel


def _unreached(bounds: Bounds, policy: ContactPolicy, names: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Of the bounds of a rule, by whose `names` it may be excepted: what is said of each that is never reached, and the
    remedy.
    """
    if policy.breaker is None or not set(names).isdisjoint(policy.breaker.exempt):
        return
    of_all = policy.breaker.all
    for key, own, all_ in (
        ("per_minute", bounds.per_minute, of_all.per_minute),
        ("per_hour", bounds.per_hour, of_all.per_hour),
    ):
        if own is not None and all_ is not None and own > all_:
            said = f"{key}: {own:,} is never reached: all rules together may have {all_:,}"
            yield said, f"write at most {all_:,}, or raise that of all"


def named(cap: Cap) -> str:
    return "daily cap" if cap.name == "daily_cap" else f"cap {cap.name}"


def slots(rule_set: RuleSet, cap: Cap, rule: Rule) -> int:
    """How many of a cap's contacts its class may have at most."""
    policy = rule_set.policy
    lower = bool(cap.reserved) and policy.rank(rule.contact_class) > policy.rank(cap.reserved_for)
    return max(cap.at_most - cap.reserved, 0) if lower else cap.at_most


# -- rules ---------------------------------------------------------------------------------------------------------


def _rule(rule_set: RuleSet, rule: Rule, home: Place, quiet: _Quiet, findings: Findings) -> None:
    own, subject = rule_set.policy.class_named(rule.contact_class), f'rule "{rule.id}"'

    def add(code: str, key: str, message: str, remedy: str) -> None:
        findings.add(code, home.key(key) or home, subject, message, remedy, home=home)

    _stopped(rule_set, rule, home, quiet, findings)
    if home.key("class") is None:
        names = ", ".join(one.name for one in rule_set.policy.classes)
        add("L511", "id", f"does not say its class: it is {USUAL}", f"add class, one of {names}")
    if "consent" in own.exempt and not {*own.channels} & {*rule.channels}:
        allowed = ", ".join(own.channels)
        message = f"class {own.name} is sent without consent by {allowed} only, and the rule has none of these: "
        message += "it reaches only clients who agreed to its channels"
        add("L503", "channels", message, f"add one of {allowed} to its channels")
    if own.collect_s and rule.expires_s <= own.collect_s:
        message = (
            f"expires after {in_short(rule.expires_s)}, and class {own.name} collects for {in_short(own.collect_s)}: "
        )
        message += "unless something else already waits for the client, it has expired when it would be sent"
        add("L505", "expires", message, f"raise expires above {in_short(own.collect_s)}, or give it another class")
    if own.when_quiet != "drop" and (said := _outlasted(rule_set, rule)):
        longest = max(_length_s(one) for one in _meeting_all(rule_set, rule))
        remedy = f"raise expires above {in_short(longest)}, or say that it is meant"
        add("L506", "expires", f"expires after {in_short(rule.expires_s)}: {said}", remedy)


def _stopped(rule_set: RuleSet, rule: Rule, home: Place, quiet: _Quiet, findings: Findings) -> None:
    """Of all its channels: a cap that leaves nothing, or quiet hours without an end."""
    caps, hours = rule_set.caps_on(rule), rule_set.quiet_hours_on(rule)
    empty = [cap for cap in caps if not slots(rule_set, cap, rule)]
    by_cap = {
        channel: next((cap for cap in empty if cap.of.meets(rule.contact(channel))), None) for channel in rule.channels
    }
    by_hours = {
        channel: quiet.at_every_hour(one for one in hours if one.of.meets(rule.contact(channel)))
        for channel in rule.channels
    }
    if not all(by_cap[channel] or by_hours[channel] for channel in rule.channels):
        return
    subject = f'rule "{rule.id}"'
    if all(by_cap.values()):
        caps = tuple(dict.fromkeys(cap for cap in by_cap.values() if cap is not None))
        message = f"is never sent: {' and '.join(map(_leaves_nothing, caps))}"
        remedy = f"raise {', '.join(cap.name for cap in caps)}, or remove the rule"
        findings.add("L205", home.key("audience") or home, subject, message, remedy, home=home)
        return
    stops = dict.fromkeys(
        f"quiet hours at every hour ({', '.join(by_hours[channel])})"
        if by_hours[channel]
        else f"{named(by_cap[channel] or empty[0])}"
        for channel in rule.channels
    )
    message = f"is never sent on any of its channels: {'; '.join(stops)}"
    remedy = f"leave a time at which it may be sent in {POLICY_FILE}, or remove the rule"
    findings.add("L501", home.key("channels") or home, subject, message, remedy, home=home)


def _leaves_nothing(cap: Cap) -> str:
    if cap.at_most:
        return f"the {named(cap)} of {POLICY_FILE} keeps all its slots for {cap.reserved_for} and above"
    return f"the {named(cap)} of {POLICY_FILE} is 0"


def _meeting_all(rule_set: RuleSet, rule: Rule) -> list[QuietHours]:
    """The quiet hours that concern all its channels."""
    contacts = [rule.contact(channel) for channel in rule.channels]
    return [one for one in rule_set.quiet_hours_on(rule) if all(one.of.meets(contact) for contact in contacts)]


def _length_s(hours: QuietHours) -> int:
    """From their beginning to their end, on a day of usual length."""
    until = hours.until if hours.until > hours.begin else hours.until + DAY_MINUTES
    return (until - hours.begin) * MINUTE_S


def _outlasted(rule_set: RuleSet, rule: Rule) -> str:
    """When it matches in vain, though it would be held: it expires before the quiet hours end."""
    for hours in sorted(_meeting_all(rule_set, rule), key=_length_s, reverse=True):
        left_s = _length_s(hours) - rule.expires_s
        if left_s <= 0:
            return ""
        occasion, last = rule.occasion, hours.begin + left_s // MINUTE_S
        span, stop = f"{_clock(hours.begin)} to {_clock(last)}", f"the quiet hours {hours.name} outlast it"
        if not isinstance(occasion, Calendar | BeforeMaturity):
            day = f"by the {hours.zone}'s clock" if not hours.holidays else "of a day that is no working day"
            day += f", beginning on {', '.join(WEEKDAYS[day] for day in hours.days)}," if hours.days else ""
            return f"what matches from {span} {day} is dropped, not held: {stop}"
        if any(hours.begin <= minute <= last for minute in (occasion.minute, occasion.minute + DAY_MINUTES)):
            where = "in the firm's zone" + (", on the days of these," if hours.days or hours.holidays else "")
            return f"it matches at {_clock(occasion.minute)}, and from {span} {where} it is dropped, not held: {stop}"
    return ""


def _clock(minute: int) -> str:
    return f"{minute // 60 % 24:02d}:{minute % 60:02d}"


class _Quiet:
    """Whether some quiet hours leave no hour of the week; each set of them is asked once."""

    def __init__(self) -> None:
        self._known: dict[tuple[QuietHours, ...], tuple[str, ...]] = {}

    def at_every_hour(self, hours: Iterable[QuietHours]) -> tuple[str, ...]:
        """The names of those that leave none together; none of them when an hour is left."""
        asked = tuple(hours)
        if asked not in self._known:
            daily = [one for one in asked if not one.holidays]
            zones = ([one for one in daily if one.zone == zone] for zone in get_args(Zone))
            self._known[asked] = next((tuple(one.name for one in some) for some in zones if _covers_the_week(some)), ())
        return self._known[asked]


def _covers_the_week(hours: Iterable[QuietHours]) -> bool:
    free = 0  # the first minute of the week that is not known to be quiet
    for begin, until in sorted(_spans(hours)):
        if begin > free:
            return False
        free = max(free, until)
    return free >= WEEK_MINUTES


def _spans(hours: Iterable[QuietHours]) -> Iterator[tuple[int, int]]:
    """Within one week, in minutes from its beginning; what reaches over its end is at its beginning, too."""
    for one in hours:
        for day in one.days or range(7):
            begin = day * DAY_MINUTES + one.begin
            until = begin + _length_s(one) // MINUTE_S
            yield begin, until
            if until > WEEK_MINUTES:
                yield 0, until - WEEK_MINUTES


# -- policy.yaml ---------------------------------------------------------------------------------------------------


def _policy(rule_set: RuleSet, root: Place, quiet: _Quiet, findings: Findings) -> None:
    policy = rule_set.policy

    def add(code: str, path: tuple[str, ...], subject: str, message: str, remedy: str) -> None:
        at = root.named(*path) or root
        findings.add(code, at, subject, message, remedy, home=at)

    for said, remedy in _unreached(policy.breaker.each_rule, policy) if policy.breaker is not None else ():
        add("L509", ("breaker", "each_rule"), "breaker", said, remedy)
    used = {rule.contact_class for rule in rule_set.rules}
    declared = policy.classes if policy.classes is not CLASSES and root.key("classes") is not None else ()
    for one in declared:
        if one.name not in used:
            add("L502", ("classes", one.name), f"class {one.name}", "no rule has it", "use it, or remove it")
    for cap in policy.caps:
        left_out = [one.name for one in policy.classes if _starves(rule_set, cap, one)]
        if left_out:
            message = f"keeps all its slots for {cap.reserved_for} and above: "
            message += f"nothing of class {', '.join(left_out)} is sent"
            message += "" if cap.spared_from is None else f" below priority {cap.spared_from}"
            add("L504", ("caps", cap.name), f"cap {cap.name}", message, "reserve fewer slots, or raise at_most")
    _idle(rule_set, add)
    for hours in policy.quiet_hours:
        if quiet.at_every_hour([hours]):
            message = "cover every hour of the week: what they concern is never sent"
            remedy = "leave a time, or remove the rules that they concern"
            add("L507", ("quiet_hours", hours.name), f"quiet hours {hours.name}", message, remedy)
    if policy.holdout is not None and policy.holdout.share >= 1:
        names = ", ".join(one.name for one in policy.classes if one.holdout)
        message = f"is of all clients: nothing of class {names} is sent to them"
        if names:
            add("L508", ("holdout",), "holdout", message, "lower the share")


def _idle(rule_set: RuleSet, add: Callable[[str, tuple[str, ...], str, str, str], None]) -> None:
    """What names whom it concerns, and concerns no rule: they are exempt, or are work for staff."""
    rules, policy = rule_set.rules, rule_set.policy
    parts: tuple[tuple[str, str, tuple[Cap | QuietHours | Rate | Budget, ...], set[Any]], ...] = (
        ("caps", "cap", policy.caps, {one for rule in rules for one in rule_set.caps_on(rule)}),
        (
            "quiet_hours",
            "quiet hours",
            policy.quiet_hours,
            {one for rule in rules for one in rule_set.quiet_hours_on(rule)},
        ),
        ("rates", "rate", policy.rates, {one for rule in rules for one in rule_set.rates_on(rule)}),
        ("budgets", "budget", policy.budgets, {one for rule in rules for one in rule_set.budgets_on(rule)}),
    )
    contacting = {rule.contact_class for rule in rules if rule.audience == "client"}
    at_work = {rule.contact_class for rule in rules}.difference(contacting)
    for each in policy.classes:
        if each.not_while and each.name in at_work:
            message, remedy = (
                "not_while concerns no rule for the client: all of the class are work for staff",
                "remove it",
            )
            add("L512", ("classes", each.name), f"class {each.name}", message, remedy)
    for section, called, declared, used in parts:
        for one in declared:
            if one not in used and (one.of != Selection() or isinstance(one, Budget)):
                message = "concerns no rule for the client: those that it names are exempt, or work for staff"
                add("L512", (section, one.name), f"{called} {one.name}", message, "name others in of, or remove it")


def _starves(rule_set: RuleSet, cap: Cap, one: ContactClass) -> bool:
    """Whether what a cap reserves leaves nothing for a class."""
    lower = rule_set.policy.rank(one.name) > rule_set.policy.rank(cap.reserved_for) if cap.reserved else False
    concerned = "caps" not in one.exempt and (not cap.of.classes or one.name in cap.of.classes)
    return lower and concerned and 0 < cap.at_most <= cap.reserved

"""Every metric of a worker, in one class that takes the registry.

Enters: what happened. Leaves: Prometheus text. Holds: labels come from closed sets (topics, rules, reasons, tiers,
partitions), never from a client. A counter whose labels are known begins at 0, since rates and alerts never see a
series that begins with its first event; what is gone (a rule, a tier, a partition) has no series.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics import exposition as openmetrics

from engine import __version__
from engine.compiled import form
from engine.core.client.record import told_by
from engine.core.contract.corrections import CORRECTABLE, RESULTS
from engine.core.contract.outbound import CARED_KINDS, TOPIC_OF_KIND, CareStepName, Rejection
from engine.core.contract.topics import EVENTS, REROUTED, TOPICS, intake_topics
from engine.core.rules.ruleset import RuleSet
from engine.runtime.observe.pools import Budgets, PoolGauges
from engine.runtime.observe.rule_counts import Outcomes, RuleCounts, merged, outcomes_of
from engine.runtime.observe.series import DECLARED, fields_that_may_be_unread, notices_of, of_rule_set, tier_moves

if TYPE_CHECKING:
    from engine.runtime.protocol.unit import OpenUnit

END = b"# EOF\n"
disable_created_metrics()  # a second series for each counter, of no use here
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATES = ("starting", "recovering", "running", "waiting", "stopped")
UNIT_CAUSES = ("messages", "age", "size", "tick", "sweep", "handover")
RECOVERY_CAUSES = ("assigned", "surprised", "kafka", "redis", "newer")


class Metrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._plain = r = CollectorRegistry()  # all but the series of rules
        if registry is None:
            ProcessCollector(registry=r)
        self.rules = RuleCounts()
        self.registry.register(r)
        self.registry.register(self.rules)
        self.pools, self.budgets = PoolGauges(r), Budgets(r)
        self.events = Counter("engage_events", "Events decided and committed.", ["topic"], registry=r)
        self.rejected = Counter("engage_rejected", "Records sent to the dead letters.", ["topic", "reason"], registry=r)
        self.rerouted = Counter("engage_rerouted", "Records re-sent to their key's partition.", ["topic"], registry=r)
        self.unread = Counter(
            "engage_unread_fields",
            "Fields that could not be read and were taken as unknown; the event counted.",
            ["topic", "field"],
            registry=r,
        )
        self.progress = Counter(
            "engage_monitor_commits",
            "Commits of how far partitions are, for programs that watch the group's lag.",
            ["result"],
            registry=r,
        )
        for result in ("committed", "failed"):
            self.progress.labels(result)
        self.duplicates = Counter(
            "engage_duplicates", "Events that had come before and did not count again.", ["topic"], registry=r
        )
        self.late = Counter(
            "engage_late_events", "Events older than what the client had been through.", ["topic"], registry=r
        )
        self.receipts = Counter(
            "engage_receipts", "What became of actions on their way.", ["channel", "status"], registry=r
        )
        self.dropped = Counter(
            "engage_state_dropped", "What a client had more of than a state has room for.", ["what"], registry=r
        )
        self.overrides = Counter(
            "engage_overrides",
            "What staff decided of clients; `problem`: it names a rule or tier that the active rules do not have.",
            ["kind", "problem"],
            registry=r,
        )
        self.corrections = Counter(
            "engage_corrections", "Earlier events that were corrected, by result.", ["topic", "result"], registry=r
        )
        self.retracted = Counter("engage_retractions", "Actions whose event was corrected.", ["kind"], registry=r)
        self.care = Counter("engage_care_steps", "Reminders, escalations, ends of work.", ["kind", "step"], registry=r)
        self.beyond = Counter(
            "engage_corrections_beyond",
            "Corrected events older than what is remembered of actions: what they led to is not retracted.",
            ["topic"],
            registry=r,
        )
        self.unknown = Gauge(
            "engage_unknown_values",
            "Clients of whom corrections left a feature unknown: `engage backfill FEATURE` finds its values.",
            ["partition", "feature"],
            registry=r,
        )
        self.surveys = Counter("engage_surveys", "Surveys sent, and answers.", ["segment", "step"], registry=r)
        self.survey_scores = Counter(
            "engage_survey_scores", "Scores in answers, by their class.", ["segment", "score", "class"], registry=r
        )
        self.unknown_zones = Counter("engage_unknown_zones", "Decisions by the firm's clock.", ["zone"], registry=r)
        self.tier_changes = Counter(
            "engage_tier_changes", "Tier changes published.", ["from_tier", "to_tier", "reason"], registry=r
        )
        self.tier_notices = Counter("engage_tier_notices", "Demotions to come.", ["tier", "falls_to"], registry=r)
        self.tier_clients = Gauge("engage_tier_clients", "Clients in each tier.", ["partition", "tier"], registry=r)
        self.stage_clients = Gauge(
            "engage_stage_clients", "Clients in each stage of their life.", ["partition", "stage"], registry=r
        )
        self.journey_clients = Gauge(
            "engage_journey_clients", "Clients at each step of a journey.", ["partition", "journey", "step"], registry=r
        )
        self.journeys = Counter("engage_journeys_ended", "Journeys that ended.", ["journey", "reason"], registry=r)
        self._population = {  # by what a partition counts its clients as
            "tier": self.tier_clients,
            "stage": self.stage_clients,
            "unknown": self.unknown,
            "journey": self.journey_clients,
        }
        self.lag = Gauge("engage_lag_records", "Records not yet decided.", ["topic", "partition"], registry=r)
        self.held = Gauge(
            "engage_held_seconds",
            "How long records have waited behind an open transaction of another program.",
            ["topic", "partition"],
            registry=r,
        )
        self.lag_seconds = Gauge(
            "engage_lag_seconds", "How far decisions are behind what was produced, in time.", ["partition"], registry=r
        )
        self.action_delay = Histogram(
            "engage_action_delay_seconds",
            "From the time of a record to the commit of an action that it led to.",
            buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
            registry=r,
        )
        build = Gauge("engage_build_info", "1, with the versions that run.", ["version", "python", "core"], registry=r)
        build.labels(__version__, ".".join(map(str, sys.version_info[:3])), form.RUNNING).set(1)
        self.assigned = Gauge("engage_partitions_assigned", "Partitions this worker owns.", registry=r)
        self.state = Gauge(
            "engage_partition_state", "1 for the state a partition is in.", ["partition", "state"], registry=r
        )
        self.decide_seconds = Histogram("engage_decide_seconds", "Deciding one batch.", buckets=_SECONDS, registry=r)
        self.commit_seconds = Histogram(
            "engage_commit_seconds", "Committing one unit.", ["step"], buckets=_SECONDS, registry=r
        )
        self.unit_records = Histogram(
            "engage_unit_records",
            "Records in a unit.",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000),
            registry=r,
        )
        self.units = Counter("engage_units", "Units committed, by what closed them.", ["cause"], registry=r)
        self.ledger_records = Counter("engage_ledger_records", "Ledger records written.", registry=r)
        self.ledger_bytes = Counter("engage_ledger_bytes", "Bytes of ledger records, before compression.", registry=r)
        self.recoveries = Counter(
            "engage_recoveries", "Starts of a partition, by what led to them.", ["cause"], registry=r
        )
        self.recovered_units = Counter(
            "engage_recovered_units", "Units applied from the ledger at a start.", registry=r
        )
        self.healed = Counter(
            "engage_healed_clients",
            "Clients whose keys were evicted or deleted from Redis and were written again from the ledger.",
            registry=r,
        )
        self.ticks = Counter("engage_ticks", "Ticks that woke a client.", registry=r)
        self.swept = Counter(
            "engage_swept_clients",
            "Clients evaluated because timed rules, tiers or segments are new, by result.",
            ["result"],
            registry=r,
        )
        self.waiting = Gauge("engage_waiting", "1 while a system is away.", ["system"], registry=r)
        self.redis_evicts = Gauge("engage_redis_evicts", "1 while Redis says that it evicts keys.", registry=r)
        self.redis_used = Gauge(
            "engage_redis_used_bytes", "Memory in use, of the Redis server with the least room.", registry=r
        )
        self.redis_limit = Gauge(
            "engage_redis_limit_bytes", "Its maxmemory, else its machine's memory; 0 if not known.", registry=r
        )
        self.cache_clients = Gauge("engage_cache_clients", "Client states in memory.", registry=r)
        self.rule_set = Gauge("engage_rule_set_info", "1 for the active rule set.", ["digest"], registry=r)
        self.rule_set_partitions = Gauge(
            "engage_rule_set_partitions",
            "Partitions of this worker, by the rule set they decide by.",
            ["digest"],
            registry=r,
        )
        self.rule_set_refused = Counter(
            "engage_rule_set_refused", "Rule sets refused; the last good one stayed.", registry=r
        )
        self.list_days_left = Gauge(
            "engage_list_days_left",
            "Days until a list of days, or calendar.yaml, ends; below 0 once it has.",
            ["list"],
            registry=r,
        )
        self.rule_paused = Gauge("engage_rule_paused", "1 for each rule that is paused.", ["rule"], registry=r)
        self.breaker_counted = Counter(
            "engage_breaker_counted", "Actions that the breaker has told all workers of.", registry=r
        )
        self.breaker_pauses = Counter("engage_breaker_pauses", "Rules that this worker's breaker paused.", registry=r)
        self.rule_set_stale = Gauge("engage_rule_set_stale", "1 while the newest rule set was refused.", registry=r)
        self.rule_sampled_events = Counter(
            "engage_rule_sampled_events", "Events whose rules' tests were timed one by one.", registry=r
        )
        self._counts: dict[str, Counter] = {  # by the name under which a processor counts
            "tier_changes": self.tier_changes,
            "tier_notices": self.tier_notices,
            "duplicates": self.duplicates,
            "late": self.late,
            "receipts": self.receipts,
            "dropped": self.dropped,
            "overrides": self.overrides,
            "corrections": self.corrections,
            "retracted": self.retracted,
            "care": self.care,
            "beyond": self.beyond,
            "unknown_zones": self.unknown_zones,
            "surveys": self.surveys,
            "survey_scores": self.survey_scores,
            "journeys": self.journeys,
            "budget_spent": self.budgets.spent,
            "pool_answers": self.pools.answers,
        }
        self._used: dict[int | None, RuleSet] = {}  # by the worker's partitions; None: by the worker itself
        self._outcomes: dict[str, Outcomes] = {}  # by digest of a rule set that is used
        self._moves: set[tuple[str, str, str]] = set()
        self._notices: set[tuple[str, str]] = set()
        self._of_types = {name: self._counts[name] for name in DECLARED} | {"unread": self.unread}
        self._declared: set[tuple[str, ...]] = set()  # series that a rule set declares: which of the above, its labels
        self._begin()

    def _begin(self) -> None:
        """The series whose labels are known whatever the rules."""
        for system in ("kafka", "redis"):
            self.waiting.labels(system).set(0)
        for step in ("publish", "apply"):
            self.commit_seconds.labels(step)
        for cause in UNIT_CAUSES:
            self.units.labels(cause)
        for cause in RECOVERY_CAUSES:
            self.recoveries.labels(cause)
        for result in ("changed", "unchanged"):
            self.swept.labels(result)
        for topic in (name for name in intake_topics() if name != REROUTED):
            for counter in (self.events, self.rerouted):
                counter.labels(topic)
        for name, kind in TOPICS.items():
            for counter in (self.duplicates, self.late):
                counter.labels(name)
            for field in fields_that_may_be_unread(kind):
                self.unread.labels(name, field)
        for channel in TOPICS["receipts"].choices("channel"):
            for status in TOPICS["receipts"].choices("status"):
                self.receipts.labels(channel, status)
        for what in ("positions", "accounts", "follow_ups"):
            self.dropped.labels(what)
        for zone in ("missing", "invalid"):
            self.unknown_zones.labels(zone)
        for decided in TOPICS["overrides"].choices("kind"):
            self.overrides.labels(decided, "")
        self.overrides.labels("snooze", "unknown_rule")
        self.overrides.labels("tier", "unknown_tier")
        for kind_of_action in TOPIC_OF_KIND:
            self.retracted.labels(kind_of_action)
        for followed in product(CARED_KINDS, get_args(CareStepName)):
            self.care.labels(*followed)
        for name in CORRECTABLE:
            for result in RESULTS if name != EVENTS else ():
                self.corrections.labels(name, result)
            if name != EVENTS:
                self.beyond.labels(name)
        for topic in intake_topics():
            for reason in Rejection:
                self.rejected.labels(topic, reason.value)

    def committed(
        self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: Sequence[bytes]
    ) -> None:
        """Count a unit once it is committed, so that what is counted has happened."""
        self.units.labels(cause).inc()
        self.unit_records.observe(unit.records)
        self.ledger_records.inc(len(records))
        self.ledger_bytes.inc(sum(map(len, records)))
        for topic, times in unit.events.items():
            self.events.labels(topic).inc(times)
        for (topic, reason), times in unit.rejected.items():
            self.rejected.labels(topic, reason).inc(times)
        for (topic, field), times in unit.unread.items():
            self.unread.labels(topic, field).inc(times)
        for topic, times in unit.rerouted.items():
            self.rerouted.labels(topic).inc(times)
        for (name, *labels), times in unit.counts.items():
            if name == "decisions":
                self.rules.decided(labels[0], labels[1], times)
            elif name != "freed":  # of those, for the breaker
                self._counts[name].labels(*labels).inc(times)
            if name == "tier_changes":
                self._moves.add((labels[0], labels[1], labels[2]))  # from a tier that is gone, perhaps
            elif name == "tier_notices":
                self._notices.add((labels[0], labels[1]))
        if unit.tallies:
            self.population(partition, tallies)

    def population(self, partition: int, tallies: Mapping[str, int]) -> None:
        """Show a partition's clients by what they are counted as; what has lost its last client is shown no longer."""
        for gauge in self._population.values():
            gauge.remove_by_labels({"partition": str(partition)})
        for label, clients in tallies.items():
            what, *named = told_by(label)
            self._population[what].labels(partition, *named).set(clients)

    def uses(self, partition: int | None, rule_set: RuleSet) -> None:
        """A partition decides by this rule set from now on; None: the worker will, with whatever partition it gets."""
        self._used[partition] = rule_set
        self._show_what_is_used()

    def _show_what_is_used(self) -> None:
        """The series of every rule and tier that any partition uses, and no others: partitions change one by one."""
        by_digest = {rule_set.digest: rule_set for rule_set in self._used.values()}
        used = by_digest.values()
        self._outcomes = {digest: self._outcomes.get(digest) or outcomes_of(by_digest[digest]) for digest in by_digest}
        self.rules.keep(merged(self._outcomes.values()))
        moves = {move for rule_set in used for move in tier_moves(rule_set.tiers)}
        for gone in self._moves - moves:
            self.tier_changes.remove(*gone)
        for new in moves - self._moves:
            self.tier_changes.labels(*new)
        self._moves = moves
        notices = {about for rule_set in used for about in notices_of(rule_set.tiers)}
        for gone_notice in self._notices - notices:
            self.tier_notices.remove(*gone_notice)
        for new_notice in notices - self._notices:
            self.tier_notices.labels(*new_notice)
        self._notices = notices
        series = {label for rule_set in used for label in of_rule_set(rule_set)}
        for counter, *labels in self._declared - series:
            self._of_types[counter].remove(*labels)
        for counter, *labels in series - self._declared:
            self._of_types[counter].labels(*labels)
        self._declared = series

    def lists_end(self, days_left: Mapping[str, int]) -> None:
        self.list_days_left.clear()
        for name, left in days_left.items():
            self.list_days_left.labels(name).set(left)

    def partition_state(self, partition: int, state: str) -> None:
        for known in STATES:
            self.state.labels(partition, known).set(1 if known == state else 0)

    def forget(self, partition: int) -> None:
        """A partition that is another worker's now must not be shown here."""
        for gauge in (*self._population.values(), self.lag, self.lag_seconds, self.held, self.state):
            gauge.remove_by_labels({"partition": str(partition)})
        if self._used.pop(partition, None) is not None:
            self._show_what_is_used()

    def rule_set_in_force(self, digest: str) -> None:
        self.rule_set.clear()
        self.rule_set.labels(digest).set(1)

    def rule_sets_by_partition(self, digests: Iterable[str]) -> None:
        self.rule_set_partitions.clear()
        for digest in digests:
            self.rule_set_partitions.labels(digest).inc()

    def rules_paused(self, rules: Iterable[str]) -> None:
        self.rule_paused.clear()
        for rule in rules:
            self.rule_paused.labels(rule).set(1)

    def text(self) -> bytes:
        return generate_latest(self._plain) + self.rules.text()

    def page(self, accept: str) -> tuple[bytes, str]:
        """What a scraper reads, and its content type: OpenMetrics for those who ask for it, else Prometheus' text."""
        if "application/openmetrics-text" not in accept:
            return self.text(), CONTENT_TYPE_LATEST
        plain = openmetrics.generate_latest(self._plain)
        return plain.removesuffix(END) + self.rules.text(of_counters="") + END, openmetrics.CONTENT_TYPE_LATEST

"""Whether a worker is well: what it waits for, which partitions run, whether its rules are the newest. And its pages.

Enters: what runners and the group report. Leaves: reasons, web pages. Holds: metrics show what is kept here, and are
never read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from faust.web import Request, Response, Web

from engine.core.client.record import of_unknown
from engine.runtime.observe.metrics import Metrics
from engine.runtime.redis.eviction import MemoryWatch
from engine.runtime.rule_sets.breaker import Breaker
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.worker.partitions import Partitions
from engine.runtime.worker.waiting import Waiting

TROUBLE_CHARACTERS: Final = 2000


class Health:
    def __init__(
        self,
        waiting: Waiting,
        partitions: Partitions,
        rule_sets: RuleSets,
        memory: MemoryWatch | None = None,
        breaker: Breaker | None = None,
        further: Sequence[Partitions] = (),
    ) -> None:
        self._waiting = waiting
        self._partitions = partitions
        self._rule_sets = rule_sets
        self.memory = memory
        self._breaker = breaker
        self._further = further  # of processors beside the one of clients

    def not_ready(self) -> list[str]:
        """Why this worker is not ready, empty when it is. A worker without partitions is a ready spare."""
        reasons = [] if self._partitions.joined else ["has no assignment from its group yet"]
        reasons += [f"{system} is away" for system in self._waiting.systems]
        reasons += [
            f"partition {r.number} is not running" + (f": {r.trouble}" if r.trouble else "")
            for r in self._partitions.runners()
            if not r.ready
        ]
        reasons += [
            f"partition {r.number} of pools is not running" + (f": {r.trouble}" if r.trouble else "")
            for partitions in self._further
            for r in partitions.runners()
            if not r.ready
        ]
        return reasons

    def report(self) -> dict[str, Any]:
        """Amber: it works, but somebody has to act."""
        reasons, trouble = self.not_ready(), self._rule_sets.trouble
        warnings = [trouble[:TROUBLE_CHARACTERS]] if trouble else []
        warnings += self._rule_sets.warnings()
        warnings += self._unknown()
        warnings += [self.memory.warning] if self.memory and self.memory.warning else []
        warnings += [self._breaker.trouble] if self._breaker and self._breaker.trouble else []
        warnings += [warning for runner in self._partitions.runners() for warning in runner.warnings]
        return {
            "state": "red" if reasons else "amber" if warnings else "green",
            "ready": not reasons,
            "reasons": reasons,
            "warnings": warnings,
            "rule_set": self._rule_sets.in_words(),
            "rule_set_stale": trouble is not None,
        }

    def _unknown(self) -> list[str]:
        """What corrections left unknown, of the clients of this worker's partitions."""
        clients: Counter[str] = Counter()
        for runner in self._partitions.runners():
            clients.update({name: n for label, n in runner.tallies.items() if (name := of_unknown(label))})
        left = {name: clients[name] for name in sorted(clients.keys() & self._rule_sets.fillable)}
        said = ", ".join(f"{name} ({n} clients)" for name, n in left.items())
        return [f"corrections left values unknown: {said}: run `engage backfill {' '.join(left)}`"] if left else []


def add_pages(app: Any, health: Health, metrics: Metrics, partitions: Partitions, rule_sets: RuleSets) -> None:
    """/metrics, /health/live, /health/ready and /health. Faust asks of a page what its own pages do not do."""

    @app.page("/metrics")
    async def show_metrics(web: Web, request: Request) -> Response:
        runners = partitions.runners()
        metrics.cache_clients.set(sum(runner.cached for runner in runners))
        if health.memory is not None:
            metrics.redis_evicts.set(health.memory.evicts)
            metrics.redis_used.set(health.memory.fullest.used_bytes)
            metrics.redis_limit.set(health.memory.fullest.limit_bytes)
        metrics.lists_end(rule_sets.days_left())
        metrics.rule_sets_by_partition(runner.rule_set for runner in runners)
        text, content_type = metrics.page(request.headers.get("Accept", ""))
        return web.bytes(text, headers={"Content-Type": content_type})

    @app.page("/health/live")
    async def live(web: Web, request: Request) -> Response:
        return web.json({"live": True})

    async def ready(web: Web, request: Request) -> Response:
        body = health.report()
        return web.json(body, status=200 if body["ready"] else 503)

    for path in ("/health/ready", "/health"):
        app.page(path)(ready)

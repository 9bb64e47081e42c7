"""Who of the workers gets which partition: as even as can be, and each stays where it is if that can be.

Enters: what each worker says it holds. Leaves: what each is to hold.
Holds: pure but for `Sharing`, which remembers what its worker was given last. Every partition has one owner; shares
differ by one at most. A restart of one worker after another moves no partition more than twice: what a worker leaves
behind is lent to the others, and whoever comes next is given just that. So no worker needs a name that outlives it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

VERSION: Final = 0  # of the group protocol's own messages


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker holds, each part in the order in which it came, and the round of sharing that gave it. `lent`: left
    behind by a worker that has gone.
    """

    own: tuple[int, ...] = ()
    lent: tuple[int, ...] = ()
    round: int = 0

    @property
    def all(self) -> tuple[int, ...]:
        return self.own + self.lent


def share_out(said: Mapping[str, Share], partitions: Collection[int]) -> dict[str, Share]:
    """By worker. Of two that say they hold a partition, the later round is right: the other one slept."""
    held = _undisputed(said, partitions)
    round_ = max((share.round for share in said.values()), default=0) + 1
    homeless = sorted(set(partitions).difference(*(share.all for share in held.values())))
    newcomers = sorted(worker for worker, share in held.items() if not share.all)
    quotas = _quotas(held, newcomers, len(partitions), len(homeless))
    kept: dict[str, Share] = {}
    given_up: list[int] = []
    for worker in sorted(held):
        own, lent = held[worker].own[: quotas[worker]], held[worker].lent
        lent = lent[: quotas[worker] - len(own)]
        kept[worker] = Share(own, lent, round_)
        given_up += held[worker].all[len(own) + len(lent) :]
    # a newcomer takes the place of whoever left: what is left behind, then what was lent, which lies uppermost
    free = [(partition, True) for partition in homeless] + [(partition, False) for partition in given_up]
    for worker in newcomers:
        taken, free = free[: quotas[worker]], free[quotas[worker] :]
        kept[worker] = Share(tuple(partition for partition, _ in taken), (), round_)
    while free:
        for worker in sorted(kept, key=lambda worker: (len(kept[worker].all), worker)):
            if free and len(kept[worker].all) < quotas[worker]:
                partition, left_behind = free.pop(0)
                share, more = kept[worker], (partition,)
                kept[worker] = (
                    Share(share.own, share.lent + more, round_)
                    if left_behind and worker not in newcomers
                    else Share(share.own + more, share.lent, round_)
                )
    return kept


def _undisputed(said: Mapping[str, Share], partitions: Collection[int]) -> dict[str, Share]:
    """What each holds for certain: of partitions that are, and that nobody has been given since."""
    owner: dict[int, str] = {}
    for worker in sorted(said, key=lambda worker: (-said[worker].round, worker)):
        for partition in said[worker].all:
            owner.setdefault(partition, worker)

    def certain(worker: str, claimed: Iterable[int]) -> tuple[int, ...]:
        return tuple(p for p in dict.fromkeys(claimed) if owner[p] == worker and p in known)

    known = set(partitions)
    held = {}
    for worker, share in said.items():
        own = certain(worker, share.own)
        held[worker] = Share(own, certain(worker, (p for p in share.lent if p not in own)), share.round)
    return held


def _quotas(held: Mapping[str, Share], newcomers: Collection[str], partitions: int, homeless: int) -> dict[str, int]:
    """How many each gets. One more than others: those who keep more by it, or take over more."""
    least, over = divmod(partitions, max(len(held), 1))
    left = homeless + sum(len(share.lent) for share in held.values())

    def wants(worker: str) -> tuple[int, int, str]:
        share = held[worker]
        if worker in newcomers:
            return -(left // len(newcomers)), 0, worker
        return -len(share.own if newcomers else share.all), -len(share.all), worker

    first = sorted(held, key=wants)[:over]
    return {worker: least + (worker in first) for worker in held}


class Sharing(AbstractPartitionAssignor):  # type: ignore[misc]
    """Of one worker: says what it holds when it joins, and, where it leads the group, shares out.

    It bears the name of aiokafka's own, which 0.1 used, so that workers of both are one group: with two names aiokafka
    (0.14) joins twice, first with one of them alone.
    """

    name: Final = RoundRobinPartitionAssignor.name

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.share = Share()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        said = {"round": self.share.round, "own": self.share.own, "lent": self.share.lent}
        return ConsumerProtocolMemberMetadata(VERSION, sorted(topics), json.dumps(said).encode())

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        said = {member: _said(metadata.user_data) for member, metadata in members.items()}
        shares = share_out(said, cluster.partitions_for_topic(self._topic) or ())
        return {member: self._assignment(share) for member, share in shares.items()}

    def _assignment(self, share: Share) -> ConsumerProtocolMemberAssignment:
        told = {"round": share.round, "own": len(share.own)}
        return ConsumerProtocolMemberAssignment(VERSION, [(self._topic, list(share.all))], json.dumps(told).encode())

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        given = tuple(tp.partition for tp in assignment.partitions() if tp.topic == self._topic)
        try:
            told = json.loads(assignment.user_data or b"{}")
            own, round_ = int(told["own"]), int(told["round"])
        except (ValueError, TypeError, KeyError):  # a worker of 0.1 shared out
            own, round_ = len(given), self.share.round
        self.share = Share(given[:own], given[own:], round_)


def _said(user_data: bytes | None) -> Share:
    """A worker of 0.1 says nothing, and counts as one that holds nothing."""
    try:
        said = json.loads(user_data or b"{}")
        return Share(tuple(map(int, said["own"])), tuple(map(int, said["lent"])), int(said["round"]))
    except (ValueError, TypeError, KeyError):
        return Share()

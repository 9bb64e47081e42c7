"""A consumer group in memory: who has which partitions, and who only thinks so.

Enters: members that join, leave, or fall silent. Leaves: assignments, each told to its member at a time of its own.
Holds: between the moment a member lost a partition and the moment it learns of it, it goes on: a zombie.
"""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import TopicPartition

from tests.simulation.loop import Process
from tests.simulation.network import Network


class Member:
    """`tell` gives the member its partitions, in its own process."""

    def __init__(self, process: Process, tell: Callable[[list[TopicPartition]], None]) -> None:
        self.process = process
        self.tell = tell
        self.generation = 0
        self.left = False


class Group:
    def __init__(self, network: Network, partitions: list[TopicPartition]) -> None:
        self._network = network
        self._partitions = partitions
        self._members: list[Member] = []
        self._generation = 0
        self._due = False

    def join(self, member: Member) -> None:
        if member not in self._members:
            self._members.append(member)
        self.rebalance()

    def leave(self, member: Member) -> None:
        member.left = True
        self._remove(member)

    def _remove(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self.rebalance()

    def silent(self, process: Process) -> None:
        """The session of a process has run out. It learns so when it speaks again."""
        for member in [m for m in self._members if m.process is process]:
            self._network.seen["session ran out"] += 1
            self._remove(member)
            self._back(member)

    def _back(self, member: Member) -> None:
        """A member that was thrown out, and lives, comes back after a while."""
        if member.process.paused:
            self._network.later(0.2, self._back, member)
            return
        self._network.later(self._network.random.uniform(0.1, 4.0), self._return, member)

    def _return(self, member: Member) -> None:
        if member.left or not member.process.alive:
            return
        if member.process.paused:
            self._back(member)
        else:
            self.join(member)

    def rebalance(self) -> None:
        if not self._due:
            self._due = True
            self._network.later(self._network.random.uniform(0.02, 0.4), self._assign)

    def _assign(self) -> None:
        self._due = False
        self._members = [m for m in self._members if m.process.alive]
        self._generation += 1
        if not self._members:
            return
        members = list(self._members)
        self._network.random.shuffle(members)
        shares: dict[Member, list[TopicPartition]] = {member: [] for member in members}
        for index, tp in enumerate(self._partitions):
            shares[members[index % len(members)]].append(tp)
        for member, share in shares.items():
            member.generation = self._generation
            delay_s = self._network.random.choice((0.005, 0.05, 0.5, 2.0)) * self._network.random.random()
            self._network.later(delay_s, self._tell, member, self._generation, share)

    def _tell(self, member: Member, generation: int, share: list[TopicPartition]) -> None:
        if member in self._members and member.generation == generation and member.process.alive:
            self._network.note(f"assigned {[tp.partition for tp in share]}", member.process)
            member.tell(share)

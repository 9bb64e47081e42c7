"""Fetch sessions: a broker is asked only for what changed since the last fetch, and tells only of what has news.

Enters: from which offsets partitions are to be read. Leaves: requests for aiokafka to send.
Holds: what an answer leaves out is as it was. A session begins anew after any failure; brokers that know none are asked
for everything each time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.protocol import fetch

FIRST_VERSION: Final = 7  # of the request
LAST_EPOCH: Final = 2**31 - 1
MOST_BYTES: Final = 4_000_000  # of an answer, or a record if that is larger
LEAST_BYTES: Final = 1


class Asked(NamedTuple):
    """From which offset, and for how many bytes at most."""

    offset: int
    most_bytes: int


@dataclass(slots=True)
class Session:
    """With one broker."""

    number: int = 0  # given by the broker; with 0 the next fetch asks for a new one
    epoch: int = 0

    def goes_on(self, answer: Any) -> bool:
        """Whether the broker has what it was asked, after this answer."""
        if answer.API_VERSION < FIRST_VERSION or answer.error_code or not answer.session_id:
            self.number = self.epoch = 0
            return False
        self.number, self.epoch = answer.session_id, self.epoch % LAST_EPOCH + 1
        return True


class Fetch(fetch.Request[fetch.FetchRequestStruct]):
    """A request within a session, in the version that the broker takes.

    `asked`: all that is read. `news`: of these, what the session does not know yet; `gone`: what it knows and is not
    read now.
    """

    API_KEY = fetch.FetchRequest.API_KEY

    def __init__(
        self,
        session: Session,
        asked: dict[TopicPartition, Asked],
        news: dict[TopicPartition, Asked],
        gone: set[TopicPartition],
        *,
        wait_ms: int,
        isolation: int,
    ) -> None:
        self._session = session
        self._asked, self._news, self._gone = asked, news, gone
        self._wait_ms = wait_ms
        self._isolation = isolation

    def build(self, request_struct_class: Any) -> Any:
        in_session = request_struct_class.API_VERSION >= FIRST_VERSION and self._session.number
        topics = defaultdict(list)
        for tp, asked in (self._news if in_session else self._asked).items():
            topics[tp.topic].append((tp.partition, *asked))
        request = fetch.FetchRequest(
            self._wait_ms, LEAST_BYTES, MOST_BYTES, self._isolation, [*topics.items()], rack_id=""
        )
        built = request.build(request_struct_class)
        if request_struct_class.API_VERSION >= FIRST_VERSION:
            built.session_id, built.session_epoch = self._session.number, self._session.epoch
            gone = defaultdict(list)
            for tp in self._gone if in_session else ():
                gone[tp.topic].append(tp.partition)
            built.forgotten_topics_data = [*gone.items()]
        return built


def end_of(batches: bytes) -> int | None:
    """The offset after the last whole batch; None without a whole batch, or where an old format leaves it out."""
    begin, end = 0, None
    while begin + 27 <= len(batches):
        next_ = begin + 12 + int.from_bytes(batches[begin + 8 : begin + 12], "big")
        if next_ > len(batches) or batches[begin + 16] < 2:
            break
        base, last = batches[begin : begin + 8], batches[begin + 23 : begin + 27]
        end = int.from_bytes(base, "big") + int.from_bytes(last, "big") + 1
        begin = next_
    return end

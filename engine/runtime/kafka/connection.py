"""A connection to Kafka: how its clients start, read what is committed, fail and end.

Enters: settings, clients. Leaves: readers.
Holds: aiokafka is used by its public interface alone, but in wire/, for ending what does not end and for what it asks
too slowly; its errors become Fenced, Unavailable or Refused here and go no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidSessionTimeoutError,
    InvalidTimestampError,
    InvalidTransactionTimeout,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)

from engine.runtime.clients import Admin, Clients, Consumer, Producer
from engine.runtime.errors import Fenced, Refused, Surprised, Unavailable
from engine.runtime.kafka.wire.any_header import read_any_header
from engine.runtime.kafka.wire.metadata import share_metadata
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)
read_any_header()  # before a consumer is made
share_metadata()

MAX_REQUEST_BYTES: Final = 2**31 - 1  # each topic's max.message.bytes says what is too large
STALLED_S: Final = 30.0  # without a record of those that a log holds
TOLD_EVERY: Final = 500  # records between two words of how far a topic has been read
TRANSACTION_BACKOFF_MS: Final = 5  # how soon to ask again when the broker has not quite ended the last transaction
_DENIED: Final = (
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Kafka's errors in the engine's words."""
    try:
        yield
    except (ProducerFenced, InvalidProducerEpoch) as error:
        raise Fenced(str(error)) from error
    except _DENIED as error:
        raise Refused(
            f"Kafka refuses the credentials or their rights ({error!r}): see ENGAGE_KAFKA_USERNAME, "
            "ENGAGE_KAFKA_PASSWORD, ENGAGE_KAFKA_SASL_MECHANISM and Kafka's ACLs"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"Kafka's certificate is not accepted ({error.verify_message}): name the CA's file in ENGAGE_KAFKA_CA_FILE"
        ) from error
    except MessageSizeTooLargeError as error:
        raise Refused(
            f"a topic does not take a record as large as the engine has to write ({error}): raise max.message.bytes of "
            "the dead letters and the ledger, as `engage topics` says"
        ) from error
    except InvalidTimestampError as error:
        raise Refused(
            "a topic does not take a record's time: set the clocks of this machine and of the broker right, and the "
            "topic of rerouted records, which keep their times, as `engage topics` says"
        ) from error
    except (InvalidSessionTimeoutError, InvalidTransactionTimeout) as error:
        raise Refused(
            f"Kafka does not take session_timeout_s or transaction_timeout_s ({error!r}): the broker's "
            "group.min.session.timeout.ms, group.max.session.timeout.ms, transaction.max.timeout.ms say what it takes"
        ) from error
    except UnsupportedCodecError as error:
        raise Refused(
            f"records are compressed in a way that needs the package cramjam: install it ({error})"
        ) from error
    except (KafkaError, TimeoutError, OSError) as error:
        raise Unavailable("kafka", repr(error)) from error
    except AssertionError as error:
        if "bootstrap" not in str(error):
            raise
        # aiokafka looks for a coordinator while its last answer named no broker at all: of one that is only starting
        raise Unavailable("kafka", "it names no broker") from error


@contextlib.asynccontextmanager
async def sending(sends: list[asyncio.Future[Any]]) -> AsyncIterator[None]:
    """Adds to `sends`, of one transaction. When one fails, aiokafka leaves the transaction and refuses the next, for no
    reason that it names: raises what the failed one says.
    """
    try:
        yield
    except (IllegalOperation, AssertionError) as error:
        await asyncio.gather(*sends)
        raise Surprised(f"the transaction has ended by itself: {error}") from error


async def start(client: Admin | Consumer | Producer, settings: Settings) -> None:
    """Start a client. Raises Refused for wrong credentials, which aiokafka itself reports as no connection
    at all.
    """
    with errors():
        try:
            async with asyncio.timeout(15):
                await client.start()
        except KafkaConnectionError as error:
            await _try_credentials(settings)
            raise Unavailable("kafka", f"no broker answers at {settings.kafka}") from error


async def _try_credentials(settings: Settings) -> None:
    """Connect once as a client does; its errors, but not those of a broker that is away."""
    if settings.kafka_security == "PLAINTEXT":
        return
    names = ("request_timeout_ms", "security_protocol", "ssl_context", "sasl_")
    arguments = {name: value for name, value in settings.kafka_client().items() if name.startswith(names)}
    for host, port, _ in collect_hosts(settings.kafka):
        try:
            async with asyncio.timeout(5):
                (await create_conn(host, port, **arguments)).close()
        except (*_DENIED, ssl.SSLCertVerificationError):
            raise
        except (KafkaError, TimeoutError, OSError):
            continue


async def discard(client: Producer | Consumer | None) -> None:
    """End a client whose state is no longer of interest; never raises, never waits long. What a producer has not sent
    is not sent any more.
    """
    if client is None:
        return
    try:
        async with asyncio.timeout(3):
            await _abandon_sends(client)
            await client.stop()
    except (KafkaError, TimeoutError, OSError, RuntimeError, AssertionError) as error:
        log.debug("a Kafka client did not stop cleanly", error=repr(error))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # aiokafka lets the cancellation of a task of its own through: a member that was just leaving the group
    finally:
        await _disconnect(client)


async def _abandon_sends(client: Any) -> None:
    """aiokafka's stop sends all that waits first, again and again while Kafka does not answer, and its sender waits for
    tasks that do the same. So each of these is ended, and nothing is left to stop.
    """
    sender = getattr(client, "_sender", None)
    if sender is None:
        return
    client._closed = True
    while tasks := [task for task in asyncio.all_tasks() if _works_for(sender, task)]:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _works_for(sender: object, task: asyncio.Task[Any]) -> bool:
    """Whether the task runs a method of the sender; nothing else knows all of its tasks."""
    frame = getattr(task.get_coro(), "cr_frame", None)  # None: it has ended
    return frame is not None and frame.f_locals.get("self") is sender


async def _disconnect(client: Any) -> None:
    """Close the connections, and no longer ask for metadata."""
    connections = getattr(client, "client", None) or getattr(client, "_client", None)
    if connections is not None:
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            async with asyncio.timeout(1):
                await connections.close()


def tell_later(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler of every command's event loop. asyncio calls it for a failure that nobody asked for, in
    the middle of a garbage collection.

    Formatting a traceback there parses source, and when it is a parser that the collection interrupted, that one fails
    (SystemError, seen with CPython 3.11.7). So it is reported a turn later; the partition has already reported
    what clients inside aiokafka leave behind when they are fenced or cut off.
    """
    said: dict[str, Any] = {name: context[name] for name in ("message", "exception") if name in context}
    if loop.is_closed() or isinstance(context.get("exception"), KafkaError | OSError):
        return
    loop.call_soon(loop.default_exception_handler, said)


class reader:
    """A group-less consumer, for a while; read_committed unless `options` say otherwise. `topics`: those whose offsets
    it will be asked for.
    """

    def __init__(self, settings: Settings, clients: Clients, topics: Collection[str] = (), **options: Any) -> None:
        self._settings = settings
        self._topics = topics
        self._consumer = clients.consumer(
            **settings.kafka_client(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            **{
                "isolation_level": "read_committed",
                "max_partition_fetch_bytes": 1_048_576,
                "check_crcs": settings.kafka_checksums,
                **options,
            },
        )

    async def __aenter__(self) -> Consumer:
        try:
            await start(self._consumer, self._settings)
            await _find_leaders(self._consumer, self._topics)
        except BaseException:
            await discard(self._consumer)
            raise
        return self._consumer

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await discard(self._consumer)
        if error is not None:
            with errors():
                raise error


async def _find_leaders(consumer: Any, topics: Collection[str]) -> None:
    """Of all topics at once. aiokafka itself finds them out when it is asked for offsets, one topic after another, and
    pauses for 100 ms after each: half a second of every partition's start.
    """
    connections = getattr(consumer, "_client", None)
    if connections is not None and topics:
        with errors():
            async with asyncio.timeout(15):
                await connections.set_topics(topics)


async def log_bounds(settings: Settings, clients: Clients, tp: TopicPartition) -> tuple[int, int]:
    """The first offset of the log, and its end. To a read_committed consumer it ends where the first open transaction
    begins, whoever's, though others have committed behind that.
    """
    async with reader(settings, clients, [tp.topic], isolation_level="read_uncommitted") as consumer:
        return (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]


def unreadable(tp: TopicPartition, offset: int) -> str:
    return (
        f"what was written to {tp.topic}, partition {tp.partition}, from offset {offset} on cannot be read: a "
        "transaction of another program is open there. Find its producer, and end it (kafka-transactions.sh "
        "find-hanging, abort)"
    )


async def records_between(consumer: Consumer, tp: TopicPartition, first: int, end: int) -> AsyncIterator[Any]:
    """Committed records with offsets in [first, end); control records take offsets too, so it reads while position <
    end.
    """
    if first >= end:
        return  # and no assign: aiokafka's stop hangs when it follows at once on a change of assignment
    consumer.assign([tp])
    consumer.seek(tp, first)
    clock = asyncio.get_running_loop().time
    stalled_at = clock() + STALLED_S
    while await consumer.position(tp) < end:
        # what is left may be nothing but markers: such a read waits its whole timeout, so it is short
        fetched = await consumer.getmany(tp, timeout_ms=100)
        for record in fetched.get(tp, ()):
            if record.offset >= end:
                return
            yield record
        if fetched:
            stalled_at = clock() + STALLED_S
        elif clock() > stalled_at:
            at, stable = await consumer.position(tp), consumer.last_stable_offset(tp)
            if stable is not None and 0 <= stable <= at:
                raise Unavailable("kafka", unreadable(tp, at))
            raise Unavailable("kafka", f"{tp.topic}-{tp.partition} gives no records at {at}, end {end}")


async def telling(records: AsyncIterator[Any], moved: Callable[[int], None]) -> AsyncIterator[Any]:
    """The same records; `moved(offset)` hears now and then how far they have been read."""
    async for record in records:
        yield record
        if record.offset % TOLD_EVERY == 0:
            moved(record.offset)


async def partition_counts(settings: Settings, clients: Clients, names: list[str]) -> dict[str, int]:
    """Number of partitions of each topic that exists."""
    async with reader(settings, clients) as consumer:
        existing = await consumer.topics()
    producer = clients.producer(**settings.kafka_client())
    with errors():
        try:
            await start(producer, settings)
            return {name: len(await producer.partitions_for(name)) for name in names if name in existing}
        finally:
            await discard(producer)

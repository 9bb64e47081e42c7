"""Redis beyond the Store, on a real Valkey: how many partitions it was built with, its errors, looking at clients."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from click.testing import CliRunner
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    ResponseError,
    TimeoutError,
)

from engine.cli.main import main
from engine.core.client.record import PUBLIC_FIELDS
from engine.operations import snapshot
from engine.operations.explain import tell_waits
from engine.operations.replay import states_hash
from engine.runtime.clients import Clients, redis_client
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.writes import encode_writes
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.pins import pin_ledger, pin_partitions, pinned_partitions
from engine.runtime.redis.reading import on_one_screen, packed_states, read_client
from engine.runtime.redis.store import RedisStore
from engine.runtime.redis.upkeep import flushed
from engine.runtime.settings import Settings
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule, shipped_plan, trade
from tests.core.test_answers import came
from tests.runtime.driving import pack_all
from tests.services.process import free_port
from tests.services.redis import RedisServer

_apps = itertools.count()


@pytest.fixture
def app_id() -> str:
    return f"redis-{next(_apps)}"


@pytest.fixture
async def redis(redis_server):
    async with redis_client(Settings(redis=redis_server.url)) as redis:
        yield redis


async def test_the_number_of_partitions_is_pinned_once(redis, app_id):
    with pytest.raises(Refused, match=f"this Redis holds no state of an engine with --app-id {app_id}"):
        await pinned_partitions(redis, app_id)
    await pin_partitions(redis, app_id, 4, ledger_is_empty=True)
    await pin_partitions(redis, app_id, 4, ledger_is_empty=False)
    assert await pinned_partitions(redis, app_id) == 4
    with pytest.raises(Refused, match=r"built with 4 partitions, the topics have 8: .*Recreate the topics with 4"):
        await pin_partitions(redis, app_id, 8, ledger_is_empty=True)
    assert await pinned_partitions(redis, app_id) == 4


async def test_a_redis_that_fails_over_after_each_answer_is_not_taken_for_another_one(redis, app_id):
    """Found by the simulation (seed 75189): what was pinned had gone before it was asked for."""

    class Forgetful:
        def __getattr__(self, command):
            async def answer(*args, **options):
                found = await getattr(redis, command)(*args, **options)
                await redis.delete(*await redis.keys(f"{{{app_id}}}*") or ["none"])
                return found

            return answer

    await pin_partitions(Forgetful(), app_id, 4, ledger_is_empty=True)
    await pin_ledger(Forgetful(), app_id, "engage-ledger")


async def test_an_emptied_redis_under_a_ledger_is_refused(redis, app_id):
    with pytest.raises(Refused, match=r"holds no state but the ledger has records: .*rebuild"):
        await pin_partitions(redis, app_id, 4, ledger_is_empty=False)
    with pytest.raises(Refused):
        await pinned_partitions(redis, app_id)  # and nothing was begun


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ConnectionError("refused"), Unavailable),
        (TimeoutError("slow"), Unavailable),
        (OSError("no route"), Unavailable),
        (BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (ClusterDownError("The cluster is down"), Unavailable),
        (NoScriptError("No matching script. Please use EVAL."), Unavailable),
        (ResponseError("MISCONF Valkey is configured to save RDB snapshots"), Unavailable),
        (ResponseError("ERR user_script:3: attempt to index nil"), ResponseError),
        (AuthenticationError("invalid username-password pair"), Refused),
        (ResponseError("NOAUTH Authentication required."), Refused),
        (ResponseError("NOPERM this user has no permissions"), Refused),
    ],
)
def test_an_error_says_whether_waiting_helps(error, raised):
    with pytest.raises(raised), redis_errors():
        raise error


@pytest.mark.parametrize(
    ("wrong", "well"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
)
async def test_a_server_that_cannot_write_now_is_waited_for(redis, app_id, wrong, well):
    """As the server and redis-py say it, of a command and of a script: full, without replicas, after a failover."""
    store = RedisStore(redis, app_id, 0)
    await store.apply(b"", b"1", encode_writes([]))
    await redis.execute_command(*wrong.split())
    try:
        with pytest.raises(Unavailable):
            await store.apply(b"1", b"2", encode_writes([]))
        with pytest.raises(Unavailable):
            await pin_partitions(redis, app_id, 4, ledger_is_empty=True)
    finally:
        await redis.execute_command(*well.split())
    assert await store.apply(b"1", b"2", encode_writes([])) == b"2"


async def test_nobody_there():
    async with redis_client(Settings(redis="redis://127.0.0.1:1/0")) as redis:
        with pytest.raises(Unavailable, match="redis is away"):
            await RedisStore(redis, "x", 0).position()


async def test_flushed_is_what_other_connections_wrote(app_id):
    """A Redis that never flushes: to a connection that wrote nothing WAITAOF says at once that all is done."""
    with RedisServer(appendfsync="no") as server:
        async with (
            redis_client(Settings(redis=server.url)) as redis,
            redis_client(Settings(redis=server.url)) as writer,
        ):
            await pin_partitions(writer, app_id, 4, ledger_is_empty=True)
            await RedisStore(writer, app_id, 3).apply(b"", b"one", encode_writes([]))
            with pytest.raises(Unavailable, match="the append-only file was not flushed in time"):
                await flushed(redis, app_id, wait_ms=100)
            await writer.config_set("appendfsync", "everysec")
            await flushed(redis, app_id)
            assert await pinned_partitions(redis, app_id) == 4


async def test_a_script_that_the_server_forgot_is_sent_again(redis, app_id):
    store = RedisStore(redis, app_id, 0)
    await store.apply(b"", b"one", encode_writes([]))
    await redis.script_flush()
    assert (await store.load(["a"]))[:2] == (b"one", [None])
    await redis.script_flush()
    assert await store.apply(b"one", b"two", encode_writes([])) == b"two"


async def filled(redis, app_id: str) -> Desk:
    """Clients of the shipped rules on four partitions, as workers would leave them."""
    desk = Desk(shipped_plan())
    for number in range(30):
        me = {"client_id": f"c{number}"}
        desk.take(profile(at(0), **me, advisor_id="adv-1", consents=("sms", "app_push")))
        desk.take(balance(at(0), 2_000_000, **me, kind="deposit", amount_fen=200_000_000), login(at(1), **me))
        desk.take(balance(at(2), 100_000, **me, kind="transfer_out", amount_fen=190_000_000))
    await pin_partitions(redis, app_id, 4, ledger_is_empty=True)
    for partition in range(4):
        mine = [c for c in desk.states.values() if partitioner(4)(c.client_id.encode()) == partition]
        assert mine
        writes = encode_writes(pack_all(desk.plan, mine))
        position = Position.after(1, "ab", End({"logins": 1}, len(mine)).encode())
        await RedisStore(redis, app_id, partition).apply(b"", position.text, writes)
    return desk


async def test_all_states_and_their_hash(redis, app_id):
    desk = await filled(redis, app_id)
    expected = {write.key: write.state for write in pack_all(desk.plan, desk.states.values())}
    found = {pair[0]: pair[1] for number in range(4) async for pair in packed_states(redis, app_id, number)}
    assert found == expected
    assert states_hash(found.items()) == states_hash(expected.items())


async def test_a_snapshot_in_the_middle_of_which_redis_starts_anew_is_none(tmp_path, monkeypatch):
    """The connection may be made again in silence, and a server's cursor names only some clients to another one."""
    with RedisServer() as server:
        async with redis_client(Settings(redis=server.url)) as redis:
            await filled(redis, "engage")

            async def states(redis, app_id, partition):
                async for pair in packed_states(redis, app_id, partition):
                    yield pair
                if partition == 1:
                    await asyncio.to_thread(server.kill)
                    server.start()
                    await asyncio.sleep(0.1)  # until the client has heard that its connection is gone

            assert await snapshot.take(Settings(), redis, tmp_path / "whole") == 30
            monkeypatch.setattr(snapshot, "packed_states", states)
            with pytest.raises(Unavailable, match="during the snapshot: take the snapshot again"):
                await snapshot.take(Settings(), redis, tmp_path / "not-whole")
            assert [path.name for path in tmp_path.iterdir()] == ["whole"]


async def test_a_client_on_one_screen(redis, app_id):
    await filled(redis, app_id)
    assert await read_client(redis, app_id, "nobody") is None
    record = await read_client(redis, app_id, "c3")
    assert record is not None
    assert set(PUBLIC_FIELDS) <= record.keys()
    assert (record["tier"], record["advisor"], record["assets_cny"]) == ("A", "adv-1", "100000.00")
    assert record["tier_history"] == [{"time": "2026-02-16T04:00:00.000Z", "from": None, "to": "A"}]
    newest = record["last_actions"][0]
    assert newest["time"] == "2026-02-18T04:00:00.000Z"
    screen = on_one_screen(record)
    assert len(screen.splitlines()) <= 45
    assert "- -> A" in screen
    assert "  not known        age_band, region, risk_level" in screen.splitlines()
    assert "transfer-out" in screen
    assert f"  last action      {newest['time']}" in screen.splitlines()
    assert newest["rule"] in screen


async def test_the_record_of_a_client_of_whom_next_to_nothing_is_known(redis, app_id):
    desk = Desk(shipped_plan())
    desk.take(login(at(0)))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    writes = encode_writes(pack_all(desk.plan, desk.states.values()))
    await RedisStore(redis, app_id, 0).apply(b"", b"one", writes)
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    assert record["tier"] is None
    assert "  tier             -" in on_one_screen(record).splitlines()
    assert record["late_events"] == []


JOURNEYS = """\
journeys:
  - id: way
    title: T
    owner: wealth
    description: D.
    entry: {on: trades}
    goal: client.open_complaints > 0
    steps:
      rest: {wait: 1d}
      look: {wait: {on: logins, when: login.success, timeout: 3d, otherwise: end}}
      rich: {wait: {until: client.assets_cny > 5}}
      say: {act: {kind: message, audience: client, channels: [sms], priority: 50, expires: 2d, template: t}}
"""


@pytest.mark.parametrize(
    ("events", "step", "since", "awaited"),
    [
        ((), "rest", "2026-02-17", (None, "2026-02-18T04:00:00.000Z")),
        (
            (login(at(2.5), success=False),),
            "look",
            "2026-02-18",
            ("logins where login.success", "2026-02-21T04:00:00.000Z"),
        ),
        ((login(at(2.5), success=True),), "rich", "2026-02-18", ("client.assets_cny > 5", None)),
    ],
)
async def test_journeys_are_shown_with_what_they_wait_for(redis, app_id, tmp_path, events, step, since, awaited):
    plan = plan_of(others=(("journeys/way.yaml", JOURNEYS),))
    desk = Desk(plan)
    desk.take(profile(at(0)), trade(at(1)), *events)
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    await RedisStore(redis, app_id, 0).apply(b"", b"one", encode_writes(pack_all(desk.plan, desk.states.values())))
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    (one,) = record["journeys"]
    assert (one["journey"], one["step"], one["ended"]) == ("way", step, None)
    assert (one["began_at"], one["since"][:10]) == ("2026-02-17T04:00:00.000Z", since)
    began = f"  2026-02-17T04:00:00.000Z  way: at {step} since {one['since']}"
    assert began in on_one_screen(record).splitlines()

    for name, text in plan.rule_set.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = Settings(app_id=app_id, rules=tmp_path)
    assert await tell_waits(settings, Clients(), redis, "c1", record["journeys"]) == ""
    assert (one["waits_for"], one["until"]) == awaited
    said = f", waits for {awaited[0]}" * (awaited[0] is not None) + f", until {awaited[1]}" * (awaited[1] is not None)
    assert began + said in on_one_screen(record).splitlines()


async def test_what_a_journey_waits_for_is_not_known_without_rules(redis, app_id):
    one = {"journey": "way", "step": "rest"}
    settings = Settings(app_id=app_id, kafka=f"127.0.0.1:{free_port()}")
    assert (await tell_waits(settings, Clients(), redis, "c1", [one])).startswith("kafka is away: ")
    assert "waits_for" not in one


async def test_a_journey_that_has_ended_says_why(redis, app_id):
    desk = Desk(plan_of(others=(("journeys/way.yaml", JOURNEYS),)))
    desk.take(profile(at(0)), trade(at(1)), came("complaints", at(1.5), complaint_id="K", status="opened"))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    await RedisStore(redis, app_id, 0).apply(b"", b"one", encode_writes(pack_all(desk.plan, desk.states.values())))
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    assert (record["journeys"][0]["step"], record["journeys"][0]["ended"]) == (None, "goal")
    said = "  2026-02-17T04:00:00.000Z  way: ended at 2026-02-17T16:00:00.000Z, goal"
    assert said in on_one_screen(record).splitlines()


async def test_outcomes_that_count_others_are_shown(redis, app_id):
    desk = Desk(plan_of(rule("r", cooldown="30d", kind="task", audience="team")))
    desk.take(*(login(at(day)) for day in range(4)))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    writes = encode_writes(pack_all(desk.plan, desk.states.values()))
    await RedisStore(redis, app_id, 0).apply(b"", b"one", writes)
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    assert [(a["outcome"], a["times"]) for a in record["last_actions"]] == [("cooldown", 3), ("sent", 1)]


async def test_events_that_came_late_are_shown(redis, app_id):
    desk = Desk(shipped_plan())
    desk.take(login(at(2)), trade(at(1)))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    writes = encode_writes(pack_all(desk.plan, desk.states.values()))
    await RedisStore(redis, app_id, 0).apply(b"", b"one", writes)
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    late = {"topic": "trades", "time": "2026-02-17T04:00:00.000Z", "came_at": "2026-02-18T04:00:00.000Z"}
    assert record["late_events"] == [late]
    assert "trades, when the client stood at 2026-02-18T04:00:00.000Z" in on_one_screen(record)


async def test_what_staff_decided_is_shown(redis, app_id):
    desk = Desk(shipped_plan())
    said = {"kind": "do_not_contact", "by": "S-2", "reason": "by letter"}
    desk.take(login(at(0)), came("overrides", at(1), **said))
    desk.take(came("overrides", at(2), kind="tier", tier="A", starts_at=at(3), until=at(9), by="S-1", reason=None))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    await RedisStore(redis, app_id, 0).apply(b"", b"one", encode_writes(pack_all(desk.plan, desk.states.values())))
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    moments = ("2026-02-17", "2026-02-18", "2026-02-19", "2026-02-25")
    said_at, later, begins, ends = (f"{day}T04:00:00.000Z" for day in moments)
    assert [(one["kind"], one["by"], one["from"], one["until"], one["withdrawn"]) for one in record["overrides"]] == [
        ("tier", "S-1", begins, ends, False),
        ("do_not_contact", "S-2", said_at, None, False),
    ]
    screen = on_one_screen(record)
    assert f"  tier A from {begins} until {ends}, by S-1 at {later}: no reason is known\n" in screen
    assert f"  do not contact for good, by S-2 at {said_at}: by letter\n" in screen


async def test_consents_are_shown_with_their_time_and_source(redis, app_id):
    desk = Desk(shipped_plan())
    said = {"consents": {"sms": True, "email": True}, "marketing_consents": {"email": True}, "consent_source": "app"}
    desk.take(came("profiles", at(1), **said), came("receipts", at(2), channel="sms", status="opted_out"))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    await RedisStore(redis, app_id, 0).apply(b"", b"one", encode_writes(pack_all(desk.plan, desk.states.values())))
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    assert record["consents_by_purpose"]["risk"]["sms"] == {
        "status": "withdrawn", "time": "2026-02-18T04:00:00.000Z", "source": "receipt",
        "said": "withdrawn at 2026-02-18T04:00:00.000Z, by receipt",
    }  # fmt: skip
    screen = on_one_screen(record)
    assert "  consents         email; said at 2026-02-17T04:00:00.000Z, by app\n" in screen
    line = next(line for line in screen.splitlines() if line.startswith("    marketing"))
    assert "; email granted at 2026-02-17T04:00:00.000Z, by app;" in line


async def test_the_notice_of_a_demotion_is_shown(redis, app_id):
    desk = Desk(shipped_plan())
    desk.take(profile(at(0)), balance(at(0), 2_000_000), balance(at(1), 1_000))
    desk.tick_all(at(5))
    await pin_partitions(redis, app_id, 1, ledger_is_empty=True)
    await RedisStore(redis, app_id, 0).apply(b"", b"one", encode_writes(pack_all(desk.plan, desk.states.values())))
    record = await read_client(redis, app_id, "c1")
    assert record is not None
    assert (record["tier"], record["tier_at_risk"]["falls_to"]) == ("A", "B")
    assert record["tier_at_risk"]["falls_at"] == "2026-04-01T00:00:00.000Z"  # a month, and the review after it
    said = f"at risk since {record['tier_at_risk']['since']}: falls to B at 2026-04-01T00:00:00.000Z"
    assert on_one_screen(record).splitlines()[3].split() == ["tier_since", *record["tier_since"].split()]
    assert said in on_one_screen(record)


async def test_the_commands(redis, redis_server, app_id):
    desk = await filled(redis, app_id)

    def engage(*arguments: str):
        return CliRunner().invoke(main, [*arguments, "--redis", redis_server.url, "--app-id", app_id])

    shown = await asyncio.to_thread(engage, "client", "c3")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "client c3")
    record = json.loads((await asyncio.to_thread(engage, "client", "c3", "--json")).stdout)
    assert record["tier"] == "A"
    unknown = await asyncio.to_thread(engage, "client", "nobody")
    assert unknown.exit_code == 1
    assert "no client nobody is known" in unknown.stderr
    states = await asyncio.to_thread(engage, "states")
    packed = [(write.key, write.state) for write in pack_all(desk.plan, desk.states.values())]
    assert states.stdout == f"clients 30\nstates {states_hash(packed)}\n"

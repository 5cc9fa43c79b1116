"""What goes wrong between us and the server: each failure has a fate, and none of them loses or doubles anything."""

import asyncio
import importlib
import inspect
import os
import pkgutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis import exceptions as lib

from l07 import errors
from l07.backends.embedded import EmbeddedRedis
from l07.backends.redis import BufferRules, RedisBuffer, connect, connect_socket
from l07.backends.redis.client import answer
from l07.backends.redis.fates import BY_NAME, FATES, fate_of
from tests.contracts.buffer_kit import (
    RULES,
    SCORES,
    T0,
    TRACES,
    Feeder,
    a_batch,
    a_score,
    a_trace,
    counts,
    drop,
    sealing_at,
)

# packages of the library that we never call: sentinels, several databases, tokens, publish and subscribe over HTTP
OTHER_ROADS = (
    "redis.sentinel",
    "redis.asyncio.sentinel",
    "redis.multidb",
    "redis.asyncio.multidb",
    "redis.auth",
    "redis.http",
    "redis.event",
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Any]:
    async with EmbeddedRedis(tmp_path, fsync="always") as client:
        yield client


def classes_of_the_library() -> set[type[Exception]]:
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(redis.__path__, "redis."):
        if module.name.startswith(
            (*OTHER_ROADS, "redis.commands.search", "redis.commands.json", "redis.opentelemetry", "redis.observability")
        ):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:  # an extra of the library that is not installed cannot reach us
            continue
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if (
                issubclass(kind, Exception)
                and kind.__module__.startswith("redis.")
                and not kind.__module__.startswith(OTHER_ROADS)
            ):
                found.add(kind)
    return found


def test_every_exception_class_of_the_library_has_a_fate() -> None:
    unknown = {kind.__name__ for kind in classes_of_the_library() - FATES.keys()}
    assert unknown == set(), "the library grew a class: give it a fate in backends/redis/fates.py"


def test_every_fate_is_a_class_with_a_code() -> None:
    assert all("E7450" <= fate.code < "E7480" for fate in BY_NAME.values())


@pytest.mark.parametrize(
    ("err", "fate"),
    [
        (lib.ConnectionError("gone"), errors.BufferUnavailable),
        (lib.TimeoutError("slow"), errors.BufferUnavailable),
        (ConnectionResetError(104, "reset"), errors.BufferUnavailable),
        (lib.BusyLoadingError("LOADING"), errors.BufferUnavailable),
        (lib.OutOfMemoryError("command not allowed"), errors.BufferFull),
        (lib.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), errors.BufferFull),
        (lib.ResponseError("user_function:9: OOM allow-oom flag is not set"), errors.BufferFull),
        (lib.ReadOnlyError("You can't write against a read only replica."), errors.BufferReadOnly),
        (lib.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), errors.BufferReadOnly),
        (lib.ResponseError("Command # 1 (SET b 1) of pipeline caused error: MISCONF disk full"), errors.BufferReadOnly),
        (lib.ResponseError("NOREPLICAS Not enough good replicas to write."), errors.BufferReadOnly),
        (lib.NoPermissionError("this user has no permissions"), errors.BufferForbidden),
        (lib.AuthenticationError("WRONGPASS"), errors.BufferForbidden),
        (lib.ResponseError("WRONGTYPE Operation against a key"), errors.BufferForeign),
        (lib.ResponseError("L07LAYOUT 2"), errors.BufferLayoutUnknown),
        (lib.ResponseError("L07SHARDS 1/3"), errors.BufferShardsDiffer),
        (lib.MovedError("1665 127.0.0.1:7001"), errors.BufferOtherKind),
        (lib.AskError("1665 127.0.0.1:7001"), errors.BufferMoves),
        (lib.ResponseError("ERR The user executing the script can't run this command"), errors.BufferForbidden),
        (lib.DataError("no such type"), errors.BufferBroken),
    ],
)
def test_each_failure_has_its_fate(err: Exception, fate: type[errors.L07Error]) -> None:
    assert type(fate_of(err)) is fate


# ------------------------------------------------------------------ at the opening


async def test_a_server_that_evicts_is_refused(client: Any) -> None:
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(errors.BufferEvicts, match="noeviction"):
        await RedisBuffer.open(client, "t", RULES)


async def test_a_server_without_an_append_only_file_is_refused(client: Any) -> None:
    await client.config_set("appendonly", "no")
    with pytest.raises(errors.BufferNotDurable, match="appendonly"):
        await RedisBuffer.open(client, "t", RULES)


@pytest.mark.parametrize("config", ["allowed", "forbidden"])
async def test_a_server_without_a_barrier_must_write_each_step_to_disk(
    client: Any, tmp_path: Path, config: str
) -> None:
    """A user without WAITAOF sees what a server below 7.2 says; `forbidden`: managed servers without CONFIG."""
    await client.config_set("appendfsync", "everysec")
    await client.execute_command(
        "ACL", "SETUSER", "old", "on", "nopass", "~*", "+@all", *(["-config"] if config == "forbidden" else [])
    )
    old = OldServer(client, forbidden=config == "forbidden")
    with pytest.raises(errors.BufferNotDurable, match="appendfsync always"):
        await RedisBuffer.open(old, "t", RULES)  # type: ignore[arg-type]
    await client.config_set("appendfsync", "always")
    if config == "allowed":
        buffer = await RedisBuffer.open(old, "t", sealing_at(1))  # type: ignore[arg-type]
        await Feeder(buffer)(a_trace("1"), a_score("1"))
        assert len(await buffer.outbox(limit=1)) == 1


class OldServer:
    """A client of a server that does not know WAITAOF, and may forbid CONFIG."""

    def __init__(self, client: Any, *, forbidden: bool) -> None:
        self._client = client
        self._forbidden = forbidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def execute_command(self, *words: Any) -> Any:
        if words[0] == "WAITAOF":
            raise lib.ResponseError("unknown command 'WAITAOF', with args beginning with: '0' '0' '1' ")
        if words[0] == "CONFIG" and self._forbidden:
            raise lib.NoPermissionError("this user has no permissions to run the 'config|get' command")
        return await self._client.execute_command(*words)


# ------------------------------------------------------------------ on the way


async def test_a_full_server_writes_nothing_and_goes_on_when_there_is_room(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    batch = a_batch((TRACES, [a_trace(str(n)) for n in range(50)]))
    await client.config_set("maxmemory", "1")
    with pytest.raises(errors.BufferFull):
        await buffer.apply(batch)
    assert (await buffer.positions(), await counts(buffer)) == ({}, {})
    await client.config_set("maxmemory", "0")
    assert (await buffer.apply(batch)).counts == {"waiting": 50}


async def test_a_server_that_became_a_replica_takes_nothing(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises((errors.BufferReadOnly, errors.BufferUnavailable)):
        await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    await client.execute_command("REPLICAOF", "NO", "ONE")
    assert await buffer.positions() == {}


async def test_a_key_of_another_type_stops_us(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    await client.set("{l07:t:0}:pos", "text")
    with pytest.raises(errors.BufferForeign, match=":pos is a string, not a hash"):
        await buffer.apply(a_batch((TRACES, [a_trace("1")])))
    assert sorted(await client.keys("*")) == [b"{l07:t:0}:layout", b"{l07:t:0}:pos"]


async def test_a_user_without_rights_is_told(client: Any, tmp_path: Path) -> None:
    await client.execute_command("ACL", "SETUSER", "default", "-fcall")
    with pytest.raises(errors.BufferForbidden):
        await RedisBuffer.open(client, "t", RULES)
    await client.execute_command("ACL", "SETUSER", "default", "+fcall")


async def test_nobody_there_is_transient(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path / 'nobody'}")
    with pytest.raises(errors.BufferUnavailable):
        await RedisBuffer.open(client, "t", RULES)
    await client.aclose()


async def test_a_write_whose_answer_is_lost_is_not_sent_again() -> None:
    """The library retries by default: what is no idempotent script would count several times."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"INCR" in data:
                seen.append(data)
                break  # done, and then the connection broke
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        path = f"{folder}/s"
        async with await asyncio.start_unix_server(serve, path):
            client = connect_socket(Path(path))
            with pytest.raises(errors.BufferUnavailable):
                await answer(client.execute_command("INCR", "n"))
            await client.aclose()
    assert len(seen) == 1


async def test_a_call_in_flight_ends_although_its_caller_is_cancelled(client: Any) -> None:
    """Otherwise the next call on that connection would read this one's answer."""
    buffer = await RedisBuffer.open(client, "t", RULES)
    batch = a_batch((TRACES, [a_trace(str(n)) for n in range(400)]))
    caller = asyncio.ensure_future(buffer.apply(batch))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await counts(buffer) == {"consumed": 400, "waiting": 400}
    assert (await buffer.apply(batch)).counts == {}


@pytest.mark.slow
async def test_a_killed_server_comes_back_with_all_that_it_acknowledged(tmp_path: Path) -> None:
    batches = [a_batch((TRACES, [a_trace(f"{n}-{i}") for i in range(100)]), start={TRACES: n * 100}) for n in range(20)]
    server = EmbeddedRedis(tmp_path)
    async with server as client:
        buffer = await RedisBuffer.open(client, "t", RULES)
        for batch in batches[:10]:
            await buffer.apply(batch)
        flying = asyncio.ensure_future(buffer.apply(batches[10]))
        os.kill(server.pid, signal.SIGKILL)
        outcome = await asyncio.gather(flying, return_exceptions=True)
        assert isinstance(outcome[0], errors.BufferUnavailable) or outcome[0].counts == {"waiting": 100}
    async with EmbeddedRedis(tmp_path) as client:
        buffer = await RedisBuffer.open(client, "t", RULES)
        assert (await buffer.positions())[TRACES].next in (1000, 1100)
        for batch in batches[10:]:
            await buffer.apply(batch)
        assert await counts(buffer) == {"consumed": 2000, "waiting": 2000}


@pytest.mark.slow
async def test_the_barrier_comes_before_anything_leaves(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as client:  # everysec: without the barrier the last second is not on disk
        buffer = await RedisBuffer.open(client, "t", sealing_at(1))
        await Feeder(buffer)(a_trace("1"), a_score("1"))
        before = (await client.info("commandstats")).get("cmdstat_waitaof", {"calls": 0})["calls"]
        assert len(await buffer.outbox(limit=5)) == 1
        assert (await client.info("commandstats"))["cmdstat_waitaof"]["calls"] == before + 1
        aof = b"".join(path.read_bytes() for path in (tmp_path / "buffer" / "appendonlydir").iterdir())
        assert b"default-1" in aof


async def test_a_buffer_that_only_reads_knows_the_barrier_too(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1))
    await Feeder(buffer)(a_trace("1"), a_score("1"))
    await client.config_set("appendonly", "no")
    with pytest.raises(errors.BufferNotDurable):
        await RedisBuffer(client, "t", RULES).outbox(limit=5)


async def test_a_waiting_entry_without_its_half_does_not_stop_the_tick(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", RULES)
    await Feeder(buffer)(a_trace("1"))
    await client.zadd("{l07:t:0}:exp:trace", {f"stray {n}": 5 for n in range(700)})
    await buffer.tick(now_ms=T0 + 3600_001, at_end=[SCORES])
    assert await counts(buffer) == {"consumed": 1, "expired": 1}
    assert await client.exists("{l07:t:0}:exp:trace") == 0


async def test_a_disk_that_does_not_follow_holds_the_outbox_back(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1))
    await Feeder(buffer)(a_trace("1"), a_score("1"))

    async def stuck(*_: object) -> list[object]:
        return [b"OK", [0, 0]]

    monkeypatch.setattr(client, "each", stuck)
    with pytest.raises(errors.BufferNotOnDisk):
        await buffer.outbox(limit=5)


async def test_a_release_that_was_cut_off_is_finished_later(client: Any) -> None:
    buffer = await RedisBuffer.open(client, "t", sealing_at(1))
    await Feeder(buffer)(a_trace("1"), a_score("1"))
    await buffer.sent([entry.id for entry in await buffer.outbox(limit=5)])
    await buffer._function("release", "default-1")  # and then the process died
    assert await client.keys("{l07:t:0}:b:*")
    await RedisBuffer.open(client, "t", sealing_at(1))
    assert await client.keys("{l07:t:0}:b:*") == []
    assert await client.keys("{l07:t:0}:rows:*") == []


async def test_two_buffers_on_one_server_do_not_meet(client: Any) -> None:
    one, two = [await RedisBuffer.open(client, name, RULES) for name in ("one", "two")]
    await Feeder(one)(a_trace("1"))
    await Feeder(two)(a_score("1"))
    assert (await counts(one), await counts(two)) == ({"consumed": 1, "waiting": 1}, {"consumed": 1, "waiting": 1})
    await drop(client, "one")
    assert await two.positions()
    assert SCORES in await two.positions()


async def test_a_track_that_left_the_settings_is_sealed_by_the_defaults(client: Any) -> None:
    rules = BufferRules(RULES.trace_topics, RULES.score_topics)
    buffer = await RedisBuffer.open(client, "t", rules)
    await Feeder(buffer)(a_trace("1", track="gone"), a_score("1"))
    assert await buffer.seal_rest() == ["gone-1"]

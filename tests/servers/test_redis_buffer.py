"""The buffer of the settings on real servers, Redis 7.0 and Valkey: made, read by another process, told apart."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from l07.backends.open import open_buffer
from l07.backends.redis.sharded import ShardedBuffer
from l07.cli import main
from l07.errors import BufferShardsDiffer
from l07.settings import Settings, load_settings
from tests.contracts.buffer_kit import SCORES, TRACES, a_batch, a_broken, a_score, a_scored_trace, a_trace
from tests.contracts.shard_kit import SHARDS, all_wanted, plain_world
from tests.contracts.test_buffer_sharded_model import run_interrupted
from tests.servers.redis_kit import KINDS, Server, one_server

pytestmark = pytest.mark.server


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    async with one_server(request.param, tmp_path) as server:
        yield server


def settings_for(server: Server, tmp_path: Path, shards: int = SHARDS) -> Settings:
    set_: dict[str, Any] = {
        "buffer.url": f"redis://127.0.0.1:{server.port}",
        "buffer.shards": shards,
        "data_dir": str(tmp_path / "data"),
    }
    return load_settings({}, overrides=set_).settings


async def changes(server: Server) -> int:
    async with server.client() as client:
        return int((await client.info("persistence"))["rdb_changes_since_last_save"])


async def test_a_reader_beside_the_owner_writes_nothing_and_sees_everything(server: Server, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path)
    async with open_buffer(settings) as owner:
        assert isinstance(owner, ShardedBuffer)
        records = [a_broken(), *(a_scored_trace(str(n)) for n in range(9)), a_trace("w")]
        await owner.apply(a_batch((TRACES, records), (SCORES, [a_score("1"), a_score("x")])))
        before = await changes(server)
        async with open_buffer(settings, attach=True) as reader:
            assert await reader.status() == await owner.status()
            assert await reader.positions() == await owner.positions()
            assert (await reader.memory()).used > 0
        assert await changes(server) == before
    for wrong in (1, 2):
        with pytest.raises(BufferShardsDiffer, match="made with 3 shards"):
            async with open_buffer(settings_for(server, tmp_path, wrong), attach=True):
                pass


async def test_l07_status_reads_the_shards(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(server, tmp_path)
    async with open_buffer(settings) as owner:
        await owner.apply(a_batch((TRACES, [a_broken(), *(a_scored_trace(str(n)) for n in range(9))])))
    monkeypatch.setenv("L07_BUFFER__URL", settings.buffer.url)
    monkeypatch.setenv("L07_BUFFER__SHARDS", str(SHARDS))
    monkeypatch.chdir(tmp_path)
    found = await run_cli("status", "--json")
    assert found == 0
    said = json.loads(capsys.readouterr().out)
    assert said["events"]["consumed"] == 10
    assert said["tracks"]["default"]["ready"] == {"ACCEPT": 9, "REJECT": 0}


async def run_cli(*words: str) -> int:
    return await asyncio.to_thread(main, list(words))


async def test_three_shards_on_one_server_are_exact(server: Server) -> None:
    world = plain_world(3, 80)
    async with server.client() as client:
        assert await run_interrupted(client, world, 3) == all_wanted(world, SHARDS)

"""Settings lead to the right backend, and what no backend can open is refused before anything is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from l07.backends.lock import DataLock
from l07.backends.open import (
    READING,
    buffer_alone,
    buffer_rules,
    bus_path,
    check_urls,
    has_buffer,
    open_bases,
    open_buffer,
    open_bus,
    open_curator,
    open_ledger,
    open_store,
)
from l07.errors import BadSetting, FolderInUse, NoLiveBuffer
from l07.events.record import Message, TopicPartition
from l07.settings import Bus, Settings, Track, load_settings


def settings_with(tmp_path: Path, **overrides: object) -> Settings:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings({}, overrides={"data_dir": tmp_path / "d", **named}).settings


@pytest.mark.parametrize(
    ("url", "path"), [("", "d/bus.db"), ("sqlite:///other.db", "other.db"), ("sqlite:////srv/bus.db", "/srv/bus.db")]
)
def test_the_bus_is_a_file_in_the_data_folder_or_where_the_url_says(url, path) -> None:
    assert bus_path(Settings(data_dir=Path("d"), bus=Bus(url=url))) == Path(path)


@pytest.mark.parametrize("url", ["kafka://broker", "sqlite:///", "sqlite://bus.db", "bus.db"])
async def test_a_bus_of_another_brand_is_refused_before_anything_is_made(tmp_path, url) -> None:
    settings = settings_with(tmp_path, bus__url=url)
    with pytest.raises(BadSetting, match=r"bus\.url"):
        async with open_bus(settings):
            pass
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", "memcached://x"])
def test_a_buffer_of_another_brand_is_refused(tmp_path, url) -> None:
    with pytest.raises(BadSetting, match=r"buffer\.url"):
        check_urls(settings_with(tmp_path, buffer__url=url))


@pytest.mark.parametrize("url", ["", "redis://host:6379/1", "rediss://host", "unix:///run/redis.sock"])
def test_a_buffer_that_can_be_opened_is_not_refused(tmp_path, url) -> None:
    check_urls(settings_with(tmp_path, buffer__url=url))


async def test_the_bus_has_the_partitions_of_the_settings(tmp_path) -> None:
    async with open_bus(settings_with(tmp_path, bus__partitions=5)) as bus:
        await bus.publish([Message("t", b"k", b"v")])
        assert set(await bus.end_offsets(["t"])) == {TopicPartition("t", n) for n in range(5)}


async def test_ledgers_lie_below_the_data_folder(tmp_path) -> None:
    await open_ledger(settings_with(tmp_path), "jobs").append("k", "a", {}, at="2026-01-05T09:00:00Z")
    assert (tmp_path / "d" / "ledgers" / "jobs" / "00000001.json").is_file()


def test_bases_lie_in_the_data_folder_or_in_the_cache(tmp_path) -> None:
    shared = settings_with(tmp_path, models__cache_dir=str(tmp_path / "shared"))
    assert open_bases(settings_with(tmp_path)).path("bases/a") == tmp_path / "d" / "bases" / "a"
    assert open_bases(shared).path("bases/a") == tmp_path / "shared" / "bases" / "a"
    assert open_store(shared).path("datasets/a") == tmp_path / "d" / "datasets" / "a"


def test_the_script_decides_by_the_settings() -> None:
    loaded = load_settings(
        {},
        overrides={
            "topics.planning": "plans",
            "filter.quality_threshold": 55,
            "filter.confidence_threshold": 0.5,
            "join.wait_s": 9,
            "join.prefer_separate_s": 8,
            "buffer.remember_s": 100,
            "tracks.sql.seal.count": 3,
            "tracks.sql.seal.max_age_s": 4,
            "tracks.sql.seal.min_count": 2,
        },
    )
    rules = buffer_rules(loaded.settings)
    assert (rules.quality_threshold, rules.confidence_threshold, rules.wait_s) == (55, 0.5, 9)
    assert (rules.prefer_separate_s, rules.remember_s) == (8, 100)
    assert (rules.trace_topics, rules.score_topics) == ({"execution.traces", "plans"}, {"evaluation.quality_scores"})
    seal = rules.seals["sql"]
    assert (seal.count, seal.max_age_s, seal.min_count) == (3, 4, 2)


def test_the_topic_of_payloads_brings_traces_and_is_what_a_lonely_part_waits_for() -> None:
    from l07.pipeline.pressure import pressure_rules
    from l07.routes import input_topics

    for named in ("inference.logs", "execution.traces"):
        settings = Settings.model_validate({"topics": {"payloads": named}})
        rules = buffer_rules(settings)
        assert rules.payload_topics == {named}
        assert rules.trace_topics == {"execution.traces", "planning.traces", named} == pressure_rules(settings).traces
        assert input_topics(settings).count(named) == 1
    assert buffer_rules(Settings()).payload_topics == set()


def test_the_script_s_own_defaults_are_those_of_the_settings() -> None:
    from l07.backends.redis import BufferRules, SealTrigger

    rules = buffer_rules(Settings())
    seal = Track().seal
    assert rules.seals == {"default": SealTrigger()}
    assert SealTrigger() == SealTrigger(seal.count, seal.max_age_s, seal.min_count)
    bare = BufferRules(trace_topics=rules.trace_topics, score_topics=rules.score_topics, seals=rules.seals)
    assert rules == bare


def test_no_buffer_was_ever_made_so_there_is_none_to_read(tmp_path) -> None:
    assert not has_buffer(settings_with(tmp_path))
    assert has_buffer(settings_with(tmp_path, buffer__url="redis://host"))


@pytest.mark.slow
async def test_a_buffer_is_read_beside_its_owner_and_alone(tmp_path) -> None:
    settings = settings_with(tmp_path)
    with DataLock(settings.data_dir):
        async with open_buffer(settings) as owner, open_buffer(settings, attach=True) as reader:
            assert await owner.status() == await reader.status()
            assert await reader.positions() == {}
        with pytest.raises(NoLiveBuffer):  # its owner is starting, or leaving
            async with open_buffer(settings, attach=True):
                pass
        with pytest.raises(FolderInUse) as err:
            async with buffer_alone(settings):
                pass
        assert err.value.context["purpose"] != READING
    async with buffer_alone(settings) as buffer:
        assert (await buffer.status()).partitions == {}
    with DataLock(settings.data_dir):  # the reader let go of it
        assert not (settings.data_dir / "buffer" / "valkey.json").exists()


async def test_a_reader_names_itself_so_that_it_is_taken_for_no_run(tmp_path) -> None:
    settings = settings_with(tmp_path)
    with DataLock(settings.data_dir, purpose=READING), pytest.raises(FolderInUse) as err:
        async with buffer_alone(settings):
            pass
    assert err.value.context["purpose"] == READING


async def test_the_curator_starts_no_process_before_it_is_asked(tmp_path) -> None:
    async with open_curator(settings_with(tmp_path)) as curator:
        assert curator is not None


def test_importing_this_file_brings_in_no_brand() -> None:
    code = "import sys, l07.backends.open; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    brands = {"redis", "sqlite3", "pyarrow", "numpy", "torch", "l07.backends.sqlite", "l07.backends.store"}
    assert brands & set(loaded) == set()

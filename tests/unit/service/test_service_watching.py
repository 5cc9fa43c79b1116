"""What the ingest looks at beside the records, and what it says of it."""

from dataclasses import dataclass

import pytest

from l07.errors import BadSetting, BufferFull
from l07.events.record import TopicPartition
from l07.pipeline.pressure import pressure_rules
from l07.ports import Memory, Position
from l07.service.health import Health
from l07.service.watching import Watch
from l07.settings import load_settings
from l07.telemetry import CONSUMED, HALTED, HELD, LAG, MEMORY_LIMIT, OLDEST_WAITING, OUTBOX, Metrics
from tests.unit.runner.flow import A, B, FakeBuffer, Flow, a_log

SCORES = TopicPartition("evaluation.quality_scores", 0)


@dataclass
class Watched:
    flow: Flow
    watch: Watch
    now: float = 1000.0

    @property
    def health(self) -> Health:
        return self.watch.health

    async def look(self, after_s: float = 10.0) -> list[str]:
        self.now += after_s
        return await self.watch.look()


async def watched(*, traces: int = 6, scores: int = 6, limit: int = 1000) -> Watched:
    flow = await Flow.made({A: a_log(traces), SCORES: a_log(scores)}, FakeBuffer(used=Memory(0, limit)))
    settings = load_settings({}).settings
    topics = (A.topic, SCORES.topic)
    health = Health("ingest", metrics=Metrics())
    watch = Watch(
        flow.bus, flow.buffer, flow.stream, flow.halts, health, topics, pressure_rules(settings),  # type: ignore[arg-type]
        settings.backpressure, settings.health,
    )  # fmt: skip
    found = Watched(flow, watch)
    watch.clock = lambda: found.now
    return found


async def test_counters_lag_and_outbox_are_shown_of_our_partitions_and_the_group_is_joined() -> None:
    it = await watched()
    it.flow.buffer.stored[B] = Position(9, b"", 0)
    assert "start" in it.health.reasons
    await it.look()
    assert (it.health.metrics.value(LAG, A.topic, "0"), it.health.lag, it.health.reasons) == (6, 12, {})
    await it.flow.run()
    await it.look()
    assert it.health.metrics.values[CONSUMED] == {(A.topic, "0"): 6, (SCORES.topic, "0"): 6}
    assert (it.health.lag, it.health.metrics.value(OUTBOX)) == (0, 3)


async def test_the_age_of_the_oldest_waiting_half_is_a_time_and_nothing_waiting_is_zero() -> None:
    it = await watched()
    await it.look()
    assert it.health.metrics.value(OLDEST_WAITING) == 0
    it.flow.buffer.oldest_ms = 0
    await it.look()
    assert it.health.metrics.value(OLDEST_WAITING) > 1_700_000_000


async def test_short_memory_holds_what_is_ahead_and_lets_go_when_there_is_room() -> None:
    it = await watched()
    it.flow.buffer.stored[A] = Position(3, b"", 99)
    it.flow.buffer.used = Memory(850, 1000)
    await it.look()
    assert it.flow.bus.held == {A}
    assert (it.health.metrics.value(HELD), it.health.metrics.value(MEMORY_LIMIT)) == (1, 1000)
    assert "memory" not in it.health.reasons, "it works, with one hand"
    assert it.health.lag == 6, "a held partition's lag is no standstill"
    it.flow.buffer.used = Memory(740, 1000)
    await it.look()
    assert it.flow.bus.held == frozenset()
    assert it.health.metrics.value(HELD) == 0


async def test_no_memory_seals_stops_says_why_once_and_goes_on_by_itself() -> None:
    it = await watched()
    it.flow.buffer.used = Memory(960, 1000)
    assert await it.look() == ["default-1"]
    assert it.flow.stream.stopped
    assert it.health.reasons["memory"].code == "E7454"
    await it.look()
    (alert,) = it.watch.alerts
    assert (alert.data.code, alert.data.severity, alert.data.stopped) == ("E7454", "error", "ingest")
    it.flow.buffer.used = Memory(940, 1000)
    await it.look()
    assert not it.flow.stream.stopped
    assert "memory" not in it.health.reasons
    await it.flow.run()
    assert len(it.flow.buffer.took) == 12


async def test_a_server_that_refuses_a_step_stops_the_reading_even_where_no_limit_is_known() -> None:
    it = await watched(limit=0)
    await it.look()
    it.watch.full = True
    await it.look(after_s=0)
    assert it.flow.stream.stopped
    await it.look()
    assert not it.flow.stream.stopped


async def test_sealing_that_is_refused_too_is_no_end() -> None:
    it = await watched()
    it.flow.buffer.used = Memory(1000, 1000)

    async def refuses() -> list[str]:
        raise BufferFull("full")

    it.flow.buffer.seal_rest = refuses  # type: ignore[method-assign]
    assert await it.look() == []
    assert it.flow.stream.stopped


async def test_memory_is_looked_at_after_a_hundredth_of_it_was_read_however_fast_that_was() -> None:
    it = await watched()
    await it.look()
    looks = it.flow.buffer.looks
    await it.look(after_s=0)
    assert it.flow.buffer.looks == looks
    it.flow.stream.taken_bytes += 11
    await it.look(after_s=0)
    assert it.flow.buffer.looks == looks + 1


async def test_a_partition_that_nobody_moves_holds_the_others_no_more() -> None:
    it = await watched()
    it.flow.buffer.stored[A] = Position(3, b"", 99)
    it.flow.buffer.used = Memory(850, 1000)
    await it.look()
    assert it.flow.bus.held == {A}
    await it.look(after_s=31)
    assert it.flow.bus.held == frozenset(), "the scores stand still for longer than backpressure.patience_s"


async def test_one_that_was_held_for_long_counts_again_at_once() -> None:
    it = await watched()
    it.flow.buffer.stored[A] = Position(3, b"", 99)
    it.flow.buffer.used = Memory(850, 1000)
    for next_ in range(5):
        it.flow.buffer.stored[SCORES] = Position(next_, b"", next_)
        await it.look()
    assert it.flow.bus.held == {A}
    it.flow.buffer.stored[SCORES] = Position(5, b"", 150)
    await it.look()
    assert it.flow.bus.held == {SCORES}


async def test_a_halted_partition_is_said_told_once_and_looked_at_again() -> None:
    it = await watched()
    await it.flow.run()
    it.flow.bus.logs[A] = a_log(9, tag="another ")
    it.flow.bus.at = dict(await it.flow.start([A, SCORES]))
    await it.look()
    assert it.health.reasons[f"partition {A}"].code == "E7480"
    assert it.health.metrics.value(HALTED) == 1
    assert [alert.data.stopped for alert in it.watch.alerts] == [str(A)]
    await it.look(after_s=31)
    await it.flow.run()
    assert len(it.watch.alerts) == 1
    await it.flow.buffer.reset({A: 0})
    await it.look(after_s=31)
    await it.flow.run()
    await it.look()
    assert it.health.reasons == {}
    assert it.health.metrics.value(HALTED) == 0
    assert it.flow.buffer.offsets(A)[6:] == list(range(9))


@pytest.mark.parametrize(
    ("pause", "resume", "stop"), [("0.5", "0.6", "0.9"), ("0.9", "0.8", "0.85"), ("1.1", "0.8", "1")]
)
def test_shares_of_the_memory_that_make_no_sense_refuse_to_start(pause: str, resume: str, stop: str) -> None:
    names = ("PAUSE_AT", "RESUME_AT", "STOP_AT")
    environ = {f"L07_BACKPRESSURE__{name}": text for name, text in zip(names, (pause, resume, stop), strict=True)}
    with pytest.raises(BadSetting):
        load_settings(environ)

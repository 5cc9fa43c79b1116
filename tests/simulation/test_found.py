"""What the simulation found, each as small as it can be. The rest stands where its place is: `tests/unit/runner`,
`tests/unit/test_runner.py`, `tests/contracts/test_buffer_batches.py`."""

from l07.service.health import Health
from l07.service.watching import MEND_S, Watch
from l07.settings import load_settings
from tests.unit.runner.flow import A, B, Flow, a_log


def a_watch(flow: Flow) -> Watch:
    from l07.pipeline.pressure import pressure_rules

    settings = load_settings({}).settings
    return Watch(
        flow.bus, flow.buffer, flow.stream, flow.halts, Health("test"), (A.topic,), pressure_rules(settings),
        settings.backpressure, settings.health, clock=lambda: flow.now, _due={"counters": 1e9},
    )  # type: ignore[arg-type]  # fmt: skip


async def test_a_halted_partition_that_was_mended_while_the_group_moved_it_is_read_again() -> None:
    """The assignment found it sound and told `halts`; but the stream still held it, and nobody asked any more."""
    flow = await Flow.made({A: a_log(4), B: a_log(4)})
    watch = a_watch(flow)
    await flow.run()
    flow.bus.logs[A] = a_log(2)  # cut: halted
    flow.stream.look_again([A])
    await flow.run()
    assert list(flow.halts.reasons) == [A]
    flow.bus.logs[A] = a_log(9)
    flow.bus.at |= await flow.start([A])  # mended, and an assignment saw it
    await flow.run()
    assert flow.halts.reasons == {}
    assert flow.buffer.offsets(A) == [0, 1, 2, 3]  # held
    flow.now += MEND_S
    await watch.look()
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(9))

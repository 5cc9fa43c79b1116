"""The flow: every record applied once and in order, whatever happens on the way."""

import asyncio

import pytest

from l07.errors import BufferFull, BufferUnavailable, BusUnavailable, RecordsGone, SourceChanged
from l07.ports import Applied, IngestBatch, Slice
from l07.runner import resume
from l07.runner.stream import divided
from tests.unit.runner.flow import A, B, C, FakeBuffer, Flow, Log, a_log, until


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("ahead", [1, 8, 100])
async def test_every_record_is_applied_once_and_in_order(size: int, ahead: int) -> None:
    flow = await Flow.made({A: a_log(13), B: a_log(1), C: a_log(40)}, size=size, ahead=ahead)
    await flow.run()
    assert [flow.buffer.offsets(tp) for tp in (A, B, C)] == [list(range(n)) for n in (13, 1, 40)]


async def test_two_batches_are_under_way_at_once_but_never_two_of_one_partition() -> None:
    flow = await Flow.made({A: a_log(20), B: a_log(20)})  # the fake buffer asserts the second half
    await flow.run()
    assert flow.buffer.most_under_way == 2


async def test_of_a_single_partition_the_next_batch_is_decoded_while_the_server_works() -> None:
    flow = await Flow.made({A: a_log(8)}, FakeBuffer(go=asyncio.Event()))
    assert flow.buffer.go
    turn = asyncio.create_task(flow.stream.step(timeout_s=0))
    await until(lambda: flow.stream._decoded is not None)
    assert len(flow.buffer.under_way) == 1
    flow.buffer.go.set()
    await turn
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(8))


async def test_holes_are_passed_and_a_marker_at_the_end_too() -> None:
    log = Log([b"1", b"2", b"3", b"4"], offsets=[0, 4, 5, 9], tail=1)
    flow = await Flow.made({A: log})
    await flow.run()
    assert flow.buffer.offsets(A) == [0, 4, 5, 9]
    assert flow.buffer.stored[A].next == 11
    assert (await flow.start([A]))[A] == 11, "the marker before it cannot be compared, and passes"


def test_pieces_touch_and_the_last_one_ends_where_the_slice_ends() -> None:
    records = Log([b"1", b"2", b"3"], offsets=[2, 5, 6]).records(A, 0)
    pieces = divided(Slice(A, 1, 9, records, "log"), 2)
    assert [(piece.start, piece.next, piece.log, len(piece.records)) for piece in pieces if piece] == [
        (1, 6, "log", 2),
        (6, 9, "log", 1),
    ]
    whole = Slice(A, 1, 9, records)
    assert divided(whole, 3) == (whole, None)
    assert divided(Slice(A, 1, 4, []), 2) == (Slice(A, 1, 4, []), None)


class Sized(FakeBuffer):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[list[int]] = []

    async def apply(self, batch: IngestBatch) -> Applied:
        self.sizes.append([sum(item.part == part for item in batch.items) for part in range(len(batch.parts))])
        return await super().apply(batch)


async def test_a_step_is_filled_from_several_partitions() -> None:
    buffer = Sized()
    flow = await Flow.made({A: a_log(5), B: a_log(5)}, buffer, size=8, ahead=10)
    await flow.run()
    assert buffer.sizes == [[5, 3], [2]]
    assert flow.buffer.offsets(A) == flow.buffer.offsets(B) == list(range(5))


async def test_a_buffer_that_rolls_back_gets_what_it_lost() -> None:
    flow = await Flow.made({A: a_log(30), B: a_log(30)})
    for _ in range(6):
        await flow.stream.step(timeout_s=0)
    before = flow.buffer.stored[A]
    await flow.run()
    flow.buffer.stored[A] = before
    flow.bus.logs[A].values += [b"more"] * 30
    await flow.run()
    assert flow.buffer.stored[A].next == 60
    assert flow.buffer.refusals <= 2, "what was read ahead is not sent into the same wall"
    assert flow.buffer.offsets(A) == [*range(30), *range(before.next, 60)]
    assert flow.buffer.offsets(B) == list(range(30))


async def test_a_flushed_buffer_begins_where_the_log_begins() -> None:
    flow = await Flow.made({A: a_log(10)})
    await flow.run()
    flow.buffer.stored.clear()
    flow.bus.logs[A] = a_log(8, begin=5)
    await flow.run()
    assert flow.buffer.offsets(A)[10:] == list(range(5, 13))


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("at", range(5))
async def test_a_step_whose_answer_is_lost_has_its_effect_once(done: bool, at: int) -> None:
    flow = await Flow.made({A: a_log(9), B: a_log(9)})
    for _ in range(at):
        await flow.stream.step(timeout_s=0)
    flow.buffer.fails = [(BufferUnavailable("cut"), done)]
    with pytest.raises(BufferUnavailable):
        await flow.run()
    await flow.run()
    assert (flow.buffer.offsets(A), flow.buffer.offsets(B)) == (list(range(9)), list(range(9)))


async def test_while_the_buffer_is_away_the_member_polls_and_is_handed_nothing() -> None:
    flow = await Flow.made({A: a_log(9)})
    flow.buffer.away = BufferUnavailable("away")
    with pytest.raises(BufferUnavailable):
        await flow.stream.step(timeout_s=0)
    flow.bus.polls.clear()
    for _ in range(3):
        with pytest.raises(BufferUnavailable):
            await flow.stream.step(timeout_s=0)
    assert flow.bus.polls == [(1, frozenset({A}))] * 3
    flow.buffer.away = None
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(9))


async def test_a_partition_is_not_at_its_end_while_its_last_records_are_under_way() -> None:
    flow = await Flow.made({A: a_log(2), B: a_log(2)}, FakeBuffer(go=asyncio.Event()))
    assert flow.buffer.go
    turn = asyncio.create_task(flow.stream.step(timeout_s=0))
    await until(lambda: bool(flow.buffer.under_way))
    assert flow.bus.at == {A: 2, B: 2}
    assert await flow.stream.at_end() == {}
    flow.buffer.go.set()
    await turn
    await flow.run()
    assert sorted(await flow.stream.at_end()) == [A, B]


async def test_a_buffer_that_rolled_back_under_a_partition_without_new_records_is_noticed() -> None:
    """Nothing is refused where nothing is sent: the look for the ends compares, or its records would wait for the next one."""
    flow = await Flow.made({A: a_log(3), B: a_log(2)})
    await flow.run()
    flow.buffer.stored, flow.buffer.took = {B: flow.buffer.stored[B]}, []
    assert await flow.stream.at_end() == {B: 2}
    await flow.run()
    assert flow.buffer.offsets(A) == [0, 1, 2]
    assert sorted(await flow.stream.at_end()) == [A, B]


async def test_a_buffer_that_stands_beyond_the_reader_is_noticed() -> None:
    """A backup of before `--accept-reset` came back: it would take everything for a repeat, and nobody would be refused."""
    flow = await Flow.made({A: a_log(3), B: a_log(2)})
    await flow.run()
    flow.buffer.stored[A] = flow.buffer.stored[A]._replace(next=7)
    assert await flow.stream.at_end() == {B: 2}
    await flow.run()
    assert [type(why) for why in flow.halts.reasons.values()] == [SourceChanged]


async def test_what_is_held_is_not_read_and_goes_on_where_it_was() -> None:
    flow = await Flow.made({A: a_log(30), B: a_log(30)})
    await flow.stream.step(timeout_s=0)
    flow.stream.hold({A})
    await flow.run()
    held_at = flow.buffer.stored[A].next
    assert held_at < 30
    assert flow.buffer.offsets(B) == list(range(30))
    flow.stream.hold(())
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(30))


async def test_a_full_stop_reads_nothing_but_stays_a_member() -> None:
    flow = await Flow.made({A: a_log(30)})
    await flow.stream.step(timeout_s=0)
    flow.stream.hold((), stopped=True)
    await flow.run()
    took, polls = len(flow.buffer.took), len(flow.bus.polls)
    await flow.run()
    assert len(flow.buffer.took) == took < 30
    assert len(flow.bus.polls) > polls
    flow.stream.hold(())
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(30))


async def test_a_refused_step_for_want_of_memory_is_done_later() -> None:
    flow = await Flow.made({A: a_log(9), B: a_log(9)})
    flow.buffer.fails = [(BufferFull("full"), False), (BufferFull("full"), False)]
    with pytest.raises(BufferFull):
        await flow.run()
    flow.buffer.fails = []
    await flow.run()
    assert (flow.buffer.offsets(A), flow.buffer.offsets(B)) == (list(range(9)), list(range(9)))


async def test_a_partition_whose_log_was_made_again_stands_still_alone_until_a_person_decides() -> None:
    flow = await Flow.made({A: a_log(9), B: a_log(3)})
    await flow.run()
    flow.bus.logs[A] = a_log(20, tag="another ")
    flow.bus.logs[B].values += [b"3", b"4"]
    flow.bus.at = dict(await flow.start([A, B]))
    assert flow.bus.at == {B: 3}
    assert isinstance(flow.halts.reasons[A], SourceChanged)
    await flow.run()
    assert flow.buffer.offsets(B) == list(range(5))
    flow.stream.look_again([A])
    await flow.run()
    assert len(flow.halts.fresh) == 1, "told once"
    assert len(flow.buffer.offsets(A)) == 9
    await flow.buffer.reset({A: 0})
    flow.stream.look_again([A])
    await flow.run()
    assert flow.halts.reasons == {}
    assert flow.buffer.offsets(A)[9:] == list(range(20))


async def test_a_partition_that_is_found_damaged_under_way_is_read_no_further() -> None:
    flow = await Flow.made({A: a_log(9), B: a_log(9)})
    await flow.run()
    flow.bus.logs[A].values += [b"9"] * 5
    flow.bus.logs[A].begin = 7  # as if retention had passed what a rolled back buffer needs
    flow.bus.logs[A].values = flow.bus.logs[A].values[7:]
    flow.buffer.stored[A] = flow.buffer.stored[A]._replace(next=4, last_digest=b"")
    await flow.run()
    assert isinstance(flow.halts.reasons[A], RecordsGone)
    assert flow.halts.reasons[A].context["gone"] == 3
    assert A in flow.bus.held
    took = len(flow.buffer.offsets(A))
    flow.bus.logs[B].values += [b"9"]
    await flow.run()
    assert (len(flow.buffer.offsets(A)), flow.buffer.offsets(B)) == (took, list(range(10)))


async def test_a_lost_partition_s_records_are_dropped_and_a_returned_one_goes_on() -> None:
    flow = await Flow.made({A: a_log(30), B: a_log(30)}, ahead=40)
    await flow.stream.step(timeout_s=0)
    applied = len(flow.buffer.offsets(A))
    del flow.bus.at[A]
    flow.bus.rebalances += 1
    flow.bus.logs[B].values += [b"30"]
    await flow.run()
    assert len(flow.buffer.offsets(A)) <= applied + 2 * 3, (
        "what was decoded or under way may land, the other ten pieces not"
    )
    assert flow.buffer.offsets(B) == list(range(31))
    flow.bus.at |= await flow.start([A])
    flow.bus.rebalances += 1
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(30))


async def test_offsets_are_committed_for_lag_tools_every_five_seconds_and_at_the_end() -> None:
    flow = await Flow.made({A: a_log(100)}, ahead=4)
    flow.now = 100.0
    for _ in range(8):
        await flow.stream.step(timeout_s=0)
    assert len(flow.bus.commits) == 1
    flow.now = 105.0
    await flow.stream.step(timeout_s=0)
    assert len(flow.bus.commits) == 2
    await flow.run()
    await flow.stream.finish()
    assert flow.bus.commits[-1] == {A: 100}


async def test_a_commit_that_fails_stops_nothing() -> None:
    flow = await Flow.made({A: a_log(9)})
    flow.now = 100.0
    flow.bus.commit_fails = BusUnavailable("no coordinator")
    await flow.run()
    assert flow.buffer.offsets(A) == list(range(9))


async def test_finishing_lands_what_is_under_way_and_sends_nothing_new() -> None:
    flow = await Flow.made({A: a_log(30), B: a_log(30)}, FakeBuffer(go=asyncio.Event()), ahead=100)
    assert flow.buffer.go
    turn = asyncio.create_task(flow.stream.step(timeout_s=0))
    await until(lambda: len(flow.buffer.under_way) == 2)
    turn.cancel()
    await asyncio.wait({turn})
    flow.buffer.go.set()
    await flow.stream.finish()
    assert flow.buffer.under_way == []
    assert (flow.buffer.offsets(A), flow.buffer.offsets(B)) == ([0, 1], [0, 1])


# ------------------------------------------------------------------ a topic of the same name


async def made_again(count: int) -> Flow:
    """Nine records were applied; then another log lies there, with `count` offsets and no readable record at the last one
    that was applied."""
    flow = await Flow.made({A: a_log(9)})
    flow.bus.topic_id = "one"
    flow.bus.at = dict(await flow.start([A]))
    await flow.run()
    flow.bus.logs[A] = Log([b"another"] * (count - 1), offsets=[n for n in range(count) if n != 8])
    flow.bus.topic_id = "two"
    return flow


async def test_a_topic_that_was_made_again_is_noticed_where_no_record_can_be_compared() -> None:
    flow = await made_again(20)
    assert await flow.start([A]) == {}
    assert isinstance(flow.halts.reasons[A], SourceChanged)
    assert "'two'" not in flow.halts.reasons[A].message
    assert "was made again" in flow.halts.reasons[A].message


async def test_a_member_that_reads_on_in_a_topic_that_was_made_again_goes_back() -> None:
    flow = await made_again(20)
    assert await resume.made_again(flow.bus, flow.buffer, [A, B]) == {A}  # type: ignore[arg-type]
    await flow.buffer.reset({A: 0}, {A: "two"})
    assert await resume.made_again(flow.bus, flow.buffer, [A, B]) == set()  # type: ignore[arg-type]
    flow.stream.look_again([A])
    await flow.run()
    assert flow.buffer.offsets(A)[9:] == [n for n in range(20) if n != 8]
    assert flow.halts.reasons == {}


async def test_a_slice_under_way_while_a_person_says_that_the_new_log_counts_is_not_its_beginning() -> None:
    flow = await Flow.made({A: a_log(0)}, FakeBuffer(go=asyncio.Event()))
    assert flow.buffer.go
    flow.bus.topic_id = "one"
    flow.bus.at = dict(await flow.start([A]))
    flow.bus.logs[A] = a_log(9)
    turn = asyncio.create_task(flow.stream.step(timeout_s=0))
    await until(lambda: bool(flow.buffer.under_way))
    flow.bus.logs[A], flow.bus.topic_id = a_log(20, tag="another "), "two"
    await flow.buffer.reset({A: 0}, {A: "two"})
    flow.buffer.go.set()
    await turn
    assert flow.buffer.offsets(A) == [], "it was of the old one"
    await flow.run()
    assert (flow.buffer.offsets(A), flow.buffer.refusals) == (list(range(20)), 1)


async def test_a_bus_that_cannot_tell_logs_apart_names_none() -> None:
    flow = await Flow.made({A: a_log(9)})
    assert await resume.made_again(flow.bus, flow.buffer, [A]) == set()  # type: ignore[arg-type]
    assert flow.buffer.names == {}

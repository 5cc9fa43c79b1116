"""Replay: the pace, and slices over holes."""

import itertools
from collections.abc import Sequence

import pytest

from l07.events.record import Record, TopicPartition
from l07.pipeline.replay import Pace, Span, is_wanted, slices, type_of

TP = TopicPartition("t", 0)


def a_record(offset: int, *, value: bytes = b"", headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> Record:
    return Record("t", 0, offset, 0, None, value, headers)


class Holes:
    """A bus whose log holds only some offsets, as after compaction, and ends with markers."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self.offsets = offsets

    async def read(self, tp: TopicPartition, offset: int, *, limit: int = 1) -> Sequence[Record]:
        return [a_record(at) for at in self.offsets if at >= offset][:limit]


@pytest.mark.parametrize("offsets", [[], [0, 1, 2], [3, 7], [1, 8, 9, 12], list(range(700))])
async def test_slices_are_contiguous_and_end_at_the_end(offsets: list[int]) -> None:
    span = Span(TP, 0, 600)
    found = [slice_ async for slice_ in slices(Holes(offsets), span)]  # type: ignore[arg-type]
    edges = [(slice_.start, slice_.next) for slice_ in found]
    assert edges[0][0] == 0
    assert edges[-1][1] == 600
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
    assert [record.offset for slice_ in found for record in slice_.records] == [at for at in offsets if at < 600]


async def test_the_pace_is_kept_over_the_whole_replay() -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(100.0, sleep=sleep, clock=lambda: now[0])
    for _ in range(10):
        await pace.after(50)
    assert sum(slept) == pytest.approx(5.0)


async def test_without_a_rate_nobody_waits() -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    await Pace(sleep=sleep).after(10**9)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (a_record(0, value=b'{"type":"a.b"}'), "a.b"),
        (a_record(0, value=b"{", headers=((b"ce_type", b"x.y"),)), "x.y"),
        (a_record(0, value=b"{"), ""),
        (a_record(0, value=b'{"type":5}'), ""),
        (a_record(0, value=b"[" * 100_000), ""),
    ],
)
def test_the_type_is_read_in_either_mode(record: Record, kind: str) -> None:
    assert type_of(record) == kind


def test_a_prefix_does_not_hide_a_type() -> None:
    record = a_record(0, value=b'{"type":"com.example.evaluation.completed"}')
    assert is_wanted(record, ["evaluation.completed"])
    assert not is_wanted(record, ["completed.x"])
    assert is_wanted(record, [])

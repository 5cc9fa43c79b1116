"""When a client counts as one that fetches no more."""

from l07.backends.kafka.fetch_watch import FetchWatch
from l07.events.record import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def turns(watch: FetchWatch, clock: Clock, seconds: float, *, answered: list[TopicPartition]) -> None:
    for _ in range(round(seconds / 0.2)):
        clock.now += 0.2
        watch.answered(answered)
        watch.look([A, B])


def test_one_that_is_answered_is_not_silent_however_long() -> None:
    watch = FetchWatch(patience_s=5.0, clock=(clock := Clock()))
    turns(watch, clock, 60.0, answered=[A, B])
    assert not watch.silent


def test_one_partition_without_an_answer_is_enough() -> None:
    watch = FetchWatch(patience_s=5.0, clock=(clock := Clock()))
    turns(watch, clock, 4.8, answered=[A])
    assert not watch.silent
    turns(watch, clock, 0.6, answered=[A])
    assert watch.silent


def test_an_answer_in_time_begins_the_count_anew() -> None:
    watch = FetchWatch(patience_s=5.0, clock=(clock := Clock()))
    turns(watch, clock, 4.0, answered=[A])
    turns(watch, clock, 0.2, answered=[A, B])
    turns(watch, clock, 4.0, answered=[A])
    assert not watch.silent


def test_a_process_that_was_frozen_has_waited_no_longer() -> None:
    watch = FetchWatch(patience_s=5.0, clock=(clock := Clock()))
    turns(watch, clock, 0.4, answered=[])
    clock.now += 3600
    watch.look([A, B])
    assert not watch.silent


def test_nothing_to_fetch_is_no_silence() -> None:
    watch = FetchWatch(patience_s=5.0, clock=(clock := Clock()))
    for _ in range(100):
        clock.now += 0.4
        watch.look([])
    assert not watch.silent

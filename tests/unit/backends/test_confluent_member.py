"""How the thread of the second client answers the library, without a broker."""

from typing import Any

import pytest

from l07.backends.kafka.confluent_member import Member, Place
from l07.events.record import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Library:
    """Notes what it is told of partitions."""

    def __init__(self) -> None:
        self.told: list[list[TopicPartition]] = []

    def incremental_unassign(self, parts: Any) -> None:
        self.told.append([TopicPartition(part.topic, part.partition) for part in parts])

    def incremental_assign(self, parts: Any) -> None:
        raise AssertionError("nothing is assigned here")


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("fetching", [(), (A,), (A, B)])
def test_a_revocation_is_answered_once(fetching: tuple[TopicPartition, ...], lost: bool) -> None:
    """librdkafka 2.16 goes on closing after the first answer. A second one, a hair later, is never answered, and it waits
    with Python's lock in its hand: 108 closings until the whole process stood still, and 590 without it."""
    member = Member({}, ["t"], wait_s=0.0)
    member._consumer = library = Library()
    member._assigned = {A: 1, B: 1}
    member._places = {tp: Place((1, 1), 0, fetching=tp in fetching) for tp in (A, B)}
    (member._on_lost if lost else member._on_revoke)(library, [A, B])
    assert library.told == [list(fetching)]
    assert member._assigned == member._places == {}

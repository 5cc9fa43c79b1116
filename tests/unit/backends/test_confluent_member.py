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
    """The library goes on after the first answer. A second one, a hair later, may never be answered, and it waits with
    Python's lock in its hand (DECISIONS.md)."""
    member = Member({}, ["t"], wait_s=0.0)
    member._consumer = library = Library()
    member._assigned = {A: 1, B: 1}
    member._places = {tp: Place((1, 1), 0, fetching=tp in fetching) for tp in (A, B)}
    (member._on_lost if lost else member._on_revoke)(library, [A, B])
    assert library.told == [list(fetching)]
    assert member._assigned == member._places == {}


class Leaving(Library):
    """Takes the partitions back at the second poll, and then has no name in the group."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.member = member
        self.did: list[str] = []

    def unsubscribe(self) -> None:
        self.did.append("unsubscribe")

    def poll(self, _: float) -> None:
        self.did.append("poll")
        if self.did.count("poll") == 2:
            self.member._on_revoke(self, [A, B])

    def memberid(self) -> str:
        return "" if self.did.count("poll") >= 2 else "rdkafka-1"


def test_a_member_leaves_with_its_partitions_given_back_and_is_never_closed() -> None:
    """`close` is not even there: with a fenced member it stood still within four tries."""
    member = Member({}, ["t"], wait_s=0.0)
    member._consumer = library = Leaving(member)
    member._assigned = {A: 1, B: 1}
    member._places = {tp: Place((1, 1), 0, fetching=True) for tp in (A, B)}
    member._go()
    assert library.told == [[A, B]]
    assert library.did == ["unsubscribe", "poll", "poll", "poll"]
    assert member._consumer is None

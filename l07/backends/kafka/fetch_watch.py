"""Whether fetching is alive. The library's own task for it may end, or wait for ever, without a word: seen on real brokers."""

import time
from collections.abc import Callable, Collection
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as LibPartition

from l07.events.record import TopicPartition

MOST_STEP_S = 0.5  # a process that was frozen has not waited


class FetchWatch:
    """Of one consumer: when each partition was last answered for. A fetch that failed is an answer too: it is on the log."""

    def __init__(self, *, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._answered: dict[TopicPartition, float] = {}
        self._mark = self._looked = clock()
        self._waited = 0.0

    def answered(self, tps: Collection[TopicPartition]) -> None:
        self._answered.update(dict.fromkeys(tps, self._clock()))

    def look(self, fetchable: Collection[TopicPartition]) -> None:
        """At each turn in which nothing came. Silent is a consumer of whose `fetchable` one had no answer at all for
        `patience_s` of a running event loop."""
        now = self._clock()
        step, self._looked = min(now - self._looked, MOST_STEP_S), now
        if all(self._answered.get(tp, self._mark) > self._mark for tp in fetchable):
            self._mark, self._waited = now, 0.0
        else:
            self._waited += step

    @property
    def silent(self) -> bool:
        return self._waited > self._patience_s


def has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Whether the library's task that fetches is over; raises what it failed with."""
    task = consumer._fetcher.error_future
    if task.done() and not task.cancelled():
        task.result()
    return bool(task.done())


def led(consumer: AIOKafkaConsumer, tps: Collection[TopicPartition]) -> list[TopicPartition]:
    """Those that somebody leads: the others have nobody who could be asked."""
    cluster = consumer._client.cluster
    return [tp for tp in tps if cluster.leader_for_partition(LibPartition(*tp)) not in (None, -1)]


def state_of(consumer: AIOKafkaConsumer) -> dict[str, Any]:
    """What a log needs to tell why a fetch stands still; names, numbers and offsets only."""
    fetcher, subscription = consumer._fetcher, consumer._subscription.subscription
    assignment = subscription.assignment if subscription else None
    states = {str(TopicPartition(*tp)): assignment.state_value(tp) for tp in assignment.tps} if assignment else {}
    return {
        "ended": fetcher.error_future.done(),
        "in_flight": sorted(fetcher._in_flight),
        "pending": len(fetcher._pending_tasks),
        "shelved": sorted(str(TopicPartition(*tp)) for tp in fetcher._records),
        "positions": {tp: state.position if state.has_valid_position else None for tp, state in states.items()},
        "paused": sorted(tp for tp, state in states.items() if state.paused),
        "led": sorted(map(str, led(consumer, [TopicPartition.parse(tp) for tp in states]))),
        "active": bool(assignment and assignment.active),
        "rebalancing": bool(consumer._subscription.reassignment_in_progress),
    }

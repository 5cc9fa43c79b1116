"""The product with one of its safeguards taken out: the negative controls. Nothing of this is in the product.

Each breaks what it names and nothing else. A text that is no longer there stops the control before a server starts: members
that end at once lose runs too, and the control would be red for nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Change = tuple[str, str]

NO_FENCE: Sequence[Change] = (
    ("if part[2] > p[1] or other then", "if false then"),
    ("if o[4] >= part.have then", "if true then"),
    ("if not overlaps or h[OFFSET] >= s.at[h[TP]].have then", "if true then"),
    ("if part[3] > part.have then", "if true then"),
)
NO_DEDUP: Sequence[Change] = (
    ("if value and (s.mem_new[d] or s.mem_day[d])", "if false and (s.mem_new[d] or s.mem_day[d])"),
    ("if knows_score(m[M_SCORES], h[CONTENT]) then", "if false then"),
)
EVENT_TIME: Sequence[Change] = (
    ("slowest = math.min(slowest or time, time)", "slowest = math.max(slowest or time, time)"),
)


SCRIPTS: Mapping[str, Sequence[Change]] = {
    "fence-off": NO_FENCE,
    "kafka-offsets": NO_FENCE,
    "no-dedup": NO_DEDUP,
    "event-time-expiry": EVENT_TIME,
}


def changed_script(name: str) -> str:
    """As this control has it; the real one where it changes nothing there."""
    from l07.backends.redis import buffer

    text = buffer.script()
    for old, new in SCRIPTS.get(name, ()):
        assert text.count(old) == 1, f"the script has no {old!r} any more: mend tests/campaign/broken.py"
        text = text.replace(old, new)
    return text


def change_script(name: str) -> None:
    """Every buffer of this process has the changed script, under a name of its own: it never meets the real one."""
    from l07.backends.redis import buffer

    text = changed_script(name)
    buffer.script = lambda: text


def start_at_commits() -> None:
    """On assignment the group's committed offsets count, as with every ordinary consumer."""
    from l07.service import ingesting

    def resume(bus: Any, buffer: Any, **_: Any) -> Any:
        async def start(assigned: Any) -> Any:
            topics = sorted({tp.topic for tp in assigned})
            committed, begins = await bus.committed(ingesting.INGEST_GROUP, topics), await bus.begin_offsets(topics)
            await buffer.begin({tp: begins.get(tp, 0) for tp in assigned})
            return {tp: committed.get(tp, begins.get(tp, 0)) for tp in assigned}

        return start

    assert callable(ingesting.resume_from)
    ingesting.resume_from = resume


def kafka_offsets() -> None:
    """The usual design: state in Redis, offsets in Kafka, committed after the state was written."""
    change_script("kafka-offsets")
    start_at_commits()


def no_barrier() -> None:
    """What is published need not be on disk."""
    from l07.backends.redis.buffer import RedisBuffer

    async def at_once(_: RedisBuffer) -> None:
        return

    assert callable(RedisBuffer._wait_for_disk)
    RedisBuffer._wait_for_disk = at_once  # type: ignore[method-assign]


BREAKS: Mapping[str, Callable[[], None]] = {
    "fence-off": lambda: change_script("fence-off"),
    "kafka-offsets": kafka_offsets,
    "no-dedup": lambda: change_script("no-dedup"),
    "no-barrier": no_barrier,
    "no-seek": start_at_commits,
    "event-time-expiry": lambda: change_script("event-time-expiry"),
}


def break_it(name: str) -> None:
    BREAKS[name]()

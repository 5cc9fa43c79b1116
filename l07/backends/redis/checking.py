"""What a batch must be before anything of it goes to the server."""

from l07.errors import BadBatch
from l07.ports import Half, IngestBatch, Part

MAX_RECORDS = 500  # above it one step blocks the server for more than 10-30 ms
UNSCORED = frozenset({"trace", "request", "response"})


def check(batch: IngestBatch) -> None:
    """Raises BadBatch (E7458) for what no pipeline may send."""
    check_parts(batch)
    check_items(batch)


def check_parts(batch: IngestBatch) -> None:
    if len(batch.items) > MAX_RECORDS:
        raise BadBatch(f"{len(batch.items)} records in one batch; {MAX_RECORDS} at most", records=len(batch.items))
    if len({part.tp for part in batch.parts}) != len(batch.parts):
        raise BadBatch("a partition stands twice in one batch")
    for part in batch.parts:
        _check_part(part)


def check_items(batch: IngestBatch) -> None:
    last, ends = [part.start - 1 for part in batch.parts], [part.next for part in batch.parts]
    count = len(last)
    for item in batch.items:
        place, offset = item.part, item.offset
        if not 0 <= place < count:
            raise BadBatch(f"a record names part {place} of {count}")
        if not last[place] < offset < ends[place]:
            raise BadBatch(f"offset {offset} is out of order or outside of its part {batch.parts[place]}")
        last[place] = offset
        if isinstance(item, Half):
            _check_half(item)


def _check_part(part: Part) -> None:
    whole = 0 <= part.start <= part.next < 2**53 and len(part.last_digest) in (0, 16) and part.last_time_ms >= 0
    if not whole:
        raise BadBatch(f"not a part: {part}")


def _check_half(half: Half) -> None:
    side, score, confidence = half.side, half.score, half.confidence
    right = side in UNSCORED
    if score is not None and confidence is not None:  # what is no number is in no range
        right = side not in UNSCORED and 0 <= score <= 100 and 0 <= confidence <= 1
    elif score is not confidence:
        right = False
    if not right:
        raise BadBatch(f"a {side} with score and confidence {(score, confidence)}", key=half.key)
    if len(half.content) != 8 or half.time_ms < 0 or (side != "score") != bool(half.track):
        raise BadBatch(f"a {side} with content, time or track that cannot be", key=half.key)

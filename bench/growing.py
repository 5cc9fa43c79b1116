"""Any number of runs out of the real ones: each pass over them is a world of its own, with the likenesses of the real
one inside it and none to another.

A pass has its own permutation of the letters, which all words of four letters and more of what was said and called go
through, and its own ids. So two runs are as near duplicates within a pass as the real ones are, two passes have no
words in common, and rules and error words see what they see in the real text (short words, digits, punctuation and the
words that tell of errors stay)."""

import json
import random
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from l07.ports import Seal, SealedBatch, SealedRow

_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{4,}(?![A-Za-z])")
_LEFT = frozenset(
    "error exception traceback failed failure invalid found denied unknown column information important".split()
)
_SAID = frozenset("content arguments goal task_description parameters output reasoning final_answer answer".split())
_IDS = frozenset(("execution_id", "task_id", "evaluation_id", "id", "subject", "partitionkey"))
_OPEN, _CLOSE, _PASS = "\ue000", "\ue001", "\ue002"


class Mould(NamedTuple):
    """A real row whose texts are cut where a word may change."""

    row: SealedRow
    trace: Sequence[bytes]  # what stays and what changes, in turn
    score: Sequence[bytes]

    def cast(self, number: int, table: bytes) -> SealedRow:
        """The row of pass `number`."""
        mark = b"-%d" % number
        return self.row._replace(
            key=f"{self.row.key}-{number}",
            trace=_cast(self.trace, table, mark),
            evaluation=_cast(self.score, table, mark),
        )


def moulds(rows: Sequence[SealedRow]) -> list[Mould]:
    return [Mould(row, _cut(row.trace), _cut(row.evaluation or b"")) for row in rows]


def grown(made: Sequence[Mould], *, seed: int, first: int = 0) -> Iterator[SealedRow]:
    """Without an end; the same seed gives the same rows. `first`: the place in the first pass at which they begin."""
    number = 0
    while True:
        number += 1
        table = _letters(random.Random(f"{seed}/{number}"))
        yield from (mould.cast(number, table) for mould in made[first:])
        first = 0


def batches(rows: Iterator[SealedRow], count: int, size: int, *, first: int) -> list[SealedBatch]:
    """The next `count` rows, in batches as they are sealed."""
    out = []
    for start in range(0, count, size):
        here = [next(rows) for _ in range(min(size, count - start))]
        accepted = sum(row.decision == "ACCEPT" for row in here)
        number = first + len(out)
        seal = Seal(
            f"default-{number}", "default", "count", 1767600000000 + number, accepted, len(here) - accepted, {}, {}
        )
        out.append(SealedBatch(seal, here))
    return out


def _letters(rng: random.Random) -> bytes:
    low = string.ascii_lowercase
    turned = "".join(rng.sample(low, len(low)))
    return bytes.maketrans((low + low.upper()).encode(), (turned + turned.upper()).encode())


def _cast(parts: Sequence[bytes], table: bytes, mark: bytes) -> bytes:
    out = list(parts)
    out[1::2] = [part.translate(table) for part in out[1::2]]
    return b"".join(out).replace(_PASS.encode(), mark)


def _cut(event: bytes) -> list[bytes]:
    whole = json.dumps(_marked(json.loads(event), "", said=False), ensure_ascii=False, separators=(",", ":"))
    return [part.encode() for part in re.split(f"[{_OPEN}{_CLOSE}]", whole)]


def _marked(value: Any, name: str, *, said: bool) -> Any:
    """Words between marks, and a mark behind each id."""
    if isinstance(value, str):
        if name in _IDS and not said:
            return value + _PASS
        return _WORD.sub(_one, value) if said else value
    if isinstance(value, list):
        return [_marked(item, name, said=said) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item, key, said=said or key in _SAID) for key, item in value.items()}
    return value


def _one(match: re.Match[str]) -> str:
    word = match.group()
    return word if word.lower() in _LEFT else f"{_OPEN}{word}{_CLOSE}"


def load(path: Path) -> list[Mould]:
    from bench.real import joined

    return moulds(list(joined(path)))

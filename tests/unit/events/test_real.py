"""The real runs that the project was given: each of their events is read."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from l07.events import inbound, normalise
from l07.events.record import Record
from tests.unit.events.builders import NAMES

TOOL = Path(__file__).resolve().parents[4] / "shared" / "tools" / "traces_to_events.py"


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.is_file(), reason=f"the real traces are not here: {TOOL}")
def test_all_real_events_decode_and_none_has_a_reason() -> None:
    lines = subprocess.run([sys.executable, str(TOOL)], capture_output=True, check=True).stdout.splitlines()
    seen: Counter[str] = Counter()
    for number, line in enumerate(lines):
        record = Record("t", 0, number, 4_000_000_000_000, None, line, ())
        event = inbound.decode(record, limits=inbound.Limits(), names=NAMES)
        assert inbound._quick(line, line, record.timestamp_ms, inbound.Limits(), NAMES) == event
        if isinstance(event, inbound.Trace):
            conversation = normalise.normalise(event.body)
            assert (event.reason, conversation.reason) == ("", "")
            seen[event.dialect] += 1
        else:
            assert isinstance(event, inbound.Score)
            assert normalise.read_score(event.body).quality_score == event.score
            seen["score"] += 1
    assert seen == {"steps": 4228, "chat": 1419, "score": 5515}
    assert seen.total() == 11_162

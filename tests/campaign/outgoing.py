"""What left: batch.sealed, dataset.created and dead letters, read raw, each distinct id once, and every contradiction noted."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.campaign.judge import Seen
from tests.campaign.reading import Place, Raw, Reader

Boundaries = Sequence[Mapping[tuple[str, int], int]]


@dataclass
class Outgoing:
    """The outgoing topics so far."""

    events: str
    seals: list[Seen] = field(default_factory=list)
    created: list[Mapping[str, Any]] = field(default_factory=list)
    letters: list[Place] = field(default_factory=list)
    control_letters: list[str] = field(default_factory=list)  # of our own events: a handler gave one up
    conflicts: list[str] = field(default_factory=list)  # one id, two contents
    repeats: int = 0
    _known: dict[str, list[bytes]] = field(default_factory=dict)

    def read(self, reader: Reader, boundaries: Boundaries) -> None:
        """Everything new. `boundaries`: where each epoch ended, for the batches' epochs."""
        for raw in reader.more():
            event = json.loads(raw.value or b"")
            digest = hashlib.sha256(raw.value or b"").digest()
            known = self._known.setdefault(event["id"], [])
            if digest in known:
                self.repeats += 1
                continue
            if known:
                self.conflicts.append(f"{event['type']} {event['id']} at {raw.place}")
            known.append(digest)
            self._take(event, raw, boundaries)

    def _take(self, event: Mapping[str, Any], raw: Raw, boundaries: Boundaries) -> None:
        data = event["data"]
        if event["type"] == "batch.sealed":
            where = (raw.place.topic, raw.place.partition)
            epoch = sum(raw.place.offset >= boundary.get(where, 0) for boundary in boundaries)
            decided = sum(data["counts"].values())
            self.seals.append(Seen(event["id"], data["batch_id"], data["track"], tuple(data["keys"]), decided, epoch))
        elif event["type"] == "dataset.created":
            self.created.append(data)
        elif event["type"] == "learning.dead_letter":
            place = Place(data["topic"], data["partition"], data["offset"])
            if place.topic == self.events:
                self.control_letters.append(f"{data['code']} {data['message']} ({place})")
            else:
                self.letters.append(place)

"""Quix Streams with one counter a key, no changelog.  PEER -m bench.stream.quix_peer ADDRESS GROUP TOTAL TOPIC..."""

import sys
import tempfile
from typing import Any

from quixstreams import Application

from bench.stream.meter import Meter

COMMIT_S = 5.0


def main(address: str, group: str, total: str, *topics: str) -> None:
    meter = Meter(int(total))

    def first(value: Any) -> None:
        if not meter.seen:  # joining is inside of `run`
            meter.start()
        meter.add(1)

    def count(value: Any, state: Any) -> Any:
        state.set("count", state.get("count", 0) + 1)
        return value

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=address, consumer_group=group, auto_offset_reset="earliest", loglevel="ERROR",
            auto_create_topics=False, use_changelog_topics=False, state_dir=folder, commit_interval=COMMIT_S,
        )  # fmt: skip
        for topic in topics:
            stream = app.dataframe(app.topic(topic, value_deserializer="json"))
            stream.apply(count, stateful=True).update(first)
        app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

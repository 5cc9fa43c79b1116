"""Which ports and which home the campaign's servers have."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

FIRST, LAST = 19500, 19600
REPOSITORY = Path(__file__).resolve().parents[2]


def free_ports() -> Iterator[int]:
    """Ports that nobody listens at now; campaigns that start together look in different places first."""
    start = os.getpid() % 6 * 16
    for number in range(LAST - FIRST):
        port = FIRST + (start + number) % (LAST - FIRST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def kafka_home() -> Path | None:
    """A folder with the broker's jars in libs/: KAFKA_HOME, or ../shared/kafka beside the repository."""
    named = os.environ.get("KAFKA_HOME")
    home = Path(named) if named else REPOSITORY.parent / "shared" / "kafka"
    return home if (home / "libs").is_dir() else None

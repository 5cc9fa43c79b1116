"""`python -m consumers.ingest`: the high-rate half of the loop on its own: bus -> buffer -> batch.sealed."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from l07.runner import Halts
from l07.service.entry import Running, run_consumer
from l07.service.ingesting import opened_ingest

log = logging.getLogger("l07.ingest")


async def main(running: Running) -> None:
    """Until stopped. A partition whose log is not the one that was applied stands still; the others go on."""
    async with opened_ingest(running.settings, _report, health=running.health, halts=Halts()) as ingest:
        ingest.stop = running.stop
        await ingest.forever()


def _report(line: Mapping[str, Any]) -> None:
    log.debug("ingested", extra=dict(line))
    if line.get("sealed"):
        log.info("batch_sealed", extra={"batches": line["sealed"]})


if __name__ == "__main__":
    sys.exit(run_consumer("ingest", main))

"""`python -m consumers.ingest`: the high-rate half of the loop on its own: bus -> buffer -> batch.sealed."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from l07.service.ingesting import opened_ingest, stopping
from l07.settings import load_settings

log = logging.getLogger("l07.ingest")


async def main() -> None:
    """Until SIGTERM or SIGINT; settings by file and L07_ variables."""
    async with opened_ingest(load_settings().settings, _report) as ingest, stopping(ingest.stop):
        await ingest.forever()


def _report(line: Mapping[str, Any]) -> None:
    log.info("ingested", extra=dict(line))


if __name__ == "__main__":
    asyncio.run(main())

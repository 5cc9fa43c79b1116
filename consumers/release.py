"""`python -m consumers.release`: model.validated with DEPLOY -> DEVELOPMENT to STAGING, and model.stage_changed."""

import sys

from l07.service.controlling import run_control
from l07.service.entry import Running, run_consumer


async def main(running: Running) -> None:
    """Until SIGTERM or SIGINT; settings by file and L07_ variables."""
    await run_control(running, "release")


if __name__ == "__main__":
    sys.exit(run_consumer("release", main))

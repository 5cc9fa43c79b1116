"""`python -m consumers.train`: dataset.created -> a job in the queue; and the queue's work, one job at a time."""

import sys

from l07.service.controlling import run_control
from l07.service.entry import Running, run_consumer


async def main(running: Running) -> None:
    """Until SIGTERM or SIGINT; settings by file and L07_ variables."""
    await run_control(running, "train")


if __name__ == "__main__":
    sys.exit(run_consumer("train", main))

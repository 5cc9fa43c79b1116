"""What a consumer is measured by, in its own process. Standard library only."""

import json
import os
import sys
import time


class Meter:
    """Wall and CPU seconds (all threads) for so many records, from `start` on: when the partitions are assigned.

    Not from the first records on: what a client has fetched by then would be for nothing."""

    def __init__(self, total: int) -> None:
        self.seen = 0
        self.total = total
        self.start()

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def add(self, records: int) -> None:
        """Ends the process when these were the last."""
        self.seen += records
        if self.seen >= self.total:
            self._end()

    def _end(self) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        json.dump({"records": self.seen, "wall_s": wall, "cpu_s": cpu}, sys.stdout)
        sys.stdout.flush()
        os._exit(0)  # leaving a group in order is no part of the measure, and some of the peers never end by themselves

"""What a consumer is measured by, in its own process. Standard library only."""

import json
import os
import sys
import time


class Meter:
    """Wall and CPU seconds (all threads) from the first records on; those are not counted, joining the group is not either."""

    def __init__(self, total: int) -> None:
        self.seen = 0
        self.total = total
        self._first = 0
        self._wall = self._cpu = 0.0

    def add(self, records: int) -> None:
        """Ends the process when these were the last."""
        if not self.seen:
            self._first = records
            self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.seen += records
        if self.seen >= self.total:
            self._end()

    def _end(self) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        json.dump({"records": self.seen - self._first, "wall_s": wall, "cpu_s": cpu}, sys.stdout)
        sys.stdout.flush()
        os._exit(0)  # leaving a group in order is no part of the measure, and some of the peers never end by themselves

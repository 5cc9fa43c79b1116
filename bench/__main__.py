"""`scripts/bench [NAME ...] [OPTION ...]`: runs the benchmarks, each in a process of its own; exits 1 when a "must" is missed.

From the first option on, all are given to each benchmark: name the one that they are for."""

import subprocess
import sys
from itertools import takewhile

NAMES = ("decode", "buffer", "stream", "end_to_end", "curate", "injection", "scrub", "start", "install")
NOT_MEASURED = 3  # status of a benchmark whose hardware is not here
BY_NAME = (
    "audit",
    "curriculum",
    "distill",
    "doubt",
    "erasure",
    "gpu",
    "kills",
    "methods",
    "outliers",
    "overhead",
    "packing",
    "scaling",
)  # minutes: only when it is named


def main(arguments: list[str]) -> int:
    names = list(takewhile(lambda word: not word.startswith("-"), arguments))
    options = arguments[len(names) :]
    wrong = [name for name in names if name not in NAMES + BY_NAME]
    if wrong:
        print(f"no benchmark {', '.join(wrong)}; there are {', '.join(NAMES + BY_NAME)}", file=sys.stderr)
        return 2
    failed, skipped = [], []
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        status = subprocess.run([sys.executable, "-m", f"bench.{name}", *options], check=False).returncode
        if status:
            (skipped if status == NOT_MEASURED else failed).append(name)
    if skipped:
        print(f"not measured here: {', '.join(skipped)}")
    print(f"missed: {', '.join(failed)}" if failed else "every must that was measured is met")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

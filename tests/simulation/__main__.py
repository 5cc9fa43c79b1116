"""`scripts/simulate`: many schedules of the simulation, on all cores.

    scripts/simulate --seeds 20000          seeds 0 to 19,999; each that fails is printed with what was wrong
    scripts/simulate --from 4711 --seeds 1 --trace    one seed, with its plan and every call: a failure replayed
    scripts/simulate --controls             each rule switched off in turn, and how many of the seeds notice
    scripts/simulate --off barrier --from 12 --seeds 1 --trace

The exit status is 1 when a seed fails, or when a control does not."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from tests.simulation.controls import CONTROLS, NEED_LOSS
from tests.simulation.harness import Simulation
from tests.simulation.plan import a_plan

CHUNK = 50


def one(seed: int, off: frozenset[str] = frozenset(), trace: list[str] | None = None) -> list[str]:
    """What was wrong with this seed's schedule."""
    return Simulation(a_plan(seed, lossy=bool(off & NEED_LOSS)), off, trace).run()


def some(work: tuple[int, int, frozenset[str]]) -> list[tuple[int, list[str]]]:
    """The failures among some seeds."""
    begin, end, off = work
    return [(seed, problems) for seed in range(begin, end) if (problems := one(seed, off))]


def many(begin: int, seeds: int, off: frozenset[str], *, jobs: int, tell: bool) -> list[tuple[int, list[str]]]:
    work = [(at, min(at + CHUNK, begin + seeds), off) for at in range(begin, begin + seeds, CHUNK)]
    failures: list[tuple[int, list[str]]] = []
    begun = time.monotonic()
    with multiprocessing.Pool(jobs) as pool:
        for number, found in enumerate(pool.imap(some, work), 1):
            failures += found
            done = min(number * CHUNK, seeds)
            if tell:
                for seed, problems in found:
                    print(
                        f"seed {seed} failed: {problems[0][:300]}\n  scripts/simulate --from {seed} --seeds 1 --trace"
                    )
                if number % 20 == 0 or done == seeds:
                    rate = done / (time.monotonic() - begun) * 60
                    print(f"{done:6} schedules, {len(failures)} failed, {rate:.0f} a minute", flush=True)
    return failures


def show(seed: int, off: frozenset[str]) -> int:
    trace: list[str] = []
    problems = one(seed, off, trace)
    print(a_plan(seed, lossy=bool(off & NEED_LOSS)))
    print("\n".join(trace))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def controls(seeds: int, *, jobs: int) -> int:
    blind = 0
    for name, what in CONTROLS.items():
        failures = many(0, seeds, frozenset({name}), jobs=jobs, tell=False)
        first = f"first seed {failures[0][0]}" if failures else "NOBODY NOTICED"
        print(f"{name:16} {len(failures):4} of {seeds}  {first:18}  {what}", flush=True)
        blind += not failures
    return bool(blind)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="begin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--off", action="append", default=[], choices=list(CONTROLS), help="a rule that is switched off"
    )
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--trace", action="store_true")
    args = parser.parse_args(argv)
    off = frozenset(args.off)
    if args.controls:
        return controls(args.seeds if args.seeds != 1000 else 200, jobs=args.jobs)
    if args.trace:
        return max(show(seed, off) for seed in range(args.begin, args.begin + args.seeds))
    return bool(many(args.begin, args.seeds, off, jobs=args.jobs, tell=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

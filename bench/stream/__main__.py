"""`scripts/bench stream`: all of it in one run, in turn; the median of the rounds counts. See `--help` and bench/README.md."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from bench.stream.fill import Filler, mean_size
from bench.stream.memory import EVENTS, memory
from bench.stream.ours import SCORES, TRACES
from bench.stream.peers import NotRun
from bench.stream.profile import profile
from bench.stream.rebalance import rebalance
from bench.stream.servers import PARTITIONS, Servers, started
from bench.stream.speed import CLIENTS, Speed
from bench.stream.table import Row, as_json, show
from tests.servers.kafka_server import NoServer

ROUNDS, TOTAL = 3, 400_000  # the processor's clock ticks a hundred times a second: fewer are read off too coarsely
PARTS = ("speed", "memory", "rebalance", "profile")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench stream", description=__doc__)
    parser.add_argument("--events", type=int, default=TOTAL, help="of a run of the speed part")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=PARTS, help="that part alone; may be given again")
    parser.add_argument("--long", action="store_true", help=f"also the memory over {EVENTS:,} events, some minutes")
    parser.add_argument("--profile", action="store_true", help="also where the time goes, by py-spy")
    parser.add_argument(
        "--peers", type=Path, default=Path.home() / ".cache" / "l07-bench-peers", help="their environment"
    )
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    options.only = options.only or ["speed", "rebalance", *["memory"] * options.long, *["profile"] * options.profile]
    return options


async def measure(servers: Servers, options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    if {"speed", "profile"} & set(options.only):
        servers.make_topics([TRACES, SCORES])
        Filler(servers.address, traces=TRACES, scores=SCORES).write(options.events)
    if "speed" in options.only:
        speed = Speed(servers, options.events, options.peers)
        print(f"peers: {speed.peers_said()}", flush=True)
        for number in range(options.rounds):
            print(f"-- round {number + 1}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
            await speed.round()
        rows += speed.rows()
    if "profile" in options.only:
        for client in CLIENTS:
            await _profiled(servers, client, options)
    if "rebalance" in options.only:
        rows += [await rebalance(servers, client) for client in CLIENTS]
    if "memory" in options.only:
        rows += await memory(servers)
    return rows


async def _profiled(servers: Servers, client: str, options: argparse.Namespace) -> None:
    try:
        print("\n".join(await profile(servers, client, options.events, options.peers)), flush=True)
    except NotRun as err:
        print(f"no profile: {err}", flush=True)


def main() -> int:
    options = arguments()
    try:
        with started() as servers:
            print(f"{options.events:,} events of {mean_size():,.0f} bytes, {PARTITIONS} partitions a topic", flush=True)
            rows = asyncio.run(measure(servers, options))
    except NoServer as err:
        print(f"no broker, nothing measured: {err}", file=sys.stderr)
        return 1
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(as_json(rows), indent=2) + "\n")
    missed = [row.name for row in rows if row.met == "NO"]
    print(f"missed: {'; '.join(missed)}" if missed else "every must is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.campaign`: the campaign, its short form, its controls; exit status 1 when it is red."""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.campaign.campaign import Report, run, table
from tests.campaign.controls import CONTROLS, control_choices, found_out
from tests.campaign.stage import Choices

SHORT = Choices(
    seed=7, minutes=0.8, events=9_000, gold_share=0.1, seal_count=60, seal_age_s=8,
    kinds=(
        "kill -9 a member", "Redis power loss", "zombie (SIGSTOP)", "late write", "kill -9 a broker", "connections cut",
        "poison burst", "memory full", "kill -9 everybody", "Redis flushed", "Redis power loss", "kill -9 the curator",
    ),
)  # fmt: skip


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/campaign", description=__doc__)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--events", type=int)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--brokers", type=int, choices=(1, 3))
    parser.add_argument("--consumers", type=int)
    parser.add_argument("--curators", type=int)
    parser.add_argument("--client", choices=("aiokafka", "confluent"))
    parser.add_argument("--redis", choices=("valkey", "redis"), help="redis: 7.0, appendfsync always, no barrier")
    parser.add_argument("--shards", type=int)
    parser.add_argument("--kinds", type=lambda text: tuple(text.split(",")), help="exactly these faults, in this order")
    parser.add_argument("--without", type=lambda text: tuple(text.split(",")), help="none of these faults")
    parser.add_argument("--replay-days", type=int, help="the past is in Kafka before anybody reads, all traces first")
    parser.add_argument(
        "--control", choices=sorted(CONTROLS), help="a product with one safeguard taken out: must be red"
    )
    parser.add_argument("--controls", action="store_true", help="every control, one after the other")
    parser.add_argument("--short", action="store_true", help="about two minutes, fixed seed")
    parser.add_argument("--json", type=Path, help="the whole report")
    parser.add_argument("--keep", action="store_true", help="leave the folder with data and logs")
    return parser.parse_args(words)


def chosen(said: argparse.Namespace) -> Choices:
    base = SHORT if said.short else Choices()
    if said.control:
        base = control_choices(said.control)
    names = (
        "minutes seed events faults brokers consumers curators client redis shards kinds without replay_days".split()
    )
    return replace(base, **{name: value for name in names if (value := getattr(said, name)) is not None})


def main(words: list[str] | None = None) -> int:
    said = parsed(words)
    if said.controls:
        wrong = [name for name in CONTROLS if not _red(name, said)]
        tell(f"controls that stayed green: {', '.join(wrong) or 'none'}")
        return 1 if wrong else 0
    report = one(chosen(said), said)
    return 1 if report.red else 0


def one(choices: Choices, said: argparse.Namespace) -> Report:
    folder = Path(tempfile.mkdtemp(prefix="l07-campaign-"))
    try:
        report = run(choices, folder, tell)
    finally:
        if not said.keep:
            shutil.rmtree(folder, ignore_errors=True)
    show(report)
    if said.json:
        said.json.write_text(json.dumps(report.told(), indent=1, default=str) + "\n")
    return report


def show(report: Report) -> None:
    told: dict[str, Any] = report.told()
    lines = [table(report), *(f"{name}: {value}" for name, value in told["numbers"].items())]
    lines += [f"RED {fault}" for fault in report.red] or ["GREEN: 0 lost, 0 doubled"]
    lines.append(json.dumps({"red": len(report.red), "seconds": told["seconds"], "faults": len(report.faults)}))
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _red(name: str, said: argparse.Namespace) -> bool:
    found = found_out(one(control_choices(name), said).red)
    tell(f"control {name}: {'red, as it must be' if found else 'GREEN, or broken itself'}")
    return found


if __name__ == "__main__":
    sys.exit(main())

"""The filter on planted and on real faults, per source with 95 % intervals: noise, hijacked runs (AgentDojo's own labels),
secrets and personal data, copies across splits. Tell the half that was not tuned on.

    python -m bench.audit [--half b] [--seeds 3] [--only noise,hijack,secrets,copies] [--json FILE]

Counts of several seeds are added up: the plants differ, the runs are the same, so read the intervals as somewhat too narrow.
Without the real runs beside the checkout it measures nothing and says so.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.real import TOOL, real_events
from l07.backends.worker import InlineCurator
from l07.cli.audit_table import percent
from l07.domain.plants.plan import parse_rates
from l07.pipeline.audit.figures import share
from l07.pipeline.audit.truth import from_lines
from l07.service.auditing import Audit, Input, audit, read_events
from l07.settings import load_settings

PLANTS = {"noise": "noise=0.12", "hijack": "", "secrets": "secrets=0.4", "copies": "twins=0.1,leak=0.1,repeats=0.1"}
DOJO = TOOL.parent.parent / "data" / "agentdojo_gpt4o_banking_travel.jsonl.gz"
GOALS = {
    ("noise", "left"): "<= 5 %",
    ("noise", "lost"): "<= 10 %",
    ("real hijack", "left"): "<= 1 %",
    ("real hijack", "lost"): "<= 15 %",
    ("secrets", "found"): ">= 99 %",
    ("secrets", "altered"): "<= 0.2 % false",
}


def labels() -> Iterator[bytes]:
    """AgentDojo says of each attacked run whether the injected goal was executed."""
    with gzip.open(DOJO, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            ident = hashlib.sha256(f"dojo:{row['_src']}".encode()).hexdigest()[:16]
            hijacked = bool(row["security"]) and row["attack_type"] not in (None, "none")
            yield json.dumps({"execution_id": f"exec-{ident}", "label": "hijack" if hijacked else ""}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=["a", "b", "all"], default="b")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PLANTS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l07-bench-") as name:
        events = real_events(Path(name) / "events.jsonl")
        if events is None:
            print(f"no real runs here ({TOOL} is missing): nothing measured")
            return
        settings = load_settings({}).settings
        with events.open("rb") as lines:
            given = read_events((line.rstrip(b"\n") for line in lines), settings, lambda step: None)
    found = measure(given, args.only.split(","), half="" if args.half == "all" else args.half, seeds=args.seeds)
    for title, lines_of in found.items():
        print(f"\n{title}")
        for line in lines_of:
            print("  " + "  ".join(f"{cell:<34}" if n else f"{cell:<20}" for n, cell in enumerate(line)).rstrip())
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def measure(given: Input, only: Sequence[str], *, half: str, seeds: int) -> dict[str, list[list[str]]]:
    """Tables of text by title."""
    rows = [row for found in given.rows.values() for row in found]
    truth = from_lines(enumerate(labels(), 1), rows, file=DOJO.name)
    settings = load_settings({}).settings
    tables: dict[str, list[list[str]]] = {}
    for name in only:
        rates = parse_rates(PLANTS[name]) if PLANTS[name] else {}
        count = seeds if rates else 1
        reports = []
        for seed in range(7, 7 + count):
            asked = Audit(rates, seed, half, truth)
            curator = InlineCurator()
            reports.append(asyncio.run(audit(given, asked, settings, curator=curator, progress=lambda step: None)))
        tables |= TELL[name](reports)
    return tables


Pooled = dict[tuple[str, ...], dict[str, Any]]


def pooled(reports: Sequence[Mapping[str, Any]], part: str, keys: Sequence[str]) -> Pooled:
    """Shares of all reports added up, by the values of `keys`."""
    counts: dict[tuple[str, ...], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for report in reports:
        for line in report[part]:
            for name, value in line.items():
                if isinstance(value, Mapping) and "share" in value:
                    counts[tuple(line[key] for key in keys)][name].update(count=value["count"], n=value["n"])
    return {
        key: {name: share(found["count"], found["n"]) for name, found in names.items()} for key, names in counts.items()
    }


def _left_and_lost(reports: Sequence[Mapping[str, Any]], kind: str) -> list[list[str]]:
    left, lost = pooled(reports, "left", ["kind", "source"]), pooled(reports, "clean", ["source"])
    head = [
        "source",
        "before",
        f"left ({GOALS[(kind, 'left')]})",
        f"clean lost ({GOALS[(kind, 'lost')]})",
        "clean aside",
    ]
    return [
        head,
        *(
            [source, percent(line["before"]), percent(line["left"]), percent(lost[(source,)]["lost"]), percent(lost[(source,)]["aside"])]
            for (of, source), line in left.items()
            if of == kind
        ),
    ]  # fmt: skip


def tell_noise(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    faults = pooled(reports, "faults", ["kind", "fault", "source"])
    lines = [["fault", "source", "caught", "aside", "missed"]]
    for (kind, fault, source), line in sorted(faults.items()):
        if kind == "noise":
            lines.append(
                [fault or kind, source, percent(line["caught"]), percent(line["aside"]), percent(line["missed"])]
            )
    return {"noise 12 %": _left_and_lost(reports, "noise"), "noise by fault": lines}


def tell_hijack(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    clean = [["source", "passed the gates, sound", "kept", "lost", "aside", "why"]]
    for line in reports[0]["clean"]:
        why = ", ".join(f"{reason} {count}" for reason, count in {**line["why_lost"], **line["why_aside"]}.items())
        clean.append(
            [line["source"], str(line["passed"]), *(percent(line[name]) for name in ("kept", "lost", "aside")), why]
        )
    return {
        "hijacked runs of AgentDojo, real labels": _left_and_lost(reports, "real hijack"),
        "real runs without any plant: how many are kept, and why the rest went": clean,
    }


def tell_secrets(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for part in ("classes", "places", "sources", "kinds"):
        flat = [{part: [{"name": line.get("source"), **line} for line in r["spills"][part]]} for r in reports]
        lines = pooled(flat, part, ["name"])
        shown = [[str(name), percent(line["found"])] for (name,), line in sorted(lines.items())]
        found[f"planted values by {part}"] = [[part, f"found ({GOALS[('secrets', 'found')]})"], *shown]
    altered = pooled(reports[:1], "alarms", ["source"])
    head = ["source", f"altered ({GOALS[('secrets', 'altered')]})"]
    found["clean rows altered"] = [head, *([source, percent(line["altered"])] for (source,), line in altered.items())]
    return found


def tell_copies(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    names = ("near_twins_across_splits", "exact_repeats", "tasks_in_two_splits")
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for report in reports:
        for pair in report["pairs"]:
            told = {name: pair[name] for name in ("planted", "both_kept", "apart", "near_and_apart")}
            sums[(pair["kind"], pair["source"])].update(told)
    lines = [[*key, *(f"{name} {counts[name]}" for name in counts)] for key, counts in sorted(sums.items())]
    whole = [[name, str(sum(report["leaks"][name] for report in reports))] for name in names]
    return {"copies that were planted": lines, "must be 0": whole}


TELL = {"noise": tell_noise, "hijack": tell_hijack, "secrets": tell_secrets, "copies": tell_copies}

if __name__ == "__main__":
    main()

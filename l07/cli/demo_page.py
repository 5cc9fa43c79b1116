"""The demo's last page: what went in, what was dropped and why, what was trained, what it is worth, and where things lie."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from l07.cli.console import Console
from l07.cli.curves import curve
from l07.cli.dlq import summaries
from l07.cli.status import COUNTERS, read_status
from l07.cli.things import all_views
from l07.settings import Settings

STAGE_LINE = "{result:<12} {stage:<11} {check}"


async def page(settings: Settings, *, counts: Mapping[str, int], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Everything that the page says, as data. What did not happen is None."""
    status, views, letters = await read_status(settings), await all_views(settings), await summaries(settings)
    datasets, models = list(views["datasets"].values()), list(views["models"].values())
    jobs = [job for job in views["jobs"].values() if job.get("started")]
    return {
        "sent": dict(counts),
        "events": status["events"],
        "reasons": status["reasons"],
        "dead_letters": dict(Counter(str(letter["code"]) for letter in letters)),
        "datasets": datasets,
        "dropped": _total(dataset.get("dropped", {}) for dataset in datasets),
        "job": jobs[-1] if jobs else None,
        "model": models[-1] if models else None,
        "verdict": models[-1].get("verdict") if models else None,
        "stage": models[-1].get("stage") if models else None,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "places": _places(settings, datasets, models),
        "data_dir": str(settings.data_dir),
    }


def _total(tables: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for table in tables:
        for reason, count in table.items():
            total[reason] = total.get(reason, 0) + int(count)
    return total


def _places(settings: Settings, datasets: list[Any], models: list[Any]) -> dict[str, str]:
    root = settings.data_dir
    places = {"events": str(root / "events.jsonl.gz"), "ledgers": str(root / "ledgers")}
    if datasets:
        places["dataset"] = str(root / datasets[-1]["uri"])
    if models:
        places["model"] = str(root / models[-1]["uri"])
        if models[-1].get("validated"):
            places["report"] = str(root / models[-1]["validated"]["report"] / "report.html")
    return places


def show(page: Mapping[str, Any], console: Console) -> None:
    """The page as text, in the order of the loop."""
    console.line()
    _head(console, "WHAT WENT IN")
    sent, events = page["sent"], page["events"]
    console.line(f"  {sent['runs']} runs: {sent['traces']} traces and {sent['scores']} scores")
    console.line(
        f"  {sent['doubled']} sent twice, {sent['late']} late, {sent['broken']} broken, {sent['unscored']} runs never scored"
    )
    console.line(
        "  consumed " + str(events["consumed"]) + " = " + " + ".join(f"{name} {events[name]}" for name in COUNTERS[1:])
    )
    _head(console, "WHAT WAS DROPPED, AND WHY")
    for reason, count in sorted({**page["reasons"], **page["dropped"]}.items(), key=lambda pair: -pair[1]):
        console.line(f"  {count:>6}  {reason}")
    for code, count in sorted(page["dead_letters"].items(), key=lambda pair: (-pair[1], pair[0])):
        console.line(f"  {count:>6}  {code}: unreadable")
    _datasets(page, console)
    _job(page, console)
    _verdict(page, console)
    _head(console, "WHERE THINGS LIE")
    for name, place in page["places"].items():
        console.line(f"  {name:<8} {place}")
    _head(console, "SECONDS")
    console.line("  " + ", ".join(f"{name} {value:g}" for name, value in page["seconds"].items()))
    _head(console, "WHAT TO TRY NEXT")
    for line in _next(page):
        console.line(f"  {line}")


def _head(console: Console, text: str) -> None:
    console.line()
    console.line(text)


def _datasets(page: Mapping[str, Any], console: Console) -> None:
    _head(console, "WHAT IT LEARNED FROM")
    for dataset in page["datasets"]:
        splits = ", ".join(f"{name} {count}" for name, count in dataset["splits"].items())
        console.line(
            f"  {dataset['id']}  {splits}; added {dataset['added']}, removed {dataset['removed']}; {dataset['digest'][:19]}"
        )


def _job(page: Mapping[str, Any], console: Console) -> None:
    job = page["job"]
    if job is None:
        return
    _head(console, "WHAT WAS TRAINED")
    started, done = job["started"], job.get("completed")
    config = started["config"]
    how = f"LoRA rank {config['lora']['rank']}, rate {config['learning_rate']:g}, batch {config['batch_size']}, {config['epochs']:g} epochs"
    console.line(f"  {job['id']}: {started['method']} of {started['base_model']}, {how}, attempt {started['attempt']}")
    if done is None:
        console.line(f"  {job['state']}: {job.get('code', '')} {job.get('message', '')}")
        return
    losses = [point["loss"] for point in done["losses"]]
    console.line(f"  {done['train_rows']} rows, {done['steps']} steps, {done['seconds']:.0f} s; loss {curve(losses)}")


def _verdict(page: Mapping[str, Any], console: Console) -> None:
    model = page["model"]
    if model is None or not model.get("validated"):
        return
    report = model["validated"]
    _head(console, f"IS IT BETTER?  {model['id']}: {report['verdict']}, now in {model['stage']}")
    for line in report.get("summary") or ():
        console.line(f"  {line}")
    for stage in report["stages"]:
        console.line("  " + stage_line(stage))
    for reason in report.get("reasons") or ():
        console.line(f"  because {reason}")


def stage_line(stage: Mapping[str, Any]) -> str:
    """One stage on one line: result, what was compared, what was found, and how much was measured."""
    text = STAGE_LINE.format(
        result=stage["result"], stage=stage["stage"], check=stage.get("check") or stage.get("test") or ""
    )
    unit = f" {stage['unit']}" if stage.get("unit") else ""
    found = stage.get("detail") or _figures(stage)
    return f"{text}: {found}  (n = {stage['n']}{unit}" + (
        f", needs {stage['needed_n']})" if stage.get("needed_n") else ")"
    )


def _figures(stage: Mapping[str, Any]) -> str:
    estimate, interval = stage.get("estimate"), stage.get("interval")
    text = "nothing was measured" if estimate is None else f"{estimate:+.3f}"
    return f"{text} [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else text


def _next(page: Mapping[str, Any]) -> list[str]:
    option = f"--data-dir {page['data_dir']}"
    lines = [f"l07 {option} status", f"l07 {option} dlq list", f"l07 {option} ledger verify"]
    if page["datasets"]:
        lines.append(f"l07 {option} datasets show {page['datasets'][-1]['id']}")
    if page["model"]:
        lines.append(f"l07 {option} models show {page['model']['id']}")
    return [*lines, "l07 send YOUR-EVENTS.jsonl && l07 run --until-idle      # your own agents"]

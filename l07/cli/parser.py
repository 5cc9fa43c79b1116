"""Every command and option of `l07`, once. A test compares this tree with docs/commands.md."""

import argparse
import sys
from typing import Any


class _Version(argparse.Action):
    """Reads the version only when asked: importlib.metadata costs a tenth of the time that `--help` may take."""

    def __init__(self, option_strings: list[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"l07 {version('l07')}\n")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="l07",
        description="The learning layer: agent runs in, a better model out, every step measured.",
        epilog="Exit status: 0 done, 1 an error with its code on stderr, 2 wrong usage, 130 Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    _common(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _demo(commands)
    _send(commands)
    _run(commands)
    _status(commands)
    _events(commands)
    _explain(commands)
    _things(commands)
    _train(commands)
    _cost(commands)
    _dlq(commands)
    _replay(commands)
    _forget(commands)
    _config(commands)
    _ledger(commands)
    return parser


def _common(parser: argparse.ArgumentParser, *, default: Any, as_json: bool = True) -> None:
    where = "holds everything (L07_DATA_DIR, default .l07)"
    parser.add_argument("--data-dir", metavar="DIR", default=default, help=where)
    file = "settings file (L07_CONFIG, default l07.toml where there is one)"
    parser.add_argument("--config", metavar="FILE", default=default, help=file)
    bus = "the bus: sqlite:///PATH or kafka://HOST:PORT[,HOST:PORT] (L07_BUS__URL, default SQLite in the data folder)"
    parser.add_argument("--bus", metavar="URL", default=default, help=bus)
    buffer = "the buffer's server, such as redis://HOST:PORT/DB (L07_BUFFER__URL, default a Valkey in the data folder)"
    parser.add_argument("--buffer", metavar="URL", default=default, help=buffer)
    if as_json:
        unset = False if default is None else default
        parser.add_argument("--json", action="store_true", default=unset, help="print JSON instead of text")


def _command(commands: Any, name: str, handler: str, text: str, *, as_json: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    # SUPPRESS: the same option before the command's name is kept, not overwritten by a default
    _common(parser, default=argparse.SUPPRESS, as_json=as_json)
    parser.set_defaults(handler=f"l07.cli.{handler}")
    return parser


def _group(commands: Any, name: str, text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    return parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)


def _demo(commands: Any) -> None:
    text = "the whole loop on a generated world, with a page of what happened at the end"
    parser = _command(commands, "demo", "demo:demo", text, as_json=False)
    parser.add_argument("--tasks", type=int, default=360, metavar="N", help="tasks a domain (default 360)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of the world and of training (default 7)")
    parser.add_argument("--bases", metavar="DIR", help="where tiny bases are kept (default: beside the data folder)")
    parser.add_argument("--json", metavar="FILE", dest="json_file", help="write the page as data to this file too")
    parser.add_argument(
        "--events",
        metavar="FILE",
        help="only write the world's events to this file, a line each (- is stdout), and end",
    )


def _send(commands: Any) -> None:
    parser = _command(
        commands,
        "send",
        "send:send",
        "put CloudEvents onto the bus, one JSON document a line, each on its topic by type",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="file of JSON lines, plain or gzip; - reads stdin")
    parser.add_argument(
        "--topic", metavar="TOPIC", help="of a line without a readable type (default: the setting topics.traces)"
    )


def _run(commands: Any) -> None:
    parser = _command(
        commands, "run", "run:run", "ingest, curate, train, validate, register: the whole loop in one process"
    )
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--until-idle", action="store_true", help="end when the bus is drained and every job that this causes is done"
    )
    until.add_argument(
        "--until",
        choices=["dataset"],
        help="dataset: end when the bus is drained and the datasets are written, without training",
    )


def _status(commands: Any) -> None:
    _command(
        commands,
        "status",
        "status:status",
        "counters, lag, tracks, datasets, jobs, models; with and without a running l07 run",
    )


def _events(commands: Any) -> None:
    parser = _command(commands, "events", "emitted:events", "what was emitted, as JSON lines")
    parser.add_argument("--type", metavar="T", help="only events of this type, such as dataset.created")
    parser.add_argument("--follow", action="store_true", help="wait for more until Ctrl-C")


def _explain(commands: Any) -> None:
    parser = _command(
        commands,
        "explain",
        "explain:explain",
        "the whole story of one run: its events, the join, every decision with its scores, versions, jobs, models",
    )
    parser.add_argument(
        "id", metavar="EXECUTION_ID", help="of an execution or a plan; execution:ID or plan:ID says which"
    )
    parser.add_argument(
        "--no-scan",
        action="store_true",
        help="read only the records that buffer and datasets name, not the whole inputs",
    )


def _things(commands: Any) -> None:
    for name, one in (("datasets", "TRACK:VERSION"), ("jobs", "ID"), ("models", "NAME:VERSION")):
        group = _group(commands, name, f"{name} that the ledger knows")
        _command(group, "list", f"things:list_{name}", f"one line for each of the {name}")
        show = _command(
            group, "show", f"things:show_{name}", "everything known, with its lineage down to events and offsets"
        )
        show.add_argument(
            "id",
            metavar=one,
            help="as `list` prints it; the part before the colon alone means its newest"
            if ":" in one
            else "as `list` prints it",
        )
        show.add_argument(
            "--rows",
            type=int,
            default=20,
            metavar="N",
            help="rows of the lineage that are printed (default 20; 0: none, -1: all)",
        )
        if name == "datasets":
            _datasets(group)
            _audit(group)
        if name == "models":
            _models(group)
        if name == "jobs":
            watch = _command(group, "watch", "watch:watch_job", "a job as it goes, until it is over")
            newest = "as `list` prints it, or its dataset (default: the newest that is not over)"
            watch.add_argument("id", nargs="?", metavar="ID", help=newest)
            cancel = _command(group, "cancel", "cancel:cancel_job", "end a job for good; its trainer ends the child")
            cancel.add_argument("id", metavar=one, help="as `list` prints it")


def _models(group: Any) -> None:
    export = _command(group, "export", "handing:export_model", "a model for a gateway, and the call that loads it")
    export.add_argument("id", metavar="NAME:VERSION", help="as `list` prints it; NAME alone means its newest")
    export.add_argument("--to", required=True, metavar="DIR|URL", help="a folder, or the root URL of the gateway")
    gateways = ["vllm", "litellm", "hf", "mlflow"]
    export.add_argument("--for", dest="gateway", required=True, choices=gateways, help="who loads it")
    export.add_argument("--name", default="", metavar="NAME", help="as the gateway calls it (default NAME-VERSION)")
    base = "as the gateway calls the base (default: its folder here, else its name)"
    export.add_argument("--base", default="", metavar="NAME", help=base)
    path = "where vLLM sees the model's folder (default: as seen here)"
    export.add_argument("--path", default="", metavar="PATH", help=path)
    api_base = "litellm: the vLLM that serves the model, such as http://HOST:8000/v1"
    export.add_argument("--api-base", default="", metavar="URL", help=api_base)
    export.add_argument("--merged", action="store_true", help="whole weights, the adapter merged into the base")
    export.add_argument("--unsafe", action="store_true", help="also below STAGING, withdrawn or tainted; recorded")
    export.add_argument("--force", action="store_true", help="replace an export that is there")


def _datasets(group: Any) -> None:
    which = "TRACK:VERSION, TRACK for its newest, or a version's folder"
    diff = _command(group, "diff", "diffing:diff", "what one version has that another has not")
    diff.add_argument("old", metavar="A", help=which)
    diff.add_argument("new", metavar="B", help=which)
    diff.add_argument(
        "--rows", type=int, metavar="N", help="rows of each list (default 10, with --json all; 0: none, -1: all)"
    )
    export = _command(group, "export", "exporting:export", "JSON lines for another trainer, each split a file")
    export.add_argument("id", metavar="TRACK:VERSION", help=which)
    export.add_argument(
        "--for", dest="shape", required=True, choices=["trl", "openai", "sharegpt", "dpo", "kto"], help="the format"
    )
    splits = ["train", "validation", "test"]
    export.add_argument("--split", nargs="+", choices=splits, default=splits, help="only these (default: all three)")
    orders = ["stored", "curriculum", "shuffled"]
    export.add_argument(
        "--order", choices=orders, default="stored", help="of the train rows: as stored (default), easy first, control"
    )
    out = "a folder, or with one split a file NAME.jsonl (default: a folder below DATA_DIR/exports)"
    export.add_argument("--out", metavar="PATH", help=out)
    export.add_argument("--force", action="store_true", help="replace an export, or a file, that is there")


def _audit(group: Any) -> None:
    text = "plant known faults into a copy of your runs, build from it, and say what was caught, missed and lost"
    parser = _command(group, "audit", "audit:audit", text)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="DATASET|EVENTS",
        help="a dataset TRACK:VERSION, or files of events as `l07 send` takes them (- reads stdin)",
    )
    parser.add_argument(
        "--plant",
        nargs="?",
        const="",
        metavar="KIND=RATE,...",
        help="shares of each source's accepted runs, such as noise=0.12,hijack=0.05; alone: every kind at its default rate",
    )
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of the plants (default 7)")
    parser.add_argument(
        "--half", choices=["a", "b"], help="only runs of that half of the tasks: tune on one, report on the other"
    )
    parser.add_argument(
        "--truth",
        metavar="FILE|FIELD",
        help="labels of runs that are known to be spoiled: lines of JSON with execution_id and label, or a field of the events' data",
    )
    parser.add_argument("--out", metavar="DIR", help="write report.html and report.json there")


def _train(commands: Any) -> None:
    text = "queue a training by hand; the same job asked for twice is not run twice"
    parser = _command(commands, "train", "train:train", text)
    parser.add_argument(
        "track", nargs="?", metavar="TRACK", help="the track (default: that of --dataset, else `default`)"
    )
    parser.add_argument("--dataset", metavar="TRACK:VERSION", help="the version to learn from (default: the newest)")
    parser.add_argument("--method", metavar="NAME", help="how to train (default: the track's method)")
    option = "a number of the method's own; may be repeated"
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    parser.add_argument(
        "--priority", type=int, metavar="N", help="higher goes first (default: the track's, `train.priority`)"
    )
    parser.add_argument(
        "--wait", action="store_true", help="until the job is over; works the queue where nobody else has the folder"
    )


def _cost(commands: Any) -> None:
    text = "what every job took in seconds, tokens, energy and money, and what its model gained for it"
    parser = _command(commands, "cost", "cost:cost", text)
    parser.add_argument("--track", metavar="TRACK", help="only jobs of this track")


def _dlq(commands: Any) -> None:
    group = _group(commands, "dlq", "what could not be read, why, and again")
    _command(group, "list", "dlq:list_letters", "one line for each dead letter")
    show = _command(group, "show", "dlq:show", "one dead letter, without its bytes")
    show.add_argument("id", metavar="ID", help="as `list` prints it, or TOPIC:PARTITION:OFFSET of the record")
    show.add_argument(
        "--raw", action="store_true", help="write the record's bytes to stdout and nothing else; they may hold prompts"
    )
    retry = _command(group, "retry", "dlq:retry", "put the original bytes onto their topic again")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "id", nargs="?", metavar="ID", help="as `list` prints it, or TOPIC:PARTITION:OFFSET of the record"
    )
    which.add_argument("--all", action="store_true", help="every dead letter that was not retried yet")


def _replay(commands: Any) -> None:
    text = "records once more: to another bus, or into a buffer that lost them; what was applied stays applied once"
    parser = _command(commands, "replay", "replay:replay", text)
    parser.add_argument(
        "--from",
        dest="from_",
        metavar="WHERE",
        default="earliest",
        help="earliest (default), an offset, or a time with its zone",
    )
    parser.add_argument(
        "--topics", nargs="+", metavar="TOPIC", help="topics, or TOPIC:PARTITION (default: all that the ingest reads)"
    )
    parser.add_argument(
        "--file", nargs="+", metavar="FILE", help="lines of these files instead of a bus, as `l07 send`"
    )
    parser.add_argument("--to-bus", metavar="URL", help="copy the records there; without it they go into the buffer")
    parser.add_argument(
        "--rate", type=float, default=0.0, metavar="N", help="records a second at most (default: no limit)"
    )
    parser.add_argument(
        "--filter", action="append", default=[], metavar="type=NAME", help="only events of this type; may be repeated"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="count what would be replayed, and change nothing")
    how.add_argument(
        "--accept-reset",
        action="store_true",
        help="let the ingest go on at --from where it stopped because a log was cut or made again",
    )


def _forget(commands: Any) -> None:
    text = "erase a run, a person's or a source's runs: buffer, bus, dead letters, datasets; and keep them out for ever"
    parser = _command(commands, "forget", "forget:forget", text)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--execution", metavar="ID", help="one run, by its execution_id")
    what.add_argument("--plan", metavar="ID", help="one plan, by its plan_id")
    what.add_argument("--subject", metavar="ID", help="every run whose data.subject_id this is")
    what.add_argument(
        "--source", metavar="URI", help="every event of this CloudEvents source, and the runs of its traces"
    )
    what.add_argument("--resume", action="store_true", help="finish what was ordered and cut off")
    parser.add_argument(
        "--reason", metavar="TEXT", default="", help="recorded for ever: a ticket's number, nobody's name"
    )
    parser.add_argument("--dry-run", action="store_true", help="count what would go, and change nothing")
    parser.add_argument(
        "--wait",
        type=float,
        default=120.0,
        metavar="S",
        help="how long to wait for a running l07 run or curator to do it (default 120)",
    )


def _config(commands: Any) -> None:
    group = _group(commands, "config", "the settings")
    _command(group, "show", "config:show", "every setting with its value and where it came from")
    _command(group, "check", "config:check", "read the settings, try what they name, exit 1 where something is wrong")


def _ledger(commands: Any) -> None:
    group = _group(commands, "ledger", "the ledgers: datasets, jobs, registry, erasures")
    _command(group, "verify", "ledger:verify", "find a flipped, deleted, reordered or cut entry; exit 1 and say where")

"""One tree of settings: defaults here, then a TOML file, then L07_ variables. An unknown name refuses to start."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from l07.errors import BadSetting, UnknownSetting

Fraction = Annotated[float, Field(ge=0, le=1)]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Topics(Group):
    traces: str = Field("execution.traces", description="agent runs")
    planning: str = Field("planning.traces", description="plans")
    scores: str = Field("evaluation.quality_scores", description="what the evaluation layer said of a run")
    reviews: str = Field("learning.reviews", description="what a person said of a run")
    events: str = Field("learning.events", description="what we emit")
    dlq: str = Field("learning.dlq", description="what could not be read")


class Types(Group):
    trace: tuple[str, ...] = Field(
        ("execution.completed", "execution.trace_generated"),
        description="type names of a trace; a reverse-DNS prefix is allowed",
    )
    plan: tuple[str, ...] = Field(
        ("planning.completed", "planning.decision_recorded"), description="type names of a plan"
    )
    score: tuple[str, ...] = Field(
        ("evaluation.completed", "evaluation.quality_score_computed"), description="type names of a score"
    )


class Bus(Group):
    url: str = Field("", description="empty: SQLite in the data folder; else sqlite:///PATH")
    partitions: int = Field(3, ge=1, le=1024, description="partitions of a topic that the embedded bus makes")


class Buffer(Group):
    url: str = Field(
        "", description="empty: an embedded Valkey in the data folder; else redis://HOST:PORT/DB or unix:///PATH"
    )
    name: str = Field(
        "default", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="part of every key: {l07:<name>:<shard>}"
    )
    shards: Literal[1] = Field(1, description="shards of the buffer; fixed when it is made")
    remember_s: int = Field(7 * 86400, ge=60, description="a producer's repeat is recognised for this long")


class Ingest(Group):
    max_event_bytes: int = Field(1_000_000, ge=1024, description="a longer value is a dead letter")
    max_event_age_s: int = Field(
        0, ge=0, description="0: no limit; else an event's time is at most this much before its record's"
    )
    slice_records: int = Field(250, ge=1, le=500, description="records a step; above 500 the script blocks the server")


class Join(Group):
    wait_s: int = Field(
        7 * 86400, ge=1, description="how long a half waits for its other half, by record time of the other inputs"
    )
    prefer_separate_s: int = Field(
        0, ge=0, description="above 0 a trace with a score of its own waits this long for a separate evaluation"
    )


class Filter(Group):
    quality_threshold: float = Field(70.0, ge=0, le=100, description="gate: smallest quality score, 0-100")
    confidence_threshold: Fraction = Field(0.6, description="gate: smallest confidence, 0-1")
    max_outlier_probability: Fraction = Field(
        0.15, description="rank within (source, domain); REVIEW only together with a robust z above outlier_z"
    )
    outlier_z: float = Field(3.5, gt=0, description="robust z above which an outlier goes to review")
    near_duplicate_similarity: Fraction = Field(
        0.95, description="within a task a row this similar to a better one is dropped"
    )
    cluster_similarity: Fraction = Field(0.7, description="rows this similar share a group, so that they share a split")
    max_secrets: int = Field(5, ge=0, description="more hits of the scrub than this: quarantine")


class Contrast(Group):
    max_ratio: float = Field(
        2.0, ge=0, description="rejected examples kept beside the splits, as a multiple of the accepted"
    )


class Match(Group):
    domains: tuple[str, ...] = Field((), description="domains of this track; empty: all")
    sources: tuple[str, ...] = Field((), description="event sources of this track; empty: all")


class SealRule(Group):
    count: int = Field(1000, ge=1, description="seal at this many accepted examples")
    max_age_s: int = Field(86400, ge=1, description="or when the oldest ready example is this old ...")
    min_count: int = Field(100, ge=1, description="... and at least this many are accepted")


class TrainRule(Group):
    min_rows: int = Field(500, ge=1, description="train at this many rows in the train split ...")
    min_new_share: Fraction = Field(
        0.2, description="... and this share of new rows against the last trained version ..."
    )
    max_age_s: int = Field(7 * 86400, ge=1, description="... or this long after the last training")


class Track(Group):
    match: Match = Field(default_factory=Match, description="which examples are this track's; the first match wins")
    base_model: str = Field("tiny-base", description="folder, name of a local base, or an alias of one")
    method: Literal["sft"] = Field("sft", description="how to train")
    golden: str = Field("", description="frozen JSONL of the regression stage; empty: that stage is inconclusive")
    baseline: Literal["released", "base"] = Field(
        "released", description="what the candidate must beat; released: the PRODUCTION version, else the base"
    )
    max_examples: int = Field(500_000, ge=1, le=500_000, description="examples a dataset at most")
    seal: SealRule = Field(default_factory=SealRule)
    train: TrainRule = Field(default_factory=TrainRule)


class Lora(Group):
    rank: int | None = Field(None, ge=1, description="unset: what the base recommends, else 16")
    alpha: int | None = Field(None, ge=1, description="unset: what the base recommends, else 32")
    dropout: Fraction | None = Field(None, description="unset: what the base recommends, else 0.05")
    embeddings: bool | None = Field(
        None, description="train the embeddings too; unset: what the base recommends, else false"
    )


class Training(Group):
    learning_rate: float | None = Field(None, gt=0, description="unset: what the base recommends, else 2e-4")
    batch_size: int | None = Field(None, ge=1, description="unset: what the base recommends, else 16")
    epochs: float | None = Field(None, gt=0, description="unset: what the base recommends, else 3")
    max_length: int | None = Field(
        None,
        ge=16,
        description="tokens of a row at most; longer: skipped and counted; unset: the base's context, at most 2,048",
    )
    max_steps: int | None = Field(None, ge=1, description="optimiser steps at most; unset: no bound")
    clip: float | None = Field(
        None, gt=0, description="largest norm of a gradient; unset: what the base recommends, else 1.0"
    )
    early_stop: int | None = Field(
        None,
        ge=1,
        description="looks at the validation split without improvement; unset: what the base recommends, else 2",
    )
    lora: Lora = Field(default_factory=Lora)
    threads: int = Field(0, ge=0, description="CPU threads of the child; 0: all cores. Part of the job's id")
    timeout_s: float = Field(86400, gt=0, description="a job that takes longer is ended and FAILED")
    attempts: int = Field(3, ge=1, le=10, description="a killed child starts again this often")
    canaries: int = Field(
        8,
        ge=0,
        le=64,
        description="planted strings whose memorisation is measured; 0: the safety stage is inconclusive",
    )


class Validation(Group):
    rows: int = Field(200, ge=1, description="held-out rows that are generated at most")
    calls_per_row: int = Field(4, ge=1, description="tool calls of a row that are scored at most")
    resamples: int = Field(2000, ge=200, description="resamples of a bootstrap")
    latency_pairs: int = Field(30, ge=5, description="interleaved generations a side")
    timeout_s: float = Field(3600, gt=0, description="an evaluation that takes longer fails")


class Models(Group):
    aliases: dict[str, str] = Field(
        {}, description="name that people use -> base that is here; each use is printed and recorded"
    )
    cache_dir: str = Field("", description="where tiny bases are kept; empty: the data folder")


class Settings(Group):
    """Everything that can be set."""

    data_dir: Path = Field(Path(".l07"), description="holds everything")
    seed: int = Field(7, ge=0, description="of splits, sampling and training")
    topics: Topics = Field(default_factory=Topics)
    types: Types = Field(default_factory=Types)
    bus: Bus = Field(default_factory=Bus)
    buffer: Buffer = Field(default_factory=Buffer)
    ingest: Ingest = Field(default_factory=Ingest)
    join: Join = Field(default_factory=Join)
    filter: Filter = Field(default_factory=Filter)
    contrast: Contrast = Field(default_factory=Contrast)
    tracks: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], Track] = Field(
        default_factory=lambda: {"default": Track()}
    )
    training: Training = Field(default_factory=Training)
    validation: Validation = Field(default_factory=Validation)
    models: Models = Field(default_factory=Models)
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="of the JSON log lines on stderr"
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value that is not a default came from ("file:PATH" or "env:NAME"), by dotted name."""

    settings: Settings
    origins: Mapping[str, str]


PREFIX = "L07_"
OWN_VARIABLES = {"L07_CONFIG", "L07_TEST_KAFKA", "L07_TEST_REDIS"}  # read elsewhere, not settings


def load_settings(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Loaded:
    """Defaults < TOML file (`file`, L07_CONFIG, or an `l07.toml` here) < L07_ variables < `overrides` (dotted names).

    A nested name is written with two underscores: L07_TRACKS__DEFAULT__SEAL__COUNT.

    Raises:
        UnknownSetting: E7500, a name that is not in the tree, with the nearest that is.
        BadSetting: E7501, a value that does not fit, or a file that is no TOML."""
    environ = os.environ if environ is None else environ
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = file or (Path(environ["L07_CONFIG"]) if environ.get("L07_CONFIG") else None) or _default_file()
    if path is not None:
        for name, value in _leaves(_read_toml(path)):
            _put(tree, name, value)
            origins[name] = f"file:{path}"
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in OWN_VARIABLES:
            name = variable[len(PREFIX) :].lower().replace("__", ".")
            _put(tree, name, _value_of(text))
            origins[name] = f"env:{variable}"
    for name, value in (overrides or {}).items():
        _put(tree, name, value)
        origins[name] = "argument"
    return Loaded(_validate(tree, origins), origins)


def leaves(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted name, value, description), in the order of the tree."""
    yield from _walk(settings, "")


def _walk(group: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, info in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and all(isinstance(item, BaseModel) for item in value.values()):
            for key, item in value.items():
                yield from _walk(item, f"{prefix}{name}.{key}.")
        else:
            yield f"{prefix}{name}", value, info.description or ""


def _default_file() -> Path | None:
    here = Path("l07.toml")
    return here if here.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise BadSetting(f"the settings file {path} is not there; name another with --config or L07_CONFIG") from err
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise BadSetting(f"the settings file {path} cannot be read: {err}") from err


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if value and isinstance(value, Mapping) and f"{prefix}{name}" != "models.aliases":
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, leaf = name.split(".") if not name.startswith("models.aliases.") else ["models", "aliases", name[15:]]
    for group in groups:
        below = tree.setdefault(group, {})
        if not isinstance(below, dict):
            raise BadSetting(f"{name}: {group} is a value, not a group of settings")
        tree = below
    tree[leaf] = value


def _value_of(text: str) -> Any:
    """A variable's text as TOML where it is a list, table or quoted text; otherwise pydantic reads the text."""
    if text[:1] in ("[", "{", '"'):
        try:
            return tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _validate(tree: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = _origin(name, origins)
        if first["type"] == "extra_forbidden":
            raise UnknownSetting(_unknown(name, where), name=name) from err
        raise BadSetting(f"{name} = {first.get('input')!r} ({where or 'default'}): {first['msg']}", name=name) from err


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """Where a value came from, or the table that it stands in or is; "" for a default."""
    near = (known for known in origins if f"{name}.".startswith(f"{known}.") or f"{known}.".startswith(f"{name}."))
    return next((origins[known] for known in near), "")


def _unknown(name: str, where: str) -> str:
    import difflib

    known = [known for known, _, _ in leaves(Settings())]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `l07 config show` lists them all"
    return f"there is no setting {name}{f' ({where})' if where else ''}{hint}"

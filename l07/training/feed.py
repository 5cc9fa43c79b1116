"""A version's runs as preference methods learn from them: pairs, labels or prompts, as token ids.

Which run is preferred to which is `l07.domain.preference`'s to say, and the job's `preference` has its rules, so the
exporter gives the same pairs. Nothing is stored with the version. Text becomes tokens here as for supervised
fine-tuning: through the base's chat template, tool calls kept, and only what the assistant wrote counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l07.domain.attempts import COLUMNS, attempt_of, cut, pair_row, prompts_of, row_as_said, turns_of
from l07.domain.dataset import SPLITS
from l07.domain.preference import Attempt, PreferenceRules, candidate_pairs, kto_labels, preference_pairs
from l07.errors import NothingToTrainOn
from l07.training import rows
from l07.training.task import Task

TABLES = (*SPLITS, "contrast")  # never review


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent wrote after a prompt. `mask`: 1 for a token that it wrote itself, 0 for what it was answered."""

    ids: list[int]
    mask: list[int]


@dataclass(frozen=True, slots=True)
class PairTokens:
    """One preference pair. `margin`: difference of the rewards. `own`: nobody ran the rejected side (`own.py`)."""

    prompt: list[int]
    chosen: Said
    rejected: Said
    margin: float
    own: bool = False

    @property
    def longest(self) -> int:
        """Tokens of the prompt and the longer side."""
        return len(self.prompt) + max(len(self.chosen.ids), len(self.rejected.ids))


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """One run and whether it is one to imitate."""

    prompt: list[int]
    completion: Said
    desirable: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a run begins, up to where the agent is to speak. `row`: the run as a template expects it; `at`: the turn that
    was recorded there, which a judge may know and a policy must not."""

    ids: list[int]
    row: Mapping[str, Any]
    at: int


@dataclass(frozen=True, slots=True)
class Fed:
    """Rows of one kind by split; `too_long`: left out because they pass the longest allowed."""

    train: list[Any]
    validation: list[Any]
    too_long: int

    @property
    def all(self) -> list[Any]:
        return [*self.train, *self.validation]

    @property
    def counts(self) -> dict[str, int]:
        return {
            "used": len(self.train),
            "validation": len(self.validation),
            "too_long": self.too_long,
            "canaries": 0,  # they are planted in what is imitated alone
        }


def rules_of(task: Task, **changes: Any) -> PreferenceRules:
    """As the job says; without, the defaults."""
    return PreferenceRules(**{**(task.job.get("preference") or {}), **changes})


def pairs(task: Task, **changes: Any) -> Fed:
    """Preference pairs of the train and validation splits. `changes`: of the job's rules, for a method that wants others.

    Raises:
        NothingToTrainOn: E7721, there is none, or none fits."""
    version, rules = _Version(task.dataset, task.cache), rules_of(task, **changes)
    found = preference_pairs(candidate_pairs(version.attempts(), rules), rules)
    texts = version.rows({key for pair in found for key in (pair.chosen.key, pair.rejected.key)})
    made = [
        (pair.chosen.split, _pair(pair_row(pair, texts[pair.chosen.key], texts[pair.rejected.key]), task))
        for pair in found
    ]
    return _fed(made, "preference pair", "the version needs accepted and rejected runs of the same task")


def labels(task: Task) -> Fed:
    """Runs with a thumb up or down of the train and validation splits. Raises NothingToTrainOn (E7721)."""
    version = _Version(task.dataset, task.cache)
    attempts = {attempt.key: attempt for attempt in version.attempts()}
    found = kto_labels(attempts.values(), rules_of(task))
    texts = version.rows(found.keys())
    made = [(attempts[key].split, _label(texts[key], desirable, task)) for key, desirable in found.items()]
    return _fed(made, "labelled run", "the version needs accepted and rejected runs in a split and domain")


def prompts(task: Task, *, everywhere: bool = False) -> Fed:
    """Each place in an accepted run where the agent called a tool, of the train and validation splits, or `everywhere` it spoke,
    with room for an answer of `completion_tokens`, an option of each method that asks.

    Raises:
        NothingToTrainOn: E7721, nothing fits."""
    room = int(task.options["completion_tokens"])
    made: list[tuple[str, Prompt | None]] = []
    for split in ("train", "validation"):
        for row in rows.read_split(task.dataset, split, task.cache):
            for at in turns_of(row) if everywhere else prompts_of(row):
                prompt = Prompt(_asked(row["messages"][:at], row["tools"], task), row, at)
                made.append((split, prompt if len(prompt.ids) + room <= most(task) else None))
    return _fed(made, "prompt", "the version needs accepted runs")


def recorded(prompt: Prompt, task: Task) -> Said:
    """The turn that was recorded at the prompt's place."""
    row = {**prompt.row, "messages": prompt.row["messages"][: prompt.at + 1]}
    return _said(row, prompt.ids, task)[1]


def _fed(made: Sequence[tuple[str, Any]], what: str, way_out: str) -> Fed:
    train, validation = ([one for split, one in made if split == name and one] for name in ("train", "validation"))
    too_long = sum(one is None for split, one in made if split != "test")
    if not train:
        raise NothingToTrainOn(
            f"no {what} of the train split can be learned from, {too_long} are too long: {way_out}", too_long=too_long
        )
    return Fed(train, validation, too_long)


def _pair(row: Mapping[str, Any], task: Task) -> PairTokens | None:
    one, other = (rows.chat({**row, "messages": [*row["prompt"], *row[side]]}) for side in ("chosen", "rejected"))
    asked = _asked(one["messages"][: len(row["prompt"])], one["tools"], task)
    sides = [_said(side, asked, task) for side in (one, other)]
    start = min(begin for begin, _ in sides)
    if any(begin != start for begin, _ in sides):  # the template writes one side's prompt otherwise
        sides = [_said(side, asked[:start], task) for side in (one, other)]
    chosen, rejected = (said for _, said in sides)
    made = PairTokens(asked[:start], chosen, rejected, row["margin"])
    return made if made.longest <= most(task) else None


def _label(row: Mapping[str, Any], desirable: bool, task: Task) -> LabelTokens | None:
    halves = cut(row)
    told = rows.chat({**row, "messages": [*halves["prompt"], *halves["completion"]]})
    asked = _asked(told["messages"][: len(halves["prompt"])], told["tools"], task)
    start, said = _said(told, asked, task)
    return LabelTokens(asked[:start], said, desirable) if start + len(said.ids) <= most(task) else None


def _said(row: Mapping[str, Any], asked: Sequence[int], task: Task) -> tuple[int, Said]:
    """Where the prompt ends, and what follows up to the assistant's last token."""
    ids, mask = rows.encode(row, task.tokenizer)
    start = next(
        (n for n, (one, other) in enumerate(zip(asked, ids, strict=False)) if one != other), min(len(asked), len(ids))
    )
    end = len(mask) - next((n for n, marked in enumerate(reversed(mask)) if marked), len(mask))
    return start, Said(ids[start:end], mask[start:end])


def _asked(messages: Sequence[Mapping[str, Any]], tools: Any, task: Task) -> list[int]:
    encoded = task.tokenizer.apply_chat_template(
        list(messages), tools=tools or None, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(encoded["input_ids"])


def most(task: Task) -> int:
    """Tokens of the longest row that may be learned from."""
    assert task.config.max_length is not None
    return task.config.max_length


class _Version:
    """Rows of a version's folder, as they were said; the tables stay on disk."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder, self._cache = folder, cache

    def attempts(self) -> list[Attempt]:
        return [attempt for row in self._all() if (attempt := attempt_of(row)) is not None]

    def rows(self, keys: Any) -> dict[str, dict[str, Any]]:
        """The rows of these keys, messages and tools alone."""
        wanted = set(keys)
        return {
            row["key"]: {name: row[name] for name in ("messages", "tools")}
            for row in self._all()
            if row["key"] in wanted
        }

    def _all(self) -> Iterator[dict[str, Any]]:
        for table in TABLES:
            found = rows.read_table(self._folder, table, self._cache)
            if found is not None:
                yield from map(row_as_said, found.select_columns(list(COLUMNS)))

"""One run looked at: the directive passages that it read, and what of them it carried out."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

import re2

from l07.domain.decoded import runs
from l07.domain.example import text_of
from l07.domain.injection.campaign import grams_of
from l07.domain.injection.directives import Passage, Reading, either, read_all
from l07.domain.injection.disguise import plain, words_in
from l07.domain.injection.provenance import Call, asked_for, has_effect, said_in, values_of, weight_of, words_of

Scanner = Callable[[str], float]  # one tool output as it was -> 0-1, how surely it is an injection

NOTED = 0.7  # wording of this strength and more is noted with the row: "saw_injection"
THRESHOLD = 0.45  # of the score; tuned on one half of the tasks of the AgentDojo runs, see docs/filter.md
UNASKED = 0.3  # what a deed that nobody asked for adds to weak wording
OWN, ELSEWHERE, BOTH = 0.6, 0.5, 0.35  # a value that stands in the user's words too; in another tool output; in both
CAMPAIGN = 0.4  # what it adds that three tasks read the same
ANSWER = 0.7  # an answer that says what it was told to say
MOST_VALUES = 256  # of one run that are looked for in its texts
ECHO = 6  # words in a row that are no accident

_WORD = re.compile(r"[^\W_]+")
_SAYING = (
    r"(?:say|tell (?:the user|them|him|her)|answer|respond|reply|recommend|claim|state|mention|write|print|output|"
    r"conclude) (?:that |with |by saying |only |exactly |: ?)"
)
_SAY = re.compile(rf"\b{_SAYING}([^.!?]{{20,200}})")
_MAY_SAY = re2.compile(_SAYING)  # far faster, and most texts say no such thing


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that the run did as a passage says."""

    passage: int
    reason: str  # "hijacked_argument" or "hijacked_answer"
    tool: str
    share: float  # 0-1: how surely it came from the passage
    unasked: float  # 0-1: how little the user asked for it


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one run read and did. No text of it leaves this object but the passages."""

    passages: tuple[Passage, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def scan(self) -> float:
        """The strongest wording that the run read, 0-1."""
        return max((passage.strength for passage in self.passages), default=0.0)

    @property
    def score(self) -> float:
        """That the run was hijacked, 0-1: the best of its evidence, each `share * (strength or UNASKED * unasked)`,
        where "or" is that of independent chances."""
        return max((self._value(found) for found in self.evidence), default=0.0)

    def reasons(self, *, threshold: float = THRESHOLD) -> tuple[str, ...]:
        """Why the run is quarantined: the kinds of evidence that reach the threshold; empty when none does."""
        return tuple(sorted({found.reason for found in self.evidence if self._value(found) >= threshold}))

    def _value(self, found: Evidence) -> float:
        strength = self.passages[found.passage].strength
        return round(found.share * either((strength, UNASKED * found.unasked)), 6)

    def among(self, grams: frozenset[int]) -> "Inspection":
        """The same run once it is known which wordings other tasks read too; itself where it read none of them."""
        raised = tuple(_raised(passage, grams) for passage in self.passages) if grams else self.passages
        return self if raised == self.passages else Inspection(raised, self.evidence)

    @property
    def in_campaign(self) -> bool:
        """Whether it read such a wording, as far as is known."""
        return any("campaign" in passage.kinds for passage in self.passages)


def _raised(passage: Passage, grams: frozenset[int]) -> Passage:
    if grams.isdisjoint(grams_of(passage)):
        return passage
    strength = either((passage.strength, CAMPAIGN))
    return Passage(passage.output, passage.text, strength, passage.kinds | {"campaign"})


NOTHING = Inspection()


Run = tuple[str, Sequence[Mapping[str, Any]]]  # goal, messages


def inspect(goal: str, messages: Sequence[Mapping[str, Any]], *, scanner: Scanner | None = None) -> Inspection:
    """Linear in the run's text. Only tool outputs are scanned: what the user says is the user's."""
    return inspect_all([(goal, messages)], scanner=scanner)[0]


def inspect_all(runs: Sequence[Run], *, scanner: Scanner | None = None) -> list[Inspection]:
    """Each run as if it were alone; many at once cost less than one after the other."""
    raw = [_contents(messages, "tool") for _, messages in runs]
    readings = read_all(dict.fromkeys(chain.from_iterable(raw)))
    telling = readings.keys() if scanner else {output for output, reading in readings.items() if reading.passages}
    return [
        NOTHING
        if telling.isdisjoint(outputs)
        else _inspected(run, outputs, [readings[output] for output in outputs], scanner)
        for run, outputs in zip(runs, raw, strict=True)
    ]


def _inspected(run: Run, raw: Sequence[str], read_in: Sequence[Reading], scanner: Scanner | None) -> Inspection:
    found = [
        Passage(number, passage.text, passage.strength, passage.kinds)
        for number, reading in enumerate(read_in)
        for passage in reading.passages
    ]
    if scanner is not None:
        found = _scanned(raw, [reading.text for reading in read_in], found, scanner)
    if not found:
        return NOTHING
    acts = _Run(*run, [reading.text for reading in read_in], found)
    return Inspection(tuple(found), (*acts.arguments(), *acts.answers()))


def _scanned(raw: Sequence[str], texts: Sequence[str], found: Sequence[Passage], scanner: Scanner) -> list[Passage]:
    """The user's scanner raises the passages of an output, or makes all of it one."""
    strengths = [scanner(output) for output in raw]
    raised = [
        replace(p, strength=either((p.strength, strengths[p.output])), kinds=p.kinds | {"scanner"}) for p in found
    ]
    silent = set(range(len(raw))) - {passage.output for passage in found}
    alone = [Passage(n, texts[n], strengths[n], frozenset({"scanner"})) for n in sorted(silent) if strengths[n] >= 0.5]
    return sorted((*raised, *alone), key=lambda passage: passage.output)


class _Run:
    """The texts of one run that has directive passages, each in plain form, made once and when asked for."""

    def __init__(
        self, goal: str, messages: Sequence[Mapping[str, Any]], texts: Sequence[str], found: Sequence[Passage]
    ) -> None:
        self._goal = goal
        self._messages = messages
        self._texts = texts
        self._found = found

    @cached_property
    def _said(self) -> Sequence[str]:
        return [self._goal, *_contents(self._messages, "user")]

    @cached_property
    def _user(self) -> str:
        return plain("\n".join((*self._said, *_contents(self._messages, "system"))))

    @cached_property
    def _asked(self) -> frozenset[str]:
        return words_of("\n".join(self._said))

    def arguments(self) -> Iterator[Evidence]:
        """Of each value of a call that changes something, every earlier passage that has it."""
        after = self._found[0].output
        calls = (call for call in _calls(self._messages) if call.read > after and has_effect(call.name))
        values = [(call, value) for call in calls for value in values_of(call.arguments)]
        for call, value in values if len(values) <= MOST_VALUES else self._likely(values):
            yield from self._read_in(call, value)

    def _likely(self, values: Iterable[tuple[Call, str]]) -> Iterator[tuple[Call, str]]:
        """The first of them that may stand in a passage: their first word does."""
        words = {word for passage in self._found for word in words_in(passage.text)}
        firsts = ((_WORD.search(value), call, value) for call, value in values)
        may = ((call, value) for first, call, value in firsts if first is None or first.group() in words)
        return islice(may, MOST_VALUES)

    def _read_in(self, call: Call, value: str) -> Iterator[Evidence]:
        before = [passage for passage in self._found if passage.output < call.read]
        inside = [n for n, passage in enumerate(before) if value in passage.text and said_in(value, passage.text)]
        if not inside:
            return
        own = said_in(value, self._user)
        within = sum(passage.text.count(value) for passage in before)
        elsewhere = sum(text.count(value) for text in self._texts[: call.read]) > within
        share = weight_of(value) * (BOTH if own and elsewhere else OWN if own else ELSEWHERE if elsewhere else 1.0)
        unasked = 1.0 - asked_for(call.name, self._asked)
        yield from (Evidence(n, "hijacked_argument", call.name, share, unasked) for n in inside)

    def answers(self) -> Iterator[Evidence]:
        """A later answer that says in the same words what a passage told it to say, without quoting the order."""
        for number, passage in enumerate(self._found):
            told = _told(passage.text) if passage.strength >= NOTED else ()
            if not told:
                continue
            answers = plain("\n".join(_answers(self._messages, passage.output)))
            echoes = _shared({gram for text in told for gram in _grams(text)}, answers)
            if echoes and not _SAY.search(answers) and echoes != _shared(echoes, self._user):
                yield Evidence(number, "hijacked_answer", "", ANSWER, 1.0)


def _told(text: str) -> Sequence[str]:
    return [found.group(1) for found in _SAY.finditer(text)] if _MAY_SAY.search(text.encode()) else ()


def _contents(messages: Sequence[Mapping[str, Any]], role: str) -> list[str]:
    found = runs.said_by(messages, role) if runs else None
    return contents(messages, role) if found is None else found


def contents(messages: Sequence[Mapping[str, Any]], role: str) -> list[str]:
    """What messages of the role say, of whatever stands for a run; runs.pyx does the same for those that were decoded."""
    return [
        content if isinstance(content := message.get("content"), str) else text_of(content)
        for message in messages
        if message.get("role") == role
    ]


def _grams(text: str) -> set[str]:
    words = words_in(text)
    return {" ".join(words[at : at + ECHO]) for at in range(len(words) - ECHO + 1)}


def _shared(grams: set[str], text: str) -> set[str]:
    """Those that the text has too. Most places are ruled out by their first word."""
    firsts = {gram.partition(" ")[0] for gram in grams}
    words = words_in(text)
    return grams & {" ".join(words[at : at + ECHO]) for at, word in enumerate(words) if word in firsts}


def _answers(messages: Sequence[Mapping[str, Any]], output: int) -> Iterator[str]:
    """What the assistant said after it had read that output."""
    read = 0
    for message in messages:
        read += message.get("role") == "tool"
        if message.get("role") == "assistant" and read > output:
            yield text_of(message.get("content"))


def _calls(messages: Iterable[Mapping[str, Any]]) -> Iterator[Call]:
    read = 0
    for message in messages:
        role = message.get("role")
        if role == "tool":
            read += 1
        elif role == "assistant":
            for call in message.get("tool_calls") or ():
                function = call.get("function")
                if isinstance(function, Mapping):
                    yield Call(str(function.get("name") or ""), function.get("arguments"), read)

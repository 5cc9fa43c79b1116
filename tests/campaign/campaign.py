"""One campaign from start to verdict: feed, hurt, heal, drain, judge."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.campaign.datasets import judge_datasets
from tests.campaign.faults import KINDS, patient, schedule
from tests.campaign.judge import Fold, Judgement, compare
from tests.campaign.outgoing import Outgoing
from tests.campaign.reading import Reader
from tests.campaign.stage import Choices, Stage, build
from tests.campaign.world import TRACKS, Plan, World

HEAL_S = 60.0
DRAIN_S = 150.0
CURATE_S = 100.0
BEYOND = 10  # looks in a row at which more was consumed than there is: waiting longer mends nothing


@dataclass
class Hurt:
    """One fault as it went."""

    at_s: float
    kind: str
    what: str
    took_s: float
    ended: float
    healed_s: float | None = None


@dataclass
class Report:
    choices: Choices
    faults: list[Hurt] = field(default_factory=list)
    judgement: Judgement = field(default_factory=Judgement)
    numbers: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def red(self) -> list[str]:
        return self.judgement.faults

    def told(self) -> dict[str, Any]:
        return {
            "red": self.red, "numbers": self.numbers | self.judgement.numbers, "seconds": round(self.seconds),
            "choices": asdict(self.choices), "faults": [asdict(hurt) for hurt in self.faults],
        }  # fmt: skip


Tell = Callable[[str], None]


def run(choices: Choices, folder: Path, tell: Tell) -> Report:
    """The whole campaign; servers and consumers are gone when it returns, their logs are in `folder`."""
    begun, report = time.monotonic(), Report(choices)
    stage = build(choices, folder)
    try:
        tell(f"servers up after {time.monotonic() - begun:.0f} s in {folder}")
        _Play(stage, report, tell).all()
    finally:
        stage.close()
    report.seconds = time.monotonic() - begun
    return report


@dataclass
class _Play:
    stage: Stage
    report: Report
    tell: Tell

    def __post_init__(self) -> None:
        choices, topics = self.stage.choices, self.stage.topics
        self.world = World(Plan(choices.seed, choices.events, choices.gold_share, choices.real))
        self.fold = Fold(TRACKS)
        self.beyond = 0
        self.out = Outgoing(topics["events"])
        direct = self.stage.kafka.direct
        self.input = Reader(direct, [topics[role] for role in ("traces", "planning", "scores")])
        self.output = Reader(direct, [topics[role] for role in ("events", "dlq")])

    def all(self) -> None:
        with self._fed():
            self.stage.cast()
            self._hurt()
        self._heal()
        drained = self._drain()
        self._judge(drained)
        self.input.close()
        self.output.close()

    @contextmanager
    def _fed(self) -> Iterator[None]:
        """The feeder at work; with `replay_days` it has done its work before anybody reads."""
        stage, choices = self.stage, self.stage.choices
        if choices.replay_days:
            sends = self.world.replay(choices.replay_days, round(time.time() * 1000))
            stage.feeder.run(sends, total=choices.events, per_second=1e9, stop=stage.stop)
            stage.doors[-1].delay_s = 0.05  # slow enough for ticks to fall into it
            yield
            return
        stage.feeder.raw_headers()
        stage.feeder.allowed = 0.1
        how = {"total": choices.events, "per_second": 1.3 * choices.events / (choices.minutes * 60), "stop": stage.stop}
        thread = threading.Thread(target=stage.feeder.run, args=(self.world.sends(),), kwargs=how, name="feeder")
        thread.start()
        try:
            yield
        finally:
            stage.feeder.allowed = 1.0
            while thread.is_alive():
                stage.pause(0.5)
        if stage.feeder.failure is not None:
            raise RuntimeError("the feeder failed") from stage.feeder.failure

    def _hurt(self) -> None:
        """The schedule, evenly over the time; what is late follows at once. After each fault there is something left to
        consume, after the last one too: healing is seen by it."""
        stage, choices = self.stage, self.stage.choices
        rng = random.Random(choices.seed ^ 0xBAD)
        kinds = list(choices.kinds) or schedule(choices.seed, choices.faults, without=choices.without)
        begun, room = time.monotonic(), choices.minutes * 60
        stage.pause(min(12.0, room / 5))  # the group forms
        lead = time.monotonic() - begun
        for number, kind in enumerate(kinds):
            stage.feeder.allowed = 0.1 + 0.9 * (number + 1) / (len(kinds) + 1)
            due = begun + lead + number * (room - lead) / max(1, len(kinds))
            stage.pause(max(0.5, due - time.monotonic()))
            at = time.monotonic()
            what = patient(KINDS[kind][0], stage, rng)
            took = time.monotonic() - at
            self.report.faults.append(Hurt(round(at - begun, 1), kind, what, round(took, 1), time.monotonic()))
            self.tell(f"{at - begun:7.1f} s  {kind}: {what} ({took:.1f} s)")
        stage.feeder.allowed = 1.0
        stage.pause(max(0.0, begun + room - time.monotonic()))

    def _heal(self) -> None:
        stage = self.stage
        for door in stage.doors:
            door.mode, door.delay_s = "open", (door.delay_s if stage.choices.replay_days else 0.0)
        for member in stage.members:
            member.wanted = True

    # -------------------------------------------------------------- the end

    def _drain(self) -> list[str]:
        """Until nothing is left to do; what did not come to its end within its limit."""
        wrong: list[str] = []
        patience = self.stage.choices.patience
        self.tell("the faults are over; waiting until all is consumed and published")
        if not self._until(self._read_up, DRAIN_S):
            wrong.append(f"stalled: not all was consumed and published {DRAIN_S * patience:.0f} s after the last fault")
        for number in range(1 if wrong else 3):
            self.stage.feeder.plain(list(self.world.closing(number)))
            self.stage.feeder.flush()
            if self._until(self._sealed, HEAL_S) and self._until(self._read_up, HEAL_S):
                break
        else:
            wrong.append("stalled: runs that are joined were not sealed")
        self.tell("sealed; waiting for the datasets")
        if self.stage.curating and not self._until(self._curated, CURATE_S):
            wrong.append(f"stalled: the dataset lacked sealed runs {CURATE_S * patience:.0f} s after the last fault")
        return wrong

    def _until(self, true: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s * self.stage.choices.patience
        while time.monotonic() < deadline and self.beyond < BEYOND:
            with suppress(redis.RedisError):
                if true():
                    return True
            self.stage.pause(1.0)
        return False

    def _look(self) -> None:
        for raw in self.input.more():
            self.fold.add(raw)
        self.out.read(self.output, self.stage.boundaries)

    def _read_up(self) -> bool:
        self._look()
        consumed = sum(one["consumed"] for one in self.stage.counts().values())
        total = sum(self.fold.expected().records.values())
        self.beyond = self.beyond + 1 if consumed > total else 0
        return consumed == total and self.stage.outbox() == 0

    def _sealed(self) -> bool:
        self._look()
        joined = self.fold.expected().joined.keys()
        newest = {key for seal in self.out.seals for key in seal.keys}
        return joined <= newest

    def _curated(self) -> bool:
        self._look()
        numbers = judge_datasets(self.stage.data, self.out.created, self.fold.expected(), self.out.seals, ["gold"])
        return not any("runs lost" in fault or "none was" in fault for fault in numbers.faults)

    def _judge(self, drained: list[str]) -> None:
        self._look()
        stage, expected = self.stage, self.fold.expected()
        judged = compare(expected, self.out.seals, self.out.letters, stage.counts())
        judged.faults[:0] = drained
        judged.must("ids of two contents", self.out.conflicts)
        judged.must("own events given up", self._given_up())
        if stage.curating:
            more = judge_datasets(stage.data, self.out.created, expected, self.out.seals, ["gold"])
            judged.faults += more.faults
            judged.numbers |= more.numbers
        everybody = [*stage.members, stage.extra]
        judged.must("errors that nobody caught", (line for member in everybody for line in member.tracebacks()))
        _healed(self.report, stage.samples)
        slow = [hurt for hurt in self.report.faults if hurt.healed_s is None or hurt.healed_s > HEAL_S]
        judged.must("faults not healed", (f"{hurt.kind} at {hurt.at_s}: {hurt.healed_s} s" for hurt in slow))
        self.report.judgement = judged
        self.report.numbers = self._numbers()

    def _given_up(self) -> list[str]:
        """A batch that the buffer was rolled back behind is nobody's any more; its runs come again in others."""
        rolled_back = len(self.stage.boundaries) > 0
        return [letter for letter in self.out.control_letters if not (rolled_back and letter.startswith("E7459 "))]

    def _numbers(self) -> dict[str, Any]:
        stage = self.stage
        codes: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for member in [*stage.members, stage.extra]:
            codes += member.codes()
            ends += member.ends
        total: Counter[str] = Counter()
        for one in stage.counts().values():
            total += one
        return {
            "faults": len(self.report.faults), "epochs": len(stage.boundaries) + 1, "counters": dict(total),
            "produced": asdict(stage.feeder.produced), "repeated events": self.out.repeats, "codes in logs": dict(codes),
            "consumers that ended by themselves": dict(ends), "poison": dict(self.fold.kinds),
        }  # fmt: skip


def _healed(report: Report, samples: list[tuple[float, int]]) -> None:
    """How long after each fault's end the first record was consumed again."""
    for hurt in report.faults:
        before: int | None = None
        for at, consumed in samples:
            if at >= hurt.ended and before is not None and consumed > before:
                hurt.healed_s = round(at - hurt.ended, 1)
                break
            before = consumed if at >= hurt.ended - 1 or before is None else before


def table(report: Report) -> str:
    """Kind, times, and how long it took to heal."""
    by_kind: Mapping[str, list[Hurt]] = {kind: [] for kind in KINDS}
    for hurt in report.faults:
        by_kind[hurt.kind].append(hurt)
    lines = ["| fault | times | consuming again after, s (median, longest) |", "|---|---|---|"]
    for kind, hurts in by_kind.items():
        healed = sorted(hurt.healed_s for hurt in hurts if hurt.healed_s is not None)
        text = f"{healed[len(healed) // 2]:.1f}, {healed[-1]:.1f}" if healed else "-"
        if hurts:
            lines.append(f"| {kind} | {len(hurts)} | {text} |")
    return "\n".join(lines)

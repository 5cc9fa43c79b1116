"""Sealed rows -> examples that may be kept: known keys drop out, runs are extracted, completeness is judged, secrets
leave."""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from l07.domain.dataset import Member
from l07.domain.digests import digests_of
from l07.domain.example import FEATURES, NoExample, Provenance, TrainingExample, extract
from l07.domain.injection import NOTES, NOTHING, Inspection, campaigns, inspect_all, scanner_named, scores_of, weighed
from l07.domain.quality import COMPLETENESS, UNHOLDABLE, CurateRules, Verdict, judge
from l07.domain.scrub import SCRUBBED, Policy, Scrubbed, policy_of, scrub_all
from l07.events.normalise import read_score
from l07.ports import SealedBatch, SealedRow

# Rows that go through every look together, and whose texts are let go before the next come: so the automata of a look stay in a
# processor's cache for a while. They are larger than the rows: changing the look at each row costs double, at each 16th a
# twentieth.
AT_ONCE = 64
_figures = itemgetter(*FEATURES)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A run that the dataset has not seen. No example: nothing can be kept of it, but its key is known from now on."""

    member: Member
    example: TrainingExample | None
    provenance: Provenance | None
    inspection: Inspection = NOTHING  # what it read in tool outputs, for a look at all runs of its batch


@dataclass(frozen=True, slots=True)
class Revision:
    """A later score of a run that an earlier batch sealed."""

    row: SealedRow
    batch_id: str
    subject: str = ""  # keyed hash, of the score

    @property
    def provenance(self) -> Provenance:
        """Of the score alone: the trace's is in the line of the batch that brought it."""
        said = read_score(self.row.evaluation) if self.row.evaluation is not None else None
        at = self.row.evaluation_at
        return Provenance(
            trace_event="",
            trace_source="",
            trace_at="",
            score_event=said.event_id if said else None,
            score_source=said.source if said else None,
            score_at=f"{at[0]}:{at[1]}:{at[2]}" if at else None,
            trace_sha256="",
            batch_id=self.batch_id,
        )


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """No more runs come of a batch. `again`: those of them, by key, that are judged otherwise now that all are known; one
    that is quarantined has no example any more."""

    again: Mapping[str, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Intake:
    """What the batches bring, by natural key. `counts`: keys that the dataset has already, and what was scrubbed."""

    fresh: Mapping[str, Fresh]
    revisions: Mapping[str, Revision]
    counts: Mapping[str, int] = field(default_factory=dict)


Hashed = Callable[[str], str]  # a subject's name -> what may be kept of it


def unhashed(_: str) -> str:
    """Without a key nothing is kept of whose data a run is."""
    return ""


def take_in(
    batches: Sequence[SealedBatch], known: Container[str], rules: CurateRules, *, hashed: Hashed = unhashed
) -> Intake:
    """All of it at once; for a few batches."""
    counts: Counter[str] = Counter()
    fresh: dict[str, Fresh] = {}
    revisions: dict[str, Revision] = {}
    for one in read_in(batches, known, rules, counts, hashed):
        if isinstance(one, Revision):
            revisions[one.row.key] = one
        elif isinstance(one, Fresh):
            fresh[one.member.key] = one
        else:
            fresh |= {key: _again(fresh[key], member) for key, member in one.again.items()}
    return Intake(dict(sorted(fresh.items())), dict(sorted(revisions.items())), dict(sorted(counts.items())))


def _again(one: Fresh, member: Member) -> Fresh:
    return replace(one, member=member, example=None if member.decision == "QUARANTINE" else one.example)


def read_in(
    batches: Sequence[SealedBatch], known: Container[str], rules: CurateRules, counts: Counter[str], hashed: Hashed
) -> Iterator[Fresh | Revision | BatchEnd]:
    """Read the batches in their order, one after the other; rows of a batch in any order give the same. Of a key's
    revisions the last one counts. `hashed` makes of a subject's name what is stored. Nothing here holds on to an example
    once AT_ONCE others have come."""
    seen: set[str] = set()
    for batch in batches:
        ident = batch.seal.batch_id
        new: list[SealedRow] = []
        for row in sorted(batch.rows, key=_row_order):
            if row.revision:
                yield Revision(row, ident, _subject_of(row, hashed))
            elif row.key in known or row.key in seen:
                counts["already_in_dataset"] += 1
            else:
                seen.add(row.key)
                new.append(row)
        yield from _runs(new, ident, rules, counts, hashed)


def _runs(
    rows: Sequence[SealedRow], batch_id: str, rules: CurateRules, counts: Counter[str], hashed: Hashed
) -> Iterator[Fresh | BatchEnd]:
    directed: dict[str, _Directed] = {}
    quarantined = 0
    for at in range(0, len(rows), AT_ONCE):
        for one in _fresh(rows[at : at + AT_ONCE], batch_id, rules, counts, hashed):
            if one.inspection.passages:
                directed[one.member.key] = one.member, one.inspection
            quarantined += one.member.decision == "QUARANTINE"
            yield one
    again = _in_campaigns(directed, rules)
    quarantined += sum(m.decision == "QUARANTINE" != directed[key][0].decision for key, m in again.items())
    if quarantined:
        counts["quarantined"] += quarantined
    yield BatchEnd(again)


def _row_order(row: SealedRow) -> tuple[str, bool, float, float, bytes]:
    """Among the revisions of one key in a batch the most confident is read last, and stays."""
    return (row.key, row.revision, row.confidence, row.score, row.evaluation or b"")


def _subject_of(row: SealedRow, hashed: Hashed) -> str:
    named = read_score(row.evaluation).subject_id if row.evaluation is not None else ""
    return hashed(named) if named else ""


def _fresh(
    rows: Sequence[SealedRow], batch_id: str, rules: CurateRules, counts: Counter[str], hashed: Hashed
) -> Iterator[Fresh]:
    """One look at all rows, then the next one at all of them."""
    runs = [_extracted(row, batch_id) for row in rows]
    sound = [run for run in runs if not isinstance(run, NoExample)]
    policy = policy_of(rules)
    read = _inspected(sound, rules)
    clean = scrub_all([((run.goal, run.messages, run.tools), (run.goal,)) for run in sound], policy=policy)
    looks = zip(read, clean, strict=True)
    for row, run in zip(rows, runs, strict=True):
        subject = hashed(run.subject_id) if run.subject_id else ""
        if isinstance(run, NoExample):
            reasons = tuple(dict.fromkeys((*row.reasons, run.reason)))
            yield Fresh(_nothing(row, batch_id, reasons, subject), None, None)
            continue
        found, scrubbed = next(looks)
        verdict = judge(run, row.decision, row.reasons, complete=rules.completeness)
        verdict = weighed(verdict, found, threshold=rules.injection_threshold)
        example, verdict = _cleaned(run, verdict, scrubbed, policy, counts)
        member = _member(example, verdict, batch_id, subject, scores_of(found))
        keep = verdict.decision != "QUARANTINE" and UNHOLDABLE.isdisjoint(verdict.reasons)
        yield Fresh(member, example if keep else None, example.provenance, found)


def _extracted(row: SealedRow, batch_id: str) -> TrainingExample | NoExample:
    return extract(
        row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence,
        trace_at=row.trace_at, evaluation_at=row.evaluation_at, request=row.request, request_at=row.request_at, batch_id=batch_id,
    )  # fmt: skip


def _cleaned(
    example: TrainingExample, verdict: Verdict, clean: Scrubbed, policy: Policy, counts: Counter[str]
) -> tuple[TrainingExample, Verdict]:
    """Without what was replaced, and a note of it; a spill as it is, and why."""
    if not (clean.secrets or clean.personal or clean.kept):
        return example, verdict
    if spill := clean.spill(policy):
        return example, Verdict("QUARANTINE", (*verdict.reasons, *spill))
    counts.update(clean.counts())
    if not clean.hits:
        return example, verdict
    goal, messages, tools = clean.values
    scrubbed = replace(example, goal=goal, messages=messages, tools=tools)
    return scrubbed, Verdict(verdict.decision, (SCRUBBED, *verdict.reasons))


def _inspected(runs: Sequence[TrainingExample], rules: CurateRules) -> list[Inspection]:
    if not rules.injection:
        return [NOTHING] * len(runs)
    return inspect_all([(run.goal, run.messages) for run in runs], scanner=scanner_named(rules.injection_scanner))


_Directed = tuple[Member, Inspection]  # a run that read a directive


def _in_campaigns(directed: Mapping[str, _Directed], rules: CurateRules) -> dict[str, Member]:
    """The runs of a batch that read what runs of other tasks read too, judged with that in mind."""
    grams = campaigns((member.task, inspection.passages) for member, inspection in directed.values())
    known = ((key, member, inspection.among(grams)) for key, (member, inspection) in directed.items())
    return {key: _weighed_again(member, found, rules) for key, member, found in known if found.in_campaign}


def _weighed_again(member: Member, found: Inspection, rules: CurateRules) -> Member:
    verdict = weighed(Verdict(member.decision, member.reasons), found, threshold=rules.injection_threshold)
    scores = {**member.scores, **scores_of(found)}
    return member.but(decision=verdict.decision, reasons=verdict.reasons, scores=scores)


def _nothing(row: SealedRow, batch_id: str, reasons: tuple[str, ...], subject: str) -> Member:
    return Member(
        key=row.key, task="", source="", domain="", task_type="", difficulty=0.0, quality_score=row.score,
        confidence=row.confidence, decision="REJECT", reasons=reasons, batch_id=batch_id, content="", exact="",
        subject=subject,
    )  # fmt: skip


def _member(
    example: TrainingExample, verdict: Verdict, batch_id: str, subject: str, scores: Mapping[str, float]
) -> Member:
    digests = digests_of(example)
    return Member(
        key=example.key,
        task=f"{example.domain}/{example.task_id}",
        source=example.source,
        domain=example.domain,
        task_type=example.task_type,
        difficulty=example.difficulty,
        quality_score=example.quality_score,
        confidence=example.confidence,
        decision=verdict.decision,
        reasons=verdict.reasons,
        batch_id=batch_id,
        content=digests.content,
        exact=digests.exact,
        deeds=digests.deeds,
        features=_figures(example.features),
        model_version=example.model_version or "",
        subject=subject,
        scores=scores,
    )


def revised(member: Member, revision: Revision) -> Member:
    """The member with its later score. What was wrong with the messages stays wrong; the gates' old reasons go."""
    row = revision.row
    lasting = tuple(reason for reason in member.reasons if reason in COMPLETENESS)
    notes = tuple(reason for reason in member.reasons if reason in NOTES or reason == SCRUBBED)
    subject = member.subject or revision.subject
    scored = member.but(quality_score=row.score, confidence=row.confidence, subject=subject)
    if row.decision == "REJECT" or lasting:
        return scored.but(decision="REJECT", reasons=(*row.reasons, *lasting, *notes))
    if member.decision == "REVIEW":
        return scored
    return scored.but(decision="ACCEPT", reasons=notes if member.decision == "REJECT" else member.reasons)

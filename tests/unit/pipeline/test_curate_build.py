"""Sealed batches -> a version: G7 over many versions, order, revisions, gates, golden rows."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from l07.domain.dataset import Group, Refusal, version_digest
from l07.domain.drawing import draw_of, lowest
from l07.domain.quality import CurateRules
from l07.pipeline.curate import build as building
from l07.pipeline.curate import placing
from l07.pipeline.curate.build import Draft, Golden, build
from l07.pipeline.curate.roll import Grouping, Parent
from l07.pipeline.curate.twins import Body, Twins
from l07.pipeline.curate.work import Work
from l07.ports import SealedBatch
from tests.curation import (
    Shelf,
    a_batch,
    a_conversation,
    a_revision,
    a_row,
    a_task_each,
    a_world,
    deeds_across,
    moved,
    torn_tasks,
    twins_across,
    versions,
)

RULES = CurateRules()


def built(*batches: SealedBatch, parent: Parent | None = None, rules: CurateRules = RULES, **more: Any) -> Draft:
    draft = build(batches, rules, parent=parent, **more)
    assert isinstance(draft, Draft), draft
    return draft


def where(draft: Draft, ident: str) -> tuple[str, tuple[str, ...]]:
    member = draft.members[f"execution:{ident}"]
    return member.table, member.reasons


def in_batches(seed: int, count: int = 4) -> list[SealedBatch]:
    rows = a_world(seed, runs=30 * count)
    return [a_batch(rows[n * 30 : n * 30 + 30], number=n + 1) for n in range(count)]


# ------------------------------------------------------------------ G7


def g7_faults(batches: Sequence[SealedBatch]) -> list[object]:
    """Everything that breaks G7 in any version that follows from these batches."""
    faults: list[object] = []
    before: Draft | None = None
    for draft, shelf in versions(batches, lambda waiting, parent: build(waiting, RULES, parent=parent)):
        members = draft.members.values()
        faults += twins_across(members, shelf.texts)
        faults += deeds_across(members, shelf.texts)
        faults += torn_tasks(members)
        faults += moved(before.members, draft.members) if before else []
        faults += [s for s in ("train", "validation", "test") if not any(m.table == s for m in members)]
        faults += [m.key for m in members if m.learnt_from and m.table != m.split]
        before = draft
    assert before is not None, "no version at all: the world is too small"
    return faults


@pytest.mark.slow
def test_no_twin_no_task_and_no_row_is_ever_in_two_splits() -> None:
    assert [fault for seed in range(25) for fault in g7_faults(in_batches(seed))] == []


@pytest.mark.slow
def test_control_a_random_row_split_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = placing._into_tables

    def by_row(work: Work, grouping: Grouping) -> None:
        original(work, grouping)
        for row, member in work.moved("ACCEPT").items():
            table = random.Random(member.key).choice(["train", "train", "train", "validation", "test"])
            work.set(row, member.but(table=table, split=table))

    monkeypatch.setattr(placing, "_into_tables", by_row)
    assert g7_faults(in_batches(1))


@pytest.mark.slow
def test_control_a_recomputed_split_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = placing.merge

    def anew(groups: Iterable[Group], *more: Any) -> list[Group]:
        """A curator that gives every group that it looks at a split anew."""
        return [replace(group, split="") for group in original(groups, *more)]

    monkeypatch.setattr(placing, "merge", anew)
    monkeypatch.setattr(placing, "_split_conflicts", lambda *_: None)
    assert [fault for seed in range(5) for fault in g7_faults(in_batches(seed))]


@pytest.mark.slow
def test_control_groups_without_near_duplicates_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Twins, "pairs", lambda *_, **__: {})
    assert [fault for seed in range(5) for fault in g7_faults(in_batches(seed))]


@pytest.mark.slow
def test_control_groups_without_equal_deeds_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = placing.shared
    monkeypatch.setattr(placing, "shared", lambda rows: replace(original(rows), links=()))
    assert [fault for seed in range(5) for fault in g7_faults(in_batches(seed))]


def test_when_two_groups_merge_test_wins_and_the_train_rows_leave() -> None:
    shelf = Shelf()
    first = built(a_batch(a_task_each(20)))
    train = next(m for m in first.members.values() if m.table == "train")
    test = next(m for m in first.members.values() if m.table == "test")
    parent = shelf.parent(first)
    bridge = f"{shelf.texts[train.key].goal} and {shelf.texts[test.key].goal}"
    talk = [dict(message) for message in shelf.texts[train.key].messages]
    link = a_row("link", messages=[{**talk[0], "content": bridge}, *talk[1:]], task_id=test.task.split("/")[1])
    second = built(a_batch([link], number=2), parent=parent, rules=replace(RULES, cluster_similarity=0.3))
    assert where(second, train.key.split(":")[1]) == ("", ("outlier_not_judged", "doubt_not_judged", "split_conflict"))
    assert second.members["execution:link"].table == second.members[test.key].table == "test"
    assert str(second.number) == "1.1.0"


# ------------------------------------------------------------------ the same seals, the same version


def digests(batches: Sequence[SealedBatch]) -> list[str]:
    found = versions(batches, lambda waiting, parent: build(waiting, RULES, parent=parent))
    return [version_digest(draft.members.values()) for draft, _ in found]


def shuffled(batches: Sequence[SealedBatch], seed: int) -> list[SealedBatch]:
    return [SealedBatch(b.seal, random.Random(seed).sample(list(b.rows), len(b.rows))) for b in batches]


@pytest.mark.slow
def test_the_order_of_rows_within_a_batch_does_not_show() -> None:
    for seed in range(8):
        batches = in_batches(seed, count=3)
        assert digests(shuffled(batches, seed)) == digests(batches)


def test_control_an_order_that_shows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = building.read_in

    def first_come(batches: Sequence[SealedBatch], *more: Any) -> Any:
        """A curator that lets the first row of a batch in on its own terms."""
        rows = [
            a_batch([r for r in b.rows if r.key != b.rows[0].key], number=int(b.seal.batch_id[-1])) for b in batches
        ]
        return original(rows, *more)

    monkeypatch.setattr(building, "read_in", first_come)
    batches = in_batches(1, count=2)
    assert digests(shuffled(batches, 1)) != digests(batches)


def test_another_seed_is_another_split() -> None:
    rows = a_task_each(60)
    one, other = built(a_batch(rows)), built(a_batch(rows), rules=replace(RULES, seed=8))
    assert [m.split for m in one.members.values()] != [m.split for m in other.members.values()]


# ------------------------------------------------------------------ versions grow


def test_a_version_holds_the_rows_of_the_one_before() -> None:
    first = built(a_batch(a_task_each(20)))
    second = built(a_batch(a_task_each(5, prefix="n"), number=2), parent=Shelf().parent(first))
    assert str(second.number) == "1.1.0"
    assert len(second.difference.added) == 5
    assert all(second.members[key].table == member.table for key, member in first.members.items())
    assert set(second.examples) == {f"execution:n{n:03}" for n in range(5)}


def test_keys_that_are_known_are_dropped_and_counted() -> None:
    rows = a_task_each(20)
    first = built(a_batch(rows))
    again = built(a_batch([*rows[:3], *a_task_each(1, prefix="n")], number=2), parent=Shelf().parent(first))
    assert again.counts["already_in_dataset"] == 3
    assert len(again.difference.added) == 1


def test_a_batch_that_changes_nothing_gives_no_version() -> None:
    rows = a_task_each(20)
    parent = Shelf().parent(built(a_batch(rows)))
    refused = build([a_batch([*rows, a_row("bad", score=10.0)], number=2)], RULES, parent=parent)
    assert isinstance(refused, Refusal)
    assert refused.reason == "no_change"


def test_nine_tasks_wait_and_join_the_next_batch() -> None:
    rows = a_task_each(10)
    refused = build([a_batch(rows[:9])], RULES)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.needed, refused.have) == ("E7101", 10, 9)
    joined = built(a_batch(rows[:9]), a_batch(rows[9:], number=2))
    assert len(joined.difference.added) == 10
    assert {m.table for m in joined.members.values()} == {"train", "validation", "test"}


def test_another_threshold_is_another_meaning() -> None:
    parent = Shelf().parent(built(a_batch(a_task_each(20))))
    stricter = replace(RULES, quality_threshold=80.0)
    assert str(built(a_batch(a_task_each(1, prefix="n"), number=2), parent=parent, rules=stricter).number) == "2.0.0"


def test_lineage_has_a_line_for_every_row_and_batch() -> None:
    draft = built(a_batch(a_task_each(12)))
    assert [(line.key, line.batch_id) for line in draft.lineage] == [
        (key, "default-1") for key in sorted(draft.members)
    ]
    assert draft.lineage[3].events.trace_at == "execution.traces:0:3"
    assert draft.lineage[3].events.score_event == "ev-e003"


# ------------------------------------------------------------------ revisions


def revised(score: float, *, first_score: float = 90.0) -> tuple[Draft, Draft]:
    rows = [
        *a_task_each(20),
        a_row("x", score=first_score, messages=a_conversation("one of a kind", "quite unlike the rest")),
    ]
    first = built(a_batch(rows))
    second = built(a_batch([a_revision("x", score=score)], number=2), parent=Shelf().parent(first))
    return first, second


def test_a_later_bad_score_takes_the_row_out_into_the_contrast() -> None:
    _, second = revised(20.0)
    assert where(second, "x") == ("contrast", ("quality_score",))
    assert str(second.number) == "1.0.1"
    assert second.difference.removed == {"execution:x"}


def test_a_later_good_score_changes_the_row_where_it_is() -> None:
    first, second = revised(75.0)
    assert second.members["execution:x"].quality_score == 75.0
    assert second.members["execution:x"].table == first.members["execution:x"].table
    assert second.difference.altered == {"execution:x"}


def test_a_later_good_score_brings_a_rejected_row_in() -> None:
    first, second = revised(95.0, first_score=30.0)
    assert where(first, "x")[0] == "contrast"
    assert second.difference.added == {"execution:x"}
    assert second.members["execution:x"].table == first.members["execution:x"].split


def test_a_score_for_a_row_that_is_not_there_is_counted() -> None:
    first = built(a_batch(a_task_each(20)))
    batch = a_batch([a_revision("nobody", score=10.0), *a_task_each(1, prefix="n")], number=2)
    assert built(batch, parent=Shelf().parent(first)).counts["revision_without_row"] == 1


# ------------------------------------------------------------------ the filter's decisions


def test_a_rejected_row_is_contrast_with_the_split_of_its_group() -> None:
    rows = a_task_each(20)
    same_task = a_row("bad", score=10.0, task_id="e003", messages=a_conversation("other words", "and other deeds"))
    draft = built(a_batch([*rows, same_task]))
    assert where(draft, "bad") == ("contrast", ("quality_score",))
    assert draft.members["execution:bad"].split == draft.members["execution:e003"].table


def test_contrast_is_capped_at_a_multiple_of_the_accepted() -> None:
    draft = built(a_batch([*a_task_each(20), *a_task_each(60, prefix="bad", score=10.0)]))
    contrast = {m.key for m in draft.members.values() if m.table == "contrast"}
    keys = [f"execution:bad{n:03}" for n in range(60)]
    chosen = lowest(np.array([draw_of(key) for key in keys], np.uint64), 40, seed=7, purpose="contrast")
    assert contrast == {keys[place] for place in chosen}


def test_the_better_scored_of_two_near_duplicates_of_a_task_stays() -> None:
    text = " ".join(f"w{n}" for n in range(200))
    twins = [
        a_row("worse", score=80.0, task_id="t", messages=a_conversation("g", text)),
        a_row("better", score=90.0, task_id="t", messages=a_conversation("g", f"{text} end")),
    ]
    draft = built(a_batch([*a_task_each(20), *twins]))
    assert where(draft, "worse") == ("", ("near_duplicate",))
    assert where(draft, "better")[0] in ("train", "validation", "test")


def test_near_duplicates_of_two_tasks_both_stay_in_one_split() -> None:
    text = " ".join(f"w{n}" for n in range(200))
    twins = [
        a_row(f"{n}", task_id=f"t{n}", messages=a_conversation("g", f"{text} {n}"), domain=("home", "work")[n])
        for n in (0, 1)
    ]
    draft = built(a_batch([*a_task_each(20), *twins]))
    assert where(draft, "0")[0] == where(draft, "1")[0] != ""
    assert draft.members["execution:0"].group == draft.members["execution:1"].group


def test_what_differs_in_call_ids_alone_is_an_exact_duplicate() -> None:
    talk = a_conversation("g", "some deed")
    other = [
        {**m, "tool_calls": [{**m["tool_calls"][0], "id": "zz"}]}
        if m.get("tool_calls")
        else {**m, "tool_call_id": "zz"}
        if m["role"] == "tool"
        else m
        for m in talk
    ]
    rows = [a_row("a", score=80.0, messages=talk, task_id="ta"), a_row("b", score=81.0, messages=other, task_id="tb")]
    draft = built(a_batch([*a_task_each(20), *rows]))
    assert where(draft, "a") == ("", ("exact_duplicate",))


def test_golden_twins_leave_train_and_are_counted() -> None:
    rows = a_task_each(30)
    plain = built(a_batch(rows))
    train = [m.key for m in plain.members.values() if m.table == "train"]
    test = next(m.key for m in plain.members.values() if m.table == "test")
    golden = [Golden(f"golden-{key}", "home/none", plain_body(plain, key)) for key in (*train[:3], test)]
    draft = built(a_batch(rows), golden=golden)
    assert draft.counts["golden_twins"] == 3
    assert [draft.members[key].reasons[-1] for key in train[:3]] == ["golden_twin"] * 3
    assert draft.members[test].table == "test"


def plain_body(draft: Draft, key: str) -> Body:
    return Body(draft.examples[key].goal, draft.examples[key].messages)


def test_a_row_of_a_golden_task_leaves_train() -> None:
    rows = a_task_each(30)
    member = next(m for m in built(a_batch(rows)).members.values() if m.table == "train")
    draft = built(a_batch(rows), golden=[Golden("g", member.task, Body("unlike", ()))])
    assert draft.members[member.key].reasons[-1] == "golden_twin"


def test_a_secret_is_scrubbed_and_too_many_are_quarantined() -> None:
    keys = ["sk_live_" + f"{n}" * 24 for n in range(6)]
    one = a_row("one", messages=a_conversation("use the key", f"pay with {keys[0]}", f"again {keys[0]}"))
    many = a_row("many", messages=a_conversation("leak all keys", *keys))
    draft = built(a_batch([*a_task_each(20), one, many]))
    said = str(draft.examples["execution:one"].messages)
    assert keys[0] not in said
    assert said.count("<stripe_key_1>") == 2
    assert draft.members["execution:one"].reasons[0] == "scrubbed"
    assert draft.counts["scrubbed_stripe_key"] == 1
    assert where(draft, "many") == ("", ("secret_stripe_key",))
    assert draft.members["execution:many"].decision == "QUARANTINE"
    assert "execution:many" not in draft.examples


def test_a_run_without_a_goal_is_known_and_never_kept() -> None:
    draft = built(a_batch([*a_task_each(20), a_row("mute", messages=[{"role": "assistant", "content": "hm"}])]))
    assert where(draft, "mute") == ("", ("no_goal",))


def test_too_few_rows_of_a_domain_are_said_not_to_be_judged() -> None:
    draft = built(a_batch([*a_task_each(40), *a_task_each(5, prefix="few", domain="work")]))
    assert where(draft, "few000")[1] == ("outlier_not_judged", "doubt_not_judged")
    assert "outlier_not_judged" not in where(draft, "e000")[1]


def test_a_run_built_unlike_its_source_goes_to_review() -> None:
    rng = random.Random(0)
    loop = a_conversation("tidy it all", *["sweep sweep sweep"] * 60, answer="\u2591" * 3000)
    usual = []
    for n in range(80):
        deeds = [f"do {n} {i} " + "y" * rng.randint(5, 30) for i in range(rng.randint(1, 6))]
        usual.append(a_row(f"u{n}", messages=a_conversation(f"goal {n} " + "x" * rng.randint(5, 30), *deeds)))
    draft = built(a_batch([*usual, a_row("loop", messages=loop)]))
    assert where(draft, "loop") == ("review", ("outlier_rank", "outlier_z"))
    assert draft.members["execution:loop"].decision == "REVIEW"

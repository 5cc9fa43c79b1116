"""Doubt in a build: what goes to review, what stays as it was, what an update costs."""

from dataclasses import replace
from typing import Any

import pytest

from l07.domain.doubt import CountBoundCache, copies, judge, soundness
from l07.domain.quality import CurateRules
from l07.domain.selection import keyed_hash
from l07.pipeline.curate import doubting, readings
from l07.pipeline.curate.build import Draft, build
from l07.pipeline.curate.intake import take_in
from l07.pipeline.curate.texts import PackedTexts
from l07.ports import SealedRow
from tests.curation import Shelf, a_batch, a_row
from tests.doubt import Run, a_failure, a_purchase

RULES = CurateRules(outliers=False, near_duplicates=False, exact_duplicates=False)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "RUN_TREES", 15)
    monkeypatch.setattr(judge, "LABEL_TREES", 15)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just begun."""
    monkeypatch.setattr(readings, "_READ", CountBoundCache())
    monkeypatch.setattr(copies, "_MADE", CountBoundCache())
    monkeypatch.setattr(doubting, "COPIED", PackedTexts())


def the_row(ident: str, run: Run, task: int, **more: Any) -> SealedRow:
    return a_row(ident, messages=list(run.messages), goal=run.goal, task_id=f"t{task}", domain="shop", **more)


def the_shop(*, tasks: int = 40, spoilt: int = 0) -> list[SealedRow]:
    """Three attempts at each task, `spoilt` of them cut in the middle."""
    rows = []
    for n in range(tasks * 3):
        run = a_purchase(n // 3)
        cut = Run(run.messages[:4], run.goal) if n % 3 == 0 and n < 3 * spoilt else run
        rows.append(the_row(f"r{n:03}", cut, n // 3, offset=n))
    return rows


def built(rows: list[SealedRow], rules: CurateRules = RULES, **more: Any) -> Draft:
    draft = build([a_batch(rows)], rules, **more)
    assert isinstance(draft, Draft), draft
    return draft


def in_review(draft: Draft) -> set[str]:
    return {member.key.split(":")[1] for member in draft.members.values() if member.table == "review"}


def test_spoilt_runs_are_in_review_with_their_reason_and_score() -> None:
    draft = built(the_shop(spoilt=4))
    assert {f"r{n:03}" for n in (0, 3, 6, 9)} <= in_review(draft)
    member = draft.members["execution:r000"]
    assert "doubtful_run" in member.reasons
    assert member.scores["doubt_run"] > draft.members["execution:r050"].scores["doubt_run"]


def test_the_stage_off_changes_nothing() -> None:
    draft = built(the_shop(spoilt=4), replace(RULES, doubt=False))
    assert in_review(draft) == set()
    assert not any(member.reasons or member.scores.keys() & {"doubt_run"} for member in draft.members.values())


def test_the_order_of_rows_does_not_show() -> None:
    rows = the_shop(spoilt=4)
    assert built(rows).digest == built(rows[::-1]).digest


def test_a_good_run_with_a_bad_score_is_no_contrast() -> None:
    rows = the_shop(tasks=60)
    rows += [the_row(f"f{n:03}", a_failure(n), n, offset=900 + n, score=20.0) for n in range(59)]
    rows += [the_row("wrong", a_purchase(59), 59, offset=999, score=20.0)]
    member = built(rows, replace(RULES, doubt_label_share=0.1)).members["execution:wrong"]
    others = [m.scores["doubt_label"] for m in built(rows).members.values() if m.key[10] == "f"]
    assert member.scores["doubt_label"] > max(others)


def test_a_small_update_is_judged_against_older_rows_which_keep_their_verdicts() -> None:
    first = built(the_shop())
    before = {key: (member.decision, member.reasons) for key, member in first.members.items()}
    fresh = a_purchase(90)
    rows = [the_row("good", fresh, 90), the_row("cut", Run(fresh.messages[:4], fresh.goal), 91)]
    second = built(rows, parent=Shelf().parent(first))
    scores = {name: second.members[f"execution:{name}"].scores["doubt_run"] for name in ("good", "cut")}
    assert scores["cut"] > scores["good"] + 1
    assert {key: (second.members[key].decision, second.members[key].reasons) for key in before} == before


def test_of_older_rows_only_the_newest_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubting, "ENOUGH", 90)
    parent = Shelf().parent(built(the_shop()))
    forget(monkeypatch)
    asked: list[str] = []
    watched = replace(parent, bodies=lambda keys: asked.extend(keys) or parent.bodies(keys))  # type: ignore[func-returns-value]
    built([the_row("new", a_purchase(90), 90)], parent=watched)
    assert len(set(asked)) == 90


def test_what_a_process_remembers_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(the_shop(spoilt=4))
    fresh = [the_row(f"n{n}", a_purchase(90 + n // 2), 90 + n // 2) for n in range(8)]
    remembered = built(fresh, parent=Shelf().parent(first))
    forget(monkeypatch)
    assert built(fresh, parent=Shelf().parent(first)).digest == remembered.digest


def test_what_was_read_once_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Shelf().parent(built(the_shop()))
    monkeypatch.setattr(doubting, "COPIED", PackedTexts())
    asked: list[str] = []
    watched = replace(parent, bodies=lambda keys: asked.extend(keys) or parent.bodies(keys))  # type: ignore[func-returns-value]
    built([the_row("new", a_purchase(90), 90)], parent=watched)
    assert 0 < len(set(asked)) < 30  # copies beside the runs that came or went are made anew
    asked.clear()
    built([the_row("new", a_purchase(90), 90)], parent=watched)
    assert asked == []


def test_texts_of_the_build_before_are_not_read_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Shelf().parent(built(the_shop()))
    asked: list[str] = []
    watched = replace(parent, bodies=lambda keys: asked.extend(keys) or parent.bodies(keys))  # type: ignore[func-returns-value]
    fresh = [the_row("new", a_purchase(90), 90)]
    remembered = built(fresh, parent=watched)
    assert asked == []
    monkeypatch.setattr(doubting, "COPIED", PackedTexts())
    monkeypatch.setattr(copies, "_MADE", CountBoundCache())
    assert built(fresh, parent=watched).digest == remembered.digest
    assert len(asked) > 0


def test_a_task_with_many_attempts_is_capped_the_same_way_every_time() -> None:
    rows = [*the_shop(), *(the_row(f"m{n:03}", a_purchase(90, seed=n), 90, offset=500 + n) for n in range(50))]
    rules = replace(RULES, doubt=False, max_per_task=5)
    draft = built(rows, rules)
    left = [member for member in draft.members.values() if member.task == "shop/t90" and member.learnt_from]
    assert len(left) == 5
    assert sum(member.learnt_from for member in draft.members.values()) == 125
    assert draft.members.keys() == built(rows, replace(rules, max_per_task=0)).members.keys()
    assert {"task_cap"} == {r for m in draft.members.values() if not m.table for r in m.reasons}
    assert draft.digest == built(rows[::-1], rules).digest


def test_texts_are_held_of_the_first_runs_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "TEXTS", 5)
    fresh = take_in([a_batch(the_shop())], {}, RULES).fresh
    ranked = sorted(fresh, key=lambda key: keyed_hash(7, "faulty", key))
    for gone in (set[str](), set(ranked[:3]), set(ranked[2::2])):
        held = readings.Readings(seed=7)
        for start in range(0, len(fresh), 40):
            for one in [*fresh.values()][start : start + 40]:
                assert one.example is not None
                held.add(one.member, one.example)
            held.settle(gone)
        assert set(held.texts()) == set([key for key in ranked if key not in gone][:5])

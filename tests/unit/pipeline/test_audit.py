"""The audit's arithmetic: fates, shares, leaks, values that are left, labels."""

import json
import random
from dataclasses import replace
from itertools import combinations

import pytest

from l07.domain.example import TrainingExample, extract
from l07.domain.plants.plan import Plant
from l07.errors import BadAudit
from l07.pipeline.audit.figures import Fact, figures, goals, share
from l07.pipeline.audit.leaks import GOLDEN, Row, leaks, near, pairs
from l07.pipeline.audit.page import as_page
from l07.pipeline.audit.rows import rewritten, sealed, with_plants
from l07.pipeline.audit.scores import auroc, scores
from l07.pipeline.audit.spills import USED, alarms, spills
from l07.pipeline.audit.stages import stages
from l07.pipeline.audit.truth import from_field, from_lines
from l07.pipeline.curate.twins import Body
from l07.ports import SealedRow
from tests.curation import a_conversation, a_row, a_task_each, a_world, edited, grams, words


def example_of(row: SealedRow) -> TrainingExample:
    found = extract(
        row.key, row.trace, row.evaluation, score=row.score, confidence=row.confidence,
        trace_at=row.trace_at, evaluation_at=row.evaluation_at,
    )  # fmt: skip
    assert isinstance(found, TrainingExample)
    return found


def a_plant(row: SealedRow, kind: str, fault: str, **changes) -> Plant:
    example = example_of(row)
    key = changes.pop("key", row.key)
    return Plant(kind, fault, "home", key, row.key, "planted", example, **changes)


def a_fact(key: str, **said) -> Fact:
    return Fact(**({"key": key, "source": "home", "passed": True, "decision": "ACCEPT", "table": "train"} | said))


def a_split_row(key: str, split: str, goal: str, *actions: str, task: str = "") -> Row:
    messages = example_of(a_row(key, messages=a_conversation(goal, *actions))).messages
    return Row(key, split, task or key, goal, messages)


STEPS_EVENT = {
    "specversion": "1.0", "type": "execution.completed", "source": "/l02", "id": "ex-1",
    "data": {
        "execution_id": "r1", "task_id": "t1", "domain": "sql", "outcome": "success", "subject_id": "s1",
        "trace": {
            "task_description": "how many rows are there?", "task_context": {"database": "d"},
            "steps": [{"step_id": 1, "tool_name": "sql", "parameters": {"query": "select 1"}, "output": "1"}],
            "final_answer": "one",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("trace", [a_row("r1").trace, json.dumps(STEPS_EVENT).encode()])
def test_a_run_that_is_written_anew_is_the_same_run_in_every_dialect(trace) -> None:
    row = a_row("r1")._replace(trace=trace)
    before = example_of(row)
    after = example_of(row._replace(trace=rewritten(trace, before)))
    names = ("key", "messages", "tools", "goal", "outcome", "domain", "task_type", "task_id", "agent_id", "features")
    assert {name: getattr(after, name) for name in names} == {name: getattr(before, name) for name in names}
    assert not json.loads(rewritten(trace, before))["data"].keys() & {"trace", "task_description"}
    assert json.loads(rewritten(trace, before))["data"].get("subject_id") == json.loads(trace)["data"].get("subject_id")


def test_a_plant_takes_its_original_s_place_and_a_copy_stands_behind_it() -> None:
    rows = a_task_each(3)
    noise = a_plant(rows[0], "noise", "loop")
    twin = a_plant(rows[1], "twins", "near_twin")
    twin = Plant(
        twin.kind, twin.fault, twin.source, "execution:copy", twin.of, "", replace(twin.example, key="execution:copy")
    )
    out, later = with_plants(rows, [noise, twin])
    assert [row.key for row in out] == [rows[0].key, rows[1].key, "execution:copy", rows[2].key]
    assert out[1] == rows[1]
    assert later == {}


def test_a_later_score_comes_a_batch_after_its_run() -> None:
    rows = a_task_each(5)
    _, later = with_plants(rows, [a_plant(rows[0], "late", "late_score"), a_plant(rows[4], "late", "late_score")])
    batches = list(sealed("default", rows, later, count=2))
    assert [[(row.key, row.revision) for row in batch.rows] for batch in batches] == [
        [(rows[0].key, False), (rows[1].key, False)],
        [(rows[0].key, True), (rows[2].key, False), (rows[3].key, False)],
        [(rows[4].key, False)],
        [(rows[4].key, True)],
    ]


FACTS = [
    *(a_fact(f"c{n}") for n in range(8)),
    a_fact("c8", decision="REVIEW", table="review", reasons=("outlier_z",)),
    a_fact("c9", table="", reasons=("near_duplicate",)),
    a_fact("low", passed=False, decision="REJECT", table="contrast", reasons=("low_score",)),
    a_fact("n1", kind="noise", fault="loop"),
    a_fact("n2", kind="noise", fault="loop", decision="REVIEW", table="review", reasons=("outlier_z",)),
    a_fact("n3", kind="noise", fault="cut_end", table="", reasons=("near_duplicate",)),
    a_fact("n4", kind="noise", fault="cut_end", built=False),
]


def test_what_is_caught_missed_set_aside_and_lost_is_counted_apart() -> None:
    found = figures(FACTS)
    (clean,) = found["clean"]
    assert (clean["passed"], clean["kept"]["count"], clean["lost"]["count"], clean["aside"]["count"]) == (10, 8, 1, 1)
    assert clean["why_lost"] == {"outlier_z": 1}
    noise = next(line for line in found["faults"] if line["kind"] == "noise" and not line["fault"])
    assert (noise["planted"], noise["caught"]["count"], noise["aside"]["count"], noise["missed"]["count"]) == (
        3,
        1,
        1,
        1,
    )
    (left,) = found["left"]
    assert left["left"] == share(1, 9)
    assert left["before"] == share(3, 13)
    assert {line["fault"] for line in found["faults"]} == {"", "loop", "cut_end"}


def test_a_plant_that_should_stay_is_marked_and_spoils_nothing() -> None:
    facts = [*FACTS, a_fact("r", kind="resisted", fault="resisted", table="", decision="QUARANTINE")]
    found = figures(facts)
    line = next(line for line in found["faults"] if line["kind"] == "resisted")
    assert (line["sound"], line["caught"]["count"], line["missed"]["count"]) == (True, 1, 0)
    assert {left["kind"] for left in found["left"]} == {"noise"}
    assert '(should stay)</text><rect class="caught"' in as_page(a_report(facts))


def a_report(facts) -> dict:
    return {
        **figures(facts), "of": ["<e>"], "input": {"runs": 1}, "half": None, "rates": {}, "seed": 7, "labelled": 0, "seconds": 1,
        "planted": [], "versions": [], "refused": [], "spills": {}, "alarms": [], "pairs": [], "scores": scores(facts),
        "stages": stages(facts), "leaks": leaks([], similarity=0.7), "goals": [],
    }  # fmt: skip


def test_the_page_holds_no_markup_of_the_data() -> None:
    page = as_page(a_report([a_fact("x", source="<b>home", reasons=("<i>why",), decision="REVIEW", table="review")]))
    assert "<b>home" not in page
    assert "<i>why" not in page
    assert "&lt;b&gt;home" in page


def test_a_goal_is_met_only_as_far_as_it_was_measured() -> None:
    report = {**figures(FACTS), "leaks": {"near_twins_across_splits": 0, "exact_repeats": 1, "tasks_in_two_splits": 0}}
    found = {line["goal"]: line for line in goals(report)}
    assert not found["noise left in the splits"]["met"]
    assert found["clean runs lost, beside noise"]["met"]
    assert not found["clean runs lost, beside noise"]["sure"]
    assert not found["exact repeats"]["met"]
    assert found["near twins across splits"]["sure"]
    assert "hijacked runs left in the splits" not in found


def test_several_sources_have_a_line_each_and_one_for_all() -> None:
    found = figures([*FACTS, a_fact("w", source="work")])
    assert [line["source"] for line in found["clean"]] == ["home", "work", "all"]


def test_of_nothing_there_is_no_share() -> None:
    assert share(0, 0) == {"count": 0, "n": 0, "share": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize("seed", range(6))
def test_the_search_for_twins_finds_every_pair_that_there_is(seed) -> None:
    examples = [example_of(row) for row in a_world(seed, runs=80, twins=0.5)]
    rows = [Row(e.key, "train", e.task_id, e.goal, e.messages) for e in examples]
    sets = {row.key: grams(Body(row.goal, row.messages)) for row in rows}
    every = {
        frozenset((one.key, other.key))
        for one, other in combinations(rows, 2)
        if len(sets[one.key] & sets[other.key]) >= 0.7 * len(sets[one.key] | sets[other.key])
    }
    assert every
    assert {frozenset((one.key, other.key)) for one, other, _ in near(rows, 0.7)} == every


def test_a_pair_exactly_at_the_limit_is_found_whatever_is_rare_in_it() -> None:
    said = words(random.Random(2), 14).split()  # ten shingles, of which the shorter one has seven
    rows = [Row("long", "train", "a", " ".join(said), ()), Row("short", "test", "b", " ".join(said[:11]), ())]
    assert [value for _, _, value in near(rows, 0.7)] == [0.7]
    assert leaks(rows, similarity=0.7)["near_twins_across_splits"] == 1


def test_twins_and_repeats_and_torn_tasks_are_found_where_they_are() -> None:
    rng = random.Random(1)
    goal, action = words(rng, 12), words(rng, 60)
    rows = [
        a_split_row("a", "train", goal, action),
        a_split_row("b", "test", goal, edited(rng, action, 0.01)),
        a_split_row("c", "train", goal, action, task="b"),
        a_split_row("d", "train", words(rng, 12), words(rng, 60)),
    ]
    found = leaks(rows, similarity=0.7)
    assert (found["near_twins_across_splits"], found["exact_repeats"], found["tasks_in_two_splits"]) == (2, 1, 1)
    assert found["repeated"] == [["a", "c"]]
    clean = leaks([rows[0], rows[3]], similarity=0.7)
    assert (clean["near_twins_across_splits"], clean["exact_repeats"], clean["tasks_in_two_splits"]) == (0, 0, 0)


def test_a_golden_row_may_have_a_twin_in_test_and_none_in_train() -> None:
    rng = random.Random(1)
    goal, action, other = words(rng, 12), words(rng, 60), words(rng, 60)
    golden = [a_split_row("golden/g", GOLDEN, goal, action)]
    held_out = [a_split_row("a", "test", goal, action), a_split_row("b", "train", goal, other)]
    learnt = [a_split_row("a", "train", goal, action)]
    assert [leaks(rows, similarity=0.7, golden=golden)["golden_twins_in_train"] for rows in (held_out, learnt)] == [
        0,
        1,
    ]
    assert leaks(held_out, similarity=0.7, golden=golden)["near_twins_across_splits"] == 0


def test_planted_copies_are_told_by_where_they_stand() -> None:
    goal, action = "tidy the room as well as you can", "sweep and dust until nothing lies about"
    rows = [a_split_row("execution:a", "train", goal, action), a_split_row("x", "test", goal, action)]
    original = a_row("a")
    told = pairs([a_plant(original, "twins", "near_twin", key="x")], rows, similarity=0.7)
    assert told == [{"kind": "twins", "source": "home", "planted": 1, "both_kept": 1, "apart": 1, "near_and_apart": 1}]


def test_a_value_is_found_only_where_it_is_nowhere_in_the_files() -> None:
    rows = a_task_each(4)
    planted = [a_plant(row, "secrets", "card", values=(f"value-{n}",)) for n, row in enumerate(rows)]
    facts = [a_fact(row.key, kind="secrets", fault="card", what="secret, tool") for row in rows[:2]]
    facts += [a_fact(rows[2].key, kind="secrets", fault="card", what="secret, tool", table="", decision="QUARANTINE")]
    facts += [a_fact(rows[3].key, kind="secrets", fault="card", what="secret, tool", table="")]
    found = spills(facts, planted, [b"nothing here", b"but here: value-1 and value-3"])
    assert (found["planted"], found["not_judged"]) == (4, 1)
    (line,) = found["kinds"]
    assert line["found"] == share(2, 3)
    assert line["quarantined"] == 1


def test_personal_data_that_the_task_uses_is_a_goal_only_where_it_shall_go() -> None:
    row = a_row("a")
    planted = [a_plant(row, "secrets", "email", values=("v",))]
    found = spills([a_fact(row.key, kind="secrets", fault="email", what="personal, arguments")], planted, [b"v"])
    assert [line["name"] for line in found["classes"]] == [USED]
    leaks_of = leaks([], similarity=0.7)
    for scrubbed, told in ((["secret", "personal"], []), (["secret", "personal", USED], [f"{USED} values found"])):
        report = {**figures([]), "leaks": leaks_of, "spills": found, "scrubbed": scrubbed}
        assert [line["goal"] for line in goals(report) if line["kind"] == "secrets"] == told


def test_a_clean_row_that_was_changed_is_an_alarm() -> None:
    row = a_row("a")
    example = example_of(row)
    stored = {"goal": example.goal, "messages": list(example.messages), "tools": list(example.tools)}
    fact = a_fact(row.key)
    (quiet,) = alarms([fact], {row.key: example}, {row.key: stored})
    (loud,) = alarms([fact], {row.key: example}, {row.key: stored | {"goal": "tidy <email_1>"}})
    assert (quiet["kinds"], loud["kinds"]) == ({}, {"email": 1})
    assert (quiet["altered"]["count"], loud["altered"]["count"]) == (0, 1)


def test_a_score_that_tells_bad_from_good_has_an_auroc_of_one() -> None:
    assert auroc([3, 4], [1, 2]) == 1.0
    assert auroc([1, 2], [3, 4]) == 0.0
    assert auroc([1, 2, 2], [1, 2, 2]) == 0.5
    assert auroc([], [1]) is None
    facts = [a_fact(f"c{n}", scores={"z": n / 10}) for n in range(9)]
    found = scores([*facts, a_fact("n", kind="noise", fault="loop", scores={"z": 5.0})])["z"]
    assert found["auroc"] == {"all noise": 1.0, "loop": 1.0}
    assert sum(found["clean"]) == pytest.approx(1.0)
    assert found["planted"][-1] == 1.0


def test_labels_come_from_lines_or_from_a_field() -> None:
    rows = [a_row("a", labels={"hijack": True}), a_row("b", labels={"hijack": False}), a_row("c")]
    lines = [b'{"execution_id": "a", "label": "hijack"}', b"", b'{"execution_id": "b", "label": "clean"}']
    assert from_lines(enumerate(lines, 1), rows, file="f") == {"execution:a": "hijack", "execution:b": ""}
    assert from_field("labels.hijack", rows) == {"execution:a": "hijack", "execution:b": ""}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{broken", "f, line 1"),
        (b'{"execution_id": "a"}', "label"),
        (b'{"label": "x"}', "execution_id"),
        (b'{"execution_id": "strange", "label": "x"}', "none of these 1 runs"),
    ],
)
def test_a_label_that_cannot_be_read_is_refused_with_its_line(line, said) -> None:
    with pytest.raises(BadAudit, match=said):
        from_lines([(1, line)], [a_row("a")], file="f")


def test_a_field_that_no_event_has_is_refused() -> None:
    with pytest.raises(BadAudit, match="labels none of these"):
        from_field("security", [a_row("a")])

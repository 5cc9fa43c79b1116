"""The state of the registry, the table of moves, the gates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest

from l07.domain.registry import NEXT_STAGES, SIMULATED, ModelVersion, Stage, check_move, fold
from l07.errors import (
    L07Error,
    MoveNotAllowed,
    NotDeployable,
    ReleaseIncomplete,
    SimulatedArtifact,
    TaintedModel,
    UnknownModel,
)

D, S, P, A, Q = Stage.DEVELOPMENT, Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED, Stage.QUARANTINED
ALLOWED = {(D, S), (S, P), (D, A), (S, A), (P, A), (D, Q), (S, Q), (P, Q), (A, Q)}  # SPEC.md, "model registry"


@dataclass(frozen=True)
class AnEntry:
    number: int
    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    at: str = "2026-01-02T03:04:05Z"


def an_entry(number: int, kind: str, subject: str, data: Mapping[str, Any]) -> AnEntry:
    return AnEntry(number, kind, {"subject": subject, "data": data})


def registered(number: int = 1, *, version: str = "1.0.0", name: str = "default") -> AnEntry:
    data: dict[str, Any] = {"model": name, "version": version, "digest": "aa", "uri": f"models/{name}/{version}"}
    data |= {"base_model": "tiny", "lineage": {"job_id": f"job-{number}"}}
    return an_entry(number, "model.registered", f"models/{name}:{version}", data)


def validated(number: int, verdict: str, **digest: str) -> AnEntry:
    return an_entry(number, "model.validated", "models/default:1.0.0", {"verdict": verdict, **digest})


def moved(number: int, to: Stage, *, version: str = "1.0.0") -> AnEntry:
    return an_entry(number, "model.stage_changed", f"models/default:{version}", {"to": to.value})


def a_model(stage: Stage = D, *, verdict: str | None = "DEPLOY", labels: tuple[str, ...] = ()) -> ModelVersion:
    return ModelVersion("default", "1.0.0", "aa", "models/default/1.0.0", "tiny", {}, "", 1, stage, verdict, labels)


# ------------------------------------------------------------------ fold


def upon(number: int, version: str, *parents: str) -> AnEntry:
    entry = registered(number, version=version)
    entry.body["data"]["lineage"]["parents"] = list(parents)
    return entry


def tainted(number: int, version: str, due: str) -> AnEntry:
    return an_entry(number, "model.tainted", f"models/default:{version}", {"due": due})


def test_taint_passes_on_to_whatever_was_trained_upon_it() -> None:
    line = [registered(1), upon(2, "2.0.0", "default:1.0.0", "elsewhere:1.0.0"), upon(3, "3.0.0", "default:2.0.0")]
    entries = [*line, registered(4, version="4.0.0"), tainted(5, "1.0.0", "soon")]
    assert [model.tainted for model in fold(entries).models.values()] == ["soon", "soon", "soon", ""]
    later = fold([*entries, upon(6, "5.0.0", "default:3.0.0")]).find("default", "5.0.0")
    with pytest.raises(TaintedModel, match=r"E7123.*built on"):
        check_move(later, S)
    own = fold([*entries, tainted(6, "2.0.0", "later")]).models.values()
    assert [model.tainted for model in own] == ["soon", "later", "later", ""]


def test_a_models_line_is_what_was_trained_upon_it() -> None:
    known = fold(
        [
            registered(1),
            upon(2, "2.0.0", "default:1.0.0"),
            registered(3, version="3.0.0"),
            upon(4, "4.0.0", "default:2.0.0"),
        ]
    )
    assert [one.version for one in known.line_of([known.find("default", "1.0.0")])] == ["1.0.0", "2.0.0", "4.0.0"]
    assert known.line_of([]) == []


def test_a_registered_model_is_in_development_without_a_verdict() -> None:
    model = fold([registered()]).find("default", "1.0.0")
    assert (model.stage, model.verdict, model.digest, model.id) == (D, None, "aa", "default:1.0.0")


def test_the_last_verdict_counts() -> None:
    entries = [registered(), validated(2, "DEPLOY", digest="aa"), validated(3, "REJECT", digest="aa")]
    assert fold(entries[:2]).find("default", "1.0.0").verdict == "DEPLOY"
    assert fold(entries).find("default", "1.0.0").verdict == "REJECT"


def test_a_verdict_on_other_files_says_nothing() -> None:
    assert fold([registered(), validated(2, "DEPLOY", digest="bb")]).find("default", "1.0.0").verdict is None
    assert fold([registered(), validated(2, "DEPLOY")]).find("default", "1.0.0").verdict is None


def test_moves_are_followed_and_counted() -> None:
    model = fold([registered(), moved(2, S), moved(3, A)]).find("default", "1.0.0")
    assert (model.stage, model.moves, model.entry) == (A, 2, 3)


def test_other_kinds_and_unknown_subjects_change_nothing() -> None:
    entries = [registered(), AnEntry(2, "note"), moved(3, S, version="9.0.0")]
    assert fold(entries) == fold(entries[:1])


def test_an_unknown_version_is_said_with_those_that_are_there() -> None:
    with pytest.raises(UnknownModel, match=r"E7210.*default:2\.0\.0; versions of default: 1\.0\.0"):
        fold([registered()]).find("default", "2.0.0")
    with pytest.raises(UnknownModel, match="none"):
        fold([]).find("default", "1.0.0")


def test_the_next_number_of_a_name_is_one_more_than_its_largest() -> None:
    entries = [registered(n, version=f"{n}.0.0") for n in (1, 9, 10)]
    assert fold(entries).next_major("default") == 11
    assert fold(entries).next_major("other") == 1


def test_the_holder_of_a_stage_is_the_last_that_came_and_is_still_there() -> None:
    entries = [registered(n, version=f"{n}.0.0") for n in (1, 2, 3)]
    entries += [moved(4, S, version="2.0.0"), moved(5, S, version="1.0.0"), moved(6, S, version="3.0.0")]
    entries += [moved(7, A, version="3.0.0")]
    state = fold(entries)
    assert [model.version for model in [state.holder("default", S)] if model] == ["1.0.0"]
    assert state.holder("default", P) is None


def test_a_job_made_at_most_one_model() -> None:
    state = fold([registered(1), registered(2, version="2.0.0")])
    assert [model.version for model in [state.of_job("default", "job-2")] if model] == ["2.0.0"]
    assert state.of_job("default", "job-3") is None


# ------------------------------------------------------------------ moves and gates


def test_the_table_is_the_specification() -> None:
    assert set(NEXT_STAGES) == set(Stage)
    assert {(was, to) for was, nexts in NEXT_STAGES.items() for to in nexts} == ALLOWED


@pytest.mark.parametrize(("was", "to"), list(product(Stage, Stage)))
def test_each_stage_to_each_stage(was: Stage, to: Stage) -> None:
    model = a_model(was)
    expected: type[L07Error] | None = None
    if (was, to) not in ALLOWED:
        expected = MoveNotAllowed
    elif to is P:
        expected = ReleaseIncomplete
    if expected is None:
        check_move(model, to)
        return
    with pytest.raises(expected):
        check_move(model, to)


@pytest.mark.parametrize("verdict", [None, "REVIEW", "REJECT"])
def test_staging_needs_the_verdict_deploy(verdict: str | None) -> None:
    with pytest.raises(NotDeployable, match=f"E7212.*{verdict or 'not there'}"):
        check_move(a_model(verdict=verdict), S)
    check_move(a_model(verdict="DEPLOY"), S)


def test_production_says_what_is_missing() -> None:
    with pytest.raises(ReleaseIncomplete, match=r"E7214.*two signed approvals.*canary"):
        check_move(a_model(S), P)


@pytest.mark.parametrize(("was", "to"), sorted(ALLOWED))
def test_what_was_simulated_passes_no_gate_but_can_be_withdrawn(was: Stage, to: Stage) -> None:
    model = a_model(was, labels=(SIMULATED,))
    if to in (S, P):
        with pytest.raises(SimulatedArtifact, match="E7213"):
            check_move(model, to)
    else:
        check_move(model, to)


def test_a_tainted_model_passes_no_gate_unless_a_person_says_so_and_can_always_be_withdrawn() -> None:
    due = "2026-02-01T00:00:00Z"
    tainted = an_entry(2, "model.tainted", "models/default:1.0.0", {"due": due})
    model = fold([registered(), validated(3, "DEPLOY", digest="aa"), tainted]).find("default", "1.0.0")
    assert model.tainted == due
    with pytest.raises(TaintedModel, match="E7123"):
        check_move(model, S)
    check_move(model, S, despite_taint=True)
    check_move(model, A)
    check_move(model, Q)

"""A training job's moves, settings and id."""

from itertools import product

import pytest

from l07.domain.job import NEXT_STATES, JobConfig, JobState, LoRAConfig, TrainingJob, job_id
from l07.errors import JobMoveRefused

S = JobState
WORK = (S.INITIALIZING, S.PREPARING_DATA, S.TRAINING, S.VALIDATING)
# Written out a second time on purpose: the table in the product may only change together with this one.
ALLOWED = {
    (S.PENDING, S.INITIALIZING), (S.PENDING, S.FAILED), (S.PENDING, S.CANCELLED),
    (S.INITIALIZING, S.PREPARING_DATA), (S.PREPARING_DATA, S.TRAINING), (S.TRAINING, S.VALIDATING), (S.VALIDATING, S.COMPLETED),
    *product(WORK, (S.FAILED, S.CANCELLED, S.RETRYING, S.PENDING)),
    (S.RETRYING, S.INITIALIZING), (S.RETRYING, S.PENDING), (S.RETRYING, S.FAILED), (S.RETRYING, S.CANCELLED),
}  # fmt: skip


def a_job(state: JobState = S.PENDING, attempt: int = 0) -> TrainingJob:
    return TrainingJob("job-1", "default", "default:1.0.0", "tiny-policy", state=state, attempt=attempt)


def an_id(**changes: object) -> str:
    same = {
        "dataset_digest": "d",
        "config": JobConfig(),
        "base_digest": "b",
        "seed": 7,
        "threads": 1,
        "versions": {"torch": "2.13.0"},
    }
    return job_id(**{**same, **changes})  # type: ignore[arg-type]  # a builder that changes one input at a time


@pytest.mark.parametrize(("here", "there"), list(product(JobState, JobState)))
def test_a_move_is_allowed_exactly_where_the_table_has_it(here: JobState, there: JobState) -> None:
    if (here, there) in ALLOWED:
        assert a_job(here, attempt=1).move(there).state is there
        return
    with pytest.raises(JobMoveRefused) as caught:
        a_job(here, attempt=1).move(there)
    assert caught.value.code == "E7720"
    assert here in caught.value.message
    assert there in caught.value.message


def test_a_job_is_terminal_when_no_move_is_left() -> None:
    assert {state for state in JobState if a_job(state).is_terminal()} == {S.COMPLETED, S.FAILED, S.CANCELLED}


def test_every_state_can_be_reached_from_pending() -> None:
    seen, open_ = set(), {S.PENDING}
    while open_:
        state = open_.pop()
        seen.add(state)
        open_ |= NEXT_STATES[state] - seen
    assert seen == set(JobState)


def test_attempts_count_beginnings_and_a_preempted_one_does_not_count() -> None:
    first = a_job().move(S.INITIALIZING)
    assert first.attempt == 1
    assert first.move(S.PENDING).attempt == 0
    again = first.move(S.RETRYING).move(S.INITIALIZING)
    assert again.attempt == 2
    assert first.move(S.RETRYING).move(S.PENDING).attempt == 1


def test_a_move_carries_what_became_known() -> None:
    failed = a_job(S.TRAINING, attempt=1).move(S.FAILED, error_code="E7726", error_message="the loss is nan")
    assert (failed.error_code, failed.error_message, failed.output_model_id) == ("E7726", "the loss is nan", None)


def test_defaults_are_those_of_the_specification() -> None:
    config = JobConfig()
    assert (config.learning_rate, config.batch_size, config.num_epochs, config.clip, config.early_stop) == (
        2e-4,
        16,
        3,
        1.0,
        2,
    )
    assert config.lora_config == LoRAConfig(rank=16, alpha=32, dropout=0.05)


def test_a_config_reads_back_what_it_wrote() -> None:
    config = JobConfig(learning_rate=2e-5, num_epochs=1.5, max_steps=9, lora_config=LoRAConfig(rank=4, embeddings=True))
    assert JobConfig.from_document(config.document()) == config


def test_settings_that_came_later_are_written_only_where_they_are_set_so_that_earlier_ids_hold() -> None:
    document = JobConfig().document()
    assert "adapter" not in document
    assert "kind" not in document["lora"]
    config = JobConfig(adapter="full", lora_config=LoRAConfig(kind="dora"))
    assert JobConfig.from_document(config.document()) == config
    assert len({an_id(config=one) for one in (JobConfig(), config, JobConfig(adapter="full"))}) == 3


def test_what_is_set_wins_over_the_base_and_the_base_over_our_defaults() -> None:
    config = JobConfig.from_document(
        {"learning_rate": 1e-3, "batch_size": None, "lora": {"rank": 4, "alpha": None}},
        {"learning_rate": 5e-3, "batch_size": 8, "lora": {"rank": 32, "alpha": 64}},
    )
    assert (config.learning_rate, config.batch_size, config.num_epochs) == (1e-3, 8, 3)
    assert config.lora_config == LoRAConfig(rank=4, alpha=64)


@pytest.mark.parametrize(
    "document",
    [
        {"learning_rate": 0},
        {"batch_size": 0},
        {"epochs": 0},
        {"max_steps": 0},
        {"max_length": 15},
        {"clip": 0},
        {"lora": {"rank": 0}},
        {"lora": {"dropout": 1.0}},
        {"lora": {"kind": "loha"}},
        {"adapter": "prefix"},
    ],
)
def test_a_value_out_of_range_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        JobConfig.from_document(document)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset_digest": "e"}, {"config": JobConfig(learning_rate=1e-3)}, {"base_digest": "c"}, {"seed": 8}, {"threads": 2},
        {"versions": {"torch": "2.14.0"}}, {"method": "dpo"}, {"canaries": 8}, {"gpus": ["NVIDIA H200"]},
        {"config": JobConfig(precision="bf16")},
    ],
)  # fmt: skip
def test_the_id_changes_with_each_thing_that_changes_the_weights(change: dict[str, object]) -> None:
    assert an_id(**change) != an_id()


def test_the_id_is_the_same_for_the_same_inputs_however_they_are_written() -> None:
    assert an_id(config=JobConfig()) == an_id(config=JobConfig().document())
    assert an_id(versions={"a": "1", "b": "2"}) == an_id(versions={"b": "2", "a": "1"})
    assert an_id() == "job-" + an_id()[4:]
    assert len(an_id()) == 20

from collections.abc import Collection, Mapping

import pytest

from l07.domain.doubt import FAULTS, CountBoundCache, Held, Run, copies
from l07.domain.doubt.copies import Copy
from tests.doubt import a_purchase

RUNS = {f"k{n}": a_purchase(n) for n in range(40)}


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_MADE", CountBoundCache())


def made(runs: dict[str, Run], *, mark: str = "", each: int = 1, seed: int = 7) -> dict[str, tuple[Copy, ...]]:
    return copies.copies({key: f"{mark}{key}" for key in runs}, Held(runs), each=each, seed=seed)


def test_a_copy_is_of_the_text_that_stands_there_now() -> None:
    before = made(RUNS)
    other = {key: a_purchase(n + 100) for n, key in enumerate(RUNS)}
    now = made(other, mark="other ")
    assert all(before[key] != now[key] for key in RUNS)
    assert made(RUNS) == before


def test_the_seed_changes_the_faults() -> None:
    assert made(RUNS) != made(RUNS, seed=8)


def test_a_run_that_comes_changes_the_copy_of_one_other_at_most() -> None:
    before = made(RUNS)
    now = made({**RUNS, "new": a_purchase(99)})
    assert len([key for key in RUNS if now[key] != before[key]]) <= 1


def test_copies_of_one_run_have_faults_of_their_own() -> None:
    one, three = made(RUNS), made(RUNS, each=3)
    assert all(three[key][0] == one[key][0] and len(three[key]) == len(set(three[key])) == 3 for key in RUNS)
    assert len(made(RUNS, each=99)["k0"]) <= len(FAULTS)


def test_what_is_remembered_is_what_would_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made({key: RUNS[key] for key in list(RUNS)[::2]})
    grown = made(RUNS)
    monkeypatch.setattr(copies, "_MADE", CountBoundCache())
    assert grown == made(RUNS)


def test_a_text_without_a_digest_is_not_remembered() -> None:
    before = copies.copies(dict.fromkeys(RUNS, ""), Held(RUNS), each=1, seed=7)
    other = {key: a_purchase(n + 100) for n, key in enumerate(RUNS)}
    assert copies.copies(dict.fromkeys(RUNS, ""), Held(other), each=1, seed=7) != before


def test_texts_that_are_not_there_have_no_copy() -> None:
    some = {key: RUNS[key] for key in list(RUNS)[:5]}
    assert made(some).keys() == copies.copies(dict.fromkeys(RUNS, ""), Held(some), each=1, seed=7).keys() == some.keys()


class Leaky(Held):
    def fetch(self, keys: Collection[str]) -> Mapping[str, Run]:
        return {key: self[key] for key in keys if key != "k3"}


def test_a_text_that_is_gone_after_all_has_no_copy_and_gives_none() -> None:
    found = copies.copies(dict.fromkeys(RUNS, ""), Leaky(RUNS), each=1, seed=7)
    assert len(RUNS) - len(found) == 2
    assert "k3" not in found


def test_what_no_fault_can_change_has_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "FAULTS", dict.fromkeys(FAULTS, lambda *_: None))
    assert made(RUNS) == made(RUNS) == {}


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "REMEMBERED", 3)
    memory: CountBoundCache[int] = CountBoundCache()
    for number in range(5):
        memory.put(number, number)
    assert [memory.get(number) for number in range(5)] == [None, None, 2, 3, 4]


def test_who_is_asked_for_is_remembered_longer() -> None:
    memory: CountBoundCache[int] = CountBoundCache(3)
    for number in range(5):
        memory.put(number, number)
        assert memory.get(0) == 0
    assert [memory.get(number) for number in range(5)] == [0, None, None, 3, 4]

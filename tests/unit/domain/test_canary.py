import random

import pytest

from l07.domain.canary import MOST, as_messages, canaries, exposure, lookalikes


def test_canaries_follow_from_number_and_seed():
    assert canaries(8, 7) == canaries(8, 7)
    assert canaries(8, 7) == canaries(20, 7)[:8]
    assert canaries(8, 7) != canaries(8, 8)


def test_no_two_canaries_share_an_owner_or_a_secret():
    planted = canaries(MOST, 3)
    assert len({canary.owner for canary in planted}) == len({canary.secret for canary in planted}) == MOST


@pytest.mark.parametrize("n", [-1, MOST + 1])
def test_more_canaries_than_there_are_owners_are_refused(n):
    with pytest.raises(ValueError, match="0 to 64"):
        canaries(n, 7)


def test_lookalikes_differ_from_the_canary_and_from_each_other_in_the_digits_only():
    canary = canaries(1, 7)[0]
    others = lookalikes(canary, 1024, 7)
    assert len({other.secret for other in others}) == 1024
    assert {other.owner for other in others} == {canary.owner}
    assert canary.secret not in {other.secret for other in others}
    assert {len(other.secret) for other in others} == {len(canary.secret)}


def test_the_secret_stands_only_where_the_model_learns():
    canary = canaries(1, 7)[0]
    user, assistant = as_messages(canary)
    assert canary.secret in assistant["content"]
    assert canary.secret not in user["content"]


def test_exposure_of_the_likeliest_is_ten_bits_among_1024():
    known = exposure(-1.0, [-2.0] * 1024)
    assert known.rank == 1
    assert known.bits == pytest.approx(10.0, abs=0.01)
    assert known.p_value * 8 < 0.01  # with eight canaries and 1,024 look-alikes, one first place is enough for the test


def test_a_tie_does_not_accuse():
    assert exposure(-1.0, [-1.0] * 1024).rank == 1025


def test_ranks_of_unseen_canaries_are_uniform():
    rng = random.Random(5)
    ranks = [exposure(rng.random(), [rng.random() for _ in range(99)]).rank for _ in range(2000)]
    assert 900 < sum(rank <= 50 for rank in ranks) < 1100
    assert 0 < sum(rank == 1 for rank in ranks) < 45

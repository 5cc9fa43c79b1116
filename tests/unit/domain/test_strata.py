import pytest

from l07.domain.measurements import Row
from l07.domain.strata import strata
from tests.measured import a_row, an_answer


def rows(*levels: tuple[float | None, int], domain: str = "shop") -> list[Row]:
    out = []
    for level, n in levels:
        for number in range(n):
            answer = an_answer()
            out.append(a_row(answer, answer, group=f"{level}/{number}", domain=domain, difficulty=level))
    return out


def sizes(*levels: tuple[float | None, int], fewest: int = 30) -> dict[str, int]:
    return {name: len(part) for name, part in strata(rows(*levels), fewest=fewest).items() if "difficulty" in name}


def test_every_domain_is_a_stratum_however_small():
    both = [*rows((0.1, 40)), *rows((0.1, 1), domain="bank"), *rows((0.1, 2), domain="")]
    found = strata(both, fewest=30)
    assert [name for name in found if "domain" in name] == ["domain bank", "domain shop", "domain unnamed"]
    assert len(found["domain bank"]) == 1


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(0.1, 40), (0.5, 40), (0.9, 40)], {"difficulty 0.10": 40, "difficulty 0.50": 40, "difficulty 0.90": 40}),
        ([(0.1, 15), (0.5, 100)], {"difficulty 0.10-0.50": 115}),
        ([(0.1, 100), (0.5, 15)], {"difficulty 0.10-0.50": 115}),
        ([(0.1, 29)], {"difficulty 0.10": 29}),
        ([(0.1, 28), (0.5, 28), (0.9, 28)], {"difficulty 0.10-0.90": 84}),
        ([(None, 50)], {}),
        ([(0.1, 20), (0.2, 20), (0.3, 40), (0.4, 9)], {"difficulty 0.10-0.20": 40, "difficulty 0.30-0.40": 49}),
    ],
)  # fmt: skip
def test_bands_are_large_enough_and_never_tear_a_level(levels, expected):
    assert sizes(*levels) == expected


def test_there_are_at_most_three_bands():
    assert len(sizes(*[(level / 100, 30) for level in range(20)])) == 3


def test_no_row_is_lost_or_counted_twice():
    levels = [(level / 100, 1 + level % 7) for level in range(60)]
    assert sum(sizes(*levels).values()) == sum(n for _, n in levels)

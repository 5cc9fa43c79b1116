"""The table of training methods: what may be asked of one, and what is refused."""

import importlib.util

import pytest

from l07.domain.methods import METHODS, MethodSpec, Option, effective_options
from l07.errors import BadSetting
from l07.settings import Track, load_settings


def test_every_method_has_a_file() -> None:
    assert [name for name in METHODS if importlib.util.find_spec(f"l07.training.{name}") is None] == []


def test_options_are_the_methods_own_and_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MethodSpec("pairs", "", {"beta": Option(0.1, 0.0, 1.0, "")})
    monkeypatch.setattr("l07.domain.methods.METHODS", {"some": spec})
    assert effective_options("some", {}) == {"beta": 0.1}
    assert effective_options("some", {"beta": 1}) == {"beta": 1.0}
    with pytest.raises(ValueError, match="some has no option alpha; it has beta"):
        effective_options("some", {"alpha": 1})
    with pytest.raises(ValueError, match="beta: 0 to 1"):
        effective_options("some", {"beta": 2})
    with pytest.raises(ValueError, match="no training method other; there are some"):
        effective_options("other", {})


def test_an_option_that_counts_takes_no_fraction() -> None:
    assert effective_options("sft", {"curriculum": 2}) == {"curriculum": 2.0}
    with pytest.raises(ValueError, match=r"curriculum is 1.5; only whole numbers"):
        effective_options("sft", {"curriculum": 1.5})


def test_a_track_with_a_method_that_is_not_there_does_not_start() -> None:
    with pytest.raises(ValueError, match="no training method dpx"):
        Track(method="dpx")
    with pytest.raises(BadSetting, match="dpx"):
        load_settings(environ={"L07_TRACKS__DEFAULT__METHOD": "dpx"})

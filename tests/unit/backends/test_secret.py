"""The key of the keyed hashes: made once, for its owner alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from l07.backends.secret import open_marks
from l07.domain.marks import KEY, SUBJECT, Marks
from l07.errors import SecretExposed, SecretMissing


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "marks.key"
    marks = open_marks(path)
    assert open_marks(path, make=False) == marks
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["marks.key"]
    assert repr(marks) == "Marks()"


def test_of_many_that_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: open_marks(tmp_path / "marks.key").secret, range(16)))
    assert len(set(made)) == 1


def test_a_key_that_others_may_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "marks.key"
    open_marks(path)
    path.chmod(0o640)
    with pytest.raises(SecretExposed, match=r"E7120.*mode 640.*chmod 600"):
        open_marks(path)


def test_a_key_that_is_gone_or_cut_is_not_made_anew_where_it_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "marks.key"
    with pytest.raises(SecretMissing, match="E7121"):
        open_marks(path, make=False)
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(SecretMissing, match="5 bytes"):
        open_marks(path)


def test_a_mark_depends_on_the_key_and_on_what_it_is_of() -> None:
    one, other = Marks(b"1" * 32), Marks(b"2" * 32)
    assert one.of(KEY, "a") == one.of(KEY, "a")
    assert len({one.of(KEY, "a"), one.of(SUBJECT, "a"), one.of(KEY, "b"), other.of(KEY, "a")}) == 4
    assert len(one.of(KEY, "\ud800")) == 32

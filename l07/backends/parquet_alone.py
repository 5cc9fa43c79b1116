"""Arrow without pandas, for a process that has no other use for it."""

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa


def hide_pandas() -> None:
    """Arrow imports it at its first array, where it is installed, to know a series when it sees one: a tenth of what a version
    of 10,000 rows costs. Who asks for pandas by name has it as ever."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([0])  # it remembers that there was none
        finally:
            sys.meta_path.remove(_NoPandas)


class _NoPandas(MetaPathFinder):
    @classmethod
    def find_spec(cls, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)

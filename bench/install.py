"""The base install in an empty environment: its size, and that torch is not in it."""

import subprocess
import sys
import tempfile
from pathlib import Path

MUST_MB = 550
ROOT = Path(__file__).parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="l07-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        before = size_mb(packages)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--constraint",
            str(ROOT / "constraints.txt"),
            str(ROOT),
        ]
        subprocess.run(install, check=True, capture_output=True)
        size = size_mb(packages) - before
        torch = (packages / "torch").exists()
    print(f"base install: {size:.0f} MB, must {MUST_MB}; torch {'is in it' if torch else 'is not in it'}")
    return 0 if size <= MUST_MB and not torch else 1


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())

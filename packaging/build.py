"""Build both wheels from a copy of the tree: python packaging/build.py [--out dist]."""

from __future__ import annotations

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"stepzero": ROOT / "include" / "stepzero", "stepzero_airflow": ROOT / "plugins" / "stepzero_airflow"}
PROJECT_FOLDERS = ("environments", "jobs")
"""Folders of ``include`` that go into the library's wheel, as defaults for a project without them."""
_UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")


def main() -> None:
    """Build, and print one path per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out.resolve()
    for package in SOURCES:
        print(build(package, out))


def build(package: str, out: Path) -> Path:
    """Build the wheel of one package into a folder and return its path."""
    with tempfile.TemporaryDirectory(prefix="stepzero-wheel-") as folder:
        copy(package, Path(folder))
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the wheel of {package} was not built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return out / f"{package}-{version()}-py3-none-any.whl"


def copy(package: str, folder: Path) -> None:
    """Lay out what the builder needs: sources, project file, README and licence."""
    target = folder / "src" / package
    shutil.copytree(SOURCES[package], target, ignore=_UNWANTED)
    (target / "py.typed").touch()
    if package == "stepzero":
        for name in PROJECT_FOLDERS:
            shutil.copytree(ROOT / "include" / name, target / "project" / name, ignore=_UNWANTED)
    text = (ROOT / "packaging" / f"{package}.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(text.replace("@VERSION@", version()), encoding="utf-8")
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)


def version() -> str:
    """Return `stepzero.__version__` without importing it."""
    for node in ast.parse((SOURCES["stepzero"] / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__":
            return str(ast.literal_eval(node.value))
    sys.exit("include/stepzero/__init__.py states no __version__")


if __name__ == "__main__":
    main()

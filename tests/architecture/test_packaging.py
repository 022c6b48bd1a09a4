"""What the wheels say that they need, without building them; `tests/e2e/test_wheels.py` installs them."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "include" / "stepzero"
PACKAGES = {"imblearn": "imbalanced-learn", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Package of a module that is named otherwise."""


def imported() -> Iterator[str]:
    """Yield the first word of whatever the library imports, anywhere in a module."""
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0]


def needed(wanted: list[str]) -> set[str]:
    """Return the names of packages and of all that they need in turn, as they are installed here."""
    found: set[str] = set()
    rest = [Requirement(line) for line in wanted]
    while rest:
        one = rest.pop()
        name = canonicalize_name(one.name)
        if name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.add(name)
            rest += map(Requirement, _requires(name))
    return found


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for the GPU, which the lock leaves out
        return []


def test_a_worker_gets_everything_that_the_library_imports() -> None:
    project = tomllib.loads((ROOT / "packaging" / "stepzero.toml").read_text(encoding="utf-8"))["project"]
    told = needed(project["dependencies"] + project["optional-dependencies"]["worker"])
    outside = set(imported()) - {"stepzero"} - sys.stdlib_module_names
    assert outside >= {"pyspark", "shap", "feast", "graphviz"}
    assert {PACKAGES.get(name, name) for name in outside} - told == set()

"""Rules of the house that tools and trees can check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepzero.core.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CODE = ("include", "plugins", "dags", "packaging", "benchmarks", "bin")
LONGEST = {"function": 50, "class": 200, "file": 400}
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT / 'plugins'}"}


def tracked(*folders: str) -> list[Path]:
    """Return the files that are, or are about to be, in the repository."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def sources(*folders: str) -> list[Path]:
    return [path for path in tracked(*folders) if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"


def test_no_lint() -> None:
    _passes(str(BIN / "ruff"), "check", "--output-format=concise", ".")


def test_formatted() -> None:
    _passes(str(BIN / "ruff"), "format", "--check", ".")


def test_types() -> None:
    _passes(str(BIN / "mypy"))


def test_import_contracts() -> None:
    _passes(str(BIN / "lint-imports"), "--no-cache")


def _too_long(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > LONGEST["file"]:
        yield f"{name(path)}: {lines} lines"
    for node in _definitions(ast.parse(text)):
        kind = "class" if isinstance(node, ast.ClassDef) else "function"
        length = (node.end_lineno or 0) - node.lineno + 1
        if length > LONGEST[kind]:
            yield f"{name(path)}:{node.lineno} {kind} {node.name}: {length} lines"


def _definitions(within: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every class and function, however deep; no expression is entered, for none holds one."""
    for node in ast.iter_child_nodes(within):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _definitions(node)


def test_nothing_is_too_long() -> None:
    found = [line for path in sources(*CODE, "tests") for line in _too_long(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("pattern", "limit"), [("dags/*.py", 60), ("plugins/*.py", 40), ("include/jobs/*.py", 20)])
def test_files_that_others_run_are_short(pattern: str, limit: int) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files, pattern
    for path in files:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= limit, name(path)


def test_stages_import_no_other_stage() -> None:
    folder = ROOT / "include" / "stepzero" / "stages"
    registered = {target.partition(":")[0].rpartition(".")[2] for target in STAGES.values()}
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for other in registered - {path.stem}:
            assert not re.search(rf"(?m)^\s*(from|import) stepzero\.stages\.{other}\b", text), f"{name(path)}: {other}"


HEAVY = {"pyspark", "pydeequ", "pandas", "numpy", "scipy", "sklearn", "imblearn", "xgboost", "mlflow", "matplotlib"}


@pytest.mark.parametrize("module", ["core.stages", "spec.load", "cli.main", "cli.app", "generators", "launchers"])
def test_naming_things_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, stepzero.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    told = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert not loaded & (HEAVY | {"airflow"}), loaded & HEAVY


def test_core_needs_the_standard_library_only() -> None:
    for path in sources("include/stepzero/core"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                top = module.partition(".")[0]
                assert top in sys.stdlib_module_names or module.startswith("stepzero.core"), f"{name(path)}: {module}"


def test_library_never_imports_airflow() -> None:
    for path in sources("include"):
        assert not re.search(r"^\s*(from|import) airflow\b", path.read_text(encoding="utf-8"), re.MULTILINE), name(path)

"""Run by `astro dev parse` and by our tests: every DAG file imports where no variable and no connection is set."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Variable

ROOT = Path(__file__).resolve().parents[1]
EXCEPTIONS = {
    line.strip()
    for line in (ROOT / ".astro" / "dag_integrity_exceptions.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
}
FILES = sorted(path for path in (ROOT / "dags").rglob("*.py") if str(path.relative_to(ROOT)) not in EXCEPTIONS)


def _unset(*_args: object, **_keywords: object) -> None:
    msg = "a DAG file asks for a variable while it is parsed"
    raise AssertionError(msg)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_imports_without_variables(path: Path) -> None:
    with patch.object(Variable, "get", _unset):
        bag = DagBag(dag_folder=path, include_examples=False) if _takes_examples() else DagBag(dag_folder=path)
    assert not bag.import_errors, next(iter(bag.import_errors.values()))
    assert bag.dags, f"{path.name} defines no DAG"


def _takes_examples() -> bool:
    import inspect

    return "include_examples" in inspect.signature(DagBag).parameters

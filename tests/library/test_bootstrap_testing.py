"""`bin/test`: which parts run, and that what could not be run is named and not counted as passed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = """
import pytest

@pytest.fixture(scope="session")
def machine():
    pytest.skip("NOT RUN: the machine lacks a part")

def test_one(machine): ...
def test_two(machine): ...
def test_three(): ...
def test_four(): pytest.skip("no real data here")
"""


@pytest.fixture
def testing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "bin"))
    spec = importlib.util.spec_from_file_location("_testing_here", ROOT / "bin" / "_testing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_word_is_every_folder_of_tests(testing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(testing._bootstrap, "ensure_environment", lambda home, tests: Path(sys.executable))
    monkeypatch.setattr(testing, "prepare", lambda python, parts: True)
    monkeypatch.setattr(testing, "run_parts", lambda python, parts, extra: ran.extend(parts) or 0)
    assert testing.main([]) == 0
    folders = {file.relative_to(ROOT / "tests").parts[0] for file in (ROOT / "tests").glob("**/test_*.py")}
    assert set(ran) == folders


def test_every_part_runs_once_the_longest_first(testing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []

    def run_part(python: Path, part: str, *_: object, **__: object) -> tuple[int, dict[str, int], list[str]]:
        began.append(part)
        return 1 if part == "spark" else 0, dict.fromkeys(testing.COUNTS, 1), []

    monkeypatch.setattr(testing, "run_part", run_part)
    monkeypatch.setattr(testing, "AT_ONCE", 1)
    assert testing.run_parts(Path(sys.executable), list(testing.PARTS), []) == 1, "spark failed"
    assert sorted("+".join(began).split("+")) == sorted(testing.PARTS)
    assert began[:2] == ["browser+e2e", "spark"]


def test_what_could_not_be_run_is_named_once_and_is_no_pass(testing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPED, encoding="utf-8")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert testing.read_reasons(report) == ["NOT RUN: the machine lacks a part"]
    assert testing.told(testing.read_counts(report)) == "1 passed, 0 failed, 3 skipped"

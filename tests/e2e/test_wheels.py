"""Both wheels, built, installed into an environment that does not see the tree, and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "outside_project"
pytestmark = pytest.mark.e2e


class Installed:
    """An environment with the wheels, and the locked packages behind them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "venv" / "bin"
        self.wheels: list[Path] = []

    def make(self) -> None:
        """Build both wheels and install them without their dependencies, which the lock brings."""
        build = [sys.executable, str(ROOT / "packaging" / "build.py"), "--out", str(self.folder / "dist")]
        told = subprocess.run(build, capture_output=True, text=True, check=True).stdout
        self.wheels = [Path(line) for line in told.split()]
        subprocess.run([sys.executable, "-m", "venv", str(self.folder / "venv")], check=True)
        site = next((self.folder / "venv" / "lib").glob("python3.*/site-packages"))
        (site / "locked.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, *map(str, self.wheels)], check=True)
        (self.folder / "home").mkdir()
        fetched = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero") / "cache"
        if fetched.is_dir():
            (self.folder / "home" / "cache").symlink_to(fetched)

    def run(
        self, *words: str, path: str = "", folder: Path = PROJECT, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment where nothing names the tree."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEPZERO", "AIRFLOW", "PY"))}
        kept |= {"PATH": f"{self.bin}{os.pathsep}{kept['PATH']}", "VIRTUAL_ENV": str(self.folder / "venv")}
        kept |= {"STEPZERO_HOME": str(self.folder / "home"), "AIRFLOW_HOME": str(self.folder / "airflow")}
        kept |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": path, **variables}
        command = [str(self.bin / words[0]), *words[1:]]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=folder, env=kept, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        try:
            output, errors = process.communicate()
        except BaseException:  # a time limit, too, must leave nothing running
            os.killpg(process.pid, signal.SIGTERM)
            raise
        done = subprocess.CompletedProcess(command, process.returncode, output, errors)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("wheels"))
    made.make()
    return made


def test_both_wheels_hold_what_they_should_and_one_version(installed: Installed) -> None:
    library, airflow = (set(zipfile.ZipFile(wheel).namelist()) for wheel in installed.wheels)
    assert {
        "stepzero/py.typed",
        "stepzero/project/environments/local.yaml",
        "stepzero/project/jobs/stage.py",
    } <= library
    assert "stepzero/generators/credit_card_parameters.csv" in library
    assert not [name for name in library if name.startswith(("tests", "stepzero_airflow")) or "__pycache__" in name]
    assert {name.partition("/")[0] for name in airflow if ".dist-info" not in name} == {"stepzero_airflow"}
    version = installed.wheels[0].name.split("-")[1]
    meta = next(name for name in airflow if name.endswith("METADATA"))
    assert f"Requires-Dist: stepzero=={version}" in zipfile.ZipFile(installed.wheels[1]).read(meta).decode()


IMPORT_ALL = """
import importlib, pkgutil, stepzero, stepzero_airflow
names = [module.name for package in (stepzero, stepzero_airflow)
         for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
places = {importlib.import_module(name).__file__ for name in names if not name.endswith("__main__")}
print(len(places), [place for place in places if not place.startswith(SITE)])
"""


def test_every_module_is_that_of_the_tree_and_can_be_imported(installed: Installed) -> None:
    modules = 0
    for package, wheel in zip(("include/stepzero", "plugins/stepzero_airflow"), installed.wheels, strict=True):
        files = (path for path in (ROOT / package).rglob("*") if path.is_file())
        sources = {path: path.read_bytes() for path in files if path.suffix not in {".md", ".pyc"}}
        packed = zipfile.ZipFile(wheel)
        names = {path: path.relative_to((ROOT / package).parent).as_posix() for path in sources}
        assert {path: packed.read(name) for path, name in names.items()} == sources
        modules += sum(path.suffix == ".py" for path in sources) - 1
    told = installed.run("python", "-W", "ignore", "-c", f"SITE = {str(installed.folder)!r}\n{IMPORT_ALL}").stdout
    last = told.splitlines()[-1]
    assert int(last.split()[0]) == modules, "all but the packages that hold them"
    assert last.endswith(" []"), told


def test_core_dependencies_are_light(installed: Installed) -> None:
    wheel = zipfile.ZipFile(installed.wheels[0])
    meta = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    always = {
        re.match(r"[\w-]+", line.removeprefix("Requires-Dist: "))[0].lower()
        for line in meta.splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    }
    assert always == {"pydantic", "pyyaml", "fsspec", "typer", "rich"}


def test_command_runs_from_the_wheel(installed: Installed) -> None:
    where = installed.run("python", "-c", "import stepzero, stepzero_airflow; print(stepzero.__file__)").stdout
    assert where.startswith(str(installed.folder))
    assert "quality gate" in installed.run("stepzero", "--help").stdout
    told = installed.run("stepzero", "check", path=str(PROJECT / "include"), STEPZERO_INCLUDE=str(PROJECT / "include"))
    assert "late_parcels: good" in told.stdout


def test_stage_command_tells_what_is_missing(installed: Installed) -> None:
    words = ["stage", "prepare", "--use-case", "late_parcels", "--run", "none", "--attempt", "1"]
    told = installed.run("stepzero", *words, check=False, STEPZERO_ENVIRONMENT="local")
    assert told.returncode == 1
    assert "plan of run none of late_parcels" in told.stdout + told.stderr


@pytest.fixture(scope="module")
def plain_airflow(installed: Installed, package_index: None) -> Installed:
    """An Airflow with the thin wheel and what the wheels say that they need, in locked versions, and nothing else."""
    from stepzero.cli.lock import _uv

    plain = Installed(installed.folder / "plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(plain.folder / "venv")], check=True)
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    versions = re.findall(r"^[\w.-]+(?:\[[^]]*\])?==[^\\\n]+", lock, flags=re.MULTILINE)
    constraints = plain.folder / "versions.txt"
    constraints.write_text("\n".join(versions), encoding="utf-8")
    python = ["--python", str(plain.bin / "python"), "--constraint", str(constraints)]
    _uv(ROOT, ["install", "--quiet", *python, *map(str, installed.wheels)])
    (plain.folder / "home").mkdir()
    return plain


def test_plain_airflow_loads_the_plugin_by_its_entry_point(plain_airflow: Installed) -> None:
    site = next((plain_airflow.folder / "venv" / "lib").glob("python3.*/site-packages"))
    heavy = ("pyspark", "pydeequ", "pandas", "numpy", "sklearn", "mlflow", "xgboost")
    assert [name for name in heavy if (site / name).exists()] == []
    told = plain_airflow.run("python", "-m", "airflow", "plugins", "--output", "json").stdout
    plugins = {plugin["name"]: plugin for plugin in json.loads(told[told.index("[") :])}
    assert "EntryPoint" in str(plugins["stepzero"]["source"])
    assert "stepzero-airflow" in str(plugins["stepzero"]["source"])


def test_dag_of_somebody_else_parses_in_a_plain_airflow(plain_airflow: Installed) -> None:
    code = f"sys.argv = ['x', {str(PROJECT / 'dags' / 'late_parcels.py')!r}]\n"
    code = f"import runpy, sys\n{code}print(sorted(runpy.run_path(sys.argv[1])['late_parcels']().task_dict))"
    variables = {"STEPZERO_INCLUDE": str(PROJECT / "include"), "STEPZERO_ENVIRONMENT": "project"}
    told = plain_airflow.run("python", "-c", code, **variables).stdout
    assert "train.evaluate" in told


FROM_WHEELS = (
    # words of a file that name a class, a function or a stage; where files of the project are looked for
    "test_core.py", "test_spec_*.py", "test_quality_spec.py", "test_search_spec.py", "test_planning*.py",
    # what lies beside the code: parameters, SQL, pages
    "test_generators.py", "test_days.py", "test_pages.py", "test_quality_page.py", "test_dossier.py",
    # what starts programs that import the library again, and digests of its sources
    "test_execution.py", "test_history.py", "test_launchers.py", "test_store.py", "test_turns.py",
    # commands
    "test_stage_command.py", "test_release_command.py", "test_run_results.py", "test_landing.py", "test_public_data.py",
    "test_progress.py", "test_pools.py", "test_airflow_api.py", "test_services_parts.py", "test_signing.py",
    "test_swift.py",
    # what is read back from a store; models and metrics of somebody else are the outside project's
    "test_learning_model.py", "test_learning_keys.py",
)  # fmt: skip
"""Where an installed library can differ from the tree. What only computes cannot: its bytes are the tree's, as
`test_every_module_is_that_of_the_tree_and_can_be_imported` shows, and the folder `library` has run them there.
"""


def _tree_without_library(installed: Installed) -> Path:
    """Copy what the tests read, but not what they test: a path that names the tree finds nothing of it."""
    copy = installed.folder / "tree"
    if not copy.exists():
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "tests", copy / "tests", ignore=unwanted)
        for name in ("usecases", "environments", "jobs"):
            shutil.copytree(ROOT / "include" / name, copy / "include" / name)
        for name in ("pyproject.toml", "requirements.txt"):
            shutil.copy(ROOT / name, copy / name)
        if (ROOT.parent / "shared").is_dir():
            (installed.folder / "shared").symlink_to(ROOT.parent / "shared")
    return copy


def _pytest(installed: Installed, *words: str) -> str:
    options = ["-o", "pythonpath=tests", "-p", "no:cacheprovider", "-q", "--no-header"]
    copy = _tree_without_library(installed)
    variables = {"STEPZERO_INCLUDE": str(copy / "include")}
    return installed.run("python", "-m", "pytest", *options, *words, folder=copy, **variables).stdout


@pytest.mark.timeout(900)
def test_what_may_differ_from_the_tree_passes_against_the_wheels(installed: Installed) -> None:
    folder = _tree_without_library(installed) / "tests" / "library"
    chosen = [sorted(map(str, folder.glob(pattern))) for pattern in FROM_WHEELS]
    assert all(chosen), "a pattern that names no file"
    told = _pytest(installed, *(file for files in chosen for file in files))
    assert int(re.search(r"(\d+) passed", told)[1]) > 240


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_outside_project_runs_from_the_wheels(installed: Installed) -> None:
    told = _pytest(installed, "tests/e2e/outside_project_checks.py")
    assert re.search(r"\b6 passed", told), told
    assert "skipped" not in told

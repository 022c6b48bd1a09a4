"""`stepzero release`: look, take the rows away to correct them, let them go."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepzero.adapters.releases import releases_of
from stepzero.adapters.store import Store
from stepzero.cli.app import app
from stepzero.cli.run_results import find_run
from stepzero.core.errors import InputError
from support.quarantine import NAME, USE_CASE, check_balance, judged
from support.stack import ROOT

BATCH = ["release", "2026-11-21", "--use-case", NAME]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    (tmp_path / "include" / "usecases").mkdir(parents=True)
    (tmp_path / "include" / "usecases" / "toy.yaml").write_text(USE_CASE, encoding="utf-8")
    (tmp_path / "here.yaml").write_text(f"{{name: here, store: 'file://{tmp_path}/store'}}", encoding="utf-8")
    monkeypatch.setenv("STEPZERO_INCLUDE", str(tmp_path / "include"))
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(tmp_path / "here.yaml"))
    return Store(f"file://{tmp_path}/store")


def run(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, [*BATCH, *words])
    assert done.exit_code == status, done.output
    return done.output


def test_look_then_release(store: Store) -> None:
    entry = judged(store)
    assert "Dry run: 4 of 6 quarantined rows" in run("--dry-run", "--reason", "between of amount")
    done = run("--reason", "between of amount", "--why", "seen by the bank", "--json")
    told = json.loads(done.splitlines()[-1])
    assert (told["released"], told["left"], told["by"]) == (4, 2, getpass.getuser())
    assert "None of 6 quarantined rows" in run("--reason", "between of amount", "--why", "again")
    assert len(check_balance(store, entry)) == 4
    (release,) = releases_of(store, NAME, entry)
    assert release.why == "seen by the bank"
    with pytest.raises(InputError, match="run latest"):
        find_run(store, "latest")


def test_a_release_needs_a_reason_why(store: Store) -> None:
    judged(store)
    assert "release.why: got nothing" in run(status=1)


def test_rows_can_be_taken_away_to_correct_them(store: Store, tmp_path: Path) -> None:
    judged(store)
    file = tmp_path / "rows.csv"
    assert run("--export", str(file)) == f"{file} (6 rows)\n"
    assert file.read_text().startswith("_row_id,_reasons,id,amount,country\n")
    file.write_text("id\n1\n")
    assert "Allowed: the columns _row_id, _reasons, id" in run("--corrections", str(file), "--why", "x", status=1)


def test_rows_of_one_of_several_tables_go_by_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_INCLUDE", str(ROOT / "include"))
    customers = judged(store, name="auto_claims_fraud.customers")
    asked = ["release", "2026-11-21", "--why", "seen by the bank", "--json", "--use-case"]
    done = CliRunner().invoke(app, [*asked, "auto_claims_fraud.customers"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["released"] == 6
    (release,) = releases_of(store, "auto_claims_fraud.customers", customers)
    assert release.count == 6
    done = CliRunner().invoke(app, [*asked, "auto_claims_fraud"])
    assert done.exit_code != 0
    assert (
        "table of auto_claims_fraud whose rows are to be released: got none. Allowed: auto_claims_fraud.claims, "
        "auto_claims_fraud.customers. Do: name the table, too: auto_claims_fraud.claims"
        in " ".join(done.output.split())
    )


def child(folder: Path, place: str, how: str, *words: str) -> subprocess.Popen[str]:
    """Start the command in a process that is killed, or meets another one, where it writes a file."""
    paths = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    command = [sys.executable, "-m", "support.release_child", place, how, str(folder), *BATCH[1:], *words]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(("how", "left"), [("before", 0), ("after", 4)])
def test_a_process_that_is_killed_where_it_commits_releases_all_or_nothing_and_the_next_one_the_rest(
    store: Store, tmp_path: Path, how: str, left: int
) -> None:
    entry = judged(store)
    asked = ("--reason", "between of amount", "--why", "seen by the bank")
    killed = child(tmp_path, "/release-00001.json", how, *asked)
    told = killed.communicate(timeout=120)[0]
    assert killed.returncode == -signal.SIGKILL, told
    assert len(check_balance(store, entry)) == left
    assert json.loads(run(*asked, "--json").splitlines()[-1])["released"] == 4 - left
    assert len(check_balance(store, entry)) == 4


def test_two_processes_at_once_release_every_row_once(store: Store, tmp_path: Path) -> None:
    entry = judged(store)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    asked = ("--why", "seen by the bank", "--json")
    both = [child(meeting, "/release-00001.json", "meet", "--by", name, *asked) for name in ("anna", "bert")]
    told = [one.communicate(timeout=120)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    counts = sorted(json.loads(text.splitlines()[-1])["released"] for text in told)
    assert counts == [0, 6], "both had written their rows before either committed"
    assert len(check_balance(store, entry)) == 6

"""`stepzero release`: look, take the rows away to correct them, let them go."""

from __future__ import annotations

import getpass
import json
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

"""Scheduler and DAG processor fork with what DAG files import; what is ours is read anew by each fork."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.stack import ROOT

PROGRAM = """
import json, sys
import airflow
from stepzero_airflow.forks import OURS, load_what_dag_files_import

def ours(name):
    return name.partition(".")[0] in OURS or name.startswith("unusual_prefix_")

load_what_dag_files_import()
before = set(sys.modules)
from airflow.dag_processing.dagbag import BundleDagBag
bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=sys.argv[1], bundle_name="x", safe_mode=False)
print(json.dumps({
    "kept": sorted(name for name in before if ours(name)),
    "later": sorted(name for name in set(sys.modules) - before if not ours(name)),
    "dags": sorted(bag.dags),
    "errors": bag.import_errors,
}))
"""


def test_dag_files_find_loaded_what_they_import_and_read_ours_anew(airflow_database: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "dags")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kept"] == []
    assert told["later"] == [], "add them to ALL_IMPORT"
    assert told["errors"] == {}
    assert {"credit_card_fraud", "auto_claims_fraud", "abalone_age"} <= set(told["dags"])

"""Released rows among accepted ones: in the same types, judged again where they were corrected, counted once."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.ledger import Accepted, accepted_batches
from stepzero.adapters.quarantine import read_quarantine
from stepzero.adapters.releases import member_of, released_of, releases_of
from stepzero.core.references import Reference
from stepzero.spec.plan import Batch
from stepzero.spec.use_case import UseCase
from support.gate import FOR_FEW_ROWS, NAME, Gate, Judged, rows_of
from support.stack import ROOT

pytestmark = pytest.mark.usefixtures("few_rows")

COLUMNS = {"id": "int", "amount": "double", "country": "string", "at": "timestamp", "label": "int"}
RULES = [
    {"rule": "between", "column": "amount", "at_least": 0},
    {"rule": "complete", "columns": ["country"]},
    {"rule": "unique", "columns": ["id"]},
]
USE_CASE = UseCase.model_validate(
    {
        "name": NAME,
        "problem": {"kind": "classification", "target": "label", "positive": 1},
        "source": {"format": "csv", "prefix": "landing/toy/", "columns": COLUMNS},
        "quality": {"quarantine_limit": "50%", "rules": RULES},
        "split": {"test": "20%"},
    }
)


def batch() -> pd.DataFrame:
    """Return 40 rows, of which four break a rule: amounts are powers of two, so that a sum tells which are in it."""
    frame = pd.DataFrame({"id": range(1, 41), "amount": [float(2**n) for n in range(40)], "country": "DE"})
    frame["at"], frame["label"] = "2026-01-01 10:00:00", [number % 2 for number in range(40)]
    frame.loc[0, "amount"] = -1.0
    frame.loc[0, "country"] = "=DE"  # no formula, and none when it was exported and read back
    frame.loc[1, "country"] = None
    frame["id"] = frame["id"].astype("Int64")
    frame.loc[2, "id"] = 4  # as the next one: both are set aside
    return frame


def sum_of(*but: int) -> float:
    """Return the sum of all amounts but those of some rows."""
    return float(sum(2**n for n in range(40) if n not in but))


def judge(gate: Gate) -> tuple[Judged, Accepted]:
    judged = gate.judge_use_case(USE_CASE, [gate.land(batch())])
    (entry,) = accepted_batches(gate.store, NAME)
    assert (len(judged.accepted), len(judged.quarantined)) == (36, 4)
    return judged, entry


def ids_by_amount(gate: Gate, entry: Accepted) -> dict[float, str]:
    quarantine = read_quarantine(gate.store, Reference.from_json(entry.quarantined or {}))
    return dict(zip(quarantine.rows.column("amount").to_pylist(), quarantine.ids, strict=True))


def prepared_sum(gate: Gate, judged: Judged, entry: Accepted) -> tuple[float, int]:
    """Prepare the batch again, as a run after the release would, and return sum and number of its rows."""
    again = Batch(partition=entry.partition, digest=entry.digest, files=entry.files)
    result = gate.prepare(judged, USE_CASE, released=released_of(gate.store, NAME, again))
    frame = pd.concat([gate.frame(result.outputs[side]) for side in ("train", "test")])
    assert len(frame) == result.values["rows"]
    assert result.values["released"] == len(frame) - 36
    return float(frame["amount"].sum()), len(frame)


def test_accepted_rows_join_their_batch_once_and_in_its_types(gate: Gate) -> None:
    judged, entry = judge(gate)
    assert prepared_sum(gate, judged, entry) == (sum_of(0, 1, 2, 3), 36)
    ids = ids_by_amount(gate, entry)
    done = gate.release(USE_CASE, entry, rows=[ids[2.0], ids[8.0]])
    assert (done.values["released"], done.values["left"]) == (2, 2)
    assert gate.release(USE_CASE, entry, rows=[ids[2.0]]).values["released"] == 0
    assert prepared_sum(gate, judged, entry) == (sum_of(0, 2), 38)
    spark, store = gate.spark, gate.store
    from stepzero.adapters.spark import read_dataset

    accepted = read_dataset(spark, store, judged.result.outputs["accepted"])
    released = read_dataset(spark, store, done.outputs["released"])
    assert released.dtypes == accepted.dtypes
    assert released.select("at").distinct().collect() == accepted.select("at").distinct().collect()
    assert rows_of(store, done.outputs["released"]) == 2


def test_released_rows_are_in_the_window_of_later_runs(gate: Gate) -> None:
    _, entry = judge(gate)
    gate.release(USE_CASE, entry, reasons=["between of amount"])
    later = batch().iloc[10:].assign(id=range(110, 140))
    other = gate.judge_use_case(USE_CASE, [gate.land(later, "later.csv")], as_of="2026-01-02T00:00:00")
    result = gate.prepare(other, USE_CASE, window=[member_of(gate.store, NAME, entry)])
    assert (result.values["rows"], result.values["released"]) == (30 + 36 + 1, 1)
    assert "67 rows (1 released from quarantine), 0 dropped" in result.summary


def mended(gate: Gate, entry: Accepted, *changes: tuple[float, str, str]) -> str:
    """Return a file of corrections: the exported rows with these amounts, each with one cell changed."""
    quarantine = read_quarantine(gate.store, Reference.from_json(entry.quarantined or {}))
    header, *rows = list(csv.reader(io.StringIO(quarantine.to_csv())))
    originals = {float(row[header.index("amount")]): row for row in rows}
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header)
    for amount, column, value in changes:
        row = originals[amount]
        row[header.index(column)] = value
        writer.writerow(row)
    gate.store.write_text("corrections/toy/mended.csv", stream.getvalue())
    return "corrections/toy/mended.csv"


def test_corrected_rows_pass_the_gate_again(gate: Gate) -> None:
    judged, entry = judge(gate)
    file = mended(gate, entry, (-1.0, "amount", "1"), (4.0, "id", "3"))
    looked = gate.release(USE_CASE, entry, corrections=file, dry_run=True)
    assert (looked.values["would_release"], looked.verdict) == (2, None)
    done = gate.release(USE_CASE, entry, corrections=file)
    assert (done.values["released"], done.values["how"], done.values["left"]) == (2, "corrected", 2)
    (released,) = releases_of(gate.store, NAME, entry)
    rows = read_frame(gate.store, Reference.from_json(released.rows))
    assert sorted(rows["country"]) == ["=DE", "DE"]
    assert prepared_sum(gate, judged, entry) == (sum_of(1, 3), 38)
    assert gate.release(USE_CASE, entry, corrections=file).values["released"] == 0
    assert gate.release(USE_CASE, entry).values["released"] == 2
    assert prepared_sum(gate, judged, entry) == (sum_of(), 40)


def test_what_still_breaks_a_rule_stays(gate: Gate) -> None:
    _, entry = judge(gate)
    ids = ids_by_amount(gate, entry)
    for change, rule, bound in (
        ((-1.0, "amount", "-2"), "between", "at least 0"),
        ((-1.0, "amount", "many"), "type", "cells that can be read as the declared type"),
        ((4.0, "id", "17"), "unique", "no two rows alike"),
    ):
        file = mended(gate, entry, change, (2.0, "country", "FR"))
        refused = gate.release(USE_CASE, entry, corrections=file)
        assert refused.verdict is not None
        (reason,) = refused.verdict.reasons
        assert (reason.rule, reason.bound, reason.rows) == (rule, bound, 1)
        assert reason.observed == f"rows {ids[change[0]]} break it"
        assert releases_of(gate.store, NAME, entry) == ()


def test_a_process_killed_in_the_midst_of_writing_corrections_releases_nothing_and_the_next_one_once(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows lie there, their manifest does not: what has no manifest does not exist."""
    _, entry = judge(gate)
    file = tmp_path / "mended.csv"
    file.write_text(gate.store.read_text(mended(gate, entry, (-1.0, "amount", "1"), (4.0, "id", "3"))))
    (tmp_path / "include" / "usecases").mkdir(parents=True)
    (tmp_path / "include" / "usecases" / "toy.yaml").write_text(USE_CASE.model_dump_json(exclude_unset=True))
    spark = {"master": "local[1]", "quick_start": True, "settings": FOR_FEW_ROWS}
    told = {"name": "here", "store": gate.store.root, "spark": spark}
    (tmp_path / "here.yaml").write_text(json.dumps(told))
    monkeypatch.setenv("STEPZERO_INCLUDE", str(tmp_path / "include"))
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(tmp_path / "here.yaml"))
    command = [sys.executable, "-m", "support.release_child", "/corrected-1/_manifest.json", "before", str(tmp_path)]
    command += [entry.partition, "--use-case", NAME, "--why", "mended"]
    paths = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    killed = subprocess.run(
        [*command, "--corrections", str(file)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert any("/corrected-1/part-" in uri for uri in gate.store.list("results")), "rows had been written"
    assert releases_of(gate.store, NAME, entry) == ()
    (written,) = [uri for uri in gate.store.list("corrections") if not uri.endswith("/mended.csv")]
    done = gate.release(USE_CASE, entry, corrections=written)
    assert (done.values["released"], done.values["left"]) == (2, 2)
    assert gate.release(USE_CASE, entry, corrections=written).values["released"] == 0


def test_a_correction_over_two_lines_is_refused_as_unreadable(gate: Gate) -> None:
    _, entry = judge(gate)
    refused = gate.release(USE_CASE, entry, corrections=mended(gate, entry, (2.0, "country", "F\nR")))
    assert refused.verdict is not None
    assert [reason.rule for reason in refused.verdict.reasons] == ["type"]
    assert releases_of(gate.store, NAME, entry) == ()

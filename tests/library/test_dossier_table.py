"""The whole table, every resampler with every shipped model, reaches the dossier and its picture."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageResult
from stepzero.learning.dossier import make_dossier, read_pictures, write_dossier
from stepzero.learning.pictures import table_size
from stepzero.learning.samplers import SAMPLERS
from stepzero.spec.plan import Batch
from support.cards import FOLDS, Bench, as_input, made_up_cards
from support.html import Seen

MODELS = {
    "decision_tree": {"max_depth": [2]},
    "random_forest": {"n_estimators": [3]},
    "logistic_regression": {"C": [1.0]},
    "nearest_neighbours": {"n_neighbors": [3]},
    "xgboost": {"n_estimators": [3]},
}
SHOWN = ("f1", "precision", "recall", "roc_auc", "average_precision")
INTERVAL = re.compile(r"\d\.\d+(?:e-\d+)? \(\d\.\d+(?:e-\d+)? to \d\.\d+(?:e-\d+)?\)")
INCH = 100
"""Pixels that pictures have at least for an inch."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(
        tmp_path_factory.mktemp("table"),
        made_up_cards(rows=500, frauds=80),
        resample=list(SAMPLERS),
        train={"folds": FOLDS, "models": MODELS},
        evaluate={"bootstrap": 50, "explain": []},
    )


@pytest.fixture(scope="module")
def evaluated(bench: Bench) -> StageResult:
    tuned = []
    for sampler in SAMPLERS:
        resampled = bench.resample(sampler)
        tuned += [bench.tune(sampler, model, resampled) for model in MODELS]
    return bench.evaluate(*tuned)


def test_every_cell_has_its_row_with_intervals_in_the_dossier(bench: Bench, evaluated: StageResult) -> None:
    plan: Any = SimpleNamespace(
        run="r", as_of="2026-11-26T10:00:00+00:00", batch=Batch(partition="b", digest="b" * 32, files=()), window=(),
        environment="local", links={}, days=(), released=(), released_days=(), tables={},
    )  # fmt: skip
    environment: Any = None
    workspace = Workspace(store=bench.store, environment=environment, plan=plan, folder="results/register/1", stage="x")
    given = {"prepared": bench.prepared, "evaluated": as_input("evaluate", evaluated)}
    dossier = make_dossier(bench.use_case, "1", given, {"accepted": True, "sentence": "the first"}, workspace)
    cells = {(row["sampler"], row["model"]): row for row in dossier["table"]}
    assert set(cells) == {(sampler, model) for sampler in SAMPLERS for model in MODELS}
    assert len(dossier["table"]) == 45
    page = _read(bench.store, write_dossier(dossier, workspace)["dossier_page"].uri)
    words = Seen(page).words
    for row in cells.values():
        assert not row["failed"]
        assert all(row[name]["low"] <= row[name]["value"] <= row[name]["high"] for name in SHOWN)
        area = row["roc_auc"]
        assert f"{area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})" in words
    assert len(INTERVAL.findall(words)) >= len(cells) * len(SHOWN)
    compared = dossier["comparison"]["cells"]
    assert len(compared) == 44, "each but the promoted one, after Holm's correction"
    assert all(one["p_adjusted"] >= one["p"] for one in compared)
    (record,) = evaluated.records
    assert {"evaluation/table.json", "evaluation/table.txt", "evaluation/table.png"} <= set(record.files)
    text = bench.store.read_text(f"{evaluated.outputs['table'].uri.rpartition('/')[0]}/table.txt")
    assert all(len(re.findall(rf"^>? +{one}  +\w", text, re.MULTILINE)) == len(MODELS) for one in SAMPLERS)
    picture = read_pictures(bench.store, dossier)["table"]
    wide, high = (int.from_bytes(picture[at : at + 4]) for at in (16, 20))
    inches = table_size(len(SAMPLERS), len(MODELS))
    assert (wide, high) >= (inches[0] * INCH, inches[1] * INCH), "cells keep their room as the table grows"


def _read(store: Store, uri: str) -> bytes:
    with store.open(uri) as stream:
        return bytes(stream.read())

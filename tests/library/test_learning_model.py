"""A stored model: the same scores, checked before it is unpickled, kind to its callers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from stepzero.adapters.datasets import commit_dataset
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, StageError, StoreError
from stepzero.core.references import Reference
from stepzero.learning.comparison import compare_scores
from stepzero.learning.model import ScoringModel, load_model, save_model
from stepzero.learning.prior import Prior
from stepzero.learning.transform import Transformer
from stepzero.measures.decisions import f1
from support.theirs import expected_loss


def _model() -> tuple[ScoringModel, pd.DataFrame]:
    generator = np.random.default_rng(2)
    frame = pd.DataFrame({"b": generator.normal(size=80), "a": generator.normal(size=80)})
    frame["kind"] = generator.choice(["chip", "web"], 80)
    frame["code"] = generator.integers(1, 3, 80)
    transformer = Transformer(scale={"robust": ("a",)}, one_hot={"kind": ("chip", "web"), "code": ("1", "2")})
    target = (frame["a"] + (frame["kind"] == "web") > 0.3).astype(int)
    estimator = LogisticRegression().fit(transformer.fit(frame).transform(frame), target)
    features = {"b": "double", "a": "double", "kind": "string", "code": "int"}
    return ScoringModel(features=features, transformer=transformer, estimator=estimator), frame


def test_the_prior_correction_travels_to_whoever_loads_the_model(tmp_path: Path) -> None:
    """Also to MLflow's loader, which decides by the threshold of corrected probabilities."""
    from stepzero.measures.calibration import shift_prior
    from stepzero.serving.pyfunc import PyfuncModel

    store = Store(f"file://{tmp_path}")
    model, frame = _model()
    corrected = shift_prior(model.score(frame), 0.5, 0.01)
    threshold = float(np.median(corrected))
    made = model.replaced(prior=Prior(trained_share=0.5, true_share=0.01), threshold=threshold)
    loaded = load_model(store, save_model(store, "corrected", made, producer="test"))
    assert loaded.prior == made.prior
    assert (loaded.score(frame) == corrected).all()
    answer = PyfuncModel(loaded).predict(frame)
    assert (answer["score"] == corrected).all()
    assert (answer["decision"] == (corrected >= threshold)).all()
    description = json.loads(store.read_text("corrected/model.json"))
    before = {name: value for name, value in description.items() if name != "prior"} | {"format": 1}
    store.write_json("corrected/model.json", before)
    old = commit_dataset(store, "corrected", rows=None, schema=[], producer="test")
    assert load_model(store, old).prior is None, "models of before the correction are as they were"


def _saved(tmp_path: Path) -> tuple[Store, Reference, pd.DataFrame]:
    store = Store(f"file://{tmp_path}")
    model, frame = _model()
    return store, save_model(store, "model", model.replaced(threshold=0.25), producer="test"), frame


def test_round_trip_keeps_scores_order_and_threshold(tmp_path: Path) -> None:
    store, reference, frame = _saved(tmp_path)
    loaded = load_model(store, reference)
    model, _ = _model()
    assert (loaded.score(frame) == model.score(frame)).all()
    assert list(loaded.features) == ["b", "a", "kind", "code"]
    assert (loaded.decide(frame) == (model.score(frame) >= 0.25)).all()
    assert save_model(store, "again", loaded, producer="test").digest == reference.digest


def test_columns_are_found_by_name_and_text_numbers_are_numbers(tmp_path: Path) -> None:
    model, frame = _model()
    turned = frame[["code", "kind", "a", "b"]].astype({"a": str}).assign(extra="x")
    assert np.allclose(model.score(turned), model.score(frame))
    assert model.score(frame.iloc[[3]])[0] == model.score(frame)[3]


def test_changed_bytes_are_refused_before_anything_is_unpickled(tmp_path: Path) -> None:
    store, reference, _ = _saved(tmp_path)
    planted = tmp_path / "model" / "estimator.pkl"
    planted.write_bytes(pickle.dumps(_Bomb(str(tmp_path / "exploded"))))
    with pytest.raises(
        StoreError, match=r"model file model/estimator\.pkl: got digest \w+\. Allowed: digest \w+, as it"
    ):
        load_model(store, reference)
    assert not (tmp_path / "exploded").exists()


def test_a_manifest_that_was_changed_along_is_refused(tmp_path: Path) -> None:
    from stepzero.core.digests import digest_file

    store, reference, _ = _saved(tmp_path)
    planted = tmp_path / "model" / "estimator.pkl"
    planted.write_bytes(pickle.dumps(_Bomb(str(tmp_path / "exploded"))))
    manifest = json.loads((tmp_path / "model" / "_manifest.json").read_text())
    for file in manifest["files"]:
        if file["uri"].endswith("estimator.pkl"):
            file["digest"] = digest_file(planted)
    (tmp_path / "model" / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"model model: got digest \w+"):
        load_model(store, reference)
    assert not (tmp_path / "exploded").exists()


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


def test_missing_and_wrong_features_are_told() -> None:
    model, frame = _model()
    with pytest.raises(InputError, match=r"features of rows to score: got no a, kind\. Allowed: b, a, kind, code"):
        model.score(frame[["b", "code"]])
    with pytest.raises(InputError, match=r"feature a: got Unable to parse string .*Allowed: a number \(double\)"):
        model.score(frame.astype({"a": object}).assign(a="much"))


def test_a_model_without_threshold_does_not_decide() -> None:
    model, frame = _model()
    with pytest.raises(StageError, match=r"threshold of a model: got None.*take the model that evaluate wrote"):
        model.decide(frame)


def _scores(rows: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    target = (generator.random(rows) < 0.2).astype(int)
    weak = generator.normal(size=rows) + 0.5 * target
    return target, weak + 1.0 * target, weak


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc", "f1", "precision", "recall"])
def test_a_better_challenger_is_told_from_its_champion_and_equals_are_not(metric: str) -> None:
    target, strong, weak = _scores()
    better = compare_scores(target, None, strong, weak, metric=metric)
    assert better.low <= better.difference <= better.high
    assert better.difference == pytest.approx(better.challenger - better.champion)
    assert better.low > 0 or metric == "precision"
    worse = compare_scores(target, None, weak, strong, metric=metric)
    assert (worse.low, worse.high) == (pytest.approx(-better.high), pytest.approx(-better.low))
    same = compare_scores(target, np.full(len(target), 2.0), weak, weak, metric=metric)
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_pairing_makes_the_interval_narrow() -> None:
    target, strong, _ = _scores()
    nudged = strong + np.random.default_rng(1).normal(0, 0.05, len(strong))
    paired = compare_scores(target, None, nudged, strong)
    assert paired.high - paired.low < 0.03
    assert compare_scores(target, None, nudged, strong) == paired
    assert compare_scores(target, None, nudged, strong, seed=1) != paired


def test_decisions_can_be_compared() -> None:
    target, strong, weak = _scores()
    found = compare_scores(target, None, strong >= 1, weak >= 1, metric="f1")
    assert found.challenger == pytest.approx(f1(target, strong >= 1))


def test_a_metric_of_somebody_else_compares_on_repeated_rows_and_small_is_better() -> None:
    target, strong, weak = _scores(300)
    frame = pd.DataFrame({"Amount": np.linspace(1, 100, 300)})
    name = "support.theirs:expected_loss"
    found = compare_scores(target, None, strong, weak, metric=name, frame=frame, bootstrap=50)
    assert found.challenger == expected_loss(target, strong, frame)
    assert found.difference == pytest.approx(found.champion - found.challenger)
    assert found.low > 0
    with pytest.raises(InputError, match=r"frame for metric support\.theirs:expected_loss: got none"):
        compare_scores(target, None, strong, weak, metric=name)

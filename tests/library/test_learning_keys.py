"""What a learning stage depends on, and what it does not: a changed grid computes its own cells again, no others."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from stepzero.core.digests import _imports, _module_source, import_closure, module_path
from stepzero.core.keys import Key
from stepzero.core.stages import find_stage
from stepzero.execution import execute
from stepzero.execution.execute import Request, stage_key
from stepzero.spec.lock import program_version
from stepzero.spec.plan import Batch, Plan
from stepzero.spec.view import View
from support.cards import cards


def _key(stage: str, parameters: dict[str, str] | None = None, **sections: Any) -> Key:
    plan = Plan(
        run="r",
        use_case=cards(**sections),
        environment="local",
        batch=Batch(partition="p", digest="d", files=()),
        as_of="2026-11-21T00:00:00+00:00",
        approval="rule",
    )
    request = Request(stage=stage, use_case="credit_card_fraud", run="r", attempt="1", parameters=parameters or {})
    return stage_key(find_stage(stage), plan, {}, request)


XGBOOST = {"sampler": "smote", "model": "xgboost"}
TREE = {"sampler": "smote", "model": "decision_tree"}


def _models(**changed: Any) -> dict[str, Any]:
    models = {name: model.model_dump(by_alias=True) for name, model in cards().train.models.items()}  # type: ignore[union-attr]
    return {"models": {**models, **changed}}


def test_a_grid_changes_its_own_model_only() -> None:
    other = {"train": _models(decision_tree={"max_depth": [2]})}
    assert _key("tune", XGBOOST).changes(_key("tune", XGBOOST, **other).parts) == []
    assert _key("tune", TREE).changes(_key("tune", TREE, **other).parts) == ["section train.models.decision_tree"]
    for stage in ("prepare", "evaluate"):
        assert _key(stage).changes(_key(stage, **other).parts) == []


def test_metric_and_seed_change_what_reads_them() -> None:
    metric, seed = {"train": {"metric": "roc_auc"}}, {"train": {"seed": 8}}
    sampler = {"sampler": "smote"}
    assert _key("tune", XGBOOST).changes(_key("tune", XGBOOST, **metric).parts) == ["section train.metric"]
    assert _key("resample", sampler).changes(_key("resample", sampler, **metric).parts) == []
    assert _key("resample", sampler).changes(_key("resample", sampler, **seed).parts) == ["section train.seed"]
    assert _key("prepare").changes(_key("prepare", **seed).parts) == []
    assert _key("prepare").changes(_key("prepare", train={"folds": 4}).parts) == ["section train.folds"]


def test_whether_a_machine_can_draw_by_graphviz_counts_where_pictures_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {stage: _key(stage) for stage in ("evaluate", "prepare")}
    assert "tool dot" in before["evaluate"].parts
    monkeypatch.setattr(execute, "program_version", lambda name: f"{name} of another machine")
    assert _key("evaluate").changes(before["evaluate"].parts) == ["tool dot"]
    assert _key("prepare").changes(before["prepare"].parts) == []


def test_a_program_says_its_version_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "draws"
    program.write_text("#!/bin/sh\necho draws 1.2 >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert program_version("draws") == "draws 1.2"
    assert program_version("draws-not") == "missing"


def test_the_source_of_a_sampler_by_dotted_name_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_sampler.py").write_text("class Mine: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = _key("resample", {"sampler": "their_sampler.Mine"})
    (tmp_path / "their_sampler.py").write_text("class Mine: x = 1\n")
    for cached in (import_closure, module_path, _module_source, _imports):
        cached.cache_clear()
    importlib.invalidate_caches()
    assert before.changes(_key("resample", {"sampler": "their_sampler.Mine"}).parts) == ["code of their_sampler.Mine"]


def test_a_stage_sees_one_model_and_no_more() -> None:
    fields = ("problem", "train.seed", "train.models.{model}")
    view = View(cards(), fields, always=("name",), parameters={"model": "xgboost"})
    assert view.name == "credit_card_fraud"
    assert view.train.seed == cards().train.seed  # type: ignore[union-attr]
    assert list(view.train.models) == ["xgboost"]
    assert view.problem.target == "Class"
    with pytest.raises(AttributeError, match="does not declare 'metric'"):
        _ = view.train.metric
    with pytest.raises(AttributeError, match="does not declare 'evaluate'"):
        _ = view.evaluate
    assert View(cards(train=None), fields, parameters={"model": "xgboost"}).train is None


def test_a_model_whose_name_holds_dots_is_found() -> None:
    named = cards(train=_models(**{"lightgbm.LGBMClassifier": {"class": "lightgbm.LGBMClassifier"}}))
    view = View(named, ("train.models.{model}",), parameters={"model": "lightgbm.LGBMClassifier"})
    assert view.train.models["lightgbm.LGBMClassifier"].estimator == "lightgbm.LGBMClassifier"

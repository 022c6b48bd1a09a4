"""Verify, diff and lineage, on runs that really ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepzero.adapters.ledger import Refused, refuse
from stepzero.adapters.scratch import ScratchStore
from stepzero.adapters.store import Store
from stepzero.cli.app import app
from stepzero.core.errors import InputError
from stepzero.execution.comparison import compare_versions
from stepzero.execution.execute import pointer_uri
from stepzero.execution.lineage import find_version, lineage, touched
from stepzero.execution.verification import verify_run
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.plan import Plan
from support.runs import NAME, Runs

STAGES = ("resample", "tune", "evaluate")


@pytest.fixture(scope="module")
def patch() -> Any:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Environment:
    patch.setenv("STEPZERO_HOME", str(tmp_path_factory.mktemp("home")))
    return load_environment("local")


@pytest.fixture(scope="module")
def store(environment: Environment) -> Store:
    return Store(environment.store)


@pytest.fixture(scope="module")
def runs(store: Store, environment: Environment, patch: pytest.MonkeyPatch) -> Runs:
    return Runs(store, environment, patch)


@pytest.fixture(scope="module")
def plans(runs: Runs) -> list[Plan]:
    """Two runs: the second has the first one's batch in its window, another threshold of the gates, another seed."""
    first = runs.make("r1", seed=3)
    second = runs.make("r2", seed=4, window=(runs.member(first),), promote={"require": {"f1": 0.1}})
    runs.register(first, "1")
    runs.register(second, "2", approved=False)
    return [first, second]


def files(store: Store) -> dict[str, int | None]:
    return {uri: store.size(uri) for uri in store.list("")}


def test_the_same_again_to_the_last_bit_and_nothing_left_behind(
    store: Store, environment: Environment, plans: list[Plan]
) -> None:
    before = files(store)
    checks = verify_run(store, environment, NAME, "r1", stages=STAGES)
    assert {check.stage: check.outcome for check in checks} == {
        "resample none": "same",
        "tune none.decision_tree": "same",
        "tune none.xgboost": "same",
        "evaluate": "same",
    }
    assert files(store) == before, "no effects"


def test_what_differs_is_named_where_it_arises(
    store: Store, environment: Environment, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepzero.learning.models import Algorithm

    fit = Algorithm.fit
    monkeypatch.setattr(
        Algorithm, "fit", lambda self, parameters, rows, seed: fit(self, {**parameters, "max_depth": 1}, rows, seed)
    )
    checks = {check.stage: check for check in verify_run(store, environment, NAME, "r1", stages=("tune", "evaluate"))}
    tree = checks["tune none.decision_tree"]
    assert tree.outcome == "differs"
    assert any("predictions differ by up to" in line for line in tree.differences), tree.differences
    assert any(line.startswith("values.score: ") for line in tree.differences)
    assert tree.why == ("nothing that its key holds changed",)
    assert checks["evaluate"].outcome == "same", "each stage is given what it was given then"


def test_bytes_alone_are_told_from_predictions_and_changed_code_is_a_reason(
    store: Store, environment: Environment, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepzero.execution import execute
    from stepzero.learning import model

    monkeypatch.setattr(execute, "digest_sources", lambda _: "other code")
    assert verify_run(store, environment, NAME, "r1", stages=("resample",))[0].outcome == "same"
    monkeypatch.setattr(model, "FORMAT_VERSION", 99)
    (check,) = verify_run(store, environment, NAME, "r1", stages=("evaluate",))
    assert check.outcome == "differs"
    assert check.differences == (
        "output model has other bytes, but the same predictions to the last bit on 225 held-out rows",
    )
    assert "changed since: code" in check.why


def test_lost_inputs_and_unknown_stages_are_told(store: Store, environment: Environment, plans: list[Plan]) -> None:
    uri = pointer_uri(NAME, "r2", "resample", "none")
    noted = store.read_json(uri)
    try:
        store.write_json(uri, {name: value for name, value in noted.items() if name != "inputs"})
        (check,) = verify_run(store, environment, NAME, "r2", stages=("resample",))
    finally:
        store.write_json(uri, noted)
    assert (check.outcome, check.good) == ("failed", False)
    assert "did not note what it was given" in check.why[0]
    with pytest.raises(InputError, match=r"stage resmple of run r1: got not in the run\. Allowed: evaluate, prepare"):
        verify_run(store, environment, NAME, "r1", stages=("resmple",))


def test_the_scratch_store_reads_through_and_writes_beside(tmp_path: Path) -> None:
    below = Store(f"file://{tmp_path / 'below'}")
    below.write_text("a/one.txt", "below")
    scratch = ScratchStore(below, f"file://{tmp_path / 'own'}")
    assert scratch.read_text("a/one.txt") == "below"
    scratch.write_text("a/one.txt", "own")
    scratch.write_json("a/two.json", 2)
    with scratch.open("b/three.bin", "wb") as stream:
        stream.write(b"3")
    assert (scratch.read_text("a/one.txt"), below.read_text("a/one.txt")) == ("own", "below")
    assert scratch.list("a") == ["a/one.txt", "a/two.json"]
    assert below.list("") == ["a/one.txt"]
    assert not scratch.create("a/one.txt", {})
    assert scratch.url("b/three.bin") == f"file://{tmp_path / 'own'}/b/three.bin"
    assert scratch.url("new/folder").startswith(f"file://{tmp_path / 'own'}")
    scratch.remove("a/one.txt")
    assert scratch.read_text("a/one.txt") == "below"
    scratch.discard()
    assert not (tmp_path / "own").exists()
    assert below.read_text("a/one.txt") == "below"


def test_lineage_says_which_data_preparation_training_and_tuning(store: Store, plans: list[Plan]) -> None:
    told = lineage(find_version(store, "2"))
    assert told["run"] == "r2"
    assert [file["uri"] for file in told["data"]["batch"]["files"]] == ["landing/credit_card_fraud/r2.csv"]
    assert [one["digest"] for one in told["data"]["window"]] == [plans[0].batch.digest]
    assert (told["data"]["gate"], told["data"]["rows"]) == ("PASS", 900)
    assert told["preparation"]["prepare"] == {"drop_duplicates": True}
    assert told["preparation"]["split"]["stratified"] is True
    assert told["tuning"]["cells"] == 2
    assert told["tuning"]["trials"] == 3
    assert told["training"]["model"] in {"decision_tree", "xgboost"}
    assert set(told["training"]) >= {"code", "lock", "architecture", "parameters", "rows"}
    assert all(told["evaluation"]["sentinels"].values())
    assert told["approval"] == "version 2 was rejected by rule because it passed"
    assert lineage(find_version(store, "r1"))["version"] == "1"


def test_from_a_file_to_the_models_it_touched(store: Store, plans: list[Plan], tmp_path: Path) -> None:
    told = touched(store, "r1.csv")
    assert [(one["version"], one["as"]) for one in told["versions"]] == [("1", "batch"), ("2", "window")]
    assert [one["run"] for one in told["accepted"]] == ["r1"]
    copy = tmp_path / "anything.csv"
    copy.write_text("made of seed 4\n")
    assert [one["version"] for one in touched(store, str(copy))["versions"]] == ["2"]
    assert touched(store, plans[1].batch.files[0].digest[:10])["versions"] == touched(store, str(copy))["versions"]
    with pytest.raises(InputError, match=r"file r9.csv: got in no accepted batch and in no version's plan"):
        touched(store, "r9.csv")
    batch = plans[0].batch
    withdrawn = Refused(partition=batch.partition, digest=batch.digest, files=batch.files, as_of="2026-11-30", run="r9")
    refuse(store, NAME, withdrawn)
    again = touched(store, "r1.csv")
    assert (again["accepted"], again["versions"]) == ([], told["versions"]), "who learned of it is not forgotten"


def test_two_versions_side_by_side(store: Store, plans: list[Plan]) -> None:
    told = compare_versions(find_version(store, "1"), find_version(store, "2"))
    assert told["same_model"] is False
    assert told["data"]["only_after"] == [plans[1].batch.partition]
    assert told["data"]["in_both"] == 1
    assert not told["data"]["same_batch"]
    assert told["spec"] == [
        "spec.promote.require.average_precision: gone, was 0.5",
        "spec.promote.require.f1: new, 0.1",
    ]
    metric = told["metrics"]["average_precision"]
    assert metric["difference"] == pytest.approx(metric["after"] - metric["before"])
    assert told["same_held_out_rows"] is False
    assert told["environment"] == []
    same = compare_versions(find_version(store, "1"), find_version(store, "r1"))
    assert same["same_model"]
    assert same["spec"] == same["parameters"] == []
    assert all(one["difference"] == 0 for one in same["metrics"].values())


def test_versions_are_named_by_number_alias_or_run(store: Store, plans: list[Plan]) -> None:
    alias = {"champion": "1", "challenger": "2"}
    assert find_version(store, "challenger", aliases=lambda _, name: alias[name]).registration.version == "2"
    with pytest.raises(InputError, match=r"version 7 of credit_card_fraud: got not registered"):
        find_version(store, "7", NAME)
    with pytest.raises(InputError, match=r"version 1 of other: got not registered\. Allowed: no version yet"):
        find_version(store, "1", "other")


def test_commands_answer_in_one_screen(store: Store, plans: list[Plan]) -> None:
    runner = CliRunner()
    for words, expected in (
        (["diff", "1", "2"], ("version 1", "version 2", "average precision", "threshold", "other rows")),
        (["lineage", "2"], ("landing/credit_card_fraud/r2.csv", "window", "xgboost", "rejected")),
        (["lineage", "r1.csv"], ("version 1", "version 2", "window")),
    ):
        done = runner.invoke(app, words)
        assert done.exit_code == 0, done.output
        assert len(done.output.splitlines()) <= 40
        for text in expected:
            assert text in done.output, (words, done.output)
        assert json.loads(runner.invoke(app, [*words, "--json"]).stdout.splitlines()[-1])
    done = runner.invoke(app, ["verify", "r1", "--stage", "resample", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["reproducible"] is True
    # What Spark would do is made up here: it cannot be run again, and the command says so.
    refused = runner.invoke(app, ["verify", "r1", "--stage", "prepare", "--stage", "resample"])
    assert refused.exit_code == 10, refused.output
    assert "not reproduced: prepare" in refused.output


SHIPPED = {
    "decision_tree": {"criterion": ["gini", "entropy"], "max_depth": [4]},
    "random_forest": {"grid": {"n_estimators": [3, 6]}, "parameters": {"max_samples": 0.5}},
    "logistic_regression": {"C": [0.1, 1.0]},
    "nearest_neighbours": {"n_neighbors": [3, 5]},
    "xgboost": {"n_estimators": [5, 9], "max_depth": [3]},
}
"""The models of the shipped use case with small grids."""


def test_every_shipped_model_comes_out_with_the_same_bytes(runs: Runs, store: Store, environment: Environment) -> None:
    declared = load_use_case(NAME).train
    assert declared is not None
    assert set(SHIPPED) == set(declared.models)
    runs.make("r3", seed=5, resample=["smote"], train={"folds": 3, "models": SHIPPED})
    checks = verify_run(store, environment, NAME, "r3", stages=("tune",))
    told = {check.stage: (check.outcome, check.differences) for check in checks}
    assert told == {f"tune smote.{model}": ("same", ()) for model in SHIPPED}


def boosted(runs: Runs, run: str, rounds: int) -> Plan:
    models = {"xgboost": {"n_estimators": [rounds], "max_depth": [3]}}
    explained = {"bootstrap": 50, "explain": ["shap"]}
    return runs.make(run, seed=6, train={"folds": 3, "models": models}, evaluate=explained)


def importance(store: Store, evaluated: Any) -> dict[str, float]:
    told = store.read_json(evaluated.outputs["explanation"].uri)["shap"]["features"]
    return {one["feature"]: one["mean_absolute"] for one in told}


def test_features_thresholds_and_parameters_of_two_versions_are_compared(runs: Runs, store: Store) -> None:
    for version, (run, rounds) in {"11": ("few", 4), "12": ("many", 20)}.items():
        runs.register(boosted(runs, run, rounds), version)
    one, other = (find_version(store, version) for version in ("11", "12"))
    told = compare_versions(one, other)
    assert told["same_held_out_rows"]
    assert told["parameters"] == ["winner.parameters.n_estimators: 4 → 20"]
    assert told["spec"] == ["spec.train.models.xgboost.grid.n_estimators.0: 4 → 20"]
    evaluated = [version.stage("evaluate") for version in (one, other)]
    thresholds = [found.values["winner"]["threshold"] for found in evaluated if found]
    assert told["threshold"] == thresholds
    assert thresholds[0] != thresholds[1]
    before, after = (importance(store, found) for found in evaluated)
    assert len(before) == 30
    changed = sorted(before, key=lambda name: -abs(after[name] - before[name]))
    assert [line["feature"] for line in told["shap"]] == changed[:8]
    assert all(line["before"] == before[line["feature"]] for line in told["shap"])
    assert all(line["after"] == after[line["feature"]] for line in told["shap"])
    shown = CliRunner().invoke(app, ["diff", "11", "12"])
    assert shown.exit_code == 0, shown.output
    first = told["shap"][0]
    for line in (
        "parameters.n_estimators: 4 → 20",
        f"{thresholds[0]:.4f} → {thresholds[1]:.4f}",
        f"{first['feature']:<18} {first['before']:.4f} → {first['after']:.4f}",
        "on the same rows",
    ):
        assert line in shown.output

"""The dossier: everything an approver should know, from references alone; nothing from data is taken as HTML."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stepzero.adapters.datasets import write_file
from stepzero.adapters.registry_records import Evidence
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.dossier import make_dossier, read_pictures, with_approval, write_dossier
from stepzero.spec.plan import Batch, BatchFile, Member
from support.cards import FOLDS, Bench, as_input, made_up_cards
from support.html import Seen

EVIL = "<script>alert('V1')</script>"
MODELS = {"decision_tree": {"max_depth": [3]}, "xgboost": {"n_estimators": [20]}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Rows whose file has a script for a column's name."""
    frame = made_up_cards().rename(columns={"V14": EVIL})
    return Bench(
        tmp_path_factory.mktemp("dossier"),
        frame,
        train={"folds": FOLDS, "models": MODELS},
        evaluate={"bootstrap": 50, "explain": ["tree", "shap"]},
        title=f"Cards {EVIL}",
    )


@pytest.fixture(scope="module")
def inputs(bench: Bench) -> dict[str, StageInput]:
    resampled = bench.resample("random_under")
    cells = [bench.tune("random_under", model, resampled) for model in MODELS]
    reason = Reason(rule="between", column=EVIL, observed=EVIL, bound="0 to 1", rows=3)
    verdict = Verdict(outcome=Outcome.QUARANTINE, subject=f"batch of {EVIL}", reasons=(reason,))
    checked = StageResult(values={"accepted": 1497, "quarantined": 3}, verdict=verdict)
    broken = bench.tune("support.theirs.BrokenSampler", "xgboost")
    return {
        "prepared": bench.prepared,
        "evaluated": as_input("evaluate", bench.evaluate(*cells, broken)),
        "checked": as_input("quality_gate", checked),
    }


@pytest.fixture(scope="module")
def workspace(bench: Bench) -> Workspace:
    files = (BatchFile(uri=f"landing/credit_card_fraud/{EVIL.replace('/', '')}.csv", digest="f" * 32, bytes=3),)
    plan: Any = SimpleNamespace(
        run="manual__1",
        as_of="2026-11-26T10:00:00+00:00",
        batch=Batch(partition="b1", digest="b" * 32, files=files),
        window=(Member(partition="b0", digest="a" * 32, accepted={}),),
        days=(),
        released=(),
        released_days=(),
        tables={},
        environment="local",
        links={"airflow": "http://127.0.0.1:8080/dags/d/runs/manual__1", "mlflow": "javascript:alert(1)"},
    )
    environment: Any = None
    return Workspace(store=bench.store, environment=environment, plan=plan, folder="results/register/1", stage="x")


@pytest.fixture(scope="module")
def dossier(bench: Bench, inputs: dict[str, StageInput], workspace: Workspace) -> dict[str, Any]:
    champion = {"accepted": True, "sentence": "better than the champion", "difference": 0.1}
    return make_dossier(bench.use_case, "3", inputs, champion, workspace)


def test_it_holds_what_an_approver_asks_for(dossier: dict[str, Any], inputs: dict[str, StageInput]) -> None:
    evaluated = inputs["evaluated"]
    assert json.loads(json.dumps(dossier, allow_nan=False)) == dossier
    assert (dossier["version"], dossier["run"], dossier["approval"]) == ("3", "manual__1", None)
    assert dossier["model"]["threshold"] == evaluated.values["winner"]["threshold"]
    assert dossier["model"]["digest"] == evaluated.outputs["model"].digest
    assert dossier["model"]["prior"]["true_share"] == pytest.approx(0.001727)
    assert [gate["gate"] for gate in dossier["gates"]] == [
        "quality gate",
        "promotion gates",
        "comparison with the champion",
    ]
    assert dossier["gates"][0]["outcome"] == "QUARANTINE"
    assert (dossier["data"]["accepted"], dossier["data"]["quarantined"]) == (1497, 3)
    assert dossier["data"]["sides"]["test"]["digest"] == inputs["prepared"].outputs["test"].digest
    assert dossier["data"]["sides"]["test"]["classes"] == inputs["prepared"].values["test"]
    assert [one["partition"] for one in dossier["data"]["window"]] == ["b0"]
    assert dossier["declared"]["split"]["salt"] == "v1"
    assert len(dossier["table"]) == 3
    assert dossier["sentinels"] == evaluated.values["sentinels"]
    assert dossier["explanation"]["shap"]["additive"]
    assert set(dossier["calibration"]["curves"]) == {"as learned", "corrected"}
    assert dossier["comparison"]["sentence"] == evaluated.values["comparison"]
    lineage = {(one["stage"], one["output"]): one["digest"] for one in dossier["lineage"]}
    assert lineage["evaluate", "model"] == evaluated.outputs["model"].digest
    assert lineage["prepare", "train"] == inputs["prepared"].outputs["train"].digest
    assert "xgboost" in dossier["environment"]["versions"]


def test_the_page_is_whole_in_itself_and_takes_nothing_from_data_as_html(
    bench: Bench, dossier: dict[str, Any], workspace: Workspace
) -> None:
    outputs = write_dossier(dossier, workspace)
    with bench.store.open(outputs["dossier_page"].uri) as stream:
        page = stream.read()
    seen = Seen(page)
    assert "script" not in seen.tags
    assert seen.handlers == []
    assert EVIL in seen.words
    addresses = [one for one in seen.addresses if not one.startswith("data:image/png;base64,")]
    assert addresses == ["http://127.0.0.1:8080/dags/d/runs/manual__1"]
    assert len(seen.addresses) - 1 == 10
    assert b"Content-Security-Policy" in page
    for words in (
        "QUARANTINE",
        "out of luck",
        "nobody has decided yet",
        "Leak sentinels",
        "add up to the output within",
        "corrected to the true share, 0.173%",
        "better than the champion",
        dossier["comparison"]["sentence"],
        "Chosen for the best F1 on out-of-fold rows",
        "what each line would cost where a missed positive costs Amount, a wrong alarm 5",
    ):
        assert words in seen.words, words
    assert "What each threshold costs, on out-of-fold rows" in page.decode()
    cost = read_pictures(bench.store, dossier)["cost"]
    assert base64.b64encode(cost) in page
    assert write_dossier(dossier, workspace) == outputs


def test_mitigation_is_told_with_every_metric_whichever_way_it_went(
    bench: Bench, inputs: dict[str, StageInput], workspace: Workspace
) -> None:
    one = {"value": 0.25, "low": 0.125, "high": 0.5}
    told = {
        "method": "reweighing",
        "facet": EVIL,
        "time": "after",
        "what": "decisions on held-out rows",
        "sentence": "1 of 2 metrics came nearer to no difference, 1 went further (AD)",
        "changes": [
            {"facet": EVIL, "metric": "DPPL", "before": 0.0625, "after": 0.03125, "direction": "nearer"},
            {"facet": EVIL, "metric": "AD", "before": 0.0, "after": "Infinity", "direction": "further"},
        ],
        "figures": [{"metric": "f1", "before": one, "after": one | {"value": 0.375}}],
        "thresholds": [{"who": "all", "before": 0.07, "after": 0.05}],
    }
    evaluated = inputs["evaluated"]
    drawn = write_file(bench.store, "drawn/mitigation.png", b"\x89PNG told")
    outputs = {**evaluated.outputs, "mitigation_picture": drawn}
    mitigated = replace(evaluated, outputs=outputs, values={**evaluated.values, "mitigation": told})
    made = make_dossier(bench.use_case, "3", {**inputs, "evaluated": mitigated}, {"sentence": "the first"}, workspace)
    assert made["mitigation"] == [told | {"picture": drawn.to_json()}]
    with bench.store.open(write_dossier(made, workspace)["dossier_page"].uri) as stream:
        seen = Seen(stream.read())
    assert "script" not in seen.tags
    for words in (
        told["sentence"],
        "+0.0625",
        "+0.0312",
        "Infinity",
        "further",
        "0.250 (0.125",
        "0.375 (0.125",
        "0.07",
        "0.05",
    ):
        assert str(words) in seen.words, words
    assert not re.search(r"(?i)bias (is )?(fixed|solved|removed)|unbiased", seen.words)


def test_the_decision_is_filled_in(bench: Bench, dossier: dict[str, Any], workspace: Workspace) -> None:
    evidence = Evidence(
        use_case="credit_card_fraud",
        version="3",
        model_digest=dossier["model"]["digest"],
        approved=False,
        by=EVIL,
        when="2026-11-26T12:00:00+00:00",
        why="too many alarms",
        how="person",
        gates={},
        previous=None,
        run="manual__1",
    )
    told = with_approval(dossier, evidence)
    assert told["approval"]["digest"] == evidence.digest
    assert {name: one for name, one in told.items() if name != "approval"} == {
        name: one for name, one in dossier.items() if name != "approval"
    }
    page = bench.store.read_text(write_dossier(told, workspace)["dossier_page"].uri).encode()
    seen = Seen(page)
    assert "script" not in seen.tags
    assert "It was rejected by " in seen.words
    assert "too many alarms" in seen.words
    assert "by a person" in seen.words


def test_what_is_missing_is_left_out(bench: Bench, inputs: dict[str, StageInput], workspace: Workspace) -> None:
    """A flow without a gate, an evaluation of somebody's own: a shorter dossier, no error."""
    evaluated = inputs["evaluated"]
    bare = StageResult(outputs={"model": evaluated.outputs["model"]}, values={"winner": {"model": "m"}})
    short = {"prepared": bench.prepared, "evaluated": as_input("evaluate", bare)}
    found = make_dossier(bench.use_case, "1", short, {"accepted": True, "sentence": "alone"}, workspace)
    assert found["data"]["accepted"] is None
    assert found["explanation"] is None
    assert [gate["gate"] for gate in found["gates"]] == ["comparison with the champion"]
    page = bench.store.read_text(write_dossier(found, workspace)["dossier_page"].uri)
    assert "<img" not in page
    assert "alone" in page


def made_bias(store: Store) -> list[StageInput]:
    """Return bias before and after training, of a facet whose name and value are hostile."""
    facet = {
        "facet": EVIL,
        "value": EVIL,
        "threshold": None,
        "rows": {"favoured": 700.0, "disfavoured": 300.0},
        "favourable_shares": {"favoured": 0.97, "disfavoured": 0.99},
        "metrics": {"DPPL": -0.02, "TE": "Infinity", "CDDPL": None},
    }
    return [
        as_input(
            "bias",
            StageResult(
                outputs={
                    "analysis.json": write_file(store, f"made/{time}.json", b"{}"),
                    "bias.png": write_file(store, f"made/{time}.png", b"a picture"),
                },
                values={"time": time, "label": "Class", "favourable": "0", "facets": [facet]},
                verdict=Verdict(outcome=Outcome.PASS, subject=f"bias {time} training, 1 facet values, 2 limits"),
            ),
        )
        for time in ("before", "after")
    ]


def made_gates() -> list[StageInput]:
    return [
        as_input(
            "quality_gate",
            StageResult(
                values={"table": table, "accepted": rows, "quarantined": 2},
                verdict=Verdict(outcome=Outcome.QUARANTINE, subject=f"batch of {table}"),
            ),
        )
        for table, rows in (("claims", 100), ("customers", 90))
    ]


def test_bias_and_the_gates_of_several_tables_are_part_of_what_is_decided_on(
    bench: Bench, inputs: dict[str, StageInput], workspace: Workspace
) -> None:
    measured, gates = made_bias(bench.store), made_gates()
    given: dict[str, Any] = {**inputs, "checked": gates, "bias": measured}
    found = make_dossier(bench.use_case, "3", given, {"accepted": True, "sentence": "alone"}, workspace)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [gate["gate"] for gate in found["gates"]] == [
        "quality gate of claims",
        "quality gate of customers",
        "promotion gates",
        "bias before training",
        "bias after training",
        "comparison with the champion",
    ]
    assert (found["data"]["accepted"], found["data"]["quarantined"]) == (190, 4)
    assert [one["report"]["digest"] for one in found["bias"]] == [
        one.output("analysis.json").digest for one in measured
    ]
    page = bench.store.read_text(write_dossier(found, workspace)["dossier_page"].uri).encode()
    seen = Seen(page)
    assert "script" not in seen.tags
    for words in (
        "decisions on untouched rows: PASS: bias after training, 1 facet values, 2 limits.",
        f"{EVIL} = {EVIL}",
        "Infinity",
        "no value",
        "-0.0200",
        "97.00%",
        "does not say that bias is gone",
        "None is declared: the metrics above are those of the model as it learned.",
        "Accepted by the gate of claims: 100 rows; in quarantine: 2.",
    ):
        assert words in seen.words, words
    assert "fixed" not in seen.words

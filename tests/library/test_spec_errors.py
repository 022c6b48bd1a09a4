"""Wrong YAML: every message names file and line, the value, what is allowed, and often what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepzero.core.errors import SpecError
from stepzero.spec.load import include_folder, load_environment, load_use_case
from stepzero.spec.plan import Form, apply_form

GOOD = (include_folder() / "usecases" / "credit_card_fraud.yaml").read_text(encoding="utf-8")
F1 = "threshold: {maximise: f1, false_negative: Amount, false_positive: 5}"


def broken(folder: Path, before: str, after: str) -> tuple[str, int]:
    """Write the real file with one change; return the error's text and the number of the changed line."""
    assert GOOD.count(before) == 1, f"{before!r} is {GOOD.count(before)} times in the file"
    path = folder / "wrong.yaml"
    path.write_text(GOOD.replace(before, after), encoding="utf-8")
    with pytest.raises(SpecError) as raised:
        load_use_case(str(path))
    pairs = zip(GOOD.splitlines(), path.read_text(encoding="utf-8").splitlines(), strict=True)
    return str(raised.value), 1 + next(number for number, (old, new) in enumerate(pairs) if old != new)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("\nprepare:", "\nprepaer:", r"prepaer: got 'prepaer'\. Allowed: a known key; did you mean 'prepare'\?"),
        ("folds: 5", "fold: 5", r"train\.fold: got 'fold'\. Allowed: a known key; did you mean 'folds'\?"),
        ("folds: 5", "folds: many", r"train\.folds: got 'many'\. Allowed: Input should be a valid integer"),
        ("folds: 5", "folds: 1", r"train\.folds: got 1\. Allowed: Input should be greater than or equal to 2"),
        ("test: 20%", "test: 120%", r"split\.test: got '120%'\. Allowed: Input should be less than 1"),
        ("smote]", "smoet]", r"resample: .*Allowed: unknown sampler 'smoet': did you mean 'smote'\?"),
        ("decision_tree: {", "decision_tre: {", r"train: .*unknown model 'decision_tre': did you mean 'decision_tree'"),
        ("\n    - {rule: one_of", "\n    - {rule: oneof", r"rules: .*unknown rule 'oneof': did you mean 'one_of'\?"),
        ("at_most: 30000}\n    -", "at_most: -1}\n    -", r"impossible bounds: at_least 0\.0 is above at_most -1\.0"),
        (
            F1,
            "threshold: {minimise: cost}",
            r"minimise: cost needs the prices of both mistakes: false_negative and false_positive",
        ),
        (F1, "threshold: {false_positive: 2}", r"the prices of both mistakes, false_negative and false_positive, or"),
        (
            F1,
            "threshold: {minimise: cost, smooth: true, false_negative: 2, false_positive: 1}",
            r"smooth goes with maximise: f1; what mistakes cost is counted as it is",
        ),
        ("winner: best", "winner: fastest", r"evaluate\.winner: got 'fastest'\. Allowed: Input should be 'best' or"),
        ("explain: [tree,", "explain: [trees,", r"evaluate\.explain.*: got 'trees'\. Allowed: Input should be 'tree'"),
        ("metric: average_precision\n", "metric: accurracy\n", r"train\.metric: .*unknown metric 'accurracy'"),
        ("target: Class", "target: Clas", r"problem\.target: got 'Clas'\. Allowed: a column .* 'Class'\?"),
        ("robust: [Amount", "robust: [Amuont", r"pipeline\.scale\.robust: got 'Amuont'.*did you mean 'Amount'"),
        ("prefix: landing", "prefix: /landing", r"source\.prefix: .*a prefix is relative to the store"),
        ("C: [0.01, 0.1, 1.0]", "C: 1.0", r"the grid of C is a list with at least one value, not 1\.0"),
        ("Amount: double", "Amount: decimal", r"source\.columns\.Amount: got 'decimal'\. Allowed: .* 'int'"),
        ("average_precision: 0.5", "avg_precision: 0.5", r"promote\.require\.avg_precision"),
        ("    resample: [none]", "    resample: [nones]", r"recipes\.thorough\.resample: .*unknown sampler 'nones'"),
        ("      voting:", "      votin:", r"recipes\.thorough: .*unknown model 'votin': did you mean 'voting'"),
        ("  thorough:", "  Thorough:", r"recipes\.Thorough: got 'Thorough'\. Allowed: a name in lower case letters"),
    ],
)  # fmt: skip
def test_message_says_where_what_and_what_is_allowed(tmp_path: Path, before: str, after: str, expected: str) -> None:
    text, line = broken(tmp_path, before, after)
    assert re.search(expected, text), text
    file = re.match(r"wrong\.yaml:(\d+) ", text)
    assert file, text
    # A list or section is named by its own line where the fault lies within it.
    assert int(file[1]) <= line
    assert "Do: " in text


def test_the_line_is_exact_where_one_key_is_at_fault(tmp_path: Path) -> None:
    text, line = broken(tmp_path, "folds: 5", "folds: many")
    assert text.startswith(f"wrong.yaml:{line} train.folds")


def test_number_of_further_problems_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(GOOD.replace("folds: 5", "folds: many").replace("test: 20%", "test: 3"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"\(1 more problems in this file\)"):
        load_use_case(str(path))


def test_what_is_no_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: x\nquality: {rules: [}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"wrong\.yaml:2: got .*Allowed: YAML\. Do: correct the line"):
        load_use_case(str(path))


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(SpecError, match="a mapping of sections"):
        load_use_case(str(path))


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a readable file"):
        load_use_case(str(tmp_path / "none.yaml"))
    with pytest.raises(SpecError, match=r"use case credit_card: got 'credit_card'\. Allowed: .*credit_card_fraud"):
        load_use_case("credit_card")
    with pytest.raises(SpecError, match=r"environment locl: got 'locl'\. Allowed: did you mean 'local'\?"):
        load_environment("locl")


def test_wrong_environment_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nstore: file:///x\nstages:\n  tune: {cpu: none}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"mine\.yaml:4 stages\.tune\.cpu: got 'none'\. Allowed: .*integer"):
        load_environment(str(path))


@pytest.mark.parametrize("port", ["abc", "99999", "0"])
@pytest.mark.parametrize(
    ("server", "place"), [("AIRFLOW", "airflow.uri"), ("ENDPOINT", "endpoints.credit_card_fraud.uri")]
)
def test_port_that_is_none(server: str, place: str, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a taken port tells people to set the variable."""
    monkeypatch.setenv(f"STEPZERO_{server}_PORT", port)
    with pytest.raises(SpecError) as caught:
        load_environment("local")
    assert re.fullmatch(
        rf"local\.yaml:\d+ {re.escape(place)}: got 'http://127\.0\.0\.1:{port}'\. Allowed: an address whose port "
        r"is from 1 to 65535, in the file or in the variable that it names \(STEPZERO_…_PORT\)\. Do: correct it",
        str(caught.value),
    ), caught.value


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"models": ["xgbost"]}, r"form\.models: got 'xgbost'\. Allowed: did you mean 'xgboost'\?"),
        ({"samplers": ["smoet"]}, r"unknown sampler 'smoet': did you mean 'smote'\?"),
    ],
)
def test_form_that_asks_for_the_unknown(form: dict[str, list[str]], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        apply_form(load_use_case("credit_card_fraud"), Form.model_validate(form))

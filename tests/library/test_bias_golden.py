"""Golden checks 1 to 24: the figures of the reference bias report, from the counts behind it, to 1e-12."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stepzero.learning.bias import report_after, report_before
from stepzero.measures import bias_labels as labels
from stepzero.measures import bias_predictions as predictions
from stepzero.measures.bias import FacetRows, measure_after, measure_before
from stepzero.measures.decisions import Confusion
from stepzero.spec.bias import Bias
from stepzero.spec.data import Problem
from support.claims import claims_file, facet_rows, oversampled_rows, reference_rows

FRAUD = Problem(kind="classification", target="fraud", positive=1)


def exactly(value: float) -> object:
    return pytest.approx(value, abs=1e-12, rel=0)


def before(rows: FacetRows) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in measure_before(rows)}


def after(rows: FacetRows) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in measure_after(rows)}


@pytest.fixture(scope="module")
def labelled() -> dict[str, float | None]:
    return before(facet_rows(reference_rows()))


def test_golden_1_class_imbalance(labelled: dict[str, float | None]) -> None:
    assert labelled["CI"] == exactly(0.398)


def test_golden_2_difference_in_proportions(labelled: dict[str, float | None]) -> None:
    assert labelled["DPL"] == exactly(-0.017711586081682884)


def test_golden_3_kullback_leibler(labelled: dict[str, float | None]) -> None:
    assert labelled["KL"] == exactly(0.008323488560379871)


def test_golden_4_distances(labelled: dict[str, float | None]) -> None:
    assert labelled["LP"] == exactly(0.025047965247854492)
    assert labelled["TVD"] == exactly(0.01771158608168289)
    assert labelled["KS"] == exactly(0.0177115860816829)


def test_golden_5_jensen_shannon_as_documented(labelled: dict[str, float | None]) -> None:
    assert labelled["JS"] == exactly(0.0017918468241483521)


def test_golden_7_without_a_group_variable_the_rest_of_the_report_is_whole() -> None:
    bias = Bias.model_validate({"favourable": 0, "facets": {"woman": 1}})
    frame = reference_rows()
    reports = report_before(frame, FRAUD, bias), report_after(frame, np.zeros(4000, dtype=bool), FRAUD, bias)
    for report, key, name, count in zip(
        reports, ("pre_training_bias_metrics", "post_training_bias_metrics"), ("CDDL", "CDDPL"), (8, 13), strict=True
    ):
        body = report.to_json()[key]
        assert (report.to_json()["version"], body["label"], body["label_value_or_threshold"]) == ("1.0", "fraud", "0")
        (entry,) = body["facets"]["woman"]
        assert entry["value_or_threshold"] == "1"
        names = [metric["name"] for metric in entry["metrics"]]
        assert names == sorted(names)
        assert len(names) == count
        missing = {metric["name"]: metric for metric in entry["metrics"] if metric["value"] is None}
        assert list(missing) == [name]
        assert missing[name]["error"].startswith("Group variable is empty or not provided: got none. Allowed: a column")
        assert all("error" not in metric for metric in entry["metrics"] if metric["name"] != name)


def test_golden_8_predictions_of_a_model_that_finds_no_fraud() -> None:
    found = after(facet_rows(reference_rows()))
    for name in ("AD", "DAR", "DCA"):
        assert found[name] == exactly(-0.017711586081682884), name
    assert found["DI"] == exactly(1)
    for name in ("DPPL", "DCR", "TE", "RD", "DRR", "FT"):
        assert found[name] == exactly(0), name


def test_flip_test_has_the_sign_of_the_reference_report() -> None:
    frame = oversampled_rows()
    found = after(facet_rows(frame))
    assert found["FT"] == exactly(-1 / 2796), "the one woman predicted fraud has neighbours predicted no fraud"
    assert found["DPPL"] == exactly(0)


def test_golden_16_labels_of_the_real_training_file() -> None:
    frame = pd.read_csv(claims_file("train.csv"))
    bias = Bias.model_validate({"favourable": 0, "facets": {"customer_gender_female": 1}})
    (one,) = report_before(frame, FRAUD, bias).facets
    found = one.values()
    assert (one.favoured, one.disfavoured) == (10031, 5969)
    assert found["CI"] == exactly(0.253875)
    assert found["DPL"] == exactly(-0.017791119935637978)
    assert found["KL"] == exactly(0.00679662381595111)
    assert found["JS"] == exactly(0.0015060958247550293)
    assert found["LP"] == exactly(0.02516044310278556)
    assert found["TVD"] == exactly(0.01779111993563797)
    assert found["KS"] == exactly(0.01779111993563797)


def test_golden_20_the_other_label_as_the_favourable_one_turns_the_sign_of_dpl_alone() -> None:
    zero, one = (before(facet_rows(reference_rows(), favourable)) for favourable in (0, 1))
    assert zero["DPL"] is not None
    assert one["DPL"] == exactly(-zero["DPL"])
    for name in ("CI", "KL", "JS", "LP", "TVD", "KS"):
        assert one[name] == exactly(zero[name] or 0.0), name


def test_golden_23_conditional_acceptance_and_rejection() -> None:
    a, d = accepting(favourable=70, accepted=60), accepting(favourable=20, accepted=30)
    assert predictions.difference_in_conditional_acceptance(a, d) == exactly(0.5)
    a, d = accepting(favourable=50, accepted=60), accepting(favourable=40, accepted=30)
    assert predictions.difference_in_conditional_acceptance(a, d) == exactly(-0.5)
    a, d = rejecting(unfavourable=50, rejected=60), rejecting(unfavourable=40, rejected=30)
    assert predictions.difference_in_conditional_rejection(a, d) == exactly(0.5)
    a, d = rejecting(unfavourable=70, rejected=60), rejecting(unfavourable=20, rejected=30)
    assert predictions.difference_in_conditional_rejection(a, d) == exactly(-0.5)


def test_golden_24_treatment_equality() -> None:
    a, d = cells(false_negatives=8, false_positives=6), cells(false_negatives=5, false_positives=2)
    assert predictions.treatment_equality(a, d) == exactly(1.1666666666666667)


def test_worked_examples_of_the_documentation() -> None:
    assert labels.kullback_leibler([0.8, 0.2], [0.3, 0.7]) == pytest.approx(0.534111, abs=1e-6)
    assert labels.kolmogorov_smirnov([0.4, 0.4, 0.2], [0.2, 0.1, 0.7]) == exactly(0.5)
    a, d = cells(true_negatives=20, false_positives=10), cells(true_negatives=18, false_positives=5)
    assert predictions.specificity_difference(a, d) == pytest.approx(0.115942, abs=1e-6)
    a, d = cells(true_positives=65, false_negatives=5), cells(true_positives=20, false_negatives=7)
    assert predictions.recall_difference(a, d) == pytest.approx(0.187831, abs=1e-6)
    a, d = cells(true_positives=35, false_positives=35), cells(true_positives=40, false_positives=60)
    assert predictions.difference_in_acceptance_rates(a, d) == exactly(0.1)
    a, d = cells(true_negatives=80, false_negatives=20), cells(true_negatives=40, false_negatives=10)
    assert predictions.difference_in_rejection_rates(a, d) == exactly(0)
    a, d = cells(true_positives=70, false_negatives=30), cells(true_positives=50, false_negatives=50)
    assert predictions.accuracy_difference(a, d) == exactly(0.2)
    women = np.r_[np.ones(46), np.zeros(54), np.ones(32), np.zeros(68)].astype(bool)
    accepted = np.r_[np.zeros(100), np.ones(100)].astype(bool)
    assert labels.demographic_disparity(accepted, women, np.ones(200)) == exactly(0.14)


def cells(**counts: int) -> Confusion:
    return Confusion(**{name: counts.get(name, 0) for name in Confusion._fields})


def accepting(*, favourable: int, accepted: int) -> Confusion:
    """Return a group with so many favourable labels and predictions."""
    right = min(favourable, accepted)
    return cells(true_positives=right, false_negatives=favourable - right, false_positives=accepted - right)


def rejecting(*, unfavourable: int, rejected: int) -> Confusion:
    """Return a group with so many unfavourable labels and predictions."""
    right = min(unfavourable, rejected)
    return cells(true_negatives=right, false_positives=unfavourable - right, false_negatives=rejected - right)

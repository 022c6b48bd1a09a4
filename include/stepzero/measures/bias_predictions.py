"""Bias after training: how a model treats two groups of rows.

Groups and labels are those of `bias_labels`; a group's rows are counted as a `Confusion` whose positive class is the
*favourable* label. Formulas are those of Amazon SageMaker Clarify's documentation ("Measure Post-training Data and
Model Bias"). Ratios follow `ratio` and `difference`: 0 / 0 is 0, x / 0 infinite, equal infinities differ by 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stepzero.core.errors import InputError, bare
from stepzero.measures.bias_labels import difference, ratio
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.decisions import Confusion

NEIGHBOURS, FEW_ROWS = 5, 9
"""Neighbours of the flip test; one where the favoured are so few or fewer."""


def difference_in_predicted_proportions(a: Confusion, d: Confusion) -> float:
    """Return DPPL = n'_a(1) / n_a - n'_d(1) / n_d, in [-1, 1]; positive where a is favoured."""
    return difference(_accepted_share(a), _accepted_share(d))


def disparate_impact(a: Confusion, d: Confusion) -> float:
    """Return DI = (n'_d(1) / n_d) / (n'_a(1) / n_a), in [0, ∞]; below 1 where a is favoured.

    The four-fifths rule of the US Uniform Guidelines on Employee Selection Procedures (1978) asks for 0.8.
    """
    return ratio(_accepted_share(d), _accepted_share(a))


def difference_in_conditional_acceptance(a: Confusion, d: Confusion) -> float:
    """Return DCA = n_a(1) / n'_a(1) - n_d(1) / n'_d(1), in [-∞, ∞]; positive is against d."""
    shares = (ratio(_favourable(one), _accepted(one)) for one in (a, d))
    return difference(*shares)


def difference_in_conditional_rejection(a: Confusion, d: Confusion) -> float:
    """Return DCR = n_d(0) / n'_d(0) - n_a(0) / n'_a(0), in [-∞, ∞]: d minus a."""
    shares = (ratio(_unfavourable(one), _rejected(one)) for one in (d, a))
    return difference(*shares)


def specificity_difference(a: Confusion, d: Confusion) -> float:
    """Return SD = TN_d / (TN_d + FP_d) - TN_a / (TN_a + FP_a), in [-1, 1]: d minus a."""
    shares = (ratio(one.true_negatives, _unfavourable(one)) for one in (d, a))
    return difference(*shares)


def recall_difference(a: Confusion, d: Confusion) -> float:
    """Return RD = TP_a / (TP_a + FN_a) - TP_d / (TP_d + FN_d), in [-1, 1]; positive is against d."""
    shares = (ratio(one.true_positives, _favourable(one)) for one in (a, d))
    return difference(*shares)


def difference_in_acceptance_rates(a: Confusion, d: Confusion) -> float:
    """Return DAR = TP_a / (TP_a + FP_a) - TP_d / (TP_d + FP_d), in [-1, 1]: a difference of precisions."""
    shares = (ratio(one.true_positives, _accepted(one)) for one in (a, d))
    return difference(*shares)


def difference_in_rejection_rates(a: Confusion, d: Confusion) -> float:
    """Return DRR = TN_d / (TN_d + FN_d) - TN_a / (TN_a + FN_a), in [-1, 1]: d minus a."""
    shares = (ratio(one.true_negatives, _rejected(one)) for one in (d, a))
    return difference(*shares)


def accuracy_difference(a: Confusion, d: Confusion) -> float:
    """Return AD = ACC_a - ACC_d, in [-1, 1]; positive where the model is right about a more often."""
    shares = (ratio(one.true_positives + one.true_negatives, sum(one)) for one in (a, d))
    return difference(*shares)


def treatment_equality(a: Confusion, d: Confusion) -> float:
    """Return TE = FN_d / FP_d - FN_a / FP_a, in [-∞, ∞]: d minus a."""
    shares = (ratio(one.false_negatives, one.false_positives) for one in (d, a))
    return difference(*shares)


def flip_test(features: pd.DataFrame, predicted: Booleans, disfavoured: Booleans, weight: Floats) -> float:
    """Return FT = (F⁺ - F⁻) / n_d, in [-1, 1], of the disfavoured whose favoured neighbours are treated otherwise.

    Black, Yeom and Fredrikson, "FlipTest", 2020, approximated by neighbours: F⁺ counts disfavoured rows with a
    favourable prediction whose 5 nearest favoured rows mostly have an unfavourable one (1 neighbour where there are 9
    favoured rows or fewer), F⁻ the opposite. So positive means that d does better than alike rows of a. That is what
    the reference implementation counts; its documentation has the words the other way round. Distances are Euclidean
    over the numeric columns as they are, not scaled.

    Raises:
        InputError: There is no numeric column, or one misses values.
    """
    from sklearn.neighbors import KNeighborsClassifier

    numbers = _numeric(features)
    neighbours = NEIGHBOURS if int((~disfavoured).sum()) > FEW_ROWS else 1
    nearest = KNeighborsClassifier(n_neighbors=neighbours).fit(numbers[~disfavoured], predicted[~disfavoured])
    expected = nearest.predict(numbers[disfavoured]).astype(np.int64)
    flips = predicted[disfavoured].astype(np.int64) - expected
    weights = weight[disfavoured]
    return ratio(float((flips * weights).sum()), float(weights.sum()))


def generalized_entropy(favourable: Booleans, predicted: Booleans, weight: Floats) -> float:
    """Return GE = 1 / (n α (α - 1)) Σ [(b_i / b̄)^α - 1], α = 2, with the benefit b = y' - y + 1; over all rows.

    Speicher et al., "A Unified Approach to Quantifying Algorithmic Unfairness", 2018. 0 where all rows benefit alike.

    Raises:
        InputError: Every favourable row is rejected and there is no other: nobody benefits.
    """
    benefit = predicted.astype(np.float64) - favourable + 1
    mean = ratio(float((weight * benefit).sum()), float(weight.sum()))
    if mean == 0:
        raise InputError(
            "Generalized entropy is undefined",
            value=bare("all rows are false negatives"),
            allowed="at least one row that is no false negative",
            action="look at the model: it rejects everybody",
        )
    return float((weight * ((benefit / mean) ** 2 - 1)).sum() / weight.sum() / 2)


def _numeric(features: pd.DataFrame) -> Floats:
    numbers = features.select_dtypes(["number", "bool"])
    if numbers.shape[1] == 0:
        raise InputError(
            "Flip test without a numeric column",
            value=bare(f"columns {', '.join(map(str, features.columns)) or 'none'}"),
            allowed="at least one column of numbers besides facet and label",
            action="encode the columns in prepare",
        )
    matrix = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(matrix).all():
        missing = [
            str(name) for name, bad in zip(numbers.columns, (~np.isfinite(matrix)).any(axis=0), strict=True) if bad
        ]
        raise InputError(
            "Flip test with missing numbers",
            value=bare(f"columns {', '.join(missing)}"),
            allowed="a finite number in every row",
            action="fill them in with prepare.derive",
        )
    return matrix


def _favourable(one: Confusion) -> float:
    return float(one.true_positives + one.false_negatives)


def _unfavourable(one: Confusion) -> float:
    return float(one.true_negatives + one.false_positives)


def _accepted(one: Confusion) -> float:
    return float(one.true_positives + one.false_positives)


def _rejected(one: Confusion) -> float:
    return float(one.true_negatives + one.false_negatives)


def _accepted_share(one: Confusion) -> float:
    return ratio(_accepted(one), float(sum(one)))

"""Mitigation on prepared rows: who the disfavoured are, and thresholds by which groups are decided on alike."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stepzero.learning.bias import find_column, find_groups, is_favourable
from stepzero.learning.group_thresholds import GroupThresholds
from stepzero.learning.table import type_of
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.mitigation import matching_threshold
from stepzero.spec.bias import Bias, Mitigate
from stepzero.spec.data import Problem


def disfavoured_rows(frame: pd.DataFrame, bias: Bias) -> Booleans:
    """Return which rows belong to the first value of the facet that is mitigated for.

    Raises:
        InputError: Its column is missing.
    """
    facet = _declared(bias).facet
    return next(group.disfavoured for group in find_groups(frame, bias) if group.facet == facet)


def choose_group_thresholds(
    train: pd.DataFrame, score: Floats, threshold: float, problem: Problem, bias: Bias
) -> GroupThresholds:
    """Return the thresholds at which both groups are decided on as often as all are at the one for all.

    Args:
        train: Training rows.
        score: Their out-of-fold scores.
        threshold: The one for all, which says how often.
        problem: What is predicted.
        bias: Whom to look at; `equalise` says which rows count: all, or those that deserve the favourable outcome.

    Raises:
        InputError: A group has no row that counts.
    """
    declared, disfavoured = _declared(bias), disfavoured_rows(train, bias)
    counted = np.ones(len(train), dtype=bool)
    if declared.equalise == "recall":
        counted = is_favourable(train[problem.target], bias.favourable)
    share = float((score[counted] >= threshold).mean())
    facet, column = bias.facets[declared.facet], find_column(train, declared.facet, "bias.mitigate.facet")
    first = facet.values[0] if facet.values else ()
    return GroupThresholds(
        column=declared.facet,
        kind=type_of(column.dtype),
        values=first if isinstance(first, tuple) else (first,),
        above=facet.above[0] if facet.above else None,
        disfavoured=matching_threshold(score[counted & disfavoured], share),
        favoured=matching_threshold(score[counted & ~disfavoured], share),
    )


def _declared(bias: Bias) -> Mitigate:
    if bias.mitigate is None:
        msg = "mitigation is declared wherever it is done"
        raise AssertionError(msg)
    return bias.mitigate

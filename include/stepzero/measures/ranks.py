"""Whether features keep their order of importance: rank correlation, and discounted gain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Floats


def rank_correlation(before: npt.ArrayLike, now: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation, 1 for the same order (Spearman 1904); 1 as well where nothing differs.

    Raises:
        InputError: Fewer than two features, or not one value a feature.
    """
    old, new = _checked(before, now)
    if np.ptp(old) == 0 or np.ptp(new) == 0:
        return 1.0 if np.ptp(old) == np.ptp(new) else 0.0
    return float(stats.spearmanr(old, new).statistic)


def discounted_gain(before: npt.ArrayLike, now: npt.ArrayLike) -> float:
    """Return the normalised discounted cumulative gain of the new order, with the old importances as gains.

    Järvelin and Kekäläinen, ACM Transactions on Information Systems 20 (2002), discount log2(place + 1); 1 for the
    same order. SageMaker Clarify watches attributions by it.

    Raises:
        InputError: Fewer than two features, or not one value a feature.
    """
    old, new = _checked(before, now)
    discount = 1 / np.log2(np.arange(len(old)) + 2)
    best = float((np.sort(old)[::-1] * discount).sum())
    if best <= 0:
        return 1.0
    return float((old[np.argsort(-new, kind="stable")] * discount).sum() / best)


def _checked(before: npt.ArrayLike, now: npt.ArrayLike) -> tuple[Floats, Floats]:
    old, new = np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 1 or len(old) < 2 or not np.isfinite([*old, *new]).all():
        raise InputError(
            "importances to compare",
            value=bare(f"shapes {old.shape} and {new.shape}"),
            allowed="one finite number a feature, at least two features, the same ones",
            action="compare attributions of the same model",
        )
    return old, new

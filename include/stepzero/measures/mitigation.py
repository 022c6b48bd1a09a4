"""Ways to make a group of rows count as much as the others, before training or at the decision.

None of them makes a model fair: what each does to every metric is measured, and shown beside what was before.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Booleans, Floats, Integers


def reweighing(favourable: Booleans, disfavoured: Booleans) -> Floats:
    """Return weights under which label and group are independent: w(g, y) = P(g) P(y) / P(g, y); their mean is 1.

    Kamiran and Calders, "Data preprocessing techniques for classification without discrimination", 2012.

    Raises:
        InputError: A group has no row, or one of its labels has none: no weight can make up for that.
    """
    rows = len(favourable)
    weight = np.ones(rows)
    for group in (False, True):
        for label in (False, True):
            cell = (disfavoured == group) & (favourable == label)
            if not cell.any():
                raise _empty(group=group, label=label)
            expected = float((disfavoured == group).sum()) * float((favourable == label).sum()) / rows
            weight[cell] = expected / float(cell.sum())
    return weight


def oversampling(disfavoured: Booleans, seed: int) -> Integers:
    """Return how often each row counts so that both groups are equally many: rows of the smaller are repeated.

    All are repeated equally often; which get one more is drawn. Whole rows are repeated, none is made up, so that
    what belongs together in a row (one-hot flags, the label) stays together.

    Raises:
        InputError: A group has no row.
    """
    parts = [np.flatnonzero(disfavoured == group) for group in (False, True)]
    small, large = sorted(parts, key=len)
    if len(small) == 0:
        raise _empty(group=bool(disfavoured.sum() == 0), label=None)
    copies = np.ones(len(disfavoured), dtype=np.int64)
    times, more = divmod(len(large), len(small))
    copies[small] = times
    copies[np.random.default_rng(seed).permutation(small)[:more]] += 1
    return copies


def matching_threshold(score: npt.ArrayLike, share: float) -> float:
    """Return the threshold at which the share of scores at or above it is nearest to a wanted one.

    The line lies half-way between two neighbouring scores; of two lines equally near, the higher is taken.

    Raises:
        InputError: There is no score.
    """
    ordered = np.unique(np.asarray(score, dtype=np.float64))
    if len(ordered) == 0:
        raise InputError(
            "scores of a group",
            value=bare("none"),
            allowed="at least one row of each group",
            action="leave the facet out, or land more rows",
        )
    lines = np.r_[ordered[0], ordered[:-1] + np.diff(ordered) / 2, np.nextafter(ordered[-1], np.inf)]
    accepted = np.array([(np.asarray(score) >= line).mean() for line in lines])
    nearest = np.abs(accepted - share)
    return float(lines[np.flatnonzero(nearest == nearest.min())[-1]])


def _empty(*, group: bool, label: bool | None) -> InputError:
    who = "disfavoured" if group else "favoured"
    what = "" if label is None else f" with the {'' if label else 'un'}favourable label"
    return InputError(
        f"rows of the {who} group{what}",
        value=bare("none"),
        allowed="at least one",
        action="name another facet in bias.mitigate, or land more rows",
    )

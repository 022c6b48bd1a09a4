"""Leak sentinels: checks on every run that nothing of the held-out rows reached the training.

Each returns a `Finding`; together they say whether the figures on untouched rows can be believed. A check that could
not be made is an alarm, and says that it was not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from stepzero.core.verdict import Reason
from stepzero.learning.folds import Fold, training_positions
from stepzero.learning.table import Table
from stepzero.learning.transform import Transformer
from stepzero.measures.ranking import roc_auc

ALARM = 1e-5
"""Chance of an alarm without a leak that is accepted."""
SIGMAS = 4.5
"""Two-sided distance from chance for that."""
SECONDS_PER_DAY = 86_400
SHUFFLED_ROWS, SHUFFLED_POSITIVES = 6_000, 100
"""Rows that the shuffled-label check is made on at most, or more where so many positives need them."""
ALONE = "what the fold's own training rows give"

MakeFold = Callable[[str, Table], Fold]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one sentinel saw."""

    name: str
    passed: bool
    observed: str
    bound: str

    def named(self, name: str) -> Finding:
        """Return the finding under another name."""
        return replace(self, name=name)

    def reason(self) -> Reason:
        """Return the finding as a reason of a verdict."""
        return Reason(rule=f"sentinel {self.name}", column=None, observed=self.observed, bound=self.bound)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


def check_prevalence(train: Table, test: Table) -> Finding:
    """Check that the held-out rows have the training rows' share of positives: that nobody resampled them.

    Where rows are split (not entities), a row's side is chance, so the count of positives among the held-out
    rows is hypergeometric.
    """
    from scipy.stats import hypergeom

    held, rows = len(test.target), len(train.target) + len(test.target)
    positives, all_positives = int(test.target.sum()), int(test.target.sum() + train.target.sum())
    low, high = (int(bound) for bound in hypergeom.ppf([ALARM / 2, 1 - ALARM / 2], rows, all_positives, held))
    return Finding(
        name="prevalence",
        passed=low <= positives <= high,
        observed=f"{positives} positives among {held} held-out rows",
        bound=f"{low} to {high}, as chance would have it",
    )


def check_mean(train: Table, test: Table) -> Finding:
    """Check that the held-out rows have the training rows' mean target: `check_prevalence` for numbers.

    A row's side is chance, so the mean of the held-out rows is that of a sample without replacement, whose spread
    is Cochran's (Sampling Techniques, 1977, section 2.5); near normal from some hundred rows on.
    """
    everything = np.concatenate([train.target, test.target])
    rows, held = len(everything), len(test.target)
    spread = float(np.sqrt(everything.var(ddof=1) / held * (1 - held / rows)))
    middle, room = float(everything.mean()), SIGMAS * spread
    found = float(test.target.mean())
    return Finding(
        name="target mean",
        passed=abs(found - middle) <= room,
        observed=f"{found:.4g} of {held} held-out rows",
        bound=f"{middle - room:.4g} to {middle + room:.4g}, as chance would have it",
    )


def check_counts(test: Table, expected: dict[str, int] | None) -> Finding:
    """Check that the held-out rows are as many, of each class, as preparation counted.

    Args:
        test: Held-out rows.
        expected: ``positive`` and ``rows``, or ``rows`` alone, as they were counted before; None: nobody counted.
    """
    if expected is None:
        why = "the stage that held rows out did not count them"
        return _not_evaluated("held-out counts", why, "a count of held-out rows that was made when they were written")
    counted = {"rows": len(test.target)}
    if not test.is_regression:
        counted = {"positive": int(test.target.sum()), **counted}
    seen = {name: counted[name] for name in counted if name in expected}
    return Finding(name="held-out counts", passed=seen == expected, observed=str(seen), bound=str(expected))


def check_rows(train: Table, test: Table, scored: Sequence[pd.DataFrame]) -> Finding:
    """Check that no row is on both sides, and that out-of-fold rows are the training rows, none made up.

    Equal rows have equal ids; where duplicates are kept they lie on one side together.

    Args:
        train: Training rows.
        test: Held-out rows.
        scored: Out-of-fold scores of every cell.
    """
    known = set(train.row_ids)
    shared = known & set(test.row_ids)
    strange = sum(_strange_rows(frame, train) for frame in scored)
    return Finding(
        name="row ids",
        passed=not shared and not strange,
        observed=f"{len(shared)} rows on both sides, {strange} out of place among out-of-fold rows",
        bound="0",
    )


def check_entities(train: Table, test: Table) -> Finding:
    """Check that nobody's rows are on both sides: held out and trained on, or judging a fold and training it."""
    if train.entity is None or test.entity is None:
        return Finding(
            name="entities", passed=False, observed="rows without their entity", bound="_split_entity in every row"
        )
    shared = len(np.intersect1d(train.entity, test.entity))
    in_folds = sum(
        len(np.intersect1d(train.entity[train.training(fold)], train.entity[train.validation(fold)]))
        for fold in train.folds
    )
    return Finding(
        name="entities",
        passed=not shared and not in_folds,
        observed=f"{shared} entities held out and trained on, {in_folds} on both sides of a fold",
        bound="0",
    )


def check_time(train: Table, test: Table, *, gap_days: float) -> Finding:
    """Check that whatever is learned is older, by the gap, than what it is judged on: held-out rows and every fold."""
    if train.time is None or test.time is None:
        return Finding(name="time", passed=False, observed="rows without their time", bound="_split_time in every row")
    gap = gap_days * SECONDS_PER_DAY
    ahead = int((train.time >= test.time.min() - gap).sum())
    in_folds = sum(
        int((train.time[train.training(fold)] >= train.time[train.validation(fold)].min() - gap).sum())
        for fold in train.folds
    )
    return Finding(
        name="time",
        passed=not ahead and not in_folds,
        observed=f"{ahead} training rows nearer than {gap_days:g} days to held-out ones, {in_folds} in folds",
        bound="0",
    )


def training_alone(train: Table, name: str) -> Table:
    """Return the rows that train a fold in a table of their own: whoever works on it cannot see any other row."""
    return train.rows(training_positions(name, train))


def check_fold(fold: Fold, train: Table, made: Fold) -> Finding:
    """Check that a stored fold holds nothing of its validation rows, nor of their future, nor of held-out rows.

    Its rows must be its training rows, its transformer must be what those rows alone teach, and its synthetic
    rows must come out again, to the last bit, from those rows alone.

    Args:
        fold: As it was stored; ``all``, which the served model is fitted on, too.
        train: All training rows.
        made: The fold ``all`` of `training_alone`, made again.
    """
    stored, again, outside = fold.resampled, made.resampled, training_positions(fold.name, train)
    wrong = int((~np.isin(stored.source[stored.source >= 0], outside)).sum())
    moved = np.where(again.source >= 0, outside[np.maximum(again.source, 0)], again.source)
    same_rows = (
        np.array_equal(moved, stored.source)
        and np.array_equal(again.synthetic, stored.synthetic)
        and np.array_equal(again.synthetic_target, stored.synthetic_target)
    )
    same_state = _learned(made.transformer) == _learned(fold.transformer)
    return Finding(
        name=f"fold {fold.name}",
        passed=not wrong and same_rows and same_state,
        observed=(
            f"{wrong} foreign rows in training, transformer {_same(same_state)}, resampled rows {_same(same_rows)}"
        ),
        bound=ALONE,
    )


def check_folds(checked: Sequence[Finding]) -> Finding:
    """Return what was seen of all folds of a sampler as one finding, which names those that are wrong."""
    wrong = [f"{one.name}: {one.observed}" for one in checked if not one.passed]
    told = "; ".join(wrong) or f"{len(checked)} of {len(checked)} folds made again, each the same to the last bit"
    return Finding(name="folds", passed=not wrong, observed=told, bound=ALONE)


def check_shuffled(train: Table, make: MakeFold, *, seed: int) -> Finding:
    """Check that the whole procedure finds nothing where there is nothing to find.

    Labels are drawn anew (a fifth positive, so that chance has narrow bounds), rows are transformed, resampled
    and learned by heart (a full-grown tree), and the validation rows of one fold are scored: the ROC AUC must
    be chance, whose spread is Mann and Whitney's. Where the sampler cannot work on so many positives, fewer are
    drawn, down to the real share. What could not be evaluated has not passed, unless the sampler fails on the
    real labels, too: then nothing is learned from its rows.
    """
    if train.is_regression:
        return _check_shuffled_numbers(train, make, seed)
    failed: Exception | None = None
    for small in _shuffled(train, seed):
        try:
            fold = make(str(small.folds[0]), small)
        except Exception as error:  # noqa: BLE001 - a sampler of somebody's own may raise anything
            failed = error
        else:
            return _learned_by_heart(fold, small, seed)
    return _failed_when_shuffled(train, make, failed)


def _learned_by_heart(fold: Fold, small: Table, seed: int) -> Finding:
    from sklearn.tree import DecisionTreeClassifier

    target = small.target[fold.validation(small)]
    positives, negatives = int(target.sum()), int(len(target) - target.sum())
    pairs = positives * negatives
    room = SIGMAS * float(np.sqrt((positives + negatives + 1) / (12 * pairs))) if pairs else np.inf
    if room >= 0.5:
        why = f"with {positives} positives among {len(target)} rows that judge a fold, chance may give any ROC AUC"
        return _not_evaluated("shuffled labels", why, "more rows in a fold, or fewer folds")
    rows = fold.training_rows(small)
    tree = DecisionTreeClassifier(random_state=seed).fit(rows.features, rows.target)
    found = roc_auc(target, tree.predict_proba(fold.validation_features(small))[:, 1])
    usual = int(small.target.sum()) == len(small.target) // 5
    return Finding(
        name="shuffled labels",
        passed=abs(found - 0.5) <= room,
        observed=f"ROC AUC {found:.3f}" if usual else f"with {small.target.mean():.2%} positives, ROC AUC {found:.3f}",
        bound=f"{0.5 - room:.3f} to {0.5 + room:.3f}",
    )


def _failed_when_shuffled(train: Table, make: MakeFold, failed: Exception | None) -> Finding:
    """Say what it means that no shuffled labels could be resampled: on the real ones the same sampler is tried."""
    try:
        make(str(train.folds[0]), train)
    except Exception as error:  # noqa: BLE001 - likewise
        told = f"nothing is learned: the sampler fails on the real labels, too: {type(error).__name__}: {error}"
        return Finding(name="shuffled labels", passed=True, observed=told, bound="chance")
    why = f"the sampler works on the real labels, and fails on shuffled ones: {type(failed).__name__}: {failed}"
    return _not_evaluated("shuffled labels", why, "a sampler that works whichever rows are positive")


def _not_evaluated(name: str, why: str, bound: str) -> Finding:
    """Return an alarm: whoever did not look has not seen that all is well."""
    return Finding(name=name, passed=False, observed=f"not evaluated: {why}", bound=bound)


def _check_shuffled_numbers(train: Table, make: MakeFold, seed: int) -> Finding:
    """Check with the target's own numbers, given to other rows: predictions must not go with them.

    Without a leak their correlation is chance, with a spread of 1 / √(n - 1).
    """
    from sklearn.tree import DecisionTreeRegressor

    generator = np.random.default_rng(seed)
    small = train.rows(np.sort(generator.permutation(len(train.target))[:SHUFFLED_ROWS]))
    small = small.replaced(target=generator.permutation(small.target), weight=np.ones(len(small.target)))
    fold = make(str(small.folds[0]), small)
    judged = fold.validation(small)
    room = SIGMAS / float(np.sqrt(max(len(judged) - 1, 1)))
    if room >= 1:
        why = f"with {len(judged)} rows that judge a fold, chance may give any correlation"
        return _not_evaluated("shuffled target", why, "more rows in a fold, or fewer folds")
    rows = fold.training_rows(small)
    tree = DecisionTreeRegressor(random_state=seed).fit(rows.features, rows.target)
    target, predicted = small.target[judged], tree.predict(fold.validation_features(small))
    found = float(np.corrcoef(target, predicted)[0, 1])
    return Finding(
        name="shuffled target",
        # Predictions that are all alike go with nothing.
        passed=not np.isfinite(found) or abs(found) <= room,
        observed=f"correlation {found:.3f}",
        bound=f"{-room:.3f} to {room:.3f}",
    )


def _strange_rows(scored: pd.DataFrame, train: Table) -> int:
    """Count rows that are not the training rows in their order, each scored once by its own fold."""
    if len(scored) != len(train.row_ids):
        return abs(len(scored) - len(train.row_ids))
    other = scored["_row_id"].to_numpy(dtype=str) != train.row_ids
    return int((other | (scored["fold"].to_numpy() != train.fold)).sum())


def _shuffled(train: Table, seed: int) -> Iterator[Table]:
    """Yield rows with labels drawn anew: a fifth of them positive, then fewer and fewer, at last the real share."""
    real, shares = Fraction(int(train.target.sum()), len(train.target)), [Fraction(1, 5)]
    while shares[-1] / 2 > real:
        shares.append(shares[-1] / 2)
    for share in dict.fromkeys([*shares, real]):
        size = min(len(train.target), max(SHUFFLED_ROWS, ceil(SHUFFLED_POSITIVES / share)))
        generator = np.random.default_rng(seed)
        rows = np.sort(generator.permutation(len(train.target))[:size])
        target = np.zeros(size, dtype=np.int64)
        target[generator.permutation(size)[: int(size * share)]] = 1
        yield train.rows(rows).replaced(target=target, weight=np.ones(size))


def _learned(transformer: Transformer) -> dict[str, Any]:
    return {name: value for name, value in transformer.to_state().items() if name != "declared"}


def _same(same: bool) -> str:
    return "the same" if same else "another"

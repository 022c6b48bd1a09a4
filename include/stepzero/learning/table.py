"""Prepared rows as the learning part sees them: raw features, target, weights, folds, row ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare
from stepzero.learning.columns import COPIES, ENTITY, FIRST, FIT_WEIGHT, FOLD, GROUP, ROW_ID, TIME
from stepzero.learning.transform import feature_columns
from stepzero.measures.checks import Floats, Integers
from stepzero.measures.weights import base_rate_weights
from stepzero.spec.data import Problem, Weight

_BESIDE: dict[str, tuple[str, Any]] = {
    "fold": (FOLD, np.int64),
    "first": (FIRST, np.int64),
    "group": (GROUP, np.int64),
    "time": (TIME, np.float64),
    "entity": (ENTITY, str),
    "fit_weight": (FIT_WEIGHT, np.float64),
    "copies": (COPIES, np.int64),
}
_KINDS = {"i": "bigint", "u": "bigint", "f": "double", "b": "boolean", "M": "timestamp"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one side of the split, in the order of the dataset."""

    row_ids: npt.NDArray[Any]
    features: pd.DataFrame
    target: npt.NDArray[Any]
    """0 and 1 of a classification; of a regression the numbers themselves."""
    weight: Floats
    kind: Literal["classification", "regression"] = "classification"
    fold: Integers | None = None
    """Which fold a training row is judged by; -1: none, as the oldest rows where folds go forward in time."""
    first: Integers | None = None
    """The first fold that a row may train, where folds go forward in time."""
    group: Integers | None = None
    """The one fold that a row must not train; -1: none. Without it, the fold that it is judged by."""
    time: Floats | None = None
    """Seconds, where rows are split by time."""
    entity: npt.NDArray[Any] | None = None
    """Whose row it is, where entities are kept apart."""
    fit_weight: Floats | None = None
    """How much rows count in fits besides `weight`; metrics do without."""
    copies: Integers | None = None
    """How often rows are there in fits; validation rows are there once."""

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number, and not a class."""
        return self.kind == "regression"

    @property
    def strata(self) -> Integers:
        """Return what draws of rows keep the shares of: the classes; of a regression nothing."""
        return np.zeros(len(self.target), dtype=np.int64) if self.is_regression else self.target

    @property
    def weight_in_fits(self) -> Floats:
        """Return how much rows count in fits."""
        return self.weight if self.fit_weight is None else self.weight * self.fit_weight

    @property
    def folds(self) -> list[int]:
        """Return the numbers of the folds."""
        return [] if self.fold is None else [int(number) for number in np.unique(self.fold) if number >= 0]

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Return which training rows have out-of-fold scores: all, unless folds go forward in time."""
        return np.ones(len(self.target), dtype=bool) if self.fold is None else self.fold >= 0

    def training(self, fold: int) -> Integers:
        """Return the positions of the rows that train a fold."""
        outside = np.asarray(self.fold if self.group is None else self.group) != fold
        return np.flatnonzero(outside if self.first is None else outside & (self.first <= fold))

    def validation(self, fold: int) -> Integers:
        """Return the positions of the rows that judge a fold."""
        return np.flatnonzero(self.fold == fold)

    def feature_types(self) -> dict[str, str]:
        """Return the raw features with their types, in order."""
        return {str(name): type_of(kind) for name, kind in self.features.dtypes.items()}

    def rows(self, chosen: npt.NDArray[Any]) -> Table:
        """Return the table of some rows, by their positions."""
        taken = {name: value[chosen] for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        return self.replaced(**taken, features=self.features.iloc[chosen].reset_index(drop=True))

    def replaced(self, **changes: Any) -> Table:
        """Return a table with some parts replaced."""
        return Table(**{**self.__dict__, **changes})


def make_table(frame: pd.DataFrame, problem: Problem, weight: Weight | None) -> Table:
    """Make a table of prepared rows.

    Raises:
        InputError: A needed column is missing, only one class is there, or a number is missing or always the same.
    """
    column = weight.column if weight else None
    for name in [ROW_ID, problem.target, *([column] if column else [])]:
        _require(frame, name)
    numbers = problem.kind == "regression"
    target: npt.NDArray[Any] = _numbers(frame, problem) if numbers else _target(frame, problem)
    names = feature_columns([str(name) for name in frame.columns], problem.target, column)
    return Table(
        row_ids=frame[ROW_ID].to_numpy(dtype=str),
        features=frame[names].reset_index(drop=True),
        target=target,
        weight=_weights(frame, target, weight),
        kind=problem.kind,
        **{name: frame[column].to_numpy(dtype=kind) for name, (column, kind) in _BESIDE.items() if column in frame},
    )


def training_weight(frame: pd.DataFrame) -> Floats:
    """Return how much prepared rows count in fits: 1, unless mitigation said otherwise."""
    weight = np.ones(len(frame))
    for name in (FIT_WEIGHT, COPIES):
        if name in frame:
            weight = weight * frame[name].to_numpy(dtype=np.float64)
    return weight


def _target(frame: pd.DataFrame, problem: Problem) -> Integers:
    values = frame[problem.target]
    target = np.asarray(values == problem.positive).astype(np.int64)
    if values.isna().any() or target.min(initial=1) == target.max(initial=0):
        counts = {str(value): int(count) for value, count in values.value_counts(dropna=False).items()}
        raise InputError(
            f"target {problem.target}",
            value=bare(f"{len(frame)} rows with counts {counts}"),
            allowed=f"rows of the positive class {problem.positive!r} and of another, none missing",
            action="check problem.positive, or land a batch with both classes",
        )
    return target


def _numbers(frame: pd.DataFrame, problem: Problem) -> Floats:
    values = pd.to_numeric(frame[problem.target], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all() or values.min() == values.max():
        missing = int((~np.isfinite(values)).sum())
        raise InputError(
            f"target {problem.target}",
            value=bare(f"{len(values)} rows, {missing} without a number, {len(np.unique(values))} different values"),
            allowed="a number in every row, and at least two different ones",
            action="check problem.target, or land other rows",
        )
    return values


def _weights(frame: pd.DataFrame, target: npt.NDArray[Any], weight: Weight | None) -> Floats:
    if weight and weight.base_rate:
        return base_rate_weights(target, weight.base_rate)
    if weight and weight.column:
        return frame[weight.column].to_numpy(dtype=np.float64)
    return np.ones(len(target))


def _require(frame: pd.DataFrame, name: str) -> None:
    if name not in frame.columns:
        raise InputError(
            f"prepared column {name}",
            value=bare("missing"),
            allowed=", ".join(str(column) for column in frame.columns),
            action="keep the column in the prepare section",
        )


def type_of(kind: Any) -> str:
    """Return our name of a column's type."""
    if kind == np.int32:
        return "int"
    return _KINDS.get(getattr(kind, "kind", "O"), "string")


def entities_of(frame: pd.DataFrame) -> npt.NDArray[Any] | None:
    """Return whose row each prepared row is; None where entities are not kept apart."""
    return frame[ENTITY].to_numpy(dtype=str) if ENTITY in frame else None

"""The `pipeline` section as a scikit-learn transformer: what learns from data and travels in the model.

Its state is plain numbers and words (`to_state`), so that it is stored as JSON and never unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Booleans, Floats
from stepzero.measures.outliers import iqr_bounds, is_outside
from stepzero.spec.data import Pipeline

_NEARLY_ZERO = 10 * np.finfo(np.float64).eps

Columns = dict[str, tuple[str, ...]]


class Transformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Impute, scale and encode: a frame of raw features in, a matrix of numbers out.

    Columns keep their order; a column with a vocabulary becomes one column for each of its words.
    Values outside a vocabulary become all zeros (`count_unseen` counts them).

    Args:
        scale: Kind (``robust``, ``standard``, ``min_max``) → columns.
        impute: Kind (``median``, ``mean``, ``most_frequent``) → columns; done before scaling.
        one_hot: Column → declared vocabulary.
        outliers: Kind (``iqr``) → columns; used by `keep_rows` only, never in `transform`.
    """

    def __init__(
        self,
        scale: Columns | None = None,
        impute: Columns | None = None,
        one_hot: Columns | None = None,
        outliers: Columns | None = None,
    ) -> None:
        self.scale, self.impute, self.one_hot, self.outliers = scale, impute, one_hot, outliers

    @classmethod
    def from_spec(cls, pipeline: Pipeline) -> Transformer:
        """Return an unfitted transformer for a `pipeline` section."""
        return cls(**pipeline.model_dump())

    def fit(self, features: pd.DataFrame, target: object = None) -> Transformer:  # noqa: ARG002 - the protocol's shape
        """Learn what to fill in, where the middle is and how wide the columns are.

        Raises:
            InputError: A column holds words but has no vocabulary, or a declared column is missing.
        """
        self._check_known(features)
        self.columns_ = [str(name) for name in features.columns]
        self.fill_words_ = self._learn_words(features)
        numbers = _numbers(features[self._numeric()])
        self.fill_ = np.array([self._learn_fill(name, numbers[:, i]) for i, name in enumerate(self._numeric())])
        filled = self._filled(numbers)
        learned = [self._learn_scale(name, filled[:, i]) for i, name in enumerate(self._numeric())]
        self.centre_ = np.array([centre for centre, _ in learned])
        self.width_ = np.array([width for _, width in learned])
        return self

    def transform(self, features: pd.DataFrame) -> Floats:
        """Return the matrix that models are fitted on and score.

        Raises:
            InputError: A column is missing or does not hold numbers.
        """
        check_is_fitted(self, "columns_")
        missing = [name for name in self.columns_ if name not in features.columns]
        if missing:
            raise InputError(
                "columns of a frame to transform",
                value=bare(f"no {', '.join(missing)}"),
                allowed=f"the columns that the model was fitted on: {', '.join(self.columns_)}",
                action="hand in every column by its name",
            )
        numeric = self._numeric()
        numbers = self.transform_numbers(_numbers(features[numeric]))
        if not self.one_hot:
            return numbers
        at = {name: i for i, name in enumerate(numeric)}
        parts = [numbers[:, [at[name]]] if name in at else self._encoded(name, features) for name in self.columns_]
        return np.hstack(parts) if parts else numbers

    def transform_numbers(self, numbers: Floats) -> Floats:
        """Return what `transform` makes of the numeric columns, given as a matrix in their order."""
        # In one order of memory: sums of linear models differ in the last bit otherwise.
        return np.ascontiguousarray((self._filled(numbers) - self.centre_) / self.width_)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[Any]:  # noqa: ARG002
        """Return the names of the matrix's columns."""
        names: list[str] = []
        for name in self.columns_:
            names += [f"{name}={word}" for word in self._vocabulary(name)] or [name]
        return np.array(names, dtype=object)

    def count_unseen(self, features: pd.DataFrame) -> dict[str, int]:
        """Return how many values of each encoded column lie outside its vocabulary, nulls included."""
        return {name: int((~_words(features[name]).isin(words)).sum()) for name, words in (self.one_hot or {}).items()}

    def keep_rows(self, features: pd.DataFrame, target: npt.ArrayLike) -> Booleans:
        """Return which training rows stay when outliers of the positive class are removed.

        A positive row goes when a declared column lies more than 1.5 interquartile ranges beyond the
        positives' own quartiles. Negative rows stay: what is far out among them is what a detector must see.
        Never called for rows that are scored.
        """
        keep = np.ones(len(features), dtype=bool)
        for _, _, removed in self._outside(features, target):
            keep &= ~removed
        return keep

    def removed_outliers(self, features: pd.DataFrame, target: npt.ArrayLike) -> dict[str, Any]:
        """Return what `keep_rows` removes: ``rows``, of so many ``positives``, and by column its bounds and its rows.

        A row that lies outside of several columns' bounds is among the rows of each, and once in ``rows``.
        """
        columns, anywhere = {}, np.zeros(len(features), dtype=bool)
        for name, (low, high), removed in self._outside(features, target):
            columns[name] = {"low": low, "high": high, "rows": int(removed.sum())}
            anywhere |= removed
        positives = int(np.asarray(target).astype(bool).sum())
        return {"rows": int(anywhere.sum()), "positives": positives, "columns": columns}

    def _outside(
        self, features: pd.DataFrame, target: npt.ArrayLike
    ) -> Iterator[tuple[str, tuple[float, float], Booleans]]:
        """Yield each declared column, the bounds of the positives, and which positives lie outside of them."""
        positive = np.asarray(target).astype(bool)
        for name in (self.outliers or {}).get("iqr", ()):
            values = _numbers(features[[name]])[:, 0]
            bounds = iqr_bounds(values[positive])
            yield name, bounds, positive & is_outside(values, bounds)

    def to_state(self) -> dict[str, Any]:
        """Return all that was declared and learned, as JSON."""
        learned = {name: getattr(self, name).tolist() for name in ("fill_", "centre_", "width_")}
        learned["fill_"] = [None if np.isnan(value) else value for value in learned["fill_"]]
        return {"declared": self.get_params(), "columns_": self.columns_, "fill_words_": self.fill_words_, **learned}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Transformer:
        """Read what `to_state` wrote; numbers come back to the last bit."""
        restored = cls(**state["declared"])
        restored.columns_, restored.fill_words_ = list(state["columns_"]), dict(state["fill_words_"])
        restored.fill_ = np.array([np.nan if value is None else value for value in state["fill_"]], dtype=np.float64)
        restored.centre_ = np.array(state["centre_"], dtype=np.float64)
        restored.width_ = np.array(state["width_"], dtype=np.float64)
        return restored

    def _numeric(self) -> list[str]:
        return [name for name in self.columns_ if name not in (self.one_hot or {})]

    def _vocabulary(self, name: str) -> tuple[str, ...]:
        return tuple((self.one_hot or {}).get(name, ()))

    def _check_known(self, features: pd.DataFrame) -> None:
        groups = [*(self.scale or {}).values(), *(self.impute or {}).values(), tuple(self.one_hot or {})]
        unknown = sorted({name for names in groups for name in names if name not in features.columns})
        if unknown:
            raise InputError(
                f"pipeline column {unknown[0]}",
                value=bare("not among the features"),
                allowed=", ".join(map(str, features.columns)),
                action="correct the pipeline section, or keep the column in prepare",
            )

    def _learn_words(self, features: pd.DataFrame) -> dict[str, str]:
        names = [name for name in (self.impute or {}).get("most_frequent", ()) if name in (self.one_hot or {})]
        return {name: str(_words(features[name]).dropna().mode().iloc[0]) for name in names}

    def _learn_fill(self, name: str, values: Floats) -> float:
        for kind, names in (self.impute or {}).items():
            if name in names and not np.isnan(values).all():
                return _FILLS[kind](values[~np.isnan(values)])
        return float("nan")

    def _learn_scale(self, name: str, values: Floats) -> tuple[float, float]:
        for kind, names in (self.scale or {}).items():
            if name in names and not np.isnan(values).all():
                centre, width = _SCALES[kind](values[~np.isnan(values)])
                return centre, width if width > _NEARLY_ZERO else 1.0
        return 0.0, 1.0

    def _filled(self, numbers: Floats) -> Floats:
        if np.isnan(self.fill_).all():
            return numbers
        return np.where(np.isnan(numbers), self.fill_, numbers)

    def _encoded(self, name: str, features: pd.DataFrame) -> Floats:
        words = _words(features[name])
        if name in self.fill_words_:
            words = words.fillna(self.fill_words_[name])
        return np.column_stack(
            [(words == word).to_numpy(dtype=np.float64, na_value=0.0) for word in self._vocabulary(name)]
        )


def feature_columns(columns: list[str], target: str, weight: str | None) -> list[str]:
    """Return the columns that models see, in the frame's order: not the target, the weight, or ``_…``."""
    return [name for name in columns if name not in {target, weight} and not name.startswith("_")]


def _words(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("string")


def _numbers(features: pd.DataFrame) -> Floats:
    for name, kind in features.dtypes.items():
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
            raise InputError(
                f"feature {name}",
                value=bare(f"type {kind}"),
                allowed="numbers or booleans, or words with a declared vocabulary",
                action=f"declare pipeline.one_hot.{name}, derive a number from it, or drop it in prepare.drop",
            )
    return features.to_numpy(dtype=np.float64, na_value=np.nan)


def _most_frequent(values: Floats) -> float:
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)])


def _quartiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [25, 75])
    return float(np.median(values)), float(high - low)


_FILLS: dict[str, Callable[[Floats], float]] = {
    "median": lambda values: float(np.median(values)),
    "mean": lambda values: float(values.mean()),
    "most_frequent": _most_frequent,
}
_SCALES: dict[str, Callable[[Floats], tuple[float, float]]] = {
    "robust": _quartiles,
    "standard": lambda values: (float(values.mean()), float(values.std())),
    "min_max": lambda values: (float(values.min()), float(values.max() - values.min())),
}

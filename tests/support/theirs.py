"""What a user might bring by dotted name: samplers, models, a metric; some of them broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from imblearn.over_sampling import RandomOverSampler
from sklearn.linear_model import RidgeClassifier
from sklearn.tree import DecisionTreeClassifier


def expected_loss(target: Any, score: Any, frame: pd.DataFrame) -> float:
    """Return the mean money lost: missed amounts, and a fixed price for each alarm."""
    alarm = score >= 0.5
    return float(np.mean(np.where(target == 1, np.where(alarm, 5.0, frame["Amount"]), np.where(alarm, 5.0, 0.0))))


expected_loss.greater_is_better = False  # type: ignore[attr-defined]


def broken_metric(target: Any, score: Any, frame: pd.DataFrame) -> float:
    """Fail."""
    raise KeyError("no such column")


class Repeat(RandomOverSampler):  # type: ignore[misc]
    """A sampler with a seed and indices."""


class Jitter:
    """A sampler of the plainest kind: no indices, no seed; one synthetic row for every positive, rows turned around."""

    def fit_resample(self, features: Any, target: Any) -> Any:
        made = features[target == 1] + 0.125
        return np.concatenate([features, made])[::-1], np.concatenate([target, np.ones(len(made), int)])[::-1]


class BrokenSampler:
    """A sampler that fails."""

    def fit_resample(self, features: Any, target: Any) -> Any:
        raise RuntimeError("out of luck")


class OneClass:
    """A sampler that leaves one class."""

    def fit_resample(self, features: Any, target: Any) -> Any:
        return features[target == 1], target[target == 1]


class BrokenModel(DecisionTreeClassifier):  # type: ignore[misc]
    """A model that fails at some depths."""

    def fit(self, features: Any, target: Any, sample_weight: Any = None) -> Any:
        if self.max_depth > 2:
            raise ArithmeticError("too deep for me")
        return super().fit(features, target, sample_weight)


class Counted(DecisionTreeClassifier):  # type: ignore[misc]
    """A model that writes down each fit, and at one of them waits for ever: on a pipe that nobody writes to."""

    fits = 0

    def fit(self, features: Any, target: Any, sample_weight: Any = None) -> Any:
        if counter := os.environ.get("STEPZERO_TEST_COUNTER"):
            Counted.fits += 1
            with Path(counter).open("a", encoding="utf-8") as stream:
                stream.write(f"{os.getpid()}\n")
            if str(Counted.fits) == os.environ.get("STEPZERO_TEST_HANG"):
                print("hangs", flush=True)  # noqa: T201 - what the test reads
                Path(f"{counter}.pipe").read_text()
        return super().fit(features, target, sample_weight)


class FineTuned(DecisionTreeClassifier):  # type: ignore[misc]
    """A model with the parameters that a language model is fine-tuned by; they decide how its tree grows."""

    def __init__(
        self, learning_rate: float = 1e-5, train_batch_size: int = 128, freeze_bert_layer: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(max_depth=2 if freeze_bert_layer else 4, min_samples_leaf=train_batch_size // 32, **kwargs)
        self.learning_rate, self.train_batch_size, self.freeze_bert_layer = (
            learning_rate,
            train_batch_size,
            freeze_bert_layer,
        )

    def fit(self, features: Any, target: Any, sample_weight: Any = None) -> Any:
        self.min_impurity_decrease = self.learning_rate
        return super().fit(features, target, sample_weight)


class NoScores(RidgeClassifier):  # type: ignore[misc]
    """A model that cannot score."""

    predict_proba = property()
    decision_function = property()


def shifted(frame: Any, *, column: str, by: float) -> Any:
    """Return a Spark frame with a column moved: a step of somebody's own."""
    return frame.withColumn(column, frame[column] + by)


def only(frame: Any, *, column: str) -> Any:
    """Return a Spark frame with one column left, and forget the rest."""
    return frame.select(column)

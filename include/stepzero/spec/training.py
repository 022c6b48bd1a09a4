"""Sections about learning: resample, train, evaluate, promote."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import OpenShare, Section, is_dotted
from stepzero.spec.quality import check_name

SAMPLERS = ("none", "random_under", "near_miss_1", "smote")
MODELS = ("decision_tree", "random_forest", "logistic_regression", "nearest_neighbours", "xgboost")
METRICS = ("average_precision", "roc_auc", "f1", "precision", "recall")


class Search(Section):
    """How the grid is walked."""

    strategy: Literal["grid"] = "grid"


class Model(Section):
    """An algorithm with its grid.

    A bare mapping of parameter → list of values is a grid for one of our names. ``class`` names an
    estimator of the user's own, which follows scikit-learn's protocol.
    """

    estimator: str | None = Field(default=None, alias="class")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Fixed parameters."""
    sample_weight: bool = False
    """Whether `fit` is given the rows' weights."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and not {"class", "estimator", "grid", "parameters", "sample_weight"} & set(value):
            return {"grid": value}
        return value

    @field_validator("grid", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, choices in value.items():
                if not isinstance(choices, list | tuple) or not choices:
                    msg = f"the grid of {name} is a list with at least one value, not {choices!r}"
                    raise ValueError(msg)
        return value

    @field_validator("estimator")
    @classmethod
    def _dotted(cls, value: str | None) -> str | None:
        if value is not None and not is_dotted(value):
            msg = f"a class is a dotted name such as lightgbm.LGBMClassifier, not {value!r}"
            raise ValueError(msg)
        return value


class Train(Section):
    """What is tried, on which folds, by which metric."""

    folds: int = Field(default=5, ge=2, le=20)
    metric: str = "average_precision"
    """One of ours, or ``package.module:function`` of yours: ``(target, score, frame) -> float``."""
    seed: int = Field(default=7, ge=0, le=2**31 - 1)
    search: Search = Search()
    models: dict[str, Model] = Field(min_length=1)

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        check_name(value, METRICS, "metric")
        return value

    @model_validator(mode="after")
    def _classes(self) -> Train:
        for name, model in self.models.items():
            if model.estimator is None:
                check_name(name if not is_dotted(name) else "", MODELS, "model")
        return self


class Threshold(Section):
    """How the operating threshold is chosen, from out-of-fold predictions."""

    maximise: Literal["f1"] = "f1"


class Evaluate(Section):
    """What is reported on untouched rows."""

    threshold: Threshold = Threshold()
    confidence: OpenShare = 0.95
    bootstrap: int = Field(default=500, ge=50, le=10_000)


class Promote(Section):
    """What a version must show before anybody is asked."""

    require: dict[Literal["average_precision", "roc_auc", "f1", "precision", "recall"], float] = Field(
        default_factory=dict
    )
    sentinels: Literal["all"] = "all"
    approval: Literal["rule", "person"] | None = None
    """May only tighten what the environment says."""
    approval_timeout_hours: float = Field(default=24, gt=0)


def check_samplers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Reject an unknown or repeated sampler.

    Raises:
        ValueError: A name is unknown or given twice.
    """
    for name in names:
        check_name(name, SAMPLERS, "sampler")
    if len(set(names)) != len(names):
        msg = f"a sampler is named twice: {', '.join(names)}"
        raise ValueError(msg)
    return names

"""Sections about learning: resample, train, evaluate, promote."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stepzero.spec.base import ElsewhereError, OpenShare, Section, is_dotted
from stepzero.spec.kinds import ALL_MODELS, CLASSIFICATION_METRICS, MODELS, REGRESSION_METRICS
from stepzero.spec.quality import check_name
from stepzero.spec.search import MOST_CANDIDATES, Parameter, Search, Space, check_space

SAMPLERS = (
    "none",
    "random_under",
    "near_miss_1",
    "near_miss_2",
    "near_miss_3",
    "random_over",
    "smote",
    "borderline_smote",
    "adasyn",
)
METRICS = (*CLASSIFICATION_METRICS, *REGRESSION_METRICS)
"""Of either kind of problem; `stepzero.spec.kinds` says which go with which."""

_CLASS_WEIGHTS = {"class_weight", "is_unbalance", "scale_pos_weight"}
_MODEL_KEYS = {"class", "estimator", "grid", "space", "algorithms", "parameters", "sample_weight"}


def resampled_by(sampler: str) -> str:
    """Return what was done to rows, for a sentence.

    >>> resampled_by("smote"), resampled_by("none")
    ('resampled by smote', 'as they are')
    """
    return "as they are" if sampler == "none" else f"resampled by {sampler}"


class Model(Section):
    """An algorithm with what is searched of it.

    A bare mapping of parameter → list of values is a grid for one of our names; where a range is among
    them, a space. ``class`` names an estimator of the user's own, which follows scikit-learn's protocol.
    ``algorithms`` makes several algorithms one search.
    """

    estimator: str | None = Field(default=None, alias="class")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    space: Space = Field(default_factory=dict)
    """Lists, ranges and conditions; instead of `grid`."""
    algorithms: dict[str, Model] = Field(default_factory=dict)
    """Algorithms with their spaces, tried in one search; instead of all else."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Fixed parameters."""
    sample_weight: bool = False
    """Whether `fit` is given the rows' weights."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and not _MODEL_KEYS & set(value):
            ranged = any(isinstance(one, dict) for one in value.values())
            return {"space" if ranged else "grid": value}
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

    @model_validator(mode="after")
    def _one_way(self) -> Model:
        if self.grid and self.space:
            msg = "either grid or space, not both: a space takes lists too"
            raise ValueError(msg)
        if self.algorithms and (self.estimator or self.searched or self.parameters or self.sample_weight):
            msg = "algorithms stand alone: each of them says its own class, space and parameters"
            raise ValueError(msg)
        if any(model.algorithms for model in self.algorithms.values()):
            msg = "algorithms within algorithms: name them all at one level"
            raise ValueError(msg)
        check_space(self.space)
        return self

    @property
    def searched(self) -> Space:
        """Return what is searched, whichever way it was declared."""
        return self.space or {name: Parameter(values=values) for name, values in self.grid.items()}


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
            for own, one in model.algorithms.items() or [(name, model)]:
                if one.estimator is None:
                    check_name(own if not is_dotted(own) else "", ALL_MODELS, "model")
                    _check_voting(own, one)
        return self

    @model_validator(mode="after")
    def _can_be_walked(self) -> Train:
        """Reject a range where every candidate is asked for."""
        if self.search.strategy == "grid" or (self.search.strategy == "halving" and self.search.trials is None):
            for name, model in self.models.items():
                for own, one in (model.algorithms or {"": model}).items():
                    place = ("models", name, *(("algorithms", own) if own else ()))
                    _must_be_listed(one.searched, place, self.search.strategy)
        return self

    @model_validator(mode="after")
    def _objective(self) -> Train:
        if self.search.objective == "training" and is_dotted(self.metric):
            msg = "validation: a metric of yours takes the rows' raw features, which synthetic rows do not have"
            raise ElsewhereError(msg, location=("search", "objective"), value="training")
        return self


def _check_voting(name: str, model: Model) -> None:
    """Reject a vote without voters: two at least, each one of our models with its own parameters."""
    if name != "voting":
        return
    members = model.parameters.get("members")
    if not isinstance(members, dict) or len(members) < 2:
        msg = "voting takes parameters: {members: {MODEL: {PARAMETER: VALUE}}} with at least two models of ours"
        raise ValueError(msg)
    for member, parameters in members.items():
        check_name(str(member), tuple(one for one in MODELS["classification"] if one != "voting"), "member of voting")
        if not isinstance(parameters, dict):
            msg = f"parameters of the voting member {member} are a mapping, not {parameters!r}"
            raise ValueError(msg)  # noqa: TRY004 - pydantic makes an error of ours of it
        weighing = sorted(_CLASS_WEIGHTS & set(parameters))
        if weighing:
            msg = f"{weighing[0]} of the voting member {member}: its scores would be at other odds than the others'"
            raise ValueError(msg)


def _must_be_listed(space: Space, place: tuple[str, ...], strategy: str) -> None:
    count = 1
    for name, parameter in space.items():
        values = parameter.listed()
        if values is None:
            msg = f"a list, or a step, for strategy {strategy}; or strategy random or bayesian for a range"
            raise ElsewhereError(
                msg, location=(*place, "space", name), value=f"{parameter.at_least} to {parameter.at_most}"
            )
        count *= len(values)
    if count > MOST_CANDIDATES:
        msg = f"at most {MOST_CANDIDATES} candidates for strategy {strategy}; or draw some with random or bayesian"
        raise ElsewhereError(msg, location=place, value=count)


class Threshold(Section):
    """How the operating threshold is chosen, from out-of-fold predictions: by F1, or by what mistakes cost.

    Prices beside ``maximise: f1`` choose nothing: what each line would cost is drawn. A price is a number, or the name
    of a feature that holds each row's own price, such as ``Amount``.
    """

    maximise: Literal["f1"] | None = None
    smooth: bool = False
    """Whether F1 is smoothed: for few negatives of great weight, where the best line of a sample is an accident."""
    minimise: Literal["cost"] | None = None
    false_negative: float | str | None = None
    """Price of a positive that is not found."""
    false_positive: float | str | None = None
    """Price of a wrong alarm."""

    @model_validator(mode="after")
    def _one_way(self) -> Threshold:
        if self.maximise and self.minimise:
            msg = "a threshold is chosen one way: maximise: f1, or minimise: cost"
            raise ValueError(msg)
        if self.smooth and self.minimise:
            msg = "smooth goes with maximise: f1; what mistakes cost is counted as it is"
            raise ValueError(msg)
        prices = (self.false_negative, self.false_positive)
        if self.minimise and None in prices:
            msg = "minimise: cost needs the prices of both mistakes: false_negative and false_positive"
            raise ValueError(msg)
        if None in prices and prices != (None, None):
            msg = "the prices of both mistakes, false_negative and false_positive, or of neither"
            raise ValueError(msg)
        if any(isinstance(price, float) and not price >= 0 for price in prices):
            msg = "a price is a number from 0, or the name of a feature"
            raise ValueError(msg)
        return self

    @property
    def priced(self) -> bool:
        """Whether mistakes have prices, so that there is a curve of costs."""
        return self.false_negative is not None


SIMPLEST_FIRST = (
    "logistic_regression",
    "least_absolute_deviations",
    "stochastic_gradient_descent",
    "decision_tree",
    "nearest_neighbours",
    "random_forest",
    "extra_trees",
    "xgboost",
    "voting",
)
"""Our models by how hard they are to follow; what is not named counts as the hardest."""


class Evaluate(Section):
    """What is reported on untouched rows, and which cell of the table is promoted."""

    threshold: Threshold = Threshold()
    confidence: OpenShare = 0.95
    bootstrap: int = Field(default=500, ge=50, le=10_000)
    """How often rows are drawn for intervals; whole entities, where the split keeps entities apart."""
    winner: Literal["best", "simplest_within_one_standard_error"] = "best"
    """Both are shown; this one is promoted. Both are chosen by out-of-fold scores."""
    simplest_first: tuple[str, ...] = SIMPLEST_FIRST
    """Models from simple to complex, for the second rule; dotted names of yours may stand here."""
    prior_correction: bool = True
    """Whether probabilities of models that learned from resampled rows are brought back to the true share."""
    explain: tuple[Literal["tree", "shap"], ...] = ()
    """``tree``: a picture that a person can follow; ``shap``: what each feature adds to a score."""


class Promote(Section):
    """What a version must show before anybody is asked."""

    require: dict[
        Literal["average_precision", "roc_auc", "f1", "precision", "recall", "rmse", "mae", "r2", "accuracy"], float
    ] = Field(default_factory=dict)
    """At least so much; of errors (rmse, mae) at most."""
    sentinels: Literal["all"] = "all"
    """Every leak sentinel must pass; one that could not be evaluated has not."""
    approval: Literal["rule", "person"] | None = None
    """May only tighten what the environment says."""
    approval_timeout_hours: float = Field(default=24, gt=0)
    reason: Literal["optional", "required"] = "optional"
    """Whether a person who approves must say why."""


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

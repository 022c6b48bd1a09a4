"""The `train.search` section, and what may be searched: lists, ranges, and what counts only under a condition."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stepzero.core.errors import did_you_mean
from stepzero.spec.base import Section

MOST_CANDIDATES = 10_000
"""A longer grid is a mistake, or a task for a strategy that draws."""


def read_number(value: Any) -> Any:
    """Read ``1e-5``, which YAML takes for a text, as the number that is meant.

    >>> read_number("1e-5"), read_number("3"), read_number("many")
    (1e-05, 3, 'many')
    """
    if isinstance(value, bool):
        msg = f"a bound is a number, not {value!r}"
        raise ValueError(msg)  # noqa: TRY004 - pydantic makes an error of ours of it
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value


Number = Annotated[int | float, BeforeValidator(read_number), Field(allow_inf_nan=False)]


class Parameter(Section):
    """What one hyperparameter may be: one of `values`, or a number from `at_least` to `at_most`.

    A bare list is `values`. Bounds that are both whole numbers mean whole numbers.
    """

    values: tuple[Any, ...] | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    scale: Literal["linear", "log"] = "linear"
    step: Number | None = None
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Other parameters → the values at which this one counts; elsewhere it is left out."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list | tuple) else value

    @field_validator("when", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: one if isinstance(one, list | tuple) else (one,) for name, one in value.items()}
        return value

    @model_validator(mode="after")
    def _possible(self) -> Parameter:
        for wrong in (self._kind_fault(), self._range_fault() if self.is_range else None):
            if wrong:
                raise ValueError(wrong)
        return self

    @property
    def is_range(self) -> bool:
        """Whether it is a number between bounds."""
        return self.values is None

    @property
    def is_whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.at_least, int) and isinstance(self.at_most, int)

    def listed(self) -> tuple[Any, ...] | None:
        """Return all values in order; None where they are without number."""
        if self.values is not None:
            return self.values
        step = self.step or (1 if self.is_whole and self.scale == "linear" else None)
        if step is None or self.at_least is None or self.at_most is None:
            return None
        count = int((self.at_most - self.at_least) / step + 1e-9) + 1
        # Rounded: three steps of 0.1 are 0.3, not 0.30000000000000004.
        return tuple(round(self.at_least + step * number, 12) for number in range(min(count, MOST_CANDIDATES + 1)))

    def allows(self, value: Any) -> bool:
        """Tell whether a value lies within: one of an earlier search may not."""
        if self.values is not None:
            return any(type(one) is type(value) and one == value for one in self.values)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or self.at_least is None or self.at_most is None:
            return False
        if not self.at_least <= value <= self.at_most or (self.is_whole and not isinstance(value, int)):
            return False
        steps = float(value - self.at_least) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9

    def _kind_fault(self) -> str | None:
        bounds = [one for one in (self.at_least, self.at_most) if one is not None]
        if self.values is not None:
            if bounds or self.step is not None or self.scale != "linear":
                return "either values, or at_least and at_most with scale and step"
            return None if self.values else "values are a list with at least one value"
        return None if len(bounds) == 2 else "a list of values, or both at_least and at_most"

    def _range_fault(self) -> str | None:
        low, high, step = self.at_least, self.at_most, self.step
        if low is None or high is None:
            return None
        if low > high:
            return f"impossible bounds: at_least {low} is above at_most {high}"
        if self.scale == "log" and low <= 0:
            return f"a log scale begins above 0, not at {low}"
        if step is not None and (step <= 0 or self.scale == "log"):
            return f"a step is above 0 and on a linear scale, not {step} on a {self.scale} one"
        if step is not None and self.is_whole and not isinstance(step, int):
            return f"the step of whole numbers is a whole number, not {step}"
        return None


Space = dict[str, Parameter]


class Budget(Section):
    """What a search may use; it stops before the next trial, with its best so far, and says so."""

    seconds: float | None = Field(default=None, gt=0)
    """Seconds of fitting and scoring, of all workers together. Where it ends then depends on the machine."""
    trials: int | None = Field(default=None, ge=1)
    money: float | None = Field(default=None, gt=0)
    """In the currency of the machine's price, which the environment file states."""

    @property
    def depends_on_time(self) -> bool:
        """Whether where it ends differs from machine to machine."""
        return self.seconds is not None or self.money is not None


class EarlyStopping(Section):
    """A trial stops when it is worse than the median of complete trials at the same number of folds."""

    rule: Literal["median"] = "median"
    after_folds: int = Field(default=1, ge=1)
    after_trials: int = Field(default=5, ge=1)
    """Complete trials that there must be before one is stopped."""


class WarmStart(Section):
    """An earlier search that this one begins from."""

    run: str
    """Id of a run of the same use case, which tuned the same samplers and models."""
    kind: Literal["identical_data", "transfer"]
    """``identical_data``: its trials count, and the best of them may win. ``transfer``: they only guide."""


class Search(Section):
    """How candidates are found."""

    strategy: Literal["grid", "random", "bayesian", "halving"] = "grid"
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """How many are drawn; a grid has as many as it has."""
    parallel: int = Field(default=1, ge=1, le=1_000)
    """Trials proposed at once, knowing the results of all before them: as many can be worked on at a time."""
    startup_trials: int = Field(default=10, ge=1)
    """Trials drawn at random before `bayesian` has learned enough to propose."""
    factor: int = Field(default=3, ge=2)
    """Of `halving`: one of so many goes on to the next rung, which has so many times the folds."""
    early_stopping: EarlyStopping | None = None
    warm_start: WarmStart | None = None
    budget: Budget = Budget()
    objective: Literal["validation", "training"] = "validation"
    """Which rows a trial is judged on; ``training`` cannot see that a model only remembers."""

    @model_validator(mode="after")
    def _fits_strategy(self) -> Search:
        draws = self.strategy in {"random", "bayesian"}
        if draws and self.trials is None:
            msg = f"trials of strategy {self.strategy}: how many are drawn"
            raise ValueError(msg)
        allowed = {
            "trials": draws or self.strategy == "halving",
            "parallel": draws,
            "startup_trials": self.strategy == "bayesian",
            "factor": self.strategy == "halving",
            "early_stopping": draws,
            "warm_start": self.strategy == "bayesian",
        }
        idle = [name for name in self.model_fields_set if not allowed.get(name, True) and self._said(name)]
        if idle:
            msg = f"{min(idle)} says nothing to strategy {self.strategy}: leave it out, or use another strategy"
            raise ValueError(msg)
        return self

    def _said(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)


def check_space(space: Space) -> None:
    """Reject conditions that no candidate can meet.

    Raises:
        ValueError: A condition names an unknown parameter, a range, a value that is never taken, or itself.
    """
    for name, parameter in space.items():
        for other, wanted in parameter.when.items():
            if other not in space or other == name:
                msg = f"when of {name}: unknown parameter {other!r}: {did_you_mean(other, set(space) - {name})}"
                raise ValueError(msg)
            values = space[other].values
            if values is None:
                msg = f"when of {name}: {other} is a range; a condition is on a list of values"
                raise ValueError(msg)
            never = [one for one in wanted if one not in values]
            if never:
                msg = f"when of {name}: {other} is never {never[0]!r}; it is one of {', '.join(map(repr, values))}"
                raise ValueError(msg)
    in_order(space)


def in_order(space: Space) -> list[str]:
    """Return the names, each after those that its condition is on; otherwise as declared.

    Raises:
        ValueError: Conditions go round in a circle.
    """
    found: list[str] = []
    while len(found) < len(space):
        ready = [name for name in space if name not in found and set(space[name].when) <= set(found)]
        if not ready:
            msg = f"conditions go round in a circle: {', '.join(name for name in space if name not in found)}"
            raise ValueError(msg)
        found.append(ready[0])
    return found


def counts(parameter: Parameter, chosen: dict[str, Any]) -> bool:
    """Tell whether a parameter counts beside what is chosen already."""
    return all(name in chosen and chosen[name] in wanted for name, wanted in parameter.when.items())

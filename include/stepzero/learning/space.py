"""What may be searched, walked through or drawn from: lists, ranges, conditions, several algorithms.

Of several algorithms, a candidate names its own as the parameter ``algorithm``; the names of the others'
parameters are told apart for Optuna as ``algorithm.parameter``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepzero.spec.search import Parameter, Space, counts, in_order
from stepzero.spec.training import Model

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Parameters = dict[str, Any]
Described = tuple[dict[str, Any], dict[str, "BaseDistribution"]]
"""Parameters as Optuna has them, with what each may be."""
ALGORITHM = "algorithm"
Choose = Callable[[str, str, Parameter], Any]
"""From a name that is unique, the parameter's own name, and what it may be, to a value."""


class _OutsideError(ValueError):
    """A value that the space does not have."""


def candidates(grid: Mapping[str, Sequence[Any]]) -> list[Parameters]:
    """Return every combination in the order of scikit-learn's grid search: names sorted, last name fastest."""
    from sklearn.model_selection import ParameterGrid

    return [dict(sorted(one.items())) for one in ParameterGrid({name: list(values) for name, values in grid.items()})]


def listed(model: Model) -> list[Parameters]:
    """Return every candidate of a model whose parameters can all be listed, each once."""
    if model.algorithms:
        return [{ALGORITHM: name, **one} for name, inner in model.algorithms.items() for one in listed(inner)]
    space = model.searched
    found = candidates({name: parameter.listed() or () for name, parameter in space.items()})
    if not any(parameter.when for parameter in space.values()):
        return found
    return list({identity(one): one for one in (_counting(space, one) for one in found)}.values())


def identity(parameters: Parameters) -> str:
    """Return what two equal candidates have in common: 1, 1.0 and true are three values."""
    return json.dumps(parameters, sort_keys=True, default=repr)


def suggest(trial: optuna.Trial, model: Model) -> Parameters:
    """Return what Optuna proposes for a trial."""
    return dict(sorted(_walk(model, lambda name, _, parameter: _asked(trial, name, parameter)).items()))


def describe(model: Model, parameters: Parameters) -> Described | None:
    """Return a candidate as Optuna has it; None where it lies outside the space."""
    values: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}

    def known(name: str, own: str, parameter: Parameter) -> Any:
        if own not in parameters or not parameter.allows(parameters[own]):
            raise _OutsideError(name)
        values[name] = _encode(parameter, parameters[own])
        distributions[name] = _distribution(parameter)
        return parameters[own]

    try:
        met = _walk(model, known)
    except _OutsideError:
        return None
    return (values, distributions) if met.keys() == parameters.keys() else None


def _walk(model: Model, choose: Choose, prefix: str = "") -> Parameters:
    if model.algorithms:
        name = choose(ALGORITHM, ALGORITHM, Parameter(values=tuple(model.algorithms)))
        return {ALGORITHM: name, **_walk(model.algorithms[name], choose, f"{name}.")}
    space, chosen = model.searched, Parameters()
    for name in in_order(space):
        if counts(space[name], chosen):
            chosen[name] = choose(f"{prefix}{name}", name, space[name])
    return chosen


def _counting(space: Space, one: Parameters) -> Parameters:
    kept: Parameters = {}
    for name in in_order(space):
        if counts(space[name], kept):
            kept[name] = one[name]
    return dict(sorted(kept.items()))


def _asked(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    may = _distribution(parameter)
    if isinstance(may, CategoricalDistribution):
        return _decode(parameter, trial.suggest_categorical(name, may.choices))
    if isinstance(may, IntDistribution):
        return trial.suggest_int(name, may.low, may.high, step=may.step, log=may.log)
    return trial.suggest_float(name, may.low, may.high, step=may.step, log=may.log)  # type: ignore[attr-defined]


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        return CategoricalDistribution(_codes(parameter))
    low, high, step = parameter.at_least or 0, parameter.at_most or 0, parameter.step
    logarithmic = parameter.scale == "log"
    # The last step that is within: Optuna warns of one that is not.
    last = round(low + int((high - low) / step + 1e-9) * step, 12) if step else high
    if parameter.is_whole:
        return IntDistribution(int(low), int(last), log=logarithmic, step=int(step or 1))
    return FloatDistribution(float(low), float(last), log=logarithmic, step=float(step) if step else None)


def _codes(parameter: Parameter) -> tuple[Any, ...]:
    """Return the values as Optuna takes them: simple ones as they are, others as text."""
    values = parameter.values or ()
    simple = all(isinstance(one, bool | int | float | str) or one is None for one in values)
    distinct = all(one != other for i, one in enumerate(values) for other in values[:i])
    if simple and distinct:
        return values
    return tuple(f"{i}: {json.dumps(one, default=repr)}" for i, one in enumerate(values))


def _encode(parameter: Parameter, value: Any) -> Any:
    if parameter.values is None:
        return value if parameter.is_whole else float(value)
    places = [i for i, one in enumerate(parameter.values) if type(one) is type(value) and one == value]
    return _codes(parameter)[places[0]]


def _decode(parameter: Parameter, code: Any) -> Any:
    values, codes = parameter.values or (), _codes(parameter)
    return values[next(i for i, one in enumerate(codes) if type(one) is type(code) and one == code)]

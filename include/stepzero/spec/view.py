"""What a stage sees: the parts that it declared, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str, ...]


class View:
    """An object reduced to some of its attributes.

    What is not in a stage's key must not change its result, so reading anything else raises
    AttributeError. What names things and dates ledgers is always there: `name` of a use case, `run`, `folder`,
    `as_of` and `ledger` of a plan; no result may depend on it.

    A field may be a part of a part, and may be chosen by a mapped task's parameter: of ``train.models.{model}`` a
    stage sees one model, and is not computed again when another one's grid changes.
    """

    def __init__(
        self,
        viewed: object,
        fields: tuple[str, ...],
        *,
        always: tuple[str, ...] = (),
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self._viewed, self._fields = viewed, (*always, *fields)
        self._paths = [field_path(field, parameters or {}) for field in self._fields]

    def __getattr__(self, name: str) -> Any:
        inner = [path[1:] for path in self._paths if path[0] == name]
        if inner:
            return _narrowed(getattr(self._viewed, name), inner)
        msg = (
            f"the stage does not declare {name!r}; it declares {', '.join(self._fields) or 'nothing'}: add it to @stage"
        )
        raise AttributeError(msg)


def field_path(field: str, parameters: Mapping[str, str]) -> Path:
    """Return a field's steps, parameters put in.

    >>> field_path("train.models.{model}", {"model": "xgboost"})
    ('train', 'models', 'xgboost')
    """
    return tuple(parameters[step[1:-1]] if step.startswith("{") else step for step in field.split("."))


def part_of(data: Any, path: Path) -> Any:
    """Return a part of nested JSON; null where a part above it is missing."""
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def _narrowed(value: Any, paths: list[Path]) -> Any:
    if value is None or () in paths:
        return value
    if isinstance(value, Mapping):
        return {path[0]: _narrowed(value[path[0]], [path[1:]]) for path in paths if path[0] in value}
    view = View(value, tuple(".".join(path) for path in paths))
    view._paths = paths  # noqa: SLF001 - as they are: a model's name may hold dots
    return view

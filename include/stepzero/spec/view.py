"""What a stage sees: the parts that it declared, and nothing else."""

from __future__ import annotations

from typing import Any


class View:
    """An object reduced to some of its attributes.

    What is not in a stage's key must not change its result, so reading anything else raises
    AttributeError. What names things and dates ledgers is always there: `name` of a use case, `run`, `folder` and
    `as_of` of a plan; no result may depend on it.
    """

    def __init__(self, viewed: object, fields: tuple[str, ...], *, always: tuple[str, ...] = ()) -> None:
        self._viewed, self._fields = viewed, (*always, *fields)

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return getattr(self._viewed, name)
        msg = (
            f"the stage does not declare {name!r}; it declares {', '.join(self._fields) or 'nothing'}: add it to @stage"
        )
        raise AttributeError(msg)

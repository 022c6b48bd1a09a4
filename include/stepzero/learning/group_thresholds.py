"""A threshold for each of two groups, as part of a model: whoever decides by it must know the group of a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare
from stepzero.measures.checks import Booleans, Floats


@dataclass(frozen=True, kw_only=True)
class GroupThresholds:
    """From which score a row counts as positive, by the group that it belongs to.

    A row without a value of the column belongs to the others, as where bias is measured.

    Args:
        column: The facet. Models need not take it: prepared rows may have it set aside.
        kind: Its type.
        values: Which values of it make a row one of the disfavoured group; empty where `above` says so.
        above: From above which number on; None where `values` say so.
        disfavoured: The threshold of that group.
        favoured: The threshold of all others.
    """

    column: str
    kind: str
    values: tuple[Any, ...] = ()
    above: float | None = None
    disfavoured: float
    favoured: float

    def lines(self, frame: pd.DataFrame) -> Floats:
        """Return the threshold of each row.

        Raises:
            InputError: The column is missing, under its own name and under the one that it has set aside.
        """
        return self.lines_of(frame[self.find(list(map(str, frame.columns)))])

    def lines_of(self, values: pd.Series[Any] | npt.NDArray[Any]) -> Floats:
        """Return the threshold of each value of the column."""
        return np.where(self.members(pd.Series(values)), self.disfavoured, self.favoured).astype(np.float64)

    def members(self, values: pd.Series[Any]) -> Booleans:
        """Return which values make a row one of the disfavoured group."""
        if self.above is not None:
            return np.asarray(pd.to_numeric(values) > self.above, dtype=bool)
        return np.asarray(values.isin(list(self.values)), dtype=bool)

    def find(self, columns: list[str]) -> str:
        """Return under which name rows have the column.

        Raises:
            InputError: Under none.
        """
        for name in (self.column, f"_{self.column}"):
            if name in columns:
                return name
        raise InputError(
            "rows to decide on by a threshold for each group",
            value=bare(f"no {self.column}"),
            allowed=f"the column {self.column}, which says to which group a row belongs",
            action="hand it in beside the features",
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self) | {"values": list(self.values)}

    @classmethod
    def from_json(cls, told: dict[str, Any] | None) -> GroupThresholds | None:
        """Return what `to_json` told; None of nothing."""
        return None if told is None else cls(**told | {"values": tuple(told["values"])})

"""Which numbers of a frame move together: Pearson's correlation of all pairs, in one job."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

MOST_COLUMNS = 200
"""Columns whose pairs are looked at: the matrix of more is too wide for one worker."""
LEAST_SHARE = 0.5
"""Share of rows that must have all values: a row with a null counts in no pair."""


def correlations(frame: DataFrame, names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return the correlation of each pair of numeric columns; nothing where too few rows have all values.

    A constant column has none. Names need no quotes.
    """
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.stat import Correlation

    if not 2 <= len(names) <= MOST_COLUMNS:
        return {}
    assembler = VectorAssembler(inputCols=list(names), outputCol="together", handleInvalid="skip")
    whole = assembler.transform(frame.select(*names)).select("together")
    rows = frame.count()
    if whole.count() < max(2, LEAST_SHARE * rows):
        return {}
    matrix = Correlation.corr(whole, "together").collect()[0][0].toArray()
    pairs = ((i, j) for i in range(len(names)) for j in range(i + 1, len(names)))
    return {(names[i], names[j]): float(matrix[i, j]) for i, j in pairs if math.isfinite(matrix[i, j])}

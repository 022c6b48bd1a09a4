"""What no predicate over one row can say: whether another row, or another dataset, has the same key."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from stepzero.adapters.batches import explained_reading, read_batch
from stepzero.adapters.spark import quoted
from stepzero.stages.quality_rules import RowRule

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.quality import Quality

BROADCAST_KEYS = 500_000
"""Up to so many keys every worker gets them all, and the batch need not be shuffled."""


def look_up_all(
    frame: DataFrame, rules: list[RowRule], quality: Quality, workspace: Workspace, kept: ExitStack
) -> tuple[DataFrame, list[RowRule]]:
    """Look up foreign keys and duplicates, whether or not any is known to be broken; `kept` lets go what they hold."""
    frame = look_up_foreign_keys(frame, rules, quality, workspace, kept)
    found = []
    for rule in rules:
        if rule.keys:
            frame, rule = look_up_duplicates(frame, rule, kept)  # noqa: PLW2901 - the rule over the new column
        found.append(rule)
    return frame, found


def look_up_foreign_keys(
    frame: DataFrame, rules: list[RowRule], quality: Quality, workspace: Workspace, kept: ExitStack
) -> DataFrame:
    """Add, per foreign key, whether the other dataset has it; null where it has not.

    Raises:
        InputError: The other dataset is no table, or has other columns than declared.
    """
    for rule in rules:
        if rule.foreign_key is None:
            continue
        name = rule.foreign_key.dataset
        batch = workspace.plan.datasets[name]
        with explained_reading(batch):
            other = read_batch(workspace.spark, workspace.store, batch, quality.datasets[name])
            keys = _keys(other, rule.foreign_key.referenced).dropna().distinct()
            frame = _joined(frame, rule, rule.foreign_key.columns, _held(keys, kept), null_safe=False)
    return frame


def look_up_duplicates(frame: DataFrame, rule: RowRule, kept: ExitStack) -> tuple[DataFrame, RowRule]:
    """Add whether another judged row has the same keys, and return the rule that asks for it."""
    from pyspark.sql import functions

    judged = frame.filter(rule.judged) if rule.judged else frame
    keys = _keys(judged, rule.keys)
    groups = keys.groupBy(*keys.columns).agg(functions.count("*").alias("_rows")).filter("_rows > 1").drop("_rows")
    joined = _joined(frame, rule, rule.keys, _held(groups, kept), null_safe=True)
    good = f"{rule.found} IS NULL"
    return joined, replace(rule, predicate=f"(NOT {rule.judged} OR {good})" if rule.judged else f"({good})")


def _keys(frame: DataFrame, columns: tuple[str, ...]) -> DataFrame:
    from pyspark.sql import functions

    return frame.select(*(functions.col(quoted(name)).alias(f"_key_{i}") for i, name in enumerate(columns)))


def _held(keys: DataFrame, kept: ExitStack) -> DataFrame:
    """Compute keys once; few of them are sent to where the rows are."""
    from pyspark.sql import functions

    keys = keys.cache()
    kept.callback(keys.unpersist)
    return functions.broadcast(keys) if keys.count() <= BROADCAST_KEYS else keys


def _joined(
    frame: DataFrame, rule: RowRule, columns: tuple[str, ...], keys: DataFrame, *, null_safe: bool
) -> DataFrame:
    from pyspark.sql import functions

    def same(i: int, name: str) -> Column:
        one, other = frame[quoted(name)], keys[f"_key_{i}"]
        return one.eqNullSafe(other) if null_safe else one == other

    marked = keys.withColumn(rule.found, functions.lit(True))
    condition = reduce(and_, (same(i, name) for i, name in enumerate(columns)))
    return frame.join(marked, condition, "left").drop(*keys.columns)

"""Resampled folds: what the resample stage stores once and every trial reads.

A fold holds its fitted transformer, where each of its training rows comes from, and the synthetic rows, in
the transformed space. Fold ``all`` is made of all training rows, for the last fit. Nothing here ever sees a
validation row of its own fold: transformer, outlier bounds and sampler learn from training rows alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepzero.adapters.datasets import commit_dataset, manifest_of
from stepzero.adapters.store import Store
from stepzero.core.errors import StageError, bare
from stepzero.core.references import Reference
from stepzero.learning.fitting import FoldData
from stepzero.learning.models import TrainingRows
from stepzero.learning.samplers import SAMPLERS, Resampled, make_sampler, resample
from stepzero.learning.table import Table
from stepzero.learning.transform import Transformer
from stepzero.measures.checks import Floats, Integers
from stepzero.spec.data import Pipeline

ALL = "all"
"""Name of the fold that is made of all training rows."""
DESCRIPTION = "folds.json"
KEPT_BYTES = 512 * 1024**2
"""Of transformed folds, what a search keeps in memory; others are read and transformed again for every fit."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One resampled fold.

    ``resampled.source`` speaks of positions in the table of all training rows.
    """

    name: str
    transformer: Transformer
    resampled: Resampled

    def training_rows(self, table: Table) -> TrainingRows:
        """Return what estimators are fitted on; synthetic rows weigh what their class does on average."""
        source, made = self.resampled.source, self.resampled.synthetic_target
        kept = np.unique(source[source >= 0])
        small = Resampled(np.where(source >= 0, np.searchsorted(kept, source), source), self.resampled.synthetic, made)
        features, target = small.apply(self.transformer.transform(table.features.iloc[kept]), table.target[kept])
        weights = table.weight_in_fits
        if table.is_regression:
            return TrainingRows(features, target, weights[source])
        means = np.array([weights[table.target == label].mean() for label in (0, 1)])
        weight = np.where(source >= 0, weights[np.maximum(source, 0)], means[target])
        return TrainingRows(features, target, weight)

    def training(self, table: Table) -> Integers:
        """Return the positions of the rows that train this fold, before it is resampled; all rows for fold ``all``."""
        return training_positions(self.name, table)

    def validation(self, table: Table) -> Integers:
        """Return the positions of the rows that this fold is judged on; none for fold ``all``."""
        if self.name == ALL or table.fold is None:
            return np.array([], dtype=np.int64)
        return table.validation(int(self.name))

    def validation_features(self, table: Table) -> Floats:
        """Return the transformed validation rows, none resampled."""
        return self.transformer.transform(table.features.iloc[self.validation(table)])

    def counts(self, table: Table) -> dict[str, int]:
        """Return class counts before and after resampling; of a regression, rows."""
        if table.is_regression:
            return {"rows": len(self.resampled.source)}
        before = table.target[self.training(table)]
        labels = self.labels(table)
        return {
            "positive_before": int(before.sum()),
            "negative_before": int(len(before) - before.sum()),
            "positive_after": int(labels.sum()),
            "negative_after": int(len(labels) - labels.sum()),
            "synthetic": len(self.resampled.synthetic),
        }

    def labels(self, table: Table) -> Integers:
        """Return the target of the resampled rows."""
        nothing = np.empty((len(table.target), 0))
        without = Resampled(
            self.resampled.source, nothing[: len(self.resampled.synthetic)], self.resampled.synthetic_target
        )
        return without.apply(nothing, table.target)[1]


def training_positions(name: str, table: Table) -> Integers:
    """Return the positions of the rows that train a fold, by its name; all rows for ``all``."""
    return np.arange(len(table.target)) if name == ALL else table.training(int(name))


def removed_outliers(name: str, table: Table, pipeline: Pipeline) -> dict[str, Any]:
    """Return which outliers a fold's training rows lose, with the bounds: as `Transformer.removed_outliers` tells."""
    rows = _rows_to_learn_from(name, table)
    return Transformer.from_spec(pipeline).removed_outliers(table.features.iloc[rows], table.target[rows])


def _rows_to_learn_from(name: str, table: Table) -> Integers:
    """Return a fold's training rows, those that mitigation repeats as often as it says."""
    rows = training_positions(name, table)
    return rows if table.copies is None else np.repeat(rows, table.copies[rows])


@dataclass(frozen=True, kw_only=True)
class LearnedFold:
    """What a fold's training rows taught, before they are resampled: the same whatever the sampler.

    ``rows`` are positions in the table of all training rows, ``matrix`` those rows transformed.
    """

    name: str
    transformer: Transformer
    rows: Integers
    matrix: Floats
    target: Integers

    def resampled(self, sampler: str, seed: int) -> Fold:
        """Return the fold, its rows resampled by one of our samplers or one with a dotted name."""
        # Somebody else's sampler may write into what it is given: the next one must not see it.
        matrix = self.matrix if sampler in SAMPLERS else self.matrix.copy()
        rows, done = self.rows, resample(make_sampler(sampler, seed), matrix, self.target)
        source = np.where(done.source >= 0, rows[np.maximum(done.source, 0)], done.source)
        moved = Resampled(source, done.synthetic, done.synthetic_target)
        return Fold(name=self.name, transformer=self.transformer, resampled=moved)


def learn_fold(name: str, table: Table, pipeline: Pipeline) -> LearnedFold:
    """Learn a fold's transformer from its training rows and transform them.

    Args:
        name: Number of the fold to leave out, or ``all`` to leave none out.
        table: All training rows.
        pipeline: What is learned before the model.
    """
    rows = _rows_to_learn_from(name, table)
    transformer = Transformer.from_spec(pipeline)
    rows = rows[transformer.keep_rows(table.features.iloc[rows], table.target[rows])]
    matrix = transformer.fit(table.features.iloc[rows]).transform(table.features.iloc[rows])
    return LearnedFold(name=name, transformer=transformer, rows=rows, matrix=matrix, target=table.target[rows])


def make_fold(name: str, table: Table, pipeline: Pipeline, sampler: str, seed: int) -> Fold:
    """Learn a fold's transformer from its training rows and resample them: same seed, same fold, in any order."""
    return learn_fold(name, table, pipeline).resampled(sampler, seed)


class StoredFolds:
    """Stored folds as a search takes them, again and again; small ones stay in memory.

    Args:
        store: Where they are.
        reference: The folds.
        rows: The rows that they must have been made from.
        table: Those rows, read.
        kept_bytes: How much of them stays in memory.
    """

    def __init__(
        self, store: Store, reference: Reference, rows: Reference, table: Table, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._store, self._reference, self._table, self._room = store, reference, table, kept_bytes
        self._names = [name for name in _names_of(store, reference, rows) if name != ALL]
        self._kept: dict[int, FoldData] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> FoldData:
        if number in self._kept:
            return self._kept[number]
        found = fold_data(read_fold(self._store, self._reference, self._names[number]), self._table)
        size = found.rows.features.nbytes + found.features.nbytes + int(found.frame.memory_usage().sum())
        if size <= self._room:
            self._room -= size
            self._kept[number] = found
        return found


def fold_data(fold: Fold, table: Table) -> FoldData:
    """Return a fold ready to fit and judge."""
    positions, learned = fold.validation(table), fold.training(table)
    weight = table.weight[learned]
    return FoldData(
        name=fold.name,
        rows=fold.training_rows(table),
        features=fold.validation_features(table),
        positions=positions,
        target=table.target[positions],
        weight=table.weight[positions],
        frame=table.features.iloc[positions],
        true_share=float(weight[table.target[learned] == 1].sum() / weight.sum()),
    )


def fold_names(table: Table) -> list[str]:
    """Return the names of all folds, ``all`` last.

    Raises:
        StageError: The rows have no folds.
    """
    if len(table.folds) < 2:
        raise StageError(
            "folds of the prepared training rows",
            value=bare(f"{len(table.folds)}"),
            allowed="at least 2",
            action="run the prepare stage again with train.folds of 2 or more",
        )
    return [*(str(number) for number in table.folds), ALL]


def write_fold(store: Store, folder: str, fold: Fold) -> None:
    """Write a fold's files; nothing is readable before `commit_folds`."""
    # One array after the other: an .npz is a zip file, whose bytes differ between releases of Python.
    packed = io.BytesIO()
    done = fold.resampled
    for array in (done.source, done.synthetic, done.synthetic_target):
        np.save(packed, array, allow_pickle=False)
    with store.open(f"{folder}/fold-{fold.name}.arrays", "wb") as stream:
        stream.write(packed.getvalue())
    store.write_json(f"{folder}/fold-{fold.name}.json", fold.transformer.to_state())


def commit_folds(
    store: Store, folder: str, *, names: list[str], sampler: str, table: Reference, producer: str
) -> Reference:
    """Commit the written folds; they remember which table their positions speak of."""
    store.write_json(f"{folder}/{DESCRIPTION}", {"names": names, "sampler": sampler, "table": table.digest})
    return commit_dataset(store, folder, rows=None, schema=[], producer=producer)


def read_folds(store: Store, reference: Reference, table: Reference) -> Iterator[Fold]:
    """Yield the stored folds one by one, so that only one is in memory.

    Raises:
        StageError: They were made from other rows than these.
    """
    for name in _names_of(store, reference, table):
        yield read_fold(store, reference, name)


def read_fold(store: Store, reference: Reference, name: str) -> Fold:
    """Read one fold."""
    with store.open(f"{reference.uri}/fold-{name}.arrays") as stream:
        packed = io.BytesIO(stream.read())
    source, synthetic, synthetic_target = (np.load(packed, allow_pickle=False) for _ in range(3))
    state = json.loads(store.read_text(f"{reference.uri}/fold-{name}.json"))
    done = Resampled(source, synthetic, synthetic_target)
    return Fold(name=name, transformer=Transformer.from_state(state), resampled=done)


def sampler_of(store: Store, reference: Reference) -> str:
    """Return the name of the sampler that made stored folds."""
    return str(_description(store, reference)["sampler"])


def _names_of(store: Store, reference: Reference, table: Reference) -> list[str]:
    description = _description(store, reference)
    if description["table"] != table.digest:
        raise StageError(
            f"folds {reference.uri}",
            value=bare(f"made from rows {description['table']}"),
            allowed=f"folds of the rows {table.digest}",
            action="run the resample stage on these rows",
        )
    return [str(name) for name in description["names"]]


def _description(store: Store, reference: Reference) -> dict[str, Any]:
    manifest_of(store, reference)
    description: dict[str, Any] = store.read_json(f"{reference.uri}/{DESCRIPTION}")
    return description

"""Made-up data for machines without the real files: one generator per use case, by its name."""

from __future__ import annotations

import gzip
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from stepzero.core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

GENERATORS: dict[str, str] = {
    "abalone_age": "stepzero.generators.abalone",
    "auto_claims_fraud": "stepzero.generators.auto_claims",
    "credit_card_fraud": "stepzero.generators.credit_card",
    "simulated_transactions": "stepzero.generators.transactions",
}
"""Use case → module that follows `Generator`."""


class Generator(Protocol):
    """What a generator module offers; the same seed always makes the same rows."""

    @property
    def BAD(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """Kinds of bad batches."""

    def generate(self, *, rows: int = ..., seed: int = ...) -> pd.DataFrame:
        """Return a good batch."""

    def bad(self, kind: str, frame: pd.DataFrame, seed: int = ...) -> bytes:
        """Return the content of a file that the gate must not pass."""


class TableGenerator(Protocol):
    """What a generator of several tables offers instead."""

    @property
    def BAD(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """Kinds of bad batches."""

    def generate_tables(self, *, rows: int = ..., seed: int = ...) -> dict[str, pd.DataFrame]:
        """Return a good batch: table → rows."""

    def bad_table(self, kind: str, tables: Mapping[str, pd.DataFrame], seed: int = ...) -> tuple[str, bytes]:
        """Return a table's name, and the content of a file of it that the gate must not pass."""


def generator_for(use_case: str) -> Generator:
    """Return the generator of a use case.

    Raises:
        InputError: There is none.
    """
    if use_case not in GENERATORS:
        raise InputError(
            f"generator of use case {use_case}",
            value=use_case,
            allowed=did_you_mean(use_case, GENERATORS),
            action=f"land a file of your own: bin/run --use-case {use_case} --data FILE",
        )
    return cast("Generator", importlib.import_module(GENERATORS[use_case]))


def write_file(path: Path, frame: pd.DataFrame, form: str) -> Path:
    """Write a frame in a source's format: as libsvm, or else as `write_csv` does."""
    if form != "libsvm":
        return write_csv(path, frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_libsvm(frame))
    return path


def is_of_tables(use_case: str) -> bool:
    """Tell whether a use case's generator makes several tables.

    Raises:
        InputError: It has none.
    """
    return hasattr(generator_for(use_case), "generate_tables")


def tables_of(use_case: str, *, rows: int | None = None, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Return the generated tables of a use case that has several.

    Raises:
        InputError: There is no generator.
    """
    generator = table_generator_for(use_case)
    return generator.generate_tables(seed=seed) if rows is None else generator.generate_tables(rows=rows, seed=seed)


def write_generated(use_case: str, folder: Path, form: str) -> Path:
    """Write a use case's generated data in a source's format; return the file, or the folder of tables (CSV).

    Raises:
        InputError: There is no generator.
    """
    if not is_of_tables(use_case):
        return write_file(folder / "generated.csv", generator_for(use_case).generate(), form)
    for name, frame in tables_of(use_case).items():
        write_csv(folder / f"{name}.csv", frame)
    return folder


def table_generator_for(use_case: str) -> TableGenerator:
    """Return the generator of a use case with several tables.

    Raises:
        InputError: There is none.
    """
    return cast("TableGenerator", generator_for(use_case))


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame as CSV, packed when the name ends in ``.gz``; the same frame gives the same bytes."""
    data = to_csv(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV with a header, without its index."""
    return str(frame.to_csv(index=False, lineterminator="\n")).encode()


def to_libsvm(frame: pd.DataFrame) -> bytes:
    """Return a frame of numbers as libsvm, its first column the label; whole numbers without a point."""
    lines = [
        " ".join([f"{row[0]:g}", *(f"{index}:{value:.10g}" for index, value in enumerate(row[1:], 1))])
        for row in frame.itertuples(index=False)
    ]
    return ("\n".join(lines) + "\n").encode()

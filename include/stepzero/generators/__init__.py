"""Made-up data for machines without the real files: one generator per use case, by its name."""

from __future__ import annotations

import gzip
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from stepzero.core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

GENERATORS: dict[str, str] = {
    "abalone_age": "stepzero.generators.abalone",
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

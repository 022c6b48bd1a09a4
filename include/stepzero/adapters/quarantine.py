"""Quarantined rows: each with an id and its reasons, kept in exactly the types that the gate read."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import commit_dataset, manifest_of
from stepzero.core.digests import digest_text
from stepzero.core.errors import InputError, bare, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from stepzero.adapters.store import Store
    from stepzero.core.references import Reference

REASONS = "_reasons"
ROW_ID = "_row_id"
_ID_DIGITS = 16
ACTIVE = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a text begins with that a spreadsheet may take for a formula, and the quote that says that it is none."""
QUOTE = r"^'(?=['=+\-@\t\r])"
"""That quote, as a regular expression."""
_BLOCK = 10_000
_MOST_TOLD = 12


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """The rows that the gate set aside of one batch.

    An id is a digest of the row's values; of rows that are all alike, the second ends in ``-2``, and so on. So ids
    are those of the quarantine whose digest they go with, in whatever order its files are read.
    """

    rows: pa.Table
    ids: tuple[str, ...]
    reasons: tuple[tuple[str, ...], ...]

    def chosen(self, reasons: Sequence[str] = (), ids: Sequence[str] | None = None) -> list[str]:
        """Return the ids of the rows that are asked for.

        Args:
            reasons: Reasons that are forgiven, whole (``between of Amount: at least 0``) or by their beginning
                (``between of Amount``, ``between``); a row must have no others. None is all.
            ids: Ids of single rows; null is all.

        Raises:
            InputError: No row has such a reason or id.
        """
        self._check_reasons(reasons)
        self._check_ids(ids or ())
        wanted = set(self.ids if ids is None else ids)
        return [
            row
            for row, own in zip(self.ids, self.reasons, strict=True)
            if row in wanted
            and (not reasons or all(any(_is_called(reason, asked) for asked in reasons) for reason in own))
        ]

    def take(self, ids: Collection[str]) -> pa.Table:
        """Return rows by their ids, in the order of the quarantine, without reasons."""
        import pyarrow as pa

        wanted = set(ids)
        return self.rows.filter(pa.array([row in wanted for row in self.ids], type=pa.bool_()))

    def counts(self, ids: Collection[str] | None = None) -> dict[str, int]:
        """Return how many rows have each reason, the most frequent first."""
        wanted = set(self.ids if ids is None else ids)
        counted = Counter(
            reason for row, own in zip(self.ids, self.reasons, strict=True) if row in wanted for reason in own
        )
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def to_csv(self, without: Collection[str] = ()) -> str:
        """Return the rows as a CSV file to correct: ids and reasons first, then the batch's own columns.

        Cells that begin as formulas do have a quote before them; so have those that begin with one, so that reading
        corrections can take it away again.
        """
        left_out = set(without)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([ROW_ID, REASONS, *self.rows.column_names])
        values = (row.values() for block in self.rows.to_batches(_BLOCK) for row in block.to_pylist())
        for row, own, cells in zip(self.ids, self.reasons, values, strict=True):
            if row not in left_out:
                writer.writerow([row, _cell("; ".join(own)), *(_cell(value) for value in cells)])
        return stream.getvalue()

    def _check_reasons(self, asked: Sequence[str]) -> None:
        counted = self.counts()
        for one in asked:
            if not any(_is_called(reason, one) for reason in counted):
                near = did_you_mean(one, counted)
                told = near if near.startswith("did") else "; ".join(list(counted)[:_MOST_TOLD])
                raise InputError("release.reasons", value=one, allowed=told, action="name a reason that rows have")

    def _check_ids(self, asked: Sequence[str]) -> None:
        known = set(self.ids)
        unknown = [row for row in asked if row not in known]
        if unknown:
            raise InputError(
                "release.rows",
                value=bare(", ".join(unknown[:_MOST_TOLD])),
                allowed=f"ids of the {len(known)} quarantined rows",
                action="take them from `stepzero release BATCH --export FILE`",
            )


def read_quarantine(store: Store, reference: Reference, most: int | None = None) -> Quarantine:
    """Read the quarantined rows of a batch.

    Args:
        store: Where they are.
        reference: The dataset that the gate wrote.
        most: Read so many, and no more files than they need; their ids are those that they have among all.

    Raises:
        StoreError: The dataset has no manifest or lost a file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    tables: list[pa.Table] = []
    for file in manifest_of(store, reference)["files"]:
        if most is None or sum(table.num_rows for table in tables) < most:
            with store.open(file["uri"]) as stream:
                tables.append(parquet.read_table(stream))
    table = pa.concat_tables(tables).slice(0, most)
    rows = table.drop_columns([REASONS])
    told = table.column(REASONS).to_pylist()
    return Quarantine(rows=rows, ids=_ids(rows), reasons=tuple(tuple(own) for own in told))


def columns_of(store: Store, reference: Reference) -> dict[str, str]:
    """Return the batch's own columns and their types, in order."""
    return {name: kind for name, kind in manifest_of(store, reference)["schema"] if name != REASONS}


def told_counts(counts: Mapping[str, int]) -> str:
    """Return reasons with their rows as lines of a log."""
    return "\n".join(f"  {rows} rows: {reason}" for reason, rows in counts.items())


def write_rows(store: Store, folder: str, rows: pa.Table, columns: dict[str, str], *, producer: str) -> Reference:
    """Write rows that leave the quarantine as a dataset that Spark reads with the types of the accepted rows."""
    from pyarrow import parquet

    # Spark would believe its own note of the schema, in which the reasons still are.
    plain = rows.replace_schema_metadata(None)
    with store.open(f"{folder}/part-00000.parquet", "wb") as stream:
        # As Spark writes times: it takes others for times without a zone.
        parquet.write_table(plain, stream, compression="zstd", use_deprecated_int96_timestamps=True)
    schema = [[name, kind] for name, kind in columns.items()]
    return commit_dataset(store, folder, rows=rows.num_rows, schema=schema, producer=producer)


def _ids(rows: pa.Table) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    return tuple(_numbered(_digest(row), seen) for block in rows.to_batches(_BLOCK) for row in block.to_pylist())


def _digest(row: dict[str, Any]) -> str:
    return digest_text(json.dumps(list(row.values()), default=str))[:_ID_DIGITS]


def _numbered(digest: str, seen: Counter[str]) -> str:
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _is_called(reason: str, asked: str) -> bool:
    return reason == asked or reason.startswith((f"{asked} of ", f"{asked}:", f"{asked},"))


def _cell(value: Any) -> Any:
    """Return a value as it is written; a text that a spreadsheet would take for a formula gets a quote before it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(ACTIVE) else value

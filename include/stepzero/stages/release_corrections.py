"""Corrected rows: read like a landed file, and judged by the gate's rules beside the rows that were accepted."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from stepzero.adapters.quarantine import QUOTE, REASONS, ROW_ID
from stepzero.core.errors import InputError, bare
from stepzero.core.verdict import Outcome, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from stepzero.adapters.store import Store
    from stepzero.adapters.workspace import Workspace
    from stepzero.core.references import Reference
    from stepzero.spec.data import Source

_MOST_TOLD = 5


class RefusedError(Exception):
    """Say that corrected rows still break rules.

    Args:
        verdict: FAIL, with a reason for every broken rule.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.sentence())
        self.verdict = verdict


def read_corrections(store: Store, uri: str, source: Source | None) -> list[str]:
    """Return the row ids in a file of corrections, after a look at its header.

    Raises:
        InputError: It is not as `stepzero release BATCH --export FILE` writes it, or names a row twice.
    """
    if source is None:
        raise InputError(
            f"corrections {uri}",
            value=bare("a use case without a source section"),
            allowed="corrections where columns and their types are declared",
            action="declare source.columns, or accept the rows as they are",
        )
    wanted = [ROW_ID, REASONS, *source.columns]
    with store.open(uri) as stream:
        lines = list(csv.reader(bytes(stream.read()).decode("utf-8-sig").splitlines()))
    if not lines or lines[0] != wanted:
        found = ", ".join(lines[0]) if lines else "an empty file"
        raise InputError(
            f"corrections {uri}", value=bare(found), allowed=f"the columns {', '.join(wanted)}",
            action="begin from the file that `stepzero release BATCH --export FILE` writes",
        )  # fmt: skip
    ids = [line[0] for line in lines[1:] if line]
    twice = sorted({row for row in ids if ids.count(row) > 1}) if len(set(ids)) < len(ids) else []
    if twice or not ids:
        raise InputError(
            f"corrections {uri}",
            value=bare(f"{', '.join(twice[:_MOST_TOLD])} more than once" if twice else "a header and no row"),
            allowed="every row once, and at least one",
            action="delete the lines that are too many",
        )
    return ids


def corrected_rows(
    workspace: Workspace, use_case: Any, *, uri: str, ids: Sequence[str], beside: Sequence[Reference], number: int
) -> Reference:
    """Judge corrected rows, and write them as a dataset if not one of them breaks a rule.

    Args:
        workspace: Of the stage.
        use_case: Its sections quality and source.
        uri: The file of corrections.
        ids: The rows of the file that are meant.
        beside: Rows that are already used: a corrected row must be unique among those, too.
        number: Tells the tries of one stage apart.

    Raises:
        RefusedError: One breaks a rule.
        InputError: The file cannot be read.
    """
    from pyspark.sql import functions

    from stepzero.adapters.spark import quoted, sorted_in_one_file, write_dataset

    rows = _read(workspace, use_case.source, uri).filter(functions.col(ROW_ID).isin(list(ids)))
    _check_count(rows.count(), ids, uri)
    _judge(workspace, use_case, rows, beside)
    columns = [quoted(name) for name in use_case.source.columns]
    plain = sorted_in_one_file(rows, ROW_ID).select(*columns)
    folder = f"{workspace.folder}/corrected-{number}"
    return write_dataset(workspace.store, folder, plain, rows=len(ids), producer=workspace.stage)


def _check_count(found: int, ids: Sequence[str], uri: str) -> None:
    if found != len(ids):
        raise InputError(
            f"corrections {uri}",
            value=bare(f"{found} readable rows"),
            allowed=f"the {len(ids)} rows that its ids name, each on one line",
            action="take line breaks out of its cells",
        )


def _read(workspace: Workspace, source: Source, uri: str) -> DataFrame:
    from stepzero.adapters.batches import read_batch
    from stepzero.adapters.ledger import make_batch

    columns = {ROW_ID: "string", REASONS: "string", **source.columns}
    as_written = source.model_copy(update={"format": "csv", "columns": columns})
    rows = read_batch(workspace.spark, workspace.store, make_batch(workspace.store, [uri]), as_written).drop(REASONS)
    return _without_quotes(rows, [name for name, kind in source.columns.items() if kind == "string"])


def _without_quotes(rows: DataFrame, names: Sequence[str]) -> DataFrame:
    """Take away the quote that the export put before texts that a spreadsheet would take for formulas."""
    from pyspark.sql import functions

    from stepzero.adapters.spark import quoted

    texts = {name: functions.regexp_replace(functions.col(quoted(name)), QUOTE, "") for name in names}
    return rows.withColumns(texts)


def _judge(workspace: Workspace, use_case: Any, rows: DataFrame, beside: Sequence[Reference]) -> None:
    """Raise where a corrected row breaks a rule that condemns rows; the rows beside them are not judged again."""
    from pyspark.sql import functions

    from stepzero.stages.quality_lookups import look_up_all
    from stepzero.stages.quality_rules import row_rules

    both, quality = _united(workspace, rows, beside), use_case.quality
    kept = ExitStack()
    both, rules = look_up_all(both, row_rules(both, quality.rules, quality.datasets), quality, workspace, kept)
    judged = both.select("*", *(rule.broken.alias(rule.flag) for rule in rules)).cache()
    everywhere = judged.agg(
        functions.count("*"), *(functions.sum(functions.col(rule.flag).cast("long")) for rule in rules)
    )
    total, *broken = everywhere.collect()[0]
    strict = [
        rule
        for rule, bad in zip(rules, broken, strict=True)
        if rule.severity == "error" and bad and 1 - bad / total < rule.at_least
    ]
    ours = judged.filter(functions.col(ROW_ID).isNotNull())
    found = {
        rule.flag: [row[0] for row in ours.filter(rule.flag).select(ROW_ID).sort(ROW_ID).collect()] for rule in strict
    }
    judged.unpersist()
    kept.close()
    reasons = [_reason(rule, found[rule.flag]) for rule in strict if found[rule.flag]]
    if reasons:
        raise RefusedError(Verdict(outcome=Outcome.FAIL, subject="corrected rows", reasons=tuple(reasons)))


def _united(workspace: Workspace, rows: DataFrame, beside: Sequence[Reference]) -> DataFrame:
    from pyspark.sql import functions

    from stepzero.adapters.batches import UNREADABLE
    from stepzero.adapters.spark import read_dataset

    readable = functions.array().cast("array<string>")
    for reference in beside:
        used = read_dataset(workspace.spark, workspace.store, reference)
        nobody = functions.lit(None).cast("string")
        rows = rows.unionByName(used.withColumn(ROW_ID, nobody).withColumn(UNREADABLE, readable))
    return rows


def _reason(rule: Any, ids: list[str]) -> Reason:
    more = f" and {len(ids) - _MOST_TOLD} more" if len(ids) > _MOST_TOLD else ""
    return Reason(
        rule=rule.rule,
        column=rule.column,
        observed=f"rows {', '.join(ids[:_MOST_TOLD])}{more} break it",
        bound=rule.bound,
        rows=len(ids),
    )

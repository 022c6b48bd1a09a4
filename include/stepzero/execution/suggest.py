"""Suggesting rules for a file, and letting the real gate judge the file by them."""

from __future__ import annotations

import csv
import gzip
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import explained_reading, format_of, read_batch, read_undeclared
from stepzero.adapters.ledger import make_batch
from stepzero.adapters.profile import profile_frame
from stepzero.adapters.spark import start_session
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import InputError, did_you_mean
from stepzero.core.stages import find_stage, load_stage
from stepzero.spec.data import Source
from stepzero.spec.load import validate
from stepzero.spec.plan import Batch, Plan
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View
from stepzero.stages.quality_suggestions import Suggestion, suggest_anomalies, suggest_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyspark.sql import DataFrame

    from stepzero.core.verdict import Verdict
    from stepzero.spec.environment import Environment

GATE = "quality_gate"
_KINDS = {
    **{kind: kind for kind in ("int", "bigint", "double", "string", "boolean", "date", "timestamp")},
    "smallint": "int",
    "tinyint": "int",
    "float": "double",
    "timestamp_ntz": "timestamp",
}


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """A use case to begin with, and what the gate said of the file by it."""

    name: str
    source: dict[str, Any] | None
    """None where a column cannot be declared."""
    rules: tuple[Suggestion, ...]
    anomalies: tuple[Suggestion, ...]
    verdict: Verdict

    def use_case(self) -> UseCase:
        """Return it as a model."""
        return _use_case(self.name, self.source, self.rules, self.anomalies)


def suggest_for(path: Path, name: str, target: str | None, environment: Environment) -> Suggested:
    """Profile a file and suggest rules that it passes.

    Args:
        path: CSV, JSON lines or Parquet, whole path.
        name: Of the use case.
        target: The label.
        environment: Where Spark is.

    Raises:
        InputError: The file is no table, or has no such label.
    """
    session = start_session(environment, "suggest")
    with tempfile.TemporaryDirectory(prefix="stepzero-suggest-") as folder:
        store = Store(f"file://{folder}")
        batch = make_batch(store, [f"file://{path}"])
        with explained_reading(batch):
            multiline = format_of([path.name]) == "csv" and holds_line_breaks(path)
            inferred = read_undeclared(session, store, batch, multiline=multiline)
            source = declare(inferred, path, name, multiline=multiline)
            read = validate(source, Source) if source else None
            frame = (read_batch(session, store, batch, read) if read else inferred).cache()
            _check_target(target, frame.columns)
            columns = profile_frame(session, frame)
            frame.unpersist()
        rules = tuple(suggest_rules(columns, target, declared=source is not None))
        anomalies = tuple(suggest_anomalies(columns, target))
        verdict = judge(batch, _use_case(name, source, rules, anomalies), store, environment)
    return Suggested(name=name, source=source, rules=rules, anomalies=anomalies, verdict=verdict)


def judge(batch: Batch, use_case: UseCase, store: Store, environment: Environment) -> Verdict:
    """Let the gate judge a batch outside any run; it writes into the given store.

    Raises:
        RuleError: A rule cannot be evaluated.
    """
    info = find_stage(GATE)
    plan = Plan(
        run=GATE,
        use_case=use_case,
        environment=environment.name,
        batch=batch,
        as_of="1970-01-01T00:00:00+00:00",
        approval="rule",
    )
    workspace = Workspace(
        store=store,
        environment=environment,
        plan=View(plan, info.plan, always=("run", "folder", "as_of", "ledger")),  # type: ignore[arg-type]
        folder=f"results/{batch.digest}",
        stage=GATE,
    )
    verdict = load_stage(info)(View(use_case, info.sections, always=("name",)), {}, workspace).verdict
    assert verdict is not None  # noqa: S101 - the gate always has one
    return verdict


def holds_line_breaks(path: Path) -> bool:
    """Tell whether a quoted cell of a CSV file holds a line break: such a file cannot be read line by line."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        try:
            return any(reader.line_num != number for number, _ in enumerate(reader, start=1))
        except csv.Error:
            return False


def declare(frame: DataFrame, path: Path, name: str, *, multiline: bool = False) -> dict[str, Any] | None:
    """Return a source section for what was read by inference; None where a column cannot be declared."""
    columns = {column: _KINDS.get(kind.partition("(")[0], "") for column, kind in frame.dtypes[:-1]}
    unnamed = any(column.startswith("_c") and column[2:].isdigit() for column in columns)
    columns |= {column: "double" for column, kind in frame.dtypes if kind.startswith("decimal")}
    if unnamed or len(columns) != len(frame.columns) - 1 or "" in columns.values():
        return None
    declared: dict[str, Any] = {"format": format_of([path.name]), "prefix": f"landing/{name}/", "columns": columns}
    return declared | ({"multiline": True} if multiline else {})


def _use_case(
    name: str, source: dict[str, Any] | None, rules: Sequence[Suggestion], anomalies: Sequence[Suggestion]
) -> UseCase:
    quality = {"rules": [one.rule for one in rules], "anomalies": [one.rule for one in anomalies]}
    return validate({"name": name, "quality": quality, **({"source": source} if source else {})}, UseCase)


def _check_target(target: str | None, columns: Sequence[str]) -> None:
    if target is not None and target not in columns:
        raise InputError("--target", value=target, allowed=did_you_mean(target, columns), action="name a column")

"""The quality gate and the prepare stage on small batches, in one Spark session, without an orchestrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from stepzero.adapters.datasets import manifest_of, read_frame
from stepzero.adapters.ledger import Accepted, accepted_batches, make_batch
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput, StageResult, find_stage, load_stage
from stepzero.core.verdict import Outcome, Reason
from stepzero.execution.judgement import enter_judgement
from stepzero.execution.planning_parts import asks_how_fresh, history_before, referenced_datasets
from stepzero.generators import to_csv
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Batch, Member, Released
from stepzero.spec.release import ReleaseForm
from stepzero.spec.use_case import UseCase
from stepzero.spec.view import View

NAME = "toy"
SMALL = {"id": "int", "amount": "double", "country": "string", "label": "int"}
"""Columns of the small batch that most tests use."""
FOR_FEW_ROWS = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "2",
}
"""How Spark computes, not what: compiling a class per expression and planning anew after each shuffle pay off from many
rows on, and ten rows wait for it. What counts jobs or judges real files keeps the product's settings.
"""


def small(rows: int = 10) -> pd.DataFrame:
    """Return a good batch: ids count up, two countries, two classes."""
    return pd.DataFrame(
        {
            "id": range(1, rows + 1),
            "amount": [float(number) for number in range(1, rows + 1)],
            "country": ["DE" if number % 2 else "FR" for number in range(rows)],
            "label": [number % 2 for number in range(rows)],
        }
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate left behind."""

    result: StageResult
    accepted: pd.DataFrame
    quarantined: pd.DataFrame
    store: Store
    batch: Batch

    @property
    def outcome(self) -> Outcome:
        """Return the verdict's outcome."""
        assert self.result.verdict is not None
        return self.result.verdict.outcome

    @property
    def reasons(self) -> dict[str, Reason]:
        """Return the verdict's reasons by the name of their rule."""
        assert self.result.verdict is not None
        return {reason.rule: reason for reason in self.result.verdict.reasons}

    def reasons_of(self, **key: Any) -> list[str]:
        """Return why one row is in quarantine."""
        ((name, value),) = key.items()
        (found,) = self.quarantined.loc[self.quarantined[name] == value, "_reasons"]
        return list(found)

    def text(self, output: str) -> str:
        """Return a small file that the gate wrote."""
        return self.store.read_text(self.result.outputs[output].uri)

    def as_input(self) -> StageInput:
        """Return the result as the next stage sees it."""
        reference = ResultReference(stage="quality_gate", uri="", digest="")
        result = self.result
        return StageInput(reference=reference, outputs=result.outputs, values=result.values, verdict=result.verdict)


class Gate:
    """Lands files in a store of its own and runs the Spark stages on them."""

    def __init__(self, folder: Path, spark: Any) -> None:
        self.store = Store(f"file://{folder}")
        self.spark = spark
        self.runs = 0

    def land(self, data: pd.DataFrame | str | bytes, name: str = "batch.csv") -> str:
        """Write a landed file and return its URI."""
        uri = f"landing/{NAME}/{name}"
        raw = to_csv(data) if isinstance(data, pd.DataFrame) else data.encode() if isinstance(data, str) else data
        with self.store.open(uri, "wb") as stream:
            stream.write(raw)
        return uri

    def land_parquet(self, frame: Any, name: str = "batch.parquet") -> str:
        """Write a landed Parquet file from a pandas frame, or a folder of them from a Spark frame."""
        uri = f"landing/{NAME}/{name}"
        if isinstance(frame, pd.DataFrame):
            with self.store.open(uri, "wb") as stream:
                frame.to_parquet(stream, index=False)
        else:
            frame.write.parquet(self.store.url(uri))
        return uri

    def judge(
        self,
        data: pd.DataFrame | str | bytes | None,
        rules: Sequence[Mapping[str, Any]] = (),
        columns: Mapping[str, str] | None = SMALL,
        *,
        name: str = "batch.csv",
        uris: Sequence[str] = (),
        source: Mapping[str, Any] | None = None,
        **quality: Any,
    ) -> Judged:
        """Land a batch, or take landed files, and judge it; without columns there is no source section."""
        landed = list(uris) or [self.land(cast("Any", data), name)]
        sections: dict[str, Any] = {"quality": {"rules": [dict(rule) for rule in rules], **quality}}
        if columns is not None:
            sections["source"] = {"format": "csv", "prefix": "landing/toy/", "columns": dict(columns), **(source or {})}
        return self.judge_use_case(UseCase.model_validate({"name": NAME, **sections}), landed)

    def judge_use_case(
        self,
        use_case: UseCase,
        uris: Sequence[str],
        as_of: str = "2026-01-01T00:00:00+00:00",
        partition: str | None = None,
    ) -> Judged:
        """Judge landed files by a whole use case, and enter them into ledger and history."""
        batch = make_batch(self.store, [uri for one in uris for uri in self._files(one)], partition)
        history = history_before(self.store, use_case, batch, as_of)
        frozen: dict[str, Any] = {
            "history": history,
            "datasets": referenced_datasets(self.store, use_case.quality),
            "fresh_as_of": as_of if asks_how_fresh(use_case.quality) else None,
        }
        result = self.run("quality_gate", use_case, {}, batch=batch, as_of=as_of, **frozen)
        assert result.verdict is not None
        assert result.history is not None
        judged: Any = _Frozen(run=f"run-{self.runs}", batch=batch, as_of=as_of)
        enter_judgement(self.store, judged, result.verdict, result.outputs, result.history)
        return Judged(
            result=result,
            accepted=self._frame(result, "accepted"),
            quarantined=self._frame(result, "quarantined"),
            store=self.store,
            batch=batch,
        )

    def prepare(
        self, judged: Judged, use_case: UseCase, window: Sequence[Member] = (), released: tuple[Released, ...] = ()
    ) -> StageResult:
        """Prepare what the gate accepted."""
        return self.run("prepare", use_case, {"checked": judged.as_input()}, window=tuple(window), released=released)

    def release(self, use_case: UseCase, entry: Accepted, **form: Any) -> StageResult:
        """Let rows of a batch out of quarantine."""
        asked = ReleaseForm(**{"batch": entry.partition, "by": "anna", "why": "mended"} | form)
        batch = Batch(partition=entry.partition, digest=entry.digest, files=entry.files)
        return self.run("release", use_case, {}, batch=batch, parameters={"form": asked.model_dump_json()})

    def run_prepare(self, use_case: UseCase, accepted: StageResult) -> StageResult:
        """Prepare what a stage between gate and preparation made."""
        reference = ResultReference(stage="join_tables", uri="", digest="")
        checked = StageInput(reference=reference, outputs=accepted.outputs, values=accepted.values, verdict=None)
        return self.run("prepare", use_case, {"checked": checked}, window=())

    def prepare_frame(self, frame: pd.DataFrame, use_case: UseCase, files: int = 1) -> StageResult:
        """Prepare rows without a gate before them, written as so many files."""
        self.runs += 1
        folder = f"accepted-{self.runs}"
        size = -(-len(frame) // files)
        for number in range(files):
            with self.store.open(f"{folder}/part-{number}.parquet", "wb") as stream:
                frame.iloc[number * size : (number + 1) * size].to_parquet(stream, index=False)
        from stepzero.adapters.datasets import commit_dataset

        accepted = commit_dataset(self.store, folder, rows=len(frame), schema=[], producer="quality_gate")
        reference = ResultReference(stage="quality_gate", uri="", digest="")
        checked = StageInput(reference=reference, outputs={"accepted": accepted}, values={}, verdict=None)
        return self.run("prepare", use_case, {"checked": checked}, window=())

    def frame(self, reference: Reference) -> pd.DataFrame:
        """Read a dataset."""
        return read_frame(self.store, reference)

    def entered(self) -> list[str]:
        """Return the digests of the batches that the ledger holds."""
        return [entry.digest for entry in accepted_batches(self.store, NAME)]

    def _files(self, uri: str) -> list[str]:
        if "://" in uri or not self.store.files.isdir(self.store.path(uri)):
            return [uri]
        return [found for found in self.store.list(uri) if not found.rpartition("/")[2].startswith(("_", "."))]

    def _frame(self, result: StageResult, name: str) -> pd.DataFrame:
        return self.frame(result.outputs[name]) if name in result.outputs else pd.DataFrame()

    def run_stage(
        self, stage: str, use_case: UseCase, inputs: dict[str, StageResult], **parameters: str
    ) -> StageResult:
        """Run a Spark stage that reads no plan, on results of others."""
        given = {
            name: StageInput(
                reference=ResultReference(stage=name, uri="", digest=""),
                outputs=result.outputs,
                values=result.values,
                verdict=result.verdict,
            )
            for name, result in inputs.items()
        }
        return self.run(stage, use_case, given, parameters=parameters)

    def run(
        self,
        stage: str,
        use_case: UseCase,
        inputs: dict[str, Any],
        parameters: dict[str, str] | None = None,
        **plan: Any,
    ) -> StageResult:
        """Run a stage as the executor does, without key and reuse."""
        self.runs += 1
        info = find_stage(stage)
        workspace = Workspace(
            store=self.store,
            environment=Environment(name="gate", store=self.store.root),
            plan=cast(
                "Any", View(_Frozen(run=f"run-{self.runs}", **plan), info.plan, always=("run", "as_of", "ledger"))
            ),
            folder=f"results/{stage}-{self.runs}",
            stage=stage,
            parameters=parameters or {},
        )
        workspace.__dict__["spark"] = self.spark
        view = View(use_case, info.sections, always=("name",), parameters=parameters)
        return load_stage(info)(view, inputs, workspace)


class _Frozen:
    """The fields of a plan that the Spark stages read."""

    def __init__(self, *, run: str, as_of: str = "", **fields: Any) -> None:
        self.run, self.as_of, self.ledger = run, as_of, NAME
        nothing = {"batch": None, "window": (), "released": (), "history": (), "datasets": {}, "half_life": None}
        self.__dict__.update({**nothing, "days": (), "released_days": (), **fields})


def rows_of(store: Store, reference: Reference) -> int:
    """Return how many rows a dataset's manifest states."""
    return int(manifest_of(store, reference)["rows"])


def not_above(*, column: str | None, limit: float | None) -> str:
    """Return the predicate of a rule of somebody's own."""
    if limit is None:
        raise ValueError("no limit")
    return f"{column} <= {limit}"

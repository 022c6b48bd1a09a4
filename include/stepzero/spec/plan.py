"""The plan of a run: everything that must not change under it, frozen by its first task."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stepzero.core.digests import digest_text
from stepzero.spec.base import Section
from stepzero.spec.load import validate
from stepzero.spec.recipes import find_recipe, with_recipe
from stepzero.spec.use_case import UseCase

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


class BatchFile(Section):
    """One landed file."""

    uri: str
    """Relative to the store's root."""
    digest: str
    bytes: int


class Batch(Section):
    """What landed: the files that a run was started for."""

    partition: str
    """``YYYY-MM-DD`` of a scheduled run; of a manual one the batch's digest, or its name where it was judged before."""
    digest: str
    files: tuple[BatchFile, ...]


class Member(Section):
    """An accepted batch of an earlier run within the window."""

    partition: str
    digest: str
    accepted: dict[str, Any]
    """A `Reference` as JSON."""
    released: tuple[dict[str, Any], ...] = ()
    """Rows that left its quarantine later: one `Reference` as JSON for each release."""


class Released(Section):
    """Rows that left a quarantine of the run's own batch, in earlier releases."""

    accepted: str
    """Digest of the accepted rows that they go with. A batch judged anew may have others; then none of these count."""
    rows: tuple[dict[str, Any], ...]
    """One `Reference` as JSON for each release."""


def _several(value: Any) -> Any:
    """Read what plans of earlier releases say: one, or null."""
    return () if value is None else (value,) if isinstance(value, dict | Released) else value


Releases = Annotated[tuple[Released, ...], BeforeValidator(_several)]
"""One for each set of rows that was accepted of a batch, under other rules each."""


class HistoryPoint(Section):
    """Metrics of a batch before the run's own: the anomaly rules compare with accepted ones, reports show all."""

    partition: str
    values: dict[str, float]
    accepted: bool = True


class TablePlan(Section):
    """What a run freezes of one of several tables."""

    batch: Batch
    history: tuple[HistoryPoint, ...] = ()
    released: Releases = ()
    datasets: dict[str, Batch] = Field(default_factory=dict)
    fresh_as_of: str | None = None


class Champion(Section):
    """The version that serves now, as it was when the run began."""

    version: str
    digest: str


class EarlierSearch(Section):
    """A search of an earlier run that one of this run begins from."""

    sampler: str
    model: str
    uri: str
    digest: str

    def is_cell(self, sampler: str, model: str) -> bool:
        """Tell whether it is the one of a sampler and a model."""
        return (self.sampler, self.model) == (sampler, model)


class Watched(Section):
    """The window of served traffic that a run of the watch is about, ISO 8601; the end is not part of it."""

    start: str
    end: str


class Form(Section):
    """What a person may set for one run, in the trigger form or on the command line."""

    recipe: str | None = None
    """Name of a declared recipe to learn by; null is what the use case says itself."""
    samplers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    metric: Literal["average_precision", "roc_auc", "f1", "rmse", "mae", "r2"] | None = None
    folds: int | None = Field(default=None, ge=2, le=10)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    approval: Literal["rule", "person"] | None = None
    window: Literal["declared", "batch", "recent", "all"] = "declared"
    """Train on the window that the use case declares, on this run's batch alone, on the newest, or on all accepted."""
    recent_batches: int | None = Field(default=None, ge=1)
    """With ``recent``: how many batches (days, where a source has daily partitions), this run's own included."""
    half_life: float | None = Field(default=None, gt=0)
    """Batches after which a row counts half in fits; the watch says it. Null: all rows count alike."""
    reason: str | None = Field(default=None, max_length=2_000)
    """Why the run was started; the watch says it."""
    compared_on: dict[str, Any] | None = None
    """Reference of recent labelled requests, on which the challenger must hold its own; the watch names it."""
    earlier: tuple[str, ...] | None = None
    """Partitions of accepted batches that the run trains on besides its own; null is what `window` says. Neither with
    another window than the declared one, nor with daily partitions or several tables."""
    recompute: tuple[str, ...] = ()
    """Stages to compute again although nothing changed."""
    batch: str | None = None
    """Partition or file name of a landed batch; null is all files that no run has judged yet, or else the batch that
    was accepted last. What a run has refused is judged again only where it is named. With daily partitions: a day or a
    file of it; null is the newest day that was not refused. With several tables: the name of a file of each that is
    meant, with commas between them."""


class Plan(Section):
    """What all later stages of a run read."""

    run: str
    use_case: UseCase
    environment: str
    batch: Batch
    window: tuple[Member, ...] = ()
    released: Releases = ()
    history: tuple[HistoryPoint, ...] = ()
    """Oldest first; only the metrics that `quality.anomalies` names, so that nothing else is part of a key."""
    days: tuple[Batch, ...] = ()
    """Earlier days of an explicit window, as they have landed; the gate judges each by itself."""
    released_days: tuple[Released, ...] = ()
    """What left the quarantine of those days."""
    tables: dict[str, TablePlan] = Field(default_factory=dict)
    """What of it belongs to each table, where there are several; `batch` is then the files of all."""
    table: str = ""
    """The table that this plan is about; empty for a run's own plan."""
    promotes: bool = True
    """Whether its model may become a version: a backfill evaluates and never promotes, nor asks for a retrain."""
    champion: Champion | None = None
    as_of: str
    """When the run began, ISO 8601, from the orchestrator and never from a stage's clock."""
    datasets: dict[str, Batch] = Field(default_factory=dict)
    """What had landed of the other datasets that foreign keys refer to, when the run began."""
    fresh_as_of: str | None = None
    """`as_of` where a rule judges how fresh rows are; else null, so that another day's run may reuse the verdict."""
    approval: Literal["rule", "person"]
    recompute: tuple[str, ...] = ()
    warm_start: tuple[EarlierSearch, ...] = ()
    author: str = ""
    """Who started the run; empty for a schedule."""
    links: dict[str, str] = Field(default_factory=dict)
    """``airflow``: the page of the run."""
    price_per_hour: float | None = None
    """What an hour of the machine that tunes costs, where a budget of money ends the search; else null, so that another
    price changes nothing."""
    half_life: float | None = None
    """Batches after which a row counts half in fits; null: all rows count alike."""
    reason: str | None = None
    """Why the run was started, where somebody said so."""
    compared_on: dict[str, Any] | None = None
    """Reference of recent labelled requests on which challenger and champion are compared, too."""
    purpose: Literal["lifecycle", "release", "watch"] = "lifecycle"
    """A run that lets rows out of quarantine, or watches served traffic, trains nothing."""
    watched: Watched | None = None

    @property
    def folder(self) -> str:
        """Return the run's folder in the store."""
        return run_folder(self.use_case.name, self.run)

    @property
    def ledger(self) -> str:
        """Return the name under which ledger, history and releases know the batch: each table has its own."""
        return ledger_name(self.use_case.name, self.table)

    def part(self, day: str, table: str) -> Plan:
        """Return the plan that a stage sees: of an earlier day, of one of several tables, or the whole one."""
        if day:
            return self.of_day(day)
        return self.of_table(table) if table else self

    def of_table(self, name: str) -> Plan:
        """Return the plan under which the gate judges one of several tables.

        Raises:
            SpecError: There is no such table.
        """
        use_case = self.use_case.of_table(name)
        frozen = {field: getattr(self.tables[name], field) for field in TablePlan.model_fields}
        return self.model_copy(update={**frozen, "use_case": use_case, "table": name})

    def of_day(self, partition: str) -> Plan:
        """Return the plan under which the gate judges an earlier day.

        It is judged by its own rows alone, without the history that anomaly rules compare with: what ran before
        must not matter. Its own run compares it; a day that it refused by that is not in `days`.
        """
        (batch,) = [batch for batch in self.days if batch.partition == partition]
        return self.model_copy(update={"batch": batch, "days": (), "history": (), "as_of": end_of_day(partition)})

    def cells(self) -> list[dict[str, str]]:
        """Return every combination of sampler and model."""
        models = self.use_case.train.models if self.use_case.train else {}
        return [{"sampler": sampler, "model": model} for sampler in self.use_case.resample for model in models]


def ledger_name(use_case: str, table: str = "") -> str:
    """Return the name under which ledger, history and releases know the batches of a use case, or of one table.

    >>> ledger_name("auto_claims_fraud", "claims")
    'auto_claims_fraud.claims'
    """
    return f"{use_case}.{table}" if table else use_case


def run_folder(use_case: str, run: str) -> str:
    """Return the folder of a run; characters that a path should not have are replaced.

    >>> run_folder("abalone_age", "manual__2026-11-21")
    'runs/abalone_age/manual__2026-11-21'
    """
    safe = _UNSAFE.sub("_", run)
    suffix = "" if safe == run else f"-{digest_text(run)[:8]}"
    return f"runs/{use_case}/{safe}{suffix}"


def end_of_day(partition: str) -> str:
    """Return when a day ends, ISO 8601 in UTC.

    >>> end_of_day("2018-08-31")
    '2018-09-01T00:00:00+00:00'
    """
    midnight = datetime.combine(date.fromisoformat(partition), time(), tzinfo=UTC)
    return (midnight + timedelta(days=1)).isoformat()


def apply_form(use_case: UseCase, form: Form) -> UseCase:
    """Merge what a person set for one run into the use case.

    Raises:
        SpecError: A recipe, model or sampler is not declared, or the values do not fit together.
    """
    data = use_case.model_dump(mode="json", by_alias=True)
    if form.recipe:
        data = with_recipe(data, find_recipe(use_case.recipes, form.recipe))
    if form.samplers:
        data["resample"] = list(form.samplers)
    if use_case.train is not None:
        train = data["train"]
        if form.models:
            _check_models(form.models, train["models"])
            train["models"] = {name: train["models"][name] for name in form.models}
            data["compare"]["tie"] = [name for name in data["compare"]["tie"] if name in form.models]
        train.update(
            {name: value for name in ("metric", "folds", "seed") if (value := getattr(form, name)) is not None}
        )
    return validate(data, UseCase)


def _check_models(names: tuple[str, ...], declared: dict[str, Any]) -> None:
    from stepzero.core.errors import SpecError, did_you_mean

    for name in names:
        if name not in declared:
            raise SpecError(
                "form.models",
                value=name,
                allowed=did_you_mean(name, declared),
                action="choose among the declared models",
            )

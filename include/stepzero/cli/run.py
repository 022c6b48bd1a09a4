"""`stepzero run`: services up, data landed, DAG triggered and watched, results shown."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepzero.adapters.store import Store
from stepzero.cli.run_results import RunResults
from stepzero.core.errors import DONE, FAULT, VERDICT_NO, SpecError, bare
from stepzero.spec.load import load_environment, load_use_case, validate
from stepzero.spec.plan import Form, apply_form

if TYPE_CHECKING:
    from stepzero.cli.airflow_api import AirflowApi
    from stepzero.spec.data import Source
    from stepzero.spec.environment import Environment
    from stepzero.spec.use_case import UseCase


GATE = "quality_gate"


class Approval(StrEnum):
    """Who lets a new version serve."""

    PERSON = "person"
    RULE = "rule"


class Metric(StrEnum):
    """What the search maximises."""

    AVERAGE_PRECISION = "average_precision"
    ROC_AUC = "roc_auc"
    F1 = "f1"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"


def run(  # noqa: PLR0913 - one per option
    *,
    use_case: Annotated[str, typer.Option(help="Name of a file in include/usecases.")] = "credit_card_fraud",
    data: Annotated[Path | None, typer.Option(help="File, or folder of tables; without it, generated data.")] = None,
    approval: Annotated[Approval | None, typer.Option(help="Who approves; may only tighten.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Declared recipe to learn by, as `thorough` of the cards.")] = None,
    sampler: Annotated[list[str] | None, typer.Option(help="Resampler to try; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Declared model to try; may be repeated.")] = None,
    metric: Annotated[Metric | None, typer.Option(help="What the search maximises.")] = None,
    folds: Annotated[int | None, typer.Option(min=2, max=10, help="Folds of the cross-validation.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of folds, samples and models.")] = None,
    recompute: Annotated[list[str] | None, typer.Option(help="Stage to compute again; may be repeated.")] = None,
    watch: Annotated[bool, typer.Option(help="Show the stages and wait for the end.")] = True,
    down: Annotated[bool, typer.Option("--down", help="Stop the services at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Run a use case from a landed file to a served champion."""
    began = time.monotonic()
    asked = {"recipe": recipe, "samplers": sampler, "models": model, "metric": metric, "folds": folds, "seed": seed,
             "approval": approval, "recompute": recompute}  # fmt: skip
    form = {name: value for name, value in asked.items() if value is not None and value != []}
    declared, environment = load_use_case(use_case), load_environment()
    apply_form(declared, validate(form, Form))
    _look_at(declared, data)
    api = _services(environment)
    try:
        store = Store(environment.store)
        landed = _land(store, declared, data)
        if not declared.tables:
            _claim(store, declared.name, _source(declared), landed)
        api.wait_for_dag(declared.name, typer.echo)
        go = _Runs(api, store, environment, declared.name, declared.source, form)
        status = go.one_after_the_other(landed, began, watch=watch, as_json=as_json)
    finally:
        if down:
            from stepzero.cli.services.control import stop_services

            # JSON, where it is asked for, is the last line.
            stop_services(lambda line: typer.echo(line, err=as_json))
    raise typer.Exit(status)


@dataclass(frozen=True)
class _Runs:
    """The runs that one command starts."""

    api: AirflowApi
    store: Store
    environment: Environment
    use_case: str
    source: Source | None
    """None where there are several tables: all that landed is one batch."""
    form: dict[str, Any]

    def one_after_the_other(self, landed: list[str], began: float, *, watch: bool, as_json: bool) -> int:
        """Start a run for each part, when the one before has ended well; return the last exit status."""
        earlier: list[str] = []
        status = DONE
        batches = _batches(self.source, landed)
        for number, batch in enumerate(batches, start=1):
            if len(batches) > 1:
                typer.echo(f"part {number} of {len(batches)}: {batch}")
            form = {**self.form, "batch": batch, **_window(self.source, earlier)}
            started = self.api.trigger(self.use_case, form)
            typer.echo(f"run {started}: {self.api.link(self.use_case, started)}")
            if not watch:
                if number < len(batches):
                    typer.echo(
                        f"{len(batches) - number} more parts have landed: run again, with --watch, to go on with them"
                    )
                if as_json:
                    typer.echo(_started(self.api, self.use_case, started, batch, began))
                break
            found = RunResults(self.store, self.use_case, started)
            status = _report(self.api, found, self.environment, batch, began, as_json=as_json)
            if status not in {DONE, VERDICT_NO} or (found.refusal and found.refusal.stage == GATE):
                break
            earlier.append(str(found.pointer("plan")["values"]["partition"]))
        return status


def _batches(source: Source | None, landed: list[str]) -> list[str]:
    """Return what the form names each run's batch by; files of several tables are one batch."""
    if source is None:
        return [",".join(uri.rpartition("/")[2] for uri in landed)]
    return [uri.split("/")[-2 if source.partition else -1] for uri in landed]


def _window(source: Source | None, earlier: list[str]) -> dict[str, Any]:
    """Return what a run trains on: its batch, and the parts of the same file before it; tables have no window."""
    if source is None or source.partition:
        return {"window": "declared"}
    return {"earlier": earlier} if earlier else {"window": "batch"}


def _look_at(declared: UseCase, data: Path | None) -> None:
    """Look at what is to be landed before anything is started.

    Raises:
        InputError: It is plainly not what is declared.
    """
    from stepzero.adapters.landing import inspect, table_files

    if declared.tables:
        if data is not None:
            table_files(_tables(declared), data)
    elif data is not None and not _source(declared).partition:
        inspect(_source(declared), data)
    else:
        _source(declared)


def _tables(declared: UseCase) -> dict[str, Source]:
    return {name: table.source for name, table in declared.tables.items()}


def _source(declared: UseCase) -> Source:
    if declared.source is None:
        raise SpecError(
            f"{declared.name}.source",
            value=bare("none"),
            allowed="a source section, or tables",
            action="declare where rows come from, then land a file",
        )
    return declared.source


def _services(environment: Environment) -> AirflowApi:
    from stepzero.cli.airflow_api import connect
    from stepzero.cli.services.control import start_services
    from stepzero.cli.setup import ensure_runtime

    ensure_runtime(environment, typer.echo)
    start_services(environment, typer.echo)
    return connect(environment)


def _land(store: Store, declared: UseCase, data: Path | None) -> list[str]:
    """Land a file or a folder of tables, or generated rows; return what runs are started for."""
    if data is not None:
        return _landed(store, declared, data)
    from stepzero.generators import write_generated

    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        form = "csv" if declared.tables else _source(declared).format
        return _landed(store, declared, write_generated(declared.name, Path(folder), form), " (generated)")


def _landed(store: Store, declared: UseCase, data: Path, told: str = "") -> list[str]:
    from stepzero.adapters.landing import land_tables

    if declared.tables:
        uris = list(land_tables(store, _tables(declared), data).values())
    else:
        uris = _land_file(store, _source(declared), data)
    typer.echo(f"landed {', '.join(uris)}{told}")
    return uris


def _claim(store: Store, use_case: str, source: Source, uris: list[str]) -> None:
    """Keep what was landed here for the runs that are started here, where arrivals start runs by themselves."""
    from stepzero.adapters.arrivals import Arrivals

    arrivals = Arrivals(store, use_case, source.prefix)
    seen = arrivals.listing().seen
    arrivals.claim(f"by hand: {', '.join(uris)}", [seen[uri] for uri in uris if uri in seen])


def _land_file(store: Store, source: Source, path: Path) -> list[str]:
    """Land a file, in its declared parts; of daily partitions, return the newest."""
    from stepzero.adapters.landing import land_days, land_parts

    return list(land_days(store, source, path).values())[-1:] if source.partition else land_parts(store, source, path)


def _report(
    api: AirflowApi, found: RunResults, environment: Environment, batch: str, began: float, *, as_json: bool
) -> int:
    """Watch the run to its end and print what it found; return the exit status."""
    from stepzero.cli.progress import follow
    from stepzero.cli.results import print_results

    ended = follow(api, found.use_case, found.run, live=not as_json)
    links = {"airflow": api.link(found.use_case, found.run)} | found.links
    if found.values("register"):
        links["dossier"] = f"{links['airflow']}/plugin/dossier"
    endpoint = environment.endpoints.get(found.use_case)
    if endpoint and found.outcome == "deployed":
        links["endpoint"] = endpoint.base
    print_results(found)
    silent = "" if found.refusal or found.errors or ended["state"] != "failed" else _silent_failure(api, found)
    if silent:
        typer.echo(silent)
    seconds = _seconds(began)
    for name, link in links.items():
        typer.echo(f"{name}: {link}")
    typer.echo(f"{seconds} s")
    if as_json:
        failed = {"outcome": "failed", "verdict": silent, "champion": None} if silent else {}
        typer.echo(json.dumps(_summary(found) | {"batch": batch, "links": links, "seconds": seconds} | failed))
    return FAULT if silent else found.exit_status


def _started(api: AirflowApi, use_case: str, run: str, batch: str, began: float) -> str:
    """Return the line of JSON of a run that nobody waits for: the same keys as of one that has ended."""
    told = {"use_case": use_case, "run": run, "outcome": "started", "verdict": "", "champion": None, "batch": batch}
    return json.dumps(told | {"links": {"airflow": api.link(use_case, run)}, "seconds": _seconds(began)})


def _seconds(began: float) -> float:
    return round(time.monotonic() - began, 1)


def _summary(found: RunResults) -> dict[str, Any]:
    return {
        "use_case": found.use_case,
        "run": found.run,
        "outcome": found.outcome,
        "verdict": found.verdict,
        "champion": found.champion,
    }


def _silent_failure(api: AirflowApi, found: RunResults) -> str:
    """Say which task failed where no stage left a word: it was killed, or never began."""
    failed = [task["task_id"] for task in api.tasks(found.use_case, found.run) if task["state"] == "failed"]
    if not failed:
        return "the run failed, but none of its tasks: it was ended in Airflow"
    link = api.link(found.use_case, found.run, failed[0])
    return f"task {failed[0]} failed without a word of its stage; its log: {link}"

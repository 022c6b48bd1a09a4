"""Register the winner as a version, and compare it with the champion.

The rule of the comparison: a challenger that is worse than the champion beyond the confidence
interval of their difference fails, and the champion stays. One that cannot be told apart passes: it
learned from newer rows. Where no untouched rows are left to compare on, the champion stays.
"""

from __future__ import annotations

from typing import Any

from stepzero.adapters.registry import DIGEST, NewVersion
from stepzero.adapters.registry_records import Registration, note_registration, read_registration
from stepzero.adapters.tracking_entities import RunIdentity
from stepzero.adapters.tracking_lineage import DataSet, link_inputs
from stepzero.adapters.workspace import Workspace
from stepzero.core.digests import digest_json
from stepzero.core.errors import PromotionError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.dossier import make_dossier, shown_files, write_dossier
from stepzero.learning.dossier_data import accepted_days, released_rows
from stepzero.spec.training import resampled_by
from stepzero.stages.register_comparison import Finding, compare_with_champion
from stepzero.stages.register_package import save_for_registry


@stage(
    sections=("problem", "split", "train", "weight", "evaluate", "promote", "bias", "title"),
    plan=(
        "champion",
        "links",
        "batch",
        "window",
        "days",
        "released",
        "released_days",
        "tables",
        "environment",
        "reason",
        "compared_on",
    ),
    reuse=Reuse.RUN,
)
def register(use_case: Any, inputs: dict[str, Any], workspace: Workspace) -> StageResult:
    """Register the winner once, compare it, and make it the challenger if it may replace the champion."""
    evaluated = inputs["evaluated"]
    _must_have_passed(evaluated, use_case.name)
    _must_be_within_limits(use_case, inputs)
    champion = workspace.plan.champion
    if champion and champion.digest == evaluated.output("model").digest:
        return _unchanged(use_case.name, champion.version, workspace)
    finding = compare_with_champion(use_case, inputs, workspace)
    registration, run_id, dossier = _register(use_case, inputs, finding, workspace)
    name, version = use_case.name, registration.version
    challenger = version
    if finding.accepted:
        challenger = workspace.tracking.registry.challenge(name, version)
    verdict = _verdict(name, version, challenger, finding)
    links = {
        "version": workspace.tracking.link_version(name, version),
        "mlflow": workspace.tracking.link_run(name, run_id),
        "dossier": dossier_link(workspace.plan.links.get("airflow")) or "",
    }
    values = _values(registration, workspace) | {
        "unchanged": False,
        "comparison": finding.to_json(),
        "winner": _winner(evaluated),
        "links": links,
    }
    outputs = {"comparison": workspace.write_json("comparison.json", finding.to_json()), **dossier}
    summary = f"{name} version {version} registered: {finding.sentence}"
    return StageResult(
        outputs=outputs, values=values, verdict=verdict, summary=summary, records=(_record(version, finding),)
    )


def _must_have_passed(evaluated: StageInput, name: str) -> None:
    if evaluated.verdict is None or not evaluated.verdict.accepted:
        said = evaluated.verdict.sentence() if evaluated.verdict else "no verdict"
        raise PromotionError(
            f"promotion gates of {name}",
            value=bare(said),
            allowed="a model that passed its gates",
            action="improve the model or the gates under `promote`, then start a new run",
        )


def _must_be_within_limits(use_case: Any, inputs: dict[str, Any]) -> None:
    """Refuse a model whose bias was not measured although limits are declared, or is beyond them."""
    measured: dict[str, StageInput] = {one.values["time"]: one for one in inputs.get("bias", ())}
    declared = use_case.bias.limits if use_case.bias else None
    for time in ("before", "after"):
        one = measured.get(time)
        if one is None and declared is not None and getattr(declared, time):
            raise PromotionError(
                f"bias {time} training of {use_case.name}",
                value=bare("not measured"),
                allowed=f"what the stage `bias` found, since limits are declared under bias.limits.{time}",
                action="hand it to `register` in the DAG file: register(run, model, bias=[before, after])",
            )
        if one is not None and (one.verdict is None or not one.verdict.accepted):
            raise PromotionError(
                f"bias {time} training of {use_case.name}",
                value=bare(one.verdict.sentence() if one.verdict else "no verdict"),
                allowed="every metric within its limit",
                action="mitigate, or change the limits under `bias.limits` and say why, then start a new run",
            )


def _unchanged(name: str, version: str, workspace: Workspace) -> StageResult:
    """Pass on the champion itself, with its dossier: the run found the same model again."""
    registration = read_registration(workspace.store, name, version)
    dossier = {output: Reference.from_json(one) for output, one in registration.dossier.items()}
    subject = f"{name} version {version} is the champion already, and this run found the same model"
    values = _values(registration, workspace) | {
        "unchanged": True,
        "comparison": None,
        "links": {"version": workspace.tracking.link_version(name, version)},
    }
    return StageResult(
        outputs={"comparison": workspace.write_json("comparison.json", None), **dossier},
        values=values,
        verdict=Verdict(outcome=Outcome.PASS, subject=subject),
        summary=subject,
        records=(Record(tags={"stepzero.version": version}),),
    )


def _register(
    use_case: Any, inputs: dict[str, Any], finding: Finding, workspace: Workspace
) -> tuple[Registration, str, dict[str, Reference]]:
    evaluated, name = inputs["evaluated"], use_case.name
    model, tracking = evaluated.output("model"), workspace.tracking
    identity = RunIdentity(
        use_case=name,
        run=workspace.plan.run,
        folder=workspace.plan.folder,
        airflow=workspace.plan.links.get("airflow"),
    )
    run_id = tracking.parent(identity, workspace.store)
    key = digest_json({"model": model.digest, "run": workspace.plan.run})
    package = save_for_registry(use_case, inputs, workspace)
    winner = _winner(evaluated)
    new = NewVersion(
        name=name,
        key=key,
        run_id=run_id,
        experiment=tracking.experiment(name),
        saved=package.folder,
        description=_description(use_case, winner, finding, identity.airflow),
        tags=_tags(model, workspace, evaluated, finding, package.threshold)
        | _baseline_tag(inputs)
        | {f"stepzero.{name.replace(' ', '_')}_digest": digest for name, digest in _documents(inputs).items()},
        metrics=_plain_metrics(winner.get("metrics", {})),
        parameters={str(parameter): str(value) for parameter, value in winner.get("parameters", {}).items()},
    )
    version = tracking.registry.register(new, workspace.store, f"registry/{name}/claims/{key}")
    tracking.registry.describe(name, version, new.description)
    link_inputs(tracking, run_id, _data_sets(inputs, workspace))
    dossier = write_dossier(make_dossier(use_case, version, inputs, finding.to_json(), workspace), workspace)
    registration = Registration(
        use_case=name,
        version=version,
        model=model.to_json(),
        training_rows=evaluated.output("training_rows").to_json(),
        example=package.example.to_json(),
        baseline=_baseline(inputs),
        watched={name: one.to_json() for name, one in inputs["reference"].outputs.items()}
        if "reference" in inputs
        else {},
        threshold=package.threshold,
        gates={"promotion": evaluated.verdict.sentence() if evaluated.verdict else "", "champion": finding.sentence},
        run=workspace.plan.run,
        dossier={output: reference.to_json() for output, reference in dossier.items()},
        documents={"dossier": dossier["dossier"].digest, **_documents(inputs)},
    )
    note_registration(workspace.store, registration)
    return registration, run_id, dossier


def _data_sets(inputs: dict[str, Any], workspace: Workspace) -> list[DataSet]:
    """Return what the model comes from, earlier batches and days of the window among it, and its two sides of rows."""
    root, plan = workspace.store.root, workspace.plan
    learned = accepted_days(inputs)
    days = [(f"{day.partition}/", file) for day in plan.days if day.partition in learned for file in day.files]
    landed = [
        DataSet(
            name=f"{day}{file.uri.rpartition('/')[2]}", uri=f"{root}/{file.uri}", digest=file.digest, context="source"
        )
        for day, file in [*(("", file) for file in plan.batch.files), *days]
    ]
    earlier = [(f"accepted rows of {member.partition}", member.accepted) for member in plan.window]
    earlier += [(f"released rows of {name}", rows) for name, rows in released_rows(inputs, plan)]
    landed += [
        DataSet(name=name, uri=f"{root}/{one['uri']}", digest=one["digest"], context="source", rows=one["rows"])
        for name, one in earlier
    ]
    prepared: StageInput = inputs["prepared"]
    sides = {"train": "training", "test": "evaluation"}
    return landed + [
        DataSet(name=f"{side} rows", uri=f"{root}/{one.uri}", digest=one.digest, context=context, rows=one.rows)
        for side, context in sides.items()
        if (one := prepared.outputs.get(side)) is not None
    ]


def _documents(inputs: dict[str, Any]) -> dict[str, str]:
    """Return the bias reports of this model by digest."""
    return {f"bias {one.values['time']}": one.output("analysis.json").digest for one in inputs.get("bias", ())}


def _baseline(inputs: dict[str, StageInput]) -> dict[str, Any] | None:
    """Return the reference of what the training rows looked like, where the flow has a stage that says so."""
    return inputs["baseline"].output("baseline").to_json() if "baseline" in inputs else None


def _watched(inputs: dict[str, StageInput]) -> dict[str, dict[str, Any]]:
    """Return the references of what served traffic is compared with, where the use case is watched."""
    made = inputs["reference"].outputs if "reference" in inputs else {}
    return {name: one.to_json() for name, one in made.items()}


def _baseline_tag(inputs: dict[str, StageInput]) -> dict[str, str]:
    made = _baseline(inputs)
    return {"stepzero.baseline_digest": made["digest"]} if made else {}


def _values(registration: Registration, workspace: Workspace) -> dict[str, Any]:
    """Return what approval and deployment need to know."""
    champion = workspace.plan.champion
    return {
        "name": registration.use_case,
        "version": registration.version,
        "model_digest": registration.model_digest,
        "model": registration.model,
        "threshold": registration.threshold,
        "example": registration.example,
        "gates": registration.gates,
        "documents": registration.documents,
        "champion": champion.model_dump(mode="json") if champion else None,
    }


def dossier_link(airflow: str | None) -> str | None:
    """Return the address of the dossier, a tab of the Airflow run.

    >>> dossier_link("http://127.0.0.1:8080/dags/d/runs/r")
    'http://127.0.0.1:8080/dags/d/runs/r/plugin/dossier'
    """
    return f"{airflow}/plugin/dossier" if airflow else None


def _verdict(name: str, version: str, challenger: str, finding: Finding) -> Verdict:
    subject = f"{name} version {version}: {finding.sentence}"
    if not finding.accepted:
        reason = Reason(rule="champion", column=None, observed=finding.observed, bound=finding.bound)
        return Verdict(outcome=Outcome.FAIL, subject=subject, reasons=(reason,))
    if challenger != version:
        observed = f"version {challenger} challenges already"
        reason = Reason(rule="superseded", column=None, observed=observed, bound="no newer challenger")
        return Verdict(outcome=Outcome.FAIL, subject=f"{name} version {version} is superseded", reasons=(reason,))
    return Verdict(outcome=Outcome.PASS, subject=subject)


def _winner(evaluated: StageInput) -> dict[str, Any]:
    winner: dict[str, Any] = evaluated.values.get("winner", {})
    return winner


def _plain_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Return metrics as numbers, whether they come with intervals or without."""
    return {name: float(value["value"] if isinstance(value, dict) else value) for name, value in metrics.items()}


def _description(use_case: Any, winner: dict[str, Any], finding: Finding, airflow: str | None) -> str:
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in _plain_metrics(winner.get("metrics", {})).items())
    what = f"{winner.get('model', 'A model')} on rows {resampled_by(winner.get('sampler', 'none'))}"
    link = f"\n\n[Airflow run]({airflow}) · [Dossier]({dossier_link(airflow)})" if airflow else ""
    title = use_case.title or use_case.name
    return f"{title}: {what}; {finding.sentence}.{link}\n\nOn untouched rows: {metrics or 'not stated'}."


def _tags(
    model: Reference, workspace: Workspace, evaluated: StageInput, finding: Finding, threshold: float | None
) -> dict[str, str]:
    metrics = _plain_metrics(_winner(evaluated).get("metrics", {}))
    return {
        DIGEST: model.digest,
        "stepzero.model_uri": f"{workspace.store.root}/{model.uri}",
        "stepzero.run": workspace.plan.run,
        "stepzero.gate_verdict": str(evaluated.verdict.outcome) if evaluated.verdict else "none",
        "stepzero.champion_verdict": "PASS" if finding.accepted else "FAIL",
        "stepzero.threshold": "none" if threshold is None else repr(threshold),
        "stepzero.winner": f"{_winner(evaluated).get('sampler')} × {_winner(evaluated).get('model')}",
        **{f"stepzero.metric.{name}": f"{value:.6g}" for name, value in metrics.items()},
        # Until somebody decides; the stage `approve` says what was decided, and deployment believes the evidence alone.
        "stepzero.approval": "pending",
        "validation_status": "passed" if finding.accepted else "failed",
        **({"stepzero.reason": workspace.plan.reason} if workspace.plan.reason else {}),
    }


def _record(version: str, finding: Finding) -> Record:
    return Record(
        tags={"stepzero.version": version, "stepzero.comparison": finding.sentence},
        metrics=finding.metrics(),
        files={"promotion/comparison.json": "comparison.json", **shown_files()},
    )

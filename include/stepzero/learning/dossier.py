"""The dossier of a model version: everything that an approver should know, as JSON. `dossier_page` shows it.

It is gathered from what the stages before it found, by their references; nothing is looked up elsewhere. The
stage `register` writes it when the version comes to be, `approve` adds the decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepzero.adapters.datasets import manifest_of
from stepzero.adapters.registry_records import Evidence
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.references import Reference
from stepzero.core.stages import StageInput
from stepzero.learning.dossier_data import gates_of, gather_data
from stepzero.learning.dossier_page import dossier_page

FORMAT_VERSION = 1
JSON_FILE, PAGE_FILE = "dossier.json", "dossier.html"
_FROM_EVALUATE = ("comparison", "calibration", "explanation")


def make_dossier(
    use_case: Any, version: str, inputs: Mapping[str, Any], champion: Mapping[str, Any], workspace: Workspace
) -> dict[str, Any]:
    """Return the dossier of a version before anybody decided on it.

    Args:
        use_case: Its sections ``problem``, ``split``, ``weight``, ``train``, ``evaluate``, ``promote``, ``title``.
        version: The registered version.
        inputs: ``evaluated`` and ``prepared``; ``checked``, the quality gate or the list of all tables' gates, and
            ``bias``, the list of what was measured before and after training, where the flow has them; ``days``, what
            the gate said of the earlier days of the window.
        champion: What the comparison with the champion found; its ``sentence`` at least.
        workspace: Of the stage that registers; its plan knows the batch, the window, its days and what was released.
    """
    evaluated, plan, store = inputs["evaluated"], workspace.plan, workspace.store
    winner = dict(evaluated.values.get("winner") or {})
    told = {name: _read(store, evaluated, name) for name in _FROM_EVALUATE}
    return {
        "format": FORMAT_VERSION,
        "use_case": use_case.name,
        "title": use_case.title or use_case.name,
        "version": version,
        "run": plan.run,
        "as_of": plan.as_of,
        "model": winner | {"digest": evaluated.output("model").digest},
        "data": gather_data(inputs, plan),
        "declared": _declared(use_case),
        "gates": _gates(inputs, champion),
        "sentinels": list(evaluated.values.get("sentinels") or []),
        "table": list(evaluated.values.get("table") or []),
        "choice": evaluated.values.get("choice"),
        "champion": dict(champion),
        "bias": [_bias(one) for one in inputs.get("bias", ())],
        "mitigation": [_mitigation(one) for one in (inputs["prepared"], evaluated) if "mitigation" in one.values],
        **told,
        "lineage": _lineage(inputs),
        "environment": _environment(store, evaluated, plan),
        "pictures": evaluated.outputs["pictures"].to_json() if "pictures" in evaluated.outputs else None,
        "links": {name: link for name, link in plan.links.items() if link},
        "approval": None,
    }


def with_approval(dossier: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Return a dossier with the decision filled in."""
    told = evidence.model_dump(mode="json", include={"approved", "by", "when", "why", "how", "run"})
    return {**dossier, "approval": {**told, "digest": evidence.digest}}


def write_dossier(dossier: dict[str, Any], workspace: Workspace) -> dict[str, Reference]:
    """Write a dossier as JSON and as one self-contained page; return both as outputs of a stage."""
    page = dossier_page(dossier, read_pictures(workspace.store, dossier))
    return {
        "dossier": workspace.write_json(JSON_FILE, dossier),
        "dossier_page": workspace.write_file(PAGE_FILE, page),
    }


def shown_files() -> dict[str, str]:
    """Return where the tracking server shows a dossier, and where it lies below the stage's folder."""
    return {f"dossier/{name}": name for name in (PAGE_FILE, JSON_FILE)}


def read_pictures(store: Store, dossier: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the pictures of the evaluation, by name without ending, and of bias: ``bias_before``, ``bias_after``."""
    found = {}
    for part in ("bias", "mitigation"):
        for one in dossier.get(part) or ():
            with store.open(one["picture"]["uri"]) as stream:
                found[f"{part}_{one['time']}"] = bytes(stream.read())
    if not dossier.get("pictures"):
        return found
    for file in manifest_of(store, Reference.from_json(dossier["pictures"]))["files"]:
        with store.open(file["uri"]) as stream:
            found[file["uri"].rpartition("/")[2].removesuffix(".png")] = bytes(stream.read())
    return found


def _read(store: Store, one: StageInput, name: str) -> Any:
    return store.read_json(one.outputs[name].uri) if name in one.outputs else None


def _bias(one: StageInput) -> dict[str, Any]:
    """Return what was measured, with the report in the shape of `analysis.json` as a reference."""
    return dict(one.values) | {
        "outcome": str(one.verdict.outcome) if one.verdict else "none",
        "sentence": one.verdict.sentence() if one.verdict else "",
        "report": one.output("analysis.json").to_json(),
        "picture": one.output("bias.png").to_json(),
    }


def _mitigation(one: StageInput) -> dict[str, Any]:
    """Return what mitigation did to labels, or to decisions, with the picture as a reference."""
    return dict(one.values["mitigation"]) | {"picture": one.output("mitigation_picture").to_json()}


def _declared(use_case: Any) -> dict[str, Any]:
    """Return the declared sections that a reader needs to judge the figures."""
    sections = ("problem", "split", "weight", "evaluate", "promote")
    found = {name: getattr(use_case, name) for name in sections}
    return {name: section.model_dump(mode="json") if section is not None else None for name, section in found.items()}


def _gates(inputs: Mapping[str, Any], champion: Mapping[str, Any]) -> list[dict[str, Any]]:
    measured = {f"bias {one.values['time']} training": one for one in inputs.get("bias", ())}
    named: dict[str, StageInput] = {**gates_of(inputs), "promotion gates": inputs["evaluated"], **measured}
    gates = [
        {"gate": name, "outcome": str(one.verdict.outcome), "sentence": one.verdict.sentence()}
        | {"reasons": [reason.sentence() for reason in one.verdict.reasons]}
        for name, one in named.items()
        if one.verdict is not None
    ]
    outcome = "PASS" if champion.get("accepted", True) else "FAIL"
    sentence = str(champion.get("sentence", ""))
    return [*gates, {"gate": "comparison with the champion", "outcome": outcome, "sentence": sentence, "reasons": []}]


def _lineage(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every input with what it wrote: whence the version came, by digest."""
    stages = [*gates_of(inputs).values(), inputs["prepared"], inputs["evaluated"], *inputs.get("bias", ())]
    return [
        {"stage": one.reference.stage, "output": name, "digest": output.digest, "uri": output.uri, "rows": output.rows}
        for one in stages
        for name, output in sorted(one.outputs.items())
    ]


def _environment(store: Store, evaluated: StageInput, plan: Any) -> dict[str, Any]:
    from stepzero.learning.model import load_model
    from stepzero.spec.lock import lock_digest

    metadata = load_model(store, evaluated.output("model")).metadata
    return {"environment": plan.environment, "lock": lock_digest(), "versions": metadata.get("versions") or {}}

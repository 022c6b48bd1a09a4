"""Decide on a challenger, by rule or by a person, and make it the champion with evidence.

Order, so that a kill at any point and a retry end in the same state: the evidence is created once
(who was first decides), then everything that follows from it is set again, each step without
effect when it was done before.
"""

from __future__ import annotations

import json
from typing import Any

from stepzero.adapters.registry import CHALLENGER, ModelRegistry
from stepzero.adapters.registry_records import Evidence, evidence_uri, find_evidence, note_evidence
from stepzero.adapters.registry_succession import succeed
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import PromotionError, StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Reason, Verdict
from stepzero.learning.dossier import shown_files, with_approval, write_dossier
from stepzero.spec.plan import Champion

RULE = "rule"
_APPROVING = {"approve", "ok", "yes"}


@stage(sections=("promote",), plan=("approval", "as_of", "author", "links"), reuse=Reuse.RUN)
def approve(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Write the evidence of a decision on a version, and move the alias `champion` if it approves.

    What a person answered is checked here, where it can be said why: Airflow takes any answer, and loses it when its
    form refuses one. An answer that counts for nothing leaves no evidence, so that the person can be asked again.

    Raises:
        PromotionError: Somebody decided who may not, or without a reason where one is required; or there is evidence
            already that the environment's key did not sign.
    """
    registered, registry = inputs["registered"], workspace.tracking.registry
    version, digest = str(registered.values["version"]), str(registered.values["model_digest"])
    evidence = find_evidence(workspace.store, use_case.name, version)
    if evidence is None:
        _must_have_passed(registered, use_case.name)
        # First, for the newer run answers as the user of Airflow's connection, who may not be one who decides.
        reason = _superseded(registered, registry)
        if reason is not None:
            return _refused(registered, reason)
        decision = _decision(registered, use_case, workspace)
        evidence = note_evidence(workspace.store, decision.signed(workspace.environment.signing))
    evidence.verified(workspace.environment.signing)
    if evidence.model_digest != digest:
        raise PromotionError(
            f"evidence of {use_case.name} version {version}",
            value=bare(f"it speaks of model {evidence.model_digest}"),
            allowed=f"evidence of model {digest}",
            action="files were changed or copied: register again in a new run",
        )
    if not evidence.approved:
        registry.tag(use_case.name, version, _tags(evidence))
        registry.release(use_case.name, CHALLENGER, version)
        return _result(registered, evidence, _rejection(evidence), workspace)
    reason = _promote(evidence, registry, workspace.store)
    return _refused(registered, reason) if reason else _result(registered, evidence, (), workspace)


def _must_have_passed(registered: StageInput, name: str) -> None:
    if registered.verdict is None or not registered.verdict.accepted:
        said = registered.verdict.sentence() if registered.verdict else "no verdict"
        raise PromotionError(
            f"verdict of the stage register on {name}",
            value=bare(said),
            allowed="a challenger that may replace the champion",
            action="improve the model, then start a new run",
        )


def _decision(registered: StageInput, use_case: Any, workspace: Workspace) -> Evidence:
    """Return the evidence as it would be written."""
    values, plan = registered.values, workspace.plan
    by_rule = workspace.parameters.get("decision", RULE) == RULE
    who = _by_rule(workspace) if by_rule else _by_person(use_case, workspace)
    return Evidence(
        use_case=values["name"],
        version=str(values["version"]),
        model_digest=values["model_digest"],
        gates=values["gates"],
        previous=Champion.model_validate(values["champion"]) if values["champion"] else None,
        run=plan.run,
        links=dict(values.get("links", {})) | plan.links,
        threshold=values["threshold"],
        documents=values.get("documents", {}),
        **who,
    )


def _by_rule(workspace: Workspace) -> dict[str, Any]:
    if workspace.plan.approval != RULE:
        raise PromotionError(
            "decision of the stage approve",
            value=RULE,
            allowed="the answer of a person: this run's plan asks for one",
            action="answer the task's required action in Airflow",
        )
    why = "all gates passed and the environment approves by rule"
    return {"approved": True, "by": "the rule", "how": RULE, "when": workspace.plan.as_of, "why": why}


def _by_person(use_case: Any, workspace: Workspace) -> dict[str, Any]:
    answer = _answer(workspace.parameters["decision"])
    chosen = [str(option).lower() for option in answer["chosen_options"]]
    user = answer.get("responded_by_user") or {}
    known = [str(user[key]) for key in ("name", "id") if user.get(key)] if isinstance(user, dict) else [str(user)]
    approved = bool(chosen) and all(option in _APPROVING for option in chosen)
    why = _why(answer.get("params_input"))
    if known:
        _may_decide(known, workspace)
    if approved and not why and use_case.promote.reason == "required":
        raise PromotionError(
            "reason of the approval",
            value=bare("none"),
            allowed="a sentence that says why, as promote.reason requires",
            action="clear the task that asks the person, and answer again with a reason",
        )
    return {
        "approved": approved,
        "by": known[0] if known else "nobody (the time to answer was over)",
        "how": "person",
        "when": str(answer.get("responded_at") or workspace.plan.as_of),
        "why": why or "no reason was given",
    }


def _may_decide(known: list[str], workspace: Workspace) -> None:
    """Refuse an answer of somebody who may not decide.

    Raises:
        PromotionError: The environment names other people, or wants somebody else than the author.
    """
    approvers, author = workspace.environment.approvers, workspace.plan.author
    if approvers.users and not set(known) & set(approvers.users):
        raise PromotionError(
            f"approver {known[0]}",
            value=bare("not among those whom the environment names"),
            allowed=", ".join(approvers.users),
            action="clear the task that asks the person, and let one of them answer",
        )
    if approvers.not_the_author and author and author in known:
        raise PromotionError(
            f"approver {known[0]}",
            value=bare("whoever started the run"),
            allowed="somebody else, as approvers.not_the_author says",
            action="clear the task that asks the person, and let somebody else answer",
        )


def _answer(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("chosen_options"), list):
        raise StageError(
            "decision of the stage approve",
            value=text,
            allowed='`rule`, or JSON {"chosen_options": ["Approve"], "params_input": {}, "responded_at", '
            '"responded_by_user"}',
            action="pass on what the approval task returned",
        )
    return answer


def _why(given: Any) -> str:
    """Return the reason that a person typed, whatever the form calls its field."""
    fields = given if isinstance(given, dict) else {}
    texts = [str(fields[name]) for name in ("reason", "why", "comment") if fields.get(name)]
    texts += [value for value in fields.values() if isinstance(value, str) and value not in texts]
    return texts[0].strip() if texts else ""


def _superseded(registered: StageInput, registry: ModelRegistry) -> Reason | None:
    """Return why a version may not be decided on any more, if so."""
    values = registered.values
    version = str(values["version"])
    champion = registry.champion(values["name"])
    if champion and champion.version == version:
        # The same model again, with evidence lost: deciding anew on the champion itself changes nothing.
        return None
    if not _is_compared_with(values["champion"], champion):
        return _reason("champion", f"version {champion.version if champion else 'none'} serves now", values["champion"])
    challenger = registry.aliased(values["name"], CHALLENGER)
    if challenger != version:
        observed = f"version {challenger} is the challenger" if challenger else "it is no challenger any more"
        return Reason(rule="superseded", column=None, observed=observed, bound=f"version {version} with the alias")
    return None


def _is_compared_with(planned: dict[str, Any] | None, now: Champion | None) -> bool:
    return (planned["version"] if planned else None) == (now.version if now else None)


def _reason(rule: str, observed: str, planned: dict[str, Any] | None) -> Reason:
    bound = f"version {planned['version']}, which it was compared with" if planned else "none, as when the run began"
    return Reason(rule=rule, column=None, observed=observed, bound=bound)


def _promote(evidence: Evidence, registry: ModelRegistry, store: Store) -> Reason | None:
    """Do what an approval means; every step may be done again."""
    name, version, previous = evidence.use_case, evidence.version, evidence.previous
    before = previous.version if previous else None
    if not succeed(store, registry, name, version, before, evidence.digest):
        now = registry.champion(name)
        planned = previous.model_dump(mode="json") if previous else None
        return _reason("champion", f"version {now.version if now else 'none'} serves now", planned)
    registry.tag(name, version, _tags(evidence))
    if before and before != version:
        registry.tag(name, before, {"stepzero.replaced_by": version})
    registry.release(name, CHALLENGER, version)
    return None


def _tags(evidence: Evidence) -> dict[str, str]:
    return {
        "stepzero.approval": "approved" if evidence.approved else "rejected",
        "stepzero.approval_by": evidence.by,
        "stepzero.approval_why": evidence.why,
        "stepzero.approval_when": evidence.when,
        "stepzero.evidence": f"{evidence_uri(evidence.use_case, evidence.version)} {evidence.digest}",
    }


def _rejection(evidence: Evidence) -> tuple[Reason, ...]:
    observed = f"rejected by {evidence.by} because {evidence.why}"
    return (Reason(rule="approval", column=None, observed=observed, bound="an approval"),)


def _result(
    registered: StageInput, evidence: Evidence, reasons: tuple[Reason, ...], workspace: Workspace
) -> StageResult:
    values = registered.values
    told = {name: values[name] for name in ("name", "version", "model_digest", "model", "threshold", "example")}
    told |= {name: getattr(evidence, name) for name in ("approved", "by", "when", "why", "how")}
    told |= {"evidence_digest": evidence.digest, "unchanged": values["unchanged"], "links": values["links"]}
    subject = f"{evidence.use_case} {evidence.sentence()}"
    verdict = Verdict(outcome=Outcome.FAIL if reasons else Outcome.PASS, subject=subject, reasons=reasons)
    uri = evidence_uri(evidence.use_case, evidence.version)
    dossier = _dossier(registered, evidence, workspace)
    return StageResult(
        outputs={"evidence": Reference(uri=uri, digest=evidence.digest, kind="file"), **dossier},
        values=told,
        verdict=verdict,
        summary=subject,
        records=(Record(tags=_tags(evidence), files=shown_files() if dossier else {}),),
    )


def _dossier(registered: StageInput, evidence: Evidence, workspace: Workspace) -> dict[str, Reference]:
    """Write the dossier again with the decision in it; versions of before there were dossiers have none."""
    if "dossier" not in registered.outputs:
        return {}
    known = workspace.store.read_json(registered.outputs["dossier"].uri)
    return write_dossier(with_approval(known, evidence), workspace)


def _refused(registered: StageInput, reason: Reason) -> StageResult:
    values = registered.values
    subject = f"{values['name']} version {values['version']} is superseded"
    verdict = Verdict(outcome=Outcome.FAIL, subject=subject, reasons=(reason,))
    told = {"name": values["name"], "version": str(values["version"]), "approved": False, "superseded": True}
    return StageResult(values=told, verdict=verdict, summary=verdict.sentence())

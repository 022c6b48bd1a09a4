"""Let the endpoint serve an approved version: verify the evidence, state what is desired, wait, predict."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import digest_stored
from stepzero.adapters.registry import CHAMPION, DIGEST
from stepzero.adapters.registry_records import DesiredState, Evidence, desired_uri, verify_evidence
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import PromotionError, ServiceError, StageError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Record, Reuse, StageInput, StageResult, stage
from stepzero.core.verdict import Outcome, Verdict
from stepzero.learning.model import load_model
from stepzero.spec.environment import Endpoint
from stepzero.spec.serve import lookup_of
from stepzero.stages.deploy_lookup import find_record
from stepzero.stages.endpoint_token import authorisation

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from stepzero.learning.model import ScoringModel

POLL_SECONDS = 0.3
TOLERANCE = 1e-9
"""An endpoint on another machine may differ in the last bits."""


@stage(sections=("serve", "features"), reuse=Reuse.NEVER)
def deploy(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Deploy an approved version and prove it by a prediction."""
    values = inputs["approved"].values
    name, version = use_case.name, str(values["version"])
    _must_be_approved(inputs["approved"])
    signing = workspace.environment.signing
    evidence = verify_evidence(
        workspace.store, name, version, str(values["model_digest"]), values["threshold"], signing
    )
    _verify_registry(name, evidence, workspace)
    model = load_model(workspace.store, Reference.from_json(values["model"]))
    expected = float(model.score(_example(values, workspace, model))[0])
    desired = DesiredState(
        use_case=name,
        version=version,
        model=values["model"],
        threshold=values["threshold"],
        example=values["example"],
        evidence_digest=evidence.digest,
        lookup=lookup_of(use_case.serve, use_case.features),
        explain=use_case.serve.explain,
    )
    workspace.store.write_json(desired_uri(name), desired.model_dump(mode="json"))
    endpoint = workspace.environment.endpoints.get(name)
    told: dict[str, Any] = {"name": name, "version": version, "model_digest": evidence.model_digest}
    if endpoint is None:
        subject = f"{name} version {version} may serve; environment {workspace.environment.name} has no endpoint for it"
        return StageResult(values=told | {"deployed": False}, verdict=_passed(subject), summary=subject)
    wait_until_served(endpoint, desired)
    score = _predict(endpoint, _example_rows(values, workspace)[0])
    _must_equal(score, expected, endpoint, version)
    subject = f"{name} version {version} serves at {endpoint.base}; it scored a test row {score:.6f}, as expected"
    told |= {"deployed": True, "endpoint": endpoint.base, "prediction": score}
    known = find_record(desired.lookup, model, workspace)
    if known and desired.lookup:
        by_id = _predict(endpoint, {desired.lookup.record_id: known.record})
        _must_equal(by_id, known.score, endpoint, version)
        subject += f", and {desired.lookup.record_id} {known.record} by its published features {by_id:.6f}"
        told |= {"record": known.record, "prediction_by_id": by_id}
    return StageResult(
        values=told, verdict=_passed(subject), summary=subject, records=(Record(tags={"stepzero.deployed": version}),)
    )


def _must_be_approved(approved: StageInput) -> None:
    if not approved.values.get("approved"):
        raise PromotionError(
            f"version {approved.values.get('version')} of {approved.values.get('name')}",
            value=bare(approved.verdict.sentence() if approved.verdict else "not approved"),
            allowed="an approved version",
            action="approve a newer version in a new run",
        )


def _verify_registry(name: str, evidence: Evidence, workspace: Workspace) -> None:
    """Compare what the registry server says with the evidence; its aliases and tags can be edited.

    Raises:
        PromotionError: Somebody moved the alias or changed the tag by hand.
    """
    registry = workspace.tracking.registry
    current = registry.aliased(name, CHAMPION)
    if current != evidence.version:
        raise PromotionError(
            f"alias champion of {name}",
            value=bare(f"version {current}" if current else "no version"),
            allowed=f"version {evidence.version}, which was approved",
            action="the alias was moved by hand or a newer version was approved: start a new run",
        )
    tagged = registry.tags(name, evidence.version).get(DIGEST)
    if tagged != evidence.model_digest:
        raise PromotionError(
            f"tag {DIGEST} of {name} version {evidence.version}",
            value=tagged,
            allowed=f"{evidence.model_digest}, which was approved",
            action="the tag was changed by hand: register and approve again in a new run",
        )


def _example(values: dict[str, Any], workspace: Workspace, model: ScoringModel) -> pd.DataFrame:
    """Return the first example row as the model takes it."""
    import pandas as pd

    return pd.DataFrame(_example_rows(values, workspace)[:1], columns=list(model.asked))


def _example_rows(values: dict[str, Any], workspace: Workspace) -> list[dict[str, Any]]:
    reference = Reference.from_json(values["example"])
    if digest_stored(workspace.store, reference.uri) != reference.digest:
        raise StageError(
            f"example rows {reference.uri}",
            value=bare("changed since they were registered"),
            allowed=f"digest {reference.digest}",
            action="register again in a new run",
        )
    rows: list[dict[str, Any]] = workspace.store.read_json(reference.uri)["instances"]
    return rows


def wait_until_served(endpoint: Endpoint, desired: DesiredState) -> None:
    """Wait until the endpoint serves the version.

    Raises:
        StageError: The endpoint refuses it, and says why.
        ServiceError: It does not answer, or takes too long; a retry may help.
    """
    import httpx

    deadline = time.monotonic() + endpoint.ready_seconds
    said: dict[str, Any] = {}
    with httpx.Client(timeout=5) as client:  # one for all looks: making it takes longer than asking
        while time.monotonic() < deadline:
            said = _ping(client, endpoint)
            if said.get("version") == desired.version and said.get("model_digest") == desired.reference.digest:
                return
            _must_not_refuse(endpoint, desired, said.get("problem"))
            time.sleep(POLL_SECONDS)
    raise ServiceError(
        f"endpoint {endpoint.uri}",
        value=bare(f"after {endpoint.ready_seconds:g} s it says {json.dumps(said)[:150]}"),
        allowed=f"version {desired.version} of {desired.use_case} served",
        action="start it (`bin/stepzero up`), then clear the task",
    )


def _must_not_refuse(endpoint: Endpoint, desired: DesiredState, problem: dict[str, Any] | None) -> None:
    if problem and problem.get("version") == desired.version and not problem.get("retry"):
        raise StageError(
            f"endpoint {endpoint.uri}",
            value=bare(problem.get("message")),
            allowed=f"version {desired.version} of {desired.use_case} loaded",
            action="read the endpoint's log; it serves the former version meanwhile",
        )


def _ping(client: httpx.Client, endpoint: Endpoint) -> dict[str, Any]:
    import httpx

    try:
        answer: dict[str, Any] = client.get(f"{endpoint.uri}/ping").json()
    except (httpx.HTTPError, ValueError) as error:
        return {"unreachable": str(error) or type(error).__name__}
    return answer


def _predict(endpoint: Endpoint, row: dict[str, Any]) -> float:
    import httpx

    body = {"instances": [row]}
    # No traffic: the endpoint does not keep it.
    headers = {"X-Stepzero-Probe": "deploy", **authorisation(endpoint.token_file)}
    try:
        answer = httpx.post(f"{endpoint.uri}/invocations", json=body, headers=headers, timeout=30)
    except httpx.HTTPError as error:
        answer = None
        failure = str(error) or type(error).__name__
    if answer is None or answer.status_code != httpx.codes.OK:
        raise ServiceError(
            f"prediction at {endpoint.uri}/invocations",
            value=bare(f"{answer.status_code}: {answer.text[:150]}" if answer is not None else failure),
            allowed="a score",
            action="read the endpoint's log, then clear the task",
        )
    return float(answer.json()["scores"][0])


def _must_equal(score: float, expected: float, endpoint: Endpoint, version: str) -> None:
    if not math.isclose(score, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        raise StageError(
            f"prediction of version {version} at {endpoint.uri}",
            value=score,
            allowed=f"{expected!r}, the model's own score",
            action="the endpoint runs other code or packages: restart it (`bin/stepzero down`, `up`)",
        )


def _passed(subject: str) -> Verdict:
    return Verdict(outcome=Outcome.PASS, subject=subject)

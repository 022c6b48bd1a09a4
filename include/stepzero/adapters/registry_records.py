"""What the store knows of registered versions: how each was registered, who approved it, what should serve.

The registry server's tags can be edited by anyone who reaches it; deployment and endpoints believe
these files, which are created once and name the model by its digest.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stepzero.adapters.store import Store
from stepzero.core.digests import digest_json
from stepzero.core.errors import PromotionError, bare
from stepzero.core.references import Reference
from stepzero.spec.base import Section
from stepzero.spec.plan import Champion


class Registration(Section):
    """A version as it was registered."""

    use_case: str
    version: str
    model: dict[str, Any]
    """A `Reference` as JSON; its digest names the model everywhere."""
    training_rows: dict[str, Any]
    """Reference of the ids of the rows that it learned from."""
    example: dict[str, Any]
    """Reference of a few raw rows, for a prediction that proves a deployment."""
    baseline: dict[str, Any] | None = None
    """Reference of what its training rows looked like."""
    watched: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """References of what served traffic is compared with, by output of the stage `reference`."""
    threshold: float | None
    gates: dict[str, str] = Field(default_factory=dict)
    """Gate → what it said, in one sentence."""
    run: str
    dossier: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """References of the dossier as it was then, by output: ``dossier`` and ``dossier_page``."""

    @property
    def reference(self) -> Reference:
        """The model."""
        return Reference.from_json(self.model)

    @property
    def model_digest(self) -> str:
        """The model's digest."""
        return self.reference.digest


class Evidence(Section):
    """Who decided on a version, when, why, how, and on what grounds."""

    format: Literal[1] = 1
    use_case: str
    version: str
    model_digest: str
    approved: bool
    by: str
    when: str
    why: str
    how: Literal["rule", "person"]
    gates: dict[str, str]
    previous: Champion | None
    """The champion that it was compared with and replaces."""
    run: str
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return the digest of all that it says."""
        return digest_json(self.model_dump(mode="json"))

    def sentence(self) -> str:
        """Return the decision as a person reads it."""
        said = "approved" if self.approved else "rejected"
        return f"version {self.version} was {said} by {self.by} because {self.why}"


class DesiredState(Section):
    """What an endpoint should serve."""

    format: Literal[1] = 1
    use_case: str
    version: str
    model: dict[str, Any]
    threshold: float | None
    example: dict[str, Any]
    evidence_digest: str

    @property
    def reference(self) -> Reference:
        """The model."""
        return Reference.from_json(self.model)


def registration_uri(use_case: str, version: str) -> str:
    """Return where a version's registration lies."""
    return f"registry/{use_case}/{version}/registration.json"


def evidence_uri(use_case: str, version: str) -> str:
    """Return where a version's evidence lies."""
    return f"registry/{use_case}/{version}/evidence.json"


def desired_uri(use_case: str) -> str:
    """Return where an endpoint reads what it should serve."""
    return f"endpoints/{use_case}/desired.json"


def note_registration(store: Store, registration: Registration) -> None:
    """Write how a version was registered, once.

    Raises:
        PromotionError: The store knows another model under this version.
    """
    uri = registration_uri(registration.use_case, registration.version)
    if store.create(uri, registration.model_dump(mode="json")):
        return
    known = read_registration(store, registration.use_case, registration.version)
    if known.model_digest != registration.model_digest:
        raise PromotionError(
            f"registration of {registration.use_case} version {registration.version}",
            value=registration.model_digest,
            allowed=f"model {known.model_digest}, which the store knows under this version",
            action="was the registry server emptied? Give it back its database, or use another store",
        )


def read_registration(store: Store, use_case: str, version: str) -> Registration:
    """Return how a version was registered.

    Raises:
        PromotionError: The store does not know the version.
    """
    uri = registration_uri(use_case, version)
    if not store.exists(uri):
        raise PromotionError(
            f"registration of {use_case} version {version}",
            value=bare(f"no file {uri} in the store"),
            allowed="a version that the stage `register` made",
            action="restore the store, or take the alias `champion` from this version to begin anew",
        )
    return Registration.model_validate(store.read_json(uri))


def find_evidence(store: Store, use_case: str, version: str) -> Evidence | None:
    """Return what was decided on a version, or None while nobody has."""
    uri = evidence_uri(use_case, version)
    return Evidence.model_validate(store.read_json(uri)) if store.exists(uri) else None


def note_evidence(store: Store, evidence: Evidence) -> Evidence:
    """Write a decision, or return the one that was first: nobody decides twice."""
    uri = evidence_uri(evidence.use_case, evidence.version)
    if store.create(uri, evidence.model_dump(mode="json")):
        return evidence
    return Evidence.model_validate(store.read_json(uri))


def verify_evidence(store: Store, use_case: str, version: str, model_digest: str) -> Evidence:
    """Return the evidence that a version may serve.

    Raises:
        PromotionError: There is none, it rejects, or it speaks of another model.
    """
    what = f"evidence of {use_case} version {version}"
    evidence = find_evidence(store, use_case, version)
    if evidence is None:
        raise PromotionError(
            what,
            value=bare(f"no file {evidence_uri(use_case, version)} in the store"),
            allowed="a version that the stage `approve` approved",
            action="have it approved: run the DAG, never set the alias by hand",
        )
    if not evidence.approved:
        raise PromotionError(
            what, value=bare(evidence.sentence()), allowed="an approval", action="approve a newer version in a new run"
        )
    if (evidence.model_digest, evidence.version, evidence.use_case) != (model_digest, version, use_case):
        raise PromotionError(
            what,
            value=bare(f"it approves model {evidence.model_digest} of version {evidence.version}"),
            allowed=f"an approval of model {model_digest}",
            action="files were changed or copied: register and approve again in a new run",
        )
    return evidence

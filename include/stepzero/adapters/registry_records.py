"""What the store knows of registered versions: how each was registered, who approved it, what should serve.

The registry server's tags can be edited by anyone who reaches it; deployment and endpoints believe
these files, which are created once and name the model by its digest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stepzero.adapters.signing import Signature, sign, verify
from stepzero.adapters.store import Store
from stepzero.core.digests import digest_json
from stepzero.core.errors import PromotionError, bare
from stepzero.core.references import Reference
from stepzero.spec.base import Section
from stepzero.spec.plan import Champion
from stepzero.spec.serve import Lookup

if TYPE_CHECKING:
    from stepzero.spec.environment import Signing


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
    documents: dict[str, str] = Field(default_factory=dict)
    """What an approver had before him → its digest: ``dossier``, ``bias before``, ``bias after``."""

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

    format: Literal[1, 2] = 2
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
    threshold: float | None = None
    """Where the line was when it was decided; another one was approved by nobody."""
    documents: dict[str, str] = Field(default_factory=dict)
    """What there was to read → its digest: the dossier, the bias reports."""
    signature: Signature | None = None
    """Of all the rest."""

    @property
    def digest(self) -> str:
        """Return the digest of all that it says."""
        return digest_json(self._said())

    @property
    def statement(self) -> bytes:
        """Return what is signed: all that it says, in one spelling, under a name that nothing else is signed by."""
        said = json.dumps(self._said(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"stepzero evidence {self.format}\n{said}".encode()

    def signed(self, signing: Signing | None) -> Evidence:
        """Return it with the environment's signature; as it is where the environment has no keys.

        Raises:
            StageError: The private key is not here.
        """
        if signing is None:
            return self
        return self.model_copy(update={"signature": sign(self.statement, signing, self._name)})

    def verified(self, signing: Signing | None) -> Evidence:
        """Return it when the environment's key signed it, or the environment has no keys.

        Raises:
            PromotionError: It is not signed, or was changed since.
        """
        if signing is not None:
            verify(self.statement, self.signature, signing, self._name)
        return self

    @property
    def _name(self) -> str:
        return f"evidence of {self.use_case} version {self.version}"

    def _said(self) -> dict[str, Any]:
        said = self.model_dump(mode="json", exclude={"signature"})
        if self.format == 1:
            said = {name: value for name, value in said.items() if name not in {"threshold", "documents"}}
        return said

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
    lookup: Lookup | None = None
    """Which features the endpoint looks up itself."""
    explain: bool = False
    """Whether it makes its explainer before anybody asks."""

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


def verify_evidence(
    store: Store, use_case: str, version: str, model_digest: str, threshold: float | None, signing: Signing | None
) -> Evidence:
    """Return the evidence that a version may serve.

    Args:
        store: Where it lies.
        use_case: Name of the use case.
        version: Number of the version.
        model_digest: What would serve.
        threshold: Where its line would be.
        signing: Keys of the environment; without them no signature is asked for.

    Raises:
        PromotionError: There is none, it rejects, it speaks of another model or line, or it is not signed as it is.
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
    evidence.verified(signing)
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
    if evidence.format > 1 and evidence.threshold != threshold:
        raise PromotionError(
            f"threshold of {use_case} version {version}",
            value=threshold,
            allowed=f"{evidence.threshold}, which was approved",
            action="what should serve was changed by hand: clear the task deploy",
        )
    return evidence

"""Going back to an earlier champion: alias, endpoint and reference, and the log says who and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepzero.adapters.registry_records import (
    DesiredState,
    Registration,
    desired_uri,
    read_registration,
    verify_evidence,
)
from stepzero.adapters.registry_succession import succeed, successions
from stepzero.core.errors import InputError, PromotionError, bare

if TYPE_CHECKING:
    from stepzero.adapters.registry import ModelRegistry
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Endpoint, Environment


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """What is served again."""

    version: str
    before: str
    endpoint: str | None
    has_reference: bool

    def sentence(self) -> str:
        """Return it in one sentence."""
        serves = f"serves at {self.endpoint}" if self.endpoint else "may serve; the environment has no endpoint for it"
        reference = "its own reference" if self.has_reference else "no reference: it was registered without one"
        return f"version {self.version} {serves} again after version {self.before}; it is watched against {reference}"


def roll_back(
    store: Store,
    registry: ModelRegistry,
    environment: Environment,
    use_case: str,
    *,
    to: str | None,
    by: str,
) -> RolledBack:
    """Make an earlier champion the champion again, and wait until the endpoint serves it.

    Args:
        store: Holds registrations, evidence and the succession.
        registry: Holds the aliases.
        environment: Names the endpoint.
        use_case: Whose champion.
        to: The version; None is the one before the present champion.
        by: Who asks for it, and why.

    Raises:
        InputError: There is no earlier champion, or the version was none.
        PromotionError: Another version became the champion meanwhile, or there is no evidence for this one.
        ServiceError: The endpoint does not serve it in time; the store says already that it should.
    """
    now = registry.champion(use_case)
    version = _earlier(store, use_case, now.version if now else None, to)
    registration = read_registration(store, use_case, version)
    evidence = verify_evidence(
        store, use_case, version, registration.model_digest, registration.threshold, environment.signing
    )
    before = now.version if now else None
    if not succeed(store, registry, use_case, version, before, evidence.digest, rolled_back=by):
        raise PromotionError(
            f"champion of {use_case}",
            value=bare("another version than a moment ago"),
            allowed=f"version {before or 'none'}, after which version {version} should come",
            action="look at `bin/stepzero lineage champion`, and ask again",
        )
    endpoint = environment.endpoints.get(use_case)
    _serve(store, registration, evidence.digest, endpoint)
    return RolledBack(
        version=version,
        before=before or "none",
        endpoint=endpoint.base if endpoint else None,
        has_reference=bool(registration.watched),
    )


def _serve(store: Store, registration: Registration, evidence_digest: str, endpoint: Endpoint | None) -> None:
    """State what is desired, and wait for the endpoint, where there is one."""
    from stepzero.stages.deploy import wait_until_served

    uri = desired_uri(registration.use_case)
    present = DesiredState.model_validate(store.read_json(uri)) if store.exists(uri) else None
    desired = DesiredState(
        use_case=registration.use_case,
        version=registration.version,
        model=registration.model,
        threshold=registration.threshold,
        example=registration.example,
        evidence_digest=evidence_digest,
        # How the endpoint is asked is the use case's, not the version's.
        lookup=present.lookup if present else None,
        explain=present.explain if present else False,
    )
    store.write_json(uri, desired.model_dump(mode="json"))
    if endpoint is not None:
        wait_until_served(endpoint, desired)


def _earlier(store: Store, use_case: str, now: str | None, to: str | None) -> str:
    """Return the version to go back to: one that was the champion, and is not."""
    champions = [place.version for place in successions(store, use_case)]
    others = [version for version in dict.fromkeys(champions) if version != now]
    if to is None and now in champions:
        to = next((version for version in reversed(champions[: champions.index(now)]) if version != now), None)
    if to is None or to not in others:
        raise InputError(
            f"version of {use_case} to go back to",
            value=bare(to or "none"),
            allowed=f"an earlier champion: {', '.join(others)}" if others else "an earlier champion; there is none",
            action="name one with --to" if others else "nothing can be brought back",
        )
    return to

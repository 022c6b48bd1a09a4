"""Who follows whom as champion: a numbered log in the store, in which each place is taken once.

The registry server can move an alias, but it cannot say "only if it still points there". Two approvals at the same
moment would both succeed, and the last would win. So an approval first takes the next place here, then moves the
alias, then marks the place as settled. Whoever finds a place that is taken and not settled settles it first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.adapters.numbered_log import NumberedLog
from stepzero.adapters.registry import CHAMPION, ModelRegistry
from stepzero.core.errors import StageError
from stepzero.spec.base import Section

if TYPE_CHECKING:
    from stepzero.adapters.store import Store


class Succession(Section):
    """One place in the log."""

    number: int
    version: str
    previous: str | None
    """The champion that it was compared with and replaces."""
    evidence_digest: str
    rolled_back: str | None = None
    """Who went back to this earlier version, and why; null for a version that was promoted."""


def succeed(
    store: Store,
    registry: ModelRegistry,
    name: str,
    version: str,
    previous: str | None,
    digest: str,
    *,
    rolled_back: str | None = None,
) -> bool:
    """Make a version the champion after `previous`; False when another one was first.

    It may be called again after a kill at any point: the same version takes its own place again.
    """
    last = _last(store, name)
    if last is not None:
        _settle(store, registry, name, last)
    champion = registry.champion(name)
    now = champion.version if champion else None
    if now == version:
        return True
    if now != previous:
        return False
    number = last.number + 1 if last else 1
    mine = Succession(
        number=number, version=version, previous=previous, evidence_digest=digest, rolled_back=rolled_back
    )
    if not _log(store, name).take(number, mine.model_dump(mode="json")):
        return succeed(store, registry, name, version, previous, digest, rolled_back=rolled_back)
    _settle(store, registry, name, mine)
    return True


def successions(store: Store, name: str) -> list[Succession]:
    """Return the champions of a use case, the oldest first."""
    return [Succession.model_validate(one) for one in _log(store, name).entries()]


def moved_by_hand(store: Store, registry: ModelRegistry, name: str) -> str | None:
    """Return in words how the alias `champion` differs from what was approved; None where it does not.

    A place that is taken and not settled yet may show either of two champions. Without any place, nothing was
    approved here, and nothing is known.
    """
    places = successions(store, name)
    if not places:
        return None
    last = places[-1]
    allowed = {last.version} | (set() if _log(store, name).is_settled(last.number) else {last.previous})
    now = registry.aliased(name, CHAMPION)
    if now in allowed:
        return None
    return f"{f'version {now}' if now else 'no version'}, but version {last.version} was approved last"


def _settle(store: Store, registry: ModelRegistry, name: str, place: Succession) -> None:
    if _log(store, name).is_settled(place.number):
        return  # somebody did it for us, and a later champion may serve already
    try:
        registry.point(name, CHAMPION, place.version)
    except StageError:
        # Somebody settles the same place at this moment: of two that set one alias at once, MLflow refuses the second.
        if registry.aliased(name, CHAMPION) != place.version:
            raise
    _log(store, name).settle(place.number, {"version": place.version})


def _last(store: Store, name: str) -> Succession | None:
    found = successions(store, name)
    return found[-1] if found else None


def _log(store: Store, name: str) -> NumberedLog:
    return NumberedLog(store=store, folder=f"registry/{name}/successions", mark="settled")

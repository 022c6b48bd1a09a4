"""What the gate said of a batch, for ledger and history: entered once its result is committed, computed or reused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepzero.adapters import history
from stepzero.adapters.ledger import Accepted, Refused, accept, refuse

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.core.errors import InputError
    from stepzero.core.references import Reference
    from stepzero.core.verdict import Verdict
    from stepzero.spec.plan import Plan


def enter_judgement(
    store: Store,
    plan: Plan,
    verdict: Verdict,
    outputs: Mapping[str, Reference],
    metrics: Mapping[str, float],
    *,
    of_window: bool = False,
) -> None:
    """Let the last run that judged a batch be what ledger and history say of it.

    Args:
        store: Where both are.
        plan: Batch, ledger, time and name of the run; of one of several tables its own.
        verdict: Of the gate.
        outputs: Of the gate: ``accepted``, and ``quarantined`` where rows were set aside.
        metrics: What the history keeps of the batch.
        of_window: Whether it was judged by itself, as an earlier day of the run's window. A day that its own run
            refused by its history stays refused then.
    """
    if of_window and _stays_refused(store, plan):
        return
    if verdict.accepted:
        accept(store, plan.ledger, _accepted(plan, outputs))
    else:
        refuse(store, plan.ledger, _refused(plan))
    by_history = history.is_by_history(verdict)
    measured = _measured(plan, metrics, accepted=verdict.accepted, of_window=of_window, by_history=by_history)
    history.enter(store, plan.ledger, measured)


def refuse_unread(store: Store, plan: Plan, error: InputError, *, of_window: bool = False) -> None:
    """Enter a batch as refused where an error is about its own files: nothing of it could be measured."""
    if error.batch != plan.batch.digest or (of_window and _stays_refused(store, plan)):
        return
    refuse(store, plan.ledger, _refused(plan))
    history.enter(store, plan.ledger, _measured(plan, {}, accepted=False, of_window=of_window))


def _stays_refused(store: Store, plan: Plan) -> bool:
    return not history.without_refused(store, plan.ledger, [plan.batch])


def _measured(
    plan: Plan, metrics: Mapping[str, float], *, accepted: bool, of_window: bool, by_history: bool = False
) -> history.Entry:
    return history.Entry(
        partition=plan.batch.partition,
        digest=plan.batch.digest,
        accepted=accepted,
        as_of=plan.as_of,
        run=plan.run,
        metrics=dict(metrics),
        of_window=of_window,
        by_history=by_history,
    )


def _accepted(plan: Plan, outputs: Mapping[str, Reference]) -> Accepted:
    aside = outputs.get("quarantined")
    return Accepted(
        **dict(_refused(plan)),
        accepted=outputs["accepted"].to_json(),
        quarantined=aside.to_json() if aside else None,
    )


def _refused(plan: Plan) -> Refused:
    batch = plan.batch
    return Refused(partition=batch.partition, digest=batch.digest, files=batch.files, as_of=plan.as_of, run=plan.run)

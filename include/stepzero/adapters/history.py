"""The history of a use case's batches: what was measured of each, one file per partition.

Bounds come from accepted batches only, so a batch that failed leaves its metrics to be seen and moves nothing.
An entry is written after the gate's result is committed, also when that was reused: the last run of a
partition is what its history says. Writers of different partitions write different files; of two that write
the same one, the last is kept whole. A day that its own run compared with those before it is not made better by a
later run that looks at it as a day of its window, by itself.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stepzero.spec.anomalies import STRATEGIES
from stepzero.spec.base import Section
from stepzero.spec.plan import HistoryPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stepzero.adapters.store import Store
    from stepzero.core.verdict import Verdict
    from stepzero.spec.plan import Batch

_ACCEPTED, _REFUSED = "accepted.json", "refused.json"
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T|$)")


class Entry(Section):
    """What was measured of a batch."""

    partition: str
    digest: str
    """Of the batch."""
    accepted: bool
    as_of: str
    run: str
    metrics: dict[str, float]
    """By `stepzero.spec.anomalies.Metric.key`; over the rows that went on, or would have."""
    of_window: bool = False
    """Whether it was judged by itself, without a history, as an earlier day of a later run's window."""
    by_history: bool = False
    """Whether an anomaly rule refused it."""


def enter(store: Store, use_case: str, entry: Entry) -> None:
    """Replace the entry of a partition.

    A refused batch does not displace an accepted one of the same partition whose rows are others: those are still
    what later stages read. Of the same rows it does, as in the ledger; an accepted one displaces both. Of the same
    rows, what a day's own run said by its history counts more than what a later run said of it without one,
    whichever came first.
    """
    folder = f"history/{use_case}/{entry.partition}"
    if entry.of_window and _is_refused_by_history(store, use_case, entry.partition, entry.digest):
        return
    store.write_json(f"{folder}/{_ACCEPTED if entry.accepted else _REFUSED}", entry.model_dump(mode="json"))
    if entry.accepted:
        store.remove(f"{folder}/{_REFUSED}")
    else:
        accepted = _read(store, f"{folder}/{_ACCEPTED}")
        if accepted is not None and accepted.digest == entry.digest:
            store.remove(f"{folder}/{_ACCEPTED}")


def without_refused(store: Store, use_case: str, batches: Iterable[Batch]) -> tuple[Batch, ...]:
    """Return the batches without those that their own runs refused as unlike the batches before them."""
    return tuple(one for one in batches if not _is_refused_by_history(store, use_case, one.partition, one.digest))


def is_by_history(verdict: Verdict) -> bool:
    """Tell whether an anomaly rule is among the reasons for which a batch was refused."""
    return not verdict.accepted and any(
        reason.rule in STRATEGIES and reason.severity == "error" for reason in verdict.reasons
    )


def _is_refused_by_history(store: Store, use_case: str, partition: str, digest: str) -> bool:
    refused = _read(store, f"history/{use_case}/{partition}/{_REFUSED}")
    return refused is not None and refused.by_history and refused.digest == digest


def _read(store: Store, uri: str) -> Entry | None:
    return Entry.model_validate(store.read_json(uri)) if store.exists(uri) else None


def entries(store: Store, use_case: str) -> list[Entry]:
    """Return all entries, refused ones too, in the order of their partitions."""
    found = [Entry.model_validate(store.read_json(uri)) for uri in store.list(f"history/{use_case}")]
    return sorted(found, key=lambda entry: (moment(entry.partition, entry.as_of), entry.partition, entry.accepted))


def points_before(
    store: Store, use_case: str, batch: Batch, as_of: str, names: Iterable[str], most: int
) -> tuple[HistoryPoint, ...]:
    """Return the newest accepted batches before a batch, oldest first, with the metrics of these names.

    Refused batches stand among them, marked, to be seen and not to be compared with: at most as many.

    A day's partition comes before all later days, whenever either ran; so the order of a backfill decides at
    most what is known yet, never what counts. Partitions without a date are in the order of their runs.
    """
    own, wanted = moment(batch.partition, as_of), sorted(set(names))
    before = [
        entry
        for entry in entries(store, use_case)
        if entry.partition != batch.partition and moment(entry.partition, entry.as_of) < own
    ]
    useful = [entry for entry in before if any(name in entry.metrics for name in wanted)]
    return tuple(
        HistoryPoint(
            partition=entry.partition,
            values={name: entry.metrics[name] for name in wanted if name in entry.metrics},
            accepted=entry.accepted,
        )
        for entry in _newest(useful, most)
    )


def _newest(useful: list[Entry], most: int) -> list[Entry]:
    """Return the newest accepted entries, and the newest refused ones that came after the first of them."""
    accepted = [place for place, entry in enumerate(useful) if entry.accepted]
    since = accepted[-most] if len(accepted) > most else 0
    refused = [place for place in range(since, len(useful)) if not useful[place].accepted]
    return [useful[place] for place in sorted([*accepted[-most:], *refused[-most:]])]


def moment(partition: str, as_of: str) -> datetime:
    """Return what a partition is ordered by: its own date, or the time of its run."""
    found = datetime.fromisoformat(partition if _DATE.match(partition) else as_of)
    return found if found.tzinfo else found.replace(tzinfo=UTC)

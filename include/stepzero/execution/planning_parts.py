"""What plans are put together from: what the gate is given besides the rows of a batch, and files by their names."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from stepzero.adapters.history import points_before
from stepzero.adapters.ledger import landed_uris, make_batch, partition_of
from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.spec.plan import HistoryPoint, ledger_name
from stepzero.spec.quality import ForeignKeyRule, FreshnessRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepzero.adapters.store import Store
    from stepzero.spec.plan import Batch
    from stepzero.spec.quality import Quality
    from stepzero.spec.use_case import UseCase


SHOWN_BATCHES = 30
"""Earlier batches that a quality report's charts can show, where no rule looks back further."""


def referenced_datasets(
    store: Store, quality: Quality, tables: Mapping[str, Batch] = MappingProxyType({})
) -> dict[str, Batch]:
    """Return what has landed of each dataset that a foreign key refers to; of another table, the same batch's files.

    Raises:
        InputError: Nothing has landed under its prefix.
    """
    wanted = sorted({rule.dataset for rule in quality.rules if isinstance(rule, ForeignKeyRule)})
    return {name: tables.get(name) or _landed(store, name, quality.datasets[name].prefix) for name in wanted}


def asks_how_fresh(quality: Quality) -> bool:
    """Tell whether a rule's answer depends on the run's time."""
    return any(isinstance(rule, FreshnessRule) for rule in quality.rules)


def _landed(store: Store, name: str, prefix: str) -> Batch:
    uris = landed_uris(store, prefix)
    if not uris:
        raise InputError(
            f"quality.datasets.{name}",
            value=bare(f"no file under {store.root}/{prefix}"),
            allowed="at least one file that is not empty",
            action="land the dataset that the foreign key refers to",
        )
    return make_batch(store, uris, name)


def history_before(
    store: Store, use_case: UseCase, batch: Batch, as_of: str, table: str = ""
) -> tuple[HistoryPoint, ...]:
    """Return what anomaly rules, of a use case or of one of its tables, compare with and their charts show."""
    anomalies = (use_case.tables[table].quality if table else use_case.quality).anomalies
    if not anomalies:
        return ()
    name = ledger_name(use_case.name, table)
    most = max(SHOWN_BATCHES, *(rule.depth for rule in anomalies))
    names = {rule.key for rule in anomalies}
    return points_before(store, name, batch, as_of, names, most)


def landed_batch(store: Store, ledger: str, uris: list[str], partition: str | None) -> Batch:
    """Describe landed files as a batch; without a partition, one that was judged before keeps its name.

    So it replaces itself, and is neither compared nor united with itself.

    Raises:
        InputError: A file is missing or empty.
    """
    batch = make_batch(store, uris, partition)
    known = None if partition else partition_of(store, ledger, batch.digest)
    return batch.model_copy(update={"partition": known}) if known else batch


def nothing_to_judge(store: Store, prefix: str, *, allowed: str, action: str) -> InputError:
    """Return the error of a run that names no file where none is to be taken."""
    refused = ", ".join(uri.rpartition("/")[2] for uri in landed_uris(store, prefix))
    if not refused:
        return InputError(
            f"landing folder {store.root}/{prefix}", value=bare("no file"), allowed=allowed, action=action
        )
    return InputError(
        f"landing folder {store.root}/{prefix}",
        value=bare(f"nothing but what the gate refused: {refused}"),
        allowed="a file that was not refused, or one that the form names",
        action="land a mended file, or name one as the batch: it is judged again",
    )


def named_files(name: str, landed: list[str]) -> list[str]:
    """Return the landed files that a person means: by URI, name, or name without its ending.

    Raises:
        InputError: There is none.
    """
    found = [uri for uri in landed if name in {uri, uri.rpartition("/")[2], uri.rpartition("/")[2].partition(".")[0]}]
    if not found:
        names = [uri.rpartition("/")[2] for uri in landed]
        raise InputError(
            "form.batch",
            value=name,
            allowed=did_you_mean(name, names) if names else "nothing has landed",
            action="name a landed file",
        )
    return found

"""Which searches of an earlier run those of a new run begin from: looked up once, frozen in the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepzero.core.errors import InputError, bare
from stepzero.spec.plan import EarlierSearch, run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.use_case import UseCase


def find_searches(store: Store, use_case: UseCase) -> tuple[EarlierSearch, ...]:
    """Return the finished search of every sampler and model of a use case in the run that it names.

    Raises:
        InputError: That run has none for one of them.
    """
    declared = use_case.train.search.warm_start if use_case.train else None
    if use_case.train is None or declared is None:
        return ()
    cells = [(sampler, model) for sampler in use_case.resample for model in use_case.train.models]
    return tuple(_find(store, use_case.name, declared.run, sampler, model) for sampler, model in cells)


def _find(store: Store, use_case: str, run: str, sampler: str, model: str) -> EarlierSearch:
    pointer = f"{run_folder(use_case, run)}/stages/tune/{sampler}.{model}.json"
    found = store.read_json(pointer)["result"] if store.exists(pointer) else None
    outputs = store.read_json(found["uri"])["outputs"] if found and store.exists(found["uri"]) else {}
    if found is None or "trials" not in outputs:
        raise InputError(
            f"train.search.warm_start: run {run}",
            value=bare(f"no finished search of {sampler} × {model}"),
            allowed="a run of this use case that tuned every sampler and model of the new one",
            action="name another run (bin/stepzero results RUN shows what it tuned), or leave the cell out",
        )
    return EarlierSearch(sampler=sampler, model=model, uri=found["uri"], digest=found["digest"])

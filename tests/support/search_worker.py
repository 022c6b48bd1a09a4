"""One worker of a search, as a process of its own: ``python -m support.search_worker STORE RUN ATTEMPT``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.store import Store
from stepzero.adapters.tracking import Tracking
from stepzero.core.keys import make_key
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageResult
from stepzero.execution.execute import Request, execute
from stepzero.execution.results import commit_result
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Batch, Plan
from support.cards import FOLDS, cards, made_up_cards, prepared

NAME = "credit_card_fraud"
CELL = {"sampler": "random_under", "model": "mine"}


def prepare_search(folder: Path, run: str, *, space: dict[str, Any], **search: Any) -> Store:
    """Make a store with a plan, prepared rows and resampled folds: all that a search begins with."""
    store = Store(f"file://{folder}")
    models = {"mine": {"class": "support.theirs.Counted", "space": space}}
    train = {"folds": FOLDS, "metric": "average_precision", "seed": 7, "models": models, "search": search}
    plan = Plan(
        run=run,
        use_case=cards(resample=[CELL["sampler"]], train=train),
        environment="test",
        batch=Batch(partition="p", digest="d", files=()),
        as_of="2026-11-21T00:00:00+00:00",
        approval="rule",
    )
    store.write_json(f"{plan.folder}/plan.json", plan.model_dump(mode="json", by_alias=True))
    sides = zip(("train", "test"), prepared(made_up_cards(rows=600, frauds=60)), strict=True)
    outputs = {side: write_frame(store, f"prepared/{side}", rows, producer="prepare") for side, rows in sides}
    key = make_key(stage="prepare")
    done = commit_result(store, NAME, "prepare", key, StageResult(outputs=outputs), {"folder": "x"}, number=1)
    store.write_json("inputs.json", {"prepared": done.to_json()})
    resampled = run_stage(store, run, "resample", "0", {"sampler": CELL["sampler"]})
    store.write_json("inputs.json", {"prepared": done.to_json(), "resampled": resampled.to_json()})
    return store


def run_stage(store: Store, run: str, stage: str, attempt: str, parameters: dict[str, str]) -> ResultReference:
    """Run a stage as a task does; nothing is shown in a tracking server."""
    named = store.read_json("inputs.json")
    inputs = {name: ResultReference(**one) for name, one in named.items()}
    request = Request(
        stage=stage,
        use_case=NAME,
        run=run,
        attempt=attempt,
        inputs=inputs,
        parameters=parameters,
        label=".".join(parameters.values()),
    )
    kept = Tracking.publish
    Tracking.publish = lambda *_: "nowhere"  # type: ignore[method-assign, assignment]
    try:
        return execute(request, store, Environment(name="test", store=store.root))
    finally:
        Tracking.publish = kept  # type: ignore[method-assign]


if __name__ == "__main__":
    import stepzero.core.logs
    from stepzero.learning import search

    search.WORTH_SAVING_SECONDS = 0.0
    stepzero.core.logs.configure()
    _, root, run_id, attempt_id = sys.argv
    print(json.dumps(run_stage(Store(root), run_id, "tune", attempt_id, CELL).to_json()), flush=True)  # noqa: T201 - what the test reads

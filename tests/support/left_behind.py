"""What runs left behind, each thing by the name that it must have once: rows, MLflow runs, versions, ledger entries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.store import Store
from stepzero.adapters.tracking_entities import KEY, RESULT, RUN
from stepzero.cli.run_results import RunResults
from stepzero.core.references import ResultReference
from stepzero.core.stages import StageInput
from stepzero.execution.results import read_input

if TYPE_CHECKING:
    from support.stack import Stack

PARENT = "mlflow.parentRunId"


class LeftBehind:
    """What there is now in the store and in MLflow of a use case, and of one of its runs.

    Args:
        stack: The services, and their store.
        run: The run whose rows and trials are looked at.
        use_case: Its use case.
    """

    def __init__(self, stack: Stack, run: str, use_case: str = "credit_card_fraud") -> None:
        self.store = Store(f"file://{stack.home}/store")
        self.run, self.use_case = run, use_case
        self.results = RunResults(self.store, use_case, run)
        self._runs = [_tags(one) for one in stack.mlflow_runs("", use_case)]
        self._ids = [one["info"]["run_id"] for one in stack.mlflow_runs(f"tags.`{RUN}` = '{run}'", use_case)]
        wanted = {"filter": f"name='{use_case}'"}
        self._versions = stack.mlflow("GET", "/model-versions/search", params=wanted)["model_versions"]

    def names(self) -> dict[str, list[str]]:
        """Return the name of each thing, by its kind; what was made twice has its name twice."""
        return {
            "rows": self.rows(),
            "MLflow runs": sorted(_name(tags) for tags in self._runs),
            "model versions": sorted({tag["key"]: tag["value"] for tag in one["tags"]}[KEY] for one in self._versions),
            "ledger entries": self._ledger(),
        }

    def twice(self) -> dict[str, list[str]]:
        """Return the names of what is there more than once."""
        counted = {kind: Counter(names) for kind, names in self.names().items()}
        return {kind: [name for name, count in one.items() if count > 1] for kind, one in counted.items()}

    def rows(self) -> list[str]:
        """Return the ids of all rows that the run prepared, of both sides of the split."""
        prepared = self._result("prepare")
        frames = [read_frame(self.store, prepared.output(side), columns=["_row_id"]) for side in ("train", "test")]
        return sorted(str(name) for frame in frames for name in frame["_row_id"])

    def trials(self) -> int:
        """Return how many trials MLflow shows below the run."""
        return sum(tags.get(PARENT) in self._ids for tags in self._runs)

    def computed_trials(self) -> int:
        """Return how many trials the run's searches say that they tried."""
        cells = [end for end in self.results.ends if end.stage == "tune"]
        results = [self.results.result(end.stage, end.label) for end in cells]
        return sum(record["scope"] == "trial" for result in results for record in result["records"])

    def reused(self, *stages: str) -> dict[str, bool]:
        """Return whether each of the stages' tasks was reused."""
        return {end.name: end.pointer["reused"] for end in self.results.ends if end.stage in stages}

    def _result(self, stage: str) -> StageInput:
        return read_input(self.store, ResultReference.from_json(self.results.pointer(stage)["result"]))

    def _ledger(self) -> list[str]:
        uris = [uri for uri in self.store.list(f"ledger/{self.use_case}") if "/accepted-" in uri]
        entries = [(uri.split("/")[2], self.store.read_json(uri)) for uri in uris]
        return sorted(f"{partition} {one['digest']} {one['accepted']['digest']}" for partition, one in entries)


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def _name(tags: dict[str, str]) -> str:
    if PARENT in tags:
        return f"trial {tags[RESULT]} {tags[KEY]}"
    return f"run {tags.get(RUN) or tags['mlflow.runName']}"

"""What a run left in the store: how each stage ended, the table of results, and who said no."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stepzero.adapters.store import Store
from stepzero.core.errors import DONE, FAULT, TRY_AGAIN, VERDICT_NO, InputError, bare, did_you_mean
from stepzero.core.verdict import Verdict
from stepzero.spec.plan import run_folder

_ERROR = re.compile(r"(?P<label>.+)\.error-(?P<try>\d*)(?P<rest>.*)\.json")
DAYS = "days"
"""Folder of what the gate said about a window's earlier days: a bad day is left out, and refuses no run."""
METRICS = ("f1", "precision", "recall", "roc_auc", "average_precision")
NUMBER_METRICS = ("rmse", "mae", "r2", "accuracy")
"""Of a regression."""
FAILED_AT = {
    "quality_gate": "failed at the gate",
    "evaluate": "not promoted",
    "mitigate_decisions": "not promoted",
    "compare_endpoints": "not promoted",
    "bias": "not promoted",
    "register": "not better than the champion",
    "approve": "rejected",
}
"""Stage whose verdict said no → outcome of the run."""


@dataclass(frozen=True)
class StageEnd:
    """How one stage (or one of its mapped tasks) ended in a run."""

    stage: str
    label: str
    pointer: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return stage and label."""
        return f"{self.stage} {self.label}" if self.label else self.stage


class RunResults:
    """Read a run's folder once.

    Args:
        store: Where it is.
        use_case: Name of the use case.
        run: Id of the run.
    """

    def __init__(self, store: Store, use_case: str, run: str) -> None:
        self.store, self.use_case, self.run = store, use_case, run

    @cached_property
    def ends(self) -> list[StageEnd]:
        """How every stage ended that began; a noted result counts more than an earlier error."""
        folder = f"{run_folder(self.use_case, self.run)}/stages/"
        found: dict[tuple[str, str], StageEnd] = {}
        errors: dict[tuple[str, str], tuple[int, str]] = {}
        for uri in self.store.list(folder.rstrip("/")):
            stage, _, name = uri.removeprefix(folder).partition("/")
            match = _ERROR.fullmatch(name)
            if match:
                place = (stage, _label(match["label"]))
                errors[place] = max(errors.get(place, (0, "")), (int(match["try"] or 0), uri))
            else:
                label = _label(name.removesuffix(".json"))
                found[stage, label] = StageEnd(stage, label, pointer=self.store.read_json(uri))
        for place, (_, uri) in errors.items():
            if place not in found:
                found[place] = StageEnd(*place, error=self.store.read_json(uri))
        return list(found.values())

    def pointer(self, stage: str, label: str = "") -> dict[str, Any]:
        """Return what a run noted of a stage; empty when it did not end well."""
        return next((end.pointer for end in self.ends if (end.stage, end.label) == (stage, label)), {})

    def result(self, stage: str, label: str = "") -> dict[str, Any]:
        """Return the committed result of a stage; empty when there is none."""
        reference = self.pointer(stage, label).get("result")
        return dict(self.store.read_json(reference["uri"])) if reference and stage != "plan" else {}

    def values(self, stage: str, label: str = "") -> dict[str, Any]:
        """Return the values of a stage's result."""
        return dict(self.result(stage, label).get("values") or {})

    def sentence(self, stage: str, label: str = "") -> str:
        """Return a stage's verdict in one sentence; its summary where it has none."""
        result = self.result(stage, label)
        verdict = result.get("verdict")
        return Verdict.from_json(verdict).sentence() if verdict else str(result.get("summary", ""))

    @property
    def errors(self) -> list[StageEnd]:
        """Stages that ended with an error."""
        return [end for end in self.ends if end.error]

    @property
    def refusal(self) -> StageEnd | None:
        """The stage whose verdict said no."""
        ends = [end for end in self.ends if end.stage != DAYS]
        said_no = [end for end in ends if end.pointer.get("result", {}).get("outcome") == "FAIL"]
        order = [*FAILED_AT, *(end.stage for end in said_no)]
        return min(said_no, key=lambda end: order.index(end.stage), default=None)

    @property
    def outcome(self) -> str:
        """Return how the run ended, in a word or two."""
        if self.refusal:
            values = self.values(self.refusal.stage, self.refusal.label)
            superseded = values.get("superseded") or "superseded" in self.verdict
            return "superseded" if superseded else FAILED_AT.get(self.refusal.stage, f"failed at {self.refusal.name}")
        if self.errors:
            return f"failed at {self.errors[0].name}"
        if self.pointer("deploy"):
            return "deployed"
        if self.pointer("plan").get("values", {}).get("promotes") is False and self.pointer("evaluate"):
            return "evaluated"
        return "finished" if self.ends else "not started"

    @property
    def exit_status(self) -> int:
        """Return the exit status that follows the outcome."""
        if self.refusal:
            return VERDICT_NO
        if self.errors:
            return TRY_AGAIN if self.errors[0].error.get("retry") else FAULT
        return DONE if self.ends else FAULT

    @property
    def verdict(self) -> str:
        """Return the sentence that decided: the refusal, the error, or else the gate's; of several tables, one each."""
        if self.refusal:
            return self.sentence(self.refusal.stage, self.refusal.label)
        if self.errors:
            return f"{self.errors[0].name}: {self.errors[0].error.get('message', '')}"
        gates = [end.label for end in self.ends if end.stage == "quality_gate"]
        return "\n".join(self.sentence("quality_gate", label) for label in gates)

    @property
    def table(self) -> list[dict[str, Any]]:
        """Return the rows of the results: sampler, model, metrics with intervals."""
        return list(self.judged.get("table") or [])

    @property
    def judged(self) -> dict[str, Any]:
        """Return what chose the winner, or changed its decisions: the last of the stages that do."""
        last = ("compare_endpoints", "mitigate_decisions", "evaluate")
        return next((values for stage in last if (values := self.values(stage))), {})

    @property
    def champion(self) -> dict[str, Any] | None:
        """Return the winner with its version, where the run deployed it."""
        winner = self.judged.get("winner")
        if not winner or self.outcome != "deployed":
            return None
        return {
            "sampler": winner["sampler"],
            "model": winner["model"],
            "version": str(self.values("register").get("version", "")),
            "threshold": winner["threshold"],
            **({"groups": winner["groups"]} if winner.get("groups") else {}),
            "metrics": {name: _number(value) for name, value in winner.get("metrics", {}).items()},
        }

    @property
    def links(self) -> dict[str, str]:
        """Return the links that the run's plan noted."""
        return dict(self.pointer("plan").get("values", {}).get("links") or {})


def find_run(store: Store, run: str, use_case: str | None = None) -> tuple[str, str]:
    """Return use case and id of a run; ``latest`` is the one that began last.

    Raises:
        InputError: There is no such run.
    """
    plans = [uri for uri in store.list("runs") if uri.endswith("/plan.json") and uri.count("/") == 3]
    if use_case:
        plans = [uri for uri in plans if uri.split("/")[1] == use_case]
    if run == "latest":
        read = [(uri.split("/")[1], store.read_json(uri)) for uri in plans]
        trained = [(name, plan) for name, plan in read if plan.get("purpose", "lifecycle") == "lifecycle"]
        known = [(plan["as_of"], name, plan["run"]) for name, plan in trained]
        found = [(name, found_run) for _, name, found_run in sorted(known)]
    else:
        names = sorted({uri.split("/")[1] for uri in plans})
        found = [(name, run) for name in names if f"{run_folder(name, run)}/plan.json" in plans]
    if found:
        return found[-1]
    folders = [uri.split("/")[2] for uri in plans]
    raise InputError(
        f"run {run}",
        value=bare("not in the store"),
        allowed=f"a run that has a plan; {did_you_mean(run, folders[-20:])}" if folders else "no run yet",
        action="bin/stepzero results latest shows the last one",
    )


def _label(name: str) -> str:
    return "" if name == "result" else name


def _number(value: Any) -> float:
    return float(value["value"] if isinstance(value, dict) else value)

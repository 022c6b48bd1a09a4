"""What both joins of feature groups do alike, on pandas and on Spark: what they take, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stepzero.core.references import Reference
from stepzero.core.stages import Record, StageInput, StageResult

if TYPE_CHECKING:
    from stepzero.adapters.workspace import Workspace
    from stepzero.spec.features import FeatureGroup

Frame = TypeVar("Frame")


@dataclass(frozen=True, kw_only=True)
class Histories(Generic[Frame]):
    """The histories that were ingested for a run."""

    group: FeatureGroup
    """Whose records are the training rows."""
    history: Frame
    others: dict[str, tuple[FeatureGroup, Frame]]
    as_of: str
    """The run's moment, ISO 8601."""


def read_histories(
    features: Any, inputs: Mapping[str, Any], workspace: Workspace, read: Callable[[list[Reference]], Frame]
) -> Histories[Frame]:
    """Read the history of every group as it was ingested; each group is an input by its name."""
    ingested: dict[str, StageInput] = {name: inputs[name] for name in features.groups}
    listed = {name: workspace.store.read_json(one.output("members").uri) for name, one in ingested.items()}
    histories = {
        name: (group, read([Reference.from_json(one) for one in listed[name]]))
        for name, group in features.groups.items()
    }
    group, history = histories.pop(features.rows)
    return Histories(group=group, history=history, others=histories, as_of=ingested[features.rows].values["as_of"])


def say_joined(features: Any, as_of: str, written: Reference, rows: int, missing: Mapping[str, int]) -> StageResult:
    """Return the result of a join.

    The moment is no value: where nothing became known since, the rows are the same, and so is what follows from them.
    """
    told = ", ".join(f"{count} without {name}" for name, count in missing.items()) or "one group"
    metrics = {f"features.missing.{name}": float(count) for name, count in missing.items()}
    return StageResult(
        outputs={"accepted": written},
        values={"rows": rows, "missing": missing},
        summary=f"{rows} rows as known at {features.as_of or as_of}; {told}",
        records=(Record(metrics={"features.rows": float(rows), **metrics}),),
    )

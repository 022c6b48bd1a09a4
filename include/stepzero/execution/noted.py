"""What the stages of a run noted in the store, each with what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepzero.core.references import Reference, ResultReference
from stepzero.spec.plan import run_folder

if TYPE_CHECKING:
    from stepzero.adapters.store import Store


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A stage of a run that ended well: what it noted, and the committed result."""

    folder: str
    """Name of its folder in the run: the stage's, or ``days``."""
    label: str
    pointer: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return stage and label."""
        return f"{self.folder} {self.label}" if self.label else self.folder

    @property
    def values(self) -> dict[str, Any]:
        """Return what the stage found."""
        return dict(self.result.get("values") or {})

    @property
    def outputs(self) -> dict[str, Reference]:
        """Return what the stage wrote."""
        return {name: Reference.from_json(one) for name, one in (self.result.get("outputs") or {}).items()}

    @property
    def inputs(self) -> dict[str, ResultReference | list[ResultReference]] | None:
        """Return what the stage was given; None where an older release did not note it."""
        noted = self.pointer.get("inputs")
        return None if noted is None else {name: _input(value) for name, value in noted.items()}


def noted_stages(store: Store, use_case: str, run: str) -> list[Noted]:
    """Return what a run's stages noted, in the order of their names; the plan is none of them."""
    folder = f"{run_folder(use_case, run)}/stages"
    found = []
    for uri in store.list(folder):
        stage, _, name = uri.removeprefix(f"{folder}/").partition("/")
        if stage == "plan" or ".error-" in name:
            continue
        pointer = store.read_json(uri)
        label = name.removesuffix(".json")
        result = store.read_json(pointer["result"]["uri"])
        found.append(Noted(folder=stage, label="" if label == "result" else label, pointer=pointer, result=result))
    return found


def _input(value: Any) -> ResultReference | list[ResultReference]:
    if isinstance(value, list):
        return [ResultReference.from_json(one) for one in value]
    return ResultReference.from_json(value)

"""What mitigation did, as the stages that mitigate hand it on: JSON, text, picture and a record, nothing left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepzero.core.errors import SpecError, bare
from stepzero.core.stages import Record, StageResult
from stepzero.learning.bias_comparison import Change, comparison_picture, comparison_text, counts_sentence

if TYPE_CHECKING:
    from stepzero.adapters.workspace import Workspace
    from stepzero.core.references import Reference
    from stepzero.core.verdict import Verdict
    from stepzero.measures.uncertainty import Interval
    from stepzero.spec.bias import Mitigate


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of labels (``before`` training) or of decisions (``after`` it), without mitigation and with it."""

    time: str
    what: str
    changes: Sequence[Change]
    figures: Mapping[str, tuple[Interval, Interval]] = field(default_factory=dict)
    """Metric of the model → without and with mitigation, on held-out rows."""
    thresholds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Who → from which score on a row counts as positive, without and with mitigation."""

    @property
    def sentence(self) -> str:
        """Return how many metrics of bias came nearer to no difference, and which went further."""
        return counts_sentence(self.changes)

    def text(self, title: str) -> str:
        """Return everything as aligned text."""
        lines = [comparison_text(self.changes, title)]
        if self.figures:
            lines += ["", f"  {'without':>24}  {'with':>24}  figure of the model"]
        lines += [f"  {_shown(one):>24}  {_shown(other):>24}  {name}" for name, (one, other) in self.figures.items()]
        lines += [
            f"  {one:>24.4g}  {other:>24.4g}  threshold of {who}" for who, (one, other) in self.thresholds.items()
        ]
        return "\n".join(lines)

    def to_json(self, declared: Mitigate) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "method": declared.method,
            "facet": declared.facet,
            "time": self.time,
            "what": self.what,
            "sentence": self.sentence,
            "changes": [change.to_json() for change in self.changes],
            "figures": [
                {"metric": name, "before": one.to_json(), "after": other.to_json()}
                for name, (one, other) in self.figures.items()
            ],
            "thresholds": [
                {"who": who, "before": one, "after": other} for who, (one, other) in self.thresholds.items()
            ],
        }


def declared_method(use_case: Any) -> Mitigate:
    """Return how bias is mitigated.

    Raises:
        SpecError: There is no bias.mitigate section.
    """
    declared: Mitigate | None = use_case.bias.mitigate if use_case.bias else None
    if declared is None:
        raise SpecError(
            f"{use_case.name}: bias.mitigate",
            value=bare("none"),
            allowed="a method and a facet: mitigate: {method: reweighing, facet: ...}",
            action="add it, or take the stage out of the DAG",
        )
    return declared


def write_told(
    use_case: Any,
    told: Told,
    workspace: Workspace,
    *,
    outputs: Mapping[str, Reference],
    values: Mapping[str, Any],
    verdict: Verdict | None = None,
    metrics: Mapping[str, float] | None = None,
) -> StageResult:
    """Return the result of a stage that mitigates: what it hands on, and what that does to every metric."""
    declared = use_case.bias.mitigate
    how = f"{declared.method} by {declared.facet}"
    title = f"{declared.method.capitalize()} by {declared.facet}: {told.what}"
    text = told.text(title)
    workspace.log.info("%s", text)
    json = told.to_json(declared)
    files = {
        "mitigation": workspace.write_json("mitigation.json", json),
        "mitigation_text": workspace.write_file("mitigation.txt", text + "\n"),
        "mitigation_picture": workspace.write_file("mitigation.png", comparison_picture(told.changes, title)),
    }
    shown = {f"bias/mitigation_{told.time}{name[len('mitigation') :]}": name for name in _FILES}
    return StageResult(
        outputs={**outputs, **files},
        values={**values, "mitigation": json},
        verdict=verdict,
        summary=f"{how}, {told.what}: {told.sentence}",
        records=(Record(tags={"bias_mitigation": how}, files=shown, metrics=dict(metrics or {})),),
    )


_FILES = ("mitigation.json", "mitigation.txt", "mitigation.png")


def _shown(one: Interval) -> str:
    return f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}]"

"""What differs between two versions: data, spec, parameters, metrics, thresholds, and SHAP where both have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero.execution.lineage import Version, lineage
from stepzero.execution.verification import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_FEATURES = 8


def compare_versions(one: Version, other: Version) -> dict[str, Any]:
    """Return what differs, part by part, as JSON; a part in which nothing differs is empty.

    Metrics are told with their difference; whether both were measured on the same held-out rows is told, too, for
    only then is the difference the models'.
    """
    before, after = lineage(one), lineage(other)
    return {
        "versions": [_named(one), _named(other)],
        "same_model": before["model"] == after["model"],
        "data": _data(before["data"], after["data"]),
        "spec": differences(_spec(one), _spec(other), "spec"),
        "parameters": differences(_chosen(before), _chosen(after), "winner"),
        "metrics": _metrics(before["evaluation"]["metrics"], after["evaluation"]["metrics"]),
        "same_held_out_rows": before["evaluation"]["held_out_rows"] == after["evaluation"]["held_out_rows"],
        "threshold": [before["evaluation"]["threshold"], after["evaluation"]["threshold"]],
        "shap": _shap(_importance(one), _importance(other)),
        "environment": differences(_environment(before), _environment(after), "environment"),
    }


def _named(version: Version) -> dict[str, str]:
    one = version.registration
    return {"use_case": one.use_case, "version": one.version, "run": one.run}


def _spec(version: Version) -> dict[str, Any]:
    return version.plan.use_case.model_dump(mode="json", by_alias=True)


def _chosen(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told["training"][name] for name in ("sampler", "model", "parameters")}


def _environment(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told["training"].get(name) for name in ("code", "lock", "architecture", "python")}


def _data(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each read: digests say whether it was the same, partitions say which days came and went."""
    days = [
        {member["partition"] for member in told["window"]} | {told["batch"]["partition"]} for told in (before, after)
    ]
    return {
        "same_batch": before["batch"]["digest"] == after["batch"]["digest"],
        "batches": [before["batch"]["digest"], after["batch"]["digest"]],
        "rows": [before["rows"], after["rows"]],
        "quarantined": [before["quarantined"], after["quarantined"]],
        "only_before": sorted(days[0] - days[1]),
        "only_after": sorted(days[1] - days[0]),
        "in_both": len(days[0] & days[1]),
    }


def _metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    told = {}
    for name in dict.fromkeys([*before, *after]):
        pair = [_number(metrics.get(name)) for metrics in (before, after)]
        difference = None if None in pair else float(pair[1]) - float(pair[0])  # type: ignore[arg-type]
        told[name] = {"before": pair[0], "after": pair[1], "difference": difference}
    return told


def _number(metric: Any) -> float | None:
    value = metric.get("value") if isinstance(metric, dict) else metric
    return None if value is None else float(value)


def _importance(version: Version) -> dict[str, float] | None:
    """Return mean absolute SHAP values by feature; None where the evaluation explained nothing."""
    found = version.stage("evaluate")
    reference = found.outputs.get("explanation") if found else None
    told = version.store.read_json(reference.uri).get("shap") if reference else None
    features = (told or {}).get("features")
    return {one["feature"]: float(one["mean_absolute"]) for one in features} if features else None


def _shap(before: dict[str, float] | None, after: dict[str, float] | None) -> list[dict[str, Any]] | None:
    """Return the features whose weight changed most; None where one of the versions has no SHAP values."""
    if before is None or after is None:
        return None
    names = sorted({*before, *after}, key=lambda name: -abs(after.get(name, 0.0) - before.get(name, 0.0)))
    return [{"feature": name, "before": before.get(name), "after": after.get(name)} for name in names[:MOST_FEATURES]]

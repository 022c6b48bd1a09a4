"""What each way to mitigate bias does to decisions on claims: `bin/stepzero bench mitigation`.

The raw claims and customers (see `--data`; generated ones elsewhere) are prepared by the use case's transforms, joined
to one row a policy, and split by policy ten times over. On each split the use case's whole recipe (search, winner,
threshold by cost) learns without mitigation, on reweighed rows, and on rows oversampled by the facet; the winner
without mitigation decides by a threshold for each group, too, chosen for equal acceptance or for equal recall.

Told are, over the splits and for held-out policies, each metric of bias without and with, as its mean and as its mean
distance from "no difference"; how many metrics came nearer or went further, and of how many that can be told from
chance (paired 95 % interval of the distance, corrected for training rows that splits share: Nadeau and Bengio,
Machine Learning 52, 2003); how often the declared limits were kept; and what the claims cost. Splits that are done are
kept: ended in the middle, it goes on there. The last line is JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _claims import Learned, Stages, compared_splits, measured, paired_interval

from stepzero.core.verdict import Outcome
from stepzero.learning.bias import judge_bias, report_after
from stepzero.measures.bias import NEUTRAL
from stepzero.spec.use_case import UseCase

NONE = "no mitigation"
CHANGED_ROWS = {"reweighing": {"method": "reweighing"}, "oversampling": {"method": "oversampling"}}
THRESHOLDS = {
    f"thresholds, equal {what}": {"method": "thresholds", "equalise": what} for what in ("acceptance", "recall")
}
FIGURES = ("cost", "average_precision", "f1", "alarms")


def main() -> None:
    source, found = compared_splits(__doc__, Path(__file__), _settings, _compare)
    told = {way: _summary(found, way) for way in (NONE, *CHANGED_ROWS, *THRESHOLDS)}
    print(f"{source}, {len(found)} splits by policy")
    for way, one in told.items():
        _tell(way, one, len(found))
    print(json.dumps({"source": source, "splits": len(found), "ways": told}))


def _settings(use_case: UseCase, splits: int) -> dict[str, Any]:
    del splits
    return {"use_case": _mitigated(use_case, None).model_dump(mode="json", by_alias=True)}


def _mitigated(use_case: UseCase, how: dict[str, str] | None) -> UseCase:
    """Return the use case with one way to mitigate, or with none."""
    data = use_case.model_dump(mode="json", by_alias=True)
    data["bias"]["mitigate"] = None if how is None else {"facet": next(iter(data["bias"]["facets"])), **how}
    return UseCase.model_validate(data)


def _compare(use_case: UseCase, frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    parts = frame.drop(columns="_side").groupby(frame["_side"])
    sides = {str(side): part.reset_index(drop=True) for side, part in parts}
    plain = Learned(Stages(_mitigated(use_case, None), folder / "none", sides))
    ways = {NONE: _decisions(use_case, plain, plain.lines)}
    for way, how in CHANGED_ROWS.items():
        learned = Learned(Stages(_mitigated(use_case, how), folder / way, sides))
        ways[way] = _decisions(use_case, learned, learned.lines)
    for way, how in THRESHOLDS.items():
        plain.stages.use_case = _mitigated(plain.stages.use_case, how)
        ways[way] = _decisions(use_case, plain, plain.group_lines())
    print(", ".join(f"{way}: DPPL {one['bias']['DPPL']:+.3f}" for way, one in ways.items()), flush=True)
    return {"ways": ways, "share": len(sides["test"]) / len(sides["train"])}


def _decisions(use_case: UseCase, learned: Learned, lines: Any) -> dict[str, Any]:
    """Return figures and bias of decisions on held-out policies."""
    if use_case.bias is None or use_case.problem is None:
        msg = "the use case declares what is predicted, and whom bias is measured for"
        raise AssertionError(msg)
    report = report_after(learned.test, learned.score >= lines, use_case.problem, use_case.bias)
    facet = report.facets[0]
    return {
        "model": learned.model,
        "bias": facet.values(),
        "accepted": facet.shares,
        "within_limits": judge_bias(report, use_case.bias).outcome is Outcome.PASS,
        **measured(learned.test, learned.score, lines),
    }


def _summary(found: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """Return figures of one way over all splits, and each metric of bias beside that without mitigation."""
    mine, plain = ([one["ways"][which] for one in found] for which in (way, NONE))
    share = float(np.mean([one["share"] for one in found]))
    metrics = {name: _metric(name, mine, plain, share) for name in mine[0]["bias"]}
    told = {name: float(np.mean([one[name] for one in mine])) for name in FIGURES}
    saved = _paired([one["cost"] - other["cost"] for one, other in zip(mine, plain, strict=True)], share)
    return {
        **told,
        "cost_more": saved,
        "within_limits": sum(one["within_limits"] for one in mine),
        "models": sorted({one["model"] for one in mine}),
        "metrics": metrics,
        "nearer": [name for name, one in metrics.items() if one["more"]["mean"] < 0],
        "further": [name for name, one in metrics.items() if one["more"]["mean"] > 0],
        "surely_nearer": [name for name, one in metrics.items() if one["more"]["high"] < 0],
        "surely_further": [name for name, one in metrics.items() if one["more"]["low"] > 0],
    }


def _metric(name: str, mine: list[dict[str, Any]], plain: list[dict[str, Any]], share: float) -> dict[str, Any]:
    """Return a metric over splits where it is finite: mean, distance from no difference, how much further that is."""
    neutral = NEUTRAL.get(name, 0.0)
    pairs = np.array([(one["bias"][name], other["bias"][name]) for one, other in zip(mine, plain, strict=True)], float)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    distance = np.abs(pairs - neutral)
    told: dict[str, Any] = {"splits": len(pairs), "more": _paired(distance[:, 0] - distance[:, 1], share)}
    if len(pairs):
        told |= {"mean": float(pairs[:, 0].mean()), "distance": float(distance[:, 0].mean())}
    return told


def _paired(gain: Any, share: float) -> dict[str, float]:
    """Return the mean of paired differences with a 95 % interval, corrected for splits that share training rows.

    With fewer than two splits nothing can be said: no difference, and an interval without an end.
    """
    values = np.asarray(gain, dtype=np.float64)
    if len(values) < 2:
        return {"mean": 0.0, "low": -np.inf, "high": np.inf}
    return paired_interval(values, share)


def _tell(way: str, one: dict[str, Any], splits: int) -> None:
    cost = one["cost_more"]
    print(f"\n{way}: won by {', '.join(one['models'])}; limits kept in {one['within_limits']} of {splits} splits")
    print(
        f"  cost of a claim {one['cost']:.0f}, more than without {cost['mean']:+.0f} [{cost['low']:+.0f}, "
        f"{cost['high']:+.0f}]; average precision {one['average_precision']:.3f}, F1 {one['f1']:.3f}, "
        f"{one['alarms']:.0f} flagged"
    )
    if way != NONE:
        print(
            f"  nearer to no difference: {len(one['nearer'])}, surely {', '.join(one['surely_nearer']) or 'none'}; "
            f"further: {len(one['further'])}, surely {', '.join(one['surely_further']) or 'none'}"
        )
    for name, metric in one["metrics"].items():
        if metric["splits"] > 1:
            more = metric["more"]
            further = (
                f", further by {more['mean']:+.4f} [{more['low']:+.4f}, {more['high']:+.4f}]" if way != NONE else ""
            )
            print(f"  {name:<6} mean {metric['mean']:+.4f}, distance {metric['distance']:.4f}{further}")


if __name__ == "__main__":
    main()

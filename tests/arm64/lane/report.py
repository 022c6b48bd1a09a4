"""The equality report: JSON for machines, a table for people."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arm64.lane.build import PROCESSOR, Lane
from arm64.lane.compare import Bound, Comparison


def make_report(comparisons: Sequence[Comparison], bounds: tuple[Bound, ...], **facts: Any) -> dict[str, Any]:
    """Return the whole report; `facts` say what was compared and what was not run."""
    stages = [_stage(one, bounds) for one in comparisons]
    return {**facts, "holds": all(stage["result"] != "different" for stage in stages), "stages": stages}


def describe_machines(lane: Lane) -> dict[str, Any]:
    """Return what ran on either side."""
    wanted = ("libc6_", "python3.11_", "openjdk", "qemu")
    return {
        "native": {
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "libc": platform.libc_ver()[1],
        },
        "arm64": {
            "architecture": "aarch64",
            "processor": f"{PROCESSOR} (Graviton2), emulated",
            "packages": [name for name in lane.packages if name.startswith(wanted)],
        },
    }


EQUAL = "equal to the last bit"


def _stage(one: Comparison, bounds: tuple[Bound, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {"stage": one.stage}
    if one.equal:
        return told | {"result": EQUAL}
    reasons = [
        {"place": bound.place, "bound": _finite(bound.largest), "reason": bound.reason} for bound in one.reasons(bounds)
    ]
    gaps = [{"place": gap.place, "largest": _finite(gap.largest), "note": gap.note} for gap in one.gaps]
    if not gaps:
        return told | {"result": "equal content in other bytes", "outputs": list(one.bytes_only)}
    left = [gap.place for gap in one.unexplained(bounds)]
    largest = one.largest(bounds)
    near = "equal within the bound" if largest else "equal but for addresses"
    told |= {"result": "different" if left else near, "largest": _finite(largest)}
    return told | {"gaps": gaps, "reasons": reasons, "unexplained": left}


def render(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    lines = ["| stage | x86-64 against arm64 | largest difference | why |", "|---|---|---|---|"]
    for stage in report["stages"]:
        reasons = "; ".join(dict.fromkeys(reason["reason"] for reason in stage.get("reasons", [])))
        why = reasons or ", ".join(stage.get("outputs", []))
        largest = _told(stage.get("largest", 0.0)) if "largest" in stage else "0"
        lines.append(f"| {stage['stage']} | {stage['result']} | {largest} | {why} |")
    lines += ["", *(f"Not run: {what}" for what in report.get("not_run", []))]
    for machine, used in report.get("processor_seconds", {}).items():
        lines.append(f"{machine}: {sum(used.values()):.0f} s of processor time on {report['sample']}")
    if report.get("lost_forks"):
        lines.append(f"The emulator lost {report['lost_forks']} forks; the stages that waited for them were run again.")
    return "\n".join(lines) + "\n"


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``equality.json`` and ``equality.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "equality.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (folder / "equality.md").write_text(render(report), encoding="utf-8")


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "not a number"


def _told(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1e}"

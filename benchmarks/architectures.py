"""Time the training stages on this machine, and compare the files of several machines.

    bin/stepzero bench architectures --machine c7g.8xlarge [--data creditcard.csv.gz] [--repeat 3]
    bin/stepzero bench architectures --merge c6i.8xlarge.json c7g.8xlarge.json [--environment aws]

The first form runs gate, preparation, resampling and tuning as a DAG run would (no service is needed)
and writes one result file. The second prints training time and cost per training of several machines,
normalised to the first file, and draws them. What an hour of a machine costs is read from `machines`
in the environment file: you declare it, nothing is assumed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.digests import digest_file, digest_json
from stepzero.core.errors import InputError, StepzeroError, bare
from stepzero.core.references import ResultReference
from stepzero.core.stages import find_stage, load_stage
from stepzero.execution.execute import Request, stage_key
from stepzero.execution.planning import PlanRequest, make_plan
from stepzero.execution.results import commit_result, read_input
from stepzero.learning.drawing import BLUE, GREEN, GREY, INK, ORANGE, figure, png
from stepzero.spec.environment import Environment, MachineType
from stepzero.spec.load import load_environment
from stepzero.spec.lock import lock_digest
from stepzero.spec.plan import Plan
from stepzero.spec.view import View

OUT = Path(__file__).parent / "out"
SAMPLERS = ("near_miss_1", "smote")
MODELS = ("decision_tree", "random_forest", "xgboost")
COLOURS = (GREY, BLUE, ORANGE, GREEN)
MUST_AGREE = ("format", "data", "lock", "trained", "repeat")
"""What two result files must have in common; otherwise they did not do the same work."""

Result = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    if given.merge:
        results = [_read(path) for path in given.merge]
        table = compare(results, load_environment(given.environment).machines)
        print(render(table))
        draw(table, given.chart)
        print(f"chart: {given.chart}")
        print(json.dumps({"reference": results[0]["machine"], "trainings": table}))
        return
    result = measure(given.machine, given.data, given.repeat)
    path = given.output or OUT / f"{given.machine}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"result file: {path}")
    print(json.dumps({"machine": given.machine, "median_seconds": _medians(result)}))


def measure(machine: str, data: Path | None, repeat: int) -> Result:
    """Train every sampler × model `repeat` times and return the seconds of each."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="stepzero-bench-") as folder:
        environment = load_environment("local")
        store = Store(f"file://{folder}")
        digest = _land(store, data)
        request = PlanRequest(use_case="credit_card_fraud", run="bench", as_of="2026-01-01T00:00:00+00:00")
        plan = make_plan(request, store, environment, champion=None)
        prepared = _stage("prepare", plan, store, environment, checked=_stage("quality_gate", plan, store, environment))
        for number in range(repeat):
            for sampler in SAMPLERS:
                _train(sampler, plan, store, environment, prepared, number, seconds)
    return {
        "format": 1,
        "machine": machine,
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "data": digest,
        "lock": lock_digest(),
        "trained": digest_json(plan.use_case.model_dump(mode="json", by_alias=True)),
        "repeat": repeat,
        "seconds": seconds,
    }


def compare(results: list[Result], machines: dict[str, MachineType]) -> list[Result]:
    """Return one line per training and machine: time and cost, also as shares of the first machine's.

    Raises:
        InputError: The files do not speak of the same work.
    """
    first = results[0]
    for other in results[1:]:
        _must_agree(first, other)
    prices = {result["machine"]: _price(machines, result["machine"]) for result in results}
    base = _medians(first)
    lines = []
    for training in first["seconds"]:
        for result in results:
            seconds = _medians(result)[training]
            price, reference = prices[result["machine"]], prices[first["machine"]]
            line: Result = {"training": training, "machine": result["machine"], "seconds": round(seconds, 3)}
            line["time"] = round(seconds / base[training], 3)
            if price is not None:
                line["cost"] = round(seconds / 3600 * price, 6)
            if price is not None and reference is not None:
                line["cost_share"] = round(seconds * price / (base[training] * reference), 3)
            lines.append(line)
    return lines


def render(lines: list[Result]) -> str:
    """Return the comparison as text, a bar for each share."""
    head = f"{'training':28} {'machine':16} {'seconds':>9} {'time':>6} {'cost':>10} {'share':>6}"
    rows = [head, "-" * len(head)]
    for line in lines:
        cost = f"{line['cost']:10.6f}" if "cost" in line else f"{'no price':>10}"
        share = f"{line['cost_share']:6.2f}" if "cost_share" in line else f"{'':6}"
        bar = "█" * max(1, round(20 * float(line.get("cost_share", line["time"]))))
        names = f"{line['training']:28} {line['machine']:16}"
        rows.append(f"{names} {line['seconds']:9.2f} {line['time']:6.2f} {cost} {share} {bar}")
    if any("cost" not in line for line in lines):
        rows.append("no price: declare price_per_hour under `machines` in the environment file")
    return "\n".join(rows)


def draw(lines: list[Result], path: Path) -> None:
    """Draw training time and, where prices are declared, cost per training; the first machine is 1."""
    panels = [("time", "Training time")]
    if all("cost_share" in line for line in lines):
        panels.append(("cost_share", "Cost per training"))
    with figure(6.5 * len(panels), 4.5, columns=len(panels)) as (made, axes):
        for (field, title), axis in zip(panels, [axes] if len(panels) == 1 else axes, strict=True):
            _draw_shares(axis, lines, field, title)
        made.legend(*made.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(made))


def _draw_shares(axis: Any, lines: list[Result], field: str, title: str) -> None:
    """Draw one group of bars per training, one bar per machine."""
    machines = list(dict.fromkeys(line["machine"] for line in lines))
    trainings = list(dict.fromkeys(line["training"] for line in lines))
    width = 0.8 / len(machines)
    for number, machine in enumerate(machines):
        heights = [line[field] for line in lines if line["machine"] == machine]
        places = [place + (number + 0.5) * width for place in range(len(trainings))]
        colour = COLOURS[number % len(COLOURS)]
        axis.bar_label(axis.bar(places, heights, width, label=machine, color=colour), fmt="%.2f", fontsize=7)
    axis.axhline(1, color=INK, linewidth=0.8)
    axis.set_xticks([place + 0.4 for place in range(len(trainings))], trainings, rotation=30, ha="right")
    axis.set(title=title, ylabel=f"{machines[0]} = 1")


def _train(
    sampler: str,
    plan: Plan,
    store: Store,
    environment: Environment,
    prepared: ResultReference,
    number: int,
    seconds: dict[str, list[float]],
) -> None:
    """Resample once, train every model, and add each one's time with the resampling that it needs."""
    attempt = f"{number}"
    began = time.perf_counter()
    resampled = _stage("resample", plan, store, environment, attempt, {"sampler": sampler}, prepared=prepared)
    shared = time.perf_counter() - began
    for model in MODELS:
        began = time.perf_counter()
        parameters = {"sampler": sampler, "model": model}
        _stage("tune", plan, store, environment, attempt, parameters, prepared=prepared, resampled=resampled)
        seconds.setdefault(f"{sampler}.{model}", []).append(time.perf_counter() - began + shared)


def _stage(
    name: str,
    plan: Plan,
    store: Store,
    environment: Environment,
    attempt: str = "0",
    parameters: dict[str, str] | None = None,
    **inputs: ResultReference,
) -> ResultReference:
    """Run a stage's function on the store, always anew, and commit its result; nothing is published."""
    info = find_stage(name)
    given = {input_name: read_input(store, reference) for input_name, reference in inputs.items()}
    label = "-".join((parameters or {}).values())
    request = Request(
        stage=name, use_case=plan.use_case.name, run=plan.run, attempt=attempt, parameters=parameters or {}
    )
    key = stage_key(info, plan, given, request)
    folder = f"bench/{name}-{label}-{attempt}"
    seen = View(plan, info.plan, always=("run", "folder"))
    workspace = Workspace(
        store=store,
        environment=environment,
        plan=seen,  # type: ignore[arg-type]
        folder=folder,
        stage=name,
        parameters=dict(request.parameters),
    )
    result = load_stage(info)(View(plan.use_case, info.sections, always=("name",)), given, workspace)
    extra = {"folder": folder, "profile": {}}
    return commit_result(store, plan.use_case.name, name, key, result, extra, number=1)


def _land(store: Store, data: Path | None) -> str:
    """Put the file, or generated rows, where batches land; return the digest of the rows."""
    folder = Path(store.path("landing/credit_card_fraud"))
    folder.mkdir(parents=True)
    if data is None:
        from stepzero.generators.credit_card import generate

        landed = folder / "generated.csv"
        generate(rows=28_000, seed=7).to_csv(landed, index=False)
    else:
        landed = folder / data.name
        landed.write_bytes(data.read_bytes())
    return digest_file(landed)


def _read(path: Path) -> Result:
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"result file {path}",
            value=bare(error),
            allowed="a file that `bench architectures` wrote",
            action="measure on that machine: bin/stepzero bench architectures --machine NAME",
        ) from error
    return result


def _must_agree(first: Result, other: Result) -> None:
    for name in MUST_AGREE:
        if first.get(name) != other.get(name):
            raise InputError(
                f"result file of {other.get('machine', 'an unnamed machine')}: {name}",
                value=other.get(name),
                allowed=f"{first.get(name)!r}, as in the file of {first['machine']}",
                action="measure all machines with the same checkout, data and options",
            )
    if set(first["seconds"]) != set(other["seconds"]):
        raise InputError(
            f"result file of {other['machine']}: seconds",
            value=bare(", ".join(sorted(other["seconds"]))),
            allowed=", ".join(sorted(first["seconds"])),
            action="measure all machines with the same checkout",
        )


def _price(machines: dict[str, MachineType], machine: str) -> float | None:
    return machines[machine].price_per_hour if machine in machines else None


def _medians(result: Result) -> dict[str, float]:
    return {training: statistics.median(values) for training, values in result["seconds"].items()}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in {"model name", "cpu part"}:
            return value.strip()
    return platform.processor()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default=platform.machine(), help="machine type, as it is named under `machines`")
    parser.add_argument("--data", type=Path, help="a CSV file as the use case declares it; default: generated rows")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benchmarks/out/MACHINE.json")
    parser.add_argument("--merge", type=Path, nargs="+", help="result files; the first is the reference")
    parser.add_argument("--environment", default="aws", help="whose `machines` hold the prices")
    parser.add_argument("--chart", type=Path, default=OUT / "architectures.png")
    return parser


if __name__ == "__main__":
    try:
        main()
    except StepzeroError as error:
        print(f"stepzero: {error}", file=sys.stderr)
        sys.exit(error.exit_status)

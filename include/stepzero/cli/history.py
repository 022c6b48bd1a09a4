"""`stepzero lineage VERSION|FILE` and `stepzero diff V1 V2`: each question answered in one screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stepzero.adapters.store import Store
from stepzero.core.errors import InputError
from stepzero.execution.comparison import compare_versions
from stepzero.execution.lineage import find_version, lineage, touched
from stepzero.spec.load import load_environment
from stepzero.spec.training import resampled_by

UseCase = Annotated[str | None, typer.Option(help="Needed where several use cases have such a version.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]
_MOST_LINES = 12
_WIDTH = 120
_HEADINGS = {"f1": "F1", "roc_auc": "ROC AUC", "average_precision": "average precision"}
Rows = Iterator[tuple[str, str]]


def show_lineage(
    what: Annotated[str, typer.Argument(help="A version (number, champion, challenger, run), or a file.")],
    *,
    use_case: UseCase = None,
    as_json: AsJson = False,
) -> None:
    """Say where a version comes from; or, of a file, which versions learned from it."""
    environment = load_environment()
    store = Store(environment.store)
    try:
        version = find_version(store, what, use_case, _aliases(environment))
    except InputError as unknown:
        try:
            told = touched(store, what)
        except InputError:
            raise unknown from None
        _print(f"file {what}", _touched_rows(told), told, as_json=as_json)
        return
    found = lineage(version)
    _print(version.name, _lineage_rows(found), found, as_json=as_json)


def diff(
    before: Annotated[str, typer.Argument(help="A version: number, alias or run.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    *,
    use_case: UseCase = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: data, spec, parameters, metrics, thresholds, and SHAP where both have it."""
    environment = load_environment()
    store, aliases = Store(environment.store), _aliases(environment)
    one, other = (find_version(store, named, use_case, aliases) for named in (before, after))
    told = compare_versions(one, other)
    _print(f"{one.name} → {other.name}", _diff_rows(told), told, as_json=as_json)


def _aliases(environment: Any) -> Any:
    def ask(use_case: str, alias: str) -> str | None:
        from stepzero.adapters.tracking import Tracking

        return Tracking(environment.tracking).registry.aliased(use_case, alias)

    return ask


def _print(title: str, rows: Rows, told: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, title=Text(title), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    Console(width=max(Console().width, _WIDTH)).print(table)


def _lineage_rows(told: dict[str, Any]) -> Rows:
    yield "model", f"{told['model']}, from run {told['run']} as of {told['as_of']}"
    yield from _data_rows(told["data"])
    yield from _preparation_rows(told["preparation"])
    yield from _tuning_rows(told["tuning"])
    yield from _training_rows(told["training"])
    if told["reason"]:
        yield "started", str(told["reason"])
    yield from (("champion" if not place else "", text) for place, text in enumerate(told["served"]))
    yield from _evaluation_rows(told["evaluation"])
    yield "approval", told["approval"]
    yield from (
        ("artefacts" if not i else "", f"{one['association']:<13} {one['kind']:<7} {one['name']}  {one['digest']}")
        for i, one in enumerate(told["artefacts"][:_MOST_LINES])
    )


def _data_rows(data: dict[str, Any]) -> Rows:
    counted = f"{data['rows']} rows, {data['quarantined']} set aside"
    yield "data", f"batch {data['batch']['partition']}: {data['gate']}, {counted}"
    yield from (("", f"{file['uri']}  {file['digest']}") for file in data["batch"]["files"][:_MOST_LINES])
    for table, gate in data["tables"].items():
        yield f"  {table}", f"{gate['gate']}, {gate['rows']} rows, {gate['quarantined']} set aside"
    for one in data["features"]:
        whence = ", ".join(file["uri"] for file in one["files"]) or "files that no plan names"
        yield f"  group {one['group']}", f"{one['rows']} rows of run {one['run']}: {whence}"
    if data["window"]:
        days = [one["partition"] for one in data["window"]]
        rows = sum(one["rows"] or 0 for one in data["window"])
        yield "window", f"{len(days)} earlier batches, {rows} rows: {_listed(days)}"


def _preparation_rows(preparation: dict[str, Any]) -> Rows:
    for table, how in preparation["tables"].items():
        yield f"  {table}", f"{_listed(how['steps'])}; {_unseen(how)}"
    yield "preparation", f"{_parts(preparation['prepare']) or 'none'}; split {_parts(preparation['split'])}"
    counted = {
        side: sum(classes.values()) for side, classes in preparation["rows"].items() if isinstance(classes, dict)
    }
    yield "", f"{_parts(counted)}; pipeline {_parts(preparation['pipeline']) or 'none'}"
    if preparation["mitigated"]:
        yield "", f"training rows mitigated by {preparation['mitigated']}"


def _tuning_rows(tuning: dict[str, Any]) -> Rows:
    search = (tuning["search"] or {}).get("strategy")
    how = f"{search}, by {tuning['metric']}, {tuning['folds']} folds"
    yield "tuning", f"{tuning['trials']} trials in {tuning['cells']} cells, {how}"
    best = tuning["best"]
    yield "", f"best {_number(best['score'])} with {_parts(best['parameters'] or {}) or 'no parameters'}"


def _training_rows(training: dict[str, Any]) -> Rows:
    rows = _parts(training["rows"] or {})
    yield "training", f"{training['model']} on rows {resampled_by(training['sampler'])}: {rows}"
    made = {name: training[name] for name in ("code", "lock", "architecture", "python") if training.get(name)}
    yield "", _parts(made)


def _evaluation_rows(evaluation: dict[str, Any]) -> Rows:
    metrics = evaluation["metrics"].items()
    yield "evaluation", ", ".join(f"{_HEADINGS.get(name, name)} {_number(one)}" for name, one in metrics)
    alarms = [name for name, passed in evaluation["sentinels"].items() if not passed]
    yield "", f"threshold {_number(evaluation['threshold'])}; sentinels: {_listed(alarms) or 'no alarm'}"


def _unseen(how: dict[str, Any]) -> str:
    met = [one for one in how.get("unseen") or [] if one["rows"]]
    return ", ".join(f"{one['column']}: {one['rows']} rows with unseen values" for one in met) or "no unseen value"


def _touched_rows(told: dict[str, Any]) -> Rows:
    for batch in told["accepted"]:
        name = f"{batch['use_case']} {batch['table']}".rstrip()
        yield "accepted", f"{name}, batch {batch['partition']}, by run {batch['run']}"
    for one in told["versions"]:
        places = {"batch": "its own batch", "features": f"its feature groups, by run {one['partition']}"}
        where = places.get(one["as"], f"its window ({one['partition']})")
        yield "learned by", f"{one['use_case']} version {one['version']}: in {where}, run {one['run']}"
    if not told["versions"]:
        yield "learned by", "no registered version"


def _diff_rows(told: dict[str, Any]) -> Rows:
    data = told["data"]
    gone, new = (_listed(data[name]) or "none" for name in ("only_before", "only_after"))
    yield "model", "the same bytes" if told["same_model"] else "other bytes"
    batches = "the same batch" if data["same_batch"] else f"batch {' → '.join(data['batches'])}"
    yield "data", f"{batches}; rows {_change(data['rows'])}, set aside {_change(data['quarantined'])}"
    yield (
        "",
        f"{data['in_both']} batches in both; gone: {gone}; new: {new}",
    )
    for name, part in (("spec", "spec"), ("winner", "parameters"), ("environment", "environment")):
        lines = told[part] or ["nothing differs"]
        yield from (
            (name if not i else "", line.removeprefix(f"{name}.")) for i, line in enumerate(lines[:_MOST_LINES])
        )
    rows = "the same rows" if told["same_held_out_rows"] else "other rows: a difference is not the models' alone"
    yield "metrics", f"on {rows}"
    for name, one in told["metrics"].items():
        signed = "" if one["difference"] is None else f"  {one['difference']:+.4f}"
        yield "", f"{_HEADINGS.get(name, name):<18} {_number(one['before'])} → {_number(one['after'])}{signed}"
    yield "threshold", " → ".join(_number(value) for value in told["threshold"])
    for i, one in enumerate(told["shap"] or []):
        yield "SHAP" if not i else "", f"{one['feature']:<18} {_number(one['before'])} → {_number(one['after'])}"
    if told["shap"] is None:
        yield "SHAP", "not told by both versions"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" … {names[-1]}" if len(names) > 4 else "")


def _change(pair: list[Any]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]} → {pair[1]}"


def _parts(values: dict[str, Any]) -> str:
    text = ", ".join(
        f"{name} {value if not isinstance(value, str) else value.split(chr(10))[0]}" for name, value in values.items()
    )
    return text if len(text) <= 300 else f"{text[:297]}…"


def _number(value: Any) -> str:
    number = value.get("value") if isinstance(value, dict) else value
    return "–" if number is None else f"{float(number):.4f}"

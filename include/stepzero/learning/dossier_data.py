"""The dossier's part about data: every batch that a version learned from, by digest, and how it looks on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepzero.adapters.pages import badge, folded, table, text
from stepzero.core.stages import StageInput

if TYPE_CHECKING:
    from markupsafe import Markup

    from stepzero.adapters.pages import State

SHORT = 12
"""Hex digits of a digest that are shown; the JSON has all."""
STATES: dict[str, State] = {"PASS": "good", "QUARANTINE": "warning", "FAIL": "bad"}
UNREADABLE = "its files are no table"
_FOLDED_FROM = 8
"""So many earlier batches are folded below one line that sums them up."""


def gates_of(inputs: Mapping[str, Any]) -> dict[str, StageInput]:
    """Return the quality gates among the inputs of `register`, by what a person calls them."""
    checked = inputs.get("checked") or []
    if isinstance(checked, StageInput):
        return {"quality gate": checked}
    return {f"quality gate of {one.values.get('table')}": one for one in checked}


def gather_data(inputs: Mapping[str, Any], plan: Any) -> dict[str, Any]:
    """Return which rows a version learned from: the batch, the batches and days before it, and what was released.

    Args:
        inputs: Those of `register`; ``days`` is what the gate said of the earlier days of the window.
        plan: Its ``batch``, ``window``, ``days``, ``released``, ``released_days`` and ``tables``.
    """
    prepared = inputs["prepared"]
    gates = {name: one.values for name, one in gates_of(inputs).items()}
    counts = {count: [values.get(count) for values in gates.values()] for count in ("accepted", "quarantined")}
    sides = {
        side: {"rows": prepared.outputs[side].rows, "digest": prepared.outputs[side].digest}
        | {"classes": prepared.values.get(side)}
        for side in ("train", "test")
        if side in prepared.outputs
    }
    return {
        "batch": plan.batch.model_dump(mode="json"),
        "window": [
            {"partition": one.partition, "digest": one.digest, "rows": one.accepted.get("rows")} for one in plan.window
        ],
        "days": _days(inputs, plan),
        "released": [
            {"of": name, "rows": rows["rows"], "digest": rows["digest"], "uri": rows["uri"]}
            for name, rows in released_rows(inputs, plan)
        ],
        "sides": sides,
        "gates": {name: {count: values.get(count) for count in counts} for name, values in gates.items()},
        **{name: sum(found) if found and None not in found else None for name, found in counts.items()},
    }


def accepted_days(inputs: Mapping[str, Any]) -> dict[str, StageInput]:
    """Return the earlier days of the window whose rows are learned from: those that the gate accepted."""
    return {one.day: one for one in inputs.get("days") or () if one.verdict is not None and one.verdict.accepted}


def released_rows(inputs: Mapping[str, Any], plan: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return what left quarantine and is learned from, as references in JSON, each with its batch, day or table.

    As `prepare` has it: released rows go with the accepted rows that they were set aside from; where the gate accepts
    others today, they do not count. Of a flow that hands no gate over that cannot be told, and all are named.
    """
    gates = gates_of(inputs)
    known = {
        one.outputs["accepted"].digest: str(one.values.get("table") or plan.batch.partition)
        for one in gates.values()
        if "accepted" in one.outputs
    }
    known |= {one.output("accepted").digest: day for day, one in accepted_days(inputs).items()}
    found = [(member.partition, rows) for member in plan.window for rows in member.released]
    own = [(plan.batch.partition, one) for one in plan.released]
    own += [(name, one) for name, planned in plan.tables.items() for one in planned.released]
    for name, one in [*own, *(("", day) for day in plan.released_days)]:
        if one.accepted in known or (name and not gates):
            found += [(known.get(one.accepted, name), rows) for rows in one.rows]
    return found


def _days(inputs: Mapping[str, Any], plan: Any) -> list[dict[str, Any]]:
    """Return every earlier day of the window as it landed, and what the gate said of it."""
    judged = {one.day: one for one in inputs.get("days") or ()}
    days = []
    for batch in plan.days:
        one = judged.get(batch.partition)
        outcome = str(one.verdict.outcome) if one is not None and one.verdict else None
        counts = {name: one.values.get(name) if one else None for name in ("accepted", "quarantined")}
        learned = batch.partition in accepted_days(inputs)
        days.append({**batch.model_dump(mode="json"), "outcome": outcome, "learned_from": learned, **counts})
    return days


def data_section(dossier: Mapping[str, Any]) -> list[object]:
    """Return what the page shows of the data: sentences, the batch with its files, and all earlier batches."""
    data = dossier["data"]
    released = data.get("released") or ()
    rows = [
        ("batch", data["batch"]["partition"], None, data["batch"]["digest"][:SHORT]),
        *(("file", one["uri"].rpartition("/")[2], None, one["digest"][:SHORT]) for one in data["batch"]["files"]),
        *(("released from quarantine", one["of"], one["rows"], one["digest"][:SHORT]) for one in released),
        *(
            (f"{side} rows", _classes(one["classes"]), one["rows"], one["digest"][:SHORT])
            for side, one in data["sides"].items()
        ),
    ]
    said = [text(sentence) for sentence in _accepted(data)] if data["accepted"] is not None else []
    return [*said, table(["what", "which", "rows", "digest"], rows), *_earlier(data)]


def _accepted(data: Mapping[str, Any]) -> list[str]:
    gates = data.get("gates") or {"quality gate": data}
    return [
        f"Accepted by the {name.replace('quality ', '')}: {one['accepted']} rows; in quarantine: {one['quarantined']}."
        for name, one in gates.items()
    ]


def _earlier(data: Mapping[str, Any]) -> list[Markup]:
    """Return the batches, or the days, before this one: a few as a table, more folded below their sum."""
    batches = [(one["partition"], one.get("rows"), one["digest"][:SHORT]) for one in data["window"]]
    days, parts = data.get("days") or (), []
    if batches:
        told = f"Learned from {_number(len(batches), 'earlier batch', 'es')} of the window"
        told += _sum(row[1] for row in batches)
        parts.append(_table(told, ["earlier batch", "rows", "digest"], batches))
    if days:
        columns = ["earlier day", "gate", "rows", "in quarantine", "digest"]
        parts.append(_table(_told_days(days), columns, [_day(one) for one in days]))
    return parts


def _table(told: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    if len(rows) < _FOLDED_FROM:
        return table(columns, rows, caption=told)
    return folded(f"{told}; each with its digest", table(columns, rows))


def _told_days(days: Sequence[Mapping[str, Any]]) -> str:
    learned = [one for one in days if one["learned_from"]]
    left = f"; {len(days) - len(learned)} left out" if len(learned) < len(days) else ""
    span = f", {days[0]['partition']} to {days[-1]['partition']}" if len(days) > 1 else ""
    rows = _sum(one["accepted"] for one in learned)
    return f"Learned from {_number(len(learned), 'earlier day')} of the window{span}{rows}{left}"


def _number(count: int, what: str, plural: str = "s") -> str:
    return f"{count} {what}{plural if count != 1 else ''}"


def _sum(rows: Any) -> str:
    counts = list(rows)
    return "" if None in counts else f", {sum(counts):,} rows"


def _day(one: Mapping[str, Any]) -> tuple[object, ...]:
    gate = badge(one["outcome"], STATES.get(one["outcome"], "")) if one["outcome"] else f"left out: {UNREADABLE}"
    counts = (one["accepted"], one["quarantined"]) if one["learned_from"] else (None, None)
    return one["partition"], gate, *counts, one["digest"][:SHORT]


def _classes(classes: Mapping[str, int] | None) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in (classes or {}).items())

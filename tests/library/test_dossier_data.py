"""The dossier names all that was learned from, and no more: batch, window, days, and what left quarantine."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.keys import make_key
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import StageInput, StageResult
from stepzero.core.verdict import Outcome, Verdict
from stepzero.execution.execute import Request, _make_task, pointer_uri
from stepzero.execution.results import result_json
from stepzero.learning.dossier_data import data_section, gather_data
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Batch, BatchFile, Member, Plan, Released
from stepzero.stages import register
from support.cards import as_input, cards
from support.html import Seen

EVIL = "<script>alert(1)</script>"
FIRST = date(2018, 5, 1)


def _day(number: int) -> str:
    return str(FIRST + timedelta(days=number))


def _reference(digest: str, rows: int = 100) -> Reference:
    return Reference(uri=f"results/{digest}", digest=digest, kind="dataset", rows=rows)


def _batch(partition: str, digest: str) -> Batch:
    file = BatchFile(uri=f"landing/payments/{partition}/rows.csv.gz", digest=f"file-{digest}", bytes=3)
    return Batch(partition=partition, digest=digest, files=(file,))


def _judged(day: str, digest: str, outcome: Outcome = Outcome.PASS, **values: Any) -> StageInput:
    outputs = {"accepted": _reference(digest)} if outcome != Outcome.FAIL else {}
    told = {"accepted": 100 if outputs else 0, "quarantined": 2, **values}
    verdict = Verdict(outcome=outcome, subject=f"batch {day}")
    return replace(as_input("quality_gate", StageResult(outputs=outputs, values=told, verdict=verdict)), day=day)


def _released(accepted: str, *digests: str) -> Released:
    return Released(accepted=accepted, rows=tuple(_reference(digest, rows=7).to_json() for digest in digests))


def _plan(days: int = 0, **more: Any) -> Plan:
    named: dict[str, Any] = {"run": "r", "use_case": cards(), "environment": "local", "approval": "rule"}
    named |= {"as_of": "2026-11-26T10:00:00+00:00", "batch": _batch(_day(days), "today")}
    return Plan(**{**named, "days": tuple(_batch(_day(n), f"day-{n}") for n in range(days)), **more})


def _inputs(*days: StageInput, **more: Any) -> dict[str, Any]:
    outputs = {"train": _reference("train"), "test": _reference("test")}
    prepared = as_input("prepare", StageResult(outputs=outputs, values={"test": {"0": 90, "1": 10}}))
    checked = replace(_judged(_day(34), "accepted-today"), day="")
    return {"prepared": prepared, "checked": checked, "days": list(days), **more}


def _page(data: dict[str, Any]) -> Seen:
    return Seen("".join(str(part) for part in data_section({"data": data})).encode())


@pytest.fixture(scope="module")
def daily() -> tuple[Plan, dict[str, Any]]:
    """Thirty-five days, the run's own the last: one refused, one that is no table, two with released rows."""
    judged = [
        _judged(_day(n), f"accepted-{n}", Outcome.FAIL if n == 3 else Outcome.QUARANTINE if n == 5 else Outcome.PASS)
        for n in range(34)
        if n != 9
    ]
    released = (_released("accepted-5", "let go", "let go later"), _released("of another verdict", "forgotten"))
    plan = _plan(34, released=_released("accepted-today", "let go today"), released_days=released)
    return plan, _inputs(*judged)


def test_every_day_that_was_learned_from_is_named_with_its_digest(daily: tuple[Plan, dict[str, Any]]) -> None:
    plan, inputs = daily
    data = gather_data(inputs, plan)
    assert [one["partition"] for one in data["days"]] == [_day(n) for n in range(34)]
    assert [one["digest"] for one in data["days"]] == [f"day-{n}" for n in range(34)]
    assert [one["partition"] for one in data["days"] if not one["learned_from"]] == [_day(3), _day(9)]
    assert (data["days"][3]["outcome"], data["days"][9]["outcome"]) == ("FAIL", None)
    assert data["days"][5]["files"][0]["digest"] == "file-day-5"
    assert [(one["of"], one["digest"], one["rows"]) for one in data["released"]] == [
        (_day(34), "let go today", 7),
        (_day(5), "let go", 7),
        (_day(5), "let go later", 7),
    ]


def test_the_page_sums_days_up_and_folds_them(daily: tuple[Plan, dict[str, Any]]) -> None:
    plan, inputs = daily
    seen = _page(gather_data(inputs, plan))
    assert seen.tags.count("details") == 1
    span = f"{_day(0)} to {_day(33)}"
    assert f"Learned from 32 earlier days of the window, {span}, 3,200 rows; 2 left out; each with its" in seen.words
    for words in (*(f"day-{n}" for n in range(34)), "left out: its files are no table", "released from quarantine"):
        assert words in seen.words, words
    few = _page(gather_data(_inputs(_judged(_day(0), EVIL)), _plan(1)))
    assert "details" not in few.tags
    assert "Learned from 1 earlier day of the window, 100 rows" in few.words
    assert "script" not in few.tags


def test_rows_released_from_a_window_and_from_tables_are_named() -> None:
    member = Member(partition=EVIL, digest="m", accepted=_reference("earlier").to_json(), released=(
        _reference("let go of it", rows=3).to_json(),
    ))  # fmt: skip
    data = gather_data(_inputs(), _plan(window=(member,)))
    assert data["window"] == [{"partition": EVIL, "digest": "m", "rows": 100}]
    assert [(one["of"], one["digest"]) for one in data["released"]] == [(EVIL, "let go of it")]
    seen = _page(data)
    assert EVIL in seen.words
    assert "script" not in seen.tags
    gates = [replace(_judged("", f"accepted-{name}", table=name), day="") for name in ("claims", "customers")]
    tables: Any = {
        "claims": {"batch": _batch("b", "c"), "released": _released("accepted-claims", "let go of claims")},
        "customers": {"batch": _batch("b", "d"), "released": _released("accepted before", "forgotten")},
    }
    found = gather_data(_inputs(checked=gates), _plan(tables=tables))["released"]
    assert [(one["of"], one["digest"]) for one in found] == [("claims", "let go of claims")]
    alone = gather_data({**_inputs(), "checked": None}, _plan(released=_released("anything", "let go")))
    assert [one["digest"] for one in alone["released"]] == ["let go"]


def test_the_tracking_server_is_told_every_source(
    daily: tuple[Plan, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, inputs = daily
    member = Member(partition="before", digest="m", accepted=_reference("earlier").to_json())
    store: Any = SimpleNamespace(root="file:///store")
    more: Any = {"environment": None, "folder": "x", "stage": "register"}
    workspace = Workspace(store=store, plan=plan.model_copy(update={"window": (member,)}), **more)
    told = register._data_sets(inputs, workspace)
    sources = {one.name: (one.digest, one.rows) for one in told if one.context == "source"}
    expected: dict[str, Any] = {"rows.csv.gz": ("file-today", None)}
    expected |= {f"{_day(n)}/rows.csv.gz": (f"file-day-{n}", None) for n in range(34) if n not in {3, 9}}
    expected |= {"accepted rows of before": ("earlier", 100), f"released rows of {_day(34)}": ("let go today", 7)}
    assert sources == expected | {f"released rows of {_day(5)}": ("let go later", 7)}
    assert len([one for one in told if one.name == f"released rows of {_day(5)}"]) == 2
    assert [one.context for one in told[-2:]] == ["training", "evaluation"]


def test_register_is_handed_what_the_gate_said_of_each_day_and_may_read_what_was_released(tmp_path: Path) -> None:
    plan, store = _plan(3, released_days=(_released("accepted-2", "let go"),)), Store(f"file://{tmp_path}")
    store.write_json(f"{plan.folder}/plan.json", plan.model_dump(mode="json", by_alias=True))
    for number in (0, 2):
        one = _judged(_day(number), f"accepted-{number}")
        result = StageResult(outputs=one.outputs, values=one.values, verdict=one.verdict)
        uri, key = f"results/gate-{number}.json", make_key(number=str(number))
        store.write_json(uri, result_json("quality_gate", key, result))
        noted = ResultReference(stage="quality_gate", uri=uri, digest=f"d{number}")
        store.write_json(pointer_uri(plan.use_case.name, "r", "days", _day(number)), {"result": noted.to_json()})
    request = Request(stage="register", use_case=plan.use_case.name, run="r", attempt="1", inputs={})
    task = _make_task(request, store, Environment(name="local", store=store.root))
    data = gather_data({**_inputs(), **task.inputs}, task.workspace.plan)
    assert [(one["partition"], one["learned_from"]) for one in data["days"]] == [
        (_day(0), True),
        (_day(1), False),
        (_day(2), True),
    ]
    assert [(one["of"], one["digest"]) for one in data["released"]] == [(_day(2), "let go")]

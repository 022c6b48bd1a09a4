"""What is run follows the DAG file; what was built is whole or not there."""

from __future__ import annotations

import os
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from arm64.conftest import DAG_FILE
from arm64.lane import build, bytecode, flow
from arm64.lane.dag import Task, read_tasks
from arm64.lane.debian import UnavailableError
from stepzero.core.stages import STAGES


def made_up(name: str, *, mapped: bool = False, upstream: tuple[str, ...] = (), **inputs: str) -> Task:
    return Task(name, name, "", inputs, {}, mapped, upstream)


def test_every_stage_of_the_dag_is_run_after_what_it_takes() -> None:
    jobs = flow.plan_jobs(read_tasks(DAG_FILE))
    named = [job.name for job in jobs]
    assert {job.task.stage for job in jobs} >= STAGES.keys() & {
        "quality_gate",
        "prepare",
        "explore",
        "resample",
        "tune",
    }
    assert {job.task.stage for job in jobs} >= STAGES.keys() & {"evaluate", "register", "approve", "deploy"}
    assert len(set(named)) == len(named)
    for number, job in enumerate(jobs):
        assert job.after <= set(named[:number])


def test_mapped_task_takes_its_own_variation_and_a_single_one_all() -> None:
    tasks = [made_up("resample", mapped=True), made_up("tune", mapped=True, rows="resample")]
    jobs = {job.name: job for job in flow.plan_jobs([*tasks, made_up("evaluate", tuned="tune")])}
    assert jobs["tune smote.xgboost"].inputs == {"rows": "resample smote"}
    assert jobs["tune smote.xgboost"].after == {"resample smote"}
    assert jobs["evaluate"].inputs == {"tuned": [f"tune {sampler}.{model}" for sampler, model in flow.CELLS]}


def test_edge_without_an_input_is_kept() -> None:
    first, second = flow.plan_jobs([made_up("bias"), made_up("register", upstream=("bias", "no_stage"))])
    assert (first.after, second.after) == (frozenset(), {"bias"})


def test_mapped_task_that_the_lane_does_not_know_is_named() -> None:
    with pytest.raises(LookupError, match="measure_all is a mapped task: say in MAPPED_OVER"):
        flow.plan_jobs([made_up("measure_all", mapped=True)])


def test_half_of_a_build_is_never_used(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise UnavailableError("the network went away")

    with pytest.raises(UnavailableError):
        build._cached(tmp_path, "wheels-1", fail, {})
    seconds: dict[str, float] = {}
    made = build._cached(tmp_path, "wheels-1", lambda folder: (folder / "whole").touch(), seconds)
    assert [file.name for file in made.iterdir()] == ["whole"]
    assert list(seconds) == ["wheels"]
    assert build._cached(tmp_path, "wheels-1", fail, {}) == made


def test_what_nobody_used_for_long_is_removed(tmp_path: Path) -> None:
    for name, days in (("wheels-old", 30), ("wheels-other", 1)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time(), time.time() - days * 86_400))
    build._cached(tmp_path, "wheels-new", lambda folder: None, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wheels-new", "wheels-other"]


def test_machine_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_FREE_GIGABYTES", 1e6)
    with pytest.raises(UnavailableError, match=r"GB free and needs 1000000; make room, or set XDG_CACHE_HOME"):
        build._cached(tmp_path, "wheels-1", lambda folder: None, {})


class OnlyBytecode(SourceFileLoader):
    def source_to_code(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("it was compiled again")


def test_bytecode_of_equal_sources_is_taken_and_others_are_compiled(tmp_path: Path) -> None:
    known, made = tmp_path / "known", tmp_path / "made"
    for folder, texts in ((known, ("A = 1", "A = 2")), (made, ("A = 1", "A = 3", "A = 4"))):
        (folder / "package").mkdir(parents=True)
        for name, text in zip("xyz", texts, strict=False):
            (folder / "package" / f"{name}.py").write_text(text, encoding="utf-8")
    assert bytecode.fill(known, tmp_path / "nothing") == 2
    for path in made.rglob("*.py"):
        os.utime(path, (0, 1_000_000_000))
    assert bytecode.fill(made, known) == 2
    for name, value in zip("xyz", (1, 3, 4), strict=True):
        code = OnlyBytecode(name, str(made / "package" / f"{name}.py")).get_code(name)
        found: dict[str, Any] = {}
        exec(code, found)  # noqa: S102 - it was made here
        assert found["A"] == value

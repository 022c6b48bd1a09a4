"""`bench architectures` merges the files of several machines. All figures in here are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arm64.lane.build import ROOT, load_module
from stepzero.core.errors import InputError
from stepzero.spec.environment import MachineType
from stepzero.spec.load import load_environment

architectures = load_module(ROOT / "benchmarks" / "architectures.py")
PRICES = {"made_up_x86": MachineType(price_per_hour=2.0), "made_up_arm": MachineType(price_per_hour=1.0)}


def made_up(machine: str, factor: float, **changes: Any) -> dict[str, Any]:
    """Return a result file nobody measured."""
    seconds = {"smote.decision_tree": [3.0, 1.0, 2.0], "smote.random_forest": [36.0, 36.0, 72.0]}
    scaled = {name: [value * factor for value in values] for name, values in seconds.items()}
    same = {"format": 1, "data": "d", "lock": "l", "trained": "t", "repeat": 3}
    return {"machine": machine, **same, "seconds": scaled, **changes}


def test_time_and_cost_are_shares_of_the_first_machine() -> None:
    lines = architectures.compare([made_up("made_up_x86", 1.0), made_up("made_up_arm", 0.5)], PRICES)
    forest = {line["machine"]: line for line in lines if line["training"] == "smote.random_forest"}
    assert forest["made_up_x86"]["cost"] == pytest.approx(36 / 3600 * 2.0)
    assert forest["made_up_x86"]["cost_share"] == 1
    assert forest["made_up_arm"]["time"] == 0.5
    assert forest["made_up_arm"]["cost_share"] == 0.25


def test_median_of_repetitions_counts() -> None:
    line = architectures.compare([made_up("made_up_x86", 1.0)], PRICES)[0]
    assert line["seconds"] == 2.0


def test_no_price_is_ever_invented() -> None:
    lines = architectures.compare([made_up("made_up_x86", 1.0), made_up("made_up_arm", 0.5)], {})
    assert not any("cost" in line for line in lines)
    assert "declare price_per_hour" in architectures.render(lines)
    shipped = load_environment("aws").machines
    assert shipped
    assert all(machine.price_per_hour is None for machine in shipped.values())


@pytest.mark.parametrize("name", ["data", "lock", "trained", "repeat"])
def test_files_of_different_work_are_refused(name: str) -> None:
    other = made_up("made_up_arm", 0.5, **{name: "another"})
    with pytest.raises(InputError, match=rf"made_up_arm: {name}: got 'another'.*measure all machines with the same"):
        architectures.compare([made_up("made_up_x86", 1.0), other], PRICES)


def test_merge_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for machine, factor in (("made_up_x86", 1.0), ("made_up_arm", 0.5)):
        files.append(tmp_path / f"{machine}.json")
        files[-1].write_text(json.dumps(made_up(machine, factor)), encoding="utf-8")
    prices = tmp_path / "prices.yaml"
    machines = "machines: {made_up_x86: {price_per_hour: 2}, made_up_arm: {price_per_hour: 1}}"
    prices.write_text(f"name: made_up\nstore: memory://x\n{machines}\n", encoding="utf-8")
    chart = tmp_path / "chart.png"
    given = ["--merge", *map(str, files), "--environment", str(prices), "--chart", str(chart)]
    architectures.main(given)
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last["reference"] == "made_up_x86"
    assert last["trainings"][-1]["cost_share"] == 0.25
    assert chart.read_bytes().startswith(b"\x89PNG")

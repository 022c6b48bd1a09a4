"""Parts of a long benchmark: gone on with where their makers are the same, taken over only where they come again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepzero.core.errors import InputError
from support.modules import load_module
from support.stack import ROOT

kept_parts: Any = load_module(ROOT / "benchmarks" / "_kept.py")


def made(number: float) -> dict[str, float]:
    return {"score": number / 3}


def made_otherwise(number: float) -> dict[str, float]:
    return {"score": number / 7}


@pytest.fixture
def benchmark_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path / "home"))
    file = tmp_path / "some.py"
    file.write_text("first = 1\n", encoding="utf-8")
    return file


def kept(file: Path, **more: Any) -> Any:
    return kept_parts.Kept(file, {}, files=[], modules=["stepzero.core.errors"], **{"by_part": True, **more})


def never() -> Any:
    raise AssertionError("it is kept")


def test_a_part_is_anew_only_where_its_own_makers_changed(benchmark_file: Path) -> None:
    first = kept(benchmark_file)
    assert first.get("fold 1", lambda: made(1), made_by=[made, 1]) == {"score": 1 / 3}
    benchmark_file.write_text("second = 2\n", encoding="utf-8")
    again = kept(benchmark_file)
    assert again.get("fold 1", never, made_by=[made, 1]) == {"score": 1 / 3}, "to the last bit, whatever else changed"
    for makers, number in (([made_otherwise, 1], 2), ([made, 2], 3)):
        assert again.get("fold 1", lambda number=number: made(number), made_by=makers) == made(number)
    whole = [kept(benchmark_file, by_part=False).folder]
    benchmark_file.write_text("third = 3\n", encoding="utf-8")
    whole.append(kept(benchmark_file, by_part=False).folder)
    assert whole[0] != whole[1], "without makers, the file of the benchmark is what made them all"


def test_parts_are_taken_over_where_one_of_their_kind_comes_again(benchmark_file: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for number in (1, 2):
        maker = "" if number == 1 else "-0123456789ab"
        (earlier / f"fold_{number},_tree{maker}.json").write_text(f'{{"score": {number / 3!r}}}', encoding="utf-8")
        (earlier / f"fold_{number},_wood.json").write_text('{"score": 0.5}', encoding="utf-8")
    taking = kept(benchmark_file, taken=earlier)
    assert taking.get("fold 1, tree", lambda: made(1), made_by=[made], kind="tree") == made(1)
    assert taking.get("fold 2, tree", never, made_by=[made], kind="tree") == made(2), "taken over"
    assert taking.get("fold 3, tree", lambda: made(3), made_by=[made], kind="tree") == made(3), "not there to take"
    assert kept(benchmark_file).get("fold 2, tree", never, made_by=[made]) == made(2)
    with pytest.raises(InputError, match=r"part fold 1, wood of .*earlier: got other figures than those that come out"):
        taking.get("fold 1, wood", lambda: made(1), made_by=[made], kind="wood")
    assert taking.get("fold 1, wood", never, made_by=[made], kind="wood") == made(1), "what came out is kept"
    with pytest.raises(InputError):
        taking.get("fold 2, wood", lambda: made(2), made_by=[made], kind="wood")

"""Abalones through gate, preparation and renderings on Spark. Golden checks 55, 56 and 58 are named by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.core.errors import InputError, StageError
from stepzero.core.stages import StageResult
from stepzero.core.verdict import Outcome
from stepzero.generators import to_csv, to_libsvm
from stepzero.generators.abalone import COLUMNS, generate
from stepzero.spec.plan import Member
from stepzero.spec.use_case import UseCase
from support.abalone import REAL, abalones, prepared, real_abalones
from support.gate import Gate, Judged

PARTS = ("train", "validation", "test")


def landed(gate: Gate, data: bytes | str, name: str = "batch.libsvm", **sections: Any) -> Judged:
    return gate.judge_use_case(abalones(**sections), [gate.land(data, name)])


def halves() -> list[str]:
    if not REAL.is_file():
        pytest.skip(f"the real abalones are not at {REAL}")
    lines = REAL.read_text().splitlines(keepends=True)
    return ["".join(lines[:2088]), "".join(lines[2088:])]


def test_golden_55_and_58_real_rows_pass_the_gate_and_are_split(gate: Gate) -> None:
    real = real_abalones()
    judged = landed(gate, REAL.read_text())
    assert judged.outcome is Outcome.PASS
    assert judged.reasons["between"].observed.startswith("2 of 4177 rows"), "height 0 is told"
    assert len(judged.accepted) == 4177
    assert judged.accepted["Sex"].value_counts().to_dict() == {1: 1528, 2: 1307, 3: 1342}
    assert judged.accepted["Rings"].mean() == 9.933684462532918
    assert (judged.accepted["Height"] == 0).sum() == 2, "and the rows are kept"
    assert judged.accepted["ShellWeight"].sum() == pytest.approx(real["ShellWeight"].sum())

    done = gate.prepare(judged, abalones())
    parts = {name: gate.frame(done.outputs[name]) for name in PARTS}
    ids = [set(rows["_row_id"]) for rows in parts.values()]
    assert sum(len(one) for one in ids) == len(set.union(*ids)) == 4177, "disjoint and exhaustive"
    for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert abs(len(parts[name]) - 4177 * share) < 4 * np.sqrt(4177 * share * (1 - share))
    letters = pd.concat(parts.values())["Sex"].value_counts().to_dict()
    assert letters == {"M": 1528, "F": 1307, "I": 1342}
    rendered(gate, done, parts)


def rendered(gate: Gate, done: StageResult, parts: dict[str, pd.DataFrame]) -> None:
    """Both renderings are of the same rows, in the same order, with the same values."""
    texts = gate.run_stage("render", abalones(), {"prepared": done})
    assert texts.values["rows"] == {name: len(parts[name]) for name in PARTS}
    for name, rows in parts.items():
        numbers = rows.assign(Sex=rows["Sex"].map({"M": 1, "F": 2, "I": 3})).sort_values("_row_id")
        lines = {form: read_lines(gate, texts, f"{name}_{form}") for form in ("libsvm", "csv")}
        expected = to_libsvm(numbers[list(COLUMNS)]).decode().splitlines()
        assert lines["libsvm"] == expected
        assert [line.split(",")[0] for line in lines["csv"]] == [line.split()[0] for line in expected], "label first"
        as_csv = [",".join(pair.rpartition(":")[2] for pair in line.split()) for line in expected]
        assert lines["csv"] == as_csv, "no header, no index"


def read_lines(gate: Gate, result: StageResult, name: str) -> list[str]:
    from stepzero.adapters.datasets import manifest_of

    (file,) = manifest_of(gate.store, result.outputs[name])["files"]
    return gate.store.read_text(file["uri"]).splitlines()


def test_golden_56_later_arrivals_add_up(gate: Gate) -> None:
    first, second = halves()
    one = landed(gate, first, "one.libsvm")
    assert len(one.accepted) == 2088
    alone = gate.prepare(one, abalones())
    assert alone.values["rows"] == 2088
    two = landed(gate, second, "two.libsvm")
    assert len(two.accepted) == 2089
    reference = one.result.outputs["accepted"].to_json()
    window = [Member(partition="one", digest=one.batch.digest, accepted=reference)]
    both = gate.prepare(two, abalones(), window)
    assert both.values["rows"] == 4177
    held = set(gate.frame(alone.outputs["test"])["_row_id"])
    assert held <= set(gate.frame(both.outputs["test"])["_row_id"]), "once held out, held out for ever"


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("form", ["csv", "json", "parquet", "libsvm"])
def test_the_same_rows_in_every_format_are_the_same_batch(gate: Gate, form: str) -> None:
    frame = generate(rows=1_000)
    if form == "parquet":
        uri = gate.land_parquet(frame)
    else:
        lines = frame.to_json(orient="records", lines=True).encode()
        data = {"csv": to_csv(frame), "json": lines, "libsvm": to_libsvm(frame)}[form]
        uri = gate.land(data, f"batch.{form}")
    judged = gate.judge_use_case(abalones(source={"format": form}), [uri])
    assert judged.outcome is Outcome.PASS
    found = judged.accepted[list(COLUMNS)].sort_values(list(COLUMNS)).reset_index(drop=True)
    wanted = frame.sort_values(list(COLUMNS)).reset_index(drop=True)
    assert (found.to_numpy(dtype=float) == wanted.to_numpy(dtype=float)).all()


GOOD = "9 1:1 2:0.5 3:0.4 4:0.1 5:0.7 6:0.3 7:0.1 8:0.2"


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("9 1:1 2:0.5 3:0.4 4:0.1 5:0.7 6:0.3 7:0.1 8:wet", "ShellWeight", None),
        ("9.5 1:1 2:0.5", "Rings", None),
        ("old 1:1 2:0.5", "Rings", None),
        ("9 1:1 9:0.5", "the whole line", None),
        ("9 1:1 1:2", "the whole line", None),
        ("9 1:1 0.5", "the whole line", None),
        ("9 1:1 2:0.5 3:0.4 8:0.2 # a note", "", {"Height": 0.0, "WholeWeight": 0.0, "ShellWeight": 0.2}),
        ("9.0 8:0.2 2:0.5 1:1.0", "", {"Rings": 9, "Sex": 1, "Length": 0.5}),
    ],
)
def test_lines_of_libsvm(gate: Gate, line: str, column: str, expected: dict[str, float] | None) -> None:
    from stepzero.adapters.batches import UNREADABLE, read_batch
    from stepzero.adapters.ledger import make_batch

    uri = gate.land(f"{GOOD}\n\n{line}\n", "lines.libsvm")
    rows = read_batch(gate.spark, gate.store, make_batch(gate.store, [uri]), abalones().source).toPandas()
    assert len(rows) == 2, "an empty line is none"
    assert list(rows.iloc[0][UNREADABLE]) == []
    assert list(rows.iloc[1][UNREADABLE]) == ([column] if column else [])
    for name, value in (expected or {}).items():
        assert rows.iloc[1][name] == value


def test_a_file_that_is_no_libsvm_is_refused(gate: Gate) -> None:
    with pytest.raises(
        InputError, match=r"got a first line 'Rings,Sex.*Allowed: libsvm: a label and INDEX:VALUE pairs"
    ):
        landed(gate, to_csv(generate(rows=10)))


def test_words_without_a_vocabulary_cannot_be_rendered(gate: Gate) -> None:
    use_case: UseCase = abalones(pipeline={"one_hot": {}})
    rows = prepared(generate(rows=60))
    outputs = {}
    for name, part in rows.items():
        from stepzero.adapters.datasets import write_frame

        outputs[name] = write_frame(gate.store, f"prepared/{name}", part, producer="prepare")
    with pytest.raises(StageError, match=r"column Sex as libsvm: got words without a vocabulary"):
        gate.run_stage("render", use_case, {"prepared": StageResult(outputs=outputs)})

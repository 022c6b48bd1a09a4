"""Decisions of groups that no model sees: facets captured beside requests by id, judged, and told where they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.captured import ANSWERED, AT, BESIDE, ID, RECORD, read_captured
from stepzero.adapters.labels import join_labels
from stepzero.adapters.store import Store
from stepzero.core.errors import SpecError
from stepzero.core.stages import StageInput
from stepzero.core.verdict import Outcome
from stepzero.learning.triage import Signal
from stepzero.spec.serve import TAKEN
from stepzero.stages.watch_bias import FEWEST_OF_A_GROUP
from support.traffic import DAY, FIRST, ROWS, Aside, Traffic, set_aside


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Aside:
    folder = tmp_path_factory.mktemp("aside")
    return Aside(Store(f"file://{folder}/store"), folder, set_aside())


@pytest.fixture
def traffic(made: Aside, tmp_path: Path) -> Aside:
    return made.copy(tmp_path / "own")


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Return payments of which those of women look like fraud."""
    return rows.assign(V1=rows["V1"] + 1.5 * rows["_woman"])


def bias_of(traffic: Traffic, day: int) -> StageInput:
    plan = traffic.plan(FIRST + (day + 1) * DAY)
    return traffic.stage("watch_bias", plan, {"collected": traffic.stage("collect_windows", plan, {})})


def sentence(seen: StageInput) -> str:
    assert seen.verdict is not None
    return seen.verdict.sentence()


def signals(seen: StageInput) -> set[tuple[str, str | None]]:
    made = [Signal(**one) for one in seen.values["signals"]]
    return {(one.kind, one.column) for one in made}


def test_decisions_of_a_group_that_no_model_sees_fire_where_they_change_and_nowhere_else(traffic: Aside) -> None:
    traffic.serve(range(4))
    quiet = bias_of(traffic, 3)
    assert (str(quiet.verdict and quiet.verdict.outcome), signals(quiet)) == ("PASS", set())
    assert sentence(quiet) == "PASS: decisions of version 1 on 1 groups."
    traffic.serve(range(4, 7), change=by_group)
    assert signals(bias_of(traffic, 4)) == set(), "one day is none"
    seen = bias_of(traffic, 6)
    assert signals(seen) == {("bias_drift", "woman")}
    assert "DPPL of woman = 1: observed" in sentence(seen)
    assert "data:image/png;base64," in traffic.page(seen)
    names = set(traffic.model.features)
    assert names == {"V1", "Amount"}, "what is judged by was never given to the model"


def test_rows_without_the_facet_are_left_out_and_their_share_is_told(traffic: Aside) -> None:
    traffic.known = lambda frame: [None if at % 4 == 0 else one for at, one in enumerate(frame["_woman"])]
    traffic.serve(range(3), change=by_group, refused=("row 0 field V1: got nothing",))
    seen = bias_of(traffic, 2)
    assert ", 25.0% of the newest window's rows without woman left out" in sentence(seen)
    assert traffic.records[0].metrics["watch.bias.without.woman"] == 0.25
    assert signals(seen) == {("bias_drift", "woman")}
    (metrics,) = [one.metrics for one in traffic.records]
    rows = newest(traffic, 2)
    rows = rows[rows["_woman"].notna()]
    accepted = 1 - rows["_decision"].groupby(rows["_woman"]).mean()
    assert len(rows) == ROWS * 3 // 4
    assert metrics["watch.bias.DPPL.woman.1"] == pytest.approx(accepted[0.0] - accepted[1.0])


def newest(traffic: Traffic, day: int) -> pd.DataFrame:
    """Return the answered rows of a day."""
    start = FIRST + day * DAY
    rows = read_captured(traffic.store, traffic.use_case.name, start, start + DAY)
    return rows[rows["_status"] == ANSWERED]


def test_too_few_rows_of_a_group_are_not_judged_and_it_says_why(traffic: Aside) -> None:
    few = FEWEST_OF_A_GROUP - 1

    def known(frame: pd.DataFrame) -> list[Any]:
        women = np.flatnonzero(frame["_woman"])[few:]
        return [None if at in set(women) else one for at, one in enumerate(frame["_woman"])]

    traffic.known = known
    traffic.serve(range(3), change=by_group)
    seen = bias_of(traffic, 2)
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.NOT_YET
    assert f"woman = 1: {few} rows of it, or of all others, in the newest window; 20 are needed" in sentence(seen)
    assert signals(seen) == set()


def test_without_a_request_by_id_nothing_is_said_of_the_group(traffic: Aside) -> None:
    traffic.known = lambda frame: [None] * len(frame)
    traffic.serve(range(3))
    seen = bias_of(traffic, 2)
    assert seen.verdict is not None
    assert seen.verdict.outcome is Outcome.NOT_YET
    assert "no request of the newest window has a value of woman: it is a feature, or captured beside" in sentence(seen)
    assert "no row of version 1 in the newest window" in sentence(bias_of(traffic, 4))


def test_labels_by_record_bring_the_declared_limits_in(traffic: Aside) -> None:
    traffic.serve(range(3), change=by_group)
    traffic.serve(range(3, 11))
    seen = bias_of(traffic, 9)
    assert signals(seen) == {("bias_limit", "woman = 1")}, "the decisions of a week ago, whose labels are ripe"
    collected = traffic.stage("collect_windows", traffic.plan(FIRST + 10 * DAY), {})
    assert [one["labelled"] for one in collected.values["labels"]] == [ROWS] * 3


def test_a_label_by_the_record_that_a_row_named_counts_where_it_is_clear_whose_it_is() -> None:
    before, after = FIRST - DAY, FIRST + DAY
    told = [("r1", 0.0, after), ("7", 1.0, after), ("8", 1.0, after), ("9", 1.0, before), ("b.0", 1.0, after)]
    labels = pd.DataFrame(told, columns=["id", "label", "known_at"])
    rows = pd.DataFrame(
        {
            ID: ["r1", "a.0", "a.1", "a.2", "a.3", "a.4", "b.0", "b.1"],
            RECORD: ["7", "6", None, "8", "8", "9", "5", "b.0"],
            AT: FIRST,
        }
    )
    found, unclear = join_labels(rows, labels)
    assert found["label"].dropna().to_dict() == {0: 0.0, 6: 1.0}, "each row's own id comes first"
    assert unclear == 3, "record 8 was asked for twice, and b.0 is the id of another row"
    found, unclear = join_labels(rows.drop(index=[4, 6]).reset_index(drop=True), labels)
    assert found["label"].dropna().to_dict() == {0: 0.0, 3: 1.0, 5: 1.0}, "a label of before the request is none of it"
    assert unclear == 0
    assert found["known_at"][3] == after


def test_a_facet_that_no_captured_row_can_have_is_refused_and_so_is_a_name_of_the_capture() -> None:
    told = r"monitors.bias: got 'woman'. Allowed: columns that are captured: woman is set aside, so name it in serve"
    with pytest.raises(SpecError, match=told):
        set_aside(serve={"groups": {"payments": {}, "accounts": {}}})
    with pytest.raises(SpecError, match=r"serve.groups.accounts.beside: got 'wman'. .*did you mean 'woman'"):
        set_aside(serve={"groups": {"accounts": {"beside": ["woman", "wman"]}}})
    assert {f"_{name}" for name in TAKEN} >= {*BESIDE, RECORD, "_window", "_block", "_weight", "_label"}

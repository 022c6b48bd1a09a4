"""What the watch compares served traffic with: the rows that a model learned from and was judged on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.adapters.captured import DECISION, beside
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import SpecError, bare
from stepzero.core.stages import Record, StageInput, StageResult, stage
from stepzero.learning.attributions import attributions
from stepzero.learning.columns import TIME
from stepzero.learning.drift import FEWEST_ROWS, Reference, make_reference
from stepzero.learning.drift_power import MOST_WINDOWS, detection_delays
from stepzero.learning.explanation import explains_quickly
from stepzero.learning.model import ScoringModel, load_model
from stepzero.learning.table import make_table
from stepzero.learning.two_samples import BLOCK
from stepzero.learning.watch_pictures import power_picture
from stepzero.measures.checks import Floats
from stepzero.stages.watch_results import rule_of

MOST_BLOCKS = 90
"""Blocks of a window's length that are kept apart, the newest."""
MOST_EXPLAINED = 8_000
"""Rows whose scores are explained."""
_HALF = 0.5
ROWS_WITHOUT_TIME = 2_000
"""Rows of a window for the chart, where the reference does not tell how many a window has."""
SCORE, LABEL, WEIGHT = "_score", "_label", "_weight"


@stage(sections=("problem", "weight", "bias", "monitors"), architecture_matters=True)
def reference(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Describe features by all rows and scores by held-out ones, block by block in time, at the true share of classes.

    Raises:
        SpecError: There is no monitors section.
    """
    monitors = use_case.monitors
    if monitors is None:
        raise SpecError(
            f"{use_case.name}: monitors",
            value=bare("none"),
            allowed="a monitors section, which says what is watched",
            action="add one, or take the stage out of the DAG",
        )
    model = load_model(workspace.store, inputs["evaluated"].output("model"))
    seed = monitors.false_alarms.seed
    sides = [_rows(use_case, inputs["prepared"], side, workspace) for side in ("train", "test")]
    everything = _blocked(pd.concat(sides, ignore_index=True), use_case)
    held_out = _blocked(sides[1], use_case).reset_index(drop=True)
    held_out[SCORE] = model.score(held_out)
    if model.threshold is not None:
        held_out[DECISION] = model.decide(held_out).astype(np.float64)
    names = list(model.features)
    columns = make_reference(everything[names], _array(everything, WEIGHT), _block(everything))
    scores = make_reference(
        held_out[[SCORE]].rename(columns={SCORE: "score"}), _array(held_out, WEIGHT), _block(held_out)
    )
    told = {"columns": {name: one.to_json() for name, one in columns.items()}, "score": scores["score"].to_json()}
    decided = [DECISION] if DECISION in held_out else []
    kept = [SCORE, LABEL, WEIGHT, BLOCK, *decided, *_facets(use_case, held_out)]
    sample = _thinned(everything, monitors.reference.sample, seed)[[*names, BLOCK]]
    outputs = {
        "reference": workspace.write_json("reference.json", told),
        "sample": workspace.write_frame("sample", sample),
        "scored": workspace.write_frame("scored", held_out[kept]),
    }
    if monitors.attribution_drift is not None and explains_quickly(model.estimator):
        moved = _attributions(model, held_out, monitors)
        outputs["attributions"] = workspace.write_frame("attributions", moved)
    power = _power(columns, monitors)
    if power is not None:
        outputs["power"] = workspace.write_file("power.png", power)
    blocks = len(columns[names[0]].counts)
    by = f"in {blocks} blocks of {monitors.window_hours} hours" if blocks > 1 else "without time"
    summary = f"reference of {len(names)} features from {len(everything)} rows {by}, scores of {len(held_out)}"
    records = (Record(files={"watch/power.png": "power.png"}),) if power is not None else ()
    values = {"rows": len(everything), "blocks": blocks}
    return StageResult(outputs=outputs, values=values, summary=summary, records=records)


def _facets(use_case: Any, frame: pd.DataFrame) -> list[str]:
    """Return the facets' columns, those that no model sees, too: prepared rows have them set aside."""
    declared = use_case.bias.facets if use_case.bias else {}
    return [known for name in declared for known in (name, beside(name)) if known in frame]


def _rows(use_case: Any, prepared: StageInput, side: str, workspace: Workspace) -> pd.DataFrame:
    """Return prepared rows with label and weight; the largest weight is 1, so that rows can be thinned by it."""
    frame = workspace.read_frame(prepared.output(side))
    table = make_table(frame, use_case.problem, use_case.weight)
    weight = table.weight / table.weight.max()
    return frame.assign(**{LABEL: table.target.astype(np.float64), WEIGHT: weight})


def _blocked(frame: pd.DataFrame, use_case: Any) -> pd.DataFrame:
    """Number the blocks that are whole enough, the newest ones, in order of time; other rows are left out."""
    asked = use_case.monitors.reference.time
    column = asked or (TIME if TIME in frame else None)
    if column is None:
        return frame.assign(**{BLOCK: 0})
    values = frame[column]
    is_time = pd.api.types.is_datetime64_any_dtype(values.dtype)
    seconds = values.astype("datetime64[ns]").astype("int64") / 1e9 if is_time else values.astype("float64")
    number = np.floor(seconds / (use_case.monitors.window_hours * 3600))
    sizes = number.value_counts()
    whole = sorted(sizes[sizes >= _HALF * sizes.median()].index)[-MOST_BLOCKS:]
    places = {block: place for place, block in enumerate(whole)}
    kept = frame.assign(**{BLOCK: number.map(places)})
    return kept[kept[BLOCK].notna()].astype({BLOCK: "int64"}).reset_index(drop=True)


def _thinned(frame: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Return rows at the true share of classes: each stays with the probability of its weight."""
    generator = np.random.default_rng(seed)
    kept = np.flatnonzero(generator.random(len(frame)) < _array(frame, WEIGHT))
    chosen = np.sort(generator.permutation(kept)[:most])
    return frame.iloc[chosen].reset_index(drop=True)


def _attributions(model: ScoringModel, held_out: pd.DataFrame, monitors: Any) -> pd.DataFrame:
    """Return how much each feature moves the scores of some held-out rows: of each block twice as many as a window's.

    Block by block, as windows are explained; the newest blocks where there are many. Without time, of all together.
    """
    rows, seed = monitors.attribution_drift.rows, monitors.false_alarms.seed
    numbers = np.sort(held_out[BLOCK].unique())[-max(MOST_EXPLAINED // (2 * rows), monitors.judged.of + 2) :]
    thinned = [_thinned(held_out[held_out[BLOCK] == number], 2 * rows, seed) for number in numbers]
    blocks = [one for one in thinned if len(one) >= FEWEST_ROWS]
    if len(blocks) < monitors.judged.of + 2:
        return attributions(model, _thinned(held_out, 2 * rows, seed), seed).assign(**{BLOCK: 0})
    told = [attributions(model, one, seed).assign(**{BLOCK: place}) for place, one in enumerate(blocks)]
    return pd.concat(told, ignore_index=True)


def _power(columns: Reference, monitors: Any) -> bytes | None:
    """Draw how soon a shift of the first watched number would be seen; None where none is watched."""
    section = monitors.data_drift
    ignored = set(section.ignore) if section is not None else set()
    watched = {name: one for name, one in columns.items() if name not in ignored}
    numbers = [name for name, one in watched.items() if one.kind == "number" and one.edges]
    if section is None or not numbers:
        return None
    column = watched[numbers[0]]
    rows = max(int(column.total.sum() / len(column.counts)), FEWEST_ROWS)
    if len(column.counts) < monitors.judged.of + 2:
        rows = min(rows, ROWS_WITHOUT_TIME)
    rule = rule_of(monitors, section)
    delays = detection_delays(watched, numbers[0], rule, rows=rows, length=monitors.judged.of)
    return power_picture(delays, MOST_WINDOWS, f"{numbers[0]}, windows of {rows:,} rows")


def _array(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy(dtype=np.float64)


def _block(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return frame[BLOCK].to_numpy(dtype=np.int64)

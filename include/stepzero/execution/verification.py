"""Is a run reproducible? Its stages are run again, each on what it was given then, and compared to the last bit.

Nothing is committed, noted or published: what the stages write lies in a scratch prefix. Stages with effects
(register, approve, deploy, report) are not run again. Since every stage is given what it was given then, a
difference is told where it arises, and a chain of equal stages is an equal run.

What may differ, and is told so: what the key says has changed since (code, lock, architecture), for then it is
another computation; and files that are gone. What is never compared, because it depends on the clock: the times
in the log, in the notes and in the tracking server.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.scratch import ScratchStore
from stepzero.core.errors import InputError, StepzeroError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Reuse, find_stage
from stepzero.execution.execute import DAYS, Again, Request, compute_again
from stepzero.execution.noted import Noted, noted_stages

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Environment

log = logging.getLogger("stepzero")
SAME, DIFFERS, FAILED, NOT_RUN = "same", "differs", "failed", "not run"
MOST_TOLD = 6


@dataclass(frozen=True, kw_only=True)
class Check:
    """What became of one stage that was run again."""

    stage: str
    outcome: str
    """``same``, ``differs``, ``failed`` or ``not run``."""
    differences: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    """Parts of the key that changed since, or why it was not run."""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Tell whether nothing speaks against the run."""
        return self.outcome in {SAME, NOT_RUN}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


def verify_run(
    store: Store,
    environment: Environment,
    use_case: str,
    run: str,
    *,
    stages: tuple[str, ...] = (),
    progress: Callable[[Check], None] = lambda _: None,
) -> list[Check]:
    """Run the stages of a run again and compare what they produce; return one check per stage.

    Args:
        store: Where the run is. Scratch files are written under ``scratch/`` and removed.
        environment: Where the stages run: here, in this process, whatever the launchers are.
        use_case: Name of the use case.
        run: Id of the run.
        stages: Only these; all where empty.
        progress: Told after each stage.

    Raises:
        InputError: The run has no such stage, or noted none.
    """
    noted = _chosen(noted_stages(store, use_case, run), run, stages)
    scratch = ScratchStore(store, f"{store.root}/scratch/verify-{uuid.uuid4().hex[:12]}")
    checks = []
    try:
        for one in noted:
            checks.append(_check(one, scratch, environment, use_case, run))
            progress(checks[-1])
    finally:
        scratch.discard()
    return checks


def _chosen(noted: list[Noted], run: str, stages: tuple[str, ...]) -> list[Noted]:
    known = sorted({one.folder for one in noted})
    for name in stages or ([] if noted else ["any"]):
        if name not in known:
            raise InputError(
                f"stage {name} of run {run}",
                value=bare("not in the run"),
                allowed=", ".join(known) or "a run whose stages ended",
                action="name a stage that ended well, or another run",
            )
    return [one for one in noted if not stages or one.folder in stages]


def _check(one: Noted, scratch: ScratchStore, environment: Environment, use_case: str, run: str) -> Check:
    if find_stage(one.result["stage"]).reuse is not Reuse.CONTENT:
        return Check(stage=one.name, outcome=NOT_RUN, why=("it has effects, or looks at the world",))
    if one.inputs is None:
        return Check(stage=one.name, outcome=FAILED, why=("an older release did not note what it was given",))
    request = Request(
        stage=one.result["stage"],
        use_case=use_case,
        run=run,
        attempt=f"verify-{uuid.uuid4().hex[:12]}",
        inputs=one.inputs,
        parameters=one.pointer["parameters"],
        label="" if one.folder == DAYS else one.label,
        day=one.label if one.folder == DAYS else "",
    )
    try:
        again = compute_again(request, scratch, environment)
    except StepzeroError as error:
        return Check(stage=one.name, outcome=FAILED, why=(str(error),))
    return _compared(one, again, scratch)


def _compared(one: Noted, again: Again, scratch: ScratchStore) -> Check:
    before, after = one.result, again.result
    if before["digest"] == after["digest"]:
        return Check(stage=one.name, outcome=SAME, seconds=again.seconds)
    told = [*_outputs(one, after, scratch), *differences(before["values"], after["values"], "values")]
    told += differences(before["verdict"], after["verdict"], "verdict")
    changed = [name for name in again.key_parts if again.key_parts[name] != before["key_parts"].get(name)]
    return Check(
        stage=one.name,
        outcome=DIFFERS,
        differences=tuple(told[:MOST_TOLD]) + ((f"{len(told) - MOST_TOLD} more",) if len(told) > MOST_TOLD else ()),
        why=tuple(f"changed since: {name}" for name in changed) or ("nothing that its key holds changed",),
        seconds=again.seconds,
    )


def _outputs(one: Noted, after: Mapping[str, Any], scratch: ScratchStore) -> Iterator[str]:
    made = {name: Reference.from_json(output) for name, output in after["outputs"].items()}
    for name in sorted({*one.outputs, *made}):
        before, again = one.outputs.get(name), made.get(name)
        if before is None or again is None:
            yield f"output {name} is {'new' if before is None else 'gone'}"
        elif before.digest != again.digest:
            told = _predictions(one, before, again, scratch) if name == "model" else ""
            yield f"output {name} has other bytes{told}"


def _predictions(one: Noted, before: Reference, again: Reference, scratch: ScratchStore) -> str:
    """Say whether a model of other bytes predicts the same, on the held-out rows that its stage was given."""
    import numpy as np

    from stepzero.adapters.datasets import read_frame
    from stepzero.execution.results import read_input
    from stepzero.learning.model import load_model

    given = (one.inputs or {}).get("prepared")
    if given is None or isinstance(given, list):
        return ""
    rows = read_frame(scratch, read_input(scratch, given).output("test"))
    first, second = (load_model(scratch, reference).score(rows) for reference in (before, again))
    if np.array_equal(first, second):
        return f", but the same predictions to the last bit on {len(rows)} held-out rows"
    furthest = float(np.max(np.abs(first - second)))
    return f", and its predictions differ by up to {furthest:.3g} on {len(rows)} held-out rows"


def differences(before: Any, after: Any, where: str) -> list[str]:
    """Return where two pieces of JSON differ, a line each.

    >>> differences({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}, "values")
    ['values.b.1: 2 → 3']
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = list(dict.fromkeys([*before, *after]))
        return [line for name in names for line in _at(before, after, name, f"{where}.{name}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            line
            for i, pair in enumerate(zip(before, after, strict=True))
            for line in differences(*pair, f"{where}.{i}")
        ]
    return [] if before == after else [f"{where}: {_short(before)} → {_short(after)}"]


def _at(before: Mapping[str, Any], after: Mapping[str, Any], name: str, where: str) -> list[str]:
    if name not in before:
        return [f"{where}: new, {_short(after[name])}"]
    if name not in after:
        return [f"{where}: gone, was {_short(before[name])}"]
    return differences(before[name], after[name], where)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"

"""What the shipped gate says of real and of generated rows, as they are and spoilt alike. Part of `generator.py`."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from stepzero.adapters.ledger import make_batch
from stepzero.adapters.spark import start_session
from stepzero.adapters.store import Store
from stepzero.adapters.workspace import Workspace
from stepzero.core.errors import InputError
from stepzero.generators import to_csv
from stepzero.generators.credit_card import BAD, bad
from stepzero.spec.load import load_environment, load_use_case
from stepzero.spec.plan import Plan
from stepzero.stages.quality import quality_gate

if TYPE_CHECKING:
    import pandas as pd

WITHOUT_ROWS = {"empty_file", "header_only", "binary_file"}
"""Bad batches in which no row is left to be alike."""


def verdicts(frames: dict[str, pd.DataFrame]) -> dict[str, dict[str, str]]:
    """Return, for rows as they are and for each kind of bad batch, what the gate says of each frame's rows."""
    environment = load_environment()
    session = start_session(environment, "generator")
    kinds = ["as they are", *(kind for kind in BAD if kind not in WITHOUT_ROWS)]
    try:
        return {
            kind: {
                name: _verdict(to_csv(frame) if kind == kinds[0] else bad(kind, frame))
                for name, frame in frames.items()
            }
            for kind in kinds
        }
    finally:
        session.stop()


def _verdict(landed: bytes) -> str:
    """Return the outcome with the rules that say so; of a batch that cannot be read, that it was refused."""
    use_case = load_use_case("credit_card_fraud")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"file://{folder}")
        uri = "landing/credit_card_fraud/batch.csv"
        with store.open(uri, "wb") as stream:
            stream.write(landed)
        try:
            plan = Plan(
                run="benchmark",
                use_case=use_case,
                environment="benchmark",
                batch=make_batch(store, [uri]),
                as_of="2026-11-26T00:00:00+00:00",
                approval="rule",
            )
            environment: Any = load_environment()
            workspace = Workspace(store=store, environment=environment, plan=plan, folder="try", stage="quality_gate")
            found = quality_gate(use_case, {}, workspace).verdict
        except InputError:
            return "refused"
    assert found is not None
    rules = sorted({reason.rule for reason in found.reasons})
    return f"{found.outcome}{': ' if rules else ''}{', '.join(rules)}"

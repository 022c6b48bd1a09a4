"""The vocabulary of the DAG that lets quarantined rows go: its trigger form and its one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Param

from stepzero.spec.load import batch_owners, load_environment
from stepzero.spec.release import CORRECTIONS
from stepzero_airflow.operators.release import ReleaseOperator
from stepzero_airflow.steps import resources

if TYPE_CHECKING:
    from airflow.sdk import XComArg

_WHICH = "Which rows"


def release_form() -> dict[str, Param]:
    """Return the fields of the trigger form: the main ones first and opened, single rows in a section.

    A dry run is the default, so that a person sees what would go before anything goes.
    """
    return {**_main(batch_owners()), **_which_rows()}


def _main(names: list[str]) -> dict[str, Param]:
    return {
        "use_case": Param(
            names[0] if names else None,
            type="string",
            enum=names,
            title="Use case",
            description="Whose batch it is; where a use case has several tables, which of them.",
        ),
        "batch": Param(
            type="string",
            minLength=1,
            title="Batch",
            description="Partition or file name of an accepted batch, as its quality report shows it.",
        ),
        "why": Param(
            None,
            type=["null", "string"],
            format="multiline",
            maxLength=1_000,
            title="Why",
            description="Kept with the rows, beside your name. A dry run needs none.",
        ),
        "dry_run": Param(
            True, type="boolean", title="Dry run", description="Only say which rows would go; release nothing."
        ),
        "corrections": Param(
            None,
            type=["null", "string"],
            title="Corrections",
            description=f"CSV of corrected rows in the store, below {CORRECTIONS}/; they are judged again. "
            "Empty: rows go as they are.",
        ),
    }


def _which_rows() -> dict[str, Param]:
    return {
        "reasons": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Reasons",
            description="Rules that are forgiven, one a line, such as: between of Amount. Empty: all. "
            "A row goes when all of its reasons are among them.",
            section=_WHICH,
        ),
        "rows": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Rows",
            description="Ids of single rows, one a line, from the quality report. Empty: all.",
            section=_WHICH,
        ),
    }


def release_rows() -> XComArg:
    """Release what the form asks for, where the environment says."""
    operator = ReleaseOperator(task_id="release", **resources(load_environment().resources("release")))
    output: XComArg = operator.output
    return output

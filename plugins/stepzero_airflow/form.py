"""The trigger form: what a person may set for one run, explained and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from stepzero.core.stages import STAGES
from stepzero.spec.kinds import SEARCHED
from stepzero.spec.plan import Form
from stepzero.spec.training import SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepzero.spec.environment import Environment
    from stepzero.spec.use_case import UseCase

BY_THE_WATCH = ("half_life", "reason", "compared_on")
"""What nobody fills in: the watch sets it when it starts a run."""
AS_DECLARED = "as declared"
_BATCH = (
    "File name or partition of a landed batch. Empty: all files that no run has judged yet, or else the batch accepted "
    "last. A refused batch is judged again only where it is named."
)
_BATCH_OF_ARRIVALS = "File name or partition of a landed batch. Empty: what no run has claimed; the run waits for it."
_BATCH_OF_DAYS = "A day (YYYY-MM-DD) or the name of a file of it. Empty: the newest day that was not refused."
_BATCH_OF_TABLES = (
    "Landed files, a comma between them. A table of which none is named takes the files that no run has judged yet, or "
    "else those accepted last."
)
_REPRODUCE = "Reproduce"
_EXPERT = "More"
_OTHER_DAGS = ("watch_", "collect_windows", "triage", "release", "captured_")
"""Stages that no run of this DAG has."""
_TABLES = {
    "prepare_table",
    "join_tables",
    "ingest_features",
    "join_features",
    "join_features_spark",
    "publish_features",
}
"""Stages of several tables."""
_ENDPOINTS = {"lease_endpoint", "create_endpoint", "ask_endpoint", "remove_endpoint", "compare_endpoints"}
"""Stages of a comparison behind endpoints."""


def trigger_form(use_case: UseCase, environment: Environment, *, by_arrivals: bool = False) -> dict[str, Param]:
    """Return the parameters of a use case's DAG; empty where there is nothing to train.

    The main ones have no section, so that Airflow shows them opened. Descriptions are short,
    because Airflow prints the whole schema when it refuses a value.

    Args:
        use_case: What is declared.
        environment: Who approves.
        by_arrivals: Whether files start the DAG's runs, each of which claims what arrived.
    """
    if use_case.train is None:
        return {}
    main = _main(use_case, environment, _BATCH_OF_ARRIVALS if by_arrivals else _batch(use_case))
    return {**main, **_reproduce(use_case), **_more(use_case)}


def form_values(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a person changed in the form.

    Airflow hands over every field, also those left alone. Those are dropped, so that an edited
    use-case file takes effect although the form still shows what it said before.
    """
    return {
        name: value
        for name, value in params.items()
        if name in Form.model_fields and value is not None and value != defaults.get(name)
    }


def effective_approval(use_case: UseCase, environment: Environment) -> str:
    """Return who approves unless the form tightens it."""
    return "person" if "person" in {environment.approval, use_case.promote.approval} else "rule"


def _main(use_case: UseCase, environment: Environment, batch: str) -> dict[str, Param]:
    models = list(use_case.train.models) if use_case.train else []
    others = [name for recipe in use_case.recipes.values() for name in recipe.models or ()]
    samplers = list(use_case.resample)
    return {
        "samplers": _several(
            samplers,
            list(dict.fromkeys([*samplers, *(SAMPLERS if _has_classes(use_case) else ())])),
            title="Samplers",
            help="Ways to balance the classes, applied inside training folds only.",
        ),
        "models": _several(
            models,
            list(dict.fromkeys([*models, *others])),
            title="Models",
            help="Algorithms to try; their grids are in the use-case file.",
        ),
        "metric": _metric(use_case),
        "approval": _approval(use_case, environment),
        "batch": Param(
            None,
            type=["null", "string"],
            title="Batch",
            description=batch,
        ),
        **_recipe(use_case),
    }


def _batch(use_case: UseCase) -> str:
    if use_case.tables:
        return _BATCH_OF_TABLES
    return _BATCH_OF_DAYS if use_case.source and use_case.source.partition else _BATCH


def _recipe(use_case: UseCase) -> dict[str, Param]:
    if not use_case.recipes:
        return {}
    told = {name: f"{name}: {recipe.help}" for name, recipe in use_case.recipes.items()}
    return {
        "recipe": Param(
            AS_DECLARED,
            type="string",
            enum=[AS_DECLARED, *told],
            values_display={AS_DECLARED: "As the fields above say"} | told,
            title="Recipe",
            description="Another way to learn, with samplers, models and threshold of its own.",
        )
    }


def _several(chosen: list[str], offered: list[str], *, title: str, help: str) -> Param:  # noqa: A002 - the form's word
    return Param(
        chosen,
        type="array",
        items={"type": "string"},
        minItems=1,
        uniqueItems=True,
        examples=offered,
        title=title,
        description=help,
    )


def _has_classes(use_case: UseCase) -> bool:
    return use_case.problem is None or use_case.problem.kind == "classification"


def _metric(use_case: UseCase) -> Param:
    offered = SEARCHED[use_case.problem.kind if use_case.problem else "classification"]
    declared = use_case.train.metric if use_case.train else offered[0]
    return Param(
        declared,
        type="string",
        enum=list(dict.fromkeys([declared, *offered])),
        title="Metric",
        description="What the search and the choice of the winner go by, on out-of-fold rows.",
    )


def _approval(use_case: UseCase, environment: Environment) -> Param:
    stated = effective_approval(use_case, environment)
    offered = ["person"] if stated == "person" else ["rule", "person"]
    return Param(
        stated,
        type="string",
        enum=offered,
        values_display={"rule": "By the promotion rules", "person": "By a person, in Required Actions"},
        title="Approval",
        description="Who lets a new version serve. A run may ask for more care than the environment, never for less.",
    )


def _reproduce(use_case: UseCase) -> dict[str, Param]:
    train = use_case.train
    return {
        "folds": Param(
            train.folds if train else 5,
            type="integer",
            minimum=2,
            maximum=max(10, train.folds if train else 0),
            title="Folds",
            description="Parts that training rows are cut into for cross-validation.",
            section=_REPRODUCE,
        ),
        "seed": Param(
            train.seed if train else 0,
            type="integer",
            minimum=0,
            maximum=2**31 - 1,
            title="Seed",
            description="The same seed and data give the same folds, samples and models.",
            section=_REPRODUCE,
        ),
    }


def _more(use_case: UseCase) -> dict[str, Param]:
    if use_case.tables:
        # What earlier batches said is in the feature groups: there is no window to choose.
        return _recompute(use_case)
    daily = use_case.source is not None and use_case.source.partition is not None
    what = "days" if daily else "batches"
    return {
        "window": Param(
            "declared",
            type="string",
            enum=["declared", "batch", "recent", "all"],
            values_display={
                "declared": f"As declared: {_declared(use_case, what)}",
                "batch": "This day alone" if daily else "This batch alone",
                "recent": f"The newest {what}, as many as the field below says",
                "all": "All days landed before it, and its own" if daily else "All accepted batches",
            },
            title="Window",
            description=f"Which {'days' if daily else 'accepted batches'} the run trains on.",
            section=_EXPERT,
        ),
        # Days are a window by themselves: there is nothing to name.
        **({} if daily else _earlier()),
        "recent_batches": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title=f"Newest {what}",
            description=f"How many, this run's own included. Only with the window of the newest {what}.",
            section=_EXPERT,
        ),
        **_recompute(use_case),
    }


def _declared(use_case: UseCase, what: str) -> str:
    window = use_case.source.window if use_case.source else None
    if window and window.batches and window.days:
        return f"the newest {window.batches} batches of the {window.days} days that end with this one"
    if window and window.batches:
        return f"the newest {window.batches} batches"
    if window and window.days:
        return f"the {window.days} days that end with this one"
    return "this day alone" if what == "days" else "all accepted batches"


def _earlier() -> dict[str, Param]:
    return {
        "earlier": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Earlier batches",
            description="Partitions of accepted batches to train on besides this one, where the window is as declared. "
            "Empty: what the window says.",
            section=_EXPERT,
        )
    }


def _recompute(use_case: UseCase) -> dict[str, Param]:
    left_out = (set() if use_case.tables else _TABLES) | (
        set() if "compare" in use_case.model_fields_set else _ENDPOINTS
    )
    return {
        "recompute": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            examples=[name for name in STAGES if name not in left_out and not name.startswith(_OTHER_DAGS)],
            title="Recompute",
            description="Stages to run again although nothing that they depend on changed.",
            section=_EXPERT,
        ),
    }

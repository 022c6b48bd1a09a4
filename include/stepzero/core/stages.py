"""What a stage is, and which stages there are (`plan`, the first task of a run, is none: it makes the plan).

A stage is a plain function ``(use_case, inputs, workspace) -> StageResult``, marked by `stage`.
Ours are listed in `STAGES` by name; somebody else's is named by ``package.module:function``.
Naming a stage imports nothing: orchestrators name, workers resolve.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from stepzero.core.digests import module_path, parse_source
from stepzero.core.errors import SpecError, StageError, bare, did_you_mean

if TYPE_CHECKING:
    from stepzero.core.references import Reference, ResultReference
    from stepzero.core.verdict import Verdict


class Reuse(StrEnum):
    """When a finished result may stand for a new execution."""

    CONTENT = "content"
    """Same key, same result: the rule."""
    RUN = "run"
    """Once per run: arrival, plan, approval."""
    NEVER = "never"
    """Looks at the world and makes it so: deployment, notifications."""


class Engine(StrEnum):
    """What a stage needs around it."""

    PYTHON = "python"
    SPARK = "spark"


STAGES: dict[str, str] = {
    "quality_gate": "stepzero.stages.quality:quality_gate",
    "release": "stepzero.stages.release:release",
    "prepare_table": "stepzero.stages.tables:prepare_table",
    "join_tables": "stepzero.stages.tables:join_tables",
    "ingest_features": "stepzero.stages.features:ingest_features",
    "join_features": "stepzero.stages.features:join_features",
    "join_features_spark": "stepzero.stages.features_spark:join_features_spark",
    "publish_features": "stepzero.stages.features_publish:publish_features",
    "prepare": "stepzero.stages.prepare:prepare",
    "render": "stepzero.stages.render:render",
    "explore": "stepzero.stages.explore:explore",
    "bias": "stepzero.stages.bias:bias",
    "mitigate": "stepzero.stages.mitigate:mitigate",
    "mitigate_decisions": "stepzero.stages.mitigate_decisions:mitigate_decisions",
    "baseline": "stepzero.stages.baseline:baseline",
    "reference": "stepzero.stages.reference:reference",
    "batch_skew": "stepzero.stages.skew:batch_skew",
    "captured_skew": "stepzero.stages.skew:captured_skew",
    "resample": "stepzero.stages.resample:resample",
    "tune": "stepzero.stages.tune:tune",
    "evaluate": "stepzero.stages.evaluate:evaluate",
    "check_predictions": "stepzero.stages.predictions:check_predictions",
    "lease_endpoint": "stepzero.stages.endpoints:lease_endpoint",
    "create_endpoint": "stepzero.stages.endpoints:create_endpoint",
    "ask_endpoint": "stepzero.stages.endpoints:ask_endpoint",
    "remove_endpoint": "stepzero.stages.endpoints:remove_endpoint",
    "compare_endpoints": "stepzero.stages.compare_endpoints:compare_endpoints",
    "register": "stepzero.stages.register:register",
    "score_batch": "stepzero.stages.score_batch:score_batch",
    "collect_windows": "stepzero.stages.collect_windows:collect_windows",
    "watch_data_quality": "stepzero.stages.watch_rows:watch_data_quality",
    "watch_data_drift": "stepzero.stages.watch_drift:watch_data_drift",
    "watch_prediction_drift": "stepzero.stages.watch_drift:watch_prediction_drift",
    "watch_model_quality": "stepzero.stages.watch_model:watch_model_quality",
    "watch_bias": "stepzero.stages.watch_bias:watch_bias",
    "watch_attribution_drift": "stepzero.stages.watch_model:watch_attribution_drift",
    "triage": "stepzero.stages.triage:triage",
    "approve": "stepzero.stages.approve:approve",
    "deploy": "stepzero.stages.deploy:deploy",
    "report": "stepzero.stages.report:report",
}


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What the function's `stage` mark says; part of the stage's key, read without importing it."""

    name: str
    target: str
    """``package.module:function``."""
    sections: tuple[str, ...] = ()
    """Sections of the use case that it reads; it sees no others, and only these are in its key."""
    plan: tuple[str, ...] = ()
    """Fields of the run's plan that it reads, in its key likewise: ``batch``, ``champion`` ..."""
    engine: Engine = Engine.PYTHON
    reuse: Reuse = Reuse.CONTENT
    architecture_matters: bool = False
    """Whether arm64 and x86-64 may differ in the last bits."""
    tools: tuple[str, ...] = ()
    """Programs of the machine that its outputs depend on; their versions, or that they are missing, are in its key."""

    @property
    def module(self) -> str:
        """Dotted name of the module that holds the function."""
        return self.target.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Something to show in the tracking server, published after the stage's commit.

    ``scope`` is ``run`` (shown in every run that uses the result, reused or not) or ``trial`` (a
    child run, published once by the run that computed it, found again by ``key``).
    ``files`` maps a path in the tracking server to a path relative to the stage's output folder.
    """

    scope: str = "run"
    key: str = ""
    name: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage returns.

    ``values`` is small JSON that depends on content only; what differs from try to try (times)
    goes to the log or to a record. ``summary`` is one sentence for a person.
    """

    outputs: dict[str, Reference] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    summary: str = ""
    records: tuple[Record, ...] = ()
    history: dict[str, float] | None = None
    """Metrics of the run's batch: they become its entry in the history once the result is committed."""
    pointers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """JSON files by which others find the newest result, URI → content: written each time it is computed or reused."""


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """A finished stage as the next one sees it: read from the store, never from XCom."""

    reference: ResultReference
    outputs: dict[str, Reference]
    values: dict[str, Any]
    verdict: Verdict | None
    day: str = ""
    """The earlier day of the run's window that it is about, where the gate judges each by itself."""

    def output(self, name: str) -> Reference:
        """Return an output by name.

        Raises:
            StageError: The stage has no such output.
        """
        if name not in self.outputs:
            raise StageError(
                f"output {name!r} of stage {self.reference.stage}",
                value=bare("nothing"),
                allowed=did_you_mean(name, self.outputs),
                action="name an output that the stage writes",
            )
        return self.outputs[name]


StageFunction: TypeAlias = Callable[..., StageResult]


def stage(
    *,
    sections: tuple[str, ...] = (),
    plan: tuple[str, ...] = (),
    engine: Engine = Engine.PYTHON,
    reuse: Reuse = Reuse.CONTENT,
    architecture_matters: bool = False,
    tools: tuple[str, ...] = (),
) -> Callable[[StageFunction], StageFunction]:
    """Mark a function as a stage.

    The arguments must be literals (or members of `Engine`, `Reuse`): they are read from the source
    by `find_stage`, so that a key can be computed without importing what the stage imports.

    Example:
        >>> @stage(sections=("prepare",))
        ... def clean(use_case, inputs, workspace):
        ...     return StageResult()
    """
    del sections, plan, engine, reuse, architecture_matters, tools  # read from the source, never at run time

    def mark(function: StageFunction) -> StageFunction:
        return function

    return mark


def find_stage(name: str) -> StageInfo:
    """Return what is declared of a stage, by our name or by ``package.module:function``.

    Raises:
        SpecError: There is no such stage, or the function is not marked by `stage`.
    """
    target = STAGES.get(name, name)
    module, _, function = target.partition(":")
    if not function:
        raise SpecError(
            f"stage {name}",
            value=name,
            allowed=f"{did_you_mean(name, STAGES)}, or package.module:function",
            action="correct the name",
        )
    return StageInfo(name=name, target=target, **_declared(name, module, function))


def load_stage(info: StageInfo) -> StageFunction:
    """Import a stage's function."""
    module, _, function = info.target.partition(":")
    loaded: StageFunction = getattr(importlib.import_module(module), function)
    return loaded


def _declared(name: str, module: str, function: str) -> dict[str, Any]:
    path = module_path(module)
    if path is None:
        raise SpecError(f"stage {name}", value=module, allowed="an importable module", action="put it on PYTHONPATH")
    for node in parse_source(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and _last_name(call.func) == "stage":
                    return {str(word.arg): _literal(str(word.arg), word.value) for word in call.keywords}
    raise SpecError(
        f"stage {name}", value=f"{module}:{function}", allowed="a function marked by @stage(...)", action="add the mark"
    )


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _literal(word: str, node: ast.expr) -> Any:
    kinds = {"engine": Engine, "reuse": Reuse}
    if word in kinds and isinstance(node, ast.Attribute):
        return kinds[word][node.attr]
    return ast.literal_eval(node)

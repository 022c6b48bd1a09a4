"""The rule `schema`: judged first and from headers and footers alone, for without columns no other rule can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepzero.adapters.batches import Columns, difference, found_columns
from stepzero.measures.quality import Finding
from stepzero.spec import quality as spec
from stepzero.stages.quality_batch import whole_finding
from stepzero.stages.quality_columns import INTEGERS, kind_of

if TYPE_CHECKING:
    from stepzero.adapters.workspace import Workspace


def schema_findings(use_case: Any, workspace: Workspace) -> list[Finding]:
    """Return what each schema rule says to the files of the batch; nothing where there is no such rule.

    Raises:
        InputError: A file is no table.
    """
    rules = [rule for rule in use_case.quality.rules if isinstance(rule, spec.SchemaRule)]
    if not rules:
        return []
    source = use_case.source
    files = found_columns(workspace.spark, workspace.store, workspace.plan.batch, source)
    any_order = source is not None and source.format == "json"
    return [_finding(rule, rule.columns or source.columns, files, any_order=any_order) for rule in rules]


def _finding(
    rule: spec.SchemaRule, declared: Mapping[str, str], files: Mapping[str, Columns], *, any_order: bool
) -> Finding:
    problems = []
    for uri, found in files.items():
        names = [name for name, _ in found]
        if any_order:
            names.sort(key=lambda name: list(declared).index(name) if name in declared else len(declared))
        problem = difference(names, list(declared)) or _other_types(found, declared)
        if problem:
            problems.append(f"{uri.rpartition('/')[2]}: {problem}")
    told = "; ".join(problems) if problems else "as declared"
    bound = ", ".join(f"{name} {kind}" for name, kind in declared.items())
    return whole_finding(rule, told, bound, passed=not problems)


def _other_types(found: Columns, declared: Mapping[str, str]) -> str | None:
    other = [
        f"{name} is {kind}, declared is {declared[name]}"
        for name, kind in found
        if kind and not _alike(kind, declared[name])
    ]
    return f"another type: {', '.join(other)}" if other else None


def _alike(found: str, declared: str) -> bool:
    """Tell whether a type is the declared one, wider or narrower."""
    same_kind = kind_of(found) == kind_of(declared)
    if kind_of(declared) == "number":
        return same_kind and (found in INTEGERS) == (declared in INTEGERS)
    return same_kind and (found == "date") == (declared == "date")

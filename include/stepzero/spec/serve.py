"""The `serve` section: which features the endpoint looks up itself, by a record's id, and how old they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stepzero.spec.base import ElsewhereError, Section
from stepzero.spec.batch_rules import Duration

if TYPE_CHECKING:
    from stepzero.spec.features import Features


class ServedGroup(Section):
    """What of a feature group is read from the online store."""

    columns: tuple[str, ...] | None = None
    """Null is every feature of the group that the model takes."""
    maximum_age: Duration | None = None
    """Older features are refused: ``2 days``, ``36 hours``; null takes any."""
    age: Literal["published", "known", "event"] = "published"
    """What age counts from: when the group was last published (its values may be older, and still be those that are
    known), when the record's values became known, or since when they hold."""


class Serve(Section):
    """What the endpoint adds to a request by itself."""

    groups: dict[str, ServedGroup] = Field(default_factory=dict)
    """Feature group → what of it is looked up for a row that names a record by its id and does not bring all itself."""
    explain: bool = False
    """Whether the explainer is made when a version is loaded, so that the first explanation is as quick as others."""


class Lookup(Section):
    """What a deployed version is told of `serve`, together with the id that records are named by."""

    record_id: str
    groups: dict[str, ServedGroup]


def lookup_of(serve: Serve, features: Features | None) -> Lookup | None:
    """Return what an endpoint looks up; None where it looks up nothing."""
    if not serve.groups or features is None:
        return None
    return Lookup(record_id=features.groups[features.rows].record_id, groups=serve.groups)


def check_serve(serve: Serve, features: Features | None, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse groups and columns that there are not.

    Raises:
        ElsewhereError: A group is not among the feature groups, or a column is no feature of its group.
    """
    from stepzero.core.errors import did_you_mean

    known = features.groups if features else {}
    for name, served in serve.groups.items():
        if name not in known:
            allowed = f"a feature group; {did_you_mean(name, known)}" if known else "a features section with groups"
            raise ElsewhereError(allowed, location=("serve", "groups", name), value=name)
        own = [column for column in tables[name] if column not in known[name].keys]
        for column in served.columns or ():
            if column not in own:
                allowed = f"a feature of the group; {did_you_mean(column, own)}"
                raise ElsewhereError(allowed, location=("serve", "groups", name, "columns"), value=column)

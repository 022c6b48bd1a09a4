"""The `serve` section: which features the endpoint looks up itself, by a record's id, and how old they may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stepzero.spec.base import ElsewhereError, Section
from stepzero.spec.batch_rules import Duration

if TYPE_CHECKING:
    from stepzero.spec.bias import Bias
    from stepzero.spec.features import Features

_ASKED = ("id", "record_id", "request", "at", "status", "latency_ms", "refused")
_ANSWERED = ("version", "model_digest", "score", "decision")
TAKEN = frozenset([*_ASKED, *_ANSWERED, "window", "block", "weight", "label"])
"""What columns of captured rows, and of what they are compared with, are called behind their underscore."""


class ServedGroup(Section):
    """What of a feature group is read from the online store."""

    columns: tuple[str, ...] | None = None
    """Null is every feature of the group that the model takes; an empty list none: the group is there for `beside`."""
    beside: tuple[str, ...] = ()
    """Columns that no model takes, looked up along with the features and captured beside the request: the facets that
    bias is watched by. Neither a model nor a caller is given them, and no prediction fails for want of them."""
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
        ElsewhereError: A group is not among the feature groups, or a column is no feature of its group; or one that is
            captured beside the request would have the name of a column of the capture itself.
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
        for column in served.beside:
            if column not in own or column in TAKEN:
                allowed = f"a feature of the group, named otherwise than a captured column; {did_you_mean(column, own)}"
                raise ElsewhereError(allowed, location=("serve", "groups", name, "beside"), value=column)


def check_captured(serve: Serve, watched: Bias | None, set_aside: Collection[str]) -> None:
    """Refuse to watch groups by a column that no captured row will ever have.

    Raises:
        ElsewhereError: It is set aside from the models, and not captured beside requests.
    """
    captured = {column for served in serve.groups.values() for column in served.beside}
    for column in (*watched.facets, watched.group) if watched else ():
        if column in set_aside and column not in captured:
            msg = f"columns that are captured: {column} is set aside, so name it in serve.groups.GROUP.beside"
            raise ElsewhereError(msg, location=("monitors", "bias"), value=column)

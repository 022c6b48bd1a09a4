"""Feature groups: which columns identify a record, say when it happened, and when it became known."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from stepzero.spec.base import ElsewhereError, Section


class FeatureGroup(Section):
    """One group of features of one kind of record.

    Two times, because a value may be corrected long after what it speaks of: a training set that is filtered by the
    first alone knows corrections that nobody knew then.
    """

    record_id: str
    event_time: str
    """Column: since when the values hold."""
    known_time: str
    """Column: since when anybody could know them."""

    @model_validator(mode="after")
    def _distinct(self) -> FeatureGroup:
        if len({self.record_id, self.event_time, self.known_time}) < 3:
            msg = "record_id, event_time and known_time are three columns"
            raise ValueError(msg)
        return self

    @property
    def keys(self) -> tuple[str, str, str]:
        """The columns that are no features."""
        return self.record_id, self.event_time, self.known_time


class Features(Section):
    """How training rows are put together from feature groups.

    A group has the name of one of the `tables`. Where that table has no column of the name of a time, the run's moment
    is written there when its rows are ingested.
    """

    groups: dict[str, FeatureGroup] = Field(min_length=1)
    rows: str
    """The group whose records are the training rows; the others are looked up for each."""
    as_of: str | None = None
    """Column of the rows with the moment that counts for each; null is the run's moment for all."""

    @property
    def moment_column(self) -> str | None:
        """Where a snapshot of the rows, with its times, has the moment that counts for each; None is the run's."""
        group = self.groups[self.rows]
        times = {group.event_time: "_event_time", group.known_time: "_known_time"}
        return times.get(self.as_of, self.as_of) if self.as_of else None

    @model_validator(mode="after")
    def _known(self) -> Features:
        from stepzero.core.errors import did_you_mean

        if self.rows not in self.groups:
            msg = f"rows is one of the groups, not {self.rows!r}; {did_you_mean(self.rows, self.groups)}"
            raise ValueError(msg)
        ids = {group.record_id for group in self.groups.values()}
        if len(ids) > 1:
            msg = f"all groups have the same record_id; it is the key they are joined by: {', '.join(sorted(ids))}"
            raise ValueError(msg)
        return self


def featured_columns(tables: Mapping[str, Mapping[str, str]], features: Features) -> dict[str, str]:
    """Return the columns of the training rows: those of `rows`, then the features of the other groups.

    Raises:
        ElsewhereError: A group is no table, or its record id or the moment is no column, or a feature is there twice.
    """
    from stepzero.core.errors import did_you_mean

    found: dict[str, str] = {}
    for name, group in {features.rows: features.groups[features.rows], **features.groups}.items():
        if name not in tables:
            allowed = f"a table; {did_you_mean(name, tables)}"
            raise ElsewhereError(allowed, location=("features", "groups", name), value=name)
        columns = tables[name]
        if group.record_id not in columns:
            allowed = f"a column of the table; {did_you_mean(group.record_id, columns)}"
            raise ElsewhereError(allowed, location=("features", "groups", name, "record_id"), value=group.record_id)
        new = {column: kind for column, kind in columns.items() if column not in group.keys}
        twice = sorted(set(new) & set(found))
        if twice:
            allowed = "columns that only one group has: rename or drop it in one table"
            raise ElsewhereError(allowed, location=("features", "groups", name), value=twice[0])
        found |= {**({group.record_id: columns[group.record_id]} if name == features.rows else {}), **new}
    rows = features.groups[features.rows]
    if features.as_of is not None and features.as_of not in {*tables[features.rows], rows.event_time, rows.known_time}:
        allowed = f"a column of the rows; {did_you_mean(features.as_of, tables[features.rows])}"
        raise ElsewhereError(allowed, location=("features", "as_of"), value=features.as_of)
    return found

"""Feature groups: which columns identify a record, say when it happened, and when it became known."""

from __future__ import annotations

from pydantic import model_validator

from stepzero.spec.base import Section


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

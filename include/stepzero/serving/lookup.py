"""Features by a record's id: what a row does not bring itself is read from the online store; its age is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stepzero.adapters.captured import RECORD, beside
from stepzero.adapters.feast_catalogue import Published
from stepzero.adapters.online_features import EVENT, KNOWN, OnlineReader, Record, RecordId, SqliteReader, marker_uri
from stepzero.core.errors import ServiceError, StepzeroError, bare
from stepzero.serving.rows import CSV, Asked, Field, Form, RequestError, csv_value
from stepzero.spec.serve import Lookup, ServedGroup

if TYPE_CHECKING:
    from stepzero.adapters.store import Store

log = logging.getLogger("stepzero")

UNAVAILABLE = 503
Ages = dict[str, dict[str, Any]]
"""Feature group → times of what was taken from it, and its age in seconds."""
Beside = dict[str, list[Any]]
"""Column of the capture → its value in each row; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A request completed, and for each row what was looked up; None for a row that brought all itself."""

    asked: Asked
    ages: list[Ages | None]
    beside: Beside = field(default_factory=dict)
    """What is captured beside the rows: the ids that they named records by, and what no model is given of those."""

    @property
    def any(self) -> bool:
        """Whether anything was looked up."""
        return any(one is not None for one in self.ages)


@dataclass(kw_only=True)
class OnlineFeatures:
    """What the endpoint of one version looks up.

    Args:
        lookup: What is declared.
        features: The model's features with their kinds.
        reader: Of the online store.
        store: Where it is noted what was published.
        now: The time that ages are counted to, in seconds since 1970.
    """

    lookup: Lookup
    features: Mapping[str, str]
    reader: OnlineReader
    store: Store
    now: Callable[[], float] = time.time
    published: dict[str, Published] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)
    """Groups that did not answer when they were asked for what is only captured."""

    @property
    def is_local(self) -> bool:
        """Whether looking up takes no way over a network."""
        return isinstance(self.reader, SqliteReader)

    def refresh(self) -> None:
        """Look what was published since; a store that does not answer leaves what was known."""
        for name in self.lookup.groups:
            uri = marker_uri(name)
            try:
                text = self.store.read_text(uri) if self.store.exists(uri) else None
                if text is not None and text != self._texts.get(name):
                    self.published[name] = Published.model_validate_json(text)
                    self._texts[name] = text
            except (StepzeroError, OSError, ValueError) as error:
                log.warning("what was published of feature group %s cannot be read: %s", name, error)

    def told(self) -> dict[str, Any]:
        """Return by which field records are named, and which features are looked up, for those who ask what to send."""
        groups = {
            name: {"columns": list(self._columns(name, served)), "published": self.published[name].as_of}
            for name, served in self.lookup.groups.items()
            if name in self.published
        }
        for name, told in groups.items():
            if aside := self._aside(self.lookup.groups[name]):
                told["captured_beside"] = list(aside)
        return {"record_id": self.lookup.record_id, "groups": groups}

    def complete(self, asked: Asked, form: Form) -> Looked:
        """Return the request with every row that names a record by its id completed; other rows stay as they are.

        Raises:
            RequestError: An id is of a wrong type or unknown, a field is there that is looked up, or what was found is
                older than is declared (422); nothing was published yet, or the online store does not answer (503).
        """
        asked = self._without_empty_ids(asked)
        places = [number for number, row in enumerate(asked.rows) if self._names_a_record(row)]
        if not places:
            return Looked(asked=asked, ages=[None] * len(asked.rows))
        columns = {of: self._columns(of, served) for of, served in self.lookup.groups.items()}
        name = self.lookup.record_id
        kind = next((one.kinds[name] for one in self.published.values()), None)
        ids = [_id(asked.rows[number][name], name, kind, number, asked.kind) for number in places]
        rows = list(asked.rows)
        ages: list[Ages | None] = [None] * len(rows)
        for number in places:
            rows[number], ages[number] = self._own(asked, number), {}
        found = _Beside(places, len(rows))
        found.add(RECORD, map(str, ids))
        for of, wanted in columns.items():
            served = self.lookup.groups[of]
            if wanted:
                group = _Group(of, self.published[of], served, wanted)
                records = self._add(group, ids, places, rows, ages, form)
            else:
                records = self._read_aside(of, ids) if served.beside else ()
            for column in self._aside(served):
                found.add(beside(column), (record and record.get(column) for record in records))
        for number, one in zip(places, ids, strict=True):
            if name in self.features:
                rows[number][name] = one
        return Looked(asked=asked.of(rows, places), ages=ages, beside=found.columns)

    def _without_empty_ids(self, asked: Asked) -> Asked:
        """Leave the id out of rows of CSV where it is empty: all rows of a table have the same columns."""
        name = self.lookup.record_id
        if asked.kind != CSV or name in self.features:
            return asked
        rows = [{key: value for key, value in row.items() if (key, value) != (name, "")} for row in asked.rows]
        return asked.of(rows)

    def _names_a_record(self, row: Mapping[str, Any]) -> bool:
        """Tell whether features of a row are to be looked up: it has an id, and does not bring all features itself."""
        name = self.lookup.record_id
        return name in row and not (name in self.features and row.keys() >= self.features.keys())

    def _own(self, asked: Asked, number: int) -> dict[str, Any]:
        """Return what a row brings itself, as JSON would say it."""
        row = {name: value for name, value in asked.rows[number].items() if name != self.lookup.record_id}
        if asked.kind != CSV:
            return row
        return {
            name: csv_value(value, Field(name, self.features[name], number)) if name in self.features else value
            for name, value in row.items()
            if value != ""
        }

    def _columns(self, name: str, served: ServedGroup) -> tuple[str, ...]:
        known = self._published(name).features if served.columns is None else served.columns
        taken = tuple(column for column in known if column in self.features)
        if taken:
            self._published(name)
        return taken

    def _aside(self, served: ServedGroup) -> tuple[str, ...]:
        """Return what is captured beside: what the model takes is among the features anyway."""
        return tuple(column for column in served.beside if column not in self.features)

    def _published(self, name: str) -> Published:
        if name in self.published:
            return self.published[name]
        raise RequestError(
            UNAVAILABLE,
            f"feature group {name}",
            value=bare("nothing was published yet"),
            allowed="a group that the stage `publish_features` published",
            action=f"run the DAG, or send all of {', '.join(self.features)} instead of {self.lookup.record_id}",
        )

    def _add(
        self,
        group: _Group,
        ids: Sequence[RecordId],
        places: Sequence[int],
        rows: list[dict[str, Any]],
        ages: list[Ages | None],
        form: Form,
    ) -> Sequence[Record | None]:
        """Complete rows by a group's features, and return the group's records.

        Raises:
            RequestError: As `complete`.
        """
        records = self._read(group, ids)
        for number, one, record in zip(places, ids, records, strict=True):
            extra = next((column for column in group.columns if column in rows[number]), None)
            if extra is not None:
                raise RequestError(
                    422,
                    f"row {number} field {extra}",
                    value=rows[number][extra],
                    allowed=f"no value beside {self.lookup.record_id}: it is looked up in feature group {group.name}",
                    action=f"leave it out, or send all features and no {self.lookup.record_id}",
                )
            if record is None:
                if not form.optional.issuperset(group.columns):
                    self._unknown(group, one, number)
                rows[number].update(dict.fromkeys(group.columns))
                continue
            rows[number].update(group.values(record, number, form))
            told = ages[number]
            if told is not None:
                told[group.name] = group.age(record, number, self.now())
        return records

    def _read_aside(self, name: str, ids: Sequence[RecordId]) -> Sequence[Record | None]:
        """Return the records of a group that no feature is taken of; none of them where the store does not answer."""
        if name not in self.published:
            return ()
        try:
            records = self.reader.read(name, self.lookup.record_id, ids)
        except ServiceError as error:
            if name not in self._silent:  # once, not with every request
                log.warning("nothing of feature group %s is captured beside requests: %s", name, error)
            self._silent.add(name)
            return ()
        self._silent.discard(name)
        return records

    def _read(self, group: _Group, ids: Sequence[RecordId]) -> list[Record | None]:
        try:
            return self.reader.read(group.name, self.lookup.record_id, ids)
        except ServiceError as error:
            raise RequestError(
                UNAVAILABLE, error.what, value=error.value, allowed=error.allowed, action=error.action
            ) from error

    def _unknown(self, group: _Group, one: RecordId, number: int) -> None:
        raise RequestError(
            422,
            f"row {number} field {self.lookup.record_id}",
            value=one,
            allowed=f"an id that feature group {group.name} has: {group.published.records} records, as known at "
            f"{group.published.as_of}",
            action=f"correct it, or send all features and no {self.lookup.record_id}",
        )


def _id(value: Any, name: str, wanted: str | None, number: int, kind: str) -> RecordId:
    """Return the id of a row as the online store has ids; as it was sent where nothing was published yet.

    Raises:
        RequestError: It is of another type.
    """
    wanted = wanted or ("bigint" if isinstance(value, int) else "string")
    place = Field(name, wanted, number)
    if value is None:
        place.refuse(bare("nothing"), f"the id of a record ({wanted})")
    if wanted != "bigint":
        return value if isinstance(value, str) else place.refuse(value, "text (string)")
    if kind == CSV:
        return int(csv_value(str(value), place))
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        place.refuse(value, "a whole number (bigint)")
    return int(value)


class _Beside:
    """Columns that are captured beside the rows of a request; rows that named no record have nothing there.

    Args:
        places: Numbers of the rows that named a record.
        size: How many rows there are.
    """

    def __init__(self, places: Sequence[int], size: int) -> None:
        self.places, self.size = places, size
        self.columns: Beside = {}

    def add(self, name: str, values: Iterable[Any]) -> None:
        """Note a column: a value for each place, or none at all."""
        column = self.columns.setdefault(name, [None] * self.size)
        for place, value in zip(self.places, values, strict=False):
            column[place] = value


@dataclass(frozen=True)
class _Group:
    """A group that is being looked up."""

    name: str
    published: Published
    served: ServedGroup
    columns: tuple[str, ...]

    def values(self, record: Record, number: int, form: Form) -> dict[str, Any]:
        """Return the served features of a record.

        Raises:
            RequestError: One has no value, and the model was not taught to fill it in.
        """
        found = {column: record.get(column) for column in self.columns}
        for column, value in found.items():
            if value is None and column not in form.optional:
                raise RequestError(
                    422,
                    f"row {number} field {column}",
                    value=bare(f"nothing in feature group {self.name}"),
                    allowed=f"a value ({form.features[column]}); the model was not taught to fill this field in",
                    action="declare pipeline.impute for it, or send all features of this row",
                )
        return found

    def age(self, record: Record, number: int, now: float) -> dict[str, Any]:
        """Return the times of a record, and how old it is in seconds.

        Raises:
            RequestError: It is older than is declared.
        """
        times = {"event_time": record[EVENT] / 1e6, "known_time": record[KNOWN] / 1e6}
        since = {
            "event": times["event_time"],
            "known": times["known_time"],
            "published": _seconds(self.published.as_of),
        }
        age = round(now - since[self.served.age], 3)
        most = self.served.maximum_age
        if most is not None and age > most.total_seconds():
            raise RequestError(
                UNAVAILABLE if self.served.age == "published" else 422,
                f"row {number} feature group {self.name}",
                value=bare(f"features {age:.0f} s old, counted from when they were {_COUNTED[self.served.age]}"),
                allowed=f"at most {most.total_seconds():.0f} s (serve.groups.{self.name}.maximum_age)",
                action="publish newer ones (run the DAG), or send all features of this row",
            )
        told = {name: datetime.fromtimestamp(value, UTC).isoformat() for name, value in times.items()}
        return {**told, "published": self.published.as_of, "age_seconds": age}


_COUNTED = {"event": "true", "known": "known", "published": "published"}


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()

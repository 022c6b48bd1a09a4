"""Rows of a request: JSON or CSV, checked field by field, with an error that says what to send instead."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare, did_you_mean

JSON, CSV = "application/json", "text/csv"
_SHAPES = '{"instances": [{field: value, …}, …]} or {"columns": [field, …], "data": [[value, …], …]}'
_INTEGERS, _NUMBERS = {"int", "bigint"}, {"int", "bigint", "double"}
_AS_NUMBERS = {*_NUMBERS, "boolean"}
_NUMBER_TYPES = {int, float}


class RequestError(InputError):
    """Refuse a request, with the HTTP status that fits."""

    def __init__(self, status: int, what: str, *, value: object, allowed: str, action: str) -> None:
        super().__init__(what, value=value, allowed=allowed, action=action)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Form:
    """What rows must look like: the model's features, which of them may be missing, how many rows."""

    features: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    max_rows: int = 1_000

    @cached_property
    def getter(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]] | None:
        """What takes all features out of a row, where all are numbers; None where one is text or a boolean."""
        names = list(self.features)
        if len(names) < 2 or not set(self.features.values()) <= _NUMBERS:
            return None
        return itemgetter(*names)

    @cached_property
    def whole(self) -> list[int]:
        """Places of the features that are whole numbers."""
        return [place for place, kind in enumerate(self.features.values()) if kind in _INTEGERS]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request's rows as they were sent, before anything is known of their fields."""

    rows: list[dict[str, Any]]
    kind: str
    explain: bool = False
    completed: frozenset[int] = frozenset()
    """Numbers of the rows that hold typed values whatever `kind` is, since features were looked up for them."""

    def explained(self, explain: bool) -> Asked:
        """Return the request with or without a wish for explanations."""
        return replace(self, explain=explain)

    def of(self, rows: list[dict[str, Any]], completed: Collection[int] = ()) -> Asked:
        """Return the request with other rows, some of which were completed."""
        return replace(self, rows=rows, completed=frozenset(completed))


def parse_request(body: bytes, content_type: str) -> Asked:
    """Return the rows of a request.

    Raises:
        RequestError: The body cannot be read (400, 415), or its rows have not as many values as columns (422).
    """
    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind not in (JSON, CSV):
        raise RequestError(
            415, "content type", value=kind, allowed=f"{JSON} or {CSV}", action="set the header Content-Type"
        )
    return _read_json(body) if kind == JSON else Asked(rows=_read_csv(body), kind=CSV)


def typed_rows(asked: Asked, form: Form) -> pd.DataFrame | npt.NDArray[np.float64]:
    """Return checked rows, columns in the model's order: a matrix where all are numbers, otherwise a frame.

    Raises:
        RequestError: There are too many rows (413), or a field is missing, extra or of a wrong type (422).
    """
    check_number(asked.rows, form)
    quick = _plain_numbers(asked, form)
    if quick is not None:
        return quick
    fields = list(form.features.items())
    values = []
    for number, row in enumerate(asked.rows):
        _check_names(row, number, form)
        parse = _json_value if asked.kind == JSON or number in asked.completed else csv_value
        values.append([_value(row[name], Field(name, kind_of, number), form, parse) for name, kind_of in fields])
    if all(kind_of in _AS_NUMBERS for _, kind_of in fields):
        # One block of numbers: thirty columns one by one cost more than the model.
        return np.array(values, dtype=np.float64)
    columns = dict(zip(form.features, zip(*values, strict=True), strict=True))
    return pd.DataFrame({name: pd.Series(found, dtype=_dtype(form, name)) for name, found in columns.items()})


def read_rows(body: bytes, content_type: str, form: Form) -> pd.DataFrame:
    """Return the rows of a request as a frame, columns in the model's order.

    Raises:
        RequestError: As `parse_request` and `typed_rows`.
    """
    return as_frame(typed_rows(parse_request(body, content_type), form), form)


def as_frame(rows: pd.DataFrame | npt.NDArray[np.float64], form: Form) -> pd.DataFrame:
    """Return checked rows as a frame."""
    return rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=list(form.features))


def _plain_numbers(asked: Asked, form: Form) -> npt.NDArray[np.float64] | None:
    """Return rows that are nothing but good numbers; None where each value must be looked at, to say which is wrong."""
    names = form.getter
    if names is None or (asked.kind != JSON and len(asked.completed) < len(asked.rows)):
        return None
    for row in asked.rows:
        if row.keys() != form.features.keys() or not _NUMBER_TYPES.issuperset(map(type, row.values())):
            return None
    try:
        block = np.array([names(row) for row in asked.rows], dtype=np.float64)
    except OverflowError:
        return None
    whole = block[:, form.whole]
    return block if np.isfinite(block).all() and (whole == np.floor(whole)).all() else None


@dataclass(frozen=True)
class Field:
    """Where a value stands."""

    name: str
    kind: str
    row: int

    def refuse(self, value: object, allowed: str) -> NoReturn:
        """Refuse the value.

        Raises:
            RequestError: Always.
        """
        raise RequestError(
            422, f"row {self.row} field {self.name}", value=value, allowed=allowed, action="correct the value"
        )


def _read_json(body: bytes) -> Asked:
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except ValueError as error:
        raise RequestError(
            400, "request body", value=bare(error), allowed=f"JSON: {_SHAPES}", action="send valid JSON"
        ) from error
    rows = _rows_of(data)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(400, "request body", value=data, allowed=_SHAPES, action="send rows in one of these shapes")
    return Asked(
        rows=rows, kind=JSON, explain=isinstance(data, dict) and _is_asked(data.get("explain", False), "explain")
    )


def _is_asked(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise RequestError(
            422, f"field {name} of the request", value=value, allowed="true or false", action="correct it"
        )
    return value


def _rows_of(data: Any) -> Any:
    """Return rows as a list of objects from any of the shapes that are in use."""
    if isinstance(data, dict):
        for name in ("instances", "records", "dataframe_records"):
            if name in data:
                return data[name]
        table = data.get("dataframe_split", data)
        if isinstance(table, dict) and {"columns", "data"} <= set(table):
            return _from_table(table["columns"], table["data"])
    return data if isinstance(data, list) else None


def _from_table(columns: Any, data: Any) -> Any:
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestError(
                422, f"row {number}", value=row, allowed=f"a list of {len(columns)} values", action="correct the row"
            )
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _read_csv(body: bytes) -> list[dict[str, Any]]:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(
            400,
            "request body",
            value=bare(error),
            allowed="CSV in UTF-8 with a header",
            action="send a header line and one line a row",
        ) from error
    lines = [line for line in lines if line]
    if not lines:
        raise RequestError(
            400, "request body", value=bare("nothing"), allowed="CSV with a header", action="send a header and rows"
        )
    rows: list[dict[str, Any]] = _from_table(lines[0], lines[1:])
    return rows


def check_number(rows: list[dict[str, Any]], form: Form) -> None:
    """Refuse a request without rows (422), or with more than one may ask for (413).

    Raises:
        RequestError: So it is.
    """
    if not rows:
        raise RequestError(
            422, "rows of the request", value=0, allowed=f"1 to {form.max_rows}", action="send at least one row"
        )
    if len(rows) > form.max_rows:
        raise RequestError(
            413,
            "rows of the request",
            value=len(rows),
            allowed=f"1 to {form.max_rows}",
            action="send fewer rows at once",
        )


def _check_names(row: dict[str, Any], number: int, form: Form) -> None:
    if row.keys() == form.features.keys():
        return
    for name in form.features:
        if name not in row:
            raise RequestError(
                422,
                f"row {number} field {name}",
                value=bare("missing"),
                allowed=f"a value ({form.features[name]})",
                action=f"send all of {', '.join(form.features)}",
            )
    extra = next(name for name in row if name not in form.features)
    raise RequestError(
        422,
        f"row {number} field {extra}",
        value=row[extra],
        allowed=did_you_mean(extra, form.features),
        action="leave it out or correct its name",
    )


def _value(value: Any, field: Field, form: Form, parse: Callable[[Any, Field], Any]) -> Any:
    if value is None or value == "":
        if field.name in form.optional or (value == "" and field.kind == "string"):
            return None
        field.refuse(bare("nothing"), f"a value ({field.kind}); the model was not taught to fill this field in")
    return parse(value, field)


def _json_value(value: Any, field: Field) -> Any:
    if field.kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            field.refuse(value, f"a number ({field.kind})")
        return _number(value, field)
    if field.kind == "boolean":
        return value if isinstance(value, bool) else field.refuse(value, "true or false")
    return value if isinstance(value, str) else field.refuse(value, f"text ({field.kind})")


def csv_value(value: str, field: Field) -> Any:
    """Return what a text of a CSV row says.

    Raises:
        RequestError: It does not say what the field is for.
    """
    if field.kind in _NUMBERS:
        try:
            return _number(float(value), field, shown=value)
        except ValueError:
            field.refuse(value, f"a number ({field.kind})")
    if field.kind == "boolean":
        known = {"true": True, "false": False, "1": True, "0": False}
        return known[value.lower()] if value.lower() in known else field.refuse(value, "true or false")
    return value


def _number(value: float, field: Field, shown: object = None) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        field.refuse(value if shown is None else shown, "a finite number")
    if field.kind in _INTEGERS and not number.is_integer():
        field.refuse(value, f"a whole number ({field.kind})")
    return number


def _dtype(form: Form, name: str) -> str:
    return "float64" if form.features[name] in _AS_NUMBERS else "object"

"""Rows of a request: JSON or CSV, checked field by field, with an error that says what to send instead."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stepzero.core.errors import InputError, bare, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

JSON, CSV = "application/json", "text/csv"
_SHAPES = '{"instances": [{field: value, …}, …]} or {"columns": [field, …], "data": [[value, …], …]}'
_INTEGERS, _NUMBERS = {"int", "bigint"}, {"int", "bigint", "double"}
_AS_NUMBERS = {*_NUMBERS, "boolean"}


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


def read_rows(body: bytes, content_type: str, form: Form) -> pd.DataFrame:
    """Return the rows of a request, columns in the model's order.

    Raises:
        RequestError: The body cannot be read (400, 415), is too long (413) or a field is wrong (422).
    """
    import numpy as np
    import pandas as pd

    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind not in (JSON, CSV):
        raise RequestError(
            415, "content type", value=kind, allowed=f"{JSON} or {CSV}", action="set the header Content-Type"
        )
    rows = _read_json(body) if kind == JSON else _read_csv(body)
    _check_number(rows, form)
    parse = _json_value if kind == JSON else _csv_value
    fields = list(form.features.items())
    values = []
    for number, row in enumerate(rows):
        _check_names(row, number, form)
        values.append([_value(row[name], Field(name, kind_of, number), form, parse) for name, kind_of in fields])
    if all(kind_of in _AS_NUMBERS for _, kind_of in fields):
        # One block of numbers: thirty columns one by one cost more than the model.
        return pd.DataFrame(np.array(values, dtype=np.float64), columns=list(form.features))
    columns = dict(zip(form.features, zip(*values, strict=True), strict=True))
    return pd.DataFrame({name: pd.Series(found, dtype=_dtype(form, name)) for name, found in columns.items()})


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


def _read_json(body: bytes) -> list[dict[str, Any]]:
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except ValueError as error:
        raise RequestError(
            400, "request body", value=bare(error), allowed=f"JSON: {_SHAPES}", action="send valid JSON"
        ) from error
    rows = _rows_of(data)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(400, "request body", value=data, allowed=_SHAPES, action="send rows in one of these shapes")
    return rows


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


def _check_number(rows: list[dict[str, Any]], form: Form) -> None:
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


def _csv_value(value: str, field: Field) -> Any:
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

"""What was known at a moment: histories of records joined by both times, never with a value from after the moment.

Of the versions of a record whose event time *and* known time are not after the moment, the one with the latest event
time is taken; of several, the one that became known last: a correction counts from when it is known. Of versions equal
in both, the one with the largest values, column by column in the order of their names, no value being least: the order
in which versions arrived has no effect. `as_known_spark` gives the same answers on Spark.

A version that may be seen at a moment may be seen ever after. So the newest visible one changes only when a version
becomes visible, and is found by looking up one moment in one sorted list: the work grows with the rows and the
versions, not with their product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.spec.features import FeatureGroup

HISTORY, ROWS = "history of a feature group", "rows to look up"
_RECORD, _SINCE, _EVENT, _KNOWN, _PLACE, _TIE, _RANK = (
    "_record",
    "_since",
    "_event",
    "_known",
    "_place",
    "_tie",
    "_rank",
)

Places = npt.NDArray[np.int64]


def as_known(history: pd.DataFrame, rows: pd.DataFrame, group: FeatureGroup, *, as_of: str) -> pd.DataFrame:
    """Return the features of each row as they were known at its moment; one line a row, in the rows' order.

    A row whose record was unknown then has no values; no row is dropped or repeated.

    Args:
        history: All versions, in any order, each as often as it was ingested.
        rows: Whom to look up: the group's record id, and a moment.
        group: What the columns of the history are.
        as_of: The column of `rows` that holds the moment.

    Raises:
        InputError: A column is missing, an id or a time has no value, or ids are text on one side and numbers on the
            other.
    """
    return _taken(history, find_versions(history, rows, group, as_of=as_of), group).set_axis(rows.index)


def find_versions(history: pd.DataFrame, rows: pd.DataFrame, group: FeatureGroup, *, as_of: str) -> Places:
    """Return where in the history each row finds what was known of it, or -1 where nothing was.

    Raises:
        InputError: As `as_known`.
    """
    asked, told = _present(rows, group.record_id, ROWS), _present(history, group.record_id, HISTORY)
    _must_be_comparable(asked, told, group.record_id)
    codes = pd.factorize(pd.concat([told, asked], ignore_index=True))[0]
    timeline = _timeline(history, group).assign(**{_RECORD: lambda found: codes[found[_PLACE]]})
    looked_up = pd.DataFrame({_RECORD: codes[len(told) :], _SINCE: _nanoseconds(rows, as_of, ROWS)})
    order = np.argsort(looked_up[_SINCE].to_numpy(), kind="stable")
    found = pd.merge_asof(looked_up.iloc[order], timeline[[_SINCE, _RECORD, _PLACE]], on=_SINCE, by=_RECORD)
    places = np.full(len(rows), -1, dtype=np.int64)
    places[order] = found[_PLACE].fillna(-1).astype(np.int64)
    return places


def snapshot(history: pd.DataFrame, group: FeatureGroup, *, as_of: Any, times: bool = False) -> pd.DataFrame:
    """Return one row for each record that was known at a moment, sorted by its id.

    Args:
        history: All versions, in any order.
        group: What its columns are.
        as_of: The moment; without a zone it is UTC.
        times: Whether to keep the times of what was taken, as ``_event_time`` and ``_known_time``.

    Raises:
        InputError: A column is missing, or an id or a time has no value.
    """
    timeline = _timeline(history, group)
    visible = timeline[timeline[_SINCE] <= utc_moment(as_of).value]
    places = visible.drop_duplicates(_RECORD, keep="last")[_PLACE].to_numpy()
    found = {group.record_id: history[group.record_id].iloc[places].reset_index(drop=True)}
    if times:
        for key, name in ((group.event_time, "_event_time"), (group.known_time, "_known_time")):
            found[name] = moments(history, key, HISTORY).iloc[places].reset_index(drop=True)
    kept = pd.concat([pd.DataFrame(found), _taken(history, places, group)], axis=1)
    return kept.sort_values(group.record_id, kind="stable").reset_index(drop=True)


def is_news(history: pd.DataFrame, rows: pd.DataFrame, group: FeatureGroup, *, by_event: bool) -> pd.Series[bool]:
    """Return which rows say something that the history did not tell at the moment that they became known.

    A row that goes back to former values is news.

    Args:
        history: All versions so far.
        rows: New ones, with both times.
        group: What the columns are.
        by_event: Whether a row is compared with what is known of its own event; else with the newest of its record,
            which is right only where every event is as new as the moment it is ingested at.
    """
    features = feature_names(rows, group)
    told = history[[*group.keys, *features]].assign(_there=1.0)
    asked = rows.assign(
        _moment=moments(rows, group.event_time, "rows").combine(moments(rows, group.known_time, "rows"), max)
    )
    if by_event:
        told, asked = _keyed(told, group), _keyed(asked, group)
        group = group.model_copy(update={"record_id": "_key"})
    known = as_known(told, asked, group, as_of="_moment")
    same = known["_there"].notna()
    for name in features:
        same &= (rows[name] == known[name]) | (rows[name].isna() & known[name].isna())
    return ~same


def _keyed(frame: pd.DataFrame, group: FeatureGroup) -> pd.DataFrame:
    event = moments(frame, group.event_time, "rows").astype("int64").astype(str)
    return frame.assign(_key=frame[group.record_id].astype(str) + "@" + event).drop(columns=group.record_id)


def training_set(
    rows: pd.DataFrame,
    histories: Mapping[str, tuple[FeatureGroup, pd.DataFrame]],
    *,
    as_of: str,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return rows with the features of every group as known at their moments, and how many rows each group misses.

    Raises:
        InputError: Two groups, or a group and the rows, have a column of the same name.
    """
    joined, missing = rows, {}
    for name, (group, history) in histories.items():
        must_be_new(name, feature_names(history, group), joined.columns)
        places = find_versions(history, rows, group, as_of=as_of)
        joined = pd.concat([joined, _taken(history, places, group).set_axis(rows.index)], axis=1)
        missing[name] = int((places < 0).sum())
    return joined, missing


def must_be_new(name: str, features: Iterable[str], there: Iterable[str]) -> None:
    """Refuse a group's features where columns of these names are there already.

    Raises:
        InputError: Two groups, or a group and the rows, have a column of the same name.
    """
    twice = sorted(set(features) & set(there))
    if twice:
        raise InputError(
            f"feature group {name}",
            value=bare(f"columns that are there already: {', '.join(twice)}"),
            allowed="names that neither the rows nor another group have",
            action="rename them before they are ingested",
        )


def feature_names(history: pd.DataFrame, group: FeatureGroup) -> list[str]:
    """Return the columns of a history that are features.

    Raises:
        InputError: A key column is missing.
    """
    for name in group.keys:
        _column(history, name, HISTORY)
    return [str(name) for name in history.columns if name not in group.keys]


def moments(frame: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    """Return a column of times in UTC: dates, timestamps, ISO texts, or seconds since 1970. Without a zone it is UTC.

    Raises:
        InputError: The column is missing, or a time has no value or cannot be read.
    """
    values = _present(frame, name, what)
    try:
        if pd.api.types.is_numeric_dtype(values):
            return pd.to_datetime(values, utc=True, unit="s").astype("datetime64[ns, UTC]")
        return pd.to_datetime(values, utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what}, column {name}",
            value=bare(str(error).splitlines()[0]),
            allowed="dates, timestamps, ISO texts, or seconds since 1970",
            action="derive a time from it",
        ) from error


def utc_moment(as_of: Any) -> pd.Timestamp:
    """Return a moment in UTC; without a zone it is UTC already."""
    moment = pd.Timestamp(as_of)
    return (moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")).as_unit("ns")


def _taken(history: pd.DataFrame, places: Places, group: FeatureGroup) -> pd.DataFrame:
    """Return the features at these places of the history; no values where a place is -1."""
    known = np.flatnonzero(places >= 0)
    found = history[feature_names(history, group)].iloc[places[known]]
    return found.set_axis(known).reindex(range(len(places)))


def _timeline(history: pd.DataFrame, group: FeatureGroup) -> pd.DataFrame:
    """Return which version is the newest of its record from when on, sorted by that moment.

    Versions that are never the newest are left out: they became known after a newer event already was.
    """
    versions = _versions(history, group)
    ranked = versions.iloc[np.lexsort((versions[_TIE], versions[_KNOWN], versions[_EVENT]))]
    ranked = ranked.assign(**{_RANK: np.arange(len(ranked)), _SINCE: np.maximum(ranked[_EVENT], ranked[_KNOWN])})
    ordered = ranked.iloc[np.argsort(ranked[_SINCE].to_numpy(), kind="stable")]
    newest = ordered.groupby(_RECORD, sort=False)[_RANK].cummax()
    return ordered.loc[newest == ordered[_RANK], [_RECORD, _SINCE, _PLACE]]


def _versions(history: pd.DataFrame, group: FeatureGroup) -> pd.DataFrame:
    """Return who, when and where of each version; the values stay in the history until it is known which are wanted."""
    found = pd.DataFrame(
        {
            _RECORD: pd.factorize(_present(history, group.record_id, HISTORY))[0],
            _EVENT: _nanoseconds(history, group.event_time, HISTORY),
            _KNOWN: _nanoseconds(history, group.known_time, HISTORY),
            _PLACE: np.arange(len(history), dtype=np.int64),
            _TIE: np.zeros(len(history), dtype=np.int64),
        }
    )
    tied = np.flatnonzero(found.duplicated([_RECORD, _EVENT, _KNOWN], keep=False))
    names = sorted(feature_names(history, group))
    if len(tied) and names:
        values = history[names].iloc[tied].set_axis(tied)
        found.loc[values.sort_values(names, na_position="first", kind="stable").index, _TIE] = np.arange(len(tied))
    return found


def _nanoseconds(frame: pd.DataFrame, name: str, what: str) -> Places:
    return np.asarray(moments(frame, name, what).astype("int64"), dtype=np.int64)


def _must_be_comparable(asked: pd.Series[Any], told: pd.Series[Any], name: str) -> None:
    """Refuse ids that would never be equal: 7 is not "7".

    Raises:
        InputError: They are numbers on one side only.
    """
    numbers = [pd.api.types.is_numeric_dtype(values) for values in (asked, told)]
    if numbers[0] != numbers[1] and len(asked) and len(told):
        raise InputError(
            f"{ROWS}, column {name}",
            value=bare(f"type {asked.dtype}"),
            allowed=f"ids as the history has them: {told.dtype}",
            action="cast one of them, in the transforms of its table",
        )


def _present(frame: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    values = _column(frame, name, what)
    if values.isna().any():
        raise InputError(
            f"{what}, column {name}",
            value=bare(f"{int(values.isna().sum())} rows without a value"),
            allowed="a value in every row",
            action="let the quality gate ask for it: {rule: complete, columns: [...]}",
        )
    return values


def _column(frame: pd.DataFrame, name: str, what: str) -> pd.Series[Any]:
    if name not in frame.columns:
        known = [str(column) for column in frame.columns]
        raise InputError(
            f"{what}, column {name}", value=bare("missing"), allowed=did_you_mean(name, known), action="correct it"
        )
    return frame[name]

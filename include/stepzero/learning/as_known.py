"""What was known at a moment: histories of records joined by both times, never with a value from after the moment.

Of the versions of a record whose event time *and* known time are not after the moment, the one with the latest event
time is taken; of several, the one that became known last: a correction counts from when it is known. Of versions equal
in both, the one with the largest digest of its values: the order in which versions arrived has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.spec.features import FeatureGroup

_ROW, _AS_OF, _EVENT, _KNOWN, _PLACE, _TIE = "_row", "_as_of", "_event", "_known", "_place", "_tie"


def as_known(history: pd.DataFrame, rows: pd.DataFrame, group: FeatureGroup, *, as_of: str) -> pd.DataFrame:
    """Return the features of each row as they were known at its moment; one line a row, in the rows' order.

    A row whose record was unknown then has no values; no row is dropped or repeated. Takes memory for every version of
    the records asked for, times the rows that ask for it.

    Args:
        history: All versions, in any order, each as often as it was ingested.
        rows: Whom to look up: the group's record id, and a moment.
        group: What the columns of the history are.
        as_of: The column of `rows` that holds the moment.

    Raises:
        InputError: A column is missing, or an id or a time has no value.
    """
    asked = pd.DataFrame(
        {
            group.record_id: _present(rows, group.record_id, "rows to look up").reset_index(drop=True),
            _AS_OF: moments(rows, as_of, "rows to look up").reset_index(drop=True),
            _ROW: range(len(rows)),
        }
    )
    candidates = asked.merge(_versions(history, group), on=group.record_id, how="inner")
    known = candidates[(candidates[_EVENT] <= candidates[_AS_OF]) & (candidates[_KNOWN] <= candidates[_AS_OF])]
    latest = known.sort_values([_ROW, _EVENT, _KNOWN, _TIE], kind="stable").drop_duplicates(_ROW, keep="last")
    taken = history[feature_names(history, group)].iloc[latest[_PLACE].to_numpy()]
    return taken.set_axis(latest[_ROW].to_numpy()).reindex(range(len(rows))).set_axis(rows.index)


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
    moment = pd.Timestamp(as_of)
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    versions = _versions(history, group)
    known = versions[(versions[_EVENT] <= moment) & (versions[_KNOWN] <= moment)]
    latest = known.sort_values([group.record_id, _EVENT, _KNOWN, _TIE], kind="stable")
    kept = latest.drop_duplicates(group.record_id, keep="last")
    features = history[feature_names(history, group)].iloc[kept[_PLACE].to_numpy()].reset_index(drop=True)
    named = {group.record_id: group.record_id, **({_EVENT: "_event_time", _KNOWN: "_known_time"} if times else {})}
    return pd.concat([kept[list(named)].rename(columns=named).reset_index(drop=True), features], axis=1)


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
        twice = sorted(set(feature_names(history, group)) & set(joined.columns))
        if twice:
            raise InputError(
                f"feature group {name}",
                value=bare(f"columns that are there already: {', '.join(twice)}"),
                allowed="names that neither the rows nor another group have",
                action="rename them before they are ingested",
            )
        found = as_known(history, rows, group, as_of=as_of)
        known = snapshot_ids(history, rows, group, as_of=as_of)
        joined, missing[name] = pd.concat([joined, found], axis=1), int((~known).sum())
    return joined, missing


def snapshot_ids(history: pd.DataFrame, rows: pd.DataFrame, group: FeatureGroup, *, as_of: str) -> pd.Series[bool]:
    """Return which rows' records were known at their moments, whatever their values are."""
    keys = history[list(group.keys)].assign(_there=True)
    return as_known(keys, rows, group, as_of=as_of)["_there"].notna()


def feature_names(history: pd.DataFrame, group: FeatureGroup) -> list[str]:
    """Return the columns of a history that are features.

    Raises:
        InputError: A key column is missing.
    """
    for name in group.keys:
        _column(history, name, "history of a feature group")
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


def _versions(history: pd.DataFrame, group: FeatureGroup) -> pd.DataFrame:
    """Return who, when and where of each version; the values stay in the history until it is known which are wanted."""
    what = "history of a feature group"
    found = pd.DataFrame(
        {
            group.record_id: _present(history, group.record_id, what).to_numpy(),
            _EVENT: moments(history, group.event_time, what).reset_index(drop=True),
            _KNOWN: moments(history, group.known_time, what).reset_index(drop=True),
            _PLACE: range(len(history)),
            _TIE: 0,
        }
    ).astype({_TIE: "uint64"})
    tied = found.duplicated([group.record_id, _EVENT, _KNOWN], keep=False)
    values = history[feature_names(history, group)].iloc[tied.to_numpy().nonzero()[0]]
    if len(values.columns):
        found.loc[tied, _TIE] = pd.util.hash_pandas_object(values, index=False).to_numpy()
    return found


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

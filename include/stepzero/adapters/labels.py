"""Ground truth that arrives after the prediction: by id, in any order, and corrected as often as it takes.

    labels/USE_CASE/2026-11-28/0123456789abcdef.parquet

The folder is the day on which the labels became known, the name is the content's digest: a file lands once. Nothing
is overwritten; of an id's labels the one that became known last, up to the moment that is asked for, counts.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.adapters.captured import AT, ID, RECORD
from stepzero.core.digests import digest_file
from stepzero.core.errors import InputError, bare, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.store import Store
    from stepzero.spec.data import Problem

LABEL, KNOWN_AT = "label", "known_at"
COLUMNS = ("id", LABEL, KNOWN_AT)


def land_labels(store: Store, use_case: str, problem: Problem, path: Path) -> dict[str, int]:
    """Bring a file of labels (CSV or Parquet with id, label and known_at) into the store; return rows per day.

    Of a classification the label is kept as 1 where it is the positive class, else 0.

    Raises:
        InputError: The file lacks a column, or a row an id, a label or a time.
    """
    import tempfile

    frame = _read(path)
    ids = frame["id"].astype("string").str.strip()
    times, told = _times(frame[KNOWN_AT], path), _label(frame[LABEL], problem, path)
    if ids.isna().any() or (ids == "").any():
        raise _wrong(path, f"{int((ids.isna() | (ids == '')).sum())} rows without id", "an id in every row")
    made = frame.assign(id=ids.astype("object"), label=told, known_at=times)[list(COLUMNS)]
    days: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="stepzero-") as folder:
        for day, rows in made.groupby(times.dt.strftime("%Y-%m-%d"), sort=True):
            part = Path(folder) / f"{day}.parquet"
            rows.to_parquet(part, index=False)
            uri = f"{_folder(use_case)}/{day}/{digest_file(part)[:16]}.parquet"
            if not store.exists(uri):
                store.put(part, uri)
            days[str(day)] = len(rows)
    return days


def read_labels(store: Store, use_case: str, since: datetime, as_of: datetime) -> pd.DataFrame:
    """Return id, label and known_at of what became known from one moment to another: one row an id, the latest word."""
    import pandas as pd

    first, last = since.strftime("%Y-%m-%d"), as_of.strftime("%Y-%m-%d")
    frames = []
    for uri in store.list(_folder(use_case)):
        day = uri.split("/")[2]
        if first <= day <= last and uri.endswith(".parquet") and not uri.rpartition("/")[2].startswith("."):
            with store.open(uri) as stream:
                frames.append(pd.read_parquet(stream))
    if not frames:
        return pd.DataFrame({"id": pd.Series(dtype="object"), LABEL: pd.Series(dtype="float64"), KNOWN_AT: _no_times()})
    found = pd.concat(frames, ignore_index=True)
    found = found[found[KNOWN_AT] <= as_of].sort_values(KNOWN_AT, kind="stable")
    return found.drop_duplicates("id", keep="last").reset_index(drop=True)


def join_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return captured rows with their labels, and of how many rows it is unclear whether a label is theirs.

    A label is named by a row's id, or by the id of the record that the row named, where the endpoint looked it up. By
    a record it counts for the one row that named it; only after that row was answered; and not where a row has that
    id itself. Rows that nobody has labelled yet have none.
    """
    import pandas as pd

    named = labels.rename(columns={"id": ID})
    joined = rows.merge(named, on=ID, how="left", validate="many_to_one")
    if RECORD not in rows or labels.empty:
        return joined, 0
    by_record = rows[[RECORD]].merge(named, left_on=RECORD, right_on=ID, how="left", validate="many_to_one")
    found = (by_record[LABEL].notna() & joined[LABEL].isna()).to_numpy()
    found &= (by_record[KNOWN_AT] >= pd.to_datetime(rows[AT].reset_index(drop=True), utc=True)).to_numpy()
    unclear = found & (rows[RECORD].duplicated(keep=False) | rows[RECORD].isin(set(rows[ID]))).to_numpy()
    taken = found & ~unclear
    for name in (LABEL, KNOWN_AT):
        joined[name] = joined[name].where(~taken, by_record[name])
    return joined, int(unclear.sum())


def _folder(use_case: str) -> str:
    return f"labels/{use_case}"


def _no_times() -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(dtype="datetime64[ns, UTC]")


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise InputError(f"label file {path}", value=bare("no such file"), allowed="a file", action="correct the path")
    is_parquet = path.suffix == ".parquet"
    frame = pd.read_parquet(path) if is_parquet else pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        near = did_you_mean(missing[0], [str(name) for name in frame.columns])
        raise _wrong(path, f"no column {', '.join(missing)}; {near}", f"the columns {', '.join(COLUMNS)}")
    if frame.empty:
        raise _wrong(path, "no rows", "at least one label")
    return frame


def _times(values: pd.Series[Any], path: Path) -> pd.Series[Any]:
    import pandas as pd

    times = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    if times.isna().any():
        raise _wrong(path, f"{int(times.isna().sum())} rows without {KNOWN_AT}", "ISO 8601 in every row")
    return times.astype("datetime64[ns, UTC]")


def _label(values: pd.Series[Any], problem: Problem, path: Path) -> pd.Series[Any]:
    import pandas as pd

    missing = values.isna() | (values.astype(str) == "")
    if missing.any():
        raise _wrong(path, f"{int(missing.sum())} rows without label", "a label in every row, no others")
    if problem.kind == "classification" and isinstance(problem.positive, str):
        return (values.astype(str) == problem.positive).astype("float64")
    words = values.astype(str).str.lower().map({"true": "1", "false": "0"})
    numbers = pd.to_numeric(words.fillna(values.astype(str)), errors="coerce").astype("float64")
    if numbers.isna().any():
        raise _wrong(path, f"labels such as {values[numbers.isna()].iloc[0]!r}", "numbers, as the target is one")
    return (numbers == float(problem.positive or 0)).astype("float64") if problem.kind == "classification" else numbers


def _wrong(path: Path, value: str, allowed: str) -> InputError:
    return InputError(
        f"label file {path}", value=bare(value), allowed=allowed, action="correct the file; nothing was landed"
    )

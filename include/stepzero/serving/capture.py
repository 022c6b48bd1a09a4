"""Keep what an endpoint was asked and what it answered, without ever making a caller wait.

An answered request is put into a queue in memory; a thread of its own writes the queue to the store at a declared
interval. When the store is slow or gone the queue grows to its bound; then requests are dropped from the capture,
never from the service, and counted.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stepzero.adapters import captured as columns
from stepzero.adapters.captured import Part, hour_folder, hour_of, merge_parts, write_part
from stepzero.core.digests import digest_text
from stepzero.core.errors import InputError, StepzeroError, shorten
from stepzero.serving.rows import RequestError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from stepzero.adapters.store import Store
    from stepzero.measures.checks import Floats
    from stepzero.serving.invocation import Prediction
    from stepzero.serving.scoring import Rows
    from stepzero.spec.environment import Capture as Settings

log = logging.getLogger("stepzero")

REQUEST_HEADER, ANSWER_HEADER = "x-request-id", "X-Stepzero-Request"
"""A caller may name a request; the answer tells the name in any case."""
PROBE_HEADER = "x-stepzero-probe"
"""A request that only proves that the endpoint works is no traffic, and not kept."""
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LONGEST_REASON = 300
_SETTLED = 2
"""Intervals after an hour's end from which its files are merged."""
Clock = Callable[[], datetime]


@dataclass
class Exchange:
    """One request and what became of it."""

    request: str
    at: datetime
    began: float = field(default_factory=time.perf_counter)
    latency_ms: float = 0.0
    status: int = 200
    refused: str | None = None
    version: str | None = None
    model: str | None = None
    rows: Rows | None = None
    """As they were scored: a frame, or a matrix with `features` as its columns."""
    features: tuple[str, ...] = ()
    scores: Floats | None = None
    threshold: float | None = None
    lines: Floats | None = None
    """The threshold of each row, where groups have their own."""
    beside: Mapping[str, list[Any]] = field(default_factory=dict)
    """Columns that no model takes, looked up by a record's id, and that id."""
    body: bytes | None = None
    """Kept only where rows may have ids of their own."""
    is_probe: bool = False

    @property
    def size(self) -> int:
        """Return how many rows it adds to the capture."""
        return 1 if self.scores is None else len(self.scores)

    def answered(self, made: Prediction, body: bytes) -> None:
        """Note what was answered."""
        served = made.served
        self.version, self.model, self.threshold = served.version, served.model_digest, served.threshold
        self.rows, self.scores, self.lines, self.beside = made.rows, made.scores, made.lines, made.beside
        self.features = () if hasattr(made.rows, "columns") else tuple(served.model.asked)
        self.body = body if b'"ids"' in body else None

    def ids(self) -> list[str]:
        """Return an id for each row: the caller's ``ids`` of a JSON body, or the request's name and a number."""
        named = _ids_in(self.body)
        if named is not None and len(named) == self.size:
            return named
        return [f"{self.request}.{number}" for number in range(self.size)]


class Capture:
    """A bounded queue and the thread that empties it.

    Args:
        store: Where windows are kept.
        use_case: Whose traffic it is.
        settings: How often to write, how much to hold, which share to keep.
        clock: What time it is; for replays of earlier days.
    """

    def __init__(
        self, store: Store, use_case: str, settings: Settings, *, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        self.store, self.use_case, self.settings, self.clock = store, use_case, settings, clock
        self.process = uuid.uuid4().hex[:12]
        self._counts = dict.fromkeys(("requests", "rows", "written", "dropped"), 0)
        self._waiting: list[Exchange] = []
        self._waiting_rows, self._flushes = 0, 0
        self._hours: dict[datetime, list[Part]] = {}
        self._lock, self._one_at_a_time = threading.Lock(), threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()
        if self._waiting:
            log.error("capture: %d rows are lost: the store could not be written at the end", self._waiting_rows)

    def counts(self) -> dict[str, int]:
        """Return how many requests and rows came, and how many rows were written, dropped, or still wait."""
        with self._lock:
            return {**self._counts, "waiting": self._waiting_rows}

    def offer(self, exchange: Exchange) -> bool:
        """Take a request into the queue; return False, at once, where there is no room."""
        if not self._is_kept(exchange.request):
            return True
        with self._lock:
            self._counts["requests"] += 1
            self._counts["rows"] += exchange.size
            if self._waiting_rows + exchange.size > self.settings.queue_rows:
                self._counts["dropped"] += exchange.size
                return False
            self._waiting.append(exchange)
            self._waiting_rows += exchange.size
            is_filling = self._waiting_rows > self.settings.queue_rows // 2
        if is_filling:
            self._wake.set()
        return True

    def flush(self) -> bool:
        """Write what waits; return False, and keep it, where the store refuses."""
        with self._one_at_a_time:
            with self._lock:
                taken, self._waiting = self._waiting, []
            left = self._write(taken)
            with self._lock:
                self._waiting = left + self._waiting
                self._waiting_rows = sum(one.size for one in self._waiting)
            return not left

    def merge(self) -> None:
        """Merge the files of hours that are over."""
        settled = self.clock() - timedelta(seconds=_SETTLED * self.settings.flush_seconds)
        for hour in [hour for hour in self._hours if hour + columns.HOUR <= settled]:
            parts = self._hours.pop(hour)
            if len(parts) > 1:
                merge_parts(self.store, hour_folder(self.use_case, hour), parts)

    def _run(self) -> None:
        dropped = 0
        while not self._stopping.is_set():
            self._wake.wait(self.settings.flush_seconds)
            self._wake.clear()
            try:
                if self.flush():
                    self.merge()
                elif not self._stopping.is_set():
                    self._stopping.wait(self.settings.flush_seconds)
            except StepzeroError as error:
                log.warning("capture: hours that are over stay in many files: %s", error)
            except Exception:  # whatever goes wrong here, the service goes on
                log.exception("capture failed unexpectedly")
            now = self.counts()["dropped"]
            if now > dropped:
                log.error("capture: %d rows dropped since the last word, %d in all: %s", now - dropped, now, _WHY)
                dropped = now

    def _write(self, taken: list[Exchange]) -> list[Exchange]:
        """Write exchanges hour by hour and version by version; return those that could not be written."""
        groups: dict[datetime, list[Exchange]] = {}
        for one in taken:
            groups.setdefault(hour_of(one.at), []).append(one)
        files = [(hour, part) for hour, exchanges in sorted(groups.items()) for part in _by_version(exchanges)]
        for number, (hour, exchanges) in enumerate(files):
            table = self._tabled(exchanges)
            if table is None:
                continue
            part = Part(self.process, self._flushes + 1, self._flushes + 1)
            try:
                write_part(self.store, hour_folder(self.use_case, hour), part, table)
            except (StepzeroError, OSError) as error:
                log.error("capture: rows wait, the store cannot be written: %s", error)
                return [one for _, group in files[number:] for one in group]
            self._flushes += 1
            self._hours.setdefault(hour, []).append(part)
            with self._lock:
                self._counts["written"] += len(table)
        return []

    def _tabled(self, exchanges: list[Exchange]) -> pa.Table | None:
        """Return exchanges as a table; what no table can hold is dropped alone, and counted."""
        import pyarrow as pa

        try:
            return _table(exchanges)
        except (pa.ArrowException, TypeError, ValueError) as error:
            rows = sum(one.size for one in exchanges)
            log.error("capture: %d rows of version %s cannot be kept: %s", rows, exchanges[-1].version, error)
            with self._lock:
                self._counts["dropped"] += rows
            return None

    def _is_kept(self, request: str) -> bool:
        return self.settings.share == 1 or int(digest_text(request)[:8], 16) < self.settings.share * 16**8


class Recorder:
    """What the application holds: it names every request, and hands it to the capture if there is one."""

    def __init__(self, capture: Capture | None = None) -> None:
        self.capture = capture

    def start(self) -> None:
        """Begin."""
        if self.capture is not None:
            self.capture.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        if self.capture is not None:
            self.capture.stop()

    def counts(self) -> dict[str, int] | None:
        """Return the capture's counts; None where nothing is captured."""
        return None if self.capture is None else self.capture.counts()

    @contextmanager
    def exchange(self, headers: Mapping[str, str]) -> Iterator[Exchange]:
        """Record a request that is being answered; one that is refused for its content is recorded, too.

        Raises:
            RequestError: The caller's name for it is none that we take.
        """
        clock = self.capture.clock if self.capture else _now
        exchange = Exchange(request=_name(headers), at=clock(), is_probe=PROBE_HEADER in headers)
        try:
            yield exchange
        except InputError as error:
            exchange.status = getattr(error, "status", 422)
            exchange.refused = f"{error.what}: got {shorten(error.value)}. Allowed: {error.allowed}"[:_LONGEST_REASON]
            if exchange.status < 500:
                self._offer(exchange)
            raise
        self._offer(exchange)

    def _offer(self, exchange: Exchange) -> None:
        if self.capture is not None and not exchange.is_probe:
            exchange.latency_ms = (time.perf_counter() - exchange.began) * 1000
            self.capture.offer(exchange)


_WHY = (
    "no table could hold them, or the queue was full: raise its queue_rows in the environment file, or mend the store"
)


def _now() -> datetime:
    return datetime.now(UTC)


def _name(headers: Mapping[str, str]) -> str:
    given = headers.get(REQUEST_HEADER)
    if given is None:
        return uuid.uuid4().hex
    if not _NAME.fullmatch(given):
        raise RequestError(
            400,
            "header X-Request-Id",
            value=given,
            allowed="1 to 64 letters, digits and . _ : -",
            action="send such a name, or none: the answer tells the one that it got",
        )
    return given


def _ids_in(body: bytes | None) -> list[str] | None:
    if body is None:
        return None
    try:
        found = json.loads(body).get("ids")
    except (ValueError, AttributeError):
        return None
    return [str(one) for one in found] if isinstance(found, list) else None


def _by_version(exchanges: list[Exchange]) -> list[list[Exchange]]:
    """Return exchanges version by version: a swap may change a feature's type. Refused ones go with the first."""
    groups: dict[str | None, list[Exchange]] = {}
    for one in exchanges:
        groups.setdefault(one.version, []).append(one)
    refused = groups.pop(None, [])
    first, *others = list(groups.values()) or [[]]
    return [[*refused, *first], *others]


def _table(exchanges: list[Exchange]) -> pa.Table:
    """Return the rows of exchanges of one version as one table; refused ones have no features."""
    import pyarrow as pa

    groups: dict[tuple[str, ...], list[Exchange]] = {}
    for one in exchanges:
        names = () if one.rows is None else _names(one)
        groups.setdefault(names, []).append(one)
    return pa.concat_tables([_columns(names, group) for names, group in groups.items()], promote_options="permissive")


def _names(one: Exchange) -> tuple[str, ...]:
    return tuple(map(str, getattr(one.rows, "columns", one.features)))


def _frame(exchanges: list[Exchange]) -> pd.DataFrame:
    """Return the rows of exchanges that have the same columns; matrices are made a frame here, where nobody waits."""
    import numpy as np
    import pandas as pd

    matrices = [one.rows for one in exchanges if isinstance(one.rows, np.ndarray)]
    if len(matrices) == len(exchanges):
        return pd.DataFrame(np.concatenate(matrices), columns=list(exchanges[0].features))
    return pd.concat([pd.DataFrame(one.rows, columns=list(_names(one))) for one in exchanges], ignore_index=True)


def _lines(one: Exchange) -> Floats:
    """Return the threshold of each row; no number where there is none."""
    import numpy as np

    return one.lines if one.lines is not None else np.full(one.size, np.nan if one.threshold is None else one.threshold)


def _array(values: list[Any]) -> pa.Array:
    """Return looked-up values as they are; as text where a group was published with another type meanwhile."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in values])


def _columns(names: tuple[str, ...], exchanges: list[Exchange]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    sizes = [one.size for one in exchanges]

    def repeated(name: str) -> Any:
        return [value for one, size in zip(exchanges, sizes, strict=True) for value in [getattr(one, name)] * size]

    scores = np.concatenate([np.full(1, np.nan) if one.scores is None else one.scores for one in exchanges])
    lines = np.concatenate([_lines(one) for one in exchanges])
    decisions = np.where(np.isnan(scores) | np.isnan(lines), np.nan, (scores >= lines).astype(np.float64))
    arrays = {
        columns.ID: pa.array([name for one in exchanges for name in one.ids()], pa.string()),
        columns.REQUEST: pa.array(repeated("request"), pa.string()),
        columns.AT: pa.array(repeated("at"), pa.timestamp("us", "UTC")),
        columns.STATUS: pa.array(repeated("status"), pa.int64()),
        columns.VERSION: pa.array(repeated("version"), pa.string()),
        columns.MODEL: pa.array(repeated("model"), pa.string()),
        columns.SCORE: pa.array(scores, pa.float64(), from_pandas=True),
        columns.DECISION: pa.array(decisions, pa.float64(), from_pandas=True),
        columns.LATENCY: pa.array(repeated("latency_ms"), pa.float64()),
        columns.REFUSED: pa.array(repeated("refused"), pa.string()),
    }
    for name in dict.fromkeys(name for one in exchanges for name in one.beside):
        arrays[name] = _array([value for one in exchanges for value in one.beside.get(name) or [None] * one.size])
    if names:
        rows = _frame([one for one in exchanges if one.rows is not None])
        for name in names:
            arrays[name] = pa.array(rows[name], from_pandas=True)
    return pa.table(arrays)

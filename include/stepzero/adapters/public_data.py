"""Real data that anybody may fetch: where it is, and what must be true of it when it arrives."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stepzero.core.errors import InputError, ServiceError, bare, did_you_mean

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class PublicData:
    """A public file, and the figures by which it is known again."""

    uri: str
    licence: str
    target: str
    rows: int
    positives: int
    """Rows whose target is 1."""


PUBLIC: dict[str, PublicData] = {
    "credit_card_fraud": PublicData(
        uri="https://storage.googleapis.com/download.tensorflow.org/data/creditcard.csv",
        licence="Machine Learning Group of ULB and Worldline, Database Contents License 1.0",
        target="Class",
        rows=284_807,
        positives=492,
    )
}
"""Use case → its public data."""


def public_data(use_case: str) -> PublicData:
    """Return where a use case's public data are.

    Raises:
        InputError: There are none.
    """
    if use_case not in PUBLIC:
        raise InputError(
            f"public data of use case {use_case}",
            value=use_case,
            allowed=did_you_mean(use_case, PUBLIC),
            action=f"land a file of your own: bin/run --use-case {use_case} --data FILE",
        )
    return PUBLIC[use_case]


def fetch(data: PublicData, path: Path, say: Callable[[str], None]) -> None:
    """Download a public file, count it, and put it at its place; a file that is not what it should be is thrown away.

    Args:
        data: Where it is and what must be true of it.
        path: Where it goes; written in one step, at the end.
        say: Told of the progress, every ten per cent or twenty megabytes.

    Raises:
        ServiceError: It cannot be reached, or the connection breaks.
        InputError: Its rows are not as many as they should be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for chunk in _download(data.uri, say):
                stream.write(chunk)
        _check(data, part)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _download(uri: str, say: Callable[[str], None]) -> Iterator[bytes]:
    import httpx

    try:
        with httpx.stream("GET", uri, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as answer:
            answer.raise_for_status()
            size, done, told = int(answer.headers.get("content-length", 0)), 0, 0
            step = size // 10 if size else 20 * _CHUNK_BYTES
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                yield chunk
                done += len(chunk)
                if done - told >= step or done == size:
                    told = done
                    say(f"{done / 1e6:.0f} MB" + (f" of {size / 1e6:.0f}" if size else ""))
    except httpx.HTTPError as error:
        raise ServiceError(
            f"public data at {uri}",
            value=bare(f"{type(error).__name__}: {error}"),
            allowed="an answer with the file",
            action="check the network, try again later, or name another copy with --source",
        ) from error


def _check(data: PublicData, path: Path) -> None:
    """Count rows and positives, so that a cut, changed or wrong file is never taken for the real one."""
    rows, positives = _count(path, data.target)
    if (rows, positives) != (data.rows, data.positives):
        raise InputError(
            f"public data at {data.uri}",
            value=bare(f"{rows:,} rows, {positives:,} of them with {data.target} = 1"),
            allowed=f"{data.rows:,} rows, {data.positives:,} of them with {data.target} = 1",
            action="name a whole copy with --source; nothing was written",
        )


def _count(path: Path, target: str) -> tuple[int, int]:
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        lines = csv.reader(stream)
        header = next(lines, [])
        if target not in header:
            return sum(1 for _ in lines), 0
        place = header.index(target)
        values = [line[place] if len(line) == len(header) else "" for line in lines]
    return len(values), values.count("1")

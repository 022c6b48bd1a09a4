"""The results of two machines, stage by stage: equal digests, equal content, or how far apart."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from arm64.lane.values import Gap, array_gaps, file_gaps, frame_gaps, gaps
from stepzero.adapters.datasets import manifest_of, read_frame
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.learning.model import ESTIMATOR, load_model

ADDRESS = math.inf
"""Bound of what is no number and must differ: the address of a service, a path with a key in it."""


@dataclass(frozen=True)
class Side:
    """A finished stage on one machine."""

    store: Store
    result: dict[str, Any]
    """What lies at the result's URI."""


@dataclass(frozen=True)
class Bound:
    """How far results may be apart, and why they are apart at all."""

    stage: str
    """Stage and label, with ``*``."""
    place: str
    largest: float
    reason: str

    def covers(self, stage: str, gap: Gap) -> bool:
        """Tell whether a gap is expected."""
        known = fnmatch.fnmatchcase(stage, self.stage) and fnmatch.fnmatchcase(gap.place, self.place)
        return known and gap.largest <= self.largest


@dataclass(frozen=True)
class Comparison:
    """One stage on both machines."""

    stage: str
    """Stage and label."""
    equal: bool
    """Whether the digests of the results are equal: to the last bit, files included."""
    same_key: bool
    """Whether a store that both share would give one's result to the other."""
    gaps: tuple[Gap, ...] = ()
    bytes_only: tuple[str, ...] = ()
    """Outputs with equal content in different bytes."""

    def largest(self, bounds: tuple[Bound, ...]) -> float:
        """Return the largest difference of content, addresses left out."""
        addresses = [bound for bound in bounds if bound.largest == ADDRESS]
        numbers = [gap.largest for gap in self.gaps if not any(bound.covers(self.stage, gap) for bound in addresses)]
        return max(numbers, default=0.0)

    def unexplained(self, bounds: tuple[Bound, ...]) -> list[Gap]:
        """Return the gaps that no bound covers."""
        return [gap for gap in self.gaps if not any(bound.covers(self.stage, gap) for bound in bounds)]

    def reasons(self, bounds: tuple[Bound, ...]) -> list[Bound]:
        """Return the bounds that explain the gaps, each once."""
        return [bound for bound in bounds if any(bound.covers(self.stage, gap) for gap in self.gaps)]


def compare(stage: str, native: Side, other: Side, rows: pd.DataFrame | None = None) -> Comparison:
    """Compare one finished stage: by digests first, by content where they differ.

    Models count by the scores they give to `rows`: both are loaded here, whoever fitted them.
    """
    same_key = native.result["key"] == other.result["key"]
    if native.result["digest"] == other.result["digest"]:
        return Comparison(stage, equal=True, same_key=same_key)
    found = list(gaps(native.result["values"], other.result["values"], "values"))
    found += gaps(_outcome(native), _outcome(other), "outcome")
    bytes_only = []
    for name in sorted({*native.result["outputs"], *other.result["outputs"]}):
        apart = list(_output_gaps(name, native, other, rows))
        found += apart
        if not apart and _digest(native, name) != _digest(other, name):
            bytes_only.append(name)
    different = {"gaps": tuple(found), "bytes_only": tuple(bytes_only)}
    return Comparison(stage, equal=False, same_key=same_key, **different)


def _output_gaps(name: str, native: Side, other: Side, rows: pd.DataFrame | None) -> Iterator[Gap]:
    if name not in native.result["outputs"] or name not in other.result["outputs"]:
        yield Gap(name, float("inf"), "only on one side")
        return
    if _digest(native, name) == _digest(other, name):
        return
    one, two = (Reference.from_json(side.result["outputs"][name]) for side in (native, other))
    if one.kind == "file":
        with native.store.open(one.uri) as left, other.store.open(two.uri) as right:
            yield from file_gaps(left.read(), right.read(), f"{name}{_suffix(one.uri)}")
    elif _is_table(native.store, one):
        yield from frame_gaps(read_frame(native.store, one), read_frame(other.store, two), name)
    else:
        yield from _folder_gaps(name, native.store, one, other.store, two)
        if rows is not None and ESTIMATOR in _files(native.store, one):
            scores = [load_model(side.store, made).score(rows) for side, made in ((native, one), (other, two))]
            yield from array_gaps(scores[0], scores[1], f"{name}:score")


def _folder_gaps(name: str, store: Store, one: Reference, other: Store, two: Reference) -> Iterator[Gap]:
    left, right = _files(store, one), _files(other, two)
    for path in sorted({*left, *right}):
        if path not in left or path not in right:
            yield Gap(f"{name}/{path}", float("inf"), "only on one side")
        elif left[path]["digest"] != right[path]["digest"] and path != ESTIMATOR:
            with store.open(left[path]["uri"]) as first, other.open(right[path]["uri"]) as second:
                yield from file_gaps(first.read(), second.read(), f"{name}/{path}")


def _is_table(store: Store, reference: Reference) -> bool:
    manifest = manifest_of(store, reference)
    return bool(manifest["schema"]) and all(file["uri"].endswith(".parquet") for file in manifest["files"])


def _files(store: Store, reference: Reference) -> dict[str, dict[str, Any]]:
    files = manifest_of(store, reference)["files"]
    return {file["uri"].removeprefix(f"{reference.uri}/"): file for file in files}


def _digest(side: Side, name: str) -> str | None:
    output = side.result["outputs"].get(name)
    return output["digest"] if output else None


def _outcome(side: Side) -> Any:
    verdict = side.result["verdict"]
    return {"outcome": verdict["outcome"], "reasons": verdict["reasons"]} if verdict else None


def _suffix(uri: str) -> str:
    return "." + uri.rpartition(".")[2] if "." in uri.rpartition("/")[2] else ""

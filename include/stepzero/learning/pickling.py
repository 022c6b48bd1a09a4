"""Pickles of estimators whose bytes follow from what was learned, and from nothing else.

Two things make equal estimators differ. A node of scikit-learn's trees is a structure in C with seven bytes that nobody
writes: they hold whatever the memory held before, and go into a pickle with all others. And a pickle tells whether two
arrays share one description of their type or have two equal ones, which depends on what else the process did, such as
reading another pickle.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt


def dump_estimator(estimator: Any) -> bytes:
    """Pickle an estimator; equal estimators give equal bytes, trees and forests among them."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(estimator)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, protocol: int) -> None:
        from sklearn.tree._tree import Tree

        super().__init__(stream, protocol)
        self.tree = Tree
        self.types: dict[str, np.dtype[Any]] = {}
        self.kept: list[Any] = []
        """What a pickler remembers by its address must not make room for another."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is self.tree:
            make, arguments, state = obj.__reduce__()
            return make, arguments, {**state, "nodes": without_padding(state["nodes"])}
        if type(obj) is np.ndarray and not obj.dtype.hasobject:
            self.kept.append(obj.view(self._one_of(obj.dtype)))
            return self.kept[-1].__reduce_ex__(5)
        return NotImplemented

    def _one_of(self, wanted: np.dtype[Any]) -> np.dtype[Any]:
        """Return the one description that stands for all equal ones: NumPy's own where it has one."""
        plain = np.dtype(wanted.str) if wanted.names is None else wanted
        return self.types.setdefault(f"{plain!r} {plain.itemsize}", plain)


def without_padding(nodes: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return equal structures in which every byte between and behind the fields is zero."""
    clean = np.zeros(nodes.shape, dtype=nodes.dtype)
    for name in nodes.dtype.names or ():
        clean[name] = nodes[name]
    return clean

"""Pickles of estimators whose bytes follow from what was learned, and from nothing else.

A node of scikit-learn's trees is a structure in C with seven bytes that nobody writes. They hold whatever the memory
held before, go into a pickle with all others, and make equal trees differ in their bytes.
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
    def reducer_override(self, obj: Any) -> Any:
        from sklearn.tree._tree import Tree

        if type(obj) is not Tree:
            return NotImplemented
        make, arguments, state = obj.__reduce__()
        return make, arguments, {**state, "nodes": without_padding(state["nodes"])}


def without_padding(nodes: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return equal structures in which every byte between and behind the fields is zero."""
    clean = np.zeros(nodes.shape, dtype=nodes.dtype)
    for name in nodes.dtype.names or ():
        clean[name] = nodes[name]
    return clean

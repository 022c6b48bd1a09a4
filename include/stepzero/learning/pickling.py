"""Pickles of estimators whose bytes follow from what was learned, and from nothing else.

Two things make equal estimators differ. A node of scikit-learn's trees is a structure in C with seven bytes that nobody
writes: they hold whatever the memory held before, and go into a pickle with all others. And a pickle tells whether two
places share one object or hold two equal ones, of which each is written: the type of two arrays, the name of an
attribute and a word of NumPy's. Which it is depends on what else the process did, such as reading another pickle. Words
within lists, nested dictionaries and arrays of objects are left as they are.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt


def dump_estimator(estimator: Any) -> bytes:
    """Pickle an estimator; equal estimators give equal bytes, trees and forests among them."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(estimator)
    return stream.getvalue()


_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType)
"""What a pickle tells by its name only."""


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
            return self._told(self.kept[-1].__reduce_ex__(5))
        if type(obj) in copyreg.dispatch_table or isinstance(obj, _NAMED):
            return NotImplemented
        if isinstance(obj, np.dtype) or hasattr(obj, "__dict__"):
            return self._told(obj.__reduce_ex__(5))
        return NotImplemented

    def _told(self, reduced: Any) -> Any:
        """Return what an object is made of, with one object for all equal words of it."""
        if isinstance(reduced, tuple):
            self.kept.append(reduced := tuple(_with_one_word(part) for part in reduced))
        return reduced

    def _one_of(self, wanted: np.dtype[Any]) -> np.dtype[Any]:
        """Return the one description that stands for all equal ones: NumPy's own where it has one."""
        plain = np.dtype(wanted.str) if wanted.names is None else wanted
        return self.types.setdefault(f"{plain!r} {plain.itemsize}", plain)


def _with_one_word(part: Any) -> Any:
    """Return a part of a reduced object: a word, words in a row, or attributes by name."""
    if type(part) is tuple:
        return tuple(map(_with_one_word, part))
    if type(part) is dict:
        return {_word(name): _word(value) for name, value in part.items()}
    return _word(part)


def _word(value: Any) -> Any:
    return sys.intern(value) if type(value) is str else value


def without_padding(nodes: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return equal structures in which every byte between and behind the fields is zero."""
    clean = np.zeros(nodes.shape, dtype=nodes.dtype)
    for name in nodes.dtype.names or ():
        clean[name] = nodes[name]
    return clean

"""What texts look like: the one shape that all values of a column have, and what all of them can be read as."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame

LONGEST_SHAPE = 60
"""Characters of a code; a longer text is prose, and has no shape."""
_CLASSES = {"9": r"\d", "A": "[A-Z]", "a": "[a-z]"}
_READABLE = {
    "integer": r"{text} RLIKE '^\\s*[+-]?\\d+\\s*$' AND CAST({text} AS BIGINT) IS NOT NULL",
    "double": "CAST({text} AS DOUBLE) IS NOT NULL",
    "date": r"{text} RLIKE '^\\d{{4}}-\\d\\d-\\d\\d$' AND CAST({text} AS DATE) IS NOT NULL",
    "timestamp": r"{text} RLIKE '^\\d{{4}}-\\d\\d-\\d\\d' AND CAST({text} AS TIMESTAMP) IS NOT NULL",
}
"""From the narrowest to the widest; a date is written as one, or else every year were one."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What all values of a text column have in common."""

    pattern: str | None = None
    """A regular expression, where all have one shape with a digit in it."""
    kind: str | None = None
    """``integer``, ``double``, ``date`` or ``timestamp``, where all can be read as one."""


def looks(frame: DataFrame, names: Sequence[str]) -> dict[str, Look]:
    """Return how the texts of columns look, from one pass; names need no quotes."""
    if not names:
        return {}
    found = frame.agg(*(column for name in names for column in _asked(name))).collect()[0].asDict()
    return {name: _look(name, found) for name in names}


def _asked(name: str) -> list[Column]:
    from pyspark.sql import functions

    text = functions.col(name)
    exact = functions.when(functions.length(text) <= LONGEST_SHAPE, _classed(text)).otherwise("too long")
    collapsed = functions.regexp_replace(exact, r"([9Aa])\1*", "$1+")
    shapes = {"exact": exact, "collapsed": collapsed}
    asked = [
        side(shape).alias(f"{name} {word} {end}")
        for word, shape in shapes.items()
        for end, side in (("first", functions.min), ("last", functions.max))
    ]
    for kind, readable in _READABLE.items():
        read = functions.expr(readable.format(text=name))
        asked.append(functions.count(functions.when(text.isNotNull() & ~read, 1)).alias(f"{name} {kind}"))
    return asked


def _classed(text: Column) -> Column:
    """Return a text with every digit as 9, every capital as A and every small letter as a; all else stays."""
    from pyspark.sql import functions

    digits = "0123456789"
    capitals, small = "BCDEFGHIJKLMNOPQRSTUVWXYZ", "bcdefghijklmnopqrstuvwxyz"
    return functions.translate(text, digits + capitals + small, "9" * 10 + "A" * 25 + "a" * 25)


def _look(name: str, found: Mapping[str, object]) -> Look:
    if found[f"{name} exact first"] is None:
        return Look()
    pattern = None
    for word, repeated in (("exact", False), ("collapsed", True)):
        first, last = found[f"{name} {word} first"], found[f"{name} {word} last"]
        if pattern is None and first == last and "9" in str(first):
            pattern = pattern_of(str(first), repeated=repeated)
    kinds = [kind for kind in _READABLE if found[f"{name} {kind}"] == 0]
    return Look(pattern=pattern, kind=kinds[0] if kinds else None)


def pattern_of(shape: str, *, repeated: bool) -> str:
    r"""Return the regular expression of a shape.

    Args:
        shape: ``9`` is a digit, ``A`` a capital, ``a`` a small letter, all else itself.
        repeated: Whether a plus sign after one of them means any number of them.

    Example:
        >>> pattern_of("A99999", repeated=False), pattern_of("A+-9+", repeated=True)
        ('[A-Z]\\d{5}', '[A-Z]+\\-\\d+')
    """
    told, place = "", 0
    for found in re.finditer(r"([9Aa])\+" if repeated else r"([9Aa])\1*", shape):
        told += re.escape(shape[place : found.start()]) + _CLASSES[found[1]] + _times(found[0], repeated=repeated)
        place = found.end()
    return told + re.escape(shape[place:])


def _times(run: str, *, repeated: bool) -> str:
    if repeated:
        return "+"
    return f"{{{len(run)}}}" if len(run) > 1 else ""

"""Lines of libsvm as a Spark frame: ``LABEL INDEX:VALUE …``, an index that is left out being 0.

The format is that of LIBSVM and SVMlight; ``#`` begins a comment. What is no such line is named unreadable as a
whole, a value that is not of its column's type by its column: the gate judges both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stepzero.adapters.spark import quoted
from stepzero.core.errors import InputError, bare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import Column, DataFrame, SparkSession

    from stepzero.spec.data import Source

LINE = re.compile(r"[-+.\dEe]+(\s+[1-9]\d*:\S+)*\s*(#.*)?")
_LINE, _LABEL, _PAIRS = "_line", "_label", "_pairs"
_PAIR = "^[1-9][0-9]*:[^:]+$"
_LEAST, _MOST = 1e-6, 1e15
"""Between them a double has at most 18 digits after the point that count."""


def check_lines(what: str, lines: Iterable[str]) -> None:
    """Check that the first line that is not empty looks like libsvm.

    Raises:
        InputError: There is no such line, or it is something else.
    """
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    if not LINE.fullmatch(first):
        raise InputError(
            what,
            value=bare(f"a first line {first[:60]!r}"),
            allowed="libsvm: a label and INDEX:VALUE pairs, such as '15 1:1 2:0.455'",
            action="land the right file, or declare its format in source.format",
        )


def read_libsvm(session: SparkSession, paths: list[str], source: Source, unreadable: str) -> DataFrame:
    """Read lines with the declared columns, the label first, plus the column `unreadable`."""
    from pyspark.sql import functions

    text = functions.trim(functions.regexp_replace("value", "#.*$", ""))
    lines = session.read.text(paths).select(text.alias(_LINE)).filter(functions.col(_LINE) != "")
    tokens = functions.split(_LINE, r"\s+")
    cut = lines.select(
        functions.element_at(tokens, 1).alias(_LABEL),
        functions.slice(tokens, 2, functions.size(tokens)).alias(_PAIRS),
    )
    names = list(source.columns)
    texts = {name: _value(index) for index, name in enumerate(names)}
    whole = _is_line(len(names) - 1)
    typed = [functions.when(whole, _typed(texts[name], kind)).alias(name) for name, kind in source.columns.items()]
    lost = [
        functions.when(_typed(texts[name], kind).isNull(), functions.lit(name)) for name, kind in source.columns.items()
    ]
    named = functions.when(whole, functions.array_compact(functions.array(*lost)))
    broken = functions.array(functions.lit("the whole line"))
    return cut.select(*typed, functions.coalesce(named, broken).alias(unreadable))


def _is_line(features: int) -> Column:
    """Tell whether all pairs are pairs, of features that are declared, each once."""
    from pyspark.sql import functions

    known = ", ".join(f"'{index}'" for index in range(1, features + 1)) or "''"
    keys = f"transform({_PAIRS}, pair -> substring_index(pair, ':', 1))"
    return functions.expr(
        f"forall({_PAIRS}, pair -> pair rlike '{_PAIR}') AND size(array_distinct({keys})) = size({keys}) "
        f"AND size(array_except({keys}, array({known}))) = 0"
    )


def _value(index: int) -> Column:
    """Return the text of a column: the label, or a pair's value, '0' where the pair is left out."""
    from pyspark.sql import functions

    if not index:
        return functions.col(_LABEL)
    pair = f"try_element_at(filter({_PAIRS}, pair -> startswith(pair, '{index}:')), 1)"
    return functions.expr(f"coalesce(substring_index({pair}, ':', -1), '0')")


def _typed(text: Column, kind: str) -> Column:
    """Return a number of a column's type, null where the text is none; whole numbers may be written as 15.0."""
    from pyspark.sql import functions

    # Outside ANSI mode a cast of what is no number is null.
    number = text.cast("double")
    if kind == "double":
        return number
    return functions.when(number == functions.floor(number), number.cast(kind))


def line_text(target: str, features: list[str]) -> Column:
    """Return each row as a line of libsvm; all pairs are written, zeros too, as the reference example has them.

    Args:
        target: The label's column.
        features: Columns by their index, from 1; all of numbers, none missing.
    """
    from pyspark.sql import functions

    pairs = [functions.concat(functions.lit(f"{index}:"), number_text(name)) for index, name in enumerate(features, 1)]
    return functions.concat_ws(" ", number_text(target), *pairs)


def number_text(name: str) -> Column:
    """Return a number as text that reads back the same: whole ones without a point, short ones without an exponent."""
    from pyspark.sql import functions

    column = functions.col(quoted(name))
    size = functions.abs(column)
    # Java writes 0.0005 as 5.0E-4, which not every reader of text takes.
    plain = functions.regexp_replace(column.cast("decimal(38,18)").cast("string"), "0+$", "")
    return (
        functions.when((column == functions.floor(column)) & (size < _MOST), column.cast("bigint").cast("string"))
        .when((size >= _LEAST) & (size < _MOST), plain)
        .otherwise(column.cast("string"))
    )

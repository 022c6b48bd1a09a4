"""Runs of Deequ's analyzers with few questions to Java: by itself PyDeequ asks for each part of each dotted name."""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import DataFrame, SparkSession


@cache
def analyzers() -> Any:
    """Return PyDeequ's analyzers."""
    with warnings.catch_warnings():
        # PyDeequ 1.7 has invalid escapes in its sources: Python says so wherever it compiles them.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        from pydeequ import analyzers as found
    return found


def run_analyzers(session: SparkSession, frame: DataFrame, asked: Iterable[Any]) -> tuple[Any, list[Any]]:
    """Run analyzers over a frame; return Deequ's context, and each analyzer as its answers are asked for there."""
    jvm = _names(session._jvm)  # noqa: SLF001 - as pydeequ itself does
    run = jvm.com.amazon.deequ.analyzers.runners.AnalysisRunBuilder(frame._jdf)  # noqa: SLF001
    made = [analyzer._set_jvm(jvm)._analyzer_jvm for analyzer in asked]  # noqa: SLF001
    for analyzer in made:
        run.addAnalyzer(analyzer)
    return run.run(), made


class _Names:
    """Java's packages and classes, each looked for once: Java searches all its jars for a package's name, in vain."""

    def __init__(self, names: Any) -> None:
        self._found = names

    def __getattr__(self, name: str) -> Any:
        from py4j.java_gateway import JavaPackage

        found = getattr(self._found, name)
        known = _Names(found) if isinstance(found, JavaPackage) else found
        setattr(self, name, known)
        return known


@lru_cache(maxsize=1)
def _names(jvm: Any) -> Any:
    return _Names(jvm)

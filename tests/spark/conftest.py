"""One Spark session for the folder: starting one takes seconds, a small job a fraction of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepzero.core.errors import SetupError
from support.gate import FOR_FEW_ROWS, Gate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Java."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.spark)
            # Python's collector finds py4j's socket to Java, which lives as long as the session.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed.*socket:ResourceWarning"))
            # PyDeequ's sources have invalid escapes; Python says so wherever it compiles them.
            item.add_marker(pytest.mark.filterwarnings("ignore:invalid escape sequence"))
            # PySpark calls what pandas and Python are about to drop.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark.*"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning:pyspark.*"))


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A local session as the product starts it, with the Deequ jar of the checkout's home."""
    from stepzero.adapters.spark import start_session
    from stepzero.spec.load import load_environment

    os.environ.setdefault("STEPZERO_HOME", str(ROOT / ".stepzero"))
    before = dict(os.environ)
    try:
        session = start_session(load_environment(), "tests")
    except SetupError as error:
        pytest.skip(f"Spark cannot start here: {error}")
    yield session
    session.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def product_settings(spark: Any) -> dict[str, str]:
    """How the product sets what `few_rows` changes."""
    return {name: spark.conf.get(name) for name in FOR_FEW_ROWS}


@pytest.fixture(scope="module")
def few_rows(spark: Any, product_settings: dict[str, str]) -> Iterator[None]:
    """For a module, Spark is set for a handful of rows."""
    del product_settings
    with set_for(spark, FOR_FEW_ROWS):
        yield


@pytest.fixture
def many_rows(spark: Any, product_settings: dict[str, str]) -> Iterator[None]:
    """For a test, Spark is set as in the product, whatever its module says."""
    with set_for(spark, product_settings):
        yield


@contextmanager
def set_for(spark: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """Set Spark for a while."""
    before = {name: spark.conf.get(name) for name in settings}
    for name, value in settings.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


@pytest.fixture
def gate(tmp_path: Path, spark: Any) -> Iterator[Gate]:
    """An empty store, and the Spark stages on it."""
    yield Gate(tmp_path / "store", spark)
    spark.catalog.clearCache()

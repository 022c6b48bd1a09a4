"""Which versions fitted a model; told in its metadata."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "pandas", "scikit-learn", "imbalanced-learn", "xgboost", "lightgbm")


def versions() -> dict[str, str]:
    """Return Python's version and those of the packages that models are made with."""
    # Without the patch release: it changes no model, and machines with one lock differ in it.
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

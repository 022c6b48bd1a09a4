"""Finding somebody else's class or function by its dotted name."""

from __future__ import annotations

import importlib
from typing import Any

from stepzero.core.errors import SpecError, bare


def load_name(name: str, what: str) -> Any:
    """Import ``package.module:name`` or ``package.module.name``.

    Raises:
        SpecError: There is no such module, or nothing of that name in it.
    """
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{what} {name}",
            value=bare(error),
            allowed="a dotted name that can be imported where stages run",
            action="correct the name, or install the package in the project's environment",
        ) from error

"""Import every package of a lock in this process and print, as JSON, its version and which modules fail and why.

Arguments: lock files. Runs with the Python of either side.
"""

from __future__ import annotations

import importlib
import io
import json
import platform
import re
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from stepzero.adapters.feast_catalogue import load_feast

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+))?", re.MULTILINE)


def main() -> None:
    """Import what the locks name; the last line of the output is the report."""
    warnings.simplefilter("ignore")
    pinned: dict[str, str] = {}
    for lock in sys.argv[1:]:
        pinned |= locked(Path(lock).read_text(encoding="utf-8"))
    report: dict[str, Any] = {"pinned": pinned, "versions": {}, "imported": [], "failed": {}, "without_module": []}
    for name in pinned:
        _import(name, report)
    sys.__stdout__.write("\n" + json.dumps(report) + "\n")  # type: ignore[union-attr]


def locked(text: str, machine: str = platform.machine()) -> dict[str, str]:
    """Return the names that a lock pins for an architecture, with their versions."""
    from packaging.markers import Marker

    there = {"platform_machine": machine}

    found = _PINNED.findall(text)
    return {name: version for name, version, marker in found if not marker or Marker(marker.strip()).evaluate(there)}


def _import(name: str, report: dict[str, Any]) -> None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        report["failed"][name] = "not installed"
        return
    report["versions"][name] = found.version
    modules = _modules(found)
    if not modules:
        report["without_module"].append(name)
    for module in modules:
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                load_feast() if module == "feast" else importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001  # whatever it raises, exits included, is the finding
            report["failed"][f"{name}:{module}"] = f"{type(error).__name__}: {error}"[:300]
        else:
            report["imported"].append(f"{name}:{module}")


def _modules(found: Distribution) -> list[str]:
    """Return the importable top names of a distribution; below a shared namespace, its own part."""
    tops: dict[str, list[str]] = {}
    for file in found.files or []:
        parts = file.parts
        if len(parts) == 1 and parts[0].endswith((".py", ".so")):
            tops.setdefault(parts[0].partition(".")[0], [])
        elif parts[-1] == "__init__.py" and all(part.isidentifier() for part in parts[:-1]):
            tops.setdefault(parts[0], []).append(".".join(parts[:-1]))
    return sorted(min(inner, key=lambda module: module.count(".")) if inner else top for top, inner in tops.items())


if __name__ == "__main__":
    main()

"""Digests of JSON, text and source code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

LENGTH = 32
"""Hex digits kept: 128 bits, far beyond chance collisions."""
_PARSING = threading.Lock()


def digest_text(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def digest_json(value: Any) -> str:
    """Return a digest that ignores the order of keys.

    >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    True
    """
    return digest_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:LENGTH]


def digest_sources(module: str) -> str:
    """Return a digest of a module and of all it imports within its own package.

    The import closure is read from the source by its syntax tree: nothing is imported, so that
    asking "did the code change?" costs no import of pandas. A module outside the library (a user's
    own) counts with its own package, a single file by itself.
    """
    sources = {name: _module_source(name) for name in sorted(import_closure(module))}
    return digest_json(sources)


@lru_cache(maxsize=256)
def import_closure(module: str) -> frozenset[str]:
    """Return the names of all modules of the same top-level package that a module reaches."""
    package = module.partition(".")[0]
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and module_path(name) is not None:
            found.add(name)
            waiting += [target for target in _imports(name) if target.partition(".")[0] == package]
    return frozenset(found)


def parse_source(path: Path) -> ast.Module:
    """Return a module's syntax tree.

    One at a time: two threads that parse at the same moment end in a SystemError on some releases of Python 3.11, whose
    parser counts their recursion in one place (python/cpython#106905).
    """
    with _PARSING:
        return ast.parse(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1024)
def module_path(name: str) -> Path | None:
    """Return the file of a module without importing it or its parents; None where there is none."""
    parts = name.split(".")
    root = importlib.util.find_spec(parts[0])
    if root is None or root.origin is None:
        return None
    if len(parts) == 1:
        return Path(root.origin)
    base = Path(root.origin).parent.joinpath(*parts[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@lru_cache(maxsize=1024)
def _module_source(name: str) -> str:
    path = module_path(name)
    return digest_file(path) if path else ""


@lru_cache(maxsize=1024)
def _imports(name: str) -> tuple[str, ...]:
    path = module_path(name)
    if path is None or path.suffix != ".py":
        return ()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(parse_source(path)):
        names |= _imported_names(node, package)
    return tuple(sorted(names))


def _imported_names(node: ast.AST, package: str) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        return {base} | {f"{base}.{alias.name}" for alias in node.names}
    return set()

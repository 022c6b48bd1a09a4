"""Bytecode of installed packages: from this interpreter's own packages where the source is the same, else compiled."""

from __future__ import annotations

import compileall
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

_HEADER = 16
"""Magic number, flags, time and size of the source; then the code, which does not know for which processor it is."""


def fill(folder: Path, known: Path) -> int:
    """Give every module below a folder its bytecode; return how many had to be compiled.

    Compiling all packages of the locks takes a minute, comparing their sources a few seconds.

    Args:
        folder: Packages of the same Python version for any processor.
        known: Packages that this Python imports, with their bytecode.
    """
    compiled = 0
    for source in folder.rglob("*.py"):
        if not _taken(source, known / source.relative_to(folder)):
            compileall.compile_file(source, quiet=2)
            compiled += 1
    return compiled


def _taken(source: Path, known: Path) -> bool:
    """Take over the bytecode of an equal source, if there is any; told when ours was written."""
    made = Path(cache_from_source(str(known)))
    if not known.is_file() or not made.is_file() or known.read_bytes() != source.read_bytes():
        return False
    code, found = made.read_bytes(), source.stat()
    if code[:8] != MAGIC_NUMBER + bytes(4):
        return False
    ours = Path(cache_from_source(str(source)))
    ours.parent.mkdir(exist_ok=True)
    numbers = (int(found.st_mtime), found.st_size)
    ours.write_bytes(code[:8] + b"".join((one & 0xFFFFFFFF).to_bytes(4, "little") for one in numbers) + code[_HEADER:])
    return True

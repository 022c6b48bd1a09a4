"""Which versions of other people's packages a result was made with."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from stepzero.core.digests import digest_file, digest_json
from stepzero.spec.load import include_folder


def lock_digest() -> str:
    """Return the digest of the lock (``requirements.txt`` of the project), or of what is installed."""
    lock = Path(os.environ.get("STEPZERO_LOCK") or include_folder().parent / "requirements.txt")
    if lock.is_file():
        return digest_file(lock)
    from importlib.metadata import distributions

    return digest_json(sorted(f"{found.name}=={found.version}" for found in distributions()))


@lru_cache(maxsize=16)
def program_version(name: str) -> str:
    """Return what a program of this machine says of its version, or ``missing``."""
    path = shutil.which(name)
    if path is None:
        return "missing"
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False, timeout=30)
    return (said.stdout or said.stderr).strip()

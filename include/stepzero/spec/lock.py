"""Which versions of other people's packages a result was made with."""

from __future__ import annotations

import os
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

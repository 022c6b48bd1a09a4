"""Parts of a long benchmark that are done: whoever ends it in the middle goes on there the next time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepzero.core.digests import digest_file, digest_json, digest_sources
from stepzero.spec.load import home_folder


class Kept:
    """What is done, as JSON files in the home folder.

    What was measured on other rows, with other settings or by other code is not gone on with.

    Args:
        benchmark: The file of the benchmark.
        settings: What it was asked for, as JSON.
        files: What it reads.
        modules: What it measures.
        anew: Whether to begin again.
    """

    def __init__(
        self, benchmark: Path, settings: Any, *, files: Sequence[Path], modules: Sequence[str], anew: bool = False
    ) -> None:
        own = [benchmark, *sorted(benchmark.parent.glob("_*.py"))]
        identity = {
            "settings": settings,
            "files": [digest_file(file) for file in [*own, *files] if file.is_file()],
            "modules": [digest_sources(module) for module in modules],
        }
        self.folder = home_folder() / "benchmarks" / benchmark.stem / digest_json(identity)[:12]
        if anew:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def has(self, part: str) -> bool:
        """Tell whether a part is done."""
        return self._path(part).is_file()

    def _path(self, part: str) -> Path:
        return self.folder / f"{part.replace(' ', '_').replace('/', '_')}.json"

    def get(self, part: str, compute: Callable[[], Any]) -> Any:
        """Return what is kept of a part, or compute and keep it; numbers come back to the last bit."""
        path = self._path(part)
        if path.is_file():
            print(f"{part}: kept from before", flush=True)
            return json.loads(path.read_text(encoding="utf-8"))
        found = compute()
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found), encoding="utf-8")
        unfinished.replace(path)
        return found

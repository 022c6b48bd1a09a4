"""Parts of a long benchmark that are done: whoever ends it in the middle goes on there the next time."""

from __future__ import annotations

import glob
import inspect
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepzero.core.digests import digest_file, digest_json, digest_sources
from stepzero.core.errors import InputError, bare
from stepzero.spec.load import home_folder

DIGITS = 12
"""Of a digest that says what a part was made by."""


class Kept:
    """What is done, as JSON files in the home folder.

    What was measured on other rows, with other settings or by other code is not gone on with.

    Args:
        benchmark: The file of the benchmark.
        settings: What it was asked for, as JSON.
        files: What it reads.
        modules: What it measures.
        anew: Whether to begin again.
        by_part: Whether each part says what it was made by (`get`), so that a change of another part of the
            benchmark's file costs nothing.
        taken: Folder with parts that other code of ours made. They are taken over where the first of their kind comes
            out again to the last bit.
    """

    def __init__(
        self,
        benchmark: Path,
        settings: Any,
        *,
        files: Sequence[Path],
        modules: Sequence[str],
        anew: bool = False,
        by_part: bool = False,
        taken: Path | None = None,
    ) -> None:
        own = [] if by_part else [benchmark, *sorted(benchmark.parent.glob("_*.py"))]
        identity = {
            "settings": settings,
            "files": [digest_file(file) for file in [*own, *files] if file.is_file()],
            "modules": [digest_sources(module) for module in modules],
        }
        self.folder = home_folder() / "benchmarks" / benchmark.stem / digest_json(identity)[:12]
        self.taken, self.proven = taken, set[str]()
        if anew:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def has(self, part: str) -> bool:
        """Tell whether a part is done."""
        return self._path(part).is_file()

    def _path(self, part: str, made_by: Sequence[Any] = ()) -> Path:
        digest = f"-{digest_json([_told(one) for one in made_by])[:DIGITS]}" if made_by else ""
        return self.folder / f"{_file_name(part)}{digest}.json"

    def get(self, part: str, compute: Callable[[], Any], *, made_by: Sequence[Any] = (), kind: str = "") -> Any:
        """Return what is kept of a part, or compute and keep it; numbers come back to the last bit.

        Args:
            part: Its name.
            compute: Makes it, as JSON.
            made_by: Functions, which count by their source, and JSON.
            kind: What parts that are made alike share: one of them is made again before others are taken over.

        Raises:
            InputError: A part that was to be taken over came out otherwise.
        """
        path = self._path(part, made_by)
        if path.is_file():
            print(f"{part}: kept from before", flush=True)
            return json.loads(path.read_text(encoding="utf-8"))
        earlier = self._earlier(part)
        if earlier is not None and kind in self.proven:
            print(f"{part}: taken over", flush=True)
            return _keep(path, earlier)
        found = _keep(path, compute())
        if earlier is not None and found != earlier:
            raise InputError(
                f"part {part} of {self.taken}",
                value=bare("other figures than those that come out now"),
                allowed="parts that come out again to the last bit",
                action="run without taking parts over",
            )
        self.proven |= {kind} if earlier is not None else set()
        return found

    def _earlier(self, part: str) -> Any:
        """Return what the folder to take from holds of a part, whatever made it; the newest of several."""
        if self.taken is None:
            return None
        name = _file_name(part)
        made = self.taken.glob(f"{glob.escape(name)}-{'[0-9a-f]' * DIGITS}.json")
        there = [path for path in (self.taken / f"{name}.json", *made) if path.is_file()]
        newest = max(there, key=lambda path: path.stat().st_mtime, default=None)
        return json.loads(newest.read_text(encoding="utf-8")) if newest else None


def _file_name(part: str) -> str:
    return part.replace(" ", "_").replace("/", "_")


def _told(one: Any) -> Any:
    return inspect.getsource(one) if callable(one) else one


def _keep(path: Path, found: Any) -> Any:
    """Write a part, whole or not at all, and return what reading it gives."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))

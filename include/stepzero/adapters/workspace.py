"""What a stage is given besides its spec and inputs: the adapters of this environment."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.adapters import datasets
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.spec.environment import Environment
from stepzero.spec.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from stepzero.adapters.tracking import Tracking


@dataclass(kw_only=True)
class Workspace:
    """Adapters and the folder of this try.

    A try writes below `folder` only; its result is committed by the caller, once. `parameters`
    are what a mapped task varies, for example ``{"sampler": "smote"}``; they are part of the key.
    """

    store: Store
    environment: Environment
    plan: Plan
    folder: str
    stage: str
    parameters: dict[str, str] = field(default_factory=dict)
    shared: str | None = None
    """Folder of all tries of the same computation: work that is under way, never a result."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("stepzero"))

    @property
    def shared_folder(self) -> str:
        """Return where tries of the same computation meet; a try that has no such place works alone."""
        return self.shared or f"{self.folder}/work"

    @cached_property
    def local(self) -> Path:
        """A folder of this machine that goes with the workspace."""
        folder = tempfile.mkdtemp(prefix="stepzero-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session; started at first use, or the one of spark-submit."""
        from stepzero.adapters.spark import start_session

        return start_session(self.environment, self.stage)

    @cached_property
    def tracking(self) -> Tracking:
        """The tracking server."""
        from stepzero.adapters.tracking import Tracking

        return Tracking(self.environment.tracking)

    def read_frame(self, reference: Reference, columns: list[str] | None = None) -> pd.DataFrame:
        """Read a dataset into memory."""
        return datasets.read_frame(self.store, reference, columns)

    def write_frame(self, name: str, frame: pd.DataFrame) -> Reference:
        """Write a dataset of this try."""
        return datasets.write_frame(self.store, f"{self.folder}/{name}", frame, producer=self.stage)

    def write_file(self, name: str, data: bytes | str) -> Reference:
        """Write a file of this try."""
        raw = data.encode() if isinstance(data, str) else data
        return datasets.write_file(self.store, f"{self.folder}/{name}", raw)

    def write_json(self, name: str, value: Any) -> Reference:
        """Write a JSON file of this try."""
        from stepzero.adapters.store import dump_json

        return self.write_file(name, dump_json(value))

    def progress(self, done: int, total: int, what: str) -> None:
        """Say how far the work is, one line at a time."""
        self.log.info("progress %d/%d %s", done, total, what)

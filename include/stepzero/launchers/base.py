"""What a launcher is: it starts a stage somewhere, passes its log on, and says how it ended."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stepzero.core.errors import TRY_AGAIN, SpecError, bare, did_you_mean

if TYPE_CHECKING:
    from stepzero.spec.environment import StageResources

TIMED_OUT = 124
"""Exit status of a stage that was ended by its time limit, as `timeout` of coreutils has it."""

LogLine = Callable[[str], None]

LAUNCHERS: dict[str, str] = {
    "process": "stepzero.launchers.process:launch",
    "spark": "stepzero.launchers.spark:launch",
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a launched stage ended and what it used, its children included."""

    status: int
    """Exit status; 128 + n when signal n ended it; `TIMED_OUT`."""
    reason: str = ""
    """Why it was ended from outside; empty when it ended by itself."""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0

    @property
    def retry(self) -> bool:
        """Whether trying again may help: it said so, or it did not end by itself."""
        return self.status in {TRY_AGAIN, TIMED_OUT} or self.status > 128

    def sentence(self) -> str:
        """Return status and costs in one line."""
        ended = f" ({self.reason})" if self.reason else ""
        return (
            f"exit status {self.status}{ended}; {self.wall_seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU, "
            f"at most {self.peak_memory_mb:.0f} MB"
        )


class Launcher(Protocol):
    """Start one stage and wait for its end.

    Whatever ends the caller (an exception, SIGTERM, kill -9) must end all that was started, too.
    """

    def __call__(
        self, resources: StageResources, argv: Sequence[str], env: Mapping[str, str], log_line: LogLine
    ) -> Finished:
        """Run ``stepzero stage *argv``.

        Args:
            resources: What the environment file grants to the stage.
            argv: Arguments of `stepzero stage`, the stage's name first.
            env: Variables over those of the caller; secrets travel here, in memory only.
            log_line: Called with each line that the stage writes.
        """
        ...


def find_launcher(name: str) -> Launcher:
    """Return a launcher by our name or by ``package.module:function``.

    Raises:
        SpecError: There is no such launcher.
    """
    if name in LAUNCHERS:
        module, _, function = LAUNCHERS[name].partition(":")
        ours: Launcher = getattr(importlib.import_module(module), function)
        return ours
    module, _, function = name.partition(":")
    try:
        found: Launcher = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(
            "environment stages.*.launcher",
            value=bare(f"'{name}' ({error})"),
            allowed=f"{did_you_mean(name, LAUNCHERS)}, or package.module:function of yours",
            action="correct the name in the environment file",
        ) from error
    return found

"""Every error that Stepzero raises on purpose, in one tree.

    StepzeroError                  anything below; `retry` says whether trying again can help
    ├── SpecError                  a use-case or environment file says something impossible
    ├── InputError                 data that a user handed in cannot be used
    ├── RuleError                  a quality rule cannot be evaluated (never "bad data")
    ├── StageError                 a stage cannot do its work with what it was given
    ├── StoreError                 the store refused, is full, or lost a file
    ├── ServiceError               a service (tracking, Airflow, endpoint) does not answer; retry helps
    ├── PromotionError             a version may not be promoted or deployed
    └── SetupError                 this machine lacks something (Java, a port, disk, a jar)

A message has four parts: what (the full name), the value it had, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
import errno
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

DONE, VERDICT_NO, WRONG_USE, TRY_AGAIN, FAULT = 0, 10, 2, 75, 1
"""Exit statuses of every command."""

NOT_REUSABLE = 76
"""Exit status of `stepzero stage --only-reuse` where no finished result can be reused."""

_LONGEST_VALUE = 200


class StepzeroError(Exception):
    """Say what is wrong in four parts.

    Args:
        what: Full name of the thing, for example ``credit_card_fraud.yaml:12 split.test``.
        value: The value it had; shown by ``repr`` and cut after 200 characters.
        allowed: What would be accepted.
        action: What to do next, best with the command.
    """

    retry: ClassVar[bool] = False
    exit_status: ClassVar[int] = FAULT

    def __init__(self, what: str, *, value: object, allowed: str, action: str) -> None:
        self.what, self.value, self.allowed, self.action = what, value, allowed, action
        super().__init__(f"{what}: got {shorten(value)}. Allowed: {allowed}. Do: {action}")

    def to_json(self) -> dict[str, Any]:
        """Return the four parts, the kind and whether a retry helps."""
        return {
            "kind": type(self).__name__,
            "what": self.what,
            "value": shorten(self.value),
            "allowed": self.allowed,
            "action": self.action,
            "retry": self.retry,
            "message": str(self),
        }


class SpecError(StepzeroError):
    """Reject a use-case or environment file."""

    exit_status = WRONG_USE


class InputError(StepzeroError):
    """Reject data or an argument that a user handed in."""

    batch: str = ""
    """Digest of the batch whose files cannot be read; empty where the error is about something else."""


class RuleError(StepzeroError):
    """Report a quality rule that cannot be evaluated."""


class StageError(StepzeroError):
    """Report a stage that cannot work with what it was given."""


class StoreError(StepzeroError):
    """Report a store that refused or lost something."""


class StoreFullError(StoreError):
    """Report a store without room; a retry helps once room was made."""

    retry = True
    exit_status = TRY_AGAIN


class ServiceError(StepzeroError):
    """Report a service that does not answer; a retry may help."""

    retry = True
    exit_status = TRY_AGAIN


class PromotionError(StepzeroError):
    """Refuse to promote or deploy a version."""


class SetupError(StepzeroError):
    """Report what this machine lacks."""


def shorten(value: object) -> str:
    """Return ``repr(value)``, cut after 200 characters."""
    text = value if isinstance(value, _Bare) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


class _Bare(str):
    """A value shown as it is, without quotes."""

    __slots__ = ()


def bare(text: object) -> str:
    """Mark a value to be shown without quotes, for example ``bare("nothing")``."""
    return _Bare(text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the nearest known name, or the list of all.

    >>> did_you_mean("smoet", ["none", "smote"])
    "did you mean 'smote'?"
    >>> did_you_mean("xyz", ["none", "smote"])
    'one of none, smote'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"one of {', '.join(names)}"


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or one of its causes, means that no room is left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

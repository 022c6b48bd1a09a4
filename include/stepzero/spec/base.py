"""What all sections share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:[A-Za-z_]\w*)?")
"""A dotted name of the user's own: ``package.module.Class`` or ``package.module:function``."""


class Section(BaseModel):
    """A closed part of a file; frozen, so that a running run cannot change its own plan."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def read_share(value: Any) -> Any:
    """Read ``20%`` as 0.2; numbers pass.

    >>> read_share("0.1727%")
    0.001727
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        return round(float(value.strip()[:-1]) / 100, 12)
    return value


class ElsewhereError(ValueError):
    """Reject a value for what another section says; names the place that is at fault.

    Args:
        message: What is allowed there.
        location: Keys from the top of the file.
        value: What stands there.
    """

    def __init__(self, message: str, *, location: tuple[str | int, ...], value: object) -> None:
        super().__init__(message)
        self.location, self.value = location, value


Share = Annotated[float, BeforeValidator(read_share), Field(ge=0, le=1)]
OpenShare = Annotated[float, BeforeValidator(read_share), Field(gt=0, lt=1)]


def _read_prefix(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/") or "://" in value:
        msg = "a prefix is relative to the store, without '..'"
        raise ValueError(msg)
    return value.rstrip("/") + "/"


StorePrefix = Annotated[str, AfterValidator(_read_prefix)]
"""A folder of the store; it ends with a slash."""


def is_dotted(name: str) -> bool:
    """Tell whether a name is a dotted name of the user's own.

    >>> is_dotted("lightgbm.LGBMClassifier"), is_dotted("smote")
    (True, False)
    """
    return DOTTED.fullmatch(name) is not None

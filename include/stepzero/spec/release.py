"""What a person asks for when rows are to leave the quarantine."""

from __future__ import annotations

from pydantic import Field

from stepzero.core.errors import InputError, bare
from stepzero.spec.base import Section

CORRECTIONS = "corrections"
"""Folder of the store where files with corrected rows are put."""


class ReleaseForm(Section):
    """One release, as the trigger form or the command line asks for it."""

    batch: str = Field(min_length=1)
    """Partition, digest or file name of an accepted batch."""
    reasons: tuple[str, ...] = ()
    """Rules that are forgiven; none is all. A row leaves when every one of its own reasons is among them."""
    rows: tuple[str, ...] = ()
    """Ids of single rows; none is all."""
    corrections: str | None = None
    """Corrected rows as CSV, relative to the store; null releases rows as they are."""
    by: str = Field(default="", max_length=200)
    why: str = Field(default="", max_length=1_000)
    dry_run: bool = False
    """Say what would be released, and release nothing."""

    @property
    def how(self) -> str:
        """Return ``corrected`` or ``accepted``."""
        return "corrected" if self.corrections else "accepted"

    def check(self) -> ReleaseForm:
        """Return the form if it can be answered for: it says who and why, unless nothing is released.

        Raises:
            InputError: It does not.
        """
        for field, told in (("by", "the name of who answers for it"), ("why", "a sentence for those who ask later")):
            if not self.dry_run and not getattr(self, field).strip():
                raise InputError(
                    f"release.{field}", value=bare("nothing"), allowed=told, action=f"say `{field}`, or make a dry run"
                )
        return self

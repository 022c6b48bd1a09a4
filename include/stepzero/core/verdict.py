"""The one answer type of every gate and monitor."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What a gate says, from best to worst."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    QUARANTINE = "QUARANTINE"
    FAIL = "FAIL"
    NOT_YET = "NOT YET"
    """Cannot be judged yet: what would judge it has not come. Never a pass."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One finding: which rule, on what, saw what, and what it allows.

    ``severity`` is ``error`` (counts), or ``warning`` (reported only). ``rows`` is the number of
    rows at fault where the rule speaks of rows.
    """

    rule: str
    column: str | None
    observed: str
    bound: str
    severity: str = "error"
    rows: int | None = None

    def sentence(self) -> str:
        """Return the finding as one readable sentence."""
        where = f" of {self.column}" if self.column else ""
        rows = f" ({self.rows} rows)" if self.rows is not None else ""
        return f"{self.rule}{where}: observed {self.observed}, allowed {self.bound}{rows}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Outcome with its reasons; the first sentence is what a person reads in the run's note."""

    outcome: Outcome
    subject: str
    reasons: tuple[Reason, ...] = ()
    links: dict[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether work may go on."""
        return self.outcome is not Outcome.FAIL

    def sentence(self) -> str:
        """Return outcome, subject and the first reasons in one sentence."""
        errors = [reason for reason in self.reasons if reason.severity == "error"]
        if not errors:
            return f"{self.outcome}: {self.subject}."
        more = f" and {len(errors) - 2} more" if len(errors) > 2 else ""
        told = "; ".join(reason.sentence() for reason in errors[:2])
        return f"{self.outcome}: {self.subject}: {told}{more}."

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """Read what `to_json` wrote."""
        return cls(
            outcome=Outcome(data["outcome"]),
            subject=data["subject"],
            reasons=tuple(Reason(**reason) for reason in data["reasons"]),
            links=dict(data["links"]),
        )

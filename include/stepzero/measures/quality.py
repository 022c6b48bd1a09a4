"""From measured numbers to a verdict: pure decisions, no data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stepzero.core.verdict import Outcome, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = ((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() for year in (MINYEAR, MAXYEAR))
_LARGE = 1e6
"""From here on six digits would hide what differs."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule saw.

    ``rows`` is the number of rows at fault for a rule that speaks of rows, else None: then a
    finding that did not pass condemns the whole batch.
    """

    rule: str
    column: str | None
    observed: str
    bound: str
    passed: bool
    severity: str = "error"
    rows: int | None = None

    def reason(self) -> Reason:
        """Return the finding as a reason of a verdict."""
        return Reason(
            rule=self.rule,
            column=self.column,
            observed=self.observed,
            bound=self.bound,
            severity=self.severity,
            rows=self.rows,
        )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows of a batch: every row is accepted or quarantined."""

    rows: int
    quarantined: int

    @property
    def accepted(self) -> int:
        """Return how many rows go on."""
        return self.rows - self.quarantined


def decide(
    findings: Sequence[Finding], counts: Counts, *, on_bad_rows: str, quarantine_limit: float, subject: str
) -> Verdict:
    """Return the verdict on a batch.

    FAIL when a rule about the whole batch is broken, when bad rows are not tolerated or exceed the
    limit (a share of all rows; at the limit still passes), or when no row is left. QUARANTINE when
    some rows are bad. Warnings are reported and change nothing.
    """
    broken = [finding for finding in findings if not finding.passed]
    reasons = [finding.reason() for finding in broken]
    whole = any(finding.rows is None and finding.severity == "error" for finding in broken)
    share = counts.quarantined / counts.rows if counts.rows else 1.0
    too_many = share > quarantine_limit or counts.accepted == 0
    if too_many:
        reasons.insert(0, _limit_reason(counts, share, quarantine_limit))
    outcome = Outcome.PASS
    if counts.quarantined:
        outcome = Outcome.FAIL if on_bad_rows == "fail" else Outcome.QUARANTINE
    if whole or too_many:
        outcome = Outcome.FAIL
    return Verdict(outcome=outcome, subject=subject, reasons=tuple(reasons))


def told_number(value: float, *, is_time: bool = False, grouped: bool = False) -> str:
    """Return a number as people read it: six digits, large ones whole; seconds since 1970 as their moment, in UTC.

    A moment from the year 9999 on, or before the first one, stays a number.

    >>> told_number(0.12345678), told_number(1754155.0, grouped=True), told_number(1525910399, is_time=True)
    ('0.123457', '1,754,155', '2018-05-09 23:59:59')
    """
    if is_time and _FIRST <= value <= _LAST:
        moment = _EPOCH + timedelta(seconds=value)
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    form = ".6g" if abs(value) < _LARGE else ".0f"
    return f"{value:,{form}}" if grouped else f"{value:{form}}"


def _limit_reason(counts: Counts, share: float, limit: float) -> Reason:
    return Reason(
        rule="quarantine_limit",
        column=None,
        observed=f"{share:.2%} bad rows" if counts.rows else "no row",
        bound=f"at most {limit:.2%}, and at least one good row",
        rows=counts.quarantined,
    )

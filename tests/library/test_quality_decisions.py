"""From findings to a verdict: what holds for every batch, whatever was found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.quality import Counts, Finding, decide

FINDINGS = some.lists(
    some.builds(
        Finding,
        rule=some.sampled_from(["size", "between", "unique"]),
        column=some.sampled_from([None, "Amount"]),
        observed=some.just("something"),
        bound=some.just("something else"),
        passed=some.booleans(),
        severity=some.sampled_from(["error", "warning"]),
        rows=some.sampled_from([None, 0, 3]),
    ),
    max_size=4,
)
COUNTS = some.integers(0, 1000).flatmap(
    lambda rows: some.builds(Counts, rows=some.just(rows), quarantined=some.integers(0, rows))
)


def finding(*, rows: int | None = None, severity: str = "error", passed: bool = False) -> Finding:
    return Finding(
        rule="between", column="Amount", observed="-1", bound="at least 0", passed=passed, severity=severity, rows=rows
    )


def judged(
    findings: list[Finding], rows: int, quarantined: int, *, limit: float = 0.01, on: str = "quarantine"
) -> Verdict:
    counts = Counts(rows=rows, quarantined=quarantined)
    return decide(findings, counts, on_bad_rows=on, quarantine_limit=limit, subject="batch x")


@given(FINDINGS, COUNTS, some.sampled_from(["quarantine", "fail"]), some.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_outcome_follows_from_counts_and_findings(
    findings: list[Finding], counts: Counts, on: str, limit: float
) -> None:
    verdict = decide(findings, counts, on_bad_rows=on, quarantine_limit=limit, subject="batch x")
    whole = any(not one.passed and one.rows is None and one.severity == "error" for one in findings)
    too_many = counts.accepted == 0 or counts.quarantined / counts.rows > limit
    refused = on == "fail" and counts.quarantined > 0
    assert (verdict.outcome is Outcome.FAIL) == (whole or too_many or refused)
    assert (verdict.outcome is Outcome.PASS) == (verdict.accepted and counts.quarantined == 0)
    broken = [one.reason() for one in findings if not one.passed]
    assert list(verdict.reasons[-len(broken) :] if broken else ()) == broken
    assert (verdict.reasons[:1] != () and verdict.reasons[0].rule == "quarantine_limit") == too_many


@given(FINDINGS, COUNTS)
def test_warnings_never_change_the_outcome(findings: list[Finding], counts: Counts) -> None:
    errors = [one for one in findings if one.severity == "error"]
    outcomes = {
        decide(some_of, counts, on_bad_rows="quarantine", quarantine_limit=0.1, subject="").outcome
        for some_of in (findings, errors)
    }
    assert len(outcomes) == 1


@given(COUNTS)
def test_every_row_is_accepted_or_quarantined(counts: Counts) -> None:
    assert counts.accepted + counts.quarantined == counts.rows


@pytest.mark.parametrize(
    ("rows", "bad", "outcome"),
    [(100, 0, Outcome.PASS), (100, 1, Outcome.QUARANTINE), (100, 2, Outcome.FAIL), (0, 0, Outcome.FAIL)],
)
def test_the_limit_is_inclusive(rows: int, bad: int, outcome: Outcome) -> None:
    assert judged([finding(rows=bad)] if bad else [], rows, bad).outcome is outcome


def test_a_limit_of_all_rows_still_wants_one_good_row() -> None:
    assert judged([finding(rows=9)], 10, 9, limit=1.0).outcome is Outcome.QUARANTINE
    verdict = judged([finding(rows=10)], 10, 10, limit=1.0)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons[0].sentence() == (
        "quarantine_limit: observed 100.00% bad rows, allowed at most 100.00%, and at least one good row (10 rows)"
    )


def test_a_verdict_reads_as_a_sentence() -> None:
    verdict = judged([finding(rows=1), finding(severity="warning")], 1000, 1)
    assert verdict.sentence() == "QUARANTINE: batch x: between of Amount: observed -1, allowed at least 0 (1 rows)."
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_bad_rows_may_be_refused() -> None:
    assert judged([finding(rows=1)], 1000, 1, on="fail").outcome is Outcome.FAIL
    assert judged([], 1000, 0, on="fail").outcome is Outcome.PASS

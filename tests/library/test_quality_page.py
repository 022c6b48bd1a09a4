"""The quality report: what it says, that nothing in it acts, and that it looks the same every time."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.quarantine import read_quarantine
from stepzero.adapters.store import Store
from stepzero.core.verdict import Outcome, Verdict
from stepzero.measures.quality import Finding
from stepzero.spec.plan import HistoryPoint
from stepzero.stages.quality_page import Batch, Point, Sample, Series, report_page, sample_of, series_of, state_of
from support.html import Seen
from support.quarantine import NEGATIVE, bad

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"
FINDINGS = (
    Finding(rule="between", column=EVIL, observed="3 of 40 rows break it", bound="at least 0", passed=False, rows=3),
    Finding(rule="size", column=None, observed="40 rows", bound="at least 1", passed=True),
    Finding(rule="one_of", column="c", observed="1 row", bound=EVIL, passed=False, severity="warning", rows=1),
)
BATCH = Batch(use_case="toy", partition="2026-11-21", files=["a.csv", EVIL], rows=40, quarantined=3)


def verdict(outcome: Outcome = Outcome.QUARANTINE) -> Verdict:
    reasons = tuple(finding.reason() for finding in FINDINGS if not finding.passed)
    return Verdict(outcome=outcome, subject=f"batch {EVIL}", reasons=reasons)


def series(last: float, lower: float | None = 30, upper: float | None = 50) -> Series:
    earlier = [Point(partition=f"2026-11-{day:02d}", value=40, accepted=day != 3) for day in range(1, 6)]
    return Series(name=f"Size {EVIL}", points=[*earlier, Point(partition=EVIL, value=last, lower=lower, upper=upper)])


def whole(last: float = 40) -> str:
    profile = {f"Mean of {EVIL}": 1.5, f"Completeness of {EVIL}": 0.5, "Minimum of c": -2.0, f"Other {EVIL}": 7.0}
    sample = Sample(columns=["row", "reasons", EVIL], rows=[["ab12", f"between of {EVIL}", EVIL], ["cd34", "x", None]])
    made = report_page(BATCH, verdict(), FINDINGS, profile, sample=sample, history=[series(last)])
    return made.decode()


def words(html: str) -> str:
    """Return what a person reads."""
    body = html.partition("<body>")[2]
    return " ".join(
        unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|metadata).*?</\1>", "", body, flags=re.DOTALL))).split()
    )


def test_what_comes_from_data_is_shown_and_does_nothing() -> None:
    html = whole()
    seen = Seen(html.encode())
    assert not {"script", "img", "iframe", "link"} & set(seen.tags)
    assert seen.handlers == []
    assert [address for address in seen.addresses if not address.startswith("#")] == []
    assert seen.words.count("alert(1)") > 10, "it is shown"


def test_the_verdict_is_the_first_sentence_and_reasons_follow() -> None:
    told = words(whole())
    assert told.index("QUARANTINE: batch") < told.index("Reasons") < told.index("Quarantine ") < told.index("Rules")
    assert "Rows 40 Accepted 37 Quarantined 3 (7.50%)" in told
    assert f"broken between {EVIL} 3 of 40 rows break it at least 0 3" in told
    assert f"warning one_of c 1 row {EVIL} 1" in told
    assert "2 of 3 rows row reasons" in told
    assert "bin/stepzero release 2026-11-21 --use-case toy --dry-run" in told


def test_moments_and_large_numbers_are_told_as_such() -> None:
    moments = [Point(partition=f"2018-05-{day:02d}", value=1525132799.0 + day * 86_400) for day in range(1, 9)]
    late = Point(partition="2018-05-09", value=1525823999.0, lower=1525867199.0)
    newest = Series(name="maximum of at (absolute change)", points=[*moments, late], is_time=True)
    sizes = [
        Point(partition="a", value=1754155.0),
        Point(partition="b", value=1754160.0, lower=877077.5, upper=3508310.0),
    ]
    made = report_page(BATCH, verdict(), FINDINGS, {}, history=[newest, Series(name="size", points=sizes)]).decode()
    told = words(made)
    assert "maximum of at (absolute change): 2018-05-08 23:59:59, outside at least 2018-05-09 11:59:59" in told
    assert "size: 1,754,160, within 877,078 to 3,508,310" in told
    assert "e+0" not in told
    (marks,) = re.findall(r"<svg.*?</svg>", made, re.DOTALL)[:1]
    assert ">2018-05-0" in marks or "<!-- 2018-05-0" in marks, "its axis has dates"


def test_columns_have_a_row_each() -> None:
    told = words(whole())
    assert f"standard deviation {EVIL} 50.00% 1.5 c -2 metric value Other {EVIL} 7" in told


@pytest.mark.parametrize(
    ("last", "lower", "upper", "said"),
    [
        (40, 30, 50, "40, within 30 to 50"),
        (29, 30, 50, "29, outside 30 to 50"),
        (29, 30, None, "29, outside at least 30"),
        (29, None, 50, "29, within at most 50"),
        (29, None, None, "29"),
    ],
)
def test_history_shows_bounds(last: float, lower: float | None, upper: float | None, said: str) -> None:
    html = report_page(BATCH, verdict(), FINDINGS, {}, history=[series(last, lower, upper)]).decode()
    assert f"Size {EVIL}: {said} " in f"{words(html)} "
    assert html.count("<svg") == 1
    assert "A cross is a batch that was refused" in html
    assert "grey band" not in html, "there is none"


def test_one_batch_is_no_history() -> None:
    first = Series(name="Size", points=[Point(partition="a", value=1)])
    assert "History" not in words(report_page(BATCH, verdict(), FINDINGS, {}, history=[first]).decode())


def test_a_refused_batch_and_one_that_was_not_read() -> None:
    sample = Sample(columns=["row"], rows=[["ab"]])
    refused = words(report_page(BATCH, verdict(Outcome.FAIL), FINDINGS, {}, sample=sample).decode())
    assert "The batch was refused as a whole: none of its rows is used." in refused
    assert "bin/stepzero release" not in refused
    unread = Batch(use_case="toy", partition="p", files=["a.csv"], rows=None, quarantined=0)
    assert "Rows not read" in words(report_page(unread, verdict(Outcome.FAIL), FINDINGS, {}).decode())


def test_the_same_batch_is_the_same_page() -> None:
    assert whole() == whole()
    assert whole() != whole(41)


def test_series_are_made_of_what_anomaly_rules_saw() -> None:
    earlier = [
        HistoryPoint(partition="2026-11-19", values={"size": 40.0}),
        HistoryPoint(partition="2026-11-20", values={"size": 41.0, "mean of a": 2.0}, accepted=False),
    ]
    saw = {"metric": "size", "strategy": "rolling_normal", "observed": 9.0, "low": 30.0, "high": None, "passed": False}
    (one,) = series_of([saw, saw | {"metric": "mean of a", "observed": None}], earlier, "2026-11-21")
    assert one.name == "size (rolling normal)"
    assert [(point.value, point.accepted) for point in one.points] == [(40, True), (41, False), (9, True)]
    assert one.points[-1] == Point(partition="2026-11-21", value=9, lower=30)


def test_a_sample_is_the_first_rows_with_the_ids_that_release_takes(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    long = bad().assign(country=["x" * 100] * 6)
    reference = write_frame(store, "aside", long, producer="quality_gate")
    sample = sample_of(store, reference)
    assert sample is not None
    assert list(sample.columns) == ["row", "reasons", "id", "amount", "country"]
    assert [row[0] for row in sample.rows] == list(read_quarantine(store, reference).ids)
    assert sample.rows[0][1:] == (NEGATIVE, 5, -16.0, "x" * 80 + "…")
    assert read_quarantine(store, reference, 2).ids == read_quarantine(store, reference).ids[:2]
    assert sample_of(store, None) is None


def test_states() -> None:
    assert [state_of(finding) for finding in FINDINGS] == ["bad", "good", "warning"]

"""The quality report: one page that says whether a batch may be used, why, and what is unusual about it.

It takes plain data, so that it can be drawn for any batch, by any stage, and in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stepzero.adapters.pages import badge, beside, drawing, facts, page, section, table, text
from stepzero.adapters.quarantine import read_quarantine
from stepzero.core.verdict import Outcome
from stepzero.learning.drawing import BLUE, GREY, INK, RED, figure, svg
from stepzero.measures.quality import told_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup

    from stepzero.adapters.pages import State
    from stepzero.adapters.store import Store
    from stepzero.core.references import Reference
    from stepzero.core.verdict import Verdict
    from stepzero.measures.quality import Finding
    from stepzero.spec.plan import HistoryPoint

SAMPLE_ROWS = 20
"""Quarantined rows that a page shows."""
MOST_POINTS = 90
"""Batches that a chart shows before the one of the report."""
_STATES: dict[Outcome, State] = {Outcome.PASS: "good", Outcome.QUARANTINE: "warning", Outcome.FAIL: "bad"}
_PROFILE = ("Completeness", "Minimum", "Mean", "Maximum", "StandardDeviation")
_MOST_LABELS = 4
_LONGEST_CELL = 80


@dataclass(frozen=True, kw_only=True)
class Point:
    """A metric of one batch, and what was allowed for it; null is no bound on that side."""

    partition: str
    value: float
    lower: float | None = None
    upper: float | None = None
    accepted: bool = True


@dataclass(frozen=True, kw_only=True)
class Series:
    """A metric over batches, the oldest first; the last one is the batch of the report."""

    name: str
    points: Sequence[Point]
    is_time: bool = False
    """Whether its values are moments, in seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first quarantined rows: columns, then cells with the row's id and its reasons before them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the report is about."""

    use_case: str
    partition: str
    files: Sequence[str]
    rows: int | None
    """Null where the file could not be read as rows."""
    quarantined: int


def report_page(
    batch: Batch,
    verdict: Verdict,
    findings: Sequence[Finding],
    profile: Mapping[str, float],
    *,
    sample: Sample | None = None,
    history: Sequence[Series] = (),
) -> bytes:
    """Return the report as one self-contained HTML page; everything that came from data is escaped.

    Args:
        batch: What was judged.
        verdict: What the gate said.
        findings: What each rule saw.
        profile: ``Mean of Amount`` and the like → number.
        sample: Some of the quarantined rows.
        history: Metrics of earlier batches, this one last.
    """
    parts: list[object] = [_facts(batch), text(f"Files: {', '.join(batch.files)}")]
    if verdict.reasons:
        parts.append(_reasons(verdict))
    if sample is not None and sample.rows:
        parts.append(_quarantine(batch, verdict, sample))
    told = [series for series in history if len(series.points) > 1]
    if told:
        parts.append(section("History", text(_legend(told)), beside(*(_chart(series) for series in told))))
    parts.append(section("Rules", _rules(findings)))
    if profile:
        parts.append(section("Columns", _profile(profile)))
    title = f"Quality of {batch.use_case} {batch.partition}"
    return page(title, *parts, sentence=verdict.sentence(), state=_STATES[verdict.outcome])


def about(use_case: str, batch: Any, outputs: Mapping[str, Reference]) -> Batch:
    """Return what the report is about; without outputs, no row was read."""
    accepted, aside = outputs.get("accepted"), outputs.get("quarantined")
    quarantined = (aside.rows or 0) if aside else 0
    return Batch(
        use_case=use_case,
        partition=batch.partition,
        files=[file.uri.rpartition("/")[2] for file in batch.files],
        rows=(accepted.rows or 0) + quarantined if accepted else None,
        quarantined=quarantined,
    )


def sample_of(store: Store, quarantined: Reference | None) -> Sample | None:
    """Return the first quarantined rows; null where no row was set aside."""
    if quarantined is None:
        return None
    read = read_quarantine(store, quarantined, SAMPLE_ROWS)
    cells = ([_short(value) for value in row.values()] for row in read.rows.to_pylist())
    rows = [(row, "; ".join(own), *values) for row, own, values in zip(read.ids, read.reasons, cells, strict=True)]
    return Sample(columns=["row", "reasons", *read.rows.column_names], rows=rows)


def _short(value: Any) -> Any:
    told = str(value)
    return value if len(told) <= _LONGEST_CELL else f"{told[:_LONGEST_CELL]}…"


def series_of(anomalies: Sequence[Mapping[str, Any]], earlier: Sequence[HistoryPoint], partition: str) -> list[Series]:
    """Return what anomaly rules watched, over the batches before this one.

    Args:
        anomalies: ``metric``, ``strategy``, ``observed``, ``low``, ``high`` of each rule; null where there is none.
        earlier: Batches before, refused ones marked, the oldest first.
        partition: The batch of the report.
    """
    made = []
    for one in anomalies:
        before = [
            Point(partition=point.partition, value=point.values[one["metric"]], accepted=point.accepted)
            for point in earlier
            if one["metric"] in point.values
        ]
        if one["observed"] is not None:
            now = Point(partition=partition, value=one["observed"], lower=one["low"], upper=one["high"])
            name = f"{one['metric']} ({str(one['strategy']).replace('_', ' ')})"
            made.append(Series(name=name, points=[*before[-MOST_POINTS:], now], is_time=bool(one.get("is_time"))))
    return made


def state_of(finding: Finding) -> State:
    """Return the state of a finding."""
    if finding.passed:
        return "good"
    return "warning" if finding.severity == "warning" else "bad"


def _facts(batch: Batch) -> Markup:
    if batch.rows is None:
        return facts([("Rows", "not read")])
    share = f" ({batch.quarantined / batch.rows:.2%})" if batch.rows else ""
    return facts(
        [
            ("Rows", f"{batch.rows:,}"),
            ("Accepted", f"{batch.rows - batch.quarantined:,}"),
            ("Quarantined", f"{batch.quarantined:,}{share}"),
        ]
    )


def _reasons(verdict: Verdict) -> Markup:
    rows = [
        (
            badge("warning" if reason.severity == "warning" else "broken", _severity(reason.severity)),
            reason.rule,
            reason.column,
            reason.observed,
            reason.bound,
            "" if reason.rows is None else f"{reason.rows:,}",
        )
        for reason in verdict.reasons
    ]
    told = "What was found, beside what is allowed. Warnings are told and change nothing."
    return section("Reasons", text(told), table(["", "rule", "column", "observed", "allowed", "rows"], rows))


def _severity(severity: str) -> State:
    return "warning" if severity == "warning" else "bad"


def _quarantine(batch: Batch, verdict: Verdict, sample: Sample) -> Markup:
    told = "Rows that were set aside, each with all its reasons. "
    if verdict.accepted:
        told += (
            "Let rows go by the Dag quarantine_release, or by: "
            f"bin/stepzero release {batch.partition} --use-case {batch.use_case} --dry-run"
        )
    else:
        told += "The batch was refused as a whole: none of its rows is used."
    caption = f"{len(sample.rows):,} of {batch.quarantined:,} rows"
    return section("Quarantine", text(told), table(sample.columns, sample.rows, caption=caption))


def _rules(findings: Sequence[Finding]) -> Markup:
    rows = [
        (
            badge({"good": "good", "warning": "warning", "bad": "broken"}[state_of(finding)], state_of(finding)),
            finding.rule,
            finding.column,
            finding.observed,
            finding.bound,
        )
        for finding in findings
    ]
    return table(["", "rule", "column", "observed", "allowed"], rows)


def _profile(profile: Mapping[str, float]) -> Markup:
    """Return a row per column; what is not among the usual metrics has a table of its own."""
    columns: dict[str, dict[str, float]] = {}
    others = []
    for name, value in sorted(profile.items()):
        kind, of, column = name.partition(" of ")
        if of and kind in _PROFILE:
            columns.setdefault(column, {})[kind] = value
        else:
            others.append((name, f"{value:.6g}"))
    rows = [(column, *(_number(kind, found.get(kind)) for kind in _PROFILE)) for column, found in columns.items()]
    header = ["column", "complete", "minimum", "mean", "maximum", "standard deviation"]
    shown = table(header, rows) if rows else ""
    return shown + table(["metric", "value"], others) if others else table(header, rows)


def _number(kind: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if kind == "Completeness" else f"{value:,.6g}"


def _legend(history: Sequence[Series]) -> str:
    """Return how to read the charts, and of what they may show only what they do."""
    points = [point for series in history for point in series.points[:-1]]
    told = (
        "Each metric over the batches before this one. The ring is this batch, the dashes are what was allowed for it."
    )
    if any(point.lower is not None or point.upper is not None for point in points):
        told += " The grey band is what was allowed before."
    if not all(point.accepted for point in points):
        told += " A cross is a batch that was refused; it moves no bound."
    return told


def _chart(series: Series) -> Markup:
    last, number = series.points[-1], partial(told_number, is_time=series.is_time, grouped=True)
    bound = _bound(last, number)
    within = "within" if _is_within(last) else "outside"
    told = f"{series.name}: {number(last.value)}" + (f", {within} {bound}" if bound else "")
    return drawing(_drawn(series), alt=told, caption=told)


def _drawn(series: Series) -> bytes:
    """Draw a metric over batches, with its bounds; no text of it comes from data but the partitions."""
    points = series.points
    places = list(range(len(points)))
    last = points[-1]
    with figure(5.2, 1.9) as (made, axes):
        for side in ("lower", "upper"):
            bounded = [(place, value) for place in places if (value := getattr(points[place], side)) is not None]
            axes.plot(*zip(*bounded, strict=True), color=GREY, linewidth=0.8) if bounded else None
        band = [place for place in places if points[place].lower is not None and points[place].upper is not None]
        axes.fill_between(
            band,
            [points[place].lower for place in band],
            [points[place].upper for place in band],
            color=GREY,
            alpha=0.2,
        )
        good = [place for place in places if points[place].accepted]
        bad = [place for place in places if not points[place].accepted]
        axes.plot(good, [points[place].value for place in good], color=BLUE, marker="o", markersize=3, linewidth=1)
        axes.scatter(bad, [points[place].value for place in bad], color=RED, marker="x", s=28, zorder=3)
        ends = [end for end in (last.lower, last.upper) if end is not None]
        axes.scatter([places[-1]] * len(ends), ends, color=INK, marker="_", s=160, zorder=3)
        colour = BLUE if _is_within(last) else RED
        axes.scatter(places[-1:], [last.value], facecolor="none", edgecolor=colour, s=90, linewidth=1.6, zorder=4)
        shown = sorted({round(place * (len(places) - 1) / (_MOST_LABELS - 1)) for place in range(_MOST_LABELS)})
        axes.set_xticks(shown, [points[place].partition[:12] for place in shown], parse_math=False, fontsize=8)
        axes.margins(x=0.03, y=0.18)
        if series.is_time:
            axes.yaxis.set_major_formatter(lambda value, _: told_number(value, is_time=True)[:10])
        return svg(made)


def _is_within(point: Point) -> bool:
    above = point.lower is None or point.value >= point.lower
    return above and (point.upper is None or point.value <= point.upper)


def _bound(point: Point, number: Callable[[float], str]) -> str:
    if point.lower is not None and point.upper is not None:
        return f"{number(point.lower)} to {number(point.upper)}"
    if point.lower is not None:
        return f"at least {number(point.lower)}"
    return f"at most {number(point.upper)}" if point.upper is not None else ""

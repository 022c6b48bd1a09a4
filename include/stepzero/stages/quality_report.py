"""The verdict on a batch, to be read: a table for the log, a page and a picture."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepzero.core.verdict import Verdict
    from stepzero.measures.quality import Finding

_COLOURS = {"good": "#2e7d32", "warning": "#f9a825", "bad": "#c62828"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{border-bottom:1px solid #ddd;padding:.35rem .6rem;text-align:left}
.good{color:#2e7d32}.warning{color:#b26a00}.bad{color:#c62828;font-weight:600}
"""


def table(findings: Sequence[Finding], verdict: Verdict) -> str:
    """Return the verdict and what each rule saw, as text with aligned columns."""
    rows = [("rule", "column", "observed", "allowed", "")]
    rows += [(f.rule, f.column or "", f.observed, f.bound[:60], _state(f)) for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([verdict.sentence(), *lines])


def page(findings: Sequence[Finding], verdict: Verdict, profile: Mapping[str, float]) -> bytes:
    """Return one self-contained HTML page; everything that came from data is escaped."""
    rules = "".join(
        f"<tr><td>{escape(f.rule)}</td><td>{escape(f.column or '')}</td><td>{escape(f.observed)}</td>"
        f"<td>{escape(f.bound)}</td><td class={_state(f)}>{_state(f)}</td></tr>"
        for f in findings
    )
    numbers = "".join(
        f"<tr><td>{escape(name)}</td><td>{value:.6g}</td></tr>" for name, value in sorted(profile.items())
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Quality of {escape(verdict.subject)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(str(verdict.outcome))}</h1><p>{escape(verdict.sentence())}</p>"
        f"<h2>Rules</h2><table><tr><th>rule<th>column<th>observed<th>allowed<th></tr>{rules}</table>"
        f"<h2>Profile</h2><table><tr><th>metric<th>value</tr>{numbers}</table>"
    ).encode()


def picture(findings: Sequence[Finding], verdict: Verdict) -> bytes:
    """Return a PNG: for every rule, its state and the number of rows at fault."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.38 * len(findings)), layout="constrained")
    axes = figure.subplots()
    names = [f"{f.rule}{f' of {f.column[:40]}' if f.column else ''}" for f in findings]
    rows = [f.rows or 0 for f in findings]
    colours = [_COLOURS[_state(f)] for f in findings]
    places = list(range(len(findings)))
    axes.barh(places, rows, color=colours)
    # A dollar sign in a column's name is no mathematics.
    axes.set_yticks(places, names, parse_math=False)
    for place, (finding, count) in enumerate(zip(findings, rows, strict=True)):
        told = f" {count} rows" if finding.rows is not None else f" {finding.observed[:60]}"
        axes.text(
            count, place, f"{told} – {_state(finding)}", va="center", color=colours[place], fontsize=9, parse_math=False
        )
    axes.set_xlim(0, max(*rows, 1) * 1.6)
    axes.invert_yaxis()
    axes.set_xlabel("rows that break the rule")
    axes.set_title(f"{verdict.outcome}: {verdict.subject}", loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _state(finding: Finding) -> str:
    if finding.passed:
        return "good"
    return "warning" if finding.severity == "warning" else "bad"

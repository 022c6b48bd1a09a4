"""The dossier as one self-contained page: what an approver reads, most important first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepzero.adapters.pages import badge, beside, facts, link, page, picture, section, table, text
from stepzero.learning.dossier_data import SHORT, STATES, data_section
from stepzero.spec.training import resampled_by

if TYPE_CHECKING:
    from markupsafe import Markup

    from stepzero.adapters.pages import State

TITLES = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "accuracy": "accuracy (100 less the error in percent)",
    "brier": "Brier score, corrected",
    "brier_before_correction": "Brier score, as learned",
    "cost": "mean cost of a row",
}
TABLE = ("average_precision", "roc_auc", "f1", "precision", "recall")
NUMBER_TABLE = ("rmse", "mae", "r2", "accuracy")
"""Of a regression."""
WIDE = {"table", "calibration", "tree", "shap_local", "predictions", "errors", "bias_before", "bias_after"}
"""Pictures that would be unreadable at a phone's width."""


def dossier_page(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """Return the page.

    Args:
        dossier: As `stepzero.learning.dossier.make_dossier` returns it.
        pictures: Name → PNG, as far as they were drawn.
    """
    parts = (
        _facts(dossier),
        _decision(dossier),
        _gates(dossier),
        _results(dossier, pictures),
        _threshold(dossier, pictures),
        _probabilities(dossier, pictures),
        _explanation(dossier, pictures),
        _bias(dossier, pictures),
        _mitigation(dossier, pictures),
        _data(dossier),
        _origin(dossier),
    )
    title = f"{dossier['title']}: version {dossier['version']}"
    sentence, state = _sentence(dossier)
    return page(title, *[part for part in parts if part is not None], sentence=sentence, state=state)


def _sentence(dossier: Mapping[str, Any]) -> tuple[str, State]:
    model = dossier["model"]
    what = f"{model.get('model', 'A model')} on rows {resampled_by(model.get('sampler', '?'))}"
    failed = [gate for gate in dossier["gates"] if gate["outcome"] == "FAIL"]
    approval = dossier["approval"]
    if approval:
        said = "approved" if approval["approved"] else "rejected"
        state: State = "good" if approval["approved"] else "bad"
        return f"{what}. It was {said} by {approval['by']}: {approval['why']}.", state
    if failed:
        return f"{what}. {failed[0]['gate'].capitalize()}: {failed[0]['sentence']}", "bad"
    return f"{what}. All gates passed; nobody has decided yet.", "warning"


def _facts(dossier: Mapping[str, Any]) -> Markup:
    model = dossier["model"]
    metrics = model.get("metrics") or {}
    shown = [_fact(TITLES.get(name, name), value) for name, value in metrics.items()]
    if model.get("threshold") is not None:
        shown.append(("threshold", f"{model['threshold']:.3g}"))
    held = (dossier["data"]["sides"].get("test") or {}).get("rows")
    if held:
        shown.append(("held-out rows", f"{held:,}"))
    return facts(shown)


def _fact(name: str, value: Any) -> tuple[str, str]:
    if not isinstance(value, Mapping):
        return name, f"{value:.3f}"
    return f"{name}, {value['low']:.3f} to {value['high']:.3f}", f"{value['value']:.3f}"


def _decision(dossier: Mapping[str, Any]) -> Markup:
    approval = dossier["approval"]
    if not approval:
        return section("Decision", text("None yet. It is added here when it is made."))
    rows = [
        ("Decision", badge("approved" if approval["approved"] else "rejected", _good(good=approval["approved"]))),
        ("By", approval["by"]),
        ("When", approval["when"]),
        ("Why", approval["why"]),
        ("How", "by a person" if approval["how"] == "person" else "by the rule of the environment"),
        ("Digest of the evidence", approval["digest"]),
    ]
    return section("Decision", table(["what", "value"], rows))


def _gates(dossier: Mapping[str, Any]) -> Markup:
    gates = [
        (gate["gate"], badge(gate["outcome"], STATES.get(gate["outcome"], "")), _told(gate))
        for gate in dossier["gates"]
    ]
    parts = [table(["gate", "verdict", "what it said"], gates)]
    if dossier["sentinels"]:
        rows = [_sentinel(one) for one in dossier["sentinels"]]
        caption = "Leak sentinels: did anything of the held-out rows reach the training?"
        parts.append(table(["sentinel", "finding", "observed", "allowed"], rows, caption=caption))
    return section("Gates", *parts)


def _sentinel(one: Mapping[str, Any]) -> tuple[object, ...]:
    finding = badge("passed" if one["passed"] else "ALARM", _good(good=one["passed"]))
    return one["name"], finding, one["observed"], one["bound"]


def _told(gate: Mapping[str, Any]) -> str:
    more = [reason for reason in gate["reasons"] if reason not in gate["sentence"]]
    return "; ".join([gate["sentence"], *more])


def _results(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup:
    parts: list[object] = []
    if dossier["choice"]:
        parts.append(text(dossier["choice"]["sentence"]))
    if dossier["comparison"]:
        parts.append(text(dossier["comparison"]["sentence"]))
    parts += _pictures(pictures, {"table": "Every resampler with every model on untouched rows"})
    if dossier["table"]:
        parts.append(_table(dossier))
    curves = {"precision_recall": "Precision and recall of every cell", "roc": "ROC curves of every cell"}
    parts.append(beside(*_pictures(pictures, curves)))
    numbers = {"predictions": "Predictions against the truth", "errors": "Errors along the truth",
               "coin_toss": "What a few random rows would have said, and what all test rows say"}  # fmt: skip
    parts += _pictures(pictures, numbers)
    return section("Results on untouched rows", *parts)


def _table(dossier: Mapping[str, Any]) -> Markup:
    against = {(one["sampler"], one["model"]): one for one in (dossier["comparison"] or {}).get("cells", [])}
    winner = dossier["model"].get("sampler"), dossier["model"].get("model")
    rows, names = [], _metrics_of(dossier["table"])
    for row in dossier["table"]:
        cell = row["sampler"], row["model"]
        if row["failed"]:
            rows.append([*cell, badge("failed", "bad"), row["failed"], *[None] * (len(names) - 1)])
        else:
            said = badge("promoted", "good") if cell == winner else _against(against.get(cell))
            rows.append([*cell, said, *(_interval(row[name]) for name in names)])
    columns = ["resampler", "model", "against the promoted one", *(TITLES[name] for name in names)]
    return table(columns, rows, caption="With confidence intervals; differences after Holm's correction")


def _metrics_of(table: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return NUMBER_TABLE if any("rmse" in row for row in table) else TABLE


def _against(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    return f"{one['finding']} ({-one['difference']:+.3f}, p {one['p_adjusted']:.2g})"


def _threshold(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup | None:
    told = {
        "cost": "What each threshold costs, on out-of-fold rows",
        "threshold": "Precision, recall and F1 over the threshold, on out-of-fold rows",
        "confusion": "Held-out rows by truth and decision",
    }
    shown = _pictures(pictures, told)
    if not shown:
        return None
    chosen = (dossier["declared"].get("evaluate") or {}).get("threshold") or {}
    prices = f"a missed positive costs {chosen.get('false_negative')}, a wrong alarm {chosen.get('false_positive')}"
    how = f"the least cost ({prices})" if chosen.get("minimise") else "the best F1"
    said = [f"Chosen for {how} on out-of-fold rows, never on held-out ones."]
    if "cost" in pictures and not chosen.get("minimise"):
        said.append(f"Prices chose nothing: the curve shows what each line would cost where {prices}.")
    return section("Threshold", text(" ".join(said)), beside(*shown))


def _probabilities(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup | None:
    shown = _pictures(pictures, {"calibration": "Calibration and Brier score, before and after the prior correction"})
    if not shown:
        return None
    prior, also = dossier["model"].get("prior"), dossier["model"].get("also") or {}
    told = "Probabilities are left as the model learned them."
    if prior:
        told = (
            f"The model learned from rows of which {prior['trained_share']:.3%} were positive; its probabilities are "
            f"corrected to the true share, {prior['true_share']:.3%}. The correction is part of the stored model, so "
            "that the endpoint returns corrected probabilities."
        )
    rows = [(TITLES.get(name, name), _interval(value)) for name, value in also.items()]
    return section("Probabilities", text(told), *([table(["measure", "value"], rows)] if rows else []), *shown)


def _explanation(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup | None:
    found = dossier["explanation"]
    if not found:
        return None
    parts: list[object] = []
    tree, shap = found.get("tree"), found.get("shap")
    if tree:
        parts += [text(f"{tree['title']}."), *_pictures(pictures, {"tree": tree["text"]})]
    if shap and shap.get("unavailable"):
        parts.append(text(f"SHAP: {shap['unavailable']}."))
    elif shap:
        parts += [text(_shap_told(shap)), *_shap_parts(shap, pictures)]
    return section("Why it decides as it does", *parts)


def _shap_told(shap: Mapping[str, Any]) -> str:
    adds = "add up to the output" if shap["additive"] else "DO NOT add up to the output"
    return (
        f"SHAP values ({shap['method']}) of {shap['rows']} held-out rows, in the {shap['explained']}: base and values "
        f"{adds} within {shap['additivity_error']:.1e} for every row."
    )


def _shap_parts(shap: Mapping[str, Any], pictures: Mapping[str, bytes]) -> list[object]:
    named = {"shap_global": "Mean |SHAP value| by feature", "shap_local": "Three rows: what moved their scores"}
    rows = [(place, one["feature"], f"{one['mean_absolute']:.4g}") for place, one in enumerate(shap["features"], 1)]
    listed = table(["rank", "feature", "mean |SHAP value|"], rows[:10], caption=f"The first of {len(rows)} features")
    return [*_pictures(pictures, named), listed]


def _bias(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup | None:
    """Return who gets the favourable outcome how often, every metric, and what no figure can say."""
    found = dossier.get("bias") or ()
    if not found:
        return None
    parts: list[object] = []
    for one in found:
        what = "labels of the training rows" if one["time"] == "before" else "decisions on untouched rows"
        parts.append(text(f"{one['time'].capitalize()} training, {what}: {one['sentence']}"))
        parts += _pictures(pictures, {f"bias_{one['time']}": f"Favourable: {one['label']} = {one['favourable']}"})
        parts.append(_bias_table(one))
    parts.append(text("Each metric is one way to look at it. One within its limit does not say that bias is gone."))
    return section("Bias", *parts)


def _mitigation(dossier: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Markup | None:
    """Return every metric without mitigation and with it, whichever way it went."""
    found = dossier.get("mitigation") or ()
    if not found and dossier.get("bias"):
        return section(
            "Mitigation of bias", text("None is declared: the metrics above are those of the model as it learned.")
        )
    if not found:
        return None
    parts: list[object] = [text(f"Method: {found[0]['method']} by {found[0]['facet']}. No metric is left out.")]
    for one in found:
        what = f"{one['what'][:1].upper()}{one['what'][1:]}"
        parts.append(text(f"{what}: {one['sentence']}."))
        parts += _pictures(pictures, {f"mitigation_{one['time']}": f"{what}, without mitigation and with it"})
        rows: list[list[object]] = [
            [f"{each['metric']} of {each['facet']}", _metric(each["before"]), _metric(each["after"]), each["direction"]]
            for each in one["changes"]
        ]
        rows += [
            [
                TITLES.get(figure["metric"], figure["metric"]),
                _interval(figure["before"]),
                _interval(figure["after"]),
                "",
            ]
            for figure in one["figures"]
        ]
        rows += [
            [f"threshold of {line['who']}", f"{line['before']:.4g}", f"{line['after']:.4g}", ""]
            for line in one["thresholds"]
        ]
        parts.append(table(["what", "without", "with", "to no difference"], rows))
    return section("Mitigation of bias", *parts)


def _bias_table(one: Mapping[str, Any]) -> Markup:
    facets = one["facets"]
    columns = ["metric", *(f"{facet['facet']} = {facet['value']}" for facet in facets)]
    shares = [("rows", "rows"), ("favourable share", "favourable_shares")]
    rows: list[list[object]] = [
        [f"{label}, {side}", *(_share(facet[key][side], key) for facet in facets)]
        for label, key in shares
        for side in ("disfavoured", "favoured")
    ]
    names = sorted({name for facet in facets for name in facet["metrics"]})
    rows += [[name, *(_metric(facet["metrics"].get(name)) for facet in facets)] for name in names]
    return table(columns, rows)


def _share(value: float, key: str) -> str:
    return f"{value:.2%}" if key == "favourable_shares" else f"{value:,.0f}"


def _metric(value: Any) -> str:
    """Return a value of a bias metric; infinities are words in JSON."""
    return "no value" if value is None else value if isinstance(value, str) else f"{value:+.4f}"


def _data(dossier: Mapping[str, Any]) -> Markup:
    declared = [(name, _plain(section)) for name, section in dossier["declared"].items() if section]
    shown = table(["section", "declared"], declared, caption="How rows were split and figures stated")
    return section("Data", *data_section(dossier), shown)


def _origin(dossier: Mapping[str, Any]) -> Markup:
    lineage = [
        (one["stage"], one["output"], one["rows"], one["digest"][:SHORT], one["uri"]) for one in dossier["lineage"]
    ]
    environment = dossier["environment"]
    made = [("environment", environment["environment"]), ("lock", environment["lock"][:SHORT])]
    made += sorted(environment["versions"].items())
    model = dossier["model"]
    rows = [
        ("Run", dossier["run"]),
        ("As of", dossier["as_of"]),
        ("Digest of the model", model["digest"]),
        ("Parameters", _plain(model.get("parameters") or {})),
        *((name.capitalize(), link(address, address)) for name, address in sorted(dossier["links"].items())),
    ]
    return section(
        "Where it comes from",
        table(["what", "value"], rows),
        table(["stage", "wrote", "rows", "digest", "where in the store"], lineage, caption="Lineage, by content"),
        table(["what", "version"], made, caption="What it was made with"),
    )


def _pictures(pictures: Mapping[str, bytes], told: Mapping[str, str]) -> list[Markup]:
    return [picture(pictures[name], words, wide=name in WIDE) for name, words in told.items() if name in pictures]


def _interval(value: Any) -> str:
    if isinstance(value, Mapping):
        digits = ".3f" if value["value"] == 0 or abs(value["value"]) >= 0.01 else ".2e"
        return f"{value['value']:{digits}} ({value['low']:{digits}} to {value['high']:{digits}})"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    """Return JSON without the quotes and braces of a machine, as far as that is clear."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_plain(one) for one in value)}]"
    return value if isinstance(value, str) else json.dumps(value)


def _good(*, good: bool) -> State:
    return "good" if good else "bad"

"""Suggested rules: the file itself passes by them, a damaged copy does not, and the text is a use case."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from stepzero.adapters.ledger import make_batch
from stepzero.adapters.profile_texts import pattern_of
from stepzero.adapters.store import Store
from stepzero.cli.app import app
from stepzero.cli.suggest import render
from stepzero.core.errors import InputError
from stepzero.core.verdict import Outcome, Verdict
from stepzero.execution.suggest import Suggested, holds_line_breaks, judge, suggest_for
from stepzero.generators import to_csv
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, validate
from stepzero.spec.use_case import UseCase

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.usefixtures("few_rows")


@pytest.fixture(scope="module")
def environment(spark: Any) -> Environment:
    del spark  # a session is there: `start_session` finds it
    return load_environment()


def orders(rows: int = 600) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "order id": [f"A{number:05d}" for number in range(rows)],
            "amount": generator.lognormal(3, 1, rows).round(2),
            "change": generator.normal(0, 1, rows),
            "authority": generator.choice(["None", "N/A", "Police", 'it\'s, "odd" #1'], rows),
            "comment": pd.Series(generator.choice(["good", "bad, late", "fine"], rows)).where(np.arange(rows) % 3 > 0),
            "rare": ["usual"] * (rows - 1) + ["once"],
            "label": (generator.random(rows) < 0.1).astype(int),
        }
    )


def suggest(folder: Path, frame: pd.DataFrame, environment: Environment, target: str | None = "label") -> Suggested:
    path = folder / "orders.csv"
    path.write_bytes(to_csv(frame))
    return suggest_for(path, "orders", target, environment)


@pytest.fixture(scope="module")
def from_orders(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Suggested:
    return suggest(tmp_path_factory.mktemp("orders"), orders(), environment)


def judged(folder: Path, frame: pd.DataFrame, use_case: UseCase, environment: Environment) -> Verdict:
    path = folder / "other.csv"
    path.write_bytes(to_csv(frame))
    store = Store(f"file://{folder}/store")
    return judge(make_batch(store, [f"file://{path}"]), use_case, store, environment)


def test_the_file_passes_and_every_damaged_copy_fails(
    from_orders: Suggested, tmp_path: Path, environment: Environment
) -> None:
    frame, suggested = orders(), from_orders
    assert suggested.verdict.outcome is Outcome.PASS
    text = render(suggested, "orders\n.csv")
    use_case = validate(yaml.safe_load(text), UseCase)
    assert use_case == suggested.use_case()
    fifth = frame.index % 20 > 0
    cells = frame.assign(
        amount=(frame["amount"] * 100).where(fifth),
        authority=frame["authority"].where(fifth, "Fire brigade"),
        comment=None,
        rare=frame["rare"].where(fifth, "new"),
    )
    damages = [
        ({"complete", "between", "one_of", "comment is there", "rare is known"}, cells),
        ({"unique"}, pd.concat([frame, frame.head(60)])),
        ({"size", "class_balance"}, frame.head(200).assign(label=0)),
    ]
    for rules, damaged in damages:
        verdict = judged(tmp_path, damaged, use_case, environment)
        assert verdict.outcome is Outcome.FAIL
        assert rules <= {reason.rule for reason in verdict.reasons}


def test_the_text_says_of_each_rule_what_speaks_for_it(from_orders: Suggested) -> None:
    lines = render(from_orders, "orders.csv").splitlines()
    by_rule = {line.partition("#")[0].strip(): line.rpartition("  # ")[2] for line in lines if "- {" in line}
    assert by_rule["- {rule: size, at_least: 300}"] == "seen 600 rows; half is allowed"
    assert by_rule["- {rule: unique, columns: [order id]}"] == "every value is there once"
    assert by_rule["- {rule: one_of, column: label, values: [0, 1]}"].startswith("2 values, the rarest in ")
    (amount,) = [why for rule, why in by_rule.items() if "column: amount" in rule]
    assert amount.startswith("seen ")
    assert "unique, columns: [amount]" not in "".join(by_rule), "a number with fractions is no key"


def test_what_cannot_be_suggested_from_is_told(tmp_path: Path, environment: Environment) -> None:
    with pytest.raises(InputError, match="did you mean 'label'"):
        suggest(tmp_path, orders(10), environment, "labl")
    few = suggest(tmp_path, orders(10), environment, None)
    little = {"schema", "size", "complete", "compliance"}
    assert {one.rule["rule"] for one in few.rules} <= little, "ten rows show little"
    unnamed = tmp_path / "unnamed.csv"
    unnamed.write_text(",a\n" + "".join(f"{number},{number % 2}\n" for number in range(200)))
    found = suggest_for(unnamed, "unnamed", None, environment)
    assert found.source is None
    assert found.verdict.outcome is Outcome.PASS
    assert "cannot be declared" in render(found, "unnamed.csv")


def payments(rows: int = 1200) -> pd.DataFrame:
    """Return rows with something for every kind of rule that a file can speak for."""
    generator = np.random.default_rng(5)
    amount = generator.normal(100, 10, rows).round(2)
    return pd.DataFrame(
        {
            "code": [f"AB-{number:05d}" for number in range(rows)],
            "day": pd.date_range("2026-01-01", periods=rows, freq="h").strftime("%Y-%m-%dT%H:%M:%S"),
            "amount": amount,
            "with tax": (amount * 1.2 + generator.normal(0, 0.1, rows)).round(3),
            "change": generator.normal(0, 1, rows),
            "skewed": generator.lognormal(0, 3, rows),
            "shop": generator.choice([f"shop {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(55)], rows),
            "note": ["x" * (1 + number % 70) + "é" * (number % 7) for number in range(rows)],
            "label": (generator.random(rows) < 0.3).astype(int),
        }
    )


@pytest.fixture(scope="module")
def from_lines(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Suggested:
    path = tmp_path_factory.mktemp("lines") / "payments.jsonl"
    payments().to_json(path, orient="records", lines=True)
    return suggest_for(path, "payments", "label", environment)


def test_json_lines_are_declared_and_every_kind_is_suggested_that_a_file_speaks_for(from_lines: Suggested) -> None:
    assert from_lines.verdict.outcome is Outcome.PASS
    assert from_lines.source is not None
    assert (from_lines.source["format"], from_lines.source["columns"]["with tax"]) == ("json", "double")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in from_lines.rules:
        by_kind.setdefault(one.rule["rule"], []).append(one.rule)
    assert by_kind["pattern"] == [{"rule": "pattern", "column": "code", "pattern": r"[A-Z]{2}\-\d{5}"}]
    assert by_kind["type"] == [{"rule": "type", "column": "day", "type": "timestamp"}]
    assert [rule["columns"] for rule in by_kind["correlation"]] == [["amount", "with tax"]]
    named = {"mean": "amount", "standard_deviation": "change", "quantile": "skewed", "entropy": "label"}
    for kind, column in named.items():
        assert column in {rule["column"] for rule in by_kind[kind]}, kind
        assert {rule["severity"] for rule in by_kind[kind]} == {"warning"}, "a batch that differs is looked at"
    assert [rule["columns"] for rule in by_kind["distinct_count"]] == [["shop"]]
    assert {"schema", "size", "complete", "unique", "one_of", "between", "length", "class_balance"} <= set(by_kind)


def test_each_suggested_number_about_the_whole_tells_a_damaged_batch(
    from_lines: Suggested, tmp_path: Path, environment: Environment
) -> None:
    frame = payments()
    damaged = frame.assign(
        code=frame["code"].str.lower(),
        day="soon",
        amount=frame["amount"].sample(frac=1, random_state=1).to_numpy() / 3,
        change=frame["change"] * 100,
        skewed=frame["skewed"] / 100,
        shop="shop aa",
        label=(frame.index < 5).astype(int),
    )
    path = tmp_path / "damaged.jsonl"
    damaged.to_json(path, orient="records", lines=True)
    store = Store(f"file://{tmp_path}/store")
    verdict = judge(make_batch(store, [f"file://{path}"]), from_lines.use_case(), store, environment)
    assert verdict.outcome is Outcome.FAIL
    told = {reason.rule for reason in verdict.reasons}
    expected = {"pattern", "type", "mean", "correlation", "standard_deviation", "quantile", "distinct_count", "entropy"}
    assert expected <= told, expected - told


def test_cells_with_line_breaks_are_declared_and_read(tmp_path: Path, environment: Environment) -> None:
    frame = orders().assign(comment=[f'line one,\nline "two" {number}' for number in range(600)])
    suggested = suggest(tmp_path, frame, environment)
    assert suggested.verdict.outcome is Outcome.PASS
    assert suggested.source is not None
    assert suggested.source["multiline"] is True
    assert "multiline: true" in render(suggested, "orders.csv")
    assert holds_line_breaks(tmp_path / "orders.csv")
    plain = tmp_path / "plain.csv"
    plain.write_text('a,b\n\n"x, ""y""",2\n')
    assert not holds_line_breaks(plain)


def test_json_that_is_no_lines_is_refused(tmp_path: Path, environment: Environment) -> None:
    path = tmp_path / "whole.json"
    path.write_text('[\n  {"a": 1},\n  {"a": 2}\n]\n')
    with pytest.raises(InputError, match=r"a line that is no JSON object.*Allowed: JSON lines: one object a line"):
        suggest_for(path, "whole", None, environment)


def test_patterns_of_shapes() -> None:
    assert pattern_of("A+9.a", repeated=False) == r"[A-Z]\+\d\.[a-z]"
    assert pattern_of("A++9+", repeated=True) == r"[A-Z]+\+\d+"


def command(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, ["suggest", *words])
    assert done.exit_code == status, done.output
    return done


def test_the_command_prints_a_use_case_and_nothing_else_and_replaces_no_file(
    tmp_path: Path, environment: Environment
) -> None:
    del environment
    file = tmp_path / "Orders of May.csv"
    file.write_bytes(to_csv(orders(200)))
    printed = command(str(file), "--target", "label").stdout
    use_case = validate(yaml.safe_load(printed), UseCase)
    assert (use_case.name, printed.splitlines()[0].rpartition(":")[0]) == (
        "orders_of_may",
        "# Suggested by `stepzero suggest` from Orders of May.csv",
    )
    target = tmp_path / "new folder" / "orders.yaml"
    told = command(str(file), "--target", "label", "--name", "orders_of_may", "--write", str(target)).stdout
    assert target.read_text() == printed
    assert told.startswith(f"{target}: {len(use_case.quality.rules)} rules; PASS: ")
    refused = command(str(file), "--write", str(target), status=1).stderr
    assert f"--write {target}: got a file is there. Allowed: a new file. Do: remove it, or name another" in refused
    assert target.read_text() == printed
    assert "file nowhere.csv: got missing" in command("nowhere.csv", status=1).stderr


def test_a_file_that_fails_by_its_own_rules_ends_with_the_status_of_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file that is known does: what the gate said of it decides the exit status, and the draft is still printed."""
    file = tmp_path / "orders.csv"
    file.write_text("a\n1\n")
    verdict = Verdict(outcome=Outcome.QUARANTINE, subject="batch b", reasons=())
    drafted = Suggested(name="orders", source=None, rules=(), anomalies=(), verdict=verdict)
    monkeypatch.setattr("stepzero.execution.suggest.suggest_for", lambda *_: drafted)
    assert "# Checked by the gate: QUARANTINE: batch b." in command(str(file), status=10).stdout


def cards(folder: Path) -> Path:
    path = DATA / "credit_card" / "creditcard_28k.csv.gz"
    if path.exists():
        # A third of the 28 columns that are alike: each is profiled by itself.
        columns = ["Time", *(f"V{number}" for number in range(1, 29, 3)), "Amount", "Class"]
        pd.read_csv(path, usecols=columns).head(5_000).to_csv(folder / "cards.csv", index=False)
    return folder / "cards.csv"


def claims(folder: Path) -> Path:
    del folder
    return DATA / "auto_claims" / "claims.csv"


def reviews(folder: Path) -> Path:
    path = DATA / "reviews" / "womens_clothing_ecommerce_reviews.zip"
    if path.exists():
        with zipfile.ZipFile(path) as archive:
            (folder / "reviews.csv").write_bytes(b"row" + archive.read(archive.namelist()[0]))
    return folder / "reviews.csv"


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize(
    ("real", "target", "damaged"),
    [(cards, "Class", "Amount"), (claims, "fraud", "total_claim_amount"), (reviews, "Recommended IND", "Rating")],
)
def test_what_is_printed_for_a_real_file_passes_it_and_not_a_damaged_copy(
    tmp_path: Path, environment: Environment, real: Callable[[Path], Path], target: str, damaged: str
) -> None:
    path = real(tmp_path)
    if not path.exists():
        pytest.skip("the real file is not here (../shared/data)")
    printed = command(str(path), "--target", target).stdout
    assert "# Checked by the gate: PASS" in printed
    use_case, store = validate(yaml.safe_load(printed), UseCase), Store(f"file://{tmp_path}/store")
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    frame[damaged] = (frame[damaged].astype(float) * 100).astype(int).astype(str)
    (tmp_path / "damaged.csv").write_bytes(to_csv(frame))
    told = judge(make_batch(store, [f"file://{tmp_path}/damaged.csv"]), use_case, store, environment)
    assert told.outcome is Outcome.FAIL
    assert damaged in {reason.column for reason in told.reasons}
    if path == DATA / "auto_claims" / "claims.csv":
        labels_that_look_like_nulls_are_values(use_case)


def labels_that_look_like_nulls_are_values(use_case: UseCase) -> None:
    listed = {rule.column: list(rule.values) for rule in use_case.quality.rules if rule.rule == "one_of"}
    assert "N/A" in listed["collision_type"]
    assert "None" in listed["authorities_contacted"]
    keys = [rule.columns for rule in use_case.quality.rules if rule.rule == "unique"]
    assert keys == [("policy_id",)], "Deequ takes continuous amounts for keys"

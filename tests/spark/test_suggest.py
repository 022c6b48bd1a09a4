"""Suggested rules: the file itself passes by them, a damaged copy does not, and the text is a use case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stepzero.adapters.ledger import make_batch
from stepzero.adapters.store import Store
from stepzero.cli.suggest import render
from stepzero.core.errors import InputError
from stepzero.core.verdict import Outcome, Verdict
from stepzero.execution.suggest import Suggested, judge, suggest_for
from stepzero.generators import to_csv
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, validate
from stepzero.spec.use_case import UseCase

CLAIMS = Path(__file__).parents[3] / "shared" / "data" / "auto_claims" / "claims.csv"


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


def judged(folder: Path, frame: pd.DataFrame, use_case: UseCase, environment: Environment) -> Verdict:
    path = folder / "other.csv"
    path.write_bytes(to_csv(frame))
    store = Store(f"file://{folder}/store")
    return judge(make_batch(store, [f"file://{path}"]), use_case, store, environment)


def test_the_file_passes_and_every_damaged_copy_fails(tmp_path: Path, environment: Environment) -> None:
    frame = orders()
    suggested = suggest(tmp_path, frame, environment)
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


def test_the_text_says_of_each_rule_what_speaks_for_it(tmp_path: Path, environment: Environment) -> None:
    lines = render(suggest(tmp_path, orders(), environment), "orders.csv").splitlines()
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
    assert {one.rule["rule"] for one in few.rules} <= {"size", "complete", "compliance"}, "ten rows show little"
    unnamed = tmp_path / "unnamed.csv"
    unnamed.write_text(",a\n" + "".join(f"{number},{number % 2}\n" for number in range(200)))
    found = suggest_for(unnamed, "unnamed", None, environment)
    assert found.source is None
    assert found.verdict.outcome is Outcome.PASS
    assert "cannot be declared" in render(found, "unnamed.csv")


@pytest.mark.skipif(not CLAIMS.exists(), reason="the real claims are not here (../shared/data)")
def test_labels_that_look_like_nulls_are_values(environment: Environment) -> None:
    suggested = suggest_for(CLAIMS, "claims", "fraud", environment)
    assert suggested.verdict.outcome is Outcome.PASS
    listed = {one.rule["column"]: one.rule["values"] for one in suggested.rules if one.rule["rule"] == "one_of"}
    assert "N/A" in listed["collision_type"]
    assert "None" in listed["authorities_contacted"]
    keys = [one.rule["columns"] for one in suggested.rules if one.rule["rule"] == "unique"]
    assert keys == [["policy_id"]], "Deequ takes continuous amounts for keys"

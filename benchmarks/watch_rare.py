"""Judge the quality of a model whose frauds are rare: how often nothing is taken for a loss, and a loss is seen.

    python benchmarks/watch_rare.py [--references 12] [--evaluations 40] [--rows 8000]

A model learns generated card payments. Then fresh references of held-out rows are drawn, of the size that a run of the
use case has, and beside each of them fresh windows with frauds at their true share: three a time, judged as the monitor
`model_quality` does. First nothing has happened: what fires is a false alarm, told beside the level that the budget of
the use case leaves to one evaluation of the metric (half of the monitor's part; the other is what scores foretell's),
and beside what fires where the windows' own intervals do not count. Then a share of the frauds of all three scores like
ordinary payments do. Windows with so few frauds that a run would not judge them are judged, too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stepzero.generators import generator_for
from stepzero.learning.window_values import Fallen, chance_loss, columns_of, metric_interval, metric_value
from stepzero.spec.load import load_use_case
from stepzero.stages.watch_model import SHARED
from stepzero.stages.watch_results import rule_of

NAME = "credit_card_fraud"
LEARNED, HELD_OUT, POOL = 28_000, 5_600, 400_000
LOST = (0.0, 0.3, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=12)
    parser.add_argument("--evaluations", type=int, default=40, help="beside each reference")
    parser.add_argument("--rows", type=int, default=8_000, help="labelled rows of a window")
    asked = parser.parse_args()
    monitors: Any = load_use_case(NAME).monitors
    told: dict[str, Any] = {"level": rule_of(monitors, share=SHARED).level, "metric": monitors.model_quality.metric}
    payments = Payments()
    for lost in LOST:
        fired = [payments.judged(number, asked, lost) for number in range(asked.references)]
        told[f"lost {lost:g}"] = {
            "fires": float(np.mean([one for one, _ in fired])),
            "without_intervals": float(np.mean([one for _, one in fired])),
        }
        print(f"frauds lost {lost:g}: {told[f'lost {lost:g}']}", flush=True)
    print(json.dumps({**told, "ratio": told["lost 0"]["fires"] / told["level"], "evaluations": asked.evaluations}))


class Payments:
    """Scores of fresh payments by a model that learned others."""

    def __init__(self) -> None:
        from xgboost import XGBClassifier

        use_case: Any = load_use_case(NAME)
        self.monitors, self.base_rate = use_case.monitors, use_case.weight.base_rate
        generator: Any = generator_for(NAME)
        learned: pd.DataFrame = generator.generate(rows=LEARNED, seed=7)
        names = [name for name in learned if name not in {"Class", "Time"}]
        model = XGBClassifier(n_estimators=150, max_depth=4, learning_rate=0.1, n_jobs=1)
        model.fit(learned[names], learned["Class"])
        pool: pd.DataFrame = generator.generate(rows=POOL, seed=99, frauds=POOL // 100)
        score = model.predict_proba(pool[names])[:, 1].astype(np.float64)
        fraud = pool["Class"].to_numpy() == 1
        self.scores, self.share = {0: score[~fraud], 1: score[fraud]}, float(learned["Class"].mean())

    def judged(self, number: int, asked: argparse.Namespace, lost: float) -> tuple[float, float]:
        """Return how often three windows fire beside one reference, and how often without their intervals."""
        draw, section = np.random.default_rng(number), self.monitors.model_quality
        reference = self._rows(draw, HELD_OUT, round(HELD_OUT * self.share), 0.0)
        weight = np.where(
            reference["_label"] == 1, self.base_rate / self.share, (1 - self.base_rate) / (1 - self.share)
        )
        reference = reference.assign(_weight=weight / weight.max(), _block=0)
        rule, value = rule_of(self.monitors, share=SHARED), metric_value(section.metric, None)
        middle, limit = chance_loss(value, reference, asked.rows, self.monitors.judged.of, rule)
        fired = np.zeros(2)
        for _ in range(asked.evaluations):
            windows = [self._window(draw, asked.rows, lost) for _ in range(self.monitors.judged.of)]
            values = [value(columns_of(rows)) for rows in windows]
            alone = Fallen(
                values=values, reference=middle, allowed=max(limit, section.smallest), at_least=rule.at_least
            )
            if alone.fires:  # Intervals only take alarms away.
                highs = [metric_interval(section.metric, None, rows, section.confidence).high for rows in windows]
                fired += [replace(alone, highs=highs).fires, 1]
        return float(fired[0] / asked.evaluations), float(fired[1] / asked.evaluations)

    def _window(self, draw: np.random.Generator, rows: int, lost: float) -> pd.DataFrame:
        return self._rows(draw, rows, max(int(draw.poisson(rows * self.base_rate)), 1), lost)

    def _rows(self, draw: np.random.Generator, rows: int, frauds: int, lost: float) -> pd.DataFrame:
        """Return scored rows; of the frauds a share scores like ordinary payments."""
        like = np.where(draw.random(frauds) < lost, 0, 1)
        fraud = np.where(like == 1, draw.choice(self.scores[1], frauds), draw.choice(self.scores[0], frauds))
        score = np.concatenate([draw.choice(self.scores[0], rows - frauds), fraud])
        return pd.DataFrame({"_score": score, "_label": np.r_[np.zeros(rows - frauds), np.ones(frauds)]})


if __name__ == "__main__":
    main()

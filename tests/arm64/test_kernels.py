"""The one model that differs, on the numerical code of three processors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arm64.lane import flow
from arm64.lane.bounds import SCORES
from arm64.lane.build import ROOT, Lane

pytestmark = pytest.mark.timeout(600)
SCRIPT = str(ROOT / "tests" / "arm64" / "lane" / "kernels.py")


@pytest.mark.parametrize(("program", "chosen"), [("python", "neoversen1"), ("graviton3", "neoversev1")])
def test_logistic_regression_is_equal_within_the_bound(lane: Lane, program: str, chosen: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample.csv"
    flow.write_sample(sample)
    native = _fit(sys.executable, sample)
    other = _fit(str(getattr(lane, program)), sample, lane.environment())
    assert other["chosen"] == [chosen]
    assert chosen not in native["chosen"]
    apart = np.abs(np.array(native["scores"]) - np.array(other["scores"]))
    assert 0 < apart.max() < SCORES


def _fit(python: str, sample: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
    command = [python, "-P", SCRIPT, str(sample)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result

"""The one model that differs, on the numerical code of three processors."""

from __future__ import annotations

import numpy as np
import pytest

from arm64.conftest import Flows
from arm64.lane.bounds import SCORES

pytestmark = pytest.mark.timeout(3000)


@pytest.mark.parametrize(("machine", "chosen"), [("arm64", "neoversen1"), ("graviton3", "neoversev1")])
def test_logistic_regression_is_equal_within_the_bound(started: Flows, machine: str, chosen: str) -> None:
    native, other = started.kernels("native"), started.kernels(machine)
    assert other["chosen"] == [chosen]
    assert chosen not in native["chosen"]
    apart = np.abs(np.array(native["scores"]) - np.array(other["scores"]))
    assert 0 < apart.max() < SCORES

"""Is the first run reproducible, and where does its champion come from: asked of a real store and a real registry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def test_first_run_comes_out_again_to_the_last_bit(stack: Stack, first_run: dict[str, Any]) -> None:
    stages = ("prepare", "resample", "evaluate")
    asked = [word for stage in stages for word in ("--stage", stage)]
    told = json.loads(stack.command("verify", first_run["run"], *asked, "--json").stdout.splitlines()[-1])
    assert told["reproducible"], told
    assert {check["outcome"] for check in told["stages"]} == {"same"}
    assert len(told["stages"]) == 6


def test_champion_comes_from_the_landed_file(stack: Stack, first_run: dict[str, Any]) -> None:
    ours = ("--use-case", "credit_card_fraud", "--json")
    told = json.loads(stack.command("lineage", "champion", *ours).stdout.splitlines()[-1])
    assert told["run"] == first_run["run"]
    (file,) = told["data"]["batch"]["files"]
    assert first_run["batch"] in file["uri"]
    assert told["approval"].startswith("version 1 was approved")
    back = json.loads(stack.command("lineage", first_run["batch"], "--json").stdout.splitlines()[-1])
    assert {"use_case": "credit_card_fraud", "version": "1"}.items() <= back["versions"][0].items()
    same = json.loads(stack.command("diff", "champion", first_run["run"], *ours).stdout.splitlines()[-1])
    assert same["same_model"]
    assert same["spec"] == same["parameters"] == same["environment"] == []

"""Spark on a store in S3: the pinned jars, the settings and the credentials of the product, against a real server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepzero.adapters.datasets import read_frame
from stepzero.adapters.ledger import make_batch
from stepzero.adapters.store import Store
from stepzero.core.references import Reference
from stepzero.execution.execute import pointer_uri
from stepzero.generators import to_libsvm
from stepzero.generators.abalone import COLUMNS, generate
from stepzero.launchers.runtime import DEEQU_JAR, S3_JARS
from stepzero.launchers.spark import launch
from stepzero.spec.environment import StageResources
from stepzero.spec.plan import Plan
from support import toy
from support.abalone import abalones
from support.object_store import BUCKET, KEY, SECRET, Running, object_store
from support.stack import ROOT

__all__ = ["object_store"]
CACHE = Path(os.environ.get("STEPZERO_HOME") or ROOT / ".stepzero") / "cache"
MISSING = [name for name in (DEEQU_JAR, *S3_JARS) if not (CACHE / name).is_file()]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"NOT RUN: {MISSING} not fetched: bin/stepzero up --with s3")


@pytest.fixture
def store(object_store: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in S3, and an environment file that says where it is; the home has the cache of the checkout."""
    (tmp_path / "cache").symlink_to(CACHE)
    keys = tmp_path / "s3.json"
    keys.write_text(json.dumps({"key": KEY, "secret": SECRET}), encoding="utf-8")
    settings = {
        "name": "small",
        "store": f"s3://{BUCKET}/spark",
        "s3": {"endpoint": object_store.endpoint, "credentials_file": str(keys)},
        "spark": {"master": "local[1]", "quick_start": True},
    }
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    paths = f"{ROOT / 'include'}{os.pathsep}{ROOT / 'tests'}"
    for name, value in {"STEPZERO_HOME": str(tmp_path), "STEPZERO_ENVIRONMENT": str(path), "PYTHONPATH": paths}.items():
        monkeypatch.setenv(name, value)
    for name, value in object_store.variables.items():
        monkeypatch.setenv(name, value)
    return Store(str(settings["store"]))


def test_a_landed_object_becomes_a_dataset_and_is_read_back_by_s3a(store: Store) -> None:
    frame = generate(rows=200)
    store.write_text("landing/abalone_age/a [1].libsvm", to_libsvm(frame).decode())
    batch = make_batch(store, ["landing/abalone_age/a [1].libsvm"])
    plan = Plan(
        run="r1",
        use_case=abalones(),
        environment="small",
        batch=batch,
        as_of="2026-11-21T02:00:00+00:00",
        approval="rule",
    )
    toy.write_plan(store, plan)
    lines: list[str] = []
    argv = ["support.toy_spark:through_s3", "--use-case", "abalone_age", "--run", "r1", "--attempt", "1"]
    finished = launch(StageResources(memory="512m"), argv, {}, lines.append)
    assert finished.status == 0, lines
    assert "INFO read back from s3a" in lines
    assert SECRET not in "".join(lines)
    pointer = store.read_json(pointer_uri("abalone_age", "r1", "support.toy_spark:through_s3", ""))
    result = store.read_json(pointer["result"]["uri"])
    assert result["values"]["rows"] == 200
    found = read_frame(store, Reference.from_json(result["outputs"]["rows"]))[list(COLUMNS)]
    ordered = [one.sort_values(list(COLUMNS)).to_numpy(dtype=float) for one in (found, frame[list(COLUMNS)])]
    assert (ordered[0] == ordered[1]).all()

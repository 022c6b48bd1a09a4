"""Small stages that need Spark, for tests of what starts it."""

from __future__ import annotations

import os
from typing import Any

from stepzero.core.stages import Engine, StageResult, stage
from stepzero.core.verdict import Outcome, Verdict


@stage(sections=(), engine=Engine.SPARK)
def count(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Count rows in the JVM; say no, crash or wait where asked."""
    session = workspace.spark
    rows = session.range(1000).where("id % 2 = 0").count()
    workspace.log.info("counted by %s with %s", session.sparkContext.applicationId, session.conf.get("spark.jars"))
    asked = workspace.parameters.get("then")
    if asked == "crash":
        session.sql("SELECT nobody FROM nowhere").collect()
    if asked == "wait":
        workspace.log.info("waiting in %d below %d", os.getpid(), os.getppid())
        # A task that is under way and takes no core from others.
        session.range(1).selectExpr("java_method('java.lang.Thread', 'sleep', 900000L)").collect()
    outcome = Outcome.FAIL if asked == "refuse" else Outcome.PASS
    return StageResult(values={"rows": rows}, verdict=Verdict(outcome=outcome, subject="toy"), summary=f"{rows} rows")


@stage(sections=("source",), plan=("batch",), engine=Engine.SPARK)
def through_s3(use_case: Any, inputs: Any, workspace: Any) -> StageResult:
    """Read a landed batch, write it as a dataset, and read that back, all by Spark."""
    from stepzero.adapters.batches import read_batch
    from stepzero.adapters.spark import read_dataset, write_dataset

    session, store = workspace.spark, workspace.store
    rows = read_batch(session, store, workspace.plan.batch, use_case.source)
    dataset = write_dataset(store, f"{workspace.folder}/rows", rows, rows=rows.count(), producer="toy")
    again = read_dataset(session, store, dataset)
    workspace.log.info("read back from %s", next(iter(again.inputFiles())).partition("://")[0])
    return StageResult(outputs={"rows": dataset}, values={"rows": again.count()}, summary=f"{again.count()} rows")

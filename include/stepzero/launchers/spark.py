"""The launcher `spark`: a stage through spark-submit of the pyspark wheel, where its result cannot be reused."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepzero.core.errors import NOT_REUSABLE, SetupError, bare
from stepzero.launchers.base import Finished, LogLine
from stepzero.launchers.process import launch as launch_process
from stepzero.launchers.process import run_watched, stage_environment
from stepzero.launchers.runtime import deequ_jar, s3_jars, s3_settings, spark_environment
from stepzero.spec.load import load_environment, project_file

if TYPE_CHECKING:
    from stepzero.spec.environment import Environment, StageResources

LOCAL_PARTITIONS = "4"


def launch(resources: StageResources, argv: Sequence[str], env: Mapping[str, str], log_line: LogLine) -> Finished:
    """Run a stage by spark-submit; a plain child looks first whether it must run at all.

    Starting Spark takes seconds, finding a finished result a fraction of one.

    Raises:
        SetupError: Java, Spark or the Deequ jar is missing.
    """
    found = launch_process(resources, [*argv, "--only-reuse"], env, log_line)
    if found.status != NOT_REUSABLE:
        return found
    environment = load_environment(env.get("STEPZERO_ENVIRONMENT"))
    variables = stage_environment(resources, {**env, **spark_environment(environment)})
    command = [*submit_command(environment, resources), *job_file(), *argv]
    return run_watched(command, variables, timeout_seconds=resources.timeout_minutes * 60, log_line=log_line)


def submit_command(environment: Environment, resources: StageResources) -> list[str]:
    """Return the command up to the job's file."""
    settings = {**_settings(environment), **s3_settings(environment), **environment.spark.settings}
    jars = [deequ_jar(environment), *s3_jars(environment)]
    return [
        str(spark_home() / "bin" / "spark-submit"),
        *("--master", environment.spark.master, "--driver-memory", resources.memory),
        *("--jars", ",".join(map(str, jars))),
        *(part for name, value in sorted(settings.items()) for part in ("--conf", f"{name}={value}")),
    ]


def job_file() -> list[str]:
    """Return what spark-submit is given: the project's file, or ours."""
    return [str(project_file("jobs/stage.py"))]


def spark_home() -> Path:
    """Return Spark's folder: ``SPARK_HOME``, or the pyspark wheel, found without importing it.

    Raises:
        SetupError: There is none.
    """
    if os.environ.get("SPARK_HOME"):
        return Path(os.environ["SPARK_HOME"])
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SetupError(
            "Spark",
            value=bare("no package pyspark and no SPARK_HOME"),
            allowed="pyspark 3.5",
            action="run bin/stepzero setup, or set SPARK_HOME",
        )
    return Path(spec.origin).parent


def java_options(environment: Environment) -> str:
    """Return what the driver's Java is told besides its memory."""
    return "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" if environment.spark.quick_start else ""


def _settings(environment: Environment) -> dict[str, str]:
    """Return settings that keep the log readable, and a local Spark small and unseen from outside."""
    quiet = Path(__file__).with_name("log4j2.properties")
    options = f"-Dlog4j2.configurationFile={quiet.as_uri()} {java_options(environment)}"
    settings = {
        "spark.driver.extraJavaOptions": options.strip(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Text without a zone is read the same on every machine.
        "spark.sql.session.timeZone": "UTC",
    }
    if environment.spark.master.startswith("local"):
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": LOCAL_PARTITIONS,
        }
    return settings

"""`setup`: Java and the Deequ jar, found or fetched once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import typer

from stepzero.core.errors import SetupError, bare
from stepzero.launchers.runtime import (
    DEEQU_COORDINATES,
    DEEQU_SHA256,
    S3_JARS,
    deequ_jar,
    fetched_jar_path,
    java_home,
    s3_jar_path,
    s3_jars,
    sha256_of,
    spark_environment,
)
from stepzero.spec.environment import Environment

# The jar alone is enough on Spark 3.5; the resolver fails on some of what it declares.
_EXCLUDED = (
    "software.amazon.glue:dqdl",
    "net.sourceforge.f2j:arpack_combined_all",
    "org.scalanlp:breeze_2.12",
    "org.apache.spark:spark-core_2.12",
    "org.apache.spark:spark-sql_2.12",
    "org.scala-lang:scala-library",
    "org.scala-lang:scala-reflect",
)
# Each of the two is fetched by itself (what is excluded is not fetched, even where it was asked for); TLS by
# OpenSSL is not needed.
_S3_EXCLUDED = ("com.amazonaws:aws-java-sdk-bundle", "org.wildfly.openssl:wildfly-openssl")
_FETCH_SECONDS = 600


def setup() -> None:
    """Find Java and fetch the Deequ jar; `up` and `run` do this by themselves."""
    from stepzero.spec.load import load_environment

    environment = load_environment()
    ensure_runtime(environment, typer.echo)
    typer.echo(f"Java {java_home()} · Deequ {deequ_jar(environment)}")


def ensure_runtime(environment: Environment, say: Callable[[str], None]) -> None:
    """Check Java, and fetch the Deequ jar where it is missing.

    Raises:
        SetupError: There is no Java 17, the jar cannot be fetched, or its bytes are not the ones we know.
    """
    java_home()
    if environment.spark.deequ_jar is None and not fetched_jar_path().is_file():
        began = time.monotonic()
        say(f"fetching {DEEQU_COORDINATES} with Spark's resolver …")
        fetch_jar(environment, fetched_jar_path())
        say(f"fetched the Deequ jar: {time.monotonic() - began:.1f} s")
    deequ_jar(environment)
    if environment.store.startswith("s3://"):
        _ensure_s3_jars(environment, say)


def _ensure_s3_jars(environment: Environment, say: Callable[[str], None]) -> None:
    """Fetch what Spark reads S3 with, once: some hundred megabytes, and only where a store is there."""
    for name, (coordinates, digest) in S3_JARS.items():
        if not s3_jar_path(name).is_file():
            began = time.monotonic()
            say(f"fetching {coordinates} with Spark's resolver …")
            others = [one for one in _S3_EXCLUDED if not coordinates.startswith(f"{one}:")]
            _fetch(environment, coordinates, digest, s3_jar_path(name), exclude=",".join(others))
            say(f"fetched {name}: {time.monotonic() - began:.1f} s")
    s3_jars(environment)


def fetch_jar(environment: Environment, path: Path) -> None:
    """Fetch the Deequ jar with Spark's own resolver, check its digest, and put it in its place in one step.

    Raises:
        SetupError: It cannot be fetched or has other bytes.
    """
    _fetch(environment, DEEQU_COORDINATES, DEEQU_SHA256, path, exclude=",".join(_EXCLUDED))


def _fetch(environment: Environment, coordinates: str, expected: str, path: Path, *, exclude: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetch-") as folder:
        said = _resolve(environment, coordinates, exclude, Path(folder))
        group, name, _ = coordinates.split(":")
        found = next(Path(folder).glob(f"jars/{group}_{name}-*.jar"), None)
        if found is None:
            raise _not_fetched(coordinates, said)
        digest = sha256_of(found)
        if digest != expected:
            raise SetupError(
                f"fetched {coordinates}",
                value=bare(f"SHA-256 {digest}"),
                allowed=f"SHA-256 {expected}",
                action="do not use it; look at the repository that answered",
            )
        found.replace(path)


def _resolve(environment: Environment, coordinates: str, exclude: str, folder: Path) -> str:
    """Run an empty program with a jar as a package; return what the resolver said."""
    program = folder / "nothing.py"
    program.write_text("", encoding="utf-8")
    command = [str(spark_submit()), "--master", "local[1]", "--packages", coordinates]
    command += ["--exclude-packages", exclude, "--conf", f"spark.jars.ivy={folder}", str(program)]
    variables = {**os.environ, **spark_environment(environment)}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _not_fetched(coordinates, f"no end after {error.timeout} s") from error
    return done.stdout + done.stderr


def spark_submit() -> Path:
    """Return the spark-submit of the installed PySpark, found without importing it.

    Raises:
        SetupError: PySpark is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    if spec and spec.origin:
        return Path(spec.origin).parent / "bin" / "spark-submit"
    on_path = shutil.which("spark-submit")
    if on_path:
        return Path(on_path)
    raise SetupError(
        "PySpark", value=bare("not installed"), allowed="pyspark of requirements.txt", action="run bin/stepzero setup"
    )


def _not_fetched(coordinates: str, said: str) -> SetupError:
    end = "\n".join(f"  {line}" for line in said.strip().splitlines()[-12:])
    return SetupError(
        f"jar {coordinates}",
        value=bare(f"could not be fetched:\n{end}\n"),
        allowed="an answer of Maven Central (or of the mirror in your Ivy settings)",
        action="check the network and start again; of Deequ, environment spark.deequ_jar may name a jar of your own",
    )

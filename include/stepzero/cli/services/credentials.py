"""Secrets that this machine makes for itself: files that only their owner may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from stepzero.core.errors import SetupError, bare
from stepzero.spec.environment import Environment, Signing

ADMINISTRATOR = "admin"


class Credentials:
    """Secrets below ``$STEPZERO_HOME/secrets``, made when first asked for and then kept.

    Args:
        home: ``STEPZERO_HOME``.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "secrets"
        self.passwords_file = self.folder / "airflow_passwords.json"

    def ensure(self, environment: Environment) -> None:
        """Make what is missing, the tokens of the environment's endpoints included.

        Raises:
            SetupError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _kept(self.passwords_file, lambda: json.dumps({ADMINISTRATOR: secrets.token_urlsafe(18)}))
            if environment.s3 and environment.s3.credentials_file:
                Path(environment.s3.credentials_file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _kept(Path(environment.s3.credentials_file), _s3_key)
            if environment.signing:
                self.ensure_keys(environment.signing)
            for endpoint in environment.endpoints.values():
                if endpoint.token_file:
                    Path(endpoint.token_file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    _kept(Path(endpoint.token_file), lambda: secrets.token_urlsafe(32))
        except OSError as error:
            raise SetupError(
                f"secrets folder {self.folder}",
                value=bare(error.strerror or error),
                allowed="a folder we may write to",
                action="chmod it, or set STEPZERO_HOME to another folder",
            ) from error

    @staticmethod
    def ensure_keys(signing: Signing) -> None:
        """Make the pair of keys that signs evidence; a public key without its private one is somebody else's pair."""
        private, public = signing.private_key_file, Path(signing.public_key_file)
        if private is None or (_is_made(public) and not _is_made(Path(private))):
            return
        from stepzero.adapters.signing import make_key_pair, public_key_of

        Path(private).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = _kept(Path(private), lambda: make_key_pair()[0])
        _kept(public, lambda: public_key_of(kept))

    @property
    def administrator_password(self) -> str:
        """Return the password of Airflow's administrator.

        Raises:
            SetupError: No services were ever started from this home.
        """
        if not self.passwords_file.is_file():
            raise SetupError(
                f"password of Airflow's administrator {self.passwords_file}",
                value=bare("not there"),
                allowed="a home folder whose services were started at least once",
                action="bin/stepzero up, or set STEPZERO_HOME to the home of those that run",
            )
        return str(json.loads(self.passwords_file.read_text(encoding="utf-8"))[ADMINISTRATOR])

    @property
    def jwt_secret(self) -> str:
        """Return the key that signs Airflow's tokens; below 64 bytes it warns on every request."""
        return _kept(self.folder / "airflow_jwt_secret", lambda: secrets.token_hex(48))

    @property
    def session_key(self) -> str:
        """Return the key of Airflow's sessions."""
        return _kept(self.folder / "airflow_session_key", lambda: secrets.token_hex(32))

    @property
    def fernet_key(self) -> str:
        """Return the key that encrypts connections in Airflow's database."""
        key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        return _kept(self.folder / "airflow_fernet_key", lambda: key)


def _s3_key() -> str:
    """Return a key as Swift's s3api knows it: account and user."""
    return json.dumps({"key": "stepzero:admin", "secret": secrets.token_urlsafe(24)})


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Return the content of a secret file; make it first where it is not there, or was left empty by a full disk."""
    if not _is_made(path):
        _make(path, make())
    return path.read_text(encoding="utf-8").strip()


def _is_made(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _make(path: Path, secret: str) -> None:
    """Put a secret in its place, whole or not at all; where another start was quicker, its secret stays."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            if not _is_made(path):
                Path(beside).replace(path)
    finally:
        Path(beside).unlink(missing_ok=True)

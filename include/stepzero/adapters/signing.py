"""Signatures (Ed25519): whoever has the private key says it, whoever has the public one can check that.

Evidence of approvals lies in the store, where more people may write than may approve. A signature ties it to a key
that only the stage `approve` is given: from a file that nobody else may read, or from a variable that the launcher
fills from an Airflow connection. The key is never logged and never part of a result.
"""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stepzero.core.errors import PromotionError, StageError, bare
from stepzero.spec.base import Section

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from stepzero.spec.environment import Signing

_SHORT = 16
"""Hex digits of a public key's digest that name it."""


class Signature(Section):
    """What a key says of a statement."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: str
    """Names the public key: the beginning of its digest."""
    value: str
    """In base64."""


def make_key_pair() -> tuple[str, str]:
    """Return a new private key and its public one, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.decode(), public_key_of(made.decode())


def public_key_of(private: str) -> str:
    """Return the public key of a private one, both as PEM."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(private.encode(), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def sign(statement: bytes, settings: Signing, what: str) -> Signature:
    """Sign a statement.

    Args:
        statement: What is signed, to the byte.
        settings: Where the private key is.
        what: The statement's name, for errors.

    Raises:
        StageError: There is no private key here, it is none, or others may read its file.
    """
    key = _private_key(settings, what)
    return Signature(key=_name(key.public_key()), value=base64.b64encode(key.sign(statement)).decode())


def verify(statement: bytes, signature: Signature | None, settings: Signing, what: str) -> None:
    """Check that the environment's key signed a statement.

    Raises:
        PromotionError: It is not signed, signed by another key, or was changed since.
        StageError: The public key cannot be read.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public_key(settings)
    if signature is None:
        raise _refused(what, "no signature", key)
    if signature.key != _name(key):
        raise _refused(what, f"a signature of key {signature.key}", key)
    try:
        key.verify(base64.b64decode(signature.value, validate=True), statement)
    except (InvalidSignature, ValueError) as error:
        raise _refused(what, "a signature of something else: it was changed, or copied", key) from error


def key_name(settings: Signing) -> str:
    """Return what signatures call the environment's key.

    Raises:
        StageError: The public key cannot be read.
    """
    return _name(_public_key(settings))


def _refused(what: str, found: str, key: Ed25519PublicKey) -> PromotionError:
    return PromotionError(
        what,
        value=bare(found),
        allowed=f"what key {_name(key)} signed in the stage `approve`",
        action="approve a newer version in a new run; if nobody changed keys, find out who wrote the file",
    )


def _name(key: Ed25519PublicKey) -> str:
    import hashlib

    from cryptography.hazmat.primitives import serialization

    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:_SHORT]


def _private_key(settings: Signing, what: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    where, text = _private_text(settings, what)
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        # Not even a part of what was read is told.
        raise StageError(
            f"signing key in {where}",
            value=bare("something else"),
            allowed="an Ed25519 private key in PEM, without a password",
            action="openssl genpkey -algorithm ed25519 makes one",
        ) from None
    return key


def _private_text(settings: Signing, what: str) -> tuple[str, str]:
    """Return where the private key is, and its text."""
    variable, path = settings.private_key_variable, settings.private_key_file
    if variable and os.environ.get(variable):
        return f"variable {variable}", os.environ[variable]
    if path is None:
        raise StageError(
            f"signing key for {what}",
            value=bare(f"variable {variable} is not set" if variable else "none here"),
            allowed="a private key where the stage `approve` runs",
            action="set signing.private_key_file in the environment file, or the variable's secret",
        )
    _must_be_private(Path(path))
    return path, _read(path, "private")


def _must_be_private(path: Path) -> None:
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StageError(
            f"signing key {path}",
            value=bare(f"mode {stat.S_IMODE(path.stat().st_mode):04o}: others may read it"),
            allowed="mode 0600",
            action=f"make a new key, for others may have this one; chmod 600 {path}",
        )


def _public_key(settings: Signing) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = settings.public_key_file
    try:
        key = serialization.load_pem_public_key(_read(path, "public").encode())
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise StageError(
            f"public key {path}",
            value=bare("something else"),
            allowed="an Ed25519 public key in PEM",
            action="openssl pkey -in PRIVATE -pubout makes it",
        )
    return key


def _read(path: str, kind: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(
            f"{kind} key {path}",
            value=bare(error.strerror),
            allowed="a key in PEM",
            action="run `bin/stepzero up`, which makes the keys of this machine, or correct `signing`",
        ) from error

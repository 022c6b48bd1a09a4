"""Secrets that a machine makes for itself: whole or not there, and the same for everybody who asks."""

from __future__ import annotations

import json
import resource
import secrets
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepzero.cli.services import credentials
from stepzero.cli.services.credentials import Credentials
from stepzero.core.errors import SetupError
from stepzero.spec.environment import Environment, Signing

ENVIRONMENT = Environment(name="small", store="memory://store")


@contextmanager
def no_room() -> Iterator[None]:
    """Let every write of this process fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_leaves_no_empty_secret(tmp_path: Path) -> None:
    made = Credentials(tmp_path)
    with no_room(), pytest.raises(SetupError, match=r"secrets folder .*: got File too large"):
        made.ensure(ENVIRONMENT)
    assert list(made.folder.iterdir()) == []
    made.ensure(ENVIRONMENT)
    password = made.administrator_password
    assert len(password) >= 24
    assert [stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()] == [0o600]
    made.ensure(ENVIRONMENT)
    assert made.administrator_password == password


def test_empty_secret_of_an_earlier_start_is_made(tmp_path: Path) -> None:
    made = Credentials(tmp_path)
    made.folder.mkdir()
    for name in ("airflow_passwords.json", "airflow_jwt_secret"):
        (made.folder / name).touch(mode=0o600)
    made.ensure(ENVIRONMENT)
    assert made.administrator_password == json.loads(made.passwords_file.read_text())["admin"]
    assert len(made.jwt_secret) == 96
    assert made.jwt_secret == made.jwt_secret


def test_empty_private_key_is_not_made_anew_beside_a_public_one(tmp_path: Path) -> None:
    signing = Signing(private_key_file=str(tmp_path / "key"), public_key_file=str(tmp_path / "key.pub"))
    (tmp_path / "key").touch()
    (tmp_path / "key.pub").write_text("somebody's", encoding="utf-8")
    Credentials.ensure_keys(signing)
    assert (tmp_path / "key").read_text() == ""
    (tmp_path / "key.pub").write_text("", encoding="utf-8")
    Credentials.ensure_keys(signing)
    assert "PRIVATE KEY" in (tmp_path / "key").read_text()
    assert "PUBLIC KEY" in (tmp_path / "key.pub").read_text()


def test_two_first_starts_at_once_have_the_same_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, made = threading.Barrier(2), secrets.token_hex

    def token(size: int) -> str:
        both.wait(timeout=5)
        return made(size)

    (tmp_path / "secrets").mkdir()
    monkeypatch.setattr(credentials.secrets, "token_hex", token)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: Credentials(tmp_path).jwt_secret, range(2))
    assert first == second
    assert len(first) == 96
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["airflow_jwt_secret"]

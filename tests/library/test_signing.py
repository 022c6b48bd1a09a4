"""Signed evidence: a forged, copied, changed or unsigned file is refused, and the key is never told."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from stepzero.adapters.registry_records import Evidence, evidence_uri, note_evidence, verify_evidence
from stepzero.adapters.signing import key_name, make_key_pair, sign
from stepzero.adapters.store import Store
from stepzero.cli.services.credentials import Credentials
from stepzero.core.errors import PromotionError, StageError
from stepzero.spec.environment import Environment, Signing
from stepzero.spec.load import load_environment

DIGEST, OTHER = "a" * 32, "b" * 32


def keys(folder: Path, name: str = "key") -> Signing:
    """Return a new pair of keys in files, as `up` makes them."""
    signing = Signing(private_key_file=str(folder / name), public_key_file=str(folder / f"{name}.pub"))
    Credentials(folder).ensure(Environment(name="test", store="memory://x", signing=signing))
    return signing


def evidence(**changes: Any) -> Evidence:
    said: dict[str, Any] = {
        "use_case": "toy", "version": "1", "model_digest": DIGEST, "approved": True, "by": "Ada", "how": "person",
        "when": "2026-11-26T12:00:00+00:00", "why": "fewer misses", "gates": {}, "previous": None, "run": "r1",
        "threshold": 0.3, "documents": {"dossier": "d" * 32},
    }  # fmt: skip
    return Evidence(**{**said, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def checked(store: Store, signing: Signing | None, **changes: Any) -> Evidence:
    asked: dict[str, Any] = {"use_case": "toy", "version": "1", "model_digest": DIGEST, "threshold": 0.3, **changes}
    return verify_evidence(store, signing=signing, **asked)


def test_what_the_key_signed_passes(store: Store, tmp_path: Path) -> None:
    signing = keys(tmp_path)
    noted = note_evidence(store, evidence().signed(signing))
    assert noted.signature is not None
    assert noted.signature.key == key_name(signing)
    assert checked(store, signing) == noted
    assert noted.digest == evidence().digest, "a signature changes nothing that is said"


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "Eve"},
        {"why": "because"},
        {"model_digest": OTHER},
        {"version": "2"},
        {"threshold": 0.9},
        {"documents": {}},
        {"when": "2026-11-27T12:00:00+00:00"},
        {"format": 1},
    ],
)
def test_a_changed_or_copied_word_is_refused(store: Store, tmp_path: Path, changes: dict[str, Any]) -> None:
    signing = keys(tmp_path)
    altered = evidence().signed(signing).model_copy(update=changes)
    store.write_json(evidence_uri("toy", "1"), altered.model_dump(mode="json"))
    with pytest.raises(PromotionError) as raised:
        checked(store, signing, **{name: one for name, one in changes.items() if name in {"model_digest", "threshold"}})
    told = str(raised.value)
    assert "got a signature of something else: it was changed, or copied." in told
    assert f"Allowed: what key {key_name(signing)} signed in the stage `approve`" in told


def test_without_a_signature_or_with_another_key_nothing_serves(store: Store, tmp_path: Path) -> None:
    signing, others = keys(tmp_path), keys(tmp_path, "others")
    note_evidence(store, evidence())
    with pytest.raises(PromotionError, match=r"evidence of toy version 1: got no signature\. Allowed: what key"):
        checked(store, signing)
    assert checked(store, None).signature is None, "an environment without keys asks for none"
    store.write_json(evidence_uri("toy", "1"), evidence().signed(others).model_dump(mode="json"))
    with pytest.raises(PromotionError, match=f"got a signature of key {key_name(others)}"):
        checked(store, signing)


def test_another_line_than_the_approved_one_is_refused(store: Store, tmp_path: Path) -> None:
    signing = keys(tmp_path)
    note_evidence(store, evidence().signed(signing))
    with pytest.raises(PromotionError, match=r"threshold of toy version 1: got 0\.01\. Allowed: 0\.3, which was"):
        checked(store, signing, threshold=0.01)


def test_evidence_of_before_there_were_lines_still_says_what_it_said() -> None:
    old = evidence(format=1, threshold=None, documents={})
    assert "threshold" not in old.statement.decode()
    assert old.statement.startswith(b"stepzero evidence 1\n")


def test_keys_are_made_once_and_for_their_owner(tmp_path: Path) -> None:
    signing = keys(tmp_path)
    private = Path(str(signing.private_key_file))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_text(), key_name(signing)
    assert keys(tmp_path) == signing
    assert (private.read_text(), key_name(signing)) == before
    private.unlink()
    keys(tmp_path)
    assert not private.exists(), "a public key without its private one is somebody else's pair"


def test_a_key_that_others_may_read_signs_nothing_and_is_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signing = keys(tmp_path)
    private = Path(str(signing.private_key_file))
    secret = private.read_text().splitlines()[1]
    private.chmod(0o640)
    with caplog.at_level(logging.DEBUG), pytest.raises(StageError) as raised:
        sign(b"x", signing, "evidence")
    assert "mode 0640: others may read it. Allowed: mode 0600" in str(raised.value)
    assert secret not in str(raised.value) + caplog.text
    private.chmod(0o600)
    first_line = private.read_text(encoding="utf-8").splitlines()[0]
    private.write_text(f"{first_line}\n{secret[:-4]}AAAA", encoding="utf-8")
    with pytest.raises(StageError, match=r"got something else\. Allowed: an Ed25519 private key in PEM") as raised:
        sign(b"x", signing, "evidence")
    assert secret[:-4] not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_key_may_come_from_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_key_pair()
    (tmp_path / "pub").write_text(public, encoding="utf-8")
    signing = Signing(private_key_variable="TEST_KEY", public_key_file=str(tmp_path / "pub"))
    with pytest.raises(StageError, match=r"signing key for x: got variable TEST_KEY is not set\. Allowed: a"):
        sign(b"x", signing, "x")
    monkeypatch.setenv("TEST_KEY", private)
    assert sign(b"x", signing, "x").key == key_name(signing)


@pytest.mark.parametrize("name", ["local", "compose", "aws"])
def test_every_shipped_environment_signs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_HOME", "/nowhere")
    environment = load_environment(name)
    assert environment.signing is not None
    assert (environment.signing.private_key_variable in environment.secrets) == (name == "aws")

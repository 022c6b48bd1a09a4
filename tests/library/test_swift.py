"""The configuration of Swift: on loopback, secrets for their owner only, and settings that find it."""

from __future__ import annotations

import configparser
import stat
from pathlib import Path

import pytest

from stepzero.cli.services.swift import SERVERS, Swift, install
from stepzero.core.errors import SetupError
from stepzero.launchers.runtime import s3_settings, s3_variables
from stepzero.spec.environment import Environment, ObjectStore
from stepzero.spec.load import load_environment


@pytest.fixture
def swift(tmp_path: Path) -> Swift:
    made = Swift(tmp_path, ObjectStore(endpoint="http://127.0.0.1:9000", server="swift"))
    made.write("stepzero:admin", "quite-secret")
    return made


def read(swift: Swift, name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(swift.folder / name)
    return parser


def test_all_servers_listen_on_loopback_at_ports_of_their_own(swift: Swift) -> None:
    ports = set()
    for server in SERVERS:
        default = read(swift, f"{server}-server.conf")["DEFAULT"]
        assert default["bind_ip"] == "127.0.0.1"
        assert swift.address(server) == f"http://127.0.0.1:{default['bind_port']}"
        ports.add(default["bind_port"])
    assert ports == {"9000", "9001", "9002", "9003"}


def test_every_filter_of_the_pipeline_is_there_and_s3_comes_before_authentication(swift: Swift) -> None:
    proxy = read(swift, "proxy-server.conf")
    words = proxy["pipeline:main"]["pipeline"].split()
    assert words.index("s3api") < words.index("tempauth") < words.index("slo")
    assert {f"filter:{word}" for word in words[:-1]} <= set(proxy.sections())
    assert proxy["filter:tempauth"]["user_stepzero_admin"] == "quite-secret .admin"


def test_secrets_are_for_their_owner_only(swift: Swift) -> None:
    for path in swift.folder.glob("*.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_where_objects_lie_does_not_move_when_it_is_configured_again(swift: Swift) -> None:
    before = (swift.folder / "swift.conf").read_text()
    swift.write("stepzero:admin", "another")
    assert (swift.folder / "swift.conf").read_text() == before
    assert "another .admin" in (swift.folder / "proxy-server.conf").read_text()


def test_a_key_that_is_none_is_refused(swift: Swift) -> None:
    with pytest.raises(SetupError, match=r"S3 key for Swift: got 'admin\\nx'\. Allowed: ACCOUNT:USER"):
        swift.write("admin\nx", "s")


def test_a_missing_lock_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"lock s3\.txt: got missing.*run bin/stepzero lock"):
        install(tmp_path / "venv", tmp_path / "s3.txt")


def test_everything_finds_s3_by_the_environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    environment = load_environment("s3")
    assert environment.store == "s3://stepzero/store"
    with pytest.raises(SetupError, match=r"S3 credentials .*run bin/stepzero up --with s3"):
        s3_variables(environment)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "s3.json").write_text('{"key": "a:b", "secret": "c"}')
    assert s3_variables(environment) == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:8333",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a:b",
        "AWS_SECRET_ACCESS_KEY": "c",
    }
    settings = s3_settings(environment)
    assert settings["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:8333"
    assert settings["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert "c" not in settings.values(), "no secret on Spark's command line"
    assert (
        s3_settings(Environment(name="x", store="s3://b/s"))
        == s3_variables(Environment(name="x", store="s3://b/s"))
        == {}
    )

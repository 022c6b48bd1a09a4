"""Publishing through Feast: the catalogue, and online stores of several kinds."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from stepzero.adapters import feast_catalogue
from stepzero.adapters.feast_catalogue import FeastReader, feast_store, find_published, published_groups
from stepzero.adapters.feature_replay import FeatureReplay
from stepzero.adapters.online_features import EVENT, KNOWN, SqliteReader, open_reader, sqlite_path
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, ServiceError, SetupError, SpecError, StageError
from stepzero.core.stages import StageInput
from stepzero.spec.environment import Environment, FeatureStore
from support.aws import local_aws
from support.features import DAYS, Runs, use_case_of
from support.redis import redis_server
from support.stack import ROOT

SETTINGS = FeatureStore()
CLAIMS = pd.DataFrame({"policy": [1, 2, 3], "when": [1.0, 2.0, 3.0], "amount": [0.1, -2.5, 1e300], "label": [0, 1, 0]})
CUSTOMERS = pd.DataFrame(
    {
        "policy": [1, 2, 3],
        "age": [20, -30, 2**62],
        "income": [1.5, None, 1 / 3],
        "married": [True, False, True],
        "city": ["Köln", None, "a" * 300],
    }
)


def publisher(folder: Path) -> Runs:
    runs = Runs(folder, use_case_of())
    runs.environment = Environment(name="local", store=runs.store.root)
    return runs


def publish(runs: Runs, day: int, claims: pd.DataFrame = CLAIMS, customers: pd.DataFrame = CUSTOMERS) -> StageInput:
    groups = {
        name: runs.ingest(name, frame, DAYS[day]) for name, frame in (("claims", claims), ("customers", customers))
    }
    return runs.stage("publish_features", groups)


def counts(done: StageInput) -> dict[str, list[int]]:
    return {name: [one["written"], one["unchanged"], one["newer"]] for name, one in done.values["groups"].items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two groups, published once."""
    runs = publisher(tmp_path_factory.mktemp("published"))
    assert counts(publish(runs, 0)) == {"claims": [3, 0, 0], "customers": [3, 0, 0]}
    return runs


def test_our_reader_and_feast_give_the_same_answer_of_every_kind(runs: Runs) -> None:
    ids = [3, 404, 1, 2]
    ours, feast = open_reader(runs.store, SETTINGS), FeastReader(runs.store, SETTINGS)
    assert isinstance(ours, SqliteReader)
    for group in ("claims", "customers"):
        assert ours.read(group, "policy", ids) == feast.read(group, "policy", ids)
    found = ours.read("customers", "policy", ids)
    assert found[1] is None
    told = found[3]
    assert told is not None
    seconds = pd.Timestamp(DAYS[0]).value // 1000
    assert told == {"age": -30, "income": None, "married": False, "city": None, EVENT: seconds, KNOWN: seconds}
    claim = ours.read("claims", "policy", [3])[0]
    assert claim == {"amount": 1e300, EVENT: 3_000_000, KNOWN: seconds}, "and the target is not published"


def test_the_catalogue_names_groups_types_and_sources(runs: Runs) -> None:
    feast = feast_store(runs.store, SETTINGS)
    views = {view.name: view for view in feast.list_feature_views()}
    assert set(views) == {"claims", "customers"}
    assert {field.name: str(field.dtype) for field in views["customers"].features} == {
        "age": "Int64",
        "income": "Float64",
        "married": "Bool",
        "city": "String",
        EVENT: "Int64",
        KNOWN: "Int64",
    }
    assert views["claims"].tags["records"] == "3"
    assert [entity.join_key for entity in feast.list_entities()] == ["policy"]
    told = published_groups(runs.store)
    assert {name: one.records for name, one in told.items()} == {"claims": 3, "customers": 3}
    asked = pd.DataFrame({"policy": [1, 2], "event_timestamp": pd.Timestamp("2026-06-01", tz="UTC")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = feast.get_historical_features(asked, ["customers:age"]).to_df()
    assert frame.sort_values("policy")["age"].tolist() == [20, -30], "Feast's users can join what was published"


def test_feast_is_loaded_as_it_is_written_and_nobody_else_loses_type_checks(runs: Runs) -> None:
    import typeguard
    from feast import FeatureView

    feast_store(runs.store, SETTINGS)
    used = FeatureView.__init__.__code__.co_names
    assert "typeguard" not in used, "five seconds of compiling at every import"

    @typeguard.typechecked
    def checked(number: int) -> int:
        return number

    with pytest.raises(typeguard.TypeCheckError):
        checked("one")  # type: ignore[arg-type]


def test_publishing_again_writes_nothing_and_a_wiped_store_is_filled_again(tmp_path: Path) -> None:
    runs = publisher(tmp_path)
    publish(runs, 0)
    assert counts(publish(runs, 0)) == {"claims": [0, 3, 0], "customers": [0, 3, 0]}
    changed = CUSTOMERS.assign(age=[20, -30, 7])
    done = publish(runs, 1, customers=changed)
    assert counts(done) == {"claims": [0, 3, 0], "customers": [1, 2, 0]}
    assert done.values["as_of"] == "2026-01-02T02:00:00+00:00"
    for path in sqlite_path(runs.store, SETTINGS).parent.glob("online.db*"):
        path.unlink()
    assert counts(publish(runs, 1, customers=changed)) == {"claims": [3, 0, 0], "customers": [3, 0, 0]}


def test_an_earlier_run_that_comes_late_replaces_nothing(tmp_path: Path) -> None:
    runs = publisher(tmp_path)
    first = {name: runs.ingest(name, frame, DAYS[0]) for name, frame in (("claims", CLAIMS), ("customers", CUSTOMERS))}
    publish(runs, 1, customers=CUSTOMERS.assign(age=[21, 31, 41]))
    late = runs.stage("publish_features", first)
    assert counts(late) == {"claims": [0, 3, 0], "customers": [0, 0, 3]}
    ages = [one["age"] for one in open_reader(runs.store, SETTINGS).read("customers", "policy", [1, 2, 3]) if one]
    assert ages == [21, 31, 41]
    told = find_published(runs.store, "customers")
    assert told is not None
    assert told.as_of == "2026-01-02T02:00:00+00:00", "what was published last is not set back"


def test_offline_and_online_agree_after_late_corrections(tmp_path: Path) -> None:
    """The replay check: what the join says of a moment is what was published at it, also of an older event."""
    runs = publisher(tmp_path)
    claims = CLAIMS.assign(amount=[1.0, 2.0, 3.0])
    publish(runs, 0, claims)
    publish(runs, 1, claims.assign(when=[5.0, 2.0, 3.0], amount=[10.0, 2.0, 3.0]))
    done = publish(runs, 2, claims.assign(amount=[1.5, 2.5, 3.0]))
    assert counts(done)["claims"] == [1, 2, 0], "of policy 1 an older event was corrected: its newer one stands"
    reader = open_reader(runs.store, SETTINGS)
    assert [one["amount"] for one in reader.read("claims", "policy", [1, 2, 3]) if one] == [10.0, 2.5, 3.0]
    snapshot = runs.read(done.output("claims"))
    assert not FeatureReplay.of(reader, "claims", "policy", snapshot).differing.any()
    tampered = snapshot.assign(amount=[10.0, 2.5, 4.0])
    replay = FeatureReplay.of(reader, "claims", "policy", tampered)
    assert replay.differing.tolist() == [False, False, True]
    assert replay.told(2) == "amount 4.0 offline, 3.0 online"
    unknown = snapshot.assign(policy=[1, 2, 404])
    assert FeatureReplay.of(reader, "claims", "policy", unknown).told(2) == "not there"


def test_the_command_lists_groups_and_replays_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stepzero.cli.features import features

    runs = publisher(tmp_path)
    monkeypatch.setattr("stepzero.cli.features.load_environment", lambda: runs.environment)
    features()
    assert capsys.readouterr().out == "no feature group was published\n"
    publish(runs, 0)
    features(check=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("claims: 3 records by policy, 1 features, as known at 2026-01-01T02:00:00+00:00 (")
    assert all(line.endswith("; offline and online agree") for line in lines)
    with sqlite3.connect(sqlite_path(runs.store, SETTINGS)) as connection:
        connection.execute("DELETE FROM stepzero_customers WHERE feature_name = 'age'")
    with pytest.raises(typer.Exit) as ended:
        features("customers", check=True, as_json=True)
    assert ended.value.exit_code == 10
    assert json.loads(capsys.readouterr().out)[0]["differing"] == 3
    with pytest.raises(InputError, match=r"feature group: got 'custmers'\. Allowed: did you mean 'customers'"):
        features("custmers")


def test_several_publish_at_the_same_time_and_the_catalogue_is_whole(tmp_path: Path) -> None:
    runs = publisher(tmp_path)
    ingested = {
        name: runs.ingest(name, frame, DAYS[0]) for name, frame in (("claims", CLAIMS), ("customers", CUSTOMERS))
    }
    failed: list[Exception] = []

    def one(name: str) -> None:
        try:
            runs.stage("publish_features", {name: ingested[name]})
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the threads share Python's one list of filters
        workers = [
            threading.Thread(target=one, args=(name,)) for name in ("claims", "customers", "claims", "customers")
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
    assert failed == []
    assert [view.name for view in feast_store(runs.store, SETTINGS).list_feature_views()] == ["claims", "customers"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from stepzero.adapters import feast_catalogue
from stepzero.stages import features_publish
from service.test_feature_publishing import publisher, publish
write = feast_catalogue.write_online
def killed(feast, group, rows):
    write(feast, group, rows.iloc[:1])
    os.kill(os.getpid(), signal.SIGKILL)
features_publish.write_online = killed
publish(publisher(Path(sys.argv[1])), 0)
"""


def test_a_kill_in_the_middle_leaves_nothing_that_the_next_try_does_not_mend(tmp_path: Path) -> None:
    paths = os.pathsep.join(str(ROOT / name) for name in ("include", "plugins", "tests"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), str(ROOT / "tests")],
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    runs = publisher(tmp_path)
    assert find_published(runs.store, "claims") is None, "nothing is said to be published that is not"
    assert counts(publish(runs, 0)) == {"claims": [2, 1, 0], "customers": [3, 0, 0]}


def test_a_store_that_gives_back_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = publisher(tmp_path)
    from stepzero.stages import features_publish

    write = feast_catalogue.write_online

    def rounded(feast: Any, group: str, rows: pd.DataFrame) -> None:
        write(feast, group, rows.assign(amount=rows["amount"].round()) if group == "claims" else rows)

    monkeypatch.setattr(features_publish, "write_online", rounded)
    with pytest.raises(
        StageError,
        match=r"online store, group claims: got 2 records read back otherwise, for example 1: amount 0\.1 offl",
    ):
        publish(runs, 0)


def test_what_no_endpoint_can_be_asked_with_is_refused(tmp_path: Path) -> None:
    runs = publisher(tmp_path)
    timed = CUSTOMERS.assign(since=pd.Timestamp("2026-01-01"))
    with pytest.raises(
        InputError, match=r"feature since of group customers: got type datetime64.*Allowed: text, numbers"
    ):
        publish(runs, 0, customers=timed)
    with pytest.raises(
        InputError, match=r"record id policy of group claims: got type float64\. Allowed: whole numbers or"
    ):
        publish(runs, 0, claims=CLAIMS.assign(policy=[1.5, 2.5, 3.5]))


def test_an_online_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    reader = SqliteReader(tmp_path / "none.db")
    with pytest.raises(ServiceError, match=r"online store .*none\.db: got unable to open database file"):
        reader.read("claims", "policy", [1])
    with pytest.raises(SpecError, match=r"feature_store\.online: got .*Allowed: a path of a file that endpoints reach"):
        sqlite_path(Store("memory://x"), SETTINGS)
    elsewhere = FeatureStore(online={"type": "sqlite", "path": str(tmp_path / "elsewhere.db")})
    assert sqlite_path(Store("memory://x"), elsewhere) == tmp_path / "elsewhere.db"


def test_another_online_store_by_the_environment_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB, spoken by moto: the same stage, the same answers, through Feast's own reader."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with local_aws() as url:
        published_elsewhere(tmp_path, {"type": "dynamodb", "region": "eu-central-1", "endpoint_url": url})


def test_redis_by_the_environment_file_alone(tmp_path: Path) -> None:
    """A real server: the same again."""
    with redis_server(tmp_path) as address:
        published_elsewhere(tmp_path, {"type": "redis", "connection_string": address})


def published_elsewhere(folder: Path, online: dict[str, Any]) -> None:
    """Publish twice where an environment file says, and read every kind of value back as it was."""
    runs = publisher(folder)
    runs.environment = Environment(name="aws", store=runs.store.root, feature_store=FeatureStore(online=online))
    assert counts(publish(runs, 0)) == {"claims": [3, 0, 0], "customers": [3, 0, 0]}
    assert counts(publish(runs, 1, customers=CUSTOMERS.assign(age=[21, -30, 1]))) == {
        "claims": [0, 3, 0],
        "customers": [2, 1, 0],
    }
    reader = open_reader(runs.store, runs.environment.feature_store)
    assert isinstance(reader, FeastReader)
    found = reader.read("customers", "policy", [1, 404, 2])
    assert [one and one["age"] for one in found] == [21, None, -30]
    assert not (Path(runs.store.path("features")) / "online.db").exists()


def test_an_online_store_whose_client_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "feast.infra.online_stores.redis", raising=False)
    runs = publisher(tmp_path)
    for online, told in (
        (
            {"type": "redis"},
            r"type redis: .*redis.* Allowed: an online .* client is installed\. Do: install Feast's client of redis",
        ),
        ({"type": "rediss"}, r"type rediss: .* Allowed: a type of Feast's online stores.* Do: correct the environment"),
        ({"type": "sqlite", "paht": "x"}, r"type sqlite: .*paht.* Allowed: .*the settings that it has"),
    ):
        runs.environment = Environment(name="local", store=runs.store.root, feature_store=FeatureStore(online=online))
        with pytest.raises(
            (SetupError, SpecError), match=f"(?s)feature_store.online of the environment file: got {told}"
        ):
            publish(runs, 0)


def test_kinds_are_told_from_values_since_an_object_column_may_hold_anything() -> None:
    frame = pd.DataFrame({"id": ["a"], "n": [1], "x": [0.5], "t": ["x"], "b": [True], "none": [None]})
    assert feast_catalogue.kinds_of(frame, "toy", "id") == {
        "id": "string",
        "n": "bigint",
        "x": "double",
        "t": "string",
        "b": "boolean",
        "none": "string",
    }

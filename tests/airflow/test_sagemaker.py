"""Throw-away endpoints on SageMaker: made, asked, and removed with all that belongs to them, whatever fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException
from airflow.serialization.serialized_objects import DagSerialization

from stepzero.adapters.sagemaker import HostedEndpoint, hosted_name
from stepzero.core.errors import ServiceError, SetupError
from stepzero.serving.sagemaker import hosted_app
from stepzero.spec.environment import SageMaker as Granted
from support.abalone import abalones
from support.aws import KEYS, connection_to, local_aws
from support.rivals import Broken, Line, Rivals
from support.sagemaker import SageMaker
from support.stack import ROOT

MODELS = (
    "xgboost",
    "decision_tree",
    "random_forest",
    "nearest_neighbours",
    "least_absolute_deviations",
    "stochastic_gradient_descent",
)
STEPS = ("lease", "create", "ask", "remove")
NOTHING: dict[str, list[str]] = {"endpoints": [], "configs": [], "models": []}
GRANTED = Granted(
    role="arn:aws:iam::123456789012:role/execution",
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/stepzero:arm64",
    instance="ml.m5.large",  # moto knows no newer one
    check_seconds=1,
    healthy_seconds=20,
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_aws() as address:
        yield address


@pytest.fixture
def sagemaker(address: str, monkeypatch: pytest.MonkeyPatch) -> SageMaker:
    """SageMaker as operators find it by connection, and stages by AWS's variables."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection_to(address)))
    for name, value in (("ENDPOINT_URL", address), ("ACCESS_KEY_ID", KEYS["aws_access_key_id"]),
                        ("SECRET_ACCESS_KEY", KEYS["aws_secret_access_key"]),
                        ("DEFAULT_REGION", KEYS["region_name"])):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    return SageMaker(address, monkeypatch)


@pytest.fixture
def rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rivals:
    """The shipped DAG with six models, in an environment with SageMaker and without an endpoint host."""
    made = Rivals(tmp_path)
    played = {"launcher": "support.rivals_launcher:launch", "retry_delay_seconds": 0, "retries": 0}
    settings = {
        "name": "hosted",
        "store": made.store.root,
        "sagemaker": GRANTED.model_dump(),
        "airflow": {"uri": f"http://127.0.0.1:{os.environ['STEPZERO_AIRFLOW_PORT']}"},
        "approval": "rule",
        "stages": {"default": played, "remove_endpoint": {**played, "retries": 1}},
    }
    declared = abalones(train={"models": {name: {} for name in MODELS}}, promote={"require": {}}, compare={"tie": []})
    files = {"environment": settings, "usecases/abalone_age": declared.model_dump(mode="json", by_alias=True)}
    for name, data in files.items():
        path = tmp_path / "include" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data), encoding="utf-8")
    monkeypatch.setenv("STEPZERO_INCLUDE", str(tmp_path / "include"))
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", str(tmp_path / "include" / "environment.yaml"))
    monkeypatch.setenv("STEPZERO_HOME", str(tmp_path))
    return made


def run_of(rivals: Rivals, **estimators: Any) -> Any:
    """Run the DAG; what is not given did not learn."""
    rivals.give_whole_run(**dict.fromkeys(MODELS, "fold 0: ValueError: no luck") | estimators)
    return DagBag(str(ROOT / "dags" / "abalone_age.py")).dags["abalone_age"].test()


def states(run: Any) -> dict[str, list[str]]:
    """Return how each branch went, step by step."""
    found = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    return {name: [found[f"compare.{name}.{step}"] for step in STEPS] for name in MODELS}


def test_whatever_fails_nothing_is_left(api_server: str, rivals: Rivals, sagemaker: SageMaker) -> None:
    for function, name in (("model", "xgboost"), ("endpoint_config", "decision-tree"), ("endpoint", "random-forest")):
        sagemaker.refuse(f"create_{function}", name)
    sagemaker.never_serve("nearest-neighbours")
    run = run_of(rivals, **dict.fromkeys(MODELS, Line()) | {"least_absolute_deviations": Broken()})
    assert run.state == "failed"
    not_made = ["success", "failed", "upstream_failed", "success"]
    assert states(run) == {
        "xgboost": not_made,
        "decision_tree": not_made,
        "random_forest": not_made,
        "nearest_neighbours": not_made,
        "least_absolute_deviations": ["success", "success", "failed", "success"],
        "stochastic_gradient_descent": ["success"] * 4,
    }
    assert sagemaker.left() == NOTHING
    assert rivals.left() == {"processes": [], "leases": [], "files": []}


def test_a_winner_is_found_though_a_removal_fails_once(api_server: str, rivals: Rivals, sagemaker: SageMaker) -> None:
    sagemaker.refuse("delete_endpoint", "random-forest", times=1)
    run = run_of(rivals, xgboost=rivals.fitted(), random_forest=Line(90.0))
    found = states(run)
    assert found["xgboost"] == found["random_forest"] == ["success"] * 4
    assert found["decision_tree"] == ["success", "skipped", "skipped", "skipped"]
    tries = {ti.task_id: ti.try_number for ti in run.get_task_instances()}
    assert (tries["compare.random_forest.remove"], tries["compare.xgboost.remove"]) == (2, 1)
    assert run.state == "success"
    assert len(set(sagemaker.asked)) == 2, "both were asked through SageMaker"
    assert sagemaker.left() == NOTHING


def test_the_shipped_environment_of_aws_has_the_same_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPZERO_ENVIRONMENT", "aws")
    bags = [DagBag(str(ROOT / "dags" / "abalone_age.py")) for _ in range(2)]
    dag = bags[0].dags["abalone_age"]
    kinds = {step: type(dag.task_dict[f"compare.xgboost.{step}"]).__name__ for step in STEPS}
    assert kinds == {
        "lease": "StageOperator",
        "create": "SageMakerCreateOperator",
        "ask": "StageOperator",
        "remove": "SageMakerRemoveOperator",
    }
    lease, create, ask, remove = (dag.task_dict[f"compare.xgboost.{step}"] for step in STEPS)
    assert (lease.is_setup, remove.is_teardown, remove.on_failure_fail_dagrun) == (True, True, True)
    assert create.task_id in ask.upstream_task_ids
    assert {lease.task_id, ask.task_id} <= remove.upstream_task_ids
    assert create.deferrable, "no worker waits for SageMaker"
    one, two = (json.dumps(DagSerialization.to_dict(bag.dags["abalone_age"]), sort_keys=True) for bag in bags)
    assert one == two


def operators() -> Any:
    """Return the module of the operators; it loads the Amazon provider."""
    from stepzero_airflow.operators import sagemaker as module

    return module


def remove(name: str) -> Any:
    return operators().SageMakerRemoveOperator(task_id="remove", granted=GRANTED, name=name).execute({})


def make(sagemaker: SageMaker, name: str, kinds: tuple[str, ...] = ("Model", "EndpointConfig", "Endpoint")) -> str:
    """Make as much of an endpoint as is wanted; return what it is called there."""
    settings = operators().endpoint_settings({"name": name}, "s3://stepzero/store", GRANTED)
    functions = {"Model": "model", "EndpointConfig": "endpoint_config", "Endpoint": "endpoint"}
    for kind in kinds:
        getattr(sagemaker.client, f"create_{functions[kind]}")(**settings[kind])
    return hosted_name(name)


def test_removing_goes_on_where_it_ended(sagemaker: SageMaker) -> None:
    name = make(sagemaker, "one")
    sagemaker.refuse("delete_endpoint", name, times=1)
    with pytest.raises(AirflowException, match=rf"^endpoint {name}: .*the account's limit is reached$"):
        remove(name)
    assert sagemaker.left() == {"endpoints": [name], "configs": [], "models": []}, "the others went all the same"
    for _ in range(2):  # the second finds nothing, and no error
        remove(name)
    half = make(sagemaker, "half", ("Model",))
    remove(half)
    assert sagemaker.left() == NOTHING


def test_an_endpoint_that_is_still_being_made_is_waited_for(
    sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make(sagemaker, "slow")
    sagemaker.state.endpoints[name].endpoint_status = "Creating"

    def served(_: float) -> None:
        sagemaker.state.endpoints[name].endpoint_status = "InService"

    monkeypatch.setattr(operators().time, "sleep", served)
    remove(name)
    assert sagemaker.left() == NOTHING


def test_the_janitor_removes_what_outlived_its_lease_and_nothing_else(sagemaker: SageMaker, rivals: Rivals) -> None:
    dag = DagBag(str(ROOT / "dags" / "endpoint_janitor.py")).dags["endpoint_janitor"]
    old, young = make(sagemaker, "old"), make(sagemaker, "young")
    model = make(sagemaker, "model-alone", ("Model",))
    # moto keeps times without a zone, and sorts by them.
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=GRANTED.lease_seconds + 60)
    sagemaker.state.endpoints[old].creation_time = sagemaker.state._models[model].creation_time = long_ago
    theirs = {**operators().endpoint_settings({"name": "x"}, "s3://x", GRANTED)["Model"], "ModelName": "production"}
    sagemaker.client.create_model(**theirs)
    sagemaker.state._models["production"].creation_time = long_ago
    assert dag.task_dict["sweep"].execute({}) == sorted([model, old])
    assert sagemaker.left() == {"endpoints": [young], "configs": [young], "models": [young, "production"]}
    for name in (young, "production"):
        remove(name)


def test_without_sagemaker_there_is_no_janitor_of_it(environment: Any) -> None:
    found = DagBag(str(ROOT / "dags" / "endpoint_janitor.py"))
    assert (found.dags, found.import_errors) == ({}, {})


def test_nobody_answers_for_an_endpoint_that_is_not_there(
    sagemaker: SageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConnectionError, match="Could not connect to the endpoint URL"):
        HostedEndpoint("gone").post("{}")


def test_a_worker_without_a_region_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ServiceError) as unknown:
        HostedEndpoint("abalone_age-xgboost-0a1b2c3d")
    assert str(unknown.value) == (
        "SageMaker endpoint stepzero-lease-abalone-age-xgboost-0a1b2c3d: got You must specify a region. Allowed: a "
        "region, as AWS's own programs find it. Do: set AWS_DEFAULT_REGION where the stage runs"
    )


def test_a_container_without_its_variables_says_what_it_needs() -> None:
    with pytest.raises(SetupError) as missing:
        hosted_app({})
    assert str(missing.value) == (
        "variables STEPZERO_STORE and STEPZERO_LEASE: got missing. Allowed: a store and the lease of one endpoint, as "
        "SageMakerCreateOperator writes them. Do: let the operator make the SageMaker model"
    )


def test_names_are_short_and_without_underscores() -> None:
    assert hosted_name("abalone_age-xgboost-0a1b2c3d") == "stepzero-lease-abalone-age-xgboost-0a1b2c3d"
    assert len(hosted_name("abalone_age-" + "x" * 80 + "-0a1b2c3d")) == 63

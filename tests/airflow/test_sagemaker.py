"""SageMaker endpoints by the Amazon provider: made, asked, and removed with all that belongs to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from stepzero_airflow.operators.sagemaker import SageMakerRemoveOperator
from support.aws import KEYS, connection_to, local_aws

ROLE = "arn:aws:iam::123456789012:role/execution"


def config(name: str) -> dict[str, Any]:
    variant = {"VariantName": "all", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stepzero:arm64"
    return {
        "Model": {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image}},
        "EndpointConfig": {"EndpointConfigName": name, "ProductionVariants": [variant]},
        "Endpoint": {"EndpointName": name, "EndpointConfigName": name},
    }


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_aws() as address:
        yield address


@pytest.fixture
def sagemaker(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection_to(address)))
    return boto3.client("sagemaker", endpoint_url=address, **KEYS)  # type: ignore[call-overload]


def left(sagemaker: Any) -> dict[str, list[str]]:
    """Return all names that SageMaker knows."""
    return {
        "endpoints": [one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]],
        "configs": [one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
        "models": [one["ModelName"] for one in sagemaker.list_models()["Models"]],
    }


NOTHING: dict[str, list[str]] = {"endpoints": [], "configs": [], "models": []}


def make(name: str) -> None:
    from airflow.providers.amazon.aws.operators.sagemaker import SageMakerEndpointOperator

    create = SageMakerEndpointOperator(
        task_id="create", config=config(name), check_interval=1, max_ingestion_time=30, aws_conn_id="aws_default"
    )
    create.execute({})  # type: ignore[arg-type]


def remover(name: str) -> SageMakerRemoveOperator:
    return SageMakerRemoveOperator(task_id="remove", config=config(name), wait_seconds=5, check_seconds=0.05)


def test_endpoint_configuration_and_model_are_all_removed(sagemaker: Any) -> None:
    make("one")
    assert left(sagemaker) == {"endpoints": ["one"], "configs": ["one"], "models": ["one"]}
    remover("one").execute({})  # type: ignore[arg-type]
    assert left(sagemaker) == NOTHING
    remover("one").execute({})  # type: ignore[arg-type]  # again: nothing to do, and no error


def test_what_was_half_made_is_removed(sagemaker: Any) -> None:
    sagemaker.create_model(**config("half")["Model"])
    remover("half").execute({})  # type: ignore[arg-type]
    assert left(sagemaker) == NOTHING


def test_a_removal_that_fails_once_removes_the_rest_and_then_all(
    sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("stubborn")
    operator = remover("stubborn")
    client = operator._client()

    def refuse(**_: str) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "DeleteEndpoint")

    with monkeypatch.context() as patch:
        patch.setattr(client, "delete_endpoint", refuse)
        patch.setattr(operator, "_client", lambda: client)
        with pytest.raises(AirflowException, match=r"endpoint stubborn: .*Rate exceeded"):
            operator.execute({})  # type: ignore[arg-type]
    assert left(sagemaker) == {"endpoints": ["stubborn"], "configs": [], "models": []}, "the others went all the same"
    remover("stubborn").execute({})  # type: ignore[arg-type]
    assert left(sagemaker) == NOTHING

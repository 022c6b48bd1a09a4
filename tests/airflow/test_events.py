"""Arrivals by events: S3 tells a queue, the queue wakes the watcher; with a local AWS for the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from stepzero_airflow.sensors.arrival import ArrivalSensor
from stepzero_airflow.triggers.arrival import ArrivalTrigger
from support.aws import KEYS, connection_to, local_aws

PREFIX, BUCKET = "landing/abalone_age/", "arrivals"
LONG = 15.0
"""Seconds that a look waits for an event: what comes sooner was woken."""


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A local AWS; returns its address."""
    with local_aws() as address:
        yield address


@pytest.fixture
def queue(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket whose new objects are told to a queue; everything finds them by connection and variables."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection_to(aws)))
    for name, value in (("ENDPOINT_URL", aws), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"),
                        ("DEFAULT_REGION", "us-east-1")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    s3, sqs = (boto3.client(name, endpoint_url=aws, **KEYS) for name in ("s3", "sqs"))  # type: ignore[call-overload]
    s3.create_bucket(Bucket=BUCKET)
    url = str(sqs.create_queue(QueueName="arrivals")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=told)
    sqs.purge_queue(QueueUrl=url)
    return url


def client(aws: str, name: str) -> Any:
    return boto3.client(name, endpoint_url=aws, **KEYS)  # type: ignore[call-overload]


def test_an_event_wakes_the_watcher_and_is_taken_from_the_queue(aws: str, queue: str) -> None:
    s3, sqs = client(aws, "s3"), client(aws, "sqs")
    trigger = ArrivalTrigger(f"s3://{BUCKET}/store", "abalone_age", PREFIX, LONG, queue)

    async def watch() -> list[dict[str, Any]]:
        events = aiter(trigger.run())
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        s3.put_object(Bucket=BUCKET, Key=f"store/{PREFIX}a.libsvm", Body=b"9 1:1\n")
        first = dict((await waiting).payload)
        second = asyncio.ensure_future(anext(events))
        s3.put_object(Bucket=BUCKET, Key=f"store/{PREFIX}a.libsvm", Body=b"9 1:1\n")
        s3.put_object(Bucket=BUCKET, Key=f"store/{PREFIX}folder/", Body=b"")
        s3.put_object(Bucket=BUCKET, Key=f"store/{PREFIX}b.libsvm", Body=b"8 1:2\n")
        return [first, dict((await second).payload)]

    one, two = asyncio.run(watch())
    assert one["uris"] == [f"{PREFIX}a.libsvm"]
    assert two["uris"] == [f"{PREFIX}a.libsvm", f"{PREFIX}b.libsvm"], "the run of both claims both, each once"
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    assert sum(int(left[name]) for name in names) <= 3, "the first of four events was looked after and is gone"

    sensor = ArrivalSensor(task_id="await_arrivals", use_case="abalone_age", prefix=PREFIX, settle_seconds=0.05)
    environment = SimpleNamespace(store=f"s3://{BUCKET}/store")
    context: Any = {"run_id": "run-1", "dag_run": SimpleNamespace(run_type="asset_triggered"), "params": {}}
    assert sensor._claim(environment, context) == two["uris"]  # type: ignore[arg-type]
    assert sensor._claim(environment, {**context, "run_id": "run-2"}) == []  # type: ignore[arg-type]

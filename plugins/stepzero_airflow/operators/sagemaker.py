"""Throw-away endpoints on SageMaker: made by the Amazon provider's operator, and removed with all that belongs to them.

Importing the provider takes a second: where a DAG file is parsed this module is imported only if the environment has
SageMaker.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerEndpointOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from stepzero.adapters.leases import LEASE_VARIABLE, STORE_VARIABLE
from stepzero.adapters.sagemaker import PREFIX, hosted_name
from stepzero.spec.load import load_environment
from stepzero_airflow.operators.stage import refuse_after_no
from stepzero_airflow.runs import LONGEST_TEXT, open_store, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Context

    from stepzero.spec.environment import SageMaker

KINDS = ("endpoint", "endpoint_config", "model")
"""What there is of an endpoint, in the order in which it is removed: nothing may need what is gone."""
BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
"""States in which SageMaker lets nobody remove an endpoint."""
GONE = ("ValidationException", "ResourceNotFound", "ResourceNotFoundException")
"""What SageMaker answers about a name that it does not know."""


class SageMakerCreateOperator(SageMakerEndpointOperator):
    """Let SageMaker serve a leased model, and wait, without a worker, until it does.

    What a try that died has left is removed first: a name can be taken once only.

    Args:
        lease: What `lease_endpoint` handed on (templated).
        granted: The environment's SageMaker.
    """

    template_fields: Sequence[str] = (*SageMakerEndpointOperator.template_fields, "lease")

    def __init__(self, *, lease: Any, granted: SageMaker, **kwargs: Any) -> None:
        super().__init__(
            config={},
            aws_conn_id=granted.connection,
            check_interval=granted.check_seconds,
            max_ingestion_time=granted.healthy_seconds,
            deferrable=True,
            **kwargs,
        )
        self.lease = lease

    def execute(self, context: Context) -> dict[str, Any]:
        """Make model, configuration and endpoint.

        Raises:
            AirflowException: SageMaker refuses one of them, or something of an earlier try cannot be removed.
        """
        refuse_after_no({"lease": self.lease})
        environment = load_environment()
        granted = _granted(environment)
        leased = values_of(open_store(environment), self.lease)["lease"]
        self.config = endpoint_settings(leased, environment.store, granted)
        name = str(self.config["Endpoint"]["EndpointName"])
        with _telling(context):
            Remover(granted).remove(name)
            return _said(super().execute(context))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Say that it serves.

        Raises:
            AirflowException: It never did.
        """
        with _telling(context):
            return _said(super().execute_complete(context, event))


class SageMakerRemoveOperator(BaseOperator):
    """Remove an endpoint, its configuration and its model, and see that nothing is left.

    Each is removed whatever becomes of the others; what is not there is none the worse. The teardown of
    `SageMakerCreateOperator`, and of any `SageMakerEndpointOperator` that gives all three one name.

    Args:
        granted: The environment's SageMaker; how long an endpoint may take to be made is how long it may take to go.
        lease: What `lease_endpoint` handed on (templated); or say the name.
        name: Of all three (templated).
    """

    template_fields: Sequence[str] = ("lease", "name")

    def __init__(self, *, granted: SageMaker, lease: Any = None, name: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.granted, self.lease, self.name = granted, lease, name

    def execute(self, context: Context) -> dict[str, str]:
        """Remove all three and return their name.

        Raises:
            AirflowException: Something is left; a retry goes on where this ended.
        """
        refuse_after_no({"lease": self.lease})
        with _telling(context):
            name = self.name or self._leased()
            Remover(self.granted).remove(name)
        self.log.info("nothing is left of %s", name)
        return {"name": name}

    def _leased(self) -> str:
        return hosted_name(str(values_of(open_store(load_environment()), self.lease)["name"]))


class SageMakerSweepOperator(BaseOperator):
    """Remove every throw-away endpoint that outlived its lease, with configuration and model: the janitor.

    It asks SageMaker, not Airflow: also what a lost database knew of is found.

    Args:
        granted: The environment's SageMaker.
    """

    def __init__(self, *, granted: SageMaker, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.granted = granted

    def execute(self, context: Context) -> list[str]:
        """Remove what is too old and return the names.

        Raises:
            AirflowException: Something of them is left.
        """
        del context
        remover, lease_seconds = Remover(self.granted), self.granted.lease_seconds
        names = remover.older_than(datetime.now(UTC) - timedelta(seconds=lease_seconds), PREFIX)
        problems = []
        for name in names:
            self.log.warning("%s has outlived its lease of %g s", name, lease_seconds)
            try:
                remover.remove(name)
            except AirflowException as error:
                problems.append(str(error))
        if problems:
            raise AirflowException("; ".join(problems))
        return names


class Remover:
    """Removes from SageMaker.

    Args:
        granted: The environment's SageMaker.
    """

    def __init__(self, granted: SageMaker) -> None:
        self.check_seconds, self.wait_seconds = granted.check_seconds, granted.healthy_seconds
        self.client: Any = SageMakerHook(aws_conn_id=granted.connection).get_conn()  # type: ignore[no-untyped-call]

    def remove(self, name: str) -> None:
        """Remove endpoint, configuration and model of one name, each whatever becomes of the others.

        Raises:
            AirflowException: Something is left.
        """
        problems = [problem for kind in KINDS if (problem := self._problem(kind, name))]
        if problems:
            raise AirflowException("; ".join(problems))

    def older_than(self, moment: datetime, prefix: str) -> list[str]:
        """Return the names, beginning with a prefix, of which anything was made before a moment."""
        found = set()
        for kind in KINDS:
            title = _title(kind)
            for page in self.client.get_paginator(f"list_{kind}s").paginate():
                found |= {
                    str(one[f"{title}Name"])
                    for one in page[f"{title}s"]
                    if one["CreationTime"] < moment and str(one[f"{title}Name"]).startswith(prefix)
                }
        return sorted(found)

    def _problem(self, kind: str, name: str) -> str:
        """Remove one thing; return why it is still there, or nothing."""
        deadline = time.monotonic() + self.wait_seconds
        asked = False
        try:
            while time.monotonic() < deadline:
                told = self._call(f"describe_{kind}", kind, name)
                if not asked and told.get("EndpointStatus") not in BUSY:
                    self._call(f"delete_{kind}", kind, name)
                    asked = True
                    continue
                time.sleep(self.check_seconds)
        except _GoneError:
            return ""
        except (BotoCoreError, ClientError) as error:
            return f"{kind} {name}: {error}"
        return f"{kind} {name} is still there after {self.wait_seconds:g} s"

    def _call(self, function: str, kind: str, name: str) -> dict[str, Any]:
        try:
            return dict(getattr(self.client, function)(**{f"{_title(kind)}Name": name}))
        except ClientError as error:
            told = error.response["Error"]
            if told["Code"] in GONE and "ould not find" in told["Message"]:
                raise _GoneError from error
            raise


class _GoneError(Exception):
    """SageMaker does not know the name."""


def endpoint_settings(lease: Mapping[str, Any], store: str, granted: SageMaker) -> dict[str, Any]:
    """Return what SageMaker is asked to make for a lease: model, configuration and endpoint of one name."""
    name = hosted_name(str(lease["name"]))
    variables = {STORE_VARIABLE: store, LEASE_VARIABLE: json.dumps(lease)}
    container = {"Image": granted.image, "Environment": variables}
    variant = {
        "VariantName": "all",
        "ModelName": name,
        "InitialInstanceCount": 1,
        "InstanceType": granted.instance,
    }
    return {
        "Model": {"ModelName": name, "ExecutionRoleArn": granted.role, "PrimaryContainer": container},
        "EndpointConfig": {"EndpointConfigName": name, "ProductionVariants": [variant]},
        "Endpoint": {"EndpointName": name, "EndpointConfigName": name},
    }


def _granted(environment: Any) -> SageMaker:
    granted: SageMaker | None = environment.sagemaker
    if granted is None:
        raise AirflowException("the environment has no sagemaker section any more: parse the DAG file again")
    return granted


def _said(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others need of what the provider's operator returns; XCom is no place for the rest."""
    return {"name": made["Endpoint"]["EndpointName"], "status": made["Endpoint"]["EndpointStatus"]}


def _title(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


@contextmanager
def _telling(context: Context) -> Iterator[None]:
    """Let the run's note say what went wrong."""
    try:
        yield
    except Exception as error:
        if "ti" in context:
            context["ti"].xcom_push("error", {"message": str(error)[:LONGEST_TEXT]})
        raise

"""What the Amazon provider leaves to its users: the removal of a SageMaker endpoint with all that was made for it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context

GONE = ("ValidationException", "ResourceNotFound", "ResourceNotFoundException")
"""What SageMaker answers about a name that it does not know."""


class SageMakerRemoveOperator(BaseOperator):
    """Remove an endpoint, its configuration and its model, and see that nothing is left.

    Each is removed whatever becomes of the others; what is not there is none the worse. A teardown of
    `SageMakerEndpointOperator`, which makes all three.

    Args:
        config: As the endpoint was made: ``Model``, ``EndpointConfig``, ``Endpoint`` with their names (templated).
        aws_conn_id: Airflow connection.
        wait_seconds: How long SageMaker may take to remove an endpoint.
        check_seconds: Time between two looks.
    """

    template_fields: Sequence[str] = ("config",)

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        aws_conn_id: str = "aws_default",
        wait_seconds: float = 600,
        check_seconds: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config, self.aws_conn_id = config, aws_conn_id
        self.wait_seconds, self.check_seconds = wait_seconds, check_seconds

    def execute(self, context: Context) -> dict[str, str]:
        """Remove all three and return their names.

        Raises:
            AirflowException: Something is left; a retry goes on where this ended.
        """
        del context
        client = self._client()
        names = {
            "endpoint": str(self.config["Endpoint"]["EndpointName"]),
            "endpoint_config": str(self.config["EndpointConfig"]["EndpointConfigName"]),
            "model": str(self.config["Model"]["ModelName"]),
        }
        problems = [problem for kind, name in names.items() if (problem := self._removed(client, kind, name))]
        if problems:
            raise AirflowException("; ".join(problems))
        self.log.info("nothing is left of %s", names["endpoint"])
        return names

    def _client(self) -> Any:
        from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

        return SageMakerHook(aws_conn_id=self.aws_conn_id).get_conn()  # type: ignore[no-untyped-call]

    def _removed(self, client: Any, kind: str, name: str) -> str:
        """Remove one thing; return why it is still there, or nothing."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        words = {"".join(word.capitalize() for word in kind.split("_")) + "Name": name}
        try:
            with contextlib.suppress(_GoneError):
                _call(getattr(client, f"delete_{kind}"), words)
            deadline = time.monotonic() + self.wait_seconds
            while time.monotonic() < deadline:
                _call(getattr(client, f"describe_{kind}"), words)
                time.sleep(self.check_seconds)
        except _GoneError:
            return ""
        except (BotoCoreError, ClientError) as error:
            return f"{kind} {name}: {error}"
        return f"{kind} {name} is still there after {self.wait_seconds:g} s"


class _GoneError(Exception):
    """SageMaker does not know the name."""


def _call(function: Callable[..., Any], words: dict[str, str]) -> None:
    from botocore.exceptions import ClientError

    try:
        function(**words)
    except ClientError as error:
        told = error.response["Error"]
        if told["Code"] in GONE and "ould not find" in told["Message"]:
            raise _GoneError from error
        raise

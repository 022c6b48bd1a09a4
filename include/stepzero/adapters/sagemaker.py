"""Endpoints that SageMaker runs: what they are called there, and how one is asked."""

from __future__ import annotations

import botocore.session  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from stepzero.core.errors import ServiceError, bare

PREFIX = "stepzero-lease-"
"""What the names of throw-away endpoints begin with: whatever else an account has is left alone."""
LONGEST_NAME = 63


def hosted_name(lease: str) -> str:
    """Return the name that a lease has on SageMaker, where underscores are no letters and names are short.

    >>> hosted_name("abalone_age-random_forest-0a1b2c3d")
    'stepzero-lease-abalone-age-random-forest-0a1b2c3d'
    """
    room = LONGEST_NAME - len(PREFIX)
    return f"{PREFIX}{lease.replace('_', '-')[-room:].lstrip('-')}"


class HostedEndpoint:
    """An endpoint that is asked through SageMaker; region and credentials are found as AWS's own programs find them.

    Args:
        lease: Name of its lease.

    Raises:
        ServiceError: No region is known.
    """

    def __init__(self, lease: str) -> None:
        self.name = hosted_name(lease)
        try:
            self._client = botocore.session.get_session().create_client("sagemaker-runtime")
        except BotoCoreError as error:
            raise ServiceError(
                f"SageMaker endpoint {self.name}",
                value=bare(str(error).rstrip(".")),
                allowed="a region, as AWS's own programs find it",
                action="set AWS_DEFAULT_REGION where the stage runs",
            ) from error

    def post(self, body: str) -> tuple[int, str]:
        """Send a body; return status and text of the answer.

        Raises:
            ConnectionError: SageMaker cannot be reached, or there are no credentials.
        """
        try:
            answer = self._client.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=body)
        except ClientError as error:
            told = error.response
            return int(told["ResponseMetadata"]["HTTPStatusCode"]), str(told["Error"]["Message"])
        except BotoCoreError as error:
            raise ConnectionError(str(error)) from error
        return int(answer["ResponseMetadata"]["HTTPStatusCode"]), answer["Body"].read().decode()

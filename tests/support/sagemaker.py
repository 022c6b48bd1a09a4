"""A local SageMaker that does with a model what SageMaker does: its container is started, and asked; or it refuses.

The API is moto's. What moto leaves out is played here, in this process: the container is the product's own
(`stepzero.serving.sagemaker`), started with the variables that the model was made with.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from support.aws import KEYS
from support.stack import wait_for

ACCOUNT = "123456789012"
KINDS = ("model", "endpoint_config", "endpoint")
MODEL_ERROR = 424


class SageMaker:
    """What is there, and what goes wrong.

    Args:
        address: The local AWS.
        patch: Undoes everything at the end of the test.
    """

    def __init__(self, address: str, patch: pytest.MonkeyPatch) -> None:
        self.client: Any = boto3.client("sagemaker", endpoint_url=address, **KEYS)  # type: ignore[call-overload]
        self.patch = patch
        self.asked: list[str] = []
        # Called with moto's request, which would answer every endpoint alike.
        patch.setattr(SageMakerRuntimeResponse, "invoke_endpoint", lambda request: self._invoke(request))

    @property
    def state(self) -> Any:
        """What moto keeps."""
        return sagemaker_backends[ACCOUNT][KEYS["region_name"]]

    def left(self) -> dict[str, list[str]]:
        """Return all names that SageMaker knows."""
        return {
            "endpoints": [one["EndpointName"] for one in self.client.list_endpoints()["Endpoints"]],
            "configs": [one["EndpointConfigName"] for one in self.client.list_endpoint_configs()["EndpointConfigs"]],
            "models": [one["ModelName"] for one in self.client.list_models()["Models"]],
        }

    def refuse(self, function: str, part_of_name: str, times: int = 1_000) -> None:
        """Refuse what a function is asked for names with a part in them, so many times."""
        kept, left = getattr(SageMakerModelBackend, function), [times]

        def asked(backend: Any, *given: Any, **words: Any) -> Any:
            if part_of_name in f"{given} {words}" and left[0] > 0:
                left[0] -= 1
                raise JsonRESTError("ResourceLimitExceeded", f"{function}: the account's limit is reached")
            return kept(backend, *given, **words)

        self.patch.setattr(SageMakerModelBackend, function, asked)

    def never_serve(self, part_of_name: str) -> None:
        """Let endpoints with a part in their names fail after they were made."""
        kept = SageMakerModelBackend.create_endpoint

        def made(backend: Any, *given: Any, **words: Any) -> Any:
            endpoint = kept(backend, *given, **words)
            if part_of_name in endpoint.endpoint_name:
                endpoint.endpoint_status, endpoint.failure_reason = "Failed", "it did not pass the ping health check"
            return endpoint

        self.patch.setattr(SageMakerModelBackend, "create_endpoint", made)

    def _invoke(self, request: Any) -> tuple[int, dict[str, str], str]:
        """Ask the container of an endpoint's model, as SageMaker's router does."""
        from starlette.testclient import TestClient

        from stepzero.serving.sagemaker import hosted_app

        name = request.path.split("/")[2]
        self.asked.append(name)
        config = self.state.endpoint_configs[self.state.endpoints[name].endpoint_config_name]
        model = self.state._models[config.production_variants[0]["ModelName"]]
        with TestClient(hosted_app(model.primary_container["Environment"])) as container:
            wait_for("the container", lambda: container.get("/ping").status_code == HTTPStatus.OK, every=0.02)
            answer = container.post(
                "/invocations", content=request.body, headers={"Content-Type": request.headers["Content-Type"]}
            )
        if answer.status_code == HTTPStatus.OK:
            return 200, {"Content-Type": "application/json"}, answer.text
        told = f"Received server error ({answer.status_code}) from all with message {answer.text}"
        return MODEL_ERROR, {"x-amzn-errortype": "ModelError"}, json.dumps({"Message": told})

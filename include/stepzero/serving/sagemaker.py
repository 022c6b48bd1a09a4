"""What the project's container runs on SageMaker: one model of a lease, on the port that SageMaker asks.

Nobody else reaches the port, and AWS decides who may ask before a request gets there: no token is asked for.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from stepzero.adapters.leases import LEASE_VARIABLE, STORE_VARIABLE, Lease
from stepzero.adapters.store import Store
from stepzero.core.errors import SetupError, StepzeroError, bare
from stepzero.core.logs import configure
from stepzero.serving.app import make_app
from stepzero.serving.ephemeral import Pinned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

PORT = 8080


def hosted_app(variables: Mapping[str, str]) -> FastAPI:
    """Return the application of the lease that the container's variables hold.

    Raises:
        SetupError: One of them is missing, or is not what the operator of Airflow wrote.
    """
    try:
        lease = Lease.model_validate_json(variables[LEASE_VARIABLE])
        return make_app(Pinned(Store(variables[STORE_VARIABLE]), lease))
    except (KeyError, ValueError) as error:
        raise SetupError(
            f"variables {STORE_VARIABLE} and {LEASE_VARIABLE}",
            value=bare("missing" if isinstance(error, KeyError) else "not a lease"),
            allowed="a store and the lease of one endpoint, as SageMakerCreateOperator writes them",
            action="let the operator make the SageMaker model",
        ) from error


def main() -> int:
    """Serve until told to end."""
    import uvicorn

    configure()
    try:
        app = hosted_app(os.environ)
    except StepzeroError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    # All addresses: SageMaker's router comes from outside of the container.
    uvicorn.run(app, host="0.0.0.0", port=PORT, log_config=None, access_log=False, server_header=False)  # noqa: S104
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`stepzero endpoint-host`: ephemeral endpoints of all use cases, in the foreground."""

from __future__ import annotations

import signal
import threading


def endpoint_host() -> None:
    """Start, watch and remove ephemeral endpoints as their leases say; `up` runs this."""
    from stepzero.adapters.store import Store
    from stepzero.serving.host import EndpointHost
    from stepzero.spec.load import load_environment

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    environment = load_environment()
    EndpointHost(Store(environment.store), environment).run(stop)

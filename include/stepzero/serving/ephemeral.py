"""One ephemeral endpoint: a process that serves one model of a lease until it is ended.

It answers as any endpoint does. What it serves was not approved and never is in production: it is there to be
compared. It dies with the host that started it.
"""

from __future__ import annotations

import argparse
import logging
import resource
import socket
import sys
from pathlib import Path

from stepzero.adapters.leases import Lease, read_lease
from stepzero.adapters.store import Store
from stepzero.core.errors import StepzeroError, StoreError, bare
from stepzero.core.logs import configure
from stepzero.launchers.lifetime import die_with_parent
from stepzero.serving.versions import Served, Watch

log = logging.getLogger("stepzero")

ROOM = 2
"""Private memory that may be asked for, in multiples of the limit of resident memory: libraries reserve more than they
touch. The host watches what is touched."""


class Pinned(Watch):
    """Serve the model of one lease, loaded once."""

    def __init__(self, store: Store, lease: Lease) -> None:
        super().__init__(store, lease.use_case)
        self.lease = lease

    def look(self) -> None:
        """Load the model, or say why it cannot be served."""
        if self.current is not None or self.problem is not None:
            return
        try:
            self.current = load_leased(self.store, self.lease)
        except (StepzeroError, MemoryError) as error:
            self._refuse(str(error) or type(error).__name__)
        except Exception as error:
            log.exception("the model of %s could not be loaded", self.lease.name)
            self._refuse(f"{type(error).__name__}: {error}")

    def _refuse(self, message: str) -> None:
        log.error("%s: %s", self.lease.name, message)
        self.problem = {"version": self.lease.name, "message": message[:500], "retry": False}


def load_leased(store: Store, lease: Lease) -> Served:
    """Load a lease's model; its digests are verified.

    Raises:
        StoreError: The lease names no model, or its files are missing or changed.
    """
    from stepzero.learning.model import load_model

    if lease.reference is None:
        raise StoreError(
            f"lease {lease.name}", value=bare("no model"), allowed="a model", action="create the endpoint, then ask it"
        )
    model = load_model(store, lease.reference)
    return Served(lease.name, lease.reference.digest, model.threshold, model)


def main(arguments: list[str]) -> int:
    """Serve on an inherited socket until told to end."""
    import uvicorn

    from stepzero.serving.app import make_app

    configure()
    die_with_parent()
    parser = argparse.ArgumentParser(prog="stepzero.serving.ephemeral")
    for name in ("--store", "--name", "--token-file"):
        parser.add_argument(name, required=name != "--token-file")
    parser.add_argument("--socket", type=int, required=True)
    asked = parser.parse_args(arguments)
    store = Store(asked.store)
    lease = read_lease(store, asked.name)
    if lease is None:
        log.error("lease %s is gone", asked.name)
        return 1
    _limit(lease.memory_mb)
    token = Path(asked.token_file).read_text(encoding="utf-8").strip() if asked.token_file else None
    config = uvicorn.Config(
        make_app(Pinned(store, lease), token=token), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=asked.socket)])
    return 0


def _limit(megabytes: int) -> None:
    """Let the kernel refuse memory far beyond the limit; Linux only, elsewhere the host alone watches."""
    if sys.platform.startswith("linux"):
        most = megabytes * 2**20 * ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a run begins with where files start runs: it claims what arrived, each file once."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException

from stepzero.spec.load import load_environment
from stepzero_airflow.sensors.names import few_enough
from stepzero_airflow.triggers.arrival import ArrivalTrigger, open_arrivals

if TYPE_CHECKING:
    from airflow.sdk import Context

    from stepzero.spec.environment import Environment

ASSET_RUNS = frozenset({"asset_triggered", "asset_materialization"})


class ArrivalSensor(BaseSensorOperator):
    """Claim what arrived; wait for it, on the triggerer, where a run began before it.

    A run that events started, and that finds everything claimed by another, is skipped. A run by hand with a batch
    named claims that file alone.

    Args:
        use_case: Whose claims say what is known.
        prefix: Where files land, relative to the store.
        poll_seconds: Time between two looks.
        settle_seconds: Time between the two looks before claiming: what changes meanwhile is still being written.
        wait_hours: After that a run that waits is skipped.
    """

    custom_operator_name = "sensor"

    def __init__(
        self,
        *,
        use_case: str,
        prefix: str,
        poll_seconds: float = 10,
        settle_seconds: float = 1,
        wait_hours: float = 22,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_case, self.prefix = use_case, prefix
        self.poll_seconds, self.settle_seconds, self.wait_hours = poll_seconds, settle_seconds, wait_hours

    def execute(self, context: Context) -> list[str]:
        """Claim and pass, or wait."""
        environment = load_environment()
        named = context["params"].get("batch")
        if named:
            self._claim(environment, context, named=str(named))
            self.log.info("the form names batch %s", named)
            return []
        uris = self._claim(environment, context)
        if uris:
            return self._hand_on(uris)
        if context["dag_run"].run_type in ASSET_RUNS:
            raise AirflowSkipException(f"everything under {self.prefix} is claimed by other runs already")
        self.log.info("waiting for a file under %s/%s", environment.store, self.prefix)
        seconds = self.wait_hours * 3600
        self.defer(
            trigger=ArrivalTrigger(
                environment.store, self.use_case, self.prefix, self.poll_seconds, wait_seconds=seconds
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=seconds + 600),
        )
        return []

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Claim what the trigger saw; another run may have been quicker, then wait again.

        Raises:
            AirflowSkipException: Nothing landed in time.
        """
        if event["status"] != "landed":
            raise AirflowSkipException(f"nothing landed under {self.prefix} within {self.wait_hours:g} hours")
        return self.execute(context)

    def _claim(self, environment: Environment, context: Context, named: str | None = None) -> list[str]:
        """Return the run's manifest after claiming what is complete; an earlier try's is found again."""
        from stepzero.adapters.arrivals import GROWING, claimed_uris, settled

        arrivals, run = open_arrivals(environment.store, self.use_case, self.prefix), context["run_id"]
        mine = claimed_uris(arrivals.store, self.use_case, run)
        if mine:
            self.log.info("an earlier try of this task has claimed %d files", len(mine))
            return mine
        before = arrivals.listing()
        if arrivals.fresh(before):
            time.sleep(self.settle_seconds)
        now = arrivals.listing()
        for uri, reason in now.refused.items():
            self.log.info("%s is not taken: %s", uri, reason)
        complete = settled(before, now)
        fresh = {uri: one for uri, one in arrivals.fresh(now).items() if named is None or uri.endswith(f"/{named}")}
        for uri in sorted(set(fresh) - set(complete)):
            self.log.info("%s is not taken: %s", uri, GROWING)
        return arrivals.claim(run, [one for uri, one in fresh.items() if uri in complete])

    def _hand_on(self, uris: list[str]) -> list[str]:
        self.log.info("%d files are this run's: %s", len(uris), ", ".join(uris[:20]))
        return few_enough(uris)

"""What a run waits for before anything else: a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from stepzero.spec.load import load_environment
from stepzero_airflow.runs import open_store
from stepzero_airflow.sensors.names import few_enough
from stepzero_airflow.triggers.batch import BatchTrigger, waiting_files, waiting_tables

if TYPE_CHECKING:
    from airflow.sdk import Context

SCHEDULED = frozenset({"scheduled", "backfill"})


class BatchSensor(BaseSensorOperator):
    """Wait until a batch has landed, on the triggerer; hand on the names of its files.

    Listing and ledger decide; an event would only wake it. What a run has accepted or refused is no news. A run by
    hand passes at once where anything has landed: the person chose a batch in the form, or the plan takes what no run
    has judged, or else what was accepted last.

    Args:
        use_case: Whose ledger says what was judged already.
        prefix: Where files land, relative to the store.
        poll_seconds: Time between two looks.
        wait_hours: After that the run is skipped: a day without data is no failure.
        tables: Table → prefix, where there are several: a batch is new files of all of them. A run by hand passes where
            every table has landed at all.
        daily: Whether each day has a folder of its own: a scheduled run waits for its day's files, accepted or not,
            and no longer than so many hours after the day's end; a day long gone is looked for once.
    """

    custom_operator_name = "sensor"

    def __init__(
        self,
        *,
        use_case: str,
        prefix: str,
        poll_seconds: float = 10,
        wait_hours: float = 22,
        daily: bool = False,
        tables: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_case = use_case
        self.prefix = prefix
        self.poll_seconds = poll_seconds
        self.wait_hours = wait_hours
        self.daily = daily
        self.tables = tables

    def execute(self, context: Context) -> list[str]:
        """Pass, or wait on the triggerer."""
        environment = load_environment()
        if context["dag_run"].run_type not in SCHEDULED:
            named = context["params"].get("batch")
            if named:
                self.log.info("the form names batch %s", named)
                return []
            found = self._new(environment)
            if found or self._has_landed(environment):
                return self._hand_on(sorted(found))
        if self.daily:
            return self._await_day(context, environment)
        self._wait(environment, self.prefix, self.wait_hours * 3600)
        return []

    def _await_day(self, context: Context, environment: Any) -> list[str]:
        """Pass where the day's files are there; wait for them as long as they may still come."""
        from stepzero.adapters.ledger import landed_uris

        dag_run = context["dag_run"]
        start, end = dag_run.data_interval_start, dag_run.data_interval_end
        if start is None or end is None:
            raise AirflowFailException("a scheduled run of daily partitions needs a data interval: schedule=daily(...)")
        folder = f"{self.prefix}{start.date().isoformat()}/"
        found = landed_uris(open_store(environment), folder)
        left = (end - datetime.now(UTC)).total_seconds() + self.wait_hours * 3600
        if found:
            return self._hand_on(found)
        if left <= 0:
            raise AirflowSkipException(f"nothing landed under {folder}, and its day is long gone")
        self._wait(environment, folder, left)
        return []

    def _wait(self, environment: Any, prefix: str, seconds: float) -> None:
        awaited = list(self.tables.values()) if self.tables else [prefix]
        self.log.info("waiting for a file under %s/%s", environment.store, ", ".join(awaited))
        self.defer(
            trigger=BatchTrigger(environment.store, self.use_case, prefix, self.poll_seconds, seconds, self.tables),
            method_name="execute_complete",
            # The trigger ends by itself; this is for one whose triggerer was lost.
            timeout=timedelta(seconds=seconds + 600),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Hand on what the trigger found.

        Raises:
            AirflowSkipException: Nothing landed in time.
        """
        del context
        if event["status"] != "landed":
            raise AirflowSkipException(f"nothing landed under {self.prefix} within {self.wait_hours:g} hours")
        return self._hand_on(event["uris"])

    def _new(self, environment: Any) -> dict[str, int]:
        if self.tables:
            return waiting_tables(environment.store, self.use_case, self.tables)
        return waiting_files(environment.store, self.use_case, self.prefix)

    def _has_landed(self, environment: Any) -> bool:
        from stepzero.adapters.ledger import landed_uris

        store = open_store(environment)
        return all(landed_uris(store, prefix) for prefix in (self.tables or {"": self.prefix}).values())

    def _hand_on(self, uris: list[str]) -> list[str]:
        self.log.info(
            "%d new files: %s", len(uris), ", ".join(uris[:20]) or "none; the plan takes what was accepted last"
        )
        return few_enough(uris)

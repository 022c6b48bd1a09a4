"""Letting quarantined rows go: what the trigger form asks for, as one task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stepzero.core.errors import ServiceError
from stepzero.spec.load import load_environment, validate
from stepzero.spec.release import ReleaseForm
from stepzero_airflow.hooks.airflow_api import airflow_api
from stepzero_airflow.operators.plan import as_of, run_link
from stepzero_airflow.operators.stage import StageOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


class ReleaseOperator(StageOperator):
    """Launch the stage `release` with what a person filled in; who that was is what Airflow knows of the run."""

    custom_operator_name = "release"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(stage="release", use_case="", **kwargs)

    def perform(self, context: Context) -> dict[str, Any]:
        """Release, and say in the run's note how many rows went.

        Raises:
            AirflowFailException: Corrected rows still break rules; nothing was released.
        """
        params = context["params"]
        self.use_case, _, table = str(params["use_case"]).partition(".")
        form = asked_form(params, str(context["dag_run"].triggering_user_name or ""))
        self.parameters = {"form": form.model_dump_json(), **({"table": table} if table else {})}
        dag_run = context["dag_run"]
        base = load_environment().airflow.base
        links = {"airflow": run_link(base, context["dag"].dag_id, dag_run.run_id)}
        extra = [
            "--as-of",
            as_of(context),
            "--form",
            json.dumps({"batch": form.batch, "table": table}),
            "--links",
            json.dumps(links),
        ]
        done = self.launch(context, {}, extra)
        self._note(context, str(done["summary"]))
        return done

    def _note(self, context: Context, text: str) -> None:
        """Write the run's note; the rows are released whether it can be written or not."""
        api = airflow_api(load_environment())
        try:
            if api is not None:
                api.set_note(context["dag"].dag_id, context["run_id"], text)
        except ServiceError as error:
            self.log.warning("the run's note was not written: %s", error)


def asked_form(params: Mapping[str, Any], by: str) -> ReleaseForm:
    """Return what the trigger form says, checked as a whole: Airflow checks single fields only.

    Raises:
        SpecError: A value is none that the form allows.
        InputError: Nobody says why, or it is not known who asks.
    """
    said = {name: params.get(name) for name in ReleaseForm.model_fields if params.get(name) is not None}
    lists = {name: [one.strip() for one in params.get(name) or () if one.strip()] for name in ("reasons", "rows")}
    return validate({**said, **lists, "by": by}, ReleaseForm).check()

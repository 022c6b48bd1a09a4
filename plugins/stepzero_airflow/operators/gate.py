"""The quality gate alone, for a DAG that has nothing else of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero_airflow.links.report import ReportLink
from stepzero_airflow.links.tracking import TrackingLink
from stepzero_airflow.operators.plan import PlanOperator
from stepzero_airflow.operators.stage import GATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import BaseOperatorLink, Context


class GateOperator(PlanOperator):
    """Judge a dataset in one task: freeze what is judged, then judge it.

    Args:
        uris: What is judged: addresses of files, or one landing prefix (templated).
        source: Name or path of a use-case file; a `quality` section is enough.
    """

    custom_operator_name = GATE
    operator_extra_links: Sequence[BaseOperatorLink] = (TrackingLink(), ReportLink())

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the reference of the verdict.

        Raises:
            AirflowFailException: The verdict is FAIL; its sentence is the message.
        """
        super().perform(context)
        self.stage = GATE
        return self.launch(context, {}, [])

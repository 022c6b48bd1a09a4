"""The quality gate alone, for a DAG that has nothing else of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepzero_airflow.operators.plan import PlanOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

GATE = "quality_gate"


class GateOperator(PlanOperator):
    """Judge a dataset in one task: freeze what is judged, then judge it.

    Args:
        uris: What is judged: addresses of files, or one landing prefix (templated).
        source: Name or path of a use-case file; a `quality` section is enough.
    """

    custom_operator_name = GATE

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the reference of the verdict.

        Raises:
            AirflowFailException: The verdict is FAIL; its sentence is the message.
        """
        super().perform(context)
        self.stage = GATE
        return self.launch(context, {}, [])

"""The notifier that is always there: the task's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LogNotifier(BaseNotifier):
    """Write a message into the log.

    Args:
        message: What to say (templated).
    """

    template_fields: Sequence[str] = ("message",)

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context: Context) -> None:
        """Write the message."""
        del context
        self.log.info("%s", self.message)

"""Telling people of an event, by the ways that the environment file names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

from stepzero.core.digests import digest_json
from stepzero.spec.load import load_environment
from stepzero.spec.plan import run_folder
from stepzero_airflow.notifiers.channels import find_channel
from stepzero_airflow.notifiers.message import Message
from stepzero_airflow.runs import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from stepzero.adapters.store import Store
    from stepzero.spec.environment import Event, Recipient

log = logging.getLogger(__name__)


class PeopleNotifier(BaseNotifier):
    """Tell people of one event, wherever Airflow takes a notifier.

    Args:
        event: ``failed_gate``, ``waiting_approval`` or ``fired_monitor``.
        sentence: What to say (templated).
        links: Title → address (templated).
    """

    template_fields: Sequence[str] = ("sentence", "links")

    def __init__(self, *, event: Event, sentence: str, links: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.event: Event = event
        self.sentence = sentence
        self.links = dict(links or {})

    def notify(self, context: Context) -> None:
        """Tell all who are named for the event."""
        use_case = str(getattr(context["ti"].task, "use_case", "") or context["dag"].dag_id)
        tell(Message(event=self.event, sentence=self.sentence, links=self.links), context, use_case)


def tell(message: Message, context: Context, use_case: str) -> int:
    """Tell all recipients of an event, and return how many were reached now.

    A channel that fails is told in the log, and keeps neither the others from being told nor the run from going on.
    Nobody is told the same twice by a task that is tried again; a person who clears a run is told again.
    """
    environment = load_environment()
    folder, reached = f"{run_folder(use_case, context['run_id'])}/told", 0
    for recipient in environment.recipients(message.event):
        try:  # a service, a connection or somebody else's code may fail in any way
            reached += _tell_once(message, recipient, context, open_store(environment), folder)
        except Exception:
            log.warning("%s was not told by %s", recipient.to or "nobody", recipient.by, exc_info=True)
    return reached


def _tell_once(message: Message, recipient: Recipient, context: Context, store: Store, folder: str) -> bool:
    cleared = getattr(context.get("dag_run"), "clear_number", 0)
    told = {"event": message.event, "text": message.text(), "to": recipient.model_dump(), "cleared": cleared}
    uri = f"{folder}/{message.event}-{digest_json(told)[:16]}.json"
    if store.exists(uri):
        log.info("%s was told before, by %s", recipient.to or "the log", recipient.by)
        return False
    find_channel(recipient.by)(message, recipient, context)
    store.create(uri, told)
    return True

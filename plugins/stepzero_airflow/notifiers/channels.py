"""Ways to reach people, each by Airflow's own provider and an Airflow connection.

A channel is a function ``(message, recipient, context) -> None`` that raises when the message did not get through;
one of yours is named ``package.module:function`` in the environment file.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from airflow.sdk import Context

    from stepzero.spec.environment import Recipient
    from stepzero_airflow.notifiers.message import Message

Channel: TypeAlias = "Callable[[Message, Recipient, Context], None]"
log = logging.getLogger(__name__)
_SECONDS = 20
_TITLES = {
    "failed_gate": "A gate said no",
    "waiting_approval": "A person is asked",
    "fired_monitor": "A monitor fired",
}


def find_channel(name: str) -> Channel:
    """Return a channel by our name or by ``package.module:function``."""
    if name in OURS:
        return OURS[name]
    module, _, function = name.partition(":")
    found: Channel = getattr(importlib.import_module(module), function)
    return found


def to_log(message: Message, recipient: Recipient, context: Context) -> None:
    """Write the message into the task's log."""
    del recipient, context
    log.info("%s: %s", _TITLES[message.event], message.text().replace("\n", " · "))


def to_slack(message: Message, recipient: Recipient, context: Context) -> None:
    """Post to a channel by a connection of kind Slack API, or to the one of an incoming webhook."""
    from airflow.providers.slack.hooks.slack import SlackHook
    from airflow.providers.slack.notifications.slack import SlackNotifier
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    from airflow.sdk import Connection

    name = recipient.connection or SlackHook.default_conn_name
    settings: dict[str, Any] = {"text": message.slack(), "unfurl_links": False, "unfurl_media": False}
    settings["timeout"] = _SECONDS
    notifier: Any
    to: dict[str, Any] = {"channel": recipient.to} if recipient.to else {}
    if Connection.get(name).conn_type == "slackwebhook":
        notifier = SlackWebhookNotifier(slack_webhook_conn_id=name, **settings)
    else:
        notifier = SlackNotifier(slack_conn_id=name, **to, **settings)
    notifier.notify(context)


def to_sns(message: Message, recipient: Recipient, context: Context) -> None:
    """Publish to a topic of Amazon SNS."""
    from airflow.providers.amazon.aws.hooks.sns import SnsHook
    from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

    name = recipient.connection or SnsHook.default_conn_name
    arn = str(recipient.to)
    region = arn.split(":")[3] if arn.count(":") >= 5 else None
    notifier: Any = SnsNotifier(
        aws_conn_id=name, target_arn=arn, subject=message.subject, message=message.text(), region_name=region
    )
    notifier.notify(context)


def to_smtp(message: Message, recipient: Recipient, context: Context) -> None:
    """Send a mail; the sender is the connection's."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    SmtpNotifier(
        to=[address.strip() for address in str(recipient.to).split(",")],
        subject=message.subject,
        html_content=message.html(),
        smtp_conn_id=recipient.connection,
    ).notify(context)


OURS: dict[str, Channel] = {"log": to_log, "slack": to_slack, "sns": to_sns, "smtp": to_smtp}

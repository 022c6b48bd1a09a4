"""What a person is told: one sentence, and where to look; in the ways that channels write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk.log import redact  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepzero.spec.environment import Event

_LONGEST_SENTENCE, _LONGEST_SUBJECT = 600, 100
"""SNS refuses subjects of more than 100 characters."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One sentence with links; what Airflow knows to be secret is masked, and no address holds a password.

    It is made of data and rules, so no channel takes anything in it for a template or for markup.
    """

    event: Event
    sentence: str
    links: Mapping[str, str] = field(default_factory=dict)
    """Title → address."""

    @property
    def line(self) -> str:
        """Return the sentence on one line."""
        words = " ".join(str(redact(self.sentence)).split())
        return words if len(words) <= _LONGEST_SENTENCE else words[: _LONGEST_SENTENCE - 1] + "…"

    @property
    def addresses(self) -> dict[str, str]:
        """Return title → address, without logins."""
        return {title: _without_login(address) for title, address in self.links.items() if address}

    @property
    def subject(self) -> str:
        """Return the beginning of the sentence in plain ASCII, as mail and SNS take it for a subject."""
        plain = self.line.encode("ascii", "replace").decode()
        return plain if len(plain) <= _LONGEST_SUBJECT else plain[: _LONGEST_SUBJECT - 3] + "..."

    def text(self) -> str:
        """Return plain text: the sentence, then a line per link."""
        return "\n".join([self.line, *(f"{title}: {address}" for title, address in self.addresses.items())])

    def slack(self) -> str:
        """Return Slack's own markup; what is in the sentence mentions nobody and links nowhere."""
        shown = (f"<{_slack(address)}|{_slack(title)}>" for title, address in self.addresses.items())
        return "\n".join([_slack(self.line), *shown])

    def html(self) -> str:
        """Return HTML for a mail."""
        shown = (f'<p><a href="{escape(at)}">{escape(title)}</a></p>' for title, at in self.addresses.items())
        return "".join([f"<p>{escape(self.line)}</p>", *shown])


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

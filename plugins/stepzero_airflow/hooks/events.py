"""The queue that S3 sends its events to, through the Amazon provider's hook."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

LONGEST_WAIT = 20
"""Seconds that SQS lets a request wait."""
MOST_AT_ONCE = 10
"""Messages that SQS takes or gives at once."""


async def receive(queue: str, connection: str, seconds: float) -> list[str]:
    """Wait for events, at most so long; return their receipts, all that are there at once."""
    found: list[str] = []
    async with await _client(connection) as client:
        wait = max(1, min(LONGEST_WAIT, round(seconds)))
        while True:
            answer = await client.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=MOST_AT_ONCE, WaitTimeSeconds=0 if found else wait
            )
            messages = answer.get("Messages", [])
            found += [str(message["ReceiptHandle"]) for message in messages]
            if len(messages) < MOST_AT_ONCE:
                break
    if found:
        log.info("woken by %d events", len(found))
    return found


async def delete(queue: str, connection: str, receipts: list[str]) -> None:
    """Take events from the queue that were looked after."""
    async with await _client(connection) as client:
        for first in range(0, len(receipts), MOST_AT_ONCE):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[first : first + MOST_AT_ONCE])
            ]
            await client.delete_message_batch(QueueUrl=queue, Entries=entries)


async def _client(connection: str) -> Any:
    from airflow.providers.amazon.aws.hooks.sqs import SqsHook

    return await SqsHook(aws_conn_id=connection).get_async_conn()  # type: ignore[no-untyped-call]

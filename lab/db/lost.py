"""Rows in the tables of libraries, which have no foreign keys: those that lost what they are of."""

from collections.abc import Mapping
from typing import Final, LiteralString

_NO_CONVERSATION: Final = "NOT EXISTS (SELECT FROM conversations c WHERE c.id::text = thread_id)"

LOST: Mapping[str, LiteralString] = {
    "checkpoints": _NO_CONVERSATION,
    "checkpoint_blobs": _NO_CONVERSATION,
    "checkpoint_writes": _NO_CONVERSATION,
    "apscheduler_jobs": "id NOT IN (SELECT s.id::text FROM schedules s)",
}
"""The condition that a lost row fulfils, by table. APScheduler's is made by the first clock."""

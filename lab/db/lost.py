"""
Rows in the tables of libraries, which have no foreign keys: those that lost what they are of.

A thread of checkpoints is a conversation, or research that is not done.
"""

from collections.abc import Mapping
from typing import Final, LiteralString

_NO_THREAD: Final = """
    NOT EXISTS (SELECT FROM conversations c WHERE c.id::text = thread_id)
    AND NOT EXISTS (
        SELECT FROM research_tasks t WHERE t.id::text = thread_id AND t.status <> 'completed'
    )
    """

LOST: Mapping[str, LiteralString] = {
    "checkpoints": _NO_THREAD,
    "checkpoint_blobs": _NO_THREAD,
    "checkpoint_writes": _NO_THREAD,
    "apscheduler_jobs": "id NOT IN (SELECT s.id::text FROM schedules s)",
}
"""The condition that a lost row fulfils, by table. APScheduler's is made by the first clock."""

"""Turns of conversations, as runs of threads."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.agent_protocol.threads import values_of
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.schemas.thread_message import ThreadMessage
from lab.schemas.thread_run import ThreadRun
from lab.schemas.thread_run_result import ThreadRunResult
from lab.schemas.thread_run_status import ThreadRunStatus

STATUSES: Final[Mapping[ThreadRunStatus, frozenset[RunStatus]]] = {
    ThreadRunStatus.pending: frozenset({RunStatus.queued, RunStatus.running}),
    ThreadRunStatus.success: frozenset({RunStatus.completed}),
    ThreadRunStatus.error: frozenset({RunStatus.failed}),
    ThreadRunStatus.interrupted: frozenset({RunStatus.interrupted, RunStatus.cancelled}),
    ThreadRunStatus.timeout: frozenset(),
}
"""What the protocol calls where a run stands; none of the lab's runs out of time."""
INTERRUPT: Final = "__interrupt__"
"""Key of the values under which stands what a run asks."""


def thread_run(run: Run) -> ThreadRun:
    """Return a run as one of a thread."""
    return ThreadRun(
        run_id=run.id,
        thread_id=run.conversation_id,
        agent_id=run.profile,
        assistant_id=run.profile,
        created_at=run.created_at,
        updated_at=run.finished_at or run.created_at,
        status=next(status for status, ours in STATUSES.items() if run.status in ours),
        metadata=run.details,
    )


def result_of(run: Run, messages: Sequence[ThreadMessage], asks: Sequence[Any]) -> ThreadRunResult:
    """Return what came of a run, with what it asks."""
    return ThreadRunResult(
        run=thread_run(run), values=asking(values_of(messages), asks), messages=list(messages)
    )


def asking(values: dict[str, Any], asks: Sequence[Any]) -> dict[str, Any]:
    """Return values with what a run asks, if it does."""
    return {**values, INTERRUPT: list(asks)} if asks else values

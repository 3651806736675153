"""How an answer begins: a refusal gets its own status, only an answer becomes a stream."""

from collections.abc import AsyncGenerator

from fastapi import Request

from api.disconnect import unless_gone
from lab.errors import ConflictError, rebuild
from lab.schemas.event import Event
from lab.schemas.event_type import EventType

BEFORE_ANSWER = {
    EventType.run_started,
    EventType.intent,
    EventType.message_stored,
    EventType.receipt,
}


async def opening(http: Request, events: AsyncGenerator[Event, None]) -> list[Event]:
    """
    Return the events of a run up to the first of its answer.

    Raises
    ------
    LabError
        If the run fails before.
    """
    found: list[Event] = []

    async def wait() -> None:
        async for event in events:
            raise_failure(event)
            found.append(event)
            if event.type not in BEFORE_ANSWER:
                return

    try:
        await unless_gone(http, wait())
    except BaseException:
        await events.aclose()
        raise
    return found


def raise_question(event: Event) -> None:
    """
    Raise what a run asks, for a client that cannot be asked.

    Raises
    ------
    ConflictError
        If the event says that the run waits for a reply.
    """
    if event.type is EventType.run_interrupted and (asks := event.data.get("asks")):
        values = [ask["value"] for ask in asks]
        raise ConflictError(
            f"The run {event.run_id} waits for a reply to {values}; give it with "
            f"`lab runs resume` or POST /v1/runs/{event.run_id}/resume."
        )


def raise_failure(event: Event) -> None:
    """Raise the error that the event reports, if it reports one."""
    if event.type is EventType.run_failed:
        raise rebuild(event.data["code"], event.data["message"])

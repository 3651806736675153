"""The events of a run, as the streams of the Agent Protocol and of LangGraph tell them."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

from api.agent_protocol.messages import TYPES, call_of, dumped
from api.agent_protocol.runs import asking
from api.agent_protocol.threads import values_of
from lab.protocols import ENDS
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.schemas.run import Run
from lab.schemas.stream_mode import StreamMode
from lab.schemas.thread_message import ThreadMessage
from lab.schemas.tool_call import ToolCall
from lab.workflows.history import after

Load = Callable[[UUID, bool], Awaitable[list[ThreadMessage]]]
"""Returns the messages of a thread up to one of them, and with all of the run where that ended."""

Piece = tuple[str, Any]
"""Name and data of an event of a stream."""


async def stream_of(
    translation: "Translation", events: AsyncGenerator[Event, None], read: int
) -> AsyncGenerator[str, None]:
    """
    Yield what a stream tells of a run: of each stored event all that it is told as, at once.

    The id is the position of the event, whatever is told of it. The last piece has it: whose
    connection breaks before is told the event again.

    Parameters
    ----------
    translation : Translation
        Tells it.
    events : AsyncGenerator of Event
        The events of the run, from its first on.
    read : int
        The position of the event that the client has read last; -1 for none.
    """
    has_events = False
    async with aclosing(events):
        async for event in events:
            has_events = True
            if (pieces := await translation.take(event)) and event.position > read:
                yield _joined(event.position, pieces)
    if not has_events and read < 0:
        yield _joined(0, await translation.without_events())


def _joined(position: int, pieces: Sequence[Piece]) -> str:
    """Return pieces as Server-Sent Events, the last with an id."""
    texts = [
        f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n" for name, data in pieces
    ]
    return "".join([*texts[:-1], f"id: {position}\n{texts[-1]}"])


class Translation:
    """
    Tells the events of one run in the modes of the protocol.

    Parameters
    ----------
    run : Run
        The run.
    modes : collection of StreamMode
        What to tell.
    load : callable
        Returns the messages of its thread up to one of them; all of the run where it has ended.
    said : sequence of ThreadMessage
        What a run without a thread was asked.

    Attributes
    ----------
    asks : list
        What the run asks, once it does.
    """

    def __init__(
        self,
        run: Run,
        modes: Collection[StreamMode],
        load: Load,
        said: Sequence[ThreadMessage] = (),
    ) -> None:
        self.asks: list[Any] = []
        self._run = run
        self._modes = frozenset(modes)
        self._load = load
        # Of a run that goes on with a turn, the question was stored by the one before.
        self._last = after(run.created_at) if run.conversation_id else None
        self._messages = list(said)
        self._n_told = len(self._messages)
        self._n_rounds = 0
        self._answer = self._new_answer()
        self._is_named = False
        self._has_ended = False

    async def messages(self) -> list[ThreadMessage]:
        """Return the messages of the thread as far as the run went; else question and answer."""
        if self._last is not None:
            return await self._load(self._last, self._has_ended)
        return self._messages

    async def result(self) -> list[ThreadMessage]:
        """Return the messages after the end, also those that no event told of."""
        self._has_ended = True
        return await self.messages()

    async def without_events(self) -> list[Piece]:
        """Return what is told of a run that has ended and of which no event is kept."""
        self._has_ended = True
        return [("metadata", self._about()), *await self._values(), ("end", None)]

    async def take(self, event: Event) -> list[Piece]:
        """Return what the next event is told as: names with data."""
        found = [("metadata", self._about())] if event.position == 0 else []
        if StreamMode.custom in self._modes:
            found.append(("custom", event.model_dump(mode="json")))
        # The first of several answers is the thread's, and members of a team answer beside it.
        if event.data.get("index") or "member" in event.data:
            return found
        if event.type is EventType.message_stored:
            self._last = UUID(event.data["message_id"])
        elif event.type is EventType.receipt:
            found += await self._tell_window(event)
        elif event.type in ENDS:
            found += await self._tell_end(event)
        else:
            found += self._tell_answer(event)
        return found

    def _tell_answer(self, event: Event) -> list[Piece]:
        """Tell an event that brings a part of an answer, or what came of its calls."""
        match event.type:
            case EventType.content | EventType.thinking:
                return self._tell_text(event)
            case EventType.tool_call | EventType.tool_started:
                return self._tell_call(event)
            case EventType.tool_finished:
                return self._tell_result(event)
            case EventType.usage:
                return self._tell_whole()
            case _:
                return []

    async def _tell_window(self, event: Event) -> list[Piece]:
        """Tell that the question is stored, and what is about to be put before the model."""
        found: list[Piece] = []
        if self._n_rounds == 0:
            found += self._updates("remember", await self._new_messages())
            found += await self._values()
        if StreamMode.updates in self._modes:
            found.append(("updates", {"assemble": {"receipt": event.data["receipt"]}}))
        return found

    def _tell_text(self, event: Event) -> list[Piece]:
        text = event.data["text"]
        if event.type is EventType.thinking:
            thought = self._answer.metadata.get("thinking", "") + text
            self._grow(metadata={**self._answer.metadata, "thinking": thought})
            return list(self._tell_piece({"content": "", "metadata": {"thinking": text}}))
        self._grow(content=f"{self._answer.content}{text}")
        return list(self._tell_piece({"content": text}))

    def _tell_call(self, event: Event) -> list[Piece]:
        call = call_of(ToolCall.model_validate(event.data["tool_call"]))
        self._grow(tool_calls=[*self._answer.tool_calls, call])
        return list(self._tell_piece({"content": "", "tool_calls": [call]}))

    def _tell_result(self, event: Event) -> list[Piece]:
        found = self._tell_whole()  # of the answer that called it
        message = ThreadMessage(
            role=Role.tool.value,
            type=TYPES[Role.tool],
            content=event.data["text"],
            name=event.data["name"],
            tool_call_id=event.data["tool_call_id"],
            id=f"{self._run.id}-{event.data['tool_call_id']}",
            metadata={"run_id": str(self._run.id)},
        )
        self._messages.append(message)
        found += self._updates("call_tools", [message])
        return [*found, *self._complete(message)]

    def _tell_whole(self) -> list[Piece]:
        """Tell that an answer is whole, once; the next one begins."""
        answer = self._answer
        if not answer.content and not answer.tool_calls and not answer.metadata.get("thinking"):
            return []
        self._messages.append(answer)
        self._n_rounds += 1
        self._answer, self._is_named = self._new_answer(), False
        found = self._updates("generate", [answer])
        if StreamMode.messages in self._modes:
            found.append(("messages/complete", [dumped(answer)]))
        return found

    async def _tell_end(self, event: Event) -> list[Piece]:
        self._has_ended = True
        if event.type is EventType.run_failed:
            return [("error", {"error": event.data["code"], "message": event.data["message"]})]
        self.asks = event.data.get("asks", [])
        found = self._tell_whole()
        if self._last is not None:
            found += self._updates("record", await self._new_messages())
        if self.asks and StreamMode.updates in self._modes:
            found.append(("updates", asking({}, self.asks)))
        return [*found, *await self._values(), ("end", None)]

    async def _new_messages(self) -> list[ThreadMessage]:
        """Return the messages that were stored since it was asked last."""
        messages = await self.messages()
        mine = [m for m in messages if m.metadata.get("run_id") == str(self._run.id)]
        new, self._n_told = mine[self._n_told :], len(mine)
        return new

    async def _values(self) -> list[Piece]:
        if StreamMode.values not in self._modes:
            return []
        return [("values", asking(values_of(await self.messages()), self.asks))]

    def _tell_piece(self, piece: dict[str, Any]) -> Iterator[Piece]:
        """Tell a piece of an answer: whole as it is so far, or what is new."""
        if StreamMode.messages in self._modes:
            if not self._is_named:
                self._is_named = True
                yield "messages/metadata", {self._answer.id: {"metadata": self._about()}}
            yield "messages/partial", [dumped(self._answer)]
        if StreamMode.messages_tuple in self._modes:
            who = {"role": Role.assistant.value, "type": "AIMessageChunk", "id": self._answer.id}
            yield "messages", [{**who, **piece}, {**self._about(), "langgraph_node": "generate"}]

    def _complete(self, message: ThreadMessage) -> list[Piece]:
        found: list[Piece] = []
        whole = dumped(message)
        if StreamMode.messages in self._modes:
            found.append(("messages/complete", [whole]))
        if StreamMode.messages_tuple in self._modes:
            found.append(("messages", [whole, {**self._about(), "langgraph_node": "call_tools"}]))
        return found

    def _updates(self, step: str, messages: Sequence[ThreadMessage]) -> list[Piece]:
        if StreamMode.updates not in self._modes or not messages:
            return []
        return [("updates", {step: values_of(messages)})]

    def _about(self) -> dict[str, str]:
        about = {"run_id": str(self._run.id)}
        if self._run.conversation_id is not None:
            about["thread_id"] = str(self._run.conversation_id)
        return about

    def _grow(self, **fields: Any) -> None:
        self._answer = self._answer.model_copy(update=fields)

    def _new_answer(self) -> ThreadMessage:
        return ThreadMessage(
            role=Role.assistant.value,
            type=TYPES[Role.assistant],
            content="",
            id=f"{self._run.id}-{self._n_rounds}",
            metadata={"run_id": str(self._run.id)},
        )

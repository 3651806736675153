"""The chat model of a turn: held while it answers, let go where another model may need its room."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import cast
from uuid import UUID

from lab.protocols import ChatPipeline
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.tool import Tool

Leasing = Callable[[], AbstractAsyncContextManager[ChatPipeline]]
"""Leases a chat model."""


class HeldChat:
    """
    A chat model that stays in memory until it is let go, and comes back when it answers next.

    It counts tokens all the time: that takes nothing of a device.

    Parameters
    ----------
    lease : callable
        Leases the model; who uses it beside the turn's own answers has a lease of theirs.
    hold : AsyncExitStack
        Ends the lease that the turn has.
    chat : ChatPipeline
        What is leased.
    """

    def __init__(self, lease: Leasing, hold: AsyncExitStack, chat: ChatPipeline) -> None:
        self.lease = lease
        self._hold = hold
        self._counting = chat
        self._held: ChatPipeline | None = chat
        self._moving = asyncio.Lock()

    @property
    def model(self) -> Model:
        """The model, with its context length."""
        return self._counting.model

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Look at the pictures of messages before they are counted; refuse what is none."""
        await self._counting.prepare(messages)

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the prompt, chat template and generation prompt included."""
        return self._counting.count_tokens(messages, tools)

    def count_text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return self._counting.count_text(text)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        """Yield the answer as it is generated, after the model came back where it was let go."""
        chat = await self._back()
        answer = chat.stream(messages, parameters, tools=tools, owner=owner)
        async with aclosing(cast("AsyncGenerator[ChatDelta]", answer)) as deltas:
            async for delta in deltas:
                yield delta

    async def let_go(self) -> None:
        """Let the model leave its device for another; nothing of the turn may be answered now."""
        async with self._moving:
            self._held = None
            await self._hold.aclose()

    async def _back(self) -> ChatPipeline:
        async with self._moving:
            if self._held is None:
                self._held = await self._hold.enter_async_context(self.lease())
            return self._held


@asynccontextmanager
async def held(lease: Leasing) -> AsyncIterator[HeldChat]:
    """Hold a chat model, which may be let go and comes back; none is held after the block."""
    async with AsyncExitStack() as hold:
        yield HeldChat(lease, hold, await hold.enter_async_context(lease()))

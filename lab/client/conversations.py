"""Conversations and their messages."""

import builtins
from collections.abc import Sequence
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.chat_message import ChatMessage
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_request import ConversationRequest
from lab.schemas.conversation_state import ConversationState
from lab.schemas.conversation_update import ConversationUpdate
from lab.schemas.fork_request import ForkRequest
from lab.schemas.message import Message
from lab.schemas.message_request import MessageRequest
from lab.schemas.summary import Summary

PATH = "/v1/conversations"


class Conversations:
    """The user's conversations."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, title: str | None = None) -> Conversation:
        """Open a conversation; without a title the lab names it after its first exchange."""
        request = checked(ConversationRequest, **({} if title is None else {"title": title}))
        return await self._http.fetch("POST", PATH, Conversation, body=request)

    async def list(self, limit: int = 50, before: UUID | None = None) -> list[Conversation]:
        """Return conversations, the one used last first."""
        return await self._http.fetch("GET", PATH, list[Conversation], limit=limit, before=before)

    async def get(self, conversation_id: UUID) -> Conversation:
        """Return one conversation."""
        return await self._http.fetch("GET", f"{PATH}/{conversation_id}", Conversation)

    async def rename(self, conversation_id: UUID, title: str) -> Conversation:
        """Give a conversation another title."""
        return await self._change(conversation_id, checked(ConversationUpdate, title=title))

    async def retitle(self, conversation_id: UUID) -> Conversation:
        """Let the lab name a conversation anew, by what was said last in it."""
        return await self._http.fetch("POST", f"{PATH}/{conversation_id}/title", Conversation)

    async def share(self, conversation_id: UUID) -> Conversation:
        """
        Let the questions of everybody in the lab find what is said in a conversation.

        Others ask for it by the setting `memory.scope`; they see whose words they are, and cannot
        open the conversation.
        """
        return await self._change(conversation_id, ConversationUpdate(shared=True))

    async def unshare(self, conversation_id: UUID) -> Conversation:
        """Keep a conversation to oneself again, at once."""
        return await self._change(conversation_id, ConversationUpdate(shared=False))

    async def delete(self, conversation_id: UUID) -> None:
        """Delete a conversation with its messages and memories."""
        await self._http.delete(f"{PATH}/{conversation_id}")

    async def fork(
        self,
        conversation_id: UUID,
        message_id: UUID | None = None,
        *,
        checkpoint_id: UUID | None = None,
        title: str | None = None,
    ) -> Conversation:
        """
        Open a conversation with the first turns of another one, which stays as it is.

        Parameters
        ----------
        conversation_id : UUID
            The other one.
        message_id : UUID, optional
            The last message to take along; one that calls tools brings their results. All of them
            where neither it nor a state is given.
        checkpoint_id : UUID, optional
            A state of its history (`states`), instead.
        title : str, optional
            Name in lists.

        Raises
        ------
        ConflictError
            If that state is not kept any more.
        """
        request = checked(
            ForkRequest, message_id=message_id, checkpoint_id=checkpoint_id, title=title
        )
        path = f"{PATH}/{conversation_id}/fork"
        return await self._http.fetch("POST", path, Conversation, body=request)

    async def states(
        self, conversation_id: UUID, limit: int = 50, before: UUID | None = None
    ) -> builtins.list[ConversationState]:
        """Return the states after each step of its last turns, newest first; `before` pages."""
        return await self._http.fetch(
            "GET",
            f"{PATH}/{conversation_id}/states",
            list[ConversationState],
            limit=limit,
            before=before,
        )

    async def messages(
        self, conversation_id: UUID, limit: int = 200, before_position: int | None = None
    ) -> builtins.list[Message]:
        """Return the newest messages before a position, oldest first."""
        return await self._http.fetch(
            "GET",
            f"{PATH}/{conversation_id}/messages",
            list[Message],
            limit=limit,
            before_position=before_position,
        )

    async def add(
        self, conversation_id: UUID, messages: Sequence[ChatMessage]
    ) -> builtins.list[Message]:
        """
        Store messages that were said elsewhere, with their embeddings; nobody answers.

        A `SaidMessage` also tells when it was said.
        """
        said = [
            m.model_dump(exclude_unset=True) if isinstance(m, ChatMessage) else m for m in messages
        ]
        request = checked(MessageRequest, messages=said)
        return await self._http.fetch(
            "POST", f"{PATH}/{conversation_id}/messages", list[Message], body=request
        )

    async def delete_message(self, conversation_id: UUID, message_id: UUID) -> None:
        """Delete a message with its memory and the summaries of it."""
        await self._http.delete(f"{PATH}/{conversation_id}/messages/{message_id}")

    async def summaries(
        self,
        conversation_id: UUID,
        limit: int = 200,
        level: int | None = None,
        before_position: int | None = None,
    ) -> builtins.list[Summary]:
        """Return the newest summaries that begin before a position, the earliest first."""
        return await self._http.fetch(
            "GET",
            f"{PATH}/{conversation_id}/summaries",
            list[Summary],
            limit=limit,
            level=level,
            before_position=before_position,
        )

    async def summarise(self, conversation_id: UUID) -> builtins.list[Summary]:
        """
        Write now what is due, instead of in the background, and wait for it.

        Returns
        -------
        list of Summary
            The highest ones that together cover what any does, the earliest first.
        """
        return await self._http.fetch("POST", f"{PATH}/{conversation_id}/summaries", list[Summary])

    async def _change(self, conversation_id: UUID, update: ConversationUpdate) -> Conversation:
        path = f"{PATH}/{conversation_id}"
        return await self._http.fetch("PATCH", path, Conversation, body=update)

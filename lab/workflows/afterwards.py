"""What is done in the background after a turn."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from uuid import UUID

import structlog

from lab.config import Settings
from lab.db import Database
from lab.db.conversations import NEW_CHAT
from lab.errors import ConflictError, LabError
from lab.messages import text_of
from lab.protocols import Pipelines
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.conversation import Conversation
from lab.schemas.model_profile import ModelProfile
from lab.schemas.user import User
from lab.workflows.composer import Composer
from lab.workflows.preferences import Preferences
from lab.workflows.summaries import Job, Summariser
from lab.workflows.title import write_title

RETITLED_BY: Final = 6
"""Messages by which a conversation is named anew, the last ones."""

logger = structlog.get_logger(__name__)


class Afterwards:
    """
    Look after conversations once a turn has ended: summaries, a title, steps that are too old.

    Parameters
    ----------
    database : Database
        Where conversations are.
    pipelines : Pipelines
        Where models are.
    composer : Composer
        Keeps the steps of turns.
    preferences : Preferences
        What people have set.
    summariser : Summariser
        Writes summaries.
    """

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        composer: Composer,
        preferences: Preferences,
        summariser: Summariser,
    ) -> None:
        self._database = database
        self._pipelines = pipelines
        self._composer = composer
        self._preferences = preferences
        self._summariser = summariser
        self._background: set[asyncio.Task[None]] = set()

    def look_after(
        self, owner: User, turn: ChatTurn, settings: Settings, profile: ModelProfile
    ) -> None:
        """Begin with what a turn makes due, which a profile answered."""
        if turn.conversation_id is None:
            return
        if turn.store:
            self._summariser.wake(Job(owner, turn.conversation_id, profile.id))
            keep = settings.config.workflow.keep_turns
            self._begin(self._prune(turn.conversation_id, keep))
        if settings.config.workflow.auto_title:
            self._begin(self._name(owner, turn.conversation_id, settings, profile))

    async def retitle(self, owner: User, conversation_id: UUID) -> Conversation:
        """
        Name a conversation by what was said last in it.

        Raises
        ------
        NotFoundError
            If the conversation is not the owner's.
        ConflictError
            If nothing was said in it, or the model wrote no title.
        """
        settings = await self._preferences.settings_of(owner)
        analysis = settings.config.roles.analysis
        profile = await self._preferences.profile(owner, settings, analysis)
        async with self._database.stores(owner.id) as stores:
            last = await stores.messages.list(conversation_id, RETITLED_BY)
        said = [ChatMessage(role=m.role, content=text_of(m.parts)) for m in last]
        if not said:
            raise _no_title()
        title, usage = None, None
        async with self._pipelines.chat(profile.model, purpose="title", owner=owner.id) as chat:
            while said and usage is None:  # what does not fit loses its beginning
                title, usage = await write_title(chat, said)
                said = said[1:]
        async with self._database.stores(owner.id) as stores:
            if usage is not None:
                await stores.usage.add(profile.model, profile.id, usage)
            if title:
                return await stores.conversations.update(conversation_id, title=title)
        raise _no_title()

    async def aclose(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _prune(self, conversation_id: UUID, keep_turns: int) -> None:
        try:
            await self._composer.prune(conversation_id, keep_turns)
        except LabError as error:  # the next turn does it
            logger.warning("steps stay", conversation_id=str(conversation_id), error=str(error))

    async def _name(
        self, owner: User, conversation_id: UUID, settings: Settings, answered: ModelProfile
    ) -> None:
        """Give a new conversation a title; it keeps its old one when that fails."""
        try:
            async with self._database.stores(owner.id) as stores:
                conversation = await stores.conversations.get(conversation_id)
                if conversation.title != NEW_CHAT:
                    return
                first = await stores.messages.list(conversation_id, before_position=2)
            analysis = settings.config.roles.analysis
            profile = await self._preferences.profile(owner, settings, analysis, answered.id)
            async with self._pipelines.chat(profile.model, purpose="title", owner=owner.id) as chat:
                said = [ChatMessage(role=m.role, content=text_of(m.parts)) for m in first]
                title, usage = await write_title(chat, said)
            async with self._database.stores(owner.id) as stores:
                if usage is not None:
                    await stores.usage.add(profile.model, profile.id, usage)
                if title:
                    await stores.conversations.name(conversation_id, title)
        except LabError as error:
            logger.warning("no title", conversation_id=str(conversation_id), error=str(error))


def _no_title() -> ConflictError:
    return ConflictError(
        "There is no title: nothing was said in this conversation that a model could name. "
        "Give it one yourself."
    )

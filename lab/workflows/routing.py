"""By which workflow a turn is answered: what its request or profile says, or what it wants."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from lab.config import Settings
from lab.db import Database
from lab.errors import InputError, LabError, nearest
from lab.protocols import ChatPipeline, Pipelines
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.intent import Intent
from lab.schemas.model_profile import ModelProfile
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.schemas.route import Route
from lab.schemas.route_source import RouteSource
from lab.schemas.tool_choice_mode import ToolChoiceMode
from lab.schemas.usage import Usage
from lab.schemas.user import User
from lab.workflows.breakers import Breakers
from lab.workflows.composer import GRAPHS, IMAGE, NAMES, RESEARCH, TEAM
from lab.workflows.context import CHAT, ChatContext
from lab.workflows.drawing import last_picture
from lab.workflows.holding import HeldChat
from lab.workflows.images import ImageMaker
from lab.workflows.intents import tell_intent
from lab.workflows.preferences import Preferences
from lab.workflows.resuming import AUTO
from lab.workflows.window import split_question

ANSWERS: Final[Mapping[Intent, str]] = {
    Intent.planning: "planning",
    Intent.analysis: "analysis",
    Intent.image_generation: IMAGE,
    Intent.image_editing: IMAGE,
    Intent.research: RESEARCH,
}
"""The workflow of each intent; of one that is not here, or has no graph yet, the chat's."""

ROUTE: Final = "workflow.route"
"""The setting: where the operator locked it, nobody goes round it by asking for `auto`."""


class Router:
    """
    Finds the workflow of turns.

    Parameters
    ----------
    database : Database
        Where it is booked what that cost.
    pipelines : Pipelines
        Where models are.
    preferences : Preferences
        What people have set.
    breakers : Breakers
        Where it stands that a model keeps failing.
    images : ImageMaker
        Who makes pictures, where the lab makes any.
    """

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        preferences: Preferences,
        breakers: Breakers,
        images: ImageMaker,
    ) -> None:
        self._database = database
        self._pipelines = pipelines
        self._preferences = preferences
        self._breakers = breakers
        self._images = images

    async def told(self, owner: User, context: ChatContext) -> Route:
        """
        Return by which workflow a turn is answered: by what its message wants.

        An intent that cannot be told is a chat's, and the route says why.
        """
        _, _, question = split_question(context.turn.messages)
        text = "\n".join(message.content or "" for message in question).strip()
        if not text:
            return CHAT.model_copy(update={"reason": "The message has no text."})
        try:
            return await self._told(owner, text, context)
        except LabError as error:
            return CHAT.model_copy(update={"reason": f"The model was not asked well: {error}"})

    async def _told(self, owner: User, text: str, context: ChatContext) -> Route:
        """Return the route by intent; raise `LabError` where the model cannot be asked."""
        profile, settings = context.profile, context.settings
        analysis = settings.config.roles.analysis
        if analysis:
            profile = await self._preferences.profile(owner, settings, analysis)
        async with self._chat(owner, profile, context.chat) as chat:
            intent, confidence, answer = await tell_intent(chat, text, owner.id)
        if answer is not None:
            await self._book(owner, profile, answer.usage, context.run_id)
        if intent is None:
            said = "is too long to look at" if answer is None else f"got {answer.content[:40]!r}"
            reason = f"Its intent cannot be told: the message {said}."
            return CHAT.model_copy(update={"reason": reason})
        wanted = ANSWERS.get(intent, CHAT.workflow)
        least = settings.config.workflow.min_confidence
        reason = await self._why_not(intent, wanted, context)
        if not reason and wanted != CHAT.workflow and confidence is not None and confidence < least:
            reason = f"The model is not sure enough (`workflow.min_confidence` is {least:g})."
        return Route(
            workflow=CHAT.workflow if reason else wanted,
            source=RouteSource.intent,
            intent=intent,
            confidence=confidence,
            reason=reason,
        )

    async def _why_not(self, intent: Intent, wanted: str, context: ChatContext) -> str:
        """Return why a workflow cannot answer here, so that the chat does; "" where it can."""
        if wanted not in GRAPHS:
            return f"There is no workflow `{wanted}` in this lab."
        if wanted == RESEARCH and not context.is_kept:
            return "Research is stored, and this request is not: ask for it in a conversation."
        if wanted == IMAGE:
            try:
                self._images.check_ready()
                if intent is Intent.image_editing:
                    await last_picture(context)
            except InputError as error:
                return str(error)
        return ""

    @asynccontextmanager
    async def _chat(
        self, owner: User, profile: ModelProfile, answering: HeldChat
    ) -> AsyncIterator[ChatPipeline]:
        """Lease the model of a profile; the one that answers is held already."""
        breaker = self._breakers.of("model", profile.model)
        if profile.model == answering.model.id:
            with breaker.counting():
                yield answering
            return
        leased = self._pipelines.chat(profile.model, purpose="intent", owner=owner.id)
        with breaker.admitted():
            await answering.let_go()
            async with leased as chat:
                with breaker.counting():
                    yield chat

    async def _book(self, owner: User, profile: ModelProfile, usage: Usage, run_id: UUID) -> None:
        async with self._database.stores(owner.id) as stores:
            await stores.usage.add(profile.model, profile.id, usage, run_id=run_id)


def named(
    turn: ChatTurn, profile: ModelProfile, settings: Settings, parameters: GenerationParameters
) -> Route:
    """
    Return by which workflow a turn is answered, or `AUTO`: its message has to be looked at.

    Raises
    ------
    InputError
        If the request or profile names a workflow that there is not, or that cannot do what
        the request asks for.
    """
    name, source = chosen(turn, profile, settings)
    why_chat = _only_chat(turn, parameters)
    if (
        name == AUTO
        and ROUTE in settings.config.limits.locked
        and not settings.config.workflow.route
    ):
        return CHAT.model_copy(update={"reason": f"The operator locked `{ROUTE}`."})
    if not why_chat or name == CHAT.workflow:
        return Route(workflow=name, source=RouteSource.intent if name == AUTO else source)
    if name == AUTO:
        return CHAT.model_copy(update={"reason": f"The request {why_chat}."})
    raise InputError(f"The workflow `{name}` cannot answer: the request {why_chat}.")


def chosen(turn: ChatTurn, profile: ModelProfile, settings: Settings) -> tuple[str, RouteSource]:
    """
    Return the workflow that somebody named, or `AUTO`, and who did.

    Raises
    ------
    InputError
        If the request names one that there is not.
    """
    if turn.workflow is not None:
        known = [*NAMES, *([TEAM] if profile.team else [])]
        if turn.workflow not in known:
            raise InputError(
                f"Unknown workflow `{turn.workflow}`.{nearest(turn.workflow, known)} "
                f"Workflows here: {', '.join(known)}."
            )
        return turn.workflow, RouteSource.request
    if profile.team is not None:
        return TEAM, RouteSource.profile
    if profile.workflow is not None:
        return profile.workflow, RouteSource.profile
    if settings.config.workflow.route and turn.conversation_id is not None:
        return AUTO, RouteSource.intent
    return CHAT.workflow, RouteSource.default


def _only_chat(turn: ChatTurn, parameters: GenerationParameters) -> str:
    """Return what of a request only the chat's graph can do, if anything."""
    form = parameters.response_format
    if turn.tools:
        return "brings tools of its own"
    choice = parameters.tool_choice
    if choice is not None and choice.mode is ToolChoiceMode.required:
        return "wants a tool called (`tool_choice`)"
    if turn.settings.get("tools", {}).get("enabled"):
        return "names tools of the lab (`tools.enabled`)"
    if parameters.n > 1:
        return "asks for several answers (`n`)"
    if form is not None and form.type is not ResponseKind.text:
        return "holds the answer to a form (`response_format`)"
    if turn.messages[-1].role is Role.tool:
        return "brings results of tools"
    return ""

"""Gather what may stand in the window of a chat turn, and build it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from lab.context import (
    Budget,
    Candidate,
    Citation,
    Claim,
    Digest,
    assemble,
    documents,
    facts,
    memories,
    summaries,
)
from lab.db import Stores
from lab.errors import ModelLoadError
from lab.messages import NO_PICTURES, to_chat_message
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.image_part import ImagePart
from lab.schemas.memory_config import Scope
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.summaries_config import SummariesConfig
from lab.schemas.tool import Tool
from lab.schemas.window import Window
from lab.workflows.context import ChatContext
from lab.workflows.documents import find_passages, label
from lab.workflows.facts import find_facts
from lab.workflows.question import Question
from lab.workflows.recall import Recalled, recall
from lab.workflows.shared_talk import NOTHING_SHARED, SharedTalk

# A message takes at least this many tokens, markers included: no more of them can fit.
LEAST_MESSAGE_TOKENS = 4
FACT = "fact"
"""How a fact is introduced, as a turn is by its speaker."""
# Some of what is found stands among the recent turns anyway.
SEARCH_FACTOR = 2


async def build_window(
    context: ChatContext,
    current: Sequence[UUID],
    said: Sequence[ChatMessage] = (),
    tools: Sequence[Tool] | None = None,
    room: int = 0,
) -> Window:
    """
    Return what the model sees for this turn.

    Parameters
    ----------
    context : ChatContext
        The run.
    current : sequence of UUID
        Stored messages of the turn itself, which are neither history nor memories.
    said : sequence of ChatMessage
        What came after the question: the model's calls of tools, and their results.
    tools : sequence of Tool, optional
        What the model is told of; by default all that is offered.
    room : int
        Tokens that stay free at least, for what is put beside it and the answer.

    Raises
    ------
    ContextLengthError
        If system prompt and question alone do not fit.
    """
    asked_system, given, question = split_question(context.turn.messages)
    history = [Candidate(message, position=i) for i, message in enumerate(given)]
    asked = Question(_asked(question), context.embedding)
    found = _Found()
    if context.turn.conversation_id is None:
        found.memories = await _given(context, history, question, asked)
    if context.turn.conversation_id is not None or context.turn.memory:
        stored = await _stored(context, asked, current)
        found = replace(stored, memories=found.memories + stored.memories)
    if context.turn.conversation_id is not None:
        # What was given stands in no row when it is not stored.
        unkept = [] if context.turn.store else [Candidate(message) for message in given]
        history = found.history + unkept
    if not context.foreign:
        history = [turn for turn in history if not _is_of_tools(turn.message)]
    settings = context.settings.config
    shown = context.offered if tools is None else tools
    sources = [
        documents(
            found.passages, share=settings.context.document_share, most=settings.documents.top_k
        ),
        memories(
            _others(found.memories, asked.text),
            share=settings.context.memory_share,
            most=settings.memory.top_k,
        ),
        facts(found.facts, share=settings.facts.share, most=settings.facts.top_k),
        summaries(
            found.summaries,
            share=settings.summaries.share,
            level_weights=level_weights(settings.summaries),
            keep_messages=settings.summaries.keep_messages,
        ),
    ]
    window = assemble(
        context.chat.model.id,
        system=asked_system or _system_prompt(context),
        history=history,
        sources=sources,
        question=[*question, *said],
        budget=_budget(context, room),
        count=lambda messages: context.chat.count_tokens(messages, shown),
        count_text=context.chat.count_text,
    )
    receipt = window.receipt.model_copy(update={"n_waiting": found.n_waiting})
    return window.model_copy(update={"receipt": receipt})


def room_beside(context: ChatContext, said: Sequence[ChatMessage]) -> int:
    """Return the tokens that the window holds beside system prompt, question and what follows."""
    asked_system, _, question = split_question(context.turn.messages)
    system = asked_system or _system_prompt(context)
    head = [ChatMessage(role=Role.system, content=system)] if system else []
    n_tokens = context.chat.count_tokens([*head, *question, *said], context.offered)
    return _budget(context).prompt_tokens - n_tokens


def split_question(
    messages: Sequence[ChatMessage],
) -> tuple[str | None, list[ChatMessage], list[ChatMessage]]:
    """
    Split what a caller sent into system prompt, history and question.

    The question is the last user message with all that follows it (tool calls and results).

    >>> hi, yes, who = (ChatMessage(role=r, content=r) for r in ("user", "assistant", "user"))
    >>> [len(part or []) for part in split_question([hi, yes, who])]
    [0, 2, 1]
    """
    system = "\n\n".join(m.content for m in messages if m.role is Role.system and m.content)
    talk = [m for m in messages if m.role is not Role.system]
    last = max((i for i, m in enumerate(talk) if m.role is Role.user), default=0)
    return system or None, talk[:last], talk[last:]


@dataclass
class _Found:
    """What the lab has stored of the caller that may stand in the window."""

    history: list[Candidate] = field(default_factory=list)
    """Turns of this conversation, oldest first."""

    memories: list[Candidate] = field(default_factory=list)
    n_waiting: int = 0
    """Memories that could not be compared with the question."""

    passages: list[Candidate] = field(default_factory=list)
    """Of documents, best first."""

    facts: list[Claim] = field(default_factory=list)
    """Those that hold, best first."""

    summaries: list[Digest] = field(default_factory=list)


async def _stored(context: ChatContext, asked: Question, current: Sequence[UUID]) -> _Found:
    """Read what is stored, in one transaction, for which the question is embedded before."""
    recalls = _recalls(context) and bool(asked.text.strip())
    shared = NOTHING_SHARED
    if recalls:
        await asked.vector()
        shared = await _shared(context, asked)
    found, recalled = _Found(), None
    async with context.stores() as stores:
        if context.turn.conversation_id is not None:
            found.history = await _history(context, stores, current)
            found.summaries = await _summaries(context, stores)
        if recalls:
            recalled = await _recalled(context, stores, asked, current, shared)
            found.facts = await _facts(context, stores, asked)
        found.passages = await _passages(context, stores, asked)
    if recalled is not None:
        found.memories = await _memories(context, recalled, shared)
        found.n_waiting = recalled.n_waiting
    return found


async def _history(
    context: ChatContext, stores: Stores, current: Sequence[UUID]
) -> list[Candidate]:
    assert context.turn.conversation_id is not None, "only a stored conversation has a history"
    most = _context_length(context) // LEAST_MESSAGE_TOKENS + len(current)
    messages = await stores.messages.list(context.turn.conversation_id, limit=most)
    pictures = await _pictures(stores, messages) if context.chat.model.vision else NO_PICTURES
    return [
        Candidate(
            to_chat_message(message, pictures),
            source_id=message.id,
            said_at=message.created_at,
            position=message.position,
        )
        for message in messages
        if message.id not in current
    ]


async def _pictures(stores: Stores, messages: Sequence[Message]) -> dict[UUID, bytes]:
    """Return the contents of the pictures of messages."""
    parts = (part for message in messages for part in message.parts)
    files = [part.file_id for part in parts if isinstance(part, ImagePart)]
    return {file: await stores.files.content(file) for file in files}


async def _summaries(context: ChatContext, stores: Stores) -> list[Digest]:
    """Return the highest summaries of the conversation that together cover what any covers."""
    assert context.turn.conversation_id is not None, "only a stored conversation has summaries"
    if context.turn.memory is False or not context.settings.config.summaries.enabled:
        return []
    return [
        Digest(
            # Nobody says it, as with a passage.
            message=ChatMessage(role=Role.system, content=summary.text),
            source_id=summary.id,
            said_at=summary.said_at,
            position=summary.last_position,
            level=summary.level,
            first_position=summary.first_position,
        )
        for summary in await stores.summaries.standing(context.turn.conversation_id)
    ]


async def _given(
    context: ChatContext,
    history: Sequence[Candidate],
    question: Sequence[ChatMessage],
    asked: Question,
) -> list[Candidate]:
    """Return turns of the history that a stateless caller sent, when it does not fit whole."""
    if context.turn.memory is False or not asked.text.strip():
        return []
    if _fits(context, history, question):
        return []
    settings = context.settings.config.memory
    return await context.search_given(
        history,
        asked,
        top_k=settings.top_k * SEARCH_FACTOR,
        min_similarity=settings.min_score,
        neighbours=settings.neighbours,
    )


def _recalls(context: ChatContext) -> bool:
    """Return whether stored turns are looked for: for a stateless caller only on request."""
    wanted = context.turn.memory
    if wanted is None:
        enabled = context.settings.config.memory.enabled
        return enabled and context.turn.conversation_id is not None
    return wanted


async def _shared(context: ChatContext, asked: Question) -> SharedTalk:
    """Look through what others share, where the caller wants that and the operator lets them."""
    config = context.settings.config
    if context.foreign and config.memory.scope is Scope.shared and config.limits.sharing:
        return await context.shared.find(asked)
    return NOTHING_SHARED


async def _recalled(
    context: ChatContext,
    stores: Stores,
    asked: Question,
    current: Sequence[UUID],
    shared: SharedTalk,
) -> Recalled:
    """Return stored turns that bear on the question, but for the texts of others."""
    settings = context.settings.config.memory
    here = settings.scope is Scope.conversation
    return await recall(
        stores,
        asked,
        top_k=settings.top_k * SEARCH_FACTOR,
        min_similarity=settings.min_score,
        neighbours=settings.neighbours,
        conversation_id=context.turn.conversation_id if here else None,
        excluded=current,
        shared=shared,
    )


async def _memories(
    context: ChatContext, recalled: Recalled, shared: SharedTalk
) -> list[Candidate]:
    """Return the turns that were recalled, with those of others, which are read here."""
    ids = [turn.memory_id for turn in recalled.ranked]
    theirs = await context.shared.memories(shared, ids)
    recalled = replace(recalled, memories={**recalled.memories, **theirs})
    return [
        Candidate(
            ChatMessage(role=hit.memory.role, name=hit.memory.name, content=hit.memory.text),
            source_id=hit.memory.message_id,
            said_at=hit.memory.created_at,
            score=hit.score,
            shared_by=recalled.shared_by(hit),
        )
        for hit in recalled.hits
    ]


def _others(found: Sequence[Candidate], asked: str) -> list[Candidate]:
    """Return what was found, best first, without the question itself."""
    asked = asked.strip().casefold()
    others = [turn for turn in found if turn.saying[1] != asked]
    return sorted(others, key=lambda turn: -(turn.score or 0))


async def _facts(context: ChatContext, stores: Stores, asked: Question) -> list[Claim]:
    """Return facts that hold and bear on the question, best first."""
    settings, chat = context.settings.config, context.turn.conversation_id
    if not (settings.facts.enabled and settings.facts.top_k):
        return []
    here = settings.memory.scope is Scope.conversation
    hits = await find_facts(
        stores,
        asked,
        top_k=settings.facts.top_k * SEARCH_FACTOR,
        min_similarity=settings.facts.min_score,
        conversation_id=chat if here else None,
    )
    return [
        Claim(
            # Nobody says it, as with a passage.
            message=ChatMessage(role=Role.system, name=FACT, content=hit.fact.text),
            source_id=hit.fact.id,
            said_at=hit.fact.valid_from,
            position=hit.fact.last_position,
            score=hit.score,
            first_position=hit.fact.first_position if hit.fact.conversation_id == chat else None,
        )
        for hit in hits
    ]


async def _passages(context: ChatContext, stores: Stores, asked: Question) -> list[Candidate]:
    """
    Return passages of the owner's documents that bear on the question, best first.

    As with memories, what is stored comes into a chat that is stored, and into others on request.
    """
    settings = context.settings.config
    may = context.foreign and context.turn.memory is not False
    wanted = may and settings.context.document_share
    if not (wanted and asked.text.strip()):
        return []
    hits = await find_passages(
        stores,
        asked,
        top_k=settings.documents.top_k * SEARCH_FACTOR,
        min_similarity=settings.documents.min_score,
    )
    return [
        Candidate(
            # Nobody says it: a passage is shown under the name of its document.
            ChatMessage(role=Role.system, content=hit.chunk.text),
            source_id=hit.document.id,
            said_at=hit.document.created_at,
            position=hit.chunk.position,
            score=hit.score,
            citation=Citation(label(hit), hit.chunk.start, hit.chunk.end),
        )
        for hit in hits
    ]


def _is_of_tools(message: ChatMessage) -> bool:
    """Return whether a turn calls a tool, or is what one found: a page, a document, a server's."""
    return message.role is Role.tool or bool(message.tool_calls)


def _asked(question: Sequence[ChatMessage]) -> str:
    return " ".join(m.content or "" for m in question if m.role is Role.user)


def _fits(
    context: ChatContext, history: Sequence[Candidate], question: Sequence[ChatMessage]
) -> bool:
    messages = [*(turn.message for turn in history), *question]
    least = len(messages) * LEAST_MESSAGE_TOKENS
    most = _budget(context).prompt_tokens
    return least <= most and context.chat.count_tokens(messages, context.offered) <= most


def _system_prompt(context: ChatContext) -> str | None:
    configured = context.settings.config.context.system_prompt
    return context.profile.system_prompt if configured is None else configured


def _budget(context: ChatContext, room: int = 0) -> Budget:
    length = _context_length(context)
    settings = context.settings.config
    wanted = context.parameters.max_new_tokens or settings.context.answer_tokens
    return Budget(
        context_length=length,
        answer_tokens=min(max(wanted, room), length // 2),
    )


def _context_length(context: ChatContext) -> int:
    return context.context_length or context_length_of(context.chat)


def level_weights(config: SummariesConfig) -> tuple[float, ...]:
    """Return how the space of summaries is shared out among their levels, from 1 on."""
    return (
        config.level_1_weight,
        config.level_2_weight,
        config.level_3_weight,
        config.master_weight,
    )


def context_length_of(chat: ChatPipeline) -> int:
    """Return the tokens of a model's window; raise `ModelLoadError` where it names none."""
    length = chat.model.context_length
    if length is None:
        raise ModelLoadError(
            f"The config of model `{chat.model.id}` names no context length; "
            "set `max_position_embeddings` in its config.json."
        )
    return length

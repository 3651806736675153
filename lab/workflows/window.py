"""Gather what may stand in the window of a chat turn, and build it."""

from collections.abc import Sequence
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
from lab.errors import ModelLoadError
from lab.messages import to_chat_message
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory_config import Scope
from lab.schemas.role import Role
from lab.schemas.summaries_config import SummariesConfig
from lab.schemas.window import Window
from lab.workflows.context import ChatContext
from lab.workflows.documents import label

# A message takes at least this many tokens, markers included: no more of them can fit.
LEAST_MESSAGE_TOKENS = 4
FACT = "fact"
"""How a fact is introduced, as a turn is by its speaker."""
# Some of what is found stands among the recent turns anyway.
SEARCH_FACTOR = 2


async def build_window(context: ChatContext, current: Sequence[UUID]) -> Window:
    """
    Return what the model sees for this turn.

    Parameters
    ----------
    context : ChatContext
        The run.
    current : sequence of UUID
        Stored messages of the turn itself, which are neither history nor memories.

    Raises
    ------
    ContextLengthError
        If system prompt and question alone do not fit.
    """
    asked_system, given, question = split_question(context.turn.messages)
    if context.turn.conversation_id is None:
        history = [Candidate(message, position=i) for i, message in enumerate(given)]
    else:
        history = await _stored_history(context, current)
        if not context.turn.store:  # what was given stands in no row
            history += [Candidate(message) for message in given]
    settings = context.settings.config
    found, n_waiting = await _memories(context, history, question, current)
    sources = [
        documents(
            await _passages(context, question),
            share=settings.context.document_share,
            most=settings.documents.top_k,
        ),
        memories(found, share=settings.context.memory_share, most=settings.memory.top_k),
        facts(
            await _facts(context, question),
            share=settings.facts.share,
            most=settings.facts.top_k,
        ),
        summaries(
            await _summaries(context),
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
        question=question,
        budget=_budget(context),
        count=lambda messages: context.chat.count_tokens(messages, context.turn.tools),
    )
    receipt = window.receipt.model_copy(update={"n_waiting": n_waiting})
    return window.model_copy(update={"receipt": receipt})


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


async def _stored_history(context: ChatContext, current: Sequence[UUID]) -> list[Candidate]:
    most = _context_length(context) // LEAST_MESSAGE_TOKENS + len(current)
    return [
        Candidate(
            to_chat_message(message),
            source_id=message.id,
            said_at=message.created_at,
            position=message.position,
        )
        for message in await context.turns.history(most)
        if message.id not in current
    ]


async def _summaries(context: ChatContext) -> list[Digest]:
    """Return the highest summaries of the conversation that together cover what any covers."""
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
        for summary in await context.turns.summaries()
    ]


async def _memories(
    context: ChatContext,
    history: Sequence[Candidate],
    question: Sequence[ChatMessage],
    current: Sequence[UUID],
) -> tuple[list[Candidate], int]:
    """
    Return earlier turns that bear on the question, best first, and how many could not be compared.

    A stateless caller gets its own history searched when that is longer than the window; what the
    lab has stored of the owner only when the request asks for it.
    """
    wanted = context.turn.memory
    text = _asked(question)
    if wanted is False or not text.strip():
        return [], 0
    settings = context.settings.config.memory
    found: list[Candidate] = []
    n_waiting = 0
    if context.turn.conversation_id is None and not _fits(context, history, question):
        found += await context.search_given(
            history,
            text,
            context.embedding,
            top_k=settings.top_k * SEARCH_FACTOR,
            min_similarity=settings.min_score,
            neighbours=settings.neighbours,
        )
    if wanted or (context.turn.conversation_id is not None and settings.enabled):
        recalled = await context.turns.recall(
            text,
            top_k=settings.top_k * SEARCH_FACTOR,
            min_similarity=settings.min_score,
            neighbours=settings.neighbours,
            everywhere=settings.scope is not Scope.conversation,
            excluded=current,
            shared=settings.scope is Scope.shared and context.settings.config.limits.sharing,
        )
        found += [
            Candidate(
                ChatMessage(role=hit.memory.role, name=hit.memory.name, content=hit.memory.text),
                source_id=hit.memory.message_id,
                said_at=hit.memory.created_at,
                score=hit.score,
                shared_by=recalled.others.get(hit.memory.owner_id),
            )
            for hit in recalled.hits
        ]
        n_waiting = recalled.n_waiting
    asked = text.strip().casefold()
    others = [turn for turn in found if turn.saying[1] != asked]
    return sorted(others, key=lambda turn: -(turn.score or 0)), n_waiting


async def _facts(context: ChatContext, question: Sequence[ChatMessage]) -> list[Claim]:
    """Return facts that hold and bear on the question, best first, where memories may stand."""
    settings = context.settings.config
    chat, wanted = context.turn.conversation_id, context.turn.memory
    stored = wanted or (wanted is None and chat is not None and settings.memory.enabled)
    text = _asked(question)
    if not (stored and settings.facts.enabled and settings.facts.top_k and text.strip()):
        return []
    hits = await context.facts.find(
        text,
        top_k=settings.facts.top_k * SEARCH_FACTOR,
        min_similarity=settings.facts.min_score,
        conversation_id=chat if settings.memory.scope is Scope.conversation else None,
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


async def _passages(context: ChatContext, question: Sequence[ChatMessage]) -> list[Candidate]:
    """
    Return passages of the owner's documents that bear on the question, best first.

    As with memories, what is stored comes into a chat that is stored, and into others on request.
    """
    settings = context.settings.config
    turn = context.turn
    stored = turn.conversation_id is not None if turn.memory is None else turn.memory
    text = _asked(question)
    if not (stored and text.strip() and settings.context.document_share):
        return []
    hits = await context.documents.find(
        text,
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


def _asked(question: Sequence[ChatMessage]) -> str:
    return " ".join(m.content or "" for m in question if m.role is Role.user)


def _fits(
    context: ChatContext, history: Sequence[Candidate], question: Sequence[ChatMessage]
) -> bool:
    messages = [*(turn.message for turn in history), *question]
    least = len(messages) * LEAST_MESSAGE_TOKENS
    most = _budget(context).prompt_tokens
    return least <= most and context.chat.count_tokens(messages, context.turn.tools) <= most


def _system_prompt(context: ChatContext) -> str | None:
    configured = context.settings.config.context.system_prompt
    return context.profile.system_prompt if configured is None else configured


def _budget(context: ChatContext) -> Budget:
    length = _context_length(context)
    settings = context.settings.config
    wanted = context.parameters.max_new_tokens or settings.context.answer_tokens
    return Budget(
        context_length=length,
        answer_tokens=min(wanted, length // 2),
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

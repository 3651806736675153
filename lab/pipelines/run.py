"""Use a pipeline: a whole answer, a stream of deltas, or vectors."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast
from uuid import UUID

from lab.pipelines.answer import Answer
from lab.protocols import ChatPipeline, EmbeddingKind, EmbeddingPipeline, FloatArray
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.tool import Tool


async def stream_pipeline(
    pipeline: ChatPipeline,
    messages: Sequence[ChatMessage],
    parameters: GenerationParameters,
    tools: Sequence[Tool] = (),
    *,
    owner: UUID | None = None,
) -> AsyncIterator[ChatDelta]:
    """Yield the answer as it is generated; closing the iterator frees its place at once."""
    stream = pipeline.stream(messages, parameters, tools=tools, owner=owner)
    deltas = cast("AsyncGenerator[ChatDelta]", stream)
    async with aclosing(deltas):
        async for delta in deltas:
            yield delta


async def run_pipeline(
    pipeline: ChatPipeline,
    messages: Sequence[ChatMessage],
    parameters: GenerationParameters,
    tools: Sequence[Tool] = (),
    *,
    owner: UUID | None = None,
) -> ChatResult:
    """Return the whole answer."""
    answer = Answer()
    async for delta in stream_pipeline(pipeline, messages, parameters, tools, owner=owner):
        answer.add(delta)
    return answer.result()


async def embed_pipeline(
    pipeline: EmbeddingPipeline, texts: Sequence[str], *, kind: EmbeddingKind = "document"
) -> FloatArray:
    """Return unit vectors of shape (N, 768), in the order of `texts`."""
    return await pipeline.embed(texts, kind=kind)

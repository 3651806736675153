"""Several answers at once, as one stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.usage import Usage

Got = tuple[int, ChatDelta | Exception]


async def several(
    answers: Sequence[AsyncGenerator[ChatDelta, None]], *, at_once: int
) -> AsyncGenerator[ChatDelta, None]:
    """Yield deltas of answers as they come, by `index`; the last to end has the usage of all."""
    got: asyncio.Queue[Got] = asyncio.Queue()
    places = asyncio.Semaphore(at_once)
    readers = [asyncio.create_task(_read(i, one, got, places)) for i, one in enumerate(answers)]
    usages: list[Usage] = []
    try:
        while len(usages) < len(answers):
            index, delta = await got.get()
            if isinstance(delta, Exception):
                raise delta
            if delta.usage is not None:
                usages.append(delta.usage)
                is_last = len(usages) == len(answers)
                delta = delta.model_copy(update={"usage": _sum(usages) if is_last else None})
            yield delta.model_copy(update={"index": index})
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(
    index: int,
    answer: AsyncGenerator[ChatDelta, None],
    got: "asyncio.Queue[Got]",
    places: asyncio.Semaphore,
) -> None:
    try:
        async with aclosing(answer), places:
            async for delta in answer:
                await got.put((index, delta))
    except Exception as error:
        await got.put((index, error))


def _sum(usages: Sequence[Usage]) -> Usage:
    """Return what several answers to one prompt cost; they ran at the same time."""
    written = sum(usage.completion_tokens for usage in usages)
    prompt = usages[0].prompt_tokens
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        first_token_ms=min(usage.first_token_ms for usage in usages),
        total_ms=max(usage.total_ms for usage in usages),
        estimated=any(usage.estimated for usage in usages),
    )

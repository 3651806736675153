"""Embed memories and facts anew that another model embedded, beside a lab that goes on working."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from lab.db import Database
from lab.protocols import CONTEXT_TURNS, EmbeddingPipeline
from lab.workflows.turns import embedded_memory, in_context

BATCH = 64
"""Memories and facts embedded and stored together: what an interruption loses."""


async def waiting(database: Database, embedding: EmbeddingPipeline) -> dict[UUID, list[UUID]]:
    """Return the memories and facts that wait to be embedded anew, by owner."""
    async with database.accounts() as accounts:
        users = await accounts.list()
    found = {}
    for user in users:
        async with database.stores(user.id) as stores:
            found[user.id] = [
                *await stores.memories.waiting(embedding.signature),
                *await stores.facts.waiting(embedding.signature),
            ]
    return {owner_id: ids for owner_id, ids in found.items() if ids}


async def reembed(
    database: Database, owner_id: UUID, embedding: EmbeddingPipeline, ids: Sequence[UUID]
) -> AsyncIterator[int]:
    """
    Embed memories and facts of one owner anew, batch by batch, each in one transaction.

    What is corrected or forgotten meanwhile is left as it is then.

    Yields
    ------
    int
        How many of the list are done.
    """
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        await _renew(database, owner_id, embedding, batch)
        yield start + len(batch)


async def _renew(
    database: Database, owner_id: UUID, embedding: EmbeddingPipeline, ids: Sequence[UUID]
) -> None:
    async with database.stores(owner_id) as stores:
        memories, facts = await stores.memories.some(ids), await stores.facts.some(ids)
        before = {
            memory.id: await stores.memories.before(
                memory.conversation_id, memory.position, most=CONTEXT_TURNS
            )
            for memory in memories.values()
        }
    said = {id: embedded_memory(memory) for id, memory in memories.items()}
    contexts = {
        id: in_context([*map(embedded_memory, before[id])], text) for id, text in said.items()
    }
    stated = [fact.text for fact in facts.values()]
    texts = list(dict.fromkeys([*said.values(), *filter(None, contexts.values()), *stated]))
    vectors = dict(zip(texts, await embedding.embed(texts), strict=True))
    known = memories | {memory.id: memory for earlier in before.values() for memory in earlier}
    model = embedding.signature
    async with database.stores(owner_id) as stores:
        # Held, so that no text is corrected or forgotten between this look and the end.
        held = await stores.memories.some(list(known), held=True)
        same = {id for id, memory in held.items() if memory == known[id]}
        for id in memories.keys() & same:
            await stores.memories.renew(id, vectors[said[id]], model=model)
            context = contexts[id]
            if context and same.issuperset(memory.id for memory in before[id]):
                await stores.memories.renew_context(id, vectors[context], model=model)
        for fact in facts.values():  # whose text never changes
            await stores.facts.renew(fact.id, vectors[fact.text], model=model)

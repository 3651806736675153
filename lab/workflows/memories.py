"""What a person does with their memories: correct one."""

from uuid import UUID

from lab.db import Database, Stores
from lab.errors import InputError
from lab.protocols import CONTEXT_TURNS, EmbeddingPipeline
from lab.schemas.memory import Memory
from lab.workflows.turns import contexts_of, embedded_memory, embedded_text


async def correct(
    database: Database, owner_id: UUID, embedding: EmbeddingPipeline, memory_id: UUID, text: str
) -> Memory:
    """
    Put another text in the place of a memory's; the message it came from stays as it was said.

    The turns after it that were embedded together with the former text are embedded anew.

    Raises
    ------
    InputError
        If the text is blank.
    NotFoundError
        If the memory is not the owner's.
    """
    text = text.strip()
    if not text:
        raise InputError("A memory cannot be blank; give it a text, or delete it.")
    async with database.stores(owner_id) as stores:
        memory = await stores.memories.get(memory_id)
        said = embedded_text(memory.name, text)
        contexts = await _contexts(stores, memory, said)
    texts = [said, *(context for context in contexts.values() if context)]
    vectors = dict(zip(texts, await embedding.embed(texts), strict=True))
    model = embedding.signature
    async with database.stores(owner_id) as stores:
        corrected = await stores.memories.replace(memory_id, text, vectors[said], model=model)
        # From here on the chat is ours; what stands around may have changed meanwhile.
        for id, context in (await _contexts(stores, corrected, said)).items():
            if context is None:
                await stores.memories.drop_context(id)
                continue
            if context not in vectors:
                (vectors[context],) = await embedding.embed([context])
            await stores.memories.set_context(id, vectors[context], model=model)
    return corrected


async def _contexts(stores: Stores, memory: Memory, said: str) -> dict[UUID, str | None]:
    """Return what is embedded of a memory, and of those after it, together with those before."""
    place = memory.conversation_id, memory.position
    before = await stores.memories.before(*place, most=CONTEXT_TURNS)
    after = await stores.memories.after(*place, most=CONTEXT_TURNS)
    talk = [*map(embedded_memory, before), said, *map(embedded_memory, after)]
    changed = [memory.id, *(later.id for later in after)]
    return dict(zip(changed, contexts_of(talk)[len(before) :], strict=True))

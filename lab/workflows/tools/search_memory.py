"""What was said earlier."""

from lab.schemas.memory_config import Scope
from lab.workflows.question import Question
from lab.workflows.recall import recall
from lab.workflows.tools.tool import Arguments, ToolContext, Traits, described

NOTHING = "Nothing was found."


class SearchMemory:
    """Find earlier turns of the user's conversations."""

    tool = described(
        "search_memory",
        "Search what was said in earlier conversations.",
        query={"type": "string", "minLength": 1, "description": "What to search for."},
    )
    traits = Traits(personal=True)

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return what was said, a turn a line, best first."""
        memory = context.settings.config.memory
        here = memory.scope is Scope.conversation
        async with context.embedding() as embedding:
            asked = Question(arguments["query"], embedding)
            await asked.vector()  # so that no transaction waits for it
            async with context.stores() as stores:
                found = await recall(
                    stores,
                    asked,
                    top_k=memory.top_k,
                    min_similarity=memory.min_score,
                    neighbours=memory.neighbours,
                    conversation_id=context.conversation_id if here else None,
                    excluded=context.current,
                )
        lines = [
            f"{hit.memory.created_at:%Y-%m-%d} {hit.memory.name or hit.memory.role.value}: "
            f"{' '.join(hit.memory.text.split())}"
            for hit in found.hits
        ]
        return "\n".join(lines) or NOTHING

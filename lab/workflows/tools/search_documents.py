"""What stands in the user's documents."""

from lab.workflows.documents import find_passages, label
from lab.workflows.question import Question
from lab.workflows.tools.search_memory import NOTHING
from lab.workflows.tools.tool import Arguments, ToolContext, Traits, described


class SearchDocuments:
    """Find passages of documents."""

    tool = described(
        "search_documents",
        "Search the documents.",
        query={"type": "string", "minLength": 1, "description": "What to search for."},
    )
    traits = Traits(personal=True, foreign=True)  # who wrote them is not known

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return passages under the names of their documents, best first."""
        documents = context.settings.config.documents
        async with context.embedding() as embedding:
            asked = Question(arguments["query"], embedding)
            await asked.vector()  # so that no transaction waits for it
            async with context.stores() as stores:
                hits = await find_passages(
                    stores, asked, top_k=documents.top_k, min_similarity=documents.min_score
                )
        passages = [f"{label(hit)}: {' '.join(hit.chunk.text.split())}" for hit in hits]
        return "\n".join(passages) or NOTHING

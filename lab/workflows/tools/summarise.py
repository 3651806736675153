"""A text in few words."""

from lab.errors import InputError
from lab.schemas.summary_style import SummaryStyle
from lab.workflows.summary import summarise
from lab.workflows.tools.tool import Arguments, ToolContext, Traits, described


class Summarise:
    """Let the model that answers sum a text up, in pieces where its window needs that."""

    tool = described(
        "summarise",
        "Summarise a text.",
        text={"type": "string", "minLength": 1, "description": "The text."},
    )
    traits = Traits()

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return the summary."""
        lines = arguments["text"].splitlines()
        async with context.chat() as chat:
            written = await summarise(chat, lines, SummaryStyle.summary)
        context.spent.extend(written.usage)
        if not written.text:
            raise InputError("The text tells nothing that could be summarised.")
        return written.text

"""The tools that every lab has."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from lab.workflows.tools.calculator import Calculator
from lab.workflows.tools.current_time import CurrentTime
from lab.workflows.tools.search_documents import SearchDocuments
from lab.workflows.tools.search_memory import SearchMemory
from lab.workflows.tools.summarise import Summarise
from lab.workflows.tools.todos import Todos
from lab.workflows.tools.tool import LabTool

BUILT_IN: Final[Sequence[LabTool]] = (
    Calculator(),
    CurrentTime(),
    SearchMemory(),
    SearchDocuments(),
    Summarise(),
    Todos(),
)
"""A new tool is entered here."""


class BuiltIn:
    """The source of the tools above, the same for everybody."""

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return all of them."""
        return BUILT_IN

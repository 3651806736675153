"""Tools that run Python in the sandbox: those that the user approved, and the model's own code."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from lab.protocols import Sandbox
from lab.schemas.tool import Tool
from lab.workflows.dynamic_tools import CallableTool, DynamicTools, python_tool
from lab.workflows.tools.tool import Arguments, LabTool, ToolContext, Traits


@dataclass(frozen=True)
class CodeTool:
    """A tool that is code."""

    code: CallableTool
    traits: Traits

    @property
    def tool(self) -> Tool:
        """Name, description and JSON Schema of the arguments, as the model sees them."""
        return self.code.tool

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return what the code printed and returned."""
        return await self.code.call(arguments)


class CodeTools:
    """
    The source of tools that are code.

    Parameters
    ----------
    dynamic : DynamicTools
        Those that were written for users.
    sandbox : Sandbox
        Where code of a model's own runs.
    """

    def __init__(self, dynamic: DynamicTools, sandbox: Sandbox) -> None:
        self._dynamic = dynamic
        self._python = CodeTool(python_tool(sandbox), Traits())

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return Python, and the tools that the user approved."""
        approved = await self._dynamic.callable(owner_id)
        return [self._python, *(CodeTool(tool, Traits(personal=True)) for tool in approved)]
